//! The store: results named by key, shared by boards, products and workspaces. Entries appear whole, by rename.
//! Knows digests and names; not how a result is made.
//!
//! ```text
//! <store>/format             `mk-store 1`
//! <store>/entry/ab/<key>/    manifest, meta.json, deploy/, toolchain/, log/
//! <store>/inputs/ab/<own>    which inputs the builds of a recipe discovered while they ran
//! <store>/source/<digest>/   unpacked archives
//! <store>/prepared/<key>/    layer/ (what `prepare` changed), prepare.log, report/ (what it asked for)
//! <store>/duration/<package> seconds of the last build
//! <store>/failed/<view>/     folders of failed builds
//! <store>/root/              build roots that use results
//! <store>/lock/              locks, one file a name; empty
//! <store>/tmp/               work in progress, one folder a process, swept when that is gone
//! <store>/digests.json       memory of the digests of files
//! <store>/runtime/           the runtime library
//! ```
//!
//! An entry's folder, its manifest and its meta.json are read only. What lies in deploy/ and toolchain/ keeps the modes
//! that the recipe gave it, since other recipes see and copy them; a room shows it read only.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk::{NEW, is_full, write_by_way_of};
pub use crate::disk::{remove_tree, write_atomically};
use crate::error::{Error, Kind, Result};
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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Its key.
    pub key: Digest,
    /// Its folder.
    pub path: PathBuf,
    /// What is known of it.
    pub meta: Meta,
}

impl Entry {
    /// Whether nobody has removed it since it was found.
    pub fn is_there(&self) -> bool {
        self.path.join("meta.json").exists()
    }

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

