//! The two quorums of Paxos, in one place.
//!
//! All that safety asks of them is that each quorum of phase 1 shares a voter with each of phase 2 (Howard, Malkhi and
//! Spiegelman, *Flexible Paxos*, 2016). Today both are majorities, of the old and of the new voters while they change.

use quorate_bug::{self as bug, Bug};

use crate::{Index, Membership, NodeId};

/// Whether those who have promised a ballot are enough to lead by it: phase 1.
pub(super) fn have_promised(membership: &Membership, has_promised: impl Fn(NodeId) -> bool) -> bool {
    membership.has_quorum(|voter| has_promised(voter) || bug::on(Bug::PhantomPromise))
}

/// How far the log is accepted by enough, by what each has on its disk: phase 2.
pub(super) fn accepted(membership: &Membership, held_by: impl Fn(NodeId) -> Index) -> Index {
    membership.reached_by_quorum(held_by)
}

/// The newest round after whose beginning nobody else can have finished phase 1, by the newest that each has confirmed. Each
/// quorum of phase 1 must meet those who have, as in phase 2.
pub(super) fn confirmed(membership: &Membership, round_of: impl Fn(NodeId) -> u64) -> u64 {
    membership.reached_by_quorum(round_of)
}

/// Whether a node that reaches these can lead: it needs both quorums, and so the larger one.
pub(super) fn are_connected(membership: &Membership, is_reached: impl Fn(NodeId) -> bool) -> bool {
    membership.has_quorum(is_reached)
}
