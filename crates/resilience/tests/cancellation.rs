//! Futures that are dropped half-way, and tasks that panic.

use std::cell::Cell;
use std::future::pending;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quorate_resilience::breaker::{Builder, Cancellation, Outcome};
use quorate_resilience::clock::TokioClock;
use quorate_resilience::{CircuitBreaker, Error, State};
use tokio::time::{advance, timeout};

fn on_tokios_clock() -> Builder {
    CircuitBreaker::builder().clock(TokioClock).failure_threshold(2)
}

/// A call that hangs, and a caller that gives up.
async fn given_up(breaker: &CircuitBreaker, after: Duration) {
    let call = breaker.call(pending::<Result<(), ()>>());
    assert!(timeout(after, call).await.is_err());
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn outer_time_out_does_not_blind_the_breaker() {
    // Hazard 39.
    let breaker = on_tokios_clock().cancellation(Cancellation::Failure).build().unwrap();
    given_up(&breaker, SECOND).await;
    assert_eq!(breaker.snapshot().consecutive_failures, 1);
    given_up(&breaker, SECOND).await;
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn only_calls_that_hung_count_if_configured_so() {
    let breaker = on_tokios_clock().cancellation(Cancellation::FailureAfter(SECOND)).build().unwrap();
    given_up(&breaker, SECOND / 2).await;
    assert_eq!(breaker.snapshot().consecutive_failures, 0);
    given_up(&breaker, SECOND).await;
    assert_eq!(breaker.snapshot().consecutive_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn dropped_calls_are_ignored_by_default() {
    let breaker = on_tokios_clock().build().unwrap();
    for _ in 0..10 {
        given_up(&breaker, SECOND).await;
    }
    assert_eq!(breaker.snapshot().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn cancelled_probes_leave_room_for_others() {
    // Hazard 37, resilience4j#544: three cancelled probes, and the breaker was half-open for ever.
    let breaker = on_tokios_clock().build().unwrap();
    breaker.trip();
    advance(SECOND * 60).await;
    for _ in 0..10 {
        given_up(&breaker, SECOND).await;
    }
    assert_eq!(breaker.snapshot().probes, 0);
    for _ in 0..3 {
        assert_eq!(breaker.call(async { Ok::<_, ()>(7) }).await, Ok(7));
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn hung_probes_are_taken_back() {
    // Hazard 37, Hystrix#1621: a single hung probe, and the circuit stayed open.
    let breaker = on_tokios_clock().half_open_timeout(SECOND * 10).half_open_max_calls(1).build().unwrap();
    breaker.trip();
    advance(SECOND * 60).await;
    let hung = tokio::spawn({
        let breaker = breaker.clone();
        async move { breaker.call(pending::<Result<(), ()>>()).await }
    });
    while breaker.snapshot().probes == 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(breaker.call(async { Ok::<_, ()>(7) }).await, Err(Error::Rejected(_))));
    advance(SECOND * 10).await;
    assert_eq!(breaker.call(async { Ok::<_, ()>(7) }).await, Ok(7));
    hung.abort();
    assert!(hung.await.unwrap_err().is_cancelled());
    assert_eq!(breaker.snapshot().late, 1);
}

#[tokio::test]
async fn aborted_task_settles_its_permit() {
    let breaker = on_tokios_clock().cancellation(Cancellation::Failure).build().unwrap();
    let permit = breaker.try_acquire_owned().unwrap();
    let task = tokio::spawn(async move {
        pending::<()>().await;
        permit.settle(Outcome::Success);
    });
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(breaker.snapshot().consecutive_failures, 1);
}

#[tokio::test]
async fn panicking_call_is_a_failure() {
    let breaker = on_tokios_clock().build().unwrap();
    let task = tokio::spawn({
        let breaker = breaker.clone();
        async move { breaker.call(async { std::panic::resume_unwind(Box::new(())) as Result<(), ()> }).await }
    });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(breaker.snapshot().consecutive_failures, 1);
}

#[test]
fn panicking_blocking_call_is_a_failure() {
    let breaker = CircuitBreaker::new();
    let call = || breaker.call_blocking(|| std::panic::resume_unwind(Box::new(())) as Result<(), ()>);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err());
    assert_eq!(breaker.snapshot().consecutive_failures, 1);
}

#[test]
fn call_that_was_never_polled_was_never_made() {
    let breaker = CircuitBreaker::builder().cancellation(Cancellation::Failure).build().unwrap();
    drop(breaker.call(pending::<Result<(), ()>>()));
    assert_eq!(breaker.snapshot().consecutive_failures, 0);
}

/// A call that hangs; when it is dropped it looks how many probes are out.
struct Witness<'a> {
    breaker: &'a CircuitBreaker,
    probes: &'a Cell<u32>,
}

impl Future for Witness<'_> {
    type Output = Result<(), ()>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Pending
    }
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        self.probes.set(self.breaker.snapshot().probes);
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_probe_keeps_its_place_until_it_is_gone() {
    let breaker = on_tokios_clock().half_open_max_calls(1).build().unwrap();
    breaker.trip();
    advance(SECOND * 60).await;
    let probes = Cell::new(0);
    let call = breaker.call(Witness { breaker: &breaker, probes: &probes });
    assert!(timeout(SECOND, call).await.is_err());
    assert_eq!((probes.get(), breaker.snapshot().probes), (1, 0));
}

/// Polls a call that hangs, and drops it while a panic that is not its own unwinds.
fn dropped_in_a_panic<T>(call: impl Future<Output = T>) {
    let mut call = Box::pin(call);
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let panic = move || {
        let _call = call;
        std::panic::resume_unwind(Box::new(()));
    };
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panic)).is_err());
}

#[test]
fn call_that_waits_in_the_panic_of_something_else_is_cancelled() {
    let breaker = CircuitBreaker::new();
    dropped_in_a_panic(breaker.call(pending::<Result<(), ()>>()));
    assert_eq!(breaker.snapshot().consecutive_failures, 0);
}

#[cfg(feature = "tower")]
mod layer {
    use quorate_resilience::breaker::CircuitBreakerLayer;
    use tower_layer::Layer;
    use tower_service::Service;

    use super::*;

    /// Hands on a future as the answer.
    struct Answers<F>(Option<F>);

    impl<F: Future<Output = Result<(), ()>>> Service<()> for Answers<F> {
        type Response = ();
        type Error = ();
        type Future = F;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> F {
            self.0.take().unwrap()
        }
    }

    fn asked<F: Future<Output = Result<(), ()>>>(
        breaker: &CircuitBreaker,
        answer: F,
    ) -> impl Future<Output = Result<(), Error<()>>> + use<F> {
        CircuitBreakerLayer::new(breaker.clone()).layer(Answers(Some(answer))).call(())
    }

    #[test]
    fn request_that_waits_in_the_panic_of_something_else_is_cancelled() {
        let breaker = CircuitBreaker::new();
        dropped_in_a_panic(asked(&breaker, pending()));
        assert_eq!(breaker.snapshot().consecutive_failures, 0);
    }

    #[test]
    fn panic_of_a_request_that_is_caught_is_a_failure() {
        let breaker = CircuitBreaker::new();
        let panics = async { std::panic::resume_unwind(Box::new(())) };
        let mut request = Box::pin(asked(&breaker, panics));
        let poll = || request.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)).is_err());
        drop(request);
        assert_eq!(breaker.snapshot().consecutive_failures, 1);
    }
}
