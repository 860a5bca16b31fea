//! What happens to a folder between the recipe's last step and the store: clean-ups, a fixed look (times,
//! modes), a digest over all of it; and what differs between two such folders. Knows `elf`, `digest` and `disk`; no
//! store, no room.

use std::collections::HashMap;
use std::ffi::CString;
use std::fmt;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use fs_err::os::unix::fs::FileExt;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, fstatat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::disk::open_folder;
use crate::elf::{self, Region};
use crate::error::{Error, Kind, Result};

/// Moves `share/pkgconfig` into `lib/pkgconfig` (a file of the same name is replaced) and removes `lib/*.la`.
///
/// Folders that become empty by it are removed; folders that the recipe left empty stay. Links that lead out
/// of the deploy folder are an error, as this runs outside any room.
pub fn clean_up(deploy: &Path) -> Result<()> {
    let share = deploy.join("share/pkgconfig");
    if share.is_dir() && !share.is_symlink() {
        stays_inside(deploy, &share)?;
        let lib = deploy.join("lib/pkgconfig");
        if lib.canonicalize().is_ok_and(|real| share.canonicalize().is_ok_and(|share| share == real)) {
            // `lib/pkgconfig` is a link to the other one: the folder takes the link's place.
            fs_err::remove_file(&lib)?;
        }
        fs_err::create_dir_all(deploy.join("lib"))?;
        stays_inside(deploy, &deploy.join("lib"))?;
        if lib.symlink_metadata().is_err() {
            fs_err::create_dir(&lib)?;
        }
        stays_inside(deploy, &lib)?;
        merge(&share, &lib)?;
        remove_if_empty(&deploy.join("share"))?;
    }
    let lib = deploy.join("lib");
    if let Ok(meta) = lib.symlink_metadata()
        && (meta.is_dir() || lib.is_dir())
    {
        if meta.is_symlink() {
            stays_inside(deploy, &lib)?;
        }
        let mut removed = false;
        for entry in fs_err::read_dir(&lib)? {
            let entry = entry?;
            if entry.file_name().as_bytes().ends_with(b".la") && !entry.file_type()?.is_dir() {
                fs_err::remove_file(entry.path())?;
                removed = true;
            }
        }
        if removed {
            remove_if_empty(&lib)?;
        }
    }
    Ok(())
}

fn stays_inside(deploy: &Path, path: &Path) -> Result<()> {
    let (top, real) = (fs_err::canonicalize(deploy)?, fs_err::canonicalize(path)?);
    if real.starts_with(&top) {
        return Ok(());
    }
    let name = path.strip_prefix(deploy).unwrap_or(path);
    Err(Error::new(
        Kind::Build,
        format!("`{}` leads out of the deploy folder, to `{}`", name.display(), real.display()),
    )
    .hint("make the link relative, so that it leads to the same place on the target and here"))
}

/// Moves all that is in `from` to `to`, folder by folder, and removes `from`.
fn merge(from: &Path, to: &Path) -> Result<()> {
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let both = entry.file_type()?.is_dir() && target.symlink_metadata().is_ok_and(|m| m.is_dir());
        if both {
            merge(&entry.path(), &target)?;
        } else {
            fs_err::rename(entry.path(), &target)?;
        }
    }
    Ok(fs_err::remove_dir(from)?)
}

fn remove_if_empty(folder: &Path) -> Result<()> {
    if !folder.is_symlink() && fs_err::read_dir(folder)?.next().is_none() {
        fs_err::remove_dir(folder)?;
    }
    Ok(())
}

/// Does `look`, which comes before [`settle`]. A recipe may have made folders that their owner cannot enter and files that he
/// cannot read: where it fails, it is done once more, with the modes below `made` that `settle` will give.
pub fn opened<T, E>(made: &[PathBuf], look: impl Fn() -> Result<T, E>) -> Result<T, E>
where
    E: From<Error>,
{
    look().or_else(|error| {
        for root in made {
            open_modes(root)?;
        }
        // Where that was not the cause, it says the same again.
        look().map_err(|_| error)
    })
}

fn open_modes(root: &Path) -> Result<()> {
    if !root.is_dir() {
        return Ok(());
    }
    let mut ahead = vec![root.to_owned()];
    while let Some(folder) = ahead.pop() {
        change_mode(&folder, fs_err::symlink_metadata(&folder)?.mode(), FOLDER)?;
        for entry in fs_err::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                ahead.push(entry.path());
            } else if kind.is_file() {
                change_mode(&entry.path(), entry.metadata()?.mode(), FILE)?;
            }
        }
    }
    Ok(())
}

