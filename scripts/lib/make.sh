# Programs that run many compilers, kept inside the one jobserver that spans all packages.
#
# make    as the program, without an explicit -j: GNU make would leave the jobserver for it
# ninja   as the program; one that is older than jobservers gets as many jobs as tokens are free when it starts
# cmake   as the program; `cmake --build` runs make or ninja, and gets what these get

make() {
	local -a mk_words

	if [[ "$MAKEFLAGS" != *--jobserver-auth=* ]]; then
		command make "$@"
		return
	fi
	mk_drop_jobs "$@"
	command make "${mk_words[@]}"
}

cmake() {
	local -a mk_words
	local mk_tokens="" status=0

	if [ "${1-}" != --build ] || [[ "$MAKEFLAGS" != *--jobserver-auth=[0-9]* ]]; then
		command cmake "$@"
		return
	fi
	mk_drop_jobs "$@"
	if [ ! -e "${2-}/build.ninja" ]; then
		command cmake "${mk_words[@]}"
		return
	fi
	mk_take_tokens
	CMAKE_BUILD_PARALLEL_LEVEL=$((${#mk_tokens} + 1)) command cmake "${mk_words[@]}" || status=$?
	mk_give_tokens
	return $status
}

ninja() {
	local -a mk_words
	local mk_tokens="" status=0 version

	if [[ "$MAKEFLAGS" != *--jobserver-auth=[0-9]* ]]; then
		command ninja "$@"
		return
	fi
	version="$(command ninja --version)"
	if [ -n "$(version_find_greatest 1.12.999 <<< "${version%%.git*}")" ] && [[ "$MAKEFLAGS" == *=fifo:* ]]; then
		command ninja "$@"
		return
	fi
	mk_drop_jobs "$@"
	mk_take_tokens
	command ninja -j $((${#mk_tokens} + 1)) "${mk_words[@]}" || status=$?
	mk_give_tokens
	return $status
}

# Leaves in mk_words the arguments but for -j, --jobs and --parallel; one job alone stays.
mk_drop_jobs() {
	local skip=""

	mk_words=()
	while [ $# -gt 0 ]; do
		if [ -n "$skip" ] && [[ "$1" =~ ^[0-9]*$ ]]; then
			skip=""
			shift
			continue
		fi
		skip=""
		case "$1" in
		-j1 | --jobs=1)
			mk_words+=("$1")
			;;
		-j | --jobs | --parallel)
			if [ "${2-}" = 1 ]; then
				mk_words+=("-j1")
			fi
			skip=1
			;;
		-j[0-9]* | --jobs=[0-9]* | --parallel=[0-9]* | -j*[!A-Za-z0-9]*)
			;;
		*)
			mk_words+=("$1")
			;;
		esac
		shift
	done
}

# Takes the tokens that are free now, so many that with the caller's own there are no more than NUMJOBS, into mk_tokens.
mk_take_tokens() {
	local auth="${MAKEFLAGS##*--jobserver-auth=}" byte

	mk_tokens=""
	while [ ${#mk_tokens} -lt $((NUMJOBS - 1)) ] && IFS= read -r -t 0.01 -N 1 -u "${auth%%,*}" byte; do
		mk_tokens+="$byte"
	done
}

# Gives the tokens in mk_tokens back.
mk_give_tokens() {
	local auth="${MAKEFLAGS##*--jobserver-auth=}"

	auth="${auth#*,}"
	printf '%s' "$mk_tokens" >&"${auth%%[!0-9]*}"
}
