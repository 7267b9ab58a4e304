//! One course of attempts: what was tried, and whether to try again. The asynchronous and the blocking form and
//! the layer all go by it.

use std::time::{Duration, Instant};

use super::jitter::Recall;
use super::settings::Plan;
use super::{Advice, Advise, GaveUp, RetryError};
use crate::error::Error;

pub(super) struct Course<'a> {
    plan: &'a Plan,
    attempts: u32,
    begun: Option<Instant>,
    recall: Recall,
}

impl<'a> Course<'a> {
    #[inline]
    pub(super) fn begin(plan: &'a Plan) -> Self {
        if let Some(budget) = &plan.budget {
            budget.on_call(|| plan.clock.now());
        }
        let recall = Recall { base: plan.base_delay, cap: plan.max_delay, previous: plan.base_delay };
        Self { plan, attempts: 1, begun: None, recall }
    }

    /// The first attempt has begun, if this was not noted before.
    pub(super) fn note_begin(&mut self) -> Instant {
        *self.begun.get_or_insert_with(|| self.plan.clock.now())
    }

    /// One attempt, within its time.
    #[cfg(feature = "tokio")]
    #[inline]
    pub(super) async fn attempt<T, E>(
        &mut self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error<E>> {
        let limit = self.plan.attempt_timeout;
        let mut call = std::pin::pin!(call);
        let noted = std::future::poll_fn(|context| {
            let polled = call.as_mut().poll(context);
            if polled.is_pending() {
                self.note_begin();
            }
            polled
        });
        match limit {
            None => noted.await.map_err(Error::Failed),
            Some(after) => match tokio::time::timeout(after, noted).await {
                Ok(result) => result.map_err(Error::Failed),
                Err(_) => Err(Error::TimedOut { after }),
            },
        }
    }

    #[inline]
    pub(super) fn succeeded(&self) {
        if let Some(budget) = &self.plan.budget {
            budget.on_success();
        }
    }

    /// The wait before the next attempt, or the end of the course.
    #[cold]
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
        let plan = self.plan;
        let grown = plan.backoff.delay(self.attempts).min(plan.max_delay);
        plan.jitter.spread(grown, &mut self.recall, &plan.generator)
    }
}
