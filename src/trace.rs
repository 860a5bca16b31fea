//! What the events of one run add up to: spans by slot, the critical path, how well the slots were used,
//! and the Chrome trace-event format. Knows `event`; reads a recorded run, prints nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::BufRead;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::event::{Event, Failure, NOT_TRIED, Outcome, Stamped, Work};
use crate::names::{PackageName, Step};
use crate::units;

/// One run. Times are seconds since its start.
#[derive(Debug, Clone)]
pub struct Run {
    /// `BOARD-PRODUCT`.
    pub name: String,
    /// When it began.
    pub started: SystemTime,
    /// How long it took, or has been heard of.
    pub wall: f64,
    /// Whether all is there; `None` when the run did not come to its end.
    pub success: Option<bool>,
    /// Most steps at once.
    pub jobs: usize,
    /// All packages of the graph.
    pub total: usize,
    /// How many of them were there already.
    pub reused: usize,
    /// Processor seconds of all steps and of stripping.
    pub cpu: Option<f64>,
    /// Every package that the events name, by name.
    pub packages: BTreeMap<PackageName, Package>,
    /// What ran when, in the order of beginning.
    pub spans: Vec<Span>,
    /// What failed, in the order of failing.
    pub failures: Vec<Failure>,
}

/// One package of a run.
#[derive(Debug, Clone, Default)]
pub struct Package {
    /// Upstream version.
    pub version: String,
    /// What it needs.
    pub needs: Vec<PackageName>,
    /// How it ended, if it did.
    pub outcome: Option<Outcome>,
    /// Why it was built, or because of whom it was skipped.
    pub reason: String,
    /// Wall seconds of all its work.
    pub elapsed: f64,
    /// Bytes of its output.
    pub size: u64,
    /// Bytes that were downloaded.
    pub downloaded: u64,
    /// Whether it was not simply there when the run began.
    pub planned: bool,
}

/// One node while it ran.
#[derive(Debug, Clone)]
pub struct Span {
    /// Whose.
    pub package: PackageName,
    /// What.
    pub work: Work,
    /// Where.
    pub slot: usize,
    /// How long it waited before, while all jobs were taken.
    pub waited: f64,
    /// From.
    pub start: f64,
    /// To; the end of the run where its own end was not heard of.
    pub end: f64,
    /// Whether it failed.
    pub failed: bool,
    /// Whether its end was not heard of.
    pub open: bool,
    /// Its steps: which, from, to.
    pub steps: Vec<(Step, f64, f64)>,
}

/// Reads the events that a report recorded. A line that was not written whole is passed over.
pub fn read(path: &Path) -> Result<Vec<Stamped>> {
    let file = fs_err::File::open(path)?;
    let mut events = Vec::new();
    for line in std::io::BufReader::new(file).split(b'\n') {
        if let Ok(event) = serde_json::from_slice::<Stamped>(&line?) {
            events.push(event);
        }
    }
    if !events.iter().any(|stamped| matches!(stamped.event, Event::RunStarted { .. })) {
        return Err(Error::new(Kind::Usage, format!("`{}` holds no recorded run", path.display()))
            .hint("build something first: `mk BOARD PRODUCT`"));
    }
    Ok(events)
}

impl Run {
    /// Adds up the last run among `events`; `None` if no run begins there.
    pub fn of(events: &[Stamped]) -> Option<Run> {
        let first = events.iter().rposition(|stamped| matches!(stamped.event, Event::RunStarted { .. }))?;
        let events = &events[first..];
        let started = events[0].time;
        let mut run = Run {
            name: String::new(),
            started,
            wall: 0.0,
            success: None,
            jobs: 1,
            total: 0,
            reused: 0,
            cpu: None,
            packages: BTreeMap::new(),
            spans: Vec::new(),
            failures: Vec::new(),
        };
        for stamped in events {
            // A clock that was set back must not make time run backwards.
            let now = stamped.time.duration_since(started).unwrap_or_default().as_secs_f64().max(run.wall);
            run.wall = now;
            run.take(&stamped.event, now);
        }
        for span in &mut run.spans {
            if span.open {
                span.end = run.wall;
                if let Some(step) = span.steps.last_mut().filter(|step| step.2 < step.1) {
                    step.2 = run.wall;
                }
            }
        }
        Some(run)
    }

