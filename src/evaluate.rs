//! Asks bash what recipes say: warm bash processes, which read plain recipes in a row and fork for each of the others.
//! The only module that reads what bash prints. Knows `layout`, `names`, `runtime`; decides nothing about packages.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::batch::{Batch, CALLS, Member, Printed};
use crate::disk::link_into;
use crate::error::{Error, Kind, Result};
use crate::evaluated::{Assignment, Evaluated, Function, Variable};
use crate::layout::{Tree, room};
use crate::names::PackageName;
use crate::plain::{Plain, is_makefile, makefile_runs_programs, runs_programs};
use crate::runtime::{self, Runtime, identifiers};
use crate::script::quote;
use memchr::memmem::Finder;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::memfd::{MFdFlags, memfd_create};
use rustc_hash::FxHashSet;

/// What every evaluation starts from.
pub struct Setting<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// The runtime library on disk.
    pub runtime: &'a Runtime,
    /// The configuration places, most specific first.
    pub places: &'a [PathBuf; 3],
    /// Shell variables known before any configuration: `BOARD`, `PRODUCT`, `NUMJOBS`, …
    pub base: &'a [(String, String)],
    /// `OS_RELEASE`, asked for when the first recipe names it, since it costs a run of git.
    pub release: &'a (dyn Fn() -> String + Sync),
    /// The caller's environment, from which a recipe gets what its text names.
    pub environment: &'a HashMap<String, String>,
    /// How long one recipe may take.
    pub limit: Duration,
    /// Most bash processes at once.
    pub workers: usize,
    /// Whether to find out where each variable was set, which is slower.
    pub history: bool,
}

/// Names that mean something to every shell; a recipe that says them does not ask for the caller's.
const NEVER_PASSED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "PWD",
    "OLDPWD",
    "LANG",
    "TZ",
    "TMPDIR",
    "IFS",
    "SHLVL",
    "_",
    "MAKEFLAGS",
    "MAKELEVEL",
    "MFLAGS",
    "HOSTNAME",
    "SOURCE_DATE_EPOCH",
    "PS1",
    "PS4",
    "LINENO",
    "RANDOM",
    "UID",
    "EUID",
    "PPID",
    "COLUMNS",
    "LINES",
    "BASH_ENV",
    "ENV",
    "SHELLOPTS",
    "BASHOPTS",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "EDITOR",
    "PAGER",
    "DISPLAY",
    "MAIL",
];

/// Whether a name is one of the caller's environment that recipes may get.
fn passes(setting: &Setting<'_>, environment: &Evaluated, name: &str) -> bool {
    !NEVER_PASSED.contains(&name)
        && !name.starts_with("LC_")
        && !name.starts_with("MK_")
        && !setting.base.iter().any(|(base, _)| base == name)
        && !environment.variables.contains_key(name)
}

/// The texts of small files in a package's folder, but for the recipe, and of those in the tree that links in it lead to:
/// what its steps may source or run.
pub fn texts_below(folder: &Path, tree: &Path) -> Vec<String> {
    let files = |folder: &Path| walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().flatten();
    let all = files(folder).filter(|entry| entry.depth() != 1 || entry.file_name() != "build");
    all.flat_map(|entry| {
        let there = if entry.path_is_symlink() { link_into(entry.path(), tree) } else { None };
        there.map_or_else(|| vec![entry], |there| files(&there).collect())
    })
    .filter(|entry| entry.file_type().is_file())
    .filter(|entry| entry.metadata().is_ok_and(|meta| meta.len() < 256 * 1024))
    .filter_map(|entry| text_of(entry.path()))
    .collect()
}

/// Whether a folder holds nothing but the recipe.
fn is_alone(folder: &Path) -> bool {
    fs_err::read_dir(folder)
        .is_ok_and(|mut all| all.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "build")))
}

/// What is in a file, in whatever encoding; `None` where there is none, or what it holds is no text.
pub fn text_of(path: &Path) -> Option<String> {
    let bytes = fs_err::read(path).ok()?;
    (!bytes.contains(&0)).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// What every recipe starts from, the same in each bash.
#[derive(Debug, Default)]
struct Start {
    /// What the TOOLCHAIN files set.
    environment: Evaluated,
    /// Variables that are not a recipe's own: bash's, those of every shell, the driver's, configuration's.
    ours: FxHashSet<String>,
    /// Variables of the caller that recipes get which name them.
    passing: FxHashSet<String>,
    /// Those of [`OF_BASH_BUT_SETTABLE`] as they are before a recipe is read.
    settable: BTreeMap<String, Variable>,
    /// GNU triplet of this machine.
    host: String,
    /// `$-` and `$BASHOPTS` of a recipe that changes neither.
    plain: String,
}

impl Start {
    /// What a recipe's top level does, if it is so plain that it needs no process of its own, and what is known of it then.
    fn plain(&self, setting: &Setting<'_>, package: &PackageName) -> Option<Member> {
        if setting.history {
            return None;
        }
        let text = fs_err::read_to_string(setting.tree.recipe(package.as_str())).ok()?;
        let plain = Plain::of(&text)?;
        let theirs = |name: &str| {
            runtime::helpers().contains_key(name) || self.environment.functions.contains_key(name)
        };
        // These differ from one recipe to the next in one process, or from run to run.
        let moves = |name: &str| BASH_VARIABLES.contains(&name) && name != "PKGNAME";
        let taken = plain.variables.iter().any(|(name, _)| self.ours.contains(name))
            || plain.reads.iter().any(|name| moves(name))
            || plain
                .functions
                .iter()
                .any(|function| theirs(&function.name) || CALLS.contains(&&*function.name));
        let asks =
            |text: &str| identifiers(text).any(|name| name == "OS_RELEASE" || self.passing.contains(name));
        if taken || asks(&text) {
            return None;
        }
        let folder = setting.tree.package(package.as_str());
        let alone = is_alone(&folder);
        if !alone && texts_below(&folder, setting.tree.root()).iter().any(|text| asks(text)) {
            return None;
        }
        let known = Evaluated { text, alone, ..Evaluated::default() };
        Some(Member { package: package.clone(), plain, known })
    }
}

/// One running bash.
struct Worker<'a> {
    setting: &'a Setting<'a>,
    child: Child,
    /// Bash's standard input. It also takes the word that an answer is whole.
    requests: UnixStream,
    /// What bash has written, in memory.
    answers: std::fs::File,
    noise: std::fs::File,
    heard: u64,
    start: Arc<Start>,
    /// Takes the bash text of a batch.
    script: InMemory,
    /// Takes a copy of a recipe that bash would not take as it is.
    copy: InMemory,
    /// Takes what bash lists for itself.
    _lists: InMemory,
}

