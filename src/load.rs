//! Reads a board and a product of a tree: checks the names, evaluates what is needed, orders it.
//! The one place where tree, configuration, evaluation and graph meet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::SystemTime;

use memchr::memmem::Finder;

use crate::config::Settings;
use crate::error::{Error, Kind, READABLE, Result, nearest};
use crate::evaluate;
use crate::evaluated::Evaluated;
use crate::filedigest::FileDigests;
use crate::graph::Graph;
use crate::key::{self, Ingredients};
use crate::layout::{BuildRoot, Tree, room};
use crate::memory::Memory;
use crate::names::{self, PackageName};
use crate::plain::runs_programs;
use crate::plan::Found;
use crate::recipe::Recipe;
use crate::runtime::Runtime;
use crate::store::Store;
use crate::text::text_of;
use crate::vocabulary::Vocabulary;
use crate::worker::Setting;

/// A board and a product, read.
#[derive(Debug)]
pub struct Loaded {
    /// The tree.
    pub tree: Tree,
    /// The board's name.
    pub board: String,
    /// The product's name.
    pub product: String,
    /// How `mk` is called again; see [`Settings`].
    pub again: String,
    /// Where it is built.
    pub build_root: BuildRoot,
    /// Configuration places, most specific first.
    pub places: [PathBuf; 3],
    /// The names that each of them holds, and what finds each in a text.
    pub listed: [Vec<(String, Finder<'static>)>; 3],
    /// Variables that recipes may see, as text.
    pub variables: BTreeMap<String, String>,
    /// What the TOOLCHAIN files set, with arrays and functions.
    pub environment: Evaluated,
    /// The names that something is known of.
    pub vocabulary: Vocabulary,
    /// The runtime library on disk.
    pub runtime: Runtime,
    /// Packages in build order.
    pub graph: Graph,
    /// This machine.
    pub platform: String,
    /// Digests of files.
    pub digests: FileDigests,
    /// A recipe that runs programs while it is read, so that nobody knows on what its values depend.
    pub opaque: Option<PackageName>,
    /// Before anything was read.
    pub began: SystemTime,
    /// Results of packages that nothing which changed matters to.
    pub standing: BTreeMap<PackageName, Found>,
}

impl Loaded {
    /// Everything that keys are made from.
    pub fn ingredients(&self, rooms: bool) -> Ingredients<'_> {
        Ingredients {
            tree: &self.tree,
            places: &self.places,
            listed: &self.listed,
            variables: &self.variables,
            environment: &self.environment,
            runtime: self.runtime.digest,
            platform: &self.platform,
            rooms,
            digests: &self.digests,
            vocabulary: &self.vocabulary,
        }
    }

    /// `BOARD-PRODUCT`.
    pub fn name(&self) -> String {
        format!("{}-{}", self.board, self.product)
    }

    /// The place of a package that was named on the command line.
    pub fn place(&self, name: &str) -> Result<usize> {
        self.graph.find(name).ok_or_else(|| {
            let error = Error::new(
                Kind::Usage,
                format!("`{name}` is no package of `{} {}`", self.board, self.product),
            );
            match nearest(name, self.graph.packages.iter().map(|recipe| recipe.name.as_str())) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => {
                    error.hint(format!("`{} plan {} {}` lists them", self.again, self.board, self.product))
                }
            }
        })
    }
}

/// Names in `dir`, and what finds each in a text.
fn listed(dir: &std::path::Path) -> Vec<(String, Finder<'static>)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.map(|name| (name.clone(), Finder::new(&name).into_owned())).collect()
}

