//! What a run works on: how far each package has come, and what happens to a node of the schedule.
//! The parts of that work are in `source` (fetch, unpack, prepare), `making` (rooms, steps, results) and `bare` (without rooms).

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;

use crate::config::Settings;
use crate::digest::Digest;
use crate::disk::LockFile;
use crate::error::{Error, Kind, Result};
use crate::event::{self, Event, Events, Failure, Outcome, Work};
use crate::fetch::Fetcher;
use crate::key::Manifest;
use crate::layout::Workspace;
use crate::load::Loaded;
use crate::mirrors;
use crate::names::{PackageName, Step};
use crate::plan::{self, Action, Found, Plan, Planner, Visible};
use crate::recipe::Recipe;
use crate::room::{Cancel, RoomServer};
use crate::schedule::{End, Node, NodeId};
use crate::stage::Layers;
use crate::store::{Lock, Store, Temporary};
use crate::tokens::Tokens;
/// Everything that the work needs and shares.
pub struct Job<'a> {
    /// What is built.
    pub loaded: &'a Loaded,
    /// Computes keys and finds results.
    pub planner: &'a Planner<'a>,
    /// Where results go.
    pub store: &'a Store,
    /// Where archives and views go.
    pub workspace: &'a Workspace,
    /// Makes rooms, or runs programs without.
    pub rooms: &'a RoomServer,
    /// Whether steps run in rooms.
    pub in_rooms: bool,
    /// What it works with.
    pub workshop: &'a Workshop,
    /// Whether nothing may be fetched.
    pub offline: bool,
    /// Most compilers at once.
    pub jobs: usize,
    /// Where to tell what happens.
    pub events: &'a Events,
    states: Vec<Mutex<State>>,
    /// Results of another store; see [`Job::lend`].
    lent: Mutex<Vec<Option<Found>>>,
    failed: Mutex<Option<i32>>,
    /// The folders that builds without rooms take for themselves, once there was one.
    folders: Mutex<Option<[LockFile; 2]>>,
    /// Packages whose results are shown in `deploy/` since then.
    pub(crate) shown: Mutex<FxHashSet<usize>>,
    /// What lies in results that were laid over another, without rooms.
    pub(crate) layers: Layers,
}

/// What a run works with, beside what it works on.
#[derive(Debug)]
pub struct Workshop {
    /// Ends steps.
    pub cancel: Cancel,
    /// The jobserver.
    pub tokens: Tokens,
    /// Gets archives.
    pub fetcher: Fetcher,
    /// Folder for work in progress.
    pub temporary: Temporary,
    /// Keeps others from removing what is in the store.
    _in_use: Option<Lock>,
    /// What is wrong with the jobserver that an outer make offers.
    pub warning: Option<String>,
}

impl Workshop {
    /// Sets up for a run that puts its results into `store`. Starts no thread.
    ///
    /// `places`: the configuration places, which may name mirrors.
    pub fn new(settings: &Settings, store: &Store, places: &[PathBuf]) -> Result<Workshop> {
        let mut warning = None;
        let inherited = match (&settings.broken_jobserver, settings.environment.get("MAKEFLAGS")) {
            (Some(error), _) => Err(error.clone()),
            (None, Some(flags)) => Tokens::inherited(flags),
            (None, None) => Ok(None),
        };
        let tokens = match inherited {
            Ok(Some(tokens)) => tokens,
            Ok(None) => Tokens::new(settings.jobs)?,
            Err(error) => {
                warning = Some(format!("{}; using {} jobs of its own", error.message, settings.jobs));
                Tokens::new(settings.jobs)?
            }
        };
        Ok(Workshop {
            cancel: Cancel::new()?,
            tokens,
            fetcher: mirrors::fetcher(settings, places)?,
            temporary: store.temporary()?,
            _in_use: store.in_use()?,
            warning,
        })
    }
}

