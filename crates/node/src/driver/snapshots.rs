//! When a snapshot of the machine is made, and how one is given to and taken from a peer.

use std::{collections::VecDeque, time::Duration};

use quorate_bug::{self as bug, Bug};
use quorate_consensus::{
    BootTime, Engine, Entry, Index, Input as EngineInput, Membership, SnapshotMeta, Term,
    engine::SnapshotEffect,
};
use quorate_log::{Disk, SnapshotHeader, SnapshotReader};
use quorate_machine::{ClusterVersion, Machine};

use crate::{
    config::Config,
    driver::{
        Driver,
        clients::{WITNESS, error},
    },
    error::Error,
    input::{ConnId, Now, SnapshotDone},
    output::{Answer, Level, LogTask, SnapshotTask, View},
    record,
};

/// How long a driver waits after a snapshot that could not be made before it replaces one that is lost. Each attempt writes
/// the whole state, and what fails it, a full disk for the most part, takes an operator's minutes; the peer waits meanwhile.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// What a driver remembers of snapshots.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// The bytes of the log applied since the last snapshot was begun.
    applied_bytes: usize,
    /// The term of the last applied entry.
    last_term: Term,
    /// The entries applied last, each with its weight: those that stay in the log when it is compacted.
    recent: VecDeque<(Index, usize)>,
    recent_bytes: usize,
    making: bool,
    /// Whether one must be made whatever was applied since the last, which has gone bad. It stays so until one is made: an
    /// older one may still be there for a peer that it was lent, so that nobody would ask again.
    wanted: bool,
    /// When one that is wanted may be begun.
    retry_at: BootTime,
    /// The size of the last snapshot made.
    last_bytes: usize,
    /// Who is to get a view of the machine, as soon as no entry is under way.
    viewers: Vec<ConnId>,
}

impl Snapshots {
    pub(super) fn applied(&mut self, entry: &Entry, config: &Config) {
        let bytes = entry.weight();
        self.applied_bytes += bytes;
        self.last_term = entry.term;
        self.recent.push_back((entry.index, bytes));
        self.recent_bytes += bytes;
        while self.recent.len() > config.snapshot_keep_entries
            || self.recent_bytes > config.snapshot_keep_bytes
        {
            let Some((_, bytes)) = self.recent.pop_front() else { break };
            self.recent_bytes -= bytes;
        }
    }

    /// A client wants a view, and this node has applied what must be in it.
    pub(super) fn wanted_by(&mut self, viewer: ConnId) {
        self.viewers.push(viewer);
    }

    /// The first entry that stays in the log beside a snapshot at `index`.
    fn keep_from(&self, index: Index) -> Index {
        self.recent.front().map_or(index.next(), |&(oldest, _)| oldest.min(index.next()))
    }
}

impl<E: Engine> Driver<E> {
    /// Begins a snapshot, between two entries, when enough of the log has been applied since the last. The view is taken here, at
    /// once and cheaply; writing it is somebody else's work.
    pub(super) fn make_snapshot_if_due(&mut self, now: BootTime) {
        // A large state is written less often, so that snapshots cost a bounded share of the disk's time, and one
        // that travels to a peer is not outdated all the time.
        let due_bytes = self.config.snapshot_log_bytes.max(self.snapshots.last_bytes);
        let is_wanted = self.snapshots.wanted && self.snapshots.retry_at <= now;
        if self.snapshots.making || (self.snapshots.applied_bytes < due_bytes && !is_wanted) {
            return;
        }
        self.make_snapshot();
    }

    /// Has the last snapshot, if it cannot be read, replaced by a new one as soon as no entry is under way. One that is
    /// being made already will do.
    pub(super) fn replace_snapshot(&mut self, now: BootTime) {
        if self.snapshots.wanted && !self.machine.is_applying() && self.snapshots.last_term != Term(0) {
            self.make_snapshot_if_due(now);
        }
    }

    fn make_snapshot(&mut self) {
        self.snapshots.making = true;
        self.snapshots.applied_bytes = 0;
        let snapshot = Box::new(self.machine.snapshot());
        self.out.snapshots.push(SnapshotTask::Make { meta: self.meta(), snapshot });
    }

