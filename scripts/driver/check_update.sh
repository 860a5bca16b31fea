# Asks a recipe for a newer version: check_update.sh LIBRARY PRELUDE
#
# Standard output is the recipe's answer, standard error its log. Without `set -e`: a `grep` that finds nothing is no
# failure. What is one, the programs that ask a server tell, in the file `failed` of MK_REPORT, a line each.

mk_report() {
	:
}

mk_failed() {
	printf '%s %s\n' "$1" "$2" >> "$MK_REPORT/failed"
}

# mk_ask PROGRAM ARG...: runs it; status 23 of curl and a broken pipe only say that the reader has seen enough.
mk_ask() {
	local mk_status
	command "$@"
	mk_status=$?
	case "$mk_status" in
	0 | 23 | 141) ;;
	*) mk_failed "$1" "$mk_status" ;;
	esac
	return "$mk_status"
}

# The page that says "not found" holds no versions: an error, and one that is shown.
if type -P curl > /dev/null; then
	curl() {
		mk_ask curl --fail --show-error "$@"
	}
fi

if type -P wget > /dev/null; then
	wget() {
		mk_ask wget "$@"
	}
fi

if type -P git > /dev/null; then
	git() {
		mk_ask git "$@"
	}
fi

command_not_found_handle() {
	mk_failed "$1" 127
	printf '%s: command not found\n' "$1" >&2
	return 127
}

mk_library="$1"
mk_prelude="$2"
mk_step=check_update
source "$mk_library"
builtin source "$mk_prelude"
builtin source "$MK_RECIPE"
mk_restore
check_update
