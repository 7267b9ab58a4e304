//! Raft on the [`crate::engine`] contract.
