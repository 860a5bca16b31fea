//! One package's room: which folders it is made of, what bash is told, and what it tells back.
//! Knows layout, recipes and layers of other packages; runs nothing itself.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::disk::link_into;
use crate::error::Result;
use crate::event::Frame;
use crate::layout::room as inside;
use crate::load::{CMAKE_TOOLCHAIN_FILE, Loaded};
use crate::names::Step;
use crate::recipe::Recipe;
use crate::room::{Mount, Program};
use crate::runtime::{MAKEFILE_NAME, MAKEFILE_VARIABLES, library_for};
use crate::script::quote;
use crate::text::{replace_path, without_carriage_returns};
use crate::vocabulary::NameSet;

/// Seconds since 1970 that everything in an output claims to be from: 1 January 2020, after every archive format's epoch.
pub const EPOCH: i64 = 1_577_836_800;

/// Descriptors at which a step finds the jobserver's pipe.
pub const JOBSERVER: (i32, i32) = (97, 98);

/// Where a step finds things: fixed paths in a room, real ones without.
#[derive(Debug, Clone)]
pub struct Places {
    /// `SCRIPTDIR`.
    pub tree: PathBuf,
    /// `PKGDOWNLOADDIR`.
    pub download: PathBuf,
    /// `PKGSRCDIR`.
    pub src: PathBuf,
    /// `BUILDROOT`.
    pub build_root: PathBuf,
    /// `TCDIR`.
    pub toolchain: PathBuf,
    /// `PKGDEPLOYDIR`.
    pub deploy: PathBuf,
    /// `PKGLOGDIR`.
    pub log: PathBuf,
    /// `PKGBUILDDIR`.
    pub build: PathBuf,
    /// Configuration places, most specific first.
    pub config: [PathBuf; 3],
    /// The runtime library's folder.
    pub runtime: PathBuf,
    /// Where the helpers are that the recipe can reach.
    pub library: PathBuf,
    /// Where the prelude is.
    pub prelude: PathBuf,
    /// Where the step reports.
    pub report: PathBuf,
    /// `HOME`.
    pub home: PathBuf,
}

impl Places {
    /// Those of every room.
    pub fn in_room() -> Places {
        Places {
            tree: inside::TREE.into(),
            download: inside::DOWNLOAD.into(),
            src: inside::SRC.into(),
            build_root: inside::BUILD_ROOT.into(),
            toolchain: inside::TOOLCHAIN.into(),
            deploy: inside::DEPLOY.into(),
            log: inside::LOG.into(),
            build: inside::BUILD.into(),
            config: inside::CONFIG.map(PathBuf::from),
            runtime: inside::RUNTIME.into(),
            library: "/mk/library.sh".into(),
            prelude: "/mk/prelude.sh".into(),
            report: inside::REPORT.into(),
            home: inside::HOME.into(),
        }
    }

    /// A value that was found while paths were those of a room, with the paths that there are.
    fn here(&self, value: &str) -> String {
        if self.build_root == Path::new(inside::BUILD_ROOT) {
            return value.to_owned();
        }
        // What lies in the build root before it.
        let all = [
            (inside::TREE, &self.tree),
            (inside::DOWNLOAD, &self.download),
            (inside::SRC, &self.src),
            (inside::TOOLCHAIN, &self.toolchain),
            (inside::DEPLOY, &self.deploy),
            (inside::LOG, &self.log),
            (inside::BUILD, &self.build),
            (inside::BUILD_ROOT, &self.build_root),
        ];
        let put =
            |text: String, (room, real): (&str, &PathBuf)| replace_path(&text, room, &real.to_string_lossy());
        all.into_iter().fold(value.to_owned(), put)
    }

    /// The source folder of a recipe.
    pub fn source(&self, recipe: &Recipe) -> PathBuf {
        match recipe.source.as_ref().and_then(|source| source.folders.first()) {
            Some(folder) if folder != "." => self.src.join(folder),
            _ => self.src.clone(),
        }
    }
}

