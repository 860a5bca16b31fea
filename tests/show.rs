//! `mk show`, `list`, `files`, `owner`: where values come from, what there is, and whose files are whose.

mod fixture;

use fixture::Fixture;

const BOARD: (&str, &str) =
    ("board/tiny/TOOLCHAIN", "# A very small board\nTARGET=\"tiny-linux\"\nLEVEL=1\n");
const PRODUCT: (&str, &str) = ("product/demo/TOOLCHAIN", "\nLEVEL=2\n");

#[test]
fn a_variable_is_shown_with_its_place_and_with_all_that_it_overrode() {
    let fixture = Fixture::new(&[
        BOARD,
        PRODUCT,
        ("pkg/base/build", "VERSION=\"1\"\nDEPENDS=\"zlib\nxz\"\nbuild() {\n\t:\n}\n"),
        (
            "pkg/derived/build",
            "source \"$SCRIPTDIR/pkg/base/build\"\nDEPENDS=\"\"\nread -r WORD <<< two\nVERSION+=\".1\"\n",
        ),
        ("pkg/zlib/build", ""),
        ("pkg/xz/build", ""),
    ]);
    assert_eq!(
        fixture.mk("show tiny demo derived").ok(),
        "\
derived 1.1

DEPENDS  pkg/derived/build:2  (empty)
         pkg/base/build:2     was: zlib xz
VERSION  pkg/derived/build:4  1.1
         pkg/base/build:1     was: 1
WORD     pkg/derived/build:3  two

build()  pkg/base/build:4
"
    );
    assert_eq!(
        fixture.mk("show tiny demo LEVEL").ok(),
        "LEVEL  product/demo/TOOLCHAIN:2  2\n       board/tiny/TOOLCHAIN:3    was: 1\n"
    );
    let json = fixture.mk("show tiny demo derived VERSION --format json").json();
    assert_eq!(json["value"], "1.1");
    assert_eq!(json["overrode"][0]["file"], "pkg/base/build");
    assert_eq!(json["overrode"][0]["line"], 1);
}

#[test]
fn an_assignment_of_the_same_value_counts_too() {
    let fixture = Fixture::new(&[(
        "pkg/a/build",
        "VERSION=1\nVERSION=1\nif true; then\n\tLICENSE=MIT\nfi\nf() { local VERSION=9; DEEP=1; }\nf\n",
    )]);
    let text = fixture.mk("show tiny demo a").ok().to_owned();
    assert!(text.contains("VERSION  pkg/a/build:2  1\n         pkg/a/build:1  was: 1\n\n"), "{text}");
    assert!(text.contains("LICENSE  pkg/a/build:4  MIT\n"), "{text}");
    assert!(text.contains("DEEP     pkg/a/build:6  1\n"), "{text}");
}

#[test]
fn a_bare_value_is_for_scripts_and_the_environment_is_a_place_too() {
    let fixture = Fixture::new(&[("pkg/a/build", "VERSION=\"1 2\"\nbuild() {\n\techo hello\n}\n")]);
    assert_eq!(fixture.mk("show tiny demo a VERSION --format plain").ok(), "1 2\n");
    assert!(fixture.mk("show tiny demo a build").ok().contains("echo hello"));
    let ran = fixture.mk("show tiny demo a VERSON");
    assert_eq!(ran.status, 2);
    assert!(ran.err.ends_with("hint: did you mean `VERSION`?\n"), "{}", ran.err);
    let ran = fixture.mk("show tiny demo b");
    assert!(ran.err.starts_with("error: `b` is no package, no variable of `tiny demo`"), "{}", ran.err);
}

#[test]
fn configuration_names_are_shown_with_the_files_that_they_mean() {
    let fixture = Fixture::new(&[
        BOARD,
        ("board/tiny/ROOTFS", "a\n"),
        ("product/demo/tiny/ROOTFS", "b\n"),
        ("pkg/r/build", "DEPENDS=$(cat_file_merge ROOTFS | sort -u)\ninclude_override nothing\n"),
        ("pkg/a/build", ""),
        ("pkg/b/build", ""),
    ]);
    let text = fixture.mk("show tiny demo r").ok().to_owned();
    assert!(
        text.ends_with("\nROOTFS   product/demo/tiny/ROOTFS board/tiny/ROOTFS\nnothing  (no file)\n"),
        "{text}"
    );
    assert_eq!(
        fixture.mk("show tiny demo ROOTFS").ok(),
        "ROOTFS  product/demo/tiny/ROOTFS board/tiny/ROOTFS\n\nproduct/demo/tiny/ROOTFS:1  b\nboard/tiny/ROOTFS:1         a\n"
    );
    let json = fixture.mk("show tiny demo ROOTFS --format json").json();
    assert_eq!(json["lines"][1], serde_json::json!({ "file": "board/tiny/ROOTFS", "line": 1, "text": "a" }));
    let ran = fixture.mk("show tiny demo DEPENDS");
    assert!(ran.err.ends_with("hint: `r` sets it: `mk show tiny demo r DEPENDS`\n"), "{}", ran.err);
    assert_eq!(
        fixture.mk("show tiny demo ROOTFS --format plain").ok(),
        "product/demo/tiny/ROOTFS\nboard/tiny/ROOTFS\n"
    );
}

