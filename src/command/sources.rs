//! `mk sources`: one folder with all that a product is made from, as licences ask for, checked after it was written.
//! The folder is a tree and a workspace with every archive: `mk --offline -t DIR/tree -C DIR BOARD PRODUCT` builds it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::Target;
use crate::config::{Format, Settings};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::load;
use crate::names::PackageName;
use crate::output;
use crate::report::note;
use crate::store::remove_tree;
use crate::units;

use super::fetch;

/// What to export.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Export these and what they need, in place of the whole system
    packages: Vec<String>,
    /// Folder to write; it must be empty or not there
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

/// `manifest.json` of the folder, and the stable form of `mk sources --format json`.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    board: String,
    product: String,
    release: String,
    packages: Vec<Item>,
    /// The configuration of board and product, with what it reads elsewhere.
    configuration: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Item {
    name: PackageName,
    version: String,
    license: String,
    description: String,
    /// Where upstream offers the archive.
    urls: Vec<String>,
    /// The archive first, then recipe, patches and whatever else is in the package's folder, then what it reads elsewhere.
    files: Vec<Entry>,
}

/// A file of the folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Entry {
    path: String,
    size: u64,
    sha256: Digest,
}

/// Names of the two lists in the folder.
const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let target = &options.output;
    check_empty(target)?;
    let store = settings.store()?;
    let loaded =
        load::load(settings, &store, &options.target.board, &options.target.product, &options.packages)?;
    let wanted = fetch::wanted(&loaded);
    let results = fetch::fetch(settings, &loaded, &wanted)?;
    if let Some(error) = fetch::failure(&wanted, &results) {
        return Err(error);
    }
    // Whole or not at all: it gets its name when it is written and checked.
    let absolute = std::path::absolute(target)?;
    let above = absolute.parent().unwrap_or(Path::new("/"));
    fs_err::create_dir_all(above)?;
    let fresh = Fresh(tempfile::Builder::new().prefix(".sources-").tempdir_in(above)?.keep());
    let mut bundle = Bundle { root: &fresh.0, known: BTreeMap::new() };

    let mut archives: BTreeMap<&PackageName, Entry> = BTreeMap::new();
    for (wanted, fetched) in wanted.iter().zip(results.iter().flatten()) {
        let entry = bundle.add(&fetched.path, &format!("download/{}", wanted.source.file))?;
        if entry.sha256 != fetched.digest {
            return Err(Error::new(
                Kind::Host,
                format!("`{}` changed while it was copied", fetched.path.display()),
            ));
        }
        for package in &wanted.packages {
            archives.insert(package, entry.clone());
        }
    }
    let tree = loaded.tree.root();
    let mut packages = Vec::new();
    for recipe in &loaded.graph.packages {
        let mut files: Vec<Entry> = archives.get(&recipe.name).cloned().into_iter().collect();
        files.extend(bundle.add_folder(tree, &Path::new("pkg").join(recipe.name.as_str()))?);
        // What else of the tree its room shows: other recipes that this one reads, and what it goes to by itself.
        let read = recipe.evaluated.sources.iter().filter(|path| path.is_relative()).cloned();
        let visited = loaded.ingredients(true).visited(recipe).into_iter();
        let visited = visited.filter(|path| tree.join(path).exists());
        for path in read.chain(recipe.other_folders()).chain(visited) {
            for entry in bundle.add_folder(tree, &path)? {
                if !files.contains(&entry) {
                    files.push(entry);
                }
            }
        }
        packages.push(Item {
            name: recipe.name.clone(),
            version: recipe.version().to_owned(),
            license: recipe.evaluated.get("LICENSE").trim().to_owned(),
            description: recipe.description().to_owned(),
            urls: recipe.source.iter().flat_map(|source| source.urls.clone()).collect(),
            files,
        });
    }
    let mut configuration = BTreeSet::new();
    for folder in [format!("board/{}", loaded.board), format!("product/{}", loaded.product)] {
        configuration.extend(bundle.add_folder(tree, Path::new(&folder))?);
    }
    for source in loaded.environment.sources.iter().filter(|path| path.is_relative()) {
        configuration.extend(bundle.add_folder(tree, source)?);
    }
    let manifest = Manifest {
        board: loaded.board.clone(),
        product: loaded.product.clone(),
        release: load::release(&loaded.tree),
        packages,
        configuration: configuration.into_iter().collect(),
    };
    let text = serde_json::to_string_pretty(&manifest)
        .map_err(|error| Error::new(Kind::Internal, error.to_string()))?
        + "\n";
    fs_err::write(fresh.0.join(MANIFEST), &text)?;
    bundle.note(MANIFEST)?;
    let sums: String =
        bundle.known.values().map(|entry| format!("{}  {}\n", entry.sha256, entry.path)).collect();
    fs_err::write(fresh.0.join(SUMS), sums)?;
    let (files, bytes) = check(&fresh.0)?;
    fs_err::set_permissions(&fresh.0, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    check_empty(target)?;
    fs_err::rename(&fresh.0, &absolute)?;

    let unlicensed: Vec<&str> = manifest
        .packages
        .iter()
        .filter(|p| p.license.is_empty() && !p.urls.is_empty())
        .map(|p| p.name.as_str())
        .collect();
    if !unlicensed.is_empty() {
        note(&format!("no LICENSE in the recipes of {}", unlicensed.join(", ")));
    }
    if settings.format == Format::Json {
        return output::json(&manifest);
    }
    let count = manifest.packages.len();
    output::data(&format!(
        "{}: {count} packages, {files} files, {}, checked\n",
        target.display(),
        units::size(bytes)
    ))
}

