//! `mk doctor`: can this machine build? What it lacks, and the command that installs it.

use std::path::Path;

use serde::Serialize;

use crate::config::{Format, Rooms, Settings};
use crate::error::{Error, Kind, Result};
use crate::hosttools;
use crate::room::RoomServer;
use crate::store::Store;
use crate::{load, output, units};

/// What to check for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder of board/: also check for what this board's packages need
    #[arg(requires = "product")]
    board: Option<String>,
    /// Folder of product/
    product: Option<String>,
    /// Check for what these and what they need ask for, in place of the whole system
    packages: Vec<String>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// Builds work, but not as well as they could, or not all of them.
    Advice,
    /// Builds do not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    /// What was found.
    found: String,
    /// What to do about it.
    hints: Vec<String>,
}

impl Check {
    fn new(name: &'static str, state: State, found: impl Into<String>) -> Check {
        Check { name, state, found: found.into(), hints: Vec::new() }
    }

    fn hint(mut self, line: impl Into<String>) -> Check {
        self.hints.push(line.into());
        self
    }
}

/// The oldest kernel that rooms work with.
const KERNEL: (u32, u32) = (5, 12);
/// The oldest bash that recipes are read with.
const BASH: u32 = 5;
/// Programs that most recipes run and few name.
const USUAL: &[&str] = &["awk", "find", "gcc", "grep", "make", "patch", "sed", "sha256sum", "tar", "xargs"];
/// Less free space than this ends most builds early; less than the second ends some.
const SPACE: (u64, u64) = (1 << 30, 10 << 30);

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let mut checks = vec![kernel(), bash()];
    let store = settings.store();
    let mut missing = Vec::new();
    let target = options.board.as_ref().zip(options.product.as_ref());
    let readable = checks.iter().all(|check| check.state != State::Bad);
    let needed = match (&store, target) {
        (Ok(store), Some((board, product))) if readable => {
            let loaded = load::load(settings, store, board, product, &options.packages)?;
            missing = hosttools::missing(&loaded.graph.packages);
            let tools: std::collections::BTreeSet<&str> =
                loaded.graph.packages.iter().flat_map(|recipe| recipe.host_tools()).collect();
            Some(needed_tools(&missing, &tools, loaded.graph.packages.len()))
        }
        _ => None,
    };
    checks.push(match &store {
        Ok(store) => rooms(settings, store)?,
        Err(error) => bad("store", error),
    });
    checks.push(usual_tools());
    checks.extend(needed);
    let mut places = vec![("workspace", settings.workspace.root())];
    places.extend(store.as_ref().ok().map(|store| ("store", store.root())));
    checks.extend(places.into_iter().map(|(name, path)| disk(name, path)));
    tell(settings, &checks, &missing)?;
    let failed = checks.iter().filter(|check| check.state == State::Bad).count();
    if failed == 0 {
        return Ok(());
    }
    let what = target.map_or("anything".to_owned(), |(board, product)| format!("`{board} {product}`"));
    Err(Error::new(
        Kind::Host,
        format!("{failed} of {} checks say that {what} cannot be built", checks.len()),
    ))
}

fn tell(settings: &Settings, checks: &[Check], missing: &[hosttools::Missing]) -> Result<()> {
    if settings.format == Format::Json {
        let tools: Vec<&str> = missing.iter().map(|missing| missing.tool.as_str()).collect();
        let ok = checks.iter().all(|check| check.state != State::Bad);
        let install = if tools.is_empty() { Vec::new() } else { hosttools::remedies(&tools) };
        return output::json(
            &serde_json::json!({ "ok": ok, "checks": checks, "missing": missing, "install": install }),
        );
    }
    let mut text = String::new();
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            let state = match check.state {
                State::Ok => "ok",
                State::Advice => "advice",
                State::Bad => "BAD",
            };
            vec![check.name.to_owned(), state.to_owned(), check.found.clone()]
        })
        .collect();
    text.push_str(&output::table(&rows));
    for check in checks.iter().filter(|check| !check.hints.is_empty()) {
        text.push_str(&format!("\n{}:\n", check.name));
        for hint in &check.hints {
            text.push_str(&format!("  {hint}\n"));
        }
    }
    output::data(&text)
}

/// A check that could not be made.
fn bad(name: &'static str, error: &Error) -> Check {
    let check = Check::new(name, State::Bad, error.message.clone());
    error.hints.iter().fold(check, |check, hint| check.hint(hint.clone()))
}

