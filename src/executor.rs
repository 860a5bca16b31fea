//! Does the work of a plan on this machine: fetch, unpack, prepare, build, deploy, strip, store. One thread a node.
//! Knows every layer below; decides neither order (that is the schedule's) nor form of messages (the report's).

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::config::Settings;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events, Exit, Failure, Outcome, Work};
use crate::fetch::{self, Fetcher};
use crate::key::{self, Manifest};
use crate::layout::{Workspace, room as inside};
use crate::load::Loaded;
use crate::names::{PackageName, Step};
use crate::plan::{Action, Found, Plan, Planner, Visible};
use crate::recipe::{Recipe, Source};
use crate::room::{Cancel, Mount, Program, Ran, Room, RoomServer, Status, Stop};
use crate::schedule::{self, End, Node, NodeId, Wake};
use crate::step::{self, Places};
use crate::store::{Meta, Store, Temporary, remove_tree};
use crate::tokens::Tokens;
use crate::{finish, stage, strip, unpack};

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
    /// What is wrong with the jobserver that an outer make offers.
    pub warning: Option<String>,
}

impl Workshop {
    /// Sets up for a run that puts its results into `store`. Starts no thread.
    pub fn new(settings: &Settings, store: &Store) -> Result<Workshop> {
        let mut warning = None;
        let inherited = settings.environment.get("MAKEFLAGS").map(|flags| Tokens::inherited(flags)).transpose();
        let tokens = match inherited {
            Ok(Some(Some(tokens))) => tokens,
            Ok(_) => Tokens::new(settings.jobs)?,
            Err(error) => {
                warning = Some(format!("{}; using {} jobs of its own", error.message, settings.jobs));
                Tokens::new(settings.jobs)?
            }
        };
        Ok(Workshop {
            cancel: Cancel::new()?,
            tokens,
            fetcher: Fetcher::new(fetch::Settings::default()),
            temporary: store.temporary()?,
            warning,
        })
    }
}

/// How far a package has come.
#[derive(Debug, Default)]
pub struct State {
    own: Manifest,
    action: Option<Action>,
    reason: String,
    found: Option<Found>,
    archive: Option<(PathBuf, Digest)>,
    source: Option<PathBuf>,
    prepared: Option<PathBuf>,
    /// Inputs that `prepare` discovered; part of what the package discovered.
    prepare_inputs: Vec<String>,
    elapsed: Duration,
    cpu: Duration,
    ended: bool,
}

/// Why a node did not come to its end.
pub enum Trouble {
    /// Everything that is known of the failure.
    Failed(Box<Failure>),
    /// The run was stopped.
    Cancelled,
}

impl Trouble {
    /// As an error, for commands that have no report.
    pub fn into_error(self) -> Error {
        match self {
            Trouble::Cancelled => Error::new(Kind::Told(1), ""),
            Trouble::Failed(failure) => Error {
                kind: Kind::Build,
                message: crate::failure::text_without_log(&failure, Path::new("/")).trim_start_matches("error: ").to_owned(),
                at: Vec::new(),
                hints: Vec::new(),
            },
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Failed(Box::new(Failure {
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
        }))
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
        }
    }

    /// Lends results of another store to packages that are built here as well: what others see of them are those.
    pub fn lend(&self, found: &[Option<Found>]) {
        *self.lent.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = found.to_vec();
    }

    /// Gets, unpacks and prepares the source, for a room that is entered by hand.
    pub fn ready(&self, place: usize) -> Worked<()> {
        self.state(place).action = Some(Action::Build);
        self.fetch(place)?;
        self.prepare(place)
    }

    /// The nodes of the schedule: three for each package that is not reused.
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
            let built: Vec<NodeId> = self.loaded.graph.needs[place].iter().filter_map(|&need| last[need]).collect();
            let mut before = built.clone();
            if recipe.source.is_some() {
                nodes.push(Node { package: place, work: Work::Fetch, weight: 0.0, needs: Vec::new() });
                let mut needs = vec![nodes.len() - 1];
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
    fn needed(&self, place: usize) -> Option<Found> {
        let lent = self.lent.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(place).cloned().flatten();
        lent.or_else(|| self.found(place))
    }

    /// The result of a package, once it is known.
    pub fn found(&self, place: usize) -> Option<Found> {
        self.state(place).found.clone()
    }

    fn state(&self, place: usize) -> MutexGuard<'_, State> {
        self.states[place].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn recipe(&self, place: usize) -> &Recipe {
        &self.loaded.graph.packages[place]
    }

    /// Looks the package up again, now that the outputs of all that it needs are known.
    fn resolve(&self, place: usize) -> Worked<bool> {
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
            let changes = last.map(|last| last.filter(|l| !l.starts_with("lookup ") && !l.starts_with("source ")).changes(&whole));
            let reason = changes.and_then(|changes| changes.first().cloned()).unwrap_or_else(|| "never built".to_owned());
            self.state(place).reason = reason;
        }
        Ok(there)
    }

