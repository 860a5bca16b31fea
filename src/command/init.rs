//! `mk init`: writes a minimal tree that builds at once, to begin one's own with.

use std::path::{Path, PathBuf};

use crate::config::{Format, Settings};
use crate::error::{Error, Kind, Result};
use crate::layout::room;
use crate::script::quote;
use crate::{names, output, report};

/// Where to, and what things are called.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder for the tree: a new one, or an empty one
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Name of its board
    #[arg(long = "board", value_name = "NAME", default_value = "generic")]
    board_name: String,
    /// Name of its product
    #[arg(long = "product", value_name = "NAME", default_value = "demo")]
    product_name: String,
}

/// Files by path; `@BOARD@` and `@PRODUCT@` stand for the names, `@TARGET@` for the line that sets TARGET.
const FILES: &[(&str, &str)] = &[
    (
        "README.md",
        r"# A tree for `mk`

    mkdir -p ../work && mk --tree . --workspace ../work @BOARD@ @PRODUCT@

builds `pkg/release-@BOARD@` and all that it needs; the result is `../work/@BOARD@-@PRODUCT@/deploy/release-@BOARD@/rootfs.tar`.

- `board/@BOARD@/TOOLCHAIN`: what the machine is: `TARGET` and whatever recipes agree on.
- `product/@PRODUCT@/ROOTFS`: packages of the root filesystem, one a line.
- `product/@PRODUCT@/BOARDS`: boards that the product supports.
- `pkg/PACKAGE/build`: how a package is made. `mk new PACKAGE URL` writes one from an archive.
",
    ),
    (
        ".shellcheckrc",
        "# Every recipe is bash.
shell=bash
# A recipe sets what the driver reads (VERSION, URL, ...) and reads what the driver sets (TARGET, TCDIR, ...).
disable=SC2034,SC2154
# Recipes are sourced by a path that only evaluation knows.
disable=SC1090,SC1091
",
    ),
    (
        "board/@BOARD@/TOOLCHAIN",
        "# A board to begin with

# What every recipe may know of it. TARGET begins the names of the compiler and its kin: this machine's own, or
# with a cross toolchain among the packages those of that one, as in `aarch64-linux-musl`.
@TARGET@
",
    ),
    ("product/@PRODUCT@/BOARDS", "@BOARD@\n"),
    ("product/@PRODUCT@/ROOTFS", "hello\n"),
    (
        "pkg/hello/build",
        r#"VERSION="1"
DEPENDS=""
DESCRIPTION="A program that greets"

# $1 is the unpacked source, where a recipe names one; $2 takes what the package installs
deploy() {
	install -D -m 755 "$SCRIPTDIR/pkg/hello/hello" "$2/bin/hello"
}
"#,
    ),
    ("pkg/hello/hello", "#!/bin/sh\necho \"Hello, ${1:-world}!\"\n"),
    (
        "pkg/release-@BOARD@/build",
        r#"VERSION="1"
DEPENDS=$(cat_file_merge ROOTFS | sort -u)
DESCRIPTION="The root filesystem as one archive"
HOSTTOOLS="tar"

# What the packages of ROOTFS install, put together.
build() {
	local package
	mkdir root
	for package in $DEPENDS; do
		cp -a "$PKGDEPLOYDIR/$package/." root
	done
}

deploy() {
	mkdir -p "$2"
	tar -C root --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
		-cf "$2/rootfs.tar" .
}
"#,
    ),
];

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let (board, product) = (&options.board_name, &options.product_name);
    names::check("board", board)?;
    names::check("product", product)?;
    let root = &options.folder;
    if holds_anything(root)? {
        return Err(Error::new(Kind::Usage, format!("`{}` is not empty", options.folder.display()))
            .hint("name a new folder; nothing in this one was touched"));
    }
    let target =
        own_triplet().map_or("# TARGET=\"aarch64-linux-musl\"".to_owned(), |own| format!("TARGET=\"{own}\""));
    let fill = |text: &str| {
        text.replace("@BOARD@", board).replace("@PRODUCT@", product).replace("@TARGET@", &target)
    };
    let mut written = Vec::new();
    for (path, text) in FILES {
        let path = root.join(fill(path));
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        fs_err::write(&path, fill(text))?;
        if text.starts_with("#!") {
            fs_err::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        }
        written.push(path);
    }
    if settings.format == Format::Json {
        let tree = fs_err::canonicalize(root)?;
        let written: Vec<_> = written.iter().map(|path| output::path(path)).collect();
        return output::json(
            &serde_json::json!({ "tree": output::path(&tree), "board": board, "product": product, "written": written }),
        );
    }
    output::data(&written.iter().map(|path| format!("{}\n", path.display())).collect::<String>())?;
    if !settings.quiet {
        // The options that named another tree are of no use here.
        let folder = quote(&options.folder.to_string_lossy());
        report::note(&format!("`mk -t {folder} {board} {product}` builds it"));
    }
    Ok(())
}

/// The triplet of this machine's compiler, where that goes by a name with it as well.
fn own_triplet() -> Option<String> {
    let said = duct::cmd!("gcc", "-dumpmachine").stdin_null().stderr_null().read().ok()?;
    let compiler = format!("{}-gcc", said.trim());
    let there = room::PATH.split(':').any(|folder| Path::new(folder).join(&compiler).is_file());
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    (there && said.trim().chars().all(plain)).then(|| said.trim().to_owned())
}

/// Whether a folder has anything in it, beside what a version control system keeps there.
fn holds_anything(folder: &Path) -> Result<bool> {
    match fs_err::read_dir(folder) {
        Ok(mut entries) => Ok(entries.any(|entry| entry.map_or(true, |entry| entry.file_name() != ".git"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}
