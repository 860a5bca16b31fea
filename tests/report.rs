//! What a run looks like from outside: each form of the report, failures, the record, the trace.

#![allow(clippy::unwrap_used, reason = "clippy knows only the test functions themselves as tests")]

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mk::event::{Event, Events, Exit, Failure, Frame, Outcome, Stamped, Work};
use mk::names::{PackageName, Step};
use mk::progress::Size;
use mk::report::{Form, Options, Outputs, Report, Verbosity};
use mk::trace::Run;

fn name(text: &str) -> PackageName {
    PackageName::new(text).unwrap()
}

fn at(seconds: f64, event: Event) -> Stamped {
    Stamped { time: UNIX_EPOCH + Duration::from_secs_f64(1_700_000_000.0 + seconds), event }
}

fn seconds(value: f64) -> Duration {
    Duration::from_secs_f64(value)
}

/// An output that can be looked at, and waited for.
#[derive(Clone)]
struct Glass(Arc<Mutex<Vec<u8>>>, Sender<()>);

impl Glass {
    fn new() -> (Glass, Receiver<()>) {
        let (sender, receiver) = channel();
        (Glass(Arc::default(), sender), receiver)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Glass {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        let _ = self.1.send(());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An output whose other end is gone.
struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }
}

/// What stands on stdout and stderr after these events.
fn show(events: &[Stamped], options: Options, window: Option<Size>) -> (String, String) {
    let (stdout, _out) = Glass::new();
    let (stderr, _err) = Glass::new();
    let (sender, receiver) = channel();
    for event in events {
        sender.send(event.clone()).unwrap();
    }
    drop(sender);
    let outputs = Outputs {
        stdout: Box::new(stdout.clone()),
        stderr: Box::new(stderr.clone()),
        window: Box::new(move || window),
    };
    Report::start_on(receiver, options, outputs).join().unwrap();
    (stdout.text(), stderr.text())
}

fn options(form: Form, verbosity: Verbosity) -> Options {
    Options { form, verbosity, root: "/ws".into(), ..Options::default() }
}

fn started(package: &str, work: Work, slot: usize) -> Event {
    Event::WorkStarted { package: name(package), work, slot, waited: Duration::ZERO }
}

fn ended(package: &str, work: Work, slot: usize, elapsed: f64) -> Event {
    Event::WorkEnded { package: name(package), work, slot, elapsed: seconds(elapsed) }
}

fn package(package: &str, outcome: Outcome, reason: &str, elapsed: f64) -> Event {
    Event::PackageEnded {
        package: name(package),
        outcome,
        reason: reason.into(),
        elapsed: seconds(elapsed),
        size: 4096,
    }
}

fn planned(package: &str, version: &str, needs: &[&str]) -> Event {
    Event::Planned {
        package: name(package),
        version: version.into(),
        needs: needs.iter().map(|need| name(need)).collect(),
        weight: 1.0,
    }
}

fn failure(log: Option<&Path>) -> Failure {
    Failure {
        package: name("openssh"),
        step: Some(Step::Build),
        exit: Some(Exit::Code(2)),
        message: String::new(),
        at: Vec::new(),
        hints: vec![mk::failure::shell_hint("mk", "qemu-x86_64", "router", "openssh")],
        command: Some("make -j 8".into()),
        stack: vec![
            Frame { file: "pkg/openssh/build".into(), line: 21, function: "compile".into() },
            Frame { file: "pkg/openssh/build".into(), line: 30, function: "build".into() },
        ],
        log: log.map(Into::into),
        kept: Some("/ws/b-p/build/openssh".into()),
    }
}

/// zlib is built, openssh fails, two are skipped, one is reused at once, one is reused later.
fn run() -> Vec<Stamped> {
    vec![
        at(0.0, Event::RunStarted { name: "b-p".into(), packages: 6, reused: 1, jobs: 2, estimate: None }),
        at(0.0, planned("zlib", "1.3.1", &[])),
        at(0.0, planned("openssh", "9.9", &["zlib"])),
        at(0.0, planned("rootfs", "", &["openssh"])),
        at(0.0, planned("release-b", "", &["rootfs"])),
        at(0.0, planned("musl", "1.2.5", &[])),
        at(0.0, Event::Note { text: "waits for memory".into() }),
        at(0.1, package("musl", Outcome::Reused, "", 0.0)),
        at(0.1, started("zlib", Work::Fetch, 2)),
        at(
            0.2,
            Event::Download { package: name("zlib"), file: "zlib.tar.xz".into(), done: 10, total: Some(30) },
        ),
        at(
            0.5,
            Event::Download { package: name("zlib"), file: "zlib.tar.xz".into(), done: 30, total: Some(30) },
        ),
        at(0.5, ended("zlib", Work::Fetch, 2, 0.4)),
        at(0.5, started("zlib", Work::Prepare, 0)),
        at(1.0, ended("zlib", Work::Prepare, 0, 0.5)),
        at(1.0, started("zlib", Work::Build, 0)),
        at(
            1.0,
            Event::StepStarted {
                package: name("zlib"),
                step: Step::Build,
                log: "/none/zlib-build.log".into(),
            },
        ),
        at(
            4.1,
            Event::StepEnded {
                package: name("zlib"),
                step: Step::Build,
                exit: Exit::Code(0),
                elapsed: seconds(3.1),
            },
        ),
        at(4.2, ended("zlib", Work::Build, 0, 3.2)),
        at(4.2, package("zlib", Outcome::Built, "VERSION: 1.3 → 1.3.1", 4.1)),
        at(4.2, started("openssh", Work::Build, 0)),
        at(
            4.2,
            Event::StepStarted {
                package: name("openssh"),
                step: Step::Build,
                log: "/none/openssh-build.log".into(),
            },
        ),
        at(
            6.2,
            Event::StepEnded {
                package: name("openssh"),
                step: Step::Build,
                exit: Exit::Code(2),
                elapsed: seconds(2.0),
            },
        ),
        at(6.2, Event::Failed(Box::new(failure(None)))),
        at(6.2, ended("openssh", Work::Build, 0, 2.0)),
        at(6.2, package("openssh", Outcome::Failed, "", 2.0)),
        at(6.2, package("release-b", Outcome::Skipped, "openssh", 0.0)),
        at(6.2, package("rootfs", Outcome::Skipped, "openssh", 0.0)),
        at(6.2, Event::Usage { cpu: seconds(5.5) }),
        at(6.3, Event::RunEnded { success: false, elapsed: seconds(6.3) }),
    ]
}

const FAILURE: &str = "\
error: openssh: build failed with exit status 2
  at pkg/openssh/build:21 in compile(): make -j 8
  called from pkg/openssh/build:30 in build()
  build folder kept: b-p/build/openssh
hint: `mk shell qemu-x86_64 router openssh` opens a shell in its room
";

const SUMMARY: &str = "\
failed: openssh (build)
skipped because of openssh: release-b, rootfs
6 packages: 1 built, 2 reused, 1 failed, 2 skipped
time: 6.3s, 45% of 2 slots used, processor 5.5s
critical path 6.1s: zlib 4.1s → openssh 2.0s
";

#[test]
fn plain_says_when_a_step_starts_and_ends_and_sums_up() {
    let expected = format!(
        "note: waits for memory\n\
         zlib: fetch\n\
         zlib: fetch done in 0.4s\n\
         zlib: build\n\
         zlib: build done in 3.1s\n\
         zlib: built in 4.1s  (VERSION: 1.3 → 1.3.1)\n\
         openssh: build\n\
         openssh: build failed after 2.0s (exit status 2)\n\
         {FAILURE}{SUMMARY}"
    );
    for form in [Form::Plain, Form::Human] {
        let (stdout, stderr) = show(&run(), options(form, Verbosity::Normal), None);
        assert_eq!(stderr, expected);
        assert_eq!(stdout, "");
    }
}

#[test]
fn quiet_says_what_failed_and_nothing_else() {
    for window in [None, Some(Size { columns: 80, rows: 24 })] {
        let (stdout, stderr) = show(&run(), options(Form::Human, Verbosity::Quiet), window);
        assert_eq!((stdout.as_str(), stderr.as_str()), ("", FAILURE));
    }
}

#[test]
fn verbose_also_tells_of_what_was_reused() {
    let (_, stderr) = show(&run(), options(Form::Plain, Verbosity::Verbose), None);
    assert!(stderr.contains("\nmusl: reused\n"), "{stderr}");
}

#[test]
fn json_is_one_event_a_line_on_stdout_which_reads_back_as_it_was() {
    let (stdout, stderr) = show(&run(), options(Form::Json, Verbosity::Normal), None);
    assert_eq!(stderr, "");
    assert_eq!(stdout.lines().count(), run().len());
    let mut again = String::new();
    for line in stdout.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["time"].is_f64() && value["event"].is_string(), "{line}");
        let back: Stamped = serde_json::from_str(line).unwrap();
        again += &serde_json::to_string(&back).unwrap();
        again += "\n";
    }
    assert_eq!(again, stdout);
    let line = stdout.lines().find(|line| line.contains("step-ended")).unwrap();
    let expected = r#"{"time":1700000004.1,"event":"step-ended","package":"zlib","step":"build","exit":{"code":0},"elapsed":3.1}"#;
    assert_eq!(line, expected);
}

