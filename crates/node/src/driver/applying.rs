//! From committed entries to the machine, and from its replies to clients.

use quorate_consensus::{Engine, Entry, Input as EngineInput, Payload};
use quorate_machine::{Applied, Outcome, Refusal, Reply};

use crate::{
    driver::Driver,
    input::Now,
    origin::Completion,
    output::{Answer, LogTask},
};

/// The most bytes of entries that one round applies: some milliseconds of work, well under a heartbeat.
const APPLY_BYTES_MAX: usize = 2 << 20;

impl<E: Engine> Driver<E> {
    /// Applies a bounded share of what is committed. Whether anything was.
    pub(super) fn apply_committed(&mut self, now: Now) -> bool {
        let mut bytes = 0;
        while bytes < APPLY_BYTES_MAX
            && !self.dead
            && let Some(entry) = self.unapplied.pop_front()
        {
            bytes += entry.weight();
            self.backlog_bytes -= entry.weight();
            self.apply(now, &entry);
            self.snapshots.applied(&entry, &self.config);
        }
        if bytes == 0 {
            return false;
        }
        self.engine.step(now.boot, EngineInput::Applied { index: self.applied() });
        self.make_snapshot_if_due();
        true
    }

    fn apply(&mut self, now: Now, entry: &Entry) {
        let due = self.applied().next();
        assert!(entry.index == due, "entry {} is applied in the place of {due}", entry.index);
        let payload = match &entry.payload {
            Payload::Command(batch) => Some(batch),
            Payload::Membership(membership) => {
                self.membership = membership.clone();
                None
            }
            Payload::Blank => None,
        };
        let was_born = self.machine.cluster_id().is_some();
        match self.machine.apply(entry.index.0, entry.stamp.millis, payload) {
            Ok(applied) => applied.into_iter().for_each(|applied| self.applied_one(now, applied)),
            Err(error) => self.die(format!("entry {} could not be applied: {error}", entry.index)),
        }
        if !was_born {
            self.record_cluster_id();
        }
        self.leadership.applied(entry.term, &self.machine, &self.config, now);
    }

    /// Has the disk remember which cluster it belongs to, if the machine knows it.
    pub(super) fn record_cluster_id(&mut self) {
        if let Some(id) = self.machine.cluster_id() {
            self.out.log.push(LogTask::SetClusterId { id });
        }
    }

    fn applied_one(&mut self, now: Now, applied: Applied) {
        if applied.session != self.origin.session() {
            return;
        }
        match applied.outcome {
            Outcome::Reply(reply) => self.complete(now, applied.sequence, reply),
            Outcome::Refused(refusal) => self.refused(now, applied.sequence, refusal),
        }
    }

    fn complete(&mut self, now: Now, sequence: u64, reply: Reply) {
        match self.origin.complete(now.boot, sequence, reply) {
            Completion::Answer(conn, reply) => self.answer(conn, Answer::Reply(reply)),
            Completion::Silent | Completion::Duplicate => {}
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
        match self.origin.complete(now.boot, sequence, Reply::Null) {
            Completion::Answer(conn, _) => self.close(conn, "the reply is not retained any more"),
            Completion::Silent | Completion::Duplicate => {}
        }
    }

    /// The machine has jumped over entries by a snapshot: what it says of this node's commands counts.
    pub(super) fn reconcile_with_machine(&mut self, now: Now) {
        let session = self.origin.session();
        let Some(last) = self.machine.session(session) else { return };
        while let Some(sequence) = self.origin.oldest_sent()
            && sequence <= last
        {
            match self.machine.retained(session, sequence).cloned() {
                Some(reply) => self.complete(now, sequence, reply),
                None => self.forgotten(now, sequence),
            }
        }
    }
}
