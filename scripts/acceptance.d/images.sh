# every form of image: read by other programs than made it, made again with the same bytes, and booted in QEMU
# shellcheck shell=bash
# The tree is a copy with keys of its own and one more package, of odd owners, modes and devices.
source "$TREE/scripts/console.sh"
source "$TREE/scripts/owntree.sh"

board="qemu-x86_64"
product="images"
work="$WORKSPACE/images"
rm -rf "$work"
mkdir -p "$work"
trap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT

pass() {
	echo "pass  $*"
}

add_odd() {
	mkdir "$TREE/pkg/odd"
	cat >"$TREE/pkg/odd/build" <<-'END'
		VERSION="1"
		DESCRIPTION="Owners, modes and devices that are out of the ordinary"
		LICENSE="GPL-3.0-or-later"
		deploy() {
			mkdir -p "$2/odd"
			echo one >"$2/odd/owned"
			echo two >"$2/odd/setuid"
			ln -s owned "$2/odd/link"
			rootfs_files "$2" odd
			rootfs_mode "$2" odd 1770 12 34
			rootfs_mode "$2" odd/owned 640 1234 4321
			rootfs_mode "$2" odd/setuid 4755 1000 0
			rootfs_device "$2" odd/disk b 7 1 660 0 6
			rootfs_device "$2" odd/tty c 4 5 620 0 5
		}
	END
	echo odd >>"$TREE/product/$product/ROOTFS"
}

# What every reader has to tell: mode, owner, number of the device, name.
expected() {
	cat <<-END
		drwxrwx--T 12/34 0,0 odd
		brw-rw---- 0/6 7,1 odd/disk
		lrwxrwxrwx 0/0 0,0 odd/link
		-rw-r----- 1234/4321 0,0 odd/owned
		-rwsr-xr-x 1000/0 0,0 odd/setuid
		crw--w---- 0/5 4,5 odd/tty
	END
}

# same WHAT: compares what is on stdin with that.
same() {
	tr -d '\r' | diff <(expected) - >"$work/diff" || fail "$1 has other owners, modes or devices: $(cat "$work/diff")"
	pass "$1"
}

# listed PREFIX: what is on stdin, a list as tar and unsquashfs print it, in the form of `expected`.
listed() {
	sed -E "s|, +|,|; s|/\$||; s# $1# #; s| -> .*||" | awk '$NF ~ /^odd/ {
		print $1, $2, $1 ~ /^[bc]/ ? $3 : "0,0", $NF
	}' | sort -k 4
}

# looked_at WHAT TYPE: what the booted system sees itself, on a root filesystem of that type.
looked_at() {
	log_in 240
	on_console "grep -q '^[^ ]* / $2 ' /proc/mounts"
	on_console "cd / && stat -c '%A %u/%g %t,%T %n' odd odd/*"
	tail -c "+$guest_mark" "$guest_log" | grep -aE '^[-bcdl][-rwxsStT]{9} ' | sed "s/'//g; s/ -> .*//" | same "$1 booted"
	type_line poweroff
	await_end 120
}

# flash FILE WORDS: boots FILE as flash, without an initrd.
flash() {
	# A chip has more blocks than the image, and those are erased.
	{
		cat "$1"
		head -c $((32 * 1024 * 1024 - $(stat -c %s "$1"))) /dev/zero | tr '\0' '\377'
	} >"$work/flash"
	start_guest "$work/console.log" qemu-system-x86_64 -machine q35,accel=tcg -cpu qemu64 -m 256 -nodefaults -display none \
		-serial mon:stdio -no-reboot -kernel "$release/kernel" \
		-append "console=ttyS0 no_timer_check loglevel=4 panic=-1 block2mtd.block2mtd=/dev/vda,128KiB rootwait $2" \
		-drive "file=$work/flash,format=raw,if=virtio"
}

own_tree
add_odd
mk -q "$board" "$product"
release="$WORKSPACE/$board-$product/deploy/release-$board"
mapfile -t packages < <(cat "$TREE/product/$product/IMAGES" "$TREE/product/$product/$board/IMAGES")
mk -q verify "$board" "$product" rootfs "${packages[@]}"
pass "all came out the same again: ${packages[*]}"

