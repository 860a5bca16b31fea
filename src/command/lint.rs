//! `mk lint`: mistakes in recipes and in what they built; one line each, exit code 1 when there are any.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::{Format, Settings};
use crate::error::{Error, Kind, Result};
use crate::layout::Tree;
use crate::lint::{self, Finding, Known, Outputs, Subject, Text};
use crate::load;
use crate::names::PackageName;
use crate::output;
use crate::plain::is_makefile;
use crate::runtime::{self, identifiers};
use crate::script::Script;

/// What to look at.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Look at these alone
    packages: Vec<String>,
    /// Build root whose board, product and results are looked at [default: the one built last]
    #[arg(long, value_name = "BOARD-PRODUCT")]
    build: Option<String>,
    /// Do not run shellcheck
    #[arg(long)]
    no_shellcheck: bool,
    /// List the rules
    #[arg(long, conflicts_with = "packages")]
    rules: bool,
}

/// A package's folder, read.
struct Folder {
    name: PackageName,
    recipe: Text,
    texts: Vec<Text>,
    files: Vec<PathBuf>,
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    if options.rules {
        return rules(settings);
    }
    let tree = settings.tree()?;
    let names = load::packages(&tree);
    let mut wanted: BTreeSet<&PackageName> = names.iter().collect();
    if !options.packages.is_empty() {
        wanted.clear();
        for word in &options.packages {
            let unknown = || load::unknown_package(&tree, word);
            wanted.insert(names.iter().find(|name| name.as_str() == word).ok_or_else(unknown)?);
        }
    }
    let root = match &options.build {
        Some(name) => Some(super::choose_build_root(settings, Some(name))?),
        None => super::choose_build_root(settings, None).ok(),
    };
    let built = root.and_then(|root| Some((super::target_of(&tree, &root)?, root)));
    let (board, product) = match &built {
        Some((target, _)) => target.clone(),
        None => load::first_target(&tree)?,
    };
    let store = settings.store()?;
    let (loaded, failed) = load::read_each(settings, &store, tree.clone(), (&board, &product), &names, true)?;

    let folders: Vec<Folder> = names.iter().filter_map(|name| read(&tree, name)).collect();
    let needs: BTreeMap<PackageName, BTreeSet<PackageName>> = loaded
        .graph
        .packages
        .iter()
        .map(|recipe| {
            let words = recipe.evaluated.get("DEPENDS").split_whitespace();
            (recipe.name.clone(), words.filter_map(|word| PackageName::new(word).ok()).collect())
        })
        .collect();
    let results = built.as_ref().map(|(_, root)| super::files::results(settings, root)).unwrap_or_default();
    let target = loaded.variables.get("TARGET").cloned().unwrap_or_default();
    let outputs = Outputs::new(results, needs, settings.workspace.root().to_owned(), target);
    let known = Known {
        helpers: runtime::helpers()
            .keys()
            .filter(|name| !name.starts_with("mk_"))
            .map(ToString::to_string)
            .collect(),
        library: runtime::helpers()
            .values()
            .flat_map(|helper| identifiers(helper.text))
            .map(str::to_owned)
            .collect(),
        variables: loaded.variables.keys().cloned().chain(configured(&tree)).collect(),
    };

    let mut findings: Vec<Finding> =
        failed.iter().filter(|(name, _)| wanted.contains(name)).map(broken).collect();
    let mut places = Vec::new();
    for folder in folders.iter().filter(|folder| wanted.contains(&folder.name)) {
        places.push((&folder.name, &folder.recipe));
        places.extend(folder.texts.iter().map(|text| (&folder.name, text)));
        let Some(recipe) = loaded.graph.packages.iter().find(|recipe| recipe.name == folder.name) else {
            continue;
        };
        let own = format!("pkg/{}/", folder.name);
        let others: Vec<String> = folders
            .iter()
            .filter(|other| other.name != folder.name && other.recipe.text.contains(&own))
            .flat_map(|other| other.recipe.script.words.iter().cloned())
            .collect();
        let subject = Subject {
            name: &folder.name,
            evaluated: &recipe.evaluated,
            recipe: &folder.recipe,
            texts: &folder.texts,
            files: &folder.files,
            others: &others,
        };
        findings.extend(subject.lint(&known));
        findings.extend(outputs.lint(&subject));
    }
    if !options.no_shellcheck {
        findings.extend(shellcheck(&tree, &places, settings.jobs)?);
    }
    let findings = lint::silence(findings, &places);
    if settings.format == Format::Json {
        output::json(&serde_json::json!({ "packages": wanted.len(), "findings": findings }))?;
    } else {
        let lines: Vec<String> = findings
            .iter()
            .map(|finding| {
                format!("{}:{}: {}: {}\n", finding.file, finding.line, finding.rule, finding.message)
            })
            .collect();
        output::data(&lines.concat())?;
    }
    if findings.is_empty() { Ok(()) } else { Err(Error::new(Kind::Told(1), "")) }
}

fn rules(settings: &Settings) -> Result<()> {
    if settings.format == Format::Json {
        let rules: Vec<_> = lint::RULES
            .iter()
            .map(|(name, finds)| serde_json::json!({ "name": name, "finds": finds }))
            .collect();
        return output::json(&serde_json::json!({ "rules": rules }));
    }
    let rows: Vec<Vec<String>> =
        lint::RULES.iter().map(|(name, finds)| vec![(*name).to_owned(), (*finds).to_owned()]).collect();
    output::data(&output::table(&rows))
}

