//! Sliding windows over the results of calls: the last so many, or those of the last so long.
//!
//! Both keep the sum of what they hold beside a ring, so that adding a result and reading the sum cost the same
//! for a window of ten and of a million. A result leaves the sum when its place in the ring is taken over; time
//! that passed without calls clears at most the whole ring, however long it was.

use std::time::{Duration, Instant};

use crate::clock::{Now, nanos};

/// How many calls a window holds, and what became of them.
///
/// ```
/// use quorate_resilience::{CircuitBreaker, breaker::RateRule};
///
/// let breaker = CircuitBreaker::builder().trip_on_rate(RateRule::over_calls(100)).build()?;
/// let _ = breaker.call_blocking(|| "one".parse::<u32>());
/// let window = breaker.snapshot().window.expect("it trips by a rate");
/// assert_eq!((window.calls, window.failures, window.slow), (1, 1, 0));
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// All calls with a result that counts.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that took too long, failed or not.
    pub slow: u64,
}

impl Tally {
    pub(crate) fn one(failed: bool, slow: bool) -> Self {
        Self { calls: 1, failures: failed.into(), slow: slow.into() }
    }

    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.failures += other.failures;
        self.slow += other.slow;
    }

    fn subtract(&mut self, other: Self) {
        self.calls -= other.calls;
        self.failures -= other.failures;
        self.slow -= other.slow;
    }
}

/// The last `size` calls.
pub(crate) struct CallWindow {
    /// Filled up to the window's size, then written over from the oldest on.
    ring: Vec<Kind>,
    size: usize,
    oldest: usize,
    sum: Tally,
}

/// How one call ended, in a byte.
#[derive(Clone, Copy, PartialEq)]
struct Kind(u8);

impl Kind {
    const FAILED: u8 = 1;
    const SLOW: u8 = 2;

    fn of(failed: bool, slow: bool) -> Self {
        Self(if failed { Self::FAILED } else { 0 } | if slow { Self::SLOW } else { 0 })
    }

    fn tally(self) -> Tally {
        Tally::one(self.0 & Self::FAILED != 0, self.0 & Self::SLOW != 0)
    }
}

impl CallWindow {
    /// `size` is at least 1.
    pub(crate) fn new(size: usize) -> Self {
        Self { ring: Vec::new(), size, oldest: 0, sum: Tally::default() }
    }

    #[inline]
    pub(crate) fn add(&mut self, failed: bool, slow: bool) -> Tally {
        let kind = Kind::of(failed, slow);
        if self.ring.len() < self.size {
            self.ring.push(kind);
            self.sum.add(kind.tally());
            return self.sum;
        }
        let gone = std::mem::replace(&mut self.ring[self.oldest], kind);
        self.oldest = if self.oldest + 1 == self.size { 0 } else { self.oldest + 1 };
        // While all is well one success takes the place of another.
        if gone != kind {
            self.sum.subtract(gone.tally());
            self.sum.add(kind.tally());
        }
        self.sum
    }

    pub(crate) fn sum(&self) -> Tally {
        self.sum
    }

    pub(crate) fn add_successes(&mut self, successes: u64) {
        // Once round the ring leaves nothing of what was there.
        for _ in 0..successes.min(self.size as u64) {
            self.add(false, false);
        }
    }

    /// How many successes at most leave nothing else in it.
    pub(crate) fn successes_to_fill_it(&self) -> u64 {
        let size = self.size as u64;
        if self.sum.failures == 0 && self.sum.slow == 0 { size - self.sum.calls } else { size }
    }

    /// Whether all places are taken, by quick successes only. They are then all alike, and which of them is the
    /// oldest no longer matters.
    pub(crate) fn is_full_of_successes(&self) -> bool {
        self.sum == Tally { calls: self.size as u64, failures: 0, slow: 0 }
    }
}

/// The calls of the last so long, in buckets of equal length. A bucket leaves as a whole, so the window covers
/// between its length less one bucket, and its length.
pub(crate) struct TimeWindow {
    buckets: Box<[Tally]>,
    bucket_length: Duration,
    /// The bucket that is being filled, and when it began.
    newest: usize,
    newest_began: Instant,
    sum: Tally,
}

impl TimeWindow {
    /// `buckets` is at least 1, and `length` at least that many nanoseconds.
    pub(crate) fn new(length: Duration, buckets: u32, now: Instant) -> Self {
        Self {
            buckets: vec![Tally::default(); buckets as usize].into(),
            bucket_length: length / buckets,
            newest: 0,
            newest_began: now,
            sum: Tally::default(),
        }
    }

    pub(crate) fn add(&mut self, one: Tally, now: Instant) -> Tally {
        self.slide(now);
        self.buckets[self.newest].add(one);
        self.sum.add(one);
        self.sum
    }

    pub(crate) fn sum(&mut self, now: &mut Now<'_>) -> Tally {
        self.slide(now.get());
        self.sum
    }

    /// Clears the buckets whose time has come again.
    fn slide(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.newest_began);
        if age < self.bucket_length {
            return;
        }
        let passed = nanos(age) / nanos(self.bucket_length);
        for _ in 0..passed.min(self.buckets.len() as u64) {
            self.newest = (self.newest + 1) % self.buckets.len();
            let gone = std::mem::take(&mut self.buckets[self.newest]);
            self.sum.subtract(gone);
        }
        let into_newest = nanos(age) % nanos(self.bucket_length);
        self.newest_began = now.checked_sub(Duration::from_nanos(into_newest)).unwrap_or(now);
    }
}
