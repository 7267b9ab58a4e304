//! The thread that writes and reads snapshots, so that their size delays neither the shard nor the log.
//!
//! Tasks are done first in, first out. A snapshot is visible once it is complete and durable; before that, a crash or
//! an error leaves nothing behind. Errors here are never fatal: the log still holds what the snapshot would have
//! held, and a transfer begins anew. But of a snapshot that has rotted since it was made the log may hold nothing any
//! more, and the state is in memory alone: then a new one is made at once, for a peer that needs it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crossbeam_channel::Receiver;
use quorate_consensus::{ClusterTime, Index, NodeId, SnapshotMeta, Term};
use quorate_log::{Error, OsDisk, SnapshotHeader, SnapshotStore, SnapshotWriter};
use quorate_machine::{Machine, Snapshot};
use quorate_node::{Input, SnapshotDone, SnapshotTask, header, record, restore};

use crate::{inlet::Inlet, metrics::Metrics};

/// The store with what it needs to work on a thread of its own.
pub(crate) struct Snapshots<M> {
    store: SnapshotStore<OsDisk>,
    tasks: Receiver<SnapshotTask>,
    inlet: Inlet<M>,
    metrics: Arc<Metrics>,
    /// The snapshot that a leader is sending.
    receiving: Option<Receiving>,
    /// How many bytes of it are taken in a second, at most.
    received_per_second: usize,
    /// The snapshot that was last read for each peer, and when.
    lent: BTreeMap<NodeId, (u64, Instant)>,
    /// The snapshot of which the disk has not given some part, and how often.
    failed: (u64, u32),
}

/// A disk that has failed so often will not give that snapshot any more, be it only a sector in its middle.
const FAILURES_MAX: u32 = 3;

/// A snapshot that a peer is being sent stays until nothing of it was read for so long: otherwise a node that
/// makes snapshots faster than it sends them would never finish.
const LENT: Duration = Duration::from_secs(10);

struct Receiving {
    meta: SnapshotMeta,
    writer: SnapshotWriter<OsDisk>,
    /// From when on the next part may be asked for.
    due: Instant,
}

/// The longest wait for the next part: a node that is told to end is not held up by more.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Why a task failed, in words for the log.
type Failure = String;

/// Why a part of a snapshot was not read for a peer.
enum Unread {
    /// A newer one has taken its place.
    Gone,
    /// It is damaged.
    Lost(Failure),
    /// There is none, since the newest was damaged: that has been told, and a peer asks at each heartbeat.
    Absent,
    /// The disk did not give it, and may do so the next time; which one it was, 0 if none.
    Failed(u64, Failure),
}

impl<M> Snapshots<M> {
    /// Works on `store`, takes `tasks` until their sender is gone, and reports to `inlet`. Of a leader's snapshot at most
    /// `received_per_second` bytes are taken in a second.
    pub(crate) fn new(
        store: SnapshotStore<OsDisk>,
        tasks: Receiver<SnapshotTask>,
        inlet: Inlet<M>,
        metrics: Arc<Metrics>,
        received_per_second: usize,
    ) -> Self {
        Self {
            store,
            tasks,
            inlet,
            metrics,
            receiving: None,
            received_per_second,
            lent: BTreeMap::new(),
            failed: (0, 0),
        }
    }

    /// Works until the shard is gone.
    pub(crate) fn run(mut self) {
        while let Ok(task) = self.tasks.recv() {
            let done = self.done(task);
            self.inlet.input(Input::Snapshot(done));
        }
    }

    fn done(&mut self, task: SnapshotTask) -> SnapshotDone {
        match task {
            SnapshotTask::Make { meta, snapshot } => match self.make(meta, *snapshot) {
                Ok(meta) => SnapshotDone::Made { meta },
                Err(error) => {
                    self.metrics.snapshots.failures.increment();
                    SnapshotDone::MakeFailed { reason: error.to_string() }
                }
            },
            SnapshotTask::Load { to, meta, offset, bytes } => match self.load(to, meta, offset, bytes) {
                Ok((meta, data)) => SnapshotDone::Loaded { to, meta, offset, data },
                Err(Unread::Gone) => SnapshotDone::Missing { to },
                Err(Unread::Lost(reason)) => {
                    self.metrics.snapshots.failures.increment();
                    tracing::error!("no snapshot for {to}, so that a new one is made: {reason}");
                    SnapshotDone::Unreadable { to }
                }
                Err(Unread::Absent) => SnapshotDone::Unreadable { to },
                Err(Unread::Failed(index, reason)) => self.failed(to, index, &reason),
            },
            SnapshotTask::Store { meta, offset, data } => match self.receive(&meta, offset, &data) {
                Ok(end) => SnapshotDone::Stored { meta, end },
                Err(reason) => self.reject(meta, reason),
            },
            SnapshotTask::Finish { meta } => match self.finish(&meta) {
                Ok(machine) => SnapshotDone::Received { meta, machine: Box::new(machine) },
                Err(reason) => self.reject(meta, reason),
            },
        }
    }

