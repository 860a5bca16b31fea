//! What would be done and why, as data. Knows graph, keys and store; starts no process and changes nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::Result;
use crate::graph::Graph;
use crate::key::{Ingredients, Manifest};
use crate::layout::BuildRoot;
use crate::names::PackageName;
use crate::store::{Entry, Store};

/// What happens to a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is built.
    Build,
    /// Its result is in the store.
    Reuse,
    /// It depends on the output of a package that is built first.
    Maybe,
}

/// What other packages see of one: its output, and a digest of all that it needs in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visible {
    /// Digest of the output.
    pub output: Digest,
    /// Digest over the visible parts of its dependencies.
    pub turn: Digest,
}

/// A result that fits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Found {
    /// The entry.
    pub entry: Entry,
    /// What its dependents see.
    pub visible: Visible,
}

/// One package of a plan.
#[derive(Debug)]
pub struct Planned {
    /// What happens.
    pub action: Action,
    /// Why, in one line; empty for plain reuse.
    pub reason: String,
    /// All changed inputs, old → new, when there was an earlier build here.
    pub changes: Vec<String>,
    /// The manifest without other packages and without discovered inputs; empty where the result stands.
    pub own: Manifest,
    /// The result, when it is in the store already.
    pub found: Option<Found>,
}

/// A plan: one item for each package of the graph, in its order.
#[derive(Debug)]
pub struct Plan {
    /// By place.
    pub packages: Vec<Planned>,
}

/// Computes keys and looks results up.
#[derive(Debug)]
pub struct Planner<'a> {
    /// The packages.
    pub graph: &'a Graph,
    /// What keys are made from.
    pub ingredients: &'a Ingredients<'a>,
    /// Where results are.
    pub store: &'a Store,
    /// Where the last manifests are.
    pub build_root: &'a BuildRoot,
    /// Results that are known to fit as long as what they need is as it was.
    pub standing: &'a BTreeMap<PackageName, Found>,
}

