//! The driver's settings.

use std::time::Duration;

use quorate_consensus::{Address, NodeId};
use quorate_machine::ClusterVersion;

/// Settings of a driver. Sizes are bytes.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Where other members reach this node; none if it has no place for them.
    pub address: Option<Address>,
    /// How often this node has been started. Names its session, so that commands of an earlier life are never
    /// taken for ours.
    pub incarnation: u64,
    /// The newest cluster version to which this node lets the cluster rise: at most what its build knows, and less if
    /// an operator holds it.
    pub version: ClusterVersion,
    /// A random number that becomes the cluster's id if this node is its first leader.
    pub cluster_id_proposal: u128,
    /// After this long without an outcome a command that was never sent is refused, and the connection of one
    /// that was is closed.
    pub command_timeout: Duration,
    /// Commands and reads without a sign of life for this long are sent again. Costs traffic, never safety.
    pub resend_after: Duration,
    /// How often a node tells the others about itself.
    pub gossip_interval: Duration,
    /// The most bytes of commands that this node's clients may have under way; beyond it they are refused.
    pub origin_bytes_max: usize,
    /// The most commands that may be sent and not yet applied. At most what the machine retains replies for,
    /// so that an outcome is never forgotten before it is told.
    pub origin_commands_max: usize,
    /// The most bytes of commands in one message to the leader, and in one entry. A larger command travels
    /// alone.
    pub batch_bytes_max: usize,
    /// The most bytes of an entry: what the log and the peers' messages can hold. A command that would not fit is
    /// refused. At least `batch_bytes_max`.
    pub entry_bytes_max: usize,
    /// The most bytes of committed entries that wait to be applied; beyond it no more are taken.
    pub backlog_bytes_max: usize,
    /// The most bytes of commands that a leader holds before they are in its log; beyond it they are dropped,
    /// and their origins send them again.
    pub intake_bytes_max: usize,
    /// A snapshot is made when this much of the log has been applied since the last.
    pub snapshot_log_bytes: usize,
    /// How many entries before a snapshot stay in the log at most, for followers that are only a little behind.
    pub snapshot_keep_entries: usize,
    /// How many bytes of such entries stay at most.
    pub snapshot_keep_bytes: usize,
}

impl Config {
    /// Settings for `node` in its `incarnation`-th life, with the defaults of the product.
    #[must_use]
    pub fn for_node(node: NodeId, incarnation: u64, cluster_id_proposal: u128) -> Self {
        Self {
            node,
            address: None,
            incarnation,
            version: ClusterVersion::NEWEST,
            cluster_id_proposal,
            command_timeout: Duration::from_secs(15),
            resend_after: Duration::from_millis(500),
            gossip_interval: Duration::from_millis(250),
            origin_bytes_max: 64 << 20,
            origin_commands_max: 8192,
            batch_bytes_max: 1 << 20,
            entry_bytes_max: 12 << 20,
            backlog_bytes_max: 64 << 20,
            intake_bytes_max: 64 << 20,
            snapshot_log_bytes: 64 << 20,
            snapshot_keep_entries: 4096,
            snapshot_keep_bytes: 16 << 20,
        }
    }
}
