//! Until when a lock is certainly held, by the holder's own clock: arithmetic without I/O or a clock.
//!
//! The server promises that a lock lasts its time to live from when it carries out the request, which is not before the
//! request was **sent**. So the holder counts from the sending, and takes off what two clocks may drift apart. Whatever
//! happens on the way, a lease never lasts longer than the lock that stands behind it:
//!
//! * Renewals are asked for one after the other, and counted from when they were sent.
//! * A request without an answer may still be on its way, and may overtake later ones. With the same time to live it does
//!   no harm. With a shorter one it would cut the lock short, so from then on only the shortest counts.
//! * A lease that has run out stays so, even if an answer says afterwards that the lock was extended in time: somebody may
//!   have been told.
//!
//! A lease is renewed when a third of its time is over; then there is time for some more attempts, each of which gets a
//! third of what is left.

use std::time::Duration;

use quorate_resilience::Backoff;

use crate::{clock::BootTime, error::Loss};

/// What the clocks of holder and server may drift apart: a thousandth, twice what each may be slewed by.
const DRIFT_PARTS: u32 = 1_000;

/// The wait after the first attempt to renew that failed.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// An attempt gets at least that long, however little is left.
const ATTEMPT_MIN: Duration = Duration::from_millis(10);

/// What a holder knows of its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    Held(Held),
    Lost(Loss),
}

/// A lock that is held, if it is not too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// The time to live that was asked for last, and will be asked for again.
    ttl: Duration,
    /// When the request was sent that it is counted from.
    asked: BootTime,
    /// The first instant at which it is no longer certain that the lock is held.
    until: BootTime,
    /// Of a request that is on its way.
    pending: Option<Duration>,
    /// The shortest of those whose answers were lost: they may take effect at any time.
    astray: Option<Duration>,
}

/// How much of a time to live may be counted on.
fn certain(ttl: Duration) -> Duration {
    ttl.saturating_sub(ttl / DRIFT_PARTS)
}

impl Lease {
    /// A lock that was given for `ttl` upon a request sent at `asked`.
    pub(crate) fn new(asked: BootTime, ttl: Duration) -> Self {
        Self::Held(Held { ttl, asked, until: asked + certain(ttl), pending: None, astray: None })
    }

    /// The same, if requests for as much time without an answer may still be on their way.
    pub(crate) fn with_astray(asked: BootTime, ttl: Duration) -> Self {
        let until = asked + certain(ttl);
        Self::Held(Held { ttl, asked, until, pending: None, astray: Some(ttl) })
    }

    /// Why it is lost; `None` while it is held.
    pub(crate) fn loss(&self, now: BootTime) -> Option<Loss> {
        match self {
            Self::Held(held) if now < held.until => None,
            Self::Held(_) => Some(Loss::Expired),
            Self::Lost(loss) => Some(*loss),
        }
    }

    /// When it is lost, unless it is renewed before.
    pub(crate) fn until(&self) -> Option<BootTime> {
        self.held().map(|held| held.until)
    }

    /// The time to live to ask for again.
    pub(crate) fn ttl(&self) -> Option<Duration> {
        self.held().map(|held| held.ttl)
    }

    /// When to ask for its renewal.
    pub(crate) fn renewal(&self) -> Option<BootTime> {
        self.held().map(|held| held.asked + held.until.since(held.asked) / 3)
    }

    /// How long to wait after so many attempts to renew it have failed, one after the other.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let sixth = self.ttl().unwrap_or_default() / 6;
        Backoff::exponential(PAUSE_MIN, 2.0).capped(sixth).delay(failures)
    }

    /// How long an attempt to renew may take that begins now, so that some more fit in if it fails.
    pub(crate) fn attempt_limit(&self, now: BootTime) -> Duration {
        self.until().map_or(ATTEMPT_MIN, |until| (until.since(now) / 3).max(ATTEMPT_MIN))
    }

    /// A request to extend it is about to be sent. It may take effect from now on, so if it shortens the time, it does so here.
    pub(crate) fn ask(&mut self, now: BootTime, ttl: Duration) -> Result<(), Loss> {
        if let Some(loss) = self.loss(now) {
            *self = Self::Lost(loss);
        }
        match self {
            Self::Lost(loss) => Err(*loss),
            Self::Held(held) => {
                held.settle_pending();
                held.pending = Some(ttl);
                held.until = held.until.min(now + certain(ttl));
                Ok(())
            }
        }
    }

    /// The request sent at `asked` was carried out.
    pub(crate) fn extended(&mut self, asked: BootTime, ttl: Duration, now: BootTime) {
        if let Some(loss) = self.loss(now) {
            *self = Self::Lost(loss);
        }
        if let Self::Held(held) = self {
            held.pending = None;
            let shortest = held.astray.map_or(ttl, |astray| astray.min(ttl));
            *held = Held { ttl, asked, until: asked + certain(shortest), ..*held };
        }
    }

    /// The request on its way was not carried out, and never will be. What it took off the time stays off until the next one.
    pub(crate) fn not_extended(&mut self) {
        if let Self::Held(held) = self {
            held.pending = None;
        }
    }

    /// The server says that the lock is another's, or nobody's; or it was released.
    pub(crate) fn end(&mut self, loss: Loss) {
        if let Self::Held(_) = self {
            *self = Self::Lost(loss);
        }
    }

    fn held(&self) -> Option<&Held> {
        match self {
            Self::Held(held) => Some(held),
            Self::Lost(_) => None,
        }
    }
}

impl Held {
    /// Nobody waits any longer for the answer of an earlier request.
    fn settle_pending(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        self.astray = Some(self.astray.map_or(pending, |astray| astray.min(pending)));
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
