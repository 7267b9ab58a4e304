//! One course of attempts: what was tried, and whether to try again. The asynchronous and the blocking form and
//! the layer all go by it.

use std::time::{Duration, Instant};
#[cfg(feature = "tokio")]
use std::{
    pin::Pin,
    task::{Context, Poll},
};

use super::settings::Plan;
use super::{Advice, Advise, GaveUp, RetryError};
use crate::error::Error;

pub(super) struct Course<'a> {
    plan: &'a Plan,
    attempts: u32,
    begun: Option<Instant>,
    /// The wait before the last attempt, which decorrelated jitter goes by.
    previous: Duration,
}

impl<'a> Course<'a> {
    #[inline]
    pub(super) fn begin(plan: &'a Plan) -> Self {
        if let Some(budget) = &plan.budget {
            budget.on_call(&*plan.clock);
        }
        Self { plan, attempts: 1, begun: None, previous: plan.base_delay }
    }

    /// The first attempt has begun, if this was not noted before.
    pub(super) fn note_begin(&mut self) -> Instant {
        *self.begun.get_or_insert_with(|| self.plan.clock.now())
    }

    /// Polls one attempt, within its time. The alarm is boxed, and made only for a call that waits: a quick one
    /// should not carry a timer about.
    #[cfg(feature = "tokio")]
    #[inline]
    pub(super) fn poll_attempt<T, E>(
        &mut self,
        call: Pin<&mut impl Future<Output = Result<T, E>>>,
        alarm: &mut Option<Pin<Box<tokio::time::Sleep>>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<T, Error<E>>> {
        if let Poll::Ready(result) = call.poll(context) {
            return Poll::Ready(result.map_err(Error::Failed));
        }
        self.note_begin();
        let Some(after) = self.plan.attempt_timeout else { return Poll::Pending };
        let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
        alarm.as_mut().poll(context).map(|()| Err(Error::TimedOut { after }))
    }

    #[inline]
    pub(super) fn succeeded(&self) {
        if let Some(budget) = &self.plan.budget {
            budget.on_success();
        }
    }

    /// The wait before the next attempt, or the end of the course.
    #[cold]
    #[inline(never)]
    pub(super) fn failed<E>(
        &mut self,
        error: Error<E>,
        advise: &impl Advise<E>,
    ) -> Result<Duration, RetryError<E>> {
        let advice = match &error {
            Error::Failed(error) => advise.advise(error),
            Error::TimedOut { .. } | Error::Rejected(_) => error.advice(),
        };
        let begun = self.note_begin();
        let now = self.plan.clock.now();
        let elapsed = now.saturating_duration_since(begun);
        match self.next_wait(advice, elapsed, now) {
            Ok(wait) => {
                self.attempts += 1;
                Ok(wait)
            }
            Err(gave_up) => Err(RetryError { last: error, attempts: self.attempts, elapsed, gave_up }),
        }
    }

    /// Asks each limit in turn; the budget last, so that nothing is taken for a retry that is not made.
    fn next_wait(&mut self, advice: Advice, elapsed: Duration, now: Instant) -> Result<Duration, GaveUp> {
        let plan = self.plan;
        let asked = match advice {
            Advice::Stop | Advice::Rejected { retry_after: None } => return Err(GaveUp::Final),
            Advice::Rejected { .. } if plan.max_elapsed.is_none() => return Err(GaveUp::Final),
            Advice::Rejected { retry_after: Some(wait) } | Advice::RetryAfter(wait) => wait,
            Advice::Retry => Duration::ZERO,
        };
        let has_room = plan.budget.as_ref().is_none_or(|budget| budget.on_failure());
        if self.attempts >= plan.max_attempts {
            return Err(GaveUp::Attempts);
        }
        if matches!(advice, Advice::RetryAfter(wait) if wait > plan.max_delay) {
            return Err(GaveUp::Wait);
        }
        let wait = self.usual_wait().max(asked);
        if plan.max_elapsed.is_some_and(|limit| elapsed.saturating_add(wait) > limit) {
            return Err(GaveUp::Time);
        }
        let is_covered = has_room && plan.budget.as_ref().is_none_or(|budget| budget.withdraw(now));
        if is_covered { Ok(wait) } else { Err(GaveUp::Budget) }
    }

    fn usual_wait(&mut self) -> Duration {
        self.previous = self.plan.usual_wait(self.attempts, self.previous);
        self.previous
    }
}
