//! What clients do: the ways in which stock clients use locks, counters, registers and strings.
//!
//! A workload is a small state machine. It plans an *exchange* (one or several requests, sent at once), the world
//! carries it out, and it learns what came back: answers, in order, and perhaps the end of the connection, after
//! which nobody knows what became of the rest.

pub(crate) mod accounts;
mod appends;
pub(crate) mod auditor;
pub(crate) mod barriers;
pub(crate) mod candidates;
mod counters;
mod leases;
mod locks;
pub(crate) mod native_locks;
pub(crate) mod observer;
pub(crate) mod operator;
pub(crate) mod permits;
pub(crate) mod pulse;
mod queues;
mod registers;
pub(crate) mod sessions;
pub(crate) mod several_locks;
mod shared_locks;
pub(crate) mod wardens;
pub(crate) mod watchers;

use std::time::Duration;

use bytes::Bytes;
use quorate_machine::Reply;
use quorate_node::{Action, Answer, ConnId, Request};

use crate::{
    checks::{Failure, Span, history::History},
    linearizability::keyspace::{Command, Seen},
    random::Random,
    time::SimTime,
};

/// What a client does next.
#[derive(Debug)]
pub(crate) enum Step {
    /// It sends these requests at once.
    Ask(Vec<Request>),
    /// It does nothing for so long.
    Rest(Duration),
}

/// One client's way of using the service.
pub(crate) trait Workload: std::fmt::Debug {
    /// What to do next.
    fn plan(&mut self, now: SimTime, random: &mut Random, history: &mut History) -> Step;

    /// Takes in what has become of the last exchange.
    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure>;

    /// Takes in a message of what it listens to.
    fn hear(&mut self, _now: SimTime, _message: &[u8], _history: &mut History) -> Result<(), Failure> {
        Ok(())
    }

    /// Its connection is gone: it listens to nothing any more. If an exchange was under way, that is told next.
    fn cut_off(&mut self, _history: &mut History) {}

    /// Whether it is most active while something is amiss.
    fn looks_closely(&self) -> bool {
        false
    }

    /// Whether it ends its connection and goes to some node, be it the same, before it does anything else. Its own may be down.
    fn goes_elsewhere(&self, _is_down: bool, _random: &mut Random) -> bool {
        false
    }

    /// The client ends: what it believes to hold, it holds no longer than until now.
    fn end(&mut self, _now: SimTime, _history: &mut History) {}
}

/// The workload of client number `client`.
pub(crate) fn choose(client: usize, random: &mut Random) -> Box<dyn Workload> {
    match random.below(10) {
        0 | 1 => Box::new(locks::Locks::new(client, random)),
        2 => Box::new(counters::Counters::new()),
        3 | 4 => Box::new(appends::Appends::new(client)),
        5 | 6 => Box::new(registers::Registers::new(client)),
        7 | 8 => Box::new(queues::Queues::new(client)),
        _ => Box::new(leases::Leases::new(client)),
    }
}

/// An exchange that is over.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) sent: SimTime,
    pub(crate) conn: ConnId,
    /// In the order of the requests; fewer than those if the connection has ended.
    pub(crate) answers: Vec<(SimTime, Answer)>,
}

/// What a client knows of one request.
#[derive(Debug)]
pub(crate) enum Outcome<'a> {
    /// It was answered.
    Done(&'a Answer, Span),
    /// It was not applied, and never will be.
    Refused,
    /// It was applied, or is not, or will be.
    Unknown,
}

/// The codes of errors that say that nothing was applied.
const REFUSALS: [&[u8]; 5] = [b"CLUSTERDOWN ", b"LOADING ", b"MISCONF ", b"BUSY ", b"UNBLOCKED "];

