//! The two clocks of a node.
//!
//! Its boot-time clock never jumps, and drifts against true time by at most [`DRIFT_PPM_MAX`]: all promises about
//! time are tested against that bound. Its wall clock is set by people and daemons, and jumps.

use quorate_consensus::BootTime;
use quorate_node::Now;

use crate::{random::Random, time::SimTime};

/// The most that a boot-time clock drifts, in parts per million. Real ones stay below 100; ten times as much makes
/// errors of the order of the bound visible within a minute.
pub(crate) const DRIFT_PPM_MAX: u64 = 1000;

/// A node's clocks.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// What the boot-time clock showed when the world began.
    base_micros: u64,
    /// The rate: parts per million of true time, around a million.
    rate_ppm: u64,
    /// What the wall clock shows more than true time, in milliseconds.
    wall_offset_ms: i64,
}

const MILLION: u128 = 1_000_000;
/// The wall clocks' common beginning: 2026, in milliseconds since the Unix epoch.
const WALL_BEGIN_MS: i64 = 1_770_000_000_000;

impl Clock {
    /// A clock with a rate off by at most `drift_ppm`, either way.
    pub(crate) fn new(random: &mut Random, drift_ppm: u64) -> Self {
        Self {
            base_micros: random.between(1, 1 << 40),
            rate_ppm: 1_000_000 - drift_ppm + random.between(0, 2 * drift_ppm),
            wall_offset_ms: 0,
        }
    }

    /// A clock that runs fast by `drift_ppm`.
    pub(crate) fn run_fast_by(&mut self, drift_ppm: u64) {
        self.rate_ppm = 1_000_000 + drift_ppm;
    }

    /// What both clocks show at `at`.
    pub(crate) fn now(&self, at: SimTime) -> Now {
        let elapsed = u128::from(at.micros) * u128::from(self.rate_ppm) / MILLION;
        let elapsed = u64::try_from(elapsed).expect("a simulation ends before the end of time");
        let true_ms = i64::try_from(at.micros / 1000).expect("a simulation ends before the end of time");
        Now {
            boot: BootTime { micros: self.base_micros + elapsed },
            wall_ms: WALL_BEGIN_MS + true_ms + self.wall_offset_ms,
        }
    }

    /// The first true instant at which the boot-time clock shows `boot`, or more.
    pub(crate) fn when(&self, boot: BootTime) -> SimTime {
        let elapsed = u128::from(boot.micros.saturating_sub(self.base_micros));
        let true_micros = (elapsed * MILLION).div_ceil(u128::from(self.rate_ppm));
        SimTime { micros: u64::try_from(true_micros).unwrap_or(u64::MAX) }
    }

    /// Somebody sets the wall clock.
    pub(crate) fn jump_wall(&mut self, by_ms: i64) {
        self.wall_offset_ms += by_ms;
    }

    /// The machine restarts: its boot-time clock has nothing to do with what it showed before.
    pub(crate) fn reboot(&mut self, random: &mut Random) {
        self.base_micros = random.between(1, 1 << 40);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_passed_when_the_clock_is_asked_for_it() {
        let mut random = Random::new(7, 0);
        for _ in 0..1000 {
            let clock = Clock::new(&mut random, DRIFT_PPM_MAX);
            let at = SimTime { micros: random.below(1 << 40) };
            let boot = clock.now(at).boot;
            assert!(clock.now(clock.when(boot)).boot >= boot);
            assert!(clock.when(boot) <= at);
        }
    }
}