/// Packages of the root filesystem: what the `ROOTFS` files name.
pub fn root_filesystem(tree: &Tree, board: &str, product: &str) -> BTreeSet<String> {
    let places = tree.config_places(board, product).into_iter();
    let texts = places.map(|place| fs_err::read(place.join("ROOTFS")).unwrap_or_default());
    texts
        .flat_map(|text| {
            let text = String::from_utf8_lossy(&text).into_owned();
            text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

/// Names of the folders in `dir`, sorted.
pub fn folders(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// Whether the tree has a package of that name. An error where that, or its recipe, cannot be seen.
pub fn is_package(tree: &Tree, name: &str) -> Result<bool> {
    match std::fs::metadata(tree.recipe(name)) {
        Ok(meta) => Ok(meta.is_file()),
        Err(error) => unreadable(&format!("pkg/{name}"), &error).map_or(Ok(false), Err),
    }
}

/// An error for something that is there but must not be read.
fn unreadable(what: &str, error: &std::io::Error) -> Option<Error> {
    let text = format!("cannot read `{what}`: {error}");
    (error.kind() == std::io::ErrorKind::PermissionDenied)
        .then(|| Error::new(Kind::Host, text).hint(READABLE))
}

/// Packages of the tree: folders of `pkg/` that hold a recipe, or cannot be looked into, which is told when they are read.
pub fn packages(tree: &Tree) -> Vec<PackageName> {
    folders(&tree.packages())
        .iter()
        .filter_map(|name| PackageName::new(name).ok())
        .filter(|name| is_package(tree, name.as_str()).unwrap_or(true))
        .collect()
}

/// An error for a name that is no package of the tree.
pub fn unknown_package(tree: &Tree, name: &str) -> Error {
    if tree.package(name).is_dir() {
        let text = format!("unknown package `{name}`: `pkg/{name}` has no file `build`");
        return Error::new(Kind::Usage, text).hint("a package's recipe is the file `build` in its folder");
    }
    let known: Vec<String> = packages(tree).iter().map(ToString::to_string).collect();
    unknown("package", name, &format!("pkg/{name}/build"), &known)
}

/// An error for a name that is not among those there are: looked-for path, list, nearest.
pub fn unknown(what: &str, name: &str, looked: &str, known: &[String]) -> Error {
    let error = Error::new(Kind::Usage, format!("unknown {what} `{name}`: there is no `{looked}`"));
    let error = if known.is_empty() {
        error.at(format!("the tree has no {what}"))
    } else if known.len() > 40 {
        error
    } else {
        error.at(format!("there are: {}", known.join(", ")))
    };
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error,
    }
}

/// Checks that the tree has board and product and that they go together.
pub fn check_board_and_product(tree: &Tree, board: &str, product: &str) -> Result<()> {
    names::check("board", board)?;
    names::check("product", product)?;
    // Nobody need have named the tree: it may be another one than was thought.
    let of_tree = |error: Error| error.at(format!("tree: {}", tree.root().display()));
    if !tree.boards().join(board).is_dir() {
        let known = folders(&tree.boards());
        return Err(of_tree(unknown("board", board, &format!("board/{board}"), &known)));
    }
    if !tree.products().join(product).is_dir() {
        let known = folders(&tree.products());
        return Err(of_tree(unknown("product", product, &format!("product/{product}"), &known)));
    }
    let list = tree.products().join(product).join("BOARDS");
    if let Ok(text) = fs_err::read_to_string(&list) {
        let boards: Vec<String> = text
            .lines()
            .map(|line| line.trim_end_matches('\r').to_owned())
            .filter(|l| !l.is_empty())
            .collect();
        if !boards.iter().any(|name| name == board) {
            let error =
                Error::new(Kind::Usage, format!("product `{product}` does not support board `{board}`"))
                    .at(format!("product/{product}/BOARDS lists: {}", boards.join(", ")));
            return Err(match nearest(board, boards.iter().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => {
                    error.hint(format!("a line `{board}` in `product/{product}/BOARDS` says that it does"))
                }
            });
        }
    }
    Ok(())
}

/// `git describe` of the tree, or a fixed word where it is no checkout.
pub fn release(tree: &Tree) -> String {
    if !tree.root().join(".git").exists() {
        return "unversioned".to_owned();
    }
    duct::cmd!("git", "-C", tree.root(), "describe", "--always", "--tags", "--dirty")
        .stdin_null()
        .stderr_null()
        .read()
        .unwrap_or_else(|_| "unversioned".to_owned())
}

/// Reads `board` and `product`. With `only` empty the goal is `release-<board>`, else the packages named there.
pub fn load(
    settings: &Settings,
    store: &Store,
    board: &str,
    product: &str,
    only: &[String],
) -> Result<Loaded> {
    load_but(settings, store, board, product, only, None)
}

/// The same, but for what is known already.
pub fn load_but(
    settings: &Settings,
    store: &Store,
    board: &str,
    product: &str,
    only: &[String],
    memory: Option<Memory>,
) -> Result<Loaded> {
    let tree = settings.tree()?;
    check_board_and_product(&tree, board, product)?;
    let mut goals = Vec::new();
    for name in only {
        let name = PackageName::new(name)?;
        if !is_package(&tree, name.as_str())? {
            return Err(unknown_package(&tree, name.as_str()));
        }
        goals.push(name);
    }
    if goals.is_empty() {
        let goal = PackageName::new(&format!("release-{board}"))?;
        if !is_package(&tree, goal.as_str())? {
            return Err(Error::new(
                Kind::Recipe,
                format!("board `{board}` has no package `{goal}`: there is no `pkg/{goal}/build`"),
            )
            .hint("the package `release-<board>` needs everything that the image is made of"));
        }
        goals.push(goal);
    }
    let how = How { follow: true, history: false, memory };
    all_or_nothing(read_how(settings, store, tree, (board, product), &goals, how)?)
}

/// Evaluates `goals` and, with `follow`, all that they need.
pub fn read(
    settings: &Settings,
    store: &Store,
    tree: Tree,
    board: &str,
    product: &str,
    goals: &[PackageName],
    follow: bool,
) -> Result<Loaded> {
    let how = How { follow, history: false, memory: None };
    all_or_nothing(read_how(settings, store, tree, (board, product), goals, how)?)
}

fn all_or_nothing((loaded, failed): (Loaded, BTreeMap<PackageName, Error>)) -> Result<Loaded> {
    failed.into_values().next().map_or(Ok(loaded), Err)
}

/// Evaluates recipes, each for itself; with `history` also finds out where each variable was set. Those that cannot be
/// read are told apart.
pub fn read_each(
    settings: &Settings,
    store: &Store,
    tree: Tree,
    target: (&str, &str),
    goals: &[PackageName],
    history: bool,
) -> Result<(Loaded, BTreeMap<PackageName, Error>)> {
    read_how(settings, store, tree, target, goals, How { follow: false, history, memory: None })
}

/// A variable of a board's and product's configuration.
pub fn variable(
    settings: &Settings,
    store: &Store,
    board: &str,
    product: &str,
    name: &str,
) -> Result<String> {
    let tree = settings.tree()?;
    check_board_and_product(&tree, board, product)?;
    // Some recipe has to be read for bash to come up and read the configuration.
    let is_package = |name: &String| tree.recipe(name).is_file();
    let some = folders(&tree.packages()).into_iter().find(is_package);
    let goals: Vec<PackageName> = some.iter().filter_map(|name| PackageName::new(name).ok()).collect();
    let (loaded, _) = read_each(settings, store, tree, (board, product), &goals, false)?;
    Ok(loaded.variables.get(name).map_or("", String::as_str).trim().to_owned())
}

/// The first board of the first product that goes with one: what commands use that take no board and product but must
/// read recipes.
pub fn first_target(tree: &Tree) -> Result<(String, String)> {
    let boards = folders(&tree.boards());
    folders(&tree.products())
        .into_iter()
        .find_map(|product| {
            let board = boards.iter().find(|board| check_board_and_product(tree, board, &product).is_ok())?;
            Some((board.clone(), product))
        })
        .ok_or_else(|| {
            Error::new(
                Kind::Recipe,
                format!("the tree `{}` has no product with a board", tree.root().display()),
            )
            .hint("recipes are read for a board and a product: `board/<board>/` and `product/<product>/`")
        })
}

/// Shell variables that the driver sets before any configuration is read.
pub fn base(tree: &Tree, board: &str, product: &str) -> Vec<(String, String)> {
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![
        text("BOARD", board),
        text("PRODUCT", product),
        text("OS_NAME", "Pygos"),
        // What a recipe computes from it while it is read must not make its key depend on it.
        text("NUMJOBS", "1"),
        text("SCRIPTDIR", &tree.root().to_string_lossy()),
        text("BUILDROOT", room::BUILD_ROOT),
        text("TCDIR", room::TOOLCHAIN),
        text("PKGBUILDDIR", room::BUILD),
        text("PKGSRCDIR", room::SRC),
        text("PKGDEPLOYDIR", room::DEPLOY),
        text("PKGLOGDIR", room::LOG),
        text("PKGDOWNLOADDIR", room::DOWNLOAD),
        text("CMAKETCFILE", CMAKE_TOOLCHAIN_FILE),
        text("LINUXPKG", "linux"),
        text("SDKPKG", "sdk"),
    ]
}

/// How recipes are read.
struct How {
    /// Whether what they need is read too.
    follow: bool,
    /// Whether to find out where each variable was set.
    history: bool,
    /// What need not be read.
    memory: Option<Memory>,
}

fn read_how(
    settings: &Settings,
    store: &Store,
    tree: Tree,
    (board, product): (&str, &str),
    goals: &[PackageName],
    How { follow, history, memory }: How,
) -> Result<(Loaded, BTreeMap<PackageName, Error>)> {
    let began = memory.as_ref().map_or_else(SystemTime::now, |memory| memory.began);
    let digests = FileDigests::load(&store.digests());
    let mut known = None;
    let mut standing = BTreeMap::new();
    let os_release = std::sync::OnceLock::new();
    if let Some(memory) = memory {
        log::debug!("as in the last run: {} packages", memory.standing.len());
        digests.take_over(memory.seen);
        if let Some(release) = memory.release {
            let _ = os_release.set(release);
        }
        known = Some(memory.evaluation);
        standing = memory.standing;
    }
    let runtime = Runtime::install(&store.runtime())?;
    let places = tree.config_places(board, product);
    for place in &places {
        // Or it would be taken for one that holds nothing.
        let denied = std::fs::read_dir(place).err().and_then(|error| unreadable(&tree.show(place), &error));
        denied.map_or(Ok(()), Err)?;
    }
    let base = base(&tree, board, product);
    let setting = Setting {
        tree: &tree,
        runtime: &runtime,
        places: &places,
        base: &base,
        release: &|| os_release.get_or_init(|| release(&tree)).clone(),
        environment: &settings.environment,
        limit: settings.evaluation_limit,
        workers: settings.jobs.min(8),
        history,
    };
    // Those that were looked for, and whether they are there: most are needed by several.
    let there: Mutex<HashMap<PackageName, bool>> =
        Mutex::new(standing.keys().map(|name: &PackageName| (name.clone(), true)).collect());
    let is_known = |name: &PackageName| -> Result<bool> {
        let mut there = there.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = there.get(name) {
            return Ok(*known);
        }
        let known = is_package(&tree, name.as_str())?;
        there.insert(name.clone(), known);
        Ok(known)
    };
    let needs = |name: &PackageName, evaluated: &Evaluated| -> Result<Vec<PackageName>> {
        let depends = Recipe::check(name, evaluated)?.1;
        for need in &depends {
            // One that is not read itself needs only be there.
            if !is_known(need).or_else(|error| if follow { Err(error) } else { Ok(true) })? {
                let all = folders(&tree.packages());
                let error = Error::new(
                    Kind::Recipe,
                    format!("pkg/{name}/build: DEPENDS names unknown package `{need}`"),
                );
                return Err(match nearest(need.as_str(), all.iter().map(String::as_str)) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint(format!("there is no `pkg/{need}/build`")),
                });
            }
        }
        Ok(if follow { depends } else { Vec::new() })
    };
    let evaluation = evaluate::evaluate(&setting, goals, known, &needs)?;
    if follow && !evaluation.failed.is_empty() {
        // What they need was not read: there is no graph.
        return Err(evaluation
            .failed
            .into_values()
            .next()
            .unwrap_or_else(|| Error::new(Kind::Internal, "no error")));
    }
    let mut recipes = BTreeMap::new();
    for (name, evaluated) in evaluation.recipes {
        let mut recipe = Recipe::new(name.clone(), evaluated)?;
        // Archives are fetched outside of rooms: one that lies in the tree is found where the tree is.
        let in_room = format!("file://{}/", room::TREE);
        let here = format!("file://{}/", tree.root().display());
        for url in recipe.source.iter_mut().flat_map(|source| &mut source.urls) {
            *url = url.replace(&in_room, &here);
        }
        if !follow {
            recipe.depends.clear();
        }
        recipes.insert(name, recipe);
    }
    check_archives(&recipes)?;
    let graph = Graph::new(recipes)?;
    let constant = ["SCRIPTDIR", "BUILDROOT", "CMAKETCFILE"];
    let mut variables: BTreeMap<String, String> = base
        .into_iter()
        .filter(|(name, value)| !value.starts_with("/mk/") && !constant.contains(&name.as_str()))
        .collect();
    variables.insert("HOSTTUPLE".to_owned(), evaluation.host);
    variables.insert("NUMJOBS".to_owned(), settings.jobs.to_string());
    if let Some(release) = os_release.into_inner() {
        variables.insert("OS_RELEASE".to_owned(), release);
    }
    for (name, variable) in &evaluation.environment.variables {
        variables.insert(name.clone(), variable.value.clone());
    }
    for place in &places {
        for name in evaluation.environment.lookups.iter().map(String::as_str).chain(["BOARDS"]) {
            digests.reader(None).note(&place.join(name));
        }
    }
    digests.reader(None).note(std::path::Path::new("/etc/os-release"));
    let sourced = evaluation.environment.sources.iter().map(|path| tree.root().join(path));
    let sourced: Vec<PathBuf> = sourced.inspect(|path| digests.reader(None).note(path)).collect();
    let toolchain = places.iter().map(|place| place.join("TOOLCHAIN")).chain(sourced);
    let runs = toolchain.filter_map(|path| text_of(&path)).any(|text| runs_programs(&text));
    let opaque = evaluation.opaque.or_else(|| goals.first().filter(|_| runs).cloned());
    let loaded = Loaded {
        build_root: settings.workspace.build_root(board, product),
        again: settings.again.clone(),
        board: board.to_owned(),
        product: product.to_owned(),
        listed: places.each_ref().map(|place| listed(place)),
        places,
        vocabulary: key::vocabulary(&variables, &evaluation.environment),
        variables,
        environment: evaluation.environment,
        runtime,
        graph,
        platform: key::platform(),
        digests,
        opaque,
        began,
        standing,
        tree,
    };
    Ok((loaded, evaluation.failed))
}

/// Two recipes whose archives have one name but no digest in common would take turns in throwing out each other's file.
fn check_archives(recipes: &BTreeMap<PackageName, Recipe>) -> Result<()> {
    let mut known: HashMap<&str, &Recipe> = HashMap::new();
    for recipe in recipes.values() {
        let Some(source) = &recipe.source else { continue };
        let Some(other) = known.insert(&source.file, recipe) else { continue };
        let theirs = other.source.as_ref().map_or(&[][..], |source| &source.digests);
        if !source.digests.iter().any(|digest| theirs.contains(digest)) {
            return Err(Error::new(
                Kind::Recipe,
                format!(
                    "`{}` and `{}` name one TARBALL, `{}`, with different SHA256SUMs",
                    other.name, recipe.name, source.file
                ),
            )
            .at(format!("pkg/{}/build", other.name))
            .at(format!("pkg/{}/build", recipe.name))
            .hint("archives of all packages share the folder `download`: give each its own file name"));
        }
    }
    Ok(())
}

/// `CMAKETCFILE`: the toolchain package writes it there.
pub const CMAKE_TOOLCHAIN_FILE: &str = "/mk/root/toolchain/toolchain.cmake";
