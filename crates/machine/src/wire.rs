//! The primitives of both binary formats (entries and snapshots): bytes, varints, and byte strings with a length.
//!
//! An integer is written as a base-128 varint, least significant group first; a signed one is zigzagged first.
//! Decoding is strict: only the shortest form of a varint is accepted, so that equal values have equal bytes.

use bytes::{Buf, Bytes};

use crate::error::Error;

/// A 64-bit integer takes at most ten groups of seven bits.
const VARINT_BYTES_MAX: usize = 10;

/// Appends values to a growing buffer.
#[derive(Debug, Default)]
pub(crate) struct Encoder(pub(crate) Vec<u8>);

impl Encoder {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn fixed(&mut self, value: &[u8]) {
        self.0.extend_from_slice(value);
    }

    pub(crate) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(crate) fn signed(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }

    pub(crate) fn count(&mut self, value: usize) {
        self.varint(value as u64);
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.count(value.len());
        self.fixed(value);
    }

    /// A value that may be absent: 0, or 1 and the value.
    pub(crate) fn option(&mut self, value: Option<u64>) {
        match value {
            None => self.u8(0),
            Some(value) => {
                self.u8(1);
                self.varint(value);
            }
        }
    }
}

/// Takes values off the front of a buffer. Byte strings share its memory.
#[derive(Debug)]
pub(crate) struct Decoder {
    rest: Bytes,
    /// What is being decoded, for errors.
    what: &'static str,
}

impl Decoder {
    pub(crate) fn new(bytes: Bytes, what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn malformed(&self) -> Error {
        Error::Malformed(self.what)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Every byte must have been used.
    pub(crate) fn finish(self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<Bytes, Error> {
        if length > self.rest.len() {
            return Err(self.malformed());
        }
        Ok(self.rest.split_to(length))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let bytes = self.take(N)?;
        <[u8; N]>::try_from(&bytes[..]).map_err(|_| self.malformed())
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0u64;
        for position in 0..VARINT_BYTES_MAX {
            let Some(&byte) = self.rest.get(position) else { return Err(self.malformed()) };
            let group = u64::from(byte & 0x7f);
            let overflows = position == VARINT_BYTES_MAX - 1 && group > 1;
            let overlong = position > 0 && byte == 0;
            if overflows || overlong {
                return Err(self.malformed());
            }
            value |= group << (7 * position);
            if byte < 0x80 {
                let _used = self.rest.split_to(position + 1);
                return Ok(value);
            }
        }
        Err(self.malformed())
    }

    pub(crate) fn signed(&mut self) -> Result<i64, Error> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        u32::try_from(self.varint()?).map_err(|_| self.malformed())
    }

    /// The number of elements that follow. Each takes a byte at least, so that a count beyond what is left is
    /// refused before anything is allocated for it.
    pub(crate) fn count(&mut self) -> Result<usize, Error> {
        match usize::try_from(self.varint()?) {
            Ok(count) if count <= self.rest.len() => Ok(count),
            Ok(_) | Err(_) => Err(self.malformed()),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, Error> {
        let length = self.count()?;
        self.take(length)
    }

    pub(crate) fn option(&mut self) -> Result<Option<u64>, Error> {
        self.optional(Self::varint)
    }

    /// Whether the next byte is this one, which is taken then.
    pub(crate) fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.rest.first() == Some(&byte);
        self.rest.advance(usize::from(is_next));
        is_next
    }

    /// What is behind a 1, or nothing behind a 0.
    pub(crate) fn optional<T>(
        &mut self,
        value: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match self.u8()? {
            0 => Ok(None),
            1 => value(self).map(Some),
            2..=u8::MAX => Err(self.malformed()),
        }
    }

    /// As many elements as the count in front of them says.
    pub(crate) fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let count = self.count()?;
        // An element may be far larger in memory than its one byte here: let the vector grow as they arrive.
        let mut elements = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoder(bytes: &[u8]) -> Decoder {
        Decoder::new(Bytes::copy_from_slice(bytes), "test")
    }

    proptest! {
        #[test]
        fn integers_survive_the_round_trip(value in any::<u64>(), signed in any::<i64>()) {
            let mut encoder = Encoder::default();
            encoder.varint(value);
            encoder.signed(signed);
            let mut decoder = decoder(&encoder.0);
            prop_assert_eq!(decoder.varint(), Ok(value));
            prop_assert_eq!(decoder.signed(), Ok(signed));
            prop_assert_eq!(decoder.finish(), Ok(()));
        }
    }

    #[test]
    fn only_the_shortest_form_of_a_varint_is_accepted() {
        assert!(decoder(&[0x80, 0x00]).varint().is_err());
        assert!(decoder(&[0xff; 10]).varint().is_err());
        assert!(decoder(&[0x80]).varint().is_err());
    }

    #[test]
    fn a_count_beyond_the_input_is_refused_before_anything_is_allocated() {
        assert!(decoder(&[0xff, 0xff, 0xff, 0x7f, 1, 2]).list(Decoder::u8).is_err());
    }
}
