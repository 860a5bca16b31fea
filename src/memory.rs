//! What a run found out about its packages, kept in the build root: where little has changed since, the next run asks bash
//! about that alone, and of the rest it knows the results.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk::write_atomically;
use crate::error::Result;
use crate::evaluate::Evaluation;
use crate::evaluated::Evaluated;
use crate::filedigest::Seen;
use crate::layout::BuildRoot;
use crate::names::PackageName;
use crate::plan::Found;

/// What is known of those packages that nothing which changed matters to.
#[derive(Debug)]
pub struct Memory {
    /// What bash said of them, and of the configuration.
    pub evaluation: Evaluation,
    /// `OS_RELEASE`, where a recipe names it.
    pub release: Option<String>,
    /// Their results.
    pub standing: BTreeMap<PackageName, Found>,
    /// What matters to them, as it was and is.
    pub seen: Vec<(PathBuf, Seen)>,
    /// Before anything was looked at.
    pub began: SystemTime,
}

#[derive(Serialize, Deserialize)]
struct Saved<'a> {
    host: Cow<'a, str>,
    environment: Cow<'a, Evaluated>,
    release: Option<Cow<'a, str>>,
    packages: Vec<(PackageName, Cow<'a, Evaluated>, Cow<'a, Found>)>,
}

fn file(build_root: &BuildRoot) -> PathBuf {
    build_root.state().join("memory")
}

/// Saves what is known of `packages`; the digest says later that it is still that.
pub fn save<'a>(
    build_root: &BuildRoot,
    host: &str,
    environment: &Evaluated,
    release: Option<&str>,
    packages: impl Iterator<Item = (&'a PackageName, &'a Evaluated, &'a Found)>,
) -> Result<Digest> {
    let packages = packages
        .map(|(name, evaluated, found)| (name.clone(), Cow::Borrowed(evaluated), Cow::Borrowed(found)));
    let saved = Saved {
        host: host.into(),
        environment: Cow::Borrowed(environment),
        release: release.map(Into::into),
        packages: packages.collect(),
    };
    let bytes = postcard::to_stdvec(&saved).map_err(std::io::Error::other)?;
    write_atomically(&file(build_root), &bytes)?;
    Ok(Digest::of(&bytes))
}

/// What was saved and has that digest, but for the packages in `affected`; `None` where it is not there any more.
pub fn recall(build_root: &BuildRoot, digest: &Digest, affected: &BTreeSet<PackageName>) -> Option<Memory> {
    let bytes = fs_err::read(file(build_root)).ok().filter(|bytes| Digest::of(bytes) == *digest)?;
    let saved: Saved<'_> = postcard::from_bytes(&bytes).ok()?;
    let mut evaluation = Evaluation {
        host: saved.host.into_owned(),
        environment: saved.environment.into_owned(),
        ..Evaluation::default()
    };
    let mut standing = BTreeMap::new();
    for (name, evaluated, found) in saved.packages.into_iter().filter(|(name, ..)| !affected.contains(name)) {
        evaluation.recipes.insert(name.clone(), evaluated.into_owned());
        standing.insert(name, found.into_owned());
    }
    let release = saved.release.map(Cow::into_owned);
    Some(Memory { evaluation, release, standing, seen: Vec::new(), began: SystemTime::UNIX_EPOCH })
}