/// Text that bash reads before the recipe: every variable that the recipe may see, and the arguments of its steps.
pub fn prelude(loaded: &Loaded, recipe: &Recipe, places: &Places, reachable: &NameSet<'_>) -> String {
    let mut text = String::new();
    // Make knows no variables of bash but those of the environment.
    let export = if recipe.evaluated.makefile { "export " } else { "" };
    let mut set = |name: &str, value: &str| text.push_str(&format!("{export}{name}={}\n", quote(value)));
    for (name, value) in &loaded.variables {
        let from_configuration = loaded.environment.variables.get(name);
        if reachable.contains(name) && from_configuration.is_none() {
            set(name, value);
        }
    }
    for (name, path) in [
        ("SCRIPTDIR", &places.tree),
        ("BUILDROOT", &places.build_root),
        ("TCDIR", &places.toolchain),
        ("PKGBUILDDIR", &places.build),
        ("PKGSRCDIR", &places.src),
        ("PKGDEPLOYDIR", &places.deploy),
        ("PKGLOGDIR", &places.log),
        ("PKGDOWNLOADDIR", &places.download),
        ("MK_REPORT", &places.report),
    ] {
        set(name, &path.to_string_lossy());
    }
    set(
        "CMAKETCFILE",
        &CMAKE_TOOLCHAIN_FILE.replacen(inside::TOOLCHAIN, &places.toolchain.to_string_lossy(), 1),
    );
    set("PKGNAME", recipe.name.as_str());
    let package = places.tree.join("pkg").join(recipe.name.as_str());
    let read =
        if recipe.evaluated.makefile { places.runtime.join(MAKEFILE_NAME) } else { package.join("build") };
    set("MK_RECIPE", &read.to_string_lossy());
    if recipe.evaluated.makefile {
        set("MK_ASK", &MAKEFILE_VARIABLES.join(" "));
    }
    for (name, variable) in &loaded.environment.variables {
        if reachable.contains(name) {
            let value = places.here(&variable.value);
            let value = if variable.is_array() { value } else { quote(&value) };
            text.push_str(&format!("declare -{} {name}={value}\n", variable.flags));
            if recipe.evaluated.makefile {
                text.push_str(&format!("export {name}\n"));
            }
        }
    }
    for (name, function) in &loaded.environment.functions {
        if reachable.contains(name) {
            text.push_str(&function.text);
        }
    }
    let words = |paths: &[&Path]| {
        paths.iter().map(|path| quote(&path.to_string_lossy())).collect::<Vec<_>>().join(" ")
    };
    let config: Vec<&Path> = places.config.iter().map(PathBuf::as_path).collect();
    text.push_str(&format!("MK_CONFIG_PLACES=({})\n", words(&config)));
    let (source, deploy) = (places.source(recipe), places.deploy.join(recipe.name.as_str()));
    text.push_str(&format!(
        "if [ \"$mk_step\" = prepare ]; then MK_ARGUMENTS=({}); else MK_ARGUMENTS=({}); fi\n",
        words(&[&package]),
        words(&[&source, &deploy])
    ));
    text.push_str("mk_restore() {\n:\n");
    for name in crate::recipe::CONTRACT {
        if let Some(variable) = recipe.evaluated.variables.get(*name) {
            // Of several names that the top folder may have, a step sees the one that it is shown by.
            let first = variable.value.split_whitespace().next().unwrap_or_default();
            let value = if *name == "SRCDIR" { first } else { &variable.value };
            text.push_str(&format!("{name}={}\n", quote(&places.here(value))));
        }
    }
    text.push_str("}\n");
    text
}

