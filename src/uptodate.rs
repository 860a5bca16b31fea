//! What a build root needs in order to be up to date: every path that mattered, with what `lstat` said of it, and every
//! result that is shown. Read and checked without evaluating anything, so that doing nothing costs next to nothing.
//!
//! Only an answer of "up to date" counts; anything else means that the plan has to be made.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::config::Settings;
use crate::digest::Digest;
use crate::error::Result;
use crate::layout::BuildRoot;
use crate::load::Loaded;
use crate::store;

/// First bytes of the file; changes with its form.
const MAGIC: &[u8] = b"mk up to date 2\n";

/// What was asked for, as one digest: a different question has a different answer.
fn question(settings: &Settings, board: &str, product: &str, packages: &[String]) -> Digest {
    let tree = settings.tree().map(|tree| tree.root().to_string_lossy().into_owned()).unwrap_or_default();
    let words = [
        &tree,
        env!("CARGO_PKG_VERSION"),
        &crate::runtime::digest().to_string(),
        &format!("{:?}", settings.rooms),
        &settings.store.to_string_lossy(),
        board,
        product,
        &packages.join(" "),
    ];
    Digest::of(words.join("\0"))
}

/// Remembers that everything that was asked for is there.
pub fn remember(settings: &Settings, loaded: &Loaded, packages: &[String]) -> Result<()> {
    let file = loaded.build_root.state().join("up-to-date");
    if let Some(package) = &loaded.opaque {
        log::debug!("pkg/{package}/build runs programs while it is read: nothing can be remembered");
        let _ = fs_err::remove_file(&file);
        return Ok(());
    }
    let mut out = MAGIC.to_vec();
    let mut bytes = |text: &[u8]| {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text);
    };
    bytes(&question(settings, &loaded.board, &loaded.product, packages).0);
    bytes(loaded.variables.get("OS_RELEASE").map_or("", String::as_str).as_bytes());
    bytes(&(loaded.graph.packages.len() as u32).to_le_bytes());
    let mut environment = Vec::new();
    for recipe in &loaded.graph.packages {
        for (name, value) in &recipe.evaluated.passed {
            environment.push(format!("{name}={value}"));
        }
    }
    environment.sort();
    environment.dedup();
    bytes(environment.join("\0").as_bytes());
    // A name that is new to the environment may be one that a recipe asks for.
    let mut names: Vec<&str> = settings.environment.keys().map(String::as_str).collect();
    names.sort_unstable();
    bytes(names.join("\0").as_bytes());
    let mut seen = loaded.digests.seen();
    for recipe in &loaded.graph.packages {
        let view = loaded.build_root.deploy().join(recipe.name.as_str());
        // Through the link: the result itself must be there, and its description as it was, without which it is none.
        let path = if view.is_symlink() { view.join("../meta.json") } else { view.join(".") };
        seen.insert(
            path.clone(),
            fs_err::symlink_metadata(&path).ok().map(|meta| crate::filedigest::Stat::of(&meta)),
        );
    }
    for (path, stat) in &seen {
        let view = path.starts_with(loaded.build_root.root());
        if stat.is_some_and(|stat| !view && stat.changed_since(loaded.began)) {
            // It may have changed after it was read and before it was looked at: then everything is read once more.
            let _ = fs_err::remove_file(&file);
            return Ok(());
        }
        let fresh = stat.is_some_and(|stat| !view && stat.too_fresh(loaded.began));
        let content = match (fresh, path.is_file()) {
            (true, true) => Digest::of_file(path)?.0.to_vec(),
            // A folder that changed a moment ago may change again unseen.
            (true, false) => {
                let _ = fs_err::remove_file(&file);
                return Ok(());
            }
            _ => Vec::new(),
        };
        bytes(path.as_os_str().as_bytes());
        bytes(&content);
        // A result is younger than the plan, and its ctime tells of no change that matters.
        let mut numbers = stat.map_or([0; 6], |stat| stat.numbers());
        if view {
            (numbers[2], numbers[5]) = (0, 1);
        }
        for number in numbers {
            out_number(&mut bytes, number);
        }
    }
    store::write_atomically(&file, &out)
}

fn out_number(bytes: &mut impl FnMut(&[u8]), number: u64) {
    bytes(&number.to_le_bytes());
}

/// The number of packages, if all that was asked for is there and nothing has changed since.
pub fn check(
    settings: &Settings,
    build_root: &BuildRoot,
    board: &str,
    product: &str,
    packages: &[String],
) -> Option<usize> {
    let text = fs_err::read(build_root.state().join("up-to-date")).ok()?;
    let mut rest = text.strip_prefix(MAGIC)?;
    let mut next = || -> Option<&[u8]> {
        let (length, tail) = rest.split_at_checked(4)?;
        let (field, tail) = tail.split_at_checked(u32::from_le_bytes(length.try_into().ok()?) as usize)?;
        rest = tail;
        Some(field)
    };
    if next()? != question(settings, board, product, packages).0 {
        return None;
    }
    let release = next()?;
    if !release.is_empty() && crate::load::release(&settings.tree().ok()?).as_bytes() != release {
        return None;
    }
    let count = u32::from_le_bytes(next()?.try_into().ok()?) as usize;
    let environment = next()?;
    for pair in environment.split(|&b| b == 0).filter(|pair| !pair.is_empty()) {
        let pair = std::str::from_utf8(pair).ok()?;
        let (name, value) = pair.split_once('=')?;
        if settings.environment.get(name).is_none_or(|now| now != value) {
            return None;
        }
    }
    let names: BTreeSet<&[u8]> = next()?.split(|&b| b == 0).collect();
    if settings.environment.keys().any(|name| !names.contains(name.as_bytes())) {
        return None;
    }
    while let Some(path) = next() {
        let content = next()?;
        let mut numbers = [0; 6];
        for number in &mut numbers {
            *number = u64::from_le_bytes(next()?.try_into().ok()?);
        }
        let now = lstat(path);
        let same = match (now, numbers[5]) {
            (None, mode) => mode == 0,
            (Some(now), 1) => [now[0], now[1], 0, now[3], now[4], 1] == numbers,
            (Some(now), _) => now == numbers,
        };
        if !same {
            log::debug!("changed: {}", String::from_utf8_lossy(path));
            return None;
        }
        if !content.is_empty() {
            let path = Path::new(std::ffi::OsStr::from_bytes(path));
            if Digest::of_file(path).ok()?.0 != content {
                return None;
            }
        }
    }
    Some(count)
}

/// What `lstat` says, in the order of [`crate::filedigest::Stat::numbers`].
fn lstat(path: &[u8]) -> Option<[u64; 6]> {
    let path = CString::new(path).ok()?;
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `path` ends in NUL, `stat` has room for the answer, and is read only when the call says that it was filled.
    let stat = unsafe {
        if libc::lstat(path.as_ptr(), stat.as_mut_ptr()) != 0 {
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
