//! `quorate member`: who belongs to the cluster.

use std::time::Duration;

use comfy_table::{Table, presets};

use super::{
    Exit,
    address::{Servers, status, tell_failure},
};
use crate::{
    config::{Address, HostPort, Value as _},
    status::{Member, NodeStatus},
};

const EXAMPLES: &str = "\
Examples:
  quorate member list                       who is a member, and who votes
  quorate serve --join 10.0.0.1:7379        on a new machine: joins, catches up, and votes
  quorate serve --join 10.0.0.1:7379 --join-as replace:2
                                            the same in the place of node 2
  quorate serve --join 10.0.0.1:7379 --join-as witness
                                            votes beside two others, and keeps no data
  quorate member remove 3                   node 3 leaves for good
  quorate member add 10.0.0.4:17379         announces a node that is started with --join later
  quorate member promote 4                  node 4 has caught up, and is to vote
  quorate member quorum 2                   two voters commit, and of five, four elect
  quorate member change promote 4 demote 1  several at once, or none of them

Any node may be asked. Changes are agreed on by the members, old and new, and take effect as a
whole. What would leave too few voters in reach is refused.
Exit status: 0 if it is done, 1 otherwise.";

/// The flags of `member`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    servers: Servers,
    #[command(subcommand)]
    order: Order,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Order {
    /// Shows the members
    List {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Adds a node, which gets the data and does not vote yet
    Add {
        /// Where its peer listener will be
        #[arg(value_name = "HOST:PORT", value_parser = peer_address)]
        address: Address,
        /// Its id; without it, the lowest that was never used
        #[arg(long)]
        id: Option<u64>,
        /// Have it vote as soon as it has caught up
        #[arg(long)]
        promote: bool,
        /// Have it vote beside two others, and keep no data
        #[arg(long, conflicts_with = "promote")]
        witness: bool,
    },
    /// Has nodes vote that have caught up
    Promote {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<u64>,
    },
    /// Has nodes vote no more, but keep getting the data
    Demote {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<u64>,
    },
    /// Removes nodes for good
    Remove {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<u64>,
    },
    /// Adds a node that takes a voter's place as soon as it has caught up
    Replace {
        /// The voter's id
        voter: u64,
        /// Where the peer listener of the new node will be
        #[arg(value_name = "HOST:PORT", value_parser = peer_address)]
        address: Address,
        /// The id of the new node; without it, the lowest that was never used
        #[arg(long)]
        id: Option<u64>,
    },
    /// Shows how many voters commit, or has so many do it; elections need as many that both always meet (engine paxos)
    Quorum {
        /// How many are to commit, or `majority`
        #[arg(value_name = "VOTERS")]
        voters: Option<String>,
        /// Even if the loss of one node could stop the cluster, or lose what was committed
        #[arg(long, requires = "voters")]
        force: bool,
    },
    /// Does several things at once, in the words of QUORATE MEMBER
    Change {
        /// Such as: promote 4 demote 1
        #[arg(required = true, value_name = "STEP")]
        words: Vec<String>,
    },
}

fn peer_address(text: &str) -> Result<Address, String> {
    let address = Address::read(text, &HostPort).filter(|address| address.port > 0);
    address.ok_or_else(|| format!("allowed is {HostPort}: where the peer listener of the node is"))
}

/// How long a change may take: the members wait for a leader for as long as for a command.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(args: &Args) -> Exit {
    // Once a node was asked, another one must not be: the change might be made twice.
    args.servers.connect("quorate member").map_or(Exit::Failure, |connection| ask(connection, &args.order))
}

fn ask(mut connection: redis::Connection, order: &Order) -> Exit {
    let outcome = match order {
        Order::List { json } => list(&mut connection, *json),
        Order::Quorum { voters: None, .. } => status(&mut connection).map(|status| meaning(&status)),
        Order::Add { .. }
        | Order::Promote { .. }
        | Order::Demote { .. }
        | Order::Remove { .. }
        | Order::Replace { .. }
        | Order::Quorum { .. }
        | Order::Change { .. } => change(&mut connection, order),
    };
    match outcome {
        Ok(text) => {
            println!("{text}");
            Exit::Success
        }
        Err(error) => {
            tell_failure("quorate member", &error, "quorate member list");
            Exit::Failure
        }
    }
}

fn list(connection: &mut redis::Connection, json: bool) -> redis::RedisResult<String> {
    let status = status(connection)?;
    if json {
        return Ok(serde_json::to_string_pretty(&status.members).expect("members are plain data"));
    }
    Ok(table(&status).to_string())
}

