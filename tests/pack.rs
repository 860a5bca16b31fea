//! `mk pack`: archives of packages, read back by programs that others wrote.

#![allow(clippy::unwrap_used)]

mod harness;

use std::path::Path;
use std::process::Command;

use harness::Tree;
use sha2::{Digest, Sha256};

/// A library, a program that needs it, and a script that is for every machine.
fn tree() -> Tree {
    Tree::new()
        .file("board/tiny/TOOLCHAIN", "PACKAGE_ARCH=mips_24kc\nMAINTAINER='Ada <ada@example.org>'\n")
        .file("product/demo/ROOTFS", "tool\nnotes\n")
        .package(
            "lib_one",
            r#"
            VERSION=1.0_rc-2
            DESCRIPTION="A library"
            LICENSE=MIT
            deploy() {
                mkdir -p "$2/lib" "$2/include"
                touch "$2/include/one.h"
                echo 'int one(void) { return 1; }' |
                    gcc -shared -nostdlib -Wl,-soname,libone.so.1 -x c - -o "$2/lib/libone.so.1"
                ln -s libone.so.1 "$2/lib/libone.so"
                rootfs_files "$2" 'lib/libone.so.*'
            }
            "#,
        )
        .package(
            "tool",
            r#"
            VERSION=3
            REVISION=4
            DEPENDS=lib_one
            RUNTIME_DEPENDS=notes
            SECTION=net
            DESCRIPTION="A tool
                of two lines"
            deploy() {
                mkdir -p "$2/bin" "$2/etc" "$2/share/a folder/with a name that is longer than a header of tar has room for/by itself, and more"
                echo 'int one(void); int _start(void) { return one(); }' |
                    gcc -nostdlib -nostartfiles -shared -x c - -o "$2/bin/tool" \
                    -L"$PKGDEPLOYDIR/lib_one/lib" -lone
                echo setting >"$2/etc/tool.conf"
                echo secret >"$2/etc/tool.key"
                touch "$2/share/a folder/with a name that is longer than a header of tar has room for/by itself, and more/file"
                ln -s tool "$2/bin/other"
                rootfs_files "$2" bin etc share
                rootfs_mode "$2" etc/tool.key 640 0 12
                rootfs_folder "$2" var/lib/tool 1770 7 12
                rootfs_device "$2" dev/tool c 10 200 600
            }
            "#,
        )
        .file("pkg/tool/postinst", "#!/bin/sh\necho installed\n")
        .file("pkg/tool/prerm", "#!/bin/sh\necho goes\n")
        .file("pkg/tool/control", "Homepage: https://example.org\nSection: utils\n")
        .file("pkg/tool/spk/INFO", "displayname=\"The Tool\"\n")
        .file("pkg/tool/spk/PACKAGE_ICON.PNG", "icon")
        .file("pkg/tool/spk/scripts/start-stop-status", "#!/bin/sh\necho \"$1\"\n")
        .package(
            "notes",
            r#"
            ARCHITECTURE=all
            deploy() {
                mkdir -p "$2/etc/notes"
                echo a >"$2/etc/notes/a"
                echo b >"$2/etc/notes/b"
                rootfs_files "$2" etc
            }
            "#,
        )
        .file("pkg/notes/conffiles", "/etc/notes/b\n")
        .package("empty", "deploy() {\n mkdir \"$2/include\"\n}\n")
}

