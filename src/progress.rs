//! The picture of a run on a terminal: a line for each running step, and one bar over the whole graph.
//! Pure: from what happened, the time and the window's size to text. Knows `event`; does not print.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use unicode_width::UnicodeWidthChar;

use crate::event::{Event, Outcome, Stamped, Work};
use crate::names::{PackageName, Step};
use crate::{trace, units};

/// A window, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Across.
    pub columns: usize,
    /// Down.
    pub rows: usize,
}

/// Something that runs.
#[derive(Debug)]
struct Running {
    package: PackageName,
    work: Work,
    step: Option<Step>,
    since: SystemTime,
    bytes: Option<(u64, Option<u64>)>,
}

/// What is known of a run, as far as it is shown.
#[derive(Debug, Default)]
pub struct Progress {
    running: Vec<Running>,
    started: Option<SystemTime>,
    total: usize,
    reused: usize,
    /// Reused packages that are told of although they were there at once.
    early: usize,
    ended: usize,
    failed: usize,
    estimate: Option<f64>,
    /// Expected seconds of each package that isn't there at once.
    weights: HashMap<PackageName, f64>,
    heavy: f64,
    done: f64,
}

impl Progress {
    /// Takes note of what happened.
    pub fn take(&mut self, stamped: &Stamped) {
        match &stamped.event {
            Event::RunStarted { packages, reused, estimate, .. } => {
                (self.started, self.total, self.reused) = (Some(stamped.time), *packages, *reused);
                self.estimate = estimate.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
            }
            Event::Planned { package, weight, .. } => {
                let weight = if weight.is_finite() { weight.max(0.0) } else { 0.0 };
                self.heavy += weight - self.weights.insert(package.clone(), weight).unwrap_or(0.0);
            }
            Event::WorkStarted { package, work, .. } => self.running.push(Running {
                package: package.clone(),
                work: *work,
                step: None,
                since: stamped.time,
                bytes: None,
            }),
            Event::WorkEnded { package, work, .. } => {
                self.running.retain(|r| !(r.package == *package && r.work == *work));
            }
            Event::StepStarted { package, step, .. } => {
                if let Some(running) = self.find(package, |work| work != Work::Fetch) {
                    (running.step, running.since) = (Some(*step), stamped.time);
                }
            }
            Event::Download { package, done, total, .. } => {
                if let Some(running) = self.find(package, |work| work == Work::Fetch) {
                    running.bytes = Some((*done, *total));
                }
            }
            Event::PackageEnded { package, outcome, .. } => {
                let weight = self.weights.get(package).copied();
                self.done += weight.unwrap_or(0.0);
                match outcome {
                    Outcome::Reused if weight.is_none() => self.early += 1,
                    _ => self.ended += 1,
                }
                self.failed += usize::from(*outcome == Outcome::Failed);
            }
            Event::RunEnded { .. } => self.running.clear(),
            Event::StepEnded { .. }
            | Event::Note { .. }
            | Event::Warning { .. }
            | Event::Failed(_)
            | Event::Usage { .. } => {}
        }
    }

    fn find(&mut self, package: &PackageName, fits: impl Fn(Work) -> bool) -> Option<&mut Running> {
        self.running.iter_mut().find(|r| r.package == *package && fits(r.work))
    }

    /// The lines of the picture, top first: what runs, in the order of beginning, and the bar. Empty before the run begins.
    /// At most the window's height less 2 lines, each narrower than the window.
    pub fn frame(&self, now: SystemTime, size: Size) -> Vec<String> {
        let Some(started) = self.started else { return Vec::new() };
        // One column stays free: at the very edge terminals differ in when they wrap.
        let width = size.columns.saturating_sub(1).max(1);
        let room = size.rows.saturating_sub(3);
        let shown = if self.running.len() <= room { room } else { room.saturating_sub(1) };
        let visible = &self.running[..self.running.len().min(shown)];
        // Over all packages, not only those that run: the columns shall not jump.
        let all = self.weights.keys().chain(self.running.iter().map(|r| &r.package));
        let longest = all.map(|package| package.as_str().len()).max().unwrap_or(0);
        let names = longest.min((width / 2).clamp(6, 30));

        let mut lines: Vec<String> =
            visible.iter().map(|running| cut(&running_line(running, now, names, width), width)).collect();
        let hidden = self.running.len() - visible.len();
        if hidden > 0 && room > 0 {
            lines.push(cut(&format!("  and {hidden} more"), width));
        }
        lines.push(cut(&self.bar(now, started, width), width));
        lines
    }

