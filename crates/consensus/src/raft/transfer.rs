//! Giving leadership away: by order, because this node's disk has stalled, or because it votes no more
//! (dissertation, section 3.10).
//!
//! The leader stops to accept proposals and to confirm reads, brings the successor's log up to its own, and tells
//! it to stand for election at once. If nothing has come of it within an election time-out, the leader goes on.

use super::{Raft, Role, leader::is_active, message::Body, progress::Peer};
use crate::{BootTime, NodeId};

/// A hand-over under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Handover {
    to: NodeId,
    ends_at: BootTime,
    /// Whether the successor was told to stand.
    asked: bool,
}

impl Raft {
    /// Begins to hand over to `to`, or changes the successor.
    pub(super) fn begin_transfer(&mut self, now: BootTime, to: NodeId) {
        let membership = self.log.membership();
        let can_lead = to != self.config.id && membership.voters.contains(&to) && membership.may_lead(to);
        if let Role::Leader(leader) = &mut self.role
            && can_lead
            && leader.peers.get(&to).is_some_and(Peer::may_lead)
        {
            // Asking again must not keep a leader from leading that nobody succeeds.
            if leader.handover.as_ref().is_some_and(|handover| handover.to == to) {
                return;
            }
            let ends_at = now.after(self.config.election_timeout);
            leader.lease.give_up();
            leader.handover = Some(Handover { to, ends_at, asked: false });
            self.hand_over_if_ready();
        }
    }

    /// Tells the successor to stand once its log is complete.
    pub(super) fn hand_over_if_ready(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(handover) = &mut leader.handover else { return };
        let to = handover.to;
        let complete = leader.peers.get(&to).is_some_and(|peer| peer.matched == self.log.last_index());
        if complete && !handover.asked {
            handover.asked = true;
            self.send(to, Body::TimeoutNow);
        }
    }

    /// Ends a hand-over that came to nothing, and gives way when the disk has stalled (hazard 15).
    pub(super) fn watch_health(&mut self, now: BootTime) {
        let stalled = self.durability.is_stalled(now, self.config.persist_stall_max);
        let Role::Leader(leader) = &mut self.role else { return };
        match &leader.handover {
            Some(handover) if handover.ends_at <= now => {
                leader.handover = None;
                if stalled || self.is_voted_out() {
                    self.become_follower(now, self.term, None);
                }
            }
            Some(_) => {}
            None if stalled => match self.best_successor(now) {
                Some(successor) => self.begin_transfer(now, successor),
                None => self.become_follower(now, self.term, None),
            },
            None => {}
        }
    }

    /// A voter that was heard lately, would lead, and has all that is committed: the rest of the log it gets soon.
    /// The preferred one, or the one that has most.
    pub(super) fn best_successor(&self, now: BootTime) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        let timeout = self.config.election_timeout;
        let is_fit =
            |peer: &Peer| is_active(peer, now, timeout) && peer.may_lead() && peer.matched >= self.commit;
        let membership = self.log.membership();
        let voters = membership.voters.iter().filter(|&&voter| membership.may_lead(voter));
        voters
            .rev()
            .filter_map(|&voter| Some((voter, leader.peers.get(&voter).filter(|peer| is_fit(peer))?)))
            .max_by_key(|(_, peer)| (peer.priority.unwrap_or_default(), peer.matched))
            .map(|(voter, _)| voter)
    }
}
