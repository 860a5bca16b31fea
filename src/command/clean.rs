//! `mk clean`: removes what `mk` made in the workspace, and nothing else. The store is `mk gc`'s.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::gc::weigh;
use crate::config::{Format, Settings};
use crate::digest::Digest;
use crate::disk::LockFile;
use crate::downloads;
use crate::error::{Error, Kind, Result};
use crate::layout::BuildRoot;
use crate::load;
use crate::names::{PackageName, Step};
use crate::store::{Store, remove_tree, write_atomically};
use crate::{output, report, units};

/// What to clean.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Clean what these packages left, in place of all
    packages: Vec<String>,
    /// Folders that were kept of failed builds
    #[arg(long)]
    build: bool,
    /// Links to unpacked sources, and copies of them where rooms were off
    #[arg(long)]
    src: bool,
    /// What packages deployed, the toolchain, and what is remembered of them: links into the store, unless rooms were off
    #[arg(long)]
    deploy: bool,
    /// Logs
    #[arg(long)]
    logs: bool,
    /// Archives that were fetched
    #[arg(long)]
    downloads: bool,
    /// All of that, and the emptied build roots
    #[arg(long)]
    all: bool,
    /// Clean in this build root alone [default: all of the workspace]
    #[arg(long, value_name = "BOARD-PRODUCT")]
    root: Option<String>,
    /// Say what would be removed, remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// What can be cleaned, by the option that does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Part {
    Build,
    Src,
    Deploy,
    Logs,
    Downloads,
}

const PARTS: [(Part, &str, &str); 5] = [
    (Part::Build, "--build", "folders of failed builds"),
    (Part::Src, "--src", "unpacked sources"),
    (Part::Deploy, "--deploy", "deployed files and toolchain"),
    (Part::Logs, "--logs", "logs"),
    (Part::Downloads, "--downloads", "fetched archives"),
];

/// Something that `mk` made and can be removed.
#[derive(Debug, Serialize)]
struct Item {
    part: Part,
    #[serde(serialize_with = "output::serialize_path")]
    path: PathBuf,
    bytes: u64,
}

/// What there is, and what lies beside it without being `mk`'s.
#[derive(Debug, Default)]
struct Found {
    items: Vec<Item>,
    left: Vec<(Part, PathBuf)>,
}

impl Found {
    fn add(&mut self, part: Part, path: PathBuf) {
        let bytes = weigh(&path);
        self.items.push(Item { part, path, bytes });
    }

    fn left(&self) -> Vec<&Path> {
        self.left.iter().map(|(_, path)| path.as_path()).collect()
    }

    fn left_shown(&self) -> Vec<Cow<'_, str>> {
        self.left.iter().map(|(_, path)| output::path(path)).collect()
    }
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let packages: Vec<PackageName> =
        options.packages.iter().map(|name| PackageName::new(name)).collect::<Result<_>>()?;
    check_known(settings, &packages)?;
    let mut roots = settings.workspace.build_roots()?;
    if options.root.is_some() {
        roots = vec![super::choose_build_root(settings, options.root.as_deref())?];
    }
    let chosen: BTreeSet<Part> = PARTS
        .iter()
        .map(|(part, _, _)| *part)
        .filter(|part| {
            options.all
                || match part {
                    Part::Build => options.build,
                    Part::Src => options.src,
                    Part::Deploy => options.deploy,
                    Part::Logs => options.logs,
                    Part::Downloads => options.downloads,
                }
        })
        .collect();
    let cleaner = Cleaner { settings, roots: &roots, packages: &packages };
    let mut found = cleaner.find()?;
    if chosen.is_empty() {
        return offer(settings, &found);
    }
    found.items.retain(|item| chosen.contains(&item.part));
    found.left.retain(|(part, _)| chosen.contains(part));
    if !options.dry_run {
        if let Some(busy) = roots.iter().find(|root| Store::is_building(&root.state())) {
            return Err(Error::new(Kind::Host, format!("`{}` is being built", busy.name()))
                .hint("wait for it; nothing was removed"));
        }
        for item in &found.items {
            remove_tree(&item.path)?;
        }
        cleaner.tidy(&found, &chosen, options.all)?;
    }
    tell(settings, &found, options.dry_run)
}

/// Names that are neither packages of the tree nor of anything built here are slips of the fingers.
fn check_known(settings: &Settings, packages: &[PackageName]) -> Result<()> {
    let Ok(tree) = settings.tree() else { return Ok(()) };
    let mut known = load::folders(&tree.packages());
    known.retain(|name| PackageName::new(name).is_ok());
    for root in settings.workspace.build_roots()? {
        known.extend(super::build::used(&root).keys().map(ToString::to_string));
    }
    known.sort();
    known.dedup();
    match packages.iter().find(|name| !known.iter().any(|known| known == name.as_str())) {
        Some(name) => Err(load::unknown("package", name.as_str(), &format!("pkg/{name}/build"), &known)),
        None => Ok(()),
    }
}

