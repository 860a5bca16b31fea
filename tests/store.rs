//! Never stale, never twice: what is built again after a change and what is not, one store for everything, and a store that is
//! damaged, full, read only or somebody else's.

#![allow(clippy::unwrap_used, reason = "clippy knows only the test functions themselves as tests")]

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use harness::{MK, Transcript, Tree, picture};
use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;

/// The objects of a text with one on each line.
fn objects(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

/// Packages that a run built, by its events.
fn built_of(events: &str) -> Vec<String> {
    let ended = |event: &Value| event["event"] == "package-ended" && event["outcome"] == "built";
    objects(events).iter().filter(|e| ended(e)).map(|e| e["package"].as_str().unwrap().to_owned()).collect()
}

/// What a plan says of each package: action and reason.
fn plan(tree: &Tree, words: &[&str]) -> BTreeMap<String, (String, String)> {
    let planned = tree.mk_words(&[&["plan", "--format", "json"], words].concat());
    assert_eq!(planned.status, 0, "{}", planned.stderr);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let listing: Value = serde_json::from_str(&planned.stdout).unwrap();
    let packages = listing["packages"].as_array().unwrap().iter();
    packages.map(|p| (text(&p["name"]), (text(&p["action"]), text(&p["reason"])))).collect()
}

/// Plans and builds, checks that what was planned is what happened, and says what was built, in alphabetical order.
#[track_caller]
fn build_words(tree: &Tree, words: &[&str]) -> Vec<String> {
    let planned = plan(tree, words);
    let ran = tree.mk_words(&[&["--format", "json", "build"], words].concat());
    assert_eq!(ran.status, 0, "{}\n{}", ran.stdout, ran.stderr);
    let built: BTreeSet<String> = built_of(&ran.stdout).into_iter().collect();
    for (package, (action, reason)) in &planned {
        match action.as_str() {
            "build" => assert!(built.contains(package), "{package} was to be built: {reason}"),
            "reuse" => assert!(!built.contains(package), "{package} was to be reused"),
            "maybe" => assert!(reason.starts_with("waits for the output of `"), "{package}: {reason}"),
            other => panic!("{package}: {other}"),
        }
    }
    assert!(built.iter().all(|package| planned.contains_key(package)));
    built.into_iter().collect()
}

#[track_caller]
fn build(tree: &Tree) -> Vec<String> {
    build_words(tree, &["tiny", "demo"])
}

const NOTHING: [&str; 0] = [];

/// A package that others need, three that need it, and the image.
fn diamond() -> Tree {
    let user = |name: &str| {
        format!(
            "DEPENDS=base\nbuild() {{ mkdir -p \"$2/lib\"; cat \"$PKGDEPLOYDIR/base/lib/base\" > \"$2/lib/{name}\"; }}"
        )
    };
    Tree::new()
        .package("base", "build() {\n\tmkdir -p \"$2/lib\"\n\techo base > \"$2/lib/base\"\n}\n")
        .package("left", &user("left"))
        .package("middle", &user("middle"))
        .package("right", &user("right"))
        .package(
            "release-tiny",
            "DEPENDS=\"left middle right\"\nbuild() { cat \"$PKGDEPLOYDIR\"/*/lib/* > \"$2/image\"; }",
        )
}

/// Every result of a store: package and output.
fn outputs(store: &Path) -> BTreeSet<(String, String)> {
    let store = mk::store::Store::open(store).unwrap();
    store.entries().iter().map(|e| (e.meta.package.to_string(), e.meta.output.to_string())).collect()
}

#[test]
fn everything_is_built_once_and_then_nothing() {
    let tree = diamond();
    assert_eq!(build(&tree), ["base", "left", "middle", "release-tiny", "right"]);
    assert_eq!(build(&tree), NOTHING);
    tree.mk("tiny demo").has("nothing to do: 5 packages reused");
}

#[test]
fn a_change_rebuilds_what_depends_on_it_and_a_change_back_rebuilds_nothing() {
    let tree = diamond();
    build(&tree);
    let old = fs_err::read_to_string(tree.at("tree/pkg/base/build")).unwrap();
    tree.write("pkg/base/build", &old.replace("echo base", "echo other"));
    let planned = plan(&tree, &["tiny", "demo"]);
    assert_eq!(planned["base"].0, "build");
    assert!(planned["base"].1.starts_with("function build: text "), "{:?}", planned["base"]);
    assert_eq!(planned["left"], ("maybe".to_owned(), "waits for the output of `base`".to_owned()));
    assert_eq!(build(&tree), ["base", "left", "middle", "release-tiny", "right"]);
    assert_eq!(tree.deployed("release-tiny", "image"), "other\nother\nother\nother\n");
    tree.write("pkg/base/build", &old);
    assert_eq!(build(&tree), NOTHING);
    assert_eq!(tree.deployed("release-tiny", "image"), "base\nbase\nbase\nbase\n");
}

#[test]
fn a_change_that_leaves_the_output_equal_stops_there() {
    let tree = diamond();
    build(&tree);
    tree.write(
        "pkg/base/build",
        "VERSION=2\nbuild() {\n\tmkdir -p \"$2/lib\"\n\tprintf 'base\\n' > \"$2/lib/base\"\n}\n",
    );
    let planned = plan(&tree, &["tiny", "demo"]);
    assert!(["left", "middle", "right", "release-tiny"].iter().all(|name| planned[*name].0 == "maybe"));
    assert_eq!(build(&tree), ["base"]);
    assert_eq!(build(&tree), NOTHING);
}

#[test]
fn new_kernel_headers_that_are_the_same_rebuild_nothing_above_them() {
    let headers = |version: &str| {
        format!(
            "VERSION={version}\nbuild() {{ mkdir -p \"$2/include\"; echo 'int kernel;' > \"$2/include/kernel.h\"; }}"
        )
    };
    let tree = Tree::new()
        .file("board/tiny/TOOLCHAIN", "TARGET=tiny-linux\n")
        .package("headers", &headers("1"))
        .package("libc", "DEPENDS=headers\nbuild() { mkdir -p \"$TCDIR/$TARGET/lib\"; cp \"$TCDIR/$TARGET/include/kernel.h\" \"$TCDIR/$TARGET/lib/libc\"; }")
        .package("cc", "DEPENDS=libc\nbuild() { mkdir -p \"$TCDIR/bin\"; cp \"$TCDIR/$TARGET/lib/libc\" \"$TCDIR/bin/cc\"; }")
        .package("program", "DEPENDS=cc\nbuild() { cp \"$TCDIR/bin/cc\" \"$2/program\"; }")
        .package("release-tiny", "DEPENDS=program");
    build(&tree);
    assert_eq!(tree.deployed("program", "program"), "int kernel;\n");
    tree.write("pkg/headers/build", &headers("2"));
    assert_eq!(build(&tree), ["headers"]);
    tree.write("pkg/headers/build", &headers("2").replace("int", "long"));
    assert_eq!(build(&tree), ["cc", "headers", "libc", "program", "release-tiny"]);
}

#[test]
fn what_a_step_looks_up_while_it_runs_is_checked_the_next_time() {
    let tree = Tree::new()
        .file("board/tiny/dnsmasq.conf", "of the board\n")
        .package("dnsmasq", "NAME=dnsmasq\nbuild() { cat_file_override \"$NAME.conf\" > \"$2/conf\"; }")
        .package("asks-in-vain", "build() { local f=nothing; file_path_override \"$f.conf\"; [ -z \"$(file_path_override \"$f.conf\")\" ] || touch \"$2/there\"; }")
        .package("other", "build() { echo other > \"$2/other\"; }")
        .package("release-tiny", "DEPENDS=\"dnsmasq other asks-in-vain\"\nbuild() { cp \"$PKGDEPLOYDIR/dnsmasq/conf\" \"$2\"; }");
    build(&tree);
    assert_eq!(tree.deployed("release-tiny", "conf"), "of the board\n");
    tree.write("product/demo/tiny/dnsmasq.conf", "of both\n");
    assert_eq!(build(&tree), ["dnsmasq", "release-tiny"]);
    assert_eq!(tree.deployed("release-tiny", "conf"), "of both\n");
    tree.mk("why tiny demo").is("nothing would be built: every result is there\n");
    fs_err::remove_file(tree.at("tree/product/demo/tiny/dnsmasq.conf")).unwrap();
    assert_eq!(build(&tree), NOTHING);
    assert_eq!(tree.deployed("release-tiny", "conf"), "of the board\n");
    tree.write("product/demo/nothing.conf", "something\n");
    assert_eq!(build(&tree), ["asks-in-vain", "release-tiny"]);
    // The same content at a less specific place changes which file it is, and nothing else.
    tree.write("product/demo/dnsmasq.conf", "of the board\n");
    assert_eq!(build(&tree), ["dnsmasq"]);
}

#[test]
fn what_prepare_looks_up_is_checked_too() {
    let tree = Tree::new().archive("a-1.tar.gz", &[("a-1/file", "x\n")]).package(
        "release-tiny",
        "TARBALL=a-1.tar.gz\nSRCDIR=a-1\nURL=ARCHIVES\nSHA256SUM=SHA256(a-1.tar.gz)\nprepare() { local n=a; cat_file_override $n.conf >> file; }\nbuild() { cp \"$1/file\" \"$2\"; }",
    );
    build(&tree);
    assert_eq!(tree.deployed("release-tiny", "file"), "x\n");
    tree.write("board/tiny/a.conf", "board\n");
    assert_eq!(build(&tree), ["release-tiny"]);
    assert_eq!(tree.deployed("release-tiny", "file"), "x\nboard\n");
    fs_err::remove_file(tree.at("tree/board/tiny/a.conf")).unwrap();
    assert_eq!(build(&tree), NOTHING);
    assert_eq!(tree.deployed("release-tiny", "file"), "x\n");
}

#[test]
fn a_recipe_that_a_step_loads_is_an_input() {
    let tree = Tree::new()
        .package("base", "VERSION=1\nbuild() { :; }")
        .package("release-tiny", "DEPENDS=base\nbuild() { include_pkg base; echo \"$VERSION\" > \"$PKGDEPLOYDIR/release-tiny/version\"; }");
    build(&tree);
    assert_eq!(tree.deployed("release-tiny", "version"), "1\n");
    tree.write("pkg/base/build", "VERSION=2\nbuild() { :; }");
    assert_eq!(build(&tree), ["base", "release-tiny"]);
    assert_eq!(tree.deployed("release-tiny", "version"), "2\n");
}

#[test]
fn links_in_the_tree_are_shown_with_what_they_lead_to() {
    let tree = Tree::new()
        .file("pkg/common/list", "one\n")
        .file("pkg/common/deep/inner", "deep\n")
        .package("release-tiny", "build() { cat \"$SCRIPTDIR/pkg/$PKGNAME/list\" \"$SCRIPTDIR/pkg/$PKGNAME/deep/inner\" > \"$2/list\"; local n=shared; cat_file_override $n.conf >> \"$2/list\"; }");
    for (link, target) in [
        ("pkg/release-tiny/list", "../common/list"),
        ("pkg/release-tiny/deep", "../common/deep"),
        ("product/demo/shared.conf", "../../pkg/common/list"),
    ] {
        fs_err::os::unix::fs::symlink(target, tree.at("tree").join(link)).unwrap();
    }
    build(&tree);
    assert_eq!(tree.deployed("release-tiny", "list"), "one\ndeep\none\n");
    tree.write("pkg/common/list", "two\n");
    assert_eq!(build(&tree), ["release-tiny"]);
    assert_eq!(tree.deployed("release-tiny", "list"), "two\ndeep\ntwo\n");
}

#[test]
fn why_names_every_changed_input_old_and_new() {
    let tree = diamond()
        .package("base", "VERSION=1\nFLAVOUR=plain\nbuild() { mkdir \"$2/lib\"; : > \"$2/lib/base\"; }")
        .file("pkg/base/a.patch", "a");
    tree.mk("why tiny demo base").is("base: build\n  never built\n");
    build(&tree);
    tree.mk("why tiny demo base").is("base: reuse: nothing that it depends on has changed\n");
    tree.write("pkg/base/build", "VERSION=2\nFLAVOUR=\nbuild() { mkdir \"$2/lib\"; : > \"$2/lib/base\"; }");
    fs_err::remove_file(tree.at("tree/pkg/base/a.patch")).unwrap();
    let why = tree.mk("why tiny demo base");
    let lines: Vec<&str> = why.stdout.lines().collect();
    assert_eq!(lines[..3], ["base: build", "  VERSION: 1 → 2", "  FLAVOUR: plain → (empty)"]);
    assert!(lines[3].starts_with("  file a.patch: 644 ") && lines[3].ends_with(" → (absent)"), "{why:?}");
    tree.mk("why tiny demo left").is("left: maybe\n  waits for the output of `base`\n");
}

#[test]
fn why_names_the_places_of_configuration_and_the_environment_once() {
    let tree = Tree::new()
        .file("board/tiny/WIFI", "old\n")
        .package("a", "cat_file_merge WIFI > /dev/null\nbuild() { echo \"$LEVEL\"; }")
        .env("LEVEL", "1");
    build_words(&tree, &["tiny", "demo", "a"]);
    let tree = tree.env("LEVEL", "2");
    tree.write("board/tiny/WIFI", "new\n");
    tree.write("product/demo/tiny/WIFI", "new\n");
    let why = tree.mk("why tiny demo a").stdout;
    let lines: Vec<&str> = why.lines().collect();
    assert_eq!(lines.len(), 4, "{why}");
    assert!(lines[1].starts_with("  board/tiny/WIFI: 644 ") && lines[1].contains(" → 644 "), "{why}");
    assert!(lines[2].starts_with("  product/demo/tiny/WIFI: (absent) → 644 "), "{why}");
    assert_eq!(lines[3], "  environment LEVEL: 1 → 2");
}

#[test]
fn a_second_product_a_second_workspace_and_a_renamed_one_reuse_what_does_not_differ() {
    let tree = diamond()
        .product("more")
        .package("special", "build() { echo \"$PRODUCT\" > \"$2/product\"; }")
        .package("release-tiny", "DEPENDS=\"left middle right special\"");
    build(&tree);
    assert_eq!(build_words(&tree, &["tiny", "more"]), ["release-tiny", "special"]);
    fs_err::create_dir(tree.at("second")).unwrap();
    let second = tree.at("second").display().to_string();
    assert_eq!(build_words(&tree, &["-C", &second, "tiny", "demo"]), NOTHING);
    assert_eq!(tree.deployed("special", "product"), "demo\n");
    fs_err::rename(tree.at("second"), tree.at("renamed")).unwrap();
    let renamed = tree.at("renamed").display().to_string();
    assert_eq!(build_words(&tree, &["-C", &renamed, "tiny", "demo"]), NOTHING);
    let elsewhere = tree.at("another-store").display().to_string();
    assert_eq!(build_words(&tree, &["--store", &elsewhere, "tiny", "demo"]).len(), 6);
    assert_eq!(build(&tree), NOTHING);
}

/// A lock of the store, as another process would hold it.
fn hold(tree: &Tree, name: &str, how: FlockArg) -> Flock<std::fs::File> {
    fs_err::create_dir_all(tree.at("store/lock")).unwrap();
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(tree.at("store/lock").join(name));
    Flock::lock(file.unwrap(), how).unwrap()
}

/// Waits until a process has a file open.
fn until_open(pid: u32, path: &Path) {
    until(|| {
        let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        links.filter_map(|link| std::fs::read_link(link.path()).ok()).any(|target| target == path)
    });
}

#[track_caller]
fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited for too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn two_at_once_build_each_package_once_and_both_succeed() {
    for workspaces in [["workspace", "workspace"], ["workspace", "second"]] {
        let tree = diamond().env("MK_JOBS", "2");
        tree.mk("plan tiny demo");
        fs_err::create_dir_all(tree.at("second")).unwrap();
        // Both have planned to build everything before either begins.
        let gate = hold(&tree, "sweep", FlockArg::LockExclusive);
        let children = workspaces.map(|workspace| {
            let mut command = tree.command(&["--format", "json", "tiny", "demo"]);
            command
                .current_dir(tree.at(workspace))
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        });
        for child in &children {
            until_open(child.id(), &tree.at("store/lock/sweep"));
        }
        drop(gate);
        let mut built = Vec::new();
        for child in children {
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
            built.extend(built_of(&text));
        }
        built.sort();
        assert_eq!(built, ["base", "left", "middle", "release-tiny", "right"], "{workspaces:?}");
        assert_eq!(build(&tree), NOTHING);
        assert_eq!(fs_err::read_dir(tree.at("store/tmp")).unwrap().count(), 0);
    }
}

#[test]
fn a_failed_build_leaves_no_result_and_is_tried_again() {
    let tree = diamond().package("middle", "DEPENDS=base\nbuild() { mkdir \"$2/lib\"; false; }");
    let failed = tree.mk("-k tiny demo");
    assert_eq!(failed.status, 1);
    assert!(outputs(&tree.at("store")).iter().all(|(package, _)| package != "middle"));
    tree.write("pkg/middle/build", "DEPENDS=base\nbuild() { mkdir \"$2/lib\"; : > \"$2/lib/middle\"; }");
    assert_eq!(build(&tree), ["middle", "release-tiny"]);
}

#[test]
fn results_made_without_rooms_stay_out_of_the_shared_store() {
    let tree = diamond();
    assert_eq!(build_words(&tree, &["--rooms", "never", "tiny", "demo"]).len(), 5);
    assert!(outputs(&tree.at("store")).is_empty());
    assert_eq!(outputs(&tree.built(".mk/store")).len(), 5);
    assert_eq!(build_words(&tree, &["--rooms", "never", "tiny", "demo"]), NOTHING);
    // Nor does a build in rooms take them.
    assert_eq!(build(&tree).len(), 5);
}

#[test]
fn a_store_of_another_version_or_no_store_at_all_is_an_error_and_left_alone() {
    let tree = diamond();
    let foreign = tree.at("foreign");
    fs_err::create_dir(&foreign).unwrap();
    fs_err::write(foreign.join("letter"), "dear").unwrap();
    let of_later = tree.at("later");
    fs_err::create_dir_all(of_later.join("entry/ab")).unwrap();
    fs_err::write(of_later.join("format"), "mk-store 99\n").unwrap();
    let before = (picture(&foreign), picture(&of_later));
    for command in [
        "tiny demo",
        "plan tiny demo",
        "why tiny demo",
        "gc",
        "store list",
        "store verify --remove",
        "verify tiny demo",
    ] {
        tree.mk(&format!("--store {} {command}", foreign.display()))
            .is("! error: `/foreign` is not a store: it holds other things\n! hint: name an empty or new folder with --store or MK_STORE; nothing in this one was touched\nstatus 5\n");
        tree.mk(&format!("--store {} {command}", of_later.display()))
            .is("! error: store `/later` has the format `mk-store 99`, this `mk` writes `mk-store 1`\n! hint: name another folder with --store or MK_STORE; nothing in this one was touched\nstatus 5\n");
    }
    assert_eq!((picture(&foreign), picture(&of_later)), before);
}

/// The folder of a package's only result.
fn entry(tree: &Tree, package: &str) -> PathBuf {
    let store = mk::store::Store::open(&tree.at("store")).unwrap();
    let mut entries = store.entries().into_iter().filter(|entry| entry.meta.package.as_str() == package);
    let entry = entries.next().unwrap();
    assert!(entries.next().is_none());
    entry.path
}

#[test]
fn entries_are_read_only_and_hold_a_readable_manifest() {
    let tree = diamond();
    build(&tree);
    let entry = entry(&tree, "left");
    let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&entry), mode(&entry.join("meta.json")), mode(&entry.join("manifest"))),
        (0o555, 0o444, 0o444)
    );
    let manifest = fs_err::read_to_string(entry.join("manifest")).unwrap();
    assert!(manifest.contains("\nneeds base = ") && manifest.contains("\npackage = left\n"), "{manifest}");
    assert_eq!(mk::digest::Digest::of(manifest).to_string(), entry.file_name().unwrap().to_str().unwrap());
}