    /// The text of the manifest that its key is the digest of.
    pub fn manifest(&self) -> PathBuf {
        self.path.join("manifest")
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
        // What another process leaves that is about to make this store, or was killed while it did.
        let ours = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(NEW) || name == "format";
        let others = |mut entries: std::fs::ReadDir| entries.any(|e| e.is_ok_and(|e| !ours(&e.file_name())));
        let foreign = root.read_dir().is_ok_and(others);
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
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Err(_) if foreign => {
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
        let found = self.entry_folders();
        found.into_iter().filter_map(|(key, _)| self.find(&key)).collect()
    }

    /// Results that cannot be used since their description cannot be read, in the order of their keys.
    pub fn broken(&self) -> Vec<(Digest, PathBuf)> {
        self.entry_folders().into_iter().filter(|(key, _)| self.find(key).is_none()).collect()
    }

    fn entry_folders(&self) -> Vec<(Digest, PathBuf)> {
        let mut found = Vec::new();
        for shard in std::fs::read_dir(self.root.join("entry")).into_iter().flatten().flatten() {
            for entry in std::fs::read_dir(shard.path()).into_iter().flatten().flatten() {
                if let Ok(key) = entry.file_name().to_string_lossy().parse() {
                    found.push((key, entry.path()));
                }
            }
        }
        found.sort();
        found
    }

    /// Puts a finished folder (manifest, meta.json, which says `meta`, deploy/, toolchain/, log/) into place. When another
    /// process was faster, its equal result stays and `fresh` is removed; one that cannot be read makes way.
    pub fn publish(&self, fresh: &Path, key: &Digest, meta: Meta) -> Result<Entry> {
        let path = self.sharded("entry", key);
        for file in ["manifest", "meta.json"] {
            fs_err::set_permissions(fresh.join(file), std::fs::Permissions::from_mode(0o444))?;
        }
        while !rename_into(fresh, &path)? {
            if let Some(theirs) = self.find(key) {
                remove_tree(fresh)?;
                return Ok(theirs);
            }
            self.discard(&path)?;
        }
        // Not before: who may not write to a folder may not move it.
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o555))?;
        Ok(Entry { key: *key, path, meta })
    }

    /// Remembers, by the time of its folder, that a result is used now. Nothing is lost where that is not allowed.
    pub fn touch(&self, key: &Digest) {
        use nix::sys::stat::{UtimensatFlags, utimensat};
        use nix::sys::time::TimeSpec;
        let path = self.sharded("entry", key);
        let flags = UtimensatFlags::NoFollowSymlink;
        let _ = utimensat(nix::fcntl::AT_FDCWD, &path, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW, flags);
    }

    /// Whether this user may remove that folder of the store: its owner may, and root.
    pub fn may_discard(&self, path: &Path) -> bool {
        let user = nix::unistd::geteuid();
        let owner = path.symlink_metadata().map(|meta| std::os::unix::fs::MetadataExt::uid(&meta));
        user.is_root() || owner.is_ok_and(|owner| owner == user.as_raw())
    }

    /// Removes a folder of the store at once, by a rename: nobody sees it half removed.
    pub fn discard(&self, path: &Path) -> Result<()> {
        let all = self.root.join("tmp");
        fs_err::create_dir_all(&all)?;
        let aside = tempfile::Builder::new().prefix("discarded-").tempdir_in(&all)?.keep();
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
        fs_err::rename(path, aside.join("discarded"))?;
        remove_tree(&aside)
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

    /// Those folders for this process alone, unless another one is in them.
    pub fn enter_failed(&self, view: &Path) -> Result<Option<Lock>> {
        self.try_lock(&format!("shell-{}", Digest::of(view.as_os_str().as_encoded_bytes())))
    }

    /// Removes those folders, unless somebody is in them: then no.
    pub fn forget_failed(&self, view: &Path) -> Result<bool> {
        let kept = self.failed(view);
        if !kept.exists() {
            return Ok(true);
        }
        let Some(_alone) = self.enter_failed(view)? else { return Ok(false) };
        remove_tree(&kept)?;
        Ok(true)
    }

    /// Puts an unpacked archive into place.
    pub fn publish_source(&self, fresh: &Path, archive: &Digest) -> Result<PathBuf> {
        let path = self.source(archive);
        if !rename_into(fresh, &path)? {
            remove_tree(fresh)?;
        }
        Ok(path)
    }

    /// A prepared-source layer's folder, if it is there.
    pub fn prepared(&self, key: &Digest) -> PathBuf {
        self.root.join("prepared").join(key.to_string())
    }

    /// Puts a prepared-source layer into place.
    pub fn publish_prepared(&self, fresh: &Path, key: &Digest) -> Result<PathBuf> {
        let path = self.prepared(key);
        if !rename_into(fresh, &path)? {
            remove_tree(fresh)?;
        }
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
            self.write(&self.sharded("inputs", own), &serde_json::to_vec(&sets).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Seconds that a package's last build took, on whatever board.
    pub fn duration(&self, package: &PackageName) -> Option<f64> {
        fs_err::read_to_string(self.root.join("duration").join(package.as_str())).ok()?.trim().parse().ok()
    }

    /// Remembers how long a build took.
    pub fn set_duration(&self, package: &PackageName, seconds: f64) -> Result<()> {
        self.write(&self.root.join("duration").join(package.as_str()), format!("{seconds:.3}\n").as_bytes())
    }

    /// Remembers a build root, so that what it uses is not removed.
    pub fn remember_root(&self, build_root: &Path) -> Result<()> {
        let name = Digest::of(build_root.as_os_str().as_encoded_bytes()).to_string();
        let path = self.root.join("root").join(name);
        if path.exists() { Ok(()) } else { self.write(&path, build_root.as_os_str().as_encoded_bytes()) }
    }

    /// Writes one of the store's own files, by way of `tmp/`: what a killed process leaves is found there.
    fn write(&self, path: &Path, content: &[u8]) -> Result<()> {
        let all = self.root.join("tmp");
        // Folders are there but for the first time.
        write_by_way_of(&all, path, content).or_else(|_| {
            fs_err::create_dir_all(&all)?;
            if let Some(folder) = path.parent() {
                fs_err::create_dir_all(folder)?;
            }
            write_by_way_of(&all, path, content)
        })
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

    /// Waits as [`Store::lock`] does, but no longer than until `stop` says so; then `None`. `waits` is called once
    /// when it has to wait.
    pub fn lock_unless(&self, name: &str, stop: &dyn Fn() -> bool, waits: &dyn Fn()) -> Result<Option<Lock>> {
        let mut told = false;
        loop {
            if let Some(lock) = self.try_lock(name)? {
                return Ok(Some(lock));
            }
            if stop() {
                return Ok(None);
            }
            if !std::mem::replace(&mut told, true) {
                waits();
            }
            // The kernel has no call that waits for a lock and for something else.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The lock of that name, unless another process holds it.
    pub fn try_lock(&self, name: &str) -> Result<Option<Lock>> {
        Ok(self.locked(name, FlockArg::LockExclusiveNonblock)?.map(Lock))
    }

    fn locked(&self, name: &str, how: FlockArg) -> Result<Option<Flock<std::fs::File>>> {
        let folder = self.root.join("lock");
        let path = folder.join(name);
        let open = || fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        // The folder is there but for the first time.
        let file = open().or_else(|_| fs_err::create_dir_all(&folder).and_then(|()| open()))?;
        lock_file(file.into_parts().0, how, &path)
    }

    /// The store for this process alone, unless another one uses it; held until dropped.
    pub fn alone(&self) -> Result<Option<Lock>> {
        self.try_lock("building")
    }

    /// Keeps others from removing anything, until dropped. To be held from before results are looked up. `None` for a
    /// store that cannot be written, where nobody removes anything.
    pub fn in_use(&self) -> Result<Option<Lock>> {
        match self.locked("building", FlockArg::LockShared) {
            Ok(lock) => Ok(lock.map(Lock)),
            Err(_) if !self.is_writable() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is said of a failure while the file system of the store or that of a build root is full, and what to do about it.
    /// Programs that write to a log which takes nothing more cannot say so themselves.
    pub fn tell_full(&self, build_root: &Path) -> Option<(String, String)> {
        let told = |what: &str, place: &Path| {
            format!("no space is left on the file system of the {what} `{}`", place.display())
        };
        let shared = !self.root.starts_with(build_root);
        if shared && is_full(&self.root) {
            let hint = "`mk clean --build` removes folders of failed builds, `mk gc` what no build root uses, \
                        and --store names another place";
            return Some((told("store", &self.root), hint.to_owned()));
        }
        let hint = "`mk clean` says what it could remove there";
        is_full(build_root).then(|| (told("build root", build_root), hint.to_owned()))
    }

    /// Whether this process may write in the store's folder.
    pub fn is_writable(&self) -> bool {
        nix::unistd::access(&self.root, nix::unistd::AccessFlags::W_OK).is_ok()
    }

    /// Removes every lock's file; to be called by who has the store alone, which it keeps.
    pub fn clear_locks(&self) -> Result<()> {
        for entry in std::fs::read_dir(self.root.join("lock")).into_iter().flatten().flatten() {
            if entry.file_name() != "building" && entry.file_name() != "sweep" {
                fs_err::remove_file(entry.path())?;
            }
        }
        Ok(())
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
        sweep_files(state);
        sweep_files(&state.join("manifest"));
        // Two builds of one build root at once are fine; then the mark is the first one's.
        Ok(lock_file(file.into_parts().0, FlockArg::LockExclusiveNonblock, &path)?.map(Lock))
    }

    /// This process's folder for work in progress, after those of processes that are gone were swept away.
    pub fn temporary(&self) -> Result<Temporary> {
        // Nobody sweeps while a folder is there that has no owner yet.
        let _sweeping = self.lock("sweep")?;
        self.sweep_all();
        let all = self.root.join("tmp");
        fs_err::create_dir_all(&all)?;
        let path = tempfile::Builder::new().prefix("").tempdir_in(&all)?.keep();
        let owner = path.join("owner");
        let file = fs_err::File::create(&owner)?.into_parts().0;
        let owner = lock_file(file, FlockArg::LockExclusive, &owner)?
            .ok_or_else(|| Error::new(Kind::Host, "cannot lock"))?;
        Ok(Temporary { path, next: std::sync::atomic::AtomicU64::new(0), _owner: owner })
    }

    /// Removes what processes that are gone left in `tmp/`. What cannot be removed is left for the next time.
    pub fn sweep(&self) {
        let empty =
            std::fs::read_dir(self.root.join("tmp")).map_or(true, |mut entries| entries.next().is_none());
        if !empty && self.is_writable() {
            if let Ok(_sweeping) = self.lock("sweep") {
                self.sweep_all();
            }
        }
    }

    fn sweep_all(&self) {
        let all = self.root.join("tmp");
        sweep_files(&self.root);
        sweep_files(&all);
        for entry in std::fs::read_dir(&all).into_iter().flatten().flatten() {
            let path = entry.path();
            let lives = match std::fs::OpenOptions::new().write(true).open(path.join("owner")) {
                Ok(file) => lock_file(file, FlockArg::LockExclusiveNonblock, &path)
                    .map_or(true, |lock| lock.is_none()),
                Err(error) => error.kind() != std::io::ErrorKind::NotFound,
            };
            if lives || !path.is_dir() {
                continue;
            }
            // Steps of a process that was killed a moment ago may still be ending, and write there.
            for _ in 0..50 {
                if remove_tree(&path).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Removes files that [`write_by_way_of`] was kept from finishing.
fn sweep_files(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(NEW) && path.is_file() {
            let file = std::fs::OpenOptions::new().write(true).open(&path).ok();
            let lock =
                file.and_then(|file| lock_file(file, FlockArg::LockExclusiveNonblock, &path).ok().flatten());
            if lock.is_some() {
                let _ = fs_err::remove_file(&path);
            }
        }
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

/// Renames a finished folder to where it belongs; no, and nothing has happened, where something is there already.
fn rename_into(fresh: &Path, path: &Path) -> Result<bool> {
    let mut renamed = fs_err::rename(fresh, path);
    if renamed.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        renamed = fs_err::rename(fresh, path);
    }
    match renamed {
        Ok(()) => Ok(true),
        Err(_) if path.is_dir() => Ok(false),
        Err(error) => {
            Err(Error::new(Kind::Host, format!("cannot put `{}` in place: {error}", path.display())))
        }
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
        let begun = dir.path().join("begun");
        fs_err::create_dir(&begun).unwrap();
        fs_err::write(begun.join(".new-abc"), "mk-st").unwrap();
        assert!(Store::open(&begun).is_ok(), "killed while it was made");
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
        let half = store.root().join("tmp/half-removed");
        fs_err::create_dir_all(half.join("deep")).unwrap();
        let unfinished = store.root().join("tmp/.new-x");
        fs_err::write(&unfinished, "").unwrap();
        let _second = store.temporary().unwrap();
        assert!(folder.is_dir() && !dead.exists() && !half.exists() && !unfinished.exists());
    }
}
