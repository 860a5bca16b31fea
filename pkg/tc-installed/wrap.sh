# wrap_tools PREFIX: lets a complete toolchain, whose programs begin with PREFIX, also see the libraries that are staged
# in the sysroot, and be called by the names that recipes use.
wrap_tools() {
	local prefix="$1" tool found
	mkdir -p "$TCDIR/bin" "$TCDIR/$TARGET"/{include,lib}
	for tool in ar as ld nm objcopy objdump ranlib readelf size strings strip gcc-ar gcc-nm gcc-ranlib; do
		found=$(command -v "$prefix$tool")
		ln -sf "$found" "$TCDIR/bin/$TARGET-$tool"
	done
	cat >"$TCDIR/gcc.specs" <<-END
		*cpp:
		+ -isystem $TCDIR/$TARGET/include

		*link:
		+ -L$TCDIR/$TARGET/lib -rpath-link $TCDIR/$TARGET/lib

	END
	for tool in gcc g++ cpp; do
		found=$(command -v "$prefix$tool") || continue
		printf '#!/bin/sh\nexec "%s" -specs "%s" "$@"\n' "$found" "$TCDIR/gcc.specs" >"$TCDIR/bin/$TARGET-$tool"
		chmod 755 "$TCDIR/bin/$TARGET-$tool"
	done
}
