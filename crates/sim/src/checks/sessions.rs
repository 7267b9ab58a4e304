//! Sessions of clients, as those see them who use them.
//!
//! A session lasts its time-to-live from each heartbeat on that was answered, counted from when that was sent, or until somebody
//! asks to close it; and what it holds lasts as long. Once somebody was told that it has ended, it has nothing any more: it is
//! given nothing, it is seen to hold nothing, and no heartbeat finds it open (hazard 28).
//!
//! Sessions are numbered by the counter that gives out the tokens. So a token that a session was given tells whether that was
//! behind its end, however late the answer comes: it is greater than a number that was asked for when the end was known.

use std::collections::BTreeMap;

use super::{Failure, Span, check, least_behind};
use crate::time::SimTime;

const NEVER_EARLY: &str = "nothing expires early";
const GONE: &str = "a session that has ended has nothing";

/// All sessions of one run that a client knows of.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_id: BTreeMap<u64, Session>,
    /// What the counter has given out, and when that was asked for.
    numbers: Vec<(SimTime, u64)>,
    /// Which session was given which token.
    given: Vec<(u64, u64)>,
}

#[derive(Debug)]
struct Session {
    /// It is open until then, unless it is closed.
    valid_until: SimTime,
    /// Since when it may be closed.
    closing: Option<SimTime>,
    /// Since when it is known to have ended.
    ended: Option<SimTime>,
}

impl Sessions {
    pub(crate) fn opened(&mut self, id: u64, span: Span, valid_until: SimTime) -> Result<(), Failure> {
        let before = self.by_id.insert(id, Session { valid_until, closing: None, ended: None });
        check(before.is_none(), "fencing tokens grow", || format!("two sessions have the number {id}"))?;
        self.numbered(id, span);
        Ok(())
    }

    /// The counter has given this out.
    pub(crate) fn numbered(&mut self, number: u64, span: Span) {
        self.numbers.push((span.invoked, number));
    }

    /// A heartbeat was answered.
    pub(crate) fn kept_alive(&mut self, id: u64, span: Span, valid_until: SimTime) -> Result<(), Failure> {
        self.may_be_open(id, span)?;
        let session = self.by_id.get_mut(&id).expect("it was opened");
        session.valid_until = session.valid_until.max(valid_until);
        Ok(())
    }

    /// Until when a session, and what it holds, can be relied on.
    pub(crate) fn valid_until(&self, id: u64) -> SimTime {
        let Session { valid_until, closing, .. } = self.by_id[&id];
        closing.map_or(valid_until, |closing| closing.min(valid_until))
    }

    /// Somebody asks to close it.
    pub(crate) fn closes(&mut self, id: u64, at: SimTime) {
        self.by_id.get_mut(&id).expect("it was opened").closing.get_or_insert(at);
    }

    /// Somebody was told that it has ended.
    pub(crate) fn ended(&mut self, id: u64, span: Span) -> Result<(), Failure> {
        let valid_until = self.valid_until(id);
        check(span.completed >= valid_until, NEVER_EARLY, || {
            format!("session {id} is gone at {}, valid until {valid_until}", span.completed)
        })?;
        let ended = &mut self.by_id.get_mut(&id).expect("it was opened").ended;
        *ended = Some(ended.map_or(span.completed, |before| before.min(span.completed)));
        Ok(())
    }

    /// Somebody was told that it is open, or holds something. Of some that are, nobody was told the number.
    pub(crate) fn may_be_open(&self, id: u64, span: Span) -> Result<(), Failure> {
        let Some(ended) = self.by_id.get(&id).and_then(|session| session.ended) else { return Ok(()) };
        check(ended > span.invoked, GONE, || {
            format!("session {id} has ended by {ended}, and is there for who has asked at {}", span.invoked)
        })
    }

    /// Something was asked for on its behalf, and given under this token.
    pub(crate) fn given(&mut self, id: u64, token: u64, span: Span) -> Result<(), Failure> {
        self.given.push((id, token));
        self.may_be_open(id, span)
    }

    /// Those that can be relied on at this instant.
    pub(crate) fn open(&self, at: SimTime) -> Vec<u64> {
        self.by_id.keys().copied().filter(|id| self.valid_until(*id) > at).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len() + self.given.len()
    }

    pub(crate) fn verify(&self) -> Result<(), Failure> {
        let least_behind = least_behind(self.numbers.iter().copied());
        for (id, token) in &self.given {
            let Some(ended) = self.by_id[id].ended else { continue };
            let Some(later) = least_behind(ended) else { continue };
            check(*token < later, GONE, || {
                format!("session {id} has ended by {ended}, and is given {token} behind {later}")
            })?;
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

    fn with_one_session() -> Sessions {
        let mut sessions = Sessions::default();
        sessions.opened(10, span(1, 2), at(50)).unwrap();
        sessions
    }

    #[test]
    fn session_that_ends_early_is_noticed() {
        let mut sessions = with_one_session();
        sessions.kept_alive(10, span(20, 21), at(70)).unwrap();
        assert_eq!(sessions.ended(10, span(55, 60)).unwrap_err().property, NEVER_EARLY);
        assert_eq!(sessions.ended(10, span(65, 70)), Ok(()));
        let mut sessions = with_one_session();
        sessions.closes(10, at(30));
        assert_eq!((sessions.valid_until(10), sessions.open(at(30))), (at(30), Vec::new()));
        assert_eq!(sessions.ended(10, span(31, 32)), Ok(()), "it may be closed");
    }

    #[test]
    fn session_that_is_there_behind_its_end_is_noticed() {
        let mut sessions = with_one_session();
        sessions.closes(10, at(30));
        sessions.ended(10, span(30, 35)).unwrap();
        assert_eq!(sessions.may_be_open(10, span(34, 60)), Ok(()), "it may have been answered late");
        assert_eq!(sessions.may_be_open(10, span(35, 36)).unwrap_err().property, GONE);
        assert_eq!(sessions.may_be_open(11, span(35, 36)), Ok(()), "nobody knows this one");
        assert_eq!(sessions.kept_alive(10, span(36, 37), at(90)).unwrap_err().property, GONE);
    }

    #[test]
    fn token_given_behind_the_end_is_noticed_however_early_it_was_asked_for() {
        let mut sessions = with_one_session();
        sessions.given(10, 12, span(20, 60)).unwrap();
        sessions.closes(10, at(30));
        sessions.ended(10, span(30, 35)).unwrap();
        sessions.opened(11, span(34, 40), at(90)).unwrap();
        assert_eq!(sessions.verify(), Ok(()), "that may have been before");
        sessions.opened(14, span(36, 41), at(90)).unwrap();
        sessions.numbered(13, span(50, 51));
        assert_eq!(sessions.verify(), Ok(()), "12 was given before 13");
        sessions.given(10, 15, span(20, 60)).unwrap();
        assert_eq!(sessions.verify().unwrap_err().property, GONE);
    }
}
