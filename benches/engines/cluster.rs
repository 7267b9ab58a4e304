//! Three nodes of one engine in one thread, and the messages between them.

use crate::ledger;
use std::{collections::VecDeque, time::Duration};

pub(crate) const NODES: u64 = 3;
/// How often a node drops entries, and how many stay for peers that are a little behind: the same for all engines.
pub(crate) const COMPACTION_ENTRIES: u64 = 4_096;
pub(crate) const KEPT_ENTRIES: u64 = 2_048;
/// More would have entries dropped that a node has not applied yet.
pub(crate) const WINDOW_MAX: u64 = 1_024;
const _: () = assert!(WINDOW_MAX < KEPT_ENTRIES && KEPT_ENTRIES < COMPACTION_ENTRIES);
/// What an engine without a clock is told by a tick.
pub(crate) const TICK: Duration = Duration::from_millis(10);
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(50);
pub(crate) const ELECTION: Duration = Duration::from_millis(300);
/// The time that passes, as engines are told, from a window to the next.
const STEP: Duration = Duration::from_micros(100);
/// More steps than any engine needs to elect: ten seconds of its time.
const ELECTION_STEPS_MAX: usize = 100_000;

/// A message on its way to a node, from 1 on.
pub(crate) struct Envelope<M> {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) message: M,
}

/// An engine under its driver.
pub(crate) trait Node: Sized {
    type Message;

    /// The nodes of a new cluster, from 1 to [`NODES`].
    fn new(id: u64) -> Self;

    /// Begins to stand for election, if nothing but time is needed for the first node to win.
    fn campaign(&mut self);

    fn leads(&self) -> bool;

    fn propose(&mut self, payload: Vec<u8>);

    fn receive(&mut self, from: u64, message: Self::Message);

    /// Tells how much time has passed since the start.
    fn pass(&mut self, now: Duration);

    /// Does all that the engine wants done, and answers whether that was anything.
    fn work(&mut self, network: &mut VecDeque<Envelope<Self::Message>>) -> bool;

    /// The number of commands handed out as committed.
    fn committed(&self) -> u64;
}

/// All nodes, the leader first.
pub(crate) struct Cluster<N: Node> {
    nodes: Vec<N>,
    network: VecDeque<Envelope<N::Message>>,
    now: Duration,
    proposed: u64,
}

impl<N: Node> Cluster<N> {
    /// A cluster that the first node leads.
    pub(crate) fn elected() -> Self {
        let nodes = (1..=NODES).map(N::new).collect();
        let mut cluster = Self { nodes, network: VecDeque::new(), now: Duration::ZERO, proposed: 0 };
        cluster.nodes[0].campaign();
        for _ in 0..ELECTION_STEPS_MAX {
            cluster.settle();
            if cluster.nodes[0].leads() {
                return cluster;
            }
        }
        panic!("the first node was not elected");
    }

    /// Commits a window of proposals at all nodes.
    pub(crate) fn commit(&mut self, window: u64, bytes: usize) {
        for number in self.proposed + 1..=self.proposed + window {
            self.nodes[0].propose(ledger::payload(number, bytes));
        }
        self.proposed += window;
        self.settle();
        for node in &self.nodes {
            assert_eq!(node.committed(), self.proposed, "a window is not committed by all");
        }
    }

    /// Lets time pass and all nodes work until nothing is left to do.
    fn settle(&mut self) {
        self.now += STEP;
        for node in &mut self.nodes {
            node.pass(self.now);
        }
        loop {
            let mut worked = false;
            for node in &mut self.nodes {
                worked |= node.work(&mut self.network);
            }
            while let Some(Envelope { from, to, message }) = self.network.pop_front() {
                let place = usize::try_from(to - 1).expect("there are few nodes");
                self.nodes[place].receive(from, message);
            }
            if !worked {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{omni::Omni, quorate::Ours, raft_rs::RaftRs};
    use quorate_consensus::{paxos::Paxos, raft::Raft};

    /// Each window is checked by [`Cluster::commit`], the order by the ledgers; and entries are dropped on the way.
    fn commits_all_in_order<N: Node>() {
        let mut cluster = Cluster::<N>::elected();
        for window in [1, 1, 64, WINDOW_MAX, 1] {
            cluster.commit(window, 16);
        }
        for _ in 0..2 * COMPACTION_ENTRIES / WINDOW_MAX {
            cluster.commit(WINDOW_MAX, 1_024);
        }
    }

    #[test]
    fn each_engine_commits_at_all_nodes_what_it_was_given_in_order() {
        commits_all_in_order::<Ours<Raft>>();
        commits_all_in_order::<Ours<Paxos>>();
        commits_all_in_order::<RaftRs>();
        commits_all_in_order::<Omni>();
    }
}
