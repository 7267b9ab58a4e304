//! Repair: a node whose disk has lost what it once held gets it back before it promises anything.
//!
//! Such a node ([`crate::Restored::under_repair`]) still knows the ballot that it has promised, but of its log only a
//! beginning, or a snapshot, or nothing. It follows as any other, but
//!
//! * **it promises nothing, never stands, and teaches nobody.** Whatever it has once accepted binds it when it promises: it
//!   would have to tell of it.
//! * **It acknowledges what it accepts**, which is true of its disk as of now; and it keeps no candidate from hearing of it,
//!   since each quorum of promises is one of nodes that are whole, and meets the one that has accepted.
//! * **It learns what is committed from accepts alone**, which prove that the logs agree. A heartbeat names what the
//!   leader believes to be on this node's disk, and the leader may not know of the damage yet.
//!
//! Once in a ballot it asks the leader where that one's log ends. The leader forgets what it believed of this node's log, and
//! answers with its last index. The node is whole again when, **within one ballot, its log is known to be equal to the
//! leader's up to there, and that is on its disk**.
//!
//! Why that is enough. Let this node have accepted an entry in ballot `t`, and let that count now or later. Its own ballot
//! `T` is at least `t`, since the ballot was on its disk before the acceptance, and the slots that keep it were not damaged.
//! If `t < T`, and the entry is ever chosen in `t`, the leader of `T` has it (the claim at the head of [`super`]). If `t = T`,
//! the leader had the entry before it sent it, and so before this question was asked; and its log never shrinks. Either way it
//! stands at or before the index that was answered. In a new ballot the argument begins anew, and so does the question.
//! Questions and answers may be lost: who gets no further for an election time-out asks once more.

use super::{Paxos, Role, message::Body};
use crate::{BootTime, Index, NodeId, replication::repair::Repair};

/// The side of the node under repair.
impl Paxos {
    /// A new ballot: another leader must be asked.
    pub(super) fn restart_repair(&mut self) {
        if let Some(repair) = &mut self.repair {
            *repair = Repair::default();
        }
    }

    /// The log is equal to that of the leader of this ballot up to `matched`.
    pub(super) fn note_match(&mut self, matched: Index) {
        if let Some(repair) = &mut self.repair {
            repair.note_match(matched);
        }
    }

    /// Ends the repair if all is there, and else asks the leader if that is due.
    pub(super) fn advance_repair(&mut self, now: BootTime) {
        let Some(repair) = &mut self.repair else { return };
        let Role::Follower(follower) = &self.role else { return };
        if self.incoming.is_installing() {
            return;
        }
        if let Some(goal) = repair.is_done(self.durability.durable()) {
            self.repair = None;
            self.outbox.repaired = Some(goal);
            return;
        }
        let standing = (self.log.last_index(), self.incoming.received());
        if follower.is_led() && repair.asks(now, standing, self.config.election_timeout) {
            self.send(self.ballot.node, Body::RepairRequest { life: self.origin });
        }
    }

    /// The leader's answer. One to a former life finds nothing.
    pub(super) fn repair_point(&mut self, life: u64, last: Index) {
        if life == self.origin
            && let Some(repair) = &mut self.repair
        {
            repair.learn_goal(last);
        }
    }
}

/// The leader's side.
impl Paxos {
    /// A peer's disk has lost what this node believes to be there.
    pub(super) fn repair_requested(&mut self, from: NodeId, life: u64) {
        let last = self.log.last_index();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        peer.begin_anew(last.next());
        self.send(from, Body::RepairPoint { life, last });
    }
}