/// A file in memory: on disk each of the many lines that bash writes would take twice as long.
struct InMemory {
    file: std::fs::File,
    /// By which any process of this user can open it, as long as this process lives.
    path: PathBuf,
}

impl InMemory {
    fn new(name: &str) -> Result<InMemory> {
        let file = memfd_create(name, MFdFlags::MFD_CLOEXEC).map_err(std::io::Error::from)?;
        let file = std::fs::File::from(file);
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into();
        Ok(InMemory { file, path })
    }

    /// Writes in place of what is in it, and says where that can be read.
    fn write(&mut self, text: &str) -> Result<&Path> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        Ok(&self.path)
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        // A recipe may have left children; they are in bash's own process group.
        let group = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// How the wait for an answer ended.
enum Waited {
    /// It is whole.
    Whole,
    /// Bash has ended.
    Ended,
    /// The time is over.
    Late,
}

/// The records of one answer: words and their values.
type Records = Vec<(String, String)>;

fn records(answer: &[u8]) -> Records {
    let mut fields = answer.split(|&byte| byte == 0).map(|field| String::from_utf8_lossy(field).into_owned());
    let mut records = Vec::new();
    while let (Some(word), Some(value)) = (fields.next(), fields.next()) {
        records.push((word, value));
    }
    records
}

/// An error if bash could not write down what it found.
fn check_written(records: &Records) -> Result<()> {
    let unwritable = records.iter().find(|(word, _)| word == "unwritable");
    let error = |file| Error::new(Kind::Host, format!("cannot write to `{file}` what recipes say"));
    let hint = "bash writes to memory of `mk` there: `/proc` has to be mounted, and some memory to be left";
    unwritable.map_or(Ok(()), |(_, file)| Err(error(file).hint(hint)))
}

impl<'a> Worker<'a> {
    /// `start`: what another bash has found that recipes start from.
    fn start(setting: &'a Setting<'a>, start: Option<Arc<Start>>) -> Result<Worker<'a>> {
        let [noise, answers, script, copy, lists] =
            ["noise", "answers", "script", "copy", "lists"].map(InMemory::new);
        let (noise, answers, lists) = (noise?.file, answers?.file, lists?);
        let (requests, theirs) = UnixStream::pair()?;
        let mut command = Command::new("bash");
        command
            .args(["--norc", "--noprofile"])
            .arg(setting.runtime.evaluate())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LC_ALL", "C")
            .env("HOME", room::HOME)
            .env("MK_LIBRARY", setting.runtime.library())
            .env("MK_EVALUATE", setting.runtime.evaluate())
            .env("MK_SCRATCH", &lists.path)
            .env("MK_HISTORY", if setting.history { "1" } else { "" })
            .stdin(OwnedFd::from(theirs))
            .stdout(answers.try_clone()?)
            .stderr(noise.try_clone()?)
            .process_group(0)
            .current_dir(setting.tree.root());
        let child = command.spawn().map_err(|error| {
            Error::new(Kind::Host, format!("cannot run `bash`: {error}")).hint("install bash 5 or newer")
        })?;
        // It holds their end of the pair as well: it must be closed here for bash's end to show.
        drop(command);
        let mut worker = Worker {
            setting,
            child,
            requests,
            answers,
            noise,
            heard: 0,
            start: Arc::default(),
            script: script?,
            copy: copy?,
            _lists: lists,
        };
        worker.set_up(start)?;
        Ok(worker)
    }

