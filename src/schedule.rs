//! What runs next: a pure state machine over the graph of nodes, and the loop that drives it.
//! Knows no clock, no thread, no file and no process; those are the executor's.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use crate::error::{Error, Kind, Result};
use crate::event::Work;

/// Index of a node in the list that the schedule was made from.
pub type NodeId = usize;

/// One piece of work.
#[derive(Debug, Clone)]
pub struct Node {
    /// Whose; packages are numbered in the order of their names, which breaks ties.
    pub package: usize,
    /// What.
    pub work: Work,
    /// Seconds that it will take, as far as is known.
    pub weight: f64,
    /// Nodes that must be done first.
    pub needs: Vec<NodeId>,
}

/// How much runs at once; 0 counts as 1.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `Prepare` and `Build` nodes.
    pub jobs: usize,
    /// `Fetch` nodes; a pool of their own, so that downloads overlap builds.
    pub downloads: usize,
}

/// How a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its result is there.
    Done,
    /// It has none, by its own fault.
    Failed,
    /// It was stopped.
    Cancelled,
}

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Has not been started, and never will be if the schedule is over.
    Waiting,
    /// Was handed out.
    Running,
    /// Ended so.
    Ended(End),
    /// Will not be tried, because this node failed.
    Skipped(NodeId),
}

/// Nodes that are ready and the free places, of one pool.
#[derive(Debug)]
struct Pool {
    /// By rank, least first.
    ready: BinaryHeap<Reverse<(usize, NodeId)>>,
    free: BTreeSet<usize>,
}

impl Pool {
    fn new(slots: std::ops::Range<usize>) -> Pool {
        Pool { ready: BinaryHeap::new(), free: slots.collect() }
    }
}

/// The state of a run.
#[derive(Debug)]
pub struct Schedule {
    nodes: Vec<Node>,
    state: Vec<State>,
    slot: Vec<usize>,
    /// Nodes that need this one.
    dependents: Vec<Vec<NodeId>>,
    /// How many needs are still open.
    open: Vec<usize>,
    /// How many dependents may still want this one.
    wanted: Vec<usize>,
    /// Place in the order of preference.
    rank: Vec<usize>,
    jobs: Pool,
    downloads: Pool,
    running: usize,
    keep_going: bool,
    held: bool,
    stopped: bool,
}

impl Schedule {
    /// Orders `nodes` by their longest remaining path. An error if they form a cycle or need a node that isn't there:
    /// the graph has been checked by name long before, so both are defects of `mk`.
    pub fn new(nodes: Vec<Node>, limits: Limits, keep_going: bool) -> Result<Schedule> {
        let mut nodes = nodes;
        let count = nodes.len();
        let mut dependents = vec![Vec::new(); count];
        for (id, node) in nodes.iter_mut().enumerate() {
            node.needs.sort_unstable();
            node.needs.dedup();
            for &need in &node.needs {
                let list: &mut Vec<NodeId> = dependents.get_mut(need).ok_or_else(|| {
                    Error::new(
                        Kind::Internal,
                        format!("node {id} of the schedule needs node {need}, which is not there"),
                    )
                })?;
                list.push(id);
            }
        }
        let open: Vec<usize> = nodes.iter().map(|node| node.needs.len()).collect();
        let order = topological(&dependents, open.clone())?;

        let mut path = vec![0.0_f64; count];
        for &id in order.iter().rev() {
            let weight = nodes[id].weight;
            let own = if weight.is_finite() && weight > 0.0 { weight } else { 0.0 };
            path[id] = own + dependents[id].iter().map(|&next| path[next]).fold(0.0, f64::max);
        }
        let mut preference: Vec<NodeId> = (0..count).collect();
        preference.sort_by(|&a, &b| {
            let name = |id: NodeId| (nodes[id].package, nodes[id].work, id);
            path[b].total_cmp(&path[a]).then_with(|| name(a).cmp(&name(b)))
        });
        let mut rank = vec![0; count];
        for (place, &id) in preference.iter().enumerate() {
            rank[id] = place;
        }

        // More places than nodes would never be taken, and a huge limit must not cost memory.
        let most = count.max(1);
        let (jobs, downloads) = (limits.jobs.clamp(1, most), limits.downloads.clamp(1, most));
        let mut schedule = Schedule {
            wanted: dependents.iter().map(Vec::len).collect(),
            state: vec![State::Waiting; count],
            slot: vec![0; count],
            jobs: Pool::new(0..jobs),
            downloads: Pool::new(jobs..jobs + downloads),
            running: 0,
            held: false,
            stopped: false,
            nodes,
            dependents,
            open,
            rank,
            keep_going,
        };
        for id in 0..count {
            if schedule.open[id] == 0 {
                schedule.make_ready(id);
            }
        }
        Ok(schedule)
    }

    /// The node to start now, if any; it counts as running from here on and has a slot.
    pub fn start_next(&mut self) -> Option<NodeId> {
        self.next_of(Work::Fetch).or_else(|| if self.held { None } else { self.next_of(Work::Build) })
    }

    fn next_of(&mut self, work: Work) -> Option<NodeId> {
        if self.stopped {
            return None;
        }
        let state = &self.state;
        let pool = if work == Work::Fetch { &mut self.downloads } else { &mut self.jobs };
        // Skipping leaves its node in the heap; here is where it goes.
        while pool.ready.peek().is_some_and(|Reverse((_, id))| state[*id] != State::Waiting) {
            pool.ready.pop();
        }
        if pool.ready.is_empty() {
            return None;
        }
        let slot = pool.free.pop_first()?;
        let Reverse((_, id)) = pool.ready.pop()?;
        self.state[id] = State::Running;
        self.slot[id] = slot;
        self.running += 1;
        Some(id)
    }

