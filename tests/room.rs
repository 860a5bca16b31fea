//! Rooms with real namespaces, mounts and processes: as the caller and, where that is root, as an ordinary user too.
//!
//! Its own harness, since the room server must be forked before there is a second thread. Words on the command line
//! choose the tests whose names hold one of them.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mk::error::{Kind, Result};
use mk::room::{Cancel, LAYERS_MAX, Mount, Program, Ran, Room, RoomServer, Status, Stop};

/// A room server and a folder of its own for one test.
struct Bench<'a> {
    server: &'a RoomServer,
    folder: tempfile::TempDir,
}

impl Bench<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder with files, given as name and text.
    fn folder(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.path(name);
        fs_err::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            let file = folder.join(name);
            fs_err::create_dir_all(file.parent().unwrap()).unwrap();
            fs_err::write(file, text).unwrap();
        }
        folder
    }

    fn program(&self, script: &str) -> Program {
        Program {
            argv: ["/bin/sh", "-c", script].map(Into::into).into(),
            env: vec![("PATH".into(), "/usr/bin:/bin:/usr/sbin:/sbin".into())],
            cwd: "/".into(),
            log: self.path("log"),
            stdout: None,
        }
    }

    fn room(&self, mounts: Vec<Mount>, script: &str) -> Room {
        Room { mounts, programs: vec![self.program(script)], network: false, terminal: false, limit: None }
    }

    fn overlay(&self, lower: Vec<PathBuf>, to: &str) -> Mount {
        let (upper, work) = (self.folder("upper", &[]), self.folder("work", &[]));
        Mount::Overlay { lower, upper: Some(upper), work: Some(work), to: to.into() }
    }

    fn run(&self, room: &Room) -> Result<Ran> {
        self.server.run(room, &[], &Cancel::new().unwrap())
    }

    /// Runs a script that must succeed, and gives what it printed.
    fn says(&self, mounts: Vec<Mount>, script: &str) -> String {
        let ran = self.run(&self.room(mounts, script)).unwrap();
        assert!(ran.success(), "{ran:?}: {}", self.log());
        self.log()
    }

    fn log(&self) -> String {
        fs_err::read_to_string(self.path("log")).unwrap_or_default()
    }
}

fn bind(from: &Path, to: &str, writable: bool) -> Mount {
    Mount::Bind { from: from.into(), to: to.into(), writable }
}

fn read(path: impl AsRef<Path>) -> String {
    fs_err::read_to_string(path.as_ref()).unwrap()
}

/// Waits until nobody holds the other end of a pipe; false when that takes longer than 10 s.
fn ends(pipe: &impl AsFd) -> bool {
    let mut fd = [nix::poll::PollFd::new(pipe.as_fd(), nix::poll::PollFlags::empty())];
    nix::poll::poll(&mut fd, 10_000u16).unwrap() == 1
}

/// Waits until `text` can be read from the pipe.
fn wait_for(pipe: &mut (impl Read + AsFd), text: &str) {
    let (mut seen, mut byte) = (String::new(), [0]);
    while !seen.contains(text) {
        let mut fd = [nix::poll::PollFd::new(pipe.as_fd(), nix::poll::PollFlags::POLLIN)];
        assert_eq!(nix::poll::poll(&mut fd, 20_000u16).unwrap(), 1, "nothing came after `{seen}`");
        assert_eq!(pipe.read(&mut byte).unwrap(), 1, "the pipe ended after `{seen}`");
        write!(seen, "{}", byte[0] as char).unwrap();
    }
}

fn pipe() -> (fs_err::File, std::os::fd::OwnedFd) {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    (fs_err::File::from_parts(read.into(), "pipe"), write)
}

/// A script whose grandchild leaves the session, ignores SIGTERM and holds descriptor 9 open, where it says `up`.
const STUBBORN: &str = "setsid sh -c 'trap \"\" TERM; echo up >&9; while :; do sleep 100; done' & wait";

fn a_room_shows_its_mounts_and_the_hosts_tools_and_nothing_else(bench: &Bench) {
    let source = bench.folder("source", &[("a", "text of a")]);
    let mounts = vec![
        bind(&source, "/mk/src", false),
        Mount::File { to: "/mk/note".into(), text: "a note".into() },
        Mount::Symlink { target: "src/a".into(), to: "/mk/link".into() },
        Mount::Tmpfs { to: "/mk/build".into() },
    ];
    let said = bench
        .says(mounts, "ls -A / | grep -v '^lib'; ls -A /mk /tmp /mk/home /mk/build; cat /mk/link /mk/note");
    assert_eq!(
        said,
        "bin\ndev\netc\nmk\nopt\nproc\nsbin\ntmp\nusr\n/mk:\nbuild\nhome\nlink\nnote\nsrc\n\n/mk/build:\n\n/mk/home:\n\n/tmp:\ntext of aa note"
    );
}

