//! A breaker's settings, and the builder that checks them.

use std::sync::Arc;
use std::time::Duration;

use super::gate::{Gate, Listener};
use super::{CircuitBreaker, Event};
use crate::backoff::Backoff;
use crate::clock::{Clock, Now, SystemClock};
use crate::error::InvalidSetting;

/// The largest window, in calls: a byte each.
const WINDOW_CALLS_MAX: u32 = 1 << 20;

/// The most buckets of a window in time: as many may have to be cleared under the breaker's lock.
const WINDOW_BUCKETS_MAX: u32 = 1 << 10;

/// The most probes at a time: each is looked at under the breaker's lock.
const HALF_OPEN_CALLS_MAX: u32 = 1 << 10;

/// A rate over fewer calls says little; so this many are wanted unless a rule says otherwise.
const MINIMUM_CALLS: u32 = 10;

/// What the machine has to know.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) trip: Trip,
    pub(super) recovery: Backoff,
    pub(super) success_threshold: u32,
    pub(super) half_open_max_calls: u32,
    pub(super) half_open_timeout: Duration,
    pub(super) half_open_failure_rate: Option<f64>,
    pub(super) cancellation: Cancellation,
}

#[derive(Clone, Debug)]
pub(super) enum Trip {
    Consecutive { failures: u32 },
    Rate(RateRule),
}

impl Rules {
    /// Whether a permit has to know when it was given.
    pub(super) fn times_calls(&self) -> bool {
        self.slow_after().is_some() || matches!(self.cancellation, Cancellation::FailureAfter(_))
    }

    pub(super) fn is_slow(&self, begun: Option<std::time::Instant>, now: &mut Now<'_>) -> bool {
        begun.zip(self.slow_after()).is_some_and(|(begun, limit)| now.since(begun) >= limit)
    }

    pub(super) fn counts_slow_calls(&self) -> bool {
        self.slow_after().is_some()
    }

    fn slow_after(&self) -> Option<Duration> {
        match &self.trip {
            Trip::Consecutive { .. } => None,
            Trip::Rate(rule) => rule.slow.map(|slow| slow.after),
        }
    }
}

/// What a call that was dropped before it had a result counts as.
///
/// A caller that waits no longer, a `select!` that went another way, a client that hung up: all look the same
/// from here. Where a time-out lies *around* the breaker, dropped calls are its only sign of a service that
/// hangs; then choose [`FailureAfter`](Cancellation::FailureAfter) or [`Failure`](Cancellation::Failure). Better
/// put the time-out within. By default they are ignored: else whoever can hang up can open the circuit.
///
/// ```
/// use quorate_resilience::{CircuitBreaker, State, breaker::Cancellation};
///
/// let breaker = CircuitBreaker::builder().failure_threshold(1).cancellation(Cancellation::Failure).build()?;
/// drop(breaker.call(std::future::pending::<Result<(), ()>>())); // never polled: the call was not begun
/// assert_eq!(breaker.state(), State::Closed);
/// drop(breaker.try_acquire()); // given up
/// assert_eq!(breaker.state(), State::Open);
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancellation {
    /// It counts for nothing.
    #[default]
    Ignored,
    /// It counts as a failure.
    Failure,
    /// It counts as a failure if it had lasted this long; else for nothing. Costs two readings of the clock.
    FailureAfter(Duration),
}

