//! Ctrl-C and its like: the first ends running steps gently, the second kills them. Knows nobody but `Cancel` and the schedule.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::Sender;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::error::{Error, Kind, Result};
use crate::room::Cancel;
use crate::schedule::Wake;

/// Listens as long as it lives.
#[derive(Debug)]
pub struct Watch {
    handle: Handle,
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
        self.handle.close();
        // Its end is awaited: a room server can be forked only by a process with one thread.
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

/// Starts listening on a thread of its own.
pub fn watch(cancel: Cancel, wakes: Sender<Wake>) -> Result<Watch> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| Error::new(Kind::Host, format!("cannot listen for signals: {error}")))?;
    let handle = signals.handle();
    let heard = Arc::new(AtomicI32::new(0));
    let first = Arc::clone(&heard);
    let listener = std::thread::spawn(move || {
        for signal in signals.forever() {
            if first.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                cancel.cancel();
                let _ = wakes.send(Wake::Cancel);
            } else {
                cancel.kill();
            }
        }
    });
    Ok(Watch { handle, heard, listener: Some(listener) })
}