fn writing_to_a_read_only_place_fails_and_to_the_others_works(bench: &Bench) {
    let (ro, rw) = (bench.folder("ro", &[("a", "1")]), bench.folder("rw", &[]));
    let mounts = vec![
        bind(&ro, "/mk/ro", false),
        bind(&rw, "/mk/rw", true),
        bind(&ro, "/mk/rw/ro", false),
        Mount::Tmpfs { to: "/mk/build".into() },
        Mount::File { to: "/mk/file".into(), text: "x".into() },
    ];
    let script = "for f in /x /mk/x /usr/x /bin/x /etc/x /dev/x /proc/x /mk/ro/x /mk/ro/a /mk/rw/ro/x /mk/file; do
            if (echo x >\"$f\") 2>/dev/null; then echo \"wrote $f\"; fi
        done
        for d in /tmp /mk/home /mk/rw /mk/build /dev/shm; do echo x >\"$d/x\" || exit 1; done
        echo x >/dev/null && test \"$(head -c 2 /dev/zero | wc -c)\" = 2 && test -c /dev/tty && test -e /dev/ptmx";
    assert_eq!(bench.says(mounts, script), "");
    assert_eq!(read(rw.join("x")), "x\n");
    assert_eq!(read(ro.join("a")), "1");
}

fn a_mount_point_is_never_made_in_a_read_only_folder_of_the_host(bench: &Bench) {
    let (ro, other) = (bench.folder("ro", &[("there/x", "")]), bench.folder("other", &[("y", "")]));
    let mounts = |inner| vec![bind(&ro, "/mk/ro", false), bind(&other, inner, false)];
    assert_eq!(bench.says(mounts("/mk/ro/there"), "ls /mk/ro/there"), "y\n");
    let error = bench.run(&bench.room(mounts("/mk/ro/new/er"), "true")).unwrap_err();
    assert!(error.message.starts_with("cannot make mount point `/mk/ro/new/er`: EROFS"), "{error}");
    assert!(!ro.join("new").exists());
}

fn a_room_has_a_loopback_interface_and_no_other_network(bench: &Bench) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "tail -n +2 /proc/net/route; cut -d: -f1 -s /proc/net/dev | tr -d ' '
        bash -c 'echo >/dev/tcp/127.0.0.1/{port}' 2>&1 | grep -m 1 -o refused
        bash -c 'echo >/dev/tcp/192.0.2.1/80' 2>&1 | grep -m 1 -o unreachable; cat /etc/resolv.conf"
    );
    let said = bench.says(vec![], &script);
    // A kernel may put tunnel devices, which are down, into every network namespace.
    let lines: Vec<_> = said.lines().filter(|line| !line.ends_with('0')).collect();
    assert_eq!(lines, ["lo", "refused", "unreachable"]);
}

fn a_room_with_network_has_the_machines(bench: &Bench) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("bash -c 'echo >/dev/tcp/127.0.0.1/{port}' && cat /etc/resolv.conf");
    let room = Room { network: true, ..bench.room(vec![], &script) };
    assert!(bench.run(&room).unwrap().success(), "{}", bench.log());
    assert_eq!(bench.log(), fs_err::read_to_string("/etc/resolv.conf").unwrap_or_default());
}

fn a_program_is_user_1000_without_capabilities_on_host_mk_among_its_own_processes(bench: &Bench) {
    let script = "id -u; id -g; id -un; id -G; uname -n; hostname 2>/dev/null || cat /etc/hostname
        set -- /proc/[0-9]*; echo $#; grep -E '^(CapInh|CapPrm|CapEff|CapAmb|NoNewPrivs)' /proc/self/status | cut -f2
        cat /proc/1/comm; umask";
    let none = "0000000000000000\n";
    assert_eq!(
        bench.says(vec![], script),
        format!(
            "1000\n1000\nmk\n1000{}\nmk\nmk\n2\n{none}{none}{none}{none}1\nmk-rooms\n0022\n",
            extra_groups()
        )
    );
}

/// What `id -G` adds for the groups that an ordinary caller is in and cannot drop.
fn extra_groups() -> &'static str {
    let own = nix::unistd::getegid();
    let more = nix::unistd::getgroups().unwrap().iter().any(|group| *group != own);
    if more && !nix::unistd::geteuid().is_root() { " 65534" } else { "" }
}

fn environment_folder_and_descriptors_are_exactly_as_given(bench: &Bench) {
    let odd = "a\nb=c \u{e9}";
    let mut room = bench.room(vec![], "");
    let program = &mut room.programs[0];
    program.argv = ["/usr/bin/env", "-0"].map(Into::into).into();
    program.env = vec![("B".into(), odd.into()), ("A".into(), "".into())];
    let mut second = bench.program("pwd; ls /proc/self/fd; readlink /proc/self/fd/0; grep -E 'SigIgn|SigBlk' /proc/self/status | cut -f2");
    second.cwd = "/mk/home".into();
    second.env.push(("PWD".into(), "/mk/home".into()));
    room.programs.push(second);
    assert_eq!(bench.run(&room).unwrap().exits.len(), 2);
    // The 3 is ls's own look at the folder.
    let zero = "0000000000000000\n";
    assert_eq!(bench.log(), format!("B={odd}\0A=\0/mk/home\n0\n1\n2\n3\n/dev/null\n{zero}{zero}"));
}

