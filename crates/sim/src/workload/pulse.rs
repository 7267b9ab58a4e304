//! A pulse: some clients raise one counter, and others read it, each at its own node, in quick succession while something
//! is amiss. Whoever asks after a beat was acknowledged must feel it, whichever node is asked.
//!
//! Who reads only is never held up by a write that cannot be committed. So a node that is cut off goes on being asked,
//! while the counter goes on elsewhere.

use super::{Exchange, Outcome, Step, Workload, number, place, read, write};
use crate::{
    checks::{Failure, history::History},
    random::Random,
    time::SimTime,
};

const KEY: &str = "counter:pulse";

#[derive(Debug)]
pub(crate) struct Pulse {
    part: Part,
    resting: bool,
}

/// What a client has to do with the pulse.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// It makes it go on.
    Beats,
    /// It asks how far it is.
    Feels,
}

impl Pulse {
    /// What the clients of one node do. Two read, so that one can profit from the question of the other, if that is wrong.
    pub(crate) const PARTS: [Part; 3] = [Part::Beats, Part::Feels, Part::Feels];

    pub(crate) fn new(part: Part) -> Self {
        Self { part, resting: true }
    }
}

impl Workload for Pulse {
    fn plan(&mut self, now: SimTime, random: &mut Random, history: &mut History) -> Step {
        self.resting = !self.resting;
        if !self.resting {
            let is_fast = now < history.excited_until;
            return Step::Rest(if is_fast { random.millis(1, 20) } else { random.millis(100, 500) });
        }
        Step::Ask(vec![match self.part {
            Part::Beats => write(&["INCR", KEY]),
            Part::Feels => read(&["GET", KEY]),
        }])
    }

    fn looks_closely(&self) -> bool {
        true
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        let counter = history.counter(KEY);
        match (exchange.outcome(0), self.part) {
            (Outcome::Done(answer, span), Part::Beats) => counter.wrote(place("INCR", answer)?, span)?,
            (Outcome::Done(answer, span), Part::Feels) => counter.saw(number("GET", answer)?, span),
            (Outcome::Unknown, Part::Beats) => counter.lost_sight(),
            (Outcome::Unknown, Part::Feels) | (Outcome::Refused, _) => {}
        }
        Ok(())
    }
}
