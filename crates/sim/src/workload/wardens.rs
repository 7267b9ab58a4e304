//! Wardens: they take locks from whoever has them, be it several who share one, or has lost them while their delay lasts, by
//! `LOCK FORCE-RELEASE`.
//!
//! A warden looks who has a lock, under WATCH, and means him alone: it is a transaction that takes the lock away, which does nothing
//! once the lock has changed. So a request that is lost, and may take effect much later, concerns nobody else.

use quorate_machine::{Reply, Watched};
use quorate_node::{Action, Answer, Request};

use super::{
    Exchange, Outcome, Step, Workload, arguments,
    counters::transaction,
    shared_locks::{self, learn_who_holds},
    unexpected,
};
use crate::{
    checks::{Failure, history::History},
    random::Random,
    time::SimTime,
};

/// For how long a warden rests at most: others are to have their locks for a while.
const REST_MS_MAX: u64 = 1000;

#[derive(Debug)]
pub(crate) struct Wardens {
    client: usize,
    /// Those that others take.
    locks: Vec<String>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It rests next.
    Idle,
    /// It has rested.
    Ready,
    /// It has asked who has a lock.
    Looking(String),
    /// It knows, and may do something about it.
    Seen(Target, Vec<Watched>),
    /// It has asked to take it away, at that time.
    Forcing(Target, SimTime),
}

/// Whom it means.
#[derive(Debug)]
struct Target {
    lock: String,
    token: u64,
}

impl Wardens {
    pub(crate) fn new(client: usize, locks: Vec<String>) -> Self {
        Self { client, locks, state: State::Idle }
    }

    fn look(&mut self, random: &mut Random) -> Step {
        let lock = random.pick(&self.locks).clone();
        let watch = Request { db: 0, action: Action::Watch(arguments(&[&lock])) };
        let info = shared_locks::look(&lock);
        self.state = State::Looking(lock);
        Step::Ask(vec![watch, info])
    }

    fn force(&mut self, now: SimTime, target: Target, watched: Vec<Watched>, history: &mut History) -> Step {
        let by = format!("warden-{}", self.client);
        let request = transaction(watched, &[&["LOCK", "FORCE-RELEASE", &target.lock, "BY", &by]]);
        history.forced.asks(&target.lock, target.token, now);
        history.holders.unsettle(&target.lock);
        self.state = State::Forcing(target, now);
        Step::Ask(vec![request])
    }

    fn looked(&mut self, lock: String, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        let Outcome::Done(answer, span) = exchange.outcome(1) else { return Ok(()) };
        if let Some(token) = learn_who_holds(&lock, None, (answer, span), history)?
            && let Outcome::Done(Answer::Watched(watched), _) = exchange.outcome(0)
        {
            self.state = State::Seen(Target { lock, token }, watched.clone());
        }
        Ok(())
    }
}

impl Target {
    fn forced(&self, asked: SimTime, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        let (answer, span) = match exchange.outcome(0) {
            Outcome::Unknown => return Ok(()),
            Outcome::Refused => {
                history.forced.spared(&self.lock, self.token, asked);
                return Ok(());
            }
            Outcome::Done(answer, span) => (answer, span),
        };
        let replies = match answer {
            Answer::Reply(Reply::NullArray) => &[],
            Answer::Reply(Reply::Array(replies)) => &replies[..],
            _ => return Err(unexpected("EXEC", answer)),
        };
        match replies {
            // It has changed, or its time is over.
            [] | [Reply::Null] => {
                history.forced.spared(&self.lock, self.token, asked);
                Ok(())
            }
            [Reply::Integer(token)] if u64::try_from(*token) == Ok(self.token) => {
                history.tokens(&self.lock).saw(self.token, span);
                history.forced.took(&self.lock, self.token, span)
            }
            _ => Err(unexpected("LOCK FORCE-RELEASE", answer)),
        }
    }
}

impl Workload for Wardens {
    fn plan(&mut self, now: SimTime, random: &mut Random, history: &mut History) -> Step {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Seen(target, watched) if random.chance(600) => self.force(now, target, watched, history),
            State::Idle | State::Seen(..) => Step::Rest(random.millis(1, REST_MS_MAX)),
            State::Ready => self.look(random),
            state @ (State::Looking(_) | State::Forcing(..)) => {
                unreachable!("{state:?} is asked about at once")
            }
        }
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Looking(lock) => self.looked(lock, exchange, history),
            State::Forcing(target, asked) => target.forced(asked, exchange, history),
            state @ (State::Idle | State::Ready | State::Seen(..)) => {
                unreachable!("{state:?}: it has asked for nothing")
            }
        }
    }
}
