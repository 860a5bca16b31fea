//! The store: results named by key, shared by boards, products and workspaces. Entries appear whole, by rename.
//! Knows digests and names; not how a result is made.
//!
//! ```text
//! <store>/format             `mk-store 1`
//! <store>/entry/ab/<key>/    manifest, meta.json, deploy/, toolchain/, log/
//! <store>/inputs/ab/<own>    which inputs the builds of a recipe discovered while they ran
//! <store>/source/<digest>/   unpacked archives
//! <store>/prepared/<key>/    layer/ (what `prepare` changed), log, meta.json
//! <store>/duration/<package> seconds of the last build
//! <store>/failed/<view>/     folders of failed builds
//! <store>/root/              build roots that use results
//! <store>/lock/              locks, one file a name; empty
//! <store>/tmp/               work in progress, one folder a process, swept when that is gone
//! <store>/runtime/           the runtime library
//! ```

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::key::Manifest;
use crate::names::PackageName;

/// First line of `<store>/format`.
const FORMAT: &str = "mk-store 1";

/// A store on disk.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// What is known of a result without looking into it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Meta {
    /// Whose result.
    pub package: PackageName,
    /// `VERSION` of the recipe.
    pub version: String,
    /// Digest of the deploy folder and the toolchain additions.
    pub output: Digest,
    /// Bytes of all files.
    pub size: u64,
    /// Number of files.
    pub files: u64,
    /// Wall seconds that it took to build.
    pub seconds: f64,
    /// Whether `toolchain/` holds anything.
    pub toolchain: bool,
    /// The archive that it was built from.
    pub source: Option<Digest>,
    /// The prepared-source layer that it was built from.
    pub prepared: Option<Digest>,
}

/// A result in the store.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its key.
    pub key: Digest,
    /// Its folder.
    pub path: PathBuf,
    /// What is known of it.
    pub meta: Meta,
}

impl Entry {
    /// What the package installed.
    pub fn deploy(&self) -> PathBuf {
        self.path.join("deploy")
    }

    /// What it added to the toolchain.
    pub fn toolchain(&self) -> PathBuf {
        self.path.join("toolchain")
    }

    /// Logs of its steps.
    pub fn logs(&self) -> PathBuf {
        self.path.join("log")
    }

    /// The manifest that its key is the digest of.
    pub fn manifest(&self) -> Result<Manifest> {
        Ok(Manifest::parse(&fs_err::read_to_string(self.path.join("manifest"))?))
    }
}

/// Held while something of that name is made; released when dropped or when the process ends.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held, not read")] Flock<std::fs::File>);

/// This process's own folder below `tmp/`; removed when dropped.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    next: std::sync::atomic::AtomicU64,
    _building: Flock<std::fs::File>,
    _owner: Flock<std::fs::File>,
}

impl Temporary {
    /// A fresh empty folder in it.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = self.path.join(format!("{number}-{name}"));
        fs_err::create_dir(&path)?;
        Ok(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = remove_tree(&self.path);
    }
}

