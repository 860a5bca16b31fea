//! Package archives, as bytes: `.ipk` and `.opk` for opkg, `.spk` for Synology's package centre, and the index of a feed.
//! The same content makes the same bytes. Knows what a package holds and says of itself, not where that comes from.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest as _, Md5};
use tar::{EntryType, Header};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::image::{Listed, Listing};

/// Files, folders, links and devices by their paths, which begin with no `/`.
#[derive(Debug, Default, Clone)]
pub struct Content {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    what: What,
    mode: u32,
    uid: u64,
    gid: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Folder,
    File { path: PathBuf, size: u64 },
    Text(Vec<u8>),
    Link(PathBuf),
    Device { character: bool, major: u32, minor: u32 },
}

/// Shell text that makes the users and groups of a file `accounts`, for a script that runs before a package's files are
/// there. Numbers are those that the files have, so one that another has is an error. `time`: of the password, in seconds.
///
/// Package managers that install into a folder name it in different variables: opkg, OpenWrt, Yocto, dpkg.
pub fn accounts(text: &str, time: u64) -> String {
    let mut script = String::from(
        r#"root="${PKG_ROOT:-${IPKG_INSTROOT:-${D:-$DPKG_ROOT}}}"
root="${root%/}"
entry() { # FILE NAME NUMBER LINE
	grep -q "^$2:[^:]*:$3:" "$root/etc/$1" 2>/dev/null && return
	if grep -q -e "^$2:" -e "^[^:]*:[^:]*:$3:" "$root/etc/$1" 2>/dev/null; then
		echo "the name $2 or the number $3 is another's in $root/etc/$1" >&2
		exit 1
	fi
	mkdir -p "$root/etc" && echo "$4" >>"$root/etc/$1" || exit 1
}
member() { # GROUP USER
	grep -qE "^$1:.*[:,]$2(,|\$)" "$root/etc/group" ||
		sed -i "/^$1:/{s/[^:]\$/&,/;s/\$/$2/}" "$root/etc/group" || exit 1
}
password() { # USER
	[ ! -e "$root/etc/shadow" ] || grep -q "^$1:" "$root/etc/shadow" ||
"#,
    );
    script +=
        &format!("\t\techo \"$1:*:{}:0:99999:7:::\" >>\"$root/etc/shadow\" || exit 1\n}}\n", time / 86_400);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [kind, name, number, rest @ ..] = words.as_slice() else { continue };
        script += &format!("entry group {name} {number} '{name}:x:{number}:'\n");
        if *kind == "user" {
            let line = format!("{name}:x:{number}:{number}::{}", rest.join(":"));
            script += &format!("entry passwd {name} {number} '{line}'\npassword {name}\n");
        } else {
            script.extend(rest.iter().map(|member| format!("member {name} {member}\n")));
        }
    }
    script
}

/// Of what a folder is that nobody lists, but that listed files are in.
const FOLDER: Entry = Entry { what: What::Folder, mode: 0o755, uid: 0, gid: 0 };