/// One event of each kind; a new kind does not compile until it is here, and fails until it is documented.
fn one_of_each() -> Vec<Event> {
    let mut seen: Vec<Event> = run().into_iter().map(|stamped| stamped.event).collect();
    seen.push(Event::Warning { text: "x".into() });
    for event in &seen {
        match event {
            Event::RunStarted { .. }
            | Event::Planned { .. }
            | Event::Note { .. }
            | Event::Warning { .. }
            | Event::WorkStarted { .. }
            | Event::WorkEnded { .. }
            | Event::StepStarted { .. }
            | Event::StepEnded { .. }
            | Event::Download { .. }
            | Event::PackageEnded { .. }
            | Event::Failed(_)
            | Event::Usage { .. }
            | Event::RunEnded { .. } => {}
        }
    }
    seen
}

#[test]
fn every_event_and_every_field_is_documented_and_nothing_else_is() {
    let text = fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.md")).unwrap();
    let mut sections: std::collections::BTreeMap<&str, &str> =
        text.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
    let mut kinds = std::collections::BTreeSet::new();
    for event in one_of_each() {
        let value = serde_json::to_value(at(0.0, event)).unwrap();
        let kind = value["event"].as_str().unwrap().to_string();
        let section =
            sections.get(kind.as_str()).unwrap_or_else(|| panic!("docs/events.md does not tell of `{kind}`"));
        for field in
            value.as_object().unwrap().keys().filter(|field| !["time", "event"].contains(&field.as_str()))
        {
            assert!(section.contains(&format!("`{field}`")), "docs/events.md: `{kind}` lacks `{field}`");
        }
        kinds.insert(kind);
    }
    sections.retain(|kind, _| !kinds.contains(*kind));
    assert!(sections.is_empty(), "no such events: {:?}", sections.keys());
}

