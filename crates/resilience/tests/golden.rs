//! Runs the golden scripts under `tests/scripts`. `UPDATE_GOLDENFILES=1` writes them anew.
//!
//! A script drives one breaker on a clock that it moves itself. A command in parentheses is quiet set-up.
//!
//! | command | effect |
//! |---|---|
//! | `breaker [setting=value ..]` | a new breaker |
//! | `calls SFX..` | whole calls, one after the other: success, failure, ignored; `P` panics, `D` is dropped |
//! | `begin name ..` | each asks for a permit |
//! | `end name=S ..` | each permit is settled, or dropped |
//! | `forget name ..` | each permit is leaked |
//! | `advance 60s` | moves the clock |
//! | `force_open`, `force_closed`, `disable`, `reset`, `trip` | orders |
//! | `status` | the breaker's state, and what it has counted |
//!
//! Settings are `failures`, `window` (`100` calls, or `10s/10` buckets), `minimum`, `rate`, `slow` (`2s/0.5`),
//! `open` (`60s`, or `5s/1.5` growing by that factor), `successes`, `probes`, `probe_timeout`, `probe_rate`, `cancelled`.

use std::collections::BTreeMap;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use goldenscript::{Command, Context, Runner};
use quorate_resilience::breaker::{Builder, Cancellation, Event, Outcome, OwnedPermit, RateRule, Snapshot};
use quorate_resilience::clock::ManualClock;
use quorate_resilience::{Backoff, CircuitBreaker, Rejected};

type Answer<T> = Result<T, Box<dyn Error>>;

struct Script {
    breaker: CircuitBreaker,
    clock: Arc<ManualClock>,
    trace: Arc<Mutex<Vec<String>>>,
    permits: BTreeMap<String, OwnedPermit>,
}

impl Script {
    fn new() -> Self {
        let (clock, trace) = (Arc::default(), Arc::default());
        let breaker = CircuitBreaker::new();
        Self { breaker, clock, trace, permits: BTreeMap::new() }
    }

    fn say(&self, line: impl Into<String>) {
        self.trace.lock().unwrap().push(line.into());
    }

    fn renew(&mut self, command: &Command) -> Answer<()> {
        let trace = Arc::clone(&self.trace);
        let mut builder = CircuitBreaker::builder()
            .clock(Arc::clone(&self.clock))
            .on_event(move |event| trace.lock().unwrap().push(shown(event)));
        let mut rule = None;
        let mut arguments = command.consume_args();
        while let Some((key, value)) = arguments.next_key() {
            rule = match (key, rule.take()) {
                ("window", None) => Some(window(value)?),
                ("minimum", Some(rule)) => Some(RateRule::minimum_calls(rule, value.parse()?)),
                ("rate", Some(rule)) => Some(rule.failures(fraction(value)?)),
                ("slow", Some(rule)) => {
                    let (after, rate) = value.split_once('/').ok_or("after/rate is wanted")?;
                    Some(rule.slow_calls(duration(after)?, rate.parse()?))
                }
                (_, rule) => {
                    builder = set(builder, key, value)?;
                    rule
                }
            };
        }
        arguments.reject_next()?;
        let builder = rule.into_iter().fold(builder, Builder::trip_on_rate);
        self.breaker = builder.build()?;
        self.permits.clear();
        Ok(())
    }

    fn acquire(&self) -> Result<OwnedPermit, Rejected> {
        self.breaker.try_acquire_owned()
    }

    fn begin(&mut self, name: &str) {
        match self.acquire() {
            Ok(permit) => {
                self.say(format!("{name} admitted"));
                self.permits.insert(name.to_owned(), permit);
            }
            // The event has told it.
            Err(_) => self.say(format!("{name} refused")),
        }
    }

    fn take(&mut self, name: &str) -> Answer<OwnedPermit> {
        self.permits.remove(name).ok_or_else(|| format!("there is no permit {name}").into())
    }

