//! What each command does, one file each.

use crate::error::{Error, Kind, Result};
use crate::layout::BuildRoot;
use crate::output;

pub mod build;
pub mod bump;
pub mod check_update;
pub mod clean;
pub mod completions;
pub mod doctor;
pub mod fetch;
pub mod files;
pub mod gc;
pub mod graph;
pub mod init;
pub mod lint;
pub mod list;
pub mod log;
pub mod man;
pub mod new;
pub mod owner;
pub mod pack;
pub mod plan;
pub mod report;
pub mod run;
pub mod sbom;
pub mod sdk;
pub mod shell;
pub mod show;
pub mod sources;
pub mod store;
pub mod verify;
pub mod why;

/// Several errors as one, with `sentence` on top; a single one as it is; `None` where there is none.
pub fn together(sentence: &str, errors: Vec<Error>) -> Option<Error> {
    let mut errors = errors.into_iter();
    let first = errors.next()?;
    let mut rest = errors.peekable();
    if rest.peek().is_none() {
        return Some(first);
    }
    let mut whole = Error::new(first.kind, sentence);
    for error in std::iter::once(first).chain(rest) {
        whole.at.push(error.message);
        whole.at.extend(error.at.into_iter().map(|line| format!("  {line}")));
        for hint in error.hints {
            if !whole.hints.contains(&hint) {
                whole.hints.push(hint);
            }
        }
    }
    Some(whole)
}

/// What clap says: help and version are data, the rest is an error of usage in our own form.
pub fn usage(error: &clap::Error, definition: clap::Command) -> Result<()> {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => output::data(&error.render().to_string()),
        _ => {
            let text = error.render().to_string();
            let mut lines = text.trim_end().lines();
            let first = lines.next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first).replace('\'', "`");
            // Whatever a number was parsed by has words of its own for what is none.
            let first = match first.split_once(">`: ") {
                Some((value, _))
                    if std::error::Error::source(error)
                        .is_some_and(|why| why.is::<std::num::ParseIntError>()) =>
                {
                    format!("{value}>`: it takes a whole number")
                }
                _ => first,
            };
            let mut built = Error::new(Kind::Usage, first);
            for line in lines
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
            {
                built = match (line.strip_prefix("tip: "), line.strip_prefix("Usage: ")) {
                    (Some(tip), _) => built.hint(tip.replace('\'', "`")),
                    (_, Some(usage)) => built.at(own_usage(usage, definition.clone())),
                    _ => built.at(line),
                };
            }
            Err(built.hint("`mk --help` lists commands and options"))
        }
    }
}

/// The usage line of a command as its help has it: that of an error also names options that the environment sets.
fn own_usage(line: &str, mut definition: clap::Command) -> String {
    definition.build();
    let mut command = None;
    for word in line.split(' ').skip(1) {
        let Some(next) = command.as_ref().unwrap_or(&definition).find_subcommand(word).cloned() else {
            break;
        };
        command = Some(next);
    }
    command.map_or_else(|| format!("Usage: {line}"), |mut command| command.render_usage().to_string())
}

/// The build root that a command without board and product means: the named one, the only one, or the one built last.
pub fn choose_build_root(settings: &crate::config::Settings, name: Option<&str>) -> Result<BuildRoot> {
    let roots = settings.workspace.build_roots()?;
    let folder = settings.workspace.root().display();
    if let Some(name) = name {
        let names: Vec<String> = roots.iter().map(BuildRoot::name).collect();
        return roots
            .into_iter()
            .find(|root| root.name() == name)
            .ok_or_else(|| crate::load::unknown("build root", name, &format!("{folder}/{name}"), &names));
    }
    let age = |root: &BuildRoot| fs_err::metadata(root.state()).and_then(|meta| meta.modified()).ok();
    roots.into_iter().max_by_key(age).ok_or_else(|| {
        Error::new(Kind::Usage, format!("nothing was built in `{folder}`"))
            .hint("name the workspace with -C DIR")
    })
}

/// Board and product of a build root, which is named by both: `a-b-c` is whichever of `a` `b-c` and `a-b` `c` there is.
pub fn target_of(tree: &crate::layout::Tree, root: &BuildRoot) -> Option<(String, String)> {
    let name = root.name();
    name.match_indices('-').map(|(at, _)| (&name[..at], &name[at + 1..])).find_map(|(board, product)| {
        crate::load::check_board_and_product(tree, board, product).ok()?;
        Some((board.to_owned(), product.to_owned()))
    })
}
