//! `mk show`: what variables hold, where they were set and what that overrode; which files configuration names mean.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use crate::cli::Target;
use crate::config::{Format, Rooms, Settings};
use crate::error::{Error, Kind, Result, nearest};
use crate::evaluated::Assignment;
use crate::load::{self, Loaded};
use crate::names::PackageName;
use crate::output;
use crate::recipe::Recipe;
use crate::store::Store;

/// What to show.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// A package; without one, what the configuration sets for all
    package: Option<String>,
    /// A variable, a function or a configuration file's name: show this one alone, whole
    name: Option<String>,
}

/// A variable with its history.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    value: String,
    #[serde(flatten)]
    place: Place,
    /// Earlier values, the last first.
    overrode: Vec<Earlier>,
}

#[derive(Debug, Serialize)]
struct Earlier {
    value: String,
    #[serde(flatten)]
    place: Place,
}

/// Where something was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Place {
    /// Relative to the tree; `mk` for what the driver sets, `environment` for what the caller's environment does.
    file: String,
    line: Option<u32>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

#[derive(Debug, Serialize)]
struct Function {
    name: String,
    file: String,
    line: u32,
}

/// A configuration name with the files that it means, most specific first.
#[derive(Debug, Serialize)]
struct Configuration {
    name: String,
    files: Vec<String>,
}

/// The stable form of `mk show --format json`.
#[derive(Debug, Serialize)]
struct Listing<'a> {
    board: &'a str,
    product: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<&'a PackageName>,
    variables: Vec<Shown>,
    functions: Vec<Function>,
    configuration: Vec<Configuration>,
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let tree = settings.tree()?;
    let (board, product) = (options.target.board.as_str(), options.target.product.as_str());
    load::check_board_and_product(&tree, board, product)?;
    let packages = load::packages(&tree);
    // `mk show BOARD PRODUCT TARGET`: a word that is no package may be one of the names that all packages see.
    let (package, name) = match (&options.package, &options.name) {
        (Some(word), None) if !packages.iter().any(|package| package.as_str() == word) => (None, Some(word)),
        (package, name) => (package.as_ref(), name.as_ref()),
    };
    let mut goals = Vec::new();
    if let Some(package) = package {
        let package = PackageName::new(package)?;
        if !packages.contains(&package) {
            return Err(load::unknown_package(&tree, package.as_str()));
        }
        goals.push(package);
    } else if let Some(first) = packages.first() {
        // Some recipe has to be read for bash to come up and read the configuration.
        goals.push(first.clone());
    }
    let store = settings.store()?;
    let (loaded, failed) = load::read_each(settings, &store, tree, (board, product), &goals, true)?;
    if let (Some(_), Some((_, error))) = (package, failed.into_iter().next()) {
        return Err(error);
    }
    let listing = listing(settings, &loaded, package.and(goals.first()), &store)?;
    match name {
        Some(name) => one(settings, &loaded, listing, name, &packages, &store),
        None if settings.format == Format::Json => output::json(&listing),
        None => output::data(&text(&loaded, &listing)),
    }
}

fn listing<'a>(
    settings: &Settings,
    loaded: &'a Loaded,
    package: Option<&'a PackageName>,
    store: &Store,
) -> Result<Listing<'a>> {
    let recipe =
        package.and_then(|package| loaded.graph.packages.iter().find(|recipe| recipe.name == *package));
    let mut histories: BTreeMap<&str, Vec<Earlier>> = BTreeMap::new();
    let driver = Place { file: "mk".to_owned(), line: None };
    let environment = Place { file: "environment".to_owned(), line: None };
    for (name, value) in load::base(&loaded.tree, &loaded.board, &loaded.product) {
        // Recipes are read with one job, so that no value depends on the machine; steps see the real number.
        let value = if name == "NUMJOBS" { settings.jobs.to_string() } else { value };
        let name = loaded.variables.get_key_value(&name).map(|(name, _)| name.as_str());
        histories.entry(name.unwrap_or_default()).or_default().push(Earlier { value, place: driver.clone() });
    }
    histories.remove("");
    for (name, value) in &loaded.variables {
        let known = histories.contains_key(name.as_str()) || loaded.environment.variables.contains_key(name);
        if !known {
            histories.insert(name, vec![Earlier { value: value.clone(), place: driver.clone() }]);
        }
    }
    let set = |histories: &mut BTreeMap<&'a str, Vec<Earlier>>, assignments: &'a [Assignment]| {
        for assignment in assignments {
            let place = Place { file: assignment.file.clone(), line: Some(assignment.line) };
            let place = if assignment.file.is_empty() { driver.clone() } else { place };
            let value = assignment
                .value
                .as_ref()
                .map_or_else(|| "(unset)".to_owned(), |variable| variable.value.clone());
            histories.entry(&assignment.name).or_default().push(Earlier { value, place });
        }
    };
    set(&mut histories, &loaded.environment.history);
    let mut names: BTreeSet<&str> = loaded.environment.variables.keys().map(String::as_str).collect();
    let mut lookups: BTreeSet<String> = loaded.environment.lookups.clone();
    let mut functions = Vec::new();
    match recipe {
        Some(recipe) => {
            for (name, value) in &recipe.evaluated.passed {
                histories
                    .entry(name)
                    .or_default()
                    .push(Earlier { value: value.clone(), place: environment.clone() });
            }
            set(&mut histories, &recipe.evaluated.history);
            names = recipe.evaluated.variables.keys().map(String::as_str).collect();
            // What bash exports by itself when it is handed in is no assignment of the recipe's.
            names.retain(|name| histories.contains_key(name));
            lookups = recipe.evaluated.lookups.clone();
            lookups.extend(discovered(settings, loaded, store)?);
            // Those that stand in for a makefile's targets say nothing of it.
            let own = recipe.functions().iter().filter(|_| !recipe.evaluated.makefile);
            functions = own
                .map(|(name, function)| Function {
                    name: name.clone(),
                    file: function.file.clone(),
                    line: function.line,
                })
                .collect();
            functions.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        }
        None => {
            names.extend(loaded.variables.keys().map(String::as_str));
            lookups.extend(config_names(loaded));
        }
    }
    let variables = names
        .into_iter()
        .filter_map(|name| {
            let mut history = histories.remove(name)?;
            let last = history.pop()?;
            history.reverse();
            let value = match recipe.and_then(|recipe| recipe.evaluated.variables.get(name)) {
                Some(variable) => variable.value.clone(),
                None => last.value,
            };
            Some(Shown { name: name.to_owned(), value, place: last.place, overrode: history })
        })
        .collect();
    let configuration =
        lookups.into_iter().map(|name| Configuration { files: files(loaded, &name), name }).collect();
    Ok(Listing {
        board: &loaded.board,
        product: &loaded.product,
        package,
        variables,
        functions,
        configuration,
    })
}

