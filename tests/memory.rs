//! Where little has changed, the rest is known from the last run: what is then built, and under which keys, is what a run
//! that knows nothing comes to.

#![allow(clippy::unwrap_used, reason = "clippy knows only the test functions themselves as tests")]

mod harness;

use std::collections::BTreeMap;

use harness::{Transcript, Tree};
use serde_json::Value;

/// Runs `mk` until it has remembered what it looked at: not before every file is old enough for a change to show.
fn settle(tree: &Tree, packages: &str) {
    let remembered = tree.built(".mk/up-to-date");
    let _ = fs_err::remove_file(&remembered);
    while !remembered.exists() {
        assert_eq!(tree.mk(&format!("build tiny demo {packages}")).status, 0);
    }
}

/// A run, how many packages it knew from the last one, and which it built.
fn build(tree: &Tree, packages: &str) -> (Transcript, usize, Vec<String>) {
    let words = format!("--format json build tiny demo {packages}");
    let ran = tree.mk(&words);
    let known = ran.stderr.lines().find_map(|line| line.split_once("as in the last run: "));
    let known = known.map_or(0, |(_, rest)| rest.split(' ').next().unwrap().parse().unwrap());
    let events = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ended = events.filter(|event| event["event"] == "package-ended" && event["outcome"] == "built");
    let mut built: Vec<String> = ended.map(|event| event["package"].as_str().unwrap().to_owned()).collect();
    built.sort();
    (ran, known, built)
}

/// The keys of what a build root shows, by package.
fn keys(folder: &std::path::Path) -> BTreeMap<String, String> {
    serde_json::from_slice(&fs_err::read(folder.join("tiny-demo/.mk/keys.json")).unwrap()).unwrap()
}

/// Checks that a build root in which nothing is known comes to the same keys and has nothing to build.
fn check(tree: &Tree, what: &str) {
    let fresh = tree.at("fresh");
    let _ = fs_err::remove_dir_all(&fresh);
    fs_err::create_dir(&fresh).unwrap();
    let ran = tree.mk(&format!("-C {} --format json build tiny demo", fresh.display()));
    assert!(!ran.stdout.contains("\"outcome\":\"built\""), "{what}: {}", ran.stdout);
    // A build root goes on showing what is needed no more.
    let shown = keys(&tree.at("workspace"));
    assert!(keys(&fresh).iter().all(|(package, key)| shown.get(package) == Some(key)), "{what}");
}

const TAKES: &str = "build() { cat \"$PKGDEPLOYDIR\"/*/* > \"$2/$PKGNAME\"; }";

/// Seven packages: `low` is needed by `left` and `right`, these by the image; `alone`, `odd` and `sharer` by the image only.
fn seven() -> Tree {
    let needs_low = |edition: &str| format!("DEPENDS=low\nEDITION={edition}\n{TAKES}");
    Tree::new()
        .env("MK_LOG", "debug")
        .file("pkg/shared/text", "SHARED=1\n")
        .file("product/demo/alone.conf", "1\n")
        .file("product/demo/both.conf", "1\n")
        .package("low", "EDITION=1\nbuild() { echo \"$EDITION\" > \"$2/low\"; }")
        .package("left", &needs_low("1"))
        .package("right", &needs_low("1"))
        .package("alone", "build() { cat_file_override alone.conf > \"$2/alone\"; cat_file_override both.conf >> \"$2/alone\"; }")
        .package("odd", "build() { cat \"$SCRIPTDIR/pkg/odd/data\" > \"$2/odd\"; cat_file_override both.conf >> \"$2/odd\"; }")
        .file("pkg/odd/data", "1\n")
        .package("sharer", "source \"$SCRIPTDIR/pkg/shared/text\"\nbuild() { echo \"$SHARED\" > \"$2/sharer\"; }")
        .package("release-tiny", &format!("DEPENDS=\"left right alone odd sharer\"\n{TAKES}"))
}