/// What the owner of a folder may do at least: steps of others add files to it where it is a layer of their room.
const FOLDER: u32 = 0o700;
/// What the owner of a file may do at least: it is read to be kept.
const FILE: u32 = 0o400;

fn untimed(path: &Path, error: Errno) -> Error {
    let error = io::Error::from(error);
    Error::new(Kind::Host, format!("cannot set the time of `{}`: {error}", path.display()))
}

/// Adds permissions where they are missing, and says what there is then.
fn change_mode(path: &Path, mode: u32, added: u32) -> Result<u32> {
    let (mode, wanted) = (mode & 0o7777, mode & 0o7777 | added);
    if wanted != mode {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(wanted))?;
    }
    Ok(wanted)
}

/// Sets access and modification time of the file, folder or link itself, which is found from `top`; no name is that itself.
fn set_time(top: &OwnedFd, name: &Path, epoch: i64) -> nix::Result<()> {
    let time = TimeSpec::new(epoch, 0);
    if name.as_os_str().is_empty() {
        return futimens(top, &time, &time);
    }
    utimensat(top, name, &time, &time, UtimensatFlags::NoFollowSymlink)
}

/// One thing in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path below the folder.
    pub path: PathBuf,
    /// Permission bits (`0o7777`); 0 for links and whiteouts, which have none of their own.
    pub mode: u32,
    /// What it is.
    pub node: Node,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A folder.
    Folder {
        /// Whether it hides what layers below have there (overlayfs's `user.overlay.opaque`).
        opaque: bool,
    },
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Of the content.
        digest: Digest,
    },
    /// A symbolic link.
    Link {
        /// Where it points to.
        target: PathBuf,
    },
    /// Overlayfs's mark of a removed file: a character device 0:0.
    Whiteout,
}

/// What `tree_digest` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tree {
    /// Over everything below the folder.
    pub digest: Digest,
    /// Of all files' contents, each hard-linked file counted once.
    pub bytes: u64,
    /// Files, folders, links and whiteouts.
    pub entries: u64,
}

/// The digest of all that is below `root`.
///
/// It covers, sorted by path: each path, what it is, all twelve permission bits of files and folders,
/// contents, link targets, whiteouts and opaque marks. Not covered: times, owners, which files are hard links
/// of each other, extended attributes, and `root`'s own mode. A socket, pipe or device is an error.
pub fn tree_digest(root: &Path) -> Result<Tree> {
    digest_of(look(root, None)?)
}

/// Gives everything below `root`, and `root` itself, the modification time `epoch` (seconds since 1970), and owners what is
/// needed to read files and to change folders; then the digest, as [`tree_digest`].
///
/// Modes stay otherwise: another recipe that copies a file must be able to write to its copy. A folder that is a lower
/// layer of a room lends its mode to the merged one, in which a recipe must be able to add files.
pub fn settle(root: &Path, epoch: i64) -> Result<Tree> {
    change_mode(root, fs_err::symlink_metadata(root)?.mode(), FOLDER)?;
    digest_of(look(root, Some(epoch))?)
}

fn digest_of((entries, bytes): (Vec<Entry>, u64)) -> Result<Tree> {
    let mut hash = Sha256::new();
    hash.update(b"mk tree 1\n");
    // Every text is preceded by its length, so that no two trees read the same.
    let text = |hash: &mut Sha256, bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for entry in &entries {
        text(&mut hash, entry.path.as_os_str().as_bytes());
        hash.update(entry.mode.to_le_bytes());
        match &entry.node {
            Node::Folder { opaque } => hash.update([b'd', u8::from(*opaque)]),
            Node::File { digest, .. } => {
                hash.update(b"f");
                hash.update(digest.0);
            }
            Node::Link { target } => {
                hash.update(b"l");
                text(&mut hash, target.as_os_str().as_bytes());
            }
            Node::Whiteout => hash.update(b"w"),
        }
    }
    Ok(Tree { digest: Digest(hash.finalize().into()), bytes, entries: entries.len() as u64 })
}

/// Everything below `root`, sorted by path, byte by byte.
pub fn listing(root: &Path) -> Result<Vec<Entry>> {
    Ok(look(root, None)?.0)
}

