//! What a command answers, free of any protocol version: the server encodes it for RESP2 or RESP3.

use bytes::Bytes;

use crate::error::Error;
use crate::wire::{Decoder, Encoder};

/// The answer to one command.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// No value. RESP3 `_`, RESP2 a bulk string of length -1.
    Null,
    /// No array: an EXEC whose watch failed. RESP3 `_`, RESP2 an array of length -1.
    NullArray,
    /// A simple string such as `OK`; never holds CR or LF.
    Status(Bytes),
    /// The whole text with its code: `ERR syntax error`; never holds CR or LF.
    Error(Bytes),
    /// A signed integer.
    Integer(i64),
    /// A binary-safe string.
    Bulk(Bytes),
    /// Replies in order.
    Array(Vec<Reply>),
    /// Pairs in order; a flat array in RESP2.
    Map(Vec<(Reply, Reply)>),
    /// Pairs in order: an array of two-element arrays in RESP3, flat in RESP2.
    Pairs(Vec<(Reply, Reply)>),
    /// Distinct replies; an array in RESP2.
    Set(Vec<Reply>),
    /// A double; a bulk string in RESP2.
    Double(f64),
    /// A boolean; 1 or 0 in RESP2.
    Boolean(bool),
    /// An integer of any length in decimal digits; a bulk string in RESP2.
    BigNumber(Bytes),
    /// Text for people, of the format `txt`; a bulk string in RESP2.
    Verbatim(Bytes),
    /// Out-of-band data; an array in RESP2.
    Push(Vec<Reply>),
}

impl Reply {
    /// How deep aggregates may nest. Whoever builds a reply from a client's input (scripts) must stay below, so
    /// that encoding and decoding, which recurse, need a bounded stack.
    pub const DEPTH_MAX: usize = 128;

    /// The status `OK`.
    #[must_use]
    pub const fn ok() -> Self {
        Self::Status(Bytes::from_static(b"OK"))
    }

    /// An error whose text is known at compile time.
    #[must_use]
    pub const fn error(text: &'static str) -> Self {
        Self::Error(Bytes::from_static(text.as_bytes()))
    }

