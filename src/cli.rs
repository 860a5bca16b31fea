//! The command line: what can be typed, and what follows from it. Knows every command.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::command;
use crate::config::{Format, Rooms, Settings};
use crate::error::{Error, Kind, Result, distance, nearest};
use crate::layout::Workspace;
use crate::output;
use crate::script::quote;
use crate::tokens::Tokens;

/// Builds embedded Linux systems from a tree of plain bash recipes.
///
/// `mk BOARD PRODUCT` builds the package `release-BOARD` and all that it needs, in the current folder.
#[derive(Debug, Parser)]
#[command(name = "mk", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(override_usage = "mk [OPTIONS] BOARD PRODUCT [PACKAGE]...\n       mk [OPTIONS] COMMAND ...")]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 a step of a package failed; 2 what was typed makes no sense; 3 the tree is wrong; \
4 a source could not be had; 5 the machine, the workspace or the store does not allow it; 10 something is newer; 70 a defect of mk; \
128+N ended by signal N.

Examples:
  mk qemu-x86_64 minimal        build the system image
  mk run qemu-x86_64 minimal    boot it in QEMU
  mk plan qemu-x86_64 minimal   say what would be built, and why
  mk log busybox                look into a package's logs";

const CHECK_UPDATE: &str = "\
Recipes are asked by their `check_update`. For those without one the folder at URL is listed, or GitHub's feed of releases, \
and names like TARBALL are compared. What fails is told on standard error and keeps nothing else from being told.

Exit codes: 10 something is newer; 0 nothing is; 4 every package that was asked for failed; others as of `mk`.

Examples:
  mk check-update
  mk check-update zlib busybox
  mk check-update --format json | jq -r '.packages[] | select(.status == \"newer\") | .name'";

const BUMP: &str = "\
The new archive is fetched, must be another one than the old version's, and must unpack to SRCDIR before anything is \
written; then the diff is printed. Nothing is written when anything fails; with --all and --keep-going, just not what failed.

Examples:
  mk bump zlib
  mk bump zlib 1.3.1
  mk bump --all --dry-run";

const FETCH: &str = "\
Archives are sought under URL, after the mirrors of --mirror and of the configuration file MIRRORS, whose lines hold the \
beginning of URLs and what to try in its place. Afterwards `mk --offline BOARD PRODUCT` needs no network.

Examples:
  mk fetch qemu-x86_64 minimal
  mk fetch qemu-x86_64 minimal zlib --mirror https://ftp.gnu.org/gnu/=https://mirror.example/gnu/
  mk fetch qemu-x86_64 minimal --offline    say what is not there";

const SOURCES: &str = "\
The folder holds download/ (archives), tree/ (recipes, patches, configuration), manifest.json and SHA256SUMS, and is a \
workspace and a tree to build from: `mk --offline -C DIR -t DIR/tree BOARD PRODUCT`.

Examples:
  mk sources qemu-x86_64 minimal --output sources
  cd sources && sha256sum --check SHA256SUMS";

const SBOM: &str = "\
It is made from recipes alone, so nothing has to be built, and is the same each time. It says it was created at \
SOURCE_DATE_EPOCH, or at the time that outputs of builds have. What ROOTFS names is contained in the root filesystem; all else \
is needed to build, or to make the release, such as the kernel.

Examples:
  mk sbom qemu-x86_64 minimal > sbom.spdx.json";

const PACK: &str = "\
What is missing is built first. An archive holds what the package's `rootfs_files.txt` lists. Packages for opkg have an index \
beside them, `Packages` and `Packages.gz`, so that the folder is a feed. docs/packages.md says what recipes add.

Examples:
  mk pack qemu-x86_64 minimal
  mk pack qemu-x86_64 minimal zlib dropbear --output /srv/feed
  mk pack qemu-x86_64 minimal dropbear --form spk";

const SDK: &str = "\
The package `sdk`, or what SDKPKG of TOOLCHAIN names, is built with all that it needs; its archive is copied. \
docs/sdk.md says what is in it.

Examples:
  mk sdk qemu-x86_64 minimal
  tar xf qemu-x86_64-minimal-sdk.tar.xz -C /opt && . /opt/qemu-x86_64-minimal-sdk/environment";

