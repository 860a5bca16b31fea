//! Programs: how one is started, watched and ended with everything below it, and how to cancel it.
//!
//! Knows nothing of rooms. The part that starts and watches (`Supervisor`) runs in a process of its own,
//! which the room server forks: either the first process of a room, where the kernel helps to end everything, or an
//! ordinary process that adopts what its programs leave behind, and serves one request after the other.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::OpenOptionsExt;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// How long everything has to end by itself after SIGTERM, before SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// One program to run: standard input empty, both outputs into `log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Program and arguments; the program by absolute path.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working folder, as seen inside.
    pub cwd: PathBuf,
    /// Log file on the host, appended to, made when missing.
    pub log: PathBuf,
    /// File on the host that takes standard output in place of the log; emptied first, made when missing.
    pub stdout: Option<PathBuf>,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// By itself, with this exit status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// The end of one program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// How it ended.
    pub status: Status,
    /// From its start until it and, when it was stopped, everything below it had ended.
    pub elapsed: Duration,
}

/// Why programs were ended before they ended themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// By a [`Cancel`].
    Cancelled,
    /// The time limit was reached.
    Limit,
}

/// What became of a request's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// One for each program that was started, in order; all but the last are successes.
    pub exits: Vec<Exit>,
    /// User and system time of all processes together, the making of the room included.
    pub cpu: Duration,
    /// Set when they were stopped; the last exit then says little.
    pub stop: Option<Stop>,
}

impl Ran {
    /// Whether nothing was stopped and no program failed.
    pub fn success(&self) -> bool {
        self.stop.is_none() && self.exits.iter().all(|exit| exit.status == Status::Code(0))
    }
}

/// Ends programs from another thread, or from a signal handler. Clones are one and the same.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<Cancelling>);

#[derive(Debug)]
struct Cancelling {
    asked: AtomicBool,
    /// Event descriptors: once set they stay readable, so that any number of threads see them in `poll`.
    gently: OwnedFd,
    at_once: OwnedFd,
}

impl Cancel {
    /// One that was not used yet. Fails when the process has too many open files.
    pub fn new() -> Result<Cancel> {
        Ok(Cancel(Arc::new(Cancelling {
            asked: AtomicBool::new(false),
            gently: event()?,
            at_once: event()?,
        })))
    }

    /// SIGTERM to every process; SIGKILL to what is left after one second. Whatever starts later is not run.
    pub fn cancel(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
        set(&self.0.gently);
    }

    /// SIGKILL to every process, now.
    pub fn kill(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
        set(&self.0.at_once);
    }

    /// Whether one of the two was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }
}

