# U-Boot on both ARM boards: QEMU starts it in place of the kernel; from its prompt, it starts the system
# shellcheck shell=bash
source "$TREE/scripts/console.sh"

for board in qemu-aarch64 qemu-armv7; do
	release="$WORKSPACE/$board-minimal/deploy/release-$board"
	work="$WORKSPACE/try-u-boot-$board"
	mkdir -p "$work"
	mk "$board" minimal "release-$board" u-boot
	# On 64-bit ARM, U-Boot wants to be told where to unpack a kernel, and nobody does.
	zcat -f "$release/kernel" >"$work/kernel"
	start_guest "$work/console.log" "$release/run" --accel tcg -- \
		-bios "$WORKSPACE/$board-minimal/deploy/u-boot/boot/u-boot.bin" -kernel "$work/kernel"
	await 'Hit any key to stop autoboot' 120
	type_line ""
	await '^=> $' 60
	# On 32-bit ARM, U-Boot would change the device tree where it lies, and does not manage to.
	type_line "setenv fdt_high"
	await '^=> $' 60
	type_line "run bootcmd_qfw"
	log_in 300
	on_console "grep -q 'console=ttyAMA0' /proc/cmdline"
	type_line poweroff
	await_end 120
	echo "pass  $board: $(grep -a -o -m 1 'U-Boot [0-9.]*' "$work/console.log") starts the system"
done
