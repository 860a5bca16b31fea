//! Digests of files and folders, each file read once and remembered by what `stat` says of it.
//! Knows `digest`; the caller says where the memory lies on disk.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};

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

    /// Whether the file could change again without its times showing it: it changed (or claims to have) too short ago,
    /// or in the future. Two seconds cover the coarsest clock of a file system in use.
    pub fn too_fresh(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i128);
        self.mtime.max(self.ctime) + 2_000_000_000 > now
    }
}

/// A memory of digests. Cheap to ask from many threads.
#[derive(Debug, Default)]
pub struct FileDigests {
    known: Mutex<HashMap<PathBuf, (Stat, Digest)>>,
    seen: Mutex<BTreeMap<PathBuf, Option<Stat>>>,
}

#[derive(Serialize, Deserialize)]
struct Saved(PathBuf, Stat, Digest);

impl FileDigests {
    /// Reads what an earlier run saved; a missing or damaged file is an empty memory.
    pub fn load(file: &Path) -> FileDigests {
        let saved: Vec<Saved> =
            fs_err::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let known = saved.into_iter().map(|Saved(path, stat, digest)| (path, (stat, digest))).collect();
        FileDigests { known: Mutex::new(known), seen: Mutex::default() }
    }

    /// Saves what is old enough to be trusted next time.
    pub fn save(&self, file: &Path) -> Result<()> {
        let now = SystemTime::now();
        let known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut saved: Vec<Saved> = known
            .iter()
            .filter(|(_, (stat, _))| !stat.too_fresh(now))
            .map(|(path, (stat, digest))| Saved(path.clone(), *stat, *digest))
            .collect();
        saved.sort_by(|a, b| a.0.cmp(&b.0));
        crate::store::write_atomically(file, &serde_json::to_vec(&saved).unwrap_or_default())
    }

    /// Remembers that what is at `path` matters, without reading it: a file, a folder's list of names, or nothing.
    pub fn note(&self, path: &Path) {
        let stat = fs_err::symlink_metadata(path).ok().map(|meta| Stat::of(&meta));
        self.see(path, stat);
        if stat.is_some_and(|stat| stat.mode & libc::S_IFMT == libc::S_IFLNK) {
            if let Ok(target) = fs_err::canonicalize(path) {
                self.see(&target, fs_err::symlink_metadata(&target).ok().map(|meta| Stat::of(&meta)));
            }
        }
    }

    fn see(&self, path: &Path, stat: Option<Stat>) {
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // What was first seen counts: a change since then must show.
        seen.entry(path.to_owned()).or_insert(stat);
    }

    /// Every path that mattered so far, with what `lstat` said of it when it was first looked at.
    pub fn seen(&self) -> BTreeMap<PathBuf, Option<Stat>> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The digest of a file's content; `None` when there is no such file.
    pub fn file(&self, path: &Path) -> Result<Option<Digest>> {
        self.note(path);
        let meta = match fs_err::metadata(path) {
            Ok(meta) => meta,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let stat = Stat::of(&meta);
        let lock = || self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((known, digest)) = lock().get(path) {
            if *known == stat {
                return Ok(Some(*digest));
            }
        }
        let digest = Digest::of_file(path)?;
        lock().insert(path.to_owned(), (stat, digest));
        Ok(Some(digest))
    }

    /// A line for a file, link or folder: its kind, permissions and content; `None` when there is nothing.
    ///
    /// A folder's line holds the digest of the lines of everything below it, by name.
    pub fn line(&self, path: &Path) -> Result<Option<String>> {
        self.note(path);
        let Ok(meta) = fs_err::symlink_metadata(path) else { return Ok(None) };
        let mode = meta.mode() & 0o777;
        if meta.is_symlink() {
            return Ok(Some(format!("link {}", fs_err::read_link(path)?.display())));
        }
        if meta.is_dir() {
            let mut all = String::new();
            for (name, line) in self.folder(path)? {
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

    /// The lines of what a folder holds, by name; folders below it are one line each.
    pub fn folder(&self, path: &Path) -> Result<Vec<(String, String)>> {
        self.note(path);
        let mut lines = Vec::new();
        for entry in fs_err::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(line) = self.line(&entry.path())? {
                lines.push((name, line));
            }
        }
        lines.sort();
        Ok(lines)
    }
}
