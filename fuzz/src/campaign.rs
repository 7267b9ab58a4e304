//! Many inputs, one after the other, until one is found that breaks a promise.

use std::{
    collections::BTreeSet,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use rustix::time::ClockId;

use crate::{
    Target,
    mutator::{self, Random},
};

/// A target, and all that has led to an outcome of its own so far. The same seed makes the same inputs.
#[derive(Debug)]
pub struct Campaign {
    target: Target,
    random: Random,
    pool: Vec<Vec<u8>>,
    outcomes: BTreeSet<u64>,
}

/// What a campaign has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Inputs that were given to the target.
    pub cases: u64,
    /// Different outcomes.
    pub outcomes: usize,
    /// The most processor time that one took.
    pub slowest: Duration,
}

/// An input that breaks a promise.
#[derive(Debug)]
pub struct Finding {
    /// The input.
    pub input: Vec<u8>,
    /// What the target said.
    pub panic: String,
}

/// The most inputs that are kept.
const POOL_MAX: usize = 20_000;

/// No input may take more processor time than that, in a build for tests: a script may have its whole budget, and a target
/// runs several.
const CASE_MAX: Duration = Duration::from_secs(10);

/// The time that a processor has spent on this thread: what else the machine is busy with does not count.
fn spent() -> Duration {
    let spent = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(spent).unwrap_or_default()
}

impl Campaign {
    /// A campaign against `target`, whose pool is the corpus.
    ///
    /// # Errors
    /// The corpus cannot be read.
    pub fn new(target: Target, seed: u64) -> io::Result<Self> {
        let pool = target.corpus()?;
        Ok(Self { target, random: Random::new(seed), pool, outcomes: BTreeSet::new() })
    }

    /// Gives the corpus to the target as it is, and then mutations of it, while `goes_on` says so of what was done.
    ///
    /// # Errors
    /// The first input that breaks a promise.
    pub fn run(&mut self, goes_on: impl Fn(&Tally) -> bool) -> Result<Tally, Finding> {
        let mut tally = Tally::default();
        for input in self.pool.clone() {
            self.case(&input, &mut tally)?;
        }
        while goes_on(&tally) {
            let base = self.random.below(self.pool.len());
            let base = self.pool.get(base).map_or(&[][..], |input| input);
            let input = mutator::mutate(&mut self.random, base, self.target.words, &self.pool);
            if self.case(&input, &mut tally)? && self.pool.len() < POOL_MAX {
                self.pool.push(input);
            }
        }
        Ok(tally)
    }

    /// Whether an outcome is a new one.
    fn case(&mut self, input: &[u8], tally: &mut Tally) -> Result<bool, Finding> {
        let finding = |panic| Finding { input: input.to_vec(), panic };
        let begun = spent();
        let outcomes = catch_unwind(AssertUnwindSafe(|| (self.target.run)(input))).map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            finding(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_owned())
        })?;
        let took = spent().saturating_sub(begun);
        if took > CASE_MAX {
            return Err(finding(format!("took {took:?}")));
        }
        tally.cases += 1;
        tally.slowest = tally.slowest.max(took);
        self.outcomes.extend(outcomes);
        let is_new = self.outcomes.len() > tally.outcomes;
        tally.outcomes = self.outcomes.len();
        Ok(is_new)
    }
}
