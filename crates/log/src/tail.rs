//! The end of the log: the segment that is being written, and the batch that is not yet written.

use crate::{
    Disk, DiskFile, Error,
    error::About,
    record::Record,
    segment::{self, Header},
};

/// The segment that is being written.
pub(crate) struct Tail<F> {
    file: F,
    name: String,
    /// Where in the log the segment begins.
    begin: u64,
    /// Records end before this offset of the file.
    file_bytes: u64,
    /// Encoded and not yet written; belongs at `offset`. Its memory is used again for each batch.
    buffer: Vec<u8>,
    offset: u64,
    /// The end of the log, `buffer` included.
    position: u64,
    /// The checksum of the last record.
    chain: u32,
    /// Whether something was written since the last sync.
    dirty: bool,
}

impl<F: DiskFile> Tail<F> {
    /// Goes on in a segment after its last record, at `position` and with the checksum `chain`.
    pub(crate) fn resume(file: F, header: &Header, position: u64, chain: u32) -> Self {
        Self {
            file,
            name: segment::name(header.number),
            begin: header.first_position,
            file_bytes: header.bytes,
            buffer: Vec::new(),
            offset: header.offset_of(position),
            position,
            chain,
            dirty: false,
        }
    }

    /// The end of the log, including what is not yet written.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Where in the log the segment begins.
    pub(crate) fn segment_begin(&self) -> u64 {
        self.begin
    }

    /// The checksum of the last record.
    pub(crate) fn chain(&self) -> u32 {
        self.chain
    }

    /// Whether `bytes` more fit into the segment.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        self.offset + self.buffer.len() as u64 + bytes <= self.file_bytes
    }

    /// Whether more than half of the segment is taken.
    pub(crate) fn is_half_full(&self) -> bool {
        self.offset > self.file_bytes / 2
    }

    /// What part of `whole` is as much as is taken of the segment.
    pub(crate) fn taken_of(&self, whole: u64) -> u64 {
        let part = u128::from(whole) * u128::from(self.offset) / u128::from(self.file_bytes);
        u64::try_from(part).unwrap_or(whole)
    }

    /// Adds a record to the batch.
    pub(crate) fn append(&mut self, record: &Record) {
        let bytes = record.encoded_bytes();
        assert!(
            self.fits(bytes),
            "a record of {bytes} bytes exceeds the segment of {} bytes",
            self.file_bytes
        );
        self.chain = record.encode(self.position, self.chain, &mut self.buffer);
        self.position += bytes;
    }

    /// Gives the batch to the operating system, in one write.
    pub(crate) fn flush(&mut self, disk: &impl Disk) -> Result<(), Error> {
        if !self.buffer.is_empty() {
            self.dirty = true;
            self.file.write_at(self.offset, &self.buffer).about(disk, &self.name, "write")?;
            self.offset += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Goes on in a new segment; answers the file of the old one if it has to be synced. The header joins the
    /// first batch. The batch before must have been flushed.
    pub(crate) fn move_to(&mut self, file: F, header: &Header) -> Option<(String, F)> {
        assert!(self.buffer.is_empty(), "{} bytes of the old segment are not written", self.buffer.len());
        let was_dirty = std::mem::replace(&mut self.dirty, false);
        let old = std::mem::replace(&mut self.file, file);
        let old_name = std::mem::replace(&mut self.name, segment::name(header.number));
        self.begin = header.first_position;
        self.file_bytes = header.bytes;
        self.buffer.extend_from_slice(&header.encode());
        self.offset = 0;
        was_dirty.then_some((old_name, old))
    }

    /// Makes all that was flushed durable.
    pub(crate) fn sync(&mut self, disk: &impl Disk) -> Result<(), Error> {
        if self.dirty {
            self.file.sync_data().about(disk, &self.name, "sync")?;
            self.dirty = false;
        }
        Ok(())
    }
}
