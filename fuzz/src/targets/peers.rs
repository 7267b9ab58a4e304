//! Frames of peers, given to a node. Peers are trusted to be nodes of ours and may still be wrong: an index beyond the log,
//! a count of 2^60 or a term of `u64::MAX` must neither end the node by a panic nor make it allocate.

use std::time::Duration;

use bytes::Bytes;
use quorate::fuzz::{Framed, is_greeting};
use quorate_consensus::{
    Address, BootTime, Change, ClusterTime, Config as EngineConfig, Engine, Entry, HardState, Index,
    Membership, NodeId, Payload, Priority, Purpose, Restored, SnapshotMeta, Step, Term,
    paxos::{Ballot, Paxos},
    raft::{
        Raft,
        message::{Body, Message, Position, ReadPoint},
    },
};
use quorate_machine::{ClusterVersion, Group, Limits, Machine, Operation};
use quorate_node::{
    Config, Driver, Echo, Gossip, Input, LogTask, Now, Outputs, PeerMessage, SnapshotDone, SnapshotTask,
    Verdict,
};

use super::{SESSION, args, outcomes};
use crate::Target;

pub(super) const RAFT: Target = Target {
    name: "peers",
    run: |input| run::<Raft>(Term(2), input),
    seeds,
    words: &[
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x10",
        b"\x08\x03\x12",
        b"\x12\x00",
    ],
};

/// The same of the other engine, whose ballots are large numbers.
pub(super) const PAXOS: Target = Target {
    name: "paxos-peers",
    run: |input| run::<Paxos>(FIRST_BALLOT, input),
    seeds: paxos_seeds,
    words: &[
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x10",
        b"\x08\x82\x80\x0c",
        b"\x42\x00",
    ],
};

/// Frames, each behind the node that sent it, and its length. What the node has is of `term`.
fn run<E: Engine<Message: Framed>>(term: Term, input: &[u8]) -> Vec<u64> {
    let mut node = Node::<E>::new(term);
    let mut seen = Vec::new();
    let mut rest = input;
    while let Some((&[from, length], behind)) = rest.split_first_chunk() {
        let (frame, behind) = behind.split_at(usize::from(length).min(behind.len()));
        rest = behind;
        let _ = is_greeting(frame);
        match E::Message::read(Bytes::copy_from_slice(frame)) {
            Err(text) => seen.push(text),
            Ok(message) => {
                let again = Framed::read(Framed::write(message.clone()));
                assert_eq!(again.as_ref(), Ok(&message), "written back it is another message");
                seen.push(node.hear(NodeId(u64::from(from % 4) + 2), message));
            }
        }
    }
    outcomes(seen)
}

/// The first ballot of node 2.
const FIRST_BALLOT: Term = Term((1 << 16) + 2);

/// A voter of three with a short log and a disk that does what it is told.
struct Node<E: Engine> {
    driver: Driver<E>,
    now: Now,
}

impl<E: Engine> Node<E> {
    fn new(term: Term) -> Self {
        let now = Now { boot: BootTime { micros: 1_000_000 }, wall_ms: 1_700_000_000_000 };
        let membership = Membership::of_voters([1, 2, 3].map(NodeId));
        let entry = |index, payload| Entry {
            index: Index(index),
            term,
            stamp: ClusterTime { millis: 10 * index },
            payload,
        };
        let restored = Restored {
            hard_state: HardState { term, vote: None, commit: Index(2) },
            birth: membership.clone(),
            entries: (1..=4).map(|index| entry(index, Payload::Blank)).collect(),
            ..Restored::default()
        };
        let engine = E::new(EngineConfig::for_node(NodeId(1), 1), restored, now.boot);
        let config = Config::for_node(NodeId(1), 1, 7);
        let driver = Driver::new(config, engine, Machine::new(Limits::default()), membership, now);
        let mut node = Self { driver, now };
        node.step(Input::Deadline);
        node
    }

    /// Takes a message, and then the next deadline. Answers what kind of message it was, and what the node is then.
    fn hear(&mut self, from: NodeId, message: PeerMessage<E::Message>) -> String {
        let kind = match &message {
            PeerMessage::Engine(message) => {
                message.to_string().split(' ').next().unwrap_or_default().to_owned()
            }
            PeerMessage::Forward(_) => "forward".to_owned(),
            PeerMessage::Transfer { .. } => "transfer".to_owned(),
            PeerMessage::Reconfigure { .. } => "reconfigure".to_owned(),
            PeerMessage::Reconfigured { .. } => "reconfigured".to_owned(),
            PeerMessage::Gossip(_) => "gossip".to_owned(),
        };
        let sent = self.step(Input::Peer { from, message });
        let deadline = self.driver.deadline(self.now);
        self.now.boot = deadline.max(self.now.boot).min(self.now.boot.after(Duration::from_secs(1)));
        self.step(Input::Deadline);
        let status = self.driver.status(self.now).engine;
        format!("{kind} {sent} {:?} {}", status.role.kind, status.commit)
    }

