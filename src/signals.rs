//! Ctrl-C and its like: the first ends running steps gently, the second ends `mk` at once, and so does patience. Knows nobody but `Cancel` and the schedule.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::error::{Error, Kind, Result};
use crate::room::Cancel;
use crate::schedule::Wake;

/// How long a run may take to come to its end after the first signal. Whatever goes on then (an archive that is being
/// unpacked, a large folder that is being removed) is cut off, which costs nothing but that work.
const PATIENCE: Duration = Duration::from_millis(1800);

/// Listens as long as it lives.
#[derive(Debug)]
pub struct Watch {
    handle: Handle,
    /// That of [`ALONE`].
    alone: Arc<AtomicBool>,
    heard: Arc<AtomicI32>,
    listener: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    /// The first signal that was heard.
    pub fn heard(&self) -> Option<i32> {
        Some(self.heard.load(Ordering::SeqCst)).filter(|&signal| signal != 0)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.alone.store(true, Ordering::SeqCst);
        self.handle.close();
        // Its end is awaited: a room server can be forked only by a process with one thread.
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

/// The signals that are listened for.
fn heeded() -> impl Iterator<Item = i32> {
    [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal))
}

/// Whether nobody listens: then a signal does what it does by itself. The kernel does not see to that, since signal-hook
/// keeps its handler for good once it has one.
static ALONE: LazyLock<std::io::Result<Arc<AtomicBool>>> = LazyLock::new(|| {
    let alone = Arc::new(AtomicBool::new(true));
    for signal in heeded() {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&alone))?;
    }
    Ok(alone)
});

/// Starts listening on a thread of its own. There is one that listens at a time.
pub fn watch(cancel: Cancel, wakes: Sender<Wake>) -> Result<Watch> {
    let failed =
        |error: &std::io::Error| Error::new(Kind::Host, format!("cannot listen for signals: {error}"));
    let alone = Arc::clone(ALONE.as_ref().map_err(failed)?);
    let mut signals = Signals::new(heeded()).map_err(|error| failed(&error))?;
    alone.store(false, Ordering::SeqCst);
    let handle = signals.handle();
    let heard = Arc::new(AtomicI32::new(0));
    let first = Arc::clone(&heard);
    let listener = std::thread::spawn(move || {
        // Its end is the end of the run.
        let mut timer: Option<(Sender<()>, std::thread::JoinHandle<()>)> = None;
        for signal in signals.forever() {
            if first.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                end_now(signal);
            }
            cancel.cancel();
            let _ = wakes.send(Wake::Cancel);
            let (over, patience) = std::sync::mpsc::channel();
            let wait = move || {
                if patience.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    end_now(signal);
                }
            };
            timer = Some((over, std::thread::spawn(wait)));
        }
        if let Some((over, timer)) = timer {
            drop(over);
            let _ = timer.join();
        }
    });
    Ok(Watch { handle, alone, heard, listener: Some(listener) })
}

/// Whether whoever started this process wants it not to heed a signal, as `nohup` and a script's `&` do.
fn is_ignored(signal: i32) -> bool {
    // SAFETY: plain data, for which zero is a value; it outlives the call, which changes nothing else.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &mut now) };
    asked == 0 && now.sa_sigaction == libc::SIG_IGN
}

/// Ends this process by that signal. The kernel ends the room server with it, and with that every step and every mount.
fn end_now(signal: i32) {
    let _ = signal_hook::low_level::emulate_default_handler(signal);
}
