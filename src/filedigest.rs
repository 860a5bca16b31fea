//! Digests of files and folders, each file read once and remembered by what `stat` says of it; and which package looked at
//! which. Knows `digest` and names; the caller says where the memory lies on disk.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk::link_into;
use crate::error::{Error, Kind, Result};
use crate::names::PackageName;

/// What must be equal for a file to count as unchanged. Times in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    size: u64,
    mtime: i128,
    ctime: i128,
    inode: u64,
    device: u64,
    mode: u32,
}

impl Stat {
    /// What `stat` says of a file.
    pub fn of(meta: &std::fs::Metadata) -> Stat {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Stat {
            size: meta.size(),
            mtime: nanoseconds(meta.mtime(), meta.mtime_nsec()),
            ctime: nanoseconds(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
            device: meta.dev(),
            mode: meta.mode(),
        }
    }

    /// The six numbers, for keeping them in a compact form.
    pub fn numbers(&self) -> [u64; 6] {
        // Nanoseconds since 1970 fit in 64 bits until 2554; what claims to be from before is cut, which still compares.
        [self.size, self.mtime as u64, self.ctime as u64, self.inode, self.device, u64::from(self.mode)]
    }

    /// The opposite of [`Stat::numbers`].
    pub fn of_numbers([size, mtime, ctime, inode, device, mode]: [u64; 6]) -> Stat {
        let time = |nanoseconds: u64| i128::from(nanoseconds as i64);
        Stat { size, mtime: time(mtime), ctime: time(ctime), inode, device, mode: mode as u32 }
    }

    fn is_link(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFLNK
    }

    /// Whether a file that looked like this at `now` could change after that without `stat` showing it: it changed
    /// too short ago for the clock of its file system.
    ///
    /// What counts is ctime, which no program can set; one in the future says that the clock was set back. An mtime
    /// counts beside it only where it is near: file systems without a ctime of their own show that in its place.
    pub fn too_fresh(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i128);
        self.ctime + self.step() > now || (self.mtime - now).abs() < self.step()
    }

    /// Whether it changed between these times for certain.
    pub fn changed_between(&self, from: SystemTime, until: SystemTime) -> bool {
        let time = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i128);
        time(from) < self.ctime && self.ctime <= time(until)
    }

    /// How far apart two changes must be to have different times, in nanoseconds. Whole seconds are those of a file
    /// system that keeps no finer times; the coarsest in use has steps of two.
    fn step(&self) -> i128 {
        if self.ctime % 1_000_000_000 == 0 { 2_000_000_000 } else { TICK }
    }
}

/// The coarsest step of a kernel's clock for files that keep nanoseconds is 10 ms; in a virtual machine ticks come late.
const TICK: i128 = 50_000_000;

/// A path that mattered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What `lstat` said of it when it was first looked at; `None`: there was nothing.
    pub stat: Option<Stat>,
    /// The only package that it matters to; `None`: it may matter to all.
    pub to: Option<PackageName>,
}

/// A memory of digests. Cheap to ask from many threads.
#[derive(Debug, Default)]
pub struct FileDigests {
    known: Mutex<HashMap<PathBuf, Known>>,
    seen: Mutex<HashMap<OsString, Seen>>,
    /// Whether there is anything that is not saved.
    learnt: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    stat: Stat,
    digest: Digest,
    /// Whether `stat` would tell of any change since.
    sure: bool,
}

#[derive(Serialize, Deserialize)]
struct Saved(PathBuf, Stat, Digest);

impl FileDigests {
    /// Reads what an earlier run saved; a missing or damaged file is an empty memory.
    pub fn load(file: &Path) -> FileDigests {
        let saved: Vec<Saved> =
            fs_err::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let known = saved
            .into_iter()
            .map(|Saved(path, stat, digest)| (path, Known { stat, digest, sure: true }))
            .collect();
        FileDigests { known: Mutex::new(known), seen: Mutex::default(), learnt: AtomicBool::new(false) }
    }

    /// Saves what can be trusted next time, unless that is on disk already.
    pub fn save(&self, file: &Path) -> Result<()> {
        if !self.learnt.load(Ordering::Relaxed) {
            return Ok(());
        }
        let known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut saved: Vec<Saved> = known
            .iter()
            .filter(|(_, known)| known.sure)
            .map(|(path, known)| Saved(path.clone(), known.stat, known.digest))
            .collect();
        saved.sort_by(|a, b| a.0.cmp(&b.0));
        crate::disk::write_atomically(file, &serde_json::to_vec(&saved).unwrap_or_default())
    }

    /// Looks at files for a package, whose key depends on what is found; `None`: for all of them.
    pub fn reader<'a>(&'a self, to: Option<&'a PackageName>) -> Reader<'a> {
        Reader { digests: self, to }
    }

    /// Takes over what an earlier run saw and is so still.
    pub fn take_over(&self, seen: Vec<(PathBuf, Seen)>) {
        let mut all = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.extend(seen.into_iter().map(|(path, seen)| (path.into_os_string(), seen)));
    }

    /// Every path that mattered so far.
    pub fn seen(&self) -> BTreeMap<PathBuf, Seen> {
        let seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.iter().map(|(path, seen)| (path.into(), seen.clone())).collect()
    }
}

/// Files as a package looks at them.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    digests: &'a FileDigests,
    to: Option<&'a PackageName>,
}

