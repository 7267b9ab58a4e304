//! The integers of the machine, each with a type of its own, so that none can stand in for another.

use std::fmt;

/// A point of cluster time in milliseconds, as the leader stamps it on an entry. 0 is the cluster's birth at the
/// earliest; it never goes back, and no wall clock moves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

/// The value of the replicated counter when a string was created or changed: greater than that of every earlier
/// acquisition of any name. Always below 2^53, so that a double holds it exactly; 0 is never handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(pub u64);

/// A session that a client has opened by SESSION OPEN: a number of the same counter, so that it is never used twice. Not a
/// node's, which is a [`SessionId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientSessionId(pub u64);

/// Which modification of the machine gave a key its present state, for WATCH. Unique in a machine's history, the
/// same on every replica. 0 is before the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// One life of one node, on whose behalf commands are numbered.
///
/// A node has at most one open session: that of its greatest incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// The node's id in the cluster; never reused. 0 is no node.
    pub node: u64,
    /// Counts the node's starts; a greater one supersedes a lesser.
    pub incarnation: u64,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}.{}", self.node, self.incarnation)
    }
}
