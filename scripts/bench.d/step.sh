#!/usr/bin/env bash
# One package for the peers make and ninja: what mk does for it, done by hand and without waste. The archive is checked
# and unpacked, what the package needs is linked into a sysroot of its own, it is built, deployed and stripped.
#
# usage: step.sh TREE PACKAGE, in the folder that holds download/ and takes everything else
set -e
TREE="$1" PKGNAME="$2" TARGET="bench-linux-gnu"
HERE="$PWD"
TCDIR="$HERE/toolchain" PKGDEPLOYDIR="$HERE/deploy" PKGBUILDDIR="$HERE/build/$PKGNAME"
sysroot="$HERE/sysroot/$PKGNAME" deploy="$PKGDEPLOYDIR/$PKGNAME" log="$HERE/log/$PKGNAME"
export PATH="$TCDIR/bin:$PATH"

cat_file_merge() {
	cat "$TREE/product/bench/$1" "$TREE/board/bench/$1"
}

save_toolchain() {
	:
}

# shellcheck disable=SC1090 # the recipe
source "$TREE/pkg/$PKGNAME/build"
mkdir -p "$PKGBUILDDIR" "$sysroot" "$deploy"
if [ -n "$TARBALL" ]; then
	sha256sum --check --quiet - <<<"$SHA256SUM  download/$TARBALL"
	tar -C src -xf "download/$TARBALL"
fi
needed=()
for name in $DEPENDS; do
	for part in include lib; do
		[ ! -d "deploy/$name/$part" ] || needed+=("deploy/$name/$part")
	done
done
[ "${#needed[@]}" -eq 0 ] || cp -al "${needed[@]}" "$sysroot"

cd "$PKGBUILDDIR"
build "$HERE/src/$SRCDIR" "$deploy" &>"$log-build.log" </dev/null
deploy "$HERE/src/$SRCDIR" "$deploy" &>"$log-deploy.log" </dev/null
cd "$HERE"

for folder in "$deploy/bin" "$deploy/lib"; do
	[ ! -d "$folder" ] ||
		find "$folder" -type f -exec file --no-pad --separator '|' {} + | grep '| ELF' | cut -d '|' -f 1 |
		xargs --no-run-if-empty "$TARGET-strip"
done
rm -rf "$PKGBUILDDIR" "$sysroot"
: >"stamp/$PKGNAME"
