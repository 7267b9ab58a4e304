//! Answers that arrive when what they are about is no longer possible.

use bytes::Bytes;
use quorate_consensus::{
    BootTime, ClusterTime, Config, Effects, Engine, HardState, Index, Input, Membership, NodeId, Priority,
    Restored, SnapshotMeta, Term,
    engine::{RoleKind, SnapshotEffect},
    paxos::{self, Ballot, Paxos},
    raft::{self, Raft},
};

const OWN: NodeId = NodeId(1);
const LEADER: NodeId = NodeId(2);
const OTHER: NodeId = NodeId(3);

/// One of three voters, and the only chunk of a snapshot that is being written for it.
struct Receiver<E: Engine> {
    engine: E,
    now: BootTime,
    meta: SnapshotMeta,
}

impl<E: Engine> Receiver<E> {
    /// `chunk` makes the leader's message, which the node is writing when it hears nothing more.
    fn of(term: Term, chunk: impl Fn(SnapshotMeta, Bytes) -> E::Message) -> Self {
        let birth = Membership::of_voters([OWN, LEADER, OTHER]);
        let (stamp, membership) = (ClusterTime { millis: 90 }, birth.clone().into());
        let meta = SnapshotMeta { index: Index(9), term, stamp, membership, bytes: 1 };
        let restored =
            Restored { birth, hard_state: HardState { term, ..HardState::default() }, ..Restored::default() };
        let now = BootTime::default();
        let mut receiver = Self { engine: E::new(Config::for_node(OWN, 1), restored, now), now, meta };
        let effects =
            receiver.take(Input::Message { from: LEADER, message: chunk(receiver.meta.clone(), data()) });
        assert!(matches!(effects.snapshots[..], [SnapshotEffect::Store { .. }]));
        receiver
    }

    fn take(&mut self, input: Input<E::Message>) -> Effects<E::Message> {
        self.engine.step(self.now, input);
        self.engine.drain(self.now)
    }

    /// It wants to lead, and asks; then the last chunk is written. What it has asked of the third node.
    fn asks_and_begins_to_install(&mut self) -> E::Message {
        self.now = self.engine.deadline();
        let effects = self.take(Input::Deadline);
        assert_eq!(self.engine.status(self.now).role.kind, RoleKind::PreCandidate);
        let effects_of_storing = self.take(Input::SnapshotStored { meta: self.meta.clone(), end: 1 });
        assert!(matches!(effects_of_storing.snapshots[..], [SnapshotEffect::Install { .. }]));
        effects.send.into_iter().find(|(to, _)| *to == OTHER).expect("it asks all voters").1
    }

    /// The answer that would have let it stand. It does not, and the installation ends as it should.
    fn does_not_stand(mut self, answer: E::Message) {
        let before = self.engine.status(self.now).role.term;
        self.take(Input::Message { from: OTHER, message: answer });
        assert_eq!(self.engine.status(self.now).role.term, before);
        self.take(Input::SnapshotInstalled { meta: self.meta.clone() });
        assert_eq!(self.engine.status(self.now).commit, self.meta.index);
    }
}

fn data() -> Bytes {
    Bytes::from_static(b"x")
}

/// A pre-vote that was won so late had the node stand in the middle of the installation, which ended it.
#[test]
fn late_pre_vote_starts_no_election_amid_an_installation() {
    use raft::message::{Body, Message};
    let chunk = |meta, data| Message { term: Term(1), body: Body::SnapshotChunk { meta, offset: 0, data } };
    let mut node = Receiver::<Raft>::of(Term(1), chunk);
    let asked = node.asks_and_begins_to_install();
    assert!(matches!(asked.body, Body::PreVote { .. }));
    node.does_not_stand(Message { term: asked.term, body: Body::PreVoteAnswer { granted: true } });
}

/// The same with a round of polls.
#[test]
fn late_answer_to_a_poll_starts_no_election_amid_an_installation() {
    use paxos::message::{Body, Message};
    let ballot = Ballot { round: 1, node: LEADER };
    let chunk = |meta, data| Message { ballot, body: Body::SnapshotChunk { meta, offset: 0, data } };
    let mut node = Receiver::<Paxos>::of(ballot.term(), chunk);
    let Body::Poll { origin, round, last, .. } = node.asks_and_begins_to_install().body else {
        panic!("it does not ask by a poll");
    };
    let (priority, connected) = (Priority::default(), None);
    let body = Body::PollAnswer { origin, round, led: false, connected, priority, last, ahead: false };
    node.does_not_stand(Message { ballot, body });
}