    /// How many messages follow from it, when disk and snapshots have done what they were told.
    fn step(&mut self, input: Input<E::Message>) -> usize {
        let mut inputs = vec![input];
        let mut sent = 0;
        // Bounded: each round does what the one before wanted.
        for _ in 0..20 {
            if inputs.is_empty() {
                break;
            }
            let Outputs { log, send, snapshots, .. } = self.driver.step(self.now, inputs.drain(..));
            sent += send.len();
            inputs.extend(log.into_iter().filter_map(|task| match task {
                LogTask::Write { op, .. } => Some(Input::Persisted { op }),
                LogTask::ReplaceBySnapshot { meta, .. } => Some(Input::LogReplaced { meta }),
                LogTask::Release { .. } | LogTask::EndRepair | LogTask::SetClusterId { .. } => None,
            }));
            inputs.extend(snapshots.into_iter().map(|task| Input::Snapshot(snapshot_done(task))));
        }
        sent
    }
}

/// Whatever is sent as a snapshot is one of an empty machine that has applied so much.
fn snapshot_done(task: SnapshotTask) -> SnapshotDone {
    match task {
        SnapshotTask::Make { .. } => SnapshotDone::MakeFailed { reason: "none is made".to_owned() },
        SnapshotTask::Load { to, .. } => SnapshotDone::Missing { to },
        SnapshotTask::Store { meta, offset, data } => {
            SnapshotDone::Stored { meta, end: offset + data.len() as u64 }
        }
        SnapshotTask::Finish { meta } => {
            let machine = Box::new(Machine::without_data(meta.index.0, meta.stamp.millis));
            SnapshotDone::Received { meta, machine }
        }
    }
}

/// A message of each kind, and a few that go together.
fn seeds() -> Vec<Vec<u8>> {
    let engine = |term, body| PeerMessage::Engine(Message { term: Term(term), body });
    let frames = raft_bodies().into_iter().map(|body| engine(3, body)).chain(others());
    let singles: Vec<Vec<u8>> = frames.map(|message| framed(0, message)).collect();
    let all = singles.concat();
    let elected = [
        framed(0, engine(4, Body::PreVoteAnswer { granted: true })),
        framed(0, engine(3, Body::VoteAnswer { granted: true })),
        framed(1, engine(3, Body::VoteAnswer { granted: true })),
        framed(0, engine(3, Body::AppendAccepted { matched: Index(5) })),
        framed(0, engine(3, Body::Read { origin: 1, batch: 1 })),
        framed(0, engine(3, Body::HeartbeatAnswer { round: 1, priority: Priority::default() })),
    ]
    .concat();
    singles.into_iter().chain([all, elected]).collect()
}

fn framed(from: u8, message: PeerMessage<impl Framed>) -> Vec<u8> {
    let frame = Framed::write(message);
    [&[from, u8::try_from(frame.len()).unwrap_or(u8::MAX)], &frame[..]].concat()
}

/// The same of Paxos.
fn paxos_seeds() -> Vec<Vec<u8>> {
    use quorate_consensus::paxos::message::{Body, Message};
    let engine = |round, node, body| {
        PeerMessage::Engine(Message { ballot: Ballot { round, node: NodeId(node) }, body })
    };
    let frames = paxos_bodies().into_iter().map(|body| engine(2, 2, body)).chain(others());
    let singles: Vec<Vec<u8>> = frames.map(|message| framed(0, message)).collect();
    let all = singles.concat();
    let last = Position { index: Index(4), term: FIRST_BALLOT };
    let priority = Priority::default();
    let led = [
        framed(0, engine(1, 2, Body::Poll { origin: 1, round: 1, priority, last })),
        framed(0, engine(2, 1, Body::Promise { last })),
        framed(1, engine(2, 1, Body::Promise { last })),
        framed(0, engine(2, 1, Body::Accepted { matched: Index(5) })),
        framed(0, engine(2, 1, Body::Read { origin: 1, batch: 1 })),
        framed(0, engine(2, 1, Body::HeartbeatAnswer { round: 1, priority })),
    ]
    .concat();
    singles.into_iter().chain([all, led]).collect()
}

