//! A segment: one file of the log, a header and then records.
//!
//! The header says everything that a reader needs who starts here: where in the log the first record stands,
//! which checksum it follows, up to where the log was durable, and what all records before had amounted to.
//! That is why older segments can be released without copying anything forward.

use bytes::{Buf, BufMut};

use crate::{
    Error, HardState,
    record::{get_hard_state, put_hard_state},
    seal::{self, Kind, NUMBER_MAX, Unsealed},
};

/// Where a segment's records begin. The sealed header is shorter; the rest is zeros.
pub(crate) const HEADER_BYTES: u64 = 128;

const KIND: Kind = Kind { magic: b"quor-seg", version: 1 };
const BODY_BYTES: usize = 72;
const _: () = assert!(BODY_BYTES + seal::ENVELOPE_BYTES <= HEADER_BYTES as usize);

const PREFIX: &str = "segment-";

/// The file of segment `number`.
pub(crate) fn name(number: u64) -> String {
    format!("{PREFIX}{number:020}")
}

/// The number of the segment with this file name, if it is one.
pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// What stands at the beginning of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Its number; segments follow each other without a gap, from 1 on.
    pub(crate) number: u64,
    /// The length of the file.
    pub(crate) bytes: u64,
    /// The position in the log of its first record.
    pub(crate) first_position: u64,
    /// A durable mark: all before this position was durable when the segment was begun.
    pub(crate) durable: u64,
    /// The index of the last entry before the segment.
    pub(crate) last_index: u64,
    /// The hard state before the segment.
    pub(crate) hard_state: HardState,
    /// Whose log it is: [`Identity::fingerprint`](crate::Identity::fingerprint).
    pub(crate) owner: u32,
    /// The checksum of the last record before the segment; for the first segment, `owner`.
    pub(crate) chain: u32,
}

impl Header {
    /// The header of a new log's first segment.
    pub(crate) fn first(bytes: u64, owner: u32) -> Self {
        Self {
            number: 1,
            bytes,
            first_position: 0,
            durable: 0,
            last_index: 0,
            hard_state: HardState::default(),
            owner,
            chain: owner,
        }
    }

    /// [`HEADER_BYTES`] bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(BODY_BYTES);
        body.put_u64_le(self.number);
        body.put_u64_le(self.bytes);
        body.put_u64_le(self.first_position);
        body.put_u64_le(self.durable);
        body.put_u64_le(self.last_index);
        put_hard_state(&self.hard_state, &mut body);
        body.put_u32_le(self.owner);
        body.put_u32_le(self.chain);
        let mut sealed = seal::seal(KIND, &body);
        sealed.resize(HEADER_BYTES as usize, 0);
        sealed
    }

    /// The header at the beginning of `image`, the bytes of `file`; `None` if there is no intact one.
    ///
    /// # Errors
    /// [`Error::Newer`].
    pub(crate) fn decode(image: &[u8], file: &str) -> Result<Option<Self>, Error> {
        match seal::unseal(KIND, image) {
            Unsealed::Body(body, _) => Ok(Self::from_body(body)),
            Unsealed::Newer(found) => Err(Error::Newer { file: file.to_owned(), found, known: KIND.version }),
            Unsealed::Damaged => Ok(None),
        }
    }

    fn from_body(mut body: &[u8]) -> Option<Self> {
        let header = Self {
            number: body.try_get_u64_le().ok()?,
            bytes: body.try_get_u64_le().ok()?,
            first_position: body.try_get_u64_le().ok()?,
            durable: body.try_get_u64_le().ok()?,
            last_index: body.try_get_u64_le().ok()?,
            hard_state: get_hard_state(&mut body)?,
            owner: body.try_get_u32_le().ok()?,
            chain: body.try_get_u32_le().ok()?,
        };
        let Self { number, first_position, last_index, .. } = header;
        let is_sound = [number, first_position, last_index].into_iter().all(|number| number <= NUMBER_MAX);
        (body.is_empty() && is_sound).then_some(header)
    }

    /// Where in the file the record at `position` begins.
    pub(crate) fn offset_of(&self, position: u64) -> u64 {
        HEADER_BYTES + (position - self.first_position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_numbers_and_parse_back() {
        assert_eq!(name(7), "segment-00000000000000000007");
        assert_eq!(parse_name(&name(u64::MAX)), Some(u64::MAX));
        assert_eq!(parse_name("segment-7"), None);
        assert_eq!(parse_name("spare-00000000000000000007"), None);
    }

    #[test]
    fn a_header_with_numbers_that_no_log_comes_to_is_none() {
        let header = Header { last_index: NUMBER_MAX, ..Header::first(1024, 1) };
        assert_eq!(Header::decode(&header.encode(), "f").unwrap(), Some(header.clone()));
        for wrong in [
            Header { last_index: u64::MAX, ..header.clone() },
            Header { first_position: u64::MAX, ..header.clone() },
            Header { number: u64::MAX, ..header.clone() },
        ] {
            assert_eq!(Header::decode(&wrong.encode(), "f").unwrap(), None);
        }
    }

    /// `docs/log-format.md` draws these bytes: they change only together with the format version.
    #[test]
    fn golden_bytes_of_a_header() {
        let header = Header {
            number: 1,
            bytes: 2,
            first_position: 3,
            durable: 4,
            last_index: 5,
            hard_state: HardState { term: 6, vote: 7, commit: 8 },
            owner: 9,
            chain: 10,
        };
        let bytes = header.encode();
        let mut expected = b"quor-seg\x01\0\0\0\x48\0\0\0".to_vec();
        for number in 1..=8_u64 {
            expected.extend_from_slice(&number.to_le_bytes());
        }
        expected.extend_from_slice(&[9, 0, 0, 0, 10, 0, 0, 0]);
        let crc = crc32c::crc32c(&expected);
        expected.extend_from_slice(&crc.to_le_bytes());
        expected.resize(128, 0);
        assert_eq!(bytes, expected);
        assert_eq!(Header::decode(&bytes, "f").unwrap(), Some(header));
    }
}
