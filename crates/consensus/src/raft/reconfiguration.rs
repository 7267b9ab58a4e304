//! Changes of members by joint consensus (dissertation, chapter 4).
//!
//! A change of voters is two entries. The first, joint, asks for both majorities from when it is appended; once it
//! is committed, the leader of the day appends the second, which leaves the old voters out. A learner that was
//! added to vote is promoted in the same way when it has caught up, without anybody asking again. All of that is in
//! the configuration, so a new leader goes on where its predecessor ended.
//!
//! * What speaks against a change, [`crate::replication::circle`] knows.
//! * A leader that the new configuration leaves out leads until that is committed, without counting itself, and
//!   then hands over (section 4.2.2).
//! * Who has left is served until it has had time to hear of it. Who missed that asks, as a candidate or by
//!   [`Body::Inquiry`], and is told by anybody who knows it for certain. It never stands again.

use super::{
    Raft, Role,
    message::{Body, Message},
};
use crate::{
    BootTime, Change, Index, Membership, NodeId, Payload, ProposalId, Refusal, Step, engine::ProposalOutcome,
};

/// Refuses what this engine cannot do: leaders are elected, and entries committed, by majorities.
fn check_supported(change: &Change) -> Result<(), Refusal> {
    let is_flexible = |step: &Step| matches!(step, Step::Quorum { phase2: Some(_), .. });
    let lacks = change.0.iter().any(is_flexible);
    if lacks { Err(Refusal::Unsupported { what: "flexible quorums" }) } else { Ok(()) }
}

/// The leader's side.
impl Raft {
    /// A caller wants other members.
    pub(super) fn reconfigure(&mut self, now: BootTime, id: ProposalId, change: &Change) {
        let Role::Leader(leader) = &self.role else {
            return self.refuse_proposal(id, ProposalOutcome::NotLeader);
        };
        if leader.handover.is_some() {
            return self.refuse_proposal(id, ProposalOutcome::NotLeader);
        }
        match check_supported(change).and_then(|()| self.circle(now, leader).plan(change)) {
            Ok(next) => {
                let index = self.append_membership(now, next);
                self.outbox.proposals.push((id, ProposalOutcome::Appended { index, term: self.term }));
            }
            Err(refusal) => self.refuse_proposal(id, ProposalOutcome::Refused(refusal)),
        }
    }

    /// Appends a configuration, and serves whom it adds.
    pub(super) fn append_membership(&mut self, now: BootTime, next: Membership) -> Index {
        let fault = next.check().err();
        assert!(fault.is_none(), "{} would append {}: {next}", self.config.id, fault.unwrap_or_default());
        let index = self.append_own(now, Payload::Membership(Box::new(next)));
        if let Role::Leader(leader) = &mut self.role {
            leader.serve(self.log.membership(), index, now, &self.config);
            Self::restart_lease(leader);
        }
        index
    }

    /// Does what the configuration in force asks for by itself, once it is committed.
    pub(super) fn advance_membership(&mut self, now: BootTime) {
        let Role::Leader(leader) = &self.role else { return };
        let membership = self.log.membership();
        let is_committed =
            self.standing.commit() >= self.log.membership_index() && self.standing.commit() >= leader.first;
        if !is_committed || leader.handover.is_some() {
            return;
        }
        if membership.is_joint() {
            let settled = membership.settled();
            // Both who hold the data in the end may be set aside just now.
            if settled.check().is_ok() {
                self.append_membership(now, settled);
            }
        } else if membership.is_voter(self.config.id) {
            self.promote_caught_up(now);
            if let Role::Leader(leader) = &mut self.role {
                leader.end_farewells(self.log.membership(), now, &self.config);
            }
        } else {
            self.resign(now);
        }
    }

    /// Begins the promotion of all learners that wait for it and are ready. What speaks against it may be gone
    /// later.
    fn promote_caught_up(&mut self, now: BootTime) {
        let Role::Leader(leader) = &self.role else { return };
        if let Some(next) = self.circle(now, leader).plan_promotions() {
            self.append_membership(now, next);
        }
    }

    /// The cluster goes on without this node's leadership.
    fn resign(&mut self, now: BootTime) {
        let Role::Leader(leader) = &self.role else { return };
        match self.circle(now, leader).best_successor() {
            Some(successor) => self.begin_transfer(now, successor),
            None => self.become_follower(now, self.term, None),
        }
    }

    /// Whether the cluster has agreed that this node does not vote.
    pub(super) fn is_voted_out(&self) -> bool {
        !self.log.membership_at(self.standing.commit()).is_voter(self.config.id)
    }
}

/// The side of those who have left, and of those whom they ask.
impl Raft {
    /// Whether a message comes from a node that is no member any more, and is not to be looked at. If it asks for
    /// something, it is told; its greater term counts for nothing, unless it leads by it: then it was elected
    /// before its removal was known to all, and hands over soon.
    pub(super) fn turns_away(&mut self, from: NodeId, message: &Message) -> bool {
        let asks = message.body.asks_to_stand();
        let matters = asks || (message.term > self.term && !message.body.is_from_leader());
        // What a node believes of the cluster's birth before it has its log is nothing that was agreed on.
        let is_agreed = self.standing.commit() > Index(0);
        if !matters || !is_agreed || !self.log.membership_at(self.standing.commit()).excludes(from) {
            return false;
        }
        if asks {
            self.send(from, Body::Removed);
        }
        true
    }

    /// Asks whether this node is a member still.
    pub(super) fn inquire(&mut self) {
        if !self.removed {
            self.other_voters().into_iter().for_each(|voter| self.send(voter, Body::Inquiry));
        }
    }

    /// Somebody who knows it for certain says that this node is no member any more.
    pub(super) fn learn_removal(&mut self, now: BootTime) {
        match &self.role {
            // It was elected before that was known to all, and ends by its own log.
            Role::Leader(_) => return,
            Role::PreCandidate(_) | Role::Candidate(_) => self.become_follower(now, self.term, None),
            Role::Follower(_) => {}
        }
        self.tell_removal();
    }

    /// Learns from this node's own log that it is no member any more. A leader has to hand over first.
    pub(super) fn find_removal(&mut self) {
        let leads = match &self.role {
            Role::Leader(_) => true,
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => false,
        };
        if !leads && self.log.membership_at(self.standing.commit()).excludes(self.config.id) {
            self.tell_removal();
        }
    }

    fn tell_removal(&mut self) {
        self.outbox.removed |= !self.removed;
        self.removed = true;
    }
}
