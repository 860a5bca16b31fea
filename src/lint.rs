//! Mistakes that evaluation lets pass: in a package's texts, among its files, and in what its last build left.
//! Every rule is a function from what is known to findings. Prints nothing and runs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::answer::BASH_VARIABLES;
use crate::elf::{self, Kind};
use crate::error::{distance, nearest};
use crate::evaluated::Evaluated;
use crate::names::PackageName;
use crate::recipe::CONTRACT;
use crate::runtime::identifiers;
use crate::script::{self, Script};
use crate::store::Entry;
use crate::strip;

/// Names of rules with what they find. Findings of shellcheck have its own names (`SC2086`).
pub const RULES: &[(&str, &str)] = &[
    ("recipe", "a recipe that cannot be read"),
    ("digest", "SHA256SUM that is no SHA-256 of an archive"),
    (
        "misspelt-variable",
        "a variable that nothing reads, or nothing sets, and whose name is nearly that of another",
    ),
    ("misspelt-function", "a step or helper whose name is nearly right"),
    ("masked-status", "`local x=$(command)`: the command's failure is lost"),
    ("make-jobs", "a number of jobs that is not $NUMJOBS; in a makefile, `make` that is not $(MAKE)"),
    ("unused-file", "a file of the package's folder that nothing names, or a patch that nothing applies"),
    (
        "missing-dependency",
        "a library or pkg-config file that the result asks for, of a package that DEPENDS leaves out",
    ),
    ("unused-dependency", "a library package in DEPENDS that neither the result nor the recipe asks for"),
    ("host-path", "a path of the build machine in a deployed text"),
    ("wrong-architecture", "a deployed ELF file for another processor than TARGET"),
    ("build-rpath", "a library search path of the build machine in an ELF file"),
    ("silence", "a `# lint:` comment without a reason or with an unknown rule"),
];

/// Something found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Relative to the tree.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// One of [`RULES`], or shellcheck's.
    pub rule: String,
    /// One sentence.
    pub message: String,
    /// Whose recipe.
    pub package: PackageName,
    /// Whether it is about the whole package, so that a comment anywhere in the recipe silences it.
    #[serde(skip)]
    pub whole: bool,
}

/// A text file of the tree.
#[derive(Debug)]
pub struct Text {
    /// Relative to the tree.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
    /// What bash would see in it.
    pub script: Script,
}

impl Text {
    /// Reads a file below `root`; `None` where it is no text.
    pub fn read(root: &Path, path: &Path) -> Option<Text> {
        let text = fs_err::read_to_string(root.join(path)).ok().filter(|text| !text.contains('\0'))?;
        Some(Text { script: Script::new(&text), path: path.to_owned(), text })
    }

    fn show(&self) -> String {
        self.path.display().to_string()
    }
}

/// A package to look at.
#[derive(Debug)]
pub struct Subject<'a> {
    /// Its name.
    pub name: &'a PackageName,
    /// What bash made of its recipe, with the history of variables.
    pub evaluated: &'a Evaluated,
    /// The recipe.
    pub recipe: &'a Text,
    /// Other texts of its folder.
    pub texts: &'a [Text],
    /// All files of its folder but the recipe, relative to it.
    pub files: &'a [PathBuf],
    /// Words of other packages' recipes that name this folder.
    pub others: &'a [String],
}

/// What is known of all packages.
#[derive(Debug, Default)]
pub struct Known {
    /// Helpers of the library.
    pub helpers: BTreeSet<String>,
    /// Every name in the library's texts: it may read them.
    pub library: BTreeSet<String>,
    /// Variables that the driver or any configuration file sets.
    pub variables: BTreeSet<String>,
}

