//! The bytes of messages, and that everything comes back as it was sent.

use bytes::BytesMut;
use proptest::prelude::*;
use prost::Message as _;
use quorate_consensus::{
    Address, BootTime, Change, Entry, Lease, Membership, NodeId, Payload, Position, Priority, Purpose,
    SnapshotMeta, Step, Uncounted, raft::message as raft,
};
use quorate_machine::{Group, Operation, SessionId};
use quorate_node::{Echo, Gossip, Verdict};

use super::*;
use crate::peer::wire::Body;

#[path = "convert/paxos_tests.rs"]
mod paxos_tests;

const GOSSIP: Gossip = Gossip {
    applied: Index(0),
    room: false,
    wall_ms: 0,
    followers: 0,
    commit: Index(0),
    version: ClusterVersion(0),
    sent: BootTime { micros: 0 },
    echo: None,
};

fn stamp(millis: u64) -> ClusterTime {
    ClusterTime { millis }
}

fn encode(message: PeerMessage<raft::Message>) -> Vec<u8> {
    to_frame(message, ClusterVersion::FIRST).encode_to_vec()
}

fn read(frame: Bytes) -> Result<PeerMessage<raft::Message>, Malformed> {
    from_bytes(frame)
}

fn engine(term: u64, body: raft::Body) -> PeerMessage<raft::Message> {
    PeerMessage::Engine(raft::Message { term: Term(term), body })
}

/// `docs/messages.md` draws these bytes: they change only together with the version of the messages.
#[test]
fn golden_bytes_of_messages() {
    let heartbeat =
        raft::Body::Heartbeat { commit: Index(5), round: 6, stamp: stamp(7), preferred: Priority(8) };
    assert_eq!(encode(engine(3, heartbeat)), b"\x12\x0c\x08\x03\x4a\x08\x08\x05\x10\x06\x18\x07\x20\x08");
    let answer = raft::Body::HeartbeatAnswer { round: 6, priority: Priority(8) };
    assert_eq!(encode(engine(3, answer)), b"\x12\x08\x08\x03\x52\x04\x08\x06\x10\x08");
    assert_eq!(encode(engine(3, raft::Body::Inquiry)), b"\x12\x05\x08\x03\x92\x01\x00");
    assert_eq!(encode(engine(3, raft::Body::Removed)), b"\x12\x05\x08\x03\x9a\x01\x00");
    let request = raft::Body::RepairRequest { life: 6 };
    assert_eq!(encode(engine(3, request)), b"\x12\x0c\x08\x03\xa1\x01\x06\0\0\0\0\0\0\0");
    let point = raft::Body::RepairPoint { life: 6, last: Index(7) };
    let golden = b"\x12\x10\x08\x03\xaa\x01\x0b\x09\x06\0\0\0\0\0\0\0\x10\x07";
    assert_eq!(encode(engine(3, point)), golden);

    let entry = Entry {
        index: Index(2),
        term: Term(3),
        stamp: stamp(4),
        payload: Payload::Command(Bytes::from_static(b"hi")),
    };
    let base = Position { index: Index(1), term: Term(1) };
    let append = raft::Body::Append { base, entries: vec![entry], commit: Index(1), stamp: stamp(9) };
    assert_eq!(
        encode(engine(3, append)),
        b"\x12\x18\x08\x03\x32\x14\x0a\x04\x08\x01\x10\x01\x12\x08\x08\x03\x10\x04\x1a\x02hi\x18\x01\x20\x09"
    );

    let told = Gossip { applied: Index(1), room: true, wall_ms: -1, followers: 2, ..GOSSIP };
    assert_eq!(encode(PeerMessage::Gossip(told)), b"\x22\x08\x08\x01\x10\x01\x18\x01\x20\x02");
    let echo = Some(Echo { sent: BootTime { micros: 5 }, unconfirmed_ms: 6 });
    let fresh = Gossip { commit: Index(3), sent: BootTime { micros: 4 }, echo, ..GOSSIP };
    assert_eq!(encode(PeerMessage::Gossip(fresh)), b"\x22\x0a\x28\x03\x30\x04\x3a\x04\x08\x05\x10\x06");
    assert_eq!(
        encode(PeerMessage::Transfer { term: Term(3), to: Some(NodeId(7)) }),
        b"\x2a\x04\x08\x07\x10\x03"
    );
    assert_eq!(encode(PeerMessage::Transfer { term: Term(3), to: None }), b"\x2a\x02\x10\x03");
}

