//! What the model is made of: engines, their disks with writes in flight, messages on their way, and how much of each
//! kind may still happen.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Debug,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use quorate_consensus::{
    BootTime, Config, Effects, Entry, HardState, Index, Input, Membership, NodeId, Persist, ProposalId,
    Restored, Term,
    engine::RoleKind,
    paxos::{self, Ballot, Paxos},
    raft::{self, Raft},
};

use crate::told::Tells;

/// From whom, to whom, and what.
pub(crate) type Envelope<M> = (NodeId, NodeId, M);

/// An engine to be looked at.
pub(crate) trait Subject: Tells + Debug + 'static {
    /// How many terms there have been up to this one, if each is taken for the next.
    fn elections(term: Term) -> u64;

    /// Whether candidates may have to be taught.
    const TEACHES: bool;

    /// Whether a candidate asks for what it lacks.
    fn asks_to_be_taught(message: &Self::Message) -> bool;
}

impl Subject for Raft {
    const TEACHES: bool = false;

    fn elections(term: Term) -> u64 {
        term.0
    }

    fn asks_to_be_taught(_: &raft::message::Message) -> bool {
        false
    }
}

impl Subject for Paxos {
    const TEACHES: bool = true;

    fn elections(term: Term) -> u64 {
        Ballot::of(term).round
    }

    fn asks_to_be_taught(message: &paxos::message::Message) -> bool {
        matches!(message.body, paxos::message::Body::Teach { .. })
    }
}

const BEGIN: BootTime = BootTime { micros: 1_000_000 };

/// Longer than any time-out of an election.
const PAUSE: Duration = Duration::from_secs(1);

/// One state of the whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World<E: Subject> {
    /// The configuration that the cluster was born with.
    pub(crate) birth: Arc<Membership>,
    /// States share what has not changed from one to the next.
    pub(crate) nodes: BTreeMap<NodeId, Arc<Node<E>>>,
    /// What is on its way, each once and by its hash: in no order that means anything, but the same in each run.
    pub(crate) network: BTreeMap<u64, Arc<Envelope<E::Message>>>,
    pub(crate) left: Left,
    pub(crate) seen: Seen,
}

/// How often what is bounded may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Left {
    pub(crate) proposals: u8,
    pub(crate) crashes: u8,
    pub(crate) repeats: u8,
    pub(crate) pauses: u8,
}

/// What was seen on the way to a state: no part of the cluster, and not to be lost with a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    /// Who has led each term. More than one is a violation.
    pub(crate) leaders: BTreeSet<(Term, NodeId)>,
    /// How many of them had led where the search begins.
    pub(crate) leaders_at_first: usize,
    /// All that was ever handed out as committed, at any node. Two entries at one place are a violation.
    pub(crate) committed: BTreeMap<Index, Vec<Entry>>,
    /// Whether an entry was replaced by another.
    pub(crate) overwritten: bool,
    /// Whether a durable promise of a term went back. A violation.
    pub(crate) promise_fell: bool,
    /// Whether something was told that was not on the teller's disk. A violation.
    pub(crate) told_early: bool,
    /// Whether a candidate had to be taught.
    pub(crate) taught: bool,
    /// Whether a crash has lost a write in flight.
    pub(crate) unsynced_lost: bool,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node<E: Subject> {
    pub(crate) engine: E,
    pub(crate) disk: Disk,
    pub(crate) writes: VecDeque<Persist<E::Message>>,
    lives: u64,
    /// Its own clock, which moves only when it pauses.
    now: BootTime,
}

/// What survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) entries: Vec<Entry>,
}

impl Disk {
    /// Whether what was told of it is true.
    fn bears_out(&self, (term, index): (Option<Term>, Option<Index>)) -> bool {
        let held = self.entries.last().map_or(Index(0), |last| last.index);
        term.is_none_or(|term| self.hard_state.term >= term) && index.is_none_or(|index| held >= index)
    }

    fn write<M>(&mut self, persist: &Persist<M>) {
        self.hard_state = persist.hard_state.unwrap_or(self.hard_state);
        let from = persist.truncate_from.unwrap_or(Index(u64::MAX));
        self.entries.retain(|entry| entry.index < from);
        self.entries.extend(persist.entries.iter().cloned());
    }
}

impl<E: Subject> Node<E> {
    fn start(id: NodeId, lives: u64, now: BootTime, disk: Disk, birth: &Membership) -> Self {
        let restored = Restored {
            hard_state: disk.hard_state,
            birth: birth.clone(),
            entries: disk.entries.clone(),
            ..Restored::default()
        };
        let mut config = Config::for_node(id, lives);
        if E::TEACHES {
            // Entries travel one by one, so that a candidate may have to stop half way.
            config.message_bytes_max = 1;
        }
        let engine = E::new(config, restored, now);
        Self { engine, disk, writes: VecDeque::new(), lives, now }
    }

    /// What the disk will hold when all writes are done: the log as the engine knows it.
    pub(crate) fn log(&self) -> Vec<Entry> {
        let mut disk = self.disk.clone();
        self.writes.iter().for_each(|persist| disk.write(persist));
        disk.entries
    }

    pub(crate) fn role(&self) -> (RoleKind, Term) {
        let role = self.engine.status(self.now).role;
        (role.kind, role.term)
    }
}

