//! Rooms: what a step sees, as data, and the server that makes it so.
//!
//! Knows nothing of packages: it is told which folders go where and which programs run. Linux 5.12 or newer.
//!
//! In this order:
//!
//! 1. `main` forks the **room server** before it starts any thread, since a process with threads can neither enter
//!    a user namespace nor safely go on after a fork. The server closes all that it inherited and waits on a socket.
//! 2. [`RoomServer::run`] sends it one end of a new stream socket, the descriptors to hand on, and writes the
//!    room into the stream. The server clones a **supervisor** into new user, mount, pid, ipc, uts and (without
//!    `network`) network namespaces. Nothing is executed for that: only the programs are.
//! 3. The supervisor is the first process of its pid namespace; it dies with the server. It maps user and group 1000
//!    to the caller's, names the host `mk`, raises the loopback interface, and opens logs while it sees them.
//! 4. It detaches its mounts from the host's and puts the new root, a tmpfs, on `/sys`, where no folder of a
//!    room can come from. On it: `/usr`, `/bin`, `/sbin`, `/lib*`, `/opt` bound (or linked, where the host links them), `/etc`
//!    (the host's, below own `passwd`, `group`, `hosts`, `hostname`, `resolv.conf`, `nsswitch.conf`), `/dev`, `/tmp`,
//!    `/mk/home`, then the room's mounts in their order, then `/proc`.
//! 5. One system call makes all of it read only, one more for each writable place takes that back. `/proc` stays
//!    read only: where root calls, `/proc/sys` would be the host's to write.
//! 6. `pivot_root`, and the host's folders are gone. Programs are forked and executed one after another: own session,
//!    umask 022, signals as new, no new privileges; capabilities end with the exec, as user 1000 is not root.
//! 7. After each program, whatever it left running is killed. When the last has ended the supervisor exits, and
//!    the kernel takes namespaces and mounts with it. The server reaps it and tells its CPU time; only then
//!    does `run` return, so no process and no mount of the room is left at that moment.
//!
//! If `mk` is killed, the stream hangs up and the server, and with it every supervisor, is killed by the kernel.
//!
//! [`RoomServer::run_bare`] is the same without steps 3 to 6, for machines that refuse rooms: the supervisor adopts
//! orphans in place of owning a pid namespace, and finds by `/proc` what it has to end. It has nothing that the next
//! request could see, so it waits for one at its end of the stream, which `mk` keeps, and saves the fork.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
};
use nix::unistd::{ForkResult, UnlinkatFlags};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
pub use crate::process::{Cancel, Exit, Program, Ran, Status, Stop};
use crate::process::{Output, Reply, Space, Supervisor, listen, settle_signals};

/// The most layers (`lower` folders) that the kernel stacks in one overlay: `OVL_MAX_STACK` in its `fs/overlayfs/params.h`.
pub const LAYERS_MAX: usize = 500;

/// One place of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mount {
    /// A host file or folder, seen at `to`; everything below is read only unless `writable`.
    Bind {
        /// Path on the host.
        from: PathBuf,
        /// Absolute path in the room.
        to: PathBuf,
        /// Whether the room may write there.
        writable: bool,
    },
    /// Layers: `lower` from top to bottom, read only; `upper` takes what the room writes.
    Overlay {
        /// Host folders, topmost first. May be empty (then `upper` is bound alone).
        lower: Vec<PathBuf>,
        /// Host folder that receives writes; `None`: read only.
        upper: Option<PathBuf>,
        /// Empty host folder on the same file system as `upper`, for the kernel's use.
        work: Option<PathBuf>,
        /// Absolute path in the room.
        to: PathBuf,
    },
    /// An empty folder in memory.
    Tmpfs {
        /// Absolute path in the room.
        to: PathBuf,
    },
    /// A small read-only file with this text.
    File {
        /// Absolute path in the room.
        to: PathBuf,
        /// Its content.
        text: String,
    },
    /// A symbolic link.
    Symlink {
        /// What it points to.
        target: PathBuf,
        /// Absolute path in the room.
        to: PathBuf,
    },
}

/// A room and what runs in it, one program after the other until one fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Places beside the host's own (`/usr`, `/etc`, `/dev`, `/proc`, `/tmp`) and `/mk/home`, made in this order.
    /// A mount point that is missing is made in what lies there, so in `upper` where that is an overlay; below a
    /// read-only place it must exist. No part of a mount point may be a symbolic link.
    pub mounts: Vec<Mount>,
    /// What runs. May be empty: then the room is made and taken down.
    pub programs: Vec<Program>,
    /// Whether it shares the machine's network (only `check_update` does).
    pub network: bool,
    /// Whether the programs get the caller's terminal: its job control, and whatever of descriptors 0, 1, 2 `inherit` names.
    pub terminal: bool,
    /// After this time everything is ended as by [`Cancel::cancel`].
    pub limit: Option<Duration>,
}

