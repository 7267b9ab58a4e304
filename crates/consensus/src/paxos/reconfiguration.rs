//! Changes of members by joint consensus, as under Raft.
//!
//! A change of voters, or of how many of them commit, is two entries. The first, joint, asks for enough of the old voters by the
//! old number, and of the new ones by the new, from when it is appended ([`super::quorums`]); once it is committed, the leader
//! of the day appends the second, which leaves the old voters, and the old number, out. A learner that was
//! added to vote is promoted in the same way when it has caught up. All of that is in the configuration, so a new leader goes on
//! where its predecessor ended.
//!
//! * What speaks against a change, [`crate::replication::circle`] knows.
//! * A leader that the new configuration leaves out leads until that is committed, without counting itself, and
//!   then hands over.
//! * Who has left is served until it has had time to hear of it. Who missed that asks, by a poll or by
//!   [`Body::Inquiry`], and is told by anybody who knows it for certain. It never stands again.

use super::{
    Paxos, Role,
    message::{Body, Message, Speaker},
};
use crate::{
    BootTime, Change, Index, Membership, NodeId, Payload, ProposalId, Purpose, Refusal, Step,
    engine::ProposalOutcome,
};

/// Refuses what this engine cannot do.
fn check_supported(change: &Change) -> Result<(), Refusal> {
    let lacks = |step: &Step| match step {
        Step::Add { purpose: Purpose::Witness, .. } => Some("witnesses"),
        Step::Lease(Some(_)) => Some("leases"),
        Step::Add { purpose: Purpose::Learn | Purpose::Vote | Purpose::Replace(_), .. }
        | Step::Promote { .. }
        | Step::Demote { .. }
        | Step::Move { .. }
        | Step::Remove { .. }
        | Step::Lease(None)
        | Step::Quorum { .. } => None,
    };
    change.0.iter().find_map(lacks).map_or(Ok(()), |what| Err(Refusal::Unsupported { what }))
}

/// The leader's side.
impl Paxos {
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
                let term = self.ballot.term();
                self.outbox.proposals.push((id, ProposalOutcome::Appended { index, term }));
            }
            Err(refusal) => self.refuse_proposal(id, ProposalOutcome::Refused(refusal)),
        }
    }

    /// Appends a configuration, and serves whom it adds.
    fn append_membership(&mut self, now: BootTime, next: Membership) -> Index {
        let fault = next.check().err();
        assert!(fault.is_none(), "{} would append {}: {next}", self.config.id, fault.unwrap_or_default());
        let index = self.append_own(now, Payload::Membership(Box::new(next)));
        if let Role::Leader(leader) = &mut self.role {
            leader.serve(self.log.membership(), index, now, &self.config);
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
            self.append_membership(now, membership.settled());
        } else if membership.is_voter(self.config.id) {
            if let Some(next) = self.circle(now, leader).plan_promotions() {
                self.append_membership(now, next);
            }
            if let Role::Leader(leader) = &mut self.role {
                leader.end_farewells(self.log.membership(), now, &self.config);
            }
        } else {
            self.resign(now);
        }
    }

    /// Whether the cluster has agreed that this node does not vote.
    pub(super) fn is_voted_out(&self) -> bool {
        !self.log.membership_at(self.standing.commit()).is_voter(self.config.id)
    }
}

/// The side of those who have left, and of those whom they ask.
impl Paxos {
    /// Whether a message comes from a node that is no member any more, and is not to be looked at. If it asks for
    /// something, it is told; its greater ballot counts for nothing, unless it leads by it: then it was elected
    /// before its removal was known to all, and hands over soon.
    pub(super) fn turns_away(&mut self, from: NodeId, message: &Message) -> bool {
        let asks = message.body.asks_to_stand();
        let leads = match message.body.speaker() {
            Speaker::Owner | Speaker::OwnerOrTeacher => !asks,
            Speaker::Anybody | Speaker::Acceptor => false,
        };
        let matters = asks || (message.ballot > self.ballot && !leads);
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
            Role::Surveyor(_) | Role::Candidate(_) => self.become_follower(now, self.ballot),
            Role::Follower(_) => {}
        }
        self.tell_removal();
    }

    /// Learns from this node's own log that it is no member any more. A leader has to hand over first.
    pub(super) fn find_removal(&mut self) {
        let leads = match &self.role {
            Role::Leader(_) => true,
            Role::Follower(_) | Role::Surveyor(_) | Role::Candidate(_) => false,
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
