//! Rooms: what a step sees, as data, and the server that makes it so.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One place of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mount {
    /// A host file or folder, seen at `to`; everything below is read only unless `writable`.
    Bind {
        /// Path on the host.
        from: PathBuf,
        /// Absolute path in the room.
        to: PathBuf,
        /// Whether the room may write there.
        writable: bool,
    },
    /// Layers: `lower` from top to bottom, read only; `upper` takes what the room writes.
    Overlay {
        /// Host folders, topmost first. May be empty (then `upper` is bound alone).
        lower: Vec<PathBuf>,
        /// Host folder that receives writes; `None`: read only.
        upper: Option<PathBuf>,
        /// Empty host folder on the same file system as `upper`, for the kernel's use.
        work: Option<PathBuf>,
        /// Absolute path in the room.
        to: PathBuf,
    },
    /// An empty folder in memory.
    Tmpfs {
        /// Absolute path in the room.
        to: PathBuf,
    },
    /// A small read-only file with this text.
    File {
        /// Absolute path in the room.
        to: PathBuf,
        /// Its content.
        text: String,
    },
    /// A symbolic link.
    Symlink {
        /// What it points to.
        target: PathBuf,
        /// Absolute path in the room.
        to: PathBuf,
    },
}

/// One program to run: standard input empty, both outputs into `log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Program and arguments; the program by absolute path.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working folder, as seen inside.
    pub cwd: PathBuf,
    /// Log file on the host, appended to, made when missing.
    pub log: PathBuf,
}

/// A room and what runs in it, one program after the other until one fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Places beside the host's own (`/usr`, `/etc`, `/dev`, `/proc`, `/tmp`), made in this order.
    pub mounts: Vec<Mount>,
    /// What runs.
    pub programs: Vec<Program>,
    /// Whether it shares the machine's network (only `check_update` does).
    pub network: bool,
}
