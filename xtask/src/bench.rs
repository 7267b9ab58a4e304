//! `bench`: measurements in release builds. Each is a bench target of the package `quorate-benches`, found there
//! by its name, so that a new one wants nothing here.

use crate::workspace::{cargo, execute, root};
use anyhow::{Result, ensure};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The bench's name, which is its folder below `benches/`, such as `resilience`
    name: String,
    /// Arguments for the bench, such as a part of the names of what to measure
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let program = root().join("benches").join(&options.name).join("main.rs");
    ensure!(program.is_file(), "there is no bench {} ({} is missing)", options.name, program.display());
    let bench = ["--locked", "--quiet", "--package", "quorate-benches", "--bench", &options.name, "--"];
    execute(cargo("bench").args(bench).args(&options.arguments))
}