    /// Sets the base variables and reads the TOOLCHAIN files.
    fn set_up(&mut self, known: Option<Arc<Start>>) -> Result<()> {
        let mut prelude = String::new();
        for (name, value) in self.setting.base {
            prelude.push_str(&format!("{name}={}\n", quote(value)));
        }
        let places: Vec<String> =
            self.setting.places.iter().map(|place| quote(&place.to_string_lossy())).collect();
        prelude.push_str(&format!("MK_CONFIG_PLACES=({})\n", places.join(" ")));
        let path = self.script.write(&prelude)?.to_string_lossy().into_owned();
        if let Some(start) = known {
            self.ask("", &path, &["again".to_owned()])?;
            self.start = start;
            self.heard_noise()?;
            return Ok(());
        }
        let records = self.ask("", &path, &[])?;
        let value = |name| {
            records.iter().find(|(word, _)| word == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let mut settable = declarations(&value("variables"));
        settable.retain(|name, _| OF_BASH_BUT_SETTABLE.contains(&name.as_str()));
        let (host, plain) = (value("host"), value("plain"));
        self.start = Arc::new(Start { settable, host, plain, ..Start::default() });
        let environment = self.read(&records, None)?;
        let set = self.setting.base.iter().map(|(name, _)| name).chain(environment.variables.keys());
        let of_shells = BASH_VARIABLES.iter().chain(NEVER_PASSED).map(|name| (*name).to_owned());
        let ours = set.cloned().chain(of_shells).collect();
        let passes = |name: &&String| passes(self.setting, &environment, name);
        let passing = self.setting.environment.keys().filter(passes).cloned().collect();
        if let Some(start) = Arc::get_mut(&mut self.start) {
            (start.environment, start.ours, start.passing) = (environment, ours, passing);
        }
        let noise = self.heard_noise()?;
        if !noise.is_empty() {
            // Bash says so, and goes on without it.
            for toolchain in self.setting.places.iter().map(|place| place.join("TOOLCHAIN")) {
                if toolchain.exists() {
                    fs_err::File::open(toolchain)?;
                }
            }
            return Err(Error::new(Kind::Recipe, "a `TOOLCHAIN` file prints while it is read")
                .at(noise.trim_end().to_owned()));
        }
        Ok(())
    }

    /// Evaluates the bash text of a batch in this very process; `None`: there was something beside its answer.
    fn run(&mut self, script: &str) -> Result<Option<Vec<u8>>> {
        let path = self.script.write(script)?.to_string_lossy().into_owned();
        let answer = self.answer("=", &path, &[])?;
        Ok(self.heard_noise()?.is_empty().then_some(answer))
    }

    /// Evaluates one recipe.
    fn evaluate(&mut self, package: &PackageName) -> Result<Evaluated> {
        let recipe = self.setting.tree.recipe(package.as_str());
        let own = String::from_utf8_lossy(&fs_err::read(&recipe)?).into_owned();
        let mut texts = own.clone();
        if texts.as_bytes().contains(&0) {
            return Err(Error::new(
                Kind::Recipe,
                format!("`{}` is no bash script: it holds a NUL byte", self.setting.tree.show(&recipe)),
            ));
        }
        let makefile = is_makefile(&own);
        let first = own.lines().next().unwrap_or_default().trim_end();
        if !makefile && first.starts_with("#!") && first.ends_with("/make") {
            return Err(Error::new(
                Kind::Recipe,
                format!(
                    "{}:1: `{first}` lacks the `-f` of makefiles that are run",
                    self.setting.tree.show(&recipe)
                ),
            )
            .hint("a recipe that is a makefile begins with `#! /usr/bin/make -f`"));
        }
        // Bash takes the carriage return for a part of the last word: it is given a copy without.
        let readable = match without_carriage_returns(&own) {
            _ if makefile => self.setting.runtime.makefile(),
            Some(text) => self.copy.write(&text)?.to_owned(),
            None => recipe.clone(),
        };
        for text in texts_below(&self.setting.tree.package(package.as_str()), self.setting.tree.root()) {
            texts.push_str(&text);
        }
        loop {
            let passed: BTreeMap<String, String> = identifiers(&texts)
                .filter(|name| self.start.passing.contains(*name))
                .filter_map(|name| Some((name.to_owned(), self.setting.environment.get(name)?.clone())))
                .collect();
            let mut words: Vec<String> =
                passed.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let asks_release = identifiers(&texts).any(|name| name == "OS_RELEASE");
            if asks_release {
                words.push(format!("OS_RELEASE={}", (self.setting.release)()));
            }
            if makefile {
                // Make knows no variables of bash but those of the environment.
                words.extend(self.setting.base.iter().map(|(name, value)| format!("{name}={value}")));
                let set =
                    self.start.environment.variables.iter().filter(|(_, variable)| !variable.is_array());
                words.extend(set.map(|(name, variable)| format!("{name}={}", variable.value)));
                words.push(format!("MK_ASK={}", MAKEFILE_VARIABLES.join(" ")));
            }
            let records = self.ask(package.as_str(), &readable.to_string_lossy(), &words)?;
            let noise = self.heard_noise()?;
            let mut evaluated = self.read(&records, Some((&recipe, &noise)))?;
            evaluated.noise = noise;
            evaluated.makefile = makefile;
            if makefile {
                evaluated.variables.retain(|name, _| MAKEFILE_VARIABLES.contains(&name.as_str()));
            }
            // A file that the recipe sources may name more of what is given on request than the recipe itself.
            let mut more = String::new();
            for source in &evaluated.sources {
                if let Ok(text) = fs_err::read(self.setting.tree.root().join(source)) {
                    more.push_str(&String::from_utf8_lossy(&text));
                    more.push('\n');
                }
            }
            let is_given = |name: &str| match name {
                "OS_RELEASE" => asks_release,
                name => passed.contains_key(name) || !self.setting.environment.contains_key(name),
            };
            if identifiers(&more).all(is_given) || texts.contains(&more) {
                evaluated.passed = passed;
                let runs = if makefile { makefile_runs_programs } else { runs_programs };
                evaluated.opaque =
                    runs(&own) || runs(&more) || self.included_runs(&evaluated.lookups, own.clone() + &more);
                // Nothing tells whether a recipe has set it: it is set while one is read.
                let code = own.lines().chain(more.lines()).filter(|line| !line.trim_start().starts_with('#'));
                let sets_pipefail = code.filter(|line| line.contains("pipefail"));
                sets_pipefail.for_each(|line| evaluated.options.extend([line.trim(), "\n"]));
                evaluated.text = own;
                return Ok(evaluated);
            }
            texts.push_str(&more);
        }
    }

    /// Whether configuration that a recipe includes while it is read may run programs. `text`: all else that bash has read.
    fn included_runs(&self, lookups: &BTreeSet<String>, text: String) -> bool {
        let mut known = BTreeSet::new();
        let mut texts = vec![text];
        while let Some(text) = texts.pop() {
            for helper in ["include_override", "include_merge"] {
                for (at, _) in text.match_indices(helper) {
                    let rest = text[at + helper.len()..].trim_start_matches([' ', '\t', '"', '\'']);
                    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "._+-/".contains(c)));
                    let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
                    if name.is_empty() || rest.starts_with(['$', '`', '\\']) {
                        // A name that only bash knows.
                        if lookups.iter().any(|name| name != "TOOLCHAIN") {
                            return true;
                        }
                    } else if lookups.contains(name) && known.insert(name.to_owned()) {
                        let files = self.setting.places.iter().map(|place| place.join(name));
                        texts.extend(files.filter_map(|file| text_of(&file)));
                        if texts.iter().any(|text| runs_programs(text)) {
                            return true;
                        }
                    }
                }
            }
        }
        false
    }

