# shellcheck shell=bash
# Stands in for a recipe that is a makefile: bash reads this file in its place, to evaluate it and in every step.
# What the makefile says, make is asked; its targets `build` and `install` do the work of the steps `build` and `deploy`.

mk_makefile="$SCRIPTDIR/pkg/$PKGNAME/build"
mk_with="${BASH_SOURCE[0]%.sh}.mk"

# ask_makefile: sets the variables of the contract to what the makefile sets them to.
ask_makefile() {
	local answer line status=0
	read_changelog
	answer=$(name_source && make --no-print-directory --directory="$SCRIPTDIR/pkg/$PKGNAME" \
		-rpq -f "$mk_makefile" -f "$mk_with" mk-ask) || status=$?
	# 1 says that `mk-ask` could be made.
	[ "$status" -lt 2 ] || return "$status"
	while IFS= read -r line; do
		case "$line" in
		"mk-variable "*)
			line="${line#* }"
			take_variable "${line%% *}" "${line#* }"
			;;
		"mk-source $mk_makefile" | "mk-source $mk_with") ;;
		"mk-source /"*) mk_report source "${line#* }" ;;
		"mk-source "*) mk_report source "$SCRIPTDIR/pkg/$PKGNAME/${line#* }" ;;
		mk-end) break ;;
		*) printf '%s\n' "$line" >&2 ;;
		esac
	done <<<"$answer"
	has_target build "builds the package"
	has_target install "installs it into \`tmp/$PKGNAME.data\`"
	[ -n "$VERSION" ] || take_variable VERSION "$OPK_SOURCE_VERSION_UPSTREAM"
	[ -n "$OPK_PACKAGES" ] || take_variable OPK_PACKAGES "$PKGNAME"
}

# read_changelog: `NAME (VERSION) …` at its beginning names the source and its version, where there is such a file.
read_changelog() {
	local line=""
	local pattern='^([^ ]+) +\(([^)]+)\)'
	OPK_SOURCE="$PKGNAME" OPK_SOURCE_VERSION="" OPK_SOURCE_VERSION_UPSTREAM=""
	[ -e "$SCRIPTDIR/pkg/$PKGNAME/changelog" ] || return 0
	IFS= read -r line <"$SCRIPTDIR/pkg/$PKGNAME/changelog" || true
	if [[ "$line" =~ $pattern ]]; then
		OPK_SOURCE="${BASH_REMATCH[1]}" OPK_SOURCE_VERSION="${BASH_REMATCH[2]}"
		OPK_SOURCE_VERSION_UPSTREAM="${OPK_SOURCE_VERSION%-*}"
	fi
}

# name_source: exports what the makefile may know of the package.
name_source() {
	export OPK_SOURCE OPK_SOURCE_VERSION="${OPK_SOURCE_VERSION:-$VERSION}" OPK_PACKAGES
	export OPK_SOURCE_VERSION_UPSTREAM="${OPK_SOURCE_VERSION_UPSTREAM:-$VERSION}" OPK_BINARY_VERSION="$OPK_SOURCE_VERSION"
	export OPK_WORK_AREA="$PKGBUILDDIR/tmp"
}

