//! A breaker around a tower service.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{CircuitBreaker, Classified, Classify, OwnedPermit};
use crate::error::{Error, Rejected};

/// Puts a breaker around a service. Services that are made by clones of one layer share the breaker.
///
/// ```
/// use quorate_resilience::{CircuitBreaker, Error, breaker::CircuitBreakerLayer};
/// use tower_layer::Layer as _;
/// # use std::{future::{Ready, ready}, task::{Context, Poll}};
/// # struct Echo;
/// # impl tower_service::Service<u32> for Echo {
/// #     type Response = u32; type Error = String; type Future = Ready<Result<u32, String>>;
/// #     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), String>> { Poll::Ready(Ok(())) }
/// #     fn call(&mut self, request: u32) -> Self::Future { ready(Ok(request)) }
/// # }
///
/// let breaker = CircuitBreaker::new();
/// let service = CircuitBreakerLayer::new(breaker.clone()).layer(Echo);
/// ```
#[derive(Clone, Debug)]
pub struct CircuitBreakerLayer<C> {
    classified: Classified<C>,
}

impl CircuitBreakerLayer<()> {
    /// `Ok` is a success, `Err` a failure.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::CircuitBreakerLayer};
    /// let layer = CircuitBreakerLayer::new(CircuitBreaker::new());
    /// ```
    #[must_use]
    pub fn new(breaker: CircuitBreaker) -> Self {
        Self { classified: breaker.classify(()) }
    }
}

impl<C> CircuitBreakerLayer<C> {
    /// Another reading of results.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::{CircuitBreakerLayer, Outcome}};
    /// let read = |result: &Result<u16, String>| match result {
    ///     Ok(500..) => Outcome::Failure,
    ///     other => Outcome::of(other),
    /// };
    /// let layer = CircuitBreakerLayer::classified(CircuitBreaker::new().classify(read));
    /// ```
    #[must_use]
    pub fn classified(classified: Classified<C>) -> Self {
        Self { classified }
    }
}

impl<S, C: Clone> Layer<S> for CircuitBreakerLayer<C> {
    type Service = CircuitBreakerService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreakerService { inner, classified: self.classified.clone() }
    }
}

/// A service with a breaker around it; made by [`CircuitBreakerLayer`]. Its readiness is the service's own: a
/// refused call answers at once with [`Error::Rejected`].
///
/// ```
/// # use quorate_resilience::{CircuitBreaker, breaker::{CircuitBreakerLayer, CircuitBreakerService}};
/// # use tower_layer::Layer as _;
/// let service: CircuitBreakerService<&str, ()> =
///     CircuitBreakerLayer::new(CircuitBreaker::new()).layer("any service");
/// ```
#[derive(Clone, Debug)]
pub struct CircuitBreakerService<S, C> {
    inner: S,
    classified: Classified<C>,
}

impl<S, C, Request> Service<Request> for CircuitBreakerService<S, C>
where
    S: Service<Request>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(Error::Failed)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let answer = match self.classified.breaker().try_acquire_owned() {
            Ok(permit) => Answer::Called {
                call: self.inner.call(request),
                waiting: Waiting(permit),
                classify: self.classified.classify.clone(),
            },
            Err(rejected) => Answer::Rejected { rejected },
        };
        ResponseFuture { answer }
    }
}

pin_project! {
    /// The answer of a [`CircuitBreakerService`].
    ///
    /// ```
    /// # use quorate_resilience::breaker::ResponseFuture;
    /// fn is_a_future<F: Future<Output = Result<u32, String>>>(answer: ResponseFuture<F, ()>) -> impl Future {
    ///     answer
    /// }
    /// ```
    pub struct ResponseFuture<F, C> {
        #[pin]
        answer: Answer<F, C>,
    }
}

pin_project! {
    // Fields are dropped in their order: the call is gone before its permit is settled.
    #[project = AnswerProjection]
    enum Answer<F, C> {
        Called { #[pin] call: F, waiting: Waiting, classify: C },
        Rejected { rejected: Rejected },
    }
}

/// The permit of a call that waits. Dropped before the call has ended it is a cancellation, also in a panic of something
/// else.
struct Waiting(OwnedPermit);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// While a call is polled, its permit: a panic gives it up here, and so is seen as one. The permit stays where it is: to
/// move it would cost as much as all the rest.
struct Polled<'a>(&'a mut Waiting);

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        self.0.0.give_up();
    }
}

impl<F, C, T, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().answer.project() {
            AnswerProjection::Rejected { rejected } => Poll::Ready(Err(Error::Rejected(*rejected))),
            AnswerProjection::Called { call, waiting, classify } => {
                let within = Polled(waiting);
                let polled = call.poll(context).map(|result| (classify.outcome(&result), result));
                mem::forget(within);
                let (outcome, result) = ready!(polled);
                waiting.0.conclude(outcome);
                Poll::Ready(result.map_err(Error::Failed))
            }
        }
    }
}