#[test]
fn on_a_terminal_finished_packages_stand_above_and_nothing_of_the_picture_remains() {
    let mut options = options(Form::Human, Verbosity::Normal);
    options.color = true;
    let (_, stderr) = show(&run(), options, Some(Size { columns: 60, rows: 20 }));
    let screen = screen(&stderr, 60);
    let expected =
        format!("note: waits for memory\nbuilt zlib 1.3.1  4.1s  (VERSION: 1.3 → 1.3.1)\n{FAILURE}{SUMMARY}");
    assert_eq!(screen, wrap(&expected, 60));
    assert!(
        stderr.contains("\x1b[32mbuilt\x1b[0m") && stderr.contains("\x1b[1;31merror:\x1b[0m"),
        "{stderr:?}"
    );
    assert!(!stderr.contains("\x1b[?25l"), "the cursor is never hidden, so nobody has to bring it back");
}

#[test]
fn without_leave_there_is_no_colour_even_on_a_terminal() {
    let (_, stderr) =
        show(&run(), options(Form::Human, Verbosity::Normal), Some(Size { columns: 60, rows: 20 }));
    assert!(!stderr.contains("\x1b[32m") && !stderr.contains("\x1b[1"), "{stderr:?}");
    let (_, stderr) = show(&run(), Options { color: true, ..options(Form::Human, Verbosity::Normal) }, None);
    assert!(!stderr.contains('\x1b'), "{stderr:?}");
}

fn wrap(text: &str, columns: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let chars: Vec<char> = line.chars().collect();
        for part in chars.chunks(columns) {
            out.extend(part);
            out.push('\n');
        }
    }
    out
}

