//! Puts layers together where the kernel does not: by hard link, or by copy where links are not possible.
//! Knows files alone, and how `disk` opens and removes them.

use std::ffi::OsStr;
use std::fs::{File, FileType};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{linkat, symlinkat};
use rustc_hash::FxHashMap;

use crate::disk::{open_folder, remove_tree};
use crate::error::{Error, Kind, Result};

/// Lays `from` over `to`, which is made where it is missing: files are hard links, what is in the way is replaced,
/// overlay whiteouts remove. File systems that cannot link get copies.
pub fn link_tree(from: &Path, to: &Path) -> Result<()> {
    let from = Opened::open(from)?;
    lay(&from, &read_items(from.path)?, to, &link_file, &mut |_, _, _| ())
}

/// Lays a copy of `from` over `to`, with times and modes, for steps that write into it.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let from = Opened::open(from)?;
    lay(&from, &read_items(from.path)?, to, &copy_file, &mut |_, _, _| ())
}

/// A folder that is open, and its path.
struct Opened<'a> {
    path: &'a Path,
    folder: OwnedFd,
}

impl Opened<'_> {
    fn open(path: &Path) -> Result<Opened<'_>> {
        Ok(Opened { path, folder: open_folder(path)? })
    }
}

/// One of the things below a folder, each folder before what is in it.
#[derive(Debug)]
struct Item {
    /// Below the folder.
    path: PathBuf,
    kind: FileType,
    /// What a hard link to it looks like, once there was one.
    looks: OnceLock<Looks>,
}

fn read_items(folder: &Path) -> Result<Vec<Item>> {
    let entries = walkdir::WalkDir::new(folder).min_depth(1).into_iter();
    let item = |entry: walkdir::Result<walkdir::DirEntry>| {
        let entry = entry.map_err(|error| Error::new(Kind::Host, error.to_string()))?;
        let path = entry.path().strip_prefix(folder).unwrap_or(entry.path()).to_owned();
        Ok(Item { path, kind: entry.file_type(), looks: OnceLock::new() })
    };
    entries.map(item).collect()
}

fn failed(what: &str, path: &Path, error: Errno) -> Error {
    let error = std::io::Error::from(error);
    Error::new(Kind::Host, format!("cannot {what} `{}`: {error}", path.display()))
}

/// How a file came to be where it was put.
#[derive(PartialEq)]
enum Put {
    /// It is a hard link to that of the layer.
    Linked,
    /// It is a file or a link of its own.
    Made,
    /// It did not: something is there already.
    InTheWay,
}

/// Puts a file of one folder below another, at the same path.
type Putting<'a> = dyn Fn(&Opened<'_>, &Opened<'_>, &Path) -> Result<Put> + 'a;

fn link_file(from: &Opened<'_>, to: &Opened<'_>, file: &Path) -> Result<Put> {
    match linkat(&from.folder, file, &to.folder, file, AtFlags::empty()) {
        Err(Errno::EEXIST) => Ok(Put::InTheWay),
        Err(_) => copy_file(from, to, file),
        Ok(()) => Ok(Put::Linked),
    }
}