/// How far a package has come.
#[derive(Debug, Default)]
pub struct State {
    pub(crate) own: Manifest,
    pub(crate) action: Option<Action>,
    pub(crate) reason: String,
    pub(crate) found: Option<Found>,
    pub(crate) archive: Option<(PathBuf, Digest)>,
    pub(crate) source: Option<PathBuf>,
    pub(crate) prepared: Option<PathBuf>,
    /// Inputs that `prepare` discovered; part of what the package discovered.
    pub(crate) prepare_inputs: Vec<String>,
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Duration,
    pub(crate) ended: bool,
    pub(crate) built: bool,
}

/// Why a node did not come to its end.
pub enum Trouble {
    /// Everything that is known of the failure, and what kind of thing went wrong.
    Failed(Box<Failure>, Kind),
    /// The run was stopped.
    Cancelled,
}

impl Trouble {
    /// As an error of a package's, for commands that have no report.
    pub fn into_error(self, package: &PackageName) -> Error {
        match self {
            Trouble::Cancelled => Error::new(Kind::Told(1), ""),
            Trouble::Failed(mut failure, kind) => {
                failure.package = package.clone();
                Error {
                    kind,
                    message: crate::failure::text_without_log(&failure, Path::new(""))
                        .trim_start_matches("error: ")
                        .to_owned(),
                    at: Vec::new(),
                    hints: Vec::new(),
                }
            }
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        let failure = Failure {
            package: PackageName::unknown(),
            step: None,
            exit: None,
            message: error.message,
            at: error.at,
            hints: error.hints,
            command: None,
            stack: Vec::new(),
            log: None,
            kept: None,
        };
        Trouble::Failed(Box::new(failure), error.kind)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Error::from(error).into()
    }
}

/// What a node's work comes to.
pub type Worked<T> = std::result::Result<T, Trouble>;

impl<'a> Job<'a> {
    /// Takes over what the plan says.
    #[allow(clippy::too_many_arguments, reason = "the one place where the layers meet")]
    pub fn new(
        settings: &'a Settings,
        loaded: &'a Loaded,
        planner: &'a Planner<'a>,
        store: &'a Store,
        rooms: &'a RoomServer,
        in_rooms: bool,
        workshop: &'a Workshop,
        events: &'a Events,
        plan: &Plan,
    ) -> Job<'a> {
        let states = plan
            .packages
            .iter()
            .map(|planned| {
                Mutex::new(State {
                    own: planned.own.clone(),
                    action: Some(planned.action),
                    reason: planned.reason.clone(),
                    found: planned.found.clone(),
                    ..State::default()
                })
            })
            .collect();
        Job {
            loaded,
            planner,
            store,
            workspace: &settings.workspace,
            rooms,
            in_rooms,
            workshop,
            offline: settings.offline,
            jobs: settings.jobs,
            events,
            states,
            lent: Mutex::default(),
            failed: Mutex::default(),
            folders: Mutex::default(),
            shown: Mutex::default(),
            layers: Layers::default(),
        }
    }

    /// Lends results of another store to packages that are built here as well: what others see of them are those.
    pub fn lend(&self, found: &[Option<Found>]) {
        *self.lent.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = found.to_vec();
    }

    /// Gets and unpacks the source and, if asked, prepares it, for a room that is entered by hand.
    pub fn ready(&self, place: usize, prepared: bool) -> Worked<()> {
        self.state(place).action = Some(Action::Build);
        self.fetch(place)?;
        if prepared { self.prepare(place) } else { self.provide(place).map(drop) }
    }

    /// The nodes of the schedule: three for each package that is not reused, but for an archive that nobody needs.
    ///
    /// A package of which it is not sure that it is built is fetched early, since that can be slow, but prepared only when
    /// it is sure: when all that it needs is there.
    pub fn nodes(&self, plan: &Plan) -> Vec<Node> {
        let mut nodes: Vec<Node> = Vec::new();
        let mut last: Vec<Option<NodeId>> = vec![None; plan.packages.len()];
        for (place, planned) in plan.packages.iter().enumerate() {
            if planned.action == Action::Reuse {
                continue;
            }
            let recipe = &self.loaded.graph.packages[place];
            let weight = self.store.duration(&recipe.name).unwrap_or(DEFAULT_WEIGHT);
            let built: Vec<NodeId> =
                self.loaded.graph.needs[place].iter().filter_map(|&need| last[need]).collect();
            let mut before = built.clone();
            if let Some(source) = &recipe.source {
                let mut needs = Vec::new();
                if !self.needs_no_archive(recipe, source) {
                    nodes.push(Node { package: place, work: Work::Fetch, weight: 0.0, needs: Vec::new() });
                    needs.push(nodes.len() - 1);
                }
                if planned.action == Action::Maybe {
                    needs.extend(&built);
                }
                nodes.push(Node { package: place, work: Work::Prepare, weight: weight * 0.1, needs });
                before.push(nodes.len() - 1);
            }
            nodes.push(Node { package: place, work: Work::Build, weight, needs: before });
            last[place] = Some(nodes.len() - 1);
        }
        nodes
    }

