//! Sending the log to all peers, and to each what it may know.

use bytes::Bytes;

use super::{
    Raft, Role,
    message::{Body, Message},
};
use crate::{
    BootTime, ClusterTime, Entry, Index, Position, SnapshotMeta, Term,
    replication::courier::{Courier, Freight},
};

impl Freight for Message {
    fn entries(term: Term, base: Position, entries: Vec<Entry>, commit: Index, stamp: ClusterTime) -> Self {
        Self { term, body: Body::Append { base, entries, commit, stamp } }
    }

    fn commitment(term: Term, commit: Index, stamp: ClusterTime) -> Self {
        Self { term, body: Body::Commit { commit, stamp } }
    }

    fn chunk(term: Term, meta: SnapshotMeta, offset: u64, data: Bytes) -> Self {
        Self { term, body: Body::SnapshotChunk { meta, offset, data } }
    }
}

impl Raft {
    /// Sends every peer what it lacks.
    pub(super) fn replicate(&mut self, now: BootTime) {
        let news = self.news_for_witnesses(now);
        let Role::Leader(leader) = &mut self.role else { return };
        let mut courier = Courier {
            config: &self.config,
            log: &self.log,
            outbox: &mut self.outbox,
            term: self.term,
            commit: self.standing.commit(),
            stamp: leader.stamp(now, &self.log),
            now,
        };
        for (&id, peer) in &mut leader.peers {
            match peer.is_witness {
                true => courier.inform(id, peer, news.as_ref()),
                false => courier.serve(id, peer),
            }
        }
    }
}
