//! How much happens in a world, and for how long.
//!
//! Operations take most of a simulation's time. A *dense* world has so many that they meet each other all the time, and
//! is over soon. A *sparse* one goes on for much longer, so that more goes wrong in it: its clients come together in
//! bursts, as eager as in a dense world, and leave the nodes to themselves in between.

use std::{fmt, time::Duration};

use crate::{
    random::Random,
    time::{SimTime, micros},
};

/// How much happens in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Clients go on without a break, for half a minute.
    Dense,
    /// Bursts of operations, 10 to 20 of them a second on average, for ten minutes.
    Sparse,
}

impl Pace {
    /// Both.
    pub const ALL: &'static [Self] = &[Self::Dense, Self::Sparse];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
        }
    }

    /// How long faults happen unless something else is said, in simulated time.
    #[must_use]
    pub fn duration(self) -> Duration {
        match self {
            Self::Dense => Duration::from_secs(30),
            Self::Sparse => Duration::from_mins(10),
        }
    }

    /// How many times as long as in a dense world it is from one fault to the next. There are still more of them.
    pub(crate) fn stretch(self) -> u32 {
        match self {
            Self::Dense => 1,
            Self::Sparse => 3,
        }
    }

    /// The most of a log without a snapshot. A node replays that at each start: in a world that goes on for ten minutes it
    /// would do little else.
    pub(crate) fn snapshot_log_bytes_max(self) -> usize {
        match self {
            Self::Dense => usize::MAX,
            Self::Sparse => 64 << 10,
        }
    }

    /// What a seed makes of it.
    pub(crate) fn draw(random: &mut Random) -> Self {
        if random.chance(SPARSE_PERMILLE) { Self::Sparse } else { Self::Dense }
    }

    /// When clients are active.
    pub(crate) fn rhythm(self, random: &mut Random) -> Option<Rhythm> {
        match self {
            Self::Dense => None,
            Self::Sparse => Some(Rhythm::draw(random)),
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Of a thousand worlds, how many are sparse: these are nearly all of the simulated time, and two thirds of the real one.
const SPARSE_PERMILLE: u64 = 500;
/// A burst begins each so many seconds: less than the time that clients may need to be served after healing.
const PERIOD_SECONDS: (u64, u64) = (1, 5);
/// How many operations a second end a burst, on average: what was begun before goes on, and makes some more of it.
const OPERATIONS_PER_SECOND: (u64, u64) = (9, 14);

/// Bursts of operations: one begins with each period, and is over when enough was asked.
#[derive(Clone, Debug)]
pub(crate) struct Rhythm {
    period: Duration,
    operations: u64,
    /// The burst that began last, and how much was asked since.
    burst: (u64, u64),
}

impl Rhythm {
    fn draw(random: &mut Random) -> Self {
        let seconds = random.between(PERIOD_SECONDS.0, PERIOD_SECONDS.1);
        let per_second = random.between(OPERATIONS_PER_SECOND.0, OPERATIONS_PER_SECOND.1);
        Self { period: Duration::from_secs(seconds), operations: seconds * per_second, burst: (0, 0) }
    }

    fn burst_at(&self, at: SimTime) -> u64 {
        at.micros / micros(self.period)
    }

    /// Clients ask so much at once.
    pub(crate) fn asked(&mut self, at: SimTime, requests: usize) {
        let burst = self.burst_at(at);
        if burst != self.burst.0 {
            self.burst = (burst, 0);
        }
        self.burst.1 += requests as u64;
    }

    /// When somebody goes on who wants to rest from `at` on for so long: in the next burst, if this one is over.
    pub(crate) fn goes_on(&self, at: SimTime, rest: Duration) -> SimTime {
        let burst = self.burst_at(at);
        let is_over = self.burst.0 == burst && self.burst.1 >= self.operations;
        let from = if is_over { SimTime { micros: (burst + 1) * micros(self.period) } } else { at };
        from + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_millis(1);

    fn at(millis: u64) -> SimTime {
        SimTime { micros: millis * 1000 }
    }

    #[test]
    fn a_burst_ends_with_its_operations_and_another_begins() {
        let mut rhythm = Rhythm { period: Duration::from_secs(2), operations: 3, burst: (0, 0) };
        rhythm.asked(at(100), 2);
        assert_eq!(rhythm.goes_on(at(110), REST), at(111));
        rhythm.asked(at(120), 1);
        assert_eq!(rhythm.goes_on(at(130), REST), at(2001));
        rhythm.asked(at(2001), 1);
        assert_eq!(rhythm.goes_on(at(2010), REST), at(2011));
    }
}