/// A room on its way to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
struct Request<'a> {
    room: Cow<'a, Room>,
    /// The numbers of the descriptors that go with it.
    numbers: Vec<RawFd>,
}

/// What the server must know before it forks a supervisor: bits of one byte.
const BARE: u8 = 1;
const NETWORK: u8 = 2;

/// A small process that makes rooms. It ends when this is dropped, and when `mk` ends in whatever way.
#[derive(Debug)]
pub struct RoomServer {
    socket: OwnedFd,
    pid: nix::unistd::Pid,
    /// Supervisors on the bare host that wait for a request.
    idle: Mutex<Vec<UnixStream>>,
}

impl Drop for RoomServer {
    fn drop(&mut self) {
        // Whoever waits for a request ends with the stream.
        self.idle.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        let _ = nix::sys::socket::shutdown(self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        let _ = nix::sys::wait::waitpid(self.pid, None);
    }
}

impl RoomServer {
    /// Forks the server. Fails with [`Kind::Internal`] when this process has a second thread already.
    pub fn start() -> Result<RoomServer> {
        if fs_err::read_dir("/proc/self/task")?.count() != 1 {
            return Err(Error::new(Kind::Internal, "the room server must be started before any thread"));
        }
        let (socket, theirs) = nix::sys::socket::socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(host("make a socket for the room server"))?;
        // SAFETY: there is one thread.
        match unsafe { nix::unistd::fork() }.map_err(host("fork the room server"))? {
            ForkResult::Parent { child } => Ok(RoomServer { socket, pid: child, idle: Mutex::default() }),
            ForkResult::Child => alone(|| {
                drop(socket);
                serve(theirs)
            }),
        }
    }

    /// The same as an error, for what does not go without rooms.
    pub fn check(&self, scratch: &Path) -> Result<()> {
        self.probe(scratch)
            .map_err(|why| Error::new(Kind::Host, format!("this machine refuses rooms: {why}")))
    }

    /// Tries a room with an overlay in `scratch`, an existing host folder on the store's file system, which is left as
    /// it was. The `Err` says why this machine refuses.
    pub fn probe(&self, scratch: &Path) -> std::result::Result<(), String> {
        let folder =
            tempfile::Builder::new().prefix(".room-").tempdir_in(scratch).map_err(|e| e.to_string())?;
        let path = |name: &str| folder.path().join(name);
        for name in ["lower/old", "upper", "work"] {
            fs_err::create_dir_all(path(name)).map_err(|e| e.to_string())?;
        }
        fs_err::write(path("lower/old/file"), "").map_err(|e| e.to_string())?;
        let overlay = Mount::Overlay {
            lower: vec![path("lower")],
            upper: Some(path("upper")),
            work: Some(path("work")),
            to: "/mk/probe".into(),
        };
        // Needs whiteouts and opaque folders, which some file systems take at mounting but not when it matters.
        let script = "rm -r old && mkdir old && test ! -e old/file";
        let room = Room {
            mounts: vec![overlay],
            programs: vec![Program {
                argv: ["/bin/sh", "-c", script].map(Into::into).into(),
                env: vec![("PATH".into(), "/usr/bin:/bin".into())],
                cwd: "/mk/probe".into(),
                log: path("log"),
                stdout: None,
            }],
            network: false,
            terminal: false,
            limit: None,
        };
        let ran = Cancel::new().and_then(|cancel| self.run(&room, &[], &cancel)).map_err(|e| e.message)?;
        if ran.success() {
            return remove_folder(folder.path()).map_err(|e| e.to_string());
        }
        let log = fs_err::read_to_string(path("log")).unwrap_or_default();
        Err(format!("an overlay in `{}` does not work: {}", scratch.display(), log.trim()))
    }

    /// Makes `room`, runs its programs one after another until one fails, and takes it down; blocks meanwhile.
    /// May be called from many threads at once.
    ///
    /// `inherit`: descriptors of ours and the numbers at which the programs find them. Fails with [`Kind::Host`], naming
    /// what could not be mounted or executed and the errno; a program that fails is no error.
    /// The `work` folders are empty again afterwards.
    pub fn run(&self, room: &Room, inherit: &[(BorrowedFd, RawFd)], cancel: &Cancel) -> Result<Ran> {
        self.run_telling(false, room, inherit, cancel, &mut |_| ())
    }

    /// Runs the programs of `room` as [`RoomServer::run`] does, but on the bare host: `mounts` and `network` are not looked at.
    pub fn run_bare(&self, room: &Room, inherit: &[(BorrowedFd, RawFd)], cancel: &Cancel) -> Result<Ran> {
        self.run_telling(true, room, inherit, cancel, &mut |_| ())
    }