#[test]
fn damaged_results_are_found_removed_and_built_again() {
    let tree = diamond();
    build(&tree);
    tree.mk("store verify").is("5 results, all as they were made\n");
    let good = outputs(&tree.at("store"));
    let (left, right, middle, base) =
        (entry(&tree, "left"), entry(&tree, "right"), entry(&tree, "middle"), entry(&tree, "base"));
    fs_err::write(left.join("deploy/lib/left"), "basf\n").unwrap();
    fs_err::write(right.join("deploy/lib/right"), "ba").unwrap();
    let meta = fs_err::read_to_string(middle.join("meta.json")).unwrap();
    fs_err::write(middle.join("meta.json"), &meta[..meta.len() / 2]).unwrap();
    fs_err::write(base.join("manifest"), "format = 1\n").unwrap();
    let found = tree.mk("store verify");
    assert_eq!(found.status, 5);
    found.has("! error: 4 of 5 results are damaged").has("! hint: `mk store verify --remove` removes them");
    for line in [
        "its meta.json cannot be read",
        "left /store/entry/",
        "right /store/entry/",
        "its manifest is not the one",
    ] {
        found.has(line);
    }
    let listed = tree.mk("store verify --format json");
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!((listed["results"].as_u64(), listed["damaged"].as_array().map(Vec::len)), (Some(5), Some(4)));
    assert_eq!(tree.mk("store verify --remove").status, 5);
    tree.mk("store verify").is("1 results, all as they were made\n");
    assert_eq!(build(&tree), ["base", "left", "middle", "right"]);
    assert_eq!(outputs(&tree.at("store")), good);
}

