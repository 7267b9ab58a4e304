//! The follower: makes its log equal to the leader's, and forwards reads.
//!
//! * Entries at or below the commit index are never looked at again, let alone truncated (hazard 8).
//! * An acknowledgement tells how far the log is equal *and durable*; it waits for the write, also when the append
//!   was empty or a duplicate (hazard 6).
//! * While a snapshot is being installed nothing is appended or committed; the leader repeats itself.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Raft, Role,
    message::{Body, Position, ReadPoint},
};
use crate::{BootTime, ClusterTime, Config, Entry, Index, NodeId, Priority, ReadId, engine::ReadOutcome};

/// The state of a node that follows a leader, or waits for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Follower {
    leader: Option<Contact>,
    /// When it asks for an election if it hears nothing.
    pub(super) campaign_at: BootTime,
    /// Whether a voter of greater priority could succeed the leader, and is to stand first.
    outranked: bool,
    /// Reads that arrived in this batch of inputs.
    reads_waiting: Vec<ReadId>,
    /// Reads that the leader was asked about, by batch: ascending in age, too.
    reads_asked: BTreeMap<u64, Asked>,
}

/// The leader of the present term, and when it was heard last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Contact {
    id: NodeId,
    heard: BootTime,
}

/// One forwarded batch of reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    reads: Vec<ReadId>,
    since: BootTime,
}

impl Follower {
    /// Knows no leader.
    pub(super) fn waiting(campaign_at: BootTime) -> Self {
        let (reads_waiting, reads_asked) = (Vec::new(), BTreeMap::new());
        Self { leader: None, campaign_at, outranked: false, reads_waiting, reads_asked }
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
        let oldest = self.reads_asked.values().next();
        let give_up = oldest.map(|asked| asked.since.after(config.election_timeout));
        give_up.map_or(self.campaign_at, |give_up| give_up.min(self.campaign_at))
    }

    /// All reads that have no outcome yet.
    pub(super) fn take_reads(&mut self) -> Vec<ReadId> {
        let asked = std::mem::take(&mut self.reads_asked).into_values().flat_map(|asked| asked.reads);
        let mut reads: Vec<ReadId> = asked.collect();
        reads.append(&mut self.reads_waiting);
        reads
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
        if self.incoming.is_installing() || !self.is_well_formed(base, &entries) {
            return;
        }
        // What is committed here is equal at the leader: only the rest needs a look.
        let (base, entries) = self.skip_committed(base, entries);
        if !self.log.holds(base) {
            let hint = self.log.may_agree(base.index, base.term);
            self.send(leader, Body::AppendRejected { base: base.index, hint });
            return;
        }
        let matched = self.merge(base.index, entries);
        self.note_match(matched);
        self.learn_commit(commit.min(matched));
        self.promise(leader, matched, Body::AppendAccepted { matched });
    }

    /// Whether an append could come from a correct leader of this term.
    fn is_well_formed(&self, base: Position, entries: &[Entry]) -> bool {
        let mut before = base;
        entries.iter().all(|entry| {
            let follows = entry.index == before.index.next() && entry.term >= before.term;
            before = Position { index: entry.index, term: entry.term };
            follows && entry.term <= self.term
        })
    }

    /// Leaves out what is at or below the commit index.
    fn skip_committed(&self, base: Position, mut entries: Vec<Entry>) -> (Position, Vec<Entry>) {
        if base.index >= self.commit {
            return (base, entries);
        }
        entries.retain(|entry| entry.index > self.commit);
        let term = self.log.term_at(self.commit).expect("compaction stops at the commit index");
        (Position { index: self.commit, term }, entries)
    }

    /// Appends what is new behind `base`; truncates only where an entry differs, never because an append is shorter.
    /// Answers the last entry that is the leader's. That is not the last of `entries` if one turns back terms or time, or replaces
    /// one of this term, which no log does: its sender is wrong, and nothing more of it is taken.
    fn merge(&mut self, base: Index, entries: Vec<Entry>) -> Index {
        let mut matched = base;
        for entry in entries {
            let index = entry.index;
            if self.log.term_at(index) != Some(entry.term) {
                // The log of this term's leader only grows: what is here of its term it does not replace.
                let is_leaders = self.log.term_at(index) == Some(self.term);
                if is_leaders || !self.log.goes_on_with(&entry) {
                    break;
                }
                if index <= self.log.last_index() {
                    self.truncate(index);
                }
                self.log.append(entry);
            }
            matched = index;
        }
        matched
    }

    fn truncate(&mut self, from: Index) {
        assert!(from > self.commit, "truncated from {from}, but {} is committed", self.commit);
        self.log.truncate(from);
        self.durability.truncated(from);
        // What was to be promised about these entries, in this very batch, would never become true.
        self.outbox.guarded.retain(|guarded| guarded.through < from);
    }

    /// The leader says that the log is committed up to `commit`, and knows that this node has it.
    pub(super) fn learn_commit(&mut self, commit: Index) {
        // A node whose disk lost what it had acknowledged must not take other entries for committed ones.
        if commit > self.commit && commit <= self.log.last_index() && !self.incoming.is_installing() {
            self.commit_to(commit);
        }
    }

    /// Sends the reads of this batch of inputs to the leader, as one question.
    pub(super) fn forward_reads(&mut self, now: BootTime) {
        let Role::Follower(follower) = &mut self.role else { return };
        let Some(leader) = follower.leader_id() else { return };
        if follower.reads_waiting.is_empty() {
            return;
        }
        self.read_batches += 1;
        let batch = self.read_batches;
        let reads = std::mem::take(&mut follower.reads_waiting);
        follower.reads_asked.insert(batch, Asked { reads, since: now });
        self.send(leader, Body::Read { origin: self.origin, batch });
    }

    /// A read arrived at a node that does not lead.
    pub(super) fn read_as_follower(&mut self, id: ReadId) {
        match &mut self.role {
            Role::Follower(follower) if follower.leader.is_some() => follower.reads_waiting.push(id),
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
        let Some(asked) = follower.reads_asked.remove(&batch) else { return };
        let outcome = match point {
            Some(ReadPoint { index, stamp }) => ReadOutcome::Ready { index, stamp },
            None => ReadOutcome::Dropped,
        };
        self.outbox.reads.extend(asked.reads.into_iter().map(|id| (id, outcome)));
    }

    /// Gives up on forwarded reads that have waited for an election time-out: question or answer is lost.
    pub(super) fn drop_unanswered_reads(&mut self, now: BootTime) {
        let Role::Follower(follower) = &mut self.role else { return };
        let timeout = self.config.election_timeout;
        while let Some(oldest) = follower.reads_asked.first_entry()
            && oldest.get().since.after(timeout) <= now
        {
            let lost = oldest.remove().reads;
            self.outbox.reads.extend(lost.into_iter().map(|id| (id, ReadOutcome::Dropped)));
        }
    }
}
