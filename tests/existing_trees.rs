//! Habits of Pygos trees of the board and product era: such recipes run as they are.

mod harness;

use harness::Tree;

#[test]
fn a_recipe_may_source_another_and_override_part_of_it() {
    for tree in Tree::both() {
        let tree = tree
            .archive("file-5.tar.gz", &[("file-5/text", "source\n")])
            .package("zlib", "")
            .package(
                "file",
                "VERSION=5\nURL=ARCHIVES\nTARBALL=file-$VERSION.tar.gz\nSHA256SUM=SHA256(file-5.tar.gz)\nSRCDIR=file-$VERSION\nDEPENDS=zlib\n\
                 build() {\n\techo \"target build of $PKGNAME\"\n}\ndeploy() {\n\tmkdir \"$2/bin\"\n\tcp \"$1/text\" \"$2/bin\"\n}\n",
            )
            .package("file_host", "source \"$SCRIPTDIR/pkg/file/build\"\nDEPENDS=\"\"\n\nbuild() {\n\techo \"host build of $PKGNAME $VERSION, needs [$DEPENDS]\"\n\tls \"$PKGDEPLOYDIR\"\n}\n");
        tree.builds("file_host").logs(
            "file_host",
            "build",
            "host build of file_host 5, needs []\nfile_host\n",
        );
        assert_eq!(tree.deployed("file_host", "bin/text"), "source\n");
        tree.builds("file").logs("file", "build", "target build of file\n");
        // The sourced recipe is an input of the one that sources it.
        tree.write("pkg/file/build", "VERSION=6\ndeploy() {\n\tmkdir \"$2/new\"\n}\n");
        tree.mk("plan tiny demo file_host").has("VERSION: 5 → 6");
    }
}

#[test]
fn dependencies_may_be_computed_from_lists_that_lack_their_last_newline() {
    for tree in Tree::both() {
        let tree = tree
            .file("product/demo/tiny/ROOTFS", "gamma")
            .file("product/demo/ROOTFS", "beta\nalpha")
            .file("board/tiny/ROOTFS", "alpha\n")
            .package("rootfs", "DEPENDS=$(cat_file_merge ROOTFS | sort -u)\n\nbuild() {\n\tfor PKG in $DEPENDS; do\n\t\techo $PKG\n\tdone\n}\n");
        let tree = ["alpha", "beta", "gamma"].iter().fold(tree, |tree, name| tree.package(name, ""));
        tree.builds("rootfs").logs("rootfs", "build", "alpha\nbeta\ngamma\n");
        tree.write("product/demo/ROOTFS", "beta");
        fs_err::remove_file(tree.at("tree/product/demo/tiny/ROOTFS")).unwrap();
        tree.builds("rootfs").logs("rootfs", "build", "alpha\nbeta\n");
    }
}

#[test]
fn lists_with_carriage_returns_name_the_packages_all_the_same() {
    for tree in Tree::both() {
        let tree = tree
            .file("product/demo/ROOTFS", "beta\r\nalpha\r\n")
            .file("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl\r\nLINUXPKG=kernel\r\n")
            .package("alpha", "")
            .package("beta", "")
            .package("kernel", "")
            .package("rootfs", "DEPENDS=\"$(cat_file_merge ROOTFS | sort -u) $LINUXPKG\"\nbuild() { echo $DEPENDS \"[$TARGET]\"; }\n");
        tree.builds("rootfs").logs("rootfs", "build", "alpha beta kernel [any-linux-musl]\n");
    }
}

