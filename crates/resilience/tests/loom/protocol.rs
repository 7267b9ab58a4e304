//! The properties, each under all interleavings of two or three threads.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use loom::thread;

use crate::breaker::{Builder, CircuitBreaker, Event, Outcome, RateRule, State};
use crate::clock::ManualClock;
use crate::sync::locks_taken;

/// Tries all interleavings with at most this many switches that no thread has asked for: by the experience of
/// loom's authors, two or three find nearly everything, and more take too long.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A breaker on a clock that stands still, and what it told.
fn observed(builder: Builder) -> (CircuitBreaker, Arc<ManualClock>, Arc<Mutex<Vec<Event>>>) {
    let (clock, events) = (Arc::new(ManualClock::new()), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&events);
    let builder = builder.clock(Arc::clone(&clock)).on_event(move |event| log.lock().unwrap().push(*event));
    (builder.build().unwrap(), clock, events)
}

/// A breaker whose first probes are due.
fn recovering(builder: Builder) -> (CircuitBreaker, Arc<Mutex<Vec<Event>>>) {
    let (breaker, clock, events) = observed(builder);
    breaker.trip();
    clock.advance(Duration::from_secs(60));
    events.lock().unwrap().clear();
    (breaker, events)
}

fn in_thread<T: 'static>(
    breaker: &CircuitBreaker,
    work: impl FnOnce(CircuitBreaker) -> T + 'static,
) -> thread::JoinHandle<T> {
    let breaker = breaker.clone();
    thread::spawn(move || work(breaker))
}

/// One whole call; whether it was made.
fn call(breaker: &CircuitBreaker, outcome: Outcome) -> bool {
    breaker.try_acquire().map(|permit| permit.settle(outcome)).is_ok()
}

fn epochs(events: &Mutex<Vec<Event>>) -> Vec<u64> {
    let events = events.lock().unwrap();
    let begun = |event: &Event| match event {
        Event::StateChanged { epoch, .. } => Some(*epoch),
        _ => None,
    };
    events.iter().filter_map(begun).collect()
}

#[test]
fn concurrent_failures_open_once() {
    explore(|| {
        let (breaker, _, events) = observed(CircuitBreaker::builder().failure_threshold(2));
        let other = in_thread(&breaker, |breaker| call(&breaker, Outcome::Failure));
        call(&breaker, Outcome::Failure);
        assert!(other.join().unwrap());
        assert_eq!((breaker.snapshot().state, breaker.snapshot().openings), (State::Open, 1));
        assert_eq!(epochs(&events), [1]);
    });
}

#[test]
fn no_failure_is_lost_beside_a_success_that_need_not_be_told() {
    explore(|| {
        let (breaker, _, _) = observed(CircuitBreaker::builder().failure_threshold(2));
        let other = in_thread(&breaker, |breaker| call(&breaker, Outcome::Failure));
        call(&breaker, Outcome::Success);
        other.join().unwrap();
        // Either the success came first, or it ended the streak: never a trip, never half a count.
        let snapshot = breaker.snapshot();
        assert_eq!(snapshot.state, State::Closed);
        assert!(snapshot.consecutive_failures <= 1);
        call(&breaker, Outcome::Failure);
        call(&breaker, Outcome::Failure);
        assert_eq!(breaker.state(), State::Open);
    });
}

#[test]
fn success_after_a_failure_ends_the_streak() {
    explore(|| {
        let (breaker, _, _) = observed(CircuitBreaker::builder().failure_threshold(3));
        let other = in_thread(&breaker, |breaker| {
            call(&breaker, Outcome::Failure);
            call(&breaker, Outcome::Success);
        });
        call(&breaker, Outcome::Failure);
        other.join().unwrap();
        // At most the failure of this thread can stand after the success of the other.
        assert!(breaker.snapshot().consecutive_failures <= 1);
    });
}

#[test]
fn result_of_an_earlier_epoch_counts_for_nothing() {
    explore(|| {
        let (breaker, _, _) = observed(CircuitBreaker::builder().failure_threshold(1));
        let old = breaker.try_acquire_owned().unwrap();
        let other = in_thread(&breaker, move |_| old.settle(Outcome::Failure));
        breaker.reset();
        other.join().unwrap();
        let snapshot = breaker.snapshot();
        // Before the reset it opened the circuit, which the reset closed; after it, it was late.
        assert_eq!(snapshot.state, State::Closed);
        assert_eq!(snapshot.late, if snapshot.epoch == 1 { 1 } else { 0 });
    });
}

