//! Effects in the making: what the inputs of one batch have caused so far.

use super::message::Message;
use crate::{
    Index, NodeId, ProposalId, ReadId,
    engine::{ProposalOutcome, ReadOutcome, SnapshotEffect},
};

/// Gathers effects until they are drained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Outbox {
    /// Messages that may leave at once.
    pub(super) send: Vec<(NodeId, Message)>,
    /// Messages that promise something.
    pub(super) guarded: Vec<Guarded>,
    pub(super) proposals: Vec<(ProposalId, ProposalOutcome)>,
    pub(super) reads: Vec<(ReadId, ReadOutcome)>,
    pub(super) snapshots: Vec<SnapshotEffect>,
    /// This node has just learned that it is no member any more.
    pub(super) removed: bool,
    /// This node has just got back, up to here, what its disk had lost.
    pub(super) repaired: Option<Index>,
}

/// A message that promises that term, vote and all entries up to `through` are on this node's disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Guarded {
    pub(super) to: NodeId,
    pub(super) message: Message,
    pub(super) through: Index,
}

impl Guarded {
    pub(super) fn into_envelope(self) -> (NodeId, Message) {
        (self.to, self.message)
    }
}