    /// What dependents see of a package, once it is known.
    pub fn visible(&self, place: usize) -> Option<Visible> {
        self.needed(place).map(|found| found.visible)
    }

    /// The result of a package as those that need it see it.
    pub(crate) fn needed(&self, place: usize) -> Option<Found> {
        let lent =
            self.lent.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(place).cloned().flatten();
        lent.or_else(|| self.found(place))
    }

    /// The result of a package, once it is known.
    pub fn found(&self, place: usize) -> Option<Found> {
        self.state(place).found.clone()
    }

    /// Whether this run built the package, and did not find its result.
    pub fn was_built(&self, place: usize) -> bool {
        let state = self.state(place);
        state.found.is_some() && state.built
    }

    pub(crate) fn state(&self, place: usize) -> MutexGuard<'_, State> {
        self.states[place].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits for the lock of that name, and tells when somebody holds it: another process, or another package of this run
    /// that has the same source. Ends when the run is stopped.
    pub(crate) fn lock(&self, place: usize, name: &str) -> Worked<Lock> {
        let waits = || {
            let text = format!("{}: waits: the same is being made already", self.recipe(place).name);
            self.events.send(Event::Note { text });
        };
        let cancel = &self.workshop.cancel;
        self.store.lock_unless(name, &|| cancel.is_cancelled(), &waits)?.ok_or(Trouble::Cancelled)
    }

    /// Takes the folders that builds without rooms need for themselves until [`Job::leave_folders`]: of the workspace `src/`, of
    /// the build root `build/`, `toolchain/` and what is in `deploy/`. Waits where another process is using them.
    pub(crate) fn take_folders(&self, place: usize) -> Worked<()> {
        let mut folders = self.folders.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if folders.is_some() {
            return Ok(());
        }
        let waits = || {
            let text = format!("{}: waits for another `mk` in this workspace", self.recipe(place).name);
            self.events.send(Event::Note { text });
        };
        let stop = || self.workshop.cancel.is_cancelled();
        let take = |path: PathBuf| LockFile::take(&path, &stop, &waits)?.ok_or(Trouble::Cancelled);
        *folders = Some([take(self.workspace.lock())?, take(self.loaded.build_root.lock())?]);
        Ok(())
    }

    /// Lets others have the folders that builds without rooms took.
    pub fn leave_folders(&self) {
        self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        *self.folders.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }

    pub(crate) fn recipe(&self, place: usize) -> &Recipe {
        &self.loaded.graph.packages[place]
    }

    /// Looks the package up again, now that the outputs of all that it needs are known.
    pub(crate) fn resolve(&self, place: usize) -> Worked<bool> {
        let own = {
            let state = self.state(place);
            if state.found.is_some() {
                return Ok(true);
            }
            state.own.clone()
        };
        if self.loaded.graph.needs[place].iter().any(|&need| self.visible(need).is_none()) {
            return Ok(false);
        }
        let sets = self.store.discovered(&own.digest());
        let found = self.planner.find(place, &own, sets.as_deref(), &|need| self.visible(need))?;
        let there = found.is_some();
        let mut state = self.state(place);
        if there {
            state.found = found;
        } else if state.action == Some(Action::Maybe) {
            state.action = Some(Action::Build);
            drop(state);
            let whole = self.planner.whole(place, &own, &|need| self.visible(need))?;
            let last = self.planner.last(&self.recipe(place).name);
            let changes = last.as_ref().map(|last| self.planner.changes(place, last, &whole));
            let changes = changes.transpose()?.unwrap_or_default();
            self.state(place).reason = plan::reason(last.is_some(), sets.is_some(), &changes);
        }
        Ok(there)
    }

