//! What of a package goes into the root filesystem: `rootfs_files.txt`, whose lines are squashfs pseudo file
//! definitions. Knows `error`; not what the list is for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};

/// Name of the list in a deploy folder.
pub const LIST: &str = "rootfs_files.txt";

/// One line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is about.
    pub kind: Listing,
    /// Permission bits; of no meaning for a link.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
}

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// `m`: a file, folder or link of the deploy folder.
    Deployed,
    /// `d`: an empty folder.
    Folder,
    /// `c` or `b`: a device node.
    Device {
        /// Rather a character than a block device.
        character: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// Lists of the binary packages that a recipe makes, by name; none where it makes one alone. In these packages is all
/// that was deployed, whether or not it goes into the image.
pub fn binary_packages(deploy: &Path) -> BTreeMap<String, PathBuf> {
    let entries = std::fs::read_dir(deploy.join("binary_packages")).into_iter().flatten().flatten();
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect()
}

/// Whether a binary package serves development alone, by its name: nothing of it goes into the image.
pub fn is_extra(name: &str) -> bool {
    ["-dev", "-doc", "-dbg"].iter().any(|end| name.ends_with(end))
}

/// What a package's list names: paths below the image's root, with the rest of each line.
pub fn lines(deploy: &Path) -> BTreeMap<String, String> {
    lines_of(&deploy.join(LIST))
}

fn lines_of(list: &Path) -> BTreeMap<String, String> {
    let text = fs_err::read(list).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter_map(definition).collect()
}

/// What a list names, understood. Errors name the line.
pub fn listed(list: &Path) -> Result<BTreeMap<String, Listed>> {
    let understood = |(path, rest): (String, String)| match understand(&rest) {
        Some(_) if path.split('/').any(|part| part == "..") => {
            Err(Error::new(Kind::Recipe, format!("{LIST}: `{path}` leads out of the image")))
        }
        Some(listed) => Ok((path, listed)),
        None => Err(Error::new(Kind::Recipe, format!("{LIST}: no meaning in an image: `{path} {rest}`"))),
    };
    lines_of(list).into_iter().map(understood).collect()
}

/// Whether a path of the image gives way where another package has it too: `rootfs_fallbacks.txt` names it, or a folder
/// above it.
pub fn is_fallback(deploy: &Path, path: &str) -> bool {
    let text = fs_err::read(deploy.join("rootfs_fallbacks.txt")).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| Some(definition(&format!("{line} "))?.0))
        .any(|listed| Path::new(path).starts_with(listed))
}

/// `PATH REST` of a definition, in which a backslash protects spaces.
fn definition(line: &str) -> Option<(String, String)> {
    let mut path = String::new();
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => path.push(chars.next()?.1),
            ' ' | '\t' => {
                let path = path.trim_matches('/').to_owned();
                return (!path.is_empty()).then(|| (path, line[at..].trim().to_owned()));
            }
            c => path.push(c),
        }
    }
    None
}

/// `m MODE UID GID`, `d MODE UID GID`, `c|b MODE UID GID MAJOR MINOR`.
fn understand(rest: &str) -> Option<Listed> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let [kind, mode, uid, gid, more @ ..] = words.as_slice() else { return None };
    let kind = match (*kind, more) {
        ("m", []) => Listing::Deployed,
        ("d", []) => Listing::Folder,
        ("c" | "b", [major, minor]) => Listing::Device {
            character: *kind == "c",
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        },
        _ => return None,
    };
    let number = |text: &str| if text == "root" { Some(0) } else { text.parse().ok() };
    let mode = u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777)?;
    Some(Listed { kind, mode, uid: number(uid)?, gid: number(gid)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_read_with_protected_spaces() {
        assert_eq!(definition("bin/a\\ b m 755 0 0"), Some(("bin/a b".into(), "m 755 0 0".into())));
        assert_eq!(definition("/dev/null c 666 0 0 1 3"), Some(("dev/null".into(), "c 666 0 0 1 3".into())));
        assert_eq!(definition(""), None);
        assert_eq!(definition("alone"), None);
    }

    #[test]
    fn definitions_are_understood_or_refused() {
        let of = |kind, mode, uid, gid| Some(Listed { kind, mode, uid, gid });
        assert_eq!(understand("m 4755 0 5"), of(Listing::Deployed, 0o4755, 0, 5));
        assert_eq!(understand("d 1777 root root"), of(Listing::Folder, 0o1777, 0, 0));
        let null = Listing::Device { character: true, major: 1, minor: 3 };
        assert_eq!(understand("c 666 0 0 1 3"), of(null, 0o666, 0, 0));
        for wrong in ["m 789 0 0", "m 755 0", "c 666 0 0 1", "x 755 0 0", "m 755 nobody 0", "m 77777 0 0"] {
            assert_eq!(understand(wrong), None, "{wrong}");
        }
    }
}
