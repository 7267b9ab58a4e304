//! The last client of a node: reads everything once, when nobody writes any more.

use std::{collections::BTreeMap, time::Duration};

use super::{Exchange, Outcome, Step, Workload, read, string};
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

impl Workload for Auditor {
    fn plan(&mut self, _now: SimTime, _random: &mut Random, history: &mut History) -> Step {
        if self.keys.is_empty() && !self.done {
            self.done = true;
            history.audits.insert(self.node, BTreeMap::new());
        }
        if self.done {
            return Step::Rest(IDLE);
        }
        Step::Ask(self.keys.iter().map(|key| read(&["GET", key])).collect())
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        let mut content = BTreeMap::new();
        for (at, key) in self.keys.iter().enumerate() {
            let Outcome::Done(answer, _) = exchange.outcome(at) else { return Ok(()) };
            if let Some(value) = string("GET", answer)? {
                content.insert(key.clone(), value);
            }
        }
        history.audits.insert(self.node, content);
        self.done = true;
        Ok(())
    }
}
