# A guest whose serial console a scenario reads and types on. Source it after scripts/host.sh, or where `fail` is known.

# Seconds after which a guest counts as hung; a busy machine emulates slowly.
patience=240

# start_guest LOG COMMAND...: starts COMMAND, a `run` script; all that it prints goes to LOG.
start_guest() {
	guest_log="$1"
	shift
	rm -f "$guest_log.in"
	mkfifo "$guest_log.in"
	: >"$guest_log"
	guest_mark=1
	"$@" <"$guest_log.in" >"$guest_log" 2>&1 &
	guest="$!"
	exec 7>"$guest_log.in"
}

# await_end SECONDS: until the guest has powered off, or asked to be started again.
await_end() {
	within "$1" "the guest ends" guest_ended
	exec 7>&-
	wait "$guest" || guest_trouble "the guest ended with status $?"
}

guest_ended() {
	! kill -0 "$guest" 2>/dev/null
}

# await PATTERN SECONDS: until the console shows it, after the last line that was typed.
await() {
	local pattern="$1"
	within "$2" "\`$1\` on the console" guest_shows
}

guest_shows() {
	! guest_ended || guest_trouble "the guest ended while \`$pattern\` was awaited"
	tail -c "+$guest_mark" "$guest_log" | tr -d '\r' | grep -qE "$pattern"
}

# type_line TEXT
type_line() {
	guest_mark=$(($(stat -c %s "$guest_log") + 1))
	printf '%s\n' "$1" >&7
}

# log_in SECONDS: as root, once the guest is up; its password is `root`.
log_in() {
	await 'login: $' "$1"
	type_line root
	await 'Password: $' "$patience"
	type_line root
	await '# $' "$patience"
}

# on_console COMMAND: fails unless COMMAND succeeds in the shell there.
on_console() {
	type_line "$1; echo \"<\$?>\""
	await '^<[0-9]+>$' "$patience"
	tail -c "+$guest_mark" "$guest_log" | tr -d '\r' | grep -qx '<0>' || guest_trouble "\`$1\` failed on the console"
}

guest_trouble() {
	tail -n 25 "$guest_log" >&2
	fail "$1" "all of the console: $guest_log"
}

# within SECONDS WHAT COMMAND...: until COMMAND succeeds.
within() {
	local deadline=$((SECONDS + $1)) what="$2"
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$deadline" ] || guest_trouble "no success in time: $what"
		sleep 0.2
	done
}