/// The whole environment of a step's programs. Nothing of the caller's gets in but what the recipe's text names.
pub fn environment(recipe: &Recipe, places: &Places, jobs: usize) -> Vec<(OsString, OsString)> {
    let path = format!("{}:{}", places.toolchain.join("bin").display(), inside::PATH);
    let jobserver = format!("-j{jobs} --jobserver-auth={},{}", JOBSERVER.0, JOBSERVER.1);
    let mut variables: Vec<(OsString, OsString)> = [
        ("PATH", path.as_str()),
        ("HOME", &places.home.to_string_lossy()),
        ("LC_ALL", "C"),
        ("TZ", "UTC"),
        ("TERM", "dumb"),
        ("USER", "mk"),
        ("LOGNAME", "mk"),
        ("SHELL", "/bin/bash"),
        ("SOURCE_DATE_EPOCH", &EPOCH.to_string()),
        ("MAKEFLAGS", &jobserver),
    ]
    .into_iter()
    .map(|(name, value)| (name.into(), value.into()))
    .collect();
    variables.extend(recipe.evaluated.passed.iter().map(|(name, value)| (name.into(), value.into())));
    variables
}

/// The program that runs a step.
pub fn program(
    step: Step,
    places: &Places,
    cwd: PathBuf,
    log: PathBuf,
    env: Vec<(OsString, OsString)>,
) -> Program {
    let argv = [
        OsString::from("/bin/bash"),
        "--norc".into(),
        "--noprofile".into(),
        places.runtime.join("step.sh").into(),
        places.library.clone().into(),
        places.prelude.clone().into(),
        step.as_str().into(),
    ];
    Program { argv: argv.into(), env, cwd, log, stdout: None }
}

/// What every room of a package shows of tree, configuration and runtime, for a recipe that can reach these names.
pub fn tree_mounts(
    loaded: &Loaded,
    place: usize,
    reachable: &NameSet<'_>,
    prelude: String,
    report: &Path,
) -> Result<Vec<Mount>> {
    let recipe = &loaded.graph.packages[place];
    let bind = |from: PathBuf, to: PathBuf, writable: bool| Mount::Bind { from, to, writable };
    let tree = Path::new(inside::TREE);
    let folder = Path::new("pkg").join(recipe.name.as_str());
    let own = shown(loaded.tree.package(recipe.name.as_str()), loaded.tree.root(), report)?;
    let mut mounts = vec![bind(own, tree.join(&folder), false)];
    if let Some(text) = without_carriage_returns(&recipe.evaluated.text) {
        mounts.push(Mount::File { to: tree.join(&folder).join("build"), text });
    }
    let mut others = recipe.other_folders();
    let seen =
        |path: &PathBuf| path.starts_with(&folder) || others.iter().any(|other| path.starts_with(other));
    let sources = recipe.evaluated.sources.iter().filter(|path| path.is_relative() && !seen(path));
    let mut files: BTreeSet<PathBuf> = sources.cloned().collect();
    let visited = loaded.ingredients(true).visited(recipe).into_iter();
    files.extend(visited.filter(|path| loaded.tree.root().join(path).exists()));
    if reachable.contains("include_pkg") || reachable.contains("dependencies") {
        // Any recipe may be asked for by name; which were, the helpers report.
        others.clear();
        files.retain(|file| !file.starts_with("pkg"));
        files.insert(PathBuf::from("pkg"));
    }
    for other in &others {
        let from = shown(loaded.tree.root().join(other), loaded.tree.root(), report)?;
        mounts.push(bind(from, tree.join(other), false));
    }
    for file in files {
        mounts.push(bind(loaded.tree.root().join(&file), tree.join(&file), false));
    }
    for (from, to) in loaded.places.iter().zip(inside::CONFIG) {
        if from.is_dir() {
            mounts.push(bind(shown(from.clone(), loaded.tree.root(), report)?, to.into(), false));
        }
    }
    mounts.push(bind(loaded.runtime.folder.clone(), inside::RUNTIME.into(), false));
    let Places { library, prelude: to, .. } = Places::in_room();
    mounts.push(Mount::File { to: library, text: library_for(|name| reachable.contains(name)) });
    mounts.push(Mount::File { to, text: prelude });
    mounts.push(bind(report.to_owned(), inside::REPORT.into(), true));
    if reachable.contains("PKGLOGDIR") {
        mounts.push(Mount::Tmpfs { to: inside::LOG.into() });
    }
    Ok(mounts)
}

