//! Which package needs which: order, cycles, closures. Pure; knows `names` and `recipe`.

use std::collections::{BTreeMap, BTreeSet};

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
        let mut waits: BTreeMap<&PackageName, usize> = BTreeMap::new();
        let mut users: BTreeMap<&PackageName, Vec<&PackageName>> = BTreeMap::new();
        for (name, recipe) in &recipes {
            waits.insert(name, recipe.depends.len());
            for need in &recipe.depends {
                if !recipes.contains_key(need) {
                    return Err(Error::new(
                        Kind::Internal,
                        format!("`{name}` needs `{need}`, which was not evaluated"),
                    ));
                }
                users.entry(need).or_default().push(name);
            }
        }
        let mut ready: BTreeSet<&PackageName> =
            waits.iter().filter(|(_, n)| **n == 0).map(|(name, _)| *name).collect();
        let mut order: Vec<PackageName> = Vec::with_capacity(recipes.len());
        while let Some(name) = ready.pop_first() {
            order.push(name.clone());
            for user in users.get(name).into_iter().flatten() {
                if let Some(left) = waits.get_mut(user) {
                    *left -= 1;
                    if *left == 0 {
                        ready.insert(user);
                    }
                }
            }
        }
        if order.len() < recipes.len() {
            let done: BTreeSet<&PackageName> = order.iter().collect();
            return Err(Error::new(Kind::Recipe, format!("dependency cycle: {}", cycle(&recipes, &done))));
        }
        let place: BTreeMap<&PackageName, usize> =
            order.iter().enumerate().map(|(i, name)| (name, i)).collect();
        let needs = order
            .iter()
            .map(|name| {
                let mut needs: Vec<usize> = recipes[name].depends.iter().map(|need| place[need]).collect();
                needs.sort_unstable();
                needs
            })
            .collect();
        let mut recipes = recipes;
        let packages = order.iter().filter_map(|name| recipes.remove(name)).collect();
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
    use crate::evaluate::{Evaluated, Variable};

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
