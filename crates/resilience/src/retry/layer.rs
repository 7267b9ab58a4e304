//! Retry around a tower service.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::course::{Course, Stage, StageProjection, alarm_in};
use super::{Advise, GaveUp, Retry, RetryError};
use crate::error::Error;

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

/// A service with retries around it; made by [`RetryLayer`]. The first attempt uses the readiness that was
/// polled; each further one waits until the service is ready again.
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
        let unready = |error| RetryError {
            last: Error::Failed(error),
            attempts: 0,
            elapsed: Duration::ZERO,
            gave_up: GaveUp::Final,
        };
        self.inner.poll_ready(context).map_err(unready)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The service that was polled is the one that is ready; the clone stays behind.
        let spare = self.inner.clone();
        let mut service = mem::replace(&mut self.inner, spare);
        let (retry, course) = (self.retry.clone(), Course::begin(&self.retry.plan));
        let stage = Stage::Called { call: service.call(request.clone()), alarm: None };
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
    ///     S: Service<u32>,
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
        service: S,
        request: Request,
        #[pin]
        stage: Stage<S::Future>,
    }
}

impl<S, A, Request> Future for RetryFuture<S, A, Request>
where
    S: Service<Request>,
    A: Advise<S::Error>,
    Request: Clone,
{
    type Output = Result<S::Response, RetryError<S::Error>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let plan = &*this.retry.plan;
        loop {
            let failure = match this.stage.as_mut().project() {
                StageProjection::Called { call, alarm } => {
                    match ready!(this.course.watch(plan, call.poll(context), alarm, context)) {
                        Ok(response) => {
                            Course::succeeded(plan);
                            return Poll::Ready(Ok(response));
                        }
                        Err(error) => error,
                    }
                }
                StageProjection::Waiting { alarm } => {
                    ready!(alarm.as_mut().poll(context));
                    this.stage.set(Stage::Due);
                    continue;
                }
                StageProjection::Due => match ready!(this.service.poll_ready(context)) {
                    Ok(()) => {
                        let call = this.service.call(this.request.clone());
                        this.stage.set(Stage::Called { call, alarm: None });
                        continue;
                    }
                    Err(error) => Error::Failed(error),
                },
            };
            let (wait, course) = this.course.failed(plan, failure, &this.retry.advise)?;
            *this.course = course;
            this.stage.set(Stage::Waiting { alarm: alarm_in(wait) });
        }
    }
}
