# packages of qemu-x86_64 minimal, installed by dpkg into an empty root and used there

packages="$WORKSPACE/qemu-x86_64-minimal-packages"
root="$WORKSPACE/pack-root"
rm -rf "$packages" "$root"
mk pack qemu-x86_64 minimal

# the index is what the archives are
while read -r file; do
	sed -n "/^Filename: $file\$/,/^\$/s/^SHA256sum: \(.*\)/\1  $file/p" "$packages/Packages"
done < <(sed -n 's/^Filename: //p' "$packages/Packages") | (cd "$packages" && sha256sum --check --strict -)

mkdir -p "$root"/var/lib/dpkg/{info,updates}
touch "$root/var/lib/dpkg/status"
install_packages() {
	unshare --map-root-user dpkg --root="$root" --log=/dev/null --force-architecture --force-bad-path --install "$@"
}
# a package manager refuses what lacks something, and takes all together
! install_packages "$packages"/dropbear_*.ipk >"$WORKSPACE/pack.log" 2>&1 || fail "dropbear was installed without zlib"
grep -q 'depends on zlib' "$WORKSPACE/pack.log" || fail "dpkg says: $(cat "$WORKSPACE/pack.log")"
install_packages "$packages"/{musl,zlib,busybox,dropbear}_*.ipk >"$WORKSPACE/pack.log" 2>&1 ||
	fail "dpkg says: $(cat "$WORKSPACE/pack.log")"

said=$(unshare --map-root-user chroot "$root" /bin/busybox sh -c 'dbclient -V 2>&1; ls -l /etc/service/dropbear')
echo "$said"
[[ "$said" == *"Dropbear v"*-rwxr-xr-x* ]] || fail "dropbear does not run from its package"

mk pack qemu-x86_64 minimal dropbear --form spk
tar xOf "$packages"/dropbear_*.spk package.tgz | tar tz | grep -x lib/libz.so.1 || fail "the .spk lacks zlib"
