//! What drivers of one cluster say to each other.

use std::fmt;

use quorate_consensus::{BootTime, Change, Index, NodeId, Term};
use quorate_machine::{ClusterVersion, Group};

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
    /// From the node that an operator has asked to the leader: other members. Answered by [`Self::Reconfigured`], unless
    /// one of the two gets lost: then its outcome is unknown, and shows in the configuration.
    Reconfigure {
        /// Names the wish in the answer; unique for its sender, in all of its lives.
        ticket: u64,
        /// What is to change.
        change: Change,
    },
    /// The answer of the node that was asked.
    Reconfigured {
        /// The wish.
        ticket: u64,
        /// What came of it.
        verdict: Verdict,
    },
    /// From each node to each other, a few times a second.
    Gossip(Gossip),
}

/// By the receiver's own clock, so that neither the way of a message nor a pause of the receiver is left out: `commit` was
/// all there was so long before the receiver sent a gossip that the leader had when it sent this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Echo {
    /// [`Gossip::sent`] of that gossip.
    pub sent: BootTime,
    /// For how many milliseconds nobody had confirmed the leader when that gossip arrived; rounded up.
    pub unconfirmed_ms: u32,
}

/// What comes of a wish for other members where it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the leader's log: made if and only if this very entry is committed.
    Appended {
        /// The entry's position.
        index: Index,
        /// The entry's term.
        term: Term,
    },
    /// It was not made, and never will be: why, in words for who asked.
    Refused(String),
    /// It was not made. Another node leads, or this one cannot yet: worth another try.
    Later,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Appended { index, term } => write!(f, "appended {index}@{term}"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::Later => f.write_str("later"),
        }
    }
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
    /// The last entry that the sender knows to be committed.
    pub commit: Index,
    /// The newest cluster version to which the sender lets the cluster rise.
    pub version: ClusterVersion,
    /// When it was sent, by the sender's boot-time clock.
    pub sent: BootTime,
    /// If the sender leads and was confirmed: how fresh that makes the receiver once it has applied `commit`.
    pub echo: Option<Echo>,
}