/// What a terminal of so many columns shows after this text: as much of one as the painter needs.
fn screen(text: &str, columns: usize) -> String {
    let (mut rows, mut row, mut column, mut wraps): (Vec<Vec<char>>, _, _, _) =
        (vec![vec![]], 0_usize, 0_usize, true);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => {
                assert_eq!(chars.next(), Some('['));
                let mut sequence = String::new();
                for c in chars.by_ref() {
                    sequence.push(c);
                    if c.is_ascii_alphabetic() {
                        break;
                    }
                }
                let number = || sequence[..sequence.len() - 1].parse::<usize>().unwrap();
                match sequence.as_str() {
                    "?7l" => wraps = false,
                    "?7h" => wraps = true,
                    "?2026h" | "?2026l" => {}
                    "2K" => rows[row].clear(),
                    "K" => rows[row].truncate(column),
                    "J" => {
                        rows[row].truncate(column);
                        rows.truncate(row + 1);
                    }
                    other if other.ends_with('A') => row = row.checked_sub(number()).expect("above the top"),
                    other if other.ends_with('m') => {}
                    other => panic!("unknown sequence {other:?}"),
                }
            }
            '\r' => column = 0,
            '\n' => {
                (row, column) = (row + 1, 0);
                if row == rows.len() {
                    rows.push(vec![]);
                }
            }
            c => {
                if column == columns {
                    assert!(wraps, "a line of the picture is wider than the window");
                    (row, column) = (row + 1, 0);
                    if row == rows.len() {
                        rows.push(vec![]);
                    }
                }
                if rows[row].len() <= column {
                    rows[row].resize(column + 1, ' ');
                }
                rows[row][column] = c;
                column += 1;
            }
        }
    }
    let mut out = String::new();
    for row in &rows {
        out.extend(row);
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out + "\n"
}

#[test]
fn a_verbose_report_follows_logs_line_by_line_as_they_grow() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("zlib-build.log");
    let (stderr, written) = Glass::new();
    let (stdout, _) = Glass::new();
    let (events, receiver) = Events::channel();
    let outputs =
        Outputs { stdout: Box::new(stdout), stderr: Box::new(stderr.clone()), window: Box::new(|| None) };
    let handle = Report::start_on(receiver, options(Form::Plain, Verbosity::Verbose), outputs);

    events.send(Event::StepStarted { package: name("zlib"), step: Step::Build, log: log.clone() });
    // The log may come after the event.
    let mut file = fs_err::File::create(&log).unwrap();
    file.write_all(b"cc a.c\n\x1b[31mhalf a ").unwrap();
    while !stderr.text().contains("cc a.c\n") {
        written.recv().unwrap();
    }
    assert!(!stderr.text().contains("half"), "{}", stderr.text());
    file.write_all(b"line\x1b[0m\n\nno end").unwrap();
    events.send(Event::StepEnded {
        package: name("zlib"),
        step: Step::Build,
        exit: Exit::Code(0),
        elapsed: seconds(1.0),
    });
    drop(events);
    handle.join().unwrap();
    let expected = "zlib: build\n\
        zlib-build | cc a.c\n\
        zlib-build | half a line\n\
        zlib-build |\n\
        zlib-build | no end\n\
        zlib: build done in 1.0s\n";
    assert_eq!(stderr.text(), expected);
}

#[test]
fn a_long_log_is_followed_to_its_end_and_a_missing_one_is_silent() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("x.log");
    let line = "y".repeat(99) + "\n";
    fs_err::write(&log, line.repeat(30_000)).unwrap();
    let step = |log: &Path| {
        vec![
            at(0.0, Event::StepStarted { package: name("x"), step: Step::Build, log: log.into() }),
            at(
                1.0,
                Event::StepEnded {
                    package: name("x"),
                    step: Step::Build,
                    exit: Exit::Code(0),
                    elapsed: seconds(1.0),
                },
            ),
        ]
    };
    let (_, stderr) = show(&step(&log), options(Form::Plain, Verbosity::Verbose), None);
    assert_eq!(stderr.lines().filter(|line| line.starts_with("x-build | yyy")).count(), 30_000);
    let (_, stderr) = show(&step(&dir.path().join("none")), options(Form::Plain, Verbosity::Verbose), None);
    assert_eq!(stderr, "x: build\nx: build done in 1.0s\n");
}

