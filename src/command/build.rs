//! `mk BOARD PRODUCT`: plans, carries the plan out, shows the result.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Instant, SystemTime};

use crate::cli::Target;
use crate::config::{Format, Rooms, Settings};
use crate::digest::Digest;
use crate::disk::{LockFile, same_content};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events, Stamped};
use crate::executor::Local;
use crate::job::{Job, Workshop};
use crate::layout::BuildRoot;
use crate::load::{self, Loaded};
use crate::memory::Memory;
use crate::names::{PackageName, Step};
use crate::plan::{Action, Found, Plan, Planner};
use crate::recipe::Recipe;
use crate::report::{self, Report};
use crate::room::RoomServer;
use crate::schedule::{self, Limits, Schedule, Wake};
use crate::stage::link_view;
use crate::store::{self, Store};
use crate::{hosttools, signals, stage, uptodate};

/// Downloads at once.
const DOWNLOADS: usize = 4;

/// What a build came to.
pub struct Built {
    /// What was read.
    pub loaded: Loaded,
    /// Each package's result, by place; `None` where it failed or was not tried.
    pub found: Vec<Option<Found>>,
    /// Whether everything is there.
    pub success: bool,
    /// The exit code of what failed.
    pub exit_code: i32,
}

/// Carries out the command.
pub fn run(settings: &Settings, target: &Target, packages: &[String], trace: Option<&Path>) -> Result<()> {
    // Also where nothing is to be done: an empty word is not the whole system.
    packages.iter().try_for_each(|name| PackageName::new(name).map(drop))?;
    let build_root = settings.workspace.build_root(&target.board, &target.product);
    let memory = match uptodate::check(settings, &build_root, &target.board, &target.product, packages) {
        uptodate::State::UpToDate(count) => {
            return tell_nothing_to_do(settings, &build_root.name(), count, trace);
        }
        uptodate::State::Partly(partly) => partly.recall(&build_root),
        uptodate::State::Unknown => None,
    };
    let built = build_but(settings, &settings.store()?, target, packages, memory, trace)?;
    if built.success { Ok(()) } else { Err(Error::new(Kind::Told(built.exit_code), "")) }
}

/// Builds what a command makes something of. Standard output stays the command's own.
pub fn build_first(
    settings: &Settings,
    shared: &Store,
    target: &Target,
    packages: &[String],
) -> Result<Built> {
    let format = if settings.format == Format::Json { Format::Plain } else { settings.format };
    let built = build(&Settings { format, ..settings.clone() }, shared, target, packages)?;
    if built.success { Ok(built) } else { Err(Error::new(Kind::Told(built.exit_code), "")) }
}

/// Builds; also used by commands that need the result.
pub fn build(settings: &Settings, shared: &Store, target: &Target, packages: &[String]) -> Result<Built> {
    build_but(settings, shared, target, packages, None, None)
}

/// Builds. `memory`: what is known to be as it was in the last run.
fn build_but(
    settings: &Settings,
    shared: &Store,
    target: &Target,
    packages: &[String],
    memory: Option<Memory>,
    trace: Option<&Path>,
) -> Result<Built> {
    carry_out(settings, shared, target, packages, memory, trace).map_err(|error| {
        let root = settings.workspace.build_root(&target.board, &target.product);
        let full = if error.kind == Kind::Host { shared.tell_full(root.root()) } else { None };
        match full {
            Some((text, hint)) => error.at(text).hint(hint),
            None => error,
        }
    })
}

