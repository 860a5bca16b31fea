//! From a prepared source to a result in the store: the room, `build` and `deploy` in it, stripping, publishing.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Exit, Failure, Frame};
use crate::job::{Job, Trouble, Worked};
use crate::key::Manifest;
use crate::layout::room as inside;
use crate::names::Step;
use crate::plan::Found;
use crate::recipe::Recipe;
use crate::room::{Mount, Program, Ran, Room, Status, Stop};
use crate::stage::link_view;
use crate::step::{self, Places};
use crate::store::{Meta, remove_tree};
use crate::vocabulary::NameSet;
use crate::{finish, process, stage, strip, uptodate};
/// Runs programs one after another until one fails, handing them descriptors at the numbers named, and tells how each
/// ended.
type Runner<'a> =
    dyn Fn(Vec<Program>, &[(BorrowedFd<'_>, i32)], &mut dyn FnMut(&process::Exit)) -> Result<Ran> + 'a;

impl Job<'_> {
    /// Builds the package, or finds that it need not be.
    pub(crate) fn build(&self, place: usize) -> Worked<()> {
        if self.resolve(place)? {
            return Ok(());
        }
        let recipe = self.recipe(place);
        let own = self.state(place).own.clone();
        let whole = self.planner.whole(place, &own, &|need| self.visible(need))?;
        let key = whole.digest();
        let _lock = self.lock(place, &format!("entry-{key}"))?;
        // Another process may have built it while this one waited.
        if self.resolve(place)? {
            return Ok(());
        }
        if !self.in_rooms {
            self.take_folders(place)?;
        }
        for step in Step::ALL {
            // Those of an earlier build. This one's `prepare`, which has run, is kept.
            if step != Step::Prepare || self.state(place).prepared.is_none() {
                let _ = fs_err::remove_file(self.loaded.build_root.log(&recipe.name, step));
            }
        }
        let began = Instant::now();
        let work = self.workshop.temporary.folder(recipe.name.as_str())?;
        let reachable = self.planner.ingredients.reachable(recipe);
        let result = if self.in_rooms {
            self.build_in_room(place, &work, &reachable)
        } else {
            self.build_bare(place, &work, &reachable)
        };
        if result.is_err() && !self.in_rooms {
            // To where it is after a build in a room, to be kept or removed with the rest.
            let own = self.loaded.build_root.deploy().join(recipe.name.as_str());
            if own.is_dir() && !own.is_symlink() {
                let _ = fs_err::rename(own, work.join("deploy"));
            }
        }
        let mut inputs = match result {
            Ok(inputs) => inputs,
            Err(Trouble::Failed(failure, kind)) => {
                return Err(self.keep_failed(place, &work, failure, kind));
            }
            Err(cancelled) => {
                remove_tree(&work)?;
                return Err(cancelled);
            }
        };
        inputs.extend(self.state(place).prepare_inputs.iter().cloned());
        inputs.sort();
        inputs.dedup();
        self.is_as_planned(recipe, &own, &inputs, &work)?;
        let seconds = began.elapsed().as_secs_f64();
        let entry = self.publish(place, &work, &own, &whole, &inputs, seconds)?;
        remove_tree(&work)?;
        self.store.set_duration(&recipe.name, seconds)?;
        let mut state = self.state(place);
        (state.found, state.built) = (Some(entry), true);
        Ok(())
    }

    /// An error, and `work` removed, if something that a package was built from has changed since the plan was made: what came
    /// out may be of the old or of the new.
    pub(crate) fn is_as_planned(
        &self,
        recipe: &Recipe,
        own: &Manifest,
        inputs: &[String],
        work: &Path,
    ) -> Worked<()> {
        let ingredients = self.planner.ingredients;
        let Some(what) = ingredients.changed_meanwhile(recipe, own, inputs, self.loaded.began)? else {
            return Ok(());
        };
        remove_tree(work)?;
        let text = format!("`{what}` was changed while it was built from that");
        Err(Error::new(Kind::Build, text).hint("run `mk` again; nothing was kept").into())
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
        let (tree, additions) =
            (finish::settle(&deploy, step::EPOCH)?, finish::settle(&toolchain, step::EPOCH)?);
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
        let manifest = self.planner.with_discovered(place, whole, inputs)?;
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
        let entry = self.store.publish(&entry, &key, meta)?;
        self.store.discover(&own.digest(), inputs)?;
        let visible = self.planner.visible(place, entry.meta.output, &|need| self.visible(need));
        Ok(Found { entry, visible })
    }

    fn build_in_room(&self, place: usize, work: &Path, reachable: &NameSet<'_>) -> Worked<Vec<String>> {
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
        let made: Vec<PathBuf> =
            SYSROOT_PARTS.iter().chain(&["toolchain"]).map(|part| work.join(part)).collect();
        finish::opened(&made, || self.merge_sysroot(work))?;
        let deploy = work.join("deploy");
        finish::opened(std::slice::from_ref(&deploy), || finish::clean_up(&deploy))?;
        let strip = format!("{}-strip", self.target());
        let layers = self.toolchain_layers(place);
        let has_strip = layers
            .iter()
            .chain([&work.join("toolchain")])
            .any(|layer| layer.join("bin").join(&strip).exists());
        self.strip(place, work, has_strip, &places, mounts)?;
        step::discovered(&work.join("report"), recipe, &places).map_err(Trouble::from)
    }

    /// `TARGET`, or nothing.
    pub fn target(&self) -> &str {
        self.loaded.variables.get("TARGET").map_or("", String::as_str)
    }

    /// Toolchain layers of all that a package needs, the latest on top.
    pub fn toolchain_layers(&self, place: usize) -> Vec<PathBuf> {
        let needed = self.loaded.graph.closure(place).into_iter().rev();
        needed
            .filter_map(|need| self.needed(need))
            .filter(|f| f.entry.meta.toolchain)
            .map(|f| f.entry.toolchain())
            .collect()
    }

    /// All places of a package's room for `build` and `deploy`.
    pub fn room_mounts(&self, place: usize, work: &Path, reachable: &NameSet<'_>) -> Worked<Vec<Mount>> {
        let recipe = self.recipe(place);
        let places = Places::in_room();
        let prelude = step::prelude(self.loaded, recipe, &places, reachable);
        let mut mounts = step::tree_mounts(self.loaded, place, reachable, prelude, &work.join("report"))?;
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
        } else {
            mounts.push(Mount::Tmpfs { to: places.src.clone() });
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
                let mut lower: Vec<PathBuf> =
                    direct.iter().map(|deploy| deploy.join(part)).filter(|path| path.is_dir()).collect();
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
    pub(crate) fn run_steps(
        &self,
        place: usize,
        steps: &[(Step, PathBuf)],
        mounts: Vec<Mount>,
        places: &Places,
        work: &Path,
    ) -> Worked<()> {
        self.run_steps_with(place, steps, work, places, &|programs, inherit, ended| {
            let room =
                Room { mounts: mounts.clone(), programs, network: false, terminal: false, limit: None };
            self.rooms.run_telling(false, &room, inherit, &self.workshop.cancel, ended)
        })
    }

    /// Runs steps one after another, all at once by `run`, and tells what happens.
    pub fn run_steps_with(
        &self,
        place: usize,
        steps: &[(Step, PathBuf)],
        work: &Path,
        places: &Places,
        run: &Runner<'_>,
    ) -> Worked<()> {
        let recipe = self.recipe(place);
        let env = step::environment(recipe, places, self.jobs);
        let (read, write) = self.workshop.tokens.descriptors();
        let inherit = [(read.as_fd(), step::JOBSERVER.0), (write.as_fd(), step::JOBSERVER.1)];
        let log = |step: Step| self.loaded.build_root.log(&recipe.name, step);
        let mut programs = Vec::with_capacity(steps.len());
        for (step, cwd) in steps {
            fs_err::write(log(*step), "")?;
            programs.push(step::program(*step, places, cwd.clone(), log(*step), env.clone()));
        }
        let package = || recipe.name.clone();
        let mut waiting = steps.iter().map(|(step, _)| *step);
        let start = |step: Step| {
            self.events.send(Event::StepStarted { package: package(), step, log: log(step) });
            (step, Instant::now())
        };
        let end = |(step, began): (Step, Instant), exit: Exit| {
            self.events.send(Event::StepEnded { package: package(), step, exit, elapsed: began.elapsed() });
            (step, exit)
        };
        let mut running = waiting.next().map(start);
        let mut last = None;
        let ran = run(programs, &inherit, &mut |ended| {
            let exit = match ended.status {
                Status::Code(code) => Exit::Code(code),
                Status::Signal(signal) => Exit::Signal(signal),
            };
            last = running.take().map(|running| end(running, exit));
            running = if exit.success() { waiting.next().map(start) } else { None };
        })?;
        self.state(place).cpu += ran.cpu;
        if let Some(running) = running {
            // It was ended before it could say anything.
            last = Some(end(running, Exit::Signal(libc::SIGTERM)));
        }
        for step in waiting {
            fs_err::remove_file(log(step))?;
        }
        if ran.stop == Some(Stop::Cancelled) || self.workshop.cancel.is_cancelled() {
            return Err(Trouble::Cancelled);
        }
        let Some((step, exit)) = last.filter(|(_, exit)| !exit.success()) else { return Ok(()) };
        let mut confession = if recipe.evaluated.makefile {
            step::confession_of_make(&log(step), self.loaded, places)
        } else {
            let said = step::confession(&work.join("report"), self.loaded, places);
            let is_silent = said == step::Confession::default();
            if is_silent { step::confession_of_bash(&log(step), self.loaded, places) } else { said }
        };
        if let (true, true, Some(function)) =
            (confession.stack.is_empty(), confession.command.is_some(), recipe.function(step))
        {
            // The function as a whole has failed, by its last command: bash says no line of it.
            let (file, line) = (function.file.clone(), function.line);
            confession.stack.push(Frame { file, line, function: step.as_str().to_owned() });
        }
        let failure = Failure {
            package: recipe.name.clone(),
            step: Some(step),
            exit: Some(exit),
            message: String::new(),
            at: Vec::new(),
            hints: Vec::new(),
            command: confession.command,
            stack: confession.stack,
            log: Some(log(step)),
            kept: None,
        };
        Err(Trouble::Failed(Box::new(failure), Kind::Build))
    }

    /// Strips what was deployed, by the toolchain's own program and in the same room.
    fn strip(
        &self,
        place: usize,
        work: &Path,
        has_strip: bool,
        places: &Places,
        mounts: Vec<Mount>,
    ) -> Worked<()> {
        let deploy = work.join("deploy");
        let plan = finish::opened(std::slice::from_ref(&deploy), || strip::plan(&deploy, self.target()))?;
        if plan.calls.is_empty() {
            return Ok(());
        }
        if !has_strip {
            let text = format!(
                "{}: not stripped: nothing that it needs provides `{}-strip`",
                self.recipe(place).name,
                self.target()
            );
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
        self.state(place).cpu += ran.cpu;
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

    /// Keeps the folders of a failed step where `mk shell` finds them, if that is possible, and says so in the failure.
    pub(crate) fn keep_failed(
        &self,
        place: usize,
        work: &Path,
        mut failure: Box<Failure>,
        kind: Kind,
    ) -> Trouble {
        failure.kept = self.keep(place, work, failure.step);
        if failure.kept.is_some() && self.in_rooms {
            let (board, product) = (&self.loaded.board, &self.loaded.product);
            let package = self.recipe(place).name.as_str();
            failure.hints.push(crate::failure::shell_hint(&self.loaded.again, board, product, package));
        }
        Trouble::Failed(failure, kind)
    }

    fn keep(&self, place: usize, work: &Path, step: Option<Step>) -> Option<PathBuf> {
        let view = self.loaded.build_root.failed(&self.recipe(place).name);
        let kept = self.store.failed(&view);
        // The run in which it succeeds removes them, also where everything is as it was before.
        uptodate::forget(&self.loaded.build_root);
        remove_tree(&kept).ok()?;
        fs_err::create_dir_all(kept.parent()?).ok()?;
        if !self.in_rooms {
            // Where they are, the next package empties them.
            fs_err::rename(self.loaded.build_root.build(), work.join("build")).ok()?;
            let source = self.recipe(place).source.iter().find_map(|source| source.folders.first());
            if let Some(folder) = source.filter(|folder| *folder != "." && step == Some(Step::Prepare)) {
                fs_err::rename(self.workspace.src().join(folder), work.join("src")).ok()?;
            }
        }
        fs_err::rename(work, &kept).ok()?;
        fs_err::create_dir_all(view.parent()?).ok()?;
        link_view(&kept, &view).ok()?;
        let prepared = step == Some(Step::Prepare) && kept.join("src").is_dir();
        Some(view.join(if prepared { "src" } else { "build" }))
    }
}

/// A file beside the folders that are kept of a failed step, with its name, where that is not one of those of a build.
pub const FAILED_STEP: &str = "failed-step";

/// The parts of a deploy folder that are seen in the sysroot.
pub const SYSROOT_PARTS: [&str; 2] = ["include", "lib"];
