//! Counters: by INCR, in transactions, and by optimistic locking with WATCH. Each success is another number.

use quorate_machine::{Reply, Watched};
use quorate_node::{Action, Answer, Request};

use super::{Exchange, Outcome, Step, Workload, arguments, number, place, read, think, unexpected, write};
use crate::{
    checks::{Failure, check, history::History},
    random::Random,
    time::SimTime,
};

/// How many plain counters all clients share.
const KEYS: usize = 2;
/// Two counters that only transactions change, always together.
pub(super) const PAIR: [&str; 2] = ["counter:left", "counter:right"];
/// A counter that is only changed under WATCH.
const WATCHED: &str = "counter:watched";

#[derive(Debug)]
pub(crate) struct Counters {
    state: State,
}

#[derive(Debug)]
enum State {
    Resting,
    Ready,
    Increment(String),
    IncrementPair,
    ReadPair,
    Read(String),
    /// WATCH and GET are under way.
    Watching,
    /// Both have been answered: the value may be set if nobody else does before.
    Watched {
        watched: Vec<Watched>,
        value: u64,
    },
    /// The transaction that makes it this is under way.
    Setting {
        value: u64,
    },
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self { state: State::Ready }
    }

    fn begin(&mut self, random: &mut Random) -> Step {
        let key = format!("counter:{}", random.index(KEYS));
        let (state, requests) = match random.below(10) {
            0..4 => (State::Increment(key.clone()), vec![write(&["INCR", &key])]),
            4..6 => {
                (State::IncrementPair, vec![transaction(vec![], &[&["INCR", PAIR[0]], &["INCR", PAIR[1]]])])
            }
            6 => (State::ReadPair, vec![read(&["MGET", PAIR[0], PAIR[1]])]),
            7 => (State::Read(key.clone()), vec![read(&["GET", &key])]),
            _ => {
                let watch = Request { db: 0, action: Action::Watch(arguments(&[WATCHED])) };
                (State::Watching, vec![watch, read(&["GET", WATCHED])])
            }
        };
        self.state = state;
        Step::Ask(requests)
    }
}

pub(super) fn transaction(watched: Vec<Watched>, commands: &[&[&str]]) -> Request {
    let commands = commands.iter().map(|args| (0, arguments(args))).collect();
    Request { db: 0, action: Action::Transaction { watched, commands } }
}

impl Workload for Counters {
    fn plan(&mut self, _now: SimTime, random: &mut Random, _history: &mut History) -> Step {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Watched { watched, value } => {
                self.state = State::Setting { value: value + 1 };
                let value = (value + 1).to_string();
                Step::Ask(vec![transaction(watched, &[&["SET", WATCHED, &value]])])
            }
            State::Resting => think(random),
            State::Ready => self.begin(random),
            state @ (State::Increment(_)
            | State::IncrementPair
            | State::ReadPair
            | State::Read(_)
            | State::Watching
            | State::Setting { .. }) => unreachable!("planned while an exchange is under way: {state:?}"),
        }
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        match std::mem::replace(&mut self.state, State::Resting) {
            State::Increment(key) => match exchange.outcome(0) {
                Outcome::Done(answer, span) => history.counter(&key).wrote(place("INCR", answer)?, span)?,
                Outcome::Refused => {}
                Outcome::Unknown => history.counter(&key).lost_sight(),
            },
            State::IncrementPair => learn_pair(exchange, history)?,
            State::ReadPair => {
                if let Outcome::Done(answer, span) = exchange.outcome(0) {
                    let value = same(answer, "MGET")?;
                    PAIR.iter().for_each(|key| history.counter(key).saw(value, span));
                }
            }
            State::Read(key) => {
                if let Outcome::Done(answer, span) = exchange.outcome(0) {
                    history.counter(&key).saw(number("GET", answer)?, span);
                }
            }
            State::Watching => {
                if let (Outcome::Done(watched, _), Outcome::Done(answer, span)) =
                    (exchange.outcome(0), exchange.outcome(1))
                {
                    let Answer::Watched(watched) = watched else { return Err(unexpected("WATCH", watched)) };
                    let value = number("GET", answer)?;
                    history.counter(WATCHED).saw(value, span);
                    self.state = State::Watched { watched: watched.clone(), value };
                }
            }
            State::Setting { value } => match exchange.outcome(0) {
                Outcome::Done(Answer::Reply(Reply::NullArray), _) | Outcome::Refused => {}
                Outcome::Done(Answer::Reply(Reply::Array(replies)), span) if *replies == [Reply::ok()] => {
                    history.counter(WATCHED).wrote(value, span)?;
                }
                Outcome::Done(answer, _) => return Err(unexpected("EXEC", answer)),
                Outcome::Unknown => history.counter(WATCHED).lost_sight(),
            },
            State::Resting | State::Ready | State::Watched { .. } => {
                unreachable!("an exchange that was not planned")
            }
        }
        Ok(())
    }
}

fn learn_pair(exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
    match exchange.outcome(0) {
        Outcome::Done(answer, span) => {
            let value = same(answer, "MULTI")?;
            for key in PAIR {
                history.counter(key).wrote(value, span)?;
            }
        }
        Outcome::Refused => {}
        Outcome::Unknown => PAIR.iter().for_each(|key| history.counter(key).lost_sight()),
    }
    Ok(())
}

/// The one value of both counters.
pub(super) fn same(answer: &Answer, request: &str) -> Result<u64, Failure> {
    let Answer::Reply(Reply::Array(replies)) = answer else { return Err(unexpected(request, answer)) };
    let [left, right] = &replies[..] else { return Err(unexpected(request, answer)) };
    check(left == right, "a transaction takes effect as a whole", || {
        format!("{request} of two counters that only change together answered {left:?} and {right:?}")
    })?;
    let left = Answer::Reply(left.clone());
    if let Answer::Reply(Reply::Integer(_)) = left { place(request, &left) } else { number(request, &left) }
}