/// Does so; what a full disk has to do with an error is for its caller to say.
fn carry_out(
    settings: &Settings,
    shared: &Store,
    target: &Target,
    packages: &[String],
    memory: Option<Memory>,
    trace: Option<&Path>,
) -> Result<Built> {
    // Now, while there is one thread and little memory: each room is forked from the server, with all that it holds.
    let started = RoomServer::start()?;
    let mut loaded = load::load_but(settings, shared, &target.board, &target.product, packages, memory)?;
    let build_root = loaded.build_root.clone();
    for folder in [build_root.logs(), build_root.deploy(), build_root.manifests()] {
        fs_err::create_dir_all(folder)?;
    }
    let _in_use = shared.in_use()?;
    let private = || Store::open(&build_root.private_store());
    let mut in_rooms = settings.rooms != Rooms::Never;
    let mut store = if in_rooms { shared.clone() } else { private()? };
    let mut plan = planner(&loaded, &store, &loaded.ingredients(in_rooms)).plan()?;
    let nothing = |plan: &Plan| plan.packages.iter().all(|planned| planned.action == Action::Reuse);

    let mut server = None;
    let mut refused = None;
    if !nothing(&plan) {
        if !store.is_writable() {
            let count = plan.packages.iter().filter(|planned| planned.action != Action::Reuse).count();
            let text = format!(
                "{count} packages have to be built, and store `{}` cannot be written",
                store.root().display()
            );
            return Err(
                Error::new(Kind::Host, text).hint("name one that can be written with --store or MK_STORE")
            );
        }
        let due = loaded.graph.packages.iter().zip(&plan.packages);
        hosttools::check(
            due.filter(|(_, planned)| planned.action != Action::Reuse).map(|(recipe, _)| recipe),
        )?;
        if in_rooms {
            let scratch = store.temporary()?;
            if let Err(why) = started.probe(&scratch.folder("probe")?) {
                if settings.rooms == Rooms::Always {
                    return Err(Error::new(Kind::Host, format!("this machine refuses rooms: {why}"))
                        .hint("`--rooms never` builds without them, one package at a time"));
                }
                in_rooms = false;
                store = private()?;
                loaded.standing.clear();
                plan = planner(&loaded, &store, &loaded.ingredients(in_rooms)).plan()?;
                refused = Some(format!(
                    "no rooms: {why}; building one package at a time, results stay in this build root"
                ));
            }
        }
        server = Some(started);
    }

    let ingredients = loaded.ingredients(in_rooms);
    let planner = planner(&loaded, &store, &ingredients);
    let (events, receiver) = Events::channel();
    let began = Instant::now();
    let waiting: Vec<usize> =
        (0..plan.packages.len()).filter(|&place| plan.packages[place].action != Action::Reuse).collect();
    let weights: Vec<Option<f64>> =
        waiting.iter().map(|&place| store.duration(&loaded.graph.packages[place].name)).collect();
    let record = build_root.logs().join("events.json");
    let Some(server) = server else {
        let found: Vec<Option<Found>> = plan.packages.into_iter().map(|planned| planned.found).collect();
        store.sweep();
        with_views(&build_root, &|| false, &|| report::note(WAITS), || {
            show_results(settings, &loaded, &store, &found, &|_| false, in_rooms)
        })?;
        remember(&loaded, &store);
        let _ = uptodate::remember(settings, &loaded, packages, &found, in_rooms);
        tell_nothing_to_do(settings, &loaded.name(), found.len(), trace)?;
        return Ok(Built { loaded, found, success: true, exit_code: 0 });
    };

    let workshop = Workshop::new(settings, &store, &loaded.places)?;
    let _building = Store::mark_building(&build_root.state())?;
    stage::sweep_views(&build_root.deploy());
    let names = waiting.iter().map(|&place| &loaded.graph.packages[place].name);
    set_unfinished(&build_root, &names.map(ToString::to_string).collect::<Vec<_>>())?;
    let job = Job::new(settings, &loaded, &planner, &store, &server, in_rooms, &workshop, &events, &plan);
    let nodes = job.nodes(&plan);
    let limits = Limits { jobs: if in_rooms { settings.jobs } else { 1 }, downloads: DOWNLOADS };
    let mut schedule = Schedule::new(nodes.clone(), limits, settings.keep_going)?;

    let report = Report::start(receiver, report_options(settings, Some(record.clone())));
    let estimate: Option<f64> =
        weights.iter().copied().sum::<Option<f64>>().map(|sum| sum / limits.jobs as f64);
    events.send(Event::RunStarted {
        name: loaded.name(),
        packages: plan.packages.len(),
        reused: plan.packages.len() - waiting.len(),
        jobs: settings.jobs,
        estimate,
    });
    for text in refused.into_iter().chain(workshop.warning.clone()) {
        events.send(Event::Note { text });
    }
    for (&place, weight) in waiting.iter().zip(&weights) {
        let recipe = &loaded.graph.packages[place];
        events.send(Event::Planned {
            package: recipe.name.clone(),
            version: recipe.version().to_owned(),
            needs: recipe.depends.clone(),
            weight: weight.unwrap_or(0.0),
        });
        if !recipe.evaluated.noise.trim().is_empty() {
            let said = recipe.evaluated.noise.trim().lines().next().unwrap_or_default();
            events.send(Event::Warning {
                text: format!("pkg/{}/build prints while it is read: `{said}`", recipe.name),
            });
        }
    }
    let (sender, wakes) = mpsc::channel::<Wake>();
    let watch = signals::watch(workshop.cancel.clone(), sender.clone())?;
    std::thread::scope(|scope| {
        let mut local = Local::new(scope, &job, &nodes, (sender, wakes));
        schedule::drive(&mut schedule, &mut local);
    });
    job.tell_untried();

    let found: Vec<Option<Found>> = (0..plan.packages.len()).map(|place| job.found(place)).collect();
    let stop = || workshop.cancel.is_cancelled();
    let waits = || events.send(Event::Note { text: WAITS.to_owned() });
    job.leave_folders();
    let finished = with_views(&build_root, &stop, &waits, || {
        show_results(settings, &loaded, &store, &found, &|place| job.was_built(place), in_rooms)
    });
    // After that: who stops while it waits there has not shown everything.
    let stopped = watch.heard();
    let success = found.iter().all(Option::is_some) && stopped.is_none();
    remember(&loaded, &store);
    if success {
        let _ = uptodate::remember(settings, &loaded, packages, &found, in_rooms);
    }
    events.send(Event::Usage { cpu: job.cpu() });
    events.send(Event::RunEnded { success, elapsed: began.elapsed() });
    let exit_code = job.exit_code().unwrap_or(i32::from(!success));
    drop(job);
    drop(events);
    let told = report.join();
    finished?;
    if let Some(trace) = trace {
        write_trace(trace, &crate::trace::read(&record)?)?;
    }
    if let Some(signal) = stopped {
        return Err(Error::new(Kind::Interrupted(signal), ""));
    }
    told?;
    Ok(Built { loaded, found, success, exit_code })
}

