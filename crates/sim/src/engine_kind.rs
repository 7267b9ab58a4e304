//! Which consensus engine the nodes of a world run.

use std::fmt;

/// A consensus engine that ships. All around it is the same in each world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// Raft.
    #[default]
    Raft,
    /// Multi-Paxos.
    Paxos,
}

impl EngineKind {
    /// Both.
    pub const ALL: &'static [Self] = &[Self::Raft, Self::Paxos];

    /// The name, on the command line and in a node's folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Paxos => "paxos",
        }
    }

    /// Whether another number of voters than a majority may commit.
    pub(crate) fn has_phase2_quorums(self) -> bool {
        self == Self::Paxos
    }

    /// Whether it knows witnesses and leases.
    pub(crate) fn has_witnesses_and_leases(self) -> bool {
        self == Self::Raft
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
