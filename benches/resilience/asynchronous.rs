//! Asynchronous calls through a closed breaker, and services within one.

use std::hint::black_box;
use std::time::Duration;

use divan::Bencher;
use failsafe::futures::CircuitBreaker as _;
use quorate_resilience::CircuitBreaker;
use quorate_resilience::breaker::{CircuitBreakerLayer, RateRule};
use tower::Layer as _;
use tower_resilience_circuitbreaker::CircuitBreakerLayer as PeersLayer;

use crate::service::{Answers, bench_service};
use crate::{answer, at_once};

#[divan::bench(threads = [1, 2])]
fn bare(bencher: Bencher<'_, '_>) {
    bencher.bench(|| at_once(answer(black_box(7))));
}

#[divan::bench(threads = [1, 2])]
fn consecutive(bencher: Bencher<'_, '_>) {
    let breaker = CircuitBreaker::new();
    bencher.bench(|| at_once(breaker.call(answer(black_box(7)))));
}

#[divan::bench(threads = [1, 2])]
fn window_of_100_calls(bencher: Bencher<'_, '_>) {
    let rule = RateRule::over_calls(100);
    let breaker = CircuitBreaker::builder().trip_on_rate(rule).build().expect("the settings are valid");
    bencher.bench(|| at_once(breaker.call(answer(black_box(7)))));
}

#[divan::bench(threads = [1, 2])]
fn failsafe_consecutive(bencher: Bencher<'_, '_>) {
    let backoff = failsafe::backoff::constant(Duration::from_secs(60));
    let policy = failsafe::failure_policy::consecutive_failures(5, backoff);
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    bencher.bench(|| at_once(breaker.call(answer(black_box(7)))));
}

#[divan::bench(threads = [1, 2])]
fn recloser_window_of_100_calls(bencher: Bencher<'_, '_>) {
    let breaker = recloser::AsyncRecloser::from(recloser::Recloser::custom().closed_len(100).build());
    bencher.bench(|| at_once(breaker.call(answer(black_box(7)))));
}

#[divan::bench(threads = [1, 2])]
fn service_bare(bencher: Bencher<'_, '_>) {
    bench_service(bencher, Answers);
}

#[divan::bench(threads = [1, 2])]
fn service_consecutive(bencher: Bencher<'_, '_>) {
    bench_service(bencher, CircuitBreakerLayer::new(CircuitBreaker::new()).layer(Answers));
}

#[divan::bench(threads = [1, 2])]
fn service_window_of_100_calls(bencher: Bencher<'_, '_>) {
    let rule = RateRule::over_calls(100);
    let breaker = CircuitBreaker::builder().trip_on_rate(rule).build().expect("the settings are valid");
    bench_service(bencher, CircuitBreakerLayer::new(breaker).layer(Answers));
}

#[divan::bench(threads = [1, 2])]
fn service_tower_resilience_consecutive(bencher: Bencher<'_, '_>) {
    let layer = PeersLayer::builder().consecutive_failures(5).build().expect("the settings are valid");
    bench_service(bencher, layer.layer(Answers));
}

#[divan::bench(threads = [1, 2])]
fn service_tower_resilience_window_of_100_calls(bencher: Bencher<'_, '_>) {
    let layer = PeersLayer::builder().sliding_window_size(100).build().expect("the settings are valid");
    bench_service(bencher, layer.layer(Answers));
}
