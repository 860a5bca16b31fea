# One file for EFI firmware that holds kernel, initrd and command line: no boot loader, no configuration of its own, and
# one signature for all where secure boot asks for it. The program in it that starts the kernel is systemd's stub.

# make_efi OUT STUB SECTION=FILE...: sections are linux, initrd, cmdline. STUB is in HOSTTOOLS of who calls.
make_efi() {
	local out="$1" stub="$2" word file place
	local -a arguments=()
	shift 2
	# Behind what the stub has itself, each section begins at a page of its own.
	place=$(objdump -h -w "$stub" | awk '$1 ~ /^[0-9]+$/ { print "0x" $4, "0x" $3 }' |
		while read -r address size; do echo $((address + size)); done | sort -n | tail -n 1)
	for word in "$@"; do
		file="${word#*=}"
		place=$(((place + 4095) / 4096 * 4096))
		arguments+=(--add-section ".$word" --change-section-vma ".${word%%=*}=$place")
		place=$((place + $(stat -L -c %s "$file")))
	done
	# The time in the program is the one of the stub.
	objcopy --preserve-dates "${arguments[@]}" "$stub" "$out"
}
