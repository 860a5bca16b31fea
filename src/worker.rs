//! A running bash that says what recipes say, one request after the other. Knows `answer`, `layout`, `runtime`; decides
//! nothing about packages.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memchr::memmem::Finder;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::memfd::{MFdFlags, memfd_create};
use rustc_hash::FxHashSet;

use crate::answer::{
    BASH_VARIABLES, OF_BASH_BUT_SETTABLE, Records, check_written, declarations, history, records,
};
use crate::batch::{CALLS, Member};
use crate::error::{Error, Kind, Result};
use crate::evaluated::{Evaluated, Function, Variable};
use crate::layout::{Tree, room};
use crate::names::PackageName;
use crate::plain::{Plain, is_makefile, makefile_runs_programs, runs_programs};
use crate::runtime::{self, MAKEFILE_VARIABLES, Runtime, identifiers};
use crate::script::quote;
use crate::text::{is_alone, replace_path, text_of, texts_below, without_carriage_returns};

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

/// What every recipe starts from, the same in each bash.
#[derive(Debug, Default)]
pub struct Start {
    /// What the TOOLCHAIN files set.
    pub environment: Evaluated,
    /// Variables that are not a recipe's own: bash's, those of every shell, the driver's, configuration's.
    ours: FxHashSet<String>,
    /// Variables of the caller that recipes get which name them.
    passing: FxHashSet<String>,
    /// Those of [`OF_BASH_BUT_SETTABLE`] as they are before a recipe is read.
    settable: BTreeMap<String, Variable>,
    /// GNU triplet of this machine.
    pub host: String,
    /// `$-` and `$BASHOPTS` of a recipe that changes neither.
    plain: String,
}

impl Start {
    /// What a recipe's top level does, if it is so plain that it needs no process of its own, and what is known of it then.
    pub fn plain(&self, setting: &Setting<'_>, package: &PackageName) -> Option<Member> {
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
pub struct Worker<'a> {
    setting: &'a Setting<'a>,
    child: Child,
    /// Bash's standard input. It also takes the word that an answer is whole.
    requests: UnixStream,
    /// What bash has written, in memory.
    answers: std::fs::File,
    noise: std::fs::File,
    heard: u64,
    /// What recipes start from in it.
    pub start: Arc<Start>,
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

impl<'a> Worker<'a> {
    /// `start`: what another bash has found that recipes start from.
    pub fn start(setting: &'a Setting<'a>, start: Option<Arc<Start>>) -> Result<Worker<'a>> {
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
    pub fn run(&mut self, script: &str) -> Result<Option<Vec<u8>>> {
        let path = self.script.write(script)?.to_string_lossy().into_owned();
        let answer = self.answer("=", &path, &[])?;
        Ok(self.heard_noise()?.is_empty().then_some(answer))
    }

    /// Evaluates one recipe.
    pub fn evaluate(&mut self, package: &PackageName) -> Result<Evaluated> {
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

/// Puts the tree's path in a room in place of its path here, so that a value does not depend on where the tree lies.
pub fn use_room_paths(tree: &Tree, evaluated: &mut Evaluated) {
    let real = tree.root().to_string_lossy();
    let set = evaluated.history.iter_mut().filter_map(|assignment| assignment.value.as_mut());
    let finder = Finder::new(real.as_bytes());
    for variable in evaluated.variables.values_mut().chain(set) {
        if finder.find(variable.value.as_bytes()).is_some() {
            variable.value = replace_path(&variable.value, &real, room::TREE);
        }
    }
}
