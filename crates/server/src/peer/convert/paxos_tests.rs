//! The same for what Paxos nodes say.

use quorate_consensus::paxos::{
    Ballot,
    message::{Body, Message},
};

use super::*;
use crate::peer::wire::paxos as wire_paxos;

const BALLOT: Ballot = Ballot { round: 3, node: NodeId(2) };

fn encode(message: PeerMessage<Message>) -> Vec<u8> {
    to_frame(message, ClusterVersion::FIRST).encode_to_vec()
}

fn read(frame: Bytes) -> Result<PeerMessage<Message>, Malformed> {
    from_bytes(frame)
}

fn engine(body: Body) -> PeerMessage<Message> {
    PeerMessage::Engine(Message { ballot: BALLOT, body })
}

/// The bytes behind the frame's tag, its length, and the ballot 3.n2.
fn golden(body: Body) -> Vec<u8> {
    let bytes = encode(engine(body));
    let head = [b"\x42", &[u8::try_from(bytes.len() - 2).unwrap()][..], b"\x08\x82\x80\x0c"].concat();
    assert_eq!(bytes[..6], head);
    bytes[6..].to_vec()
}

/// `docs/messages.md` draws these bytes: they change only together with the version of the messages.
#[test]
fn golden_bytes_of_messages() {
    let last = Position { index: Index(4), term: Term(5) };
    let (commit, at, priority) = (Index(5), stamp(7), Priority(8));
    let poll = |last| Body::Poll { origin: 1, round: 2, priority, last };
    let empty = Position::default();
    assert_eq!(golden(poll(empty)), b"\x12\x0d\x09\x01\0\0\0\0\0\0\0\x10\x02\x18\x08");
    assert_eq!(golden(poll(last)), b"\x12\x13\x09\x01\0\0\0\0\0\0\0\x10\x02\x18\x08\x22\x04\x08\x04\x10\x05");
    let answer = |connected, last, ahead| {
        let (origin, round, led) = (1, 2, true);
        Body::PollAnswer { origin, round, led, connected, priority, last, ahead }
    };
    assert_eq!(
        golden(answer(Some(false), empty, false)),
        b"\x1a\x11\x09\x01\0\0\0\0\0\0\0\x10\x02\x18\x01\x20\x00\x28\x08"
    );
    assert_eq!(golden(answer(None, empty, false)), b"\x1a\x0f\x09\x01\0\0\0\0\0\0\0\x10\x02\x18\x01\x28\x08");
    assert_eq!(
        golden(answer(None, last, true)),
        b"\x1a\x17\x09\x01\0\0\0\0\0\0\0\x10\x02\x18\x01\x28\x08\x32\x04\x08\x04\x10\x05\x38\x01"
    );
    assert_eq!(golden(Body::Prepare { ordered: true, promised: true }), b"\x22\x04\x08\x01\x10\x01");
    assert_eq!(golden(Body::Promise { last }), b"\x2a\x04\x08\x04\x10\x05");
    assert_eq!(golden(Body::Teach { last }), b"\x32\x04\x08\x04\x10\x05");
    let payload = Payload::Command(Bytes::from_static(b"hi"));
    let entry = Entry { index: Index(5), term: Term(3), stamp: stamp(4), payload };
    assert_eq!(
        golden(Body::Accept { base: last, entries: vec![entry], commit: Index(1), stamp: stamp(9) }),
        b"\x3a\x14\x0a\x04\x08\x04\x10\x05\x12\x08\x08\x03\x10\x04\x1a\x02hi\x18\x01\x20\x09"
    );
    assert_eq!(golden(Body::Accepted { matched: Index(4) }), b"\x40\x04");
    assert_eq!(
        golden(Body::Rejected { base: Index(6), hint: last }),
        b"\x4a\x08\x08\x06\x12\x04\x08\x04\x10\x05"
    );
    assert_eq!(golden(Body::Decide { commit, stamp: at }), b"\x52\x04\x08\x05\x10\x07");
    assert_eq!(golden(Body::Heartbeat { commit, round: 6, stamp: at }), b"\x5a\x06\x08\x05\x10\x06\x18\x07");
    assert_eq!(golden(Body::HeartbeatAnswer { round: 6, priority }), b"\x62\x04\x08\x06\x10\x08");
    assert_eq!(golden(Body::Resigned), b"\x6a\x00");
    assert_eq!(golden(Body::Outdated), b"\x72\x00");
    assert_eq!(golden(Body::TakeOver), b"\x7a\x00");
    assert_eq!(golden(Body::Inquiry), b"\x82\x01\x00");
    assert_eq!(golden(Body::Removed), b"\x8a\x01\x00");
    assert_eq!(golden(Body::Read { origin: 1, batch: 2 }), b"\x92\x01\x0b\x09\x01\0\0\0\0\0\0\0\x10\x02");
    let point = Some(ReadPoint { index: Index(4), stamp: at });
    assert_eq!(
        golden(Body::ReadAnswer { origin: 1, batch: 2, point }),
        b"\x9a\x01\x11\x09\x01\0\0\0\0\0\0\0\x10\x02\x1a\x04\x08\x04\x10\x07"
    );
    assert_eq!(golden(Body::RepairRequest { life: 6 }), b"\xa9\x01\x06\0\0\0\0\0\0\0");
    assert_eq!(
        golden(Body::RepairPoint { life: 6, last: Index(7) }),
        b"\xb2\x01\x0b\x09\x06\0\0\0\0\0\0\0\x10\x07"
    );
    assert_eq!(
        golden(Body::SnapshotReceived { last, end: 9 }),
        b"\xba\x01\x08\x0a\x04\x08\x04\x10\x05\x10\x09"
    );
}

