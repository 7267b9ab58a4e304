//! An observer: a `READONLY` connection that reads its own node's data, be they old, and asks nobody.
//!
//! What it sees is a state that the whole cluster was in once: of two counters that only change together it sees one
//! value, which was reached by then; and on one connection time does not run backwards.

use quorate_node::{Action, ConnId, Request};

use super::{
    Exchange, Outcome, Step, Workload, arguments,
    counters::{PAIR, same},
    think,
};
use crate::{
    checks::{Failure, check, history::History},
    random::Random,
    time::SimTime,
};

#[derive(Debug, Default)]
pub(crate) struct Observer {
    /// The last value seen, and on which connection.
    seen: Option<(ConnId, u64)>,
    has_rested: bool,
}

const PROPERTY: &str = "time does not run backwards on a connection";

impl Workload for Observer {
    fn plan(&mut self, _now: SimTime, random: &mut Random, _history: &mut History) -> Step {
        self.has_rested = !self.has_rested;
        if self.has_rested {
            return think(random);
        }
        Step::Ask(vec![Request { db: 0, action: Action::StaleRead(arguments(&["MGET", PAIR[0], PAIR[1]])) }])
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        let Outcome::Done(answer, span) = exchange.outcome(0) else { return Ok(()) };
        let value = same(answer, "MGET")?;
        if let Some((conn, before)) = self.seen
            && conn == exchange.conn
        {
            check(before <= value, PROPERTY, || format!("{} was {before}, then {value}", PAIR[0]))?;
        }
        self.seen = Some((exchange.conn, value));
        history.counter(PAIR[0]).saw_by(value, span);
        Ok(())
    }
}
