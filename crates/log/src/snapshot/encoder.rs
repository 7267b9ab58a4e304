//! From data to the bytes of a snapshot file, wherever these go: a file of the store, or a backup.

use crate::{Error, SnapshotHeader};

use super::format::{self, BLOCK_BYTES, CRC_BYTES, HEAD_BYTES_MAX};

/// Cuts data into blocks and seals them. What it gives is the file, if put together in order.
pub(crate) struct Encoder {
    head_crc: u32,
    /// The data in blocks that were given away.
    bytes: u64,
    /// The data of the block that is not full yet.
    block: Vec<u8>,
}

impl Encoder {
    /// Begins with the head. [`SnapshotHeader::bytes`] is not looked at.
    ///
    /// # Errors
    /// [`Error::Refused`] if the membership is too large for a head.
    pub(crate) fn begin(header: &SnapshotHeader) -> Result<(Self, Vec<u8>), Error> {
        let head = format::encode_head(header);
        if head.len() > HEAD_BYTES_MAX {
            return Err(Error::Refused {
                what: format!("a membership of {} bytes", header.membership.len()),
                why: format!("must leave a snapshot's head below {HEAD_BYTES_MAX} bytes"),
            });
        }
        let (_, head_crc) = head.split_last_chunk().expect("an envelope ends with its checksum");
        let head_crc = u32::from_le_bytes(*head_crc);
        Ok((Self { head_crc, bytes: 0, block: empty_block() }, head))
    }

    /// The checksum of the head, by which the blocks belong to it.
    pub(crate) fn head_crc(&self) -> u32 {
        self.head_crc
    }

    /// The bytes of data so far.
    pub(crate) fn written(&self) -> u64 {
        self.bytes + self.block.len() as u64
    }

    /// Takes from `data` what the present block has room for, and gives the block once it is full.
    pub(crate) fn add(&mut self, data: &mut &[u8]) -> Option<Vec<u8>> {
        let count = data.len().min(BLOCK_BYTES - self.block.len());
        let (head, rest) = data.split_at(count);
        self.block.extend_from_slice(head);
        *data = rest;
        (self.block.len() == BLOCK_BYTES).then(|| self.seal_block())
    }

    /// The end of the file: what is left of the data, and the foot.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut end = if self.block.is_empty() { Vec::new() } else { self.seal_block() };
        end.extend(format::encode_foot(self.bytes, self.head_crc));
        end
    }

    fn seal_block(&mut self) -> Vec<u8> {
        let number = self.bytes / BLOCK_BYTES as u64;
        let crc = format::block_crc(self.head_crc, number, &self.block);
        self.bytes += self.block.len() as u64;
        let mut block = std::mem::replace(&mut self.block, empty_block());
        block.extend_from_slice(&crc.to_le_bytes());
        block
    }
}

fn empty_block() -> Vec<u8> {
    Vec::with_capacity(BLOCK_BYTES + CRC_BYTES)
}
