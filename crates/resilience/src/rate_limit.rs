//! A bound on the calls in a time.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, InvalidSetting, Rejected, RejectedBy};

/// Lets so many calls begin in a second, evenly but for a burst: the generic cell rate algorithm, of the crate
/// `governor`. Clones are the same limit.
///
/// ```
/// use quorate_resilience::{RateLimit, RejectedBy, clock::ManualClock};
/// use std::time::Duration;
///
/// let limit = RateLimit::per_second(10, 2, ManualClock::new())?;
/// assert!(limit.check().is_ok());
/// assert!(limit.check().is_ok());
/// let rejected = limit.check().unwrap_err();
/// assert_eq!(rejected.retry_after, Some(Duration::from_millis(100)));
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
#[derive(Clone)]
pub struct RateLimit {
    limiter: Arc<RateLimiter<NotKeyed, InMemoryState, Ours, NoOpMiddleware<Tick>>>,
}

impl std::fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimit").finish_non_exhaustive()
    }
}

impl RateLimit {
    /// `calls` a second, of which `burst` may come at once.
    ///
    /// ```
    /// # use quorate_resilience::{RateLimit, clock::SystemClock};
    /// let limit = RateLimit::per_second(1_000, 50, SystemClock)?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If either is 0.
    pub fn per_second(calls: u32, burst: u32, clock: impl Clock) -> Result<Self, InvalidSetting> {
        InvalidSetting::unless(calls >= 1, "calls", "must be at least 1")?;
        InvalidSetting::unless(burst >= 1, "burst", "must be at least 1")?;
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(calls)).allow_burst(at_least_one(burst));
        let clock = Ours(Arc::new(clock));
        Ok(Self { limiter: Arc::new(RateLimiter::direct_with_clock(quota, clock)) })
    }

    /// The same by the operating system's clock.
    ///
    /// ```
    /// # use quorate_resilience::RateLimit;
    /// let limit = RateLimit::new(1_000, 50)?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If either is 0.
    pub fn new(calls_per_second: u32, burst: u32) -> Result<Self, InvalidSetting> {
        Self::per_second(calls_per_second, burst, SystemClock)
    }

    /// Whether a call may begin now; if so, it counts.
    ///
    /// ```
    /// # use quorate_resilience::RateLimit;
    /// assert!(RateLimit::new(1_000, 50)?.check().is_ok());
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Rejected`], with the wait until one may.
    pub fn check(&self) -> Result<(), Rejected> {
        self.limiter.check().map_err(|early| {
            let wait = early.wait_time_from(self.limiter.clock().now());
            Rejected::new(RejectedBy::RateLimit, Some(wait))
        })
    }

    /// Makes a call, if one may begin now.
    ///
    /// ```
    /// # use quorate_resilience::RateLimit;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let limit = RateLimit::new(1_000, 50).unwrap();
    /// assert_eq!(limit.call(async { Ok::<_, ()>(7) }).await, Ok(7));
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if not, [`Error::Failed`] with the call's own error.
    pub async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, Error<E>> {
        self.check()?;
        call.await.map_err(Error::Failed)
    }
}

/// Our clock in governor's terms.
#[derive(Clone)]
struct Ours(Arc<dyn Clock>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tick(std::time::Instant);

impl governor::clock::Clock for Ours {
    type Instant = Tick;

    fn now(&self) -> Tick {
        Tick(self.0.now())
    }
}

impl Reference for Tick {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.checked_sub(Duration::from(duration)).unwrap_or(self.0))
    }
}

impl std::ops::Add<Nanos> for Tick {
    type Output = Self;

    fn add(self, duration: Nanos) -> Self {
        Self(self.0.checked_add(Duration::from(duration)).unwrap_or(self.0))
    }
}