/// Further variables of the contract, which are not set everywhere.
const SEEN: &[&str] = &[
    "BOARD",
    "PRODUCT",
    "TARGET",
    "OS_NAME",
    "OS_RELEASE",
    "NUMJOBS",
    "HOSTTUPLE",
    "CMAKETCFILE",
    "PKGNAME",
    "BUILDROOT",
    "SCRIPTDIR",
    "TCDIR",
    "PKGBUILDDIR",
    "PKGSRCDIR",
    "PKGDEPLOYDIR",
    "PKGLOGDIR",
    "PKGDOWNLOADDIR",
    "GCC_CPU",
    "GCC_EXTRACFG",
    "MUSL_CPU",
    "LINUXPKG",
    "SDKPKG",
    "LINUX_CPU",
    "LINUX_TGT",
    "OPENSSL_TARGET",
    "GETTY_TTY",
    "HWCLOCK",
    "DHCP_PORTS",
    "SERVICES",
];
/// Variables that a recipe may set for the driver, beside those of the contract.
const OPTIONAL: &[&str] = &[
    "DESCRIPTION",
    "LICENSE",
    "HOSTTOOLS",
    "MAINTAINER",
    "SECTION",
    "REVISION",
    "ARCHITECTURE",
    "RUNTIME_DEPENDS",
];
/// Variables that programs know.
const COMMON: &[&str] = &[
    "CC",
    "CXX",
    "CPP",
    "LD",
    "AR",
    "AS",
    "NM",
    "RANLIB",
    "STRIP",
    "OBJCOPY",
    "CFLAGS",
    "CXXFLAGS",
    "CPPFLAGS",
    "LDFLAGS",
    "LIBS",
    "MAKEFLAGS",
    "DESTDIR",
    "PREFIX",
    "SOURCE_DATE_EPOCH",
    "USER",
    "LANG",
    "TZ",
    "TMPDIR",
    "OPTARG",
    "OPTIND",
    "COLUMNS",
    "LINES",
    "CROSS_COMPILE",
    "ARCH",
    "CHOST",
    "CBUILD",
    "PKG_CONFIG",
    "PKG_CONFIG_PATH",
    "PKG_CONFIG_LIBDIR",
    "PKG_CONFIG_SYSROOT_DIR",
];
/// The steps' functions.
const STEPS: &[&str] = &["prepare", "build", "deploy", "check_update"];

