//! Reading a snapshot, never trusting a byte of it.

use std::io;

use bytes::{Bytes, BytesMut};

use crate::{
    Disk, DiskFile, Error, SnapshotHeader,
    error::About,
    seal::{self, ENVELOPE_BYTES, Kind, LEAD_BYTES, Unsealed},
};

use super::format::{self, BLOCK_BYTES, CRC_BYTES, FOOT, FOOT_BYTES, HEAD, HEAD_BYTES_MAX};

/// An open snapshot: an iterator over its data, block by block, each verified. Ends after the first error.
pub struct SnapshotReader<D: Disk> {
    disk: D,
    file: D::File,
    name: String,
    header: SnapshotHeader,
    head_bytes: u64,
    head_crc: u32,
    /// The block that the iterator yields next.
    next: u64,
}

impl<D: Disk> SnapshotReader<D> {
    /// Opens the file called `name`, which must be that of snapshot `index`.
    pub(super) fn open(disk: D, index: u64, name: String) -> Result<Self, Error> {
        let file = match disk.open(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Gone { index, folder: disk.path("") });
            }
            result => result.about(&disk, &name, "open")?,
        };
        let head = read_head(&disk, &file, &name)?;
        let corrupt = |offset, detail: &str| corrupt(&disk, &name, offset, detail);
        let Some((body, head_crc)) = unseal(&disk, &name, HEAD, &head)? else {
            return Err(corrupt(0, "the head's checksum does not match"));
        };
        let header = format::decode_head(body)
            .filter(|header| header.index == index)
            .ok_or_else(|| corrupt(0, "the head is not that of this snapshot"))?;
        let head_bytes = (body.len() + ENVELOPE_BYTES) as u64;

        let length = file.len().about(&disk, &name, "measure")?;
        let foot_at = length.saturating_sub(FOOT_BYTES as u64);
        let mut foot = [0; FOOT_BYTES];
        file.read_at(foot_at, &mut foot).about(&disk, &name, "read")?;
        let bytes = unseal(&disk, &name, FOOT, &foot)?
            .and_then(|(body, _)| format::decode_foot(body, head_crc))
            .filter(|&bytes| format::file_bytes(head_bytes, bytes) == Some(length))
            .ok_or_else(|| corrupt(foot_at, "the foot is unreadable or belongs to another snapshot"))?;
        let header = SnapshotHeader { bytes, ..header };
        Ok(Self { disk, file, name, header, head_bytes, head_crc, next: 0 })
    }

    /// What the snapshot is.
    #[must_use]
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// Reads everything once.
    pub(super) fn verify(self) -> Result<SnapshotHeader, Error> {
        let header = self.header.clone();
        for block in self {
            block?;
        }
        Ok(header)
    }

    pub(super) fn read(&self, offset: u64, len: usize) -> Result<Bytes, Error> {
        let end = offset.saturating_add(len as u64).min(self.header.bytes);
        let mut bytes = BytesMut::new();
        let mut at = offset;
        while at < end {
            let number = at / BLOCK_BYTES as u64;
            let block = self.block(number)?;
            let start = number * BLOCK_BYTES as u64;
            let from = (at - start) as usize;
            let to = ((end - start) as usize).min(block.len());
            bytes.extend_from_slice(&block[from..to]);
            at = start + to as u64;
        }
        Ok(bytes.freeze())
    }

    /// The data of block `number`, which must be one of the file's.
    fn block(&self, number: u64) -> Result<Bytes, Error> {
        let left = self.header.bytes - number * BLOCK_BYTES as u64;
        let data_bytes = usize::try_from(left).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
        let offset = self.head_bytes + number * (BLOCK_BYTES + CRC_BYTES) as u64;
        let mut block = vec![0; data_bytes + CRC_BYTES];
        self.file.read_at(offset, &mut block).about(&self.disk, &self.name, "read")?;
        let crc = format::block_crc(self.head_crc, number, &block[..data_bytes]);
        if block[data_bytes..] != crc.to_le_bytes() {
            return Err(corrupt(&self.disk, &self.name, offset, "a block's checksum does not match"));
        }
        block.truncate(data_bytes);
        Ok(block.into())
    }
}

impl<D: Disk> Iterator for SnapshotReader<D> {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let blocks = format::blocks(self.header.bytes);
        if self.next >= blocks {
            return None;
        }
        let block = self.block(self.next);
        self.next = if block.is_ok() { self.next + 1 } else { blocks };
        Some(block)
    }
}

/// The head's bytes, as long as it says it is.
fn read_head<D: Disk>(disk: &D, file: &D::File, name: &str) -> Result<Vec<u8>, Error> {
    let mut lead = [0; LEAD_BYTES];
    file.read_at(0, &mut lead).about(disk, name, "read")?;
    let length = seal::announced_length(&lead).unwrap_or(0).min(HEAD_BYTES_MAX) + ENVELOPE_BYTES;
    let mut head = vec![0; length];
    file.read_at(0, &mut head).about(disk, name, "read")?;
    Ok(head)
}

fn unseal<'a>(
    disk: &impl Disk,
    name: &str,
    kind: Kind,
    bytes: &'a [u8],
) -> Result<Option<(&'a [u8], u32)>, Error> {
    match seal::unseal(kind, bytes) {
        Unsealed::Body(body, crc) => Ok(Some((body, crc))),
        Unsealed::Newer(found) => Err(Error::Newer { file: disk.path(name), found, known: kind.version }),
        Unsealed::Damaged => Ok(None),
    }
}

fn corrupt(disk: &impl Disk, name: &str, offset: u64, detail: &str) -> Error {
    Error::Corrupt { file: disk.path(name), offset, detail: detail.to_owned() }
}
