//! Listeners: one order, outside of locks, and never the reason for unbounded memory.

use std::sync::{Arc, Mutex, OnceLock, mpsc};

use quorate_resilience::breaker::{Builder, Event, Outcome};
use quorate_resilience::clock::ManualClock;
use quorate_resilience::{CircuitBreaker, State};

/// A breaker whose events are kept.
fn recorded(builder: Builder) -> (CircuitBreaker, Arc<Mutex<Vec<Event>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let breaker = builder.clock(ManualClock::new()).on_event(move |event| log.lock().unwrap().push(*event));
    (breaker.build().unwrap(), seen)
}

/// Hazard 41: gobreaker tells its listener while it holds its lock (gobreaker#37).
#[test]
fn listener_may_call_the_breaker() {
    let handle: Arc<OnceLock<CircuitBreaker>> = Arc::default();
    let (again, seen) = (Arc::clone(&handle), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&seen);
    let breaker = CircuitBreaker::builder()
        .failure_threshold(1)
        .on_event(move |event| {
            let Event::StateChanged { to, .. } = event else { return };
            log.lock().unwrap().push(*to);
            if *to == State::Open {
                again.get().unwrap().reset();
            }
        })
        .build()
        .unwrap();
    handle.set(breaker.clone()).unwrap();
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(*seen.lock().unwrap(), [State::Open, State::Closed]);
}

#[test]
fn every_listener_sees_every_event() {
    let (first, second) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    let (one, two) = (Arc::clone(&first), Arc::clone(&second));
    let builder = CircuitBreaker::builder().on_event(move |_| *one.lock().unwrap() += 1);
    let breaker = builder.on_event(move |_| *two.lock().unwrap() += 1).build().unwrap();
    breaker.force_open();
    assert!(breaker.try_acquire().is_err());
    assert_eq!((*first.lock().unwrap(), *second.lock().unwrap()), (2, 2));
}

#[test]
fn slow_listener_is_told_what_it_missed() {
    let (entered, has_entered) = mpsc::channel();
    let (let_go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let breaker = CircuitBreaker::builder()
        .on_event(move |event| {
            if log.lock().unwrap().is_empty() {
                entered.send(()).unwrap();
                may_go.lock().unwrap().recv().unwrap();
            }
            log.lock().unwrap().push(*event);
        })
        .build()
        .unwrap();
    let blocked = breaker.clone();
    let deliverer = std::thread::spawn(move || blocked.force_open());
    has_entered.recv().unwrap();
    for _ in 0..2_000 {
        assert!(breaker.try_acquire().is_err());
    }
    breaker.reset();
    let_go.send(()).unwrap();
    deliverer.join().unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().filter(|event| matches!(event, Event::Rejected(_))).count(), 1024);
    assert_eq!(seen[seen.len() - 2], Event::Missed { events: 2_000 - 1024 });
    let reset = Event::StateChanged { from: State::ForcedOpen, to: State::Closed, epoch: 2 };
    assert_eq!(seen[seen.len() - 1], reset);
}

#[test]
fn panicking_listener_does_not_silence_the_others_for_ever() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let breaker = CircuitBreaker::builder()
        .on_event(move |event| {
            log.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(*event);
            if matches!(event, Event::StateChanged { to: State::ForcedOpen, .. }) {
                std::panic::resume_unwind(Box::new(()));
            }
        })
        .build()
        .unwrap();
    let order = std::panic::AssertUnwindSafe(|| breaker.force_open());
    assert!(std::panic::catch_unwind(order).is_err());
    breaker.reset();
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[test]
fn threads_see_one_order_of_epochs() {
    let (breaker, seen) = recorded(CircuitBreaker::builder().failure_threshold(1));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let breaker = &breaker;
            scope.spawn(move || {
                for turn in 0..250 {
                    match (thread + turn) % 3 {
                        0 => breaker.reset(),
                        1 => breaker.trip(),
                        _ => breaker.try_acquire().into_iter().for_each(|permit| permit.failure()),
                    }
                }
            });
        }
    });
    let epochs: Vec<u64> = seen.lock().unwrap().iter().filter_map(epoch_begun).collect();
    assert_eq!(epochs, (1..=breaker.snapshot().epoch).collect::<Vec<_>>());
}

fn epoch_begun(event: &Event) -> Option<u64> {
    match event {
        Event::StateChanged { epoch, .. } => Some(*epoch),
        _ => None,
    }
}

#[test]
fn no_call_delivers_without_end() {
    // A listener that causes an event for each that it is told: whoever delivers would do so for ever.
    let handle: Arc<OnceLock<CircuitBreaker>> = Arc::default();
    let (again, told) = (Arc::clone(&handle), Arc::new(Mutex::new(0)));
    let count = Arc::clone(&told);
    let breaker = CircuitBreaker::builder()
        .on_event(move |_| {
            *count.lock().unwrap() += 1;
            again.get().unwrap().force_open();
        })
        .build()
        .unwrap();
    handle.set(breaker.clone()).unwrap();
    breaker.force_open();
    let first_turn = *told.lock().unwrap();
    assert_eq!(first_turn, 2048);
    // What was left is delivered by the next call.
    assert_eq!(breaker.state(), State::ForcedOpen);
    assert_eq!(*told.lock().unwrap(), first_turn * 2);
}

#[test]
fn late_results_are_told() {
    let (breaker, seen) = recorded(CircuitBreaker::builder());
    let permit = breaker.try_acquire().unwrap();
    breaker.reset();
    permit.failure();
    let late = Event::LateResult { outcome: Outcome::Failure, epoch: 0 };
    assert_eq!(seen.lock().unwrap().last(), Some(&late));
}