/// A file whose content is yet to be hashed.
struct Pending {
    /// Below the folder.
    path: PathBuf,
    size: u64,
    /// The entries that are names of it.
    entries: Vec<usize>,
}

/// All that is below `root`, and the bytes of its files. With a time, what is found is settled on the way.
fn look(root: &Path, epoch: Option<i64>) -> Result<(Vec<Entry>, u64)> {
    let mut entries = Vec::new();
    let mut pending: Vec<Pending> = Vec::new();
    let mut linked = HashMap::new();
    let top = open_folder(root)?;
    // A folder is opened up before it is read, and its time set when nothing below changes any more.
    let (mut ahead, mut folders) = (vec![PathBuf::new()], Vec::new());
    while let Some(folder) = ahead.pop() {
        for found in fs_err::read_dir(root.join(&folder))? {
            let found = found?;
            let path = folder.join(found.file_name());
            let stat = fstatat(&top, &path, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(io::Error::from)?;
            let mut mode = stat.st_mode & 0o7777;
            let added = |added: u32| match epoch {
                Some(_) => change_mode(&found.path(), stat.st_mode, added),
                None => Ok(mode),
            };
            let node = match stat.st_mode & libc::S_IFMT {
                libc::S_IFDIR => {
                    mode = added(FOLDER)?;
                    ahead.push(path.clone());
                    Node::Folder { opaque: is_opaque(&found.path())? }
                }
                libc::S_IFREG => {
                    mode = added(FILE)?;
                    let size = stat.st_size as u64;
                    let index = match stat.st_nlink {
                        1 => pending.len(),
                        _ => *linked.entry((stat.st_dev, stat.st_ino)).or_insert(pending.len()),
                    };
                    if index == pending.len() {
                        pending.push(Pending { path: path.clone(), size, entries: Vec::new() });
                    }
                    pending[index].entries.push(entries.len());
                    Node::File { size, digest: Digest([0; 32]) }
                }
                libc::S_IFLNK => {
                    mode = 0;
                    Node::Link { target: fs_err::read_link(found.path())? }
                }
                libc::S_IFCHR if stat.st_rdev == 0 => {
                    mode = 0;
                    Node::Whiteout
                }
                kind => return Err(unfit(&path, kind)),
            };
            if let Some(epoch) = epoch.filter(|_| !matches!(node, Node::Folder { .. })) {
                set_time(&top, &path, epoch).map_err(|error| untimed(&found.path(), error))?;
            }
            entries.push(Entry { path, mode, node });
        }
        folders.push(folder);
    }
    if let Some(epoch) = epoch {
        for folder in &folders {
            set_time(&top, folder, epoch).map_err(|error| untimed(&root.join(folder), error))?;
        }
    }
    let bytes = pending.iter().map(|file| file.size).sum();
    for (file, digest) in pending.iter().zip(hash_all(&top, root, &pending, bytes)?) {
        for &entry in &file.entries {
            entries[entry].node = Node::File { size: file.size, digest };
        }
    }
    entries.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
    Ok((entries, bytes))
}

fn unfit(path: &Path, kind: libc::mode_t) -> Error {
    let what = match kind {
        libc::S_IFSOCK => "a socket",
        libc::S_IFIFO => "a named pipe",
        _ => "a device",
    };
    Error::new(
        Kind::Build,
        format!("`{}` is {what}: only files, folders and links can be kept", path.display()),
    )
    .hint("devices of the root filesystem are listed in `rootfs_files.txt`")
}

/// The digests of the files, in their order. `top`: `root`, opened.
fn hash_all(top: &OwnedFd, root: &Path, files: &[Pending], bytes: u64) -> Result<Vec<Digest>> {
    let digest = |file: &Pending| -> Result<Digest> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let opened = openat(top, &file.path, flags, Mode::empty()).map_err(io::Error::from);
        // All that it holds: nobody writes to it any more.
        let content = opened.map(|opened| std::fs::File::from(opened).take(file.size));
        content.and_then(Digest::of_reader).map_err(|error| {
            Error::from(error).context(format!("cannot read `{}`", root.join(&file.path).display()))
        })
    };
    // Below some megabytes the threads cost more than they bring.
    let many = bytes > 8 << 20;
    let threads = if many { std::thread::available_parallelism().map_or(1, |n| n.get().min(4)) } else { 1 };
    if threads == 1 {
        return files.iter().map(digest).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Digest)>> {
        let mut mine = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(index) else { return Ok(mine) };
            mine.push((index, digest(file)?));
        }
    };
    let parts: Result<Vec<_>> = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut parts = vec![work()];
        parts.extend(helpers.into_iter().map(|helper| {
            helper
                .join()
                .unwrap_or_else(|_| Err(Error::new(Kind::Internal, "a thread that hashes files died")))
        }));
        parts.into_iter().collect()
    });
    let mut all = parts?.concat();
    all.sort_unstable_by_key(|&(index, _)| index);
    Ok(all.into_iter().map(|(_, digest)| digest).collect())
}

