//! Keys: everything that can change a package's output, written down once, hashed and compared from the same text.
//! Knows recipes and file digests; runs nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;
use std::time::SystemTime;

use memchr::memmem::Finder;

use crate::digest::Digest;
use crate::error::Result;
use crate::evaluated::Evaluated;
use crate::filedigest::{FileDigests, Reader, Stat};
use crate::layout::{Tree, room};
use crate::names::PackageName;
use crate::recipe::Recipe;
use crate::runtime::{self, identifiers};
use crate::text::{text_of, texts_below};
use crate::vocabulary::{NameSet, Vocabulary};

/// Raised when the meaning of a manifest or the form of a store entry changes.
pub const FORMAT: &str = "1";

/// A written-down list of ingredients. Its text is what is hashed, kept and compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest(BTreeMap<String, String>);

impl Manifest {
    /// Adds an ingredient; `label` is its kind and name, such as `variable VERSION`.
    pub fn set(&mut self, label: impl Into<String>, value: impl Into<String>) {
        self.0.insert(label.into(), value.into());
    }

    /// An ingredient's value.
    pub fn get(&self, label: &str) -> Option<&str> {
        self.0.get(label).map(String::as_str)
    }

    /// The key.
    pub fn digest(&self) -> Digest {
        Digest::of(self.text())
    }

    /// One line per ingredient, sorted; a line break is written `\n`, and a label never holds ` = `.
    fn text(&self) -> String {
        let mut text = String::with_capacity(4096);
        for (label, value) in &self.0 {
            let start = text.len();
            push_escaped(&mut text, label);
            if label.contains('=') {
                let label = text.split_off(start).replace(" = ", " \\= ");
                text.push_str(&label);
            }
            text.push_str(" = ");
            push_escaped(&mut text, value);
            text.push('\n');
        }
        text
    }

    /// Reads a manifest back from its text.
    pub fn parse(text: &str) -> Manifest {
        let pairs = text.lines().filter_map(|line| line.split_once(" = "));
        Manifest(pairs.filter_map(|(label, value)| Some((unescape(label)?, unescape(value)?))).collect())
    }

    /// Those of its labels that `keep` accepts.
    pub fn labels(&self, keep: impl Fn(&str) -> bool) -> Vec<String> {
        self.0.keys().filter(|label| keep(label)).cloned().collect()
    }

    /// The ingredients whose labels `keep` accepts.
    pub fn filter(&self, keep: impl Fn(&str) -> bool) -> Manifest {
        Manifest(
            self.0.iter().filter(|(label, _)| keep(label)).map(|(l, v)| (l.clone(), v.clone())).collect(),
        )
    }

    /// What differs, one line each: `variable VERSION: 1.2 → 1.3`. The most telling first.
    pub fn changes(&self, now: &Manifest) -> Vec<String> {
        let labels: BTreeSet<&String> = self.0.keys().chain(now.0.keys()).collect();
        let mut lines: Vec<(usize, String)> = labels
            .into_iter()
            .filter(|label| self.0.get(*label) != now.0.get(*label))
            .map(|label| {
                let rank = [
                    "variable VERSION",
                    "variable",
                    "archive",
                    "file",
                    "function",
                    "lookup",
                    "environment",
                    "needs",
                ];
                let rank = rank.iter().position(|start| label.starts_with(start)).unwrap_or(rank.len());
                let text = |manifest: &Manifest| {
                    manifest.0.get(label).map_or("(absent)".to_owned(), |value| shorten(label, value))
                };
                (
                    rank,
                    format!(
                        "{}: {} → {}",
                        label.strip_prefix("variable ").unwrap_or(label),
                        text(self),
                        text(now)
                    ),
                )
            })
            .collect();
        lines.sort();
        lines.into_iter().map(|(_, line)| line).collect()
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

fn push_escaped(out: &mut String, text: &str) {
    let mut from = 0;
    for at in memchr::memchr2_iter(b'\\', b'\n', text.as_bytes()) {
        out.push_str(&text[from..at]);
        out.push_str(if text.as_bytes()[at] == b'\n' { "\\n" } else { "\\\\" });
        from = at + 1;
    }
    out.push_str(&text[from..]);
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                other @ ('\\' | '=') => out.push(other),
                _ => return None,
            },
            c => out.push(c),
        }
    }
    Some(out)
}