/// How a run is reported.
pub fn report_options(settings: &Settings, record: Option<PathBuf>) -> report::Options {
    let variable = |name: &str| settings.environment.get(name).map_or("", String::as_str);
    report::Options {
        form: match settings.format {
            Format::Json => report::Form::Json,
            Format::Human if std::io::stderr().is_terminal() && variable("TERM") != "dumb" => {
                report::Form::Human
            }
            _ => report::Form::Plain,
        },
        verbosity: match (settings.quiet, settings.verbose) {
            (true, _) => report::Verbosity::Quiet,
            (_, true) => report::Verbosity::Verbose,
            _ => report::Verbosity::Normal,
        },
        color: variable("NO_COLOR").is_empty(),
        root: settings.workspace.root().to_owned(),
        record,
    }
}

/// The planner of a store.
pub fn planner<'a>(
    loaded: &'a Loaded,
    store: &'a Store,
    ingredients: &'a crate::key::Ingredients<'a>,
) -> Planner<'a> {
    Planner {
        graph: &loaded.graph,
        ingredients,
        store,
        build_root: &loaded.build_root,
        standing: &loaded.standing,
    }
}

fn write_trace(path: &Path, events: &[Stamped]) -> Result<()> {
    let run = crate::trace::Run::of(events);
    Ok(fs_err::write(path, run.map(|run| run.chrome().to_string()).unwrap_or_default())?)
}

/// A run in which everything is there.
fn tell_nothing_to_do(settings: &Settings, name: &str, packages: usize, trace: Option<&Path>) -> Result<()> {
    let (events, receiver) = Events::channel();
    let report = Report::start(receiver, report_options(settings, None));
    let (name, jobs) = (name.to_owned(), settings.jobs);
    let told = [
        Event::RunStarted { name, packages, reused: packages, jobs, estimate: Some(0.0) },
        Event::RunEnded { success: true, elapsed: std::time::Duration::ZERO },
    ];
    told.iter().for_each(|event| events.send(event.clone()));
    drop(events);
    let printed = report.join();
    let stamped = told.map(|event| Stamped { time: SystemTime::now(), event });
    trace.map_or(Ok(()), |trace| write_trace(trace, &stamped))?;
    printed
}

/// Keys of the results that a build root shows, by package.
pub type Used = BTreeMap<PackageName, Digest>;

