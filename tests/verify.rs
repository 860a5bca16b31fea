//! `mk verify`: which packages come out the same when they are built again.

#![allow(clippy::unwrap_used)]

mod harness;

use harness::Tree;

/// A package whose archive is not to be had, and one that needs it.
fn without_archive() -> Tree {
    Tree::new()
        .archive("nf-1.tar.gz", &[("nf-1/file", "x\n")])
        .package("above", "DEPENDS=nf")
        .package("nf", "URL=ARCHIVES/gone TARBALL=nf-1.tar.gz SRCDIR=nf-1 SHA256SUM=SHA256(nf-1.tar.gz)\n")
}

#[test]
fn what_cannot_be_fetched_has_its_exit_code_in_every_command_that_builds() {
    let tree = without_archive();
    for command in [
        "tiny demo nf",
        "verify tiny demo nf",
        "pack tiny demo nf",
        "shell tiny demo nf",
        "shell tiny demo above",
    ] {
        let ran = tree.mk(command);
        ran.has("! error: nf: cannot fetch `nf-1.tar.gz`").has("status 4");
        assert!(!ran.stderr.contains("unknown"), "{command}: {}", ran.text());
    }
}

#[test]
fn what_came_out_is_one_object_of_json() {
    let tree = Tree::new()
        .package("same", "deploy() { echo same >\"$2/file\"; }\n")
        .package("other", "deploy() { cat /proc/sys/kernel/random/uuid >\"$2/file\"; }\n")
        .package("release-tiny", "DEPENDS='same other'\n");
    let ran = tree.mk("verify tiny demo --format json");
    let said: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&said["packages"], &said["same"]), (&3.into(), &2.into()), "{said}");
    let [different] = &said["different"].as_array().unwrap()[..] else { panic!("{said}") };
    assert_eq!((&different["package"], &different["place"]), (&"other".into(), &"deploy".into()));
    assert!(different["difference"].as_str().unwrap().contains("file"), "{said}");
    ran.has("! error: 1 packages are not reproducible\n!   other: deploy: ").has("status 1");
}

#[test]
fn why_something_is_built_is_one_object_of_json() {
    let tree = Tree::new().package("base", "VERSION=1\n").package("release-tiny", "DEPENDS=base\n");
    let why = |line: &str| -> serde_json::Value {
        serde_json::from_str(&tree.mk(&format!("why tiny demo --format json {line}")).stdout).unwrap()
    };
    tree.builds("");
    let reused = serde_json::json!({ "packages": [{ "name": "base", "action": "reuse", "reason": "", "changes": [] }] });
    assert_eq!(why("base"), reused);
    tree.write("pkg/base/build", "VERSION=2\n");
    let said = why("base");
    assert_eq!(said["packages"][0]["action"], "build");
    let changes = said["packages"][0]["changes"].as_array().unwrap();
    assert!(changes.contains(&"VERSION: 1 → 2".into()), "{said}");
}
