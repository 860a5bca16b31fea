# configure_gcc SRC [ARG…]: configures what is in SRC, the whole of gcc or one of its libraries, in the working folder:
# all of them are told the same.
configure_gcc() {
	local src="$1"
	shift

	# GCC_EXTRACFG is a list of words
	# shellcheck disable=SC2086
	"$src/configure" --build="$HOSTTUPLE" --target="$TARGET" \
		--prefix="$TCDIR" --with-sysroot="$TCDIR/$TARGET" --with-native-system-header-dir=/include \
		--enable-languages=c,c++ --enable-default-pie ${GCC_CPU:+--with-arch="$GCC_CPU"} $GCC_EXTRACFG \
		--disable-multilib --disable-nls --disable-lto --disable-plugin --disable-libstdcxx-pch \
		--without-isl --without-zstd "$@"
}