impl Subject<'_> {
    /// The recipe and those of its own texts that it sources: what runs with the recipe's variables.
    fn scripts(&self) -> impl Iterator<Item = &Text> {
        let sourced = |text: &&Text| self.evaluated.sources.contains(&text.path);
        std::iter::once(self.recipe).chain(self.texts.iter().filter(sourced))
    }

    /// Where a variable was set last.
    fn place(&self, variable: &str) -> (String, u32) {
        let last =
            self.evaluated.history.iter().rev().find(|set| set.name == variable && !set.file.is_empty());
        last.map_or_else(|| (self.recipe.show(), 1), |set| (set.file.clone(), set.line))
    }

    fn finding(&self, (file, line): (String, u32), rule: &str, message: String) -> Finding {
        Finding { file, line, rule: rule.to_owned(), message, package: self.name.clone(), whole: false }
    }

    /// About the package's output, so shown where it deploys.
    fn about_output(&self, rule: &str, message: String) -> Finding {
        let place = match self.evaluated.functions.get("deploy") {
            Some(function) => (function.file.clone(), function.line),
            None => (self.recipe.show(), 1),
        };
        Finding { whole: true, ..self.finding(place, rule, message) }
    }

    /// All rules that need no build.
    pub fn lint(&self, known: &Known) -> Vec<Finding> {
        let mut found = Vec::new();
        self.digests(&mut found);
        if self.evaluated.makefile {
            self.makes_in_makefile(&mut found);
            self.unused_files(&mut found);
            return found;
        }
        self.variables(known, &mut found);
        self.functions(known, &mut found);
        for text in self.scripts() {
            for command in &text.script.commands {
                let place = || (text.show(), command.line);
                if let Some(message) = masked_status(&command.words) {
                    found.push(self.finding(place(), "masked-status", message));
                }
                if let Some(message) = make_jobs(&command.words) {
                    found.push(self.finding(place(), "make-jobs", message));
                }
            }
        }
        self.unused_files(&mut found);
        found
    }

    /// Lines of a makefile's targets that start make otherwise than as `$(MAKE)`.
    fn makes_in_makefile(&self, found: &mut Vec<Finding>) {
        for (line, number) in self.recipe.text.lines().zip(1_u32..) {
            let Some(commands) = line.strip_prefix('\t') else { continue };
            let starts_make = |command: &str| {
                command.trim_start_matches([' ', '\t', '@', '-', '+', '(']).split_whitespace().next()
                    == Some("make")
            };
            if commands.split([';', '&', '|']).any(starts_make) {
                let message = "`make` cannot share the jobs of all packages here; say `$(MAKE)`".to_owned();
                found.push(self.finding((self.recipe.show(), number), "make-jobs", message));
            }
        }
    }

    fn digests(&self, found: &mut Vec<Finding>) {
        if self.evaluated.get("TARBALL").trim().is_empty() {
            return;
        }
        let mut seen = BTreeSet::new();
        for word in self.evaluated.get("SHA256SUM").split_whitespace() {
            let wrong = if word != word.to_lowercase() {
                "has capital letters; `sha256sum` prints small ones"
            } else if word.bytes().all(|byte| Some(byte) == word.bytes().next()) {
                "is no digest of anything: one digit, 64 times"
            } else if word == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
                "is the digest of an empty file: a download that failed"
            } else if !seen.insert(word) {
                "stands there twice"
            } else {
                continue;
            };
            found.push(self.finding(
                self.place("SHA256SUM"),
                "digest",
                format!("SHA256SUM `{word}` {wrong}"),
            ));
        }
    }

    fn variables(&self, known: &Known, found: &mut Vec<Finding>) {
        let settable: Vec<&str> = CONTRACT.iter().chain(OPTIONAL).copied().collect();
        let mut read: BTreeSet<&str> = self.others.iter().flat_map(|word| identifiers(word)).collect();
        for text in std::iter::once(self.recipe).chain(self.texts) {
            read.extend(text.script.uses.iter().chain(&text.script.guarded).map(|(_, name)| name.as_str()));
        }
        for function in self.evaluated.functions.values() {
            read.extend(identifiers(&function.text));
        }
        let is_known = |name: &str| {
            settable.contains(&name)
                || SEEN.contains(&name)
                || known.variables.contains(name)
                || known.library.contains(name)
        };
        for (name, variable) in &self.evaluated.variables {
            let exported = variable.flags.contains('x');
            let Some(near) = near(name, &settable)
                .filter(|_| !is_known(name) && !read.contains(name.as_str()) && !exported)
            else {
                continue;
            };
            let place = self.place(name);
            if place.0 == self.recipe.show() {
                let message = format!("`{name}` is set, but nothing reads it; did you mean `{near}`?");
                found.push(self.finding(place, "misspelt-variable", message));
            }
        }
        let sets: BTreeSet<&str> =
            self.scripts().flat_map(|text| text.script.sets.iter().map(|(_, name)| name.as_str())).collect();
        let is_set = |name: &str| {
            sets.contains(name)
                || is_known(name)
                || COMMON.contains(&name)
                || BASH_VARIABLES.contains(&name)
                || self.evaluated.variables.contains_key(name)
                || self.evaluated.passed.contains_key(name)
                || name.starts_with("MK_")
                || name.starts_with("BASH_")
        };
        let candidates: Vec<&str> = settable
            .iter()
            .copied()
            .chain(SEEN.iter().copied())
            .chain(known.variables.iter().map(String::as_str))
            .chain(sets.iter().copied().filter(|name| is_constant(name)))
            .collect();
        for text in self.scripts() {
            for (line, name) in text.script.uses.iter().filter(|(_, name)| is_constant(name) && !is_set(name))
            {
                if let Some(near) = near(name, &candidates) {
                    let message = format!("`${name}` is never set; did you mean `${near}`?");
                    found.push(self.finding((text.show(), *line), "misspelt-variable", message));
                }
            }
        }
    }

    fn functions(&self, known: &Known, found: &mut Vec<Finding>) {
        let called: BTreeSet<&str> = self
            .scripts()
            .flat_map(|text| &text.script.commands)
            .flat_map(|command| command.words.iter().map(|word| word.trim_matches(['"', '\''])))
            .collect();
        for (name, function) in &self.evaluated.functions {
            let step = near(name, STEPS)
                .filter(|_| !STEPS.contains(&name.as_str()) && !called.contains(name.as_str()));
            let clash = step.is_some_and(|step| self.evaluated.functions.contains_key(step));
            if let (Some(step), false, true) = (step, clash, function.file == self.recipe.show()) {
                let message = format!("nothing calls `{name}`; did you mean the step `{step}`?");
                found.push(self.finding(
                    (function.file.clone(), function.line),
                    "misspelt-function",
                    message,
                ));
            }
        }
        let helpers: Vec<&str> =
            known.helpers.iter().map(String::as_str).filter(|name| name.contains('_')).collect();
        for text in self.scripts() {
            for command in &text.script.commands {
                let word = command.words[0].as_str();
                let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                let defined = known.helpers.contains(word)
                    || self.evaluated.functions.contains_key(word)
                    || self.scripts().any(|text| text.script.functions.contains(word));
                if !plain || defined || is_program(word) {
                    continue;
                }
                if let Some(near) = near(word, &helpers) {
                    let message = format!("there is no `{word}`; did you mean `{near}`?");
                    found.push(self.finding((text.show(), command.line), "misspelt-function", message));
                }
            }
        }
    }

    fn unused_files(&self, found: &mut Vec<Finding>) {
        let mut words: Vec<(Option<&Path>, String)> =
            self.others.iter().map(|word| (None, word.clone())).collect();
        words.extend(self.recipe.script.words.iter().map(|word| (None, word.clone())));
        for text in self.texts {
            let plain =
                text.text.split(|c: char| c.is_whitespace() || "\"'`;|&()<>,".contains(c)).map(str::to_owned);
            words.extend(
                plain.chain(text.script.words.iter().cloned()).map(|word| (Some(text.path.as_path()), word)),
            );
        }
        // The functions that stand in for a makefile's targets show it the whole folder.
        for function in self.evaluated.functions.values().filter(|_| !self.evaluated.makefile) {
            words.extend(Script::new(&function.text).words.into_iter().map(|word| (None, word)));
        }
        let patterns: BTreeSet<(Option<&Path>, Vec<String>)> = words
            .iter()
            .map(|(from, word)| (*from, pattern(word)))
            .filter(|(_, parts)| !parts.is_empty())
            .collect();
        let calls = |helper: &str| {
            let mut functions = self.evaluated.functions.values();
            functions.any(|function| identifiers(&function.text).any(|name| name == helper))
        };
        let (patched, serves) = (calls("apply_patches"), calls("rootfs_service"));
        let folder = self.recipe.path.parent().unwrap_or(Path::new(""));
        for file in self.files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let is_patch = file.extension().is_some_and(|end| end == "patch");
            let prose = name.starts_with('.') || name.starts_with("README") || name.ends_with(".md");
            let path = folder.join(file);
            let is_named = |(from, parts): &(Option<&Path>, Vec<String>)| {
                *from != Some(path.as_path()) && names(parts, file, self.name)
            };
            let taken = self.evaluated.makefile && (file.starts_with("src") || name == "changelog");
            if prose
                || taken
                || (is_patch && patched && file.components().count() == 1)
                || (serves && file.as_os_str() == "service")
                || patterns.iter().any(is_named)
            {
                continue;
            }
            let message = if is_patch {
                format!("`{}` is never applied: no function calls `apply_patches`", file.display())
            } else {
                format!("nothing names the file `{}`", file.display())
            };
            found.push(Finding {
                whole: true,
                ..self.finding((self.recipe.show(), 1), "unused-file", message)
            });
        }
    }
}