struct Cleaner<'a> {
    settings: &'a Settings,
    roots: &'a [BuildRoot],
    /// Empty: all.
    packages: &'a [PackageName],
}

impl Cleaner<'_> {
    fn wants(&self, package: &str) -> bool {
        self.packages.is_empty() || self.packages.iter().any(|name| name.as_str() == package)
    }

    fn find(&self) -> Result<Found> {
        let mut found = Found::default();
        for root in self.roots {
            self.failures(root, &mut found);
            self.deployed(root, &mut found);
            self.logs(root, &mut found);
        }
        self.sources(&mut found);
        self.archives(&mut found);
        Ok(found)
    }

    /// Entries of a folder that `package_of` knows; others are left alone.
    fn entries(
        &self,
        folder: &Path,
        part: Part,
        found: &mut Found,
        package_of: &dyn Fn(&Path, &str) -> Option<String>,
    ) {
        for path in children(folder) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match package_of(&path, &name) {
                Some(package) if self.wants(&package) => found.add(part, path),
                Some(_) => {}
                None => found.left.push((part, path)),
            }
        }
    }

    fn failures(&self, root: &BuildRoot, found: &mut Found) {
        let mut kept = Vec::new();
        for path in children(&root.failures()) {
            // The folder itself is in a store, named by the digest of the path by which it is seen.
            let name = Digest::of(path.as_os_str().as_encoded_bytes()).to_string();
            let ours =
                |target: &PathBuf| target.file_name().is_some_and(|last| last.to_string_lossy() == name);
            let Some(target) = std::fs::read_link(&path).ok().filter(ours) else {
                found.left.push((Part::Build, path));
                continue;
            };
            if self.wants(&path.file_name().unwrap_or_default().to_string_lossy()) {
                kept.extend([target, path]);
            }
        }
        kept.into_iter().for_each(|path| found.add(Part::Build, path));
        if self.packages.is_empty() && is_bare(root) && root.build().is_dir() {
            found.add(Part::Build, root.build());
        }
    }

    fn deployed(&self, root: &BuildRoot, found: &mut Found) {
        let unfinished = super::build::unfinished(root);
        self.entries(&root.deploy(), Part::Deploy, found, &|path, name| {
            // Without rooms a package is built there: the folder of one that was killed is no result yet.
            let begun = is_bare(root) && !path.is_symlink() && unfinished.iter().any(|known| known == name);
            let result = || std::fs::read_link(path).is_ok_and(|target| is_result(&target));
            (begun || result()).then(|| name.to_owned())
        });
        if is_bare(root) {
            let store = Store::open(&root.private_store());
            let entries = store.map(|store| store.entries()).unwrap_or_default();
            for entry in entries.iter().filter(|entry| self.wants(entry.meta.package.as_str())) {
                found.add(Part::Deploy, entry.path.clone());
            }
        }
        if !self.packages.is_empty() {
            return;
        }
        if is_bare(root) && root.toolchain().is_dir() {
            // Each build without a room makes it anew.
            found.add(Part::Deploy, root.toolchain());
            return;
        }
        for entry in walkdir::WalkDir::new(root.toolchain()).into_iter().flatten() {
            let target = std::fs::read_link(entry.path());
            if target.is_ok_and(|target| target.ancestors().any(is_result)) {
                found.add(Part::Deploy, entry.path().to_owned());
            } else if !entry.file_type().is_dir() {
                found.left.push((Part::Deploy, entry.path().to_owned()));
            }
        }
    }

    fn logs(&self, root: &BuildRoot, found: &mut Found) {
        self.entries(&root.logs(), Part::Logs, found, &|_, name| {
            if OTHER_LOGS.contains(&name) {
                return Some(String::new());
            }
            let (package, step) = name.strip_suffix(".log")?.rsplit_once('-')?;
            Step::ALL.iter().any(|known| known.as_str() == step).then(|| package.to_owned())
        });
    }

    /// Links to sources in a store; in build roots that are built without rooms, copies, and what they were copied from.
    fn sources(&self, found: &mut Found) {
        let mut users: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
        let private = self.roots.iter().filter(|root| is_bare(root)).map(BuildRoot::private_store);
        let mut unpacked = Vec::new();
        let mut copies: BTreeMap<String, Vec<Digest>> = BTreeMap::new();
        for folder in private {
            for path in children(&folder.join("source")) {
                let Some(digest) = source_of(&path) else { continue };
                for copy in children(&path) {
                    let name = copy.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    copies.entry(name).or_default().push(digest);
                }
                unpacked.push((path, digest));
            }
            note_users(&folder, &mut users);
        }
        if !self.packages.is_empty() && self.settings.store.is_dir() {
            note_users(&self.settings.store, &mut users);
        }
        let wants = |digest: &Digest| {
            let users = users.get(digest);
            self.packages.is_empty()
                || users.is_some_and(|users| !users.is_empty() && users.iter().all(|user| self.wants(user)))
        };
        let mut stack = children(&self.settings.workspace.src());
        stack.reverse();
        while let Some(path) = stack.pop() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let digest =
                std::fs::read_link(&path).ok().and_then(|target| target.ancestors().find_map(source_of));
            match (digest, copies.get(&*name)) {
                (Some(digest), _) if wants(&digest) => found.add(Part::Src, path),
                (Some(_), _) => {}
                (None, Some(digests)) if path.is_dir() && !path.is_symlink() => {
                    if digests.iter().all(wants) {
                        found.add(Part::Src, path);
                    }
                }
                // SRCDIR may be a folder in a folder: then that holds nothing but links.
                _ if path.is_dir() && !path.is_symlink() => {
                    let below = children(&path);
                    if !below.is_empty() && below.iter().all(|path| path.is_symlink()) {
                        stack.extend(below);
                    } else {
                        found.left.push((Part::Src, path));
                    }
                }
                _ => found.left.push((Part::Src, path)),
            }
        }
        for (path, _) in unpacked.into_iter().filter(|(_, digest)| wants(digest)) {
            found.add(Part::Src, path);
        }
    }

    /// Archives that were fetched and are still what was fetched, if only under the name of what was rejected, and what is left
    /// of those that never were whole.
    fn archives(&self, found: &mut Found) {
        let folder = self.settings.workspace.download();
        let mut ours: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for record in downloads::records(&folder) {
            let wanted = self.wants(record.package.as_str());
            for path in [folder.join(&record.file), folder.join(format!("{}.rejected", record.file))] {
                let same = |digest: Digest| Digest::of_file(&path).is_ok_and(|now| now == digest);
                if record.digest.is_some_and(same) {
                    ours.insert(path, wanted);
                }
            }
            for ending in LEFT_OVER {
                ours.insert(folder.join(format!("{}{ending}", record.file)), wanted);
            }
        }
        for path in children(&folder) {
            match ours.get(&path) {
                Some(true) => found.add(Part::Downloads, path),
                Some(false) => {}
                None if path.ends_with(".mk-fetched") => {}
                None => found.left.push((Part::Downloads, path)),
            }
        }
    }

    /// What else follows from what was removed: nothing is remembered of it, and no empty folder stays.
    fn tidy(&self, found: &Found, chosen: &BTreeSet<Part>, all: bool) -> Result<()> {
        let folder = self.settings.workspace.download();
        if chosen.contains(&Part::Downloads) {
            let records = downloads::records(&folder).into_iter().map(|record| record.file);
            let is_left = |file: &str, ending: &&str| folder.join(format!("{file}{ending}")).exists();
            let endings = || LEFT_OVER.iter().chain(&["", ".rejected"]);
            let gone: Vec<String> = records.filter(|file| !endings().any(|e| is_left(file, e))).collect();
            if !gone.is_empty() {
                downloads::forget(&folder, &gone)?;
            }
        }
        let lock = self.settings.workspace.lock();
        if all && self.packages.is_empty() && lock.exists() {
            // Who was killed left it there, or holds it; taken and let go, it is removed.
            LockFile::take(&lock, &|| true, &|| ())?;
        }
        let src = self.settings.workspace.src();
        let mut emptied: Vec<PathBuf> = found
            .items
            .iter()
            .filter(|item| item.part == Part::Src)
            .filter_map(|item| {
                item.path
                    .parent()
                    .filter(|parent| parent.starts_with(&src) && *parent != src)
                    .map(Path::to_owned)
            })
            .collect();
        emptied.extend([folder, src]);
        for root in self.roots {
            if chosen.contains(&Part::Deploy) {
                self.forget_results(root)?;
            }
            if chosen.contains(&Part::Deploy) || chosen.contains(&Part::Src) {
                // The next build looks again.
                remove_tree(&root.state().join("up-to-date"))?;
            }
            if all && self.packages.is_empty() {
                remove_tree(&root.state())?;
            }
            let folders = walkdir::WalkDir::new(root.toolchain()).contents_first(true).into_iter().flatten();
            emptied
                .extend(folders.filter(|entry| entry.file_type().is_dir()).map(walkdir::DirEntry::into_path));
            emptied.extend([root.failures(), root.deploy(), root.logs(), root.root().to_owned()]);
        }
        for folder in emptied {
            // Fails where something is left in it, as it should.
            let _ = std::fs::remove_dir(folder);
        }
        Ok(())
    }

    /// Lets `mk gc` have the results.
    fn forget_results(&self, root: &BuildRoot) -> Result<()> {
        let mut used = super::build::used(root);
        used.retain(|name, _| !self.wants(name.as_str()));
        let keys = root.state().join("keys.json");
        if keys.exists() {
            write_atomically(&keys, &serde_json::to_vec(&used).unwrap_or_default())?;
        }
        Ok(())
    }
}

