//! The log thread of a node: takes its tasks in order; all writes that wait share one sync.
//!
//! A batch passes two stages, each with a latency of its own: *written* and *synced*. Between them, and between
//! the sync and its report, anything may happen.

use std::collections::VecDeque;

use quorate_consensus::{PersistId, SnapshotMeta};
use quorate_log::{Error, Log, SnapshotHeader, Write};
use quorate_node::LogTask;

use crate::disk::SimDisk;

/// The writer, and what waits for it.
pub(super) struct LogWriter {
    pub(super) log: Log<SimDisk>,
    pub(super) queue: VecDeque<LogTask>,
    stage: Stage,
}

/// Where the present batch is.
enum Stage {
    Idle,
    /// Its writes are with the operating system, and not durable.
    Written {
        last: PersistId,
        writes: Vec<Write>,
    },
}

/// What a stage has led to.
pub(super) enum Progress {
    /// There was nothing to do.
    Idle,
    /// The batch goes on after the time that a write takes.
    Wrote,
    /// These are durable, up to this operation.
    Synced { last: PersistId, writes: Vec<Write> },
    /// A snapshot has taken the log's place.
    Replaced { meta: SnapshotMeta, header: SnapshotHeader },
    /// The folder is not under repair any more.
    Repaired,
    /// Something that nobody waits for is done.
    Done,
    /// The log is dead.
    Failed { op: Option<PersistId>, error: Error },
}

/// The most writes that share a sync.
const BATCH_MAX: usize = 64;

impl LogWriter {
    pub(super) fn new(log: Log<SimDisk>) -> Self {
        Self { log, queue: VecDeque::new(), stage: Stage::Idle }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && matches!(self.stage, Stage::Idle)
    }

    /// Does the next piece of work, all at once.
    pub(super) fn work(&mut self) -> Progress {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Written { last, writes } => match self.log.sync() {
                Ok(()) => Progress::Synced { last, writes },
                Err(error) => Progress::Failed { op: Some(last), error },
            },
            Stage::Idle => match self.queue.pop_front() {
                None => Progress::Idle,
                Some(LogTask::Write { op, write }) => self.write(op, write),
                Some(LogTask::ReplaceBySnapshot { meta, header }) => {
                    match self.log.replace_by_snapshot(&header) {
                        Ok(()) => Progress::Replaced { meta, header },
                        Err(error) => Progress::Failed { op: None, error },
                    }
                }
                Some(LogTask::Release { first_kept }) => done(self.log.release(first_kept)),
                Some(LogTask::SetClusterId { id }) => done(self.log.set_cluster_id(id)),
                Some(LogTask::EndRepair) => match self.log.end_repair() {
                    Ok(()) => Progress::Repaired,
                    Err(error) => Progress::Failed { op: None, error },
                },
            },
        }
    }

    /// Writes a batch. What is empty keeps its place in the order and does not bother the disk.
    fn write(&mut self, first: PersistId, write: Write) -> Progress {
        let mut next = Some((first, write));
        let mut writes = Vec::new();
        let mut last = first;
        while let Some((op, write)) = next.take() {
            if !is_empty(&write)
                && let Err(error) = self.log.write(&write)
            {
                return Progress::Failed { op: Some(op), error };
            }
            last = op;
            writes.push(write);
            if writes.len() < BATCH_MAX
                && let Some(LogTask::Write { .. }) = self.queue.front()
                && let Some(LogTask::Write { op, write }) = self.queue.pop_front()
            {
                next = Some((op, write));
            }
        }
        if writes.iter().all(is_empty) {
            return Progress::Synced { last, writes };
        }
        self.stage = Stage::Written { last, writes };
        Progress::Wrote
    }
}

fn is_empty(write: &Write) -> bool {
    write.hard_state.is_none() && write.truncate_from.is_none() && write.entries.is_empty()
}

fn done(result: Result<(), Error>) -> Progress {
    match result {
        Ok(()) => Progress::Done,
        Err(error) => Progress::Failed { op: None, error },
    }
}