/// Refuses a folder that holds something.
fn check_empty(folder: &Path) -> Result<()> {
    match fs_err::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::new(Kind::Usage, format!("`{}` is not empty", folder.display()))
                .hint("name a folder that is not there yet: everything in it is to be from one run")),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A folder that is gone unless it got its name.
struct Fresh(PathBuf);

impl Drop for Fresh {
    fn drop(&mut self) {
        // What is left then bears a name that shows it.
        let _ = remove_tree(&self.0);
    }
}

/// The folder while it is written.
struct Bundle<'a> {
    root: &'a Path,
    /// Every file in it, by path.
    known: BTreeMap<String, Entry>,
}

impl Bundle<'_> {
    /// Copies a file, once.
    fn add(&mut self, from: &Path, to: &str) -> Result<Entry> {
        if let Some(entry) = self.known.get(to) {
            return Ok(entry.clone());
        }
        let path = self.root.join(to);
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        fs_err::copy(from, &path)?;
        self.note(to)
    }

    /// Takes down a file that is in the folder.
    fn note(&mut self, path: &str) -> Result<Entry> {
        let file = self.root.join(path);
        let size = fs_err::metadata(&file)?.len();
        let entry = Entry { path: path.to_owned(), size, sha256: Digest::of_file(&file)? };
        self.known.insert(path.to_owned(), entry.clone());
        Ok(entry)
    }

    /// Copies a file or a folder of the tree; links are followed, since what they point to need not come along.
    fn add_folder(&mut self, tree: &Path, folder: &Path) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for found in walkdir::WalkDir::new(tree.join(folder)).follow_links(true).sort_by_file_name() {
            let found = found.map_err(|error| {
                Error::new(Kind::Host, format!("cannot read `{}`: {error}", folder.display()))
            })?;
            let below = found.path().strip_prefix(tree).unwrap_or(found.path());
            if found.file_type().is_dir() {
                // A board with no file of its own is a board.
                fs_err::create_dir_all(self.root.join("tree").join(below))?;
            } else if found.file_type().is_file() {
                entries.push(self.add(found.path(), &format!("tree/{}", shown(below)?))?);
            }
        }
        Ok(entries)
    }
}

/// A path as the lists show it: they are text with a file a line.
fn shown(path: &Path) -> Result<&str> {
    path.to_str().filter(|text| !text.contains(['\n', '\r', '\\'])).ok_or_else(|| {
        Error::new(
            Kind::Recipe,
            format!("`{}` cannot stand in a list of files", path.display().to_string().escape_debug()),
        )
    })
}

/// Reads the folder again: every file that is listed is there with its digest, and no other. How many, and their bytes.
fn check(root: &Path) -> Result<(usize, u64)> {
    let wrong =
        |what: String| Error::new(Kind::Host, format!("what was written is not what was read: {what}"));
    let mut listed = BTreeMap::new();
    for line in fs_err::read_to_string(root.join(SUMS))?.lines() {
        let (digest, path) = line.split_once("  ").ok_or_else(|| wrong(format!("`{line}`")))?;
        listed.insert(path.to_owned(), digest.parse::<Digest>()?);
    }
    let manifest: Manifest = serde_json::from_slice(&fs_err::read(root.join(MANIFEST))?)
        .map_err(|error| wrong(error.to_string()))?;
    for entry in manifest.packages.iter().flat_map(|package| &package.files).chain(&manifest.configuration) {
        if listed.get(&entry.path) != Some(&entry.sha256) {
            return Err(wrong(format!("`{}` is not listed", entry.path)));
        }
    }
    let (mut files, mut bytes) = (0, 0);
    for found in walkdir::WalkDir::new(root).min_depth(1) {
        let found = found.map_err(|error| wrong(error.to_string()))?;
        let path = found.path().strip_prefix(root).unwrap_or(found.path()).to_string_lossy().into_owned();
        if found.file_type().is_dir() || path == SUMS {
            continue;
        }
        let digest = Digest::of_file(found.path())?;
        if listed.remove(&path) != Some(digest) {
            return Err(wrong(format!("`{path}`")));
        }
        files += 1;
        bytes += fs_err::metadata(found.path())?.len();
    }
    match listed.keys().next() {
        None => Ok((files, bytes)),
        Some(path) => Err(wrong(format!("`{path}` is missing"))),
    }
}
