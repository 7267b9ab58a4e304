//! What a closed breaker has seen, and whether it is enough to trip.

use std::time::Instant;

use super::settings::{RateRule, Rules, Trip, WindowKind};
use crate::clock::Now;
use crate::window::{CallWindow, Tally, TimeWindow};

/// What speaks against the service, by the rule that weighs it.
pub(super) enum Evidence {
    /// Failures in a row.
    Streak(u32),
    Calls(CallWindow),
    Time(TimeWindow),
}

impl Evidence {
    /// Nothing seen yet.
    pub(super) fn none(rules: &Rules, now: Instant) -> Self {
        match &rules.trip {
            Trip::Consecutive { .. } => Self::Streak(0),
            Trip::Rate(rule) => match rule.window {
                WindowKind::Calls(size) => Self::Calls(CallWindow::new(size as usize)),
                WindowKind::Time { length, buckets } => Self::Time(TimeWindow::new(length, buckets, now)),
            },
        }
    }

    /// Adds a result that counts; whether that is enough.
    pub(super) fn add(&mut self, failed: bool, slow: bool, rules: &Rules, now: &mut Now<'_>) -> bool {
        let tally = match self {
            Self::Streak(failures) => {
                *failures = if failed { failures.saturating_add(1) } else { 0 };
                Tally::default()
            }
            Self::Calls(window) => window.add(failed, slow),
            Self::Time(window) => window.add(Tally::one(failed, slow), now.get()),
        };
        match &rules.trip {
            Trip::Consecutive { failures } => self.streak() >= *failures,
            Trip::Rate(rule) => trips(rule, tally),
        }
    }

    /// Whether a success would change nothing: so it need not be told. In a window that is full of successes one
    /// takes the place of another; but where slow calls count, a success may be one.
    pub(super) fn is_quiet(&self, rules: &Rules) -> bool {
        match self {
            Self::Streak(failures) => *failures == 0,
            Self::Calls(window) => window.is_full_of_successes() && !rules.counts_slow_calls(),
            Self::Time(_) => false,
        }
    }

    /// How many successes may be counted and entered later, before the next failure: as many as it takes to fill the
    /// window, after which none need be told. `None` if a success may decide something, or if not only their number
    /// matters. A success trips only if with it the rule's minimum of calls is reached: not if the window holds that
    /// many, which it then goes on doing, nor if nothing speaks against the service.
    pub(super) fn room_for_successes(&self, rules: &Rules) -> Option<u64> {
        let (Self::Calls(window), Trip::Rate(rule)) = (self, &rules.trip) else { return None };
        let sum = window.sum();
        let decides_nothing = sum.failures == 0 || sum.calls >= u64::from(rule.least_calls());
        (rule.slow.is_none() && decides_nothing).then(|| window.successes_to_fill_it())
    }

    /// Enters successes that were only counted.
    pub(super) fn add_successes(&mut self, successes: u64) {
        if let Self::Calls(window) = self {
            window.add_successes(successes);
        }
    }

    /// Failures in a row; 0 where they are not counted.
    pub(super) fn streak(&self) -> u32 {
        match self {
            Self::Streak(failures) => *failures,
            Self::Calls(_) | Self::Time(_) => 0,
        }
    }

    pub(super) fn tally(&mut self, now: &mut Now<'_>) -> Option<Tally> {
        match self {
            Self::Streak(_) => None,
            Self::Calls(window) => Some(window.sum()),
            Self::Time(window) => Some(window.sum(now)),
        }
    }
}

/// A quotient is compared, not a product: `2 of 3` then reaches a rate written as `2.0 / 3.0`. While nothing is
/// wrong there is nothing to divide: no rate is 0.
fn trips(rule: &RateRule, tally: Tally) -> bool {
    let reaches = |part: u64, rate: f64| part > 0 && part as f64 / tally.calls as f64 >= rate;
    tally.calls >= u64::from(rule.least_calls())
        && (rule.failure_rate.is_some_and(|rate| reaches(tally.failures, rate))
            || rule.slow.is_some_and(|slow| reaches(tally.slow, slow.rate)))
}
