//! Keyed breakers: bounded, and never forgotten too early.

use std::sync::Arc;
use std::time::Duration;

use quorate_resilience::breaker::{Outcome, Registry};
use quorate_resilience::clock::ManualClock;
use quorate_resilience::{CircuitBreaker, State};

const IDLE: Duration = Duration::from_secs(100);

fn registry(capacity: usize) -> (Registry<u32>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let template = CircuitBreaker::builder().failure_threshold(1).clock(Arc::clone(&clock));
    (Registry::new(template, IDLE, capacity).unwrap(), clock)
}

/// The one breaker is forgotten after so long, and not a nanosecond earlier.
fn assert_goes_at(after: Duration, registry: &Registry<u32>, clock: &ManualClock) {
    clock.advance(after - Duration::from_nanos(1));
    registry.evict_idle();
    assert_eq!(registry.len(), 1);
    clock.advance(Duration::from_nanos(1));
    registry.evict_idle();
    assert_eq!(registry.len(), 0);
}

#[test]
fn each_key_has_its_own_breaker() {
    let (registry, _) = registry(10);
    registry.get(1).trip();
    assert_eq!(registry.get(1).state(), State::Open);
    assert_eq!(registry.get(2).state(), State::Closed);
}

#[test]
fn idle_breakers_go_at_the_boundary() {
    let (registry, clock) = registry(10);
    registry.get(1);
    assert_goes_at(IDLE, &registry, &clock);
}

#[test]
fn asking_keeps_a_breaker() {
    let (registry, clock) = registry(10);
    registry.get(1);
    clock.advance(IDLE / 2);
    registry.get(1);
    clock.advance(IDLE / 2);
    registry.evict_idle();
    assert_eq!(registry.len(), 1);
}

#[test]
fn new_keys_sweep_out_idle_ones() {
    let (registry, clock) = registry(1_000);
    (0..500).for_each(|key| drop(registry.get(key)));
    clock.advance(IDLE);
    registry.get(1_000);
    assert_eq!(registry.len(), 1);
}

#[test]
fn breaker_in_use_is_not_forgotten() {
    let (registry, clock) = registry(10);
    let held = registry.get(1);
    clock.advance(IDLE * 2);
    registry.evict_idle();
    held.trip();
    assert_eq!(registry.get(1).state(), State::Open);
}

#[test]
fn permit_on_its_way_keeps_its_breaker() {
    let (registry, clock) = registry(10);
    let permit = registry.get(1).try_acquire_owned().unwrap();
    clock.advance(IDLE * 2);
    registry.evict_idle();
    permit.settle(Outcome::Failure);
    assert_eq!(registry.get(1).state(), State::Open);
}

#[test]
fn open_circuit_is_not_forgotten_before_its_time() {
    let clock = Arc::new(ManualClock::new());
    let template = CircuitBreaker::builder().recovery_timeout(IDLE * 3).clock(Arc::clone(&clock));
    let registry = Registry::new(template, IDLE, 10).unwrap();
    registry.get(1).trip();
    assert_goes_at(IDLE * 3, &registry, &clock);
}

#[test]
fn what_a_hand_has_chosen_is_not_forgotten() {
    let (registry, clock) = registry(1);
    registry.get(1).force_open();
    clock.advance(IDLE * 2);
    registry.evict_idle();
    registry.get(2);
    assert_eq!(registry.get(1).state(), State::ForcedOpen);
}

#[test]
fn full_registry_gives_up_the_least_recently_asked() {
    let (registry, clock) = registry(3);
    for key in [1, 2, 3] {
        registry.get(key).try_acquire().unwrap().success();
        clock.advance(Duration::from_secs(1));
    }
    registry.get(1);
    registry.get(4);
    assert_eq!(registry.len(), 3);
    // 2 was given up, so it is new; and that gives up 3.
    registry.get(2);
    assert_eq!(registry.len(), 3);
}

#[test]
fn threads_that_ask_for_one_key_get_one_breaker() {
    let (registry, _) = registry(10);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| registry.get(1))).collect();
        let breakers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        breakers[0].trip();
        assert!(breakers.iter().all(|breaker| breaker.state() == State::Open));
    });
}
