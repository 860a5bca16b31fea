//! Ctrl-C and its like: everything ends soon, also what does not want to, nothing lives on, and the next run finds all as it should be.

#![allow(clippy::unwrap_used, reason = "clippy knows only the test functions themselves as tests")]

mod harness;
mod processes;

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Stdio;
use std::time::{Duration, Instant};

use harness::Tree;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal::{self, SIGHUP, SIGINT, SIGTERM};
use processes::{Running, of_fixture, signal, unfinished, until, until_alone};

/// More than any signal may take; the promise is two seconds of a machine that has nothing else to do.
const SOON: Duration = Duration::from_secs(6);

/// One package that is there, one whose step and all that it starts never end and ignore what asks them to, and one that waits.
fn stubborn() -> Tree {
    Tree::new()
        .package("first", "build() { echo first > \"$2/file\"; }")
        .package(
            "stubborn",
            r#"DEPENDS=first
            build() {
                trap '' TERM INT HUP
                setsid bash -c 'trap "" TERM INT HUP; echo deep; while :; do sleep 1000; done' &
                (setsid setsid sh -c 'trap "" TERM; echo deeper; sleep 1001' &)
                echo begun
                while :; do sleep 1000; done
            }"#,
        )
        .package("release-tiny", "DEPENDS=stubborn")
}

fn until_logged(tree: &Tree, package: &str, words: &[&str]) {
    let log = tree.built(&format!("log/{package}-build.log"));
    until("the log", || {
        let text = fs_err::read_to_string(&log).unwrap_or_default();
        words.iter().all(|word| text.lines().any(|line| line == *word))
    });
}

fn start(tree: &Tree, words: &[&str]) -> Running {
    Running::start(tree.command(words).stderr(Stdio::null()).process_group(0))
}

/// Waits for the end and checks that it came soon and by this signal.
#[track_caller]
fn ends_by(mut running: Running, by: Signal, since: Instant) {
    let status = running.wait();
    assert_eq!(status.signal(), Some(by as i32), "{status}");
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
}

/// After a stop: nothing lives, the finished package is there, the next run builds the others and no more.
fn all_is_right(tree: &Tree, rooms: &str) {
    until_alone(&tree.at("."));
    tree.write("pkg/stubborn/build", "DEPENDS=first\nbuild() { echo done > \"$2/file\"; }");
    let ran = tree.mk(&format!("--rooms {rooms} tiny demo"));
    assert_eq!(ran.status, 0, "{}", ran.text());
    assert!(!ran.stderr.contains("first: build") && ran.stderr.contains("stubborn: built"), "{}", ran.text());
    assert_eq!(tree.deployed("stubborn", "file"), "done\n");
    assert!(unfinished(&tree.at("store"), &tree.at("workspace")).is_empty());
}

#[test]
fn each_signal_ends_everything_below_also_what_ignores_it_and_left_its_session() {
    for by in [SIGINT, SIGTERM, SIGHUP] {
        for rooms in ["always", "never"] {
            let tree = stubborn();
            let running = start(&tree, &["--rooms", rooms, "tiny", "demo"]);
            until_logged(&tree, "stubborn", &["begun", "deep", "deeper"]);
            let since = Instant::now();
            signal(running.id(), by);
            ends_by(running, by, since);
            all_is_right(&tree, rooms);
        }
    }
}

#[test]
fn the_whole_foreground_group_may_get_it_as_from_a_terminal() {
    for rooms in ["always", "never"] {
        let tree = stubborn();
        let running = start(&tree, &["--rooms", rooms, "tiny", "demo"]);
        until_logged(&tree, "stubborn", &["begun", "deep", "deeper"]);
        let since = Instant::now();
        nix::sys::signal::killpg(nix::unistd::Pid::from_raw(running.id() as i32), SIGINT).unwrap();
        ends_by(running, SIGINT, since);
        all_is_right(&tree, rooms);
    }
}

#[test]
fn a_step_that_ends_when_it_is_asked_to_is_given_the_time() {
    let tree = Tree::new().package(
        "slow",
        "build() { trap 'echo tidy; exit 1' TERM; echo begun; while :; do sleep 0.01; done; }",
    );
    let tree = tree.package("release-tiny", "DEPENDS=slow");
    let mut running = start(&tree, &["tiny", "demo"]);
    until_logged(&tree, "slow", &["begun"]);
    signal(running.id(), SIGINT);
    assert_eq!(running.wait().signal(), Some(SIGINT as i32));
    assert!(tree.log("slow", "build").ends_with("tidy\n"));
    let record = fs_err::read_to_string(tree.built("log/events.json")).unwrap();
    let untried = "\"package\":\"release-tiny\",\"outcome\":\"cancelled\",\"reason\":\"not tried\"";
    assert!(record.contains(untried), "{record}");
    assert!(
        record.contains("\"outcome\":\"cancelled\"") && !record.contains("\"event\":\"failed\""),
        "{record}"
    );
}

#[test]
fn the_second_signal_ends_it_at_once() {
    for rooms in ["always", "never"] {
        let tree = stubborn();
        let running = start(&tree, &["--rooms", rooms, "tiny", "demo"]);
        until_logged(&tree, "stubborn", &["begun", "deep", "deeper"]);
        let since = Instant::now();
        signal(running.id(), SIGINT);
        // The other one, or the kernel may take both for one.
        signal(running.id(), SIGTERM);
        let mut running = running;
        let status = running.wait();
        assert!([SIGINT, SIGTERM].map(|by| Some(by as i32)).contains(&status.signal()), "{status}");
        assert!(since.elapsed() < SOON);
        all_is_right(&tree, rooms);
    }
}