/// Trips by the share of calls that failed or were slow, over a sliding window.
///
/// ```
/// use quorate_resilience::{CircuitBreaker, breaker::RateRule};
/// use std::time::Duration;
///
/// let rule = RateRule::over_time(Duration::from_secs(30), 10)
///     .minimum_calls(20)
///     .failures(0.5)
///     .slow_calls(Duration::from_secs(2), 0.8);
/// let breaker = CircuitBreaker::builder().trip_on_rate(rule).build()?;
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RateRule {
    pub(super) window: WindowKind,
    minimum_calls: Option<u32>,
    pub(super) failure_rate: Option<f64>,
    pub(super) slow: Option<SlowCalls>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum WindowKind {
    Calls(u32),
    Time { length: Duration, buckets: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SlowCalls {
    pub(super) after: Duration,
    pub(super) rate: f64,
}

impl RateRule {
    /// Over the last `calls` calls, at most 1,048,576. Trips if half of them failed, unless told otherwise.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, State, breaker::RateRule};
    /// let rule = RateRule::over_calls(4).failures(0.5);
    /// let breaker = CircuitBreaker::builder().trip_on_rate(rule).build()?;
    /// for text in ["1", "2", "x", "y"] {
    ///     let _ = breaker.call_blocking(|| text.parse::<u32>());
    /// }
    /// assert_eq!(breaker.state(), State::Open);
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    #[must_use]
    pub fn over_calls(calls: u32) -> Self {
        Self::over(WindowKind::Calls(calls))
    }

    /// Over the last `length`, kept in this many buckets, at most 1,024. A bucket leaves as a whole, so the
    /// window covers between `length` less one bucket and `length`.
    ///
    /// ```
    /// # use quorate_resilience::breaker::RateRule; use std::time::Duration;
    /// let rule = RateRule::over_time(Duration::from_secs(10), 10).failures(0.5);
    /// ```
    #[must_use]
    pub fn over_time(length: Duration, buckets: u32) -> Self {
        Self::over(WindowKind::Time { length, buckets })
    }

    fn over(window: WindowKind) -> Self {
        Self { window, minimum_calls: None, failure_rate: None, slow: None }
    }

    /// No rate counts before the window holds this many calls. By default 10, or the whole window of a smaller.
    ///
    /// ```
    /// # use quorate_resilience::breaker::RateRule;
    /// let rule = RateRule::over_calls(100).minimum_calls(50);
    /// ```
    #[must_use]
    pub fn minimum_calls(mut self, calls: u32) -> Self {
        self.minimum_calls = Some(calls);
        self
    }

    /// Trips when this share of the calls failed, from above 0 to 1. By default 0.5, unless slow calls trip.
    ///
    /// ```
    /// # use quorate_resilience::breaker::RateRule;
    /// let rule = RateRule::over_calls(100).failures(0.25);
    /// ```
    #[must_use]
    pub fn failures(mut self, rate: f64) -> Self {
        self.failure_rate = Some(rate);
        self
    }

    /// Trips when this share of the calls took `after` or longer, whatever became of them. A probe that takes
    /// so long counts as failed. Costs two readings of the clock.
    ///
    /// ```
    /// # use quorate_resilience::breaker::RateRule; use std::time::Duration;
    /// let rule = RateRule::over_calls(100).slow_calls(Duration::from_secs(2), 0.8);
    /// ```
    #[must_use]
    pub fn slow_calls(mut self, after: Duration, rate: f64) -> Self {
        self.slow = Some(SlowCalls { after, rate });
        self
    }

    pub(super) fn least_calls(&self) -> u32 {
        let by_default = match self.window {
            WindowKind::Calls(size) => size.min(MINIMUM_CALLS),
            WindowKind::Time { .. } => MINIMUM_CALLS,
        };
        self.minimum_calls.unwrap_or(by_default)
    }

    fn completed(mut self) -> Self {
        if self.failure_rate.is_none() && self.slow.is_none() {
            self.failure_rate = Some(0.5);
        }
        self
    }

    fn check(&self) -> Result<(), InvalidSetting> {
        let minimum = self.least_calls();
        InvalidSetting::unless(minimum >= 1, "minimum_calls", "must be at least 1")?;
        match self.window {
            WindowKind::Calls(size) => {
                let fits = (1..=WINDOW_CALLS_MAX).contains(&size);
                InvalidSetting::unless(fits, "over_calls", "must be from 1 to 1048576")?;
                let reachable = minimum <= size;
                InvalidSetting::unless(reachable, "minimum_calls", "must not exceed the window's calls")?;
            }
            WindowKind::Time { length, buckets } => {
                let fits = (1..=WINDOW_BUCKETS_MAX).contains(&buckets);
                InvalidSetting::unless(fits, "buckets", "must be from 1 to 1024")?;
                let lasts = length.as_nanos() >= u128::from(buckets);
                InvalidSetting::unless(lasts, "over_time", "must be at least a nanosecond for each bucket")?;
            }
        }
        check_rate(self.failure_rate, "failures")?;
        check_rate(self.slow.map(|slow| slow.rate), "slow_calls")
    }
}

fn check_rate(rate: Option<f64>, setting: &'static str) -> Result<(), InvalidSetting> {
    let fits = rate.is_none_or(|rate| rate > 0.0 && rate <= 1.0);
    InvalidSetting::unless(fits, setting, "must be above 0 and at most 1")
}

/// Builds a [`CircuitBreaker`], and refuses settings that cannot work.
///
/// ```
/// use quorate_resilience::{Backoff, CircuitBreaker};
/// use std::time::Duration;
///
/// let breaker = CircuitBreaker::builder()
///     .failure_threshold(10)
///     .recovery_backoff(Backoff::exponential(Duration::from_secs(5), 1.5).capped(Duration::from_secs(60)))
///     .success_threshold(2)
///     .build()?;
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct Builder {
    rules: Rules,
    /// Follows the success threshold, unless it is set.
    half_open_max_calls: Option<u32>,
    clock: Arc<dyn Clock>,
    listeners: Vec<Listener>,
}

impl Builder {
    pub(super) fn new() -> Self {
        let rules = Rules {
            trip: Trip::Consecutive { failures: 5 },
            recovery: Backoff::constant(Duration::from_secs(60)),
            success_threshold: 3,
            half_open_max_calls: 3,
            half_open_timeout: Duration::from_secs(60),
            half_open_failure_rate: None,
            cancellation: Cancellation::default(),
        };
        Self { rules, half_open_max_calls: None, clock: Arc::new(SystemClock), listeners: Vec::new() }
    }

    /// Trips at the so-manieth failure in a row: 5 by default. Takes the place of a rate rule.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, State};
    /// let breaker = CircuitBreaker::builder().failure_threshold(1).build()?;
    /// let _ = breaker.call_blocking(|| "x".parse::<u32>());
    /// assert_eq!(breaker.state(), State::Open);
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn failure_threshold(mut self, failures: u32) -> Self {
        self.rules.trip = Trip::Consecutive { failures };
        self
    }

    /// Trips by a rate over a sliding window. Takes the place of the failure threshold.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::RateRule};
    /// let breaker = CircuitBreaker::builder().trip_on_rate(RateRule::over_calls(100)).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn trip_on_rate(mut self, rule: RateRule) -> Self {
        self.rules.trip = Trip::Rate(rule.completed());
        self
    }

    /// How long the circuit stays open: 60 s by default.
    ///
    /// ```
    /// # use quorate_resilience::CircuitBreaker; use std::time::Duration;
    /// let breaker = CircuitBreaker::builder().recovery_timeout(Duration::from_secs(5)).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn recovery_timeout(self, timeout: Duration) -> Self {
        self.recovery_backoff(Backoff::constant(timeout))
    }

    /// How long the circuit stays open the first time, and each time that its probes failed again.
    ///
    /// ```
    /// # use quorate_resilience::{Backoff, CircuitBreaker}; use std::time::Duration;
    /// let growing = Backoff::exponential(Duration::from_secs(5), 1.5).capped(Duration::from_secs(60));
    /// let breaker = CircuitBreaker::builder().recovery_backoff(growing).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn recovery_backoff(mut self, backoff: Backoff) -> Self {
        self.rules.recovery = backoff;
        self
    }

    /// So many probes must succeed for the circuit to close: 3 by default. One failure opens it again, unless
    /// [`half_open_failure_rate`](Builder::half_open_failure_rate) is set.
    ///
    /// ```
    /// # use quorate_resilience::CircuitBreaker;
    /// let breaker = CircuitBreaker::builder().success_threshold(1).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn success_threshold(mut self, successes: u32) -> Self {
        self.rules.success_threshold = successes;
        self
    }

    /// The half-open circuit decides over so many results as the success threshold says: it opens again once
    /// the failures among them reach this rate, and closes otherwise.
    ///
    /// ```
    /// # use quorate_resilience::CircuitBreaker;
    /// let tolerant = CircuitBreaker::builder().success_threshold(4).half_open_failure_rate(0.5).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn half_open_failure_rate(mut self, rate: f64) -> Self {
        self.rules.half_open_failure_rate = Some(rate);
        self
    }

    /// At most so many probes at a time, up to 1,024. By default as many as the success threshold.
    ///
    /// ```
    /// # use quorate_resilience::CircuitBreaker;
    /// let one_by_one = CircuitBreaker::builder().half_open_max_calls(1).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn half_open_max_calls(mut self, calls: u32) -> Self {
        self.half_open_max_calls = Some(calls);
        self
    }

    /// A probe that is out for so long loses its permit to the next call: 60 s by default.
    ///
    /// ```
    /// # use quorate_resilience::CircuitBreaker; use std::time::Duration;
    /// let breaker = CircuitBreaker::builder().half_open_timeout(Duration::from_secs(5)).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn half_open_timeout(mut self, timeout: Duration) -> Self {
        self.rules.half_open_timeout = timeout;
        self
    }

    /// What a dropped call counts as: nothing, by default. See [`Cancellation`].
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::Cancellation}; use std::time::Duration;
    /// let given_up = Cancellation::FailureAfter(Duration::from_secs(1));
    /// let breaker = CircuitBreaker::builder().cancellation(given_up).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn cancellation(mut self, cancellation: Cancellation) -> Self {
        self.rules.cancellation = cancellation;
        self
    }

    /// Where the time comes from: the operating system, by default.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, clock::ManualClock}; use std::sync::Arc;
    /// let clock = Arc::new(ManualClock::new());
    /// let breaker = CircuitBreaker::builder().clock(Arc::clone(&clock)).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Adds a listener. Events come in the order in which they happened, one at a time, outside of any lock: a
    /// listener may call the breaker. It runs in the thread that caused the event, or in one that caused an
    /// earlier one, and delays that call; it must not panic.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::Event};
    /// let breaker = CircuitBreaker::builder()
    ///     .on_event(|event| {
    ///         if let Event::StateChanged { to, .. } = event {
    ///             println!("the circuit is now {to}");
    ///         }
    ///     })
    ///     .build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn on_event(mut self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.listeners.push(Arc::new(listener));
        self
    }

    /// A closed breaker with these settings.
    ///
    /// ```
    /// # use quorate_resilience::CircuitBreaker;
    /// let refused = CircuitBreaker::builder().success_threshold(0).build().unwrap_err();
    /// assert_eq!(refused.to_string(), "success_threshold must be at least 1");
    /// ```
    ///
    /// # Errors
    ///
    /// The first setting that cannot work, and what is allowed.
    pub fn build(&self) -> Result<CircuitBreaker, InvalidSetting> {
        let mut rules = self.rules.clone();
        rules.half_open_max_calls = self.half_open_max_calls.unwrap_or(rules.success_threshold);
        rules.check()?;
        Ok(CircuitBreaker(Arc::new(Gate::new(rules, Arc::clone(&self.clock), self.listeners.clone()))))
    }

    pub(super) fn shared_clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }
}

impl Rules {
    fn check(&self) -> Result<(), InvalidSetting> {
        match &self.trip {
            Trip::Consecutive { failures } => {
                InvalidSetting::unless(*failures >= 1, "failure_threshold", "must be at least 1")?;
            }
            Trip::Rate(rule) => rule.check()?,
        }
        let probes = (1..=HALF_OPEN_CALLS_MAX).contains(&self.half_open_max_calls);
        InvalidSetting::unless(self.success_threshold >= 1, "success_threshold", "must be at least 1")?;
        InvalidSetting::unless(probes, "half_open_max_calls", "must be from 1 to 1024")?;
        let patience = !self.half_open_timeout.is_zero();
        InvalidSetting::unless(patience, "half_open_timeout", "must be above 0")?;
        check_rate(self.half_open_failure_rate, "half_open_failure_rate")
    }
}
