//! A small cluster of drivers with a perfect network and disks that a test may hold back.
//!
//! Time stands still unless a test moves it, and then goes from deadline to deadline.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use quorate_consensus::{
    BootTime, Config as EngineConfig, Engine, HardState, Membership, NodeId, PersistId, Restored,
    SnapshotMeta, engine::RoleKind, raft::Raft,
};
use quorate_machine::{ClusterVersion, Limits, Machine, Publication, Reply};
use quorate_node::{
    Action, Answer, Config, ConnId, Driver, Input, LogTask, Now, Outputs, PeerMessage, Request, SnapshotDone,
    SnapshotTask,
};

type Message = <Raft as Engine>::Message;

/// Drivers, what is under way between them, and what clients were told.
pub(crate) struct Cluster {
    pub(crate) now: Now,
    pub(crate) nodes: BTreeMap<u64, Node>,
    network: VecDeque<(NodeId, NodeId, PeerMessage<Message>)>,
    /// How often a driver was called.
    pub(crate) steps: u64,
    /// Nodes that neither send nor receive.
    pub(crate) cut_off: BTreeSet<u64>,
    /// Nodes that send and do not receive.
    pub(crate) deaf: BTreeSet<u64>,
    /// Nodes that stand still; what is sent to them waits.
    pub(crate) frozen: BTreeSet<u64>,
    waiting: VecDeque<(NodeId, NodeId, PeerMessage<Message>)>,
    /// Nodes whose writes do not become durable.
    pub(crate) stalled: BTreeSet<u64>,
}

pub(crate) struct Node {
    pub(crate) driver: Driver<Raft>,
    writes: VecDeque<Write>,
    snapshots: VecDeque<SnapshotTask>,
    /// The newest snapshot.
    pub(crate) kept: Option<(SnapshotMeta, Bytes)>,
    /// Whether there is no room for another.
    pub(crate) is_full: bool,
    /// How often one was begun.
    pub(crate) begun: u64,
    /// One that is arriving.
    coming: BytesMut,
    /// How often a snapshot has taken the place of entries.
    pub(crate) jumps: u64,
    pub(crate) answers: Vec<(ConnId, Answer)>,
    pub(crate) published: Vec<Publication>,
    pub(crate) notices: Vec<String>,
    pub(crate) fatal: Option<String>,
}

/// What is under way to a node's disk.
enum Write {
    Entries(PersistId),
    Snapshot(SnapshotMeta),
}

impl Cluster {
    pub(crate) fn new(size: u64) -> Self {
        Self::configured(size, |_| {})
    }

    /// A cluster of nodes whose settings are changed first.
    pub(crate) fn configured(size: u64, change: impl Fn(&mut Config)) -> Self {
        let now = Now { boot: BootTime { micros: 1_000_000 }, wall_ms: 1_700_000_000_000 };
        let node = |id| {
            let mut config = Config::for_node(NodeId(id), 1, 0x1234_0000 + u128::from(id));
            change(&mut config);
            Node::new(config, size, now)
        };
        let nodes = (1..=size).map(|id| (id, node(id))).collect();
        Self {
            now,
            nodes,
            network: VecDeque::new(),
            steps: 0,
            cut_off: BTreeSet::new(),
            deaf: BTreeSet::new(),
            frozen: BTreeSet::new(),
            waiting: VecDeque::new(),
            stalled: BTreeSet::new(),
        }
    }

    /// Starts a node that has joined, and knows nothing of the cluster yet.
    pub(crate) fn join(&mut self, id: u64) {
        let config = Config::for_node(NodeId(id), 1, 0x1234_0000 + u128::from(id));
        self.nodes.insert(id, Node::new(config, 0, self.now));
    }

    /// Starts a voter again whose disk has lost all but its term and its vote.
    pub(crate) fn lose_log(&mut self, id: u64) {
        let status = self.nodes[&id].driver.status(self.now).engine;
        let hard_state = HardState { term: status.role.term, ..HardState::default() };
        let birth = status.membership;
        let restored = Restored { hard_state, birth, under_repair: true, ..Restored::default() };
        let config = Config::for_node(NodeId(id), 2, 0x1234_0000 + u128::from(id));
        self.nodes.insert(id, Node::restored(config, restored, self.now));
    }

    /// A cluster whose leader takes commands.
    pub(crate) fn with_leader(size: u64) -> (Self, u64) {
        let mut cluster = Self::new(size);
        let leader = cluster.elect();
        (cluster, leader)
    }

    /// Lets time pass until a node that is neither cut off nor frozen leads and has applied its first entries.
    pub(crate) fn elect(&mut self) -> u64 {
        for _ in 0..200 {
            self.pass(Duration::from_millis(20));
            if let Some(leader) = self.leader() {
                self.pass(Duration::from_millis(100));
                return leader;
            }
        }
        panic!("no leader after four seconds");
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        let leads = |node: &Node| node.driver.status(self.now).engine.role.kind == RoleKind::Leader;
        let is_there = |id: &u64| !self.cut_off.contains(id) && !self.frozen.contains(id);
        self.nodes.iter().find(|(id, node)| is_there(id) && leads(node)).map(|(&id, _)| id)
    }

