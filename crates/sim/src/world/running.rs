//! How processes run: their starts and ends, their steps, and what becomes of their outputs.

use std::time::Duration;

use quorate_bug::Bug;
use quorate_consensus::{Engine, Membership};
use quorate_log::Error;
use quorate_machine::ClusterVersion;
use quorate_node::{Answer, Input, LogTask, Outputs, PeerMessage};

use super::{
    DISK_BYTES, Event, World,
    node::{Birth, Process},
    notation::{message_text, task_text},
};
use crate::{
    checks::{Failure, check},
    disk::SimDisk,
    faults::Fault,
    random::Random,
    time::SimTime,
};

/// The hash of a machine is taken at each index that this divides: it takes as long as all of the steps in between, and
/// machines that have once become different stay so.
const HASHED_INDEXES: u64 = 64;
/// More steps than this within [`COUNTED`] mean that a process spins: each input leads to one step at most, and
/// inputs are far fewer.
const STEPS_PER_PERIOD_MAX: u64 = 3000;
const COUNTED: Duration = Duration::from_millis(100);
/// Of a thousand starts of an older build in a world of two, how many are upgrades.
const UPGRADED_PERMILLE: u64 = 300;

impl<E: Engine> World<E> {
    /// Puts an input before a process, which takes it soon, together with what else arrives until then.
    pub(super) fn put(&mut self, at: SimTime, node: usize, input: Input<E::Message>) {
        let Some(process) = &mut self.nodes[node].process else { return };
        process.inbox.push(input);
        self.plan_step(at, node);
    }

    fn plan_step(&mut self, at: SimTime, node: usize) {
        let soon = self.random.duration(Duration::from_micros(5), Duration::from_micros(100));
        let Some(process) = &mut self.nodes[node].process else { return };
        if !process.step_planned {
            process.step_planned = true;
            let life = self.nodes[node].life;
            self.agenda.add(at + soon, Event::Step { node, life });
        }
    }

    pub(super) fn wake(&mut self, at: SimTime, node: usize, life: u64) {
        if self.nodes[node].life != life {
            return;
        }
        let paused_until = self.nodes[node].paused_until;
        let now = self.nodes[node].now(at);
        let Some(process) = &mut self.nodes[node].process else { return };
        if process.wake_at.is_some_and(|wake_at| wake_at <= at) {
            process.wake_at = None;
            if process.driver.deadline(now) <= now.boot || at < paused_until {
                self.plan_step(at, node);
            } else {
                self.plan_wake(at, node);
            }
        }
    }

    fn plan_wake(&mut self, at: SimTime, node: usize) {
        let now = self.nodes[node].now(at);
        let Some(process) = &self.nodes[node].process else { return };
        let due = self.nodes[node].clock.when(process.driver.deadline(now)).max(at);
        if process.wake_at.is_none_or(|wake_at| due < wake_at) {
            let life = self.nodes[node].life;
            self.agenda.add(due, Event::Wake { node, life });
            self.nodes[node].process.as_mut().expect("it was just seen").wake_at = Some(due);
        }
    }

    /// Lets a process take all that has arrived, and handles what comes of it.
    pub(super) fn step(&mut self, at: SimTime, node: usize, life: u64) -> Result<(), Failure> {
        let paused_until = self.nodes[node].paused_until;
        if self.nodes[node].life != life || self.nodes[node].process.is_none() {
            return Ok(());
        }
        if at < paused_until {
            self.agenda.add(paused_until, Event::Step { node, life });
            return Ok(());
        }
        let now = self.nodes[node].now(at);
        let process = self.nodes[node].process.as_mut().expect("it was just seen");
        process.step_planned = false;
        count_step(process, at)?;
        let Process { driver, inbox, .. } = &mut **process;
        let mut outputs = driver.step(now, inbox.drain(..));
        let dies = self.cut_short(at, node, &mut outputs);
        let is_wrong = self.plan.bug == Some(Bug::WrongRemoval) && self.random.chance(1);
        let was_removed = outputs.removed || is_wrong;
        self.hand_out(at, node, outputs)?;
        if dies {
            // What it would have done next is nobody's business: it has written less than it believes.
            self.kill(at, node, "is killed in the middle of a step");
            self.plan_boot(at, node);
        } else if self.nodes[node].life == life && self.nodes[node].process.is_some() {
            self.examine(at, node)?;
            self.welcome(at);
            if was_removed {
                return self.retire(at, node);
            }
            self.plan_wake(at, node);
        }
        Ok(())
    }

