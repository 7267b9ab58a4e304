//! New clusters that begin with the data of old ones: restored from a backup, or recovered by the last survivor.
//!
//! What of the old state comes along is the machine's to say ([`quorate_machine::NewCluster`]); here the new cluster gets
//! a random id and its nodes' folders. Other nodes of the old cluster are refused by that id for ever, so that none can
//! bring back what was lost, or undo what has happened since.

use std::io;

use quorate_consensus::{Membership, NodeId};
use quorate_log::{self as log, Founding, Options, OsDisk, SnapshotHeader};
use quorate_machine::{FENCE_PER_SECOND, Machine, NewCluster};
use quorate_node::record::encode_membership;

use crate::{clock, engine::EngineKind};

/// The state with which a new cluster begins, the same in all of its nodes.
#[derive(Debug)]
pub(crate) struct FirstState {
    machine: Machine,
    cluster_id: u128,
    engine: EngineKind,
    /// No term of the old cluster was greater.
    term: u64,
    /// Why greater tokens than all before cannot be promised, if so.
    doubt: Option<String>,
}

/// How far the old cluster's tokens may be ahead of this machine's clock before that is strange: a cluster that was born
/// this very second is ahead of it.
const TOKENS_AHEAD_S: u64 = 10;

impl FirstState {
    /// Makes the state of an old cluster, whose greatest term was `term`, that of a new one with this engine, and with
    /// fencing tokens that are greater than all before, by the clock, and than `fence_above`.
    ///
    /// # Errors
    /// There is no randomness for an id, or the engine has no term after `term`.
    pub(crate) fn new(
        mut machine: Machine,
        engine: EngineKind,
        term: u64,
        fence_above: u64,
    ) -> io::Result<Self> {
        let beyond = || {
            let text = format!("the data are of term {term}, and after that the engine {engine} has none");
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let term = engine.term_after(term).ok_or_else(beyond)?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        // 0 stands for an unborn cluster.
        let cluster_id = u128::from_le_bytes(random).max(1);
        let wall_ms = u64::try_from(clock::wall_ms()).unwrap_or(0);
        let doubt = doubt(machine.stats().fence, wall_ms, fence_above);
        machine.begin_new_cluster(&NewCluster { cluster_id, wall_ms, fence_above });
        Ok(Self { machine, cluster_id, engine, term, doubt })
    }

    /// The new cluster's id.
    pub(crate) fn cluster_id(&self) -> u128 {
        self.cluster_id
    }

    /// The greatest fencing token that counts as given.
    pub(crate) fn fence(&self) -> u64 {
        self.machine.stats().fence
    }

    /// What whoever makes the new cluster should think about before they start it.
    pub(crate) fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }

    /// Makes `folder` that of node `node_id` of the new cluster, which has these members.
    ///
    /// # Errors
    /// Those of [`Founding::finish`].
    pub(crate) fn write(
        &self,
        folder: Founding<OsDisk>,
        node_id: u64,
        membership: &Membership,
    ) -> Result<(), log::Error> {
        assert!(membership.contains(NodeId(node_id)), "node {node_id} is to be a member");
        let membership = encode_membership(membership);
        let options = Options {
            cluster_id: Some(self.cluster_id),
            birth: membership.clone(),
            ..Options::new(node_id, self.engine.name())
        };
        let header = SnapshotHeader {
            index: self.machine.applied(),
            term: self.term,
            stamp: self.machine.stamp(),
            membership,
            bytes: 0,
        };
        folder.finish(&options, &header, self.machine.snapshot())
    }
}

/// The old cluster's tokens say that its clocks were ahead of this one: then it may have given tokens since that this
/// clock does not exceed.
fn doubt(fence: u64, wall_ms: u64, fence_above: u64) -> Option<String> {
    let expected_max = (wall_ms / 1000 + TOKENS_AHEAD_S).saturating_mul(FENCE_PER_SECOND);
    (fence > expected_max && fence_above <= fence).then(|| {
        format!(
            "the old cluster's greatest fencing token known here, {fence}, is ahead of this machine's clock: tokens that \
             it gave later cannot be ruled out; set the clock right, or give a number that none can have reached by \
             --fence-above, and do it again"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_behind_the_tokens_is_told_unless_somebody_knows_better() {
        let (now_ms, of_now) = (1_800_000_000_123, 1_800_000_000 * FENCE_PER_SECOND);
        assert_eq!(doubt(of_now + 1_000_000, now_ms, 0), None);
        let ahead = of_now + 3600 * FENCE_PER_SECOND;
        assert!(doubt(ahead, now_ms, 0).is_some_and(|text| text.contains(&ahead.to_string())));
        assert!(doubt(ahead, now_ms, ahead - 1).is_some());
        assert_eq!(doubt(ahead, now_ms, ahead + 1), None);
    }
}
