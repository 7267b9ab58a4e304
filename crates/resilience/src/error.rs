//! What a guarded call can answer besides a value.

use std::{fmt, time::Duration};

/// Why a guarded call has no value, by what the caller can do about it.
///
/// ```
/// use quorate_resilience::{CircuitBreaker, Error};
///
/// let breaker = CircuitBreaker::new();
/// let answer: Result<u32, Error<std::num::ParseIntError>> = breaker.call_blocking(|| "x".parse());
/// assert!(matches!(answer, Err(Error::Failed(_))));
/// breaker.force_open();
/// let answer = breaker.call_blocking(|| "1".parse::<u32>());
/// assert!(matches!(answer, Err(Error::Rejected(_))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E> {
    /// The call was made, and this is its own error.
    #[error(transparent)]
    Failed(E),
    /// The call was made and given up; what became of it at the other side is unknown.
    #[error("no answer within {}", Shown(*.after))]
    TimedOut {
        /// The time that it was given.
        after: Duration,
    },
    /// The call was not made.
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

impl<E> Error<E> {
    /// The call's own error, if it was made and failed.
    ///
    /// ```
    /// # use quorate_resilience::Error;
    /// assert_eq!(Error::Failed("refused").into_failure(), Some("refused"));
    /// ```
    pub fn into_failure(self) -> Option<E> {
        match self {
            Self::Failed(error) => Some(error),
            Self::TimedOut { .. } | Self::Rejected(_) => None,
        }
    }
}

impl<E> Error<Error<E>> {
    /// One error out of two guards, one within the other.
    ///
    /// ```
    /// # use quorate_resilience::Error; use std::time::Duration;
    /// let after = Duration::from_secs(1);
    /// let nested: Error<Error<&str>> = Error::Failed(Error::TimedOut { after });
    /// assert_eq!(nested.flatten(), Error::TimedOut { after });
    /// ```
    pub fn flatten(self) -> Error<E> {
        match self {
            Self::Failed(inner) => inner,
            Self::TimedOut { after } => Error::TimedOut { after },
            Self::Rejected(rejected) => Error::Rejected(rejected),
        }
    }
}

/// A call was not made. Nothing has reached the service.
///
/// ```
/// use quorate_resilience::{CircuitBreaker, RejectedBy, clock::ManualClock};
/// use std::time::Duration;
///
/// let breaker = CircuitBreaker::builder().clock(ManualClock::new()).build()?;
/// breaker.trip();
/// let rejected = breaker.try_acquire().unwrap_err();
/// assert_eq!(rejected.by, RejectedBy::OpenCircuit);
/// assert_eq!(rejected.retry_after, Some(Duration::from_secs(60)));
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct Rejected {
    /// The guard that refused.
    pub by: RejectedBy,
    /// In how long it may admit a call again; `None` where that is unknown.
    pub retry_after: Option<Duration>,
}

impl Rejected {
    pub(crate) fn new(by: RejectedBy, retry_after: Option<Duration>) -> Self {
        Self { by, retry_after }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not called: {}", self.by)?;
        match self.retry_after {
            Some(after) => write!(f, "; try again in {}", Shown(after)),
            None => Ok(()),
        }
    }
}

/// The guard that refused a call.
///
/// ```
/// # use quorate_resilience::RejectedBy;
/// assert_eq!(RejectedBy::FullBulkhead.to_string(), "too many calls are running");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectedBy {
    /// A breaker that is open.
    OpenCircuit,
    /// A half-open breaker with all its probes on their way.
    ProbingCircuit,
    /// A breaker that was opened by hand, and waits for a hand.
    ForcedOpenCircuit,
    /// A bulkhead without room.
    FullBulkhead,
    /// A rate limit.
    RateLimit,
    /// An adaptive throttle: the service has been refusing too much.
    Throttle,
}

impl fmt::Display for RejectedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenCircuit => "the circuit is open",
            Self::ProbingCircuit => "the circuit is half-open, and its probes are on their way",
            Self::ForcedOpenCircuit => "the circuit is held open by hand",
            Self::FullBulkhead => "too many calls are running",
            Self::RateLimit => "the rate limit is reached",
            Self::Throttle => "the service has been refusing calls",
        })
    }
}

/// A setting that cannot work, told when something is built with it.
///
/// ```
/// use quorate_resilience::CircuitBreaker;
///
/// let refused = CircuitBreaker::builder().failure_threshold(0).build().unwrap_err();
/// assert_eq!(refused.to_string(), "failure_threshold must be at least 1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {why}")]
pub struct InvalidSetting {
    setting: &'static str,
    why: &'static str,
}

impl InvalidSetting {
    /// An error unless `holds`.
    pub(crate) fn unless(holds: bool, setting: &'static str, why: &'static str) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self { setting, why }) }
    }
}

/// A duration for people: in seconds, to the millisecond; shorter ones in microseconds, rounded up.
pub(crate) struct Shown(pub(crate) Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(duration) = self;
        if *duration < Duration::from_millis(1) {
            write!(f, "{} us", duration.as_nanos().div_ceil(1000))
        } else {
            write!(f, "{} s", duration.as_millis() as f64 / 1000.0)
        }
    }
}
