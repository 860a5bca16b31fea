# SDKs of a product with zlib and expat: unpacked elsewhere, moved, and used with make, CMake and Meson

# products to make SDKs of, in a tree that has nothing else of its own
copy="$WORKSPACE/sdk-tree"
rm -rf "$copy" "$WORKSPACE/sdk"
mkdir -p "$copy" "$WORKSPACE/sdk"
cp -r "$TREE/pkg" "$TREE/board" "$TREE/product" "$copy"
new_product() {
	mkdir "$copy/product/$1"
	printf '%s\n' zlib expat "${@:3}" >"$copy/product/$1/ROOTFS"
	echo "TOOLCHAINPKG=\"$2\"" >"$copy/product/$1/TOOLCHAIN"
}
new_product kit-distro tc-distro
new_product kit-source tc-source gcc_libs

# a program in C with both libraries, and one in C++ with exceptions and threads
sources="$WORKSPACE/sdk/sources"
mkdir "$sources"
cat >"$sources/both.c" <<'END'
#include <expat.h>
#include <stdio.h>
#include <zlib.h>

int main(void) {
	printf("zlib %s, %s\n", zlibVersion(), XML_ExpatVersion());
	return 0;
}
END
cat >"$sources/plus.cpp" <<'END'
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <zlib.h>

int main() {
	std::string said;
	std::thread thread([&said] {
		try {
			throw std::runtime_error(zlibVersion());
		} catch (const std::exception &error) {
			said = error.what();
		}
	});
	thread.join();
	std::cout << "caught " << said << std::endl;
}
END
cat >"$sources/Makefile" <<'END'
CFLAGS += $(shell $(PKG_CONFIG) --cflags zlib expat)
LDLIBS += $(shell $(PKG_CONFIG) --libs zlib expat)
END
cat >"$sources/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.13)
project(both C)
find_package(ZLIB REQUIRED)
find_package(EXPAT REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(BOTH REQUIRED IMPORTED_TARGET zlib expat)
add_executable(both both.c)
target_link_libraries(both ZLIB::ZLIB EXPAT::EXPAT)
add_executable(packaged both.c)
target_link_libraries(packaged PkgConfig::BOTH)
if(CXX_TOO)
	enable_language(CXX)
	add_executable(plus plus.cpp)
	target_link_libraries(plus ZLIB::ZLIB)
endif()
END
cat >"$sources/meson.build" <<'END'
project('both', 'c')
executable('both', 'both.c', dependencies: [dependency('zlib'), dependency('expat')])
if get_option('cxx_too')
	add_languages('cpp', native: false)
	executable('plus', 'plus.cpp', dependencies: [dependency('zlib'), dependency('threads')])
endif
END
echo "option('cxx_too', type: 'boolean', value: false)" >"$sources/meson_options.txt"

# Runs in a room of its own in which neither the store nor the workspace with the build roots is to be seen.
# use_sdk FOLDER SOURCES EMULATOR
use_sdk() {
	# shellcheck disable=SC1091 # it's there when it's unpacked
	. "$1/environment"
	cp -r "$2" "$1.work"
	cd "$1.work" || return
	make both ${CXX:+plus}
	cmake -S . -B by-cmake ${CXX:+-DCXX_TOO=1} >/dev/null
	cmake --build by-cmake >/dev/null
	meson setup by-meson --cross-file "$MESON_CROSS_FILE" ${CXX:+-Dcxx_too=true} >/dev/null
	meson compile -C by-meson >/dev/null
	local program
	for program in both by-cmake/both by-cmake/packaged by-meson/both ${CXX:+plus by-cmake/plus by-meson/plus}; do
		echo "$program: $("$3" -L "$SYSROOT" "$program")"
	done
}
export -f use_sdk

# check_sdk BOARD PRODUCT EMULATOR PROGRAMS
check_sdk() {
	local name="$1-$2-sdk" place said
	"$MK" --tree "$copy" --workspace "$WORKSPACE" --store "$STORE" sdk "$1" "$2" --output "$WORKSPACE/sdk"
	place=$(mktemp -d /var/tmp/sdk.XXXXXX)
	tar xf "$WORKSPACE/sdk/$name.tar.xz" -C "$place"
	cp -r "$sources" "$place/sources"
	# used, moved, and used again
	for folder in "$name" moved; do
		[ -e "$place/$folder" ] || mv "$place/$name" "$place/$folder"
		# shellcheck disable=SC2016 # expanded by the inner bash
		said=$(unshare --map-root-user --mount bash -euo pipefail -c '
			for hidden in "$4" "$5" "${HOME:-/root}/.cache"; do
				[ ! -d "$hidden" ] || mount -t tmpfs none "$hidden"
			done
			use_sdk "$1" "$2" "$3"' - "$place/$folder" "$place/sources" "$3" "$STORE" "$WORKSPACE")
		echo "$said"
		[ "$(grep -c -E ': (zlib 1\.[0-9.]+, expat_2[0-9.]+|caught 1\.[0-9.]+)$' <<<"$said")" -eq "$4" ] ||
			fail "the SDK $name does not make what it should"
	done
	! grep -r -l -F "$place/$name" "$place/moved" || fail "the SDK $name still holds the place from where it was moved"
	rm -rf "$place"
}

check_sdk qemu-x86_64 kit-distro qemu-x86_64 4
check_sdk qemu-aarch64 kit-distro qemu-aarch64 4
check_sdk qemu-x86_64 kit-source qemu-x86_64 7
