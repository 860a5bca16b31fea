//! The scheduler with an executor that does nothing but keep a clock of its own.

#![allow(clippy::unwrap_used, reason = "clippy knows only the test functions themselves as tests")]

use mk::event::Work::{self, Build, Fetch, Prepare};
use mk::schedule::{End, Executor, Limits, Node, NodeId, Schedule, State, Wake, drive};

fn node(package: usize, work: Work, weight: f64, needs: &[NodeId]) -> Node {
    Node { package, work, weight, needs: needs.to_vec() }
}

fn limits(jobs: usize, downloads: usize) -> Limits {
    Limits { jobs, downloads }
}

/// Ends each node when its weight has passed; remembers all that it is told.
#[derive(Default)]
struct Fake {
    weights: Vec<f64>,
    works: Vec<Work>,
    fail: Vec<NodeId>,
    /// What to say in place of the n-th wait.
    say: Vec<(usize, Wake)>,
    waits: usize,
    now: f64,
    /// End, node, slot.
    running: Vec<(f64, NodeId, usize)>,
    cancelled: bool,
    /// In order, with the time.
    started: Vec<(NodeId, f64)>,
    skipped: Vec<(NodeId, Vec<NodeId>)>,
    most_jobs: usize,
    most_downloads: usize,
}

impl Fake {
    fn new(nodes: &[Node]) -> Fake {
        Fake {
            weights: nodes.iter().map(|n| n.weight).collect(),
            works: nodes.iter().map(|n| n.work).collect(),
            ..Fake::default()
        }
    }

    fn run(mut self, nodes: Vec<Node>, limits: Limits, keep_going: bool) -> (Fake, Schedule) {
        let mut schedule = Schedule::new(nodes, limits, keep_going).unwrap();
        drive(&mut schedule, &mut self);
        assert!(schedule.is_over());
        assert_eq!(schedule.running(), 0);
        (self, schedule)
    }

    fn order(&self) -> Vec<NodeId> {
        self.started.iter().map(|s| s.0).collect()
    }
}

impl Executor for Fake {
    fn start(&mut self, node: NodeId, slot: usize) {
        assert!(self.running.iter().all(|r| r.2 != slot), "slot {slot} is taken twice");
        self.started.push((node, self.now));
        self.running.push((self.now + self.weights[node], node, slot));
        let downloads = self.running.iter().filter(|r| self.works[r.1] == Fetch).count();
        self.most_downloads = self.most_downloads.max(downloads);
        self.most_jobs = self.most_jobs.max(self.running.len() - downloads);
    }

    fn wait(&mut self) -> Wake {
        self.waits += 1;
        if let Some(at) = self.say.iter().position(|(n, _)| *n == self.waits) {
            let wake = self.say.remove(at).1;
            self.cancelled |= wake == Wake::Cancel;
            return wake;
        }
        let first = (0..self.running.len())
            .min_by(|&a, &b| {
                let (a, b) = (self.running[a], self.running[b]);
                a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
            })
            .expect("waits with nothing running");
        let (end, id, _) = self.running.remove(first);
        if self.cancelled {
            return Wake::Ended(id, End::Cancelled);
        }
        self.now = end;
        Wake::Ended(id, if self.fail.contains(&id) { End::Failed } else { End::Done })
    }

    fn skipped(&mut self, nodes: &[NodeId], failed: NodeId) {
        self.skipped.push((failed, nodes.to_vec()));
    }
}

/// Fetch, prepare and build for each package (3 n, 3 n + 1, 3 n + 2); a build needs the builds of `needs`.
fn packages(list: &[(f64, &[usize])]) -> Vec<Node> {
    let mut nodes = Vec::new();
    for (package, (weight, needs)) in list.iter().enumerate() {
        let at = nodes.len();
        nodes.push(node(package, Fetch, 1.0, &[]));
        nodes.push(node(package, Prepare, 1.0, &[at]));
        let mut all = vec![at + 1];
        all.extend(needs.iter().map(|n| n * 3 + 2));
        nodes.push(node(package, Build, *weight, &all));
    }
    nodes
}

#[test]
fn the_longest_remaining_path_goes_first_and_names_break_ties() {
    // 0 is short, but 3 hangs on it for long; 1 and 2 are equal.
    let nodes = vec![
        node(3, Build, 1.0, &[]),
        node(2, Build, 5.0, &[]),
        node(1, Build, 5.0, &[]),
        node(0, Build, 9.0, &[0]),
    ];
    let (fake, _) = Fake::new(&nodes).run(nodes, limits(1, 1), false);
    assert_eq!(fake.order(), [0, 3, 2, 1]);
}

