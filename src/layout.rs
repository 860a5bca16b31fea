//! Where everything lies: in the tree, in the workspace, and inside a room. The only place that joins these paths.
//! Knows `error` and `names`; touches no file but to find the tree.

use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::names::{PackageName, Step};

/// Paths as a step sees them inside its room: the same on every machine and in every workspace.
pub mod room {
    /// `SCRIPTDIR`.
    pub const TREE: &str = "/mk/tree";
    /// `PKGDOWNLOADDIR`.
    pub const DOWNLOAD: &str = "/mk/download";
    /// `PKGSRCDIR`.
    pub const SRC: &str = "/mk/src";
    /// `BUILDROOT`.
    pub const BUILD_ROOT: &str = "/mk/root";
    /// `TCDIR`.
    pub const TOOLCHAIN: &str = "/mk/root/toolchain";
    /// `PKGDEPLOYDIR`.
    pub const DEPLOY: &str = "/mk/root/deploy";
    /// `PKGLOGDIR`.
    pub const LOG: &str = "/mk/root/log";
    /// `PKGBUILDDIR`.
    pub const BUILD: &str = "/mk/root/build";
    /// The configuration places, most specific first.
    pub const CONFIG: [&str; 3] = ["/mk/config/product-board", "/mk/config/product", "/mk/config/board"];
    /// The runtime library and what the driver tells the step.
    pub const RUNTIME: &str = "/mk/runtime";
    /// Where the step tells the driver what it asked for and how it failed.
    pub const REPORT: &str = "/mk/report";
    /// `HOME`.
    pub const HOME: &str = "/mk/home";
    /// `PATH` after the toolchain's own folder: programs of the machine.
    pub const PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";
}

/// The folder that holds `pkg/`, `board/` and `product/`.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Takes `option` where given, else walks up from the first of `places` that leads to one, else from where the program
    /// lies.
    pub fn find(option: Option<&Path>, places: &[PathBuf], program: Option<&Path>) -> Result<Tree> {
        if let Some(root) = option {
            if !root.exists() {
                return Err(Error::new(Kind::Usage, format!("there is no tree `{}`", root.display()))
                    .hint("name one with --tree DIR or MK_TREE; `mk init DIR` writes a small one"));
            }
            let root = fs_err::canonicalize(root)?;
            if root.join("pkg").is_dir() {
                return Ok(Tree { root });
            }
            return Err(Error::new(
                Kind::Usage,
                format!("`{}` is no tree: it has no folder `pkg`", root.display()),
            )
            .hint("a tree holds `pkg/`, `board/` and `product/`; name it with --tree or MK_TREE"));
        }
        let is_tree = |dir: &&Path| ["pkg", "board", "product"].iter().all(|part| dir.join(part).is_dir());
        let from = places.iter().map(PathBuf::as_path).chain(program.and_then(Path::parent));
        let found = from.into_iter().find_map(|start| start.ancestors().find(is_tree));
        match found {
            Some(root) => Ok(Tree { root: fs_err::canonicalize(root)? }),
            None => Err(Error::new(
                Kind::Usage,
                format!(
                    "no tree found: neither `{}` nor a folder above holds `pkg`, `board` and `product`",
                    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join("`, `")
                ),
            )
            .hint("name the tree with --tree DIR or MK_TREE")),
        }
    }

    /// The tree's absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `pkg/`.
    pub fn packages(&self) -> PathBuf {
        self.root.join("pkg")
    }

    /// `pkg/<package>/`.
    pub fn package(&self, package: &str) -> PathBuf {
        self.below(&["pkg", package])
    }

    /// `pkg/<package>/build`.
    pub fn recipe(&self, package: &str) -> PathBuf {
        self.below(&["pkg", package, "build"])
    }

    /// In one allocation: paths of packages are asked for all the time.
    fn below(&self, parts: &[&str]) -> PathBuf {
        let length = parts.iter().map(|part| part.len() + 1).sum::<usize>();
        let mut path = PathBuf::with_capacity(self.root.as_os_str().len() + length);
        path.push(&self.root);
        path.extend(parts);
        path
    }

    /// `board/`.
    pub fn boards(&self) -> PathBuf {
        self.root.join("board")
    }

    /// `product/`.
    pub fn products(&self) -> PathBuf {
        self.root.join("product")
    }

    /// The configuration places of a board and a product, most specific first; they need not exist.
    pub fn config_places(&self, board: &str, product: &str) -> [PathBuf; 3] {
        let product = self.products().join(product);
        [product.join(board), product, self.boards().join(board)]
    }

    /// A path below the tree as messages show it (`pkg/zlib/build`); others stay as they are.
    pub fn show(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

/// The folder in which `mk` runs.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Takes an existing folder.
    pub fn new(root: &Path) -> Result<Workspace> {
        if !root.exists() {
            let shown = root.display();
            return Err(Error::new(Kind::Host, format!("there is no workspace `{shown}`"))
                .hint(format!("if that is the place, make it: `mkdir -p {shown}`")));
        }
        Ok(Workspace { root: fs_err::canonicalize(root)? })
    }

    /// Its absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Source archives, shared by all boards and products.
    pub fn download(&self) -> PathBuf {
        self.root.join("download")
    }

    /// Views of the unpacked sources.
    pub fn src(&self) -> PathBuf {
        self.root.join("src")
    }

    /// There while a package is built without a room: such builds share folders.
    pub fn lock(&self) -> PathBuf {
        self.root.join(".mk-lock")
    }

    /// What is made of a build root for use elsewhere: `<board>-<product>-<what>`, beside it.
    pub fn result(&self, build_root: &str, what: &str) -> PathBuf {
        self.root.join(format!("{build_root}-{what}"))
    }

    /// The build root of a board and a product.
    pub fn build_root(&self, board: &str, product: &str) -> BuildRoot {
        BuildRoot { root: self.root.join(format!("{board}-{product}")) }
    }

    /// All build roots that `mk` has made here, by name.
    pub fn build_roots(&self) -> Result<Vec<BuildRoot>> {
        let mut found = Vec::new();
        for entry in fs_err::read_dir(&self.root)? {
            let root = entry?.path();
            if root.join(".mk").is_dir() {
                found.push(BuildRoot { root });
            }
        }
        found.sort_by(|a, b| a.root.cmp(&b.root));
        Ok(found)
    }
}

