//! What reading a recipe, or a TOOLCHAIN file, has found: variables, functions, and what these depend on. Data alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A variable as `declare -p` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Attributes: `-`, `x` (exported), `a` (array), `A` (associative), `i`, `r`, …
    pub flags: String,
    /// The text of a scalar, or bash's own notation of an array's elements.
    pub value: String,
}

impl Variable {
    /// Whether it is an array of either kind.
    pub fn is_array(&self) -> bool {
        self.flags.contains(['a', 'A'])
    }
}

/// A function that a recipe defines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// The file that defines it, relative to the tree where it lies there.
    pub file: String,
    /// The line where it begins.
    pub line: u32,
    /// Its text as bash prints it: comments and layout are gone.
    pub text: String,
}

/// One place that set a variable, in the order in which bash came by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The variable.
    pub name: String,
    /// What it was set to; `None`: it was unset.
    pub value: Option<Variable>,
    /// The file, relative to the tree where it lies there; empty when it was none of the tree's.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

/// What sourcing some bash text came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluated {
    /// Variables that were set or changed.
    pub variables: BTreeMap<String, Variable>,
    /// Functions that were defined.
    pub functions: BTreeMap<String, Function>,
    /// Shell options, umask, traps, aliases, search path and the like at its end, when they differ from the driver's
    /// own, and which of the variables and functions that it was given it took away.
    pub options: String,
    /// Configuration names that were looked up, found or not.
    pub lookups: BTreeSet<String>,
    /// Files that were sourced beside the recipe.
    pub sources: BTreeSet<PathBuf>,
    /// Variables of the caller's environment that were handed in because the text names them.
    pub passed: BTreeMap<String, String>,
    /// What it printed, which it should not.
    pub noise: String,
    /// The recipe's own file, as it was when it was evaluated.
    pub text: String,
    /// Every assignment, where it was asked for (`Setting::history`).
    #[serde(skip)]
    pub history: Vec<Assignment>,
    /// Whether it may have run programs while it was read: then its inputs are not all known.
    pub opaque: bool,
    /// Whether it is a makefile, which a bash text of the driver's stands in for.
    pub makefile: bool,
    /// Whether its folder was seen to hold nothing else.
    #[serde(skip)]
    pub alone: bool,
}

impl Evaluated {
    /// The value of a scalar; empty when it is unset.
    pub fn get(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", |variable| variable.value.as_str())
    }
}
