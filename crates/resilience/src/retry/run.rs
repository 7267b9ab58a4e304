//! The asynchronous course of attempts, as a future.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::course::{Course, Stage, StageProjection, alarm_in};
use super::{Advise, Retry, RetryError};

pin_project! {
    /// Made by [`Retry::run`].
    pub(super) struct Run<'a, A, C, F> {
        retry: &'a Retry<A>,
        // `None` until the future is first polled: only then has the call begun.
        course: Option<Course>,
        call: C,
        #[pin]
        stage: Stage<F>,
    }
}

impl<'a, A, C, F> Run<'a, A, C, F> {
    #[inline]
    pub(super) fn new(retry: &'a Retry<A>, call: C) -> Self {
        Self { retry, course: None, call, stage: Stage::Due }
    }
}

impl<T, E, A, C, F> Future for Run<'_, A, C, F>
where
    F: Future<Output = Result<T, E>>,
    A: Advise<E>,
    C: FnMut() -> F,
{
    type Output = Result<T, RetryError<E>>;

    /// What a call that succeeds at once needs is inlined always; all else is out of line.
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        let mut first = None;
        if this.course.is_none() {
            let plan = &*this.retry.plan;
            *this.course = Some(Course::begin(plan));
            this.stage.set(Stage::Called { call: (this.call)(), alarm: None });
            let StageProjection::Called { call, .. } = this.stage.project() else { unreachable!("just set") };
            match call.poll(context) {
                Poll::Ready(Ok(value)) => {
                    Course::succeeded(plan);
                    return Poll::Ready(Ok(value));
                }
                polled => first = Some(polled),
            }
        }
        self.go_on(first, context)
    }
}

impl<T, E, A, C, F> Run<'_, A, C, F>
where
    F: Future<Output = Result<T, E>>,
    A: Advise<E>,
    C: FnMut() -> F,
{
    /// Goes on from wherever the course is; `polled` is what the attempt has just answered, if it was asked.
    #[inline(never)]
    fn go_on(
        self: Pin<&mut Self>,
        mut polled: Option<Poll<Result<T, E>>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<T, RetryError<E>>> {
        let mut this = self.project();
        let plan = &*this.retry.plan;
        let course = this.course.get_or_insert_with(|| Course::begin(plan));
        loop {
            match this.stage.as_mut().project() {
                StageProjection::Called { call, alarm } => {
                    let polled = polled.take().unwrap_or_else(|| call.poll(context));
                    let error = match ready!(course.watch(plan, polled, alarm, context)) {
                        Ok(value) => {
                            Course::succeeded(plan);
                            return Poll::Ready(Ok(value));
                        }
                        Err(error) => error,
                    };
                    let wait;
                    (wait, *course) = course.failed(plan, error, &this.retry.advise)?;
                    this.stage.set(Stage::Waiting { alarm: alarm_in(wait) });
                }
                StageProjection::Waiting { alarm } => {
                    ready!(alarm.as_mut().poll(context));
                    this.stage.set(Stage::Due);
                }
                StageProjection::Due => this.stage.set(Stage::Called { call: (this.call)(), alarm: None }),
            }
        }
    }
}