#[test]
fn the_kernel_package_is_named_by_configuration_and_sourced_by_that_name() {
    for tree in Tree::both() {
        let tree = tree
            .file("board/tiny/TOOLCHAIN", "LINUXPKG=\"linux-rpi\"\n")
            .archive("linux-1.tar.gz", &[("linux-1/Makefile", "stock\n")])
            .archive("rpi-2.tar.gz", &[("linux-rpi-2/Makefile", "raspberry\n")])
            .package("linux", "VERSION=1 URL=ARCHIVES TARBALL=linux-1.tar.gz SRCDIR=linux-1 SHA256SUM=SHA256(linux-1.tar.gz)\n")
            .package("linux-rpi", "VERSION=2 URL=ARCHIVES TARBALL=rpi-2.tar.gz SRCDIR=linux-rpi-2 SHA256SUM=SHA256(rpi-2.tar.gz)\nDEPENDS=tools\nbuild() { exit 1; }\n")
            .package("linux_headers", "source \"$SCRIPTDIR/pkg/$LINUXPKG/build\"\nDEPENDS=\"\"\nbuild() { echo \"$VERSION\"; cat \"$1/Makefile\"; }\n")
            .package("release-tiny", "DEPENDS=\"linux_headers\"\n");
        tree.builds("").logs("linux_headers", "build", "2\nraspberry\n");
    }
}

#[test]
fn unset_variables_are_empty() {
    for tree in Tree::both() {
        let tree = tree.package("a", "DEPENDS=$NOBODY_SET_THIS\nSRCDIR=\"a-$VERSION\"\nbuild() {\n\tlocal FLAGS=\"$FLAGS -O2\"\n\t[ -z \"$NOT_THIS\" ]\n\techo \"$NOR_THIS${NOR[1]}$FLAGS\"\n}\n");
        tree.builds("a").logs("a", "build", " -O2\n");
    }
}

#[test]
fn a_function_that_says_only_return_does_nothing() {
    for tree in Tree::both() {
        let tree = tree.package("a", "VERSION=\"\"\nTARBALL=\"\"\nURL=\"\"\nSRCDIR=\"\"\nSHA256SUM=\"\"\nDEPENDS=\"\"\n\nprepare() {\n\treturn\n}\n\nbuild() {\n\treturn\n}\n\ndeploy() {\n\treturn\n}\n\ncheck_update() {\n\treturn\n}\n");
        tree.builds("a");
        assert!(!tree.built("log/a-build.log").exists());
    }
}

#[test]
fn prepare_may_load_another_recipe_in_the_middle_of_itself() {
    for tree in Tree::both() {
        let tree = tree
            .archive("base-1.tar.gz", &[("base-1/text", "base\n")])
            .archive("a-1.tar.gz", &[("a-1/text", "mine\n")])
            .file("pkg/base/1.patch", "--- a/text\n+++ b/text\n@@ -1 +1 @@\n-mine\n+patched\n")
            .package("base", "VERSION=1 URL=ARCHIVES TARBALL=base-1.tar.gz SRCDIR=base-1 SHA256SUM=SHA256(base-1.tar.gz)\nprepare() { apply_patches >/dev/null; echo \"base prepares in ${PWD##*/}\"; }\nbuild() { exit 1; }\n")
            .package(
                "a",
                "VERSION=2 URL=ARCHIVES TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM=SHA256(a-1.tar.gz)\nDEPENDS=helper\n\
                 prepare() {\n\tinclude_pkg base\n\tprepare\n\techo \"$PKGNAME $SRCDIR $VERSION\"\n}\nbuild() { echo \"$PKGNAME $SRCDIR $VERSION\"; cat \"$1/text\"; }\n",
            )
            .package("helper", "");
        tree.builds("a").logs("a", "prepare", "base prepares in a-1\nbase base-1 1\n").logs(
            "a",
            "build",
            "a a-1 2\npatched\n",
        );
        // What was loaded is an input, patches and all.
        tree.write("pkg/base/1.patch", "--- a/text\n+++ b/text\n@@ -1 +1 @@\n-mine\n+patched again\n");
        tree.builds("a").logs("a", "build", "a a-1 2\npatched again\n");
    }
}

