//! Holds the README to the truth where that is cheap: files, commands, and the recipe that it explains.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<(String, String)> {
    let docs = fs_err::read_dir(tree().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    paths.push(tree().join("README.md"));
    paths.sort();
    let text = |path: &Path| fs_err::read_to_string(path).unwrap();
    paths.iter().map(|path| (path.strip_prefix(tree()).unwrap().display().to_string(), text(path))).collect()
}

fn readme() -> String {
    fs_err::read_to_string(tree().join("README.md")).unwrap()
}

/// Fenced blocks of one language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current: Option<(bool, String)> = None;
    for line in text.lines() {
        match (&mut current, line.strip_prefix("```")) {
            (None, Some(word)) => current = Some((word == language, String::new())),
            (Some((wanted, block)), Some(_)) => {
                if *wanted {
                    found.push(std::mem::take(block));
                }
                current = None;
            }
            (Some((_, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// Pieces in back-ticks, outside of fenced blocks.
fn quoted(text: &str) -> Vec<String> {
    let mut fenced = false;
    let plain = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    plain.flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Lines that call `mk`, in blocks and in back-ticks.
fn calls(text: &str) -> Vec<String> {
    let lines = ["console", "sh"].into_iter().flat_map(|language| blocks(text, language));
    let typed: Vec<String> =
        lines.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let typed = typed.into_iter().map(|line| line.trim_start_matches("$ ").to_owned());
    typed.chain(quoted(text)).filter(|line| line.starts_with("mk ")).collect()
}

fn help(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mk")).args(words).arg("--help").output().unwrap();
    assert!(output.status.success(), "mk {words:?} --help: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that `mk --help` lists.
fn commands() -> BTreeSet<String> {
    let help = help(&[]);
    let list = help.split("\nCommands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let named = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    named.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn the_readme_explains_a_recipe_as_it_is() {
    let recipe = fs_err::read_to_string(tree().join("pkg/zlib/build")).unwrap();
    assert_eq!(blocks(&readme(), "bash"), [recipe]);
}

#[test]
fn every_file_that_the_readme_names_is_there() {
    let tops = ["board/", "docs/", "pkg/", "product/", "scripts/", "src/", "tests/"];
    let names = quoted(&readme());
    let mut seen = 0;
    for name in names.iter().filter(|name| tops.iter().any(|top| name.starts_with(top))) {
        // In capitals: a name that the reader chooses. With words behind it: a command line.
        let path = name.split(' ').next().unwrap();
        if !path.split(['/', '-']).any(|part| ["NAME", "PRODUCT", "BOARD"].contains(&part)) {
            assert!(tree().join(path).exists(), "README.md names `{path}`");
            seen += 1;
        }
    }
    assert!(seen > 3);
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    for (name, text) in documents() {
        for target in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let path = target.split('#').next().unwrap();
            if !path.is_empty() && !path.contains("://") {
                let from = tree().join(&name).parent().unwrap().to_owned();
                assert!(from.join(path).exists(), "{name} links to `{path}`");
            }
        }
    }
}

#[test]
fn every_command_in_a_document_is_known_and_so_are_its_options() {
    let (commands, general) = (commands(), help(&[]));
    let boards: Vec<String> = fs_err::read_dir(tree().join("board"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    let mut seen = BTreeSet::new();
    for (name, text) in documents() {
        for call in calls(&text) {
            let words: Vec<&str> = call.split(' ').skip(1).collect();
            let mut plain = words.iter().filter(|word| !word.starts_with('-'));
            let Some(first) = plain.next() else { continue };
            if commands.contains(*first) {
                seen.insert((*first).to_owned());
            } else {
                let board = *first == "BOARD" || boards.contains(&(*first).to_owned());
                // A transcript may show an option with a value before the board.
                assert!(board || words[0].starts_with('-'), "{name}: `{call}`: no command `{first}`");
            }
            let own = if commands.contains(*first) { help(&[first]) } else { help(&["build"]) };
            for option in words.iter().filter(|word| word.starts_with("--") && word.len() > 2) {
                let option = option.split('=').next().unwrap();
                // Commands of commands have options of their own; those are the concern of the command's document.
                let known = own.contains(option) || general.contains(option);
                assert!(known || *first == "store", "{name}: `{call}`: no option `{option}`");
            }
        }
    }
    assert!(seen.len() > 5, "{seen:?}");
}
