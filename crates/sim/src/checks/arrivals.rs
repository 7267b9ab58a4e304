//! Fairness of locks, as those see it who ask for them: who asks when somebody is known to wait is not served before him, be
//! he a reader who could join those who have the lock.
//!
//! How many wait for a lock is told, and not who. But if they are as many as can be waiting at all, each of those is.

use std::collections::BTreeMap;

use super::{Failure, Span, check, least_behind};
use crate::time::SimTime;

const IN_ORDER: &str = "locks are given in the order of arrival";

/// Who has asked for which lock.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    by_lock: BTreeMap<String, Lock>,
}

#[derive(Debug, Default)]
struct Lock {
    asked: BTreeMap<String, Asked>,
    /// Who is known to have waited at an instant, or a little before.
    waited: Vec<(SimTime, Vec<String>)>,
}

#[derive(Debug)]
struct Asked {
    at: SimTime,
    waits: bool,
    /// Whether it was asked more than once: in between it may have lost its place.
    is_repeated: bool,
    answered: Option<SimTime>,
    token: Option<u64>,
}

impl Arrivals {
    /// Somebody asks for a lock, under a name of his own, for the first time or again.
    pub(crate) fn asks(&mut self, lock: &str, name: &str, at: SimTime, waits: bool) {
        let first = Asked { at, waits, is_repeated: false, answered: None, token: None };
        let asked = &mut self.by_lock.entry(lock.to_owned()).or_default().asked;
        asked.entry(name.to_owned()).and_modify(|asked| asked.is_repeated = true).or_insert(first);
    }

    /// He will not ask again: he was given the lock under this token, or was not.
    pub(crate) fn answered(&mut self, lock: &str, name: &str, at: SimTime, token: Option<u64>) {
        let asked = self.by_lock.get_mut(lock).and_then(|lock| lock.asked.get_mut(name));
        let asked = asked.expect("he has asked");
        (asked.answered, asked.token) = (Some(at), token);
    }

    /// Somebody was told that so many wait.
    pub(crate) fn wait(&mut self, lock: &str, count: usize, span: Span) {
        let Some(lock) = self.by_lock.get_mut(lock) else { return };
        let may_wait = |asked: &Asked| {
            asked.waits
                && asked.at <= span.completed
                && asked.answered.is_none_or(|answered| answered >= span.invoked)
        };
        let waiting = lock.asked.iter().filter(|(_, asked)| may_wait(asked)).map(|(name, _)| name.clone());
        let waiting: Vec<String> = waiting.collect();
        if count > 0 && waiting.len() == count {
            lock.waited.push((span.completed, waiting));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_lock.values().map(|lock| lock.waited.len()).sum()
    }

    pub(crate) fn verify(&self) -> Result<(), Failure> {
        self.by_lock.iter().try_for_each(|(name, lock)| lock.verify(name))
    }
}

impl Lock {
    fn verify(&self, lock: &str) -> Result<(), Failure> {
        let given = self.asked.iter().filter_map(|(name, asked)| Some((asked.at, (asked.token?, name))));
        let least_behind = least_behind(given);
        for (at, waiting) in &self.waited {
            let Some((least, later)) = least_behind(*at) else { continue };
            for name in waiting {
                let Asked { is_repeated, token, .. } = self.asked[name];
                let is_passed = token.is_some_and(|token| token > least) && !is_repeated;
                check(!is_passed, IN_ORDER, || {
                    format!(
                        "{lock}: {name} waited at {at} and is given {token:?}, and {later} asked later and is given {least}"
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

    fn at(micros: u64) -> SimTime {
        SimTime { micros }
    }

    fn span(invoked: u64, completed: u64) -> Span {
        Span { invoked: at(invoked), completed: at(completed) }
    }

    /// The judgement where two wait, and a third asks at this instant and shares the lock with its readers.
    fn judged(asks_at: u64, waiting: usize, is_repeated: bool) -> Result<(), Failure> {
        let mut arrivals = Arrivals::default();
        arrivals.asks("lock", "reader", at(1), false);
        arrivals.answered("lock", "reader", at(2), Some(7));
        arrivals.asks("lock", "writer", at(3), true);
        arrivals.asks("lock", "other", at(4), true);
        arrivals.wait("lock", waiting, span(8, 10));
        arrivals.asks("lock", "later", at(asks_at), true);
        arrivals.answered("lock", "later", at(12), Some(7));
        if is_repeated {
            arrivals.asks("lock", "writer", at(13), true);
        }
        arrivals.answered("lock", "writer", at(20), Some(9));
        arrivals.verify()
    }

    #[test]
    fn who_passes_those_who_wait_is_noticed() {
        assert_eq!(judged(11, 2, false).unwrap_err().property, IN_ORDER);
        assert_eq!(judged(11, 1, false), Ok(()), "nobody knows who of two waits");
        assert_eq!(judged(10, 2, false), Ok(()), "it may have been before");
        assert_eq!(judged(11, 2, true), Ok(()), "it may have lost its place");
    }
}
