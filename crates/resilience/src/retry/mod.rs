//! Retry: call again what failed for a reason that may pass, ever more slowly, and not for ever.
//!
//! * Waits grow exponentially up to a cap, and are spread by jitter, so that callers that failed together do
//!   not come back together. Arithmetic saturates, and jitter never exceeds the cap.
//! * A retry is made only if every limit allows it: attempts, time, and a [`RetryBudget`] that all callers of a
//!   service share, so that retries cannot multiply the load of a service that is failing.
//! * The last error comes back with the number of attempts, the time spent, and why there was no further one.
//!
//! **The composition** is Retry(Breaker(AttemptTimeout(call))): each attempt has its own time, a time-out is a
//! failure in the breaker's eyes, and every attempt asks the breaker. A rejection is final unless the wait that
//! it names fits in what is left of `max_elapsed`; [`Error::advice`] says so.
//!
//! ```
//! use quorate_resilience::{CircuitBreaker, Error, Retry, timeout};
//! use std::time::Duration;
//!
//! # async fn fetch() -> Result<u32, std::io::Error> { Ok(7) }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let breaker = CircuitBreaker::new();
//! let retry = Retry::builder().max_elapsed(Duration::from_secs(10)).build().unwrap().advise(Error::advice);
//!
//! let answer = retry
//!     .run(|| async {
//!         let call = timeout(Duration::from_secs(1), fetch());
//!         breaker.call(call).await.map_err(Error::flatten)
//!     })
//!     .await;
//! assert_eq!(answer.unwrap(), 7);
//! # }
//! ```
//!
//! Retry what is idempotent: an attempt that failed or timed out may have had its effect all the same.

mod advice;
mod budget;
mod course;
mod hint;
mod jitter;
#[cfg(feature = "tower")]
mod layer;
#[cfg(feature = "tokio")]
mod run;
mod settings;
#[cfg(feature = "tower")]
mod stage;
#[cfg(feature = "tokio")]
mod watch;

use std::{sync::Arc, time::Duration};

pub use self::advice::{Advice, Advise, RetryIf};
pub use self::budget::RetryBudget;
pub use self::hint::retry_after;
pub use self::jitter::Jitter;
#[cfg(feature = "tower")]
pub use self::layer::{RetryFuture, RetryLayer, RetryService};
pub use self::settings::Builder;

use self::course::{Course, Failure};
use self::settings::Plan;
use crate::error::{Error, Shown};

/// How to retry. Clones share the generator of jitter and the budget.
///
/// By default: 3 attempts, the first included; waits of 1 s, 2 s, .. up to 60 s, times a random factor from
/// 0.5 up to 1; every error is retried.
///
/// ```
/// use quorate_resilience::Retry;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let mut attempts = 0;
/// let answer = Retry::new()
///     .run(|| {
///         attempts += 1;
///         let attempt = attempts;
///         async move { if attempt < 3 { Err("busy") } else { Ok(attempt) } }
///     })
///     .await;
/// assert_eq!(answer.unwrap(), 3);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Retry<A = ()> {
    plan: Arc<Plan>,
    advise: A,
}

/// No attempt succeeded.
///
/// ```
/// use quorate_resilience::{Error, Retry, clock::ManualClock, retry::GaveUp};
///
/// let retry = Retry::builder().clock(ManualClock::new()).build()?;
/// let error = retry.run_blocking(|| Err::<(), _>("refused")).unwrap_err();
/// assert_eq!((&error.last, error.attempts), (&Error::Failed("refused"), 3));
/// assert_eq!(error.gave_up, GaveUp::Attempts);
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
///
/// What it tells is behind one pointer, so that a result that may carry it is hardly larger than the value which it nearly
/// always carries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct RetryError<E>(Box<GivenUp<E>>);

/// What a [`RetryError`] tells.
///
/// ```
/// use quorate_resilience::{Retry, retry::GivenUp};
///
/// let error = Retry::new().retry_if(|_: &&str| false).run_blocking(|| Err::<(), _>("refused")).unwrap_err();
/// let GivenUp { attempts, .. } = *error;
/// assert_eq!(attempts, 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{last} (after {attempts} attempts in {}: {gave_up})", Shown(*.elapsed))]
#[non_exhaustive]
pub struct GivenUp<E> {
    /// How the last attempt ended.
    #[source]
    pub last: Error<E>,
    /// How many attempts were made. One that waited for a service to become ready, in vain, is among them.
    pub attempts: u32,
    /// From the beginning of the first attempt to the end of the last one.
    pub elapsed: Duration,
    /// Why there was no further attempt.
    pub gave_up: GaveUp,
}

impl<E> RetryError<E> {
    #[cold]
    fn of(last: Error<E>, attempts: u32, elapsed: Duration, gave_up: GaveUp) -> Self {
        Self(Box::new(GivenUp { last, attempts, elapsed, gave_up }))
    }

