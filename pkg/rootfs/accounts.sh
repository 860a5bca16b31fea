# Users and groups of a root filesystem: those of its etc/passwd and etc/group, which are from the package basefiles, and
# those that packages declare in a file `accounts` of their deploy folder.

# add_accounts ROOT PACKAGE...: adds what the packages declare to etc/passwd, etc/group and etc/shadow of ROOT. One name
# with two numbers, or one number with two names, is an error. An image without etc/passwd has no users.
add_accounts() {
	local root="$1" package="basefiles" kind name number home shell changed
	local -A claimed=() members=() users=()
	shift
	[ -e "$root/etc/passwd" ] || return 0
	while IFS=: read -r name _ number _; do
		claim user "$name" "$number"
	done <"$root/etc/passwd"
	while IFS=: read -r name _ number home; do
		claim group "$name" "$number"
		members[$name]="${home//,/ }"
	done <"$root/etc/group"

	for package in "$@"; do
		[ -e "$PKGDEPLOYDIR/$package/accounts" ] || continue
		while read -r kind name number home shell; do
			claim group "$name" "$number"
			case "$kind" in
			user)
				claim user "$name" "$number"
				: "${members[$name]:=}"
				users[$name]="$name:x:$number:$number::$home:$shell"
				;;
			group) members[$name]+=" $home $shell" ;;
			*)
				echo "package \`$package\`: no meaning in \`accounts\`: \`$kind\`" >&2
				exit 1
				;;
			esac
		done <"$PKGDEPLOYDIR/$package/accounts"
	done

	[ "${#users[@]}" -eq 0 ] || printf '%s\n' "${users[@]}" | sort -t: -k3n >>"$root/etc/passwd"
	for name in "${!members[@]}"; do
		check_members "$name"
	done
	for name in "${!members[@]}"; do
		echo "$name:x:${claimed[group $name]#* }:$(xargs -n 1 <<<"${members[$name]}" | sort -u | paste -sd,)"
	done | sort -t: -k3n >"$root/etc/group"
	changed=$((SOURCE_DATE_EPOCH / 86400))
	for name in "${!users[@]}"; do
		echo "$name:*:$changed:0:99999:7:::"
	done | sort >>"$root/etc/shadow"
}

# The functions below belong to add_accounts and use its variables.

# claim user|group NAME NUMBER: they belong together, whoever says so.
claim() {
	local by_name="${claimed[$1 $2]:-$package $3}" by_number="${claimed[$1 number $3]:-$package $2}"
	if [ "${by_name#* }" != "$3" ]; then
		echo "packages \`${by_name% *}\` and \`$package\` both have the $1 \`$2\`, with the numbers ${by_name#* } and $3" >&2
		exit 1
	elif [ "${by_number#* }" != "$2" ]; then
		echo "packages \`${by_number% *}\` and \`$package\` both have the number $3, for the ${1}s \`${by_number#* }\` and \`$2\`" >&2
		exit 1
	fi
	claimed[$1 $2]="$by_name"
	claimed[$1 number $3]="$by_number"
}

# check_members GROUP: they are users.
check_members() {
	local member
	for member in ${members[$1]}; do
		if [ -z "${claimed[user $member]:-}" ]; then
			echo "group \`$1\`: its member \`$member\` is a user of no package" >&2
			exit 1
		fi
	done
}
