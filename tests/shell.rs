//! `mk shell`: the rooms that it opens, and what it leaves.

#![allow(clippy::unwrap_used, reason = "clippy knows only the test functions themselves as tests")]

mod harness;
mod processes;

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use harness::{Transcript, Tree, list};
use nix::sys::signal::Signal::SIGKILL;
use processes::{Running, signal, until_alone};

/// Runs commands in a package's room.
fn shell(tree: &Tree, words: &[&str], commands: &str) -> Transcript {
    fs_err::write(tree.at("commands"), commands).unwrap();
    let mut command = tree.command(&[&["shell", "tiny", "demo"], words].concat());
    command.stdin(fs_err::File::open(tree.at("commands")).unwrap().into_parts().0);
    tree.run(&mut command)
}

/// Opens a package's room and stays there as long as what is returned with it does.
fn stay(tree: &Tree, package: &str) -> (Running, UnixStream) {
    let commands = tree.at("commands-that-stay");
    fs_err::write(&commands, "echo inside\nread -r _ <&1 || true\n").unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = tree.command(&["shell", "tiny", "demo", package]);
    command.stdin(fs_err::File::open(commands).unwrap().into_parts().0);
    let running = Running::start(command.stdout(OwnedFd::from(theirs)).stderr(Stdio::null()));
    // Or it would hold the other end as well.
    drop(command);
    let mut line = String::new();
    BufReader::new(&ours).read_line(&mut line).unwrap();
    assert_eq!(line, "inside\n");
    (running, ours)
}

/// A package whose build failed.
fn failed() -> Tree {
    let head = "URL=ARCHIVES TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM='SHA256(a-1.tar.gz)'\n";
    let tree = Tree::new()
        .archive("a-1.tar.gz", &[("a-1/file", "text\n")])
        .package("a", &format!("{head}build() {{ echo made >made; echo changed >$1/file; false; }}"));
    tree.mk("-q tiny demo a").has("error: a: build failed");
    tree
}

#[test]
fn the_folders_of_a_failed_build_can_be_opened_again_although_the_last_one_in_them_was_killed() {
    let tree = failed();
    let (running, _stays) = stay(&tree, "a");
    signal(running.id(), SIGKILL);
    until_alone(&tree.at("."));
    shell(&tree, &["a"], "cat made $1/file\n").has("made\nchanged\n");
}

