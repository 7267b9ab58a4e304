//! What drivers of one cluster say to each other.

use quorate_consensus::{Index, NodeId, Term};
use quorate_machine::Group;

/// A message between two nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerMessage<M> {
    /// From engine to engine.
    Engine(M),
    /// From the node whose clients sent them to the leader: commands to log. They carry the session and the
    /// sequence of their origin, so that it does no harm to send them twice. There is no answer: every node
    /// applies every entry, and the origin finds its own commands there.
    Forward(Group),
    /// From the node that an operator has asked to the leader: another is to lead. There is no answer, and it may
    /// get lost: who asked sees who leads.
    Transfer {
        /// The term that is to end; in another, the order is void.
        term: Term,
        /// The successor; none for whoever is fit.
        to: Option<NodeId>,
    },
    /// From each node to each other, a few times a second.
    Gossip(Gossip),
}

/// What a node tells about itself. Nothing that must be right depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gossip {
    /// The last entry that the sender has applied.
    pub applied: Index,
    /// Whether the sender's disk has room for more of the log.
    pub room: bool,
    /// The sender's wall clock, in milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// If the sender leads: how many peers follow it at this moment. 0 elsewhere.
    pub followers: u32,
}