fn copy_file(from: &Opened<'_>, to: &Opened<'_>, file: &Path) -> Result<Put> {
    let copying = |e| failed("copy", &from.path.join(file), e);
    let source =
        openat(&from.folder, file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(copying)?;
    let mut source = File::from(source);
    let meta = source.metadata()?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(meta.mode() & 0o7777);
    let target = match openat(&to.folder, file, flags, mode & Mode::from_bits_truncate(0o700)) {
        Err(Errno::EEXIST) => return Ok(Put::InTheWay),
        other => File::from(other.map_err(|e| failed("write", &to.path.join(file), e))?),
    };
    // Clones the blocks where the file system can.
    std::io::copy(&mut source, &mut &target)
        .map_err(|e| Error::from(e).context(format!("cannot write `{}`", to.path.join(file).display())))?;
    fchmod(&target, mode).map_err(copying)?;
    target.set_modified(meta.modified()?)?;
    Ok(Put::Made)
}

/// Opens a folder that something is to be laid over. It is made where it is missing, and takes the place of what is none.
fn open_target(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match nix::fcntl::open(path, flags, Mode::empty()) {
        Ok(folder) => return Ok(folder),
        Err(Errno::ENOENT) => {}
        Err(Errno::ENOTDIR | Errno::ELOOP) => fs_err::remove_file(path)?,
        Err(error) => return Err(failed("open", path, error)),
    }
    fs_err::create_dir_all(path)?;
    open_folder(path)
}

/// Lays `items`, which are those of `from`, over `to`. `laid` is told of each file and link that was put there.
fn lay(
    from: &Opened<'_>,
    items: &[Item],
    to: &Path,
    put: &Putting<'_>,
    laid: &mut dyn FnMut(&Opened<'_>, &Item, Put),
) -> Result<()> {
    let to = Opened { path: to, folder: open_target(to)? };
    for item in items {
        let (name, kind) = (&item.path, item.kind);
        let target = || to.path.join(name);
        if kind.is_dir() {
            match mkdirat(&to.folder, name, Mode::S_IRWXU | Mode::S_IRWXG | Mode::S_IRWXO) {
                Err(Errno::EEXIST) if !is_folder(&target()) => {
                    fs_err::remove_file(target())?;
                    fs_err::create_dir(target())?;
                }
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(failed("make", &target(), error)),
            }
            continue;
        }
        if kind.is_char_device() {
            remove_tree(&target())?;
            continue;
        }
        let put = || if kind.is_symlink() { link_again(from, &to, name) } else { put(from, &to, name) };
        let mut how = put()?;
        if how == Put::InTheWay {
            remove_tree(&target())?;
            how = put()?;
        }
        laid(&to, item, how);
    }
    Ok(())
}

fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_dir())
}

/// Makes a symbolic link like that of `from`.
fn link_again(from: &Opened<'_>, to: &Opened<'_>, link: &Path) -> Result<Put> {
    let target =
        nix::fcntl::readlinkat(&from.folder, link).map_err(|e| failed("read", &from.path.join(link), e))?;
    link_to(Path::new(&target), to, link)
}

/// Makes a symbolic link to `target`.
fn link_to(target: &Path, to: &Opened<'_>, link: &Path) -> Result<Put> {
    match symlinkat(target, &to.folder, link) {
        Ok(()) => Ok(Put::Made),
        Err(Errno::EEXIST) => Ok(Put::InTheWay),
        Err(error) => Err(failed("link", &to.path.join(link), error)),
    }
}

/// Makes `view` a folder of symbolic links into layers, the first the lowest: what a room shows as one, for people to look at.
pub fn show_layers(layers: &[PathBuf], view: &Path) -> Result<()> {
    remove_tree(view)?;
    fs_err::create_dir_all(view)?;
    for layer in layers {
        let from = Opened::open(layer)?;
        let link = |from: &Opened<'_>, to: &Opened<'_>, file: &Path| link_to(&from.path.join(file), to, file);
        lay(&from, &read_items(layer)?, view, &link, &mut |_, _, _| ())?;
    }
    Ok(())
}

/// Makes `view` a symbolic link to `target`, in one step, unless it is that already.
pub fn link_view(target: &Path, view: &Path) -> Result<()> {
    if std::fs::read_link(view).is_ok_and(|now| now == target) {
        return Ok(());
    }
    if view.is_dir() && !view.is_symlink() {
        remove_tree(view)?;
    }
    let name = view.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let fresh = view.with_file_name(format!("{UNFINISHED}{}-{name}", std::process::id()));
    let _ = fs_err::remove_file(&fresh);
    fs_err::os::unix::fs::symlink(target, &fresh)?;
    Ok(fs_err::rename(&fresh, view)?)
}

/// How the names of views that have not their own name yet begin; the id of the process that makes them follows.
const UNFINISHED: &str = ".new-";

/// Removes what [`link_view`] left in `folder` when its process was killed.
pub fn sweep_views(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(UNFINISHED).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs_err::remove_file(entry.path());
        }
    }
}

/// Inode, size and modification time (seconds, nanoseconds) of a file.
type Looks = (u64, i64, i64, i64);

