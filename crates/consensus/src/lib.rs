//! Consensus engines behind one sans-I/O contract.
//!
//! An engine is a pure state machine: [`engine::Input`]s go in, [`engine::Effects`] come out. It owns no
//! socket, file, clock, thread or source of randomness, and it never looks into a command. The driver, the
//! simulator and the model checker are its three callers; [`engine::Engine`] says what each may rely on.
//!
//! Start reading at [`engine`], then [`raft`] or [`paxos`]; or at [`paxos::synod`], which is consensus in its smallest form.

pub mod change;
pub mod cluster_clock;
pub mod engine;
pub mod entry;
pub mod identifiers;
mod jitter;
pub mod membership;
pub mod paxos;
pub mod quorums;
pub mod raft;
mod replication;
pub mod time;

pub use change::{Change, Purpose, Refusal, Step};
pub use cluster_clock::{ClusterClock, HeardStamp};
pub use engine::{Config, Effects, Engine, Input, Persist, Restored};
pub use entry::{Entry, HardState, Payload, Position, SnapshotMeta};
pub use identifiers::{Address, Index, NodeId, PersistId, Priority, ProposalId, ReadId, Term};
pub use membership::{ID_MAX, Lease, MEMBERS_MAX, Membership, Uncounted};
pub use quorums::Quorums;
pub use time::{BootTime, ClusterTime};
