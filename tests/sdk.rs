//! `mk sdk`: the recipe that comes with `mk`, with a toolchain that only passes on to the machine's compiler.

#![allow(clippy::unwrap_used)]

mod harness;

use std::path::Path;
use std::process::{Command, Output};

use harness::Tree;

fn shipped(path: &str) -> String {
    fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A product with one library, which needs another, and a tree with the recipe `sdk`.
fn with_kit(tree: Tree) -> Tree {
    let tree = ["build", "assemble.sh", "environment", "relocate", "README"]
        .iter()
        .fold(tree, |tree, file| tree.file(&format!("pkg/sdk/{file}"), &shipped(&format!("pkg/sdk/{file}"))));
    tree.file("board/tiny/TOOLCHAIN", &format!("TARGET={}-tiny-linux\n", std::env::consts::ARCH))
        .file("product/demo/ROOTFS", "one\n")
        .package(
            "toolchain",
            r#"
            deploy() {
                mkdir -p "$TCDIR/bin" "$TCDIR/$TARGET/include"
                program "$TARGET-gcc" "exec gcc -I\"$TCDIR/$TARGET/include\" -L\"$TCDIR/$TARGET/lib\" \"\$@\""
                program "$TARGET-pkg-config" "exec pkg-config \"\$@\""
                ln -s "$TCDIR/bin/$TARGET-gcc" "$TCDIR/bin/$TARGET-cc"
                ln -s "$(command -v ar)" "$TCDIR/bin/$TARGET-ar"
                echo "set(CMAKE_C_COMPILER $TCDIR/bin/$TARGET-gcc)" >"$TCDIR/toolchain.cmake"
                echo '#define NUMBER wrong' >"$TCDIR/$TARGET/include/number.h"
            }
            program() {
                printf '#!/bin/sh\n%s\n' "$2" >"$TCDIR/bin/$1"
                chmod 755 "$TCDIR/bin/$1"
            }
            "#,
        )
        .package(
            "one",
            r#"
            DEPENDS="toolchain two"
            deploy() {
                mkdir -p "$2/include" "$2/lib/modules" "$2/share/pkgconfig" "$2/bin"
                echo '#include <two.h>' >"$2/include/one.h"
                echo '#define NUMBER 3' >"$2/include/number.h"
                echo 'int one(void) { return 1; }' | gcc -shared -x c - -o "$2/lib/libone.so"
                printf 'Name: one\nDescription: one\nVersion: 1\nRequires: two\nLibs: -L/lib -lone\nCflags: -I/include\n' \
                    >"$2/share/pkgconfig/one.pc"
            }
            "#,
        )
        .package(
            "two",
            r#"
            DEPENDS=toolchain
            deploy() {
                mkdir -p "$2/include" "$2/lib/pkgconfig"
                echo 'int one(void); int two(void);' >"$2/include/two.h"
                echo 'int two(void) { return 2; }' | gcc -shared -x c - -o "$2/lib/libtwo.so"
                printf 'Name: two\nDescription: two\nVersion: 2\nLibs: -L/lib -ltwo\nCflags: -I/include\n' \
                    >"$2/lib/pkgconfig/two.pc"
            }
            "#,
        )
}

/// Runs a script in bash, as a user who knows nothing of `mk`.
fn bash(folder: &Path, script: &str) -> Output {
    Command::new("bash")
        .args(["-euc", script])
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap()
}

#[track_caller]
fn says(folder: &Path, script: &str) -> String {
    let output = bash(folder, script);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

const USE: &str = r#"
    . "$sdk/environment"
    cat >prog.c <<END
    #include <number.h>
    #include <one.h>
    #include <stdio.h>
    int main(void) { printf("%d\n", one() + two() + NUMBER); return 0; }
END
    cat >Makefile <<'END'
CFLAGS += $(shell $(PKG_CONFIG) --cflags one)
LDLIBS += $(shell pkg-config --libs one)
END
    cat >CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.13)
project(prog C)
add_executable(prog prog.c)
target_link_libraries(prog one two)
END
    make prog >&2
    cmake -S . -B by-cmake >&2
    cmake --build by-cmake >&2
    export LD_LIBRARY_PATH="$SYSROOT/lib"
    echo "$(./prog) $(by-cmake/prog) $SDK $CC ${CXX:-none}"
"#;

#[test]
fn an_sdk_works_where_it_is_unpacked_and_where_it_is_moved() {
    for tree in Tree::both() {
        let tree = with_kit(tree);
        let cc = format!("{}-tiny-linux-gcc", std::env::consts::ARCH);
        tree.mk("-q sdk tiny demo").has("/workspace/tiny-demo-sdk.tar.xz");
        let home = fs_err::canonicalize(tree.at("home")).unwrap();
        says(
            &home,
            "tar xf ../workspace/tiny-demo-sdk.tar.xz; chmod -R u+w ../store ../workspace; rm -rf ../store ../workspace/tiny-demo",
        );
        let said = says(
            &home,
            &format!("CXX=g++ sdk=tiny-demo-sdk; mkdir work; cp -r tiny-demo-sdk work; cd work; {USE}"),
        );
        assert_eq!(said, format!("6 6 {}/work/tiny-demo-sdk {cc} none\n", home.display()));
        // Moved, and called by its whole path from elsewhere. Then by a shell that does not tell.
        let said = says(
            &home,
            &format!("mkdir other; mv work/tiny-demo-sdk moved; sdk=$PWD/moved; cd other; {USE}"),
        );
        assert_eq!(said, format!("6 6 {}/moved {cc} none\n", home.display()));
        let said =
            says(&home, "sh -c '. moved/environment; echo \"$SDK\"'; ! grep -r work/tiny-demo-sdk moved");
        assert_eq!(said, format!("{}/moved\n", home.display()));
        // What is of no use to a compiler stayed out; links do not lead to where it was made.
        let said = says(&home, "cd tiny-demo-sdk; ls; ls */lib; readlink bin/*-cc; cat host-programs");
        let ar = says(&home, "command -v ar");
        assert_eq!(
            said,
            format!(
                "README\nbin\nenvironment\nhost-programs\nrelocate\nrelocate.d\ntoolchain.cmake\n{}-tiny-linux\n\
                 libone.so\nlibtwo.so\npkgconfig\n{cc}\n{ar}gcc\npkg-config\n",
                std::env::consts::ARCH
            )
        );
    }
}

#[test]
fn an_sdk_says_why_it_cannot_be_used() {
    let tree = with_kit(Tree::new());
    tree.mk("-q sdk tiny demo --output ../home");
    let home = fs_err::canonicalize(tree.at("home")).unwrap();
    says(
        &home,
        "tar xf *.xz; mkdir 'with space'; cp -r tiny-demo-sdk 'with space'; echo no-such-gcc >>tiny-demo-sdk/host-programs",
    );
    let output = bash(&home, ". tiny-demo-sdk/environment");
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
        (Some(1), "tiny-demo-sdk: this machine lacks programs that the toolchain calls: no-such-gcc\n")
    );
    let output = bash(&home, ". 'with space/tiny-demo-sdk/environment'");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("move the SDK to one without spaces") && !output.status.success(), "{said}");
}