#[test]
fn a_result_whose_description_is_cut_short_is_absent_and_is_built_again_in_its_place() {
    let tree = diamond();
    build(&tree);
    let meta = entry(&tree, "middle").join("meta.json");
    for text in ["", "{\"package\":", "null"] {
        fs_err::write(&meta, text).unwrap();
        assert_eq!(build(&tree), ["middle"]);
        assert!(fs_err::read_to_string(&meta).unwrap().contains("middle"));
    }
}

#[test]
fn memories_of_the_store_that_are_damaged_cost_time_and_no_more() {
    let tree = diamond();
    build(&tree);
    for file in walkdir::WalkDir::new(tree.at("store/inputs"))
        .into_iter()
        .flatten()
        .filter(|e| e.file_type().is_file())
    {
        fs_err::write(file.path(), "[[").unwrap();
    }
    fs_err::write(tree.at("store/digests.json"), "[[").unwrap();
    fs_err::write(tree.at("store/duration/base"), "long").unwrap();
    fs_err::write(tree.built(".mk/up-to-date"), "mk up to date 2\n????????????").unwrap();
    assert_eq!(build(&tree).len(), 5);
    assert_eq!(build(&tree), NOTHING);
}

fn with_source() -> Tree {
    Tree::new().archive("a-1.tar.gz", &[("a-1/file", "x\n")]).package(
        "release-tiny",
        "TARBALL=a-1.tar.gz\nSRCDIR=a-1\nURL=ARCHIVES\nSHA256SUM=SHA256(a-1.tar.gz)\nbuild() { cp \"$1/file\" \"$2\"; }",
    )
}