    /// The disk did not give a part of a snapshot. It is asked again, from the beginning of that, but not for ever: what it
    /// gives before that part is no success.
    fn failed(&mut self, to: NodeId, index: u64, reason: &str) -> SnapshotDone {
        self.metrics.snapshots.failures.increment();
        let times = if self.failed.0 == index { self.failed.1.saturating_add(1) } else { 1 };
        self.failed = (index, times);
        if times < FAILURES_MAX {
            tracing::warn!("a snapshot for {to} cannot be read, and is tried again: {reason}");
            return SnapshotDone::Missing { to };
        }
        if times == FAILURES_MAX {
            tracing::error!(
                "a snapshot for {to} could not be read {FAILURES_MAX} times, so that a new one is made: {reason}"
            );
        }
        SnapshotDone::Unreadable { to }
    }

    /// Writes a snapshot of this node's own machine, and removes those that it replaces.
    fn make(&self, meta: SnapshotMeta, snapshot: Snapshot) -> Result<SnapshotMeta, Error> {
        let figures = &self.metrics.snapshots;
        let begin = Instant::now();
        let result = self.write(&meta, snapshot);
        figures.made_bytes.set(0);
        let made = result?;
        figures.making.record(begin.elapsed());
        figures.bytes.set(made.bytes);
        self.remove_older(made.index);
        Ok(SnapshotMeta { bytes: made.bytes, ..meta })
    }

    fn write(&self, meta: &SnapshotMeta, snapshot: Snapshot) -> Result<SnapshotHeader, Error> {
        let mut writer = self.store.begin(&header(meta))?;
        for chunk in snapshot {
            writer.write(&chunk)?;
            self.metrics.snapshots.made_bytes.set(writer.written());
        }
        writer.finish()
    }

    fn remove_older(&self, index: u64) {
        let lent = self.lent.values().filter(|(_, read)| read.elapsed() < LENT);
        let index = lent.map(|&(lent, _)| lent).chain([index]).min().unwrap_or(index);
        if let Err(error) = self.store.remove_older_than(index) {
            tracing::warn!("old snapshots could not be removed: {error}");
        }
    }

    /// Reads a part of the snapshot `meta`, or of the newest.
    fn load(
        &mut self,
        to: NodeId,
        meta: Option<SnapshotMeta>,
        offset: u64,
        bytes: usize,
    ) -> Result<(SnapshotMeta, Bytes), Unread> {
        let newest = || self.store.newest_index().map_err(|error| Unread::Failed(0, error.to_string()));
        let index = match &meta {
            Some(meta) => meta.index.0,
            None => newest()?.ok_or(Unread::Absent)?,
        };
        self.lent.insert(to, (index, Instant::now()));
        let (meta, data) = self.read(index, meta, offset, bytes)?;
        self.metrics.snapshots.sent_bytes.add(data.len() as u64);
        Ok((meta, data))
    }

    fn read(
        &self,
        index: u64,
        meta: Option<SnapshotMeta>,
        offset: u64,
        bytes: usize,
    ) -> Result<(SnapshotMeta, Bytes), Unread> {
        let unread = |error| self.unread(index, &error);
        let meta = match meta {
            Some(meta) => meta,
            None => meta_of(self.store.reader(index).map_err(unread)?.header())
                .map_err(|reason| Unread::Failed(index, reason))?,
        };
        let data = self.store.read(index, offset, bytes).map_err(unread)?;
        Ok((meta, data))
    }

    /// What a failure to read snapshot `index` means. A damaged one goes out of the way, since nothing can be done with
    /// it, and would be found for the newest again.
    fn unread(&self, index: u64, error: &Error) -> Unread {
        match error {
            Error::Gone { .. } => Unread::Gone,
            Error::Corrupt { .. } => {
                let aside = match self.store.set_aside(index) {
                    Ok(aside) => format!("set aside as {aside}"),
                    Err(error) => format!("it cannot be set aside: {error}"),
                };
                Unread::Lost(format!("{}; {aside}", error.finding()))
            }
            other => Unread::Failed(index, other.to_string()),
        }
    }