fn table(status: &NodeStatus) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["node", "is", "peer address", "state"]);
    for member in &status.members {
        table.add_row([
            member.node_id.to_string(),
            part(status, member),
            member.address.clone(),
            state(status, member),
        ]);
    }
    table
}

fn part(status: &NodeStatus, member: &Member) -> String {
    let leads = status.leader.as_ref().is_some_and(|leader| leader.node_id == member.node_id);
    let part = if leads { "voter, leads" } else { member.kind.word() };
    match (member.promotes, member.replaces) {
        (true, Some(place)) => format!("{part}, to replace node {place}"),
        (true, None) => format!("{part}, to vote"),
        (false, _) => part.to_owned(),
    }
}

fn state(status: &NodeStatus, member: &Member) -> String {
    let aside = if member.set_aside { ", set aside until it has caught up" } else { "" };
    connection(status, member) + aside
}

fn connection(status: &NodeStatus, member: &Member) -> String {
    let Some(peer) = status.peers.iter().find(|peer| peer.node_id == member.node_id) else {
        return if member.node_id == status.node_id { "answers".to_owned() } else { "unknown".to_owned() };
    };
    match peer.connected {
        true => "connected".to_owned(),
        false => format!("not connected to node {}", status.node_id),
    }
}

fn change(connection: &mut redis::Connection, order: &Order) -> redis::RedisResult<String> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut command = redis::cmd("QUORATE");
    command.arg("MEMBER").arg(spell(order));
    let reply: redis::Value = command.query(connection)?;
    Ok(match (reply, order) {
        (redis::Value::Int(id), Order::Add { witness: true, .. }) => format!(
            "node {id} is a member, and votes without data once it answers\n\
             start it:  quorate serve --node-id {id} --join ANY-NODE --join-as witness"
        ),
        (redis::Value::Int(id), Order::Add { promote: false, .. }) => format!(
            "node {id} is a member, and does not vote yet\nstart it:      quorate serve --node-id {id} --join ANY-NODE\n\
             have it vote:  quorate member promote {id}"
        ),
        (redis::Value::Int(id), Order::Add { promote: true, .. }) => format!(
            "node {id} is a member, and votes once it has caught up\nstart it:  quorate serve --node-id {id} --join ANY-NODE"
        ),
        (redis::Value::Int(id), Order::Replace { voter, .. }) => format!(
            "node {id} is a member, and takes the place of node {voter} once it has caught up\n\
             start it:  quorate serve --node-id {id} --join ANY-NODE"
        ),
        (_, Order::Quorum { voters: wanted, .. }) => {
            let phase2_quorum = wanted.as_ref().and_then(|wanted| wanted.parse().ok());
            meaning(&NodeStatus { phase2_quorum, ..status(connection)? })
        }
        (_, _) => "done".to_owned(),
    })
}

/// What a quorum means for loss and for availability.
fn meaning(status: &NodeStatus) -> String {
    let quorums = status.quorums();
    let (commit, elect) = (quorums.to_commit(), quorums.to_elect());
    format!(
        "of {} voters {commit} commit, and {elect} elect a leader\n\
         nothing acknowledged is lost while fewer than {commit} disks are lost\n\
         a leader goes on while it reaches {commit} voters, itself included; a new one must reach {}",
        quorums.voters,
        quorums.to_lead()
    )
}

/// The order in the words of QUORATE MEMBER.
fn spell(order: &Order) -> Vec<String> {
    let each =
        |verb: &str, ids: &[u64]| ids.iter().flat_map(|id| [verb.to_owned(), id.to_string()]).collect();
    let add = |address: &Address, id: &Option<u64>, purpose: &[String]| {
        let id = id.iter().flat_map(|id| ["ID".to_owned(), id.to_string()]);
        ["ADD".to_owned(), address.to_string()].into_iter().chain(id).chain(purpose.iter().cloned()).collect()
    };
    match order {
        Order::List { .. } => vec!["LIST".to_owned()],
        Order::Add { address, id, promote, witness } => {
            let purpose = promote.then_some("VOTE").or(witness.then_some("WITNESS"));
            add(address, id, purpose.map(str::to_owned).as_slice())
        }
        Order::Promote { ids } => each("PROMOTE", ids),
        Order::Demote { ids } => each("DEMOTE", ids),
        Order::Remove { ids } => each("REMOVE", ids),
        Order::Replace { voter, address, id } => add(address, id, &["REPLACE".to_owned(), voter.to_string()]),
        Order::Quorum { voters, force } => {
            let force = force.then(|| "FORCE".to_owned());
            ["QUORUM".to_owned()].into_iter().chain(voters.clone()).chain(force).collect()
        }
        Order::Change { words } => words.clone(),
    }
}
