# packages for 32-bit ARM with the quick toolchain, whose programs run under QEMU user mode
# shellcheck shell=bash

board="qemu-armv7"
deploy="$WORKSPACE/$board-minimal/deploy"
work="$WORKSPACE/try-$board"
packages=(bash busybox curl dnsmasq dropbear e2fsprogs file gawk htop iproute2 lua openssl sqlite3 strace util-linux xz zlib zstd)

# run PACKAGE PROGRAM ARGUMENT...
run() {
	qemu-arm -L "$deploy/musl" -E LD_LIBRARY_PATH="$libraries" "$deploy/$1/bin/$2" "${@:3}"
}

# try PACKAGE EXPECTED PROGRAM ARGUMENT...: what the program says contains EXPECTED.
try() {
	local said
	said=$(run "$1" "${@:3}" 2>&1) || fail "$1: \`$3\` ended with status $?: $said"
	[[ "$said" == *"$2"* ]] || fail "$1: \`$3\` says \`$said\`, not \`$2\`"
	printf 'pass  %-12s %s\n' "$1" "$(head -n 1 <<<"$said")"
}

mk "$board" minimal "${packages[@]}"
libraries=$(printf '%s:' "$deploy"/*/lib)
rm -rf "$work"
mkdir -p "$work"
echo abc >"$work/abc"

# shellcheck disable=SC2016 # the target's shells expand
{
	try bash "bash 5." bash -c '[[ abc == a* ]] && echo "bash $BASH_VERSION"'
	try busybox "sum 42" busybox sh -c 'echo "sum $((6 * 7))"'
}
try curl abc curl -s "file://$work/abc"
try dnsmasq "Dnsmasq version" dnsmasq --version
try dropbear ssh-ed25519 dropbearmulti dropbearkey -t ed25519 -f "$work/dropbear.key"
try e2fsprogs "" mke2fs -q -t ext4 "$work/ext4" 16M
try e2fsprogs "Pass 5" e2fsck -fn "$work/ext4"
try file "ELF 32-bit LSB" file -m "$deploy/file/share/misc/magic.mgc" "$deploy/file/bin/file"
try gawk 1024 gawk 'BEGIN { print 2 ^ 10 }'
try htop "htop 3" htop --version
try iproute2 "ip utility" ip -V
try lua xxx lua -e 'print(("x"):rep(3))'
try openssl edeaaff3f1774ad2888673770c6d64097e391bc362d7d6fb34982ddf0efd18cb openssl dgst -sha256 "$work/abc"
try sqlite3 2 sqlite3 :memory: 'select 1 + 1'
try strace "strace -- version" strace -V
try util-linux util-linux lsblk --version
for package in xz zstd; do
	[ "$(run "$package" "$package" -c "$work/abc" | run "$package" "$package" -dc)" = abc ] || fail "$package: what it packs is not what it unpacks"
	printf 'pass  %-12s packs and unpacks\n' "$package"
done
