//! The leader's side of forwarding: from the groups that origins send to batches in the log.
//!
//! A leader takes each command of a session once, in order. What it has taken in its own term it remembers;
//! what earlier leaders have logged it learns by applying everything up to the first entry of its own term,
//! and until then it *holds* what arrives. So a command that is sent to two leaders in turn is in the log once
//! (redisraft#13), and the machine's own check of sequences is the second line of defence, not the first.
//!
//! Batches wait here, in order, while the engine or the disk has no room; origins bound how much there can be.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};
use quorate_consensus::Term;
use quorate_machine::{Batch, ClusterVersion, Group, Machine, Operation, SessionId, weight};

/// What a leader has taken in and not yet logged.
#[derive(Debug)]
pub(crate) struct Intake {
    term: Term,
    gate: Gate,
    /// The version in which batches are written: the active one, or the one to which it is about to rise.
    version: ClusterVersion,
    /// No batch of that version was written yet, which makes it the active one.
    rises: bool,
    /// Taken and not yet part of a batch.
    taken: Vec<Group>,
    taken_bytes: usize,
    /// Encoded batches that the engine has not accepted yet, oldest first.
    batches: VecDeque<Bytes>,
    batches_bytes: usize,
    limits: Limits,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The most bytes of one batch.
    pub(crate) batch_bytes: usize,
    /// The most bytes that wait here.
    pub(crate) bytes: usize,
}

#[derive(Debug)]
enum Gate {
    /// The term's first entry is not applied yet: the sessions may be further than this node knows.
    Closed { held: Vec<Group>, held_bytes: usize },
    /// For each session that was heard of in this term, the next number to take.
    Open { next: BTreeMap<SessionId, u64> },
}

impl Intake {
    pub(crate) fn new(term: Term, limits: Limits) -> Self {
        Self {
            term,
            gate: Gate::Closed { held: Vec::new(), held_bytes: 0 },
            version: ClusterVersion::FIRST,
            rises: false,
            taken: Vec::new(),
            taken_bytes: 0,
            batches: VecDeque::new(),
            batches_bytes: 0,
            limits,
        }
    }

    /// The term that this node leads.
    pub(crate) fn term(&self) -> Term {
        self.term
    }

    /// Whether commands are taken, and not held.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.gate, Gate::Open { .. })
    }

    /// The first entry of this term is applied: what was held is taken, after `birth` if there is one.
    pub(crate) fn open(&mut self, machine: &Machine, birth: Option<Operation>) {
        self.version = machine.version();
        if let Some(birth) = birth {
            self.add_own(birth);
        }
        let open = Gate::Open { next: BTreeMap::new() };
        if let Gate::Closed { held, .. } = std::mem::replace(&mut self.gate, open) {
            for group in held {
                self.offer(group, machine);
            }
        }
    }

    /// Takes what is new of a group. What was taken before is left out; a group behind a gap is dropped, and so
    /// is one for which there is no room: its origin sends it again.
    pub(crate) fn offer(&mut self, group: Group, machine: &Machine) {
        let bytes = weight::of_group(&group);
        if self.bytes() + bytes > self.limits.bytes {
            return;
        }
        let next = match &mut self.gate {
            Gate::Closed { held, held_bytes } => {
                *held_bytes += bytes;
                return held.push(group);
            }
            Gate::Open { next } => {
                next.entry(group.session).or_insert_with(|| next_of(machine, group.session))
            }
        };
        let from = if bug::on(Bug::AppliedTwice) { group.first_sequence.min(*next) } else { *next };
        let Some(group) = beginning_at(group, from) else { return };
        *next = (group.first_sequence + group.operations.len() as u64).max(*next);
        let bytes = weight::of_group(&group);
        // A batch is at most so large, or one group, which its origin keeps as small.
        if self.taken_bytes + bytes > self.limits.batch_bytes {
            self.close_batch();
        }
        self.taken_bytes += bytes;
        self.taken.push(group);
    }

    /// Adds an operation of the cluster itself, which belongs to no session.
    pub(crate) fn add_own(&mut self, operation: Operation) {
        self.taken.push(Group {
            session: SessionId::default(),
            stream: 0,
            acked: 0,
            first_sequence: 0,
            operations: vec![operation],
        });
    }

    /// The version in which batches are written.
    pub(crate) fn version(&self) -> ClusterVersion {
        self.version
    }

    /// Has the cluster rise to `version`: by the next batch, which is written also if there is nothing to put into it.
    pub(crate) fn rise_to(&mut self, version: ClusterVersion) {
        assert!(version > self.version, "cluster version fell {} -> {version}", self.version);
        self.version = version;
        self.rises = true;
    }

    /// The next batch for the engine, which stays here until [`Self::accepted`].
    pub(crate) fn next_batch(&mut self) -> Option<Bytes> {
        if self.batches.is_empty() {
            self.close_batch();
        }
        self.batches.front().cloned()
    }

    /// The engine has appended the batch that [`Self::next_batch`] gave.
    pub(crate) fn accepted(&mut self) {
        let batch = self.batches.pop_front().expect("a batch was offered");
        self.batches_bytes -= batch.len();
    }

    /// Whether there is something to propose, or to take once this term's first entry is applied.
    pub(crate) fn has_work(&self) -> bool {
        self.rises || self.bytes() > 0
    }

    /// The bytes that wait here.
    pub(crate) fn bytes(&self) -> usize {
        let held = match &self.gate {
            Gate::Closed { held_bytes, .. } => *held_bytes,
            Gate::Open { .. } => 0,
        };
        held + self.taken_bytes + self.batches_bytes
    }

    fn close_batch(&mut self) {
        if self.taken.is_empty() && !self.rises {
            return;
        }
        self.rises = false;
        let batch = Batch { version: self.version, groups: std::mem::take(&mut self.taken) }.encode();
        self.taken_bytes = 0;
        self.batches_bytes += batch.len();
        self.batches.push_back(batch);
    }
}

/// The next number of a session, by what is applied. A session that is not open begins with its opening.
fn next_of(machine: &Machine, session: SessionId) -> u64 {
    machine.session(session).map_or(0, |last| last + 1)
}

/// The part of `group` from number `next` on; `None` if nothing is new, or something before it is missing.
fn beginning_at(mut group: Group, next: u64) -> Option<Group> {
    let known = usize::try_from(next.checked_sub(group.first_sequence)?).ok()?;
    if known >= group.operations.len() {
        return None;
    }
    group.operations.drain(..known);
    group.first_sequence = next;
    Some(group)
}