/// Configuration names that the package's steps asked for while they ran.
fn discovered(settings: &Settings, loaded: &Loaded, store: &Store) -> Result<BTreeSet<String>> {
    let rooms = settings.rooms != Rooms::Never;
    let ingredients = loaded.ingredients(rooms);
    let mut names = BTreeSet::new();
    for recipe in &loaded.graph.packages {
        for set in store.discovered(&ingredients.manifest(recipe)?.digest()).into_iter().flatten() {
            names.extend(set.iter().filter_map(|input| input.strip_prefix("lookup ")).map(str::to_owned));
        }
    }
    Ok(names)
}

/// Files of the configuration places, as names relative to them.
fn config_names(loaded: &Loaded) -> BTreeSet<String> {
    let boards = load::folders(&loaded.tree.boards());
    let mut names = BTreeSet::new();
    for place in &loaded.places {
        let walk = walkdir::WalkDir::new(place).min_depth(1).sort_by_file_name().into_iter();
        // A folder of a product that is named like a board is that board's.
        let foreign = |entry: &walkdir::DirEntry| {
            entry.depth() == 1
                && entry.file_type().is_dir()
                && boards.iter().any(|board| entry.file_name() == board.as_str())
        };
        for entry in
            walk.filter_entry(|entry| !foreign(entry)).flatten().filter(|entry| !entry.file_type().is_dir())
        {
            if let Ok(name) = entry.path().strip_prefix(place) {
                names.insert(name.to_string_lossy().into_owned());
            }
        }
    }
    names
}

fn files(loaded: &Loaded, name: &str) -> Vec<String> {
    let paths = loaded.places.iter().map(|place| place.join(name)).filter(|path: &PathBuf| path.exists());
    paths.map(|path| loaded.tree.show(&path)).collect()
}

/// A line of a configuration file.
#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    place: Place,
    text: String,
}

/// What stands in these files, in their order: empty lines and comments aside.
fn lines(loaded: &Loaded, files: &[String]) -> Vec<Line> {
    let mut lines = Vec::new();
    for file in files {
        let text = fs_err::read_to_string(loaded.tree.root().join(file)).unwrap_or_default();
        for (number, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if !text.is_empty() && !text.starts_with('#') {
                let place = Place { file: file.clone(), line: Some(number) };
                lines.push(Line { place, text: text.to_owned() });
            }
        }
    }
    lines
}

/// A few packages whose recipes set a variable, in the order of their names.
fn setters(
    settings: &Settings,
    loaded: &Loaded,
    packages: &[PackageName],
    store: &Store,
    name: &str,
) -> Vec<PackageName> {
    let target = (loaded.board.as_str(), loaded.product.as_str());
    let read = load::read_each(settings, store, loaded.tree.clone(), target, packages, true);
    let recipes = read.map(|(read, _)| read.graph.packages).unwrap_or_default();
    let sets = |recipe: &Recipe| recipe.evaluated.history.iter().any(|set| set.name == name);
    let mut found: Vec<PackageName> =
        recipes.iter().filter(|recipe| sets(recipe)).map(|recipe| recipe.name.clone()).collect();
    found.sort();
    found.truncate(3);
    found
}

