//! The two quorums of Paxos, in one place.
//!
//! All that safety asks of them is that each quorum of phase 1 shares a voter with each of phase 2 (Howard, Malkhi and
//! Spiegelman, *Flexible Paxos*, 2016). Two of one phase need not meet. Majorities are such quorums; so are `q` voters of `n`
//! for phase 2, and `n + 1 - q` for phase 1. How many, is part of the configuration ([`Membership::phase2_quorum`]); the
//! numbers are computed in [`crate::quorums`].
//!
//! # While it changes
//!
//! Let a configuration be `(V, q)`: voters, and how many of them commit. From `(V, q)` to `(W, r)` leads a joint one, in
//! which each quorum of either phase is one of `(V, q)` and one of `(W, r)`, also if `V = W` and only the number changes: with
//! `q = 3` and `r = 2` of five, elections by the old rule, of three, could miss two that have committed by the new one.
//!
//! What has to meet is the phase 1 by which a candidate leads, and the phase 2 by which anything was chosen in a lower ballot.
//! Each counts by the configuration in a log, and two such configurations are equal, or neighbours, or both follow the same one
//! (the head of [`super`], *members change*). Any two of these have a half `(V, q)` in common: a joint configuration shares
//! one with the one before and one with the one after, and two that follow the same one share that one. A phase 1 of the one
//! has `|V| + 1 - q` of `V`, a phase 2 of the other has `q` of `V`: together more than there are, so they share a voter.
//!
//! The configuration that a candidate ends in is that of the log it adopts, which has all that may be chosen; so what was
//! chosen further on than the candidate knows does not escape it.

use quorate_bug::{self as bug, Bug};

use crate::{Index, Membership, NodeId};

/// Whether those who have promised a ballot are enough to lead by it: phase 1.
pub(super) fn have_promised(membership: &Membership, has_promised: impl Fn(NodeId) -> bool) -> bool {
    let has_promised = |voter| has_promised(voter) || bug::on(Bug::PhantomPromise);
    match bug::on(Bug::CommitNumberElects) {
        true => membership.has_commit_quorum(has_promised),
        false => membership.has_election_quorum(has_promised),
    }
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

/// Whether a node that reaches these could be elected and then commit: it needs both quorums, and so the larger one.
pub(super) fn are_connected(membership: &Membership, is_reached: impl Fn(NodeId) -> bool) -> bool {
    membership.has_quorum(is_reached)
}

/// Whether a leader that hears these may go on: it needs to commit. As long as they hear it, they are led, and too few are
/// left to elect another.
pub(super) fn are_led(membership: &Membership, is_heard: impl Fn(NodeId) -> bool) -> bool {
    membership.has_commit_quorum(is_heard)
}
