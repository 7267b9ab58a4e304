//! Records: what a segment consists of after its header.
//!
//! ```text
//! length u32 | crc u32 | previous u32 | shard u32 | kind u8 | 0 (3) | body (length)
//! ```
//!
//! All numbers are little-endian. `crc` is the crc32c of the record's position (u64), then of everything in it
//! but `crc` itself; `previous` is the `crc` of the record before. So a record is valid at one place behind one
//! predecessor only: what is left of an older tail can not be taken for the continuation of a new one. And
//! since `previous` is stored, a record can be recognised even where the one before it is unreadable, which
//! is how recovery finds the durable marks behind a damaged place.

use bytes::{Buf, BufMut, Bytes};
use quorate_bug::{self as bug, Bug};

use crate::{HardState, LogEntry, seal::u32_at};

/// The bytes of a record before its body.
pub(crate) const HEADER_BYTES: usize = 20;

/// The bytes of an entry's record that are not its payload.
pub(crate) const ENTRY_OVERHEAD_BYTES: u64 = HEADER_BYTES as u64 + 25;

/// The bytes of a durable mark's record.
const MARK_BYTES: u64 = HEADER_BYTES as u64 + 16;

/// Records carry their shard from the first version on; there is one today.
const SHARD: u32 = 0;

const KIND_MARK: u8 = 1;
const KIND_HARD_STATE: u8 = 2;
const KIND_TRUNCATE: u8 = 3;
const KIND_ENTRY: u8 = 4;
const KIND_RESET: u8 = 5;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// Everything before position `durable` was durable when this was written, in this incarnation of the node.
    /// The incarnation makes the first record after an open unlike any that stood there before: what an earlier
    /// run may have left behind it never fits, even if the disk lost the zeros that recovery wrote over it.
    Mark { durable: u64, incarnation: u64 },
    /// Term, vote and commit from here on.
    HardState(HardState),
    /// The entries from this index on are gone.
    Truncate { from: u64 },
    /// One more entry.
    Entry(LogEntry),
    /// A snapshot has taken the place of the log: it is empty, and goes on after `index`.
    Reset { index: u64, term: u64 },
}

/// A valid record, and what is needed to read the next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) record: Record,
    /// The `previous` of the next record.
    pub(crate) crc: u32,
    /// The bytes that the record takes.
    pub(crate) bytes: usize,
}

impl Record {
    fn kind(&self) -> u8 {
        match self {
            Self::Mark { .. } => KIND_MARK,
            Self::HardState(_) => KIND_HARD_STATE,
            Self::Truncate { .. } => KIND_TRUNCATE,
            Self::Entry(_) => KIND_ENTRY,
            Self::Reset { .. } => KIND_RESET,
        }
    }

