# shellcheck shell=dash
# The two root partitions and which of them to start, for who sources this: the initrd, and `update`.
#
# The first sector of the partition `slots` holds the state, as a line of text: `good=a try=b tries=1`.
#   good    the slot that has worked
#   try     the slot that is new, and has not worked yet; empty where there is none
#   tries   how often it may still be started
# A sector is written whole or not at all, so the state is always one or the other.

# partition NAME: prints the device of the disk's partition of that name.
partition() {
	local file line
	for file in /sys/class/block/*/uevent; do
		while read -r line; do
			if [ "$line" = "PARTNAME=$1" ]; then
				file=${file%/uevent}
				echo "/dev/${file##*/}"
				return 0
			fi
		done <"$file"
	done
	return 1
}

# read_slots: sets good, try and tries. What makes no sense counts as: slot a, and nothing to try.
read_slots() {
	local line="" word
	good=a
	try=""
	tries=0
	read -r line <"$(partition slots)"
	for word in $line; do
		case "$word" in
		good=[ab]) good=${word#good=} ;;
		try=[ab]) try=${word#try=} ;;
		tries=[0-9]) tries=${word#tries=} ;;
		esac
	done
}

# write_slots: keeps good, try and tries, and returns when they are on the disk.
write_slots() {
	printf '%-511s\n' "good=$good try=$try tries=$tries" |
		dd of="$(partition slots)" bs=512 count=1 conv=fsync,notrunc 2>/dev/null
}
