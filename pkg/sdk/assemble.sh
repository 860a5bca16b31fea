# Puts an SDK together.

# copy_toolchain TO: the toolchain and the sysroot. In a room that holds include/ and lib/ of the packages in DEPENDS,
# over what the toolchain has itself; here also of all that these need, in turn.
copy_toolchain() {
	local to="$1" folder part
	cp -a "$TCDIR" "$to"
	for folder in "$PKGDEPLOYDIR"/*; do
		for part in include lib; do
			[ ! -d "$folder/$part" ] || cp -a --remove-destination "$folder/$part" "$to/$TARGET"
		done
	done
	# of use to a running system alone
	rm -rf "$to/$TARGET"/lib/{modules,firmware}
}

# add_scripts SDK: what its users call and read
add_scripts() {
	local sdk="$1" file
	host_programs "$sdk" >"$sdk/host-programs"
	for file in environment relocate README; do
		sed -e "s|@NAME@|$sdk|g" -e "s|@TARGET@|$TARGET|g" -e "s|@TCDIR@|$TCDIR|g" \
			-e "s|@SYSTEM@|$(sed -n 's/^PRETTY_NAME="\?\([^"]*\).*/\1/p' /etc/os-release)|g" \
			-e "/@HOST_PROGRAMS@/{r $sdk/host-programs" -e "d}" "$SCRIPTDIR/pkg/sdk/$file" >"$sdk/$file"
	done
	chmod 755 "$sdk/relocate"
}

# host_programs SDK: programs of the machine that the toolchain calls, by links or by scripts, a line each
host_programs() {
	{
		find "$1/bin" -type l -lname '/*' -printf '%l\n'
		grep -h -a -s '^exec ' "$1"/bin/* | cut -d ' ' -f 2 | tr -d '"'
	} | grep -v -F "$TCDIR" | sort -u || true
}

# free_of_place SDK: links that hold the toolchain's place become relative. Text files that hold it are kept below
# relocate.d as well, from where `relocate` writes them with another place.
free_of_place() {
	local sdk="$1" path target
	while IFS=$'\t' read -r target path; do
		ln -s -f -n -r "$sdk${target#"$TCDIR"}" "$path"
	done < <(find "$sdk" -type l -lname "$TCDIR/*" -printf '%l\t%p\n')
	cd "$sdk" || return
	mkdir -p relocate.d/files
	while read -r path; do
		cp -a --parents "$path" relocate.d/files
	done < <(grep -r -l -I -F --exclude-dir=relocate.d "$TCDIR" .)
	echo "$TCDIR" >relocate.d/from
	cd ..
}