fn kernel() -> Check {
    let release = nix::sys::utsname::uname()
        .map(|uts| uts.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let check = Check::new("kernel", State::Ok, format!("Linux {release}"));
    if version >= KERNEL {
        return check;
    }
    let hint = format!("rooms need Linux {}.{} or newer", KERNEL.0, KERNEL.1);
    Check { state: State::Advice, ..check }.hint(hint)
}

/// The bash that reads recipes, and whether it is new enough.
fn bash() -> Check {
    let Some(path) = hosttools::find("bash") else {
        let check = Check::new("bash", State::Bad, "there is none");
        return hosttools::remedies(&["bash"]).into_iter().fold(check, Check::hint);
    };
    let version = duct::cmd!(&path, "--norc", "-c", "echo $BASH_VERSION").stdin_null().stderr_null().read();
    let version = version.unwrap_or_default();
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major >= BASH {
        return Check::new("bash", State::Ok, version);
    }
    Check::new("bash", State::Bad, format!("`{}` is {version}", path.display()))
        .hint(format!("recipes are read with bash {BASH} or newer"))
}

fn rooms(settings: &Settings, store: &Store) -> Result<Check> {
    if settings.rooms == Rooms::Never {
        return Ok(Check::new("rooms", State::Advice, "switched off: one package at a time"));
    }
    // The server is forked from a process with one thread: recipes have been read.
    let server = RoomServer::start()?;
    let scratch = tempfile::tempdir_in(store.root())?;
    let Err(why) = server.probe(scratch.path()) else {
        return Ok(Check::new(
            "rooms",
            State::Ok,
            "namespaces and overlayfs work on the store's file system",
        ));
    };
    let state = if settings.rooms == Rooms::Always { State::Bad } else { State::Advice };
    let mut check = Check::new("rooms", state, why)
        .hint("without rooms packages are built one at a time, and results stay in their build root");
    for (file, refuses, change) in SWITCHES {
        let value = fs_err::read_to_string(file).unwrap_or_default();
        if value.trim() == *refuses {
            check = check.hint(format!("`{file}` is {refuses}: as root, `sysctl -w {change}`"));
        }
    }
    let known = fs_err::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known.contains("overlay") {
        check = check.hint(
            "the kernel does not have overlayfs, or its module is not loaded: as root, `modprobe overlay`",
        );
    }
    Ok(check)
}

/// Switches of the kernel by which distributions forbid user namespaces: the file, the value, the change.
const SWITCHES: &[(&str, &str, &str)] = &[
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ),
];

/// What nearly every recipe runs, whether or not it says so.
fn usual_tools() -> Check {
    let lacking: Vec<&str> = USUAL.iter().copied().filter(|tool| hosttools::find(tool).is_none()).collect();
    if lacking.is_empty() {
        return Check::new("usual tools", State::Ok, USUAL.join(", "));
    }
    let check = Check::new("usual tools", State::Advice, format!("no {}", lacking.join(", ")));
    hosttools::remedies(&lacking).into_iter().fold(check, Check::hint)
}

/// What the recipes of a product name.
fn needed_tools(
    missing: &[hosttools::Missing],
    tools: &std::collections::BTreeSet<&str>,
    packages: usize,
) -> Check {
    if missing.is_empty() {
        return Check::new(
            "needed tools",
            State::Ok,
            format!("all {} that {packages} packages name in HOSTTOOLS", tools.len()),
        );
    }
    let names: Vec<&str> = missing.iter().map(|missing| missing.tool.as_str()).collect();
    let mut check = Check::new("needed tools", State::Bad, format!("no {}", names.join(", ")));
    for missing in missing {
        check =
            check.hint(format!("`{}` is needed by {}", missing.tool, hosttools::users(&missing.packages)));
    }
    hosttools::remedies(&names).into_iter().fold(check, Check::hint)
}

fn disk(name: &'static str, path: &Path) -> Check {
    if nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_err() {
        return Check::new(name, State::Bad, format!("`{}` cannot be written to", path.display()))
            .hint("it must be writable by the user who runs `mk`");
    }
    let free = match nix::sys::statvfs::statvfs(path) {
        Ok(stat) => stat.blocks_available() * stat.fragment_size(),
        Err(error) => return Check::new(name, State::Bad, format!("`{}`: {error}", path.display())),
    };
    let found = format!("{} free at `{}`", units::size(free), path.display());
    if free >= SPACE.1 {
        return Check::new(name, State::Ok, found);
    }
    let state = if free < SPACE.0 { State::Bad } else { State::Advice };
    Check::new(name, state, found).hint("`mk gc` and `mk clean` make space")
}