    /// If the process is to die in this step, only the beginnings of its outputs get out.
    fn cut_short(&mut self, at: SimTime, node: usize, outputs: &mut Outputs<E::Message>) -> bool {
        let is_empty = outputs.log.is_empty() && outputs.send.is_empty() && outputs.answers.is_empty();
        if !self.nodes[node].kill_in_step || is_empty {
            return false;
        }
        self.nodes[node].kill_in_step = false;
        self.counts.add(Fault::KillInStep);
        let random = &mut self.random;
        outputs.log.truncate(random.index(outputs.log.len() + 1));
        outputs.send.truncate(random.index(outputs.send.len() + 1));
        if !outputs.publications.is_empty() {
            outputs.publications.truncate(random.index(outputs.publications.len() + 1));
        }
        outputs.answers.truncate(random.index(outputs.answers.len() + 1));
        outputs.snapshots.truncate(random.index(outputs.snapshots.len() + 1));
        self.trace.tell(at, || format!("n{} is about to die in its step", node + 1));
        true
    }

    fn hand_out(&mut self, at: SimTime, node: usize, outputs: Outputs<E::Message>) -> Result<(), Failure> {
        let Outputs {
            publications,
            publications_missed,
            // Its network reaches everybody.
            members: _,
            // It has its say first.
            removed: _,
            log,
            send,
            answers,
            snapshots,
            notices,
            fatal,
        } = outputs;
        for notice in notices {
            self.trace.tell(at, || format!("n{} says: {}", node + 1, notice.text));
        }
        for task in log {
            self.give_to_log(at, node, task)?;
        }
        for (to, message) in send {
            let to = usize::try_from(to.0 - 1).expect("a machine");
            self.send(at, node, to, message);
        }
        if publications_missed {
            self.cut_off_subscribers(at, node);
        }
        self.publish(at, node, publications);
        for (conn, answer) in answers {
            let (answer, past) = self.confirm(node, conn, answer);
            self.send_answer(at, node, conn, answer);
            past.into_iter().for_each(|message| self.tell(at, node, conn, message));
        }
        let process = self.nodes[node].process.as_mut().expect("it has just stepped");
        process.keeper.queue.extend(snapshots);
        self.plan_snapshot_work(at, node);
        if let Some(reason) = fatal {
            let process = self.nodes[node].process.as_ref().expect("it has just stepped");
            check(process.disk_failed, "a node ends only when its disk fails", || {
                format!("n{}: {reason}", node + 1)
            })?;
            self.kill(at, node, "ends, since its disk has failed");
            self.plan_boot(at, node);
        }
        Ok(())
    }

    fn give_to_log(&mut self, at: SimTime, node: usize, task: LogTask) -> Result<(), Failure> {
        match &task {
            LogTask::Write { op, write } => {
                self.cluster.will_write(node, write)?;
                let joins = !self.founders.contains(self.nodes[node].id);
                if self.plan.bug == Some(Bug::EarlyCompletion)
                    || (joins && self.plan.bug == Some(Bug::HollowNewcomer))
                {
                    self.put(at, node, Input::Persisted { op: *op });
                }
            }
            LogTask::ReplaceBySnapshot { header, .. } => self.cluster.will_replace(node, header)?,
            LogTask::Release { .. } | LogTask::SetClusterId { .. } | LogTask::EndRepair => {}
        }
        self.trace.tell(at, || format!("n{} log: {}", node + 1, task_text(&task)));
        let process = self.nodes[node].process.as_mut().expect("it has just stepped");
        process.writer.queue.push_back(task);
        self.plan_log_work(at, node);
        Ok(())
    }