/// Logs that belong to no package.
const OTHER_LOGS: &[&str] = &["events.json", "console.log"];

/// What an archive's name ends in while it is fetched.
const LEFT_OVER: &[&str] = &[".part", ".part.from", ".lock", ".scratch"];

/// Whether packages were built there without rooms: then results are in it, not links to them.
fn is_bare(root: &BuildRoot) -> bool {
    root.private_store().join("format").is_file()
}

/// Whether a path is `<store>/entry/ab/<key>/deploy` or `…/toolchain`.
fn is_result(path: &Path) -> bool {
    let part = |up: usize| path.iter().rev().nth(up).map(|part| part.to_string_lossy());
    let key = part(1).is_some_and(|key| key.parse::<Digest>().is_ok());
    key && part(3).is_some_and(|part| part == "entry")
        && part(0).is_some_and(|part| part == "deploy" || part == "toolchain")
}

/// The archive's digest in a path `<store>/source/<digest>`.
fn source_of(path: &Path) -> Option<Digest> {
    let digest = path.file_name()?.to_string_lossy().parse().ok()?;
    (path.parent()?.file_name()? == "source").then_some(digest)
}

/// Adds which packages of a store were built from which archive.
fn note_users(store: &Path, users: &mut BTreeMap<Digest, BTreeSet<String>>) {
    let entries = Store::open(store).map(|store| store.entries()).unwrap_or_default();
    for entry in entries {
        if let Some(source) = entry.meta.source {
            users.entry(source).or_default().insert(entry.meta.package.to_string());
        }
    }
}