/// Whether overlayfs hides what layers below have in this folder.
fn is_opaque(folder: &Path) -> Result<bool> {
    let path = CString::new(folder.as_os_str().as_bytes()).map_err(io::Error::from)?;
    let mut value = [0u8; 8];
    // SAFETY: both strings end with NUL, and the buffer's own length goes with it.
    let got = unsafe {
        libc::lgetxattr(
            path.as_ptr(),
            c"user.overlay.opaque".as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    if got >= 0 {
        return Ok(&value[..got as usize] == b"y");
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // No such attribute, a longer one, or a file system that knows none.
        Some(libc::ENODATA | libc::ERANGE | libc::ENOTSUP) => Ok(false),
        _ => {
            Err(Error::new(Kind::Host, format!("cannot read attributes of `{}`: {error}", folder.display())))
        }
    }
}

/// Where two folders part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Path below both folders.
    pub path: PathBuf,
    /// What differs, `first` → `second`.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.path.display(), self.what)
    }
}

/// The first entry, by path, in which two folders differ as `tree_digest` sees them; `None` when they are
/// equal.
///
/// Of ELF files it names the first section that differs, of archives the first member. Build ids differ
/// whenever anything does, so they are only named when nothing else differs.
pub fn first_difference(a: &Path, b: &Path) -> Result<Option<Difference>> {
    let (left, right) = (listing(a)?, listing(b)?);
    let mut pairs = (left.iter().peekable(), right.iter().peekable());
    loop {
        let (x, y) = match (pairs.0.peek(), pairs.1.peek()) {
            (None, None) => return Ok(None),
            (Some(x), Some(y)) if x.path == y.path => (*x, *y),
            (x, y) => {
                let only_first = match (x, y) {
                    (Some(x), Some(y)) => x.path.as_os_str() < y.path.as_os_str(),
                    (x, _) => x.is_some(),
                };
                let (entry, side) = if only_first { (x, "first") } else { (y, "second") };
                return Ok(entry.map(|entry| Difference {
                    path: entry.path.clone(),
                    what: format!("{} that only the {side} has", entry.node),
                }));
            }
        };
        if x != y {
            let what = entry_difference(a, b, x, y)?;
            return Ok(Some(Difference { path: x.path.clone(), what }));
        }
        pairs.0.next();
        pairs.1.next();
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Folder { opaque: false } => f.write_str("a folder"),
            Node::Folder { opaque: true } => f.write_str("a folder that hides lower layers"),
            Node::File { .. } => f.write_str("a file"),
            Node::Link { target } => write!(f, "a link to `{}`", target.display()),
            Node::Whiteout => f.write_str("the mark of a removed file"),
        }
    }
}

fn entry_difference(a: &Path, b: &Path, x: &Entry, y: &Entry) -> Result<String> {
    match (&x.node, &y.node) {
        (Node::File { digest: dx, .. }, Node::File { digest: dy, .. }) if dx != dy => {
            content_difference(&a.join(&x.path), &b.join(&y.path))
        }
        (nx, ny) if nx != ny => Ok(format!("{nx} → {ny}")),
        _ => Ok(format!("mode {:04o} → {:04o}", x.mode, y.mode)),
    }
}

