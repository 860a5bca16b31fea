//! `mk check-update` against a real server on loopback that lists folders as real servers do.

mod loopback;

use std::collections::BTreeMap;

use loopback::{Case, Ran, Reply, apache, feed, nginx};

/// What the run printed, with its code; the last line on standard error is the count.
fn assert_ran(ran: &Ran, code: i32, out: &str, err: &str) {
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (code, out, err), "{ran:#?}");
}

#[test]
fn a_newer_archive_in_an_apache_listing_is_found() {
    let case = Case::new();
    case.package("zlib", "1.2.13", &case.server.url("/pub"), "");
    let names = [
        "zlib-1.2.13.tar.gz",
        "zlib-1.2.13.tar.gz.asc",
        "zlib-1.10.tar.gz",
        "zlib-1.9.tar.gz",
        "zlib-2.0-rc1.tar.gz",
    ];
    case.server.put("/pub/", apache("/pub", &names));
    let table = "package  version  newer  found\nzlib     1.2.13   1.10   @/pub/zlib-1.10.tar.gz\n";
    assert_ran(&case.mk("check-update"), 10, table, "note: 1 newer, 0 current, 0 failed, 0 unchecked\n");
}

#[test]
fn nothing_newer_in_an_nginx_listing_is_no_news() {
    let case = Case::new();
    case.package("nginx", "1.22.1", &case.server.url("/download/"), "");
    case.server.put(
        "/download/",
        nginx("/download/", &["nginx-1.22.0.tar.gz", "nginx-1.22.1.tar.gz", "nginx-1.22.1.zip"]),
    );
    assert_ran(&case.mk("check-update nginx"), 0, "", "note: 0 newer, 1 current, 0 failed, 0 unchecked\n");
}

#[test]
fn a_plain_listing_and_a_folder_of_this_machine_do_as_well() {
    let case = Case::new();
    case.package("a", "1.0", &case.server.url("/plain"), "");
    case.server.put("/plain/", "-rw-r--r-- 1 ftp ftp 17 Jan 01 2024 a-1.0.tar.gz\n-rw-r--r-- 1 ftp ftp 17 Jan 01 2024 a-1.1.tar.gz\n");
    case.write("mirror/b-1.0.tar.gz", "");
    case.write("mirror/b-1.0a.tar.gz", "");
    case.package("b", "1.0", &format!("file://{}", case.path("mirror").display()), "");
    let ran = case.mk("check-update -q");
    let table = "package  version  newer  found\na        1.0      1.1    @/plain/a-1.1.tar.gz\nb        1.0      1.0a   file://~/mirror/b-1.0a.tar.gz\n";
    assert_ran(&ran, 10, table, "");
}

#[test]
fn a_release_feed_is_read_through_the_proxy_of_the_environment() {
    let mut case = Case::new();
    case.package("zstd", "1.5.4", "http://github.com/facebook/zstd/releases/download/v1.5.4", "");
    case.package("lz4", "1.9.4", "http://github.com/lz4/lz4/archive/refs/tags/v1.9.4/", "");
    case.server.put(
        "http://github.com/facebook/zstd/releases.atom",
        feed("facebook/zstd", &["v1.5.7", "v1.6.0-beta1", "v1.5.4", "zlib-v1"]),
    );
    // Nothing in the first feed, so the second is asked.
    case.server.put("http://github.com/lz4/lz4/releases.atom", feed("lz4/lz4", &[]));
    case.server.put("http://github.com/lz4/lz4/tags.atom", feed("lz4/lz4", &["v1.10.0", "v1.9.4"]));
    case.environment.push(("http_proxy".into(), case.server.address.clone()));
    let table = "package  version  newer   found\n\
        lz4      1.9.4    1.10.0  http://github.com/lz4/lz4/releases/tag/v1.10.0\n\
        zstd     1.5.4    1.5.7   http://github.com/facebook/zstd/releases/tag/v1.5.7\n";
    assert_ran(&case.mk("check-update -q"), 10, table, "");
}

