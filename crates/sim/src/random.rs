//! All chance in the world comes from here, and so from the seed.
//!
//! Each part of the world draws from a stream of its own, so that a change in one (another workload, say)
//! shifts the others as little as possible.

use std::time::Duration;

use rand_pcg::{Pcg64Mcg, rand_core::Rng};

use crate::time::micros;

/// A stream of choices.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    generator: Pcg64Mcg,
}

impl Random {
    /// The stream number `stream` of `seed`.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let state = (u128::from(mix(seed)) << 64) | u128::from(mix(seed ^ mix(stream)));
        Self { generator: Pcg64Mcg::new(state) }
    }

    /// Any number.
    pub(crate) fn number(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// A number below `bound`, which is not 0. The bias is far below what a simulation could notice.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a choice among nothing");
        u64::try_from((u128::from(self.number()) * u128::from(bound)) >> 64)
            .expect("below a bound of 64 bits")
    }

    /// A position in something of this length.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a length")
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Whether something happens that happens `permille` times in a thousand.
    pub(crate) fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// A duration from `low` to `high`.
    pub(crate) fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_micros(self.between(micros(low), micros(high)))
    }

    /// A number of milliseconds from `low` to `high`.
    pub(crate) fn millis(&mut self, low: u64, high: u64) -> Duration {
        self.duration(Duration::from_millis(low), Duration::from_millis(high))
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.index(choices.len())]
    }
}

/// Spreads the bits of a number (the finaliser of MurmurHash3), so that neighbouring seeds share nothing.
pub(crate) fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_streams_choose_equally_and_others_do_not() {
        let draw = |seed, stream| {
            let mut random = Random::new(seed, stream);
            [random.number(), random.number()]
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn choices_stay_within_their_bounds() {
        let mut random = Random::new(1, 1);
        for _ in 0..1000 {
            assert!((3..=5).contains(&random.between(3, 5)));
            assert!(!random.chance(0) && random.chance(1000));
        }
    }
}
