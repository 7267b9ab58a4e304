//! Snapshots on their way from a leader to a follower that lags behind the compacted log.
//!
//! The leader asks its caller for one chunk at a time, sends it, and waits for the follower's word on how much it
//! has written. The follower says where to go on, so a transfer resumes after any loss, and starts over after a
//! restart of the follower.
//!
//! * A transfer is tagged with sender, term and snapshot. Chunks of another transfer are never mixed in, not even
//!   of a snapshot of the same position: its bytes may differ from node to node (hazard 16).
//! * The follower installs only once all its earlier writes are done, and appends and commits nothing meanwhile.
//! * A witness is told each configuration as a snapshot of no bytes ([`super::witness`]).
//! * The snapshot counts as acknowledged when it is installed, by an ordinary acknowledgement of its last entry.

use bytes::Bytes;

use super::{
    Raft, Role,
    message::{Body, Position},
    progress::{Outgoing, Progress},
};
use crate::{BootTime, Index, NodeId, SnapshotMeta, Term, engine::SnapshotEffect};

/// A snapshot that this node receives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Incoming {
    /// None.
    Idle,
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

impl Incoming {
    /// The position of a configuration that comes without data, on its way into the log of a witness.
    pub(super) fn configuration(&self) -> Option<Position> {
        match self {
            Self::Receiving { meta, .. } | Self::Complete { meta } | Self::Installing { meta } => {
                (meta.bytes == 0).then(|| last_of(meta))
            }
            Self::Idle => None,
        }
    }

    /// How many bytes of a snapshot have arrived.
    pub(super) fn received(&self) -> u64 {
        match self {
            Self::Receiving { end, .. } => *end,
            Self::Idle | Self::Complete { .. } | Self::Installing { .. } => 0,
        }
    }

    /// Whether the log must be left alone.
    pub(super) fn is_installing(&self) -> bool {
        match self {
            Self::Complete { .. } | Self::Installing { .. } => true,
            Self::Idle | Self::Receiving { .. } => false,
        }
    }
}

fn last_of(meta: &SnapshotMeta) -> Position {
    Position { index: meta.index, term: meta.term }
}

/// The sender's side.
impl Raft {
    fn outgoing(&mut self, to: NodeId) -> Option<&mut Outgoing> {
        let Role::Leader(leader) = &mut self.role else { return None };
        match &mut leader.peers.get_mut(&to)?.progress {
            Progress::Snapshot(outgoing) => Some(outgoing),
            Progress::Probe { .. } | Progress::Replicate { .. } => None,
        }
    }

    /// The chunk that was asked for; one that nobody waits for any more is dropped.
    pub(super) fn snapshot_loaded(
        &mut self,
        now: BootTime,
        to: NodeId,
        meta: SnapshotMeta,
        offset: u64,
        data: Bytes,
    ) {
        let Some(outgoing) = self.outgoing(to) else { return };
        let expected = match outgoing {
            Outgoing::Opening => offset == 0,
            Outgoing::Loading { meta: loading, offset: at } => *loading == meta && *at == offset,
            Outgoing::Absent { .. } | Outgoing::Sent { .. } => false,
        };
        if expected {
            *outgoing = Outgoing::Sent { meta: meta.clone(), offset, since: now, repeated: false };
            self.send(to, Body::SnapshotChunk { meta, offset, data });
        }
    }

    /// There is no such snapshot (any more). A newer one may have taken its place: it is opened shortly.
    pub(super) fn snapshot_missing(&mut self, now: BootTime, to: NodeId) {
        if let Some(outgoing) = self.outgoing(to) {
            match outgoing {
                Outgoing::Opening | Outgoing::Loading { .. } => *outgoing = Outgoing::Absent { since: now },
                Outgoing::Absent { .. } | Outgoing::Sent { .. } => {}
            }
        }
    }

    /// The follower says how much it has. Going back is believed only after a repeated question: otherwise it is
    /// a duplicate of an earlier answer.
    pub(super) fn snapshot_received(&mut self, now: BootTime, from: NodeId, last: Position, end: u64) {
        let bytes = self.config.snapshot_chunk_bytes;
        if let Role::Leader(leader) = &mut self.role
            && let Some(peer) = leader.peers.get_mut(&from)
        {
            peer.heard = now;
        }
        let Some(outgoing) = self.outgoing(from) else { return };
        let Outgoing::Sent { meta, offset, since, repeated } = outgoing else { return };
        if last_of(meta) != last || end > meta.bytes || (end <= *offset && !*repeated) {
            return;
        }
        if end == meta.bytes {
            // Only the installation is missing.
            *outgoing = Outgoing::Sent { meta: meta.clone(), offset: end, since: *since, repeated: true };
            return;
        }
        let meta = meta.clone();
        *outgoing = Outgoing::Loading { meta: meta.clone(), offset: end };
        self.outbox.snapshots.push(SnapshotEffect::Load { to: from, meta: Some(meta), offset: end, bytes });
    }
}

