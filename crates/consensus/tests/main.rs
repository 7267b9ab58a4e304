//! Tests of the engines through their contract alone: a simulated cluster runs them, and checks the safety
//! properties of the Raft paper's figure 3, which hold for both, at every step.

mod changes;
mod cluster;
mod cluster_time;
mod dissertation_tests;
mod golden;
mod hostile_peers;
mod late_answers;
mod paper_tests;
mod partitions;
mod properties;
mod quorums;
mod snapshot;
mod told;
