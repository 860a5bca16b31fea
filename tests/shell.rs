//! `mk shell`: the rooms that it opens, and what it leaves.

#![allow(clippy::unwrap_used, reason = "clippy knows only the test functions themselves as tests")]

mod harness;
mod processes;

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use harness::{Transcript, Tree};
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