/// What a program prints about files, which it must like.
fn ask(folder: &Path, program: &str, words: &[&str]) -> String {
    let output = Command::new(program)
        .args(words)
        .current_dir(folder)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same about what lies in one of the folders of archives.
fn shell(tree: &Tree, script: &str) -> String {
    ask(&tree.at("workspace/tiny-demo-packages"), "bash", &["-euo", "pipefail", "-c", script])
}

#[track_caller]
fn same(found: &str, expected: &str) {
    let expected: String = expected.lines().map(|line| line.trim_start().to_owned() + "\n").collect();
    assert_eq!(found.trim_end(), expected.trim());
}

#[test]
fn packages_for_opkg_say_what_they_hold_and_need() {
    let tree = tree();
    tree.builds("lib_one tool notes")
        .mk("pack tiny demo -q --format plain --output tiny-demo-packages")
        .has("tiny-demo-packages/notes_0-1_all.ipk");
    same(
        &shell(&tree, "ls"),
        "
        Packages
        Packages.gz
        lib-one_1.0.rc.2-1_mips_24kc.ipk
        notes_0-1_all.ipk
        tool_3-4_mips_24kc.ipk
    ",
    );
    same(
        &shell(&tree, "ar t tool_*.ipk; ar p tool_*.ipk debian-binary"),
        "
        debian-binary
        control.tar.gz
        data.tar.gz
        2.0
    ",
    );
    same(
        &shell(&tree, "dpkg-deb --field tool_*.ipk | sed 's/^Installed-Size: 13.*/Installed-Size: SIZE/'"),
        "
        Package: tool
        Version: 3-4
        Depends: lib-one (>= 1.0.rc.2), notes
        Section: utils
        Architecture: mips_24kc
        Maintainer: Ada <ada@example.org>
        Installed-Size: SIZE
        Description: A tool of two lines
        Homepage: https://example.org
    ",
    );
    // Mode, owner, path; of files with another column between.
    let contents =
        r#"list() { dpkg-deb --contents "$1" | sed -E 's/^(\S+ \S+) .* 2020-01-01 00:00 /\1 /'; }"#;
    same(&shell(&tree, &format!("{contents}; list tool_*.ipk")), "
        drwxr-xr-x 0/0 ./
        drwxr-xr-x 0/0 ./bin/
        lrwxrwxrwx 0/0 ./bin/other -> tool
        -rwxr-xr-x 0/0 ./bin/tool
        drwxr-xr-x 0/0 ./dev/
        crw------- 0/0 ./dev/tool
        drwxr-xr-x 0/0 ./etc/
        -rw-r--r-- 0/0 ./etc/tool.conf
        -rw-r----- 0/12 ./etc/tool.key
        drwxr-xr-x 0/0 ./share/
        drwxr-xr-x 0/0 ./share/a folder/
        drwxr-xr-x 0/0 ./share/a folder/with a name that is longer than a header of tar has room for/
        drwxr-xr-x 0/0 ./share/a folder/with a name that is longer than a header of tar has room for/by itself, and more/
        -rw-r--r-- 0/0 ./share/a folder/with a name that is longer than a header of tar has room for/by itself, and more/file
        drwxr-xr-x 0/0 ./var/
        drwxr-xr-x 0/0 ./var/lib/
        drwxrwx--T 7/12 ./var/lib/tool/
    ");
    same(
        &shell(&tree, "dpkg-deb --ctrl-tarfile tool_*.ipk | tar tv | sed 's/  *[0-9]* 2020-01-01 00:00//'"),
        "
        drwxr-xr-x 0/0 ./
        -rw-r--r-- 0/0 ./conffiles
        -rw-r--r-- 0/0 ./control
        -rwxr-xr-x 0/0 ./postinst
        -rwxr-xr-x 0/0 ./prerm
    ",
    );
    // Without a list of its own, a package has all of /etc to be kept.
    same(
        &shell(&tree, "dpkg-deb --info tool_*.ipk conffiles; dpkg-deb --info notes_*.ipk conffiles"),
        "
        /etc/tool.conf
        /etc/tool.key
        /etc/notes/b
    ",
    );
    same(
        &shell(&tree, "dpkg-deb --extract tool_*.ipk ../out && cat ../out/etc/tool.conf"),
        "
        setting
    ",
    );
}

#[test]
fn a_folder_of_packages_is_a_feed() {
    let tree = tree();
    tree.builds("lib_one tool notes").mk("-q pack tiny demo");
    // The index is what the archives are.
    same(
        &shell(&tree, "zcat Packages.gz | cmp - Packages; grep ^Package: Packages; grep ^Filename: Packages"),
        "
        Package: lib-one
        Package: notes
        Package: tool
        Filename: lib-one_1.0.rc.2-1_mips_24kc.ipk
        Filename: notes_0-1_all.ipk
        Filename: tool_3-4_mips_24kc.ipk
    ",
    );
    let sums = r#"
        sum() { sed -n "/^Filename/{s/.*: //;h}; /^$1: /{s///;G;s/\n/  /p}" Packages | "$2" --check -; }
        sum MD5Sum md5sum; sum SHA256sum sha256sum
        sed -n "/^Filename/{s/.*: //;h}; /^Size: /{s///;G;s/\n/ /p}" Packages |
            while read -r size file; do [ "$(stat -c %s "$file")" = "$size" ]; done
    "#;
    assert_eq!(shell(&tree, sums).matches(": OK\n").count(), 6);

    // The same again, and elsewhere.
    let before = shell(&tree, "sha256sum *");
    tree.mk("-q pack tiny demo --output again");
    assert_eq!(shell(&tree, "cd ../again; sha256sum *"), before);

    // One alone takes its place among the others; one that is gone leaves the index.
    tree.write(
        "pkg/notes/build",
        "ARCHITECTURE=all\nVERSION=1\ndeploy() {\n mkdir \"$2/etc\"\n rootfs_files \"$2\" etc\n}\n",
    );
    tree.write("pkg/notes/conffiles", "");
    fs_err::remove_file(tree.at("workspace/tiny-demo-packages/lib-one_1.0.rc.2-1_mips_24kc.ipk")).unwrap();
    tree.mk("-q pack tiny demo notes").has("/workspace/tiny-demo-packages/notes_1-1_all.ipk");
    same(
        &shell(&tree, "grep ^Filename: Packages"),
        "
        Filename: notes_1-1_all.ipk
        Filename: tool_3-4_mips_24kc.ipk
    ",
    );
}

#[test]
fn packages_for_synology_hold_what_they_need() {
    let tree = tree();
    let said = tree.mk("pack tiny demo --form spk --format json");
    let json: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let tool = &json["packages"].as_array().unwrap().iter().find(|one| one["name"] == "tool").unwrap();
    assert_eq!(tool["file"], "tool_3-4_mips_24kc.spk");
    assert_eq!(tool["depends"], serde_json::json!(["lib_one", "notes"]));
    let file = tree.at("workspace/tiny-demo-packages/tool_3-4_mips_24kc.spk");
    assert_eq!(tool["sha256"], format!("{:x}", Sha256::digest(fs_err::read(file).unwrap())));
    same(
        &shell(
            &tree,
            "ls; tar tf tool_*.spk; tar xOf tool_*.spk scripts/preuninst scripts/start-stop-status",
        ),
        "
        lib-one_1.0.rc.2-1_mips_24kc.spk
        notes_0-1_noarch.spk
        tool_3-4_mips_24kc.spk
        INFO
        package.tgz
        PACKAGE_ICON.PNG
        conf/
        conf/privilege
        scripts/
        scripts/postinst
        scripts/postuninst
        scripts/postupgrade
        scripts/preinst
        scripts/preuninst
        scripts/preupgrade
        scripts/start-stop-status
        #!/bin/sh
        echo goes
        #!/bin/sh
        echo \"$1\"
    "
        .replace("\\\"", "\"")
        .as_str(),
    );
    same(
        &shell(&tree, "tar xOf tool_*.spk INFO | grep -v -e ^extractsize= -e ^checksum="),
        "
        package=\"tool\"
        version=\"3-4\"
        os_min_ver=\"7.0-40000\"
        description=\"A tool of two lines\"
        arch=\"mips_24kc\"
        maintainer=\"Ada <ada@example.org>\"
        displayname=\"The Tool\"
    ",
    );
    shell(
        &tree,
        r#"
        sum=$(tar xOf tool_*.spk package.tgz | md5sum)
        tar xOf tool_*.spk INFO | grep -x "checksum=\"${sum%% *}\""
        tar xOf notes_*.spk INFO | grep -x 'startable="no"'
    "#,
    );
    same(
        &shell(&tree, "tar xOf tool_*.spk package.tgz | tar tz | grep -v -e /$ -e share/"),
        "
        bin/other
        bin/tool
        dev/tool
        etc/notes/a
        etc/notes/b
        etc/tool.conf
        etc/tool.key
        lib/libone.so.1
    ",
    );
}

#[test]
fn what_cannot_be_packed_is_told() {
    let tree = tree();
    tree.mk("-q pack tiny demo empty").is("
        ! error: `empty` has nothing to pack: it lists no files
        ! hint: what goes into an image and an archive is what its `rootfs_files.txt` lists
        status 2
    ");
    tree.write("product/demo/ROOTFS", "empty\n");
    tree.mk("-q pack tiny demo").is("
        ! error: nothing to pack: no package of `tiny demo` lists files
        ! hint: what goes into an image and an archive is what a package's `rootfs_files.txt` lists; `rootfs_files` writes it
        status 2
    ");
    assert!(!tree.at("workspace/tiny-demo-packages").exists());
    tree.write("product/demo/ROOTFS", "");
    tree.mk("-q pack tiny demo tool --form spk").is("
        ! error: `tool` needs `notes` with it, which was not built
        ! hint: put it into ROOTFS
        status 2
    ");
    tree.write("pkg/notes/conffiles", "/etc/notes/c\n");
    tree.mk("-q pack tiny demo notes").is("
        ! error: pkg/notes/conffiles: `/etc/notes/c` is no file of the package in the image
        status 3
    ");
    tree.write("pkg/tool/control", "Homepage\n");
    tree.mk("-q pack tiny demo tool").is("
        ! error: pkg/tool/control: `Homepage` is no `FIELD: VALUE`
        status 3
    ");
    let list =
        "deploy() {\n mkdir \"$2/bin\"\n ln -s /usr \"$2/usr\"\n echo 'LINE' >\"$2/rootfs_files.txt\"\n}\n";
    for (line, error) in [
        ("usr/bin/env m 755 0 0", "`/usr/bin/env` is listed for the image, but `/usr` is a link"),
        ("bin/no m 755 0 0", "`/bin/no` is listed for the image, but not deployed"),
        ("bin m 755 nobody 0", "rootfs_files.txt: no meaning in an image: `bin m 755 nobody 0`"),
        ("../bin m 755 0 0", "rootfs_files.txt: `../bin` leads out of the image"),
    ] {
        tree.write("pkg/wrong/build", &list.replace("LINE", line));
        tree.mk("-q pack tiny demo wrong").is(&format!("! error: wrong: {error}\nstatus 3\n"));
    }
    let recipe = "REVISION=one\ndeploy() {\n mkdir \"$2/bin\"\n rootfs_files \"$2\" bin\n}\n";
    tree.write("pkg/wrong/build", recipe);
    tree.mk("-q pack tiny demo wrong").is("
        ! error: pkg/wrong/build: REVISION `one` is no number
        status 3
    ");
    tree.write("pkg/wrong/build", &recipe.replace("REVISION=one", "RUNTIME_DEPENDS=tol"));
    tree.mk("-q pack tiny demo wrong").is("
        ! error: pkg/wrong/build: RUNTIME_DEPENDS names unknown package `tol`
        ! hint: did you mean `tool`?
        status 3
    ");
    tree.write("board/tiny/TOOLCHAIN", "");
    tree.mk("-q pack tiny demo lib_one").is("
        ! error: it is not known for which architecture packages are: TOOLCHAIN sets neither PACKAGE_ARCH nor TARGET
        status 3
    ");
}

#[test]
fn a_library_that_nobody_has_is_told() {
    let tree = tree();
    tree.write(
        "pkg/lonely/build",
        r#"
        deploy() {
            mkdir "$2/bin"
            echo 'int f(void) { return 1; }' | gcc -shared -nostdlib -Wl,-soname,libfar.so.9 -x c - -o libfar.so
            echo 'int f(void); int _start(void) { return f(); }' |
                gcc -nostdlib -nostartfiles -shared -x c - -o "$2/bin/lonely" -L. -lfar
            rootfs_files "$2" bin
        }
        "#,
    );
    tree.mk("-q pack tiny demo lonely")
        .has("! note: `lonely` needs `libfar.so.9`, which no package that it needs has in the image");
}

#[test]
fn what_gives_way_to_another_package_of_the_product_is_left_out() {
    let recipe = |more: &str| {
        format!(
            "deploy() {{\n mkdir \"$2/bin\"\n touch \"$2/bin/ls\" \"$2/bin/$PKGNAME\"\n rootfs_files \"$2\" bin\n {more}\n}}\n"
        )
    };
    let tree = Tree::new()
        .file("board/tiny/TOOLCHAIN", "PACKAGE_ARCH=any\n")
        .file("product/demo/ROOTFS", "small\nbig\n")
        .package("small", &recipe("rootfs_fallbacks \"$2\" bin"))
        .package("big", &recipe(""));
    for packages in ["", "small"] {
        tree.mk(&format!("-q pack tiny demo {packages}"));
        same(
            &shell(&tree, "dpkg-deb --fsys-tarfile small_0-1_any.ipk | tar t"),
            "
            ./
            ./bin/
            ./bin/small
        ",
        );
    }
    same(
        &shell(&tree, "dpkg-deb --fsys-tarfile big_0-1_any.ipk | tar t"),
        "
        ./
        ./bin/
        ./bin/big
        ./bin/ls
    ",
    );
}

#[test]
fn what_an_archive_says_builds_nothing() {
    let tree = tree();
    tree.builds("notes");
    let recipe = fs_err::read_to_string(tree.at("tree/pkg/notes/build")).unwrap();
    tree.write("pkg/notes/build", &format!("{recipe}\nREVISION=7\nSECTION=doc\nMAINTAINER=Bob\n"));
    tree.mk("plan tiny demo notes").is("reuse  notes\n");
    tree.mk("-q pack tiny demo notes");
    same(
        &shell(&tree, "dpkg-deb --field notes_0-7_all.ipk Version Section Maintainer"),
        "
        Version: 0-7
        Section: doc
        Maintainer: Bob
    ",
    );
}

/// A package with users and groups, and a root in which another system's accounts are.
fn with_accounts(tree: Tree, preinst: &str) -> Tree {
    let tree = tree.file("board/tiny/TOOLCHAIN", "PACKAGE_ARCH=all\n").package(
        "daemon",
        r#"
            VERSION=1
            deploy() {
                mkdir "$2/etc"
                touch "$2/etc/secret"
                rootfs_files "$2" etc
                rootfs_mode "$2" etc/secret 600 101 101
                rootfs_user "$2" daemon 101 /var/empty
                rootfs_user "$2" helper 102
                rootfs_group "$2" audio 29 daemon helper
            }
            "#,
    );
    if preinst.is_empty() { tree } else { tree.file("pkg/daemon/preinst", preinst) }
}

#[test]
fn users_and_groups_are_made_where_a_package_is_installed() {
    let tree =
        with_accounts(Tree::new(), "#!/bin/sh -e\necho \"before: $(grep -c : \"$DPKG_ROOT/etc/passwd\")\"");
    tree.mk("pack tiny demo daemon").has("daemon_1-1_all.ipk");
    let install = "root=$PWD/../root; mkdir -p $root/etc $root/var/lib/dpkg; : >>$root/var/lib/dpkg/status
        dpkg --root=\"$root\" --force-script-chrootless --force-not-root --no-triggers -i daemon_*.ipk 2>&1 |
            grep -E '^(before|the name)' || :
        cat $root/etc/passwd $root/etc/group $root/etc/shadow; stat -c '%u %g' $root/etc/secret";
    let before = "mkdir -p ../root/etc; echo root:x:0:0::/:/bin/sh >../root/etc/passwd
        printf '%s\\n' root:x:0: audio:x:29:ada >../root/etc/group; echo 'root:*:1:0:::::' >../root/etc/shadow";
    shell(&tree, before);
    let accounts = "
        before: 3
        root:x:0:0::/:/bin/sh
        daemon:x:101:101::/var/empty:/bin/false
        helper:x:102:102::/:/bin/false
        root:x:0:
        audio:x:29:ada,daemon,helper
        daemon:x:101:
        helper:x:102:
        root:*:1:0:::::
        daemon:*:18262:0:99999:7:::
        helper:*:18262:0:99999:7:::
        101 101
    ";
    same(&shell(&tree, install), accounts);
    // Once more, as an upgrade does.
    same(&shell(&tree, install), accounts);
    // A number that is another's there.
    let script = "dpkg-deb --ctrl-tarfile daemon_*.ipk | tar x ./preinst; mkdir -p ../taken/etc
        echo other:x:101: >../taken/etc/group; PKG_ROOT=../taken/ ./preinst 2>&1 || echo status $?; cat ../taken/etc/*";
    same(
        &shell(&tree, script),
        "
        the name daemon or the number 101 is another's in ../taken/etc/group
        status 1
        other:x:101:
    ",
    );
}

#[test]
fn a_script_that_accounts_cannot_be_put_into_is_told() {
    let tree = with_accounts(Tree::new(), "#!/usr/bin/perl\n");
    let told = tree.mk("pack tiny demo daemon");
    told.has("! error: pkg/daemon/preinst does not begin with `#!/bin/sh`")
        .has("! hint: the users that the package declares are made in it");
    assert_eq!(told.status, 3);
}

#[test]
fn the_binary_packages_of_a_makefile_recipe_are_archives_of_their_own() {
    let tree = Tree::new()
        .file("board/tiny/TOOLCHAIN", "PACKAGE_ARCH=m68k\n")
        .file("product/demo/ROOTFS", "hello\n")
        .package(
            "hello",
            "#! /usr/bin/make -f
VERSION = 1.0
LICENSE = MIT
OPK_PACKAGES = hello libhello libhello-dev
build:
install:
	mkdir -p tmp/hello.data/bin tmp/libhello.data/lib tmp/libhello-dev.data/lib tmp/libhello-dev.data/include
	echo 'int hello(void) { return 1; }' | gcc -shared -nostdlib -Wl,-soname,libhello.so -x c - -o tmp/libhello.data/lib/libhello.so
	echo 'int hello(void); int _start(void) { return hello(); }' | gcc -nostdlib -nostartfiles -shared -x c - -o tmp/hello.data/bin/hello -Ltmp/libhello.data/lib -lhello
	touch tmp/libhello-dev.data/include/hello.h
",
        )
        .file("pkg/hello/postinst", "#!/bin/sh\n")
        .file("pkg/hello/libhello-dev.control", "Depends: libhello (= 1.0-1)\n");
    tree.mk("pack tiny demo");
    same(
        &shell(
            &tree,
            "for i in *.ipk; do echo \"$i\"; dpkg-deb --field \"$i\" Package Depends; dpkg-deb --contents \"$i\" | grep -o '[^ ]*[^/]$'; dpkg-deb --ctrl-tarfile \"$i\" | tar t; done",
        ),
        "
        hello_1.0-1_m68k.ipk
        Package: hello
        Depends: libhello (>= 1.0)
        ./bin/hello
        ./
        ./control
        ./postinst
        libhello-dev_1.0-1_m68k.ipk
        Package: libhello-dev
        Depends: libhello (= 1.0-1)
        ./include/hello.h
        ./
        ./control
        libhello_1.0-1_m68k.ipk
        Package: libhello
        ./lib/libhello.so
        ./
        ./control
    ",
    );
    // One for another package manager has the library with it, and nothing for development.
    tree.mk("pack tiny demo --form spk");
    same(
        &shell(
            &tree,
            "for i in *.spk; do echo \"$i\"; tar -xOf \"$i\" package.tgz | tar tz | grep '[^/]$'; done",
        ),
        "
        hello_1.0-1_m68k.spk
        bin/hello
        lib/libhello.so
        libhello_1.0-1_m68k.spk
        lib/libhello.so
    ",
    );
}

#[test]
fn what_a_package_manager_would_refuse_is_told() {
    let same = "deploy() {\n\tmkdir -p $2/etc\n\techo same >$2/etc/same\n\trootfs_files $2 etc\n}\n";
    let tree = Tree::new()
        .file("board/tiny/TOOLCHAIN", "PACKAGE_ARCH=mips_24kc\n")
        .file("product/demo/ROOTFS", "left\nright\n")
        .package("left", &format!("VERSION=v1.2\nRUNTIME_DEPENDS='right nothing'\n{same}"))
        .package("right", &format!("VERSION=c0ffee\n{same}"))
        .package("nothing", "");
    tree.mk("-q pack tiny demo")
        .has("note: `left` needs `nothing`, of which there is no archive: it lists no files, or is not in ROOTFS")
        .has("note: `left` and `right` both have `/etc/same`: package managers install one of them")
        .has("left_1.2-1_mips_24kc.ipk")
        .has("right_0~c0ffee-1_mips_24kc.ipk");
}