#[test]
fn the_archive_is_the_same_each_time_and_described() {
    let tree = with_kit(Tree::new());
    let said = tree.mk("sdk tiny demo --format json");
    let json: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(json["board"], "tiny");
    assert_eq!(json["file"], tree.at("workspace/tiny-demo-sdk.tar.xz").display().to_string());
    assert_eq!(json["size"], fs_err::metadata(tree.at("workspace/tiny-demo-sdk.tar.xz")).unwrap().len());
    let sum = says(&tree.at("workspace"), "sha256sum tiny-demo-sdk.tar.xz");
    assert_eq!(sum.split(' ').next().unwrap(), json["sha256"]);
    tree.mk("-q verify tiny demo sdk").is("
        1 of 1 packages came out the same
    ");
}

#[test]
fn a_tree_says_which_package_makes_the_sdk() {
    let tree = Tree::new().package("kit", "deploy() {\n touch \"$2/a.tar\" \"$2/b.tar\"\n}\n");
    tree.mk("-q sdk tiny demo").is("
        ! error: unknown package `sdk`: there is no `pkg/sdk/build`
        !   there are: kit
        ! hint: SDKPKG of TOOLCHAIN names the package that makes an SDK: see docs/sdk.md
        status 2
    ");
    tree.write("product/demo/TOOLCHAIN", "SDKPKG=kit\n");
    tree.mk("-q sdk tiny demo").is("
        ! error: `kit` must deploy one file, the SDK's archive; it deploys 2
        status 3
    ");
    tree.write("pkg/kit/build", "deploy() {\n touch \"$2/a.tar\"\n}\n");
    tree.mk("-q sdk tiny demo").is("
        /workspace/a.tar  0 B
    ");
}
