//! Ballots: attempts to have a value chosen.

use std::fmt;

use crate::{ID_MAX, NodeId, Term};

/// An attempt to have a value chosen. Ballots are ordered, by the round first, and no two proposers share one, since each
/// bears its proposer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// A proposer uses each round once at most, also after a restart. 0 is before the first.
    pub round: u64,
    /// Whose attempt it is.
    pub node: NodeId,
}

/// The bits of a [`Term`] that name the node.
const NODE_BITS: u32 = 16;

const _: () = assert!(
    ID_MAX == (1 << NODE_BITS) - 1,
    "each id of a member fits into its bits of a ballot, and no more"
);

impl Ballot {
    /// Before all ballots, and nobody's.
    pub const NONE: Self = Self { round: 0, node: NodeId(0) };

    /// The last round: numbers on the wire and in the log are below 2^62, and 16 bits name the node. At a thousand
    /// elections a second it is reached in more than two thousand years; nobody stands after it.
    pub const ROUND_MAX: u64 = (1 << (62 - NODE_BITS)) - 1;

    /// The ballot that a term stands for.
    #[must_use]
    pub const fn of(term: Term) -> Self {
        Self { round: term.0 >> NODE_BITS, node: NodeId(term.0 & ID_MAX) }
    }

    /// The ballot as a term, in the same order: the round above, the node below.
    ///
    /// # Panics
    /// If it is beyond the bounds, which [`Ballot::is_sound`] tells.
    #[must_use]
    pub fn term(self) -> Term {
        assert!(self == Self::NONE || self.is_sound(), "ballot {self} is beyond the bounds of a term");
        Term((self.round << NODE_BITS) | self.node.0)
    }

    /// Whether somebody can have stood in it.
    #[must_use]
    pub fn is_sound(self) -> bool {
        (1..=Self::ROUND_MAX).contains(&self.round) && (1..=ID_MAX).contains(&self.node.0)
    }

    /// The lowest ballot of `node` that is greater; none when rounds are used up.
    #[must_use]
    pub fn next_of(self, node: NodeId) -> Option<Self> {
        let next = Self { round: self.round.saturating_add(1), node };
        next.is_sound().then_some(next)
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => write!(f, "0"),
            Self { round, node } => write!(f, "{round}.{node}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(round: u64, node: u64) -> Ballot {
        Ballot { round, node: NodeId(node) }
    }

    #[test]
    fn ballots_are_ordered_by_round_and_never_shared() {
        assert!(Ballot::NONE < ballot(1, 1) && ballot(1, 1) < ballot(1, 2) && ballot(1, 2) < ballot(2, 1));
        assert_eq!(ballot(3, 2).to_string(), "3.n2");
    }

    #[test]
    fn terms_keep_the_order_and_the_parts_up_to_the_bounds() {
        let all =
            [Ballot::NONE, ballot(1, 1), ballot(1, ID_MAX), ballot(2, 1), ballot(Ballot::ROUND_MAX, ID_MAX)];
        assert!(all.is_sorted_by_key(|ballot| ballot.term()));
        assert!(all.iter().all(|&ballot| Ballot::of(ballot.term()) == ballot));
        assert!(all.iter().all(|ballot| ballot.term().0 < 1 << 62));
    }

    #[test]
    fn nobody_stands_after_the_last_round() {
        assert_eq!(ballot(4, 9).next_of(NodeId(2)), Some(ballot(5, 2)));
        assert_eq!(ballot(Ballot::ROUND_MAX, 1).next_of(NodeId(2)), None);
        assert_eq!(Ballot::of(Term(u64::MAX)).next_of(NodeId(2)), None);
    }
}
