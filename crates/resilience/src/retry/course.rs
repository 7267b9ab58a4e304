//! One course of attempts: what was tried, and whether to try again. The asynchronous and the blocking form and
//! the layer all go by it.

use std::time::{Duration, Instant};

use super::settings::Plan;
use super::{Advice, Advise, GaveUp, RetryError};
use crate::error::Error;

pub(super) struct Course {
    attempts: u32,
    /// Since when time is spent; none before the first attempt has failed.
    begun: Option<Instant>,
    /// The wait before the last attempt, which decorrelated jitter goes by; none before there was one.
    previous: Option<Duration>,
}

/// How an attempt failed.
pub(super) struct Failure<E> {
    pub(super) error: Error<E>,
    /// Since when it has taken time; none if it failed at once.
    pub(super) since: Option<Instant>,
}

impl Course {
    /// The first attempt is about to be made.
    #[inline]
    pub(super) fn begin(plan: &Plan) {
        if let Some(budget) = &plan.budget {
            budget.on_call(&*plan.clock);
        }
    }

    #[inline]
    pub(super) fn new() -> Self {
        Self { attempts: 1, begun: None, previous: None }
    }

    #[inline]
    pub(super) fn succeeded(plan: &Plan) {
        if let Some(budget) = &plan.budget {
            budget.on_success();
        }
    }

    /// An attempt failed: the wait before the next one, or the end of the course.
    #[cold]
    #[inline(never)]
    pub(super) fn failed<E>(
        &mut self,
        plan: &Plan,
        Failure { error, since }: Failure<E>,
        advise: &impl Advise<E>,
    ) -> Result<Duration, RetryError<E>> {
        let advice = match &error {
            Error::Failed(error) => advise.advise(error),
            Error::TimedOut { .. } | Error::Rejected(_) => error.advice(),
        };
        let now = plan.clock.now();
        let begun = *self.begun.get_or_insert(since.unwrap_or(now));
        let elapsed = now.saturating_duration_since(begun);
        match self.next_wait(plan, advice, elapsed, now) {
            Ok(wait) => {
                self.attempts += 1;
                Ok(wait)
            }
            Err(gave_up) => Err(RetryError::of(error, self.attempts, elapsed, gave_up)),
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
        let wait = plan.usual_wait(self.attempts, self.previous.unwrap_or(plan.base_delay));
        self.previous = Some(wait);
        wait
    }
}
