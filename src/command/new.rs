//! `mk new`: fetches an archive, looks inside, and writes a recipe for it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use crate::config::{Format, Settings};
use crate::digest::Digest;
use crate::downloads;
use crate::error::{Error, Kind, Result};
use crate::fetch::{self, Request};
use crate::inspect::{self, Makefiles, System};
use crate::layout::Tree;
use crate::names::PackageName;
use crate::origin::{self, Lack};
use crate::room::Cancel;
use crate::store::write_atomically;
use crate::unpack::{self, Limits};
use crate::{mirrors, output, report, signals};

/// What for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Name of the package: the folder of pkg/ that takes the recipe
    #[arg(value_name = "PACKAGE")]
    name: String,
    /// The archive: an http, https or file URL, `apt:SOURCE[=VERSION]`, or `git+URL#COMMIT`
    url: String,
}

/// An archive whose digest was found out, in a folder of its own.
struct Archive {
    path: PathBuf,
    digest: Digest,
    /// `TARBALL`.
    file: String,
    /// `URL`.
    folder: String,
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let tree = settings.tree()?;
    let package = PackageName::new(&options.name)?;
    let recipe = tree.recipe(package.as_str());
    if recipe.exists() {
        return Err(Error::new(Kind::Usage, format!("there is a `{}` already", tree.show(&recipe)))
            .hint("nothing was fetched or written; `mk bump` takes a recipe to a newer version"));
    }
    let download = settings.workspace.download();
    fs_err::create_dir_all(&download)?;
    let scratch = tempfile::Builder::new().prefix(".new-").tempdir_in(&download)?;
    let cancel = Cancel::new()?;
    let watch = signals::watch(cancel.clone(), mpsc::channel().0)?;
    let archive = match get(settings, &package, &options.url, scratch.path(), &|| cancel.is_cancelled()) {
        Ok(archive) => archive,
        Err(error) => {
            return Err(watch.heard().map_or(error, |signal| Error::new(Kind::Interrupted(signal), "")));
        }
    };
    let into = scratch.path().join("source");
    fs_err::create_dir(&into)?;
    let unpacked = unpack::unpack(&archive.path, &into, Limits::default())
        // Where it lies now it is no more in the end.
        .map_err(|error| Error { at: vec![format!("archive: {}", options.url)], ..error })?;
    let top = match &unpacked.tops[..] {
        [only] if into.join(only).is_dir() => into.join(only),
        _ => into.clone(),
    };
    let source = inspect::inner(&top).unwrap_or_else(|| top.clone());
    let folder = source.strip_prefix(&into).unwrap_or(Path::new("")).to_string_lossy().into_owned();
    let system = inspect::system(&source);
    let version = version(&archive.file, package.as_str());
    let text = Recipe {
        tree: &tree,
        package: &package,
        archive: &archive,
        version: &version,
        folder: if folder.is_empty() { "." } else { &folder },
        system: &system,
        description: inspect::description(&source).or_else(|| inspect::description(&top)),
        license: inspect::license(&source).or_else(|| inspect::license(&top)),
        needs: needs(&tree, &package, &inspect::libraries(&source)),
    }
    .text();
    keep(&archive, &download, &package)?;
    fs_err::create_dir_all(tree.package(package.as_str()))?;
    write_atomically(&recipe, text.as_bytes())?;
    tell(settings, &tree, &package, &archive, &version, &system)
}

fn tell(
    settings: &Settings,
    tree: &Tree,
    package: &PackageName,
    archive: &Archive,
    version: &str,
    system: &System,
) -> Result<()> {
    let recipe = tree.recipe(package.as_str());
    if settings.format == Format::Json {
        return output::json(&serde_json::json!({
            "package": package, "recipe": output::path(&recipe), "version": version, "archive": archive.file,
            "sha256": archive.digest, "system": system.name(),
        }));
    }
    output::data(&format!("{}\n", recipe.display()))?;
    if settings.quiet {
        return Ok(());
    }
    report::note(match system {
        System::Unknown => "no build system was found in it: the recipe installs nothing as yet",
        System::Make(makefiles) if !makefiles.install => {
            "its makefile has no target `install`: say in `deploy` what goes where"
        }
        _ => {
            "look it over: version, licence and description are guesses; DEPENDS may lack libraries, or name some that it can do without"
        }
    });
    report::note(&format!(
        "then `mk BOARD PRODUCT {package}` builds it, and its name in a file ROOTFS puts it into the image"
    ));
    Ok(())
}

