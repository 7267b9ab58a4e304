//! The thread that writes and reads snapshots, so that their size delays neither the shard nor the log.
//!
//! Tasks are done first in, first out. A snapshot is visible once it is complete and durable; before that, a crash or
//! an error leaves nothing behind. Errors here are never fatal: the log still holds what the snapshot would have
//! held, and a transfer begins anew.

use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::Receiver;
use quorate_consensus::{ClusterTime, Index, SnapshotMeta, Term};
use quorate_log::{Error, OsDisk, SnapshotHeader, SnapshotStore, SnapshotWriter};
use quorate_machine::Snapshot;
use quorate_node::{Input, SnapshotDone, SnapshotTask, header, record};

use crate::inlet::Inlet;

/// The store with what it needs to work on a thread of its own.
pub(crate) struct Snapshots {
    store: SnapshotStore<OsDisk>,
    tasks: Receiver<SnapshotTask>,
    inlet: Inlet,
    /// The snapshot that a leader is sending.
    receiving: Option<Receiving>,
    /// The snapshot that was last read for a peer, and when.
    lent: Option<(u64, Instant)>,
}

/// A snapshot that a peer is being sent stays until nothing of it was read for so long: otherwise a node that
/// makes snapshots faster than it sends them would never finish.
const LENT: Duration = Duration::from_secs(10);

struct Receiving {
    meta: SnapshotMeta,
    writer: SnapshotWriter<OsDisk>,
}

/// Why a task failed, in words for the log.
type Failure = String;

impl Snapshots {
    /// Works on `store`, takes `tasks` until their sender is gone, and reports to `inlet`.
    pub(crate) fn new(store: SnapshotStore<OsDisk>, tasks: Receiver<SnapshotTask>, inlet: Inlet) -> Self {
        Self { store, tasks, inlet, receiving: None, lent: None }
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
                Err(error) => SnapshotDone::MakeFailed { reason: error.to_string() },
            },
            SnapshotTask::Load { to, meta, offset, bytes } => match self.load(meta, offset, bytes) {
                Ok((meta, data)) => SnapshotDone::Loaded { to, meta, offset, data },
                Err(reason) => {
                    tracing::warn!("no snapshot for {to}: {reason}");
                    SnapshotDone::Missing { to }
                }
            },
            SnapshotTask::Store { meta, offset, data } => match self.receive(&meta, offset, &data) {
                Ok(end) => SnapshotDone::Stored { meta, end },
                Err(reason) => self.reject(meta, reason),
            },
            SnapshotTask::Finish { meta } => match self.finish(&meta) {
                Ok(chunks) => SnapshotDone::Received { meta, chunks },
                Err(reason) => self.reject(meta, reason),
            },
        }
    }

    /// Writes a snapshot of this node's own machine, and removes those that it replaces.
    fn make(&self, meta: SnapshotMeta, snapshot: Snapshot) -> Result<SnapshotMeta, Error> {
        let mut writer = self.store.begin(&header(&meta))?;
        for chunk in snapshot {
            writer.write(&chunk)?;
        }
        let made = writer.finish()?;
        self.remove_older(made.index);
        Ok(SnapshotMeta { bytes: made.bytes, ..meta })
    }

    fn remove_older(&self, index: u64) {
        let lent = self.lent.filter(|(_, read)| read.elapsed() < LENT);
        let index = lent.map_or(index, |(lent, _)| lent.min(index));
        if let Err(error) = self.store.remove_older_than(index) {
            tracing::warn!("old snapshots could not be removed: {error}");
        }
    }

    /// Reads a part of the snapshot `meta`, or of the newest.
    fn load(
        &mut self,
        meta: Option<SnapshotMeta>,
        offset: u64,
        bytes: usize,
    ) -> Result<(SnapshotMeta, Bytes), Failure> {
        let meta = match meta {
            Some(meta) => meta,
            None => self.newest()?,
        };
        self.lent = Some((meta.index.0, Instant::now()));
        let data = self.store.read(meta.index.0, offset, bytes).map_err(|error| error.to_string())?;
        Ok((meta, data))
    }

    fn newest(&self) -> Result<SnapshotMeta, Failure> {
        let newest = self.store.newest().map_err(|error| error.to_string())?;
        let newest = newest.ok_or("there is none yet")?;
        meta_of(&newest)
    }

    /// Writes a part of a snapshot that a leader sends; answers where the next part begins.
    fn receive(&mut self, meta: &SnapshotMeta, offset: u64, data: &Bytes) -> Result<u64, Failure> {
        if offset == 0 {
            // What a former transfer has left goes first, since it may have the same name.
            self.receiving = None;
            let writer = self.store.begin(&header(meta)).map_err(|error| error.to_string())?;
            self.receiving = Some(Receiving { meta: meta.clone(), writer });
        }
        let receiving = self.receiving.as_mut().filter(|receiving| receiving.meta == *meta);
        let receiving = receiving.ok_or("its beginning is missing")?;
        let written = receiving.writer.written();
        if written != offset {
            return Err(format!("a part at {offset} does not follow {written}"));
        }
        receiving.writer.write(data).map_err(|error| error.to_string())?;
        Ok(receiving.writer.written())
    }

    /// Makes a received snapshot durable, and reads it back, verified.
    fn finish(&mut self, meta: &SnapshotMeta) -> Result<Vec<Bytes>, Failure> {
        let receiving = self.receiving.take().filter(|receiving| receiving.meta == *meta);
        let receiving = receiving.ok_or("it was not received")?;
        let written = receiving.writer.written();
        if written != meta.bytes {
            return Err(format!("{written} bytes arrived of {}", meta.bytes));
        }
        let made = receiving.writer.finish().map_err(|error| error.to_string())?;
        let reader = self.store.reader(made.index).map_err(|error| error.to_string())?;
        let chunks = reader.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        self.remove_older(made.index);
        Ok(chunks)
    }

    fn reject(&mut self, meta: SnapshotMeta, reason: Failure) -> SnapshotDone {
        self.receiving = None;
        SnapshotDone::Rejected { meta, reason }
    }
}

/// What the driver calls a snapshot of the store.
fn meta_of(header: &SnapshotHeader) -> Result<SnapshotMeta, Failure> {
    let membership = record::decode_membership(&header.membership).map_err(|error| error.to_string())?;
    Ok(SnapshotMeta {
        index: Index(header.index),
        term: Term(header.term),
        stamp: ClusterTime { millis: header.stamp },
        membership,
        bytes: header.bytes,
    })
}
