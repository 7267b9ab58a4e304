//! The targets, one file for each format or language that strangers write.

mod batches;
mod commands;
mod libraries;
mod peers;
mod records;
mod resp;
mod scripts;
mod snapshots;

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use quorate_machine::{
    Applied, Batch, ClusterVersion, Group, Limits, Machine, Operation, Outcome, Reply, SessionId,
};

use crate::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    resp::TARGET,
    peers::RAFT,
    peers::PAXOS,
    batches::TARGET,
    snapshots::TARGET,
    records::TARGET,
    commands::TARGET,
    scripts::TARGET,
    libraries::TARGET,
];

/// A number for each outcome of several.
fn outcomes(of: impl IntoIterator<Item: Hash>) -> Vec<u64> {
    of.into_iter().map(outcome).collect()
}

/// A number that stands for an outcome.
fn outcome(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

const SESSION: SessionId = SessionId { node: 1, incarnation: 1 };

/// A machine, and what a driver knows of it.
struct Node {
    machine: Machine,
    stamp_ms: u64,
    sequence: u64,
}

impl Node {
    /// A born cluster with one session.
    fn new() -> Self {
        let mut node = Self { machine: Machine::new(Limits::default()), stamp_ms: 1000, sequence: 0 };
        let birth = Operation::Birth { cluster_id: 7, fence_base: 100, calendar_ms: 1_577_836_801_000 };
        node.apply(&entry(0, birth));
        node.apply(&entry(0, Operation::OpenSession));
        node
    }

    /// Applies an entry as a driver does; nothing if it is none.
    fn apply(&mut self, payload: &Bytes) -> Option<Vec<Applied>> {
        let index = self.machine.applied() + 1;
        let applied = self.machine.apply(index, self.stamp_ms, Some(payload)).ok()?;
        self.machine.take_publications();
        Some(applied)
    }

    /// Runs a command as a driver does: a read beside the log, anything else through it.
    fn command(&mut self, db: u32, args: &[Bytes]) -> Vec<Reply> {
        if Machine::is_read(args) {
            return vec![self.machine.read(self.stamp_ms, db, args)];
        }
        self.sequence += 1;
        let command = Operation::Command { db, user: 0, args: args.to_vec() };
        let applied = self.apply(&entry(self.sequence, command)).expect("what was encoded is read");
        let reply = |applied: Applied| match applied.outcome {
            Outcome::Reply(reply) => Some(reply),
            Outcome::Waits => None,
            Outcome::Refused(refusal) => panic!("refused: {refusal:?}"),
        };
        applied.into_iter().filter_map(reply).collect()
    }

    /// The same state, out of a snapshot.
    fn restored(&self) -> Self {
        let machine = Machine::restore(self.machine.snapshot()).expect("a snapshot is read back");
        assert_eq!(machine.hash(), self.machine.hash(), "a restored machine is another");
        Self { machine, ..*self }
    }
}

/// The payload of an entry with one operation of the session.
fn entry(first_sequence: u64, operation: Operation) -> Bytes {
    let acked = first_sequence.saturating_sub(1);
    let group = Group { session: SESSION, stream: 0, acked, first_sequence, operations: vec![operation] };
    Batch { version: ClusterVersion::NEWEST, groups: vec![group] }.encode()
}

/// Words as arguments.
fn args(words: &[&[u8]]) -> Vec<Bytes> {
    words.iter().map(|word| Bytes::copy_from_slice(word)).collect()
}

/// What a reply is, without the values in it.
fn shape(reply: &Reply) -> String {
    match reply {
        Reply::Error(text) => {
            // Numbers and names in an error make no other outcome.
            let words = text.escape_ascii().to_string();
            words.chars().filter(|one| one.is_ascii_alphabetic() || *one == ' ').take(40).collect()
        }
        Reply::Array(elements) => format!("array {}", elements.len().min(4)),
        Reply::Null => "null".to_owned(),
        Reply::NullArray => "null array".to_owned(),
        Reply::Status(_) => "status".to_owned(),
        Reply::Integer(value) => format!("integer {}", value.signum()),
        Reply::Bulk(bytes) => format!("bulk {}", bytes.len().min(3)),
        Reply::BigNumber(_) => "big number".to_owned(),
        Reply::Verbatim(_) => "verbatim".to_owned(),
        Reply::Set(_) => "set".to_owned(),
        Reply::Push(_) => "push".to_owned(),
        Reply::Map(_) => "map".to_owned(),
        Reply::Pairs(_) => "pairs".to_owned(),
        Reply::Double(_) => "double".to_owned(),
        Reply::Boolean(value) => format!("boolean {value}"),
    }
}
