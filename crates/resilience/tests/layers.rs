//! The tower layers: around services that answer by script.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quorate_resilience::breaker::{Cancellation, CircuitBreakerLayer, Outcome};
use quorate_resilience::clock::ManualClock;
use quorate_resilience::retry::{GaveUp, RetryLayer};
use quorate_resilience::{AdaptiveThrottle, Bulkhead, CircuitBreaker, Error, GuardLayer, Hedge, HedgeLayer};
use quorate_resilience::{RejectedBy, Retry, State};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_layer::Layer;
use tower_service::Service;

/// Answers as it was told; hangs when nothing is left. Like a concurrency limit it is ready when it has a place, which
/// its answer keeps. It insists on what tower asks for: each call was polled ready, by the very instance that is
/// called, and one that could not become ready is not asked again.
struct Scripted {
    answers: Arc<Mutex<VecDeque<Result<u16, &'static str>>>>,
    /// So many readinesses end in an error.
    unready: Arc<AtomicUsize>,
    dead: bool,
    places: Arc<Semaphore>,
    coming: Option<Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send>>>,
    place: Option<OwnedSemaphorePermit>,
}

impl Scripted {
    fn new(answers: impl IntoIterator<Item = Result<u16, &'static str>>) -> Self {
        Self {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            unready: Arc::default(),
            dead: false,
            places: Arc::new(Semaphore::new(100)),
            coming: None,
            place: None,
        }
    }

    /// One that takes so many calls at once.
    fn limited(self, places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), ..self }
    }
}

/// A clone is not ready because the original is.
impl Clone for Scripted {
    fn clone(&self) -> Self {
        Self {
            answers: Arc::clone(&self.answers),
            unready: Arc::clone(&self.unready),
            dead: false,
            places: Arc::clone(&self.places),
            coming: None,
            place: None,
        }
    }
}

