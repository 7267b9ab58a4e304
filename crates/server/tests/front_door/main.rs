//! The front door over real sockets, with a real machine behind it.

#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

mod client;
mod misbehaviour;
mod ordinary;
mod sentinel;
mod shard;
