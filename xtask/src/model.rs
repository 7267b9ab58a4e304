//! `model`: model checking of the consensus engine, within a bound, and of the synod, for longer than the tests do it.

use crate::workspace::{cargo, execute};
use anyhow::Result;

/// How far to go.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// States to look at, counted each time one is reached: four million are a million different ones, and take
    /// a minute and 6 GB of memory
    #[arg(long, default_value_t = 4_000_000)]
    states: usize,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let test =
        ["--workspace", "--locked", "--quiet", "--test", "model", "--test", "synod", "--", "--nocapture"];
    execute(cargo("test").args(test).env("QUORATE_MODEL_STATES", options.states.to_string()))
}
