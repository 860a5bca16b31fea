//! Names of packages, boards, products and steps, checked once where they enter. Knows only `error`.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};

/// The name of a package: a folder of `pkg/`.
///
/// Letters, digits, `.`, `_`, `+`, `-`; it starts with none of `.`, `-`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName(Arc<str>);

impl PackageName {
    /// Takes a name from a recipe, a configuration file or the command line.
    pub fn new(text: &str) -> Result<PackageName> {
        check("package", text)?;
        Ok(PackageName(text.into()))
    }

    /// Stands for a package until it is known which one.
    pub fn unknown() -> PackageName {
        PackageName("unknown".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Most characters of a name: with what is put around it, it is to be one of a file.
const LONGEST: usize = 200;

/// Refuses what cannot be the name of a `what` (package, board, product).
pub fn check(what: &str, text: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-@".contains(c);
    if text.len() > LONGEST {
        return Err(Error::new(
            Kind::Usage,
            format!("`{}` is too long for the name of a {what}", text.escape_debug()),
        )
        .hint(format!("names have at most {LONGEST} characters")));
    }
    if text.is_empty() || text.starts_with(['.', '-']) || !text.chars().all(plain) {
        return Err(Error::new(
            Kind::Usage,
            format!("`{}` cannot be the name of a {what}", text.escape_debug()),
        )
        .hint("names are made of letters, digits, `.`, `_`, `+`, `-`, `@` and start with none of `.`, `-`"));
    }
    Ok(())
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for PackageName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for PackageName {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for PackageName {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<PackageName, D::Error> {
        PackageName::new(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// A step of a recipe that runs and has a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Patches the unpacked source.
    Prepare,
    /// Compiles in a fresh folder.
    Build,
    /// Installs into the deploy folder.
    Deploy,
}

impl Step {
    /// All steps in the order in which they run.
    pub const ALL: [Step; 3] = [Step::Prepare, Step::Build, Step::Deploy];

    /// The name of the recipe's function.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Prepare => "prepare",
            Step::Build => "build",
            Step::Deploy => "deploy",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_escape_or_confuse_are_refused() {
        for bad in ["", "..", ".x", "-rf", "a b", "a/b", "a\nb", "a\u{1b}[0m", "é"] {
            assert!(PackageName::new(bad).is_err(), "{bad:?}");
        }
        for good in ["zlib", "libstdc++", "gtk+-3.0", "release-qemu-x86_64", "0ad"] {
            assert_eq!(PackageName::new(good).unwrap().as_str(), good);
        }
    }
}