    /// Sends one request and takes all records of its answer.
    fn ask(&mut self, package: &str, recipe: &str, words: &[String]) -> Result<Records> {
        Ok(records(&self.answer(package, recipe, words)?))
    }

    /// Sends one request and takes its answer.
    ///
    /// Bash writes each line by itself. So it writes to memory, which wakes nobody up, and says when it is done.
    fn answer(&mut self, package: &str, recipe: &str, words: &[String]) -> Result<Vec<u8>> {
        let mut request = format!("{package}\0{recipe}\0");
        for word in words {
            request.push_str(word);
            request.push('\0');
        }
        request.push('\0');
        let what = match package {
            "" => "a `TOOLCHAIN` file".to_owned(),
            "=" => "one of several recipes".to_owned(),
            package => format!("`pkg/{package}/build`"),
        };
        let deadline = Instant::now() + self.setting.limit;
        // A bash that has ended takes no request.
        let sent = self.requests.write_all(request.as_bytes()).is_ok();
        match if sent { self.wait(deadline)? } else { Waited::Ended } {
            Waited::Whole => {}
            Waited::Late => {
                let seconds = self.setting.limit.as_secs();
                return Err(Error::new(
                    Kind::Recipe,
                    format!("{what} was not read to its end within {seconds} s"),
                )
                .hint("a recipe sets variables and defines functions; work belongs into the functions"));
            }
            Waited::Ended => {
                check_written(&records(&self.answers_so_far()?))?;
                let noise = self.heard_noise()?;
                let last = noise.lines().last().unwrap_or("it ended without a word").to_owned();
                return Err(Error::new(Kind::Recipe, format!("bash ended while it read {what}")).at(last));
            }
        }
        let answer = self.answers_so_far()?;
        // Bash has the same place in it, and writes the next one from the start.
        self.answers.set_len(0)?;
        self.answers.rewind()?;
        Ok(answer)
    }

    fn answers_so_far(&mut self) -> Result<Vec<u8>> {
        let mut answer = Vec::new();
        self.answers.rewind()?;
        self.answers.read_to_end(&mut answer)?;
        Ok(answer)
    }