    fn act(&mut self, command: &Command) -> Answer<()> {
        let mut arguments = command.consume_args();
        match command.name.as_str() {
            "breaker" => return self.renew(command),
            "calls" => {
                for letter in arguments.next_pos().ok_or("no calls are given")?.chars() {
                    if let Ok(permit) = self.acquire() {
                        end(permit, letter)?;
                    }
                }
            }
            "begin" => std::iter::from_fn(|| arguments.next_pos()).for_each(|name| self.begin(name)),
            "end" => {
                while let Some((name, letters)) = arguments.next_key() {
                    let permit = self.take(name)?;
                    end(permit, letters.chars().next().ok_or("no result is given")?)?;
                }
            }
            "forget" => {
                while let Some(name) = arguments.next_pos() {
                    std::mem::forget(self.take(name)?);
                }
            }
            "advance" => self.clock.advance(duration(arguments.next_pos().ok_or("no time is given")?)?),
            "force_open" => self.breaker.force_open(),
            "force_closed" => self.breaker.force_closed(),
            "disable" => self.breaker.disable(),
            "reset" => self.breaker.reset(),
            "trip" => self.breaker.trip(),
            "status" => {
                let snapshot = self.breaker.snapshot();
                self.say(status(&snapshot));
            }
            other => return Err(format!("unknown command {other}").into()),
        }
        arguments.reject_next()
    }
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Answer<String> {
        self.act(command)?;
        let lines = std::mem::take(&mut *self.trace.lock().unwrap());
        Ok(lines.join("\n"))
    }
}

fn end(permit: OwnedPermit, letter: char) -> Answer<()> {
    match letter {
        'S' => permit.settle(Outcome::Success),
        'F' => permit.settle(Outcome::Failure),
        'X' => permit.settle(Outcome::Ignored),
        'D' => drop(permit),
        'P' => {
            let call = AssertUnwindSafe(move || {
                let _permit = permit;
                // No message: this panic is meant.
                std::panic::resume_unwind(Box::new(()));
            });
            assert!(catch_unwind(call).is_err());
        }
        other => return Err(format!("unknown result {other}").into()),
    }
    Ok(())
}

fn set(builder: Builder, key: &str, value: &str) -> Answer<Builder> {
    Ok(match key {
        "failures" => builder.failure_threshold(value.parse()?),
        "open" => match value.split_once('/') {
            Some((base, factor)) => {
                builder.recovery_backoff(Backoff::exponential(duration(base)?, factor.parse()?))
            }
            None => builder.recovery_timeout(duration(value)?),
        },
        "successes" => builder.success_threshold(value.parse()?),
        "probes" => builder.half_open_max_calls(value.parse()?),
        "probe_timeout" => builder.half_open_timeout(duration(value)?),
        "probe_rate" => builder.half_open_failure_rate(fraction(value)?),
        "cancelled" => builder.cancellation(match value {
            "ignored" => Cancellation::Ignored,
            "failure" => Cancellation::Failure,
            after => Cancellation::FailureAfter(duration(after)?),
        }),
        other => return Err(format!("unknown setting {other}").into()),
    })
}

fn window(text: &str) -> Answer<RateRule> {
    Ok(match text.split_once('/') {
        Some((length, buckets)) => RateRule::over_time(duration(length)?, buckets.parse()?),
        None => RateRule::over_calls(text.parse()?),
    })
}

/// `0.5`, or `2/3`.
fn fraction(text: &str) -> Answer<f64> {
    Ok(match text.split_once('/') {
        Some((part, whole)) => part.parse::<f64>()? / whole.parse::<f64>()?,
        None => text.parse()?,
    })
}

/// `60s`, `59.999s`, `5ms`, `1ns`.
fn duration(text: &str) -> Answer<Duration> {
    let units = text.find(char::is_alphabetic).ok_or("a duration wants a unit")?;
    let number: f64 = text[..units].parse()?;
    let nanos = match &text[units..] {
        "s" => 1e9,
        "ms" => 1e6,
        "ns" => 1.0,
        other => return Err(format!("unknown unit {other}").into()),
    };
    Ok(Duration::from_nanos((number * nanos).round() as u64))
}

