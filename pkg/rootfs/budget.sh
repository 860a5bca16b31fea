# How big a root filesystem is and may be.

# list_sizes ROOT OWNERS: lines SIZE <tab> PATH <tab> PACKAGE of all files below ROOT, the biggest first. OWNERS is what
# assemble wrote; a file that it does not have is of the package that calls.
list_sizes() {
	find "$1" -type f -printf '%s\t%P\n' |
		awk -F '\t' -v OFS='\t' -v own="$PKGNAME" '
			NR == FNR { owner[$1] = $2; next }
			{ print $1, "/" $2, ($2 in owner) ? owner[$2] : own }
		' "$2" - | sort -t $'\t' -k 1,1nr -k 2,2
}

# check_budget NAME SIZE SIZES: fails if SIZE, in bytes, is more than the configuration file SIZE_BUDGET allows NAME,
# and tells which files and packages are the biggest, from the lines of list_sizes in the file SIZES.
check_budget() {
	local name="$1" size="$2" sizes="$3"
	local key allowed limit=""
	while read -r key allowed _; do
		case "$key" in
		"" | "#"*) continue ;;
		"$name") limit=$(numfmt --from=iec "$allowed") ;;
		files | rootfs | image-*) ;;
		*)
			echo "SIZE_BUDGET: \`$key\` is neither \`files\` nor a package that makes an image of the root filesystem" >&2
			return 1
			;;
		esac
	done < <(cat_file_override SIZE_BUDGET)
	[ -n "$limit" ] && [ "$size" -gt "$limit" ] || return 0
	{
		echo "\`$name\` has $(in_units "$size"), which is $(in_units $((size - limit))) more than the $(in_units "$limit") of SIZE_BUDGET"
		[ -e "$sizes" ] || return 1
		echo "biggest files, unpacked:"
		head -n 10 "$sizes" | show_sizes
		echo "biggest packages, unpacked:"
		awk -F '\t' '{ sum[$3] += $1 } END { for (name in sum) printf "%.0f\t%s\n", sum[name], name }' "$sizes" |
			sort -t $'\t' -k 1,1nr -k 2,2 | head -n 5 | show_sizes
	} >&2
	return 1
}

# check_files_budget SIZES: check_budget for all files together, under the name `files`.
check_files_budget() {
	check_budget files "$(sum_sizes <"$1")" "$1"
}

# check_image_budget DEPLOY SIZES: check_budget for what the calling package deploys, under the package's name.
check_image_budget() {
	check_budget "$PKGNAME" "$(find "$1/boot" -type f -printf '%s\n' | sum_sizes)" "$2"
}

sum_sizes() {
	awk '{ sum += $1 } END { printf "%.0f", sum }'
}

# in_bytes SIZE: of a number with or without a unit of 1024, such as 128KiB or 1M.
in_bytes() {
	local number="${1%B}"
	numfmt --from=iec "${number%i}"
}

in_units() {
	numfmt --to=iec-i --suffix=B "$1"
}

# show_sizes: lines SIZE <tab> NAME [<tab> PACKAGE] for people.
show_sizes() {
	awk -F '\t' '{ printf "%.0f %s%s\n", $1, $2, $3 == "" ? "" : " (" $3 ")" }' |
		numfmt --to=iec-i --suffix=B --padding=9
}
