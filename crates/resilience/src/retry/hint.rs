//! The wait that an HTTP response asks for.

use std::time::{Duration, SystemTime};

/// Reads a `Retry-After` header (RFC 9110, section 10.2.3): seconds, or with the feature `http` a date, which is
/// compared with `now`. A date in the past is no wait. `None` if it is neither.
///
/// ```
/// use quorate_resilience::retry::retry_after;
/// use std::time::{Duration, SystemTime, UNIX_EPOCH};
///
/// assert_eq!(retry_after("120", SystemTime::now()), Some(Duration::from_secs(120)));
/// # #[cfg(feature = "http")] {
/// let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
/// let answer = retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now);
/// assert_eq!(answer, Some(Duration::from_secs(60)));
/// # }
/// ```
#[must_use]
pub fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    let is_number = !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        // More seconds than a number holds are as good as never.
        return Some(Duration::from_secs(header.parse().unwrap_or(u64::MAX)));
    }
    until_date(header, now)
}

#[cfg(feature = "http")]
fn until_date(header: &str, now: SystemTime) -> Option<Duration> {
    let date = httpdate::parse_http_date(header).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(not(feature = "http"))]
fn until_date(_: &str, _: SystemTime) -> Option<Duration> {
    None
}
