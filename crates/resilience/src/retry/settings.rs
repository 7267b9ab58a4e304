//! How to retry, and the builder that checks it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Jitter, Retry, RetryBudget};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::error::InvalidSetting;
use crate::random::Generator;

/// What a course of attempts goes by.
pub(super) struct Plan {
    pub(super) max_attempts: u32,
    pub(super) base_delay: Duration,
    pub(super) max_delay: Duration,
    pub(super) backoff: Backoff,
    pub(super) jitter: Jitter,
    pub(super) max_elapsed: Option<Duration>,
    pub(super) attempt_timeout: Option<Duration>,
    pub(super) budget: Option<RetryBudget>,
    pub(super) generator: Generator,
    pub(super) clock: Arc<dyn Clock>,
}

impl Plan {
    /// The wait after the `attempts`-th attempt, of which the one before came after `previous`.
    pub(super) fn usual_wait(&self, attempts: u32, previous: Duration) -> Duration {
        let (fraction, cap) = (|| self.generator.fraction(), self.max_delay);
        let grown = self.backoff.delay(attempts).min(cap);
        match self.jitter {
            Jitter::None => grown,
            Jitter::Equal => scaled(grown, 0.5 + fraction() / 2.0),
            Jitter::Full => scaled(grown, fraction()),
            Jitter::Decorrelated => {
                let range = previous.saturating_mul(3).saturating_sub(self.base_delay);
                self.base_delay.saturating_add(scaled(range, fraction())).min(cap)
            }
        }
    }
}

