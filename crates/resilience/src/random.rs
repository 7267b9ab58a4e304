//! A small seeded generator that callers can share.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// SplitMix64 (Steele, Lea, Flood: *Fast splittable pseudorandom number generators*, OOPSLA 2014). Its state
/// is a counter, so one atomic addition draws a number, and two threads never draw the same one.
#[derive(Debug)]
pub(crate) struct Generator {
    state: AtomicU64,
}

/// The golden ratio in 64 bits, made odd: the counter visits every number before it repeats one.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

impl Generator {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// A generator whose numbers nobody else draws: its seed is the operating system's randomness, in the
    /// form in which the standard library hands it to hash tables.
    pub(crate) fn unpredictable() -> Self {
        Self::seeded(RandomState::new().hash_one(STRIDE))
    }

    fn number(&self) -> u64 {
        let mut mixed = self.state.fetch_add(STRIDE, Ordering::Relaxed).wrapping_add(STRIDE);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number drawn uniformly from `[0, 1)`: the 53 bits that a double holds exactly.
    pub(crate) fn fraction(&self) -> f64 {
        const STEPS: f64 = (1u64 << 53) as f64;
        (self.number() >> 11) as f64 / STEPS
    }
}
