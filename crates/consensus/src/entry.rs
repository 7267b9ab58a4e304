//! What the log holds, and what a node must remember beside it.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::{ClusterTime, Index, Membership, NodeId, Term};

/// One slot of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its position; entries are contiguous.
    pub index: Index,
    /// The term (or ballot) of the leader that proposed it.
    pub term: Term,
    /// The leader's cluster time when it was appended. Never smaller than that of the entry before.
    pub stamp: ClusterTime,
    /// What it carries.
    pub payload: Payload,
}

impl Entry {
    /// The bytes that count against the engine's limits: the payload and a fixed share for the header.
    #[must_use]
    pub fn weight(&self) -> usize {
        Self::weight_of(&self.payload)
    }

    /// The weight of an entry that carries `payload`.
    #[must_use]
    pub fn weight_of(payload: &Payload) -> usize {
        const HEADER_BYTES: usize = 32;
        let payload = match payload {
            Payload::Blank => 0,
            Payload::Command(bytes) => bytes.len(),
            Payload::Membership(membership) => {
                let addresses = membership.addresses.values();
                16 * membership.len() + addresses.map(|address| address.0.len()).sum::<usize>()
            }
        };
        HEADER_BYTES + payload
    }
}

/// A place in a log. The default, 0@0, is the place before the first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// The entry's index.
    pub index: Index,
    /// The entry's term.
    pub term: Term,
}

impl Position {
    /// The order of logs, by where they end: the last entry's term, then the length. A greater log has whatever a lower one
    /// has that is committed.
    pub(crate) fn rank(self) -> (Term, Index) {
        (self.term, self.index)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// Nothing but the stamp: a leader's first entry, unless it is the log's, or a mark that time has passed.
    Blank,
    /// A batch of commands, opaque to the engine. Never empty.
    Command(Bytes),
    /// A configuration, in force from the moment it is appended. The log begins with the one that the cluster was
    /// born with.
    /// Boxed, since it is rare and large: each entry would take as much room, in logs, messages and effects.
    Membership(Box<Membership>),
}

/// What a node must not forget across a crash, beside the log itself. Written as one record.
///
/// Term and vote are promises and must be durable before the message that makes them leaves. `commit` is a
/// hint: it may lag behind what was known, and never exceeds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The greatest term seen (Multi-Paxos: the greatest ballot promised).
    pub term: Term,
    /// The candidate that got this node's vote in `term`, if any. Multi-Paxos has none: a ballot names its owner.
    pub vote: Option<NodeId>,
    /// An index known to be committed.
    pub commit: Index,
}

/// What a snapshot stands for: the state after applying all entries up to and including `index`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    /// The last entry that the snapshot includes.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
    /// That entry's stamp.
    pub stamp: ClusterTime,
    /// The configuration in force at `index`. Shared, since it is large, and copied with each chunk.
    pub membership: Arc<Membership>,
    /// The size of the machine's data in bytes, without headers and checksums of the file.
    pub bytes: u64,
}

impl SnapshotMeta {
    /// The place of the last entry that it includes.
    #[must_use]
    pub fn last(&self) -> Position {
        Position { index: self.index, term: self.term }
    }
}

/// Up to this many entries are listed one by one; of more, the first and the last.
const ENTRIES_LISTED_MAX: usize = 4;

/// Writes entries as `[4@2 5@2]`, or `[4@2 .. 9@3]` when there are many, each place by `text`.
pub(crate) fn write_entries(
    f: &mut fmt::Formatter<'_>,
    entries: &[Entry],
    text: impl Fn(&Position) -> String,
) -> fmt::Result {
    let position = |entry: &Entry| text(&Position { index: entry.index, term: entry.term });
    match entries {
        [first, .., last] if entries.len() > ENTRIES_LISTED_MAX => {
            write!(f, "[{} .. {}]", position(first), position(last))
        }
        _ => write!(f, "[{}]", entries.iter().map(position).collect::<Vec<_>>().join(" ")),
    }
}