fn standard_output_can_be_kept_apart_from_the_log(bench: &Bench) {
    fs_err::write(bench.path("log"), "before\n").unwrap();
    fs_err::write(bench.path("out"), "something long from before\n").unwrap();
    for run in [RoomServer::run, RoomServer::run_bare] {
        let mut room = bench.room(vec![], "echo out; echo err >&2");
        room.programs[0].stdout = Some(bench.path("out"));
        assert!(run(bench.server, &room, &[], &Cancel::new().unwrap()).unwrap().success());
        assert_eq!(read(bench.path("out")), "out\n");
    }
    assert_eq!(bench.log(), "before\nerr\nerr\n");
}

fn the_upper_folder_takes_what_is_written_and_layers_stay_as_they_are(bench: &Bench) {
    let top = bench.folder("top", &[("both", "top"), ("gone", "")]);
    let bottom = bench.folder("bottom", &[("both", "bottom"), ("d/deep", "deep"), ("old", "old")]);
    let mounts = vec![bench.overlay(vec![top.clone(), bottom.clone()], "/mk/src")];
    let script = "cd /mk/src && cat both d/deep && echo new >new && echo more >>old && rm gone && rm -r d && mkdir d && ls -A d";
    assert_eq!(bench.says(mounts, script), "topdeep");
    let upper = bench.path("upper");
    assert_eq!((read(upper.join("new")), read(upper.join("old"))), ("new\n".into(), "oldmore\n".into()));
    let meta = fs_err::metadata(upper.join("new")).unwrap();
    assert_eq!(meta.uid(), nix::unistd::geteuid().as_raw());
    assert_eq!(meta.mode() & 0o777, 0o644);
    assert_eq!((read(top.join("both")), read(bottom.join("old"))), ("top".into(), "old".into()));
    assert!(top.join("gone").exists() && bottom.join("d/deep").exists());
    assert_eq!(fs_err::read_dir(bench.path("work")).unwrap().count(), 0, "the work folder is empty again");
}

fn an_overlay_without_upper_is_read_only_and_one_without_lower_is_its_upper(bench: &Bench) {
    let (a, b, upper) =
        (bench.folder("a", &[("a", "a")]), bench.folder("b", &[("b", "b")]), bench.folder("u", &[]));
    let layers = |lower, upper, to: &str| Mount::Overlay { lower, upper, work: None, to: to.into() };
    let mounts = vec![
        layers(vec![a.clone(), b], None, "/mk/two"),
        layers(vec![a], None, "/mk/one"),
        layers(vec![], Some(upper.clone()), "/mk/upper"),
        layers(vec![], None, "/mk/none"),
    ];
    let script = "cat /mk/two/a /mk/two/b /mk/one/a; touch /mk/upper/x
        for d in two one none; do touch /mk/$d/x 2>/dev/null && echo wrote $d; done; ls -A /mk/none";
    assert_eq!(bench.run(&bench.room(mounts, script)).unwrap().exits[0].status, Status::Code(0));
    assert_eq!(bench.log(), "aba");
    assert!(upper.join("x").exists());
}

fn four_hundred_and_fifty_layers_work_and_too_many_are_an_error_that_says_so(bench: &Bench) {
    let layers: Vec<_> = (0..LAYERS_MAX + 1)
        .map(|i| {
            bench.folder(
                &format!("a-rather-long-name-of-a-layer-{i}"),
                &[(&format!("f{i}"), ""), ("all", &i.to_string())],
            )
        })
        .collect();
    for count in [450, LAYERS_MAX] {
        let said = bench.says(
            vec![bench.overlay(layers[..count].to_vec(), "/mk/src")],
            "ls /mk/src | wc -l; cat /mk/src/all",
        );
        assert!(said.ends_with(&format!("{}\n0", count + 1)), "{said}");
    }
    let error = bench.run(&bench.room(vec![bench.overlay(layers, "/mk/src")], "true")).unwrap_err();
    assert_eq!(error.message, "cannot mount overlay at `/mk/src`: 501 layers, and the kernel takes 500");
}

fn folder_names_may_hold_colons_commas_backslashes_and_spaces(bench: &Bench) {
    let names = ["a:b", "c,d", "e\\f", "g h", "i\nj", "upperdir=k"];
    let lower: Vec<_> = names.iter().map(|name| bench.folder(name, &[(name, "")])).collect();
    let upper = bench.folder("u:p,p\\e r", &[]);
    let work = bench.folder("w:o,r\\k s", &[]);
    let mounts = vec![
        Mount::Overlay {
            lower: lower.clone(),
            upper: Some(upper.clone()),
            work: Some(work),
            to: "/mk/s:r,c \\x".into(),
        },
        bind(&lower[0], "/mk/b:i,n d\\", false),
    ];
    assert_eq!(
        bench.says(mounts, "cd '/mk/s:r,c \\x' && touch new && ls -A | wc -l; ls '/mk/b:i,n d\\'"),
        "8\na:b\n"
    );
    assert!(upper.join("new").exists());
}

fn a_thousand_folders_are_bound_read_only(bench: &Bench) {
    let mounts: Vec<_> = (0..1000)
        .map(|i| bind(&bench.folder(&format!("d{i}"), &[("f", "")]), &format!("/mk/root/deploy/d{i}"), false))
        .collect();
    let script = "ls /mk/root/deploy/*/f | wc -l; for i in 0 500 999; do touch /mk/root/deploy/d$i/x 2>/dev/null && echo wrote; done; true";
    assert_eq!(bench.says(mounts, script), "1000\n");
}