# take_variable NAME VALUE: sets it. Uses the variable `answer`, in which make told also where it was set, if in a file.
take_variable() {
	local pattern="# makefile \(from '([^']*)', line ([0-9]+)\)"$'\n'"$1 " file="" line=0
	if [ -n "${MK_HISTORY:-}" ]; then
		if [[ "$answer" =~ $pattern ]]; then
			file="${BASH_REMATCH[1]}" line="${BASH_REMATCH[2]}"
			[[ "$file" == /* ]] || file="$SCRIPTDIR/pkg/$PKGNAME/$file"
		fi
		{ printf 'at\0%s %s\n%s=\0state\0' "$line" "$file" "$1"; declare -p; printf '\0'; } >&3
	fi
	printf -v "$1" '%s' "$2"
}

# has_target NAME PURPOSE: fails unless the makefile has it. Uses the variable `answer`.
has_target() {
	local mention=$'\n'"$1:"
	if [[ "$answer" != *"$mention"* ]] || [[ "$answer" == *"# Not a target:$mention"* ]]; then
		echo "$mk_makefile: line 1: there is no target \`$1\`, which $2" >&2
		return 1
	fi
}

# lay_out_work_area SRC: makes the working folder look like the package's folder, with the source in `tmp/src`.
lay_out_work_area() {
	cp -RL --preserve=mode,timestamps "$SCRIPTDIR/pkg/$PKGNAME/." .
	# A file of that name would be the target `build`, already made.
	rm -rf build tmp
	mkdir tmp
	if [ -n "$TARBALL" ]; then
		cp -R --preserve=mode,timestamps "$1" tmp/src
	elif [ -d src ]; then
		mv src tmp/src
	else
		mkdir tmp/src
	fi
	chmod -R u+w tmp
}

# run_target NAME: runs it with all that the format of such recipes promises. These names, and no others of the kind, are
# in every one's environment; whatever else a recipe can see is there if its text names it.
run_target() {
	name_source
	export AR AS CC CPP CXX LD NM OBJCOPY OBJDUMP RANLIB READELF SIZE STRINGS STRIP
	export OPK_BUILD_ARCH OPK_BUILD_ARCH_CPU OPK_BUILD_ARCH_KERNEL OPK_BUILD_ARCH_LIBS OPK_BUILD_ARCH_GNU OPK_BUILD_PLAT
	export OPK_HOST_ARCH OPK_HOST_ARCH_CPU OPK_HOST_ARCH_KERNEL OPK_HOST_ARCH_LIBS OPK_HOST_ARCH_GNU
	make --no-print-directory -f "$mk_makefile" -f "$mk_with" "$1"
}

# deploy_data DEPLOY: the data folders of all binary packages become the deploy folder. What is not for development,
# documentation or debugging is listed for the root filesystem.
deploy_data() {
	local deploy="$1" package path mode
	local -A owner=()
	for package in $OPK_PACKAGES; do
		if [ ! -d "tmp/$package.data" ]; then
			echo "the target \`install\` left no folder \`tmp/$package.data\` for the binary package \`$package\`" >&2
			return 1
		fi
	done
	for package in tmp/*.data; do
		package="${package#tmp/}"
		package="${package%.data}"
		while IFS= read -r path; do
			if [ -n "${owner[$path]}" ]; then
				echo "the binary packages \`${owner[$path]}\` and \`$package\` both have \`/$path\`" >&2
				return 1
			fi
			owner[$path]="$package"
		done < <(find "tmp/$package.data" ! -type d ! -path "tmp/$package.data/rootfs_files.txt" -printf '%P\n')
		case "$package" in
		*-dev | *-doc | *-dbg) ;;
		*) list_data "tmp/$package.data" | rootfs_merge "$deploy" ;;
		esac
		# For archives: each holds what is its own.
		if [ "$(echo tmp/*.data)" != "tmp/$PKGNAME.data" ]; then
			mkdir -p "$deploy/binary_packages"
			list_data "tmp/$package.data" >"$deploy/binary_packages/$package"
		fi
		rm -f "tmp/$package.data/rootfs_files.txt"
		cp -a "tmp/$package.data/." "$deploy"
	done
}

# list_data FOLDER: the lines of its rootfs_files.txt, or all that it holds, owned by root.
list_data() {
	local mode path
	if [ -e "$1/rootfs_files.txt" ]; then
		cat "$1/rootfs_files.txt"
		return
	fi
	while read -r mode path; do
		rootfs_word "$path" path
		echo "$path m $mode 0 0"
	done < <(find "$1" -mindepth 1 -printf '%m %P\n')
}

ask_makefile

if compgen -G "$SCRIPTDIR/pkg/$PKGNAME/*.patch" >/dev/null; then
	prepare() {
		apply_patches
	}
fi

build() {
	lay_out_work_area "$1"
	run_target build
}

deploy() {
	run_target install
	deploy_data "$2"
}