/// A value as one short piece of a line: long digests are cut, texts are shown by their digest.
fn shorten(label: &str, value: &str) -> String {
    if label.starts_with("function ") || value.contains('\n') || value.len() > 300 {
        return format!("text {}", Digest::of(value).short());
    }
    let hex = |word: &str| word.len() >= 64 && word.bytes().take(64).all(|b| b.is_ascii_hexdigit());
    let words: Vec<String> = value
        .split(' ')
        .map(|word| if hex(word) { format!("{}{}", &word[..8], &word[64..]) } else { word.to_owned() })
        .collect();
    if value.is_empty() { "(empty)".to_owned() } else { words.join(" ") }
}

/// What keys are computed from, beside the recipes.
#[derive(Debug)]
pub struct Ingredients<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// The configuration places, most specific first.
    pub places: &'a [PathBuf; 3],
    /// The names that each of them holds, and what finds each in a text.
    pub listed: &'a [Vec<(String, Finder<'static>)>; 3],
    /// Variables a recipe may see: the driver's own and those of configuration.
    pub variables: &'a BTreeMap<String, String>,
    /// What the TOOLCHAIN files set: functions, and attributes of variables.
    pub environment: &'a Evaluated,
    /// Digest of that part of the runtime library that every step runs.
    pub runtime: Digest,
    /// This machine: processor, system, release.
    pub platform: &'a str,
    /// Whether steps run in rooms; results made without one are kept apart.
    pub rooms: bool,
    /// Digests of files.
    pub digests: &'a FileDigests,
    /// The names that something is known of, as [`vocabulary`] finds them.
    pub vocabulary: &'a Vocabulary,
}

/// Variables that cannot change an output: how much runs at once.
const NO_INGREDIENTS: &[&str] = &["NUMJOBS"];

/// Variables that only say something about the package; they count where a step names them.
const DESCRIPTIVE: &[&str] = &[
    "URL",
    "DESCRIPTION",
    "LICENSE",
    "MAINTAINER",
    "SECTION",
    "REVISION",
    "ARCHITECTURE",
    "RUNTIME_DEPENDS",
];

/// Names of which it matters whether a recipe says them, beside those of helpers and of configuration.
fn said<'n>() -> impl Iterator<Item = &'n str> {
    let asked = ["SHA256SUM", "DEPENDS", "PKGLOGDIR", "PKGDOWNLOADDIR"];
    DESCRIPTIVE.iter().copied().chain(asked)
}

/// All names that keys, and what a step is given, depend on.
pub fn vocabulary(variables: &BTreeMap<String, String>, environment: &Evaluated) -> Vocabulary {
    Vocabulary::new(environment, variables.keys().map(String::as_str).chain(said()))
}

