//! `quorate reads`: how reads are confirmed is a matter of the whole cluster.

use std::time::Duration;

use quorate_consensus::Lease;

use super::{
    Exit,
    address::{Servers, status, tell_failure},
};
use crate::{config::Address, data_folder::DRIFT_PPM, status::NodeStatus};

const EXAMPLES: &str = "\
Examples:
  quorate reads                        how reads are confirmed now
  quorate reads lease --length 200ms   the leader answers alone, by a lease of 200 ms
  quorate reads linearizable           each read is confirmed by a majority, which is the default

By lease, reads cost no round to a majority. They are linearizable as long as no node's boot-time
clock runs faster than another's by more than --drift-ppm; and when a leader dies, the others wait
for the rest of its lease before they elect another. docs/consistency.md has more.
Exit status: 0 if it is so, 1 otherwise.";

/// The flags of `reads`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    servers: Servers,
    #[command(subcommand)]
    wish: Option<Wish>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Wish {
    /// Confirms reads by a round to a majority
    Linearizable,
    /// Has the leader answer reads alone, while it holds a lease
    Lease {
        /// For how long voters elect nobody else after they have heard the leader
        #[arg(long, default_value = "300ms", value_parser = humantime::parse_duration)]
        length: Duration,
        /// By how much one clock may run faster than another, in parts per million
        #[arg(long, default_value_t = DRIFT_PPM)]
        drift_ppm: u32,
    },
}

/// How long the change may take: it waits for a leader as long as a command does.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(args: &Args) -> Exit {
    let connection = args.servers.connect("quorate reads");
    connection.map_or(Exit::Failure, |connection| ask(connection, args.wish.as_ref()))
}

fn ask(mut connection: redis::Connection, wish: Option<&Wish>) -> Exit {
    let outcome = match wish {
        None => status(&mut connection).map(|status| as_it_is(&status)),
        Some(Wish::Linearizable) => order(&mut connection, &["OFF".to_owned()]).map(|()| describe(None)),
        Some(Wish::Lease { length, drift_ppm }) => {
            // One that is too long is refused there, with what is allowed.
            let millis =
                u64::try_from(length.as_millis()).unwrap_or(u64::MAX).min(Lease::MILLIS_MAX as u64 + 1);
            let lease = [millis.to_string(), drift_ppm.to_string()];
            order(&mut connection, &lease).map(|()| describe(Some(millis)))
        }
    };
    match outcome {
        Ok(text) => {
            println!("{text}");
            Exit::Success
        }
        Err(error) => {
            tell_failure("quorate reads", &error, "quorate reads");
            Exit::Failure
        }
    }
}

fn order(connection: &mut redis::Connection, lease: &[String]) -> redis::RedisResult<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    redis::cmd("QUORATE").arg("MEMBER").arg("LEASE").arg(lease).exec(connection)
}

/// What is configured, and whether the present leader goes by it.
fn as_it_is(status: &NodeStatus) -> String {
    let configured = describe(status.lease_ms.map(u64::from));
    let leader = match &status.leader {
        Some(leader) if leader.node_id != status.node_id => {
            super::status::ask(&Address::new(&leader.host, leader.port)).ok()
        }
        Some(_) | None => Some(status.clone()),
    };
    match leader {
        Some(leader) if leader.lease_given_up && status.lease_ms.is_some() => format!(
            "{configured}\nbut not in this term: node {} has begun to hand over, which came to nothing or is under way, and \
             until there is another leader each read is confirmed by a majority",
            leader.node_id
        ),
        Some(_) | None => configured,
    }
}

fn describe(lease_ms: Option<u64>) -> String {
    match lease_ms {
        Some(millis) => format!("lease: the leader answers reads alone, by a lease of {millis} ms"),
        None => "linearizable: each read is confirmed by a majority".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_has_given_its_lease_up_is_told_of() {
        let mut status = NodeStatus { node_id: 2, lease_ms: Some(200), ..NodeStatus::default() };
        assert_eq!(as_it_is(&status), "lease: the leader answers reads alone, by a lease of 200 ms");
        status.lease_given_up = true;
        let text = as_it_is(&status);
        assert!(text.contains("but not in this term: node 2 has begun to hand over"), "{text}");
        status.lease_ms = None;
        assert_eq!(as_it_is(&status), "linearizable: each read is confirmed by a majority");
    }
}
