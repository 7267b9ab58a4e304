//! The driver: engine, machine, clients and peers of one shard, tied together.
//!
//! It is pure: inputs in, outputs out, one instant for each batch. The server's shard thread and the simulator
//! run this same code. A step takes all inputs, then settles: what clients want goes to the leader or into the
//! engine, what the engine wants goes out, what is committed is applied, what is applied answers clients; and
//! again, while that leads to more.
//!
//! Invariants:
//! * A message that must not leave before a write is durable is held here until [`Input::Persisted`].
//! * Each request gets exactly one answer, in its connection's order, or its connection is told to close.
//! * Apply is the only way by which the machine changes, in log order, without gaps.
//! * A step does a bounded amount of applying, so that the engine's deadlines are met under any backlog.
//!
//! The parts: `clients` (requests, order, answers), `effects` (what the engine wants), `applying`, `leading`
//! (what only a leader does), `rising` (of the cluster's version), `changes` (of members), `freshness` (of reads that ask
//! nobody), `repair` (of a node that has lost what it held), `snapshots`, `reporting`.

mod applying;
mod changes;
mod clients;
mod effects;
mod freshness;
mod leading;
mod repair;
pub(crate) mod reporting;
mod rising;
pub(crate) mod snapshots;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use quorate_consensus::{
    BootTime, Engine, Entry, Index, Membership, NodeId, PersistId, ProposalId, engine::RoleView,
};
use quorate_log::Room;
use quorate_machine::{ClusterVersion, Machine};

use crate::{
    config::Config,
    connection::Connection,
    driver::{
        changes::{Asker, Changes},
        freshness::Freshness,
        leading::{Leadership, Order},
        repair::Repair,
        snapshots::Snapshots,
    },
    input::{ConnId, Input, Now},
    origin::Origin,
    output::{Level, Notice, Outputs},
    peer::{Gossip, PeerMessage},
    reads::Reads,
};

/// One shard of one node. `E` is its consensus engine.
#[derive(Debug)]
pub struct Driver<E: Engine> {
    config: Config,
    engine: E,
    machine: Machine,
    /// The configuration at the last applied entry.
    membership: Membership,
    role: RoleView,
    leadership: Leadership,
    changes: Changes,
    last_proposal: ProposalId,
    /// Who is to lead once there is a leader that can hand over, and until when that is wished.
    wanted_leader: Option<(NodeId, BootTime)>,
    /// What this leader was told to do.
    ordered: Option<Order>,
    origin: Origin,
    reads: Reads,
    /// Reads that ask nobody.
    stale_reads: VecDeque<(ConnId, u32, Vec<Bytes>)>,
    freshness: Freshness,
    repair: Repair,
    connections: BTreeMap<ConnId, Connection>,
    /// Connections that may be able to begin something, in the order in which they were heard of.
    runnable: VecDeque<ConnId>,
    /// Committed and not yet applied.
    unapplied: VecDeque<Entry>,
    backlog_bytes: usize,
    /// What is left of [`applying::WORK_PER_STEP`].
    work_left: u64,
    /// Whether the disk was told which cluster it belongs to.
    knows_cluster: bool,
    /// Messages that wait for their write, oldest first.
    unsent: VecDeque<(PersistId, Messages<E>)>,
    snapshots: Snapshots,
    /// What each peer told last, and when.
    gossip: BTreeMap<NodeId, (Gossip, BootTime)>,
    next_gossip: BootTime,
    room: Room,
    /// Since when this node has too little room, if it has.
    crowded_since: Option<BootTime>,
    out: Outputs<E::Message>,
    /// Whether this node was told to end: then losing the leader, and leadership, is the normal course of things.
    leaving: bool,
    /// Whether it was told that this node is no member any more.
    is_removed: bool,
    /// Whether this node was removed, and the others have since logged what its program does not know: it applies nothing
    /// more.
    is_left_behind: bool,
    dead: bool,
}