impl<'a> Ingredients<'a> {
    /// Those names that a recipe's steps can reach: what its functions, its folder, its values and the configuration files
    /// that it names say, and the library functions that any of these name.
    pub fn reachable(&self, recipe: &Recipe) -> NameSet<'a> {
        let texts = self.texts(recipe);
        let visited = self.visited_by(recipe, &texts);
        let beside = self.beside(recipe, &texts, &visited, true);
        self.names(recipe, self.in_functions(recipe), &texts, &beside)
    }

    /// The names that a recipe's steps say.
    fn in_functions(&self, recipe: &Recipe) -> NameSet<'a> {
        let mut names = self.vocabulary.none();
        for (_, function) in recipe.functions().iter().filter(|(name, _)| *name != "check_update") {
            names.add_said(&function.text);
        }
        names
    }

    fn names<'n>(
        &self,
        recipe: &Recipe,
        in_functions: NameSet<'n>,
        texts: &[Cow<'_, str>],
        beside: &[String],
    ) -> NameSet<'n> {
        let mut names = in_functions;
        let values = recipe.evaluated.variables.values().map(|variable| variable.value.as_str());
        for text in texts.iter().map(|text| &**text).chain(values) {
            names.add_said(text);
            names.add(computed_helpers(text));
        }
        for text in beside {
            names.add_said(text);
        }
        let mut names = names.reaching();
        if ["include_pkg", "dependencies"].iter().any(|helper| names.contains(helper)) {
            // Any recipe may be read in a step, whatever it names.
            let functions = self.environment.functions.keys();
            names.add(self.variables.keys().chain(functions).map(String::as_str));
            return names.reaching();
        }
        names
    }

    fn reader<'r>(&'r self, recipe: &'r Recipe) -> Reader<'r> {
        self.digests.reader(Some(&recipe.name))
    }

    /// All that bash reads of a recipe: its file, those that it sources, and its functions, wherever they come from.
    fn texts<'r>(&self, recipe: &'r Recipe) -> Vec<Cow<'r, str>> {
        let mut texts: Vec<Cow<'r, str>> = vec![Cow::Borrowed(&recipe.evaluated.text)];
        let reader = self.reader(recipe);
        reader.note(&self.tree.recipe(recipe.name.as_str()));
        for source in &recipe.evaluated.sources {
            let path = self.tree.root().join(source);
            reader.note(&path);
            if let Ok(text) = fs_err::read(path) {
                texts.push(Cow::Owned(String::from_utf8_lossy(&text).into_owned()));
            }
        }
        // Those of its own are in its file, in the same words unless one goes over a line's end.
        let own = format!("pkg/{}/build", recipe.name);
        let whole = !recipe.evaluated.makefile && !splits_a_word(&recipe.evaluated.text);
        let others = recipe.functions().values().filter(|function| !whole || function.file != own);
        texts.extend(others.map(|function| Cow::Borrowed(function.text.as_str())));
        texts
    }

    /// The texts of files beside a recipe, unless its own folder is known to hold none, of files of the tree that its steps go
    /// to, and of configuration that `texts` name.
    fn beside(
        &self,
        recipe: &Recipe,
        texts: &[Cow<'_, str>],
        visited: &BTreeSet<PathBuf>,
        files: bool,
    ) -> Vec<String> {
        let others = recipe.other_folders().into_iter().map(|folder| self.tree.root().join(folder));
        let folders = others.chain(files.then(|| self.tree.package(recipe.name.as_str())));
        let mut beside: Vec<String> =
            folders.flat_map(|folder| texts_below(&folder, self.tree.root())).collect();
        beside.extend(visited.iter().filter_map(|path| text_of(&self.tree.root().join(path))));
        let reader = self.reader(recipe);
        for (place, listed) in self.places.iter().zip(self.listed) {
            reader.note(place);
            let named = |(_, file): &&(String, Finder)| texts.iter().any(|text| mentions(text, file));
            let looked_up = recipe.evaluated.lookups.iter();
            for name in listed.iter().filter(named).map(|(name, _)| name).chain(looked_up) {
                reader.note(&place.join(name));
                beside.extend(text_of(&place.join(name)));
            }
        }
        beside
    }

    /// Files and folders of the tree, relative to it, that a recipe goes to by itself, past the helpers: what its text says
    /// after `$SCRIPTDIR/`, as far as that is plain. They are in its room, and all that they hold is an input.
    pub fn visited(&self, recipe: &Recipe) -> BTreeSet<PathBuf> {
        self.visited_by(recipe, &self.texts(recipe))
    }

    fn visited_by(&self, recipe: &Recipe, texts: &[Cow<'_, str>]) -> BTreeSet<PathBuf> {
        let values = recipe.evaluated.variables.values().map(|variable| variable.value.as_str());
        let may_be_named = |text: &str| GOES_TO_TREE.iter().any(|word| word.find(text.as_bytes()).is_some());
        if !values.clone().chain(texts.iter().map(|text| &**text)).any(may_be_named) {
            return BTreeSet::new();
        }
        let mut all = String::new();
        for value in values {
            all.push_str(value);
            all.push('\n');
        }
        for text in texts {
            let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
            let around = if recipe.evaluated.makefile { "\"'{}()" } else { "\"'{}" };
            all.extend(code.flat_map(|line| line.chars().chain(['\n'])).filter(|c| !around.contains(*c)));
        }
        let own = Path::new("pkg").join(recipe.name.as_str());
        let starts = ["SCRIPTDIR/".to_owned(), format!("{}/", room::TREE)];
        let rests = starts.iter().flat_map(|start| all.match_indices(start.as_str()));
        let named = rests.filter_map(|(at, start)| plain_path(&all[at + start.len()..]));
        // Configuration is one thing, wherever in it a recipe looks.
        let whole =
            |path: PathBuf| match ["board", "product"].into_iter().find(|folder| path.starts_with(folder)) {
                Some(folder) => PathBuf::from(folder),
                None => path,
            };
        let counts = |path: &PathBuf| {
            let too_wide = path.components().count() <= usize::from(path.starts_with("pkg"));
            // What is sourced is known as such.
            !too_wide && !recipe.evaluated.sources.contains(path) && !path.starts_with(&own)
        };
        named.map(whole).filter(counts).collect()
    }

    /// Everything but the outputs of other packages and what steps ask for while they run.
    pub fn manifest(&self, recipe: &Recipe) -> Result<Manifest> {
        let mut manifest = Manifest::default();
        let texts = self.texts(recipe);
        let but = (!recipe.evaluated.makefile).then_some("build");
        let reader = self.reader(recipe);
        let folder = self.tree.package(recipe.name.as_str());
        let files = if recipe.evaluated.alone && but.is_some() {
            reader.note(&folder);
            Vec::new()
        } else {
            reader.folder(&folder, self.tree.root(), but)?
        };
        let visited = self.visited_by(recipe, &texts);
        let beside = self.beside(recipe, &texts, &visited, !files.is_empty());
        let in_functions = self.in_functions(recipe);
        let names = self.names(recipe, in_functions.clone(), &texts, &beside);
        manifest.set("format", FORMAT);
        manifest.set("package", recipe.name.as_str());
        manifest.set("platform", self.platform);
        manifest.set("runtime", self.runtime.to_string());
        if !self.rooms {
            manifest.set("rooms", "never");
        }
        for (name, value) in self.variables {
            // What the recipe says of itself is in place of what configuration says of all.
            let covered =
                DESCRIPTIVE.contains(&name.as_str()) && recipe.evaluated.variables.contains_key(name);
            if names.contains(name) && !covered && !NO_INGREDIENTS.contains(&name.as_str()) {
                let flags = self.environment.variables.get(name).map_or("-", |variable| &variable.flags);
                manifest.set(format!("variable {name}"), described(flags, value));
            }
        }
        for (name, helper) in runtime::helpers() {
            if names.contains(name) && !runtime::core().contains(name) {
                manifest.set(format!("helper {name}"), helper.digest.to_string());
            }
        }
        for (name, function) in &self.environment.functions {
            if names.contains(name) {
                manifest.set(format!("function {name}"), &function.text);
            }
        }
        for (name, variable) in &recipe.evaluated.variables {
            let descriptive = DESCRIPTIVE.contains(&name.as_str()) && !in_functions.contains(name);
            // As a set they count anyway; a step that names them sees their order too.
            let named =
                in_functions.contains(name) || name == "DEPENDS" && in_functions.contains("dependencies");
            let covered = matches!(name.as_str(), "SHA256SUM" | "DEPENDS") && !named;
            if !descriptive && !covered && !NO_INGREDIENTS.contains(&name.as_str()) {
                manifest.set(format!("variable {name}"), described(&variable.flags, &variable.value));
            }
        }
        for (name, function) in recipe.functions() {
            if name != "check_update" {
                manifest.set(format!("function {name}"), &function.text);
            }
        }
        if !recipe.evaluated.options.is_empty() {
            manifest.set("options", &recipe.evaluated.options);
        }
        for (name, value) in &recipe.evaluated.passed {
            manifest.set(format!("environment {name}"), value);
        }
        if let Some(source) = &recipe.source {
            let digests: Vec<String> = source.digests.iter().map(Digest::to_string).collect();
            manifest.set(format!("archive {}", source.file), digests.join(" "));
        }
        for (name, line) in files {
            manifest.set(format!("file {name}"), line);
        }
        for other in recipe.other_folders() {
            for (name, line) in
                reader.folder(&self.tree.root().join(&other), self.tree.root(), Some("build"))?
            {
                manifest.set(format!("file {}/{name}", other.display()), line);
            }
        }
        for name in &recipe.evaluated.lookups {
            manifest.set(format!("lookup {name}"), self.lookup(&recipe.name, name)?);
        }
        for place in visited {
            let line = reader.line(&self.tree.root().join(&place), self.tree.root())?;
            manifest.set(format!("folder {}", place.display()), line.unwrap_or_else(|| "-".to_owned()));
        }
        if texts.iter().any(|text| LISTS_PLACES.find(text.as_bytes()).is_some()) {
            manifest.set("lookup .", self.lookup(&recipe.name, ".")?);
        }
        for tool in recipe.host_tools() {
            manifest.set(format!("tool {tool}"), self.tool(&recipe.name, tool)?);
        }
        Ok(manifest)
    }

    /// Something that a package was built from and that changed since `began`, when the inputs were looked at: what came
    /// out may then be of the old or of the new. `own`: the manifest as it was. `discovered`: what steps asked for.
    pub fn changed_meanwhile(
        &self,
        recipe: &Recipe,
        own: &Manifest,
        discovered: &[String],
        began: SystemTime,
    ) -> Result<Option<String>> {
        let now = self.manifest(recipe)?;
        let labels: BTreeSet<&String> = own.0.keys().chain(now.0.keys()).collect();
        if let Some(label) = labels.into_iter().find(|label| own.0.get(*label) != now.0.get(*label)) {
            return Ok(Some(label.clone()));
        }
        let below = |path: &PathBuf| self.tree.root().join(path);
        let mut paths = vec![self.tree.recipe(recipe.name.as_str())];
        paths.extend(recipe.evaluated.sources.iter().map(below));
        for input in discovered {
            match input.split_once(' ') {
                Some(("lookup", name)) => paths.extend(self.places.iter().map(|place| place.join(name))),
                Some((_, path)) => paths.push(below(&path.into())),
                None => {}
            }
        }
        // What claims to be of the future was there before the clock was set back.
        let until = SystemTime::now();
        let files = paths.iter().flat_map(|path| walkdir::WalkDir::new(path).follow_root_links(true));
        let changed = files.flatten().find(|entry| {
            let stat = fs_err::metadata(entry.path()).map(|meta| Stat::of(&meta));
            stat.is_ok_and(|stat| stat.changed_between(began, until))
        });
        Ok(changed.map(|entry| self.tree.show(entry.path())))
    }

    /// What a configuration name that a package looks up is in each of the places, most specific first; `-` where it is
    /// absent.
    pub fn lookup(&self, package: &PackageName, name: &str) -> Result<String> {
        let mut values = Vec::new();
        for place in self.places {
            let line = self.digests.reader(Some(package)).line(&place.join(name), self.tree.root())?;
            values.push(line.unwrap_or_else(|| "-".to_owned()));
        }
        Ok(values.join(", "))
    }

    /// What another discovered input (a file that a package's step sourced, relative to the tree) holds now.
    pub fn sourced(&self, package: &PackageName, path: &str) -> Result<String> {
        let line = self.digests.reader(Some(package)).line(&self.tree.root().join(path), self.tree.root())?;
        Ok(line.unwrap_or_else(|| "-".to_owned()))
    }

    /// The digest of a program of this machine, or `-`.
    fn tool(&self, package: &PackageName, name: &str) -> Result<String> {
        for folder in ["/usr/bin", "/bin", "/usr/sbin", "/sbin"] {
            if let Some(digest) =
                self.digests.reader(Some(package)).file(&PathBuf::from(folder).join(name))?
            {
                return Ok(digest.to_string());
            }
        }
        Ok("-".to_owned())
    }
}

/// Helpers whose names a text computes: all that begin with what stands before a `$`, as `run_` in `run_$KIND`.
fn computed_helpers(text: &str) -> impl Iterator<Item = &'static str> {
    let starts = memchr::memchr_iter(b'$', text.as_bytes()).filter_map(move |at| {
        let start = identifiers(text[..at].rsplit(|c: char| c.is_ascii_whitespace()).next()?).last()?;
        (start.len() > 2 && text[..at].ends_with(start)).then_some(start)
    });
    let begin_with = |start| move |name: &&str| name.starts_with(start);
    starts.flat_map(move |start| runtime::helpers().keys().copied().filter(begin_with(start)))
}

