//! Locks that are taken from their holders by force.
//!
//! Whoever does that means one holder, by his token: of him alone it is unknown whether he has it still, from when that is asked on.
//! Once it is known that he was forced out, his token is good for nothing, and the lock has a record of it.

use std::collections::BTreeMap;

use super::{Failure, Span, check};
use crate::time::SimTime;

const HOLDS_NOTHING: &str = "who was forced out holds nothing";
const RECORDED: &str = "a forced release leaves a record";

/// All that was asked to be taken by force, and all that was.
#[derive(Debug, Default)]
pub(crate) struct Forced {
    /// By lock and token: when that was asked, if it may have taken effect.
    asked: BTreeMap<(String, u64), Vec<SimTime>>,
    /// By lock and token: when it was known that it had taken effect.
    taken: BTreeMap<String, BTreeMap<u64, SimTime>>,
}

impl Forced {
    /// Somebody asks to take a lock from who has this token.
    pub(crate) fn asks(&mut self, lock: &str, token: u64, at: SimTime) {
        self.asked.entry((lock.to_owned(), token)).or_default().push(at);
    }

    /// What was asked then has not taken effect, and never will.
    pub(crate) fn spared(&mut self, lock: &str, token: u64, asked: SimTime) {
        let all = self.asked.get_mut(&(lock.to_owned(), token)).expect("it was asked");
        let one = all.iter().position(|at| *at == asked).expect("it was asked then");
        all.swap_remove(one);
    }

    /// It has taken effect.
    pub(crate) fn took(&mut self, lock: &str, token: u64, span: Span) -> Result<(), Failure> {
        let taken = self.taken.entry(lock.to_owned()).or_default();
        let before = taken.insert(token, span.completed);
        check(before.is_none(), HOLDS_NOTHING, || {
            format!("{token} of {lock} is taken by force a second time")
        })
    }

    /// Until when whoever could rely on a token until then can do so.
    pub(crate) fn relied_until(&self, lock: &str, token: u64, until: SimTime) -> SimTime {
        let asked = self.asked.get(&(lock.to_owned(), token)).into_iter().flatten();
        asked.copied().fold(until, SimTime::min)
    }

    /// Somebody was told that this token is the current one.
    pub(crate) fn may_be_held(&self, lock: &str, token: u64, span: Span) -> Result<(), Failure> {
        let taken = self.taken.get(lock).and_then(|taken| taken.get(&token));
        check(taken.is_none_or(|taken| *taken > span.invoked), HOLDS_NOTHING, || {
            let invoked = span.invoked;
            format!(
                "{token} of {lock} was taken by force by {taken:?}, and is there for who asked at {invoked}"
            )
        })
    }

    /// Somebody was told which token of a lock was taken by force last, if any was.
    pub(crate) fn recorded(&self, lock: &str, token: Option<u64>, span: Span) -> Result<(), Failure> {
        let known = self.taken.get(lock).into_iter().flatten().filter(|(_, taken)| **taken <= span.invoked);
        let last = known.map(|(token, _)| *token).max();
        check(last <= token, RECORDED, || {
            format!(
                "{last:?} of {lock} was taken by force, and the last of which there is a record is {token:?}"
            )
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.taken.values().map(BTreeMap::len).sum()
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

    #[test]
    fn holder_who_may_be_forced_out_cannot_rely_on_his_lock() {
        let mut forced = Forced::default();
        forced.asks("lock", 7, at(5));
        forced.asks("lock", 7, at(8));
        assert_eq!(forced.relied_until("lock", 7, at(9)), at(5));
        assert_eq!(forced.relied_until("lock", 7, at(4)), at(4));
        assert_eq!(forced.relied_until("lock", 8, at(9)), at(9), "another is meant");
        forced.spared("lock", 7, at(5));
        assert_eq!(forced.relied_until("lock", 7, at(9)), at(8));
    }

    #[test]
    fn who_was_forced_out_and_holds_it_still_is_noticed() {
        let mut forced = Forced::default();
        assert_eq!(forced.took("lock", 7, span(5, 8)), Ok(()));
        assert_eq!(forced.may_be_held("lock", 7, span(7, 10)), Ok(()), "that may have been before");
        assert_eq!(forced.may_be_held("lock", 8, span(9, 10)), Ok(()));
        assert_eq!(forced.may_be_held("lock", 7, span(8, 10)).unwrap_err().property, HOLDS_NOTHING);
        assert_eq!(forced.took("lock", 7, span(9, 10)).unwrap_err().property, HOLDS_NOTHING);
    }

    #[test]
    fn missing_record_is_noticed() {
        let mut forced = Forced::default();
        forced.took("lock", 7, span(5, 8)).unwrap();
        assert_eq!(forced.recorded("lock", None, span(7, 9)), Ok(()), "it may have come later");
        assert_eq!(forced.recorded("lock", None, span(8, 9)).unwrap_err().property, RECORDED);
        assert_eq!(forced.recorded("lock", Some(6), span(8, 9)).unwrap_err().property, RECORDED);
        assert_eq!(forced.recorded("lock", Some(9), span(8, 9)), Ok(()), "another one was forced out since");
    }
}
