//! `mk clean` takes away what `mk` made, and nothing else; with rooms and without.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

const MK: &str = env!("CARGO_BIN_EXE_mk");

/// A tree as `mk init` writes it with a package that has a source, a workspace, and a store.
struct Place {
    root: tempfile::TempDir,
    rooms: &'static str,
}

/// What a run came to: status, standard output, standard error.
type Said = (i32, String, String);

impl Place {
    fn new(rooms: &'static str) -> Place {
        let place = Place { root: tempfile::tempdir().unwrap(), rooms };
        for folder in ["work/download", "upstream"] {
            fs_err::create_dir_all(place.at(folder)).unwrap();
        }
        assert_eq!(place.mk("init ../tree").0, 0);
        place.package("thing", "upstream");
        place.package("gift", "work/download");
        fs_err::write(place.at("tree/product/demo/ROOTFS"), "hello\nthing\ngift\n").unwrap();
        place
    }

    fn both() -> [Place; 2] {
        ["always", "never"].map(Place::new)
    }

    /// A package whose archive is in the folder `archive`.
    fn package(&self, name: &str, archive: &str) {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("{name}-1/file"), &b"text\n"[..]).unwrap();
        let bytes = tar.into_inner().unwrap();
        let digest = format!("{:x}", Sha256::digest(&bytes));
        fs_err::write(self.at(archive).join(format!("{name}-1.tar")), bytes).unwrap();
        let url = self.at("upstream");
        let recipe = format!(
            "VERSION=1\nURL=file://{}\nTARBALL={name}-1.tar\nSHA256SUM={digest}\nSRCDIR={name}-1\nDEPENDS=\n\
             deploy() {{\n\tinstall -D \"$1/file\" \"$2/share/{name}\"\n\tinstall -D \"$1/file\" \"$TCDIR/{name}\"\n}}\n",
            url.display()
        );
        fs_err::create_dir_all(self.at("tree/pkg").join(name)).unwrap();
        fs_err::write(self.at("tree/pkg").join(name).join("build"), recipe).unwrap();
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
            .env("MK_ROOMS", self.rooms)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    #[track_caller]
    fn builds(&self) {
        let (status, _, err) = self.mk("generic demo");
        assert_eq!(status, 0, "{err}");
    }

    /// Everything in the workspace, links not followed.
    fn all(&self) -> BTreeSet<String> {
        let root = self.at("work");
        let entries = walkdir::WalkDir::new(&root).min_depth(1).into_iter().map(Result::unwrap);
        entries.map(|entry| entry.path().strip_prefix(&root).unwrap().display().to_string()).collect()
    }

    fn has(&self, path: &str) -> bool {
        self.at("work").join(path).symlink_metadata().is_ok()
    }
}

/// Files and folders that somebody put where `mk` works.
const STRANGERS: [&str; 6] = [
    "notes.txt",
    "download/other.tar",
    "src/mine/main.c",
    "generic-demo/log/notes.log",
    "generic-demo/deploy/mine/file",
    "generic-demo/todo",
];

fn add_strangers(place: &Place) {
    for path in STRANGERS {
        let path = place.at("work").join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, "mine").unwrap();
    }
}

#[test]
fn without_options_it_says_what_it_could_do_and_does_nothing() {
    for place in Place::both() {
        place.builds();
        let before = place.all();
        let (status, out, err) = place.mk("clean");
        assert_eq!(status, 0);
        for option in ["--build", "--src", "--deploy", "--logs", "--downloads", "--all"] {
            assert!(out.lines().any(|line| line.starts_with(option)), "{out}");
        }
        assert!(err.contains("nothing was removed"), "{err}");
        assert_eq!(place.all(), before);
        let (_, out, _) = place.mk("clean --format json");
        let offered: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(offered["parts"].as_array().unwrap().len(), 5);
        assert_eq!(place.all(), before);
    }
}

#[test]
fn a_dry_run_lists_just_what_the_real_one_removes() {
    for place in Place::both() {
        place.builds();
        let before = place.all();
        let list = |line: &str| {
            let found: serde_json::Value = serde_json::from_str(&place.mk(line).1).unwrap();
            found["removed"].as_array().unwrap().clone()
        };
        let would = list("clean --all --dry-run --format json");
        assert_eq!(place.all(), before);
        assert_eq!(list("clean --all --format json"), would);
        assert!(would.iter().all(|item| !Path::new(item["path"].as_str().unwrap()).exists()));
    }
}

#[test]
fn all_takes_away_what_was_made_and_leaves_what_was_there() {
    for place in Place::both() {
        let before = place.all();
        place.builds();
        assert_ne!(place.all(), before);
        assert_eq!(place.mk("clean --all").0, 0);
        assert_eq!(place.all(), before, "rooms {}", place.rooms);
        place.builds();
    }
}

