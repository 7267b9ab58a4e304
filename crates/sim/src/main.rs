//! The simulator's command line: one seed with its trace, or many with a summary.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use quorate_sim::{Bug, Fault, Profile, Report, run, run_traced};

/// Simulates clusters under faults, and judges them.
#[derive(Debug, Parser)]
#[command(name = "quorate-sim")]
struct Arguments {
    /// One seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// A range of seeds, as FIRST..END.
    #[arg(long, value_parser = parse_range, default_value = "0..100")]
    seeds: Range,
    /// Prints everything that happens in the seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// The number of nodes that the cluster is born with; otherwise the seed chooses.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=7))]
    nodes: Option<u64>,
    /// Begins no seed after so many seconds of wall-clock time.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// How long faults happen in each seed, in simulated seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    duration: u64,
    /// Runs without faults.
    #[arg(long)]
    calm: bool,
    /// Turns one kind of fault off; may be given several times.
    #[arg(long, value_name = "FAULT", value_parser = parse_fault)]
    without: Vec<Fault>,
    /// Goes on after a violation, and prints one line for each.
    #[arg(long)]
    keep_going: bool,
    /// Makes a defect, to see whether it is noticed.
    #[arg(long, value_parser = parse_bug)]
    bug: Option<Bug>,
}

#[derive(Debug, Clone, Copy)]
struct Range {
    first: u64,
    end: u64,
}

fn parse_range(text: &str) -> Result<Range, String> {
    let parts = text.split_once("..").and_then(|(first, end)| Some((first.parse().ok()?, end.parse().ok()?)));
    let (first, end) = parts.ok_or("a range is written as 0..100")?;
    if first < end { Ok(Range { first, end }) } else { Err(format!("there is no seed in {first}..{end}")) }
}

fn parse_fault(text: &str) -> Result<Fault, String> {
    Fault::ALL.iter().copied().find(|fault| fault.name() == text).ok_or_else(|| {
        let names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        format!("the faults are {}", names.join(", "))
    })
}

fn parse_bug(text: &str) -> Result<Bug, String> {
    Bug::ALL.iter().copied().find(|bug| bug.name() == text).ok_or_else(|| {
        let names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        format!("the defects are {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut profile = if arguments.calm { Profile::calm() } else { Profile::default() };
    profile.nodes = arguments.nodes;
    profile.duration = Duration::from_secs(arguments.duration);
    profile.bug = arguments.bug;
    for fault in &arguments.without {
        profile.faults.remove(fault);
    }
    match arguments.seed {
        Some(seed) => one(seed, &profile, arguments.trace),
        None => many(&arguments, &profile),
    }
}

fn one(seed: u64, profile: &Profile, trace: bool) -> ExitCode {
    let lines = if trace { usize::MAX } else { 0 };
    let (result, told) = run_traced(seed, profile, lines);
    told.iter().for_each(|line| println!("{line}"));
    match if trace { result } else { run(seed, profile) } {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(mut violation) => {
            if trace {
                violation.trace.clear();
            }
            println!("{violation}");
            ExitCode::FAILURE
        }
    }
}

fn many(arguments: &Arguments, profile: &Profile) -> ExitCode {
    let begin = Instant::now();
    let limit = arguments.seconds.map(Duration::from_secs);
    let mut total = Report::default();
    let (mut seeds, mut violations) = (0_u64, 0_u64);
    for seed in arguments.seeds.first..arguments.seeds.end {
        if limit.is_some_and(|limit| begin.elapsed() >= limit) {
            break;
        }
        seeds += 1;
        match run(seed, profile) {
            Ok(report) => total.merge(&report),
            Err(violation) => {
                violations += 1;
                if !arguments.keep_going {
                    println!("{violation}");
                    break;
                }
                let detail: String = violation.detail.lines().take(2).collect::<Vec<_>>().join(" ");
                println!("seed {seed} at {}: {}: {detail}", violation.at, violation.property);
            }
        }
    }
    print!("{total}");
    let wall = begin.elapsed().as_secs_f64();
    let speed = total.simulated.as_secs_f64() / wall.max(f64::MIN_POSITIVE);
    println!("{seeds} seeds, {violations} violations, {wall:.1} s, {speed:.0} times real time");
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
