//! The executor of this machine: a thread for each slot. Decides neither order (the schedule does) nor what a node is (the
//! job knows).

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::event::{Event, Outcome};
use crate::job::Job;
use crate::schedule::{self, Node, NodeId, Wake};

/// How long it waits before it looks around.
const PATIENCE: Duration = Duration::from_secs(1);

/// The executor that the schedule talks to: a thread for each slot, from the first node that it takes.
pub struct Local<'scope, 'env, 'a> {
    scope: &'scope Scope<'scope, 'env>,
    job: &'env Job<'a>,
    nodes: &'env [Node],
    sender: Sender<Wake>,
    receiver: Receiver<Wake>,
    /// What each slot works on next. Its thread ends with the sender.
    slots: HashMap<usize, Sender<NodeId>>,
    held: bool,
    /// When it was last looked whether memory is short.
    looked: Option<Instant>,
    running: usize,
    cancelled: bool,
}

impl<'scope, 'env, 'a> Local<'scope, 'env, 'a> {
    /// `channel` also takes [`Wake::Cancel`] from whoever hears signals.
    pub fn new(
        scope: &'scope Scope<'scope, 'env>,
        job: &'env Job<'a>,
        nodes: &'env [Node],
        channel: (Sender<Wake>, Receiver<Wake>),
    ) -> Self {
        Local {
            scope,
            job,
            nodes,
            sender: channel.0,
            receiver: channel.1,
            slots: HashMap::new(),
            held: false,
            looked: None,
            running: 0,
            cancelled: false,
        }
    }
}

impl schedule::Executor for Local<'_, '_, '_> {
    fn start(&mut self, id: NodeId, slot: usize) {
        self.running += 1;
        let (scope, job, nodes, sender) = (self.scope, self.job, self.nodes, &self.sender);
        let next = self.slots.entry(slot).or_insert_with(|| {
            let (next, given) = std::sync::mpsc::channel::<NodeId>();
            let sender = sender.clone();
            scope.spawn(move || {
                for id in given {
                    let end = job.work(&nodes[id], slot);
                    // The receiver outlives all workers.
                    let _ = sender.send(Wake::Ended(id, end));
                }
            });
            next
        });
        // A worker lives as long as its sender: `work` lets no panic through.
        let _ = next.send(id);
    }

    fn wait(&mut self) -> Wake {
        loop {
            // The kernel's figure is of ten seconds: it tells nothing new with each node that ends.
            let due = self.looked.is_none_or(|then| then.elapsed() >= PATIENCE);
            let pressed = if self.running == 0 {
                false
            } else if due {
                self.looked = Some(Instant::now());
                memory_is_short()
            } else {
                self.held
            };
            if pressed != self.held {
                self.held = pressed;
                if pressed {
                    let text = "memory is short: no new package is started until that is over".to_owned();
                    self.job.events.send(Event::Note { text });
                }
                return Wake::Hold(pressed);
            }
            match self.receiver.recv_timeout(PATIENCE) {
                Ok(Wake::Ended(id, end)) => {
                    self.running -= 1;
                    return Wake::Ended(id, end);
                }
                Ok(wake) => return wake,
                Err(RecvTimeoutError::Timeout)
                    if self.job.workshop.cancel.is_cancelled() && !self.cancelled =>
                {
                    self.cancelled = true;
                    return Wake::Cancel;
                }
                Err(_) => {}
            }
        }
    }

    fn skipped(&mut self, nodes: &[NodeId], failed: NodeId) {
        let culprit = &self.job.recipe(self.nodes[failed].package).name;
        for &id in nodes {
            let place = self.nodes[id].package;
            let mut state = self.job.state(place);
            if !std::mem::replace(&mut state.ended, true) {
                self.job.events.send(Event::PackageEnded {
                    package: self.job.recipe(place).name.clone(),
                    outcome: Outcome::Skipped,
                    reason: culprit.to_string(),
                    elapsed: Duration::ZERO,
                    size: 0,
                });
            }
        }
    }
}

/// Whether tasks have stood still for want of memory for more than a tenth of the last ten seconds.
fn memory_is_short() -> bool {
    let text = fs_err::read_to_string("/proc/pressure/memory").unwrap_or_default();
    let full = text.lines().find_map(|line| line.strip_prefix("full avg10="));
    full.and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok()).is_some_and(|share| share > 10.0)
}
