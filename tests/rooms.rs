//! What keeps packages apart, and what is left of a build when it is over: by real recipes that the real program runs.

mod harness;
mod processes;

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use harness::{Tree, list};
use nix::sys::signal::Signal::SIGINT;
use processes::{Running, signal, until};

/// Writes one file into the toolchain, over and over, and looks whether it is still its own.
const FIGHT: &str = r#"
build() {
	local i
	mkdir -p "$TCDIR/bin"
	for i in {1..200}; do
		echo "$PKGNAME $i" >"$TCDIR/bin/tool"
		[ "$(<"$TCDIR/bin/tool")" = "$PKGNAME $i" ]
	done
	ls "$TCDIR/bin"
}
deploy() {
	cat "$TCDIR/bin/tool"
}
"#;

#[test]
fn packages_that_fight_over_a_file_of_the_toolchain_both_build_right_side_by_side_and_in_turn() {
    for jobs in ["1", "2"] {
        for tree in Tree::both() {
            let look = r#"build() { cat "$TCDIR/bin/tool"; }"#;
            let tree = tree
                .env("MK_JOBS", jobs)
                .package("left", FIGHT)
                .package("right", FIGHT)
                .package("after-left", &format!("DEPENDS=left\n{look}"))
                .package("after-right", &format!("DEPENDS=right\n{look}"))
                .package("release-tiny", "DEPENDS='after-left after-right'");
            tree.builds("");
            for name in ["left", "right"] {
                tree.logs(name, "build", "tool\n").logs(name, "deploy", &format!("{name} 200\n"));
                tree.logs(&format!("after-{name}"), "build", &format!("{name} 200\n"));
            }
        }
    }
}

#[test]
fn a_package_that_changes_another_s_file_of_the_toolchain_changes_it_for_those_that_need_both() {
    for tree in Tree::both() {
        let look = r#"build() { cat "$TCDIR/tool"; }"#;
        let tree = tree
            .package("first", r#"build() { echo first >"$TCDIR/tool"; }"#)
            .package("second", "DEPENDS=first\nbuild() { cat \"$TCDIR/tool\"; rm \"$TCDIR/tool\"; echo second >\"$TCDIR/tool\"; }")
            .package("needs-first", &format!("DEPENDS=first\n{look}"))
            .package("needs-second", &format!("DEPENDS=second\n{look}"))
            .package("release-tiny", "DEPENDS='needs-first needs-second'");
        tree.builds("");
        tree.logs("second", "build", "first\n").logs("needs-first", "build", "first\n").logs(
            "needs-second",
            "build",
            "second\n",
        );
    }
}

#[test]
fn what_a_package_did_not_declare_is_not_there() {
    let tree = Tree::new();
    let home = tree.at("home");
    let tree = tree
        .file("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl\n")
        .file("pkg/other/secret", "x")
        .file("board/tiny/file", "x")
        .file("scripts/file", "x")
        .package("other", "deploy() { mkdir $2/include $2/lib $TCDIR/bin; touch $2/include/other.h $TCDIR/bin/other; }")
        .package("user", "DEPENDS=other")
        .package(
            "a",
            &format!(
                r#"
                build() {{
                	# By another name: what a recipe's text says of the tree is in its room.
                	local place tree="$SCRIPTDIR"
                	for place in "$TCDIR/bin" "$TCDIR/$TARGET/include" "$PKGDEPLOYDIR/other" "$PKGDEPLOYDIR/user" \
                		"$tree/pkg/other" "$tree/scripts" "$tree/board" "$tree/product" \
                		"{home}" "{workspace}" /root /home /var /srv /sys; do
                		[ ! -e "$place" ] || echo "$place is there"
                	done
                	find "$HOME" -mindepth 1
                }}"#,
                home = home.display(),
                workspace = tree_workspace(&home)
            ),
        )
        .package("release-tiny", "DEPENDS='user a'");
    tree.builds("").logs("a", "build", "");
}

fn tree_workspace(home: &std::path::Path) -> String {
    home.with_file_name("workspace").display().to_string()
}

#[test]
fn there_is_no_network_in_a_room() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tree = Tree::new().package(
        "a",
        &format!(
            "build() {{ ! (: <>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo unreachable; tail -n +3 /proc/net/dev | grep -v lo: || echo no devices; }}"
        ),
    );
    tree.builds("a").logs("a", "build", "unreachable\nno devices\n");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody came");
}

#[test]
fn a_step_is_an_ordinary_user_with_processes_and_a_name_of_its_own() {
    let tree = Tree::new().package(
        "a",
        "build() { id -u; id -g; id -un; uname -n; echo /proc/[0-9]* | wc -w | sed 's/^[1-9]$/few/'; }",
    );
    tree.builds("a").logs("a", "build", "1000\n1000\nmk\nmk\nfew\n");
}

