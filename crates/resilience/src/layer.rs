//! The small guards around tower services.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use crate::{AdaptiveThrottle, Bulkhead, Error, Hedge, timeout};

/// A guard of one call, which [`GuardLayer`] puts around services: a [`Bulkhead`], a `RateLimit`, an
/// [`AdaptiveThrottle`], or the [`Duration`] of a time-out.
///
/// ```
/// use quorate_resilience::{Error, Guard};
/// use std::{future::pending, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let after = Duration::from_secs(1);
/// let answer = after.guard(pending::<Result<(), ()>>()).await;
/// assert_eq!(answer, Err(Error::TimedOut { after }));
/// # }
/// ```
pub trait Guard: Clone + Send + 'static {
    /// Makes the call if the guard lets it through. It is not polled before.
    ///
    /// ```
    /// # use quorate_resilience::{AdaptiveThrottle, Guard};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let throttle = AdaptiveThrottle::new(2.0).unwrap();
    /// assert_eq!(throttle.guard(async { Ok::<_, ()>(7) }).await, Ok(7));
    /// # }
    /// ```
    fn guard<T: Send, E: Send>(
        self,
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send;
}

impl Guard for Duration {
    async fn guard<T: Send, E: Send>(
        self,
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, Error<E>> {
        timeout(self, call).await
    }
}

impl Guard for Bulkhead {
    async fn guard<T: Send, E: Send>(
        self,
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, Error<E>> {
        self.call(call).await
    }
}

#[cfg(feature = "rate-limit")]
impl Guard for crate::RateLimit {
    async fn guard<T: Send, E: Send>(
        self,
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, Error<E>> {
        self.call(call).await
    }
}

impl Guard for AdaptiveThrottle {
    async fn guard<T: Send, E: Send>(
        self,
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, Error<E>> {
        self.call(call).await
    }
}

/// Puts a small guard around a service. Services that are made by clones of one layer share it.
///
/// ```
/// use quorate_resilience::{Bulkhead, GuardLayer};
/// use std::time::Duration;
///
/// let one_second = GuardLayer::new(Duration::from_secs(1));
/// let ten_at_once = GuardLayer::new(Bulkhead::new(10, 100, Duration::from_secs(1))?);
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GuardLayer<G> {
    guard: G,
}

impl<G: Guard> GuardLayer<G> {
    /// Guards calls by `guard`.
    ///
    /// ```
    /// # use quorate_resilience::{AdaptiveThrottle, GuardLayer};
    /// let layer = GuardLayer::new(AdaptiveThrottle::new(2.0)?);
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    #[must_use]
    pub fn new(guard: G) -> Self {
        Self { guard }
    }
}

impl<S, G: Guard> Layer<S> for GuardLayer<G> {
    type Service = GuardService<S, G>;

    fn layer(&self, inner: S) -> Self::Service {
        GuardService { inner, guard: self.guard.clone() }
    }
}

/// A service with a guard around it; made by [`GuardLayer`]. It is always ready: a request waits for the service within
/// the guard, by a clone of its own. So no request that waits for its guard keeps others from the service, a time-out
/// includes this wait, and one that is refused, with [`Error::Rejected`], has not touched the service at all.
///
/// ```
/// # use quorate_resilience::{GuardLayer, GuardService}; use std::time::Duration;
/// # use tower_layer::Layer as _;
/// let service: GuardService<&str, Duration> = GuardLayer::new(Duration::from_secs(1)).layer("any service");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GuardService<S, G> {
    inner: S,
    guard: G,
}

/// The answer of a [`GuardService`] or [`HedgeService`]: one allocation a request.
///
/// ```
/// # use quorate_resilience::{Error, GuardedFuture};
/// let answer: GuardedFuture<u32, Error<String>> = Box::pin(async { Ok(7) });
/// ```
pub type GuardedFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl<S, G, Request> Service<Request> for GuardService<S, G>
where
    S: Service<Request, Future: Send, Response: Send, Error: Send> + Clone + Send + 'static,
    G: Guard,
    Request: Send + 'static,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = GuardedFuture<S::Response, Error<S::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let call = once_ready(self.inner.clone(), request);
        Box::pin(self.guard.clone().guard(call))
    }
}

async fn once_ready<S: Service<Request>, Request>(
    mut service: S,
    request: Request,
) -> Result<S::Response, S::Error> {
    poll_fn(|context| service.poll_ready(context)).await?;
    service.call(request).await
}

/// The service that was polled is the one that is ready; its clone stays behind.
pub(crate) fn take_ready<S: Clone>(service: &mut S) -> S {
    let spare = service.clone();
    mem::replace(service, spare)
}

/// Puts hedging around a service whose requests can be cloned, and are idempotent.
///
/// ```
/// use quorate_resilience::{Hedge, HedgeLayer};
/// use std::time::Duration;
///
/// let layer = HedgeLayer::new(Hedge::new(Duration::from_millis(50), 1)?);
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HedgeLayer {
    hedge: Hedge,
}

impl HedgeLayer {
    /// Hedges as `hedge` says.
    ///
    /// ```
    /// # use quorate_resilience::{Hedge, HedgeLayer}; use std::time::Duration;
    /// let layer = HedgeLayer::new(Hedge::new(Duration::from_millis(50), 2)?);
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    #[must_use]
    pub fn new(hedge: Hedge) -> Self {
        Self { hedge }
    }
}

impl<S> Layer<S> for HedgeLayer {
    type Service = HedgeService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        HedgeService { inner, hedge: self.hedge }
    }
}

/// A service with hedging around it; made by [`HedgeLayer`]. The first call uses the readiness that was polled; each
/// further one waits for a clone of the service to be ready.
///
/// ```
/// # use quorate_resilience::{Hedge, HedgeLayer, HedgeService}; use std::time::Duration;
/// # use tower_layer::Layer as _;
/// let hedge = Hedge::new(Duration::from_millis(50), 1)?;
/// let service: HedgeService<&str> = HedgeLayer::new(hedge).layer("any service");
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HedgeService<S> {
    inner: S,
    hedge: Hedge,
}

impl<S, Request> Service<Request> for HedgeService<S>
where
    S: Service<Request, Future: Send, Response: Send, Error: Send> + Clone + Send + 'static,
    Request: Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = GuardedFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (hedge, spare) = (self.hedge, self.inner.clone());
        let mut ready = Some(take_ready(&mut self.inner));
        let call = move || {
            let (ready, spare, request) = (ready.take(), spare.clone(), request.clone());
            async move {
                match ready {
                    Some(mut service) => service.call(request).await,
                    None => once_ready(spare, request).await,
                }
            }
        };
        Box::pin(async move { hedge.run(call).await })
    }
}
