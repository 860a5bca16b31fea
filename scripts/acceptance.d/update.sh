# updates of a system on a disk: good ones, refused ones, some that do not start, and one whose power is cut; on ARM too
# shellcheck shell=bash
source "$TREE/scripts/console.sh"
source "$TREE/scripts/owntree.sh"

product="images"
work="$WORKSPACE/update"
rm -rf "$work"
mkdir -p "$work"
trap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT

pass() {
	echo "pass  $*"
}

# bundle NAME: builds the tree as it is now, a system that calls itself NAME, and keeps its bundle.
bundle() {
	sed -i '/^HOST_NAME/d' "$TREE/product/$product/INIT"
	echo "HOST_NAME=$1" >>"$TREE/product/$product/INIT"
	mk -q "$board" "$product"
	cp "$WORKSPACE/$board-$product/deploy/release-$board/update.bundle" "$work/$1.bundle"
}

# boot_is TEXT: what the systems that are built from now on do in place of starting.
boot_is() {
	printf '#!/bin/sh\n%s\n' "$1" >"$TREE/pkg/init/files/boot"
}

# start BUNDLE [ARGUMENT...]: the system, with BUNDLE as its second disk.
start() {
	local bundle="$work/$1.bundle"
	shift
	start_guest "$work/console.log" "$work/release/run" --accel tcg --disk "$work/disk.img" --drive "$bundle" "$@" \
		-- -device i6300esb
}

# restarts: the system does, and so ends its emulator.
restart() {
	type_line reboot
	await_end 120
}

# runs NAME SLOT: logs in to the system NAME, which must be in SLOT.
runs() {
	log_in 240
	on_console "hostname"
	await "^$1\$" 10
	on_console "update status"
	await "^running: $2\$" 10
}

# settled SLOT: waits until the system has found itself good.
settled() {
	on_console "until update status | grep -qx 'next: $1'; do sleep 1; done"
}

# refused DISK MESSAGE: the bundle on that disk is, with these words.
refused() {
	type_line "update /dev/$1 || echo 'not done'"
	await '^not done' 120
	await "^update: .*$2" 10
	pass "refused: $2"
}

# updates: writes the bundle on the second disk.
updates() {
	type_line "update /dev/vdb"
	await "^update: slot [ab] starts next" 240
}

# good_update: from the first system in slot a to the second in slot b.
good_update() {
	start second --firmware
	runs first a
	updates
	restart
	start second --firmware
	runs second b
	settled b
}

# slot_b: what is in that partition now, as far as the image reaches.
slot_b() {
	local start
	start=$(sgdisk -i 4 "$work/disk.img" | sed -n 's/^First sector: \([0-9]*\).*/\1/p')
	dd if="$work/disk.img" bs=512 skip="$start" count="$(($(stat -c %s "$work/rootfs") / 512))" 2>/dev/null
}

# slot_b_begun: whether the first of it has been written.
slot_b_begun() {
	[ "$(slot_b | head -c 4)" = hsqs ]
}

# signed NAME: a bundle of the files manifest and rootfs in $work, with the right key.
signed() {
	signify-openbsd -S -e -s "$TREE/product/$product/update.sec" -m "$work/manifest" -x "$work/manifest.sig"
	tar -c -C "$work" -f "$work/$1.bundle" manifest.sig rootfs
}

# two_systems: the disk of a system that calls itself first, and the bundle of one that calls itself second.
two_systems() {
	local release="$WORKSPACE/$board-$product/deploy/release-$board"
	bundle first
	rm -rf "$work/release"
	cp -rL "$release" "$work/release"
	cp --sparse=always "$release/disk.img" "$work/disk.img"
	bundle second
}

tree="$TREE"
own_tree
printf '%s\n' image-disk image-update >"$TREE/product/$product/IMAGES"

# The boot loader starts these.
for board in qemu-aarch64 qemu-armv7; do
	two_systems
	good_update
	type_line poweroff
	await_end 120
	pass "$board: a good update"
done

board="qemu-x86_64"
two_systems

