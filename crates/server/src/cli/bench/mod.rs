//! `quorate bench`: a load generator, to measure throughput, latency, and how long a failover is felt.
//!
//! It drives a closed loop: each client sends its next requests when the last ones are answered. That hides
//! pauses from the percentiles (a client that waits sends nothing meanwhile), and so the longest time in which
//! no client at all got an answer is reported, too.

mod load;
mod report;

use std::time::Duration;

use super::{Exit, address::Servers};
use report::Report;

const EXAMPLES: &str = "\
Examples:
  quorate bench --op set --clients 50 --seconds 10
  quorate bench --op get --pipeline 16 --addr 127.0.0.1:7379,127.0.0.1:7380,127.0.0.1:7381
  quorate bench --op lock --clients 20 --keys 20 --json
  quorate bench --op acquire --clients 16 --keys 1

One operation on a lock is a whole cycle. lock is what stock code does: SET key id NX PX, then
the script that deletes the key if it still holds the id. acquire is LOCK ACQUIRE, waiting in
the lock's queue if need be, then LOCK RELEASE: with one key, it shows how long a hand-over
takes. Keys are named bench:N, and are left behind; locks lock:N.";

/// The most clients: each is a connection of this process.
const CLIENTS_MAX: i64 = 10_000;

/// The flags of `bench`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    servers: Servers,
    /// Connections, spread over the addresses
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=CLIENTS_MAX as u64))]
    clients: u64,
    /// Requests that a client sends together; always 1 for lock and acquire
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pipeline: u64,
    /// What to do
    #[arg(long, value_enum, default_value_t = Operation::Set)]
    op: Operation,
    /// For how long
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// The length of a key
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(16..=65_536))]
    key_bytes: u64,
    /// The length of a value
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=8 << 20))]
    value_bytes: u64,
    /// How many different keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    keys: u64,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// What a client does over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Operation {
    /// SET of a key
    Set,
    /// GET of a key
    Get,
    /// Take a lock by SET NX PX and release it by a script
    Lock,
    /// Take a lock by LOCK ACQUIRE and release it
    Acquire,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Get => "get",
            Self::Lock => "lock",
            Self::Acquire => "acquire",
        }
    }

    /// Whether it is about locks, and not about values.
    fn is_of_locks(self) -> bool {
        matches!(self, Self::Lock | Self::Acquire)
    }
}

pub(crate) fn run(args: &Args) -> Exit {
    if args.op.is_of_locks() && args.pipeline > 1 {
        let (pipeline, op) = (args.pipeline, args.op.name());
        eprintln!("quorate bench: --pipeline {pipeline} is not allowed with --op {op}; allowed is 1");
        return Exit::Usage;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("quorate bench: cannot start: {error}");
            return Exit::Failure;
        }
    };
    let report = match runtime.block_on(measure(args)) {
        Ok(report) => report,
        Err(error) => {
            eprintln!(
                "quorate bench: {error}\nIs a node running? `quorate up` starts a cluster here; --addr or \
                 QUORATE_ADDR say where to look."
            );
            return Exit::Failure;
        }
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).expect("a report has only plain fields"));
    } else {
        println!("{report}");
    }
    if report.operations > 0 { Exit::Success } else { Exit::Failure }
}

/// Runs the load and sums it up.
async fn measure(args: &Args) -> Result<Report, String> {
    let plan = load::Plan::new(args);
    plan.require_server().await?;
    let duration = Duration::from_secs(args.seconds);
    let (totals, longest_gap) = load::run(plan, args.clients, duration).await;
    Ok(Report::new(args, duration, &totals, longest_gap))
}
