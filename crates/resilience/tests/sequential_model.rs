//! Random histories against a model that is slow and plain: it keeps every call, and reads the rules off the
//! documentation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use quorate_resilience::breaker::{Outcome, OwnedPermit, RateRule};
use quorate_resilience::clock::ManualClock;
use quorate_resilience::{CircuitBreaker, State};

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A call begins, under a number.
    Begin,
    /// The so-manieth call that is on its way, counted from the oldest, ends; modulo their number.
    End(usize, Outcome),
    Advance(u64),
    Reset,
    Trip,
    /// Somebody asks for a snapshot, before which successes may wait to be counted.
    Look,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    trip: TripBy,
    open_secs: u64,
    successes: usize,
    probes: usize,
    probe_timeout_secs: u64,
}

#[derive(Clone, Copy, Debug)]
enum TripBy {
    Failures(usize),
    /// Half of the last so many calls, with so many at least.
    Calls(usize, usize),
    /// Half of the calls in the last so many seconds, in buckets of a second.
    Seconds(u64, usize),
}

/// A call on its way: the epoch of its permit and when it began.
struct Underway {
    epoch: u64,
    began: u64,
    probe: bool,
}

struct Model {
    settings: Settings,
    now: u64,
    epoch: u64,
    state: State,
    since: u64,
    /// Results of this epoch that count: when, and whether it failed.
    results: Vec<(u64, bool)>,
    underway: BTreeMap<u64, Underway>,
    begun: u64,
}

impl Model {
    fn new(settings: Settings) -> Self {
        let (results, underway) = (Vec::new(), BTreeMap::new());
        Self { settings, now: 0, epoch: 0, state: State::Closed, since: 0, results, underway, begun: 0 }
    }

    fn enter(&mut self, state: State) {
        (self.state, self.since, self.epoch) = (state, self.now, self.epoch + 1);
        self.results.clear();
    }

    fn look(&mut self) -> (State, u64) {
        if self.state == State::Open && self.now >= self.since + self.settings.open_secs {
            self.enter(State::HalfOpen);
        }
        (self.state, self.epoch)
    }

    fn is_hung(&self, call: &Underway) -> bool {
        call.probe && self.now >= call.began + self.settings.probe_timeout_secs
    }

    /// The number of the call, if it may be made.
    fn begin(&mut self) -> Option<u64> {
        let (state, epoch) = self.look();
        let calls = self.underway.values();
        let probes = calls.filter(|call| call.epoch == epoch && call.probe && !self.is_hung(call)).count();
        let admitted = match state {
            State::Closed => true,
            State::HalfOpen => probes < self.settings.probes,
            _ => false,
        };
        let probe = state == State::HalfOpen;
        self.begun += 1;
        admitted.then(|| self.underway.insert(self.begun, Underway { epoch, began: self.now, probe }));
        admitted.then_some(self.begun)
    }

    fn end(&mut self, number: u64, outcome: Outcome) {
        self.look();
        let call = self.underway.remove(&number).unwrap();
        if call.epoch != self.epoch || self.is_hung(&call) || outcome == Outcome::Ignored {
            return;
        }
        self.results.push((self.now, outcome == Outcome::Failure));
        match self.state {
            State::Closed if self.trips() => self.enter(State::Open),
            State::HalfOpen if outcome == Outcome::Failure => self.enter(State::Open),
            State::HalfOpen if self.results.len() >= self.settings.successes => self.enter(State::Closed),
            _ => {}
        }
    }

    fn streak(&self) -> usize {
        self.results.iter().rev().take_while(|(_, failed)| *failed).count()
    }

    /// How many calls the window holds, and how many of them failed.
    fn window(&self) -> Option<(usize, usize)> {
        let newest = self.results.iter().rev();
        let held: Vec<bool> = match self.settings.trip {
            TripBy::Failures(_) => return None,
            TripBy::Calls(size, _) => newest.take(size).map(|(_, failed)| *failed).collect(),
            TripBy::Seconds(length, _) => {
                // Buckets are counted from the beginning of the epoch; the newest `length` of them are held.
                newest.filter(|(at, _)| self.now - at < length).map(|(_, failed)| *failed).collect()
            }
        };
        Some((held.len(), held.iter().filter(|failed| **failed).count()))
    }

