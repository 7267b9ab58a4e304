//! One peer that says anything at all. Peers are trusted: a leader that lies about what is committed is believed. But
//! what one of them says ends no other node, and never makes it take back what is committed.

mod paxos;

use std::{fmt::Debug, time::Duration};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use quorate_consensus::{
    BootTime, ClusterTime, Config, Effects, Engine, Entry, HardState, Index, Input, Membership, NodeId,
    Payload, PersistId, Priority, ProposalId, ReadId, Restored, SnapshotMeta, Term,
    engine::{RoleKind, SnapshotEffect},
    raft::{
        Raft,
        message::{Body, Message, Position, ReadPoint},
    },
};

/// Numbers near those of the node's log, and the greatest that its caller lets through.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0_u64..9, 1 => Just(1 << 60), 1 => Just(1 << 62)]
}

fn index() -> impl Strategy<Value = Index> {
    number().prop_map(Index)
}

fn term() -> impl Strategy<Value = Term> {
    prop_oneof![20 => (0_u64..7).prop_map(Term), 1 => Just(Term(1 << 60))]
}

fn stamp() -> impl Strategy<Value = ClusterTime> {
    number().prop_map(|number| ClusterTime { millis: 10 * (number % 9) + number / 9 })
}

fn position() -> impl Strategy<Value = Position> {
    (index(), term()).prop_map(|(index, term)| Position { index, term })
}

fn membership() -> impl Strategy<Value = Membership> {
    let voters = proptest::collection::btree_set((1_u64..5).prop_map(NodeId), 1..4);
    voters.prop_map(Membership::of_voters)
}

/// Entries that mostly follow each other, as the wire has them, with any terms and stamps.
fn entries(term: impl Strategy<Value = Term>) -> impl Strategy<Value = Vec<(Term, ClusterTime, Payload)>> {
    let payload = prop_oneof![
        4 => Just(Payload::Blank),
        4 => Just(Payload::Command(Bytes::from_static(b"c"))),
        1 => membership().prop_map(|one| Payload::Membership(Box::new(one))),
    ];
    vec((term, stamp(), payload), 0..4)
}

fn behind(base: Position, entries: Vec<(Term, ClusterTime, Payload)>) -> Vec<Entry> {
    let entry = |((term, stamp, payload), index)| Entry { index: Index(index), term, stamp, payload };
    entries.into_iter().zip(base.index.0 + 1..).map(entry).collect()
}

fn append() -> impl Strategy<Value = Body> {
    (position(), entries(term()), index(), stamp()).prop_map(|(base, entries, commit, stamp)| Body::Append {
        base,
        entries: behind(base, entries),
        commit,
        stamp,
    })
}

fn chunk() -> impl Strategy<Value = Body> {
    (position(), stamp(), membership(), number(), number(), 0_usize..3).prop_map(
        |(last, stamp, membership, bytes, offset, length)| {
            let membership = membership.into();
            let meta = SnapshotMeta { index: last.index, term: last.term, stamp, membership, bytes };
            Body::SnapshotChunk { meta, offset, data: Bytes::from_static(b"xyz").slice(..length) }
        },
    )
}

fn body() -> impl Strategy<Value = Body> {
    let point =
        proptest::option::of((index(), stamp()).prop_map(|(index, stamp)| ReadPoint { index, stamp }));
    let priority = || (0_u32..3).prop_map(Priority);
    prop_oneof![
        1 => position().prop_map(|last| Body::PreVote { last }),
        2 => any::<bool>().prop_map(|granted| Body::PreVoteAnswer { granted }),
        1 => (position(), any::<bool>()).prop_map(|(last, transfer)| Body::Vote { last, transfer }),
        2 => any::<bool>().prop_map(|granted| Body::VoteAnswer { granted }),
        8 => append(),
        2 => index().prop_map(|matched| Body::AppendAccepted { matched }),
        2 => (index(), position()).prop_map(|(base, hint)| Body::AppendRejected { base, hint }),
        2 => (index(), number(), stamp(), priority())
            .prop_map(|(commit, round, stamp, preferred)| Body::Heartbeat { commit, round, stamp, preferred }),
        2 => (number(), priority()).prop_map(|(round, priority)| Body::HeartbeatAnswer { round, priority }),
        1 => (index(), stamp()).prop_map(|(commit, stamp)| Body::Commit { commit, stamp }),
        1 => prop_oneof![Just(Body::Inquiry), Just(Body::Removed), Just(Body::Outdated)],
        1 => Just(Body::TimeoutNow),
        1 => (number(), number()).prop_map(|(origin, batch)| Body::Read { origin, batch }),
        1 => (number(), number(), point)
            .prop_map(|(origin, batch, point)| Body::ReadAnswer { origin, batch, point }),
        4 => chunk(),
        2 => (position(), number()).prop_map(|(last, end)| Body::SnapshotReceived { last, end }),
        1 => number().prop_map(|life| Body::RepairRequest { life }),
        1 => (number(), index()).prop_map(|(life, last)| Body::RepairPoint { life, last }),
    ]
}

