//! The crate `raft`, driven as the example in its documentation does.

use crate::{
    cluster::{COMPACTION_ENTRIES, ELECTION, Envelope, HEARTBEAT, KEPT_ENTRIES, NODES, Node, TICK},
    ledger::Ledger,
};
use raft::{
    Config, RawNode, StateRole,
    eraftpb::{Entry, Message},
    storage::MemStorage,
};
use std::{collections::VecDeque, time::Duration};

pub(crate) struct RaftRs {
    raw: RawNode<MemStorage>,
    ticks: u128,
    ledger: Ledger,
    compacted: u64,
}

impl Node for RaftRs {
    type Message = Message;

    fn new(id: u64) -> Self {
        let voters: Vec<u64> = (1..=NODES).collect();
        let storage = MemStorage::new_with_conf_state((voters, vec![]));
        let ticks = |time: Duration| time.div_duration_f64(TICK) as usize;
        // Sizes as ours have them by default.
        let config = Config {
            id,
            election_tick: ticks(ELECTION),
            heartbeat_tick: ticks(HEARTBEAT),
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 256,
            max_uncommitted_size: 64 << 20,
            check_quorum: true,
            pre_vote: true,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let mut raw = RawNode::new(&config, storage, &logger).expect("the settings are valid");
        raw.set_batch_append(true);
        Self { raw, ticks: 0, ledger: Ledger::default(), compacted: 0 }
    }

    fn campaign(&mut self) {
        self.raw.campaign().expect("a voter may stand");
    }

    fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    fn propose(&mut self, payload: Vec<u8>) {
        self.raw.propose(vec![], payload).expect("the leader takes a window");
    }

    fn receive(&mut self, _: u64, message: Message) {
        self.raw.step(message).expect("all peers are known");
    }

    fn pass(&mut self, now: Duration) {
        while self.ticks < now.as_nanos() / TICK.as_nanos() {
            self.ticks += 1;
            self.raw.tick();
        }
    }

    fn work(&mut self, network: &mut VecDeque<Envelope<Message>>) -> bool {
        if !self.raw.has_ready() {
            return false;
        }
        let envelope = |message: Message| Envelope { from: message.from, to: message.to, message };
        let mut ready = self.raw.ready();
        network.extend(ready.take_messages().into_iter().map(envelope));
        self.apply(&ready.take_committed_entries());
        {
            let mut storage = self.raw.store().wl();
            storage.append(ready.entries()).expect("entries are contiguous");
            if let Some(state) = ready.hs() {
                storage.set_hardstate(state.clone());
            }
        }
        network.extend(ready.take_persisted_messages().into_iter().map(envelope));
        let mut light = self.raw.advance(ready);
        if let Some(commit) = light.commit_index() {
            self.raw.store().wl().mut_hard_state().set_commit(commit);
        }
        network.extend(light.take_messages().into_iter().map(envelope));
        self.apply(&light.take_committed_entries());
        self.raw.advance_apply();
        self.compact();
        true
    }

    fn committed(&self) -> u64 {
        self.ledger.commands()
    }
}

impl RaftRs {
    fn apply(&mut self, entries: &[Entry]) {
        // A leader's first entry is empty.
        for entry in entries.iter().filter(|entry| !entry.data.is_empty()) {
            self.ledger.apply(&entry.data);
        }
    }

    fn compact(&mut self) {
        let applied = self.raw.raft.raft_log.applied;
        if applied >= self.compacted + COMPACTION_ENTRIES {
            self.compacted = applied;
            self.raw.store().wl().compact(applied - KEPT_ENTRIES).expect("applied entries can be dropped");
        }
    }
}
