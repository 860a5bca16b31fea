//! `mk doctor`, and the check for missing programs that a build makes before it starts.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

const MK: &str = env!("CARGO_BIN_EXE_mk");

/// A tree as `mk init` writes it, a workspace, and a store.
struct Place {
    root: tempfile::TempDir,
}

/// What a run came to: status, standard output, standard error.
type Said = (i32, String, String);

impl Place {
    fn new() -> Place {
        let place = Place { root: tempfile::tempdir().unwrap() };
        fs_err::create_dir(place.at("work")).unwrap();
        assert_eq!(place.mk("init ../tree").0, 0);
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn mk(&self, line: &str) -> Said {
        let output = Command::new(MK)
            .args(line.split_whitespace())
            .current_dir(self.at("work"))
            .env("HOME", self.root.path())
            .env("MK_TREE", self.at("tree"))
            .env("MK_STORE", self.at("store"))
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Makes the package `hello` need a program.
    fn need(&self, tools: &str) {
        let recipe = self.at("tree/pkg/hello/build");
        let text = fs_err::read_to_string(&recipe).unwrap();
        fs_err::write(recipe, format!("{text}HOSTTOOLS=\"{tools}\"\n")).unwrap();
    }
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap()
}

#[test]
fn a_machine_that_runs_these_tests_can_build() {
    let place = Place::new();
    let (status, out, err) = place.mk("doctor generic demo");
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    for name in ["kernel", "bash", "rooms", "usual tools", "needed tools", "workspace", "store"] {
        assert!(out.lines().any(|line| line.starts_with(name)), "{name}: {out}");
    }
    // Without a board and a product nothing is read.
    fs_err::remove_dir_all(place.at("tree/pkg")).unwrap();
    assert_eq!(place.mk("doctor").0, 0);
}

#[test]
fn a_missing_program_is_named_with_who_needs_it() {
    let place = Place::new();
    place.need("sh no-such-program mksquashfs-of-none");
    let (status, out, err) = place.mk("doctor generic demo");
    assert_eq!(status, 5);
    assert!(out.contains("no mksquashfs-of-none, no-such-program"), "{out}");
    assert!(out.contains("`no-such-program` is needed by `hello`"), "{out}");
    assert!(err.contains("1 of 7 checks say that `generic demo` cannot be built"), "{err}");
}

#[test]
fn the_json_form_has_all_of_it() {
    let place = Place::new();
    place.need("no-such-program");
    let (status, out, _) = place.mk("doctor generic demo --format json");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &report["ok"]), (5, &Value::Bool(false)));
    assert_eq!(check(&report, "bash")["state"], "ok");
    assert_eq!(check(&report, "needed tools")["state"], "bad");
    let missing = serde_json::json!([{ "tool": "no-such-program", "packages": ["hello"] }]);
    assert_eq!(report["missing"], missing);
    assert_eq!(report["install"].as_array().unwrap().len(), 1);
}

#[test]
fn a_switched_off_room_is_no_reason_to_fail() {
    let place = Place::new();
    let (status, out, _) = place.mk("doctor --rooms never --format json");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &check(&report, "rooms")["state"]), (0, &Value::from("advice")));
}

#[test]
fn what_cannot_be_used_as_a_store_is_said_beside_the_rest() {
    let place = Place::new();
    fs_err::create_dir(place.at("store")).unwrap();
    fs_err::write(place.at("store/letter"), "dear").unwrap();
    let (status, out, _) = place.mk("doctor generic demo");
    assert_eq!(status, 5);
    assert!(out.contains("is not a store") && out.contains("workspace"), "{out}");
}

#[test]
fn a_build_that_lacks_a_program_ends_before_it_starts() {
    let place = Place::new();
    place.need("no-such-program");
    let (status, out, err) = place.mk("generic demo");
    assert_eq!((status, out.as_str()), (5, ""));
    assert!(err.starts_with("error: this machine lacks `no-such-program`\n"), "{err}");
    assert!(err.contains("`no-such-program` is needed by `hello`"), "{err}");
    assert!(!place.at("work/generic-demo/log/hello-deploy.log").exists());
    // A plan is no build.
    assert_eq!(place.mk("plan generic demo").0, 0);
}

#[test]
fn a_program_is_asked_for_only_when_something_is_built_that_needs_it() {
    let place = Place::new();
    let tool = place.at("tool");
    fs_err::write(&tool, "#!/bin/sh\n").unwrap();
    fs_err::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    place.need(&tool.to_string_lossy());
    fs_err::create_dir(place.at("tree/pkg/other")).unwrap();
    fs_err::write(place.at("tree/pkg/other/build"), "HOSTTOOLS=no-such-program\n").unwrap();
    let (status, _, err) = place.mk("generic demo");
    assert_eq!(status, 0, "{err}");
    let (status, _, err) = place.mk("generic demo hello other");
    assert_eq!(status, 5);
    assert!(err.contains("needed by `other`") && !err.contains("hello"), "{err}");
    // Its digest is part of the key: without it, there is no result that fits.
    fs_err::remove_file(&tool).unwrap();
    let (status, _, err) = place.mk("generic demo");
    assert_eq!(status, 5);
    assert!(err.contains("needed by `hello`"), "{err}");
}
