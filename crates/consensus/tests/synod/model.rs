//! All that can happen among three acceptors and two proposers with a ballot each: not within so many steps, but to the end.
//!
//! * A message that was sent stays: it may arrive at any time, again and again, or never. So loss, repetition and reordering
//!   need no actions of their own.
//! * A process crashes after its write and before its messages leave, which is the worst moment: what it has written is
//!   there, and what it would have said is not. A proposer also loses all that it had in mind.
//! * With a ballot each, an acceptor never has two to report; that the highest is adopted is left to `steps`.
//! * Learners are not in it, since what is chosen follows from what was accepted.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_consensus::{
    Membership, NodeId,
    paxos::{
        Ballot,
        synod::{Acceptance, Acceptor, Effects, Message, Proposer, Value, acceptor::Memory},
    },
};
use stateright::{Checker as _, Model, Property};

const ACCEPTORS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

/// What there is a bound for.
struct Bound {
    /// How many ballots each proposer has.
    ballots: Vec<(NodeId, u64)>,
    /// How many crashes happen.
    crashes: u8,
}

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    acceptors: BTreeMap<NodeId, Acceptor>,
    proposers: BTreeMap<NodeId, Proposer>,
    /// All that was ever sent: from whom, to whom, what.
    sent: BTreeSet<(NodeId, NodeId, Message)>,
    crashes: u8,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Wake(NodeId),
    Deliver(NodeId, NodeId, Message),
    /// The same, but what it would have been answered is lost, with all that is not on a disk.
    DeliverAndCrash(NodeId, NodeId, Message),
}

fn acceptors() -> Membership {
    Membership::of_voters(ACCEPTORS)
}

fn own_value(proposer: NodeId) -> Value {
    Bytes::from(format!("of {proposer}"))
}

fn proposer(node: NodeId, round: u64) -> Proposer {
    Proposer::new(node, acceptors(), own_value(node), round, 0)
}

impl State {
    fn say<W>(&mut self, from: NodeId, effects: Effects<W>, is_heard: bool) {
        if is_heard {
            self.sent.extend(effects.messages.into_iter().map(|(to, message)| (from, to, message)));
        }
    }

    /// Delivers a message; what comes of it is heard unless the receiver crashes.
    fn deliver(&mut self, from: NodeId, to: NodeId, message: Message, is_heard: bool) {
        match message {
            Message::Prepare { .. } | Message::Accept(_) => {
                let acceptor = self.acceptors.get_mut(&to).expect("an acceptor");
                let effects = acceptor.receive(from, message);
                if !is_heard {
                    let memory = effects.write.clone().unwrap_or_else(|| acceptor.memory().clone());
                    *acceptor = Acceptor::new(memory, [to]);
                }
                self.say(to, effects, is_heard);
            }
            Message::Promise { .. } | Message::Refused { .. } => {
                let one = self.proposers.get_mut(&to).expect("a proposer");
                let effects = one.receive(one.deadline(), from, message);
                if !is_heard {
                    *one = proposer(to, one.ballot().round);
                }
                self.say(to, effects, is_heard);
            }
            Message::Accepted(_) => {}
        }
    }

    /// What was accepted, by whom: as told, and as kept by those who never told.
    fn acceptances(&self) -> BTreeMap<&Acceptance, BTreeSet<NodeId>> {
        let told = self.sent.iter().filter_map(|(from, _, message)| match message {
            Message::Accepted(acceptance) => Some((acceptance, *from)),
            Message::Prepare { .. }
            | Message::Promise { .. }
            | Message::Accept(_)
            | Message::Refused { .. } => None,
        });
        let kept = self.acceptors.iter().filter_map(|(&id, one)| Some((one.memory().accepted.as_ref()?, id)));
        let mut all = BTreeMap::<_, BTreeSet<_>>::new();
        for (acceptance, acceptor) in told.chain(kept) {
            all.entry(acceptance).or_default().insert(acceptor);
        }
        all
    }

    /// The values that a quorum has accepted in one ballot.
    fn chosen(&self) -> BTreeSet<&Value> {
        let all = self.acceptances().into_iter();
        all.filter(|(_, by)| acceptors().has_quorum(|id| by.contains(&id)))
            .map(|(one, _)| &one.value)
            .collect()
    }

