//! The half-open state: a few probes are let through, and their results decide.
//!
//! A probe has a stub and a time of departure. Its place is free again when its permit is settled or dropped,
//! or once it has been out for `half_open_timeout`: so that a hung call, a leaked permit or a cancelled task
//! cannot keep the breaker from trying. Whether a result is late depends on the time alone, never on whether
//! somebody has asked for the place meanwhile.

use std::time::{Duration, Instant};

use super::ticket::Stub;
use super::{Outcome, settings::Rules};

/// What probes have shown so far.
pub(super) struct Trial {
    /// Those on their way, oldest first; at most `half_open_max_calls`.
    probes: Vec<Probe>,
    /// The last probe's stub.
    last: Option<Stub>,
    pub(super) successes: u32,
    pub(super) failures: u32,
}

struct Probe {
    stub: Stub,
    since: Instant,
}

/// Whether the probes have decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Undecided,
    Close,
    Open,
}

impl Trial {
    pub(super) fn new() -> Self {
        Self { probes: Vec::new(), last: None, successes: 0, failures: 0 }
    }

    /// Lets a probe through, if there is room for it.
    pub(super) fn begin(&mut self, origin: Instant, now: Instant, rules: &Rules) -> Option<Stub> {
        if self.in_flight() >= rules.half_open_max_calls {
            return None;
        }
        let stub = Stub::of(origin, now).max(self.last.map_or(Stub::of(origin, origin), Stub::next));
        self.last = Some(stub);
        self.probes.push(Probe { stub, since: now });
        Some(stub)
    }

    /// Takes back what has been out for too long, and tells how many that were.
    pub(super) fn take_back_hung(&mut self, now: Instant, timeout: Duration) -> usize {
        let before = self.probes.len();
        self.probes.retain(|probe| now.saturating_duration_since(probe.since) < timeout);
        before - self.probes.len()
    }

    /// A probe's end frees its place, and tells when it began. `None` if it had lost its place before.
    pub(super) fn end(&mut self, stub: Stub) -> Option<Instant> {
        let place = self.probes.iter().position(|probe| probe.stub == stub)?;
        Some(self.probes.remove(place).since)
    }

    /// When a probe began that still has its place.
    pub(super) fn since(&self, stub: Stub) -> Option<Instant> {
        self.probes.iter().find(|probe| probe.stub == stub).map(|probe| probe.since)
    }

    /// Counts a result.
    pub(super) fn count(&mut self, outcome: Outcome, rules: &Rules) -> Verdict {
        match outcome {
            Outcome::Ignored => return Verdict::Undecided,
            Outcome::Success => self.successes += 1,
            Outcome::Failure => self.failures += 1,
        }
        let wanted = rules.success_threshold;
        match rules.half_open_failure_rate {
            None if self.failures > 0 => Verdict::Open,
            None if self.successes >= wanted => Verdict::Close,
            Some(rate) if f64::from(self.failures) / f64::from(wanted) >= rate => Verdict::Open,
            Some(_) if self.successes + self.failures >= wanted => Verdict::Close,
            None | Some(_) => Verdict::Undecided,
        }
    }

    pub(super) fn in_flight(&self) -> u32 {
        u32::try_from(self.probes.len()).unwrap_or(u32::MAX)
    }
}
