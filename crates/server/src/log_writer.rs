//! The thread that owns the durable log, so that a slow disk never delays the shard.
//!
//! It takes every task that waits, writes them all, and makes them durable with one sync: group commit. While it
//! syncs, the next group gathers. Tasks are done first in, first out; what is reported durable is durable.
//!
//! After the first error of a write or sync nothing is known of the disk any more: the thread reports it, ends, and
//! the node with it. Nothing is tried again.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use quorate_consensus::PersistId;
use quorate_log::{Disk as _, Error, Log, OsDisk, Room, Write};
use quorate_node::{Input, LogTask};

use crate::{inlet::Inlet, metrics::Metrics};

/// How long the log must be idle until it is marked durable on the disk, and how often it is looked after then.
const IDLE: Duration = Duration::from_millis(500);
/// How long to wait for a task between two slices of housekeeping.
const HOUSEKEEPING_PAUSE: Duration = Duration::from_millis(2);
/// How often the room on the disk is looked at.
const ROOM_INTERVAL: Duration = Duration::from_millis(100);
/// The most tasks that share a sync: enough for any load, few enough that completions keep coming.
const GROUP_TASKS_MAX: usize = 1024;

/// The log with what it needs to work on a thread of its own.
pub(crate) struct LogWriter<M> {
    log: Log<OsDisk>,
    disk: OsDisk,
    tasks: Receiver<LogTask>,
    inlet: Inlet<M>,
    metrics: Arc<Metrics>,
    /// The last write that is not reported yet.
    unreported: Option<PersistId>,
    /// Whether something was written since the last sync.
    unsynced: bool,
    room: RoomReport,
}

/// What the driver was told of the room on the disk.
struct RoomReport {
    told: Room,
    looked_at: Option<Instant>,
}

impl<M> LogWriter<M> {
    /// A writer for `log` on `disk`, which takes `tasks` until their sender is gone and reports to `inlet`.
    pub(crate) fn new(
        log: Log<OsDisk>,
        disk: OsDisk,
        tasks: Receiver<LogTask>,
        inlet: Inlet<M>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let room = RoomReport { told: Room::Enough, looked_at: None };
        Self { log, disk, tasks, inlet, metrics, unreported: None, unsynced: false, room }
    }

    /// Works until the shard is gone, then marks the log durable and closes it.
    ///
    /// # Errors
    /// The first failure of the disk, which the driver has been told.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let result = self.work();
        if let (Err(error), Some(op)) = (&result, self.unreported) {
            self.inlet.input(Input::PersistFailed { op, reason: error.to_string() });
        }
        result
    }

    fn work(&mut self) -> Result<(), Error> {
        let mut is_tidy = false;
        loop {
            let wait = if is_tidy { IDLE } else { HOUSEKEEPING_PAUSE };
            match self.tasks.recv_timeout(wait) {
                Ok(task) => self.group(task)?,
                Err(RecvTimeoutError::Timeout) if is_tidy => {
                    self.log.mark()?;
                    self.log.prepare()?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.log.mark(),
            }
            is_tidy = self.log.maintain()?;
            self.look_at_room();
        }
    }

    /// Does `first` and all tasks that wait behind it, with one sync.
    fn group(&mut self, first: LogTask) -> Result<(), Error> {
        // On a busy machine the shard may be about to add to this group: it goes first.
        thread::yield_now();
        let mut next = Some(first);
        for _ in 0..GROUP_TASKS_MAX {
            let Some(task) = next else { break };
            self.task(task)?;
            next = self.tasks.try_recv().ok();
        }
        if let Some(task) = next {
            self.task(task)?;
        }
        self.flush()
    }

    fn task(&mut self, task: LogTask) -> Result<(), Error> {
        match task {
            LogTask::Write { op, write } => {
                self.unreported = Some(op);
                if !is_empty(&write) {
                    self.log.write(&write)?;
                    let bytes: usize = write.entries.iter().map(|entry| entry.payload.len()).sum();
                    self.metrics.log_written_bytes.add(bytes as u64);
                    self.unsynced = true;
                }
                Ok(())
            }
            LogTask::ReplaceBySnapshot { meta, header } => {
                self.flush()?;
                self.log.replace_by_snapshot(&header)?;
                self.inlet.input(Input::LogReplaced { meta });
                Ok(())
            }
            LogTask::EndRepair => {
                self.flush()?;
                self.log.end_repair()
            }
            LogTask::SetClusterId { id } => {
                self.flush()?;
                self.log.set_cluster_id(id)
            }
            LogTask::Release { first_kept } => {
                self.flush()?;
                match self.log.release(first_kept) {
                    Err(error @ Error::Dead { .. }) => Err(error),
                    // The entries stay where they are; a later snapshot will release them.
                    Err(error) => {
                        tracing::warn!("entries before {first_kept} could not be released: {error}");
                        Ok(())
                    }
                    Ok(()) => Ok(()),
                }
            }
        }
    }

    /// Makes all writes so far durable, and says so.
    fn flush(&mut self) -> Result<(), Error> {
        if self.unsynced {
            let begin = Instant::now();
            self.log.sync()?;
            self.metrics.log_sync.record(begin.elapsed());
            self.unsynced = false;
        }
        if let Some(op) = self.unreported.take() {
            self.inlet.input(Input::Persisted { op });
        }
        Ok(())
    }

    fn look_at_room(&mut self) {
        let due = self.room.looked_at.is_none_or(|last| last.elapsed() >= ROOM_INTERVAL);
        if !due {
            return;
        }
        self.room.looked_at = Some(Instant::now());
        if let Ok(bytes) = self.disk.available_bytes() {
            self.metrics.disk_available_bytes.set(bytes);
        }
        let room = self.log.room();
        if room != self.room.told {
            self.room.told = room;
            self.inlet.input(Input::Room(room));
        }
    }
}

/// Whether a write has nothing for the disk: it only keeps its place in the order.
fn is_empty(write: &Write) -> bool {
    write.hard_state.is_none() && write.truncate_from.is_none() && write.entries.is_empty()
}
