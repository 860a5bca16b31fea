//! Evaluates recipes, several at a time: which running bash reads which of them, plain ones in a row. Decides nothing about
//! packages.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::batch::{Batch, Member, Printed};
use crate::error::{Error, Kind, Result};
use crate::evaluated::Evaluated;
use crate::names::PackageName;
use crate::worker::{Setting, Start, Worker, use_room_paths};

/// All that evaluation found out.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// GNU triplet of this machine, as bash knows it.
    pub host: String,
    /// What the TOOLCHAIN files set.
    pub environment: Evaluated,
    /// Each recipe, by package.
    pub recipes: BTreeMap<PackageName, Evaluated>,
    /// Those that could not be read.
    pub failed: BTreeMap<PackageName, Error>,
    /// The first recipe whose inputs are not all known.
    pub opaque: Option<PackageName>,
}

/// Plain recipes that take as long to be read as another bash to come up.
const WORTH_ANOTHER: usize = 64;

/// Recipes that are not worth to be divided among threads.
const FEW: usize = 4;

/// Most recipes that one bash reads in a row.
const BATCH: usize = 128;

/// The bash processes that run, of which each does one thing at a time. They take a while to come up.
struct Pool<'a> {
    setting: &'a Setting<'a>,
    state: Mutex<Running<'a>>,
    freed: Condvar,
    start: OnceLock<Arc<Start>>,
}

#[derive(Default)]
struct Running<'a> {
    idle: Vec<Worker<'a>>,
    busy: usize,
}