    /// Gets the archive, unless its unpacked source is in the store already.
    fn fetch(&self, place: usize) -> Worked<()> {
        let recipe = self.recipe(place);
        let Some(source) = &recipe.source else { return Ok(()) };
        if self.unpacked(source).is_some() {
            return Ok(());
        }
        let urls: Vec<String> = source.urls.iter().map(|url| fetch::archive_url(url, &source.file)).collect();
        let folder = self.workspace.download();
        fs_err::create_dir_all(&folder)?;
        let request = fetch::Request {
            package: &recipe.name,
            file: &source.file,
            urls: &urls,
            digests: &source.digests,
            dir: &folder,
            offline: self.offline,
        };
        let mut told = Instant::now();
        let mut progress = |done: u64, total: Option<u64>| {
            if told.elapsed() >= Duration::from_millis(200) {
                told = Instant::now();
                let (package, file) = (recipe.name.clone(), source.file.clone());
                self.events.send(Event::Download { package, file, done, total });
            }
        };
        match self.workshop.fetcher.fetch(&request, &mut progress, &|| self.workshop.cancel.is_cancelled()) {
            Ok(fetched) => {
                if let Some(text) = fetched.warning {
                    self.events.send(Event::Warning { text });
                }
                self.state(place).archive = Some((fetched.path, fetched.digest));
                Ok(())
            }
            Err(_) if self.workshop.cancel.is_cancelled() => Err(Trouble::Cancelled),
            Err(error) => Err(error.into()),
        }
    }

    /// The source folder in the store and the digest of its archive, if it is there.
    fn unpacked(&self, source: &Source) -> Option<PathBuf> {
        let unpacked = source.digests.iter().map(|digest| self.store.source(digest)).find(|path| path.is_dir())?;
        source.folders.iter().map(|folder| unpacked.join(folder)).find(|path| path.is_dir())
    }

    /// Unpacks the archive and runs `prepare`.
    fn prepare(&self, place: usize) -> Worked<()> {
        if self.state(place).action == Some(Action::Maybe) && self.resolve(place)? {
            return Ok(());
        }
        let recipe = self.recipe(place);
        let Some(source) = &recipe.source else { return Ok(()) };
        let folder = match self.unpacked(source) {
            Some(folder) => folder,
            None => self.unpack(place, source)?,
        };
        self.state(place).source = Some(folder.clone());
        if recipe.function(Step::Prepare).is_some() && self.in_rooms {
            self.run_prepare(place, &folder)?;
        }
        Ok(())
    }

    fn unpack(&self, place: usize, source: &Source) -> Worked<PathBuf> {
        let archive = self.state(place).archive.clone();
        let Some((archive, digest)) = archive else {
            return Err(Error::new(Kind::Internal, "an archive is unpacked that was not fetched").into());
        };
        let _lock = self.store.lock(&format!("source-{digest}"))?;
        if self.store.source(&digest).is_dir() {
            // Another process was faster, or another package has the same archive under another SRCDIR.
            if let Some(folder) = self.unpacked(source) {
                return Ok(folder);
            }
        }
        let fresh = self.workshop.temporary.folder("source")?;
        let unpacked = unpack::unpack(&archive, &fresh, unpack::Limits::default());
        let unpacked = unpacked.inspect_err(|_| drop(remove_tree(&fresh)))?;
        if !source.folders.iter().any(|folder| fresh.join(folder).is_dir()) {
            let wanted = source.folders.first().map_or(".", String::as_str);
            let error = unpack::check_srcdir(&unpacked, &fresh, wanted).err();
            remove_tree(&fresh)?;
            let error = error.unwrap_or_else(|| Error::new(Kind::Internal, "SRCDIR is there and not there"));
            return Err(error.into());
        }
        self.store.publish_source(&fresh, &digest)?;
        self.unpacked(source).ok_or_else(|| Error::new(Kind::Internal, "an unpacked source vanished").into())
    }

