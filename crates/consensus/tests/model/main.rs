//! Bounded model checking of the engines that ship: every order in which messages arrive, writes become durable, nodes
//! crash and stand for election, within a bound.
//!
//! * Time stands still but for pauses, in which all that a node waits for runs out; and an election begins whenever it may,
//!   by an input. Leases, members and snapshots are left to the golden scripts and the simulator, and so is commitment by
//!   counting (figure 8), which needs more than two terms.
//! * The network has no order. What is never delivered was lost; what was delivered may come again.
//! * It goes breadth first, from the beginning and from some places where it gets interesting: all that can happen within so
//!   many steps of each is looked at.
//! * "Sometimes" properties prove that what should be looked at was reached.
//! * In the build of `cargo xtask sim --seeded-bugs` some defects of the engine must break an "always" property.
//!
//! `QUORATE_MODEL_STATES` is how many states are looked at, counted each time one is reached; `cargo xtask model` sets it.

#[path = "../told.rs"]
mod told;
mod world;

use std::{
    collections::BTreeSet,
    marker::PhantomData,
    panic::{self, AssertUnwindSafe},
};

use quorate_bug::Bug;
use quorate_consensus::{
    Entry, Membership, NodeId, Payload, Term, engine::RoleKind, paxos::Paxos, raft::Raft,
};
use stateright::{Checker as _, Expectation, Model, Property};
use world::{Left, Node, Subject, World};

/// What a plain run of the tests looks at.
const STATES: usize = 500_000;

/// What the model must notice, where the build can have it.
const NOTICED: [Bug; 4] = [Bug::AnyLogElected, Bug::TwoVotes, Bug::OwnAckEarly, Bug::AckInFlight];

/// What there is a bound for.
struct Bound<E> {
    birth: Membership,
    terms: u64,
    left: Left,
    /// The most messages on their way: whoever says more is not looked at, unless one of them is lost first.
    messages_max: usize,
    /// A defect of the engine.
    bug: Option<Bug>,
    engine: PhantomData<E>,
}

/// What can happen next. Messages are named by their keys in [`World::network`].
#[derive(Clone, Debug, PartialEq)]
enum Action {
    Campaign(NodeId),
    Propose(NodeId),
    Deliver(u64),
    /// A message arrives, and will again.
    Repeat(u64),
    Lose(u64),
    Persist(NodeId),
    Pause(NodeId),
    Crash {
        id: NodeId,
        kept: usize,
        torn: bool,
    },
}

impl<E: Subject> Bound<E> {
    fn usual(bug: Option<Bug>) -> Self {
        let left = Left { proposals: 2, crashes: 1, repeats: 1, pauses: 1 };
        let (terms, messages_max) = if E::TEACHES { (3, 5) } else { (2, 4) };
        let birth = Membership::of_voters((1..=3).map(NodeId));
        Self { birth, terms, left, messages_max, bug, engine: PhantomData }
    }

    /// The same, with so many of three voters that commit.
    fn with_phase2_quorum(self, phase2: u8) -> Self {
        let birth = self.birth.with_phase2_quorum(phase2, true).expect("one of three sizes");
        Self { birth, ..self }
    }

    /// What a node, and its disk, may do. Only n1 and n2 stand for election: a third candidate would bring little that
    /// is new.
    fn actions_of(&self, world: &World<E>, id: NodeId, node: &Node<E>, actions: &mut Vec<Action>) {
        if world.left.crashes > 0 {
            for kept in 0..=node.writes.len() {
                actions.push(Action::Crash { id, kept, torn: false });
                if kept < node.writes.len() {
                    actions.push(Action::Crash { id, kept, torn: true });
                }
            }
        }
        let (role, term) = node.role();
        if role != RoleKind::Leader && E::elections(term) < self.terms && id.0 <= 2 {
            actions.push(Action::Campaign(id));
        }
        if role == RoleKind::Leader && world.left.proposals > 0 {
            actions.push(Action::Propose(id));
        }
        if !node.writes.is_empty() {
            actions.push(Action::Persist(id));
        }
        if world.left.pauses > 0 {
            actions.push(Action::Pause(id));
        }
    }
}

impl<E: Subject> Model for Bound<E> {
    type State = World<E>;
    type Action = Action;

