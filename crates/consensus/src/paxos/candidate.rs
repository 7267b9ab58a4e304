//! The candidate: phase 1. It collects promises, and learns what may have been chosen, before it leads.
//!
//! * Its own promise counts once it is durable, and its questions leave no earlier: a ballot is never used twice.
//! * It repeats itself each heartbeat interval. Once a quorum has promised, that keeps others from standing while it learns,
//!   which may take long: a snapshot may have to come.
//! * It counts by the configuration in its own log, and again whenever it has learned.
//! * If it gets no further than it ever was for an election time-out, or if a snapshot turns out to be no good, it gives its
//!   ballot up: then others may stand. It does not wait for an installation, which goes on without it.
//! * **Who gave a ballot up stands back**, for twice as long each time, and says so when it is asked; and it gives its next
//!   ballot more time. So a node that is preferred, and can promise but not learn, does not keep the others from leading; and
//!   one that alone can lead gets there over a link on which a part of a snapshot takes longer than an election.

use std::collections::BTreeMap;

use quorate_bug::{self as bug, Bug};

use super::{Paxos, Role, leader::Leader, message::Body, quorums};
use crate::{BootTime, Index, NodeId, Payload, Position, Term};

/// The state of a node that has taken a ballot of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Candidate {
    /// Where the logs of those end that have promised.
    promises: BTreeMap<NodeId, Position>,
    /// Who was asked to teach what this node's log lacks. Set only when a quorum has promised.
    teacher: Option<NodeId>,
    /// Whether others are to promise though they hear a leader.
    ordered: bool,
    /// When it repeats itself.
    ask_at: BootTime,
    /// When it gives up, unless it gets further.
    ends_at: BootTime,
    /// Up to here its log is equal to that of its teacher.
    matched: Index,
    /// The furthest that it has been.
    furthest: Reach,
}

/// How far a candidate is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Reach {
    promises: usize,
    matched: Index,
    /// How much of a snapshot has arrived.
    received: u64,
}

impl Reach {
    /// The furthest in each respect.
    fn furthest(self, other: Self) -> Self {
        Self {
            promises: self.promises.max(other.promises),
            matched: self.matched.max(other.matched),
            received: self.received.max(other.received),
        }
    }
}

/// The ballots that this node gave up since it last knew a leader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Setbacks {
    /// How many.
    count: u32,
    /// Until then it stands back.
    until: BootTime,
}

/// Patience doubles with each setback but not beyond eight times: some seconds, by default. What takes longer than that
/// needs longer time-outs.
const DOUBLINGS_MAX: u32 = 3;

impl Setbacks {
    /// What patience is multiplied by.
    fn factor(&self) -> u32 {
        1 << self.count.min(DOUBLINGS_MAX)
    }

    /// Whether this node lets others go first.
    pub(super) fn is_pending(&self, now: BootTime) -> bool {
        now < self.until
    }
}

impl Candidate {
    pub(super) fn deadline(&self) -> BootTime {
        self.ask_at.min(self.ends_at)
    }

    /// Whether a quorum has promised.
    pub(super) fn has_won(&self) -> bool {
        self.teacher.is_some()
    }
}

impl Paxos {
    /// Stands for election without asking first: by order of the operator, or of the leader itself.
    pub(super) fn campaign_now(&mut self, now: BootTime, ordered: bool) {
        match &self.role {
            Role::Leader(_) => {}
            Role::Follower(_) | Role::Surveyor(_) | Role::Candidate(_) => {
                if self.may_stand(now) {
                    self.stand(now, ordered);
                }
            }
        }
    }

    /// Takes the next ballot above all that it has heard of, and asks for promises of it.
    pub(super) fn stand(&mut self, now: BootTime, ordered: bool) {
        let Some(ballot) = self.ballot.max(self.rumoured).next_of(self.config.id) else {
            return self.become_follower(now, self.ballot);
        };
        let ends_at = self.end_of_patience(now);
        self.leave_role(now);
        self.enter(ballot);
        self.incoming.abandon();
        self.role = Role::Candidate(Candidate {
            promises: BTreeMap::new(),
            teacher: None,
            ordered,
            ask_at: now,
            ends_at,
            matched: Index(0),
            furthest: Reach::default(),
        });
        self.prepare(now);
    }

    /// When a candidate gives up that gets no further than it is now.
    fn end_of_patience(&mut self, now: BootTime) -> BootTime {
        let ends_at = self.random_election_time(now);
        now.after(ends_at.since(now) * self.setbacks.factor())
    }

    /// Lets others stand, and stands back itself.
    pub(super) fn give_up(&mut self, now: BootTime) {
        self.become_follower(now, self.ballot);
        let until = now.after(self.config.election_timeout * 2 * self.setbacks.factor());
        if let Role::Follower(follower) = &mut self.role {
            follower.survey_at = until;
        }
        self.setbacks = Setbacks { count: self.setbacks.count.saturating_add(1), until };
    }

    /// Asks all voters for their promises, those that have given them too: it keeps them from standing.
    fn prepare(&mut self, now: BootTime) {
        let voters = self.other_voters();
        let last = self.log.last();
        let Role::Candidate(candidate) = &mut self.role else { return };
        candidate.ask_at = now.after(self.config.heartbeat_interval);
        let (ordered, teacher) = (candidate.ordered, candidate.teacher);
        let promised = teacher.is_some();
        for voter in voters {
            // Asked for by a ballot that could be forgotten, a promise might be counted again in its second life.
            self.promise(voter, Index(0), Body::Prepare { ordered, promised });
        }
        if let Some(teacher) = teacher {
            self.send(teacher, Body::Teach { last });
        }
    }

