//! Reads by lease (dissertation, section 6.4.1): without a round, as long as nobody else can have been elected.
//!
//! The lease is part of the configuration, and off unless somebody wants it: it is the one place where the truth of an
//! answer depends on clocks, namely on the assumed bound of how differently two of them run.
//!
//! * **A voter is bound** for the length of the lease after it last heard a leader, and after its own start, since it may
//!   have heard one just before it ended: it grants no vote and no pre-vote, and stands for nothing itself. A connection
//!   that breaks shortens nothing. Only a candidate that the leader itself has asked to stand is exempt.
//! * **A leader holds the lease** from the instant at which a round began that a quorum has confirmed, for the length less
//!   the drift. Only voters count that were known to have the configuration when the round began: what they promised
//!   before is not known.
//! * A leader that has begun to hand over holds no lease any more in its term, also if nobody succeeds it: the order to
//!   stand may still be under way.
//! * A paused leader finds its lease run out when it wakes up: the instant of each read is given with it (hazard 12).

use std::collections::VecDeque;

use quorate_bug::{self as bug, Bug};

use super::{Raft, Role, leader::Leader};
use crate::{BootTime, Index, replication::progress::Peer};

/// How many rounds are remembered: answers to older ones come too late to be of use.
const ROUNDS_MAX: usize = 16;

/// What a leader knows of its lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Held {
    /// The newest rounds, with when each began.
    rounds: VecDeque<(u64, BootTime)>,
    /// When the newest round began that a bound quorum has confirmed.
    since: Option<BootTime>,
    /// It has begun to hand over, and holds no lease in this term.
    is_given_up: bool,
}

impl Held {
    pub(super) fn began_round(&mut self, number: u64, now: BootTime) {
        let last = self.rounds.back().map_or(0, |&(last, _)| last);
        assert!(number > last, "round {number} began after {last}");
        if self.rounds.len() == ROUNDS_MAX {
            self.rounds.pop_front();
        }
        self.rounds.push_back((number, now));
    }

    pub(super) fn give_up(&mut self) {
        self.is_given_up = true;
    }

    /// A bound quorum has confirmed this round, and all before it.
    fn confirmed(&mut self, round: u64) {
        while let Some((_, began)) = self.rounds.pop_front_if(|(number, _)| *number <= round) {
            self.since = self.since.max(Some(began));
        }
    }
}

impl Peer {
    /// It has so much of the log. From the next round on it counts as bound, if the configuration in force here is so
    /// there, too, which it is with the log equal up to `agreed_from`.
    pub(super) fn bind(&mut self, agreed_from: Index, newest_round: u64) {
        if self.matched >= agreed_from && self.bound_from.is_none() {
            self.bound_from = Some(newest_round + 1);
        }
    }

    /// The newest round that it has confirmed as a bound voter; 0 if none.
    fn bound_round(&self) -> u64 {
        self.bound_from.filter(|&from| from <= self.confirmed_round).map_or(0, |_| self.confirmed_round)
    }
}

impl Raft {
    /// Whether this node must not help to elect anybody, since the present leader may rely on it.
    pub(super) fn is_bound(&self, now: BootTime) -> bool {
        self.bound_until(now).is_some()
    }

    /// Until when this node is bound, if it is: there is a lease, and anybody else who votes.
    pub(super) fn bound_until(&self, now: BootTime) -> Option<BootTime> {
        let membership = self.log.membership();
        let lease = membership.lease.filter(|_| !membership.is_sole_voter(self.config.id))?;
        let until = self.leader_heard.after(lease.of_voter());
        (now < until && !bug::on(Bug::UnboundVoter)).then_some(until)
    }

    /// Whether this node leads, and nobody else can have been elected by `now`.
    pub(super) fn holds_lease(&self, now: BootTime) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let (membership, held) = (self.log.membership(), &leader.own);
        let is_agreed = self.log.membership_index() <= self.standing.commit();
        match (membership.lease, held.since) {
            (Some(lease), Some(since)) if is_agreed && !held.is_given_up => {
                self.may_confirm(leader) && now < since.after(lease.of_leader())
            }
            (Some(_) | None, Some(_) | None) => false,
        }
    }

    /// Whether this node leads, and holds no lease any more in its term, whoever confirms it.
    pub(super) fn has_given_up_lease(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.own.is_given_up)
    }

    /// Notes what voters have confirmed.
    pub(super) fn extend_lease(&mut self) {
        let membership = self.log.membership();
        let Role::Leader(leader) = &mut self.role else { return };
        if membership.lease.is_none() {
            return;
        }
        let newest = leader.reads.newest_round();
        let confirmed = membership.reached_by_quorum(|voter| {
            if voter == self.config.id {
                newest
            } else {
                leader.peers.get(&voter).map_or(0, Peer::bound_round)
            }
        });
        leader.own.confirmed(confirmed);
    }

    /// Another configuration is in force: nobody is known to have it, and what was confirmed under the one before may be
    /// worth less.
    pub(super) fn restart_lease(leader: &mut Leader) {
        leader.own.since = None;
        leader.own.rounds.clear();
        leader.peers.values_mut().for_each(|peer| peer.bound_from = None);
    }
}