/// Gets the archive into `scratch`.
fn get(
    settings: &Settings,
    package: &PackageName,
    url: &str,
    scratch: &Path,
    cancelled: &dyn Fn() -> bool,
) -> Result<Archive> {
    let refused = |reason: &str| {
        Error::new(Kind::Fetch, format!("cannot fetch `{url}`: {reason}"))
            .hint("URLs are `http://`, `https://`, `file://`, `apt:SOURCE[=VERSION]` or `git+URL#COMMIT`")
    };
    let lack = |lack: Lack| match lack {
        Lack::Reason(reason) => refused(&reason),
        Lack::Cancelled => Error::new(Kind::Interrupted(libc::SIGINT), ""),
        Lack::Io(error) => error.into(),
    };
    // Plain URLs are the fetcher's, which knows the mirrors.
    if settings.offline
        && (url.starts_with("apt:") || url.starts_with("git+"))
        && !url.starts_with("git+file://")
    {
        return Err(Error::new(Kind::Fetch, format!("cannot fetch `{url}`: offline nothing is fetched"))
            .hint("try again without --offline, or name a `file://` URL"));
    }
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (path, folder) = if let Some(source) = url.strip_prefix("apt:") {
        let files =
            origin::from_apt(Path::new("apt-get"), source, scratch, &mut |_| (), cancelled).map_err(lack)?;
        let path = files.into_iter().find(|file| name(file).contains(".tar."));
        let path = path.ok_or_else(|| refused("apt gave no archive"))?;
        let exact = source.split('=').next().unwrap_or(source);
        (path, format!("apt:{exact}{}", apt_version(scratch).map(|v| format!("={v}")).unwrap_or_default()))
    } else if let Some(address) = url.strip_prefix("git+") {
        let commit: String = address.rsplit('#').next().unwrap_or_default().chars().take(12).collect();
        let file = format!("{package}-{commit}.tar");
        let made = origin::from_git(Path::new("git"), address, &file, scratch, cancelled).map_err(lack)?;
        let path = scratch.join(file);
        fs_err::rename(made, &path)?;
        (path, url.to_owned())
    } else {
        let (folder, file) = url.split_once("://").and_then(|_| url.rsplit_once('/')).unwrap_or_default();
        let file = file.split(['?', '#']).next().unwrap_or_default();
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if !fetch::is_plain(url) || file.is_empty() || file.starts_with('.') || url.contains(odd) {
            return Err(refused("it does not end in the name of an archive"));
        }
        if file.len() < url.len() - folder.len() - 1 {
            return Err(refused("a recipe cannot have `?` or `#` in the name of an archive"));
        }
        let (urls, digests) = ([url.to_owned()], []);
        let request = Request {
            package,
            file,
            urls: &urls,
            digests: &digests,
            dir: scratch,
            offline: settings.offline,
        };
        let fetched = mirrors::fetcher(settings, &[])?.fetch_new(&request, &mut |_, _| (), cancelled)?;
        (fetched.path, folder.to_owned())
    };
    Ok(Archive { digest: Digest::of_file(&path)?, file: name(&path), path, folder })
}

/// The version of the source package that apt left the description of.
fn apt_version(scratch: &Path) -> Option<String> {
    let files = std::fs::read_dir(scratch).ok()?.flatten().map(|entry| entry.path());
    let description = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "dsc"))?;
    let text = fs_err::read_to_string(description).ok()?;
    text.lines().find_map(|line| Some(line.strip_prefix("Version:")?.trim().to_owned()))
}

