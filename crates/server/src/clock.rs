//! The clocks of this machine, read in one place.

use std::time::{SystemTime, UNIX_EPOCH};

use quorate_consensus::BootTime;
use quorate_node::Now;
use rustix::time::{ClockId, clock_gettime};

/// The present instant on both clocks: boot time, which goes on while the machine is suspended and which all
/// time-outs run on, and the wall clock, which feeds the calendar alone.
pub(crate) fn now() -> Now {
    let boot = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
    let micros = u64::try_from(boot.tv_nsec).unwrap_or_default() / 1_000;
    Now { boot: BootTime { micros: seconds * 1_000_000 + micros }, wall_ms: wall_ms() }
}

/// Milliseconds since 1970 by the wall clock; a clock that is set before then reads 0.
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn boot_time_does_not_go_back() {
        let (first, second) = (super::now(), super::now());
        assert!(first.boot <= second.boot && first.boot.micros > 0);
    }
}