#[test]
fn what_it_did_not_make_stays_and_is_named() {
    for place in Place::both() {
        place.builds();
        add_strangers(&place);
        let (status, _, err) = place.mk("clean --all");
        assert_eq!(status, 0, "{err}");
        for path in STRANGERS {
            assert_eq!(fs_err::read_to_string(place.at("work").join(path)).unwrap(), "mine", "{path}");
        }
        assert!(err.contains("left alone") && err.contains("`generic-demo/log/notes.log`"), "{err}");
        // The archive that was put there by hand, though a recipe asks for it, and not the one that was fetched.
        assert!(place.has("download/gift-1.tar") && !place.has("download/thing-1.tar"));
        assert!(place.at("upstream/thing-1.tar").exists() && place.at("store").exists());
    }
}

#[test]
fn an_archive_that_was_replaced_by_hand_stays() {
    let place = Place::new("always");
    place.builds();
    fs_err::write(place.at("work/download/thing-1.tar"), "mine").unwrap();
    assert_eq!(place.mk("clean --downloads").0, 0);
    assert!(place.has("download/thing-1.tar"));
}

#[test]
fn each_option_takes_its_own_part() {
    for place in Place::both() {
        place.builds();
        assert_eq!(place.mk("clean --logs").0, 0);
        assert!(!place.has("generic-demo/log") && place.has("generic-demo/deploy/hello"));
        assert_eq!(place.mk("clean --downloads").0, 0);
        assert!(!place.has("download/thing-1.tar") && place.has("generic-demo/deploy/hello"));
        assert_eq!(place.mk("clean --src").0, 0);
        assert!(!place.has("src") && place.has("generic-demo/deploy/hello"));
        // What is seen of the store comes back, copies of sources only when they are needed.
        place.builds();
        assert_eq!(place.has("src/thing-1"), place.rooms == "always");
        assert_eq!(place.mk("clean --deploy").0, 0);
        assert!(!place.has("generic-demo/deploy") && !place.has("generic-demo/toolchain"));
        place.builds();
        assert!(place.has("generic-demo/deploy/hello"));
    }
}

#[test]
fn a_package_is_cleaned_alone() {
    for place in Place::both() {
        place.builds();
        let (status, _, err) = place.mk("clean --deploy --logs --src --downloads thing");
        assert_eq!(status, 0, "{err}");
        assert!(!place.has("generic-demo/deploy/thing") && place.has("generic-demo/deploy/hello"));
        assert!(
            !place.has("generic-demo/log/thing-deploy.log") && place.has("generic-demo/log/hello-deploy.log")
        );
        assert!(!place.has("download/thing-1.tar"));
        assert!(!place.has("src/thing-1") && place.has("src/gift-1"));
        place.builds();
        assert!(place.has("generic-demo/deploy/thing"));
    }
}

#[test]
fn the_folders_of_a_failed_build_go_with_their_link() {
    for place in Place::both() {
        let recipe = place.at("tree/pkg/hello/build");
        fs_err::write(&recipe, "deploy() {\n\tfalse\n}\n").unwrap();
        assert_eq!(place.mk("-k generic demo").0, 1);
        let kept = fs_err::read_link(place.at("work/generic-demo/failed/hello")).unwrap();
        assert!(kept.is_dir());
        // The folder has its bytes, the link to it none.
        fs_err::write(kept.join("big"), [0; 5000]).unwrap();
        let (_, out, _) = place.mk("clean --build hello --dry-run --format json");
        let found: serde_json::Value = serde_json::from_str(&out).unwrap();
        let bytes = |at: usize| found["removed"][at]["bytes"].as_u64().unwrap();
        assert!(bytes(0) >= 5000 && bytes(1) == 0 && found["bytes"] == bytes(0), "{found}");
        assert_eq!(place.mk("clean --build thing").0, 0);
        assert!(kept.is_dir());
        assert_eq!(place.mk("clean --build hello").0, 0);
        assert!(!kept.exists() && !place.has("generic-demo/failed"));
        assert!(place.has("generic-demo/deploy/thing"));
    }
}

#[test]
fn a_package_that_failed_leaves_nothing_that_is_not_removed() {
    for place in Place::both() {
        let recipe = place.at("tree/pkg/hello/build");
        fs_err::write(&recipe, "deploy() {\n\ttouch \"$2/half\"\n\tfalse\n}\n").unwrap();
        assert_eq!(place.mk("generic demo hello").0, 1);
        assert!(
            !place.has("generic-demo/deploy/hello") && place.has("generic-demo/failed/hello/deploy/half")
        );
        // As one that was killed leaves it.
        if place.rooms == "never" {
            fs_err::create_dir(place.at("work/generic-demo/deploy/hello")).unwrap();
        }
        let (status, _, err) = place.mk("clean --all");
        assert_eq!(status, 0);
        assert!(!err.contains("generic-demo") && !place.has("generic-demo"), "{:?}", place.all());
    }
}

