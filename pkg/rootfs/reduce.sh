# Leaves out shared libraries that nothing in a root filesystem needs.

# reduce_libraries ROOT DEFINITIONS DIR...: takes out of ROOT and DEFINITIONS the shared libraries in the DIRs, where the
# dynamic loader searches, that no ELF file needs, directly or in turn, and that stdin does not name: it has patterns, a
# line each, of the names of libraries that programs open while they run. Prints SIZE <tab> PATH of each that is left out.
# Shared objects in other folders, such as plugins, are opened by their paths: they stay, and so does what they need.
reduce_libraries() {
	local root="$1" definitions="$2"
	local -A size=() leads_to=() needs=() kept=()
	local -a wanted=() gone=()
	local needed file kind name path bytes
	shift 2
	while IFS=$'\t' read -r bytes path name; do
		size[$path]="$bytes"
		[ -z "$name" ] || leads_to[$path]="$name"
	done < <(find_libraries "$root" "$@")

	needed=$(needed_libraries "$root")
	# What is no library needs what it names; a library does so only if it is needed itself.
	while IFS=$'\t' read -r file kind name; do
		path="${file#"$root"/}"
		if [ "$kind" = interpreter ]; then
			keep_library "${name#/}"
		elif [ "$kind" = library ] && [ -n "${size[$path]:-}" ]; then
			needs[$path]+=" $name"
		elif [ "$kind" = library ]; then
			wanted+=("$name")
		fi
	done <<<"$needed"
	while read -r name _; do
		[[ -z "$name" || "$name" == "#"* ]] || keep_matching "$name"
	done
	while [ "${#wanted[@]}" -gt 0 ]; do
		name="${wanted[-1]}"
		unset 'wanted[-1]'
		for path in "$@"; do
			path="${path%/}/$name"
			keep_library "${path#/}"
		done
	done

	mapfile -t gone < <(for path in "${!size[@]}"; do [ -n "${kept[$path]:-}" ] || echo "$path"; done | sort)
	[ "${#gone[@]}" -gt 0 ] || return 0
	for path in "${gone[@]}"; do
		printf '%s\t/%s\n' "${size[$path]}" "$path"
	done
	(cd "$root" && rm -- "${gone[@]}")
	remove_definitions "$definitions" "${gone[@]}"
}

# The next two use the variables of reduce_libraries.

# keep_library PATH: keeps a library and what it leads to, and has what it needs looked for.
keep_library() {
	[ -n "${size[$1]:-}" ] && [ -z "${kept[$1]:-}" ] || return 0
	kept[$1]=1
	# shellcheck disable=SC2206 # names of libraries are words
	wanted+=(${needs[$1]:-})
	[ -z "${leads_to[$1]:-}" ] || keep_library "${leads_to[$1]}"
}

# keep_matching PATTERN: keeps the libraries whose names match.
keep_matching() {
	local path
	for path in "${!size[@]}"; do
		# shellcheck disable=SC2053 # it is a pattern
		[[ "${path##*/}" != $1 ]] || keep_library "$path"
	done
}

# find_libraries ROOT DIR...: lines SIZE <tab> PATH <tab> TARGET of what lies in the DIRs and is called like a shared
# library; TARGET, of a link, is the path below ROOT that it leads to.
find_libraries() {
	local root="$1" dir size path target
	local -A seen=()
	shift
	for dir in "$@"; do
		dir="${dir#/}"
		[ -d "$root/$dir" ] || continue
		# It may be the same by another name, such as /usr/lib where /usr is a link.
		path=$(realpath "$root/$dir")
		[ -z "${seen[$path]:-}" ] || continue
		seen[$path]=1
		(cd "$root" && find "${dir%/}" -mindepth 1 -maxdepth 1 ! -type d \( -name '*.so' -o -name '*.so.*' \) -printf '%s\t%p\t%l\n')
	done | while IFS=$'\t' read -r size path target; do
		case "$target" in
		*..*) target=$(realpath -ms --relative-to=/ "/${path%/*}/$target") ;;
		/*) target="${target#/}" ;;
		?*) target="${path%/*}/$target" ;;
		esac
		printf '%s\t%s\t%s\n' "$size" "$path" "$target"
	done
}

# remove_definitions FILE PATH...: takes out the lines on the PATHs.
remove_definitions() {
	local definitions="$1" path escaped
	shift
	for path in "$@"; do
		rootfs_word "$path" escaped
		echo "$escaped"
	done | awk 'NR == FNR { gone[$0]; next } { path = $0; sub(/ [^ ] [0-7]+ .*$/, "", path) } !(path in gone)' - "$definitions" >"$definitions.new"
	mv "$definitions.new" "$definitions"
}

# names_to_open PACKAGE...: patterns of libraries that are opened while programs run, of the packages and of the
# configuration.
names_to_open() {
	local package
	for package in "$@"; do
		[ ! -e "$PKGDEPLOYDIR/$package/dlopen.txt" ] || cat "$PKGDEPLOYDIR/$package/dlopen.txt"
	done
	cat_file_merge DLOPEN
}