#[test]
fn admission_that_races_with_the_opening_is_of_the_old_epoch() {
    explore(|| {
        let (breaker, _, _) = observed(CircuitBreaker::builder().failure_threshold(1));
        let other = in_thread(&breaker, |breaker| {
            let Ok(permit) = breaker.try_acquire() else { return false };
            permit.settle(Outcome::Success);
            true
        });
        call(&breaker, Outcome::Failure);
        other.join().unwrap();
        assert_eq!((breaker.snapshot().state, breaker.snapshot().epoch), (State::Open, 1));
    });
}

#[test]
fn half_open_admits_its_number_and_no_more() {
    explore(|| {
        let (breaker, _) = recovering(CircuitBreaker::builder().half_open_max_calls(1));
        let ask = |breaker: CircuitBreaker| breaker.try_acquire_owned().ok();
        let others = [in_thread(&breaker, ask), in_thread(&breaker, ask)];
        let mut permits = vec![ask(breaker.clone())];
        permits.extend(others.map(|other| other.join().unwrap()));
        let admitted = permits.iter().flatten().count();
        assert_eq!((admitted, breaker.snapshot().probes), (1, 1));
    });
}

#[test]
fn dropped_probe_gives_its_place_exactly_once() {
    explore(|| {
        let (breaker, _) = recovering(CircuitBreaker::builder().half_open_max_calls(1));
        let probe = breaker.try_acquire_owned().unwrap();
        let other = in_thread(&breaker, move |_| drop(probe));
        let permit = breaker.try_acquire_owned();
        other.join().unwrap();
        assert_eq!(breaker.snapshot().probes, u32::from(permit.is_ok()));
        drop(permit);
        assert_eq!(breaker.snapshot().probes, 0);
    });
}

#[test]
fn hung_probe_loses_its_place_to_one_call() {
    explore(|| {
        let timeout = Duration::from_secs(1);
        let settings = CircuitBreaker::builder().half_open_max_calls(1).half_open_timeout(timeout);
        let (breaker, clock, _) = observed(settings);
        breaker.trip();
        clock.advance(Duration::from_secs(60));
        let hung = breaker.try_acquire_owned().unwrap();
        clock.advance(timeout);
        let late = in_thread(&breaker, move |_| hung.settle(Outcome::Failure));
        let asking = in_thread(&breaker, |breaker| breaker.try_acquire_owned().ok());
        let permits = [breaker.try_acquire_owned().ok(), asking.join().unwrap()];
        late.join().unwrap();
        assert_eq!(permits.iter().flatten().count(), 1);
        assert_eq!((breaker.state(), breaker.snapshot().late), (State::HalfOpen, 1));
    });
}

#[test]
fn probes_that_disagree_decide_once() {
    explore(|| {
        let (breaker, events) =
            recovering(CircuitBreaker::builder().success_threshold(1).half_open_max_calls(2));
        let good = breaker.try_acquire_owned().unwrap();
        let bad = breaker.try_acquire_owned().unwrap();
        let other = in_thread(&breaker, move |_| good.settle(Outcome::Success));
        bad.settle(Outcome::Failure);
        other.join().unwrap();
        let snapshot = breaker.snapshot();
        assert!(matches!(snapshot.state, State::Closed | State::Open));
        assert_eq!((snapshot.epoch, snapshot.late), (3, 1));
        assert_eq!(epochs(&events), [2, 3]);
    });
}

#[test]
fn events_come_in_the_order_of_epochs() {
    explore(|| {
        let (breaker, _, events) = observed(CircuitBreaker::builder());
        let other = in_thread(&breaker, |breaker| breaker.force_open());
        breaker.reset();
        breaker.disable();
        other.join().unwrap();
        assert_eq!(epochs(&events), [1, 2, 3]);
    });
}

#[test]
fn listener_that_intervenes_is_heard() {
    explore(|| {
        let handle: Arc<std::sync::OnceLock<CircuitBreaker>> = Arc::default();
        let again = Arc::clone(&handle);
        let builder = CircuitBreaker::builder().failure_threshold(1).on_event(move |event| {
            if matches!(event, Event::StateChanged { to: State::Open, .. }) {
                again.get().unwrap().force_closed();
            }
        });
        let (breaker, _, events) = observed(builder);
        assert!(handle.set(breaker.clone()).is_ok());
        let other = in_thread(&breaker, |breaker| call(&breaker, Outcome::Failure));
        call(&breaker, Outcome::Failure);
        other.join().unwrap();
        assert_eq!(breaker.state(), State::ForcedClosed);
        assert_eq!(epochs(&events), [1, 2]);
    });
}

