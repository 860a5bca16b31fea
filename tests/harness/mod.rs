//! Fixture trees and the real program run on them.
//!
//! A [`Tree`] is a temporary folder with a tree, a workspace, a store, a home and a folder of archives of its own. The program
//! runs there with a clean environment, and what it says is compared as one readable [`Transcript`]: stdout as it is, stderr
//! with `! ` before each line, and the exit status where it is not 0. Times, digests and temporary paths are replaced.
//!
//! Every tree has the board `tiny` and the product `demo`, and runs one job at once unless a test says otherwise.

#![allow(dead_code, reason = "no test file uses all of it")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{SigHandler, Signal, signal};
use sha2::{Digest, Sha256};

/// The program under test.
pub const MK: &str = env!("CARGO_BIN_EXE_mk");

/// A tree, and the places in which the program runs.
pub struct Tree {
    root: tempfile::TempDir,
    environment: BTreeMap<String, OsString>,
    rooms: &'static str,
    digests: BTreeMap<String, String>,
}

impl Tree {
    /// Runs steps in rooms.
    pub fn new() -> Tree {
        Tree::with_rooms("always")
    }

    /// One tree whose steps run in rooms, and one whose steps run without: what holds for both is tested with both.
    pub fn both() -> [Tree; 2] {
        ["always", "never"].map(Tree::with_rooms)
    }

    fn with_rooms(rooms: &'static str) -> Tree {
        let root = tempfile::Builder::new().prefix("mk-test-").tempdir().unwrap();
        for folder in ["tree/pkg", "tree/board/tiny", "tree/product/demo", "workspace", "home", "archives"] {
            fs_err::create_dir_all(root.path().join(folder)).unwrap();
        }
        let mut tree = Tree { root, environment: BTreeMap::new(), rooms, digests: BTreeMap::new() };
        for (name, folder) in [("HOME", "home"), ("MK_TREE", "tree"), ("MK_STORE", "store")] {
            let place = tree.at(folder);
            tree = tree.env(name, place);
        }
        tree.env("PATH", std::env::var_os("PATH").unwrap()).env("MK_JOBS", "1").env("MK_ROOMS", rooms)
    }

    /// Whether steps run in rooms.
    pub fn has_rooms(&self) -> bool {
        self.rooms == "always"
    }

    /// Sets a variable of the program's environment.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Tree {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Takes a variable out of the program's environment.
    pub fn without_env(mut self, name: &str) -> Tree {
        self.environment.remove(name);
        self
    }

    /// Writes `pkg/<name>/build`. `ARCHIVES` in the text becomes the URL of the folder of archives, and `SHA256(NAME)` the
    /// digest of one of them.
    pub fn package(self, name: &str, recipe: &str) -> Tree {
        self.file(&format!("pkg/{name}/build"), recipe)
    }

    /// Writes any file of the tree, with its folders; the text is taken as that of [`Tree::package`].
    pub fn file(self, path: &str, text: &str) -> Tree {
        self.write(path, text);
        self
    }

    /// The same on a tree that was run already.
    pub fn write(&self, path: &str, text: &str) {
        let mut text = text.replace("ARCHIVES", &format!("file://{}", self.at("archives").display()));
        for (name, digest) in &self.digests {
            text = text.replace(&format!("SHA256({name})"), digest);
        }
        let path = self.at("tree").join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    /// Adds a board.
    pub fn board(self, name: &str) -> Tree {
        fs_err::create_dir_all(self.at("tree/board").join(name)).unwrap();
        self
    }

    /// Adds a product.
    pub fn product(self, name: &str) -> Tree {
        fs_err::create_dir_all(self.at("tree/product").join(name)).unwrap();
        self
    }

    /// Makes a gzipped tar archive of files and their texts in the folder of archives.
    pub fn archive(mut self, name: &str, files: &[(&str, &str)]) -> Tree {
        let mut tar =
            tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(if text.starts_with("#!") { 0o755 } else { 0o644 });
            header.set_mtime(1_600_000_000);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        let bytes = tar.into_inner().unwrap().finish().unwrap();
        self.digests.insert(name.to_owned(), format!("{:x}", Sha256::digest(&bytes)));
        fs_err::write(self.at("archives").join(name), bytes).unwrap();
        self
    }

    /// A path below the fixture's own folder: `tree`, `workspace`, `store`, `home`, `archives`.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// A path below the build root of `tiny` and `demo`.
    pub fn built(&self, path: &str) -> PathBuf {
        self.at("workspace/tiny-demo").join(path)
    }

    /// The program with these words, ready to be changed before it runs.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(MK);
        command
            .args(words)
            .env_clear()
            .envs(&self.environment)
            .current_dir(self.at("workspace"))
            .stdin(Stdio::null());
        // Tests that a script started with `&` would have theirs ignored.
        let heeded = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
        // SAFETY: a system call for each, and nothing else.
        unsafe {
            command.pre_exec(move || {
                heeded.iter().try_for_each(|&kind| signal(kind, SigHandler::SigDfl).map(drop))?;
                Ok(())
            });
        }
        command
    }