/// Paths in a folder, sorted; none where there is no such folder.
fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// What could be cleaned, and how.
fn offer(settings: &Settings, found: &Found) -> Result<()> {
    let sum = |part: Part| {
        let items = found.items.iter().filter(move |item| item.part == part);
        items.fold((0_usize, 0_u64), |(count, bytes), item| (count + 1, bytes + item.bytes))
    };
    if settings.format == Format::Json {
        let parts: Vec<_> = PARTS
            .iter()
            .map(|(part, _, _)| {
                let (items, bytes) = sum(*part);
                serde_json::json!({ "part": part, "items": items, "bytes": bytes })
            })
            .collect();
        return output::json(&serde_json::json!({ "parts": parts, "left": found.left_shown() }));
    }
    let mut rows = vec![["option", "items", "size", ""].map(str::to_owned).to_vec()];
    for (part, option, what) in PARTS {
        let (items, bytes) = sum(part);
        rows.push(vec![option.to_owned(), items.to_string(), units::size(bytes), what.to_owned()]);
    }
    let (items, bytes) = found.items.iter().fold((0_usize, 0), |sum, item| (sum.0 + 1, sum.1 + item.bytes));
    rows.push(vec!["--all".to_owned(), items.to_string(), units::size(bytes), "all of that".to_owned()]);
    output::data(&output::table(&rows))?;
    if !settings.quiet {
        report::note(&format!(
            "nothing was removed; the store of results is cleaned by `{} gc`",
            settings.again
        ));
    }
    Ok(())
}

fn tell(settings: &Settings, found: &Found, dry_run: bool) -> Result<()> {
    let bytes: u64 = found.items.iter().map(|item| item.bytes).sum();
    if settings.format == Format::Json {
        return output::json(
            &serde_json::json!({ "removed": found.items, "bytes": bytes, "dry_run": dry_run, "left": found.left_shown() }),
        );
    }
    let below =
        |path: &Path| path.strip_prefix(settings.workspace.root()).unwrap_or(path).display().to_string();
    let mut rows: Vec<Vec<String>> =
        found.items.iter().map(|item| vec![below(&item.path), units::size(item.bytes)]).collect();
    let word = if dry_run { "would be removed" } else { "removed" };
    rows.push(vec![format!("{} {word}", units::size(bytes))]);
    output::data(&output::table(&rows))?;
    if !found.left.is_empty() && !settings.quiet {
        let names: Vec<String> =
            found.left().into_iter().take(5).map(|path| format!("`{}`", below(path))).collect();
        let more = found.left.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        report::note(&format!("left alone, since `mk` did not make it: {}{more}", names.join(", ")));
    }
    Ok(())
}
