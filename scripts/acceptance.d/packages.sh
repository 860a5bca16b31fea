# every package of the product full in one system, on both boards, where each shows that it works
# shellcheck shell=bash disable=SC2016 # what the system is to expand is quoted here

# A package a line, and a command that the booted system runs for it. Where busybox has a program of the same name, it
# is the package's own that has to answer. Libraries without programs are loaded into one.
commands() {
	cat <<'END'
basefiles	grep root: /etc/passwd
bash	bash -c '[[ abc == a* ]] && printf %a 1 && trap : RTMIN && echo "bash $BASH_VERSION"'
btrfs-progs	truncate -s 128M /tmp/btrfs && mkfs.btrfs -q /tmp/btrfs && btrfs check /tmp/btrfs
busybox	busybox | grep multi-call
bzip2	echo bzip2 | bzip2 | bunzip2
ca-certificates	openssl storeutl -noout -certs /etc/ssl/cert.pem | grep 'Total found: 1[0-9][0-9]'
chrony	echo "pool 127.0.0.1" >>/etc/chrony.conf && chronyd -p -f /etc/chrony.conf && chronyc --version
coreutils	stat --version | grep coreutils && [ "$(echo a b | cut -d ' ' -f 2)" = b ] && stdbuf -o L true
curl	curl -V && curl -s file:///etc/hostname
dhcpcd	dhcpcd --version
diffutils	diff --version | grep diffutils
dnsmasq	dnsmasq --version
dosfstools	truncate -s 4M /tmp/fat && mkfs.fat /tmp/fat && fsck.fat -n /tmp/fat
dropbear	dropbearkey -t ed25519 -f /tmp/dropbear.key
e2fsprogs	truncate -s 16M /tmp/ext4 && mkfs.ext4 -q /tmp/ext4 && e2fsck -fn /tmp/ext4
ethtool	ethtool --version
expat	loads libexpat
file	file -L /bin/sh | grep 'ELF 64-bit'
findutils	find --version | grep findutils && find /etc -name passwd | grep passwd
gawk	gawk 'BEGIN { print "gawk", PROCINFO["version"], 2 ^ 10 }'
gmp	loads libgmp
grep	grep --version | grep 'GNU grep' && echo a | egrep a
gzip	gzip --version | grep gzip && [ "$(echo a | gzip | zcat)" = a ]
hostapd	hostapd -v 2>&1 | grep 'hostapd v'
htop	htop --version
inetutils	/bin/ping -c 1 127.0.0.1 && telnet --version | grep inetutils
init	pidof runsvdir
iproute2	ip -V && ip -br link
iptables	iptables -V && iptables-restore --version
iw	iw --version
kmod	kmod --version && modprobe --version
ldns	drill -v
less	less --version | grep '^less' && less /etc/hostname
libbsd	loads libbsd
libcap	capsh --print | grep Current
libedit	loads libedit
libmd	loads libmd
libnl3	loads libnl-3 && loads libnl-genl-3
libpcap	loads libpcap
libseccomp	loads libseccomp
lua	lua -e 'print(_VERSION, ("x"):rep(3))'
lz4	echo lz4 | lz4 -c | lz4 -dc
lzo	loads liblzo2
mtd-utils	mkfs.jffs2 -r /etc -o /tmp/jffs2 && mkfs.ubifs -r /etc -m 2048 -e 126976 -c 100 -x lzo -o /tmp/ubifs && ls -s /tmp/jffs2 /tmp/ubifs
musl	/lib/ld-musl-*.so.1 --list /bin/bash | grep libc.so
nano	nano --version
ncurses	tput -T xterm colors && infocmp linux
nginx	nginx -t
openssh	ssh -V && ssh-keygen -q -t ed25519 -N '' -f /tmp/ssh.key && cat /tmp/ssh.key.pub
openssl	openssl version && echo abc | openssl dgst -sha256 | grep edeaaff3f1774ad2888673770c6d64097e391bc362d7d6fb34982ddf0efd18cb
pcre2	loads libpcre2-8
procps-ng	ps --version | grep procps-ng && free && pidof runsvdir
psmisc	killall -V && pstree 1
readline	loads libreadline
sed	sed --version | grep 'GNU sed' && [ "$(echo a | sed s/a/b/)" = b ]
shadow	passwd -S root && useradd -D && grep '^ENCRYPT_METHOD SHA512' /etc/login.defs
signify	signify -G -n -p /tmp/signify.pub -s /tmp/signify.sec && cat /tmp/signify.pub
sqlite3	sqlite3 :memory: 'select sqlite_version(), 1 + 1'
squashfs-tools	mksquashfs /etc /tmp/squashfs -quiet -no-progress && unsquashfs -l /tmp/squashfs | grep passwd
strace	strace true 2>&1 | grep execve
tar	tar --version | grep 'GNU tar' && tar -c -J -C /etc passwd | tar -t -J
tcpdump	tcpdump --version
tzdata	TZ=Europe/Berlin date -d @0 | grep CET
unbound	unbound -V && unbound-checkconf
util-linux	lsblk --version && lsblk && lscpu
xz	xz --version && echo xz | xz | unxz
zlib	loads libz
zstd	echo zstd | zstd | unzstd
END
}

