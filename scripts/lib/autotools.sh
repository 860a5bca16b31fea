# Packages that are configured by a script from autoconf.

# run_configure SRC [ARG…]: configures the package in SRC for the target, in the
# working folder. Programs go to /bin, data to /share; libraries are shared only.
run_configure() {
	local src="$1"
	shift

	local args=(
		--prefix="" --build="$HOSTTUPLE" --host="$TARGET"
		--bindir=/bin --sbindir=/bin --sysconfdir=/etc
		--libexecdir=/lib/libexec --datarootdir=/share --datadir=/share
		--sharedstatedir=/share --includedir=/include
		--enable-shared --disable-static
	)

	# configure would take the host's C++ compiler where the target has none
	command -v "$TARGET-g++" >/dev/null || args+=(CXX=no)

	"$src/configure" "${args[@]}" "$@"
}

# run_autotools SRC [ARG…]: as run_configure, for a script that is really autoconf's: messages are English, and nothing is
# remembered of which file includes which, since a package is compiled once.
run_autotools() {
	local src="$1"
	shift
	run_configure "$src" --disable-nls --disable-dependency-tracking "$@"
}

# run_autoreconf: for the prepare function of a package whose archive may lack the configure script: makes one in the
# working folder, unless it is there.
run_autoreconf() {
	[ -e configure ] || autoreconf --force --install
}
