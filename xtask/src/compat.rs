//! `compat`: real clients and real faults against the real binary. The suite itself is Python, below
//! `compat/`; here it only gets what it needs.

use crate::workspace::{built, cache, execute, root, target};
use crate::{provision, verify};
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

/// What to run, and against what.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Run the long form: more trials, more kills, the original programs' full time-outs
    #[arg(long)]
    long: bool,
    /// Run only the checks of these names (see --list)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Test this running cluster instead of starting one: host:port of each node. Checks that must kill
    /// a node are left out. The keyspace is flushed!
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    addr: Vec<String>,
    /// Test this binary instead of building one
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Start clusters with this consensus engine: raft or paxos. Without it, checks of what an engine promises run for both,
    /// and all others for raft
    #[arg(long, value_name = "NAME")]
    engine: Option<String>,
    /// Run the checks against Redis itself where that is possible: this tests the checks
    #[arg(long)]
    against_redis: bool,
    /// List the checks and stop
    #[arg(long)]
    list: bool,
}

/// Builds what is under test, fetches what the suite needs, and runs it.
pub(crate) fn run(options: &Options) -> Result<()> {
    verify::build()?;
    execute_suite(options)
}

/// Runs the suite on what has been built.
pub(crate) fn execute_suite(options: &Options) -> Result<()> {
    let python = provision::all()?;
    let mut suite = Command::new(python);
    suite.current_dir(root().join("compat")).env("PYTHONDONTWRITEBYTECODE", "1");
    suite.args(["-u", "run.py"]);
    suite.arg("--binary").arg(options.binary.clone().unwrap_or_else(|| built("quorate")));
    suite.arg("--next-binary").arg(built(verify::NEXT));
    suite.arg("--examples").arg(built("examples"));
    suite.arg("--cache").arg(cache());
    suite.arg("--output").arg(target().join("compat"));
    for name in &options.only {
        suite.arg("--only").arg(name);
    }
    for address in &options.addr {
        suite.arg("--addr").arg(address);
    }
    if let Some(engine) = &options.engine {
        suite.arg("--engine").arg(engine);
    }
    let switches =
        [("--long", options.long), ("--against-redis", options.against_redis), ("--list", options.list)];
    suite.args(switches.iter().filter(|(_, on)| *on).map(|(switch, _)| switch));
    execute(&mut suite)
}
