//! The package `quorate`: the binary's parts as a library. See ARCHITECTURE.md.

pub mod config;
pub mod connection;
pub mod handle;
pub mod logging;
pub mod resp;
pub mod status;
