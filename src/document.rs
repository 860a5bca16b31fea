//! The command reference and the manual pages, made from the command line's definition alone.

use clap::{Arg, Command};

use crate::error::Result;

/// `docs/commands.md`.
pub fn commands(mut definition: Command) -> String {
    definition = definition.term_width(100);
    definition.build();
    let mut text = String::from(
        "# Commands\n\nMade from the program's own help; `MK_UPDATE_DOCS=1 cargo test --test docs` writes it anew.\n",
    );
    section(&definition, 0, &mut text);
    text
}

/// One command with those below it.
fn section(command: &Command, depth: usize, text: &mut String) {
    let mut add = |more: &str| text.push_str(more);
    let mut bare = command.clone();
    let name = bare.get_bin_name().unwrap_or(bare.get_name()).to_owned();
    if depth > 0 {
        add(&format!("\n{} {name}\n", "#".repeat(depth + 1)));
    }
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    add(&format!("\n{}\n", sentence(about.trim())));
    let usage = bare.render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    let lines: Vec<&str> = usage.lines().map(str::trim).collect();
    add(&format!("\n```\n{}\n```\n", lines.join("\n")));
    let shown = |arg: &&Arg| {
        !arg.is_hide_set()
            && (depth == 0 || !arg.is_global_set())
            && !["help", "version"].contains(&arg.get_id().as_str())
    };
    let arguments: Vec<&Arg> = command.get_positionals().chain(command.get_opts()).filter(shown).collect();
    let flags = command
        .get_arguments()
        .filter(|arg| !arg.is_positional() && !arg.get_action().takes_values())
        .filter(shown);
    let arguments: Vec<&Arg> = arguments.into_iter().chain(flags).collect();
    if !arguments.is_empty() {
        if depth == 0 {
            add("\nOptions that every command takes:\n");
        }
        add(&format!("\n| {} | |\n| --- | --- |\n", if depth == 0 { "option" } else { "argument" }));
        for argument in arguments {
            add(&row(argument));
        }
    }
    if let Some(after) = command.get_after_long_help().or(command.get_after_help()) {
        let after = after.to_string();
        let (before, examples) = after.split_once("Examples:\n").unwrap_or((&after, ""));
        if !before.trim().is_empty() {
            add(&format!("\n{}\n", before.trim()));
        }
        if !examples.is_empty() {
            let lines: Vec<&str> =
                examples.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
            add(&format!("\n```\n{}\n```\n", lines.join("\n")));
        }
    }
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        section(below, depth + 1, text);
    }
}

fn row(argument: &Arg) -> String {
    let mut names = Vec::new();
    names.extend(argument.get_short().map(|letter| format!("-{letter}")));
    names.extend(argument.get_long().map(|long| format!("--{long}")));
    let value = argument.get_value_names().unwrap_or_default().join(" ");
    let name = if names.is_empty() {
        value
    } else if argument.get_action().takes_values() {
        format!("{} {value}", names.join(", "))
    } else {
        names.join(", ")
    };
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut help = sentence(&help.trim().replace('\n', " ").replace('|', "\\|"));
    if argument.get_action().takes_values() {
        let possible: Vec<String> = argument
            .get_possible_values()
            .iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        let defaults: Vec<String> = argument
            .get_default_values()
            .iter()
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        for (what, values) in [("one of ", possible), ("default ", defaults)] {
            if !values.is_empty() {
                help.push_str(&format!("; {what}{}", values.join(", ")));
            }
        }
    }
    if let Some(variable) = argument.get_env() {
        help.push_str(&format!("; also `{}`", variable.to_string_lossy()));
    }
    format!("| `{name}` | {help} |\n")
}

/// Paragraphs with their lines joined as they were written, without what Markdown would take for more.
fn sentence(text: &str) -> String {
    text.replace('<', "&lt;")
}

/// Manual pages by file name: `mk.1`, and one for each command that is not hidden.
pub fn manual_pages(mut definition: Command) -> Result<Vec<(String, Vec<u8>)>> {
    definition.build();
    let mut pages = Vec::new();
    page(&definition, &mut pages)?;
    Ok(pages)
}

fn page(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let name = command.get_bin_name().unwrap_or(command.get_name()).replace(' ', "-");
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).title(&name).render(&mut text)?;
    pages.push((format!("{name}.1"), text));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        page(below, pages)?;
    }
    Ok(())
}
