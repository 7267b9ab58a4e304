//! Quorate's replicated state machine: log entries in, replies out, and the same on every node.
//!
//! The machine has no clock, no randomness, no socket and no disk. An entry brings a stamp of cluster time and a
//! batch of commands; applying it changes the state and answers a [`Reply`] for each command. What is not in an
//! entry cannot influence it, and no order of iteration depends on memory layout: replicas that applied the same
//! entries are equal, byte for byte of their snapshots.
//!
//! Where to read on:
//! * [`machine`] has the front; [`entry`] what an entry carries, the private module `applying` how it takes effect;
//! * [`session`] is how a node's command is applied once;
//! * [`command`] is the table that everybody asks, the private module `commands` has a file for each family;
//! * [`snapshot`] is how a state travels.
//!
//! What it promises:
//! * **never early**: a key exists for at least its time to live of cluster time; it is gone for every command as
//!   soon as an entry's stamp lies beyond, and freed in bounded steps later;
//! * **fenced**: every write that creates or changes a string takes a greater token than all before it;
//! * **exactly once**: a command has one effect and one reply however often it is in the log;
//! * **bounded**: every limit is a replicated setting, and reaching it is an error reply, the same everywhere.

mod applying;
mod client_session;
mod cluster_version;
pub mod command;
mod commands;
mod context;
mod database;
pub mod double;
pub mod entry;
mod error;
pub mod flags;
mod float;
mod force_release;
pub mod glob;
pub mod identifiers;
pub mod integer;
mod keyspace;
pub mod machine;
mod new_cluster;
mod notification;
mod publication;
pub mod reply;
mod requests;
mod rubbish;
mod script;
mod script_cache;
pub mod session;
pub mod settings;
pub mod snapshot;
mod state;
mod turnover;
mod value;
mod waiting;
pub mod weight;
mod wire;
mod work;

pub use cluster_version::ClusterVersion;
pub use command::{Class, KeySpec, Spec, all, check, lookup, unknown_command};
pub use entry::{Batch, Claim, Group, Operation, Seen, Watched};
pub use error::Error;
pub use flags::Flags;
pub use identifiers::{FencingToken, SessionId, Stamp, Version};
pub use keyspace::DATABASES;
pub use machine::{Applied, DatabaseStats, Machine, Outcome, Stats, Step};
pub use new_cluster::{FENCE_ABOVE_MAX, FENCE_PER_SECOND, NewCluster};
pub use publication::{CHANNEL_BYTES_MAX, ChannelKind, NOTIFIED_BYTES_MAX, PUBLISHED_BYTES_MAX, Publication};
pub use reply::Reply;
pub use session::Refusal;
pub use settings::Limits;
pub use snapshot::Snapshot;
pub use turnover::Watch;