    /// Runs `prepare` in a room, unless the store has its layer.
    fn run_prepare(&self, place: usize, folder: &Path) -> Worked<()> {
        let recipe = self.recipe(place);
        let own = self.state(place).own.filter(key::matters_to_prepare);
        let digest = own.digest();
        let find = || -> Result<Option<(PathBuf, Vec<String>)>> {
            for set in self.store.discovered(&digest).unwrap_or_default() {
                let key = self.planner.with_discovered(&own, &set)?.digest();
                let path = self.store.prepared(&key);
                if path.is_dir() {
                    return Ok(Some((path, set)));
                }
            }
            Ok(None)
        };
        let _lock = self.store.lock(&format!("prepared-{digest}"))?;
        let (path, inputs) = match find()? {
            Some(found) => found,
            None => {
                let work = self.workshop.temporary.folder(recipe.name.as_str())?;
                for part in ["layer", "work", "report", "root"] {
                    fs_err::create_dir(work.join(part))?;
                }
                let reachable = self.planner.ingredients.reachable(recipe)?;
                let places = Places::in_room();
                let to = places.source(recipe);
                let prelude = step::prelude(self.loaded, recipe, &places, &reachable);
                let mut mounts = step::tree_mounts(self.loaded, place, &reachable, prelude, &work.join("report"));
                mounts.push(Mount::Overlay {
                    lower: vec![folder.to_owned()],
                    upper: Some(work.join("layer")),
                    work: Some(work.join("work")),
                    to: to.clone(),
                });
                self.run_steps(place, &[(Step::Prepare, to)], mounts, &places, &work)?;
                let inputs = step::discovered(&work.join("report"), recipe, &places)?;
                remove_tree(&work.join("work"))?;
                self.copy_log(place, Step::Prepare, &work)?;
                let key = self.planner.with_discovered(&own, &inputs)?.digest();
                let path = self.store.publish_prepared(&work, &key)?;
                self.store.discover(&digest, &inputs)?;
                (path, inputs)
            }
        };
        let kept = path.join("prepare.log");
        let log = self.loaded.build_root.log(&recipe.name, Step::Prepare);
        if !log.exists() && kept.exists() {
            fs_err::copy(kept, log)?;
        }
        let mut state = self.state(place);
        state.prepared = Some(path.join("layer"));
        state.prepare_inputs = inputs;
        Ok(())
    }

    /// Keeps a step's log beside its result.
    fn copy_log(&self, place: usize, step: Step, into: &Path) -> Worked<()> {
        let log = self.loaded.build_root.log(&self.recipe(place).name, step);
        if log.exists() {
            fs_err::copy(log, into.join(format!("{step}.log")))?;
        }
        Ok(())
    }

    /// Builds the package, or finds that it need not be.
    fn build(&self, place: usize) -> Worked<()> {
        if self.resolve(place)? {
            return Ok(());
        }
        let recipe = self.recipe(place);
        let own = self.state(place).own.clone();
        let whole = self.planner.whole(place, &own, &|need| self.visible(need))?;
        let key = whole.digest();
        let _lock = self.store.lock(&format!("entry-{key}"))?;
        // Another process may have built it while this one waited.
        if self.resolve(place)? {
            return Ok(());
        }
        let began = Instant::now();
        let work = self.workshop.temporary.folder(recipe.name.as_str())?;
        let reachable = self.planner.ingredients.reachable(recipe)?;
        let result = if self.in_rooms {
            self.build_in_room(place, &work, &reachable)
        } else {
            self.build_bare(place, &work, &reachable)
        };
        let mut inputs = match result {
            Ok(inputs) => inputs,
            Err(Trouble::Failed(mut failure)) => {
                failure.kept = self.keep(place, &work);
                if failure.kept.is_some() && self.in_rooms {
                    let (board, product) = (&self.loaded.board, &self.loaded.product);
                    failure.hints.push(crate::failure::shell_hint(board, product, recipe.name.as_str()));
                }
                return Err(Trouble::Failed(failure));
            }
            Err(cancelled) => {
                remove_tree(&work)?;
                return Err(cancelled);
            }
        };
        inputs.extend(self.state(place).prepare_inputs.iter().cloned());
        inputs.sort();
        inputs.dedup();
        let seconds = began.elapsed().as_secs_f64();
        let entry = self.publish(place, &work, &own, &whole, &inputs, seconds)?;
        remove_tree(&work)?;
        self.store.set_duration(&recipe.name, seconds)?;
        self.state(place).found = Some(entry);
        Ok(())
    }

