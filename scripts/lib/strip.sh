# Stripping: `strip_files`. The driver strips bin/ and lib/ itself after `deploy`; this is for ELF files elsewhere.

# strip_files FILE...: strips those that are ELF with the toolchain's strip; goes into folders; leaves links and
# everything else alone. Object files and kernel modules keep the symbols that linking and loading them needs.
strip_files() {
	local LC_ALL=C
	local file magic
	local mode=""
	for file in "$@"; do
		[ ! -L "$file" ] || continue
		if [ -d "$file" ]; then
			strip_folder "$file"
			continue
		fi
		[ -f "$file" ] || continue
		IFS= read -r -d '' -n 4 magic <"$file" || true
		[ "$magic" = $'\177ELF' ] || continue
		# strip rewrites the file in place, which a read-only file does not allow.
		mode=""
		if [ ! -w "$file" ]; then
			mode=$(stat -c %a "$file")
			chmod u+w "$file"
		fi
		case "$file" in
		*.o | *.ko) "$TARGET-strip" --strip-debug "$file" ;;
		*) "$TARGET-strip" "$file" ;;
		esac
		[ -z "$mode" ] || chmod "$mode" "$file"
	done
}

# strip_folder DIR: strip_files of all that DIR holds, hidden files included.
strip_folder() {
	local entry
	for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
		strip_files "$entry"
	done
}
