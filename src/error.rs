//! What can go wrong, as a user reads it: a sentence, where, what to do, and the exit code.
//! Knows no other module.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use nix::unistd::{AccessFlags, access};

/// A result whose error a user can act on.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong; each kind has one documented exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A step of a package failed (exit code 1).
    Build,
    /// What was typed makes no sense: unknown board, product, package, option (exit code 2).
    Usage,
    /// The tree is wrong: a recipe that does not evaluate, a cycle, an unknown dependency (exit code 3).
    Recipe,
    /// A source could not be had: download, checksum, unpacking (exit code 4).
    Fetch,
    /// The machine, the workspace or the store does not allow it: permissions, disk, namespaces (exit code 5).
    Host,
    /// Something newer was found by `check-update` (exit code 10); no error in itself.
    Newer,
    /// Standard output was closed by its reader (exit code 0): nothing to tell anybody.
    Closed,
    /// Everything was told already; only the exit code is left.
    Told(i32),
    /// A defect of `mk` itself (exit code 70).
    Internal,
    /// Stopped by a signal; `main` raises it again so that the shell sees it.
    Interrupted(i32),
}

impl Kind {
    /// The process exit code that stands for this kind.
    pub fn exit_code(self) -> i32 {
        match self {
            Kind::Build => 1,
            Kind::Usage => 2,
            Kind::Recipe => 3,
            Kind::Fetch => 4,
            Kind::Host => 5,
            Kind::Newer => 10,
            Kind::Closed => 0,
            Kind::Told(code) => code,
            Kind::Internal => 70,
            Kind::Interrupted(signal) => 128 + signal,
        }
    }
}

/// An error with its sentence, the lines that say where, and hints that say what to do.
///
/// Printed as `error: MESSAGE`, then one indented line per `at`, then `hint: ...` lines.
#[derive(Debug, Clone)]
pub struct Error {
    /// Decides the exit code.
    pub kind: Kind,
    /// One sentence, lower case, no full stop, names in back-ticks.
    pub message: String,
    /// Where: file and line, log path, call stack; one line each, without indentation.
    pub at: Vec<String>,
    /// What to do, one line each.
    pub hints: Vec<String>,
}

impl Error {
    /// A new error of `kind` with its sentence.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), at: Vec::new(), hints: Vec::new() }
    }

    /// Adds a line that says where.
    #[must_use]
    pub fn at(mut self, line: impl Into<String>) -> Error {
        self.at.push(line.into());
        self
    }

    /// Adds a line that says what to do.
    #[must_use]
    pub fn hint(mut self, line: impl Into<String>) -> Error {
        self.hints.push(line.into());
        self
    }

    /// Puts `context: ` before the sentence, such as the package's name.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Error {
        self.message = format!("{context}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", harmless(&self.message))?;
        for line in &self.at {
            write!(f, "\n  {}", harmless(line))?;
        }
        for hint in &self.hints {
            write!(f, "\nhint: {}", harmless(hint))?;
        }
        Ok(())
    }
}

/// Text without power over the terminal that it is shown on: control characters but newline and tab are written out.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let odd = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(odd) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if odd(c) { clean.extend(c.escape_debug()) } else { clean.push(c) }
    }
    Cow::Owned(clean)
}

impl std::error::Error for Error {}

/// An I/O error is the machine's; `fs_err` has put the path into its text.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        let built = Error::new(Kind::Host, error.to_string());
        // By kind, which stays when `fs_err` adds the path; the number does not.
        match error.kind() {
            std::io::ErrorKind::StorageFull => built.hint("free space on that file system"),
            std::io::ErrorKind::PermissionDenied if cannot_be_read(&built.message) => built.hint(READABLE),
            std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => {
                built.hint("the folder must be writable by the user who runs `mk`")
            }
            _ => built,
        }
    }
}

/// What to do about something that cannot be read.
pub const READABLE: &str = "it must be readable by the user who runs `mk`";

/// Whether a path in an error's text, or the folder above in which it cannot be looked for, must not be read.
fn cannot_be_read(text: &str) -> bool {
    let denied = |path: &str| {
        let there = Path::new(path).ancestors().find_map(|path| Some((path, path.metadata().ok()?)));
        there.is_some_and(|(path, meta)| {
            let needed =
                if meta.is_dir() { AccessFlags::R_OK | AccessFlags::X_OK } else { AccessFlags::R_OK };
            access(path, needed).is_err()
        })
    };
    text.split('`').skip(1).step_by(2).filter(|word| word.starts_with('/')).any(denied)
}

/// The name of `known` that is nearest to `word`, where one is near enough to be a slip of the fingers.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (distance(word, name), name))
        .filter(|&(d, name)| d <= 1 + word.len().max(name.len()) / 4)
        .min()
        .map(|(_, name)| name)
}

/// Edits (insert, delete, replace, swap neighbours) that turn `a` into `b`.
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut least = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_a_strange_word_finds_none() {
        assert_eq!(nearest("opensll", ["openssl", "openssh", "zlib"]), Some("openssl"));
        assert_eq!(nearest("zebra", ["openssl", "openssh"]), None);
    }

    #[test]
    fn what_is_shown_has_no_power_over_the_terminal() {
        assert_eq!(harmless("a\x1b[2J\tb\nc\r\u{9b}"), "a\\u{1b}[2J\tb\nc\\r\\u{9b}");
    }

    #[test]
    fn an_error_prints_sentence_place_and_hint() {
        let e = Error::new(Kind::Recipe, "no such thing")
            .context("`foo`")
            .at("pkg/foo/build:3")
            .hint("try again");
        assert_eq!(e.to_string(), "error: `foo`: no such thing\n  pkg/foo/build:3\nhint: try again");
    }
}
