//! The snapshot thread of a node: takes its tasks in order, one at a time, and reports each.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use quorate_consensus::{ClusterTime, Index, NodeId, SnapshotMeta, Term};
use quorate_log::{Error, SnapshotHeader, SnapshotStore, SnapshotWriter};
use quorate_machine::{ClusterVersion, Machine};
use quorate_node::{SnapshotDone, SnapshotTask, header, record, restore_up_to};

use crate::{disk::SimDisk, time::SimTime};

/// What waits, and the snapshot that is being received.
pub(super) struct Keeper {
    pub(super) queue: VecDeque<SnapshotTask>,
    /// Whether a task is under way.
    pub(super) busy: bool,
    store: SnapshotStore<SimDisk>,
    /// The newest cluster version that this node knows.
    build: ClusterVersion,
    incoming: Option<(SnapshotMeta, SnapshotWriter<SimDisk>)>,
    /// The snapshot that was last read for each peer, and when.
    lent: BTreeMap<NodeId, (u64, SimTime)>,
    /// What was wrong with a snapshot that the last task had to read, and has set aside.
    pub(super) found_rot: Option<String>,
}

/// A snapshot that a peer is being sent stays until nothing of it was read for so long, as in the server.
const LENT: Duration = Duration::from_secs(10);

impl Keeper {
    pub(super) fn new(store: SnapshotStore<SimDisk>, build: ClusterVersion) -> Self {
        let (queue, lent) = (VecDeque::new(), BTreeMap::new());
        Self { queue, busy: false, store, build, incoming: None, lent, found_rot: None }
    }

    /// Does the next task, all at once. What the driver is told when it is over.
    pub(super) fn work(&mut self, now: SimTime) -> Option<SnapshotDone> {
        Some(match self.queue.pop_front()? {
            SnapshotTask::Make { meta, snapshot } => self
                .make(now, &meta, *snapshot)
                .unwrap_or_else(|error| SnapshotDone::MakeFailed { reason: error.to_string() }),
            SnapshotTask::Load { to, meta, offset, bytes } => match self.load(now, to, meta, offset, bytes) {
                Ok(Some((meta, data))) => SnapshotDone::Loaded { to, meta, offset, data },
                Ok(None) => SnapshotDone::Unreadable { to },
                Err(error @ Error::Corrupt { .. }) => {
                    self.found_rot = Some(error.to_string());
                    SnapshotDone::Unreadable { to }
                }
                Err(_) => SnapshotDone::Missing { to },
            },
            SnapshotTask::Store { meta, offset, data } => match self.store(&meta, offset, &data) {
                Ok(end) => SnapshotDone::Stored { meta, end },
                Err(reason) => self.reject(meta, reason),
            },
            SnapshotTask::Finish { meta } => match self.finish(now, &meta) {
                Ok(machine) => SnapshotDone::Received { meta, machine: Box::new(machine) },
                Err(reason) => self.reject(meta, reason),
            },
        })
    }

    fn make(
        &self,
        now: SimTime,
        meta: &SnapshotMeta,
        snapshot: quorate_machine::Snapshot,
    ) -> Result<SnapshotDone, Error> {
        let mut writer = self.store.begin(&header(meta))?;
        for chunk in snapshot {
            writer.write(&chunk)?;
        }
        let made = writer.finish()?;
        self.remove_older(now, made.index)?;
        Ok(SnapshotDone::Made { meta: SnapshotMeta { bytes: made.bytes, ..meta.clone() } })
    }

    fn remove_older(&self, now: SimTime, index: u64) -> Result<(), Error> {
        let lent = self.lent.values().filter(|(_, read)| now.since(*read) < LENT);
        let index = lent.map(|&(lent, _)| lent).chain([index]).min().unwrap_or(index);
        self.store.remove_older_than(index)
    }

    fn load(
        &mut self,
        now: SimTime,
        to: NodeId,
        wanted: Option<SnapshotMeta>,
        offset: u64,
        bytes: usize,
    ) -> Result<Option<(SnapshotMeta, bytes::Bytes)>, Error> {
        let newest = || self.store.newest_index();
        let Some(index) = wanted.as_ref().map_or_else(newest, |meta| Ok(Some(meta.index.0)))? else {
            return Ok(None);
        };
        self.lent.insert(to, (index, now));
        let read = self.read(index, wanted, offset, bytes);
        if let Err(Error::Corrupt { .. }) = read {
            self.store.set_aside(index)?;
        }
        read.map(Some)
    }

    fn read(
        &self,
        index: u64,
        wanted: Option<SnapshotMeta>,
        offset: u64,
        bytes: usize,
    ) -> Result<(SnapshotMeta, bytes::Bytes), Error> {
        let meta = match wanted {
            Some(meta) => meta,
            None => meta_of(self.store.reader(index)?.header()),
        };
        Ok((meta, self.store.read(index, offset, bytes)?))
    }

    /// The snapshot that the next task reads, if it reads one.
    pub(super) fn is_about_to_read(&self) -> Option<u64> {
        match self.queue.front()? {
            SnapshotTask::Load { meta: Some(meta), .. } => Some(meta.index.0),
            SnapshotTask::Load { meta: None, .. } => self.store.newest_index().ok().flatten(),
            SnapshotTask::Make { .. } | SnapshotTask::Store { .. } | SnapshotTask::Finish { .. } => None,
        }
    }

    fn store(&mut self, meta: &SnapshotMeta, offset: u64, data: &[u8]) -> Result<u64, String> {
        if offset == 0 {
            self.incoming = None;
            let writer = self.store.begin(&header(meta)).map_err(|error| error.to_string())?;
            self.incoming = Some((meta.clone(), writer));
        }
        match &mut self.incoming {
            Some((coming, writer)) if coming == meta && writer.written() == offset => {
                writer.write(data).map_err(|error| error.to_string())?;
                Ok(writer.written())
            }
            Some(_) | None => Err("the chunk does not follow the one before".to_owned()),
        }
    }

    fn finish(&mut self, now: SimTime, meta: &SnapshotMeta) -> Result<Machine, String> {
        let (coming, writer) = self.incoming.take().ok_or("no snapshot was begun")?;
        if coming != *meta || writer.written() != meta.bytes {
            return Err(format!("{} of {} bytes have arrived", writer.written(), meta.bytes));
        }
        let sealed = writer.seal().map_err(|error| error.to_string())?;
        let reader = sealed.reader().map_err(|error| error.to_string())?;
        let machine = restore_up_to(reader, self.build).map_err(|error| error.to_string())?;
        let published = sealed.publish().map_err(|error| error.to_string())?;
        self.remove_older(now, published.index).map_err(|error| error.to_string())?;
        Ok(machine)
    }

    fn reject(&mut self, meta: SnapshotMeta, reason: String) -> SnapshotDone {
        self.incoming = None;
        SnapshotDone::Rejected { meta, reason }
    }
}

/// What the engine calls a snapshot.
pub(super) fn meta_of(header: &SnapshotHeader) -> SnapshotMeta {
    SnapshotMeta {
        index: Index(header.index),
        term: Term(header.term),
        stamp: ClusterTime { millis: header.stamp },
        membership: record::decode_membership(&header.membership)
            .expect("a configuration that this node wrote")
            .into(),
        bytes: header.bytes,
    }
}
