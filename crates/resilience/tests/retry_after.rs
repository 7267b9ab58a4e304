//! The header `Retry-After`: one test for each row.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quorate_resilience::retry::retry_after;

use crate::table;

/// Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(784_111_777)
}

fn seconds(header: &str) -> Option<u64> {
    retry_after(header, now()).map(|wait| wait.as_secs())
}

table! {
    seconds_are_a_wait: seconds("120") => Some(120);
    zero_is_no_wait: seconds("0") => Some(0);
    blanks_are_allowed: seconds(" 7 ") => Some(7);
    more_seconds_than_a_number_holds: seconds("99999999999999999999999") => Some(u64::MAX);
    negative_seconds_are_nothing: seconds("-1") => None;
    signs_are_nothing: seconds("+1") => None;
    fractions_are_nothing: seconds("1.5") => None;
    empty_is_nothing: seconds("") => None;
    words_are_nothing: seconds("soon") => None;
}

#[cfg(feature = "http")]
table! {
    date_is_a_wait: seconds("Sun, 06 Nov 1994 08:50:37 GMT") => Some(60);
    date_in_the_past_is_no_wait: seconds("Sun, 06 Nov 1994 08:49:36 GMT") => Some(0);
    obsolete_date_of_rfc_850: seconds("Sunday, 06-Nov-94 08:50:37 GMT") => Some(60);
    obsolete_date_of_asctime: seconds("Sun Nov  6 08:50:37 1994") => Some(60);
    date_without_its_zone_is_nothing: seconds("Sun, 06 Nov 1994 08:50:37") => None;
}
