//! Bulkheads: who runs, who waits, who is refused.

use std::future::pending;
use std::time::Duration;

use quorate_resilience::{Bulkhead, Error, RejectedBy};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);

type Answer = Result<u32, Error<()>>;

/// A call that answers when it is told to.
fn held(bulkhead: &Bulkhead) -> (JoinHandle<Answer>, oneshot::Sender<u32>) {
    let (tell, told) = oneshot::channel();
    let bulkhead = bulkhead.clone();
    let call = async move { bulkhead.call(async { Ok(told.await.unwrap()) }).await };
    (tokio::spawn(call), tell)
}

async fn quick(bulkhead: &Bulkhead) -> Answer {
    bulkhead.call(async { Ok(7) }).await
}

fn is_refused(answer: &Answer) -> bool {
    matches!(answer, Err(Error::Rejected(rejected)) if rejected.by == RejectedBy::FullBulkhead)
}

#[tokio::test(start_paused = true)]
async fn full_bulkhead_refuses() {
    let bulkhead = Bulkhead::new(1, 0, SECOND).unwrap();
    let (call, tell) = held(&bulkhead);
    tokio::task::yield_now().await;
    assert!(is_refused(&quick(&bulkhead).await));
    tell.send(1).unwrap();
    assert_eq!(call.await.unwrap(), Ok(1));
    assert_eq!(quick(&bulkhead).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn waiting_call_runs_when_there_is_room() {
    let bulkhead = Bulkhead::new(1, 1, SECOND).unwrap();
    let (_first, tell) = held(&bulkhead);
    let (second, tell_second) = held(&bulkhead);
    tokio::task::yield_now().await;
    assert!(is_refused(&quick(&bulkhead).await));
    tell.send(1).unwrap();
    tell_second.send(2).unwrap();
    assert_eq!(second.await.unwrap(), Ok(2));
}

#[tokio::test(start_paused = true)]
async fn call_does_not_wait_for_ever() {
    let bulkhead = Bulkhead::new(1, 1, SECOND).unwrap();
    let (_call, _tell) = held(&bulkhead);
    tokio::task::yield_now().await;
    let begun = tokio::time::Instant::now();
    assert!(is_refused(&quick(&bulkhead).await));
    assert_eq!(begun.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn dropped_call_leaves_its_place() {
    let bulkhead = Bulkhead::new(1, 0, SECOND).unwrap();
    let hung = bulkhead.call(pending::<Result<(), ()>>());
    assert!(tokio::time::timeout(SECOND, hung).await.is_err());
    assert_eq!(quick(&bulkhead).await, Ok(7));
}

#[test]
fn bulkhead_needs_room_for_one() {
    let refused = Bulkhead::new(0, 9, SECOND).unwrap_err();
    assert_eq!(refused.to_string(), "running must be at least 1");
}
