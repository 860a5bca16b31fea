//! Recipes that are makefiles, run by the real make with the machine's own compiler.

mod harness;

use harness::Tree;

/// The machine's compiler by the names of a cross toolchain.
const TOOLCHAIN: &str = r#"
deploy() {
	mkdir -p "$TCDIR/bin"
	for tool in ar as ld nm objcopy objdump ranlib readelf size strings strip gcc cpp; do
		ln -s "$(command -v $tool)" "$TCDIR/bin/$TARGET-$tool"
	done
}
"#;

/// A program and its library, as three binary packages.
const HELLO: &str = "#! /usr/bin/make -f
# Greets
VERSION = 1.0
DEPENDS = toolchain
DESCRIPTION = Says hello
OPK_PACKAGES = hello libhello libhello-dev
REVISION = 2

build: $(OPK_WORK_AREA)/build

$(OPK_WORK_AREA)/build:
	$(CC) -shared -fPIC -Wl,-soname,libhello.so.1 -o tmp/libhello.so.1 tmp/src/libhello.c
	$(CC) -o tmp/hello tmp/src/hello.c tmp/libhello.so.1
	touch $@

install: build
	install -D tmp/hello tmp/hello.data/bin/hello
	install -D -m 644 tmp/libhello.so.1 tmp/libhello.data/lib/libhello.so.1
	install -D -m 644 tmp/src/hello.h tmp/libhello-dev.data/include/hello.h
	ln -s libhello.so.1 tmp/libhello-dev.data/libhello.so
";

fn with_toolchain(tree: Tree) -> Tree {
    tree.file("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl\n").package("toolchain", TOOLCHAIN)
}

fn with_hello(tree: Tree) -> Tree {
    with_toolchain(tree)
        .package("hello", HELLO)
        .file("pkg/hello/src/hello.h", "int hello(void);\n")
        .file("pkg/hello/src/libhello.c", "int hello(void) { return 0; }\n")
        .file("pkg/hello/src/hello.c", "int hello(void); int main(void) { return hello(); }\n")
}

