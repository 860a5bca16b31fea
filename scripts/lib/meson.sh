# Packages that are configured by Meson.

# run_meson SRC [ARG…]: configures the package in SRC for the target, in the
# working folder, with the places that run_configure has. Then
# `ninja -j "$NUMJOBS"`, and `DESTDIR=… meson install --no-rebuild`.
run_meson() {
	local src="$1"
	shift

	meson setup --cross-file "$TCDIR/meson.cross" \
		--buildtype=plain --optimization=2 --default-library=shared \
		--wrap-mode=nodownload --prefix=/ --bindir=bin --sbindir=bin \
		--libdir=lib --libexecdir=lib/libexec --includedir=include \
		--datadir=share --mandir=share/man --localedir=share/locale \
		--sysconfdir=/etc --localstatedir=/var "$@" . "$src"
}