#[test]
fn a_damaged_download_is_fetched_again_or_named() {
    let tree = with_source();
    let whole = fs_err::read(tree.at("archives/a-1.tar.gz")).unwrap();
    fs_err::create_dir(tree.at("workspace/download")).unwrap();
    fs_err::write(tree.at("workspace/download/a-1.tar.gz"), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(build(&tree), ["release-tiny"]);
    assert_eq!(tree.deployed("release-tiny", "file"), "x\n");

    let tree = with_source();
    let mut flipped = whole.clone();
    flipped[20] ^= 1;
    fs_err::write(tree.at("archives/a-1.tar.gz"), &flipped).unwrap();
    let ran = tree.mk("tiny demo");
    assert_eq!(ran.status, 4, "{}", ran.text());
    ran.has("checksum mismatch for `a-1.tar.gz`");
    assert_eq!(fs_err::read_dir(tree.at("store/source")).map_or(0, |entries| entries.count()), 0);
    fs_err::write(tree.at("archives/a-1.tar.gz"), &whole).unwrap();
    assert_eq!(build(&tree), ["release-tiny"]);
}

#[test]
fn a_file_of_the_future_is_neither_stale_nor_built_for_ever() {
    let tree = diamond();
    let future = SystemTime::now() + Duration::from_secs(1 << 30);
    let write = |text: &str| {
        tree.write("pkg/base/build", text);
        let file = fs_err::File::options().write(true).open(tree.at("tree/pkg/base/build")).unwrap();
        file.file().set_modified(future).unwrap();
    };
    write("build() { mkdir \"$2/lib\"; echo 1 > \"$2/lib/base\"; }");
    build(&tree);
    assert_eq!(build(&tree), NOTHING);
    write("build() { mkdir \"$2/lib\"; echo 2 > \"$2/lib/base\"; }");
    assert_eq!(build(&tree).len(), 5);
    assert_eq!(build(&tree), NOTHING);
    write("build() { mkdir \"$2/lib\"; echo 1 > \"$2/lib/base\"; }");
    assert_eq!(build(&tree), NOTHING);
    assert_eq!(tree.deployed("left", "lib/left"), "1\n");
}

/// Runs a script in a mount namespace of its own; `mk` in it is the program with the fixture's environment.
fn privately(tree: &Tree, script: &str) -> Transcript {
    let script = format!("set -eu\nmk() {{ \"{MK}\" \"$@\"; }}\ncd {}\n{script}", tree.at(".").display());
    let mut command = tree.command(&[]);
    let mut unshare = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        unshare.arg("-r");
    }
    unshare.args(["--mount", "bash", "-c", &script]).env_clear().current_dir(tree.at("workspace"));
    unshare.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command = unshare;
    tree.run(&mut command)
}

