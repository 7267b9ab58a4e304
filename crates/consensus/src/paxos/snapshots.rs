//! Snapshots on their way to a node that lags behind a compacted log: from the leader to a follower, or from an acceptor to the
//! candidate that it teaches.
//!
//! The sender asks its caller for one chunk at a time, sends it, and waits for the receiver's word on how much it
//! has written. The receiver says where to go on, so a transfer resumes after any loss, and starts over after a
//! restart of the receiver. The snapshot counts as accepted when it is installed, by an ordinary acceptance of its last entry.

use bytes::Bytes;

use super::{Paxos, Role, message::Body};
use crate::{
    BootTime, Index, NodeId, Position, SnapshotMeta,
    engine::SnapshotEffect,
    replication::{
        incoming::{Incoming, Reaction, Stored},
        leadership::needed_behind_transfers,
    },
};

/// The sender's side.
impl Paxos {
    /// The chunk that was asked for.
    pub(super) fn snapshot_loaded(
        &mut self,
        now: BootTime,
        to: NodeId,
        meta: SnapshotMeta,
        offset: u64,
        data: Bytes,
    ) {
        if self.peer_mut(to).is_some_and(|peer| peer.chunk_loaded(now, &meta, offset)) {
            self.send(to, Body::SnapshotChunk { meta, offset, data });
        }
    }

    pub(super) fn snapshot_missing(&mut self, now: BootTime, to: NodeId) {
        if let Some(peer) = self.peer_mut(to) {
            peer.chunk_missing(now);
        }
    }

    /// The receiver says how much it has.
    pub(super) fn snapshot_received(&mut self, from: NodeId, last: Position, end: u64) {
        let bytes = self.config.snapshot_chunk_bytes;
        let Some(peer) = self.peer_mut(from) else { return };
        if let Some((meta, offset)) = peer.chunk_received(last, end) {
            self.outbox.snapshots.push(SnapshotEffect::Load { to: from, meta: Some(meta), offset, bytes });
        }
    }

    /// The first entry that must stay for those that are being sent a snapshot.
    pub(super) fn needed_behind_transfers(&self) -> Option<Index> {
        match &self.role {
            Role::Leader(leader) => needed_behind_transfers(leader.peers.values(), &self.log, &self.config),
            Role::Follower(follower) => {
                needed_behind_transfers(follower.pupil.as_deref().into_iter(), &self.log, &self.config)
            }
            Role::Surveyor(_) | Role::Candidate(_) => None,
        }
    }
}

/// The receiver's side.
impl Paxos {
    /// A chunk from the leader, or to a candidate from its teacher.
    pub(super) fn receive_chunk(&mut self, from: NodeId, meta: SnapshotMeta, offset: u64, data: Bytes) {
        if self.incoming.is_installing() {
            // The sender hears of it when it is done.
            return;
        }
        if self.standing.covers(&self.log, &meta) {
            self.incoming.abandon();
            self.note_match(meta.index);
            self.learn_commit(meta.index);
            self.promise(from, meta.index, Body::Accepted { matched: meta.index });
            return;
        }
        // A snapshot of nothing is for a witness, which nobody is here.
        if !self.may_exist(meta.term) || meta.bytes == 0 {
            return;
        }
        match self.incoming.receive((from, self.ballot.term()), meta, offset, data) {
            Reaction::Nothing => {}
            Reaction::Store(store) => self.outbox.snapshots.push(*store),
            Reaction::Tell { last, end } => self.send(from, Body::SnapshotReceived { last, end }),
        }
    }

    /// A chunk is written.
    pub(super) fn snapshot_stored(&mut self, stored: &SnapshotMeta, stored_end: u64) {
        let Some(Stored { from, term, meta }) = self.incoming.stored(stored, stored_end) else { return };
        if stored_end == meta.bytes && !self.standing.covers(&self.log, &meta) {
            self.incoming = Incoming::Complete { meta: meta.clone() };
        }
        if term == self.ballot.term() {
            self.send(from, Body::SnapshotReceived { last: meta.last(), end: stored_end });
        }
    }

    /// Hands a complete snapshot to the caller, once no earlier write could still change the durable log.
    pub(super) fn install_if_idle(&mut self) {
        if self.durability.is_settled(&self.log) {
            self.outbox.snapshots.extend(self.incoming.begin_installation());
        }
    }

    /// The snapshot was no good. The sender asks how it stands when it has waited long enough, and starts over; a candidate
    /// lets others try.
    pub(super) fn snapshot_rejected(&mut self, now: BootTime, rejected: &SnapshotMeta) {
        if self.incoming.rejected(rejected)
            && let Role::Candidate(_) = &self.role
        {
            self.give_up(now);
        }
    }

    /// The snapshot is in the machine, and in the place of the log.
    pub(super) fn snapshot_installed(&mut self, now: BootTime, installed: &SnapshotMeta) {
        if !self.incoming.installed(installed) {
            return;
        }
        let matched = installed.index;
        self.standing.installed(matched);
        self.log.install(installed);
        self.durability.installed(matched, &self.log);
        self.note_match(matched);
        self.learned(matched);
        let sender = match &self.role {
            Role::Follower(follower) => follower.is_led().then_some(self.ballot.node),
            Role::Candidate(_) => self.teacher(),
            Role::Surveyor(_) | Role::Leader(_) => None,
        };
        if let Some(sender) = sender {
            self.promise(sender, matched, Body::Accepted { matched });
        }
        self.conclude(now);
    }
}
