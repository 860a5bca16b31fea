//! `mk fetch` and `mk sources`: what they get, what they say, and that what they leave can be built from.

mod loopback;

use loopback::{Case, Reply, archive, names};
use mk::digest::Digest;

const STEPS: &str = "build() {\n\tcp \"$1/README\" .\n}\ndeploy() {\n\tmkdir -p \"$2/share\"\n\tcp README \"$2/share/$PKGNAME\"\n}\n";

/// A system of three packages, two of which share an archive, on a server.
fn case() -> Case {
    let case = Case::new();
    case.package("a", "1.0", &case.server.url("/a"), &format!("LICENSE=\"MIT\"\n{STEPS}"));
    case.recipe("a_again", "source \"$SCRIPTDIR/pkg/a/build\"\nDEPENDS=\"a\"\n");
    case.package("b", "2.0", &case.server.url("/b/"), STEPS);
    case.recipe("release-b", "DEPENDS=\"a a_again b $(cat_file_merge ROOTFS)\"\n");
    case.write("tree/product/p/ROOTFS", "");
    case.write("tree/pkg/b/fix.patch", "--- a/x\n");
    case.server.put("/a/a-1.0.tar.gz", archive("a-1.0"));
    case.server.put("/b/b-2.0.tar.gz", archive("b-2.0"));
    case
}

#[test]
fn everything_comes_ahead_of_time_and_then_the_build_needs_no_network() {
    let case = case();
    let ran = case.mk("fetch b p -q");
    let size = |name: &str| mk::units::size(archive(name).len() as u64);
    let table = |status: &str, from: [&str; 2]| {
        let row = |packages: &str, file: &str, from: &str| {
            [status, packages, &format!("{file}.tar.gz"), &size(file), from].map(str::to_owned).to_vec()
        };
        mk::output::table(&[row("a,a_again", "a-1.0", from[0]), row("b", "b-2.0", from[1])])
    };
    let fetched = table("fetched", ["@/a/a-1.0.tar.gz", "@/b/b-2.0.tar.gz"]);
    assert_eq!((ran.code, ran.out, ran.err.as_str()), (0, fetched, ""));
    assert_eq!(case.server.asked().len(), 2, "each archive once");
    let ran = case.mk("fetch b p");
    assert_eq!((ran.code, ran.out, ran.err.as_str()), (0, table("present", ["", ""]), ""));
    let ran = case.mk("--offline b p");
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(case.server.asked().len(), 2);
}

#[test]
fn a_named_package_is_fetched_with_what_it_needs() {
    let case = case();
    assert_eq!(case.mk("fetch b p a_again").code, 0);
    assert_eq!(names(&case.path("work/download")), ["a-1.0.tar.gz"]);
}

#[test]
fn every_archive_that_is_not_to_be_had_is_told_with_the_reasons_of_its_urls() {
    let case = case();
    case.package("a", "1.0", &format!("{} {}", case.server.url("/gone"), case.server.url("/bad")), "");
    case.server.put("/bad/a-1.0.tar.gz", "something else");
    case.server.put("/b/b-2.0.tar.gz", Reply::Status("500 Internal Server Error"));
    let ran = case.mk("fetch b p --format json");
    assert_eq!(ran.code, 4);
    let listing: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let status: Vec<&str> =
        listing["archives"].as_array().unwrap().iter().map(|a| a["status"].as_str().unwrap()).collect();
    assert_eq!(status, ["failed", "failed"]);
    for line in [
        "error: 2 of 2 archives are not to be had",
        "    `@/gone/a-1.0.tar.gz`: the server answered 404 Not Found",
        "    `@/b/b-2.0.tar.gz`: the server answered 500 Internal Server Error",
    ] {
        assert!(ran.err.lines().any(|found| found == line), "{line}: {ran:#?}");
    }
    assert!(
        ran.err.contains(&format!("`@/bad/a-1.0.tar.gz`: found {}", Digest::of("something else"))),
        "{ran:#?}"
    );
    // The wrong one is not kept under its name.
    assert_eq!(names(&case.path("work/download")), ["a-1.0.tar.gz.rejected"]);
}

#[test]
fn offline_says_what_is_missing() {
    let case = case();
    assert_eq!(case.mk("fetch b p a").code, 0);
    let ran = case.mk("fetch b p --offline");
    assert_eq!(ran.code, 4);
    assert!(ran.out.starts_with("present  a,a_again  a-1.0.tar.gz"), "{ran:#?}");
    assert!(ran.err.starts_with("error: b: `b-2.0.tar.gz` is not in `~/work/download`"), "{ran:#?}");
}