    /// The ballots that carry a value.
    fn asked(&self) -> impl Iterator<Item = &Acceptance> {
        self.sent.iter().filter_map(|(_, _, message)| match message {
            Message::Accept(acceptance) => Some(acceptance),
            Message::Prepare { .. }
            | Message::Promise { .. }
            | Message::Accepted(_)
            | Message::Refused { .. } => None,
        })
    }
}

impl Model for Bound {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            acceptors: ACCEPTORS.map(|id| (id, Acceptor::new(Memory::NEW, [id]))).into(),
            proposers: self.ballots.iter().map(|&(id, _)| (id, proposer(id, 0))).collect(),
            sent: BTreeSet::new(),
            crashes: self.crashes,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for &(id, ballots) in &self.ballots {
            if state.proposers[&id].ballot().round < ballots {
                actions.push(Action::Wake(id));
            }
        }
        for (from, to, message) in &state.sent {
            actions.push(Action::Deliver(*from, *to, message.clone()));
            if state.crashes > 0 {
                actions.push(Action::DeliverAndCrash(*from, *to, message.clone()));
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Wake(id) => {
                let one = next.proposers.get_mut(&id)?;
                let effects = one.wake(one.deadline());
                next.say(id, effects, true);
            }
            Action::Deliver(from, to, message) => next.deliver(from, to, message, true),
            Action::DeliverAndCrash(from, to, message) => {
                next.crashes -= 1;
                next.deliver(from, to, message, false);
            }
        }
        (next != *state).then_some(next)
    }

    /// A refusal may send a proposer's next ballot beyond its bound.
    fn within_boundary(&self, state: &State) -> bool {
        self.ballots.iter().all(|(id, ballots)| state.proposers[id].ballot().round <= *ballots)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one value is chosen at most", |_, state: &State| state.chosen().len() <= 1),
            Property::always("a ballot carries one value", |_, state: &State| {
                let asked: BTreeSet<&Acceptance> = state.asked().collect();
                let ballots: BTreeSet<Ballot> = asked.iter().map(|one| one.ballot).collect();
                asked.len() == ballots.len()
            }),
            Property::always("only what was proposed is chosen", |bound: &Self, state: &State| {
                let own: Vec<Value> = bound.ballots.iter().map(|&(id, _)| own_value(id)).collect();
                state.chosen().into_iter().all(|value| own.contains(value))
            }),
            Property::sometimes("the first proposer's value is chosen", |bound: &Self, state: &State| {
                state.chosen().contains(&own_value(bound.ballots[0].0))
            }),
            Property::sometimes("the second proposer's value is chosen", |bound: &Self, state: &State| {
                state.chosen().contains(&own_value(bound.ballots[1].0))
            }),
            Property::sometimes("a proposer adopts another's value", |_, state: &State| {
                state.asked().any(|one| one.value != own_value(one.ballot.node))
            }),
            Property::sometimes("an acceptor changes its mind", |_, state: &State| {
                let all = state.acceptances();
                let values =
                    |id| all.iter().filter(move |(_, by)| by.contains(id)).map(|(one, _)| &one.value);
                ACCEPTORS.iter().any(|id| values(id).collect::<BTreeSet<_>>().len() > 1)
            }),
        ]
    }
}

/// Checks all states; answers how many there are.
fn explore(ballots: &[(NodeId, u64)], crashes: u8) -> usize {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let bound = Bound { ballots: ballots.to_vec(), crashes };
    let checker = bound.checker().threads(threads).spawn_bfs().join();
    checker.assert_properties();
    let (unique, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{ballots:?}, {crashes} crashes: {unique} states, at most {depth} steps from the first");
    unique
}

/// `cargo xtask model`, which sets the variable, has time for a crash.
#[test]
fn no_order_of_events_has_two_values_chosen() {
    let crashes = u8::from(std::env::var_os("QUORATE_MODEL_STATES").is_some());
    let states = explore(&[(NodeId(4), 1), (NodeId(5), 1)], crashes);
    assert!(states > 10_000, "{states} states are not all");
}
