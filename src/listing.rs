//! Names in a folder listing as servers print it, which of them are another version of a given name, and where a
//! listing is found. Knows `version`; reads no file and asks no server.

use crate::version;

/// Endings of archives; upstreams move from one to another.
const ENDINGS: &[&str] = &[
    ".tar.gz",
    ".tgz",
    ".tar.xz",
    ".txz",
    ".tar.bz2",
    ".tbz2",
    ".tbz",
    ".tar.zst",
    ".tzst",
    ".tar.lz",
    ".tar.lzma",
    ".tar",
    ".zip",
];

/// An archive's name without its ending.
pub fn stem(name: &str) -> &str {
    ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

/// A name with a version in it, and so the form of the names of other versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    before: String,
    after: String,
    /// Whether it is an archive's, whose ending may differ.
    archive: bool,
    /// What stands in the name in place of a separator of the version.
    swapped: Option<(char, char)>,
    version: String,
    lead: String,
}

impl Shape {
    /// The form of `name`, in which `version` stands, perhaps with other separators (`3_7_0`) or without what comes
    /// before its first digit. `None` when it doesn't.
    pub fn of(name: &str, version: &str) -> Option<Shape> {
        let core = version::core(version);
        if !core.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let separators = ['.', '_', '-'];
        let own = core.chars().find(|c| separators.contains(c));
        let others = separators
            .into_iter()
            .filter_map(|there| own.filter(|own| *own != there).map(|own| (there, own)));
        let archive = stem(name) != name;
        std::iter::once(None).chain(others.map(Some)).find_map(|swapped| {
            let text = swapped.map_or(core.to_owned(), |(there, own)| core.replace(own, &there.to_string()));
            let at = occurrence(stem(name), &text)?;
            Some(Shape {
                before: name[..at].to_owned(),
                after: stem(name)[at + text.len()..].to_owned(),
                archive,
                swapped,
                version: version.to_owned(),
                lead: version[..version.len() - core.len()].to_owned(),
            })
        })
    }

    /// The version that stands in `name`, written as the known one is; `None` when the name has another form.
    pub fn version(&self, name: &str) -> Option<String> {
        let bare = stem(name);
        if self.archive != (bare != name) {
            return None;
        }
        let text = bare.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?;
        let text = self.swapped.map_or(text.to_owned(), |(there, own)| text.replace(there, &own.to_string()));
        version::is_like(&text, &self.version).then(|| format!("{}{text}", self.lead))
    }
}

/// Where `number` stands in `name` for itself, not as part of a longer number; the last such place.
fn occurrence(name: &str, number: &str) -> Option<usize> {
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    name.rmatch_indices(number).map(|(at, _)| at).find(|at| {
        !digit(name[..*at].chars().next_back()) && !digit(name[at + number.len()..].chars().next())
    })
}

/// The names in a listing: what its links point to, or every word where it has no links. Folders too, without `/`.
pub fn names(listing: &str) -> Vec<String> {
    let linked = links(listing);
    let mut found: Vec<String> = if linked.is_empty() {
        let ends = |c: char| c.is_whitespace() || "\"'<>,;|()[]{}".contains(c);
        listing.split(ends).filter_map(last_part).collect()
    } else {
        linked.iter().filter_map(|link| last_part(link)).collect()
    };
    found.sort();
    found.dedup();
    found
}

/// The values of all `href`s.
fn links(page: &str) -> Vec<String> {
    let lower = page.to_ascii_lowercase();
    let mut found = Vec::new();
    for (at, word) in lower.match_indices("href") {
        let Some(value) = page[at + word.len()..].trim_start().strip_prefix('=') else { continue };
        let value = value.trim_start();
        let end = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].find(quote).map(|end| &value[1..=end]),
            _ => value.find(|c: char| c.is_whitespace() || c == '>').map(|end| &value[..end]),
        };
        // Without its end it was cut off.
        found.extend(
            end.map(|value| value.replace("&amp;", "&").replace("&#43;", "+").replace("&#x2b;", "+")),
        );
    }
    found
}