    /// Moves a finished build into the store.
    fn publish(
        &self,
        place: usize,
        work: &Path,
        own: &Manifest,
        whole: &Manifest,
        inputs: &[String],
        seconds: f64,
    ) -> Worked<Found> {
        let recipe = self.recipe(place);
        let (deploy, toolchain) = (work.join("deploy"), work.join("toolchain"));
        // Modes stay as the recipe set them: another recipe that copies a file must be able to write to its copy.
        finish::fix_times(&deploy, step::EPOCH)?;
        let (tree, additions) = (finish::tree_digest(&deploy)?, finish::tree_digest(&toolchain)?);
        if additions.entries > 0 {
            finish::fix_times(&toolchain, step::EPOCH)?;
        }
        let output = Digest::of(format!("{} {}", tree.digest, additions.digest));
        let (source, prepared) = {
            let state = self.state(place);
            (state.source.clone(), state.prepared.clone())
        };
        let meta = Meta {
            package: recipe.name.clone(),
            version: recipe.version().to_owned(),
            output,
            size: tree.bytes + additions.bytes,
            files: tree.entries + additions.entries,
            seconds,
            toolchain: additions.entries > 0,
            source: source.and_then(|path| self.store.digest_below("source", &path)),
            prepared: prepared.and_then(|path| self.store.digest_below("prepared", &path)),
        };
        let manifest = self.planner.with_discovered(whole, inputs)?;
        let entry = work.join("entry");
        fs_err::create_dir(&entry)?;
        fs_err::create_dir(entry.join("log"))?;
        fs_err::rename(&deploy, entry.join("deploy"))?;
        fs_err::rename(&toolchain, entry.join("toolchain"))?;
        fs_err::write(entry.join("manifest"), manifest.to_string())?;
        fs_err::write(entry.join("meta.json"), serde_json::to_vec_pretty(&meta).unwrap_or_default())?;
        for step in Step::ALL {
            self.copy_log(place, step, &entry.join("log"))?;
        }
        let key = manifest.digest();
        let entry = self.store.publish(&entry, &key)?;
        self.store.discover(&own.digest(), inputs)?;
        let visible = self.planner.visible(place, entry.meta.output, &|need| self.visible(need));
        Ok(Found { entry, manifest, visible })
    }

    fn build_in_room(&self, place: usize, work: &Path, reachable: &BTreeSet<String>) -> Worked<Vec<String>> {
        let recipe = self.recipe(place);
        for part in ["deploy", "toolchain", "report", "build"] {
            fs_err::create_dir(work.join(part))?;
        }
        let places = Places::in_room();
        let mounts = self.room_mounts(place, work, reachable)?;
        let steps: Vec<(Step, PathBuf)> = [Step::Build, Step::Deploy]
            .into_iter()
            .filter(|step| recipe.function(*step).is_some())
            .map(|step| (step, places.build.clone()))
            .collect();
        self.run_steps(place, &steps, mounts.clone(), &places, work)?;
        self.merge_sysroot(work)?;
        let deploy = work.join("deploy");
        finish::clean_up(&deploy)?;
        let strip = format!("{}-strip", self.target());
        let layers = self.toolchain_layers(place);
        let has_strip = layers.iter().chain([&work.join("toolchain")]).any(|layer| layer.join("bin").join(&strip).exists());
        self.strip(place, work, has_strip, &places, mounts)?;
        step::discovered(&work.join("report"), recipe, &places).map_err(Trouble::from)
    }

