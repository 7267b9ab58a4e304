//! ReadIndex (dissertation, section 6.4): linearizable reads without a log entry.
//!
//! The leader notes its commit index and begins a *round*: a heartbeat with a new number to all. Once a quorum has
//! answered that number or a later one, nobody else can have led when the round began, and the index covers all
//! that was acknowledged before. Each regular heartbeat begins a round, too, so that it is always known since when
//! nobody else can have led.
//!
//! * A round serves only reads that arrived before it began, and all of them at once.
//! * Each peer counts once, by the newest round that it confirmed: duplicated and late answers say nothing new
//!   (hazard 11). Numbers grow within a term, and answers of another term do not pass the gate.
//! * No round begins before an entry of the term is committed, since the commit index may lag behind what an
//!   earlier leader acknowledged; and none begins or ends during a hand-over.
//! * A leader that holds a lease needs no round ([`super::lease`]).

use quorate_bug::{self as bug, Bug};

use super::{
    Raft, Role,
    leader::Leader,
    message::{Body, ReadPoint},
};
use crate::{BootTime, NodeId, Priority, ReadId, engine::ReadOutcome, replication::reads::Asker};

impl Raft {
    /// A read of this node's caller.
    pub(super) fn read(&mut self, now: BootTime, id: ReadId) {
        if let Some(point) = self.point_by_lease(now) {
            return self.answer_reader(Asker::Local(id), Some(point));
        }
        match &mut self.role {
            Role::Leader(_) => self.wait_for_round(Asker::Local(id)),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => self.read_as_follower(id),
        }
    }

    /// A follower's batch of reads.
    pub(super) fn read_for(&mut self, now: BootTime, node: NodeId, origin: u64, batch: u64) {
        if let Some(point) = self.point_by_lease(now) {
            return self.answer_reader(Asker::Peer { node, origin, batch }, Some(point));
        }
        match &mut self.role {
            Role::Leader(_) => self.wait_for_round(Asker::Peer { node, origin, batch }),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {
                self.send(node, Body::ReadAnswer { origin, batch, point: None });
            }
        }
    }

    fn wait_for_round(&mut self, asker: Asker) {
        if let Role::Leader(leader) = &mut self.role
            && let Err(refused) = leader.reads.wait(asker)
        {
            self.answer_reader(refused, None);
        }
    }

    /// What a leader that holds a lease answers at once.
    fn point_by_lease(&self, now: BootTime) -> Option<ReadPoint> {
        let Role::Leader(leader) = &self.role else { return None };
        let stamp = leader.stamp(now, &self.log);
        self.holds_lease(now).then_some(ReadPoint { index: self.standing.commit(), stamp })
    }

    /// Begins a round for the reads that wait, if it may.
    pub(super) fn open_read_round(&mut self, now: BootTime) {
        let Role::Leader(leader) = &self.role else { return };
        if leader.reads.wants_round() && self.may_confirm(leader) {
            self.broadcast_heartbeat(now);
        }
        self.close_read_rounds(now);
    }

    /// Whether rounds may be begun and confirmed.
    pub(super) fn may_confirm(&self, leader: &Leader) -> bool {
        self.standing.commit() >= leader.first && leader.handover.is_none()
    }

    /// A follower confirmed a round, and all before it.
    pub(super) fn heartbeat_answered(&mut self, now: BootTime, from: NodeId, round: u64, priority: Priority) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        if round > leader.reads.newest_round() {
            return;
        }
        peer.heard = now;
        peer.priority = Some(priority);
        let round = if bug::on(Bug::LateConfirmation) { leader.reads.newest_round() } else { round };
        peer.confirmed_round = peer.confirmed_round.max(round);
        self.extend_lease();
        self.close_read_rounds(now);
    }

    /// Answers the readers of all rounds that a quorum has confirmed.
    fn close_read_rounds(&mut self, now: BootTime) {
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.handover.is_some() || !leader.reads.has_open_round() {
            return;
        }
        let confirmed = self.log.membership().reached_by_quorum(|voter| {
            if voter == self.config.id || bug::on(Bug::UnconfirmedRead) {
                leader.reads.newest_round()
            } else {
                leader.peers.get(&voter).map_or(0, |peer| peer.confirmed_round)
            }
        });
        let stamp = leader.stamp(now, &self.log);
        let answers = leader.reads.confirm(confirmed, stamp);
        answers.into_iter().for_each(|(asker, point)| self.answer_reader(asker, Some(point)));
    }

    /// Tells readers that this node cannot confirm their reads any more.
    pub(super) fn refuse_readers(&mut self, askers: Vec<Asker>) {
        askers.into_iter().for_each(|asker| self.answer_reader(asker, None));
    }

    fn answer_reader(&mut self, asker: Asker, point: Option<ReadPoint>) {
        match asker {
            Asker::Local(id) => self.outbox.reads.push((id, ReadOutcome::of(point))),
            Asker::Peer { node, origin, batch } => {
                self.send(node, Body::ReadAnswer { origin, batch, point });
            }
        }
    }
}