impl Content {
    /// Takes what a list names from a deploy folder. Errors: it is not there, or is neither file, folder nor link.
    pub fn of_image(deploy: &Path, listed: &BTreeMap<String, Listed>) -> Result<Content> {
        let mut content = Content::default();
        for (path, listed) in listed {
            let what = match listed.kind {
                Listing::Folder => What::Folder,
                Listing::Device { character, major, minor } => What::Device { character, major, minor },
                Listing::Deployed => deployed(deploy, path)?,
            };
            content.add(path, Entry { what, mode: listed.mode, uid: listed.uid, gid: listed.gid });
        }
        Ok(content)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Leaves out a path.
    pub fn remove(&mut self, path: &str) {
        self.entries.remove(path);
    }

    /// Adds a text as a file of root's.
    pub fn add_text(&mut self, path: &str, text: impl Into<Vec<u8>>, mode: u32) {
        self.add(path, Entry { what: What::Text(text.into()), mode, uid: 0, gid: 0 });
    }

    /// Adds what another package holds. The first path that both have and that differs is returned.
    pub fn merge(&mut self, other: &Content) -> Option<String> {
        for (path, entry) in &other.entries {
            match self.entries.get(path) {
                Some(there) if !there.is_same(entry) => return Some(path.clone()),
                _ => self.add(path, entry.clone()),
            }
        }
        None
    }

    fn add(&mut self, path: &str, entry: Entry) {
        for (at, _) in path.match_indices('/') {
            self.entries.entry(path[..at].to_owned()).or_insert(FOLDER);
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Paths of regular files, in order.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let is_file = |entry: &Entry| matches!(entry.what, What::File { .. } | What::Text(_));
        self.entries.iter().filter(move |(_, entry)| is_file(entry)).map(|(path, _)| path.as_str())
    }

    /// Paths of files and links, in order.
    pub fn files_and_links(&self) -> impl Iterator<Item = &str> {
        let is_it = |entry: &Entry| !matches!(entry.what, What::Folder | What::Device { .. });
        self.entries.iter().filter(move |(_, entry)| is_it(entry)).map(|(path, _)| path.as_str())
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        let size = |entry: &Entry| match &entry.what {
            What::File { size, .. } => *size,
            What::Text(text) => text.len() as u64,
            _ => 0,
        };
        self.entries.values().map(size).sum()
    }

    /// The tar archive; `before` is put before every path, and as a folder of its own if it is not empty.
    fn tar<W: Write>(&self, before: &str, time: u64, into: W) -> Result<W> {
        let mut tar = tar::Builder::new(into);
        if !before.is_empty() {
            append(&mut tar, before, &FOLDER, time)?;
        }
        for (path, entry) in &self.entries {
            let slash = if entry.what == What::Folder { "/" } else { "" };
            append(&mut tar, &format!("{before}{path}{slash}"), entry, time)?;
        }
        Ok(tar.into_inner()?)
    }

    /// The same, compressed.
    fn tar_gz(&self, before: &str, time: u64) -> Result<Vec<u8>> {
        Ok(self.tar(before, time, GzEncoder::new(Vec::new(), Compression::best()))?.finish()?)
    }
}

impl Entry {
    /// Whether two packages mean the same by one path.
    fn is_same(&self, other: &Entry) -> bool {
        let content = match (&self.what, &other.what) {
            (What::File { path, .. }, What::File { path: other, .. }) => {
                matches!((fs_err::read(path), fs_err::read(other)), (Ok(a), Ok(b)) if a == b)
            }
            (what, other) => what == other,
        };
        content && (self.mode, self.uid, self.gid) == (other.mode, other.uid, other.gid)
    }
}

/// What a deploy folder has by a listed path. No link on the way there is followed.
fn deployed(deploy: &Path, path: &str) -> Result<What> {
    let wrong = |what: &str| Error::new(Kind::Recipe, format!("`/{path}` is listed for the image, {what}"));
    for (at, _) in path.match_indices('/') {
        if deploy.join(&path[..at]).is_symlink() {
            return Err(wrong(&format!("but `/{}` is a link", &path[..at])));
        }
    }
    let here = deploy.join(path);
    let Ok(meta) = here.symlink_metadata() else { return Err(wrong("but not deployed")) };
    match meta.file_type() {
        kind if kind.is_dir() => Ok(What::Folder),
        kind if kind.is_symlink() => Ok(What::Link(fs_err::read_link(here)?)),
        kind if kind.is_file() => Ok(What::File { path: here, size: meta.len() }),
        _ => Err(wrong("and is neither file, folder nor link")),
    }
}

/// Longest path or link that a header has room for.
const SHORT: usize = 100;

fn append<W: Write>(tar: &mut tar::Builder<W>, path: &str, entry: &Entry, time: u64) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let mut header = Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(entry.uid);
    header.set_gid(entry.gid);
    header.set_mtime(time);
    header.set_size(0);
    let mut target: &[u8] = &[];
    let kind = match &entry.what {
        What::Folder => EntryType::Directory,
        What::File { .. } | What::Text(_) => EntryType::Regular,
        What::Link(to) => {
            header.set_mode(0o777);
            target = to.as_os_str().as_bytes();
            EntryType::Symlink
        }
        What::Device { character, major, minor } => {
            header.set_device_major(*major)?;
            header.set_device_minor(*minor)?;
            if *character { EntryType::Char } else { EntryType::Block }
        }
    };
    header.set_entry_type(kind);
    for (kind, text) in [(EntryType::GNULongName, path.as_bytes()), (EntryType::GNULongLink, target)] {
        if text.len() > SHORT {
            let mut long = Header::new_gnu();
            long.as_old_mut().name[..13].copy_from_slice(b"././@LongLink");
            long.set_entry_type(kind);
            long.set_size(text.len() as u64 + 1);
            long.set_cksum();
            tar.append(&long, [text, b"\0"].concat().as_slice())?;
        }
    }
    let fields = header.as_old_mut();
    for (field, text) in [(&mut fields.name, path.as_bytes()), (&mut fields.linkname, target)] {
        let length = text.len().min(SHORT);
        field[..length].copy_from_slice(&text[..length]);
    }
    match &entry.what {
        What::File { path, size } => {
            header.set_size(*size);
            header.set_cksum();
            tar.append(&header, fs_err::File::open(path)?)?;
        }
        What::Text(text) => {
            header.set_size(text.len() as u64);
            header.set_cksum();
            tar.append(&header, text.as_slice())?;
        }
        _ => {
            header.set_cksum();
            tar.append(&header, std::io::empty())?;
        }
    }
    Ok(())
}

/// `KEY: VALUE` lines in their order; values that are empty are left out, and each is one line.
pub fn fields(fields: &[(&str, String)]) -> String {
    let line = |(key, value): &(&str, String)| {
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        if value.is_empty() { String::new() } else { format!("{key}: {value}\n") }
    };
    fields.iter().map(line).collect()
}

/// A package of opkg's: an `ar` archive as dpkg's are. `control` holds `control` itself and the maintainer scripts.
pub fn ipk(control: &Content, data: &Content, time: u64) -> Result<Vec<u8>> {
    let mut archive = b"!<arch>\n".to_vec();
    let control = control.tar_gz("./", time)?;
    let data = data.tar_gz("./", time)?;
    let members: [(&str, &[u8]); 3] =
        [("debian-binary", b"2.0\n"), ("control.tar.gz", &control), ("data.tar.gz", &data)];
    for (name, bytes) in members {
        let (mode, size) = ("100644", bytes.len());
        archive.extend(format!("{name:<16}{time:<12}{0:<6}{0:<6}{mode:<8}{size:<10}`\n", 0).bytes());
        archive.extend(bytes);
        if size % 2 == 1 {
            archive.push(b'\n');
        }
    }
    Ok(archive)
}

/// A package of Synology's: a plain tar archive of `INFO`, `package.tgz` and what else is in `outer`.
/// `info` is given the digest of `package.tgz`.
pub fn spk(outer: &Content, data: &Content, info: impl FnOnce(&str) -> String, time: u64) -> Result<Vec<u8>> {
    let package = data.tar_gz("", time)?;
    let mut first = Content::default();
    first.add_text("INFO", info(&md5(&package)), 0o644);
    first.add_text("package.tgz", package, 0o644);
    let mut tar = first.tar("", time, Vec::new())?;
    // Two archives one after another are one, without the first one's end.
    tar.truncate(tar.len() - 1024);
    outer.tar("", time, tar)
}

/// MD5 in hexadecimal, which both forms still ask for.
fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the index of a feed says of an archive: its control fields, and where and what it is.
pub fn stanza(control: &str, file: &str, archive: &[u8]) -> String {
    let more = [
        ("Filename", file.to_owned()),
        ("Size", archive.len().to_string()),
        ("MD5Sum", md5(archive)),
        ("SHA256sum", Digest::of(archive).to_string()),
    ];
    control.to_owned() + &fields(&more)
}

/// The stanzas of an index by the packages' names.
pub fn stanzas(index: &str) -> BTreeMap<String, String> {
    let stanzas = index.split("\n\n").map(str::trim).filter(|stanza| !stanza.is_empty());
    stanzas.filter_map(|stanza| Some((field(stanza, "Package")?.to_owned(), format!("{stanza}\n")))).collect()
}

/// A field of a stanza.
pub fn field<'a>(stanza: &'a str, key: &str) -> Option<&'a str> {
    stanza.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
}

