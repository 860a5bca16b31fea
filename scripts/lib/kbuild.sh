# Packages with Linux's build system and configuration language: the kernel,
# busybox, and their like.

# kernel_make SRC [ARG…]: runs the makefile of the kernel in SRC for the target,
# with the working folder as its output folder, so that SRC stays clean.
kernel_make() {
	local src="$1"
	shift

	local when
	when="$(date -u -d "@$SOURCE_DATE_EPOCH")"

	make -C "$src" O="$PWD" ARCH="$LINUX_CPU" CROSS_COMPILE="$TARGET-" \
		KBUILD_BUILD_TIMESTAMP="$when" KBUILD_BUILD_VERSION=1 \
		KBUILD_BUILD_USER=mk KBUILD_BUILD_HOST=mk "$@"
}

# kernel_config SRC FILE…: configures the kernel in SRC with what the FILEs say; where
# they differ, the first one counts. All that none of them (fragments, or what
# savedefconfig writes) mentions is off, or has its default where it is no switch.
# Fails if the kernel has no such option or a FILE forgot what an option needs.
kernel_config() {
	local src="$1" file wanted="$PWD/wanted.config"
	shift

	for file in "$@"; do
		if [ ! -f "$file" ]; then
			echo "kernel_config: neither the product nor the board has a configuration of the kernel" >&2
			return 1
		fi
	done
	config_merge "$@" >"$wanted"
	kernel_make "$src" KCONFIG_ALLCONFIG="$wanted" allnoconfig
	config_check "$wanted" .config
}

# config_merge FILE…: prints what the FILEs ask for, each option once; where they
# differ, the first one counts, as cat_file_merge prints the most specific first.
config_merge() {
	awk -F= '/^CONFIG_/ && !seen[$1]++' "$@"
}

# config_check FILE CONFIG: fails unless all that FILE asks for is set in CONFIG,
# which a configuration program wrote from it.
config_check() {
	local file="$1" config="$2" line missing=0

	while read -r line; do
		case "$line" in
		CONFIG_*=n) grep -q "^${line%=n}=" "$config" || continue ;;
		CONFIG_*) ! grep -qxF -e "$line" "$config" || continue ;;
		*) continue ;;
		esac
		echo "$file: \`$line\` has no effect: no such option, or it needs others" >&2
		missing=1
	done <"$file"
	return "$missing"
}
