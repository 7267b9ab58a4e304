//! A leader's view of its cluster: who answers, who keeps up, who could lead next, and what change may be made.
//!
//! * One change at a time, and none before an entry of the leader's own term is committed: before, it does not know
//!   whether an earlier change is done, and more than two configurations would have to agree (hazard 2).
//! * A learner votes only once it has nearly the whole log (hazard 4), and no change may leave fewer reachable
//!   voters than decisions need.

use std::collections::BTreeMap;

use super::{
    log_view::LogView,
    progress::{Peer, Progress, is_active},
};
use crate::{
    BootTime, Change, Config, Index, Membership, NodeId, Priority, Refusal, Step, Term, engine::PeerStatus,
};

/// What a leader looks at when it decides about others.
#[derive(Debug)]
pub(crate) struct Circle<'a> {
    pub(crate) config: &'a Config,
    pub(crate) log: &'a LogView,
    pub(crate) peers: &'a BTreeMap<NodeId, Peer>,
    pub(crate) term: Term,
    pub(crate) commit: Index,
    /// The first entry of the leader's term.
    pub(crate) first: Index,
    pub(crate) now: BootTime,
}

impl Circle<'_> {
    pub(crate) fn is_heard(&self, peer: &Peer) -> bool {
        is_active(peer, self.now, self.config.election_timeout)
    }

    /// Whether those that were heard, this node included, are a quorum by `is_quorum`.
    pub(crate) fn hears(&self, is_quorum: impl Fn(&dyn Fn(NodeId) -> bool) -> bool) -> bool {
        is_quorum(&|voter| {
            voter == self.config.id || self.peers.get(&voter).is_some_and(|peer| self.is_heard(peer))
        })
    }

    pub(crate) fn peer_status(&self) -> Vec<PeerStatus> {
        let status = |(&id, peer): (&NodeId, &Peer)| PeerStatus {
            id,
            matched: peer.matched,
            active: self.is_heard(peer),
            progress: peer.state_name(),
            priority: peer.priority,
        };
        self.peers.iter().map(status).collect()
    }

    /// The configuration that a change leads to, unless something speaks against it.
    pub(crate) fn plan(&self, change: &Change) -> Result<Membership, Refusal> {
        if self.commit < self.first {
            return Err(Refusal::TermUncommitted { term: self.term });
        }
        if self.log.membership_index() > self.commit {
            return Err(Refusal::UnderWay);
        }
        let present = self.log.membership();
        let next = present.apply(change)?;
        next.voters.difference(&present.voters).try_for_each(|&learner| self.check_caught_up(learner))?;
        if next.is_joint() {
            // A voter counts as heard when a leader begins, and one that is being sent a snapshot is heard, too: neither
            // helps to commit what comes next.
            let keeps_up = |voter| self.check_caught_up(voter).is_ok();
            next.check_reachable(|voter| voter == self.config.id || keeps_up(voter))?;
            self.check_leader(&next)?;
        }
        Ok(next)
    }

    /// The promotion of all learners that wait for it and are ready, if nothing speaks against it now.
    pub(crate) fn plan_promotions(&self) -> Option<Membership> {
        let waiting = self.log.membership().promotions.keys().copied();
        let ready = waiting.filter(|&node| self.check_caught_up(node).is_ok());
        let change = Change(ready.map(|node| Step::Promote { node }).collect());
        if change.0.is_empty() { None } else { self.plan(&change).ok() }
    }

    /// Whether somebody would lead after a change.
    fn check_leader(&self, next: &Membership) -> Result<(), Refusal> {
        let would_lead = |voter: &NodeId| {
            next.may_lead(*voter)
                && match self.peers.get(voter) {
                    Some(peer) => peer.may_lead(),
                    None => self.config.priority != Priority::NEVER,
                }
        };
        // Who alone decides leads, whatever its priority.
        let is_alone = next.needed() == 1;
        if is_alone || next.voters.iter().any(would_lead) { Ok(()) } else { Err(Refusal::NoLeader) }
    }

    /// Whether a node has so much of the log that its vote would help to commit.
    pub(crate) fn check_caught_up(&self, node: NodeId) -> Result<(), Refusal> {
        // Who was just added counts as heard: only an acknowledgement shows that it is there.
        let is_there = |peer: &&Peer| self.is_heard(peer) && peer.matched > Index(0);
        let peer = self.peers.get(&node).filter(is_there).ok_or(Refusal::Unheard { node })?;
        if self.log.membership().is_witness(node) {
            let knows = peer.matched >= self.log.membership_index();
            return if knows { Ok(()) } else { Err(Refusal::Unheard { node }) };
        }
        match &peer.progress {
            Progress::Snapshot(_) => return Err(Refusal::AwaitsSnapshot { node }),
            Progress::Probe { .. } | Progress::Replicate { .. } => {}
        }
        let entries = self.log.last_index().0 - peer.matched.0;
        let allowed = self.config.promotion_lag_max;
        if entries > allowed { Err(Refusal::Lags { node, entries, allowed }) } else { Ok(()) }
    }

    /// A voter that was heard lately, would lead, and has all that is committed: the rest of the log it gets soon.
    /// The preferred one, or the one that has most.
    pub(crate) fn best_successor(&self) -> Option<NodeId> {
        let is_fit = |peer: &Peer| self.is_heard(peer) && peer.may_lead() && peer.matched >= self.commit;
        let membership = self.log.membership();
        let voters = membership.voters.iter().filter(|&&voter| membership.may_lead(voter));
        voters
            .rev()
            .filter_map(|&voter| Some((voter, self.peers.get(&voter).filter(|peer| is_fit(peer))?)))
            .max_by_key(|(_, peer)| (peer.priority.unwrap_or_default(), peer.matched))
            .map(|(voter, _)| voter)
    }

    /// Whether a leader may hand over to `to`.
    pub(crate) fn may_succeed(&self, to: NodeId) -> bool {
        let membership = self.log.membership();
        to != self.config.id
            && membership.voters.contains(&to)
            && membership.may_lead(to)
            && self.peers.get(&to).is_some_and(Peer::may_lead)
    }
}
