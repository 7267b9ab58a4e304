//! The machine behind a lock, and a word in front of it that spares most calls the lock.
//!
//! * The machine is changed under the lock only, and so is the word, which says what the machine then is.
//! * A call reads the word. If all calls are let through, it takes the epoch from there and goes on; when it
//!   succeeds in that epoch and a success changes nothing, it is done. Nothing shared has been written.
//! * Everything else takes the lock, and looks again.
//!
//! A word can be out of date by the time it is read. That is sound: the call then stands in the order before
//! whatever changed, and the epoch in its ticket makes its result count for what it was. `tests/loom` tries all
//! interleavings.

use std::sync::{Arc, PoisonError, atomic::Ordering};
use std::time::{Duration, Instant};

use super::event::{Event, WAITING_MAX};
use super::machine::{Machine, Ticket, Word};
use super::settings::Rules;
use super::trial::ProbeId;
use super::{Cancellation, Outcome};
use crate::clock::{Clock, Now};
use crate::error::Rejected;
use crate::sync::{AtomicU64, Mutex, MutexGuard};

/// Somebody who wants to know.
pub(super) type Listener = Arc<dyn Fn(&Event) + Send + Sync>;

pub(super) struct Gate {
    word: AtomicU64,
    machine: Mutex<Machine>,
    clock: Arc<dyn Clock>,
    cancellation: Cancellation,
    times_calls: bool,
    listeners: Vec<Listener>,
}

impl Gate {
    pub(super) fn new(rules: Rules, clock: Arc<dyn Clock>, listeners: Vec<Listener>) -> Self {
        let (cancellation, times_calls) = (rules.cancellation, rules.times_calls());
        let machine = Machine::new(rules, !listeners.is_empty(), &mut Now::of(&*clock));
        let word = AtomicU64::new(machine.word().0);
        Self { word, machine: Mutex::new(machine), clock, cancellation, times_calls, listeners }
    }

    #[inline]
    pub(super) fn admit(&self) -> Result<Ticket, Rejected> {
        let word = self.word();
        if word.admits() {
            let begun = if self.times_calls { Some(self.clock.now()) } else { None };
            return Ok(Ticket { epoch: word.epoch(), probe: None, begun });
        }
        self.ask()
    }

    #[inline]
    pub(super) fn settle(&self, ticket: Ticket, outcome: Outcome) {
        let word = self.word();
        let changes_nothing = match outcome {
            Outcome::Success => word.is_quiet(),
            Outcome::Ignored => word.admits(),
            Outcome::Failure => false,
        };
        if !(changes_nothing && word.epoch() == ticket.epoch) {
            let Ticket { epoch, probe, begun } = ticket;
            self.record(epoch, probe, begun, outcome);
        }
    }

    /// The permit was dropped, so the call was given up.
    #[cold]
    #[inline(never)]
    pub(super) fn settle_dropped(&self, ticket: Ticket, panicked: bool) {
        let lasted = |limit: Duration| {
            let begun = ticket.begun.unwrap_or_else(|| self.clock.now());
            self.clock.now().saturating_duration_since(begun) >= limit
        };
        let failed = panicked
            || match self.cancellation {
                Cancellation::Ignored => false,
                Cancellation::Failure => true,
                Cancellation::FailureAfter(limit) => lasted(limit),
            };
        self.settle(ticket, if failed { Outcome::Failure } else { Outcome::Ignored });
    }

    /// One step of the machine, with the word published and the news delivered.
    pub(super) fn step<R>(&self, step: impl FnOnce(&mut Machine, &mut Now<'_>) -> R) -> R {
        let mut machine = self.lock();
        let answer = step(&mut machine, &mut Now::of(&*self.clock));
        let word = machine.word().0;
        // Written only when it changes: other threads keep the line in their caches.
        if word != self.word.load(Ordering::Relaxed) {
            self.word.store(word, Ordering::Release);
        }
        if machine.outbox.begin_delivery() {
            drop(machine);
            self.deliver();
        }
        answer
    }

    /// Asks the machine without letting time pass, and so without news.
    pub(super) fn peek<R>(&self, ask: impl FnOnce(&Machine, &mut Now<'_>) -> R) -> R {
        ask(&self.lock(), &mut Now::of(&*self.clock))
    }

    /// Out of line, so that callers take in the few instructions of a lucky call only.
    #[cold]
    #[inline(never)]
    fn ask(&self) -> Result<Ticket, Rejected> {
        self.step(Machine::admit)
    }

    /// A ticket comes in its parts, which travel in registers: a lucky call then need not lay it out in memory.
    #[inline(never)]
    fn record(&self, epoch: u64, probe: Option<ProbeId>, begun: Option<Instant>, outcome: Outcome) {
        let ticket = Ticket { epoch, probe, begun };
        self.step(|machine, now| machine.record(ticket, outcome, now));
    }

    #[inline]
    fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Our own code does not panic under the lock; a clock that does leaves the machine as it was.
    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self) {
        let mut turn = Turn { gate: self, over: false };
        for _ in 0..TURN_EVENTS_MAX {
            let Some(event) = turn.next() else { return };
            for listener in &self.listeners {
                listener(&event);
            }
        }
    }
}

/// The most events that one call delivers before it goes its own way: others may cause new ones without end.
/// What is left then waits for whoever comes next. It is more than can wait, so that a call's own event, and
/// all before it, have been delivered by then.
const TURN_EVENTS_MAX: usize = 2 * WAITING_MAX;

/// The turn to deliver. A listener's panic, or a turn's end with events left, must not leave it taken.
struct Turn<'a> {
    gate: &'a Gate,
    over: bool,
}

impl Turn<'_> {
    fn next(&mut self) -> Option<Event> {
        let next = self.gate.lock().outbox.next();
        self.over = next.is_none();
        next
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.gate.lock().outbox.abandon_delivery();
        }
    }
}
