//! The tower layers: around services that answer by script.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use quorate_resilience::breaker::{Cancellation, CircuitBreakerLayer, Outcome};
use quorate_resilience::retry::{GaveUp, RetryLayer};
use quorate_resilience::{CircuitBreaker, Error, Retry, State};
use tower_layer::Layer;
use tower_service::Service;

/// Answers as it was told; hangs when nothing is left. It insists on being ready before each call.
#[derive(Clone, Default)]
struct Scripted {
    answers: Arc<Mutex<VecDeque<Result<u16, &'static str>>>>,
    ready: bool,
}

impl Scripted {
    fn new(answers: impl IntoIterator<Item = Result<u16, &'static str>>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ready: false }
    }
}

impl Service<()> for Scripted {
    type Response = u16;
    type Error = &'static str;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<u16, &'static str>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called before it was ready");
        let answer = self.answers.lock().unwrap().pop_front();
        Box::pin(async move {
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
    let mut service = CircuitBreakerLayer::new(breaker.clone()).layer(Scripted::default());
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
    assert_eq!((error.last, error.attempts, error.gave_up), (Error::Failed("c"), 3, GaveUp::Attempts));
}

#[tokio::test(start_paused = true)]
async fn layers_compose() {
    let breaker = CircuitBreaker::builder().failure_threshold(2).build().unwrap();
    let retry = Retry::new().advise(Error::<&str>::advice);
    let guarded = CircuitBreakerLayer::new(breaker.clone()).layer(Scripted::new([Err("a"), Err("b"), Ok(1)]));
    let mut service = RetryLayer::new(retry).layer(guarded);
    let error = ask(&mut service).await.unwrap_err();
    assert!(matches!(error.last.flatten(), Error::Rejected(_)));
    assert_eq!((error.attempts, breaker.state()), (3, State::Open));
}
