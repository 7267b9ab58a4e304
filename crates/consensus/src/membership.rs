//! Who votes, who only listens, and how many make a quorum.

use std::{collections::BTreeSet, fmt};

use crate::NodeId;

/// The members of a cluster, as data in the log and in snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Members that vote and count in the quorum.
    pub voters: BTreeSet<NodeId>,
    /// Members that receive the log and never vote.
    pub learners: BTreeSet<NodeId>,
}

impl Membership {
    /// A configuration of voters alone.
    #[must_use]
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self { voters: voters.into_iter().collect(), learners: BTreeSet::new() }
    }

    /// The number of members of all kinds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.voters.len() + self.learners.len()
    }

    /// Whether nobody is a member: the state of a node that has joined no cluster yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `node` is a member of any kind.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }

    /// All members in ascending order of their ids, voters first.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().chain(&self.learners).copied()
    }

    /// The least number of voters that is a majority; 0 when there are no voters.
    #[must_use]
    pub fn quorum(&self) -> usize {
        if self.voters.is_empty() { 0 } else { self.voters.len() / 2 + 1 }
    }

    /// Whether the voters for which `agrees` holds are a quorum. Nobody is never one.
    pub fn has_quorum(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        let count = self.voters.iter().filter(|&&voter| agrees(voter)).count();
        count > 0 && count >= self.quorum()
    }

    /// The greatest value that a quorum of voters has reached, by `value_of` each; the smallest value of
    /// `T` when there are no voters.
    pub fn reached_by_quorum<T: Ord + Default>(&self, value_of: impl Fn(NodeId) -> T) -> T {
        let mut values: Vec<T> = self.voters.iter().map(|&voter| value_of(voter)).collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.into_iter().nth(self.quorum().wrapping_sub(1)).unwrap_or_default()
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |nodes: &BTreeSet<NodeId>| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        write!(f, "voters={}", list(&self.voters))?;
        if !self.learners.is_empty() {
            write!(f, " learners={}", list(&self.learners))?;
        }
        Ok(())
    }
}