fn shown(event: &Event) -> String {
    match event {
        Event::StateChanged { from, to, epoch } => format!("{from} -> {to} @{epoch}"),
        Event::Rejected(rejected) => rejected.to_string(),
        Event::LateResult { outcome, epoch } => {
            format!("late {} @{epoch}", format!("{outcome:?}").to_lowercase())
        }
        Event::ProbeTakenBack { epoch } => format!("probe taken back @{epoch}"),
        other => format!("{other:?}"),
    }
}

fn status(snapshot: &Snapshot) -> String {
    let mut line = format!("{} @{}", snapshot.state, snapshot.epoch);
    let mut add = |name: &str, value: u64| {
        if value > 0 {
            line.push_str(&format!(" {name}={value}"));
        }
    };
    add("streak", snapshot.consecutive_failures.into());
    if let Some(window) = snapshot.window {
        add("calls", window.calls);
        add("failures", window.failures);
        add("slow", window.slow);
    }
    add("probes", snapshot.probes.into());
    add("successes", snapshot.probe_successes.into());
    add("failed_probes", snapshot.probe_failures.into());
    add("openings", snapshot.openings.into());
    add("rejected", snapshot.rejected);
    add("late", snapshot.late);
    if let Some(after) = snapshot.next_attempt {
        line.push_str(&format!(" next_attempt={}s", after.as_secs_f64()));
    }
    if snapshot.tripped {
        line.push_str(" tripped");
    }
    if let Some(ago) = snapshot.last_failure {
        line.push_str(&format!(" last_failure={}s", ago.as_secs_f64()));
    }
    line
}

/// Runs one script.
fn check(name: &str) {
    let path = format!("{}/tests/scripts/{name}", env!("CARGO_MANIFEST_DIR"));
    goldenscript::run(&mut Script::new(), path).expect("the script runs");
}

/// Every script is a test of its own, and every file is a script that runs.
macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*

        #[test]
        fn every_script_is_run() {
            let folder = format!("{}/tests/scripts", env!("CARGO_MANIFEST_DIR"));
            let files = std::fs::read_dir(folder).expect("the folder exists");
            let mut found: Vec<String> = files
                .map(|file| file.expect("readable").file_name().into_string().expect("a plain name"))
                .collect();
            found.sort();
            let mut run = vec![$(stringify!($name).to_owned()),*];
            run.sort();
            assert_eq!(found, run);
        }
    };
}

scripts![
    cancellation_ignored,
    cancellation_is_failure,
    cancellation_is_failure_after,
    cancelled_probe_can_fail,
    cancelled_probe_gives_its_permit_back,
    consecutive_trips_at_the_threshold,
    count_window_slides,
    disabled_counts_nothing,
    forced_closed_counts_and_stays,
    forced_open_stays,
    hung_probe_is_late_by_time_alone,
    hung_probe_is_taken_back,
    ignored_probes_decide_nothing,
    ignored_results_leave_a_streak,
    ignored_results_stay_out_of_windows,
    late_drop_counts_for_nothing,
    late_failure_counts_for_nothing,
    late_success_counts_for_nothing,
    leaked_permits_do_not_wedge,
    more_probes_than_successes,
    open_time_grows,
    open_until_the_deadline,
    order_begins_an_epoch,
    order_ends_the_growth,
    panic_is_one_failure,
    probe_failure_opens_for_as_long_again,
    probe_of_an_earlier_trial,
    probe_rate_closes,
    probe_rate_opens,
    probes_are_limited,
    rate_just_below,
    rate_trips_on_a_success,
    rate_waits_for_its_minimum,
    ratio_three_of_four_stays,
    ratio_two_of_three,
    rejection_tells_when,
    reset_forgets,
    settled_probe_makes_room,
    slow_calls_trip,
    slow_failures_count_as_both,
    slow_probe_fails,
    success_ends_a_streak,
    success_then_failure_opens,
    successes_close,
    time_window_does_not_wedge_half_open,
    time_window_forgets,
    time_window_survives_long_idling,
    trip_ends_a_trial,
    trip_opens_as_the_rule_does,
    trip_respects_orders,
    window_is_empty_after_closing,
    zero_open_time,
];