/// The near miss of a name: nearer than what [`nearest`] would take, since these names are short.
fn near<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let found = nearest(name, known.iter().copied())?;
    let ends = |text: &str| (text.chars().next(), text.chars().next_back());
    let ((a, z), (b, y)) = (ends(name), ends(found));
    let most = if name.len().min(found.len()) < 6 { 1 } else { 2 };
    (found != name && name.len() >= 4 && (a == b || z == y) && distance(name, found) <= most).then_some(found)
}

/// Names that are written like those of the contract.
fn is_constant(name: &str) -> bool {
    name.len() >= 4
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

fn is_program(name: &str) -> bool {
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].iter().any(|dir| Path::new(dir).join(name).exists())
}

fn masked_status(words: &[String]) -> Option<String> {
    if !matches!(words[0].as_str(), "local" | "export" | "declare" | "readonly" | "typeset") {
        return None;
    }
    words[1..].iter().find_map(|word| {
        let (name, value) = script::assignment(word)?;
        let runs = value.replace("$((", "").contains("$(") || value.contains('`');
        let literal = value.starts_with('\'');
        (runs && !literal).then(|| {
            format!(
                "`{} {name}=$(…)` succeeds even if the command fails; declare `{name}` first, then set it",
                words[0]
            )
        })
    })
}

fn make_jobs(words: &[String]) -> Option<String> {
    let program = words.iter().find(|word| {
        !matches!(word.as_str(), "command" | "env" | "nice") && script::assignment(word).is_none()
    })?;
    let program = program.rsplit('/').next()?.trim_matches('"');
    if !(matches!(
        program,
        "make" | "gmake" | "ninja" | "samu" | "cmake" | "meson" | "scons" | "$MAKE" | "kernel_make"
    )) {
        return None;
    }
    let bare = |word: &String| word.replace(['"', '\''], "");
    for (at, word) in words.iter().enumerate().skip(1) {
        let word = bare(word);
        let glued = ["--jobs=", "--parallel=", "-j"]
            .iter()
            .find_map(|start| word.strip_prefix(start))
            .filter(|rest| !rest.is_empty());
        let value = match (word.as_str(), glued) {
            ("-j" | "--jobs" | "--parallel", _) => words
                .get(at + 1)
                .map(bare)
                .filter(|next| next.starts_with(|c: char| c.is_ascii_digit() || c == '$' || c == '`')),
            (_, Some(rest)) => Some(rest.to_owned()),
            _ => continue,
        };
        return match value {
            None if program == "make" || program == "gmake" || program == "kernel_make" => Some(format!(
                "`{word}` without a number starts as many jobs as there are; say `-j \"$NUMJOBS\"`"
            )),
            Some(value)
                if value.contains("nproc") || value.contains("getconf") || value.contains("cpuinfo") =>
            {
                Some("the number of jobs is the driver's to say; use `-j \"$NUMJOBS\"`".to_owned())
            }
            Some(value) if value.bytes().all(|b| b.is_ascii_digit()) && value != "1" => Some(format!(
                "`{value}` jobs are too many for one machine and too few for another; say `-j \"$NUMJOBS\"`"
            )),
            _ => None,
        };
    }
    None
}

