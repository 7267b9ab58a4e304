//! Consensus engines side by side: ours (Raft, Multi-Paxos), and the crates `raft` and `omnipaxos`, in one run.
//!
//! Three nodes of each are in one thread. Nothing is written and nothing is sent: writes are done at once, and messages are
//! handed over as values ([`cluster`]). What is left is what an engine's own code costs for an entry, at all three nodes.
//!
//! A *window* of proposals is given to the leader, then messages are exchanged until all nodes are quiet, then comes the
//! next window. A *commit* is an entry that all three nodes have handed out; each checks that it gets all, and in order
//! ([`ledger`]). Each engine is driven as its users do:
//!
//! * **ours** ([`quorate`]): `step` for each input, then one `drain`; the persist operation is reported as done at once.
//! * **raft** ([`raft_rs`]): `propose` and `step`, then `ready`, the entries into `MemStorage`, `advance`, `advance_apply`. With
//!   the codec whose entries share their bytes, and with `batch_append`, without which a window would be as many messages.
//! * **omnipaxos** ([`omni`]): `append` and `handle_incoming`, then `take_outgoing_messages` and `read_decided_suffix`, over its
//!   `MemoryStorage`. It joins what waits for a peer to one message by itself, so `batch_size` is left at its default.
//!
//! All make a heartbeat in 50 ms of the time that they are told, have pre-vote and check-quorum where they know them, and
//! keep entries in memory until these are dropped, at the same intervals. The payload is a `Vec` of its own for each
//! proposal, as it comes from a socket; making it counts for all alike.
//!
//! Engines take turns in each round, so that what disturbs the machine disturbs all. CPU time of the thread is the figure
//! that survives a busy machine.
//!
//! Not compared: coding of messages, disks, elections, reads, snapshots, a lagging or a lost peer. Ours also stamp each
//! entry with cluster time, track each write until it is durable, and report each proposal; `raft` takes a proposal
//! as a `Vec` and `omnipaxos` has no terms in its entries.

mod cluster;
mod ledger;
mod measure;
mod omni;
mod quorate;
mod raft_rs;
mod table;

use anyhow::{Context, Result};
use clap::Parser;
use std::{path::PathBuf, time::Duration};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench engines", about = "Consensus engines side by side, without I/O")]
struct Options {
    /// How often each cell is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// How long each engine is measured in each cell each time
    #[arg(long, default_value_t = 0.5, value_parser = seconds)]
    seconds: f64,
    /// Write all figures to this file, those of each round too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.01..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("not within 0.01 and 3600".to_owned()) }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let cells = measure::all(options.rounds, Duration::from_secs_f64(options.seconds));
    table::print(&cells);
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&cells)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