    fn bar(&self, now: SystemTime, started: SystemTime, width: usize) -> String {
        let finished = (self.reused.max(self.early) + self.ended).min(self.total);
        let mut text = format!("{finished}/{}", self.total);
        if self.failed > 0 {
            let _ = write!(text, ", {} failed", self.failed);
        }
        let elapsed = now.duration_since(started).unwrap_or_default();
        let time = format!("  {}", units::duration(elapsed));
        let left =
            self.left(now, elapsed).map(|left| format!("  {} left", units::about(left))).unwrap_or_default();
        // In a narrow window the bar goes first, then the time that has passed.
        let (full, brief) = (format!("{text}{time}{left}"), format!("{text}{left}"));
        let space = width.saturating_sub(full.len() + 3).min(40);
        if space >= 8 {
            let part = if self.total == 0 { 1.0 } else { finished as f64 / self.total as f64 };
            format!("{} {full}", gauge(part, space))
        } else if full.len() <= width {
            full
        } else {
            brief
        }
    }

    /// What is left, by the weights of what is not yet done; the further the run, the more its own pace counts.
    fn left(&self, now: SystemTime, elapsed: Duration) -> Option<Duration> {
        let estimate = self.estimate?;
        if self.heavy <= 0.0 {
            return None;
        }
        let mut spent: HashMap<&PackageName, f64> = HashMap::new();
        for running in &self.running {
            *spent.entry(&running.package).or_default() +=
                now.duration_since(running.since).unwrap_or_default().as_secs_f64();
        }
        let under_way: f64 = spent
            .iter()
            .map(|(package, time)| time.min(self.weights.get(*package).map_or(0.0, |w| w * 0.95)))
            .sum();
        let part = ((self.done + under_way) / self.heavy).clamp(0.0, 1.0);
        let planned = estimate * (1.0 - part);
        let paced = if part > 0.0 { elapsed.as_secs_f64() * (1.0 - part) / part } else { planned };
        Duration::try_from_secs_f64(planned * (1.0 - part) + paced * part).ok()
    }
}

fn running_line(running: &Running, now: SystemTime, names: usize, width: usize) -> String {
    let word = running.step.map_or(trace::word(running.work), Step::as_str);
    let time = units::duration(now.duration_since(running.since).unwrap_or_default());
    let mut line = format!("  {:<names$}  {word:<7} {time:>7}", cut(running.package.as_str(), names));
    if let Some((done, total)) = running.bytes {
        let Some(total) = total else { return line + "  " + &units::size(done) };
        let part = if total == 0 { 1.0 } else { done as f64 / total as f64 };
        let bytes = format!("{} of {}", units::size(done), units::size(total));
        let space = width.saturating_sub(line.len() + bytes.len() + 5).min(24);
        if space >= 6 {
            let _ = write!(line, "  {} {bytes}", gauge(part, space));
        } else {
            let _ = write!(line, "  {:.0}%", part.min(1.0) * 100.0);
        }
    }
    line
}

/// `[====>   ]`, `space` wide between the brackets.
fn gauge(part: f64, space: usize) -> String {
    let filled = ((part.clamp(0.0, 1.0) * space as f64) as usize).min(space);
    let head = if filled == 0 || filled == space { "" } else { ">" };
    format!("[{:<space$}]", "=".repeat(filled - head.len()) + head)
}

/// As much of `text` as fits into `width` columns.
pub fn cut(text: &str, width: usize) -> String {
    let mut used = 0;
    text.chars()
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= width
        })
        .collect()
}

/// Clears from the beginning of the line to the end of the screen. With the cursor at the very first place, tmux would
/// take it for the clearing of a whole screen and keep what is there in its history; the blank moves it on.
const CLEAR: &str = " \x1b[J\r";

/// Puts frames onto a terminal, each over the one before, in one piece of text.
#[derive(Debug, Default)]
pub struct Painter {
    /// The lines that stand on the screen now, below which the cursor is.
    drawn: Vec<String>,
    /// The window's width at that time.
    columns: usize,
}

