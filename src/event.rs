//! What happens during a run, as data. Workers send events; only the report reads them.
//! Knows `names`, nothing that does work. `docs/events.md` describes the JSON form.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::names::{PackageName, Step};

/// How a step's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// Exit status; 0 is success.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
}

impl Exit {
    /// Whether it ended with status 0.
    pub fn success(self) -> bool {
        self == Exit::Code(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit status {code}"),
            Exit::Signal(signal) => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(name) => write!(f, "signal {name}"),
                Err(_) => write!(f, "signal {signal}"),
            },
        }
    }
}

/// What a node of the schedule does for its package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Downloads and verifies the archive.
    Fetch,
    /// Unpacks it and runs `prepare`.
    Prepare,
    /// Runs `build` and `deploy`, strips, and puts the result into the store.
    Build,
}

/// One frame of bash's call stack, innermost first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Path as a user knows it (`pkg/zlib/build`), or a library file's name.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// The function that contains the line.
    pub function: String,
}

/// Everything that is known of a failed step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// Whose step it was.
    pub package: PackageName,
    /// Which step; `None` when a fetch or the driver's own work (unpack, strip, store) failed.
    pub step: Option<Step>,
    /// How the step's process ended, where there was one.
    pub exit: Option<Exit>,
    /// The sentence, for failures that are no step's (`checksum mismatch …`); empty for a step.
    pub message: String,
    /// More lines on where, for failures that are no step's.
    pub at: Vec<String>,
    /// What to do.
    pub hints: Vec<String>,
    /// The command that failed, as bash shows it.
    pub command: Option<String>,
    /// Call stack in bash, innermost first; empty when the step died without a word.
    pub stack: Vec<Frame>,
    /// The step's log on the host.
    #[serde(serialize_with = "lossy_option")]
    pub log: Option<PathBuf>,
    /// The build folder that was kept, on the host; of a failed `prepare` the source, as far as it differs.
    #[serde(serialize_with = "lossy_option")]
    pub kept: Option<PathBuf>,
}

/// How a package ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Built in this run.
    Built,
    /// Taken from the store.
    Reused,
    /// A step failed.
    Failed,
    /// Not tried because something that it needs failed.
    Skipped,
    /// Not finished because the run was stopped, or not tried because something else failed; then its reason is
    /// [`NOT_TRIED`].
    Cancelled,
}

/// The reason of what was cancelled before it was built.
pub const NOT_TRIED: &str = "not tried";

/// One thing that happened. `slot` numbers the place that the work takes among those running at once, from 0.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The run begins.
    RunStarted {
        /// `BOARD-PRODUCT`.
        name: String,
        /// All packages of the graph.
        packages: usize,
        /// How many are already there and were not even looked at further.
        reused: usize,
        /// Most steps at once.
        jobs: usize,
        /// Seconds the rest will take, guessed from earlier runs; `None` when nothing is known.
        estimate: Option<f64>,
    },
    /// A package is part of the run; sent for each one that is not reused at once, right after `RunStarted`.
    /// Without it a report knows neither versions nor the critical path.
    Planned {
        /// Which.
        package: PackageName,
        /// Its upstream version; empty when it has none.
        version: String,
        /// The packages that it needs, direct ones alone.
        needs: Vec<PackageName>,
        /// Seconds that its work will take, guessed from earlier runs.
        weight: f64,
    },
    /// A line worth telling: a fallback, a wait for memory.
    Note {
        /// The sentence, without `note:`.
        text: String,
    },
    /// Something is wrong but work goes on.
    Warning {
        /// The sentence, without `warning:`.
        text: String,
    },
    /// A node began.
    WorkStarted {
        /// Whose.
        package: PackageName,
        /// What.
        work: Work,
        /// Where.
        slot: usize,
        /// Wall time that it waited before, since steps of other packages had taken all jobs.
        #[serde(default, with = "seconds")]
        waited: Duration,
    },
    /// A node ended.
    WorkEnded {
        /// Whose.
        package: PackageName,
        /// What.
        work: Work,
        /// Where.
        slot: usize,
        /// Wall time.
        #[serde(with = "seconds")]
        elapsed: Duration,
    },
    /// A step began; its log grows from now on.
    StepStarted {
        /// Whose.
        package: PackageName,
        /// Which.
        step: Step,
        /// Its log on the host.
        #[serde(serialize_with = "lossy")]
        log: PathBuf,
    },
    /// A step ended.
    StepEnded {
        /// Whose.
        package: PackageName,
        /// Which.
        step: Step,
        /// How.
        exit: Exit,
        /// Wall time.
        #[serde(with = "seconds")]
        elapsed: Duration,
    },
    /// Bytes came in; sent a few times a second.
    Download {
        /// Whose archive.
        package: PackageName,
        /// Archive file name.
        file: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, where the server says.
        total: Option<u64>,
    },
    /// A package is finished, in whatever way. May be left out for those that `RunStarted` counts as reused.
    PackageEnded {
        /// Which.
        package: PackageName,
        /// How.
        outcome: Outcome,
        /// Why it was built (`VERSION: 1.2 → 1.3`), or the name of the package because of which it was skipped.
        reason: String,
        /// Wall time of all its work, without waits.
        #[serde(with = "seconds")]
        elapsed: Duration,
        /// Bytes of its output.
        size: u64,
    },
    /// A package failed; everything that is known. Sent before the `WorkEnded` of the node that failed.
    Failed(Box<Failure>),
    /// Processor time of all steps and of stripping, with their rooms; sent before `RunEnded`.
    Usage {
        /// User and system time together.
        #[serde(with = "seconds")]
        cpu: Duration,
    },
    /// The run is over.
    RunEnded {
        /// Whether everything that was asked for is there.
        success: bool,
        /// Wall time of the run.
        #[serde(with = "seconds")]
        elapsed: Duration,
    },
}

/// An event with the time at which it happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stamped {
    /// Wall clock; in JSON the seconds since 1970 in UTC, with fractions.
    #[serde(with = "clock")]
    pub time: SystemTime,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// A duration as seconds with fractions.
mod seconds {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(time: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64((time.as_secs_f64() * 1e6).round() / 1e6)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// A time as seconds since 1970 with fractions.
mod clock {
    use serde::{Deserializer, Serializer};
    use std::time::{SystemTime, UNIX_EPOCH};

    pub fn serialize<S: Serializer>(time: &SystemTime, s: S) -> Result<S::Ok, S::Error> {
        super::seconds::serialize(&time.duration_since(UNIX_EPOCH).unwrap_or_default(), s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<SystemTime, D::Error> {
        let since = super::seconds::deserialize(d)?;
        UNIX_EPOCH.checked_add(since).ok_or_else(|| serde::de::Error::custom("time out of range"))
    }
}

/// A path that is no UTF-8 must not cost the whole event.
fn lossy<S: serde::Serializer>(path: &std::path::Path, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&path.to_string_lossy())
}

fn lossy_option<S: serde::Serializer>(path: &Option<PathBuf>, s: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(s)
}

/// Where workers send events; cheap to clone, never blocks, silent once the report is gone.
#[derive(Debug, Clone)]
pub struct Events(std::sync::mpsc::Sender<Stamped>);

impl Events {
    /// A new pair of ends.
    pub fn channel() -> (Events, std::sync::mpsc::Receiver<Stamped>) {
        let (sender, receiver) = std::sync::mpsc::channel();
        (Events(sender), receiver)
    }

    /// Sends one event, stamped now.
    pub fn send(&self, event: Event) {
        // The report may have ended first; then nobody wants to know.
        let _ = self.0.send(Stamped { time: SystemTime::now(), event });
    }
}
