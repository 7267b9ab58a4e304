//! `quorate up`: a whole cluster on this machine, in the foreground.
//!
//! Each node is a child process `quorate serve` of this same executable, so that one can be killed to see what
//! happens. Invariants:
//! * A node ends when `up` does, however that ends: it watches a pipe whose other end only `up` holds.
//! * Ctrl-C ends everything within [`STOP_MAX`], also with a node dead or stopped.
//! * Nothing that `up` prints after its start can block it: lines go through a lossy queue.

mod child;
mod layout;
mod record;
mod supervisor;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::Exit;
use crate::engine::EngineKind;
pub(super) use layout::node_folder;
use layout::{Layout, Problem};
use record::Record;

/// From the order to stop until the last node is gone.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  quorate up                          three nodes; clients on 7379, 7380 and 7381
  quorate up --nodes 5 --port 9000    five nodes from port 9000 on
  quorate up --ephemeral              data in a temporary folder, gone at the end
  quorate up --respawn                a node that dies is started again
  quorate up --engine paxos           a cluster that decides by Multi-Paxos, for as long as its folder lives
  quorate up --sentinel               Sentinel clients may ask for the leader, on 26379, 26380 and 26381

Node N of a cluster at port P: RESP on P+N-1, peers on P+9999+N, HTTP on P+10999+N, Sentinel on P+18999+N.";

/// The flags of `up`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How many nodes: 1, 3 or 5 [default: what the data folder holds, else 3]
    #[arg(long, value_parser = ["1", "3", "5"])]
    nodes: Option<String>,
    /// The RESP port of the first node; the others follow
    #[arg(long, default_value_t = 7379, value_parser = clap::value_parser!(u16).range(1024..=54_000))]
    port: u16,
    /// The folder that holds the data of all nodes
    #[arg(long, default_value = "quorate-data", value_name = "FOLDER")]
    data_dir: PathBuf,
    /// The consensus engine of a new cluster [default: that of the data folder, else raft]
    #[arg(long, value_enum)]
    engine: Option<EngineKind>,
    /// How many nodes commit an entry in a new cluster of the engine paxos [default: a majority]
    #[arg(long, value_name = "NODES", requires = "engine")]
    phase2_quorum: Option<u8>,
    /// Keep the data in a temporary folder that is removed at the end
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// Start a node again when it has died
    #[arg(long)]
    respawn: bool,
    /// Give each node a door for Sentinel clients; --port may be 46000 at most then
    #[arg(long)]
    sentinel: bool,
}

pub(crate) fn run(args: &Args) -> Exit {
    match start(args) {
        Ok(exit) => exit,
        Err(problem) => {
            eprintln!("quorate up: {problem}");
            Exit::Failure
        }
    }
}

fn start(args: &Args) -> Result<Exit, Problem> {
    let temporary = args.ephemeral.then(tempfile::tempdir).transpose().map_err(Problem::Start)?;
    let folder = temporary.as_ref().map_or(args.data_dir.as_path(), |folder| folder.path());
    let nodes = args.nodes.as_deref().map(|nodes| nodes.parse().expect("clap lets only 1, 3 and 5 pass"));
    let layout = Layout::new(nodes, args.engine, args.port, folder)?;
    let layout = if args.sentinel { layout.with_sentinels()? } else { layout };
    let layout = layout.with_phase2_quorum(args.phase2_quorum);
    layout.require_free_ports()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Problem::Start)?;
    runtime.block_on(supervisor::run(layout, args.respawn))
}

/// Says in `folder` that it holds a cluster of so many nodes with this engine, of which each has its data already.
///
/// # Errors
/// What the system says.
pub(super) fn remember_formed(folder: &Path, nodes: u64, engine: EngineKind) -> io::Result<()> {
    Record { nodes, engine, formed: true }.store(folder)
}

/// Takes back what was begun to be made in a folder that was empty: what [`remember_formed`] has written, and the folders
/// of the nodes. What resists stays.
pub(super) fn forget(folder: &Path, nodes: &[u64]) {
    let _ = Record::remove(folder);
    for &node in nodes {
        let _ = std::fs::remove_dir_all(node_folder(folder, node));
    }
}