    /// Repeats itself, or gives up.
    pub(super) fn go_on_preparing(&mut self, now: BootTime) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        let (promises, matched) = (candidate.promises.len(), candidate.matched);
        let reach = Reach { promises, matched, received: self.incoming.received() };
        let furthest = candidate.furthest.furthest(reach);
        if std::mem::replace(&mut candidate.furthest, furthest) != furthest {
            let ends_at = self.end_of_patience(now);
            let Role::Candidate(candidate) = &mut self.role else { return };
            candidate.ends_at = ends_at;
        }
        let Role::Candidate(candidate) = &self.role else { return };
        if candidate.ends_at <= now {
            self.give_up(now);
        } else if candidate.ask_at <= now {
            self.prepare(now);
        }
    }

    /// A candidate asks for a promise of what is this node's ballot by now.
    pub(super) fn answer_prepare(&mut self, now: BootTime, from: NodeId, promised: bool) {
        if !self.is_in_a_cluster() || self.repair.is_some() {
            return;
        }
        let stage = if promised { super::Stage::Learns } else { super::Stage::Prepares };
        self.follow(now, stage, None);
        let last = self.log.last();
        self.promise(from, last.index, Body::Promise { last });
    }

    pub(super) fn count_promise(&mut self, now: BootTime, from: NodeId, last: Position) {
        if let Role::Candidate(candidate) = &mut self.role {
            candidate.promises.entry(from).or_insert(last);
            self.conclude(now);
        }
    }

    /// The log is equal to that of the teacher up to `matched`.
    pub(super) fn learned(&mut self, matched: Index) {
        if let Role::Candidate(candidate) = &mut self.role {
            candidate.matched = candidate.matched.max(matched);
        }
    }

    /// The acceptor that teaches this node, if it is a candidate that needs that.
    pub(super) fn teacher(&self) -> Option<NodeId> {
        match &self.role {
            Role::Candidate(candidate) => candidate.teacher,
            Role::Follower(_) | Role::Surveyor(_) | Role::Leader(_) => None,
        }
    }

    /// Leads, if a quorum has promised, and no log of those is greater than its own; or has the greatest taught.
    pub(super) fn conclude(&mut self, now: BootTime) {
        let Role::Candidate(candidate) = &self.role else { return };
        if !self.durability.promises_durable() || self.incoming.is_installing() {
            return;
        }
        let has_promised = |voter| voter == self.config.id || candidate.promises.contains_key(&voter);
        if !quorums::have_promised(self.log.membership(), has_promised) {
            return;
        }
        let rank = |last: Position| match bug::on(Bug::LongestLogTaught) {
            true => (Term(0), last.index),
            false => last.rank(),
        };
        let knows_enough =
            bug::on(Bug::OwnLogKept) || (bug::on(Bug::HalfTaught) && candidate.matched > Index(0));
        let greatest = candidate.promises.iter().max_by_key(|&(_, &last)| rank(last));
        match greatest {
            Some((&acceptor, &last)) if rank(last) > rank(self.log.last()) && !knows_enough => {
                self.learn_from(now, acceptor)
            }
            Some(_) | None if self.may_stand(now) => self.become_leader(now),
            Some(_) | None => self.become_follower(now, self.ballot),
        }
    }

    fn learn_from(&mut self, now: BootTime, acceptor: NodeId) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        if candidate.teacher != Some(acceptor) {
            candidate.teacher = Some(acceptor);
            self.prepare(now);
        }
    }

    fn become_leader(&mut self, now: BootTime) {
        let last = self.log.last();
        assert!(
            self.ballot.node == self.config.id && self.durability.promises_durable(),
            "{} leads ballot {} without its own durable promise",
            self.config.id,
            self.ballot
        );
        assert!(last.term < self.ballot.term(), "the log ends in {last}, led is {}", self.ballot);
        let base = self.heard.continue_from(last.term, self.log.last_stamp());
        let leader = Leader::begin(&self.log, self.standing.commit(), base, now, &self.config);
        self.setbacks = Setbacks::default();
        self.role = Role::Leader(leader);
        // Who joins later was not told what the cluster was born with: the log begins with it.
        let is_first = last == Position::default();
        let payload = if is_first {
            Payload::Membership(Box::new(self.log.membership().clone()))
        } else {
            Payload::Blank
        };
        self.append_own(now, payload);
    }

    /// A member has promised a greater ballot than this node's.
    pub(super) fn learn_outdated(&mut self, now: BootTime, from: NodeId, promised: super::Ballot) {
        if promised <= self.ballot || !self.log.membership().contains(from) {
            return;
        }
        match &mut self.role {
            // Whoever it was promised to may be about to lead.
            Role::Candidate(_) => self.become_follower(now, self.ballot),
            Role::Leader(leader) if leader.hands_over_to(promised.node) => {
                self.become_follower(now, self.ballot);
            }
            // A learner, too, could never follow again.
            Role::Leader(leader) => {
                leader.own.since.get_or_insert(now);
            }
            Role::Follower(_) | Role::Surveyor(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Part of a snapshot may take longer than the patience of a first ballot. It arrives within that of a later one.
    #[test]
    fn patience_doubles_with_each_setback_up_to_eight_times() {
        let factors = (0..6).map(|count| Setbacks { count, until: BootTime::default() }.factor());
        assert_eq!(factors.collect::<Vec<_>>(), [1, 2, 4, 8, 8, 8]);
    }
}
