//! A cluster in a test tube: engines, a network of queued messages, disks with writes in flight, and machines
//! that keep a list of commands. Nothing happens unless the test says so.
//!
//! Every effect is checked against the safety properties: one leader a term, committed entries equal everywhere
//! and on a quorum's disks, stamps that never fall, leaders that have all that is committed, logs that match,
//! reads that see all that was committed before they began.

mod damage;
mod snapshots;
mod subject;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use quorate_consensus::{
    BootTime, Change, ClusterTime, Config, Effects, Entry, HardState, Index, Input, Membership, NodeId,
    Payload, Persist, Priority, ProposalId, ReadId, Restored, SnapshotMeta, Term, Uncounted,
    engine::{ProposalOutcome, ReadOutcome, RoleKind, Status},
    raft::{self, Raft},
};

pub(crate) use self::subject::Subject;
use crate::snapshot::decode;

/// No test needs more steps than this to come to rest.
const STEPS_MAX: usize = 100_000;

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Envelope<M = raft::message::Message> {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: M,
}

impl<M: std::fmt::Display> Envelope<M> {
    pub(crate) fn text(&self) -> String {
        format!("{}->{} {}", self.from, self.to, self.message)
    }
}

/// What a disk holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) hard_state: HardState,
    pub(crate) entries: Vec<Entry>,
}

impl Image {
    fn truncate(&mut self, from: Index) {
        self.entries.retain(|entry| entry.index < from);
    }

    fn append(&mut self, entry: Entry) {
        if let Some(last) = self.entries.last() {
            assert_eq!(entry.index, last.index.next(), "a hole in a log");
        }
        self.entries.push(entry);
    }

    fn write<M>(&mut self, persist: &Persist<M>) {
        self.hard_state = persist.hard_state.unwrap_or(self.hard_state);
        persist.truncate_from.into_iter().for_each(|from| self.truncate(from));
        persist.entries.iter().cloned().for_each(|entry| self.append(entry));
    }

    fn holds(&self, entry: &Entry) -> bool {
        self.entries.iter().any(|own| own == entry)
    }

    /// A snapshot takes the place of the log where they disagree.
    fn install(&mut self, meta: &SnapshotMeta) {
        let agrees = self.entries.iter().any(|own| (own.index, own.term) == (meta.index, meta.term));
        self.entries.retain(|entry| agrees && entry.index > meta.index);
    }
}

/// One node: what it has in memory, and what is on its disk.
pub(crate) struct Node<E: Subject> {
    /// `None` while it is down.
    pub(crate) engine: Option<E>,
    pub(crate) durable: Image,
    /// What the disk will hold when all writes in flight are done.
    pub(crate) submitted: Image,
    pub(crate) writes: VecDeque<Persist<E::Message>>,
    pub(crate) snapshot: Option<(SnapshotMeta, Vec<u8>)>,
    incoming: Vec<u8>,
    /// The snapshot whose installation is under way.
    installing: Option<SnapshotMeta>,
    /// The commands applied, and the position of the last.
    pub(crate) machine: Vec<String>,
    applied: Index,
    starts: u64,
    /// What its disk held before it last truncated something.
    untruncated: Option<Image>,
    /// What its disk held before it was damaged, while it is under repair. It has acknowledged that, so it counts.
    lost: Option<Image>,
}

/// A cluster that runs Raft.
pub(crate) type Cluster = ClusterOf<Raft>;

/// The cluster.
pub(crate) struct ClusterOf<E: Subject> {
    pub(crate) config: Config,
    birth: Membership,
    /// The configurations that were in force before and after the last batch of inputs, at the node that took it.
    in_force: [Membership; 2],
    pub(crate) nodes: BTreeMap<NodeId, Node<E>>,
    pub(crate) network: VecDeque<Envelope<E::Message>>,
    /// Directed links that lose everything.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// The priorities that nodes are started with, but for the usual one.
    pub(crate) priorities: BTreeMap<NodeId, Priority>,
    /// Nodes that know that they are no members any more.
    pub(crate) removed: BTreeSet<NodeId>,
    /// Nodes whose disks finish a write only when told to.
    pub(crate) slow: BTreeSet<NodeId>,
    /// Nodes whose logs must not grow.
    pub(crate) full: BTreeSet<NodeId>,
    pub(crate) now: BootTime,
    /// What has happened, in the notation of the golden scripts.
    pub(crate) trace: Vec<String>,
    pub(crate) leaders: BTreeMap<Term, NodeId>,
    /// All that was ever handed out as committed.
    pub(crate) history: BTreeMap<Index, Entry>,
    /// When each entry was first written anywhere: by its leader, as soon as it was appended.
    appended: BTreeMap<(Index, Term), BootTime>,
    /// Open reads: what was committed when each began.
    reads: BTreeMap<ReadId, Index>,
    pub(crate) read_outcomes: BTreeMap<ReadId, ReadOutcome>,
    pub(crate) proposal_outcomes: BTreeMap<ProposalId, ProposalOutcome>,
    next_id: u64,
}