    fn send(&mut self, at: SimTime, from: usize, to: usize, message: PeerMessage<E::Message>) {
        let passages = self.network.send(at, from, to);
        self.trace.tell(at, || {
            let arrival = passages.copies.first().map_or("lost".to_owned(), |copy| copy.arrival.to_string());
            format!("n{} -> n{} {} ({arrival})", from + 1, to + 1, message_text(&message))
        });
        let many = passages.copies.len() > 1 && !arrives_once(&message);
        for (happened, fault) in [
            (passages.lost, Fault::Loss),
            (passages.reordered, Fault::Reordering),
            (many, Fault::Duplication),
        ] {
            if happened {
                self.counts.add(fault);
            }
        }
        let copies = if arrives_once(&message) { 1 } else { passages.copies.len() };
        for copy in passages.copies.into_iter().take(copies) {
            if self.plan.bug == Some(Bug::ForwardTwice)
                && let PeerMessage::Forward(group) = &message
            {
                let mut again = group.clone();
                again.first_sequence += group.operations.len() as u64;
                let message = Box::new(PeerMessage::Forward(again));
                let connection = copy.connection;
                let later = copy.arrival + Duration::from_micros(1);
                self.agenda.add(later, Event::Deliver { from, to, connection, message });
            }
            let mut message = Box::new(message.clone());
            if self.plan.bug == Some(Bug::EarlyRise)
                && let PeerMessage::Gossip(gossip) = &mut *message
            {
                gossip.version = ClusterVersion::REHEARSED;
            }
            let connection = copy.connection;
            self.agenda.add(copy.arrival, Event::Deliver { from, to, connection, message });
        }
    }

    /// Looks at a node after its step.
    fn examine(&mut self, at: SimTime, node: usize) -> Result<(), Failure> {
        let now = self.nodes[node].now(at);
        let process = self.nodes[node].process.as_ref().expect("it has just stepped");
        let status = process.driver.engine().status(now.boot);
        // The machine of a witness stands at its place and has applied nothing.
        let machine = process.driver.machine();
        let applied = if machine.is_without_data() { 0 } else { machine.applied() };
        self.trace.fold(status.commit.0 ^ (status.role.term.0 << 32));
        self.trace.fold(applied ^ (status.last_index.0 << 32));
        self.cluster.stepped(node, &status, applied)?;
        let machine = process.driver.machine();
        self.cluster.versions.stepped(node, applied, machine)?;
        let builds = self.members().map(|member| (member, self.nodes[member].build));
        self.cluster.versions.check_known(machine.version(), builds)?;
        if applied > 0 && applied.is_multiple_of(HASHED_INDEXES) && !machine.is_applying() {
            let hash = machine.hash();
            self.cluster.machine(node, applied, hash)?;
        }
        Ok(())
    }

    /// Whether a fuse has cut the power in what the node has just done. Then it is down.
    pub(super) fn lost_power(&mut self, at: SimTime, node: usize) -> bool {
        if !self.nodes[node].disk.has_burnt_out() {
            return false;
        }
        self.counts.add(Fault::PowerCutInWrite);
        self.cut_power(at, node);
        self.plan_boot(at, node);
        true
    }

    pub(super) fn boot(&mut self, at: SimTime, node: usize) -> Result<(), Failure> {
        let stays_down = self.nodes[node].has_left() || self.dead.contains(&node) || !self.knows_its_id(node);
        if self.nodes[node].process.is_some() || stays_down {
            return Ok(());
        }
        let nobody = Membership::default();
        let was_born_with = self.founders.contains(self.nodes[node].id);
        if self.plan.bug == Some(Bug::WipedNewcomer) && !was_born_with {
            let name = format!("other-disk-of-{}", self.nodes[node].id);
            let disk = SimDisk::new(name, DISK_BYTES, Random::new(self.random.number(), 0));
            self.nodes[node].wipe(disk);
        }
        self.upgrade(at, node);
        let birth = Birth {
            settings: &self.plan.settings,
            founders: if was_born_with { &self.founders } else { &nobody },
            seed: self.random.number(),
            cluster_id: u128::from(self.random.number()) + 1,
            bug: self.plan.bug,
            may_be_damaged: self.damaged.contains(&node),
        };
        let booted = self.nodes[node].boot(at, &birth);
        self.nodes[node].disk.end_stale_reads();
        if self.lost_power(at, node) {
            return Ok(());
        }
        match booted {
            Ok(booted) => {
                self.trace.tell(at, || {
                    let (last, cut) = (booted.snapshot + booted.entries.len() as u64, booted.cut);
                    let repair = if booted.under_repair { "under repair " } else { "" };
                    let cut = cut.unwrap_or_default();
                    format!("n{} starts {repair}at {}..{last} {cut}", node + 1, booted.snapshot)
                });
                if !booted.under_repair {
                    self.damaged.remove(&node);
                }
                let found = (booted.snapshot, booted.members);
                let promised = booted.promised;
                self.cluster.restarted(node, found, &booted.entries, promised, booted.under_repair)?;
                self.nodes[node].process = Some(booted.process);
                self.plan_step(at, node);
                Ok(())
            }
            // The disk may fail a start, too; then nothing was promised, and the next one finds out.
            Err(error) if error.can_retry() || matches!(error, Error::Dead { .. }) => {
                self.trace.tell(at, || format!("n{} cannot start: {error}", node + 1));
                self.plan_boot(at, node);
                Ok(())
            }
            Err(error) => {
                Err(Failure::new("a node recovers from any crash", format!("n{}: {error}", node + 1)))
            }
        }
    }

