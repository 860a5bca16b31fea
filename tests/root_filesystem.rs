//! What of the shared libraries reaches a root filesystem, and how big it may be: the shipped tree's own bash files, on
//! small ELF files that the machine's compiler makes.

mod harness;

use std::path::Path;

use harness::{Tree, list};

/// A recipe of a package that lists all it deploys; `deploy` has these lines, and `elf NAME [OPTION…]` for them.
fn listed(lines: &str) -> String {
    format!(
        r#"DEPENDS="toolchain $NEEDS"
elf() {{
	mkdir -p "$2/$(dirname "$3")"
	echo "int it(void) {{ return 0; }}" | gcc -x c -nostdlib -o "$2/$3" - "${{@:4}}"
}}
library() {{
	elf "$1" "$2" "$3" -x none -shared -Wl,-soname,"$(basename "$3" .0)" "${{@:4}}"
}}
program() {{
	elf "$1" "$2" "$3" -x none -pie -e it -Wl,--no-as-needed -Wl,--dynamic-linker=/lib/ld.so.1 "${{@:4}}"
}}
deploy() {{
{lines}
	rootfs_files "$2" '[!d]*'
}}
"#
    )
}

/// A root filesystem of the packages of `ROOTFS`, reduced, measured, and put into a folder in place of an image.
fn with_rootfs(tree: Tree) -> Tree {
    let shipped = |tree: Tree, name: &str| {
        let path = format!("pkg/rootfs/{name}");
        tree.file(&path, &fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path)).unwrap())
    };
    ["assemble.sh", "libraries.sh", "reduce.sh", "budget.sh"].into_iter().fold(tree, shipped)
        .file("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl\n")
        .package("toolchain", "deploy() {\n\tmkdir \"$TCDIR/bin\"\n\tln -s \"$(command -v readelf)\" \"$TCDIR/bin/$TARGET-readelf\"\n}\n")
        .package("rootfs", r#"DEPENDS="toolchain $(cat_file_merge ROOTFS | sort -u)"
for file in assemble libraries reduce budget; do
	source "$SCRIPTDIR/pkg/rootfs/$file.sh"
done
build() {
	local -a packages
	mapfile -t packages < <(cat_file_merge ROOTFS | sort -u)
	assemble root definitions "${packages[@]}"
	reduce_libraries root definitions /lib/ usr/lib < <(names_to_open "${packages[@]}") >left-out
	check_libraries root /lib usr/lib
	list_sizes root definitions.owners >sizes
	check_files_budget sizes
}
deploy() {
	mkdir "$2/boot"
	head -c 3000 /dev/zero >"$2/boot/rootfs"
	check_image_budget "$2" sizes
	cut -f 2 left-out
	cp -a root definitions sizes "$2"
}
"#)
}

#[test]
fn libraries_beside_their_program_are_found_and_a_folder_of_two_names_is_looked_into_once() {
    for tree in Tree::both() {
        let tree = with_rootfs(tree).file("product/demo/ROOTFS", "app\n").package(
            "app",
            &listed(
                r#"	ln -s . "$2/usr"
	library "$@" lib/libc.so
	ln -s libc.so "$2/lib/ld.so.1"
	library "$@" lib/libalone.so.1
	library "$@" opt/app/libown.so.1
	program "$@" opt/app/app "$2/opt/app/libown.so.1" '-Wl,-rpath,$ORIGIN'"#,
            )
            .replace("$NEEDS", ""),
        );
        tree.builds("rootfs").logs("rootfs", "deploy", "/lib/libalone.so.1\n");
    }
}

