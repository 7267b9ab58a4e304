//! Three engines in one thread: proposed, appended by all, acknowledged, committed by all. Messages are handed over
//! and disks are done at once, so that nothing but the engines is measured.

use crate::{BATCH, KEY_BYTES, VALUE_BYTES};
use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use quorate_consensus::{
    BootTime, Config, Engine, Entry, Index, Input, Membership, NodeId, ProposalId, ReadId, Restored,
    SnapshotMeta,
    raft::{Raft, message::Message},
};
use std::{collections::VecDeque, time::Duration};

const NODES: u64 = 3;
/// How often a snapshot is made, and how many entries stay for peers that are a little behind.
const SNAPSHOT_ENTRIES: u64 = 4_096;
const KEPT_ENTRIES: u64 = 512;

/// One entry at a time, and many on their way at once.
#[divan::bench(args = [1, BATCH])]
fn commit(bencher: Bencher<'_, '_>, entries: usize) {
    let mut cluster = Cluster::elected();
    let payload = Bytes::from(vec![b'v'; KEY_BYTES + VALUE_BYTES]);
    bencher.counter(ItemsCount::new(entries)).bench_local(|| {
        for _ in 0..entries {
            let id = ProposalId(cluster.next_id());
            cluster.input(0, Input::Propose { id, payload: payload.clone() });
        }
        cluster.settle();
    });
}

/// A linearizable read: one round to a majority.
#[divan::bench]
fn read(bencher: Bencher<'_, '_>) {
    let mut cluster = Cluster::elected();
    bencher.bench_local(|| {
        let id = ReadId(cluster.next_id());
        cluster.input(0, Input::Read { id });
        cluster.settle();
    });
}

/// Nodes by their place, the leader first, and messages on their way.
struct Cluster {
    nodes: Vec<Raft>,
    network: VecDeque<(NodeId, NodeId, Message)>,
    now: BootTime,
    ids: u64,
    committed: Index,
    /// The last entry of each node's newest snapshot.
    forgotten: Vec<u64>,
}

impl Cluster {
    fn elected() -> Self {
        let birth = Membership::of_voters((1..=NODES).map(NodeId));
        let now = BootTime::default();
        let restored = Restored { birth, ..Restored::default() };
        let node = |id| Raft::new(Config::for_node(NodeId(id), id), restored.clone(), now);
        let nodes: Vec<Raft> = (1..=NODES).map(node).collect();
        let forgotten = vec![0; nodes.len()];
        let mut cluster =
            Self { nodes, network: VecDeque::new(), now, ids: 0, committed: Index(0), forgotten };
        cluster.input(0, Input::Campaign);
        cluster.settle();
        assert!(cluster.committed > Index(0), "the first node has won");
        cluster
    }

    fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn input(&mut self, node: usize, input: Input<Message>) {
        self.nodes[node].step(self.now, input);
    }

    /// Lets all nodes work until nothing is left to do.
    fn settle(&mut self) {
        self.now = self.now.after(Duration::from_micros(100));
        loop {
            let working = (0..self.nodes.len()).filter(|&node| self.drain(node)).count();
            while let Some((from, to, message)) = self.network.pop_front() {
                let place = usize::try_from(to.0 - 1).expect("there are few nodes");
                self.input(place, Input::Message { from, message });
            }
            if working == 0 {
                return;
            }
        }
    }

    /// Does what a node wants done, and answers whether that was anything.
    fn drain(&mut self, node: usize) -> bool {
        let id = NodeId(node as u64 + 1);
        let effects = self.nodes[node].drain(self.now);
        let sent = |(to, message)| (id, to, message);
        let mut worked = !effects.send.is_empty();
        self.network.extend(effects.send.into_iter().map(sent));
        if let Some(persist) = effects.persist {
            worked = true;
            self.network.extend(persist.after.into_iter().map(sent));
            self.input(node, Input::Persisted { op: persist.op });
        }
        if let Some(last) = effects.committed.last() {
            worked = true;
            self.committed = self.committed.max(last.index);
            self.input(node, Input::Applied { index: last.index });
            if last.index.0 > self.forgotten[node] + SNAPSHOT_ENTRIES {
                self.forget(node, last);
            }
        }
        worked
    }

    /// Has a snapshot take the place of the log, which would grow for ever otherwise.
    fn forget(&mut self, node: usize, last: &Entry) {
        let membership = Membership::of_voters((1..=NODES).map(NodeId));
        let meta =
            SnapshotMeta { index: last.index, term: last.term, stamp: last.stamp, membership, bytes: 1 };
        self.forgotten[node] = last.index.0;
        self.input(node, Input::SnapshotMade { meta, keep_from: Index(last.index.0 - KEPT_ENTRIES) });
    }
}
