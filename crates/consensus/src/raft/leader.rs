//! The leader: appends, counts, commits, and gives way when it must.
//!
//! * Its own acknowledgement is its own disk's: it counts itself for what is durable, no more (hazard 5).
//! * It commits by counting only entries of its own term (section 5.4.2, figure 8; hazard 1).
//! * Beside a witness it commits what all other holders of data have ([`super::witness`]).
//! * Without a quorum heard within an election time-out it steps down (hazard 14).

use std::time::Duration;

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use super::{
    Raft, Role,
    lease::Held,
    message::{Body, Position},
};
use crate::{
    BootTime, Config, Index, Membership, NodeId, Payload, Priority, ProposalId,
    engine::ProposalOutcome,
    replication::{
        circle::Circle,
        durability::Durability,
        leadership::{Leadership, needed_behind_transfers},
        progress::is_active,
    },
};

/// The state of a leader.
pub(super) type Leader = Leadership<Held>;

impl Leader {
    /// The greatest priority among the voters that were heard lately.
    fn preferred(&self, now: BootTime, membership: &Membership, timeout: Duration) -> Priority {
        let voters = membership.voters.iter().filter_map(|voter| self.peers.get(voter));
        let told = voters.filter(|peer| is_active(peer, now, timeout)).filter_map(|peer| peer.priority);
        told.max().unwrap_or_default()
    }

    /// How far the log is on the disk of `node`, as far as is known.
    pub(super) fn held_by(&self, node: NodeId, config: &Config, durability: &Durability) -> Index {
        if node == config.id {
            durability.durable()
        } else {
            self.peers.get(&node).map_or(Index(0), |peer| peer.matched)
        }
    }
}

impl Raft {
    /// What this node knows as a leader.
    pub(super) fn circle<'a>(&'a self, now: BootTime, leader: &'a Leader) -> Circle<'a> {
        leader.circle(now, (self.term, self.standing.commit()), &self.log, &self.config)
    }

    /// Whether a quorum, this node included, was heard within an election time-out.
    pub(super) fn hears_quorum(&self, now: BootTime, leader: &Leader) -> bool {
        self.circle(now, leader).hears(|is_heard| self.log.membership().has_quorum(is_heard))
    }
}

impl Raft {
    /// What a leader does as time passes. Whether it hears a quorum, it looks whenever it is to speak to all, and not with each
    /// message: it is called at least as often.
    pub(super) fn lead_on(&mut self, now: BootTime) {
        let Role::Leader(leader) = &self.role else { return };
        if leader.is_to_speak(now) && !self.hears_quorum(now, leader) {
            self.become_follower(now, self.term, None);
            return;
        }
        self.watch_health(now);
        if let Role::Leader(leader) = &self.role
            && leader.heartbeat_at <= now
        {
            self.broadcast_heartbeat(now);
        }
    }

    /// Speaks to every peer. Each is told to commit only what it is known to have.
    pub(super) fn broadcast_heartbeat(&mut self, now: BootTime) {
        let Role::Leader(leader) = &self.role else { return };
        let begins_round = self.may_confirm(leader);
        let Role::Leader(leader) = &mut self.role else { return };
        // A heartbeat that begins none repeats the number of an older round, and proves no more than that one.
        if begins_round && let Some(number) = leader.reads.begin_round(now, self.standing.commit()) {
            leader.own.began_round(number, now);
        }
        leader.heartbeat_at = now.after(self.config.heartbeat_interval);
        let stamp = leader.stamp(now, &self.log);
        let round = leader.reads.newest_round();
        let preferred = leader.preferred(now, self.log.membership(), self.config.election_timeout);
        let mut heartbeats = Vec::with_capacity(leader.peers.len());
        for (&id, peer) in &mut leader.peers {
            let commit = if bug::on(Bug::UnmatchedCommit) {
                self.standing.commit()
            } else {
                self.standing.commit().min(peer.matched)
            };
            peer.told_commit = peer.told_commit.max(commit);
            heartbeats.push((id, Body::Heartbeat { commit, round, stamp, preferred }));
        }
        for (id, body) in heartbeats {
            self.send(id, body);
        }
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
        self.outbox.proposals.push((id, ProposalOutcome::Appended { index, term: self.term }));
    }

    /// Appends an entry of the leader's own to its log. It is sent and written when the batch is drained.
    pub(super) fn append_own(&mut self, now: BootTime, payload: Payload) -> Index {
        let Role::Leader(leader) = &mut self.role else {
            panic!("{} appends to its log without leading term {}", self.config.id, self.term);
        };
        leader.append(now, self.term, payload, &mut self.log)
    }

    pub(super) fn append_accepted(&mut self, now: BootTime, from: NodeId, matched: Index) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        if matched > self.log.last_index() {
            return;
        }
        peer.heard = now;
        peer.accepted(matched, self.log.first_index(), now);
        // Only with an entry of this term the peer has nothing left of another leader's, which could be in force there.
        let agreed_from = self.log.membership_index().max(leader.first);
        peer.bind(agreed_from, leader.reads.newest_round());
        self.commit_by_counting();
        self.hand_over_if_ready();
    }

    pub(super) fn append_rejected(&mut self, now: BootTime, from: NodeId, base: Index, hint: Position) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        peer.heard = now;
        // Nothing after the hint can agree, nor any entry here at or before it of a greater term.
        let agree_at = self.log.may_agree(hint.index, hint.term).index.min(hint.index);
        peer.rejected(base, agree_at);
    }

    /// The first entry that must stay for those that are being sent a snapshot.
    pub(super) fn needed_behind_transfers(&self) -> Option<Index> {
        let Role::Leader(leader) = &self.role else { return None };
        needed_behind_transfers(leader.peers.values(), &self.log, &self.config)
    }

    /// Commits what a quorum has on its disks, if it ends in an entry of this term.
    pub(super) fn commit_by_counting(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let membership = self.log.membership();
        let held_by = |voter| leader.held_by(voter, &self.config, &self.durability);
        let reached = if membership.has_witness() {
            self.log.reached_beside_witness(held_by)
        } else {
            membership.reached_by_quorum(held_by)
        };
        let is_own = self.log.term_at(reached) == Some(self.term) || bug::on(Bug::OldTermCounted);
        if reached <= self.standing.commit() || !is_own {
            return;
        }
        leader.committed(&self.log, self.standing.commit(), reached);
        self.commit_to(reached);
    }
}
