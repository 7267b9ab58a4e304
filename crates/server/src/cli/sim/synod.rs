//! `quorate sim synod`: single-decree Paxos, step by step.

use quorate_sim::synod;

use super::{NODES_MAX, fresh, say};
use crate::cli::Exit;

const EXAMPLES: &str = "\
Examples:
  quorate sim synod                          three nodes, a fresh seed
  quorate sim synod --proposers 5 --seed 7   the same play each time

Each node proposes a value at once, and is acceptor and learner, too. Messages are lost, repeated and
late; nodes crash and come back. A line is a message that arrives: who to whom, and its ballot, which
is a round and the node whose it is.
Exit status: 0 if all nodes have learned one value, 1 if not.";

/// The flags of `sim synod`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How many nodes, each of which proposes a value
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=NODES_MAX))]
    proposers: u64,
    /// The seed; otherwise a fresh one
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

pub(super) fn run(args: &Args) -> Exit {
    let seed = args.seed.unwrap_or_else(fresh);
    let play = synod(seed, args.proposers);
    play.lines.iter().for_each(|line| say(false, &format!("{line}\n")));
    let again = format!("seed {seed}: quorate sim synod --proposers {} --seed {seed}", args.proposers);
    match play.learned {
        Ok(value) => {
            say(false, &format!("all have learned {}\n{again}\n", value.escape_ascii()));
            Exit::Success
        }
        Err(wrong) => {
            say(false, &format!("violated: {wrong}\n{again}\n"));
            Exit::Failure
        }
    }
}