#[test]
fn newer_folders_are_looked_into_where_the_version_is_in_a_folders_name() {
    let case = Case::new();
    let server = &case.server;
    case.package("util-linux", "2.38.1", &server.url("/util-linux/v2.38"), "");
    server.put("/util-linux/v2.38/", nginx("", &["util-linux-2.38.1.tar.gz", "util-linux-2.38.tar.gz"]));
    server.put("/util-linux/", nginx("", &["v2.9/", "v2.37/", "v2.38/", "v2.39/", "v2.40/", "v2.41/"]));
    server.put("/util-linux/v2.41/", nginx("", &["util-linux-2.41-rc1.tar.gz"]));
    server.put("/util-linux/v2.40/", nginx("", &["util-linux-2.40.4.tar.gz", "util-linux-2.40.tar.gz"]));
    case.package("gcc", "12.2.0", &server.url("/gcc/gcc-12.2.0/"), "");
    // The folder is there, but does not let itself be listed.
    server.put("/gcc/", apache("/gcc", &["gcc-12.2.0/", "gcc-13.1.0/", "gcc-4.9.4/"]));
    let table = "package     version  newer   found\n\
        gcc         12.2.0   13.1.0  @/gcc/gcc-13.1.0\n\
        util-linux  2.38.1   2.40.4  @/util-linux/v2.40/util-linux-2.40.4.tar.gz\n";
    assert_ran(&case.mk("check-update -q"), 10, table, "");
}

#[test]
fn of_several_urls_the_first_that_lists_such_a_name_decides() {
    let case = Case::new();
    let urls = format!("{} {} apt:a=1.0-1", case.server.url("/gone"), case.server.url("/mirror"));
    case.package("a", "1.0", &urls, "");
    case.package("b", "1.0", "apt:b=1.0-1", "");
    case.server.put("/mirror/", nginx("", &["a-1.0.tar.gz", "a-1.1.tar.gz"]));
    let ran = case.mk("check-update --format json");
    assert_eq!(ran.code, 10);
    let listing: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let expected = serde_json::json!({"packages": [
        {"name": "a", "version": "1.0", "status": "newer", "newer": "1.1", "found": "@/mirror/a-1.1.tar.gz", "reason": null},
        {"name": "b", "version": "1.0", "status": "unchecked", "newer": null, "found": null, "reason": "no URL of it is a folder that could be listed"},
    ]});
    assert_eq!(listing, expected);
}

#[test]
fn what_fails_is_told_and_keeps_nothing_else_from_being_told() {
    let case = Case::new();
    let server = &case.server;
    let listing = |name: &str| nginx("", &[&format!("{name}-1.0.tar.gz"), &format!("{name}-1.1.tar.gz")]);
    for name in ["cut", "error", "gone", "good", "moved", "other", "slow", "twice"] {
        case.package(name, "1.0", &server.url(&format!("/{name}")), "");
        server.put(&format!("/{name}/"), listing(name));
    }
    server.put("/gone/", Reply::Status("404 Not Found"));
    server.put("/error/", Reply::Status("500 Internal Server Error"));
    server.put("/slow/", Reply::Stalls(b"<a href=\"slow-1.1.tar.gz\">".to_vec()));
    server.put(
        "/cut/",
        Reply::Truncated(b"<a href=\"cut-1.1.tar.gz\"></a><a href=\"cut-1.2.tar.gz\"></a>".to_vec(), 40),
    );
    server.put("/other/", nginx("", &["something-else-1.1.tar.gz"]));
    server.put("/moved/", Reply::Redirect("/new/".into()));
    server.put("/new/", listing("moved"));
    // It goes well when tried again.
    server.put("/twice/", Reply::Then(Box::new(Reply::Status("503 Busy")), Box::new(listing("twice"))));
    case.recipe("broken", "VERSION=1.0\nif\n");
    let ran = case.mk("check-update --timeout 4");
    assert_eq!(ran.code, 10, "{ran:#?}");
    let newer: Vec<&str> = ran.out.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(newer, ["good", "moved", "twice"], "{ran:#?}");
    for line in [
        "note: cut: cannot be checked: `@/cut/`: the answer broke off",
        "note: error: cannot be checked: `@/error/`: the server answered 500 Internal Server Error",
        "note: gone: cannot be checked: `@/gone/`: the server answered 404 Not Found",
        "note: other: cannot be checked: `@/other`: nothing like `other-1.0.tar.gz` is listed",
        "note: slow: cannot be checked: `@/slow/`: no answer in time",
        "note: 3 newer, 0 current, 6 failed, 0 unchecked",
    ] {
        assert!(ran.err.lines().any(|found| found == line), "{line}\n{ran:#?}");
    }
    assert!(ran.err.contains("note: broken: cannot be checked: pkg/broken/build:"), "{ran:#?}");
    assert_eq!(server.asked().iter().filter(|path| *path == "/error/").count(), 2);
}