#[test]
fn a_source_stays_what_was_unpacked_although_steps_write_into_it() {
    for tree in Tree::both() {
        let files = [("a-1/keep", "keep\n"), ("a-1/change", "before\n"), ("a-1/sub/remove", "remove\n")];
        let head = "URL=ARCHIVES TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM='SHA256(a-1.tar.gz)'\n";
        let spoil = "echo spoilt >$1/change; rm -r $1/sub; mkdir $1/new; chmod 600 $1/keep;";
        let show = "(cd $1; stat -c '%a %Y %n' *; cat change)";
        let tree = tree
            .archive("a-1.tar.gz", &files)
            .package("a", &format!("{head}build() {{ {show}; {spoil} {show} | tail -n 1; }}"))
            .package("b", &format!("{head}DEPENDS=a\nprepare() {{ echo prepared >change; }}\nbuild() {{ cat $1/change; {spoil} }}\ndeploy() {{ cat $1/change; }}"))
            .package("c", &format!("{head}DEPENDS=b\nbuild() {{ {show}; }}"));
        tree.builds("c");
        let pristine = "644 1600000000 change\n644 1600000000 keep\n755 1600000000 sub\nbefore\n";
        let of_folder = |log: String| {
            log.lines()
                .map(|line| {
                    if line.ends_with(" sub") { "755 1600000000 sub" } else { line }.to_owned() + "\n"
                })
                .collect::<String>()
        };
        assert_eq!(of_folder(tree.log("a", "build")), format!("{pristine}spoilt\n"));
        tree.logs("b", "build", "prepared\n").logs("b", "deploy", "spoilt\n");
        assert_eq!(of_folder(tree.log("c", "build")), pristine);
        let store = if tree.has_rooms() { tree.at("store") } else { tree.built(".mk/store") };
        let unpacked = fs_err::read_dir(store.join("source")).unwrap().next().unwrap().unwrap().path();
        assert_eq!(list(&unpacked), ["a-1/", "a-1/change", "a-1/keep", "a-1/sub/", "a-1/sub/remove"]);
        for (path, text) in files {
            assert_eq!(fs_err::read_to_string(unpacked.join(path)).unwrap(), text);
        }
    }
}

#[test]
fn a_dependency_s_files_cannot_be_changed() {
    for tree in Tree::both() {
        let tree = tree
            .file("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl\n")
            .package("low", "deploy() { mkdir $2/include; echo original >$2/include/x.h; }")
            .package(
                "rude",
                "DEPENDS=low\nbuild() { rm \"$TCDIR/$TARGET/include/x.h\"; echo mine >\"$TCDIR/$TARGET/include/x.h\"; cat \"$PKGDEPLOYDIR/low/include/x.h\"; }",
            )
            .package("polite", "DEPENDS=low\nbuild() { cat \"$TCDIR/$TARGET/include/x.h\"; }")
            .package("release-tiny", "DEPENDS='rude polite'");
        tree.builds("");
        tree.logs("rude", "build", "original\n").logs("polite", "build", "original\n");
        assert_eq!(tree.deployed("low", "include/x.h"), "original\n");
    }
}

#[test]
fn nothing_is_left_mounted_running_or_lying_about() {
    for tree in Tree::both() {
        // Nobody else on this machine sleeps for so long.
        let seconds = 1_000_000 + std::process::id();
        let run_away = format!(
            "sleep {seconds} & setsid sleep {seconds} & (setsid nohup sleep {seconds} >/dev/null 2>&1 &)"
        );
        let tree = tree
            .package("good", &format!("build() {{\n{run_away}\n}}"))
            .package("bad", &format!("build() {{\n{run_away}\nfalse\n}}"));
        tree.builds("good");
        tree.mk("-q tiny demo bad").has("error: bad: build failed");
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&*tree.at("").to_string_lossy()), "{mounts}");
        for entry in fs_err::read_dir("/proc").unwrap().flatten() {
            let mut words = Vec::new();
            // A process may end while it is looked at.
            let _ = fs_err::File::open(entry.path().join("cmdline"))
                .and_then(|mut file| file.read_to_end(&mut words));
            let words = String::from_utf8_lossy(&words).replace('\0', " ");
            assert!(!words.contains(&seconds.to_string()), "still there: {words}");
        }
        let store = if tree.has_rooms() { tree.at("store") } else { tree.built(".mk/store") };
        assert_eq!(list(&store.join("tmp")), [""; 0]);
    }
}

