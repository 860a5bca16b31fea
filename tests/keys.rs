//! Keys: what changes them, what does not, and that they stay what they are from one version of `mk` to the next.

#![allow(clippy::unwrap_used, reason = "clippy knows only the test functions themselves as tests")]

mod harness;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use harness::Tree;
use mk::config::{Format, Rooms, Settings};
use mk::evaluated::{Evaluated, Function, Variable};
use mk::filedigest::FileDigests;
use mk::key::{Ingredients, Manifest, matters_to_prepare, vocabulary};
use mk::layout::Workspace;
use mk::load::Loaded;
use mk::names::PackageName;
use mk::recipe::Recipe;
use mk::store::Store;

/// What a call of `mk` in a fixture is made of.
fn settings(tree: &Tree) -> Settings {
    Settings {
        again: "mk".to_owned(),
        tree: Some(tree.at("tree")),
        workspace: Workspace::new(&tree.at("workspace")).unwrap(),
        store: tree.at("store"),
        jobs: 2,
        keep_going: false,
        offline: true,
        rooms: Rooms::Auto,
        format: Format::Human,
        quiet: true,
        verbose: false,
        environment: HashMap::new(),
        broken_jobserver: None,
        mirrors: Vec::new(),
        evaluation_limit: Duration::from_secs(60),
    }
}

fn load(settings: &Settings, board: &str, product: &str) -> Loaded {
    let store = Store::open(&settings.store).unwrap();
    mk::load::load(settings, &store, board, product, &["it".to_owned()]).unwrap()
}

fn manifest_of(settings: &Settings, board: &str, product: &str) -> Manifest {
    let loaded = load(settings, board, product);
    let recipe = &loaded.graph.packages[loaded.place("it").unwrap()];
    loaded.ingredients(settings.rooms != Rooms::Never).manifest(recipe).unwrap()
}

fn manifest(tree: &Tree) -> Manifest {
    manifest_of(&settings(tree), "tiny", "demo")
}

/// The labels of the ingredients in which two manifests differ.
fn labels(old: &Manifest, new: &Manifest) -> Vec<String> {
    let (old, new) = (old.to_string(), new.to_string());
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (old, new) = (lines(&old), lines(&new));
    let label = |line: &String| line.split(" = ").next().unwrap().to_owned();
    old.symmetric_difference(&new).map(label).collect::<BTreeSet<_>>().into_iter().collect()
}

const RECIPE: &str = r#"VERSION="1.0"
URL="https://host.invalid/it"
TARBALL="it-$VERSION.tar.gz"
SHA256SUM="1111111111111111111111111111111111111111111111111111111111111111"
SRCDIR="it-$VERSION"
DEPENDS="dep"
LICENSE="MIT"
FLAVOUR="plain"
source "$SCRIPTDIR/pkg/shared/functions"
if [ -n "$(cat_file_override it.conf)" ]; then CONFIGURED="yes"; fi

prepare() {
	apply_patches
}

build() {
	work "$FLAVOUR" "$BOARD" "$CPU" "${LEVEL:-none}"
	tune
}

check_update() {
	echo "$VERSION"
}
"#;

fn base() -> Tree {
    Tree::new()
        .package("it", RECIPE)
        .package("dep", "build() { :; }")
        .package("other", "VERSION=1")
        .file("pkg/shared/functions", "work() {\n\techo \"$@\"\n}\n")
        .file("pkg/it/01.patch", "a patch\n")
        .file("pkg/it/files/deep/list", "one\n")
        .file("board/tiny/TOOLCHAIN", "CPU=small\nUNUSED=1\ntune() { echo tuned; }\n")
}

/// What a change of the tree changes in the manifest.
fn changes(change: impl FnOnce(&Tree)) -> Vec<String> {
    changes_of(&base(), change)
}

fn changes_of(tree: &Tree, change: impl FnOnce(&Tree)) -> Vec<String> {
    let before = manifest(tree);
    change(tree);
    let after = manifest(tree);
    let labels = labels(&before, &after);
    assert_eq!(labels.is_empty(), before.digest() == after.digest());
    labels
}