    /// Writes a part of a snapshot that a leader sends; answers where the next part begins. The leader sends that when
    /// it has the answer: waiting here for the part's share of time is what holds the rate.
    fn receive(&mut self, meta: &SnapshotMeta, offset: u64, data: &Bytes) -> Result<u64, Failure> {
        let begin = Instant::now();
        if offset == 0 {
            // What a former transfer has left goes first, since it may have the same name.
            self.receiving = None;
            let writer = self.store.begin(&header(meta)).map_err(|error| error.to_string())?;
            self.receiving = Some(Receiving { meta: meta.clone(), writer, due: begin });
        }
        let receiving = self.receiving.as_mut().filter(|receiving| receiving.meta == *meta);
        let receiving = receiving.ok_or("its beginning is missing")?;
        let written = receiving.writer.written();
        if written != offset {
            return Err(format!("a part at {offset} does not follow {written}"));
        }
        receiving.writer.write(data).map_err(|error| error.to_string())?;
        let written = receiving.writer.written();
        self.metrics.snapshots.received_bytes.set(written);
        self.metrics.snapshots.received_bytes_max.set(meta.bytes);
        let share = Duration::from_secs_f64(data.len() as f64 / self.received_per_second as f64);
        // The way of this part here counts into its share.
        receiving.due = receiving.due.max(begin.checked_sub(share).unwrap_or(begin)) + share;
        if written < meta.bytes {
            thread::sleep(receiving.due.saturating_duration_since(Instant::now()).min(WAIT_MAX));
        }
        Ok(written)
    }

    /// Restores the machine of a received snapshot, and only then lets the snapshot take the place of older ones: a
    /// node that kept one which it cannot restore would never start again.
    fn finish(&mut self, meta: &SnapshotMeta) -> Result<Machine, Failure> {
        let receiving = self.receiving.take().filter(|receiving| receiving.meta == *meta);
        let receiving = receiving.ok_or("it was not received")?;
        let written = receiving.writer.written();
        if written != meta.bytes {
            return Err(format!("{written} bytes arrived of {}", meta.bytes));
        }
        let sealed = receiving.writer.seal().map_err(|error| error.to_string())?;
        let reader = sealed.reader().map_err(|error| error.to_string())?;
        let machine = restore(reader).map_err(|error| chain(&error))?;
        let published = sealed.publish().map_err(|error| error.to_string())?;
        self.metrics.snapshots.bytes.set(written);
        self.received_no_more();
        self.remove_older(published.index);
        Ok(machine)
    }

    fn reject(&mut self, meta: SnapshotMeta, reason: Failure) -> SnapshotDone {
        self.receiving = None;
        self.metrics.snapshots.failures.increment();
        self.received_no_more();
        SnapshotDone::Rejected { meta, reason }
    }