    fn take(&mut self, event: &Event, now: f64) {
        match event {
            Event::RunStarted { name, packages, reused, jobs, .. } => {
                self.name.clone_from(name);
                (self.total, self.reused, self.jobs) = (*packages, *reused, (*jobs).max(1));
            }
            Event::Planned { package, version, needs, .. } => {
                let entry = self.package(package);
                entry.version.clone_from(version);
                entry.needs.clone_from(needs);
                entry.planned = true;
            }
            Event::WorkStarted { package, work, slot, waited } => self.spans.push(Span {
                package: package.clone(),
                work: *work,
                slot: *slot,
                waited: waited.as_secs_f64().min(now),
                start: now,
                end: now,
                failed: false,
                open: true,
                steps: Vec::new(),
            }),
            Event::WorkEnded { package, work, .. } => {
                if let Some(span) = self.open_span(package, Some(*work)) {
                    (span.end, span.open) = (now, false);
                    let elapsed = span.end - span.start;
                    self.package(package).elapsed += elapsed;
                }
            }
            Event::StepStarted { package, step, .. } => {
                if let Some(span) = self.open_span(package, None) {
                    span.steps.push((*step, now, f64::NEG_INFINITY));
                }
            }
            Event::StepEnded { package, step, .. } => {
                let open = self.open_span(package, None);
                if let Some(found) = open.and_then(|span| span.steps.iter_mut().rfind(|s| s.0 == *step)) {
                    found.2 = now;
                }
            }
            Event::Download { package, done, .. } => self.package(package).downloaded = *done,
            Event::PackageEnded { package, outcome, reason, elapsed, size } => {
                let entry = self.package(package);
                if reason != NOT_TRIED {
                    entry.outcome = Some(*outcome);
                    entry.reason.clone_from(reason);
                }
                entry.size = *size;
                entry.elapsed = elapsed.as_secs_f64();
            }
            Event::Failed(failure) => {
                if let Some(span) = self.open_span(&failure.package, None) {
                    span.failed = true;
                }
                self.failures.push((**failure).clone());
            }
            Event::Usage { cpu } => self.cpu = Some(cpu.as_secs_f64()),
            Event::RunEnded { success, .. } => self.success = Some(*success),
            Event::Note { .. } | Event::Warning { .. } => {}
        }
    }

    fn package(&mut self, name: &PackageName) -> &mut Package {
        self.packages.entry(name.clone()).or_default()
    }

    fn open_span(&mut self, package: &PackageName, work: Option<Work>) -> Option<&mut Span> {
        let fits =
            |span: &&mut Span| span.open && span.package == *package && work.is_none_or(|w| w == span.work);
        self.spans.iter_mut().rev().find(fits)
    }

    /// The packages that nothing but quicker work on them could make quicker, first one first, with the seconds that
    /// each adds: the longest way through the graph, on which fetching and preparing count only where they were not
    /// hidden behind what the package needs. Empty when nothing was built.
    pub fn critical_path(&self) -> Vec<(PackageName, f64)> {
        let names: Vec<&PackageName> = self.packages.keys().collect();
        let index: HashMap<&PackageName, usize> =
            names.iter().enumerate().map(|(i, name)| (*name, i)).collect();
        let (mut before, mut build) = (vec![0.0; names.len()], vec![0.0; names.len()]);
        for span in &self.spans {
            if let Some(&at) = index.get(&span.package) {
                let list = if span.work == Work::Build { &mut build } else { &mut before };
                list[at] += span.end - span.start;
            }
        }
        let needs: Vec<Vec<usize>> = self
            .packages
            .values()
            .map(|package| package.needs.iter().filter_map(|need| index.get(need).copied()).collect())
            .collect();
        let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
        let mut dependents = vec![Vec::new(); names.len()];
        for (at, list) in needs.iter().enumerate() {
            list.iter().for_each(|&need| dependents[need].push(at));
        }
        // The end of the longest way to each package, the one before it on that way, and what it adds.
        let mut ways: Vec<(f64, Option<usize>, f64)> = vec![(0.0, None, 0.0); names.len()];
        let mut ready: Vec<usize> = (0..names.len()).filter(|&at| open[at] == 0).collect();
        while let Some(at) = ready.pop() {
            let longest =
                needs[at].iter().copied().max_by(|&a, &b| ways[a].0.total_cmp(&ways[b].0).then(b.cmp(&a)));
            let (start, previous) = match longest.filter(|&need| ways[need].0 > before[at]) {
                Some(need) => (ways[need].0, Some(need)),
                None => (before[at], None),
            };
            let adds = if previous.is_some() { build[at] } else { before[at] + build[at] };
            ways[at] = (start + build[at], previous, adds);
            for &next in &dependents[at] {
                open[next] -= 1;
                if open[next] == 0 {
                    ready.push(next);
                }
            }
        }
        let last = (0..names.len()).max_by(|&a, &b| ways[a].0.total_cmp(&ways[b].0).then(b.cmp(&a)));
        let mut path = Vec::new();
        let mut next = last;
        while let Some(at) = next {
            if ways[at].2 > 0.0 {
                path.push((names[at].clone(), ways[at].2));
            }
            next = ways[at].1;
        }
        path.reverse();
        path
    }

