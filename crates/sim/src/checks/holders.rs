//! Mutual exclusion, as the holders of a lock see it.
//!
//! A client believes that it holds a lock from the answer that granted it until it asks to release it, or until
//! its time-to-live has passed since it last asked to acquire or extend it, by its own clock and less the drift.
//! No two clients may believe so at one time.

use std::collections::BTreeMap;

use super::{Failure, Span, check};
use crate::time::SimTime;

const PROPERTY: &str = "one holder at a time";

/// Who believed to hold which lock, and when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holders {
    by_lock: BTreeMap<String, Vec<Holding>>,
    /// Who believes in a lock at present, and until when if nothing else happens.
    present: BTreeMap<String, (String, SimTime)>,
}

#[derive(Clone, Debug)]
struct Holding {
    span: Span,
    holder: String,
}

impl Holders {
    /// `holder` begins to believe in `lock`, or learns that it may for longer. Nobody else may do so meanwhile.
    pub(crate) fn believes(
        &mut self,
        lock: &str,
        holder: &str,
        from: SimTime,
        until: SimTime,
    ) -> Result<(), Failure> {
        // The answer may come when its time is over.
        if from >= until {
            return Ok(());
        }
        if let Some((other, others_until)) = self.present.get(lock) {
            check(other == holder || *others_until <= from, PROPERTY, || {
                format!("{lock}: {other} holds it until {others_until}, and {holder} from {from} on")
            })?;
        }
        self.present.insert(lock.to_owned(), (holder.to_owned(), until));
        Ok(())
    }

    /// `holder` believed to hold `lock` for this long, and does no more.
    pub(crate) fn add(&mut self, lock: &str, holder: &str, from: SimTime, until: SimTime) {
        self.present.retain(|present, (by, _)| present != lock || by != holder);
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
                check(first.span.completed <= second.span.invoked, PROPERTY, || {
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
    fn second_holder_is_noticed_when_it_begins() {
        let at = |micros| SimTime { micros };
        let mut holders = Holders::default();
        assert_eq!(holders.believes("lock", "a", at(1), at(5)), Ok(()));
        assert_eq!(holders.believes("lock", "a", at(3), at(8)), Ok(()), "it extends its own");
        assert_eq!(holders.believes("other", "b", at(3), at(8)), Ok(()));
        assert!(holders.believes("lock", "b", at(7), at(9)).is_err());
        assert_eq!(holders.believes("lock", "b", at(7), at(2)), Ok(()), "it learns too late that it held it");
        holders.add("lock", "a", at(1), at(6));
        assert_eq!(holders.believes("lock", "b", at(7), at(9)), Ok(()));
        assert_eq!(holders.believes("lock", "c", at(9), at(10)), Ok(()));
    }

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
