//! A snapshot that this node receives.
//!
//! * A transfer is tagged with sender, term and snapshot. Chunks of another transfer are never mixed in, not even
//!   of a snapshot of the same position: its bytes may differ from node to node (hazard 16).
//! * A chunk that is being written when its transfer is given up keeps the next one waiting: the word that it is
//!   written would be taken for one about that transfer.
//! * It is installed only once all earlier writes are done, and nothing is appended or committed meanwhile.

use bytes::Bytes;

use crate::{NodeId, Position, SnapshotMeta, Term, engine::SnapshotEffect};

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Incoming {
    /// None.
    Idle,
    /// None, but the last chunk of one that was given up is being written.
    Abandoned { meta: SnapshotMeta },
    /// Chunks arrive.
    Receiving {
        from: NodeId,
        /// The term in which `from` sends it.
        term: Term,
        meta: SnapshotMeta,
        /// The bytes written.
        end: u64,
        /// Whether a chunk is being written: others wait until it is.
        storing: bool,
    },
    /// All chunks are written; earlier writes of this node are not done yet.
    Complete { meta: SnapshotMeta },
    /// The caller installs it.
    Installing { meta: SnapshotMeta },
}

/// What is to be done about a chunk.
#[derive(Debug)]
pub(crate) enum Reaction {
    Nothing,
    Store(Box<SnapshotEffect>),
    /// Tell the sender how much of the snapshot that ends at `last` is written.
    Tell {
        last: Position,
        end: u64,
    },
}

/// A chunk that was written.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) from: NodeId,
    /// The term in which it was sent.
    pub(crate) term: Term,
    pub(crate) meta: SnapshotMeta,
}

impl Incoming {
    /// The position of a configuration that comes without data, on its way into the log of a witness.
    pub(crate) fn configuration(&self) -> Option<Position> {
        match self {
            Self::Receiving { meta, .. } | Self::Complete { meta } | Self::Installing { meta } => {
                (meta.bytes == 0).then(|| meta.last())
            }
            Self::Idle | Self::Abandoned { .. } => None,
        }
    }

    /// How many bytes of a snapshot have arrived.
    pub(crate) fn received(&self) -> u64 {
        match self {
            Self::Receiving { end, .. } => *end,
            Self::Idle | Self::Abandoned { .. } | Self::Complete { .. } | Self::Installing { .. } => 0,
        }
    }

    /// Whether the log must be left alone.
    pub(crate) fn is_installing(&self) -> bool {
        match self {
            Self::Complete { .. } | Self::Installing { .. } => true,
            Self::Idle | Self::Abandoned { .. } | Self::Receiving { .. } => false,
        }
    }

    /// Gives up what has arrived, when it is not being installed.
    pub(crate) fn abandon(&mut self) {
        assert!(!self.is_installing(), "a snapshot was given up amid its installation");
        *self = match std::mem::replace(self, Self::Idle) {
            Self::Receiving { meta, storing: true, .. } | Self::Abandoned { meta } => {
                Self::Abandoned { meta }
            }
            Self::Idle | Self::Receiving { .. } | Self::Complete { .. } | Self::Installing { .. } => {
                Self::Idle
            }
        };
    }

    /// A chunk of a snapshot that this node needs, from who may send it in `term`.
    pub(crate) fn receive(
        &mut self,
        (from, term): (NodeId, Term),
        meta: SnapshotMeta,
        offset: u64,
        data: Bytes,
    ) -> Reaction {
        let last = meta.last();
        if let Self::Abandoned { .. } = self {
            return Reaction::Nothing;
        }
        if let Self::Receiving { from: sender, term: since, meta: receiving, end, storing } = self {
            let same_sender = (*sender, *since) == (from, term);
            if *storing || (same_sender && meta.index < receiving.index) {
                return Reaction::Nothing;
            }
            if same_sender && *receiving == meta {
                if offset == *end && !data.is_empty() {
                    *storing = true;
                    return Reaction::Store(Box::new(SnapshotEffect::Store { meta, offset, data }));
                }
                return Reaction::Tell { last, end: *end };
            }
        }
        if offset != 0 || (data.is_empty() && meta.bytes > 0) {
            return Reaction::Tell { last, end: 0 };
        }
        *self = Self::Receiving { from, term, meta: meta.clone(), end: 0, storing: true };
        Reaction::Store(Box::new(SnapshotEffect::Store { meta, offset: 0, data }))
    }

