//! The two clocks of DESIGN section 5.
//!
//! *Boot time* is a node's own `CLOCK_BOOTTIME`: it never jumps and goes on while the machine is suspended.
//! Engines receive it with each input and never read it. *Cluster time* is what the log says: the leader
//! stamps each entry with it, time-outs of keys and locks run on it, and it never goes back.

use std::{fmt, time::Duration};

/// Microseconds of a node's boot-time clock. Only differences mean something, and only on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime {
    /// Microseconds since an arbitrary point before the process started.
    pub micros: u64,
}

impl BootTime {
    /// The instant `duration` later; saturates.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self { micros: self.micros.saturating_add(micros) }
    }

    /// The instant `duration` earlier; saturates.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self { micros: self.micros.saturating_sub(micros) }
    }

    /// How long ago `earlier` was; zero if it is not in the past.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.micros.saturating_sub(earlier.micros))
    }
}

/// Milliseconds of cluster time. 0 is the instant at which the cluster was born.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterTime {
    /// Milliseconds of leadership since the cluster's birth.
    pub millis: u64,
}

impl fmt::Display for ClusterTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.millis)
    }
}
