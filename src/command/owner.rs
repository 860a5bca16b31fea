//! `mk owner`: which package put a file into the image, or has it among what it deployed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use crate::config::{Format, Settings};
use crate::error::{Error, Kind, Result};
use crate::layout::BuildRoot;
use crate::names::PackageName;
use crate::store::Entry;
use crate::{image, load, output};

/// Whose is it?
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Path in the image
    path: String,
    /// Build root to look in [default: the one built last]
    #[arg(long, value_name = "BOARD-PRODUCT")]
    build: Option<String>,
}

/// The stable form of one answer.
#[derive(Debug, Serialize)]
struct Owner<'a> {
    package: &'a PackageName,
    version: &'a str,
    /// Path below the image's root, links on the way followed.
    path: String,
    /// Whether it is in the image, or only in the package's deploy folder.
    image: bool,
    /// What `rootfs_files.txt` says of it: kind, mode, uid, gid.
    #[serde(skip_serializing_if = "Option::is_none")]
    definition: Option<String>,
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let root = super::choose_build_root(settings, options.build.as_deref())?;
    let results = super::files::results(settings, &root);
    let lists = lists(settings, &root, &results);
    let path = resolve(&options.path, &lists, &results);
    let mut owners: Vec<Owner> = owners_of(&path, &lists, &results)
        .into_iter()
        .map(|name| Owner {
            package: name,
            version: &results[name].meta.version,
            path: path.clone(),
            image: true,
            definition: lists[name].get(&path).cloned(),
        })
        .collect();
    if owners.is_empty() {
        let plain = options.path.trim_matches('/').to_owned();
        for (name, entry) in &results {
            let found = [&path, &plain].into_iter().find(|path| is_below(&entry.deploy(), path));
            if let (Some(path), false) = (found, plain.is_empty()) {
                owners.push(Owner {
                    package: name,
                    version: &entry.meta.version,
                    path: path.clone(),
                    image: false,
                    definition: None,
                });
            }
        }
    }
    if owners.is_empty() {
        return Err(unknown(&options.path, &root, &results));
    }
    if settings.format == Format::Json {
        return output::json(&serde_json::json!({ "build": root.name(), "owners": owners }));
    }
    let rows: Vec<Vec<String>> = owners
        .iter()
        .map(|owner| {
            let what = if owner.image { String::new() } else { "deployed, but not in the image".to_owned() };
            vec![
                format!("{} {}", owner.package, owner.version).trim_end().to_owned(),
                format!("/{}", owner.path),
                what,
            ]
        })
        .collect();
    output::data(&output::table(&rows))
}

/// What each package of the root filesystem lists, by path.
pub type Lists<'a> = BTreeMap<&'a PackageName, BTreeMap<String, String>>;

/// Reads these lists.
pub fn lists<'a>(
    settings: &Settings,
    root: &BuildRoot,
    results: &'a BTreeMap<PackageName, Entry>,
) -> Lists<'a> {
    let members = image_packages(settings, root);
    results
        .iter()
        .filter(|(name, _)| members.as_ref().is_none_or(|members| members.contains(name.as_str())))
        .map(|(name, entry)| (name, image::lines(&entry.deploy())))
        .collect()
}

/// The packages that put a path into the image: those that list it, fallbacks only where nobody else does.
pub fn owners_of<'a>(
    path: &str,
    lists: &Lists<'a>,
    results: &BTreeMap<PackageName, Entry>,
) -> Vec<&'a PackageName> {
    let owners = lists.iter().filter(|(_, list)| list.contains_key(path)).map(|(name, _)| *name);
    let (fallbacks, firm): (Vec<_>, Vec<_>) =
        owners.partition(|name| image::is_fallback(&results[*name].deploy(), path));
    if firm.is_empty() { fallbacks } else { firm }
}

/// Whether a folder has a path, without leaving it by `..` or by a link.
fn is_below(folder: &Path, path: &str) -> bool {
    let file = folder.join(path);
    let Some(beside) = file.file_name().and(file.parent()) else { return false };
    let inside = match (folder.canonicalize(), beside.canonicalize()) {
        (Ok(folder), Ok(beside)) => beside.starts_with(folder),
        _ => false,
    };
    inside && file.symlink_metadata().is_ok()
}

/// Packages of the root filesystem, where the tree can be found: board and product are known by the build root's name.
fn image_packages(settings: &Settings, root: &BuildRoot) -> Option<BTreeSet<String>> {
    let tree = settings.tree().ok()?;
    let (board, product) = super::target_of(&tree, root)?;
    let names = load::root_filesystem(&tree, &board, &product);
    (!names.is_empty()).then_some(names)
}

/// The path with the image's links followed, but not the last name's own: `/usr/bin/x` is `bin/x` where `usr` leads to `.`.
fn resolve(path: &str, lists: &Lists<'_>, results: &BTreeMap<PackageName, Entry>) -> String {
    let mut rest: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let mut done: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        match name.as_str() {
            "" | "." => continue,
            ".." => drop(done.pop()),
            _ => {
                done.push(name);
                let here = done.join("/");
                let owner =
                    lists.iter().find(|(_, list)| list.contains_key(&here)).map(|(name, _)| &results[*name]);
                let target = owner.and_then(|entry| std::fs::read_link(entry.deploy().join(&here)).ok());
                let Some(target) = target.filter(|_| links < 40 && rest.iter().any(|name| !name.is_empty()))
                else {
                    continue;
                };
                links += 1;
                done.pop();
                if target.is_absolute() {
                    done.clear();
                }
                rest.extend(target.to_string_lossy().split('/').rev().map(str::to_owned));
            }
        }
    }
    done.join("/")
}

/// Nobody has it: are there files of that name elsewhere?
fn unknown(path: &str, root: &BuildRoot, results: &BTreeMap<PackageName, Entry>) -> Error {
    let error = Error::new(Kind::Usage, format!("no package of `{}` has `{path}`", root.name()));
    let Some(name) = Path::new(path).file_name() else { return error };
    let mut error = error;
    let mut shown = 0;
    for (package, entry) in results {
        for file in
            walkdir::WalkDir::new(entry.deploy()).min_depth(1).sort_by_file_name().into_iter().flatten()
        {
            if file.file_name() == name && shown < 5 {
                let below = file.path().strip_prefix(entry.deploy()).unwrap_or(file.path());
                error = error.hint(format!("`{package}` has `/{}`", below.display()));
                shown += 1;
            }
        }
    }
    error
}