    pub(crate) fn follower(&self) -> u64 {
        let leader = self.leader();
        *self.nodes.keys().find(|&&id| Some(id) != leader && !self.cut_off.contains(&id)).expect("a follower")
    }

    /// Feeds one input, and delivers everything that follows from it.
    pub(crate) fn input(&mut self, node: u64, input: Input<Message>) {
        self.step(node, input);
        self.deliver();
    }

    pub(crate) fn ask(&mut self, node: u64, conn: u64, actions: Vec<Action>) {
        let requests = actions.into_iter().map(|action| Request { db: 0, action }).collect();
        self.input(node, Input::Requests { conn: ConnId(conn), requests });
    }

    /// What the clients of a node were told since the last call.
    pub(crate) fn answers(&mut self, node: u64) -> Vec<(u64, Answer)> {
        let answers = std::mem::take(&mut self.node(node).answers);
        answers.into_iter().map(|(conn, answer)| (conn.0, answer)).collect()
    }

    pub(crate) fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of the cluster")
    }

    /// Lets time pass, stopping at each deadline of each node.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now.boot.after(duration);
        while self.now.boot < end {
            let awake = self.nodes.iter().filter(|(id, _)| !self.frozen.contains(id));
            let deadlines = awake.map(|(_, node)| node.driver.deadline(self.now));
            let next = deadlines.chain([end]).min().expect("an end").max(self.now.boot);
            self.now.wall_ms += i64::try_from(next.since(self.now.boot).as_millis()).expect("a short time");
            self.now.boot = next.min(end);
            let frozen = &self.frozen;
            let due: Vec<u64> = self.nodes.keys().copied().filter(|id| !frozen.contains(id)).collect();
            for id in due {
                let mut steps = 0;
                while self.nodes[&id].driver.deadline(self.now) <= self.now.boot {
                    self.step(id, Input::Deadline);
                    steps += 1;
                    assert!(steps < STEPS_MAX, "a deadline of n{id} stays in the past");
                }
            }
            self.deliver();
        }
    }

    /// Lets time pass for all at once, in which nobody does anything.
    pub(crate) fn sleep(&mut self, duration: Duration) {
        self.now.boot = self.now.boot.after(duration);
        self.now.wall_ms += i64::try_from(duration.as_millis()).expect("a short time");
    }

    /// A node goes on, and reads the oldest messages that wait for it, at one instant.
    pub(crate) fn thaw(&mut self, id: u64, count: usize) {
        self.frozen.remove(&id);
        let waiting = std::mem::take(&mut self.waiting);
        for (from, _, message) in waiting.into_iter().filter(|(_, to, _)| to.0 == id).take(count) {
            self.step(id, Input::Peer { from, message });
        }
    }

    /// Makes what a stalled node has written durable after all.
    pub(crate) fn release_disk(&mut self, node: u64) {
        self.stalled.remove(&node);
        self.deliver();
    }

    fn step(&mut self, id: u64, input: Input<Message>) {
        let now = self.now;
        self.steps += 1;
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        let outputs = node.driver.step(now, [input]);
        let Outputs {
            log,
            send,
            answers,
            publications,
            publications_missed,
            snapshots,
            members: _,
            removed: _,
            notices,
            fatal,
        } = outputs;
        node.jumps += u64::from(publications_missed);
        node.published.extend(publications);
        node.snapshots.extend(snapshots);
        node.writes.extend(log.into_iter().filter_map(|task| match task {
            LogTask::Write { op, .. } => Some(Write::Entries(op)),
            LogTask::ReplaceBySnapshot { meta, .. } => Some(Write::Snapshot(meta)),
            LogTask::Release { .. } | LogTask::SetClusterId { .. } | LogTask::EndRepair => None,
        }));
        node.answers.extend(answers);
        node.notices.extend(notices.into_iter().map(|notice| notice.text));
        node.fatal = node.fatal.take().or(fatal);
        self.network.extend(send.into_iter().map(|(to, message)| (NodeId(id), to, message)));
    }

    fn deliver(&mut self) {
        for _ in 0..DELIVERIES_MAX {
            if let Some((from, to, message)) = self.network.pop_front() {
                if self.frozen.contains(&to.0) {
                    self.waiting.push_back((from, to, message));
                    continue;
                }
                let is_heard = !self.deaf.contains(&to.0) && !self.cut_off.contains(&to.0);
                if is_heard && !self.cut_off.contains(&from.0) && self.nodes.contains_key(&to.0) {
                    self.step(to.0, Input::Peer { from, message });
                }
                continue;
            }
            let done = self.nodes.iter_mut().find_map(|(&id, node)| {
                let task = node.snapshots.pop_front()?;
                Some((id, node.keep(task)))
            });
            if let Some((id, done)) = done {
                self.step(id, Input::Snapshot(done));
                continue;
            }
            let stalled = &self.stalled;
            let ready = self.nodes.iter_mut().filter(|(id, _)| !stalled.contains(id));
            let Some((id, write)) =
                ready.filter_map(|(&id, node)| Some((id, node.writes.pop_front()?))).next()
            else {
                return;
            };
            self.step(
                id,
                match write {
                    Write::Entries(op) => Input::Persisted { op },
                    Write::Snapshot(meta) => Input::LogReplaced { meta },
                },
            );
        }
        panic!("the cluster does not come to rest");
    }
}

