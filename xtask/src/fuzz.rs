//! `fuzz`: garbage for everything that reads foreign bytes, for longer than the tests do it.

use crate::workspace::{built, cargo, execute};
use anyhow::Result;
use std::process::Command;

/// What to try.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Arguments for the program of `fuzz/`, such as `--target resp --seconds 300`, or `--help`. Without any, a minute
    /// and a fresh seed for each target
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    execute(cargo("build").args(["--workspace", "--locked", "--quiet", "--bin", "quorate-fuzz"]))?;
    execute(Command::new(built("quorate-fuzz")).args(&options.arguments))
}
