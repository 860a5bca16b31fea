//! What recipes of the tree that comes with `mk` make of configuration, in small trees that borrow their bash files.

mod harness;

use std::path::Path;

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
        assert_eq!(tree.deployed("init", "etc/init.conf"), "HWCLOCK=\"yes\"\nSERVICES=\"ntpd dhcp-port0\"\n");
        assert!(tree.deployed("init", "etc/service/dhcp-port0").contains("-i port0"));
    }
}

#[test]
fn files_that_are_overridden_reach_the_target_s_etc() {
    for tree in Tree::both() {
        let tree = with_init(tree)
            .file("board/tiny/sysctl.conf", "board\n")
            .file("product/demo/sysctl.conf", "product\n")
            .file("product/demo/nftables.rules", "rules\n")
            .file("board/tiny/ifrename", "# names\nlan mac 02:00:00:00:00:01\n")
            .file("board/tiny/interfaces/lan", "lan of the board\n")
            .file("product/demo/tiny/interfaces/port0", "port0\n");
        tree.builds("init");
        for (file, text) in [
            ("sysctl.conf", "product\n"),
            ("nftables.rules", "rules\n"),
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