    /// Gives a machine the newer build before it starts, now and then.
    fn upgrade(&mut self, at: SimTime, node: usize) {
        let is_old = self.nodes[node].build < ClusterVersion::REHEARSED;
        if is_old && self.plan.faults.contains(&Fault::Upgrade) && self.random.chance(UPGRADED_PERMILLE) {
            self.nodes[node].build = ClusterVersion::REHEARSED;
            self.counts.add(Fault::Upgrade);
            self.trace.tell(at, || format!("n{} gets the newer build", node + 1));
        }
    }

    pub(super) fn plan_boot(&mut self, at: SimTime, node: usize) {
        let after =
            if self.random.chance(300) { self.random.millis(1, 20) } else { self.random.millis(20, 4000) };
        self.agenda.add(at + after, Event::Boot { node });
    }

    /// Ends a process. What it wrote stays with the operating system.
    pub(super) fn kill(&mut self, at: SimTime, node: usize, how: &str) {
        let Some(process) = self.nodes[node].process.take() else { return };
        self.trace.tell(at, || format!("n{} {how}", node + 1));
        self.nodes[node].life += 1;
        self.nodes[node].paused_until = SimTime::default();
        self.nodes[node].kill_in_step = false;
        for (&conn, &client) in &process.connections {
            let late = self.random.millis(1, 20);
            self.agenda.add(at + late, Event::ConnectionLost { client, conn });
        }
        for other in 0..self.nodes.len() {
            if other != node && self.random.chance(800) {
                self.tell_unreachable(at, other, node);
            }
        }
    }

    /// Cuts the power of a machine: what is not durable is lost.
    pub(super) fn cut_power(&mut self, at: SimTime, node: usize) {
        self.kill(at, node, "loses power");
        self.nodes[node].disk.cut_power();
        self.nodes[node].clock.reboot(&mut self.random);
    }

    /// Lets a node know, soon, that it does not reach another.
    pub(super) fn tell_unreachable(&mut self, at: SimTime, node: usize, peer: usize) {
        let late = self.random.millis(1, 30);
        let peer = self.nodes[peer].id;
        let life = self.nodes[node].life;
        let input = Box::new(Input::Unreachable { peer });
        self.agenda.add(at + late, Event::Tell { node, life, input });
    }

    /// Sends an answer on its way to whoever has the connection.
    fn send_answer(&mut self, at: SimTime, node: usize, conn: quorate_node::ConnId, answer: Answer) {
        let process = self.nodes[node].process.as_mut().expect("it has just stepped");
        let client = match &answer {
            Answer::Close(_) => process.connections.remove(&conn),
            Answer::Reply(_) | Answer::Watched(_) | Answer::View(_) => {
                process.connections.get(&conn).copied()
            }
        };
        let Some(client) = client else { return };
        self.trace.tell(at, || format!("n{} -> c{client} {answer:?}", node + 1));
        let latency = self.clients[client].latency;
        self.agenda.add(at + latency, Event::Answer { client, conn, answer: Box::new(answer) });
    }
}

/// Whether the receiver relies on what the real transport promises: that a message arrives at most once. All but wishes
/// of an operator must bear more.
fn arrives_once<M>(message: &PeerMessage<M>) -> bool {
    match message {
        PeerMessage::Reconfigure { .. } | PeerMessage::Reconfigured { .. } => true,
        PeerMessage::Engine(_)
        | PeerMessage::Forward(_)
        | PeerMessage::Transfer { .. }
        | PeerMessage::Gossip(_) => false,
    }
}

/// Notices a process that does not come to rest.
fn count_step<E: Engine>(process: &mut Process<E>, at: SimTime) -> Result<(), Failure> {
    let (since, count) = &mut process.steps_counted;
    if at.since(*since) > COUNTED {
        (*since, *count) = (at, 0);
    }
    *count += 1;
    check(*count < STEPS_PER_PERIOD_MAX, "processes come to rest", || {
        format!("{STEPS_PER_PERIOD_MAX} steps within {COUNTED:?}")
    })
}
