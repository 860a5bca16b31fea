# What the recipe of init writes into /etc, from the INIT files and from the files that a board or product may have.

# deploy_config ETC: inittab, the settings of /lib/init, and the files that configure network and kernel.
deploy_config() {
	local etc="$1"
	local name servers=""

	write_inittab >"$etc/inittab"
	SERVICES="${SERVICES//[$'\n\t']/ }"
	# Where the product has dhcpcd, that serves the ports.
	case " $SERVICES " in
	*" dhcpcd "*) ;;
	*)
		for name in $DHCP_PORTS; do
			add_service "dhcp-$name" \
				"exec udhcpc -f -S -t 5 -T 2 -A 5 -i $name -s /lib/init/dhcp -x hostname:\"\$(hostname)\""
		done
		;;
	esac
	# Where the product has chrony, that asks them.
	case " $SERVICES " in
	*" chrony "*) ;;
	*)
		for name in $NTP_SERVERS; do
			servers+=" -p $name"
		done
		[ -z "$servers" ] || add_service ntp "exec ntpd -n$servers"
		;;
	esac
	# The time is kept at shutdown; some never get one.
	[ "$HWCLOCK" = yes ] || add_service clock "while sleep 3600; do /lib/init/clock save; done"
	printf '%s="%s"\n' DHCP_PORTS "$DHCP_PORTS" HWCLOCK "${HWCLOCK:-no}" MODULES "$MODULES" \
		NTP_SERVERS "$NTP_SERVERS" SERVICES "${SERVICES# }" >"$etc/init.conf"

	for name in sysctl.conf nftables.rules ifrename resolv.conf; do
		copy_override "$name" "$etc/$name"
	done
	for name in $(list_interfaces "$etc" | sort -u); do
		copy_interface "$name" "$etc"
	done
	check_interfaces "$etc"
}

# copy_override NAME TO: copies the configuration file NAME where there is one.
copy_override() {
	local found
	found=$(file_path_override "$1") || true
	[ -z "$found" ] || install -D -m 644 "$found" "$2"
}

# copy_interface NAME ETC: its file, and those of the interfaces that this file makes.
copy_interface() {
	local file="$2/interfaces/$1" made
	[ ! -e "$file" ] || return 0
	copy_override "interfaces/$1" "$file"
	[ -e "$file" ] || return 0
	while read -r made; do
		copy_interface "$made" "$2"
	done < <(awk '$1 == "bridge" { print $2 } $1 == "vlan" { print $3 }' "$file")
}

# list_interfaces ETC: the names that interfaces can have: those that ifrename gives, port0 to port9, and those that
# wireless ones have from the kernel.
list_interfaces() {
	[ ! -f "$1/ifrename" ] || awk '!/^#/ && NF { print $1 }' "$1/ifrename"
	printf '%s\n' port{0..9} wlan{0..3}
}

# check_interfaces ETC: fails where a file or a DHCP client is meant for an interface that there cannot be.
check_interfaces() {
	local etc="$1" folder file name status=0
	folder=$(file_path_override interfaces)
	for file in ${folder:+"$folder"/*}; do
		[ ! -e "$file" ] || [ -e "$etc/interfaces/${file##*/}" ] || {
			echo "$file is for no interface: names are port0 to port9, wlan0 to wlan3, those of \`ifrename\`, and those that a line \`bridge\` or \`vlan\` makes" >&2
			status=1
		}
	done
	for name in $DHCP_PORTS; do
		[ -e "$etc/interfaces/$name" ] || list_interfaces "$etc" | grep -qxF -e "$name" || {
			echo "DHCP_PORTS names \`$name\`, which no interface is called" >&2
			status=1
		}
	done
	return $status
}

write_inittab() {
	local tty
	cat <<-END
		::sysinit:/lib/init/boot
		::respawn:runsvdir /run/service
		::ctrlaltdel:reboot
		::shutdown:/lib/init/halt
	END
	for tty in $GETTY_TTY; do
		echo "$tty::respawn:getty -L 0 $tty vt100"
	done
}

# add_service NAME COMMAND: a service that comes with init, enabled.
add_service() {
	printf '#!/bin/sh\n%s\n' "$2" >"$etc/service/$1"
	chmod 755 "$etc/service/$1"
	SERVICES+=" $1"
}