/// What happens to the node next.
#[derive(Clone, Debug)]
enum Event<M> {
    Hears {
        from: u64,
        message: M,
    },
    /// Time passes, up to its deadline or so many milliseconds.
    Waits(u64),
    Proposes,
    Reads,
    Campaigns,
}

fn event<M: Clone + Debug>(hears: impl Strategy<Value = (u64, M)>) -> impl Strategy<Value = Event<M>> {
    prop_oneof![
        16 => hears.prop_map(|(from, message)| Event::Hears { from, message }),
        4 => (1_u64..2000).prop_map(Event::Waits),
        1 => Just(Event::Proposes),
        1 => Just(Event::Reads),
        1 => Just(Event::Campaigns),
    ]
}

/// A voter of three with four entries, two of them committed, and a disk that does at once what it is told.
struct Node<E> {
    engine: E,
    now: BootTime,
    calls: u64,
    /// What was handed out as committed: each once, in order, and for ever.
    committed: Index,
}

impl<E: Engine> Node<E> {
    /// All its entries are of `term`, and so is its promise.
    fn new(term: Term) -> Self {
        let entry = |index| Entry {
            index: Index(index),
            term,
            stamp: ClusterTime { millis: 10 * index },
            payload: Payload::Blank,
        };
        let restored = Restored {
            hard_state: HardState { term, vote: None, commit: Index(2) },
            birth: Membership::of_voters([1, 2, 3].map(NodeId)),
            entries: (1..=4).map(entry).collect(),
            ..Restored::default()
        };
        let now = BootTime { micros: 1_000_000 };
        let engine = E::new(Config::for_node(NodeId(1), 1), restored, now);
        let mut node = Self { engine, now, calls: 0, committed: Index(0) };
        node.settle();
        node
    }

    fn take(&mut self, event: Event<E::Message>) {
        self.calls += 1;
        let id = self.calls;
        let input = match event {
            Event::Hears { from, message } => Input::Message { from: NodeId(from), message },
            Event::Waits(millis) => {
                let deadline = self.engine.deadline().min(self.now.after(Duration::from_millis(millis)));
                self.now = self.now.max(deadline);
                Input::Deadline
            }
            Event::Proposes => Input::Propose { id: ProposalId(id), payload: Bytes::from_static(b"p") },
            Event::Campaigns => Input::Campaign,
            Event::Reads => Input::Read { id: ReadId(id) },
        };
        self.engine.step(self.now, input);
        self.settle();
    }

    /// Does what the engine wants, until it wants nothing more.
    fn settle(&mut self) {
        for _ in 0..20 {
            let Effects { persist, committed, snapshots, .. } = self.engine.drain(self.now);
            let done: Vec<PersistId> = persist.into_iter().map(|persist| persist.op).collect();
            if done.is_empty() && committed.is_empty() && snapshots.is_empty() {
                return;
            }
            done.into_iter().for_each(|op| self.engine.step(self.now, Input::Persisted { op }));
            for entry in committed {
                assert_eq!(entry.index, self.committed.next(), "committed out of order");
                self.committed = entry.index;
                self.engine.step(self.now, Input::Applied { index: entry.index });
            }
            snapshots.into_iter().for_each(|effect| self.keep(effect));
        }
        panic!("it does not come to rest");
    }