    /// What a snapshot of the machine as it is now stands for.
    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            index: self.applied(),
            term: self.snapshots.last_term,
            stamp: quorate_consensus::ClusterTime { millis: self.machine.stamp() },
            membership: self.membership.clone().into(),
            bytes: 0,
        }
    }

    /// Gives views to those who want one, if no entry is under way. A node that has applied nothing in this life does not
    /// know the last entry's term: the opening of its session will tell.
    pub(super) fn give_views(&mut self) {
        if self.machine.is_applying() || self.snapshots.last_term == Term(0) {
            return;
        }
        for viewer in std::mem::take(&mut self.snapshots.viewers) {
            if self.is_witness() {
                self.answer(viewer, Answer::Reply(error(WITNESS)));
                continue;
            }
            let view = View {
                meta: self.meta(),
                cluster_id: self.machine.cluster_id(),
                snapshot: self.machine.snapshot(),
            };
            self.answer(viewer, Answer::View(Box::new(view)));
        }
    }

    pub(super) fn snapshot_effect(&mut self, effect: SnapshotEffect) {
        self.out.snapshots.push(match effect {
            SnapshotEffect::Load { to, meta, offset, bytes } => {
                SnapshotTask::Load { to, meta, offset, bytes }
            }
            SnapshotEffect::Store { meta, offset, data } => SnapshotTask::Store { meta, offset, data },
            SnapshotEffect::Install { meta } => SnapshotTask::Finish { meta },
        });
    }

    pub(super) fn snapshot_done(&mut self, now: Now, done: SnapshotDone) {
        let input = match done {
            SnapshotDone::Made { meta } => return self.snapshot_made(now, meta),
            SnapshotDone::MakeFailed { reason } => {
                self.snapshots.making = false;
                self.snapshots.retry_at = now.boot.after(RETRY_INTERVAL);
                return self.notice(Level::Warn, format!("no snapshot could be made: {reason}"));
            }
            SnapshotDone::Received { meta, machine } => return self.install(now, meta, *machine),
            SnapshotDone::Loaded { to, meta, offset, data } => {
                EngineInput::SnapshotLoaded { to, meta, offset, data }
            }
            SnapshotDone::Missing { to } => EngineInput::SnapshotMissing { to },
            SnapshotDone::Unreadable { to } => {
                self.snapshots.wanted = true;
                EngineInput::SnapshotMissing { to }
            }
            SnapshotDone::Stored { meta, end } => EngineInput::SnapshotStored { meta, end },
            SnapshotDone::Rejected { meta, reason } => {
                self.notice(
                    Level::Warn,
                    format!("a received snapshot at {} was rejected: {reason}", meta.index),
                );
                EngineInput::SnapshotRejected { meta }
            }
        };
        self.engine.step(now.boot, input);
    }

    fn snapshot_made(&mut self, now: Now, meta: SnapshotMeta) {
        self.snapshots.making = false;
        self.snapshots.wanted = false;
        self.snapshots.last_bytes = usize::try_from(meta.bytes).unwrap_or(usize::MAX);
        let keep_from = self.snapshots.keep_from(meta.index);
        self.notice(Level::Info, format!("made a snapshot at {} of {} bytes", meta.index, meta.bytes));
        self.out.log.push(LogTask::Release { first_kept: keep_from.0 });
        self.engine.step(now.boot, EngineInput::SnapshotMade { meta, keep_from });
    }

    /// Puts a received snapshot, durable already, in the machine's place; the log follows.
    fn install(&mut self, now: Now, meta: SnapshotMeta, machine: Machine) {
        if meta.index <= self.applied() {
            // The log has brought this node here while the snapshot was on its way.
            return self.engine.step(now.boot, EngineInput::SnapshotRejected { meta });
        }
        let version = self.machine.version();
        self.machine = machine;
        assert!(self.applied() == meta.index, "snapshot at {} restored to {}", meta.index, self.applied());
        self.unapplied.retain(|entry| entry.index > meta.index);
        self.backlog_bytes = self.unapplied.iter().map(Entry::weight).sum();
        let before = std::mem::replace(&mut self.membership, Membership::clone(&meta.membership));
        self.tell_set_aside(&before);
        self.follow(self.role);
        self.snapshots = Snapshots {
            last_term: meta.term,
            making: self.snapshots.making,
            viewers: std::mem::take(&mut self.snapshots.viewers),
            ..Snapshots::default()
        };
        self.out.publications.clear();
        self.out.publications_missed = !bug::on(Bug::UntoldGap);
        self.record_cluster_id();
        self.reconcile_with_machine(now);
        self.changes_jumped(meta.index);
        self.tell_version(version, meta.index);
        self.notice(Level::Info, format!("installed a snapshot at {} from the leader", meta.index));
        let header = header(&meta);
        self.out.log.push(LogTask::ReplaceBySnapshot { meta, header });
    }
}

/// The machine in a snapshot. Takes time in proportion to its size, so that it is no work for a driver's thread.
///
/// # Errors
/// [`Error::Unreadable`], [`Error::NoMachine`], [`Error::Mislabelled`]: a node must not make this snapshot its own.
pub fn restore<D: Disk>(reader: SnapshotReader<D>) -> Result<Machine, Error> {
    restore_up_to(reader, ClusterVersion::NEWEST)
}

/// The same by a build that knows cluster versions up to `known`.
///
/// # Errors
/// Those of [`restore`].
pub fn restore_up_to<D: Disk>(reader: SnapshotReader<D>, known: ClusterVersion) -> Result<Machine, Error> {
    let SnapshotHeader { index, stamp, bytes, .. } = *reader.header();
    // A witness is told a configuration alone: the engine lets nobody else have this.
    if bytes == 0 {
        return Ok(Machine::without_data(index, stamp));
    }
    let mut unreadable = None;
    let blocks = reader.map_while(|block| block.map_err(|error| unreadable = Some(error)).ok());
    let machine = Machine::restore_up_to(blocks, known);
    if let Some(source) = unreadable {
        return Err(Error::Unreadable { index, source });
    }
    let machine = machine.map_err(|source| Error::NoMachine { index, source })?;
    let applied = machine.applied();
    if applied == index { Ok(machine) } else { Err(Error::Mislabelled { index, applied }) }
}

/// What the log calls a snapshot.
#[must_use]
pub fn header(meta: &SnapshotMeta) -> SnapshotHeader {
    SnapshotHeader {
        index: meta.index.0,
        term: meta.term.0,
        stamp: meta.stamp.millis,
        membership: record::encode_membership(&meta.membership),
        bytes: meta.bytes,
    }
}