    /// Nothing is being received.
    fn received_no_more(&self) {
        self.metrics.snapshots.received_bytes.set(0);
        self.metrics.snapshots.received_bytes_max.set(0);
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// What the driver calls a snapshot of the store.
fn meta_of(header: &SnapshotHeader) -> Result<SnapshotMeta, Failure> {
    let membership = record::decode_membership(&header.membership).map_err(|error| error.to_string())?;
    Ok(SnapshotMeta {
        index: Index(header.index),
        term: Term(header.term),
        stamp: ClusterTime { millis: header.stamp },
        membership: membership.into(),
        bytes: header.bytes,
    })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use quorate_consensus::Membership;
    use quorate_log::{Log, Options};
    use quorate_machine::Limits;

    use super::*;

    /// A machine after so many entries, and its snapshot as it travels.
    fn machine_at(applied: u64) -> Bytes {
        let mut machine = Machine::new(Limits::default());
        for index in 1..=applied {
            machine.apply(index, index, None).expect("the next entry");
        }
        machine
            .snapshot()
            .fold(BytesMut::new(), |mut bytes, chunk| {
                bytes.extend_from_slice(&chunk);
                bytes
            })
            .freeze()
    }

    fn meta(index: u64, data: &Bytes) -> SnapshotMeta {
        SnapshotMeta {
            index: Index(index),
            term: Term(1),
            stamp: ClusterTime { millis: index },
            membership: Membership::of_voters([]).into(),
            bytes: data.len() as u64,
        }
    }

    /// Snapshots in a new folder, with one of their own at entry 2.
    fn with_own_snapshot(folder: &tempfile::TempDir) -> Snapshots<()> {
        let disk = OsDisk::new(folder.path().to_owned()).unwrap();
        let (log, _) = Log::open(disk, Options::new(1, "raft")).unwrap();
        let mut snapshots = Snapshots::new(
            log.snapshots(),
            crossbeam_channel::never(),
            Inlet::new(crossbeam_channel::unbounded().0),
            Arc::default(),
            1 << 30,
        );
        let received = receive(&mut snapshots, 2, &machine_at(2));
        assert!(matches!(received, SnapshotDone::Received { .. }), "{received:?}");
        snapshots
    }

    fn receive(snapshots: &mut Snapshots<()>, index: u64, data: &Bytes) -> SnapshotDone {
        let meta = meta(index, data);
        snapshots.done(SnapshotTask::Store { meta: meta.clone(), offset: 0, data: data.clone() });
        snapshots.done(SnapshotTask::Finish { meta })
    }

    fn newest(snapshots: &Snapshots<()>) -> Option<u64> {
        snapshots.store.newest().unwrap().map(|header| header.index)
    }

    #[test]
    fn a_received_snapshot_takes_the_place_of_older_ones() {
        let folder = tempfile::tempdir().unwrap();
        let mut snapshots = with_own_snapshot(&folder);
        let received = receive(&mut snapshots, 5, &machine_at(5));
        assert!(matches!(received, SnapshotDone::Received { machine, .. } if machine.applied() == 5));
        assert_eq!(newest(&snapshots), Some(5));
        assert!(snapshots.store.reader(2).is_err());
    }

    /// A snapshot was once made visible, and older ones removed, before anybody had restored it: one of a newer
    /// version was refused, but found again at the next start, which then failed for ever.
    #[test]
    fn a_snapshot_that_is_not_one_of_this_machine_leaves_everything_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let mut snapshots = with_own_snapshot(&folder);
        let mut altered = machine_at(5).to_vec();
        altered[20] ^= 1;
        for data in [Bytes::from(altered), Bytes::from_static(b"from another world"), machine_at(4)] {
            let rejected = receive(&mut snapshots, 5, &data);
            assert!(matches!(rejected, SnapshotDone::Rejected { .. }), "{rejected:?}");
            assert_eq!(newest(&snapshots), Some(2));
            let own = snapshots.store.reader(2).unwrap();
            assert_eq!(restore(own).unwrap().applied(), 2);
        }
    }

    #[test]
    fn a_snapshot_that_rots_is_set_aside_and_told_from_one_that_was_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let mut snapshots = with_own_snapshot(&folder);
        let load = |meta| SnapshotTask::Load { to: NodeId(2), meta, offset: 0, bytes: 1 };
        let replaced = meta(1, &machine_at(1));
        assert!(matches!(snapshots.done(load(Some(replaced))), SnapshotDone::Missing { .. }));
        assert!(matches!(snapshots.done(load(None)), SnapshotDone::Loaded { .. }));

        let file = folder.path().join(format!("snapshots/{:020}.snapshot", 2));
        let mut bytes = std::fs::read(&file).unwrap();
        let end = bytes.len();
        bytes[end / 2] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        assert!(matches!(snapshots.done(load(None)), SnapshotDone::Unreadable { to: NodeId(2) }));
        assert_eq!(std::fs::read(file.with_extension("damaged")).unwrap(), bytes);
        assert!(matches!(snapshots.done(load(None)), SnapshotDone::Unreadable { .. }), "there is no other");
    }

    /// A bad sector behind the first part: that part is given each time, which once counted as success.
    #[test]
    fn a_snapshot_that_the_disk_does_not_give_is_given_up_after_some_tries() {
        let folder = tempfile::tempdir().unwrap();
        let mut snapshots = with_own_snapshot(&folder);
        let known = meta(2, &machine_at(2));
        let file = folder.path().join(format!("snapshots/{:020}.snapshot", 2));
        let aside = folder.path().join("aside");
        let mut load = |is_given: bool| {
            // A name that leads to itself cannot be opened: an error of the disk.
            if !is_given {
                std::fs::rename(&file, &aside).unwrap();
                std::os::unix::fs::symlink(&file, &file).unwrap();
            }
            let load = SnapshotTask::Load { to: NodeId(2), meta: Some(known.clone()), offset: 0, bytes: 1 };
            let done = snapshots.done(load);
            if !is_given {
                std::fs::rename(&aside, &file).unwrap();
            }
            done
        };
        for _ in 1..FAILURES_MAX {
            assert!(matches!(load(false), SnapshotDone::Missing { .. }));
            assert!(matches!(load(true), SnapshotDone::Loaded { .. }));
        }
        assert!(matches!(load(false), SnapshotDone::Unreadable { .. }));
        assert!(matches!(load(false), SnapshotDone::Unreadable { .. }));
    }

    #[test]
    fn a_snapshot_is_received_no_faster_than_at_its_rate() {
        let folder = tempfile::tempdir().unwrap();
        let mut snapshots = with_own_snapshot(&folder);
        snapshots.received_per_second = 1 << 20;
        let begin = Instant::now();
        let (part, whole) = (Bytes::from(vec![0; 64 << 10]), Bytes::from(vec![0; 256 << 10]));
        for number in 0..3 {
            let stored = SnapshotTask::Store {
                meta: meta(5, &whole),
                offset: number * (64 << 10),
                data: part.clone(),
            };
            assert!(matches!(snapshots.done(stored), SnapshotDone::Stored { .. }));
        }
        assert!(begin.elapsed() >= Duration::from_millis(125));
    }
}
