//! The Paxos family.
//!
//! So far its root alone: [`synod`] decides one value. Multi-Paxos, which decides a log, will stand beside it, behind the
//! contract of [`crate::engine`].

pub mod ballot;
pub mod synod;

pub use ballot::Ballot;