    /// Either of these, and tells `ended` of each program as soon as it has ended.
    pub fn run_telling(
        &self,
        bare: bool,
        room: &Room,
        inherit: &[(BorrowedFd, RawFd)],
        cancel: &Cancel,
        ended: &mut dyn FnMut(&Exit),
    ) -> Result<Ran> {
        let ran = self.request(if bare { BARE } else { 0 }, room, inherit, cancel, ended);
        if !bare {
            clear(&room.mounts);
        }
        ran
    }

    fn request(
        &self,
        how: u8,
        room: &Room,
        inherit: &[(BorrowedFd, RawFd)],
        cancel: &Cancel,
        ended: &mut dyn FnMut(&Exit),
    ) -> Result<Ran> {
        let mut ran = Ran { exits: Vec::new(), cpu: Duration::ZERO, stop: None };
        if cancel.is_cancelled() {
            ran.stop = Some(Stop::Cancelled);
            return Ok(ran);
        }
        let numbers = inherit.iter().map(|&(_, number)| number).collect();
        let request = postcard::to_stdvec(&Request { room: Cow::Borrowed(room), numbers })
            .map_err(|e| Error::new(Kind::Host, format!("cannot describe a room: {e}")))?;
        let mut fds: Vec<RawFd> = inherit.iter().map(|(fd, _)| fd.as_raw_fd()).collect();
        let how = how | if room.network { NETWORK } else { 0 };
        let stays = stays(how, room);
        let idle = || self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let waiting = if stays { idle().pop() } else { None };
        let mut control = match waiting.filter(|control| send(control, how, &fds).is_ok()) {
            Some(control) => control,
            None => {
                let (control, theirs) = UnixStream::pair()?;
                fds.insert(0, theirs.as_raw_fd());
                send(&self.socket, how, &fds).map_err(host("reach the room server"))?;
                control
            }
        };
        // When this fails, the other end is gone and has said why.
        let _ = control.write_all(&(request.len() as u64).to_ne_bytes());
        let _ = control.write_all(&request);

        let (mut failed, mut gone, mut waits) = (None, None, false);
        let heard = listen(&control, &self.socket, cancel, &mut |reply| match reply {
            Reply::Exit(exit) => {
                ended(&exit);
                ran.exits.push(exit);
            }
            Reply::Stopped(stop) => ran.stop = Some(stop),
            Reply::Failed(why) => failed = failed.take().or(Some(why)),
            Reply::Gone { status, cpu } => {
                ran.cpu = cpu;
                gone = Some(status);
            }
            Reply::Done { cpu } => {
                ran.cpu = cpu;
                waits = true;
            }
        });
        if room.terminal {
            take_terminal_back();
        }
        heard?;
        if waits {
            // Whoever was told to stop, or may be, is not asked again.
            if !cancel.is_cancelled() {
                idle().push(control);
            }
            return Ok(ran);
        }
        let why = match (failed, gone) {
            (Some(why), _) => why,
            (None, Some(Status::Code(0))) => return Ok(ran),
            (None, Some(Status::Signal(signal))) => format!("a room was killed by signal {signal}"),
            (None, Some(Status::Code(code))) => {
                return Err(Error::new(Kind::Internal, format!("a room's supervisor ended with {code}")));
            }
            (None, None) => "the room server was killed".into(),
        };
        Err(Error::new(Kind::Host, why))
    }
}

/// Empties the `work` folders of a room's overlays, as far as possible. Of whoever had them before and was killed they hold the
/// mark of a `volatile` overlay, with which the kernel takes none again.
pub fn clear(mounts: &[Mount]) {
    for mount in mounts {
        if let Mount::Overlay { work: Some(work), .. } = mount {
            clear_work(work);
        }
    }
}

/// Empties an overlay's `work` folder, as far as possible.
pub fn clear_work(work: &Path) {
    // What the kernel leaves of a `volatile` overlay.
    for known in ["work/incompat/volatile/dirty", "work/incompat/volatile", "work/incompat", "work"] {
        let flag =
            if known.ends_with("dirty") { UnlinkatFlags::NoRemoveDir } else { UnlinkatFlags::RemoveDir };
        let _ = nix::unistd::unlinkat(nix::fcntl::AT_FDCWD, &work.join(known), flag);
    }
    for inner in ["work", "index"] {
        let _ = remove_folder(&work.join(inner));
    }
}

/// Removes a folder with all that it holds, also where folders in it forbid their owner to enter, as the kernel makes
/// them in `work` and a step may make them anywhere. It is no error when there is none.
pub fn remove_folder(folder: &Path) -> std::io::Result<()> {
    fn open(folder: &Path) {
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let _ = fs_err::set_permissions(folder, all);
        for entry in fs_err::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open(&entry.path());
            }
        }
    }
    let gone = |result: std::io::Result<()>| match result {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    gone(fs_err::remove_dir_all(folder)).or_else(|_| {
        open(folder);
        gone(fs_err::remove_dir_all(folder))
    })
}

