//! What a closed breaker has seen, and whether it is enough to trip.

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
    pub(super) fn none(rules: &Rules, now: &mut Now<'_>) -> Self {
        match &rules.trip {
            Trip::Consecutive { .. } => Self::Streak(0),
            Trip::Rate(rule) => match rule.window {
                WindowKind::Calls(size) => Self::Calls(CallWindow::new(size as usize)),
                WindowKind::Time { length, buckets } => {
                    Self::Time(TimeWindow::new(length, buckets, now.get()))
                }
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

    /// Whether a success would change nothing: so it need not be told.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self, Self::Streak(0))
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
