//! The breaker's states and their transitions: inputs in, events out, no lock and no clock of its own.
//!
//! ```text
//!            trips                      deadline passed
//!   Closed ---------> Open <---------+-----------------> HalfOpen
//!      ^                             | a probe failed        |
//!      +---------------------------------------------------- +  enough successes
//! ```
//!
//! Beside them are three states that a hand chooses: forced open, forced closed, disabled.
//!
//! * Each transition begins an **epoch**. A permit carries the epoch it was given in, and its result counts
//!   only in that one: what was sent before the circuit opened says nothing about the service now.
//! * Passing time is an input like any other: whoever comes first after a deadline makes the transition.
//! * An open circuit is open until `now >= since + lasts`; a deadline beyond the end of time is never.

use std::time::{Duration, Instant};

use super::event::{Event, Outbox};
use super::evidence::Evidence;
use super::settings::Rules;
use super::ticket::{Stub, Ticket, Word};
use super::trial::{Trial, Verdict};
use super::{Cancellation, Outcome, Snapshot, State};
use crate::clock::Now;
use crate::error::{Rejected, RejectedBy};

enum Phase {
    Closed(Evidence),
    Open {
        since: Instant,
        lasts: Duration,
        /// By evidence from elsewhere.
        tripped: bool,
    },
    HalfOpen(Trial),
    ForcedOpen,
    /// Collects evidence, and does not act on it.
    ForcedClosed(Evidence),
    Disabled,
}

/// A state that a hand can choose.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Reset,
    Trip,
    ForceOpen,
    ForceClosed,
    Disable,
}

pub(super) struct Machine {
    rules: Rules,
    pub(super) outbox: Outbox,
    /// When it was made.
    origin: Instant,
    epoch: u64,
    phase: Phase,
    /// Openings since the circuit was last closed: how far the open time has grown.
    openings: u32,
    last_failure: Option<Instant>,
    rejected: u64,
    late: u64,
}

impl Machine {
    pub(super) fn new(rules: Rules, origin: Instant, has_listeners: bool) -> Self {
        let phase = Phase::Closed(Evidence::none(&rules, origin));
        let outbox = Outbox::new(has_listeners);
        Self { rules, outbox, origin, epoch: 0, phase, openings: 0, last_failure: None, rejected: 0, late: 0 }
    }

    /// A call asks to be made.
    pub(super) fn admit(&mut self, now: &mut Now<'_>) -> Result<Ticket, Rejected> {
        self.advance(now);
        let stub = self.rules.times_calls().then(|| Stub::of(self.origin, now.get()));
        let ticket = Ticket { word: self.word().quietened(), stub };
        let rejected = match &mut self.phase {
            Phase::Closed(_) | Phase::ForcedClosed(_) | Phase::Disabled => return Ok(ticket),
            Phase::Open { since, lasts, .. } => {
                Rejected::new(RejectedBy::OpenCircuit, Some(lasts.saturating_sub(now.since(*since))))
            }
            Phase::HalfOpen(trial) => match trial.begin(self.origin, now.get(), &self.rules) {
                Some(probe) => return Ok(Ticket { stub: Some(probe), ..ticket }),
                None => Rejected::new(RejectedBy::ProbingCircuit, None),
            },
            Phase::ForcedOpen => Rejected::new(RejectedBy::ForcedOpenCircuit, None),
        };
        self.rejected += 1;
        self.outbox.push(Event::Rejected(rejected));
        Err(rejected)
    }

    /// A call has ended.
    pub(super) fn record(&mut self, ticket: Ticket, outcome: Outcome, now: &mut Now<'_>) {
        self.advance(now);
        if ticket.epoch() != self.epoch {
            return self.dismiss(ticket, outcome);
        }
        let begun = ticket.stub.map(|stub| stub.moment(self.origin));
        match &mut self.phase {
            Phase::Closed(evidence) => {
                if weigh(evidence, outcome, begun, &self.rules, now) {
                    self.open(now, false);
                }
            }
            Phase::ForcedClosed(evidence) => {
                weigh(evidence, outcome, begun, &self.rules, now);
            }
            Phase::HalfOpen(trial) => {
                let Some(since) = ticket.stub.and_then(|probe| trial.end(probe)) else {
                    return self.dismiss(ticket, outcome);
                };
                // Whoever trips on slow calls is not convinced by a slow probe.
                let slow = outcome != Outcome::Ignored && self.rules.is_slow(Some(since), now);
                let outcome = if slow { Outcome::Failure } else { outcome };
                let verdict = trial.count(outcome, &self.rules);
                self.obey(verdict, now);
            }
            Phase::Disabled => return,
            Phase::Open { .. } | Phase::ForcedOpen => unreachable!("an open circuit gives no permits"),
        }
        if outcome == Outcome::Failure {
            self.last_failure = Some(now.get());
        }
    }

