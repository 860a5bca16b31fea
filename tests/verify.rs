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

#[test]
fn it_builds_with_another_number_of_jobs() {
    let tree = Tree::new().package("a", "deploy() { echo \"$NUMJOBS\" >\"$2/jobs\"; }\n");
    for jobs in ["1", "3"] {
        tree.mk(&format!("-q -j{jobs} verify tiny demo a"))
            .has("0 of 1 packages came out the same")
            .has("status 1");
    }
}

/// A package that fails where there is one job more.
const FAILS: &str = "build() {\n\techo made >made\n\techo \"with $NUMJOBS\"\n\t[ \"$NUMJOBS\" = 1 ]\n}\n";

#[test]
fn what_fails_is_kept_with_its_log_and_can_be_opened() {
    let tree = Tree::new().package("a", FAILS);
    tree.mk("-q verify tiny demo a").is("
        0 of 1 packages came out the same
        ! error: a: build failed with exit status 1
        !   at pkg/a/build:4 in build(): [ \"$NUMJOBS\" = 1 ]
        !   end of log:
        !     with 2
        !   log: tiny-demo/log/a-build.log
        !   build folder kept: tiny-demo/failed/a/build
        ! hint: `mk shell tiny demo a` opens a shell in its room
        status 1
    ");
    assert_eq!(fs_err::read_to_string(tree.built("failed/a/build/made")).unwrap(), "made\n");
    assert_eq!(fs_err::read_to_string(tree.built("log/a-build.log")).unwrap(), "with 2\n");
    tree.mk("shell tiny demo a").has("! note: in the folders of the failed build, kept in `/store/failed/");
    tree.builds("a");
    assert!(!tree.built("failed").exists());
}

#[test]
fn where_rooms_are_refused_it_says_so_before_anything_is_built_and_so_does_a_shell() {
    let tree = Tree::new().package("a", "");
    for command in ["verify", "shell"] {
        let mut refused = std::process::Command::new("unshare");
        refused.args(["--user", "--map-root-user", "sh", "-c"]);
        refused.arg("echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"");
        refused.args(["sh", harness::MK, "--rooms", "auto", command, "tiny", "demo", "a"]);
        let plain = tree.command(&[]);
        refused.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ran = tree.run(refused.current_dir(tree.at("workspace")));
        ran.has("! error: this machine refuses rooms: ").has("status 5");
        assert_eq!(ran.text().lines().count(), 2, "{}", ran.text());
        assert!(!tree.built("").exists());
    }
}
