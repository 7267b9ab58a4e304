//! The configurations of a cluster: all that were ever written, and the one sequence of those that were committed.

use std::collections::BTreeSet;

use quorate_consensus::{Membership, NodeId};

use super::{Failure, check};

/// What is known of a cluster's configurations.
#[derive(Debug)]
pub(crate) struct Members {
    /// The one that the cluster was born with.
    birth: Membership,
    /// Each that was ever written, in the order in which that was seen.
    written: Vec<Written>,
    /// Those that were committed, in the order of the log.
    committed: Vec<Committed>,
}

#[derive(Debug)]
struct Written {
    index: u64,
    term: u64,
    members: Membership,
}

/// A configuration that was agreed on.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub(crate) index: u64,
    pub(crate) members: Membership,
    /// How many configurations had been written before this one.
    pub(crate) order: usize,
}

const PROPERTY: &str = "a configuration follows from the one before";

impl Members {
    pub(super) fn new(birth: Membership) -> Self {
        Self { birth, written: Vec::new(), committed: Vec::new() }
    }

    /// The newest that was committed, or the one of the birth.
    pub(crate) fn present(&self) -> &Membership {
        self.committed.last().map_or(&self.birth, |committed| &committed.members)
    }

    /// Where the newest that was committed stands in the log.
    pub(crate) fn present_index(&self) -> u64 {
        self.committed.last().map_or(0, |committed| committed.index)
    }

    /// Those that were committed, each with the one before it.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&Membership, &Committed)> {
        let before = self.committed.iter().map(|committed| &committed.members);
        std::iter::once(&self.birth).chain(before).zip(&self.committed)
    }

    /// How many were written so far.
    pub(crate) fn written(&self) -> usize {
        self.written.len()
    }

    /// The configuration in force at `index`, as far as that is committed.
    pub(super) fn at(&self, index: u64) -> &Membership {
        let before = self.committed.iter().rev().find(|committed| committed.index <= index);
        before.map_or(&self.birth, |committed| &committed.members)
    }

    /// Those that a leader of `term` has written.
    pub(super) fn of_term(&self, term: u64) -> impl Iterator<Item = &Membership> {
        self.written.iter().filter(move |written| written.term == term).map(|written| &written.members)
    }

    /// Whether somebody has written this configuration there.
    pub(super) fn was_written(&self, index: u64, term: u64, members: &Membership) -> bool {
        self.written
            .iter()
            .any(|written| (written.index, written.term) == (index, term) && written.members == *members)
    }

    /// Whether somebody has written that this node is out.
    pub(super) fn may_be_removed(&self, node: NodeId) -> bool {
        self.written.iter().any(|written| written.members.excludes(node))
    }

    /// A node is about to write a configuration.
    pub(super) fn will_write(&mut self, index: u64, term: u64, members: &Membership) {
        if !self.written.iter().any(|written| (written.index, written.term) == (index, term)) {
            self.written.push(Written { index, term, members: members.clone() });
        }
    }

    /// An entry is committed: if it is a configuration, it must follow from the one before.
    pub(super) fn commit(&mut self, index: u64, term: u64) -> Result<(), Failure> {
        let order = self.written.iter().position(|written| (written.index, written.term) == (index, term));
        let Some(order) = order else { return Ok(()) };
        let (before, members) = (self.present(), self.written[order].members.clone());
        let told = || format!("entry {index} leads from {before} to {members}");
        check(before.ids_used <= members.ids_used, "ids are never used twice", told)?;
        // A leader beside a witness restates the configuration, and sets voters aside.
        let is_restated = members.setting_aside(before.set_aside()) == *before;
        let follows = match (before.is_joint(), members.is_joint()) {
            _ if is_restated => true,
            (true, _) => members == before.settled(),
            (false, true) => {
                (&members.outgoing, members.outgoing_phase2_quorum) == (&before.voters, before.phase2_quorum)
            }
            (false, false) => {
                (&members.voters, members.phase2_quorum) == (&before.voters, before.phase2_quorum)
            }
        };
        check(follows, PROPERTY, told)?;
        let newcomers: BTreeSet<NodeId> = members.members().filter(|&node| !before.contains(node)).collect();
        let are_new = newcomers.iter().all(|node| node.0 > before.ids_used);
        check(are_new, "ids are never used twice", told)?;
        self.committed.push(Committed { index, members, order });
        Ok(())
    }
}
