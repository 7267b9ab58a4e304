//! Shared registers: plain reads and writes, whose history must be linearizable.

use super::{Exchange, Outcome, Step, Workload, number, read, think, unexpected, write};
use crate::{
    checks::{Failure, Span, history::History, register::Action},
    random::Random,
    time::SimTime,
};
use quorate_machine::Reply;
use quorate_node::Answer;

/// How many registers clients share at a time.
const REGISTERS: usize = 3;
/// The most requests in one exchange.
const PIPELINE_MAX: usize = 3;

#[derive(Debug)]
pub(crate) struct Registers {
    client: usize,
    next: u64,
    asked: Vec<(String, Asked)>,
    resting: bool,
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    Get,
    Set(u64),
    Swap(u64),
}

impl Registers {
    pub(crate) fn new(client: usize) -> Self {
        Self { client, next: 0, asked: Vec::new(), resting: true }
    }

    /// A value that nobody else writes.
    fn value(&mut self) -> u64 {
        self.next += 1;
        self.next * 1000 + self.client as u64
    }

    fn ask(&mut self, random: &mut Random, history: &mut History) -> (String, Asked) {
        let key = history.register_key(random.index(REGISTERS));
        let asked = match random.below(10) {
            0..5 => Asked::Get,
            5..8 => Asked::Set(self.value()),
            _ => Asked::Swap(self.value()),
        };
        (key, asked)
    }
}

impl Workload for Registers {
    fn plan(&mut self, _now: SimTime, random: &mut Random, history: &mut History) -> Step {
        self.resting = !self.resting;
        if !self.resting {
            return think(random);
        }
        let count = if random.chance(700) { 1 } else { random.index(PIPELINE_MAX) + 1 };
        self.asked = (0..count).map(|_| self.ask(random, history)).collect();
        let requests = self.asked.iter().map(|(key, asked)| match asked {
            Asked::Get => read(&["GET", key]),
            Asked::Set(value) => write(&["SET", key, &value.to_string()]),
            Asked::Swap(value) => write(&["GETSET", key, &value.to_string()]),
        });
        Step::Ask(requests.collect())
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        for (at, (key, asked)) in self.asked.drain(..).enumerate() {
            let register = history.register(&key);
            match (exchange.outcome(at), asked) {
                (Outcome::Done(answer, span), asked) => register.done(action(asked, answer, span)?, span),
                (Outcome::Unknown, Asked::Set(value)) => {
                    register.lost_sight(Action::Write(value), exchange.sent);
                }
                (Outcome::Unknown, Asked::Swap(value)) => {
                    register.lost_sight(Action::Swap(value, None), exchange.sent);
                }
                (Outcome::Unknown, Asked::Get) | (Outcome::Refused, _) => {}
            }
        }
        Ok(())
    }
}

fn action(asked: Asked, answer: &Answer, _span: Span) -> Result<Action, Failure> {
    Ok(match asked {
        Asked::Get => Action::Read(number("GET", answer)?),
        Asked::Set(value) if *answer == Answer::Reply(Reply::ok()) => Action::Write(value),
        Asked::Set(_) => return Err(unexpected("SET", answer)),
        Asked::Swap(value) => Action::Swap(value, Some(number("GETSET", answer)?)),
    })
}
