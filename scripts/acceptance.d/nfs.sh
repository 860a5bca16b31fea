# a machine that starts over the network: DHCP, TFTP and NFS, all from the files that the release has for the server
# shellcheck shell=bash
# As root, since the root on the server has files of many owners, and devices. Network and mounts are its own.
source "$TREE/scripts/console.sh"
source "$TREE/scripts/owntree.sh"

board="qemu-x86_64"
product="images"
work="$WORKSPACE/nfs"

serve() {
	ip link set lo up
	ip tuntap add tap0 mode tap
	ip address add 192.168.7.1/24 dev tap0
	ip link set tap0 up

	mount -t tmpfs tmpfs /run
	mount --bind "$work/srv" /srv
	cp -r "$release/nfs/tftp" /srv
	mkdir "/srv/$board-$product"
	tar -xp --numeric-owner -f "$release/nfs/rootfs.tar" -C "/srv/$board-$product"
	dnsmasq --no-daemon --conf-file="$release/nfs/dnsmasq.conf" --port=0 --interface=tap0 --bind-interfaces --log-dhcp \
		--dhcp-leasefile="$work/leases" >"$work/dnsmasq.log" 2>&1 &

	# What `exports` asks of the kernel's own server, in the words of one that needs no kernel.
	cat >"$work/ganesha.conf" <<-END
		NFS_CORE_PARAM { NFS_Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; }
		NFSV4 { Graceless = true; Only_Numeric_Owners = true; RecoveryBackend = fs; RecoveryRoot = "$work/recovery"; }
		EXPORT {
			Export_Id = 1; Path = "/srv/$board-$product"; Pseudo = "/srv/$board-$product"; Protocols = 4; Transports = TCP;
			Access_Type = RO; Squash = No_Root_Squash; SecType = sys; FSAL { Name = VFS; }
		}
	END
	mkdir "$work/recovery"
	ganesha.nfsd -F -L "$work/ganesha.log" -f "$work/ganesha.conf" -p "$work/ganesha.pid" &
	guest_log="$work/ganesha.log"
	within 60 "the NFS server is up" listens
}

listens() {
	ss -ltn | grep -q ':2049 '
}

case "${1:-}" in
inside)
	release="$WORKSPACE/$board-$product/deploy/release-$board"
	trap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT
	serve
	start_guest "$work/console.log" "$release/run" --accel tcg --firmware \
		--nic tap,ifname=tap0,script=no,downscript=no
	log_in 400
	on_console "grep ' / nfs' /proc/mounts"
	on_console "stat -c '%a %u %t,%T %n' /etc/shadow /dev/console"
	await '^600 0 0,0 /etc/shadow$' 10
	await '^600 0 5,1 /dev/console$' 10
	type_line poweroff
	await_end 120
	echo "pass  started by the firmware, $(grep -c 'DHCPACK' "$work/dnsmasq.log") leases, $(grep -c 'sent /srv/tftp' "$work/dnsmasq.log") file by TFTP"
	;;
*)
	[ "$(id -u)" = 0 ] || fail "this scenario needs root" "to unpack device nodes, and files of other owners"
	rm -rf "$work"
	mkdir -p "$work/srv"
	own_tree
	: >"$TREE/product/$product/IMAGES"
	mk -q "$board" "$product"
	unshare --net --mount --pid --fork --kill-child bash -euo pipefail "${BASH_SOURCE[0]}" inside
	;;
esac