#[test]
fn golden_bytes_of_a_wish_and_its_answer() {
    let step = |node: u64| Step::Promote { node: NodeId(node) };
    let add = Step::Add {
        node: Some(NodeId(4)),
        address: Some(Address("h:1".into())),
        purpose: Purpose::Replace(NodeId(2)),
    };
    let wish = PeerMessage::Reconfigure { ticket: 9, change: Change(vec![add, step(5)]) };
    assert_eq!(
        encode(wish),
        b"\x32\x15\x08\x09\x12\x0d\x0a\x0b\x08\x04\x12\x03h:1\x18\x01\x20\x02\x12\x02\x10\x05"
    );
    let appended = Verdict::Appended { index: Index(6), term: Term(7) };
    assert_eq!(
        encode(PeerMessage::Reconfigured { ticket: 9, verdict: appended }),
        b"\x3a\x08\x08\x09\x12\x04\x08\x06\x10\x07"
    );
}

#[test]
fn golden_bytes_of_a_configuration() {
    let membership = Membership {
        voters: [1, 3, 6].map(NodeId).into(),
        outgoing: [1, 2].map(NodeId).into(),
        learners: [4, 5].map(NodeId).into(),
        promotions: [(NodeId(4), Some(NodeId(3))), (NodeId(5), None)].into(),
        ids_used: 6,
        addresses: [(NodeId(5), Address("h:1".into()))].into(),
        lease: Some(Lease { millis: 200, drift_ppm: 9 }),
        uncounted: [(NodeId(6), Uncounted::Witness), (NodeId(1), Uncounted::SetAside)].into(),
        ..Membership::default()
    };
    assert_eq!(
        membership_to_wire(&membership).encode_to_vec(),
        b"\x0a\x03\x01\x03\x06\x12\x02\x04\x05\x1a\x02\x01\x02\x22\x04\x08\x04\x10\x03\x22\x02\x08\x05\x28\x06\x32\x07\x08\x05\x12\x03h:1\x3a\x05\x08\xc8\x01\x10\x09\x42\x04\x08\x01\x10\x01\x42\x02\x08\x06"
    );
}

#[test]
fn golden_bytes_of_flexible_quorums() {
    let five = Membership::of_voters([1, 2, 3, 4, 5].map(NodeId));
    let outgoing = five.voters.clone();
    let joint =
        Membership { outgoing, phase2_quorum: Some(2), outgoing_phase2_quorum: Some(4), ..five.clone() };
    let bytes = membership_to_wire(&joint).encode_to_vec();
    assert_eq!(bytes, b"\x0a\x05\x01\x02\x03\x04\x05\x1a\x05\x01\x02\x03\x04\x05\x28\x05\x48\x02\x50\x04");
    assert_eq!(membership_from_wire(membership_to_wire(&joint)).unwrap(), joint);
    let six_of_five = wire::Membership { phase2_quorum: 6, ..membership_to_wire(&five) };
    assert!(membership_from_wire(six_of_five).is_err());
    let step = |phase2| changes::step(Step::Quorum { phase2, forced: true }).encode_to_vec();
    assert_eq!(
        (&step(Some(2))[..], &step(None)[..]),
        (&b"\x3a\x04\x08\x02\x10\x01"[..], &b"\x3a\x02\x10\x01"[..])
    );
}

#[test]
fn golden_bytes_of_a_handshake() {
    let hello = wire::Hello {
        version: 5,
        from: 2,
        to: 3,
        cluster_id: Bytes::from_static(&[7; 16]),
        disk_id: Bytes::from_static(&[8; 16]),
        incarnation: 4,
        engine: "raft".to_owned(),
        frame_bytes_max: 128,
        resp_address: "h:1".to_owned(),
        http_address: "h:2".to_owned(),
        program: "0".to_owned(),
        peer_address: "h:3".to_owned(),
        sentinel_address: String::new(),
        oldest_version: 0,
        active_version: 0,
        known_version: 0,
    };
    let mut expected = b"\x08\x05\x10\x02\x18\x03\x22\x10".to_vec();
    expected.extend_from_slice(&[7; 16]);
    expected.extend_from_slice(b"\x2a\x10");
    expected.extend_from_slice(&[8; 16]);
    expected.extend_from_slice(b"\x30\x04\x3a\x04raft\x48\x80\x01\x52\x03h:1\x5a\x03h:2\x62\x010\x6a\x03h:3");
    assert_eq!(hello.encode_to_vec(), expected);
    let hello = wire::Hello {
        sentinel_address: "h:4".to_owned(),
        oldest_version: 3,
        active_version: 4,
        known_version: 6,
        ..hello
    };
    expected.extend_from_slice(b"\x72\x03h:4\x78\x03\x80\x01\x04\x88\x01\x06");
    assert_eq!(hello.encode_to_vec(), expected);
}