/// A folder as a room shows it: itself, or, when links in it lead to other parts of the tree, which a room does not
/// show, a copy beside `report` that has in their place what is there.
fn shown(folder: PathBuf, tree: &Path, report: &Path) -> Result<PathBuf> {
    let entries = walkdir::WalkDir::new(&folder).min_depth(1).into_iter().flatten();
    let links: Vec<PathBuf> = entries.filter(|e| e.path_is_symlink()).map(|e| e.path().to_owned()).collect();
    if links.is_empty() {
        return Ok(folder);
    }
    let real = fs_err::canonicalize(&folder)?;
    let leads_out = |path: &Path| link_into(path, tree).filter(|there| !there.starts_with(&real));
    if !links.iter().any(|link| leads_out(link).is_some()) {
        return Ok(folder);
    }
    let copies = report.with_file_name("shown");
    let copy = copies.join(Digest::of(folder.as_os_str().as_encoded_bytes()).to_string());
    let mut waiting = vec![(real.clone(), copy.clone(), true)];
    while let Some((from, to, follow)) = waiting.pop() {
        fs_err::create_dir_all(&to)?;
        for entry in fs_err::read_dir(&from)? {
            let entry = entry?;
            let (path, to) = (entry.path(), to.join(entry.file_name()));
            let there = leads_out(&path).filter(|_| follow);
            let follow = follow && there.is_none();
            let path = there.unwrap_or(path);
            if path.is_symlink() {
                fs_err::os::unix::fs::symlink(fs_err::read_link(&path)?, &to)?;
            } else if path.is_dir() {
                waiting.push((path, to, follow));
            } else {
                fs_err::copy(&path, &to)?;
            }
        }
    }
    Ok(copy)
}

/// What a failed step said of itself.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Confession {
    /// The command, as the recipe writes it where that is known.
    pub command: Option<String>,
    /// Call stack, innermost first, without the driver's own frames.
    pub stack: Vec<Frame>,
}

/// Reads the records that `step.sh` left of failed commands. The last one counts, or the deeper ones that led to it.
pub fn confession(report: &Path, loaded: &Loaded, places: &Places) -> Confession {
    struct Record {
        status: String,
        depth: u32,
        command: String,
        frames: Vec<(u32, String, String)>,
    }
    let text = fs_err::read(report.join("failure")).unwrap_or_default();
    let mut records: Vec<Record> = Vec::new();
    for (word, value) in pairs(&text) {
        match word.as_str() {
            "failure" => {
                let (status, depth) = value.split_once(' ').unwrap_or((&value, "0"));
                records.push(Record {
                    status: status.to_owned(),
                    depth: depth.parse().unwrap_or(0),
                    command: String::new(),
                    frames: Vec::new(),
                });
            }
            "command" => {
                if let Some(record) = records.last_mut() {
                    record.command = value;
                }
            }
            "frame" => {
                let mut parts = value.splitn(3, ' ');
                if let (Some(record), Some(line), Some(function), Some(file)) =
                    (records.last_mut(), parts.next(), parts.next(), parts.next())
                {
                    record.frames.push((line.parse().unwrap_or(0), function.to_owned(), file.to_owned()));
                }
            }
            _ => {}
        }
    }
    let Some(mut chosen) = records.pop() else { return Confession::default() };
    while records.last().is_some_and(|before| before.depth > chosen.depth && before.status == chosen.status) {
        if let Some(before) = records.pop() {
            chosen = before;
        }
    }
    let tree = places.tree.to_string_lossy().into_owned();
    let shown = |file: &str| file.strip_prefix(&tree).map(|rest| rest.trim_start_matches('/').to_owned());
    // Frames of the library and of the driver only say how the recipe's line was carried out.
    let stack: Vec<Frame> = chosen
        .frames
        .iter()
        .filter_map(|(line, function, file)| {
            Some(Frame { file: shown(file)?, line: *line, function: function.clone() })
        })
        .filter(|frame| frame.function != "main")
        .collect();
    let line = stack.first().and_then(|frame| line_of(&loaded.tree.root().join(&frame.file), frame.line));
    Confession { command: line.or(Some(chosen.command).filter(|text| !text.is_empty())), stack }
}

