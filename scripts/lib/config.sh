# Configuration files of the product and the board, looked up in MK_CONFIG_PLACES, most specific first.
#
# file_path_override NAME   path of the first that exists
# cat_file_override NAME    prints the first that exists
# cat_file_merge NAME       prints all that exist
# include_override NAME     sources the first that exists
# include_merge NAME        sources all that exist, in reverse, so that the most specific wins
#
# Every look-up is reported to the driver, found or not: a file that appears or changes later makes the result stale.

file_path_override() {
	local place
	mk_report lookup "$1"
	for place in "${MK_CONFIG_PLACES[@]}"; do
		if [ -e "$place/$1" ]; then
			printf '%s\n' "$place/$1"
			return 0
		fi
	done
}

cat_file_override() {
	local place
	mk_report lookup "$1"
	for place in "${MK_CONFIG_PLACES[@]}"; do
		if [ -e "$place/$1" ]; then
			mk_cat "$place/$1"
			return 0
		fi
	done
}

cat_file_merge() {
	local place
	mk_report lookup "$1"
	for place in "${MK_CONFIG_PLACES[@]}"; do
		if [ -e "$place/$1" ]; then
			mk_cat "$place/$1"
		fi
	done
}

# What these two call their own must be no name that a file may set.
include_override() {
	local mk_place
	mk_report lookup "$1"
	for mk_place in "${MK_CONFIG_PLACES[@]}"; do
		if [ -e "$mk_place/$1" ]; then
			mk_include "$mk_place/$1"
			return
		fi
	done
}

include_merge() {
	local mk_at
	mk_report lookup "$1"
	for ((mk_at = ${#MK_CONFIG_PLACES[@]} - 1; mk_at >= 0; mk_at--)); do
		if [ -e "${MK_CONFIG_PLACES[mk_at]}/$1" ]; then
			mk_include "${MK_CONFIG_PLACES[mk_at]}/$1"
		fi
	done
}

# Sources a file, also one whose lines end in carriage return and newline.
mk_include() {
	if mk_has_returns "$1"; then
		mk_source <(mk_cat "$1")
	else
		mk_source "$1"
	fi
}

mk_has_returns() {
	local first=""
	IFS= read -r first < "$1" || true
	[[ "$first" == *$'\r' ]]
}

# Prints a text file line by line, without a process and with its last newline put back where it lacks one; carriage
# returns before newlines are left out.
mk_cat() {
	local line
	while IFS= read -r line || [ -n "$line" ]; do
		printf '%s\n' "${line%$'\r'}"
	done < "$1"
}
