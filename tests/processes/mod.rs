//! What is left of a run: its processes, its mounts, and unfinished files.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "no test file uses all of it; clippy knows only test functions as tests"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Waits until a condition holds, for a minute at most.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited for too long: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Processes and their parents.
fn parents() -> Vec<(u32, u32)> {
    let numbers = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let stat = fs_err::read(format!("/proc/{pid}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat).into_owned();
        // `PID (any name) STATE PPID …`; the dead are nobody's work.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
        (!["Z", "X"].contains(&state)).then_some((pid, parent))
    })
    .collect()
}

/// All that a process started, in turn, as far as it is still below it.
pub fn below(root: u32) -> Vec<u32> {
    let all = parents();
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        let children: Vec<u32> = all.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| *pid).collect();
        next.extend(&children);
        found.extend(children);
    }
    found
}

/// The name by which a fixture's folder is known wherever it is seen.
fn name_of(fixture: &Path) -> String {
    fixture
        .components()
        .filter_map(|part| part.as_os_str().to_str())
        .find(|part| part.starts_with("mk-test-"))
        .unwrap()
        .to_owned()
}

/// Processes, but for this one, that run in a fixture's folders or in a room that shows them.
pub fn of_fixture(fixture: &Path) -> Vec<(u32, String)> {
    let name = name_of(fixture);
    let mentions = |pid: u32| {
        let files = ["mountinfo", "cmdline", "environ"];
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd"))
            .is_ok_and(|cwd| cwd.to_string_lossy().contains(&name));
        cwd || files.iter().any(|file| {
            fs_err::read(format!("/proc/{pid}/{file}"))
                .is_ok_and(|text| String::from_utf8_lossy(&text).contains(&name))
        })
    };
    let own = std::process::id();
    let found = parents().into_iter().filter(|(pid, _)| *pid != own && mentions(*pid));
    let line = |pid: u32| {
        String::from_utf8_lossy(&fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default())
            .replace('\0', " ")
    };
    found.map(|(pid, _)| (pid, line(pid))).collect()
}

/// Waits until nothing of a fixture runs, and checks that nothing of it is mounted.
#[track_caller]
pub fn until_alone(fixture: &Path) {
    let mut left = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        left = of_fixture(fixture);
        if left.is_empty() {
            let mounts = fs_err::read("/proc/self/mountinfo").unwrap();
            let mounts = String::from_utf8_lossy(&mounts).into_owned();
            let ours: Vec<&str> = mounts.lines().filter(|line| line.contains(&name_of(fixture))).collect();
            assert!(ours.is_empty(), "still mounted: {ours:?}");
            return;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    panic!("still running: {left:?}");
}

/// Everything unfinished in a fixture's store and workspace.
pub fn unfinished(store: &Path, workspace: &Path) -> Vec<PathBuf> {
    let in_tmp =
        std::fs::read_dir(store.join("tmp")).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = [store, workspace].into_iter().flat_map(|folder| {
        let entries = walkdir::WalkDir::new(folder).into_iter().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(".new-"))
            .map(|entry| entry.into_path())
    });
    in_tmp.chain(named).collect()
}

/// Sends a signal.
pub fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal);
}

/// A program that is killed where the test that started it fails.
pub struct Running(pub std::process::Child);

impl Running {
    /// Starts a command.
    pub fn start(command: &mut std::process::Command) -> Running {
        Running(command.spawn().unwrap())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ends.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.0.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