#[test]
fn a_package_may_add_to_the_toolchain_in_place_of_its_deploy_folder() {
    for tree in Tree::both() {
        let tree = tree
            .file("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl\n")
            .package("binutils", "deploy() {\n\tmkdir -p \"$TCDIR/bin\" \"$TCDIR/$TARGET/lib\"\n\tprintf '#!/bin/sh\\necho ld\\n' >\"$TCDIR/bin/$TARGET-ld\"\n\tchmod +x \"$TCDIR/bin/$TARGET-ld\"\n}\n")
            .package("gcc", "DEPENDS=binutils\nbuild() {\n\t$TARGET-ld\n}\ndeploy() {\n\tmkdir -p \"$TCDIR/$TARGET/include\"\n\ttouch \"$TCDIR/$TARGET/include/stddef.h\"\n\tprintf '#!/bin/sh\\necho gcc; any-linux-musl-ld\\n' >\"$TCDIR/bin/$TARGET-gcc\"\n\tchmod +x \"$TCDIR/bin/$TARGET-gcc\"\n\tsave_toolchain\n}\n")
            .package("musl", "DEPENDS=gcc\ndeploy() {\n\tmkdir -p \"$2/include\" \"$2/lib\"\n\ttouch \"$2/include/stdio.h\" \"$2/lib/libc.so\"\n}\n")
            .package("toolchain", "DEPENDS=\"gcc musl\"\n")
            .package("zlib", "DEPENDS=\"toolchain musl\"\nbuild() {\n\t$TARGET-gcc\n\tls \"$TCDIR/$TARGET/include\"\n}\n");
        tree.builds("zlib").logs("gcc", "build", "ld\n").logs(
            "zlib",
            "build",
            "gcc\nld\nstddef.h\nstdio.h\n",
        );
        assert_eq!(tree.list_deployed("binutils"), [""; 0]);
    }
}

#[test]
fn a_recipe_may_sort_what_it_needs_with_tsort() {
    for tree in Tree::both() {
        let tree = tree
            .package("libc", "")
            .package("zlib", "DEPENDS=libc\n")
            .package("ssh", "DEPENDS=\"zlib libc\"\n")
            .package("release-tiny", "DEPENDS=\"ssh\"\n\nbuild() {\n\tdependencies | tsort | tac | while read -r pkg; do\n\t\techo \"$pkg\"\n\tdone\n}\n");
        tree.builds("").logs("release-tiny", "build", "libc\nzlib\nssh\nrelease-tiny\n");
    }
}

#[test]
fn two_packages_may_have_one_source_folder_by_name() {
    for tree in Tree::both() {
        let recipe = |archive: &str, build: &str| {
            format!(
                "URL=ARCHIVES TARBALL={archive} SRCDIR=x SHA256SUM=SHA256({archive})\nprepare() {{ echo $PKGNAME >>text; }}\nbuild() {{ cat \"$1/text\"; {build} }}\n"
            )
        };
        let tree = tree
            .env("MK_JOBS", "4")
            .archive("x-1.tar.gz", &[("x/text", "one\n")])
            .archive("x-2.tar.gz", &[("x/text", "two\n")])
            .package("kernel", &recipe("x-1.tar.gz", "echo object >\"$1/object\";"))
            .package("headers", &recipe("x-1.tar.gz", "ls \"$1\";"))
            .package("newer", &recipe("x-2.tar.gz", ""))
            .package("release-tiny", "DEPENDS='kernel headers newer'");
        tree.builds("");
        tree.logs("kernel", "build", "one\nkernel\n").logs("headers", "build", "one\nheaders\ntext\n").logs(
            "newer",
            "build",
            "two\nnewer\n",
        );
    }
}

#[test]
fn recipes_without_a_last_newline_and_with_letters_of_any_language_run() {
    for tree in Tree::both() {
        let tree = tree
            .package("a", "# Größe des Täfelchens: 5 µm — 日本語\nVERSION=\"1.0-ü\"\nbuild() {\n\techo \"Grüße, $NAME $VERSION\"\n}\nNAME=\"Jürgen\"")
            .file("pkg/a/naïve.txt", "é\n");
        tree.builds("a").logs("a", "build", "Grüße, Jürgen 1.0-ü\n");
        tree.mk("plan tiny demo a").is("reuse  a 1.0-ü\n");
    }
}