/// Makes this process the one that the terminal's keys reach again.
fn take_terminal_back() {
    let mut mask = nix::sys::signal::SigSet::empty();
    mask.add(nix::sys::signal::Signal::SIGTTOU);
    let Ok(before) = mask.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK) else { return };
    if let Ok(terminal) = fs_err::File::open("/dev/tty") {
        let _ = nix::unistd::tcsetpgrp(&terminal, nix::unistd::getpgrp());
    }
    let _ = before.thread_set_mask();
}

fn host(what: &str) -> impl FnOnce(Errno) -> Error + '_ {
    move |e| Error::new(Kind::Host, format!("cannot {what}: {e}"))
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Runs `work` in a forked process and ends it: neither a return nor a panic gets back into the parent's code.
fn alone(work: impl FnOnce()) -> ! {
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    // SAFETY: ends the process without running what it inherited.
    unsafe { libc::_exit(if ended.is_ok() { 0 } else { 70 }) }
}

/// The server: for each request a supervisor, and for each supervisor that ended a last word.
fn serve(socket: OwnedFd) {
    use nix::poll::{PollFd, PollFlags, PollTimeout};
    use nix::sys::signal::{SigSet, Signal};
    use nix::sys::signalfd::{SfdFlags, SignalFd};

    // SAFETY: system calls whose only pointer is a literal. The other descriptors belong to nobody here: their
    // owners were the parent's.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_NAME, c"mk-rooms".as_ptr());
        // A group of its own, which the terminal's keys do not reach.
        libc::setpgid(0, 0);
    }
    settle_signals();
    // Groups that the caller is in beside its own would be nobody's inside. Only root may drop them.
    let _ = nix::unistd::setgroups(&[]);
    let Some(socket) = lone_descriptor(socket) else { return };
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    let _ = mask.thread_set_mask();
    let Ok(ended) = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK) else {
        return;
    };

    let ids = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let mut supervisors: HashMap<i32, UnixStream> = HashMap::new();
    loop {
        let mut watched =
            [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        let _ = nix::poll::poll(&mut watched, PollTimeout::NONE);
        let (request, end) = (watched[0].any().unwrap_or_default(), watched[1].any().unwrap_or_default());
        if end {
            while let Ok(Some(_)) = ended.read_signal() {}
            while let Some((pid, status, cpu)) = reap() {
                if let Some(control) = supervisors.remove(&pid) {
                    Reply::Gone { status, cpu }.send(&control);
                }
            }
        }
        if request {
            let Some((how, mut fds)) = receive(&socket) else {
                // Who waits for a request has seen its stream end. Whoever has not done so soon ends with this process.
                let soon = PollTimeout::from(1000u16);
                while !supervisors.is_empty() {
                    let mut watched = [PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
                    if !nix::poll::poll(&mut watched, soon).is_ok_and(|count| count > 0) {
                        return;
                    }
                    while let Ok(Some(_)) = ended.read_signal() {}
                    while let Some((pid, ..)) = reap() {
                        supervisors.remove(&pid);
                    }
                }
                return;
            };
            if fds.is_empty() {
                continue;
            }
            let inherit = fds.split_off(1);
            let Some(control) = fds.pop().map(UnixStream::from) else { continue };
            match fork_supervisor(how) {
                Ok(0) => alone(|| {
                    // Each of these must hang up when its other end does.
                    drop((socket, ended, supervisors));
                    if let Err(why) = supervise(how, ids, &control, inherit) {
                        Reply::Failed(why).send(&control);
                    }
                }),
                Ok(pid) => {
                    supervisors.insert(pid, control);
                }
                Err(e) => Reply::Failed(format!("cannot make namespaces: {e}{}", refusal())).send(&control),
            }
        }
    }
}

/// Closes every descriptor but `kept`, which becomes number 3; 0, 1 and 2 become `/dev/null`.
fn lone_descriptor(kept: OwnedFd) -> Option<OwnedFd> {
    let null = fs_err::OpenOptions::new().read(true).write(true).open("/dev/null").ok()?;
    let kept = std::mem::ManuallyDrop::new(kept);
    // SAFETY: no pointers but the file names; `null` and `kept` are forgotten, the rest is nobody's (see `serve`).
    unsafe {
        let null = std::os::fd::IntoRawFd::into_raw_fd(null.into_parts().0);
        for number in 0..3 {
            libc::dup2(null, number);
        }
        // `kept` may be 3 itself, and then lacks nothing.
        if kept.as_raw_fd() != 3 {
            Errno::result(libc::dup3(kept.as_raw_fd(), 3, libc::O_CLOEXEC)).ok()?;
        }
        if libc::syscall(libc::SYS_close_range, 4u32, u32::MAX, 0u32) != 0 {
            for number in 4..libc::sysconf(libc::_SC_OPEN_MAX).clamp(4, 65536) as RawFd {
                libc::close(number);
            }
        }
        Some(OwnedFd::from_raw_fd(3))
    }
}

/// Whether a supervisor waits for another request when it is done with this one.
fn stays(how: u8, room: &Room) -> bool {
    how & BARE != 0 && !room.terminal
}

/// Sends a request's bits and descriptors.
fn send(socket: &impl AsFd, how: u8, fds: &[RawFd]) -> nix::Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    retry(|| {
        nix::sys::socket::sendmsg::<UnixAddr>(
            socket.as_fd().as_raw_fd(),
            &[IoSlice::new(&[how])],
            if fds.is_empty() { &[] } else { &rights },
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
    })?;
    Ok(())
}

/// The next request: its bits and descriptors. `None` when `mk` is gone.
fn receive(socket: &impl AsFd) -> Option<(u8, Vec<OwnedFd>)> {
    let mut how = [0];
    let mut space = nix::cmsg_space!([RawFd; 253]);
    let mut parts = [IoSliceMut::new(&mut how)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = nix::sys::socket::recvmsg::<UnixAddr>(
        socket.as_fd().as_raw_fd(),
        &mut parts,
        Some(&mut space),
        flags,
    )
    .ok()?;
    let mut fds = Vec::new();
    for control in message.cmsgs().ok()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel made them for us just now.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let bytes = message.bytes;
    (bytes > 0).then_some((how[0], fds))
}

/// Forks, into new namespaces unless bare: 0 in the child.
fn fork_supervisor(how: u8) -> nix::Result<i32> {
    let mut flags = 0;
    if how & BARE == 0 {
        flags |= libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC;
        flags |= libc::CLONE_NEWUTS | if how & NETWORK == 0 { libc::CLONE_NEWNET } else { 0 };
    }
    if flags == 0 {
        // SAFETY: the server has one thread.
        return Errno::result(unsafe { libc::fork() });
    }
    // One clone in place of fork, unshare and fork. On s390 the first two arguments are swapped.
    let (first, second) = (libc::c_long::from(flags | libc::SIGCHLD), 0);
    let (first, second) = if cfg!(target_arch = "s390x") { (second, first) } else { (first, second) };
    // SAFETY: without CLONE_VM and with no stack given this is fork; the server has one thread, so no lock is held.
    Errno::result(unsafe { libc::syscall(libc::SYS_clone, first, second, 0, 0, 0) }).map(|pid| pid as i32)
}

/// One supervisor that has ended: its id, how, and the CPU time of it and all below it.
fn reap() -> Option<(i32, Status, Duration)> {
    let mut raw = 0;
    // SAFETY: plain data, for which zero is a value; both outlive the call.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let pid = unsafe { libc::wait4(-1, &mut raw, libc::WNOHANG, &mut usage) };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    (pid > 0).then(|| (pid, Status::of_wait(raw), time(usage.ru_utime) + time(usage.ru_stime)))
}

/// What the system's settings say about why namespaces are refused.
fn refusal() -> String {
    [
        ("user.max_user_namespaces", "0"),
        ("kernel.unprivileged_userns_clone", "0"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1"),
    ]
    .into_iter()
    .filter(|(name, refuses)| {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        fs_err::read_to_string(path).is_ok_and(|value| value.trim() == *refuses)
    })
    .map(|(name, refuses)| format!(" (the setting {name} is {refuses})"))
    .collect()
}

/// A supervisor, from its first breath to its last. `ids`: the caller's user and group.
fn supervise(how: u8, ids: (u32, u32), control: &UnixStream, inherit: Vec<OwnedFd>) -> Result<(), String> {
    if how & BARE == 0 {
        // SAFETY: no pointers. After the clone, as a change of credentials would reset it.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    }
    let mut told = Duration::ZERO;
    let mut next = Some((how, inherit));
    while let Some((how, inherit)) = next {
        if !serve_request(how, ids, control, &inherit)? {
            break;
        }
        drop(inherit);
        let used = cpu_time();
        Reply::Done { cpu: used.saturating_sub(told) }.send(control);
        told = used;
        next = receive(control);
    }
    Ok(())
}

/// User and system time of this process and of all below it that have ended.
fn cpu_time() -> Duration {
    use nix::sys::resource::{UsageWho, getrusage};
    let time = |time: nix::sys::time::TimeVal| {
        Duration::new(time.tv_sec().unsigned_abs(), time.tv_usec().unsigned_abs() as u32 * 1000)
    };
    let of =
        |who| getrusage(who).map_or(Duration::ZERO, |used| time(used.user_time()) + time(used.system_time()));
    of(UsageWho::RUSAGE_SELF) + of(UsageWho::RUSAGE_CHILDREN)
}

/// Reads a request and does it. Whether there may be another one.
fn serve_request(
    how: u8,
    ids: (u32, u32),
    mut control: &UnixStream,
    inherit: &[OwnedFd],
) -> Result<bool, String> {
    let bare = how & BARE != 0;
    let broken = |e: &dyn std::fmt::Display| format!("cannot read what room to make: {e}");
    let mut length = [0; 8];
    control.read_exact(&mut length).map_err(|e| broken(&e))?;
    let mut text = vec![0; u64::from_ne_bytes(length) as usize];
    control.read_exact(&mut text).map_err(|e| broken(&e))?;
    let request: Request = postcard::from_bytes(&text).map_err(|e| broken(&e))?;
    let room = request.room;
    if request.numbers.len() != inherit.len() {
        return Err("cannot hand on that many descriptors: the limit of open files is too low".into());
    }

    let outputs = room.programs.iter().map(Output::open).collect::<Result<Vec<_>, _>>()?;
    let space = if bare { Space::Subreaper } else { Space::Namespace };
    let mut supervisor = Supervisor::new(control, space, room.limit)?;
    if !bare {
        enter(&room, ids).map_err(|why| format!("{why}{}", refusal()))?;
    }
    let inherit: Vec<_> =
        inherit.iter().zip(&request.numbers).map(|(fd, number)| (fd.as_raw_fd(), *number)).collect();
    supervisor.run(&room.programs, &outputs, &inherit, room.terminal)?;
    Ok(stays(how, &room) && !supervisor.has_stopped())
}

/// Where the room's root is while it is made: a folder that every Linux has and no room needs.
const ROOT: &str = "/sys";

/// Steps 3 to 6 but for the programs. `ids`: the caller's user and group.
fn enter(room: &Room, ids: (u32, u32)) -> Result<(), String> {
    // SAFETY: no pointers.
    unsafe { libc::umask(0) };
    let write = |path: &str, text: &str| {
        fs_err::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|e| format!("cannot become user 1000: {e}"))
    };
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("1000 {} 1", ids.0))?;
    write("/proc/self/gid_map", &format!("1000 {} 1", ids.1))?;
    nix::unistd::sethostname("mk").map_err(|e| format!("cannot set the host name: {e}"))?;
    if !room.network {
        raise_loopback().map_err(|e| format!("cannot raise the loopback interface: {e}"))?;
    }

    let mut maker = Maker::new()?;
    maker.host_places(room.network)?;
    for mount in &room.mounts {
        maker.place(mount)?;
    }
    maker.finish()
}

fn raise_loopback() -> nix::Result<()> {
    let socket =
        nix::sys::socket::socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: plain data, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is what this call reads.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) })?;
    Ok(())
}

