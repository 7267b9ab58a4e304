//! Mutual exclusion, as the holders of a lock see it.
//!
//! A client believes that it holds a lock from the answer that granted it until it asks to release it, or until
//! its time-to-live has passed since it last asked to acquire or extend it, by its own clock and less the drift.
//! No two clients may believe so at one time, but for readers, who share a lock and its token.

use std::collections::BTreeMap;

use super::{Failure, Span, check, forced::Forced};
use crate::time::SimTime;

const PROPERTY: &str = "one holder at a time";
const DELAYED: &str = "nobody is given a lock within its delay";
const ONE_TOKEN: &str = "readers of a lock share its token";

/// Who believed to hold which lock, and when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holders {
    by_lock: BTreeMap<String, Vec<Holding>>,
    /// Who believes in a lock at present, each until then if nothing else happens.
    present: BTreeMap<String, Vec<Holding>>,
}

#[derive(Clone, Debug)]
struct Holding {
    span: Span,
    holder: String,
    way: Way,
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Alone,
    /// Beside other readers, who have the same token.
    Shared {
        token: u64,
    },
    /// By nobody: the time of its holder, who had this token, is over, and its delay lasts. Nobody else is given it meanwhile.
    Delayed {
        token: u64,
    },
}

impl Holding {
    /// Judges that another one begins while this one lasts.
    fn bears(&self, lock: &str, other: &Self) -> Result<(), Failure> {
        let text = || {
            let (until, from) = (self.span.completed, other.span.invoked);
            let ((one, way), (next, its_way)) = ((&self.holder, self.way), (&other.holder, other.way));
            format!("{lock}: {one} holds it ({way:?}) until {until}, and {next} from {from} on ({its_way:?})")
        };
        let tokens = match (self.way, other.way) {
            (Way::Shared { token }, Way::Shared { token: others }) => Some((token, others)),
            (Way::Alone | Way::Delayed { .. }, _) | (_, Way::Alone | Way::Delayed { .. }) => None,
        };
        let property = if matches!(self.way, Way::Delayed { .. }) { DELAYED } else { PROPERTY };
        check(tokens.is_some(), property, text)?;
        check(tokens.is_some_and(|(token, others)| token == others), ONE_TOKEN, text)
    }
}

impl Holders {
    /// `holder` begins to believe in `lock`, or learns that it may for longer. Nobody else may do so meanwhile, unless both
    /// share it.
    pub(crate) fn believes(
        &mut self,
        lock: &str,
        (holder, way): (&str, Way),
        from: SimTime,
        until: SimTime,
    ) -> Result<(), Failure> {
        // The answer may come when its time is over.
        if from >= until {
            return Ok(());
        }
        let holding =
            Holding { span: Span { invoked: from, completed: until }, holder: holder.to_owned(), way };
        let present = self.present.entry(lock.to_owned()).or_default();
        present.retain(|other| other.holder != holder && other.span.completed > from);
        present.iter().try_for_each(|other| other.bears(lock, &holding))?;
        present.push(holding);
        Ok(())
    }

    /// `holder` believed to hold `lock` for this long, and does no more.
    pub(crate) fn add(&mut self, lock: &str, (holder, way): (&str, Way), from: SimTime, until: SimTime) {
        if let Some(present) = self.present.get_mut(lock) {
            present.retain(|other| other.holder != holder);
        }
        if from < until {
            let span = Span { invoked: from, completed: until };
            self.by_lock.entry(lock.to_owned()).or_default().push(Holding {
                span,
                holder: holder.to_owned(),
                way,
            });
        }
    }

    /// `holder` may lose all that it holds from now on, whether it knows it or not.
    pub(crate) fn dismiss(&mut self, holder: &str) {
        self.present.values_mut().for_each(|present| present.retain(|other| other.holder != holder));
    }

    /// Whoever has `lock` may lose it from now on, and those who do not may be given it.
    pub(crate) fn unsettle(&mut self, lock: &str) {
        self.present.remove(lock);
    }

    pub(crate) fn len(&self) -> usize {
        self.by_lock.values().map(Vec::len).sum()
    }

