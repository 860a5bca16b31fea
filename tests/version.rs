//! Which version is newer, and which names in real listings are versions of an archive.

use std::cmp::Ordering;

use mk::listing::{self, Shape};
use mk::version::{compare, follows, is_like, is_preliminary};

/// Each row from the oldest to the newest.
const ROWS: &[&[&str]] = &[
    &["1.9", "1.10", "1.11", "2"],
    &["1.1.1", "1.1.1f", "1.1.1g", "1.1.1za", "1.1.2"],
    &["9.2p1", "9.3", "9.3p1", "9.3p2", "9.10p1"],
    &["2.0-alpha", "2.0-beta1", "2.0-beta2", "2.0-rc1", "2.0-rc2", "2.0-rc10", "2.0", "2.0.1"],
    &["2.90test3", "2.90rc1", "2.90rc2", "2.90", "2.91"],
    &["1.0a1", "1.0b2", "1.0rc1", "1.0", "1.0a", "1.0b"],
    &["1.2", "1.2.a", "1.2.b", "1.2.1"],
    &["R_2_4_9", "R_2_5_0", "R_2_6_4", "2.7.1"],
    &["v1.9.4", "1.10.0"],
    &["20221230", "20230101", "20230102"],
    &["2025b", "2026a", "2026b"],
    &["2022.83", "2024.84", "2024.86", "2025.87"],
    &["3.1-20221030", "3.1-20230828", "3.1-20240517"],
    &["5.19~rc1", "5.19", "5.19+1"],
    &[
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
    ],
    &["0.8.3", "0.8.12", "0.9"],
    &["6.1.176", "6.1.177", "6.2", "6.12"],
    &["99999999999999999999", "100000000000000000000"],
];

#[test]
fn versions_compare_as_people_expect() {
    for row in ROWS {
        for (i, a) in row.iter().enumerate() {
            for (j, b) in row.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} and {b}");
            }
        }
    }
}

#[test]
fn versions_that_are_written_differently_are_the_same() {
    for (a, b) in [
        ("1.2", "1.2.0"),
        ("v1.2", "1.2"),
        ("2.1.12-stable", "2.1.12"),
        ("1_2_3", "1.2.3"),
        ("1.2-rc1", "1.2.0-rc1"),
        ("08", "8"),
        ("1.2.2+dfsg1", "1.2.2"),
    ] {
        assert_eq!(compare(a, b), Ordering::Equal, "{a} and {b}");
    }
}

#[test]
fn the_bash_helper_agrees_on_what_it_takes() {
    let of = |text: &str| {
        let fields: Vec<&str> = text.split('.').collect();
        let field = |f: &str| {
            f.bytes().all(|b| b.is_ascii_digit()) && f.len() < 10
                || f.len() == 1 && f.bytes().all(|b| b.is_ascii_alphabetic())
        };
        fields.len() <= 4 && fields.into_iter().all(|f| !f.is_empty() && field(f))
    };
    let helper = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lib/version.sh");
    for row in ROWS {
        let taken: Vec<&str> = row.iter().copied().filter(|text| of(text)).collect();
        for pair in taken.windows(2) {
            let script = format!(
                "source '{helper}'; printf '%s\\n' {0} {1} | verson_find_greatest {0}",
                pair[0], pair[1]
            );
            assert_eq!(duct::cmd!("bash", "-c", script).read().unwrap(), pair[1], "{pair:?}");
        }
    }
}

#[test]
fn nobody_is_moved_to_what_only_announces_or_to_a_snapshot() {
    assert!(follows("1.0", "1.1"));
    assert!(!follows("1.0", "1.1-rc1"));
    assert!(follows("1.1-rc1", "1.1-rc2"));
    assert!(follows("1.1-rc1", "1.1"));
    assert!(!follows("1.2.3", "20230101"));
    assert!(follows("20220101", "20230101"));
    assert!(!follows("1.1", "1.1"));
    assert!(
        is_preliminary("4.0_beta3")
            && is_preliminary("6.2-rc8")
            && !is_preliminary("9.3p2")
            && !is_preliminary("2.1.12-stable")
    );
    assert!(is_like("5.4.7", "5.4.4") && !is_like("5.4.7-tests", "5.4.4") && !is_like("snapshot", "1.35.0"));
}