    /// Keeps a step's log beside its result.
    pub(crate) fn copy_log(&self, place: usize, step: Step, into: &Path) -> Worked<()> {
        let log = self.loaded.build_root.log(&self.recipe(place).name, step);
        if log.exists() {
            fs_err::copy(log, into.join(format!("{step}.log")))?;
        }
        Ok(())
    }

    /// Takes the node's slot of the jobserver, does its work, tells how it ended.
    pub(crate) fn work(&self, node: &Node, slot: usize) -> End {
        let place = node.package;
        let package = self.recipe(place).name.clone();
        let due = Instant::now();
        let token =
            if node.work == Work::Fetch { None } else { self.workshop.tokens.take(&self.workshop.cancel) };
        let began = Instant::now();
        let waited = began - due;
        self.events.send(Event::WorkStarted { package: package.clone(), work: node.work, slot, waited });
        let result = if self.workshop.cancel.is_cancelled() {
            Err(Trouble::Cancelled)
        } else {
            let work = || match node.work {
                Work::Fetch => self.fetch(place),
                Work::Prepare => self.prepare(place),
                Work::Build => self.build(place),
            };
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| {
                Err(Error::new(Kind::Internal, "a defect in `mk`: a worker panicked").into())
            })
        };
        drop(token);
        let elapsed = began.elapsed();
        let (end, outcome) = match result {
            Ok(()) if node.work == Work::Build => {
                (End::Done, Some(if self.was_built(place) { Outcome::Built } else { Outcome::Reused }))
            }
            Ok(()) => (End::Done, None),
            Err(Trouble::Cancelled) => (End::Cancelled, Some(Outcome::Cancelled)),
            Err(Trouble::Failed(mut failure, kind)) => {
                failure.package = package.clone();
                if let Some((text, hint)) = self.store.tell_full(self.loaded.build_root.root()) {
                    failure.at.push(text);
                    failure.hints.insert(0, hint);
                }
                let mut failed = self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                *failed = Some(failed.map_or(kind.exit_code(), |code| code.min(kind.exit_code())));
                drop(failed);
                self.events.send(Event::Failed(failure));
                (End::Failed, Some(Outcome::Failed))
            }
        };
        self.events.send(Event::WorkEnded { package: package.clone(), work: node.work, slot, elapsed });
        let mut state = self.state(place);
        state.elapsed += elapsed;
        if let (Some(outcome), false) = (outcome, state.ended) {
            state.ended = true;
            let size = state.found.as_ref().map_or(0, |found| found.entry.meta.size);
            let reason = if outcome == Outcome::Built { state.reason.clone() } else { String::new() };
            let elapsed = state.elapsed;
            self.events.send(Event::PackageEnded { package, outcome, reason, elapsed, size });
        }
        end
    }

    /// Tells of packages that the run did not come to, when it is over.
    pub fn tell_untried(&self) {
        for place in 0..self.states.len() {
            let mut state = self.state(place);
            if state.action != Some(Action::Reuse) && !std::mem::replace(&mut state.ended, true) {
                self.events.send(Event::PackageEnded {
                    package: self.recipe(place).name.clone(),
                    outcome: Outcome::Cancelled,
                    reason: event::NOT_TRIED.to_owned(),
                    elapsed: state.elapsed,
                    size: 0,
                });
            }
        }
    }

    /// The exit code that stands for what failed so far; of several the least, whichever came first.
    pub fn exit_code(&self) -> Option<i32> {
        *self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Processor time of all steps so far.
    pub fn cpu(&self) -> Duration {
        (0..self.states.len()).map(|place| self.state(place).cpu).sum()
    }
}

/// Seconds that a package is taken to need when nothing is known of it.
const DEFAULT_WEIGHT: f64 = 10.0;