    /// Builds without a room: real paths, dependencies linked into the toolchain's folder, and taken out again.
    fn build_bare(&self, place: usize, work: &Path, reachable: &BTreeSet<String>) -> Worked<Vec<String>> {
        let recipe = self.recipe(place);
        let root = &self.loaded.build_root;
        let places = Places {
            tree: self.loaded.tree.root().to_owned(),
            download: self.workspace.download(),
            src: self.workspace.src(),
            build_root: root.root().to_owned(),
            toolchain: root.toolchain(),
            deploy: root.deploy(),
            log: root.logs(),
            build: root.root().join("build"),
            config: self.loaded.places.clone(),
            runtime: self.loaded.runtime.folder.clone(),
            prelude: work.join("prelude.sh"),
            report: work.join("report"),
            home: work.join("home"),
        };
        let own = places.deploy.join(recipe.name.as_str());
        for part in ["deploy", "toolchain", "report", "home"] {
            fs_err::create_dir(work.join(part))?;
        }
        for fresh in [&places.build, &places.toolchain, &own] {
            remove_tree(fresh)?;
            fs_err::create_dir_all(fresh)?;
        }
        let layers = self.toolchain_layers(place);
        for layer in layers.iter().rev() {
            stage::link_tree(layer, &places.toolchain)?;
        }
        for need in self.loaded.graph.closure(place) {
            let Some(found) = self.needed(need) else { continue };
            link_view(&found.entry.deploy(), &places.deploy.join(self.recipe(need).name.as_str()))?;
            for part in SYSROOT_PARTS {
                let from = found.entry.deploy().join(part);
                if self.loaded.graph.needs[place].contains(&need) && from.is_dir() && !self.target().is_empty() {
                    stage::link_tree(&from, &places.toolchain.join(self.target()).join(part))?;
                }
            }
        }
        let staged = stage::Snapshot::of(&places.toolchain);
        fs_err::write(&places.prelude, step::prelude(self.loaded, recipe, &places, reachable))?;
        let mut steps = Vec::new();
        let source = self.state(place).source.clone();
        if let Some(source) = source {
            let to = places.source(recipe);
            if to != places.src {
                remove_tree(&to)?;
            }
            stage::copy_tree(&source, &to)?;
            steps.push((Step::Prepare, to));
        }
        steps.extend([Step::Build, Step::Deploy].map(|step| (step, places.build.clone())));
        steps.retain(|(step, _)| recipe.function(*step).is_some());
        let room = Room { mounts: Vec::new(), programs: Vec::new(), network: true, terminal: false, limit: None };
        self.run_steps_with(place, &steps, work, &places, &|program, inherit| {
            self.rooms.run_bare(&Room { programs: vec![program], ..room.clone() }, inherit, &self.workshop.cancel)
        })?;
        finish::clean_up(&own)?;
        let strip = places.toolchain.join("bin").join(format!("{}-strip", self.target()));
        let plan = strip::plan(&own, self.target())?;
        if !plan.calls.is_empty() && strip.exists() {
            let programs = self.strip_programs(place, &plan, &places);
            plan.unlock(&own)?;
            let ran = self.rooms.run_bare(&Room { programs, ..room }, &[], &self.workshop.cancel);
            plan.relock(&own)?;
            self.stripped(place, &ran?)?;
        }
        if let Some(damaged) = staged.take_additions(&places.toolchain, &work.join("toolchain"))? {
            let error = Error::new(Kind::Build, format!("`{}` of another package was written to in place", damaged.display()))
                .hint("without rooms that cannot be kept apart; remove the build root's `.mk/store` and build again");
            return Err(error.into());
        }
        fs_err::rename(&own, work.join("deploy"))?;
        step::discovered(&places.report, recipe, &places).map_err(Trouble::from)
    }

    /// `TARGET`, or nothing.
    pub fn target(&self) -> &str {
        self.loaded.variables.get("TARGET").map_or("", String::as_str)
    }

    /// Toolchain layers of all that a package needs, the latest on top.
    pub fn toolchain_layers(&self, place: usize) -> Vec<PathBuf> {
        let needed = self.loaded.graph.closure(place).into_iter().rev();
        needed.filter_map(|need| self.needed(need)).filter(|f| f.entry.meta.toolchain).map(|f| f.entry.toolchain()).collect()
    }

    /// All places of a package's room for `build` and `deploy`.
    pub fn room_mounts(&self, place: usize, work: &Path, reachable: &BTreeSet<String>) -> Worked<Vec<Mount>> {
        let recipe = self.recipe(place);
        let places = Places::in_room();
        let prelude = step::prelude(self.loaded, recipe, &places, reachable);
        let mut mounts = step::tree_mounts(self.loaded, place, reachable, prelude, &work.join("report"));
        let folder = |name: &str| -> Result<PathBuf> {
            let path = work.join(name);
            fs_err::create_dir_all(&path)?;
            Ok(path)
        };
        let bind = |from: PathBuf, to: PathBuf, writable: bool| Mount::Bind { from, to, writable };
        let (source, prepared) = {
            let state = self.state(place);
            (state.source.clone(), state.prepared.clone())
        };
        if let Some(source) = source {
            mounts.push(Mount::Overlay {
                lower: prepared.into_iter().chain([source]).collect(),
                upper: Some(folder("src")?),
                work: Some(folder("src-work")?),
                to: places.source(recipe),
            });
        }
        if reachable.contains("PKGDOWNLOADDIR") {
            if let Some(source) = &recipe.source {
                let archive = self.workspace.download().join(&source.file);
                if archive.is_file() {
                    mounts.push(bind(archive, places.download.join(&source.file), false));
                }
            }
        }
        mounts.push(bind(folder("build")?, places.build.clone(), true));

        let layers = self.toolchain_layers(place);
        mounts.push(Mount::Overlay {
            lower: layers.clone(),
            upper: Some(folder("toolchain")?),
            work: if layers.is_empty() { None } else { Some(folder("toolchain-work")?) },
            to: inside::TOOLCHAIN.into(),
        });
        if !self.target().is_empty() {
            let direct: Vec<PathBuf> = self.loaded.graph.needs[place]
                .iter()
                .filter_map(|&need| self.needed(need))
                .map(|found| found.entry.deploy())
                .collect();
            for part in SYSROOT_PARTS {
                let mut lower: Vec<PathBuf> = direct.iter().map(|deploy| deploy.join(part)).filter(|path| path.is_dir()).collect();
                if lower.is_empty() {
                    continue;
                }
                let below = Path::new(self.target()).join(part);
                lower.extend(layers.iter().map(|layer| layer.join(&below)).filter(|path| path.is_dir()));
                if lower.len() > crate::room::LAYERS_MAX - 2 {
                    // More than the kernel stacks: linked together, which costs a little for each file.
                    let merged = folder(&format!("{part}-merged"))?;
                    for layer in lower.iter().rev() {
                        stage::link_tree(layer, &merged)?;
                    }
                    lower = vec![merged];
                }
                mounts.push(Mount::Overlay {
                    lower,
                    upper: Some(folder(part)?),
                    work: Some(folder(&format!("{part}-work"))?),
                    to: Path::new(inside::TOOLCHAIN).join(&below),
                });
            }
        }
        for need in self.loaded.graph.closure(place) {
            if let Some(found) = self.needed(need) {
                let to = Path::new(inside::DEPLOY).join(self.recipe(need).name.as_str());
                mounts.push(bind(found.entry.deploy(), to, false));
            }
        }
        mounts.push(bind(folder("deploy")?, Path::new(inside::DEPLOY).join(recipe.name.as_str()), true));
        Ok(mounts)
    }