#[test]
fn an_archive_that_was_rejected_is_removed_if_it_was_fetched() {
    let place = Place::new("always");
    fs_err::write(place.at("upstream/thing-1.tar"), "wrong").unwrap();
    fs_err::write(place.at("work/download/gift-1.tar"), "mine").unwrap();
    assert_eq!(place.mk("-k generic demo thing gift").0, 4);
    assert!(place.has("download/thing-1.tar.rejected") && place.has("download/gift-1.tar.rejected"));
    let (_, out, err) = place.mk("clean --downloads");
    assert!(out.contains("download/thing-1.tar.rejected") && !out.contains("gift"), "{out}");
    assert_eq!(err, "note: left alone, since `mk` did not make it: `download/gift-1.tar.rejected`\n");
    assert!(!place.has("download/thing-1.tar.rejected"));
    fs_err::remove_file(place.at("work/download/gift-1.tar.rejected")).unwrap();
    assert_eq!(place.mk("clean --downloads").0, 0);
    assert!(!place.has("download"), "{:?}", place.all());
}

#[test]
fn links_into_the_store_are_counted_without_what_stays_there() {
    let place = Place::new("always");
    place.builds();
    let (_, out, _) = place.mk("clean --deploy --src --dry-run --format json");
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(found["removed"].as_array().unwrap().len() > 3, "{found}");
    assert_eq!(found["bytes"], 0, "{found}");
}

#[test]
fn a_link_of_somebody_else_is_not_followed() {
    let place = Place::new("always");
    place.builds();
    let precious = place.at("precious");
    fs_err::create_dir(&precious).unwrap();
    fs_err::write(precious.join("file"), "mine").unwrap();
    let link = |to: &str| {
        let to = place.at("work").join(to);
        fs_err::create_dir_all(to.parent().unwrap()).unwrap();
        let _ = fs_err::remove_file(&to);
        fs_err::os::unix::fs::symlink(&precious, to).unwrap();
    };
    for path in
        ["generic-demo/deploy/other", "generic-demo/failed/hello", "src/thing-1", "generic-demo/toolchain/x"]
    {
        link(path);
    }
    assert_eq!(place.mk("clean --all").0, 0);
    assert_eq!(fs_err::read_to_string(precious.join("file")).unwrap(), "mine");
    assert!(place.has("generic-demo/deploy/other") && place.has("generic-demo/toolchain/x"));
}

#[test]
fn a_build_root_that_is_being_built_is_left_alone() {
    let place = Place::new("always");
    place.builds();
    let before = place.all();
    let _building = mk::store::Store::mark_building(&place.at("work/generic-demo/.mk")).unwrap();
    let (status, _, err) = place.mk("clean --all");
    assert_eq!(status, 5);
    assert!(err.contains("`generic-demo` is being built"), "{err}");
    assert_eq!(place.all(), before);
}

#[test]
fn one_build_root_can_be_named() {
    let place = Place::new("always");
    fs_err::create_dir(place.at("tree/product/other")).unwrap();
    fs_err::write(place.at("tree/product/other/ROOTFS"), "hello\n").unwrap();
    place.builds();
    assert_eq!(place.mk("generic other").0, 0);
    assert_eq!(place.mk("clean --all --root generic-other").0, 0);
    assert!(!place.has("generic-other") && place.has("generic-demo/deploy/hello"));
    let (status, _, err) = place.mk("clean --all --root generic-dem");
    assert_eq!(status, 2);
    assert!(err.contains("did you mean `generic-demo`?"), "{err}");
}

#[test]
fn a_misspelt_package_is_told() {
    let place = Place::new("always");
    let (status, _, err) = place.mk("clean --all thign");
    assert_eq!(status, 2);
    assert!(err.contains("did you mean `thing`?"), "{err}");
}

#[test]
fn what_was_cleaned_can_be_collected() {
    let place = Place::new("always");
    place.builds();
    assert_eq!(place.mk("clean --deploy").0, 0);
    let (status, out, err) = place.mk("gc");
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("removed"), "{out}");
    let entries = walkdir::WalkDir::new(place.at("store/entry")).into_iter().flatten();
    assert_eq!(entries.filter(|entry| entry.file_name() == "meta.json").count(), 0);
}
