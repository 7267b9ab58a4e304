//! What a caller gives to the log, and gets back from it: plain numbers and opaque bytes.

use bytes::Bytes;

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its position in the replicated log, from 1 on; entries are contiguous.
    pub index: u64,
    /// The term or ballot under which it was proposed.
    pub term: u64,
    /// The proposer's cluster time in milliseconds.
    pub stamp: u64,
    /// What kind of payload it is: the caller's business.
    pub kind: u8,
    /// The caller's bytes, at most [`Options::entry_bytes_max`](crate::Options::entry_bytes_max).
    pub payload: Bytes,
}

/// What a node must not forget beside its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The greatest term seen, or ballot promised. Never goes back.
    pub term: u64,
    /// Who got this node's vote in `term`; 0 is nobody. Does not change within a term, once it is somebody.
    pub vote: u64,
    /// An index known to be committed: a hint, which may lag behind.
    pub commit: u64,
}

impl HardState {
    /// Whether a node that has said `self` may say `next`.
    pub(crate) fn may_become(&self, next: &Self) -> bool {
        next.term > self.term || (next.term == self.term && (self.vote == 0 || next.vote == self.vote))
    }

    /// Whether term and vote, the promises, are the same.
    pub(crate) fn promises_as(&self, other: &Self) -> bool {
        (self.term, self.vote) == (other.term, other.vote)
    }
}

/// One batch, applied in this order: hard state, truncation, entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// The new hard state, if it has changed.
    pub hard_state: Option<HardState>,
    /// Remove all entries from this index on.
    pub truncate_from: Option<u64>,
    /// Entries to append, contiguous with what is there.
    pub entries: Vec<LogEntry>,
}
