//! `bench`: measurements in release builds. Each is a bench target of the package `quorate-benches`, found there
//! by its name, so that a new one wants nothing here. The exceptions are programs, since these can have tests: `engines`,
//! and `peers`, which runs other programs; `locks` is a part of that.

use crate::{
    provision,
    workspace::{cargo, execute, released, root},
};
use anyhow::{Result, ensure};
use std::process::Command;

/// The part of `peers` that is about locks.
const LOCKS: [[&str; 2]; 4] = [
    ["--only", "quorate,redis,etcd"],
    ["--parts", "load,leases"],
    ["--workloads", "native,handover"],
    ["--clients", "1,16,64"],
];

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The bench's name, which is its folder below `benches/`: peers, engines, micro or resilience; or locks, a part of peers
    name: String,
    /// Arguments for the bench, such as a part of the names of what to measure
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    match options.name.as_str() {
        "peers" => return peers(&[], &options.arguments),
        "locks" => return peers(&LOCKS, &options.arguments),
        "engines" => return engines(&options.arguments),
        _ => {}
    }
    let program = root().join("benches").join(&options.name).join("main.rs");
    ensure!(program.is_file(), "there is no bench {} ({} is missing)", options.name, program.display());
    let bench = ["--locked", "--quiet", "--package", "quorate-benches", "--bench", &options.name, "--"];
    execute(cargo("bench").args(bench).args(&options.arguments))
}

/// Runs whole servers side by side: Quorate as it ships, and the others as the system's packages bring them.
fn peers(part: &[[&str; 2]], arguments: &[String]) -> Result<()> {
    let asks_for_help = arguments.iter().any(|argument| matches!(argument.as_str(), "--help" | "-h"));
    if !asks_for_help {
        provision::peers()?;
    }
    // Each by itself: the server is to have the features that it ships with, and no more.
    build("quorate", "quorate")?;
    build("quorate-benches", "peers")?;
    let mut command = Command::new(released("peers"));
    command.current_dir(root()).arg("--quorate").arg(released("quorate"));
    // What the caller says is not said before: a list would grow by it.
    let is_said = |flag: &str| arguments.iter().any(|argument| argument.split('=').next() == Some(flag));
    let part = part.iter().filter(|[flag, _]| !is_said(flag)).flatten();
    execute(command.args(part).args(arguments))
}

/// Runs consensus engines side by side.
fn engines(arguments: &[String]) -> Result<()> {
    build("quorate-benches", "engines")?;
    execute(Command::new(released("engines")).args(arguments))
}

fn build(package: &str, program: &str) -> Result<()> {
    let what = ["--release", "--locked", "--quiet", "--package", package, "--bin", program];
    execute(cargo("build").args(what))
}
