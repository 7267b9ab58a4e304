//! Unique entries, appended to shared strings: what is acknowledged stands there once, at the place that the
//! answer named, for ever.

use super::{Exchange, Outcome, Step, Workload, place, read, string, think, unexpected, write};
use crate::{
    checks::{
        Failure,
        history::{APPEND_BYTES, History},
    },
    random::Random,
    time::SimTime,
};

/// How many strings all clients share.
const KEYS: usize = 3;
/// The most requests in one exchange.
const PIPELINE_MAX: usize = 6;

#[derive(Debug)]
pub(crate) struct Appends {
    client: usize,
    next: u64,
    asked: Vec<Asked>,
    resting: bool,
}

#[derive(Debug)]
enum Asked {
    Append { key: String, entry: String },
    Get { key: String },
    Length { key: String },
}

impl Appends {
    pub(crate) fn new(client: usize) -> Self {
        Self { client, next: 1, asked: Vec::new(), resting: true }
    }

    fn ask(&mut self, random: &mut Random) -> Asked {
        let key = format!("appends:{}", random.index(KEYS));
        match random.below(10) {
            0 => Asked::Length { key },
            1 => Asked::Get { key },
            _ => {
                let entry = format!("{:03}-{:07};", self.client, self.next);
                assert!(entry.len() == APPEND_BYTES, "an entry of {} bytes", entry.len());
                self.next += 1;
                Asked::Append { key, entry }
            }
        }
    }
}

impl Workload for Appends {
    fn plan(&mut self, _now: SimTime, random: &mut Random, _history: &mut History) -> Step {
        self.resting = !self.resting;
        if !self.resting {
            return think(random);
        }
        let count = if random.chance(700) { 1 } else { random.index(PIPELINE_MAX) + 1 };
        self.asked = (0..count).map(|_| self.ask(random)).collect();
        let requests = self.asked.iter().map(|asked| match asked {
            Asked::Append { key, entry } => write(&["APPEND", key, entry]),
            Asked::Get { key } => read(&["GET", key]),
            Asked::Length { key } => read(&["STRLEN", key]),
        });
        Step::Ask(requests.collect())
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        for (at, asked) in self.asked.drain(..).enumerate() {
            let outcome = exchange.outcome(at);
            match asked {
                Asked::Append { key, entry } => {
                    let appends = history.appends(&key);
                    match outcome {
                        Outcome::Done(answer, span) => {
                            let bytes = place("APPEND", answer)?;
                            if bytes % APPEND_BYTES as u64 != 0 {
                                return Err(unexpected("APPEND", answer));
                            }
                            let place = bytes / APPEND_BYTES as u64;
                            appends.sequence.wrote(place, span)?;
                            appends.acknowledged.push((place, entry.into()));
                        }
                        Outcome::Refused => appends.refused.push(entry.into()),
                        Outcome::Unknown => appends.sequence.lost_sight(),
                    }
                }
                Asked::Get { key } => {
                    if let Outcome::Done(answer, span) = outcome {
                        let content = string("GET", answer)?.unwrap_or_default();
                        let appends = history.appends(&key);
                        let place = appends.see(&content)?;
                        appends.sequence.saw(place, span);
                    }
                }
                Asked::Length { key } => {
                    if let Outcome::Done(answer, span) = outcome {
                        let place = place("STRLEN", answer)? / APPEND_BYTES as u64;
                        history.appends(&key).sequence.saw(place, span);
                    }
                }
            }
        }
        Ok(())
    }
}
