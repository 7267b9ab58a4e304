//! Places in a list, and ranks in a sorted set: from 0 up, or from the end, which is -1, down.

use std::ops::Range;

use bytes::Bytes;

use crate::integer;
use crate::reply::Reply;

/// From one place to another, both included, of something whose length is not known yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    first: i64,
    last: i64,
}

impl Places {
    pub(super) fn parse(first: &Bytes, last: &Bytes) -> Result<Self, Reply> {
        Ok(Self {
            first: integer::parse(first).ok_or(Reply::not_an_integer())?,
            last: integer::parse(last).ok_or(Reply::not_an_integer())?,
        })
    }

    /// What there is of it in a length; an empty range where there is nothing.
    pub(super) fn within(self, len: usize) -> Range<usize> {
        let from = counted(self.first, len).max(0);
        let to = counted(self.last, len).saturating_add(1).clamp(0, signed(len));
        let to = usize::try_from(to).unwrap_or(0);
        usize::try_from(from).unwrap_or(usize::MAX).min(to)..to
    }
}

/// The place of an index, `None` if it lies outside of a length.
pub(super) fn place(index: i64, len: usize) -> Option<usize> {
    usize::try_from(counted(index, len)).ok().filter(|place| *place < len)
}

fn signed(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// From the front, whichever end it was counted from.
fn counted(index: i64, len: usize) -> i64 {
    if index < 0 { index.saturating_add(signed(len)) } else { index }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_cut_to_what_there_is() {
        let within = |first, last, len| Places { first, last }.within(len);
        assert_eq!(within(0, -1, 3), 0..3);
        assert_eq!(within(-2, 1, 3), 1..2);
        assert_eq!(within(i64::MIN, i64::MAX, 3), 0..3);
        for (first, last, len) in [(0, -1, 0), (2, 1, 3), (3, 5, 3), (i64::MAX, i64::MAX, 3), (0, -4, 3)] {
            assert!(within(first, last, len).is_empty(), "{first} {last} {len}");
        }
        assert_eq!((place(-3, 3), place(2, 3)), (Some(0), Some(2)));
        assert_eq!((place(-4, 3), place(3, 3), place(i64::MIN, 3)), (None, None, None));
    }
}