/// Messages of an engine, each with its receiver.
type Messages<E> = Vec<(NodeId, <E as Engine>::Message)>;

/// How many times a step lets effects lead to further effects before it comes back at once.
const ROUNDS_MAX: usize = 16;

impl<E: Engine> Driver<E> {
    /// A driver that continues with what the node's disk held: `engine` and `machine` are restored from the
    /// same snapshot, and `membership` is that snapshot's, or the one that the cluster was born with.
    pub fn new(config: Config, engine: E, machine: Machine, membership: Membership, now: Now) -> Self {
        let status = engine.status(now.boot);
        let role = status.role;
        let mut driver = Self {
            origin: Origin::new(&config),
            snapshots: Snapshots::default(),
            next_gossip: now.boot,
            config,
            engine,
            machine,
            membership,
            role,
            leadership: Leadership::Following,
            changes: Changes::default(),
            last_proposal: ProposalId(0),
            wanted_leader: None,
            ordered: None,
            reads: Reads::new(),
            stale_reads: VecDeque::new(),
            freshness: Freshness::default(),
            repair: Repair::new(status.repair.is_some(), now.boot),
            connections: BTreeMap::new(),
            runnable: VecDeque::new(),
            unapplied: VecDeque::new(),
            backlog_bytes: 0,
            work_left: 0,
            knows_cluster: false,
            unsent: VecDeque::new(),
            gossip: BTreeMap::new(),
            room: Room::Enough,
            crowded_since: None,
            out: Outputs::default(),
            leaving: false,
            is_removed: false,
            is_left_behind: false,
            dead: false,
        };
        driver.tell_version(ClusterVersion::FIRST, driver.applied());
        // The disk may not know it yet, if a snapshot brought it and the node ended.
        driver.record_cluster_id();
        driver
    }

    /// Takes a batch of inputs, and gives everything that follows from it. After a fatal output the driver is
    /// dead: it takes no input, and nothing follows.
    pub fn step(
        &mut self,
        now: Now,
        inputs: impl IntoIterator<Item = Input<E::Message>>,
    ) -> Outputs<E::Message> {
        self.work_left = applying::WORK_PER_STEP;
        for input in inputs {
            if self.dead {
                break;
            }
            self.take(now, input);
        }
        if !self.dead {
            let may_grow = self.may_grow();
            self.engine.step(now.boot, quorate_consensus::Input::Room { may_grow });
            self.engine.step(now.boot, quorate_consensus::Input::Deadline);
            self.expire(now);
            self.expire_changes(now);
            self.give_way_if_crowded(now);
            self.settle(now);
            self.tell_repair(now);
            self.tell_others(now);
        }
        std::mem::take(&mut self.out)
    }

    /// When [`Self::step`] wants to be called at the latest, with [`Input::Deadline`] if nothing has happened.
    pub fn deadline(&self, now: Now) -> BootTime {
        let can_read = !self.stale_reads.is_empty() || self.reads.is_ready(self.applied());
        let can_apply = !self.unapplied.is_empty() && !self.is_left_behind;
        if can_apply || !self.runnable.is_empty() || can_read {
            return now.boot;
        }
        let optional = [
            self.reads.deadline(self.config.command_timeout),
            self.origin.deadline(),
            self.changes.deadline(self.role.leader.is_some()),
            self.leading_deadline(now),
        ];
        optional
            .into_iter()
            .flatten()
            .chain([self.engine.deadline(), self.next_gossip])
            .min()
            .unwrap_or(now.boot)
    }

