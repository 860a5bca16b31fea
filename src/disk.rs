//! Files written and folders removed so that nothing is left half done, folders opened, and locks that are files beside
//! what they are for. Knows only `error`.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::Mode;

use crate::error::{Error, Kind, Result};

/// How the names of unfinished files begin.
pub const NEW: &str = ".new-";

/// Writes beside the file and renames: it is there whole or as it was.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    write_by_way_of(path.parent().unwrap_or(Path::new(".")), path, content)
}

/// Writes in `folder`, on the same file system, and renames.
pub fn write_by_way_of(folder: &Path, path: &Path, content: &[u8]) -> Result<()> {
    let failed =
        |error: std::io::Error| Error::from(error).context(format!("cannot write `{}`", path.display()));
    let mut tries = 0;
    loop {
        let file = tempfile::Builder::new()
            .prefix(NEW)
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(failed)?;
        let (file, temporary) = file.into_parts();
        // Who sweeps sees by the lock that its writer lives.
        let mut file =
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| failed(error.into()))?;
        file.write_all(content).map_err(failed)?;
        match temporary.persist(path) {
            Ok(()) => return Ok(()),
            // Swept in the moment before it was locked, if it is not the folder that is missing.
            Err(gone)
                if gone.error.kind() == std::io::ErrorKind::NotFound
                    && tries < 3
                    && path.parent().is_some_and(Path::exists) =>
            {
                tries += 1;
            }
            Err(error) => return Err(failed(error.error)),
        }
    }
}

/// Opens a folder, for what is in it to be looked up from there: where a folder lies is often deeper than what it holds,
/// and the kernel walks all of a path each time.
pub fn open_folder(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).map_err(|error| {
        let error = std::io::Error::from(error);
        Error::new(Kind::Host, format!("cannot open `{}`: {error}", path.display()))
    })
}

/// Whether next to nothing can be written any more where a path lies, or is to lie.
pub fn is_full(path: &Path) -> bool {
    let there = path.ancestors().find(|path| path.exists());
    there.and_then(|there| nix::sys::statvfs::statvfs(there).ok()).is_some_and(|stat| {
        let bytes = stat.blocks_available().saturating_mul(stat.fragment_size());
        bytes < NEXT_TO_NOTHING || (stat.files() > 0 && stat.files_available() == 0)
    })
}

/// Bytes that are no space.
const NEXT_TO_NOTHING: u64 = 64 * 1024;

/// Removes a folder with all below it, also where folders are read only; nothing there is fine.
pub fn remove_tree(path: &Path) -> Result<()> {
    let gone = |e: &std::io::Error| e.kind() == std::io::ErrorKind::NotFound;
    match fs_err::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let mut stack = vec![path.to_owned()];
            while let Some(folder) = stack.pop() {
                fs_err::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
                for entry in fs_err::read_dir(&folder)? {
                    let entry = entry?;
                    if entry.file_type()?.is_dir() {
                        stack.push(entry.path());
                    }
                }
            }
            Ok(fs_err::remove_dir_all(path)?)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(fs_err::remove_file(path)?),
        Err(error) if gone(&error) => Ok(()),
        other => Ok(other?),
    }
}

/// Whether two files hold the same; not where one of them cannot be read, unless neither is there.
pub fn same_content(a: &Path, b: &Path) -> bool {
    match (fs_err::read(a), fs_err::read(b)) {
        (Ok(a), Ok(b)) => a == b,
        (Err(a), Err(b)) => [a, b].iter().all(|e| e.kind() == std::io::ErrorKind::NotFound),
        _ => false,
    }
}

/// Where in `tree` a link leads to; `None` when that is elsewhere, nowhere, or a folder that holds the link itself.
pub fn link_into(link: &Path, tree: &Path) -> Option<PathBuf> {
    let there = fs_err::canonicalize(link).ok()?;
    let own = fs_err::canonicalize(link.parent()?).ok()?;
    (there.starts_with(tree) && !own.starts_with(&there)).then_some(there)
}

/// The right to something, among threads and processes: a file that is there while somebody has it.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    _held: Flock<std::fs::File>,
}

impl LockFile {
    /// Waits until nobody else has it, but no longer than until `stop` says so; then `None`. `waits` is called once when it
    /// has to wait.
    pub fn take(path: &Path, stop: &dyn Fn() -> bool, waits: &dyn Fn()) -> Result<Option<LockFile>> {
        let mut told = false;
        loop {
            let file = fs_err::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            let mut file = file.into_parts().0;
            let held = loop {
                match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                    Ok(held) => break held,
                    Err((back, Errno::EWOULDBLOCK)) => file = back,
                    Err((_, e)) => return Err(Error::from(std::io::Error::from(e)).context(path.display())),
                }
                if stop() {
                    return Ok(None);
                }
                if !std::mem::replace(&mut told, true) {
                    waits();
                }
                // The kernel has no call that waits for a lock and for something else.
                std::thread::sleep(Duration::from_millis(20));
            };
            // Whoever held it before has removed the file: what is locked may not be what the next one opens.
            if same_file(&held, path) {
                return Ok(Some(LockFile { path: path.to_owned(), _held: held }));
            }
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // While still locked, so that nobody's file but this one is removed.
        let _ = fs_err::remove_file(&self.path);
    }
}

fn same_file(open: &std::fs::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (open.metadata(), fs_err::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}