unsquashfs -lln "$release/rootfs" | listed squashfs-root/ | same "squashfs with xz"
unsquashfs -lln "$release/rootfs.squashfs-zstd" | listed squashfs-root/ | same "squashfs with zstd"
tar --numeric-owner -tvf "$release/rootfs.tar" | listed '\./' | same "tar"
tar --numeric-owner -tvf "$release/nfs/rootfs.tar" | listed '\./' | same "root for NFS"
zcat "$release/rootfs.cpio.gz" | cpio -tvn --quiet | sed -E 's|^(\S+ +)\S+ +(\S+) +(\S+)|\1\2/\3|' | listed '\./' | same "initramfs"
e2fsck -fn "$release/rootfs.ext4" >"$work/e2fsck" 2>&1 || fail "e2fsck: $(cat "$work/e2fsck")"
pass "ext4: $(tail -n 1 "$work/e2fsck" | sed 's/.*: //')"
fsck.erofs "$release/rootfs.erofs"
pass "erofs: $(dump.erofs "$release/rootfs.erofs" | sed -n 's/.*inode count: */inodes: /p')"
jffs2dump -c "$release/rootfs.jffs2" >"$work/jffs2dump" 2>&1 || fail "jffs2dump: $(tail -n 1 "$work/jffs2dump")"
! grep -iE 'wrong|error' "$work/jffs2dump" || fail "jffs2dump does not like it"
nodes=$(grep -c 'Inode ' "$work/jffs2dump") || fail "jffs2dump finds nothing in it"
pass "jffs2: $nodes nodes"
sgdisk -v "$release/disk.img" | grep 'No problems found' >/dev/null || fail "sgdisk: $(sgdisk -v "$release/disk.img")"
pass "disk: partitions $(sgdisk -p "$release/disk.img" | awk '/^ +[0-9]/ { printf "%s ", $NF }')"

run=("$release/run" --accel tcg)
while read -r image type; do
	start_guest "$work/console.log" "${run[@]}" --root "$release/$image"
	looked_at "$image" "$type"
done <<-END
	rootfs squashfs
	rootfs.squashfs-zstd squashfs
	rootfs.ext4 ext4
	rootfs.erofs erofs
END
start_guest "$work/console.log" "${run[@]}" -- -initrd "$release/rootfs.cpio.gz"
looked_at rootfs.cpio.gz rootfs
flash "$release/rootfs.jffs2" "root=/dev/mtdblock0 rootfstype=jffs2"
looked_at rootfs.jffs2 jffs2
flash "$release/rootfs.ubi" "ubi.mtd=0 root=ubi0:rootfs rootfstype=ubifs"
looked_at rootfs.ubi ubifs
cp "$release/disk.img" "$work/disk.img"
start_guest "$work/console.log" "${run[@]}" --disk "$work/disk.img"
looked_at "disk, by the kernel beside it," squashfs
start_guest "$work/console.log" "${run[@]}" --disk "$work/disk.img" --firmware
looked_at "disk, by its firmware," squashfs

# lasts_on DEVICE: the booted system keeps its changes there.
lasts_on() {
	log_in 240
	on_console "grep '^$1 /data ext[24] ' /proc/mounts"
	type_line poweroff
	await_end 120
}

mke2fs -q -t ext4 -L data "$work/other.img" 16M
start_guest "$work/console.log" "${run[@]}" --disk "$work/disk.img" --data "$work/other.img"
lasts_on /dev/vda5
pass "data: what is beside the root comes before another disk with the label"
dd if=/dev/zero of="$work/other.img" bs=1M count=16 conv=notrunc status=none
start_guest "$work/console.log" "${run[@]}" --disk "$work/disk.img" --data "$work/other.img" \
	--append "data=/dev/vdb factory-reset"
lasts_on /dev/vdb
pass "data: a disk that is named, and makes no sense, is made anew by a factory reset"