#[test]
fn what_a_change_does_not_matter_to_is_known_and_the_keys_are_those_of_a_fresh_run() {
    let tree = seven();
    settle(&tree, "");
    type Change<'a> = (&'a str, &'a dyn Fn(), usize, &'a [&'a str]);
    let recipe = |package: &str, text: &str| tree.write(&format!("pkg/{package}/build"), text);
    let all = ["left", "low", "release-tiny", "right"];
    let changes: [Change<'_>; 14] = [
        ("a recipe", &|| recipe("low", "EDITION=2\nbuild() { echo \"$EDITION\" > \"$2/low\"; }"), 6, &all),
        ("its output stays", &|| recipe("low", "EDITION=2\nbuild() { echo 2 > \"$2/low\"; }"), 6, &["low"]),
        ("a comment", &|| recipe("low", "# why\nEDITION=2\nbuild() { echo 2 > \"$2/low\"; }"), 6, &[]),
        ("a file that a step reads", &|| tree.write("pkg/odd/data", "2\n"), 6, &["odd", "release-tiny"]),
        ("a new file beside a recipe", &|| tree.write("pkg/right/new", ""), 6, &["right"]),
        (
            "configuration of one",
            &|| tree.write("product/demo/alone.conf", "2\n"),
            6,
            &["alone", "release-tiny"],
        ),
        ("of two", &|| tree.write("product/demo/both.conf", "2\n"), 0, &["alone", "odd", "release-tiny"]),
        ("a sourced file", &|| tree.write("pkg/shared/text", "SHARED=2\n"), 6, &["release-tiny", "sharer"]),
        (
            "a new package, needed by one",
            &|| {
                recipe("more", "build() { echo more > \"$2/more\"; }");
                recipe("left", &format!("DEPENDS=\"low more\"\n{TAKES}"));
            },
            6,
            &["left", "more", "release-tiny"],
        ),
        (
            "a package that is needed no more",
            &|| recipe("left", &format!("DEPENDS=low\n{TAKES}")),
            7,
            &["left"],
        ),
        (
            "a link to a file of another package",
            &|| {
                fs_err::os::unix::fs::symlink("../odd/data", tree.at("tree/pkg/right/link")).unwrap();
                tree.write(
                    "pkg/right/build",
                    "DEPENDS=low\nbuild() { cat \"$SCRIPTDIR/pkg/right/link\" > \"$2/right\"; }",
                );
            },
            6,
            &["right"],
        ),
        ("what that leads to", &|| tree.write("pkg/odd/data", "3\n"), 0, &["odd", "release-tiny", "right"]),
        ("a new place for configuration", &|| tree.write("product/demo/tiny/other.conf", ""), 0, &[]),
        (
            "a result that is gone",
            &|| {
                let key = keys(&tree.at("workspace"))["low"].clone();
                fs_err::remove_dir_all(tree.at("store/entry").join(&key[..2]).join(key)).unwrap();
            },
            6,
            &["low"],
        ),
    ];
    for (what, change, expected, rebuilt) in changes {
        change();
        let (ran, known, built) = build(&tree, "");
        assert_eq!(
            (ran.status, known, built.iter().map(String::as_str).collect::<Vec<_>>().as_slice()),
            (0, expected, rebuilt),
            "{what}"
        );
        check(&tree, what);
        settle(&tree, "");
    }
}

#[test]
fn a_recipe_that_became_wrong_is_told_and_the_memory_outlives_it() {
    let tree = seven();
    settle(&tree, "");
    let good = fs_err::read_to_string(tree.at("tree/pkg/left/build")).unwrap();
    for (text, said) in [
        ("DEPENDS=no-such\n", "pkg/left/build: DEPENDS names unknown package `no-such`"),
        ("DEPENDS=release-tiny\n", "depend"),
        ("build() { ${\n", "pkg/left/build"),
    ] {
        tree.write("pkg/left/build", text);
        let (ran, known, _) = build(&tree, "");
        assert_ne!((ran.status, known), (0, 0), "{text}");
        assert!(ran.text().contains(said), "{text}: {}", ran.text());
    }
    tree.write("pkg/left/build", &good);
    let (ran, known, built) = build(&tree, "");
    assert_eq!((ran.status, known, built.len()), (0, 6, 0));
}

#[test]
fn a_memory_that_is_damaged_or_of_another_run_is_none() {
    let tree = seven();
    let memory = tree.built(".mk/memory");
    settle(&tree, "");
    let other = fs_err::read(&memory).unwrap();
    tree.write("pkg/low/build", "EDITION=3\nbuild() { echo \"$EDITION\" > \"$2/low\"; }");
    settle(&tree, "");
    let whole = fs_err::read(&memory).unwrap();
    for (edition, bytes) in [&whole[..whole.len() / 2], b"", &other].into_iter().enumerate() {
        fs_err::write(&memory, bytes).unwrap();
        tree.write("pkg/low/build", &format!("build() {{ echo {edition}. > \"$2/low\"; }}"));
        let (ran, known, built) = build(&tree, "");
        assert_eq!((ran.status, known, built.len()), (0, 0, 4));
        check(&tree, "damaged");
        settle(&tree, "");
    }
    fs_err::remove_file(&memory).unwrap();
    tree.write("pkg/low/build", "build() { echo last > \"$2/low\"; }");
    let (ran, known, built) = build(&tree, "");
    assert_eq!((ran.status, known, built.len()), (0, 0, 4));
}

#[test]
fn what_is_asked_for_is_part_of_what_is_remembered() {
    let tree = seven();
    settle(&tree, "");
    tree.write("pkg/low/build", "build() { echo 4 > \"$2/low\"; }");
    let (_, known, built) = build(&tree, "left");
    assert_eq!((known, built), (0, vec!["left".to_owned(), "low".to_owned()]));
}

#[test]
fn what_a_toolchain_file_sources_and_links_on_the_way_to_a_file_are_remembered() {
    let tree = Tree::new()
        .file("board/tiny/TOOLCHAIN", "source \"$SCRIPTDIR/shared/flavour\"")
        .file("shared/flavour", "FLAVOUR=one\n")
        .file("shared/v1/text", "one\n")
        .file("shared/v2/text", "two\n")
        .package(
            "release-tiny",
            r#"
build() {
	echo "$FLAVOUR" > "$2/flavour"
	cp "$SCRIPTDIR/pkg/$PKGNAME/text" "$2/"
	[ ! -e "$SCRIPTDIR/pkg/$PKGNAME/late" ] || cp "$SCRIPTDIR/pkg/$PKGNAME/late" "$2/"
}
"#,
        );
    let link = |to: &str, path: &str| {
        let path = tree.at("tree").join(path);
        let _ = fs_err::remove_file(&path);
        fs_err::os::unix::fs::symlink(to, path).unwrap();
    };
    link("v1", "shared/current");
    link("../../shared/current/text", "pkg/release-tiny/text");
    link("../../shared/late", "pkg/release-tiny/late");
    let deployed = |name: &str| tree.deployed("release-tiny", name);
    settle(&tree, "");
    assert_eq!((deployed("flavour"), deployed("text")), ("one\n".to_owned(), "one\n".to_owned()));
    tree.write("shared/flavour", "FLAVOUR=two\n");
    settle_again(&tree);
    assert_eq!(deployed("flavour"), "two\n");
    link("v2", "shared/current");
    settle_again(&tree);
    assert_eq!(deployed("text"), "two\n");
    tree.write("shared/late", "late\n");
    settle_again(&tree);
    assert_eq!(deployed("late"), "late\n");
}

#[test]
fn configuration_that_is_included_is_remembered_unless_it_runs_programs() {
    let tree = Tree::new()
        .env("MK_LOG", "debug")
        .file("product/demo/INIT", "SERVICES=\"one\n\ttwo\"\ninclude_override MORE\n")
        .file("board/tiny/MORE", "MORE=old\n")
        .package(
            "release-tiny",
            "include_merge \"INIT\"\nbuild() { echo \"$SERVICES $MORE\" > \"$2/file\"; }",
        );
    let deployed = || tree.deployed("release-tiny", "file");
    settle(&tree, "");
    assert_eq!(deployed(), "one\n\ttwo old\n");
    tree.write("board/tiny/MORE", "MORE=new\n");
    settle_again(&tree);
    assert_eq!(deployed(), "one\n\ttwo new\n");
    tree.write("board/tiny/MORE", "MORE=$(uname)\n");
    tree.mk("tiny demo").has("pkg/release-tiny/build runs programs while it is read");
    assert_eq!(deployed(), "one\n\ttwo Linux\n");
}

/// Runs `mk` once with what it remembers, and then until it remembers what it looked at.
fn settle_again(tree: &Tree) {
    assert_eq!(tree.mk("-q tiny demo").status, 0);
    settle(tree, "");
}
