//! The leader: appends, counts, commits, and gives way when it must.
//!
//! * Its own acknowledgement is its own disk's: it counts itself for what is durable, no more (hazard 5).
//! * It commits by counting only entries of its own term (section 5.4.2, figure 8; hazard 1).
//! * Beside a witness it commits what all other holders of data have ([`super::witness`]).
//! * Without a quorum heard within an election time-out it steps down (hazard 14).

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use super::{
    Raft, Role,
    lease::Held,
    message::{Body, Position},
    transfer::Handover,
};
use crate::{
    BootTime, ClusterTime, Config, Entry, Index, Membership, NodeId, Payload, Priority, ProposalId,
    cluster_clock::ClusterClock,
    engine::ProposalOutcome,
    replication::{
        circle::Circle,
        durability::Durability,
        log_view::LogView,
        progress::{Peer, is_active, serve_members},
        reads::Reads,
    },
};

/// How much of the log, as a multiple of what may be uncommitted, is kept for a peer that installs a snapshot: some
/// hundred megabytes by default. A peer that takes longer begins anew with a newer snapshot.
const HELD_FOR_TRANSFER: usize = 4;

/// The state of a leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Leader {
    /// The first entry of its term.
    pub(super) first: Index,
    /// All members but itself, and for a while those that have left.
    pub(super) peers: BTreeMap<NodeId, Peer>,
    pub(super) clock: ClusterClock,
    pub(super) reads: Reads,
    pub(super) lease: Held,
    /// The hand-over under way, if any.
    pub(super) handover: Option<Handover>,
    /// The weight of the entries that are not committed yet, those of its predecessors included.
    uncommitted_bytes: usize,
    /// When those that have left are served no longer, once that is settled.
    pub(super) farewell: Option<BootTime>,
    /// When the next heartbeat is due.
    pub(super) heartbeat_at: BootTime,
}

impl Leader {
    pub(super) fn new(
        log: &LogView,
        commit: Index,
        base: ClusterTime,
        now: BootTime,
        config: &Config,
    ) -> Self {
        let first = log.last_index().next();
        let mut leader = Self {
            first,
            peers: BTreeMap::new(),
            clock: ClusterClock::start(base, now),
            reads: Reads::default(),
            lease: Held::default(),
            handover: None,
            uncommitted_bytes: log.weight_from(commit.next()),
            farewell: None,
            heartbeat_at: now.after(config.heartbeat_interval),
        };
        serve_members(&mut leader.peers, log.membership(), config.id, first, now);
        leader
    }

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

    /// What was in flight to the peer is lost.
    pub(super) fn lost_connection(&mut self, now: BootTime, peer: NodeId) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.lost_connection(now);
        }
    }
}

impl Raft {
    /// What this node knows as a leader.
    pub(super) fn circle<'a>(&'a self, now: BootTime, leader: &'a Leader) -> Circle<'a> {
        Circle {
            config: &self.config,
            log: &self.log,
            peers: &leader.peers,
            term: self.term,
            commit: self.standing.commit(),
            first: leader.first,
            now,
        }
    }

    /// Whether a quorum, this node included, was heard within an election time-out.
    pub(super) fn hears_quorum(&self, now: BootTime, leader: &Leader) -> bool {
        self.circle(now, leader).hears(|is_heard| self.log.membership().has_quorum(is_heard))
    }
}

impl Raft {
    /// What a leader does as time passes.
    pub(super) fn lead_on(&mut self, now: BootTime) {
        let Role::Leader(leader) = &self.role else { return };
        if !self.hears_quorum(now, leader) {
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
            leader.lease.began_round(number, now);
        }
        leader.heartbeat_at = now.after(self.config.heartbeat_interval);
        let stamp = leader.clock.read(now).max(self.log.last_stamp());
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
        // A batch that is greater than the whole limit is taken when nothing else waits.
        let bytes = leader.uncommitted_bytes.saturating_add(Entry::weight_of(&payload));
        if leader.uncommitted_bytes > 0 && bytes > self.config.uncommitted_bytes_max {
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
        let index = self.log.last_index().next();
        let stamp = leader.clock.read(now).max(self.log.last_stamp());
        let entry = Entry { index, term: self.term, stamp, payload };
        leader.uncommitted_bytes += entry.weight();
        self.log.append(entry);
        index
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

    /// The first entry that a peer will need once the snapshot on its way is installed; without it, it would need
    /// one snapshot after the other. `None` if there is no such peer, or if the entries weigh too much by now.
    pub(super) fn needed_behind_transfers(&self) -> Option<Index> {
        let Role::Leader(leader) = &self.role else { return None };
        let needed = leader.peers.values().filter_map(Peer::transfers).min()?.next();
        let bytes = self.log.weight_from(needed);
        (bytes <= self.config.uncommitted_bytes_max.saturating_mul(HELD_FOR_TRANSFER)).then_some(needed)
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
        let newly = self.log.range(self.standing.commit().next(), reached);
        let bytes: usize = newly.map(Entry::weight).sum();
        assert!(
            bytes <= leader.uncommitted_bytes,
            "{bytes} bytes committed of {} that were not",
            leader.uncommitted_bytes
        );
        leader.uncommitted_bytes -= bytes;
        assert!(
            reached < self.log.last_index() || leader.uncommitted_bytes == 0,
            "all is committed, but {} bytes are still counted",
            leader.uncommitted_bytes
        );
        self.commit_to(reached);
    }
}