impl<E: Subject> World<E> {
    /// A cluster in which nothing has happened.
    pub(crate) fn new(birth: Membership, left: Left) -> Self {
        let nodes =
            birth.members().map(|id| (id, Arc::new(Node::start(id, 1, BEGIN, Disk::default(), &birth))));
        let nodes = nodes.collect();
        let (birth, members) = (Arc::new(birth.clone()), birth.members());
        let mut world = Self { birth, nodes, network: BTreeMap::new(), left, seen: Seen::default() };
        for id in members {
            world.settle(id);
        }
        world
    }

    /// Delivers and writes until nothing is left to do, but for what is on its way to `deaf`.
    pub(crate) fn come_to_rest(&mut self, deaf: Option<NodeId>) {
        loop {
            let hears = |(_, envelope): &(&u64, &Arc<Envelope<E::Message>>)| Some(envelope.1) != deaf;
            let message = self.network.iter().find(hears).map(|(&key, _)| key);
            let write = self.nodes.iter().find(|(_, node)| !node.writes.is_empty()).map(|(&id, _)| id);
            if let Some(envelope) = message.and_then(|key| self.network.remove(&key)) {
                self.deliver(&envelope);
            } else if let Some(id) = write {
                self.persist(id);
            } else {
                return;
            }
        }
    }

    pub(crate) fn campaign(&mut self, id: NodeId) {
        self.input(id, Input::Campaign);
    }

    /// A node stands still until all its time-outs have passed, and learns of it with its next input.
    pub(crate) fn pause(&mut self, id: NodeId) {
        let node = self.node(id);
        node.now = node.now.after(PAUSE);
    }

    pub(crate) fn propose(&mut self, id: NodeId) {
        self.left.proposals -= 1;
        let number = u64::from(self.left.proposals);
        let payload = Bytes::copy_from_slice(&number.to_le_bytes());
        self.input(id, Input::Propose { id: ProposalId(number), payload });
    }

    pub(crate) fn deliver(&mut self, envelope: &Envelope<E::Message>) {
        let (from, to, message) = envelope.clone();
        self.input(to, Input::Message { from, message });
    }

    /// The oldest write of a node is durable, and what waited for it leaves.
    pub(crate) fn persist(&mut self, id: NodeId) {
        let node = self.node(id);
        let Some(mut persist) = node.writes.pop_front() else { return };
        let after = std::mem::take(&mut persist.after);
        let before = node.disk.entries.len();
        let promised = node.disk.hard_state.term;
        node.disk.write(&persist);
        let fell = node.disk.hard_state.term < promised;
        let overwritten = persist.truncate_from.is_some_and(|from| from.0 <= before as u64);
        self.seen.overwritten |= overwritten;
        self.seen.promise_fell |= fell;
        self.post(id, after);
        self.input(id, Input::Persisted { op: persist.op });
    }

    /// A node loses what it has in memory, and of the writes in flight all but the first `kept`; of the first that is
    /// lost, the hard state may have arrived.
    pub(crate) fn crash(&mut self, id: NodeId, kept: usize, torn: bool) {
        self.left.crashes -= 1;
        let birth = Arc::clone(&self.birth);
        let node = self.node(id);
        let writes = std::mem::take(&mut node.writes);
        writes.iter().take(kept).for_each(|persist| node.disk.write(persist));
        if torn && let Some(half) = writes.get(kept) {
            node.disk.hard_state = half.hard_state.unwrap_or(node.disk.hard_state);
        }
        *node = Node::start(id, node.lives + 1, node.now, node.disk.clone(), &birth);
        self.seen.unsynced_lost |= kept < writes.len();
        self.settle(id);
    }

    fn node(&mut self, id: NodeId) -> &mut Node<E> {
        Arc::make_mut(self.nodes.get_mut(&id).expect("a node of the cluster"))
    }

    fn input(&mut self, id: NodeId, input: Input<E::Message>) {
        let node = self.node(id);
        node.engine.step(node.now, input);
        self.settle(id);
    }

    /// Takes what the inputs so far have caused.
    fn settle(&mut self, id: NodeId) {
        let node = self.node(id);
        let effects = node.engine.drain(node.now);
        let Effects { persist, send, committed, fatal, .. } = effects;
        assert_eq!(fatal, None, "no write fails here");
        self.post(id, send);
        let node = self.node(id);
        node.writes.extend(persist);
        if let (RoleKind::Leader, term) = node.role() {
            self.seen.leaders.insert((term, id));
        }
        if let Some(last) = committed.last() {
            let index = last.index;
            for entry in committed {
                let seen = self.seen.committed.entry(entry.index).or_default();
                if !seen.contains(&entry) {
                    seen.push(entry);
                }
            }
            self.input(id, Input::Applied { index });
        }
    }

    fn post(&mut self, from: NodeId, messages: Vec<(NodeId, E::Message)>) {
        for (to, message) in messages {
            self.seen.taught |= E::asks_to_be_taught(&message);
            self.seen.told_early |= !self.nodes[&from].disk.bears_out(E::told(&message));
            let envelope = (from, to, message);
            self.network.insert(hash_of(&envelope), Arc::new(envelope));
        }
    }
}

fn hash_of<M: std::hash::Hash>(envelope: &Envelope<M>) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(envelope)
}