    /// The place that a node takes or took among those running at once: from 0 for jobs, downloads follow them.
    pub fn slot(&self, id: NodeId) -> usize {
        self.slot[id]
    }

    /// A running node ended. Gives the nodes that will not be tried because of it, in turn, in rising order;
    /// a second word on the same node changes nothing.
    pub fn finish(&mut self, id: NodeId, end: End) -> Vec<NodeId> {
        if self.state.get(id) != Some(&State::Running) {
            return Vec::new();
        }
        self.state[id] = State::Ended(end);
        self.running -= 1;
        let slot = self.slot[id];
        self.pool(id).free.insert(slot);
        match end {
            End::Done => {
                for next in self.dependents[id].clone() {
                    self.open[next] -= 1;
                    if self.open[next] == 0 && self.state[next] == State::Waiting {
                        self.make_ready(next);
                    }
                }
                Vec::new()
            }
            End::Failed => {
                self.stopped |= !self.keep_going;
                self.skip_dependents(id)
            }
            End::Cancelled => {
                self.stopped = true;
                Vec::new()
            }
        }
    }

    /// Skips what needs `failed`, in turn, and the fetching and preparing that nobody else wants.
    fn skip_dependents(&mut self, failed: NodeId) -> Vec<NodeId> {
        let mut skipped = Vec::new();
        let mut todo = self.dependents[failed].clone();
        while let Some(id) = todo.pop() {
            if self.state[id] != State::Waiting {
                continue;
            }
            self.state[id] = State::Skipped(failed);
            skipped.push(id);
            todo.extend(&self.dependents[id]);
            for &need in &self.nodes[id].needs {
                self.wanted[need] -= 1;
                if self.wanted[need] == 0 && self.nodes[need].work != Work::Build {
                    todo.push(need);
                }
            }
        }
        skipped.sort_unstable();
        skipped
    }

    /// With `true`, no `Prepare` or `Build` node starts until it is called with `false`; downloads go on.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Nothing new starts any more; what runs is for the executor to stop, and still to be finished here.
    pub fn cancel(&mut self) {
        self.stopped = true;
    }

    /// How many nodes run.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Where a node stands.
    pub fn state(&self, id: NodeId) -> State {
        self.state[id]
    }

    /// The node that was given as number `id`.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// Whether nothing runs and nothing more will start.
    pub fn is_over(&self) -> bool {
        let ready = |pool: &Pool| pool.ready.iter().any(|Reverse((_, id))| self.state[*id] == State::Waiting);
        self.running == 0 && (self.stopped || !(ready(&self.jobs) || ready(&self.downloads)))
    }

    fn make_ready(&mut self, id: NodeId) {
        let entry = Reverse((self.rank[id], id));
        self.pool(id).ready.push(entry);
    }

    fn pool(&mut self, id: NodeId) -> &mut Pool {
        if self.nodes[id].work == Work::Fetch { &mut self.downloads } else { &mut self.jobs }
    }
}

/// Nodes with every need before its dependents.
fn topological(dependents: &[Vec<NodeId>], mut open: Vec<usize>) -> Result<Vec<NodeId>> {
    let mut order: Vec<NodeId> = (0..open.len()).filter(|&id| open[id] == 0).collect();
    let mut at = 0;
    while let Some(&id) = order.get(at) {
        at += 1;
        for &next in &dependents[id] {
            open[next] -= 1;
            if open[next] == 0 {
                order.push(next);
            }
        }
    }
    if order.len() == open.len() {
        return Ok(order);
    }
    let stuck: Vec<String> =
        (0..open.len()).filter(|&id| open[id] > 0).take(8).map(|id| id.to_string()).collect();
    Err(Error::new(
        Kind::Internal,
        format!("the schedule has a cycle that holds up nodes {}", stuck.join(", ")),
    ))
}

/// What an executor tells the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A node that was started has ended.
    Ended(NodeId, End),
    /// Memory is short (`true`) or not any more (`false`).
    Hold(bool),
    /// The run is to stop. The executor stops what runs, and still tells the end of each.
    Cancel,
}

/// Does the work; the local one with processes, tests with a script.
pub trait Executor {
    /// Begins a node and returns at once.
    fn start(&mut self, node: NodeId, slot: usize);

    /// Blocks until there is something to tell. As long as the schedule is held it must end the hold some day,
    /// even when nothing runs.
    fn wait(&mut self) -> Wake;

    /// Hears which nodes will not be tried because `failed` did.
    fn skipped(&mut self, nodes: &[NodeId], failed: NodeId);
}

/// Runs the schedule to its end, on the calling thread.
pub fn drive(schedule: &mut Schedule, executor: &mut impl Executor) {
    loop {
        while let Some(id) = schedule.start_next() {
            executor.start(id, schedule.slot(id));
        }
        if schedule.is_over() {
            return;
        }
        match executor.wait() {
            Wake::Ended(id, end) => {
                let skipped = schedule.finish(id, end);
                if !skipped.is_empty() {
                    executor.skipped(&skipped, id);
                }
            }
            Wake::Hold(held) => schedule.hold(held),
            Wake::Cancel => schedule.cancel(),
        }
    }
}