#[test]
fn a_recipe_asks_in_its_own_way() {
    let case = Case::new();
    let ask = |page: &str| {
        format!(
            "check_update() {{\n\tcurl -sL \"$URL/{page}\" | grep -o 'x-[0-9.]*[0-9]' | sed 's/x-//' | verson_find_greatest \"$VERSION\"\n}}\n"
        )
    };
    case.server.put("/page", "x-0.9.tar.gz x-1.0.tar.gz x-1.10.tar.gz x-1.9.tar.gz");
    case.server.put("/old", "x-0.9.tar.gz");
    case.server.put("/none", "nothing here");
    for (name, page) in [("newer", "page"), ("old", "old"), ("none", "none"), ("gone", "404")] {
        case.package(name, "1.0", &case.server.address, &ask(page));
    }
    case.package("empty", "1.0", &case.server.address, "check_update() {\n\treturn\n}\n");
    case.package("page", "1.0", &case.server.address, "check_update() {\n\techo '<html> 1.1'\n}\n");
    case.package("tool", "1.0", &case.server.address, "check_update() {\n\tno-such-tool | sort\n}\n");
    case.recipe("meta", "DEPENDS=\"\"\n");
    for rooms in ["auto", "never"] {
        let ran = case.mk(&format!("check-update --rooms {rooms} --retries 0"));
        let err: String = ran
            .err
            .lines()
            .filter(|line| !line.contains("no rooms"))
            .map(|line| format!("{line}\n"))
            .collect();
        let expected = "note: gone: cannot be checked: check_update: `curl` ended with status 22: curl: (22) The requested URL returned error: 404\n\
            note: page: cannot be checked: check_update: it printed what is no version: `<html> 1.1`\n\
            note: tool: cannot be checked: check_update: this machine has no `no-such-tool`: no-such-tool: command not found\n\
            note: 1 newer, 2 current, 3 failed, 2 unchecked\n";
        let table = "package  version  newer  found\nnewer    1.0      1.10   check_update\n";
        assert_ran(&Ran { err, ..ran }, 10, table, expected);
    }
}

#[test]
fn a_recipe_that_hangs_is_ended_and_told() {
    let case = Case::new();
    case.package(
        "hangs",
        "1.0",
        "http://127.0.0.1:1",
        "check_update() {\n\twhile :; do sleep 1000 & wait; done\n}\n",
    );
    case.package("quick", "1.0", "http://127.0.0.1:1", "check_update() {\n\techo 1.1\n}\n");
    let ran = case.mk("check-update --timeout 3 --retries 0");
    assert_eq!(ran.code, 10, "{ran:#?}");
    assert!(ran.out.contains("quick    1.0      1.1    check_update"), "{ran:#?}");
    assert!(
        ran.err.contains("note: hangs: cannot be checked: check_update: no answer within 3 s"),
        "{ran:#?}"
    );
}

#[test]
fn where_everything_failed_the_code_says_so() {
    let case = Case::new();
    case.package("gone", "1.0", &case.server.url("/gone"), "");
    assert_eq!(case.mk("check-update").code, 4);
}

