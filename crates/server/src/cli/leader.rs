//! `quorate leader`: who leads is the cluster's own choice, but an operator may have reasons.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Exit, address::Servers};

const EXAMPLES: &str = "\
Examples:
  quorate leader transfer            before the leader's machine is maintained
  quorate leader transfer --to 2     node 2 has the fastest disk

Any node may be asked. Commands that clients send meanwhile wait for some milliseconds and are
carried out once. Stopping the leader hands over as well: this is for when it should go on.
Exit status: 0 if another node leads now (or the one named did already), 1 otherwise.";

/// The flags of `leader`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    order: Order,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Order {
    /// Lets another node lead
    #[command(after_help = EXAMPLES)]
    Transfer {
        #[command(flatten)]
        servers: Servers,
        /// The node that is to lead; without it, whichever is furthest in the log
        #[arg(long, value_name = "NODE-ID")]
        to: Option<u64>,
    },
}

/// How long a cluster may be without a leader before that is an error.
const ELECTION_MAX: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// How long a node may take to answer: it waits for the successor for less than this.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(args: &Args) -> Exit {
    let Order::Transfer { servers, to } = &args.order;
    // Once a node was asked, another one must not be: the leader might give way twice.
    servers.connect("quorate leader transfer").map_or(Exit::Failure, |connection| ask(connection, *to))
}

fn ask(mut connection: redis::Connection, to: Option<u64>) -> Exit {
    match transfer(&mut connection, to) {
        Ok((leader, took)) => {
            println!("node {leader} leads ({} ms)", took.as_millis());
            Exit::Success
        }
        Err(error) if error.is_io_error() => {
            eprintln!(
                "quorate leader transfer: {error}. Whether another node leads is unknown: see `quorate status`"
            );
            Exit::Failure
        }
        Err(error) => {
            eprintln!("quorate leader transfer: {error}");
            Exit::Failure
        }
    }
}

/// The new leader, and how long it took.
fn transfer(connection: &mut redis::Connection, to: Option<u64>) -> redis::RedisResult<(u64, Duration)> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let first = Instant::now();
    loop {
        let begin = Instant::now();
        match redis::cmd("QUORATE").arg("TRANSFER").arg(to).query(connection) {
            Ok(leader) => return Ok((leader, begin.elapsed())),
            // Just after a change the node that was asked may not have heard of the new leader yet.
            Err(error) if error.code() == Some("CLUSTERDOWN") && first.elapsed() < ELECTION_MAX => {
                thread::sleep(RETRY_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}
