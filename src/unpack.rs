//! Unpacks an archive into an empty folder, and nowhere else, whatever the archive says.
//! Knows `archive` and `error`, nothing of packages or where the folder lies.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path};
use std::sync::LazyLock;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, fchmod, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

use crate::archive::{Entry, Format, Stream, Tar, What, is_web_page, refused};
use crate::error::{Error, Kind, Result, nearest};

/// Deepest folder: each of the way to it is held open.
const DEEPEST: usize = 200;
/// Longest name of an entry, in bytes; more than Linux takes in one call.
const LONGEST: usize = 4096;
/// Links that are followed from one to the next before a chain counts as a circle, as in the kernel.
const HOPS: usize = 40;

/// How much an archive may hold before it counts as a bomb.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all its files together, holes included.
    pub bytes: u64,
    /// Bytes unpacked for each byte of the archive...
    pub ratio: u64,
    /// ...once more than this many bytes were unpacked.
    pub ratio_from: u64,
    /// Entries.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: 64 << 30, ratio: 1000, ratio_from: 1 << 30, entries: 5_000_000 }
    }
}

/// What an archive held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Names at its top, sorted.
    pub tops: Vec<String>,
    /// Files and links.
    pub files: u64,
    /// Bytes of all its files together, holes included.
    pub bytes: u64,
}

/// Unpacks `archive` into the empty folder `into`: tar (plain or compressed with gzip, bzip2, xz, zstd, lzip) or zip.
///
/// Keeps modification times, executable bits, symbolic and hard links; ignores owners; takes what group and others
/// may write and every set-id bit away; the owner may always read files and write folders. An entry that would leave
/// the folder, by its name or by a link's target (an absolute one always leaves), is an error, and so are devices,
/// and an archive that is truncated, damaged or beyond the limits. Nothing is ever written outside `into`; after an
/// error its content is unfinished and the caller's to remove.
pub fn unpack(archive: &Path, into: &Path, limits: Limits) -> Result<Unpacked> {
    let file = fs_err::File::open(archive)?;
    let length = file.metadata()?.len();
    let mut start = [0; 512];
    let count = file.file().read_at(&mut start, 0)?;
    let mut place = Place::open(archive, into, limits, length)?;
    match Format::of(&start[..count]) {
        Format::Zip => unpack_zip(file, &mut place)?,
        Format::Plain if is_web_page(&start[..count]) => {
            return Err(refused(archive, "it is a web page, not an archive"));
        }
        format => unpack_tar(Tar::new(Stream::open(archive, format)?), &mut place)?,
    }
    place.finish()
}

/// Checks that `srcdir` is a folder of what was unpacked into `into`; `.` is the whole. The error lists the tops
/// and suggests the right one.
pub fn check_srcdir(unpacked: &Unpacked, into: &Path, srcdir: &str) -> Result<()> {
    let inside =
        |path: &Path| path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    let is_folder = |name: &str| fs_err::symlink_metadata(into.join(name)).is_ok_and(|meta| meta.is_dir());
    if !srcdir.is_empty() && inside(Path::new(srcdir)) && is_folder(srcdir) {
        return Ok(());
    }
    let folders: Vec<&str> = unpacked.tops.iter().map(String::as_str).filter(|top| is_folder(top)).collect();
    let shown: Vec<String> = unpacked
        .tops
        .iter()
        .take(10)
        .map(|top| {
            format!("`{}{}`", top.escape_debug(), if folders.contains(&top.as_str()) { "/" } else { "" })
        })
        .collect();
    let rest = if unpacked.tops.len() > shown.len() { ", …" } else { "" };
    let right = match folders[..] {
        [only] if unpacked.tops.len() == 1 => only,
        _ => nearest(srcdir, folders.iter().copied()).unwrap_or("."),
    };
    Err(Error::new(Kind::Recipe, format!("the archive holds no folder `{}`", srcdir.escape_debug()))
        .at(format!(
            "at its top: {}{rest}",
            if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
        ))
        .hint(format!("set SRCDIR=\"{}\"", right.escape_debug())))
}