/// Puts the archive where builds find it, unless something else has its name.
fn keep(archive: &Archive, download: &Path, package: &PackageName) -> Result<()> {
    let path = download.join(&archive.file);
    if path.exists() {
        let there = Digest::of_file(&path)?;
        if there != archive.digest {
            return Err(Error::new(
                Kind::Fetch,
                format!("another `{}` is in `{}`", archive.file, download.display()),
            )
            .at(format!("there {there}"))
            .at(format!("fetched {}", archive.digest))
            .hint("find out which of them is right, and move the other one away"));
        }
        return Ok(());
    }
    fs_err::rename(&archive.path, &path)?;
    let digest = Some(archive.digest);
    downloads::remember(
        download,
        &downloads::Record { digest, package: package.clone(), file: archive.file.clone() },
    )
}

/// The version in an archive's name: what follows the name and a separator, or the first number in it.
fn version(file: &str, package: &str) -> String {
    let mut stem = file;
    for ending in [".gz", ".bz2", ".xz", ".zst", ".lz", ".lzma", ".tgz", ".tbz2", ".txz", ".zip", ".tar"] {
        stem = stem.strip_suffix(ending).unwrap_or(stem);
    }
    stem = stem.strip_suffix(".orig").unwrap_or(stem);
    for ending in ["-src", "_src", ".src", "-source", "-full", "-dist"] {
        stem = stem.strip_suffix(ending).unwrap_or(stem);
    }
    let number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let plain = |text: &str| text.strip_prefix('v').filter(|rest| number(rest)).unwrap_or(text).to_owned();
    if number(&plain(stem)) {
        return plain(stem);
    }
    if let Some(rest) = stem.strip_prefix(package).and_then(|rest| rest.strip_prefix(['-', '_'])) {
        // A commit may begin with a letter.
        if number(&plain(rest)) || !rest.is_empty() && rest.chars().all(|c| c.is_ascii_hexdigit()) {
            return plain(rest);
        }
    }
    let parts = stem.match_indices(['-', '_']).map(|(at, _)| &stem[at + 1..]);
    let found = parts.into_iter().map(plain).find(|rest| number(rest));
    found
        .or_else(|| stem.find(|c: char| c.is_ascii_digit()).map(|at| stem[at..].to_owned()))
        .unwrap_or_default()
}

/// Packages of the tree that go by the names of these libraries.
fn needs(tree: &Tree, package: &PackageName, libraries: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for library in libraries {
        let name = library.to_ascii_lowercase();
        let bare = name.strip_prefix("lib").unwrap_or(&name);
        let usual = match bare {
            "z" => "zlib",
            "ssl" | "crypto" => "openssl",
            "curses" | "ncursesw" => "ncurses",
            "bz2" => "bzip2",
            "lzma" => "xz",
            other => other,
        };
        let names = [name.clone(), usual.to_owned(), format!("lib{usual}")];
        let known = |name: &&String| PackageName::new(name).is_ok() && tree.recipe(name).is_file();
        found.extend(names.iter().find(known).filter(|name| *name != package.as_str()).cloned());
    }
    found
}

/// A text inside double quotes of bash.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if ['\\', '"', '$', '`'].contains(&c) {
            out.push('\\');
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

/// The same with `$VERSION` in place of the version, where it stands as a word of its own.
fn versioned(text: &str, version: &str) -> String {
    let text = quoted(text);
    if version.len() < 3 {
        return text;
    }
    let version = quoted(version);
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(&version) {
        let (before, after) = (&rest[..at], &rest[at + version.len()..]);
        let part = |c: char| c.is_ascii_digit() || c == '.';
        let inside = before.ends_with(part)
            || after.starts_with(|c: char| c.is_ascii_digit())
            || after.strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        out.push_str(before);
        if inside {
            out.push_str(&version);
        } else if after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            out.push_str("${VERSION}");
        } else {
            out.push_str("$VERSION");
        }
        rest = after;
    }
    out + rest
}

/// Everything that a recipe is written from.
struct Recipe<'a> {
    tree: &'a Tree,
    package: &'a PackageName,
    archive: &'a Archive,
    version: &'a str,
    folder: &'a str,
    system: &'a System,
    description: Option<String>,
    license: Option<String>,
    needs: BTreeSet<String>,
}