    /// The bytes that the record will take.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        match self {
            Self::Mark { .. } => MARK_BYTES,
            Self::HardState(_) => HEADER_BYTES as u64 + 24,
            Self::Truncate { .. } => HEADER_BYTES as u64 + 8,
            Self::Entry(entry) => ENTRY_OVERHEAD_BYTES + entry.payload.len() as u64,
            Self::Reset { .. } => HEADER_BYTES as u64 + 16,
        }
    }

    fn put_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Mark { durable, incarnation } => {
                out.put_u64_le(*durable);
                out.put_u64_le(*incarnation);
            }
            Self::HardState(state) => put_hard_state(state, out),
            Self::Truncate { from } => out.put_u64_le(*from),
            Self::Entry(entry) => {
                out.put_u64_le(entry.index);
                out.put_u64_le(entry.term);
                out.put_u64_le(entry.stamp);
                out.put_u8(entry.kind);
                out.put_slice(&entry.payload);
            }
            Self::Reset { index, term } => {
                out.put_u64_le(*index);
                out.put_u64_le(*term);
            }
        }
    }

    fn from_body(kind: u8, mut body: &[u8]) -> Option<Self> {
        let body = &mut body;
        let record = match kind {
            KIND_MARK => {
                Self::Mark { durable: body.try_get_u64_le().ok()?, incarnation: body.try_get_u64_le().ok()? }
            }
            KIND_HARD_STATE => Self::HardState(get_hard_state(body)?),
            KIND_TRUNCATE => Self::Truncate { from: body.try_get_u64_le().ok()? },
            KIND_ENTRY => Self::Entry(LogEntry {
                index: body.try_get_u64_le().ok()?,
                term: body.try_get_u64_le().ok()?,
                stamp: body.try_get_u64_le().ok()?,
                kind: body.try_get_u8().ok()?,
                // A copy, so that a small entry does not keep a whole segment in memory.
                payload: Bytes::copy_from_slice(std::mem::take(body)),
            }),
            KIND_RESET => {
                Self::Reset { index: body.try_get_u64_le().ok()?, term: body.try_get_u64_le().ok()? }
            }
            _ => return None,
        };
        body.is_empty().then_some(record)
    }

    /// Appends the record to `out`, for `position` in the log behind a record with the checksum `previous`.
    /// Answers its own checksum.
    pub(crate) fn encode(&self, position: u64, previous: u32, out: &mut Vec<u8>) -> u32 {
        let start = out.len();
        let length = self.encoded_bytes() - HEADER_BYTES as u64;
        out.put_u32_le(u32::try_from(length).expect("an entry fits into a segment, which is at most 1 GiB"));
        out.put_u32_le(0);
        out.put_u32_le(previous);
        out.put_u32_le(SHARD);
        out.put_u8(self.kind());
        out.put_bytes(0, 3);
        self.put_body(out);
        let crc = checksum(position, &out[start..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        crc
    }
}

/// Term, vote and commit, as records, slots and segment headers have them.
pub(crate) fn put_hard_state(state: &HardState, out: &mut Vec<u8>) {
    out.put_u64_le(state.term);
    out.put_u64_le(state.vote);
    out.put_u64_le(state.commit);
}

/// The opposite of [`put_hard_state`].
pub(crate) fn get_hard_state(body: &mut &[u8]) -> Option<HardState> {
    Some(HardState {
        term: body.try_get_u64_le().ok()?,
        vote: body.try_get_u64_le().ok()?,
        commit: body.try_get_u64_le().ok()?,
    })
}

/// The checksum of the whole record `bytes` at `position`; the stored one is left out.
fn checksum(position: u64, bytes: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&position.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &bytes[..4]);
    crc32c::crc32c_append(crc, &bytes[8..])
}

/// The record that begins `bytes`, if it is intact at `position`, whatever its predecessor was.
fn intact(bytes: &[u8], position: u64) -> Option<Decoded> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let total = HEADER_BYTES.checked_add(length)?;
    let bytes = bytes.get(..total)?;
    let crc = u32_at(bytes, 4)?;
    let is_whole = crc == checksum(position, bytes) || bug::on(Bug::SkippedChecksum);
    if !is_whole || u32_at(bytes, 12)? != SHARD || bytes[17..HEADER_BYTES] != [0; 3] {
        return None;
    }
    let record = Record::from_body(bytes[16], &bytes[HEADER_BYTES..])?;
    Some(Decoded { record, crc, bytes: total })
}

/// The record that begins `bytes`, if it is valid at `position` behind a record with the checksum `previous`.
pub(crate) fn decode(bytes: &[u8], position: u64, previous: u32) -> Option<Decoded> {
    if u32_at(bytes, 8)? != previous {
        return None;
    }
    intact(bytes, position)
}