/// VERSION, TARBALL, names as upstream's folder has them, and the newest that follows, if any.
type Case = (&'static str, &'static str, &'static [&'static str], &'static str);

// A row a line reads better.
#[rustfmt::skip]
const NAMES: &[Case] = &[
    ("1.2.3", "musl-1.2.3.tar.gz", &["musl-1.2.3.tar.gz", "musl-1.2.3.tar.gz.asc", "musl-1.2.5.tar.gz", "musl-1.2.4.tar.gz"], "1.2.5"),
    ("1.35.0", "busybox-1.35.0.tar.bz2", &["busybox-1.36.1.tar.bz2", "busybox-1.36.1.tar.bz2.sha256", "busybox-snapshot.tar.bz2", "busybox-0.60.5.tar.bz2"], "1.36.1"),
    ("1.2.13", "zlib-1.2.13.tar.xz", &["zlib-1.2.13.tar.xz", "zlib-1.3.1.tar.gz", "zlib-1.3.tar.xz", "zlib131.zip"], "1.3.1"),
    ("5.4.1", "xz-5.4.1.tar.xz", &["xz-5.4.1.tar.xz", "xz-5.8.1.tar.xz", "xz-5.8.1.tar.xz.sig", "xz-5.2.2-windows.zip", "xz-java-1.9.zip"], "5.8.1"),
    ("1.0.8", "bzip2-1.0.8.tar.gz", &["bzip2-1.0.6.tar.gz", "bzip2-1.0.8.tar.gz", "bzip2-latest.tar.gz"], ""),
    ("1.9.4", "v1.9.4.tar.gz", &["v1.9.4.tar.gz", "v1.10.0.tar.gz", "r131.tar.gz"], "1.10.0"),
    ("6.4", "ncurses-6.4.tar.gz", &["ncurses-6.4.tar.gz", "ncurses-6.5.tar.gz", "ncurses-5.9.tar.gz"], "6.5"),
    ("8.2", "readline-8.2.tar.gz", &["readline-8.2.tar.gz", "readline-8.3-rc1.tar.gz", "readline-8.2-patches", "readline-doc-8.3.tar.gz"], ""),
    ("5.2.15", "bash-5.2.15.tar.gz", &["bash-5.2.15.tar.gz", "bash-5.2.37.tar.gz", "bash-5.3-rc1.tar.gz", "bash-5.3.tar.gz", "bash-5.3-patches"], "5.3"),
    ("9.1", "coreutils-9.1.tar.xz", &["coreutils-9.10.tar.xz", "coreutils-9.9.tar.xz", "coreutils-9.9.tar.xz.sig"], "9.10"),
    ("4.9", "sed-4.9.tar.xz", &["sed-4.9.tar.xz", "sed-4.8.tar.gz", "sed-4.2.2.tar.bz2"], ""),
    ("3.8", "grep-3.8.tar.xz", &["grep-3.8.tar.xz", "grep-3.11.tar.xz", "grep-2.5.1-2.5.1a.diff.gz", "grep-2.5.1a.tar.gz"], "3.11"),
    ("5.2.1", "gawk-5.2.1.tar.xz", &["gawk-5.2.1-5.2.2.diff.gz", "gawk-5.3.2.tar.xz", "gawk-doc-5.3.2.tar.gz"], "5.3.2"),
    ("4.9.0", "findutils-4.9.0.tar.xz", &["findutils-4.9.0.tar.xz", "findutils-4.10.0.tar.xz"], "4.10.0"),
    ("3.8", "diffutils-3.8.tar.xz", &["diffutils-3.12.tar.xz", "diffutils-3.8.tar.xz"], "3.12"),
    ("1.34", "tar-1.34.tar.xz", &["tar-1.34.tar.xz", "tar-1.35.tar.gz", "tar-latest.tar.xz"], "1.35"),
    ("1.12", "gzip-1.12.tar.xz", &["gzip-1.12.tar.xz", "gzip-1.14.tar.xz", "gzip-1.3.5.tar"], "1.14"),
    ("590", "less-590.tar.gz", &["less-590.tar.gz", "less-643.tar.gz", "less-668.zip"], "668"),
    ("7.2", "nano-7.2.tar.xz", &["nano-7.2.tar.xz", "nano-7.2.tar.xz.asc"], ""),
    ("5.44", "file-5.44.tar.gz", &["file-5.46.tar.gz", "file-5.46.tar.gz.asc", "file-3.26.tar.gz"], "5.46"),
    ("2.5.0", "R_2_5_0.tar.gz", &["R_2_5_0.tar.gz", "R_2_7_3.tar.gz"], "2.7.3"),
    ("R_2_5_0", "R_2_5_0.tar.gz", &["R_2_5_0.tar.gz", "R_2_7_3.tar.gz"], "R_2_7_3"),
    ("3.0.20", "openssl-3.0.20.tar.gz", &["openssl-3.0.20.tar.gz", "openssl-3.5.4.tar.gz", "openssl-3.6.0-beta1.tar.gz", "openssl-fips-2.0.16.tar.gz"], "3.5.4"),
    ("1.1.1f", "openssl-1.1.1f.tar.gz", &["openssl-1.1.1f.tar.gz", "openssl-1.1.1g.tar.gz", "openssl-1.1.0l.tar.gz"], "1.1.1g"),
    ("10.42", "pcre2-10.42.tar.gz", &["pcre2-10.42.tar.gz", "pcre2-10.47-RC1.tar.gz", "pcre2-10.46.tar.bz2"], "10.46"),
    ("1.0.4", "libmnl-1.0.4.tar.bz2", &["libmnl-1.0.4.tar.bz2", "libmnl-1.0.5.tar.bz2", "libmnl-1.0.5.tar.bz2.sig"], "1.0.5"),
    ("1.2.4", "libnftnl-1.2.4.tar.bz2", &["libnftnl-1.2.4.tar.bz2", "libnftnl-1.3.0.tar.xz"], "1.3.0"),
    ("1.0.6", "nftables-1.0.6.tar.xz", &["nftables-1.0.6.tar.xz", "nftables-1.1.5.tar.xz", "nftables-0.099.tar.bz2"], "1.1.5"),
    ("6.1.0", "iproute2-6.1.0.tar.xz", &["iproute2-6.1.0.tar.xz", "iproute2-6.17.0.tar.xz", "iproute2-2.6.38.tar.bz2", "iproute2-ss991023.tar.gz"], "6.17.0"),
    ("2.90", "dnsmasq-2.90.tar.xz", &["dnsmasq-2.90.tar.xz", "dnsmasq-2.91.tar.xz", "dnsmasq-2.92rc1.tar.xz", "dnsmasq-2.92test3.tar.xz"], "2.91"),
    ("2022.83", "dropbear-2022.83.tar.bz2", &["dropbear-2022.83.tar.bz2", "dropbear-2025.88.tar.bz2", "dropbear-0.53.1.tar.bz2"], "2025.88"),
    ("9.2p1", "openssh-9.2p1.tar.gz", &["openssh-9.2p1.tar.gz", "openssh-9.9p2.tar.gz", "openssh-10.0p2.tar.gz", "openssh-9.2p1-vs-openbsd.diff.gz"], "10.0p2"),
    ("30", "kmod-30.tar.xz", &["kmod-30.tar.xz", "kmod-34.2.tar.xz", "kmod-34.tar.xz"], "34.2"),
    ("2.38.1", "util-linux-2.38.1.tar.xz", &["util-linux-2.38-rc1.tar.xz", "util-linux-2.38.tar.xz", "util-linux-2.38.1.tar.xz"], ""),
    ("1.47.0", "e2fsprogs-1.47.0.tar.gz", &["e2fsprogs-1.47.3.tar.gz", "e2fsprogs-libs-1.47.3.tar.gz"], "1.47.3"),
    ("4.5.1", "4.5.1.tar.gz", &["4.5.1.tar.gz", "4.7.4.tar.gz", "4.6.zip", "kernel-2.3.tar.gz"], "4.7.4"),
    ("4.0.2", "procps-ng-4.0.2.tar.xz", &["procps-ng-4.0.2.tar.xz", "procps-ng-4.0.5.tar.xz", "procps-ng-4.0.5.tar.xz.asc"], "4.0.5"),
    ("23.6", "psmisc-23.6.tar.xz", &["psmisc-23.6.tar.xz", "psmisc-23.7.tar.xz", "psmisc-22.21.tar.gz"], "23.7"),
    ("4.13", "shadow-4.13.tar.xz", &["shadow-4.13.tar.xz", "shadow-4.18.0.tar.xz", "shadow-4.18.0-rc1.tar.xz"], "4.18.0"),
    ("0.11.7", "libbsd-0.11.7.tar.xz", &["libbsd-0.11.7.tar.xz", "libbsd-0.12.2.tar.xz"], "0.12.2"),
    ("1.0.4", "libmd-1.0.4.tar.xz", &["libmd-1.0.4.tar.xz", "libmd-1.1.0.tar.xz"], "1.1.0"),
    ("1.10.3", "libpcap-1.10.3.tar.gz", &["libpcap-1.10.3.tar.gz", "libpcap-1.10.5.tar.xz", "libpcap-1.9.0.tar.gz"], "1.10.5"),
    ("4.99.3", "tcpdump-4.99.3.tar.gz", &["tcpdump-4.99.3.tar.gz", "tcpdump-4.99.5.tar.gz", "tcpdump-workers.tar.gz"], "4.99.5"),
    ("6.1", "ethtool-6.1.tar.xz", &["ethtool-6.1.tar.xz", "ethtool-6.15.tar.xz", "ethtool-6.9.tar.xz"], "6.15"),
    ("5.19", "iw-5.19.tar.xz", &["iw-5.19.tar.xz", "iw-6.17.tar.xz", "iw-0.9.22.tar.bz2"], "6.17"),
    ("3.7.0", "libnl-3.7.0.tar.gz", &["libnl-3.7.0.tar.gz", "libnl-3.11.0.tar.gz", "libnl-doc-3.11.0.tar.gz"], "3.11.0"),
    ("9.4.1", "dhcpcd-9.4.1.tar.xz", &["dhcpcd-9.4.1.tar.xz", "dhcpcd-10.2.4.tar.xz", "dhcpcd-9.99.0.tar.xz"], "10.2.4"),
    ("1.2.2", "ntpsec-1.2.2.tar.gz", &["ntpsec-1.2.2.tar.gz", "ntpsec-1.2.4.tar.gz", "ntpsec-1.2.4.tar.gz.asc"], "1.2.4"),
    ("4.3", "chrony-4.3.tar.gz", &["chrony-4.3.tar.gz", "chrony-4.7.tar.gz", "chrony-4.8-pre1.tar.gz", "chrony-4.7-tar-gz-asc.txt"], "4.7"),
    ("1.17.1", "unbound-1.17.1.tar.gz", &["unbound-1.17.1.tar.gz", "unbound-1.24.0rc1.tar.gz", "unbound-1.23.1.tar.gz", "unbound-latest.tar.gz"], "1.23.1"),
    ("1.8.3", "ldns-1.8.3.tar.gz", &["ldns-1.8.3.tar.gz", "ldns-1.8.4.tar.gz", "ldns-1.8.4-rc.1.tar.gz"], "1.8.4"),
    ("5.4.4", "lua-5.4.4.tar.gz", &["lua-5.4.4.tar.gz", "lua-5.4.7-tests.tar.gz", "lua-5.4.6.tar.gz", "lua-5.4.7.tar.gz", "lua-all.tar.gz"], "5.4.7"),
    ("4.3", "make-4.3.tar.gz", &["make-4.3.tar.gz", "make-4.4.1.tar.lz", "make-4.4.1.tar.gz", "make-3.81-vms.zip"], "4.4.1"),
    ("1.8.1", "pkgconf-1.8.1.tar.xz", &["pkgconf-1.8.1.tar.xz", "pkgconf-2.5.1.tar.xz"], "2.5.1"),
    ("2.40", "binutils-2.40.tar.xz", &["binutils-2.40.tar.xz", "binutils-2.45.tar.zst", "binutils-with-gold-2.45.tar.xz"], "2.45"),
    ("12.2.0", "gcc-12.2.0.tar.xz", &["gcc-12.2.0.tar.xz", "gcc-12.2.0.tar.xz.sig"], ""),
    ("6.2.1", "gmp-6.2.1.tar.xz", &["gmp-6.2.1.tar.xz", "gmp-6.3.0.tar.xz"], "6.3.0"),
    ("4.2.0", "mpfr-4.2.0.tar.xz", &["mpfr-4.2.0.tar.xz", "mpfr-4.2.2.tar.xz"], "4.2.2"),
    ("1.3.1", "mpc-1.3.1.tar.gz", &["mpc-1.2.1.tar.gz", "mpc-1.3.1.tar.gz"], ""),
    ("0.25", "isl-0.25.tar.xz", &["isl-0.25.tar.xz", "isl-0.27.tar.xz"], "0.27"),
    ("6.1.176", "linux-6.1.176.tar.xz", &["linux-6.1.176.tar.xz", "linux-6.1.177.tar.xz", "linux-6.1.177.tar.sign", "patch-6.1.178.xz"], "6.1.177"),
    ("2023.01", "u-boot-2023.01.tar.bz2", &["u-boot-2023.01.tar.bz2", "u-boot-2025.10.tar.bz2", "u-boot-2026.01-rc2.tar.bz2", "u-boot-latest.tar.bz2"], "2025.10"),
    ("3.2.2", "3.2.2.tar.gz", &["3.2.2.tar.gz", "3.4.1.tar.gz"], "3.4.1"),
    ("6.1", "strace-6.1.tar.xz", &["strace-6.1.tar.xz", "strace-6.17.tar.xz"], "6.17"),
    ("7.88.1", "curl-7.88.1.tar.gz", &["curl-7.88.1.tar.gz", "curl-8.16.0.tar.xz", "curl-8.17.0-rc1.tar.xz"], "8.16.0"),
    ("1.22.1", "nginx-1.22.1.tar.gz", &["nginx-1.22.1.tar.gz", "nginx-1.28.0.tar.gz", "nginx-1.28.0.zip", "nginx-1.28.0.tar.gz.asc"], "1.28.0"),
    ("2.1.5", "mtd-utils-2.1.5.tar.bz2", &["mtd-utils-2.1.5.tar.bz2", "mtd-utils-2.3.0.tar.bz2"], "2.3.0"),
    ("4.2", "dosfstools-4.2.tar.gz", &["dosfstools-4.2.tar.gz", "dosfstools-4.1.tar.xz"], ""),
    ("2026b", "tzdata2026b.tar.gz", &["tzdata2026a.tar.gz", "tzdata2026b.tar.gz", "tzcode2026c.tar.gz", "tzdata2026c.tar.gz"], "2026c"),
    ("1.8.9", "iptables-1.8.9.tar.xz", &["iptables-1.8.9.tar.xz", "iptables-1.8.11.tar.xz", "patch-iptables-1.8.10-1.8.11.bz2"], "1.8.11"),
    ("2.10", "wpa_supplicant-2.10.tar.gz", &["hostapd-2.11.tar.gz", "wpa_supplicant-2.10.tar.gz", "wpa_supplicant-2.11.tar.gz", "wpa_supplicant-2.9.tar.gz"], "2.11"),
    ("2.10", "lzo-2.10.tar.gz", &["lzo-2.10.tar.gz", "lzo-2.09.tar.gz", "minilzo-2.11.tar.gz"], ""),
    ("2.5.4", "libseccomp-2.5.4.tar.gz", &["libseccomp-2.5.4.tar.gz", "libseccomp-2.6.0.tar.gz"], "2.6.0"),
    ("2.66", "libcap-2.66.tar.xz", &["libcap-2.66.tar.xz", "libcap-2.76.tar.xz", "libcap-2.76.tar.sign"], "2.76"),
    ("6.2", "btrfs-progs-v6.2.tar.xz", &["btrfs-progs-v6.2.tar.xz", "btrfs-progs-v6.17.tar.xz", "btrfs-progs-v6.2-rc1.tar.xz"], "6.17"),
    ("2.1.12-stable", "libevent-2.1.12-stable.tar.gz", &["libevent-2.1.12-stable.tar.gz", "libevent-2.2.1-alpha-dev.tar.gz", "libevent-2.1.13-stable.tar.gz"], "2.1.13-stable"),
    ("0.8.3", "libcap-ng-0.8.3.tar.gz", &["libcap-ng-0.8.3.tar.gz", "libcap-ng-0.8.5.tar.gz"], "0.8.5"),
    ("2.5.1", "attr-2.5.1.tar.xz", &["attr-2.5.1.tar.xz", "attr-2.5.2.tar.xz", "attr-2.4.47.src.tar.gz"], "2.5.2"),
    ("2.3.1", "acl-2.3.1.tar.xz", &["acl-2.3.1.tar.xz", "acl-2.3.2.tar.gz"], "2.3.2"),
    ("1.19", "popt-1.19.tar.gz", &["popt-1.19.tar.gz", "popt-1.18.tar.gz", "popt-1.20-rc1.tar.gz"], ""),
    ("2.4", "inetutils-2.4.tar.xz", &["inetutils-2.4.tar.xz", "inetutils-2.6.tar.xz"], "2.6"),
    ("2.5.1", "kbd-2.5.1.tar.xz", &["kbd-2.5.1.tar.gz", "kbd-2.9.0.tar.xz", "kbd-2.9.0-rc1.tar.xz"], "2.9.0"),
    ("2.11", "bash-completion-2.11.tar.xz", &["bash-completion-2.11.tar.xz", "bash-completion-2.16.0.tar.xz"], "2.16.0"),
    ("2.14", "v2.14.tar.gz", &["v2.14.tar.gz", "v2.14.1.tar.gz"], "2.14.1"),
    ("20221030-3.1", "libedit-20221030-3.1.tar.gz", &["libedit-20221030-3.1.tar.gz", "libedit-20250104-3.1.tar.gz"], "20250104-3.1"),
    ("1.4.19", "m4-1.4.19.tar.xz", &["m4-1.4.19.tar.xz", "m4-1.4.20.tar.xz", "m4-latest.tar.xz"], "1.4.20"),
    ("2.6.4", "flex-2.6.4.tar.gz", &["flex-2.6.4.tar.gz", "flex-2.6.3.tar.gz"], ""),
    ("3.8.2", "bison-3.8.2.tar.xz", &["bison-3.8.2.tar.xz", "bison-3.8.tar.xz"], ""),
    ("1.07.1", "bc-1.07.1.tar.gz", &["bc-1.07.1.tar.gz", "bc-1.08.2.tar.gz", "bc-1.06.tar.gz"], "1.08.2"),
    ("0.188", "elfutils-0.188.tar.bz2", &["elfutils-0.188.tar.bz2", "elfutils-0.194.tar.bz2", "elfutils-debuginfod-0.194.tar.bz2"], "0.194"),
];

