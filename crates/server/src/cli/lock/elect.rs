//! `quorate elect`: a command runs while one leads.

use std::{process::ExitCode, time::Duration};

use quorate_client::Client;

use super::{Task, Terms};

const EXAMPLES: &str = "\
Examples:
  quorate elect scheduler -- ./scheduler.sh        on every machine: one of them runs it, the next one when that is gone
  quorate elect api --value 10.0.0.7:8080 -- ./api.sh   quorate watch api --election tells the others
  quorate elect db --priority 10 -- ./db.sh        before candidates of a smaller priority, once nobody leads

CMD finds the fencing token of its term in QUORATE_TOKEN and the election's name in QUORATE_LOCK. All that
quorate lock --help says of input, output, signals and of what happens at a loss holds here, too. When
CMD ends, or its term is lost, this command ends; whoever wants to campaign again runs it again.

Exit status: that of CMD; 128 and the number of the signal that ended it; and of this command itself:
123 the leadership was lost before CMD ended, 124 somebody else led for all of --wait, 125 no node
answered, or the candidacy was refused, 126 CMD cannot be run, 127 there is no CMD, 2 a flag is wrong.";

/// The flags of `elect`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The election's name
    name: String,
    /// How long to wait while somebody else leads [default: for good]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// What others are to know while CMD runs, such as its address
    #[arg(long, value_name = "TEXT")]
    value: Option<String>,
    /// Candidates of a greater priority lead before others; nobody is deposed
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    priority: u32,
    #[command(flatten)]
    terms: Terms,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let task = Task { program: "elect", thing: "leadership of", name: &args.name, terms: &args.terms };
    task.run(async |client: &Client| {
        let mut election = client.election(&args.name).ttl(args.terms.ttl).priority(args.priority);
        if let Some(wait) = args.wait {
            election = election.wait(wait);
        }
        if let Some(value) = &args.value {
            election = election.value(value.as_str());
        }
        if let Some(owner) = &args.terms.owner {
            election = election.owner(owner);
        }
        Ok(election.campaign().await?.into_guard())
    })
}
