//! Settings that cannot work are refused with their name and what is allowed: one test for each row.

use std::time::Duration;

use quorate_resilience::CircuitBreaker;
use quorate_resilience::breaker::{Builder, RateRule, Registry};

use crate::table;

const NO_TIME: Duration = Duration::ZERO;

fn complaint(set: impl FnOnce(Builder) -> Builder) -> String {
    set(CircuitBreaker::builder()).build().map_or_else(|error| error.to_string(), |_| "none".to_owned())
}

fn rate(rule: RateRule) -> String {
    complaint(|builder| builder.trip_on_rate(rule))
}

table! {
    no_failures: complaint(|builder| builder.failure_threshold(0)) => "failure_threshold must be at least 1";
    no_successes: complaint(|builder| builder.success_threshold(0)) => "success_threshold must be at least 1";
    no_probes: complaint(|builder| builder.half_open_max_calls(0)) => "half_open_max_calls must be from 1 to 1024";
    most_probes: complaint(|builder| builder.half_open_max_calls(1024)) => "none";
    too_many_probes:
        complaint(|builder| builder.half_open_max_calls(1025)) => "half_open_max_calls must be from 1 to 1024";
    no_patience: complaint(|builder| builder.half_open_timeout(NO_TIME)) => "half_open_timeout must be above 0";
    no_open_time: complaint(|builder| builder.recovery_timeout(NO_TIME)) => "none";
    endless_open_time: complaint(|builder| builder.recovery_timeout(Duration::MAX)) => "none";
    zero_rate: rate(RateRule::over_calls(10).failures(0.0)) => "failures must be above 0 and at most 1";
    whole_rate: rate(RateRule::over_calls(10).failures(1.0)) => "none";
    rate_above_one: rate(RateRule::over_calls(10).failures(1.01)) => "failures must be above 0 and at most 1";
    rate_that_is_no_number:
        rate(RateRule::over_calls(10).failures(f64::NAN)) => "failures must be above 0 and at most 1";
    slow_rate_above_one:
        rate(RateRule::over_calls(10).slow_calls(NO_TIME, 1.5)) => "slow_calls must be above 0 and at most 1";
    probe_rate_of_zero:
        complaint(|builder| builder.half_open_failure_rate(0.0))
            => "half_open_failure_rate must be above 0 and at most 1";
    empty_window: rate(RateRule::over_calls(0).minimum_calls(1)) => "over_calls must be from 1 to 1048576";
    largest_window: rate(RateRule::over_calls(1 << 20)) => "none";
    window_too_large: rate(RateRule::over_calls((1 << 20) + 1)) => "over_calls must be from 1 to 1048576";
    small_window_lowers_the_minimum: rate(RateRule::over_calls(3)) => "none";
    minimum_of_zero: rate(RateRule::over_calls(3).minimum_calls(0)) => "minimum_calls must be at least 1";
    minimum_out_of_reach:
        rate(RateRule::over_calls(9).minimum_calls(10)) => "minimum_calls must not exceed the window's calls";
    no_buckets: rate(RateRule::over_time(NO_TIME, 0)) => "buckets must be from 1 to 1024";
    buckets_of_no_length:
        rate(RateRule::over_time(Duration::from_nanos(9), 10))
            => "over_time must be at least a nanosecond for each bucket";
    buckets_of_a_nanosecond: rate(RateRule::over_time(Duration::from_nanos(10), 10)) => "none";
    registry_without_room:
        Registry::<u8>::new(CircuitBreaker::builder(), NO_TIME, 0).err().map(|error| error.to_string())
            => Some("capacity must be at least 1".to_owned());
    registry_checks_its_template:
        Registry::<u8>::new(CircuitBreaker::builder().failure_threshold(0), NO_TIME, 1).is_err() => true;
}