#[test]
fn limits_hold_for_jobs_and_for_downloads_each_alone_and_both_are_used_up() {
    let list: Vec<(f64, &[usize])> = (0..40_u8).map(|i| (2.0 + f64::from(i % 5), &[][..])).collect();
    let nodes = packages(&list);
    let (fake, schedule) = Fake::new(&nodes).run(nodes, limits(4, 3), false);
    assert_eq!((fake.most_jobs, fake.most_downloads), (4, 3));
    assert!((0..120).all(|id| schedule.state(id) == State::Ended(End::Done)));
}

#[test]
fn downloads_overlap_builds() {
    let nodes = packages(&[(10.0, &[]), (10.0, &[]), (10.0, &[])]);
    let (fake, _) = Fake::new(&nodes).run(nodes, limits(1, 1), false);
    // One fetch, then one job after the other without a gap.
    assert_eq!(fake.now, 1.0 + 3.0 * 11.0);
}

#[test]
fn a_node_starts_only_after_all_it_needs_even_if_a_need_is_named_twice() {
    let nodes = vec![node(0, Build, 3.0, &[]), node(1, Build, 1.0, &[]), node(2, Build, 1.0, &[0, 1, 0])];
    let (fake, _) = Fake::new(&nodes).run(nodes, limits(8, 8), false);
    assert_eq!(fake.started[2], (2, 3.0));
}

#[test]
fn after_a_failure_nothing_new_starts_and_what_runs_ends() {
    let nodes = vec![
        node(0, Build, 1.0, &[]),
        node(1, Build, 5.0, &[]),
        node(2, Build, 5.0, &[1]),
        node(3, Build, 0.5, &[0]),
        node(4, Build, 0.1, &[]),
    ];
    let mut fake = Fake::new(&nodes);
    fake.fail = vec![0];
    let (fake, schedule) = fake.run(nodes, limits(2, 1), false);
    assert_eq!(fake.order(), [1, 0]);
    assert_eq!(schedule.state(1), State::Ended(End::Done));
    assert_eq!(schedule.state(2), State::Waiting);
    assert_eq!(schedule.state(3), State::Skipped(0));
    assert_eq!(schedule.state(4), State::Waiting);
    assert_eq!(fake.skipped, [(0, vec![3])]);
}

#[test]
fn with_keep_going_all_that_does_not_depend_on_the_failure_is_built() {
    // 3 needs 1 and 2, 1 needs 0, 4 is alone; the build of 0 fails: 1 and 3 are skipped, 2 and 4 are built.
    let nodes = packages(&[(1.0, &[]), (1.0, &[0]), (1.0, &[]), (1.0, &[1, 2]), (1.0, &[])]);
    let mut fake = Fake::new(&nodes);
    fake.fail = vec![2];
    let (fake, schedule) = fake.run(nodes, limits(1, 1), true);
    for built in [8, 14] {
        assert_eq!(schedule.state(built), State::Ended(End::Done));
    }
    for skipped in [5, 11] {
        assert_eq!(schedule.state(skipped), State::Skipped(2));
    }
    assert_eq!(fake.skipped.len(), 1);
}

#[test]
fn a_source_that_nobody_wants_any_more_is_not_fetched_but_a_package_is_built_for_its_own_sake() {
    let nodes = vec![
        node(0, Build, 9.0, &[]),
        node(1, Fetch, 1.0, &[]),
        node(1, Prepare, 1.0, &[1]),
        node(2, Build, 1.0, &[]),
        node(1, Build, 1.0, &[0, 2, 3]),
        node(3, Fetch, 50.0, &[]),
    ];
    let mut schedule = Schedule::new(nodes, limits(1, 1), true).unwrap();
    assert_eq!(schedule.start_next(), Some(5));
    assert_eq!(schedule.start_next(), Some(0));
    assert_eq!(schedule.finish(0, End::Failed), [1, 2, 4]);
    assert_eq!(schedule.start_next(), Some(3));
    schedule.finish(5, End::Done);
    assert_eq!(schedule.start_next(), None);
    assert!(!schedule.is_over());
    schedule.finish(3, End::Done);
    assert!(schedule.is_over());
}

#[test]
fn what_two_failures_share_is_skipped_once_because_of_the_first() {
    let nodes = vec![
        node(0, Build, 1.0, &[]),
        node(1, Build, 2.0, &[]),
        node(2, Build, 1.0, &[0, 1]),
        node(3, Build, 1.0, &[1]),
    ];
    let mut fake = Fake::new(&nodes);
    fake.fail = vec![0, 1];
    let (fake, _) = fake.run(nodes, limits(2, 1), true);
    assert_eq!(fake.skipped, [(0, vec![2]), (1, vec![3])]);
}

