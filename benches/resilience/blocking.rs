//! Blocking calls through a closed breaker.

use std::hint::black_box;
use std::time::Duration;

use divan::Bencher;
use failsafe::CircuitBreaker as _;
use quorate_resilience::CircuitBreaker;
use quorate_resilience::breaker::RateRule;

use crate::work;

#[divan::bench(threads = [1, 2])]
fn bare(bencher: Bencher<'_, '_>) {
    bencher.bench(|| work(black_box(7)));
}

#[divan::bench(threads = [1, 2])]
fn consecutive(bencher: Bencher<'_, '_>) {
    let breaker = CircuitBreaker::new();
    bencher.bench(|| breaker.call_blocking(|| work(black_box(7))));
}

#[divan::bench(threads = [1, 2], args = [10, 100, 10_000, 1_000_000])]
fn window_of_calls(bencher: Bencher<'_, '_>, calls: u32) {
    let rule = RateRule::over_calls(calls);
    let breaker = CircuitBreaker::builder().trip_on_rate(rule).build().expect("the settings are valid");
    bencher.bench(|| breaker.call_blocking(|| work(black_box(7))));
}

#[divan::bench(threads = [1, 2], args = [10, 1_000])]
fn window_of_time(bencher: Bencher<'_, '_>, buckets: u32) {
    let rule = RateRule::over_time(Duration::from_secs(10), buckets);
    let breaker = CircuitBreaker::builder().trip_on_rate(rule).build().expect("the settings are valid");
    bencher.bench(|| breaker.call_blocking(|| work(black_box(7))));
}

/// Each call is timed, and takes the lock.
#[divan::bench(threads = [1, 2])]
fn window_of_100_calls_with_slow_calls(bencher: Bencher<'_, '_>) {
    let rule = RateRule::over_calls(100).slow_calls(Duration::from_secs(1), 0.5);
    let breaker = CircuitBreaker::builder().trip_on_rate(rule).build().expect("the settings are valid");
    bencher.bench(|| breaker.call_blocking(|| work(black_box(7))));
}

#[divan::bench(threads = [1, 2])]
fn failsafe_consecutive(bencher: Bencher<'_, '_>) {
    let backoff = failsafe::backoff::constant(Duration::from_secs(60));
    let policy = failsafe::failure_policy::consecutive_failures(5, backoff);
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    bencher.bench(|| breaker.call(|| work(black_box(7))));
}

#[divan::bench(threads = [1, 2])]
fn failsafe_window_of_time(bencher: Bencher<'_, '_>) {
    let backoff = failsafe::backoff::constant(Duration::from_secs(60));
    let window = Duration::from_secs(10);
    let policy = failsafe::failure_policy::success_rate_over_time_window(0.5, 10, window, backoff);
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    bencher.bench(|| breaker.call(|| work(black_box(7))));
}

#[divan::bench(threads = [1, 2], args = [10, 100, 10_000, 1_000_000])]
fn recloser_window_of_calls(bencher: Bencher<'_, '_>, calls: usize) {
    let breaker = recloser::Recloser::custom().closed_len(calls).build();
    bencher.bench(|| breaker.call(|| work(black_box(7))));
}
