//! The leader: phase 2. It appends, counts, commits, and gives way when it must.
//!
//! * Its own acceptance is its own disk's: it counts itself for what is durable, no more (hazard 5).
//! * It commits by counting only what ends in an entry of its own ballot: what it has adopted is accepted in its ballot
//!   together with that (see the head of [`super`]; hazard 1).
//! * It hears a voter by answers to new rounds alone, so that duplicates of old ones keep nobody alive (hazard 18). Without a
//!   quorum heard within an election time-out it gives way, and says so (hazard 14).
//! * A single member that has promised a greater ballot, whose owner never came to lead, cannot follow it. It keeps its lead for
//!   an election time-out, in which that owner may take over; then it raises its own ballot above that one.

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use super::{Paxos, Role, message::Body, quorums};
use crate::{
    BootTime, Index, NodeId, Payload, ProposalId,
    engine::ProposalOutcome,
    replication::{circle::Circle, leadership::Leadership, progress::Peer},
};

/// The state of a leader.
pub(super) type Leader = Leadership<Outdated>;

/// What only Paxos must know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Outdated {
    /// Since when a voter is known to have promised a greater ballot.
    pub(super) since: Option<BootTime>,
}

impl Paxos {
    /// What this node knows as a leader.
    pub(super) fn circle<'a>(&'a self, now: BootTime, leader: &'a Leader) -> Circle<'a> {
        leader.circle(now, (self.ballot.term(), self.standing.commit()), &self.log, &self.config)
    }

    /// Whether enough to commit, this node included, were heard within an election time-out.
    pub(super) fn hears_quorum(&self, now: BootTime, leader: &Leader) -> bool {
        self.circle(now, leader).hears(|is_heard| quorums::are_led(self.log.membership(), is_heard))
    }

    /// What a leader does as time passes. Whether it hears enough, it looks whenever it is to speak to all, and not with each
    /// message: it is called at least as often.
    pub(super) fn lead_on(&mut self, now: BootTime) {
        let Role::Leader(leader) = &self.role else { return };
        if leader.is_to_speak(now) && !self.hears_quorum(now, leader) {
            return self.give_way(now);
        }
        let patience = self.config.election_timeout;
        let is_outdated = leader.own.since.is_some_and(|since| now.since(since) >= patience);
        if is_outdated && leader.handover.is_none() && self.may_stand(now) {
            return self.stand(now, true);
        }
        self.watch_health(now);
        if let Role::Leader(leader) = &self.role
            && leader.heartbeat_at <= now
        {
            self.broadcast_heartbeat(now);
        }
    }

    /// Leads no more, and says so to those who may hear it still.
    pub(super) fn give_way(&mut self, now: BootTime) {
        let Role::Leader(leader) = &self.role else { return };
        let peers: Vec<NodeId> = leader.peers.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.send(peer, Body::Resigned));
        self.become_follower(now, self.ballot);
    }

    /// Speaks to every peer, in a new round. Each is told to commit only what it is known to have.
    pub(super) fn broadcast_heartbeat(&mut self, now: BootTime) {
        let Role::Leader(leader) = &self.role else { return };
        let may_confirm = self.may_confirm(leader);
        let Role::Leader(leader) = &mut self.role else { return };
        if !may_confirm || leader.reads.begin_round(now, self.standing.commit()).is_none() {
            leader.reads.pass_round();
        }
        leader.heartbeat_at = now.after(self.config.heartbeat_interval);
        let stamp = leader.stamp(now, &self.log);
        let round = leader.reads.newest_round();
        let mut heartbeats = Vec::with_capacity(leader.peers.len());
        for (&id, peer) in &mut leader.peers {
            let commit = self.standing.commit();
            let commit = if bug::on(Bug::UnmatchedCommit) { commit } else { commit.min(peer.matched) };
            peer.told_commit = peer.told_commit.max(commit);
            heartbeats.push((id, Body::Heartbeat { commit, round, stamp }));
        }
        heartbeats.into_iter().for_each(|(id, body)| self.send(id, body));
    }

    /// A client's batch.
    pub(super) fn propose(&mut self, now: BootTime, id: ProposalId, payload: Bytes) {
        let payload = if payload.is_empty() { Payload::Blank } else { Payload::Command(payload) };
        let Role::Leader(leader) = &self.role else {
            return self.refuse_proposal(id, ProposalOutcome::NotLeader);
        };
        if leader.handover.is_some() {
            return self.refuse_proposal(id, ProposalOutcome::NotLeader);
        }
        if !leader.has_room_for(&payload, &self.config) {
            return self.refuse_proposal(id, ProposalOutcome::Overloaded);
        }
        let index = self.append_own(now, payload);
        let term = self.ballot.term();
        self.outbox.proposals.push((id, ProposalOutcome::Appended { index, term }));
    }

    /// Appends an entry of the leader's own to its log. It is sent and written when the batch is drained.
    pub(super) fn append_own(&mut self, now: BootTime, payload: Payload) -> Index {
        let Role::Leader(leader) = &mut self.role else {
            panic!("{} appends to its log without leading ballot {}", self.config.id, self.ballot);
        };
        leader.append(now, self.ballot.term(), payload, &mut self.log)
    }

    /// What this node sends a peer: as a leader to each, as a teacher to its pupil.
    pub(super) fn peer_mut(&mut self, node: NodeId) -> Option<&mut Peer> {
        match &mut self.role {
            Role::Leader(leader) => leader.peers.get_mut(&node),
            Role::Follower(follower) if node == self.ballot.node => follower.pupil.as_deref_mut(),
            Role::Follower(_) | Role::Surveyor(_) | Role::Candidate(_) => None,
        }
    }

    pub(super) fn accepted(&mut self, now: BootTime, from: NodeId, matched: Index) {
        if matched > self.log.last_index() {
            return;
        }
        let first_index = self.log.first_index();
        let Some(peer) = self.peer_mut(from) else { return };
        peer.accepted(matched, first_index, now);
        self.commit_by_counting();
        self.hand_over_if_ready();
    }

    /// Commits what a quorum has accepted, if it ends in an entry of this ballot.
    pub(super) fn commit_by_counting(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let reached = quorums::accepted(self.log.membership(), |voter| {
            if voter == self.config.id {
                self.durability.durable()
            } else {
                leader.peers.get(&voter).map_or(Index(0), |peer| peer.matched)
            }
        });
        let is_own = self.log.term_at(reached) == Some(self.ballot.term()) || bug::on(Bug::OldTermCounted);
        if reached <= self.standing.commit() || !is_own {
            return;
        }
        leader.committed(&self.log, self.standing.commit(), reached);
        self.commit_to(reached);
    }
}