#[test]
fn recipes_in_which_every_line_ends_in_carriage_return_run() {
    for tree in Tree::both() {
        let tree = tree
            .package(
                "a",
                "VERSION=\"1\"\r\nDEPENDS=\"b\"\r\n\r\nbuild() {\r\n\tif true; then\r\n\t\techo \"<$VERSION>\"\r\n\tfi\r\n}\r\n",
            )
            .package("b", "");
        tree.builds("a").logs("a", "build", "<1>\n");
        tree.mk("plan tiny demo a").is("
            reuse  b
            reuse  a 1
        ");
    }
}

#[test]
fn a_recipe_may_find_files_of_its_own_folder_and_of_folders_that_it_names() {
    for tree in Tree::both() {
        let tree = tree
            .file("pkg/a/config", "own\n")
            .file("board/tiny/special", "board\n")
            .file("product/demo/special", "product\n")
            .package("a", "build() {\n\tcat \"$SCRIPTDIR/pkg/$PKGNAME/config\"\n\tcat \"$SCRIPTDIR/board/$BOARD/special\" \"${SCRIPTDIR}/product/$PRODUCT/special\"\n}\n");
        tree.builds("a").logs("a", "build", "own\nboard\nproduct\n");
        tree.write("board/tiny/special", "changed\n");
        tree.builds("a").logs("a", "build", "own\nchanged\nproduct\n");
    }
}

#[test]
fn a_recipe_may_read_files_by_itself_while_it_is_read() {
    for read in [
        "$(head -n 1 \"$SCRIPTDIR/version\")",
        "$(<\"$SCRIPTDIR/version\")",
        "$(sort \"$SCRIPTDIR/version\" | tail -n 1)",
    ] {
        for tree in Tree::both() {
            let tree = tree
                .file("version", "1.0\n")
                .package("a", &format!("VERSION={read}\nbuild() {{\n\techo \"$VERSION\"\n}}\n"));
            tree.builds("a").logs("a", "build", "1.0\n");
            tree.write("version", "2.0\n");
            tree.builds("a").logs("a", "build", "2.0\n");
        }
    }
}

#[test]
fn a_recipe_may_go_to_any_place_of_the_tree_that_its_text_names() {
    for tree in Tree::both() {
        let tree = tree
            .file("scripts/tools.sh", "tool() { echo one; }\n")
            .file("pkg/other/table", "other\n")
            .file("pkg/other/build", "")
            .file("overlay/etc/motd", "hello\n")
            .file("overlay/etc/issue", "issue\n")
            .package("a", "source \"$SCRIPTDIR/scripts/tools.sh\"\nbuild() {\n\ttool\n\tcat \"$SCRIPTDIR/pkg/other/table\" \"${SCRIPTDIR}/overlay/etc/\"*\n}\n");
        tree.builds("a").logs("a", "build", "one\nother\nissue\nhello\n");
        for (path, text) in [
            ("scripts/tools.sh", "tool() { echo two; }\n"),
            ("pkg/other/table", "new\n"),
            ("overlay/etc/motd", "bye\n"),
        ] {
            tree.write(path, text);
            tree.builds("a");
        }
        tree.logs("a", "build", "two\nnew\nissue\nbye\n");
    }
}

#[test]
fn a_recipe_may_set_shell_options_of_its_own() {
    for tree in Tree::both() {
        let tree = tree
            .package("a", "set +e\nshopt -s nullglob\nbuild() {\n\tfalse\n\techo none: *\n}\n")
            .package("b", "set -u\nbuild() {\n\techo \"$nothing\"\n}\n");
        tree.builds("a").logs("a", "build", "none:\n");
        tree.mk("-q tiny demo b").has("error: b: build failed").has("nothing: unbound variable");
    }
}

#[test]
fn a_step_may_use_functions_and_variables_of_its_recipe_s_top_level() {
    for tree in Tree::both() {
        let tree = tree.package("a", "FILES=(one 'two three')\ndeclare -A MAP=([k]=v)\nreadonly FIXED=yes\nexport SHOWN=shown\nhelp() {\n\techo \"${FILES[1]} ${MAP[k]} $FIXED\"\n}\nbuild() {\n\thelp\n\tenv | grep ^SHOWN\n}\n");
        tree.builds("a").logs("a", "build", "two three v yes\nSHOWN=shown\n");
    }
}