/// The recipe with a piece of it replaced.
fn recipe(from: &str, to: &str) -> impl FnOnce(&Tree) {
    assert!(RECIPE.contains(from), "{from}");
    let text = RECIPE.replace(from, to);
    move |tree| tree.write("pkg/it/build", &text)
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_known_manifest_has_a_known_key() {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["pkg/it", "board/b", "product/p"] {
        fs_err::create_dir_all(dir.path().join(folder)).unwrap();
    }
    for (file, text, mode) in [
        ("pkg/it/build", "", 0o644),
        ("pkg/it/run.sh", "#!/bin/sh\n", 0o755),
        ("product/p/x.conf", "x\n", 0o640),
    ] {
        fs_err::write(dir.path().join(file), text).unwrap();
        fs_err::set_permissions(dir.path().join(file), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let tree = mk::layout::Tree::find(Some(dir.path()), &[], None).unwrap();
    let variable = |flags: &str, value: &str| Variable { flags: flags.to_owned(), value: value.to_owned() };
    let function = |text: &str| Function { file: "pkg/it/build".to_owned(), line: 1, text: text.to_owned() };
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let evaluated = Evaluated {
        variables: BTreeMap::from([
            ("VERSION".to_owned(), variable("-", "1.0")),
            ("TARBALL".to_owned(), variable("-", "it-1.0.tar.gz")),
            ("SHA256SUM".to_owned(), variable("-", &"1".repeat(64))),
            ("SRCDIR".to_owned(), variable("-", "it-1.0")),
            ("CFLAGS".to_owned(), variable("x", "-O2 \"two\nlines\"")),
        ]),
        functions: BTreeMap::from([
            ("build".to_owned(), function("build () \n{ \n    echo \"$BOARD\"\n}\n")),
            ("check_update".to_owned(), function("check_update () \n{ \n    :\n}\n")),
        ]),
        lookups: BTreeSet::from(["x.conf".to_owned()]),
        passed: BTreeMap::from([text("LEVEL", "3")]),
        ..Evaluated::default()
    };
    let it = Recipe::new(PackageName::new("it").unwrap(), evaluated).unwrap();
    let digests = FileDigests::default();
    let places = tree.config_places("b", "p");
    let variables = BTreeMap::from([text("BOARD", "b"), text("PRODUCT", "p"), text("NUMJOBS", "8")]);
    let environment = Evaluated::default();
    let ingredients = Ingredients {
        tree: &tree,
        places: &places,
        listed: &Default::default(),
        variables: &variables,
        environment: &environment,
        vocabulary: &vocabulary(&variables, &environment),
        runtime: mk::digest::Digest::of("runtime"),
        platform: "x86_64-linux test 1",
        rooms: true,
        digests: &digests,
    };
    let manifest = ingredients.manifest(&it).unwrap();
    assert_eq!(
        manifest.to_string(),
        r#"archive it-1.0.tar.gz = 1111111111111111111111111111111111111111111111111111111111111111
environment LEVEL = 3
file run.sh = 755 a8076d3d28d21e02012b20eaf7dbf75409a6277134439025f282e368e3305abf
format = 1
function build = build () \n{ \n    echo "$BOARD"\n}\n
lookup x.conf = -, 640 73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac, -
package = it
platform = x86_64-linux test 1
runtime = d92c6a81b2ff50096bcda80885427d1f59a25b5f483f7055523504925d16ab23
variable BOARD = b
variable CFLAGS = (x) -O2 "two\nlines"
variable SRCDIR = it-1.0
variable TARBALL = it-1.0.tar.gz
variable VERSION = 1.0
"#
    );
    assert_eq!(
        manifest.digest().to_string(),
        "e082df504c1524cbf2acfcfaf98659084c6c555c6cf1dbbeb0c0fc4ac778d10a"
    );
    assert_eq!(Manifest::parse(&manifest.to_string()), manifest);
    let prepare = manifest.filter(matters_to_prepare);
    assert_eq!(
        prepare.digest().to_string(),
        "2cc180a758f5df240410e41d3433c833603f1f9ff6f6ce8b3689563ec0c7a6b3"
    );
}

#[test]
fn labels_that_look_like_lines_of_a_manifest_are_told_from_them() {
    let manifest = |label: &str, value: &str| {
        let mut manifest = Manifest::default();
        manifest.set(label, value);
        manifest
    };
    let odd = [
        manifest("file a = b", "c"),
        manifest("file a", "b = c"),
        manifest("file a\nfile b", "c"),
        manifest("file a\\nfile b", "c"),
    ];
    let keys: BTreeSet<_> = odd.iter().map(Manifest::digest).collect();
    assert_eq!(keys.len(), odd.len());
    for manifest in odd {
        assert_eq!(Manifest::parse(&manifest.to_string()), manifest);
    }
}

#[test]
fn the_version_counts() {
    let changed = changes(recipe("VERSION=\"1.0\"", "VERSION=\"1.1\""));
    let archive = ["archive it-1.0.tar.gz", "archive it-1.1.tar.gz"];
    assert_eq!(
        changed,
        [&archive[..], &["variable SRCDIR", "variable TARBALL", "variable VERSION"]].concat()
    );
}

#[test]
fn any_variable_counts() {
    assert_eq!(changes(recipe("plain", "fancy")), ["variable FLAVOUR"]);
}

#[test]
fn whether_a_variable_is_exported_counts() {
    assert_eq!(changes(recipe("FLAVOUR=", "export FLAVOUR=")), ["variable FLAVOUR"]);
    assert_eq!(changes(recipe("LICENSE=", "export BOARD\nLICENSE=")), ["variable BOARD"]);
}

#[test]
fn the_text_of_a_step_counts() {
    assert_eq!(changes(recipe("work \"$FLAVOUR\"", "work \"$FLAVOUR\" more")), ["function build"]);
    assert_eq!(changes(recipe("apply_patches", "apply_patches; :")), ["function prepare"]);
    assert_eq!(changes(recipe("check_update()", "deploy() { :; }\ncheck_update()")), ["function deploy"]);
}

#[test]
fn a_function_of_a_sourced_file_counts() {
    assert_eq!(
        changes(|tree| tree.write("pkg/shared/functions", "work() {\n\techo more \"$@\"\n}\n")),
        ["function work"]
    );
}

#[test]
fn a_function_of_the_toolchain_counts_where_it_can_be_reached() {
    let toolchain = |text: &'static str| move |tree: &Tree| tree.write("board/tiny/TOOLCHAIN", text);
    assert_eq!(changes(toolchain("CPU=small\nUNUSED=1\ntune() { echo out of tune; }\n")), ["function tune"]);
    assert_eq!(changes(toolchain("CPU=small\nUNUSED=1\ntune() { echo tuned; }\nfar() { :; }\n")), NOTHING);
    let through = changes(toolchain("CPU=small\nUNUSED=1\ntune() { far; }\nfar() { echo \"$UNUSED\"; }\n"));
    assert_eq!(through, ["function far", "function tune", "variable UNUSED"]);
}

#[test]
fn a_variable_of_the_toolchain_counts_where_it_is_named() {
    let toolchain = |text: &'static str| move |tree: &Tree| tree.write("board/tiny/TOOLCHAIN", text);
    let tune = "tune() { echo tuned; }\n";
    let text = Box::leak(format!("CPU=large\nUNUSED=1\n{tune}").into_boxed_str());
    assert_eq!(changes(toolchain(text)), ["variable CPU"]);
    let text = Box::leak(format!("CPU=small\nUNUSED=2\nNEW=3\n{tune}").into_boxed_str());
    assert_eq!(changes(toolchain(text)), NOTHING);
    let text = Box::leak(format!("export CPU=small\nUNUSED=1\n{tune}").into_boxed_str());
    assert_eq!(changes(toolchain(text)), ["variable CPU"]);
    let text = Box::leak(format!("CPU=(small very)\nUNUSED=1\n{tune}").into_boxed_str());
    assert_eq!(changes(toolchain(text)), ["variable CPU"]);
}

#[test]
fn a_toolchain_file_that_appears_at_a_more_specific_place_counts() {
    assert_eq!(changes(|tree| tree.write("product/demo/TOOLCHAIN", "CPU=tuned\n")), ["variable CPU"]);
}

#[test]
fn every_file_of_the_package_counts() {
    assert_eq!(changes(|tree| tree.write("pkg/it/01.patch", "another\n")), ["file 01.patch"]);
    assert_eq!(changes(|tree| tree.write("pkg/it/files/deep/list", "two\n")), ["file files"]);
    assert_eq!(changes(|tree| tree.write("pkg/it/new", "")), ["file new"]);
    assert_eq!(
        changes(|tree| fs_err::remove_file(tree.at("tree/pkg/it/01.patch")).unwrap()),
        ["file 01.patch"]
    );
    let rename = |tree: &Tree| {
        fs_err::rename(tree.at("tree/pkg/it/01.patch"), tree.at("tree/pkg/it/02.patch")).unwrap()
    };
    assert_eq!(changes(rename), ["file 01.patch", "file 02.patch"]);
    assert_eq!(changes(|tree| fs_err::create_dir(tree.at("tree/pkg/it/empty")).unwrap()), ["file empty"]);
}

#[test]
fn the_mode_of_a_file_counts() {
    let mode = |tree: &Tree| {
        fs_err::set_permissions(tree.at("tree/pkg/it/01.patch"), std::fs::Permissions::from_mode(0o755))
            .unwrap();
    };
    assert_eq!(changes(mode), ["file 01.patch"]);
}

#[test]
fn what_a_link_leads_to_counts_where_a_room_shows_it() {
    let tree = base().file("pkg/common/a", "a\n").file("pkg/common/deep/b", "b\n");
    for (link, target) in [
        ("pkg/it/a", "../common/a"),
        ("pkg/it/deep", "../common/deep"),
        ("product/demo/it.conf", "../../pkg/common/a"),
    ] {
        fs_err::os::unix::fs::symlink(target, tree.at("tree").join(link)).unwrap();
    }
    // One that leads to a folder which holds it must not be followed without end.
    fs_err::os::unix::fs::symlink("..", tree.at("tree/pkg/it/up")).unwrap();
    fs_err::os::unix::fs::symlink("../it", tree.at("tree/pkg/common/deep/back")).unwrap();
    assert_eq!(changes_of(&tree, |tree| tree.write("pkg/common/a", "other\n")), ["file a", "lookup it.conf"]);
    assert_eq!(changes_of(&tree, |tree| tree.write("pkg/common/deep/b", "other\n")), ["file deep"]);
}

#[test]
fn a_package_whose_folder_is_a_link_has_the_files_of_the_other() {
    let tree = base()
        .package("it", "source \"$SCRIPTDIR/pkg/alias/build\"\nDEPENDS=")
        .package("real", "VERSION=3\nbuild() { :; }");
    fs_err::os::unix::fs::symlink("real", tree.at("tree/pkg/alias")).unwrap();
    assert_eq!(
        changes_of(&tree, |tree| tree.write("pkg/real/build", "VERSION=4\nbuild() { :; }")),
        ["variable VERSION"]
    );
}

#[test]
fn configuration_that_evaluation_looked_for_counts_also_in_vain() {
    let tree = base();
    let specific = "product/demo/tiny/it.conf";
    assert_eq!(
        changes_of(&tree, |tree| tree.write("board/tiny/it.conf", "a\n")),
        ["lookup it.conf", "variable CONFIGURED"]
    );
    assert_eq!(changes_of(&tree, |tree| tree.write(specific, "b\n")), ["lookup it.conf"]);
    assert_eq!(changes_of(&tree, |tree| tree.write(specific, "c\n")), ["lookup it.conf"]);
    assert_eq!(changes_of(&tree, |tree| tree.write("product/demo/other.conf", "c\n")), NOTHING);
}

#[test]
fn a_recipe_that_goes_to_board_or_product_by_itself_has_all_of_it_as_input() {
    for way in ["cat \"$SCRIPTDIR/product/x\"", "cat \"${SCRIPTDIR}\"/product/x", "cd $SCRIPTDIR/'product'"] {
        let tree = base().package("it", &format!("build() {{\n\t{way}\n}}"));
        assert_eq!(changes_of(&tree, |tree| tree.write("product/demo/far", "")), ["folder product"], "{way}");
        assert_eq!(changes_of(&tree, |tree| tree.write("board/tiny/far", "")), NOTHING);
    }
    let tree = base().package("it", "LIST=\"$SCRIPTDIR/board/$BOARD\"\nbuild() { cat \"$LIST/x\"; }");
    assert_eq!(changes_of(&tree, |tree| tree.write("board/tiny/far", "")), ["folder board"]);
    let tree = base().package("it", "# not SCRIPTDIR/board\nbuild() { ls \"${MK_CONFIG_PLACES[@]}\"; }");
    assert_eq!(changes_of(&tree, |tree| tree.write("board/tiny/far", "")), ["lookup ."]);
}

#[test]
fn options_umask_path_traps_and_what_is_taken_away_count() {
    for line in [
        "set -f",
        "shopt -s nullglob",
        "umask 077",
        "PATH=\"$TCDIR/more:$PATH\"",
        "IFS=:",
        "trap 'echo out' EXIT",
        "alias ls='ls -a'",
        "unset BOARD",
        "unset -f tune",
        "set -o pipefail",
    ] {
        assert_eq!(changes(recipe("LICENSE=", &format!("{line}\nLICENSE="))), ["options"], "{line}");
    }
    assert_eq!(changes(recipe("LICENSE=", "# not pipefail\nLICENSE=")), NOTHING);
    let tree = base().package("it", "build() { tell; }\ntell() { :; }");
    let exports = "build() { tell; }\ntell() { :; }\nexport -f tell";
    assert_eq!(changes_of(&tree, |tree| tree.write("pkg/it/build", exports)), ["options"]);
    for (name, value) in [("SHELL", "/bin/dash"), ("MACHTYPE", "other"), ("TERM", "xterm"), ("PS4", "-")] {
        let set = changes(recipe("LICENSE=", &format!("{name}={value}\nLICENSE=")));
        assert_eq!(set, [format!("variable {name}")]);
    }
    let without_make = changes(recipe("LICENSE=", "unset -f make\nLICENSE="));
    assert_eq!(without_make, ["helper make", "helper mk_drop_jobs", "options"]);
}

#[test]
fn variables_of_the_environment_count_where_the_recipe_names_them() {
    let tree = base();
    let with = |name: &str, value: &str| {
        let environment = HashMap::from([(name.to_owned(), value.to_owned())]);
        manifest_of(&Settings { environment, ..settings(&tree) }, "tiny", "demo")
    };
    let without = manifest(&tree);
    assert_eq!(labels(&without, &with("LEVEL", "3")), ["environment LEVEL", "variable LEVEL"]);
    assert_ne!(with("LEVEL", "3").digest(), with("LEVEL", "4").digest());
    assert_eq!(labels(&without, &with("SOMETHING", "3")), NOTHING);
    assert_eq!(labels(&without, &with("PATH", "/nowhere")), NOTHING);
}

#[test]
fn the_digest_of_the_archive_counts() {
    assert_eq!(changes(recipe("111111", "222222")), ["archive it-1.0.tar.gz"]);
}

#[test]
fn the_name_of_the_package_counts() {
    let tree = base()
        .package("it", "build() { echo \"$PKGNAME\"; }")
        .package("twin", "build() { echo \"$PKGNAME\"; }");
    let store = Store::open(&tree.at("store")).unwrap();
    let loaded =
        mk::load::load(&settings(&tree), &store, "tiny", "demo", &["it".to_owned(), "twin".to_owned()])
            .unwrap();
    let key = |name: &str| {
        loaded
            .ingredients(true)
            .manifest(&loaded.graph.packages[loaded.place(name).unwrap()])
            .unwrap()
            .digest()
    };
    assert_ne!(key("it"), key("twin"));
}

#[test]
fn a_tool_of_this_machine_counts_where_it_is_named() {
    let of =
        |tools: &str| manifest(&base().package("it", &format!("HOSTTOOLS=\"{tools}\"\nbuild() {{ :; }}")));
    let manifest = of("bash no-such-tool");
    assert_eq!(manifest.get("tool bash").unwrap().len(), 64);
    assert_eq!(manifest.get("tool no-such-tool"), Some("-"));
}

#[test]
fn platform_runtime_format_and_rooms_are_in_every_manifest() {
    let tree = base();
    let in_rooms = manifest(&tree);
    for label in ["format", "package", "platform", "runtime"] {
        assert!(in_rooms.get(label).is_some(), "{label}");
    }
    let without = manifest_of(&Settings { rooms: Rooms::Never, ..settings(&tree) }, "tiny", "demo");
    assert_eq!(labels(&in_rooms, &without), ["rooms"]);
}

#[test]
fn a_helper_counts_for_those_that_can_reach_it() {
    let helpers = |text: &str| -> Vec<String> {
        let manifest = manifest(&base().package("it", text));
        let lines = manifest.to_string();
        lines
            .lines()
            .filter_map(|line| Some(line.strip_prefix("helper ")?.split_once(' ')?.0.to_owned()))
            .collect()
    };
    assert_eq!(helpers("build() { :; }"), [""; 0]);
    assert_eq!(helpers("build() { make all; }"), ["make", "mk_drop_jobs"]);
    assert_eq!(helpers("build() { run_autotools \"$1\"; }"), ["run_autotools", "run_configure"]);
    assert_eq!(
        helpers("KIND=x\nbuild() { \"kernel_$KIND\" \"$1\"; }"),
        ["config_check", "config_merge", "kernel_config", "kernel_make", "make", "mk_drop_jobs"]
    );
}

#[test]
fn what_only_describes_does_not_count() {
    assert_eq!(changes(recipe("https://host.invalid/it", "https://elsewhere.invalid/")), NOTHING);
    assert_eq!(changes(recipe("MIT", "BSD")), NOTHING);
    assert_eq!(changes(recipe("\techo \"$VERSION\"", "\techo 7")), NOTHING);
    // Unless a step names it.
    let before = manifest(&base().package("it", "LICENSE=MIT\nbuild() { echo $LICENSE; }"));
    let after = manifest(&base().package("it", "LICENSE=BSD\nbuild() { echo $LICENSE; }"));
    assert_eq!(labels(&before, &after), ["variable LICENSE"]);
}

#[test]
fn comments_and_layout_do_not_count() {
    assert_eq!(
        changes(recipe("build() {\n", "# a comment\nbuild()   {   # another\n\n\t\t# and one more\n")),
        NOTHING
    );
    assert_eq!(
        changes(|tree| tree.write("pkg/shared/functions", "# new\nwork() {\n\techo \"$@\" # same\n}\n")),
        NOTHING
    );
}

#[test]
fn times_do_not_count() {
    let old = |tree: &Tree| {
        for file in ["build", "01.patch", "files/deep/list"] {
            let file = fs_err::File::open(tree.at("tree/pkg/it").join(file)).unwrap();
            file.file().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }
    };
    assert_eq!(changes(old), NOTHING);
}

#[test]
fn other_packages_and_files_that_nobody_asked_for_do_not_count() {
    assert_eq!(changes(|tree| tree.write("pkg/other/build", "VERSION=2")), NOTHING);
    assert_eq!(changes(|tree| tree.write("pkg/dep/build", "build() { true; false; }")), NOTHING);
    assert_eq!(changes(|tree| tree.write("product/demo/sysctl.conf", "x")), NOTHING);
    assert_eq!(changes(|tree| tree.write("product/elsewhere/it.conf", "x")), NOTHING);
    assert_eq!(changes(|tree| tree.write("README", "x")), NOTHING);
}

#[test]
fn where_things_lie_does_not_count() {
    let (one, two) = (base(), base());
    assert_eq!(labels(&manifest(&one), &manifest(&two)), NOTHING);
    fs_err::create_dir(one.at("elsewhere")).unwrap();
    let elsewhere = Settings {
        workspace: Workspace::new(&one.at("elsewhere")).unwrap(),
        store: one.at("another-store"),
        ..settings(&one)
    };
    assert_eq!(labels(&manifest(&one), &manifest_of(&elsewhere, "tiny", "demo")), NOTHING);
}

#[test]
fn the_number_of_jobs_does_not_count() {
    let tree = base().package("it", "MAKE=\"make -j$NUMJOBS\"\nbuild() { $MAKE -j$((NUMJOBS * 2)); }");
    let with = |jobs| manifest_of(&Settings { jobs, ..settings(&tree) }, "tiny", "demo");
    assert_eq!(labels(&with(1), &with(64)), NOTHING);
}

#[test]
fn board_and_product_count_where_they_are_named() {
    let tree = base().board("large").product("more");
    fs_err::copy(tree.at("tree/board/tiny/TOOLCHAIN"), tree.at("tree/board/large/TOOLCHAIN")).unwrap();
    let settings = settings(&tree);
    let tiny = manifest_of(&settings, "tiny", "demo");
    assert_eq!(labels(&tiny, &manifest_of(&settings, "tiny", "more")), NOTHING);
    assert_eq!(labels(&tiny, &manifest_of(&settings, "large", "demo")), ["variable BOARD"]);
}

mod file_digests {
    //! The memory of file digests, and the races that it must not lose.

    use super::*;
    use mk::filedigest::Stat;
    use std::time::SystemTime;

    /// A memory that was saved and read back.
    fn again(digests: &FileDigests, folder: &Path) -> FileDigests {
        let file = folder.join("memory");
        digests.save(&file).unwrap();
        FileDigests::load(&file)
    }

    #[test]
    fn a_file_that_changes_without_its_times_showing_it_is_never_missed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for round in 0..200 {
            // Same length, same inode, most of them within one tick of the clock.
            fs_err::write(&path, format!("{round:04}")).unwrap();
            let digests = FileDigests::default();
            let first = digests.reader(None).file(&path).unwrap();
            assert_eq!(first, Some(mk::digest::Digest::of(format!("{round:04}"))));
            fs_err::write(&path, format!("{:04}", round + 1000)).unwrap();
            let second = mk::digest::Digest::of(format!("{:04}", round + 1000));
            assert_eq!(digests.reader(None).file(&path).unwrap(), Some(second), "within one run");
            assert_eq!(
                again(&digests, dir.path()).reader(None).file(&path).unwrap(),
                Some(second),
                "in the next run"
            );
        }
    }

    #[test]
    fn a_time_set_back_does_not_hide_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let set = |text: &str, time: SystemTime| {
            fs_err::write(&path, text).unwrap();
            fs_err::File::options().write(true).open(&path).unwrap().file().set_modified(time).unwrap();
        };
        for time in [
            SystemTime::UNIX_EPOCH + Duration::from_secs(1),
            SystemTime::now() + Duration::from_secs(1 << 30),
        ] {
            set("one", time);
            let digests = FileDigests::default();
            digests.reader(None).file(&path).unwrap();
            set("two", time);
            assert_eq!(
                again(&digests, dir.path()).reader(None).file(&path).unwrap(),
                Some(mk::digest::Digest::of("two"))
            );
        }
    }

    #[test]
    fn what_changed_long_ago_is_remembered_and_what_is_fresh_or_of_the_future_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs_err::write(&path, "x").unwrap();
        let stat = Stat::of(&fs_err::metadata(&path).unwrap());
        let now = fs_err::metadata(&path).unwrap().modified().unwrap();
        assert!(stat.too_fresh(now + Duration::from_millis(1)));
        assert!(!stat.too_fresh(now + Duration::from_secs(2)));
        assert!(stat.too_fresh(now - Duration::from_secs(3600)), "the clock was set back");
        // An mtime far in the future is somebody's whim; what changes the file changes its ctime.
        fs_err::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .file()
            .set_modified(now + Duration::from_secs(1 << 30))
            .unwrap();
        let stat = Stat::of(&fs_err::metadata(&path).unwrap());
        assert!(!stat.too_fresh(SystemTime::now() + Duration::from_secs(10)));
    }

    #[test]
    fn a_file_in_place_of_another_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("file"), dir.path().join("other"));
        fs_err::write(&path, "one").unwrap();
        let digests = FileDigests::default();
        digests.reader(None).file(&path).unwrap();
        fs_err::write(&other, "two").unwrap();
        let time = fs_err::metadata(&path).unwrap().modified().unwrap();
        fs_err::File::options().write(true).open(&other).unwrap().file().set_modified(time).unwrap();
        fs_err::rename(&other, &path).unwrap();
        assert_eq!(
            again(&digests, dir.path()).reader(None).file(&path).unwrap(),
            Some(mk::digest::Digest::of("two"))
        );
    }

    #[test]
    fn a_damaged_memory_is_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, memory) = (dir.path().join("file"), dir.path().join("memory"));
        fs_err::write(&path, "x").unwrap();
        for text in ["", "{", "[[\"/x\", 1]]"] {
            fs_err::write(&memory, text).unwrap();
            assert_eq!(
                FileDigests::load(&memory).reader(None).file(&path).unwrap(),
                Some(mk::digest::Digest::of("x"))
            );
        }
    }
}
