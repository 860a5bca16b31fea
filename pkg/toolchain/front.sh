# What every cross toolchain has beside its compiler, whatever that is: the programs and files by which build systems
# learn of it.

# fill_in FILE: prints it with a value for each @VARIABLE@
fill_in() {
	local cpu="${TARGET%%-*}" family
	case "$cpu" in
	arm*) family="arm" ;;
	*) family="$cpu" ;;
	esac
	sed -e "s|@TARGET@|$TARGET|g" -e "s|@CPU@|$cpu|g" -e "s|@CPU_FAMILY@|$family|g" \
		-e "s|@TCDIR@|$TCDIR|g" -e "s|@SYSROOT@|$TCDIR/$TARGET|g" -e "s|@PKG_CONFIG@|$PKG_CONFIG|g" \
		-e "s|@HOST_CROSS@|$HOST_CROSS|g" -e "s|@GCC_FLAGS@|$GCC_FLAGS|g" "$1"
}

# install_program FILE: as TARGET-FILE, filled in
install_program() {
	local to="$TCDIR/bin/$TARGET-${1##*/}"
	fill_in "$1" >"$to"
	chmod 755 "$to"
}

# install_front PKG_CONFIG: all of it, for the compiler TARGET-gcc that is there already, and this pkg-config
install_front() {
	local PKG_CONFIG="$1" here="$SCRIPTDIR/pkg/toolchain"
	install_program "$here/pkg-config"
	ln -sf "$TARGET-gcc" "$TCDIR/bin/$TARGET-cc"
	fill_in "$here/meson.cross" >"$TCDIR/meson.cross"
	fill_in "$here/toolchain.cmake" >"$CMAKETCFILE"

	# for those that name gcc's own library themselves
	mkdir -p "$TCDIR/$TARGET/lib"
	cp "$("$TARGET-gcc" -print-file-name=libgcc.a)" "$TCDIR/$TARGET/lib"
}