impl Recipe<'_> {
    fn text(&self) -> String {
        let with_version = |text: &str| versioned(text, self.version);
        // What apt or git is asked for does not follow from the version.
        let plain = fetch::is_plain(&self.archive.folder);
        let url = if plain { with_version(&self.archive.folder) } else { quoted(&self.archive.folder) };
        let mut needs: Vec<&str> = self.needs.iter().map(String::as_str).collect();
        if self.tree.recipe("toolchain").is_file() && *self.system != System::Unknown {
            needs.insert(0, "toolchain");
        }
        let mut text = String::new();
        let mut set = |name: &str, value: &str| text.push_str(&format!("{name}=\"{value}\"\n"));
        set("VERSION", &quoted(self.version));
        set("URL", &url);
        set("TARBALL", &with_version(&self.archive.file));
        set("SHA256SUM", &self.archive.digest.to_string());
        set("SRCDIR", &with_version(self.folder));
        set("DEPENDS", &needs.join(" "));
        set("DESCRIPTION", &quoted(self.description.as_deref().unwrap_or(self.package.as_str())));
        match &self.license {
            Some(license) => set("LICENSE", license),
            None => text.push_str("# its licence was not recognised\nLICENSE=\"\"\n"),
        }
        let tools = match self.system {
            System::Autoreconf => "autoconf automake libtoolize make",
            System::Cmake => "cmake make",
            System::Meson => "meson ninja",
            System::Kbuild { linux: true } => "gcc make bc bison flex perl",
            System::Kbuild { linux: false } => "gcc make",
            System::Autoconf | System::Configure { .. } | System::Make(_) => "make",
            System::Unknown => "",
        };
        if !tools.is_empty() {
            text.push_str(&format!("HOSTTOOLS=\"{tools}\"\n"));
        }
        for (name, lines) in self.functions() {
            text.push_str(&format!("\n{name}() {{\n"));
            for line in lines {
                text.push_str(&format!("\t{line}\n"));
            }
            text.push_str("}\n");
        }
        text
    }

    /// `prepare`, `build` and `deploy`, line by line.
    fn functions(&self) -> Vec<(&'static str, Vec<String>)> {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let make = "make -j \"$NUMJOBS\"";
        let install = "make DESTDIR=\"$2\" install";
        let mut functions = Vec::new();
        let (build, mut deploy) = match self.system {
            System::Autoconf => (lines(&["run_configure \"$1\"", make]), lines(&[install])),
            System::Autoreconf => {
                functions.push(("prepare", lines(&["autoreconf -f -i"])));
                (lines(&["run_configure \"$1\"", make]), lines(&[install]))
            }
            System::Configure { host } => {
                let host = if *host { " --host=\"$TARGET\"" } else { "" };
                let build = [
                    "CHOST=\"$TARGET\" CC=\"$CC\" AR=\"$AR\" RANLIB=\"$RANLIB\" \\".to_owned(),
                    format!("\t\"$1/configure\" --prefix=\"\"{host}"),
                    make.to_owned(),
                ];
                (build.to_vec(), lines(&[install]))
            }
            System::Cmake => (lines(&["run_cmake \"$1\"", make]), lines(&[install])),
            System::Meson => (
                lines(&["run_meson \"$1\"", "ninja -j \"$NUMJOBS\""]),
                lines(&["DESTDIR=\"$2\" meson install --no-rebuild"]),
            ),
            System::Kbuild { linux: true } => (
                lines(&["kernel_make \"$1\" defconfig", "kernel_make \"$1\" -j \"$NUMJOBS\" \"$LINUX_TGT\""]),
                lines(&["install -D -m 644 \"$(kernel_make \"$1\" -s image_name)\" \"$2/boot/vmlinuz\""]),
            ),
            System::Kbuild { linux: false } => (
                lines(&["kernel_make \"$1\" defconfig", "kernel_make \"$1\" -j \"$NUMJOBS\""]),
                lines(&["kernel_make \"$1\" CONFIG_PREFIX=\"$2\" DESTDIR=\"$2\" install"]),
            ),
            System::Make(makefiles) => (make_build(makefiles), make_deploy(makefiles)),
            System::Unknown => (Vec::new(), lines(&["# $1 is the unpacked source", "mkdir -p \"$2\""])),
        };
        if !build.is_empty() {
            functions.push(("build", build));
        }
        let installs = !matches!(self.system, System::Unknown | System::Kbuild { linux: true })
            && !matches!(self.system, System::Make(makefiles) if !makefiles.install);
        if installs {
            deploy.splice(0..0, lines(&["local part"]));
            deploy.extend(lines(&[
                "# what goes into the image",
                "for part in bin sbin etc 'lib/*.so*'; do",
                "\t! compgen -G \"$2/$part\" >/dev/null || rootfs_files \"$2\" \"$part\"",
                "done",
            ]));
        }
        functions.push(("deploy", deploy));
        functions
    }
}

