//! A process's other two threads, a piece of work at a time: the log's writer and the snapshot thread.

use std::time::Duration;

use quorate_consensus::{Engine, PersistId};
use quorate_log::Error;
use quorate_node::{Input, SnapshotDone};

use super::{Event, World, log_writer::Progress, node::latency, notation::snapshot_text};
use crate::{
    checks::{Failure, check},
    faults::Fault,
    time::SimTime,
};

impl<E: Engine> World<E> {
    pub(super) fn plan_log_work(&mut self, at: SimTime, node: usize) {
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return };
        if !process.writer_busy && !process.writer.is_idle() {
            process.writer_busy = true;
            self.agenda.add(at, Event::LogWork { node, life });
        }
    }

    /// One stage of the log writer.
    pub(super) fn log_work(&mut self, at: SimTime, node: usize, life: u64) -> Result<(), Failure> {
        if self.nodes[node].life != life || self.nodes[node].process.is_none() {
            return Ok(());
        }
        let paused_until = self.nodes[node].paused_until;
        if at < paused_until {
            self.agenda.add(paused_until, Event::LogWork { node, life });
            return Ok(());
        }
        let process = self.nodes[node].process.as_mut().expect("it was just seen");
        let progress = process.writer.work();
        if self.lost_power(at, node) {
            return Ok(());
        }
        let mut took = latency(&mut self.random, at < self.nodes[node].slow_until);
        let report = match progress {
            Progress::Idle => {
                self.nodes[node].process.as_mut().expect("it was just seen").writer_busy = false;
                return Ok(());
            }
            Progress::Wrote => {
                if let Some(hang) = self.nodes[node].hang_next_sync.take() {
                    self.counts.add(Fault::HangingSync);
                    self.trace.tell(at, || format!("the sync of n{} hangs", node + 1));
                    took += hang;
                }
                None
            }
            Progress::Synced { last, writes } => {
                self.cluster.has_written(node, &writes)?;
                Some(Input::Persisted { op: last })
            }
            Progress::Replaced { meta, header } => {
                self.cluster.has_replaced(node, &header);
                Some(Input::LogReplaced { meta })
            }
            Progress::Repaired => {
                self.trace.tell(at, || format!("n{} is whole again", node + 1));
                self.damaged.remove(&node);
                self.cluster.repaired(node)?;
                self.report.repairs += 1;
                None
            }
            Progress::Done => None,
            Progress::Failed { op, error } => return self.log_failed(at, node, op, &error),
        };
        if let Some(input) = report {
            // The next batch may begin before the driver knows of this one.
            let input = Box::new(input);
            let late = self.random.duration(Duration::ZERO, Duration::from_micros(200));
            self.agenda.add(at + late, Event::Tell { node, life, input });
            took = Duration::from_micros(10);
        }
        self.agenda.add(at + took, Event::LogWork { node, life });
        Ok(())
    }

    fn log_failed(
        &mut self,
        at: SimTime,
        node: usize,
        op: Option<PersistId>,
        error: &Error,
    ) -> Result<(), Failure> {
        let process = self.nodes[node].process.as_mut().expect("its log has just failed");
        self.trace.tell(at, || format!("the log of n{} has failed: {error}", node + 1));
        check(matches!(error, Error::Dead { .. }), "a log fails only with its disk", || {
            format!("n{}: {error}", node + 1)
        })?;
        process.disk_failed = true;
        match op {
            // The writer stays busy for ever: its thread has ended.
            Some(op) => self.put(at, node, Input::PersistFailed { op, reason: error.to_string() }),
            None => {
                self.kill(at, node, "ends, since its log is dead");
                self.plan_boot(at, node);
            }
        }
        Ok(())
    }

    pub(super) fn plan_snapshot_work(&mut self, at: SimTime, node: usize) {
        let is_slow = at < self.nodes[node].slow_until;
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return };
        if !process.keeper.busy && !process.keeper.queue.is_empty() {
            process.keeper.busy = true;
            let took = latency(&mut self.random, is_slow);
            self.agenda.add(at + took, Event::SnapshotWork { node, life });
        }
    }

    pub(super) fn snapshot_work(&mut self, at: SimTime, node: usize, life: u64) -> Result<(), Failure> {
        if self.nodes[node].life != life {
            return Ok(());
        }
        let paused_until = self.nodes[node].paused_until;
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        if at < paused_until {
            self.agenda.add(paused_until, Event::SnapshotWork { node, life });
            return Ok(());
        }
        if self.rots_what_is_sent
            && let Some(index) = process.keeper.is_about_to_read()
        {
            self.rot_snapshot(at, node, index);
        }
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        let done = process.keeper.work(at);
        process.keeper.busy = false;
        if let Some(finding) = process.keeper.found_rot.take() {
            self.counts.add(Fault::RottedSnapshot);
            self.trace.tell(at, || format!("n{} sets a snapshot aside: {finding}", node + 1));
        }
        if self.lost_power(at, node) {
            return Ok(());
        }
        if let Some(done) = done {
            if let SnapshotDone::Received { meta, machine } = &done
                && !machine.is_without_data()
            {
                self.cluster.machine(node, meta.index.0, machine.hash())?;
            }
            match &done {
                SnapshotDone::Made { .. } => self.report.snapshots.0 += 1,
                SnapshotDone::Received { .. } => self.report.snapshots.1 += 1,
                SnapshotDone::MakeFailed { .. }
                | SnapshotDone::Loaded { .. }
                | SnapshotDone::Missing { .. }
                | SnapshotDone::Unreadable { .. }
                | SnapshotDone::Stored { .. }
                | SnapshotDone::Rejected { .. } => {}
            }
            self.trace.tell(at, || format!("n{} snapshot: {}", node + 1, snapshot_text(&done)));
            self.put(at, node, Input::Snapshot(done));
        }
        self.plan_snapshot_work(at, node);
        Ok(())
    }
}
