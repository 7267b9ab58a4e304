//! A snapshot on its way to a peer: one chunk at a time, each after the peer's word on how much it has written.

use super::progress::{Peer, Progress};
use crate::{BootTime, Index, Position, SnapshotMeta};

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outgoing {
    /// The first chunk of the newest snapshot is being read.
    Opening,
    /// There was no snapshot to read at this time.
    Absent { since: BootTime },
    /// The chunk at `offset` is being read.
    Loading { meta: SnapshotMeta, offset: u64 },
    /// The chunk at `offset` was sent. At the snapshot's end, only its installation is awaited.
    Sent { meta: SnapshotMeta, offset: u64, since: BootTime, repeated: bool },
}

impl Outgoing {
    /// Whether a peer whose log equals the leader's up to `matched` has all of the snapshot under way.
    pub(super) fn is_covered_by(&self, matched: Index) -> bool {
        match self {
            Self::Opening | Self::Absent { .. } => false,
            Self::Loading { meta, .. } | Self::Sent { meta, .. } => meta.index <= matched,
        }
    }
}

impl Peer {
    fn outgoing(&mut self) -> Option<&mut Outgoing> {
        match &mut self.progress {
            Progress::Snapshot(outgoing) => Some(outgoing),
            Progress::Probe { .. } | Progress::Replicate { .. } => None,
        }
    }

    /// A chunk was read. Whether it is to be sent: one that nobody waits for any more is not.
    pub(crate) fn chunk_loaded(&mut self, now: BootTime, meta: &SnapshotMeta, offset: u64) -> bool {
        let Some(outgoing) = self.outgoing() else { return false };
        let expected = match outgoing {
            Outgoing::Opening => offset == 0,
            Outgoing::Loading { meta: loading, offset: at } => loading == meta && *at == offset,
            Outgoing::Absent { .. } | Outgoing::Sent { .. } => false,
        };
        if expected {
            *outgoing = Outgoing::Sent { meta: meta.clone(), offset, since: now, repeated: false };
        }
        expected
    }

    /// There is no such snapshot (any more). A newer one may have taken its place: it is opened shortly.
    pub(crate) fn chunk_missing(&mut self, now: BootTime) {
        if let Some(outgoing) = self.outgoing() {
            match outgoing {
                Outgoing::Opening | Outgoing::Loading { .. } => *outgoing = Outgoing::Absent { since: now },
                Outgoing::Absent { .. } | Outgoing::Sent { .. } => {}
            }
        }
    }

    /// The peer says how much it has; the chunk to read next, if any. Going back is believed only after a repeated
    /// question: otherwise it is a duplicate of an earlier answer.
    pub(crate) fn chunk_received(&mut self, last: Position, end: u64) -> Option<(SnapshotMeta, u64)> {
        let outgoing = self.outgoing()?;
        let Outgoing::Sent { meta, offset, since, repeated } = outgoing else { return None };
        if meta.last() != last || end > meta.bytes || (end <= *offset && !*repeated) {
            return None;
        }
        if end == meta.bytes {
            // Only the installation is missing.
            *outgoing = Outgoing::Sent { meta: meta.clone(), offset: end, since: *since, repeated: true };
            return None;
        }
        let meta = meta.clone();
        *outgoing = Outgoing::Loading { meta: meta.clone(), offset: end };
        Some((meta, end))
    }
}
