# Evaluates recipes for the driver, one forked subshell each, so that none sees another's variables.
#
# Standard output (descriptor 3 below): the answer, each a word and its value, both ended by NUL.
# Standard error (descriptor 4 below): takes what a recipe prints while it is sourced.
# Standard input, a socket: takes a byte when an answer is whole; gives requests, each PACKAGE, RECIPE, and `NAME=VALUE` words of the caller's environment until an empty one, all ended by NUL.
# A request of the name `=` holds the path of a bash text that evaluates plain recipes and writes their answers itself.
# The first request has an empty name; its recipe is a bash text that sets the variables every recipe starts from.
# Its answer holds what configuration (TOOLCHAIN) adds to them, unless the word `again` says that the driver knows.
# With MK_HISTORY set an answer also holds, for each command that bash runs in these files, where it stands, and all variables before it.

mk_report() {
	printf '%s\0%s\0' "$1" "$2" >&3
}

# Reports a failed command, and the line outside of the library that it comes from.
mk_failed() {
	local i
	for ((i = 1; i < ${#BASH_SOURCE[@]} - 1; i++)); do
		[ "${BASH_SOURCE[i]}" = "$MK_LIBRARY" ] || break
	done
	if [ "${BASH_SOURCE[i]}" = "$MK_EVALUATE" ]; then
		# What has failed is the recipe as a whole, by its last command.
		mapfile -t mk_lines < "$mk_recipe"
		for ((i = ${#mk_lines[@]}; i > 1; i--)); do
			[[ "${mk_lines[i - 1]}" != *[![:space:]]* ]] || break
		done
		mk_report failed "$1"$'\n'"$i"$'\n'"$mk_recipe"$'\n'"${mk_lines[i - 1]}"
		return
	fi
	mk_report failed "$1"$'\n'"${BASH_LINENO[i - 1]}"$'\n'"${BASH_SOURCE[i]}"$'\n'"$2"
}

mk_evaluate() {
	local mk_recipe="$2"
	shift 2
	PKGNAME="$mk_name"
	while [ $# -gt 0 ]; do
		export "${1?}"
		shift
	done
	mk_guard
	mk_watch
	builtin source "$mk_recipe" < /dev/null
	mk_unwatch
	{ printf 'options\0'; mk_ambience; printf '\0'; } >&3
	trap - EXIT ERR
	set +eEu +o pipefail
	mk_dump
	mk_report status 0
}

# How a recipe that is read is kept from going wrong in silence.
mk_guard() {
	trap 'mk_report unfinished "$?"' EXIT
	trap 'mk_failed "$?" "$BASH_COMMAND"' ERR
	shopt -s inherit_errexit
	set -eE -o pipefail
}

# Prints what a recipe may change beside variables and functions, and which of the library's functions are still there.
mk_ambience() {
	printf '%s\n' "$-:$BASHOPTS" "$PWD" "${PATH-}" "${HOME-}" "${LC_ALL-}" "${IFS-}"
	umask
	trap -p
	alias
	declare -Fx
	declare -F "${mk_helpers[@]}" || :
}

# mk_list COMMAND [WORD...]: takes the lines that it prints into mk_lines. If there is no room to write them down, bash ends:
# a part of them must not pass for all.
mk_list() {
	if ! { "$@" && echo .; } > "$MK_SCRATCH" || ! mapfile -t mk_lines < "$MK_SCRATCH" || [ "${mk_lines[-1]-}" != . ]; then
		mk_report unwritable "$MK_SCRATCH"
		exit
	fi
	unset -v "mk_lines[-1]"
}

# Prints every variable, and the text and place of every function that is not the library's.
mk_dump() {
	local mk_line mk_file mk_number
	local -a mk_lines=()

	{ printf 'variables\0'; declare -p; printf '\0'; } >&3
	shopt -s extdebug
	mk_list declare -F
	mk_list declare -F "${mk_lines[@]##* }"
	# It turns function tracing on, which recipes must not find so.
	shopt -u extdebug
	set +ET
	# Most are the library's.
	for mk_line in "${mk_lines[@]%%* "$MK_LIBRARY"}"; do
		[ -n "$mk_line" ] || continue
		mk_file="${mk_line#* }"
		mk_number="${mk_file%% *}"
		mk_file="${mk_file#* }"
		if [ "$mk_file" != "$MK_EVALUATE" ]; then
			printf 'function\0%s %s %s\0' "${mk_line%% *}" "$mk_number" "$mk_file" >&3
			{ printf 'text\0'; declare -f "${mk_line%% *}"; printf '\0'; } >&3
		fi
	done
	shopt -u extdebug
}

# Sets what names the toolchain's programs, and what recipes that are makefiles call the build and the host system, unless
# a TOOLCHAIN file has.
mk_describe_systems() {
	local mk_name mk_prefix="${TARGET:+$TARGET-}"
	: "${CC=${mk_prefix}gcc}" "${CXX=${mk_prefix}g++}"
	for mk_name in AR AS CPP LD NM OBJCOPY OBJDUMP RANLIB READELF SIZE STRINGS STRIP; do
		mk_default "$mk_name" "$mk_prefix${mk_name,,}"
	done
	mk_describe_system BUILD "$MACHTYPE" generic
	mk_describe_system HOST "${TARGET:-$MACHTYPE}" "$BOARD"
}

# mk_describe_system BUILD|HOST TRIPLET PLATFORM
mk_describe_system() {
	local mk_start="${2%-*}"
	mk_default "OPK_$1_ARCH_CPU" "${2%%-*}"
	mk_default "OPK_$1_ARCH_KERNEL" "${mk_start##*-}"
	mk_default "OPK_$1_ARCH_LIBS" "${2##*-}"
	mk_default "OPK_$1_ARCH" "${2%%-*}-${mk_start##*-}-${2##*-}"
	mk_default "OPK_$1_ARCH_GNU" "$2"
	mk_default "OPK_$1_PLAT" "$3"
}

mk_default() {
	[ -n "${!1+set}" ] || printf -v "$1" '%s' "$2"
}

mk_watch() {
	if [ -n "$MK_HISTORY" ]; then
		mk_level=$BASH_SUBSHELL
		set -T
		trap mk_trace DEBUG
	fi
}

mk_unwatch() {
	if [ -n "$MK_HISTORY" ]; then
		trap - DEBUG
		set +T
	fi
}

# Runs before each command. What happens inside helpers, where `local` hides variables, counts as one with the call.
mk_trace() {
	local mk_at="" mk_i
	[ "$BASH_SUBSHELL" = "$mk_level" ] || return 0
	for ((mk_i = 1; mk_i < ${#FUNCNAME[@]}; mk_i++)); do
		case "${FUNCNAME[mk_i]}" in
		source | . | include_merge | include_override | include_pkg | mk_* | main) ;;
		*) return 0 ;;
		esac
		if [ -z "$mk_at" ] && [ "${BASH_SOURCE[mk_i]}" != "$MK_LIBRARY" ] && [ "${BASH_SOURCE[mk_i]}" != "$MK_EVALUATE" ]; then
			mk_at="${BASH_LINENO[mk_i - 1]} ${BASH_SOURCE[mk_i]}"
		fi
	done
	printf 'at\0%s\n%s\0state\0' "$mk_at" "$BASH_COMMAND" >&3
	declare -p >&3
	printf '\0' >&3
	return 0
}

exec 3>&1 4>&2 >&2
source "$MK_LIBRARY"
mk_list compgen -A function
mk_helpers=("${mk_lines[@]}")

mk_report host "$MACHTYPE"
while IFS= read -r -d '' mk_name && IFS= read -r -d '' mk_recipe; do
	mk_words=()
	while IFS= read -r -d '' mk_word && [ -n "$mk_word" ]; do
		mk_words+=("$mk_word")
	done
	if [ -z "$mk_name" ]; then
		builtin source "$mk_recipe"
		mk_watch
		include_merge TOOLCHAIN < /dev/null
		mk_describe_systems
		mk_unwatch
		if [ "${mk_words[0]-}" != again ]; then
			{ printf 'plain\0'; (mk_guard && mk_ambience && trap - EXIT); printf '\0'; } >&3
			mk_dump
		fi
	elif [ "$mk_name" = "=" ]; then
		builtin source "$mk_recipe" >&3
	else
		(mk_evaluate "$mk_name" "$mk_recipe" "${mk_words[@]}")
	fi
	printf . >&0
done
