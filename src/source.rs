//! From an archive's URL to a prepared source: fetch, unpack, `prepare`. Each result is kept in the store.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::disk::same_content;
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Failure};
use crate::fetch::{self};
use crate::job::{Job, Trouble, Worked};
use crate::key::{self};
use crate::making::FAILED_STEP;
use crate::names::Step;
use crate::plan::Action;
use crate::recipe::{Recipe, Source};
use crate::room::Mount;
use crate::step::{self, Places};
use crate::store::remove_tree;
use crate::unpack;

impl Job<'_> {
    /// Whether the archive's unpacked source is in the store already and steps do not ask for the archive itself.
    pub(crate) fn needs_no_archive(&self, recipe: &Recipe, source: &Source) -> bool {
        let asked = || self.planner.ingredients.reachable(recipe).contains("PKGDOWNLOADDIR");
        self.unpacked(source).is_some() && !asked()
    }

    /// Gets the archive, unless it is not needed.
    pub(crate) fn fetch(&self, place: usize) -> Worked<()> {
        let recipe = self.recipe(place);
        let Some(source) = &recipe.source else { return Ok(()) };
        if self.needs_no_archive(recipe, source) {
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
    pub(crate) fn unpacked(&self, source: &Source) -> Option<PathBuf> {
        let unpacked =
            source.digests.iter().map(|digest| self.store.source(digest)).find(|path| path.is_dir())?;
        source.folders.iter().map(|folder| unpacked.join(folder)).find(|path| path.is_dir())
    }

    /// Unpacks the archive and runs `prepare`.
    pub(crate) fn prepare(&self, place: usize) -> Worked<()> {
        if self.state(place).action == Some(Action::Maybe) && self.resolve(place)? {
            return Ok(());
        }
        if let Some(folder) = self.provide(place)? {
            if self.recipe(place).function(Step::Prepare).is_some() && self.in_rooms {
                self.run_prepare(place, &folder)?;
            }
        }
        Ok(())
    }

    /// The source folder in the store, where the archive is unpacked unless it is there; `None`: the package has none.
    pub(crate) fn provide(&self, place: usize) -> Worked<Option<PathBuf>> {
        let Some(source) = &self.recipe(place).source else { return Ok(None) };
        let folder = match self.unpacked(source) {
            Some(folder) => folder,
            None => self.unpack(place, source)?,
        };
        self.state(place).source = Some(folder.clone());
        Ok(Some(folder))
    }

    fn unpack(&self, place: usize, source: &Source) -> Worked<PathBuf> {
        let archive = self.state(place).archive.clone();
        let Some((archive, digest)) = archive else {
            return Err(Error::new(Kind::Internal, "an archive is unpacked that was not fetched").into());
        };
        let _lock = self.lock(place, &format!("source-{digest}"))?;
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

    /// Keeps what a failed `prepare` made of the source as if a step after it had: there `mk shell` goes on with it.
    fn keep_unprepared(&self, place: usize, work: &Path, failure: Box<Failure>, kind: Kind) -> Trouble {
        let moved = fs_err::rename(work.join("layer"), work.join("src"))
            .and_then(|()| fs_err::write(work.join(FAILED_STEP), Step::Prepare.as_str()));
        match moved {
            Ok(()) => self.keep_failed(place, work, failure, kind),
            Err(_) => Trouble::Failed(failure, kind),
        }
    }

    /// Runs `prepare` in a room, unless the store has its layer.
    fn run_prepare(&self, place: usize, folder: &Path) -> Worked<()> {
        let recipe = self.recipe(place);
        let whole = self.state(place).own.clone();
        let own = whole.filter(key::matters_to_prepare);
        let digest = own.digest();
        let find = || -> Result<Option<(PathBuf, Vec<String>)>> {
            for set in self.store.discovered(&digest).unwrap_or_default() {
                let key = self.planner.with_discovered(place, &own, &set)?.digest();
                let path = self.store.prepared(&key);
                if path.is_dir() {
                    return Ok(Some((path, set)));
                }
            }
            Ok(None)
        };
        let _lock = self.lock(place, &format!("prepared-{digest}"))?;
        let found = find()?;
        let reused = found.is_some();
        let (path, inputs) = match found {
            Some(found) => found,
            None => {
                let work = self.workshop.temporary.folder(recipe.name.as_str())?;
                for part in ["layer", "work", "report"] {
                    fs_err::create_dir(work.join(part))?;
                }
                let reachable = self.planner.ingredients.reachable(recipe);
                let places = Places::in_room();
                let to = places.source(recipe);
                let prelude = step::prelude(self.loaded, recipe, &places, &reachable);
                let mut mounts =
                    step::tree_mounts(self.loaded, place, &reachable, prelude, &work.join("report"))?;
                mounts.push(Mount::Overlay {
                    lower: vec![folder.to_owned()],
                    upper: Some(work.join("layer")),
                    work: Some(work.join("work")),
                    to: to.clone(),
                });
                let ran = self.run_steps(place, &[(Step::Prepare, to)], mounts, &places, &work);
                if let Err(Trouble::Failed(failure, kind)) = ran {
                    return Err(self.keep_unprepared(place, &work, failure, kind));
                }
                ran?;
                let inputs = step::discovered(&work.join("report"), recipe, &places)?;
                self.is_as_planned(recipe, &whole, &inputs, &work)?;
                remove_tree(&work.join("work"))?;
                self.copy_log(place, Step::Prepare, &work)?;
                let key = self.planner.with_discovered(place, &own, &inputs)?.digest();
                let path = self.store.publish_prepared(&work, &key)?;
                self.store.discover(&digest, &inputs)?;
                (path, inputs)
            }
        };
        let kept = path.join("prepare.log");
        let log = self.loaded.build_root.log(&recipe.name, Step::Prepare);
        // The run that made it may be this package's in the same build root, and its log followed.
        if reused && kept.exists() && !same_content(&kept, &log) {
            fs_err::copy(kept, log)?;
        }
        let mut state = self.state(place);
        state.prepared = Some(path.join("layer"));
        state.prepare_inputs = inputs;
        Ok(())
    }
}
