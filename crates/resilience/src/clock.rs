//! Time is injected: nothing in this crate asks the operating system for it but through a [`Clock`].
//!
//! * [`SystemClock`] is the monotonic clock of the operating system, and what everything uses by default.
//! * `TokioClock` follows tokio's time, paused time included; asynchronous retries use it by default.
//! * [`ManualClock`] stands still until a test moves it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Tells the time, and lets a thread wait for it.
///
/// A clock is shared by threads and never goes back. A breaker reads it while it holds its own lock, so that
/// readings and decisions have one order: [`now`](Clock::now) must not call into a breaker, block or panic.
///
/// ```
/// use quorate_resilience::clock::{Clock, SystemClock};
///
/// let before = SystemClock.now();
/// assert!(SystemClock.now() >= before);
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The present instant.
    ///
    /// ```
    /// use quorate_resilience::clock::{Clock, ManualClock};
    /// use std::time::{Duration, Instant};
    ///
    /// struct OneHourAhead;
    ///
    /// impl Clock for OneHourAhead {
    ///     fn now(&self) -> Instant {
    ///         Instant::now() + Duration::from_secs(3600)
    ///     }
    /// }
    /// ```
    fn now(&self) -> Instant;

    /// Blocks the calling thread. Only the blocking forms of retry and the like come here.
    ///
    /// ```
    /// # use quorate_resilience::clock::{Clock, SystemClock}; use std::time::Duration;
    /// SystemClock.sleep(Duration::from_millis(1));
    /// ```
    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// The operating system's monotonic clock.
///
/// ```
/// use quorate_resilience::{CircuitBreaker, clock::SystemClock};
///
/// let breaker = CircuitBreaker::builder().clock(SystemClock).build()?; // the default, spelled out
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// Tokio's clock: real time, or paused time in a test that pauses it.
///
/// ```
/// use quorate_resilience::{CircuitBreaker, State, clock::TokioClock};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let breaker = CircuitBreaker::builder().clock(TokioClock).build().expect("the defaults are valid");
/// breaker.trip();
/// tokio::time::advance(Duration::from_secs(60)).await;
/// assert_eq!(breaker.state(), State::HalfOpen);
/// # }
/// ```
#[cfg(feature = "tokio")]
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioClock;

#[cfg(feature = "tokio")]
impl Clock for TokioClock {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// A clock that stands still until it is told to move. Whoever sleeps on it moves it.
///
/// ```
/// use quorate_resilience::clock::{Clock, ManualClock};
/// use std::{sync::Arc, time::Duration};
///
/// let clock = Arc::new(ManualClock::new());
/// let begun = clock.now();
/// clock.advance(Duration::from_secs(3));
/// assert_eq!(clock.now() - begun, Duration::from_secs(3));
/// ```
#[derive(Debug)]
pub struct ManualClock {
    origin: Instant,
    passed_nanos: AtomicU64,
}

impl ManualClock {
    /// A clock at an arbitrary instant.
    ///
    /// ```
    /// let clock = quorate_resilience::clock::ManualClock::new();
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now(), passed_nanos: AtomicU64::new(0) }
    }

    /// Moves the clock forward.
    ///
    /// ```
    /// # use quorate_resilience::clock::{Clock, ManualClock}; use std::time::Duration;
    /// let clock = ManualClock::new();
    /// let begun = clock.now();
    /// clock.advance(Duration::from_millis(5));
    /// assert_eq!(clock.now() - begun, Duration::from_millis(5));
    /// ```
    pub fn advance(&self, by: Duration) {
        self.passed_nanos.fetch_add(nanos(by), Ordering::Relaxed);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.origin + Duration::from_nanos(self.passed_nanos.load(Ordering::Relaxed))
    }

    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}

impl<C: Clock> Clock for std::sync::Arc<C> {
    fn now(&self) -> Instant {
        C::now(self)
    }

    fn sleep(&self, duration: Duration) {
        C::sleep(self, duration);
    }
}

/// A duration in nanoseconds; saturates after 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The instant of one input, read only if something depends on it: a reading costs ten times what a closed
/// call does.
pub(crate) struct Now<'a> {
    clock: &'a dyn Clock,
    read: Option<Instant>,
}

impl<'a> Now<'a> {
    pub(crate) fn of(clock: &'a dyn Clock) -> Self {
        Self { clock, read: None }
    }

    /// The same instant however often it is asked.
    pub(crate) fn get(&mut self) -> Instant {
        *self.read.get_or_insert_with(|| self.clock.now())
    }

    /// How long ago `earlier` was.
    pub(crate) fn since(&mut self, earlier: Instant) -> Duration {
        self.get().saturating_duration_since(earlier)
    }
}
