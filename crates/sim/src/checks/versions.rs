//! What must hold of the cluster's version, while nodes of two builds run side by side.

use std::collections::BTreeMap;

use quorate_machine::{ClusterVersion, Machine};

use super::{Failure, check};

/// What was seen of the cluster's version.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    /// By which entry each was active at the latest, and on which node that was seen.
    active: BTreeMap<ClusterVersion, (u64, usize)>,
}

impl Versions {
    /// A node has applied so much, and its machine says which version is active. What is active at one entry is active
    /// from there on, on each node and in each of its lives.
    pub(crate) fn stepped(&mut self, node: usize, applied: u64, machine: &Machine) -> Result<(), Failure> {
        // The version of an entry under way counts as that of the next.
        if machine.is_applying() {
            return Ok(());
        }
        let version = machine.version();
        let (by, seen_on) = self.active.entry(version).or_insert((applied, node));
        if applied < *by {
            (*by, *seen_on) = (applied, node);
        }
        let reached = |&(_, &(by, _)): &(&ClusterVersion, &(u64, usize))| by <= applied;
        let Some((&greatest, &(by, seen_on))) = self.active.iter().rev().find(reached) else { return Ok(()) };
        check(version >= greatest, "the cluster's version never falls", || {
            format!(
                "n{} has version {version} at entry {applied}, and n{} had {greatest} at {by}",
                node + 1,
                seen_on + 1
            )
        })
    }

    /// The version that is active on some node is one that each of these members knows.
    pub(crate) fn check_known(
        &self,
        active: ClusterVersion,
        members: impl Iterator<Item = (usize, ClusterVersion)>,
    ) -> Result<(), Failure> {
        for (member, known) in members {
            check(active <= known, "the cluster's version is one that all members know", || {
                format!("{active} is active, and n{} knows no more than {known}", member + 1)
            })?;
        }
        Ok(())
    }
}