/// A part of a duration; rounding never makes it more than the whole.
fn scaled(whole: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(whole.as_secs_f64() * factor).map_or(whole, |part| part.min(whole))
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("max_attempts", &self.max_attempts)
            .field("backoff", &self.backoff)
            .field("jitter", &self.jitter)
            .field("max_elapsed", &self.max_elapsed)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Retry`], and refuses settings that cannot work.
///
/// ```
/// use quorate_resilience::{Retry, retry::{Jitter, RetryBudget}};
/// use std::time::Duration;
///
/// let retry = Retry::builder()
///     .max_attempts(5)
///     .base_delay(Duration::from_millis(50))
///     .max_delay(Duration::from_secs(2))
///     .jitter(Jitter::Full)
///     .max_elapsed(Duration::from_secs(10))
///     .attempt_timeout(Duration::from_secs(1))
///     .budget(RetryBudget::default())
///     .build()?;
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct Builder {
    max_attempts: u32,
    base_delay: Duration,
    max_delay: Duration,
    exponential_base: f64,
    backoff: Option<Backoff>,
    jitter: Jitter,
    max_elapsed: Option<Duration>,
    attempt_timeout: Option<Duration>,
    budget: Option<RetryBudget>,
    seed: Option<u64>,
    clock: Arc<dyn Clock>,
}

impl Builder {
    pub(super) fn new() -> Self {
        #[cfg(feature = "tokio")]
        let clock = crate::clock::TokioClock;
        #[cfg(not(feature = "tokio"))]
        let clock = crate::clock::SystemClock;
        Self {
            max_attempts: 3,
            base_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(60),
            exponential_base: 2.0,
            backoff: None,
            jitter: Jitter::default(),
            max_elapsed: None,
            attempt_timeout: None,
            budget: None,
            seed: None,
            clock: Arc::new(clock),
        }
    }

    /// At most so many attempts, the first included: 3 by default.
    ///
    /// ```
    /// # use quorate_resilience::Retry;
    /// let only_once = Retry::builder().max_attempts(1).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// The wait before the second attempt, up to jitter: 1 s by default.
    ///
    /// ```
    /// # use quorate_resilience::Retry; use std::time::Duration;
    /// let retry = Retry::builder().base_delay(Duration::from_millis(50)).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn base_delay(mut self, delay: Duration) -> Self {
        self.base_delay = delay;
        self
    }

    /// The longest wait: 60 s by default.
    ///
    /// ```
    /// # use quorate_resilience::Retry; use std::time::Duration;
    /// let retry = Retry::builder().max_delay(Duration::from_secs(5)).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Each wait is so many times the one before: 2 by default, and at least 1.
    ///
    /// ```
    /// # use quorate_resilience::Retry;
    /// let retry = Retry::builder().exponential_base(1.5).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn exponential_base(mut self, base: f64) -> Self {
        self.exponential_base = base;
        self
    }

    /// Waits that grow otherwise: takes the place of `base_delay` and `exponential_base`; `max_delay` holds.
    ///
    /// ```
    /// # use quorate_resilience::{Backoff, Retry}; use std::time::Duration;
    /// let retry = Retry::builder().backoff(Backoff::constant(Duration::from_secs(2))).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }

    /// How waits are spread: [`Jitter::Equal`] by default.
    ///
    /// ```
    /// # use quorate_resilience::{Retry, retry::Jitter};
    /// let retry = Retry::builder().jitter(Jitter::Decorrelated).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// No attempt begins later than so long after the first. It cuts none short. No limit by default.
    ///
    /// ```
    /// # use quorate_resilience::Retry; use std::time::Duration;
    /// let retry = Retry::builder().max_elapsed(Duration::from_secs(10)).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn max_elapsed(mut self, limit: Duration) -> Self {
        self.max_elapsed = Some(limit);
        self
    }

    /// Each attempt is dropped after so long, and retried. No limit by default. With a breaker, put
    /// [`timeout`](crate::timeout()) within the breaker instead, so that it sees what hangs.
    ///
    /// ```
    /// # use quorate_resilience::Retry; use std::time::Duration;
    /// let retry = Retry::builder().attempt_timeout(Duration::from_secs(1)).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    #[cfg(feature = "tokio")]
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.attempt_timeout = Some(limit);
        self
    }

    /// A bound that is shared with others. None by default.
    ///
    /// ```
    /// # use quorate_resilience::{Retry, retry::RetryBudget};
    /// let shared = RetryBudget::default();
    /// let reads = Retry::builder().budget(shared.clone()).build()?;
    /// let writes = Retry::builder().budget(shared).max_attempts(2).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Draws jitter from this seed, so that a test sees the same waits each time.
    ///
    /// ```
    /// # use quorate_resilience::Retry;
    /// let reproducible = Retry::builder().seed(42).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Where the time comes from, and what blocking retries wait on. By default tokio's clock, or without the
    /// feature `tokio` the operating system's. Asynchronous retries always wait on tokio's timer.
    ///
    /// ```
    /// # use quorate_resilience::{Retry, clock::ManualClock};
    /// let retry = Retry::builder().clock(ManualClock::new()).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// A retry with these settings, that retries every error.
    ///
    /// ```
    /// # use quorate_resilience::Retry;
    /// let refused = Retry::builder().max_attempts(0).build().unwrap_err();
    /// assert_eq!(refused.to_string(), "max_attempts must be at least 1");
    /// ```
    ///
    /// # Errors
    ///
    /// The first setting that cannot work, and what is allowed.
    pub fn build(&self) -> Result<Retry, InvalidSetting> {
        InvalidSetting::unless(self.max_attempts >= 1, "max_attempts", "must be at least 1")?;
        let grows = self.exponential_base.is_finite() && self.exponential_base >= 1.0;
        InvalidSetting::unless(grows, "exponential_base", "must be at least 1")?;
        let ordered = self.base_delay <= self.max_delay;
        InvalidSetting::unless(ordered, "base_delay", "must not exceed max_delay")?;
        let exponential = || Backoff::exponential(self.base_delay, self.exponential_base);
        let backoff = self.backoff.clone().unwrap_or_else(exponential);
        let plan = Plan {
            max_attempts: self.max_attempts,
            base_delay: self.base_delay,
            max_delay: self.max_delay,
            backoff,
            jitter: self.jitter,
            max_elapsed: self.max_elapsed,
            attempt_timeout: self.attempt_timeout,
            budget: self.budget.clone(),
            generator: self.seed.map_or_else(Generator::unpredictable, Generator::seeded),
            clock: Arc::clone(&self.clock),
        };
        Ok(Retry { plan: Arc::new(plan), advise: () })
    }
}
