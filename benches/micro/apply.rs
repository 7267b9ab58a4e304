//! The machine: entries of commands applied, and reads answered.

use crate::{BATCH, KEY_BYTES, RELEASE, VALUE_BYTES, command, key, value};
use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use quorate_machine::{Batch, ClusterVersion, Group, Limits, Machine, Operation, Outcome, Reply, SessionId};

const SESSION: SessionId = SessionId { node: 1, incarnation: 1 };
/// The keys that are written over and over.
const KEYS: usize = 10_000;

#[divan::bench]
fn set(bencher: Bencher<'_, '_>) {
    let mut replica = Replica::filled();
    let value = value();
    let commands: Vec<_> = (0..KEYS).map(|number| command(&["SET", &key(number), &value])).collect();
    let mut batches = commands.chunks_exact(BATCH).cycle();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        replica.apply(batches.next().expect("a cycle has no end"));
    });
}

#[divan::bench]
fn get(bencher: Bencher<'_, '_>) {
    let mut replica = Replica::filled();
    let commands: Vec<_> = (0..KEYS).map(|number| command(&["GET", &key(number)])).collect();
    let mut commands = commands.iter().cycle();
    bencher.bench_local(|| {
        let reply = replica.machine.read(replica.stamp_ms, 0, commands.next().expect("a cycle has no end"));
        assert!(matches!(reply, Reply::Bulk(value) if value.len() == VALUE_BYTES));
    });
}

/// Locks taken by SET NX PX, and released by the usual script: two commands each.
#[divan::bench]
fn lock_cycle(bencher: Bencher<'_, '_>) {
    let mut replica = Replica::filled();
    let locks = || (0..BATCH).map(|number| format!("lock{number:0width$}", width = KEY_BYTES - 4));
    let take: Vec<_> = locks().map(|lock| command(&["SET", &lock, "me", "NX", "PX", "10000"])).collect();
    let release: Vec<_> = locks().map(|lock| command(&["EVAL", RELEASE, "1", &lock, "me"])).collect();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        replica.apply(&take);
        let last = replica.apply(&release);
        assert_eq!(last, Some(Outcome::Reply(Reply::Integer(1))));
    });
}

/// A batch as the leader encodes it, and every node decodes it.
#[divan::bench]
fn encode_and_decode(bencher: Bencher<'_, '_>) {
    let value = value();
    let commands: Vec<_> = (0..BATCH).map(|number| command(&["SET", &key(number), &value])).collect();
    let batch = Batch { version: ClusterVersion::NEWEST, groups: vec![group(1, &commands)] };
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| Batch::decode(&divan::black_box(&batch).encode()));
}

fn group(first_sequence: u64, commands: &[Vec<Bytes>]) -> Group {
    let operation = |args: &Vec<Bytes>| Operation::Command { db: 0, user: 0, args: args.clone() };
    let operations = commands.iter().map(operation).collect();
    Group { session: SESSION, stream: 0, acked: first_sequence - 1, first_sequence, operations }
}

/// A machine with one session.
struct Replica {
    machine: Machine,
    stamp_ms: u64,
    sequence: u64,
}

impl Replica {
    /// Born, and with all keys in it.
    fn filled() -> Self {
        let mut replica = Self { machine: Machine::new(Limits::default()), stamp_ms: 1_000, sequence: 1 };
        let birth = Operation::Birth { cluster_id: 7, fence_base: 100, calendar_ms: 1_577_836_801_000 };
        for operation in [birth, Operation::OpenSession] {
            let operations = vec![operation];
            replica.apply_group(Group {
                session: SESSION,
                stream: 0,
                acked: 0,
                first_sequence: 0,
                operations,
            });
        }
        let value = value();
        for number in 0..KEYS {
            replica.apply(&[command(&["SET", &key(number), &value])]);
        }
        replica
    }

    /// Applies these as one entry, and answers what became of the last.
    fn apply(&mut self, commands: &[Vec<Bytes>]) -> Option<Outcome> {
        let group = group(self.sequence, commands);
        self.sequence += commands.len() as u64;
        self.apply_group(group)
    }

    fn apply_group(&mut self, group: Group) -> Option<Outcome> {
        let payload = Batch { version: ClusterVersion::NEWEST, groups: vec![group] }.encode();
        let index = self.machine.applied() + 1;
        self.stamp_ms += 1;
        let mut applied =
            self.machine.apply(index, self.stamp_ms, Some(&payload)).expect("the entry is well-formed");
        applied.pop().map(|last| last.outcome)
    }
}