/// Builds the room below [`ROOT`]; its working folder is `ROOT/proc`, where short links and files are kept that
/// mounts need while they are made. `/proc` covers them in the end.
struct Maker {
    /// Everything mounted, by place in the room, and whether it can be written.
    places: HashMap<PathBuf, bool>,
    /// How many names in the working folder are used.
    names: usize,
}

impl Maker {
    fn new() -> Result<Maker, String> {
        mount("none", "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, "")
            .map_err(|e| format!("cannot make the mounts private: {e}"))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount("tmpfs", ROOT, Some("tmpfs"), flags, "mode=755")
            .map_err(|e| format!("cannot mount tmpfs at `/`: {e}"))?;
        let proc = inside(Path::new("/proc"));
        fs_err::create_dir(&proc).map_err(|e| e.to_string())?;
        nix::unistd::chdir(&proc).map_err(|e| format!("cannot enter `{}`: {e}", proc.display()))?;
        Ok(Maker { places: HashMap::new(), names: 0 })
    }

    /// What every room has.
    fn host_places(&mut self, network: bool) -> Result<(), String> {
        let bind = |place: &Path| Mount::Bind { from: place.into(), to: place.into(), writable: false };
        for entry in fs_err::read_dir("/").map_err(|e| e.to_string())?.flatten() {
            let name = entry.file_name();
            let lib = name.to_string_lossy().starts_with("lib");
            if !lib && !["usr", "bin", "sbin", "opt"].iter().any(|place| name == *place) {
                continue;
            }
            let place = Path::new("/").join(&name);
            match fs_err::read_link(&place) {
                Ok(target) => self.place(&Mount::Symlink { target, to: place })?,
                Err(_) => self.place(&bind(&place))?,
            }
        }

        let etc = inside(Path::new("/proc/etc"));
        fs_err::create_dir(&etc).map_err(|e| e.to_string())?;
        let resolv = if network {
            fs_err::read_to_string("/etc/resolv.conf").unwrap_or_default()
        } else {
            String::new()
        };
        for (name, text) in [
            (
                "passwd",
                "root:x:0:0:root:/root:/bin/sh\nmk:x:1000:1000:mk:/mk/home:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n",
            ),
            ("group", "root:x:0:\ntty:x:5:\nmk:x:1000:\nnogroup:x:65534:\n"),
            ("hosts", "127.0.0.1 localhost mk\n::1 localhost mk\n"),
            ("hostname", "mk\n"),
            ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
            ("resolv.conf", &resolv),
        ] {
            fs_err::write(etc.join(name), text).map_err(|e| e.to_string())?;
        }
        // An overlay, since some of these are links on some hosts, and a mount cannot cover a link.
        self.place(&Mount::Overlay {
            lower: vec![etc, "/etc".into()],
            upper: None,
            work: None,
            to: "/etc".into(),
        })?;

        self.point(Path::new("/dev"), true)?;
        for device in ["null", "zero", "full", "random", "urandom", "tty"] {
            self.place(&bind(&Path::new("/dev").join(device)))?;
        }
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
            ("ptmx", "pts/ptmx"),
        ] {
            self.place(&Mount::Symlink { target: target.into(), to: Path::new("/dev").join(name) })?;
        }
        self.fresh("devpts", "newinstance,ptmxmode=0666,mode=620", "/dev/pts".as_ref())?;
        self.fresh("tmpfs", "mode=1777", "/dev/shm".as_ref())?;
        self.fresh("tmpfs", "mode=1777", "/tmp".as_ref())?;
        self.fresh("tmpfs", "mode=755", "/mk/home".as_ref())
    }

