//! Giving leadership away: by order, because this node's disk has stalled, or because it votes no more
//! (dissertation, section 3.10).
//!
//! The leader stops to accept proposals and to confirm reads, brings the successor's log up to its own, and tells
//! it to stand for election at once. If nothing has come of it within an election time-out, the leader goes on.

use super::{Raft, Role, message::Body};
use crate::{BootTime, NodeId};

impl Raft {
    /// Begins to hand over to `to`, or changes the successor.
    pub(super) fn begin_transfer(&mut self, now: BootTime, to: NodeId) {
        let Role::Leader(leader) = &self.role else { return };
        let may_succeed = self.circle(now, leader).may_succeed(to);
        let ends_at = now.after(self.config.election_timeout);
        if let Role::Leader(leader) = &mut self.role
            && may_succeed
            && leader.begin_handover(to, ends_at)
        {
            leader.own.give_up();
            self.hand_over_if_ready();
        }
    }

    /// Tells the successor to stand once its log is complete.
    pub(super) fn hand_over_if_ready(&mut self) {
        if let Role::Leader(leader) = &mut self.role
            && let Some(successor) = leader.ready_successor(&self.log)
        {
            self.send(successor, Body::TimeoutNow);
        }
    }

    /// Ends a hand-over that came to nothing, and gives way when the disk has stalled (hazard 15).
    pub(super) fn watch_health(&mut self, now: BootTime) {
        let stalled = self.durability.is_stalled(now, self.config.persist_stall_max);
        let Role::Leader(leader) = &self.role else { return };
        match &leader.handover {
            Some(handover) if handover.ends_at <= now => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.handover = None;
                }
                if stalled || self.is_voted_out() {
                    self.become_follower(now, self.term, None);
                }
            }
            Some(_) => {}
            None if stalled => match self.circle(now, leader).best_successor() {
                Some(successor) => self.begin_transfer(now, successor),
                None => self.become_follower(now, self.term, None),
            },
            None => {}
        }
    }
}
