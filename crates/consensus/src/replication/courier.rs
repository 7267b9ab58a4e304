//! Sending the log: once per drained batch, each peer gets what its progress allows.

use bytes::Bytes;

use super::{
    log_view::LogView,
    outbox::Outbox,
    outgoing::Outgoing,
    progress::{Peer, Progress},
};
use crate::{
    BootTime, ClusterTime, Config, Entry, Index, NodeId, Position, SnapshotMeta, Term, engine::SnapshotEffect,
};

/// The messages that carry a log, as the engine words them. Each is sent in `term`.
pub(crate) trait Freight: Sized {
    /// Entries behind `base`, and how far the sender knows the log to be committed.
    fn entries(term: Term, base: Position, entries: Vec<Entry>, commit: Index, stamp: ClusterTime) -> Self;

    /// News of commitment alone.
    fn commitment(term: Term, commit: Index, stamp: ClusterTime) -> Self;

    /// A part of a snapshot.
    fn chunk(term: Term, meta: SnapshotMeta, offset: u64, data: Bytes) -> Self;
}

/// All that is needed to serve one peer after the other.
pub(crate) struct Courier<'a, M> {
    pub(crate) config: &'a Config,
    pub(crate) log: &'a LogView,
    pub(crate) outbox: &'a mut Outbox<M>,
    pub(crate) term: Term,
    pub(crate) commit: Index,
    pub(crate) stamp: ClusterTime,
    pub(crate) now: BootTime,
}

impl<M: Freight> Courier<'_, M> {
    /// Sends one peer what it lacks.
    pub(crate) fn serve(&mut self, id: NodeId, peer: &mut Peer) {
        let base_is_here = self.log.term_at(peer.next.previous()).is_some();
        match &peer.progress {
            Progress::Probe { sent } if self.is_due(*sent) => {
                if base_is_here {
                    self.probe(id, peer)
                } else {
                    self.open_snapshot(id, peer)
                }
            }
            Progress::Probe { .. } => {}
            Progress::Replicate { .. } => {
                if base_is_here {
                    self.stream(id, peer)
                } else {
                    self.open_snapshot(id, peer)
                }
            }
            Progress::Snapshot(_) => self.urge_snapshot(id, peer),
        }
    }

    /// Whether what was sent then should have been answered by now.
    pub(crate) fn is_due(&self, sent: Option<BootTime>) -> bool {
        sent.is_none_or(|sent| self.now.since(sent) >= self.config.heartbeat_interval)
    }

    /// Asks whether the logs agree before `next`. The first time entries ride along; a repetition is bare.
    fn probe(&mut self, id: NodeId, peer: &mut Peer) {
        let first_time = peer.progress == Progress::Probe { sent: None };
        let entries = if first_time { self.next_entries(peer) } else { Vec::new() };
        self.send_append(id, peer, entries);
        peer.progress = Progress::Probe { sent: Some(self.now) };
    }

    /// Sends all entries that fit into the window; otherwise what else the peer should hear.
    fn stream(&mut self, id: NodeId, peer: &mut Peer) {
        while peer.next <= self.log.last_index() && self.has_room(id, peer) {
            let entries = self.next_entries(peer);
            let next = entries.last().map_or(peer.next, |entry| entry.index.next());
            self.note_inflight(peer, &entries);
            self.send_append(id, peer, entries);
            peer.next = next;
        }
        self.ask_if_lost(id, peer);
        // Commitment that no append has carried.
        let commit = self.commit.min(peer.matched);
        if commit > peer.told_commit {
            peer.told_commit = commit;
            self.send(id, M::commitment(self.term, commit, self.stamp));
        }
    }

    /// Whether one more append may be sent. No commit waits for a peer without a vote, so it has a part of the window: what
    /// a newcomer lacks would otherwise crowd out, on links and disks, what commits.
    fn has_room(&self, id: NodeId, peer: &Peer) -> bool {
        match &peer.progress {
            Progress::Replicate { inflight, .. } if self.log.membership().is_voter(id) => {
                inflight.has_room(self.config, 1)
            }
            Progress::Replicate { inflight, .. } => inflight.has_room(self.config, 4),
            Progress::Probe { .. } | Progress::Snapshot(_) => false,
        }
    }

    fn note_inflight(&self, peer: &mut Peer, entries: &[Entry]) {
        if let Progress::Replicate { inflight, checked } = &mut peer.progress {
            if inflight.is_empty() {
                *checked = self.now;
            }
            inflight.add(entries);
        }
    }

    /// Entries in flight were not acknowledged for a heartbeat interval: an empty append after them finds out
    /// whether they arrived. If not, its refusal starts a new probe.
    fn ask_if_lost(&mut self, id: NodeId, peer: &mut Peer) {
        if let Progress::Replicate { inflight, checked } = &mut peer.progress
            && !inflight.is_empty()
            && self.now.since(*checked) >= self.config.heartbeat_interval
        {
            *checked = self.now;
            self.send_append(id, peer, Vec::new());
        }
    }

    fn next_entries(&self, peer: &Peer) -> Vec<Entry> {
        self.log.batch(peer.next, self.config.message_bytes_max)
    }

    fn send_append(&mut self, id: NodeId, peer: &mut Peer, entries: Vec<Entry>) {
        let index = peer.next.previous();
        let term =
            self.log.term_at(index).expect("the base was checked, or entries before it were just sent");
        let last = entries.last().map_or(index, |entry| entry.index);
        peer.told_commit = peer.told_commit.max(self.commit.min(last));
        let base = Position { index, term };
        self.send(id, M::entries(self.term, base, entries, self.commit, self.stamp));
    }

    /// The peer needs what is compacted away.
    fn open_snapshot(&mut self, id: NodeId, peer: &mut Peer) {
        peer.progress = Progress::Snapshot(Outgoing::Opening);
        let bytes = self.config.snapshot_chunk_bytes;
        self.outbox.snapshots.push(SnapshotEffect::Load { to: id, meta: None, offset: 0, bytes });
    }

    pub(crate) fn send(&mut self, to: NodeId, message: M) {
        self.outbox.send.push((to, message));
    }

    /// Repeats what a transfer waits for.
    fn urge_snapshot(&mut self, id: NodeId, peer: &mut Peer) {
        let Progress::Snapshot(outgoing) = &mut peer.progress else { return };
        let patience = self.config.election_timeout;
        match outgoing {
            Outgoing::Opening | Outgoing::Loading { .. } => {}
            Outgoing::Absent { since } => {
                if self.now.since(*since) >= self.config.heartbeat_interval {
                    self.open_snapshot(id, peer);
                }
            }
            Outgoing::Sent { meta, since, repeated, offset: _ } => {
                if self.now.since(*since) < patience {
                    return;
                }
                // Bare, at the end, it asks how the transfer stands: the answer names the place to go on from.
                *since = self.now;
                *repeated = true;
                let meta = meta.clone();
                self.send(id, M::chunk(self.term, meta.clone(), meta.bytes, Bytes::new()));
            }
        }
    }
}