#[test]
fn commands_are_forwarded_in_the_version_that_is_spoken() {
    let group = || Group {
        session: SessionId { node: 1, incarnation: 1 },
        stream: 0,
        acked: 0,
        first_sequence: 1,
        operations: vec![Operation::Nothing],
    };
    for spoken in [ClusterVersion::FIRST, ClusterVersion::REHEARSED] {
        let frame = to_frame(PeerMessage::<raft::Message>::Forward(group()), spoken);
        let Some(Content::Forward(batch)) = frame.content else { panic!("no commands are forwarded") };
        assert_eq!(batch, Batch { version: spoken, groups: vec![group()] }.encode());
    }
}

#[test]
fn what_no_node_sends_is_refused() {
    let malformed = |frame: Frame| read(frame.encode_to_vec().into()).unwrap_err();
    let raft = |body| Frame { shard: 0, content: Some(Content::Raft(wire::Raft { term: 1, body })) };
    assert!(read(Bytes::from_static(b"\xff\xff")).is_err());
    malformed(Frame { shard: 0, content: None });
    malformed(Frame { shard: 1, content: Some(Content::Gossip(wire::Gossip::default())) });
    malformed(raft(None));
    malformed(raft(Some(Body::Vote(wire::Vote { last: None, transfer: false }))));
    let base = Some(wire::Position { index: u64::MAX, term: 1 });
    let entries = vec![wire::Entry { term: 1, stamp_ms: 0, payload: None }];
    malformed(raft(Some(Body::Append(wire::Append { base, entries, commit: 0, stamp_ms: 0 }))));
    malformed(raft(Some(Body::AppendAccepted(NUMBER_MAX + 1))));
    malformed(raft(Some(Body::PreVote(wire::Position { index: 1, term: u64::MAX }))));
    malformed(Frame { shard: 0, content: Some(Content::Transfer(wire::Transfer { to: 0, term: u64::MAX })) });
    let meta = wire::SnapshotMeta { last: Some(wire::Position { index: 1, term: 1 }), ..Default::default() };
    let chunk = wire::SnapshotChunk { meta: Some(meta), ..Default::default() };
    malformed(raft(Some(Body::SnapshotChunk(chunk))));
    let of = |membership| {
        let payload = Some(wire::Payload::Membership(membership));
        let entries = vec![wire::Entry { term: 1, stamp_ms: 0, payload }];
        let base = Some(wire::Position::default());
        raft(Some(Body::Append(wire::Append { base, entries, commit: 0, stamp_ms: 0 })))
    };
    malformed(of(wire::Membership::default()));
    malformed(of(wire::Membership { voters: vec![1], ..Default::default() }));
    malformed(of(wire::Membership { voters: vec![0], ids_used: 1, ..Default::default() }));
    let steps = vec![wire::Step { kind: None }];
    malformed(Frame {
        shard: 0,
        content: Some(Content::Reconfigure(wire::Reconfigure { ticket: 1, steps })),
    });
    let add = wire::Add { node: 0, address: String::new(), votes: false, place: 1, witness: false };
    let steps = vec![wire::Step { kind: Some(wire::StepKind::Add(add)) }];
    malformed(Frame {
        shard: 0,
        content: Some(Content::Reconfigure(wire::Reconfigure { ticket: 1, steps })),
    });
    let answer = wire::Reconfigured { ticket: 1, verdict: None };
    malformed(Frame { shard: 0, content: Some(Content::Reconfigured(answer)) });
    malformed(Frame { shard: 0, content: Some(Content::Forward(Bytes::from_static(b"x"))) });
    let nobody = Batch { version: ClusterVersion::NEWEST, groups: vec![] }.encode();
    malformed(Frame { shard: 0, content: Some(Content::Forward(nobody)) });
}

fn number() -> impl Strategy<Value = u64> {
    0..=NUMBER_MAX
}

fn position_strategy() -> impl Strategy<Value = Position> {
    (number(), number()).prop_map(|(index, term)| Position { index: Index(index), term: Term(term) })
}

