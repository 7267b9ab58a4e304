//! Where a course of a service's attempts is.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::course::Course;
use super::watch::{Alarm, Watch, alarm_in};
use super::{Advise, Retry, RetryError};

pin_project! {
    #[project = StageProjection]
    pub(super) enum Stage<F> {
        /// An attempt is on its way, with whatever it has to wait for before it is made.
        Called { #[pin] call: F, watch: Watch },
        /// The next attempt is not due yet.
        Waiting { alarm: Alarm },
        /// The answer was given. Nothing of the last attempt is left.
        Over,
    }
}

impl<F> Stage<F> {
    /// An attempt that was not polled yet.
    pub(super) fn called(call: F) -> Self {
        Self::Called { call, watch: Watch::default() }
    }

    /// Goes on from wherever the course is.
    pub(super) fn go_on<T, E, A: Advise<E>>(
        mut self: Pin<&mut Self>,
        retry: &Retry<A>,
        course: &mut Course,
        mut attempt: impl FnMut() -> F,
        context: &mut Context<'_>,
    ) -> Poll<Result<T, RetryError<E>>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let plan = &*retry.plan;
        loop {
            let next = match self.as_mut().project() {
                StageProjection::Called { call, watch } => {
                    match ready!(watch.judge(call.poll(context), plan, context)) {
                        Ok(value) => {
                            Course::succeeded(plan);
                            self.set(Self::Over);
                            return Poll::Ready(Ok(value));
                        }
                        Err(failure) => match course.failed(plan, failure, &retry.advise) {
                            Ok(wait) => Self::Waiting { alarm: alarm_in(wait) },
                            Err(error) => {
                                self.set(Self::Over);
                                return Poll::Ready(Err(error));
                            }
                        },
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