impl Reader<'_> {
    /// Remembers that what is at `path` matters, without reading it: a file, a folder's list of names, or nothing.
    pub fn note(&self, path: &Path) {
        let seen = self.digests.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // What a link that matters to all leads to does so too.
        if seen.get(path.as_os_str()).is_some_and(|seen| seen.to.is_none() || seen.to.as_ref() == self.to) {
            return;
        }
        drop(seen);
        let stat = fs_err::symlink_metadata(path).ok().map(|meta| Stat::of(&meta));
        self.see(path, stat);
        if stat.is_some_and(|stat| stat.is_link()) {
            self.follow(path);
        }
    }

    /// Remembers what a link leads to, and every further link on the way there.
    fn follow(&self, link: &Path) {
        let mut links = 0;
        let mut at = PathBuf::new();
        let mut left: Vec<OsString> = parts_of(link);
        while let Some(part) = left.pop() {
            if part == ".." {
                at.pop();
                continue;
            }
            at.push(part);
            let stat = fs_err::symlink_metadata(&at).ok().map(|meta| Stat::of(&meta));
            let is_link = stat.is_some_and(|stat| stat.is_link());
            if is_link || left.is_empty() {
                self.see(&at, stat);
            }
            if let Some(target) = is_link.then(|| fs_err::read_link(&at).ok()).flatten() {
                // As many as the kernel follows.
                links += 1;
                if links > 40 {
                    return;
                }
                at.pop();
                left.extend(parts_of(&target));
            }
        }
    }

    fn see(&self, path: &Path, stat: Option<Stat>) {
        let mut seen = self.digests.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // What was first seen counts: a change since then must show.
        let seen = seen.entry(path.as_os_str().to_owned());
        let seen = seen.or_insert_with(|| Seen { stat, to: self.to.cloned() });
        if seen.to.as_ref() != self.to {
            seen.to = None;
        }
    }

    /// The digest of a file's content; `None` when there is no such file.
    pub fn file(&self, path: &Path) -> Result<Option<Digest>> {
        // Before it is looked at: whatever changes later is younger than this.
        let now = SystemTime::now();
        self.note(path);
        let meta = match fs_err::metadata(path) {
            Ok(meta) => meta,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = Stat::of(&meta);
        let lock = || self.digests.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = lock().get(path) {
            if known.sure && known.stat == stat {
                return Ok(Some(known.digest));
            }
        }
        let digest = Digest::of_file(path)?;
        let sure = !stat.too_fresh(now);
        lock().insert(path.to_owned(), Known { stat, digest, sure });
        self.digests.learnt.fetch_or(sure, Ordering::Relaxed);
        Ok(Some(digest))
    }

    /// A line for a file, link or folder: its kind, permissions and content; `None` when there is nothing.
    ///
    /// A folder's line holds the digest of the lines of everything below it, by name. A link's line holds where it points
    /// and, if that is in `tree`, what is there, of which further links are not followed: a room shows that in its
    /// place (see [`link_into`]).
    pub fn line(&self, path: &Path, tree: &Path) -> Result<Option<String>> {
        self.line_of(path, Some(tree))
    }

    fn line_of(&self, path: &Path, tree: Option<&Path>) -> Result<Option<String>> {
        self.note(path);
        let meta = match fs_err::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mode = meta.mode() & 0o7777;
        if meta.is_symlink() {
            let target = fs_err::read_link(path)?;
            let there = match tree.and_then(|tree| link_into(path, tree)) {
                Some(there) => self.line_of(&there, None)?,
                None => None,
            };
            let there = there.map_or(String::new(), |line| format!(" ({line})"));
            return Ok(Some(format!("link {}{there}", target.display())));
        }
        if meta.is_dir() {
            let mut all = String::new();
            for (name, line) in self.lines_of(path, tree, None)? {
                all.push_str(&format!("{name}\0{line}\0"));
            }
            return Ok(Some(format!("folder {}", Digest::of(all))));
        }
        if !meta.is_file() {
            return Err(Error::new(
                Kind::Recipe,
                format!("`{}` is neither file, folder nor link", path.display()),
            ));
        }
        Ok(self.file(path)?.map(|digest| format!("{mode:o} {digest}")))
    }

    /// The lines of what a folder holds but for one name, by name; folders below it are one line each.
    pub fn folder(&self, path: &Path, tree: &Path, but: Option<&str>) -> Result<Vec<(String, String)>> {
        self.lines_of(path, Some(tree), but)
    }

    fn lines_of(&self, path: &Path, tree: Option<&Path>, but: Option<&str>) -> Result<Vec<(String, String)>> {
        self.note(path);
        let mut lines = Vec::new();
        for entry in fs_err::read_dir(path)? {
            let entry = entry?;
            if but.is_some_and(|but| entry.file_name() == but) {
                continue;
            }
            let name = match entry.file_name().into_string() {
                Ok(name) => name,
                Err(raw) => raw.as_encoded_bytes().escape_ascii().to_string(),
            };
            if let Some(line) = self.line_of(&entry.path(), tree)? {
                lines.push((name, line));
            }
        }
        lines.sort();
        Ok(lines)
    }
}

/// The parts of a path, the first one last.
fn parts_of(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    parts.rev().map(|part| part.as_os_str().to_owned()).collect()
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}
