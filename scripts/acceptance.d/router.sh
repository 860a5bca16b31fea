# the product router on both boards, between a client and an outer network
# shellcheck shell=bash
# Each board is built, then booted with two network cards: `outer`, where this scenario is DHCP server, name server and
# web server, and `inner`, where a network namespace is the client. All of it is in namespaces of its own, which need no
# root, but a /dev/net/tun that may be opened.
source "$TREE/scripts/console.sh"

OUTER=203.0.113.1
SERVER=server.example.com

# build BOARD: with nft from source where that can be fetched, else with the distribution's.
build() {
	if [ -z "${NFTPKG:-}" ] && ! mk fetch -q "$1" router nft; then
		echo "router: no source of nftables can be fetched: NFTPKG=nftables-prebuilt"
		export NFTPKG=nftables-prebuilt
	fi
	mk -q "$1" router
}

pass() {
	echo "pass  $*"
}

client() {
	ip netns exec client "$@"
}

# on_router COMMAND: by ssh, from the inner network.
on_router() {
	client ssh -F none -i "$work/key" -o UserKnownHostsFile="$work/known_hosts" -o StrictHostKeyChecking=accept-new \
		-o BatchMode=yes -o ConnectTimeout=60 -o LogLevel=ERROR root@192.168.1.1 "$@"
}

make_networks() {
	mount -t tmpfs tmpfs /run
	ip link set lo up
	ip tuntap add outer mode tap
	ip address add $OUTER/24 dev outer
	ip link set outer up
	ip netns add client
	ip tuntap add inner mode tap
	ip link add cable type bridge
	ip link add plug type veth peer name eth0 netns client
	ip link set inner master cable
	ip link set plug master cable
	for name in inner cable plug; do
		ip link set $name up
	done
	client ip link set lo up
	client ip link set eth0 up
}

serve_outside() {
	dnsmasq --no-daemon --conf-file=/dev/null --interface=outer --bind-interfaces --no-resolv --no-hosts \
		--dhcp-range=203.0.113.50,203.0.113.59,1h --dhcp-leasefile="$work/leases" --dhcp-authoritative \
		--local=/$SERVER/ --address=/$SERVER/$OUTER --local=/pool.ntp.org/ --address=/pool.ntp.org/$OUTER \
			>"$work/dnsmasq.log" 2>&1 &
	mkdir -p "$work/www"
	echo hello >"$work/www/hello"
	busybox httpd -f -vv -p $OUTER:80 -h "$work/www" 2>"$work/httpd.log" &
}

# serve_time: answers who asks for the time, as NTP has it: seconds since 1900, and what the question had as its own time.
serve_time() {
	python3 - $OUTER <<-'END' &
		import socket, struct, sys, time
		server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		server.bind((sys.argv[1], 123))
		while True:
		    question, client = server.recvfrom(1024)
		    now = int((time.time() + 2208988800) * 2**32)
		    head = struct.pack(">BBbbII4s", 4 << 3 | 4, 1, 4, -20, 0, 1, b"LOCL")
		    server.sendto(head + struct.pack(">Q8sQQ", now, question[40:48], now, now), client)
	END
}

# start [RUN ARGUMENT...]: boots the router.
start() {
	boots=$((boots + 1))
	start_guest "$work/console-$boots.log" "$run" --accel tcg --data "$work/data.img" \
		--nic tap,ifname=outer,script=no,downscript=no --nic tap,ifname=inner,script=no,downscript=no "$@"
}

# let_in: puts the scenario's key on the router, through the console.
let_in() {
	log_in 300
	on_console "mkdir -p /root/.ssh && echo '$(<"$work/key.pub")' >/root/.ssh/authorized_keys"
}

