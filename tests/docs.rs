//! The command reference, the manual pages and the completions, all made from the one definition of the command line.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Stdio};

const MK: &str = env!("CARGO_BIN_EXE_mk");

fn definition() -> clap::Command {
    let mut definition = mk::cli::definition();
    definition.build();
    definition
}

/// Every command that is not hidden, with those below it.
fn commands(command: &clap::Command) -> Vec<clap::Command> {
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    below.flat_map(|below| [vec![below.clone()], commands(below)].concat()).collect()
}

#[test]
fn the_command_reference_is_what_the_program_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands.md");
    let text = mk::document::commands(mk::cli::definition());
    if std::env::var_os("MK_UPDATE_DOCS").is_some() {
        fs_err::write(&path, &text).unwrap();
    }
    let there = fs_err::read_to_string(&path).unwrap_or_default();
    let line = there.lines().zip(text.lines()).position(|(there, now)| there != now);
    assert!(
        there == text,
        "docs/commands.md is not what the program says now, from line {}; `MK_UPDATE_DOCS=1 cargo test --test docs` writes it anew",
        line.unwrap_or_else(|| there.lines().count().min(text.lines().count())) + 1
    );
}

#[test]
fn every_command_says_what_it_does_and_shows_examples() {
    for command in commands(&definition()) {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "`{name}` says nothing");
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        // `mk store list` is shown by the examples of `mk store`.
        let below = command.get_bin_name().unwrap().split(' ').count() > 2;
        assert!(examples.contains("Examples:\n  ") || below, "`{name}` has no examples");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "`{name}` does not explain `{}`", argument.get_id());
        }
    }
}

