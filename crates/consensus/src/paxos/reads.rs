//! Linearizable reads without a log entry.
//!
//! The leader notes its commit index and begins a *round*: a heartbeat with a number that no other has. A voter answers
//! only while it has promised no greater ballot. Once a quorum has answered that number or a later one, nobody else can have
//! finished phase 1 when the round began, and the index covers all that was acknowledged before.
//!
//! * A round serves only reads that arrived before it began, and all of them at once.
//! * Each peer counts once, by the newest round that it confirmed (hazard 11).
//! * No read is confirmed before an entry of the ballot is committed, since the commit index may lag behind what an earlier
//!   leader acknowledged; and none during a hand-over. Rounds go on meanwhile, since they tell who is connected.

use quorate_bug::{self as bug, Bug};

use super::{
    Paxos, Role,
    leader::Leader,
    message::{Body, ReadPoint},
    quorums,
};
use crate::{BootTime, NodeId, Priority, ReadId, engine::ReadOutcome, replication::reads::Asker};

impl Paxos {
    /// A read of this node's caller.
    pub(super) fn read(&mut self, id: ReadId) {
        match &mut self.role {
            Role::Leader(_) => self.wait_for_round(Asker::Local(id)),
            Role::Follower(_) | Role::Surveyor(_) | Role::Candidate(_) => self.read_as_follower(id),
        }
    }

    /// A follower's batch of reads.
    pub(super) fn read_for(&mut self, node: NodeId, origin: u64, batch: u64) {
        match &mut self.role {
            Role::Leader(_) => self.wait_for_round(Asker::Peer { node, origin, batch }),
            Role::Follower(_) | Role::Surveyor(_) | Role::Candidate(_) => {
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

    /// Begins a round for the reads that wait, if it may.
    pub(super) fn open_read_round(&mut self, now: BootTime) {
        let Role::Leader(leader) = &self.role else { return };
        if leader.reads.wants_round() && self.may_confirm(leader) {
            self.broadcast_heartbeat(now);
        }
        self.close_read_rounds(now);
    }

    /// Whether reads may be confirmed.
    pub(super) fn may_confirm(&self, leader: &Leader) -> bool {
        self.standing.commit() >= leader.first && leader.handover.is_none()
    }

    /// A peer confirmed a round, and all before it.
    pub(super) fn heartbeat_answered(&mut self, now: BootTime, from: NodeId, round: u64, priority: Priority) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        let round = if bug::on(Bug::LateConfirmation) { leader.reads.newest_round() } else { round };
        if round > leader.reads.newest_round() || round <= peer.confirmed_round {
            return;
        }
        peer.heard = now;
        peer.priority = Some(priority);
        peer.confirmed_round = round;
        self.close_read_rounds(now);
    }

    /// Answers the readers of all rounds that a quorum has confirmed.
    fn close_read_rounds(&mut self, now: BootTime) {
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.handover.is_some() || !leader.reads.has_open_round() {
            return;
        }
        let confirmed = quorums::confirmed(self.log.membership(), |voter| {
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

    /// Tells a reader its point; none if this node cannot confirm its read any more.
    pub(super) fn answer_reader(&mut self, asker: Asker, point: Option<ReadPoint>) {
        match asker {
            Asker::Local(id) => self.outbox.reads.push((id, ReadOutcome::of(point))),
            Asker::Peer { node, origin, batch } => {
                self.send(node, Body::ReadAnswer { origin, batch, point });
            }
        }
    }
}