fn looks(folder: &OwnedFd, file: &Path) -> Option<Looks> {
    let stat = fstatat(folder, file, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
    Some((stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec))
}

/// What lies in layers, each of which is read once, since results do not change.
#[derive(Debug, Default)]
pub struct Layers(Mutex<FxHashMap<PathBuf, Arc<Layer>>>);

#[derive(Debug)]
struct Layer {
    /// Inode and change (seconds, nanoseconds) of the folder: one that was made anew in the same place is another.
    id: (u64, i64, i64),
    items: Vec<Item>,
}

impl Layers {
    fn layer(&self, from: &Opened<'_>) -> Result<Arc<Layer>> {
        let stat = fstat(&from.folder).map_err(|error| failed("look at", from.path, error))?;
        let id = (stat.st_ino, stat.st_ctime, stat.st_ctime_nsec);
        let mut known = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(layer) = known.get(from.path).filter(|layer| layer.id == id) {
            return Ok(layer.clone());
        }
        let layer = Arc::new(Layer { id, items: read_items(from.path)? });
        known.insert(from.path.to_owned(), layer.clone());
        Ok(layer)
    }
}

/// What was laid into a folder, by the path below it.
#[derive(Debug)]
pub struct Snapshot<'a> {
    layers: &'a Layers,
    laid: FxHashMap<PathBuf, Looks>,
}

