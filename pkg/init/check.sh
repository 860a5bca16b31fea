# A check of a folder that is to become a root filesystem: does it hold what its configuration will ask for?

# check_system ROOT: tells what is missing of services, kernel modules and programs.
check_system() {
	local root="$1" status=0 name
	[ -e "$root/etc/init.conf" ] || return 0
	sh "$root/lib/init/order" "$root" >/dev/null || status=1
	for name in $(. "$root/etc/init.conf" && echo "$MODULES"); do
		if ! has_module "$root" "$name"; then
			echo "MODULES names \`$name\`, which the kernel has neither built in nor as a module (is \`${LINUXPKG:-linux}\` in ROOTFS?)" >&2
			status=1
		fi
	done
	if [ -e "$root/etc/nftables.rules" ]; then
		has_program "$root" nft nftables.rules || status=1
	fi
	check_words "$root"/etc/interfaces/* || status=1
	if grep -q '^offload' "$root"/etc/interfaces/* 2>/dev/null; then
		has_program "$root" ethtool "\`offload\` in interfaces/" || status=1
	fi
	return $status
}

# check_words FILE...: whether /lib/init/network understands each line of these.
check_words() {
	[ -e "$1" ] || return 0
	awk '
		/^[ \t]*(#|$)/ { next }
		$1 == "address" && $2 ~ "/" { next }
		$1 == "gateway" && NF > 1 || $1 == "mtu" && $2 ~ /^[0-9]+$/ || $1 == "bridge" && NF > 1 { next }
		$1 == "offload" && $3 ~ /^(on|off)$/ || $1 == "vlan" && $2 ~ /^[0-9]+$/ && NF > 2 { next }
		{ sub(".*/etc/", "", FILENAME); print FILENAME ":" FNR ": `" $0 "` is no line that an interface can have"; bad = 1 }
		END { exit bad }
	' "$@" >&2
}

# has_module ROOT NAME: whether the kernel in the image knows it, with `-` and `_` being the same.
has_module() {
	cat "$1"/lib/modules/*/modules.{dep,builtin} 2>/dev/null | sed 's/:.*//' | tr - _ | grep -q "/${2//-/_}\.ko"
}

# has_program ROOT NAME WHY
has_program() {
	if [ ! -e "$1/bin/$2" ] && [ ! -L "$1/bin/$2" ]; then
		echo "$3 needs \`/bin/$2\`, which no package of ROOTFS has" >&2
		return 1
	fi
}