#[test]
fn words_that_make_no_sense_are_refused() {
    let case = Case::new();
    case.package("zlib", "1.0", &case.server.url("/x"), "");
    let ran = case.mk("check-update zlip");
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("hint: did you mean `zlib`?"), "{ran:#?}");
    let ran = case.mk("check-update --board c");
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("unknown board `c`"), "{ran:#?}");
    assert_eq!(case.mk("check-update --offline").code, 2);
    assert!(case.server.asked().is_empty());
}

#[test]
fn the_first_pair_of_board_and_product_that_goes_together_is_taken() {
    let case = Case::new();
    case.write("tree/product/a/BOARDS", "other\n");
    case.write("tree/board/other/TOOLCHAIN", "KIND=other\n");
    case.write("tree/board/b/TOOLCHAIN", "KIND=b\n");
    case.recipe("x", "VERSION=1\nURL=$KIND\ncheck_update() {\n\techo \"2-$BOARD-$PRODUCT-$KIND\"\n}\n");
    let newer =
        |options: &str| case.mk(&format!("check-update -q {options}")).out.lines().nth(1).unwrap().to_owned();
    assert!(newer("").contains("2-other-a-other"));
    assert!(newer("--product p").contains("2-b-p-b"));
    assert!(newer("--board b").contains("2-b-p-b"));
}

/// How a server shows what it has.
#[derive(Clone, Copy)]
enum Form {
    Apache,
    Nginx,
    /// GitHub's.
    Feed,
    /// A page that has links to archives among others.
    Links,
    /// SourceForge's page of a folder.
    Sourceforge,
    /// Lines in a comment, as sqlite's page has them for programs.
    Comment,
}

