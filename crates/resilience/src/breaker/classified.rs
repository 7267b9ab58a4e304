//! How results are read.

use std::future::Future;

use super::CircuitBreaker;
use super::call::{Call, call_blocking};
use crate::error::Error;

/// What a call says about the service.
///
/// ```
/// # use quorate_resilience::breaker::Outcome;
/// assert_eq!(Outcome::of(&"7".parse::<u32>()), Outcome::Success);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It works.
    Success,
    /// It does not.
    Failure,
    /// Nothing, such as an error that the caller made. A probe that ends so gives its place to another.
    Ignored,
}

impl Outcome {
    /// The usual reading: `Ok` is a success, `Err` a failure.
    ///
    /// ```
    /// # use quorate_resilience::breaker::Outcome;
    /// assert_eq!(Outcome::of(&"x".parse::<u32>()), Outcome::Failure);
    /// ```
    #[inline]
    pub fn of<T, E>(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Success,
            Err(_) => Self::Failure,
        }
    }

    /// The reading of a call that has guards of its own: what they refused says nothing about the service.
    ///
    /// ```
    /// use quorate_resilience::{Bulkhead, CircuitBreaker, Error, breaker::Outcome};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let breaker = CircuitBreaker::new().classify(Outcome::of_guarded);
    /// let bulkhead = Bulkhead::new(10, 100, Duration::from_secs(1)).unwrap();
    /// let answer = breaker.call(bulkhead.call(async { Ok::<_, ()>(7) })).await.map_err(Error::flatten);
    /// assert_eq!(answer, Ok(7));
    /// # }
    /// ```
    pub fn of_guarded<T, E>(result: &Result<T, Error<E>>) -> Self {
        match result {
            Ok(_) => Self::Success,
            Err(Error::Failed(_) | Error::TimedOut { .. }) => Self::Failure,
            Err(Error::Rejected(_)) => Self::Ignored,
        }
    }
}

/// A reading of results: a closure, or `()` for the [usual one](Outcome::of).
///
/// ```
/// use quorate_resilience::breaker::{Classify, Outcome};
///
/// fn outcome(reading: impl Classify<u16, String>) -> Outcome {
///     reading.outcome(&Ok(503))
/// }
/// assert_eq!(outcome(()), Outcome::Success);
/// assert_eq!(outcome(|result: &Result<u16, String>| match result {
///     Ok(500..) | Err(_) => Outcome::Failure,
///     Ok(_) => Outcome::Success,
/// }), Outcome::Failure);
/// ```
pub trait Classify<T, E> {
    /// What this result says about the service.
    ///
    /// ```
    /// # use quorate_resilience::breaker::{Classify, Outcome};
    /// assert_eq!(().outcome(&Err::<u16, _>("refused")), Outcome::Failure);
    /// ```
    fn outcome(&self, result: &Result<T, E>) -> Outcome;
}

impl<T, E> Classify<T, E> for () {
    #[inline]
    fn outcome(&self, result: &Result<T, E>) -> Outcome {
        Outcome::of(result)
    }
}

impl<T, E, F: Fn(&Result<T, E>) -> Outcome> Classify<T, E> for F {
    #[inline]
    fn outcome(&self, result: &Result<T, E>) -> Outcome {
        self(result)
    }
}

/// A breaker together with a reading of results; made by [`CircuitBreaker::classify`].
///
/// ```
/// use quorate_resilience::{CircuitBreaker, breaker::Outcome};
/// use std::io::{Error, ErrorKind};
///
/// let files = CircuitBreaker::new().classify(|result: &Result<String, Error>| match result {
///     Err(error) if error.kind() == ErrorKind::NotFound => Outcome::Ignored,
///     other => Outcome::of(other),
/// });
/// let _ = files.call_blocking(|| std::fs::read_to_string("/no such file"));
/// assert_eq!(files.breaker().snapshot().consecutive_failures, 0);
/// ```
#[derive(Clone, Debug)]
pub struct Classified<C> {
    breaker: CircuitBreaker,
    pub(super) classify: C,
}

impl<C> Classified<C> {
    pub(super) fn new(breaker: CircuitBreaker, classify: C) -> Self {
        Self { breaker, classify }
    }

    /// The breaker itself.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::Outcome};
    /// let reading = CircuitBreaker::new().classify(Outcome::of::<(), ()>);
    /// reading.breaker().force_open();
    /// ```
    pub fn breaker(&self) -> &CircuitBreaker {
        &self.breaker
    }

    /// As [`CircuitBreaker::call`].
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::Outcome};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let reading = CircuitBreaker::new().classify(|_: &Result<u32, ()>| Outcome::Ignored);
    /// assert_eq!(reading.call(async { Ok(7) }).await, Ok(7));
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`CircuitBreaker::call`].
    #[inline]
    pub fn call<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> impl Future<Output = Result<T, Error<E>>>
    where
        C: Classify<T, E>,
    {
        Call::new(&self.breaker.0, &self.classify, call)
    }

    /// As [`CircuitBreaker::call_blocking`].
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::Outcome};
    /// let reading = CircuitBreaker::new().classify(|_: &Result<u32, ()>| Outcome::Ignored);
    /// assert_eq!(reading.call_blocking(|| Ok(7)), Ok(7));
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`CircuitBreaker::call`].
    #[inline]
    pub fn call_blocking<T, E>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>>
    where
        C: Classify<T, E>,
    {
        call_blocking(&self.breaker.0, &self.classify, call)
    }
}