fn event() -> Result<OwnedFd> {
    // SAFETY: no pointers; the descriptor, when there is one, is new and ours.
    let fd = Errno::result(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
        .map_err(std::io::Error::from)?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set(event: &OwnedFd) {
    // Fails only when the counter is full, that is, set.
    let _ = nix::unistd::write(event, &1u64.to_ne_bytes());
}

/// What `mk` tells a supervisor: one byte.
const TERM: u8 = b't';
const KILL: u8 = b'k';

/// What a supervisor or the server tells `mk`: one line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// A program ended.
    Exit(Exit),
    /// Programs were stopped, before or while one ran.
    Stopped(Stop),
    /// Something could not be done.
    Failed(String),
    /// From the server, last: the supervisor is gone and with it every process and mount.
    Gone { status: Status, cpu: Duration },
    /// In place of that, from a supervisor on the bare host that waits for more: nothing is left of this request.
    Done { cpu: Duration },
}

impl Reply {
    /// Sends it. Where nobody listens any more, nothing is to be told.
    pub(crate) fn send(&self, mut control: &UnixStream) {
        if let Ok(mut line) = serde_json::to_vec(self) {
            line.push(b'\n');
            let _ = control.write_all(&line);
        }
    }
}

/// Passes cancellation on to the supervisor at the other end of `control`, and what it says to `heard`, until it is
/// gone or done. `server` is the descriptor whose hang-up means that the server died.
pub(crate) fn listen(
    mut control: &UnixStream,
    server: impl AsFd,
    cancel: &Cancel,
    heard: &mut dyn FnMut(Reply),
) -> Result<()> {
    let (mut said, mut term, mut kill, mut alive) = (Vec::new(), true, true, true);
    let mut buffer = [0; 4096];
    loop {
        let mut watched = vec![PollFd::new(control.as_fd(), PollFlags::POLLIN)];
        let mut sources = vec![0];
        for (wanted, source, fd, events) in [
            (term, 1, cancel.0.gently.as_fd(), PollFlags::POLLIN),
            (kill, 2, cancel.0.at_once.as_fd(), PollFlags::POLLIN),
            (alive, 3, server.as_fd(), PollFlags::empty()),
        ] {
            if wanted {
                watched.push(PollFd::new(fd, events));
                sources.push(source);
            }
        }
        match nix::poll::poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(std::io::Error::from(e).into()),
        }
        let ready =
            |source| sources.iter().zip(&watched).any(|(s, fd)| *s == source && fd.any().unwrap_or_default());
        let (speaks, term_now, kill_now, dead) = (ready(0), ready(1), ready(2), ready(3));
        if term_now {
            term = false;
            let _ = control.write_all(&[TERM]);
        }
        if kill_now {
            kill = false;
            let _ = control.write_all(&[KILL]);
        }
        if dead {
            // A supervisor that the server could not take with it takes this as its end.
            alive = false;
            let _ = control.shutdown(std::net::Shutdown::Write);
        }
        if speaks {
            match control.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    said.extend_from_slice(&buffer[..n]);
                    while let Some(end) = said.iter().position(|&byte| byte == b'\n') {
                        let line: Vec<u8> = said.drain(..=end).collect();
                        let Ok(reply) = serde_json::from_slice(&line) else { continue };
                        let done = matches!(reply, Reply::Done { .. });
                        heard(reply);
                        if done {
                            return Ok(());
                        }
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }
    Ok(())
}

/// What holds together everything that a supervisor's programs start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// The supervisor is the first process of a pid namespace.
    Namespace,
    /// The supervisor adopts orphans, and looks through `/proc` for what is below it.
    Subreaper,
}

/// The files of one program, opened before the host's folders are out of sight.
pub(crate) struct Output {
    log: fs_err::File,
    stdout: Option<fs_err::File>,
}

impl Output {
    /// Opens them as [`Program`] says.
    pub(crate) fn open(program: &Program) -> Result<Output, String> {
        let open = |path: &PathBuf, truncate: bool| {
            fs_err::OpenOptions::new()
                .create(true)
                .write(true)
                .append(!truncate)
                .truncate(truncate)
                .mode(0o644)
                .open(path)
                .map_err(|e| e.to_string())
        };
        let stdout = program.stdout.as_ref().map(|path| open(path, true)).transpose()?;
        Ok(Output { log: open(&program.log, false)?, stdout })
    }
}

/// Runs programs one after another, and ends them and everything below them when told, when `mk` dies
/// or when time is up. Needs a single-threaded process of its own.
pub(crate) struct Supervisor<'a> {
    control: &'a UnixStream,
    space: Space,
    children: SignalFd,
    /// An open `/dev/null`.
    null: OwnedFd,
    deadline: Option<Instant>,
    stop: Option<Stop>,
    /// Set while stopping: when SIGKILL is due.
    kill_at: Option<Instant>,
}