fn a_mount_that_fails_says_which_and_why(bench: &Bench) {
    let error = |mount| bench.run(&bench.room(vec![mount], "true")).unwrap_err();
    let nowhere = bench.path("nowhere");
    let e = error(bind(&nowhere, "/mk/x", false));
    assert_eq!(e.kind, Kind::Host);
    assert_eq!(
        e.message,
        format!("cannot bind `{}` at `/mk/x`: ENOENT: No such file or directory", nowhere.display())
    );
    let e = error(bench.overlay(vec![nowhere.clone()], "/mk/src"));
    assert_eq!(
        e.message,
        format!(
            "cannot mount overlay at `/mk/src`: ENOENT: No such file or directory, `{}` is no folder",
            nowhere.display()
        )
    );
    let e = error(Mount::Tmpfs { to: "/mk/../../x".into() });
    assert_eq!(e.message, "no place in a room: `/mk/../../x`");
}

fn status_and_signal_are_told_and_the_first_failure_ends_the_row(bench: &Bench) {
    for run in [RoomServer::run, RoomServer::run_bare] {
        let mut room = bench.room(vec![], "exit 0");
        room.programs.extend(["exit 7", "echo never"].map(|script| bench.program(script)));
        let status = |room: &Room| {
            let ran = run(bench.server, room, &[], &Cancel::new().unwrap()).unwrap();
            ran.exits.iter().map(|exit| exit.status).collect::<Vec<_>>()
        };
        assert_eq!(status(&room), [Status::Code(0), Status::Code(7)]);
        assert_eq!(status(&bench.room(vec![], "kill -KILL $$")), [Status::Signal(libc::SIGKILL)]);
        assert_eq!(status(&bench.room(vec![], "kill -35 $$")), [Status::Signal(35)]);
        assert_eq!(bench.log(), "");
    }
}

fn a_program_that_cannot_be_run_is_an_error_that_says_why(bench: &Bench) {
    for run in [RoomServer::run, RoomServer::run_bare] {
        let error = |change: &dyn Fn(&mut Program)| {
            let mut room = bench.room(vec![], "true");
            change(&mut room.programs[0]);
            run(bench.server, &room, &[], &Cancel::new().unwrap()).unwrap_err().message
        };
        let no_file = "ENOENT: No such file or directory";
        assert_eq!(
            error(&|p| p.argv = vec!["/bin/nonsense".into()]),
            format!("cannot run `/bin/nonsense`: {no_file}")
        );
        assert_eq!(
            error(&|p| p.cwd = "/nowhere".into()),
            format!("cannot enter `/nowhere` for `/bin/sh`: {no_file}")
        );
        assert_eq!(error(&|p| p.argv.clear()), "cannot run a program without a name");
        assert!(error(&|p| p.argv[2] = "a\0b".into()).contains("holds a NUL byte"));
        let log = error(&|p| p.log = "/nowhere/log".into());
        assert!(log.contains("`/nowhere/log`"), "{log}");
    }
}

fn descriptors_are_found_at_the_numbers_asked_for_even_where_they_cross(bench: &Bench) {
    for run in [RoomServer::run, RoomServer::run_bare] {
        let pipes: Vec<_> = (0..6).map(|_| pipe()).collect();
        let inherit: Vec<(BorrowedFd, RawFd)> = pipes
            .iter()
            .zip([9, 8, 7, 6, 5, 4])
            .map(|((_, write), number)| (write.as_fd(), number))
            .collect();
        let room = bench.room(vec![], "for i in 4 5 6 7 8 9; do eval \"echo $i >&$i\"; done");
        assert!(
            run(bench.server, &room, &inherit, &Cancel::new().unwrap()).unwrap().success(),
            "{}",
            bench.log()
        );
        drop(inherit);
        for ((mut read, write), number) in pipes.into_iter().zip([9, 8, 7, 6, 5, 4]) {
            drop(write);
            let mut text = String::new();
            read.read_to_string(&mut text).unwrap();
            assert_eq!(text, format!("{number}\n"));
        }
    }
}

fn what_a_program_leaves_running_is_ended_before_the_next_one_starts(bench: &Bench) {
    for run in [RoomServer::run, RoomServer::run_bare] {
        let (mut up, write) = pipe();
        let mut room = bench.room(vec![], &STUBBORN.replace("& wait", ">/dev/null 2>&1 & read x <&8"));
        // The first program goes on once the grandchild is up, which this thread tells it.
        let (go, going) = pipe();
        room.programs.push(bench.program("true"));
        room.programs[1].log = bench.path("second");
        let ran = std::thread::scope(|scope| {
            scope.spawn(|| {
                wait_for(&mut up, "up");
                nix::unistd::write(&going, b"\n").unwrap();
            });
            run(bench.server, &room, &[(write.as_fd(), 9), (go.as_fd(), 8)], &Cancel::new().unwrap()).unwrap()
        });
        assert_eq!(ran.exits.len(), 2, "{ran:?} {}", bench.log());
        drop(write);
        assert!(ends(&up));
    }
}