impl Service<()> for Scripted {
    type Response = u16;
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<u16, &'static str>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        assert!(!self.dead, "asked again after it could not become ready");
        let one_less = |left: usize| left.checked_sub(1);
        if self.unready.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            self.dead = true;
            return Poll::Ready(Err("unready"));
        }
        if self.place.is_none() {
            let places = Arc::clone(&self.places);
            let coming = self
                .coming
                .get_or_insert_with(|| Box::pin(async move { places.acquire_owned().await.unwrap() }));
            self.place = Some(ready!(coming.as_mut().poll(context)));
            self.coming = None;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let place = self.place.take().expect("called before it was ready");
        let answer = self.answers.lock().unwrap().pop_front();
        Box::pin(async move {
            let _place = place;
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }
}

async fn ask<S: Service<()>>(service: &mut S) -> Result<S::Response, S::Error> {
    poll_fn(|context| service.poll_ready(context)).await?;
    service.call(()).await
}

/// Polls a future once, which then waits.
async fn begin(mut future: Pin<&mut impl Future>) {
    assert!(poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await.is_pending());
}

#[tokio::test]
async fn breaker_layer_opens_and_refuses() {
    let breaker = CircuitBreaker::builder().failure_threshold(2).build().unwrap();
    let mut service = CircuitBreakerLayer::new(breaker.clone()).layer(Scripted::new([Err("a"), Err("b")]));
    assert_eq!(ask(&mut service).await, Err(Error::Failed("a")));
    assert_eq!(ask(&mut service).await, Err(Error::Failed("b")));
    assert_eq!(breaker.state(), State::Open);
    assert!(matches!(ask(&mut service).await, Err(Error::Rejected(_))));
}

#[tokio::test]
async fn services_of_one_layer_share_the_breaker() {
    let breaker = CircuitBreaker::builder().failure_threshold(2).build().unwrap();
    let layer = CircuitBreakerLayer::new(breaker.clone());
    let (mut one, mut two) = (layer.layer(Scripted::new([Err("a")])), layer.layer(Scripted::new([Err("b")])));
    assert!(ask(&mut one).await.is_err());
    assert!(ask(&mut two).await.is_err());
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test]
async fn breaker_layer_reads_values() {
    let breaker = CircuitBreaker::builder().failure_threshold(1).build().unwrap();
    let reading = breaker.classify(|result: &Result<u16, &str>| match result {
        Ok(500..) | Err(_) => Outcome::Failure,
        Ok(_) => Outcome::Success,
    });
    let mut service = CircuitBreakerLayer::classified(reading).layer(Scripted::new([Ok(200), Ok(503)]));
    assert_eq!(ask(&mut service).await, Ok(200));
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(ask(&mut service).await, Ok(503));
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn response_that_is_dropped_counts_as_configured() {
    let settings = CircuitBreaker::builder().failure_threshold(1).cancellation(Cancellation::Failure);
    let breaker = settings.build().unwrap();
    let mut service = CircuitBreakerLayer::new(breaker.clone()).layer(Scripted::new([]));
    assert!(tokio::time::timeout(Duration::from_secs(1), ask(&mut service)).await.is_err());
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn retry_layer_retries() {
    let mut service = RetryLayer::new(Retry::new()).layer(Scripted::new([Err("a"), Err("b"), Ok(200)]));
    assert_eq!(ask(&mut service).await, Ok(200));
}

#[tokio::test(start_paused = true)]
async fn retry_layer_gives_up() {
    let answers = [Err("a"), Err("b"), Err("c"), Ok(200)];
    let mut service = RetryLayer::new(Retry::new()).layer(Scripted::new(answers));
    let error = ask(&mut service).await.unwrap_err();
    assert_eq!((&error.last, error.attempts, error.gave_up), (&Error::Failed("c"), 3, GaveUp::Attempts));
}

#[tokio::test(start_paused = true)]
async fn layers_compose() {
    let breaker = CircuitBreaker::builder().failure_threshold(2).build().unwrap();
    let retry = Retry::new().advise(Error::<&str>::advice);
    let guarded = CircuitBreakerLayer::new(breaker.clone()).layer(Scripted::new([Err("a"), Err("b"), Ok(1)]));
    let mut service = RetryLayer::new(retry).layer(guarded);
    let error = ask(&mut service).await.unwrap_err();
    assert_eq!((error.attempts, breaker.state()), (3, State::Open));
    assert!(matches!(error.into_last().flatten(), Error::Rejected(_)));
}

#[tokio::test(start_paused = true)]
async fn guard_layer_cuts_off_a_call_that_hangs() {
    let after = Duration::from_secs(1);
    let mut service = GuardLayer::new(after).layer(Scripted::new([Ok(200)]));
    assert_eq!(ask(&mut service).await, Ok(200));
    assert_eq!(ask(&mut service).await, Err(Error::TimedOut { after }));
}

#[tokio::test]
async fn guard_layer_refuses_what_the_bulkhead_has_no_room_for() {
    let layer = GuardLayer::new(Bulkhead::new(1, 0, Duration::ZERO).unwrap());
    let idle = Scripted::new([Ok(200)]);
    let (mut one, mut two) = (layer.layer(Scripted::new([])), layer.layer(idle.clone()));
    let mut hanging = pin!(ask(&mut one));
    begin(hanging.as_mut()).await;
    let refused = ask(&mut two).await;
    assert!(matches!(refused, Err(Error::Rejected(by)) if by.by == RejectedBy::FullBulkhead));
    assert_eq!(idle.answers.lock().unwrap().len(), 1, "a service must not be called when its guard refuses");
}

#[tokio::test]
async fn guard_layer_throttles() {
    let throttle = AdaptiveThrottle::seeded(1.0, ManualClock::new(), 42).unwrap();
    let mut service = GuardLayer::new(throttle.clone()).layer(Scripted::new([Err("overloaded")]));
    assert_eq!(ask(&mut service).await, Err(Error::Failed("overloaded")));
    assert_eq!(throttle.rejection_probability(), 0.5);
}

#[cfg(feature = "rate-limit")]
#[tokio::test]
async fn guard_layer_keeps_to_the_rate() {
    let limit = quorate_resilience::RateLimit::per_second(1, 1, ManualClock::new()).unwrap();
    let mut service = GuardLayer::new(limit).layer(Scripted::new([Ok(200), Ok(201)]));
    assert_eq!(ask(&mut service).await, Ok(200));
    assert!(matches!(ask(&mut service).await, Err(Error::Rejected(_))));
}

#[tokio::test(start_paused = true)]
async fn hedge_layer_asks_again() {
    let hedge = Hedge::new(Duration::from_millis(50), 1).unwrap();
    let scripted = Scripted::new([]);
    let mut service = HedgeLayer::new(hedge).layer(scripted.clone());
    let mut asked = pin!(ask(&mut service));
    begin(asked.as_mut()).await;
    // The first call hangs; the one that is made beside it has an answer.
    scripted.answers.lock().unwrap().push_back(Ok(200));
    assert_eq!(asked.await, Ok(200));
}

#[tokio::test(start_paused = true)]
async fn retry_layer_cuts_attempts_off() {
    let retry = Retry::builder().attempt_timeout(Duration::from_secs(1)).max_attempts(2).build().unwrap();
    let mut service = RetryLayer::new(retry).layer(Scripted::new([]));
    let error = ask(&mut service).await.unwrap_err();
    let after = Duration::from_secs(1);
    assert_eq!((&error.last, error.attempts), (&Error::TimedOut { after }, 2));
}

#[tokio::test(start_paused = true)]
async fn wait_for_readiness_is_within_an_attempts_time() {
    // A request hung for ever if others had taken all places when its second attempt was due.
    let after = Duration::from_secs(1);
    let retry = Retry::builder().attempt_timeout(after).build().unwrap();
    let scripted = Scripted::new([Err("a"), Ok(200)]).limited(1);
    let mut service = RetryLayer::new(retry).layer(scripted.clone());
    let mut asked = pin!(ask(&mut service));
    begin(asked.as_mut()).await;
    let _taken = scripted.places.try_acquire().unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(60), asked).await.expect("it must not hang");
    let error = answer.unwrap_err();
    assert_eq!((&error.last, error.attempts), (&Error::TimedOut { after }, 3));
}

#[tokio::test(start_paused = true)]
async fn service_that_cannot_become_ready_is_not_asked_again() {
    let scripted = Scripted::new([Err("a"), Ok(200)]);
    let mut service = RetryLayer::new(Retry::new()).layer(scripted.clone());
    let mut asked = pin!(ask(&mut service));
    begin(asked.as_mut()).await;
    scripted.unready.store(1, Ordering::Relaxed);
    // The second attempt fails, the third one asks another clone.
    assert_eq!(asked.await, Ok(200));
}

#[tokio::test(start_paused = true)]
async fn attempts_that_could_not_begin_are_told() {
    let scripted = Scripted::new([Err("a"), Ok(200)]);
    let mut service = RetryLayer::new(Retry::new()).layer(scripted.clone());
    let mut asked = pin!(ask(&mut service));
    begin(asked.as_mut()).await;
    scripted.unready.store(2, Ordering::Relaxed);
    let error = asked.await.unwrap_err();
    assert_eq!(
        (&error.last, error.attempts, error.gave_up),
        (&Error::Failed("unready"), 3, GaveUp::Attempts)
    );
}

#[tokio::test(start_paused = true)]
async fn request_that_waits_for_its_guard_takes_no_place_of_the_service() {
    // The second request waited in the bulkhead with the only place, and the first one's retry waited for that.
    let bulkhead = Bulkhead::new(1, 1, Duration::from_secs(60)).unwrap();
    let scripted = Scripted::new([Err("a"), Ok(200), Ok(201)]).limited(1);
    let service = GuardLayer::new(bulkhead).layer(RetryLayer::new(Retry::new()).layer(scripted));
    let (mut one, mut two) = (service.clone(), service);
    let both = async { tokio::join!(ask(&mut one), ask(&mut two)) };
    let answers =
        tokio::time::timeout(Duration::from_secs(30), both).await.expect("neither must wait for the other");
    assert_eq!(answers, (Ok(200), Ok(201)));
}

#[tokio::test(start_paused = true)]
async fn guards_time_includes_the_wait_for_the_service() {
    let after = Duration::from_secs(1);
    let scripted = Scripted::new([Ok(200)]).limited(1);
    let _taken = scripted.places.try_acquire().unwrap();
    let mut service = GuardLayer::new(after).layer(scripted.clone());
    let answer =
        tokio::time::timeout(Duration::from_secs(60), ask(&mut service)).await.expect("it must not hang");
    assert_eq!(answer, Err(Error::TimedOut { after }));
}

#[tokio::test(start_paused = true)]
async fn guards_rejection_is_final_through_three_layers() {
    let breaker = CircuitBreaker::builder().failure_threshold(1).build().unwrap();
    let bulkhead = Bulkhead::new(1, 0, Duration::ZERO).unwrap();
    let retry = Retry::new().advise(|error: &Error<Error<&str>>| error.advice_by(Error::advice));
    let guarded = GuardLayer::new(bulkhead).layer(Scripted::new([]));
    let reading = breaker.classify(Outcome::of_guarded);
    let service = RetryLayer::new(retry).layer(CircuitBreakerLayer::classified(reading).layer(guarded));
    let (mut one, mut two) = (service.clone(), service);
    let mut hanging = pin!(ask(&mut one));
    begin(hanging.as_mut()).await;
    let error = ask(&mut two).await.unwrap_err();
    assert_eq!((error.attempts, error.gave_up), (1, GaveUp::Final));
    let last = error.into_last().flatten().flatten();
    assert!(matches!(last, Error::Rejected(by) if by.by == RejectedBy::FullBulkhead));
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn failures_and_time_outs_are_retried_through_three_layers() {
    let breaker = CircuitBreaker::builder().failure_threshold(3).build().unwrap();
    let retry = Retry::new().advise(|error: &Error<Error<&str>>| error.advice_by(Error::advice));
    let guarded = GuardLayer::new(Duration::from_secs(1)).layer(Scripted::new([Err("a")]));
    let reading = breaker.classify(Outcome::of_guarded);
    let mut service = RetryLayer::new(retry).layer(CircuitBreakerLayer::classified(reading).layer(guarded));
    let error = ask(&mut service).await.unwrap_err();
    assert_eq!((error.attempts, error.gave_up, breaker.state()), (3, GaveUp::Attempts, State::Open));
}
