//! Semaphores, as those see it who have permits: each believes in his as the holder of a lock believes in it, and at no time
//! are there more in all than there are. Who waits gets them in the order of arrival.

use std::collections::{BTreeMap, BTreeSet};

use super::{Failure, check, turns::Turns};
use crate::time::SimTime;

const BOUNDED: &str = "no more permits than there are";
const IN_ORDER: &str = "permits are given in the order of arrival";

/// Who believed to have permits, and when.
#[derive(Debug, Default)]
pub(crate) struct Permits {
    /// How many from when until when, by semaphore.
    held: BTreeMap<String, Vec<(SimTime, SimTime, u64)>>,
    pub(crate) turns: Turns,
}

impl Permits {
    /// Somebody believed to have so many permits for this long.
    pub(crate) fn add(&mut self, semaphore: &str, count: u64, from: SimTime, until: SimTime) {
        if from < until {
            self.held.entry(semaphore.to_owned()).or_default().push((from, until, count));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.held.values().map(Vec::len).sum::<usize>() + self.turns.len()
    }

    pub(crate) fn verify(&self, limit: u64) -> Result<(), Failure> {
        for (semaphore, held) in &self.held {
            // What ends at an instant ends before what begins at it.
            let ends = held.iter().map(|(_, until, count)| (*until, false, *count));
            let mut changes: Vec<_> =
                held.iter().map(|(from, _, count)| (*from, true, *count)).chain(ends).collect();
            changes.sort_unstable();
            let mut present = 0;
            for (at, begins, count) in changes {
                present = if begins { present + count } else { present - count };
                check(present <= limit, BOUNDED, || {
                    format!("{semaphore}: {present} of {limit} are had at {at}")
                })?;
            }
        }
        self.turns.verify(IN_ORDER, &BTreeSet::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_permits_are_noticed() {
        let at = |micros| SimTime { micros };
        let mut permits = Permits::default();
        permits.add("s", 2, at(1), at(5));
        permits.add("s", 1, at(2), at(4));
        permits.add("s", 2, at(5), at(6));
        permits.add("other", 3, at(1), at(9));
        assert_eq!(permits.verify(3), Ok(()));
        permits.add("s", 1, at(3), at(4));
        assert_eq!(permits.verify(3).unwrap_err().property, BOUNDED);
    }
}
