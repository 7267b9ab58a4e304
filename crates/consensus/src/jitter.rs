//! Random delays from the engine's seed.

use std::time::Duration;

use rand_pcg::{Pcg32, rand_core::Rng as _};

/// A generator that can be compared and hashed, as the model checker needs it: the state of a PCG as plain
/// numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Jitter {
    state: u64,
    stream: u64,
}

impl Jitter {
    /// A generator for `seed`; `stream` keeps nodes apart that were given the same seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let generator = Pcg32::new(seed, stream);
        Self { state: generator.state(), stream: generator.stream() }
    }

    /// The next random number.
    pub(crate) fn number(&mut self) -> u64 {
        let mut generator = Pcg32::from_state(self.state, self.stream);
        let number = generator.next_u64();
        self.state = generator.state();
        number
    }

    /// A random time from zero up to, not including, `limit`, in microseconds.
    pub(crate) fn up_to(&mut self, limit: Duration) -> Duration {
        let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.number() % micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_make_equal_choices_and_nodes_differ() {
        let draw = |seed, stream| {
            let mut jitter = Jitter::new(seed, stream);
            [jitter.number(), jitter.number(), jitter.number()]
        };
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1), draw(7, 2));
        assert_ne!(draw(7, 1), draw(8, 1));
    }

    #[test]
    fn delays_stay_below_their_limit() {
        let mut jitter = Jitter::new(1, 1);
        let limit = Duration::from_millis(3);
        assert!((0..1000).all(|_| jitter.up_to(limit) < limit));
        assert_eq!(jitter.up_to(Duration::ZERO), Duration::ZERO);
    }
}
