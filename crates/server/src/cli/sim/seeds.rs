//! Which seeds are run, one after the other, and until when.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use quorate_sim::{Profile, run, seeds_that_failed};

use super::{Args, summary::Summary};
use crate::cli::progress::{Progress, bar};

/// How long fresh seeds are run if nobody says.
const FRESH_SECONDS: u64 = 10;

/// What is to be run.
struct Plan {
    /// Seeds that are run first, whatever the time.
    listed: Vec<u64>,
    range: Range<u64>,
    /// No seed of `range` begins after that.
    seconds: Option<u64>,
}

impl Plan {
    fn new(args: &Args) -> Self {
        let listed = if args.once_failed { seeds_that_failed().collect() } else { Vec::new() };
        match (args.seed, args.seeds.clone()) {
            (Some(seed), _) => Self { listed: vec![seed], range: 0..0, seconds: None },
            (None, Some(range)) => Self { listed, range, seconds: args.seconds },
            (None, None) => {
                let seconds = Some(args.seconds.unwrap_or(FRESH_SECONDS));
                Self { listed, range: fresh()..u64::MAX, seconds }
            }
        }
    }

    /// How far a run is, and of how much.
    fn progress(&self, seeds: u64, took: Duration) -> String {
        match self.seconds {
            Some(seconds) => bar(took.as_secs(), seconds, "s"),
            None => bar(seeds, self.listed.len() as u64 + self.range.end - self.range.start, "seeds"),
        }
    }
}

/// Where a range begins that probably nobody has run: short enough to be read out and typed.
fn fresh() -> u64 {
    u64::from(getrandom::u32().expect("an operating system that runs this has random numbers"))
}

/// Runs what `args` ask for, and sums it up.
pub(super) fn run_all(args: &Args, profile: &Profile) -> Summary {
    let plan = Plan::new(args);
    let begin = Instant::now();
    let mut summary = Summary::new(profile.theme.name(), plan.range.start);
    let mut progress = Progress::new("simulating", None);
    let mut go_on = |summary: &mut Summary, seed| {
        summary.add(seed, run(seed, profile));
        summary.wall = begin.elapsed();
        progress.shows(|took| format!("{}, {}", plan.progress(summary.seeds, took), summary.brief()));
        args.keep_going || summary.violations.is_empty()
    };
    if !plan.listed.iter().all(|&seed| go_on(&mut summary, seed)) {
        return summary;
    }
    let is_over = || plan.seconds.is_some_and(|seconds| begin.elapsed() >= Duration::from_secs(seconds));
    for seed in plan.range.clone() {
        if is_over() {
            break;
        }
        summary.range.end = seed + 1;
        if !go_on(&mut summary, seed) {
            break;
        }
    }
    summary
}
