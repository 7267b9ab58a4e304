//! From committed entries to the machine, and from its replies to clients.

use std::time::Duration;

use quorate_bug::{self as bug, Bug};
use quorate_consensus::{Engine, Input as EngineInput, Payload};
use quorate_machine::{Applied, Error::Newer, Outcome, Refusal, Reply, Step};

use crate::{
    driver::{Driver, clients::GAVE_UP},
    input::Now,
    output::{Answer, LogTask},
};

/// The work that one step spends on applying and on reads, in units of the machine, of about a microsecond each:
/// well under a heartbeat interval, so that the engine's deadlines are met under any backlog. A single operation
/// may pass it; what it may cost is a setting of the machine.
pub(super) const WORK_PER_STEP: u64 = 10_000;

impl<E: Engine> Driver<E> {
    /// Applies what is committed, as far as the step's work lasts: it may stop between two operations of an entry.
    /// Whether anything was applied.
    pub(super) fn apply_committed(&mut self, now: Now) -> bool {
        let before = self.applied();
        let mut progress = false;
        while self.work_left > 0 && !self.dead && !self.is_left_behind {
            let work = self.machine.work();
            if !self.machine.is_applying() && !self.begin_entry() {
                break;
            }
            progress = true;
            match self.machine.apply_next() {
                Step::Applied(applied) => {
                    if bug::on(Bug::LastNoticesOnly) {
                        self.out.publications.clear();
                    }
                    self.out.publications.extend(self.machine.take_publications());
                    self.applied_one(now, applied);
                }
                Step::Paused => {}
                Step::Finished => self.finish_entry(now),
            }
            self.spend(work);
        }
        if self.applied() > before {
            self.engine.step(now.boot, EngineInput::Applied { index: self.applied() });
        }
        progress
    }

    /// Takes what the machine has done since it said `work` from what is left for this step.
    pub(super) fn spend(&mut self, work: u64) {
        let spent = self.machine.work().saturating_sub(work).max(1);
        self.work_left = self.work_left.saturating_sub(spent);
    }

    /// Begins the next entry, if there is one. It stays at the front until it is finished.
    fn begin_entry(&mut self) -> bool {
        let Some(entry) = self.unapplied.front() else { return false };
        let due = self.applied().next();
        assert!(entry.index == due, "entry {} is applied in the place of {due}", entry.index);
        let payload = match &entry.payload {
            Payload::Command(batch) => Some(batch),
            Payload::Membership(_) | Payload::Blank => None,
        };
        let version = self.machine.version();
        let begun = self.machine.begin(entry.index.0, entry.stamp.millis, payload);
        self.out.publications.extend(self.machine.take_publications());
        match &begun {
            Ok(()) => {}
            // What the others have agreed on since they removed this node need not be known to its program.
            Err(Newer { .. }) if self.membership.excludes(self.config.node) => {
                self.is_left_behind = true;
                self.was_removed();
            }
            Err(error) => self.die(format!("entry {due} could not be applied: {error}")),
        }
        self.tell_version(version, due);
        begun.is_ok()
    }

    /// All operations of the entry at the front are applied.
    fn finish_entry(&mut self, now: Now) {
        let entry = self.unapplied.pop_front().expect("an entry stays until it is finished");
        self.backlog_bytes -= entry.weight();
        let before = match &entry.payload {
            Payload::Membership(membership) => {
                Some(std::mem::replace(&mut self.membership, (**membership).clone()))
            }
            Payload::Command(_) | Payload::Blank => None,
        };
        self.changes_applied(&entry, before);
        if !self.knows_cluster {
            self.record_cluster_id();
        }
        self.leadership.applied(entry.term, &self.machine, &self.config, now);
        self.snapshots.applied(&entry, &self.config);
        self.make_snapshot_if_due(now.boot);
        self.give_views();
    }

    /// Has the disk remember which cluster it belongs to, if the machine knows it.
    pub(super) fn record_cluster_id(&mut self) {
        if let Some(id) = self.machine.cluster_id() {
            self.knows_cluster = true;
            self.out.log.push(LogTask::SetClusterId { id });
        }
    }

