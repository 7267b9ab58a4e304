//! The clock that leases are counted by: it goes on while the machine is suspended, and nobody sets it.
//!
//! On Linux it is `CLOCK_BOOTTIME`. Timers of the async runtime stand still during a suspension, so whoever sleeps here
//! looks at the clock at least each [`LOOK`] of waking time.

use std::{ops::Add, time::Duration};

use rustix::time::{ClockId, clock_gettime};

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
/// Elsewhere, what stands still during a suspension, or not, as the system has it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// How long after a suspension a sleeper may learn of it: short beside any sensible time to live, and rare enough that a
/// thousand sleepers cost nothing.
const LOOK: Duration = Duration::from_millis(250);

/// A time since the machine was booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BootTime(Duration);

impl BootTime {
    #[cfg(test)]
    pub(crate) fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    pub(crate) fn now() -> Self {
        let time = clock_gettime(CLOCK);
        // A time since boot is never negative, and its nanoseconds are less than a second.
        let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
        Self(Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default()))
    }

    /// How long it is from `earlier` until now; zero if that is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for BootTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// Returns once it is `time`; after a suspension, a moment later.
pub(crate) async fn sleep_until(time: BootTime) {
    loop {
        let left = time.since(BootTime::now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}