fn read(tree: &Tree, name: &PackageName) -> Option<Folder> {
    let below = |path: &Path| path.strip_prefix(tree.root()).map(Path::to_owned).ok();
    let folder = tree.package(name.as_str());
    let recipe = Text::read(tree.root(), &below(&tree.recipe(name.as_str()))?)?;
    let (mut files, mut texts) = (Vec::new(), Vec::new());
    let walk = walkdir::WalkDir::new(&folder).min_depth(1).sort_by_file_name().into_iter().flatten();
    for entry in walk.filter(|entry| !entry.file_type().is_dir()) {
        let path = entry.path().strip_prefix(&folder).ok()?.to_owned();
        if path == Path::new("build") {
            continue;
        }
        if entry.metadata().is_ok_and(|meta| meta.is_file() && meta.len() < 256 * 1024) {
            texts.extend(Text::read(tree.root(), &below(entry.path())?));
        }
        files.push(path);
    }
    Some(Folder { name: name.clone(), recipe, texts, files })
}

/// Variables that files of boards and products set.
fn configured(tree: &Tree) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for top in [tree.boards(), tree.products()] {
        for entry in walkdir::WalkDir::new(top).into_iter().flatten() {
            let small = entry.metadata().is_ok_and(|meta| meta.is_file() && meta.len() < 64 * 1024);
            if let Some(text) = small.then(|| fs_err::read_to_string(entry.path()).ok()).flatten() {
                names.extend(Script::new(&text).sets.into_iter().map(|(_, name)| name));
            }
        }
    }
    names
}

/// A recipe that cannot be read, as a finding: its error begins with where.
fn broken((package, error): (&PackageName, &Error)) -> Finding {
    let recipe = format!("pkg/{package}/build");
    let (place, message) = error.message.split_once(": ").unwrap_or((&recipe, &error.message));
    let (file, line) = match place.split_once(':') {
        Some((file, line)) if line.parse::<u32>().is_ok() => (file.to_owned(), line.parse().unwrap_or(1)),
        _ if place == recipe => (recipe, 1),
        _ => {
            return Finding {
                file: recipe,
                line: 1,
                rule: "recipe".to_owned(),
                message: error.message.clone(),
                package: package.clone(),
                whole: true,
            };
        }
    };
    let rule = if message.starts_with("SHA256SUM") || message.contains("SHA256SUM is not set") {
        "digest"
    } else {
        "recipe"
    };
    let hint = error.hints.first().map_or(String::new(), |hint| format!("; {hint}"));
    Finding {
        file,
        line,
        rule: rule.to_owned(),
        message: format!("{message}{hint}"),
        package: package.clone(),
        whole: true,
    }
}

#[derive(Deserialize)]
struct Comments {
    comments: Vec<Comment>,
}

#[derive(Deserialize)]
struct Comment {
    file: String,
    line: u32,
    code: u32,
    message: String,
}

/// What the contract makes right: variables that the driver sets and reads, files that only evaluation finds; and what
/// has a rule of its own here.
const NOT_OURS: &str = "--exclude=SC1090,SC1091,SC2034,SC2148,SC2154,SC2155";

/// Runs shellcheck, where it is installed, on recipes and scripts. A tree with a `.shellcheckrc` has chosen how strict it
/// is; elsewhere style is left alone.
fn shellcheck(tree: &Tree, texts: &[(&PackageName, &Text)], jobs: usize) -> Result<Vec<Finding>> {
    let shebang = |text: &Text| {
        let first = text.text.lines().next().unwrap_or_default();
        first.starts_with("#!")
            && ["/sh", "/bash", "/dash", " sh", " bash"].iter().any(|shell| first.trim_end().ends_with(shell))
    };
    let is_bash = |text: &Text| {
        text.path.ends_with("build") && !is_makefile(&text.text)
            || text.path.extension().is_some_and(|end| end == "sh")
    };
    let strict = tree.root().join(".shellcheckrc").exists();
    let mut calls: Vec<Vec<String>> = Vec::new();
    for own in [true, false] {
        let files: Vec<String> = texts
            .iter()
            .filter(|(_, text)| if own { shebang(text) } else { !shebang(text) && is_bash(text) })
            .map(|(_, text)| text.path.display().to_string())
            .collect();
        for part in files.chunks(files.len().div_ceil(jobs.max(1)).max(1)) {
            let mut call = vec!["--format=json1".to_owned(), NOT_OURS.to_owned()];
            if !strict {
                call.push("--severity=warning".to_owned());
            }
            if !own {
                call.push("--shell=bash".to_owned());
            }
            call.push("--".to_owned());
            call.extend(part.iter().cloned());
            calls.push(call);
        }
    }
    let run = |call: &Vec<String>| {
        duct::cmd("shellcheck", call)
            .dir(tree.root())
            .stdin_null()
            .stderr_null()
            .stdout_capture()
            .unchecked()
            .run()
    };
    let answers: Vec<std::io::Result<std::process::Output>> = std::thread::scope(|scope| {
        let threads: Vec<_> = calls.iter().map(|call| scope.spawn(move || run(call))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let mut findings = Vec::new();
    for answer in answers {
        // Not installed: the other rules stand without it.
        let Ok(answer) = answer else { continue };
        let Ok(Comments { comments }) = serde_json::from_slice(&answer.stdout) else { continue };
        for comment in comments {
            let Some((package, _)) = texts.iter().find(|(_, text)| text.path == Path::new(&comment.file))
            else {
                continue;
            };
            findings.push(Finding {
                file: comment.file,
                line: comment.line,
                rule: format!("SC{}", comment.code),
                message: comment.message,
                package: (*package).clone(),
                whole: false,
            });
        }
    }
    Ok(findings)
}