    /// Waits for the byte by which bash says that an answer is whole.
    fn wait(&mut self, deadline: Instant) -> Result<Waited> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left.as_millis().min(60_000)).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.requests.as_fd(), PollFlags::POLLIN)];
            match nix::poll::poll(&mut fds, timeout) {
                Ok(0) if Instant::now() >= deadline => return Ok(Waited::Late),
                Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(std::io::Error::from(error).into()),
            }
            // What a dead bash has not read of a request is told as an error.
            let is_whole = matches!(self.requests.read(&mut [0]), Ok(1));
            return Ok(if is_whole { Waited::Whole } else { Waited::Ended });
        }
    }

    /// What was printed since the last call.
    fn heard_noise(&mut self) -> Result<String> {
        let mut text = Vec::new();
        let mut file = &self.noise;
        let end = file.seek(SeekFrom::End(0))?;
        if end > self.heard {
            file.seek(SeekFrom::Start(self.heard))?;
            file.take(64 * 1024).read_to_end(&mut text)?;
            file.seek(SeekFrom::End(0))?;
            self.heard = end;
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Turns records into what a recipe says, or into the error that it made.
    fn read(&self, records: &Records, recipe: Option<(&Path, &str)>) -> Result<Evaluated> {
        check_written(records)?;
        let mut evaluated = Evaluated::default();
        let mut function: Option<(String, String, u32)> = None;
        let mut finished = false;
        let mut failed = None;
        let mut unfinished = None;
        let mut all = BTreeSet::new();
        let tree = self.setting.tree;
        for (word, value) in records {
            match word.as_str() {
                "lookup" => drop(evaluated.lookups.insert(value.clone())),
                "source" => {
                    let path = Path::new(value);
                    // As it is named, since a step names it so too; also where a link is in its way.
                    let named = tree.root().join(path);
                    let plain =
                        !path.components().any(|part| matches!(part, std::path::Component::ParentDir));
                    let path = match named.strip_prefix(tree.root()) {
                        Ok(relative) if plain => relative.to_owned(),
                        _ => {
                            let path = fs_err::canonicalize(&named).unwrap_or(named);
                            path.strip_prefix(tree.root()).map(Path::to_owned).unwrap_or(path)
                        }
                    };
                    evaluated.sources.insert(path);
                }
                "status" => finished = true,
                "failed" => failed = Some(value),
                "unfinished" => unfinished = Some(value),
                "options" => evaluated.options = value.clone(),
                "variables" => {
                    evaluated.variables = declarations(value);
                    all = evaluated.variables.keys().cloned().collect();
                    self.keep_own(&mut evaluated.variables);
                }
                "function" => {
                    let mut parts = value.splitn(3, ' ');
                    if let (Some(name), Some(line), Some(file)) = (parts.next(), parts.next(), parts.next()) {
                        let stands_in = Path::new(file) == self.setting.runtime.makefile();
                        let line = if stands_in { "1" } else { line };
                        let copied = Path::new(file) == self.copy.path || stands_in;
                        let recipe = recipe.map(|(recipe, _)| recipe).filter(|_| copied);
                        let file = tree.show(recipe.unwrap_or(Path::new(file)));
                        function = Some((name.to_owned(), file, line.parse().unwrap_or(0)));
                    }
                }
                "text" => {
                    if let Some((name, file, line)) = function.take() {
                        evaluated.functions.insert(name, Function { file, line, text: value.clone() });
                    }
                }
                _ => {}
            }
        }
        if evaluated.options == self.start.plain {
            evaluated.options.clear();
        }
        evaluated.history = history(records, tree);
        evaluated.options = replace_path(&evaluated.options, &tree.root().to_string_lossy(), room::TREE);
        if recipe.is_some() {
            let given =
                self.setting.base.iter().map(|(name, _)| name).chain(self.start.environment.variables.keys());
            for name in given.filter(|name| !all.contains(*name)) {
                evaluated.options.push_str(&format!("unset {name}\n"));
            }
            for name in self
                .start
                .environment
                .functions
                .keys()
                .filter(|name| !evaluated.functions.contains_key(*name))
            {
                evaluated.options.push_str(&format!("unset -f {name}\n"));
            }
        }
        if let (false, Some((recipe, noise))) = (finished, recipe) {
            return Err(self.broken(recipe, noise, failed, unfinished));
        }
        use_room_paths(tree, &mut evaluated);
        for (name, function) in &self.start.environment.functions {
            if evaluated.functions.get(name) == Some(function) {
                evaluated.functions.remove(name);
            }
        }
        Ok(evaluated)
    }

    /// Leaves those variables that the text itself set: not bash's own and not those that were there before.
    fn keep_own(&self, variables: &mut BTreeMap<String, Variable>) {
        let reset = |name: &str, variable: &Variable| {
            OF_BASH_BUT_SETTABLE.contains(&name) && self.start.settable.get(name) != Some(variable)
        };
        variables.retain(|name, variable| {
            reset(name, variable)
                || !(BASH_VARIABLES.contains(&name.as_str())
                    || name.starts_with("BASH_")
                    || name.starts_with("mk_")
                    || name.starts_with("MK_")
                    || self.start.environment.variables.get(name) == Some(variable)
                    || self.setting.base.iter().any(|(base, value)| {
                        base == name && *value == variable.value && variable.flags == "-"
                    }))
        });
    }

    fn broken(
        &self,
        recipe: &Path,
        noise: &str,
        failed: Option<&String>,
        unfinished: Option<&String>,
    ) -> Error {
        let shown = self.setting.tree.show(recipe);
        let show = |file: &str| {
            // What bash was given a copy of has its own name.
            let file = Path::new(file);
            if file == self.copy.path { shown.clone() } else { self.setting.tree.show(file) }
        };
        // make: `FILE:N: *** message.  Stop.`
        let stopped = noise.lines().find_map(|line| {
            let (place, message) = line.split_once(": *** ")?;
            let message = message.strip_suffix("  Stop.").unwrap_or(message).trim_end_matches('.');
            Some((self.setting.tree.show(Path::new(place)), message.to_owned()))
        });
        if let Some((place, message)) = stopped {
            let place = if place == "make" { shown.clone() } else { place };
            return Error::new(Kind::Recipe, format!("{place}: {message}"));
        }
        // bash: `FILE: line N: message`
        let said = noise.lines().find_map(|line| {
            let (file, rest) = line.split_once(": line ")?;
            let (number, message) = rest.split_once(": ")?;
            number.parse::<u32>().ok()?;
            // What a helper could not do is told of the line that called it.
            let ours = Path::new(file).starts_with(&self.setting.runtime.folder);
            let place = (!ours).then(|| format!("{}:{number}", show(file)));
            let below = format!("{}/", self.setting.tree.root().display());
            Some((place, message.strip_prefix(&below).unwrap_or(message).to_owned()))
        });
        let failed = failed.map(|failed| {
            let mut parts = failed.splitn(4, '\n').map(str::to_owned);
            let mut next = || parts.next().unwrap_or_default();
            let (status, line, file) = (next(), next(), next());
            (status, format!("{}:{line}", show(&file)), next())
        });
        match (said, failed) {
            (Some((Some(place), message)), _) | (Some((None, message)), Some((_, place, _))) => {
                return Error::new(Kind::Recipe, format!("{place}: {message}"));
            }
            (_, Some((status, place, command))) => {
                let message =
                    format!("{place}: `{command}` failed with status {status} while the recipe was read");
                return Error::new(Kind::Recipe, message);
            }
            (_, None) => {}
        }
        let status = unfinished.map_or("0", String::as_str);
        Error::new(Kind::Recipe, format!("{shown}: exits with status {status} while it is read"))
            .hint("a recipe is sourced: use `return`, and leave work to its functions")
    }
}

/// Variables that make is asked for where a recipe is a makefile; of all others only make and its targets know.
pub const MAKEFILE_VARIABLES: &[&str] = &[
    "VERSION",
    "URL",
    "TARBALL",
    "SHA256SUM",
    "SRCDIR",
    "DEPENDS",
    "DESCRIPTION",
    "LICENSE",
    "HOSTTOOLS",
    "REVISION",
    "ARCHITECTURE",
    "SECTION",
    "MAINTAINER",
    "RUNTIME_DEPENDS",
    "OPK_PACKAGES",
];

/// Variables that bash sets by itself.
pub const BASH_VARIABLES: &[&str] = &[
    "BASH",
    "BASHOPTS",
    "BASHPID",
    "COMP_WORDBREAKS",
    "DIRSTACK",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "HOSTNAME",
    "HOSTTYPE",
    "IFS",
    "LINENO",
    "MACHTYPE",
    "OLDPWD",
    "OPTERR",
    "OPTIND",
    "OSTYPE",
    "PATH",
    "PIPESTATUS",
    "PPID",
    "PS1",
    "PS2",
    "PS4",
    "PWD",
    "RANDOM",
    "SECONDS",
    "SHELL",
    "SHELLOPTS",
    "SHLVL",
    "SRANDOM",
    "TERM",
    "UID",
    "_",
    "LC_ALL",
    "HOME",
    "PKGNAME",
    "MAPFILE",
    "REPLY",
    "OS_RELEASE",
];

/// Those of [`BASH_VARIABLES`] that a recipe may set for its steps, and that do not change by themselves.
const OF_BASH_BUT_SETTABLE: &[&str] =
    &["HOSTNAME", "HOSTTYPE", "MACHTYPE", "OPTERR", "OSTYPE", "PS1", "PS2", "PS4", "SHELL", "TERM"];

/// Who set what: differences between what was before a command and before the next, and assignments that changed nothing.
fn history(records: &Records, tree: &Tree) -> Vec<Assignment> {
    let mut found = Vec::new();
    let mut before: Option<(&str, BTreeMap<String, Variable>)> = None;
    let mut at = "";
    for (word, value) in records {
        match word.as_str() {
            "at" => at = value,
            "state" => {
                let now = declarations(value);
                if let Some((place, old)) = before.replace((at, now.clone())) {
                    differences(place, &old, &now, tree, &mut found);
                }
            }
            _ => {}
        }
    }
    found
}

fn differences(
    place: &str,
    old: &BTreeMap<String, Variable>,
    now: &BTreeMap<String, Variable>,
    tree: &Tree,
    found: &mut Vec<Assignment>,
) {
    let (at, command) = place.split_once('\n').unwrap_or((place, ""));
    let (line, path) = at.split_once(' ').unwrap_or(("0", ""));
    let last = line.parse().unwrap_or(0);
    let same = assigned(command);
    let names: BTreeSet<&String> = old.keys().chain(now.keys()).collect();
    for name in names {
        let own = BASH_VARIABLES.contains(&name.as_str())
            || ["BASH_", "mk_", "MK_"].iter().any(|start| name.starts_with(start));
        if own || (old.get(name) == now.get(name) && same != Some(name)) {
            continue;
        }
        found.push(Assignment {
            name: name.clone(),
            value: now.get(name).cloned(),
            file: if path.is_empty() { String::new() } else { tree.show(Path::new(path)) },
            line: first_line(Path::new(path), last, name),
        });
    }
}

/// The variable that a command sets which is nothing but one assignment.
fn assigned(command: &str) -> Option<&str> {
    let end = command.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
    let (name, rest) = command.split_at(end);
    let value = rest.strip_prefix("+=").or_else(|| rest.strip_prefix('='))?;
    let (mut single, mut double, mut escaped) = (false, false, false);
    for c in value.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if !single => escaped = true,
            '\'' if !double => single = !single,
            '"' if !single => double = !double,
            ' ' | '\t' if !single && !double => return None,
            _ => {}
        }
    }
    (!name.is_empty()).then_some(name)
}

