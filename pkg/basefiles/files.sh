# What the recipe of basefiles writes: /etc, and the list of the folders that other things are mounted on.

# deploy_etc FROM TO: the files of FROM, and those that depend on the board and the product.
deploy_etc() {
	local from="$1" to="$2" changed
	mkdir -p "$to"
	install -m 644 "$from"/* "$to"

	# A product without ROOT_PASSWORD_HASH has no password that opens root. The day of the change must be there: busybox
	# takes a line of empty fields for a broken one.
	changed=$((SOURCE_DATE_EPOCH / 86400))
	echo "root:${ROOT_PASSWORD_HASH:-*}:$changed:0:99999:7:::" >"$to/shadow"
	echo "nobody:*:$changed:0:99999:7:::" >>"$to/shadow"
	echo "${HOST_NAME:-${OS_NAME,,}}" >"$to/hostname"
	printf '%s %s (%s, %s)\n\n' "$OS_NAME" "$OS_RELEASE" "$BOARD" "$PRODUCT" >"$to/issue"
	cat >"$to/pygos-release" <<-END
		NAME="$OS_NAME"
		VERSION="$OS_RELEASE"
		BOARD="$BOARD"
		PRODUCT="$PRODUCT"
	END
	cat_file_merge LDPATH | awk '!seen[$0]++' >"$to/ld-musl-$MUSL_CPU.path"
}

# deploy_keys DEPLOY: who may come in as root by ssh: all keys of the files `authorized_keys` of product and board.
deploy_keys() {
	mkdir -p "$1/root"
	cat_file_merge authorized_keys >keys
	[ ! -s keys ] || install -D -m 600 keys "$1/root/.ssh/authorized_keys"
	chmod -R go= "$1/root"
}

# list_folders DEPLOY: lists the folders of the image that hold nothing yet.
list_folders() {
	local dir
	for dir in bin data dev etc lib proc run share sys var var/cache var/lib var/log var/spool; do
		rootfs_folder "$1" "$dir" 755
	done
	rootfs_folder "$1" tmp 1777
	rootfs_folder "$1" var/tmp 1777
	# The console of a system that boots without an initrd and without devtmpfs mounted by the kernel.
	rootfs_device "$1" dev/console c 5 1 600
	rootfs_device "$1" dev/null c 1 3 666
}
