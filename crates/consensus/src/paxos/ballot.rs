//! Ballots: attempts to have a value chosen.

use std::fmt;

use crate::NodeId;

/// An attempt to have a value chosen. Ballots are ordered, by the round first, and no two proposers share one, since each
/// bears its proposer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// A proposer uses each round once at most, also after a restart. 0 is before the first.
    pub round: u64,
    /// Whose attempt it is.
    pub node: NodeId,
}

impl Ballot {
    /// Before all ballots, and nobody's.
    pub const NONE: Self = Self { round: 0, node: NodeId(0) };
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballots_are_ordered_by_round_and_never_shared() {
        let ballot = |round, node| Ballot { round, node: NodeId(node) };
        assert!(Ballot::NONE < ballot(1, 1) && ballot(1, 1) < ballot(1, 2) && ballot(1, 2) < ballot(2, 1));
        assert_eq!(ballot(3, 2).to_string(), "3.n2");
    }
}
