//! Quorate's own tooling, run as `cargo xtask COMMAND`.
//!
//! `verify` is the one test command: everything that a change must pass before it lands. The other
//! commands are its parts, to be run alone, and the longer runs that CI adds. Nothing here writes to a
//! tracked file except `fix`, whose purpose that is.

mod bench;
mod compat;
mod fuzz;
mod model;
mod provision;
mod sim;
mod steps;
mod torture;
mod verify;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Quorate's own tooling", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check everything: format, lints, tests, architecture, binary, and the short compat suite
    Verify,
    /// Format the sources and apply the lints' own suggestions
    Fix,
    /// Run seeds of the deterministic simulator
    Sim(sim::Options),
    /// Look at every order of events in a small cluster, within a bound
    Model(model::Options),
    /// Give garbage to everything that reads foreign bytes
    Fuzz(fuzz::Options),
    /// Measure in release builds, beside peers: `bench peers`, `bench engines`, `bench micro`, `bench resilience`
    Bench(bench::Options),
    /// Run client programs and faults against the real binary, as black-box tests
    Compat(compat::Options),
    /// Torture real nodes with every fault that one machine can make, and judge what clients saw; needs root
    Torture(torture::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Verify => verify::run(),
        Command::Fix => verify::fix(),
        Command::Sim(options) => sim::run(&options),
        Command::Model(options) => model::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Compat(options) => compat::run(&options),
        Command::Torture(options) => torture::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
