//! What recipes of the tree that comes with `mk` make of configuration, in small trees that borrow their bash files.

mod harness;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use harness::Tree;

/// A file of the tree that comes with `mk`.
fn shipped(path: &str) -> String {
    fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Adds the files of a folder of the tree that comes with `mk`.
fn with_folder(tree: Tree, folder: &str) -> Tree {
    let files = fs_err::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap().flatten();
    files.filter(|file| file.path().is_file()).fold(tree, |tree, file| {
        let path = format!("{folder}/{}", file.file_name().to_string_lossy());
        tree.file(&path, &shipped(&path))
    })
}

fn with_init(tree: Tree) -> Tree {
    with_folder(with_folder(tree, "pkg/init"), "pkg/init/files")
}

#[test]
fn init_files_give_logins_the_clock_dhcp_clients_and_services() {
    for tree in Tree::both() {
        let tree = with_init(tree)
            .file("board/tiny/INIT", "GETTY_TTY=\"ttyS0 tty1\"\nHWCLOCK=yes\n")
            .file("product/demo/INIT", "DHCP_PORTS=port0\nSERVICES=ntpd");
        tree.builds("init");
        let inittab = tree.deployed("init", "etc/inittab");
        assert!(
            inittab.contains("ttyS0::respawn:getty") && inittab.contains("tty1::respawn:getty"),
            "{inittab}"
        );
        assert_eq!(
            tree.deployed("init", "etc/init.conf"),
            "DHCP_PORTS=\"port0\"\nHWCLOCK=\"yes\"\nMODULES=\"\"\nNTP_SERVERS=\"\"\nSERVICES=\"ntpd dhcp-port0\"\n"
        );
        assert!(tree.deployed("init", "etc/service/dhcp-port0").contains("-i port0"));
    }
}

#[test]
fn a_product_with_dhcpcd_has_no_other_dhcp_client_and_one_without_a_clock_keeps_the_time() {
    let tree = with_init(Tree::new())
        .file("product/demo/INIT", "DHCP_PORTS=port0\nSERVICES=dhcpcd\nMODULES=\"tun veth\"\n");
    tree.builds("init");
    assert_eq!(
        tree.deployed("init", "etc/init.conf"),
        "DHCP_PORTS=\"port0\"\nHWCLOCK=\"no\"\nMODULES=\"tun veth\"\nNTP_SERVERS=\"\"\nSERVICES=\"dhcpcd clock\"\n"
    );
    let services = ["etc/init.conf", "etc/inittab", "etc/service/clock"];
    let etc: Vec<String> = tree
        .list_deployed("init")
        .into_iter()
        .filter(|path| path.starts_with("etc/") && !path.ends_with('/'))
        .collect();
    assert_eq!(etc, services);
    assert!(tree.deployed("init", "etc/service/clock").contains("/lib/init/clock save"));
}

#[test]
fn interfaces_that_a_file_makes_have_files_of_their_own() {
    let tree = with_init(Tree::new())
        .file("product/demo/interfaces/port1", "bridge lan\n")
        .file("product/demo/interfaces/lan", "vlan 7 guests\naddress 192.0.2.1/24\n")
        .file("product/demo/interfaces/guests", "bridge lan\n")
        .file("product/demo/interfaces/wlan0", "address 192.0.2.2/24\n");
    tree.builds("init");
    let files: Vec<String> = tree
        .list_deployed("init")
        .into_iter()
        .filter(|path| path.contains("interfaces/") && !path.ends_with('/'))
        .collect();
    assert_eq!(
        files,
        ["etc/interfaces/guests", "etc/interfaces/lan", "etc/interfaces/port1", "etc/interfaces/wlan0"]
    );

    tree.write("product/demo/interfaces/prot2", "bridge lan\n");
    tree.write("product/demo/INIT", "DHCP_PORTS=\"port0 guests outside\"\n");
    tree.mk("-q tiny demo init")
        .has("/interfaces/prot2 is for no interface: names are port0 to port9, wlan0 to wlan3")
        .has("DHCP_PORTS names `outside`, which no interface is called")
        .has("status 1");
}

#[test]
fn who_sets_the_clock_from_the_network() {
    let tree = with_init(Tree::new())
        .file("product/demo/INIT", "NTP_SERVERS=\"one.example\n\ttwo.example\"\nHWCLOCK=yes\n");
    tree.builds("init");
    assert_eq!(
        tree.deployed("init", "etc/service/ntp"),
        "#!/bin/sh\nexec ntpd -n -p one.example -p two.example\n"
    );
    tree.write("product/demo/INIT", "NTP_SERVERS=one.example\nHWCLOCK=yes\nSERVICES=chrony\n");
    tree.builds("init");
    assert!(!tree.list_deployed("init").contains(&"etc/service/ntp".to_owned()));
    assert!(tree.deployed("init", "etc/init.conf").contains("NTP_SERVERS=\"one.example\""));
}

#[test]
fn certificates_are_the_product_s_own_or_those_of_the_machine() {
    let tree = with_folder(Tree::new(), "pkg/ca-certificates");
    tree.builds("ca-certificates");
    assert!(
        tree.deployed("ca-certificates", "etc/ssl/cert.pem")
            .contains("-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----")
    );
    let without = shipped("pkg/ca-certificates/build").replace("/usr/share/ca-certificates", "/nowhere");
    tree.write("pkg/ca-certificates/build", &without);
    tree.mk("-q tiny demo ca-certificates")
        .has("this machine has no /nowhere/mozilla/*.crt: install ca-certificates, or give the product a file `cert.pem`")
        .has("status 1");
    tree.write("product/demo/cert.pem", "my own\n");
    tree.builds("ca-certificates");
    assert_eq!(tree.deployed("ca-certificates", "etc/ssl/cert.pem"), "my own\n");
}

#[test]
fn files_that_are_overridden_reach_the_target_s_etc() {
    for tree in Tree::both() {
        let tree = with_init(tree)
            .file("board/tiny/sysctl.conf", "board\n")
            .file("product/demo/sysctl.conf", "product\n")
            .file("product/demo/nftables.rules", "rules\n")
            .file("product/demo/resolv.conf", "names\n")
            .file("board/tiny/ifrename", "# names\nlan mac 02:00:00:00:00:01\n")
            .file("board/tiny/interfaces/lan", "lan of the board\n")
            .file("product/demo/tiny/interfaces/port0", "port0\n");
        tree.builds("init");
        for (file, text) in [
            ("sysctl.conf", "product\n"),
            ("nftables.rules", "rules\n"),
            ("resolv.conf", "names\n"),
            ("ifrename", "# names\nlan mac 02:00:00:00:00:01\n"),
            ("interfaces/lan", "lan of the board\n"),
            ("interfaces/port0", "port0\n"),
        ] {
            assert_eq!(tree.deployed("init", &format!("etc/{file}")), text, "{file}");
        }
        let boot = tree.deployed("init", "lib/init/boot");
        assert!(
            boot.contains("sysctl -q -p /etc/sysctl.conf") && boot.contains("nft -f /etc/nftables.rules")
        );
    }
}

/// A root filesystem of the packages of `ROOTFS`, put together but not packed.
fn with_rootfs(tree: Tree) -> Tree {
    tree.file("pkg/rootfs/assemble.sh", &shipped("pkg/rootfs/assemble.sh")).package(
        "rootfs",
        "DEPENDS=$(cat_file_merge ROOTFS | sort -u)\nsource \"$SCRIPTDIR/pkg/rootfs/assemble.sh\"\n\
         build() {\n\tassemble root definitions $DEPENDS\n\t(cd root && find . -type f | sort)\n\tcat definitions\n}\n",
    )
}

#[test]
fn of_a_package_only_what_its_list_names_is_in_the_image_with_mode_and_owner() {
    for tree in Tree::both() {
        let tree = with_rootfs(tree).file("product/demo/ROOTFS", "a\nb").package("b", "").package(
            "a",
            "deploy() {\n\tmkdir -p $2/bin $2/include\n\ttouch $2/bin/tool $2/include/tool.h\n\techo 'bin/tool m 4755 0 7' >$2/rootfs_files.txt\n}\n",
        );
        tree.builds("rootfs").logs("rootfs", "build", "./bin/tool\nbin m 755 0 0\nbin/tool m 4755 0 7\n");
    }
}

#[test]
fn two_packages_with_one_path_and_different_content_are_told_of_by_name() {
    let deploy = |text: &str| {
        format!(
            "deploy() {{\n\tmkdir -p $2/etc\n\techo {text} >$2/etc/file\n\techo 'etc/file m 644 0 0' >$2/rootfs_files.txt\n}}\n"
        )
    };
    for tree in Tree::both() {
        let tree = with_rootfs(tree)
            .file("product/demo/ROOTFS", "left\nright\n")
            .package("left", &deploy("same"))
            .package("right", &deploy("same"));
        tree.builds("rootfs").logs("rootfs", "build", "./etc/file\netc m 755 0 0\netc/file m 644 0 0\n");
        tree.write("pkg/right/build", &deploy("other"));
        tree.mk("-q tiny demo rootfs")
            .has("packages `left` and `right` both have `/etc/file`, and differ in content")
            .has("status 1");
    }
}

#[test]
fn every_form_of_image_has_the_owners_modes_and_devices_of_the_definitions() {
    let files = ["pkg/rootfs/entries.sh", "pkg/image-ext4/ext4.sh"];
    for tree in Tree::both() {
        let tree = with_rootfs(tree).package(
            "a",
            "deploy() {\n\tmkdir -p $2/bin\n\techo x >\"$2/bin/a tool\"\n\tln -s 'a tool' $2/bin/link\n\
             \trootfs_files $2 bin\n\trootfs_mode $2 'bin/a tool' 4750 12 34\n\
             \trootfs_device $2 dev/tty c 4 5 620 0 5\n\trootfs_folder $2 tmp 1777\n}\n",
        );
        let tree = files.iter().fold(tree, |tree, file| tree.file(file, &shipped(file))).package(
            "images",
            "DEPENDS=a\nsource \"$SCRIPTDIR/pkg/rootfs/assemble.sh\"\nsource \"$SCRIPTDIR/pkg/rootfs/entries.sh\"\n\
             source \"$SCRIPTDIR/pkg/image-ext4/ext4.sh\"\nbuild() {\n\tassemble root definitions a\n\
             \tmake_archive rpax root definitions >image.tar\n\
             \tmake_archive newc root definitions >image.cpio\n\
             \tmake_ext4 root definitions image.ext4\n\tmake_squashfs root definitions image.squashfs\n\
             \t{ tar -tv --numeric-owner -f image.tar\n\tcpio -tvn --quiet <image.cpio\n\
             \tdebugfs -R 'ls -l /bin' image.ext4 2>/dev/null\n\tdebugfs -R 'stat /dev/tty' image.ext4 2>/dev/null | grep Device\n\
             \tunsquashfs -lln image.squashfs; } | tr -s ' ' | sed 's/^ //'\n}\n",
        );
        tree.builds("images").logs(
            "images",
            "build",
            "\
             drwxr-xr-x 0/0 0 2020-01-01 00:00 ./\n\
             drwxr-xr-x 0/0 0 2020-01-01 00:00 ./bin/\n\
             -rwsr-x--- 12/34 2 2020-01-01 00:00 ./bin/a tool\n\
             lrwxrwxrwx 0/0 0 2020-01-01 00:00 ./bin/link -> a tool\n\
             drwxr-xr-x 0/0 0 2020-01-01 00:00 ./dev/\n\
             crw--w---- 0/5 4,5 2020-01-01 00:00 ./dev/tty\n\
             drwxrwxrwt 0/0 0 2020-01-01 00:00 ./tmp/\n\
             drwxr-xr-x 0 0 0 0 Jan 1 2020 ./\n\
             drwxr-xr-x 0 0 0 0 Jan 1 2020 ./bin/\n\
             -rwsr-x--- 0 12 34 2 Jan 1 2020 ./bin/a tool\n\
             lrwxrwxrwx 0 0 0 6 Jan 1 2020 ./bin/link -> a tool\n\
             drwxr-xr-x 0 0 0 0 Jan 1 2020 ./dev/\n\
             crw--w---- 0 0 5 4, 5 Jan 1 2020 ./dev/tty\n\
             drwxrwxrwt 0 0 0 0 Jan 1 2020 ./tmp/\n\
             12 40755 (2) 0 0 4096 1-Jan-2020 00:00 .\n\
             2 40755 (2) 0 0 4096 1-Jan-2020 00:00 ..\n\
             13 104750 (1) 12 34 2 1-Jan-2020 00:00 a tool\n\
             14 120777 (7) 0 0 6 1-Jan-2020 00:00 link\n\
             \n\
             Device major/minor number: 04:05 (hex 04:05)\n\
             drwxr-xr-x 0/0 48 2020-01-01 00:00 squashfs-root\n\
             drwxr-xr-x 0/0 41 2020-01-01 00:00 squashfs-root/bin\n\
             -rwsr-x--- 12/34 2 2020-01-01 00:00 squashfs-root/bin/a tool\n\
             lrwxrwxrwx 0/0 6 2020-01-01 00:00 squashfs-root/bin/link -> a tool\n\
             drwxr-xr-x 0/0 26 2020-01-01 00:00 squashfs-root/dev\n\
             crw--w---- 0/5 4, 5 2020-01-01 00:00 squashfs-root/dev/tty\n\
             drwxrwxrwt 0/0 3 2020-01-01 00:00 squashfs-root/tmp\n\
             ",
        );
    }
}

#[test]
fn names_beyond_ascii_and_modes_with_a_zero_in_front_are_the_same_in_every_form() {
    let files = ["pkg/rootfs/entries.sh", "pkg/image-ext4/ext4.sh"];
    for tree in Tree::both() {
        let tree = with_rootfs(tree).package(
            "a",
            "deploy() {\n\tmkdir -p $2/bin\n\techo x >$2/bin/Fő\n\trootfs_files $2 bin\n\
             \trootfs_mode $2 bin/Fő 04755 root root\n}\n",
        );
        let tree = files.iter().fold(tree, |tree, file| tree.file(file, &shipped(file))).package(
            "images",
            "DEPENDS=a\nsource \"$SCRIPTDIR/pkg/rootfs/assemble.sh\"\nsource \"$SCRIPTDIR/pkg/rootfs/entries.sh\"\n\
             source \"$SCRIPTDIR/pkg/image-ext4/ext4.sh\"\nbuild() {\n\tassemble root definitions a\n\
             \tmake_archive rpax root definitions >image.tar\n\
             \tmake_archive newc root definitions >image.cpio\n\
             \tmake_ext4 root definitions image.ext4\n\
             \t{ tar -tv --numeric-owner --quoting-style=literal -f image.tar\n\tcpio -tvn --quiet <image.cpio\n\
             \tdebugfs -R 'ls -l /bin' image.ext4 2>/dev/null; } | grep F | tr -s ' ' | sed 's/^ //'\n}\n",
        );
        tree.builds("images").logs(
            "images",
            "build",
            "\
             -rwsr-xr-x 0/0 2 2020-01-01 00:00 ./bin/Fő\n\
             -rwsr-xr-x 0 0 0 2 Jan 1 2020 ./bin/Fő\n\
             13 104755 (1) 0 0 2 1-Jan-2020 00:00 F\\xc5\\x91\n\
             ",
        );
    }
}

/// A board with a toolchain of this kind, and a program that uses a library with it.
fn with_toolchain(tree: Tree, kind: &str, settings: &str) -> Tree {
    let target = format!("TARGET={}-linux-test\nTOOLCHAINPKG={kind}\n", std::env::consts::ARCH);
    ["pkg/toolchain", "pkg/tc-installed", "pkg/tc-archive"]
        .into_iter()
        .fold(tree, with_folder)
        .file("board/tiny/TOOLCHAIN", &(target + settings))
        .file("pkg/greet/greet.c", "#include <stdio.h>\nvoid greet(void) { puts(\"hello\"); }\n")
        .package(
            "greet",
            r#"DEPENDS="toolchain"
            build() {
            	"$TARGET-gcc" -c "$SCRIPTDIR/pkg/greet/greet.c"
            	"$TARGET-ar" rcs libgreet.a greet.o
            }
            deploy() {
            	install -D -m 644 libgreet.a "$2/lib/libgreet.a"
            	install -D -m 644 <(echo 'void greet(void);') "$2/include/greet.h"
            	install -D -m 644 <(printf 'Name: greet\nDescription: x\nVersion: 1\nLibs: -L/lib -lgreet\n') "$2/lib/pkgconfig/greet.pc"
            }"#,
        )
        .file("pkg/program/program.c", "#include <greet.h>\nint main(void) { greet(); }\n")
        .package(
            "program",
            r#"DEPENDS="toolchain greet"
            build() {
            	"$TARGET-cc" "$SCRIPTDIR/pkg/program/program.c" $("$TARGET-pkg-config" --libs greet) -o program
            	./program
            }"#,
        )
}

#[test]
fn a_toolchain_that_is_installed_sees_what_is_staged() {
    for tree in Tree::both() {
        let tree = with_toolchain(tree, "tc-installed", "BINUTILS_DIR=/usr\n");
        tree.builds("program").logs("program", "build", "hello\n");
    }
}

#[test]
fn a_toolchain_from_an_archive_sees_what_is_staged() {
    let names =
        "ar as ld nm objcopy objdump ranlib readelf size strings strip gcc cpp gcc-ar gcc-nm gcc-ranlib";
    let files: Vec<_> = names
        .split(' ')
        .map(|name| (format!("tools/bin/any-{name}"), format!("#!/bin/sh\nexec {name} \"$@\"\n")))
        .collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    for tree in Tree::both() {
        let tree = with_toolchain(
            tree.archive("tools.tar.gz", &files),
            "tc-archive",
            "TOOLCHAIN_URL=ARCHIVES\nTOOLCHAIN_TARBALL=tools.tar.gz\nTOOLCHAIN_SHA256SUM=SHA256(tools.tar.gz)\n\
             TOOLCHAIN_SRCDIR=tools\nCOMPILER_PREFIX=any\n",
        );
        tree.builds("program").logs("program", "build", "hello\n");
    }
}

#[test]
fn a_fallback_gives_way_whatever_the_order_of_names() {
    let deploy = |text: &str, more: &str| {
        format!(
            "deploy() {{\n\tmkdir -p $2/bin\n\techo {text} >$2/bin/tool\n\techo {text} >$2/bin/$PKGNAME\n\
             \trootfs_files $2 bin\n\t{more}\n}}\n"
        )
    };
    for tree in Tree::both() {
        let tree = tree
            .file("pkg/rootfs/assemble.sh", &shipped("pkg/rootfs/assemble.sh"))
            .file("product/demo/ROOTFS", "first\nreal\nsecond\n")
            .package("first", &deploy("small", "rootfs_fallbacks $2 bin"))
            .package("second", &deploy("small", "rootfs_fallbacks $2 bin/tool"))
            .package("real", &deploy("real", ""));
        tree.write(
            "pkg/rootfs/build",
            "DEPENDS=$(cat_file_merge ROOTFS)\nsource \"$SCRIPTDIR/pkg/rootfs/assemble.sh\"\n\
             build() {\n\tassemble root definitions $DEPENDS\n\tgrep -r . root | sort\n}\n",
        );
        tree.builds("rootfs").logs(
            "rootfs",
            "build",
            "root/bin/first:small\nroot/bin/real:real\nroot/bin/second:small\nroot/bin/tool:real\n",
        );
        tree.write("product/demo/ROOTFS", "first\nsecond\n");
        tree.builds("rootfs").logs(
            "rootfs",
            "build",
            "root/bin/first:small\nroot/bin/second:small\nroot/bin/tool:small\n",
        );
        tree.write("pkg/first/build", &deploy("smaller", "rootfs_fallbacks $2 bin"));
        tree.mk("-q tiny demo rootfs")
            .has("packages `first` and `second` both have `/bin/tool`, and differ in content")
            .has("status 1");
        tree.write("pkg/first/build", &deploy("small", "rootfs_fallbacks $2 lib"));
        tree.mk("-q tiny demo rootfs").has("rootfs_fallbacks: there is no `lib` in").has("status 1");
    }
}

/// What the recipe of `rootfs` does before it packs, with a package `basefiles` that has root alone.
fn with_accounts(tree: Tree) -> Tree {
    let base = "deploy() {\n\tmkdir -p $2/etc\n\techo root:x:0:0::/root:/bin/sh >$2/etc/passwd\n\t\
                printf 'root:x:0:\\ntty:x:5:\\n' >$2/etc/group\n\techo root:*:1:::::: >$2/etc/shadow\n\t\
                rootfs_files \"$2\" etc\n}\n";
    ["assemble.sh", "accounts.sh", "libraries.sh", "reduce.sh", "budget.sh"]
        .into_iter()
        .fold(tree, |tree, file| {
            let path = format!("pkg/rootfs/{file}");
            tree.file(&path, &shipped(&path))
        })
        .file("pkg/init/check.sh", &shipped("pkg/init/check.sh"))
        .package(
            "rootfs",
            &shipped("pkg/rootfs/build")
                .replace("make_squashfs", "tail -n 9 root/etc/{passwd,group,shadow} || true"),
        )
        .package("basefiles", base)
}

fn declaring(lines: &str) -> String {
    format!("deploy() {{\n\tmkdir -p $2/bin\n{lines}}}\n")
}

#[test]
fn users_and_groups_that_packages_declare_are_in_the_image() {
    for tree in Tree::both() {
        let tree = with_accounts(tree)
            .file("product/demo/ROOTFS", "basefiles\nnames\nweb\n")
            .package("names", &declaring("\trootfs_user \"$2\" names 102 /var/lib/names\n"))
            .package(
                "web",
                &declaring(
                    "\trootfs_user \"$2\" web 33\n\trootfs_user \"$2\" names 102 /var/lib/names\n\t\
                     rootfs_group \"$2\" tty 5 web\n\trootfs_group \"$2\" media 44 web names\n",
                ),
            );
        tree.builds("rootfs").logs(
            "rootfs",
            "deploy",
            "==> root/etc/passwd <==\nroot:x:0:0::/root:/bin/sh\nweb:x:33:33::/:/bin/false\n\
             names:x:102:102::/var/lib/names:/bin/false\n\n\
             ==> root/etc/group <==\nroot:x:0:\ntty:x:5:web\nweb:x:33:\nmedia:x:44:names,web\nnames:x:102:\n\n\
             ==> root/etc/shadow <==\nroot:*:1::::::\nnames:*:18262:0:99999:7:::\nweb:*:18262:0:99999:7:::\n",
        );
    }
}

#[test]
fn clashes_of_users_and_groups_name_both_packages() {
    let tree = with_accounts(Tree::new())
        .file("product/demo/ROOTFS", "basefiles\nleft\nright\n")
        .package("left", &declaring("\trootfs_user \"$2\" web 33\n"))
        .package("right", "");
    for (lines, error) in [
        (
            "rootfs_user \"$2\" web 34",
            "packages `left` and `right` both have the group `web`, with the numbers 33 and 34",
        ),
        (
            "rootfs_user \"$2\" www 33",
            "packages `left` and `right` both have the number 33, for the groups `web` and `www`",
        ),
        (
            "rootfs_user \"$2\" root 7",
            "packages `basefiles` and `right` both have the group `root`, with the numbers 0 and 7",
        ),
        (
            "rootfs_group \"$2\" teletype 5",
            "packages `basefiles` and `right` both have the number 5, for the groups `tty` and `teletype`",
        ),
        (
            "rootfs_group \"$2\" staff 50 web nobody",
            "group `staff`: its member `nobody` is a user of no package",
        ),
    ] {
        tree.write("pkg/right/build", &declaring(&format!("\t{lines}\n")));
        tree.mk("-q tiny demo rootfs").has(error).has("status 1");
    }
}

#[test]
fn an_image_holds_what_its_configuration_asks_for() {
    let tree = with_accounts(with_init(Tree::new()))
        .file("product/demo/ROOTFS", "basefiles\ninit\nlinux\n")
        .file("product/demo/INIT", "HWCLOCK=yes\nSERVICES=names\nMODULES=\"nf-nat tun\"\n")
        .file("product/demo/nftables.rules", "flush ruleset\n")
        .file("product/demo/interfaces/port0", "offload gro off\nadress 192.0.2.1/24\n")
        .package("linux", "");
    tree.mk("-q tiny demo rootfs")
        .has("service `names` has no program /etc/service/names (enabled, or needed, by: SERVICES)")
        .has("MODULES names `nf-nat`, which the kernel has neither built in nor as a module (is `linux` in ROOTFS?)")
        .has("MODULES names `tun`")
        .has("nftables.rules needs `/bin/nft`, which no package of ROOTFS has")
        .has("interfaces/port0:2: `adress 192.0.2.1/24` is no line that an interface can have")
        .has("`offload` in interfaces/ needs `/bin/ethtool`, which no package of ROOTFS has")
        .has("status 1");
    tree.write("product/demo/interfaces/port0", "offload gro off\n# alone\n\naddress 192.0.2.1/24\n");
    tree.write(
        "pkg/linux/build",
        "deploy() {\n\tmkdir -p $2/lib/modules/6 $2/bin $2/etc/service\n\t\
         echo kernel/net/tun.ko: kernel/net/other.ko >$2/lib/modules/6/modules.dep\n\t\
         echo kernel/net/nf_nat.ko >$2/lib/modules/6/modules.builtin\n\t\
         touch $2/bin/nft $2/bin/ethtool $2/etc/service/names\n\tchmod 755 $2/etc/service/names\n\t\
         rootfs_files $2 bin etc lib\n}\n",
    );
    tree.builds("rootfs");
}

#[test]
fn a_package_has_the_product_s_file_or_else_its_own_and_its_service() {
    for tree in Tree::both() {
        let tree =
            tree.file("pkg/names/names.conf", "own\n").file("pkg/names/service", "#!/bin/sh\n").package(
                "names",
                "deploy() {\n\trootfs_config \"$2\" names.conf etc/names\n\trootfs_service \"$2\"\n}\n",
            );
        tree.builds("names");
        assert_eq!(tree.deployed("names", "etc/names/names.conf"), "own\n");
        assert_eq!(
            tree.deployed("names", "rootfs_files.txt"),
            "etc/names/names.conf m 644 0 0\netc/service/names m 755 0 0\n"
        );
        tree.write("product/demo/names.conf", "product\n");
        tree.builds("names");
        assert_eq!(tree.deployed("names", "etc/names/names.conf"), "product\n");
    }
}

#[test]
fn who_may_come_in_as_root_is_in_a_file_that_is_root_s_alone() {
    let with_files = ["group", "hosts", "passwd"].into_iter().fold(Tree::new(), |tree, file| {
        let path = format!("pkg/basefiles/etc/{file}");
        tree.file(&path, &shipped(&path))
    });
    let tree = with_files
        .file("pkg/basefiles/files.sh", &shipped("pkg/basefiles/files.sh"))
        .package("basefiles", &shipped("pkg/basefiles/build"))
        .file("board/tiny/authorized_keys", "ssh-ed25519 BOARD\n")
        .file("product/demo/authorized_keys", "ssh-ed25519 PRODUCT\n");
    tree.builds("basefiles");
    assert_eq!(
        tree.deployed("basefiles", "root/.ssh/authorized_keys"),
        "ssh-ed25519 PRODUCT\nssh-ed25519 BOARD\n"
    );
    let list = tree.deployed("basefiles", "rootfs_files.txt");
    let root: Vec<&str> = list.lines().filter(|line| line.starts_with("root")).collect();
    assert_eq!(root, ["root m 700 0 0", "root/.ssh m 700 0 0", "root/.ssh/authorized_keys m 600 0 0"]);
}

#[test]
fn services_come_after_what_they_need_and_a_circle_is_told() {
    let root = tempfile::tempdir().unwrap();
    let service = |name: &str, needs: &str| {
        let path = root.path().join("etc/service").join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, format!("#!/bin/sh\n{needs}\n")).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let order = || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("pkg/init/files/order");
        let output = Command::new("sh").arg(script).arg(root.path()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\n', " ");
        (text(&output.stdout), text(&output.stderr), output.status.code())
    };
    service("web", "# needs: names clock");
    service("names", "# needs: net");
    service("net", "");
    service("clock", "");
    fs_err::write(root.path().join("etc/init.conf"), "SERVICES=\"web net\"\n").unwrap();
    assert_eq!(order(), ("net names clock web ".into(), String::new(), Some(0)));
    service("net", "# needs: web");
    let (_, told, status) = order();
    assert_eq!((told.as_str(), status), ("services need each other: SERVICES web names net web ", Some(1)));
}

#[test]
fn a_service_starts_when_all_that_it_needs_have_started() {
    let root = tempfile::tempdir().unwrap();
    let folder = |path: &str| {
        let path = root.path().join(path);
        fs_err::create_dir_all(&path).unwrap();
        path
    };
    for (name, needs) in [("web", " names"), ("names", " net"), ("net", "")] {
        let path = folder("etc/service").join(name);
        fs_err::write(&path, format!("#!/bin/sh\n# needs:{needs}\necho {name} >&2\n")).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        folder(&format!("run/service/{name}"));
    }
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("pkg/init/files");
    // The supervisor's `sv -w 10 start FOLDER`: it succeeds when the service runs and its `check` does.
    let tools = folder("tools");
    let sv = format!("#!/bin/sh\n[ \"$3\" = start ] && cd \"$4\" && sh {}/check\n", files.display());
    fs_err::write(tools.join("sv"), sv).unwrap();
    fs_err::set_permissions(tools.join("sv"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let start = |name: &str| {
        let run = folder(&format!("run/service/{name}"));
        let output = Command::new("sh")
            .arg(files.join("service"))
            .arg(root.path())
            .current_dir(run)
            .env("PATH", format!("{}:/usr/bin:/bin", tools.display()))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr), output.status.code())
    };
    let waits = (String::new(), String::new(), Some(1));
    let starts = |name: &str| (format!("{name}\n"), String::new(), Some(0));
    // The first is not there yet; the second is, and waits itself.
    assert_eq!(start("web"), waits);
    assert_eq!(start("names"), waits);
    assert_eq!(start("web"), waits);
    assert_eq!(start("net"), starts("net"));
    assert_eq!(start("web"), waits);
    assert_eq!(start("names"), starts("names"));
    assert_eq!(start("web"), starts("web"));
}
