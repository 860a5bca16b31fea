//! Which package needs which: order, cycles, closures. Pure; knows `names` and `recipe`.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::error::{Error, Kind, Result};
use crate::names::PackageName;
use crate::recipe::Recipe;

/// The packages of a run in build order. A package is known by its place in that order.
#[derive(Debug, Default)]
pub struct Graph {
    /// Packages, each after all that it needs.
    pub packages: Vec<Recipe>,
    /// Direct dependencies of each, as places, ascending.
    pub needs: Vec<Vec<usize>>,
}

impl Graph {
    /// Orders recipes: a package comes after what it needs, and those that could come at once are ordered by name.
    ///
    /// Errors: a cycle, printed as a path; a dependency that is not among `recipes` (the caller has checked that).
    pub fn new(recipes: BTreeMap<PackageName, Recipe>) -> Result<Graph> {
        // By rank, a package's place among the names.
        let ranks: FxHashMap<&PackageName, usize> =
            recipes.keys().enumerate().map(|(rank, name)| (name, rank)).collect();
        let mut needs: Vec<Vec<usize>> = Vec::with_capacity(recipes.len());
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); recipes.len()];
        for (rank, (name, recipe)) in recipes.iter().enumerate() {
            let mut found = Vec::with_capacity(recipe.depends.len());
            for need in &recipe.depends {
                let Some(&need) = ranks.get(need) else {
                    return Err(Error::new(
                        Kind::Internal,
                        format!("`{name}` needs `{need}`, which was not evaluated"),
                    ));
                };
                users[need].push(rank);
                found.push(need);
            }
            needs.push(found);
        }
        let mut waits: Vec<usize> = needs.iter().map(Vec::len).collect();
        let mut ready: BTreeSet<usize> = (0..waits.len()).filter(|&rank| waits[rank] == 0).collect();
        let mut order = Vec::with_capacity(recipes.len());
        let mut place = vec![0; recipes.len()];
        while let Some(rank) = ready.pop_first() {
            place[rank] = order.len();
            order.push(rank);
            for &user in &users[rank] {
                waits[user] -= 1;
                if waits[user] == 0 {
                    ready.insert(user);
                }
            }
        }
        if order.len() < recipes.len() {
            let names: Vec<&PackageName> = recipes.keys().collect();
            let done: BTreeSet<&PackageName> = order.iter().map(|&rank| names[rank]).collect();
            return Err(Error::new(Kind::Recipe, format!("dependency cycle: {}", cycle(&recipes, &done))));
        }
        let needs = order
            .iter()
            .map(|&rank| {
                let mut needs: Vec<usize> = needs[rank].iter().map(|&need| place[need]).collect();
                needs.sort_unstable();
                needs
            })
            .collect();
        let mut recipes: Vec<Option<Recipe>> = recipes.into_values().map(Some).collect();
        let packages = order.iter().filter_map(|&rank| recipes[rank].take()).collect();
        Ok(Graph { packages, needs })
    }

    /// The place of a package.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.packages.iter().position(|recipe| recipe.name.as_str() == name)
    }

    /// Everything that a package needs, in turn, ascending (so in build order).
    pub fn closure(&self, place: usize) -> Vec<usize> {
        let mut seen = vec![false; self.packages.len()];
        let mut stack = self.needs[place].clone();
        while let Some(next) = stack.pop() {
            if !std::mem::replace(&mut seen[next], true) {
                stack.extend(&self.needs[next]);
            }
        }
        (0..seen.len()).filter(|&i| seen[i]).collect()
    }
}

/// The shortest-named cycle's path among those packages that no order reaches: `curl → openssl → curl`.
fn cycle(recipes: &BTreeMap<PackageName, Recipe>, done: &BTreeSet<&PackageName>) -> String {
    // Every package left over needs another that is left over; following the first of these must meet itself.
    let mut path: Vec<&PackageName> = recipes.keys().find(|name| !done.contains(name)).into_iter().collect();
    while let Some(last) = path.last() {
        let Some(next) = recipes[*last].depends.iter().find(|need| !done.contains(need)) else { break };
        if let Some(start) = path.iter().position(|name| *name == next) {
            let ring = &path[start..];
            // Begin at the least name, so that the message does not depend on where the search began.
            let least = ring.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(i, _)| i);
            let names: Vec<&str> =
                ring[least..].iter().chain(&ring[..=least]).map(|name| name.as_str()).collect();
            return names.join(" → ");
        }
        path.push(next);
    }
    String::from("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluated::{Evaluated, Variable};

    fn recipes(lines: &[(&str, &str)]) -> BTreeMap<PackageName, Recipe> {
        lines
            .iter()
            .map(|(name, depends)| {
                let name = PackageName::new(name).unwrap();
                let mut evaluated = Evaluated::default();
                evaluated
                    .variables
                    .insert("DEPENDS".into(), Variable { flags: "-".into(), value: (*depends).into() });
                (name.clone(), Recipe::new(name, evaluated).unwrap())
            })
            .collect()
    }

    #[test]
    fn packages_come_after_what_they_need_and_else_by_name() {
        let graph = Graph::new(recipes(&[("a", "z m"), ("m", "z"), ("z", ""), ("b", "")])).unwrap();
        let order: Vec<&str> = graph.packages.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(order, ["b", "z", "m", "a"]);
        assert_eq!(graph.needs, [vec![], vec![], vec![1], vec![1, 2]]);
        assert_eq!(graph.closure(3), [1, 2]);
    }

    #[test]
    fn a_cycle_is_printed_as_a_path() {
        let error = Graph::new(recipes(&[
            ("top", "curl"),
            ("curl", "openssl"),
            ("openssl", "ca-certs"),
            ("ca-certs", "curl"),
        ]));
        assert_eq!(error.unwrap_err().message, "dependency cycle: ca-certs → curl → openssl → ca-certs");
    }
}
