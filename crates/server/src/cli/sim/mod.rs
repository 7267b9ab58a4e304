//! `quorate sim`: clusters in a simulated world, under faults, judged.
//!
//! The world is the crate `quorate-sim`, which is a function of its seed. Here is what is outside of it: which seeds
//! are run, how long that takes on a real clock, and how it is told.

mod seeds;
mod summary;
mod synod;

use std::{
    io::{self, Write as _},
    num::NonZero,
    ops::Range,
    thread,
    time::Duration,
};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use quorate_sim::{Bug, EngineKind, Fault, Pace, Profile, Theme, run_traced};

use super::Exit;

const EXAMPLES: &str = "\
Examples:
  quorate sim                                   ten seconds of fresh seeds
  quorate sim --seeds 0..500 --profile disks    five hundred seeds, the same ones each time
  quorate sim --seed 17 --trace                 all that happens in one seed
  quorate sim --seconds 3600 --json             an hour of fresh seeds, for a program to read
  quorate sim --engine paxos                    clusters of Multi-Paxos instead of Raft
  quorate sim synod                             how Paxos has nodes agree on one value

A seed makes a world: nodes with the code of this program, their disks, clocks and links, clients,
and what goes wrong. The same seed makes the same world on each machine. What must hold is checked
after each step; a violation is told with the command that replays it.
Exit status: 0 if everything held, 1 if something did not.";

/// The most nodes that a cluster is born with here.
const NODES_MAX: u64 = 7;

/// The most seeds side by side.
const JOBS_MAX: i64 = 1024;

/// The flags of `sim`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    play: Option<Play>,
    /// One seed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..u64::MAX),
        conflicts_with_all = ["seeds", "seconds", "once_failed"])]
    seed: Option<u64>,
    /// Seeds from A up to B, without B itself
    #[arg(long, value_name = "A..B", value_parser = parse_range)]
    seeds: Option<Range<u64>>,
    /// Begin no seed after so many seconds; without --seeds, run fresh ones until then [default: 10]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Run the seeds first that once found a defect, each in an earlier version
    #[arg(long)]
    once_failed: bool,
    /// How many seeds are run side by side [default: as many as there are cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=JOBS_MAX))]
    jobs: Option<u16>,
    /// How many nodes the cluster is born with; otherwise the seed chooses
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=NODES_MAX))]
    nodes: Option<u64>,
    /// The consensus engine
    #[arg(long, value_name = "NAME", default_value = "raft", value_parser = engines())]
    engine: EngineKind,
    /// What the run is about
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = themes())]
    profile: Theme,
    /// Turn a kind of fault off; may be given several times
    #[arg(long, value_name = "FAULT", value_parser = faults())]
    without: Vec<Fault>,
    /// How much happens in each world; otherwise the seed chooses
    #[arg(long, value_name = "PACE", value_parser = paces())]
    pace: Option<Pace>,
    /// How long faults happen in each seed, in simulated seconds [default: 30 in a dense world, 600 in a sparse one]
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// Make a defect, to see whether it is noticed
    #[arg(long, value_name = "NAME", value_parser = bugs())]
    bug: Option<Bug>,
    /// Go on after a violation
    #[arg(long)]
    keep_going: bool,
    /// Print JSON instead of text: one object, on the last line
    #[arg(long)]
    json: bool,
    /// Print everything that happens in the seed
    #[arg(long, requires = "seed", conflicts_with = "json")]
    trace: bool,
}

/// What is shown instead of being judged.
#[derive(Clone, Debug, clap::Subcommand)]
enum Play {
    /// Show single-decree Paxos at work: nodes that propose different values, and the one that they agree on
    Synod(synod::Args),
}

pub(crate) fn run(args: &Args) -> Exit {
    if let Some(Play::Synod(args)) = &args.play {
        return synod::run(args);
    }
    let profile = args.profile();
    let upheld = match args.seed.filter(|_| args.trace) {
        Some(seed) => trace(seed, &profile),
        None => {
            let summary = seeds::run_all(args, &profile);
            match args.json {
                true => say(false, &format!("{}\n", summary.json())),
                false => say(false, &summary.text()),
            }
            summary.violations.is_empty()
        }
    };
    if upheld { Exit::Success } else { Exit::Failure }
}