fn unpack_tar(mut tar: Tar, place: &mut Place) -> Result<()> {
    while let Some(entry) = tar.next_entry()? {
        place.count(entry.size)?;
        place.check_growth(tar.passed())?;
        let What::File(pieces) = &entry.what else {
            place.put(&entry)?;
            continue;
        };
        let mut file = place.file(&entry)?;
        let failed = |e| failed(place.into, &entry.name, e);
        let mut end = 0;
        // A piece of no length marks the end of a file that ends in a hole.
        for &(offset, length) in pieces.iter().filter(|piece| piece.1 > 0) {
            if offset != end {
                file.seek(SeekFrom::Start(offset)).map_err(failed)?;
            }
            let mut rest = length;
            while rest > 0 {
                let bytes = tar.data()?;
                let count = bytes.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
                file.write_all(&bytes[..count]).map_err(failed)?;
                tar.consume(count);
                rest -= count as u64;
                place.check_growth(tar.passed())?;
            }
            end = offset + length;
        }
        if end != entry.size {
            file.set_len(entry.size).map_err(failed)?;
        }
        stamp(&file, entry.modified).map_err(failed)?;
    }
    // Checksums stand at the end of what is compressed.
    while tar.skip_chunk()? {
        place.check_growth(tar.passed())?;
    }
    Ok(())
}

fn unpack_zip(file: fs_err::File, place: &mut Place) -> Result<()> {
    let archive = place.archive;
    let damaged = |e: zip::result::ZipError| refused(archive, format!("its zip data is damaged ({e})"));
    let mut zip =
        zip::ZipArchive::new(BufReader::with_capacity(1 << 20, file.into_parts().0)).map_err(damaged)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut written = 0;
    for index in 0..zip.len() {
        let mut packed = zip.by_index(index).map_err(damaged)?;
        let mode = packed.unix_mode().unwrap_or(if packed.is_dir() { 0o755 } else { 0o644 });
        let name = packed.name_raw().to_vec();
        let broken = |e: io::Error| refused(archive, format!("entry {} is damaged ({e})", quoted(&name)));
        let what = match mode & libc::S_IFMT {
            libc::S_IFLNK => {
                let mut target = Vec::new();
                packed.by_ref().take(LONGEST as u64 + 1).read_to_end(&mut target).map_err(broken)?;
                What::Symlink(target)
            }
            libc::S_IFBLK | libc::S_IFCHR | libc::S_IFIFO | libc::S_IFSOCK => What::Device,
            _ if packed.is_dir() => What::Folder,
            _ => What::File(Vec::new()),
        };
        let size = if matches!(what, What::File(_)) { packed.size() } else { 0 };
        let entry = Entry { name: name.clone(), what, mode, modified: (zip_time(&packed), 0), size };
        place.count(entry.size)?;
        if !matches!(entry.what, What::File(_)) {
            place.put(&entry)?;
            continue;
        }
        let mut file = place.file(&entry)?;
        let failed = |e| failed(place.into, &entry.name, e);
        loop {
            let count = match packed.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(broken(e)),
            };
            file.write_all(&buffer[..count]).map_err(failed)?;
            written += count as u64;
            // The sizes in the archive's directory, which were counted, are but claims.
            if written > place.bytes {
                return Err(place.hostile(&entry, "holds more than it claims"));
            }
            place.check_growth(written)?;
        }
        stamp(&file, entry.modified).map_err(failed)?;
    }
    Ok(())
}

/// Seconds since 1970; the old field of zip has no time zone, so UTC is taken, everywhere alike.
fn zip_time<R: Read>(packed: &zip::read::ZipFile<'_, R>) -> i64 {
    for field in packed.extra_data_fields() {
        let zip::ExtraField::ExtendedTimestamp(stamp) = field else { continue };
        if let Some(seconds) = stamp.mod_time() {
            return i64::from(seconds);
        }
    }
    let Some(time) = packed.last_modified() else { return 0 };
    // Days since 1970-01-01, counted in years that begin in March so that the leap day comes last.
    let (year, month) = (i64::from(time.year()), i64::from(time.month()));
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leaps + (month * 153 + 2) / 5 + i64::from(time.day()) - 719_469;
    days * 86_400 + i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second())
}

