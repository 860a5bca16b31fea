//! `mk store`: what is in the store, and whether it is still what was put there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::{Format, Settings};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
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
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let store = settings.existing_store()?;
    match options.command {
        Command::List => list(settings, &store),
        Command::Verify { remove } => verify(settings, &store, remove),
    }
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