/// `<workspace>/<board>-<product>/`.
#[derive(Debug, Clone)]
pub struct BuildRoot {
    root: PathBuf,
}

impl BuildRoot {
    /// Its absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `<board>-<product>`.
    pub fn name(&self) -> String {
        self.root.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Views of what packages deployed.
    pub fn deploy(&self) -> PathBuf {
        self.root.join("deploy")
    }

    /// The toolchain's view, or the toolchain itself where steps run without rooms.
    pub fn toolchain(&self) -> PathBuf {
        self.root.join("toolchain")
    }

    /// Logs of the last run.
    pub fn logs(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The log of one step.
    pub fn log(&self, package: &PackageName, step: Step) -> PathBuf {
        self.logs().join(format!("{package}-{step}.log"))
    }

    /// What `mk` remembers of this build root.
    pub fn state(&self) -> PathBuf {
        self.root.join(".mk")
    }

    /// The manifests of the results that it has, by package.
    pub fn manifests(&self) -> PathBuf {
        self.state().join("manifest")
    }

    /// There while its views are changed, and while a package is built without a room, which works in them.
    pub fn lock(&self) -> PathBuf {
        self.state().join("lock")
    }

    /// Build folders that were kept after a failure.
    pub fn failed(&self, package: &PackageName) -> PathBuf {
        self.failures().join(package.as_str())
    }

    /// The folder of those.
    pub fn failures(&self) -> PathBuf {
        self.root.join("failed")
    }

    /// `PKGBUILDDIR` of steps that run without rooms.
    pub fn build(&self) -> PathBuf {
        self.root.join("build")
    }

    /// The store that takes results made without a room.
    pub fn private_store(&self) -> PathBuf {
        self.state().join("store")
    }
}
