//! What a key can hold.

use bytes::Bytes;

use crate::error::Error;
use crate::wire::{Decoder, Encoder};

/// A key's value, by type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A binary-safe string; also numbers, which are their decimal digits.
    String(Bytes),
}

impl Value {
    /// The name that TYPE answers.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
        }
    }

    /// The string, or `None` for a value of another type.
    pub(crate) fn as_string(&self) -> Option<&Bytes> {
        match self {
            Self::String(bytes) => Some(bytes),
        }
    }

    /// What it takes in memory, in bytes, as far as the limit on data is concerned.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::String(bytes) => bytes.len(),
        }
    }

    pub(crate) fn encode(&self, to: &mut Encoder) {
        match self {
            Self::String(bytes) => {
                to.u8(0);
                to.bytes(bytes);
            }
        }
    }

    pub(crate) fn decode(from: &mut Decoder) -> Result<Self, Error> {
        match from.u8()? {
            // Copied, since the frame that it is a slice of would stay in memory with it.
            0 => Ok(Self::String(Bytes::copy_from_slice(&from.bytes()?))),
            1..=u8::MAX => Err(from.malformed()),
        }
    }
}
