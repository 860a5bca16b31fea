//! `mk files`: what a package deployed, and what of it the image has.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::{Format, Settings};
use crate::error::{Error, Kind, Result, nearest};
use crate::layout::BuildRoot;
use crate::names::PackageName;
use crate::store::{Entry, Store};
use crate::{image, output, units};

use super::owner;

/// Whose files.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The package
    package: String,
    /// Build root to look in [default: the one built last]
    #[arg(long, value_name = "BOARD-PRODUCT")]
    build: Option<String>,
}

/// One file, link or folder.
#[derive(Serialize)]
struct Item {
    path: String,
    /// `deploy` or `toolchain`.
    place: &'static str,
    /// `file`, `folder`, `link` or `other`.
    kind: &'static str,
    mode: String,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// Whether the package's `rootfs_files.txt` names it.
    listed: bool,
    /// Whether the image has it from this package.
    image: bool,
}

/// Results that a build root shows, by package.
pub fn results(settings: &Settings, root: &BuildRoot) -> BTreeMap<PackageName, Entry> {
    let folders = [settings.store.clone(), root.private_store()];
    let stores: Vec<Store> =
        folders.iter().filter(|dir| dir.is_dir()).filter_map(|dir| Store::open(dir).ok()).collect();
    let used = super::build::used(root);
    used.into_iter()
        .filter_map(|(name, key)| Some((name, stores.iter().find_map(|store| store.find(&key))?)))
        .collect()
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let package = PackageName::new(&options.package)?;
    let root = super::choose_build_root(settings, options.build.as_deref())?;
    let results = results(settings, &root);
    let Some(entry) = results.get(&package) else {
        let error = Error::new(Kind::Usage, format!("`{package}` has no result in `{}`", root.name()));
        return Err(match nearest(package.as_str(), results.keys().map(PackageName::as_str)) {
            Some(near) if near != package.as_str() => error.hint(format!("did you mean `{near}`?")),
            _ => {
                error.hint(format!("`{}` shows the packages that were built there", root.deploy().display()))
            }
        });
    };
    let listed: BTreeSet<String> = image::lines(&entry.deploy()).into_keys().collect();
    let lists = owner::lists(settings, &root, &results);
    let in_image =
        |path: &str| listed.contains(path) && owner::owners_of(path, &lists, &results).contains(&&package);
    let mut items = walk(&entry.deploy(), "deploy", &listed, &in_image)?;
    if entry.meta.toolchain {
        items.extend(walk(&entry.toolchain(), "toolchain", &BTreeSet::new(), &|_| false)?);
    }
    if settings.format == Format::Json {
        return output::json(&serde_json::json!({
            "package": package, "version": entry.meta.version, "build": root.name(), "files": items,
        }));
    }
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let sign = match item.kind {
                "folder" => 'd',
                "link" => 'l',
                "file" => '-',
                _ => '?',
            };
            let before = if item.place == "deploy" { "" } else { "toolchain/" };
            let target = item.target.as_ref().map_or(String::new(), |target| format!(" -> {target}"));
            let size = if item.kind == "file" { units::size(item.bytes) } else { String::new() };
            vec![
                format!("{sign}{}", item.mode),
                format!("{size:>8}"),
                if item.image { "image" } else { "" }.to_owned(),
                format!("{before}{}{target}", item.path),
            ]
        })
        .collect();
    output::data(&output::table(&rows))
}

fn walk(
    top: &Path,
    place: &'static str,
    listed: &BTreeSet<String>,
    in_image: &dyn Fn(&str) -> bool,
) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for entry in walkdir::WalkDir::new(top).min_depth(1).sort_by_file_name() {
        let entry = entry.map_err(std::io::Error::from)?;
        let meta = entry.path().symlink_metadata()?;
        let path = entry.path().strip_prefix(top).unwrap_or(entry.path()).to_string_lossy().into_owned();
        let kind = match meta.file_type() {
            kind if kind.is_dir() => "folder",
            kind if kind.is_symlink() => "link",
            kind if kind.is_file() => "file",
            _ => "other",
        };
        let target: Option<PathBuf> =
            if kind == "link" { Some(fs_err::read_link(entry.path())?) } else { None };
        items.push(Item {
            place,
            kind,
            mode: format!("{:04o}", meta.permissions().mode() & 0o7777),
            bytes: if kind == "file" { meta.size() } else { 0 },
            target: target.map(|target| target.to_string_lossy().into_owned()),
            listed: listed.contains(&path),
            image: in_image(&path),
            path,
        });
    }
    Ok(items)
}