/// Where an assignment begins: bash tells the line on which a command ends.
fn first_line(path: &Path, last: u32, name: &str) -> u32 {
    let text =
        fs_err::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let is_set = |line: &str| {
        let mut rest = line;
        while let Some(at) = rest.find(name) {
            let free = !rest[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            rest = &rest[at + name.len()..];
            if free && (rest.starts_with('=') || rest.starts_with("+=")) {
                return true;
            }
        }
        false
    };
    let lines: Vec<&str> = text.lines().take(last as usize).collect();
    lines.iter().rposition(|line| is_set(line)).and_then(|at| u32::try_from(at + 1).ok()).unwrap_or(last)
}

/// Reads what `declare -p` printed. Unknown forms are passed over line by line.
fn declarations(text: &str) -> BTreeMap<String, Variable> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while let Some(after) = rest.strip_prefix("declare -") {
        let Some((flags, tail)) = after.split_once(' ') else { break };
        let name_end = tail.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(tail.len());
        let (name, tail) = tail.split_at(name_end);
        let (value, tail) = match tail.strip_prefix('=') {
            Some(tail) => word(tail, flags),
            None => (None, tail),
        };
        if let Some(value) = value {
            found.insert(name.to_owned(), Variable { flags: flags.to_owned(), value });
        }
        rest = tail.split_once('\n').map_or("", |(_, next)| next);
    }
    found
}

/// One value in bash's notation and what follows it. Arrays stay in their notation.
fn word<'t>(text: &'t str, flags: &str) -> (Option<String>, &'t str) {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut i = 0;
    if flags.contains(['a', 'A']) && bytes.first() == Some(&b'(') {
        // What quotation is open: `"…"`, or `$'…'` by its end.
        let mut quotation = None;
        while i < bytes.len() {
            match (quotation, bytes[i]) {
                (_, b'\\') => i += 1,
                (Some(end), byte) if byte == end => quotation = None,
                (Some(_), _) => {}
                (None, quote @ (b'"' | b'\'')) => quotation = Some(quote),
                (None, b')') => break,
                (None, _) => {}
            }
            i += 1;
        }
        let end = (i + 1).min(text.len());
        return (Some(text[..end].to_owned()), &text[end..]);
    }
    if bytes.starts_with(b"$'") {
        i = 2;
        while i < bytes.len() && bytes[i] != b'\'' {
            if bytes[i] != b'\\' {
                out.push(bytes[i]);
                i += 1;
                continue;
            }
            i += 1;
            let Some(&escape) = bytes.get(i) else { break };
            i += 1;
            match escape {
                b'n' => out.push(b'\n'),
                b't' => out.push(b'\t'),
                b'r' => out.push(b'\r'),
                b'a' => out.push(7),
                b'b' => out.push(8),
                b'v' => out.push(11),
                b'f' => out.push(12),
                b'e' | b'E' => out.push(27),
                b'0'..=b'7' => {
                    let digits =
                        bytes[i - 1..].iter().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
                    let number =
                        bytes[i - 1..i - 1 + digits].iter().fold(0_u32, |n, b| n * 8 + u32::from(b - b'0'));
                    out.push(number as u8);
                    i += digits - 1;
                }
                other => out.push(other),
            }
        }
        i += 1;
    } else if bytes.first() == Some(&b'"') {
        i = 1;
        while i < bytes.len() && bytes[i] != b'"' {
            if bytes[i] == b'\\' && bytes.get(i + 1).is_some_and(|b| b"\\\"$`".contains(b)) {
                i += 1;
            }
            out.push(bytes[i]);
            i += 1;
        }
        i += 1;
    } else {
        while i < bytes.len() && bytes[i] != b'\n' {
            out.push(bytes[i]);
            i += 1;
        }
    }
    let end = i.min(text.len());
    (Some(String::from_utf8_lossy(&out).into_owned()), text.get(end..).unwrap_or(""))
}

