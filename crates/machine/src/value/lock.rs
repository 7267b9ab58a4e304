//! A native lock: who holds it, how often, and what he lets others know.
//!
//! Its fencing token and its deadline are those of the key that it is the value of. A lock that nobody holds is no value:
//! its key does not exist.

use bytes::Bytes;

use crate::error::Error;
use crate::identifiers::{ClientSessionId, Stamp};
use crate::wire::{Decoder, Encoder};

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    /// Somebody by the name that he has given himself, which is never empty. The key has a deadline.
    Owner(Bytes),
    /// A session that a client has opened. It has the deadline, and the key has none.
    Session(ClientSessionId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    pub(crate) holder: Holder,
    /// How often it was acquired and not released since. Never 0; more than 1 only by re-entry.
    pub(crate) depth: u64,
    /// For how long nobody gets it once the time of its holder is up: the last part of the key's time. 0: not at all.
    pub(crate) delay_ms: u64,
    /// What its holder lets others know.
    pub(crate) value: Option<Bytes>,
}

/// What a lock takes beside the bytes of its holder. The same in every build: it decides what is refused for want of memory.
const LOCK_BYTES: usize = 96;

impl Holder {
    fn bytes(&self) -> usize {
        match self {
            Self::Owner(owner) => owner.len(),
            Self::Session(_) => 0,
        }
    }

    /// Different ones for different holders.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut to = Encoder::default();
        self.encode(&mut to);
        to.0
    }

    pub(crate) fn encode(&self, to: &mut Encoder) {
        match self {
            Self::Owner(owner) => {
                to.u8(0);
                to.bytes(owner);
            }
            Self::Session(id) => {
                to.u8(1);
                to.varint(id.0);
            }
        }
    }

    pub(crate) fn decode(from: &mut Decoder) -> Result<Self, Error> {
        Ok(match from.u8()? {
            0 => {
                let owner = from.bytes()?;
                if owner.is_empty() {
                    return Err(from.malformed());
                }
                // What it is given is a slice of the whole frame.
                Self::Owner(Bytes::copy_from_slice(&owner))
            }
            1 => Self::Session(ClientSessionId(from.varint()?)),
            2..=u8::MAX => return Err(from.malformed()),
        })
    }
}

impl Lock {
    /// Whether the time of its holder is up, and nobody may have it yet, where its key has this deadline.
    pub(crate) fn is_delayed(&self, deadline: Option<Stamp>, now: Stamp) -> bool {
        self.delay_ms > 0 && deadline.is_some_and(|deadline| now.0 > deadline.0.saturating_sub(self.delay_ms))
    }

    /// What it takes in memory beside its key.
    pub(crate) fn bytes(&self) -> usize {
        LOCK_BYTES + self.holder.bytes() + self.value.as_ref().map_or(0, Bytes::len)
    }

    pub(super) fn encode(&self, to: &mut Encoder) {
        self.holder.encode(to);
        to.varint(self.depth);
        to.varint(self.delay_ms);
        to.u8(u8::from(self.value.is_some()));
        self.value.iter().for_each(|value| to.bytes(value));
    }

    pub(super) fn decode(from: &mut Decoder) -> Result<Self, Error> {
        // Those that it is given are slices of the whole frame.
        let own = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
        let (holder, depth, delay_ms) = (Holder::decode(from)?, from.varint()?, from.varint()?);
        let value = from.optional(|from| from.bytes().map(own))?;
        let has_time = matches!(holder, Holder::Owner(_));
        if depth == 0 || (delay_ms > 0 && !has_time) {
            return Err(from.malformed());
        }
        Ok(Self { holder, depth, delay_ms, value })
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

    /// Kind, kind of holder, holder, depth, delay, whether there is a value, and the value.
    #[test]
    fn the_bytes_stay_as_they_are() {
        for (lock, bytes) in [
            (
                Lock { holder: Holder::Owner("me".into()), depth: 1, delay_ms: 300, value: None },
                &b"\x05\x00\x02me\x01\xac\x02\x00"[..],
            ),
            (
                Lock {
                    holder: Holder::Session(ClientSessionId(300)),
                    depth: 200,
                    delay_ms: 0,
                    value: Some("v".into()),
                },
                b"\x05\x01\xac\x02\xc8\x01\x00\x01\x01v",
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
        for bytes in [
            &b"\x05\x00\x00\x01\x00\x00"[..],
            b"\x05\x00\x02me\x00\x00\x00",
            b"\x05\x00\x02me\x01\x00\x02",
            b"\x05\x00\x02me\x01\x00\x01",
            b"\x05\x01\x02\x01\x05\x00",
            b"\x05\x02\x02me\x01\x00\x00",
        ] {
            assert!(decode(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }
}