#[derive(Debug, Args)]
struct Options {
    /// Folder that holds pkg/, board/ and product/; found from the workspace, from here or from the program when not given
    #[arg(short, long, value_name = "DIR", env = "MK_TREE", global = true)]
    tree: Option<PathBuf>,
    /// Folder to work in: downloads, build roots and logs go there
    #[arg(short = 'C', long, value_name = "DIR", default_value = ".", global = true)]
    workspace: PathBuf,
    /// Folder of results, shared by workspaces [default: ~/.cache/mk]
    #[arg(long, value_name = "DIR", env = "MK_STORE", global = true)]
    store: Option<PathBuf>,
    /// Most compilers at once [default: the number of processors]
    #[arg(short, long, value_name = "N", env = "MK_JOBS", global = true, allow_hyphen_values = true)]
    jobs: Option<String>,
    /// Go on with what does not depend on a failure
    #[arg(short, long, global = true)]
    keep_going: bool,
    /// Fetch nothing
    #[arg(long, global = true)]
    offline: bool,
    /// Look for archives at URL first where theirs begins with PREFIX; may be given several times
    #[arg(long, value_name = "PREFIX=URL", global = true, value_parser = crate::mirrors::parse_option)]
    mirror: Vec<crate::mirrors::Mirror>,
    /// Run steps in private rooms
    #[arg(long, value_name = "WHEN", env = "MK_ROOMS", default_value = "auto", global = true)]
    rooms: Rooms,
    /// Form of reports and listings
    #[arg(long, value_name = "FORM", default_value = "human", global = true)]
    format: Format,
    /// Print errors alone
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Follow the logs, each line marked with its package
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Seconds that reading one recipe may take
    #[arg(
        long,
        value_name = "SECONDS",
        env = "MK_EVALUATION_LIMIT",
        default_value = "20",
        hide = true,
        global = true
    )]
    evaluation_limit: u64,
}

