//! `quorate-fuzz`: a longer campaign against one target or all of them.

use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use quorate_fuzz::{Campaign, TARGETS, Target};

/// Gives garbage to everything that reads foreign bytes
#[derive(Parser)]
struct Options {
    /// One target; all of them, one after the other, without it
    #[arg(long)]
    target: Option<String>,
    /// How long each target is tried
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The same seed makes the same inputs; a fresh one without it
    #[arg(long)]
    seed: Option<u64>,
    /// Give just this file to the target
    #[arg(long, requires = "target")]
    input: Option<std::path::PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quorate-fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let targets = match &options.target {
        None => TARGETS.to_vec(),
        Some(name) => {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            vec![
                Target::named(name)
                    .with_context(|| format!("no target {name}: there are {}", names.join(", ")))?,
            ]
        }
    };
    if let Some(file) = &options.input {
        let input = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        targets.iter().for_each(|target| println!("{}: outcomes {:x?}", target.name, (target.run)(&input)));
        return Ok(());
    }
    let fresh = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs());
    let seed = options.seed.unwrap_or_else(fresh);
    let found = targets.into_iter().map(|target| attack(target, seed, Duration::from_secs(options.seconds)));
    match found.collect::<Result<Vec<bool>>>()?.contains(&true) {
        true => bail!("a promise was broken"),
        false => Ok(()),
    }
}

/// Whether something was found.
fn attack(target: Target, seed: u64, time: Duration) -> Result<bool> {
    let name = target.name;
    println!("{name}: seed {seed}");
    let end = Instant::now() + time;
    match Campaign::new(target, seed)?.run(|_| Instant::now() < end) {
        Ok(tally) => {
            let (cases, outcomes, slowest) = (tally.cases, tally.outcomes, tally.slowest);
            println!("{name}: {cases} cases, {outcomes} outcomes, {slowest:?} the slowest: nothing found");
            Ok(false)
        }
        Err(finding) => {
            let folder = Path::new("target/fuzz");
            let file = folder.join(format!("{name}-{:08x}", crc32c::crc32c(&finding.input)));
            fs::create_dir_all(folder).and_then(|()| fs::write(&file, &finding.input))?;
            println!("{name}: {}\n  {}", finding.panic, finding.input.escape_ascii());
            println!("  again: quorate-fuzz --target {name} --input {}", file.display());
            Ok(true)
        }
    }
}
