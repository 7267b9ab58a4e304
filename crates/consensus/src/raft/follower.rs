//! The follower: makes its log equal to the leader's, and forwards reads.
//!
//! * Entries at or below the commit index are never looked at again, let alone truncated (hazard 8).
//! * An acknowledgement tells how far the log is equal *and durable*; it waits for the write, also when the append
//!   was empty or a duplicate (hazard 6).
//! * While a snapshot is being installed nothing is appended or committed; the leader repeats itself.

use std::time::Duration;

use super::{
    Raft, Role,
    message::{Body, ReadPoint},
};
use crate::{
    BootTime, ClusterTime, Config, Entry, Index, NodeId, Position, Priority, ReadId,
    engine::ReadOutcome,
    replication::{
        offer::{Merge, Mismatch, Offer},
        reads::Forwarded,
    },
};

/// The state of a node that follows a leader, or waits for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Follower {
    leader: Option<Contact>,
    /// When it asks for an election if it hears nothing.
    pub(super) campaign_at: BootTime,
    /// Whether a voter of greater priority could succeed the leader, and is to stand first.
    outranked: bool,
    reads: Forwarded,
}

/// The leader of the present term, and when it was heard last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Contact {
    id: NodeId,
    heard: BootTime,
}

impl Follower {
    /// Knows no leader.
    pub(super) fn waiting(campaign_at: BootTime) -> Self {
        Self { leader: None, campaign_at, outranked: false, reads: Forwarded::default() }
    }

    /// Just heard `leader`.
    pub(super) fn of(leader: NodeId, now: BootTime, campaign_at: BootTime) -> Self {
        Self { leader: Some(Contact { id: leader, heard: now }), ..Self::waiting(campaign_at) }
    }

    pub(super) fn leader_id(&self) -> Option<NodeId> {
        self.leader.as_ref().map(|contact| contact.id)
    }

    pub(super) fn hears_leader(&self, now: BootTime, timeout: Duration) -> bool {
        self.leader.as_ref().is_some_and(|contact| now.since(contact.heard) < timeout)
    }

    /// When the follower wants to be called: to campaign, or to give up on forwarded reads.
    pub(super) fn deadline(&self, config: &Config) -> BootTime {
        let give_up = self.reads.gives_up_at(config.election_timeout);
        give_up.map_or(self.campaign_at, |give_up| give_up.min(self.campaign_at))
    }

    /// All reads that have no outcome yet.
    pub(super) fn take_reads(&mut self) -> Vec<ReadId> {
        self.reads.take_all()
    }
}

impl Raft {
    /// The leader of the present term was heard.
    pub(super) fn follow(&mut self, now: BootTime, leader: NodeId, stamp: Option<ClusterTime>) {
        let campaign_at = self.random_election_time(now);
        let known = self.role_view().leader;
        assert!(
            known.is_none_or(|known| known == leader),
            "two leaders in term {}: {known:?} and {leader}",
            self.term
        );
        match &mut self.role {
            Role::Follower(follower) => {
                follower.leader = Some(Contact { id: leader, heard: now });
                let grace = if follower.outranked { self.config.election_timeout } else { Duration::ZERO };
                follower.campaign_at = campaign_at.after(grace);
            }
            Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => {
                self.become_follower(now, self.term, Some(leader));
            }
        }
        self.leader_heard = now;
        if let Some(stamp) = stamp {
            self.heard.hear(self.term, stamp);
        }
    }

    /// The leader tells the greatest priority among the voters that could succeed it.
    pub(super) fn defer_to(&mut self, preferred: Priority) {
        if let Role::Follower(follower) = &mut self.role {
            follower.outranked = self.config.priority < preferred;
        }
    }

    /// The connection to a peer broke. If it leads, it is probably dead: others will find out at the same time,
    /// so a short random delay is enough to keep them apart.
    pub(super) fn leader_unreachable(&mut self, now: BootTime, peer: NodeId) {
        let delay = self.jitter.up_to(self.config.heartbeat_interval);
        if let Role::Follower(follower) = &mut self.role
            && follower.leader_id() == Some(peer)
        {
            let grace = if follower.outranked { self.config.heartbeat_interval } else { Duration::ZERO };
            follower.leader = None;
            follower.campaign_at = now.after(delay.saturating_add(grace));
            let reads = follower.take_reads();
            self.drop_reads(reads);
        }
    }

    /// Entries from the leader.
    pub(super) fn append(&mut self, leader: NodeId, base: Position, entries: Vec<Entry>, commit: Index) {
        let offer = Offer { base, entries };
        if self.incoming.is_installing() || !offer.is_well_formed(self.term) {
            return;
        }
        let merge = match offer.take_into(&mut self.log, self.term, self.standing.commit()) {
            Ok(merge) => merge,
            Err(Mismatch { base, hint }) => return self.send(leader, Body::AppendRejected { base, hint }),
        };
        let Merge { matched, truncated_from } = merge;
        truncated_from.into_iter().for_each(|from| self.truncated(from));
        self.note_match(matched);
        self.learn_commit(commit.min(matched));
        self.promise(leader, matched, Body::AppendAccepted { matched });
    }

    fn truncated(&mut self, from: Index) {
        self.durability.truncated(from);
        self.outbox.truncated(from);
    }

    /// The leader says that the log is committed up to `commit`, and knows that this node has it.
    pub(super) fn learn_commit(&mut self, commit: Index) {
        // A node whose disk lost what it had acknowledged must not take other entries for committed ones.
        if commit > self.standing.commit()
            && commit <= self.log.last_index()
            && !self.incoming.is_installing()
        {
            self.commit_to(commit);
        }
    }

    /// Sends the reads of this batch of inputs to the leader, as one question.
    pub(super) fn forward_reads(&mut self, now: BootTime) {
        let Role::Follower(follower) = &mut self.role else { return };
        let Some(leader) = follower.leader_id() else { return };
        if !follower.reads.is_waiting() {
            return;
        }
        self.read_batches += 1;
        let batch = self.read_batches;
        follower.reads.ask(batch, now);
        self.send(leader, Body::Read { origin: self.origin, batch });
    }

    /// A read arrived at a node that does not lead.
    pub(super) fn read_as_follower(&mut self, id: ReadId) {
        match &mut self.role {
            Role::Follower(follower) if follower.leader.is_some() => follower.reads.wait(id),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => {
                self.drop_reads([id]);
            }
        }
    }

    /// The leader's answer to a forwarded batch. One from another node or life, or a second one, finds nothing.
    pub(super) fn read_answered(&mut self, from: NodeId, origin: u64, batch: u64, point: Option<ReadPoint>) {
        let Role::Follower(follower) = &mut self.role else { return };
        if origin != self.origin || follower.leader_id() != Some(from) {
            return;
        }
        let reads = follower.reads.answered(batch);
        self.outbox.reads.extend(reads.into_iter().map(|id| (id, ReadOutcome::of(point))));
    }

    /// Gives up on forwarded reads that have waited for an election time-out: question or answer is lost.
    pub(super) fn drop_unanswered_reads(&mut self, now: BootTime) {
        let Role::Follower(follower) = &mut self.role else { return };
        let lost = follower.reads.take_lost(now, self.config.election_timeout);
        self.drop_reads(lost);
    }
}
