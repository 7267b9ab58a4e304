//! Retry around a tower service.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::course::Course;
use super::stage::Stage;
use super::{Advise, GaveUp, Retry, RetryError};
use crate::error::Error;
use crate::layer::take_ready;

/// Puts retries around a service whose requests can be cloned.
///
/// ```
/// use quorate_resilience::{Retry, retry::RetryLayer};
///
/// let layer = RetryLayer::new(Retry::new().retry_if(|error: &std::io::Error| error.raw_os_error().is_some()));
/// ```
#[derive(Clone, Debug)]
pub struct RetryLayer<A = ()> {
    retry: Retry<A>,
}

impl<A> RetryLayer<A> {
    /// Retries as `retry` says.
    ///
    /// ```
    /// # use quorate_resilience::{Retry, retry::RetryLayer};
    /// let layer = RetryLayer::new(Retry::new());
    /// ```
    #[must_use]
    pub fn new(retry: Retry<A>) -> Self {
        Self { retry }
    }
}

impl<S, A: Clone> Layer<S> for RetryLayer<A> {
    type Service = RetryService<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        RetryService { inner, retry: self.retry.clone() }
    }
}

/// A service with retries around it; made by [`RetryLayer`]. The first attempt uses the readiness that was polled;
/// each further one is made by a clone of the service, and begins with waiting until that is ready. An attempt's
/// time-out includes this wait, and a clone that cannot become ready is an attempt that failed.
///
/// ```
/// # use quorate_resilience::{Retry, retry::{RetryLayer, RetryService}};
/// # use tower_layer::Layer as _;
/// let service: RetryService<&str> = RetryLayer::new(Retry::new()).layer("any service");
/// ```
#[derive(Clone, Debug)]
pub struct RetryService<S, A = ()> {
    inner: S,
    retry: Retry<A>,
}

impl<S, A, Request> Service<Request> for RetryService<S, A>
where
    S: Service<Request> + Clone,
    A: Advise<S::Error> + Clone,
    Request: Clone,
{
    type Response = S::Response;
    type Error = RetryError<S::Error>;
    type Future = RetryFuture<S, A, Request>;

    /// A service that cannot become ready has made no attempt.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let unready = |error| RetryError::of(Error::Failed(error), 0, Duration::ZERO, GaveUp::Final);
        self.inner.poll_ready(context).map_err(unready)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let mut service = take_ready(&mut self.inner);
        Course::begin(&self.retry.plan);
        let (retry, course) = (self.retry.clone(), Course::new());
        let stage = Stage::called(Attempt::Called { call: service.call(request.clone()) });
        RetryFuture { retry, course, service, request, stage }
    }
}

pin_project! {
    /// The answer of a [`RetryService`]. It allocates nothing for a request that succeeds.
    ///
    /// ```
    /// # use quorate_resilience::retry::{Advise, RetryFuture};
    /// # use tower_service::Service;
    /// fn is_a_future<S, A>(answer: RetryFuture<S, A, u32>) -> impl Future
    /// where
    ///     S: Service<u32> + Clone,
    ///     A: Advise<S::Error>,
    /// {
    ///     answer
    /// }
    /// ```
    pub struct RetryFuture<S, A, Request>
    where
        S: Service<Request>,
    {
        retry: Retry<A>,
        course: Course,
        // It made the first attempt, and is only cloned since.
        service: S,
        request: Request,
        #[pin]
        stage: Stage<Attempt<S, Request>>,
    }
}

impl<S, A, Request> Future for RetryFuture<S, A, Request>
where
    S: Service<Request> + Clone,
    A: Advise<S::Error>,
    Request: Clone,
{
    type Output = Result<S::Response, RetryError<S::Error>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let attempt = || Attempt::Unready { service: this.service.clone(), request: this.request.clone() };
        this.stage.go_on(this.retry, this.course, attempt, context)
    }
}

pin_project! {
    /// One attempt: first the service has to be ready.
    #[project = AttemptProjection]
    enum Attempt<S, Request>
    where
        S: Service<Request>,
    {
        Unready { service: S, request: Request },
        Called { #[pin] call: S::Future },
    }
}

impl<S, Request> Future for Attempt<S, Request>
where
    S: Service<Request>,
    Request: Clone,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let call = match self.as_mut().project() {
                AttemptProjection::Called { call } => return call.poll(context),
                AttemptProjection::Unready { service, request } => {
                    ready!(service.poll_ready(context))?;
                    service.call(request.clone())
                }
            };
            self.set(Self::Called { call });
        }
    }
}