/// A board and a product.
#[derive(Debug, Args)]
pub struct Target {
    /// Folder of board/
    pub board: String,
    /// Folder of product/
    pub product: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build a board's system, or only some packages and what they need (the same as `mk BOARD PRODUCT`)
    #[command(
        after_help = "Examples:\n  mk qemu-x86_64 minimal\n  mk -j4 --keep-going qemu-x86_64 minimal busybox dropbear"
    )]
    Build {
        #[command(flatten)]
        target: Target,
        /// Build these and what they need, in place of the whole system
        packages: Vec<String>,
        /// Say what would be done, and do nothing: as `mk plan`
        #[arg(short = 'n', long, conflicts_with = "trace")]
        dry_run: bool,
        /// Write a Chrome trace of the run
        #[arg(long, value_name = "FILE")]
        trace: Option<PathBuf>,
    },
    /// Say what would be done, in build order, and why
    #[command(
        after_help = "Examples:\n  mk plan qemu-x86_64 minimal\n  mk plan qemu-x86_64 minimal zlib --format json"
    )]
    Plan {
        #[command(flatten)]
        target: Target,
        /// Plan these and what they need
        packages: Vec<String>,
    },
    /// Say why packages would be built: every changed input, old → new
    #[command(after_help = "Examples:\n  mk why qemu-x86_64 minimal\n  mk why qemu-x86_64 minimal zlib")]
    Why {
        #[command(flatten)]
        target: Target,
        /// Explain these alone
        packages: Vec<String>,
    },
    /// Show a package's logs
    #[command(
        after_help = "Examples:\n  mk log busybox\n  mk log busybox build\n  mk log --failed\n  mk log --list"
    )]
    Log(command::log::Options),
    /// Boot a built system in QEMU, with its console on the terminal
    #[command(after_help = "Examples:\n  mk run qemu-x86_64 minimal\n  mk run qemu-x86_64 minimal --test")]
    Run(command::run::Options),
    /// Open a shell in a package's room, just before `build` or after a failure
    #[command(after_help = "Examples:\n  mk shell qemu-x86_64 minimal zlib")]
    Shell(command::shell::Options),
    /// Look at, check or shrink the store of results
    #[command(after_help = "Examples:\n  mk store list\n  mk store verify\n  mk store remove zlib")]
    Store(command::store::Options),
    /// Remove from the store what no build root uses
    #[command(after_help = "Examples:\n  mk gc --dry-run\n  mk gc --older-than 30 --larger-than 20G")]
    Gc(command::gc::Options),
    /// Build again without the store and compare: are outputs reproducible?
    #[command(after_help = "Examples:\n  mk verify qemu-x86_64 minimal zlib")]
    Verify(command::verify::Options),
    /// Say whether this machine can build, what it lacks and what installs that
    #[command(
        after_help = "Examples:\n  mk doctor\n  mk doctor qemu-x86_64 minimal\n  mk doctor qemu-x86_64 minimal --format json"
    )]
    Doctor(command::doctor::Options),
    /// Write a recipe for an archive: fetch it, look inside, fill in what can be told
    #[command(
        after_help = "Examples:\n  mk new zlib https://zlib.net/fossils/zlib-1.3.1.tar.gz\n  mk new lua apt:lua5.4"
    )]
    New(command::new::Options),
    /// Write a minimal tree that builds at once
    #[command(after_help = "Examples:\n  mk init mine\n  mk init mine --board pi4 --product router")]
    Init(command::init::Options),
    /// Remove what was made in the workspace; without options, say what could be removed
    #[command(
        after_help = "Examples:\n  mk clean\n  mk clean --logs --build\n  mk clean --deploy zlib\n  mk clean --all --dry-run"
    )]
    Clean(command::clean::Options),
    /// Print what a shell needs in order to complete commands, boards, products and packages
    #[command(
        after_help = "Examples:\n  source <(mk completions bash)\n  mk completions fish > ~/.config/fish/completions/mk.fish"
    )]
    Completions(command::completions::Options),
    #[command(hide = true)]
    Complete(command::completions::Typed),
    /// Write manual pages
    #[command(after_help = "Examples:\n  mk man ~/.local/share/man/man1")]
    Man(command::man::Options),
    /// Show what variables hold, where they were set and what that overrode
    #[command(after_help = "Examples:
  mk show qemu-x86_64 minimal                         what the configuration sets
  mk show qemu-x86_64 minimal TARGET
  mk show qemu-x86_64 minimal linux_headers           a recipe's variables, functions and files
  mk show qemu-x86_64 minimal zlib URL --format plain   the bare value, for scripts")]
    Show(command::show::Options),
    /// List packages, boards or products, each with a line on what it is
    #[command(after_help = "Examples:\n  mk list packages\n  mk list boards --format json")]
    List(command::list::Options),
    /// List what a package deployed, and what of it the image has
    #[command(
        after_help = "Examples:\n  mk files zlib\n  mk files zlib --build qemu-x86_64-minimal --format json"
    )]
    Files(command::files::Options),
    /// Say which package put a file into the image
    #[command(after_help = "Examples:\n  mk owner /bin/busybox\n  mk owner /usr/lib/libz.so.1")]
    Owner(command::owner::Options),
    /// Draw what needs what: as a tree, as DOT, JSON or a picture
    #[command(after_help = "Examples:
  mk graph qemu-x86_64 minimal
  mk graph qemu-x86_64 minimal zlib --reverse      what needs zlib
  mk graph qemu-x86_64 minimal --svg --color time > graph.svg
  mk graph qemu-x86_64 minimal --dot | dot -Tpdf > graph.pdf")]
    Graph(command::graph::Options),
    /// Look for mistakes in recipes and in what they built
    #[command(
        after_help = "Exit code 1: something was found. `# lint: RULE: reason` on the line or the one above keeps a rule silent.

Examples:
  mk lint
  mk lint zlib busybox --format json
  mk lint --rules"
    )]
    Lint(command::lint::Options),
    /// Look for newer versions upstream
    #[command(after_help = CHECK_UPDATE)]
    CheckUpdate(command::check_update::Options),
    /// Move a recipe to a newer version: VERSION and SHA256SUM
    #[command(after_help = BUMP)]
    Bump(command::bump::Options),
    /// Get every archive that a product needs, ahead of time
    #[command(after_help = FETCH)]
    Fetch(command::fetch::Options),
    /// Export archives, recipes, patches and configuration of a product, as licences ask for
    #[command(after_help = SOURCES)]
    Sources(command::sources::Options),
    /// Print the bill of materials of a product as SPDX 2.3 JSON: versions, licences, archives, what needs what
    #[command(after_help = SBOM)]
    Sbom(command::sbom::Options),
    /// Make an SDK: toolchain, headers and libraries of a product, in an archive that works wherever it is unpacked
    #[command(after_help = SDK)]
    Sdk(command::sdk::Options),
    /// Make package archives for opkg (.ipk, .opk) or Synology (.spk)
    #[command(after_help = PACK)]
    Pack(command::pack::Options),
    /// Write one HTML page about the last build
    #[command(after_help = "Examples:\n  mk report\n  mk report --output build.html")]
    Report(command::report::Options),
}