    /// What a step wrote into the sysroot lies in layers of its own; puts it where the toolchain's layer would have it.
    fn merge_sysroot(&self, work: &Path) -> Worked<()> {
        let sysroot = work.join("toolchain").join(self.target());
        for part in SYSROOT_PARTS {
            let (from, to) = (work.join(part), sysroot.join(part));
            if from.is_dir() && from.read_dir()?.next().is_some() {
                fs_err::create_dir_all(&sysroot)?;
                stage::link_tree(&from, &to)?;
            }
            // A mount point that took nothing is no addition.
            let _ = std::fs::remove_dir(&to);
        }
        if !self.target().is_empty() {
            let _ = std::fs::remove_dir(&sysroot);
        }
        Ok(())
    }

    /// Runs steps in one room. A failure comes back with all that the step said of itself.
    fn run_steps(
        &self,
        place: usize,
        steps: &[(Step, PathBuf)],
        mounts: Vec<Mount>,
        places: &Places,
        work: &Path,
    ) -> Worked<()> {
        let room = Room { mounts, programs: Vec::new(), network: false, terminal: false, limit: None };
        self.run_steps_with(place, steps, work, places, &|program, inherit| {
            self.rooms.run(&Room { programs: vec![program], ..room.clone() }, inherit, &self.workshop.cancel)
        })
    }

