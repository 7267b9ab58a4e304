//! Where a course of asynchronous attempts is; the plain form and the layer both go by it.

use std::future::Future;
use std::ops::ControlFlow;
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
        Called { #[pin] call: F, alarm: Option<Alarm>, course: Course },
        /// The next attempt is not due yet.
        Waiting { alarm: Alarm, course: Course },
        /// The answer was given. Nothing of the last attempt is left.
        Over,
    }
}

impl<F> Stage<F> {
    /// An attempt that was not polled yet.
    #[inline]
    pub(super) fn called(call: F, course: Course) -> Self {
        Self::Called { call, alarm: None, course }
    }

    /// Goes on from wherever the course is; `polled` is what the attempt has just answered, if it was asked.
    #[inline(never)]
    pub(super) fn go_on<T, E, A: Advise<E>>(
        mut self: Pin<&mut Self>,
        retry: &Retry<A>,
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
                    let course = Course::begin(plan);
                    Self::called(attempt(), course)
                }
                StageProjection::Called { call, alarm, course } => {
                    let polled = polled.take().unwrap_or_else(|| call.poll(context));
                    match course.end(retry, ready!(watch(plan, course, polled, alarm, context))) {
                        ControlFlow::Continue((wait, course)) => {
                            Self::Waiting { alarm: alarm_in(wait), course }
                        }
                        ControlFlow::Break(answer) => {
                            self.set(Self::Over);
                            return Poll::Ready(answer);
                        }
                    }
                }
                StageProjection::Waiting { alarm, course } => {
                    ready!(alarm.as_mut().poll(context));
                    Self::called(attempt(), *course)
                }
                StageProjection::Over => panic!("a retry was polled after it had ended"),
            };
            self.set(next);
        }
    }
}

/// Watches an attempt that was polled: notes when it first gave way, and ends it when its time is over. The alarm is
/// boxed, and made only for an attempt that waits: a quick one should not carry a timer about.
fn watch<T, E>(
    plan: &Plan,
    course: &mut Course,
    polled: Poll<Result<T, E>>,
    alarm: &mut Option<Alarm>,
    context: &mut Context<'_>,
) -> Poll<Result<T, Error<E>>> {
    if let Poll::Ready(result) = polled {
        return Poll::Ready(result.map_err(Error::Failed));
    }
    course.note_begin(plan);
    let Some(after) = plan.attempt_timeout else { return Poll::Pending };
    let alarm = alarm.get_or_insert_with(|| alarm_in(after));
    alarm.as_mut().poll(context).map(|()| Err(Error::TimedOut { after }))
}

/// A timer of tokio's.
type Alarm = Pin<Box<tokio::time::Sleep>>;

/// Out of line and on the heap: few calls need it.
#[cold]
#[inline(never)]
fn alarm_in(after: Duration) -> Alarm {
    Box::pin(tokio::time::sleep(after))
}
