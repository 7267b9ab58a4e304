//! Cluster time as its leader runs it, and as others heard it.
//!
//! The leader's clock is its boot-time clock plus a base that it chose when it began to lead. A leader may only
//! continue from a stamp that was given out already: the greatest one that it has logged or heard. So cluster
//! time stands still while nobody leads, and never runs faster than real time.
//!
//! * **A stamp that was heard counts only if it is of the last log entry's own term.** Of an older term: a deposed
//!   leader may have run ahead of what its successor continued from; were its stamp used after the successor's
//!   entries, time would jump over an interval that the successor never let pass, and a key that was set in between
//!   would expire early. Of a newer term: that leader may never have had this log's last entry, and may stand in the
//!   same relation to it. Ignoring a stamp only lengthens what runs.

use crate::{BootTime, ClusterTime, Entry, Term};

/// The running clock of a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterClock {
    base: ClusterTime,
    since: BootTime,
}

impl ClusterClock {
    /// A clock that shows `base` at `now` and goes on from there.
    #[must_use]
    pub fn start(base: ClusterTime, now: BootTime) -> Self {
        Self { base, since: now }
    }

    /// What the clock shows: the base, and the whole milliseconds since.
    #[must_use]
    pub fn read(&self, now: BootTime) -> ClusterTime {
        let elapsed = u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX);
        ClusterTime { millis: self.base.millis.saturating_add(elapsed) }
    }
}

/// The latest stamp that a node knows from the leader of some term, itself included. Lost in a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HeardStamp {
    term: Term,
    stamp: ClusterTime,
}

impl HeardStamp {
    /// Remembers a stamp of the leader of `term`. One of an older term is ignored; one of a newer term replaces
    /// what was heard before, even if it is smaller.
    pub fn hear(&mut self, term: Term, stamp: ClusterTime) {
        if term > self.term {
            *self = Self { term, stamp };
        } else if term == self.term {
            self.stamp = self.stamp.max(stamp);
        }
    }

    /// Where a new leader continues, whose log ends with an entry (or a snapshot) of `last_term` and
    /// `last_stamp`.
    #[must_use]
    pub fn continue_from(&self, last_term: Term, last_stamp: ClusterTime) -> ClusterTime {
        if self.term == last_term { last_stamp.max(self.stamp) } else { last_stamp }
    }
}

/// Panics if `entry` would turn cluster time back.
pub(crate) fn assert_stamp_grows(before: ClusterTime, entry: &Entry) {
    assert!(
        entry.stamp >= before,
        "stamp of entry {} went back from {before} to {}",
        entry.index,
        entry.stamp
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(millis: u64) -> ClusterTime {
        ClusterTime { millis }
    }

    #[test]
    fn clock_counts_whole_milliseconds_from_its_base() {
        let clock = ClusterClock::start(stamp(100), BootTime { micros: 5_000_000 });
        assert_eq!(clock.read(BootTime { micros: 5_000_999 }), stamp(100));
        assert_eq!(clock.read(BootTime { micros: 5_001_000 }), stamp(101));
    }

    /// A new leader of term 3 had heard 900 from the leader of term 1. The leader of term 2 had not, continued
    /// from 500, and logged an entry at 510. To continue from 900 would skip 390 ms that never passed.
    #[test]
    fn stamp_of_a_deposed_leader_does_not_make_time_jump() {
        let mut heard = HeardStamp::default();
        heard.hear(Term(1), stamp(900));
        assert_eq!(heard.continue_from(Term(2), stamp(510)), stamp(510));
        assert_eq!(heard.continue_from(Term(1), stamp(510)), stamp(900));
    }

    /// A node has the last entry of term 2, at 510, which the leader of term 3 never saw: that one continued from
    /// the 900 of term 1, and the node heard it. Should the node lead term 4, its entry counts from 510.
    #[test]
    fn stamp_of_a_leader_without_our_last_entry_does_not_make_time_jump() {
        let mut heard = HeardStamp::default();
        heard.hear(Term(3), stamp(900));
        assert_eq!(heard.continue_from(Term(2), stamp(510)), stamp(510));
    }

    #[test]
    fn newer_term_replaces_a_greater_stamp() {
        let mut heard = HeardStamp::default();
        heard.hear(Term(1), stamp(900));
        heard.hear(Term(2), stamp(510));
        heard.hear(Term(1), stamp(950));
        assert_eq!(heard.continue_from(Term(2), stamp(0)), stamp(510));
    }
}
