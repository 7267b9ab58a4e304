//! Hedging: when a further call is made, and which answer counts.

use std::cell::Cell;
use std::future::pending;
use std::time::Duration;

use quorate_resilience::Hedge;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// Runs calls that take and answer as told, in the order in which they are made; how many were made, the answer,
/// and how long it took.
async fn run(extra: usize, calls: &[(u32, Result<u32, u32>)]) -> (usize, Result<u32, u32>, Duration) {
    let (made, begun) = (Cell::new(0), Instant::now());
    let hedge = Hedge::new(SECOND, extra).unwrap();
    let answer = hedge.run(|| {
        let (takes, answer) = calls[made.get()];
        made.set(made.get() + 1);
        async move {
            sleep(SECOND * takes / 10).await;
            answer
        }
    });
    let answer = answer.await;
    (made.get(), answer, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn quick_answer_makes_no_further_call() {
    assert_eq!(run(1, &[(9, Ok(1))]).await, (1, Ok(1), SECOND * 9 / 10));
}

#[tokio::test(start_paused = true)]
async fn slow_answer_is_overtaken() {
    assert_eq!(run(1, &[(50, Ok(1)), (5, Ok(2))]).await, (2, Ok(2), SECOND * 15 / 10));
}

#[tokio::test(start_paused = true)]
async fn first_call_may_still_win() {
    assert_eq!(run(1, &[(12, Ok(1)), (5, Ok(2))]).await, (2, Ok(1), SECOND * 12 / 10));
}

#[tokio::test(start_paused = true)]
async fn failure_waits_for_the_other_call() {
    assert_eq!(run(1, &[(12, Err(1)), (5, Ok(2))]).await, (2, Ok(2), SECOND * 15 / 10));
}

#[tokio::test(start_paused = true)]
async fn last_failure_comes_back() {
    assert_eq!(run(1, &[(20, Err(1)), (5, Err(2))]).await, (2, Err(1), SECOND * 2));
}

#[tokio::test(start_paused = true)]
async fn early_failure_makes_no_further_call() {
    assert_eq!(run(1, &[(5, Err(1))]).await, (1, Err(1), SECOND / 2));
}

#[tokio::test(start_paused = true)]
async fn further_calls_come_one_by_one() {
    let calls = [(99, Ok(1)), (99, Ok(2)), (99, Ok(3)), (5, Ok(4))];
    assert_eq!(run(3, &calls).await, (4, Ok(4), SECOND * 35 / 10));
}

#[tokio::test(start_paused = true)]
async fn calls_that_lost_are_dropped() {
    struct Dropped<'a>(&'a Cell<u32>);
    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let (made, dropped) = (Cell::new(0), Cell::new(0));
    let hedge = Hedge::new(SECOND, 1).unwrap();
    let answer = hedge.run(|| {
        made.set(made.get() + 1);
        let (hangs, guard) = (made.get() == 1, Dropped(&dropped));
        async move {
            let _guard = guard;
            if hangs { pending().await } else { Ok::<_, ()>(()) }
        }
    });
    answer.await.unwrap();
    assert_eq!(dropped.get(), 2);
}

#[test]
fn hedge_wants_a_further_call() {
    assert_eq!(Hedge::new(SECOND, 0).unwrap_err().to_string(), "extra_calls must be from 1 to 16");
}