/// A word as the path that it may name: its parts, with `*` for what only bash knows.
fn pattern(word: &str) -> Vec<String> {
    let mut text = String::new();
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\'' => {}
            '\\' => text.extend(chars.next()),
            '$' => {
                text.push('*');
                match chars.peek() {
                    Some('{') => while chars.next().is_some_and(|c| c != '}') {},
                    Some('(') => while chars.next().is_some_and(|c| c != ')') {},
                    _ => while chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_').is_some() {},
                }
            }
            '{' => {
                text.push('*');
                while chars.next().is_some_and(|c| c != '}') {}
            }
            '?' | '[' | ']' => text.push('*'),
            c => text.push(c),
        }
    }
    if let Some((name, value)) = text.split_once('=') {
        if !name.contains('/') {
            text = value.to_owned();
        }
    }
    text.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
}

/// Whether a pattern may name a file of the package's folder, or a folder above it.
fn names(parts: &[String], file: &Path, package: &PackageName) -> bool {
    let path: Vec<String> = file.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let own = parts.windows(2).position(|pair| pair[0] == "pkg" && matches_glob(&pair[1], package.as_str()));
    if let Some(own) = own {
        let rest = &parts[own + 2..];
        return rest.len() <= path.len()
            && rest.iter().zip(&path).all(|(pattern, part)| matches_glob(pattern, part));
    }
    let Some(last) = parts.last() else { return false };
    let literal = last.bytes().filter(|byte| byte.is_ascii_alphanumeric()).count();
    (!last.contains('*') || literal >= 2) && path.iter().any(|part| matches_glob(last, part))
}

/// Whether `text` is what `pattern` says, where `*` stands for anything.
fn matches_glob(pattern: &str, text: &str) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// What the packages of a build root deployed.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Results, by package.
    pub results: BTreeMap<PackageName, Entry>,
    /// Direct dependencies, by package.
    pub needs: BTreeMap<PackageName, BTreeSet<PackageName>>,
    /// The workspace's path, which no output may name.
    pub workspace: PathBuf,
    /// `TARGET`.
    pub target: String,
    libraries: BTreeMap<String, BTreeSet<PackageName>>,
    staged: BTreeMap<String, BTreeSet<PackageName>>,
    modules: BTreeMap<String, BTreeSet<PackageName>>,
}

impl Outputs {
    /// Looks for shared libraries and pkg-config files in all results.
    pub fn new(
        results: BTreeMap<PackageName, Entry>,
        needs: BTreeMap<PackageName, BTreeSet<PackageName>>,
        workspace: PathBuf,
        target: String,
    ) -> Outputs {
        let mut outputs = Outputs { results, needs, workspace, target, ..Outputs::default() };
        for (package, entry) in &outputs.results {
            for (top, staged) in [(entry.deploy(), false), (entry.toolchain(), true)] {
                for file in walkdir::WalkDir::new(top)
                    .min_depth(1)
                    .into_iter()
                    .flatten()
                    .filter(|file| !file.file_type().is_dir())
                {
                    let name = file.file_name().to_string_lossy().into_owned();
                    let is_library = name.ends_with(".so") || name.contains(".so.");
                    if let Some(module) = name.strip_suffix(".pc") {
                        outputs.modules.entry(module.to_owned()).or_default().insert(package.clone());
                    } else if is_library {
                        let index = if staged { &mut outputs.staged } else { &mut outputs.libraries };
                        index.entry(name).or_default().insert(package.clone());
                    }
                }
            }
        }
        outputs
    }

    /// All that a package needs, in turn.
    fn closure(&self, package: &PackageName) -> BTreeSet<&PackageName> {
        let mut seen = BTreeSet::new();
        let mut stack: Vec<&PackageName> = self.needs.get(package).into_iter().flatten().collect();
        while let Some(next) = stack.pop() {
            if seen.insert(next) {
                stack.extend(self.needs.get(next).into_iter().flatten());
            }
        }
        seen
    }

