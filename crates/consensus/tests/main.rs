//! Tests of the Raft engine through its contract alone: a simulated cluster runs it, and checks the safety
//! properties of the Raft paper's figure 3 at every step.

mod changes;
mod cluster;
mod cluster_time;
mod dissertation_tests;
mod golden;
mod hostile_peers;
mod paper_tests;
mod properties;
mod quorums;
mod snapshot;