    /// How the last attempt ended.
    ///
    /// ```
    /// use quorate_resilience::{Error, Retry};
    ///
    /// let retry = Retry::new().retry_if(|_: &String| false);
    /// let error = retry.run_blocking(|| Err::<(), _>("refused".to_owned())).unwrap_err();
    /// assert_eq!(error.into_last(), Error::Failed("refused".to_owned()));
    /// ```
    pub fn into_last(self) -> Error<E> {
        self.0.last
    }
}

impl<E> std::ops::Deref for RetryError<E> {
    type Target = GivenUp<E>;

    fn deref(&self) -> &GivenUp<E> {
        &self.0
    }
}

/// Why there was no further attempt.
///
/// ```
/// # use quorate_resilience::retry::GaveUp;
/// assert_eq!(GaveUp::Budget.to_string(), "the retry budget is spent");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum GaveUp {
    /// The error is one that no retry can mend.
    #[error("the error is final")]
    Final,
    /// All attempts were made.
    #[error("no attempts are left")]
    Attempts,
    /// The wait would have ended after `max_elapsed`.
    #[error("no time is left")]
    Time,
    /// The service asked for a wait beyond `max_delay`.
    #[error("the wait asked for is too long")]
    Wait,
    /// The callers of the service have retried enough for now.
    #[error("the retry budget is spent")]
    Budget,
}

impl Retry {
    /// The defaults.
    ///
    /// ```
    /// let retry = quorate_resilience::Retry::new();
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build().expect("the defaults are valid")
    }

    /// Other settings.
    ///
    /// ```
    /// # use quorate_resilience::Retry;
    /// let retry = Retry::builder().max_attempts(5).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

impl<A> Retry<A> {
    /// Retries only the errors that `wanted` picks.
    ///
    /// ```
    /// use quorate_resilience::Retry;
    /// use std::io::{Error, ErrorKind};
    ///
    /// let retry = Retry::new().retry_if(|error: &Error| error.kind() == ErrorKind::Interrupted);
    /// let error = retry.run_blocking(|| std::fs::read("/no such file")).unwrap_err();
    /// assert_eq!(error.attempts, 1);
    /// ```
    pub fn retry_if<F>(&self, wanted: F) -> Retry<RetryIf<F>> {
        self.advise(RetryIf(wanted))
    }

    /// Lets the error say whether, and after which wait, to retry.
    ///
    /// ```
    /// use quorate_resilience::{Retry, retry::Advice};
    /// use std::time::Duration;
    ///
    /// struct Status { code: u16, retry_after: Option<Duration> }
    ///
    /// let retry = Retry::new().advise(|status: &Status| match (status.code, status.retry_after) {
    ///     (429 | 503, Some(wait)) => Advice::RetryAfter(wait),
    ///     (500.., _) => Advice::Retry,
    ///     _ => Advice::Stop,
    /// });
    /// ```
    pub fn advise<B>(&self, advise: B) -> Retry<B> {
        Retry { plan: Arc::clone(&self.plan), advise }
    }

    /// Makes a call until it succeeds or a limit is reached.
    ///
    /// The time spent counts from when the first attempt first gave way: up to then an asynchronous call has
    /// spent none, and a call that succeeds at once need not pay for reading a clock.
    ///
    /// ```
    /// # use quorate_resilience::Retry;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// assert_eq!(Retry::new().run(|| async { Ok::<_, ()>(7) }).await, Ok(7));
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The last attempt's, with how many there were and how long they took.
    #[cfg(feature = "tokio")]
    #[inline]
    pub fn run<T, E, F>(&self, call: impl FnMut() -> F) -> impl Future<Output = Result<T, RetryError<E>>>
    where
        F: Future<Output = Result<T, E>>,
        A: Advise<E>,
    {
        run::run(self, call)
    }

    /// Makes a call in this thread until it succeeds or a limit is reached. An attempt's own time-out does not
    /// apply: nothing can cut a thread short.
    ///
    /// ```
    /// # use quorate_resilience::Retry;
    /// assert_eq!(Retry::new().run_blocking(|| "7".parse::<u32>()), Ok(7));
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`run`](Retry::run).
    pub fn run_blocking<T, E>(&self, mut call: impl FnMut() -> Result<T, E>) -> Result<T, RetryError<E>>
    where
        A: Advise<E>,
    {
        let mut course = Course::new();
        Course::begin(&self.plan);
        let since = Some(self.plan.clock.now());
        loop {
            let wait = match call() {
                Ok(value) => {
                    Course::succeeded(&self.plan);
                    return Ok(value);
                }
                Err(error) => {
                    course.failed(&self.plan, Failure { error: Error::Failed(error), since }, &self.advise)?
                }
            };
            self.plan.clock.sleep(wait);
        }
    }
}