/// The greatest durable mark in `bytes`, which begin at `position` and may be damaged anywhere.
pub(crate) fn greatest_mark(bytes: &[u8], position: u64) -> Option<u64> {
    let mark_bytes = MARK_BYTES as usize;
    let looks_like_mark = |window: &[u8]| window[16] == KIND_MARK && window[..4] == 16_u32.to_le_bytes();
    bytes
        .windows(mark_bytes)
        .enumerate()
        .filter(|(_, window)| looks_like_mark(window))
        .filter_map(|(offset, window)| match intact(window, position + offset as u64)?.record {
            Record::Mark { durable, .. } => Some(durable),
            Record::HardState(_) | Record::Truncate { .. } | Record::Entry(_) | Record::Reset { .. } => None,
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Record> {
        let payload = Bytes::from_static(b"payload");
        vec![
            Record::Mark { durable: 77, incarnation: 2 },
            Record::HardState(HardState { term: 3, vote: 2, commit: 1 }),
            Record::Truncate { from: 9 },
            Record::Entry(LogEntry { index: 9, term: 3, stamp: 1000, kind: 1, payload }),
            Record::Reset { index: 50, term: 4 },
        ]
    }

    #[test]
    fn each_kind_decodes_to_itself_at_its_place_alone() {
        for record in samples() {
            let mut out = Vec::new();
            let crc = record.encode(1000, 7, &mut out);
            assert_eq!(out.len() as u64, record.encoded_bytes());
            let bytes = out.len();
            assert_eq!(decode(&out, 1000, 7), Some(Decoded { record, crc, bytes }));
            assert_eq!(decode(&out, 1001, 7), None, "another position");
            assert_eq!(decode(&out, 1000, 8), None, "another predecessor");
        }
    }

    #[test]
    fn each_flipped_or_missing_bit_is_noticed() {
        for record in samples() {
            let mut out = Vec::new();
            record.encode(1000, 7, &mut out);
            for bit in 0..out.len() * 8 {
                let mut flipped = out.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(decode(&flipped, 1000, 7), None, "bit {bit} of {record:?}");
            }
            for len in 0..out.len() {
                assert_eq!(decode(&out[..len], 1000, 7), None, "{len} bytes of {record:?}");
            }
        }
    }

    #[test]
    fn a_mark_is_found_behind_damage() {
        let mut out = vec![0xff; 13];
        Record::Mark { durable: 5, incarnation: 2 }.encode(113, 1, &mut out);
        out.extend_from_slice(&[0xff; 9]);
        assert_eq!(greatest_mark(&out, 100), Some(5));
        assert_eq!(greatest_mark(&out, 101), None, "a mark of another place does not count");
    }

    /// `docs/log-format.md` draws these bytes: they change only together with the segment's format version.
    #[test]
    fn golden_kinds_and_bodies() {
        let entry = LogEntry { index: 1, term: 2, stamp: 3, kind: 4, payload: Bytes::from_static(b"p") };
        let golden: [(Record, u8, &[u64], &[u8]); 5] = [
            (Record::Mark { durable: 1, incarnation: 2 }, 1, &[1, 2], b""),
            (Record::HardState(HardState { term: 1, vote: 2, commit: 3 }), 2, &[1, 2, 3], b""),
            (Record::Truncate { from: 1 }, 3, &[1], b""),
            (Record::Entry(entry), 4, &[1, 2, 3], b"\x04p"),
            (Record::Reset { index: 1, term: 2 }, 5, &[1, 2], b""),
        ];
        for (record, kind, numbers, rest) in golden {
            let mut out = Vec::new();
            record.encode(0, 0, &mut out);
            let mut body: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            body.extend_from_slice(rest);
            assert_eq!((out[16], &out[HEADER_BYTES..]), (kind, &body[..]), "{record:?}");
        }
    }

    /// `docs/log-format.md` draws these bytes: they change only together with the segment's format version.
    #[test]
    fn golden_bytes_of_an_entry() {
        let entry =
            LogEntry { index: 1, term: 2, stamp: 3, kind: 4, payload: Bytes::from_static(&[0xaa, 0xbb]) };
        let mut out = Vec::new();
        Record::Entry(entry).encode(0, 0x0403_0201, &mut out);
        let mut expected = vec![27, 0, 0, 0];
        expected.extend_from_slice(&out[4..8]);
        expected.extend_from_slice(&[1, 2, 3, 4, 0, 0, 0, 0, 4, 0, 0, 0]);
        expected
            .extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4]);
        expected.extend_from_slice(&[0xaa, 0xbb]);
        assert_eq!(out, expected);
        let mut covered = vec![0; 8];
        covered.extend_from_slice(&out[..4]);
        covered.extend_from_slice(&out[8..]);
        assert_eq!(out[4..8], crc32c::crc32c(&covered).to_le_bytes());
    }
}