#[test]
fn real_names_of_upstream_are_read() {
    for (version, file, names, expected) in NAMES {
        let shape = Shape::of(file, version).unwrap_or_else(|| panic!("{file}"));
        let mut best = "";
        let found: Vec<String> = names.iter().filter_map(|name| shape.version(name)).collect();
        for candidate in found.iter().filter(|candidate| follows(version, candidate)) {
            if best.is_empty() || compare(candidate, best).is_gt() {
                best = candidate;
            }
        }
        assert_eq!(best, *expected, "{file}: {found:?}");
    }
}

#[test]
fn a_version_in_the_name_of_a_folder_is_found() {
    for (version, url, parent, whole) in [
        (
            "2.38.1",
            "https://www.kernel.org/pub/linux/utils/util-linux/v2.38",
            "https://www.kernel.org/pub/linux/utils/util-linux",
            false,
        ),
        (
            "1.47.0",
            "https://www.kernel.org/pub/linux/kernel/people/tytso/e2fsprogs/v1.47.0",
            "https://www.kernel.org/pub/linux/kernel/people/tytso/e2fsprogs",
            true,
        ),
        ("12.2.0", "https://ftp.gnu.org/gnu/gcc/gcc-12.2.0/", "https://ftp.gnu.org/gnu/gcc", true),
        ("4.2.0", "https://www.mpfr.org/mpfr-4.2.0", "https://www.mpfr.org", true),
        ("7.2", "https://www.nano-editor.org/dist/v7", "https://www.nano-editor.org/dist", false),
        (
            "6.1.176",
            "https://www.kernel.org/pub/linux/kernel/v6.x",
            "https://www.kernel.org/pub/linux/kernel",
            false,
        ),
        ("1.19", "http://ftp.rpm.org/popt/releases/popt-1.x", "http://ftp.rpm.org/popt/releases", false),
        ("0.188", "https://sourceware.org/elfutils/ftp/0.188", "https://sourceware.org/elfutils/ftp", true),
    ] {
        let place = listing::versioned(url, version).unwrap();
        assert_eq!((place.parent.as_str(), place.whole), (parent, whole), "{url}");
    }
    for (version, url) in [
        ("1.2.3", "https://musl.libc.org/releases"),
        ("3.40.1", "https://www.sqlite.org/2022"),
        ("1.0.8", "https://sourceware.org/pub/bzip2"),
    ] {
        assert_eq!(listing::versioned(url, version), None, "{url}");
    }
}

