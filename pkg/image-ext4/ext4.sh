# An ext4 image without root: mke2fs makes an empty one, and debugfs does in it, entry by entry, what a script says. So
# owners and devices come from the definitions, and nothing from the order, the owners or the times of files here.

source "$SCRIPTDIR/pkg/rootfs/entries.sh"

# make_ext4 ROOT DEFINITIONS IMAGE [SIZE]: SIZE as mke2fs takes it; what the content needs, and a tenth more, where there
# is none. Without a journal: the root filesystem is mounted read only.
make_ext4() {
	local root="$1" definitions="$2" image="$3" size="${4:-}"
	local entries
	entries=$(list_entries "$root" "$definitions" | wc -l)
	if [ -z "$size" ]; then
		# Blocks of 4 KiB: files, a block for each folder, 16 inodes of 256 bytes in one.
		size=$(find "$root" \( -type f -printf '%s\n' \) -o \( -type d -printf '4096\n' \) | awk -v entries="$entries" '
			{ blocks += int(($1 + 4095) / 4096) }
			END { printf "%dk\n", 4 * int(1.1 * (blocks + entries / 16 + 256)) }')
	fi
	rm -f "$image"
	E2FSPROGS_FAKE_TIME="$SOURCE_DATE_EPOCH" mke2fs -q -t ext4 -b 4096 -I 256 -m 0 -N "$((entries + 64))" \
		-O ^has_journal,^resize_inode -U "$(printf '%.0s0' {1..8})-0000-4000-8000-000000000001" \
		-E "hash_seed=00000000-0000-4000-8000-000000000001,root_owner=0:0,lazy_itable_init=0" "$image" "$size" >/dev/null
	list_entries "$root" "$definitions" | write_debugfs "$root" >debugfs.script
	E2FSPROGS_FAKE_TIME="$SOURCE_DATE_EPOCH" debugfs -w -f debugfs.script "$image" >debugfs.log 2>&1
	# It goes on after an error, and says what is wrong only in words; between them are just the commands.
	if grep -v -e '^debugfs' -e '^Allocated inode: ' debugfs.log; then
		return 1
	fi
}

# write_debugfs ROOT: the commands that make the entries on stdin.
write_debugfs() {
	local root="$1" path type mode uid gid major minor name target field kind
	local -A kinds=([f]=10 [d]=04 [l]=12 [c]=02 [b]=06)
	while IFS=$'\t' read -r type mode uid gid major minor path; do
		name="${path##*/}"
		debugfs_word "$name" name
		debugfs_word "/${path%"${path##*/}"}" field
		echo "cd $field"
		case "$type" in
		f)
			debugfs_word "$root/$path" target
			echo "write $target $name"
			;;
		d) [ -z "$path" ] || echo "mkdir $name" ;;
		l)
			target=$(readlink "$root/$path")
			debugfs_word "$target" target
			echo "symlink $name $target"
			;;
		c | b) echo "mknod $name $type $major $minor" ;;
		esac
		[ -n "$path" ] || name="."
		kind="${kinds[$type]}"
		printf "sif $name %s\n" "mode 0$kind$(printf '%04d' "$mode")" "uid $uid" "gid $gid" \
			"atime @$SOURCE_DATE_EPOCH" "ctime @$SOURCE_DATE_EPOCH" "mtime @$SOURCE_DATE_EPOCH" "crtime @$SOURCE_DATE_EPOCH"
	done
}

# debugfs_word TEXT NAME: sets the variable NAME to TEXT as debugfs reads it.
debugfs_word() {
	printf -v "$2" '"%s"' "${1//\"/\"\"}"
}