/// Two packages that write into the toolchain. `slow` makes a file `begun`, then stays in its step until somebody writes into
/// the pipe `go`; it fails if it sees anything but what it wrote itself.
fn slow_and_quick() -> Tree {
    let tree = Tree::new().board("small");
    nix::unistd::mkfifo(&tree.at("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (begun, go) = (tree.at("begun"), tree.at("go"));
    let slow = format!(
        r#"
        build() {{
            mkdir -p "$TCDIR/bin"
            echo slow >"$TCDIR/bin/slow"
            echo begun >{begun}
            read -r <{go}
            [ "$(echo "$TCDIR"/bin/*)" = "$TCDIR/bin/slow" ]
            echo slow >"$2/file"
        }}"#,
        begun = begun.display(),
        go = go.display(),
    );
    let quick =
        r#"build() { mkdir -p "$TCDIR/bin"; echo quick >"$TCDIR/bin/quick"; echo quick >"$2/file"; }"#;
    tree.package("slow", &slow).package("quick", quick)
}

/// Starts a run and waits until it says this.
fn start_until(tree: &Tree, words: &[&str], told: &str) -> Running {
    let said = tree.at("said");
    let file = fs_err::File::create(&said).unwrap().into_parts().0;
    let running = Running::start(tree.command(words).args(["--format", "plain"]).stderr(file));
    until(told, || fs_err::read_to_string(&said).unwrap().contains(told));
    running
}

#[test]
fn two_runs_without_rooms_in_one_workspace_take_turns() {
    for board in ["tiny", "small"] {
        let tree = slow_and_quick();
        let mut slow = Running::start(&mut tree.command(&["-q", "--rooms", "never", "tiny", "demo", "slow"]));
        until("the step begins", || tree.at("begun").exists());
        let quick = ["--rooms", "never", board, "demo", "quick"];
        let mut quick = start_until(&tree, &quick, "note: quick: waits for another `mk` in this workspace");
        fs_err::write(tree.at("go"), "\n").unwrap();
        assert!(slow.wait().success() && quick.wait().success());
        let toolchain = |package: &Path| list(&fs_err::canonicalize(package).unwrap().join("../toolchain"));
        assert_eq!(tree.deployed("slow", "file"), "slow\n");
        assert_eq!(toolchain(&tree.built("deploy/slow")), ["bin/", "bin/slow"]);
        let quick = tree.at(&format!("workspace/{board}-demo/deploy/quick"));
        assert_eq!(fs_err::read_to_string(quick.join("file")).unwrap(), "quick\n");
        assert_eq!(toolchain(&quick), ["bin/", "bin/quick"]);
    }
}

#[test]
fn a_run_with_rooms_shows_nothing_in_folders_that_one_without_works_in() {
    for stopped in [false, true] {
        let tree = slow_and_quick();
        let mut slow = Running::start(&mut tree.command(&["-q", "--rooms", "never", "tiny", "demo", "slow"]));
        until("the step begins", || tree.at("begun").exists());
        let quick = ["--rooms", "always", "tiny", "demo", "quick"];
        let told = "note: waits for another `mk`, which builds without rooms here";
        let mut quick = start_until(&tree, &quick, told);
        if stopped {
            signal(quick.id(), SIGINT);
            assert_eq!(quick.wait().signal(), Some(SIGINT as i32));
        }
        fs_err::write(tree.at("go"), "\n").unwrap();
        assert!(slow.wait().success() && (stopped || quick.wait().success()));
        assert_eq!(tree.deployed("slow", "file"), "slow\n");
        // Who was stopped has shown nothing and not said that it has.
        assert_eq!(tree.built("deploy/quick").exists(), !stopped);
        tree.builds("quick");
        assert_eq!(tree.deployed("quick", "file"), "quick\n");
    }
}

#[test]
fn modes_that_keep_their_owner_out_are_no_obstacle_and_results_do_not_depend_on_who_builds() {
    use std::os::unix::fs::PermissionsExt;
    let results = [false, true].map(|nobody| {
        Tree::both().map(|tree| {
            let tree = tree.package(
                "a",
                r#"
                build() {
                    mkdir -p "$2/bin" "$2/lib" "$2/closed" "$TCDIR/bin" "$TCDIR/closed" "$TCDIR/locked"
                    touch "$2/bin/setuid" "$2/lib/x.la" "$2/lib/y" "$2/closed/file"
                    chmod 4111 "$2/bin/setuid"
                    chmod 555 "$2/lib"
                    touch "$TCDIR/bin/run" "$TCDIR/closed/file" "$TCDIR/locked/file"
                    chmod 111 "$TCDIR/bin/run"
                    chmod 555 "$TCDIR/locked"
                    chmod 0 "$2/closed"
                    chmod 055 "$TCDIR/closed"
                }"#,
            );
            let words = ["-q", "tiny", "demo", "a"];
            let mut command = if nobody { tree.command_of_nobody(&words) } else { tree.command(&words) };
            tree.run(&mut command).is("");
            let entry = fs_err::canonicalize(tree.built("deploy/a")).unwrap().join("..");
            let mode = |path: &str| fs_err::metadata(entry.join(path)).unwrap().permissions().mode() & 0o7777;
            let (deploy, toolchain) = (["bin/setuid", "lib", "closed"], ["bin/run", "closed", "locked"]);
            assert_eq!(deploy.map(|path| mode(&format!("deploy/{path}"))), [0o4511, 0o755, 0o700]);
            assert_eq!(toolchain.map(|path| mode(&format!("toolchain/{path}"))), [0o511, 0o755, 0o755]);
            assert!(!entry.join("deploy/lib/x.la").exists() && entry.join("toolchain/closed/file").exists());
            let store = if tree.has_rooms() { tree.at("store") } else { tree.built(".mk/store") };
            let checked = tree.mk_words(&["--store", &store.to_string_lossy(), "-q", "store", "verify"]);
            assert_eq!(checked.status, 0, "{}", checked.text());
            let meta: serde_json::Value =
                serde_json::from_slice(&fs_err::read(entry.join("meta.json")).unwrap()).unwrap();
            meta["output"].clone()
        })
    });
    assert!(results.iter().flatten().all(|output| *output == results[0][0]), "{results:?}");
}

#[test]
fn outputs_are_the_same_with_and_without_rooms() {
    let outputs = Tree::both().map(|tree| {
        let tree = tree
            .file("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl\n")
            .archive("a-1.tar.gz", &[("a-1/text", "text\n"), ("a-1/run", "#!/bin/sh\n")])
            .package("tool", r#"deploy() { mkdir "$TCDIR/bin"; printf '#!/bin/sh\ntr a-z A-Z\n' >"$TCDIR/bin/upper"; chmod 755 "$TCDIR/bin/upper"; mkdir "$2/lib"; echo lib >"$2/lib/x"; }"#)
            .package(
                "a",
                "DEPENDS=tool URL=ARCHIVES TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM='SHA256(a-1.tar.gz)'\n\
                 prepare() { echo more >>text; }\nbuild() { upper <$1/text >text; cat \"$TCDIR/$TARGET/lib/x\" >>text; }\n\
                 deploy() { mkdir -p $2/bin $2/etc; cp text $2/etc; cp $1/run $2/bin; ln -s run $2/bin/link; chmod 700 $2/bin/run; }",
            );
        tree.builds("a");
        let files: Vec<_> = tree.list_deployed("a");
        let text = tree.deployed("a", "etc/text");
        let state: Vec<_> = harness::picture(&fs_err::canonicalize(tree.built("deploy/a")).unwrap()).into_values().collect();
        (files, text, state)
    });
    assert_eq!(outputs[0].1, "TEXT\nMORE\nlib\n");
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn a_result_that_was_written_to_in_place_without_a_room_is_built_again_before_anybody_sees_it() {
    let damage = r#"DEPENDS=base
        build() { echo damage >>"$TCDIR/$TARGET/include/x.h"; }"#;
    let tree = Tree::new()
        .file("board/tiny/TOOLCHAIN", "TARGET=any-linux-musl\n")
        .package("base", r#"build() { mkdir "$2/include"; echo whole >"$2/include/x.h"; }"#)
        .package("damage", damage)
        .package("fails", &damage.replace("; }", "; false; }"))
        .package(
            "reads",
            r#"DEPENDS=base
            build() { cp "$TCDIR/$TARGET/include/x.h" "$2"; }"#,
        )
        .package("all", "DEPENDS='damage reads'")
        .env("MK_ROOMS", "never");
    tree.builds("base");
    tree.mk("-q tiny demo damage").is("
        ! error: damage: `any-linux-musl/include/x.h` of another package was written to in place
        !   taken out of the store, since it is not what was built any more: `base`
        !   build folder kept: tiny-demo/failed/damage/build
        ! hint: replace a file that is to be changed; the next run builds what was taken out anew
        status 1
    ");
    tree.builds("reads");
    assert_eq!(tree.deployed("reads", "x.h"), "whole\n");
    tree.mk("-q tiny demo fails").has(
        "
        !   `any-linux-musl/include/x.h` of another package was written to in place
        !   taken out of the store, since it is not what was built any more: `base`
    ",
    );
    tree.write(
        "pkg/reads/build",
        "DEPENDS=base\nbuild() { cp \"$TCDIR/$TARGET/include/x.h\" \"$2/again\"; }",
    );
    // In the same run, what needs it is not built without it.
    tree.mk("-q -k tiny demo all").has(
        "
        ! error: reads: the result of `base`, which it needs, is gone
        !   build folder kept: tiny-demo/failed/reads/build
        ! hint: run `mk` again; it builds that anew
    ",
    );
    tree.builds("reads");
    assert_eq!(tree.deployed("reads", "again"), "whole\n");
}
