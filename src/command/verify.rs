//! `mk verify`: builds packages once more, elsewhere and without the store, and compares the outputs.

use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use serde::Serialize;

use crate::cli::Target;
use crate::config::{Format, Rooms, Settings};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events};
use crate::executor::Local;
use crate::finish;
use crate::job::{Job, Workshop};
use crate::names::PackageName;
use crate::output;
use crate::plan::Action;
use crate::report::Report;
use crate::room::RoomServer;
use crate::schedule::{self, Limits, Node, Schedule};
use crate::stage::link_view;
use crate::store::Store;

/// What to build again.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Verify these alone [default: every package of the system]
    packages: Vec<String>,
}

/// The stable form of `mk verify --format json`.
#[derive(Serialize)]
struct Listing<'a> {
    /// How many were built again.
    packages: usize,
    /// How many of them came out the same.
    same: usize,
    different: Vec<Different<'a>>,
}

/// A package that came out another way.
#[derive(Serialize)]
struct Different<'a> {
    package: &'a PackageName,
    /// `deploy` or `toolchain`.
    place: &'static str,
    /// The first difference.
    difference: String,
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    if settings.rooms == Rooms::Never {
        return Err(Error::new(
            Kind::Usage,
            "`mk verify` compares what rooms make; it does not go with `--rooms never`",
        ));
    }
    let shared = settings.store()?;
    let _in_use = shared.in_use()?;
    // On the store's file system, which has room for results.
    let temporary = shared.temporary()?;
    let server = RoomServer::start()?;
    server.check(&temporary.folder("probe")?)?;
    let built = super::build::build_first(settings, &shared, &options.target, &options.packages)?;
    let mut loaded = built.loaded;
    let mut places = Vec::new();
    for package in &options.packages {
        places.push(loaded.place(package)?);
    }
    if places.is_empty() {
        places = (0..loaded.graph.packages.len()).collect();
    }
    // Another store, another number of jobs. Logs, and what fails, go where those of a build go.
    let store = Store::open(&temporary.folder("verify")?.join("store"))?;
    fs_err::create_dir_all(loaded.build_root.logs())?;
    let _building = Store::mark_building(&loaded.build_root.state())?;
    // Standard output is for what comes out in the end.
    let format = if settings.format == Format::Json { Format::Plain } else { settings.format };
    let (path, jobs) = (store.root().to_owned(), settings.jobs + 1);
    let other = Settings { store: path, jobs, format, ..settings.clone() };
    loaded.variables.insert("NUMJOBS".to_owned(), jobs.to_string());
    let ingredients = loaded.ingredients(true);
    let planner = super::build::planner(&loaded, &store, &ingredients);
    let mut plan = planner.plan()?;
    for (place, planned) in plan.packages.iter_mut().enumerate() {
        let again = places.contains(&place);
        planned.found = if again { None } else { built.found[place].clone() };
        planned.action = if again { Action::Build } else { Action::Reuse };
        planned.reason = "verified".to_owned();
    }
    let workshop = Workshop::new(&other, &store, &loaded.places)?;
    let (events, receiver) = Events::channel();
    let job = Job::new(&other, &loaded, &planner, &store, &server, true, &workshop, &events, &plan);
    // Each is built against the results that are there, so none waits for another.
    let nodes = independent(job.nodes(&plan));
    let mut schedule = Schedule::new(nodes.clone(), Limits { jobs: other.jobs, downloads: 4 }, true)?;
    let report = Report::start(receiver, super::build::report_options(&other, None));
    let began = Instant::now();
    events.send(Event::RunStarted {
        name: format!("{} (verify)", loaded.name()),
        packages: places.len(),
        reused: 0,
        jobs: other.jobs,
        estimate: None,
    });
    let (sender, wakes) = mpsc::channel();
    let watch = crate::signals::watch(workshop.cancel.clone(), sender.clone())?;
    job.lend(&built.found);
    std::thread::scope(|scope| {
        let mut local = Local::new(scope, &job, &nodes, (sender, wakes));
        schedule::drive(&mut schedule, &mut local);
    });
    job.tell_untried();
    let stopped = watch.heard();
    let again: Vec<_> = places
        .iter()
        .map(|&place| job.found(place).filter(|found| found.entry.path.starts_with(store.root())))
        .collect();
    let success = again.iter().all(Option::is_some);
    let exit_code = job.exit_code().unwrap_or(i32::from(!success));
    events.send(Event::RunEnded { success, elapsed: began.elapsed() });
    drop(job);
    drop(events);
    for &place in &places {
        keep_failed(&store, &shared, &loaded.build_root.failed(&loaded.graph.packages[place].name))?;
    }
    report.join()?;
    if let Some(signal) = stopped {
        return Err(Error::new(Kind::Interrupted(signal), ""));
    }
    let mut different = Vec::new();
    let mut same = 0;
    for (&place, again) in places.iter().zip(&again) {
        let (Some(first), Some(again)) = (&built.found[place], again) else { continue };
        let package = &loaded.graph.packages[place].name;
        let deploy = finish::first_difference(&first.entry.deploy(), &again.entry.deploy())?;
        let toolchain = finish::first_difference(&first.entry.toolchain(), &again.entry.toolchain())?;
        let (place, difference) = match (deploy, toolchain) {
            (None, None) => {
                same += 1;
                continue;
            }
            (Some(difference), _) => ("deploy", difference),
            (None, Some(difference)) => ("toolchain", difference),
        };
        different.push(Different { package, place, difference: difference.to_string() });
    }
    let listing = Listing { packages: places.len(), same, different };
    if settings.format == Format::Json {
        output::json(&listing)?;
    } else {
        output::data(&format!("{same} of {} packages came out the same\n", listing.packages))?;
    }
    let different = listing.different;
    if !different.is_empty() {
        let mut error = Error::new(Kind::Build, format!("{} packages are not reproducible", different.len()));
        let line = |it: &Different| format!("{}: {}: {}", it.package, it.place, it.difference);
        error.at = different.iter().map(line).collect();
        return Err(error.hint("look for times, names of folders, or an order that is left to chance"));
    }
    if success { Ok(()) } else { Err(Error::new(Kind::Told(exit_code), "")) }
}

/// Moves the folders of a failed step to the store that `mk shell` asks for them, unless a shell is open in others there.
fn keep_failed(store: &Store, shared: &Store, view: &Path) -> Result<()> {
    let (kept, to) = (store.failed(view), shared.failed(view));
    if kept.exists() {
        if shared.forget_failed(view)? {
            fs_err::create_dir_all(to.parent().unwrap_or(&to))?;
            fs_err::rename(kept, &to)?;
        }
        link_view(&to, view)?;
    }
    Ok(())
}

/// The nodes without what ties one package to another.
fn independent(nodes: Vec<Node>) -> Vec<Node> {
    let packages: Vec<usize> = nodes.iter().map(|node| node.package).collect();
    nodes
        .into_iter()
        .map(|mut node| {
            node.needs.retain(|&need| packages[need] == node.package);
            node
        })
        .collect()
}