    /// Nothing has happened; n1 and n2 both ask n3 for its vote; n1 leads; n1 has committed a proposal that n2 has not heard
    /// of; n2 leads, and n1 has two proposals that nobody has heard of. Where candidates are taught, some of that has gone on.
    fn init_states(&self) -> Vec<World<E>> {
        quorate_bug::plant(self.bug);
        let blank = World::new(self.birth.clone(), self.left);
        let [n1, n2, n3] = [1, 2, 3].map(NodeId);
        let mut rivals = blank.clone();
        for id in [n1, n2] {
            rivals.campaign(id);
            rivals.persist(id);
        }
        rivals.network.retain(|_, envelope| envelope.1 == n3);

        let mut led = blank.clone();
        led.campaign(n1);
        led.come_to_rest(None);
        let mut behind = led.clone();
        behind.propose(n1);
        behind.come_to_rest(Some(n2));
        let mut replaced = led.clone();
        replaced.propose(n1);
        replaced.propose(n1);
        replaced.persist(n1);
        replaced.network.clear();
        for id in [n2, n3] {
            replaced.pause(id);
        }
        replaced.campaign(n2);
        replaced.come_to_rest(Some(n1));
        let mut all = if E::TEACHES {
            vec![rivals, learner(&behind), usurper(&replaced), behind]
        } else {
            vec![blank, rivals, led, behind, replaced]
        };
        quorate_bug::plant(None);
        for world in &mut all {
            assert!(self.within_boundary(world), "a beginning that nobody would look at: {world:?}");
            world.seen.leaders_at_first = world.seen.leaders.len();
        }
        all
    }

    fn actions(&self, world: &World<E>, actions: &mut Vec<Action>) {
        let messages = || world.network.keys().copied();
        if world.network.len() + 2 > self.messages_max {
            actions.extend(messages().map(Action::Lose));
        }
        if world.left.repeats > 0 {
            actions.extend(messages().map(Action::Repeat));
        }
        for (&id, node) in &world.nodes {
            self.actions_of(world, id, node, actions);
        }
        actions.extend(messages().map(Action::Deliver));
    }

    fn next_state(&self, world: &World<E>, action: Action) -> Option<World<E>> {
        quorate_bug::plant(self.bug);
        let mut next = world.clone();
        match action {
            Action::Campaign(id) => next.campaign(id),
            Action::Propose(id) => next.propose(id),
            Action::Deliver(message) => {
                let envelope = next.network.remove(&message)?;
                next.deliver(&envelope);
            }
            Action::Repeat(message) => {
                next.left.repeats -= 1;
                let envelope = next.network.get(&message)?.clone();
                next.deliver(&envelope);
            }
            Action::Lose(message) => drop(next.network.remove(&message)),
            Action::Persist(id) => next.persist(id),
            Action::Pause(id) => {
                next.left.pauses -= 1;
                next.pause(id);
            }
            Action::Crash { id, kept, torn } => next.crash(id, kept, torn),
        }
        Some(next)
    }

    fn within_boundary(&self, world: &World<E>) -> bool {
        world.network.len() <= self.messages_max
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always("a term has one leader", |_, world: &World<E>| {
                let terms: BTreeSet<Term> = world.seen.leaders.iter().map(|&(term, _)| term).collect();
                terms.len() == world.seen.leaders.len()
            }),
            Property::always("one entry is committed at a place", |_, world: &World<E>| {
                world.seen.committed.values().all(|entries| entries.len() == 1)
            }),
            Property::always("what is committed is on the disks of a quorum", |_, world: &World<E>| {
                committed(world).all(|entry| {
                    world.birth.has_commit_quorum(|voter| world.nodes[&voter].disk.entries.contains(entry))
                })
            }),
            Property::always("a leader has all that earlier terms committed", |_, world: &World<E>| {
                leaders(world).all(|(id, term)| {
                    let log = world.nodes[&id].log();
                    committed(world).all(|entry| entry.term >= term || log.contains(entry))
                })
            }),
            Property::always(
                "logs that have an entry in common are equal up to it",
                |_, world: &World<E>| {
                    let logs: Vec<Vec<Entry>> = world.nodes.values().map(|node| node.log()).collect();
                    logs.iter().all(|one| logs.iter().all(|other| are_equal_up_to_common(one, other)))
                },
            ),
            Property::always("what is told is on the disk", |_, world: &World<E>| !world.seen.told_early),
            Property::always("promises only grow", |_, world: &World<E>| !world.seen.promise_fell),
            Property::sometimes("a leader is replaced", |_, world: &World<E>| {
                world.seen.leaders.len() > world.seen.leaders_at_first.max(1)
            }),
            Property::sometimes("proposals are committed", |_, world: &World<E>| {
                // Where all must accept, a second one takes more steps than are looked at.
                let all_commit = !world.birth.has_commit_quorum(|voter| voter != NodeId(1));
                let count =
                    committed(world).filter(|entry| matches!(entry.payload, Payload::Command(_))).count();
                count == if all_commit { 1 } else { 2 }
            }),
            Property::sometimes("a crash loses a write", |_, world: &World<E>| world.seen.unsynced_lost),
            Property::sometimes("a message comes twice", |_, world: &World<E>| world.left.repeats == 0),
        ];
        // Where one commits alone, all must elect, and whatever is on any disk is adopted.
        let one_commits = self.birth.has_commit_quorum(|voter| voter == NodeId(1));
        all.push(match one_commits {
            true => {
                Property::always("no entry is overwritten", |_, world: &World<E>| !world.seen.overwritten)
            }
            false => {
                Property::sometimes("an entry is overwritten", |_, world: &World<E>| world.seen.overwritten)
            }
        });
        // Nor does who is elected by itself learn from anybody: what is chosen is everywhere.
        if E::TEACHES && !self.birth.has_election_quorum(|voter| voter == NodeId(1)) {
            all.push(Property::sometimes("a candidate is taught", |_, world: &World<E>| world.seen.taught));
        }
        all
    }
}

