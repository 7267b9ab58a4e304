//! The asynchronous course of attempts, as a future.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::course::Course;
use super::stage::{Stage, StageProjection};
use super::{Advise, Retry, RetryError};

pin_project! {
    /// Made by [`Retry::run`].
    pub(super) struct Run<'a, A, C, F> {
        retry: &'a Retry<A>,
        course: Course,
        call: C,
        #[pin]
        stage: Stage<F>,
    }
}

impl<'a, A, C, F> Run<'a, A, C, F> {
    #[inline]
    pub(super) fn new(retry: &'a Retry<A>, call: C) -> Self {
        Self { retry, course: Course::new(&retry.plan), call, stage: Stage::Fresh }
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
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut first = None;
        if let StageProjection::Fresh = this.stage.as_mut().project() {
            let plan = &*this.retry.plan;
            Course::begin(plan);
            this.stage.set(Stage::called((this.call)()));
            let StageProjection::Called { call, .. } = this.stage.as_mut().project() else {
                unreachable!("just set")
            };
            match call.poll(context) {
                Poll::Ready(Ok(value)) => {
                    Course::succeeded(plan);
                    this.stage.set(Stage::Over);
                    return Poll::Ready(Ok(value));
                }
                polled => first = Some(polled),
            }
        }
        this.stage.go_on(this.retry, this.course, this.call, first, context)
    }
}
