//! How old this node's data may be, for reads that ask nobody.
//!
//! A leader knows an instant up to which nobody else can have led ([`quorate_consensus::engine::Status::confirmed_at`]):
//! its commit index was all there was then. It tells the index a few times a second, and by the receiver's own clock how
//! long ago that was: it answers with when the receiver sent its last gossip, which was before the leader had it. A node
//! that has applied the index is as fresh as that instant, whatever a message took on its way.

use std::collections::VecDeque;

use quorate_consensus::{BootTime, Engine, Index, NodeId, engine::RoleKind};

use crate::{driver::Driver, input::Now, peer::Echo};

/// What is known of the age of this node's data.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    /// Indexes that are not known to be applied, each with the instant at which it was all there was; both grow.
    told: VecDeque<(Index, BootTime)>,
    /// All that was committed by then is applied.
    as_of: Option<BootTime>,
}

/// More than a node that lags behind can use: what is told beyond it takes the place of the last.
const TOLD_MAX: usize = 64;

impl Freshness {
    /// A leader told that `commit` was all there was at `as_of`.
    pub(super) fn told(&mut self, commit: Index, as_of: BootTime) {
        if self.told.back().is_some_and(|&(index, at)| commit < index || as_of <= at) {
            return;
        }
        if self.told.len() == TOLD_MAX {
            self.told.pop_back();
        }
        self.told.push_back((commit, as_of));
    }

    /// The instant by which all that was committed is among the `applied` entries.
    pub(super) fn as_of(&self, applied: Index) -> Option<BootTime> {
        let reached = self.told.iter().take_while(|(commit, _)| *commit <= applied);
        reached.last().map(|&(_, as_of)| as_of).max(self.as_of)
    }

    /// Forgets what is applied.
    fn applied(&mut self, applied: Index) {
        self.as_of = self.as_of(applied);
        while self.told.pop_front_if(|(commit, _)| *commit <= applied).is_some() {}
    }
}

impl<E: Engine> Driver<E> {
    /// What a leader that was confirmed at `confirmed_at` lets a member know about its age.
    pub(super) fn echo_for(&self, member: NodeId, confirmed_at: Option<BootTime>) -> Option<Echo> {
        let (heard, at) = self.gossip.get(&member)?;
        let unconfirmed = at.since(confirmed_at?);
        let unconfirmed_ms = u32::try_from(unconfirmed.as_micros().div_ceil(1000)).unwrap_or(u32::MAX);
        Some(Echo { sent: heard.sent, unconfirmed_ms })
    }

    /// Notes what this node knows itself, as leader.
    pub(super) fn refresh(&mut self, now: Now) {
        if self.role.kind == RoleKind::Leader {
            let status = self.engine.status(now.boot);
            if let Some(at) = status.confirmed_at {
                self.freshness.told(status.commit, at);
            }
        }
        self.freshness.applied(self.applied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> BootTime {
        BootTime { micros }
    }

    #[test]
    fn data_are_as_fresh_as_the_newest_index_that_is_applied() {
        let mut freshness = Freshness::default();
        assert_eq!(freshness.as_of(Index(9)), None);
        freshness.told(Index(3), at(10));
        freshness.told(Index(5), at(20));
        assert_eq!(freshness.as_of(Index(4)), Some(at(10)));
        freshness.applied(Index(5));
        assert_eq!((freshness.told.len(), freshness.as_of(Index(5))), (0, Some(at(20))));
        freshness.told(Index(5), at(30));
        assert_eq!(freshness.as_of(Index(5)), Some(at(30)));
    }

    #[test]
    fn what_came_late_or_from_an_earlier_leader_changes_nothing() {
        let mut freshness = Freshness::default();
        freshness.told(Index(5), at(20));
        freshness.told(Index(4), at(30));
        freshness.told(Index(6), at(20));
        assert_eq!(freshness.told.len(), 1);
    }

    #[test]
    fn a_node_that_lags_for_long_remembers_a_bounded_number() {
        let mut freshness = Freshness::default();
        (1..1000).for_each(|number| freshness.told(Index(number), at(number)));
        assert_eq!(freshness.told.len(), TOLD_MAX);
        assert_eq!(freshness.as_of(Index(999)), Some(at(999)));
    }
}
