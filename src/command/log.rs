//! `mk log`: shows logs of the last run, or those kept with a reused result.

use std::collections::HashMap;
use std::io::{IsTerminal, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::config::{Format, Settings};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Failure};
use crate::layout::BuildRoot;
use crate::making::FAILED_STEP;
use crate::names::{PackageName, Step};
use crate::output;
use crate::store::Store;

/// What to show.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Whose logs
    #[arg(required_unless_present_any = ["failed", "list"])]
    package: Option<String>,
    /// Which step: prepare, build or deploy
    step: Option<String>,
    /// Build root to look in [default: the one built last]
    #[arg(long, value_name = "BOARD-PRODUCT")]
    build: Option<String>,
    /// Follow a log while its step runs
    #[arg(short, long, requires = "package")]
    follow: bool,
    /// Show the logs of the steps that failed in the last run, or of what failed before and is not built since
    #[arg(long, conflicts_with_all = ["package", "list"])]
    failed: bool,
    /// List logs with sizes and times
    #[arg(long)]
    list: bool,
}

/// One log file.
#[derive(Debug, Serialize)]
struct Found {
    package: PackageName,
    step: Step,
    #[serde(serialize_with = "output::serialize_path")]
    path: PathBuf,
    size: u64,
    /// Seconds since 1970.
    modified: u64,
}

/// One log file with what is in it.
#[derive(Debug, Serialize)]
struct Whole {
    #[serde(flatten)]
    log: Found,
    text: String,
}

/// A step that failed, with its log.
#[derive(Debug, Serialize)]
struct Failed<'a> {
    #[serde(flatten)]
    failure: &'a Failure,
    text: String,
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    if options.follow && settings.format == Format::Json {
        return Err(Error::new(Kind::Usage, "`--format json` does not go with `--follow`")
            .hint("`mk --format json BOARD PRODUCT` tells what happens while it builds"));
    }
    let root = super::choose_build_root(settings, options.build.as_deref())?;
    if options.list {
        let package = options.package.as_deref().map(PackageName::new).transpose()?;
        return list(settings, &root, package.as_ref());
    }
    if options.failed {
        return failed(settings, &root);
    }
    let package = PackageName::new(options.package.as_deref().unwrap_or_default())?;
    let steps = match options.step.as_deref() {
        None => Step::ALL.to_vec(),
        Some(word) => match Step::ALL.into_iter().find(|step| step.as_str() == word) {
            Some(step) => vec![step],
            None => {
                let known: Vec<String> = Step::ALL.iter().map(Step::to_string).collect();
                return Err(crate::load::unknown("step", word, &format!("log/{package}-{word}.log"), &known));
            }
        },
    };
    let all: Vec<Found> =
        of_package(settings, &root, &package).into_iter().filter(|log| steps.contains(&log.step)).collect();
    if options.follow && (!all.is_empty() || Store::is_building(&root.state())) {
        return follow(&root, &|running| {
            // What the store keeps is not what is being made.
            let all = if running { logs(&root) } else { of_package(settings, &root, &package) };
            let wanted = |log: &Found| log.package == package && steps.contains(&log.step);
            all.into_iter().filter(wanted).map(|log| log.path).collect()
        });
    }
    if all.is_empty() {
        let mut known: Vec<String> = logs(&root).into_iter().map(|log| log.package.to_string()).collect();
        known.dedup();
        let what = options.step.as_deref().map_or(String::new(), |step| format!("-{step}"));
        let built = super::build::used(&root).contains_key(&package);
        let error = Error::new(
            Kind::Usage,
            format!("`{package}` has no log `{}/log/{package}{what}*.log`", root.name()),
        );
        if built {
            return Err(error.hint("it was built; a step that its recipe does not have writes no log"));
        }
        return Err(match crate::error::nearest(package.as_str(), known.iter().map(String::as_str)) {
            Some(near) if near != package.as_str() => error.hint(format!("did you mean `{near}`?")),
            _ => error.hint(format!("`{} log --list` lists logs", settings.again)),
        });
    }
    if settings.format == Format::Json {
        let whole = |log: Found| {
            let text = fs_err::read(&log.path)?;
            Ok(Whole { log, text: String::from_utf8_lossy(&text).into_owned() })
        };
        let logs: Vec<Whole> = all.into_iter().map(whole).collect::<Result<_>>()?;
        return output::json(&serde_json::json!({ "logs": logs }));
    }
    if all.iter().all(|log| log.size == 0) {
        crate::report::note(&format!("`{package}` wrote nothing to its log"));
    }
    let mut text = String::new();
    for log in &all {
        if all.len() > 1 {
            text.push_str(&format!(
                "==> {} <==\n",
                log.path.strip_prefix(settings.workspace.root()).unwrap_or(&log.path).display()
            ));
        }
        text.push_str(&String::from_utf8_lossy(&fs_err::read(&log.path)?));
        if !text.ends_with('\n') && !text.is_empty() {
            text.push('\n');
        }
    }
    page(settings, &text)
}