/// The receiver's side.
impl Raft {
    /// A chunk from the leader of the present term.
    pub(super) fn receive_chunk(&mut self, from: NodeId, meta: SnapshotMeta, offset: u64, data: Bytes) {
        if self.incoming.is_installing() {
            // The leader hears of it when it is done.
            return;
        }
        if self.has_all_of(&meta) {
            // A witness does not know what lies between its configurations.
            if meta.bytes > 0 || self.log.holds(last_of(&meta)) {
                self.accept_snapshot(from, meta.index);
            }
            return;
        }
        if meta.term > self.term {
            // No log ends in a term that has not begun: this node could never be elected with it.
            return;
        }
        // Nothing at all would be a poor state for anybody but a witness, be it on its way out.
        let is_witness =
            [&meta.membership, self.log.membership()].iter().any(|known| known.is_witness(self.config.id));
        if (meta.bytes == 0) != is_witness {
            return;
        }
        let last = last_of(&meta);
        if let Incoming::Receiving { from: sender, term, meta: receiving, end, storing } = &mut self.incoming
        {
            let same_sender = (*sender, *term) == (from, self.term);
            if *storing || (same_sender && meta.index < receiving.index) {
                return;
            }
            if same_sender && *receiving == meta {
                let end = *end;
                if offset == end && !data.is_empty() {
                    *storing = true;
                    self.outbox.snapshots.push(SnapshotEffect::Store { meta, offset, data });
                } else {
                    self.send(from, Body::SnapshotReceived { last, end });
                }
                return;
            }
        }
        if offset != 0 || (data.is_empty() && meta.bytes > 0) {
            self.send(from, Body::SnapshotReceived { last, end: 0 });
            return;
        }
        self.incoming =
            Incoming::Receiving { from, term: self.term, meta: meta.clone(), end: 0, storing: true };
        self.outbox.snapshots.push(SnapshotEffect::Store { meta, offset: 0, data });
    }

    /// Whether the log leaves nothing for the snapshot to add.
    fn has_all_of(&self, meta: &SnapshotMeta) -> bool {
        meta.index <= self.commit || self.log.holds(last_of(meta))
    }

    /// The log holds all that the snapshot stands for, so it equals the leader's up to there.
    fn accept_snapshot(&mut self, leader: NodeId, index: Index) {
        self.incoming = Incoming::Idle;
        self.note_match(index);
        self.learn_commit(index);
        self.promise(leader, index, Body::AppendAccepted { matched: index });
    }

    /// A chunk is written.
    pub(super) fn snapshot_stored(&mut self, stored: &SnapshotMeta, stored_end: u64) {
        let Incoming::Receiving { from, term, meta, end, storing } = &mut self.incoming else { return };
        if meta != stored || !*storing {
            return;
        }
        *storing = false;
        *end = stored_end;
        let (from, term, meta) = (*from, *term, meta.clone());
        if stored_end == meta.bytes && !self.has_all_of(&meta) {
            self.incoming = Incoming::Complete { meta: meta.clone() };
        }
        if term == self.term {
            self.send(from, Body::SnapshotReceived { last: last_of(&meta), end: stored_end });
        }
    }

    /// Hands a complete snapshot to the caller, once no earlier write could still change the durable log.
    pub(super) fn install_if_idle(&mut self) {
        if let Incoming::Complete { meta } = &self.incoming
            && self.durability.is_settled(&self.log)
        {
            let meta = meta.clone();
            self.outbox.snapshots.push(SnapshotEffect::Install { meta: meta.clone() });
            self.incoming = Incoming::Installing { meta };
        }
    }

    /// The snapshot is in the machine, and in the place of the log.
    pub(super) fn snapshot_installed(&mut self, installed: &SnapshotMeta) {
        match &self.incoming {
            Incoming::Installing { meta } if meta == installed => {}
            Incoming::Installing { .. }
            | Incoming::Idle
            | Incoming::Receiving { .. }
            | Incoming::Complete { .. } => return,
        }
        assert!(
            installed.index > self.commit,
            "installed snapshot {} below the commit index {}",
            installed.index,
            self.commit
        );
        self.incoming = Incoming::Idle;
        self.log.install(installed);
        self.durability.installed(installed.index, &self.log);
        self.commit_to(installed.index);
        self.handed_out = installed.index;
        self.applied = installed.index;
        self.note_match(installed.index);
        if let Role::Follower(follower) = &self.role
            && let Some(leader) = follower.leader_id()
        {
            let matched = installed.index;
            self.promise(leader, matched, Body::AppendAccepted { matched });
        }
    }

    /// The snapshot was no good. The leader asks how it stands when it has waited long enough, and starts over.
    pub(super) fn snapshot_rejected(&mut self, rejected: &SnapshotMeta) {
        let is_present = match &self.incoming {
            Incoming::Receiving { meta, .. }
            | Incoming::Complete { meta }
            | Incoming::Installing { meta } => meta == rejected,
            Incoming::Idle => false,
        };
        if is_present {
            self.incoming = Incoming::Idle;
        }
    }
}
