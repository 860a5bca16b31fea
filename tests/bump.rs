//! `mk bump`: what it writes, and that it writes nothing when anything is wrong.

mod loopback;

use std::os::unix::fs::PermissionsExt;

use loopback::{Case, Reply, archive, names, nginx};
use mk::digest::Digest;

/// A recipe with all the ways of writing that must stay as they are, at version 1.0 of `x`.
fn odd_recipe(url: &str) -> String {
    format!(
        "# x, VERSION=1.0 or newer\nVERSION='1.0'\t# not 0.9\nURL=\"{url} apt:x=1.0-1\"\nTARBALL=\"x-$VERSION.tar.gz\"\n\
         SHA256SUM=\"{}\n\t{}\"\nSRCDIR=\"x-$VERSION x\"\nDEPENDS=\"\"\n\nbuild() {{\n\t: 1.0   \n}}",
        Digest::of(archive("x-1.0")),
        Digest::of("repacked")
    )
}

/// A tree with that recipe and upstream's folder with 1.0 and 1.1.
fn case() -> Case {
    let case = Case::new();
    case.recipe("x", &odd_recipe(&case.server.url("/x")));
    case.server.put("/x/", nginx("", &["x-1.0.tar.gz", "x-1.1.tar.gz"]));
    case.server.put("/x/x-1.1.tar.gz", archive("x-1.1"));
    case
}

fn bumped(old: &str) -> String {
    let new = Digest::of(archive("x-1.1")).to_string();
    let sums = format!("{}\n\t{}", Digest::of(archive("x-1.0")), Digest::of("repacked"));
    old.replace("VERSION='1.0'", "VERSION='1.1'").replace(&sums, &new)
}

#[test]
fn version_and_digest_change_and_not_another_byte() {
    let case = case();
    let recipe = case.path("tree/pkg/x/build");
    fs_err::set_permissions(&recipe, PermissionsExt::from_mode(0o754)).unwrap();
    let old = case.read("tree/pkg/x/build");
    let ran = case.mk("bump x");
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(case.read("tree/pkg/x/build"), bumped(&old));
    assert_eq!(fs_err::metadata(&recipe).unwrap().permissions().mode() & 0o777, 0o754);
    let (first, second) = (Digest::of(archive("x-1.0")), Digest::of("repacked"));
    let diff = format!(
        "--- a/pkg/x/build\n+++ b/pkg/x/build\n@@ -1,9 +1,8 @@\n # x, VERSION=1.0 or newer\n-VERSION='1.0'\t# not 0.9\n+VERSION='1.1'\t# not 0.9\n \
         URL=\"@/x apt:x=1.0-1\"\n TARBALL=\"x-$VERSION.tar.gz\"\n-SHA256SUM=\"{first}\n-\t{second}\"\n+SHA256SUM=\"{}\"\n SRCDIR=\"x-$VERSION x\"\n DEPENDS=\"\"\n \n",
        Digest::of(archive("x-1.1"))
    );
    assert_eq!(ran.out, diff);
    assert_eq!(ran.err, "note: x: `apt:x=1.0-1` stays as it is: it may name the old version\n");
    // The next build finds the archive.
    assert_eq!(names(&case.path("work/download")), ["x-1.1.tar.gz"]);
    assert_eq!(names(&case.path("tree/pkg/x")), ["build"]);
    assert_eq!(case.mk("bump x").err, "note: x: nothing is newer than 1.1\n");
    assert_eq!(case.mk("bump x 1.1").err, "note: x: is at 1.1 already\n");
}

#[test]
fn a_version_that_is_named_is_taken_without_asking() {
    let case = case();
    case.server.put("/x/x-0.9.tar.gz", archive("x-0.9"));
    assert_eq!(case.mk("bump x 0.9").code, 0);
    assert!(case.read("tree/pkg/x/build").contains("VERSION='0.9'"));
    assert_eq!(case.server.asked(), ["/x/x-0.9.tar.gz"]);
}

#[test]
fn a_dry_run_shows_and_changes_nothing() {
    let case = case();
    let old = case.read("tree/pkg/x/build");
    let ran = case.mk("bump --dry-run x");
    assert!(ran.out.contains("+VERSION='1.1'"), "{ran:#?}");
    assert_eq!(case.read("tree/pkg/x/build"), old);
    assert!(!case.path("work/download").exists());
}

