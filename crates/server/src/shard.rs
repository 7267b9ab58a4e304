//! The thread that owns driver and machine, and is the only one that ever touches them.
//!
//! It waits until something arrives or the driver wants to be called, takes everything that has arrived by then as
//! one batch with one instant, steps the driver, and hands out what follows. It never waits for anything else:
//! disks, sockets and snapshots have threads of their own, and all channels out of here take without blocking.

use std::{
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, select};
use quorate_consensus::{BootTime, Engine, NodeId, Term, engine::RoleKind};
use quorate_node::{Driver, Input, Level, LogTask, Notice, Now, Outputs, SnapshotDone, SnapshotTask};
use tokio::sync::watch;

use crate::{
    clock,
    handle::{Answer, ConnId, ShardHandle, ShardInput},
    inlet::{Event, Inlet},
    metrics::Metrics,
    observer::Observer,
    peer::{Spoken, Transport, versions::Versions},
    recovery::Clients,
    reporter::Reporter,
};

/// The most inputs in one step, from each of the two channels: a step must end soon enough for the next deadline.
const BATCH_INPUTS_MAX: usize = 1024;

/// The longest wait. Only a guard: the driver's deadlines are far closer.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// What the shard's thread owns.
pub(crate) struct Shard<E: Engine<Message: Spoken>> {
    pub(crate) driver: Driver<E>,
    pub(crate) inbox: Inbox<E::Message>,
    pub(crate) log: Sender<LogTask>,
    pub(crate) snapshots: Sender<SnapshotTask>,
    pub(crate) transport: Transport<Inlet<E::Message>>,
    /// Shared with the handshakes: set when the cluster's id is learnt.
    pub(crate) cluster_id: Arc<OnceLock<u128>>,
    /// Shared with the handshakes: told when the cluster's version rises.
    pub(crate) versions: Arc<Versions>,
    pub(crate) reporter: Reporter,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) observer: Observer,
    pub(crate) shutdown_timeout: Duration,
    /// Turns true when this node is no member any more.
    pub(crate) removed: watch::Sender<bool>,
    pub(crate) clients: Clients,
    pub(crate) phase: Phase,
}

/// Where inputs come from.
pub(crate) struct Inbox<M> {
    pub(crate) clients: Receiver<ShardInput>,
    pub(crate) events: Receiver<Event<M>>,
    /// Leads to who listens. This and the next are also kept so that neither channel closes while the shard lives.
    pub(crate) handle: ShardHandle,
    pub(crate) _inlet: Inlet<M>,
}

/// Whether the node goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It serves.
    Serving,
    /// It takes no more requests, hands its leadership over and answers what is in flight, until `by` at the latest.
    Stopping {
        /// When it ends in any case.
        by: BootTime,
    },
}

/// Why the shard cannot go on. Nothing was promised on what failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fatal(String);

impl<E: Engine<Message: Spoken>> Shard<E> {
    /// Serves until it is told to stop.
    pub(crate) fn run(mut self) -> Result<(), Fatal> {
        // What its data tell was told before, and not by this process.
        let (subscriptions, applied) = (self.inbox.handle.subscriptions(), self.driver.machine().applied());
        subscriptions.miss(applied, "the node has just begun");
        subscriptions.publish(&[], applied);
        let mut inputs = Vec::new();
        loop {
            self.gather(&mut inputs);
            let begin = Instant::now();
            let now = clock::now();
            self.metrics.inputs.add(inputs.len() as u64);
            let outputs = self.driver.step(now, inputs.drain(..));
            self.versions.rises_to(self.driver.machine().version());
            self.hand_out(outputs)?;
            let end = Instant::now();
            self.observer.stepped(self.driver.role(), self.driver.machine().applied(), end);
            self.report(now);
            self.metrics.step.record(end - begin);
            if self.is_done(now) {
                return Ok(());
            }
        }
    }

    /// Waits for the first input or the next deadline, and takes all that has arrived.
    fn gather(&mut self, inputs: &mut Vec<Input<E::Message>>) {
        let now = clock::now();
        let deadline = self.driver.deadline(now);
        let deadline = self.reporter.deadline().map_or(deadline, |report| report.min(deadline));
        let wait = deadline.since(now.boot).min(WAIT_MAX);
        let serving = self.phase == Phase::Serving;
        if !wait.is_zero() && self.inbox.events.is_empty() {
            let clients = if serving { self.inbox.clients.clone() } else { crossbeam_channel::never() };
            let events = self.inbox.events.clone();
            select! {
                recv(clients) -> input => if let Ok(input) = input {
                    self.take_client(input, inputs);
                    // Whoever is about to add to this batch goes first: on a busy machine more commands share a
                    // round, and on one with a core to spare nobody waits.
                    thread::yield_now();
                },
                recv(events) -> event => if let Ok(event) = event { self.take_event(event, inputs) },
                default(wait) => {}
            }
        }
        for _ in 0..BATCH_INPUTS_MAX {
            let Ok(event) = self.inbox.events.try_recv() else { break };
            self.take_event(event, inputs);
        }
        // What clients still ask for while this node stops was never begun, and their connections close.
        let requests_max = if self.phase == Phase::Serving { BATCH_INPUTS_MAX } else { 0 };
        for _ in 0..requests_max {
            let Ok(input) = self.inbox.clients.try_recv() else { break };
            self.take_client(input, inputs);
        }
    }

