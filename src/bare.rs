//! Builds a package without a room, on machines that refuse them: real paths, dependencies linked in and taken out again.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::job::{Job, Trouble, Worked};
use crate::making::SYSROOT_PARTS;
use crate::names::Step;
use crate::room::Room;
use crate::runtime::library_for;
use crate::script::quote;
use crate::stage::link_view;
use crate::step::{self, Places};
use crate::store::remove_tree;
use crate::text::without_carriage_returns;
use crate::vocabulary::NameSet;
use crate::{finish, stage, strip};
impl Job<'_> {
    /// Builds without a room: real paths, dependencies linked into the toolchain's folder, and taken out again.
    pub(crate) fn build_bare(
        &self,
        place: usize,
        work: &Path,
        reachable: &NameSet<'_>,
    ) -> Worked<Vec<String>> {
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
            build: root.build(),
            config: self.loaded.places.clone(),
            runtime: self.loaded.runtime.folder.clone(),
            library: work.join("library.sh"),
            prelude: work.join("prelude.sh"),
            report: work.join("report"),
            home: work.join("home"),
        };
        let own = places.deploy.join(recipe.name.as_str());
        for part in ["deploy", "toolchain", "report", "home"] {
            fs_err::create_dir(work.join(part))?;
        }
        fs_err::create_dir_all(&places.src)?;
        for fresh in [&places.build, &places.toolchain, &own] {
            remove_tree(fresh)?;
            fs_err::create_dir_all(fresh)?;
        }
        self.show(place, &places.deploy)?;
        let mut staged = stage::Snapshot::new(&self.layers);
        for layer in self.toolchain_layers(place).iter().rev() {
            staged.link_tree(layer, &places.toolchain, Path::new(""))?;
        }
        // The first last: as in a room, where it lies on top.
        for &need in self.loaded.graph.needs[place].iter().rev().filter(|_| !self.target().is_empty()) {
            let Some(found) = self.needed(need) else { continue };
            for part in SYSROOT_PARTS {
                let from = found.entry.deploy().join(part);
                if from.is_dir() {
                    staged.link_tree(&from, &places.toolchain, &Path::new(self.target()).join(part))?;
                }
            }
        }
        let mut prelude = step::prelude(self.loaded, recipe, &places, reachable);
        let text = fs_err::read_to_string(self.loaded.tree.recipe(recipe.name.as_str())).unwrap_or_default();
        if let Some(text) = without_carriage_returns(&text).filter(|_| !recipe.evaluated.makefile) {
            let copy = work.join("recipe");
            fs_err::write(&copy, text)?;
            prelude.push_str(&format!("MK_RECIPE={}\n", quote(&copy.to_string_lossy())));
        }
        fs_err::write(&places.library, library_for(|name| reachable.contains(name)))?;
        fs_err::write(&places.prelude, prelude)?;
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
        let room =
            Room { mounts: Vec::new(), programs: Vec::new(), network: true, terminal: false, limit: None };
        let ran = self.run_steps_with(place, &steps, work, &places, &|programs, inherit, ended| {
            self.rooms.run_telling(
                true,
                &Room { programs, ..room.clone() },
                inherit,
                &self.workshop.cancel,
                ended,
            )
        });
        if let Err(mut trouble) = ran {
            let damage = self.take_out(place, &places.toolchain, &staged.damaged(&places.toolchain))?;
            if let (Trouble::Failed(failure, _), Some(error)) = (&mut trouble, damage) {
                failure.at.push(error.message);
                failure.at.extend(error.at);
            }
            return Err(trouble);
        }
        let made = [own.clone()];
        finish::opened(&made, || finish::clean_up(&own))?;
        let strip = places.toolchain.join("bin").join(format!("{}-strip", self.target()));
        let plan = finish::opened(&made, || strip::plan(&own, self.target()))?;
        if !plan.calls.is_empty() && strip.exists() {
            let programs = self.strip_programs(place, &plan, &places);
            plan.unlock(&own)?;
            let ran = self.rooms.run_bare(&Room { programs, ..room }, &[], &self.workshop.cancel);
            plan.relock(&own)?;
            self.stripped(place, &ran?)?;
        }
        let (from, to) = (&places.toolchain, work.join("toolchain"));
        let damaged = finish::opened(std::slice::from_ref(from), || staged.take_additions(from, &to))?;
        if let Some(error) = self.take_out(place, from, &damaged)? {
            return Err(error.into());
        }
        fs_err::rename(&own, work.join("deploy"))?;
        for used in [&places.build, &places.toolchain] {
            remove_tree(used)?;
        }
        step::discovered(&places.report, recipe, &places).map_err(Trouble::from)
    }

    /// Shows in the folder `deploy` the results of all that a package needs, in turn, each of which is looked at once in a run.
    fn show(&self, place: usize, deploy: &Path) -> Worked<()> {
        let mut shown = self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for need in self.loaded.graph.closure(place) {
            let name = &self.recipe(need).name;
            let is_known = shown.contains(&need);
            let Some(found) = self.needed(need).filter(|found| is_known || found.entry.is_there()) else {
                let text = format!("the result of `{name}`, which it needs, is gone");
                return Err(Error::new(Kind::Build, text).hint("run `mk` again; it builds that anew").into());
            };
            if !is_known {
                link_view(&found.entry.deploy(), &deploy.join(name.as_str()))?;
                shown.insert(need);
            }
        }
        Ok(())
    }

    /// Takes results out of the store that a package damaged: those that `damaged` files of the toolchain are hard links to.
    /// Says so, where there are any.
    fn take_out(&self, place: usize, toolchain: &Path, damaged: &[PathBuf]) -> Result<Option<Error>> {
        let Some(first) = damaged.first() else { return Ok(None) };
        let inode = |path: &Path| path.symlink_metadata().ok().map(|meta| (meta.dev(), meta.ino()));
        let files: HashSet<(u64, u64)> =
            damaged.iter().filter_map(|path| inode(&toolchain.join(path))).collect();
        let mut names = Vec::new();
        for need in self.loaded.graph.closure(place) {
            let Some(found) = self.needed(need) else { continue };
            let all = walkdir::WalkDir::new(&found.entry.path).into_iter().flatten();
            if all.into_iter().any(|file| inode(file.path()).is_some_and(|file| files.contains(&file))) {
                self.store.discard(&found.entry.path)?;
                self.state(need).found = None;
                names.push(format!("`{}`", self.recipe(need).name));
            }
        }
        let text = format!("`{}` of another package was written to in place", first.display());
        let error = Error::new(Kind::Build, text);
        Ok(Some(if names.is_empty() {
            error
        } else {
            let names = names.join(", ");
            error
                .at(format!("taken out of the store, since it is not what was built any more: {names}"))
                .hint("replace a file that is to be changed; the next run builds what was taken out anew")
        }))
    }
}
