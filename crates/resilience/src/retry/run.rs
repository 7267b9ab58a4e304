//! The asynchronous course of attempts, made for those that succeed at once: they are nearly all.
//!
//! * A call that succeeds at once should cost little more than without us, so the future of a course holds the first
//!   attempt and nothing else. Later attempts are a future on the heap, made when there is a failure to pay for it.
//! * Nothing out of line is lent a part of the course: what it needs is moved there and back. So the compiler keeps
//!   all of it in registers where the call itself allows that.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::course::{Course, Failure};
use super::settings::Plan;
use super::watch::{Watch, alarm_in};
use super::{Advise, Retry, RetryError};

/// What [`Retry::run`] does.
#[inline]
pub(super) async fn run<T, E, F>(
    retry: &Retry<impl Advise<E>>,
    mut call: impl FnMut() -> F,
) -> Result<T, RetryError<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let plan = &*retry.plan;
    Course::begin(plan);
    match attempt(plan, call()).await {
        Ok(value) => {
            Course::succeeded(plan);
            Ok(value)
        }
        Err(failure) => try_again(retry, failure, call).await,
    }
}

/// Goes on after a first attempt that failed.
#[cold]
#[inline(never)]
fn try_again<'a, T, E, A, C, F>(
    retry: &'a Retry<A>,
    mut failure: Failure<E>,
    mut call: C,
) -> Pin<Box<impl Future<Output = Result<T, RetryError<E>>> + use<'a, T, E, A, C, F>>>
where
    A: Advise<E>,
    C: FnMut() -> F,
    F: Future<Output = Result<T, E>>,
{
    Box::pin(async move {
        let plan = &*retry.plan;
        let mut course = Course::new();
        loop {
            alarm_in(course.failed(plan, failure, &retry.advise)?).await;
            match attempt(plan, call()).await {
                Ok(value) => {
                    Course::succeeded(plan);
                    return Ok(value);
                }
                Err(again) => failure = again,
            }
        }
    })
}

#[inline]
fn attempt<F>(plan: &Plan, call: F) -> Attempt<'_, F> {
    Attempt { call, plan, watch: Watch::default() }
}

pin_project! {
    struct Attempt<'a, F> {
        #[pin]
        call: F,
        plan: &'a Plan,
        watch: Watch,
    }
}

impl<T, E, F: Future<Output = Result<T, E>>> Future for Attempt<'_, F> {
    type Output = Result<T, Failure<E>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.watch.judge(this.call.poll(context), this.plan, context)
    }
}
