//! Retry around a tower service.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::{Advise, Retry, RetryError};
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
/// polled; each further one waits for a clone of the service to be ready.
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

/// The answer of a [`RetryService`]: one allocation a request.
///
/// ```
/// # use quorate_resilience::retry::RetryFuture;
/// let answer: RetryFuture<u32, String> = Box::pin(async { Ok(7) });
/// ```
pub type RetryFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, RetryError<E>>> + Send>>;

impl<S, A, Request> Service<Request> for RetryService<S, A>
where
    S: Service<Request, Future: Send, Response: Send, Error: Send> + Clone + Send + 'static,
    A: Advise<S::Error> + Clone + Send + Sync + 'static,
    Request: Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = RetryError<S::Error>;
    type Future = RetryFuture<S::Response, S::Error>;

    /// A service that cannot become ready has made no attempt.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let unready = |error| RetryError {
            last: Error::Failed(error),
            attempts: 0,
            elapsed: std::time::Duration::ZERO,
            gave_up: super::GaveUp::Final,
        };
        self.inner.poll_ready(context).map_err(unready)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let spare = self.inner.clone();
        let mut ready = Some(std::mem::replace(&mut self.inner, spare.clone()));
        let retry = self.retry.clone();
        Box::pin(async move {
            let attempt = move || {
                let is_ready = ready.is_some();
                let mut service = ready.take().unwrap_or_else(|| spare.clone());
                let request = request.clone();
                async move {
                    if !is_ready {
                        poll_fn(|context| service.poll_ready(context)).await?;
                    }
                    service.call(request).await
                }
            };
            retry.run(attempt).await
        })
    }
}
