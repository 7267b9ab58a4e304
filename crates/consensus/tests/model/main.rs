//! Bounded model checking of the Raft that ships: every order in which messages arrive, writes become durable, nodes
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

mod world;

use std::{
    collections::BTreeSet,
    panic::{self, AssertUnwindSafe},
};

use quorate_bug::Bug;
use quorate_consensus::{Entry, NodeId, Payload, Term, engine::RoleKind};
use stateright::{Checker as _, Expectation, Model, Property};
use world::{Left, Node, World};

/// What a plain run of the tests looks at.
const STATES: usize = 500_000;

/// What the model must notice, where the build can have it.
const NOTICED: [Bug; 4] = [Bug::AnyLogElected, Bug::TwoVotes, Bug::OwnAckEarly, Bug::AckInFlight];

/// What there is a bound for.
struct Bound {
    voters: u64,
    terms: u64,
    left: Left,
    /// The most messages on their way: whoever says more is not looked at, unless one of them is lost first.
    messages_max: usize,
    /// A defect of the engine.
    bug: Option<Bug>,
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

impl Bound {
    fn usual(bug: Option<Bug>) -> Self {
        let left = Left { proposals: 2, crashes: 1, repeats: 1, pauses: 1 };
        Self { voters: 3, terms: 2, left, messages_max: 4, bug }
    }

    /// What a node, and its disk, may do. Only n1 and n2 stand for election: a third candidate would bring little that
    /// is new.
    fn actions_of(&self, world: &World, id: NodeId, node: &Node, actions: &mut Vec<Action>) {
        if world.left.crashes > 0 {
            for kept in 0..=node.writes.len() {
                actions.push(Action::Crash { id, kept, torn: false });
                if kept < node.writes.len() {
                    actions.push(Action::Crash { id, kept, torn: true });
                }
            }
        }
        let (role, term) = node.role();
        if role != RoleKind::Leader && term.0 < self.terms && id.0 <= 2 {
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

impl Model for Bound {
    type State = World;
    type Action = Action;

    /// Nothing has happened; n1 and n2 both ask n3 for its vote; n1 leads; n1 has committed a proposal that n2 has not heard
    /// of; n2 leads, and n1 has two proposals that nobody has heard of.
    fn init_states(&self) -> Vec<World> {
        quorate_bug::plant(self.bug);
        let blank = World::new(self.voters, self.left);
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
        quorate_bug::plant(None);
        let mut all = vec![blank, rivals, led, behind, replaced];
        for world in &mut all {
            assert!(self.within_boundary(world), "a beginning that nobody would look at: {world:?}");
            world.seen.leaders_at_first = world.seen.leaders.len();
        }
        all
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
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

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
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

    fn within_boundary(&self, world: &World) -> bool {
        world.network.len() <= self.messages_max
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a term has one leader", |_, world: &World| {
                let terms: BTreeSet<Term> = world.seen.leaders.iter().map(|&(term, _)| term).collect();
                terms.len() == world.seen.leaders.len()
            }),
            Property::always("one entry is committed at a place", |_, world: &World| {
                world.seen.committed.values().all(|entries| entries.len() == 1)
            }),
            Property::always("what is committed is on a majority's disks", |_, world: &World| {
                committed(world).all(|entry| 2 * holders(world, entry) > world.nodes.len())
            }),
            Property::always("a leader has all that earlier terms committed", |_, world: &World| {
                leaders(world).all(|(id, term)| {
                    let log = world.nodes[&id].log();
                    committed(world).all(|entry| entry.term >= term || log.contains(entry))
                })
            }),
            Property::always("logs that have an entry in common are equal up to it", |_, world: &World| {
                let logs: Vec<Vec<Entry>> = world.nodes.values().map(|node| node.log()).collect();
                logs.iter().all(|one| logs.iter().all(|other| are_equal_up_to_common(one, other)))
            }),
            Property::sometimes("a leader is replaced", |_, world: &World| {
                world.seen.leaders.len() > world.seen.leaders_at_first.max(1)
            }),
            Property::sometimes("an entry is overwritten", |_, world: &World| world.seen.overwritten),
            Property::sometimes("two proposals are committed", |_, world: &World| {
                committed(world).filter(|entry| matches!(entry.payload, Payload::Command(_))).count() == 2
            }),
            Property::sometimes("a crash loses a write", |_, world: &World| world.seen.unsynced_lost),
            Property::sometimes("a message comes twice", |_, world: &World| world.left.repeats == 0),
        ]
    }
}

fn committed(world: &World) -> impl Iterator<Item = &Entry> {
    world.seen.committed.values().flatten()
}

fn leaders(world: &World) -> impl Iterator<Item = (NodeId, Term)> {
    let roles = world.nodes.iter().map(|(&id, node)| (id, node.role()));
    roles.filter(|&(_, (role, _))| role == RoleKind::Leader).map(|(id, (_, term))| (id, term))
}

fn holders(world: &World, entry: &Entry) -> usize {
    world.nodes.values().filter(|node| node.disk.entries.contains(entry)).count()
}

fn are_equal_up_to_common(one: &[Entry], other: &[Entry]) -> bool {
    let both: Vec<_> = one.iter().zip(other).collect();
    let common = both.iter().rposition(|(one, other)| (one.index, one.term) == (other.index, other.term));
    common.is_none_or(|last| both[..=last].iter().all(|(one, other)| one == other))
}

#[test]
fn no_order_of_events_breaks_a_promise() {
    let states = std::env::var("QUORATE_MODEL_STATES").ok();
    let states = states.map_or(STATES, |text| text.parse().expect("a number of states"));
    let checker =
        Bound::usual(None).checker().threads(threads()).target_state_count(states).spawn_bfs().join();
    println!(
        "{} states, {} of them unique, at most {} steps from the first",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
    assert!(checker.unique_state_count() > states / 8, "the bound leaves little to look at");
}

/// In a build without defects there is none to notice.
#[test]
fn defects_of_the_engine_are_noticed() {
    for bug in NOTICED.into_iter().filter(|&bug| Bug::all().any(|present| present == bug)) {
        let checker = Bound::usual(Some(bug)).checker().threads(threads()).target_state_count(STATES);
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