#[test]
fn configuration_that_a_step_asked_for_is_known_once_it_was_built() {
    let recipe = "build() {\n\tcat_file_override tool.conf\n}\n";
    let fixture = Fixture::new(&[("board/tiny/tool.conf", ""), ("pkg/a/build", recipe)]);
    assert_eq!(fixture.mk("show tiny demo a").ok(), "a\n\nbuild()  pkg/a/build:1\n");
    fixture.mk("tiny demo a").ok();
    assert!(fixture.mk("show tiny demo a").ok().ends_with("\n\ntool.conf  board/tiny/tool.conf\n"));
}

#[test]
fn packages_boards_and_products_are_listed_with_a_line_each() {
    let fixture = Fixture::new(&[
        BOARD,
        ("product/demo/README", "# To try things\n\nMore.\n"),
        ("product/other/BOARDS", "large\n"),
        ("pkg/a/build", "VERSION=1\nDESCRIPTION=\"The first\"\n"),
        ("pkg/b/build", "exit 3\n"),
        ("pkg/no-recipe/file", ""),
    ]);
    assert_eq!(fixture.mk("list boards").ok(), "tiny  A very small board\n");
    assert_eq!(fixture.mk("list products").ok(), "demo   To try things\nother\n");
    let text = fixture.mk("list packages").ok().to_owned();
    assert_eq!(
        text,
        "a  1  The first\nb     (cannot be read: pkg/b/build: exits with status 3 while it is read)\n"
    );
    let json = fixture.mk("list products --format json").json();
    assert_eq!(json["products"][0]["with"], serde_json::json!(["tiny"]));
    assert_eq!(json["products"][1]["with"], serde_json::json!([]));
}

/// A board whose image has files of two packages.
fn built() -> Fixture {
    let fixture = Fixture::new(&[
        ("board/tiny/ROOTFS", "base\ntool\n"),
        (
            "pkg/base/build",
            "deploy() {\n\tmkdir -p \"$2/bin\" \"$2/etc\"\n\tln -s bin \"$2/sbin\"\n\ttouch \"$2/bin/[\" \"$2/bin/x\"\n\trootfs_files \"$2\" bin etc sbin\n\trootfs_fallbacks \"$2\" bin\n}\n",
        ),
        (
            "pkg/tool/build",
            "VERSION=2\ndeploy() {\n\tmkdir -p \"$2/bin\" \"$2/share\"\n\techo hello > \"$2/bin/a tool\"\n\techo x > \"$2/share/help\"\n\ttouch \"$2/bin/x\"\n\tprintf 'bin/a\\\\ tool m 4755 0 0\\nbin/x m 644 0 0\\n' > \"$2/rootfs_files.txt\"\n}\n",
        ),
        (
            "pkg/spare/build",
            "deploy() {\n\tmkdir \"$2/bin\"\n\techo y > \"$2/bin/spare\"\n\techo 'bin/spare m 755 0 0' > \"$2/rootfs_files.txt\"\n}\n",
        ),
        ("pkg/release-tiny/build", "DEPENDS=\"base tool spare\"\n"),
    ]);
    fixture.mk("tiny demo").ok();
    fixture
}

