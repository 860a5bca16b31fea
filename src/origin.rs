//! Archives that no plain URL gives: of a source package that the machine's own apt knows, and of one commit
//! of a git repository. Knows nothing of digests or where an archive goes; `fetch` does.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, setsid};

/// How long a server may send nothing.
pub(crate) const STALL: Duration = Duration::from_secs(60);

/// How long a server may take to accept a connection.
pub(crate) const CONNECT: Duration = Duration::from_secs(20);

/// How often a running program is looked after.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// Why there is no archive.
#[derive(Debug)]
pub(crate) enum Lack {
    /// It cannot be had here: a reason in plain words.
    Reason(String),
    /// The caller wants no more.
    Cancelled,
    /// The machine does not allow it.
    Io(io::Error),
}

impl From<io::Error> for Lack {
    fn from(error: io::Error) -> Lack {
        Lack::Io(error)
    }
}

/// Asks apt for `SOURCE[=VERSION]` and returns all that it downloaded into the empty folder `scratch`, the largest
/// first: which of them is the archive, its digest says. `progress` takes the bytes so far.
pub(crate) fn from_apt(
    apt_get: &Path,
    source: &str,
    scratch: &Path,
    progress: &mut dyn FnMut(u64),
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<PathBuf>, Lack> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.:~=".contains(c);
    if !source.starts_with(|c: char| c.is_ascii_alphanumeric()) || !source.chars().all(plain) {
        return Err(Lack::Reason(
            "`apt:` is followed by the name of a source package, and perhaps `=VERSION`".into(),
        ));
    }
    // Upstream's archive alone: what Debian adds to it may be gone from a mirror. Root's apt would give up its rights and
    // then not be allowed to write here.
    let arguments = [
        "source",
        "-qq",
        "--download-only",
        "--tar-only",
        "--only-source",
        "-o",
        "APT::Sandbox::User=root",
        source,
    ];
    // As a word, not as a path: duct takes a bare path for one in the current folder.
    let command = duct::cmd(apt_get.as_os_str(), arguments).dir(scratch).env("LC_ALL", "C");
    let mut look =
        || progress(files(scratch).iter().filter_map(|file| file.metadata().ok()).map(|m| m.len()).sum());
    if let Err(said) = run(&command, "apt-get", &mut look, cancelled)? {
        let (name, version) = source.split_once('=').unwrap_or((source, ""));
        return Err(Lack::Reason(if said.contains("deb-src") {
            "no source list of apt has `deb-src`: add it (`Types: deb deb-src`) and run `apt-get update`"
                .into()
        } else if said.contains("Can not find version") {
            format!("apt has no version `{version}` of `{name}` (any more): see `apt-cache showsrc {name}`")
        } else if said.contains("Unable to find a source package") {
            format!("apt knows no source package `{name}`: perhaps `apt-get update` helps")
        } else {
            last_line(&said, "apt-get failed")
        }));
    }
    let mut found = files(scratch);
    found.retain(|file| !file.extension().is_some_and(|end| end == "dsc" || end == "asc"));
    found.sort_by_key(|file| std::cmp::Reverse(file.metadata().map_or(0, |meta| meta.len())));
    Ok(found)
}

