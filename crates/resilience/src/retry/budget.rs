//! A bound on the retries of all callers of a service together.
//!
//! One caller's three attempts are harmless; those of all callers triple the load of a service that is failing
//! because of its load. A budget is shared: clone it into every `Retry` of the same service.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::error::InvalidSetting;

/// A bound on the retries of all callers of a service together. Clones are the same budget.
///
/// ```
/// use quorate_resilience::{Retry, clock::ManualClock, retry::{GaveUp, RetryBudget}};
/// use std::time::Duration;
///
/// // A retry for every ten calls, and nothing beyond.
/// let budget = RetryBudget::new(0.1, 0.0, Duration::from_secs(10))?;
/// let retry = Retry::builder().clock(ManualClock::new()).budget(budget).build()?;
/// let error = retry.run_blocking(|| Err::<(), _>("refused")).unwrap_err();
/// assert_eq!((error.attempts, error.gave_up), (1, GaveUp::Budget));
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
#[derive(Clone, Debug)]
pub struct RetryBudget(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    Decaying(Decaying),
    Throttling(Throttling),
}

impl RetryBudget {
    /// Each call pays in `ratio` of a token, each retry takes out one. What was paid in fades away, by a factor
    /// of e in `ttl`; so a quiet hour saves up nothing, and a long idle time costs nothing to account for.
    /// Beside that, `minimum_per_second` retries are allowed whatever the traffic, saved up over `ttl` at most.
    ///
    /// The default is `(0.2, 10.0, 10 s)`.
    ///
    /// ```
    /// # use quorate_resilience::{Retry, retry::RetryBudget}; use std::time::Duration;
    /// let tenth = RetryBudget::new(0.1, 1.0, Duration::from_secs(10))?;
    /// let retry = Retry::builder().budget(tenth).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A ratio or minimum that is negative or no number, or a `ttl` of zero.
    pub fn new(ratio: f64, minimum_per_second: f64, ttl: Duration) -> Result<Self, InvalidSetting> {
        let is_amount = |amount: f64| amount.is_finite() && amount >= 0.0;
        InvalidSetting::unless(is_amount(ratio), "ratio", "must not be negative")?;
        InvalidSetting::unless(is_amount(minimum_per_second), "minimum_per_second", "must not be negative")?;
        InvalidSetting::unless(!ttl.is_zero(), "ttl", "must be above 0")?;
        let rest = minimum_per_second * ttl.as_secs_f64();
        let balance = Mutex::new(Balance { tokens: rest, at: None });
        Ok(Self(Arc::new(Kind::Decaying(Decaying { ratio, rest, ttl, balance }))))
    }

    /// The throttling of gRPC (proposal A6): a failure takes a token, a success gives back `token_ratio` of one,
    /// up to `max_tokens`. While not more than half of them are left, nothing is retried. It knows no time.
    ///
    /// ```
    /// # use quorate_resilience::{Retry, retry::RetryBudget};
    /// let retry = Retry::builder().budget(RetryBudget::throttling(10, 0.1)?).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A ratio that is not above 0 or above 1,000, or no tokens.
    pub fn throttling(max_tokens: u32, token_ratio: f64) -> Result<Self, InvalidSetting> {
        InvalidSetting::unless(max_tokens >= 1, "max_tokens", "must be at least 1")?;
        let fits = token_ratio > 0.0 && token_ratio <= 1000.0;
        InvalidSetting::unless(fits, "token_ratio", "must be above 0 and at most 1000")?;
        let full = u64::from(max_tokens) * TOKEN;
        let gain = (token_ratio * TOKEN as f64).round() as u64;
        Ok(Self(Arc::new(Kind::Throttling(Throttling { full, gain, left: AtomicU64::new(full) }))))
    }

    /// A call begins: its first attempt.
    pub(super) fn on_call(&self, clock: &dyn Clock) {
        match &*self.0 {
            Kind::Decaying(budget) => budget.change(clock.now(), |tokens| *tokens += budget.ratio),
            Kind::Throttling(_) => {}
        }
    }

    /// An attempt succeeded.
    pub(super) fn on_success(&self) {
        match &*self.0 {
            Kind::Decaying(_) => {}
            Kind::Throttling(budget) => budget.succeeded(),
        }
    }

    /// An attempt failed; whether that leaves room for retries.
    pub(super) fn on_failure(&self) -> bool {
        match &*self.0 {
            Kind::Decaying(_) => true,
            Kind::Throttling(budget) => budget.failed(),
        }
    }

    /// Takes what a retry costs, if it is there.
    pub(super) fn withdraw(&self, now: Instant) -> bool {
        match &*self.0 {
            Kind::Throttling(_) => true,
            Kind::Decaying(budget) => budget.change(now, |tokens| {
                let covered = *tokens >= 1.0;
                *tokens -= if covered { 1.0 } else { 0.0 };
                covered
            }),
        }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(0.2, 10.0, Duration::from_secs(10)).expect("the defaults are valid")
    }
}

/// One number, the balance, which tends to `rest` and changes by payments in between. Its decay has a closed
/// form, so that any time without calls is accounted for in one step.
#[derive(Debug)]
struct Decaying {
    ratio: f64,
    /// What the balance comes to without calls: the guaranteed retries of one `ttl`.
    rest: f64,
    ttl: Duration,
    balance: Mutex<Balance>,
}

#[derive(Debug)]
struct Balance {
    tokens: f64,
    /// When that was. `None` before the first call.
    at: Option<Instant>,
}

impl Decaying {
    /// Reading and changing the balance are one step: two callers never take the same token.
    fn change<R>(&self, now: Instant, change: impl FnOnce(&mut f64) -> R) -> R {
        let mut balance = self.balance.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(balance.at.unwrap_or(now));
        let faded = (-passed.as_secs_f64() / self.ttl.as_secs_f64()).exp();
        balance.tokens = self.rest + (balance.tokens - self.rest) * faded;
        // Threads may come here in another order than they read the clock.
        balance.at = balance.at.max(Some(now));
        change(&mut balance.tokens)
    }
}

/// Thousandths of a token are as exact as gRPC is.
const TOKEN: u64 = 1000;

#[derive(Debug)]
struct Throttling {
    full: u64,
    gain: u64,
    left: AtomicU64,
}

impl Throttling {
    /// Writes nothing while nothing fails.
    fn succeeded(&self) {
        if self.left.load(Ordering::Relaxed) < self.full {
            let given_back = |left: u64| Some((left + self.gain).min(self.full));
            let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, given_back);
        }
    }

    /// Whether more than half of the tokens are left then.
    fn failed(&self) -> bool {
        let taken = |left: u64| left.saturating_sub(TOKEN);
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(taken(left)));
        let left = taken(before.unwrap_or_else(|unchanged| unchanged));
        left * 2 > self.full
    }
}