fn payload_text(payload: &Payload) -> String {
    match payload {
        Payload::Blank => "-".to_owned(),
        Payload::Command(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Payload::Membership(membership) => membership.to_string(),
    }
}

fn entries_text<E: Subject>(entries: &[Entry]) -> String {
    let texts: Vec<String> =
        entries.iter().map(|entry| format!("{}@{}", entry.index, E::term_text(entry.term))).collect();
    format!("[{}]", texts.join(" "))
}

impl<E: Subject> ClusterOf<E> {
    pub(crate) fn new(voters: u64) -> Self {
        Self::with(voters, 0, |_| {})
    }

    pub(crate) fn with(voters: u64, learners: u64, adjust: impl Fn(&mut Config)) -> Self {
        let birth = Membership::of_voters((1..=voters).map(NodeId))
            .with_learners((voters + 1..=voters + learners).map(NodeId));
        Self::born(birth, adjust)
    }

    /// Two nodes with data, and a third without.
    pub(crate) fn with_witness(adjust: impl Fn(&mut Config)) -> Self {
        let voters = Membership::of_voters((1..=3).map(NodeId));
        Self::born(Membership { uncounted: [(NodeId(3), Uncounted::Witness)].into(), ..voters }, adjust)
    }

    pub(crate) fn born(birth: Membership, adjust: impl Fn(&mut Config)) -> Self {
        let mut config = Config::for_node(NodeId(1), 1);
        adjust(&mut config);
        let mut cluster = Self {
            config,
            nodes: BTreeMap::new(),
            network: VecDeque::new(),
            cut: BTreeSet::new(),
            slow: BTreeSet::new(),
            full: BTreeSet::new(),
            now: BootTime { micros: 1_000_000 },
            trace: Vec::new(),
            leaders: BTreeMap::new(),
            history: BTreeMap::new(),
            appended: BTreeMap::new(),
            reads: BTreeMap::new(),
            read_outcomes: BTreeMap::new(),
            proposal_outcomes: BTreeMap::new(),
            next_id: 0,
            in_force: [birth.clone(), birth.clone()],
            priorities: BTreeMap::new(),
            removed: BTreeSet::new(),
            birth: birth.clone(),
        };
        for id in birth.members() {
            cluster.nodes.insert(id, Node::blank());
            cluster.start(id);
        }
        cluster
    }

    /// A machine that is no member yet: it waits to be spoken to.
    pub(crate) fn join(&mut self, id: u64) {
        self.nodes.insert(NodeId(id), Node::blank());
        self.start(NodeId(id));
    }

    /// The configuration in force at a node.
    pub(crate) fn membership(&self, id: u64) -> Membership {
        self.status(id).membership
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub(crate) fn node(&self, id: u64) -> &Node<E> {
        &self.nodes[&NodeId(id)]
    }

    pub(crate) fn status(&self, id: u64) -> Status {
        self.node(id).engine.as_ref().expect("the node is up").status(self.now)
    }

    /// Starts a node anew in `term`, from a disk with blank entries of `terms`.
    pub(crate) fn restore(&mut self, id: u64, terms: &[u64], term: u64) {
        let entry = |(&term, index)| Entry {
            index: Index(index),
            term: Term(term),
            stamp: ClusterTime::default(),
            payload: Payload::Blank,
        };
        let entries: Vec<Entry> = terms.iter().zip(1..).map(entry).collect();
        let hard_state = HardState { term: Term(term), ..HardState::default() };
        let node = self.node_mut(NodeId(id));
        node.writes.clear();
        node.durable = Image { hard_state, entries };
        self.start(NodeId(id));
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node<E> {
        self.nodes.get_mut(&id).expect("a known node")
    }

    pub(crate) fn is_up(&self, id: NodeId) -> bool {
        self.nodes[&id].engine.is_some()
    }

    /// The leader of the greatest term among the nodes that are up.
    pub(crate) fn leader(&self) -> Option<u64> {
        let roles = self.nodes.iter().filter_map(|(id, node)| {
            let role = node.engine.as_ref()?.status(self.now).role;
            (role.kind == RoleKind::Leader).then_some((role.term, id.0))
        });
        roles.max().map(|(_, id)| id)
    }

    /// Starts a node from what its disk holds.
    pub(crate) fn start(&mut self, id: NodeId) {
        let now = self.now;
        let birth = if self.birth.contains(id) { self.birth.clone() } else { Membership::default() };
        let priority = self.priorities.get(&id).copied().unwrap_or_default();
        let mut config = Config { id, priority, ..self.config.clone() };
        let node = self.node_mut(id);
        node.starts += 1;
        config.seed += 1000 * node.starts;
        let snapshot = node.snapshot.as_ref().map(|(meta, _)| meta.clone());
        let from = snapshot.as_ref().map_or(Index(0), |meta| meta.index);
        node.durable.entries.retain(|entry| entry.index > from);
        if node.durable.entries.first().is_some_and(|first| first.index != from.next()) {
            node.durable.entries.clear();
        }
        node.submitted = node.durable.clone();
        node.applied = from;
        node.machine = node.snapshot.as_ref().map_or(Vec::new(), |(_, data)| decode(data));
        let entries = node.durable.entries.clone();
        let under_repair = node.lost.is_some();
        let restored =
            Restored { hard_state: node.durable.hard_state, snapshot, birth, entries, under_repair };
        node.engine = Some(E::new(config, restored, now));
        self.removed.remove(&id);
        self.inputs(id, Vec::new());
    }

    /// A crash: of the writes in flight, the first `whole` reach the disk, and of the next one the parts that
    /// `torn` counts: hard state, truncation, then entries one by one.
    pub(crate) fn crash(&mut self, id: NodeId, whole: usize, torn: usize) {
        let node = self.node_mut(id);
        node.engine = None;
        node.incoming.clear();
        node.installing = None;
        let mut writes = std::mem::take(&mut node.writes).into_iter();
        for persist in writes.by_ref().take(whole) {
            node.durable.write(&persist);
        }
        if let Some(mut persist) = writes.next() {
            persist.hard_state = persist.hard_state.filter(|_| torn >= 1);
            persist.truncate_from = persist.truncate_from.filter(|_| torn >= 2);
            persist.entries.truncate(torn.saturating_sub(2));
            node.durable.write(&persist);
        }
        self.trace.push(format!("{id} crashed"));
    }

    /// One input, and all its effects.
    pub(crate) fn input(&mut self, id: NodeId, input: Input<E::Message>) {
        self.inputs(id, vec![input]);
    }

    /// Several inputs as one batch.
    pub(crate) fn inputs(&mut self, id: NodeId, inputs: Vec<Input<E::Message>>) {
        let now = self.now;
        if let Some(engine) = &mut self.node_mut(id).engine {
            let before = engine.status(now).membership;
            inputs.into_iter().for_each(|input| engine.step(now, input));
            let effects = engine.drain(now);
            let after = engine.status(now).membership;
            self.in_force = [before, after];
            self.take(id, effects);
        }
    }

    fn take(&mut self, id: NodeId, effects: Effects<E::Message>) {
        let Effects {
            persist,
            send,
            committed,
            proposals,
            reads,
            snapshots,
            role,
            membership: _,
            removed,
            repaired,
            fatal,
        } = effects;
        if let Some(persist) = persist {
            self.submit(id, persist);
        }
        if let Some(role) = role {
            let leader = role.leader.map_or("none".to_owned(), |leader| leader.to_string());
            self.trace.push(format!("{id} is {:?} t{} leader={leader}", role.kind, E::term_text(role.term)));
            if role.kind == RoleKind::Leader {
                self.check_leader(id, role.term);
            }
        }
        send.into_iter().for_each(|(to, message)| self.post(id, to, message));
        for (proposal, outcome) in proposals {
            self.trace.push(match &outcome {
                ProposalOutcome::Appended { index, term } => {
                    format!("{id} proposal {proposal} at {index}@{}", E::term_text(*term))
                }
                ProposalOutcome::NotLeader => format!("{id} proposal {proposal} refused: not leader"),
                ProposalOutcome::Overloaded => format!("{id} proposal {proposal} refused: overloaded"),
                ProposalOutcome::Refused(why) => format!("{id} proposal {proposal} refused: {why}"),
            });
            let before = self.proposal_outcomes.insert(proposal, outcome);
            assert_eq!(before, None, "two outcomes of proposal {proposal}");
        }
        for (read, outcome) in reads {
            self.settle_read(id, read, outcome);
        }
        for entry in committed {
            self.apply(id, entry);
        }
        if removed {
            self.trace.push(format!("{id} is no member any more"));
            assert!(self.removed.insert(id), "{id} learned twice that it is no member");
        }
        if let Some(through) = repaired {
            self.trace.push(format!("{id} is whole again through {through}"));
            self.repaired(id);
        }
        if let Some(fatal) = fatal {
            self.trace.push(format!("{id} is dead: {fatal:?}"));
            self.node_mut(id).engine = None;
        }
        for effect in snapshots {
            self.snapshot_work(id, effect);
        }
    }

    fn submit(&mut self, id: NodeId, persist: Persist<E::Message>) {
        let mut text = format!("{id} writes #{}", persist.op);
        if let Some(hard_state) = persist.hard_state {
            let vote = hard_state.vote.map_or("none".to_owned(), |vote| vote.to_string());
            text += &format!(" t{} vote={vote} commit={}", E::term_text(hard_state.term), hard_state.commit);
        }
        if let Some(from) = persist.truncate_from {
            text += &format!(" truncate={from}");
        }
        if !persist.entries.is_empty() {
            text += &format!(" {}", entries_text::<E>(&persist.entries));
        }
        for (to, message) in &persist.after {
            text += &format!("; then ->{to} {message}");
        }
        self.trace.push(text);
        for entry in &persist.entries {
            self.appended.entry((entry.index, entry.term)).or_insert(self.now);
        }
        let node = self.node_mut(id);
        node.submitted.write(&persist);
        node.writes.push_back(persist);
    }

    fn post(&mut self, from: NodeId, to: NodeId, message: E::Message) {
        self.check_told(from, &message);
        let envelope = Envelope { from, to, message };
        self.trace.push(envelope.text());
        if !self.cut.contains(&(from, to)) {
            self.network.push_back(envelope);
        }
    }

    /// Completes the oldest write of a node.
    pub(crate) fn persist(&mut self, id: NodeId) -> bool {
        let node = self.node_mut(id);
        if node.engine.is_none() {
            return false;
        }
        let Some(mut persist) = node.writes.pop_front() else { return false };
        let after = std::mem::take(&mut persist.after);
        if persist.truncate_from.is_some() {
            node.untruncated = Some(node.durable.clone());
        }
        node.durable.write(&persist);
        after.into_iter().for_each(|(to, message)| self.post(id, to, message));
        self.input(id, Input::Persisted { op: persist.op });
        true
    }

    /// Delivers a message; to a node that is down it is lost.
    pub(crate) fn deliver(&mut self, envelope: Envelope<E::Message>) {
        let Envelope { from, to, message } = envelope;
        if !self.full.contains(&to) || !E::needs_room(&message) {
            self.input(to, Input::Message { from, message });
        }
    }

    /// Delivers and writes until nothing is left to do at this instant.
    pub(crate) fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            if let Some(envelope) = self.network.pop_front() {
                self.deliver(envelope);
            } else {
                let slow = self.slow.clone();
                let fast = self.ids().into_iter().filter(|id| !slow.contains(id));
                if fast.map(|id| self.persist(id) | self.install(id)).filter(|&done| done).count() == 0 {
                    return;
                }
            }
        }
        panic!("the cluster does not come to rest");
    }

    /// Lets time pass, event by event, with a network and disks that need no time.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        for _ in 0..STEPS_MAX {
            self.settle();
            let deadlines = self.nodes.values().filter_map(|node| node.engine.as_ref().map(E::deadline));
            let Some(next) = deadlines.min().filter(|&next| next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            self.wake();
        }
        panic!("too many events");
    }

    /// Tells every node whose deadline has come.
    pub(crate) fn wake(&mut self) {
        for id in self.ids() {
            let now = self.now;
            let due = self.nodes[&id].engine.as_ref().is_some_and(|engine| engine.deadline() <= now);
            if due {
                self.input(id, Input::Deadline);
            }
        }
    }

    /// Makes `id` the leader, and lets the cluster come to rest.
    pub(crate) fn elect(&mut self, id: u64) {
        self.input(NodeId(id), Input::Campaign);
        self.settle();
        assert_eq!(self.leader(), Some(id), "the election of n{id} failed: {:#?}", self.trace);
    }

    /// A proposal under a fresh id.
    pub(crate) fn proposal(&mut self, text: &str) -> Input<E::Message> {
        let id = ProposalId(self.fresh_id());
        Input::Propose { id, payload: Bytes::copy_from_slice(text.as_bytes()) }
    }

    pub(crate) fn propose(&mut self, id: u64, text: &str) -> ProposalId {
        let proposal = self.proposal(text);
        self.input(NodeId(id), proposal);
        ProposalId(self.next_id)
    }

    /// Asks a node for other members.
    pub(crate) fn reconfigure(&mut self, id: u64, change: Change) -> ProposalId {
        let proposal = ProposalId(self.fresh_id());
        self.input(NodeId(id), Input::Reconfigure { id: proposal, change });
        proposal
    }

    pub(crate) fn read(&mut self, id: u64) -> ReadId {
        let read = ReadId(self.fresh_id());
        self.reads.insert(read, self.committed());
        self.input(NodeId(id), Input::Read { id: read });
        read
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The last entry that anybody handed out as committed.
    pub(crate) fn committed(&self) -> Index {
        self.history.last_key_value().map_or(Index(0), |(&index, _)| index)
    }

    pub(crate) fn unreachable(&mut self, id: u64, peer: u64) {
        self.input(NodeId(id), Input::Unreachable { peer: NodeId(peer) });
    }

    /// Cuts (or, with `false`, mends) all links between the two groups.
    pub(crate) fn partition(&mut self, side: &[u64]) {
        for a in self.ids() {
            for b in self.ids() {
                if side.contains(&a.0) != side.contains(&b.0) {
                    self.cut.insert((a, b));
                }
            }
        }
        let cut = self.cut.clone();
        self.network.retain(|envelope| !cut.contains(&(envelope.from, envelope.to)));
    }

    /// The configuration in force at a committed index.
    fn membership_at(&self, index: Index) -> Membership {
        let configuration = |entry: &Entry| match &entry.payload {
            Payload::Membership(membership) => Some(Membership::clone(membership)),
            Payload::Blank | Payload::Command(_) => None,
        };
        let mut newest_first = self.history.range(..=index).rev();
        newest_first.find_map(|(_, entry)| configuration(entry)).unwrap_or_else(|| self.birth.clone())
    }

    fn apply(&mut self, id: NodeId, entry: Entry) {
        self.trace.push(format!(
            "{id} applies {}@{} {}",
            entry.index,
            E::term_text(entry.term),
            payload_text(&entry.payload)
        ));
        self.check_committed(id, &entry);
        let node = self.node_mut(id);
        assert_eq!(entry.index, node.applied.next(), "{id} skipped an entry");
        node.applied = entry.index;
        if let Payload::Command(_) = entry.payload {
            node.machine.push(payload_text(&entry.payload));
        }
        let index = entry.index;
        let now = self.now;
        if let Some(engine) = &mut self.node_mut(id).engine {
            engine.step(now, Input::Applied { index });
        }
    }

    fn settle_read(&mut self, id: NodeId, read: ReadId, outcome: ReadOutcome) {
        let began = self.reads.remove(&read).expect("each read has one outcome");
        match outcome {
            ReadOutcome::Ready { index, .. } => {
                self.trace.push(format!("{id} read {read} ready at {index}"));
                assert!(index >= began, "read {read} at {index} misses {began}, committed before it began");
            }
            ReadOutcome::Dropped => self.trace.push(format!("{id} read {read} dropped")),
        }
        self.read_outcomes.insert(read, outcome);
    }

    /// Election safety and leader completeness.
    fn check_leader(&mut self, id: NodeId, term: Term) {
        let before = self.leaders.insert(term, id);
        assert!(before.is_none_or(|before| before == id), "{before:?} and {id} lead term {term}");
        let node = &self.nodes[&id];
        let compacted = node.snapshot.as_ref().map_or(Index(0), |(meta, _)| meta.index);
        for entry in self.history.values().filter(|entry| entry.index > compacted && entry.term < term) {
            assert!(node.submitted.holds(entry), "{id} leads term {term} without {}", entry.index);
        }
    }

    /// State machine safety, durability on a quorum, and stamps that never fall.
    fn check_committed(&mut self, id: NodeId, entry: &Entry) {
        if let Some(known) = self.history.get(&entry.index) {
            assert_eq!(known, entry, "{id} committed another entry");
            return;
        }
        let holds = |node: &Node<E>| {
            let covered = node.snapshot.as_ref().is_some_and(|(meta, _)| meta.index >= entry.index);
            let lost = node.lost.as_ref().is_some_and(|lost| lost.holds(entry));
            covered || node.durable.holds(entry) || lost
        };
        let is_held = |voter| self.nodes.get(&voter).is_some_and(holds);
        let is_enough = |membership: &Membership| match membership.has_witness() {
            true => membership.holders().all(is_held),
            false => membership.has_commit_quorum(is_held),
        };
        // Beside a witness the configuration before the present one may count still.
        let before = self.membership_at(entry.index.previous());
        let before = self.in_force[1].has_witness().then_some(&before);
        assert!(
            self.in_force.iter().chain(before).any(is_enough),
            "{id} committed {} without enough disks of {}",
            entry.index,
            self.in_force[0]
        );
        if let Some((_, before)) = self.history.last_key_value() {
            assert_eq!(before.index.next(), entry.index, "{id} skipped an entry");
            self.check_stamps(before, entry);
        }
        self.history.insert(entry.index, entry.clone());
    }

    /// Cluster time never goes back, and between two entries never runs faster than real time: or a key would
    /// expire early.
    fn check_stamps(&self, before: &Entry, entry: &Entry) {
        assert!(before.stamp <= entry.stamp, "time went back from {} to {}", before.stamp, entry.stamp);
        let appended = |entry: &Entry| self.appended.get(&(entry.index, entry.term));
        if let (Some(earlier), Some(later)) = (appended(before), appended(entry)) {
            let passed = u64::try_from(later.since(*earlier).as_millis()).expect("short");
            let counted = entry.stamp.millis - before.stamp.millis;
            // Both are cut to whole milliseconds.
            assert!(
                counted <= passed + 1,
                "{counted} ms were counted at {} while {passed} passed",
                entry.index
            );
        }
    }

    /// A machine holds the commands of the committed history, no more and no less.
    pub(crate) fn check_machine(&self, id: NodeId) {
        let node = &self.nodes[&id];
        if node.snapshot.as_ref().is_some_and(|(meta, _)| meta.bytes == 0) {
            return assert!(node.machine.is_empty(), "a witness has data");
        }
        let commands = self.history.range(..=node.applied).map(|(_, entry)| entry);
        let commands: Vec<String> = commands
            .filter(|entry| matches!(entry.payload, Payload::Command(_)))
            .map(|entry| payload_text(&entry.payload))
            .collect();
        assert_eq!(node.machine, commands, "the machine of {id} has diverged");
    }

    /// Log matching: two logs that hold the same index and term are equal up to there.
    pub(crate) fn check_logs(&self) {
        let logs: Vec<&[Entry]> = self.nodes.values().map(|node| &node.submitted.entries[..]).collect();
        for (position, a) in logs.iter().enumerate() {
            for b in &logs[position + 1..] {
                check_pair(a, b);
            }
        }
    }

    /// The term and the index at which a node's log ends.
    pub(crate) fn last_position(&self, id: u64) -> (Term, Index) {
        let node = self.node(id);
        let snapshot = node.snapshot.as_ref().map(|(meta, _)| (meta.term, meta.index));
        let entry = node.submitted.entries.last().map(|entry| (entry.term, entry.index));
        snapshot.max(entry).unwrap_or_default()
    }

    /// What a node's log holds, as text.
    pub(crate) fn log_text(&self, id: u64) -> String {
        entries_text::<E>(&self.node(id).submitted.entries)
    }
}

fn check_pair(a: &[Entry], b: &[Entry]) {
    let pairs: Vec<(&Entry, &Entry)> = a
        .iter()
        .filter_map(|entry| b.iter().find(|other| other.index == entry.index).map(|other| (entry, other)))
        .collect();
    let last_equal = pairs.iter().rposition(|(a, b)| a.term == b.term);
    for (a, b) in pairs.iter().take(last_equal.map_or(0, |last| last + 1)) {
        assert_eq!(a, b, "two logs agree later, but differ here");
    }
}

impl<E: Subject> Node<E> {
    fn blank() -> Self {
        Self {
            engine: None,
            durable: Image::default(),
            submitted: Image::default(),
            writes: VecDeque::new(),
            snapshot: None,
            incoming: Vec::new(),
            installing: None,
            machine: Vec::new(),
            applied: Index(0),
            starts: 0,
            untruncated: None,
            lost: None,
        }
    }
}