    /// An error whose text was put together; CR and LF in it become spaces, as in Redis.
    #[must_use]
    pub fn error_text(text: impl Into<Vec<u8>>) -> Self {
        let mut text = text.into();
        for byte in &mut text {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        Self::Error(Bytes::from(text))
    }

    /// What something is, field by field.
    pub(crate) fn fields(fields: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        Self::Map(fields.into_iter().map(|(name, value)| (Self::bulk(name), value)).collect())
    }

    /// A bulk string whose bytes are known at compile time.
    #[must_use]
    pub const fn bulk(text: &'static str) -> Self {
        Self::Bulk(Bytes::from_static(text.as_bytes()))
    }

    /// A status whose text is known at compile time.
    #[must_use]
    pub const fn status(text: &'static str) -> Self {
        Self::Status(Bytes::from_static(text.as_bytes()))
    }

    /// An integer from a length or a count.
    #[must_use]
    pub fn count(count: usize) -> Self {
        Self::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// 1 or 0, the older way of saying true or false.
    #[must_use]
    pub fn flag(flag: bool) -> Self {
        Self::Integer(i64::from(flag))
    }

    /// `ERR syntax error`.
    #[must_use]
    pub const fn syntax_error() -> Self {
        Self::error("ERR syntax error")
    }

    /// `ERR DB index is out of range`.
    #[must_use]
    pub const fn no_such_database() -> Self {
        Self::error("ERR DB index is out of range")
    }

    /// `ERR value is not an integer or out of range`.
    #[must_use]
    pub const fn not_an_integer() -> Self {
        Self::error("ERR value is not an integer or out of range")
    }

    /// A command met a value of a type that it does not work on.
    #[must_use]
    pub const fn wrong_type() -> Self {
        Self::error("WRONGTYPE Operation against a key holding the wrong kind of value")
    }

    /// Whether this is an error; one inside an aggregate does not count.
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }

    /// Roughly what the reply takes in memory, in bytes: the measure of the limit on retained replies.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let inner = match self {
            Self::Null | Self::NullArray | Self::Integer(_) | Self::Double(_) | Self::Boolean(_) => 0,
            Self::Status(text)
            | Self::Error(text)
            | Self::Bulk(text)
            | Self::BigNumber(text)
            | Self::Verbatim(text) => text.len(),
            Self::Array(elements) | Self::Set(elements) | Self::Push(elements) => {
                elements.iter().map(Self::bytes).sum()
            }
            Self::Map(pairs) | Self::Pairs(pairs) => {
                pairs.iter().map(|(key, value)| key.bytes() + value.bytes()).sum()
            }
        };
        size_of::<Self>() + inner
    }

    /// How deep aggregates nest: 0 for a scalar.
    #[must_use]
    pub fn depth(&self) -> usize {
        match self {
            Self::Array(elements) | Self::Set(elements) | Self::Push(elements) => {
                1 + elements.iter().map(Self::depth).max().unwrap_or(0)
            }
            Self::Map(pairs) => 1 + depth_within(pairs),
            Self::Pairs(pairs) => 2 + depth_within(pairs),
            Self::Null
            | Self::NullArray
            | Self::Status(_)
            | Self::Error(_)
            | Self::Integer(_)
            | Self::Bulk(_)
            | Self::Double(_)
            | Self::Boolean(_)
            | Self::BigNumber(_)
            | Self::Verbatim(_) => 0,
        }
    }

    pub(crate) fn encode(&self, to: &mut Encoder) {
        to.u8(self.tag());
        match self {
            Self::Null | Self::NullArray => {}
            Self::Status(text)
            | Self::Error(text)
            | Self::Bulk(text)
            | Self::BigNumber(text)
            | Self::Verbatim(text) => to.bytes(text),
            Self::Integer(value) => to.signed(*value),
            Self::Double(value) => to.fixed(&value.to_bits().to_le_bytes()),
            Self::Boolean(value) => to.u8(u8::from(*value)),
            Self::Array(elements) | Self::Set(elements) | Self::Push(elements) => {
                to.count(elements.len());
                elements.iter().for_each(|element| element.encode(to));
            }
            Self::Map(pairs) | Self::Pairs(pairs) => {
                to.count(pairs.len());
                for (key, value) in pairs {
                    key.encode(to);
                    value.encode(to);
                }
            }
        }
    }

    /// The byte that stands for each kind in a snapshot; never renumbered.
    fn tag(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::NullArray => 1,
            Self::Status(_) => 2,
            Self::Error(_) => 3,
            Self::Integer(_) => 4,
            Self::Bulk(_) => 5,
            Self::Array(_) => 6,
            Self::Map(_) => 7,
            Self::Set(_) => 8,
            Self::Double(_) => 9,
            Self::Boolean(_) => 10,
            Self::BigNumber(_) => 11,
            Self::Verbatim(_) => 12,
            Self::Push(_) => 13,
            Self::Pairs(_) => 14,
        }
    }

    pub(crate) fn decode(from: &mut Decoder) -> Result<Self, Error> {
        Self::decode_nested(from, Self::DEPTH_MAX)
    }

    fn decode_nested(from: &mut Decoder, depth_left: usize) -> Result<Self, Error> {
        let tag = from.u8()?;
        let levels = match tag {
            6 | 7 | 8 | 13 => 1,
            14 => 2,
            _ => 0,
        };
        let depth_left = depth_left.checked_sub(levels).ok_or(from.malformed())?;
        let deeper = |from: &mut Decoder| Self::decode_nested(from, depth_left);
        Ok(match tag {
            0 => Self::Null,
            1 => Self::NullArray,
            2 => Self::Status(from.bytes()?),
            3 => Self::Error(from.bytes()?),
            4 => Self::Integer(from.signed()?),
            5 => Self::Bulk(from.bytes()?),
            6 => Self::Array(from.list(deeper)?),
            7 => Self::Map(from.list(|from| Ok((deeper(from)?, deeper(from)?)))?),
            8 => Self::Set(from.list(deeper)?),
            9 => Self::Double(f64::from_bits(u64::from_le_bytes(from.array()?))),
            10 => match from.u8()? {
                0 => Self::Boolean(false),
                1 => Self::Boolean(true),
                2..=u8::MAX => return Err(from.malformed()),
            },
            11 => Self::BigNumber(from.bytes()?),
            12 => Self::Verbatim(from.bytes()?),
            13 => Self::Push(from.list(deeper)?),
            14 => Self::Pairs(from.list(|from| Ok((deeper(from)?, deeper(from)?)))?),
            15..=u8::MAX => return Err(from.malformed()),
        })
    }
}

fn depth_within(pairs: &[(Reply, Reply)]) -> usize {
    pairs.iter().map(|(first, second)| first.depth().max(second.depth())).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_round_trip() {
        let text = Bytes::from_static(b"text");
        let all = Reply::Array(vec![
            Reply::Null,
            Reply::NullArray,
            Reply::ok(),
            Reply::syntax_error(),
            Reply::Integer(-7),
            Reply::Bulk(text.clone()),
            Reply::Map(vec![(Reply::Integer(1), Reply::Boolean(true))]),
            Reply::Pairs(vec![(Reply::Integer(1), Reply::Null)]),
            Reply::Set(vec![Reply::Boolean(false)]),
            Reply::Double(-0.5),
            Reply::BigNumber(text.clone()),
            Reply::Verbatim(text),
            Reply::Push(vec![]),
            Reply::Pairs(vec![(Reply::Integer(1), Reply::Integer(2))]),
        ]);
        let mut encoder = Encoder::default();
        all.encode(&mut encoder);
        let mut decoder = Decoder::new(Bytes::from(encoder.0), "reply");
        assert_eq!(Reply::decode(&mut decoder), Ok(all));
        assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn nesting_beyond_the_limit_is_refused_instead_of_recursed() {
        let mut nested = Encoder::default();
        for _ in 0..100_000 {
            nested.fixed(&[6, 1]);
        }
        nested.u8(0);
        assert!(Reply::decode(&mut Decoder::new(Bytes::from(nested.0), "reply")).is_err());
    }

    #[test]
    fn an_error_text_stays_on_one_line() {
        assert_eq!(Reply::error_text("ERR a\r\nb"), Reply::error("ERR a  b"));
    }
}
