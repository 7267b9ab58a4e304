//! Waits: one test for each row.

use std::time::Duration;

use quorate_resilience::Backoff;

use crate::table;

fn seconds(backoff: &Backoff, times: u32) -> Vec<u64> {
    (1..=times).map(|time| backoff.delay(time).as_secs()).collect()
}

fn doubling(base: Duration, cap: Duration) -> Backoff {
    Backoff::exponential(base, 2.0).capped(cap)
}

const SECOND: Duration = Duration::from_secs(1);

table! {
    exponential_grows_up_to_its_cap:
        seconds(&doubling(SECOND * 2, SECOND * 30), 6) => [2, 4, 8, 16, 30, 30];
    eleventh_doubling_of_100_ms_is_over_100_s:
        doubling(SECOND / 10, SECOND * 100).delay(11) => SECOND * 100;
    tenth_doubling_of_100_ms_is_51_2_s:
        doubling(SECOND / 10, SECOND * 100).delay(10) => Duration::from_millis(51_200);
    twelfth_doubling_of_100_ms_is_the_cap:
        doubling(SECOND / 10, SECOND * 100).delay(12) => SECOND * 100;
    five_seconds_times_one_and_a_half:
        Backoff::exponential(SECOND * 5, 1.5).delay(2) => Duration::from_millis(7_500);
    exponential_saturates:
        Backoff::exponential(SECOND, 10.0).delay(u32::MAX) => Duration::MAX;
    infinite_factor_saturates:
        Backoff::exponential(SECOND, f64::INFINITY).delay(2) => Duration::MAX;
    exponential_of_zero_is_zero:
        Backoff::exponential(Duration::ZERO, 10.0).delay(u32::MAX) => Duration::ZERO;
    shrinking_factor_counts_as_one:
        Backoff::exponential(SECOND, 0.5).delay(9) => SECOND;
    factor_that_is_no_number_counts_as_one:
        Backoff::exponential(SECOND, f64::NAN).delay(9) => SECOND;
    linear_grows_by_steps:
        seconds(&Backoff::linear(SECOND, SECOND * 3), 4) => [1, 4, 7, 10];
    linear_saturates:
        Backoff::linear(SECOND, Duration::MAX).delay(u32::MAX) => Duration::MAX;
    constant_stays:
        seconds(&Backoff::constant(SECOND * 5), 3) => [5, 5, 5];
    sequence_repeats_its_last:
        seconds(&Backoff::sequence([1, 2, 5].map(Duration::from_secs)), 5) => [1, 2, 5, 5, 5];
    empty_sequence_does_not_wait:
        Backoff::sequence([]).delay(3) => Duration::ZERO;
    cap_holds_for_every_growth:
        Backoff::constant(SECOND * 5).capped(SECOND).delay(1) => SECOND;
    time_zero_is_the_first:
        Backoff::linear(SECOND, SECOND).delay(0) => SECOND;
}
