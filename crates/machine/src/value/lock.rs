//! A native lock: who holds it, how often, and what he lets others know.
//!
//! Its fencing token and its deadline are those of the key that it is the value of. A lock that nobody holds is no value:
//! its key does not exist.

use bytes::Bytes;

use crate::error::Error;
use crate::wire::{Decoder, Encoder};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    /// The name that its holder has given itself. Never empty.
    pub(crate) owner: Bytes,
    /// How often it was acquired and not released since. Never 0; more than 1 only by re-entry.
    pub(crate) depth: u64,
    /// What its holder lets others know.
    pub(crate) value: Option<Bytes>,
}

/// What a lock takes beside the bytes of its holder. The same in every build: it decides what is refused for want of memory.
const LOCK_BYTES: usize = 96;

impl Lock {
    /// What it takes in memory beside its key.
    pub(crate) fn bytes(&self) -> usize {
        LOCK_BYTES + self.owner.len() + self.value.as_ref().map_or(0, Bytes::len)
    }

    pub(super) fn encode(&self, to: &mut Encoder) {
        to.bytes(&self.owner);
        to.varint(self.depth);
        to.u8(u8::from(self.value.is_some()));
        self.value.iter().for_each(|value| to.bytes(value));
    }

    pub(super) fn decode(from: &mut Decoder) -> Result<Self, Error> {
        // Those that it is given are slices of the whole frame.
        let own = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
        let (owner, depth) = (own(from.bytes()?), from.varint()?);
        let value = from.optional(|from| from.bytes().map(own))?;
        if owner.is_empty() || depth == 0 {
            return Err(from.malformed());
        }
        Ok(Self { owner, depth, value })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Value;
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Value, Error> {
        let mut from = Decoder::new(Bytes::copy_from_slice(bytes), "value");
        let value = Value::decode(&mut from)?;
        from.finish()?;
        Ok(value)
    }

    /// Kind, owner, depth, whether there is a value, and the value.
    #[test]
    fn the_bytes_stay_as_they_are() {
        for (lock, bytes) in [
            (Lock { owner: "me".into(), depth: 1, value: None }, &b"\x05\x02me\x01\x00"[..]),
            (
                Lock { owner: "me".into(), depth: 200, value: Some("v".into()) },
                b"\x05\x02me\xc8\x01\x01\x01v",
            ),
        ] {
            let value = Value::Lock(Box::new(lock));
            let mut to = Encoder::default();
            value.encode(&mut to);
            assert_eq!(to.0, bytes);
            assert_eq!(decode(bytes).unwrap(), value);
        }
    }

    #[test]
    fn what_no_lock_is_made_of_is_refused() {
        for bytes in
            [&b"\x05\x00\x01\x00"[..], b"\x05\x02me\x00\x00", b"\x05\x02me\x01\x02", b"\x05\x02me\x01\x01"]
        {
            assert!(decode(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }
}