/// Logs in the build root, by package and step.
fn logs(root: &BuildRoot) -> Vec<Found> {
    let mut found: Vec<Found> = std::fs::read_dir(root.logs())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| describe(entry.path(), None))
        .collect();
    found.sort_by(|a, b| (&a.package, a.step).cmp(&(&b.package, b.step)));
    found
}

/// A log by its path: `<package>-<step>.log`, or `<step>.log` of a known package.
fn describe(path: PathBuf, package: Option<&PackageName>) -> Option<Found> {
    let name = path.file_name()?.to_str()?.strip_suffix(".log")?.to_owned();
    let (package, step) = match package {
        Some(package) => (package.clone(), name),
        None => {
            let (package, step) = name.rsplit_once('-')?;
            (PackageName::new(package).ok()?, step.to_owned())
        }
    };
    let step = Step::ALL.into_iter().find(|known| known.as_str() == step)?;
    let meta = fs_err::metadata(&path).ok()?;
    let modified = meta.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    Some(Found { package, step, path, size: meta.len(), modified })
}

/// A package's logs: those of the last run, or those kept with the result that the build root uses.
fn of_package(settings: &Settings, root: &BuildRoot, package: &PackageName) -> Vec<Found> {
    let mut found: Vec<Found> = logs(root).into_iter().filter(|log| log.package == *package).collect();
    if found.is_empty() {
        let stores = [settings.store.clone(), root.private_store()];
        let key = super::build::used(root).get(package).copied();
        let entry = key.and_then(|key| {
            stores.iter().filter(|s| s.is_dir()).find_map(|s| Store::open(s).ok()?.find(&key))
        });
        if let Some(entry) = entry {
            found = Step::ALL
                .into_iter()
                .filter_map(|step| describe(entry.logs().join(format!("{step}.log")), Some(package)))
                .collect();
        }
    }
    found
}

fn list(settings: &Settings, root: &BuildRoot, package: Option<&PackageName>) -> Result<()> {
    let found: Vec<Found> = match package {
        Some(package) => of_package(settings, root, package),
        None => {
            let mut all = logs(root);
            for name in super::build::used(root).keys() {
                if !all.iter().any(|log| log.package == *name) {
                    all.extend(of_package(settings, root, name));
                }
            }
            all.sort_by(|a, b| (&a.package, a.step).cmp(&(&b.package, b.step)));
            all
        }
    };
    if settings.format == Format::Json {
        return output::json(&serde_json::json!({ "logs": found }));
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|log| {
            let age = Duration::from_secs(now.saturating_sub(log.modified));
            vec![
                log.package.to_string(),
                log.step.to_string(),
                crate::units::size(log.size),
                format!("{} ago", crate::units::duration(age)),
            ]
        })
        .collect();
    output::data(&output::table(&rows))
}

fn failed(settings: &Settings, root: &BuildRoot) -> Result<()> {
    let record = root.logs().join("events.json");
    let events = crate::trace::read(&record).unwrap_or_default();
    let mut text = String::new();
    let mut failures = Vec::new();
    for stamped in &events {
        if let Event::Failed(failure) = &stamped.event {
            text.push_str(&crate::failure::text(failure, settings.workspace.root()));
            text.push('\n');
            let mut said = String::new();
            if let Some(log) = &failure.log {
                said = String::from_utf8_lossy(&fs_err::read(log).unwrap_or_default()).into_owned();
                text.push_str(&format!(
                    "==> {} <==\n",
                    crate::failure::below(log, settings.workspace.root())
                ));
                text.push_str(&said);
            }
            failures.push(Failed { failure, text: said });
        }
    }
    if settings.format == Format::Json && !failures.is_empty() {
        return output::json(&serde_json::json!({ "failures": failures }));
    }
    if text.is_empty() {
        return kept(settings, root);
    }
    page(settings, &text)
}

