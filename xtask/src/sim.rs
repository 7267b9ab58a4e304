//! `sim`: seeds of the deterministic simulator, run by the binary of `quorate-sim`.

use crate::workspace::{cargo, execute, root};
use anyhow::{Result, ensure};

/// Which seeds to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Arguments for the simulator, such as `--seeds 0..5000` or `--seed 17 --trace`; see `cargo xtask sim -- --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let simulator = root().join("crates/sim/src/main.rs");
    ensure!(simulator.is_file(), "the simulator has no program yet ({} is missing)", simulator.display());
    let build = ["--locked", "--quiet", "--package", "quorate-sim", "--"];
    execute(cargo("run").args(build).args(&options.arguments))
}
