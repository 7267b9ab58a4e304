//! A witness: a voter without data beside two that have it ([`Membership`]'s rules, from the leader's side).
//!
//! Of the log a witness knows configurations alone. Each reaches it as a snapshot of no bytes at the position of the
//! configuration's entry: it stands in the place of the log before it, is durable before it is acknowledged, and is never
//! truncated. So the ordinary rule that a vote goes to no log that ends before the voter's own keeps leaders that do not
//! know the present configuration away.
//!
//! # Why nothing acknowledged is lost
//!
//! * A configuration counts as *decided* once it is on the disks of a quorum, in the term of the leader that appended it. A
//!   later leader needs a vote from that quorum, so it has the configuration's entry, and by log matching all before it.
//!   Since a leader begins its term by restating the configuration, this does not depend on entries of older terms, which
//!   must not be counted (section 5.4.2).
//! * A witness is told a configuration only when its word is all that is missing: what it knows, is decided. It never has
//!   to take anything back.
//! * An entry is committed when all holders of the configuration in force have it, once that one is decided; one from
//!   before, when all holders of the configuration before have it. A leader that is elected later knows the configuration, and a
//!   holder has voted for it, be it itself: so it has the entry.
//! * A witness refuses its vote to logs that lack a configuration from when that has reached it, though it may not be on its
//!   disk yet: as soon as it is, the leader may count it, whoever leads by then.
//! * The set-aside voter stands again once it has the configuration that counts it as a holder, and by log matching has all
//!   that was committed without it.

use super::{Raft, Role, leader::Leader, message::Message};
use crate::{
    BootTime, Index, NodeId, SnapshotMeta,
    replication::{
        courier::{Courier, Freight as _},
        log_view::LogView,
        progress::{Peer, Progress, is_active},
    },
};

impl LogView {
    /// How far the log may be committed beside a witness, by what each has on its disk.
    pub(super) fn reached_beside_witness(&self, held_by: impl Fn(NodeId) -> Index) -> Index {
        let (present, since) = (self.membership(), self.membership_index());
        let is_decided = present.has_quorum(|voter| held_by(voter) >= since);
        let by_present = if is_decided { present.held_by_enough(&held_by) } else { Index(0) };
        let end = if is_decided { since } else { since.previous() };
        let by_former = self.membership_before().map_or(Index(0), |former| former.held_by_enough(&held_by));
        by_present.max(by_former.min(end))
    }
}

impl Raft {
    /// What a witness is to know, if it may know it yet. The other holders come first, as long as they make progress: one that
    /// counts again has all of the data only when it has the configuration that says so. Safety does not need that.
    pub(super) fn news_for_witnesses(&self, now: BootTime) -> Option<SnapshotMeta> {
        let Role::Leader(leader) = &self.role else { return None };
        if !leader.peers.values().any(|peer| peer.is_witness) {
            return None;
        }
        let membership = self.log.membership();
        let counts_all = |voter| membership.is_witness(voter) || self.knows_membership(leader, voter);
        let is_awaited = |holder| {
            let peer = leader.peers.get(&holder);
            peer.is_some_and(|peer| self.keeps_up(now, peer)) && !self.knows_membership(leader, holder)
        };
        let is_committed = self.log.membership_index() <= self.standing.commit();
        let is_last_word =
            self.is_restated() && membership.has_quorum(counts_all) && !membership.holders().any(is_awaited);
        (is_committed || is_last_word).then(|| self.log.membership_alone())
    }

    /// Whether the configuration in force is an entry of this leader's own term.
    fn is_restated(&self) -> bool {
        self.log.term_at(self.log.membership_index()) == Some(self.term)
    }

    fn knows_membership(&self, leader: &Leader, voter: NodeId) -> bool {
        leader.held_by(voter, &self.config, &self.durability) >= self.log.membership_index()
    }

    /// Sets those holders aside that keep all others waiting, and counts those again that have caught up.
    pub(super) fn keep_holders(&mut self, now: BootTime) {
        let membership = self.log.membership();
        let Role::Leader(leader) = &mut self.role else { return };
        if !membership.has_witness() {
            return;
        }
        let last = self.log.last_index();
        leader.peers.values_mut().for_each(|peer| peer.watch(now, last));
        let Role::Leader(leader) = &self.role else { return };
        // Only a decided configuration may be followed by another (hazard 2).
        let is_decided = membership.has_quorum(|voter| self.knows_membership(leader, voter));
        if !is_decided || leader.handover.is_some() || self.log.membership_index() < leader.first {
            return;
        }
        let is_full = |voter: &NodeId| *voter != self.config.id && !membership.is_witness(*voter);
        let set_aside =
            membership.electorate().filter(is_full).filter(|&voter| self.is_to_be_aside(now, leader, voter));
        let next = membership.setting_aside(set_aside);
        // A leader that is on its way out holds nothing itself.
        if next != *membership && next.check().is_ok() {
            self.append_membership(now, next);
        }
    }

    /// Whether a peer answers, and its disk does not hang.
    fn keeps_up(&self, now: BootTime, peer: &Peer) -> bool {
        is_active(peer, now, self.config.election_timeout)
            && !peer.is_stuck(now, self.config.persist_stall_max)
    }

    fn is_to_be_aside(&self, now: BootTime, leader: &Leader, voter: NodeId) -> bool {
        let Some(peer) = leader.peers.get(&voter) else { return true };
        if self.log.membership().is_set_aside(voter) {
            // What it has acknowledged since then shows that its disk works, too.
            !self.knows_membership(leader, voter) || self.circle(now, leader).check_caught_up(voter).is_err()
        } else {
            !self.keeps_up(now, peer)
        }
    }
}

impl Peer {
    /// Notes since when it has made no progress though there is something to make.
    fn watch(&mut self, now: BootTime, last: Index) {
        match self.stuck {
            _ if self.matched >= last => self.stuck = None,
            Some((matched, _)) if matched == self.matched => {}
            Some(_) | None => self.stuck = Some((self.matched, now)),
        }
    }

    fn is_stuck(&self, now: BootTime, limit: std::time::Duration) -> bool {
        self.stuck.is_some_and(|(_, since)| now.since(since) > limit)
    }
}

impl Courier<'_, Message> {
    /// Tells a witness the configuration, until it has it.
    pub(super) fn inform(&mut self, id: NodeId, peer: &mut Peer, news: Option<&SnapshotMeta>) {
        let Some(meta) = news.filter(|_| peer.matched < self.log.membership_index()) else { return };
        let is_due = match &peer.progress {
            Progress::Probe { sent } => self.is_due(*sent),
            Progress::Replicate { .. } | Progress::Snapshot(_) => true,
        };
        if is_due {
            peer.progress = Progress::Probe { sent: Some(self.now) };
            self.send(id, Message::chunk(self.term, meta.clone(), 0, bytes::Bytes::new()));
        }
    }
}
