//! Who should lead: election by quorum-connectedness.
//!
//! While somebody leads and hears a quorum, nobody asks. A node that hears no leader for an election time-out *surveys*: round by
//! round it polls all voters, and each answer tells whether its sender is led. The node stands for election when it has heard
//! **a quorum of distinct voters in this round, none of whom is led**. It then reaches enough to win and to commit, and since
//! a leader that works is heard by a quorum, it does not take the lead from one.
//!
//! * **A leader that hears no quorum gives way**, though alive, and says so ([`super::leader`]): those who still hear it are
//!   not led by it.
//! * **A ballot is never raised by hearsay.** A node that is cut off from its leader alone surveys on, and stands for nothing,
//!   as long as the leader works for others: leaders do not flap.
//! * **An answer counts for its round alone, and once for each voter**: duplicates and late answers cannot make a node
//!   believe in connections that are gone (hazard 18).
//! * **Of those that could lead, the one that can do so at once leads.** Who hears of a voter that may be connected, and whose
//!   log is so much greater that a snapshot would be needed to be taught it, or more entries than are sent in one go, lets
//!   that one go first, for an election time-out from when it began to ask, or last heard of somebody who is led. It could lead,
//!   but all would wait for its learning.
//! * **Of those, the greatest leads**: who hears of a voter of greater priority lets it go first in the same way. Of equals,
//!   random waits pick one, and if two stand together, the greater ballot wins at once, since who has promised the lower
//!   one promises the greater one, too.
//! * Time-outs of elections, rounds of polls (a heartbeat interval, if answers come in time), and heartbeats of leaders are
//!   settings of their own: hysteresis comes from the first.
//!
//! Omni-Paxos lets all nodes beat in rounds all the time, and compares ballots. Here only those ask who have lost their leader,
//! at no cost while all is well; what decides is the same: whether one reaches a quorum, and whether a leader does.
//!
//! Source: Ng, Haridi and Carbone, *Omni-Paxos* (EuroSys '23), section 5.

use std::collections::BTreeMap;

use super::{Follower, Paxos, Role, message::Body, quorums};
use crate::{BootTime, NodeId, Position, Priority};

/// A node without a leader asks around.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Survey {
    /// The present round.
    round: u64,
    round_began: BootTime,
    /// When voters are asked next, for this round or the next one.
    ask_at: BootTime,
    /// Who has answered in this round, and what.
    answers: BTreeMap<NodeId, Answer>,
    /// Whether a quorum answered in the round before; none in the first.
    connected: Option<bool>,
    /// Until then those go first that are fitter to lead.
    defers_until: BootTime,
}

/// What a voter has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Answer {
    pub(super) led: bool,
    pub(super) connected: Option<bool>,
    pub(super) priority: Priority,
    /// The end of its log.
    pub(super) last: Position,
    /// Whether this node would have much to learn from it.
    pub(super) ahead: bool,
}

impl Answer {
    /// Whether its sender may soon stand.
    fn may_stand(&self) -> bool {
        !self.led && self.connected != Some(false) && self.priority != Priority::NEVER
    }
}

impl Survey {
    fn new(now: BootTime, defers_until: BootTime) -> Self {
        let answers = BTreeMap::new();
        Self { round: 0, round_began: now, ask_at: now, answers, connected: None, defers_until }
    }

    pub(super) fn deadline(&self) -> BootTime {
        self.ask_at
    }
}

impl Paxos {
    /// Whether there is a leader that deserves protection against candidates, or a candidate that has won.
    pub(super) fn hears_leader(&self, now: BootTime) -> bool {
        match &self.role {
            Role::Follower(follower) => follower.hears_leader(now, self.config.election_timeout),
            Role::Surveyor(_) => false,
            Role::Candidate(candidate) => candidate.has_won(),
            Role::Leader(leader) => self.hears_quorum(now, leader),
        }
    }

    /// Whether this node may stand for election at all. One that its newest configuration leaves out may, as long
    /// as it does not know that to be committed: it can be the only one in reach that has it. It does not count
    /// itself then.
    pub(super) fn may_stand(&self, now: BootTime) -> bool {
        let membership = self.log.membership();
        (membership.is_voter(self.config.id) || !self.is_voted_out())
            && !membership.has_witness()
            && !self.removed
            && self.repair.is_none()
            && self.has_room
            && !self.incoming.is_installing()
            && !self.durability.is_stalled(now, self.config.persist_stall_max)
    }

    /// Whether this node knows of any cluster. One that has joined promises nothing before a leader has sent it entries:
    /// nobody made it a voter before that.
    pub(super) fn is_in_a_cluster(&self) -> bool {
        !self.log.membership().is_empty()
    }

    /// How willing this node is to lead without being ordered to: not at all while it could not, or has just failed to.
    fn willingness(&self, now: BootTime) -> Priority {
        // A write that has not ended within an election time-out would not end within an election.
        let is_slow = self.durability.is_stalled(now, self.config.election_timeout);
        let stands_back = is_slow || self.setbacks.is_pending(now) || !self.may_stand(now);
        if stands_back { Priority::NEVER } else { self.config.priority }
    }