    /// The program as an ordinary user runs it, whom modes of files keep from things as they do not root: where the tests are
    /// run by root, as `nobody`, whose the fixture becomes.
    pub fn command_of_nobody(&self, words: &[&str]) -> Command {
        let command = self.command(words);
        if !nix::unistd::geteuid().is_root() {
            return command;
        }
        // The one under test may lie where nobody else can go.
        let copy = self.at("mk");
        // By another process: a fork of this one's, for another test, would hold it open for writing while it is executed.
        assert!(Command::new("cp").arg(MK).arg(&copy).status().unwrap().success());
        for entry in walkdir::WalkDir::new(self.root.path()) {
            std::os::unix::fs::lchown(entry.unwrap().path(), Some(65534), Some(65534)).unwrap();
        }
        let mut nobody = Command::new("setpriv");
        nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy).args(words);
        nobody.env_clear().current_dir(self.at("workspace")).stdin(Stdio::null());
        nobody.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        nobody
    }

    /// Runs the program with words that hold no spaces.
    pub fn mk(&self, line: &str) -> Transcript {
        self.mk_words(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs the program.
    pub fn mk_words(&self, words: &[&str]) -> Transcript {
        self.run(&mut self.command(words))
    }

    /// Runs a command that was changed.
    pub fn run(&self, command: &mut Command) -> Transcript {
        Transcript::of(command.output().unwrap(), self.root.path())
    }

    /// Builds packages of `tiny demo` (all, when none is named), which must succeed without a word.
    pub fn builds(&self, packages: &str) -> &Tree {
        self.mk(&format!("-q tiny demo {packages}")).is("");
        self
    }

    /// What a step wrote to its log, with every place called as rooms call it.
    pub fn log(&self, package: &str, step: &str) -> String {
        let text = fs_err::read(self.built("log").join(format!("{package}-{step}.log"))).unwrap();
        let mut text = String::from_utf8_lossy(&text).into_owned();
        for (place, room) in [
            ("workspace/tiny-demo", "/mk/root"),
            ("workspace/src", "/mk/src"),
            ("workspace/download", "/mk/download"),
            ("tree/product/demo/tiny", "/mk/config/product-board"),
            ("tree/product/demo", "/mk/config/product"),
            ("tree/board/tiny", "/mk/config/board"),
            ("tree", "/mk/tree"),
        ] {
            text = text.replace(&*self.at(place).to_string_lossy(), room);
        }
        text
    }

    /// Compares a step's log.
    #[track_caller]
    pub fn logs(&self, package: &str, step: &str, expected: &str) -> &Tree {
        let log = self.log(package, step);
        compare(&format!("log of {package} {step}, rooms {}", self.rooms), &log, &undent(expected));
        self
    }

    /// The text of a file that a package deployed.
    pub fn deployed(&self, package: &str, file: &str) -> String {
        fs_err::read_to_string(self.built("deploy").join(package).join(file)).unwrap()
    }

    /// Everything that a package deployed: a line for each file, folder or link, sorted.
    pub fn list_deployed(&self, package: &str) -> Vec<String> {
        list(&fs_err::canonicalize(self.built("deploy").join(package)).unwrap())
    }
}

/// Paths below a folder, sorted; folders end in `/`, links show where they lead.
pub fn list(folder: &Path) -> Vec<String> {
    walkdir::WalkDir::new(folder)
        .min_depth(1)
        .sort_by_file_name()
        .into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.path().strip_prefix(folder).unwrap().display().to_string();
            match entry.file_type() {
                kind if kind.is_dir() => name + "/",
                kind if kind.is_symlink() => {
                    format!("{name} -> {}", fs_err::read_link(entry.path()).unwrap().display())
                }
                _ => name,
            }
        })
        .collect()
}

