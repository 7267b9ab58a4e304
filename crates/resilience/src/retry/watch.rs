//! What watches an asynchronous attempt: it notes when the call first gave way, and ends it when its time is over.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::course::Failure;
use super::settings::Plan;
use crate::error::Error;

/// A call that answers at once reads no clock and makes no timer. What one that gives way needs is on the heap.
#[derive(Default)]
pub(super) struct Watch(Option<Box<Waiting>>);

/// A call that has given way.
struct Waiting {
    since: Instant,
    alarm: Option<Alarm>,
}

/// A timer of tokio's.
pub(super) type Alarm = Pin<Box<tokio::time::Sleep>>;

impl Watch {
    /// What has become of the attempt, by what its call has just answered.
    #[inline(always)]
    pub(super) fn judge<T, E>(
        &mut self,
        polled: Poll<Result<T, E>>,
        plan: &Plan,
        context: &mut Context<'_>,
    ) -> Poll<Result<T, Failure<E>>> {
        let error = match polled {
            Poll::Ready(Ok(value)) => return Poll::Ready(Ok(value)),
            Poll::Ready(Err(error)) => Error::Failed(error),
            Poll::Pending => {
                let (waiting, is_over) = wait(self.0.take(), plan, context);
                self.0 = Some(waiting);
                match is_over {
                    Some(after) => Error::TimedOut { after },
                    None => return Poll::Pending,
                }
            }
        };
        Poll::Ready(Err(Failure { error, since: self.0.take().map(|waiting| waiting.since) }))
    }
}

/// The call waits: the time that it had comes back, too, if it is over.
#[cold]
#[inline(never)]
fn wait(
    waiting: Option<Box<Waiting>>,
    plan: &Plan,
    context: &mut Context<'_>,
) -> (Box<Waiting>, Option<Duration>) {
    let mut waiting = waiting.unwrap_or_else(|| Box::new(Waiting { since: plan.clock.now(), alarm: None }));
    let Some(after) = plan.attempt_timeout else { return (waiting, None) };
    let alarm = waiting.alarm.get_or_insert_with(|| alarm_in(after));
    let is_over = alarm.as_mut().poll(context).is_ready();
    (waiting, is_over.then_some(after))
}

pub(super) fn alarm_in(after: Duration) -> Alarm {
    Box::pin(tokio::time::sleep(after))
}
