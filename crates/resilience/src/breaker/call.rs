//! A call through a breaker, from the permit to the result.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::gate::Gate;
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
    /// An asynchronous call. The guarded future is polled where it lies: it is not moved, and not held twice.
    pub(super) struct Call<'a, F, C> {
        gate: &'a Gate,
        classify: &'a C,
        stage: Stage<'a>,
        #[pin]
        call: F,
    }
}

enum Stage<'a> {
    Fresh,
    /// The call has begun, and waits.
    Begun(Permit<'a>),
    Over,
}

impl<'a, F, C> Call<'a, F, C> {
    #[inline]
    pub(super) fn new(gate: &'a Gate, classify: &'a C, call: F) -> Self {
        Self { gate, classify, stage: Stage::Fresh, call }
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
        let permit = match mem::replace(this.stage, Stage::Over) {
            Stage::Fresh => Permit::new(this.gate, this.gate.admit()?),
            Stage::Begun(permit) => permit,
            Stage::Over => panic!("a call was polled after it had ended"),
        };
        let Poll::Ready(result) = this.call.poll(context) else {
            *this.stage = Stage::Begun(permit);
            return Poll::Pending;
        };
        Poll::Ready(permit.conclude(this.classify.outcome(&result), result))
    }
}
