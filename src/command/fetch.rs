//! `mk fetch`: gets every archive that a product needs, ahead of time, and says where each came from.

use std::sync::mpsc;

use serde::Serialize;

use crate::cli::Target;
use crate::config::{Format, Settings};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::fetch::{Fetched, Request, archive_url};
use crate::load::{self, Loaded};
use crate::mirrors;
use crate::names::PackageName;
use crate::output;
use crate::recipe::{Recipe, Source};
use crate::report::note;
use crate::room::Cancel;
use crate::signals;
use crate::units;

use super::check_update::in_parallel;

/// Downloads at once.
const AT_ONCE: usize = 4;
/// An archive of more bytes takes a while: it is told when it begins, too.
const LARGE: u64 = 10_000_000;

/// What to get.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Get what these need, in place of the whole system
    packages: Vec<String>,
}

/// One archive of the stable form of `mk fetch --format json`.
#[derive(Serialize)]
struct Item<'a> {
    packages: &'a [PackageName],
    file: &'a str,
    status: &'a str,
    from: Option<&'a str>,
    size: Option<u64>,
    sha256: Option<Digest>,
    reason: Option<String>,
}

#[derive(Serialize)]
struct Listing<'a> {
    archives: Vec<Item<'a>>,
}

/// An archive and who needs it.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Packages with this very archive; they share it.
    pub packages: Vec<PackageName>,
    /// Where it comes from.
    pub source: &'a Source,
}

/// The archives of all packages, each once, in the order of the packages.
pub fn wanted(loaded: &Loaded) -> Vec<Wanted<'_>> {
    let mut found: Vec<Wanted<'_>> = Vec::new();
    let with_source = |recipe: &'_ Recipe| recipe.source.is_some();
    for recipe in loaded.graph.packages.iter().filter(|recipe| with_source(recipe)) {
        let Some(source) = &recipe.source else { continue };
        match found.iter_mut().find(|w| {
            w.source.file == source.file && w.source.digests == source.digests && w.source.urls == source.urls
        }) {
            Some(same) => same.packages.push(recipe.name.clone()),
            None => found.push(Wanted { packages: vec![recipe.name.clone()], source }),
        }
    }
    found
}

/// Gets all of `wanted` into the workspace, some at once; tells of each on standard error as it comes.
pub fn fetch(settings: &Settings, loaded: &Loaded, wanted: &[Wanted<'_>]) -> Result<Vec<Result<Fetched>>> {
    let fetcher = mirrors::fetcher(settings, &loaded.places)?;
    let dir = settings.workspace.download();
    let cancel = Cancel::new()?;
    let (wakes, _unheard) = mpsc::channel();
    let watch = signals::watch(cancel.clone(), wakes)?;
    let results = in_parallel(wanted, AT_ONCE, |wanted| {
        let Wanted { packages, source } = wanted;
        let urls: Vec<String> = source.urls.iter().map(|url| archive_url(url, &source.file)).collect();
        let request = Request {
            package: &packages[0],
            file: &source.file,
            urls: &urls,
            digests: &source.digests,
            dir: &dir,
            offline: settings.offline,
        };
        let mut told = settings.quiet;
        let mut progress = |_, total: Option<u64>| {
            if let Some(total) = total.filter(|&total| !told && total > LARGE) {
                told = true;
                note(&format!("fetching `{}`, {}", source.file, units::size(total)));
            }
        };
        let fetched = fetcher.fetch(&request, &mut progress, &|| cancel.is_cancelled());
        if let Ok(Fetched { from: Some(from), path, .. }) = &fetched {
            if !settings.quiet {
                let size = fs_err::metadata(path).map_or(0, |meta| meta.len());
                note(&format!("fetched `{}`, {}, from `{from}`", source.file, units::size(size)));
            }
        }
        if let Ok(Fetched { warning: Some(warning), .. }) = &fetched {
            note(warning);
        }
        fetched
    });
    if let Some(signal) = watch.heard() {
        return Err(Error::new(Kind::Interrupted(signal), ""));
    }
    Ok(results)
}

/// What failed, as one error.
pub fn failure(wanted: &[Wanted<'_>], results: &[Result<Fetched>]) -> Option<Error> {
    let failed: Vec<Error> = wanted
        .iter()
        .zip(results)
        .filter_map(|(wanted, result)| Some(result.as_ref().err()?.clone().context(&wanted.packages[0])))
        .collect();
    super::together(&format!("{} of {} archives are not to be had", failed.len(), wanted.len()), failed)
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let store = settings.store()?;
    let loaded =
        load::load(settings, &store, &options.target.board, &options.target.product, &options.packages)?;
    let wanted = wanted(&loaded);
    let results = fetch(settings, &loaded, &wanted)?;
    let size = |fetched: &Fetched| fs_err::metadata(&fetched.path).map(|meta| meta.len()).ok();
    if settings.format == Format::Json {
        let archives = wanted.iter().zip(&results).map(|(wanted, result)| {
            let (packages, file) = (&wanted.packages[..], wanted.source.file.as_str());
            match result {
                Ok(fetched) => Item {
                    packages,
                    file,
                    status: if fetched.from.is_some() { "fetched" } else { "present" },
                    from: fetched.from.as_deref(),
                    size: size(fetched),
                    sha256: Some(fetched.digest),
                    reason: None,
                },
                Err(error) => {
                    let lines = std::iter::once(error.message.clone()).chain(error.at.iter().cloned());
                    let reason = Some(lines.collect::<Vec<_>>().join("\n"));
                    Item { packages, file, status: "failed", from: None, size: None, sha256: None, reason }
                }
            }
        });
        output::json(&Listing { archives: archives.collect() })?;
    } else {
        let rows: Vec<Vec<String>> = wanted
            .iter()
            .zip(&results)
            .map(|(wanted, result)| {
                let (status, size, from) = match result {
                    Ok(fetched) => (
                        if fetched.from.is_some() { "fetched" } else { "present" },
                        size(fetched).map(units::size).unwrap_or_default(),
                        fetched.from.clone().unwrap_or_default(),
                    ),
                    Err(_) => ("failed", String::new(), wanted.source.urls.join(" ")),
                };
                let names: Vec<&str> = wanted.packages.iter().map(PackageName::as_str).collect();
                vec![status.to_owned(), names.join(","), wanted.source.file.clone(), size, from]
            })
            .collect();
        output::data(&output::table(&rows))?;
    }
    failure(&wanted, &results).map_or(Ok(()), Err)
}
