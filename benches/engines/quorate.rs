//! Our engines, both by the one contract.

use crate::{
    cluster::{COMPACTION_ENTRIES, ELECTION, Envelope, HEARTBEAT, KEPT_ENTRIES, NODES, Node},
    ledger::Ledger,
};
use bytes::Bytes;
use quorate_consensus::{
    BootTime, Config, Engine, Entry, Index, Input, Membership, NodeId, Payload, ProposalId, Restored,
    SnapshotMeta, engine::RoleKind,
};
use std::{collections::VecDeque, time::Duration};

pub(crate) struct Ours<E: Engine> {
    id: u64,
    engine: E,
    now: BootTime,
    proposals: u64,
    ledger: Ledger,
    /// The last entry of the newest snapshot.
    compacted: u64,
}

impl<E: Engine> Node for Ours<E> {
    type Message = E::Message;

    fn new(id: u64) -> Self {
        let now = BootTime::default();
        let restored = Restored { birth: members(), ..Restored::default() };
        let config = Config {
            election_timeout: ELECTION,
            heartbeat_interval: HEARTBEAT,
            ..Config::for_node(NodeId(id), id)
        };
        let engine = E::new(config, restored, now);
        Self { id, engine, now, proposals: 0, ledger: Ledger::default(), compacted: 0 }
    }

    fn campaign(&mut self) {
        self.input(Input::Campaign);
    }

    fn leads(&self) -> bool {
        self.engine.status(self.now).role.kind == RoleKind::Leader
    }

    fn propose(&mut self, payload: Vec<u8>) {
        self.proposals += 1;
        self.input(Input::Propose { id: ProposalId(self.proposals), payload: Bytes::from(payload) });
    }

    fn receive(&mut self, from: u64, message: E::Message) {
        self.input(Input::Message { from: NodeId(from), message });
    }

    fn pass(&mut self, now: Duration) {
        self.now = BootTime::default().after(now);
        if self.engine.deadline() <= self.now {
            self.input(Input::Deadline);
        }
    }

    fn work(&mut self, network: &mut VecDeque<Envelope<E::Message>>) -> bool {
        let effects = self.engine.drain(self.now);
        let from = self.id;
        let envelope = |(to, message): (NodeId, _)| Envelope { from, to: to.0, message };
        let worked = !effects.send.is_empty() || effects.persist.is_some() || !effects.committed.is_empty();
        network.extend(effects.send.into_iter().map(envelope));
        if let Some(persist) = effects.persist {
            network.extend(persist.after.into_iter().map(envelope));
            self.input(Input::Persisted { op: persist.op });
        }
        self.apply(&effects.committed);
        worked
    }

    fn committed(&self) -> u64 {
        self.ledger.commands()
    }
}

impl<E: Engine> Ours<E> {
    fn input(&mut self, input: Input<E::Message>) {
        self.engine.step(self.now, input);
    }

    fn apply(&mut self, committed: &[Entry]) {
        for entry in committed {
            if let Payload::Command(bytes) = &entry.payload {
                self.ledger.apply(bytes);
            }
        }
        let Some(last) = committed.last() else { return };
        self.input(Input::Applied { index: last.index });
        if last.index.0 >= self.compacted + COMPACTION_ENTRIES {
            self.compacted = last.index.0;
            let (index, term, stamp) = (last.index, last.term, last.stamp);
            let meta = SnapshotMeta { index, term, stamp, membership: members().into(), bytes: 1 };
            self.input(Input::SnapshotMade { meta, keep_from: Index(index.0 - KEPT_ENTRIES) });
        }
    }
}

fn members() -> Membership {
    Membership::of_voters((1..=NODES).map(NodeId))
}
