//! `sim`: seeds of the deterministic simulator, which is a part of `quorate`; and the test of its checkers.

use crate::workspace::{built, cargo, execute};
use anyhow::Result;
use std::process::Command;

/// Which seeds to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Test the checkers instead: each seeded defect must be noticed within its seeds
    #[arg(long, exclusive = true)]
    seeded_bugs: bool,
    /// Arguments for `quorate sim`, such as `--seeds 0..5000` or `--seed 17 --trace`; see `quorate sim --help`.
    /// Without any, what CI runs: for each engine the seeds that once failed, then fresh ones for some minutes on all cores
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// What CI runs, and for how many seconds. Fresh seeds each time: together the runs see more than one list ever would.
const USUAL: [(&str, &str); 2] = [("raft", "240"), ("paxos", "200")];

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.seeded_bugs {
        // Some crates of the workspace are built a second time for it, and no program. The bounded model has its part.
        let hunt = ["--workspace", "--locked", "--quiet", "--features", "quorate-sim/seeded-bugs"];
        return execute(cargo("test").args(hunt).args([
            "--test",
            "bugs",
            "--test",
            "model",
            "--",
            "--nocapture",
        ]));
    }
    execute(cargo("build").args(["--workspace", "--locked", "--quiet", "--bin", "quorate"]))?;
    if !options.arguments.is_empty() {
        return execute(Command::new(built("quorate")).arg("sim").args(&options.arguments));
    }
    for (engine, seconds) in USUAL {
        let usual = ["sim", "--once-failed", "--engine", engine, "--seconds", seconds];
        execute(Command::new(built("quorate")).args(usual))?;
    }
    Ok(())
}