#[test]
fn the_targets_build_and_install_make_the_deploy_folder_from_the_data_of_all_binary_packages() {
    for tree in Tree::both() {
        let tree = with_hello(tree);
        tree.builds("hello");
        assert_eq!(
            tree.list_deployed("hello"),
            [
                "bin/",
                "bin/hello",
                "binary_packages/",
                "binary_packages/hello",
                "binary_packages/libhello",
                "binary_packages/libhello-dev",
                "include/",
                "include/hello.h",
                "lib/",
                "lib/libhello.so.1",
                "libhello.so -> libhello.so.1",
                "rootfs_files.txt"
            ]
        );
        // What only serves development stays out of the image.
        assert_eq!(
            tree.deployed("hello", "rootfs_files.txt"),
            "bin m 755 0 0\nbin/hello m 755 0 0\nlib m 755 0 0\nlib/libhello.so.1 m 644 0 0\n"
        );
        // Stripped like everything that is deployed.
        let symbols =
            std::process::Command::new("nm").arg(tree.built("deploy/hello/bin/hello")).output().unwrap();
        assert_eq!(String::from_utf8(symbols.stdout).unwrap(), "");
        tree.logs(
            "hello",
            "deploy",
            "
            install -D tmp/hello tmp/hello.data/bin/hello
            install -D -m 644 tmp/libhello.so.1 tmp/libhello.data/lib/libhello.so.1
            install -D -m 644 tmp/src/hello.h tmp/libhello-dev.data/include/hello.h
            ln -s libhello.so.1 tmp/libhello-dev.data/libhello.so
            ",
        );
        tree.mk("plan tiny demo hello").is("
            reuse  toolchain
            reuse  hello 1.0
        ");
    }
}

#[test]
fn the_environment_is_that_of_the_format() {
    let recipe = "#!/usr/bin/make -f
VERSION = 1.2-3
build:
	@env | grep -E '^(OPK_.*|AR|AS|CC|CPP|CXX|LD|NM|OBJCOPY|OBJDUMP|RANLIB|READELF|SIZE|STRINGS|STRIP|TARGET)=' | sort
	@echo CC is $(CC), of $(origin CC)
install:
	mkdir tmp/a.data
";
    for tree in Tree::both() {
        let tree = tree
            .env("CC", "the caller's")
            .file("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl\nCXX='any-g++ -x'\n")
            .package("a", recipe);
        tree.builds("a");
        let build = std::process::Command::new("bash").args(["-c", "echo $MACHTYPE"]).output().unwrap();
        let build = String::from_utf8(build.stdout).unwrap().trim().to_owned();
        let cpu = build.split('-').next().unwrap();
        tree.logs(
            "a",
            "build",
            &format!(
                "
            AR=any-linux-musl-ar
            AS=any-linux-musl-as
            CC=any-linux-musl-gcc
            CPP=any-linux-musl-cpp
            CXX=any-g++ -x
            LD=any-linux-musl-ld
            NM=any-linux-musl-nm
            OBJCOPY=any-linux-musl-objcopy
            OBJDUMP=any-linux-musl-objdump
            OPK_BINARY_VERSION=1.2-3
            OPK_BUILD_ARCH={cpu}-linux-gnu
            OPK_BUILD_ARCH_CPU={cpu}
            OPK_BUILD_ARCH_GNU={build}
            OPK_BUILD_ARCH_KERNEL=linux
            OPK_BUILD_ARCH_LIBS=gnu
            OPK_BUILD_PLAT=generic
            OPK_HOST_ARCH=any-linux-musl
            OPK_HOST_ARCH_CPU=any
            OPK_HOST_ARCH_GNU=any-linux-musl
            OPK_HOST_ARCH_KERNEL=linux
            OPK_HOST_ARCH_LIBS=musl
            OPK_PACKAGES=a
            OPK_SOURCE=a
            OPK_SOURCE_VERSION=1.2-3
            OPK_SOURCE_VERSION_UPSTREAM=1.2-3
            OPK_WORK_AREA=/mk/root/build/tmp
            RANLIB=any-linux-musl-ranlib
            READELF=any-linux-musl-readelf
            SIZE=any-linux-musl-size
            STRINGS=any-linux-musl-strings
            STRIP=any-linux-musl-strip
            TARGET=any-linux-musl
            CC is any-linux-musl-gcc, of environment
            "
            ),
        );
    }
}

#[test]
fn what_the_text_names_is_in_the_environment_and_the_rest_makes_no_difference() {
    let tree = Tree::new()
        .board("other")
        .file("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl\nFLAGS='-O1 -g'\n")
        .file("board/other/TOOLCHAIN", "TARGET=any-linux-musl\nFLAGS=-O2\n")
        .package("a", "#! /usr/bin/make -f\nVERSION = $(OS_NAME)-1\nbuild:\n\t@echo $(VERSION) $(PKGNAME) $(GIVEN)\ninstall:\n\tmkdir tmp/a.data\n")
        .package("b", "#! /usr/bin/make -f\nbuild:\n\t@echo $(FLAGS) $(BOARD) $(OPK_HOST_PLAT) $(NUMJOBS)\ninstall:\n\tmkdir tmp/b.data\n")
        .env("GIVEN", "by the caller");
    tree.builds("a b").logs("a", "build", "Pygos-1 a by the caller\n").logs(
        "b",
        "build",
        "-O1 -g tiny tiny 1\n",
    );
    // Both boards share what names neither of them.
    tree.mk("plan other demo a b").is("
        reuse  a Pygos-1
        build  b          (never built)
	");
}

#[test]
fn source_and_patches_are_in_the_work_area_and_the_changelog_names_the_version() {
    let recipe = "#! /usr/bin/make -f
URL = ARCHIVES
TARBALL = $(OPK_SOURCE)-$(OPK_SOURCE_VERSION_UPSTREAM).tar.gz
SHA256SUM = SHA256(greet-1.0.tar.gz)
SRCDIR = $(OPK_SOURCE)-$(OPK_SOURCE_VERSION_UPSTREAM)
build:
	cat tmp/src/text changelog
	echo changed >tmp/src/text
	$(MAKE) -C tmp/src DEST=../greet.data
	touch $(OPK_WORK_AREA)/build
install:
	test -e tmp/build
	cp tmp/src/text tmp/greet.data
";
    for tree in Tree::both() {
        let tree = tree
            .archive(
                "greet-1.0.tar.gz",
                &[("greet-1.0/text", "one\n"), ("greet-1.0/Makefile", "all:\n\tmkdir $(DEST)\n")],
            )
            .package("greet", recipe)
            .file("pkg/greet/changelog", "greet (1.0-2) trunk\n\n  * Second.\n\ngreet (1.0-1) trunk\n")
            .file("pkg/greet/1.patch", "--- a/text\n+++ b/text\n@@ -1 +1 @@\n-one\n+patched\n");
        tree.builds("greet");
        assert!(tree.log("greet", "build").contains("\npatched\ngreet (1.0-2) trunk\n"));
        assert_eq!(tree.deployed("greet", "text"), "changed\n");
        tree.mk("plan tiny demo greet").is("reuse  greet 1.0\n");
        // The source of the next build is what it was.
        tree.write("pkg/greet/changelog", "greet (1.0-3) trunk\n");
        tree.builds("greet");
        assert!(tree.log("greet", "build").contains("\npatched\ngreet (1.0-3) trunk\n"));
    }
}

#[test]
fn every_file_that_make_reads_is_an_input() {
    let tree = Tree::new()
        .file("pkg/a/own.mk", "OWN = own\n")
        .file("scripts/common.mk", "COMMON = common\n")
        .package("a", "#! /usr/bin/make -f\ninclude own.mk $(SCRIPTDIR)/scripts/common.mk\nVERSION = $(OWN)-$(COMMON)\nbuild:\n\t@echo $(VERSION)\ninstall:\n\tmkdir tmp/a.data\n");
    tree.builds("a").logs("a", "build", "own-common\n");
    tree.write("scripts/common.mk", "COMMON = new\n");
    tree.mk("plan tiny demo a").is("build  a own-new  (VERSION: own-common → own-new)\n");
    tree.builds("a").logs("a", "build", "own-new\n");
    tree.write("pkg/a/own.mk", "OWN = own\n# a comment\n");
    tree.mk("plan tiny demo a").has("build  a own-new  (file own.mk: ");
    tree.builds("a");
    tree.mk("tiny demo a").has("nothing to do");
}

#[test]
fn mistakes_are_told_with_their_place() {
    let tree = Tree::new();
    let head = "#! /usr/bin/make -f\n";
    for (text, said) in [
        ("install:\n\ttrue\n", "pkg/a/build:1: there is no target `build`, which builds the package"),
        (
            "build:\n\ttrue\n",
            "pkg/a/build:1: there is no target `install`, which installs it into `tmp/a.data`",
        ),
        ("all: install\nbuild:\n\ttrue\n", "pkg/a/build:1: there is no target `install`"),
        ("build:\ninstall:\n    cp a b\n", "pkg/a/build:4: missing separator"),
        ("include gone.mk\nbuild:\ninstall:\n", "pkg/a/build: No rule to make target 'gone.mk'"),
        ("$(error no such board)\nbuild:\ninstall:\n", "pkg/a/build:2: no such board"),
        ("DEPENDS = nothing\nbuild:\ninstall:\n", "pkg/a/build: DEPENDS names unknown package `nothing`"),
        ("TARBALL = a.tar\nbuild:\ninstall:\n", "pkg/a/build: TARBALL is `a.tar` but SHA256SUM is not set"),
    ] {
        tree.write("pkg/a/build", &format!("{head}{text}"));
        tree.mk("-q tiny demo a").has(&format!("! error: {said}")).has("status 3");
    }
    tree.write("pkg/a/build", "#!/usr/bin/make\nbuild:\ninstall:\n");
    tree.mk("-q tiny demo a").is("
        ! error: pkg/a/build:1: `#!/usr/bin/make` lacks the `-f` of makefiles that are run
        ! hint: a recipe that is a makefile begins with `#! /usr/bin/make -f`
        status 3
    ");
    for (text, said) in [
        ("build:\ninstall:\n", "the target `install` left no folder `tmp/a.data` for the binary package `a`"),
        (
            "OPK_PACKAGES = a b\nbuild:\ninstall:\n\tmkdir tmp/a.data tmp/b.data\n\ttouch tmp/a.data/x tmp/b.data/x\n",
            "the binary packages `a` and `b` both have `/x`",
        ),
    ] {
        tree.write("pkg/a/build", &format!("{head}{text}"));
        tree.mk("-q tiny demo a").has("! error: a: deploy failed").has(said).has("status 1");
    }
}

#[test]
fn a_target_that_fails_is_shown_with_its_line() {
    for tree in Tree::both() {
        let tree = tree
            .package("a", "#! /usr/bin/make -f\nbuild:\n\t@true\n\t@echo one && \\\n\t\tfalse\ninstall:\n");
        let seen = if tree.has_rooms() { "/mk/tree" } else { "/tree" };
        tree.mk("-q tiny demo a").has(&format!(
            "
            ! error: a: build failed with exit status 2
            !   at pkg/a/build:4: @echo one && false
            !   first errors:
            !     make: *** [{seen}/pkg/a/build:4: build] Error 1
            "
        ));
    }
}

#[test]
fn a_data_folder_may_bring_its_own_list_for_the_image() {
    let tree = Tree::new().package("a", "#! /usr/bin/make -f\nbuild:\ninstall:\n\tmkdir -p tmp/a.data/bin tmp/a.data/share\n\ttouch tmp/a.data/bin/tool tmp/a.data/share/manual\n\techo 'bin/tool m 4755 0 7' >tmp/a.data/rootfs_files.txt\n");
    tree.builds("a");
    assert_eq!(tree.deployed("a", "rootfs_files.txt"), "bin/tool m 4755 0 7\n");
    assert_eq!(tree.list_deployed("a"), ["bin/", "bin/tool", "rootfs_files.txt", "share/", "share/manual"]);
}

#[test]
fn its_own_targets_run_in_turn_and_makes_below_share_the_jobs() {
    let tree = Tree::new().env("MK_JOBS", "3").package("a", "#! /usr/bin/make -f\nbuild: first second\nfirst:\n\t@$(MAKE) --version >/dev/null; echo first\nsecond:\n\t@echo second\n\t@$(MAKE) --no-print-directory -f sub.mk\ninstall:\n\tmkdir tmp/a.data\n")
        .file("pkg/a/sub.mk", "all:\n\t@case '$(MAKEFLAGS)' in *--jobserver-auth*) echo shared;; esac\n");
    tree.builds("a").logs("a", "build", "first\nsecond\nshared\n");
}

#[test]
fn the_commands_that_explain_a_package_know_makefiles() {
    let tree = with_hello(Tree::new()).package("release-tiny", "DEPENDS=hello\n");
    tree.mk("show tiny demo hello").is("
        hello 1.0: Says hello

        DEPENDS       pkg/hello/build:4  toolchain
        DESCRIPTION   pkg/hello/build:5  Says hello
        OPK_PACKAGES  pkg/hello/build:6  hello libhello libhello-dev
        REVISION      pkg/hello/build:7  2
        VERSION       pkg/hello/build:3  1.0
	");
    tree.builds("hello");
    tree.write("pkg/hello/build", &HELLO.replace("1.0", "1.1"));
    tree.mk("why tiny demo hello").has("VERSION: 1.0 → 1.1");
    tree.mk("log hello deploy").has("install -D tmp/hello tmp/hello.data/bin/hello");
    let mut command = tree.command(&["shell", "--fresh", "tiny", "demo", "hello"]);
    fs_err::write(tree.at("input"), "build \"$1\" \"$2\" >/dev/null\nls tmp\n").unwrap();
    command.stdin(fs_err::File::open(tree.at("input")).unwrap().into_parts().0);
    tree.run(&mut command).has("build\nhello\nlibhello.so.1\nsrc\n");
    tree.write("pkg/hello/old.conf", "");
    tree.write("pkg/hello/build", &HELLO.replace("touch $@", "make -j8 -C tmp/src"));
    tree.mk("lint --no-shellcheck hello")
        .has(
            "pkg/hello/build:14: make-jobs: `make` cannot share the jobs of all packages here; say `$(MAKE)`",
        )
        .has("pkg/hello/build:1: unused-file: nothing names the file `old.conf`");
}

#[test]
fn bash_recipes_have_the_toolchain_s_variables_where_they_name_them_but_programs_do_not() {
    for tree in Tree::both() {
        let tree = with_toolchain(tree)
            .env("CC", "the caller's")
            .package("a", "build() {\n\techo \"$CC $STRIP [$(env | grep -c '^CC=')]\"\n\texport CC\n\tenv | grep '^CC='\n}\n")
            ;
        tree.builds("a");
        tree.logs("a", "build", "any-linux-musl-gcc any-linux-musl-strip [0]\nCC=any-linux-musl-gcc\n");
        tree.write("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl\nSTRIP=true\n");
        tree.mk("plan tiny demo a").is("build  a  (STRIP: any-linux-musl-strip → true)\n");
    }
}

#[test]
fn what_a_helper_does_with_these_names_is_no_reason_to_have_them() {
    let tree = with_toolchain(Tree::new()).package("a", "build() {\n\trun_configure . || true\n}\n");
    tree.builds("a");
    tree.write("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl\nCXX=other\n");
    tree.mk("plan tiny demo a").is("reuse  a\n");
}