    /// All rules on what a package's last build left.
    pub fn lint(&self, subject: &Subject<'_>) -> Vec<Finding> {
        let Some(entry) = self.results.get(subject.name) else { return Vec::new() };
        let mut found = Vec::new();
        let deploy = entry.deploy();
        let mut asked: Vec<(String, String, bool)> = Vec::new();
        let mut dynamic = false;
        for file in elf::find(&deploy, "", |path| path.ends_with("lib/firmware")).unwrap_or_default() {
            if let Some(machine) =
                file.elf.machine.filter(|machine| strip::is_foreign(&self.target, *machine))
            {
                let message =
                    format!("`{}` is for {machine}, but TARGET is `{}`", file.path.display(), self.target);
                found.push(subject.about_output("wrong-architecture", message));
                continue;
            }
            if !matches!(file.elf.kind, Kind::Executable | Kind::SharedObject) {
                continue;
            }
            let Ok(linkage) = elf::linkage(&deploy.join(&file.path)) else { continue };
            for (word, path) in [("rpath", &linkage.rpath), ("runpath", &linkage.runpath)] {
                let outside = |part: &&str| {
                    self.is_of_the_host(part) || (!part.is_empty() && !part.starts_with(['/', '$']))
                };
                if let Some(part) = path.as_deref().unwrap_or_default().split(':').find(outside) {
                    let message = format!(
                        "`{}` has the {word} `{part}`, which is not there on the target",
                        file.path.display()
                    );
                    found.push(subject.about_output("build-rpath", message));
                }
            }
            dynamic |= !linkage.needed.is_empty();
            let shown = file.path.display().to_string();
            asked.extend(linkage.needed.into_iter().map(|name| (shown.clone(), name, true)));
        }
        for (path, text) in texts(&deploy) {
            let shown = path.display().to_string();
            if path.extension().is_some_and(|end| end == "pc") {
                asked.extend(required(&text).into_iter().map(|module| (shown.clone(), module, false)));
            }
            if let Some(what) = self.host_path(&path, &text, &deploy) {
                found.push(subject.about_output(
                    "host-path",
                    format!("`{shown}` names `{what}`, which is a path of the build machine"),
                ));
            }
        }
        self.dependencies(subject, &asked, dynamic, &mut found);
        found
    }

    fn is_of_the_host(&self, path: &str) -> bool {
        let workspace = self.workspace.to_string_lossy();
        ["/mk/", "/home/", "/tmp/", "/root/"].iter().any(|start| path.starts_with(start))
            || path.starts_with(&*workspace)
    }

    /// The first path of the build machine in a text: any at all, or in a file for compilers one that only a host has.
    fn host_path(&self, path: &Path, text: &str, deploy: &Path) -> Option<String> {
        let first = text.lines().next().unwrap_or_default();
        if let Some(program) =
            first.strip_prefix("#!").map(str::trim).filter(|program| self.is_of_the_host(program))
        {
            return Some(program.to_owned());
        }
        let name = path.file_name()?.to_string_lossy();
        let ends = [".pc", ".la", ".cmake", ".prl", ".pri", ".mk", "-config", "Config.sh"];
        if !ends.iter().any(|end| name.ends_with(end)) {
            return None;
        }
        let has_usr = deploy.join("usr").is_dir();
        text.lines().filter(|line| !line.trim_start().starts_with('#')).find_map(|line| {
            let words = line.split(|c: char| c.is_whitespace() || "\"'=;:,()".contains(c));
            words
                .map(|word| {
                    ["-I", "-L", "-isystem", "-Wl,-rpath,"]
                        .iter()
                        .find_map(|start| word.strip_prefix(start))
                        .unwrap_or(word)
                })
                .find(|word| {
                    let of_host = ["/usr/include", "/usr/lib", "/usr/local"]
                        .iter()
                        .any(|start| word.starts_with(start));
                    self.is_of_the_host(word) || (of_host && !has_usr)
                })
                .map(str::to_owned)
        })
    }

