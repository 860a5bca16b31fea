//! `mk bump`: moves recipes to newer versions. Fetches the new archive, looks whether it unpacks to what the recipe says,
//! and only then writes VERSION and SHA256SUM.

use std::path::{Path, PathBuf};

use crate::config::{Format, Settings};
use crate::digest::Digest;
use crate::downloads;
use crate::error::{Error, Kind, Result};
use crate::fetch::{Fetcher, Request, archive_url, is_plain};
use crate::layout::Tree;
use crate::load::{self, Loaded};
use crate::mirrors;
use crate::names::PackageName;
use crate::output;
use crate::recipe::{Recipe, Source};
use crate::report::note;
use crate::rewrite;
use crate::store::{Store, Temporary};
use crate::unpack;

use super::check_update::{self, How, NO_SOURCE, News};

/// What to move, and where to.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The package
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    package: Option<String>,
    /// The version to move to [default: what `mk check-update` finds]
    version: Option<String>,
    /// Move every package that `mk check-update` has something newer for
    #[arg(long)]
    all: bool,
    /// Show what would change, and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    how: How,
}

/// A recipe's change that was tried.
struct Change {
    recipe: PathBuf,
    /// VERSION as it was.
    from: String,
    /// And as it is then.
    to: String,
    text: String,
    diff: String,
    archive: PathBuf,
    /// What the download folder gets.
    record: downloads::Record,
}

impl Change {
    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.record.package, "version": self.from, "newer": self.to, "archive": self.record.file,
            "sha256": self.record.digest, "diff": self.diff,
        })
    }
}

/// What helps where no newer version is found.
fn name_it(settings: &Settings, package: &PackageName) -> String {
    format!("name the version: `{} bump {package} VERSION`", settings.again)
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let tree = settings.tree()?;
    let only: Vec<String> = options.package.iter().cloned().collect();
    let packages = check_update::packages(&tree, &only)?;
    let store = settings.store()?;
    let (board, product) = check_update::target(&tree, &options.how)?;
    let mut wanted: Vec<(PackageName, String)> = Vec::new();
    let mut failed: Vec<Error> = Vec::new();
    if let (Some(version), [package]) = (&options.version, &packages[..]) {
        wanted.push((package.clone(), version.clone()));
    } else {
        let (_, findings) = check_update::check(settings, tree.clone(), &packages, &options.how)?;
        if !options.all {
            check_update::tell_failures(&findings);
        }
        for finding in findings {
            match finding.news {
                News::Newer(newer) => wanted.push((finding.name, newer.version)),
                News::Current if !options.all => {
                    note(&format!("{}: nothing is newer than {}", finding.name, finding.version));
                }
                News::Unchecked(reason) if !options.all => {
                    let error = Error::new(Kind::Usage, format!("{}: {reason}", finding.name));
                    return Err(match reason == NO_SOURCE {
                        true => error,
                        false => error.hint(name_it(settings, &finding.name)),
                    });
                }
                News::Failed(_) if !options.all => {
                    return Err(Error::new(
                        Kind::Fetch,
                        format!("{}: no newer version is known", finding.name),
                    )
                    .hint(name_it(settings, &finding.name)));
                }
                News::Failed(reason) => {
                    failed.push(Error::new(
                        Kind::Fetch,
                        format!("{}: cannot be checked: {reason}", finding.name),
                    ));
                }
                _ => {}
            }
        }
    }
    let bench = Bench {
        settings,
        store: &store,
        tree: &tree,
        target: (&board, &product),
        temporary: store.temporary()?,
        fetcher: mirrors::fetcher(settings, &tree.config_places(&board, &product))?,
    };
    let mut changes = Vec::new();
    for (package, version) in &wanted {
        match bench.change(package, version) {
            Ok(Some(change)) => changes.push(change),
            Ok(None) => note(&format!("{package}: is at {version} already")),
            // It moves with another, which is on the list itself.
            Err(error) if options.all && error.kind == Kind::Usage => note(&error.context(package).message),
            Err(error) => failed.push(error.context(package)),
        }
    }
    // All or nothing, unless the caller says otherwise.
    if failed.is_empty() || settings.keep_going {
        let json = settings.format == Format::Json;
        for change in &changes {
            if !json {
                output::data(&change.diff)?;
            }
            if !options.dry_run {
                write(change, &settings.workspace.download())?;
            }
        }
        if json {
            let packages = changes.iter().map(Change::json).collect::<Vec<_>>();
            output::json(&serde_json::json!({ "packages": packages, "dry_run": options.dry_run }))?;
        }
    }
    let others = match settings.keep_going {
        true => format!("moved nevertheless: {}", changes.len()),
        false => format!("not moved therefore: {}", changes.len()),
    };
    let Some(error) = super::together(&format!("{} packages cannot be moved", failed.len()), failed) else {
        return Ok(());
    };
    Err(match (changes.len(), settings.keep_going) {
        (0, _) => error,
        (_, true) => error.at(others),
        (_, false) => error.at(others).hint("--keep-going moves those that can be"),
    })
}