/// The name at the end of a link.
fn last_part(link: &str) -> Option<String> {
    let path = link.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    // Where files are offered on a page each, the file's name comes before the last word.
    let path = path.strip_suffix("/download").unwrap_or(path);
    let name = decoded(path.rsplit('/').next().unwrap_or_default());
    (!name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])).then_some(name)
}

/// Without percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).filter(|_| first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A feed of releases: where it is and what is looked for in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// Its addresses, tried in order.
    pub urls: [String; 2],
    /// The page of a tag, less the tag.
    pub page: String,
    /// The tag of the known version.
    pub tag: String,
}

/// The feed that stands in for a listing where the archive `file` in the folder `url` is one of GitHub, which lists no
/// folders.
pub fn feed(url: &str, file: &str) -> Option<Feed> {
    let (scheme, rest) = url.split_once("://")?;
    let rest = rest.strip_prefix("github.com/")?;
    let mut parts = rest.split('/').filter(|part| !part.is_empty());
    let (owner, repository, kind) = (parts.next()?, parts.next()?, parts.next()?);
    let rest: Vec<&str> = parts.collect();
    let tag = match (kind, &rest[..]) {
        ("releases", ["download", tag @ ..]) => tag.join("/"),
        ("archive", ["refs", "tags", tag @ ..] | tag) => tag.join("/"),
        _ => return None,
    };
    let home = format!("{scheme}://github.com/{owner}/{}", repository.trim_end_matches(".git"));
    Some(Feed {
        urls: [format!("{home}/releases.atom"), format!("{home}/tags.atom")],
        page: format!("{home}/releases/tag"),
        tag: if tag.is_empty() { stem(file).to_owned() } else { decoded(&tag) },
    })
}

/// A folder URL one part of which holds the version or its beginning, so that newer ones are in other folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The folder above that part.
    pub parent: String,
    /// The form of that part.
    pub shape: Shape,
    /// What of the version stands in it.
    pub version: String,
    /// Whether that is all of the version.
    pub whole: bool,
    /// What follows below that part, with `/` in front, or nothing.
    pub below: String,
}

/// Finds the version in a folder URL.
pub fn versioned(url: &str, version: &str) -> Option<Versioned> {
    let url = url.trim_end_matches('/');
    let start = url.find("://")? + 3;
    let core = version::core(version);
    let lead = &version[..version.len() - core.len()];
    let fields: Vec<&str> = core.split('.').collect();
    let mut end = url.len();
    while let Some(slash) = url[start..end].rfind('/').map(|at| start + at) {
        let part = &url[slash + 1..end];
        for count in (1..=fields.len()).rev() {
            let text = format!("{lead}{}", fields[..count].join("."));
            let Some(shape) = Shape::of(part, &text) else { continue };
            // A single number may stand for anything, unless nothing else does.
            let alone = shape.before.chars().all(|c| c.is_alphabetic() || "-_".contains(c))
                && ["", ".x"].contains(&&*shape.after);
            if count == 1 && fields.len() > 1 && !(alone && end == url.len()) {
                continue;
            }
            return Some(Versioned {
                parent: url[..slash].to_owned(),
                shape,
                version: text,
                whole: count == fields.len(),
                below: url[end..].to_owned(),
            });
        }
        end = slash;
    }
    None
}

/// The address at which a folder of archives is listed.
pub fn address(folder: &str) -> String {
    let folder = folder.trim_end_matches('/');
    for scheme in ["https", "http"] {
        let host = format!("{scheme}://downloads.sourceforge.net/project/");
        if let Some(rest) = folder.strip_prefix(&host) {
            let (project, path) = rest.split_once('/').unwrap_or((rest, ""));
            return format!("{scheme}://sourceforge.net/projects/{project}/files/{path}/");
        }
    }
    format!("{folder}/")
}