#[test]
fn cancelling_starts_nothing_new_and_waits_for_what_runs() {
    let nodes = packages(&[(5.0, &[]), (5.0, &[]), (5.0, &[0, 1])]);
    let mut fake = Fake::new(&nodes);
    fake.say = vec![(3, Wake::Cancel)];
    let (fake, schedule) = fake.run(nodes, limits(2, 2), true);
    let cancelled = (0..9).filter(|&id| schedule.state(id) == State::Ended(End::Cancelled)).count();
    assert_eq!(cancelled, fake.started.len() - 2, "all but the two that had ended by then");
    assert!(fake.skipped.is_empty());
    assert_eq!(schedule.state(8), State::Waiting);
}

#[test]
fn while_held_downloads_go_on_but_no_build_starts() {
    let nodes = vec![
        node(0, Build, 5.0, &[]),
        node(1, Build, 1.0, &[0]),
        node(2, Build, 0.5, &[]),
        node(3, Fetch, 1.0, &[]),
    ];
    let mut schedule = Schedule::new(nodes, limits(1, 1), false).unwrap();
    schedule.hold(true);
    assert_eq!(schedule.start_next(), Some(3));
    assert_eq!(schedule.start_next(), None);
    schedule.finish(3, End::Done);
    assert!(!schedule.is_over(), "held is not over");
    schedule.hold(false);
    assert_eq!(schedule.start_next(), Some(0));
    schedule.hold(true);
    schedule.finish(0, End::Done);
    assert_eq!(schedule.start_next(), None);
    schedule.hold(false);
    assert_eq!(schedule.start_next(), Some(1));
}

#[test]
fn a_hold_that_ends_lets_the_loop_go_on() {
    let nodes = vec![node(0, Build, 1.0, &[]), node(1, Build, 1.0, &[0])];
    let mut fake = Fake::new(&nodes);
    fake.say = vec![(1, Wake::Hold(true)), (3, Wake::Hold(false))];
    let (fake, _) = fake.run(nodes, limits(1, 1), false);
    assert_eq!(fake.order(), [0, 1]);
}

#[test]
fn the_end_of_a_node_that_does_not_run_changes_nothing() {
    let nodes = vec![node(0, Build, 1.0, &[]), node(1, Build, 1.0, &[0])];
    let mut schedule = Schedule::new(nodes, limits(1, 1), false).unwrap();
    assert!(schedule.finish(1, End::Failed).is_empty());
    assert!(schedule.finish(77, End::Done).is_empty());
    assert_eq!(schedule.start_next(), Some(0));
    schedule.finish(0, End::Done);
    schedule.finish(0, End::Failed);
    assert_eq!(schedule.start_next(), Some(1));
}

#[test]
fn cycles_and_missing_needs_are_errors() {
    let cycle = vec![node(0, Build, 1.0, &[2]), node(1, Build, 1.0, &[0]), node(2, Build, 1.0, &[1])];
    let error = Schedule::new(cycle, limits(1, 1), false).unwrap_err();
    assert!(error.message.contains("nodes 0, 1, 2"), "{error}");
    assert!(Schedule::new(vec![node(0, Build, 1.0, &[9])], limits(1, 1), false).is_err());
    assert!(Schedule::new(vec![node(0, Build, 1.0, &[0])], limits(1, 1), false).is_err());
}

#[test]
fn an_empty_schedule_is_over_and_senseless_limits_and_weights_do_no_harm() {
    assert!(Schedule::new(Vec::new(), limits(0, 0), false).unwrap().is_over());
    let nodes = vec![
        node(0, Build, f64::NAN, &[]),
        node(1, Build, f64::INFINITY, &[]),
        node(2, Build, -5.0, &[]),
        node(3, Fetch, 0.0, &[]),
    ];
    let mut schedule = Schedule::new(nodes, limits(0, usize::MAX), false).unwrap();
    let mut order = Vec::new();
    while let Some(id) = schedule.start_next() {
        order.push(id);
        schedule.finish(id, End::Done);
    }
    assert_eq!(order, [3, 0, 1, 2]);
}

#[test]
fn ten_thousand_nodes_always_come_in_the_same_order() {
    let make = || -> Vec<Node> {
        (0..10_000_usize)
            .map(|i| {
                let needs: Vec<NodeId> =
                    if i < 10 { Vec::new() } else { vec![i / 2, i - 7, (i * 31) % (i - 5)] };
                node(i, if i % 3 == 0 { Fetch } else { Build }, ((i * 7919) % 100) as f64, &needs)
            })
            .collect()
    };
    let (a, _) = Fake::new(&make()).run(make(), limits(16, 4), false);
    let (b, _) = Fake::new(&make()).run(make(), limits(16, 4), false);
    assert_eq!(a.started.len(), 10_000);
    assert_eq!(a.started, b.started);
}