fn membership_strategy() -> impl Strategy<Value = Membership> {
    let nodes = |ids: std::ops::Range<u64>| proptest::collection::btree_set(ids.prop_map(NodeId), 0..5);
    let learners = proptest::collection::btree_map((100u64..200).prop_map(NodeId), any::<bool>(), 0..5);
    (nodes(2..100), nodes(2..200), learners, 200u64..).prop_map(
        |(mut voters, outgoing, learners, ids_used)| {
            // Node 1 always votes, and did not before.
            voters.insert(NodeId(1));
            let place = |(&node, has_place): (&NodeId, &bool)| (node, has_place.then_some(NodeId(1)));
            let promotions = learners.iter().take(1).map(place).collect();
            let address = |&node: &NodeId| (node, Address(format!("h:{}", node.0).into()));
            let addresses = voters.iter().take(2).map(address).collect();
            let learners = learners.into_keys().collect();
            let has_place = voters.len() == 3 && outgoing.len() != 3 && ids_used % 3 == 0;
            let witness = voters.last().copied().filter(|_| has_place);
            let uncounted = witness.map(|node| (node, Uncounted::Witness)).into_iter();
            let uncounted = uncounted.chain(witness.map(|_| (NodeId(1), Uncounted::SetAside))).collect();
            let lease = (ids_used % 2 == 0).then_some(Lease { millis: 1, drift_ppm: 2 });
            let phase2_quorum = (witness.is_none() && ids_used % 5 == 0).then_some(1);
            let old = u8::try_from(outgoing.len()).unwrap();
            let outgoing_phase2_quorum = (witness.is_none() && ids_used % 7 == 0 && old > 0).then_some(old);
            Membership {
                voters,
                outgoing,
                learners,
                promotions,
                ids_used,
                addresses,
                lease,
                uncounted,
                phase2_quorum,
                outgoing_phase2_quorum,
            }
        },
    )
}

fn bytes_strategy(least: usize) -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), least..40).prop_map(Bytes::from)
}

fn payload_strategy() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::Blank),
        bytes_strategy(1).prop_map(Payload::Command),
        membership_strategy().prop_map(|one| Payload::Membership(Box::new(one))),
    ]
}

/// A position, and entries behind it.
fn entries_strategy() -> impl Strategy<Value = (Position, Vec<Entry>)> {
    let entries = proptest::collection::vec((number(), number(), payload_strategy()), 0..5);
    (0u64..1 << 60, number(), entries).prop_map(|(base, term, entries)| {
        let entries = entries.into_iter().zip(base + 1..).map(|((term, at, payload), index)| Entry {
            index: Index(index),
            term: Term(term),
            stamp: stamp(at),
            payload,
        });
        (Position { index: Index(base), term: Term(term) }, entries.collect())
    })
}

fn append_strategy() -> impl Strategy<Value = raft::Body> {
    (entries_strategy(), number(), number()).prop_map(|((base, entries), commit, now)| raft::Body::Append {
        base,
        entries,
        commit: Index(commit),
        stamp: stamp(now),
    })
}

fn meta_strategy() -> impl Strategy<Value = SnapshotMeta> {
    (position_strategy(), number(), membership_strategy(), number()).prop_map(
        |(last, at, membership, bytes)| SnapshotMeta {
            index: last.index,
            term: last.term,
            stamp: stamp(at),
            membership: membership.into(),
            bytes,
        },
    )
}

fn chunk_strategy() -> impl Strategy<Value = raft::Body> {
    (meta_strategy(), number(), bytes_strategy(0))
        .prop_map(|(meta, offset, data)| raft::Body::SnapshotChunk { meta, offset, data })
}