impl Planner<'_> {
    /// Plans all packages of the graph.
    pub fn plan(&self) -> Result<Plan> {
        let mut packages: Vec<Planned> = Vec::with_capacity(self.graph.packages.len());
        let built_before = self.build_root.manifests().is_dir();
        // Those that stand, and so does all that they need.
        let mut stands = vec![false; self.graph.packages.len()];
        for (place, recipe) in self.graph.packages.iter().enumerate() {
            let standing = self.standing.get(&recipe.name).filter(|found| found.entry.is_there());
            if let Some(found) = standing.filter(|_| self.graph.needs[place].iter().all(|&need| stands[need]))
            {
                stands[place] = true;
                packages.push(Planned {
                    action: Action::Reuse,
                    reason: String::new(),
                    changes: Vec::new(),
                    own: Manifest::default(),
                    found: Some(found.clone()),
                });
                continue;
            }
            let own = self.ingredients.manifest(recipe)?;
            let sets = self.store.discovered(&own.digest());
            let waits: Vec<&str> = self.graph.needs[place]
                .iter()
                .filter(|&&need| packages[need].found.is_none())
                .map(|&need| self.graph.packages[need].name.as_str())
                .collect();
            let visible = |need: usize| packages[need].found.as_ref().map(|found| found.visible);
            let found =
                if waits.is_empty() { self.find(place, &own, sets.as_deref(), &visible)? } else { None };
            let (action, changes, reason) = match (&found, &sets) {
                (Some(_), _) => (Action::Reuse, Vec::new(), String::new()),
                (None, Some(_)) if !waits.is_empty() => {
                    (Action::Maybe, Vec::new(), format!("waits for the output of `{}`", waits.join("`, `")))
                }
                _ => {
                    let last = if built_before { self.last(&recipe.name) } else { None };
                    let changes = match &last {
                        Some(last) if waits.is_empty() => {
                            self.changes(place, last, &self.whole(place, &own, &visible)?)?
                        }
                        Some(last) => self.changes(place, last, &own)?,
                        None => Vec::new(),
                    };
                    let reason = reason(last.is_some(), sets.is_some(), &changes);
                    (Action::Build, changes, reason)
                }
            };
            packages.push(Planned { action, reason, changes, own, found });
        }
        Ok(Plan { packages })
    }

    /// The manifest with other packages' outputs, without discovered inputs. `visible` answers for direct dependencies.
    pub fn whole(
        &self,
        place: usize,
        own: &Manifest,
        visible: &dyn Fn(usize) -> Option<Visible>,
    ) -> Result<Manifest> {
        let mut manifest = own.clone();
        for &need in &self.graph.needs[place] {
            if let Some(Visible { output, turn }) = visible(need) {
                manifest.set(
                    format!("needs {}", self.graph.packages[need].name),
                    format!("{output} with {turn}"),
                );
            }
        }
        Ok(manifest)
    }

    /// Adds what was discovered to a package's manifest.
    pub fn with_discovered(&self, place: usize, whole: &Manifest, inputs: &[String]) -> Result<Manifest> {
        let package = &self.graph.packages[place].name;
        let mut manifest = whole.clone();
        for input in inputs {
            let value = match input.split_once(' ') {
                Some(("lookup", name)) => self.ingredients.lookup(package, name)?,
                Some(("source", path)) => self.ingredients.sourced(package, path)?,
                _ => continue,
            };
            manifest.set(input, value);
        }
        Ok(manifest)
    }

    /// What dependents will see of a package with that output.
    pub fn visible(
        &self,
        place: usize,
        output: Digest,
        visible: &dyn Fn(usize) -> Option<Visible>,
    ) -> Visible {
        let mut turn = String::new();
        for &need in &self.graph.needs[place] {
            if let Some(Visible { output, turn: below }) = visible(need) {
                turn.push_str(&format!("{} {output} {below}\n", self.graph.packages[need].name));
            }
        }
        Visible { output, turn: Digest::of(turn) }
    }

    /// The result of a package whose dependencies' outputs are known, if the store has it.
    pub fn find(
        &self,
        place: usize,
        own: &Manifest,
        sets: Option<&[Vec<String>]>,
        visible: &dyn Fn(usize) -> Option<Visible>,
    ) -> Result<Option<Found>> {
        let Some(sets) = sets else { return Ok(None) };
        let whole = self.whole(place, own, visible)?;
        for set in sets {
            let manifest = self.with_discovered(place, &whole, set)?;
            if let Some(entry) = self.store.find(&manifest.digest()) {
                let visible = self.visible(place, entry.meta.output, visible);
                return Ok(Some(Found { entry, visible }));
            }
        }
        Ok(None)
    }

    /// What has changed since the `last` result that this build root used, one line each. What its steps asked for while they
    /// ran is compared with what is there now.
    ///
    /// `now` may lack what is known only later: other packages' outputs.
    pub fn changes(&self, place: usize, last: &Manifest, now: &Manifest) -> Result<Vec<String>> {
        let now = self.with_discovered(place, now, &last.labels(is_discovered))?;
        let last = last.filter(|label| now.get(label).is_some() || !label.starts_with("needs "));
        // A variable that comes from the environment is there twice, and says the same.
        let told = |label: &str| {
            let Some(name) = label.strip_prefix("variable ") else { return true };
            let from = format!("environment {name}");
            let same = |manifest: &Manifest| match (manifest.get(label), manifest.get(&from)) {
                (Some(value), Some(from)) => value.ends_with(from),
                (value, from) => value.is_none() && from.is_none(),
            };
            last.get(&from) == now.get(&from) || !same(&last) || !same(&now)
        };
        let (last, now) = (self.by_place(&last.filter(told)), self.by_place(&now.filter(told)));
        let lines = last.changes(&now).into_iter();
        Ok(lines.map(|line| line.strip_prefix("lookup ").map_or(line.clone(), str::to_owned)).collect())
    }

    /// The same with a line for each place in which a look-up found something, named by its path in the tree.
    fn by_place(&self, manifest: &Manifest) -> Manifest {
        let mut split = manifest.filter(|label| !label.starts_with("lookup "));
        for label in manifest.labels(|label| label.starts_with("lookup ")) {
            let (name, found) = (&label["lookup ".len()..], manifest.get(&label).unwrap_or_default());
            for (place, value) in self.ingredients.places.iter().zip(found.split(", ")) {
                if value != "-" {
                    split.set(format!("lookup {}", self.ingredients.tree.show(&place.join(name))), value);
                }
            }
        }
        split
    }

    /// The manifest of the result that this build root used last.
    pub fn last(&self, package: &PackageName) -> Option<Manifest> {
        let path = self.build_root.manifests().join(package.as_str());
        fs_err::read_to_string(path).ok().map(|text| Manifest::parse(&text))
    }
}

/// Why a package is built, in one line: what `changes` say, where this build root has had a result (`last`); `made`: whether
/// the store knows of one of these inputs, but for those of other packages and those that steps ask for.
pub fn reason(last: bool, made: bool, changes: &[String]) -> String {
    match (last, changes) {
        (false, _) if !made => "never built".to_owned(),
        (false, _) => "not in the store with these inputs".to_owned(),
        (true, []) => "its result is gone from the store".to_owned(),
        (true, [only]) => only.clone(),
        (true, [first, rest @ ..]) => format!("{first} (and {} more)", rest.len()),
    }
}

/// Whether an ingredient may be one that a step asked for while it ran.
fn is_discovered(label: &str) -> bool {
    label.starts_with("lookup ") || label.starts_with("source ")
}