/// The folder that is unpacked into. Every part of a name is opened by itself and never through a link.
struct Place<'a> {
    archive: &'a Path,
    into: &'a Path,
    limits: Limits,
    /// Bytes of the archive.
    length: u64,
    /// What the process's umask takes away and has to be given back.
    umask: u32,
    root: OwnedFd,
    /// The way to the folder that was used last: entries of one folder mostly follow each other.
    way: Vec<(Vec<u8>, OwnedFd)>,
    /// Symbolic links and their targets, to see in the end where they lead.
    links: HashMap<Vec<u8>, Vec<u8>>,
    /// Folders and their times, which writing into them changes.
    folders: Vec<(Vec<u8>, (i64, i64))>,
    tops: BTreeSet<String>,
    entries: u64,
    files: u64,
    bytes: u64,
}

impl<'a> Place<'a> {
    fn open(archive: &'a Path, into: &'a Path, limits: Limits, length: u64) -> Result<Place<'a>> {
        let root = nix::fcntl::open(into, FOLDER, Mode::empty()).map_err(|e| failed(into, b"", e))?;
        Ok(Place {
            archive,
            into,
            limits,
            length,
            umask: umask(),
            root,
            way: Vec::new(),
            links: HashMap::new(),
            folders: Vec::new(),
            tops: BTreeSet::new(),
            entries: 0,
            files: 0,
            bytes: 0,
        })
    }

    /// Counts an entry that claims this size.
    fn count(&mut self, size: u64) -> Result<()> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(self.bomb(format!("it holds more than {} entries", self.limits.entries)));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.bytes {
            return Err(self.bomb(format!("it holds more than {} bytes", self.limits.bytes)));
        }
        Ok(())
    }

    /// Refuses an archive that has grown to too much.
    fn check_growth(&self, bytes: u64) -> Result<()> {
        let limits = &self.limits;
        if bytes > limits.ratio_from && bytes / limits.ratio > self.length {
            return Err(self.bomb(format!("it grows to more than {} times its size", limits.ratio)));
        }
        Ok(())
    }

    fn bomb(&self, reason: String) -> Error {
        refused(self.archive, reason).hint("no source is like that: the archive may be made to fill the disk")
    }

    /// Makes an empty file for an entry.
    fn file(&mut self, entry: &Entry) -> Result<File> {
        let parts = self.parts(entry)?;
        let Some((name, parents)) = parts.split_last() else {
            return Err(self.hostile(entry, "is a file without a name"));
        };
        self.enter(parents, entry)?;
        let mode = entry.mode & 0o755 | 0o400;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = self.make(&parts, entry, |folder| openat(folder, *name, flags, bits(mode)))?;
        if mode & self.umask != 0 {
            fchmod(&file, bits(mode)).map_err(|e| failed(self.into, &entry.name, e))?;
        }
        self.files += 1;
        Ok(File::from(file))
    }

    /// Makes whatever is no file.
    fn put(&mut self, entry: &Entry) -> Result<()> {
        let parts = self.parts(entry)?;
        let Some((name, parents)) = parts.split_last() else {
            // `./`, with which many archives begin.
            return Ok(());
        };
        match &entry.what {
            What::Folder => {
                self.enter(&parts, entry)?;
                let mode = entry.mode & 0o755 | 0o700;
                fchmod(self.here(), bits(mode)).map_err(|e| failed(self.into, &entry.name, e))?;
                self.folders.push((parts.join(&b'/'), entry.modified));
                return Ok(());
            }
            What::Symlink(target) => {
                if target.is_empty() || target.contains(&0) || target.len() > LONGEST {
                    return Err(self.hostile(entry, "is a link whose target no link can have"));
                }
                if target[0] == b'/' {
                    return Err(self.leaves(entry, target));
                }
                self.enter(parents, entry)?;
                self.make(&parts, entry, |folder| symlinkat(&target[..], folder, *name))?;
                let (read, changed) = (TimeSpec::UTIME_OMIT, time(entry.modified));
                utimensat(self.here(), *name, &read, &changed, UtimensatFlags::NoFollowSymlink)
                    .map_err(|e| failed(self.into, &entry.name, e))?;
                self.links.insert(parts.join(&b'/'), target.clone());
            }
            What::Hardlink(target) => {
                let from = split(target).ok_or_else(|| self.leaves(entry, target))?;
                let Some((from_name, from_parents)) = from.split_last().filter(|_| from != parts) else {
                    return Ok(());
                };
                self.enter(from_parents, entry)?;
                let source = self.here().try_clone_to_owned()?;
                self.enter(parents, entry)?;
                self.make(&parts, entry, |folder| {
                    linkat(&source, *from_name, folder, *name, AtFlags::empty())
                })?;
                // The same link at another place leads elsewhere.
                if let Some(target) = self.links.get(&from.join(&b'/')).cloned() {
                    self.links.insert(parts.join(&b'/'), target);
                }
            }
            What::Device | What::File(_) => return Err(self.hostile(entry, "is a device or a pipe")),
        }
        self.files += 1;
        Ok(())
    }

    /// The parts of an entry's name; none for the folder itself.
    fn parts<'e>(&mut self, entry: &'e Entry) -> Result<Vec<&'e [u8]>> {
        if entry.name.contains(&0) || entry.name.len() > LONGEST {
            return Err(self.hostile(entry, "has a name that no file can have"));
        }
        let parts = split(&entry.name).ok_or_else(|| self.hostile(entry, "would leave the folder"))?;
        if parts.len() > DEEPEST {
            return Err(self.hostile(entry, &format!("lies deeper than {DEEPEST} folders")));
        }
        if let Some(top) = parts.first().map(|top| String::from_utf8_lossy(top)) {
            if !self.tops.contains(top.as_ref()) {
                self.tops.insert(top.into_owned());
            }
        }
        Ok(parts)
    }

    /// Goes to the folder of these parts, from the one where it stands; makes what is missing on the way.
    fn enter(&mut self, parts: &[&[u8]], entry: &Entry) -> Result<()> {
        let same = self.way.iter().zip(parts).take_while(|((name, _), part)| name == *part).count();
        self.way.truncate(same);
        for part in &parts[same..] {
            let folder = match openat(self.here(), *part, FOLDER, Mode::empty()) {
                Err(Errno::ENOENT) => {
                    mkdirat(self.here(), *part, bits(0o755))
                        .map_err(|e| failed(self.into, &entry.name, e))?;
                    let folder = openat(self.here(), *part, FOLDER, Mode::empty());
                    if let (Ok(folder), true) = (&folder, 0o755 & self.umask != 0) {
                        fchmod(folder, bits(0o755)).map_err(|e| failed(self.into, &entry.name, e))?;
                    }
                    folder
                }
                other => other,
            };
            match folder {
                Ok(folder) => self.way.push((part.to_vec(), folder)),
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    let reason = format!("goes through {}, which is a link or a file", quoted(part));
                    return Err(self.hostile(entry, &reason));
                }
                Err(e) => return Err(failed(self.into, &entry.name, e)),
            }
        }
        Ok(())
    }

    /// The folder that was entered last.
    fn here(&self) -> BorrowedFd<'_> {
        self.way.last().map_or(self.root.as_fd(), |(_, folder)| folder.as_fd())
    }

    /// Makes an entry in the folder that was entered; a later one of the same name takes an earlier one's place.
    fn make<T>(
        &mut self,
        parts: &[&[u8]],
        entry: &Entry,
        make: impl Fn(BorrowedFd) -> nix::Result<T>,
    ) -> Result<T> {
        let made = match (make(self.here()), parts.last()) {
            (Err(Errno::EEXIST), Some(name)) => {
                let gone = unlinkat(self.here(), *name, UnlinkatFlags::NoRemoveDir);
                self.links.remove(&parts.join(&b'/'));
                gone.and_then(|()| make(self.here()))
            }
            (made, _) => made,
        };
        made.map_err(|e| match (e, &entry.what) {
            (Errno::EISDIR, _) => self.hostile(entry, "takes the place of a folder"),
            (Errno::ENOENT, What::Hardlink(target)) => {
                self.hostile(entry, &format!("is a hard link to {}, which is not there", quoted(target)))
            }
            (Errno::EPERM, What::Hardlink(target)) => {
                self.hostile(entry, &format!("is a hard link to {}, which is a folder", quoted(target)))
            }
            (Errno::ENAMETOOLONG, _) => self.hostile(entry, "has a name that no file can have"),
            _ => failed(self.into, &entry.name, e),
        })
    }

    /// Looks where the links lead, now that all are there, and gives the folders their times.
    fn finish(self) -> Result<Unpacked> {
        for (path, target) in &self.links {
            if leads_out(&self.links, path) {
                let what = What::Symlink(target.clone());
                let entry = Entry { name: path.clone(), what, mode: 0, modified: (0, 0), size: 0 };
                return Err(self.leaves(&entry, target));
            }
        }
        for (path, modified) in &self.folders {
            let (read, changed) = (TimeSpec::UTIME_OMIT, time(*modified));
            utimensat(&self.root, &path[..], &read, &changed, UtimensatFlags::NoFollowSymlink)
                .map_err(|e| failed(self.into, path, e))?;
        }
        Ok(Unpacked { tops: self.tops.into_iter().collect(), files: self.files, bytes: self.bytes })
    }

    fn hostile(&self, entry: &Entry, reason: &str) -> Error {
        refused(self.archive, format!("entry {} {reason}", quoted(&entry.name)))
    }

    fn leaves(&self, entry: &Entry, target: &[u8]) -> Error {
        self.hostile(entry, &format!("links to {}, outside the folder", quoted(target)))
    }
}

