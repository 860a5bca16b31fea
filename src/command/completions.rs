//! `mk completions` and the hidden `mk complete`: a few lines for each shell, which ask the program itself what can follow.
//!
//! The answer comes from the command line's definition and from the names of folders; nothing is evaluated.

use std::path::Path;

use clap::{Arg, ArgAction, Command};

use crate::config::Settings;
use crate::error::Result;
use crate::layout::{Tree, Workspace};
use crate::load::folders;
use crate::names::Step;
use crate::output;

/// For which shell.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The shell
    shell: Shell,
}

/// Shells that completions are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// For `~/.bashrc`: source <(mk completions bash)
    Bash,
    /// For `~/.zshrc`, after compinit: source <(mk completions zsh)
    Zsh,
    /// For `~/.config/fish/config.fish`: mk completions fish | source
    Fish,
}

const BASH: &str = r#"_mk_complete() {
	local line
	COMPREPLY=()
	while IFS= read -r line; do
		COMPREPLY+=("${line%%$'\t'*}")
	done < <("$1" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _mk_complete mk
"#;

const ZSH: &str = r#"#compdef mk
_mk_complete() {
	local line
	local -a found
	while IFS= read -r line; do
		line="${line//:/\\:}"
		found+=("${line/$'\t'/:}")
	done < <("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
	if (( $#found )); then
		_describe mk found
	else
		_files
	fi
}
compdef _mk_complete mk
"#;

const FISH: &str = r#"function __mk_complete
	set -l words (commandline -opc)
	set -l current (commandline -ct)
	set -l found ($words[1] complete -- $words[2..-1] "$current" 2>/dev/null)
	if test (count $found) -gt 0
		printf '%s\n' $found
	else
		__fish_complete_path "$current"
	end
end
complete -c mk -f -a '(__mk_complete)'
"#;

/// Carries out `mk completions`.
pub fn run(options: &Options) -> Result<()> {
    output::data(match options.shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
    })
}

/// What was typed so far.
#[derive(Debug, clap::Args)]
pub struct Typed {
    /// The words after `mk`, the last the one that is completed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Carries out `mk complete`: a line for each word that may follow, with its help after a tab.
pub fn complete(settings: &Settings, typed: &Typed) -> Result<()> {
    let mut definition = crate::cli::definition();
    definition.build();
    let found = candidates(&definition, &typed.words, settings);
    output::data(
        &found
            .iter()
            .map(
                |(word, help)| {
                    if help.is_empty() { format!("{word}\n") } else { format!("{word}\t{help}\n") }
                },
            )
            .collect::<String>(),
    )
}

/// What the words before the last came to.
struct Position<'a> {
    command: &'a Command,
    /// Positional words of that command.
    words: Vec<&'a str>,
    /// The option whose value comes next.
    option: Option<&'a Arg>,
    /// After `--`.
    only_words: bool,
    tree: Option<&'a str>,
    workspace: Option<&'a str>,
}

/// The words that may stand where the last of `words` stands, with one line of help each.
fn candidates(definition: &Command, words: &[String], settings: &Settings) -> Vec<(String, String)> {
    let (last, before) = match words.split_last() {
        Some((last, before)) => (last.as_str(), before),
        None => ("", words),
    };
    // bash takes `--format=json` apart.
    let (last, before) = match (last, before) {
        ("=", before) => ("", before),
        (last, [before @ .., equals]) if equals == "=" => (last, before),
        other => other,
    };
    let position = read(definition, before);
    let tree = position.tree.map(Path::new).or(settings.tree.as_deref());
    let workspace = position.workspace.and_then(|folder| Workspace::new(Path::new(folder)).ok());
    let places = Places { settings, tree, workspace: workspace.as_ref().unwrap_or(&settings.workspace) };
    let mut found = Vec::new();
    if let Some(option) = position.option {
        found = places.values(option, &position.words);
    } else if let Some((name, _)) = last.split_once('=').filter(|_| last.starts_with("--")) {
        if let Some(option) = option(position.command, definition, name) {
            found = places.values(option, &position.words);
            found.iter_mut().for_each(|(word, _)| *word = format!("{name}={word}"));
        }
    } else if last.starts_with('-') && !position.only_words {
        found = options(position.command);
    } else {
        if position.words.is_empty() && !position.only_words {
            let commands = position.command.get_subcommands().filter(|command| !command.is_hide_set());
            found.extend(commands.map(|command| (command.get_name().to_owned(), line(command.get_about()))));
        }
        let command = match definition.find_subcommand("build") {
            Some(build) if position.command.get_name() == definition.get_name() => build,
            _ => position.command,
        };
        if let Some(argument) = positional(command, position.words.len()) {
            found.extend(places.values(argument, &position.words));
        }
    }
    found.retain(|(word, _)| word.starts_with(last));
    found
}

fn read<'a>(definition: &'a Command, before: &'a [String]) -> Position<'a> {
    let mut position = Position {
        command: definition,
        words: Vec::new(),
        option: None,
        only_words: false,
        tree: None,
        workspace: None,
    };
    for word in before {
        let word = word.as_str();
        if let Some(option) = position.option {
            if word != "=" {
                position.keep(option, word);
                position.option = None;
            }
        } else if word == "--" {
            position.only_words = true;
        } else if word.starts_with('-') && word.len() > 1 && !position.only_words {
            let (name, value) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            match (option(position.command, definition, name), value) {
                (Some(option), Some(value)) => position.keep(option, value),
                (Some(option), None) if option.get_action().takes_values() => position.option = Some(option),
                _ => {}
            }
        } else if let Some(below) = position
            .command
            .find_subcommand(word)
            .filter(|_| position.words.is_empty() && !position.only_words)
        {
            position.command = below;
        } else {
            position.words.push(word);
        }
    }
    position
}

impl<'a> Position<'a> {
    /// Remembers values that decide where names are looked for.
    fn keep(&mut self, option: &Arg, value: &'a str) {
        match option.get_id().as_str() {
            "tree" => self.tree = Some(value),
            "workspace" => self.workspace = Some(value),
            _ => {}
        }
    }
}

/// An option by what was typed: `--long`, or letters of which the last may take a value.
fn option<'a>(command: &'a Command, definition: &'a Command, typed: &str) -> Option<&'a Arg> {
    let mut all = command.get_arguments().chain(definition.get_arguments());
    match typed.strip_prefix("--") {
        Some(long) => all.find(|argument| argument.get_long() == Some(long)),
        None => {
            let letter = typed.chars().last()?;
            all.find(|argument| argument.get_short() == Some(letter))
        }
    }
}

/// Options of a command, the long form where there is one.
fn options(command: &Command) -> Vec<(String, String)> {
    let shown =
        command.get_arguments().filter(|argument| !argument.is_positional() && !argument.is_hide_set());
    shown
        .filter_map(|argument| {
            let name = match (argument.get_long(), argument.get_short()) {
                (Some(long), _) => format!("--{long}"),
                (None, short) => format!("-{}", short?),
            };
            Some((name, line(argument.get_help())))
        })
        .collect()
}

/// The argument at that place; the last one that takes many goes on.
fn positional(command: &Command, place: usize) -> Option<&Arg> {
    let last = || {
        command.get_positionals().last().filter(|argument| matches!(argument.get_action(), ArgAction::Append))
    };
    command.get_positionals().nth(place).or_else(last)
}

fn line(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

/// Where names are looked for.
struct Places<'a> {
    settings: &'a Settings,
    tree: Option<&'a Path>,
    workspace: &'a Workspace,
}

impl Places<'_> {
    /// What an argument may be; nothing where that is a path, or anything.
    fn values(&self, argument: &Arg, words: &[&str]) -> Vec<(String, String)> {
        let possible = argument.get_possible_values();
        if !possible.is_empty() && argument.get_action().takes_values() {
            let shown = possible.iter().filter(|value| !value.is_hide_set());
            return shown.map(|value| (value.get_name().to_owned(), line(value.get_help()))).collect();
        }
        let names = match argument.get_id().as_str() {
            "board" => self.tree().map(|tree| folders(&tree.boards())),
            "product" => self.tree().map(|tree| products(&tree, words.first().copied().unwrap_or_default())),
            "package" | "packages" => self.tree().map(|tree| folders(&tree.packages())),
            "step" => Some(Step::ALL.map(|step| step.to_string()).to_vec()),
            "build" | "root" => {
                self.workspace.build_roots().ok().map(|roots| roots.iter().map(|root| root.name()).collect())
            }
            _ => None,
        };
        names.unwrap_or_default().into_iter().map(|name| (name, String::new())).collect()
    }

    fn tree(&self) -> Option<Tree> {
        match self.tree {
            Some(tree) => Tree::find(Some(tree), &[], None).ok(),
            None => self.settings.tree().ok(),
        }
    }
}

/// Products that support a board; all of them when it is not one.
fn products(tree: &Tree, board: &str) -> Vec<String> {
    let mut products = folders(&tree.products());
    if tree.boards().join(board).is_dir() && !board.is_empty() {
        products.retain(|product| crate::load::check_board_and_product(tree, board, product).is_ok());
    }
    products
}
