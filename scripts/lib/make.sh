# Programs that run many compilers, kept inside the one jobserver that spans all packages.
#
# make    as the program, without an explicit -j: GNU make would leave the jobserver for it
# ninja   as the program; one that is older than jobservers gets as many jobs as tokens are free when it starts

make() {
	local -a args=()
	local skip=""

	if [[ "$MAKEFLAGS" != *--jobserver-auth=* ]]; then
		command make "$@"
		return
	fi
	while [ $# -gt 0 ]; do
		if [ -n "$skip" ] && [[ "$1" =~ ^[0-9]*$ ]]; then
			skip=""
			shift
			continue
		fi
		skip=""
		case "$1" in
		-j1 | --jobs=1)
			args+=("$1")
			;;
		-j | --jobs)
			if [ "$2" = 1 ]; then
				args+=("-j1")
			fi
			skip=1
			;;
		-j[0-9]* | --jobs=[0-9]* | -j*[!A-Za-z0-9]*)
			;;
		*)
			args+=("$1")
			;;
		esac
		shift
	done
	command make "${args[@]}"
}

ninja() {
	local tokens="" byte status=0 auth read_fd write_fd version

	if [[ "$MAKEFLAGS" != *--jobserver-auth=[0-9]* ]]; then
		command ninja "$@"
		return
	fi
	version="$(command ninja --version)"
	if [ -n "$(version_find_greatest 1.12.999 <<< "${version%%.git*}")" ] && [[ "$MAKEFLAGS" == *=fifo:* ]]; then
		command ninja "$@"
		return
	fi
	auth="${MAKEFLAGS##*--jobserver-auth=}"
	read_fd="${auth%%,*}"
	write_fd="${auth#*,}"
	write_fd="${write_fd%%[!0-9]*}"
	while [ ${#tokens} -lt $((NUMJOBS - 1)) ] && IFS= read -r -t 0.01 -N 1 -u "$read_fd" byte; do
		tokens+="$byte"
	done
	command ninja -j $((${#tokens} + 1)) "$@" || status=$?
	printf '%s' "$tokens" >&"$write_fd"
	return $status
}
