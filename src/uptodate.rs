//! What a build root needs in order to be up to date: every path that mattered, with what `lstat` said of it, and every
//! result that is shown. Read and checked without evaluating anything, so that doing nothing costs next to nothing.
//!
//! Where something has changed that matters to some packages only, what is known of the others is in `memory`.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use crate::config::Settings;
use crate::digest::Digest;
use crate::error::Result;
use crate::filedigest::{Seen, Stat};
use crate::layout::BuildRoot;
use crate::load::Loaded;
use crate::memory::{self, Memory};
use crate::names::PackageName;
use crate::plan::Found;
use crate::store;

/// First bytes of the file; changes with its form, and with that of `memory`.
const MAGIC: &[u8] = b"mk up to date 3\n";

/// What was asked for and who answers, as one digest: a different question has a different answer.
fn question(settings: &Settings, board: &str, product: &str, packages: &[String]) -> Digest {
    let tree = settings.tree().map(|tree| tree.root().to_string_lossy().into_owned()).unwrap_or_default();
    let program = std::env::current_exe().and_then(fs_err::metadata);
    let words = [
        &tree,
        env!("CARGO_PKG_VERSION"),
        &program
            .map_or(String::new(), |meta| format!("{} {} {}", meta.len(), meta.mtime(), meta.mtime_nsec())),
        &crate::runtime::digest().to_string(),
        &format!("{:?}", settings.rooms),
        &settings.store.to_string_lossy(),
        board,
        product,
        &packages.join(" "),
    ];
    Digest::of(words.join("\0"))
}

/// Appends a field: its length, then itself.
fn put(out: &mut Vec<u8>, field: &[u8]) {
    out.extend_from_slice(&(field.len() as u32).to_le_bytes());
    out.extend_from_slice(field);
}

/// Takes the first field off what is left.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_at_checked(4)?;
    let (field, tail) = tail.split_at_checked(u32::from_le_bytes(length.try_into().ok()?) as usize)?;
    *rest = tail;
    Some(field)
}

/// A path that mattered, as the file has it.
struct Line<'a> {
    path: &'a [u8],
    /// The package that it matters to; empty: all.
    to: &'a [u8],
    numbers: [u64; 6],
}

/// In place of the mode: a package's result.
const RESULT: u64 = 1;

impl<'a> Line<'a> {
    fn write(&self, out: &mut Vec<u8>) {
        for field in [self.path, self.to] {
            put(out, field);
        }
        self.numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    }