/// Puts the new recipe in the place of the old, and the archive where the next build looks for it.
fn write(change: &Change, download: &Path) -> Result<()> {
    fs_err::create_dir_all(download)?;
    let place = download.join(&change.record.file);
    if !place.exists() {
        let fresh = tempfile::Builder::new().prefix(".bump-").tempfile_in(download)?;
        fs_err::copy(&change.archive, fresh.path())?;
        fs_err::set_permissions(fresh.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        fresh.persist(&place).map_err(|error| error.error)?;
        downloads::remember(download, &change.record)?;
    }
    // A link stays one.
    let recipe = fs_err::canonicalize(&change.recipe)?;
    let permissions = fs_err::metadata(&recipe)?.permissions();
    let folder = recipe.parent().unwrap_or(Path::new("/"));
    let fresh = tempfile::Builder::new().prefix(".bump-").tempfile_in(folder)?;
    fs_err::write(fresh.path(), &change.text)?;
    fs_err::set_permissions(fresh.path(), permissions)?;
    fresh.persist(&recipe).map_err(|error| error.error)?;
    Ok(())
}

/// Where changes are tried.
struct Bench<'a> {
    settings: &'a Settings,
    store: &'a Store,
    tree: &'a Tree,
    target: (&'a str, &'a str),
    temporary: Temporary,
    fetcher: Fetcher,
}