#[test]
fn files_of_a_package_are_listed_with_modes_and_sizes() {
    let fixture = built();
    let text = fixture.mk("files tool").ok().to_owned();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1][1..], ["6", "B", "image", "bin/a", "tool"]);
    assert_eq!(lines[5][1..], ["2", "B", "share/help"]);
    let base = fixture.mk("files base").ok().to_owned();
    assert!(base.contains("image  sbin -> bin\n") && base.contains("image  bin/[\n"), "{base}");
    // A fallback that gave way, and a package that is not in ROOTFS.
    assert!(base.contains("bin/x\n") && !base.contains("image  bin/x\n"), "{base}");
    assert!(!fixture.mk("files spare").ok().contains("image"));
    let spare = fixture.mk("files spare --format json").json();
    assert_eq!((&spare["files"][1]["listed"], &spare["files"][1]["image"]), (&true.into(), &false.into()));
    let json = fixture.mk("files tool --format json").json();
    assert_eq!(json["build"], "tiny-demo");
    assert_eq!(json["files"][1]["path"], "bin/a tool");
    assert_eq!(json["files"][1]["listed"], true);
    let ran = fixture.mk("files tol");
    assert_eq!(
        (ran.status, ran.err.as_str()),
        (2, "error: `tol` has no result in `tiny-demo`\nhint: did you mean `tool`?\n")
    );
}

#[test]
fn packages_with_one_text_have_results_of_their_own() {
    let recipe = "deploy() {\n\tmkdir \"$2\"/bin\n\techo \"$PKGNAME\" > \"$2/bin/$PKGNAME\"\n}\n";
    let fixture = Fixture::new(&[
        ("pkg/one/build", recipe),
        ("pkg/two/build", recipe),
        ("pkg/release-tiny/build", "DEPENDS=\"one two\"\n"),
    ]);
    fixture.mk("tiny demo").ok();
    assert!(fixture.mk("files one").ok().ends_with("bin/one\n"));
    assert!(fixture.mk("files two").ok().ends_with("bin/two\n"));
}

#[test]
fn a_file_of_the_image_has_an_owner_also_behind_links() {
    let fixture = built();
    let owner = |path: &str| {
        let ran = std::process::Command::new(env!("CARGO_BIN_EXE_mk"))
            .args(["owner", path, "--format", "json", "--store"])
            .arg(fixture.work().join("../store"))
            .arg("--tree")
            .arg(fixture.work().join("../tree"))
            .current_dir(fixture.work())
            .output()
            .unwrap();
        serde_json::from_slice::<serde_json::Value>(&ran.stdout).unwrap()["owners"].clone()
    };
    let tool = owner("/sbin/a tool");
    assert_eq!((&tool[0]["package"], &tool[0]["path"]), (&"tool".into(), &"bin/a tool".into()));
    assert_eq!(tool[0]["definition"], "m 4755 0 0");
    assert_eq!(owner("etc/")[0]["package"], "base");
    assert_eq!(owner("/sbin")[0]["package"], "base");
    // It is not in ROOTFS: its list counts for nothing.
    assert_eq!(
        (&owner("/bin/spare")[0]["package"], &owner("/bin/spare")[0]["image"]),
        (&"spare".into(), &false.into())
    );
    // Both list it, and one gives way.
    assert_eq!(owner("/bin/[")[0]["package"], "base");
    assert_eq!(owner("/bin/x").as_array().unwrap().len(), 1);
    assert_eq!(owner("/bin/x")[0]["package"], "tool");
    assert_eq!(fixture.mk("owner /share/help").ok(), "tool 2  /share/help  deployed, but not in the image\n");
    let ran = fixture.mk("owner /lib/help");
    assert_eq!(
        (ran.status, ran.err.as_str()),
        (2, "error: no package of `tiny-demo` has `/lib/help`\nhint: `tool` has `/share/help`\n")
    );
}

#[test]
fn nobody_owns_what_lies_outside_of_the_deploy_folders() {
    let fixture = Fixture::new(&[(
        "pkg/release-tiny/build",
        "deploy() {\n\tmkdir \"$2/bin\"\n\ttouch \"$2/bin/x\"\n\tln -s /etc \"$2/host\"\n}\n",
    )]);
    fixture.mk("tiny demo").ok();
    for path in
        ["/../../../../../../../../../../../../etc/passwd", "../meta.json", "bin/../..", "host/passwd"]
    {
        let ran = fixture.mk(&format!("owner {path}"));
        let said = format!("error: no package of `tiny-demo` has `{path}`\n");
        assert_eq!((ran.status, ran.out.as_str(), ran.err), (2, "", said));
    }
    for (path, shown) in [("host/../bin/x", "/bin/x"), ("host", "/host")] {
        let said = format!("release-tiny  {shown}  deployed, but not in the image\n");
        assert_eq!(fixture.mk(&format!("owner {path}")).ok(), said);
    }
}
