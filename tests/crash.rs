//! Killing `mk`, its helper and its steps at random moments: the next run finishes, its outputs are those of a build that nobody
//! disturbed, and nothing is left over.
//!
//! `MK_CRASH_ROUNDS` says how often (12), `MK_CRASH_SEED` where the dice begin; `scripts/crash` runs the full count.

#![allow(clippy::unwrap_used, reason = "clippy knows only the test functions themselves as tests")]

mod harness;
mod processes;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use harness::Tree;
use nix::sys::signal::Signal::SIGKILL;
use processes::{below, signal, unfinished, until_alone};

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

const PACKAGES: usize = 31;

/// Packages in layers, with sources, patches, toolchain additions and makes below them. What they deploy doesn't depend on
/// `ROUND`, which all of them name: with another one everything is built again and comes out the same.
fn forest() -> Tree {
    let mut tree = Tree::new()
        .env("MK_JOBS", "3")
        .file("board/tiny/TOOLCHAIN", "TARGET=tiny-linux\nROUND=0\n")
        .file("board/tiny/list.conf", "of the board\n")
        .package("tools", "build() { : \"$ROUND\"; mkdir -p \"$TCDIR/bin\"; printf '#!/bin/sh\\ncat \"$@\"\\n' > \"$TCDIR/bin/joined\"; chmod 755 \"$TCDIR/bin/joined\"; }");
    for at in 1..PACKAGES {
        let needs: Vec<String> =
            (1..at).filter(|need| (at + need) % 5 == 0).map(|need| format!("p{need}")).collect();
        let name = format!("p{at}-1");
        let makefile = "all: one two\none:\n\techo one > one\ntwo:\n\techo two > two\n";
        tree = tree.archive(
            &format!("{name}.tar.gz"),
            &[(&format!("{name}/text"), "text\n"), (&format!("{name}/Makefile"), makefile)],
        );
        let body = r#"
            prepare() { : "$ROUND"; echo prepared >> text; }
            build() {
                : "$ROUND"
                cp "$1/Makefile" .
                make -s -j "$NUMJOBS"
                local name=list
                mkdir -p "$2/lib" "$2/include/$PKGNAME"
                joined "$1/text" one two > "$2/lib/$PKGNAME"
                cat_file_override "$name.conf" >> "$2/lib/$PKGNAME"
                cat "$TCDIR/$TARGET"/lib/p* 2> /dev/null | sort -u >> "$2/lib/$PKGNAME" || true
            }
            deploy() { touch "$2/include/$PKGNAME/"{a,b,c}.h; ln -s a.h "$2/include/$PKGNAME/link.h"; }
        "#;
        tree = tree.package(
            &format!("p{at}"),
            &format!(
                "TARBALL={name}.tar.gz\nSRCDIR={name}\nURL=ARCHIVES\nSHA256SUM=SHA256({name}.tar.gz)\nDEPENDS=\"tools {}\"\n{body}",
                needs.join(" ")
            ),
        );
    }
    let all: Vec<String> = (1..PACKAGES).map(|at| format!("p{at}")).collect();
    tree.package(
        "release-tiny",
        &format!(
            "DEPENDS=\"{}\"\nbuild() {{ : \"$ROUND\"; cat \"$PKGDEPLOYDIR\"/p*/lib/* > \"$2/image\"; }}",
            all.join(" ")
        ),
    )
}

/// The output digests of the results that a build root shows.
fn shown(store: &Path, build_root: &Path) -> BTreeMap<String, String> {
    let store = mk::store::Store::open(store).unwrap();
    let keys: BTreeMap<String, mk::digest::Digest> =
        serde_json::from_slice(&fs_err::read(build_root.join(".mk/keys.json")).unwrap()).unwrap();
    keys.into_iter()
        .map(|(package, key)| (package, store.find(&key).unwrap().meta.output.to_string()))
        .collect()
}

/// Starts a run and kills somebody after some of its events.
fn disturb(tree: &Tree, dice: &mut Dice, words: &[&str]) -> String {
    let mut command = tree.command(&[&["--format", "json"], words, &["tiny", "demo"]].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let events = dice.below(160);
    let victim = dice.below(3);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..events {
        if lines.next().is_none() {
            break;
        }
    }
    // Between two events, too: this is the moment itself, not a wait for anything.
    std::thread::sleep(Duration::from_micros(dice.below(4000)));
    let all = below(child.id());
    let pid = match victim {
        0 if !all.is_empty() => all[dice.below(all.len() as u64) as usize],
        _ => child.id(),
    };
    signal(pid, SIGKILL);
    // A step that was killed is a failure that `mk` tells; its output must not fill the pipe meanwhile.
    lines.for_each(drop);
    let status = child.wait().unwrap();
    until_alone(&tree.at("."));
    format!(
        "killed {} after {events} events: {status}",
        if pid == child.id() { "mk" } else { "a process below it" }
    )
}

fn rounds(tree: &Tree, dice: &mut Dice, count: u64, words: &[&str]) {
    let store = if words.contains(&"never") { tree.built(".mk/store") } else { tree.at("store") };
    // What nobody disturbed.
    let undisturbed = tree.mk_words(&[words, &["-q", "tiny", "demo"]].concat());
    undisturbed.is("");
    let expected = shown(&store, &tree.built(""));
    assert_eq!(expected.len(), PACKAGES + 1);
    let image = tree.deployed("release-tiny", "image");
    let mut kills = 0;
    let mut round = 0;
    while kills < count {
        round += 1;
        tree.write("board/tiny/TOOLCHAIN", &format!("TARGET=tiny-linux\nROUND={round}\n"));
        let mut story = Vec::new();
        for _ in 0..=dice.below(3) {
            story.push(disturb(tree, dice, words));
            kills += 1;
        }
        let story = format!("round {round}: {}", story.join("; "));
        let ran = tree.mk_words(&[words, &["-q", "tiny", "demo"]].concat());
        assert_eq!(ran.text(), "", "{story}");
        assert_eq!(shown(&store, &tree.built("")), expected, "{story}");
        assert_eq!(tree.deployed("release-tiny", "image"), image, "{story}");
        assert_eq!(unfinished(&store, &tree.at("workspace")), Vec::<std::path::PathBuf>::new(), "{story}");
    }
    until_alone(&tree.at("."));
    let store = store.display().to_string();
    let checked = tree.mk_words(&["--store", &store, "store", "verify"]);
    assert_eq!(checked.status, 0, "{}", checked.text());
}

#[test]
fn after_a_kill_at_any_moment_the_next_run_finishes_right_and_nothing_is_left() {
    let seed = number("MK_CRASH_SEED", 20_260_101);
    rounds(&forest(), &mut Dice(seed), number("MK_CRASH_ROUNDS", 12), &[]);
}

#[test]
fn without_rooms_as_well() {
    let seed = number("MK_CRASH_SEED", 20_260_101);
    rounds(
        &forest(),
        &mut Dice(seed.wrapping_add(7)),
        number("MK_CRASH_ROUNDS", 12).div_ceil(6),
        &["--rooms", "never"],
    );
}
