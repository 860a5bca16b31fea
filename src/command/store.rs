//! `mk store`: what is in the store, and whether it is still what was put there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::{Format, Settings};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result, nearest};
use crate::store::{Entry, Store};
use crate::{finish, output, units};

/// What to do with it.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List packages with the number and size of their results
    List,
    /// Compute every result's digest anew and compare
    Verify {
        /// Remove results that are damaged, so that they are built again
        #[arg(long)]
        remove: bool,
    },
    /// Remove all results of packages, so that they are built again
    Remove {
        /// Whose results
        #[arg(required = true)]
        packages: Vec<String>,
        /// Also the unpacked and prepared sources that they were built from
        #[arg(long)]
        sources: bool,
    },
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let store = settings.existing_store()?;
    match &options.command {
        Command::List => list(settings, &store),
        Command::Verify { remove } => verify(settings, &store, *remove),
        Command::Remove { packages, sources } => remove(settings, &store, packages, *sources),
    }
}

fn remove(settings: &Settings, store: &Store, packages: &[String], sources: bool) -> Result<()> {
    let _alone = super::gc::alone(store)?;
    let entries = store.entries();
    let known: Vec<String> = entries.iter().map(|entry| entry.meta.package.to_string()).collect();
    if let Some(none) = packages.iter().find(|name| !known.contains(name)) {
        let error = Error::new(
            Kind::Usage,
            format!("`{none}` has no result in the store `{}`", store.root().display()),
        );
        return Err(match nearest(none, known.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("`mk store list` lists packages that have results"),
        });
    }
    let mut removed = BTreeMap::new();
    for entry in
        entries.into_iter().filter(|entry| packages.iter().any(|name| entry.meta.package.as_str() == name))
    {
        if sources {
            let source = entry.meta.source.map(|digest| ("source", digest, store.source(&digest)));
            let prepared = entry.meta.prepared.map(|key| ("prepared", key, store.prepared(&key)));
            for (kind, digest, path) in
                [source, prepared].into_iter().flatten().filter(|item| item.2.exists())
            {
                let bytes = super::gc::weigh(&path);
                removed.insert(path, (format!("{kind} {}", digest.short()), bytes));
            }
        }
        let what = format!("{} {}", entry.meta.package, entry.meta.version).trim_end().to_owned();
        removed.insert(entry.path, (what, entry.meta.size));
    }
    if let Some(others) = removed.keys().find(|path| !store.may_discard(path)) {
        return Err(Error::new(Kind::Host, format!("`{}` is another user's", others.display()))
            .hint("nothing was removed; its owner can remove it, or root"));
    }
    for path in removed.keys() {
        store.discard(path)?;
    }
    let freed: u64 = removed.values().map(|(_, bytes)| bytes).sum();
    if settings.format == Format::Json {
        let items: Vec<_> = removed
            .iter()
            .map(|(path, (what, bytes))| serde_json::json!({ "what": what, "path": output::path(path), "bytes": bytes }))
            .collect();
        return output::json(&serde_json::json!({ "removed": items, "bytes": freed }));
    }
    let mut rows: Vec<Vec<String>> =
        removed.values().map(|(what, bytes)| vec![what.clone(), units::size(*bytes)]).collect();
    rows.push(vec![format!("{} removed", units::size(freed))]);
    output::data(&output::table(&rows))
}

fn list(settings: &Settings, store: &Store) -> Result<()> {
    let mut packages: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for entry in store.entries() {
        let sum = packages.entry(entry.meta.package.clone()).or_default();
        sum.0 += 1;
        sum.1 += entry.meta.size;
    }
    if settings.format == Format::Json {
        let items: Vec<_> = packages
            .iter()
            .map(|(name, (results, bytes))| serde_json::json!({ "name": name, "results": results, "bytes": bytes }))
            .collect();
        return output::json(&serde_json::json!({ "store": output::path(store.root()), "packages": items }));
    }
    let mut rows = vec![vec!["package".to_owned(), "results".to_owned(), "size".to_owned()]];
    rows.extend(
        packages
            .iter()
            .map(|(name, (results, bytes))| vec![name.to_string(), results.to_string(), units::size(*bytes)]),
    );
    let (results, bytes) = packages.values().fold((0, 0), |sum, item| (sum.0 + item.0, sum.1 + item.1));
    rows.push(vec!["total".to_owned(), results.to_string(), units::size(bytes)]);
    output::data(&output::table(&rows))
}

/// Why an entry is damaged, if it is.
pub fn damage(entry: &Entry) -> Option<String> {
    let manifest = match fs_err::read_to_string(entry.path.join("manifest")) {
        Ok(text) => text,
        Err(error) => return Some(error.to_string()),
    };
    if Digest::of(manifest) != entry.key {
        return Some("its manifest is not the one that its key is the digest of".to_owned());
    }
    match (finish::tree_digest(&entry.deploy()), finish::tree_digest(&entry.toolchain())) {
        (Ok(deploy), Ok(toolchain)) => {
            let output = Digest::of(format!("{} {}", deploy.digest, toolchain.digest));
            (output != entry.meta.output).then(|| {
                format!(
                    "its files have the digest {}, when they were made it was {}",
                    output.short(),
                    entry.meta.output.short()
                )
            })
        }
        (Err(error), _) | (_, Err(error)) => Some(error.message),
    }
}

/// A result that is not what was put there.
struct Damaged {
    /// The package, or the key where it is not known whose result it is.
    name: String,
    key: Digest,
    path: PathBuf,
    why: String,
}

fn verify(settings: &Settings, store: &Store, remove: bool) -> Result<()> {
    let _alone = if remove { Some(super::gc::alone(store)?) } else { store.in_use()? };
    let mut damaged: Vec<Damaged> = store
        .broken()
        .into_iter()
        .map(|(key, path)| Damaged {
            name: key.short(),
            key,
            path,
            why: "its meta.json cannot be read".to_owned(),
        })
        .collect();
    let entries = store.entries();
    let results = entries.len() + damaged.len();
    for entry in entries {
        if let Some(why) = damage(&entry) {
            damaged.push(Damaged {
                name: entry.meta.package.to_string(),
                key: entry.key,
                path: entry.path,
                why,
            });
        }
    }
    for item in damaged.iter().filter(|_| remove) {
        store.discard(&item.path)?;
    }
    if settings.format == Format::Json {
        let items: Vec<_> = damaged
            .iter()
            .map(|item| serde_json::json!({ "package": item.name, "key": item.key, "why": item.why, "removed": remove }))
            .collect();
        output::json(&serde_json::json!({ "results": results, "damaged": items }))?;
    } else if damaged.is_empty() {
        output::data(&format!("{results} results, all as they were made\n"))?;
    }
    if damaged.is_empty() {
        return Ok(());
    }
    let mut error = Error::new(Kind::Host, format!("{} of {results} results are damaged", damaged.len()));
    for item in &damaged {
        error = error.at(format!("{} {}: {}", item.name, item.path.display(), item.why));
    }
    Err(if remove {
        error.hint("they were removed; the next build makes them again")
    } else {
        error.hint(format!("`{} store verify --remove` removes them", settings.again))
    })
}