impl Bench<'_> {
    /// Tries a version; nothing where the recipe has it already.
    fn change(&self, package: &PackageName, version: &str) -> Result<Option<Change>> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._+-~:".contains(c);
        if version.is_empty() || version.starts_with('-') || !version.chars().all(plain) {
            return Err(Error::new(Kind::Usage, format!("`{}` is no version", version.escape_debug())));
        }
        let path = self.tree.recipe(package.as_str());
        let shown = self.tree.show(&path);
        let text = String::from_utf8(fs_err::read(&path)?)
            .map_err(|_| Error::new(Kind::Recipe, format!("{shown}: it is not written in UTF-8")))?;
        let before = self.read(self.tree, package)?;
        let old = recipe(&before)?;
        if old.version() == version {
            return Ok(None);
        }
        let leader =
            old.evaluated.sources.iter().find_map(|path| path.strip_prefix("pkg").ok()?.parent()?.to_str());
        if let (Some(leader), false) = (leader, text.lines().any(|line| line.starts_with("VERSION="))) {
            return Err(Error::new(Kind::Usage, format!("its version is that of `{leader}`"))
                .hint(format!("`{} bump {leader}` moves both", self.settings.again)));
        }
        let sums: Vec<String> =
            old.source.iter().flat_map(|source| &source.digests).map(Digest::to_string).collect();
        if sums.is_empty() {
            return Err(Error::new(Kind::Usage, NO_SOURCE));
        }
        let versioned = rewrite::assign(&shown, &text, "VERSION", old.version(), version)?;
        // Known to fit before anything is fetched.
        let written = old.evaluated.get("SHA256SUM");
        rewrite::assign(&shown, &versioned, "SHA256SUM", written, "")?;

        let work = self.temporary.folder(package.as_str())?;
        let trial = self.trial(&work.join("tree"), package, &versioned)?;
        let after = self.read(&trial, package)?;
        let new = recipe(&after)?;
        let source = new
            .source
            .as_ref()
            .ok_or_else(|| Error::new(Kind::Recipe, format!("{shown}: it has no source at {version}")))?;
        if new.version() != version {
            return Err(Error::new(
                Kind::Recipe,
                format!("{shown}: VERSION comes out as `{}`", new.version()),
            ));
        }
        let urls: Vec<String> = source.urls.iter().map(|url| archive_url(url, &source.file)).collect();
        let others: Vec<&str> = source.urls.iter().filter(|url| !is_plain(url)).map(String::as_str).collect();
        if others.len() == urls.len() {
            return Err(Error::new(Kind::Recipe, format!("{shown}: no URL names the new archive"))
                .at(format!("URL is {}", others.join(" "))));
        }
        let same = || {
            Error::new(
                Kind::Recipe,
                format!(
                    "{shown}: TARBALL names the archive of {} at {version} too: `{}`",
                    old.version(),
                    source.file
                ),
            )
            .hint("write `$VERSION` into it or into URL, below the line that sets VERSION")
        };
        let place = |source: &Source| (source.file.clone(), source.urls.clone(), source.folders.clone());
        if old.source.as_ref().map(place) == Some(place(source)) {
            return Err(same());
        }
        let request = Request {
            package,
            file: &source.file,
            urls: &urls,
            digests: &[],
            dir: &work.join("download"),
            offline: self.settings.offline,
        };
        let fetched = self.fetcher.fetch_new(&request, &mut |_, _| (), &|| false)?;
        if sums.contains(&fetched.digest.to_string()) {
            return Err(same());
        }
        let folder = work.join("src");
        fs_err::create_dir(&folder)?;
        let unpacked = unpack::unpack(&fetched.path, &folder, unpack::Limits::default())
            // Where it lies now it is no more in the end.
            .map_err(|error| Error {
                at: fetched.from.iter().map(|url| format!("archive: {url}")).collect(),
                ..error
            })?;
        if !source.folders.iter().any(|name| folder.join(name).is_dir()) {
            let first = source.folders.first().map_or(".", String::as_str);
            unpack::check_srcdir(&unpacked, &folder, first)?;
        }
        crate::store::remove_tree(&folder)?;

        let text_now =
            rewrite::assign(&shown, &versioned, "SHA256SUM", written, &fetched.digest.to_string())?;
        let trial = self.trial(&work.join("again"), package, &text_now)?;
        let last = self.read(&trial, package)?;
        if recipe(&last)?.source.as_ref().is_none_or(|source| source.digests != [fetched.digest]) {
            return Err(Error::new(
                Kind::Recipe,
                format!("{shown}: SHA256SUM does not come out as it was written"),
            ));
        }
        if !others.is_empty() {
            note(&format!("{package}: `{}` stays as it is: it may name the old version", others.join(" ")));
        }
        Ok(Some(Change {
            recipe: path,
            from: old.version().to_owned(),
            to: version.to_owned(),
            diff: rewrite::diff(&shown, &text, &text_now),
            text: text_now,
            archive: fetched.path,
            record: downloads::Record {
                digest: Some(fetched.digest),
                package: package.clone(),
                file: source.file.clone(),
            },
        }))
    }

    fn read(&self, tree: &Tree, package: &PackageName) -> Result<Loaded> {
        let (board, product) = self.target;
        load::read(
            self.settings,
            self.store,
            tree.clone(),
            board,
            product,
            std::slice::from_ref(package),
            false,
        )
    }

    /// The tree as it would be with another text of a recipe: links to the real one beside that.
    fn trial(&self, root: &Path, package: &PackageName, text: &str) -> Result<Tree> {
        let link = |from: &Path, to: &Path, but: &str| -> Result<()> {
            fs_err::create_dir_all(to)?;
            for entry in fs_err::read_dir(from)? {
                let name = entry?.file_name();
                if name != but {
                    fs_err::os::unix::fs::symlink(from.join(&name), to.join(&name))?;
                }
            }
            Ok(())
        };
        link(self.tree.root(), root, "pkg")?;
        link(&self.tree.packages(), &root.join("pkg"), package.as_str())?;
        let folder = root.join("pkg").join(package.as_str());
        link(&self.tree.package(package.as_str()), &folder, "build")?;
        fs_err::write(folder.join("build"), text)?;
        Tree::find(Some(root), &[], None)
    }
}

/// The one recipe that was read.
fn recipe(loaded: &Loaded) -> Result<&Recipe> {
    loaded.graph.packages.first().ok_or_else(|| Error::new(Kind::Internal, "no recipe was read"))
}
