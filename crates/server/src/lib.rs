//! The package `quorate`: the binary's parts as a library. See ARCHITECTURE.md.

pub mod handle;
pub mod resp;
pub mod status;