impl Exchange {
    /// What became of request number `at`.
    pub(crate) fn outcome(&self, at: usize) -> Outcome<'_> {
        match self.answers.get(at) {
            None | Some((_, Answer::Close(_))) => Outcome::Unknown,
            Some((_, Answer::Reply(Reply::Error(text))))
                if REFUSALS.iter().any(|code| text.starts_with(code)) =>
            {
                Outcome::Refused
            }
            Some((completed, answer)) => {
                Outcome::Done(answer, Span { invoked: self.sent, completed: *completed })
            }
        }
    }
}

/// Remembers what became of request number `at`, which a sequential keyspace must explain.
fn record(
    exchange: &Exchange,
    at: usize,
    client: usize,
    (group, command): (&str, Command),
    history: &mut History,
) -> Result<(), Failure> {
    match exchange.outcome(at) {
        Outcome::Done(answer, span) => {
            let Answer::Reply(reply) = answer else { return Err(unexpected(&command.to_string(), answer)) };
            let seen = Seen::of(reply).ok_or_else(|| unexpected(&command.to_string(), answer))?;
            history.calls.answered(client, group, (command, seen), span);
        }
        Outcome::Unknown => history.calls.lost_sight(client, group, command, exchange.sent),
        Outcome::Refused => {}
    }
    Ok(())
}

/// A request for a read.
pub(crate) fn read(args: &[&str]) -> Request {
    Request { db: 0, action: Action::Read(arguments(args)) }
}

/// A request for a write.
pub(crate) fn write(args: &[&str]) -> Request {
    Request { db: 0, action: Action::Write(arguments(args)) }
}

pub(crate) fn arguments(args: &[&str]) -> Vec<Bytes> {
    args.iter().map(|arg| Bytes::copy_from_slice(arg.as_bytes())).collect()
}

/// A pause between two exchanges.
fn think(random: &mut Random) -> Step {
    Step::Rest(random.millis(1, 200))
}

/// An answer that no correct node gives to such a request.
fn unexpected(request: &str, answer: &Answer) -> Failure {
    Failure::new("answers are of the right kind", format!("{request} was answered {answer:?}"))
}

fn integer(request: &str, answer: &Answer) -> Result<i64, Failure> {
    match answer {
        Answer::Reply(Reply::Integer(value)) => Ok(*value),
        Answer::Reply(_) | Answer::Watched(_) | Answer::View(_) | Answer::Close(_) => {
            Err(unexpected(request, answer))
        }
    }
}

/// A place in a sequence.
fn place(request: &str, answer: &Answer) -> Result<u64, Failure> {
    u64::try_from(integer(request, answer)?).map_err(|_| unexpected(request, answer))
}

/// The string of a GET; `None` if there is no such key.
fn string(request: &str, answer: &Answer) -> Result<Option<Bytes>, Failure> {
    match answer {
        Answer::Reply(Reply::Bulk(bytes)) => Ok(Some(bytes.clone())),
        Answer::Reply(Reply::Null) => Ok(None),
        Answer::Reply(_) | Answer::Watched(_) | Answer::View(_) | Answer::Close(_) => {
            Err(unexpected(request, answer))
        }
    }
}

/// The elements of an LRANGE, a line each; `None` if there are none.
fn lines(request: &str, answer: &Answer) -> Result<Option<Bytes>, Failure> {
    let Answer::Reply(Reply::Array(elements)) = answer else { return Err(unexpected(request, answer)) };
    let element = |reply: &Reply| match reply {
        Reply::Bulk(bytes) => Ok(bytes.to_vec()),
        _ => Err(unexpected(request, answer)),
    };
    let elements: Vec<Vec<u8>> = elements.iter().map(element).collect::<Result<_, _>>()?;
    Ok(Some(Bytes::from(elements.join(&b'\n'))).filter(|lines| !lines.is_empty()))
}

/// The number of a GET; 0 if there is no such key.
fn number(request: &str, answer: &Answer) -> Result<u64, Failure> {
    match string(request, answer)? {
        None => Ok(0),
        Some(bytes) => std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| unexpected(request, answer)),
    }
}
