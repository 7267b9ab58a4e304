//! The right to make one call, and the duty to tell how it ended.

use std::{fmt, ops::Deref, sync::Arc};

use super::{Outcome, gate::Gate, machine::Ticket};

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
    gate: Handle<'a>,
    /// `None` once it is settled.
    ticket: Option<Ticket>,
}

enum Handle<'a> {
    Borrowed(&'a Gate),
    Owned(Arc<Gate>),
}

impl Deref for Handle<'_> {
    type Target = Gate;

    #[inline]
    fn deref(&self) -> &Gate {
        match self {
            Self::Borrowed(gate) => gate,
            Self::Owned(gate) => gate,
        }
    }
}

impl<'a> Permit<'a> {
    #[inline]
    pub(super) fn borrowed(gate: &'a Gate, ticket: Ticket) -> Self {
        Self { gate: Handle::Borrowed(gate), ticket: Some(ticket) }
    }

    /// Tells how the call ended.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::Outcome};
    /// CircuitBreaker::new().try_acquire()?.settle(Outcome::Ignored);
    /// # Ok::<(), quorate_resilience::Rejected>(())
    /// ```
    #[inline]
    pub fn settle(mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.settle(ticket, outcome);
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

impl Permit<'static> {
    pub(super) fn owned(gate: Arc<Gate>, ticket: Ticket) -> Self {
        Self { gate: Handle::Owned(gate), ticket: Some(ticket) }
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.settle_dropped(ticket, std::thread::panicking());
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.ticket).finish()
    }
}