# wait_for TEXT: reads the console until TEXT is there.
wait_for() {
	local seen="" char
	while [[ "$seen" != *"$1" ]]; do
		IFS= read -r -d "" -n 1 -u "$from" char || fail "the console ended before \`$1\`; its last words: ${seen: -500}"
		seen+="$char"
	done
}

# say LINE: types it on the console.
say() {
	printf '%s\n' "$1" >&"$to"
}

# answer COMMAND: lets the system run it, and prints its status and the first line of what it said. A prompt may stand
# before what a command prints, so the answer begins a line of its own.
answer() {
	local line
	say "(set -e; $1) >/tmp/said 2>&1 </dev/null; printf '\\n=%s %s\\n' \$? \"\$(head -n 1 /tmp/said)\""
	while IFS= read -r -u "$from" line; do
		if [[ "$line" == =* ]]; then
			line="${line#=}"
			echo "${line%$'\r'}"
			return
		fi
	done
	fail "the console ended before \`$1\` did"
}

# try_board BOARD: builds the product, boots it, and lets each package show what it does there.
try_board() {
	local board="$1" guest_pid from to package command status said without failed=0
	mk "$board" full

	coproc guest {
		exec timeout 2400 "$WORKSPACE/$board-full/deploy/release-$board/run" --accel tcg --memory 512 2>&1
	}
	guest_pid="$guest_PID"
	exec {from}<&"${guest[0]}" {to}>&"${guest[1]}"
	wait_for "login: "
	say root
	wait_for "assword: "
	say root
	wait_for "# "
	# A shell that neither prompts nor edits, on a terminal that does not repeat what is typed.
	say "stty -echo; exec sh -s 2>/dev/null"
	say 'loads() { LD_PRELOAD=$(echo /lib/$1.so.*) grep -m 1 "/$1[.]so" /proc/self/maps; }'
	say 'echo "begin $((6 * 7))"'
	wait_for "begin 42"

	while IFS=$'\t' read -r package command; do
		read -r status said < <(answer "$command")
		if [ "$status" = 0 ]; then
			printf 'pass  %-15s %s\n' "$package" "$said"
		else
			printf 'FAIL  %-15s %s (status %s)\n' "$package" "$said" "$status"
			failed=$((failed + 1))
		fi
	done < <(commands)
	say poweroff
	wait "$guest_pid" || fail "the system did not power off"
	exec {from}<&- {to}>&-

	without=$(comm -23 <(cat "$TREE"/{product/full,board/"$board"}/ROOTFS | sort -u) <(commands | cut -f 1 | sort))
	[ -z "$without" ] || fail "no command for: $without"
	[ "$failed" -eq 0 ] || fail "$failed packages do not work on $board"
}

for board in ${BOARDS:-qemu-x86_64 qemu-aarch64}; do
	echo "-- $board"
	try_board "$board"
done