    /// A call was given up, or it panicked.
    pub(super) fn give_up(&mut self, ticket: Ticket, panicked: bool, now: &mut Now<'_>) {
        let failed = panicked
            || match self.rules.cancellation {
                Cancellation::Ignored => false,
                Cancellation::Failure => true,
                Cancellation::FailureAfter(limit) => {
                    self.begun(ticket).is_some_and(|begun| now.since(begun) >= limit)
                }
            };
        self.record(ticket, if failed { Outcome::Failure } else { Outcome::Ignored }, now);
    }

    /// When a call began, if a rule asks for that. Of probes that began at once the stubs are not exact.
    fn begun(&self, ticket: Ticket) -> Option<Instant> {
        let stub = ticket.stub?;
        let exact = match &self.phase {
            Phase::HalfOpen(trial) if ticket.epoch() == self.epoch => trial.since(stub),
            Phase::HalfOpen(_) | Phase::Closed(_) | Phase::Open { .. } => None,
            Phase::ForcedOpen | Phase::ForcedClosed(_) | Phase::Disabled => None,
        };
        Some(exact.unwrap_or_else(|| stub.moment(self.origin)))
    }

    /// Enters successes that were only counted, in the order of the others.
    #[inline]
    pub(super) fn count_successes(&mut self, successes: u64) {
        if successes > 0
            && let Phase::Closed(evidence) | Phase::ForcedClosed(evidence) = &mut self.phase
        {
            evidence.add_successes(successes);
        }
    }

