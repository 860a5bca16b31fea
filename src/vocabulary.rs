//! The names that something is known of: helpers of the runtime library, what configuration sets, what the driver asks for.
//! Tells which of them a text says, and which these bring within reach. Knows bash's words, not what they are for.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::evaluated::Evaluated;
use crate::runtime::{self, identifiers};

/// All known names, and for each those that it brings within reach.
#[derive(Debug)]
pub struct Vocabulary {
    places: FxHashMap<String, usize>,
    /// By place: the places of the name itself and of all that it leads to, in turn.
    reach: Vec<Vec<usize>>,
}

impl Vocabulary {
    /// Of the library's helpers, what `environment` sets, and `others`, which lead nowhere.
    pub fn new<'n>(environment: &'n Evaluated, others: impl Iterator<Item = &'n str>) -> Vocabulary {
        let set = environment.variables.keys().chain(environment.functions.keys()).map(String::as_str);
        let names: BTreeSet<&str> = runtime::helpers().keys().copied().chain(set).chain(others).collect();
        let places: FxHashMap<String, usize> =
            names.iter().enumerate().map(|(place, name)| ((*name).to_owned(), place)).collect();
        let leads_to: Vec<Vec<usize>> = names
            .iter()
            .map(|name| {
                let helper = runtime::helpers().get(name).into_iter();
                let function = environment.functions.get(*name).map(|function| &function.text);
                let variable = environment.variables.get(*name).map(|variable| &variable.value);
                let said = function.into_iter().chain(variable).flat_map(|text| identifiers(text));
                let words = helper.flat_map(|helper| helper.names.iter().copied()).chain(said);
                words.filter_map(|word| places.get(word).copied()).collect()
            })
            .collect();
        let reach = (0..names.len())
            .map(|place| {
                let mut found = BTreeSet::from([place]);
                let mut fresh = vec![place];
                while let Some(place) = fresh.pop() {
                    fresh.extend(leads_to[place].iter().filter(|&&next| found.insert(next)));
                }
                found.into_iter().collect()
            })
            .collect();
        Vocabulary { places, reach }
    }

    /// No name yet.
    pub fn none(&self) -> NameSet<'_> {
        NameSet { vocabulary: self, held: vec![false; self.reach.len()] }
    }
}

/// Some of a vocabulary's names.
#[derive(Debug, Clone)]
pub struct NameSet<'v> {
    vocabulary: &'v Vocabulary,
    held: Vec<bool>,
}

impl<'v> NameSet<'v> {
    /// Adds those among `words`.
    pub fn add<'w>(&mut self, words: impl Iterator<Item = &'w str>) {
        for word in words {
            if let Some(&place) = self.vocabulary.places.get(word) {
                self.held[place] = true;
            }
        }
    }

    /// Adds those that a bash text says, in its comments too.
    pub fn add_said(&mut self, text: &str) {
        self.add(identifiers(text));
    }

    /// With all that these bring within reach.
    pub fn reaching(mut self) -> NameSet<'v> {
        let direct: Vec<usize> = (0..self.held.len()).filter(|&place| self.held[place]).collect();
        for place in direct {
            for &next in &self.vocabulary.reach[place] {
                self.held[next] = true;
            }
        }
        self
    }

    /// Whether it is among these.
    pub fn contains(&self, name: &str) -> bool {
        self.vocabulary.places.get(name).is_some_and(|&place| self.held[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluated::{Function, Variable};

    #[test]
    fn names_bring_others_within_reach_in_turn() {
        let mut environment = Evaluated::default();
        let mut variable = |name: &str, value: &str| {
            environment.variables.insert(name.into(), Variable { flags: "-".into(), value: value.into() });
        };
        variable("A", "$B and more");
        variable("B", "f A");
        variable("C", "A");
        let f =
            Function { file: "board/b/TOOLCHAIN".into(), line: 1, text: "f () \n{ \n echo $D\n}\n".into() };
        environment.functions.insert("f".into(), f);
        let vocabulary = Vocabulary::new(&environment, ["D", "E"].into_iter());
        let mut names = vocabulary.none();
        names.add_said("x=${A:-unknown} # E");
        let held = |names: &NameSet<'_>| ["A", "B", "C", "D", "E", "f"].map(|name| names.contains(name));
        assert_eq!(held(&names), [true, false, false, false, true, false]);
        assert_eq!(held(&names.reaching()), [true, true, false, true, true, true]);
        assert!(!vocabulary.none().contains("unknown"));
    }
}