    /// `None`: the file ends, here or too early.
    fn read(rest: &mut &'a [u8]) -> Option<Line<'a>> {
        let (path, to) = (take(rest)?, take(rest)?);
        let mut numbers = [0; 6];
        for number in &mut numbers {
            let (bytes, tail) = rest.split_at_checked(8)?;
            (*number, *rest) = (u64::from_le_bytes(bytes.try_into().ok()?), tail);
        }
        Some(Line { path, to, numbers })
    }

    /// Whether it is as it was.
    fn holds(&self, near: &[Near]) -> bool {
        match (lstat(self.path, near), self.numbers[5]) {
            (None, mode) => mode == 0,
            // Younger than the plan, and its ctime tells of no change that matters.
            (Some(now), RESULT) => [now[0], now[1], 0, now[3], now[4], RESULT] == self.numbers,
            (Some(now), _) => now == self.numbers,
        }
    }

    fn seen(&self) -> Option<Seen> {
        let to = std::str::from_utf8(self.to).ok()?;
        let to = if to.is_empty() { None } else { Some(PackageName::new(to).ok()?) };
        Some(Seen { stat: (self.numbers[5] != 0).then(|| Stat::of_numbers(self.numbers)), to })
    }
}

/// Remembers that everything that was asked for is there. `found`: each package's result, by place. `in_rooms`: whether
/// steps ran in rooms.
pub fn remember(
    settings: &Settings,
    loaded: &Loaded,
    packages: &[String],
    found: &[Option<Found>],
    in_rooms: bool,
) -> Result<()> {
    let file = loaded.build_root.state().join("up-to-date");
    if let Some(package) = &loaded.opaque {
        log::debug!("pkg/{package}/build runs programs while it is read: nothing can be remembered");
        forget(&loaded.build_root);
        return Ok(());
    }
    let recipes = &loaded.graph.packages;
    let mut out = MAGIC.to_vec();
    put(&mut out, &question(settings, &loaded.board, &loaded.product, packages).0);
    let release = loaded.variables.get("OS_RELEASE").map(String::as_str);
    put(&mut out, release.unwrap_or_default().as_bytes());
    put(&mut out, &(recipes.len() as u32).to_le_bytes());
    let mut environment: Vec<String> = recipes
        .iter()
        .flat_map(|recipe| &recipe.evaluated.passed)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    environment.sort();
    environment.dedup();
    put(&mut out, environment.join("\0").as_bytes());
    // A name that is new to the environment may be one that a recipe asks for.
    let mut names: Vec<&str> = settings.environment.keys().map(String::as_str).collect();
    names.sort_unstable();
    put(&mut out, names.join("\0").as_bytes());
    // Where rooms turned out to be refused, the next run has to find that out again.
    let known = recipes
        .iter()
        .zip(found)
        .filter_map(|(recipe, found)| Some((&recipe.name, &recipe.evaluated, found.as_ref()?)));
    let memory = if in_rooms == (settings.rooms != crate::config::Rooms::Never) {
        memory::save(&loaded.build_root, &loaded.variables["HOSTTUPLE"], &loaded.environment, release, known)?
            .0
            .to_vec()
    } else {
        Vec::new()
    };
    put(&mut out, &memory);
    for (path, seen) in loaded.digests.seen() {
        if seen.stat.is_some_and(|stat| stat.too_fresh(loaded.began)) {
            // It may have changed after it was read and before it was looked at, or may again and unseen: then everything is
            // read once more.
            forget(&loaded.build_root);
            return Ok(());
        }
        let line = Line {
            path: path.as_os_str().as_bytes(),
            to: seen.to.as_ref().map_or("", PackageName::as_str).as_bytes(),
            numbers: seen.stat.map_or([0; 6], |stat| stat.numbers()),
        };
        line.write(&mut out);
    }
    for recipe in recipes {
        let view = loaded.build_root.deploy().join(recipe.name.as_str());
        // Through the link: the result itself must be there, and its description as it was, without which it is none.
        let path = if view.is_symlink() { view.join("../meta.json") } else { view.join(".") };
        let path = path.as_os_str().as_bytes();
        let [size, mtime, _, inode, device, _] = lstat(path, &[]).unwrap_or_default();
        let numbers = [size, mtime, 0, inode, device, RESULT];
        Line { path, to: recipe.name.as_str().as_bytes(), numbers }.write(&mut out);
    }
    store::write_atomically(&file, &out)
}

/// Forgets that: the next run looks at everything.
pub fn forget(build_root: &BuildRoot) {
    let _ = fs_err::remove_file(build_root.state().join("up-to-date"));
}

/// How a build root stands to what was asked for.
#[derive(Debug)]
pub enum State {
    /// All is there and nothing has changed: so many packages.
    UpToDate(usize),
    /// Something has changed that matters to some packages only.
    Partly(Partly),
    /// Everything has to be looked at.
    Unknown,
}

/// A build root in which little has changed.
#[derive(Debug)]
pub struct Partly {
    /// Those that what changed matters to.
    affected: BTreeSet<PackageName>,
    /// The digest of what was saved of all.
    memory: Digest,
    /// Before anything was looked at.
    began: SystemTime,
    /// The file, and where its paths begin.
    file: Vec<u8>,
    paths: usize,
}

impl Partly {
    /// What is known of the packages that nothing which changed matters to.
    pub fn recall(&self, build_root: &BuildRoot) -> Option<Memory> {
        let mut memory = memory::recall(build_root, &self.memory, &self.affected)?;
        memory.began = self.began;
        let mut rest = &self.file[self.paths..];
        while let Some(line) = Line::read(&mut rest).filter(|line| line.numbers[5] != RESULT) {
            let seen = line.seen()?;
            if seen.to.as_ref().is_none_or(|package| !self.affected.contains(package)) {
                memory.seen.push((OsStr::from_bytes(line.path).into(), seen));
            }
        }
        Some(memory)
    }
}

/// Compares a build root with what was remembered of it.
pub fn check(
    settings: &Settings,
    build_root: &BuildRoot,
    board: &str,
    product: &str,
    packages: &[String],
) -> State {
    compare(settings, build_root, board, product, packages).unwrap_or(State::Unknown)
}

fn compare(
    settings: &Settings,
    build_root: &BuildRoot,
    board: &str,
    product: &str,
    packages: &[String],
) -> Option<State> {
    let began = SystemTime::now();
    let file = fs_err::read(build_root.state().join("up-to-date")).ok()?;
    let mut rest = file.strip_prefix(MAGIC)?;
    let rest = &mut rest;
    if take(rest)? != question(settings, board, product, packages).0 {
        return None;
    }
    let release = take(rest)?;
    if !release.is_empty() && crate::load::release(&settings.tree().ok()?).as_bytes() != release {
        return None;
    }
    let count = u32::from_le_bytes(take(rest)?.try_into().ok()?) as usize;
    let environment = take(rest)?;
    for pair in environment.split(|&b| b == 0).filter(|pair| !pair.is_empty()) {
        let pair = std::str::from_utf8(pair).ok()?;
        let (name, value) = pair.split_once('=')?;
        if settings.environment.get(name).is_none_or(|now| now != value) {
            return None;
        }
    }
    let names: BTreeSet<&[u8]> = take(rest)?.split(|&b| b == 0).collect();
    if settings.environment.keys().any(|name| !names.contains(name.as_bytes())) {
        return None;
    }
    let memory = take(rest)?.try_into().map(Digest);
    let paths = file.len() - rest.len();
    let near = [settings.tree().ok()?.root(), build_root.root()].map(Near::open);
    let near: Vec<Near> = near.into_iter().flatten().collect();
    let mut affected = BTreeSet::new();
    while !rest.is_empty() {
        let line = Line::read(rest)?;
        if !line.holds(&near) {
            log::debug!("changed: {}", String::from_utf8_lossy(line.path));
            affected.insert(line.seen()?.to?);
        }
    }
    if affected.is_empty() {
        return Some(State::UpToDate(count));
    }
    Some(State::Partly(Partly { affected, memory: memory.ok()?, began, paths, file }))
}

/// A folder that many paths lie in: from there the kernel has less of each to walk.
struct Near {
    prefix: Vec<u8>,
    folder: fs_err::File,
}

impl Near {
    fn open(folder: &Path) -> Option<Near> {
        let prefix = [folder.as_os_str().as_bytes(), b"/"].concat();
        Some(Near { prefix, folder: fs_err::File::open(folder).ok()? })
    }
}

/// What `lstat` says, in the order of [`crate::filedigest::Stat::numbers`].
fn lstat(path: &[u8], near: &[Near]) -> Option<[u64; 6]> {
    let from =
        near.iter().find_map(|near| Some((near.folder.as_raw_fd(), path.strip_prefix(&near.prefix[..])?)));
    let (folder, path) = from.unwrap_or((libc::AT_FDCWD, path));
    let path = CString::new(path).ok()?;
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `path` ends in NUL, `stat` has room for the answer, and is read only when the call says that it was filled.
    let stat = unsafe {
        if libc::fstatat(folder, path.as_ptr(), stat.as_mut_ptr(), libc::AT_SYMLINK_NOFOLLOW) != 0 {
            return None;
        }
        stat.assume_init()
    };
    let time = |seconds: i64, rest: i64| (i128::from(seconds) * 1_000_000_000 + i128::from(rest)) as u64;
    Some([
        stat.st_size as u64,
        time(stat.st_mtime, stat.st_mtime_nsec),
        time(stat.st_ctime, stat.st_ctime_nsec),
        stat.st_ino,
        stat.st_dev,
        u64::from(stat.st_mode),
    ])
}