impl Painter {
    /// The text that prints `above` (whole lines) for good and `frame` under it. `size` is the window's as it is now;
    /// it may have changed since the last time, and then terminals wrap what is already there.
    pub fn paint(&mut self, above: &str, frame: &[String], size: Size) -> String {
        if self.drawn.is_empty() && frame.is_empty() {
            return above.to_string();
        }
        // Begin of a synchronised update; whoever doesn't know it ignores it.
        let mut out = String::from("\x1b[?2026h\r");
        let columns = size.columns.max(1);
        let width = |line: &String| line.chars().map(|c| c.width().unwrap_or(0)).sum::<usize>();
        let rows: usize = self.drawn.iter().map(|line| width(line).div_ceil(columns).max(1)).sum();
        let up = rows.min(size.rows.saturating_sub(1));
        if up > 0 {
            let _ = write!(out, "\x1b[{up}A");
        }
        if !above.is_empty() || columns != self.columns || frame.len() < self.drawn.len() {
            out.push_str(CLEAR);
            self.drawn.clear();
        }
        out.push_str(above);
        out.push_str("\x1b[?7l");
        for (at, line) in frame.iter().enumerate() {
            // A line that is still the same is not touched. The others are cleared as a whole first: what is cleared
            // behind the text alone still counts for some terminals when they wrap lines anew.
            if self.drawn.get(at) != Some(line) {
                out.push_str("\x1b[2K");
                out.push_str(line);
            }
            out.push_str("\r\n");
        }
        // What was typed meanwhile stands here.
        out.push_str("\x1b[K\x1b[?7h\x1b[?2026l");
        self.drawn = frame.to_vec();
        self.columns = columns;
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn name(text: &str) -> PackageName {
        PackageName::new(text).unwrap()
    }

    fn at(seconds: f64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs_f64(1000.0 + seconds)
    }

    fn take(progress: &mut Progress, seconds: f64, event: Event) {
        progress.take(&Stamped { time: at(seconds), event });
    }

    fn begin(progress: &mut Progress, package: &str, work: Work, seconds: f64) {
        take(
            progress,
            seconds,
            Event::WorkStarted { package: name(package), work, slot: 0, waited: Duration::ZERO },
        );
    }

    /// 57 packages, 45 there, 1 built, one download, one build, one prepare.
    fn sample() -> Progress {
        let mut p = Progress::default();
        let run = Event::RunStarted {
            name: "b-p".into(),
            packages: 57,
            reused: 45,
            jobs: 4,
            estimate: Some(240.0),
        };
        take(&mut p, 0.0, run);
        for (package, weight) in [("zlib", 10.0), ("openssh", 50.0), ("linux", 100.0), ("musl", 40.0)] {
            let planned =
                Event::Planned { package: name(package), version: "1".into(), needs: vec![], weight };
            take(&mut p, 0.0, planned);
        }
        begin(&mut p, "linux", Work::Fetch, 1.0);
        let bytes = Event::Download {
            package: name("linux"),
            file: "linux-6.12.tar.xz".into(),
            done: 45_200_000,
            total: Some(140_100_000),
        };
        take(&mut p, 5.0, bytes);
        begin(&mut p, "openssh", Work::Build, 2.0);
        take(
            &mut p,
            3.0,
            Event::StepStarted { package: name("openssh"), step: Step::Deploy, log: "x".into() },
        );
        begin(&mut p, "musl", Work::Prepare, 4.0);
        take(
            &mut p,
            5.0,
            Event::PackageEnded {
                package: name("zlib"),
                outcome: Outcome::Built,
                reason: String::new(),
                elapsed: Duration::from_secs(3),
                size: 1,
            },
        );
        p
    }

    #[test]
    fn a_usual_window_shows_all_that_runs_and_the_bar() {
        assert_eq!(
            sample().frame(at(15.3), Size { columns: 80, rows: 24 }),
            [
                "  linux    fetch     14.3s  [======>                 ] 45.2 MB of 140.1 MB",
                "  openssh  deploy    12.3s",
                "  musl     prepare   11.3s",
                "[===============================>        ] 46/57  15.3s  ~3 min left",
            ]
        );
    }

    #[test]
    fn a_narrow_window_loses_the_bars_and_no_line_is_as_wide_as_it() {
        assert_eq!(
            sample().frame(at(15.3), Size { columns: 40, rows: 24 }),
            [
                "  linux    fetch     14.3s  32%",
                "  openssh  deploy    12.3s",
                "  musl     prepare   11.3s",
                "[=======>   ] 46/57  15.3s  ~3 min left",
            ]
        );
        assert_eq!(
            sample().frame(at(15.3), Size { columns: 20, rows: 24 }),
            ["  linux    fetch    ", "  openssh  deploy   ", "  musl     prepare  ", "46/57  ~3 min left",]
                .map(|line| &line[..line.len().min(19)])
        );
        for columns in 0..100 {
            for line in sample().frame(at(15.3), Size { columns, rows: 24 }) {
                assert!(line.chars().count() < columns.max(2), "{columns}: {line:?}");
            }
        }
    }

    #[test]
    fn a_low_window_shows_as_many_as_fit_and_counts_the_rest() {
        assert_eq!(
            sample().frame(at(15.3), Size { columns: 60, rows: 5 }),
            [
                "  linux    fetch     14.3s  [=>       ] 45.2 MB of 140.1 MB",
                "  and 2 more",
                "[========================>      ] 46/57  15.3s  ~3 min left",
            ]
        );
        assert_eq!(sample().frame(at(15.3), Size { columns: 80, rows: 3 }).len(), 1);
        assert_eq!(sample().frame(at(15.3), Size { columns: 80, rows: 0 }).len(), 1);
    }

    #[test]
    fn two_hundred_at_once_never_take_more_than_the_window() {
        let mut p = sample();
        for i in 0..200 {
            begin(&mut p, &format!("package-{i}"), Work::Build, 6.0);
        }
        for rows in 0..60 {
            assert!(p.frame(at(9.0), Size { columns: 80, rows }).len() <= rows.saturating_sub(2).max(1));
        }
    }

    #[test]
    fn nothing_is_shown_before_the_run_begins_and_a_senseless_clock_does_no_harm() {
        assert!(Progress::default().frame(at(0.0), Size { columns: 80, rows: 24 }).is_empty());
        assert_eq!(sample().frame(at(-500.0), Size { columns: 80, rows: 24 }).len(), 4);
    }

    #[test]
    fn a_failure_is_counted_in_the_bar() {
        let mut p = sample();
        take(
            &mut p,
            6.0,
            Event::PackageEnded {
                package: name("openssh"),
                outcome: Outcome::Failed,
                reason: String::new(),
                elapsed: Duration::from_secs(3),
                size: 0,
            },
        );
        let frame = p.frame(at(15.3), Size { columns: 80, rows: 24 });
        assert!(frame[3].contains("47/57, 1 failed"), "{frame:?}");
    }

    #[test]
    fn frames_replace_each_other_in_one_piece_and_count_lines_that_a_narrower_window_has_wrapped() {
        let mut painter = Painter::default();
        let wide = Size { columns: 80, rows: 24 };
        let long = "a".repeat(50);
        let begin = "\x1b[?2026h\r";
        let end = "\x1b[K\x1b[?7h\x1b[?2026l";
        assert_eq!(
            painter.paint("", &[long.clone(), "b".into()], wide),
            format!("{begin} \x1b[J\r\x1b[?7l\x1b[2K{long}\r\n\x1b[2Kb\r\n{end}")
        );
        assert_eq!(
            painter.paint("", &[long.clone(), "c".into()], wide),
            format!("{begin}\x1b[2A\x1b[?7l\r\n\x1b[2Kc\r\n{end}")
        );
        assert_eq!(
            painter.paint("done\n", &["c".into()], Size { columns: 20, rows: 24 }),
            format!("{begin}\x1b[4A \x1b[J\rdone\n\x1b[?7l\x1b[2Kc\r\n{end}")
        );
        assert_eq!(
            painter.paint("", &[], Size { columns: 20, rows: 24 }),
            format!("{begin}\x1b[1A \x1b[J\r\x1b[?7l{end}")
        );
        assert_eq!(painter.paint("x\n", &[], wide), "x\n");
    }

    #[test]
    fn cutting_counts_columns_and_not_bytes() {
        assert_eq!(cut("日本語", 5), "日本");
        assert_eq!(cut("café!", 4), "café");
        assert_eq!(cut("x", 0), "");
    }
}