#[test]
fn nothing_is_written_when_the_archive_is_not_right() {
    for (reply, said) in [
        (Reply::Status("404 Not Found"), "the server answered 404 Not Found"),
        (
            Reply::from("<!DOCTYPE html><html>not here</html>"),
            "the server sent a web page in place of the archive",
        ),
        (Reply::from(archive("y-1.1")), "the archive holds no folder `x-1.1`"),
        (Reply::from("no archive at all, but long enough to be looked at as one"), "x-1.1.tar.gz"),
        (Reply::Truncated(archive("x-1.1"), 50), "the transfer broke off"),
    ] {
        let case = case();
        let old = case.read("tree/pkg/x/build");
        case.server.put("/x/x-1.1.tar.gz", reply);
        let ran = case.mk("bump x");
        assert_ne!(ran.code, 0);
        assert!(ran.err.contains(said), "{said}: {ran:#?}");
        // The folder where it was tried is gone.
        assert!(!ran.err.contains("~/store/tmp"), "{ran:#?}");
        assert_eq!((ran.out.as_str(), case.read("tree/pkg/x/build")), ("", old));
        assert!(!case.path("work/download").exists());
    }
}

#[test]
fn a_recipe_that_is_not_plain_is_refused_before_anything_is_fetched() {
    let case = case();
    let text = case.read("tree/pkg/x/build").replace("VERSION='1.0'\t", "MINOR=0\nVERSION=\"1.$MINOR\"\t");
    case.recipe("x", &text);
    let ran = case.mk("bump x 1.1");
    assert_eq!(ran.code, 3);
    assert_eq!(
        ran.err,
        "error: x: pkg/x/build: VERSION is not set to a plain word, so it cannot be changed by program\n  pkg/x/build:3\n"
    );
    case.recipe("x", &odd_recipe("http://127.0.0.1:1").replace("DEPENDS", "VERSION=1.0\nDEPENDS"));
    assert!(case.mk("bump x 1.1").err.contains("VERSION is set more than once"));
    for odd in ["1.1;rm", "$(x)", "-1", "1.1\""] {
        assert_eq!(case.command(&["bump", "x", "--", odd]).code, 2, "{odd}");
    }
    assert!(case.server.asked().is_empty());
}

#[test]
fn the_archive_of_the_old_version_is_none_of_the_new_one() {
    let said = "error: x: pkg/x/build: TARBALL names the archive of 1.0 at 77 too: `x-1.0.tar.gz`\n\
                hint: write `$VERSION` into it or into URL, below the line that sets VERSION\n";
    for (srcdir, asked) in [("x-1.0", 0), ("x-$VERSION x-1.0", 1)] {
        let case = case();
        case.server.put("/x/x-1.0.tar.gz", archive("x-1.0"));
        let text = case.read("tree/pkg/x/build").replace("TARBALL=\"x-$VERSION", "TARBALL=\"x-1.0");
        let text = text.replace("x-$VERSION x", srcdir);
        case.recipe("x", &text);
        for line in ["bump x 77", "bump x 77 --dry-run"] {
            let ran = case.mk(line);
            assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (3, "", said));
        }
        assert_eq!(case.read("tree/pkg/x/build"), text);
        assert_eq!(case.server.asked().len(), 2 * asked);
    }
    // The same archive by a name of its own is no other version either.
    let case = case();
    case.server.put("/x/x-77.tar.gz", archive("x-1.0"));
    let ran = case.mk("bump x 77");
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.err.contains("TARBALL names the archive of 1.0 at 77 too: `x-77.tar.gz`"), "{ran:#?}");
}

#[test]
fn what_is_moved_is_one_object_of_json() {
    let case = case();
    let old = case.read("tree/pkg/x/build");
    for (line, dry) in [("bump x --dry-run --format json", true), ("bump --all --format json", false)] {
        let ran = case.mk(line);
        let said: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let diff = said["packages"][0]["diff"].as_str().unwrap();
        assert!(diff.starts_with("--- a/pkg/x/build\n+++ b/pkg/x/build\n@@ "), "{diff}");
        let expected = serde_json::json!({ "packages": [{
            "name": "x", "version": "1.0", "newer": "1.1", "archive": "x-1.1.tar.gz",
            "sha256": Digest::of(archive("x-1.1")), "diff": diff,
        }], "dry_run": dry });
        assert_eq!(said, expected);
        assert_eq!(case.read("tree/pkg/x/build") == old, dry);
    }
    assert_eq!(case.mk("bump --all --format json").out, "{\"dry_run\":false,\"packages\":[]}\n");
}

