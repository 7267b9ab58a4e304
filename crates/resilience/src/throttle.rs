//! Refusing at the client what the service would refuse anyway.
//!
//! The rule is that of *Site Reliability Engineering* (O'Reilly, 2016), chapter 21: of `requests` made lately,
//! of which the service accepted `accepts`, the next one is refused with the probability
//! `max(0, (requests - k * accepts) / (requests + 1))`. Refused ones count as requests too, so that the
//! probability grows until the service is asked at little more than the rate that it accepts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::breaker::Outcome;
use crate::clock::{Clock, Now, SystemClock};
use crate::error::{Error, InvalidSetting, Rejected, RejectedBy};
use crate::random::Generator;
use crate::window::{Tally, TimeWindow};

/// What is remembered: two minutes, in buckets of two seconds.
const MEMORY: Duration = Duration::from_secs(120);
const BUCKETS: u32 = 60;

/// Refuses calls with a probability that grows as the service refuses them. Clones are the same throttle.
///
/// Other than a breaker it never refuses all: it suits services that shed load by refusing, and are alive.
///
/// ```
/// use quorate_resilience::AdaptiveThrottle;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let throttle = AdaptiveThrottle::new(2.0).unwrap();
/// assert_eq!(throttle.call(async { Ok::<_, ()>(7) }).await, Ok(7));
/// # }
/// ```
#[derive(Clone)]
pub struct AdaptiveThrottle(Arc<State>);

struct State {
    k: f64,
    generator: Generator,
    clock: Arc<dyn Clock>,
    /// Requests, of which those not accepted are the failures.
    window: Mutex<TimeWindow>,
}

impl std::fmt::Debug for AdaptiveThrottle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut fields = f.debug_struct("AdaptiveThrottle");
        fields.field("rejection_probability", &self.rejection_probability()).finish_non_exhaustive()
    }
}

impl AdaptiveThrottle {
    /// Lets through about `k` times what the service accepts; 2 is usual. By the operating system's clock and
    /// randomness.
    ///
    /// ```
    /// # use quorate_resilience::AdaptiveThrottle;
    /// let throttle = AdaptiveThrottle::new(2.0)?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A `k` below 1, or that is no number.
    pub fn new(k: f64) -> Result<Self, InvalidSetting> {
        Self::with(k, SystemClock, Generator::unpredictable())
    }

    /// The same with another clock and a seed, for tests.
    ///
    /// ```
    /// # use quorate_resilience::{AdaptiveThrottle, clock::ManualClock};
    /// let throttle = AdaptiveThrottle::seeded(2.0, ManualClock::new(), 42)?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A `k` below 1, or that is no number.
    pub fn seeded(k: f64, clock: impl Clock, seed: u64) -> Result<Self, InvalidSetting> {
        Self::with(k, clock, Generator::seeded(seed))
    }

    fn with(k: f64, clock: impl Clock, generator: Generator) -> Result<Self, InvalidSetting> {
        InvalidSetting::unless(k.is_finite() && k >= 1.0, "k", "must be at least 1")?;
        let window = Mutex::new(TimeWindow::new(MEMORY, BUCKETS, clock.now()));
        Ok(Self(Arc::new(State { k, generator, clock: Arc::new(clock), window })))
    }

    /// Makes a call, unless chance has it refused. `Err` counts as refused by the service.
    ///
    /// ```
    /// # use quorate_resilience::AdaptiveThrottle;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let answer = AdaptiveThrottle::new(2.0).unwrap().call(async { Err::<(), _>("overloaded") }).await;
    /// assert_eq!(answer.unwrap_err().into_failure(), Some("overloaded"));
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`], or [`Error::Failed`] with the call's own error.
    pub async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, Error<E>> {
        self.check()?;
        let result = call.await;
        self.record(Outcome::of(&result));
        result.map_err(Error::Failed)
    }

    /// Whether a call may be made. What becomes of it has to be [recorded](AdaptiveThrottle::record).
    ///
    /// ```
    /// # use quorate_resilience::AdaptiveThrottle;
    /// assert!(AdaptiveThrottle::new(2.0)?.check().is_ok());
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Rejected`], by chance, without a time to try again: no time is better than another.
    pub fn check(&self) -> Result<(), Rejected> {
        if self.0.generator.fraction() >= self.rejection_probability() {
            return Ok(());
        }
        self.record(Outcome::Failure);
        Err(Rejected::new(RejectedBy::Throttle, None))
    }

    /// Tells whether the service accepted a call.
    ///
    /// ```
    /// # use quorate_resilience::{AdaptiveThrottle, breaker::Outcome};
    /// AdaptiveThrottle::new(2.0)?.record(Outcome::Success);
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn record(&self, outcome: Outcome) {
        let one = match outcome {
            Outcome::Ignored => return,
            Outcome::Success => Tally::one(false, false),
            Outcome::Failure => Tally::one(true, false),
        };
        let mut window = self.0.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.add(one, self.0.clock.now());
    }

    /// With which probability the next call is refused.
    ///
    /// ```
    /// # use quorate_resilience::{AdaptiveThrottle, breaker::Outcome};
    /// let throttle = AdaptiveThrottle::new(1.0)?;
    /// throttle.record(Outcome::Failure);
    /// assert_eq!(throttle.rejection_probability(), 0.5);
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    #[must_use]
    pub fn rejection_probability(&self) -> f64 {
        let mut window = self.0.window.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = window.sum(&mut Now::of(&*self.0.clock));
        let (requests, accepts) = (tally.calls as f64, (tally.calls - tally.failures) as f64);
        ((requests - self.0.k * accepts) / (requests + 1.0)).max(0.0)
    }
}
