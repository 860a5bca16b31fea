# Packages that are configured by a script from autoconf.

# run_configure SRC [ARG…]: configures the package in SRC for the target, in the
# working folder. Programs go to /bin, data to /share; libraries are shared only;
# messages are English.
run_configure() {
	local src="$1"
	shift

	local args=(
		--prefix="" --build="$HOSTTUPLE" --host="$TARGET"
		--bindir=/bin --sbindir=/bin --sysconfdir=/etc
		--libexecdir=/lib/libexec --datarootdir=/share --datadir=/share
		--sharedstatedir=/share --includedir=/include
		--enable-shared --disable-static --disable-nls --disable-dependency-tracking
	)

	# configure would take the host's C++ compiler where the target has none
	command -v "$TARGET-g++" >/dev/null || args+=(CXX=no)

	"$src/configure" "${args[@]}" "$@"
}