impl<'a> Supervisor<'a> {
    /// To be called before the host's `/dev` is out of sight. `control` leads to [`listen`]; its end ends everything.
    pub(crate) fn new(
        control: &'a UnixStream,
        space: Space,
        limit: Option<Duration>,
    ) -> Result<Supervisor<'a>, String> {
        let failed = |what: &str, e: Errno| format!("cannot {what}: {e}");
        if space == Space::Subreaper {
            nix::sys::prctl::set_child_subreaper(true).map_err(|e| failed("adopt orphans", e))?;
        }
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_set_mask().map_err(|e| failed("block SIGCHLD", e))?;
        let children = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|e| failed("watch SIGCHLD", e))?;
        let null = fs_err::OpenOptions::new().read(true).open("/dev/null").map_err(|e| e.to_string())?;
        Ok(Supervisor {
            control,
            space,
            children,
            null: null.into_parts().0.into(),
            deadline: limit.map(|limit| Instant::now() + limit),
            stop: None,
            kill_at: None,
        })
    }

    /// Whether programs were stopped.
    pub(crate) fn has_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Runs `programs` with their `outputs` until one fails, and tells of each. `inherit`: our descriptor and the
    /// number that the programs find it at. `terminal`: descriptor 0 is a terminal that is theirs meanwhile.
    pub(crate) fn run(
        &mut self,
        programs: &[Program],
        outputs: &[Output],
        inherit: &[(RawFd, RawFd)],
        terminal: bool,
    ) -> Result<(), String> {
        let terminal_at = inherit.iter().find(|(_, number)| terminal && *number == 0).map(|(fd, _)| *fd);
        for (program, output) in programs.iter().zip(outputs) {
            self.hear(Some(Duration::ZERO));
            if self.stop.is_some() {
                break;
            }
            let start = Instant::now();
            let pid = self.spawn(program, output, inherit, terminal)?;
            let status = self.wait(pid, terminal_at);
            self.end_all();
            Reply::Exit(Exit { status, elapsed: start.elapsed() }).send(self.control);
            if status != Status::Code(0) {
                break;
            }
        }
        if let Some(stop) = self.stop {
            Reply::Stopped(stop).send(self.control);
        }
        Ok(())
    }

    /// Waits for `pid`, and while stopping also for all others. With a terminal, a program that stops itself goes on: nobody
    /// else could have it go on, and nobody else gets the keys.
    fn wait(&mut self, pid: i32, terminal: Option<RawFd>) -> Status {
        let mut status = None;
        loop {
            loop {
                match wait_any(libc::WNOHANG) {
                    Some((0, _)) => break,
                    Some((ended, how)) if ended == pid => status = Some(how),
                    Some(_) => {}
                    // Nobody is left. The status is always known by now.
                    None => return status.unwrap_or(Status::Signal(libc::SIGKILL)),
                }
            }
            if let (Some(status), None) = (status, self.kill_at) {
                return status;
            }
            if let Some(terminal) = terminal.filter(|_| stands_still(pid)) {
                // SAFETY: system calls without pointers. It leads a group of its own.
                unsafe {
                    libc::tcsetpgrp(terminal, pid);
                    libc::kill(-pid, libc::SIGCONT);
                }
            }
            let due =
                [self.deadline.filter(|_| self.stop.is_none()), self.kill_at].into_iter().flatten().min();
            self.hear(due.map(|due| due.saturating_duration_since(Instant::now())));
        }
    }

    /// Waits for a child's end, a word from `mk` or the end of `patience`, and does what is then due.
    fn hear(&mut self, patience: Option<Duration>) {
        let patience = match patience {
            // Rounded up, or the last millisecond would be spent spinning.
            Some(time) => PollTimeout::try_from(time.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        let mut watched = [
            PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
        ];
        let _ = nix::poll::poll(&mut watched, patience);
        let (word, child) = (watched[0].any().unwrap_or_default(), watched[1].any().unwrap_or_default());
        if child {
            while let Ok(Some(_)) = self.children.read_signal() {}
        }
        if word {
            let mut byte = [0];
            match self.control.read(&mut byte) {
                Ok(1) if byte[0] == TERM => self.begin_stop(Stop::Cancelled),
                Ok(1) => {
                    self.stop.get_or_insert(Stop::Cancelled);
                    self.kill_at = Some(Instant::now());
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                _ => {
                    // `mk` is dead.
                    self.end_all();
                    // SAFETY: ends this process without running what it inherited from its parents.
                    unsafe { libc::_exit(0) }
                }
            }
        }
        let now = Instant::now();
        if self.stop.is_none() && self.deadline.is_some_and(|at| at <= now) {
            self.begin_stop(Stop::Limit);
        }
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill(libc::SIGKILL);
            // Outside a namespace something may have been forked meanwhile.
            self.kill_at = Some(now + Duration::from_millis(20));
        }
    }

    fn begin_stop(&mut self, why: Stop) {
        if self.stop.is_none() {
            self.stop = Some(why);
            self.kill_at = Some(Instant::now() + GRACE);
            self.kill(libc::SIGTERM);
        }
    }

    /// Ends and reaps whatever is still there.
    fn end_all(&self) {
        // Costs one system call when, as is usual, nothing is there.
        while let Some((reaped, _)) = wait_any(libc::WNOHANG) {
            if reaped == 0 {
                self.kill(libc::SIGKILL);
                wait_any(0);
            }
        }
    }

    /// Sends `signal` to every process below.
    fn kill(&self, signal: i32) {
        match self.space {
            // SAFETY: a system call without pointers. In a pid namespace, -1 is everybody but its first process.
            Space::Namespace => _ = unsafe { libc::kill(-1, signal) },
            Space::Subreaper => {
                for pid in below(std::process::id()) {
                    // SAFETY: as above. The process is a descendant and not reaped, or a child of one a moment ago.
                    unsafe { libc::kill(pid as i32, signal) };
                }
            }
        }
    }

    /// Forks and executes; when it returns, the program runs or an error says why not.
    fn spawn(
        &self,
        program: &Program,
        output: &Output,
        inherit: &[(RawFd, RawFd)],
        terminal: bool,
    ) -> Result<i32, String> {
        let name = program.argv.first().map(|name| name.to_string_lossy()).unwrap_or_default();
        let failed = |what: &str, e: Errno| format!("cannot {what} `{name}`: {e}");
        let nul = |_| format!("cannot run `{name}`: an argument or variable holds a NUL byte");
        if program.argv.is_empty() {
            return Err("cannot run a program without a name".into());
        }
        let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(nul);
        let argv = program.argv.iter().map(|word| text(word)).collect::<Result<Vec<_>, _>>()?;
        let mut env = Vec::with_capacity(program.env.len());
        for (key, value) in &program.env {
            let mut pair = key.clone();
            pair.push("=");
            pair.push(value);
            env.push(text(&pair)?);
        }
        let cwd = text(program.cwd.as_os_str())?;

        let log = output.log.as_raw_fd();
        let mut fds = vec![(self.null.as_raw_fd(), 0)];
        fds.push((output.stdout.as_ref().map_or(log, AsRawFd::as_raw_fd), 1));
        fds.push((log, 2));
        for &(ours, theirs) in inherit {
            fds.retain(|&(_, number)| number != theirs);
            fds.push((ours, theirs));
        }
        // The child borrows this process's memory until it executes, as posix_spawn's does: nothing is copied for it, and
        // what goes wrong it can say in a variable of ours.
        let trouble = Cell::new(None);
        let child = || {
            let Err(found) = become_program(&argv, &env, &cwd, &fds, terminal);
            trouble.set(Some(found));
            // SAFETY: ends the child without running what it shares with its parent.
            unsafe { libc::_exit(127) }
        };
        let mut stack = Stack::new().map_err(|e| failed("fork for", e))?;
        let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
        // SAFETY: this process has one thread, which stands still while the child uses its memory, on a stack of its own
        // that is more than it takes.
        let pid = unsafe { nix::sched::clone(Box::new(child), stack.bytes(), flags, Some(libc::SIGCHLD)) }
            .map_err(|e| failed("fork for", e))?;
        let Some((stage, e)) = trouble.get() else { return Ok(pid.as_raw()) };
        self.end_all();
        Err(match stage {
            Stage::Folder => format!("cannot enter `{}` for `{name}`: {e}", program.cwd.display()),
            Stage::Descriptors => failed("hand descriptors to", e),
            Stage::Execution => failed("run", e),
        })
    }
}

/// What a child runs on until it executes. From the kernel, which makes but those pages that are used.
struct Stack(std::ptr::NonNull<libc::c_void>);

impl Stack {
    const SIZE: std::num::NonZeroUsize = std::num::NonZeroUsize::new(128 * 1024).unwrap();

    fn new() -> nix::Result<Stack> {
        use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: takes the place of no other mapping.
        unsafe { mmap_anonymous(None, Self::SIZE, access, MapFlags::MAP_PRIVATE) }.map(Stack)
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: as long as this lives the mapping is there, ours alone, and zero where nobody wrote.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr().cast(), Self::SIZE.get()) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody has a part of it any more.
        let _ = unsafe { nix::sys::mman::munmap(self.0, Self::SIZE.get()) };
    }
}

