//! Effects in the making: what the inputs of one batch have caused so far.

use crate::{
    Index, NodeId, ProposalId, ReadId,
    engine::{ProposalOutcome, ReadOutcome, SnapshotEffect},
};

/// Gathers effects until they are drained.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Outbox<M> {
    /// Messages that may leave at once.
    pub(crate) send: Vec<(NodeId, M)>,
    /// Messages that promise something.
    pub(crate) guarded: Vec<Guarded<M>>,
    pub(crate) proposals: Vec<(ProposalId, ProposalOutcome)>,
    pub(crate) reads: Vec<(ReadId, ReadOutcome)>,
    pub(crate) snapshots: Vec<SnapshotEffect>,
    /// This node has just learned that it is no member any more.
    pub(crate) removed: bool,
    /// This node has just got back, up to here, what its disk had lost.
    pub(crate) repaired: Option<Index>,
}

impl<M> Default for Outbox<M> {
    fn default() -> Self {
        Self {
            send: Vec::new(),
            guarded: Vec::new(),
            proposals: Vec::new(),
            reads: Vec::new(),
            snapshots: Vec::new(),
            removed: false,
            repaired: None,
        }
    }
}

impl<M> Outbox<M> {
    /// Entries from `from` on are removed: what was to be promised about them, in this very batch, would never become true.
    pub(crate) fn truncated(&mut self, from: Index) {
        self.guarded.retain(|guarded| guarded.through < from);
    }
}

/// A message that promises that term, vote and all entries up to `through` are on this node's disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Guarded<M> {
    pub(crate) to: NodeId,
    pub(crate) message: M,
    pub(crate) through: Index,
}

impl<M> Guarded<M> {
    pub(crate) fn into_envelope(self) -> (NodeId, M) {
        (self.to, self.message)
    }
}