fn content_difference(a: &Path, b: &Path) -> Result<String> {
    // A broken ELF file has no sections to name; its bytes differ all the same.
    let regions = |path| elf::regions(path).unwrap_or_default();
    let (left, right) = (regions(a), regions(b));
    let (a, b) = (fs_err::File::open(a)?, fs_err::File::open(b)?);
    if !left.is_empty() && !right.is_empty() {
        if let Some(found) = region_difference(&a, &b, &left, &right)? {
            return Ok(found);
        }
    }
    let (x, y) = (a.metadata()?.len(), b.metadata()?.len());
    let whole = |size| Region { name: String::new(), offset: 0, size };
    Ok(match first_byte(&a, &b, &whole(x), &whole(y))? {
        Some(at) if x == y => format!("content differs from byte {at}"),
        Some(at) => format!("content differs from byte {at}, {x} → {y} bytes"),
        None => format!("{x} → {y} bytes"),
    })
}

fn region_difference(
    a: &fs_err::File,
    b: &fs_err::File,
    left: &[Region],
    right: &[Region],
) -> io::Result<Option<String>> {
    let mut build_id = None;
    for index in 0..left.len().max(right.len()) {
        let (x, y) = match (left.get(index), right.get(index)) {
            (Some(x), Some(y)) if x.name == y.name => (x, y),
            (Some(x), Some(y)) => return Ok(Some(format!("`{}` → `{}`", x.name, y.name))),
            (x, y) => {
                let side = if x.is_some() { "first" } else { "second" };
                return Ok(x.or(y).map(|region| format!("`{}` is only in the {side}", region.name)));
            }
        };
        let what = match first_byte(a, b, x, y)? {
            _ if x.size != y.size => format!("`{}` has {} → {} bytes", x.name, x.size, y.size),
            Some(at) => format!("`{}` differs from its byte {at}", x.name),
            None => continue,
        };
        if x.name != ".note.gnu.build-id" {
            return Ok(Some(what));
        }
        build_id = Some(what);
    }
    Ok(build_id)
}

/// Where two regions differ first, as far as both go. A region that goes beyond its file's end has zeros
/// there.
fn first_byte(a: &fs_err::File, b: &fs_err::File, x: &Region, y: &Region) -> io::Result<Option<u64>> {
    let (mut p, mut q) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let common = x.size.min(y.size);
    let mut at = 0;
    while at < common {
        let n = (common - at).min(p.len() as u64) as usize;
        fill(a, &mut p[..n], x.offset.saturating_add(at))?;
        fill(b, &mut q[..n], y.offset.saturating_add(at))?;
        if let Some(i) = p[..n].iter().zip(&q[..n]).position(|(p, q)| p != q) {
            return Ok(Some(at + i as u64));
        }
        at += n as u64;
    }
    Ok(None)
}

