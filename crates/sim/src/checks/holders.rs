//! Mutual exclusion, as the holders of a lock see it.
//!
//! A client believes that it holds a lock from the answer that granted it until it asks to release it, or until
//! its time-to-live has passed since it last asked to acquire or extend it, by its own clock and less the drift.
//! No two clients may believe so at one time.

use std::collections::BTreeMap;

use super::{Failure, Span, check};
use crate::time::SimTime;

/// Who believed to hold which lock, and when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holders {
    by_lock: BTreeMap<String, Vec<Holding>>,
}

#[derive(Clone, Debug)]
struct Holding {
    span: Span,
    holder: String,
}

impl Holders {
    /// `holder` believed to hold `lock` for this long.
    pub(crate) fn add(&mut self, lock: &str, holder: &str, from: SimTime, until: SimTime) {
        if from < until {
            let span = Span { invoked: from, completed: until };
            self.by_lock
                .entry(lock.to_owned())
                .or_default()
                .push(Holding { span, holder: holder.to_owned() });
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_lock.values().map(Vec::len).sum()
    }

    pub(crate) fn verify(&self) -> Result<(), Failure> {
        for (lock, holdings) in &self.by_lock {
            let mut holdings = holdings.clone();
            holdings.sort_by_key(|holding| holding.span.invoked);
            for pair in holdings.windows(2) {
                let [first, second] = pair else { unreachable!("windows of two") };
                check(first.span.completed <= second.span.invoked, "one holder at a time", || {
                    format!(
                        "{lock}: {} held it from {} until {}, and {} from {} on",
                        first.holder,
                        first.span.invoked,
                        first.span.completed,
                        second.holder,
                        second.span.invoked
                    )
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_holders_are_noticed() {
        let at = |micros| SimTime { micros };
        let mut holders = Holders::default();
        holders.add("lock", "a", at(1), at(5));
        holders.add("lock", "b", at(5), at(6));
        assert_eq!(holders.verify(), Ok(()));
        holders.add("lock", "c", at(4), at(5));
        assert!(holders.verify().is_err());
    }
}