/// A recipe's text with plain line ends, where every line of it ends in carriage return and newline.
pub fn without_carriage_returns(text: &str) -> Option<String> {
    text.split_once('\n').filter(|(first, _)| first.ends_with('\r'))?;
    Some(text.replace("\r\n", "\n"))
}

/// All that evaluation found out.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// GNU triplet of this machine, as bash knows it.
    pub host: String,
    /// What the TOOLCHAIN files set.
    pub environment: Evaluated,
    /// Each recipe, by package.
    pub recipes: BTreeMap<PackageName, Evaluated>,
    /// Those that could not be read.
    pub failed: BTreeMap<PackageName, Error>,
    /// The first recipe whose inputs are not all known.
    pub opaque: Option<PackageName>,
}

/// Plain recipes that take as long to be read as another bash to come up.
const WORTH_ANOTHER: usize = 64;

/// Recipes that are not worth to be divided among threads.
const FEW: usize = 4;

/// Most recipes that one bash reads in a row.
const BATCH: usize = 128;

/// The bash processes that run, of which each does one thing at a time. They take a while to come up.
struct Pool<'a> {
    setting: &'a Setting<'a>,
    state: Mutex<Running<'a>>,
    freed: Condvar,
    start: OnceLock<Arc<Start>>,
}

#[derive(Default)]
struct Running<'a> {
    idle: Vec<Worker<'a>>,
    busy: usize,
}