#[test]
fn outputs_that_have_gone_away_make_it_silent_and_it_still_records() {
    let dir = tempfile::tempdir().unwrap();
    for form in [Form::Human, Form::Plain, Form::Json] {
        for window in [None, Some(Size { columns: 0, rows: 0 })] {
            let record = dir.path().join("log/events.json");
            let _ = fs_err::remove_file(&record);
            let (sender, receiver) = channel();
            for event in run() {
                sender.send(event).unwrap();
            }
            let options = Options { record: Some(record.clone()), ..options(form, Verbosity::Verbose) };
            let outputs = Outputs {
                stdout: Box::new(Broken),
                stderr: Box::new(Broken),
                window: Box::new(move || window),
            };
            Report::start_on(receiver, options, outputs).join().unwrap();
            assert!(Run::of(&mk::trace::read(&record).unwrap()).unwrap().success.is_some());
        }
    }
}

#[test]
fn the_record_keeps_the_last_run_in_which_something_was_done() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("log/events.json");
    let with = || Options { record: Some(record.clone()), ..options(Form::Plain, Verbosity::Normal) };
    assert!(mk::trace::read(&record).is_err());

    show(&run(), with(), None);
    let first = mk::trace::read(&record).unwrap();
    assert_eq!(first.len(), run().len() - 1, "all but the download on its way");

    let idle = [
        at(0.0, Event::RunStarted { name: "b-p".into(), packages: 57, reused: 57, jobs: 2, estimate: None }),
        at(0.2, Event::RunEnded { success: true, elapsed: seconds(0.2) }),
    ];
    let (_, stderr) = show(&idle, with(), None);
    assert_eq!(stderr, "nothing to do: 57 packages reused in 0.2s\n");
    assert_eq!(mk::trace::read(&record).unwrap().len(), first.len());

    show(&run()[..10], with(), None);
    let mut bytes = fs_err::read(&record).unwrap();
    bytes.extend_from_slice(b"{\"time\":17000");
    fs_err::write(&record, bytes).unwrap();
    let cut = Run::of(&mk::trace::read(&record).unwrap()).unwrap();
    assert_eq!((cut.success, cut.spans.len()), (None, 1));

    fs_err::write(&record, "no events\n").unwrap();
    assert!(mk::trace::read(&record).unwrap_err().message.contains("holds no recorded run"));
}

#[test]
fn a_record_that_cannot_be_written_does_not_matter() {
    let options =
        Options { record: Some("/proc/none/events.json".into()), ..options(Form::Plain, Verbosity::Normal) };
    let (_, stderr) = show(&run(), options, None);
    assert!(stderr.ends_with(SUMMARY));
}

#[test]
fn a_stopped_run_counts_what_was_stopped_and_what_was_not_tried() {
    let mut events = run();
    events.truncate(15);
    events.push(at(2.0, package("zlib", Outcome::Cancelled, "", 1.0)));
    events.push(at(2.0, Event::RunEnded { success: false, elapsed: seconds(2.0) }));
    let (_, stderr) = show(&events, options(Form::Plain, Verbosity::Normal), None);
    assert!(stderr.contains("\n6 packages: 2 reused, 1 stopped, 3 not tried\n"), "{stderr}");
}

#[test]
fn a_failure_shows_the_first_errors_and_the_end_of_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("b-p/log/openssh-build.log");
    fs_err::create_dir_all(log.parent().unwrap()).unwrap();
    let mut text = String::from("sshkey.c:12:10: fatal error: openssl/evp.h: No such file or directory\n");
    for i in 0..20 {
        text += &format!("\x1b[1mline {i}\x1b[0m\r\n");
    }
    text += "make: *** [Makefile:3: all] Error 1\n\n";
    fs_err::write(&log, text).unwrap();
    let shown = mk::failure::text(&failure(Some(&log)), dir.path());
    let mut tail = String::new();
    for i in 6..20 {
        tail += &format!("\n    line {i}");
    }
    let expected = format!(
        "error: openssh: build failed with exit status 2\n  \
           at pkg/openssh/build:21 in compile(): make -j 8\n  \
           called from pkg/openssh/build:30 in build()\n  \
           first errors:\n    \
             sshkey.c:12:10: fatal error: openssl/evp.h: No such file or directory\n  \
           end of log:{tail}\n    \
             make: *** [Makefile:3: all] Error 1\n  \
           log: b-p/log/openssh-build.log\n  \
           build folder kept: /ws/b-p/build/openssh\n\
         hint: `mk shell qemu-x86_64 router openssh` opens a shell in its room"
    );
    assert_eq!(shown, expected);
}

