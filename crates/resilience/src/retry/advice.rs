//! Whether a retry can help.

use std::time::Duration;

use crate::error::Error;

/// What to do about an error.
///
/// ```
/// use quorate_resilience::{Error, retry::Advice};
/// use std::time::Duration;
///
/// let timed_out: Error<()> = Error::TimedOut { after: Duration::from_secs(1) };
/// assert_eq!(timed_out.advice(), Advice::Retry);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Retry after the usual wait.
    Retry,
    /// Retry after this wait, or the usual one if that is longer. Not at all if it exceeds `max_delay`: to come
    /// back earlier than was asked would be in vain.
    RetryAfter(Duration),
    /// A guard of our own refused. Retry only if it says for how long it will, and that is known to fit in what
    /// is left of `max_elapsed`.
    Rejected {
        /// For how long.
        retry_after: Option<Duration>,
    },
    /// No retry can help.
    Stop,
}

/// Reads errors: a closure, or `()` to retry them all.
///
/// ```
/// use quorate_resilience::retry::{Advice, Advise};
///
/// assert_eq!(().advise(&"any error"), Advice::Retry);
/// assert_eq!((|_: &&str| Advice::Stop).advise(&"any error"), Advice::Stop);
/// ```
pub trait Advise<E> {
    /// What to do about this error.
    ///
    /// ```
    /// # use quorate_resilience::retry::{Advice, Advise};
    /// let by_status = |status: &u16| if *status >= 500 { Advice::Retry } else { Advice::Stop };
    /// assert_eq!(by_status.advise(&404), Advice::Stop);
    /// ```
    fn advise(&self, error: &E) -> Advice;
}

impl<E> Advise<E> for () {
    fn advise(&self, _: &E) -> Advice {
        Advice::Retry
    }
}

impl<E, F: Fn(&E) -> Advice> Advise<E> for F {
    fn advise(&self, error: &E) -> Advice {
        self(error)
    }
}

/// Retries what a predicate picks; made by [`Retry::retry_if`](super::Retry::retry_if).
///
/// ```
/// # use quorate_resilience::{Retry, retry::RetryIf};
/// fn pick(error: &std::fmt::Error) -> bool { true }
/// let retry: Retry<RetryIf<fn(&std::fmt::Error) -> bool>> = Retry::new().retry_if(pick);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RetryIf<F>(pub(super) F);

impl<E, F: Fn(&E) -> bool> Advise<E> for RetryIf<F> {
    fn advise(&self, error: &E) -> Advice {
        if (self.0)(error) { Advice::Retry } else { Advice::Stop }
    }
}

impl<E> Error<E> {
    /// The advice for a guarded call: retry failures and time-outs, and a rejection only if there is time to
    /// wait until the guard may admit a call.
    ///
    /// ```
    /// # use quorate_resilience::{Error, Retry};
    /// let retry = Retry::new().advise(Error::<std::io::Error>::advice);
    /// ```
    pub fn advice(&self) -> Advice {
        self.advice_by(|_| Advice::Retry)
    }

    /// As [`advice`](Error::advice), with another reading of the call's own errors.
    ///
    /// ```
    /// # use quorate_resilience::{Error, Retry, retry::Advice};
    /// let permanent = |error: &Error<u16>| error.advice_by(|_| Advice::Stop);
    /// assert_eq!(permanent(&Error::Failed(404)), Advice::Stop);
    /// ```
    pub fn advice_by(&self, failed: impl FnOnce(&E) -> Advice) -> Advice {
        match self {
            Self::Failed(error) => failed(error),
            Self::TimedOut { .. } => Advice::Retry,
            Self::Rejected(rejected) => Advice::Rejected { retry_after: rejected.retry_after },
        }
    }
}
