//! Which attempts are made, when, and what comes back: one test for each rule.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use quorate_resilience::clock::{Clock, ManualClock};
use quorate_resilience::retry::{Advice, Builder, GaveUp, Jitter};
use quorate_resilience::{Backoff, Error, Retry};

use crate::table;

const SECOND: Duration = Duration::from_secs(1);

/// A clock that remembers the waits.
#[derive(Default)]
struct Waits {
    clock: ManualClock,
    waits: Mutex<Vec<Duration>>,
}

impl Clock for Waits {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn sleep(&self, duration: Duration) {
        self.waits.lock().unwrap().push(duration);
        self.clock.sleep(duration);
    }
}

/// Without jitter, unless a test sets it.
fn plain() -> Builder {
    Retry::builder().jitter(Jitter::None)
}

/// How a course went in which every attempt takes `takes` and fails.
fn course(builder: Builder, takes: Duration, advice: Advice) -> (u32, Vec<Duration>, Duration, GaveUp) {
    let clock = Arc::new(Waits::default());
    let retry = builder.clock(Arc::clone(&clock)).build().unwrap().advise(move |_: &&str| advice);
    let error = retry
        .run_blocking(|| {
            clock.clock.advance(takes);
            Err::<(), _>("refused")
        })
        .unwrap_err();
    assert_eq!(error.last, Error::Failed("refused"));
    let waits = clock.waits.lock().unwrap().clone();
    (error.attempts, waits, error.elapsed, error.gave_up)
}

fn waits(builder: Builder, advice: Advice) -> Vec<u64> {
    course(builder, Duration::ZERO, advice).1.iter().map(Duration::as_secs).collect()
}

fn end(builder: Builder, takes: Duration, advice: Advice) -> (u32, GaveUp) {
    let (attempts, _, _, gave_up) = course(builder, takes, advice);
    (attempts, gave_up)
}

fn ask(seconds: u64) -> Advice {
    Advice::RetryAfter(SECOND * seconds as u32)
}

fn refuse(seconds: u64) -> Advice {
    Advice::Rejected { retry_after: Some(SECOND * seconds as u32) }
}

table! {
    defaults_are_three_attempts: waits(plain(), Advice::Retry) => [1, 2];
    waits_double_up_to_the_cap:
        waits(plain().max_attempts(9), Advice::Retry) => [1, 2, 4, 8, 16, 32, 60, 60];
    base_and_factor_can_be_chosen:
        waits(plain().max_attempts(4).base_delay(SECOND * 2).exponential_base(3.0), Advice::Retry) => [2, 6, 18];
    other_backoffs_are_capped_too:
        waits(plain().backoff(Backoff::constant(SECOND * 90)), Advice::Retry) => [60, 60];
    billions_of_attempts_saturate:
        waits(plain().max_attempts(70).exponential_base(1e9), Advice::Retry).last() => Some(&60);
    single_attempt_does_not_wait:
        end(plain().max_attempts(1), SECOND, Advice::Retry) => (1, GaveUp::Attempts);
    final_error_is_not_retried: end(plain(), SECOND, Advice::Stop) => (1, GaveUp::Final);
    attempts_run_out: end(plain(), SECOND, Advice::Retry) => (3, GaveUp::Attempts);

    // Attempts take 2 s: the second begins after 2 + 1 s, the third would after 5 + 2 s.
    time_runs_out: end(plain().max_elapsed(SECOND * 6), SECOND * 2, Advice::Retry) => (2, GaveUp::Time);
    attempt_may_begin_at_the_last_moment:
        end(plain().max_elapsed(SECOND * 7), SECOND * 2, Advice::Retry) => (3, GaveUp::Attempts);
    no_time_is_one_attempt: end(plain().max_elapsed(Duration::ZERO), SECOND, Advice::Retry) => (1, GaveUp::Time);
    endless_time_saturates:
        end(plain().max_elapsed(Duration::MAX), SECOND, Advice::Retry) => (3, GaveUp::Attempts);
    time_spent_is_told_without_the_last_wait:
        course(plain(), SECOND * 2, Advice::Retry).2 => SECOND * (2 + 1 + 2 + 2 + 2);

    hint_lengthens_a_wait: waits(plain(), ask(5)) => [5, 5];
    hint_does_not_shorten_a_wait: waits(plain(), ask(0)) => [1, 2];
    hint_at_the_cap_is_kept: waits(plain(), ask(60)) => [60, 60];
    hint_beyond_the_cap_is_not_worth_waiting: end(plain(), SECOND, ask(61)) => (1, GaveUp::Wait);
    hint_beyond_what_is_left: end(plain().max_elapsed(SECOND * 5), SECOND, ask(5)) => (1, GaveUp::Time);
    hint_that_never_ends:
        end(plain(), SECOND, Advice::RetryAfter(Duration::MAX)) => (1, GaveUp::Wait);

    rejection_without_a_time_is_final:
        end(plain().max_elapsed(SECOND * 100), SECOND, Advice::Rejected { retry_after: None })
            => (1, GaveUp::Final);
    rejection_without_a_limit_is_final: end(plain(), SECOND, refuse(1)) => (1, GaveUp::Final);
    rejection_that_fits_is_waited_out:
        waits(plain().max_attempts(2).max_elapsed(SECOND * 100), refuse(70)) => [70];
    rejection_that_just_fits:
        end(plain().max_attempts(2).max_elapsed(SECOND * 71), SECOND, refuse(70)) => (2, GaveUp::Attempts);
    rejection_that_does_not_fit:
        end(plain().max_elapsed(SECOND * 70), SECOND, refuse(70)) => (1, GaveUp::Time);

    refuses_no_attempts: complaint(plain().max_attempts(0)) => "max_attempts must be at least 1";
    refuses_to_shrink: complaint(plain().exponential_base(0.9)) => "exponential_base must be at least 1";
    refuses_what_is_no_number:
        complaint(plain().exponential_base(f64::NAN)) => "exponential_base must be at least 1";
    refuses_a_base_above_the_cap:
        complaint(plain().base_delay(SECOND * 61)) => "base_delay must not exceed max_delay";
}