impl<'a> Snapshot<'a> {
    /// Of a folder that nothing was laid into so far.
    pub fn new(layers: &'a Layers) -> Snapshot<'a> {
        Snapshot { layers, laid: FxHashMap::default() }
    }

    /// Lays `from` over what is at the path `below` in `root`, as [`link_tree`] does, and
    /// remembers what it looked like. `from` must not change as long as the layers are known.
    pub fn link_tree(&mut self, from: &Path, root: &Path, below: &Path) -> Result<()> {
        let from = Opened::open(from)?;
        let layer = self.layers.layer(&from)?;
        lay(&from, &layer.items, &root.join(below), &link_file, &mut |to, item, how| {
            let look = || looks(&to.folder, &item.path);
            let known = item.looks.get().copied().filter(|_| how == Put::Linked);
            let Some(looks) = known.or_else(look) else { return };
            if how == Put::Linked {
                let _ = item.looks.set(looks);
            }
            self.laid.insert(below.join(&item.path), looks);
        })
    }

    /// Moves what is new or replaced below `root` to `into`, and says which files were written in place: since they are
    /// hard links, other packages' results were changed with them.
    pub fn take_additions(&self, root: &Path, into: &Path) -> Result<Vec<PathBuf>> {
        let (damaged, added) = self.compare(root)?;
        for path in added {
            let target = into.join(&path);
            if let Some(parent) = target.parent() {
                fs_err::create_dir_all(parent)?;
            }
            fs_err::rename(root.join(&path), target)?;
        }
        Ok(damaged)
    }

    /// Files below `root` that were written in place, sorted, as far as it can be looked at.
    pub fn damaged(&self, root: &Path) -> Vec<PathBuf> {
        self.compare(root).unwrap_or_default().0
    }

    /// What was written in place, and what is new or replaced.
    fn compare(&self, root: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        let (mut damaged, mut added) = (Vec::new(), Vec::new());
        look_at_files(root, |path, looks| match self.laid.get(path) {
            Some(before) if *before == looks => {}
            Some(before) if before.0 == looks.0 => damaged.push(path.to_owned()),
            _ => added.push(path.to_owned()),
        })?;
        damaged.sort();
        Ok((damaged, added))
    }
}

/// Calls `see` for all below `root` that is no folder, by its path below it.
fn look_at_files(root: &Path, mut see: impl FnMut(&Path, Looks)) -> Result<()> {
    if !root.exists() {
        return Ok(());
    }
    let top = open_folder(root)?;
    // With the slash after it.
    let start = root.join("").as_os_str().len();
    for entry in walkdir::WalkDir::new(root).min_depth(1) {
        let entry = entry.map_err(std::io::Error::from)?;
        if entry.file_type().is_dir() {
            continue;
        }
        let path = Path::new(OsStr::from_bytes(&entry.path().as_os_str().as_bytes()[start..]));
        if let Some(looks) = looks(&top, path) {
            see(path, looks);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_linked_and_additions_are_told_from_damage() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b, to, out) =
            (dir.path().join("a"), dir.path().join("b"), dir.path().join("to"), dir.path().join("out"));
        fs_err::create_dir_all(a.join("include")).unwrap();
        fs_err::create_dir_all(b.join("include/sub")).unwrap();
        fs_err::write(a.join("include/x.h"), "a").unwrap();
        fs_err::write(b.join("include/x.h"), "b").unwrap();
        fs_err::write(b.join("include/sub/y.h"), "y").unwrap();
        let layers = Layers::default();
        let mut before = Snapshot::new(&layers);
        before.link_tree(&a, &to, Path::new("")).unwrap();
        before.link_tree(&b.join("include"), &to, Path::new("include")).unwrap();
        assert_eq!(fs_err::read_to_string(to.join("include/x.h")).unwrap(), "b");
        fs_err::create_dir_all(&out).unwrap();
        fs_err::write(to.join("include/new.h"), "new").unwrap();
        assert!(before.take_additions(&to, &out).unwrap().is_empty());
        assert!(out.join("include/new.h").is_file() && !out.join("include/x.h").exists());
        fs_err::write(to.join("include/sub/y.h"), "changed").unwrap();
        assert_eq!(before.take_additions(&to, &out).unwrap(), [Path::new("include/sub/y.h")]);
    }

    #[test]
    fn a_layer_is_read_once_and_again_when_it_was_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let make = |text: &str| {
            fs_err::create_dir_all(at("layer/sub")).unwrap();
            fs_err::write(at("layer/sub/x.h"), text).unwrap();
        };
        let layers = Layers::default();
        let lay = |to: &str| {
            let mut laid = Snapshot::new(&layers);
            laid.link_tree(&at("layer"), &at(to), Path::new("")).unwrap();
            laid.link_tree(&at("nowhere"), &at(to), Path::new("")).unwrap_err();
            laid
        };
        make("old");
        lay("first");
        let second = lay("second");
        assert_eq!(layers.0.lock().unwrap().len(), 1);
        assert!(second.damaged(&at("second")).is_empty());
        fs_err::write(at("first/sub/x.h"), "by way of another link").unwrap();
        assert_eq!(lay("third").damaged(&at("third")), [Path::new("sub/x.h")], "since it was first laid");

        fs_err::rename(at("layer"), at("aside")).unwrap();
        make("new");
        let fourth = lay("fourth");
        assert_eq!(fs_err::read_to_string(at("fourth/sub/x.h")).unwrap(), "new");
        assert_eq!(fourth.compare(&at("fourth")).unwrap(), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_is_in_the_way_is_replaced_and_a_copy_keeps_modes_and_times() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["from/folder", "from/was-link", "to/file", "to/elsewhere"] {
            fs_err::create_dir_all(at(folder)).unwrap();
        }
        for file in
            ["from/file", "from/folder/a", "from/was-link/b", "to/folder", "to/link", "to/elsewhere/kept"]
        {
            fs_err::write(at(file), file).unwrap();
        }
        symlink("elsewhere", at("to/was-link")).unwrap();
        symlink("nowhere", at("from/link")).unwrap();
        fs_err::set_permissions(at("from/file"), PermissionsExt::from_mode(0o4751)).unwrap();
        let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
        fs_err::File::open(at("from/file")).unwrap().into_parts().0.set_modified(then).unwrap();

        for lay in [link_tree, copy_tree] {
            lay(&at("from"), &at("to")).unwrap();
            let meta = fs_err::metadata(at("to/file")).unwrap();
            assert_eq!((meta.mode() & 0o7777, meta.modified().unwrap()), (0o4751, then));
            assert_eq!(fs_err::read_to_string(at("to/folder/a")).unwrap(), "from/folder/a");
            assert_eq!(fs_err::read_to_string(at("to/was-link/b")).unwrap(), "from/was-link/b");
            assert_eq!(fs_err::read_link(at("to/link")).unwrap(), Path::new("nowhere"));
            assert!(at("to/elsewhere/kept").is_file() && !at("to/elsewhere/b").exists());
        }
        let inode = |name: &str| fs_err::metadata(at(name)).unwrap().ino();
        assert_ne!(inode("to/file"), inode("from/file"), "a copy took the link's place");
        show_layers(&[at("from")], &at("view")).unwrap();
        assert_eq!(fs_err::read_link(at("view/folder/a")).unwrap(), at("from/folder/a"));
    }
}
