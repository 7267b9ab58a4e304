//! The course of a run: faults, then healing, then judgement.
//!
//! After the faults everything is healed, and the cluster owes progress: each client of a living node must get an
//! answer, first with a minority of the voters down, then with all; then changes of members must end, what has a
//! time-to-live must expire, each member must answer a last read, and all members must arrive at one state, each within a
//! bound of simulated time.

use std::{collections::BTreeMap, time::Duration};

use quorate_consensus::{Engine, NodeId};

use super::{
    Event, World,
    clients::{Client, State},
};
use crate::{
    checks::{Failure, check, cluster::number_of, history::EXPIRES},
    random::Random,
    time::SimTime,
    workload::auditor::Auditor,
};

/// What the run is at.
#[derive(Debug)]
pub(super) enum Phase {
    Faults,
    /// Everything works again, but for a minority that may stay down at first; clients go on.
    Healing {
        since: SimTime,
    },
    /// Clients finish what they have begun.
    Quiescing {
        since: SimTime,
    },
    /// Changes of members end, and who was removed learns it.
    Settling {
        since: SimTime,
    },
    /// What has a time-to-live expires.
    Expiring {
        since: SimTime,
    },
    /// On each member a client reads everything.
    Auditing {
        since: SimTime,
    },
    /// All members must arrive at one state.
    Converging {
        since: SimTime,
    },
    Done,
}

/// How often the world looks after itself.
const TICK: Duration = Duration::from_millis(50);
/// How long each step to full service may take once nothing fails any more. Some election time-outs, some
/// resends, and a snapshot in chunks: two or three seconds are usual.
const PROGRESS_MAX: Duration = Duration::from_secs(15);
const PROPERTY: &str = "liveness: after healing everything goes on";

impl<E: Engine> World<E> {
    pub(super) fn tick(&mut self, at: SimTime) -> Result<(), Failure> {
        self.end_faults(at);
        for node in 0..self.nodes.len() {
            self.look_after_log(at, node);
        }
        self.advance(at)?;
        self.agenda.add(at + TICK, Event::Tick);
        Ok(())
    }

    /// What the log thread does between writes: housekeeping, and watching the room.
    fn look_after_log(&mut self, at: SimTime, node: usize) {
        if at < self.nodes[node].paused_until {
            return;
        }
        let marks = self.random.chance(50);
        let Some(process) = &mut self.nodes[node].process else { return };
        if process.disk_failed || process.writer_busy {
            return;
        }
        let log = &mut process.writer.log;
        let kept = log.maintain().and_then(|_| if marks { log.mark() } else { Ok(()) });
        let kept = kept.and_then(|()| if marks { log.prepare() } else { Ok(()) });
        let room = log.room();
        if self.lost_power(at, node) {
            return;
        }
        if let Err(error) = kept {
            self.trace.tell(at, || format!("the log of n{} has failed: {error}", node + 1));
            self.kill(at, node, "ends, since its log is dead");
            return self.plan_boot(at, node);
        }
        let process = self.nodes[node].process.as_mut().expect("it was just seen");
        if process.room != room {
            process.room = room;
            self.put(at, node, quorate_node::Input::Room(room));
        }
    }

    fn advance(&mut self, at: SimTime) -> Result<(), Failure> {
        match self.phase {
            Phase::Faults => {
                if at.since(SimTime::default()) >= self.plan.duration {
                    self.trace.tell(at, || "--- everything is healed".to_owned());
                    self.choose_dead();
                    self.heal(at);
                    self.operator.into_iter().for_each(|operator| self.clients[operator].retired = true);
                    self.phase = Phase::Healing { since: at };
                }
            }
            Phase::Healing { since } => self.advance_healing(at, since)?,
            Phase::Quiescing { since } => {
                if self.clients.iter().all(|client| matches!(client.state, State::Retired)) {
                    self.phase = Phase::Settling { since: at };
                } else {
                    let client =
                        self.clients.iter().position(|client| !matches!(client.state, State::Retired));
                    self.check_progress(at, since, || format!("client {client:?} waits for an answer"))?;
                }
            }
            Phase::Settling { since } => {
                if self.has_settled() {
                    self.phase = Phase::Expiring { since: at };
                } else {
                    let present = self.cluster.members().present();
                    self.check_progress(at, since, || format!("a change of {present} does not end"))?;
                }
            }
            Phase::Expiring { since } => {
                if self.has_expired() {
                    self.begin_audit(at);
                } else {
                    check(at.since(since) < PROGRESS_MAX, EXPIRES, || {
                        format!("nobody uses anything, and something has a deadline after {PROGRESS_MAX:?}")
                    })?;
                }
            }
            Phase::Auditing { since } => {
                if self.history.audits.len() == self.servers().len() {
                    self.phase = Phase::Converging { since: at };
                } else {
                    let answered: Vec<_> = self.history.audits.keys().collect();
                    self.check_progress(at, since, || format!("only {answered:?} answered the last reads"))?;
                }
            }
            Phase::Converging { since } => {
                if self.has_converged()? {
                    self.judge()?;
                    self.phase = Phase::Done;
                } else {
                    self.check_progress(at, since, || "the nodes do not arrive at one state".to_owned())?;
                }
            }
            Phase::Done => {}
        }
        Ok(())
    }

