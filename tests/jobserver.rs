//! One jobserver for everything below `mk`: real makes, cmakes and ninjas, and a compiler that writes down when it runs.

#![allow(clippy::unwrap_used, reason = "clippy knows only the test functions themselves as tests")]

mod harness;
mod processes;

use std::process::{Command, Stdio};

use harness::{MK, Tree};
use nix::sys::signal::Signal::SIGKILL;
use processes::{Running, below, signal, until, until_alone};

/// A compiler that takes a while and writes down when it began and when it ended, into the package that it works for.
const COMPILER: &str = r#"build() {
	mkdir -p "$TCDIR/bin"
	cat > "$TCDIR/bin/compiler" <<-'END'
		#!/bin/bash
		echo "$EPOCHREALTIME 1" >> "$COUNT"
		sleep 0.05
		echo "$EPOCHREALTIME -1" >> "$COUNT"
	END
	chmod 755 "$TCDIR/bin/compiler"
}"#;

/// A makefile with eight compilers.
const EIGHT: &str = "all: t1 t2 t3 t4 t5 t6 t7 t8\nt%:\n\tcompiler\n";

/// A package whose `build` does this, with a makefile for eight in its folder.
fn with(tree: Tree, name: &str, body: &str) -> Tree {
    tree.file(&format!("pkg/{name}/Makefile"), EIGHT).package(
        name,
        &format!("DEPENDS=compiler\nbuild() {{\n\texport COUNT=\"$2/count\"\n\tcp \"$SCRIPTDIR/pkg/$PKGNAME/\"* .\n\t{body}\n}}"),
    )
}

/// The most compilers that ran at once, and how many ran in all, over some packages together.
fn most(tree: &Tree, packages: &[&str]) -> (i64, usize) {
    let mut moments: Vec<(f64, i64)> = Vec::new();
    for package in packages {
        for line in tree.deployed(package, "count").lines() {
            let (time, step) = line.split_once(' ').unwrap();
            moments.push((time.parse().unwrap(), step.parse().unwrap()));
        }
    }
    moments.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut now = 0;
    let most = moments.iter().map(|(_, step)| {
        now += step;
        now
    });
    (most.max().unwrap(), moments.len() / 2)
}

#[test]
fn never_more_compilers_run_than_jobs_whatever_starts_them_and_never_fewer() {
    let cmake = "cmake_minimum_required(VERSION 3.20)\nproject(eight NONE)\nforeach(i RANGE 1 8)\n\tadd_custom_target(t${i} ALL COMMAND compiler)\nendforeach()\n";
    let ninja: String = "rule cc\n  command = compiler\n".to_owned()
        + &(1..9).map(|i| format!("build t{i}: cc\n")).collect::<String>();
    let tree = Tree::new().env("MK_JOBS", "3").package("compiler", COMPILER);
    let tree = with(tree, "plain", "make -j $NUMJOBS");
    let tree = with(tree, "greedy", "make -j all");
    let tree = with(
        tree,
        "nested",
        "printf 'all: a b\\na:\\n\\t$(MAKE) -C sub\\nb:\\n\\t+make -C other\\n' > top; mkdir sub other; cp Makefile sub; cp Makefile other; make -j $NUMJOBS -f top",
    );
    let tree =
        with(tree, "cmake", "rm Makefile; cmake -G 'Unix Makefiles' . > out; cmake --build . -j $NUMJOBS")
            .file("pkg/cmake/CMakeLists.txt", cmake);
    let tree =
        with(tree, "cmake-ninja", "cmake -G Ninja -S . -B b > out; cmake --build b --parallel \"$NUMJOBS\"")
            .file("pkg/cmake-ninja/CMakeLists.txt", cmake);
    let tree = with(tree, "ninja", "ninja -j $NUMJOBS").file("pkg/ninja/build.ninja", &ninja);
    let all = ["plain", "greedy", "nested", "cmake", "cmake-ninja", "ninja"];
    let tree = tree.package("release-tiny", &format!("DEPENDS=\"{}\"", all.join(" ")));
    tree.builds("");
    assert_eq!(most(&tree, &all), (3, 7 * 8));
    for package in all {
        let log = tree.log(package, "build");
        assert!(!log.contains("jobserver") && !log.contains("warning"), "{package}: {log}");
    }
}

#[test]
fn one_job_is_one_compiler() {
    let tree = Tree::new().env("MK_JOBS", "1").package("compiler", COMPILER);
    let tree = with(tree, "release-tiny", "make -j $NUMJOBS; make -j8");
    tree.builds("");
    assert_eq!(most(&tree, &["release-tiny"]), (1, 16));
}