# get_address: the client asks for one by DHCP, and does as it is told.
get_address() {
	cat >"$work/lease.sh" <<-'END'
		#!/bin/sh
		[ "$1" = bound ] || exit 0
		ip address flush dev "$interface"
		ip address add "$ip/$mask" dev "$interface"
		ip route add default via "$router"
		echo "$ip $router $dns $domain" >"$0.lease"
	END
	chmod 755 "$work/lease.sh"
	client busybox udhcpc -q -n -t 10 -i eth0 -s "$work/lease.sh" >"$work/udhcpc.log" 2>&1
}

resolves() {
	client busybox nslookup "$1" 192.168.1.1 2>/dev/null | sed '1,/^Name/d' | grep -q "$2"
}

# reaches HOST PORT, from the outer network.
reaches() {
	busybox nc -w 5 "$1" "$2" </dev/null >/dev/null 2>&1
}

outer_address() {
	awk 'END { print $3 }' "$work/leases"
}

check_client() {
	local address gateway names domain
	within 120 "an address by DHCP" get_address
	read -r address gateway names domain <"$work/lease.sh.lease"
	[[ "$address $gateway $names $domain" == "192.168.1.1"??" 192.168.1.1 192.168.1.1 lan" ]] ||
		fail "the client got \`$address $gateway $names $domain\`"
	pass "dhcp: $address, gateway and name server 192.168.1.1, domain lan"

	within 120 "$SERVER has an address" resolves $SERVER "$OUTER\$"
	within 60 "router.lan has an address" resolves router.lan '192.168.1.1$'
	pass "names: $SERVER from outside, router.lan from the router"

	[ "$(client busybox wget -q -O - "http://$OUTER/hello")" = hello ] || fail "the client cannot reach the server"
	grep -q "$(outer_address)" "$work/httpd.log" || fail "the server did not see $(outer_address)" "see $work/httpd.log"
	! grep -q "192\.168\." "$work/httpd.log" || fail "the server saw an inner address"
	pass "nat: the server sees $(outer_address)"
	echo "$address" >"$work/client"
}

check_firewall() {
	local router port
	router=$(outer_address)
	within 120 "ssh from the inner network" on_router true
	for port in 22 53; do
		client busybox nc -w 5 192.168.1.1 "$port" </dev/null >/dev/null || fail "port $port is closed from inside"
		! reaches "$router" "$port" || fail "port $port is open from outside"
	done
	# Something in the client answers, and from outside nobody hears it.
	client busybox httpd -f -p 8080 -h "$work/www" &
	within 30 "the client's server answers" on_router wget -q -O - "http://$(<"$work/client"):8080/hello" >/dev/null
	ip route replace 192.168.1.0/24 via "$router"
	! reaches "$(<"$work/client")" 8080 || fail "the client is open from outside"
	# The way is there all the same: what the rules let in arrives.
	busybox ping -c 1 -W 10 "$router" >/dev/null || fail "the router does not answer to ping"
	on_router nft list ruleset >"$work/ruleset"
	grep -q 'oifname "port0" masquerade' "$work/ruleset" || fail "the rules are not in the kernel" "see $work/ruleset"
	pass "firewall: from outside ports 22 and 53 and the client are closed, from inside they are open"
}

check_services() {
	local before
	on_router "grep -q ^tun /proc/modules" || fail "MODULES are not loaded"
	on_router "ps -o user,comm" >"$work/processes"
	for name in dnsmasq unbound; do
		grep -q "^$name *$name" "$work/processes" || fail "$name is not the user $name" "see $work/processes"
	done
	before=$(on_router pidof dnsmasq)
	on_router kill -9 "$before"
	within 60 "dnsmasq is started again" on_router "pidof dnsmasq | grep -vx '$before'"
	within 60 "$SERVER has an address again" resolves $SERVER "$OUTER\$"
	pass "services: users of their own; dnsmasq, killed, is there again"
}

# change_configuration: on the router, as its owner would. /data is no part of what a reset takes back.
change_configuration() {
	on_router sh -s <<-'END'
		set -e
		echo other >/etc/hostname
		printf 'mtu 1400\noffload generic-receive-offload off\n' >/etc/interfaces/port0
		echo 'inner mac 52:54:00:12:34:57' >/etc/ifrename
		mv /etc/interfaces/port1 /etc/interfaces/inner
		for name in first second; do
			# Which of two programs writes first says nothing: what counts is that the other one ran already.
			after=""
			[ $name = first ] || after=' after $(sv status /run/service/first | cut -d : -f 1)'
			cat >"/etc/service/$name" <<-SERVICE
				#!/bin/sh
				# needs:$([ $name = first ] || echo " first")
				echo "start $name$after" >>/data/order
				trap 'echo "stop $name" >>/data/order; exit' TERM
				while :; do sleep 1; done
			SERVICE
			chmod 755 "/etc/service/$name"
		done
		sed -i -e 's/^SERVICES="/SERVICES="second /' -e s/yes/no/ /etc/init.conf
		date -s 2040-01-01 >/dev/null
		reboot
	END
}

check_change() {
	# The host key is the one of before, or ssh refuses.
	within 300 "ssh after the reboot" on_router true
	[ "$(on_router hostname)" = other ] || fail "the host name did not last"
	[ "$(on_router cat /sys/class/net/port0/mtu)" = 1400 ] || fail "interfaces/port0: no mtu"
	on_router ethtool -k port0 | grep -q "generic-receive-offload: off" || fail "interfaces/port0: no offload"
	on_router test -e /sys/class/net/lan/brif/inner || fail "ifrename: no \`inner\` in the bridge"
	pass "configuration lasts: host key, ssh key, host name, mtu, offloading, names of interfaces"
	[ "$(on_router date +%Y)" -ge 2040 ] || fail "the time did not last"
	pass "clock: without HWCLOCK the time goes on from where it was"
	serve_time
	on_router sv restart /run/service/ntp >/dev/null
	within 180 "the time comes from the network" on_router "[ \"\$(date +%Y)\" = $(date +%Y) ]"
	pass "clock: NTP_SERVERS set it"
	within 60 "the services start" on_router "grep -q second /data/order"
	on_router factory-reset
}

# shellcheck disable=SC2016 # the router's shell expands
check_reset() {
	log_in 300
	on_console '[ "$(hostname)" = router ] && [ ! -e /etc/service/first ] && [ ! -e /root/.ssh/authorized_keys ]'
	on_console '[ "$(cat /sys/class/net/port0/mtu)" = 1500 ]'
	pass "factory-reset: the first state is back"
	on_console 'echo $(grep start /data/order | sort; grep stop /data/order)'
	await '^start first start second after run stop second stop first$' 10
	pass "order: a service starts after what it needs, and stops before it"
	on_console 'echo again >/etc/hostname'
	type_line poweroff
	await_end 120
	start --append factory-reset
	log_in 300
	on_console '[ "$(cat /etc/hostname)" = router ]'
	pass "factory-reset on the kernel's command line does the same"
	type_line poweroff
	await_end 120
}

# try_router BOARD: all of it, inside the namespaces.
try_router() {
	run="$WORKSPACE/$1-router/deploy/release-$1/run"
	work="$WORKSPACE/try-$1"
	boots=0
	rm -rf "$work"
	mkdir -p "$work"
	ssh-keygen -q -t ed25519 -N "" -f "$work/key"
	make_networks
	serve_outside

	start
	let_in
	check_client
	check_firewall
	check_services
	change_configuration
	await_end 120
	start
	check_change
	await_end 120
	start
	check_reset
}

if [ "${1:-}" = try ]; then
	try_router "$2"
	exit
fi
for board in ${BOARDS:-qemu-x86_64 qemu-aarch64}; do
	echo "-- $board"
	build "$board"
	unshare --user --map-root-user --net --mount --pid --fork --kill-child --mount-proc \
		bash -euo pipefail "${BASH_SOURCE[0]}" try "$board"
done