/// What make is told of the toolchain: `AR="$AR rcu"`. Without `TARGET` these are the machine's own programs; a word
/// `-gcc` would be one whose failure make does not mind.
fn tools(makefiles: &Makefiles) -> impl Iterator<Item = String> {
    let word = |name: &str, value: String| format!("{name}=\"{}\"", value.trim_end());
    makefiles.tools.iter().map(move |(name, rest)| word(name, format!("${name} {}", quoted(rest))))
}

fn make_build(makefiles: &Makefiles) -> Vec<String> {
    let mut words = vec!["make -C \"$1\" -j \"$NUMJOBS\"".to_owned()];
    if makefiles.cross_compile {
        words.push("CROSS_COMPILE=\"${TARGET:+$TARGET-}\"".to_owned());
    }
    words.extend(tools(makefiles));
    words.extend(makefiles.targets.iter().map(|target| format!("\"{}\"", quoted(target))));
    vec![words.join(" ")]
}

fn make_deploy(makefiles: &Makefiles) -> Vec<String> {
    if !makefiles.install {
        return [
            "# for each program: install -D -m 755 \"$1/PROGRAM\" \"$2/bin/PROGRAM\"",
            "mkdir -p \"$2\"",
        ]
        .map(str::to_owned)
        .to_vec();
    }
    let mut words = vec!["make -C \"$1\"".to_owned()];
    words.extend(tools(makefiles));
    match (&makefiles.prefix, makefiles.destdir) {
        (Some(prefix), true) => words.push(format!("DESTDIR=\"$2\" {prefix}=\"\"")),
        (None, true) => words.push("DESTDIR=\"$2\"".to_owned()),
        (Some(prefix), false) => words.push(format!("{prefix}=\"$2\"")),
        (None, false) => {}
    }
    words.push("install".to_owned());
    vec![words.join(" ")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_names_of_archives() {
        for (file, package, expected) in [
            ("zlib-1.3.1.tar.gz", "zlib", "1.3.1"),
            ("zlib_1.2.13.dfsg.orig.tar.xz", "zlib", "1.2.13.dfsg"),
            ("openssl-1.1.1g.tar.gz", "openssl", "1.1.1g"),
            ("foo-bar-2.0-rc1.tar.bz2", "foo", "2.0-rc1"),
            ("v6.0.tar.gz", "nftables", "6.0"),
            ("lua5.4_5.4.4.orig.tar.xz", "lua", "5.4.4"),
            ("tcl8.6.13-src.tar.gz", "tcl", "8.6.13"),
            ("sqlite-autoconf-3400100.tar.gz", "sqlite", "3400100"),
            ("boost_1_80_0.tar.bz2", "boost", "1_80_0"),
            ("tool-abcdef012345.tar", "tool", "abcdef012345"),
            ("thing.zip", "thing", ""),
        ] {
            assert_eq!(version(file, package), expected, "{file}");
        }
    }

    #[test]
    fn a_version_becomes_a_variable_where_it_is_a_word() {
        assert_eq!(versioned("zlib-1.3.1.tar.gz", "1.3.1"), "zlib-$VERSION.tar.gz");
        assert_eq!(versioned("a/v1.3.1b/1.3.1.2/11.3.1", "1.3.1"), "a/v${VERSION}b/1.3.1.2/11.3.1");
        assert_eq!(versioned("lib7-7", "7"), "lib7-7");
        assert_eq!(versioned("$x`", "1.0"), "\\$x\\`");
    }
}
