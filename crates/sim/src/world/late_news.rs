//! A leader that is deposed and does not know: the one time at which it could answer what is true no more.
//!
//! A leader that hears nobody steps down before the others elect another, so that there is hardly an instant with two.
//! But answers that are under way tell of a time before. So here the links to the leader fill up: what its followers
//! said arrives ever later, one message after another, for seconds after the last one that they sent. Meanwhile nobody
//! hears it, and the others elect somebody else and go on.

use quorate_consensus::{Engine, engine::RoleKind};

use super::{World, network::Congestion};
use crate::time::SimTime;

/// The most that the delay grows for each unit of time: heartbeats must not arrive further apart than an election
/// time-out, which is six of their intervals.
const GROWTH_MAX: u64 = 5;

impl<E: Engine> World<E> {
    /// Lets a leader hear the past for a while, and say nothing. False if nobody leads others.
    pub(super) fn bring_late_news(&mut self, at: SimTime) -> bool {
        let peers = self.present_nodes();
        let Some(leader) = peers.iter().copied().find(|&node| self.leads(at, node)) else { return false };
        let growth = u32::try_from(self.random.between(1, GROWTH_MAX)).expect("a small number");
        let full_from = at + self.random.millis(60, 600);
        let until = full_from + self.random.millis(500, 4000);
        let inward = Congestion { since: at, growth, full_from, until };
        // What it says arrives in time, or not at all.
        let outward = Congestion { growth: 0, ..inward };
        let others: Vec<usize> = peers.into_iter().filter(|&peer| peer != leader).collect();
        for &peer in &others {
            self.network.congest(peer, leader, inward);
            self.network.congest(leader, peer, outward);
        }
        self.history.excited_until = until;
        !others.is_empty()
    }

    /// Whether a node leads as far as it knows itself.
    pub(super) fn leads(&self, at: SimTime, node: usize) -> bool {
        let Some(process) = &self.nodes[node].process else { return false };
        process.driver.engine().status(self.nodes[node].now(at).boot).role.kind == RoleKind::Leader
    }
}
