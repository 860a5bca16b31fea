//! Plain recipes that one bash reads in a row: the text that it is given for them, and what its answer says of each.
//! Knows `plain` and what evaluation finds; starts nothing.

use std::borrow::Cow;
use std::collections::BTreeSet;

use memchr::memmem::Finder;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::evaluated::{Evaluated, Function, Variable};
use crate::layout::Tree;
use crate::names::PackageName;
use crate::plain::Plain;
use crate::script::quote;

/// What bash prints of functions, by their texts as they are written.
pub type Printed = FxHashMap<String, String>;

/// What the text of a batch calls: no function of a recipe may be of that name.
pub const CALLS: &[&str] = &["builtin", "declare", "printf", "source", "unset"];

/// A plain recipe.
#[derive(Debug)]
pub struct Member {
    /// Its package.
    pub package: PackageName,
    /// What it does.
    pub plain: Plain,
    /// What is known of it before bash reads it.
    pub known: Evaluated,
}

/// Some plain recipes, and the functions of each that bash is to print.
///
/// Bash prints what only bash knows: values in which something is expanded, and functions whose like it has not printed.
#[derive(Debug)]
pub struct Batch<'m> {
    members: &'m [Member],
    asked: Vec<Vec<&'m str>>,
}

impl<'m> Batch<'m> {
    /// The batch, and the bash text that evaluates it. What one recipe sets is taken away before another reads it, and
    /// when all are done.
    pub fn new(members: &'m [Member], tree: &Tree, printed: &Printed) -> (Batch<'m>, String) {
        let mut script = String::new();
        let (mut variables, mut functions) = (BTreeSet::new(), BTreeSet::new());
        let mut asked = Vec::with_capacity(members.len());
        let mut said: FxHashSet<&str> = FxHashSet::default();
        for Member { package, plain, .. } in members {
            let stale: Vec<&str> =
                plain.reads.iter().map(String::as_str).filter(|name| variables.contains(name)).collect();
            if !stale.is_empty() {
                script.extend(["unset -v ", &stale.join(" "), "\n"]);
            }
            variables.extend(plain.variables.iter().map(|(name, _)| name.as_str()));
            functions.extend(plain.functions.iter().map(|function| function.name.as_str()));
            let mut is_new = |text: &'m str| !printed.contains_key(text) && said.insert(text);
            let unknown = plain.functions.iter().filter(|f| f.text.as_deref().is_none_or(&mut is_new));
            let names: Vec<&str> = unknown.map(|function| function.name.as_str()).collect();
            script.extend(["PKGNAME=", package.as_str(), "\n"]);
            let texts: Option<Vec<&str>> = plain.functions.iter().map(|f| f.text.as_deref()).collect();
            if texts.is_some() {
                // What stands alone needs no file of its own, and what bash has printed need not be read again.
                script.push_str(&plain.assignments);
                for function in plain.functions.iter().filter(|f| names.contains(&f.name.as_str())) {
                    script.extend([function.text.as_deref().unwrap_or_default(), "\n"]);
                }
            } else {
                let recipe = quote(&tree.recipe(package.as_str()).to_string_lossy());
                script.extend(["if builtin source ", &recipe, "; then\n"]);
            }
            if !names.is_empty() {
                script.extend(["declare -f ", &names.join(" "), "\n"]);
            }
            asked.push(names);
            script.extend(["printf '%s\\0' =", package.as_str()]);
            for (name, _) in plain.variables.iter().filter(|(_, value)| value.is_none()) {
                script.extend([" \"$", name, "\""]);
            }
            script.push('\n');
            if texts.is_none() {
                script.push_str("else\nprintf '\\0'\nfi\n");
            }
        }
        let all = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(" ");
        script.push_str(&format!("unset -v {}; unset -f {}\n", all(variables), all(functions)));
        (Batch { members, asked }, script)
    }

    /// What the answer says of each; `None`: nothing, since it turned out not to be plain.
    pub fn read(self, answer: &[u8], printed: &mut Printed) -> Vec<Option<Evaluated>> {
        let mut fields = answer.split(|&byte| byte == 0).map(String::from_utf8_lossy);
        let mut found = Vec::with_capacity(self.members.len());
        let mut lost = false;
        for (Member { package, plain, known }, asked) in self.members.iter().zip(self.asked) {
            // Functions, and behind them the sign that all of the recipe was read.
            let read = if lost { Cow::Borrowed("") } else { fields.next().unwrap_or_default() };
            let texts = read.strip_suffix(package.as_str()).and_then(|texts| texts.strip_suffix('='));
            let Some(texts) = texts else {
                // Bash has stopped, or has read on in another place than it should.
                lost |= !read.is_empty();
                found.push(None);
                continue;
            };
            let mut evaluated = known.clone();
            for (name, value) in &plain.variables {
                let value = value.clone().or_else(|| fields.next().map(Cow::into_owned));
                let variable = Variable { flags: "-".to_owned(), value: value.unwrap_or_default() };
                evaluated.variables.insert(name.clone(), variable);
            }
            let texts = functions_of(texts, &asked);
            let mut whole = texts.is_some();
            let mut texts = asked.into_iter().zip(texts.unwrap_or_default()).peekable();
            for function in &plain.functions {
                let text = match (texts.next_if(|(name, _)| *name == function.name), &function.text) {
                    (Some((_, text)), written) => {
                        if let Some(written) = written {
                            printed.insert(written.clone(), text.to_owned());
                        }
                        Some(text.to_owned())
                    }
                    // The recipe that was to print it may have turned out not to be plain.
                    (None, Some(written)) => printed.get(written).cloned(),
                    (None, None) => None,
                };
                whole &= text.is_some();
                let file = format!("pkg/{package}/build");
                let text = text.unwrap_or_default();
                evaluated
                    .functions
                    .insert(function.name.clone(), Function { file, line: function.line, text });
            }
            found.push(whole.then_some(evaluated));
        }
        found
    }
}

/// Takes what one `declare -f` printed of several functions apart. `None` when one of them is not there, or when it cannot be
/// told where one ends, because a text within them looks like the next one's beginning.
fn functions_of<'t>(text: &'t str, names: &[&str]) -> Option<Vec<&'t str>> {
    let mut found = Vec::with_capacity(names.len());
    let mut rest = text;
    for (at, name) in names.iter().enumerate() {
        rest.strip_prefix(name)?.strip_prefix(" () \n{ \n")?;
        let end = match names.get(at + 1) {
            Some(next) => {
                let beginning = ["\n}\n", next, " () \n{ \n"].concat();
                let finder = Finder::new(&beginning);
                let mut ends = finder.find_iter(rest.as_bytes()).map(|at| at + 3);
                ends.next().filter(|_| ends.next().is_none())?
            }
            None => rest.len(),
        };
        let (function, tail) = rest.split_at(end);
        found.push(function);
        rest = tail;
    }
    rest.is_empty().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_taken_apart_where_that_is_certain() {
        let (a, b) = ("a () \n{ \n    :\n}\n", "b () \n{ \n    x\n}\n");
        let both = format!("{a}{b}");
        assert_eq!(functions_of(&both, &["a", "b"]), Some(vec![a, b]));
        assert_eq!(functions_of(b, &["b"]), Some(vec![b]));
        assert_eq!(functions_of(b, &["a", "b"]), None);
        assert_eq!(functions_of(a, &["a", "b"]), None);
        let twice = format!("a () \n{{ \n    cat <<E\n}}\n{b}E\n\n}}\n{b}");
        assert_eq!(functions_of(&twice, &["a", "b"]), None);
    }
}