    /// A chunk is written, if it is one that this node waits for.
    pub(crate) fn stored(&mut self, stored: &SnapshotMeta, stored_end: u64) -> Option<Stored> {
        if let Self::Abandoned { meta } = self
            && meta == stored
        {
            *self = Self::Idle;
        }
        let Self::Receiving { from, term, meta, end, storing } = self else { return None };
        if meta != stored || !*storing {
            return None;
        }
        *storing = false;
        *end = stored_end;
        Some(Stored { from: *from, term: *term, meta: meta.clone() })
    }

    /// What is complete is to be installed: no earlier write can change the durable log any more.
    pub(crate) fn begin_installation(&mut self) -> Option<SnapshotEffect> {
        let Self::Complete { meta } = self else { return None };
        let meta = meta.clone();
        *self = Self::Installing { meta: meta.clone() };
        Some(SnapshotEffect::Install { meta })
    }

    /// The caller has installed `installed`, if it was to do so.
    pub(crate) fn installed(&mut self, installed: &SnapshotMeta) -> bool {
        match self {
            Self::Installing { meta } if meta == installed => {
                *self = Self::Idle;
                true
            }
            Self::Installing { .. }
            | Self::Idle
            | Self::Abandoned { .. }
            | Self::Receiving { .. }
            | Self::Complete { .. } => false,
        }
    }

    /// A snapshot was no good. Whether it is the one that this node is receiving; then the sender asks how it stands when it has
    /// waited long enough, and starts over.
    pub(crate) fn rejected(&mut self, rejected: &SnapshotMeta) -> bool {
        let is_present = match self {
            Self::Receiving { meta, .. } | Self::Complete { meta } | Self::Installing { meta } => {
                meta == rejected
            }
            Self::Abandoned { meta } if meta == rejected => {
                *self = Self::Idle;
                false
            }
            Self::Abandoned { .. } | Self::Idle => false,
        };
        if is_present {
            *self = Self::Idle;
        }
        is_present
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterTime, Index, Membership};

    const FIRST: (NodeId, Term) = (NodeId(1), Term(1));
    const SECOND: (NodeId, Term) = (NodeId(2), Term(2));

    fn meta() -> SnapshotMeta {
        let (stamp, membership) = (ClusterTime::default(), Membership::default().into());
        SnapshotMeta { index: Index(5), term: Term(1), stamp, membership, bytes: 9 }
    }

    fn chunk(incoming: &mut Incoming, sender: (NodeId, Term), offset: u64) -> Reaction {
        incoming.receive(sender, meta(), offset, Bytes::from_static(b"abc"))
    }

    /// The transfer of one term is given up while its second chunk is being written, and another node sends the same snapshot
    /// in the next term. What is written for the former is not taken for the latter's.
    #[test]
    fn chunk_of_a_transfer_that_was_given_up_counts_for_no_other() {
        let mut incoming = Incoming::Idle;
        assert!(matches!(chunk(&mut incoming, FIRST, 0), Reaction::Store(_)));
        assert!(incoming.stored(&meta(), 3).is_some());
        assert!(matches!(chunk(&mut incoming, FIRST, 3), Reaction::Store(_)));
        incoming.abandon();
        assert!(matches!(chunk(&mut incoming, SECOND, 0), Reaction::Nothing));
        assert!(incoming.stored(&meta(), 6).is_none());
        assert!(matches!(chunk(&mut incoming, SECOND, 0), Reaction::Store(_)));
        assert_eq!(incoming.stored(&meta(), 3).map(|stored| stored.from), Some(SECOND.0));
        assert_eq!(incoming.received(), 3);
    }

    #[test]
    fn chunk_that_could_not_be_written_ends_no_other_transfer() {
        let mut incoming = Incoming::Idle;
        assert!(matches!(chunk(&mut incoming, FIRST, 0), Reaction::Store(_)));
        incoming.abandon();
        assert!(!incoming.rejected(&meta()));
        assert!(matches!(chunk(&mut incoming, SECOND, 0), Reaction::Store(_)));
        assert!(incoming.rejected(&meta()));
        assert_eq!(incoming, Incoming::Idle);
    }
}