/// Whether a word of a text goes on behind a backslash at the end of a line.
fn splits_a_word(text: &str) -> bool {
    let splits = |at: usize| {
        let beside = |bytes: Option<&u8>| bytes.is_some_and(|byte| !byte.is_ascii_whitespace());
        beside(text.as_bytes()[..at].last()) && beside(text.as_bytes().get(at + 2))
    };
    SPLIT_LINE.find_iter(text.as_bytes()).any(splits)
}

/// The path that a text begins with, up to the first part that only bash can know.
fn plain_path(text: &str) -> Option<PathBuf> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "._+-@/".contains(c))).unwrap_or(text.len());
    let computed = text[end..].starts_with(['$', '*', '?', '[', ',', '`']);
    let path = if computed { text[..end].rsplit_once('/')?.0 } else { &text[..end] };
    let path = PathBuf::from(path.trim_end_matches('/'));
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}

/// What every text of every recipe is searched for.
static GOES_TO_TREE: LazyLock<[Finder; 2]> = LazyLock::new(|| ["SCRIPTDIR", "tree"].map(Finder::new));
static SPLIT_LINE: LazyLock<Finder> = LazyLock::new(|| Finder::new("\\\n"));
static LISTS_PLACES: LazyLock<Finder> = LazyLock::new(|| Finder::new("MK_CONFIG_PLACES"));

