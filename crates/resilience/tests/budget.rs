//! Retry budgets: what is paid in and taken out, by many at once, and after any idle time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use quorate_resilience::clock::ManualClock;
use quorate_resilience::retry::{GaveUp, RetryBudget};
use quorate_resilience::{InvalidSetting, Retry};

use crate::table;

const SECOND: Duration = Duration::from_secs(1);

/// A caller of a service, and the clock that they all share.
struct Caller {
    retry: Retry,
    clock: Arc<ManualClock>,
}

impl Caller {
    fn with(budget: RetryBudget) -> Self {
        let clock = Arc::new(ManualClock::new());
        // No waits, so that time moves only where a test moves it.
        let builder = Retry::builder().base_delay(Duration::ZERO).max_attempts(2).clock(Arc::clone(&clock));
        Self { retry: builder.budget(budget).build().unwrap(), clock }
    }

    fn succeed(&self, times: usize) {
        (0..times).for_each(|_| self.retry.run_blocking(|| Ok::<_, ()>(())).unwrap());
    }

    /// Of so many calls that fail, how many were retried.
    fn retried(&self, calls: usize) -> usize {
        (0..calls)
            .filter(|_| {
                let error = self.retry.run_blocking(|| Err::<(), _>("refused")).unwrap_err();
                assert_eq!(error.gave_up == GaveUp::Budget, error.attempts == 1);
                error.attempts == 2
            })
            .count()
    }
}

fn ratio(ratio: f64) -> Caller {
    Caller::with(RetryBudget::new(ratio, 0.0, SECOND * 10).unwrap())
}

fn minimum(per_second: f64) -> Caller {
    Caller::with(RetryBudget::new(0.0, per_second, SECOND * 10).unwrap())
}

fn complaint<T>(built: Result<T, InvalidSetting>) -> Option<String> {
    built.err().map(|error| error.to_string())
}

table! {
    a_fifth_of_the_calls_is_retried: ratio(0.25).retried(100) => 25;
    nothing_is_retried_on_nothing: ratio(0.0).retried(100) => 0;
    successes_pay_in: { let caller = ratio(0.125); caller.succeed(80); caller.retried(10) } => 10;
    minimum_is_there_from_the_start: minimum(2.0).retried(100) => 20;
    default_budget_allows_a_hundred_and_a_fifth:
        Caller::with(RetryBudget::default()).retried(125) => 125;
    negative_ratio: complaint(RetryBudget::new(-0.1, 0.0, SECOND)) => Some("ratio must not be negative".into());
    ratio_without_a_number:
        complaint(RetryBudget::new(f64::NAN, 0.0, SECOND)) => Some("ratio must not be negative".into());
    endless_minimum:
        complaint(RetryBudget::new(0.1, f64::INFINITY, SECOND))
            => Some("minimum_per_second must not be negative".into());
    budget_without_time: complaint(RetryBudget::new(0.1, 1.0, Duration::ZERO)) => Some("ttl must be above 0".into());
    throttle_without_tokens:
        complaint(RetryBudget::throttling(0, 0.1)) => Some("max_tokens must be at least 1".into());
    throttle_that_gives_nothing_back:
        complaint(RetryBudget::throttling(10, 0.0)) => Some("token_ratio must be above 0 and at most 1000".into());
}

#[test]
fn payments_fade() {
    let caller = ratio(1.0);
    caller.succeed(100);
    // A factor of e in the ttl: 36.8 of 100 are left, and each call pays in one more.
    caller.clock.advance(SECOND * 10);
    let spent = (0..).take_while(|_| caller.retried(1) == 1).take(60).count();
    assert_eq!(spent, 60); // each pays for itself
    let saver = ratio(0.5);
    saver.succeed(200);
    saver.clock.advance(SECOND * 10);
    assert_eq!(saver.retried(1_000), 536); // 36.8 and half of a thousand
}

#[test]
fn idle_time_of_any_length_is_one_step() {
    // Regression, for budgets whose expiry costs O(idle time): half a century, in no time.
    let caller = ratio(0.5);
    caller.succeed(1_000);
    caller.clock.advance(SECOND * 1_600_000_000);
    assert_eq!(caller.retried(10), 5);
}

#[test]
fn minimum_comes_back_with_time() {
    let caller = minimum(2.0);
    assert_eq!(caller.retried(100), 20);
    caller.clock.advance(SECOND * 5);
    // 20 * (1 - e^-0.5): it is asymptotic, and never more than that of one ttl.
    assert_eq!(caller.retried(100), 7);
    caller.clock.advance(SECOND * 1_000);
    assert_eq!(caller.retried(100), 20);
}

#[test]
fn callers_share_a_budget() {
    let budget = RetryBudget::new(0.0, 1.0, SECOND * 10).unwrap();
    let (one, two) = (Caller::with(budget.clone()), Caller::with(budget));
    assert_eq!(one.retried(6) + two.retried(6), 10);
}

#[test]
fn nothing_is_taken_for_a_retry_that_is_not_made() {
    let budget = RetryBudget::new(0.0, 1.0, SECOND).unwrap();
    let last_attempt = Retry::builder().max_attempts(1).budget(budget.clone()).build().unwrap();
    let no_time = Retry::builder().max_elapsed(Duration::ZERO).budget(budget.clone()).build().unwrap();
    assert!(last_attempt.run_blocking(|| Err::<(), _>("refused")).is_err());
    assert!(no_time.run_blocking(|| Err::<(), _>("refused")).is_err());
    assert_eq!(Caller::with(budget).retried(3), 1);
}

#[test]
fn threads_never_take_the_same_token() {
    // Regression, for budgets that check and then act.
    let budget = RetryBudget::new(0.0, 10.0, SECOND * 10).unwrap();
    let caller = Caller::with(budget);
    let retried = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| retried.fetch_add(caller.retried(50) as u32, Ordering::Relaxed));
        }
    });
    assert_eq!(retried.into_inner(), 100);
}

#[test]
fn throttle_stops_at_half_its_tokens() {
    // gRPC A6: each failure takes one; with 10, five are left after five, and that is not more than half.
    let caller = Caller::with(RetryBudget::throttling(10, 0.1).unwrap());
    assert_eq!(caller.retried(1), 1); // two failures: 8 left
    assert_eq!(caller.retried(1), 1); // 7, and then 6
    assert_eq!(caller.retried(1), 0); // 5
    assert_eq!(caller.retried(9), 0);
}

#[test]
fn throttle_recovers_by_successes() {
    let caller = Caller::with(RetryBudget::throttling(10, 0.5).unwrap());
    caller.retried(20); // none left
    caller.succeed(12);
    assert_eq!(caller.retried(1), 0); // 6, and then 5
    caller.succeed(4);
    assert_eq!(caller.retried(1), 1); // 7, and then 6
}

#[test]
fn throttle_is_never_more_than_full() {
    let caller = Caller::with(RetryBudget::throttling(4, 1.0).unwrap());
    caller.succeed(1_000);
    assert_eq!(caller.retried(1), 1); // 3, and then 2
    assert_eq!(caller.retried(1), 0);
}

#[test]
fn final_errors_do_not_count_against_a_throttle() {
    let budget = RetryBudget::throttling(4, 1.0).unwrap();
    let stubborn = Retry::builder().budget(budget.clone()).build().unwrap().retry_if(|_: &&str| false);
    for _ in 0..10 {
        assert!(stubborn.run_blocking(|| Err::<(), _>("not found")).is_err());
    }
    assert_eq!(Caller::with(budget).retried(1), 1);
}