    /// Compares what outputs ask for (file, name, whether a library or a module) with `DEPENDS`.
    fn dependencies(
        &self,
        subject: &Subject<'_>,
        asked: &[(String, String, bool)],
        dynamic: bool,
        found: &mut Vec<Finding>,
    ) {
        let none = BTreeSet::new();
        let direct = self.needs.get(subject.name).unwrap_or(&none);
        let closure = self.closure(subject.name);
        let mut used: BTreeSet<&PackageName> = BTreeSet::new();
        let mut told = BTreeSet::new();
        for (file, name, library) in asked {
            let givers =
                if *library { self.libraries.get(name) } else { self.modules.get(name) }.unwrap_or(&none);
            used.extend(givers);
            let from_toolchain = self
                .staged
                .get(name)
                .is_some_and(|givers| givers.iter().any(|giver| closure.contains(giver)));
            let at_hand = givers.iter().any(|giver| direct.contains(giver) || giver == subject.name);
            // A module that no package has may be one that the tree leaves out; who lacks it will say so.
            if from_toolchain || at_hand || (givers.is_empty() && !library) || !told.insert(name) {
                continue;
            }
            let names: Vec<String> = givers.iter().map(|giver| format!("`{giver}`")).collect();
            let message = if givers.is_empty() {
                format!("`{file}` needs `{name}`, which no package of the build deploys")
            } else {
                format!("`{file}` needs `{name}` of {}, which DEPENDS does not name", names.join(" or "))
            };
            found.push(subject.finding(subject.place("DEPENDS"), "missing-dependency", message));
        }
        let said: BTreeSet<&str> =
            subject.evaluated.functions.values().flat_map(|function| words(&function.text)).collect();
        for need in direct.iter().filter(|need| dynamic && !used.contains(need)) {
            let Some(entry) = self.results.get(need) else { continue };
            let has_library = self.libraries.iter().any(|(_, givers)| givers.contains(need));
            // A program of it may be run while building, and a name in the recipe is a use.
            let mut added = walkdir::WalkDir::new(entry.toolchain()).into_iter().flatten();
            let has_program =
                entry.deploy().join("bin").is_dir() || added.any(|file| !file.file_type().is_dir());
            let stem = need.as_str().trim_start_matches("lib");
            let is_said = said.iter().any(|word| word.contains(stem));
            if has_library && !has_program && !is_said {
                let message =
                    format!("DEPENDS names `{need}`, but nothing that was deployed needs a library of it");
                found.push(subject.finding(subject.place("DEPENDS"), "unused-dependency", message));
            }
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "_+-.".contains(c))).filter(|word| !word.is_empty())
}

/// Texts of a deploy folder that are small enough to be configuration or scripts, by path.
fn texts(deploy: &Path) -> Vec<(PathBuf, String)> {
    let walk = walkdir::WalkDir::new(deploy).min_depth(1).sort_by_file_name().into_iter().flatten();
    walk.filter(|file| {
        file.file_type().is_file() && file.metadata().is_ok_and(|meta| meta.len() < 256 * 1024)
    })
    .filter_map(|file| {
        let mut start = [0; 2];
        let mut open = fs_err::File::open(file.path()).ok()?;
        let script = std::io::Read::read_exact(&mut open, &mut start).is_ok() && &start == b"#!";
        let name = file.file_name().to_string_lossy();
        let for_compilers = name.contains('.') || name.ends_with("-config");
        let header = name.ends_with(".h") || name.ends_with(".so") || name.ends_with(".a");
        if !script && (!for_compilers || header) {
            return None;
        }
        let text = fs_err::read_to_string(file.path()).ok()?;
        Some((file.path().strip_prefix(deploy).ok()?.to_owned(), text))
    })
    .collect()
}

/// Modules that a pkg-config file requires.
fn required(text: &str) -> Vec<String> {
    let lists = text
        .lines()
        .filter_map(|line| line.strip_prefix("Requires:").or_else(|| line.strip_prefix("Requires.private:")));
    let mut modules = Vec::new();
    for list in lists {
        let mut skip = false;
        for word in list.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()) {
            if word.starts_with(['<', '>', '=', '!']) {
                skip = true;
            } else if !std::mem::take(&mut skip) && !word.contains('$') {
                modules.push(word.to_owned());
            }
        }
    }
    modules
}