#[test]
fn the_folders_of_a_failed_build_are_open_once_at_a_time() {
    let tree = failed();
    let (mut running, stays) = stay(&tree, "a");
    shell(&tree, &["a"], "").is("
        ! error: the folders of the failed build of `a` are open in another `mk shell`
        ! hint: leave that one, or start afresh with `--fresh`
        status 5
    ");
    shell(&tree, &["--fresh", "a"], "cat $1/file\n").has("text\n");
    drop(stays);
    assert!(running.wait().success());
}

#[test]
fn the_folders_of_a_failed_build_go_when_the_package_succeeds_but_not_from_under_a_shell() {
    let tree = failed();
    let broken = fs_err::read_to_string(tree.at("tree/pkg/a/build")).unwrap();
    let (mut running, stays) = stay(&tree, "a");
    tree.write("pkg/a/build", &broken.replace("false", "true"));
    tree.builds("a");
    assert!(tree.built("failed/a/build/made").exists());
    drop(stays);
    assert!(running.wait().success());
    tree.write("pkg/a/build", &broken.replace("false", ":"));
    tree.builds("a");
    assert!(!tree.built("failed").exists());
    assert_eq!(list(&tree.at("store/failed")), [""; 0]);
    shell(&tree, &["a"], "ls\n").is("");
}

#[test]
fn the_folders_of_a_failed_build_go_as_well_when_an_earlier_result_is_used_again() {
    for tree in Tree::both() {
        let tree = tree.package("a", "build() { [ -z \"$BROKEN\" ]; }");
        tree.builds("a");
        let mut command = tree.command(&["-q", "tiny", "demo", "a"]);
        tree.run(command.env("BROKEN", "yes")).has("error: a: build failed");
        assert!(tree.built("failed/a").exists());
        tree.mk("tiny demo a").has("nothing to do: 1 package reused");
        assert!(!tree.built("failed").exists());
    }
}

#[test]
fn a_step_that_is_called_fails_where_it_would_and_the_shell_goes_on() {
    let build = "build() {\n\techo \"$flags\"\n\tfalse\n\techo not reached\n}\n";
    let deploy = "deploy() {\n\tlocal text\n\ttext=$(cat missing; echo hidden)\n\techo not reached\n}\n";
    let tree = Tree::new().package("a", &format!("flags=-O2\n{build}{deploy}"));
    shell(
        &tree,
        &["a"],
        "build \"$1\" \"$2\"; echo \"status $?\"
        build \"$1\" \"$2\" && echo not reached
        if deploy \"$1\" \"$2\"; then echo not reached; fi
        flags=-O0; build || false; build() { false; echo mine; }; build; ls \"$2\"\n",
    )
    .is("
        -O2
        status 1
        -O2
        -O0
        mine
        ! exit status 1: false
        ! exit status 1: false
        ! cat: missing: No such file or directory
        ! exit status 1: cat missing
        ! exit status 1: text=$(cat missing; echo hidden)
        ! exit status 1: false
    ");
    let tree = Tree::new().package("a", "set +e\nbuild() { false; echo reached; }\n");
    shell(&tree, &["a"], "build\n").is("reached\n! exit status 1: false\n");
}

/// A package whose `prepare` fails half way.
fn unprepared() -> Tree {
    let head = "URL=ARCHIVES TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM='SHA256(a-1.tar.gz)'\n";
    let recipe = format!("{head}prepare() {{\n\techo half >half\n\tcat \"$1/missing\"\n}}\n");
    Tree::new().archive("a-1.tar.gz", &[("a-1/file", "text\n")]).package("a", &recipe)
}

/// Looks around, and tries again.
const TRY: &str =
    "pwd; cat file half; echo there >\"$1/missing\" || echo \"$1\"; prepare \"$1\" || echo again\n";

const TRIED: &str = "
    /mk/src/a-1
    text
    half
    /mk/tree/pkg/a
    again
";

#[test]
fn a_failed_prepare_is_kept_and_opened_as_it_was() {
    let tree = unprepared();
    tree.mk("-q tiny demo a").is("
        ! error: a: prepare failed with exit status 1
        !   at pkg/a/build:4 in prepare(): cat \"$1/missing\"
        !   first errors:
        !     cat: /mk/tree/pkg/a/missing: No such file or directory
        !   end of log:
        !     cat: /mk/tree/pkg/a/missing: No such file or directory
        !   log: tiny-demo/log/a-prepare.log
        !   changed source kept: tiny-demo/failed/a/src
        ! hint: `mk shell tiny demo a` opens a shell in its room
        status 1
    ");
    assert_eq!(fs_err::read_to_string(tree.built("failed/a/src/half")).unwrap(), "half\n");
    let ran = shell(&tree, &["a"], TRY);
    ran.has(TRIED).has("! note: in the folders of the failed prepare, kept in `/store/failed/");
    assert!(!ran.stderr.contains("error: a:"), "it prepares again: {}", ran.text());
    tree.write("pkg/a/missing", "");
    tree.builds("a");
}

#[test]
fn a_prepare_that_fails_for_a_shell_is_told_and_opened() {
    let tree = unprepared();
    for words in [&["a"][..], &["--fresh", "a"]] {
        let ran = shell(&tree, words, TRY);
        ran.has(TRIED).has(
            "
            ! error: a: prepare failed with exit status 1
            !   at pkg/a/build:4 in prepare(): cat \"$1/missing\"
        ",
        );
        ran.has(
            "
            !   log: tiny-demo/log/a-prepare.log
            !   changed source kept: tiny-demo/failed/a/src
            ! note: in the folders of the failed prepare, kept in `/store/failed/
        ",
        );
    }
}

#[test]
fn without_rooms_the_source_is_kept_as_a_failed_prepare_left_it() {
    let tree = unprepared();
    tree.mk("--rooms never -q tiny demo a").has("changed source kept: tiny-demo/failed/a/src");
    assert_eq!(list(&fs_err::canonicalize(tree.built("failed/a/src")).unwrap()), ["file", "half"]);
}
