//! What a permit has to remember: two numbers, so that a lucky call keeps it in registers.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::clock::nanos;

/// What was known when a permit was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    /// The word by which it was given, were it quiet. If that is the word when the call has succeeded, there is
    /// nothing to tell.
    pub(super) word: Word,
    /// Which probe it is for, and when it was given, if a rule asks how long the call took.
    pub(super) stub: Option<Stub>,
}

impl Ticket {
    #[inline]
    pub(super) fn epoch(self) -> u64 {
        self.word.epoch()
    }
}

/// A moment, in nanoseconds since the breaker was made, and 1. Probes of one trial that begin in the same moment get
/// different ones, so that it names a probe, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stub(NonZeroU64);

impl Stub {
    pub(super) fn of(origin: Instant, now: Instant) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos(now.saturating_duration_since(origin))))
    }

    pub(super) fn moment(self, origin: Instant) -> Instant {
        origin.checked_add(Duration::from_nanos(self.0.get() - 1)).unwrap_or(origin)
    }

    pub(super) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// What a call has to know if it is lucky, in one atomic word: the epoch, and three bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    const ADMITS: u64 = 1;
    const QUIET: u64 = 2;
    const UNTIMED: u64 = 4;
    const ADMITS_UNTIMED: u64 = Self::ADMITS | Self::UNTIMED;
    const EPOCH_SHIFT: u32 = 3;

    pub(super) fn new(epoch: u64, admits: bool, quiet: bool, timed: bool) -> Self {
        let bit = |holds: bool, bit: u64| if holds { bit } else { 0 };
        let bits = bit(admits, Self::ADMITS) | bit(quiet, Self::QUIET) | bit(!timed, Self::UNTIMED);
        Self(epoch << Self::EPOCH_SHIFT | bits)
    }

    #[inline]
    pub(super) fn epoch(self) -> u64 {
        self.0 >> Self::EPOCH_SHIFT
    }

    /// Whether every call is let through.
    #[inline]
    pub(super) fn admits(self) -> bool {
        self.0 & Self::ADMITS != 0
    }

    /// Whether every call is let through, and no permit has to know when it was given.
    #[inline]
    pub(super) fn admits_untimed(self) -> bool {
        self.0 & Self::ADMITS_UNTIMED == Self::ADMITS_UNTIMED
    }

    /// Whether a success changes nothing.
    #[inline]
    pub(super) fn is_quiet(self) -> bool {
        self.0 & Self::QUIET != 0
    }

    /// The same word, were it quiet.
    #[inline]
    pub(super) fn quietened(self) -> Self {
        Self(self.0 | Self::QUIET)
    }
}