#[test]
fn window_loses_no_result() {
    explore(|| {
        let rule = RateRule::over_calls(10).minimum_calls(10);
        let (breaker, _, _) = observed(CircuitBreaker::builder().trip_on_rate(rule));
        let other = in_thread(&breaker, |breaker| call(&breaker, Outcome::Failure));
        call(&breaker, Outcome::Success);
        other.join().unwrap();
        let window = breaker.snapshot().window.unwrap();
        assert_eq!((window.calls, window.failures), (2, 1));
    });
}

#[test]
fn successes_that_are_only_counted_stand_before_the_failure_that_follows() {
    explore(|| {
        let rule = RateRule::over_calls(4).minimum_calls(2).failures(0.5);
        let (breaker, _, _) = observed(CircuitBreaker::builder().trip_on_rate(rule));
        call(&breaker, Outcome::Success);
        let other = in_thread(&breaker, |breaker| {
            call(&breaker, Outcome::Success);
        });
        call(&breaker, Outcome::Success);
        // Two of these successes are certain, so that one failure is a third at most.
        call(&breaker, Outcome::Failure);
        other.join().unwrap();
        let window = breaker.snapshot().window.unwrap();
        assert_eq!((window.calls, window.failures), (4, 1));
    });
}

#[test]
fn success_is_counted_in_its_own_epoch_only() {
    explore(|| {
        let rule = RateRule::over_calls(10).minimum_calls(10);
        let (breaker, _, _) = observed(CircuitBreaker::builder().trip_on_rate(rule));
        call(&breaker, Outcome::Success);
        let old = breaker.try_acquire_owned().unwrap();
        let other = in_thread(&breaker, move |_| old.settle(Outcome::Success));
        breaker.reset();
        call(&breaker, Outcome::Success);
        other.join().unwrap();
        // Before the reset it was forgotten with the window; after it, it was late.
        let snapshot = breaker.snapshot();
        assert_eq!(snapshot.window.unwrap().calls, 1);
        assert!(snapshot.late <= 1);
    });
}

#[test]
fn failure_beside_a_success_in_a_full_window_stays_in_it() {
    explore(|| {
        let rule = RateRule::over_calls(2).minimum_calls(2).failures(1.0);
        let (breaker, _, _) = observed(CircuitBreaker::builder().trip_on_rate(rule));
        call(&breaker, Outcome::Success);
        call(&breaker, Outcome::Success);
        let other = in_thread(&breaker, |breaker| call(&breaker, Outcome::Failure));
        call(&breaker, Outcome::Success);
        other.join().unwrap();
        // Whichever came first, the failure is one of the last two.
        let window = breaker.snapshot().window.unwrap();
        assert_eq!((window.calls, window.failures), (2, 1));
        call(&breaker, Outcome::Success);
        call(&breaker, Outcome::Success);
        assert_eq!(breaker.snapshot().window.unwrap().failures, 0);
    });
}

/// How many of the successes that follow `before` take a lock, of ten.
fn locks_of_ten_successes(builder: Builder, before: &[Outcome]) -> u64 {
    let breaker = builder.build().unwrap();
    before.iter().for_each(|outcome| assert!(call(&breaker, *outcome)));
    let taken = locks_taken();
    (0..10).for_each(|_| assert!(call(&breaker, Outcome::Success)));
    locks_taken() - taken
}

#[test]
fn successes_take_a_lock_only_where_they_decide_something() {
    use Outcome::{Failure, Success};
    explore(|| {
        let consecutive = CircuitBreaker::builder;
        assert_eq!(locks_of_ten_successes(consecutive(), &[]), 0);
        assert_eq!(locks_of_ten_successes(consecutive(), &[Failure]), 1, "the first ends the streak");

        let window = |rule: RateRule| CircuitBreaker::builder().trip_on_rate(rule.failures(0.9));
        let over_calls = || RateRule::over_calls(100).minimum_calls(4);
        // The first one opens the count.
        assert_eq!(locks_of_ten_successes(window(over_calls()), &[]), 1);
        assert_eq!(locks_of_ten_successes(window(over_calls()), &[Success]), 0);
        assert_eq!(locks_of_ten_successes(window(over_calls()), &[Success, Success, Success, Failure]), 0);
        // Up to the minimum of calls each may trip, and the one that reaches it opens the count.
        assert_eq!(locks_of_ten_successes(window(over_calls()), &[Failure]), 3);
        // A count that has no room left is entered.
        assert_eq!(locks_of_ten_successes(window(RateRule::over_calls(4)), &[Success]), 1);
        let slow = over_calls().slow_calls(Duration::from_secs(1), 0.5);
        assert_eq!(locks_of_ten_successes(window(slow), &[Success]), 10);
        let over_time = RateRule::over_time(Duration::from_secs(10), 10);
        assert_eq!(locks_of_ten_successes(window(over_time), &[Success]), 10);
    });
}