    fn place(&mut self, mount: &Mount) -> Result<(), String> {
        match mount {
            Mount::Bind { from, to, writable } => self.bind(from, to, *writable),
            Mount::Tmpfs { to } => self.fresh("tmpfs", "mode=755", to),
            Mount::File { to, text } => {
                let from = self.name();
                fs_err::write(&from, text).map_err(|e| e.to_string())?;
                self.bind(Path::new(&from), to, false)
            }
            Mount::Symlink { target, to } => {
                check(to)?;
                if let Some(parent) = to.parent() {
                    self.point(parent, true)?;
                }
                if self.read_only_above(to) {
                    return Err(format!("cannot link `{}`: its folder is read only", to.display()));
                }
                nix::unistd::symlinkat(target, nix::fcntl::AT_FDCWD, &inside(to))
                    .map_err(|e| format!("cannot link `{}`: {e}", to.display()))
            }
            Mount::Overlay { lower, upper, work, to } => match (&lower[..], upper, work) {
                ([], Some(upper), _) => self.bind(upper, to, true),
                ([], None, _) => {
                    self.fresh("tmpfs", "mode=755", to).map(|()| _ = self.places.insert(to.clone(), false))
                }
                ([only], None, _) => self.bind(only, to, false),
                (_, Some(_), None) => {
                    Err(format!("cannot mount overlay at `{}`: it has no work folder", to.display()))
                }
                (_, upper, work) => self.overlay(lower, upper.as_deref().zip(work.as_deref()), to),
            },
        }
    }

