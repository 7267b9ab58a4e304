//! Sending the log: from a leader to all members, and from an acceptor to the candidate that it teaches.
//!
//! A candidate whose log lacks what may have been chosen asks the acceptor whose log is the greatest. That one serves it as a
//! leader serves a peer: it probes where the logs agree, sends what follows in windows, or a snapshot if its own log begins
//! later. The candidate's repeated question drives what has to be repeated. All of that ends when the ballot does, or when the
//! candidate leads.

use bytes::Bytes;

use super::{
    Ballot, Paxos, Role,
    message::{Body, Message},
};
use crate::{
    BootTime, ClusterTime, Entry, Index, NodeId, Position, SnapshotMeta, Term,
    replication::{
        courier::{Courier, Freight},
        progress::Peer,
    },
};

impl Freight for Message {
    fn entries(term: Term, base: Position, entries: Vec<Entry>, commit: Index, stamp: ClusterTime) -> Self {
        Self { ballot: Ballot::of(term), body: Body::Accept { base, entries, commit, stamp } }
    }

    fn commitment(term: Term, commit: Index, stamp: ClusterTime) -> Self {
        Self { ballot: Ballot::of(term), body: Body::Decide { commit, stamp } }
    }

    fn chunk(term: Term, meta: SnapshotMeta, offset: u64, data: Bytes) -> Self {
        Self { ballot: Ballot::of(term), body: Body::SnapshotChunk { meta, offset, data } }
    }
}

impl Paxos {
    /// Sends every peer what it lacks.
    pub(super) fn replicate(&mut self, now: BootTime) {
        let Role::Leader(leader) = &mut self.role else { return };
        let mut courier = Courier {
            config: &self.config,
            log: &self.log,
            outbox: &mut self.outbox,
            term: self.ballot.term(),
            commit: self.standing.commit(),
            stamp: leader.stamp(now, &self.log),
            now,
        };
        leader.peers.iter_mut().for_each(|(&id, peer)| courier.serve(id, peer));
    }

    /// The candidate that owns the ballot asks for what its log lacks.
    pub(super) fn begin_to_teach(&mut self, now: BootTime, last: Position) {
        let next = self.log.may_agree(last.index, last.term).index.next();
        if let Role::Follower(follower) = &mut self.role
            && !follower.is_led()
            && self.repair.is_none()
        {
            follower.pupil.get_or_insert_with(|| Box::new(Peer::new(next, now)));
        }
    }

    /// Sends the candidate what it lacks.
    pub(super) fn teach_pupil(&mut self, now: BootTime) {
        let Role::Follower(follower) = &mut self.role else { return };
        let Some(pupil) = &mut follower.pupil else { return };
        let mut courier = Courier {
            config: &self.config,
            log: &self.log,
            outbox: &mut self.outbox,
            term: self.ballot.term(),
            commit: self.standing.commit(),
            // No leader's clock: the candidate does not listen to it.
            stamp: self.log.last_stamp(),
            now,
        };
        courier.serve(self.ballot.node, pupil);
    }

    /// The peer's log does not hold the base that it was sent.
    pub(super) fn rejected(&mut self, from: NodeId, base: Index, hint: Position) {
        // Nothing after the hint can agree, nor any entry here at or before it of a greater ballot.
        let agree_at = self.log.may_agree(hint.index, hint.term).index.min(hint.index);
        if let Some(peer) = self.peer_mut(from) {
            peer.rejected(base, agree_at);
        }
    }
}
