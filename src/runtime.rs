//! The runtime library: the bash files of `scripts/` that every recipe is run with, carried inside the program.
//! Knows `digest` and `error`; writes them out where bash can read them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::digest::Digest;
use crate::error::Result;

/// The families of helpers, in the order in which they are loaded.
const FAMILIES: &[(&str, &str)] = &[
    ("autotools", include_str!("../scripts/lib/autotools.sh")),
    ("cmake", include_str!("../scripts/lib/cmake.sh")),
    ("config", include_str!("../scripts/lib/config.sh")),
    ("kbuild", include_str!("../scripts/lib/kbuild.sh")),
    ("make", include_str!("../scripts/lib/make.sh")),
    ("meson", include_str!("../scripts/lib/meson.sh")),
    ("patches", include_str!("../scripts/lib/patches.sh")),
    ("recipe", include_str!("../scripts/lib/recipe.sh")),
    ("rootfs", include_str!("../scripts/lib/rootfs.sh")),
    ("strip", include_str!("../scripts/lib/strip.sh")),
    ("version", include_str!("../scripts/lib/version.sh")),
];

const EVALUATE: &str = include_str!("../scripts/driver/evaluate.sh");
const STEP: &str = include_str!("../scripts/driver/step.sh");
const CHECK_UPDATE: &str = include_str!("../scripts/driver/check_update.sh");
const MAKEFILE: &str = include_str!("../scripts/driver/makefile.sh");
const MAKEFILE_END: &str = include_str!("../scripts/driver/makefile.mk");

/// Variables that make is asked for where a recipe is a makefile; of all others only make and its targets know.
pub const MAKEFILE_VARIABLES: &[&str] = &[
    "VERSION",
    "URL",
    "TARBALL",
    "SHA256SUM",
    "SRCDIR",
    "DEPENDS",
    "DESCRIPTION",
    "LICENSE",
    "HOSTTOOLS",
    "REVISION",
    "ARCHITECTURE",
    "SECTION",
    "MAINTAINER",
    "RUNTIME_DEPENDS",
    "OPK_PACKAGES",
];

/// Name of the file that stands in for recipes that are makefiles.
pub const MAKEFILE_NAME: &str = "makefile.sh";

/// Variables that name the toolchain's programs. Helpers name some only to set them for others.
pub const TOOLS: &[&str] = &[
    "AR", "AS", "CC", "CPP", "CXX", "LD", "NM", "OBJCOPY", "OBJDUMP", "RANLIB", "READELF", "SIZE", "STRINGS",
    "STRIP",
];

/// The runtime library as files on disk.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The folder that holds `library.sh`, `evaluate.sh`, `step.sh`, `check_update.sh`, `makefile.sh`, `makefile.mk`.
    pub folder: PathBuf,
    /// Digest of what every step runs.
    pub digest: Digest,
}

/// A function of the library.
#[derive(Debug)]
pub struct Helper {
    /// What stands between its braces.
    pub text: &'static str,
    /// The digest of that.
    pub digest: Digest,
    /// The words in it that can be names of variables or functions, but for the toolchain's [`TOOLS`].
    pub names: Vec<&'static str>,
}

/// Every helper in one text; comment lines are left out, since bash reads it again for every step.
pub fn library() -> &'static str {
    static LIBRARY: LazyLock<String> = LazyLock::new(|| {
        let lines = FAMILIES.iter().flat_map(|(_, family)| family.lines());
        let code = lines.filter(|line| !line.trim_start().starts_with('#') && !line.is_empty());
        code.flat_map(|line| [line, "\n"]).collect()
    });
    &LIBRARY
}

/// The helpers by name, for finding out which variables a recipe can reach through them.
pub fn helpers() -> &'static BTreeMap<&'static str, Helper> {
    static HELPERS: LazyLock<BTreeMap<&str, Helper>> = LazyLock::new(|| {
        let helper = |(name, text)| {
            let mut names: Vec<&str> = identifiers(text).filter(|name| !TOOLS.contains(name)).collect();
            names.sort_unstable();
            names.dedup();
            (name, Helper { text, digest: Digest::of(text), names })
        };
        functions_of(library()).into_iter().map(helper).collect()
    });
    &HELPERS
}

/// Functions of a bash text that is laid out plainly: `NAME() {` and `}` at the start of a line.
fn functions_of(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut current = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let line = line.trim_end_matches('\n');
        if let Some(name) = line.strip_suffix("() {").filter(|name| !name.starts_with(char::is_whitespace)) {
            current = Some((name, at));
        } else if line == "}" {
            found.extend(current.take().map(|(name, from)| (name, &text[from..start])));
        }
    }
    found
}

/// The digest of everything that recipes are read and run with.
pub fn digest() -> Digest {
    Digest::of([library(), STEP, EVALUATE, CHECK_UPDATE, MAKEFILE, MAKEFILE_END].join("\0"))
}

/// Functions that take the place of builtins, through which inputs are found: a step runs them without knowing.
const STAND_INS: &[&str] = &["source", "."];

