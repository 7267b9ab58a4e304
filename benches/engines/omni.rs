//! The crate `omnipaxos`, driven as its documentation does.

use crate::{
    cluster::{COMPACTION_ENTRIES, Envelope, HEARTBEAT, KEPT_ENTRIES, NODES, Node, TICK},
    ledger::Ledger,
};
use bytes::Bytes;
use omnipaxos::{
    ClusterConfig, OmniPaxos, ServerConfig,
    messages::Message,
    storage::{Entry, NoSnapshot},
    util::LogEntry,
};
use omnipaxos_storage::memory_storage::MemoryStorage;
use std::{collections::VecDeque, time::Duration};

/// An entry whose bytes all copies share.
#[derive(Clone, Debug)]
pub(crate) struct Command(Bytes);

impl Entry for Command {
    type Snapshot = NoSnapshot;
}

pub(crate) struct Omni {
    id: u64,
    node: OmniPaxos<Command, MemoryStorage<Command>>,
    ticks: u128,
    outgoing: Vec<Message<Command>>,
    /// The place in the log behind the last entry that was applied.
    applied: usize,
    ledger: Ledger,
    compacted: u64,
}

impl Node for Omni {
    type Message = Message<Command>;

    fn new(id: u64) -> Self {
        let cluster =
            ClusterConfig { configuration_id: 1, nodes: (1..=NODES).collect(), flexible_quorum: None };
        // Its election time-out is the interval of its heartbeats.
        let election_tick_timeout = HEARTBEAT.div_duration_f64(TICK) as u64;
        let leader_priority = u32::from(id == 1);
        let server =
            ServerConfig { pid: id, election_tick_timeout, leader_priority, ..ServerConfig::default() };
        let node =
            cluster.build_for_server(server, MemoryStorage::default()).expect("the settings are valid");
        let (outgoing, ledger) = (Vec::new(), Ledger::default());
        Self { id, node, ticks: 0, outgoing, applied: 0, ledger, compacted: 0 }
    }

    /// Its elections come with the time alone, and the first node has the priority.
    fn campaign(&mut self) {}

    fn leads(&self) -> bool {
        self.node.get_current_leader() == Some((self.id, true))
    }

    fn propose(&mut self, payload: Vec<u8>) {
        self.node.append(Command(Bytes::from(payload))).expect("no other configuration is proposed");
    }

    fn receive(&mut self, _: u64, message: Self::Message) {
        self.node.handle_incoming(message);
    }

    fn pass(&mut self, now: Duration) {
        while self.ticks < now.as_nanos() / TICK.as_nanos() {
            self.ticks += 1;
            self.node.tick();
        }
    }

    fn work(&mut self, network: &mut VecDeque<Envelope<Self::Message>>) -> bool {
        let applied = self.apply();
        self.node.take_outgoing_messages(&mut self.outgoing);
        let sent = !self.outgoing.is_empty();
        let envelope = |message: Message<Command>| Envelope {
            from: message.get_sender(),
            to: message.get_receiver(),
            message,
        };
        network.extend(self.outgoing.drain(..).map(envelope));
        applied || sent
    }

    fn committed(&self) -> u64 {
        self.ledger.commands()
    }
}

impl Omni {
    fn apply(&mut self) -> bool {
        if self.node.get_decided_idx() == self.applied {
            return false;
        }
        for entry in self.node.read_decided_suffix(self.applied).into_iter().flatten() {
            match entry {
                LogEntry::Decided(command) => self.ledger.apply(&command.0),
                LogEntry::Undecided(_)
                | LogEntry::Trimmed(_)
                | LogEntry::Snapshotted(_)
                | LogEntry::StopSign(..) => panic!("what was read is not a decided command"),
            }
            self.applied += 1;
        }
        self.compact();
        true
    }

    /// The leader drops entries for all. Its peers are told at once, before they have applied the present window.
    fn compact(&mut self) {
        let applied = self.ledger.commands();
        if self.leads() && applied >= self.compacted + COMPACTION_ENTRIES {
            let all_applied = self.applied - usize::try_from(KEPT_ENTRIES).expect("a small number");
            if self.node.trim(Some(all_applied)).is_ok() {
                self.compacted = applied;
            }
        }
    }
}
