//! The bounds of the front door, and what counts towards them.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::slow_log::SlowLogSettings;
use crate::resp::FrameLimits;

/// What clients may make the front door hold. Each is a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How large a request may be.
    pub frame: FrameLimits,
    /// Connections at once. One more is told so and closed.
    pub clients_max: usize,
    /// Requests of one connection that are unanswered at once. Beyond, its input waits in its socket.
    pub pipeline_max: usize,
    /// Bytes of one connection's unanswered requests. Beyond, its input waits as well.
    pub pipeline_bytes_max: usize,
    /// Reply bytes that wait for one connection to read them. Beyond, it must be reading, and nothing more of its
    /// input is executed; a single reply beyond it closes the connection.
    pub output_bytes_max: usize,
    /// Bytes that all connections together hold in buffers, small change excepted. Who passes it is cut off.
    pub buffers_bytes_max: usize,
    /// How long a connection may leave its replies unread before it is cut off.
    pub output_stall_max: Duration,
    /// How long a connection may say nothing before it is closed; none for ever, as Redis's `timeout 0`.
    pub idle_max: Option<Duration>,
    /// Commands that MULTI may queue, and keys that WATCH may name, together.
    pub transaction_commands_max: usize,
    /// Bytes that those commands and keys together may take in memory: EXEC makes one log entry of them.
    pub transaction_bytes_max: usize,
    /// What SLOWLOG remembers, until CONFIG SET says otherwise.
    pub slow_log: SlowLogSettings,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame: FrameLimits::default(),
            clients_max: 10_000,
            // Enough to fill a batch, few enough that ten thousand connections cannot flood the shard.
            pipeline_max: 1024,
            // Two of the largest commands, or any number of ordinary ones.
            pipeline_bytes_max: 32 << 20,
            // A client that writes a whole pipeline before it reads must fit, so this is not small.
            output_bytes_max: 64 << 20,
            buffers_bytes_max: 512 << 20,
            output_stall_max: Duration::from_secs(60),
            idle_max: None,
            transaction_commands_max: 64 << 10,
            transaction_bytes_max: 16 << 20,
            slow_log: SlowLogSettings::default(),
        }
    }
}

impl Limits {
    /// Those of a Sentinel door, where everything is short.
    #[must_use]
    pub fn of_sentinel(clients_max: usize) -> Self {
        let defaults = Self::default();
        Self {
            frame: FrameLimits {
                frame_bytes_max: 64 << 10,
                arguments_max: 1 << 10,
                argument_bytes_max: 4 << 10,
                ..defaults.frame
            },
            clients_max,
            pipeline_bytes_max: 1 << 20,
            output_bytes_max: 1 << 20,
            buffers_bytes_max: 64 << 20,
            ..defaults
        }
    }
}

/// What a connection may hold without it being counted: `clients_max` times this comes on top of the budget.
const UNCOUNTED_BYTES: usize = 16 << 10;

/// The buffers of all connections together.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }

    /// Bytes that are counted now.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// One connection's share of the [`Budget`]; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    counted: usize,
}

impl Share {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, counted: 0 }
    }

    /// Says that the connection now holds so many bytes. False if there is no room for them: then they are
    /// not counted, and the connection must give them up.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        let wanted = bytes.saturating_sub(UNCOUNTED_BYTES);
        if wanted > self.counted {
            let more = wanted - self.counted;
            let before = self.budget.used.fetch_add(more, Ordering::Relaxed);
            if before.saturating_add(more) > self.budget.max {
                self.budget.used.fetch_sub(more, Ordering::Relaxed);
                return false;
            }
        } else if wanted < self.counted {
            self.budget.used.fetch_sub(self.counted - wanted, Ordering::Relaxed);
        }
        self.counted = wanted;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

/// Lets one log line of a kind through in each second, and counts those it keeps back: whoever floods the
/// port must not flood the log.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    state: Mutex<(Option<Instant>, u64)>,
}

impl Throttle {
    const INTERVAL: Duration = Duration::from_secs(1);

    /// If a line may be written at `now`: how many were kept back since the last one.
    pub(super) fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let due = state.0.is_none_or(|last| now.saturating_duration_since(last) >= Self::INTERVAL);
        if due {
            state.0 = Some(now);
            Some(std::mem::take(&mut state.1))
        } else {
            state.1 += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_counts_what_is_held_and_gets_it_back() {
        let budget = Budget::new(100);
        let (mut one, mut two) = (Share::new(budget.clone()), Share::new(budget.clone()));
        assert!(one.hold(UNCOUNTED_BYTES));
        assert_eq!(budget.used(), 0);
        assert!(one.hold(UNCOUNTED_BYTES + 60));
        assert!(!two.hold(UNCOUNTED_BYTES + 41));
        assert!(two.hold(UNCOUNTED_BYTES + 40));
        assert!(one.hold(UNCOUNTED_BYTES + 10));
        drop(two);
        assert_eq!(budget.used(), 10);
        drop(one);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_line_a_second_passes_and_the_rest_is_counted() {
        let throttle = Throttle::default();
        let start = Instant::now();
        assert_eq!(throttle.pass(start), Some(0));
        assert_eq!(throttle.pass(start), None);
        assert_eq!(throttle.pass(start + Duration::from_millis(999)), None);
        assert_eq!(throttle.pass(start + Duration::from_secs(1)), Some(2));
    }
}
