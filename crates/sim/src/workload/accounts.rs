//! Accounts: amounts that move among a few keys by transactions, under WATCH, and by a script, while others look at all
//! of them at once. No order of the single keys explains that: the history of the whole keyspace must be linearizable.

use bytes::Bytes;
use quorate_machine::{Reply, Watched};
use quorate_node::{Action, Answer, Request};

use super::{
    Exchange, Outcome, Step, Workload, arguments, counters::transaction, read, record, think, unexpected,
    write,
};
use crate::{
    checks::{Failure, history::History},
    linearizability::keyspace::Command,
    random::Random,
    time::SimTime,
};

/// How many accounts there are at a time.
const ACCOUNTS: usize = 4;
/// The greatest amount that moves.
const AMOUNT_MAX: u64 = 40;

const TRANSFER: &str = "if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then return false end \
    return {redis.call('DECRBY', KEYS[1], ARGV[1]), redis.call('INCRBY', KEYS[2], ARGV[1])}";

#[derive(Debug)]
pub(crate) struct Accounts {
    client: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Resting,
    Ready,
    /// A call is under way.
    Asked {
        group: String,
        command: Command,
    },
    /// WATCH and MGET of two accounts are under way.
    Watching(Move),
    /// Both were answered: the two may be set if nobody else changes them before.
    Watched {
        from_to: Move,
        watched: Vec<Watched>,
        held: [Option<Bytes>; 2],
        /// What they are to hold then.
        wanted: [String; 2],
    },
}

/// An amount that is to go from one account to another.
#[derive(Debug, Clone)]
struct Move {
    group: String,
    from: String,
    to: String,
    amount: i64,
}

impl Move {
    fn choose(group: String, random: &mut Random) -> Self {
        let from = random.index(ACCOUNTS);
        let to = (from + 1 + random.index(ACCOUNTS - 1)) % ACCOUNTS;
        let amount = i64::try_from(random.between(1, AMOUNT_MAX)).expect("a small amount");
        Self { from: account(&group, from), to: account(&group, to), group, amount }
    }

    /// Both accounts as they are to be; `None` if they hold no numbers.
    fn outcome(&self, held: &[Option<Bytes>; 2]) -> Option<[String; 2]> {
        let number = |held: &Option<Bytes>| match held {
            None => Some(0),
            Some(text) => std::str::from_utf8(text).ok()?.parse::<i64>().ok(),
        };
        let [from, to] = held;
        Some([(number(from)? - self.amount).to_string(), (number(to)? + self.amount).to_string()])
    }
}

fn account(group: &str, number: usize) -> String {
    format!("{group}:{number}")
}

fn parse(words: &[&str]) -> Command {
    Command::parse(words).expect("a command of the model")
}

impl Accounts {
    pub(crate) fn new(client: usize) -> Self {
        Self { client, state: State::Ready }
    }

    fn begin(&mut self, random: &mut Random, history: &mut History) -> Step {
        let moved = Move::choose(history.calls.group("accounts"), random);
        let Move { group, from, to, amount } = moved.clone();
        let amount = amount.to_string();
        let (command, request) = match random.below(10) {
            0..3 => {
                let keys: Vec<String> = (0..ACCOUNTS).map(|number| account(&group, number)).collect();
                let words: Vec<&str> =
                    std::iter::once("MGET").chain(keys.iter().map(String::as_str)).collect();
                (parse(&words), read(&words))
            }
            3..5 => {
                let words = ["INCRBY", &from, &amount];
                (parse(&words), write(&words))
            }
            5..7 => {
                let request = write(&["EVAL", TRANSFER, "2", &from, &to, &amount]);
                (parse(&["TRANSFER", &from, &to, &amount]), request)
            }
            7 => {
                let parts: [&[&str]; 2] = [&["DECRBY", &from, &amount], &["INCRBY", &to, &amount]];
                let commands = parts.iter().map(|words| parse(words)).collect();
                (Command::Transaction(Vec::new(), commands), transaction(vec![], &parts))
            }
            _ => {
                let watch = Request { db: 0, action: Action::Watch(arguments(&[&from, &to])) };
                self.state = State::Watching(moved);
                return Step::Ask(vec![watch, read(&["MGET", &from, &to])]);
            }
        };
        self.state = State::Asked { group, command };
        Step::Ask(vec![request])
    }

    /// Sets both accounts, if nobody else has changed them since they were read.
    fn set(
        &mut self,
        Move { group, from, to, .. }: Move,
        watched: Vec<Watched>,
        held: [Option<Bytes>; 2],
        wanted: &[String; 2],
    ) -> Step {
        let parts: [&[&str]; 2] = [&["SET", &from, &wanted[0]], &["SET", &to, &wanted[1]]];
        let request = transaction(watched, &parts);
        let commands = parts.iter().map(|words| parse(words)).collect();
        let [from_held, to_held] = held;
        let before = vec![(Bytes::from(from), from_held), (Bytes::from(to), to_held)];
        self.state = State::Asked { group, command: Command::Transaction(before, commands) };
        Step::Ask(vec![request])
    }
}

impl Workload for Accounts {
    fn plan(&mut self, _now: SimTime, random: &mut Random, history: &mut History) -> Step {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Resting => think(random),
            State::Ready => self.begin(random, history),
            State::Watched { from_to, watched, held, wanted } => self.set(from_to, watched, held, &wanted),
            state @ (State::Asked { .. } | State::Watching(_)) => {
                unreachable!("planned while an exchange is under way: {state:?}")
            }
        }
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        match std::mem::replace(&mut self.state, State::Resting) {
            State::Asked { group, command } => record(exchange, 0, self.client, (&group, command), history),
            State::Watching(from_to) => {
                let command = parse(&["MGET", &from_to.from, &from_to.to]);
                record(exchange, 1, self.client, (&from_to.group, command), history)?;
                if let (Outcome::Done(watched, _), Outcome::Done(answer, _)) =
                    (exchange.outcome(0), exchange.outcome(1))
                {
                    let Answer::Watched(watched) = watched else { return Err(unexpected("WATCH", watched)) };
                    let (watched, held) = (watched.clone(), two(answer)?);
                    let wanted = from_to.outcome(&held).ok_or_else(|| unexpected("MGET", answer))?;
                    self.state = State::Watched { from_to, watched, held, wanted };
                }
                Ok(())
            }
            State::Resting | State::Ready | State::Watched { .. } => {
                unreachable!("an exchange that was not planned")
            }
        }
    }
}

/// What two keys held.
fn two(answer: &Answer) -> Result<[Option<Bytes>; 2], Failure> {
    let held = |reply: &Reply| match reply {
        Reply::Null => Ok(None),
        Reply::Bulk(text) => Ok(Some(text.clone())),
        _ => Err(unexpected("MGET", answer)),
    };
    match answer {
        Answer::Reply(Reply::Array(replies)) if replies.len() == 2 => {
            Ok([held(&replies[0])?, held(&replies[1])?])
        }
        Answer::Reply(_) | Answer::Watched(_) | Answer::View(_) | Answer::Close(_) => {
            Err(unexpected("MGET", answer))
        }
    }
}