#[test]
fn tokens_that_a_killed_step_took_along_come_back() {
    let hang = "printf 'all: t1 t2 t3\\nt%%:\\n\\techo $@ >> begun; sleep 1000\\n' > hang; make -s -j $NUMJOBS -f hang";
    let tree = Tree::new().env("MK_JOBS", "3").package("compiler", COMPILER);
    let tree = with(tree, "killed", hang);
    let tree = with(tree, "after", "make -j $NUMJOBS")
        .package(
            "gate",
            "DEPENDS=compiler\nbuild() { until [ -e \"$PKGDEPLOYDIR/compiler/go\" ]; do sleep 0.01; done; }",
        )
        .package("after-gate", "DEPENDS=\"gate after\"");
    let after = fs_err::read_to_string(tree.at("tree/pkg/after/build")).unwrap();
    tree.write("pkg/after/build", &after.replace("DEPENDS=compiler", "DEPENDS=\"compiler gate\""));
    let tree = tree.package("release-tiny", "DEPENDS=\"killed after-gate\"");
    let mut child = Running::start(tree.command(&["-k", "tiny", "demo"]).stderr(Stdio::null()));
    // Its make holds a token, perhaps two, when it is killed with all that it started.
    let hanging = || {
        below(child.id()).into_iter().filter(|pid| {
            let line = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("sleep\x001000")
        })
    };
    until("two hang", || hanging().count() >= 2);
    let makes: Vec<u32> = below(child.id())
        .into_iter()
        .filter(|pid| {
            fs_err::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"make\0-s"))
        })
        .collect();
    makes.iter().for_each(|pid| signal(*pid, SIGKILL));
    until("the failure is told", || tree.built("failed/killed").exists());
    let store = mk::store::Store::open(&tree.at("store")).unwrap();
    let compiler =
        store.entries().into_iter().find(|entry| entry.meta.package.as_str() == "compiler").unwrap();
    fs_err::write(compiler.deploy().join("go"), "").unwrap();
    assert_eq!(child.wait().code(), Some(1));
    until_alone(&tree.at("."));
    assert_eq!(most(&tree, &["after"]), (3, 8));
}

#[test]
fn under_the_jobserver_of_another_make_it_stays_within_that() {
    let tree = Tree::new().without_env("MK_JOBS").package("compiler", COMPILER);
    let tree = with(tree, "left", "make -j $NUMJOBS");
    let tree = with(tree, "right", "make -j $NUMJOBS");
    let tree = tree.package("release-tiny", "DEPENDS=\"left right\"");
    let makefile = tree.at("workspace/Makefile");
    fs_err::write(
        &makefile,
        format!("all:\n\t+{MK} -j 8 tiny demo\nbare:\n\t{MK} -j 2 tiny demo compiler\n"),
    )
    .unwrap();
    let make = |words: &[&str]| {
        let mut command = Command::new("make");
        let environment: Vec<_> =
            tree.command(&[]).get_envs().filter_map(|(n, v)| Some((n.to_owned(), v?.to_owned()))).collect();
        tree.run(
            command
                .args(words)
                .env_clear()
                .envs(environment)
                .current_dir(tree.at("workspace"))
                .stdin(Stdio::null()),
        )
    };
    let ran = make(&["-s", "-j3", "all"]);
    assert_eq!(ran.status, 0, "{}", ran.text());
    assert!(!ran.stderr.contains("jobserver"), "{}", ran.text());
    let (most, count) = most(&tree, &["left", "right"]);
    assert!(most <= 3 && count == 16, "{most} at once, {count} in all");
    // Without `+` make closes its pipe before it starts anything.
    tree.write("pkg/compiler/build", &COMPILER.replace("0.05", "0.06"));
    let ran = make(&["-s", "-j3", "bare"]);
    assert_eq!(ran.status, 0, "{}", ran.text());
    ran.has("the jobserver that MAKEFLAGS names cannot be used: ").has("; using 2 jobs of its own");
}

#[test]
fn broken_makeflags_are_told_and_do_no_harm() {
    for flags in [
        "-j --jobserver-auth=987,988",
        " -j3 --jobserver-auth=fifo:/nowhere/at/all",
        "--jobserver-auth=zebra",
        "--jobserver-fds=0,0",
    ] {
        let tree = Tree::new().env("MAKEFLAGS", flags).package("release-tiny", "build() { :; }");
        let ran = tree.mk("tiny demo");
        assert_eq!(ran.status, 0, "{flags}: {}", ran.text());
        ran.has("the jobserver that MAKEFLAGS names cannot be used");
    }
    for flags in ["", "k", " -- A=b", "-j4", "--jobserver-auth=-2,-2"] {
        let tree = Tree::new().env("MAKEFLAGS", flags).package("release-tiny", "build() { :; }");
        let ran = tree.mk("tiny demo");
        assert!(ran.status == 0 && !ran.stderr.contains("MAKEFLAGS"), "{flags}: {}", ran.text());
    }
}

#[test]
fn the_number_of_jobs_must_make_sense() {
    let tree = Tree::new().package("release-tiny", "");
    for jobs in ["0", "-1", "4097", "99999999999999999999", "many", "1.5", ""] {
        let ran = tree.mk_words(&["-j", jobs, "tiny", "demo"]);
        assert_eq!(ran.status, 2, "{jobs}: {}", ran.text());
        ran.has("is no number of jobs").has("-j takes a number from 1 to 4096");
    }
    assert_eq!(tree.mk("-j 4096 tiny demo").status, 0);
}
