//! The one place that prints during a run: a thread that hears events and knows nobody.
//! Data (`json`) goes to stdout, everything else to stderr; when these go away it falls silent and the run goes on.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant, SystemTime};

use crate::error::Result;
use crate::event::{Event, Exit, Failure, Outcome, Stamped, Work};
use crate::failure::{self, clean};
use crate::names::Step;
use crate::progress::{Painter, Progress, Size};
use crate::trace::{Run, word};
use crate::{output, units};

/// Least time between two frames, and between two looks at the logs that are followed.
const TICK: Duration = Duration::from_millis(100);

/// How long it lets events gather before it looks again; the end of a run is not kept waiting.
const REST: Duration = Duration::from_millis(20);

/// Bytes that one look takes from one log, so that a log that grows fast doesn't hold up the others.
const LOOK: usize = 1 << 20;

/// A line of a log that is longer is shown in pieces.
const LONGEST: usize = 16 * 1024;

/// What the report looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// Progress on a terminal, otherwise as `Plain`.
    #[default]
    Human,
    /// A line when a step starts and when it ends.
    Plain,
    /// One event a line, on stdout; `docs/events.md` describes them.
    Json,
}

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Verbosity {
    /// Failures alone.
    Quiet,
    /// What happens.
    #[default]
    Normal,
    /// Also what did not have to happen, and the logs as they grow.
    Verbose,
}

/// What a report is made from.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What it looks like.
    pub form: Form,
    /// How much of it.
    pub verbosity: Verbosity,
    /// Whether colour is allowed (`NO_COLOR` is not set); used only on a terminal.
    pub color: bool,
    /// The folder to which paths are shown relative: the workspace.
    pub root: PathBuf,
    /// File that receives the events of the run as JSON lines, anew for each run in which something is done.
    pub record: Option<PathBuf>,
}

/// Where a report prints.
pub struct Outputs {
    /// Data.
    pub stdout: Box<dyn Write + Send>,
    /// Everything else.
    pub stderr: Box<dyn Write + Send>,
    /// The size of the window behind `stderr`, asked before each frame; `None` where it is no terminal.
    pub window: Box<dyn Fn() -> Option<Size> + Send>,
}

impl Outputs {
    /// The process's own.
    pub fn standard() -> Outputs {
        let window = || {
            let stderr = std::io::stderr();
            if !stderr.is_terminal() {
                return None;
            }
            // A serial console has no size; 80 columns is what everyone assumes then.
            let size =
                terminal_size::terminal_size_of(&stderr).map(|(w, h)| (usize::from(w.0), usize::from(h.0)));
            let (columns, rows) = size.filter(|(w, h)| *w > 0 && *h > 0).unwrap_or((80, 24));
            Some(Size { columns, rows })
        };
        Outputs {
            stdout: Box::new(std::io::stdout()),
            stderr: Box::new(std::io::stderr()),
            window: Box::new(window),
        }
    }
}

/// A report that runs.
pub struct Report {
    form: Form,
    verbosity: Verbosity,
    color: bool,
    root: PathBuf,
    stdout: Pipe,
    stderr: Pipe,
    window: Box<dyn Fn() -> Option<Size> + Send>,
    /// Present when there is a terminal to draw on.
    progress: Option<(Progress, Painter)>,
    /// When the last frame was drawn.
    drawn: Option<Instant>,
    /// Lines that go above the next frame.
    above: String,
    followed: Vec<Follow>,
    record: Record,
    events: Vec<Stamped>,
}

/// Waits for a report to end.
#[must_use]
pub struct ReportHandle(std::thread::JoinHandle<Result<()>>);

impl ReportHandle {
    /// Returns when the run is over (`RunEnded`), or nobody is left who could send, and all is printed. Fails when data
    /// could not be written, but for a reader that has gone away.
    pub fn join(self) -> Result<()> {
        self.0.thread().unpark();
        // A report that died has nothing more to say.
        self.0.join().unwrap_or(Ok(()))
    }
}

impl Report {
    /// Starts the thread, on the process's own stdout and stderr.
    pub fn start(events: Receiver<Stamped>, options: Options) -> ReportHandle {
        Report::start_on(events, options, Outputs::standard())
    }