#[test]
fn a_folder_below_a_versioned_one_is_sought_in_the_others_too() {
    let place = listing::versioned("https://a.example/x/1.2.3/source/", "1.2.3").unwrap();
    assert_eq!((place.parent.as_str(), place.below.as_str()), ("https://a.example/x", "/source"));
}

#[test]
fn tags_are_known_from_the_urls_of_github() {
    for (version, url, file, tag, next, next_tag) in [
        (
            "1.5.4",
            "https://github.com/facebook/zstd/releases/download/v1.5.4",
            "zstd-1.5.4.tar.gz",
            "v1.5.4",
            "1.5.7",
            "v1.5.7",
        ),
        (
            "3.7.0",
            "https://github.com/thom311/libnl/releases/download/libnl3_7_0",
            "libnl-3.7.0.tar.gz",
            "libnl3_7_0",
            "3.11.0",
            "libnl3_11_0",
        ),
        ("1.9.4", "https://github.com/lz4/lz4/archive", "v1.9.4.tar.gz", "v1.9.4", "1.10.0", "v1.10.0"),
        (
            "2.5.0",
            "https://github.com/libexpat/libexpat/archive/refs/tags",
            "R_2_5_0.tar.gz",
            "R_2_5_0",
            "2.7.3",
            "R_2_7_3",
        ),
        (
            "2.1.12",
            "https://github.com/libevent/libevent/releases/download/release-2.1.12-stable/",
            "libevent-2.1.12-stable.tar.gz",
            "release-2.1.12-stable",
            "2.1.13",
            "release-2.1.13-stable",
        ),
        (
            "3.2.2",
            "https://github.com/htop-dev/htop/archive/refs/tags/3.2.2",
            "htop-3.2.2.tar.gz",
            "3.2.2",
            "3.4.1",
            "3.4.1",
        ),
    ] {
        let feed = listing::feed(url, file).unwrap();
        assert_eq!(feed.tag, tag);
        let shape = Shape::of(&feed.tag, version).unwrap();
        assert_eq!(shape.version(next_tag).as_deref(), Some(next), "{url}");
        assert!(feed.urls[0].starts_with("https://github.com/") && feed.urls[0].ends_with("/releases.atom"));
    }
    assert_eq!(listing::feed("https://github.com/x/y/raw", "y-1.tar.gz"), None);
    assert_eq!(listing::feed("https://example.org/x/y/archive", "y-1.tar.gz"), None);
}