    /// Runs steps one after another, each by `run`, and tells what happens.
    pub fn run_steps_with(
        &self,
        place: usize,
        steps: &[(Step, PathBuf)],
        work: &Path,
        places: &Places,
        run: &dyn Fn(Program, &[(BorrowedFd<'_>, i32)]) -> Result<Ran>,
    ) -> Worked<()> {
        let recipe = self.recipe(place);
        let env = step::environment(recipe, places, self.jobs);
        let (read, write) = self.workshop.tokens.descriptors();
        let inherit = [(read.as_fd(), step::JOBSERVER.0), (write.as_fd(), step::JOBSERVER.1)];
        for (step, cwd) in steps {
            let log = self.loaded.build_root.log(&recipe.name, *step);
            fs_err::write(&log, "")?;
            self.events.send(Event::StepStarted { package: recipe.name.clone(), step: *step, log: log.clone() });
            let began = Instant::now();
            let program = step::program(*step, places, cwd.clone(), log.clone(), env.clone());
            let ran = run(program, &inherit)?;
            self.state(place).cpu += ran.cpu;
            let exit = match ran.exits.last().map(|exit| exit.status) {
                Some(Status::Code(code)) => Exit::Code(code),
                Some(Status::Signal(signal)) => Exit::Signal(signal),
                None => Exit::Signal(libc::SIGTERM),
            };
            self.events.send(Event::StepEnded { package: recipe.name.clone(), step: *step, exit, elapsed: began.elapsed() });
            if ran.stop == Some(Stop::Cancelled) || self.workshop.cancel.is_cancelled() {
                return Err(Trouble::Cancelled);
            }
            if !exit.success() {
                let confession = step::confession(&work.join("report"), self.loaded, places);
                return Err(Trouble::Failed(Box::new(Failure {
                    package: recipe.name.clone(),
                    step: Some(*step),
                    exit: Some(exit),
                    message: String::new(),
                    at: Vec::new(),
                    hints: Vec::new(),
                    command: confession.command,
                    stack: confession.stack,
                    log: Some(log),
                    kept: None,
                })));
            }
        }
        Ok(())
    }

    /// Strips what was deployed, by the toolchain's own program and in the same room.
    fn strip(&self, place: usize, work: &Path, has_strip: bool, places: &Places, mounts: Vec<Mount>) -> Worked<()> {
        let deploy = work.join("deploy");
        let plan = strip::plan(&deploy, self.target())?;
        if plan.calls.is_empty() {
            return Ok(());
        }
        if !has_strip {
            let text = format!("{}: not stripped: nothing that it needs provides `{}-strip`", self.recipe(place).name, self.target());
            self.events.send(Event::Warning { text });
            return Ok(());
        }
        let programs = self.strip_programs(place, &plan, places);
        plan.unlock(&deploy)?;
        let room = Room { mounts, programs, network: false, terminal: false, limit: None };
        let ran = self.rooms.run(&room, &[], &self.workshop.cancel);
        plan.relock(&deploy)?;
        self.stripped(place, &ran?)
    }

    /// The programs that strip a deploy folder.
    pub fn strip_programs(&self, place: usize, plan: &strip::Plan, places: &Places) -> Vec<Program> {
        let recipe = self.recipe(place);
        let tool = places.toolchain.join("bin").join(format!("{}-strip", self.target()));
        plan.calls
            .iter()
            .map(|call| Program {
                argv: std::iter::once(tool.clone().into())
                    .chain(call.options.iter().map(Into::into))
                    .chain(call.files.iter().map(|file| file.clone().into()))
                    .collect(),
                env: step::environment(recipe, places, 1),
                cwd: places.deploy.join(recipe.name.as_str()),
                log: self.loaded.build_root.log(&recipe.name, Step::Deploy),
                stdout: None,
            })
            .collect()
    }

    /// Turns what became of stripping into a result.
    pub fn stripped(&self, place: usize, ran: &Ran) -> Worked<()> {
        if self.workshop.cancel.is_cancelled() {
            return Err(Trouble::Cancelled);
        }
        if ran.success() {
            return Ok(());
        }
        let log = self.loaded.build_root.log(&self.recipe(place).name, Step::Deploy);
        let error = Error::new(Kind::Build, format!("`{}-strip` failed on what was deployed", self.target()))
            .at(format!("log: {}", log.display()));
        Err(error.into())
    }

    /// Keeps the folders of a failed build where `mk shell` finds them; `None` when that is not possible.
    fn keep(&self, place: usize, work: &Path) -> Option<PathBuf> {
        let view = self.loaded.build_root.failed(&self.recipe(place).name);
        let kept = self.store.failed(&view);
        remove_tree(&kept).ok()?;
        fs_err::create_dir_all(kept.parent()?).ok()?;
        fs_err::rename(work, &kept).ok()?;
        fs_err::create_dir_all(view.parent()?).ok()?;
        link_view(&kept, &view).ok()?;
        Some(view.join("build"))
    }

    /// Takes the node's slot of the jobserver, does its work, tells how it ended.
    fn work(&self, node: &Node, slot: usize) -> End {
        let place = node.package;
        let package = self.recipe(place).name.clone();
        let token = if node.work == Work::Fetch { None } else { self.workshop.tokens.take(&self.workshop.cancel) };
        self.events.send(Event::WorkStarted { package: package.clone(), work: node.work, slot });
        let began = Instant::now();
        let result = if self.workshop.cancel.is_cancelled() {
            Err(Trouble::Cancelled)
        } else {
            let work = || match node.work {
                Work::Fetch => self.fetch(place),
                Work::Prepare => self.prepare(place),
                Work::Build => self.build(place),
            };
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
                .unwrap_or_else(|_| Err(Error::new(Kind::Internal, "a defect in `mk`: a worker panicked").into()))
        };
        drop(token);
        let elapsed = began.elapsed();
        let (end, outcome) = match result {
            Ok(()) if node.work == Work::Build => {
                let state = self.state(place);
                let built = state.found.as_ref().is_some_and(|_| state.action == Some(Action::Build));
                (End::Done, Some(if built { Outcome::Built } else { Outcome::Reused }))
            }
            Ok(()) => (End::Done, None),
            Err(Trouble::Cancelled) => (End::Cancelled, Some(Outcome::Cancelled)),
            Err(Trouble::Failed(mut failure)) => {
                failure.package = package.clone();
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
            let (reason, elapsed) = (state.reason.clone(), state.elapsed);
            self.events.send(Event::PackageEnded { package, outcome, reason, elapsed, size });
        }
        end
    }

    /// Processor time of all steps so far.
    pub fn cpu(&self) -> Duration {
        (0..self.states.len()).map(|place| self.state(place).cpu).sum()
    }
}

/// Seconds that a package is taken to need when nothing is known of it.
const DEFAULT_WEIGHT: f64 = 10.0;

/// The parts of a deploy folder that are seen in the sysroot.
pub const SYSROOT_PARTS: [&str; 2] = ["include", "lib"];

/// Makes `view` a symbolic link to `target`, in one step, unless it is that already.
pub fn link_view(target: &Path, view: &Path) -> Result<()> {
    if std::fs::read_link(view).is_ok_and(|now| now == target) {
        return Ok(());
    }
    if view.is_dir() && !view.is_symlink() {
        remove_tree(view)?;
    }
    let fresh = view.with_extension(format!("mk-{}", std::process::id()));
    let _ = std::fs::remove_file(&fresh);
    fs_err::os::unix::fs::symlink(target, &fresh)?;
    Ok(fs_err::rename(&fresh, view)?)
}

/// The executor that the schedule talks to: a thread for each node.
pub struct Local<'scope, 'env, 'a> {
    scope: &'scope Scope<'scope, 'env>,
    job: &'env Job<'a>,
    nodes: &'env [Node],
    sender: Sender<Wake>,
    receiver: Receiver<Wake>,
    held: bool,
    running: usize,
    cancelled: bool,
}

impl<'scope, 'env, 'a> Local<'scope, 'env, 'a> {
    /// `channel` also takes [`Wake::Cancel`] from whoever hears signals.
    pub fn new(
        scope: &'scope Scope<'scope, 'env>,
        job: &'env Job<'a>,
        nodes: &'env [Node],
        channel: (Sender<Wake>, Receiver<Wake>),
    ) -> Self {
        Local { scope, job, nodes, sender: channel.0, receiver: channel.1, held: false, running: 0, cancelled: false }
    }
}

impl schedule::Executor for Local<'_, '_, '_> {
    fn start(&mut self, id: NodeId, slot: usize) {
        self.running += 1;
        let (sender, job, node) = (self.sender.clone(), self.job, &self.nodes[id]);
        self.scope.spawn(move || {
            let end = job.work(node, slot);
            // The receiver outlives all workers.
            let _ = sender.send(Wake::Ended(id, end));
        });
    }

    fn wait(&mut self) -> Wake {
        loop {
            let pressed = self.running > 0 && memory_is_short();
            if pressed != self.held {
                self.held = pressed;
                if pressed {
                    let text = "memory is short: no new package is started until that is over".to_owned();
                    self.job.events.send(Event::Note { text });
                }
                return Wake::Hold(pressed);
            }
            match self.receiver.recv_timeout(Duration::from_secs(1)) {
                Ok(Wake::Ended(id, end)) => {
                    self.running -= 1;
                    if self.running == 0 {
                        self.job.workshop.tokens.refill();
                    }
                    return Wake::Ended(id, end);
                }
                Ok(wake) => return wake,
                Err(RecvTimeoutError::Timeout) if self.job.workshop.cancel.is_cancelled() && !self.cancelled => {
                    self.cancelled = true;
                    return Wake::Cancel;
                }
                Err(_) => {}
            }
        }
    }

    fn skipped(&mut self, nodes: &[NodeId], failed: NodeId) {
        let culprit = &self.job.recipe(self.nodes[failed].package).name;
        for &id in nodes {
            let place = self.nodes[id].package;
            let mut state = self.job.state(place);
            if !std::mem::replace(&mut state.ended, true) {
                self.job.events.send(Event::PackageEnded {
                    package: self.job.recipe(place).name.clone(),
                    outcome: Outcome::Skipped,
                    reason: culprit.to_string(),
                    elapsed: Duration::ZERO,
                    size: 0,
                });
            }
        }
    }
}

/// Whether tasks have stood still for want of memory for more than a tenth of the last ten seconds.
fn memory_is_short() -> bool {
    let text = std::fs::read_to_string("/proc/pressure/memory").unwrap_or_default();
    let full = text.lines().find_map(|line| line.strip_prefix("full avg10="));
    full.and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok()).is_some_and(|share| share > 10.0)
}
