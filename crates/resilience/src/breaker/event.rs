//! What a breaker tells its listeners, and the queue in which it waits for them.
//!
//! Events are queued under the breaker's lock, in the order in which things happened, and delivered outside of
//! it. One thread delivers at a time: whoever finds events and no deliverer. So listeners see one order, may
//! call the breaker, and delay only the call that happened to deliver.

use std::collections::VecDeque;

use super::{Outcome, State};
use crate::error::Rejected;

/// Something happened to a breaker.
///
/// ```
/// use quorate_resilience::{CircuitBreaker, State, breaker::Event};
/// use std::sync::{Arc, Mutex};
///
/// let seen = Arc::new(Mutex::new(Vec::new()));
/// let log = Arc::clone(&seen);
/// let breaker = CircuitBreaker::builder().on_event(move |event| log.lock().unwrap().push(*event)).build()?;
/// breaker.force_open();
/// let opened = Event::StateChanged { from: State::Closed, to: State::ForcedOpen, epoch: 1 };
/// assert_eq!(*seen.lock().unwrap(), [opened]);
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The breaker changed its state. Every change begins a new epoch; results of earlier ones count no more.
    StateChanged {
        /// The state before.
        from: State,
        /// The state from now on.
        to: State,
        /// The epoch that began.
        epoch: u64,
    },
    /// A call was refused.
    Rejected(Rejected),
    /// A result came after the epoch of its permit, or after its probe was taken back, and counted for nothing.
    LateResult {
        /// What it would have counted as.
        outcome: Outcome,
        /// The epoch of its permit.
        epoch: u64,
    },
    /// A probe was out for longer than `half_open_timeout`; its permit was taken back.
    ProbeTakenBack {
        /// The half-open epoch.
        epoch: u64,
    },
    /// The listeners were too slow, and missed rejections and late results. They never miss a change of state.
    Missed {
        /// How many.
        events: u64,
    },
}

/// The most events that wait for slow listeners. Beyond it rejections and late results are only counted: an
/// open breaker under load makes them faster than any listener writes. Changes of state are few, and kept.
pub(super) const WAITING_MAX: usize = 1024;

/// Events that wait for delivery.
pub(super) struct Outbox {
    /// Nothing is kept where nobody listens.
    wanted: bool,
    waiting: VecDeque<Event>,
    missed: u64,
    delivering: bool,
}

impl Outbox {
    pub(super) fn new(wanted: bool) -> Self {
        Self { wanted, waiting: VecDeque::new(), missed: 0, delivering: false }
    }

    pub(super) fn push(&mut self, event: Event) {
        if !self.wanted {
            return;
        }
        let expendable = !matches!(event, Event::StateChanged { .. });
        if expendable && self.waiting.len() >= WAITING_MAX {
            self.missed += 1;
            return;
        }
        let missed = self.missed_so_far();
        self.waiting.extend(missed.into_iter().chain([event]));
    }

    /// Whether the caller has to deliver: something waits, and nobody is at it.
    pub(super) fn begin_delivery(&mut self) -> bool {
        let begins = !self.delivering && !self.waiting.is_empty();
        self.delivering |= begins;
        begins
    }

    /// The next event to deliver. `None` ends the delivery.
    pub(super) fn next(&mut self) -> Option<Event> {
        let next = self.waiting.pop_front().or_else(|| self.missed_so_far());
        self.delivering = next.is_some();
        next
    }

    fn missed_so_far(&mut self) -> Option<Event> {
        let events = std::mem::take(&mut self.missed);
        (events > 0).then_some(Event::Missed { events })
    }

    /// Ends a delivery that was cut short.
    pub(super) fn abandon_delivery(&mut self) {
        self.delivering = false;
    }
}
