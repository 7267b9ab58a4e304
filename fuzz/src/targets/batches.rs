//! Entries of the log as another node may have made them, applied to two machines.

use bytes::Bytes;
use quorate_machine::{
    Applied, Batch, ClusterVersion, Error, Group, Operation, Outcome, Seen, SessionId, Version, Watched,
};

use super::{Node, SESSION, args, outcomes, shape};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "batches",
    run,
    seeds,
    words: &[
        b"\x01\x00\x01",
        b"\x01\x01\x00\x00",
        b"\x03",
        b"\x01",
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    ],
};

/// An entry for each line of bytes, the first of which is its length.
fn run(input: &[u8]) -> Vec<u64> {
    let (mut one, mut other) = (Node::new(), Node::new());
    let mut seen = Vec::new();
    let mut rest = input;
    while let Some((&length, behind)) = rest.split_first() {
        let (payload, behind) = behind.split_at(usize::from(length).min(behind.len()));
        rest = behind;
        let payload = Bytes::copy_from_slice(payload);
        match Batch::decode(&payload) {
            Ok(batch) => assert_eq!(batch.encode(), payload, "written back to other bytes"),
            Err(error @ (Error::Newer { .. } | Error::Malformed(_))) => {
                seen.push(vec![error.to_string().chars().take_while(|one| !one.is_ascii_digit()).collect()]);
            }
            Err(other) => panic!("an error of something else: {other}"),
        }
        let applied = one.apply(&payload);
        assert_eq!(applied, other.apply(&payload), "two machines answer differently");
        seen.extend(applied.map(|applied| applied.iter().map(kind).collect::<Vec<_>>()));
        if one.machine.applied() % 3 == 0 {
            other = other.restored();
        }
    }
    assert_eq!(one.machine.hash(), other.machine.hash(), "two machines are different");
    outcomes(seen)
}

/// What became of an operation, without the values in it.
fn kind(applied: &Applied) -> String {
    match &applied.outcome {
        Outcome::Reply(reply) => shape(reply),
        Outcome::Waits => "waits".to_owned(),
        Outcome::Refused(refusal) => {
            format!("{refusal:?}").chars().take_while(char::is_ascii_alphabetic).collect()
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let set = || args(&[b"SET", b"k", b"v"]);
    let watched = Watched { db: 1, key: Bytes::from_static(b"w"), seen: Seen::Present(Version(300)) };
    let stranger = SessionId { node: 2, incarnation: 1 };
    let wait = args(&[b"BLPOP", b"q", b"0"]);
    let operations = [
        Operation::OpenSession,
        Operation::Command { db: 0, user: 0, args: set() },
        Operation::Command { db: 3, user: 0, args: wait },
        Operation::Command { db: 3, user: 0, args: args(&[b"LPUSH", b"q", b"x"]) },
        Operation::Transaction {
            watched: vec![watched],
            commands: vec![(2, set()), (1, args(&[b"GET", b"k"]))],
        },
        Operation::Birth { cluster_id: 0x0102, fence_base: 1 << 20, calendar_ms: -1 },
        Operation::Calendar { offset_ms: 64 },
        Operation::Nothing,
        Operation::Leave { sequence: 1 },
        Operation::Abandon { session: stranger },
        Operation::Unblock { sequence: 1, with_error: true },
        Operation::GiveBack { sequence: 1, db: 0, args: args(&[b"LOCK", b"ACQUIRE", b"l"]), tokens: vec![7] },
    ];
    let batch = |session, first_sequence, operations: &[Operation]| {
        let group = Group { session, stream: 0, acked: 0, first_sequence, operations: operations.to_vec() };
        let bytes = Batch { version: ClusterVersion::NEWEST, groups: vec![group.clone()] }.encode();
        [&[u8::try_from(bytes.len()).unwrap_or(u8::MAX)], &bytes[..]].concat()
    };
    let each = operations.iter().map(|operation| batch(SESSION, 1, std::slice::from_ref(operation)));
    let opened = [batch(stranger, 0, &operations[..1]), batch(stranger, 1, &operations[1..5])].concat();
    each.chain([opened, batch(SESSION, 1, &operations[1..])]).collect()
}
