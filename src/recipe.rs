//! A recipe as the driver needs it: the contract's variables, checked. Knows `evaluated`, not how that came about.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::evaluated::{Evaluated, Function};
use crate::names::{PackageName, Step};

/// A package's recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recipe {
    /// The package.
    pub name: PackageName,
    /// What bash made of it.
    pub evaluated: Evaluated,
    /// The archive, for packages that have one.
    pub source: Option<Source>,
    /// Packages that are built first, sorted, each once.
    pub depends: Vec<PackageName>,
}

/// Where a package's source comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `TARBALL`: the archive's file name.
    pub file: String,
    /// `URL`s as written, in order.
    pub urls: Vec<String>,
    /// Accepted digests of the archive.
    pub digests: Vec<Digest>,
    /// `SRCDIR`: names that the archive's top folder may have; the room shows it by the first.
    pub folders: Vec<String>,
}

/// Variables that a recipe speaks to the driver with.
pub const CONTRACT: &[&str] = &["VERSION", "URL", "TARBALL", "SHA256SUM", "SRCDIR", "DEPENDS"];

impl Recipe {
    /// Checks what a recipe says. Errors name the recipe and the variable.
    pub fn new(name: PackageName, evaluated: Evaluated) -> Result<Recipe> {
        let (source, depends) = Recipe::check(&name, &evaluated)?;
        Ok(Recipe { name, evaluated, source, depends })
    }

    /// The archive and the dependencies that a recipe says.
    pub fn check(name: &PackageName, evaluated: &Evaluated) -> Result<(Option<Source>, Vec<PackageName>)> {
        let wrong = |text: String| Error::new(Kind::Recipe, format!("pkg/{name}/build: {text}"));
        for variable in CONTRACT {
            if evaluated.variables.get(*variable).is_some_and(crate::evaluated::Variable::is_array) {
                return Err(wrong(format!(
                    "{variable} is an array; it must be one word or words separated by spaces"
                )));
            }
        }
        let mut depends = Vec::new();
        for word in evaluated.get("DEPENDS").split_whitespace() {
            let need = PackageName::new(word).map_err(|e| wrong(format!("DEPENDS: {}", e.message)))?;
            if need == *name {
                return Err(wrong("DEPENDS names the package itself".to_owned()));
            }
            depends.push(need);
        }
        depends.sort();
        depends.dedup();
        let source = match evaluated.get("TARBALL").trim() {
            "" => None,
            file => Some(source(file, evaluated).map_err(|e| e.context(format!("pkg/{name}/build")))?),
        };
        Ok((source, depends))
    }

    /// `VERSION`, or nothing.
    pub fn version(&self) -> &str {
        self.evaluated.get("VERSION").trim()
    }

    /// `DESCRIPTION`: one line on what the package is.
    pub fn description(&self) -> &str {
        self.evaluated.get("DESCRIPTION").trim()
    }

    /// `HOSTTOOLS`: programs of this machine that the recipe runs.
    pub fn host_tools(&self) -> impl Iterator<Item = &str> {
        self.evaluated.get("HOSTTOOLS").split_whitespace()
    }

    /// Folders below the tree of other packages whose recipes this one sources: its functions may go there for files.
    pub fn other_folders(&self) -> BTreeSet<PathBuf> {
        let own = Path::new("pkg").join(self.name.as_str());
        let recipes = self.evaluated.sources.iter().filter(|path| path.ends_with("build"));
        let folders = recipes.filter_map(|path| path.parent().map(Path::to_owned));
        folders.filter(|path| path.parent() == Some(Path::new("pkg")) && *path != own).collect()
    }

    /// The function that does a step, unless it is missing or does nothing.
    pub fn function(&self, step: Step) -> Option<&Function> {
        self.evaluated.functions.get(step.as_str()).filter(|function| !does_nothing(&function.text))
    }

    /// All functions, for the key.
    pub fn functions(&self) -> &BTreeMap<String, Function> {
        &self.evaluated.functions
    }
}

/// Whether a function, as bash prints it, holds nothing but `:`, `true` or `return`.
pub(crate) fn does_nothing(text: &str) -> bool {
    // One with a redirection behind its brace at least makes a file.
    let body = text.trim_end().strip_suffix('}').and_then(|rest| rest.split_once('{'));
    let Some((_, body)) = body else { return false };
    body.lines()
        .map(|line| line.trim().trim_end_matches(';'))
        .all(|line| matches!(line, "" | ":" | "true" | "return" | "return 0"))
}

fn source(file: &str, evaluated: &Evaluated) -> Result<Source> {
    let wrong = |text: String| Error::new(Kind::Recipe, text);
    if file.contains('/')
        || file.starts_with('.')
        || file.chars().any(|c| c.is_control() || c.is_whitespace())
    {
        return Err(wrong(format!("TARBALL `{}` is no file name", file.escape_debug())));
    }
    let words = |name: &str| evaluated.get(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut digests = Vec::new();
    for word in words("SHA256SUM") {
        digests.push(word.parse().map_err(|e: Error| wrong(format!("SHA256SUM: {}", e.message)))?);
    }
    if digests.is_empty() {
        return Err(wrong(format!("TARBALL is `{file}` but SHA256SUM is not set"))
            .hint("SHA256SUM holds the archive's SHA-256 digest, as `sha256sum FILE` prints it"));
    }
    let folders = words("SRCDIR");
    if folders.is_empty() {
        return Err(wrong(format!("TARBALL is `{file}` but SRCDIR is not set"))
            .hint("SRCDIR names the archive's top folder"));
    }
    for folder in &folders {
        let odd = |part: &str| part.is_empty() || part == "..";
        if folder.starts_with('/') || folder.split('/').any(odd) {
            return Err(wrong(format!("SRCDIR `{}` is no folder inside an archive", folder.escape_debug())));
        }
    }
    Ok(Source { file: file.to_owned(), urls: words("URL"), digests, folders })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_without_work_are_seen_as_missing() {
        assert!(does_nothing("prepare () \n{ \n    return\n}\n"));
        assert!(does_nothing("prepare () \n{ \n    :\n}\n"));
        assert!(!does_nothing("prepare () \n{ \n    apply_patches\n}\n"));
        assert!(!does_nothing("prepare () \n{ \n    return 1\n}\n"));
        assert!(!does_nothing("build () \n{ \n    make\n} 2>&1\n"));
    }
}