/// Reads what a build root shows.
pub fn used(build_root: &crate::layout::BuildRoot) -> Used {
    let text = fs_err::read(build_root.state().join("keys.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Saves what makes the next run faster. Nothing is lost where that cannot be written.
fn remember(loaded: &Loaded, store: &Store) {
    let _ = loaded.digests.save(&store.digests());
}

/// Packages of a build root whose logs may not be those of the results that it shows: the last run did not finish them.
pub fn unfinished(root: &BuildRoot) -> Vec<String> {
    let text = fs_err::read_to_string(root.state().join("unfinished")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn set_unfinished(root: &BuildRoot, names: &[String]) -> Result<()> {
    store::write_atomically(&root.state().join("unfinished"), names.join("\n").as_bytes())
}

/// What is said of a wait for a build without rooms in the same build root.
const WAITS: &str = "waits for another `mk`, which builds without rooms here, before it shows results";

/// Shows results when nobody works in the views. Whoever stops while it waits leaves that to the next run.
fn with_views(
    root: &BuildRoot,
    stop: &dyn Fn() -> bool,
    waits: &dyn Fn(),
    show: impl FnOnce() -> Result<()>,
) -> Result<()> {
    // No error: where nothing can be written, all is as it should be, or what is to be shown says that it is not.
    let lock = LockFile::take(&root.lock(), stop, waits);
    if matches!(lock, Ok(None)) { Ok(()) } else { show() }
}

/// Makes the workspace show the results: `deploy/<package>`, `toolchain`, `src`, the logs (of those that were not built just
/// now there are none here but in the store, or the same), and the manifests for the next `mk why`.
fn show_results(
    settings: &Settings,
    loaded: &Loaded,
    store: &Store,
    found: &[Option<Found>],
    built: &dyn Fn(usize) -> bool,
    in_rooms: bool,
) -> Result<()> {
    let root = &loaded.build_root;
    let before = used(root);
    let left = unfinished(root);
    let mut now = before.clone();
    let mut layers = Vec::new();
    let mut missing = Vec::new();
    for (place, (recipe, found)) in loaded.graph.packages.iter().zip(found).enumerate() {
        let Some(found) = found else {
            missing.push(recipe.name.to_string());
            continue;
        };
        if found.entry.meta.toolchain {
            layers.push(found.entry.toolchain());
        }
        if loaded.standing.get(&recipe.name).is_none_or(|standing| standing.entry.key != found.entry.key) {
            link_view(&found.entry.deploy(), &root.deploy().join(recipe.name.as_str()))?;
            if in_rooms {
                show_source(settings, store, recipe, found)?;
            }
        }
        let changed = before.get(&recipe.name) != Some(&found.entry.key);
        if changed {
            let path = root.manifests().join(recipe.name.as_str());
            store::write_atomically(&path, &fs_err::read(found.entry.manifest())?)?;
            if let Some(last) = now.insert(recipe.name.clone(), found.entry.key) {
                store.touch(&last);
            }
            store.touch(&found.entry.key);
        }
        if !built(place) && (changed || left.iter().any(|name| recipe.name.as_str() == name)) {
            let kept = |step: Step| found.entry.logs().join(format!("{step}.log"));
            let same = |step: &Step| same_content(&root.log(&recipe.name, *step), &kept(*step));
            // Those of another run here, for which this one waited, stay: somebody may follow them.
            if !Step::ALL.iter().all(same) {
                for step in Step::ALL {
                    let _ = fs_err::remove_file(root.log(&recipe.name, step));
                }
            }
        }
    }
    if now != before {
        if in_rooms {
            stage::show_layers(&layers, &root.toolchain())?;
        }
        // Last: who is killed before shows everything again the next time.
        store::write_atomically(
            &root.state().join("keys.json"),
            &serde_json::to_vec(&now).unwrap_or_default(),
        )?;
    }
    if missing != left {
        set_unfinished(root, &missing)?;
    }
    for failure in std::fs::read_dir(root.failures()).into_iter().flatten().flatten() {
        let name = failure.file_name();
        let mut there = loaded.graph.packages.iter().zip(found).filter(|(_, found)| found.is_some());
        if there.any(|(recipe, _)| name == recipe.name.as_str()) {
            // Nothing depends on it; `mk clean` and `mk gc` remove it as well.
            let _ = forget_failure(settings, root, &failure.path());
        }
    }
    match store.remember_root(root.root()) {
        // Nobody removes anything from a store that cannot be written.
        Err(error) if store.is_writable() => Err(error),
        _ => Ok(()),
    }
}

/// Removes what was kept of a package's failure, unless a shell is open in it.
fn forget_failure(settings: &Settings, root: &BuildRoot, view: &Path) -> Result<()> {
    for folder in [settings.store.clone(), root.private_store()] {
        if folder.is_dir() && !Store::open(&folder)?.forget_failed(view)? {
            return Ok(());
        }
    }
    // A link to something else is somebody else's.
    let kept = fs_err::read_link(view)?;
    if !kept.exists() {
        fs_err::remove_file(view)?;
    }
    let _ = std::fs::remove_dir(root.failures());
    Ok(())
}

/// Shows a package's unpacked source by a link; a folder that lies there already is somebody's and stays.
fn show_source(settings: &Settings, store: &Store, recipe: &Recipe, found: &Found) -> Result<()> {
    let folders = recipe.source.iter().flat_map(|source| &source.folders);
    let unpacked = found.entry.meta.source.map(|digest| store.source(&digest));
    let Some(folder) =
        folders.clone().find_map(|name| Some(unpacked.as_ref()?.join(name)).filter(|path| path.is_dir()))
    else {
        return Ok(());
    };
    let Some(name) = folders.clone().next().filter(|name| *name != ".") else { return Ok(()) };
    let view = settings.workspace.src().join(name);
    if let (Some(parent), false) = (view.parent(), view.is_dir() && !view.is_symlink()) {
        fs_err::create_dir_all(parent)?;
        link_view(&folder, &view)?;
    }
    Ok(())
}
