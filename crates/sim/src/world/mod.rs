//! The world: nodes, disks, links and clients, and one agenda of what happens when.
//!
//! Nothing happens but by an event, and events happen one at a time; so a run is a function of its seed. The parts:
//! `node` (a machine and its process), `running` (how a process is stepped, and what becomes of its outputs),
//! `threads`, `log_writer` and `keeper` (its other two threads), `network`, `clients`, `impolite` (what some of them do),
//! `subscribers` (who listens), `members` (what follows from who is one), `nemesis` and `late_news` (faults), `phases` (faults,
//! healing, judgement).

mod clients;
mod impolite;
mod keeper;
mod late_news;
mod log_writer;
mod members;
mod nemesis;
mod network;
mod node;
mod notation;
mod phases;
mod running;
mod subscribers;
mod threads;

use std::collections::BTreeSet;

use quorate_bug::Bug;
use quorate_consensus::{Engine, Membership, NodeId, Uncounted};
use quorate_machine::{ClusterVersion, Publication};
use quorate_node::{Answer, ConnId, Input, PeerMessage, Request};

use self::{
    clients::Client,
    network::{Network, Odds},
    node::Node,
    phases::Phase,
};
use crate::{
    agenda::Agenda,
    checks::{
        Failure,
        cluster::{Cluster, number_of},
        history::History,
    },
    clock::{Clock, DRIFT_PPM_MAX},
    disk::SimDisk,
    faults::{Fault, FaultCounts},
    profile::{Plan, Profile},
    random::Random,
    report::Report,
    time::SimTime,
    trace::Trace,
};

/// The whole simulation of one seed, with nodes of the engine `E`.
pub(crate) struct World<E: Engine> {
    plan: Plan,
    agenda: Agenda<Event<E::Message>>,
    random: Random,
    nodes: Vec<Node<E>>,
    /// The members that the cluster is born with.
    founders: Membership,
    /// The client that changes the members, if there is one.
    operator: Option<usize>,
    /// New members up to this id have got a client.
    ids_welcomed: u64,
    network: Network,
    clients: Vec<Client>,
    next_conn: u64,
    phase: Phase,
    /// Nodes that stay down for now.
    dead: BTreeSet<usize>,
    /// Nodes whose disks may hold less than they once did.
    damaged: BTreeSet<usize>,
    /// The next snapshot that is read for a peer turns out to have rotted.
    rots_what_is_sent: bool,
    cluster: Cluster,
    history: History,
    report: Report,
    counts: FaultCounts,
    pub(crate) trace: Trace,
}

/// What can happen. `M` is what engines say to each other.
#[derive(Debug)]
enum Event<M> {
    /// A message arrives.
    Deliver { from: usize, to: usize, connection: u64, message: Box<PeerMessage<M>> },
    /// A process learns something.
    Tell { node: usize, life: u64, input: Box<Input<M>> },
    /// A process takes what is in its inbox.
    Step { node: usize, life: u64 },
    /// A process has asked to be called by now.
    Wake { node: usize, life: u64 },
    /// The log writer goes on.
    LogWork { node: usize, life: u64 },
    /// The snapshot thread goes on.
    SnapshotWork { node: usize, life: u64 },
    /// A machine starts its process, if none runs.
    Boot { node: usize },
    /// A process is killed after it was asked to end.
    End { node: usize, life: u64 },
    /// A client decides what to do.
    ClientWake { client: usize },
    /// A client's requests arrive.
    Requests { client: usize, node: usize, life: u64, conn: ConnId, requests: Vec<Request> },
    /// An answer arrives at a client.
    Answer { client: usize, conn: ConnId, answer: Box<Answer> },
    /// A message arrives at a client that listens.
    Message { client: usize, conn: ConnId, message: Box<Publication> },
    /// A client notices that its connection is gone.
    ConnectionLost { client: usize, conn: ConnId },
    /// A client that does not read is gone.
    HangUp { client: usize, conn: ConnId },
    /// The world does something bad.
    Fault,
    /// Housekeeping, and the course of the phases.
    Tick,
}

