# Root filesystem lists: what of a package goes into the image, and with which owner and mode. The list is
# DEPLOY/rootfs_files.txt; each line is a squashfs pseudo file definition: `PATH m MODE UID GID` for what was deployed,
# `PATH d MODE UID GID` for an empty folder, `PATH c|b MODE UID GID MAJOR MINOR` for a device node.
# Every helper may be called several times: a path has one line, and the last word on it counts.
# Users and groups are in DEPLOY/accounts, lines `user NAME NUMBER HOME SHELL` and `group NAME NUMBER MEMBER...`.

# rootfs_files DEPLOY PATTERN...: lists each file, folder and link at and below the given relative paths, with the mode
# that it has and root as its owner. A pattern that matches nothing is an error.
rootfs_files() {
	local deploy="$1"
	local pattern match lines mode path listed
	shift
	[ $# -gt 0 ] || return 0
	lines=$(
		cd "$deploy" || exit 1
		for pattern in "$@"; do
			pattern="${pattern#./}"
			if ! match=$(compgen -G "${pattern#/}"); then
				echo "rootfs_files: \`$pattern\` matches nothing in \`$deploy\`" >&2
				exit 1
			fi
			while read -r match; do
				find "${match%/}" ! -path . ! -path rootfs_files.txt ! -path ./rootfs_files.txt -printf '%m %p\n'
			done <<<"$match"
		done
	) || return 1
	while read -r mode path; do
		rootfs_path "$path" listed
		echo "$listed m $mode 0 0"
	done <<<"$lines" | rootfs_merge "$deploy"
}

# rootfs_path PATH NAME: sets the variable NAME to PATH as definitions write it, from the top of the image.
rootfs_path() {
	local path="${1#./}"
	path="${path#/}"
	rootfs_word "${path%/}" "$2"
}

# rootfs_word PATH NAME: sets the variable NAME to PATH with spaces and quotes protected.
rootfs_word() {
	local word="${1//\\/\\\\}"
	word="${word// /\\ }"
	printf -v "$2" '%s' "${word//\"/\\\"}"
}

# rootfs_mode DEPLOY PATH MODE UID GID: gives a deployed file another mode and owner.
rootfs_mode() {
	local listed
	rootfs_path "$2" listed
	echo "$listed m $3 $4 $5" | rootfs_merge "$1"
}

# rootfs_folder DEPLOY PATH MODE [UID GID]: an empty folder that the package does not deploy.
rootfs_folder() {
	local listed
	rootfs_path "$2" listed
	echo "$listed d $3 ${4:-0} ${5:-0}" | rootfs_merge "$1"
}

# rootfs_device DEPLOY PATH c|b MAJOR MINOR MODE [UID GID]: a device node.
rootfs_device() {
	local listed
	rootfs_path "$2" listed
	echo "$listed $3 $6 ${7:-0} ${8:-0} $4 $5" | rootfs_merge "$1"
}

# rootfs_config DEPLOY NAME FOLDER: the configuration file NAME of the product or the board, or else the one beside the
# recipe, into FOLDER.
rootfs_config() {
	local deploy="$1" name="$2" folder="${3#/}" found
	found=$(file_path_override "$name")
	install -D -m 644 "${found:-$SCRIPTDIR/pkg/$PKGNAME/$name}" "$deploy/$folder/$name"
	rootfs_files "$deploy" "$folder/$name"
}

# rootfs_service DEPLOY: the file `service` beside the recipe, as the service of the package's name.
rootfs_service() {
	install -D -m 755 "$SCRIPTDIR/pkg/$PKGNAME/service" "$1/etc/service/$PKGNAME"
	rootfs_files "$1" "etc/service/$PKGNAME"
}

# rootfs_user DEPLOY NAME NUMBER [HOME [SHELL]]: a user whom the package needs, and a group of that name and number.
rootfs_user() {
	rootfs_account "$1" user "$2" "$3" "${4:-/}" "${5:-/bin/false}"
}

# rootfs_group DEPLOY NAME NUMBER [MEMBER...]: a group that the package needs.
rootfs_group() {
	rootfs_account "$1" group "${@:2}"
}

# rootfs_account DEPLOY WORD...: a line of the package's accounts, whose last line may lack its end.
rootfs_account() {
	local accounts="$1/accounts"
	if [ -s "$accounts" ] && [ -n "$(tail -c 1 "$accounts")" ]; then
		echo >>"$accounts"
	fi
	echo "${*:2}" >>"$accounts"
}

# rootfs_merge DEPLOY: puts the definitions on stdin into the package's list: one line a path, sorted by path.
rootfs_merge() {
	local list="$1/rootfs_files.txt"
	local -A lines=()
	local line
	local pattern='^(([^\\ ]|\\.)+) '
	while read -r line; do
		[[ "$line" =~ $pattern ]] || continue
		lines["${BASH_REMATCH[1]}"]="$line"
	done < <(if [ -e "$list" ]; then mk_cat "$list"; fi; cat)
	printf '%s\n' "${lines[@]}" | sort >"$list"
}

# rootfs_fallbacks DEPLOY PATH...: a listed path, and all below it, gives way where another package in the image lists
# the same. The paths are put into DEPLOY/rootfs_fallbacks.txt, one a line.
rootfs_fallbacks() {
	local deploy="$1" path listed
	shift
	for path in "$@"; do
		if [ ! -e "$deploy/$path" ] && [ ! -L "$deploy/$path" ]; then
			echo "rootfs_fallbacks: there is no \`$path\` in \`$deploy\`" >&2
			return 1
		fi
		rootfs_path "$path" listed
		echo "$listed"
	done >>"$deploy/rootfs_fallbacks.txt"
}