/// What a child was at when it failed.
#[derive(Clone, Copy)]
enum Stage {
    Descriptors,
    Folder,
    Execution,
}

/// The child's part of [`Supervisor::spawn`]: returns only when something fails.
fn become_program(
    argv: &[CString],
    env: &[CString],
    cwd: &CString,
    fds: &[(RawFd, RawFd)],
    terminal: bool,
) -> Result<std::convert::Infallible, (Stage, Errno)> {
    let hands = |e| (Stage::Descriptors, e);
    // Copies above every wanted number first: a wanted number may be where another one's source is.
    let above = fds.iter().map(|&(_, number)| number).max().unwrap_or(2) + 1;
    let copies = fds.iter().map(|&(ours, number)| copy_above(ours, above).map(|copy| (copy, number)));
    for (copy, number) in copies.collect::<Result<Vec<_>, _>>().map_err(hands)? {
        // SAFETY: no pointers; the numbers are ours to fill. Everything else closes on exec.
        Errno::result(unsafe { libc::dup2(copy, number) }).map_err(hands)?;
    }
    // SAFETY: system calls without pointers. PDEATHSIG is for the case that the supervisor itself is killed.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::umask(0o022);
        if terminal {
            // Stays in the terminal's session; SIGTTOU is still ignored here.
            libc::setpgid(0, 0);
            libc::tcsetpgrp(0, libc::getpgrp());
        } else {
            libc::setsid();
        }
    }
    for signal in IGNORED {
        as_new(signal);
    }
    SigSet::empty().thread_set_mask().map_err(|e| (Stage::Execution, e))?;
    nix::unistd::chdir(cwd.as_c_str()).map_err(|e| (Stage::Folder, e))?;
    nix::unistd::execve(&argv[0], argv, env).map_err(|e| (Stage::Execution, e))
}