impl<M> Event<M> {
    /// Numbers for the trace's hash: the kind, and whom it concerns.
    fn facts(&self) -> [u64; 2] {
        let (kind, who) = match self {
            Self::Deliver { from, to, .. } => (1, from * 16 + to),
            Self::Tell { node, .. } => (2, *node),
            Self::Step { node, .. } => (3, *node),
            Self::Wake { node, .. } => (4, *node),
            Self::LogWork { node, .. } => (5, *node),
            Self::SnapshotWork { node, .. } => (6, *node),
            Self::Boot { node } => (7, *node),
            Self::End { node, .. } => (8, *node),
            Self::ClientWake { client } => (9, *client),
            Self::Requests { client, .. } => (10, *client),
            Self::Answer { client, .. } => (11, *client),
            Self::ConnectionLost { client, .. } => (12, *client),
            Self::Fault => (13, 0),
            Self::Tick => (14, 0),
            Self::HangUp { client, .. } => (15, *client),
            Self::Message { client, .. } => (16, *client),
        };
        [kind, who as u64]
    }
}

/// The streams of chance.
mod stream {
    pub(super) const PLAN: u64 = 1;
    pub(super) const WORLD: u64 = 2;
    pub(super) const NETWORK: u64 = 3;
    pub(super) const CLOCKS: u64 = 4;
    pub(super) const OPERATOR: u64 = 5;
    pub(super) const OBSERVER: u64 = 6;
    pub(super) const PULSE: u64 = 7;
    pub(super) const ACCOUNTS: u64 = 50;
    pub(super) const LOCKERS: u64 = 60;
    pub(super) const CANDIDATES: u64 = 70;
    pub(super) const PERMITS: u64 = 80;
    pub(super) const SESSIONS: u64 = 90;
    pub(super) const WATCHERS: u64 = 96;
    pub(super) const DISKS: u64 = 100;
    pub(super) const SEVERAL: u64 = 120;
    pub(super) const WARDENS: u64 = 130;
    pub(super) const BARRIERS: u64 = 140;
    pub(super) const CLIENTS: u64 = 200;
}

/// What a disk holds when it is not made smaller: far more than a run writes.
const DISK_BYTES: u64 = 1 << 30;
/// A run that takes more events than this goes round in circles.
const STEPS_MAX: u64 = 20_000_000;

impl<E: Engine> World<E> {
    pub(crate) fn new(seed: u64, profile: &Profile, trace_lines: usize) -> Self {
        let plan = Plan::new(profile, &mut Random::new(seed, stream::PLAN));
        let machines = plan.nodes + plan.spares;
        let odds = Odds {
            loss: plan.loss_permille,
            duplication: plan.duplication_permille,
            reordering: plan.reordering_permille,
        };
        let mut clocks = Random::new(seed, stream::CLOCKS);
        let nodes: Vec<Node<E>> =
            (0..machines).map(|number| Self::node(seed, &plan, number, &mut clocks)).collect();
        let servers = plan.servers();
        let clients = (0..plan.clients)
            .map(|client| {
                Client::new(client, client % servers, Random::new(seed, stream::CLIENTS + client as u64))
            })
            .collect();
        let mut counts = FaultCounts::default();
        if plan.faults.contains(&Fault::Drift) {
            counts.add(Fault::Drift);
        }
        let witness = plan.has_witness.then_some((NodeId(plan.nodes), Uncounted::Witness));
        let founders = Membership {
            uncounted: witness.into_iter().collect(),
            lease: plan.lease,
            phase2_quorum: plan.phase2_quorum,
            ..Membership::of_voters((1..=plan.nodes).map(NodeId))
        };
        let mut world = Self {
            agenda: Agenda::new(),
            random: Random::new(seed, stream::WORLD),
            network: Network::new(nodes.len(), odds, Random::new(seed, stream::NETWORK)),
            cluster: Cluster::new(founders.clone(), nodes.len()),
            nodes,
            operator: None,
            ids_welcomed: founders.ids_used,
            founders,
            clients,
            next_conn: 1,
            phase: Phase::Faults,
            dead: BTreeSet::new(),
            damaged: BTreeSet::new(),
            rots_what_is_sent: plan.faults.contains(&Fault::RottedSnapshot),
            history: History::default(),
            report: Report::default(),
            counts,
            trace: Trace::new(trace_lines),
            plan,
        };
        world.hire_operator(seed);
        world.add_observer(seed);
        world.add_pulse(seed);
        world.add_accounts(seed);
        world.add_groups(seed);
        world.begin();
        world
    }

