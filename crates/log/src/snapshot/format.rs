//! The bytes of a snapshot file: a head, blocks, a foot.
//!
//! The head is an envelope with what the snapshot stands for. Each block but the last has [`BLOCK_BYTES`] of
//! data, then a checksum that covers the head's checksum, the block's number and the data: a block is valid in
//! one place of one snapshot. The foot is an envelope with the size of the data and the head's checksum.

use bytes::{Buf, BufMut, Bytes};

use crate::{
    SnapshotHeader,
    seal::{self, ENVELOPE_BYTES, Kind, NUMBER_MAX},
};

/// The data in a block: what is read and verified at once.
pub(crate) const BLOCK_BYTES: usize = 64 << 10;

/// A block's checksum.
pub(crate) const CRC_BYTES: usize = 4;

/// The largest head in bytes. It bounds the membership, and what a damaged length can make us read.
pub(crate) const HEAD_BYTES_MAX: usize = 1 << 20;

/// The foot's length.
pub(crate) const FOOT_BYTES: usize = ENVELOPE_BYTES + 12;

pub(crate) const HEAD: Kind = Kind { magic: b"quor-snp", version: 1 };
pub(crate) const FOOT: Kind = Kind { magic: b"quor-end", version: 1 };

pub(crate) fn encode_head(header: &SnapshotHeader) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u64_le(header.index);
    body.put_u64_le(header.term);
    body.put_u64_le(header.stamp);
    body.put_slice(&header.membership);
    seal::seal(HEAD, &body)
}

/// The header, but for its size.
pub(crate) fn decode_head(mut body: &[u8]) -> Option<SnapshotHeader> {
    let header = SnapshotHeader {
        index: body.try_get_u64_le().ok()?,
        term: body.try_get_u64_le().ok()?,
        stamp: body.try_get_u64_le().ok()?,
        membership: Bytes::copy_from_slice(body),
        bytes: 0,
    };
    (header.index <= NUMBER_MAX).then_some(header)
}

pub(crate) fn encode_foot(bytes: u64, head_crc: u32) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u64_le(bytes);
    body.put_u32_le(head_crc);
    seal::seal(FOOT, &body)
}

/// The size of the data, if the foot belongs to the head with this checksum.
pub(crate) fn decode_foot(mut body: &[u8], head_crc: u32) -> Option<u64> {
    let bytes = body.try_get_u64_le().ok()?;
    (body.try_get_u32_le().ok()? == head_crc).then_some(bytes)
}

pub(crate) fn block_crc(head_crc: u32, number: u64, data: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&head_crc.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
    crc32c::crc32c_append(crc, data)
}

/// The number of blocks that `bytes` of data take.
pub(crate) fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES as u64)
}

/// The length of a file with `bytes` of data; `None` if that is no sensible number.
pub(crate) fn file_bytes(head_bytes: u64, bytes: u64) -> Option<u64> {
    let checksums = blocks(bytes).checked_mul(CRC_BYTES as u64)?;
    head_bytes.checked_add(bytes)?.checked_add(checksums)?.checked_add(FOOT_BYTES as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/log-format.md` draws these bytes: they change only together with the format version.
    #[test]
    fn golden_bytes_of_head_and_foot() {
        let header =
            SnapshotHeader { index: 1, term: 2, stamp: 3, membership: Bytes::from_static(b"abc"), bytes: 0 };
        let mut expected = b"quor-snp\x01\0\0\0\x1b\0\0\0".to_vec();
        for number in 1..=3_u64 {
            expected.extend_from_slice(&number.to_le_bytes());
        }
        expected.extend_from_slice(b"abc");
        let crc = crc32c::crc32c(&expected);
        expected.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(encode_head(&header), expected);

        let mut expected = b"quor-end\x01\0\0\0\x0c\0\0\0\x07\0\0\0\0\0\0\0\x08\0\0\0".to_vec();
        let crc = crc32c::crc32c(&expected);
        expected.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(encode_foot(7, 8), expected);
        assert_eq!(expected.len(), FOOT_BYTES);
    }

    #[test]
    fn golden_checksum_of_a_block() {
        let covered = [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'd', b'a'];
        assert_eq!(block_crc(1, 2, b"da"), crc32c::crc32c(&covered));
    }
}