    fn trips(&self) -> bool {
        match self.settings.trip {
            TripBy::Failures(threshold) => self.streak() >= threshold,
            TripBy::Calls(_, least) | TripBy::Seconds(_, least) => {
                self.window().is_some_and(|(calls, failures)| calls >= least && failures * 2 >= calls)
            }
        }
    }
}

fn breaker(settings: Settings, clock: Arc<ManualClock>) -> CircuitBreaker {
    let builder = CircuitBreaker::builder()
        .clock(clock)
        .recovery_timeout(Duration::from_secs(settings.open_secs))
        .success_threshold(settings.successes as u32)
        .half_open_max_calls(settings.probes as u32)
        .half_open_timeout(Duration::from_secs(settings.probe_timeout_secs));
    let builder = match settings.trip {
        TripBy::Failures(threshold) => builder.failure_threshold(threshold as u32),
        TripBy::Calls(size, least) => {
            builder.trip_on_rate(RateRule::over_calls(size as u32).minimum_calls(least as u32))
        }
        TripBy::Seconds(length, least) => {
            let window = RateRule::over_time(Duration::from_secs(length), length as u32);
            builder.trip_on_rate(window.minimum_calls(least as u32))
        }
    };
    builder.build().unwrap()
}

fn agree(settings: Settings, steps: &[Step]) {
    let clock = Arc::new(ManualClock::new());
    let (breaker, mut model) = (breaker(settings, Arc::clone(&clock)), Model::new(settings));
    let mut permits: BTreeMap<u64, OwnedPermit> = BTreeMap::new();
    for step in steps.iter().chain([&Step::Look]) {
        match step {
            Step::Begin => {
                let (permit, number) = (breaker.try_acquire_owned().ok(), model.begin());
                assert_eq!(permit.is_some(), number.is_some(), "admitted");
                permits.extend(number.zip(permit));
            }
            Step::End(which, outcome) => {
                let numbers: Vec<u64> = permits.keys().copied().collect();
                let Some(number) = numbers.get(which % numbers.len().max(1)) else { continue };
                permits.remove(number).unwrap().settle(*outcome);
                model.end(*number, *outcome);
            }
            Step::Advance(seconds) => {
                clock.advance(Duration::from_secs(*seconds));
                model.now += seconds;
            }
            Step::Reset => {
                breaker.reset();
                model.look();
                model.enter(State::Closed);
            }
            Step::Trip => {
                breaker.trip();
                if model.look().0 != State::Open {
                    model.enter(State::Open);
                }
            }
            Step::Look => {
                let snapshot = breaker.snapshot();
                assert_eq!((snapshot.state, snapshot.epoch), model.look());
                if snapshot.state == State::Closed {
                    let window =
                        snapshot.window.map(|window| (window.calls as usize, window.failures as usize));
                    assert_eq!(window, model.window());
                }
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Success),
        5 => Just(Outcome::Failure),
        1 => Just(Outcome::Ignored)
    ];
    let step = prop_oneof![
        10 => Just(Step::Begin),
        9 => (0..8usize, outcome).prop_map(|(which, outcome)| Step::End(which, outcome)),
        3 => (0..4u64).prop_map(Step::Advance),
        1 => (0..40u64).prop_map(Step::Advance),
        1 => prop_oneof![Just(Step::Reset), Just(Step::Trip)],
        4 => Just(Step::Look),
    ];
    prop::collection::vec(step, 0..200)
}

fn settings(trip: impl Strategy<Value = TripBy>) -> impl Strategy<Value = Settings> {
    (trip, 0..10u64, 1..4usize, 1..4usize, 1..6u64).prop_map(
        |(trip, open_secs, successes, probes, probe_timeout_secs)| Settings {
            trip,
            open_secs,
            successes,
            probes,
            probe_timeout_secs,
        },
    )
}

proptest! {
    #[test]
    fn consecutive_breaker_agrees(
        settings in settings((1..5usize).prop_map(TripBy::Failures)),
        steps in steps(),
    ) {
        agree(settings, &steps);
    }

    #[test]
    fn breaker_over_calls_agrees(
        settings in settings(
            (1..12usize).prop_flat_map(|size| (1..=size).prop_map(move |least| TripBy::Calls(size, least)))
        ),
        steps in steps(),
    ) {
        agree(settings, &steps);
    }

    #[test]
    fn breaker_over_time_agrees(
        settings in settings((1..6u64, 1..6usize).prop_map(|(length, least)| TripBy::Seconds(length, least))),
        steps in steps(),
    ) {
        agree(settings, &steps);
    }
}