    fn keep(&mut self, effect: SnapshotEffect) {
        let input = match effect {
            SnapshotEffect::Load { to, .. } => Input::SnapshotMissing { to },
            SnapshotEffect::Store { meta, offset, data } => {
                Input::SnapshotStored { meta, end: offset + data.len() as u64 }
            }
            SnapshotEffect::Install { meta } => {
                self.committed = meta.index;
                Input::SnapshotInstalled { meta }
            }
        };
        self.engine.step(self.now, input);
    }
}

/// Neither its promise nor what is committed ever goes back.
fn check<E: Engine>(term: Term, events: Vec<Event<E::Message>>) {
    let mut node = Node::<E>::new(term);
    let mut before = node.engine.status(node.now);
    for event in events {
        node.take(event);
        let after = node.engine.status(node.now);
        assert!(after.role.term >= before.role.term && after.commit >= before.commit);
        assert!(after.last_index >= after.commit);
        before = after;
    }
}

fn message() -> impl Strategy<Value = Message> {
    (term(), body()).prop_map(|(term, body)| Message { term, body })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_peers_say_a_node_lives_and_takes_nothing_back(events in vec(event((2_u64..5, message())), 1..60)) {
        check::<Raft>(Term(2), events);
    }
}

fn says(from: u64, term: u64, body: Body) -> Event<Message> {
    Event::Hears { from, message: Message { term: Term(term), body } }
}

fn entry(index: u64, term: u64, millis: u64) -> Entry {
    Entry { index: Index(index), term: Term(term), stamp: ClusterTime { millis }, payload: Payload::Blank }
}

fn append_behind(base: (u64, u64), entries: Vec<Entry>) -> Body {
    let base = Position { index: Index(base.0), term: Term(base.1) };
    Body::Append { base, entries, commit: Index(0), stamp: ClusterTime::default() }
}

/// A second leader of one term once ended every node that heard it. A node that obeyed it after a restart, which makes it
/// forget the first, could have lost what that one counted on.
#[test]
fn a_second_leader_of_a_term_is_not_heard() {
    let mut node = Node::<Raft>::new(Term(2));
    node.take(says(2, 3, append_behind((4, 2), vec![entry(5, 3, 50)])));
    node.take(says(3, 3, append_behind((4, 2), vec![entry(5, 3, 50), entry(6, 3, 60)])));
    let status = node.engine.status(node.now);
    assert_eq!((status.role.leader, status.last_index), (Some(NodeId(2)), Index(5)));
    assert_eq!(status.role.kind, RoleKind::Follower);
}

/// Entries that turn back terms or time once ended the node; of an append only what is before them is taken, and acknowledged.
#[test]
fn entries_that_turn_back_terms_or_time_are_not_taken() {
    for wrong in [entry(6, 3, 40), entry(6, 2, 60)] {
        let mut node = Node::<Raft>::new(Term(2));
        node.take(says(2, 3, append_behind((4, 2), vec![entry(5, 3, 50)])));
        node.take(says(2, 3, append_behind((5, 3), vec![wrong])));
        assert_eq!(node.engine.status(node.now).last_index, Index(5));
    }
    // What is committed was left out, and the rest does not fit behind it.
    let mut node = Node::<Raft>::new(Term(2));
    node.take(says(2, 3, append_behind((0, 0), (1..=5).map(|index| entry(index, 1, 10 * index)).collect())));
    assert_eq!(node.engine.status(node.now).last_index, Index(4));
}

/// A snapshot of a term that has not begun once made a node that was elected with it end.
#[test]
fn a_snapshot_of_a_later_term_is_not_taken() {
    let mut node = Node::<Raft>::new(Term(2));
    let meta = SnapshotMeta {
        index: Index(9),
        term: Term(4),
        stamp: ClusterTime { millis: 90 },
        membership: Membership::of_voters([1, 2, 3].map(NodeId)).into(),
        bytes: 1,
    };
    node.take(says(2, 3, Body::SnapshotChunk { meta, offset: 0, data: Bytes::from_static(b"x") }));
    assert_eq!(node.engine.status(node.now).last_index, Index(4));
}
