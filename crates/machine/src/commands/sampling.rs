//! Elements by chance, as HRANDFIELD, SRANDMEMBER, SPOP and their like ask for them.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::context::Context;
use crate::integer;
use crate::reply::Reply;
use crate::value::Collection;

/// More are not drawn with repetition by one command: such a reply has no bound in the data, as it takes a few bytes to
/// ask for. These take some 20 ms.
const REPEATED_MAX: usize = 1 << 16;

/// How many elements are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// Each at most once, fewer if there are not as many.
    Distinct(usize),
    /// As many draws, each among all.
    Repeated(usize),
}

impl Sample {
    /// By Redis's convention: a negative count may answer elements repeatedly.
    pub(super) fn parse(count: &[u8]) -> Result<Self, Reply> {
        let count = integer::parse(count).ok_or(Reply::not_an_integer())?;
        let draws = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        if count >= 0 {
            return Ok(Self::Distinct(draws));
        }
        if draws > REPEATED_MAX {
            return Err(Reply::error_text(format!(
                "ERR value is out of range, value must between -{REPEATED_MAX} and {}",
                i64::MAX
            )));
        }
        Ok(Self::Repeated(draws))
    }

    /// How many elements of so many will be looked at.
    pub(super) fn visits(self, len: usize) -> usize {
        match self {
            Self::Distinct(count) => count.min(len),
            Self::Repeated(_) if len == 0 => 0,
            Self::Repeated(count) => count,
        }
    }

    /// The places of the elements, distinct ones in ascending order.
    pub(super) fn places(self, context: &mut Context<'_>, len: usize) -> Vec<usize> {
        match self {
            Self::Distinct(count) if count >= len => (0..len).collect(),
            Self::Distinct(count) => distinct(count, len, |among| context.random_place(among)),
            Self::Repeated(_) if len == 0 => Vec::new(),
            Self::Repeated(count) => (0..count).map(|_| context.random_place(len)).collect(),
        }
    }
}

/// Some of the places below `len`, each set of them as likely as any other, by Floyd's algorithm: with as many draws
/// as places, and in memory in proportion to them.
fn distinct(count: usize, len: usize, mut draw: impl FnMut(usize) -> usize) -> Vec<usize> {
    let mut places = BTreeSet::new();
    for last in len - count..len {
        let place = draw(last + 1);
        if !places.insert(place) {
            places.insert(last);
        }
    }
    places.into_iter().collect()
}

/// What a command with a key and a count will visit.
pub(super) fn price<C: Collection>(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let sample = args.get(2).map_or(Ok(Sample::Distinct(1)), |count| Sample::parse(count));
    let len = usize::try_from(context.elements::<C>(&args[1])).unwrap_or(usize::MAX);
    sample.map_or(0, |sample| sample.visits(len) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn distinct_places_are_as_many_as_asked_for(count in 0..50usize, more in 1..50usize, draws in any::<u64>()) {
            let (len, mut state) = (count + more, draws);
            let places = distinct(count, len, |among| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                usize::try_from(state >> 33).expect("31 bits") % among
            });
            prop_assert_eq!(places.len(), count);
            prop_assert!(places.is_sorted_by(|a, b| a < b) && places.iter().all(|place| *place < len));
        }
    }
}