/// Takes out what comments silence, and adds what is wrong with these comments. `texts` are those that findings are in.
pub fn silence(findings: Vec<Finding>, texts: &[(&PackageName, &Text)]) -> Vec<Finding> {
    let mut silent: Vec<(&PackageName, String, u32, String)> = Vec::new();
    let mut kept = Vec::new();
    for (package, text) in texts {
        let comments: BTreeMap<u32, &str> =
            text.script.comments.iter().map(|(line, text)| (*line, text.as_str())).collect();
        let alone = |line: u32| {
            text.text.lines().nth(line as usize - 1).is_some_and(|line| line.trim_start().starts_with('#'))
        };
        for (&line, comment) in &comments {
            let Some(rest) = comment.strip_prefix("lint:") else { continue };
            let (rule, reason) = rest.split_once(':').unwrap_or((rest, ""));
            let (rule, reason) = (rule.trim(), reason.trim());
            let is_rule = RULES.iter().any(|(name, _)| *name == rule);
            let is_shellcheck = rule
                .strip_prefix("SC")
                .is_some_and(|number| number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit()));
            let wrong = if !is_rule && !is_shellcheck {
                let near = nearest(rule, RULES.iter().map(|(name, _)| *name));
                format!(
                    "there is no rule `{rule}`{}",
                    near.map_or(String::new(), |near| format!("; did you mean `{near}`?"))
                )
            } else if reason.is_empty() {
                format!("say why `{rule}` does not apply: `# lint: {rule}: reason`")
            } else {
                let mut target = line;
                while alone(target) {
                    target += 1;
                }
                silent.push((package, text.show(), target, rule.to_owned()));
                continue;
            };
            kept.push(Finding {
                file: text.show(),
                line,
                rule: "silence".to_owned(),
                message: wrong,
                package: (*package).clone(),
                whole: false,
            });
        }
    }
    let is_silent = |finding: &Finding| {
        silent.iter().any(|(package, file, line, rule)| {
            let here = finding.file == *file && finding.line == *line;
            finding.rule == *rule && (here || (finding.whole && **package == finding.package))
        })
    };
    kept.extend(findings.into_iter().filter(|finding| !is_silent(finding)));
    kept.sort();
    kept.dedup_by(|a, b| (&a.file, a.line, &a.rule, &a.message) == (&b.file, b.line, &b.rule, &b.message));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn numbers_of_jobs_are_the_drivers_to_say() {
        for good in [
            "make",
            "make -j \"$NUMJOBS\"",
            "make -j$NUMJOBS all",
            "make -j1",
            "make --jobs=${NUMJOBS}",
            "ls -j8",
            "ninja",
            "cmake --build . -j $NUMJOBS",
            "make -j $N",
        ] {
            assert_eq!(make_jobs(&words(good)), None, "{good}");
        }
        for bad in [
            "make -j",
            "make -j all",
            "make -j8",
            "make -j 4 all",
            "command make --jobs=16",
            "ninja -j3",
            "make -j$(nproc)",
            "cmake --build . --parallel 8",
            "V=1 make -j",
        ] {
            assert!(make_jobs(&words(bad)).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_substitution_in_a_declaration_hides_its_failure() {
        for good in ["local x", "local x=1", "x=$(y)", "local x=$((1+2))", "export X='$(y)'"] {
            assert_eq!(masked_status(&words(good)), None, "{good}");
        }
        for bad in ["local x=$(y)", "local -r x=\"$(y)\"", "export A=1 X=`y`", "declare x=a$(y)"] {
            assert!(masked_status(&words(bad)).is_some(), "{bad}");
        }
    }

    #[test]
    fn words_of_a_recipe_name_files() {
        let package = PackageName::new("foo").unwrap();
        let named = |word: &str, file: &str| names(&pattern(word), Path::new(file), &package);
        assert!(named("\"$SCRIPTDIR/pkg/foo/a.conf\"", "a.conf"));
        assert!(named("\"$SCRIPTDIR/pkg/$PKGNAME/$1\"", "a.conf"));
        assert!(named("\"$SCRIPTDIR\"/pkg/foo/files/*", "files/deep/x"));
        assert!(named("$1/a-$BOARD.conf", "a-qemu.conf"));
        assert!(named("--file=a.conf", "a.conf"));
        assert!(!named("\"$SCRIPTDIR/pkg/bar/a.conf\"", "a.conf") || named("a.conf", "a.conf"));
        assert!(!named("$1", "a.conf"));
        assert!(!named("$1/*", "a.conf"));
        assert!(!named("b.conf", "a.conf"));
        assert!(!named("\"$SCRIPTDIR/pkg/foo/b/*\"", "a.conf"));
    }

    #[test]
    fn required_modules_are_read_without_their_versions() {
        let text = "Name: x\nRequires: glib-2.0 >= 2.4, zlib\nRequires.private: libfoo=1 bar\nLibs: -lx\n";
        assert_eq!(required(text)[..2], ["glib-2.0", "zlib"]);
        assert!(required(text).contains(&"bar".to_owned()));
    }

    #[test]
    fn near_misses_are_near() {
        let known = ["DEPENDS", "URL", "TARBALL", "SHA256SUM", "VERSION", "SRCDIR"];
        for (word, expected) in [
            ("DEPEND", "DEPENDS"),
            ("TARBAL", "TARBALL"),
            ("SHA256SUMS", "SHA256SUM"),
            ("VERISON", "VERSION"),
            ("SRC_DIR", "SRCDIR"),
        ] {
            assert_eq!(near(word, &known), Some(expected));
        }
        for word in ["PROGRAMS", "RUN_CPU", "CURL", "ARGS", "SITE"] {
            assert_eq!(near(word, &known).filter(|near| *near != "URL"), None, "{word}");
        }
    }
}