#[test]
fn a_full_disk_is_told_and_with_space_again_the_next_run_finishes() {
    let tree = diamond().package(
        "left",
        "DEPENDS=base\nbuild() { mkdir \"$2/lib\"; head -c 4000000 /dev/zero > \"$2/lib/left\"; }",
    );
    let ran = privately(
        &tree,
        r#"mkdir store
        mount -t tmpfs -o size=2m none store
        for i in 1 2; do
            status=0
            (cd workspace && mk -k tiny demo) > out 2>&1 || status=$?
            echo "$status $(grep -c 'No space left' out)"
        done
        mount -o remount,size=64m store
        (cd workspace && mk -q tiny demo && mk tiny demo) 2>&1
        ls store/tmp
        wc -c < store/entry/*/*/deploy/lib/left"#,
    );
    let lines: Vec<&str> = ran.stdout.lines().collect();
    for line in &lines[..2] {
        let (status, said) = line.split_once(' ').unwrap();
        assert!(["1", "5"].contains(&status) && said != "0", "{}", ran.text());
    }
    assert_eq!(lines[2..], ["nothing to do: 5 packages reused in 0.0s", "4000000"], "{}", ran.text());
}

#[test]
fn which_file_system_is_full_is_said_and_what_helps_there() {
    let tree = Tree::new()
        .package("talks", "build() { seq 1000000; }")
        .package("fails", "build() { head -c 4000000 /dev/zero >file; }")
        .package("works", "build() { :; }");
    let script = |full: &str, line: &str| {
        format!(
            "mkdir -p {full}; mount -t tmpfs -o size=2m none {full}\n(cd workspace && mk -q {line}) 2>&1 || true\n"
        )
    };
    let store = "no space is left on the file system of the store `/store`";
    let workspace = "no space is left on the file system of the build root `/workspace/tiny-demo`";
    let help = "hint: `mk clean --build` removes folders of failed builds, `mk gc` what no build root uses, and --store names another place";
    let free = "hint: `mk clean` says what it could remove there";
    // The log itself takes nothing more.
    let said = privately(&tree, &script("workspace", "tiny demo talks"));
    assert!(
        said.has(workspace).has(free).has("error: talks: build failed").text().matches(store).count() == 0
    );
    // Folders of a failed build.
    let failed = script("store", "tiny demo fails");
    let again = "(cd workspace && mk clean --build >/dev/null && mk -q tiny demo works && echo built) 2>&1";
    privately(&tree, &format!("{failed}{again}")).has(store).has(help).has("built\n");
    // Not of a package.
    let fill = "mkdir -p workspace; mount -t tmpfs -o size=2m none workspace; cat /dev/zero >workspace/full 2>/dev/null || true\n";
    let said = privately(&tree, &format!("{fill}(cd workspace && mk -q tiny demo works) 2>&1 || true"));
    assert!(
        !said.has("No space left").has(workspace).has(free).text().contains("--store"),
        "{}",
        said.text()
    );
}

