//! Repair: a node whose disk has lost what it once held gets it back before it takes part in elections.
//!
//! Such a node ([`crate::Restored::under_repair`]) still knows its term and its vote, but of its log only a beginning,
//! or a snapshot, or nothing. It follows as any other, but
//!
//! * **it grants no vote and no pre-vote, and never stands**, not even when it is told to. Whatever it has once
//!   acknowledged binds it when it votes: a leader must have that, and by its own log it cannot judge who has.
//! * **It acknowledges what it appends.** That is true of its disk as of now, and no less safe than before: the entries
//!   it names are there, and it votes for nobody who lacks them, since it does not vote at all.
//! * **It learns what is committed from appends alone**, which prove that the logs agree. A heartbeat names what the
//!   leader believes to be on this node's disk, and the leader may not know of the damage yet.
//!
//! Once in a term it asks the leader where that one's log ends. The leader forgets what it believed of this node's log
//! (or it would take its refusals for old ones, and never send what is missing), and answers with its last index. The
//! node is whole again when, **within one term, its log is known to be equal to the leader's up to there, and that is
//! on its disk**.
//!
//! Why that is enough. Let this node have acknowledged an entry to the leader of a term t, and let that count now or
//! later. Its own term T is at least t, since the term was on its disk before the acknowledgement, and the slots
//! that keep it were not damaged.
//!
//! * t < T: if the entry is committed in t, the leader of T has it (leader completeness: of the voters that elected it,
//!   one had acknowledged the entry before it voted, and did not vote under repair). If it is not in the log of the
//!   leader of T, it never commits in t.
//! * t = T: the leader had the entry before it sent it, and so before it was acknowledged, and before this question was
//!   asked. A leader never truncates its log within its term.
//!
//! Either way it stands at or before the index that was answered. In a new term the argument begins anew, and so does
//! the question. It is the life that asks which counts: an answer to an earlier one says nothing of what was
//! acknowledged and lost in between.
//!
//! The voters that are not damaged elect alone meanwhile: repair needs as many of them as an election does. Questions
//! and answers may be lost, and an acknowledgement of before the damage may arrive behind the question and mislead the
//! leader again: so who gets no further for an election time-out asks once more, and so does who has no answer by then, even
//! if clients make the log grow all the time.
//!
//! A witness has had nothing but configurations: it is whole when it has the one that the leader of the term has restated,
//! or a later one.
//!
//! Source: Alagappan et al., *Protocol-Aware Recovery for Consensus-Based Storage* (FAST '18), sections 3.4 and 3.5.

use super::{Raft, Role, message::Body};
use crate::{BootTime, Index, NodeId, replication::repair::Repair};

/// The side of the node under repair.
impl Raft {
    /// A new term: another leader must be asked.
    pub(super) fn restart_repair(&mut self) {
        if let Some(repair) = &mut self.repair {
            *repair = Repair::default();
        }
    }

    /// The log is equal to that of the leader of this term up to `matched`.
    pub(super) fn note_match(&mut self, matched: Index) {
        if let Some(repair) = &mut self.repair {
            repair.note_match(matched);
        }
    }

    /// The leader says what is committed of what it believes to be on this node's disk.
    pub(super) fn learn_commit_by_progress(&mut self, commit: Index) {
        if self.repair.is_none() {
            self.learn_commit(commit);
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
        let Some(leader) = follower.leader_id() else { return };
        let standing = (self.log.last_index(), self.incoming.received());
        if repair.asks(now, standing, self.config.election_timeout) {
            self.send(leader, Body::RepairRequest { life: self.origin });
        }
    }

    /// The leader's answer. One to a former life, or from another node, finds nothing.
    pub(super) fn repair_point(&mut self, from: NodeId, life: u64, last: Index) {
        if life == self.origin
            && self.role_view().leader == Some(from)
            && let Some(repair) = &mut self.repair
        {
            repair.learn_goal(last);
        }
    }
}

/// The leader's side.
impl Raft {
    /// A peer's disk has lost what this node believes to be there.
    pub(super) fn repair_requested(&mut self, now: BootTime, from: NodeId, life: u64) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        let end = self.log.last_index();
        peer.heard = now;
        peer.begin_anew(end.next());
        // Of the log a witness has nothing but the configuration, which this leader has restated.
        let last = if peer.is_witness { self.log.membership_index() } else { end };
        self.send(from, Body::RepairPoint { life, last });
    }
}
