//! The protocol's integers, each a type of its own, so that an index is never taken for a term.

use std::{fmt, sync::Arc};

/// A member of the cluster. Never 0, and never reused: a replaced machine gets a new id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// Where a member is reached by the others: a text that means nothing to the engine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub Arc<str>);

impl Address {
    /// The longest address: a host name of 253 bytes and a port fit.
    pub const BYTES_MAX: usize = 260;

    /// Whether it is of a length that is allowed.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        (1..=Self::BYTES_MAX).contains(&self.0.len())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A period with at most one leader. 0 is the term before the first election.
///
/// Multi-Paxos stores its ballot here: the node in the lower 16 bits, the round above, so that ballots are unique to a
/// node and compare as numbers ([`crate::paxos::Ballot`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// A position in the replicated log. The first entry has index 1; 0 is the position before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

impl Index {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position before this one; 0 stays 0.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// How willing a voter is to lead: of those that could, the greatest is preferred. 0 never leads, unless nobody
/// else votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub u32);

impl Priority {
    /// The priority of a node that never leads.
    pub const NEVER: Self = Self(0);
}

impl Default for Priority {
    fn default() -> Self {
        Self(1)
    }
}

/// One operation on the disk, unique and growing for the lifetime of an engine. The first is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersistId(pub u64);

/// One proposal, chosen by the caller and unique for the lifetime of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub u64);

/// One linearizable read, chosen by the caller and unique for the lifetime of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

macro_rules! display_as_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

display_as_number!(Term, Index, Priority, PersistId, ProposalId, ReadId);
