//! Logs: there from the first byte, new for each run, and kept with a result for those who reuse it.

#![allow(clippy::unwrap_used, reason = "clippy knows only the test functions themselves as tests")]

mod harness;
mod processes;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Stdio;

use harness::Tree;
use processes::{Running, until, until_alone};

fn tree() -> Tree {
    Tree::new()
        .package("other", "build() { echo other; }")
        .package("release-tiny", "DEPENDS=other\nbuild() { echo one; }\ndeploy() { echo two; }")
}

const BOTH: &str =
    "==> tiny-demo/log/release-tiny-build.log <==\none\n==> tiny-demo/log/release-tiny-deploy.log <==\ntwo\n";

/// The names in headings depend on whether the log is the build root's or the store's.
fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with("==>")).collect()
}

#[test]
fn a_log_is_printed_whole_or_by_step() {
    let tree = tree();
    tree.builds("");
    tree.mk("log release-tiny").is(BOTH);
    tree.mk("log release-tiny deploy").is("two\n");
    assert_eq!(tree.mk("log release-tiny prepare").status, 2);
    tree.mk("log release-tiny install").has("unknown step `install`").has("status 2");
    tree.mk("log release-tyni").has("! hint: did you mean `release-tiny`?").has("status 2");
}

#[test]
fn logs_and_the_page_about_a_build_are_one_object_of_json() {
    let tree = tree();
    let said = |line: &str| -> serde_json::Value {
        serde_json::from_str(&tree.mk(&format!("{line} --format json")).stdout).unwrap()
    };
    tree.builds("");
    let logs = said("log release-tiny")["logs"].clone();
    for (log, step, text) in [(&logs[0], "build", "one\n"), (&logs[1], "deploy", "two\n")] {
        assert_eq!((&log["step"], &log["text"], &log["size"]), (&step.into(), &text.into(), &4.into()));
    }
    let page = tree.built("report.html").to_string_lossy().into_owned();
    assert_eq!(said("report"), serde_json::json!({ "build": "tiny-demo", "file": page }));
    for line in ["log release-tiny --follow --format json", "report --output - --format json"] {
        tree.mk(line).has("! error: `--format json` does not go with").has("status 2");
    }
    tree.write("pkg/other/build", "build() {\n\techo gone\n\tfalse\n}\n");
    tree.mk("-q tiny demo").has("status 1");
    let failed = said("log --failed")["failures"][0].clone();
    assert_eq!((&failed["package"], &failed["step"]), (&"other".into(), &"build".into()));
    assert_eq!((&failed["command"], &failed["text"]), (&"false".into(), &"gone\n".into()));
}

#[test]
fn a_log_is_new_for_each_run() {
    let tree = tree();
    tree.builds("");
    // Shorter, and without the second step.
    tree.write("pkg/release-tiny/build", "DEPENDS=other\nbuild() { echo 1; }");
    tree.builds("");
    tree.mk("log release-tiny").is("1\n");
    assert!(!tree.built("log/release-tiny-deploy.log").exists());
}

#[test]
fn the_log_of_a_reused_result_is_that_of_its_own_build() {
    let tree = tree();
    tree.builds("");
    // In another workspace nothing was ever built.
    fs_err::create_dir(tree.at("second")).unwrap();
    let mut command = tree.command(&["-q", "tiny", "demo"]);
    tree.run(command.current_dir(tree.at("second"))).is("");
    let mut command = tree.command(&["log", "release-tiny"]);
    assert_eq!(lines(&tree.run(command.current_dir(tree.at("second"))).stdout), ["one", "two"]);
    // Here something else was built meanwhile.
    let old = fs_err::read_to_string(tree.at("tree/pkg/release-tiny/build")).unwrap();
    tree.write("pkg/release-tiny/build", "DEPENDS=other\nbuild() { echo changed; }");
    tree.builds("");
    tree.mk("log release-tiny").is("changed\n");
    tree.write("pkg/release-tiny/build", &old);
    tree.builds("");
    assert_eq!(lines(&tree.mk("log release-tiny").stdout), ["one", "two"]);
    // Or failed.
    tree.write("pkg/release-tiny/build", "DEPENDS=other\nbuild() { echo broken; false; }");
    assert_eq!(tree.mk("-q tiny demo").status, 1);
    tree.mk("log release-tiny").is("broken\n");
    tree.write("pkg/release-tiny/build", &old);
    tree.builds("");
    assert_eq!(lines(&tree.mk("log release-tiny").stdout), ["one", "two"]);
}

#[test]
fn the_log_of_a_reused_preparation_is_there_as_well() {
    let tree = Tree::new().archive("a-1.tar.gz", &[("a-1/file", "x\n")]).package(
        "release-tiny",
        "TARBALL=a-1.tar.gz\nSRCDIR=a-1\nURL=ARCHIVES\nSHA256SUM=SHA256(a-1.tar.gz)\nprepare() { echo prepared; }\nbuild() { echo one; }",
    );
    tree.builds("");
    let recipe = fs_err::read_to_string(tree.at("tree/pkg/release-tiny/build")).unwrap();
    tree.write("pkg/release-tiny/build", &recipe.replace("echo one", "echo two"));
    tree.builds("");
    assert_eq!(lines(&tree.mk("log release-tiny").stdout), ["prepared", "two"]);
}