    /// The part of the time in which the job slots were taken, 0 to 1; downloads don't count. While work waits for a job
    /// all are taken: those that are no package's are of the compilers that another one runs at once.
    pub fn slot_use(&self) -> f64 {
        let spans = || self.spans.iter().filter(|span| span.work != Work::Fetch);
        let mut waits: Vec<(f64, f64)> = spans().map(|span| (span.start - span.waited, span.start)).collect();
        waits.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut until = 0.0_f64;
        for (from, to) in &mut waits {
            *from = from.max(until).min(*to);
            until = until.max(*to);
        }
        let waited = |from: f64, to: f64| {
            waits.iter().map(|wait| (to.min(wait.1) - from.max(wait.0)).max(0.0)).sum::<f64>()
        };
        let alone: f64 = spans().map(|span| span.end - span.start - waited(span.start, span.end)).sum();
        let busy = alone + waited(0.0, self.wall) * self.jobs as f64;
        if self.wall > 0.0 { (busy / (self.wall * self.jobs as f64)).min(1.0) } else { 0.0 }
    }

    /// The packages with this outcome, by name.
    pub fn with(&self, outcome: Outcome) -> impl Iterator<Item = (&PackageName, &Package)> {
        self.packages.iter().filter(move |(_, package)| package.outcome == Some(outcome))
    }

    /// How many packages came from the store, whether or not they were told of one by one.
    pub fn hits(&self) -> usize {
        let (late, early): (Vec<_>, Vec<_>) =
            self.with(Outcome::Reused).partition(|(_, package)| package.planned);
        self.reused.max(early.len()) + late.len()
    }

    /// Wall time, use of the slots, processor time, critical path: two lines, or one where no package took time.
    pub fn summary(&self) -> String {
        let time = |seconds: f64| units::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        let mut text = format!("time: {}", time(self.wall));
        if self.spans.iter().any(|span| span.work != Work::Fetch) {
            let slots = if self.jobs == 1 { "slot" } else { "slots" };
            text += &format!(", {:.0}% of {} {slots} used", self.slot_use() * 100.0, self.jobs);
        }
        if let Some(cpu) = self.cpu {
            text += &format!(", processor {}", time(cpu));
        }
        let path = self.critical_path();
        if !path.is_empty() {
            let whole: f64 = path.iter().map(|(_, seconds)| seconds).sum();
            text += &format!("\ncritical path {}: ", time(whole));
            // Of a long path the heaviest packages are enough.
            let mut heaviest: Vec<usize> = (0..path.len()).collect();
            heaviest.sort_by(|&a, &b| path[b].1.total_cmp(&path[a].1));
            let shown: BTreeSet<usize> = heaviest.into_iter().take(8).collect();
            let parts: Vec<String> =
                shown.iter().map(|&at| format!("{} {}", path[at].0, time(path[at].1))).collect();
            text += &parts.join(" → ");
            let hidden = path.len() - shown.len();
            if hidden > 0 {
                let rest: f64 = (0..path.len()).filter(|at| !shown.contains(at)).map(|at| path[at].1).sum();
                text += &format!(", and {hidden} more with {}", time(rest));
            }
        }
        text
    }

    /// The run in the Chrome trace-event format: one thread for each slot, its nodes, and the steps within.
    pub fn chrome(&self) -> Value {
        let micros = |seconds: f64| (seconds * 1e6).round();
        let mut events = vec![
            json!({"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": {"name": format!("mk {}", self.name)}}),
        ];
        for (slot, name) in self.slots() {
            events.push(
                json!({"ph": "M", "name": "thread_name", "pid": 1, "tid": slot, "args": {"name": name}}),
            );
            events.push(json!({"ph": "M", "name": "thread_sort_index", "pid": 1, "tid": slot, "args": {"sort_index": slot}}));
        }
        for span in &self.spans {
            let mut args = json!({"package": span.package});
            if let Some(package) = self.packages.get(&span.package) {
                args["version"] = package.version.as_str().into();
                args["reason"] = package.reason.as_str().into();
            }
            if span.failed {
                args["failed"] = true.into();
            }
            let work = word(span.work);
            events.push(json!({
                "ph": "X", "cat": work, "name": format!("{}: {work}", span.package), "pid": 1, "tid": span.slot,
                "ts": micros(span.start), "dur": micros(span.end - span.start), "args": args,
            }));
            for (step, start, end) in &span.steps {
                events.push(json!({
                    "ph": "X", "cat": "step", "name": step.as_str(), "pid": 1, "tid": span.slot,
                    "ts": micros(*start), "dur": micros((end - start).max(0.0)), "args": {"package": span.package},
                }));
            }
        }
        json!({"displayTimeUnit": "ms", "traceEvents": events})
    }

    /// Every slot that was used, with the name of its row.
    pub fn slots(&self) -> BTreeMap<usize, String> {
        let mut slots = BTreeMap::new();
        let mut downloads = BTreeSet::new();
        for span in &self.spans {
            if span.work == Work::Fetch {
                downloads.insert(span.slot);
            } else {
                slots.insert(span.slot, format!("slot {}", span.slot + 1));
            }
        }
        for (number, slot) in downloads.into_iter().enumerate() {
            slots.entry(slot).or_insert_with(|| format!("download {}", number + 1));
        }
        slots
    }
}

/// The word for a piece of work.
pub fn word(work: Work) -> &'static str {
    match work {
        Work::Fetch => "fetch",
        Work::Prepare => "prepare",
        Work::Build => "build",
    }
}
