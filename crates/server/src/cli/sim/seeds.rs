//! Which seeds are run, on how many cores, and until when.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
    vec,
};

use quorate_sim::{Pace, Profile, Report, Violation, run, seeds_that_failed};

use super::{Args, fresh, say, summary::Summary};
use crate::cli::progress::{Progress, bar};

/// How long fresh seeds are run if nobody says.
const FRESH_SECONDS: u64 = 10;
/// How often the progress is looked at while no seed ends.
const LOOK: Duration = Duration::from_millis(100);

/// What is to be run.
struct Plan {
    /// Seeds that are run first, whatever the time.
    listed: Vec<(u64, Pace)>,
    range: Range<u64>,
    /// No seed of `range` begins after that.
    seconds: Option<u64>,
}

impl Plan {
    fn new(args: &Args) -> Self {
        let listed = if args.once_failed { seeds_that_failed(args.engine).collect() } else { Vec::new() };
        match (args.seed, args.seeds.clone()) {
            (Some(seed), _) => Self { listed, range: seed..seed + 1, seconds: None },
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

    fn queue(&self) -> Queue {
        Queue { listed: self.listed.clone().into_iter(), range: self.range.clone(), begun: 0 }
    }

    fn is_over(&self, took: Duration) -> bool {
        self.seconds.is_some_and(|seconds| took >= Duration::from_secs(seconds))
    }
}

/// The seeds that nobody has begun yet.
struct Queue {
    /// These are run first, whatever the time.
    listed: vec::IntoIter<(u64, Pace)>,
    range: Range<u64>,
    /// How many have been begun.
    begun: u64,
}

/// A seed that is to be run.
struct Next {
    /// Its place in the order.
    place: u64,
    seed: u64,
    /// The pace of its world, if that is not the profile's.
    pace: Option<Pace>,
}

impl Queue {
    fn next(&mut self, is_over: bool) -> Option<Next> {
        let (seed, pace) = match self.listed.next() {
            Some((seed, pace)) => (seed, Some(pace)),
            None if is_over => return None,
            None => (self.range.next()?, None),
        };
        let place = self.begun;
        self.begun += 1;
        Some(Next { place, seed, pace })
    }
}

/// The end of a seed's run: its place in the order, the seed, and what came of it.
type Ended = (u64, u64, Result<Report, Box<Violation>>);

/// Runs what `args` ask for, and sums it up. Seeds are run side by side, and told in their order: equal seeds are summed
/// up equally, whatever the number of cores.
pub(super) fn run_all(args: &Args, profile: &Profile) -> Summary {
    let plan = Plan::new(args);
    let begin = Instant::now();
    let queue = Mutex::new(plan.queue());
    let next = || {
        let is_over = plan.is_over(begin.elapsed());
        queue.lock().unwrap_or_else(PoisonError::into_inner).next(is_over)
    };
    let (ended, endings) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..args.jobs() {
            let (ended, next) = (ended.clone(), &next);
            scope.spawn(move || {
                while let Some(Next { place, seed, pace }) = next() {
                    let profile = Profile { pace: pace.or(profile.pace), ..profile.clone() };
                    if ended.send((place, seed, run(seed, &profile))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(ended);
        // Who begins a seed goes on only while somebody listens, which this does no longer than it needs to.
        sum_up(args, &plan, Summary::new(profile, plan.range.start), endings, begin)
    })
}

/// Adds up what ends, in the order of the seeds, until all have ended or one says enough.
fn sum_up(
    args: &Args,
    plan: &Plan,
    mut summary: Summary,
    endings: mpsc::Receiver<Ended>,
    begin: Instant,
) -> Summary {
    let mut progress = Progress::new("simulating", None);
    if args.seed.is_none() && args.seeds.is_none() {
        // Told at once: a run that never ends has been of these seeds.
        progress.interject(&format!("seeds from {} on", plan.range.start));
    }
    // Those that ended before one that began earlier.
    let mut early = BTreeMap::new();
    loop {
        summary.wall = begin.elapsed();
        progress.shows(|took| format!("{}, {}", plan.progress(summary.seeds, took), summary.brief()));
        match endings.recv_timeout(LOOK) {
            Ok((place, seed, result)) => drop(early.insert(place, (seed, result))),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return summary,
        }
        while let Some((seed, result)) = early.remove(&summary.seeds) {
            if let Err(violation) = &result {
                progress.clear();
                say(args.json, &format!("{violation}\n\n"));
            }
            if summary.seeds >= plan.listed.len() as u64 {
                summary.range.end = seed + 1;
            }
            summary.add(seed, result);
            if !summary.violations.is_empty() && !args.keep_going {
                return summary;
            }
        }
    }
}
