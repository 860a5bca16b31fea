# What is in an image, for tools that do not read the definitions of assemble.sh themselves.

# list_entries ROOT DEFINITIONS: a line for the top folder and for each path, folders before what is in them:
# TYPE MODE UID GID MAJOR MINOR PATH, with tabs between. TYPE is f, d, l, c or b; what is no device has 0 and 0. PATH
# is relative, and empty for the top folder.
list_entries() {
	local root="$1" path type mode uid gid major minor
	printf 'd\t755\t0\t0\t0\t0\t\n'
	# shellcheck disable=SC2162 # the backslashes that protect spaces are to be taken off here
	while read path type mode uid gid major minor; do
		if [ "$type" = m ]; then
			type=f
			[ ! -d "$root/$path" ] || type=d
			[ ! -L "$root/$path" ] || type=l
		fi
		# Not all tools take names, or zeros in front.
		[ "$uid" != root ] || uid=0
		[ "$gid" != root ] || gid=0
		printf '%s\t%o\t%s\t%s\t%s\t%s\t%s\n' "$type" "$((8#$mode))" "$uid" "$gid" "${major:-0}" "${minor:-0}" "$path"
	done <"$2"
}

# make_archive rpax|newc ROOT DEFINITIONS: prints it as a tar or cpio archive, by bsdtar, whoever owns the files of ROOT.
make_archive() {
	list_entries "$2" "$3" >entries
	write_mtree "$2" <entries >mtree
	# By way of a plain tar archive, in which numbers of this machine's file systems have no place.
	LC_ALL=C.UTF-8 bsdtar -c --format=rpax -f plain.tar @mtree
	LC_ALL=C.UTF-8 bsdtar -c --format="$1" -f - @plain.tar
	rm entries mtree plain.tar
}

# write_mtree ROOT: the entries on stdin in the form that bsdtar makes archives from.
write_mtree() {
	local root="$1" path type mode uid gid major minor word target
	echo "#mtree"
	while IFS=$'\t' read -r type mode uid gid major minor path; do
		mtree_word "./$path" word
		printf '%s mode=%s uid=%s gid=%s time=%s.0 ' "${word%/}" "$mode" "$uid" "$gid" "$SOURCE_DATE_EPOCH"
		case "$type" in
		f)
			mtree_word "$root/$path" word
			echo "type=file contents=$word"
			;;
		d) echo "type=dir" ;;
		l)
			target=$(readlink "$root/$path")
			mtree_word "$target" word
			echo "type=link link=$word"
			;;
		c) echo "type=char device=linux,$major,$minor" ;;
		b) echo "type=block device=linux,$major,$minor" ;;
		esac
	done
}

# mtree_word TEXT NAME: sets the variable NAME to TEXT as mtree writes it.
mtree_word() {
	local text="$1" written="" byte i
	if [[ "$text" == *[!-._/A-Za-z0-9]* ]]; then
		for ((i = 0; i < ${#text}; i++)); do
			byte="${text:i:1}"
			[[ "$byte" == [-._/A-Za-z0-9] ]] || printf -v byte '\\%03o' "'$byte"
			written+="$byte"
		done
		text="$written"
	fi
	printf -v "$2" '%s' "$text"
}

# write_device_table: the entries on stdin as a device table of mtd-utils. That has no word for the top folder nor for
# links, which are root's without one, and takes no spaces.
write_device_table() {
	local path type mode uid gid major minor
	while IFS=$'\t' read -r type mode uid gid major minor path; do
		if [ -z "$path" ] || [ "$type" = l ]; then
			continue
		elif [[ "$path" == *" "* ]]; then
			echo "a device table cannot say \`/$path\`, with its space" >&2
			return 1
		fi
		echo "/$path $type $mode $uid $gid $major $minor - - -"
	done
}
