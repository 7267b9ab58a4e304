//! How commands say what to take out of a list or a sorted set: from which end, how many, of the first of which keys.

use bytes::Bytes;

use crate::integer;
use crate::reply::Reply;

/// An end of a list, or of the order of a sorted set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// LEFT, or MIN.
    First,
    /// RIGHT, or MAX.
    Last,
}

impl End {
    /// The end of a list.
    pub(super) fn of_list(word: &[u8]) -> Result<Self, Reply> {
        match &word.to_ascii_uppercase()[..] {
            b"LEFT" => Ok(Self::First),
            b"RIGHT" => Ok(Self::Last),
            _ => Err(Reply::syntax_error()),
        }
    }

    /// The end of a sorted set.
    pub(super) fn of_order(word: &[u8]) -> Result<Self, Reply> {
        match &word.to_ascii_uppercase()[..] {
            b"MIN" => Ok(Self::First),
            b"MAX" => Ok(Self::Last),
            _ => Err(Reply::syntax_error()),
        }
    }
}

/// How many to take, as LPOP and ZPOPMIN are told.
pub(super) fn parse_count(text: &[u8]) -> Result<usize, Reply> {
    let count = integer::parse(text).and_then(|count| usize::try_from(count).ok());
    count.ok_or(Reply::error("ERR value is out of range, must be positive"))
}

/// What LMPOP and ZMPOP ask for.
pub(super) struct Popping<'a> {
    /// The first of them that exists is meant.
    pub(super) keys: &'a [Bytes],
    pub(super) end: End,
    pub(super) count: usize,
}

impl<'a> Popping<'a> {
    /// Reads `numkeys key [key ...] end [COUNT count]`; `end` reads the word for the end.
    pub(super) fn parse(args: &'a [Bytes], end: fn(&[u8]) -> Result<End, Reply>) -> Result<Self, Reply> {
        let numkeys = args.first().and_then(|text| positive(text));
        let numkeys = numkeys.ok_or(Reply::error("ERR numkeys should be greater than 0"))?;
        let (keys, rest) = args[1..].split_at_checked(numkeys).ok_or(Reply::syntax_error())?;
        let (word, options) = rest.split_first().ok_or(Reply::syntax_error())?;
        let end = end(word)?;
        let count = match options {
            [] => 1,
            [option, count, rest @ ..] if option.eq_ignore_ascii_case(b"COUNT") => {
                let count = positive(count).ok_or(Reply::error("ERR count should be greater than 0"))?;
                if rest.is_empty() { count } else { return Err(Reply::syntax_error()) }
            }
            _ => return Err(Reply::syntax_error()),
        };
        Ok(Self { keys, end, count })
    }
}

fn positive(text: &[u8]) -> Option<usize> {
    integer::parse(text).and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0)
}
