//! The generator behind `math.random`: the 48-bit linear congruence of `drand48`, as in Redis.

/// A sequence of numbers that depends on nothing but its seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Random(u64);

impl Random {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const INCREMENT: u64 = 0xB;
    const MASK: u64 = (1 << 48) - 1;
    /// What `srand48` puts below the seed.
    const LOW_BITS: u64 = 0x330E;

    pub(super) fn new(seed: i32) -> Self {
        Self((u64::from(seed.cast_unsigned()) << 16 | Self::LOW_BITS) & Self::MASK)
    }

    /// The next number, at least 0 and below 1.
    pub(super) fn fraction(&mut self) -> f64 {
        const BOUND: u64 = i32::MAX as u64;
        self.0 = self.0.wrapping_mul(Self::MULTIPLIER).wrapping_add(Self::INCREMENT) & Self::MASK;
        let drawn = (self.0 >> 17) % BOUND;
        drawn as f64 / BOUND as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_numbers_that_redis_gives() {
        let mut random = Random::new(5);
        assert_eq!((random.fraction() * 10.0).floor() + 1.0, 6.0);
        assert_eq!((random.fraction() * 100.0).floor() + 1.0, 28.0);
    }
}
