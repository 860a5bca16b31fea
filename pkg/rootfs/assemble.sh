# Puts a root filesystem together from the deploy folders of packages. Only what their rootfs_files.txt lists goes in;
# owners, modes and device nodes are data for mksquashfs, so that nobody needs to be root.

# assemble ROOT DEFINITIONS PACKAGE...: copies the listed files into the new folder ROOT, and writes the squashfs pseudo
# file definitions of all. A package without a list adds nothing; two that disagree on a path are an error, unless one
# of them names it in rootfs_fallbacks.txt: then the other has it. DEFINITIONS.owners gets lines PATH <tab> PACKAGE.
assemble() {
	local root="$1" definitions="$2"
	local -A owner=() lines=() firm=()
	local package turn line path kind what above
	shift 2
	mkdir -p "$root"
	# Fallbacks come when it is known what all the others have.
	for turn in firm fallback; do
		for package in "$@"; do
			[ ! -e "$PKGDEPLOYDIR/$package/rootfs_files.txt" ] || place_package "$PKGDEPLOYDIR/$package"
		done
	done
	# Folders that nobody lists, but that listed files are in.
	for path in "${!owner[@]}"; do
		printf '%s\t%s\n' "$path" "${owner[$path]}"
		while [[ "$path" == */* ]]; do
			path="${path%/*}"
			rootfs_word "$path" above
			: "${lines[$path]:="$above m 755 0 0"}"
		done
	done >"$definitions.owners"
	printf '%s\n' "${lines[@]}" | sort >"$definitions"
}

# The functions below belong to assemble and use its variables.

# place_package DEPLOY: puts in place what the package lists and what has its turn.
# shellcheck disable=SC2162 # the backslashes that protect spaces are to be taken off here
place_package() {
	local deploy="$1"
	local -A fallback=()
	if [ -e "$deploy/rootfs_fallbacks.txt" ]; then
		while read path; do
			fallback[$path]=fallback
		done <"$deploy/rootfs_fallbacks.txt"
	fi
	while read -r line; do
		[ -n "$line" ] || continue
		line="${line#/}"
		read path kind what <<<"$line"
		above="$path"
		while [ -z "${fallback[$above]}" ] && [[ "$above" == */* ]]; do
			above="${above%/*}"
		done
		if [ "$turn" != "${fallback[$above]:-firm}" ]; then
			continue
		elif [ "$turn" = firm ]; then
			firm[$path]=1
		elif [ -n "${firm[$path]}" ]; then
			continue
		fi
		no_link_above "$root" "$path"
		place_entry "$deploy/$path" "$root/$path"
		# A folder is there now, whoever made it; what is left to say is its mode and owner.
		[ "$kind" != d ] || line="${line% d "$what"} m $what"
		if [ "${lines[$path]:-$line}" != "$line" ]; then
			disagree "mode or owner: ${lines[$path]#* } and ${line#* }"
		fi
		owner[$path]="$package"
		lines[$path]="$line"
	done <"$deploy/rootfs_files.txt"
}

# place_entry FROM TO: puts what one line lists where it belongs, or finds the same there.
place_entry() {
	local from="$1" to="$2"
	mkdir -p "${to%/*}"
	case "$kind" in
	c | b) ;;
	d) [ -d "$to" ] || mkdir "$to" 2>/dev/null || disagree "kind" ;;
	m)
		if [ -d "$from" ] && [ ! -L "$from" ]; then
			[ -d "$to" ] || mkdir "$to" 2>/dev/null || disagree "kind"
		elif [ -e "$to" ] || [ -L "$to" ]; then
			same_entry "$from" "$to" || disagree "content"
		elif ! cp -P --preserve=mode "$from" "$to"; then
			echo "package \`$package\` lists \`/$path\`, which it does not deploy" >&2
			exit 1
		fi
		;;
	*)
		echo "package \`$package\`: no meaning in an image: \`$line\`" >&2
		exit 1
		;;
	esac
}

# same_entry A B: whether they are the same link, or files with the same content.
same_entry() {
	if [ -L "$1" ] || [ -L "$2" ]; then
		[ -L "$1" ] && [ -L "$2" ] && [ "$(readlink "$1")" = "$(readlink "$2")" ]
	else
		[ -f "$1" ] && [ -f "$2" ] && cmp -s "$1" "$2"
	fi
}

# no_link_above ROOT PATH: what lies behind a link has another path, which is the one to list.
no_link_above() {
	local above="$2"
	while [[ "$above" == */* ]]; do
		above="${above%/*}"
		if [ -L "$1/$above" ]; then
			echo "package \`$package\` lists \`/$2\`, but \`/$above\` is a link, of package \`${owner[$above]}\`" >&2
			exit 1
		fi
	done
}

# disagree HOW: two packages have the same path, and differ.
disagree() {
	local other="${owner[$path]:-}" below
	# The folder in the way may be there only because of what another package has below it.
	for below in "${!owner[@]}"; do
		if [ -z "$other" ] && [[ "$below" == "$path"/* ]]; then
			other="${owner[$below]}"
		fi
	done
	echo "packages \`$other\` and \`$package\` both have \`/$path\`, and differ in $1" >&2
	exit 1
}

# make_squashfs ROOT DEFINITIONS IMAGE [COMPRESSION...]: the same input makes the same image, byte for byte, on every
# machine. COMPRESSION is -comp and what belongs to it, and xz where it is not given.
make_squashfs() {
	local root="$1" definitions="$2" image="$3"
	shift 3
	[ $# -gt 0 ] || set -- -comp xz
	# mksquashfs wants its times from options or from the environment, not from both; options set those of files too.
	env -u SOURCE_DATE_EPOCH mksquashfs "$root" "$image" -pf "$definitions" -root-mode 755 -root-uid 0 -root-gid 0 \
		-mkfs-time "$SOURCE_DATE_EPOCH" -all-time "$SOURCE_DATE_EPOCH" \
		"$@" -b 256K -no-xattrs -no-exports -noappend -no-progress -quiet
}