/// Whether a text names a file, and not only something whose name holds that of the file, as `TOOLCHAINPKG` does.
fn mentions(text: &str, file: &Finder) -> bool {
    let in_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    file.find_iter(text.as_bytes()).any(|at| {
        let end = at + file.needle().len();
        !text[..at].ends_with(in_a_name) && !text[end..].starts_with(in_a_name)
    })
}

/// A variable's attributes, where it has any, and value.
fn described(flags: &str, value: &str) -> String {
    if flags == "-" { value.to_owned() } else { format!("({flags}) {value}") }
}

/// Which ingredients matter to `prepare`: not the other steps' functions, and no other package.
pub fn matters_to_prepare(label: &str) -> bool {
    !matches!(label, "function build" | "function deploy") && !label.starts_with("needs ")
}

/// This machine, as far as outputs can depend on it.
pub fn platform() -> String {
    let release = fs_err::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map_or("unknown", |value| value.trim_matches('"'))
            .to_owned()
    };
    format!("{}-linux {} {}", std::env::consts::ARCH, field("ID"), field("VERSION_ID"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_whole_name() {
        for text in ["cat TOOLCHAIN", "TOOLCHAIN", "\"$place/TOOLCHAIN\"", "TOOLCHAINPKG TOOLCHAIN"] {
            assert!(mentions(text, &Finder::new("TOOLCHAIN")), "{text}");
        }
        for text in ["", "$TOOLCHAINPKG", "MY_TOOLCHAIN", "TOOLCHAIN2"] {
            assert!(!mentions(text, &Finder::new("TOOLCHAIN")), "{text}");
        }
    }

    #[test]
    fn a_word_over_a_line_end_is_seen() {
        assert!(splits_a_word("a\\\nb"));
        assert!(splits_a_word("a \\\n\tb c\\\nd"));
        for text in ["", "a \\\nb", "a\\\n\tb", "\\\n", "a\\b\n"] {
            assert!(!splits_a_word(text), "{text:?}");
        }
    }

    #[test]
    fn a_manifest_reads_back_and_tells_what_changed() {
        let mut old = Manifest::default();
        old.set("variable VERSION", "1.2");
        old.set("function build", "build () \n{ \n    printf 'a\\nb'\n}\n");
        old.set("file gone.patch", "644 aa");
        let mut new = old.clone();
        assert_eq!(Manifest::parse(&old.to_string()), old);
        new.set("variable VERSION", "1.3");
        new.set("function build", "build () \n{ \n    :\n}\n");
        let new = new.filter(|label| label != "file gone.patch");
        let changes = old.changes(&new);
        assert_eq!(changes[0], "VERSION: 1.2 → 1.3");
        assert_eq!(changes[1], "file gone.patch: 644 aa → (absent)");
        assert!(changes[2].starts_with("function build: text "), "{changes:?}");
        assert!(old.changes(&old).is_empty());
    }
}