/// What every file below a folder is: mode, time and content; for finding out whether anything changed.
pub fn picture(folder: &Path) -> BTreeMap<PathBuf, (u32, std::time::SystemTime, Vec<u8>)> {
    let entries = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file());
    entries
        .map(|entry| {
            let meta = entry.metadata().unwrap();
            let state =
                (meta.permissions().mode(), meta.modified().unwrap(), fs_err::read(entry.path()).unwrap());
            (entry.into_path(), state)
        })
        .collect()
}

/// What a run of the program came to.
#[derive(Debug, Clone)]
pub struct Transcript {
    /// Standard output as it was.
    pub stdout: String,
    /// Standard error as it was.
    pub stderr: String,
    /// The exit status, or 128 and the signal's number.
    pub status: i32,
    root: PathBuf,
}

impl Transcript {
    fn of(output: Output, root: &Path) -> Transcript {
        use std::os::unix::process::ExitStatusExt;
        let status = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Transcript {
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            status,
            root: root.to_owned(),
        }
    }

    /// The whole of it as one text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (mark, stream) in [("", &self.stdout), ("! ", &self.stderr)] {
            for line in stream.lines() {
                text.push_str(format!("{mark}{}", redact(line, &self.root)).trim_end());
                text.push('\n');
            }
        }
        if self.status != 0 {
            text.push_str(&format!("status {}\n", self.status));
        }
        text
    }

    /// Compares the whole of it; the expected text may be indented as a block.
    #[track_caller]
    pub fn is(&self, expected: &str) -> &Transcript {
        compare("transcript", &self.text(), &undent(expected));
        self
    }

    /// Requires a part of the transcript, where the rest is another test's.
    #[track_caller]
    pub fn has(&self, part: &str) -> &Transcript {
        let (text, part) = (self.text(), undent(part));
        assert!(text.contains(part.trim_end()), "the transcript lacks\n{part}\nIt is\n{text}");
        self
    }
}

/// Replaces what differs from run to run: temporary paths, digests, times.
fn redact(line: &str, root: &Path) -> String {
    let line = line.replace(&*root.to_string_lossy(), "");
    for start in ["time: ", "critical path "] {
        if line.starts_with(start) {
            return format!("{}…", start.trim_end());
        }
    }
    let word = |word: &str| {
        let time = |text: &str| text.strip_suffix('s').is_some_and(|n| n.parse::<f64>().is_ok());
        let hex = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let bare = word.trim_end_matches([',', ';']);
        match bare {
            _ if time(bare) => word.replace(bare, "#s"),
            _ if hex(bare) => word.replace(bare, "DIGEST"),
            _ => word.to_owned(),
        }
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Takes away a block's first empty line and the indentation that all its lines share.
fn undent(text: &str) -> String {
    let Some(text) = text.strip_prefix('\n') else { return text.to_owned() };
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let least =
        text.lines().filter(|line| !line.trim().is_empty()).map(|line| indent(&line)).min().unwrap_or(0);
    text.lines()
        .map(|line| line.get(least..).unwrap_or("").to_owned() + "\n")
        .collect::<String>()
        .trim_end()
        .to_owned()
        + if text.trim().is_empty() { "" } else { "\n" }
}

#[track_caller]
fn compare(what: &str, found: &str, expected: &str) {
    if found == expected {
        return;
    }
    let line = found.lines().zip(expected.lines()).position(|(f, e)| f != e);
    let line = line.unwrap_or_else(|| found.lines().count().min(expected.lines().count())) + 1;
    panic!("{what} differs in line {line}\n--- expected\n{expected}--- found\n{found}---");
}
