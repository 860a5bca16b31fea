# Packages that are configured by CMake.

# run_cmake SRC [ARG…]: configures the package in SRC for the target, in the
# working folder, with the places that run_configure has. Then `make`, and
# `make DESTDIR=… install`.
run_cmake() {
	local src="$1"
	shift

	cmake -G "Unix Makefiles" -S "$src" -B . \
		-DCMAKE_TOOLCHAIN_FILE="$CMAKETCFILE" \
		-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
		-DCMAKE_SKIP_RPATH=ON -DCMAKE_INSTALL_PREFIX="" \
		-DCMAKE_INSTALL_BINDIR=bin -DCMAKE_INSTALL_SBINDIR=bin \
		-DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_INSTALL_LIBEXECDIR=lib/libexec \
		-DCMAKE_INSTALL_INCLUDEDIR=include -DCMAKE_INSTALL_DATAROOTDIR=share \
		-DCMAKE_INSTALL_SYSCONFDIR=/etc -DCMAKE_INSTALL_LOCALSTATEDIR=/var "$@"
}
