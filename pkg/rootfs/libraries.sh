# A check of a folder that is to become a root filesystem: are the shared libraries that its programs need in it?

# check_libraries ROOT DIR...: every ELF file below ROOT finds its program interpreter, and in the DIRs (paths below
# ROOT), or the folders of an RPATH, the libraries it names; each that is missing is told, with the packages that have it.
check_libraries() {
	local root="$1" missing=0
	local needed file kind name
	local -a lines folders
	shift
	needed=$(needed_libraries "$root")
	mapfile -t lines <<<"$needed"
	# Programs may name folders of their own, where their libraries find each other too; $ORIGIN is where the file is.
	mapfile -t folders < <(awk -F '\t' -v root="$root/" '$2 == "folder" {
		origin = substr($1, length(root) + 1)
		sub(/\/?[^\/]*$/, "", origin)
		gsub(/\$(ORIGIN|\{ORIGIN\})/, "/" origin, $3)
		gsub(":", "\n", $3)
		print $3
	}' <<<"$needed" | sort -u)
	while IFS=$'\t' read -r file kind name; do
		case "$kind" in
		'' | folder) continue ;;
		esac
		! has_library "$root" "$kind" "$name" "$@" "${folders[@]}" || continue
		echo "\`/${file#"$root"/}\` needs \`$name\`, which is not in the image$(who_deploys "$name")" >&2
		missing=1
	done < <(printf '%s\n' "${lines[@]}")
	return "$missing"
}

# has_library ROOT interpreter|library NAME DIR...: whether it is there. A link counts: what it points to may be an
# absolute path of the image.
has_library() {
	local root="$1" kind="$2" name="$3" dir
	shift 3
	if [ "$kind" = interpreter ]; then
		[ -e "$root$name" ] || [ -L "$root$name" ]
		return
	fi
	for dir in "$@"; do
		if [ -e "$root/$dir/$name" ] || [ -L "$root/$dir/$name" ]; then
			return 0
		fi
	done
	return 1
}

# needed_libraries ROOT: lines FILE <tab> interpreter|library|folder <tab> NAME for all ELF files below ROOT.
needed_libraries() {
	local files
	# Four bytes of every file tell it faster than one readelf for each.
	mapfile -t files < <(find "$1" -type f -size +3c -exec grep -l -a -z -m 1 $'^\177ELF' {} +)
	[ "${#files[@]}" -gt 0 ] || return 0
	if ! command -v "$TARGET-readelf" >/dev/null; then
		echo "which libraries are needed cannot be told without \`$TARGET-readelf\`" >&2
		return 1
	fi
	# A second file name makes readelf print a heading for each.
	"$TARGET-readelf" -W -l -d "${files[@]}" "${files[0]}" 2>/dev/null | sed -n -E \
		-e 's|^File: (.*)|\1|; t keep' \
		-e 's|.*Requesting program interpreter: (.*)\]|interpreter\t\1|; t out' \
		-e 's|.*\(R(UN)?PATH\).*\[(.*)\]|folder\t\2|; t out' \
		-e 's|.*\(NEEDED\).*\[(.*)\]|library\t\1|; t out' \
		-e 'd; :keep; h; d; :out; G; s|(.*)\n(.*)|\2\t\1|p' | sort -u
}

# who_deploys NAME: a hint that names the packages whose deploy folders have such a file.
who_deploys() {
	local found
	found=$(find "$PKGDEPLOYDIR" -name "${1##*/}" -printf '%P\n' | cut -d/ -f1 | sort -u | paste -sd' ')
	[ -z "$found" ] || echo "; deployed by: $found (is it in ROOTFS, and the file in its rootfs_files.txt?)"
}