#[test]
fn mirrors_of_the_option_and_of_all_configuration_places_come_first() {
    let case = case();
    let server = &case.server;
    case.package("a", "1.0", "http://upstream.invalid/pub/a", "");
    case.write(
        "tree/board/b/MIRRORS",
        format!("# of the board\nhttp://upstream.invalid/ {}\n", server.url("/board/")),
    );
    case.write(
        "tree/product/p/MIRRORS",
        format!("http://upstream.invalid/pub/ {} {}", server.url("/first/"), server.url("/second/")),
    );
    case.server.put("/board/pub/a/a-1.0.tar.gz", archive("a-1.0"));
    let option = format!("http://upstream.invalid/pub/a/={}", server.url("/option/"));
    let ran = case.command(&["fetch", "b", "p", "a", "--mirror", &option]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let asked = [
        "/option/a-1.0.tar.gz",
        "/first/a/a-1.0.tar.gz",
        "/second/a/a-1.0.tar.gz",
        "/board/pub/a/a-1.0.tar.gz",
    ];
    assert_eq!(server.asked(), asked);
    // A build uses the same ones.
    fs_err::remove_dir_all(case.path("work/download")).unwrap();
    case.package("a", "1.0", "http://upstream.invalid/pub/a", STEPS);
    assert_eq!(case.mk("b p a").code, 0);
    assert_eq!(server.asked().len(), 7);
}

#[test]
fn a_mirror_that_says_nothing_is_refused() {
    let case = case();
    case.write("tree/board/b/MIRRORS", "\nhttp://a.example/ # none\n");
    let ran = case.mk("fetch b p");
    assert_eq!(ran.code, 3);
    assert!(
        ran.err.starts_with("error: `http://a.example/` has no mirror\n  ~/tree/board/b/MIRRORS:2\n"),
        "{ran:#?}"
    );
    assert_eq!(case.mk("fetch b p --mirror nonsense").code, 2);
}

#[test]
fn a_users_git_settings_do_not_change_the_archive_of_a_commit() {
    let mut case = case();
    let repository = case.path("repository");
    let git = |arguments: &[&str]| {
        let all = [&["-c", "user.name=a", "-c", "user.email=a@b.c"], arguments].concat();
        duct::cmd("git", all).dir(&repository).read().unwrap()
    };
    case.write("repository/.gitattributes", "*.bin filter=lfs\n*.txt text\n");
    case.write("repository/file.bin", "as it is\n");
    case.write("repository/file.txt", "one\ntwo\n");
    case.write("repository/plain", "one\n");
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "x"]);
    let url = format!("git+file://{}#{}", repository.display(), git(&["rev-parse", "HEAD"]));
    let recipe = |digest: &str| format!("URL='{url}' TARBALL=g.tar SRCDIR=g SHA256SUM={digest}\n");
    case.recipe("g", &recipe(&Digest::of("unknown").to_string()));
    fs_err::create_dir(case.path("empty")).unwrap();
    let home = |name: &str| vec![("HOME".to_owned(), case.path(name).display().to_string())];
    let (empty, full) = (home("empty"), home("full"));
    case.environment = empty;
    let ran = case.mk("fetch b p g");
    let (_, digest) = ran.err.split_once(": found ").unwrap_or_else(|| panic!("{ran:#?}"));
    case.recipe("g", &recipe(&digest[..64]));

    case.write(
        "full/.gitconfig",
        format!(
            "[filter \"lfs\"]\nsmudge = tr a-z A-Z\n[core]\neol = crlf\n[init]\ntemplateDir = {}\n",
            case.path("full/template").display()
        ),
    );
    case.write("full/.config/git/attributes", "plain text\n");
    case.write("full/template/info/attributes", "plain filter=lfs\n");
    case.environment = full;
    for (name, value) in [("COUNT", "1"), ("KEY_0", "core.autocrlf"), ("VALUE_0", "true")] {
        case.environment.push((format!("GIT_CONFIG_{name}"), value.to_owned()));
    }
    let ran = case.mk("fetch b p g -q");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:#?}");
}