#[test]
fn whoever_waits_for_another_mk_can_be_stopped() {
    let tree = Tree::new().archive("a-1.tar.gz", &[("a-1/file", "x\n")]).package(
        "release-tiny",
        "TARBALL=a-1.tar.gz\nSRCDIR=a-1\nURL=ARCHIVES\nSHA256SUM=SHA256(a-1.tar.gz)\nbuild() { :; }",
    );
    let digest = mk::digest::Digest::of(fs_err::read(tree.at("archives/a-1.tar.gz")).unwrap());
    tree.mk("plan tiny demo");
    fs_err::create_dir_all(tree.at("store/lock")).unwrap();
    let lock =
        fs_err::File::create(tree.at("store/lock").join(format!("source-{digest}"))).unwrap().into_parts().0;
    let _held = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    let said = tree.at("said");
    let mut command = tree.command(&["--format", "plain", "tiny", "demo"]);
    let running = Running::start(command.stderr(fs_err::File::create(&said).unwrap().into_parts().0));
    until("it says so", || {
        fs_err::read_to_string(&said).unwrap().contains("release-tiny: waits: the same is being made already")
    });
    let since = Instant::now();
    signal(running.id(), SIGINT);
    ends_by(running, SIGINT, since);
    until_alone(&tree.at("."));
}

#[test]
fn signals_that_its_caller_has_it_ignore_do_nothing() {
    let tree = Tree::new();
    let (begun, go) = (tree.at("begun"), tree.at("go"));
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Open at both ends: nobody waits for the other.
    let mut pipe = fs_err::OpenOptions::new().read(true).write(true).open(&go).unwrap();
    let recipe = format!("build() {{ echo begun >{}; read -r <{}; }}", begun.display(), go.display());
    let tree = tree.package("a", &recipe);
    let mk = tree.command(&["--rooms", "never", "tiny", "demo", "a"]);
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", "trap '' HUP INT; exec \"$0\" \"$@\"", harness::MK]).args(mk.get_args());
    bash.env_clear().envs(mk.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut running = Running::start(bash.current_dir(tree.at("workspace")).stderr(Stdio::null()));
    until("the step begins", || begun.exists());
    signal(running.id(), SIGHUP);
    signal(running.id(), SIGINT);
    pipe.write_all(b"\n").unwrap();
    assert_eq!(running.wait().code(), Some(0));
}

#[test]
fn whoever_waits_for_a_server_can_be_stopped() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let tree = Tree::new().package(
        "release-tiny",
        &format!("TARBALL=a-1.tar.gz\nSRCDIR=a-1\nURL={url}\nSHA256SUM={}\nbuild() {{ :; }}", "1".repeat(64)),
    );
    let running = start(&tree, &["tiny", "demo"]);
    let _connection = listener.accept().unwrap();
    let since = Instant::now();
    signal(running.id(), SIGTERM);
    ends_by(running, SIGTERM, since);
    until_alone(&tree.at("."));
}

#[test]
fn a_signal_ends_a_command_also_after_what_it_built_first() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    for by in [SIGINT, SIGTERM, SIGHUP] {
        let source = format!("TARBALL=a-1.tar.gz\nSRCDIR=a-1\nURL={url}\nSHA256SUM={}", "1".repeat(64));
        let tree = Tree::new()
            .package("first", "build() { echo first > \"$2/file\"; }")
            .package("second", &format!("DEPENDS=first\n{source}\nbuild() {{ :; }}"));
        let running = start(&tree, &["shell", "tiny", "demo", "second"]);
        let _connection = listener.accept().unwrap();
        assert_eq!(tree.deployed("first", "file"), "first\n");
        let since = Instant::now();
        signal(running.id(), by);
        ends_by(running, by, since);
        until_alone(&tree.at("."));
    }
}

#[test]
fn what_cannot_be_stopped_is_cut_off() {
    // Nobody writes into the pipe, and nothing but the end of the process gets a thread out of opening it.
    let tree = Tree::new().archive("a-1.tar.gz", &[("a-1/file", "x\n")]).package(
        "release-tiny",
        "TARBALL=a-1.tar.gz\nSRCDIR=a-1\nURL=ARCHIVES\nSHA256SUM=SHA256(a-1.tar.gz)\nbuild() { :; }",
    );
    tree.mk("plan tiny demo");
    let digest = mk::digest::Digest::of(fs_err::read(tree.at("archives/a-1.tar.gz")).unwrap());
    fs_err::create_dir_all(tree.at("store/lock")).unwrap();
    nix::unistd::mkfifo(
        &tree.at("store/lock").join(format!("source-{digest}")),
        nix::sys::stat::Mode::S_IRWXU,
    )
    .unwrap();
    let running = start(&tree, &["tiny", "demo"]);
    until("it hangs", || {
        let threads =
            fs_err::read_dir(format!("/proc/{}/task", running.id())).into_iter().flatten().flatten();
        threads
            .map(|t| fs_err::read_to_string(t.path().join("wchan")).unwrap_or_default())
            .any(|at| at.contains("fifo") || at.contains("wait_for_partner"))
    });
    let since = Instant::now();
    signal(running.id(), SIGINT);
    ends_by(running, SIGINT, since);
    until_alone(&tree.at("."));
}

#[test]
fn an_ended_run_leaves_nothing_that_a_step_left_behind() {
    for tree in Tree::both() {
        let tree = tree.package(
            "release-tiny",
            "build() { (setsid sh -c 'trap \"\" TERM HUP; sleep 1002' &); sleep 1003 & }",
        );
        tree.builds("");
        assert_eq!(of_fixture(&tree.at(".")), []);
        until_alone(&tree.at("."));
    }
}