/// n1 has committed a proposal that n2 has not heard of. n2 stands, and n3's promise is on its way, with that of n1, which has
/// crashed, if it needs both.
fn learner<E: Subject>(behind: &World<E>) -> World<E> {
    let [n1, n2, n3] = [1, 2, 3].map(NodeId);
    let mut world = behind.clone();
    world.network.clear();
    let needs_all = !world.birth.has_election_quorum(|voter| voter != n1);
    let acceptors = if needs_all { vec![n1, n3] } else { vec![n3] };
    if needs_all {
        world.crash(n1, 0, false);
    }
    world.pause(n3);
    world.campaign(n2);
    world.persist(n2);
    promised_by(&mut world, &acceptors);
    world
}

/// n2 leads, and has committed. n1, which has two proposals of its own that nobody has heard of, stands again, and n3's promise
/// is on its way.
fn usurper<E: Subject>(replaced: &World<E>) -> World<E> {
    let [n1, n2, n3] = [1, 2, 3].map(NodeId);
    let mut world = replaced.clone();
    world.network.clear();
    world.pause(n1);
    world.pause(n3);
    // First it learns that it leads no more, and then how far ballots have got.
    for _ in 0..2 {
        world.campaign(n1);
        world.come_to_rest(Some(n2));
        world.network.clear();
    }
    world.campaign(n1);
    world.persist(n1);
    promised_by(&mut world, &[n3]);
    world
}

/// What is on its way to `acceptors` arrives, and nothing else does; their promises are durable.
fn promised_by<E: Subject>(world: &mut World<E>, acceptors: &[NodeId]) {
    world.network.retain(|_, envelope| acceptors.contains(&envelope.1));
    while let Some((_, envelope)) = world.network.pop_first() {
        world.deliver(&envelope);
    }
    acceptors.iter().for_each(|&acceptor| world.persist(acceptor));
}

fn committed<E: Subject>(world: &World<E>) -> impl Iterator<Item = &Entry> {
    world.seen.committed.values().flatten()
}

fn leaders<E: Subject>(world: &World<E>) -> impl Iterator<Item = (NodeId, Term)> {
    let roles = world.nodes.iter().map(|(&id, node)| (id, node.role()));
    roles.filter(|&(_, (role, _))| role == RoleKind::Leader).map(|(id, (_, term))| (id, term))
}

fn are_equal_up_to_common(one: &[Entry], other: &[Entry]) -> bool {
    let both: Vec<_> = one.iter().zip(other).collect();
    let common = both.iter().rposition(|(one, other)| (one.index, one.term) == (other.index, other.term));
    common.is_none_or(|last| both[..=last].iter().all(|(one, other)| one == other))
}

/// All that the bound allows, up to so many states.
fn check<E: Subject>(bound: Bound<E>)
where
    E::Message: Sync,
{
    let states = std::env::var("QUORATE_MODEL_STATES").ok();
    let states = states.map_or(STATES, |text| text.parse().expect("a number of states"));
    let checker = bound.checker().threads(threads()).target_state_count(states).spawn_bfs().join();
    println!(
        "{} states, {} of them unique, at most {} steps from the first",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
    assert!(checker.unique_state_count() > states / 8, "the bound leaves little to look at");
}

#[test]
fn no_order_of_events_breaks_a_promise() {
    check(Bound::<Raft>::usual(None));
}

/// The same, with candidates whose logs lack what is chosen.
#[test]
fn no_order_of_events_breaks_a_promise_of_paxos() {
    check(Bound::<Paxos>::usual(None));
}

/// The same, where one disk commits and all must elect, and the other way round: there a candidate's own promise is enough, and
/// two of them need not meet.
#[test]
fn no_order_of_events_breaks_a_promise_of_flexible_quorums() {
    for phase2 in [1, 3] {
        check(Bound::<Paxos>::usual(None).with_phase2_quorum(phase2));
    }
}

/// In a build without defects there is none to notice.
#[test]
fn defects_of_the_engine_are_noticed() {
    for bug in NOTICED.into_iter().filter(|&bug| Bug::all().any(|present| present == bug)) {
        let checker = Bound::<Raft>::usual(Some(bug)).checker().threads(threads()).target_state_count(STATES);
        let broken = panic::catch_unwind(AssertUnwindSafe(|| {
            let checker = checker.spawn_bfs().join();
            let properties = checker.model().properties();
            let always = properties.into_iter().filter(|one| one.expectation == Expectation::Always);
            always.map(|one| one.name).filter(|name| checker.discovery(name).is_some()).collect()
        }));
        let broken: Vec<&str> = broken.unwrap_or_else(|_| vec!["the engine's own assertions"]);
        assert!(!broken.is_empty(), "{} is not noticed", bug.name());
        println!("{:<22} {}", bug.name(), broken.join("; "));
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