fn paxos_bodies() -> Vec<quorate_consensus::paxos::message::Body> {
    use quorate_consensus::paxos::message::Body;
    let (term, stamp) = (Term((2 << 16) + 2), ClusterTime { millis: 50 });
    let (last, base) = (Position { index: Index(9), term }, Position { index: Index(4), term: FIRST_BALLOT });
    let membership = Membership::of_voters([1, 2, 3, 4].map(NodeId));
    let payloads = [Payload::Blank, Payload::Membership(Box::new(membership.clone()))];
    let entries = (5..).zip(payloads);
    let entries =
        entries.map(|(index, payload)| Entry { index: Index(index), term, stamp, payload }).collect();
    let meta = SnapshotMeta { index: Index(9), term, stamp, membership: membership.into(), bytes: 4 };
    let priority = Priority(2);
    vec![
        Body::Poll { origin: 1, round: 2, priority, last },
        Body::PollAnswer {
            origin: 1,
            round: 2,
            led: true,
            connected: Some(false),
            priority,
            last,
            ahead: true,
        },
        Body::Prepare { ordered: true, promised: true },
        Body::Promise { last },
        Body::Teach { last: base },
        Body::Accept { base, entries, commit: Index(6), stamp },
        Body::Accepted { matched: Index(4) },
        Body::Rejected { base: Index(4), hint: base },
        Body::Decide { commit: Index(4), stamp },
        Body::Heartbeat { commit: Index(3), round: 1, stamp },
        Body::HeartbeatAnswer { round: 1, priority },
        Body::Resigned,
        Body::Outdated,
        Body::TakeOver,
        Body::Inquiry,
        Body::Removed,
        Body::Read { origin: 1, batch: 2 },
        Body::ReadAnswer { origin: 1, batch: 2, point: Some(ReadPoint { index: Index(4), stamp }) },
        Body::SnapshotChunk { meta: meta.clone(), offset: 0, data: Bytes::from_static(b"ab") },
        Body::SnapshotChunk { meta, offset: 2, data: Bytes::from_static(b"cd") },
        Body::SnapshotReceived { last, end: 4 },
        Body::RepairRequest { life: 1 },
        Body::RepairPoint { life: 1, last: Index(4) },
    ]
}

fn raft_bodies() -> Vec<Body> {
    let last = Position { index: Index(9), term: Term(3) };
    let base = Position { index: Index(4), term: Term(2) };
    let stamp = ClusterTime { millis: 50 };
    let membership = Membership::of_voters([1, 2, 3, 4].map(NodeId));
    let payloads =
        [Payload::Blank, Payload::Command(Bytes::new()), Payload::Membership(Box::new(membership.clone()))];
    let entries = (5..).zip(payloads);
    let entries = entries
        .map(|(index, payload)| Entry { index: Index(index), term: Term(3), stamp, payload })
        .collect();
    let meta =
        SnapshotMeta { index: Index(9), term: Term(3), stamp, membership: membership.into(), bytes: 4 };
    vec![
        Body::PreVote { last },
        Body::PreVoteAnswer { granted: true },
        Body::Vote { last, transfer: true },
        Body::VoteAnswer { granted: true },
        Body::Append { base, entries, commit: Index(6), stamp },
        Body::AppendAccepted { matched: Index(4) },
        Body::AppendRejected { base: Index(4), hint: base },
        Body::Heartbeat { commit: Index(3), round: 1, stamp, preferred: Priority(2) },
        Body::HeartbeatAnswer { round: 1, priority: Priority(1) },
        Body::Commit { commit: Index(4), stamp },
        Body::Inquiry,
        Body::Removed,
        Body::Outdated,
        Body::TimeoutNow,
        Body::Read { origin: 1, batch: 2 },
        Body::ReadAnswer { origin: 1, batch: 2, point: Some(ReadPoint { index: Index(4), stamp }) },
        Body::SnapshotChunk { meta: meta.clone(), offset: 0, data: Bytes::from_static(b"ab") },
        Body::SnapshotChunk { meta, offset: 2, data: Bytes::from_static(b"cd") },
        Body::SnapshotReceived { last, end: 4 },
        Body::RepairRequest { life: 1 },
        Body::RepairPoint { life: 1, last: Index(4) },
    ]
}

fn others<M>() -> Vec<PeerMessage<M>> {
    let command = Operation::Command { db: 0, user: 0, args: args(&[b"SET", b"k", b"v"]) };
    let group = Group { session: SESSION, stream: 0, acked: 0, first_sequence: 1, operations: vec![command] };
    let address = Some(Address("h:1".into()));
    let steps = vec![
        Step::Add { node: None, address, purpose: Purpose::Vote },
        Step::Promote { node: NodeId(4) },
        Step::Remove { node: NodeId(3) },
        Step::Lease(None),
        Step::Quorum { phase2: Some(2), forced: true },
    ];
    let gossip = Gossip {
        applied: Index(2),
        room: true,
        wall_ms: 1,
        followers: 2,
        commit: Index(2),
        version: ClusterVersion::NEWEST,
        sent: BootTime { micros: 5 },
        echo: Some(Echo { sent: BootTime { micros: 4 }, unconfirmed_ms: 1 }),
    };
    vec![
        PeerMessage::Forward(group),
        PeerMessage::Transfer { term: Term(2), to: Some(NodeId(2)) },
        PeerMessage::Reconfigure { ticket: 1, change: Change(steps) },
        PeerMessage::Reconfigured { ticket: 1, verdict: Verdict::Refused("no".to_owned()) },
        PeerMessage::Reconfigured {
            ticket: 1,
            verdict: Verdict::Appended { index: Index(4), term: Term(3) },
        },
        PeerMessage::Gossip(gossip),
    ]
}
