//! Shared registers: plain reads and writes, whose history must be linearizable.

use quorate_node::Request;

use super::{Exchange, Step, Workload, read, record, think, write};
use crate::{
    checks::{Failure, history::History},
    linearizability::keyspace::Command,
    random::Random,
    time::SimTime,
};

/// How many registers clients share at a time.
const REGISTERS: usize = 3;
/// The most requests in one exchange.
const PIPELINE_MAX: usize = 3;

#[derive(Debug)]
pub(crate) struct Registers {
    client: usize,
    next: u64,
    /// The calls that are under way, each with the group of its key.
    asked: Vec<(String, Command)>,
    resting: bool,
}

impl Registers {
    pub(crate) fn new(client: usize) -> Self {
        Self { client, next: 0, asked: Vec::new(), resting: true }
    }

    /// A value that nobody else writes.
    fn value(&mut self) -> String {
        self.next += 1;
        (self.next * 1000 + self.client as u64).to_string()
    }

    fn ask(&mut self, random: &mut Random, history: &mut History) -> Vec<String> {
        // A group of one key, which has the same name.
        let key = history.calls.group(&format!("register:{}", random.index(REGISTERS)));
        let words = match random.below(10) {
            0..5 => vec!["GET".to_owned(), key.clone()],
            5..8 => vec!["SET".to_owned(), key.clone(), self.value()],
            _ => vec!["GETSET".to_owned(), key.clone(), self.value()],
        };
        let parsed: Vec<&str> = words.iter().map(String::as_str).collect();
        self.asked.push((key, Command::parse(&parsed).expect("a command of the model")));
        words
    }
}

impl Workload for Registers {
    fn plan(&mut self, _now: SimTime, random: &mut Random, history: &mut History) -> Step {
        self.resting = !self.resting;
        if !self.resting {
            return think(random);
        }
        let count = if random.chance(700) { 1 } else { random.index(PIPELINE_MAX) + 1 };
        let words: Vec<Vec<String>> = (0..count).map(|_| self.ask(random, history)).collect();
        Step::Ask(words.iter().map(|words| request(words)).collect())
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        let asked = std::mem::take(&mut self.asked);
        asked.into_iter().enumerate().try_for_each(|(at, (group, command))| {
            record(exchange, at, self.client, (&group, command), history)
        })
    }
}

fn request(words: &[String]) -> Request {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words[0] == "GET" { read(&words) } else { write(&words) }
}
