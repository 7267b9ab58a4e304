//! Adaptive throttling by the formula of the SRE book.

use std::sync::Arc;
use std::time::Duration;

use quorate_resilience::AdaptiveThrottle;
use quorate_resilience::breaker::Outcome;
use quorate_resilience::clock::ManualClock;

use crate::table;

fn throttle(k: f64) -> (AdaptiveThrottle, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    (AdaptiveThrottle::seeded(k, Arc::clone(&clock), 7).unwrap(), clock)
}

/// The probability after so many requests, of which so many were accepted.
fn probability(k: f64, requests: usize, accepts: usize) -> f64 {
    let (throttle, _) = throttle(k);
    (0..accepts).for_each(|_| throttle.record(Outcome::Success));
    (accepts..requests).for_each(|_| throttle.record(Outcome::Failure));
    throttle.rejection_probability()
}

table! {
    nothing_is_known_at_first: probability(2.0, 0, 0) => 0.0;
    ninety_of_120_are_accepted: probability(100.0 / 90.0, 120, 90) => 20.0 / 121.0;
    half_is_accepted_with_k_of_two: probability(2.0, 100, 50) => 0.0;
    less_than_half_is_accepted: probability(2.0, 100, 40) => 20.0 / 101.0;
    nothing_is_accepted: probability(2.0, 100, 0) => 100.0 / 101.0;
    k_below_one: AdaptiveThrottle::new(0.9).unwrap_err().to_string() => "k must be at least 1";
    k_without_a_number: AdaptiveThrottle::new(f64::NAN).unwrap_err().to_string() => "k must be at least 1";
}

#[test]
fn refused_share_follows_the_probability() {
    let (throttle, _) = throttle(2.0);
    // A service that accepts nothing is asked ever more rarely.
    let asked = (0..1_000).filter(|_| throttle.check().map(|()| throttle.record(Outcome::Failure)).is_ok());
    let asked = asked.count();
    assert!((1..=30).contains(&asked), "{asked}");
}

#[test]
fn ignored_results_are_no_requests() {
    let (throttle, _) = throttle(2.0);
    (0..100).for_each(|_| throttle.record(Outcome::Ignored));
    assert_eq!(throttle.rejection_probability(), 0.0);
}

#[test]
fn two_minutes_are_remembered() {
    let (throttle, clock) = throttle(2.0);
    throttle.record(Outcome::Failure);
    clock.advance(Duration::from_millis(119_999));
    assert_eq!(throttle.rejection_probability(), 0.5);
    clock.advance(Duration::from_millis(1));
    assert_eq!(throttle.rejection_probability(), 0.0);
}
