//! Where a course of asynchronous attempts is; the plain form and the layer both go by it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::course::Course;
use super::settings::Plan;
use super::{Advise, Retry, RetryError};
use crate::error::Error;

pin_project! {
    #[project = StageProjection]
    pub(super) enum Stage<F> {
        /// Nothing has been asked for yet.
        Fresh,
        /// An attempt is on its way, with whatever it has to wait for before it is made.
        Called { #[pin] call: F, alarm: Option<Alarm> },
        /// The next attempt is not due yet.
        Waiting { alarm: Alarm },
        /// The answer was given. Nothing of the last attempt is left.
        Over,
    }
}

impl<F> Stage<F> {
    /// An attempt that was not polled yet.
    #[inline]
    pub(super) fn called(call: F) -> Self {
        Self::Called { call, alarm: None }
    }

    /// Goes on from wherever the course is; `polled` is what the attempt has just answered, if it was asked.
    #[inline(never)]
    pub(super) fn go_on<T, E, A: Advise<E>>(
        mut self: Pin<&mut Self>,
        retry: &Retry<A>,
        course: &mut Course,
        mut attempt: impl FnMut() -> F,
        mut polled: Option<Poll<Result<T, E>>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<T, RetryError<E>>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let plan = &*retry.plan;
        loop {
            let next = match self.as_mut().project() {
                StageProjection::Fresh => {
                    Course::begin(plan);
                    Self::called(attempt())
                }
                StageProjection::Called { call, alarm } => {
                    let error = match polled.take().unwrap_or_else(|| call.poll(context)) {
                        Poll::Ready(Ok(value)) => {
                            Course::succeeded(plan);
                            self.set(Self::Over);
                            return Poll::Ready(Ok(value));
                        }
                        Poll::Ready(Err(error)) => Error::Failed(error),
                        Poll::Pending => ready!(watch(plan, course, alarm, context)),
                    };
                    match course.failed(plan, error, &retry.advise) {
                        Ok(wait) => Self::Waiting { alarm: alarm_in(wait) },
                        Err(error) => {
                            self.set(Self::Over);
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                StageProjection::Waiting { alarm } => {
                    ready!(alarm.as_mut().poll(context));
                    Self::called(attempt())
                }
                StageProjection::Over => panic!("a retry was polled after it had ended"),
            };
            self.set(next);
        }
    }
}

/// Watches an attempt that waits: notes when it first gave way, and ends it when its time is over. The alarm is boxed,
/// and made only here: an attempt that answers at once should not carry a timer about.
fn watch<E>(
    plan: &Plan,
    course: &mut Course,
    alarm: &mut Option<Alarm>,
    context: &mut Context<'_>,
) -> Poll<Error<E>> {
    course.note_begin(plan);
    let Some(after) = plan.attempt_timeout else { return Poll::Pending };
    let alarm = alarm.get_or_insert_with(|| alarm_in(after));
    alarm.as_mut().poll(context).map(|()| Error::TimedOut { after })
}

/// A timer of tokio's.
type Alarm = Pin<Box<tokio::time::Sleep>>;

/// Out of line and on the heap: few calls need it.
#[cold]
#[inline(never)]
fn alarm_in(after: Duration) -> Alarm {
    Box::pin(tokio::time::sleep(after))
}
