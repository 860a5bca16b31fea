//! What was typed and the environment, resolved once. Nothing below reads flags or the environment.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::layout::{Tree, Workspace};
use crate::store::Store;

/// Whether steps run in rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Rooms {
    /// Where this machine allows it.
    Auto,
    /// Or not at all.
    Always,
    /// Without rooms: one package at a time, results kept out of the shared store.
    Never,
}

/// The form of reports and listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For a person: progress on a terminal, tables.
    Human,
    /// One plain line for each thing that happens.
    Plain,
    /// For programs.
    Json,
}

/// Resolved settings of one call.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `--tree`, `MK_TREE`, or found.
    pub tree: Option<PathBuf>,
    /// The folder to work in.
    pub workspace: Workspace,
    /// `--store`, `MK_STORE`, or the user's cache folder.
    pub store: PathBuf,
    /// How `mk` is called again for the same tree, workspace and store: with the options that named these, if any did.
    pub again: String,
    /// Most steps and compilers at once.
    pub jobs: usize,
    /// Whether to go on after a failure.
    pub keep_going: bool,
    /// Whether nothing may be fetched.
    pub offline: bool,
    /// Whether steps run in rooms.
    pub rooms: Rooms,
    /// How to report.
    pub format: Format,
    /// `--mirror`: beginnings of URLs, each with what is tried in its place first.
    pub mirrors: Vec<(String, Vec<String>)>,
    /// Errors alone.
    pub quiet: bool,
    /// Follow the logs.
    pub verbose: bool,
    /// The caller's environment.
    pub environment: HashMap<String, String>,
    /// Why the jobserver that MAKEFLAGS names cannot be used. Found out before any file is opened: later the numbers
    /// in MAKEFLAGS may be those of own files.
    pub broken_jobserver: Option<Error>,
    /// How long one recipe may take to be read.
    pub evaluation_limit: Duration,
}

/// Most jobs that make sense to ask for.
const JOBS_MAX: usize = 4096;

impl Settings {
    /// Checks a number of jobs: `None` is the number of processors.
    pub fn jobs(text: Option<&str>) -> Result<usize> {
        let Some(text) = text else {
            return Ok(std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get));
        };
        match text.parse() {
            Ok(n) if (1..=JOBS_MAX).contains(&n) => Ok(n),
            _ => Err(Error::new(Kind::Usage, format!("`{}` is no number of jobs", text.escape_debug()))
                .hint(format!("-j takes a number from 1 to {JOBS_MAX}; without it every processor is used"))),
        }
    }

    /// The store's folder where none is named: `$XDG_CACHE_HOME/mk`, else `$HOME/.cache/mk`.
    pub fn default_store(environment: &HashMap<String, String>) -> Result<PathBuf> {
        let absolute =
            |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
            .map(|cache| cache.join("mk"))
            .ok_or_else(|| {
                Error::new(Kind::Usage, "no place for the store: neither HOME nor XDG_CACHE_HOME is set")
                    .hint("name a folder with --store DIR or MK_STORE")
            })
    }

    /// Finds the tree: if no option names it, from the workspace, from here, or from the program.
    pub fn tree(&self) -> Result<Tree> {
        let program = std::env::current_exe().ok();
        let mut places = vec![self.workspace.root().to_owned()];
        places.extend(std::env::current_dir().ok().filter(|here| *here != places[0]));
        Tree::find(self.tree.as_deref(), &places, program.as_deref())
    }

    /// Opens the shared store for a command that looks at what is in it, and makes none.
    pub fn existing_store(&self) -> Result<Store> {
        let nothing = match self.store.read_dir() {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        if nothing {
            let text = format!("there is no store in `{}`", self.store.display());
            return Err(Error::new(Kind::Usage, text)
                .hint("the first build makes one; --store or MK_STORE names another"));
        }
        self.store()
    }

    /// Opens the shared store.
    pub fn store(&self) -> Result<Store> {
        Store::open(&self.store)
    }
}
