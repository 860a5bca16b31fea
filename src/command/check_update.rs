//! `mk check-update`: asks every recipe, or upstream's folder where a recipe has no way of its own, for newer versions.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::config::{Format, Rooms, Settings};
use crate::error::{Error, Kind, Result};
use crate::layout::Tree;
use crate::load::{self, Loaded};
use crate::names::PackageName;
use crate::output;
use crate::recipe::{Recipe, does_nothing};
use crate::report::note;
use crate::room::{Cancel, Program, Room, RoomServer, Status, Stop};
use crate::step::{self, Places};
use crate::store::{Store, Temporary};
use crate::upstream::{Newer, Unknown, Upstream};
use crate::version;

/// The function of a recipe.
const FUNCTION: &str = "check_update";
/// What a program needs to know of the caller's network, beside what the recipe names.
const NETWORK: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
];

/// Which packages.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Check these alone [default: every package of the tree]
    packages: Vec<String>,
    #[command(flatten)]
    how: How,
}

/// How recipes are read and servers are asked.
#[derive(Debug, clap::Args)]
pub struct How {
    /// Read recipes for this board [default: the first one]
    #[arg(long, value_name = "BOARD")]
    pub board: Option<String>,
    /// Read recipes for this product [default: the first one that has the board]
    #[arg(long, value_name = "PRODUCT")]
    pub product: Option<String>,
    /// Longest time for one package
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub timeout: u64,
    /// How often a package is tried again that failed
    #[arg(long, value_name = "N", default_value = "1")]
    pub retries: u32,
    /// Packages that are asked for at once
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub at_once: u16,
}

/// What is known of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// There is something newer.
    Newer(Newer),
    /// There is nothing newer.
    Current,
    /// Nobody was asked: it has no source, or none that could be listed.
    Unchecked(String),
    /// Asking failed.
    Failed(String),
}

/// A package and what is known of it.
#[derive(Debug)]
pub struct Finding {
    /// The package.
    pub name: PackageName,
    /// The version that its recipe has.
    pub version: String,
    /// What was found out.
    pub news: News,
}

/// One package of the stable form of `mk check-update --format json`.
#[derive(Serialize)]
struct Item<'a> {
    name: &'a PackageName,
    version: &'a str,
    status: &'a str,
    newer: Option<&'a str>,
    found: Option<&'a str>,
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Listing<'a> {
    packages: Vec<Item<'a>>,
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let tree = settings.tree()?;
    let packages = packages(&tree, &options.packages)?;
    let (_, findings) = check(settings, tree, &packages, &options.how)?;
    let count = |test: fn(&News) -> bool| findings.iter().filter(|finding| test(&finding.news)).count();
    let newer = count(|news| matches!(news, News::Newer(_)));
    let failed = count(|news| matches!(news, News::Failed(_)));
    let current = count(|news| matches!(news, News::Current));
    if settings.format == Format::Json {
        output::json(&Listing { packages: findings.iter().map(item).collect() })?;
    } else {
        let mut rows = Vec::new();
        for Finding { name, version, news } in &findings {
            if let News::Newer(newer) = news {
                rows.push(vec![
                    name.to_string(),
                    version.clone(),
                    newer.version.clone(),
                    newer.found.clone(),
                ]);
            }
        }
        if !rows.is_empty() {
            rows.insert(0, ["package", "version", "newer", "found"].map(str::to_owned).to_vec());
        }
        output::data(&output::table(&rows))?;
    }
    tell_failures(&findings);
    if !settings.quiet {
        note(&format!(
            "{newer} newer, {current} current, {failed} failed, {} unchecked",
            findings.len() - newer - current - failed
        ));
    }
    match (newer, current, failed) {
        (0, 0, 1..) => Err(Error::new(Kind::Told(Kind::Fetch.exit_code()), "")),
        (0, ..) => Ok(()),
        _ => Err(Error::new(Kind::Newer, "")),
    }
}