#[test]
fn examples_can_be_typed() {
    for command in commands(&definition()) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let Some((_, examples)) = help.split_once("Examples:\n") else { continue };
        for line in examples.lines().map(str::trim).filter(|line| line.starts_with("mk ")) {
            // Up to what a shell or a reader adds: redirections, pipes, remarks after more than one space.
            let line = line.split("  ").next().unwrap().split([';', '|', '>', '<']).next().unwrap();
            let mut words: Vec<&str> = line.split_whitespace().collect();
            if definition().find_subcommand(words[1]).is_none() && !words[1].starts_with('-') {
                words.insert(1, "build");
            }
            if words[1].starts_with('-') {
                continue;
            }
            let parsed = mk::cli::definition().try_get_matches_from(&words);
            assert!(parsed.is_ok(), "`{line}`: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    let output =
        Command::new(MK).args(["man", "man1"]).current_dir(dir.path()).env("HOME", "/").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let page = |name: &str| fs_err::read_to_string(dir.path().join("man1").join(name)).unwrap();
    assert!(page("mk.1").starts_with(".ie") || page("mk.1").contains(".TH mk 1"));
    assert!(page("mk-store-verify.1").contains("digest"));
    let mut pages = vec!["mk.1".to_owned()];
    pages.extend(
        commands(&definition()).iter().map(|c| format!("{}.1", c.get_bin_name().unwrap().replace(' ', "-"))),
    );
    pages.sort();
    let mut there: Vec<String> = fs_err::read_dir(dir.path().join("man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(there, pages);
    let listed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(listed.lines().count(), pages.len());
}

/// A tree with two boards, of which each product supports some, and a workspace with one build root.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in
        ["board/pi4", "board/qemu", "product/router", "product/camera", "pkg/zlib", "pkg/zstd", "pkg/curl"]
    {
        fs_err::create_dir_all(dir.path().join(folder)).unwrap();
    }
    fs_err::create_dir_all(dir.path().join("work/pi4-router/.mk")).unwrap();
    fs_err::write(dir.path().join("product/camera/BOARDS"), "pi4\n").unwrap();
    dir
}

/// What the program says may follow these words, the last of them unfinished.
fn complete(tree: &Path, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let output = Command::new(MK)
        .args(["complete", "--"])
        .args(words)
        .current_dir(tree.join("work"))
        .env("HOME", tree)
        .env_remove("MK_TREE")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split('\t').next().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn boards_products_and_packages_complete() {
    let dir = tree();
    let of = |line: &str| complete(dir.path(), line);
    assert_eq!(of("plan "), "pi4 qemu");
    assert_eq!(of("plan pi4 "), "camera router");
    assert_eq!(of("plan qemu "), "router");
    assert_eq!(of("plan qemu router z"), "zlib zstd");
    assert_eq!(of("plan qemu router zlib c"), "curl");
    // `mk BOARD PRODUCT` is a command too.
    assert_eq!(of("pi"), "pi4");
    assert_eq!(of("pi4 "), "camera router");
    assert_eq!(of("-j 4 -k pi4 router zs"), "zstd");
    assert_eq!(of("log zlib "), "prepare build deploy");
    assert_eq!(of("log --build "), "pi4-router");
    assert_eq!(of("clean --root=p"), "--root=pi4-router");
}

#[test]
fn commands_options_and_their_values_complete() {
    let dir = tree();
    let of = |line: &str| complete(dir.path(), line);
    assert_eq!(of("sto"), "store");
    assert_eq!(of("store "), "list verify remove");
    assert_eq!(of("gc --dry"), "--dry-run");
    assert_eq!(of("plan --rooms a"), "auto always");
    assert_eq!(of("plan --format=j"), "--format=json");
    // bash takes `--format=j` apart.
    assert_eq!(of("plan --format = j"), "json");
    assert_eq!(of("plan -- -"), "");
    assert_eq!(of("completions "), "bash zsh fish");
    // Paths are the shell's.
    assert_eq!(of("man "), "");
    assert!(!of("").split(' ').any(|word| word == "complete"));
}

#[test]
fn names_come_from_the_tree_that_is_named_on_the_line() {
    let (dir, other) = (tree(), tree());
    fs_err::create_dir_all(other.path().join("board/other")).unwrap();
    assert_eq!(complete(dir.path(), &format!("-t {} plan o", other.path().display())), "other");
    assert_eq!(complete(dir.path(), &format!("--tree={} plan o", other.path().display())), "other");
    assert_eq!(complete(dir.path(), "-t /nowhere plan "), "");
}

/// Arguments whose values only the user knows.
const FREE: &[&str] = &["folder", "name", "url", "version", "path", "words"];

#[test]
fn it_is_known_of_every_positional_argument_what_completes_it() {
    let named = ["board", "product", "package", "packages", "step"];
    for command in commands(&definition()) {
        for argument in command.get_positionals() {
            let id = argument.get_id().as_str();
            let listed = !argument.get_possible_values().is_empty();
            assert!(
                listed || named.contains(&id) || FREE.contains(&id),
                "`{}` takes `{id}`, which nothing completes: name it as others do, or list it in FREE",
                command.get_name()
            );
        }
    }
}

#[test]
fn completions_work_in_the_shells_that_are_here() {
    let dir = tree();
    let run = |shell: &str, script: &str| {
        let program = Path::new(MK).parent().unwrap();
        let output = Command::new(shell)
            .args(if shell == "bash" {
                ["--norc", "-c"]
            } else if shell == "zsh" {
                ["-f", "-c"]
            } else {
                ["--no-config", "-c"]
            })
            .arg(script)
            .current_dir(dir.path().join("work"))
            .env("PATH", format!("{}:{}", program.display(), std::env::var("PATH").unwrap()))
            .env("HOME", dir.path())
            .env_remove("MK_TREE")
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "{shell}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let here = |shell: &str| {
        std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|folder| folder.join(shell).is_file())
    };
    let bash = r#"
        eval "$(mk completions bash)"
        complete -p mk
        COMP_WORDS=(mk plan qemu router z) COMP_CWORD=4
        _mk_complete mk z router
        echo "${COMPREPLY[*]}"
        COMP_WORDS=(mk log zlib "") COMP_CWORD=3
        _mk_complete mk "" zlib
        echo "${COMPREPLY[*]}"
    "#;
    assert_eq!(
        run("bash", bash),
        "complete -o default -F _mk_complete mk\nzlib zstd\nprepare build deploy\n"
    );
    if here("zsh") {
        let zsh = r#"
            compdef() { : }
            _describe() { print -l -- "${(@P)2}" }
            _files() { echo files }
            source <(mk completions zsh)
            words=(mk plan qemu router z) CURRENT=5 _mk_complete
            words=(mk man "") CURRENT=3 _mk_complete
        "#;
        assert_eq!(run("zsh", zsh), "zlib\nzstd\nfiles\n");
    }
    if here("fish") {
        let fish = "mk completions fish | source; complete -C 'mk plan qemu router z'";
        assert_eq!(run("fish", fish), "zlib\nzstd\n");
    }
}