    /// How many successes of this epoch may be counted first, and entered by whatever step comes next.
    #[inline]
    pub(super) fn room_for_successes(&self) -> Option<u64> {
        match &self.phase {
            Phase::Closed(evidence) | Phase::ForcedClosed(evidence) => {
                evidence.room_for_successes(&self.rules)
            }
            Phase::Open { .. } | Phase::HalfOpen(_) | Phase::ForcedOpen | Phase::Disabled => None,
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A hand intervenes.
    pub(super) fn order(&mut self, order: Order, now: &mut Now<'_>) {
        self.advance(now);
        let evidence = Evidence::none(&self.rules, now.get());
        match order {
            Order::Trip => return self.trip(now),
            Order::Reset => {
                (self.last_failure, self.rejected, self.late) = (None, 0, 0);
                self.enter(Phase::Closed(evidence));
            }
            Order::ForceOpen => self.enter(Phase::ForcedOpen),
            Order::ForceClosed => self.enter(Phase::ForcedClosed(evidence)),
            Order::Disable => self.enter(Phase::Disabled),
        }
        self.openings = 0;
    }

    /// Lets time pass: the one place where it changes a state.
    #[inline]
    pub(super) fn advance(&mut self, now: &mut Now<'_>) {
        match &mut self.phase {
            Phase::Open { since, lasts, .. } => {
                if now.since(*since) >= *lasts {
                    self.enter(Phase::HalfOpen(Trial::new()));
                }
            }
            Phase::HalfOpen(trial) => {
                let hung = trial.take_back_hung(now.get(), self.rules.half_open_timeout);
                for _ in 0..hung {
                    self.outbox.push(Event::ProbeTakenBack { epoch: self.epoch });
                }
            }
            Phase::Closed(_) | Phase::ForcedOpen | Phase::ForcedClosed(_) | Phase::Disabled => {}
        }
    }

    /// What is published for calls that need not take the lock.
    pub(super) fn word(&self) -> Word {
        let (admits, quiet) = match &self.phase {
            Phase::Closed(evidence) | Phase::ForcedClosed(evidence) => (true, evidence.is_quiet(&self.rules)),
            Phase::Disabled => (true, true),
            Phase::Open { .. } | Phase::HalfOpen(_) | Phase::ForcedOpen => (false, false),
        };
        Word::new(self.epoch, admits, quiet, self.rules.times_calls())
    }

    pub(super) fn snapshot(&mut self, now: &mut Now<'_>) -> Snapshot {
        self.advance(now);
        let mut snapshot = Snapshot {
            openings: self.openings,
            rejected: self.rejected,
            late: self.late,
            last_failure: self.last_failure.map(|at| now.since(at)),
            ..Snapshot::of(self.state(), self.epoch)
        };
        match &mut self.phase {
            Phase::Closed(evidence) | Phase::ForcedClosed(evidence) => {
                snapshot.consecutive_failures = evidence.streak();
                snapshot.window = evidence.tally(now);
            }
            Phase::Open { since, lasts, tripped } => {
                snapshot.next_attempt = Some(lasts.saturating_sub(now.since(*since)));
                snapshot.tripped = *tripped;
            }
            Phase::HalfOpen(trial) => {
                snapshot.probes = trial.in_flight();
                snapshot.probe_successes = trial.successes;
                snapshot.probe_failures = trial.failures;
            }
            Phase::ForcedOpen | Phase::Disabled => {}
        }
        snapshot
    }

    /// Whether a new breaker would do as well, but for what this one has counted.
    pub(super) fn is_forgettable(&self, now: &mut Now<'_>) -> bool {
        match &self.phase {
            Phase::Closed(_) | Phase::HalfOpen(_) => true,
            Phase::Open { since, lasts, .. } => now.since(*since) >= *lasts,
            Phase::ForcedOpen | Phase::ForcedClosed(_) | Phase::Disabled => false,
        }
    }

    fn state(&self) -> State {
        match self.phase {
            Phase::Closed(_) => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen(_) => State::HalfOpen,
            Phase::ForcedOpen => State::ForcedOpen,
            Phase::ForcedClosed(_) => State::ForcedClosed,
            Phase::Disabled => State::Disabled,
        }
    }

    fn obey(&mut self, verdict: Verdict, now: &mut Now<'_>) {
        match verdict {
            Verdict::Undecided => {}
            Verdict::Open => self.open(now, false),
            Verdict::Close => {
                self.openings = 0;
                let evidence = Evidence::none(&self.rules, now.get());
                self.enter(Phase::Closed(evidence));
            }
        }
    }

    /// Opens by evidence from elsewhere. What a hand has chosen stays, and an open circuit stays as it is.
    fn trip(&mut self, now: &mut Now<'_>) {
        match self.phase {
            Phase::Closed(_) | Phase::HalfOpen(_) => self.open(now, true),
            Phase::Open { .. } | Phase::ForcedOpen | Phase::ForcedClosed(_) | Phase::Disabled => {}
        }
    }

    fn open(&mut self, now: &mut Now<'_>, tripped: bool) {
        self.openings = self.openings.saturating_add(1);
        let lasts = self.rules.recovery.delay(self.openings);
        self.enter(Phase::Open { since: now.get(), lasts, tripped });
    }

    /// The one transition: every change of state comes through here.
    fn enter(&mut self, phase: Phase) {
        let from = self.state();
        self.phase = phase;
        self.epoch += 1;
        self.outbox.push(Event::StateChanged { from, to: self.state(), epoch: self.epoch });
    }

    /// A result that counts for nothing.
    fn dismiss(&mut self, ticket: Ticket, outcome: Outcome) {
        self.late += 1;
        self.outbox.push(Event::LateResult { outcome, epoch: ticket.epoch() });
    }
}

/// Adds a result to the evidence, unless it is to be ignored; whether the evidence is then enough.
fn weigh(
    evidence: &mut Evidence,
    outcome: Outcome,
    begun: Option<Instant>,
    rules: &Rules,
    now: &mut Now<'_>,
) -> bool {
    let failed = match outcome {
        Outcome::Ignored => return false,
        Outcome::Success => false,
        Outcome::Failure => true,
    };
    let slow = rules.is_slow(begun, now);
    evidence.add(failed, slow, rules, now)
}