impl Store {
    /// Opens a store, making it where there is nothing. A folder of other things, or a store of another version, is
    /// an error and left untouched.
    pub fn open(root: &Path) -> Result<Store> {
        let format = root.join("format");
        match fs_err::read_to_string(&format) {
            Ok(text) if text.trim_end() == FORMAT => {}
            Ok(text) => {
                return Err(Error::new(
                    Kind::Host,
                    format!(
                        "store `{}` has the format `{}`, this `mk` writes `{FORMAT}`",
                        root.display(),
                        text.trim_end()
                    ),
                )
                .hint("name another folder with --store or MK_STORE; nothing in this one was touched"));
            }
            Err(_) if root.read_dir().is_ok_and(|mut entries| entries.next().is_some()) => {
                return Err(Error::new(
                    Kind::Host,
                    format!("`{}` is not a store: it holds other things", root.display()),
                )
                .hint(
                    "name an empty or new folder with --store or MK_STORE; nothing in this one was touched",
                ));
            }
            Err(_) => {
                fs_err::create_dir_all(root)?;
                write_atomically(&format, format!("{FORMAT}\n").as_bytes())?;
            }
        }
        let root = fs_err::canonicalize(root)?;
        Ok(Store { root })
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the runtime library is written.
    pub fn runtime(&self) -> PathBuf {
        self.root.join("runtime")
    }

    /// Memory of file digests.
    pub fn digests(&self) -> PathBuf {
        self.root.join("digests.json")
    }

    fn sharded(&self, kind: &str, key: &Digest) -> PathBuf {
        let key = key.to_string();
        self.root.join(kind).join(&key[..2]).join(key)
    }

    /// The result of that key, if it is there and its description can be read.
    pub fn find(&self, key: &Digest) -> Option<Entry> {
        let path = self.sharded("entry", key);
        let meta = fs_err::read(path.join("meta.json")).ok()?;
        let meta = serde_json::from_slice(&meta).ok()?;
        Some(Entry { key: *key, path, meta })
    }

    /// All results, in the order of their keys.
    pub fn entries(&self) -> Vec<Entry> {
        let mut found = Vec::new();
        for shard in std::fs::read_dir(self.root.join("entry")).into_iter().flatten().flatten() {
            for entry in std::fs::read_dir(shard.path()).into_iter().flatten().flatten() {
                if let Ok(key) = entry.file_name().to_string_lossy().parse() {
                    found.extend(self.find(&key));
                }
            }
        }
        found.sort_by_key(|entry| entry.key);
        found
    }

    /// Puts a finished folder (manifest, meta.json, deploy/, toolchain/, log/) into place. When another process was
    /// faster, its equal result stays and `fresh` is removed.
    pub fn publish(&self, fresh: &Path, key: &Digest) -> Result<Entry> {
        let path = self.sharded("entry", key);
        self.rename_into(fresh, &path)?;
        self.find(key).ok_or_else(|| {
            Error::new(Kind::Host, format!("store entry `{}` cannot be read back", path.display()))
        })
    }

    /// Removes a result.
    pub fn remove(&self, entry: &Entry) -> Result<()> {
        remove_tree(&entry.path)
    }

    fn rename_into(&self, fresh: &Path, path: &Path) -> Result<()> {
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        match fs_err::rename(fresh, path) {
            Ok(()) => Ok(()),
            Err(_) if path.is_dir() => remove_tree(fresh),
            Err(error) => {
                Err(Error::new(Kind::Host, format!("cannot put `{}` in place: {error}", path.display())))
            }
        }
    }

    /// An unpacked archive, if it is there.
    pub fn source(&self, archive: &Digest) -> PathBuf {
        self.root.join("source").join(archive.to_string())
    }

    /// The name of the folder of `kind` (`source`, `prepared`) in which a path of this store lies.
    pub fn digest_below(&self, kind: &str, path: &Path) -> Option<Digest> {
        path.strip_prefix(self.root.join(kind)).ok()?.iter().next()?.to_string_lossy().parse().ok()
    }

    /// Where the folders of a failed build are kept that the build root shows as `view`.
    pub fn failed(&self, view: &Path) -> PathBuf {
        self.root.join("failed").join(Digest::of(view.as_os_str().as_encoded_bytes()).to_string())
    }

    /// Puts an unpacked archive into place.
    pub fn publish_source(&self, fresh: &Path, archive: &Digest) -> Result<PathBuf> {
        let path = self.source(archive);
        self.rename_into(fresh, &path)?;
        Ok(path)
    }

    /// A prepared-source layer's folder, if it is there.
    pub fn prepared(&self, key: &Digest) -> PathBuf {
        self.root.join("prepared").join(key.to_string())
    }

    /// Puts a prepared-source layer into place.
    pub fn publish_prepared(&self, fresh: &Path, key: &Digest) -> Result<PathBuf> {
        let path = self.prepared(key);
        self.rename_into(fresh, &path)?;
        Ok(path)
    }

    /// The sets of inputs that builds of this recipe (`own`: its manifest without other packages) discovered; `None`:
    /// it was never built.
    pub fn discovered(&self, own: &Digest) -> Option<Vec<Vec<String>>> {
        let text = fs_err::read(self.sharded("inputs", own)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Remembers one more set of discovered inputs.
    pub fn discover(&self, own: &Digest, inputs: &[String]) -> Result<()> {
        let _lock = self.lock("inputs")?;
        let mut sets = self.discovered(own).unwrap_or_default();
        if sets.iter().all(|set| set != inputs) {
            sets.push(inputs.to_vec());
            let path = self.sharded("inputs", own);
            if let Some(parent) = path.parent() {
                fs_err::create_dir_all(parent)?;
            }
            write_atomically(&path, &serde_json::to_vec(&sets).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Seconds that a package's last build took, on whatever board.
    pub fn duration(&self, package: &PackageName) -> Option<f64> {
        fs_err::read_to_string(self.root.join("duration").join(package.as_str())).ok()?.trim().parse().ok()
    }

    /// Remembers how long a build took.
    pub fn set_duration(&self, package: &PackageName, seconds: f64) -> Result<()> {
        let folder = self.root.join("duration");
        fs_err::create_dir_all(&folder)?;
        write_atomically(&folder.join(package.as_str()), format!("{seconds:.3}\n").as_bytes())
    }

    /// Remembers a build root, so that what it uses is not removed.
    pub fn remember_root(&self, build_root: &Path) -> Result<()> {
        let folder = self.root.join("root");
        fs_err::create_dir_all(&folder)?;
        let name = Digest::of(build_root.as_os_str().as_encoded_bytes()).to_string();
        write_atomically(&folder.join(name), build_root.as_os_str().as_encoded_bytes())
    }

    /// Build roots that were remembered, whether or not they are still there.
    pub fn roots(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.root.join("root")).into_iter().flatten().flatten();
        let mut roots: Vec<PathBuf> = files
            .filter_map(|file| fs_err::read(file.path()).ok())
            .map(|text| std::ffi::OsString::from(String::from_utf8_lossy(&text).into_owned()).into())
            .collect();
        roots.sort();
        roots
    }

    /// Waits until no other process makes the thing of that name.
    pub fn lock(&self, name: &str) -> Result<Lock> {
        Ok(Lock(
            self.locked(name, FlockArg::LockExclusive)?
                .ok_or_else(|| Error::new(Kind::Host, "cannot lock"))?,
        ))
    }

    /// The lock of that name, unless another process holds it.
    pub fn try_lock(&self, name: &str) -> Result<Option<Lock>> {
        Ok(self.locked(name, FlockArg::LockExclusiveNonblock)?.map(Lock))
    }

    fn locked(&self, name: &str, how: FlockArg) -> Result<Option<Flock<std::fs::File>>> {
        let folder = self.root.join("lock");
        fs_err::create_dir_all(&folder)?;
        let path = folder.join(name);
        let file = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
        lock_file(file.into_parts().0, how, &path)
    }

    /// The store for this process alone, unless another one builds; held until dropped.
    pub fn alone(&self) -> Result<Option<Lock>> {
        self.try_lock("building")
    }

    /// Whether some process builds in the build root with this state folder.
    pub fn is_building(state: &Path) -> bool {
        let path = state.join("building");
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .ok()
            .and_then(|file| lock_file(file, FlockArg::LockExclusiveNonblock, &path).ok())
            .is_some_and(|lock| lock.is_none())
    }

    /// Marks a build root as being built, until dropped.
    pub fn mark_building(state: &Path) -> Result<Option<Lock>> {
        let path = state.join("building");
        let file = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
        // Two builds of one build root at once are fine; then the mark is the first one's.
        Ok(lock_file(file.into_parts().0, FlockArg::LockExclusiveNonblock, &path)?.map(Lock))
    }

    /// This process's folder for work in progress, after those of processes that are gone were swept away.
    pub fn temporary(&self) -> Result<Temporary> {
        let building = self
            .locked("building", FlockArg::LockShared)?
            .ok_or_else(|| Error::new(Kind::Host, format!("cannot lock `{}`", self.root.display())))?;
        let all = self.root.join("tmp");
        fs_err::create_dir_all(&all)?;
        for entry in fs_err::read_dir(&all)? {
            let path = entry?.path();
            let owner = path.join("owner");
            let gone = match std::fs::OpenOptions::new().write(true).open(&owner) {
                Ok(file) => lock_file(file, FlockArg::LockExclusiveNonblock, &owner)?.is_some(),
                // Its owner is written first and removed never: without one it was half removed.
                Err(error) => error.kind() == std::io::ErrorKind::NotFound && path.join("removing").exists(),
            };
            if gone {
                remove_tree(&path)?;
            }
        }
        let path = tempfile::Builder::new().prefix(".").tempdir_in(&all)?.keep();
        let owner = path.join("owner");
        let file = fs_err::File::create(&owner)?.into_parts().0;
        let owner = lock_file(file, FlockArg::LockExclusive, &owner)?
            .ok_or_else(|| Error::new(Kind::Host, "cannot lock"))?;
        fs_err::write(path.join("removing"), "")?;
        Ok(Temporary { path, next: std::sync::atomic::AtomicU64::new(0), _building: building, _owner: owner })
    }
}

fn lock_file(file: std::fs::File, how: FlockArg, path: &Path) -> Result<Option<Flock<std::fs::File>>> {
    let mut file = file;
    loop {
        match Flock::lock(file, how) {
            Ok(lock) => return Ok(Some(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Ok(None),
            Err((back, nix::errno::Errno::EINTR)) => file = back,
            Err((_, error)) => {
                return Err(Error::new(Kind::Host, format!("cannot lock `{}`: {error}", path.display())));
            }
        }
    }
}

/// Writes beside the file and renames: it is there whole or as it was.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(|error| {
            Error::from(std::io::Error::new(
                error.kind(),
                format!("cannot write in `{}`: {error}", folder.display()),
            ))
        })?;
    file.write_all(content).map_err(|e| Error::from(e).context(format!("`{}`", path.display())))?;
    file.persist(path).map_err(|e| Error::from(e.error).context(format!("`{}`", path.display())))?;
    Ok(())
}

/// Removes a folder with all below it, also where folders are read only; nothing there is fine.
pub fn remove_tree(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Ok(meta) if !meta.is_dir() => return Ok(fs_err::remove_file(path)?),
        _ => {}
    }
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
        Err(error) if gone(&error) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_other_things_and_a_store_of_another_version_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("letter"), "dear").unwrap();
        assert!(Store::open(dir.path()).unwrap_err().message.contains("is not a store"));
        let other = dir.path().join("other");
        fs_err::create_dir(&other).unwrap();
        fs_err::write(other.join("format"), "mk-store 99\n").unwrap();
        assert!(Store::open(&other).unwrap_err().message.contains("mk-store 99"));
        assert!(Store::open(&dir.path().join("new")).is_ok());
    }

    #[test]
    fn the_work_of_a_dead_process_is_swept_and_that_of_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s")).unwrap();
        let living = store.temporary().unwrap();
        let folder = living.folder("x").unwrap();
        let dead = store.root().join("tmp/dead");
        fs_err::create_dir_all(dead.join("read-only")).unwrap();
        fs_err::write(dead.join("owner"), "").unwrap();
        fs_err::set_permissions(dead.join("read-only"), std::fs::Permissions::from_mode(0o000)).unwrap();
        let _second = store.temporary().unwrap();
        assert!(folder.is_dir() && !dead.exists());
    }
}