impl<'a> Pool<'a> {
    fn lock(&self) -> MutexGuard<'_, Running<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a bash. One that fails is not used again: it may hang, or have died.
    ///
    /// With `waits` it is one of those that run already, if there is any.
    fn with<T>(&self, waits: bool, work: impl FnOnce(&mut Worker<'a>) -> Result<T>) -> Result<T> {
        let mut state = self.lock();
        while waits && state.idle.is_empty() && state.busy > 0 {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let worker = state.idle.pop();
        state.busy += 1;
        drop(state);
        let worker = worker.map_or_else(|| Worker::start(self.setting, self.start.get().cloned()), Ok);
        let done = worker.and_then(|mut worker| Ok((work(&mut worker)?, worker)));
        let mut state = self.lock();
        state.busy -= 1;
        let result = done.map(|(found, worker)| {
            self.start.get_or_init(|| worker.start.clone());
            state.idle.push(worker);
            found
        });
        self.freed.notify_all();
        result
    }

    /// What recipes start from.
    fn start(&self) -> Result<Arc<Start>> {
        self.start
            .get()
            .map_or_else(|| self.with(true, |worker| Ok(worker.start.clone())), |start| Ok(start.clone()))
    }

    /// Tells plain recipes from others.
    fn sort(&self, packages: &[PackageName]) -> Result<(Vec<Member>, Vec<PackageName>)> {
        let start = self.start()?;
        let (mut plain, mut others) = (Vec::new(), Vec::new());
        for package in packages {
            match start.plain(self.setting, package) {
                Some(member) => plain.push(member),
                None => others.push(package.clone()),
            }
        }
        Ok((plain, others))
    }

    /// Evaluates plain recipes in a row. Those that turn out not to be plain come back without what they say.
    fn evaluate_plain(
        &self,
        members: Vec<Member>,
        printed: &mut Printed,
    ) -> Vec<(PackageName, Option<Evaluated>)> {
        let mut found = Vec::new();
        if !members.is_empty() {
            let (batch, script) = Batch::new(&members, self.setting.tree, printed);
            // One of them may end bash. Each by itself says which, and why.
            let answer = self.with(members.len() < WORTH_ANOTHER, |worker| worker.run(&script));
            if let Ok(Some(answer)) = answer {
                found = batch.read(&answer, printed);
            }
        }
        let found = found.into_iter().chain(std::iter::repeat(None));
        let with_room_paths = |mut evaluated| {
            use_room_paths(self.setting.tree, &mut evaluated);
            evaluated
        };
        members
            .into_iter()
            .zip(found)
            .map(|(member, found)| (member.package, found.map(with_room_paths)))
            .collect()
    }

    /// Evaluates a recipe in a process of its own.
    fn evaluate(&self, package: &PackageName) -> Result<Evaluated> {
        self.with(false, |worker| worker.evaluate(package))
    }
}

#[derive(Default)]
struct Queue {
    /// What is known already and not yet asked for.
    given: BTreeMap<PackageName, Evaluated>,
    waiting: VecDeque<PackageName>,
    /// Those that are not plain.
    hard: VecDeque<PackageName>,
    known: BTreeSet<PackageName>,
    busy: usize,
    found: BTreeMap<PackageName, Evaluated>,
    failed: BTreeMap<PackageName, Error>,
}

impl Queue {
    /// Takes what a package is known to be, and all that is known of what it needs; what is not waits for bash.
    fn add(
        &mut self,
        names: impl IntoIterator<Item = PackageName>,
        follow: &dyn Fn(&PackageName, &Evaluated) -> Result<Vec<PackageName>>,
    ) {
        let mut names: VecDeque<PackageName> = names.into_iter().collect();
        while let Some(name) = names.pop_front() {
            if !self.known.insert(name.clone()) {
                continue;
            }
            let Some(evaluated) = self.given.remove(&name) else {
                self.waiting.push_back(name);
                continue;
            };
            match follow(&name, &evaluated) {
                Ok(needs) => {
                    names.extend(needs);
                    self.found.insert(name, evaluated);
                }
                Err(error) => drop(self.failed.insert(name, error)),
            }
        }
    }
}

/// Evaluates `roots` and, with `follow`, all that they need in turn; each recipe once, several at a time. Of what is
/// `known` nothing is asked.
///
/// `follow` says what a recipe needs; its errors (an unknown dependency) are reported with the recipe's own, by package
/// name. A recipe that cannot be read does not keep the others from being read.
pub fn evaluate(
    setting: &Setting<'_>,
    roots: &[PackageName],
    known: Option<Evaluation>,
    follow: &(dyn Fn(&PackageName, &Evaluated) -> Result<Vec<PackageName>> + Sync),
) -> Result<Evaluation> {
    let mut queue = Queue::default();
    let mut before = None;
    if let Some(known) = known {
        queue.given = known.recipes;
        before = Some((known.host, known.environment));
    }
    queue.add(roots.iter().cloned(), follow);
    let queue = Mutex::new(queue);
    let changed = Condvar::new();
    let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = Pool { setting, state: Mutex::default(), freed: Condvar::new(), start: OnceLock::new() };
    let work = || -> Result<()> {
        let mut printed = Printed::default();
        loop {
            let mut state = lock();
            // One that takes long, or several that do not.
            let (hard, packages) = loop {
                if let Some(package) = state.hard.pop_front() {
                    break (Some(package), Vec::new());
                }
                if !state.waiting.is_empty() {
                    let share = state.waiting.len().div_ceil(setting.workers.max(1)).clamp(FEW, BATCH);
                    let share = share.min(state.waiting.len());
                    break (None, state.waiting.drain(..share).collect());
                }
                if state.busy == 0 {
                    return Ok(());
                }
                state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            state.busy += 1;
            drop(state);
            let mut results: Vec<(PackageName, Result<Evaluated>)> = Vec::new();
            let mut others = Vec::new();
            if let Some(package) = hard {
                let result = pool.evaluate(&package);
                results.push((package, result));
            } else {
                match pool.sort(&packages) {
                    Ok((plain, hard)) => {
                        if !hard.is_empty() {
                            lock().hard.extend(hard);
                            changed.notify_all();
                        }
                        for (package, found) in pool.evaluate_plain(plain, &mut printed) {
                            match found {
                                Some(evaluated) => results.push((package, Ok(evaluated))),
                                None => others.push(package),
                            }
                        }
                    }
                    Err(error) => {
                        results.extend(packages.into_iter().map(|package| (package, Err(error.clone()))));
                    }
                }
            }
            let checked = |(package, result): (PackageName, Result<Evaluated>)| {
                let result = result.and_then(|evaluated| Ok((follow(&package, &evaluated)?, evaluated)));
                (package, result)
            };
            let results: Vec<_> = results.into_iter().map(checked).collect();
            let mut state = lock();
            state.busy -= 1;
            state.hard.extend(others);
            for (package, result) in results {
                match result {
                    Ok((needs, evaluated)) => {
                        state.found.insert(package, evaluated);
                        state.add(needs, follow);
                    }
                    Err(error) => drop(state.failed.insert(package, error)),
                }
            }
            changed.notify_all();
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..setting.workers.max(1)).map(|_| scope.spawn(work)).collect();
        let mut result = work();
        for thread in threads {
            let theirs = thread.join().unwrap_or_else(|_| {
                Err(Error::new(Kind::Internal, "a thread that evaluates recipes panicked"))
            });
            result = result.and(theirs);
        }
        result
    })?;
    let queue = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (host, environment) = match before {
        Some(before) => before,
        // Every bash that came up may have been lost to a recipe that cannot be read, or none comes up.
        None => pool.start().map(|start| (start.host.clone(), start.environment.clone()))?,
    };
    let opaque = queue.found.iter().find(|(_, evaluated)| evaluated.opaque).map(|(name, _)| name.clone());
    Ok(Evaluation { host, environment, recipes: queue.found, failed: queue.failed, opaque })
}
