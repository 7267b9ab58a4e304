//! The last client of a node: reads everything once, when nobody writes any more.

use std::{collections::BTreeMap, time::Duration};

use super::{Exchange, Outcome, Step, Workload, lines, read, string};
use crate::{
    checks::{Failure, history::History},
    random::Random,
    time::SimTime,
};

#[derive(Debug)]
pub(crate) struct Auditor {
    node: usize,
    keys: Vec<String>,
    done: bool,
}

impl Auditor {
    pub(crate) fn new(node: usize, keys: Vec<String>) -> Self {
        Self { node, keys, done: false }
    }
}

/// A client that has nothing left to do looks up now and then.
const IDLE: Duration = Duration::from_secs(1);

fn is_queue(key: &str) -> bool {
    key.starts_with("queue:")
}

impl Workload for Auditor {
    fn plan(&mut self, _now: SimTime, _random: &mut Random, history: &mut History) -> Step {
        if self.keys.is_empty() && !self.done {
            self.done = true;
            history.audits.insert(self.node, BTreeMap::new());
        }
        if self.done {
            return Step::Rest(IDLE);
        }
        let whole = |key: &String| match is_queue(key) {
            true => read(&["LRANGE", key, "0", "-1"]),
            false => read(&["GET", key]),
        };
        Step::Ask(self.keys.iter().map(whole).collect())
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        let mut content = BTreeMap::new();
        for (at, key) in self.keys.iter().enumerate() {
            let Outcome::Done(answer, _) = exchange.outcome(at) else { return Ok(()) };
            let value = if is_queue(key) { lines("LRANGE", answer)? } else { string("GET", answer)? };
            if let Some(value) = value {
                content.insert(key.clone(), value);
            }
        }
        history.audits.insert(self.node, content);
        self.done = true;
        Ok(())
    }
}