#[test]
fn failed_shows_what_failed_last_and_why() {
    let tree = tree().package("other", "build() { echo before; false; }");
    assert_eq!(tree.mk("-q tiny demo").status, 1);
    tree.mk("log --failed")
        .has("error: other: build failed with exit status 1\n")
        .has("==> tiny-demo/log/other-build.log <==\nbefore\n");
    tree.write("pkg/other/build", "build() { :; }");
    tree.builds("");
    tree.mk("log --failed").is("! error: nothing failed in the last build of `tiny-demo`\nstatus 2\n");
}

#[test]
fn failed_shows_what_failed_before_the_last_run_until_it_is_built() {
    let tree = tree().package("broken", "build() { echo before; false; }");
    tree.mk("-q tiny demo broken").has("status 1");
    tree.builds("other");
    tree.mk("log --failed").is("
        ==> tiny-demo/log/broken-build.log <==
        before
        ! note: nothing failed in the last build; these failed before, and were not built since
    ");
    let said: serde_json::Value =
        serde_json::from_str(&tree.mk("log --failed --format json").stdout).unwrap();
    let failure = &said["failures"][0];
    assert_eq!((&failure["package"], &failure["text"]), (&"broken".into(), &"before\n".into()));
    tree.write("pkg/broken/build", "build() { :; }");
    tree.builds("broken");
    tree.mk("log --failed").has("! error: nothing failed in the last build of `tiny-demo`\nstatus 2\n");
}

#[test]
fn failed_shows_what_verify_could_not_build() {
    let tree = Tree::new().package("a", "build() { echo jobs $NUMJOBS; [ \"$NUMJOBS\" = 1 ]; }");
    tree.mk("-q verify tiny demo a").has("status 1");
    tree.mk("log --failed").has("==> tiny-demo/log/a-build.log <==\njobs 2\n");
}

#[test]
fn a_log_without_a_word_and_one_that_nobody_wrote_are_told_so() {
    let tree = Tree::new().package("silent", "build() { true \"$1\"; }").package("silents", "");
    tree.builds("silent silents");
    tree.mk("log silent").is("! note: `silent` wrote nothing to its log\n");
    tree.mk("log silents").is("
        ! error: `silents` has no log `tiny-demo/log/silents*.log`
        ! hint: it was built; a step that its recipe does not have writes no log
        status 2
    ");
}

#[test]
fn list_has_sizes_and_times_also_of_what_was_reused() {
    let tree = tree();
    tree.builds("");
    let listed = tree.mk("log --list");
    let rows: Vec<Vec<&str>> = listed.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows.iter().map(|row| row[..4].join(" ")).collect::<Vec<_>>(),
        ["other build 6 B", "release-tiny build 4 B", "release-tiny deploy 4 B"]
    );
    assert!(rows.iter().all(|row| row.last() == Some(&"ago")));
    fs_err::remove_dir_all(tree.built("log")).unwrap();
    let listed: serde_json::Value =
        serde_json::from_str(&tree.mk("log --list --format json").stdout).unwrap();
    let listed = listed["logs"].as_array().unwrap();
    assert_eq!(listed.len(), 3);
    assert_eq!(
        (listed[0]["package"].as_str(), listed[0]["step"].as_str(), listed[0]["size"].as_u64()),
        (Some("other"), Some("build"), Some(6))
    );
}

#[test]
fn follow_prints_a_log_as_it_grows_from_step_to_step() {
    let tree = Tree::new()
        .package("gate", "build() { echo gate > \"$2/gate\"; }")
        .package(
            "release-tiny",
            "DEPENDS=gate\nbuild() { echo begun; until [ -e \"$PKGDEPLOYDIR/gate/go\" ]; do sleep 0.01; done; echo ended; }\ndeploy() { echo deployed; }",
        );
    let mut build = Running::start(tree.command(&["-q", "tiny", "demo"]).stderr(Stdio::null()));
    let log = tree.built("log/release-tiny-build.log");
    until("the first line is there while the step runs", || {
        fs_err::read_to_string(&log).is_ok_and(|text| text == "begun\n")
    });
    let mut follow =
        Running::start(tree.command(&["log", "--follow", "release-tiny"]).stdout(Stdio::piped()));
    let mut lines = BufReader::new(follow.0.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    let store = mk::store::Store::open(&tree.at("store")).unwrap();
    fs_err::write(store.entries()[0].deploy().join("go"), "").unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(rest, ["ended", "deployed"]);
    assert!(build.wait().success() && follow.wait().success());
    until_alone(&tree.at("."));
    // When nothing runs, it is all there.
    assert_eq!(lines_of(&tree, "log --follow release-tiny"), ["begun", "ended", "deployed"]);
}

#[test]
fn follow_prints_a_log_once_although_another_run_waits_for_the_same_and_uses_it() {
    let tree = Tree::new()
        .archive("a-1.tar.gz", &[("a-1/file", "x\n")])
        .package("gate", "build() { echo gate > \"$2/gate\"; }")
        .package(
            "release-tiny",
            "DEPENDS=gate\nTARBALL=a-1.tar.gz\nSRCDIR=a-1\nURL=ARCHIVES\nSHA256SUM=SHA256(a-1.tar.gz)\n\
             prepare() { echo prepared; }\n\
             build() { echo begun; until [ -e \"$PKGDEPLOYDIR/gate/go\" ]; do sleep 0.01; done; echo ended; }",
        )
        .package(
            "later",
            "DEPENDS=\"gate release-tiny\"\nbuild() { until [ -e \"$PKGDEPLOYDIR/gate/end\" ]; do sleep 0.01; done; }",
        );
    let mut first = Running::start(tree.command(&["-q", "tiny", "demo", "later"]).stderr(Stdio::null()));
    let logs = ["prepare", "build"].map(|step| tree.built(&format!("log/release-tiny-{step}.log")));
    until("the step runs", || fs_err::read_to_string(&logs[1]).is_ok_and(|text| text == "begun\n"));
    let state =
        |log: &PathBuf| fs_err::metadata(log).map(|meta| (meta.ino(), meta.modified().unwrap())).unwrap();
    let prepared = state(&logs[0]);
    let mut follow =
        Running::start(tree.command(&["log", "--follow", "release-tiny"]).stdout(Stdio::piped()));
    let mut lines = BufReader::new(follow.0.stdout.take().unwrap()).lines();
    let begun: Vec<String> = lines.by_ref().take(2).map(Result::unwrap).collect();
    assert_eq!(begun, ["prepared", "begun"]);
    let said = tree.at("said");
    let file = fs_err::File::create(&said).unwrap().into_parts().0;
    let mut second = Running::start(tree.command(&["tiny", "demo", "--format", "plain"]).stderr(file));
    until("the other run waits", || {
        fs_err::read_to_string(&said).unwrap().contains("release-tiny: waits: the same is being made already")
    });
    let built = state(&logs[1]).0;
    let store = mk::store::Store::open(&tree.at("store")).unwrap();
    let gate = store.entries()[0].deploy();
    fs_err::write(gate.join("go"), "").unwrap();
    // The one that waited shows the result first.
    assert!(second.wait().success());
    fs_err::write(gate.join("end"), "").unwrap();
    assert!(first.wait().success() && follow.wait().success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(rest, ["ended"]);
    // Not even a moment was there in which they were not.
    assert_eq!((state(&logs[0]), state(&logs[1]).0), (prepared, built));
}

fn lines_of(tree: &Tree, command: &str) -> Vec<String> {
    tree.mk(command).stdout.lines().map(str::to_owned).collect()
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let tree = Tree::new().package("release-tiny", "build() { seq 100000; }");
    tree.builds("");
    let mut child =
        tree.command(&["log", "release-tiny"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((first.as_str(), output.status.code(), output.stderr.len()), ("1\n", Some(0), 0));
}

#[test]
fn a_run_that_has_nothing_to_do_writes_a_trace_as_well() {
    let tree = tree();
    tree.builds("");
    // The first looks at files alone; the second, after a change that does not count, plans.
    for file in ["first", "second"] {
        tree.mk(&format!("-q tiny demo --trace {file}")).is("");
        let trace = fs_err::read(tree.at("workspace").join(file)).unwrap();
        let trace: serde_json::Value = serde_json::from_slice(&trace).unwrap();
        assert_eq!(trace["traceEvents"][0]["args"]["name"], "mk tiny-demo");
        tree.write("pkg/other/build", "# A comment.\nbuild() { echo other; }");
    }
}

#[test]
fn the_time_that_strip_takes_is_counted() {
    for tree in Tree::both() {
        let strip = "#!/bin/sh\nwhile read -r _ _ _ _ _ _ _ _ _ _ _ _ _ u s _ </proc/self/stat; do test $((u + s)) -ge 60 && exit; done\n";
        let tree = tree
            .file("board/tiny/TOOLCHAIN", &format!("TARGET={}-linux-gnu\n", std::env::consts::ARCH))
            .file("pkg/toolchain/strip", strip)
            .package("toolchain", "deploy() { mkdir $TCDIR/bin; install -m 755 $SCRIPTDIR/pkg/toolchain/strip $TCDIR/bin/$TARGET-strip; }")
            .package("a", "DEPENDS=toolchain\nbuild() { mkdir $2/lib; echo 'int x;' | gcc -g -c -x c -o $2/lib/x.o -; }");
        tree.builds("a");
        let record = mk::trace::read(&tree.built("log/events.json")).unwrap();
        let used = mk::trace::Run::of(&record).unwrap().cpu.unwrap();
        assert!(used >= 0.6, "{used}");
    }
}