fn fill(file: &fs_err::File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    buffer.fill(0);
    match file.read_exact_at(buffer, offset) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder with the named files, each of which holds its name.
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in files {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, name).unwrap();
        }
        folder
    }

    fn names(root: &Path) -> Vec<String> {
        listing(root).unwrap().iter().map(|entry| entry.path.display().to_string()).collect()
    }

    fn digest(root: &Path) -> String {
        tree_digest(root).unwrap().digest.to_string()
    }

    fn chmod(path: &Path, mode: u32) {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs_err::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn pkgconfig_files_move_to_lib_and_libtool_files_go() {
        let d = folder(&[
            "share/pkgconfig/a.pc",
            "lib/pkgconfig/b.pc",
            "lib/libx.la",
            "lib/libx.so",
            "lib/sub/y.la",
        ]);
        clean_up(d.path()).unwrap();
        let left =
            ["lib", "lib/libx.so", "lib/pkgconfig", "lib/pkgconfig/a.pc", "lib/pkgconfig/b.pc", "lib/sub"];
        assert_eq!(names(d.path()), [&left[..], &["lib/sub/y.la"]].concat());
        clean_up(d.path()).unwrap();
        assert_eq!(names(d.path()).len(), 7, "once more changes nothing");
    }

    #[test]
    fn a_pkgconfig_file_in_both_places_is_the_one_of_share() {
        let d = folder(&["share/pkgconfig/a.pc", "lib/pkgconfig/a.pc", "share/man/x.1"]);
        clean_up(d.path()).unwrap();
        assert_eq!(
            fs_err::read_to_string(d.path().join("lib/pkgconfig/a.pc")).unwrap(),
            "share/pkgconfig/a.pc"
        );
        assert_eq!(
            names(d.path()),
            ["lib", "lib/pkgconfig", "lib/pkgconfig/a.pc", "share", "share/man", "share/man/x.1"]
        );
    }

    #[test]
    fn folders_emptied_by_the_clean_up_go_and_those_left_empty_stay() {
        let d = folder(&["lib/only.la"]);
        clean_up(d.path()).unwrap();
        assert_eq!(names(d.path()), [""; 0]);
        fs_err::create_dir(d.path().join("lib")).unwrap();
        fs_err::create_dir(d.path().join("share")).unwrap();
        clean_up(d.path()).unwrap();
        assert_eq!(names(d.path()), ["lib", "share"]);
    }

    #[test]
    fn the_two_pkgconfig_folders_may_be_links_to_each_other() {
        let d = folder(&["share/pkgconfig/a.pc"]);
        fs_err::create_dir(d.path().join("lib")).unwrap();
        symlink("../share/pkgconfig", d.path().join("lib/pkgconfig")).unwrap();
        clean_up(d.path()).unwrap();
        assert_eq!(names(d.path()), ["lib", "lib/pkgconfig", "lib/pkgconfig/a.pc"]);

        fs_err::create_dir(d.path().join("share")).unwrap();
        symlink("../lib/pkgconfig", d.path().join("share/pkgconfig")).unwrap();
        clean_up(d.path()).unwrap();
        assert_eq!(
            names(d.path()),
            ["lib", "lib/pkgconfig", "lib/pkgconfig/a.pc", "share", "share/pkgconfig"]
        );
    }

    #[test]
    fn a_link_out_of_the_deploy_folder_leads_nowhere() {
        let outside = folder(&["precious.la"]);
        let d = folder(&["share/pkgconfig/a.pc"]);
        symlink(outside.path(), d.path().join("lib")).unwrap();
        let error = clean_up(d.path()).unwrap_err().to_string();
        assert!(error.starts_with("error: `lib` leads out of the deploy folder, to `/"), "{error}");
        fs_err::remove_dir_all(d.path().join("share")).unwrap();
        assert!(clean_up(d.path()).is_err());
        assert_eq!(names(outside.path()), ["precious.la"]);
    }

    #[test]
    fn the_digest_of_a_known_tree_is_a_known_one() {
        let d = folder(&["bin/a", "etc/b"]);
        chmod(&d.path().join("bin/a"), 0o755);
        chmod(&d.path().join("etc/b"), 0o644);
        chmod(&d.path().join("bin"), 0o755);
        chmod(&d.path().join("etc"), 0o755);
        symlink("a", d.path().join("bin/link")).unwrap();
        let tree = tree_digest(d.path()).unwrap();
        assert_eq!((tree.bytes, tree.entries), (10, 5));
        // Changes only together with the version in the first hashed line.
        assert_eq!(
            tree.digest.to_string(),
            "471b1e1406a115676a27f12bbb9b7c1c80dd4eedbe85863346338ee9467ba3d6"
        );
    }

    #[test]
    fn each_property_but_times_and_links_changes_the_digest() {
        let d = folder(&["a", "b/c"]);
        let a = d.path().join("a");
        let before = digest(d.path());
        let mut seen = vec![before.clone()];
        let mut changed = || {
            let now = digest(d.path());
            assert!(!seen.contains(&now));
            seen.push(now);
        };
        chmod(&a, 0o755);
        changed();
        chmod(&a, 0o4755);
        changed();
        fs_err::write(&a, "other").unwrap();
        changed();
        fs_err::remove_file(&a).unwrap();
        changed();
        symlink("x", &a).unwrap();
        changed();
        fs_err::rename(&a, d.path().join("z")).unwrap();
        changed();
        fs_err::create_dir(&a).unwrap();
        changed();
        chmod(&d.path().join("b"), 0o711);
        changed();

        let (one, two) = (folder(&["x"]), folder(&["x"]));
        fs_err::copy(one.path().join("x"), one.path().join("y")).unwrap();
        fs_err::hard_link(two.path().join("x"), two.path().join("y")).unwrap();
        assert_eq!(digest(one.path()), digest(two.path()));
        assert_eq!((tree_digest(one.path()).unwrap().bytes, tree_digest(two.path()).unwrap().bytes), (2, 1));
    }

    #[test]
    fn many_bytes_are_hashed_by_many_threads_to_the_same_digest() {
        let d = tempfile::tempdir().unwrap();
        for n in 0..20u8 {
            fs_err::write(d.path().join(format!("f{n:02}")), vec![n; 1 << 20]).unwrap();
        }
        for (n, entry) in listing(d.path()).unwrap().into_iter().enumerate() {
            let digest = Digest::of(vec![n as u8; 1 << 20]);
            assert_eq!(entry.node, Node::File { size: 1 << 20, digest }, "{}", entry.path.display());
        }
    }

    #[test]
    fn what_no_image_can_hold_is_an_error_with_its_name() {
        let d = folder(&["a"]);
        let _socket = std::os::unix::net::UnixListener::bind(d.path().join("s")).unwrap();
        let error = tree_digest(d.path()).unwrap_err().to_string();
        assert!(error.starts_with("error: `s` is a socket: only files, folders and links"), "{error}");
        fs_err::remove_file(d.path().join("s")).unwrap();
        nix::unistd::mkfifo(&d.path().join("p"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(tree_digest(d.path()).unwrap_err().message.starts_with("`p` is a named pipe"));
    }

    #[test]
    fn overlayfs_marks_are_part_of_the_tree() {
        use nix::sys::stat::{Mode, SFlag, mknod};
        let d = folder(&["a/b"]);
        let before = digest(d.path());
        let path = CString::new(d.path().join("a").as_os_str().as_bytes()).unwrap();
        // SAFETY: all strings end with NUL, and the value's length is its own.
        let set = unsafe {
            libc::setxattr(path.as_ptr(), c"user.overlay.opaque".as_ptr(), c"y".as_ptr().cast(), 1, 0)
        };
        // Some file systems have no such attributes, and some users may not make devices.
        if set == 0 {
            assert_ne!(digest(d.path()), before);
            assert_eq!(listing(d.path()).unwrap()[0].node, Node::Folder { opaque: true });
        }
        if mknod(&d.path().join("gone"), SFlag::S_IFCHR, Mode::empty(), 0).is_ok() {
            settle(d.path(), 1).unwrap();
            assert_eq!(listing(d.path()).unwrap()[2].node, Node::Whiteout);
        }
    }

    #[test]
    fn what_is_settled_has_one_time_and_can_be_read_by_its_owner() {
        let d = folder(&["bin/tool", "bin/su", "locked/x", "secret"]);
        let at = |name: &str| d.path().join(name);
        chmod(&at("bin/tool"), 0o775);
        chmod(&at("bin/su"), 0o4755);
        chmod(&at("secret"), 0o000);
        chmod(&at("locked"), 0o055);
        symlink("nowhere", at("link")).unwrap();
        let settled = settle(d.path(), 1_700_000_000).unwrap();
        for name in ["", "bin", "bin/tool", "bin/su", "locked", "locked/x", "secret", "link"] {
            assert_eq!(fs_err::symlink_metadata(at(name)).unwrap().mtime(), 1_700_000_000, "{name}");
        }
        let modes = ["bin/tool", "bin/su", "secret", "locked"].map(|name| mode(&at(name)));
        assert_eq!(modes, [0o775, 0o4755, 0o400, 0o755], "folders are opened, to be layers");
        assert_eq!(tree_digest(d.path()).unwrap(), settled);
        assert_eq!(settle(d.path(), 1).unwrap(), settled);
    }

    #[test]
    fn the_first_difference_is_the_first_by_path() {
        let (a, b) = (folder(&["a/x", "b", "c"]), folder(&["a/x", "b", "c"]));
        let difference = || first_difference(a.path(), b.path()).unwrap().map(|d| d.to_string());
        assert_eq!(difference(), None);
        fs_err::write(b.path().join("c"), "C, and more").unwrap();
        assert_eq!(difference().unwrap(), "`c`: content differs from byte 0, 1 → 11 bytes");
        chmod(&a.path().join("b"), 0o640);
        chmod(&b.path().join("b"), 0o4600);
        assert_eq!(difference().unwrap(), "`b`: mode 0640 → 4600");
        fs_err::remove_file(b.path().join("b")).unwrap();
        symlink("c", b.path().join("b")).unwrap();
        assert_eq!(difference().unwrap(), "`b`: a file → a link to `c`");
        fs_err::write(b.path().join("a/w"), "").unwrap();
        assert_eq!(difference().unwrap(), "`a/w`: a file that only the second has");
        fs_err::remove_dir_all(b.path().join("a")).unwrap();
        assert_eq!(difference().unwrap(), "`a`: a folder that only the first has");
    }
}