/// The clap definition, for completions and documentation.
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Puts `build` in front where the first word is no command: `mk BOARD PRODUCT` is `mk build BOARD PRODUCT`. Options before
/// that word are then its own as well, but for those that ask what `mk` is. Also that word, which is taken for a board.
/// `help` before the name of a command, or alone, asks for help.
fn with_command(arguments: Vec<OsString>) -> (Vec<OsString>, Option<String>) {
    let definition = definition();
    let own = definition.find_subcommand("build").into_iter().flat_map(|build| build.get_arguments());
    let known = definition.get_arguments().chain(own);
    let with_value: Vec<&clap::Arg> = known.filter(|known| known.get_action().takes_values()).collect();
    // Whether the value is the next word: of several letters the first that takes one has the rest of the word, if there is any.
    let takes_next = |option: &str| match option.strip_prefix("--") {
        Some(long) => with_value.iter().any(|known| known.get_long() == Some(long)),
        None => {
            let takes = |letter: char| with_value.iter().any(|known| known.get_short() == Some(letter));
            option.find(takes) == option.char_indices().next_back().map(|(last, _)| last)
        }
    };
    let mut result = arguments;
    let mut board = None;
    let mut at = 1;
    while at < result.len() {
        let word = result[at].to_string_lossy().into_owned();
        if word == "help" && result.get(at + 1).is_none_or(|next| definition.find_subcommand(next).is_some())
        {
            result.remove(at);
            result.push("--help".into());
            break;
        }
        if ["-h", "--help", "-V", "--version"].contains(&&*word) {
            break;
        }
        if word != "--" && word.starts_with('-') && word.len() > 1 {
            at += if takes_next(&word) { 2 } else { 1 };
            continue;
        }
        if definition.find_subcommand(&word).is_none() {
            result.insert(1, "build".into());
            board = Some(word);
        }
        break;
    }
    (result, board)
}

/// The command whose name was perhaps meant by a word.
fn command_like(word: &str) -> Option<String> {
    let definition = definition();
    let known = definition.get_subcommands().filter(|command| !command.is_hide_set());
    let near = nearest(word, known.map(clap::Command::get_name))?;
    // Stricter than for other names: short boards are near to short commands.
    (distance(word, near) <= 1 + word.len() / 8).then(|| near.to_owned())
}

/// Parses and carries out.
pub fn run(arguments: Vec<OsString>) -> Result<()> {
    let broken_jobserver = std::env::var("MAKEFLAGS").ok().and_then(|flags| Tokens::inherited(&flags).err());
    let (arguments, board) = with_command(arguments);
    // Where the first word is a command with a slip in it, nothing else that is said of it helps.
    let meant = |error: Error| match board.as_deref().and_then(command_like) {
        Some(near) => error.hint(format!("did you mean the command `{near}`?")),
        None => error,
    };
    let parsed = definition().try_get_matches_from(&arguments);
    let parsed = parsed.and_then(|words| Ok((Cli::from_arg_matches(&words)?, words)));
    match parsed {
        Ok((cli, words)) => carry_out(cli, &words, broken_jobserver).map_err(|error| match &board {
            Some(board) if error.message.starts_with(&format!("unknown board `{board}`")) => meant(error),
            _ => error,
        }),
        Err(error) if error.kind() == ErrorKind::MissingSubcommand && board.is_none() => {
            output::data(&definition().render_help().to_string())?;
            Err(Error::new(Kind::Told(Kind::Usage.exit_code()), ""))
        }
        Err(error) => {
            command::usage(&error, definition()).map_err(|told| meant(of_variable(told, &error, &arguments)))
        }
    }
}

/// How `mk` is called again for the same tree, workspace and store: with what was typed, the environment being the same.
fn again(words: &ArgMatches) -> String {
    let mut line = "mk".to_owned();
    for (name, option) in [("tree", "-t"), ("workspace", "-C"), ("store", "--store")] {
        if let (Some(ValueSource::CommandLine), Some(path)) =
            (words.value_source(name), words.get_one::<PathBuf>(name))
        {
            line.push_str(&format!(" {option} {}", quote(&path.to_string_lossy())));
        }
    }
    line
}

/// Names the variable that a value which makes no sense comes from, where it was not typed.
fn of_variable(told: Error, error: &clap::Error, typed: &[OsString]) -> Error {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return told };
    let option = option.split(' ').next().unwrap_or_default();
    if typed.iter().any(|word| word.to_string_lossy().starts_with(option)) {
        return told;
    }
    let definition = definition();
    let long = option.strip_prefix("--");
    match definition.get_arguments().find(|known| known.get_long() == long).and_then(clap::Arg::get_env) {
        Some(name) => told.context(name.to_string_lossy()),
        None => told,
    }
}