/// The most steps that a driver may want at one instant, with a backlog to work off.
const STEPS_MAX: usize = 100;
const DELIVERIES_MAX: usize = 100_000;

impl Node {
    fn new(config: Config, size: u64, now: Now) -> Self {
        let membership = Membership::of_voters((1..=size).map(NodeId));
        let restored = Restored { birth: membership.clone(), ..Restored::default() };
        Self::restored(config, restored, now)
    }

    /// A node that goes on with what its disk held.
    fn restored(config: Config, restored: Restored, now: Now) -> Self {
        let (id, membership) = (config.node.0, restored.birth.clone());
        let engine = Raft::new(EngineConfig::for_node(NodeId(id), id), restored, now.boot);
        let machine = Machine::new(Limits::default()).of_build(config.version);
        let driver = Driver::new(config, engine, machine, membership, now);
        Self {
            driver,
            writes: VecDeque::new(),
            snapshots: VecDeque::new(),
            kept: None,
            is_full: false,
            begun: 0,
            coming: BytesMut::new(),
            jumps: 0,
            answers: Vec::new(),
            published: Vec::new(),
            notices: Vec::new(),
            fatal: None,
        }
    }

    /// What a snapshot store does, in memory.
    fn keep(&mut self, task: SnapshotTask) -> SnapshotDone {
        match task {
            SnapshotTask::Make { .. } if self.is_full => {
                self.begun += 1;
                SnapshotDone::MakeFailed { reason: "the disk is full".to_owned() }
            }
            SnapshotTask::Make { meta, snapshot } => {
                self.begun += 1;
                let bytes = Bytes::from(snapshot.collect::<Vec<_>>().concat());
                let meta = SnapshotMeta { bytes: bytes.len() as u64, ..meta };
                self.kept = Some((meta.clone(), bytes));
                SnapshotDone::Made { meta }
            }
            SnapshotTask::Load { to, meta: wanted, offset, bytes } => match &self.kept {
                Some((meta, kept)) if wanted.is_none_or(|wanted| wanted == *meta) => {
                    let begin = usize::try_from(offset).expect("a small snapshot");
                    let data = kept.slice(begin..kept.len().min(begin + bytes));
                    SnapshotDone::Loaded { to, meta: meta.clone(), offset, data }
                }
                Some(_) => SnapshotDone::Missing { to },
                None => SnapshotDone::Unreadable { to },
            },
            SnapshotTask::Store { meta, offset, data } => {
                self.coming.truncate(usize::try_from(offset).expect("a small snapshot"));
                self.coming.extend_from_slice(&data);
                SnapshotDone::Stored { meta, end: self.coming.len() as u64 }
            }
            SnapshotTask::Finish { meta } => {
                let bytes = self.coming.split().freeze();
                let machine = Machine::restore_up_to([bytes.clone()], ClusterVersion::REHEARSED)
                    .expect("a snapshot can be restored");
                self.kept = Some((meta.clone(), bytes));
                SnapshotDone::Received { meta, machine: Box::new(machine) }
            }
        }
    }
}

pub(crate) fn write(words: &str) -> Action {
    Action::Write(args(words))
}

pub(crate) fn wait(words: &str) -> Action {
    Action::Wait(args(words))
}

pub(crate) fn read(words: &str) -> Action {
    Action::Read(args(words))
}

pub(crate) fn args(words: &str) -> Vec<Bytes> {
    words.split_whitespace().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
}

pub(crate) fn integer(conn: u64, value: i64) -> (u64, Answer) {
    (conn, Answer::Reply(Reply::Integer(value)))
}

pub(crate) fn bulk(conn: u64, value: &'static str) -> (u64, Answer) {
    (conn, Answer::Reply(Reply::Bulk(Bytes::from_static(value.as_bytes()))))
}

/// What BLPOP of `q` answers.
pub(crate) fn taken(conn: u64, element: &str) -> (u64, Answer) {
    let reply = ["q", element].map(|text| Reply::Bulk(Bytes::copy_from_slice(text.as_bytes())));
    (conn, Answer::Reply(Reply::Array(reply.to_vec())))
}

pub(crate) fn is_error(answer: &Answer, code: &str) -> bool {
    matches!(answer, Answer::Reply(Reply::Error(text)) if text.starts_with(code.as_bytes()))
}