/// The names of those functions that every step has: what the driver's side calls, what takes the place of builtins, and
/// what these call in turn. The other helpers are inputs of those packages alone that name them.
pub fn core() -> &'static BTreeSet<&'static str> {
    static CORE: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
        let mut core = BTreeSet::new();
        let mut fresh: Vec<&str> = identifiers(STEP).chain(STAND_INS.iter().copied()).collect();
        while let Some(name) = fresh.pop() {
            if let Some((name, helper)) = helpers().get_key_value(name)
                && core.insert(*name)
            {
                fresh.extend(identifiers(helper.text));
            }
        }
        core
    });
    &CORE
}

/// Helpers that read what only a step knows the name of: that may call any helper.
const READ_ANYTHING: &[&str] = &["include_pkg", "dependencies", "include_override", "include_merge"];

/// The library as the steps of a recipe need it that `reaches` these names: bash reads it again for every step.
pub fn library_for(reaches: impl Fn(&str) -> bool) -> String {
    if READ_ANYTHING.iter().any(|name| reaches(name)) {
        return library().to_owned();
    }
    let needed = helpers().iter().filter(|(name, _)| reaches(name) || core().contains(*name));
    needed.flat_map(|(name, helper)| [name, "() {\n", helper.text, "}\n"]).collect()
}

/// The digest of what every step runs, whatever its recipe says.
pub fn core_digest() -> Digest {
    let texts = core().iter().map(|name| format!("{name}\0{}", helpers()[name].text));
    Digest::of(texts.chain([STEP.to_owned()]).collect::<Vec<_>>().join("\0"))
}

/// The words of a bash text that can be names of variables or functions.
pub fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let mut at = 0;
    // By bytes, looked up in a table: every text of every recipe goes through here.
    std::iter::from_fn(move || {
        loop {
            let start = at + bytes[at..].iter().position(|&byte| IN_WORDS[usize::from(byte)])?;
            let length = bytes[start..].iter().position(|&byte| !IN_WORDS[usize::from(byte)]);
            at = length.map_or(bytes.len(), |length| start + length);
            if !bytes[start].is_ascii_digit() {
                return Some(&text[start..at]);
            }
        }
    })
}

/// The bytes that names of variables and functions are made of.
static IN_WORDS: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || byte == b'_' as usize;
        byte += 1;
    }
    table
};

impl Runtime {
    /// Writes the files below `folder`, in a folder named by their digest, unless they are there.
    pub fn install(folder: &Path) -> Result<Runtime> {
        let digest = core_digest();
        let target = folder.join(&self::digest().to_string()[..16]);
        if !target.is_dir() {
            fs_err::create_dir_all(folder)?;
            let fresh = tempfile::Builder::new().prefix(".new-").tempdir_in(folder)?;
            for (name, text) in [
                ("library.sh", library()),
                ("evaluate.sh", EVALUATE),
                ("step.sh", STEP),
                ("check_update.sh", CHECK_UPDATE),
                (MAKEFILE_NAME, MAKEFILE),
                ("makefile.mk", MAKEFILE_END),
            ] {
                fs_err::write(fresh.path().join(name), text)?;
            }
            let fresh = fresh.keep();
            fs_err::set_permissions(&fresh, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            // Another `mk` may have been faster: what is there then is the same.
            if let Err(error) = fs_err::rename(&fresh, &target) {
                fs_err::remove_dir_all(&fresh)?;
                if !target.is_dir() {
                    return Err(error.into());
                }
            }
        }
        Ok(Runtime { folder: target, digest })
    }

    /// `library.sh`.
    pub fn library(&self) -> PathBuf {
        self.folder.join("library.sh")
    }

    /// `evaluate.sh`.
    pub fn evaluate(&self) -> PathBuf {
        self.folder.join("evaluate.sh")
    }

    /// `step.sh`.
    pub fn step(&self) -> PathBuf {
        self.folder.join("step.sh")
    }

    /// `check_update.sh`.
    pub fn check_update(&self) -> PathBuf {
        self.folder.join("check_update.sh")
    }

    /// `makefile.sh`: what bash reads in place of a recipe that is a makefile.
    pub fn makefile(&self) -> PathBuf {
        self.folder.join(MAKEFILE_NAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found_and_nothing_stands_beside_them() {
        let mut rest = library().to_owned();
        for (name, Helper { text, .. }) in helpers() {
            rest = rest.replacen(&format!("{name}() {{\n{text}}}\n"), "", 1);
        }
        assert_eq!(rest, "");
    }

    #[test]
    fn what_every_step_runs_is_the_core() {
        let core = core();
        assert_eq!(core.iter().copied().collect::<Vec<_>>(), [".", "mk_source", "source"]);
    }

    #[test]
    fn the_library_defines_every_helper_of_the_contract() {
        for helper in [
            "apply_patches",
            "strip_files",
            "verson_find_greatest",
            "version_find_greatest",
            "file_path_override",
            "cat_file_override",
            "cat_file_merge",
            "include_override",
            "include_merge",
            "run_configure",
            "include_pkg",
            "dependencies",
            "deploy_dev_cleanup",
            "unfuck_libtool",
            "save_toolchain",
            "fetch_package",
        ] {
            assert!(helpers().contains_key(helper), "{helper}");
        }
    }
}