fn copy_above(fd: RawFd, least: RawFd) -> nix::Result<RawFd> {
    // SAFETY: no pointers; the copy lives until exec.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) })
}

/// What the server and its supervisors ignore: the terminal's keys are for `mk` alone, which passes on what it makes of
/// them, and who reads no more is noticed otherwise. Programs do not.
const IGNORED: [i32; 8] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGQUIT,
    libc::SIGHUP,
    libc::SIGPIPE,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Takes back whatever this process or who started it made of signals, once for all programs, and ignores [`IGNORED`].
pub(crate) fn settle_signals() {
    (1..=64).for_each(as_new);
    for signal in IGNORED {
        // SAFETY: no pointers.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Lets a signal do what it does by itself.
fn as_new(signal: i32) {
    // By the bare system call, since the C library keeps 32 and 33 from being set.
    // SAFETY: an all-zero `struct sigaction`, which is the default, outlives the call.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &[0u64; 4], std::ptr::null::<u8>(), 8) };
}

/// Reaps one child: its id (0: none has ended) and how it ended; `None` when there is no child.
/// nix's own `waitpid` has no word for realtime signals.
fn wait_any(flags: i32) -> Option<(i32, Status)> {
    let mut raw = 0;
    loop {
        // SAFETY: `raw` outlives the call.
        match Errno::result(unsafe { libc::waitpid(-1, &mut raw, flags) }) {
            Ok(pid) => return Some((pid, Status::of_wait(raw))),
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// Whether a child has been stopped since this was last asked.
fn stands_still(pid: i32) -> bool {
    // SAFETY: plain data, for which zero is a value; it outlives the call. `si_pid` is set where there is news, else zero.
    unsafe {
        let mut news: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_PID, pid as libc::id_t, &mut news, libc::WSTOPPED | libc::WNOHANG) == 0
            && news.si_pid() == pid
    }
}

impl Status {
    /// From what the wait family of system calls reports.
    pub(crate) fn of_wait(raw: i32) -> Status {
        if libc::WIFSIGNALED(raw) {
            Status::Signal(libc::WTERMSIG(raw))
        } else {
            Status::Code(libc::WEXITSTATUS(raw))
        }
    }
}

/// All descendants of process `root`, as far as `/proc` tells at this moment.
fn below(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs_err::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // `PID (any name) STATE PPID …`
        let stat = fs_err::read(entry.path().join("stat")).unwrap_or_default();
        let tail = stat.rsplit(|&b| b == b')').next().unwrap_or_default();
        let parent = String::from_utf8_lossy(tail).split_whitespace().nth(1).and_then(|p| p.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(parent) = next.pop() {
        let own = children.remove(&parent).unwrap_or_default();
        next.extend(&own);
        found.extend(own);
    }
    found
}
