//! The package `quorate`: the binary's parts as a library. See ARCHITECTURE.md.

mod admission;
mod backup;
pub mod cli;
mod clock;
pub mod config;
pub mod connection;
mod data_folder;
pub mod embedded;
mod ending;
pub mod engine;
#[doc(hidden)]
pub mod fuzz;
pub mod handle;
mod http;
mod inlet;
mod log_writer;
pub mod logging;
mod metrics;
mod new_cluster;
mod observer;
mod peer;
mod process;
mod recovery;
mod repair;
mod reporter;
pub mod resp;
pub mod service;
mod shard;
mod snapshots;
pub mod status;
pub mod subscriptions;

pub use embedded::embedded;
/// The library that speaks to nodes, of the same version as this one.
pub use quorate_client as client;