#[test]
fn a_full_temporary_folder_does_no_harm_to_what_recipes_say() {
    let functions: String =
        (0..200).map(|n| format!("a_function_with_a_long_name_{n}() {{ :; }}\n")).collect();
    let recipe = format!("source \"$SCRIPTDIR/shared\"\n{functions}build() {{ echo \"$MORE\"; }}");
    let tree = Tree::new().file("shared", "MORE=1").package("release-tiny", &recipe).env("TMPDIR", "../full");
    let ran = privately(
        &tree,
        "mkdir full
        mount -t tmpfs -o size=4k none full
        cat /dev/zero >full/file 2>/dev/null || true
        cd workspace && mk plan tiny demo && mk show tiny demo release-tiny MORE --format plain 2>&1",
    );
    assert!(ran.stdout.starts_with("build  release-tiny  (never built)\n"), "{}", ran.text());
}

#[test]
fn from_a_store_that_is_read_only_results_are_reused_and_building_is_an_error() {
    let tree = diamond();
    build(&tree);
    fs_err::create_dir(tree.at("second")).unwrap();
    let script = r#"mount --bind store store
        mount -o remount,bind,ro store
        (cd second && mk tiny demo && mk tiny demo && mk plan tiny demo > plan && mk store list > list) 2>&1
        cat second/tiny-demo/deploy/left/lib/left
        mk gc || echo "gc $?"
        echo 'build() { :; }' > tree/pkg/base/build
        cd second && mk tiny demo || echo "build $?""#;
    let ran = privately(&tree, script);
    ran.has("nothing to do: 5 packages reused in #s\nnothing to do: 5 packages reused in #s\nbase\ngc 5\nbuild 5\n");
    ran.has("! error: 5 packages have to be built, and store `/store` cannot be written").has(
        "Read-only file system (os error 30)\n! hint: the folder must be writable by the user who runs `mk`",
    );
}

fn days_ago(tree: &Tree, package: &str, days: u64) {
    let time = SystemTime::now() - Duration::from_secs(days * 86_400);
    fs_err::File::open(entry(tree, package)).unwrap().file().set_modified(time).unwrap();
}

/// Packages with results, in alphabetical order.
fn kept(tree: &Tree) -> Vec<String> {
    outputs(&tree.at("store")).into_iter().map(|(package, _)| package).collect()
}

#[test]
fn gc_removes_what_no_build_root_uses_and_nothing_else() {
    let tree = with_source()
        .package("old", "build() { :; }")
        .package("older", "build() { head -c 3000 /dev/zero > \"$2/file\"; }");
    build(&tree);
    fs_err::create_dir(tree.at("second")).unwrap();
    let second = tree.at("second").display().to_string();
    build_words(&tree, &["-C", &second, "tiny", "demo", "old", "older"]);
    tree.mk("gc").has("0 B removed");
    // What is renamed is found again once it was used; what is removed uses nothing.
    fs_err::rename(tree.at("second"), tree.at("renamed")).unwrap();
    let renamed = tree.at("renamed").display().to_string();
    assert_eq!(build_words(&tree, &["-C", &renamed, "tiny", "demo", "old", "older"]), NOTHING);
    tree.mk("gc");
    assert_eq!(kept(&tree), ["old", "older", "release-tiny"]);
    fs_err::remove_dir_all(tree.at("renamed")).unwrap();
    days_ago(&tree, "older", 20);
    days_ago(&tree, "old", 5);
    days_ago(&tree, "release-tiny", 100);
    tree.mk("gc --dry-run --older-than 10").has("older").has("would be removed");
    assert_eq!(kept(&tree), ["old", "older", "release-tiny"]);
    tree.mk("gc --larger-than 1G");
    assert_eq!(kept(&tree), ["old", "older", "release-tiny"]);
    tree.mk("gc --older-than 10");
    assert_eq!(kept(&tree), ["old", "release-tiny"]);
    tree.mk("gc");
    assert_eq!(kept(&tree), ["release-tiny"]);
    assert_eq!(fs_err::read_dir(tree.at("store/source")).unwrap().count(), 1);
    assert_eq!(build(&tree), NOTHING);
    // Not what the recipe is now: what the build root shows.
    tree.write("pkg/release-tiny/build", "build() { :; }");
    tree.mk("gc");
    assert_eq!(kept(&tree), ["release-tiny"]);
    fs_err::remove_dir_all(tree.built("")).unwrap();
    tree.mk("gc");
    assert_eq!(kept(&tree), NOTHING);
    assert_eq!(fs_err::read_dir(tree.at("store/source")).unwrap().count(), 0);
}

#[test]
fn results_of_a_package_are_removed_so_that_it_is_built_again() {
    let tree = with_source().package("other", "build() { :; }");
    build(&tree);
    build_words(&tree, &["tiny", "demo", "other"]);
    assert_eq!(build(&tree), NOTHING);
    tree.mk("store remove release-tin other").is("! error: `release-tin` has no result in the store `/store`\n! hint: did you mean `release-tiny`?\nstatus 2\n");
    tree.mk("store remove release-tiny").has("release-tiny  2 B\n2 B removed");
    assert_eq!(kept(&tree), ["other"]);
    assert_eq!(fs_err::read_dir(tree.at("store/source")).unwrap().count(), 1);
    assert_eq!(build(&tree), ["release-tiny"]);
    tree.mk("store remove --sources release-tiny").has("release-tiny ").has("source ");
    assert_eq!(fs_err::read_dir(tree.at("store/source")).unwrap().count(), 0);
    assert_eq!(build(&tree), ["release-tiny"]);
    let json: Value = serde_json::from_str(&tree.mk("store remove other --format json").stdout).unwrap();
    assert_eq!(json["removed"][0]["what"], "other");
    let _building = hold(&tree, "building", FlockArg::LockShared);
    tree.mk("store remove release-tiny").has("! error: store `/store` is in use by another `mk`");
}