    /// Judges all that was held. A delay ends early when the lock is taken by force.
    pub(crate) fn verify(&self, forced: &Forced) -> Result<(), Failure> {
        for (lock, holdings) in &self.by_lock {
            let until = |holding: &Holding| match holding.way {
                Way::Delayed { token } => forced.relied_until(lock, token, holding.span.completed),
                Way::Alone | Way::Shared { .. } => holding.span.completed,
            };
            let as_it_was = |holding: &Holding| {
                let span = Span { completed: until(holding), ..holding.span };
                Holding { span, ..holding.clone() }
            };
            let holdings: Vec<Holding> = holdings.iter().map(as_it_was).collect();
            let lasting = |holding: &&Holding| holding.span.invoked < holding.span.completed;
            let mut holdings: Vec<&Holding> = holdings.iter().filter(lasting).collect();
            holdings.sort_by_key(|holding| holding.span.invoked);
            let mut present: Vec<&Holding> = Vec::new();
            for next in holdings {
                present.retain(|holding| holding.span.completed > next.span.invoked);
                present.iter().try_for_each(|holding| holding.bears(lock, next))?;
                present.push(next);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> SimTime {
        SimTime { micros }
    }

    fn alone(holder: &str) -> (&str, Way) {
        (holder, Way::Alone)
    }

    fn reader(holder: &str, token: u64) -> (&str, Way) {
        (holder, Way::Shared { token })
    }

    #[test]
    fn second_holder_is_noticed_when_it_begins() {
        let mut holders = Holders::default();
        assert_eq!(holders.believes("lock", alone("a"), at(1), at(5)), Ok(()));
        assert_eq!(holders.believes("lock", alone("a"), at(3), at(8)), Ok(()), "it extends its own");
        assert_eq!(holders.believes("other", alone("b"), at(3), at(8)), Ok(()));
        assert!(holders.believes("lock", alone("b"), at(7), at(9)).is_err());
        let learns_late = holders.believes("lock", alone("b"), at(7), at(2));
        assert_eq!(learns_late, Ok(()), "it learns too late that it held it");
        holders.add("lock", alone("a"), at(1), at(6));
        assert_eq!(holders.believes("lock", alone("b"), at(7), at(9)), Ok(()));
        assert_eq!(holders.believes("lock", alone("c"), at(9), at(10)), Ok(()));
    }

    #[test]
    fn readers_are_noticed_beside_a_writer_alone() {
        let mut holders = Holders::default();
        assert_eq!(holders.believes("lock", reader("a", 7), at(1), at(5)), Ok(()));
        assert_eq!(holders.believes("lock", reader("b", 7), at(2), at(9)), Ok(()));
        let other_token = holders.believes("lock", reader("c", 8), at(3), at(9));
        assert_eq!(other_token.unwrap_err().property, ONE_TOKEN);
        let beside_b = holders.believes("lock", alone("d"), at(6), at(9));
        assert_eq!(beside_b.unwrap_err().property, PROPERTY, "one of two has left");
        holders.dismiss("b");
        assert_eq!(holders.believes("lock", alone("d"), at(6), at(9)), Ok(()));
    }

    #[test]
    fn overlapping_holders_are_noticed() {
        let mut holders = Holders::default();
        holders.add("lock", alone("a"), at(1), at(5));
        holders.add("lock", alone("b"), at(5), at(6));
        assert_eq!(holders.verify(&Forced::default()), Ok(()));
        holders.add("lock", alone("c"), at(4), at(5));
        assert!(holders.verify(&Forced::default()).is_err());
    }

    #[test]
    fn who_is_given_a_lock_within_its_delay_is_noticed() {
        let mut holders = Holders::default();
        holders.add("lock", alone("a"), at(1), at(5));
        holders.add("lock", ("delay of a", Way::Delayed { token: 7 }), at(5), at(9));
        holders.add("lock", alone("b"), at(9), at(12));
        let mut forced = Forced::default();
        assert_eq!(holders.verify(&forced), Ok(()));
        holders.add("lock", alone("c"), at(7), at(8));
        assert_eq!(holders.verify(&forced).unwrap_err().property, DELAYED);
        forced.asks("lock", 6, at(4));
        assert_eq!(holders.verify(&forced).unwrap_err().property, DELAYED, "another was meant");
        forced.asks("lock", 7, at(4));
        assert_eq!(holders.verify(&forced), Ok(()));
    }

    /// The one with whom a writer overlaps need not be the last that has begun before him.
    #[test]
    fn writer_within_the_longest_of_several_readers_is_noticed() {
        let mut holders = Holders::default();
        holders.add("lock", reader("a", 7), at(1), at(9));
        holders.add("lock", reader("b", 7), at(2), at(4));
        assert_eq!(holders.verify(&Forced::default()), Ok(()));
        holders.add("lock", alone("c"), at(5), at(6));
        assert_eq!(holders.verify(&Forced::default()).unwrap_err().property, PROPERTY);
    }
}
