//! Histories in which each write says which place it took: appends to a string (its length afterwards), counters
//! (their value), fencing tokens.
//!
//! Since the places are the order of the effects, linearizability is a matter of one pass: no operation may have
//! begun after one of a later place had ended. A read takes the place right behind the last write that it saw.

use std::collections::{BTreeMap, BTreeSet};

use super::{Failure, Span, check};
use crate::time::SimTime;

/// The history of one thing that only grows.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    name: String,
    /// Acknowledged writes by their place, from 1 on.
    writes: BTreeMap<u64, Span>,
    /// Reads by the last place that they saw; 0 is none.
    reads: Vec<(u64, Span)>,
    /// Places that reads of the past have seen, each with when that was first.
    stale_reads: BTreeMap<u64, SimTime>,
    /// Places that several have taken together.
    shared: BTreeSet<u64>,
    /// Writes of which nobody knows whether they took effect.
    unknown: u64,
}

impl Sequence {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            writes: BTreeMap::new(),
            reads: Vec::new(),
            stale_reads: BTreeMap::new(),
            shared: BTreeSet::new(),
            unknown: 0,
        }
    }

    /// A write was acknowledged, and took this place.
    pub(crate) fn wrote(&mut self, place: u64, span: Span) -> Result<(), Failure> {
        let before = self.writes.insert(place, span);
        check(before.is_none(), "each write takes effect once", || {
            format!("{}: two acknowledged writes took place {place}", self.name)
        })
    }

    /// A write is known to have taken this place; it may be told more than once.
    pub(crate) fn took(&mut self, place: u64, span: Span) -> Result<(), Failure> {
        let before = self.writes.insert(place, span);
        check(before.is_none_or(|before| before == span), "fencing tokens grow", || {
            format!("{}: two acquisitions have the token {place}", self.name)
        })
    }

    /// A write is known to have taken this place, which others that share it have, too; but none that took it alone.
    pub(crate) fn shared(&mut self, place: u64, span: Span) {
        self.shared.insert(place);
        self.saw(place, span);
    }

    /// A read saw everything up to this place.
    pub(crate) fn saw(&mut self, place: u64, span: Span) {
        self.reads.push((place, span));
    }

    /// A read that may be of the past saw everything up to this place: it was reached when the read ended.
    pub(crate) fn saw_by(&mut self, place: u64, span: Span) {
        let first = self.stale_reads.entry(place).or_insert(span.completed);
        *first = span.completed.min(*first);
    }

    /// What is known of each place: by who wrote there, and by who read it.
    pub(crate) fn known(&self) -> impl Iterator<Item = (u64, Span)> {
        self.writes.iter().map(|(&place, &span)| (place, span)).chain(self.reads.iter().copied())
    }

    /// A write may or may not have taken effect.
    pub(crate) fn lost_sight(&mut self) {
        self.unknown += 1;
    }

    /// How many operations are known to have an outcome.
    pub(crate) fn len(&self) -> usize {
        self.writes.len() + self.reads.len()
    }

    /// Judges the number of writes by the last place taken.
    pub(crate) fn verify_count(&self, last: u64) -> Result<(), Failure> {
        let acknowledged = self.writes.len() as u64;
        let greatest = self.writes.last_key_value().map_or(0, |(place, _)| *place);
        for (&place, &seen) in &self.stale_reads {
            let was_asked = self.writes.get(&place).is_none_or(|write| write.invoked <= seen);
            check(place <= last && was_asked, "nobody sees what never was", || {
                format!("{}: place {place} was seen at {seen}, the last is {last}", self.name)
            })?;
        }
        check(greatest <= last, "nothing acknowledged is lost", || {
            format!("{}: place {greatest} was acknowledged, the last is {last}", self.name)
        })?;
        check(last <= acknowledged + self.unknown, "each write takes effect at most once", || {
            let unknown = self.unknown;
            format!(
                "{}: {last} places for {acknowledged} acknowledged and {unknown} unknown writes",
                self.name
            )
        })
    }

    /// Judges the order.
    pub(crate) fn verify_order(&self) -> Result<(), Failure> {
        let twice = self.shared.iter().find(|place| self.writes.contains_key(place));
        check(twice.is_none(), "fencing tokens grow", || {
            format!("{}: one had the token {twice:?} alone, and others share it", self.name)
        })?;
        // At one place the write comes first, and the reads that saw it have no order among themselves.
        let mut groups: BTreeMap<(u64, bool), Vec<Span>> = BTreeMap::new();
        for (&place, &span) in &self.writes {
            groups.entry((place, false)).or_default().push(span);
        }
        for &(place, span) in &self.reads {
            groups.entry((place, true)).or_default().push(span);
        }
        let mut earliest_end = SimTime { micros: u64::MAX };
        let mut earliest_place = 0;
        for ((place, is_read), spans) in groups.iter().rev() {
            for span in spans {
                check(span.invoked <= earliest_end, "linearizable", || {
                    let what = if *is_read { "a read that saw" } else { "the write of" };
                    format!(
                        "{}: {what} place {place} began at {}, but place {earliest_place} was seen or taken by {}",
                        self.name, span.invoked, earliest_end
                    )
                })?;
            }
            if let Some(end) = spans.iter().map(|span| span.completed).min()
                && end < earliest_end
            {
                earliest_end = end;
                earliest_place = *place;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(invoked: u64, completed: u64) -> Span {
        Span { invoked: SimTime { micros: invoked }, completed: SimTime { micros: completed } }
    }

    #[test]
    fn concurrent_writes_may_take_either_order() {
        let mut sequence = Sequence::new("s");
        sequence.wrote(2, span(1, 5)).expect("a new place");
        sequence.wrote(1, span(2, 6)).expect("a new place");
        sequence.saw(2, span(3, 4));
        assert_eq!(sequence.verify_order(), Ok(()));
        assert_eq!(sequence.verify_count(2), Ok(()));
    }

    #[test]
    fn stale_read_is_noticed() {
        let mut sequence = Sequence::new("s");
        sequence.wrote(1, span(1, 2)).expect("a new place");
        sequence.saw(0, span(3, 4));
        assert!(sequence.verify_order().is_err());
    }

    #[test]
    fn reads_that_run_backwards_are_noticed() {
        let mut sequence = Sequence::new("s");
        sequence.lost_sight();
        sequence.saw(1, span(1, 2));
        sequence.saw(0, span(3, 4));
        assert!(sequence.verify_order().is_err());
    }

    #[test]
    fn place_that_is_shared_and_taken_alone_is_noticed() {
        let mut sequence = Sequence::new("s");
        sequence.shared(1, span(1, 2));
        sequence.shared(1, span(3, 4));
        sequence.took(2, span(5, 6)).expect("a new place");
        assert_eq!(sequence.verify_order(), Ok(()));
        sequence.shared(2, span(5, 7));
        assert_eq!(sequence.verify_order().unwrap_err().property, "fencing tokens grow");
        let mut sequence = Sequence::new("s");
        sequence.took(2, span(1, 2)).expect("a new place");
        sequence.shared(1, span(3, 4));
        assert!(sequence.verify_order().is_err(), "who shares it comes later, and has the lesser token");
    }

    #[test]
    fn lost_and_doubled_writes_are_noticed() {
        let mut sequence = Sequence::new("s");
        sequence.wrote(1, span(1, 2)).expect("a new place");
        assert!(sequence.verify_count(0).is_err());
        assert!(sequence.verify_count(2).is_err());
        assert!(sequence.wrote(1, span(3, 4)).is_err());
    }
}
