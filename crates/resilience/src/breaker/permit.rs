//! The right to make one call, and the duty to tell how it ended.

use std::{fmt, hint, mem, sync::Arc};

use super::{Outcome, gate::Gate, ticket::Ticket};
use crate::error::Error;

/// The right to make one call. It is settled exactly once: by [`settle`](Permit::settle) or its short forms, or
/// by being dropped, which counts as [`Cancellation`](super::Cancellation) says, and in a panic as a failure.
///
/// ```
/// use quorate_resilience::{CircuitBreaker, breaker::Outcome};
///
/// let breaker = CircuitBreaker::new();
/// breaker.try_acquire()?.settle(Outcome::Failure);
/// assert_eq!(breaker.snapshot().consecutive_failures, 1);
/// # Ok::<(), quorate_resilience::Rejected>(())
/// ```
#[must_use = "a permit that is dropped counts as a call that was given up"]
pub struct Permit<'a> {
    gate: &'a Gate,
    ticket: Ticket,
}

impl<'a> Permit<'a> {
    #[inline]
    pub(super) fn new(gate: &'a Gate, ticket: Ticket) -> Self {
        Self { gate, ticket }
    }

    /// Tells how the call ended.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::Outcome};
    /// CircuitBreaker::new().try_acquire()?.settle(Outcome::Ignored);
    /// # Ok::<(), quorate_resilience::Rejected>(())
    /// ```
    #[inline]
    pub fn settle(self, outcome: Outcome) {
        let (gate, ticket) = (self.gate, self.ticket);
        // Forgotten first: a listener that panics must not have it settled twice.
        mem::forget(self);
        gate.settle(ticket, outcome);
    }

    /// Tells how the call ended, and hands on its result.
    #[inline]
    pub(super) fn conclude<T, E>(self, outcome: Outcome, result: Result<T, E>) -> Result<T, Error<E>> {
        let (gate, ticket) = (self.gate, self.ticket);
        mem::forget(self);
        match result {
            Ok(value) if outcome == Outcome::Success && gate.is_unmoved_since(ticket) => Ok(value),
            result => {
                hint::cold_path();
                gate.tell(ticket.word, ticket.stub, outcome);
                result.map_err(Error::Failed)
            }
        }
    }

    /// The call succeeded.
    ///
    /// ```
    /// # use quorate_resilience::CircuitBreaker;
    /// CircuitBreaker::new().try_acquire()?.success();
    /// # Ok::<(), quorate_resilience::Rejected>(())
    /// ```
    #[inline]
    pub fn success(self) {
        self.settle(Outcome::Success);
    }

    /// The call failed.
    ///
    /// ```
    /// # use quorate_resilience::CircuitBreaker;
    /// CircuitBreaker::new().try_acquire()?.failure();
    /// # Ok::<(), quorate_resilience::Rejected>(())
    /// ```
    #[inline]
    pub fn failure(self) {
        self.settle(Outcome::Failure);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.gate.give_up(self.ticket.word, self.ticket.stub);
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.ticket).finish()
    }
}

/// A [`Permit`] that borrows nothing, and so can go to another task or thread. It keeps its breaker alive.
///
/// ```
/// use quorate_resilience::{CircuitBreaker, breaker::Outcome};
///
/// let permit = CircuitBreaker::new().try_acquire_owned()?;
/// std::thread::spawn(move || permit.settle(Outcome::Success)).join().unwrap();
/// # Ok::<(), quorate_resilience::Rejected>(())
/// ```
#[must_use = "a permit that is dropped counts as a call that was given up"]
pub struct OwnedPermit {
    gate: Arc<Gate>,
    /// `None` once it is settled.
    ticket: Option<Ticket>,
}

impl OwnedPermit {
    pub(super) fn new(gate: Arc<Gate>, ticket: Ticket) -> Self {
        Self { gate, ticket: Some(ticket) }
    }

    /// Tells how the call ended.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::Outcome};
    /// CircuitBreaker::new().try_acquire_owned()?.settle(Outcome::Failure);
    /// # Ok::<(), quorate_resilience::Rejected>(())
    /// ```
    pub fn settle(mut self, outcome: Outcome) {
        self.conclude(outcome);
    }

    /// As [`settle`](OwnedPermit::settle), where it lies.
    pub(super) fn conclude(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.settle(ticket, outcome);
        }
    }

    /// The call was given up while it waited: not in a panic of its own.
    #[cfg(feature = "tower")]
    pub(super) fn cancel(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.cancel(ticket.word, ticket.stub);
        }
    }

    /// The call was given up, or it panicked.
    pub(super) fn give_up(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.give_up(ticket.word, ticket.stub);
        }
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedPermit").field(&self.ticket).finish()
    }
}
