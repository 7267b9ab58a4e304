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
};
use crate::{
    BootTime, Index, NodeId, SnapshotMeta,
    engine::SnapshotEffect,
    replication::{
        incoming::{Incoming, Reaction, Stored},
        progress::Peer,
    },
};

/// The sender's side.
impl Raft {
    fn receiver(&mut self, node: NodeId) -> Option<&mut Peer> {
        let Role::Leader(leader) = &mut self.role else { return None };
        leader.peers.get_mut(&node)
    }

    /// The chunk that was asked for.
    pub(super) fn snapshot_loaded(
        &mut self,
        now: BootTime,
        to: NodeId,
        meta: SnapshotMeta,
        offset: u64,
        data: Bytes,
    ) {
        if self.receiver(to).is_some_and(|peer| peer.chunk_loaded(now, &meta, offset)) {
            self.send(to, Body::SnapshotChunk { meta, offset, data });
        }
    }

    pub(super) fn snapshot_missing(&mut self, now: BootTime, to: NodeId) {
        if let Some(peer) = self.receiver(to) {
            peer.chunk_missing(now);
        }
    }

    /// The follower says how much it has.
    pub(super) fn snapshot_received(&mut self, now: BootTime, from: NodeId, last: Position, end: u64) {
        let bytes = self.config.snapshot_chunk_bytes;
        let Some(peer) = self.receiver(from) else { return };
        peer.heard = now;
        if let Some((meta, offset)) = peer.chunk_received(last, end) {
            self.outbox.snapshots.push(SnapshotEffect::Load { to: from, meta: Some(meta), offset, bytes });
        }
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
        if self.standing.covers(&self.log, &meta) {
            // A witness does not know what lies between its configurations.
            if meta.bytes > 0 || self.log.holds(meta.last()) {
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
        match self.incoming.receive((from, self.term), meta, offset, data) {
            Reaction::Nothing => {}
            Reaction::Store(store) => self.outbox.snapshots.push(*store),
            Reaction::Tell { last, end } => self.send(from, Body::SnapshotReceived { last, end }),
        }
    }

    /// The log holds all that the snapshot stands for, so it equals the leader's up to there.
    fn accept_snapshot(&mut self, leader: NodeId, index: Index) {
        self.incoming.abandon();
        self.note_match(index);
        self.learn_commit(index);
        self.promise(leader, index, Body::AppendAccepted { matched: index });
    }

    /// A chunk is written.
    pub(super) fn snapshot_stored(&mut self, stored: &SnapshotMeta, stored_end: u64) {
        let Some(Stored { from, term, meta }) = self.incoming.stored(stored, stored_end) else { return };
        if stored_end == meta.bytes && !self.standing.covers(&self.log, &meta) {
            self.incoming = Incoming::Complete { meta: meta.clone() };
        }
        if term == self.term {
            self.send(from, Body::SnapshotReceived { last: meta.last(), end: stored_end });
        }
    }

    /// Hands a complete snapshot to the caller, once no earlier write could still change the durable log.
    pub(super) fn install_if_idle(&mut self) {
        if self.durability.is_settled(&self.log) {
            self.outbox.snapshots.extend(self.incoming.begin_installation());
        }
    }

    /// The snapshot is in the machine, and in the place of the log.
    pub(super) fn snapshot_installed(&mut self, installed: &SnapshotMeta) {
        if !self.incoming.installed(installed) {
            return;
        }
        self.standing.installed(installed.index);
        self.log.install(installed);
        self.durability.installed(installed.index, &self.log);
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
        self.incoming.rejected(rejected);
    }
}