/// Prints one seed from its beginning to its end. Whether everything held.
fn trace(seed: u64, profile: &Profile) -> bool {
    let (result, lines) = run_traced(seed, profile, usize::MAX);
    lines.iter().for_each(|line| say(false, &format!("{line}\n")));
    match result {
        Ok(report) => {
            say(false, &report.to_string());
            true
        }
        Err(mut violation) => {
            violation.trace.clear();
            say(false, &format!("{violation}\n"));
            false
        }
    }
}

/// A seed that probably nobody has run: short enough to be read out and typed.
fn fresh() -> u64 {
    u64::from(getrandom::u32().expect("an operating system that runs this has random numbers"))
}

/// Writes to standard output, or beside it, where that is for a program to read. A reader that has gone away needs not
/// be told more.
fn say(beside: bool, text: &str) {
    let _ = match beside {
        true => io::stderr().write_all(text.as_bytes()),
        false => io::stdout().write_all(text.as_bytes()),
    };
}

impl Args {
    /// On how many cores seeds are run.
    fn jobs(&self) -> usize {
        self.jobs.map_or_else(|| thread::available_parallelism().map_or(1, NonZero::get), usize::from)
    }

    fn profile(&self) -> Profile {
        let mut profile = Profile::about(self.profile);
        profile.engine = self.engine;
        profile.nodes = self.nodes.or(profile.nodes);
        profile.pace = self.pace.or(profile.pace);
        profile.duration = self.duration.map(Duration::from_secs);
        profile.bug = self.bug;
        profile.faults.retain(|fault| !self.without.contains(fault));
        profile
    }
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let parts = text.split_once("..").and_then(|(first, end)| Some(first.parse().ok()?..end.parse().ok()?));
    let range: Range<u64> = parts.ok_or("a range is written as 0..100")?;
    if range.is_empty() { Err(format!("there is no seed in {text}")) } else { Ok(range) }
}

fn themes() -> impl TypedValueParser<Value = Theme> {
    let told = |theme: Theme| PossibleValue::new(theme.name()).help(theme.explanation());
    named(Theme::ALL.iter().copied(), |theme| theme.name(), told)
}

fn engines() -> impl TypedValueParser<Value = EngineKind> {
    named(EngineKind::ALL.iter().copied(), EngineKind::name, |kind| PossibleValue::new(kind.name()))
}

fn paces() -> impl TypedValueParser<Value = Pace> {
    named(Pace::ALL.iter().copied(), Pace::name, |pace| PossibleValue::new(pace.name()))
}

fn faults() -> impl TypedValueParser<Value = Fault> {
    named(Fault::ALL.iter().copied(), |fault| fault.name(), |fault| PossibleValue::new(fault.name()))
}

fn bugs() -> impl TypedValueParser<Value = Bug> {
    named(Bug::all(), |bug| bug.name(), |bug| PossibleValue::new(bug.name()).help(bug.explanation()))
}

/// Takes one of `all` by its name.
fn named<T: Copy + Send + Sync + 'static>(
    all: impl Iterator<Item = T> + Clone + Send + Sync + 'static,
    name: fn(T) -> &'static str,
    told: fn(T) -> PossibleValue,
) -> impl TypedValueParser<Value = T> {
    let values = PossibleValuesParser::new(all.clone().map(told));
    values.map(move |text| all.clone().find(|&one| name(one) == text).expect("one of those"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parsed(command: &str) -> Args {
        match Cli::try_parse_from(command.split(' ')).unwrap().command {
            Command::Sim(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_violation_is_replayed_by_the_command_that_it_prints() {
        for command in [
            "quorate sim --seed 3",
            "quorate sim --seed 17 --profile disks --nodes 5 --duration 60 --without kill --without bit-rot",
            "quorate sim --seed 4 --bug lying-disk",
            "quorate sim --seed 5 --pace sparse",
            "quorate sim --seed 7 --profile crashes --engine paxos",
            "quorate sim --seed 6 --profile steady --nodes 5 --pace dense",
        ] {
            let args = parsed(command);
            assert_eq!(args.profile().replay(args.seed.unwrap()), command);
        }
    }

    #[test]
    fn ranges_hold_a_seed() {
        assert_eq!(parse_range("3..5"), Ok(3..5));
        assert!(parse_range("5..5").is_err() && parse_range("5").is_err());
    }
}
