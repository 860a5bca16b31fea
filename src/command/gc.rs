//! `mk gc`: removes from the store what no build root uses.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::{Format, Settings};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::layout::Workspace;
use crate::store::{Lock, Store};
use crate::{output, report, units};

/// What may go.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Remove only what was last used more than so many days ago
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    older_than: u64,
    /// Remove, longest unused first, only until the store is no larger than this (such as 500M, 20G)
    #[arg(long, value_name = "SIZE")]
    larger_than: Option<String>,
    /// Say what would be removed, remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// Something that may be removed.
struct Unused {
    used: SystemTime,
    path: PathBuf,
    what: String,
    bytes: u64,
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let store = settings.existing_store()?;
    let limit = options.larger_than.as_deref().map(size).transpose()?;
    let _alone = alone(&store)?;
    let mut used: BTreeSet<Digest> = BTreeSet::new();
    for root in store.roots() {
        // A build root that was removed uses nothing.
        if let Some(workspace) = root.parent().filter(|_| root.is_dir()) {
            for build_root in Workspace::new(workspace)?.build_roots()? {
                used.extend(super::build::used(&build_root).into_values());
            }
        }
    }
    let mut unused = Vec::new();
    let (mut sources, mut prepared) = (BTreeSet::new(), BTreeSet::new());
    let mut total = 0;
    for entry in store.entries() {
        total += entry.meta.size;
        if used.contains(&entry.key) {
            sources.extend(entry.meta.source);
            prepared.extend(entry.meta.prepared);
        } else {
            let what = format!("{} {}", entry.meta.package, entry.meta.version);
            unused.push(Unused {
                used: last_used(&entry.path),
                what,
                bytes: entry.meta.size,
                path: entry.path,
            });
        }
    }
    for (key, path) in store.broken() {
        let bytes = weigh(&path);
        total += bytes;
        unused.push(Unused {
            used: last_used(&path),
            what: format!("unreadable {}", key.short()),
            bytes,
            path,
        });
    }
    for (kind, keep) in [("source", sources), ("prepared", prepared), ("failed", BTreeSet::new())] {
        for folder in std::fs::read_dir(store.root().join(kind)).into_iter().flatten().flatten() {
            let path = folder.path();
            let bytes = weigh(&path);
            total += bytes;
            if !folder
                .file_name()
                .to_string_lossy()
                .parse::<Digest>()
                .is_ok_and(|digest| keep.contains(&digest))
            {
                let what = format!(
                    "{kind} {}",
                    folder.file_name().to_string_lossy().chars().take(8).collect::<String>()
                );
                unused.push(Unused { used: last_used(&path), path, what, bytes });
            }
        }
    }
    unused.sort_by(|a, b| a.used.cmp(&b.used).then_with(|| a.path.cmp(&b.path)));
    let young = SystemTime::now().checked_sub(Duration::from_secs(options.older_than.saturating_mul(86_400)));
    let mut removed = Vec::new();
    let mut others = 0;
    let mut left = total;
    for item in unused {
        let old_enough = options.older_than == 0 || young.is_some_and(|young| item.used < young);
        if old_enough && limit.is_none_or(|limit| left > limit) {
            if !store.may_discard(&item.path) {
                others += 1;
                continue;
            }
            left -= item.bytes.min(left);
            if !options.dry_run {
                store.discard(&item.path)?;
            }
            removed.push(item);
        }
    }
    if !options.dry_run {
        store.sweep();
        store.clear_locks()?;
    }
    if others > 0 {
        report::note(&format!(
            "left what other users made: {others} of what could go; they can remove that by `mk gc`, or root"
        ));
    }
    let freed: u64 = removed.iter().map(|item| item.bytes).sum();
    if settings.format == Format::Json {
        let items: Vec<_> = removed
            .iter()
            .map(|item| {
                let path = output::path(&item.path);
                serde_json::json!({ "what": item.what, "path": path, "bytes": item.bytes })
            })
            .collect();
        return output::json(
            &serde_json::json!({ "removed": items, "bytes": freed, "dry_run": options.dry_run, "left": left, "others": others }),
        );
    }
    let mut rows: Vec<Vec<String>> =
        removed.iter().map(|item| vec![item.what.clone(), units::size(item.bytes)]).collect();
    let word = if options.dry_run { "would be removed" } else { "removed" };
    rows.push(vec![format!("{} {word}, {} left", units::size(freed), units::size(left))]);
    output::data(&output::table(&rows))
}

/// The store for this process alone, or an error that says that it is in use.
pub fn alone(store: &Store) -> Result<Lock> {
    store.alone()?.ok_or_else(|| {
        Error::new(Kind::Host, format!("store `{}` is in use by another `mk`", store.root().display()))
            .hint("try again when its build has ended")
    })
}

/// When a build root last took a result or gave it up; of other folders, when they were made.
fn last_used(path: &Path) -> SystemTime {
    path.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Bytes of all files in a folder. A link has none: what it leads to stays when it goes.
pub fn weigh(path: &Path) -> u64 {
    if path.is_symlink() {
        return 0;
    }
    walkdir::WalkDir::new(path)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(|m| m.is_file())
        .map(|m| m.len())
        .sum()
}

/// Bytes from a number with K, M, G or T.
fn size(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => Some(1),
        "K" => Some(1 << 10),
        "M" => Some(1 << 20),
        "G" => Some(1 << 30),
        "T" => Some(1_u64 << 40),
        _ => None,
    };
    digits.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit)).ok_or_else(
        || Error::new(Kind::Usage, format!("`{text}` is no size")).hint("sizes look like 500M or 20G"),
    )
}