fn cancelling_ends_grandchildren_that_left_the_session_and_ignore_sigterm(bench: &Bench) {
    for run in [RoomServer::run, RoomServer::run_bare] {
        for gently in [true, false] {
            let (mut up, write) = pipe();
            let room = bench.room(vec![], STUBBORN);
            let cancel = Cancel::new().unwrap();
            let (ran, took) = std::thread::scope(|scope| {
                let running =
                    scope.spawn(|| run(bench.server, &room, &[(write.as_fd(), 9)], &cancel).unwrap());
                wait_for(&mut up, "up");
                let start = Instant::now();
                if gently {
                    cancel.cancel()
                } else {
                    cancel.kill()
                }
                (running.join().unwrap(), start.elapsed())
            });
            assert_eq!(ran.stop, Some(Stop::Cancelled));
            assert_eq!(ran.exits.len(), 1);
            assert!(cancel.is_cancelled() && !ran.success() && took < Duration::from_secs(2), "{took:?}");
            drop(write);
            assert!(ends(&up), "someone lives on");
            let again = run(bench.server, &room, &[], &cancel).unwrap();
            assert_eq!((again.stop, again.exits.len()), (Some(Stop::Cancelled), 0), "nothing starts after");
        }
    }
}

fn cancelling_gently_lets_everyone_clean_up(bench: &Bench) {
    for run in [RoomServer::run, RoomServer::run_bare] {
        let (mut up, write) = pipe();
        let room = bench.room(
            vec![],
            "setsid sh -c 'trap \"echo cleaned >&9; exit\" TERM; echo up >&9; while :; do sleep 100 & wait; done' & wait",
        );
        let cancel = Cancel::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| run(bench.server, &room, &[(write.as_fd(), 9)], &cancel).unwrap());
            wait_for(&mut up, "up");
            cancel.cancel();
            wait_for(&mut up, "cleaned");
        });
    }
}

fn a_time_limit_ends_a_program(bench: &Bench) {
    for run in [RoomServer::run, RoomServer::run_bare] {
        let room = Room { limit: Some(Duration::from_millis(50)), ..bench.room(vec![], "sleep 100") };
        let ran = run(bench.server, &room, &[], &Cancel::new().unwrap()).unwrap();
        assert_eq!((ran.stop, ran.exits[0].status), (Some(Stop::Limit), Status::Signal(libc::SIGTERM)));
    }
}