#[test]
fn of_the_libraries_only_what_something_needs_is_in_the_image() {
    for tree in Tree::both() {
        let tree = with_rootfs(tree)
            .file("product/demo/ROOTFS", "app\nlibs\n")
            .file("product/demo/DLOPEN", "# resolvers\nlibnss_*.so.2\n")
            .package(
                "libs",
                &listed(
                    r#"	library "$@" lib/libc.so
	ln -s libc.so "$2/lib/ld.so.1"
	library "$@" lib/libdeep.so.1.0
	ln -s libdeep.so.1.0 "$2/lib/libdeep.so.1"
	ln -s libdeep.so.1 "$2/lib/libdeep.so"
	library "$@" usr/lib/libmiddle.so.1 -Wl,--no-as-needed "$2/lib/libdeep.so.1"
	ln -s ../usr/lib/libmiddle.so.1 "$2/lib/libmiddle.so.1"
	library "$@" lib/libplugged.so.1
	library "$@" lib/libopened.so.3
	library "$@" lib/libnss_dns.so.2 -Wl,--no-as-needed "$2/lib/libopened.so.3"
	library "$@" lib/libalone.so.1
	library "$@" 'lib/lib of two words.so.1' -Wl,--no-as-needed "$2/lib/libalone.so.1"
	library "$@" lib/libasked.so.1
	echo libasked.so.1 >"$2/dlopen.txt""#,
                ),
            )
            .package(
                "app",
                &listed(
                    r#"	program "$@" bin/app "$PKGDEPLOYDIR/libs/usr/lib/libmiddle.so.1"
	library "$@" lib/app/plugin.so -Wl,--no-as-needed "$PKGDEPLOYDIR/libs/lib/libplugged.so.1"
	echo text >"$2/lib/app/text.so""#,
                )
                .replace("$NEEDS", "libs"),
            );
        tree.builds("rootfs").logs(
            "rootfs",
            "deploy",
            "/lib/lib of two words.so.1\n/lib/libalone.so.1\n/lib/libdeep.so\n",
        );
        let root = fs_err::canonicalize(tree.built("deploy/rootfs/root")).unwrap();
        let kept = [
            "bin/",
            "bin/app",
            "lib/",
            "lib/app/",
            "lib/app/plugin.so",
            "lib/app/text.so",
            "lib/ld.so.1 -> libc.so",
            "lib/libasked.so.1",
            "lib/libc.so",
            "lib/libdeep.so.1 -> libdeep.so.1.0",
            "lib/libdeep.so.1.0",
            "lib/libmiddle.so.1 -> ../usr/lib/libmiddle.so.1",
            "lib/libnss_dns.so.2",
            "lib/libopened.so.3",
            "lib/libplugged.so.1",
            "usr/",
            "usr/lib/",
            "usr/lib/libmiddle.so.1",
        ];
        assert_eq!(list(&root), kept);
        // The image tool is told of exactly these.
        let told: Vec<String> = tree
            .deployed("rootfs", "definitions")
            .lines()
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect();
        let paths: Vec<&str> =
            kept.iter().map(|line| line.split(' ').next().unwrap().trim_end_matches('/')).collect();
        assert_eq!(told, paths);
        // The configuration may keep all that there is.
        tree.write("product/demo/DLOPEN", "*\n");
        tree.builds("rootfs").logs("rootfs", "deploy", "");
        assert!(tree.built("deploy/rootfs/root/lib/lib of two words.so.1").exists());
    }
}

/// Two packages with files of known sizes.
fn with_sizes(tree: Tree) -> Tree {
    with_rootfs(tree)
        .file("product/demo/ROOTFS", "big\nsmall\n")
        .package("big", &listed("\tmkdir \"$2/share\"\n\thead -c 5000 /dev/zero >\"$2/share/a file\"\n\thead -c 3000 /dev/zero >\"$2/share/b\""))
        .package("small", &listed("\tmkdir \"$2/etc\"\n\thead -c 100 /dev/zero >\"$2/etc/c\""))
}

#[test]
fn sizes_are_listed_with_their_packages() {
    let tree = with_sizes(Tree::new());
    tree.builds("rootfs");
    assert_eq!(
        tree.deployed("rootfs", "sizes"),
        "5000\t/share/a file\tbig\n3000\t/share/b\tbig\n100\t/etc/c\tsmall\n"
    );
}

#[test]
fn more_than_the_budget_fails_the_build_and_names_the_biggest() {
    for tree in Tree::both() {
        let tree = with_sizes(tree).file("product/demo/SIZE_BUDGET", "files 16K\nrootfs 4K\n");
        tree.builds("rootfs");
        tree.write("product/demo/SIZE_BUDGET", "files 7K # what the flash holds\n");
        tree.mk("-q tiny demo rootfs").has("! error: rootfs: build failed").has(
            "
            !     `files` has 8.0KiB, which is 932B more than the 7.0KiB of SIZE_BUDGET
            !     biggest files, unpacked:
            !        4.9KiB /share/a file (big)
            !        3.0KiB /share/b (big)
            !          100B /etc/c (small)
            !     biggest packages, unpacked:
            !        7.9KiB big
            !          100B small
            ",
        );
        tree.write("product/demo/tiny/SIZE_BUDGET", "# the board has less\nrootfs 2900\n");
        tree.mk("-q tiny demo rootfs")
            .has("! error: rootfs: deploy failed")
            .has("`rootfs` has 3.0KiB, which is 100B more than the 2.9KiB of SIZE_BUDGET");
        tree.write("product/demo/tiny/SIZE_BUDGET", "rotfs 1\n");
        tree.mk("-q tiny demo rootfs")
            .has("SIZE_BUDGET: `rotfs` is neither `files` nor a package that makes an image");
    }
}