    /// The machine: for the simulator's checkers, and for what only looks.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The engine: for the simulator's checkers, and for what only looks.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    fn take(&mut self, now: Now, input: Input<E::Message>) {
        use quorate_consensus::Input as EngineInput;
        match input {
            Input::Deadline => {}
            Input::Requests { conn, requests } => self.take_requests(conn, requests),
            Input::Disconnected { conn } => self.disconnected(conn),
            Input::GivesUp { conn } => self.gives_up(conn),
            Input::Peer { from, message } => self.take_peer_message(now, from, message),
            Input::Unreachable { peer } => {
                self.may_come_back_older(peer);
                self.origin.lost_contact(now.boot, peer);
                self.engine.step(now.boot, EngineInput::Unreachable { peer });
            }
            Input::Persisted { op } => self.persisted(now, op),
            Input::PersistFailed { op, reason } => {
                self.die(format!("the log could not be written, and what it holds is unknown: {reason}"));
                self.engine.step(now.boot, EngineInput::PersistFailed { op });
            }
            Input::LogReplaced { meta } => {
                self.engine.step(now.boot, EngineInput::SnapshotInstalled { meta });
            }
            Input::Room(room) => self.room_changed(now, room),
            Input::Snapshot(done) => self.snapshot_done(now, done),
            Input::Transfer { term, to } => self.transfer(now, term, to),
            Input::Located { peer, address } => self.located(peer, address),
            Input::Shutdown => {
                self.leaving = true;
                self.origin.give_up_all();
                self.hand_over(now);
            }
        }
    }

    fn take_peer_message(&mut self, now: Now, from: NodeId, message: PeerMessage<E::Message>) {
        match message {
            // Who was removed has no say but to the engine, which tells him so.
            PeerMessage::Forward(_)
            | PeerMessage::Transfer { .. }
            | PeerMessage::Reconfigure { .. }
            | PeerMessage::Gossip(_)
                if self.membership.excludes(from) => {}
            // When the log must not grow, a message that makes it is as good as lost, and will come again.
            PeerMessage::Engine(message) if !self.may_grow() && E::needs_room(&message) => {}
            PeerMessage::Engine(message) => {
                self.engine.step(now.boot, quorate_consensus::Input::Message { from, message });
            }
            PeerMessage::Forward(group) => self.offer(group),
            PeerMessage::Transfer { term, to } => self.lead_no_more(now, term, to),
            PeerMessage::Reconfigure { ticket, change } => {
                self.reconfigure(now, Asker { node: from, ticket }, change)
            }
            PeerMessage::Reconfigured { ticket, verdict } => self.verdict(now, ticket, verdict),
            PeerMessage::Gossip(gossip) => self.heard(now, from, gossip),
        }
    }

    /// A write and all before it are durable: what waited for them leaves.
    fn persisted(&mut self, now: Now, op: PersistId) {
        while let Some((waiting, _)) = self.unsent.front()
            && *waiting <= op
        {
            let (_, messages) = self.unsent.pop_front().expect("the front was just seen");
            self.out
                .send
                .extend(messages.into_iter().map(|(to, message)| (to, PeerMessage::Engine(message))));
        }
        self.engine.step(now.boot, quorate_consensus::Input::Persisted { op });
    }

    fn settle(&mut self, now: Now) {
        for _ in 0..ROUNDS_MAX {
            self.run_connections(now);
            self.forward(now);
            self.lead(now);
            self.ask_for_reads(now);
            let effects = self.engine.drain(now.boot);
            let more = self.absorb(now, effects);
            let applied = self.apply_committed(now);
            self.serve_stale_reads();
            self.serve_reads();
            self.replace_snapshot(now.boot);
            self.give_views();
            let may_lead_to_more = more || applied || !self.runnable.is_empty();
            if self.dead || self.work_left == 0 || !may_lead_to_more {
                break;
            }
        }
    }

    fn next_proposal(&mut self) -> ProposalId {
        self.last_proposal = ProposalId(self.last_proposal.0 + 1);
        self.last_proposal
    }

    fn applied(&self) -> Index {
        Index(self.machine.applied())
    }

    fn notice(&mut self, level: Level, text: String) {
        self.out.notices.push(Notice { level, text });
    }

    /// Ends this driver: nothing more is promised.
    fn die(&mut self, reason: String) {
        self.dead = true;
        self.out.fatal.get_or_insert(reason);
    }
}
