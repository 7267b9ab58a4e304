//! A call through a breaker, from the permit to the result.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::gate::Gate;
use super::ticket::Ticket;
use super::{Classify, Permit};
use crate::error::Error;

/// Makes a call in this thread.
#[inline]
pub(super) fn call_blocking<T, E>(
    gate: &Gate,
    classify: &impl Classify<T, E>,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, Error<E>> {
    let permit = Permit::new(gate, gate.admit()?);
    let result = call();
    permit.conclude(classify.outcome(&result), result)
}

pin_project! {
    /// An asynchronous call. The guarded future is polled where it lies: it is not moved, and not held twice. Fields are
    /// dropped in their order: the future is gone before its permit is settled.
    pub(super) struct Call<'a, F, C> {
        classify: &'a C,
        #[pin]
        call: F,
        progress: Progress<'a>,
    }
}

/// How far a call has come. Dropped while the call waits it is a cancellation, also in a panic of something else.
struct Progress<'a> {
    gate: &'a Gate,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    Fresh,
    /// The call has begun, and waits.
    Begun(Ticket),
    Over,
}

impl Drop for Progress<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Stage::Begun(ticket) = self.stage {
            self.gate.cancel(ticket.word, ticket.stub);
        }
    }
}

impl<'a, F, C> Call<'a, F, C> {
    #[inline]
    pub(super) fn new(gate: &'a Gate, classify: &'a C, call: F) -> Self {
        Self { classify, call, progress: Progress { gate, stage: Stage::Fresh } }
    }
}

impl<T, E, F, C> Future for Call<'_, F, C>
where
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    type Output = Result<T, Error<E>>;

    /// While the call is polled its permit lies on the stack: a panic drops it there, and so is seen as one.
    ///
    /// Inlined always, so that a call which answers at once never lays out this future in memory.
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Progress { gate, stage } = this.progress;
        let ticket = match mem::replace(stage, Stage::Over) {
            Stage::Fresh => gate.admit()?,
            Stage::Begun(ticket) => ticket,
            Stage::Over => panic!("a call was polled after it had ended"),
        };
        let permit = Permit::new(gate, ticket);
        let Poll::Ready(result) = this.call.poll(context) else {
            mem::forget(permit);
            *stage = Stage::Begun(ticket);
            return Poll::Pending;
        };
        Poll::Ready(permit.conclude(this.classify.outcome(&result), result))
    }
}
