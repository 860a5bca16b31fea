# What recipes of existing trees call to get at other recipes.
#
# include_pkg NAME     loads another recipe's variables and functions over the current ones
# dependencies         prints `PACKAGE DEPENDENCY` lines, transitively, for the loaded recipe
# fetch_package, save_toolchain, deploy_dev_cleanup, unfuck_libtool   the driver does what they did; kept so that recipes run
# source FILE, . FILE  as the builtins, and reported to the driver as an input

source() {
	mk_report source "$1"
	mk_source "$@"
}

.() {
	mk_report source "$1"
	mk_source "$@"
}

# mk_source FILE [ARG…]: the builtin, but what FILE declares is everybody's, as it is where no function stands between.
mk_source() {
	if [[ "$1" == */* ]] && [ ! -e "$1" ]; then
		# A builtin that fails in here would be told of as the library's.
		printf '%s: line %s: %s: No such file or directory\n' "${BASH_SOURCE[2]}" "${BASH_LINENO[1]}" "$1" >&2
		return 1
	fi
	if [ $# -eq 1 ] && [ -n "${mk_step-}" ] && [ "${FUNCNAME[2]-}" = "$mk_step" ]; then
		# Without arguments a file has those of its caller, which are known where that is a step.
		builtin source "$1" "${MK_ARGUMENTS[@]}"
	else
		builtin source "$@"
	fi
	# Without a variable of its own, which would be among those of the file.
	set -- "$?" "$(local -p)"
	if [ -n "$2" ]; then
		set -- "$1" "${2//$'\n'declare -/$'\n'declare -g -}"
		builtin eval "declare -g ${2#declare }"
	fi
	return "$1"
}

include_pkg() {
	# Whoever loads a recipe may go on to use its patches.
	mk_report source "$SCRIPTDIR/pkg/$1"
	mk_load "$1"
}

mk_load() {
	unset -v VERSION TARBALL URL SRCDIR SHA256SUM DEPENDS
	unset -f prepare build deploy check_update
	PKGNAME="$1"
	source "$SCRIPTDIR/pkg/$1/build"
}

dependencies() {
	local -A mk_seen=(["$PKGNAME"]=1)
	local -a mk_queue=("$PKGNAME")
	local mk_name mk_dependency mk_depends

	while [ ${#mk_queue[@]} -gt 0 ]; do
		mk_name="${mk_queue[0]}"
		mk_queue=("${mk_queue[@]:1}")
		if [ "$mk_name" = "$PKGNAME" ]; then
			mk_depends="${DEPENDS-}"
		else
			mk_depends="$(mk_load "$mk_name" > /dev/null && printf '%s' "${DEPENDS-}")"
		fi
		for mk_dependency in $mk_depends; do
			printf '%s %s\n' "$mk_name" "$mk_dependency"
			if [ -z "${mk_seen[$mk_dependency]-}" ]; then
				mk_seen[$mk_dependency]=1
				mk_queue+=("$mk_dependency")
			fi
		done
	done
}

fetch_package() {
	:
}

save_toolchain() {
	:
}

deploy_dev_cleanup() {
	:
}

unfuck_libtool() {
	:
}
