//! Rate limits on a clock that stands still.

use std::sync::Arc;
use std::time::Duration;

use quorate_resilience::clock::ManualClock;
use quorate_resilience::{Error, RateLimit, RejectedBy};

const MILLI: Duration = Duration::from_millis(1);

fn limit(calls: u32, burst: u32) -> (RateLimit, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    (RateLimit::per_second(calls, burst, Arc::clone(&clock)).unwrap(), clock)
}

fn admitted(limit: &RateLimit, calls: usize) -> usize {
    (0..calls).filter(|_| limit.check().is_ok()).count()
}

#[test]
fn burst_and_no_more() {
    let (limit, _) = limit(10, 3);
    assert_eq!(admitted(&limit, 100), 3);
}

#[test]
fn calls_come_back_one_by_one() {
    let (limit, clock) = limit(10, 3);
    admitted(&limit, 100);
    clock.advance(MILLI * 99);
    assert_eq!(admitted(&limit, 9), 0);
    clock.advance(MILLI);
    assert_eq!(admitted(&limit, 9), 1);
    clock.advance(MILLI * 200);
    assert_eq!(admitted(&limit, 9), 2);
}

#[test]
fn idle_time_saves_up_a_burst_at_most() {
    let (limit, clock) = limit(10, 3);
    clock.advance(MILLI * 1_000_000);
    assert_eq!(admitted(&limit, 100), 3);
}

#[test]
fn rejection_tells_the_wait() {
    let (limit, clock) = limit(10, 1);
    admitted(&limit, 1);
    clock.advance(MILLI * 40);
    let rejected = limit.check().unwrap_err();
    assert_eq!((rejected.by, rejected.retry_after), (RejectedBy::RateLimit, Some(MILLI * 60)));
}

#[tokio::test]
async fn call_beyond_the_limit_is_not_made() {
    let (limit, _) = limit(10, 1);
    assert_eq!(limit.call(async { Ok::<_, ()>(7) }).await, Ok(7));
    let answer: Result<u32, Error<()>> = limit.call(async { unreachable!("it was refused") }).await;
    assert!(matches!(answer, Err(Error::Rejected(_))));
}

#[test]
fn limit_of_nothing_is_refused() {
    assert_eq!(RateLimit::new(0, 1).unwrap_err().to_string(), "calls must be at least 1");
    assert_eq!(RateLimit::new(1, 0).unwrap_err().to_string(), "burst must be at least 1");
}