/// Shows the last logs of packages whose folders are kept because they failed, if not in the last run.
fn kept(settings: &Settings, root: &BuildRoot) -> Result<()> {
    let all = logs(root);
    let folders = crate::load::folders(&root.failures());
    let last = |name: &String| {
        let unprepared = root.failures().join(name).join(FAILED_STEP).exists();
        let failed =
            |log: &&Found| log.package.as_str() == name && (!unprepared || log.step == Step::Prepare);
        all.iter().rfind(failed)
    };
    let mut whole = Vec::new();
    for log in folders.iter().filter_map(last) {
        let text = String::from_utf8_lossy(&fs_err::read(&log.path)?).into_owned();
        whole.push((log, text));
    }
    if whole.is_empty() {
        let text = format!("nothing failed in the last build of `{}`", root.name());
        return Err(Error::new(Kind::Usage, text));
    }
    if settings.format == Format::Json {
        let failures: Vec<_> = whole
            .iter()
            .map(|(log, text)| {
                let (package, step, path) = (&log.package, log.step, output::path(&log.path));
                serde_json::json!({ "package": package, "step": step, "log": path, "text": text })
            })
            .collect();
        return output::json(&serde_json::json!({ "failures": failures }));
    }
    crate::report::note("nothing failed in the last build; these failed before, and were not built since");
    let mut said = String::new();
    for (log, text) in &whole {
        said.push_str(&format!("==> {} <==\n", crate::failure::below(&log.path, settings.workspace.root())));
        said.push_str(text);
    }
    page(settings, &said)
}

/// Shows text through the user's pager on a terminal, as it is elsewhere.
fn page(settings: &Settings, text: &str) -> Result<()> {
    let pager = settings.environment.get("PAGER").map_or("less -R", String::as_str);
    if std::io::stdout().is_terminal() && !pager.is_empty() && pager != "cat" {
        let run = duct::cmd!("sh", "-c", pager).stdin_bytes(text).env("LESS", "FRX").unchecked().run();
        if run.is_ok_and(|output| output.status.code() != Some(127)) {
            return Ok(());
        }
    }
    output::data(text)
}

/// Prints logs as they come and grow, until the build that writes them has ended. A log that begins anew is printed anew.
fn follow(root: &BuildRoot, logs: &dyn Fn(bool) -> Vec<PathBuf>) -> Result<()> {
    let mut printed = HashMap::new();
    loop {
        let running = Store::is_building(&root.state());
        output::bytes(&fresh(&logs(running), &mut printed)?)?;
        if !running {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What `logs` have beyond what was `printed`, in their order. It reads the last one first: a log is whole before that of
/// the next step begins, so whatever is seen of that, all that comes before it is there to be read. In bytes: the last
/// character of a log that grows may be there in part.
fn fresh(logs: &[PathBuf], printed: &mut HashMap<PathBuf, u64>) -> Result<Vec<u8>> {
    let mut found = Vec::new();
    for path in logs.iter().rev() {
        let Ok(mut file) = fs_err::File::open(path) else { continue };
        let at = printed.entry(path.clone()).or_default();
        if file.metadata()?.len() < *at {
            *at = 0;
        }
        if *at > 0 {
            file.seek(SeekFrom::Start(*at))?;
        }
        let mut fresh = Vec::new();
        file.read_to_end(&mut fresh)?;
        *at += fresh.len() as u64;
        found.push(fresh);
    }
    found.reverse();
    Ok(found.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_step_says_last_comes_before_what_the_next_one_says_first() {
        let dir = tempfile::tempdir().unwrap();
        let [build, deploy] = ["build", "deploy"].map(|name| dir.path().join(name));
        fs_err::write(&build, "begun\n").unwrap();
        nix::unistd::mkfifo(&deploy, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut printed = HashMap::new();
        assert_eq!(fresh(std::slice::from_ref(&build), &mut printed).unwrap(), b"begun\n");
        let said = std::thread::scope(|scope| {
            // Opened when the other end is: while `fresh` is at this log, both steps go on.
            scope.spawn(|| {
                let mut later = fs_err::OpenOptions::new().write(true).open(&deploy).unwrap();
                fs_err::write(&build, "begun\nended\n").unwrap();
                std::io::Write::write_all(&mut later, b"deployed\n").unwrap();
            });
            fresh(&[build.clone(), deploy.clone()], &mut printed).unwrap()
        });
        assert_eq!(said, b"ended\ndeployed\n");
    }

    #[test]
    fn a_character_that_comes_in_two_pieces_is_whole_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let log = [dir.path().join("build")];
        let mut printed = HashMap::new();
        let mut said = Vec::new();
        let text = "grün\n".as_bytes();
        for end in [3, text.len()] {
            fs_err::write(&log[0], &text[..end]).unwrap();
            said.extend(fresh(&log, &mut printed).unwrap());
        }
        assert_eq!(said, text);
    }
}