#[test]
fn names_are_read_from_every_kind_of_listing() {
    let apache = "<a href=\"?C=N;O=D\">Name</a> <a href=\"/pub/\">Parent Directory</a>\n\
        <img alt=\"[   ]\"> <a HREF='x%2B1-1.0.tar.gz'>x+1-1.0.ta..&gt;</a> 2024-01-01 <a href=v2.0/>v2.0/</a>";
    assert_eq!(listing::names(apache), ["pub", "v2.0", "x+1-1.0.tar.gz"]);
    let plain = "drwxr-xr-x 2 0 0 4096 Jan 1 2024 v2.0\n-rw-r--r-- 1 0 0 17 Jan  1 2024 x-1.0.tar.gz\n";
    assert!(listing::names(plain).contains(&"x-1.0.tar.gz".to_owned()));
    let json = "[{ \"name\":\"x-1.0.tar.gz\", \"type\":\"file\" },\n{\"name\":\"v2.0\"}]";
    assert!(listing::names(json).contains(&"x-1.0.tar.gz".to_owned()));
    let pages = "<a href=\"/projects/p/files/x-1.0.tar.gz/download\">x</a>";
    assert_eq!(listing::names(pages), ["x-1.0.tar.gz"]);
    assert_eq!(
        listing::names("<a href=\"x-1.0.tar.gz\">x</a> <a href=\"x-1.1.ta"),
        ["x-1.0.tar.gz"],
        "cut off"
    );
}
