//! One self-contained HTML page of a run: timeline by slot, critical path, a table of packages.
//! Pure: from a `trace::Run` to text. Needs no network, and says so to the browser.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::event::{Outcome, Work};
use crate::failure::{self, clean};
use crate::names::PackageName;
use crate::trace::{Package, Run, Span, word};
use crate::units;

/// Pixels from one row of the timeline to the next.
const ROW: usize = 26;
/// Pixels above the first row.
const AXIS: usize = 22;

const STYLE: &str = "\
:root { color-scheme: light dark; --back: #fff; --text: #1c2024; --dim: #60666d; --line: #d9dde1; --soft: #f3f5f7;
  --fetch: #8ab4e8; --prepare: #e8cf7a; --build: #8ccb95; --failed: #f09a92; --mark: #1c2024; --on: #14181b; }
@media (prefers-color-scheme: dark) { :root { --back: #16191c; --text: #e6e8ea; --dim: #9aa2aa; --line: #363c42;
  --soft: #1f2428; --fetch: #3f6ea8; --prepare: #8a7326; --build: #3a7a48; --failed: #a5443c; --mark: #fff; --on: #fff; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 1400px; background: var(--back); color: var(--text);
  font: 14px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
.dim { color: var(--dim); } code, pre { font-family: ui-monospace, monospace; font-size: .92em; }
.tiles { display: flex; flex-wrap: wrap; gap: .7rem; margin-top: 1.2rem; padding: 0; }
.tiles div { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .5rem .9rem; }
.tiles dt { color: var(--dim); font-size: .85em; } .tiles dd { margin: 0; font-size: 1.25rem; }
.line { display: flex; border: 1px solid var(--line); border-radius: 6px; overflow: hidden; }
.names { flex: none; padding: 0 .7rem; background: var(--soft); border-right: 1px solid var(--line); color: var(--dim); }
.names div { height: 26px; line-height: 26px; white-space: nowrap; }
.line > svg { flex: 1; min-width: 0; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: var(--on); } svg .tick { fill: var(--dim); font-size: 11px; }
svg line { stroke: var(--line); }
.fetch { fill: var(--fetch); } .prepare { fill: var(--prepare); } .build { fill: var(--build); } .failed { fill: var(--failed); }
.critical { stroke: var(--mark); stroke-width: 2; } .waited { fill: none; stroke: var(--dim); stroke-dasharray: 3; }
.key { display: flex; flex-wrap: wrap; gap: 1.2rem; margin: .5rem 0 0; padding: 0; list-style: none; color: var(--dim); }
.key svg { vertical-align: -2px; margin-right: .4rem; }
.path { display: flex; gap: 2px; height: 30px; } .path div { background: var(--build); color: var(--on); min-width: 3px;
  overflow: hidden; white-space: nowrap; line-height: 30px; text-indent: .4rem; border-radius: 3px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { position: sticky; top: 0; background: var(--back); white-space: nowrap; }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid currentColor; }
th[aria-sort=ascending] button::after { content: ' ▲'; } th[aria-sort=descending] button::after { content: ' ▼'; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.is-failed { color: #c5221f; font-weight: 600; } @media (prefers-color-scheme: dark) { .is-failed { color: #ff8a80; } }
tbody tr:hover { background: var(--soft); } pre { background: var(--soft); padding: .7rem; overflow-x: auto; }";

const SCRIPT: &str = "\
for (const th of document.querySelectorAll('th')) th.firstChild.addEventListener('click', () => {
  const body = th.closest('table').tBodies[0], at = th.cellIndex;
  const down = th.getAttribute('aria-sort') === 'ascending';
  for (const other of th.parentNode.cells) other.removeAttribute('aria-sort');
  th.setAttribute('aria-sort', down ? 'descending' : 'ascending');
  const value = row => row.cells[at].dataset.v ?? row.cells[at].textContent;
  const order = (a, b) => th.classList.contains('n') ? value(a) - value(b) : value(a).localeCompare(value(b));
  body.append(...[...body.rows].sort((a, b) => down ? order(b, a) : order(a, b)));
});";

/// The whole page.
pub fn page(run: &Run) -> String {
    let mut out = String::new();
    let name = escape(&run.name);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>mk: {name}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n"
    );
    head(&mut out, run, &name);
    failures(&mut out, run);
    let path = run.critical_path();
    critical(&mut out, &path);
    timeline(&mut out, run, &path);
    table(&mut out, run, &path);
    let _ = write!(out, "<script>\n{SCRIPT}\n</script>\n</body>\n</html>\n");
    out
}

fn head(out: &mut String, run: &Run, name: &str) {
    let end = match run.success {
        Some(true) => "complete",
        Some(false) => "not complete",
        None => "ended without a word",
    };
    let _ = write!(
        out,
        "<h1>{name}</h1>\n<div class=\"dim\">{} · {end}</div>\n<dl class=\"tiles\">",
        date(run.started)
    );
    let mut tile = |title: &str, value: String| {
        let _ = write!(out, "<div><dt>{title}</dt><dd>{value}</dd></div>");
    };
    tile("wall time", time(run.wall));
    if let Some(cpu) = run.cpu {
        tile("processor time", time(cpu));
    }
    tile(&format!("use of {} slots", run.jobs), format!("{:.0}%", run.slot_use() * 100.0));
    tile("packages", run.total.to_string());
    let built = run.with(Outcome::Built).count();
    tile("built", built.to_string());
    let hits = run.hits();
    let share = if run.total > 0 { 100.0 * hits as f64 / run.total as f64 } else { 0.0 };
    tile("cache hits", format!("{hits} ({share:.0}%)"));
    for (title, outcome) in
        [("failed", Outcome::Failed), ("skipped", Outcome::Skipped), ("stopped", Outcome::Cancelled)]
    {
        let count = run.with(outcome).count();
        if count > 0 {
            tile(title, count.to_string());
        }
    }
    let bytes = run.packages.values().map(|package| package.downloaded).sum();
    tile("downloaded", units::size(bytes));
    out.push_str("</dl>\n");
}

fn failures(out: &mut String, run: &Run) {
    if run.failures.is_empty() {
        return;
    }
    out.push_str("<h2>Failures</h2>\n");
    for failed in &run.failures {
        let text = failure::text_without_log(failed, Path::new(""));
        let _ = writeln!(out, "<pre>{}</pre>", escape(&text));
    }
}

fn critical(out: &mut String, path: &[(PackageName, f64)]) {
    if path.is_empty() {
        return;
    }
    let whole: f64 = path.iter().map(|(_, seconds)| seconds).sum();
    let _ = write!(
        out,
        "<h2>Critical path</h2>\n<p class=\"dim\">{} in {} packages: more cores would not make it shorter, \
         only quicker work on these.</p>\n<div class=\"path\">",
        time(whole),
        path.len()
    );
    for (name, seconds) in path {
        let _ = write!(
            out,
            "<div style=\"flex: {seconds:.3} 1 0\" title=\"{0}: {1}\">{0} {1}</div>",
            escape(name.as_str()),
            time(*seconds)
        );
    }
    out.push_str("</div>\n");
}

fn timeline(out: &mut String, run: &Run, path: &[(PackageName, f64)]) {
    let slots = run.slots();
    if slots.is_empty() {
        out.push_str("<h2>Timeline</h2>\n<p>Nothing had to be done.</p>\n");
        return;
    }
    let rows: BTreeMap<usize, usize> = slots.keys().enumerate().map(|(row, slot)| (*slot, row)).collect();
    let on_path: HashSet<&PackageName> = path.iter().map(|(name, _)| name).collect();
    let height = AXIS + slots.len() * ROW;
    let wall = run.wall.max(1e-6);
    let _ = write!(
        out,
        "<h2>Timeline</h2>\n<div class=\"line\"><div class=\"names\" style=\"padding-top: {AXIS}px\">"
    );
    for name in slots.values() {
        let _ = write!(out, "<div>{name}</div>");
    }
    let _ = write!(
        out,
        "</div>\n<svg id=\"timeline\" width=\"100%\" height=\"{height}\" role=\"img\" aria-label=\"what ran when in each slot\">\n"
    );
    let step = tick(wall);
    let mut at = 0.0;
    while at < wall * 0.97 {
        let x = 100.0 * at / wall;
        let label = if at == 0.0 { "0".into() } else { axis(at, step) };
        let _ = writeln!(
            out,
            "<line x1=\"{x:.3}%\" x2=\"{x:.3}%\" y1=\"0\" y2=\"{height}\"/>\
             <svg x=\"{x:.3}%\" width=\"80\" height=\"{AXIS}\"><text class=\"tick\" x=\"4\" y=\"15\">{label}</text></svg>"
        );
        at += step;
    }
    for span in &run.spans {
        let row = rows.get(&span.slot).copied().unwrap_or(0);
        let (x, width) = (100.0 * (span.start - span.waited) / wall, 100.0 * span.waited / wall);
        // Asking for a job takes a moment even where one is free.
        if width > 0.1 {
            let _ = writeln!(
                out,
                "<rect class=\"waited\" x=\"{x:.3}%\" y=\"{}\" width=\"{width:.3}%\" height=\"{}\" rx=\"2\">\
                 <title>{} waited {} for a job</title></rect>",
                AXIS + row * ROW + 3,
                ROW - 6,
                escape(span.package.as_str()),
                time(span.waited)
            );
        }
        bar(out, run, span, AXIS + row * ROW, wall, on_path.contains(&span.package));
    }
    out.push_str("</svg></div>\n<ul class=\"key\">");
    for (class, text) in [
        ("fetch", "fetch"),
        ("prepare", "unpack and prepare"),
        ("build", "build and deploy"),
        ("failed", "failed"),
        ("build critical", "on the critical path"),
        ("waited", "waited: the steps of others had all jobs"),
    ] {
        let _ = write!(
            out,
            "<li><svg width=\"14\" height=\"14\" aria-hidden=\"true\">\
             <rect class=\"{class}\" x=\"1\" y=\"1\" width=\"12\" height=\"12\" rx=\"2\"/></svg>{text}</li>"
        );
    }
    out.push_str("</ul>\n");
}

/// One span: a box of its own, so that its label ends where it ends.
fn bar(out: &mut String, run: &Run, span: &Span, top: usize, wall: f64, critical: bool) {
    let (x, width) = (100.0 * span.start / wall, 100.0 * (span.end - span.start) / wall);
    let class = if span.failed { "failed" } else { word(span.work) };
    // The source of a package on the path lies beside it more often than on it.
    let mark = if critical && span.work == Work::Build { " critical" } else { "" };
    let name = escape(span.package.as_str());
    let mut title = format!("{name}: {}, {}", word(span.work), time(span.end - span.start));
    for (step, start, end) in &span.steps {
        let _ = write!(title, "\n{step} {}", time(end - start));
    }
    if span.open {
        title.push_str("\nits end was not heard of");
    }
    if let Some(package) = run.packages.get(&span.package).filter(|package| !package.reason.is_empty()) {
        let _ = write!(title, "\n{}", escape(&clean(package.reason.as_bytes())));
    }
    let _ = write!(
        out,
        "<svg x=\"{x:.3}%\" y=\"{}\" width=\"{width:.3}%\" height=\"{}\"><title>{title}</title>\
         <rect class=\"{class}{mark}\" width=\"100%\" height=\"100%\" rx=\"2\"/>",
        top + 2,
        ROW - 4
    );
    if width > 2.5 {
        let _ = write!(out, "<text x=\"5\" y=\"15\">{name}</text>");
    }
    out.push_str("</svg>\n");
}

fn table(out: &mut String, run: &Run, path: &[(PackageName, f64)]) {
    let mut works: BTreeMap<&PackageName, [f64; 3]> = BTreeMap::new();
    for span in &run.spans {
        works.entry(&span.package).or_default()[span.work as usize] += span.end - span.start;
    }
    let on_path: BTreeMap<&PackageName, f64> = path.iter().map(|(name, seconds)| (name, *seconds)).collect();
    out.push_str("<h2>Packages</h2>\n<div class=\"wide\"><table id=\"packages\">\n<thead><tr>");
    for (title, class) in [
        ("package", ""),
        ("version", ""),
        ("outcome", ""),
        ("fetch", " class=\"n\""),
        ("prepare", " class=\"n\""),
        ("build", " class=\"n\""),
        ("critical", " class=\"n\""),
        ("size", " class=\"n\""),
        ("downloaded", " class=\"n\""),
        ("reason", ""),
    ] {
        let _ = write!(out, "<th scope=\"col\"{class}><button>{title}</button></th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (name, package) in &run.packages {
        let seconds = works.get(name).copied().unwrap_or_default();
        let (class, outcome) = outcome(package);
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"{class}\">{outcome}</td>",
            escape(name.as_str()),
            escape(&clean(package.version.as_bytes()))
        );
        for value in [seconds[0], seconds[1], seconds[2], on_path.get(name).copied().unwrap_or(0.0)] {
            let shown = if value > 0.0 { time(value) } else { String::new() };
            let _ = write!(out, "<td class=\"n\" data-v=\"{value:.6}\">{shown}</td>");
        }
        for bytes in [package.size, package.downloaded] {
            let shown = if bytes > 0 { units::size(bytes) } else { String::new() };
            let _ = write!(out, "<td class=\"n\" data-v=\"{bytes}\">{shown}</td>");
        }
        let reason = escape(&clean(package.reason.as_bytes()));
        let because = if package.outcome == Some(Outcome::Skipped) { "because of " } else { "" };
        let _ = writeln!(out, "<td>{because}{reason}</td></tr>");
    }
    out.push_str("</tbody></table></div>\n");
    let silent = run.total.saturating_sub(run.packages.len());
    if silent > 0 {
        let _ = writeln!(out, "<p class=\"dim\">{silent} more packages were there already.</p>");
    }
}

fn outcome(package: &Package) -> (&'static str, &'static str) {
    match package.outcome {
        Some(Outcome::Built) => ("is-built", "built"),
        Some(Outcome::Reused) => ("dim", "reused"),
        Some(Outcome::Failed) => ("is-failed", "failed"),
        Some(Outcome::Skipped) => ("dim", "skipped"),
        Some(Outcome::Cancelled) => ("dim", "stopped"),
        None => ("dim", "not tried"),
    }
}

/// Text for between tags and within quoted attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn time(seconds: f64) -> String {
    units::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// Seconds between two marks of an axis of this length: a round number that makes at most ten.
fn tick(wall: f64) -> f64 {
    let round =
        [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0];
    round.into_iter().find(|step| wall / step <= 10.0).unwrap_or_else(|| (wall / 36_000.0).ceil() * 3600.0)
}

fn axis(at: f64, step: f64) -> String {
    if step < 1.0 {
        return format!("{at:.1}s");
    }
    let whole = at.round() as u64;
    match whole {
        ..60 => format!("{whole}s"),
        60..3600 if whole % 60 == 0 => format!("{}m", whole / 60),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// `2025-03-09 14:05 UTC`, by the proleptic Gregorian calendar (counted from 1 March, so that the leap day is a year's last).
fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) =
        (era * 400 + year + u64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(at(1_735_689_599), "2024-12-31 23:59 UTC");
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00 UTC");
    }

    #[test]
    fn an_axis_has_few_round_marks_however_long_it_is() {
        for wall in [0.000_001, 0.9, 7.0, 100.0, 3601.0, 1e6, 1e9] {
            let step = tick(wall);
            assert!(step > 0.0 && wall / step <= 10.0, "{wall}");
        }
    }
}
