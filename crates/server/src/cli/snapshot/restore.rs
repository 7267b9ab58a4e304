//! `quorate snapshot restore`: a new cluster with the data of a backup.

use std::{
    io,
    path::{Path, PathBuf},
};

use quorate_consensus::{ID_MAX, Membership, NodeId};
use quorate_log::{Founding, OsDisk};
use quorate_machine::FENCE_ABOVE_MAX;

use super::{EXIT_HELP, backup::Backup};
use crate::{
    cli::{
        Exit,
        problem::{Problem, failed, told},
        progress::size,
        up,
    },
    engine::EngineKind,
    new_cluster::FirstState,
};

const EXAMPLES: &str = "\
Examples:
  quorate snapshot restore quorate.backup --data-dir restored
      one node, for quorate serve --data-dir restored
  quorate snapshot restore quorate.backup --data-dir restored --nodes 3
      three nodes, for quorate up --data-dir restored; or take each of the folders node-1, node-2
      and node-3 to a machine of its own, for quorate serve --peers, without --bootstrap

The new cluster has an id of its own: nodes of the old one are refused. Fencing tokens go on
above all that were given, as far as this machine's clock is right; --fence-above if it is not.
The folder must be empty.";

/// The flags of `snapshot restore`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n{EXIT_HELP}"))]
pub(super) struct Args {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder to restore into; it is made, or must be empty
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Make the folders of so many nodes, as `quorate up` has them: 1, 3 or 5
    #[arg(long, value_parser = ["1", "3", "5"], conflicts_with = "node_id")]
    nodes: Option<String>,
    /// The engine of the new cluster: a backup holds state, which either engine can go on with
    #[arg(long, value_enum, default_value_t)]
    engine: EngineKind,
    /// The id of the one node
    #[arg(long, value_name = "ID", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=ID_MAX))]
    node_id: u64,
    /// Let all new fencing tokens be greater than this
    #[arg(long, value_name = "TOKEN", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=FENCE_ABOVE_MAX))]
    fence_above: u64,
}

pub(super) fn run(args: &Args) -> Exit {
    told("snapshot restore", restore(args))
}

/// What may be in a folder that counts as empty: what an earlier attempt has left, and what a file system has of its own.
const NOTHING: &[&str] = &["lock", "snapshots", "lost+found"];

fn restore(args: &Args) -> Result<(), Problem> {
    let nodes = args.nodes.as_deref().map(|nodes| nodes.parse().expect("clap lets only 1, 3 and 5 pass"));
    // First, since it costs nothing, and a refusal should not take long.
    require_empty(&args.data_dir, if nodes.is_none() { NOTHING } else { &[] })?;
    let backup = Backup::load(&args.file, "restoring")?;
    let first = FirstState::new(backup.machine, args.engine, backup.header.term, args.fence_above)
        .map_err(failed(&args.data_dir))?;
    match nodes {
        None => {
            let members = Membership::of_voters([NodeId(args.node_id)]);
            first.write(begin(&args.data_dir)?, args.node_id, &members)?;
        }
        Some(nodes) => restore_layout(args, nodes, &first)?,
    }
    println!(
        "restored {} as the new cluster {:032x}, with the engine {}; fencing tokens are greater than {}",
        size(backup.file_bytes),
        first.cluster_id(),
        args.engine,
        first.fence()
    );
    if let Some(doubt) = first.doubt() {
        eprintln!("quorate snapshot restore: WARNING: {doubt}");
    }
    let folder = args.data_dir.display();
    match (nodes, args.node_id) {
        (Some(_), _) => println!("Start it with: quorate up --data-dir {folder}"),
        (None, 1) => println!("Start it with: quorate serve --data-dir {folder}"),
        (None, id) => println!("Start it with: quorate serve --node-id {id} --data-dir {folder}"),
    }
    Ok(())
}

/// Refuses a folder in which there is anything that is not `allowed`.
fn require_empty(folder: &Path, allowed: &[&str]) -> Result<(), Problem> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed(folder))?,
    };
    for entry in entries {
        let name = entry.map_err(failed(folder))?.file_name();
        if !allowed.iter().any(|allowed| *allowed == name) {
            return Err(Problem::Refused(format!(
                "{} holds {}, and must be empty: empty it, or choose another folder",
                folder.display(),
                name.display()
            )));
        }
    }
    Ok(())
}

fn begin(folder: &Path) -> Result<Founding<OsDisk>, Problem> {
    let disk = OsDisk::new(folder).map_err(failed(folder))?;
    Ok(Founding::begin(disk)?)
}

/// Makes the folders of a cluster of `up`, or takes back what it has begun itself: somebody else may have come in between.
fn restore_layout(args: &Args, nodes: u64, first: &FirstState) -> Result<(), Problem> {
    let folder = args.data_dir.as_path();
    let mut ours = Vec::new();
    let made = make_layout(args, nodes, first, &mut ours);
    if made.is_err() && !ours.is_empty() {
        up::forget(folder, &ours);
    }
    made
}

/// All folders are marked as unfinished, and known to hold a cluster, before there is anything in one of them: so `up` never
/// forms a cluster of those that are not restored yet. `ours` are those that were begun here.
fn make_layout(args: &Args, nodes: u64, first: &FirstState, ours: &mut Vec<u64>) -> Result<(), Problem> {
    let folder = args.data_dir.as_path();
    let mut begun = Vec::new();
    for id in 1..=nodes {
        begun.push((id, begin(&up::node_folder(folder, id))?));
        if ours.is_empty() {
            up::remember_formed(folder, nodes, args.engine).map_err(failed(folder))?;
        }
        ours.push(id);
    }
    let members = Membership::of_voters((1..=nodes).map(NodeId));
    for (id, node) in begun {
        first.write(node, id, &members)?;
    }
    Ok(())
}