fn carry_out(cli: Cli, words: &ArgMatches, broken_jobserver: Option<Error>) -> Result<()> {
    let Options {
        tree,
        workspace,
        store,
        jobs,
        keep_going,
        offline,
        mirror,
        rooms,
        format,
        quiet,
        verbose,
        evaluation_limit,
    } = cli.options;
    let environment: HashMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let settings = Settings {
        tree,
        workspace: Workspace::new(&workspace)?,
        store: match store {
            Some(store) => store,
            None => Settings::default_store(&environment)?,
        },
        again: again(words),
        jobs: Settings::jobs(jobs.as_deref()).map_err(|error| match words.value_source("jobs") {
            Some(ValueSource::EnvVariable) => error.context("MK_JOBS"),
            _ => error,
        })?,
        keep_going,
        offline,
        rooms,
        format,
        quiet,
        verbose,
        mirrors: mirror,
        environment,
        broken_jobserver,
        evaluation_limit: Duration::from_secs(evaluation_limit),
    };
    match cli.command {
        Command::Build { target, packages, dry_run: true, .. } | Command::Plan { target, packages } => {
            command::plan::run(&settings, &target, &packages)
        }
        Command::Build { target, packages, trace, .. } => {
            command::build::run(&settings, &target, &packages, trace.as_deref())
        }
        Command::Why { target, packages } => command::why::run(&settings, &target, &packages),
        Command::Log(options) => command::log::run(&settings, &options),
        Command::Run(options) => command::run::run(&settings, &options),
        Command::Shell(options) => command::shell::run(&settings, &options),
        Command::Store(options) => command::store::run(&settings, &options),
        Command::Gc(options) => command::gc::run(&settings, &options),
        Command::Verify(options) => command::verify::run(&settings, &options),
        Command::Doctor(options) => command::doctor::run(&settings, &options),
        Command::New(options) => command::new::run(&settings, &options),
        Command::Init(options) => command::init::run(&settings, &options),
        Command::Clean(options) => command::clean::run(&settings, &options),
        Command::Completions(options) => command::completions::run(&options),
        Command::Complete(typed) => command::completions::complete(&settings, &typed),
        Command::Man(options) => command::man::run(&settings, &options),
        Command::Show(options) => command::show::run(&settings, &options),
        Command::List(options) => command::list::run(&settings, &options),
        Command::Files(options) => command::files::run(&settings, &options),
        Command::Owner(options) => command::owner::run(&settings, &options),
        Command::Graph(options) => command::graph::run(&settings, &options),
        Command::Lint(options) => command::lint::run(&settings, &options),
        Command::CheckUpdate(options) => command::check_update::run(&settings, &options),
        Command::Bump(options) => command::bump::run(&settings, &options),
        Command::Fetch(options) => command::fetch::run(&settings, &options),
        Command::Pack(options) => command::pack::run(&settings, &options),
        Command::Sdk(options) => command::sdk::run(&settings, &options),
        Command::Sources(options) => command::sources::run(&settings, &options),
        Command::Sbom(options) => command::sbom::run(&settings, &options),
        Command::Report(options) => command::report::run(&settings, &options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn a_word_that_is_no_command_is_a_board() {
        let of = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            with_command(words)
                .0
                .iter()
                .map(|w| w.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(of("mk board product"), "mk build board product");
        assert_eq!(of("mk -j 4 -kq --tree /t board product"), "mk build -j 4 -kq --tree /t board product");
        assert_eq!(of("mk --trace t board product"), "mk build --trace t board product");
        assert_eq!(of("mk -n board product"), "mk build -n board product");
        assert_eq!(of("mk -qj 4 board product"), "mk build -qj 4 board product");
        assert_eq!(of("mk -t /t -C/project plan board product"), "mk -t /t -C/project plan board product");
        assert_eq!(of("mk -kt/C plan board"), "mk -kt/C plan board");
        assert_eq!(of("mk -qkC plan board product"), "mk build -qkC plan board product");
        assert_eq!(of("mk --tree=/t plan board product"), "mk --tree=/t plan board product");
        assert_eq!(of("mk -n -- board product"), "mk build -n -- board product");
        assert_eq!(of("mk --help"), "mk --help");
        assert_eq!(of("mk --version board"), "mk --version board");
        assert_eq!(of("mk build log minimal"), "mk build log minimal");
    }
}
