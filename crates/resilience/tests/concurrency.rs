//! Many threads at once: the bounds hold, and nothing shared is written on the lucky path.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use quorate_resilience::breaker::{Builder, Outcome, RateRule};
use quorate_resilience::clock::{Clock, ManualClock};
use quorate_resilience::{CircuitBreaker, RejectedBy, State};

/// Runs `work` in so many threads, all at once.
fn together(threads: usize, work: impl Fn() + Sync) {
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                barrier.wait();
                work();
            });
        }
    });
}

/// A clock that counts how often it is asked.
#[derive(Default)]
struct CountingClock {
    clock: ManualClock,
    readings: AtomicUsize,
}

impl Clock for CountingClock {
    fn now(&self) -> std::time::Instant {
        self.readings.fetch_add(1, Ordering::Relaxed);
        self.clock.now()
    }
}

#[test]
fn half_open_admits_its_number_of_100() {
    // Hazard 38: failsafe and recloser let all of them through.
    let clock = Arc::new(ManualClock::new());
    let breaker = CircuitBreaker::builder().clock(Arc::clone(&clock)).build().unwrap();
    breaker.trip();
    clock.advance(Duration::from_secs(60));
    let (admitted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let all_asked = Barrier::new(100);
    together(100, || {
        let permit = breaker.try_acquire();
        all_asked.wait();
        match permit {
            Ok(permit) => {
                admitted.fetch_add(1, Ordering::Relaxed);
                permit.settle(Outcome::Ignored);
            }
            Err(rejected) => {
                assert_eq!(rejected.by, RejectedBy::ProbingCircuit);
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    assert_eq!((admitted.into_inner(), refused.into_inner()), (3, 97));
}

#[test]
fn failures_of_many_threads_open_once() {
    let breaker = CircuitBreaker::builder().failure_threshold(50).clock(ManualClock::new()).build().unwrap();
    together(100, || breaker.try_acquire().into_iter().for_each(|permit| permit.failure()));
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.state, snapshot.epoch, snapshot.openings), (State::Open, 1, 1));
    assert_eq!(snapshot.rejected + snapshot.late, 50);
}

#[test]
fn windows_lose_no_result_of_many_threads() {
    let rule = RateRule::over_calls(100_000).minimum_calls(100_000);
    let breaker = CircuitBreaker::builder().trip_on_rate(rule).build().unwrap();
    together(4, || {
        for turn in 0..2_000 {
            let outcome = if turn % 2 == 0 { Outcome::Success } else { Outcome::Failure };
            breaker.try_acquire().unwrap().settle(outcome);
        }
    });
    let window = breaker.snapshot().window.unwrap();
    assert_eq!((window.calls, window.failures), (8_000, 4_000));
}

#[test]
fn ten_thousand_successes_do_not_need_ten_thousand_failures() {
    // Regression, for a count window that never slides.
    let rule = RateRule::over_calls(100).failures(0.5);
    let breaker = CircuitBreaker::builder().trip_on_rate(rule).build().unwrap();
    for _ in 0..10_000 {
        breaker.try_acquire().unwrap().success();
    }
    let failures = (1..).find(|_| {
        breaker.try_acquire().unwrap().failure();
        breaker.state() == State::Open
    });
    assert_eq!(failures, Some(50));
}

#[test]
fn closed_success_reads_no_clock() {
    let clock = Arc::new(CountingClock::default());
    let breaker = CircuitBreaker::builder().clock(Arc::clone(&clock)).build().unwrap();
    let before = clock.readings.load(Ordering::Relaxed);
    for _ in 0..1_000 {
        assert_eq!(breaker.call_blocking(|| Ok::<_, ()>(7)), Ok(7));
    }
    assert_eq!(clock.readings.load(Ordering::Relaxed), before);
}

#[test]
fn success_in_a_window_of_calls_reads_no_clock() {
    let clock = Arc::new(CountingClock::default());
    let builder = CircuitBreaker::builder().clock(Arc::clone(&clock));
    let breaker = builder.trip_on_rate(RateRule::over_calls(10)).build().unwrap();
    let before = clock.readings.load(Ordering::Relaxed);
    for _ in 0..1_000 {
        assert_eq!(breaker.call_blocking(|| Ok::<_, ()>(7)), Ok(7));
    }
    assert_eq!(clock.readings.load(Ordering::Relaxed), before);
}

/// More than any of these waits takes; whoever waits for longer waits for ever.
const LONG: Duration = Duration::from_secs(20);

/// A clock that, once it is told to, does not answer until it is let go.
struct StuckClock {
    clock: ManualClock,
    sticks: AtomicBool,
    stuck: Sender<()>,
    free: Mutex<Receiver<()>>,
}

impl Clock for StuckClock {
    fn now(&self) -> std::time::Instant {
        if self.sticks.swap(false, Ordering::SeqCst) {
            self.stuck.send(()).unwrap();
            self.free.lock().unwrap().recv_timeout(LONG).expect("the call waited for the lock");
        }
        self.clock.now()
    }
}

/// Makes a call that succeeds while another thread holds the lock. The clock is read under the lock when a failure is
/// counted: while it does not answer, the lock is held.
fn succeeds_beside_the_lock(builder: Builder, successes_before: usize) -> CircuitBreaker {
    let ((stuck, is_stuck), (let_go, free)) = (channel(), channel());
    let (sticks, free) = (AtomicBool::new(false), Mutex::new(free));
    let clock = Arc::new(StuckClock { clock: ManualClock::new(), sticks, stuck, free });
    let breaker = builder.clock(Arc::clone(&clock)).build().unwrap();
    for _ in 0..successes_before {
        breaker.try_acquire().unwrap().success();
    }
    clock.sticks.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        scope.spawn(|| breaker.try_acquire().unwrap().failure());
        is_stuck.recv_timeout(LONG).expect("a failure reads the clock");
        assert_eq!(breaker.call_blocking(|| Ok::<_, ()>(7)), Ok(7));
        let_go.send(()).unwrap();
    });
    breaker
}

#[test]
fn closed_success_takes_no_lock() {
    let breaker = succeeds_beside_the_lock(CircuitBreaker::builder(), 0);
    assert_eq!(breaker.snapshot().consecutive_failures, 1);
}

#[test]
fn success_in_a_window_full_of_successes_takes_no_lock() {
    let builder = CircuitBreaker::builder().trip_on_rate(RateRule::over_calls(10));
    let window = succeeds_beside_the_lock(builder, 11).snapshot().window.unwrap();
    assert_eq!((window.calls, window.failures), (10, 1));
}

#[test]
fn window_counts_more_successes_than_may_wait_to_be_told() {
    let rule = RateRule::over_calls(100_000).minimum_calls(2).failures(0.6);
    let breaker = CircuitBreaker::builder().trip_on_rate(rule).build().unwrap();
    breaker.try_acquire().unwrap().failure();
    for _ in 0..5_000 {
        breaker.try_acquire().unwrap().success();
    }
    let window = breaker.snapshot().window.unwrap();
    assert_eq!((window.calls, window.failures), (5_001, 1));
}
