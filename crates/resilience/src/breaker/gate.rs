//! The machine behind a lock, and a word in front of it that spares most calls the lock.
//!
//! * The machine is changed under the lock only, and so is the word, which says what the machine then is.
//! * A call reads the word. If all calls are let through, it takes the epoch from there and goes on; if no rule asks how
//!   long calls take, it does not read the clock.
//! * When it has succeeded in that epoch, and the word says that a success changes nothing, it is done: of all this
//!   nothing that is shared was written. That is so while no failure is counted, and where a window of calls is full of
//!   successes; not in windows over time, nor where a success may be a slow call.
//! * A success that counts and decides nothing is added to a second word, [`Untold`], while that is open.
//! * Everything else takes the lock, and looks again.
//!
//! A word can be out of date by the time it is read. That is sound: the call then stands in the order before
//! whatever changed, and the epoch in its ticket makes its result count for what it was. `tests/loom` tries all
//! interleavings.

use std::sync::{Arc, PoisonError, atomic::Ordering};
use std::time::Instant;
use std::{hint, thread};

use super::event::{Event, WAITING_MAX};
use super::machine::Machine;
use super::settings::Rules;
use super::ticket::{Stub, Ticket, Word};
use super::untold::Untold;
use super::{Cancellation, Outcome};
use crate::clock::{Clock, Now};
use crate::error::Rejected;
use crate::sync::{AtomicU64, Mutex, MutexGuard};

/// Somebody who wants to know.
pub(super) type Listener = Arc<dyn Fn(&Event) + Send + Sync>;

pub(super) struct Gate {
    word: AtomicU64,
    untold: Untold,
    machine: Mutex<Machine>,
    clock: Arc<dyn Clock>,
    /// When the breaker was made.
    origin: Instant,
    cancellation: Cancellation,
    listeners: Vec<Listener>,
}

impl Gate {
    pub(super) fn new(rules: Rules, clock: Arc<dyn Clock>, listeners: Vec<Listener>) -> Self {
        let cancellation = rules.cancellation;
        let origin = clock.now();
        let machine = Machine::new(rules, origin, !listeners.is_empty());
        let word = AtomicU64::new(machine.word().0);
        let untold = Untold::closed();
        Self { word, untold, machine: Mutex::new(machine), clock, origin, cancellation, listeners }
    }

    #[inline]
    pub(super) fn admit(&self) -> Result<Ticket, Rejected> {
        let word = self.word();
        if word.admits_untimed() {
            return Ok(Ticket { word: word.quietened(), stub: None });
        }
        hint::cold_path();
        self.ask()
    }

    /// Whether a success need not be told, nor anything looked at but the word.
    #[inline]
    pub(super) fn is_unmoved_since(&self, ticket: Ticket) -> bool {
        self.word() == ticket.word
    }

    #[inline]
    pub(super) fn settle(&self, ticket: Ticket, outcome: Outcome) {
        if outcome != Outcome::Success || !self.is_unmoved_since(ticket) {
            self.tell(ticket.word, ticket.stub, outcome);
        }
    }

    /// A call ended that was not as lucky as most. A ticket comes in its parts, which travel in registers: a lucky
    /// call then need not lay it out in memory.
    #[inline(never)]
    pub(super) fn tell(&self, word: Word, stub: Option<Stub>, outcome: Outcome) {
        let (ticket, now) = (Ticket { word, stub }, self.word());
        let is_settled = match outcome {
            Outcome::Success if now.is_quiet() => now.epoch() == ticket.epoch(),
            Outcome::Success => self.untold.add(ticket.epoch()),
            Outcome::Ignored => now.admits() && now.epoch() == ticket.epoch(),
            Outcome::Failure => false,
        };
        if !is_settled {
            self.step(|machine, now| machine.record(ticket, outcome, now));
        }
    }

    /// The permit was dropped: the call was given up, or it panicked.
    #[cold]
    #[inline(never)]
    pub(super) fn give_up(&self, word: Word, stub: Option<Stub>) {
        if thread::panicking() {
            return self.step(|machine, now| machine.give_up(Ticket { word, stub }, true, now));
        }
        self.cancel(word, stub);
    }

    /// The call was given up while it waited.
    #[cold]
    #[inline(never)]
    pub(super) fn cancel(&self, word: Word, stub: Option<Stub>) {
        if self.cancellation == Cancellation::Ignored {
            return self.tell(word, stub, Outcome::Ignored);
        }
        self.step(|machine, now| machine.give_up(Ticket { word, stub }, false, now));
    }

    /// One step of the machine, with the word published and the news delivered.
    pub(super) fn step<R>(&self, step: impl FnOnce(&mut Machine, &mut Now<'_>) -> R) -> R {
        let mut machine = self.lock();
        machine.count_successes(self.untold.close());
        let answer = step(&mut machine, &mut Now::of(&*self.clock));
        if let Some(room) = machine.room_for_successes() {
            self.untold.open(machine.epoch(), room);
        }
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
    #[inline(never)]
    fn ask(&self) -> Result<Ticket, Rejected> {
        let word = self.word();
        if !word.admits() {
            return self.step(Machine::admit);
        }
        let stub = Stub::of(self.origin, self.clock.now());
        Ok(Ticket { word: word.quietened(), stub: Some(stub) })
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