    fn overlay(&mut self, lower: &[PathBuf], top: Option<(&Path, &Path)>, to: &Path) -> Result<(), String> {
        let failed = |why: String| format!("cannot mount overlay at `{}`: {why}", to.display());
        if lower.len() > LAYERS_MAX {
            return Err(failed(format!("{} layers, and the kernel takes {LAYERS_MAX}", lower.len())));
        }
        // Options are one page of text in which `:`, `,` and `\` mean something: so short links, from the working folder.
        let mut options = String::from("userxattr,lowerdir=");
        for (i, folder) in lower.iter().enumerate() {
            options += if i == 0 { "" } else { ":" };
            options += &self.link(folder)?;
        }
        if let Some((upper, work)) = top {
            // Volatile: nothing is synced when the room goes, nor by the store later; docs/store.md says what that means.
            options += &format!(",upperdir={},workdir={},volatile", self.link(upper)?, self.link(work)?);
        }
        self.point(to, true)?;
        mount("overlay", inside(to), Some("overlay"), MsFlags::empty(), &options).map_err(|e| {
            // The kernel tells its log alone which folder it could not find.
            let folders = lower.iter().map(PathBuf::as_path).chain(top.into_iter().flat_map(|(u, w)| [u, w]));
            let missing = folders
                .filter(|folder| !folder.is_dir())
                .map(|f| format!(", `{}` is no folder", f.display()));
            failed(e.to_string() + &missing.take(1).collect::<String>())
        })?;
        self.places.insert(to.into(), top.is_some());
        Ok(())
    }

    fn bind(&mut self, from: &Path, to: &Path, writable: bool) -> Result<(), String> {
        let failed = |why: String| format!("cannot bind `{}` at `{}`: {why}", from.display(), to.display());
        let folder = nix::sys::stat::stat(from).map_err(|e| failed(e.to_string()))?.st_mode & libc::S_IFMT
            == libc::S_IFDIR;
        self.point(to, folder)?;
        // Recursive: the kernel refuses to uncover what the host has mounted below.
        mount(from, inside(to), None, MsFlags::MS_BIND | MsFlags::MS_REC, "")
            .map_err(|e| failed(e.to_string()))?;
        self.places.insert(to.into(), writable);
        Ok(())
    }