fn item(finding: &Finding) -> Item<'_> {
    let item = Item {
        name: &finding.name,
        version: &finding.version,
        status: "current",
        newer: None,
        found: None,
        reason: None,
    };
    match &finding.news {
        News::Newer(newer) => {
            Item { status: "newer", newer: Some(&newer.version), found: Some(&newer.found), ..item }
        }
        News::Current => item,
        News::Unchecked(reason) => Item { status: "unchecked", reason: Some(reason), ..item },
        News::Failed(reason) => Item { status: "failed", reason: Some(reason), ..item },
    }
}

/// Says on standard error what could not be found out.
pub fn tell_failures(findings: &[Finding]) {
    for Finding { name, news, .. } in findings {
        if let News::Failed(reason) = news {
            note(&format!("{name}: cannot be checked: {reason}"));
        }
    }
}

/// Why there is nothing newer than what is nowhere.
pub const NO_SOURCE: &str = "it has no source";

/// Checks names from the command line; without any, all packages of the tree.
pub fn packages(tree: &Tree, only: &[String]) -> Result<Vec<PackageName>> {
    let mut found = Vec::new();
    for name in only {
        let name = PackageName::new(name)?;
        if !load::is_package(tree, name.as_str())? {
            return Err(load::unknown_package(tree, name.as_str()));
        }
        found.push(name);
    }
    if only.is_empty() {
        found = load::packages(tree);
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The board and the product that recipes are read for: those that were asked for, else the first that go together.
pub fn target(tree: &Tree, how: &How) -> Result<(String, String)> {
    if how.board.is_none() && how.product.is_none() {
        return load::first_target(tree);
    }
    let all = |asked: &Option<String>, dir: PathBuf| {
        asked.clone().map_or_else(|| load::folders(&dir), |name| vec![name])
    };
    let boards = all(&how.board, tree.boards());
    let mut first = None;
    for product in all(&how.product, tree.products()) {
        for board in &boards {
            match load::check_board_and_product(tree, board, &product) {
                Ok(()) => return Ok((board.clone(), product)),
                Err(error) => first = first.or(Some(error)),
            }
        }
    }
    Err(first.unwrap_or_else(|| Error::new(Kind::Recipe, "the tree has no board or no product")))
}

/// Asks for all of `packages`, and says what came of each, in their order.
pub fn check(
    settings: &Settings,
    tree: Tree,
    packages: &[PackageName],
    how: &How,
) -> Result<(Loaded, Vec<Finding>)> {
    if settings.offline {
        return Err(Error::new(Kind::Usage, "newer versions cannot be looked for with `--offline`"));
    }
    let store = settings.store()?;
    let (board, product) = target(&tree, how)?;
    let (loaded, unread) = load::read_each(settings, &store, tree, (&board, &product), packages, false)?;
    let asker = Asker::new(settings, &store, &loaded, how)?;
    let recipe = |name: &PackageName| loaded.graph.find(name.as_str());
    let findings = in_parallel(packages, how.at_once.into(), |name| {
        let (version, news) = match (recipe(name), unread.get(name)) {
            (Some(place), _) => (loaded.graph.packages[place].version().to_owned(), asker.ask(place)),
            (None, Some(error)) => (String::new(), News::Failed(sentence(error))),
            (None, None) => (String::new(), News::Failed("its recipe was not read".to_owned())),
        };
        Finding { name: name.clone(), version, news }
    });
    drop(asker);
    Ok((loaded, findings))
}

/// An error on one line.
fn sentence(error: &Error) -> String {
    std::iter::once(error.message.clone()).chain(error.at.iter().cloned()).collect::<Vec<_>>().join(": ")
}

/// Does `work` for every item, some at once; results are in the items' order.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], at_once: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(items.len()) {
            scope.spawn(|| {
                while let Some((place, item)) = {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    items.get(place).map(|item| (place, item))
                } {
                    let result = work(item);
                    results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((place, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

/// What asks.
struct Asker<'a> {
    settings: &'a Settings,
    loaded: &'a Loaded,
    upstream: Upstream,
    /// Runs recipes' functions; none where no recipe has one.
    rooms: Option<RoomServer>,
    in_rooms: bool,
    temporary: Temporary,
    cancel: Cancel,
    limit: Duration,
    tries: u32,
}

impl<'a> Asker<'a> {
    fn new(settings: &'a Settings, store: &Store, loaded: &'a Loaded, how: &How) -> Result<Asker<'a>> {
        let temporary = store.temporary()?;
        let asks = |recipe: &Recipe| recipe.functions().contains_key(FUNCTION);
        let mut in_rooms = settings.rooms != Rooms::Never;
        let mut rooms = None;
        if loaded.graph.packages.iter().any(asks) {
            let server = RoomServer::start()?;
            if in_rooms {
                if let Err(why) = server.probe(&temporary.folder("probe")?) {
                    if settings.rooms == Rooms::Always {
                        return Err(Error::new(Kind::Host, format!("this machine refuses rooms: {why}"))
                            .hint("`--rooms never` asks without them"));
                    }
                    note(&format!("no rooms: {why}; recipes ask without them"));
                    in_rooms = false;
                }
            }
            rooms = Some(server);
        }
        Ok(Asker {
            settings,
            loaded,
            upstream: Upstream::default(),
            rooms,
            in_rooms,
            temporary,
            cancel: Cancel::new()?,
            limit: Duration::from_secs(how.timeout),
            tries: how.retries.saturating_add(1),
        })
    }

    /// What is known of a package.
    fn ask(&self, place: usize) -> News {
        let recipe = &self.loaded.graph.packages[place];
        let mut news = News::Failed(String::new());
        for _ in 0..self.tries {
            let own = recipe.functions().get(FUNCTION);
            news = match (own, &recipe.source, &self.rooms) {
                (Some(own), ..) if does_nothing(&own.text) => {
                    News::Unchecked(format!("its {FUNCTION} does nothing"))
                }
                (Some(_), _, Some(rooms)) => {
                    self.run(rooms, place).unwrap_or_else(|error| News::Failed(sentence(&error)))
                }
                (_, Some(source), _) => {
                    match self.upstream.newer(recipe.version(), &source.file, &source.urls, self.limit) {
                        Ok(Some(newer)) => News::Newer(newer),
                        Ok(None) => News::Current,
                        Err(Unknown::Unlisted(reason)) => News::Unchecked(reason),
                        Err(Unknown::Failed(reason)) => News::Failed(reason),
                    }
                }
                (_, None, _) => News::Unchecked(NO_SOURCE.to_owned()),
            };
            if !matches!(news, News::Failed(_)) {
                break;
            }
        }
        news
    }

    /// Runs a recipe's own `check_update`.
    fn run(&self, rooms: &RoomServer, place: usize) -> Result<News> {
        let recipe = &self.loaded.graph.packages[place];
        let work = self.temporary.folder("check")?;
        for part in ["report", "home"] {
            fs_err::create_dir(work.join(part))?;
        }
        let (log, answer) = (work.join("log"), work.join("answer"));
        let reachable = self.loaded.ingredients(self.in_rooms).reachable(recipe);
        let places = if self.in_rooms { Places::in_room() } else { self.places(&work) };
        let prelude = step::prelude(self.loaded, recipe, &places, &reachable);
        let mut mounts = Vec::new();
        if self.in_rooms {
            mounts = step::tree_mounts(self.loaded, place, &reachable, prelude, &work.join("report"))?;
        } else {
            fs_err::write(&places.prelude, prelude)?;
        }
        let argv = ["/bin/bash", "--norc", "--noprofile"].map(OsString::from).into_iter().chain([
            places.runtime.join("check_update.sh").into(),
            places.library.clone().into(),
            places.prelude.clone().into(),
        ]);
        let mut env = step::environment(recipe, &places, 1);
        // There is no jobserver at the descriptors that it names.
        env.retain(|(name, _)| name != "MAKEFLAGS");
        for name in NETWORK {
            env.extend(
                self.settings.environment.get(*name).map(|value| (OsString::from(name), value.into())),
            );
        }
        let cwd = if self.in_rooms { "/tmp".into() } else { places.home.clone() };
        let program =
            Program { argv: argv.collect(), env, cwd, log: log.clone(), stdout: Some(answer.clone()) };
        let room =
            Room { mounts, programs: vec![program], network: true, terminal: false, limit: Some(self.limit) };
        let ran = if self.in_rooms {
            rooms.run(&room, &[], &self.cancel)?
        } else {
            rooms.run_bare(&room, &[], &self.cancel)?
        };
        let read =
            |path: PathBuf| String::from_utf8_lossy(&fs_err::read(path).unwrap_or_default()).into_owned();
        let said = read(log);
        let last = said
            .lines()
            .map(str::trim)
            .rfind(|line| !line.is_empty())
            .map(|line| format!(": {line}"))
            .unwrap_or_default();
        let failed = |why: String| Ok(News::Failed(format!("check_update: {why}{last}")));
        if ran.stop == Some(Stop::Limit) {
            return failed(format!("no answer within {} s", self.limit.as_secs()));
        }
        let answer = read(answer);
        if !answer.trim().is_empty() {
            return Ok(heard(&answer, recipe.version()));
        }
        if let Some((program, status)) =
            read(work.join("report").join("failed")).lines().next().and_then(|line| line.split_once(' '))
        {
            return failed(match status {
                "127" => format!("this machine has no `{program}`"),
                _ => format!("`{program}` ended with status {status}"),
            });
        }
        match ran.exits.last().map(|exit| exit.status) {
            // A search that finds nothing, or whose reader has seen enough.
            Some(Status::Code(0 | 1 | 141)) => Ok(News::Current),
            Some(Status::Code(code)) => failed(format!("it ended with status {code}")),
            Some(Status::Signal(signal)) => failed(format!("it was ended by signal {signal}")),
            None => failed("it was not run".to_owned()),
        }
    }

    /// Where a recipe finds things without a room: the tree, and for the rest folders that are thrown away.
    fn places(&self, work: &std::path::Path) -> Places {
        Places {
            tree: self.loaded.tree.root().to_owned(),
            download: self.settings.workspace.download(),
            src: work.join("src"),
            build_root: work.to_owned(),
            toolchain: work.join("toolchain"),
            deploy: work.join("deploy"),
            log: work.join("home"),
            build: work.join("build"),
            config: self.loaded.places.clone(),
            runtime: self.loaded.runtime.folder.clone(),
            library: self.loaded.runtime.library(),
            prelude: work.join("prelude.sh"),
            report: work.join("report"),
            home: work.join("home"),
        }
    }
}

/// What a recipe's answer says: the newer version, or several lines with one each.
fn heard(answer: &str, current: &str) -> News {
    let lines: Vec<&str> = answer.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let plain = |line: &&str| {
        line.len() <= 80 && line.chars().all(|c| c.is_ascii_graphic() && !"<>\"'`\\;&|".contains(c))
    };
    if let Some(odd) = lines.iter().find(|line| !plain(line)) {
        let start: String = odd.chars().take(60).collect();
        return News::Failed(format!(
            "check_update: it printed what is no version: `{}`",
            start.escape_debug()
        ));
    }
    match lines.into_iter().reduce(|a, b| if version::compare(b, a).is_gt() { b } else { a }) {
        Some(newest) if version::compare(newest, current).is_gt() => {
            News::Newer(Newer { version: newest.to_owned(), found: FUNCTION.to_owned() })
        }
        _ => News::Current,
    }
}