    /// The same on other outputs.
    pub fn start_on(events: Receiver<Stamped>, options: Options, outputs: Outputs) -> ReportHandle {
        let terminal = (outputs.window)().is_some();
        let draws = terminal && options.form == Form::Human && options.verbosity != Verbosity::Quiet;
        let mut report = Report {
            form: options.form,
            verbosity: options.verbosity,
            color: options.color && terminal,
            root: options.root,
            stdout: Pipe::new(outputs.stdout),
            stderr: Pipe::new(outputs.stderr),
            window: outputs.window,
            progress: draws.then(Default::default),
            drawn: None,
            above: String::new(),
            followed: Vec::new(),
            record: Record::new(options.record),
            events: Vec::new(),
        };
        ReportHandle(std::thread::spawn(move || report.run(&events)))
    }

    fn run(&mut self, events: &Receiver<Stamped>) -> Result<()> {
        loop {
            let wait = if self.progress.is_some() || !self.followed.is_empty() {
                events.recv_timeout(TICK)
            } else {
                events.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            let mut over = false;
            let mut next = match wait {
                Ok(stamped) => Some(stamped),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let began = Instant::now();
            while let Some(stamped) = next {
                over = matches!(stamped.event, Event::RunEnded { .. });
                self.take(stamped);
                next = match events.try_recv() {
                    Ok(stamped) if !over => Some(stamped),
                    Ok(_) | Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
                };
                // Whoever sends without end must not keep the window still.
                if began.elapsed() > TICK {
                    self.show();
                }
            }
            self.record.write();
            if over {
                break;
            }
            for i in 0..self.followed.len() {
                self.followed[i].read(&mut self.above);
            }
            self.show();
            // Events come many at a time: to be woken for each would cost more than the event.
            std::thread::park_timeout(REST);
        }
        self.followed.clear();
        self.finish();
        match self.stdout.failed.take() {
            Some(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(output::refused(&error)),
            _ => Ok(()),
        }
    }

    /// One event.
    fn take(&mut self, stamped: Stamped) {
        self.record.take(&stamped);
        if self.form == Form::Json {
            if let Ok(line) = serde_json::to_string(&stamped) {
                self.stdout.write(&(line + "\n"));
            }
        }
        self.follow(&stamped.event);
        if self.form != Form::Json {
            self.tell(&stamped.event);
        }
        if let Some((progress, _)) = &mut self.progress {
            progress.take(&stamped);
        }
        // All that the summary needs; bytes on their way are none of it.
        if !matches!(stamped.event, Event::Download { .. }) {
            self.events.push(stamped);
        }
        if self.progress.is_none() {
            self.show();
        }
    }

    /// Begins and ends the following of logs.
    fn follow(&mut self, event: &Event) {
        if self.verbosity < Verbosity::Verbose {
            return;
        }
        match event {
            Event::StepStarted { package, step, log } => {
                self.followed.push(Follow::new(format!("{package}-{step}"), log.clone()));
            }
            Event::StepEnded { package, step, .. } => {
                let label = format!("{package}-{step}");
                while let Some(at) = self.followed.iter().position(|follow| follow.label == label) {
                    let mut follow = self.followed.remove(at);
                    while follow.read(&mut self.above) {
                        self.show();
                    }
                    follow.end(&mut self.above);
                }
            }
            _ => {}
        }
    }

    /// Puts into `above` what a person is told of the event.
    fn tell(&mut self, event: &Event) {
        if let Event::Failed(what) = event {
            let text = failure::text(what, &self.root);
            let line = self.mark(&text, "error:", "1;31");
            self.say(&line);
        }
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        match event {
            Event::Note { text } => {
                let line = self.mark(&format!("note: {}", clean(text.as_bytes())), "note:", "1");
                self.say(&line);
            }
            Event::Warning { text } => {
                let line = self.mark(&format!("warning: {}", clean(text.as_bytes())), "warning:", "1;33");
                self.say(&line);
            }
            Event::PackageEnded { package, outcome: Outcome::Reused, .. }
                if self.verbosity == Verbosity::Verbose =>
            {
                let line = match self.progress {
                    Some(_) => self.mark(&format!("reused {package}{}", self.version(event)), "reused", "2"),
                    None => format!("{package}: reused"),
                };
                self.say(&line);
            }
            Event::PackageEnded { package, outcome: Outcome::Built, reason, elapsed, .. } => {
                let time = units::duration(*elapsed);
                let reason = clean(reason.as_bytes());
                let reason = if reason.is_empty() { reason } else { format!("  ({reason})") };
                let line = match self.progress {
                    Some(_) => {
                        let line = format!("built {package}{}  {time}{reason}", self.version(event));
                        self.mark(&line, "built", "32")
                    }
                    None => format!("{package}: built in {time}{reason}"),
                };
                self.say(&line);
            }
            _ if self.progress.is_none() => self.tell_plainly(event),
            _ => {}
        }
    }

    /// Beginnings and ends, for those who see no progress.
    fn tell_plainly(&mut self, event: &Event) {
        let line = match event {
            // Preparing and building are told of by their steps.
            Event::WorkStarted { package, work: work @ Work::Fetch, .. } => {
                format!("{package}: {}", word(*work))
            }
            Event::WorkEnded { package, work: work @ Work::Fetch, elapsed, .. } => {
                let failed =
                    |stamped: &Stamped| matches!(&stamped.event, Event::Failed(f) if f.package == *package);
                let how = if self.events.iter().any(failed) { "failed after" } else { "done in" };
                format!("{package}: {} {how} {}", word(*work), units::duration(*elapsed))
            }
            Event::StepStarted { package, step, .. } => format!("{package}: {step}"),
            Event::StepEnded { package, step, exit, elapsed } => {
                ended(package.as_str(), *step, *exit, *elapsed)
            }
            _ => return,
        };
        self.say(&line);
    }

    /// ` 1.3.1`, where the package has a version that is known.
    fn version(&self, event: &Event) -> String {
        let Event::PackageEnded { package: ended, .. } = event else { return String::new() };
        let version = self.events.iter().find_map(|stamped| match &stamped.event {
            Event::Planned { package, version, .. } if package == ended => Some(clean(version.as_bytes())),
            _ => None,
        });
        version.filter(|version| !version.is_empty()).map(|version| format!(" {version}")).unwrap_or_default()
    }

    /// `text` with its first word `word` in colour.
    fn mark(&self, text: &str, word: &str, code: &str) -> String {
        match text.strip_prefix(word) {
            Some(rest) if self.color => format!("\x1b[{code}m{word}\x1b[0m{rest}"),
            _ => text.to_string(),
        }
    }

    fn say(&mut self, line: &str) {
        self.above.push_str(line);
        self.above.push('\n');
    }

    /// Prints what waits; on a terminal with the next frame, not more often than every tick.
    fn show(&mut self) {
        let Some((progress, painter)) = &mut self.progress else {
            self.stderr.write(&self.above);
            self.above.clear();
            return;
        };
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < TICK) {
            return;
        }
        self.drawn = Some(Instant::now());
        let Some(size) = (self.window)() else {
            // The terminal is gone.
            self.above.clear();
            return;
        };
        let text = painter.paint(&self.above, &progress.frame(SystemTime::now(), size), size);
        self.stderr.write(&text);
        self.above.clear();
    }

    /// Takes the picture away and prints the summary.
    fn finish(&mut self) {
        if let Some((_, mut painter)) = self.progress.take() {
            let size = (self.window)().unwrap_or(Size { columns: 80, rows: 24 });
            let text = painter.paint(&self.above, &[], size);
            self.stderr.write(&text);
            self.above.clear();
        }
        let ended = self.events.last().is_some_and(|stamped| matches!(stamped.event, Event::RunEnded { .. }));
        if ended && self.form != Form::Json && self.verbosity != Verbosity::Quiet {
            let summary = Run::of(&self.events).map(|run| summary(&run)).unwrap_or_default();
            for line in summary.lines() {
                let line = self.mark(line, "failed:", "1;31");
                self.say(&line);
            }
        }
        self.show();
    }
}

/// `zlib: build done in 3.1s`.
fn ended(package: &str, step: Step, exit: Exit, elapsed: Duration) -> String {
    let time = units::duration(elapsed);
    match exit {
        Exit::Code(0) => format!("{package}: {step} done in {time}"),
        exit => format!("{package}: {step} failed after {time} ({exit})"),
    }
}

/// What is said at the end of a run: what failed, what was skipped because of it, counts, time. No newline at the end.
pub fn summary(run: &Run) -> String {
    let mut lines = Vec::new();
    if !run.failures.is_empty() {
        let list: Vec<String> = run
            .failures
            .iter()
            .map(|f| f.step.map_or_else(|| f.package.to_string(), |step| format!("{} ({step})", f.package)))
            .collect();
        lines.push(format!("failed: {}", list.join(", ")));
    }
    let mut because: std::collections::BTreeMap<String, Vec<&str>> = std::collections::BTreeMap::new();
    for (name, package) in run.with(Outcome::Skipped) {
        because.entry(clean(package.reason.as_bytes())).or_default().push(name.as_str());
    }
    for (reason, names) in because {
        lines.push(format!("skipped because of {reason}: {}", names.join(", ")));
    }
    let count = |outcome| run.with(outcome).count();
    let counts = [
        (count(Outcome::Built), "built"),
        (run.hits(), "reused"),
        (count(Outcome::Failed).max(run.failures.len()), "failed"),
        (count(Outcome::Skipped), "skipped"),
        (count(Outcome::Cancelled), "stopped"),
    ];
    let known: usize = counts.iter().map(|(count, _)| count).sum();
    let rest = (run.total.saturating_sub(known), "not tried");
    let parts: Vec<String> = counts
        .into_iter()
        .chain([rest])
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    let packages = if run.total == 1 { "package" } else { "packages" };
    let time = || units::duration(Duration::try_from_secs_f64(run.wall).unwrap_or_default());
    if run.success == Some(true) && run.spans.is_empty() {
        lines.push(format!("nothing to do: {} {packages} reused in {}", run.total, time()));
    } else {
        lines.push(format!("{} {packages}: {}", run.total, parts.join(", ")));
        lines.push(run.summary());
    }
    lines.join("\n")
}

/// An output that may go away (a closed pipe, a terminal that is gone); from then on nothing is written.
struct Pipe {
    inner: Box<dyn Write + Send>,
    failed: Option<std::io::Error>,
}

impl Pipe {
    fn new(inner: Box<dyn Write + Send>) -> Pipe {
        Pipe { inner, failed: None }
    }

    /// Writes all of it in as few pieces as the system allows.
    fn write(&mut self, text: &str) {
        if text.is_empty() || self.failed.is_some() {
            return;
        }
        self.failed = self.inner.write_all(text.as_bytes()).and_then(|()| self.inner.flush()).err();
    }
}

/// A log that is read as it grows.
struct Follow {
    label: String,
    path: PathBuf,
    file: Option<fs_err::File>,
    /// A line that has not ended yet.
    begun: Vec<u8>,
}

impl Follow {
    fn new(label: String, path: PathBuf) -> Follow {
        Follow { label, path, file: None, begun: Vec::new() }
    }

    /// Adds the whole lines that have come since the last look, each marked with its package; whether anything came.
    /// A log that can't be read is silent.
    fn read(&mut self, out: &mut String) -> bool {
        if self.file.is_none() {
            self.file = fs_err::File::open(&self.path).ok();
        }
        let before = self.begun.len();
        if let Some(file) = &mut self.file {
            let _ = file.take(LOOK as u64).read_to_end(&mut self.begun);
        }
        let came = self.begun.len() > before;
        let mut from = 0;
        while let Some(length) = memchr::memchr(b'\n', &self.begun[from..]) {
            self.line(&self.begun[from..from + length], out);
            from += length + 1;
        }
        self.begun.drain(..from);
        if self.begun.len() > LONGEST {
            self.end(out);
        }
        came
    }

    /// Adds the line that has no end.
    fn end(&mut self, out: &mut String) {
        if !self.begun.is_empty() {
            self.line(&self.begun, out);
            self.begun.clear();
        }
    }

    fn line(&self, bytes: &[u8], out: &mut String) {
        out.push_str(&self.label);
        out.push_str(" | ");
        out.push_str(&clean(bytes));
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
}

/// The file that keeps the events of the last run in which something was done.
struct Record {
    path: Option<PathBuf>,
    file: Option<fs_err::File>,
    /// Lines until something is done; a run that finds all in place leaves the record of the one before.
    waiting: String,
}

impl Record {
    fn new(path: Option<PathBuf>) -> Record {
        Record { path, file: None, waiting: String::new() }
    }

    fn take(&mut self, stamped: &Stamped) {
        let Some(path) = &self.path else { return };
        // A download is known by its end, where there will be one.
        if matches!(stamped.event, Event::Download { done, total: Some(total), .. } if done < total) {
            return;
        }
        let Ok(line) = serde_json::to_string(stamped) else { return };
        self.waiting.push_str(&line);
        self.waiting.push('\n');
        if self.file.is_none() && matches!(stamped.event, Event::WorkStarted { .. } | Event::Failed(_)) {
            self.file = create(path).ok();
            if self.file.is_none() {
                // Not worth more: the run does not hang on it.
                self.path = None;
            }
        }
    }

    /// Writes down what was taken, once something is done.
    fn write(&mut self) {
        if let Some(file) = &mut self.file {
            let _ = file.write_all(self.waiting.as_bytes());
            self.waiting.clear();
        }
    }
}

fn create(path: &Path) -> std::io::Result<fs_err::File> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    fs_err::File::create(path)
}

/// Tells a failure outside of a run.
pub fn tell_failure(failure: &Failure, root: &Path) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(std::io::stderr(), "{}", failure::text(failure, root));
}

/// Says one line outside of a run: `note: TEXT`.
pub fn note(text: &str) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(std::io::stderr(), "note: {text}");
}