/// Makes the archive `file` of a commit in the empty folder `scratch`, with the file's name without its endings as
/// top folder, and returns its path. `address` is `URL#COMMIT`, with all 40 digits.
///
/// The same commit always gives the same bytes: `.tar` depends on git alone, `.tar.gz` is stored rather than
/// compressed as no two versions of a compressor agree, `.tar.xz` depends on liblzma's too.
pub(crate) fn from_git(
    git: &Path,
    address: &str,
    file: &str,
    scratch: &Path,
    cancelled: &dyn Fn() -> bool,
) -> Result<PathBuf, Lack> {
    let commit_like = |c: &str| c.len() == 40 && c.bytes().all(|b| b.is_ascii_hexdigit());
    let Some((url, commit)) = address.rsplit_once('#').filter(|(_, commit)| commit_like(commit)) else {
        return Err(Lack::Reason("a `git+` URL ends in `#` and all 40 digits of a commit".into()));
    };
    let Some((stem, ending)) = [".tar", ".tar.gz", ".tgz", ".tar.xz"]
        .iter()
        .find_map(|ending| file.strip_suffix(ending).map(|stem| (stem, *ending)))
    else {
        return Err(Lack::Reason(
            "the archive of a git commit is a `.tar`, `.tar.gz`, `.tgz` or `.tar.xz`".into(),
        ));
    };
    let repository = scratch.join("git");
    let command = |arguments: &[&str]| {
        let mut all: Vec<OsString> = vec!["--git-dir".into(), repository.clone().into()];
        all.extend(arguments.iter().map(OsString::from));
        duct::cmd(git.as_os_str(), all).env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0")
    };
    let call = |arguments: &[&str]| run(&command(arguments), "git", &mut || (), cancelled);
    let failed = |said: String| Lack::Reason(last_line(&said, "git failed"));
    // Of a user's template could come settings and attributes.
    call(&["init", "--quiet", "--bare", "--template="])?.map_err(failed)?;
    let mut patience = vec![
        "-c".to_owned(),
        "http.lowSpeedLimit=1".to_owned(),
        "-c".to_owned(),
        format!("http.lowSpeedTime={}", STALL.as_secs()),
    ];
    if call(&["config", "core.sshCommand"])?.is_err() {
        let (connect, alive) = (CONNECT.as_secs(), STALL.as_secs() / 3);
        let ssh = format!("ssh -o BatchMode=yes -o ConnectTimeout={connect} -o ServerAliveInterval={alive}");
        // A shell runs it. GIT_SSH_COMMAND comes before it by itself, GIT_SSH would not.
        patience.extend(["-c".to_owned(), format!("core.sshCommand=${{GIT_SSH:-{ssh}}}")]);
    }
    let fetch = |more: &[&str]| {
        let patience: Vec<&str> = patience.iter().map(String::as_str).collect();
        call(&[&patience[..], &["fetch", "--quiet", "--no-tags"], more].concat())
    };
    if fetch(&["--depth=1", url, commit])?.is_err() {
        // Some servers give commits by the name of a branch or tag alone.
        fetch(&[url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"])?.map_err(failed)?;
    }
    let tar = scratch.join("archive.tar");
    let (prefix, output) = (format!("--prefix={stem}/"), format!("--output={}", tar.display()));
    let arguments = ["-c", "tar.umask=0022", "archive", "--format=tar", &prefix, &output, commit];
    // The settings of user and machine, which a server may ask for, must not change the bytes.
    let mut archive = command(&arguments).env("HOME", scratch);
    for name in ["GIT_CONFIG_NOSYSTEM", "GIT_ATTR_NOSYSTEM"] {
        archive = archive.env(name, "1");
    }
    for name in [
        "XDG_CONFIG_HOME",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_COUNT",
        "GIT_CONFIG_PARAMETERS",
        "GIT_ATTR_SOURCE",
    ] {
        archive = archive.env_remove(name);
    }
    if run(&archive, "git", &mut || (), cancelled)?.is_err() {
        return Err(Lack::Reason(format!("the repository has no commit `{commit}`")));
    }
    let packed = scratch.join("archive");
    let mut plain = io::BufReader::with_capacity(1 << 20, fs_err::File::open(&tar)?);
    match ending {
        ".tar" => return Ok(tar),
        ".tar.xz" => {
            let mut out = liblzma::write::XzEncoder::new(fs_err::File::create(&packed)?, 6);
            io::copy(&mut plain, &mut out)?;
            out.finish()?;
        }
        _ => {
            let out = fs_err::File::create(&packed)?;
            let mut out = flate2::GzBuilder::new().mtime(0).write(out, flate2::Compression::none());
            io::copy(&mut plain, &mut out)?;
            out.finish()?;
        }
    }
    Ok(packed)
}

/// Runs a program to its end; the inner error is what it said when it failed. When the caller wants no more, all that it
/// started ends with it; nor does any of that ask at the terminal.
fn run(
    command: &duct::Expression,
    name: &str,
    look: &mut dyn FnMut(),
    cancelled: &dyn Fn() -> bool,
) -> Result<Result<(), String>, Lack> {
    let alone = |command: &mut std::process::Command| {
        // SAFETY: `setsid` is one that may be called between fork and exec.
        unsafe { command.pre_exec(|| Ok(setsid().map(drop)?)) };
        Ok(())
    };
    let command = command.before_spawn(alone).stdin_null().stderr_to_stdout().stdout_capture().unchecked();
    let running = command.start().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Lack::Reason(format!("this machine has no `{name}`")),
        _ => Lack::Io(e),
    })?;
    loop {
        if cancelled() {
            for pid in running.pids() {
                // Fails where all of it has just ended.
                let _ = killpg(Pid::from_raw(pid as i32), Signal::SIGKILL);
            }
            running.wait_timeout(LOOK)?;
            return Err(Lack::Cancelled);
        }
        if let Some(output) = running.wait_timeout(LOOK)? {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            return Ok(if output.status.success() { Ok(()) } else { Err(said) });
        }
        look();
    }
}

/// The files of a folder; none when it cannot be read.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect()
}

/// The last line of what a program said, or `otherwise` when it said nothing.
fn last_line(said: &str, otherwise: &str) -> String {
    said.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or(otherwise).to_owned()
}