fn body_strategy() -> impl Strategy<Value = raft::Body> {
    use raft::Body;
    let point = proptest::option::of((number(), number()));
    prop_oneof![
        position_strategy().prop_map(|last| Body::PreVote { last }),
        any::<bool>().prop_map(|granted| Body::PreVoteAnswer { granted }),
        (position_strategy(), any::<bool>()).prop_map(|(last, transfer)| Body::Vote { last, transfer }),
        any::<bool>().prop_map(|granted| Body::VoteAnswer { granted }),
        append_strategy(),
        number().prop_map(|matched| Body::AppendAccepted { matched: Index(matched) }),
        (number(), position_strategy())
            .prop_map(|(base, hint)| Body::AppendRejected { base: Index(base), hint }),
        (number(), number(), number(), any::<u32>()).prop_map(|(commit, round, at, preferred)| {
            let preferred = Priority(preferred);
            Body::Heartbeat { commit: Index(commit), round, stamp: stamp(at), preferred }
        }),
        (number(), any::<u32>())
            .prop_map(|(round, priority)| Body::HeartbeatAnswer { round, priority: Priority(priority) }),
        Just(Body::Inquiry),
        Just(Body::Removed),
        (number(), number())
            .prop_map(|(commit, at)| Body::Commit { commit: Index(commit), stamp: stamp(at) }),
        Just(Body::Outdated),
        Just(Body::TimeoutNow),
        (number(), number()).prop_map(|(origin, batch)| Body::Read { origin, batch }),
        (number(), number(), point).prop_map(|(origin, batch, point)| {
            let point = point.map(|(index, at)| ReadPoint { index: Index(index), stamp: stamp(at) });
            Body::ReadAnswer { origin, batch, point }
        }),
        chunk_strategy(),
        (position_strategy(), number()).prop_map(|(last, end)| Body::SnapshotReceived { last, end }),
        number().prop_map(|life| Body::RepairRequest { life }),
        (number(), number()).prop_map(|(life, last)| Body::RepairPoint { life, last: Index(last) }),
    ]
}

fn step_strategy() -> impl Strategy<Value = Step> {
    let node = || (1_u64..).prop_map(NodeId);
    let address = || "[a-z]{1,9}:[0-9]{1,5}".prop_map(|text| Address(text.into()));
    let purpose = prop_oneof![
        Just(Purpose::Learn),
        Just(Purpose::Vote),
        Just(Purpose::Witness),
        node().prop_map(Purpose::Replace),
    ];
    prop_oneof![
        (proptest::option::of(node()), proptest::option::of(address()), purpose)
            .prop_map(|(node, address, purpose)| Step::Add { node, address, purpose }),
        node().prop_map(|node| Step::Promote { node }),
        node().prop_map(|node| Step::Demote { node }),
        node().prop_map(|node| Step::Remove { node }),
        (node(), address()).prop_map(|(node, address)| Step::Move { node, address }),
        proptest::option::of((1_u32.., any::<u32>()))
            .prop_map(|lease| Step::Lease(lease.map(|(millis, drift_ppm)| Lease { millis, drift_ppm }))),
        (proptest::option::of(1_u8..), any::<bool>())
            .prop_map(|(phase2, forced)| Step::Quorum { phase2, forced }),
    ]
}

proptest! {
    #[test]
    fn wishes_and_answers_come_back_as_they_were(
        ticket: u64, steps in proptest::collection::vec(step_strategy(), 0..4), at in number(), reason: String,
    ) {
        let appended = Verdict::Appended { index: Index(at), term: Term(at / 2) };
        let answers = [appended, Verdict::Refused(reason), Verdict::Later];
        let answers = answers.map(|verdict| PeerMessage::Reconfigured { ticket, verdict });
        let wish = PeerMessage::Reconfigure { ticket, change: Change(steps) };
        for message in answers.into_iter().chain([wish]) {
            prop_assert_eq!(read(encode(message.clone()).into()), Ok(message));
        }
    }

    #[test]
    fn engine_messages_come_back_as_they_were(term in number(), body in body_strategy()) {
        let message = engine(term, body);
        prop_assert_eq!(read(encode(message.clone()).into()), Ok(message));
    }

    #[test]
    fn forwarded_commands_come_back_as_they_were(
        node: u64, incarnation: u64, acked: u64, first_sequence: u64,
        args in proptest::collection::vec(bytes_strategy(0), 1..5),
    ) {
        let operations = vec![Operation::OpenSession, Operation::Command { db: 3, user: 0, args }];
        let session = SessionId { node, incarnation };
        let message = PeerMessage::Forward(Group { session, stream: 0, acked, first_sequence, operations });
        prop_assert_eq!(read(encode(message.clone()).into()), Ok(message));
    }

    #[test]
    fn garbage_is_refused_without_panic(bytes: Vec<u8>) {
        let _ = read(bytes.into());
    }

    #[test]
    fn damaged_messages_are_refused_or_other_messages_without_panic(
        body in body_strategy(), at: proptest::sample::Index, to: u8,
    ) {
        let mut bytes = BytesMut::from(&encode(engine(1, body))[..]);
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = read(bytes.freeze());
    }
}