# The same image under the signature of somebody else; one that another board is for; one that is not what was signed.
tar -x -C "$work" -f "$work/second.bundle"
signify-openbsd -V -e -q -p "$TREE/product/$product/update.pub" -x "$work/manifest.sig" -m "$work/manifest"
signify-openbsd -G -n -p "$work/other.pub" -s "$work/other.sec"
signify-openbsd -S -e -s "$work/other.sec" -m "$work/manifest" -x "$work/manifest.sig"
tar -c -C "$work" -f "$work/forged.bundle" manifest.sig rootfs
cp "$work/manifest" "$work/manifest.right"
sed -i 's/^board .*/board other/' "$work/manifest"
signed foreign
cp "$work/manifest.right" "$work/manifest"
printf 'X' | dd of="$work/rootfs" bs=1 seek=5000 conv=notrunc 2>/dev/null
signed damaged
head -c 100000 /dev/urandom >"$work/rootfs"
read -r digest _ < <(sha256sum "$work/rootfs")
sed -i "s/^rootfs .*/rootfs 100000 $digest/" "$work/manifest"
signed rubbish

start forged --drive "$work/foreign.bundle" --drive "$work/damaged.bundle" --firmware
runs first a
refused vdb "not signed with the key"
refused vdc "is for the board .other."
refused vdd "does not hold what was signed"
restart
good_update
pass "none of them counts"
restart
start second
runs second b
pass "a good update stays"
type_line poweroff
await_end 120

# The first process goes on as one that ends at once, which the kernel does not stand.
boot_is "echo ::restart:/bin/false >/dev/inittab; mount --bind /dev/inittab /etc/inittab; kill -HUP 1; kill -QUIT 1"
bundle panics
start panics
runs second b
updates
restart
start panics
await_end 240
grep -qa "Kernel panic" "$work/console.log" || fail "the system ended, but not in a panic"
start panics
runs second b
on_console "update status"
await "^failed: a" 10
pass "one that panics gives way to the one before"
type_line poweroff
await_end 120

boot_is "while :; do sleep 1000; done"
bundle hangs
start hangs
runs second b
updates
restart
start hangs
await_end 240
start rubbish
runs second b
pass "one that hangs is ended by the watchdog, and gives way"

updates
restart
start second
runs second b
on_console "update status"
await "^failed: a" 10
pass "one that is no system gives way at once"
type_line poweroff
await_end 120

cp "$tree/pkg/init/files/boot" "$TREE/pkg/init/files/boot"
printf '#!/bin/sh\nexit 1\n' >"$TREE/pkg/dropbear/service"
bundle falls
start falls
runs second b
updates
restart
start falls
await_end 240
start second
runs second b
on_console "update status"
await "^failed: a" 10
pass "one with a service that ends at once, again and again, gives way"
type_line poweroff
await_end 120

# Back to slot a, so that b is written next; through a disk that takes 20 kB in a second.
start first
runs second b
updates
restart
start second
runs first a
settled a
tar -x -C "$work" -f "$work/second.bundle" rootfs
dd if=/dev/zero of="$work/disk.img" bs=512 seek="$(sgdisk -i 4 "$work/disk.img" | sed -n 's/^First sector: \([0-9]*\).*/\1/p')" \
	count=2048 conv=notrunc 2>/dev/null
# In small pieces: a single one of the whole image would be written at once, whatever the speed.
on_console "echo 4 >/sys/block/vda/queue/max_sectors_kb"
printf '\001c' >&7
type_line "block_set_io_throttle root 0 0 20000 0 0 0"
printf '\001c' >&7
type_line "update /dev/vdb"
within 240 "the other slot is being written" slot_b_begun
{ kill -9 "$guest" && ! wait "$guest"; } 2>/dev/null
! cmp -s <(slot_b) "$work/rootfs" || fail "the power was cut too late to matter"
start second
runs first a
on_console "update status"
await "^next: a" 10
pass "an update that was cut off leaves the system as it was"
updates
restart
start second
runs second b
pass "and is made up for"
type_line poweroff
await_end 120
