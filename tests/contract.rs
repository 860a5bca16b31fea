//! Every row of the recipe contract's tables, by real recipes that the real program runs: in rooms, and without where the row holds
//! for both.

mod harness;

use harness::{Tree, list, picture};

/// What the driver promises a step, asked for by name.
const SHOW: &str = r#"
	show() {
		local name
		for name in "$@"; do
			echo "$name=${!name}"
		done
	}
"#;

// Places

#[test]
fn everything_generated_goes_below_the_workspace_and_the_store() {
    for tree in Tree::both() {
        let tree = tree
            .archive("a-1.tar.gz", &[("a-1/file", "text\n")])
            .package("a", "URL=ARCHIVES TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM='SHA256(a-1.tar.gz)'\nbuild() { touch made ~/made; }")
            .package("release-tiny", "DEPENDS=a");
        let before = picture(&tree.at("tree"));
        tree.builds("");
        assert_eq!(picture(&tree.at("tree")), before);
        assert_eq!(list(&tree.at("home")), [""; 0]);
        let mut generated = list(&tree.at("workspace"));
        generated.retain(|path| path.matches('/').count() == 1 && path.ends_with('/'));
        assert_eq!(generated, ["download/", "src/", "tiny-demo/"]);
    }
}

#[test]
fn each_place_has_its_variable_and_its_folder_in_the_workspace() {
    for tree in Tree::both() {
        let tree = tree
            .archive("a-1.tar.gz", &[("a-1/file", "text\n")])
            .package(
                "a",
                &(SHOW.to_owned()
                    + r#"
	URL=ARCHIVES TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM='SHA256(a-1.tar.gz)'
	build() {
		show SCRIPTDIR PKGDOWNLOADDIR PKGSRCDIR BUILDROOT PKGDEPLOYDIR TCDIR PKGLOGDIR PKGBUILDDIR CMAKETCFILE PKGNAME
		ls "$SCRIPTDIR/pkg/a"; ls "$PKGDOWNLOADDIR"; ls "$PKGSRCDIR/a-1"
		[ -w "$PKGBUILDDIR" ] && [ -d "$PKGLOGDIR" ] && [ -d "$BUILDROOT" ]
	}
	deploy() {
		mkdir "$2/lib" "$TCDIR/lib"
		touch "$2/lib/mine" "$TCDIR/lib/common"
	}"#),
            )
            .package("release-tiny", "DEPENDS=a");
        tree.builds("");
        tree.logs(
            "a",
            "build",
            "
            SCRIPTDIR=/mk/tree
            PKGDOWNLOADDIR=/mk/download
            PKGSRCDIR=/mk/src
            BUILDROOT=/mk/root
            PKGDEPLOYDIR=/mk/root/deploy
            TCDIR=/mk/root/toolchain
            PKGLOGDIR=/mk/root/log
            PKGBUILDDIR=/mk/root/build
            CMAKETCFILE=/mk/root/toolchain/toolchain.cmake
            PKGNAME=a
            build
            a-1.tar.gz
            file
            ",
        );
        assert!(tree.at("workspace/download/a-1.tar.gz").is_file());
        assert_eq!(fs_err::read_to_string(tree.at("workspace/src/a-1/file")).unwrap(), "text\n");
        assert!(tree.built("deploy/a/lib/mine").exists());
        assert!(tree.built("toolchain/lib/common").exists() || !tree.has_rooms());
        assert!(tree.built("log/a-build.log").exists() && tree.built("log/a-deploy.log").exists());
    }
}

#[test]
fn the_tree_is_read_only_while_a_package_is_built() {
    let tree = Tree::new()
        .package("a", r#"build() { ! touch "$SCRIPTDIR/pkg/a/new" && ! echo >>"$SCRIPTDIR/pkg/a/build"; }"#);
    tree.builds("a");
    assert!(tree.log("a", "build").contains("Read-only file system"));
}

#[test]
fn the_download_folder_is_shared_by_all_boards_and_products() {
    for tree in Tree::both() {
        let tree = tree
            .board("other")
            .product("else")
            .archive("a-1.tar.gz", &[("a-1/file", "text\n")])
            .package("a", "URL=ARCHIVES TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM='SHA256(a-1.tar.gz)'\nbuild() { cat $1/file; }");
        tree.builds("a");
        fs_err::remove_file(tree.at("archives/a-1.tar.gz")).unwrap();
        tree.mk(&format!("-q --store {} other else a", tree.at("new").display())).is("");
    }
}

#[test]
fn an_archive_is_there_for_steps_that_ask_for_it_also_where_its_source_was_unpacked_before() {
    for tree in Tree::both() {
        let recipe = |version: &str| {
            format!(
                "VERSION={version} URL=ARCHIVES TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM='SHA256(a-1.tar.gz)'\nbuild() {{ cp \"$PKGDOWNLOADDIR/a-1.tar.gz\" $2/; }}"
            )
        };
        let tree = tree.archive("a-1.tar.gz", &[("a-1/file", "text\n")]).package("a", &recipe("1"));
        tree.builds("a");
        fs_err::remove_dir_all(tree.at("workspace/download")).unwrap();
        tree.write("pkg/a/build", &recipe("2"));
        tree.builds("a");
        assert_eq!(tree.list_deployed("a"), ["a-1.tar.gz"]);
    }
}

#[test]
fn programs_of_the_toolchain_come_first_on_the_path_by_the_target_s_name() {
    for tree in Tree::both() {
        let tree = tree
            .file("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl\n")
            .package("toolchain", r#"deploy() { mkdir "$TCDIR/bin"; printf '#!/bin/sh\necho mine\n' | tee "$TCDIR/bin/$TARGET-cc" >"$TCDIR/bin/ls"; chmod +x "$TCDIR"/bin/*; }"#)
            .package("a", r#"DEPENDS=toolchain; build() { command -v "$TARGET-cc"; ls; echo "${PATH%%:*}"; }"#);
        tree.builds("a").logs(
            "a",
            "build",
            "/mk/root/toolchain/bin/any-linux-musl-cc\nmine\n/mk/root/toolchain/bin\n",
        );
    }
}

// Invocation

#[test]
fn a_board_and_a_product_build_the_board_s_release_and_only_what_it_needs() {
    let tree = Tree::new()
        .package("release-tiny", "VERSION=2 DEPENDS='b a'")
        .package("a", "VERSION=1.0 DEPENDS=b")
        .package("b", "build() { echo b; }")
        .package("idle", "build() { exit 1; }");
    tree.mk("tiny demo").is("
        ! b: build
        ! b: build done in #s
        ! b: built in #s  (never built)
        ! a: built in #s  (never built)
        ! release-tiny: built in #s  (never built)
        ! 3 packages: 3 built
        ! time:…
        ! critical path…
    ");
    tree.mk("tiny demo").is("! nothing to do: 3 packages reused in #s\n");
}

#[test]
fn named_packages_are_built_with_what_they_need_and_nothing_else() {
    let tree = Tree::new()
        .package("a", "DEPENDS=b")
        .package("b", "")
        .package("c", "")
        .package("idle", "build() { exit 1; }");
    tree.mk("--format plain tiny demo a c").is("
        ! b: built in #s  (never built)
        ! a: built in #s  (never built)
        ! c: built in #s  (never built)
        ! 3 packages: 3 built
        ! time:…
        ! critical path…
    ");
}

#[test]
fn the_tree_is_found_by_option_then_environment_then_upwards_from_here_then_from_the_program() {
    let plan = |tree: &Tree, words: &[&str], from: &str, program: &str| {
        let mut command = tree.command(words);
        command.current_dir(tree.at(from));
        if !program.is_empty() {
            let mut other = std::process::Command::new(tree.at(program));
            other.args(words).env_clear().current_dir(tree.at(from));
            for (name, value) in command.get_envs() {
                other.env(name, value.unwrap());
            }
            command = other;
        }
        tree.run(&mut command).text()
    };
    let tree = Tree::new().package("a", "VERSION=environment");
    for name in ["option", "here"] {
        for folder in ["pkg/a", "board/tiny", "product/demo", "deep/down", "bin"] {
            fs_err::create_dir_all(tree.at(name).join(folder)).unwrap();
        }
        fs_err::write(tree.at(name).join("pkg/a/build"), format!("VERSION={name}")).unwrap();
    }
    let option = format!("--tree={}", tree.at("option").display());
    let found = |version: &str| format!("build  a {version}  (never built)\n");
    assert_eq!(plan(&tree, &["plan", "tiny", "demo", "a", &option], "here/deep/down", ""), found("option"));
    assert_eq!(plan(&tree, &["plan", "tiny", "demo", "a"], "here/deep/down", ""), found("environment"));
    let tree = tree.without_env("MK_TREE");
    assert_eq!(plan(&tree, &["plan", "tiny", "demo", "a"], "here/deep/down", ""), found("here"));
    fs_err::hard_link(harness::MK, tree.at("option/bin/mk"))
        .or_else(|_| fs_err::copy(harness::MK, tree.at("option/bin/mk")).map(drop))
        .unwrap();
    assert_eq!(plan(&tree, &["plan", "tiny", "demo", "a"], "here/deep/down", "option/bin/mk"), found("here"));
    assert_eq!(plan(&tree, &["plan", "tiny", "demo", "a"], "workspace", "option/bin/mk"), found("option"));
    let elsewhere = format!("--workspace={}", tree.at("workspace").display());
    let words = ["plan", "tiny", "demo", "a", &elsewhere];
    assert_eq!(plan(&tree, &words, "here/deep/down", "option/bin/mk"), found("here"));
    assert_eq!(
        plan(&tree, &["plan", "tiny", "demo", "a", "-t", "nowhere"], "workspace", "").lines().last(),
        Some("status 2")
    );
    tree.mk("plan -t ../home tiny demo").is("
        ! error: `/home` is no tree: it has no folder `pkg`
        ! hint: a tree holds `pkg/`, `board/` and `product/`; name it with --tree or MK_TREE
        status 2
    ");
}

#[test]
fn a_product_s_list_of_boards_is_taken_line_by_line() {
    let tree = Tree::new().board("tiny2").package("a", "").file("product/demo/BOARDS", "tiny\r\nbig");
    tree.builds("a");
    tree.mk("plan tiny2 demo a").is("
        ! error: product `demo` does not support board `tiny2`
        !   product/demo/BOARDS lists: tiny, big
        ! hint: did you mean `tiny`?
        status 2
    ");
    tree.write("board/tiny/BOARDS", "tiny2\n");
    tree.mk("plan tiny2 demo a").has("status 2");
}

// Variables of a recipe

#[test]
fn version_is_what_the_plan_shows() {
    let tree = Tree::new().package("a", "MAJOR=3; VERSION=$MAJOR.1");
    tree.mk("plan tiny demo a").is("build  a 3.1  (never built)\n");
}

#[test]
fn the_archive_s_name_is_appended_to_its_url_with_one_slash_between() {
    for url in ["ARCHIVES", "ARCHIVES/"] {
        let tree = Tree::new().archive("a-1.tar.gz", &[("a-1/file", "text\n")]).package(
            "a",
            &format!("URL={url} TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM='SHA256(a-1.tar.gz)'\nbuild() {{ cat \"$1/file\"; }}"),
        );
        tree.builds("a").logs("a", "build", "text\n");
    }
}

#[test]
fn several_urls_are_tried_in_order_and_several_digests_are_accepted() {
    for tree in Tree::both() {
        let tree = tree.archive("a-1.tar.gz", &[("a-1/file", "text\n")]).package(
            "a",
            &format!(
                "URL='ARCHIVES/nothing ARCHIVES' TARBALL=a-1.tar.gz SRCDIR=a-1\nSHA256SUM='{} SHA256(a-1.tar.gz)'\nbuild() {{ cat \"$1/file\"; }}",
                "0".repeat(64)
            ),
        );
        tree.builds("a").logs("a", "build", "text\n");
    }
}

#[test]
fn an_archive_with_another_digest_is_refused_with_both_digests() {
    let tree = Tree::new().archive("a-1.tar.gz", &[("a-1/file", "text\n")]).package(
        "a",
        &format!("URL=ARCHIVES TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM={}\nbuild() {{ :; }}", "0".repeat(64)),
    );
    tree.mk("-q tiny demo a").has("checksum mismatch for `a-1.tar.gz`").has("status 4");
    assert!(!tree.at("workspace/download/a-1.tar.gz").exists());
}

#[test]
fn a_package_without_an_archive_has_no_source() {
    for tarball in ["", "TARBALL="] {
        for tree in Tree::both() {
            let tree = tree.package("a", &format!("{tarball} URL=http://nowhere.invalid\nprepare() {{ exit 1; }}\nbuild() {{ ls -A \"$PKGSRCDIR\"; }}"));
            tree.builds("a").logs("a", "build", "");
            assert!(!tree.built("log/a-prepare.log").exists());
        }
    }
}

#[test]
fn headers_and_libraries_of_exactly_the_named_packages_are_in_the_sysroot() {
    for tree in Tree::both() {
        let provide = |name: &str| {
            format!(
                "deploy() {{ mkdir -p $2/include $2/lib $2/share; touch $2/include/{name}.h $2/lib/lib{name}.so $2/share/{name}; }}"
            )
        };
        let look = r#"ls -d "$TCDIR/$TARGET"/*/*"#;
        let tree = tree
            .file("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl\n")
            .package("low", &provide("low"))
            .package("middle", &("DEPENDS=low; ".to_owned() + &provide("middle")))
            .package("other", &provide("other"))
            .package("top", &format!("DEPENDS='middle other'; build() {{ {look}; ls \"$PKGDEPLOYDIR\"; }}"))
            .package("alone", "DEPENDS=top; build() { ls -A $TCDIR; }");
        tree.builds("top alone").logs(
            "top",
            "build",
            "
            /mk/root/toolchain/any-linux-musl/include/middle.h
            /mk/root/toolchain/any-linux-musl/include/other.h
            /mk/root/toolchain/any-linux-musl/lib/libmiddle.so
            /mk/root/toolchain/any-linux-musl/lib/libother.so
            low
            middle
            other
            top
            ",
        );
        tree.logs("alone", "build", "");
    }
}

// Functions of a recipe

#[test]
fn each_function_has_its_working_folder_its_arguments_and_its_log() {
    for tree in Tree::both() {
        let say = |step: &str| {
            format!(
                "{step}() {{ echo \"{step} in $PWD with $#: $*\"; ls; touch made-by-{step}; echo loud >&2; }}\n"
            )
        };
        let tree = tree.archive("a-1.tar.gz", &[("a-1/file", "text\n")]).package(
            "a",
            &format!(
                "URL=ARCHIVES TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM='SHA256(a-1.tar.gz)'\n{}{}{}",
                say("prepare"),
                say("build"),
                say("deploy")
            ),
        );
        tree.builds("a");
        tree.logs("a", "prepare", "prepare in /mk/src/a-1 with 1: /mk/tree/pkg/a\nfile\nloud\n");
        tree.logs("a", "build", "build in /mk/root/build with 2: /mk/src/a-1 /mk/root/deploy/a\nloud\n");
        tree.logs(
            "a",
            "deploy",
            "deploy in /mk/root/build with 2: /mk/src/a-1 /mk/root/deploy/a\nmade-by-build\nloud\n",
        );
    }
}

#[test]
fn a_missing_function_does_nothing() {
    for tree in Tree::both() {
        let tree = tree
            .archive("a-1.tar.gz", &[("a-1/file", "text\n")])
            .package("a", "URL=ARCHIVES TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM='SHA256(a-1.tar.gz)'");
        tree.builds("a");
        assert_eq!(list(&tree.built("log")), ["events.json"]);
        assert_eq!(tree.list_deployed("a"), [""; 0]);
    }
}

#[test]
fn the_build_folder_of_a_failed_build_is_kept_whatever_is_built_afterwards() {
    for tree in Tree::both() {
        let tree = tree
            .package("a", "build() { echo text >made; }\ndeploy() { false; }")
            .package("b", "build() { echo other >made; }");
        tree.mk("-q tiny demo a").has("build folder kept: tiny-demo/failed/a/build");
        tree.builds("b");
        assert_eq!(fs_err::read_to_string(tree.built("failed/a/build/made")).unwrap(), "text\n");
    }
}

#[test]
fn where_bash_ends_a_step_itself_the_place_is_the_one_that_it_names() {
    for tree in Tree::both() {
        for (line, shown) in [
            ("set -u; echo \"$NOPE\"", true),
            (": \"${X:?need X}\"", true),
            ("exit 3", false),
            ("echo \"$SCRIPTDIR/pkg/other/file\"; exit 3", false),
        ] {
            tree.write("pkg/a/build", &format!("build() {{\n\techo before\n\t{line}\n}}\n"));
            let said = tree.mk("-q tiny demo a").text();
            let at = said.lines().find(|line| line.starts_with("!   at ")).unwrap_or_default();
            let expected = if shown { format!("!   at pkg/a/build:3: {line}") } else { String::new() };
            assert_eq!(at, expected, "{said}");
        }
    }
}

#[test]
fn steps_stop_at_the_first_failure_with_file_line_command_and_stack() {
    for tree in Tree::both() {
        let tree = tree
            .package("a", "help() {\n\tcat missing\n\techo after\n}\nbuild() {\n\techo before\n\thelp\n}\n");
        let hint =
            if tree.has_rooms() { "! hint: `mk shell tiny demo a` opens a shell in its room\n" } else { "" };
        tree.mk("-q tiny demo a").is(&format!(
            "! error: a: build failed with exit status 1\n\
             !   at pkg/a/build:2 in help(): cat missing\n\
             !   called from pkg/a/build:7 in build()\n\
             !   first errors:\n\
             !     cat: missing: No such file or directory\n\
             !   end of log:\n\
             !     before\n\
             !     cat: missing: No such file or directory\n\
             !   log: tiny-demo/log/a-build.log\n\
             !   build folder kept: tiny-demo/failed/a/build\n\
             {hint}status 1\n"
        ));
    }
}

#[test]
fn a_step_that_ends_with_a_no_is_told_with_its_function() {
    for tree in Tree::both() {
        let tree = tree.package("a", "VERSION=1\nbuild() {\n\techo x\n\t[ -n \"\" ] && echo y\n}");
        tree.mk("-q tiny demo a")
            .has("! error: a: build failed with exit status 1\n!   at pkg/a/build:2 in build(): ");
    }
}

#[test]
fn a_failure_in_a_substitution_or_a_pipeline_s_end_stops_a_step() {
    for body in ["x=$(false)", "true | false", "(exit 3)", "help() { false; echo after; }; y=$(help)"] {
        let tree = Tree::new().package("a", &format!("build() {{\n{body}\necho after\n}}"));
        tree.mk("-q tiny demo a").has("a: build failed with exit status");
        assert_eq!(tree.log("a", "build"), "", "{body}");
    }
}

#[test]
fn standard_input_is_empty() {
    for tree in Tree::both() {
        let tree = tree.package("a", "build() { cat; read -r x || echo nothing; }\ndeploy() { wc -c; }");
        tree.builds("a").logs("a", "build", "nothing\n").logs("a", "deploy", "0\n");
    }
}

#[test]
fn what_was_deployed_is_cleaned_up() {
    for tree in Tree::both() {
        let tree = tree.package(
            "a",
            "deploy() {\n\
             cd $2; mkdir -p share/pkgconfig lib/pkgconfig lib/deep share/doc\n\
             touch share/pkgconfig/a.pc lib/pkgconfig/b.pc lib/liba.la lib/liba.so lib/deep/module.la share/doc/x.la\n}",
        );
        tree.builds("a");
        let deployed = tree.list_deployed("a");
        let has = |path: &str| deployed.iter().any(|found| found == path);
        assert!(
            has("lib/pkgconfig/a.pc")
                && has("lib/pkgconfig/b.pc")
                && has("lib/liba.so")
                && has("share/doc/x.la"),
            "{deployed:?}"
        );
        assert!(
            !has("share/pkgconfig/") && !has("share/pkgconfig/a.pc") && !has("lib/liba.la"),
            "{deployed:?}"
        );
    }
}

#[test]
fn elf_files_in_bin_and_lib_are_stripped_by_the_toolchain_and_nothing_else_is() {
    for tree in Tree::both() {
        let tree = tree
            .file("board/tiny/TOOLCHAIN", &format!("TARGET={}-linux-gnu\n", std::env::consts::ARCH))
            .package("toolchain", r#"deploy() { mkdir "$TCDIR/bin"; printf '#!/bin/sh\nexec /usr/bin/strip "$@"\n' >"$TCDIR/bin/$TARGET-strip"; chmod +x "$TCDIR/bin/$TARGET-strip"; }"#)
            .package(
                "a",
                r#"
                DEPENDS=toolchain
                build() {
                	echo 'int f(void) { return 1; } int main(void) { return f(); }' >a.c
                	gcc -g -o a a.c
                	gcc -g -shared -fPIC -o liba.so a.c
                }
                deploy() {
                	mkdir -p "$2/bin" "$2/lib" "$2/share"
                	cp a "$2/bin/a"
                	cp a "$2/share/a"
                	cp liba.so "$2/lib/liba.so"
                	ln -s a "$2/bin/link"
                	echo '#!/bin/sh' >"$2/bin/script"
                	chmod 555 "$2/bin/a"
                }"#,
            );
        tree.builds("a");
        let symbols = |file: &str| {
            let output =
                std::process::Command::new("nm").arg(tree.built("deploy/a").join(file)).output().unwrap();
            String::from_utf8(output.stdout).unwrap().lines().count()
        };
        assert_eq!((symbols("bin/a"), symbols("lib/liba.so")), (0, 0));
        assert!(symbols("share/a") > 0);
        assert_eq!(tree.deployed("a", "bin/script"), "#!/bin/sh\n");
        let mode = fs_err::metadata(tree.built("deploy/a/bin/a")).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o555);
        assert_eq!(fs_err::read_link(tree.built("deploy/a/bin/link")).unwrap().to_str(), Some("a"));
    }
}

#[test]
fn an_empty_deploy_folder_is_fine() {
    for tree in Tree::both() {
        let tree = tree.package("a", "deploy() { echo nothing to install; }");
        assert_eq!(tree.builds("a").list_deployed("a"), [""; 0]);
    }
}

// What a recipe sees

#[test]
fn a_recipe_sees_board_product_target_and_the_rest_while_it_is_read_and_in_every_step() {
    for tree in Tree::both() {
        let names = "BOARD PRODUCT TARGET OS_NAME OS_RELEASE NUMJOBS PKGNAME LINUXPKG GCC_CPU";
        let tree = tree
            .env("MK_JOBS", "3")
            .file("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl GCC_CPU=good")
            .package("a", &format!("{SHOW}READ=$(show {names})\nbuild() {{ show {names}; [ \"$READ\" = \"$(show {names})\" ] || echo differs; }}"));
        tree.builds("a").logs(
            "a",
            "build",
            "
            BOARD=tiny
            PRODUCT=demo
            TARGET=any-linux-musl
            OS_NAME=Pygos
            OS_RELEASE=unversioned
            NUMJOBS=3
            PKGNAME=a
            LINUXPKG=linux
            GCC_CPU=good
            ",
        );
    }
}

#[test]
fn the_name_of_the_system_is_pygos_unless_configuration_says_otherwise() {
    for tree in Tree::both() {
        let tree =
            tree.file("product/demo/TOOLCHAIN", "OS_NAME=Mine\n").package("a", "build() { echo $OS_NAME; }");
        tree.builds("a").logs("a", "build", "Mine\n");
    }
}

#[test]
fn the_release_is_what_git_says_of_the_tree() {
    let tree = Tree::new().package("a", "build() { echo \"$OS_RELEASE\"; }");
    let git = |words: &str| {
        let mut command = std::process::Command::new("git");
        command
            .arg("-C")
            .arg(tree.at("tree"))
            .args(words.split(' '))
            .env("HOME", tree.at("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "me").env(format!("GIT_{who}_EMAIL"), "me@localhost");
        }
        assert!(command.output().unwrap().status.success(), "git {words}");
    };
    git("init -q");
    git("add -A");
    git("commit -qm first");
    git("tag v1.2");
    tree.builds("a").logs("a", "build", "v1.2\n");
    tree.write("pkg/a/build", "build() { echo \"$OS_RELEASE\"; }\n");
    tree.builds("a").logs("a", "build", "v1.2-dirty\n");
    // Also where only a file names it that the recipe sources.
    tree.write("shared/release", "VERSION=r-$OS_RELEASE\n");
    tree.write("pkg/b/build", "source \"$SCRIPTDIR/shared/release\"\nbuild() { echo \"$VERSION\"; }\n");
    tree.builds("b").logs("b", "build", "r-v1.2-dirty\n");
}

#[test]
fn the_host_tuple_is_the_build_machine_s_triplet() {
    for tree in Tree::both() {
        let tree = tree.package("a", "build() { echo $HOSTTUPLE; }");
        let tuple = tree.builds("a").log("a", "build");
        assert!(
            tuple.starts_with(std::env::consts::ARCH) && tuple.trim_end().split('-').count() >= 3,
            "{tuple}"
        );
    }
}

#[test]
fn of_the_caller_s_environment_a_recipe_sees_what_its_text_names() {
    for tree in Tree::both() {
        let tree = tree
            .env("MY_WISH", "granted")
            .env("OTHER", "x")
            .package("a", "build() { echo \"[$MY_WISH]\"; env | grep -c OTHE[R] || true; }");
        tree.builds("a").logs("a", "build", "[granted]\n0\n");
        let tree = tree.without_env("MY_WISH");
        tree.builds("a").logs("a", "build", "[]\n0\n");
        let tree = tree.env("MY_WISH", "new");
        tree.builds("a").logs("a", "build", "[new]\n0\n");
    }
}

#[test]
fn a_step_s_environment_is_the_same_on_every_machine() {
    for tree in Tree::both() {
        let tree = tree
            .env("LANG", "de_DE.UTF-8")
            .env("CFLAGS", "-O9")
            .env("LC_TIME", "de_DE")
            .env("PERL5LIB", "/x")
            .package("a", "build() { umask; env; }");
        tree.builds("a");
        let mut lines: Vec<String> = tree.log("a", "build").lines().map(str::to_owned).collect();
        lines.retain(|line| {
            !["HOME=", "PWD=", "OLDPWD=", "_=", "SHLVL="].iter().any(|start| line.starts_with(start))
        });
        lines.sort();
        assert_eq!(
            lines,
            [
                "0022",
                "LC_ALL=C",
                "LOGNAME=mk",
                "MAKEFLAGS=-j1 --jobserver-auth=97,98",
                "PATH=/mk/root/toolchain/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                "SHELL=/bin/bash",
                "SOURCE_DATE_EPOCH=1577836800",
                "TERM=dumb",
                "TZ=UTC",
                "USER=mk",
            ]
        );
    }
}

// Helpers

#[test]
fn apply_patches_applies_all_in_name_order_and_none_is_fine() {
    let patch = |from: &str, to: &str| format!("--- a/file\n+++ b/file\n@@ -1 +1 @@\n-{from}\n+{to}\n");
    for tree in Tree::both() {
        let recipe = "URL=ARCHIVES TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM='SHA256(a-1.tar.gz)'\nprepare() { apply_patches; }\nbuild() { cat $1/file; }";
        let tree =
            tree.archive("a-1.tar.gz", &[("a-1/file", "one\n")]).package("a", recipe).package("b", recipe);
        let tree =
            tree.file("pkg/a/10.patch", &patch("two", "three")).file("pkg/a/02.patch", &patch("one", "two"));
        tree.builds("a b").logs("a", "build", "three\n").logs("b", "build", "one\n").logs("b", "prepare", "");
        tree.write("pkg/a/11.patch", &patch("seven", "eight"));
        tree.mk("-q tiny demo a").has("`11.patch` does not apply");
    }
}

#[test]
fn strip_files_strips_elf_goes_into_folders_and_leaves_the_rest() {
    for tree in Tree::both() {
        let tree = tree.file("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl\n").package(
            "a",
            r#"
            build() {
            	mkdir -p "$TCDIR/bin" folder/deep
            	printf '#!/bin/sh\nfor file; do echo "strip ${file#$PWD/}"; done\n' >"$TCDIR/bin/$TARGET-strip"
            	chmod +x "$TCDIR/bin/$TARGET-strip"
            	printf '\177ELF' | tee program folder/deep/program >/dev/null
            	echo text >folder/text
            	ln -s program link
            	strip_files program link missing folder
            }"#,
        );
        tree.builds("a").logs("a", "build", "strip program\nstrip folder/deep/program\n");
    }
}

#[test]
fn the_greatest_version_is_found_by_pygos_s_rules() {
    for tree in Tree::both() {
        let tree = tree.package(
            "a",
            r#"
            build() {
            	printf '1.9\n1.10\n1.2.3.4\njunk\n1.10-rc1\n' | verson_find_greatest 1.9
            	printf '1.9\n1.10\n' | version_find_greatest
            	printf '1.2\n1.2.b\n1.2.a' | version_find_greatest 1.2
            	echo "nothing:$(printf '1.8\n1.9\n' | verson_find_greatest 1.9)"
            }"#,
        );
        tree.builds("a").logs("a", "build", "1.10\n1.10\n1.2.b\nnothing:\n");
    }
}

/// The three configuration places with a file in each, least specific last.
fn configured(tree: Tree, name: &str, texts: [&str; 3]) -> Tree {
    let places = ["product/demo/tiny", "product/demo", "board/tiny"];
    places.iter().zip(texts).fold(tree, |tree, (place, text)| tree.file(&format!("{place}/{name}"), text))
}

#[test]
fn the_most_specific_file_overrides_the_others() {
    for tree in Tree::both() {
        let look = r#"
            build() {
            	file_path_override FILE; cat_file_override FILE; include_override SHELL_FILE; echo "$x"
            	rm -f none; file_path_override NONE; cat_file_override NONE; include_override NONE
            }"#;
        let tree = configured(tree, "FILE", ["one\n", "two\n", "three\n"]).package("a", look);
        let tree = configured(tree, "SHELL_FILE", ["x+=1", "x+=2", "x+=3"]);
        tree.builds("a").logs("a", "build", "/mk/config/product-board/FILE\none\n1\n");
        for name in ["FILE", "SHELL_FILE"] {
            fs_err::remove_file(tree.at("tree/product/demo/tiny").join(name)).unwrap();
        }
        tree.builds("a").logs("a", "build", "/mk/config/product/FILE\ntwo\n2\n");
        for name in ["FILE", "SHELL_FILE"] {
            fs_err::remove_file(tree.at("tree/product/demo").join(name)).unwrap();
        }
        tree.builds("a").logs("a", "build", "/mk/config/board/FILE\nthree\n3\n");
    }
}

#[test]
fn merged_files_are_printed_all_and_sourced_so_that_the_most_specific_wins() {
    for tree in Tree::both() {
        let tree = configured(tree, "FILE", ["one", "two\r\n", "three"]).package(
            "a",
            "build() { cat_file_merge FILE | tr -d '\\r'; include_merge SHELL_FILE; echo \"$x $order\"; cat_file_merge NONE; include_merge NONE; }",
        );
        let tree = configured(tree, "SHELL_FILE", ["x=1; order+=1", "x=2; order+=2", "x=3; order+=3"]);
        tree.builds("a").logs("a", "build", "one\ntwo\nthree\n1 321\n");
    }
}

#[test]
fn helpers_look_configuration_up_while_a_recipe_is_read_too() {
    for tree in Tree::both() {
        let tree = configured(tree, "ROOTFS", ["x\ny", "x", "z\n"])
            .package("a", "DEPENDS=$(cat_file_merge ROOTFS | sort -u)\nbuild() { ls \"$PKGDEPLOYDIR\"; }")
            .package("x", "")
            .package("y", "")
            .package("z", "");
        tree.builds("a").logs("a", "build", "a\nx\ny\nz\n");
        tree.mk("plan --format json tiny demo a").has("\"depends\":[\"x\",\"y\",\"z\"]");
    }
}

#[test]
fn run_configure_hands_the_usual_places_and_tuples_to_configure() {
    for tree in Tree::both() {
        let tree = tree
            .file("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl\n")
            .archive("a-1.tar.gz", &[("a-1/configure", "#!/bin/sh\nprintf '%s\\n' \"$PWD\" \"$@\"\n")])
            .package(
                "a",
                "URL=ARCHIVES TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM='SHA256(a-1.tar.gz)'\nbuild() { run_configure $1 --with-x 'a b' | sed \"s/$HOSTTUPLE/HOST/\"; }",
            );
        tree.builds("a").logs(
            "a",
            "build",
            "
            /mk/root/build
            --prefix=
            --build=HOST
            --host=any-linux-musl
            --bindir=/bin
            --sbindir=/bin
            --sysconfdir=/etc
            --libexecdir=/lib/libexec
            --datarootdir=/share
            --datadir=/share
            --sharedstatedir=/share
            --includedir=/include
            --enable-shared
            --disable-static
            CXX=no
            --with-x
            a b
            ",
        );
    }
}

#[test]
fn include_pkg_loads_another_recipe_over_the_current_one() {
    for tree in Tree::both() {
        let tree = tree
            .package("base", "VERSION=7 DEPENDS=low\nbuild() { echo \"base builds $PKGNAME\"; }")
            .package("low", "")
            .package("a", "VERSION=1 URL=x DEPENDS=base\nbuild() { include_pkg base; echo \"$PKGNAME $VERSION $DEPENDS ${URL-unset}\"; build; }");
        tree.builds("a").logs("a", "build", "base 7 low unset\nbase builds base\n");
    }
}

#[test]
fn a_step_may_read_another_recipe_of_the_tree_that_its_text_names() {
    for tree in Tree::both() {
        let tree = tree
            .package("other", "VERSION=7")
            .package("a", "build() { grep VERSION \"$SCRIPTDIR/pkg/other/build\"; }");
        tree.builds("a").logs("a", "build", "VERSION=7\n");
        tree.write("pkg/other/build", "VERSION=8");
        tree.builds("a").logs("a", "build", "VERSION=8\n");
    }
}

#[test]
fn what_a_step_sources_by_itself_sees_what_the_recipe_sees() {
    for tree in Tree::both() {
        let tree = tree
            .file("board/tiny/TOOLCHAIN", "CPU=small\nLOWPKG=low\n")
            .file(
                "util/common.sh",
                "echo \"$CPU $BOARD $OS_NAME\"\nprintf '%s\\n' 1 2 | version_find_greatest\n",
            )
            .package("low", "")
            .package("middle", "DEPENDS=\"$LOWPKG\"\nVERSION=\"7-$BOARD\"")
            .package("a", "build() { source \"$SCRIPTDIR/util/common.sh\"; }")
            .package(
                "b",
                "DEPENDS=middle\nbuild() { dependencies; include_pkg middle; echo \"$VERSION [$DEPENDS]\"; }",
            );
        tree.builds("a").logs("a", "build", "small tiny Pygos\n2\n");
        tree.builds("b").logs("b", "build", "b middle\nmiddle low\n7-tiny [low]\n");
    }
}

#[test]
fn a_configuration_file_may_call_its_variables_as_it_likes() {
    for tree in Tree::both() {
        let tree = tree
            .file("board/tiny/TOOLCHAIN", "for i in a b; do W=\"$W$i\"; done\nplace=here\nCPU=board\n")
            .file("product/demo/TOOLCHAIN", "i=7\nCPU=product\n")
            .file("product/demo/conf", "i=8 place=there\n")
            .package(
                "a",
                "build() { echo \"$W $i $place $CPU\"; include_override conf; echo \"$i $place\"; }",
            );
        tree.builds("a").logs("a", "build", "ab 7 here product\n8 there\n");
    }
}

#[test]
fn a_link_beside_a_recipe_counts_with_what_is_there() {
    for tree in Tree::both() {
        let tree = tree
            .file(
                "shared/common.sh",
                "echo \"$BOARD\"\nprintf '%s\\n' 1 2 | version_find_greatest # caf\u{e9}\n",
            )
            .package("a", "build() { source \"$SCRIPTDIR/pkg/a/common.sh\"; }");
        let text = fs_err::read(tree.at("tree/shared/common.sh")).unwrap();
        // In another encoding.
        let latin: Vec<u8> = String::from_utf8(text).unwrap().chars().map(|c| c as u8).collect();
        fs_err::write(tree.at("tree/shared/common.sh"), latin).unwrap();
        fs_err::os::unix::fs::symlink("../../shared/common.sh", tree.at("tree/pkg/a/common.sh")).unwrap();
        tree.builds("a").logs("a", "build", "tiny\n2\n");
    }
}

#[test]
fn values_of_the_toolchain_that_hold_paths_hold_those_that_there_are() {
    for tree in Tree::both() {
        let tree = tree
            .file("board/tiny/TOOLCHAIN", "CFG=\"$SCRIPTDIR/board/tiny/cfg\"\nTOOLS=(\"$TCDIR/x\")\n")
            .package("a", "build() { [ \"$CFG ${TOOLS[0]}\" = \"$SCRIPTDIR/board/tiny/cfg $TCDIR/x\" ]; }");
        tree.builds("a");
    }
}

#[test]
fn dependencies_are_printed_as_pairs_in_turn() {
    for tree in Tree::both() {
        let tree = tree
            .package("low", "")
            .package("middle", "DEPENDS=low")
            .package("other", "DEPENDS='low middle'")
            .package("a", "DEPENDS='other middle'\nbuild() { dependencies | sort; echo $(dependencies | tsort | tac); }");
        tree.builds("a").logs(
            "a",
            "build",
            "
            a middle
            a other
            middle low
            other low
            other middle
            low middle other a
            ",
        );
    }
}

#[test]
fn dependencies_are_those_of_the_recipe_as_it_is_loaded() {
    for tree in Tree::both() {
        let tree = tree
            .package("low", "DEPENDS=lower")
            .package("lower", "")
            .package("other", "")
            .package("a", "DEPENDS=low\nALL=$(dependencies)\nbuild() { set -u; echo \"$ALL\"; DEPENDS=other; dependencies; }");
        tree.builds("a").logs("a", "build", "a low\nlow lower\na other\n");
    }
}

#[test]
fn without_rooms_nothing_of_a_build_is_left_in_the_build_root() {
    let [_, tree] = Tree::both();
    let tree = tree
        .file("board/tiny/TOOLCHAIN", "TARGET=tiny\n")
        .package("low", "deploy() { mkdir \"$2/include\"; echo 1 > \"$2/include/low.h\"; }")
        .package("a", "DEPENDS=low\nbuild() { cat \"$TCDIR/tiny/include/low.h\"; echo 1 > left; }");
    tree.builds("a").logs("a", "build", "1\n");
    assert!(!tree.built("build").exists() && !tree.built("toolchain/tiny").exists());
}

#[test]
fn a_step_has_the_helpers_that_its_recipe_can_reach() {
    let functions = "build() { declare -F | sed 's/^declare -f //' > \"$2/functions\"; }\n";
    for tree in Tree::both() {
        let tree = tree
            .package("few", functions)
            .package("one", &format!("{functions}other() {{ run_configure; }}"))
            .package("made", &format!("{functions}other() {{ make all; }}"))
            .package("beside", functions)
            .file("pkg/beside/more.sh", "apply_patches \"$1\"\n")
            .package("computed", &format!("{functions}other() {{ \"run_$KIND\"; }}"))
            .package("all", &format!("{functions}other() {{ include_override \"$KIND\"; }}"));
        let has = |package: &str, helper: &str| {
            tree.builds(package);
            tree.deployed(package, "functions").lines().any(|line| line == helper)
        };
        for package in ["few", "one", "made", "beside", "computed", "all"] {
            assert!(has(package, "mk_source") && has(package, "source"), "{package}");
            assert_eq!(
                has(package, "run_configure"),
                ["one", "computed", "all"].contains(&package),
                "{package}"
            );
            // In place of the program, for those who name it.
            assert_eq!(has(package, "make"), ["made", "all"].contains(&package), "{package}");
            assert_eq!(has(package, "apply_patches"), ["beside", "all"].contains(&package), "{package}");
            assert_eq!(has(package, "rootfs_files"), package == "all", "{package}");
        }
    }
}

#[test]
fn build_and_deploy_share_a_room_and_what_did_not_run_has_no_log() {
    for tree in Tree::both() {
        let room = tree.has_rooms();
        let tree = tree
            .package("a", "build() { echo built; echo 1 > ~/left; }\ndeploy() { echo deployed; cat ~/left; }")
            .package("b", "build() { echo built; false; }\ndeploy() { echo deployed; }");
        tree.builds("a").logs("a", "build", "built\n").logs("a", "deploy", "deployed\n1\n");
        let ran = tree.mk("build tiny demo b");
        assert_eq!(ran.status, 1);
        ran.has("b: build failed with exit status 1");
        assert_eq!(tree.log("b", "build"), "built\n", "room: {room}");
        assert!(!tree.built("log/b-deploy.log").exists(), "room: {room}");
    }
}

#[test]
fn helpers_with_nothing_left_to_do_are_there() {
    for tree in Tree::both() {
        let tree = tree.package(
            "a",
            "build() { fetch_package; save_toolchain; }\ndeploy() { deploy_dev_cleanup; unfuck_libtool; }",
        );
        tree.builds("a").logs("a", "build", "").logs("a", "deploy", "");
    }
}

#[test]
fn rootfs_files_are_listed_with_mode_and_owner() {
    for tree in Tree::both() {
        let tree = tree.package(
            "a",
            r#"
            deploy() {
            	mkdir -p "$2/bin" "$2/include"
            	touch "$2/bin/tool" "$2/include/tool.h"
            	chmod 755 "$2/bin" "$2/bin/tool"
            	rootfs_files "$2" bin
            	rootfs_mode "$2" bin/tool 4755 0 10
            	rootfs_folder "$2" /var/empty 700
            	rootfs_device "$2" /dev/null c 1 3 666
            }"#,
        );
        tree.builds("a");
        assert_eq!(
            tree.deployed("a", "rootfs_files.txt"),
            "bin m 755 0 0\nbin/tool m 4755 0 10\ndev/null c 666 0 0 1 3\nvar/empty d 700 0 0\n"
        );
    }
}

#[test]
fn lists_of_the_root_filesystem_take_paths_as_people_write_them() {
    for tree in Tree::both() {
        let tree = tree.package(
            "a",
            r#"
            NONE=""
            deploy() {
            	mkdir "$2/my dir"
            	touch "$2/my dir/x" "$2/y"
            	chmod -R u=rwX,go=rX "$2"
            	printf 'by/hand m 600 0 0' >"$2/rootfs_files.txt"
            	rootfs_files "$2" $NONE
            	rootfs_files "$2" .
            	rootfs_mode "$2" "./my dir/x" 600 0 1
            	rootfs_folder "$2" empty/ 700
            	printf 'user a 5 / /bin/sh' >"$2/accounts"
            	rootfs_user "$2" b 6
            	rootfs_group "$2" c 7 a b
            }"#,
        );
        tree.builds("a");
        assert_eq!(
            tree.deployed("a", "rootfs_files.txt"),
            "by/hand m 600 0 0\nempty d 700 0 0\nmy\\ dir m 755 0 0\nmy\\ dir/x m 600 0 1\ny m 644 0 0\n"
        );
        let accounts = "user a 5 / /bin/sh\nuser b 6 / /bin/false\ngroup c 7 a b\n";
        assert_eq!(tree.deployed("a", "accounts"), accounts);
    }
}

#[test]
fn what_a_step_sources_without_arguments_has_those_of_the_step() {
    for tree in Tree::both() {
        let tree = tree
            .file("util/args.sh", "[ \"$2\" = \"$PKGDEPLOYDIR/a\" ] || [ \"$1\" = own ]\necho $#\n")
            .package(
                "a",
                "build() { . \"$SCRIPTDIR/util/args.sh\"; source \"$SCRIPTDIR/util/args.sh\" own; }",
            );
        tree.builds("a").logs("a", "build", "2\n1\n");
    }
}

#[test]
fn helpers_go_without_arguments_also_where_unset_variables_are_errors() {
    for tree in Tree::both() {
        let tree = tree.file("pkg/a/Makefile", "all:\n\t@echo made\n").package(
            "a",
            "set -u\nbuild() { cp \"$SCRIPTDIR/pkg/a/Makefile\" .; make -s -j; dependencies; }",
        );
        tree.builds("a").logs("a", "build", "made\n");
    }
}

// Configuration

#[test]
fn toolchain_files_are_merged_as_shell_and_the_most_specific_wins() {
    for tree in Tree::both() {
        let tree = configured(
            tree,
            "TOOLCHAIN",
            [
                "LINUX_CPU=arm64",
                "LINUX_CPU=arm; GCC_CPU=cortex-$LINUX_TGT",
                "LINUX_TGT=zImage\nLINUX_CPU=x86\nLIST=(a 'b c')\nmine() { echo own; }",
            ],
        )
        .package("a", "build() { echo \"$LINUX_CPU $GCC_CPU $LINUX_TGT ${LIST[1]}\"; mine; }");
        tree.builds("a").logs("a", "build", "arm64 cortex-zImage zImage b c\nown\n");
    }
}

#[test]
fn lists_of_configuration_are_merged_although_the_last_newline_lacks() {
    for tree in Tree::both() {
        let tree = configured(tree, "LDPATH", ["/opt/lib", "/usr/lib", "/lib"]).package(
            "a",
            "build() { while read -r folder; do echo \"[$folder]\"; done < <(cat_file_merge LDPATH); }",
        );
        tree.builds("a").logs("a", "build", "[/opt/lib]\n[/usr/lib]\n[/lib]\n");
    }
}

#[test]
fn init_files_are_merged_as_shell() {
    for tree in Tree::both() {
        let tree = configured(
            tree,
            "INIT",
            ["SERVICES+=' sshd'", "HWCLOCK=yes", "GETTY_TTY='tty1 ttyS0'\nSERVICES=ntpd\n"],
        )
        .package("a", "build() { include_merge INIT; echo \"$GETTY_TTY, $HWCLOCK, $SERVICES\"; }");
        tree.builds("a").logs("a", "build", "tty1 ttyS0, yes, ntpd sshd\n");
    }
}

#[test]
fn a_file_in_a_folder_of_configuration_is_overridden_too() {
    for tree in Tree::both() {
        let tree = tree
            .file("product/demo/interfaces/port0", "address 10.0.0.1\n")
            .file("board/tiny/interfaces/port0", "address 10.0.0.2\n")
            .file("board/tiny/interfaces/port1", "mtu 1280\n")
            .package(
                "a",
                "build() { cat_file_override interfaces/port0; cat_file_override interfaces/port1; }",
            );
        tree.builds("a").logs("a", "build", "address 10.0.0.1\nmtu 1280\n");
    }
}

#[test]
fn of_options_that_several_fragments_set_the_most_specific_counts() {
    let tree = Tree::new()
        .file("product/demo/tiny/x.fragment", "CONFIG_A=n")
        .file("product/demo/x.fragment", "# a comment\nCONFIG_A=y\nCONFIG_B=\"x=1\"\n")
        .file("board/tiny/x.fragment", "CONFIG_B=y\nCONFIG_AB=y\n")
        .package("a", "build() { cat_file_merge x.fragment | config_merge; }");
    tree.builds("a").logs("a", "build", "CONFIG_A=n\nCONFIG_B=\"x=1\"\nCONFIG_AB=y\n");
}

// Commands and options

#[test]
fn the_plan_is_printed_for_people_and_for_programs() {
    let tree =
        Tree::new().package("a", "VERSION=1").package("b", "VERSION=2 DEPENDS=a").package("c", "DEPENDS=b");
    tree.mk("plan tiny demo c").is("
        build  a 1  (never built)
        build  b 2  (never built)
        build  c    (never built)
    ");
    for dry in ["-n tiny demo a", "--keep-going --dry-run tiny demo a", "tiny demo a -n"] {
        tree.mk(dry).is("build  a 1  (never built)\n");
    }
    tree.builds("b");
    tree.write("pkg/a/build", "VERSION=1.1");
    tree.mk("plan tiny demo c --format json").is(concat!(
        r#"{"packages":[{"name":"a","version":"1.1","depends":[],"action":"build","reason":"VERSION: 1 → 1.1"},"#,
        r#"{"name":"b","version":"2","depends":["a"],"action":"maybe","reason":"waits for the output of `a`"},"#,
        r#"{"name":"c","version":"","depends":["b"],"action":"build","reason":"never built"}]}"#,
        "\n"
    ));
    tree.builds("c");
    tree.mk("plan tiny demo c").is("
        reuse  a 1.1
        reuse  b 2
        reuse  c
    ");
}

#[test]
fn logs_are_shown_by_package_and_step() {
    let tree = Tree::new()
        .package("a", "build() { echo building; }\ndeploy() { echo deploying; }")
        .package("release-tiny", "DEPENDS=a");
    tree.mk("log a").is("
        ! error: nothing was built in `/workspace`
        ! hint: name the workspace with -C DIR
        status 2
    ");
    tree.builds("");
    tree.mk("log a").is("
        ==> tiny-demo/log/a-build.log <==
        building
        ==> tiny-demo/log/a-deploy.log <==
        deploying
    ");
    tree.mk("log a deploy").is("deploying\n");
    tree.mk("log a deploy --build tiny-demo").is("deploying\n");
    tree.mk("log a biuld").has("did you mean `build`?").has("status 2");
    tree.mk("log b").has("did you mean `a`?").has("status 2");
    tree.mk("log a --build tiny-demi").has("did you mean `tiny-demo`?").has("status 2");
}

#[test]
fn logs_are_of_the_build_root_that_was_built_last() {
    let tree = Tree::new().product("else").package("a", "build() { echo $PRODUCT; }");
    tree.mk("-q tiny else a").is("");
    tree.builds("a");
    tree.mk("log a build").is("demo\n");
    tree.mk("log a build --build tiny-else").is("else\n");
}

#[test]
fn a_workspace_a_store_and_a_tree_can_be_named_by_option() {
    let tree = Tree::new().without_env("MK_TREE").package("a", "build() { :; true; }");
    fs_err::create_dir(tree.at("elsewhere")).unwrap();
    tree.mk("-q -t ../tree -C ../elsewhere --store ../mine tiny demo a").is("");
    assert!(tree.at("elsewhere/tiny-demo/deploy/a").is_dir() && tree.at("mine/entry").is_dir());
    assert!(!tree.at("store").exists() && list(&tree.at("workspace")).is_empty());
}

#[test]
fn the_store_is_in_the_home_s_cache_unless_named() {
    let tree = Tree::new().without_env("MK_STORE").package("a", "");
    tree.builds("a");
    assert!(tree.at("home/.cache/mk/entry").is_dir());
    let tree = tree.without_env("HOME");
    tree.mk("plan tiny demo a").is("
        ! error: no place for the store: neither HOME nor XDG_CACHE_HOME is set
        ! hint: name a folder with --store DIR or MK_STORE
        status 2
    ");
}

#[test]
fn the_number_of_jobs_is_an_option_or_a_variable() {
    let tree = Tree::new().env("MK_JOBS", "5").package("a", "build() { echo $NUMJOBS; }");
    tree.builds("a").logs("a", "build", "5\n");
    let tree = Tree::new().env("MK_JOBS", "5").package("a", "build() { echo $NUMJOBS; }");
    tree.mk("-q -j3 tiny demo a").is("");
    tree.logs("a", "build", "3\n");
}

#[test]
fn with_keep_going_the_rest_is_built() {
    for tree in Tree::both() {
        let tree = tree
            .package("a", "build() { false; }")
            .package("b", "DEPENDS=a")
            .package("c", "build() { echo c; }")
            .package("release-tiny", "DEPENDS='b c'");
        tree.mk("-q -k tiny demo").has("error: a: build failed").has("status 1");
        tree.logs("c", "build", "c\n");
        tree.mk("-k tiny demo").has("skipped because of a: b, release-tiny");
    }
}

#[test]
fn offline_nothing_is_fetched() {
    let tree = Tree::new().package(
        "a",
        &format!(
            "URL=http://127.0.0.1:9 TARBALL=a.tar.gz SRCDIR=a SHA256SUM={}\nbuild() {{ echo; }}",
            "0".repeat(64)
        ),
    );
    tree.mk("-q --offline tiny demo a").has("offline nothing is fetched").has("status 4");
}

#[test]
fn quiet_tells_failures_alone_and_verbose_follows_the_logs() {
    let tree = Tree::new().package("a", "build() { echo hello; }");
    tree.mk("-v tiny demo a").has("! a-build | hello");
    tree.mk("-v tiny demo a").has("nothing to do");
    tree.mk("-q tiny demo a").is("");
}

#[test]
fn of_two_dependencies_with_one_path_the_sysroot_has_that_of_the_first_and_tcdir_that_of_the_last() {
    for tree in Tree::both() {
        let library = "build() { mkdir -p \"$2/include\" \"$TCDIR/etc\"; echo $PKGNAME | tee \"$2/include/same.h\" > \"$TCDIR/etc/same\"; }";
        let tree = tree
            .file("board/tiny/TOOLCHAIN", "TARGET=tiny-linux\n")
            .package("la", library)
            .package("lb", library)
            .package(
                "u1",
                "DEPENDS=\"la lb\"\nbuild() { cat \"$TCDIR/$TARGET/include/same.h\" \"$TCDIR/etc/same\"; }",
            )
            .package(
                "u2",
                "DEPENDS=\"lb la\"\nbuild() { cat \"$TCDIR/$TARGET/include/same.h\" \"$TCDIR/etc/same\"; }",
            );
        tree.builds("u1 u2").logs("u1", "build", "la\nlb\n").logs("u2", "build", "la\nlb\n");
    }
}

#[test]
fn events_are_told_as_json_lines_on_standard_output() {
    let tree = Tree::new().package("a", "build() { echo hello; }");
    let ran = tree.mk("--format json tiny demo a");
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let events: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"run-started"), Some(&"run-ended")));
    assert!(kinds.contains(&"step-ended") && kinds.contains(&"package-ended"), "{kinds:?}");
}

#[test]
fn each_planned_package_is_told_to_have_ended_also_when_the_run_ends_early() {
    let tree = Tree::new()
        .package("a-fails", "build() { false; }")
        .package("b", "build() { :; }")
        .package("release-tiny", "DEPENDS=\"a-fails b\"");
    let ran = tree.mk("--format json tiny demo");
    let ended: Vec<String> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|event| event["event"] == "package-ended")
        .map(|event| {
            format!("{} {} {}", event["package"], event["outcome"], event["reason"]).replace('"', "")
        })
        .collect();
    assert_eq!(ended, ["a-fails failed ", "release-tiny skipped a-fails", "b cancelled not tried"]);
    tree.mk("tiny demo").has("3 packages: 1 failed, 1 skipped, 1 not tried");
}

#[test]
fn a_board_with_a_command_s_name_is_reached_through_build() {
    let tree = Tree::new().board("plan").package("release-plan", "build() { echo $BOARD; }");
    tree.mk("-q build plan demo").is("");
    assert_eq!(
        fs_err::read_to_string(tree.at("workspace/plan-demo/log/release-plan-build.log")).unwrap(),
        "plan\n"
    );
}

#[test]
fn without_rooms_results_stay_in_the_build_root() {
    let tree = Tree::new().package("a", "deploy() { mkdir $2/bin; }");
    tree.mk("-q --rooms never tiny demo a").is("");
    assert!(tree.built(".mk/store/entry").is_dir() && !tree.at("store/entry").exists());
}

#[test]
fn an_archive_in_the_tree_is_found_by_a_url_that_says_so() {
    for tree in Tree::both() {
        let tree = tree.archive("a-1.tar.gz", &[("a-1/file", "text\n")]);
        let (archive, folder) = (tree.at("archives/a-1.tar.gz"), tree.at("tree/archives"));
        fs_err::create_dir_all(&folder).unwrap();
        fs_err::copy(&archive, folder.join("a-1.tar.gz")).unwrap();
        let digest = mk::digest::Digest::of_file(&archive).unwrap();
        let tree = tree.package(
            "a",
            &format!(
                "URL=\"file://$SCRIPTDIR/archives\"\nTARBALL=a-1.tar.gz\nSHA256SUM={digest}\nSRCDIR=a-1\n\nbuild() {{\n\tcat \"$1/file\"\n}}\n"
            ),
        );
        tree.builds("a").logs("a", "build", "text\n");
    }
}