#[test]
fn a_recipe_that_reads_another_moves_with_it() {
    let case = case();
    case.recipe("x_headers", "source \"$SCRIPTDIR/pkg/x/build\"\nDEPENDS=\"x\"\n");
    let ran = case.mk("bump x_headers 1.1");
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (
            2,
            "error: x_headers: its version is that of `x`\nhint: `mk -t ~/tree --store ~/store bump x` moves both\n"
        )
    );
    let ran = case.mk("bump --all");
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.err.contains("note: x_headers: its version is that of `x`"));
    assert!(case.read("tree/pkg/x/build").contains("VERSION='1.1'"));
}

#[test]
fn all_are_moved_or_none() {
    let case = case();
    case.package("y", "1.0", &case.server.url("/y"), "");
    case.package("z", "1.0", &case.server.url("/z"), "");
    case.server.put("/y/", nginx("", &["y-1.0.tar.gz", "y-2.0.tar.gz"]));
    let olds = [case.read("tree/pkg/x/build"), case.read("tree/pkg/y/build")];
    let ran = case.mk("bump --all");
    assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{ran:#?}");
    assert!(ran.err.contains("error: 2 packages cannot be moved\n  z: cannot be checked: "), "{ran:#?}");
    assert!(ran.err.contains("\n  y: cannot fetch `y-2.0.tar.gz`\n"), "{ran:#?}");
    assert!(ran.err.contains("\n  not moved therefore: 1\n"), "{ran:#?}");
    assert!(ran.err.contains("hint: --keep-going moves those that can be"), "{ran:#?}");
    assert_eq!([case.read("tree/pkg/x/build"), case.read("tree/pkg/y/build")], olds);
    let ran = case.mk("bump --all --keep-going");
    assert_eq!(ran.code, 4);
    assert_eq!(
        [case.read("tree/pkg/x/build"), case.read("tree/pkg/y/build")],
        [bumped(&olds[0]), olds[1].clone()]
    );
}

#[test]
fn a_package_that_cannot_be_checked_keeps_the_others_from_being_moved() {
    let case = case();
    case.package("z", "1.0", &case.server.url("/z"), "");
    let old = case.read("tree/pkg/x/build");
    let ran = case.mk("bump --all");
    assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{ran:#?}");
    assert!(ran.err.contains("\nerror: z: cannot be checked: "), "{ran:#?}");
    assert!(
        ran.err.ends_with("  not moved therefore: 1\nhint: --keep-going moves those that can be\n"),
        "{ran:#?}"
    );
    assert_eq!(case.read("tree/pkg/x/build"), old);
    let ran = case.mk("bump --all --keep-going");
    assert_eq!(ran.code, 4);
    assert!(ran.err.contains("  moved nevertheless: 1\n"), "{ran:#?}");
    assert_eq!(case.read("tree/pkg/x/build"), bumped(&old));
}

#[test]
fn a_package_or_all_must_be_named() {
    let case = case();
    assert_eq!(case.mk("bump").code, 2);
    assert_eq!(case.mk("bump x --all").code, 2);
    assert_eq!(case.mk("bump nothing").code, 2);
}

#[test]
fn a_makefile_keeps_its_form() {
    let case = case();
    let digest = |name| Digest::of(archive(name)).to_string();
    let recipe = format!(
        "#! /usr/bin/make -f\nVERSION = 1.0\nURL = {}\nTARBALL = x-$(VERSION).tar.gz\nSHA256SUM = {} # of upstream\nSRCDIR = x-$(VERSION)\n\nbuild:\ninstall:\n",
        case.server.url("/x"),
        digest("x-1.0")
    );
    case.recipe("x", &recipe);
    assert_eq!(case.mk("bump x").code, 0);
    let new = recipe.replace("VERSION = 1.0", "VERSION = 1.1").replace(&digest("x-1.0"), &digest("x-1.1"));
    assert_eq!(case.read("tree/pkg/x/build"), new);
}