fn two_rooms_side_by_side_do_not_see_each_other(bench: &Bench) {
    let rendezvous: Vec<_> = (0..2).map(|_| pipe()).collect();
    let said: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|me: usize| {
                let (mine, other) = (&rendezvous[me], &rendezvous[1 - me]);
                scope.spawn(move || {
                    let upper = bench.folder(&format!("upper{me}"), &[]);
                    let script = format!(
                        "echo {me} >/mk/root/toolchain/same && echo {me} >/tmp/same && echo >&8 && read x <&9 && cat /mk/root/toolchain/same /tmp/same"
                    );
                    let to = "/mk/root/toolchain".into();
                    let mut room =
                        bench.room(vec![Mount::Overlay { lower: vec![], upper: Some(upper), work: None, to }], &script);
                    room.programs[0].log = bench.path(&format!("log{me}"));
                    let inherit = [(other.1.as_fd(), 8), (mine.0.as_fd(), 9)];
                    bench.server.run(&room, &inherit, &Cancel::new().unwrap()).unwrap();
                    read(bench.path(&format!("log{me}")))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(said, ["0\n0\n", "1\n1\n"]);
}

fn many_rooms_at_once_all_come_to_their_end(bench: &Bench) {
    let layer = bench.folder("layer", &[("a", "a")]);
    std::thread::scope(|scope| {
        for me in 0..16 {
            let layer = &layer;
            scope.spawn(move || {
                let (upper, work) =
                    (bench.folder(&format!("u{me}"), &[]), bench.folder(&format!("w{me}"), &[]));
                let lower = vec![layer.clone()];
                let mounts = vec![Mount::Overlay {
                    lower,
                    upper: Some(upper.clone()),
                    work: Some(work),
                    to: "/mk/x".into(),
                }];
                let mut room = bench.room(mounts, "cp /mk/x/a /mk/x/b");
                room.programs[0].log = bench.path(&format!("log{me}"));
                assert!(bench.run(&room).unwrap().success());
                assert_eq!(read(upper.join("b")), "a");
            });
        }
    });
}

fn time_spent_is_counted_with_all_descendants(bench: &Bench) {
    for run in [RoomServer::run, RoomServer::run_bare] {
        // The loop spins in a grandchild until it has used 200 ms by its own count.
        let spin = "sh -c 'sh -c \"while read -r _ _ _ _ _ _ _ _ _ _ _ _ _ u s _ </proc/self/stat; do test \\$((u + s)) -ge 20 && exit; done\"'";
        let ran = run(bench.server, &bench.room(vec![], spin), &[], &Cancel::new().unwrap()).unwrap();
        assert!(ran.success() && ran.cpu >= Duration::from_millis(190), "{ran:?} {}", bench.log());
    }
}

fn killing_mk_leaves_no_process_and_no_mount(bench: &Bench) {
    let mounts = read("/proc/self/mounts");
    for how in ["room", "bare"] {
        let (mut up, write) = pipe();
        let mut victim = Command::new(std::env::current_exe().unwrap());
        victim.args(["--victim", how]).arg(bench.folder.path()).stdin(Stdio::null());
        let number = write.as_raw_fd();
        // SAFETY: dup2 may be called between fork and exec.
        unsafe {
            victim.pre_exec(move || {
                nix::errno::Errno::result(libc::dup2(number, 1)).map(drop).map_err(Into::into)
            })
        };
        let mut victim = victim.spawn().unwrap();
        drop(write);
        wait_for(&mut up, "up");
        victim.kill().unwrap();
        victim.wait().unwrap();
        assert!(ends(&up), "a process lives on");
    }
    assert_eq!(read("/proc/self/mounts"), mounts);
}

/// The caller that [`killing_mk_leaves_no_process_and_no_mount`] kills.
fn victim(how: &str, folder: &str) {
    let server = RoomServer::start().unwrap();
    run_stubborn(&server, how, folder, std::io::stdout().as_fd()).unwrap();
}

fn run_stubborn(server: &RoomServer, how: &str, folder: &str, up: BorrowedFd) -> Result<Ran> {
    let folder = Path::new(folder);
    for name in ["lower", "upper", "work"] {
        fs_err::create_dir_all(folder.join(name)).unwrap();
    }
    let overlay = Mount::Overlay {
        lower: vec![folder.join("lower")],
        upper: Some(folder.join("upper")),
        work: Some(folder.join("work")),
        to: "/mk/src".into(),
    };
    let program = Program {
        argv: ["/bin/sh", "-c", STUBBORN].map(Into::into).into(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: "/".into(),
        log: folder.join("log"),
        stdout: None,
    };
    let room =
        Room { mounts: vec![overlay], programs: vec![program], network: false, terminal: false, limit: None };
    let run = if how == "room" { RoomServer::run } else { RoomServer::run_bare };
    run(server, &room, &[(up, 9)], &Cancel::new().unwrap())
}

fn killing_the_server_ends_the_rooms_and_is_told(bench: &Bench) {
    for how in ["room", "bare"] {
        let mut caller = Command::new(std::env::current_exe().unwrap());
        assert!(caller.args(["--orphan", how]).arg(bench.folder.path()).status().unwrap().success());
    }
}

/// The caller whose server dies, in [`killing_the_server_ends_the_rooms_and_is_told`].
fn orphan(how: &str, folder: &str) {
    let server = RoomServer::start().unwrap();
    let me = std::process::id() as i32;
    let pid = processes().into_iter().find(|(_, parent, _)| *parent == me).unwrap().0;
    let (mut up, write) = pipe();
    let error = std::thread::scope(|scope| {
        let running = scope.spawn(|| run_stubborn(&server, how, folder, write.as_fd()));
        wait_for(&mut up, "up");
        kill(pid);
        running.join().unwrap().unwrap_err()
    });
    drop(write);
    assert_eq!(error.message, "the room server was killed");
    assert!(ends(&up), "a process lives on");
}

fn a_supervisor_that_is_killed_is_told(bench: &Bench) {
    for run in [RoomServer::run, RoomServer::run_bare] {
        let (mut up, write) = pipe();
        let mark = bench.path("mark").display().to_string();
        let room = bench.room(vec![], &format!("echo up >&9; kill -STOP $$ # {mark}"));
        let ran = std::thread::scope(|scope| {
            let running =
                scope.spawn(|| run(bench.server, &room, &[(write.as_fd(), 9)], &Cancel::new().unwrap()));
            wait_for(&mut up, "up");
            kill(processes().into_iter().find(|(_, _, line)| line.contains(&mark)).unwrap().1);
            running.join().unwrap()
        });
        assert_eq!(ran.unwrap_err().message, "a room was killed by signal 9");
    }
}

fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
}

/// Every process: its id, its parent's and its command line.
fn processes() -> Vec<(i32, i32, String)> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc").unwrap().flatten() {
        let file = |name: &str| {
            String::from_utf8_lossy(&fs_err::read(entry.path().join(name)).unwrap_or_default()).into_owned()
        };
        let stat = file("stat");
        let parent = stat.rsplit(')').next().and_then(|tail| tail.split_whitespace().nth(1)?.parse().ok());
        if let (Some(pid), Some(parent)) =
            (entry.file_name().to_str().and_then(|name| name.parse().ok()), parent)
        {
            found.push((pid, parent, file("cmdline")));
        }
    }
    found
}

fn a_shell_gets_the_terminal_with_job_control_and_gives_it_back(bench: &Bench) {
    for how in ["room", "bare"] {
        let pty = nix::pty::openpty(None, None).unwrap();
        let close = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
        nix::fcntl::fcntl(&pty.master, close).unwrap();
        let mut caller = Command::new(std::env::current_exe().unwrap());
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        caller.args(["--terminal", how]).arg(bench.folder.path()).stdin(end()).stdout(end()).stderr(end());
        // SAFETY: both calls may be made between fork and exec.
        unsafe {
            caller.pre_exec(|| {
                nix::errno::Errno::result(libc::setsid())?;
                nix::errno::Errno::result(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
                Ok(())
            })
        };
        let mut caller = caller.spawn().unwrap();
        let mut terminal = fs_err::File::from_parts(pty.master.into(), "terminal");
        let mut say = |keys: &str, answer: &str| {
            nix::unistd::write(&terminal, keys.as_bytes()).unwrap();
            wait_for(&mut terminal, answer);
        };
        // The terminal echoes what is typed, so no answer is a part of its question.
        say("", "$ ");
        say("set -o | grep monitor | tr -d '\\t '\n", "monitoron");
        say("trap 'echo dis\"\"turbed' INT; echo read\"\"y\n", "ready");
        // What comes before bash reads keys, it heeds with the next line.
        say("", "$ ");
        say("\x03\n", "disturbed");
        say("sh -c 'echo asle\"\"ep; exec sleep 100'\n", "asleep");
        say("\x1a", "Stopped");
        say("kill -9 %1; wait -f %1; echo go\"\"ne\n", "gone");
        say("suspend\n", "$ ");
        say("echo on\"\"wards\n", "onwards");
        say("exit 3\n", "the caller asks: ");
        say("fine\n", "it was fine");
        assert_eq!(caller.wait().unwrap().code(), Some(3));
    }
}

/// The caller that has the terminal, in [`a_shell_gets_the_terminal_with_job_control_and_gives_it_back`].
fn terminal(how: &str, folder: &str) {
    let server = RoomServer::start().unwrap();
    let program = Program {
        argv: ["/bin/bash", "--norc", "--noprofile", "-i"].map(Into::into).into(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into()), ("PS1".into(), "$ ".into())],
        cwd: "/".into(),
        log: Path::new(folder).join("log"),
        stdout: None,
    };
    let room = Room { mounts: vec![], programs: vec![program], network: false, terminal: true, limit: None };
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let inherit = [(stdin.as_fd(), 0), (stdout.as_fd(), 1), (stderr.as_fd(), 2)];
    let run = if how == "room" { RoomServer::run } else { RoomServer::run_bare };
    let ran = run(&server, &room, &inherit, &Cancel::new().unwrap()).unwrap();
    println!("the caller asks: ");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    println!("it was {line}");
    let Status::Code(code) = ran.exits[0].status else { panic!("{ran:?}") };
    std::process::exit(code);
}

fn the_bare_run_gives_the_same_surroundings(bench: &Bench) {
    let mut room = bench.room(vec![], "umask; grep NoNewPrivs /proc/self/status | cut -f2; ls /proc/self/fd; env; test \"$(ps -o sid= $$ | tr -d ' ')\" = $$");
    room.programs[0].env = vec![("PATH".into(), "/usr/bin:/bin".into()), ("X".into(), "a b".into())];
    let ran = bench.server.run_bare(&room, &[], &Cancel::new().unwrap()).unwrap();
    assert!(ran.success(), "{}", bench.log());
    let said = bench.log();
    assert!(said.starts_with("0022\n1\n0\n1\n2\n3\n"), "{said}");
    let mut env: Vec<_> =
        said.lines().skip(6).filter(|line| !line.starts_with("PWD=") && !line.starts_with("_=")).collect();
    env.sort_unstable();
    assert_eq!(env, ["PATH=/usr/bin:/bin", "X=a b"]);
}

fn a_supervisor_on_the_bare_host_serves_one_request_after_the_other_and_hands_nothing_on(bench: &Bench) {
    let run = |script: &str, inherit: &[(BorrowedFd, RawFd)]| {
        let room = bench.room(vec![], script);
        fs_err::write(bench.path("log"), "").unwrap();
        let ran = bench.server.run_bare(&room, inherit, &Cancel::new().unwrap()).unwrap();
        assert!(ran.success(), "{ran:?} {}", bench.log());
        (bench.log(), ran.cpu)
    };
    let spin = "echo $PPID; umask 0; cd /usr; export LEFT=1; test -e /proc/self/fd/9; \
                while read -r _ _ _ _ _ _ _ _ _ _ _ _ _ u s _ </proc/self/stat; do test $((u + s)) -ge 20 && exit; done";
    let (up, write) = pipe();
    let (first, busy) = run(spin, &[(write.as_fd(), 9)]);
    drop(write);
    assert!(ends(&up), "it keeps a descriptor that it handed on");
    let (again, idle) =
        run("echo $PPID; test ! -e /proc/self/fd/9 -a -z \"$LEFT\" -a \"$(umask) $PWD\" = '0022 /'", &[]);
    assert_eq!(again, first);
    assert!(busy >= Duration::from_millis(190) && idle < busy, "{busy:?} {idle:?}");
    // Whoever was stopped is not asked again.
    let room = Room { limit: Some(Duration::from_millis(50)), ..bench.room(vec![], "sleep 100") };
    let ran = bench.server.run_bare(&room, &[], &Cancel::new().unwrap()).unwrap();
    assert_eq!(ran.stop, Some(Stop::Limit));
    assert_ne!(run("echo $PPID", &[]).0, first);
}

fn the_probe_finds_that_rooms_work_here_and_leaves_nothing(bench: &Bench) {
    bench.server.probe(bench.folder.path()).unwrap();
    assert_eq!(fs_err::read_dir(bench.folder.path()).unwrap().count(), 0);
    let why = bench.server.probe(&bench.path("nowhere")).unwrap_err();
    assert!(why.contains("nowhere"), "{why}");
}

fn a_second_server_is_refused_where_there_are_threads(_: &Bench) {
    std::thread::scope(|scope| {
        let error = scope.spawn(|| RoomServer::start().unwrap_err()).join().unwrap();
        assert_eq!(error.kind, Kind::Internal);
    });
}

macro_rules! tests {
    ($($name:ident)*) => {
        const TESTS: &[(&str, fn(&Bench))] = &[$((stringify!($name), $name)),*];
    };
}

tests! {
    a_room_shows_its_mounts_and_the_hosts_tools_and_nothing_else
    writing_to_a_read_only_place_fails_and_to_the_others_works
    a_mount_point_is_never_made_in_a_read_only_folder_of_the_host
    a_room_has_a_loopback_interface_and_no_other_network
    a_room_with_network_has_the_machines
    a_program_is_user_1000_without_capabilities_on_host_mk_among_its_own_processes
    environment_folder_and_descriptors_are_exactly_as_given
    standard_output_can_be_kept_apart_from_the_log
    the_upper_folder_takes_what_is_written_and_layers_stay_as_they_are
    an_overlay_without_upper_is_read_only_and_one_without_lower_is_its_upper
    four_hundred_and_fifty_layers_work_and_too_many_are_an_error_that_says_so
    folder_names_may_hold_colons_commas_backslashes_and_spaces
    a_thousand_folders_are_bound_read_only
    a_mount_that_fails_says_which_and_why
    status_and_signal_are_told_and_the_first_failure_ends_the_row
    a_program_that_cannot_be_run_is_an_error_that_says_why
    descriptors_are_found_at_the_numbers_asked_for_even_where_they_cross
    what_a_program_leaves_running_is_ended_before_the_next_one_starts
    cancelling_ends_grandchildren_that_left_the_session_and_ignore_sigterm
    cancelling_gently_lets_everyone_clean_up
    a_time_limit_ends_a_program
    two_rooms_side_by_side_do_not_see_each_other
    many_rooms_at_once_all_come_to_their_end
    time_spent_is_counted_with_all_descendants
    killing_mk_leaves_no_process_and_no_mount
    killing_the_server_ends_the_rooms_and_is_told
    a_supervisor_that_is_killed_is_told
    a_shell_gets_the_terminal_with_job_control_and_gives_it_back
    the_bare_run_gives_the_same_surroundings
    a_supervisor_on_the_bare_host_serves_one_request_after_the_other_and_hands_nothing_on
    the_probe_finds_that_rooms_work_here_and_leaves_nothing
    a_second_server_is_refused_where_there_are_threads
}

/// How many runs of `/bin/true` in a room, and what one costs.
fn measure(server: &RoomServer, runs: u32) {
    let bench = Bench { server, folder: tempfile::tempdir().unwrap() };
    let lower = vec![bench.folder("lower", &[])];
    let layers: Vec<_> = (0..11).map(|i| bench.folder(&format!("d{i}"), &[])).collect();
    let mut mounts = vec![bench.overlay(lower, "/mk/src")];
    mounts.extend(layers.iter().enumerate().map(|(i, d)| bind(d, &format!("/mk/root/deploy/d{i}"), false)));
    let mut room = bench.room(mounts, "");
    room.programs[0].argv = vec!["/bin/true".into()];
    for (how, run) in [("room", RoomServer::run as fn(&_, &_, &[_], &_) -> _), ("bare", RoomServer::run_bare)]
    {
        let (start, cancel) = (Instant::now(), Cancel::new().unwrap());
        let cpu: Duration = (0..runs).map(|_| run(server, &room, &[], &cancel).unwrap().cpu).sum();
        println!("{how}: {:?} of CPU, {:?} in all", cpu / runs, start.elapsed() / runs);
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, how, folder] = &words[..] {
        match flag.as_str() {
            "--victim" => return victim(how, folder),
            "--terminal" => return terminal(how, folder),
            "--orphan" => return orphan(how, folder),
            _ => {}
        }
    }
    let server = RoomServer::start().unwrap();
    if let [flag, runs] = &words[..] {
        if flag == "--measure" {
            return measure(&server, runs.parse().unwrap());
        }
    }
    let chosen =
        |name: &str| words.iter().all(|w| w.starts_with('-')) || words.iter().any(|w| name.contains(w));
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| chosen(name)) {
        let bench = Bench { server: &server, folder: tempfile::tempdir().unwrap() };
        let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&bench))).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        if ok { passed += 1 } else { failed += 1 }
    }
    println!("{passed} passed, {failed} failed (user {})", nix::unistd::geteuid());
    drop(server);
    if failed > 0 || (nix::unistd::geteuid().is_root() && !as_an_ordinary_user(&words)) {
        std::process::exit(1);
    }
}

/// Runs the same tests once more as `nobody`, from a place that `nobody` can read.
fn as_an_ordinary_user(words: &[String]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    fs_err::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = folder.path().join("room");
    fs_err::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).args(words);
    std::io::stdout().flush().unwrap();
    command.current_dir("/").env_remove("TMPDIR").status().unwrap().success()
}
