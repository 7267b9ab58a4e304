//! The driver of a node: it ties a consensus engine, the durable log and the state machine together.
//!
//! It is pure. Sockets, clocks, threads and disks belong to its caller: the server, or the simulator. Start
//! reading at [`driver`]; [`input`] and [`output`] are the seam.

mod calendar;
pub mod config;
mod connection;
pub mod driver;
pub mod error;
pub mod input;
mod intake;
mod origin;
pub mod output;
pub mod peer;
mod reads;
pub mod recent;
pub mod record;

pub use config::Config;
pub use driver::Driver;
pub use driver::reporting::{Queues, Status};
pub use driver::snapshots::{header, restore, restore_up_to};
pub use error::Error;
pub use input::{Action, ConnId, Input, Now, Request, SnapshotDone};
pub use output::{Answer, Level, LogTask, Notice, Outputs, SnapshotTask, View};
pub use peer::{Echo, Gossip, PeerMessage, Verdict};
pub use recent::{Gap, Recent};