fn complaint(builder: Builder) -> String {
    builder.build().unwrap_err().to_string()
}

#[test]
fn success_ends_the_course() {
    let attempts = Cell::new(0);
    let retry = plain().clock(ManualClock::new()).build().unwrap();
    let answer = retry.run_blocking(|| {
        attempts.set(attempts.get() + 1);
        if attempts.get() == 2 { Ok(7) } else { Err("busy") }
    });
    assert_eq!((answer, attempts.get()), (Ok(7), 2));
}

#[test]
fn predicate_picks_errors() {
    let retry = plain().clock(ManualClock::new()).build().unwrap().retry_if(|error: &u16| *error >= 500);
    let mut answers = [503, 404, 503].into_iter();
    let error = retry.run_blocking(|| Err::<(), _>(answers.next().unwrap())).unwrap_err();
    assert_eq!((&error.last, error.attempts, error.gave_up), (&Error::Failed(404), 2, GaveUp::Final));
}

#[test]
fn error_tells_the_story_in_a_line() {
    let retry = plain().clock(ManualClock::new()).build().unwrap();
    let error = retry.run_blocking(|| "x".parse::<u32>()).unwrap_err();
    let story = "invalid digit found in string (after 3 attempts in 3 s: no attempts are left)";
    assert_eq!(error.to_string(), story);
}

#[tokio::test(start_paused = true)]
async fn asynchronous_course_takes_the_same_time() {
    let begun = tokio::time::Instant::now();
    let retry = plain().build().unwrap();
    let slow_failure = || async {
        tokio::time::sleep(SECOND).await;
        Err::<(), _>("refused")
    };
    let error = retry.run(slow_failure).await.unwrap_err();
    assert_eq!((error.attempts, error.elapsed), (3, SECOND * (1 + 1 + 1 + 2 + 1)));
    assert_eq!(begun.elapsed(), error.elapsed);
}

#[tokio::test(start_paused = true)]
async fn attempt_that_hangs_is_dropped_and_retried() {
    let retry = plain().attempt_timeout(SECOND * 5).build().unwrap();
    let error = retry.run(pending::<Result<(), ()>>).await.unwrap_err();
    assert_eq!(error.last, Error::TimedOut { after: SECOND * 5 });
    assert_eq!((error.attempts, error.elapsed), (3, SECOND * (5 + 1 + 5 + 2 + 5)));
}

#[tokio::test(start_paused = true)]
async fn time_out_of_an_attempt_is_no_limit_for_the_course() {
    let retry = plain().attempt_timeout(SECOND).build().unwrap();
    let attempts = Cell::new(0);
    let answer = retry.run(|| {
        attempts.set(attempts.get() + 1);
        let hangs = attempts.get() < 3;
        async move { if hangs { pending().await } else { Ok::<_, ()>(7) } }
    });
    assert_eq!(answer.await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn course_that_is_dropped_makes_no_further_attempt() {
    let attempts = Cell::new(0);
    let retry = plain().build().unwrap();
    let course = retry.run(|| {
        attempts.set(attempts.get() + 1);
        async { Err::<(), _>("refused") }
    });
    assert!(tokio::time::timeout(SECOND * 2, course).await.is_err());
    tokio::time::advance(SECOND * 100).await;
    assert_eq!(attempts.get(), 2);
}

#[tokio::test]
async fn success_at_once_reads_no_clock() {
    struct NoClock;
    impl Clock for NoClock {
        fn now(&self) -> Instant {
            panic!("the time does not matter");
        }
    }
    let retry = plain().clock(NoClock).build().unwrap();
    assert_eq!(retry.run(|| async { Ok::<_, ()>(7) }).await, Ok(7));
}

#[test]
fn course_can_be_sent_to_another_thread() {
    fn is_send<T: Send>(_: &T) {}
    let retry = Retry::new();
    is_send(&retry.run(|| async { Ok::<_, ()>(7) }));
}

#[tokio::test(start_paused = true)]
async fn last_attempt_is_gone_when_the_answer_is_there() {
    let alive = Arc::new(());
    for outcome in [Ok(7), Err("refused")] {
        let retry = plain().attempt_timeout(SECOND).max_attempts(1).build().unwrap();
        let mut course = pin!(retry.run(|| {
            let held = Arc::clone(&alive);
            poll_fn(move |_| if Arc::strong_count(&held) > 0 { Poll::Ready(outcome) } else { Poll::Pending })
        }));
        assert_eq!(course.as_mut().await.ok(), outcome.ok());
        assert_eq!(Arc::strong_count(&alive), 1, "{outcome:?}");
    }
}

#[tokio::test]
#[should_panic(expected = "resumed after completion")]
async fn course_that_has_ended_says_so() {
    let retry = plain().build().unwrap();
    let mut course = pin!(retry.run(|| async { Ok::<_, ()>(7) }));
    assert_eq!(course.as_mut().await, Ok(7));
    let _ = course.await;
}
