# Versions: `verson_find_greatest` (spelt so by Pygos) and `version_find_greatest`, for check_update.
# A version has up to four fields with dots between, each a number or a single letter. A missing field counts as 0;
# a letter lies between 0 and 1, so that 1.2 < 1.2.a < 1.2.b < 1.2.1. Lines of any other form are passed over.

# version_find_greatest [CURRENT]: reads versions on stdin, one a line; prints the greatest that is greater than
# CURRENT (any, where CURRENT is not given), or nothing.
version_find_greatest() {
	local best="${1:-}"
	local found=""
	local version
	while read -r version || [ -n "$version" ]; do
		version_is_valid "$version" || continue
		if [ -z "$best" ] || version_is_greater "$version" "$best"; then
			best="$version"
			found="$version"
		fi
	done
	[ -z "$found" ] || echo "$found"
}

verson_find_greatest() {
	version_find_greatest "$@"
}

# version_is_valid VERSION: whether it has the form described above.
version_is_valid() {
	[[ "$1" =~ ^([0-9]+|[A-Za-z])(\.([0-9]+|[A-Za-z])){0,3}$ ]]
}

# version_is_greater A B: whether version A is greater than version B.
version_is_greater() {
	local -a left right
	local i a b
	IFS=. read -r -a left <<<"$1"
	IFS=. read -r -a right <<<"$2"
	for i in 0 1 2 3; do
		version_field "${left[i]:-0}" a
		version_field "${right[i]:-0}" b
		[ "$a" -eq "$b" ] || break
	done
	[ "$a" -gt "$b" ]
}

# version_field FIELD NAME: sets the variable NAME to a number that fields compare by.
version_field() {
	if [[ "$1" =~ ^[0-9]+$ ]]; then
		printf -v "$2" '%d' "$((10#$1 * 128))"
	else
		# A letter's number is its ASCII code, which is below 128.
		printf -v "$2" '%d' "'$1"
	fi
}
