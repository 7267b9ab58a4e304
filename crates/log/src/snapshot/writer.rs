//! Writing a snapshot aside.

use quorate_bug::{self as bug, Bug};

use crate::{Disk, DiskFile, Error, SnapshotHeader, error::About};

use super::{COMPLETE, PARTIAL, SnapshotReader, encoder::Encoder, format::BLOCK_BYTES, name};

/// A large snapshot is synced bit by bit: one long sync at its end would make the log's own syncs wait behind it.
const SYNC_EVERY_BYTES: u64 = 16 * BLOCK_BYTES as u64;

/// A snapshot in the making. Dropping it unfinished removes what was written.
pub struct SnapshotWriter<D: Disk> {
    disk: D,
    file: D::File,
    header: SnapshotHeader,
    partial: String,
    encoder: Encoder,
    /// Where the next block goes.
    offset: u64,
    finished: bool,
}

impl<D: Disk> SnapshotWriter<D> {
    pub(super) fn begin(disk: D, header: SnapshotHeader) -> Result<Self, Error> {
        let (encoder, head) = Encoder::begin(&header)?;
        let partial = name(header.index, PARTIAL);
        let file = disk.create(&partial).about(&disk, &partial, "create")?;
        let mut this = Self { disk, file, header, partial, encoder, offset: 0, finished: false };
        this.put(&head)?;
        Ok(this)
    }

    /// Adds data. Not durable before [`finish`](Self::finish).
    ///
    /// # Errors
    /// [`Error::NoRoom`], [`Error::Io`]. The snapshot must then be given up.
    pub fn write(&mut self, mut data: &[u8]) -> Result<(), Error> {
        while !data.is_empty() {
            if let Some(block) = self.encoder.add(&mut data) {
                self.put(&block)?;
                if self.encoder.written().is_multiple_of(SYNC_EVERY_BYTES) {
                    self.file.sync_data().about(&self.disk, &self.partial, "sync")?;
                }
            }
        }
        Ok(())
    }

    /// The bytes of data so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.encoder.written()
    }

    /// Makes the snapshot durable and visible, and says what it is.
    ///
    /// # Errors
    /// Those of [`seal`](Self::seal) and [`SealedSnapshot::publish`].
    pub fn finish(self) -> Result<SnapshotHeader, Error> {
        self.seal()?.publish()
    }

    /// Makes the snapshot complete and durable, but leaves it invisible: it can be read and judged first.
    ///
    /// # Errors
    /// [`Error::NoRoom`], [`Error::Io`]. Then it is not there.
    pub fn seal(mut self) -> Result<SealedSnapshot<D>, Error> {
        let end = self.encoder.finish();
        self.put(&end)?;
        self.header.bytes = self.encoder.written();
        self.file.sync_data().about(&self.disk, &self.partial, "sync")?;
        Ok(SealedSnapshot(self))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_at(self.offset, bytes).about(&self.disk, &self.partial, "write")?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

/// A snapshot that is complete and durable, and that nobody sees yet: a restart forgets it. Dropping it
/// unpublished removes it.
pub struct SealedSnapshot<D: Disk>(SnapshotWriter<D>);

impl<D: Disk> SealedSnapshot<D> {
    /// All its data, verified, as [`SnapshotStore::reader`](super::SnapshotStore::reader) gives it of a visible one.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`].
    pub fn reader(&self) -> Result<SnapshotReader<D>, Error> {
        SnapshotReader::open(self.0.disk.clone(), self.0.header.index, self.0.partial.clone())
    }

    /// Makes it visible for good, in the place of one of the same index, and says what it is.
    ///
    /// # Errors
    /// [`Error::Io`]. Then it is either not there or, if the very last step failed, visible but perhaps gone after
    /// a power cut.
    pub fn publish(mut self) -> Result<SnapshotHeader, Error> {
        let Self(writer) = &mut self;
        let complete = name(writer.header.index, COMPLETE);
        writer.disk.rename(&writer.partial, &complete).about(&writer.disk, &complete, "rename")?;
        writer.finished = true;
        if !bug::on(Bug::UnsyncedName) {
            writer.disk.sync_directory().about(&writer.disk, &complete, "sync")?;
        }
        Ok(writer.header.clone())
    }
}

impl<D: Disk> Drop for SnapshotWriter<D> {
    fn drop(&mut self) {
        if !self.finished {
            // Recovery and the next attempt remove it as well, so a failure costs room for a while.
            let _ = self.disk.remove(&self.partial);
        }
    }
}