#[test]
fn the_sources_of_a_product_are_one_folder_that_is_whole_and_can_be_built() {
    let case = case();
    let ran = case.mk("sources b p --output ../out/sources -q");
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.out.starts_with("../out/sources: 4 packages, 9 files, "), "{ran:#?}");
    assert!(ran.err.contains("note: no LICENSE in the recipes of b\n"), "{ran:#?}");
    let root = case.path("out/sources");
    assert_eq!(names(&case.path("out")), ["sources"]);
    assert_eq!(names(&root), ["SHA256SUMS", "download", "manifest.json", "tree"]);
    assert_eq!(names(&root.join("download")), ["a-1.0.tar.gz", "b-2.0.tar.gz"]);
    duct::cmd!("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS").dir(&root).run().unwrap();

    let manifest: serde_json::Value = serde_json::from_str(&case.read("out/sources/manifest.json")).unwrap();
    let package = |name: &str| {
        manifest["packages"].as_array().unwrap().iter().find(|p| p["name"] == name).unwrap().clone()
    };
    let files = |package: &serde_json::Value| -> Vec<String> {
        package["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((&package("a")["version"], &package("a")["license"]), (&"1.0".into(), &"MIT".into()));
    assert_eq!(
        files(&package("a_again")),
        ["download/a-1.0.tar.gz", "tree/pkg/a_again/build", "tree/pkg/a/build"]
    );
    assert_eq!(files(&package("b")), ["download/b-2.0.tar.gz", "tree/pkg/b/build", "tree/pkg/b/fix.patch"]);
    assert_eq!(package("b")["files"][0]["sha256"], Digest::of(archive("b-2.0")).to_string());
    assert_eq!(manifest["configuration"][0]["path"], "tree/product/p/ROOTFS");

    // Later options win over those of the case: nothing but the folder is used.
    let asked = case.server.asked().len();
    let ran = case.mk("plan b p");
    assert_eq!(ran.code, 0);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mk"))
        .args(["--offline", "-t", "tree", "--store", "../store", "b", "p"])
        .current_dir(&root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(case.server.asked().len(), asked);
}

#[test]
fn the_sources_of_a_product_have_what_its_recipes_read_elsewhere_in_the_tree() {
    let case = case();
    case.write("tree/board/b/TOOLCHAIN", "source \"$SCRIPTDIR/board/common/flags\"\n");
    case.write("tree/board/common/flags", "CFLAGS=-Os\n");
    case.write("tree/tools/one/run", "one\n");
    case.write("tree/tools/two", "two\n");
    // A folder whose recipe is sourced, from which a patch is taken, though its package is not in the product.
    case.recipe("base", "deploy() {\n\tcat \"$SCRIPTDIR/pkg/base/text\" >\"$2/text\"\n}\n");
    case.write("tree/pkg/base/text", "text\n");
    case.recipe(
        "release-b",
        "source \"$SCRIPTDIR/pkg/base/build\"\n\
         build() {\n\tcat \"$SCRIPTDIR/tools/one/run\" \"$SCRIPTDIR/tools/two\"\n\ttest \"$CFLAGS\" = -Os\n}\n",
    );
    let ran = case.mk("sources b p --output ../out -q");
    assert_eq!(ran.code, 0, "{ran:#?}");
    let manifest: serde_json::Value = serde_json::from_str(&case.read("out/manifest.json")).unwrap();
    let paths = |list: &serde_json::Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        paths(&manifest["packages"][0]["files"]),
        [
            "tree/pkg/release-b/build",
            "tree/pkg/base/build",
            "tree/pkg/base/text",
            "tree/tools/one/run",
            "tree/tools/two"
        ]
    );
    assert_eq!(
        paths(&manifest["configuration"]),
        ["tree/board/b/TOOLCHAIN", "tree/board/common/flags", "tree/product/p/ROOTFS"]
    );
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mk"))
        .args(["--offline", "-t", "tree", "--store", "../store", "b", "p"])
        .current_dir(case.path("out"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_folder_that_holds_something_is_refused_and_a_failure_leaves_none() {
    let case = case();
    case.write("out/mine", "");
    let ran = case.mk("sources b p --output ../out");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.starts_with("error: `../out` is not empty"), "{ran:#?}");
    assert!(case.server.asked().is_empty());
    case.server.put("/b/b-2.0.tar.gz", Reply::Status("404 Not Found"));
    assert_eq!(case.mk("sources b p --output ../other/sources").code, 4);
    assert!(!case.path("other").exists());
    fs_err::create_dir(case.path("empty")).unwrap();
    case.server.put("/b/b-2.0.tar.gz", archive("b-2.0"));
    assert_eq!(case.mk("sources b p --output ../empty").code, 0);
}