#[test]
fn a_failure_that_is_no_step_s_tells_its_sentence_and_a_killed_step_its_signal() {
    let mut failure = failure(None);
    (failure.step, failure.exit, failure.command, failure.kept) = (None, None, None, None);
    failure.stack.clear();
    failure.hints.clear();
    failure.message = "checksum mismatch for `a.tar.xz`".into();
    failure.at = vec!["expected 38ef".into(), "found 9a93".into()];
    let text = |failure: &Failure| mk::failure::text(failure, Path::new("/"));
    assert_eq!(
        text(&failure),
        "error: openssh: checksum mismatch for `a.tar.xz`\n  expected 38ef\n  found 9a93"
    );
    failure.step = Some(Step::Deploy);
    failure.exit = Some(Exit::Signal(9));
    failure.message.clear();
    failure.at.clear();
    failure.log = Some("/none/openssh-deploy.log".into());
    let shown = text(&failure);
    assert!(
        shown.starts_with(
            "error: openssh: deploy failed, killed by signal SIGKILL\n  the log cannot be read: "
        )
    );
    assert!(shown.ends_with("\n  log: none/openssh-deploy.log"), "{shown}");
}

#[test]
fn a_huge_log_of_one_line_and_an_error_far_inside_are_both_found_their_way_through() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("huge.log");
    let mut file = fs_err::File::create(&log).unwrap();
    let noise = "cc -O2 -c some/file/with/a/long/name.c -o some/file/with/a/long/name.o\n".repeat(10_000);
    for _ in 0..20 {
        file.write_all(noise.as_bytes()).unwrap();
    }
    file.write_all(b"a.c:1:1: error: here\n").unwrap();
    file.write_all(&vec![b'x'; 3 << 20]).unwrap();
    drop(file);
    let excerpt = mk::failure::excerpt(&log).unwrap();
    assert_eq!(excerpt.errors, ["a.c:1:1: error: here"]);
    assert_eq!(excerpt.tail.len(), 1);
    assert!(excerpt.tail[0].chars().count() <= 301);
    fs_err::write(&log, "").unwrap();
    assert_eq!(mk::failure::excerpt(&log).unwrap(), mk::failure::Excerpt::default());
}