fn text(loaded: &Loaded, listing: &Listing<'_>) -> String {
    let mut parts = Vec::new();
    if let Some(recipe) = listing.package.and_then(|_| loaded.graph.packages.first()) {
        let about = if recipe.description().is_empty() {
            String::new()
        } else {
            format!(": {}", recipe.description())
        };
        let title = format!("{} {}", recipe.name, recipe.version());
        parts.push(format!("{}{about}\n", title.trim_end()));
    }
    let mut rows = Vec::new();
    for variable in &listing.variables {
        rows.extend(variable_rows(variable));
    }
    parts.push(output::table(&rows));
    if !listing.functions.is_empty() {
        let rows: Vec<Vec<String>> = listing
            .functions
            .iter()
            .map(|function| {
                vec![format!("{}()", function.name), format!("{}:{}", function.file, function.line)]
            })
            .collect();
        parts.push(output::table(&rows));
    }
    if !listing.configuration.is_empty() {
        let rows: Vec<Vec<String>> = listing.configuration.iter().map(configuration_row).collect();
        parts.push(output::table(&rows));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

fn variable_rows(variable: &Shown) -> Vec<Vec<String>> {
    let line = |value: &str| {
        if value.is_empty() { "(empty)".to_owned() } else { value.replace('\n', " ").replace('\t', "") }
    };
    let mut rows = vec![vec![variable.name.clone(), variable.place.to_string(), line(&variable.value)]];
    for earlier in &variable.overrode {
        rows.push(vec![String::new(), earlier.place.to_string(), format!("was: {}", line(&earlier.value))]);
    }
    rows
}

fn configuration_row(configuration: &Configuration) -> Vec<String> {
    let files =
        if configuration.files.is_empty() { "(no file)".to_owned() } else { configuration.files.join(" ") };
    vec![configuration.name.clone(), files]
}

/// One name alone: `--format plain` prints the bare value, for scripts.
fn one(
    settings: &Settings,
    loaded: &Loaded,
    listing: Listing<'_>,
    name: &str,
    packages: &[PackageName],
    store: &Store,
) -> Result<()> {
    let plain = settings.format == Format::Plain;
    if let Some(variable) = listing.variables.iter().find(|variable| variable.name == name) {
        return match settings.format {
            Format::Json => output::json(variable),
            Format::Plain => output::data(&format!("{}\n", variable.value)),
            Format::Human => output::data(&output::table(&variable_rows(variable))),
        };
    }
    if let Some(function) = listing.functions.iter().find(|function| function.name == name) {
        let text = loaded
            .graph
            .packages
            .iter()
            .find_map(|recipe| recipe.functions().get(name))
            .map_or("", |f| f.text.as_str());
        return match settings.format {
            Format::Json => output::json(&serde_json::json!({
                "name": name, "file": function.file, "line": function.line, "text": text,
            })),
            Format::Plain => output::data(text),
            Format::Human => output::data(&format!("# {}:{}\n{text}", function.file, function.line)),
        };
    }
    let files = files(loaded, name);
    if !files.is_empty() || listing.configuration.iter().any(|configuration| configuration.name == name) {
        let configuration = Configuration { name: name.to_owned(), files };
        let lines = lines(loaded, &configuration.files);
        return match settings.format {
            Format::Json => output::json(&serde_json::json!({
                "name": configuration.name, "files": configuration.files, "lines": lines,
            })),
            _ if plain => {
                output::data(&configuration.files.iter().map(|file| format!("{file}\n")).collect::<String>())
            }
            _ => {
                let rows: Vec<Vec<String>> =
                    lines.iter().map(|line| vec![line.place.to_string(), line.text.clone()]).collect();
                let files = output::table(&[configuration_row(&configuration)]);
                let gap = if rows.is_empty() { "" } else { "\n" };
                output::data(&format!("{files}{gap}{}", output::table(&rows)))
            }
        };
    }
    let (what, known): (String, Vec<&str>) = match listing.package {
        Some(package) => (
            format!(
                "`pkg/{package}/build` sets no variable and has no function `{name}`, and no configuration file has that name"
            ),
            Vec::new(),
        ),
        None => {
            let what = format!(
                "`{name}` is no package, no variable of `{} {}`, and no configuration file",
                listing.board, listing.product
            );
            (what, packages.iter().map(PackageName::as_str).collect())
        }
    };
    let names = listing.variables.iter().map(|variable| variable.name.as_str());
    let names = names.chain(listing.functions.iter().map(|function| function.name.as_str()));
    let names = names.chain(listing.configuration.iter().map(|configuration| configuration.name.as_str()));
    let mut error = Error::new(Kind::Usage, what);
    if listing.package.is_none() {
        let setters = setters(settings, loaded, packages, store, name);
        for package in &setters {
            let words = format!("{} {} {package} {name}", listing.board, listing.product);
            error = error.hint(format!("`{package}` sets it: `mk show {words}`"));
        }
        if !setters.is_empty() {
            return Err(error);
        }
    }
    Err(match nearest(name, names.chain(known)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error,
    })
}