/// Packages of the tree, where their versions are listed, how, what is there, and which of these is the answer.
const UPSTREAMS: &[(&str, Form, &str, &str, &str)] = {
    use Form::*;
    &[
        (
            "bash",
            Apache,
            "ftp.gnu.org/gnu/bash/",
            "bash-5.2.15.tar.gz bash-5.2.15.tar.gz.sig bash-5.2.37.tar.gz bash-5.3-rc1.tar.gz bash-doc-3.2.tar.gz",
            "5.2.37",
        ),
        (
            "btrfs-progs",
            Nginx,
            "www.kernel.org/pub/linux/kernel/people/kdave/btrfs-progs/",
            "btrfs-progs-v6.2.tar.xz btrfs-progs-v6.2.tar.sign btrfs-progs-v6.10.tar.xz btrfs-progs-v6.11-rc1.tar.xz",
            "6.10",
        ),
        (
            "busybox",
            Apache,
            "busybox.net/downloads/",
            "busybox-1.35.0.tar.bz2 busybox-1.35.0.tar.bz2.sha256 busybox-1.36.1.tar.bz2 busybox-snapshot.tar.bz2 legacy/",
            "1.36.1",
        ),
        (
            "bzip2",
            Apache,
            "sourceware.org/pub/bzip2/",
            "bzip2-1.0.8.tar.gz bzip2-1.0.9.tar.gz bzip2-latest.tar.gz",
            "1.0.9",
        ),
        (
            "chrony",
            Links,
            "chrony-project.org/download.html",
            "releases/chrony-4.5.tar.gz releases/chrony-4.5-tar-gz-asc.txt releases/chrony-4.6-pre1.tar.gz",
            "4.5",
        ),
        (
            "coreutils",
            Apache,
            "ftp.gnu.org/gnu/coreutils/",
            "coreutils-9.1.tar.xz coreutils-9.4.tar.gz coreutils-9.4.tar.xz coreutils-9.4.tar.xz.sig",
            "9.4",
        ),
        (
            "curl",
            Links,
            "curl.se/download/",
            "/download/curl-7.88.1.tar.gz /download/curl-8.5.0.tar.gz /download/curl-8.5.0.zip /download/archeology/",
            "8.5.0",
        ),
        (
            "dhcpcd",
            Feed,
            "github.com/NetworkConfiguration/dhcpcd/releases.atom",
            "v10.0.6 v9.4.1 v10.1.0-rc1",
            "10.0.6",
        ),
        (
            "diffutils",
            Apache,
            "ftp.gnu.org/gnu/diffutils/",
            "diffutils-3.8.tar.xz diffutils-3.10.tar.xz",
            "3.10",
        ),
        (
            "dnsmasq",
            Apache,
            "thekelleys.org.uk/dnsmasq/",
            "dnsmasq-2.90.tar.xz dnsmasq-2.91.tar.xz dnsmasq-2.91.tar.xz.asc LATEST_IS_2.91 test-releases/",
            "2.91",
        ),
        ("dosfstools", Feed, "github.com/dosfstools/dosfstools/releases.atom", "v4.2 v4.3", "4.3"),
        (
            "dropbear",
            Apache,
            "matt.ucc.asn.au/dropbear/releases/",
            "dropbear-2022.83.tar.bz2 dropbear-2024.86.tar.bz2 dropbear-0.53.1.tar.bz2",
            "2024.86",
        ),
        (
            "e2fsprogs",
            Nginx,
            "www.kernel.org/pub/linux/kernel/people/tytso/e2fsprogs/",
            "v1.46.6/ v1.47.0/ v1.47.2/",
            "1.47.2",
        ),
        (
            "ethtool",
            Nginx,
            "www.kernel.org/pub/software/network/ethtool/",
            "ethtool-6.1.tar.gz ethtool-6.1.tar.xz ethtool-6.11.tar.xz",
            "6.11",
        ),
        ("expat", Feed, "github.com/libexpat/libexpat/releases.atom", "R_2_6_4 R_2_5_0", "2.6.4"),
        (
            "file",
            Apache,
            "astron.com/pub/file/",
            "file-5.44.tar.gz file-5.46.tar.gz file-5.46.tar.gz.asc",
            "5.46",
        ),
        (
            "findutils",
            Apache,
            "ftp.gnu.org/gnu/findutils/",
            "findutils-4.9.0.tar.xz findutils-4.10.0.tar.xz",
            "4.10.0",
        ),
        (
            "gawk",
            Apache,
            "ftp.gnu.org/gnu/gawk/",
            "gawk-5.2.1.tar.xz gawk-5.3.1.tar.xz gawk-doc-3.1.8.tar.gz",
            "5.3.1",
        ),
        (
            "gmp",
            Apache,
            "ftp.gnu.org/gnu/gmp/",
            "gmp-6.2.1.tar.xz gmp-6.3.0.tar.xz gmp-6.3.0.tar.zst",
            "6.3.0",
        ),
        ("grep", Apache, "ftp.gnu.org/gnu/grep/", "grep-3.8.tar.xz grep-3.11.tar.xz", "3.11"),
        (
            "gzip",
            Apache,
            "ftp.gnu.org/gnu/gzip/",
            "gzip-1.12.tar.xz gzip-1.13.tar.gz gzip-1.2.4.shar",
            "1.13",
        ),
        (
            "hostapd",
            Apache,
            "w1.fi/releases/",
            "hostapd-2.10.tar.gz hostapd-2.11.tar.gz wpa_supplicant-2.11.tar.gz",
            "2.11",
        ),
        ("htop", Feed, "github.com/htop-dev/htop/releases.atom", "3.3.0 3.2.2", "3.3.0"),
        (
            "inetutils",
            Apache,
            "ftp.gnu.org/gnu/inetutils/",
            "inetutils-2.4.tar.xz inetutils-2.5.tar.xz",
            "2.5",
        ),
        (
            "iproute2",
            Nginx,
            "www.kernel.org/pub/linux/utils/net/iproute2/",
            "iproute2-6.1.0.tar.xz iproute2-6.12.0.tar.xz iproute2-4.1.1.tar.gz",
            "6.12.0",
        ),
        (
            "iptables",
            Apache,
            "www.netfilter.org/projects/iptables/files/",
            "iptables-1.8.9.tar.xz iptables-1.8.11.tar.xz changes-iptables-1.8.11.txt",
            "1.8.11",
        ),
        (
            "iw",
            Nginx,
            "www.kernel.org/pub/software/network/iw/",
            "iw-5.19.tar.xz iw-6.9.tar.xz iw-0.9.22.tar.xz",
            "6.9",
        ),
        (
            "kmod",
            Nginx,
            "www.kernel.org/pub/linux/utils/kernel/kmod/",
            "kmod-30.tar.xz kmod-33.tar.xz kmod-9.tar.xz",
            "33",
        ),
        (
            "ldns",
            Apache,
            "www.nlnetlabs.nl/downloads/ldns/",
            "ldns-1.8.3.tar.gz ldns-1.8.4.tar.gz ldns-1.8.4.tar.gz.asc",
            "1.8.4",
        ),
        (
            "less",
            Links,
            "www.greenwoodsoftware.com/less/download.html",
            "less-590.tar.gz less-590.zip less-661.tar.gz less-661.sig",
            "661",
        ),
        (
            "libbsd",
            Apache,
            "libbsd.freedesktop.org/releases/",
            "libbsd-0.11.7.tar.xz libbsd-0.12.2.tar.xz",
            "0.12.2",
        ),
        (
            "libcap",
            Nginx,
            "www.kernel.org/pub/linux/libs/security/linux-privs/libcap2/",
            "libcap-2.66.tar.xz libcap-2.70.tar.xz old/",
            "2.70",
        ),
        (
            "libmd",
            Apache,
            "archive.hadrons.org/software/libmd/",
            "libmd-1.0.4.tar.xz libmd-1.1.0.tar.xz",
            "1.1.0",
        ),
        (
            "libmnl",
            Apache,
            "www.netfilter.org/projects/libmnl/files/",
            "libmnl-1.0.4.tar.bz2 libmnl-1.0.5.tar.bz2",
            "1.0.5",
        ),
        (
            "libnftnl",
            Apache,
            "www.netfilter.org/projects/libnftnl/files/",
            "libnftnl-1.2.4.tar.bz2 libnftnl-1.2.8.tar.xz",
            "1.2.8",
        ),
        ("libnl3", Feed, "github.com/thom311/libnl/releases.atom", "libnl3_11_0 libnl3_7_0", "3.11.0"),
        (
            "libpcap",
            Apache,
            "www.tcpdump.org/release/",
            "libpcap-1.10.3.tar.gz libpcap-1.10.5.tar.xz tcpdump-4.99.5.tar.gz",
            "1.10.5",
        ),
        ("libseccomp", Feed, "github.com/seccomp/libseccomp/releases.atom", "v2.5.5 v2.5.4", "2.5.5"),
        (
            "linux",
            Nginx,
            "www.kernel.org/pub/linux/kernel/v6.x/",
            "linux-6.1.176.tar.xz linux-6.1.177.tar.xz linux-6.12.1.tar.xz patch-6.1.178.xz",
            "6.1.177",
        ),
        (
            "lua",
            Links,
            "www.lua.org/ftp/",
            "lua-5.4.7.tar.gz lua-5.4.4.tar.gz lua-5.4.0-tests.tar.gz",
            "5.4.7",
        ),
        ("lz4", Feed, "github.com/lz4/lz4/releases.atom", "v1.10.0 v1.9.4", "1.10.0"),
        (
            "lzo",
            Apache,
            "www.oberhumer.com/opensource/lzo/download/",
            "lzo-2.10.tar.gz lzo-2.11.tar.gz LZO-v1/",
            "2.11",
        ),
        (
            "mtd-utils",
            Apache,
            "infraroot.at/pub/mtd/",
            "mtd-utils-2.1.5.tar.bz2 mtd-utils-2.2.1.tar.bz2",
            "2.2.1",
        ),
        (
            "musl",
            Apache,
            "musl.libc.org/releases/",
            "musl-1.2.3.tar.gz musl-1.2.3.tar.gz.asc musl-1.2.5.tar.gz",
            "1.2.5",
        ),
        ("nano", Apache, "www.nano-editor.org/dist/", "v6/ v7/ v8/", "8.3"),
        ("ncurses", Apache, "ftp.gnu.org/gnu/ncurses/", "ncurses-6.4.tar.gz ncurses-6.5.tar.gz", "6.5"),
        (
            "nftables",
            Apache,
            "www.netfilter.org/projects/nftables/files/",
            "nftables-1.0.6.tar.xz nftables-1.1.1.tar.xz",
            "1.1.1",
        ),
        (
            "nginx",
            Nginx,
            "nginx.org/download/",
            "nginx-1.22.1.tar.gz nginx-1.26.2.tar.gz nginx-1.26.2.zip",
            "1.26.2",
        ),
        (
            "openssh",
            Nginx,
            "ftp.openbsd.org/pub/OpenBSD/OpenSSH/portable/",
            "openssh-9.2p1.tar.gz openssh-9.9p2.tar.gz openssh-9.9p2-vs-openbsd.diff.gz",
            "9.9p2",
        ),
        (
            "openssl",
            Feed,
            "github.com/openssl/openssl/releases.atom",
            "openssl-3.0.21 openssl-3.0.20 openssl-3.1.0-alpha1",
            "3.0.21",
        ),
        (
            "pcre2",
            Feed,
            "github.com/PCRE2Project/pcre2/releases.atom",
            "pcre2-10.44 pcre2-10.45-RC1 pcre2-10.42",
            "10.44",
        ),
        (
            "procps-ng",
            Sourceforge,
            "sourceforge.net/projects/procps-ng/files/Production/",
            "procps-ng-4.0.2.tar.xz procps-ng-4.0.5.tar.xz",
            "4.0.5",
        ),
        (
            "psmisc",
            Sourceforge,
            "sourceforge.net/projects/psmisc/files/psmisc/",
            "psmisc-23.6.tar.xz psmisc-23.7.tar.xz",
            "23.7",
        ),
        (
            "readline",
            Apache,
            "ftp.gnu.org/gnu/readline/",
            "readline-8.2.tar.gz readline-8.3.tar.gz readline-doc-6.0.tar.gz",
            "8.3",
        ),
        ("sed", Apache, "ftp.gnu.org/gnu/sed/", "sed-4.9.tar.xz sed-4.10.tar.xz", "4.10"),
        ("shadow", Feed, "github.com/shadow-maint/shadow/releases.atom", "4.16.0 4.13", "4.16.0"),
        (
            "sqlite3",
            Comment,
            "www.sqlite.org/download.html",
            "PRODUCT,3.47.2,2024/sqlite-autoconf-3470200.tar.gz,3345959,52cd4a2304b627abbabe1a438ba853d0f6edb8e2774fcb5773c7af11077afe94",
            "3.47.2",
        ),
        (
            "squashfs-tools",
            Feed,
            "github.com/plougher/squashfs-tools/releases.atom",
            "4.6.1 4.5.1 4.7-rc1",
            "4.6.1",
        ),
        ("strace", Feed, "github.com/strace/strace/releases.atom", "v6.12 v6.1", "6.12"),
        ("tar", Apache, "ftp.gnu.org/gnu/tar/", "tar-1.34.tar.xz tar-1.35.tar.xz", "1.35"),
        (
            "tcpdump",
            Apache,
            "www.tcpdump.org/release/",
            "tcpdump-4.99.3.tar.gz tcpdump-4.99.5.tar.gz libpcap-1.10.3.tar.gz libpcap-1.10.5.tar.xz",
            "4.99.5",
        ),
        (
            "tzdata",
            Apache,
            "data.iana.org/time-zones/releases/",
            "tzdata2026b.tar.gz tzdata2026c.tar.gz tzcode2026c.tar.gz",
            "2026c",
        ),
        (
            "u-boot",
            Apache,
            "ftp.denx.de/pub/u-boot/",
            "u-boot-2023.01.tar.bz2 u-boot-2023.04.tar.bz2 u-boot-2023.07-rc1.tar.bz2 u-boot-latest.tar.bz2",
            "2023.04",
        ),
        (
            "unbound",
            Apache,
            "nlnetlabs.nl/downloads/unbound/",
            "unbound-1.17.1.tar.gz unbound-1.22.0.tar.gz unbound-1.22.0rc1.tar.gz",
            "1.22.0",
        ),
        ("util-linux", Nginx, "www.kernel.org/pub/linux/utils/util-linux/", "v2.38/ v2.40/", "2.40.2"),
        ("xz", Links, "tukaani.org/xz/", "xz-5.4.1.tar.xz xz-5.6.3.tar.xz xz-5.6.3.tar.xz.sig", "5.6.3"),
        (
            "zlib",
            Apache,
            "www.zlib.net/fossils/",
            "zlib-1.2.13.tar.gz zlib-1.3.1.tar.gz zlib-1.3.1.tar.gz.asc",
            "1.3.1",
        ),
        ("zstd", Feed, "github.com/facebook/zstd/releases.atom", "v1.5.6 v1.5.4", "1.5.6"),
    ]
};