    fn applied_one(&mut self, now: Now, applied: Applied) {
        if applied.session != self.origin.session() {
            return;
        }
        match applied.outcome {
            Outcome::Reply(reply) => self.complete(now, applied.sequence, reply),
            Outcome::Waits => self.park(now, applied.sequence),
            Outcome::Refused(refusal) => self.refused(now, applied.sequence, refusal),
        }
    }

    fn complete(&mut self, now: Now, sequence: u64, reply: Reply) {
        let Some(completed) = self.origin.complete(now.boot, sequence) else { return };
        match completed.conn.filter(|conn| self.is_there(*conn)) {
            Some(conn) => self.answer(conn, Answer::Reply(reply)),
            None => self.origin.give_back(completed, sequence, &reply),
        }
    }

    /// A command of this node waits in the machine, as long as its client does.
    fn park(&mut self, now: Now, sequence: u64) {
        let (stamp_ms, patience) = (self.machine.stamp(), self.patience_of(sequence));
        let Some(conn) = self.origin.park(now.boot, stamp_ms, sequence, patience) else { return };
        match self.connections.get_mut(&conn) {
            Some(connection) => {
                connection.parked = Some(sequence);
                if connection.gives_up {
                    self.origin.leave(sequence);
                    self.close(conn, GAVE_UP);
                } else if self.leaving {
                    self.origin.give_up_all();
                }
            }
            None => {
                self.origin.leave(sequence);
            }
        }
    }

    /// How much longer a command of this node waits in the machine, by the time of the log; `None`: for ever.
    fn patience_of(&self, sequence: u64) -> Option<Duration> {
        let until_ms = self.machine.waits_until(self.origin.session(), sequence)?;
        Some(Duration::from_millis(until_ms.saturating_sub(self.machine.stamp())))
    }

    /// A command waits for longer than it should by this node's clock.
    pub(super) fn overdue(&mut self, now: Now, sequence: u64) {
        // Failovers stop the time of the log for a while. As long as it has gone on meanwhile, it will come.
        let stamp_ms = self.machine.stamp();
        if self.origin.parked_at(sequence).is_some_and(|parked_ms| parked_ms < stamp_ms) {
            let patience = self.patience_of(sequence);
            return self.origin.keep_waiting(now.boot, stamp_ms, sequence, patience);
        }
        if let Some(conn) = self.origin.leave(sequence) {
            self.close(conn, "a command has waited for longer than its time-out, and the log stands still");
        }
    }

    fn refused(&mut self, now: Now, sequence: u64, refusal: Refusal) {
        match refusal {
            // What is missing before it is on its way, and this will be sent again behind it.
            Refusal::Gap { .. } => {}
            Refusal::Forgotten => self.forgotten(now, sequence),
            Refusal::UnknownSession => self.die(format!(
                "the session of {} is not open any more: a later start of this node has taken its place",
                self.config.node
            )),
            Refusal::Misplaced => self.die(format!("command {sequence} may not stand under this number")),
        }
    }

    /// A command was applied, and nobody knows its reply any more.
    fn forgotten(&mut self, now: Now, sequence: u64) {
        // Of one that waits the machine knows what to say, now or later.
        if self.machine.waits(self.origin.session(), sequence) {
            return;
        }
        let completed = self.origin.complete(now.boot, sequence);
        if let Some(conn) = completed.and_then(|completed| completed.conn) {
            self.close(conn, "the reply is not retained any more");
        }
    }

    /// The machine has jumped over entries by a snapshot: what it says of this node's commands counts.
    pub(super) fn reconcile_with_machine(&mut self, now: Now) {
        let session = self.origin.session();
        for sequence in self.origin.parked_sequences() {
            self.catch_up(now, sequence);
        }
        let last = self.machine.session(session);
        while let Some(sequence) = self.origin.oldest_sent().filter(|oldest| Some(*oldest) <= last) {
            self.catch_up(now, sequence);
        }
    }

    /// A command was applied within a jump.
    fn catch_up(&mut self, now: Now, sequence: u64) {
        let session = self.origin.session();
        match self.machine.retained(session, sequence).cloned() {
            Some(reply) => self.complete(now, sequence, reply),
            None if self.machine.waits(session, sequence) => self.park(now, sequence),
            None => self.forgotten(now, sequence),
        }
    }
}