/// What bash's last words in a log say of the line that failed, where it ended without running a command: for an unset
/// variable, say, `FILE: line LINE: …`.
pub fn confession_of_bash(log: &Path, loaded: &Loaded, places: &Places) -> Confession {
    confession_in(log, loaded, places, |text, tree| {
        let last = text.lines().rfind(|line| !line.trim().is_empty())?;
        frame_at(last.strip_prefix(tree)?.split_once(": line ")?)
    })
}

/// What make's last words in a log say of the recipe's own line that failed: `make: *** [FILE:LINE: TARGET] Error N`.
pub fn confession_of_make(log: &Path, loaded: &Loaded, places: &Places) -> Confession {
    confession_in(log, loaded, places, |text, tree| {
        text.lines()
            .rev()
            .find_map(|line| frame_at(line.strip_prefix("make: *** [")?.strip_prefix(tree)?.split_once(':')?))
    })
}

/// A file, and what goes on with the number of a line and a colon.
fn frame_at((file, rest): (&str, &str)) -> Option<Frame> {
    let line = rest.split_once(':')?.0.parse().ok()?;
    Some(Frame { file: file.to_owned(), line, function: String::new() })
}

/// What `find` makes of a log's text, given how paths of the tree begin in it.
fn confession_in(
    log: &Path,
    loaded: &Loaded,
    places: &Places,
    find: impl Fn(&str, &str) -> Option<Frame>,
) -> Confession {
    let text = fs_err::read(log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    let frame = find(&text, &format!("{}/", places.tree.display()));
    let command = frame.as_ref().and_then(|at| line_of(&loaded.tree.root().join(&at.file), at.line));
    Confession { command, stack: frame.into_iter().collect() }
}

/// A line of a file with those that it continues on, trimmed.
fn line_of(path: &Path, number: u32) -> Option<String> {
    let text = fs_err::read_to_string(path).ok()?;
    let mut found = String::new();
    for line in text.lines().skip(usize::try_from(number).ok()?.checked_sub(1)?) {
        let line = line.trim();
        found.push_str(line.strip_suffix('\\').unwrap_or(line));
        if !line.ends_with('\\') {
            break;
        }
    }
    (!found.is_empty()).then_some(found)
}

/// The inputs that a step asked for while it ran, as manifest labels, sorted.
pub fn discovered(report: &Path, recipe: &Recipe, places: &Places) -> Result<Vec<String>> {
    let text = match fs_err::read(report.join("seen")) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = BTreeSet::new();
    for (word, value) in pairs(&text) {
        match word.as_str() {
            "lookup" if !recipe.evaluated.lookups.contains(&value) => {
                found.insert(format!("lookup {value}"));
            }
            "source" => {
                let path = Path::new(&value);
                let own = places.tree.join("pkg").join(recipe.name.as_str());
                if let Ok(relative) = path.strip_prefix(&places.tree) {
                    if !recipe.evaluated.sources.contains(relative) && !path.starts_with(&own) {
                        found.insert(format!("source {}", relative.display()));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(found.into_iter().collect())
}

/// Words and values, both ended by NUL.
fn pairs(text: &[u8]) -> Vec<(String, String)> {
    let mut fields = text.split(|&byte| byte == 0).map(|field| String::from_utf8_lossy(field).into_owned());
    let mut found = Vec::new();
    while let (Some(word), Some(value)) = (fields.next(), fields.next()) {
        found.push((word, value));
    }
    found
}