#[test]
fn gc_goes_by_when_a_result_was_last_used() {
    let one = "build() { echo one > \"$2/file\"; }";
    let tree = Tree::new().package("taken", one).package("given-up", one).package("unused", one);
    build_words(&tree, &["tiny", "demo", "taken", "given-up", "unused"]);
    for package in ["taken", "given-up", "unused"] {
        days_ago(&tree, package, 40);
    }
    tree.write("pkg/given-up/build", "build() { :; }");
    assert_eq!(build_words(&tree, &["tiny", "demo", "given-up"]), ["given-up"]);
    fs_err::remove_dir_all(tree.built("")).unwrap();
    assert_eq!(build_words(&tree, &["tiny", "demo", "taken"]), NOTHING);
    fs_err::remove_dir_all(tree.built("")).unwrap();
    tree.mk("gc --older-than 30").has("unused");
    assert_eq!(kept(&tree), ["given-up", "given-up", "taken"]);
}

#[test]
fn gc_leaves_what_other_users_made_and_says_so() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let tree = Tree::new().package("mine", "build() { :; }").package("of-root", "build() { :; }");
    build_words(&tree, &["tiny", "demo", "mine", "of-root"]);
    fs_err::remove_dir_all(tree.built("")).unwrap();
    let other = entry(&tree, "of-root");
    let mut gc = tree.command_of_nobody(&["gc"]);
    std::os::unix::fs::chown(&other, Some(0), Some(0)).unwrap();
    tree.run(&mut gc).has("mine").has("! note: left what other users made: 1 of what could go");
    assert_eq!(kept(&tree), ["of-root"]);
    let ran = tree.run(&mut tree.command(&["gc", "--format", "json"]));
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap()["others"], 0);
    assert_eq!(kept(&tree), NOTHING);
}

#[test]
fn gc_by_size_removes_the_oldest_first_and_no_more_than_asked() {
    let big = "build() { head -c 100000 /dev/urandom > \"$2/file\"; }";
    let tree = Tree::new().package("a", big).package("b", big).package("c", big);
    build_words(&tree, &["tiny", "demo", "a", "b", "c"]);
    for (package, days) in [("a", 1), ("b", 3), ("c", 2)] {
        days_ago(&tree, package, days);
    }
    fs_err::remove_dir_all(tree.built("")).unwrap();
    tree.mk("gc --larger-than 250K");
    assert_eq!(kept(&tree), ["a", "c"]);
    for wrong in
        ["gc --larger-than much", "gc --larger-than -1", "gc --larger-than 99999999999T", "gc --older-than x"]
    {
        assert_eq!(tree.mk(wrong).status, 2, "{wrong}");
    }
    assert_eq!(tree.mk("gc --older-than 18446744073709551615").status, 0);
    assert_eq!(kept(&tree), ["a", "c"]);
}

#[test]
fn gc_and_removal_refuse_while_a_build_runs() {
    let tree = diamond();
    build(&tree);
    let _building = hold(&tree, "building", FlockArg::LockShared);
    for command in ["gc", "store verify --remove"] {
        tree.mk(command).is("! error: store `/store` is in use by another `mk`\n! hint: try again when its build has ended\nstatus 5\n");
    }
    tree.mk("store verify").is("5 results, all as they were made\n");
    assert_eq!(build(&tree), NOTHING);
}

#[test]
fn the_store_lists_its_packages_with_sizes() {
    let tree = with_source();
    build(&tree);
    tree.mk("store list")
        .is("package       results  size\nrelease-tiny  1        2 B\ntotal         1        2 B\n");
    let listed: Value = serde_json::from_str(&tree.mk("store list --format json").stdout).unwrap();
    assert_eq!(listed["packages"][0]["name"], "release-tiny");
    assert_eq!(listed["packages"][0]["bytes"], 2);
}

#[test]
fn doing_nothing_quickly_misses_no_change() {
    let tree = diamond()
        .product("more")
        .file("board/tiny/TOOLCHAIN", "FLAVOUR=plain\n")
        .file("pkg/shared/text", "SHARED=1\n")
        .package("base", "source \"$SCRIPTDIR/pkg/shared/text\"\nbuild() { mkdir \"$2/lib\"; local n=base; { echo \"$FLAVOUR $SHARED $LEVEL\"; cat_file_override $n.conf; } > \"$2/lib/base\"; }");
    build(&tree);
    let remembered = tree.built(".mk/up-to-date");
    // Nothing is remembered before every file is old enough for a change to show.
    let remember = || {
        let _ = fs_err::remove_file(&remembered);
        until(|| {
            tree.mk("-q tiny demo").is("");
            remembered.exists()
        });
    };
    type Change<'a> = (&'a str, &'a dyn Fn());
    let changes: [Change<'_>; 6] = [
        ("a TOOLCHAIN", &|| tree.write("board/tiny/TOOLCHAIN", "FLAVOUR=spicy\n")),
        ("a TOOLCHAIN of a more specific place", &|| tree.write("product/demo/TOOLCHAIN", "FLAVOUR=sweet\n")),
        ("a sourced file", &|| tree.write("pkg/shared/text", "SHARED=2\n")),
        ("a file that a step looked for in vain", &|| tree.write("product/demo/tiny/base.conf", "conf\n")),
        ("a file of the package", &|| tree.write("pkg/base/new", "")),
        ("a result that is gone", &|| {
            let mut entries = mk::store::Store::open(&tree.at("store")).unwrap().entries();
            entries.retain(|entry| entry.meta.package.as_str() == "base");
            for entry in entries {
                fs_err::remove_dir_all(entry.path).unwrap();
            }
        }),
    ];
    for (what, change) in changes {
        remember();
        change();
        let built = built_of(&tree.mk("--format json tiny demo").stdout);
        assert!(built.contains(&"base".to_owned()), "{what}");
    }
    remember();
    let mut with_level = tree.command(&["--format", "json", "tiny", "demo"]);
    let ran = tree.run(with_level.env("LEVEL", "3"));
    assert!(built_of(&ran.stdout).contains(&"base".to_owned()), "a new variable");
    remember();
    let other = tree.at("other");
    for folder in ["pkg/release-tiny", "board/tiny", "product/demo"] {
        fs_err::create_dir_all(other.join(folder)).unwrap();
    }
    fs_err::write(other.join("pkg/release-tiny/build"), "build() { :; }").unwrap();
    let ran = tree.mk(&format!("--format json --tree {} tiny demo", other.display()));
    assert_eq!(built_of(&ran.stdout), ["release-tiny"], "another tree");
}