/// The index of these stanzas, and the same compressed.
pub fn index(stanzas: &BTreeMap<String, String>) -> Result<(Vec<u8>, Vec<u8>)> {
    let text = stanzas.values().map(|stanza| format!("{stanza}\n")).collect::<String>().into_bytes();
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    gz.write_all(&text)?;
    Ok((text, gz.finish()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_read_as_it_is_written() {
        let one = stanza("Package: b\nVersion: 1-1\n", "b_1-1_all.ipk", b"bytes");
        let two = stanza("Package: a\nVersion: 2-1\n", "a_2-1_all.ipk", b"");
        let all = BTreeMap::from([("b".to_owned(), one.clone()), ("a".to_owned(), two)]);
        let (text, _) = index(&all).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.starts_with("Package: a\nVersion: 2-1\nFilename: a_2-1_all.ipk\nSize: 0\nMD5Sum: d41d8")
        );
        assert_eq!(stanzas(&text), all);
        assert_eq!(field(&one, "Filename"), Some("b_1-1_all.ipk"));
        assert_eq!(field(&one, "File"), None);
    }

    #[test]
    fn values_are_one_line_and_empty_ones_are_left_out() {
        let text = fields(&[("A", " b\n c ".to_owned()), ("B", String::new())]);
        assert_eq!(text, "A: b c\n");
    }

    #[test]
    fn what_two_packages_have_must_be_the_same() {
        let mut one = Content::default();
        one.add_text("etc/a", "x", 0o644);
        let mut two = one.clone();
        two.add_text("etc/b", "y", 0o644);
        assert_eq!(one.merge(&two), None);
        assert_eq!(one.files().collect::<Vec<_>>(), ["etc/a", "etc/b"]);
        two.add_text("etc/b", "z", 0o644);
        assert_eq!(one.merge(&two), Some("etc/b".to_owned()));
    }
}
