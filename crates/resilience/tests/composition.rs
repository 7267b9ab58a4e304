//! Retry(Breaker(AttemptTimeout(call))), as documented.

use std::cell::Cell;
use std::future::pending;
use std::time::Duration;

use quorate_resilience::breaker::{Builder, Outcome};
use quorate_resilience::clock::TokioClock;
use quorate_resilience::retry::{GaveUp, Jitter};
use quorate_resilience::{Bulkhead, CircuitBreaker, Error, RejectedBy, Retry, RetryError, State, timeout};

const SECOND: Duration = Duration::from_secs(1);

fn breaker(builder: Builder) -> CircuitBreaker {
    builder.clock(TokioClock).build().unwrap()
}

/// Calls a service, of which each attempt hangs, fails or succeeds as the letters say.
async fn call(
    breaker: &CircuitBreaker,
    max_elapsed: Option<Duration>,
    letters: &str,
) -> (Result<(), RetryError<Error<char>>>, usize) {
    let mut builder = Retry::builder().jitter(Jitter::None).max_attempts(5);
    if let Some(limit) = max_elapsed {
        builder = builder.max_elapsed(limit);
    }
    let retry = builder.build().unwrap().advise(Error::advice);
    let (made, letters) = (Cell::new(0), letters.as_bytes());
    let service = || async {
        let letter = char::from(letters[made.get()]);
        made.set(made.get() + 1);
        match letter {
            'S' => Ok(()),
            'H' => pending().await,
            other => Err(other),
        }
    };
    let guarded = || async { breaker.call(timeout(SECOND, service())).await.map_err(Error::flatten) };
    (retry.run(guarded).await, made.get())
}

#[tokio::test(start_paused = true)]
async fn each_attempt_asks_the_breaker() {
    let breaker = breaker(CircuitBreaker::builder().failure_threshold(2));
    let (answer, made) = call(&breaker, None, "FFF").await;
    let error = answer.unwrap_err();
    assert_eq!((made, error.attempts, error.gave_up), (2, 3, GaveUp::Final));
    assert!(
        matches!(error.into_last().flatten(), Error::Rejected(rejected) if rejected.by == RejectedBy::OpenCircuit)
    );
}

#[tokio::test(start_paused = true)]
async fn time_out_within_is_a_failure_in_the_breakers_eyes() {
    let breaker = breaker(CircuitBreaker::builder().failure_threshold(2));
    let (answer, made) = call(&breaker, None, "HHH").await;
    assert_eq!((made, breaker.state()), (2, State::Open));
    assert!(answer.is_err());
}

#[tokio::test(start_paused = true)]
async fn rejection_is_waited_out_if_that_fits() {
    let builder = CircuitBreaker::builder().failure_threshold(1).success_threshold(1);
    let breaker = breaker(builder.recovery_timeout(SECOND * 20));
    let begun = tokio::time::Instant::now();
    let (answer, made) = call(&breaker, Some(SECOND * 30), "FS").await;
    assert_eq!((answer, made, breaker.state()), (Ok(()), 2, State::Closed));
    assert_eq!(begun.elapsed(), SECOND * 20);
}

#[tokio::test(start_paused = true)]
async fn rejection_is_final_if_its_wait_does_not_fit() {
    let breaker = breaker(CircuitBreaker::builder().failure_threshold(1));
    let begun = tokio::time::Instant::now();
    let (answer, made) = call(&breaker, Some(SECOND * 30), "FS").await;
    assert_eq!((made, answer.unwrap_err().gave_up), (1, GaveUp::Time));
    assert_eq!(begun.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn probing_circuit_ends_the_course() {
    let breaker = breaker(CircuitBreaker::builder().half_open_max_calls(1));
    breaker.trip();
    tokio::time::advance(SECOND * 60).await;
    let _probe = breaker.try_acquire().unwrap();
    let (answer, made) = call(&breaker, Some(SECOND * 300), "S").await;
    assert_eq!((made, answer.unwrap_err().gave_up), (0, GaveUp::Final));
}

#[tokio::test(start_paused = true)]
async fn healthy_service_costs_one_attempt() {
    let breaker = breaker(CircuitBreaker::builder());
    assert_eq!(call(&breaker, None, "S").await, (Ok(()), 1));
}

#[tokio::test(start_paused = true)]
async fn bulkhead_within_does_not_speak_against_the_service() {
    let breaker = breaker(CircuitBreaker::builder().failure_threshold(1));
    let reading = breaker.classify(Outcome::of_guarded);
    let bulkhead = Bulkhead::new(1, 0, SECOND).unwrap();
    let nested = reading.call(bulkhead.call(async {
        let refused = reading.call(bulkhead.call(async { Ok::<_, char>(()) })).await.map_err(Error::flatten);
        assert!(matches!(refused, Err(Error::Rejected(rejected)) if rejected.by == RejectedBy::FullBulkhead));
        Ok::<_, char>(())
    }));
    assert_eq!(nested.await, Ok(()));
    assert_eq!(breaker.state(), State::Closed);
}