    fn node(seed: u64, plan: &Plan, number: u64, clocks: &mut Random) -> Node<E> {
        let drift = if plan.faults.contains(&Fault::Drift) { DRIFT_PPM_MAX } else { 0 };
        let mut clock = Clock::new(clocks, drift);
        let id = NodeId(number + 1);
        let disk =
            SimDisk::new(format!("disk-of-{id}"), DISK_BYTES, Random::new(seed, stream::DISKS + number));
        if plan.bug == Some(Bug::FastClock) {
            clock.run_fast_by(200_000);
        }
        if plan.bug == Some(Bug::LyingDisk) {
            disk.lie();
        }
        // Who joins has the newest build: an older one would not be let in once the version has risen.
        let is_new = plan.faults.contains(&Fault::Upgrade) && number >= plan.nodes;
        let build = if is_new { ClusterVersion::REHEARSED } else { ClusterVersion::FIRST };
        Node::new(id, build, clock, disk)
    }

    fn begin(&mut self) {
        self.trace.tell(SimTime::default(), || format!("{:?}", self.plan));
        for node in self.founders.members().map(number_of) {
            let at = SimTime::default() + self.random.millis(0, 100);
            self.agenda.add(at, Event::Boot { node });
        }
        for client in 0..self.clients.len() {
            self.agenda.add(SimTime::default(), Event::ClientWake { client });
        }
        self.agenda.add(SimTime::default(), Event::Tick);
        self.plan_fault();
    }

    /// Runs until everything was judged.
    pub(crate) fn run(&mut self) -> Result<Report, Failure> {
        while !matches!(self.phase, Phase::Done) {
            let (at, event) = self.agenda.take().expect("there is always another tick");
            self.trace.step(at, event.facts());
            self.happen(at, event)?;
            if self.trace.steps() > STEPS_MAX {
                return Err(Failure::new("bounded work", format!("{STEPS_MAX} events until {at}")));
            }
        }
        Ok(self.make_report())
    }

    /// What the clock shows that nobody can see.
    pub(crate) fn now(&self) -> SimTime {
        self.agenda.now()
    }

    fn happen(&mut self, at: SimTime, event: Event<E::Message>) -> Result<(), Failure> {
        match event {
            Event::Deliver { from, to, connection, message } => {
                if self.network.arrives(at, from, to, connection) {
                    let input = Input::Peer { from: self.nodes[from].id, message: *message };
                    self.put(at, to, input);
                }
            }
            Event::Tell { node, life, input } => {
                if self.nodes[node].life == life {
                    self.put(at, node, *input);
                }
            }
            Event::Step { node, life } => self.step(at, node, life)?,
            Event::Wake { node, life } => self.wake(at, node, life),
            Event::LogWork { node, life } => self.log_work(at, node, life)?,
            Event::SnapshotWork { node, life } => self.snapshot_work(at, node, life)?,
            Event::Boot { node } => self.boot(at, node)?,
            Event::End { node, life } => {
                if self.nodes[node].life == life {
                    self.kill(at, node, "ends");
                    self.plan_boot(at, node);
                }
            }
            Event::ClientWake { client } => self.client_wake(at, client),
            Event::Requests { client, node, life, conn, requests } => {
                self.take_requests(at, client, (node, life), conn, requests);
            }
            Event::Answer { client, conn, answer } => {
                if self.reaches(at, client, conn) {
                    self.answered(at, client, *answer)?;
                }
            }
            Event::Message { client, conn, message } => {
                if self.reaches(at, client, conn) {
                    self.heard(at, client, &message)?;
                }
            }
            Event::ConnectionLost { client, conn } => self.connection_lost(at, client, conn)?,
            Event::HangUp { client, conn } => self.hang_up(at, client, conn),
            Event::Fault => self.fault(at),
            Event::Tick => self.tick(at)?,
        }
        Ok(())
    }

    fn make_report(&mut self) -> Report {
        let mut report = std::mem::take(&mut self.report);
        report.simulated = self.now().since(SimTime::default());
        report.steps = self.trace.steps();
        report.committed = self.cluster.committed();
        report.compared = self.cluster.compared();
        report.elections = self.cluster.elections();
        for node in &self.nodes {
            let counters = node.disk.counters();
            report.disks.0 += counters.lossy_cuts;
            report.disks.1 += counters.failed_syncs;
            report.disks.2 += counters.refused;
        }
        report.faults = self.counts.clone();
        report.trace_hash = self.trace.hash();
        report
    }
}
