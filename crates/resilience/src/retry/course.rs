//! One course of attempts: what was tried, and whether to try again. The asynchronous and the blocking form and
//! the layer all go by it.

#[cfg(feature = "tokio")]
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

#[cfg(feature = "tokio")]
use super::Retry;
use super::settings::Plan;
use super::{Advice, Advise, GaveUp, RetryError};
use crate::error::Error;

/// It is handed on by value: a call that succeeds at once then never lays it out in memory.
#[derive(Clone, Copy)]
pub(super) struct Course {
    attempts: u32,
    begun: Option<Instant>,
    /// The wait before the last attempt, which decorrelated jitter goes by.
    previous: Duration,
}

impl Course {
    #[inline]
    pub(super) fn begin(plan: &Plan) -> Self {
        if let Some(budget) = &plan.budget {
            budget.on_call(&*plan.clock);
        }
        Self { attempts: 1, begun: None, previous: plan.base_delay }
    }

    /// The first attempt has begun, if this was not noted before.
    #[inline]
    pub(super) fn note_begin(&mut self, plan: &Plan) -> Instant {
        let begun = if let Some(begun) = self.begun { begun } else { plan.clock.now() };
        self.begun = Some(begun);
        begun
    }

    #[inline]
    pub(super) fn succeeded(plan: &Plan) {
        if let Some(budget) = &plan.budget {
            budget.on_success();
        }
    }

    /// An attempt has ended: the wait before the next one, and the course as it then is; or the answer.
    #[cfg(feature = "tokio")]
    pub(super) fn end<T, E>(
        self,
        retry: &Retry<impl Advise<E>>,
        result: Result<T, Error<E>>,
    ) -> ControlFlow<Result<T, RetryError<E>>, (Duration, Self)> {
        let error = match result {
            Ok(value) => {
                Self::succeeded(&retry.plan);
                return ControlFlow::Break(Ok(value));
            }
            Err(error) => error,
        };
        match self.failed(&retry.plan, error, &retry.advise) {
            Ok(next) => ControlFlow::Continue(next),
            Err(error) => ControlFlow::Break(Err(error)),
        }
    }

    /// The wait before the next attempt, and the course as it then is; or its end.
    #[cold]
    #[inline(never)]
    pub(super) fn failed<E>(
        mut self,
        plan: &Plan,
        error: Error<E>,
        advise: &impl Advise<E>,
    ) -> Result<(Duration, Self), RetryError<E>> {
        let advice = match &error {
            Error::Failed(error) => advise.advise(error),
            Error::TimedOut { .. } | Error::Rejected(_) => error.advice(),
        };
        let begun = self.note_begin(plan);
        let now = plan.clock.now();
        let elapsed = now.saturating_duration_since(begun);
        match self.next_wait(plan, advice, elapsed, now) {
            Ok(wait) => {
                self.attempts += 1;
                Ok((wait, self))
            }
            Err(gave_up) => Err(RetryError { last: error, attempts: self.attempts, elapsed, gave_up }),
        }
    }

    /// Asks each limit in turn; the budget last, so that nothing is taken for a retry that is not made.
    fn next_wait(
        &mut self,
        plan: &Plan,
        advice: Advice,
        elapsed: Duration,
        now: Instant,
    ) -> Result<Duration, GaveUp> {
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
        let wait = self.usual_wait(plan).max(asked);
        if plan.max_elapsed.is_some_and(|limit| elapsed.saturating_add(wait) > limit) {
            return Err(GaveUp::Time);
        }
        let is_covered = has_room && plan.budget.as_ref().is_none_or(|budget| budget.withdraw(now));
        if is_covered { Ok(wait) } else { Err(GaveUp::Budget) }
    }

    fn usual_wait(&mut self, plan: &Plan) -> Duration {
        self.previous = plan.usual_wait(self.attempts, self.previous);
        self.previous
    }
}