const FOLDER: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The parts of a relative name; none when it is absolute or goes up.
fn split(name: &[u8]) -> Option<Vec<&[u8]>> {
    let parts: Vec<&[u8]> =
        name.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    (name.first() != Some(&b'/') && !parts.contains(&&b".."[..])).then_some(parts)
}

/// Whether a link, followed from its place through all others, comes above the folder. It does not matter
/// what the parts are that are no links: the kernel gives up where this goes on.
fn leads_out(links: &HashMap<Vec<u8>, Vec<u8>>, path: &[u8]) -> bool {
    let mut at: Vec<&[u8]> = Vec::new();
    let mut way: Vec<&[u8]> = path.split(|b| *b == b'/').rev().collect();
    let mut hops = 0;
    while let Some(part) = way.pop() {
        match part {
            b"" | b"." => {}
            b".." => {
                if at.pop().is_none() {
                    return true;
                }
            }
            name => {
                at.push(name);
                let Some(target) = links.get(&at.join(&b'/')) else { continue };
                hops += 1;
                if hops > HOPS {
                    return false;
                }
                at.pop();
                way.extend(target.split(|b| *b == b'/').rev());
            }
        }
    }
    false
}

/// Sets when a file was changed last.
fn stamp(file: &File, modified: (i64, i64)) -> io::Result<()> {
    Ok(futimens(file, &TimeSpec::UTIME_OMIT, &time(modified))?)
}

fn time((seconds, nanos): (i64, i64)) -> TimeSpec {
    TimeSpec::new(seconds, nanos)
}

fn bits(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode)
}

/// The process's umask, which nobody changes; everything where the kernel does not say.
fn umask() -> u32 {
    static UMASK: LazyLock<u32> = LazyLock::new(|| {
        let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
        let field = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        field.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
    });
    *UMASK
}

/// A name in back-ticks, with whatever would disturb a terminal made visible.
fn quoted(name: &[u8]) -> String {
    format!("`{}`", String::from_utf8_lossy(name).escape_debug())
}

/// The error for a file that cannot be written.
fn failed(into: &Path, name: &[u8], error: impl Into<io::Error>) -> Error {
    Error::from(error.into()).context(format!("{} in `{}`", quoted(name), into.display()))
}
