//! `torture`: three real nodes and real clients under every fault that one machine can make, and the judgement of what
//! the clients saw. The run itself is Python, `compat/torture`; here it gets what it needs, and namespaces of its own.

use crate::provision;
use crate::workspace::{built, cargo, execute, root, target};
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

/// For how long, and what.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long faults happen. Reading everything once more, and the judgement, come on top
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// The order of the faults, as an earlier run printed it; what clients and nodes do is never the same twice
    #[arg(long)]
    seed: Option<u64>,
    /// Only these faults, such as `kill_one` or `power_cut_all`
    #[arg(long, value_name = "FAULT", value_delimiter = ',')]
    only: Vec<String>,
    /// Torture this binary instead of building one
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let programs = ["--bin", "quorate", "--example", "judge_history"];
    execute(cargo("build").args(["--workspace", "--locked", "--quiet"]).args(programs))?;
    let python = provision::torture()?;
    // When the first process of the namespaces ends, so does everything in them: nodes, clients, mounts, cuts.
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.current_dir(root().join("compat")).env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(python).args(["-u", "-m", "torture", "--seconds"]).arg(options.seconds.to_string());
    command.arg("--binary").arg(options.binary.clone().unwrap_or_else(|| built("quorate")));
    command.arg("--judge").arg(built("examples").join("judge_history"));
    command.arg("--output").arg(target().join("torture"));
    command.args(options.seed.iter().flat_map(|seed| ["--seed".to_owned(), seed.to_string()]));
    command.args(options.only.iter().flat_map(|fault| ["--only", fault]));
    execute(&mut command)
}