    /// Each client is owed an answer, as long as its node lives; then the dead come back, and it is owed another one.
    fn advance_healing(&mut self, at: SimTime, since: SimTime) -> Result<(), Failure> {
        self.move_clients(at);
        let dead = &self.dead;
        let owed = |client: &Client| {
            let is_served = client.last_success.is_some_and(|sent| sent >= since);
            !is_served && !client.retired && !dead.contains(&client.node)
        };
        let unserved = self.clients.iter().position(owed);
        if unserved.is_some() {
            self.check_progress(at, since, || format!("client {unserved:?} got no answer"))?;
        } else if self.dead.is_empty() {
            self.clients.iter_mut().for_each(|client| client.retired = true);
            self.phase = Phase::Quiescing { since: at };
        } else {
            self.trace.tell(at, || "--- the dead come back".to_owned());
            for node in std::mem::take(&mut self.dead) {
                self.agenda.add(at, Event::Boot { node });
            }
            self.phase = Phase::Healing { since: at };
        }
        Ok(())
    }

    fn check_progress(
        &self,
        at: SimTime,
        since: SimTime,
        detail: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        check(at.since(since) < PROGRESS_MAX, PROPERTY, || format!("{} within {PROGRESS_MAX:?}", detail()))
    }

    /// A quorum is enough: in half of the runs some of the others stay down until everybody else was served. Not while
    /// the members may change, since the majority might become another one.
    fn choose_dead(&mut self) {
        // A node under repair does not vote.
        if !self.damaged.is_empty()
            || self.wiped_members().next().is_some()
            || !self.cluster.is_settled()
            || self.operator.is_some_and(|operator| !self.clients[operator].is_thinking())
        {
            return;
        }
        let present = self.cluster.members().present();
        let most = present.losses_borne();
        // Beside a witness, a node without which nothing is committed yet may be the only one that can go on: it is only
        // killed for a while, and comes back.
        let is_spared = |voter: &NodeId| present.has_witness() && present.may_lead(*voter);
        let voters: Vec<usize> =
            present.voters.iter().copied().filter(|voter| !is_spared(voter)).map(number_of).collect();
        let may_be = !self.plan.faults.is_empty() && self.random.chance(500);
        let count = if may_be { self.random.index(most + 1) } else { 0 };
        while self.dead.len() < count {
            let node = *self.random.pick(&voters);
            self.dead.insert(node);
        }
        for node in self.dead.clone() {
            self.kill(self.now(), node, "stays down");
        }
    }

    /// Whether nothing has a deadline on any member, and no command is under way that could bring another one.
    fn has_expired(&self) -> bool {
        self.servers().into_iter().all(|number| {
            let node = &self.nodes[number];
            node.process.as_ref().is_some_and(|process| {
                let status = process.driver.status(node.now(self.now()));
                !process.driver.machine().has_deadlines() && status.commands_in_flight == 0
            })
        })
    }

    fn begin_audit(&mut self, at: SimTime) {
        let keys = self.history.keys();
        for node in self.servers() {
            let auditor = Box::new(Auditor::new(self.clients.len(), node, keys.clone()));
            let random = Random::new(self.random.number(), 0);
            self.clients.push(Client::with(auditor, node, random));
            self.agenda.add(at, Event::ClientWake { client: self.clients.len() - 1 });
        }
        self.phase = Phase::Auditing { since: at };
    }

    /// Whether all members have applied the same entries. Then their machines must be equal, and nothing may be left
    /// under way.
    fn has_converged(&mut self) -> Result<bool, Failure> {
        let mut states = BTreeMap::new();
        for number in self.servers() {
            let node = &self.nodes[number];
            let Some(process) = &node.process else { return Ok(false) };
            let machine = process.driver.machine();
            if machine.is_applying() {
                return Ok(false);
            }
            states.insert(number, (machine.applied(), machine.hash()));
            let status = process.driver.status(node.now(self.now()));
            let waits = status.commands_in_flight + status.commands_waiting + status.machine.waiting;
            let queued = status.queues.intake_bytes + status.queues.backlog_bytes;
            if waits > 0 || queued > 0 || status.repair.is_some() {
                return Ok(false);
            }
        }
        let Some(&(applied, hash)) = states.values().next() else { return Ok(false) };
        if states.values().any(|state| state.0 != applied) {
            return Ok(false);
        }
        check(states.values().all(|state| state.1 == hash), "equal machines at equal indexes", || {
            format!("at {applied} the machines' hashes are {states:?}")
        })?;
        Ok(true)
    }

    fn judge(&mut self) -> Result<(), Failure> {
        let audits = &self.history.audits;
        let first = audits.values().next().cloned().unwrap_or_default();
        for (node, content) in audits {
            check(*content == first, "each node answers the same", || {
                format!("n{} read {content:?}, the first {first:?}", node + 1)
            })?;
        }
        self.judge_removals()?;
        self.report.members = self.history.wishes.verify(self.cluster.members())?;
        let judged = self.history.verify(&first)?;
        self.report.judged = judged.operations as u64;
        self.report.undecided = judged.undecided as u64;
        Ok(())
    }
}