/// What the servers have below folders that are named by a version.
const BELOW: &[(&str, &str)] = &[
    ("www.kernel.org/pub/linux/kernel/people/tytso/e2fsprogs/v1.47.2/", "e2fsprogs-1.47.2.tar.gz"),
    ("www.kernel.org/pub/linux/utils/util-linux/v2.40/", "util-linux-2.40.tar.xz util-linux-2.40.2.tar.xz"),
    ("www.nano-editor.org/dist/v8/", "nano-8.0.tar.xz nano-8.3.tar.xz nano-8.3.tar.xz.asc"),
];

#[test]
fn every_recipe_of_the_tree_finds_a_newer_version_where_its_upstream_lists_it() {
    let mut case = Case::new();
    // The server stands in for all others, as a proxy, which sees what is asked of http alone.
    case.environment.push(("http_proxy".into(), case.server.address.clone()));
    let tree = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for top in ["pkg", "board/qemu-x86_64"] {
        for entry in walkdir::WalkDir::new(tree.join(top)) {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(tree).unwrap();
            if entry.file_type().is_file() {
                let text = fs_err::read(entry.path()).unwrap();
                let text = String::from_utf8_lossy(&text).replace("https://", "http://");
                case.write(&format!("tree/{}", path.display()), text);
            }
        }
    }
    for (_, form, page, names, _) in UPSTREAMS {
        let names: Vec<&str> = names.split(' ').collect();
        let url = format!("http://{page}");
        let reply = match form {
            Form::Apache => apache(page, &names),
            Form::Nginx => nginx(page, &names),
            Form::Feed => feed(page.split_once('/').unwrap().1.trim_end_matches("/releases.atom"), &names),
            Form::Links => links(&names),
            Form::Sourceforge => {
                let urls: Vec<String> = names.iter().map(|name| format!("{url}{name}/download")).collect();
                links(&urls.iter().map(String::as_str).collect::<Vec<_>>())
            }
            Form::Comment => Reply::Whole(format!("<html><!--\n{}\n--></html>\n", names.join("\n")).into()),
        };
        case.server.put(&url, reply);
    }
    for (page, names) in BELOW {
        case.server.put(&format!("http://{page}"), nginx(page, &names.split(' ').collect::<Vec<_>>()));
    }
    let ran = case.mk("check-update -q --retries 0 --format json");
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:#?}"));
    let answers: BTreeMap<&str, &serde_json::Value> = json["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| (answer["name"].as_str().unwrap(), answer))
        .collect();
    for (package, _, page, _, newer) in UPSTREAMS {
        assert_eq!(answers[package]["newer"], *newer, "{package} asks {page}: {}", answers[package]);
    }
}

/// A page with links.
fn links(targets: &[&str]) -> Reply {
    let links: Vec<String> =
        targets.iter().map(|target| format!("<li><a href=\"{target}\">{target}</a></li>\n")).collect();
    Reply::Whole(format!("<html><a href=\"/\">home</a>\n<ul>{}</ul></html>\n", links.concat()).into())
}
