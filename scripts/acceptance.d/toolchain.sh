# hello world in C and C++ with every kind of toolchain, for every board, run under QEMU user mode
# shellcheck shell=bash

own="$WORKSPACE/toolchain-tree"
archive="$WORKSPACE/toolchain-archive"

# kind NAME LINE...: a product whose toolchain is of that kind
kind() {
	mkdir -p "$own/product/$1"
	printf '%s\n' "${@:2}" >"$own/product/$1/TOOLCHAIN"
}

# mk_kind KIND BOARD PACKAGE...
mk_kind() {
	TREE="$own" mk "$2" "$1" "${@:3}"
}

# say BOARD KIND LANGUAGE LINKING EXPECTED ROOT: runs one of the programs, with ROOT as the target's root
say() {
	local cpu="${1#qemu-}" said
	said=$("qemu-${cpu/armv7/arm}" -L "$6" -E LD_LIBRARY_PATH="$WORKSPACE/$1-$2/deploy/hello/lib:$6/lib" \
		"$WORKSPACE/$1-$2/deploy/hello/bin/$3-$4")
	[ "$said" = "$5" ] || fail "$1, $2, $3-$4: \`$said\` in place of \`$5\`"
	printf '%-13s %-12s %-11s %s\n' "$1" "$2" "$3-$4" "$said"
}

# hello BOARD KIND ROOT LANGUAGE...: runs the programs in these languages, linked both ways
hello() {
	local linking language expected
	for language in "${@:4}"; do
		expected="hello from C: 608225502044160000, 0.333"
		[ "$language" = c ] || expected="hello from C++: 6, 4, refused 3"
		for linking in shared static; do
			say "$1" "$2" "$language" "$linking" "$expected" "$3"
		done
	done
}

# root BOARD KIND PACKAGE...: prints a folder that holds what these deployed
root() {
	local root="$WORKSPACE/toolchain-root/$1-$2" package
	mkdir -p "$root"
	for package in "${@:3}"; do
		cp -a "$WORKSPACE/$1-$2/deploy/$package/." "$root"
	done
	echo "$root"
}

mkdir -p "$own"
cp -r "$TREE/pkg" "$TREE/board" "$own"
cp -r "$TREE/scripts/acceptance.d/toolchain" "$own/pkg/hello"

# The quick one, and the one from source.
kind quick 'TOOLCHAINPKG="tc-distro"'
kind source 'TOOLCHAINPKG="tc-source"'
for board in qemu-x86_64 qemu-aarch64 qemu-armv7; do
	mk_kind quick "$board" hello musl
	hello "$board" quick "$(root "$board" quick musl)" c
	mk_kind source "$board" hello musl gcc_libs
	hello "$board" source "$(root "$board" source musl gcc_libs)" c cxx
done

# A second board with the same processor builds nothing.
cp -r "$own/board/qemu-x86_64" "$own/board/second"
TREE="$own" mk plan second source toolchain | tee "$WORKSPACE/toolchain-plan"
if grep -v '^reuse ' "$WORKSPACE/toolchain-plan"; then
	fail "a second board builds its toolchain again"
fi

# One from an archive: what was built from source, without what it was built for.
board="qemu-x86_64"
target=$(sed -n 's/^TARGET="\(.*\)"/\1/p' "$own/board/$board/TOOLCHAIN")
mkdir -p "$archive"
tar -C "$WORKSPACE/$board-source" -chf "$archive/toolchain.tar" toolchain
read -r digest _ < <(sha256sum "$archive/toolchain.tar")
kind archive 'TOOLCHAINPKG="tc-archive"' "TOOLCHAIN_URL=\"file://$archive\"" 'TOOLCHAIN_TARBALL="toolchain.tar"' \
	"TOOLCHAIN_SHA256SUM=\"$digest\"" 'TOOLCHAIN_SRCDIR="toolchain"' "COMPILER_PREFIX=\"$target\""
mk_kind archive "$board" hello musl gcc_libs
hello "$board" archive "$(root "$board" archive musl gcc_libs)" c cxx

# One that is installed: the distribution's, with its own C library.
for words in "qemu-aarch64 aarch64-linux-gnu" "qemu-armv7 arm-linux-gnueabihf"; do
	read -r board target <<<"$words"
	kind installed 'TOOLCHAINPKG="tc-installed"' "TARGET=\"$target\"" "COMPILER_PREFIX=\"$target\"" \
		'BINUTILS_DIR="/usr"' "SYSROOT=\"/usr/$target\""
	mk_kind installed "$board" hello libc
	hello "$board" installed "$(root "$board" installed libc)" c
done
