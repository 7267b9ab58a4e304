//! Reading a backup from front to back, never trusting a byte of it.

use std::{io::Read, sync::Arc};

use bytes::Bytes;

use crate::{
    Error, SnapshotHeader,
    seal::{self, ENVELOPE_BYTES, Kind, LEAD_BYTES, Unsealed},
    snapshot::format::{self, BLOCK_BYTES, CRC_BYTES, FOOT, FOOT_BYTES, HEAD, HEAD_BYTES_MAX},
};

use super::label::{self, BackupLabel};

/// As much as this is left, and the next block is a full one: behind a shorter block there is only the foot.
const FULL_BLOCK_AHEAD: usize = BLOCK_BYTES + CRC_BYTES + FOOT_BYTES;

/// What is read from the source at once.
const READ_BYTES: usize = 64 << 10;

/// A backup that is being read: an iterator over the machine's data, block by block, each verified. It ends behind the
/// foot, or after the first error; only one that ends without an error was whole.
///
/// At most two blocks are held in memory.
pub struct BackupReader<R> {
    source: Source<R>,
    label: BackupLabel,
    header: SnapshotHeader,
    head_crc: u32,
    /// The number of the block that the iterator yields next; none behind the end, or an error.
    next: Option<u64>,
}

impl<R: Read> BackupReader<R> {
    /// Reads up to where the data begins. `name` is what errors call it.
    ///
    /// # Errors
    /// [`Error::BadBackup`] if it is damaged, or not one at all; [`Error::Newer`], [`Error::Io`].
    pub fn open(source: R, name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        let mut source = Source { source, name, ahead: Vec::new(), begin: 0, offset: 0, ended: false };
        let sealed = source.envelope(label::BODY_BYTES_MAX)?;
        if !sealed.starts_with(label::KIND.magic) {
            return Err(source.bad(0, "its first bytes are not those of a backup of Quorate"));
        }
        let Some((body, _)) = source.unseal(label::KIND, &sealed)? else {
            return Err(source.bad(0, "the label's checksum does not match"));
        };
        let (label, belongs_to) =
            BackupLabel::from_body(body).ok_or_else(|| source.bad(0, "the label cannot be read"))?;

        let head_at = source.offset;
        let sealed = source.envelope(HEAD_BYTES_MAX)?;
        let Some((body, head_crc)) = source.unseal(HEAD, &sealed)? else {
            return Err(source.bad(head_at, "the checksum of the snapshot's head does not match"));
        };
        let header = format::decode_head(body)
            .filter(|_| head_crc == belongs_to)
            .ok_or_else(|| source.bad(head_at, "the snapshot is not the one that the label is about"))?;
        Ok(Self { source, label, header, head_crc, next: Some(0) })
    }

    /// Whose backup it is.
    #[must_use]
    pub fn label(&self) -> &BackupLabel {
        &self.label
    }

    /// What its snapshot stands for. The size counts the data read so far.
    #[must_use]
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// How much of the backup was read and verified, in bytes.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.source.offset
    }

    fn next_block(&mut self, number: u64) -> Result<Option<Bytes>, Error> {
        let available = self.source.fill(FULL_BLOCK_AHEAD)?;
        let at = self.source.offset;
        let block_bytes = match available.checked_sub(FOOT_BYTES) {
            Some(ahead) if ahead >= BLOCK_BYTES + CRC_BYTES => BLOCK_BYTES + CRC_BYTES,
            Some(last) => last,
            None => return Err(self.source.bad(at + available as u64, "it ends too early")),
        };
        if available < FULL_BLOCK_AHEAD {
            self.check_foot(block_bytes)?;
        }
        if block_bytes == 0 {
            self.source.take(FOOT_BYTES);
            return Ok(None);
        }
        let block = self.source.take(block_bytes);
        let data = block.len().saturating_sub(CRC_BYTES);
        let crc = format::block_crc(self.head_crc, number, &block[..data]);
        if data == 0 || block[data..] != crc.to_le_bytes() {
            return Err(self.source.bad(at, "the checksum of a block does not match"));
        }
        self.header.bytes += data as u64;
        Ok(Some(block.slice(..data)))
    }

    /// Verifies the foot, behind the last block of so many bytes.
    fn check_foot(&mut self, block_bytes: usize) -> Result<(), Error> {
        let foot_at = self.source.offset + block_bytes as u64;
        let foot = Bytes::copy_from_slice(&self.source.ahead()[block_bytes..]);
        let expected = self.header.bytes + block_bytes.saturating_sub(CRC_BYTES) as u64;
        let bytes = self
            .source
            .unseal(FOOT, &foot)?
            .and_then(|(body, _)| format::decode_foot(body, self.head_crc))
            .filter(|&bytes| bytes == expected);
        match bytes {
            Some(_) => Ok(()),
            None => Err(self.source.bad(foot_at, "it ends too early, or its foot is damaged")),
        }
    }
}

impl<R: Read> Iterator for BackupReader<R> {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.next.take()?;
        let block = self.next_block(number).transpose();
        self.next = matches!(block, Some(Ok(_))).then_some(number + 1);
        block
    }
}

/// Bytes that come one after another, some of them seen ahead.
struct Source<R> {
    source: R,
    name: String,
    /// Read and not taken yet, from `begin` on.
    ahead: Vec<u8>,
    begin: usize,
    /// Where in the backup the next byte stands.
    offset: u64,
    ended: bool,
}

impl<R: Read> Source<R> {
    fn ahead(&self) -> &[u8] {
        &self.ahead[self.begin..]
    }

    /// Reads ahead until there are `wanted` bytes or no more come, and says how many there are, at most `wanted`.
    fn fill(&mut self, wanted: usize) -> Result<usize, Error> {
        while self.ahead().len() < wanted && !self.ended {
            self.ahead.drain(..self.begin);
            self.begin = 0;
            let length = self.ahead.len();
            self.ahead.resize(length + READ_BYTES, 0);
            let read = read_some(&mut self.source, &mut self.ahead[length..]);
            self.ahead.truncate(length + read.as_ref().copied().unwrap_or(0));
            self.ended = read.map_err(|source| Error::Io {
                file: self.name.clone(),
                doing: "read",
                source: Arc::new(source),
            })? == 0;
        }
        Ok(self.ahead().len().min(wanted))
    }

    /// The next bytes, which were seen ahead.
    fn take(&mut self, count: usize) -> Bytes {
        let taken = Bytes::copy_from_slice(&self.ahead()[..count]);
        self.begin += count;
        self.offset += count as u64;
        taken
    }

    /// The next envelope, as long as it says it is, or as there is.
    fn envelope(&mut self, body_bytes_max: usize) -> Result<Bytes, Error> {
        self.fill(LEAD_BYTES)?;
        let body_bytes = seal::announced_length(self.ahead()).unwrap_or(0).min(body_bytes_max);
        let available = self.fill(body_bytes + ENVELOPE_BYTES)?;
        Ok(self.take(available))
    }

    fn unseal<'a>(&self, kind: Kind, bytes: &'a [u8]) -> Result<Option<(&'a [u8], u32)>, Error> {
        match seal::unseal(kind, bytes) {
            Unsealed::Body(body, crc) => Ok(Some((body, crc))),
            Unsealed::Newer(found) => {
                Err(Error::Newer { file: self.name.clone(), found, known: kind.version })
            }
            Unsealed::Damaged => Ok(None),
        }
    }

    fn bad(&self, offset: u64, detail: &'static str) -> Error {
        Error::BadBackup { file: self.name.clone(), offset, detail }
    }
}

/// Reads what there is, also when a signal comes in between.
fn read_some(source: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
