//! The acceptor: follows the owner of the ballot that it has promised, and makes its log equal to what it is sent.
//!
//! * Entries at or below the commit index are never looked at again, let alone removed (hazard 8).
//! * An acceptance tells how far the log is equal *and durable*; it waits for the write, also when nothing was new
//!   (hazard 6).
//! * While a snapshot is being installed nothing is accepted or decided; the other repeats itself.

use std::time::Duration;

use super::{
    Paxos, Role,
    candidate::Setbacks,
    message::{Body, ReadPoint},
};
use crate::{
    BootTime, ClusterTime, Config, Entry, Index, NodeId, Position, ReadId, Term,
    engine::ReadOutcome,
    replication::{
        offer::{Merge, Mismatch, Offer},
        progress::Peer,
        reads::Forwarded,
    },
};

/// The state of a node that follows the owner of its ballot, or waits for anybody.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Follower {
    contact: Option<Contact>,
    /// When it asks around if it hears nothing.
    pub(super) survey_at: BootTime,
    /// What it knows of the candidate that it teaches, if it has been asked to.
    pub(super) pupil: Option<Box<Peer>>,
    pub(super) reads: Forwarded,
}

/// How far the owner of the ballot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Stage {
    /// It asks for promises.
    Prepares,
    /// It has them, and learns what was accepted.
    Learns,
    /// It leads.
    Leads,
}

/// The owner of the ballot, and when it was heard last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Contact {
    stage: Stage,
    heard: BootTime,
}

impl Follower {
    /// Hears nobody.
    pub(super) fn waiting(survey_at: BootTime) -> Self {
        Self { contact: None, survey_at, pupil: None, reads: Forwarded::default() }
    }

    /// Whether the owner of the ballot leads.
    pub(super) fn is_led(&self) -> bool {
        self.contact.as_ref().is_some_and(|contact| contact.stage == Stage::Leads)
    }

    /// Whether the owner of the ballot has won it, and was heard within `timeout`.
    pub(super) fn hears_leader(&self, now: BootTime, timeout: Duration) -> bool {
        self.contact
            .as_ref()
            .is_some_and(|contact| contact.stage >= Stage::Learns && now.since(contact.heard) < timeout)
    }

    /// When the follower wants to be called: to ask around, or to give up on forwarded reads.
    pub(super) fn deadline(&self, config: &Config) -> BootTime {
        let give_up = self.reads.gives_up_at(config.election_timeout);
        give_up.map_or(self.survey_at, |give_up| give_up.min(self.survey_at))
    }
}

impl Paxos {
    /// The owner of the ballot was heard; or, by a candidate, the acceptor that teaches it, which leads nobody.
    pub(super) fn follow(&mut self, now: BootTime, stage: Stage, stamp: Option<ClusterTime>) {
        match &self.role {
            Role::Follower(_) => {}
            Role::Surveyor(_) => self.become_follower(now, self.ballot),
            Role::Candidate(_) | Role::Leader(_) => return,
        }
        let survey_at = self.random_election_time(now);
        let Role::Follower(follower) = &mut self.role else { return };
        let known = follower.contact.as_ref().map_or(stage, |contact| contact.stage);
        follower.contact = Some(Contact { stage: stage.max(known), heard: now });
        follower.survey_at = survey_at;
        if stage == Stage::Leads {
            follower.pupil = None;
            self.setbacks = Setbacks::default();
        }
        if let Some(stamp) = stamp {
            self.heard.hear(self.ballot.term(), stamp);
        }
    }

    /// The leader resigned, or the connection to it broke: it is probably dead, and others find out at the same time, so a
    /// short random delay is enough to keep them apart.
    pub(super) fn leader_lost(&mut self, now: BootTime) {
        let delay = self.jitter.up_to(self.config.heartbeat_interval);
        if let Role::Follower(follower) = &mut self.role
            && follower.contact.take().is_some()
        {
            follower.survey_at = now.after(delay);
            let reads = follower.reads.take_all();
            self.drop_reads(reads);
        }
    }

    /// Entries from the leader, or to a candidate from its teacher.
    pub(super) fn accept(
        &mut self,
        now: BootTime,
        from: NodeId,
        base: Position,
        entries: Vec<Entry>,
        commit: Index,
    ) {
        let offer = Offer { base, entries };
        let may_exist = offer.entries.last().is_none_or(|last| self.may_exist(last.term));
        if self.incoming.is_installing() || !may_exist || !offer.is_well_formed(self.ballot.term()) {
            return;
        }
        let merge = match offer.take_into(&mut self.log, self.ballot.term(), self.standing.commit()) {
            Ok(merge) => merge,
            Err(Mismatch { base, hint }) => return self.send(from, Body::Rejected { base, hint }),
        };
        let Merge { matched, truncated_from } = merge;
        truncated_from.into_iter().for_each(|from| self.truncated(from));
        self.note_match(matched);
        self.learned(matched);
        self.learn_commit(commit.min(matched));
        self.promise(from, matched, Body::Accepted { matched });
        self.conclude(now);
    }

    /// Whether a log can hold an entry of `term` by now: nobody has a greater ballot here, and a candidate has appended
    /// nothing in its own.
    pub(super) fn may_exist(&self, term: Term) -> bool {
        let is_own = self.ballot.node == self.config.id;
        if is_own { term < self.ballot.term() } else { term <= self.ballot.term() }
    }

    fn truncated(&mut self, from: Index) {
        self.durability.truncated(from);
        self.outbox.truncated(from);
    }

    /// The log is decided up to `commit`, and is equal up to there to the log of who says so.
    pub(super) fn learn_commit(&mut self, commit: Index) {
        if commit > self.standing.commit()
            && commit <= self.log.last_index()
            && !self.incoming.is_installing()
        {
            self.commit_to(commit);
        }
    }

    /// The leader says what is decided of what it believes to be on this node's disk; of a disk that was damaged, it may
    /// believe too much.
    pub(super) fn learn_commit_by_progress(&mut self, commit: Index) {
        if self.repair.is_none() {
            self.learn_commit(commit);
        }
    }

    /// Sends the reads of this batch of inputs to the leader, as one question.
    pub(super) fn forward_reads(&mut self, now: BootTime) {
        let Role::Follower(follower) = &mut self.role else { return };
        if !follower.is_led() || !follower.reads.is_waiting() {
            return;
        }
        self.read_batches += 1;
        let (origin, batch) = (self.origin, self.read_batches);
        follower.reads.ask(batch, now);
        self.send(self.ballot.node, Body::Read { origin, batch });
    }

    /// A read arrived at a node that does not lead.
    pub(super) fn read_as_follower(&mut self, id: ReadId) {
        match &mut self.role {
            Role::Follower(follower) if follower.is_led() => follower.reads.wait(id),
            Role::Follower(_) | Role::Surveyor(_) | Role::Candidate(_) | Role::Leader(_) => {
                self.drop_reads([id]);
            }
        }
    }

    /// The leader's answer to a forwarded batch. One from another node or life, or a second one, finds nothing.
    pub(super) fn read_answered(&mut self, from: NodeId, origin: u64, batch: u64, point: Option<ReadPoint>) {
        let Role::Follower(follower) = &mut self.role else { return };
        if origin != self.origin || from != self.ballot.node {
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
