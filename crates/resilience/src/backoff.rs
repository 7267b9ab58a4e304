//! How long to wait for the n-th time: pure arithmetic that saturates and never exceeds its cap.

use std::time::Duration;

/// How waits grow. Used between the attempts of a retry and for the open time of a circuit breaker.
///
/// Times are counted from 1. No wait exceeds the [cap](Backoff::capped), whatever the count.
///
/// ```
/// use quorate_resilience::Backoff;
/// use std::time::Duration;
///
/// let backoff = Backoff::exponential(Duration::from_secs(2), 2.0).capped(Duration::from_secs(30));
/// let waits: Vec<u64> = (1..=6).map(|time| backoff.delay(time).as_secs()).collect();
/// assert_eq!(waits, [2, 4, 8, 16, 30, 30]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    growth: Growth,
    cap: Duration,
}

#[derive(Clone, Debug, PartialEq)]
enum Growth {
    Constant(Duration),
    Linear {
        base: Duration,
        step: Duration,
    },
    Exponential {
        base: Duration,
        factor: f64,
    },
    /// The last wait repeats; without any, none waits.
    Sequence(Vec<Duration>),
}

impl Backoff {
    /// The same wait each time.
    ///
    /// ```
    /// # use quorate_resilience::Backoff; use std::time::Duration;
    /// assert_eq!(Backoff::constant(Duration::from_secs(5)).delay(9), Duration::from_secs(5));
    /// ```
    #[must_use]
    pub fn constant(delay: Duration) -> Self {
        Self::of(Growth::Constant(delay))
    }

    /// `base` at first, and `step` more each time.
    ///
    /// ```
    /// # use quorate_resilience::Backoff; use std::time::Duration;
    /// let backoff = Backoff::linear(Duration::from_secs(1), Duration::from_secs(3));
    /// assert_eq!(backoff.delay(3), Duration::from_secs(7));
    /// ```
    #[must_use]
    pub fn linear(base: Duration, step: Duration) -> Self {
        Self::of(Growth::Linear { base, step })
    }

    /// `base` at first, and `factor` times the wait before each time. A factor below 1, or no number, is
    /// taken for 1: a wait never shrinks.
    ///
    /// ```
    /// # use quorate_resilience::Backoff; use std::time::Duration;
    /// let backoff = Backoff::exponential(Duration::from_secs(5), 1.5);
    /// assert_eq!(backoff.delay(2), Duration::from_millis(7_500));
    /// ```
    #[must_use]
    pub fn exponential(base: Duration, factor: f64) -> Self {
        // `max` also turns what is no number into 1.
        Self::of(Growth::Exponential { base, factor: factor.max(1.0) })
    }

    /// The waits given, one after the other; the last one repeats.
    ///
    /// ```
    /// # use quorate_resilience::Backoff; use std::time::Duration;
    /// let backoff = Backoff::sequence([1, 1, 2, 3, 5].map(Duration::from_secs));
    /// assert_eq!(backoff.delay(4), Duration::from_secs(3));
    /// assert_eq!(backoff.delay(100), Duration::from_secs(5));
    /// ```
    #[must_use]
    pub fn sequence(delays: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(Growth::Sequence(delays.into_iter().collect()))
    }

    /// The same growth, up to `cap`.
    ///
    /// ```
    /// # use quorate_resilience::Backoff; use std::time::Duration;
    /// let backoff = Backoff::exponential(Duration::from_millis(100), 2.0).capped(Duration::from_secs(100));
    /// assert_eq!(backoff.delay(12), Duration::from_secs(100));
    /// ```
    #[must_use]
    pub fn capped(self, cap: Duration) -> Self {
        Self { cap, ..self }
    }

    /// The wait for the `time`-th time; 0 is taken for 1.
    ///
    /// ```
    /// # use quorate_resilience::Backoff; use std::time::Duration;
    /// let endless = Backoff::exponential(Duration::from_secs(1), 10.0);
    /// assert_eq!(endless.delay(u32::MAX), Duration::MAX);
    /// ```
    #[must_use]
    pub fn delay(&self, time: u32) -> Duration {
        let earlier = time.saturating_sub(1);
        let delay = match &self.growth {
            Growth::Constant(delay) => *delay,
            Growth::Linear { base, step } => base.saturating_add(step.saturating_mul(earlier)),
            Growth::Exponential { base, factor } => grown(*base, *factor, earlier),
            Growth::Sequence(delays) => {
                let index = usize::try_from(earlier).unwrap_or(usize::MAX);
                delays.get(index).or(delays.last()).copied().unwrap_or_default()
            }
        };
        delay.min(self.cap)
    }

    fn of(growth: Growth) -> Self {
        Self { growth, cap: Duration::MAX }
    }
}

/// `base * factor ^ times`. A base of zero stays zero, though zero times infinity is no number.
fn grown(base: Duration, factor: f64, times: u32) -> Duration {
    if base.is_zero() {
        return base;
    }
    let seconds = base.as_secs_f64() * factor.powi(i32::try_from(times).unwrap_or(i32::MAX));
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
