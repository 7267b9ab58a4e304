//! The same of the other engine, whose ballots name their owners.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use quorate_consensus::{
    ClusterTime, Engine as _, Entry, Index, NodeId, Position, Priority, SnapshotMeta, Term,
    engine::RoleKind,
    paxos::{
        Ballot, Paxos,
        message::{Body, Message, ReadPoint},
    },
};

use super::{Event, Node, behind, check, entries, entry, event, index, membership, number, stamp};

/// Ballots near that of the node, and the greatest that there is; and what is none.
fn ballot() -> impl Strategy<Value = Ballot> {
    let usual = (0_u64..7, 0_u64..5).prop_map(|(round, node)| Ballot { round, node: NodeId(node) });
    let greatest = Ballot { round: Ballot::ROUND_MAX, node: NodeId(2) };
    prop_oneof![20 => usual, 1 => Just(greatest), 1 => Just(Ballot { round: u64::MAX, ..greatest })]
}

fn term() -> impl Strategy<Value = Term> {
    ballot().prop_map(|ballot| if ballot.is_sound() { ballot.term() } else { Term(0) })
}

fn position() -> impl Strategy<Value = Position> {
    (index(), term()).prop_map(|(index, term)| Position { index, term })
}

fn accept() -> impl Strategy<Value = Body> {
    (position(), entries(term()), index(), stamp()).prop_map(|(base, entries, commit, stamp)| Body::Accept {
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

fn answer() -> impl Strategy<Value = Body> {
    let answer =
        (number(), 0_u64..4, any::<bool>(), any::<Option<bool>>(), 0_u32..3, position(), any::<bool>());
    answer.prop_map(|(origin, round, led, connected, priority, last, ahead)| Body::PollAnswer {
        origin,
        round,
        led,
        connected,
        priority: Priority(priority),
        last,
        ahead,
    })
}

fn body() -> impl Strategy<Value = Body> {
    let point =
        proptest::option::of((index(), stamp()).prop_map(|(index, stamp)| ReadPoint { index, stamp }));
    let priority = || (0_u32..3).prop_map(Priority);
    prop_oneof![
        1 => (number(), number(), priority(), position())
            .prop_map(|(origin, round, priority, last)| Body::Poll { origin, round, priority, last }),
        2 => answer(),
        3 => any::<(bool, bool)>().prop_map(|(ordered, promised)| Body::Prepare { ordered, promised }),
        4 => position().prop_map(|last| Body::Promise { last }),
        2 => position().prop_map(|last| Body::Teach { last }),
        8 => accept(),
        2 => index().prop_map(|matched| Body::Accepted { matched }),
        2 => (index(), position()).prop_map(|(base, hint)| Body::Rejected { base, hint }),
        1 => (index(), stamp()).prop_map(|(commit, stamp)| Body::Decide { commit, stamp }),
        2 => (index(), number(), stamp())
            .prop_map(|(commit, round, stamp)| Body::Heartbeat { commit, round, stamp }),
        2 => (number(), priority()).prop_map(|(round, priority)| Body::HeartbeatAnswer { round, priority }),
        1 => prop_oneof![Just(Body::Resigned), Just(Body::Inquiry), Just(Body::Removed)],
        1 => prop_oneof![Just(Body::TakeOver), Just(Body::Outdated)],
        1 => (number(), number()).prop_map(|(origin, batch)| Body::Read { origin, batch }),
        1 => (number(), number(), point)
            .prop_map(|(origin, batch, point)| Body::ReadAnswer { origin, batch, point }),
        4 => chunk(),
        2 => (position(), number()).prop_map(|(last, end)| Body::SnapshotReceived { last, end }),
        1 => number().prop_map(|life| Body::RepairRequest { life }),
        1 => (number(), index()).prop_map(|(life, last)| Body::RepairPoint { life, last }),
    ]
}

/// A message of a sender: half of the time in a ballot of his own, or, as an answer, of the node's own.
fn hears() -> impl Strategy<Value = (u64, Message)> {
    let owner = (2_u64..5, ballot(), body(), 0_u32..4);
    owner.prop_map(|(from, ballot, body, whose)| {
        let node = match whose {
            0 | 1 => NodeId(from),
            2 => NodeId(1),
            _ => ballot.node,
        };
        (from, Message { ballot: Ballot { node, ..ballot }, body })
    })
}

fn ballot_of(round: u64, node: u64) -> Ballot {
    Ballot { round, node: NodeId(node) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_peers_say_a_node_of_paxos_lives_and_takes_nothing_back(events in vec(event(hears()), 1..60)) {
        check::<Paxos>(ballot_of(2, 2).term(), events);
    }
}

fn says(from: u64, ballot: Ballot, body: Body) -> Event<Message> {
    Event::Hears { from, message: Message { ballot, body } }
}

fn accepts(entries: Vec<Entry>) -> Body {
    let base = Position { index: Index(4), term: ballot_of(2, 2).term() };
    Body::Accept { base, entries, commit: Index(0), stamp: ClusterTime::default() }
}

/// A ballot has one owner. Whoever else speaks for it is not heard, and raises nothing.
#[test]
fn who_does_not_own_a_ballot_does_not_lead_by_it() {
    let mut node = Node::<Paxos>::new(ballot_of(2, 2).term());
    let ballot = ballot_of(3, 3);
    node.take(says(2, ballot, accepts(vec![entry(5, ballot.term().0, 50)])));
    node.take(says(2, ballot, Body::Prepare { ordered: true, promised: true }));
    let status = node.engine.status(node.now);
    assert_eq!((status.role.term, status.last_index), (ballot_of(2, 2).term(), Index(4)));
    node.take(says(3, ballot, accepts(vec![entry(5, ballot.term().0, 50)])));
    let status = node.engine.status(node.now);
    assert_eq!((status.role.term, status.last_index), (ballot.term(), Index(5)));
    assert_eq!((status.role.kind, status.role.leader), (RoleKind::Follower, Some(NodeId(3))));
}

/// What an acceptor has promised binds it: a lower ballot's entries do not get into its log, be they new or late.
#[test]
fn a_lower_ballot_than_the_promised_one_is_not_obeyed() {
    let mut node = Node::<Paxos>::new(ballot_of(2, 2).term());
    node.take(says(3, ballot_of(3, 3), Body::Prepare { ordered: false, promised: false }));
    let lower = ballot_of(2, 2);
    node.take(says(2, lower, accepts(vec![entry(5, lower.term().0, 50)])));
    let status = node.engine.status(node.now);
    assert_eq!((status.role.term, status.last_index), (ballot_of(3, 3).term(), Index(4)));
    assert_eq!(status.role.leader, None);
}

/// A candidate has appended nothing in its ballot yet: whoever teaches it such an entry would have it lead with a log that
/// another ends in.
#[test]
fn a_candidate_is_taught_nothing_of_its_own_ballot() {
    let mut node = Node::<Paxos>::new(ballot_of(2, 2).term());
    node.take(Event::Campaigns);
    let own = ballot_of(3, 1);
    assert_eq!(node.engine.status(node.now).role.term, own.term());
    let last = Position { index: Index(5), term: own.term() };
    node.take(says(2, own, Body::Promise { last }));
    node.take(says(2, own, accepts(vec![entry(5, own.term().0, 50)])));
    let status = node.engine.status(node.now);
    assert_eq!((status.role.kind, status.last_index), (RoleKind::Candidate, Index(4)));
}

/// Nobody can stand in a ballot beyond the last: it would be the last word for ever.
#[test]
fn a_ballot_out_of_bounds_is_not_heard() {
    let mut node = Node::<Paxos>::new(ballot_of(2, 2).term());
    let beyond = ballot_of(Ballot::ROUND_MAX + 1, 3);
    node.take(says(3, beyond, Body::Prepare { ordered: true, promised: false }));
    assert_eq!(node.engine.status(node.now).role.term, ballot_of(2, 2).term());
}