#[test]
fn the_trace_is_what_chrome_reads_a_thread_for_each_slot_and_steps_within_nodes() {
    let trace = Run::of(&run()).unwrap().chrome();
    let text = serde_json::to_string(&trace).unwrap();
    let trace: serde_json::Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    for event in events {
        assert!(
            event["ph"].is_string()
                && event["pid"].is_u64()
                && event["tid"].is_u64()
                && event["name"].is_string()
        );
        if event["ph"] == "X" {
            assert!(event["ts"].as_f64().unwrap() >= 0.0 && event["dur"].as_f64().unwrap() >= 0.0, "{event}");
        }
    }
    let names: Vec<&str> = events
        .iter()
        .filter(|e| e["name"] == "thread_name")
        .map(|e| e["args"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["slot 1", "download 1"]);
    let find = |name: &str| events.iter().find(|e| e["name"] == name).unwrap();
    let (build, step) = (find("zlib: build"), find("build"));
    assert_eq!((build["ts"].as_f64(), build["dur"].as_f64()), (Some(1_000_000.0), Some(3_200_000.0)));
    assert_eq!((step["ts"].as_f64(), step["dur"].as_f64()), (Some(1_000_000.0), Some(3_100_000.0)));
    assert_eq!(find("openssh: build")["args"]["failed"], true);
}

#[test]
fn the_critical_path_leads_through_the_slowest_needs_and_hides_sources_behind_them() {
    let build = |package: &str, from: f64, to: f64| {
        vec![at(from, started(package, Work::Build, 0)), at(to, ended(package, Work::Build, 0, to - from))]
    };
    let mut events = vec![
        at(0.0, Event::RunStarted { name: "b-p".into(), packages: 4, reused: 0, jobs: 2, estimate: None }),
        at(0.0, planned("gcc", "14", &[])),
        at(0.0, planned("fast", "1", &[])),
        at(0.0, planned("slow", "1", &["gcc"])),
        at(0.0, planned("end", "1", &["slow", "fast", "elsewhere"])),
        at(0.0, started("slow", Work::Fetch, 2)),
        at(5.0, ended("slow", Work::Fetch, 2, 5.0)),
    ];
    events.extend(build("gcc", 5.0, 15.0));
    events.extend(build("fast", 15.0, 16.0));
    events.extend(build("slow", 16.0, 20.0));
    events.extend(build("end", 20.0, 21.0));
    let path = Run::of(&events).unwrap().critical_path();
    let path: Vec<(&str, f64)> = path.iter().map(|(name, time)| (name.as_str(), *time)).collect();
    assert_eq!(path, [("gcc", 10.0), ("slow", 4.0), ("end", 1.0)]);
    let summary = Run::of(&events).unwrap().summary();
    assert!(summary.ends_with("critical path 15.0s: gcc 10.0s → slow 4.0s → end 1.0s"), "{summary}");
    let events = [at(0.0, Event::Note { text: String::new() })];
    assert!(Run::of(&events).is_none());
}

#[test]
fn while_work_waits_for_a_job_all_slots_are_in_use() {
    let mut waiting = started("waits", Work::Build, 1);
    if let Event::WorkStarted { waited, .. } = &mut waiting {
        *waited = seconds(6.0);
    }
    let mut events = vec![
        at(0.0, Event::RunStarted { name: "b-p".into(), packages: 2, reused: 0, jobs: 2, estimate: None }),
        at(0.0, started("makes", Work::Build, 0)),
        at(8.0, waiting),
        at(8.0, ended("makes", Work::Build, 0, 8.0)),
        at(10.0, ended("waits", Work::Build, 1, 2.0)),
    ];
    // Alone from 0 to 2, with compilers in both slots until 8, then the other one alone.
    let run = Run::of(&events).unwrap();
    assert_eq!((run.slot_use() * 100.0).round(), 80.0);
    let page = mk::page::page(&run);
    assert!(page.contains("<title>waits waited 6.0s for a job</title>"), "{page}");
    events.remove(2);
    events.insert(2, at(8.0, started("waits", Work::Build, 1)));
    assert_eq!((Run::of(&events).unwrap().slot_use() * 100.0).round(), 50.0);
}

#[test]
fn a_clock_that_is_set_back_and_ends_that_never_came_make_no_negative_times() {
    let mut events = run();
    events.truncate(16);
    events.push(Stamped { time: SystemTime::UNIX_EPOCH, event: started("late", Work::Build, 1) });
    let run = Run::of(&events).unwrap();
    assert!(run.spans.iter().all(|span| span.end >= span.start && span.start >= 0.0));
    assert!(run.spans.iter().flat_map(|span| &span.steps).all(|step| step.2 >= step.1));
    assert_eq!(run.spans.iter().filter(|span| span.open).count(), 2);
}

/// A run of 60 packages on 4 slots and 2 downloads, as a scheduler would order it, with a failure near its end.
fn sixty() -> Vec<Stamped> {
    let known =
        ["musl", "zlib", "openssl", "busybox", "linux", "openssh", "dnsmasq", "nftables", "unbound", "curl"];
    let word =
        |i: usize| if i < 10 { known[i].to_string() } else { format!("lib{}-{}", known[i % 10], i / 10) };
    let mut events = vec![];
    let run = Event::RunStarted {
        name: "qemu-x86_64-router".into(),
        packages: 72,
        reused: 12,
        jobs: 4,
        estimate: None,
    };
    events.push(at(0.0, run));
    let needs = |i: usize| if i == 0 { vec![] } else { vec![i / 3, i.saturating_sub(7)] };
    for i in 0..60 {
        let list: Vec<String> = needs(i).into_iter().map(word).collect();
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        events.push(at(0.0, planned(&word(i), &format!("{}.{}", i % 4 + 1, i), &list)));
    }
    let (mut slots, mut downloads, mut done) = ([0.0_f64; 4], [0.0_f64; 2], [0.0_f64; 60]);
    let least = |list: &[f64]| (0..list.len()).min_by(|&a, &b| list[a].total_cmp(&list[b])).unwrap();
    for i in 0..60 {
        let p = word(i);
        if i % 9 == 8 {
            done[i] = needs(i).into_iter().map(|need| done[need]).fold(0.0, f64::max);
            events.push(at(done[i], package(&p, Outcome::Reused, "", 0.0)));
            continue;
        }
        if i > 55 {
            events.push(at(done[55], package(&p, Outcome::Skipped, &word(55), 0.0)));
            continue;
        }
        let slot = least(&downloads);
        let (from, took) = (downloads[slot], 0.4 + (i * 37 % 23) as f64 / 6.0);
        downloads[slot] = from + took;
        let bytes = 400_000 * (1 + i as u64 * 13 % 40);
        events.push(at(from, started(&p, Work::Fetch, 4 + slot)));
        let file = format!("{p}.tar.xz");
        events.push(at(from, Event::Download { package: name(&p), file, done: bytes, total: Some(bytes) }));
        events.push(at(from + took, ended(&p, Work::Fetch, 4 + slot, took)));
        let ready = needs(i).into_iter().map(|need| done[need]).fold(from + took, f64::max);
        let slot = least(&slots);
        let (from, prepare, build) = (slots[slot].max(ready), 0.3, 1.0 + (i * 7919 % 97) as f64 / 6.0);
        events.push(at(from, started(&p, Work::Prepare, slot)));
        events.push(at(from + prepare, ended(&p, Work::Prepare, slot, prepare)));
        let from = from + prepare;
        events.push(at(from, started(&p, Work::Build, slot)));
        let log: std::path::PathBuf = format!("/ws/log/{p}-build.log").into();
        events.push(at(from, Event::StepStarted { package: name(&p), step: Step::Build, log: log.clone() }));
        let (end, failed) = (from + build, i == 55);
        let exit = Exit::Code(if failed { 2 } else { 0 });
        events.push(at(
            end,
            Event::StepEnded { package: name(&p), step: Step::Build, exit, elapsed: seconds(build) },
        ));
        if failed {
            let failure = Failure { package: name(&p), kept: None, log: Some(log), ..failure(None) };
            events.push(at(end, Event::Failed(Box::new(failure))));
        }
        events.push(at(end, ended(&p, Work::Build, slot, build)));
        let outcome = if failed { Outcome::Failed } else { Outcome::Built };
        let reason =
            ["VERSION: 1.2 → 1.3", "not built before", "build(): changed", "<b>\"needs\" & 'more'</b>"]
                [i % 4];
        events.push(at(end, package(&p, outcome, reason, build + prepare + took)));
        (slots[slot], done[i]) = (end, end);
    }
    events.sort_by_key(|stamped| stamped.time);
    let end = events.last().unwrap().time;
    events.push(Stamped { time: end, event: Event::Usage { cpu: seconds(555.0) } });
    events.push(Stamped { time: end, event: Event::RunEnded { success: false, elapsed: seconds(1.0) } });
    events
}

#[test]
fn the_page_holds_all_escapes_all_and_reaches_for_nothing() {
    let page = mk::page::page(&Run::of(&sixty()).unwrap());
    for word in ["http:", "https:", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(
        !page.contains("<b>") && page.contains("&lt;b&gt;&quot;needs&quot; &amp; &#39;more&#39;&lt;/b&gt;")
    );
    assert_eq!(page.matches("<tr><td>").count(), 60);
    for package in
        ["openssl", "liblinux-5", "<td>because of libopenssh-5</td>", "12 more packages were there already"]
    {
        assert!(page.contains(package), "{package}");
    }
    let idle = [
        at(0.0, Event::RunStarted { name: "b-p".into(), packages: 1, reused: 1, jobs: 1, estimate: None }),
        at(0.0, Event::RunEnded { success: true, elapsed: seconds(0.0) }),
    ];
    assert!(mk::page::page(&Run::of(&idle).unwrap()).contains("Nothing had to be done"));
}

#[test]
fn a_browser_reads_the_page_and_sorts_its_table() {
    let Some(browser) = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .into_iter()
        .find(|p| Path::new(p).exists())
    else {
        eprintln!("no browser on this machine");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("page.html");
    // Two clicks on `build`: the slowest first.
    let script = "<script>const th = [...document.querySelectorAll('th')].find(th => th.textContent === 'build');\
                  th.firstChild.click(); th.firstChild.click();</script></body>";
    fs_err::write(&file, mk::page::page(&Run::of(&sixty()).unwrap()).replace("</body>", script)).unwrap();
    let output = std::process::Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--dump-dom",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
        ])
        .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    assert!(dom.contains("<svg id=\"timeline\""), "{dom}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(dom.matches("<tr><td>").count(), 60);
    assert!(dom.contains("aria-sort=\"descending\""));
    let times: Vec<f64> = dom
        .split("<tr><td>")
        .skip(1)
        .map(|row| row.split("data-v=\"").nth(3).unwrap().split('"').next().unwrap().parse().unwrap())
        .collect();
    assert!(times.windows(2).all(|pair| pair[0] >= pair[1]) && times[0] > times[59], "{times:?}");
}
