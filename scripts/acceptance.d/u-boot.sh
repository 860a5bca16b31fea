# U-Boot on both ARM boards: QEMU starts it in place of the kernel, and it starts what QEMU has, by itself
# shellcheck shell=bash
# How it starts a disk: scenario `update`.
source "$TREE/scripts/console.sh"

for board in qemu-aarch64 qemu-armv7; do
	deploy="$WORKSPACE/$board-minimal/deploy"
	work="$WORKSPACE/try-u-boot-$board"
	mkdir -p "$work"
	mk "$board" minimal "release-$board" u-boot
	start_guest "$work/console.log" "$deploy/release-$board/run" --accel tcg -- -bios "$deploy/u-boot/boot/u-boot.bin"
	log_in 300
	on_console "grep -q 'console=ttyAMA0' /proc/cmdline"
	type_line poweroff
	await_end 120
	boot_loader=$(grep -a -o -m 1 'U-Boot [0-9.]*' "$work/console.log") || fail "$board: the system started without U-Boot"
	echo "pass  $board: $boot_loader starts the system"
done
