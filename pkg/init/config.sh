# What the recipe of init writes into /etc, from the INIT files and from the files that a board or product may have.

# deploy_config ETC: inittab, the settings of /lib/init, and the files that configure network and kernel.
deploy_config() {
	local etc="$1"
	local name

	write_inittab >"$etc/inittab"
	for name in $DHCP_PORTS; do
		write_dhcp_service "$name" >"$etc/service/dhcp-$name"
		chmod 755 "$etc/service/dhcp-$name"
		SERVICES+=" dhcp-$name"
	done
	printf '%s="%s"\n' HWCLOCK "${HWCLOCK:-no}" SERVICES "${SERVICES# }" >"$etc/init.conf"

	for name in sysctl.conf nftables.rules ifrename; do
		copy_override "$name" "$etc/$name"
	done
	for name in $(list_interfaces "$etc" | sort -u); do
		copy_override "interfaces/$name" "$etc/interfaces/$name"
	done
}

# copy_override NAME TO: copies the configuration file NAME where there is one.
copy_override() {
	local found
	found=$(file_path_override "$1") || true
	[ -z "$found" ] || install -D -m 644 "$found" "$2"
}

# list_interfaces ETC: the names that interfaces can have: those that ifrename gives, and port0 to port9.
list_interfaces() {
	[ ! -f "$1/ifrename" ] || awk '!/^#/ && NF { print $1 }' "$1/ifrename"
	printf '%s\n' port{0..9}
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

# write_dhcp_service INTERFACE: the service that keeps an address from a DHCP server.
write_dhcp_service() {
	cat <<-END
		#!/bin/sh
		exec udhcpc -f -S -t 5 -T 2 -A 5 -i $1 -s /lib/init/dhcp -x hostname:"\$(hostname)"
	END
}
