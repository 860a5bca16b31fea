# Patches: `apply_patches`, for the prepare function of a recipe.

# apply_patches [DIR]: applies every *.patch of DIR (default: the package's own folder in the tree) to the source
# in the working folder, in name order, with -p1. No patch is fine; the first that does not apply names itself.
apply_patches() {
	local dir="${1:-$SCRIPTDIR/pkg/$PKGNAME}"
	local file
	for file in "$dir"/*.patch; do
		[ -e "$file" ] || continue
		echo "apply_patches: ${file##*/}"
		if ! patch -p1 --forward --batch --no-backup-if-mismatch -i "$file"; then
			echo "apply_patches: \`${file##*/}\` does not apply to \`$PWD\`" >&2
			return 1
		fi
	done
}
