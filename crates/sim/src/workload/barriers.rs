//! Barriers: clients arrive at the present round and wait for each other there, for a while or not at all, or only look whether all have
//! come; and now and then at the round before, which others have passed. Whoever loses sight of his arrival, or gives up, arrives
//! again: he counts once.
//!
//! A round ends for all when the first has passed it. The set of those who have arrived lasts for good, or for longer than anybody
//! waits, or for so short a time that it may end before all are there.

use std::time::Duration;

use quorate_machine::Reply;
use quorate_node::{Action, Answer, Request};

use super::{Exchange, Outcome, Step, Workload, arguments, locks::valid_until, place, think};
use crate::{
    checks::{Failure, barriers::Rules, history::History},
    random::Random,
    time::SimTime,
};

const WAIT_MS_MAX: u64 = 2000;
const LONG: Duration = Duration::from_secs(10);
/// Where two are awaited, who are soon there together.
const SHORT: Duration = Duration::from_millis(1500);
/// Of a thousand times that a client might do something while its node is down, how often it goes to another one before.
const LEAVES_PERMILLE: u64 = 100;

#[derive(Debug)]
pub(crate) struct Barriers {
    name: String,
    /// How many there are.
    clients: usize,
    asked: Option<Asked>,
    /// Whether it was refused what it last asked.
    is_patient: bool,
}

/// What a client has asked.
#[derive(Debug)]
struct Asked {
    round: u64,
    rules: Rules,
    arrives: bool,
    wait: Duration,
}

impl Barriers {
    /// At least two of them.
    pub(crate) fn new(client: usize, clients: usize) -> Self {
        Self { name: format!("party-{client}"), clients, asked: None, is_patient: false }
    }

    /// How many meet in a round: any number of all, in turn.
    fn parties(&self, round: u64) -> usize {
        2 + usize::try_from(round % self.others()).expect("a few clients")
    }

    /// The time-to-live that they arrive with; `None`: for good.
    fn ttl(&self, round: u64) -> Option<Duration> {
        match (round / self.others()) % 3 {
            0 => None,
            1 if self.parties(round) == 2 => Some(SHORT),
            _ => Some(LONG),
        }
    }

    fn others(&self) -> u64 {
        self.clients as u64 - 1
    }

    fn ask(&mut self, now: SimTime, random: &mut Random, history: &mut History) -> Step {
        let present = history.barriers.current();
        let round = if random.chance(100) { present.saturating_sub(1) } else { present };
        let (arrives, ttl) = (random.chance(700), self.ttl(round));
        let rules = Rules { parties: self.parties(round), lasts: ttl.map(at_least) };
        let wait =
            Duration::from_millis(if random.chance(700) { random.between(50, WAIT_MS_MAX) } else { 0 });
        let (barrier, parties) = (format!("barrier:{round}"), rules.parties.to_string());
        let [wait_ms, ttl_ms] = [wait, ttl.unwrap_or_default()].map(|time| time.as_millis().to_string());
        let mut words = vec!["BARRIER", if arrives { "ARRIVE" } else { "AWAIT" }, &barrier, &parties];
        if arrives {
            history.barriers.arrives(round, rules, &self.name, now);
            words.push(&self.name);
        }
        if arrives && ttl.is_some() {
            words.extend(["TTL", &ttl_ms]);
            history.mortal.insert(barrier.clone());
        }
        if !wait.is_zero() {
            words.extend(["WAIT", &wait_ms]);
        }
        let args = arguments(&words);
        let action = if wait.is_zero() { Action::Write(args) } else { Action::Wait(args) };
        self.asked = Some(Asked { round, rules, arrives, wait });
        Step::Ask(vec![Request { db: 0, action }])
    }
}

/// How long a time of the cluster takes at least: its clock may run fast.
fn at_least(time: Duration) -> Duration {
    let start = SimTime::default();
    valid_until(start, time).since(start)
}

impl Workload for Barriers {
    fn plan(&mut self, now: SimTime, random: &mut Random, history: &mut History) -> Step {
        let rests = std::mem::take(&mut self.is_patient) || random.chance(300);
        if rests { think(random) } else { self.ask(now, random, history) }
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        let Asked { round, rules, arrives, wait } = self.asked.take().expect("it has asked");
        self.is_patient = matches!(exchange.outcome(0), Outcome::Refused);
        let Outcome::Done(answer, span) = exchange.outcome(0) else { return Ok(()) };
        if *answer == Answer::Reply(Reply::Null) {
            history.barriers.not_passed(round, rules, at_least(wait), span);
        } else {
            history.barriers.passed(round, rules, place("BARRIER", answer)?, span.completed)?;
        }
        if arrives {
            history.barriers.arrived(round, rules, &self.name, span.completed);
        }
        Ok(())
    }

    fn goes_elsewhere(&self, is_down: bool, random: &mut Random) -> bool {
        is_down && random.chance(LEAVES_PERMILLE)
    }
}