    /// A new file system of its own.
    fn fresh(&mut self, kind: &str, options: &str, to: &Path) -> Result<(), String> {
        self.point(to, true)?;
        let flags = MsFlags::MS_NOSUID | if kind == "tmpfs" { MsFlags::MS_NODEV } else { MsFlags::MS_NOEXEC };
        mount(kind, inside(to), Some(kind), flags, options)
            .map_err(|e| format!("cannot mount {kind} at `{}`: {e}", to.display()))?;
        self.places.insert(to.into(), true);
        Ok(())
    }

    /// Sees to it that mount point `to` exists.
    fn point(&self, to: &Path, folder: bool) -> Result<(), String> {
        check(to)?;
        let failed = |e: Errno| format!("cannot make mount point `{}`: {e}", to.display());
        let path = inside(to);
        if self.read_only_above(to) {
            // Not yet read only in fact: making it now would make it on the host.
            return if path.exists() { Ok(()) } else { Err(failed(Errno::EROFS)) };
        }
        let make = || match folder {
            true => nix::unistd::mkdir(&path, nix::sys::stat::Mode::from_bits_truncate(0o755)),
            false => nix::sys::stat::mknod(
                &path,
                nix::sys::stat::SFlag::S_IFREG,
                nix::sys::stat::Mode::from_bits_truncate(0o644),
                0,
            ),
        };
        match (make(), to.parent()) {
            (Ok(()) | Err(Errno::EEXIST), _) => Ok(()),
            (Err(Errno::ENOENT), Some(parent)) => {
                self.point(parent, true)?;
                make().map_err(failed)
            }
            (Err(e), _) => Err(failed(e)),
        }
    }

    /// Whether the innermost mount above `to` is read only.
    fn read_only_above(&self, to: &Path) -> bool {
        to.ancestors().skip(1).find_map(|above| self.places.get(above)).is_some_and(|writable| !writable)
    }

    /// A link in the working folder to `folder`.
    fn link(&mut self, folder: &Path) -> Result<String, String> {
        let name = self.name();
        nix::unistd::symlinkat(folder, nix::fcntl::AT_FDCWD, name.as_str())
            .map_err(|e| format!("cannot link to `{}`: {e}", folder.display()))?;
        Ok(name)
    }

    fn name(&mut self) -> String {
        self.names += 1;
        self.names.to_string()
    }

    /// Steps 5 and 6.
    fn finish(self) -> Result<(), String> {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount("proc", inside(Path::new("/proc")), Some("proc"), flags, "")
            .map_err(|e| format!("cannot mount proc at `/proc`: {e}"))?;
        nix::unistd::chdir(ROOT).map_err(|e| format!("cannot enter the room: {e}"))?;
        set_read_only(Path::new("."), true).map_err(|e| format!("cannot make the room read only: {e}"))?;
        for (place, _) in self.places.iter().filter(|(_, writable)| **writable) {
            set_read_only(&inside(place), false)
                .map_err(|e| format!("cannot make `{}` writable: {e}", place.display()))?;
        }
        let failed = |e: Errno| format!("cannot leave the host's folders: {e}");
        // Puts the old root on top of the new one, from where it is taken off.
        nix::unistd::pivot_root(".", ".").map_err(failed)?;
        nix::mount::umount2(".", MntFlags::MNT_DETACH).map_err(failed)?;
        nix::unistd::chdir("/").map_err(failed)
    }
}

/// Where place `to` of the room is while the room is made.
fn inside(to: &Path) -> PathBuf {
    let mut path = std::ffi::OsString::from(ROOT);
    path.push(to);
    path.into()
}

/// A place must be a plain absolute path, or it would leave the room.
fn check(to: &Path) -> Result<(), String> {
    let plain = to.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if plain && to.is_absolute() { Ok(()) } else { Err(format!("no place in a room: `{}`", to.display())) }
}

fn mount(
    source: impl AsRef<Path>,
    to: impl AsRef<Path>,
    kind: Option<&str>,
    flags: MsFlags,
    options: &str,
) -> nix::Result<()> {
    let options = Some(options).filter(|options| !options.is_empty());
    nix::mount::mount(Some(source.as_ref()), to.as_ref(), kind, flags, options)
}

/// Makes the mount at `path` and all below it read only, or that one alone writable again.
fn set_read_only(path: &Path, read_only: bool) -> nix::Result<()> {
    /// `struct mount_attr` of `linux/mount.h`.
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    const RDONLY: u64 = 1;
    let (set, clear, flags) = if read_only { (RDONLY, 0, libc::AT_RECURSIVE) } else { (0, RDONLY, 0) };
    let attr = MountAttr { set, clear, propagation: 0, user_namespace: 0 };
    let path = std::ffi::CString::new(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))
        .map_err(|_| Errno::EINVAL)?;
    // SAFETY: both pointers outlive the call, the size is the structure's.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &attr,
            std::mem::size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}