    /// Whether this node would lead without being ordered to.
    fn is_willing(&self, now: BootTime) -> bool {
        // Who alone votes has nobody to stand back for.
        let is_alone = self.log.membership().is_sole_voter(self.config.id);
        self.may_stand(now) && (is_alone || self.willingness(now) != Priority::NEVER)
    }

    /// Begins to ask around.
    pub(super) fn start_survey(&mut self, now: BootTime) {
        if !self.is_willing(now) {
            let survey_at = self.random_election_time(now);
            self.leave_role(now);
            self.role = Role::Follower(Follower::waiting(survey_at));
            self.inquire();
            return;
        }
        self.leave_role(now);
        self.role = Role::Surveyor(Survey::new(now, now.after(self.config.election_timeout)));
        self.begin_poll(now);
    }

    /// A new round.
    fn begin_poll(&mut self, now: BootTime) {
        self.polls += 1;
        let Role::Surveyor(survey) = &mut self.role else { return };
        survey.round = self.polls;
        survey.round_began = now;
        survey.answers.clear();
        self.poll(now);
        self.conclude_survey(now);
    }

    /// Asks those that have not answered in this round.
    fn poll(&mut self, now: BootTime) {
        let voters = self.other_voters();
        let Role::Surveyor(survey) = &mut self.role else { return };
        survey.ask_at = now.after(self.config.heartbeat_interval);
        let silent: Vec<_> = voters.into_iter().filter(|voter| !survey.answers.contains_key(voter)).collect();
        let (origin, round) = (self.origin, survey.round);
        let (priority, last) = (self.config.priority, self.log.last());
        silent.into_iter().for_each(|voter| self.send(voter, Body::Poll { origin, round, priority, last }));
    }

    /// Ends the round if a quorum has answered, or if it has lasted for an election time-out; otherwise repeats itself.
    pub(super) fn go_on_surveying(&mut self, now: BootTime) {
        let Role::Surveyor(survey) = &mut self.role else { return };
        if now < survey.ask_at {
            return;
        }
        let answered = |voter| voter == self.config.id || survey.answers.contains_key(&voter);
        let is_connected = quorums::are_connected(self.log.membership(), answered);
        if is_connected || now.since(survey.round_began) >= self.config.election_timeout {
            survey.connected = Some(is_connected);
            if self.is_willing(now) {
                self.begin_poll(now);
            } else {
                self.become_follower(now, self.ballot);
            }
        } else {
            self.poll(now);
        }
    }

    /// Somebody asks.
    pub(super) fn answer_poll(
        &mut self,
        now: BootTime,
        from: NodeId,
        (origin, round): (u64, u64),
        (asker, its_last): (Priority, Position),
    ) {
        // Who could promise nothing is of no use to the asker.
        if !self.is_in_a_cluster() || self.repair.is_some() {
            return;
        }
        let (led, priority, last) = (self.hears_leader(now), self.willingness(now), self.log.last());
        let ahead = self.is_far_ahead_of(its_last);
        let connected = match &self.role {
            Role::Surveyor(survey) => survey.connected,
            Role::Follower(_) | Role::Candidate(_) | Role::Leader(_) => None,
        };
        self.send(from, Body::PollAnswer { origin, round, led, connected, priority, last, ahead });
        // The asker is about to stand: to stand at the same moment would be of no use.
        let interval = self.config.heartbeat_interval;
        let polite = now.after(interval.saturating_add(self.jitter.up_to(interval)));
        if let Role::Follower(follower) = &mut self.role
            && asker >= priority
            && !ahead
        {
            follower.survey_at = follower.survey_at.max(polite);
        }
    }

    pub(super) fn count_answer(
        &mut self,
        now: BootTime,
        from: NodeId,
        (origin, round): (u64, u64),
        answer: Answer,
    ) {
        if let Role::Surveyor(survey) = &mut self.role
            && (origin, round) == (self.origin, survey.round)
        {
            survey.answers.insert(from, answer);
            if answer.led {
                // The leader may be gone the moment after: those that are fitter have their time from then on.
                survey.defers_until = now.after(self.config.election_timeout);
            }
            self.conclude_survey(now);
        }
    }

    /// Stands if a quorum is connected and not led, unless others go first.
    fn conclude_survey(&mut self, now: BootTime) {
        let Role::Surveyor(survey) = &self.role else { return };
        let is_free =
            |voter| voter == self.config.id || survey.answers.get(&voter).is_some_and(|answer| !answer.led);
        let defers =
            now < survey.defers_until && survey.answers.values().any(|other| self.lets_go_first(other));
        if quorums::are_connected(self.log.membership(), is_free) && !defers && self.is_willing(now) {
            self.stand(now, false);
        }
    }

    /// Whether a log that ends at `last` would have much to learn from this node's.
    fn is_far_ahead_of(&self, last: Position) -> bool {
        self.log.is_far_ahead_of(last, self.config.inflight_bytes_max)
    }

    /// Whether who has answered so is to stand first.
    fn lets_go_first(&self, other: &Answer) -> bool {
        let is_fitter =
            other.ahead || (other.priority > self.config.priority && !self.is_far_ahead_of(other.last));
        other.may_stand() && is_fitter
    }
}