#[test]
fn what_is_changed_while_it_is_built_is_kept_under_no_key() {
    type Change<'a> = (&'a str, &'a str, &'a str);
    let changes: [Change<'_>; 4] = [
        ("the recipe", "pkg/release-tiny/build", "build() { echo new > \"$2/file\"; }"),
        ("a file of the package", "pkg/release-tiny/text", "new\n"),
        ("what a step looked up", "board/tiny/conf", "new\n"),
        ("a sourced file", "pkg/shared/more", "MORE=new\n"),
    ];
    for (what, path, text) in changes {
        let tree = Tree::new()
            .file("pkg/shared/more", "MORE=old\n")
            .file("board/tiny/conf", "old\n")
            .file("pkg/release-tiny/text", "old\n")
            .package("dep", "build() { echo dep > \"$2/dep\"; }")
            .package(
                "release-tiny",
                r#"DEPENDS=dep
                source "$SCRIPTDIR/pkg/shared/more"
                build() {
                    local name=conf
                    cat "$SCRIPTDIR/pkg/$PKGNAME/text" > "$2/file"
                    cat_file_override "$name" >> "$2/file"
                    echo begun
                    # The test writes it there: a room sees the store.
                    until [ -e "$PKGDEPLOYDIR/dep/go" ]; do sleep 0.01; done
                }"#,
            );
        let child = tree.command(&["-q", "tiny", "demo"]).stderr(Stdio::piped()).spawn().unwrap();
        let log = tree.built("log/release-tiny-build.log");
        until(|| fs_err::read_to_string(&log).is_ok_and(|text| text.contains("begun")));
        tree.write(path, text);
        fs_err::write(entry(&tree, "dep").join("deploy/go"), "").unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert!(said.contains("was changed while it was built from that"), "{what}: {said}");
        assert_eq!(build(&tree), ["release-tiny"], "{what}");
        assert_eq!(build(&tree), NOTHING, "{what}");
    }
}

#[test]
fn configuration_that_a_step_looked_up_and_that_changed_is_the_reason() {
    let tree = Tree::new()
        .file("board/tiny/conf", "old\n")
        .package("low", "build() { name=conf; cat_file_override \"$name\" > \"$2/low\"; }")
        .package(
            "release-tiny",
            "DEPENDS=low\nbuild() { name=conf; cat_file_override \"$name\" > \"$2/high\"; }",
        );
    tree.builds("");
    tree.write("board/tiny/conf", "new\n");
    let plan = tree.mk("plan tiny demo").stdout;
    assert!(plan.starts_with("build  low           (board/tiny/conf: 644 "), "{plan}");
    let said = tree.mk("tiny demo").stderr;
    for package in ["low", "release-tiny"] {
        let reason = said.lines().find(|line| line.starts_with(&format!("{package}: built in"))).unwrap();
        assert!(reason.contains("board/tiny/conf: 644 "), "{said}");
    }
}

#[test]
fn a_source_that_was_prepared_from_what_changed_meanwhile_is_not_kept() {
    let tree =
        Tree::new().archive("a.tar.gz", &[("a/README", "")]).file("pkg/release-tiny/text", "old\n").package(
            "release-tiny",
            r#"URL="ARCHIVES"
        TARBALL="a.tar.gz"
        SHA256SUM="SHA256(a.tar.gz)"
        SRCDIR="a"
        prepare() {
            cat "$SCRIPTDIR/pkg/$PKGNAME/text" > text
            echo begun
            until [ -e /mk/config/board/go ]; do sleep 0.01; done
        }
        build() { cp "$1/text" "$2/"; }"#,
        );
    let child = tree.command(&["-q", "tiny", "demo"]).stderr(Stdio::piped()).spawn().unwrap();
    let log = tree.built("log/release-tiny-prepare.log");
    until(|| fs_err::read_to_string(&log).is_ok_and(|text| text.contains("begun")));
    fs_err::write(tree.at("tree/pkg/release-tiny/text"), "new\n").unwrap();
    tree.write("board/tiny/go", "");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`file text` was changed while it was built from that"), "{said}");
    tree.write("pkg/release-tiny/text", "old\n");
    tree.builds("");
    assert_eq!(tree.deployed("release-tiny", "text"), "old\n");
}

#[test]
fn an_archive_whose_source_is_in_the_store_is_not_said_to_be_fetched() {
    for tree in Tree::both() {
        let recipe = |folder: &str| {
            format!(
                "TARBALL=a-1.tar.gz SRCDIR=a-1 SHA256SUM=SHA256(a-1.tar.gz) URL=ARCHIVES/{folder}\nbuild() {{ cat \"$1/file\"; }}\n"
            )
        };
        let tree = tree.archive("a-1.tar.gz", &[("a-1/file", "x\n")]);
        let tree = tree.package("a", &recipe("")).package("b", &recipe("gone"));
        tree.mk("tiny demo a").has("! a: fetch\n");
        fs_err::remove_dir_all(tree.at("workspace/download")).unwrap();
        let ran = tree.mk("tiny demo b");
        assert!(ran.status == 0 && !ran.stderr.contains("fetch"), "{}", ran.text());
        tree.logs("b", "build", "x\n");
    }
}