    fn take_client(&mut self, input: ShardInput, inputs: &mut Vec<Input<E::Message>>) {
        match input {
            ShardInput::Connected { conn, answers } => {
                self.clients.insert(conn, answers);
            }
            ShardInput::Requests { conn, requests } => {
                self.metrics.requests.add(requests.len() as u64);
                inputs.push(Input::Requests { conn, requests });
            }
            ShardInput::GivesUp { conn } => inputs.push(Input::GivesUp { conn }),
            ShardInput::Transfer { term, to } => {
                inputs.push(Input::Transfer { term: Term(term), to: to.map(NodeId) });
            }
            ShardInput::Disconnected { conn } => {
                self.clients.remove(&conn);
                inputs.push(Input::Disconnected { conn });
            }
        }
    }

    fn take_event(&mut self, event: Event<E::Message>, inputs: &mut Vec<Input<E::Message>>) {
        match event {
            Event::Driver(input) => {
                if let Input::Persisted { op } = &input {
                    self.reporter.persisted(*op);
                } else if let Input::Snapshot(SnapshotDone::Made { meta }) = &input {
                    self.reporter.made_snapshot(meta.index.0);
                }
                inputs.push(input);
            }
            Event::Message { from, message, credit } => {
                self.metrics.messages_received.increment();
                drop(credit);
                inputs.push(Input::Peer { from, message });
            }
            Event::Introduced { peer, address } => {
                if let Some(address) = &address {
                    let address = quorate_consensus::Address(address.to_string().into());
                    inputs.push(Input::Located { peer, address });
                }
                self.transport.introduced(peer, address);
            }
            Event::Stop => {
                if self.phase == Phase::Serving {
                    self.phase = Phase::Stopping { by: clock::now().boot.after(self.shutdown_timeout) };
                    inputs.push(Input::Shutdown);
                }
            }
        }
    }

    /// Passes on what a step has led to. The threads at the other ends live until this one ends, or else their end
    /// ends the node; so what cannot be sent is not missed.
    fn hand_out(&mut self, outputs: Outputs<E::Message>) -> Result<(), Fatal> {
        for Notice { level, text } in outputs.notices {
            match level {
                Level::Info => tracing::info!("{text}"),
                Level::Warn => tracing::warn!("{text}"),
            }
        }
        if let Some(members) = outputs.members {
            self.transport.follow(&members);
        }
        if outputs.removed {
            self.removed.send_replace(true);
        }
        for task in outputs.log {
            self.reporter.handed_out(&task);
            self.observer.handed_out(&task);
            self.metrics.log_writes.increment();
            if let LogTask::SetClusterId { id } = task {
                // Set before when the folder knew it already.
                let _ = self.cluster_id.set(id);
            }
            drop(self.log.send(task));
        }
        self.metrics.messages_sent.add(outputs.send.len() as u64);
        for (to, message) in outputs.send {
            self.transport.send(to, message);
        }
        let (subscriptions, applied) = (self.inbox.handle.subscriptions(), self.driver.machine().applied());
        if outputs.publications_missed {
            subscriptions.miss(applied, "a snapshot has taken the place of messages");
        }
        subscriptions.publish(&outputs.publications, applied);
        self.metrics.answers.add(outputs.answers.len() as u64);
        for (conn, answer) in outputs.answers {
            self.answer(conn, answer);
        }
        for task in outputs.snapshots {
            drop(self.snapshots.send(task));
        }
        outputs.fatal.map_or(Ok(()), |reason| Err(Fatal(reason)))
    }

    fn answer(&mut self, conn: ConnId, answer: Answer) {
        let closes = matches!(answer, Answer::Close(_));
        if let Some(client) = self.clients.get(&conn) {
            // A client that is gone has said so, or will.
            drop(client.send(answer));
        }
        if closes {
            self.clients.remove(&conn);
        }
    }

    fn report(&mut self, now: Now) {
        if !self.reporter.is_due(now.boot) {
            return;
        }
        self.transport.tidy();
        self.metrics.log_queue.set(self.log.len() as u64);
        self.metrics.snapshot_queue.set(self.snapshots.len() as u64);
        self.metrics.input_queue.set((self.inbox.events.len() + self.inbox.clients.len()) as u64);
        self.metrics.peer_queue_bytes.set(self.transport.queued_bytes() as u64);
        let status = self.driver.status(now);
        let machine = self.driver.machine();
        let present = self.driver.engine().cluster_time(now.boot).map_or(machine.stamp(), |time| time.millis);
        let calendar_ms = present.saturating_add_signed(machine.calendar_offset());
        self.reporter.publish(now.boot, &status, calendar_ms, machine.limits().data_bytes_max);
    }

    /// Whether a stopping node has nothing left to do: nobody waits, and another node leads if one can.
    fn is_done(&self, now: Now) -> bool {
        let Phase::Stopping { by } = self.phase else { return false };
        if now.boot >= by {
            return true;
        }
        let status = self.driver.status(now);
        let leads = status.engine.role.kind == RoleKind::Leader;
        let membership = &status.engine.membership;
        let may_lead = |peer| membership.voters.contains(&peer) && membership.may_lead(peer);
        let has_successor = status.engine.peers.iter().any(|peer| peer.active && may_lead(peer.id));
        // Without a leader nothing can be taken for who waits, and none can be told.
        let nobody_waits = status.commands_waiting == 0 || status.engine.role.leader.is_none();
        status.commands_in_flight == 0 && nobody_waits && !(leads && has_successor)
    }
}