#[test]
fn what_no_node_sends_is_refused() {
    let malformed = |message: wire_paxos::Paxos| {
        let frame = Frame { shard: 0, content: Some(Content::Paxos(message)) };
        read(frame.encode_to_vec().into()).unwrap_err()
    };
    let sound = BALLOT.term().0;
    let with = |ballot, body| wire_paxos::Paxos { ballot, body: Some(body) };
    let resigned = || wire_paxos::Body::Resigned(wire::Nothing {});
    malformed(wire_paxos::Paxos { ballot: sound, body: None });
    // Of node 0, of round 0, and beyond the last round.
    for ballot in [1 << 16, 5, 1 << 62, u64::MAX] {
        let refused = malformed(with(ballot, resigned()));
        assert_eq!(refused, Malformed("a ballot that nobody can own"), "{ballot}");
    }
    let none = Frame { shard: 0, content: Some(Content::Paxos(with(0, resigned()))) };
    assert!(read(none.encode_to_vec().into()).is_ok(), "who has promised nothing may speak");
    malformed(with(sound, wire_paxos::Body::Promise(wire::Position { index: u64::MAX, term: 1 })));
    malformed(with(sound, wire_paxos::Body::Accepted(NUMBER_MAX + 1)));
    let rejected = wire::AppendRejected { base: 1, hint: None };
    malformed(with(sound, wire_paxos::Body::Rejected(rejected)));
    let base = Some(wire::Position { index: NUMBER_MAX, term: 1 });
    let entries = vec![wire::Entry { term: 1, stamp_ms: 0, payload: None }];
    malformed(with(sound, wire_paxos::Body::Accept(wire::Append { base, entries, commit: 0, stamp_ms: 0 })));
    malformed(with(sound, wire_paxos::Body::SnapshotChunk(wire::SnapshotChunk::default())));
}

#[test]
fn messages_of_the_other_engine_are_refused() {
    assert!(super::read(encode(engine(Body::Inquiry)).into()).is_err());
    assert!(read(super::encode(super::engine(3, raft::Body::Inquiry)).into()).is_err());
}

fn body_strategy() -> impl Strategy<Value = Body> {
    let point = proptest::option::of((number(), number()));
    prop_oneof![
        (number(), number(), any::<u32>(), position_strategy()).prop_map(
            |(origin, round, priority, last)| {
                Body::Poll { origin, round, priority: Priority(priority), last }
            }
        ),
        (
            (number(), number(), any::<bool>(), any::<Option<bool>>(), any::<u32>()),
            (position_strategy(), any::<bool>())
        )
            .prop_map(|((origin, round, led, connected, priority), (last, ahead))| {
                let priority = Priority(priority);
                Body::PollAnswer { origin, round, led, connected, priority, last, ahead }
            }),
        any::<(bool, bool)>().prop_map(|(ordered, promised)| Body::Prepare { ordered, promised }),
        position_strategy().prop_map(|last| Body::Promise { last }),
        position_strategy().prop_map(|last| Body::Teach { last }),
        (entries_strategy(), number(), number()).prop_map(|((base, entries), commit, now)| {
            Body::Accept { base, entries, commit: Index(commit), stamp: stamp(now) }
        }),
        number().prop_map(|matched| Body::Accepted { matched: Index(matched) }),
        (number(), position_strategy()).prop_map(|(base, hint)| Body::Rejected { base: Index(base), hint }),
        (number(), number())
            .prop_map(|(commit, at)| Body::Decide { commit: Index(commit), stamp: stamp(at) }),
        (number(), number(), number()).prop_map(|(commit, round, at)| {
            Body::Heartbeat { commit: Index(commit), round, stamp: stamp(at) }
        }),
        (number(), any::<u32>())
            .prop_map(|(round, priority)| Body::HeartbeatAnswer { round, priority: Priority(priority) }),
        Just(Body::Resigned),
        Just(Body::Outdated),
        Just(Body::TakeOver),
        Just(Body::Inquiry),
        Just(Body::Removed),
        (number(), number()).prop_map(|(origin, batch)| Body::Read { origin, batch }),
        (number(), number(), point).prop_map(|(origin, batch, point)| {
            let point = point.map(|(index, at)| ReadPoint { index: Index(index), stamp: stamp(at) });
            Body::ReadAnswer { origin, batch, point }
        }),
        (meta_strategy(), number(), bytes_strategy(0)).prop_map(|(meta, offset, data)| Body::SnapshotChunk {
            meta,
            offset,
            data
        }),
        number().prop_map(|life| Body::RepairRequest { life }),
        (number(), number()).prop_map(|(life, last)| Body::RepairPoint { life, last: Index(last) }),
        (position_strategy(), number()).prop_map(|(last, end)| Body::SnapshotReceived { last, end }),
    ]
}

proptest! {
    #[test]
    fn engine_messages_come_back_as_they_were(
        round in 1..=Ballot::ROUND_MAX, node in 1..=quorate_consensus::ID_MAX, body in body_strategy(),
    ) {
        let message = PeerMessage::Engine(Message { ballot: Ballot { round, node: NodeId(node) }, body });
        prop_assert_eq!(read(encode(message.clone()).into()), Ok(message));
    }

    #[test]
    fn damaged_messages_are_refused_or_other_messages_without_panic(
        body in body_strategy(), at: proptest::sample::Index, to: u8,
    ) {
        let mut bytes = BytesMut::from(&encode(engine(body))[..]);
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = read(bytes.freeze());
    }
}