impl<'a> Pool<'a> {
    fn lock(&self) -> MutexGuard<'_, Running<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a bash. One that fails is not used again: it may hang, or have died.
    ///
    /// With `waits` it is one of those that run already, if there is any.
    fn with<T>(&self, waits: bool, work: impl FnOnce(&mut Worker<'a>) -> Result<T>) -> Result<T> {
        let mut state = self.lock();
        while waits && state.idle.is_empty() && state.busy > 0 {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let worker = state.idle.pop();
        state.busy += 1;
        drop(state);
        let worker = worker.map_or_else(|| Worker::start(self.setting, self.start.get().cloned()), Ok);
        let done = worker.and_then(|mut worker| Ok((work(&mut worker)?, worker)));
        let mut state = self.lock();
        state.busy -= 1;
        let result = done.map(|(found, worker)| {
            self.start.get_or_init(|| worker.start.clone());
            state.idle.push(worker);
            found
        });
        self.freed.notify_all();
        result
    }

    /// What recipes start from.
    fn start(&self) -> Result<Arc<Start>> {
        self.start
            .get()
            .map_or_else(|| self.with(true, |worker| Ok(worker.start.clone())), |start| Ok(start.clone()))
    }

    /// Tells plain recipes from others.
    fn sort(&self, packages: &[PackageName]) -> Result<(Vec<Member>, Vec<PackageName>)> {
        let start = self.start()?;
        let (mut plain, mut others) = (Vec::new(), Vec::new());
        for package in packages {
            match start.plain(self.setting, package) {
                Some(member) => plain.push(member),
                None => others.push(package.clone()),
            }
        }
        Ok((plain, others))
    }

    /// Evaluates plain recipes in a row. Those that turn out not to be plain come back without what they say.
    fn evaluate_plain(
        &self,
        members: Vec<Member>,
        printed: &mut Printed,
    ) -> Vec<(PackageName, Option<Evaluated>)> {
        let mut found = Vec::new();
        if !members.is_empty() {
            let (batch, script) = Batch::new(&members, self.setting.tree, printed);
            // One of them may end bash. Each by itself says which, and why.
            let answer = self.with(members.len() < WORTH_ANOTHER, |worker| worker.run(&script));
            if let Ok(Some(answer)) = answer {
                found = batch.read(&answer, printed);
            }
        }
        let found = found.into_iter().chain(std::iter::repeat(None));
        let with_room_paths = |mut evaluated| {
            use_room_paths(self.setting.tree, &mut evaluated);
            evaluated
        };
        members
            .into_iter()
            .zip(found)
            .map(|(member, found)| (member.package, found.map(with_room_paths)))
            .collect()
    }

    /// Evaluates a recipe in a process of its own.
    fn evaluate(&self, package: &PackageName) -> Result<Evaluated> {
        self.with(false, |worker| worker.evaluate(package))
    }
}

#[derive(Default)]
struct Queue {
    /// What is known already and not yet asked for.
    given: BTreeMap<PackageName, Evaluated>,
    waiting: VecDeque<PackageName>,
    /// Those that are not plain.
    hard: VecDeque<PackageName>,
    known: BTreeSet<PackageName>,
    busy: usize,
    found: BTreeMap<PackageName, Evaluated>,
    failed: BTreeMap<PackageName, Error>,
}

impl Queue {
    /// Takes what a package is known to be, and all that is known of what it needs; what is not waits for bash.
    fn add(
        &mut self,
        names: impl IntoIterator<Item = PackageName>,
        follow: &dyn Fn(&PackageName, &Evaluated) -> Result<Vec<PackageName>>,
    ) {
        let mut names: VecDeque<PackageName> = names.into_iter().collect();
        while let Some(name) = names.pop_front() {
            if !self.known.insert(name.clone()) {
                continue;
            }
            let Some(evaluated) = self.given.remove(&name) else {
                self.waiting.push_back(name);
                continue;
            };
            match follow(&name, &evaluated) {
                Ok(needs) => {
                    names.extend(needs);
                    self.found.insert(name, evaluated);
                }
                Err(error) => drop(self.failed.insert(name, error)),
            }
        }
    }
}

/// Evaluates `roots` and, with `follow`, all that they need in turn; each recipe once, several at a time. Of what is
/// `known` nothing is asked.
///
/// `follow` says what a recipe needs; its errors (an unknown dependency) are reported with the recipe's own, by package
/// name. A recipe that cannot be read does not keep the others from being read.
pub fn evaluate(
    setting: &Setting<'_>,
    roots: &[PackageName],
    known: Option<Evaluation>,
    follow: &(dyn Fn(&PackageName, &Evaluated) -> Result<Vec<PackageName>> + Sync),
) -> Result<Evaluation> {
    let mut queue = Queue::default();
    let mut before = None;
    if let Some(known) = known {
        queue.given = known.recipes;
        before = Some((known.host, known.environment));
    }
    queue.add(roots.iter().cloned(), follow);
    let queue = Mutex::new(queue);
    let changed = Condvar::new();
    let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = Pool { setting, state: Mutex::default(), freed: Condvar::new(), start: OnceLock::new() };
    let work = || -> Result<()> {
        let mut printed = Printed::default();
        loop {
            let mut state = lock();
            // One that takes long, or several that do not.
            let (hard, packages) = loop {
                if let Some(package) = state.hard.pop_front() {
                    break (Some(package), Vec::new());
                }
                if !state.waiting.is_empty() {
                    let share = state.waiting.len().div_ceil(setting.workers.max(1)).clamp(FEW, BATCH);
                    let share = share.min(state.waiting.len());
                    break (None, state.waiting.drain(..share).collect());
                }
                if state.busy == 0 {
                    return Ok(());
                }
                state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            state.busy += 1;
            drop(state);
            let mut results: Vec<(PackageName, Result<Evaluated>)> = Vec::new();
            let mut others = Vec::new();
            if let Some(package) = hard {
                let result = pool.evaluate(&package);
                results.push((package, result));
            } else {
                match pool.sort(&packages) {
                    Ok((plain, hard)) => {
                        if !hard.is_empty() {
                            lock().hard.extend(hard);
                            changed.notify_all();
                        }
                        for (package, found) in pool.evaluate_plain(plain, &mut printed) {
                            match found {
                                Some(evaluated) => results.push((package, Ok(evaluated))),
                                None => others.push(package),
                            }
                        }
                    }
                    Err(error) => {
                        results.extend(packages.into_iter().map(|package| (package, Err(error.clone()))));
                    }
                }
            }
            let checked = |(package, result): (PackageName, Result<Evaluated>)| {
                let result = result.and_then(|evaluated| Ok((follow(&package, &evaluated)?, evaluated)));
                (package, result)
            };
            let results: Vec<_> = results.into_iter().map(checked).collect();
            let mut state = lock();
            state.busy -= 1;
            state.hard.extend(others);
            for (package, result) in results {
                match result {
                    Ok((needs, evaluated)) => {
                        state.found.insert(package, evaluated);
                        state.add(needs, follow);
                    }
                    Err(error) => drop(state.failed.insert(package, error)),
                }
            }
            changed.notify_all();
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..setting.workers.max(1)).map(|_| scope.spawn(work)).collect();
        let mut result = work();
        for thread in threads {
            let theirs = thread.join().unwrap_or_else(|_| {
                Err(Error::new(Kind::Internal, "a thread that evaluates recipes panicked"))
            });
            result = result.and(theirs);
        }
        result
    })?;
    let queue = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (host, environment) = match before {
        Some(before) => before,
        // Every bash that came up may have been lost to a recipe that cannot be read, or none comes up.
        None => pool.start().map(|start| (start.host.clone(), start.environment.clone()))?,
    };
    let opaque = queue.found.iter().find(|(_, evaluated)| evaluated.opaque).map(|(name, _)| name.clone());
    Ok(Evaluation { host, environment, recipes: queue.found, failed: queue.failed, opaque })
}

/// Puts the tree's path in a room in place of its path here, so that a value does not depend on where the tree lies.
fn use_room_paths(tree: &Tree, evaluated: &mut Evaluated) {
    let real = tree.root().to_string_lossy();
    let set = evaluated.history.iter_mut().filter_map(|assignment| assignment.value.as_mut());
    let finder = Finder::new(real.as_bytes());
    for variable in evaluated.variables.values_mut().chain(set) {
        if finder.find(variable.value.as_bytes()).is_some() {
            variable.value = replace_path(&variable.value, &real, room::TREE);
        }
    }
}

/// Puts `to` in place of the path `from`, but not of the beginning of a longer name: `/tree/x`, not `/trees`.
pub fn replace_path(text: &str, from: &str, to: &str) -> String {
    let goes_on = |rest: &str| rest.starts_with(|c: char| c.is_alphanumeric() || "._-+@".contains(c));
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(from) {
        out.push_str(before);
        out.push_str(if goes_on(after) { from } else { to });
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_replaced_and_one_that_begins_like_it_is_not() {
        let of = |text| replace_path(text, "/a/t", "/mk/tree");
        assert_eq!(of("/a/t /a/t/x -I/a/t:/a/t"), "/mk/tree /mk/tree/x -I/mk/tree:/mk/tree");
        assert_eq!(of("/a/tool file:///a/t-1/x /a/t.d"), "/a/tool file:///a/t-1/x /a/t.d");
    }

    #[test]
    fn declarations_of_every_form_are_read() {
        let text = "declare -- A=\"a \\\"b\\\" \\$c\"\ndeclare -x B=$'x\\ny\\'z\\033'\ndeclare -a C=([0]=\"1)\" [1]=\"2 3\")\ndeclare -r D\n\
                    declare -- E=\"two\nlines\"\ndeclare -i F=\"7\"\n\
                    declare -a G=([0]=$'s/(\"x)\\'/y/\\n' [1]=\"2\")\ndeclare -- H=\"8\"\n";
        let found = declarations(text);
        assert_eq!(found["A"].value, "a \"b\" $c");
        assert_eq!(found["B"], Variable { flags: "x".into(), value: "x\ny'z\u{1b}".into() });
        assert_eq!(found["C"].value, "([0]=\"1)\" [1]=\"2 3\")");
        assert!(!found.contains_key("D"));
        assert_eq!(found["E"].value, "two\nlines");
        assert_eq!(found["F"].value, "7");
        assert_eq!(found["G"].value, "([0]=$'s/(\"x)\\'/y/\\n' [1]=\"2\")");
        assert_eq!(found["H"].value, "8");
    }
}
