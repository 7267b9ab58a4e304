//! The arithmetic of quorums against brute force.

use std::collections::BTreeSet;

use quorate_consensus::{Index, Membership, NodeId};

const VOTERS_MAX: u64 = 7;

fn subsets(count: u64) -> impl Iterator<Item = BTreeSet<NodeId>> {
    (0_u64..1 << count)
        .map(move |mask| (1..=count).filter(|node| mask >> (node - 1) & 1 == 1).map(NodeId).collect())
}

/// hazard 9: of each set of voters, exactly those are a quorum that outnumber the rest; any two intersect.
#[test]
fn quorums_are_the_majorities_and_intersect() {
    for count in 0..=VOTERS_MAX {
        let membership = Membership::of_voters((1..=count).map(NodeId));
        let mut quorums = Vec::new();
        for agreeing in subsets(count) {
            let is_majority = 2 * agreeing.len() as u64 > count;
            let is_quorum = membership.has_quorum(|voter| agreeing.contains(&voter));
            assert_eq!(is_quorum, is_majority, "{agreeing:?} of {count}");
            if is_quorum {
                quorums.push(agreeing);
            }
        }
        assert!(quorums.iter().all(|a| quorums.iter().all(|b| !a.is_disjoint(b))));
        assert_eq!(quorums.iter().map(BTreeSet::len).min().unwrap_or(0), membership.quorum());
    }
}

/// hazard 9: the position that a quorum has reached, for every way in which up to 7 voters can be spread over
/// three positions, equals the greatest one that is outvoted by none.
#[test]
fn reached_position_equals_a_count_by_hand() {
    for count in 0..=VOTERS_MAX {
        let membership = Membership::of_voters((1..=count).map(NodeId));
        for spread in 0..3_u64.pow(u32::try_from(count).expect("small")) {
            let value_of =
                |node: NodeId| Index(spread / 3_u64.pow(u32::try_from(node.0 - 1).expect("small")) % 3);
            let reached_by =
                |index: Index| (1..=count).filter(|&node| value_of(NodeId(node)) >= index).count();
            let expected = (0..3).map(Index).filter(|&index| 2 * reached_by(index) as u64 > count).max();
            assert_eq!(membership.reached_by_quorum(value_of), expected.unwrap_or_default());
        }
    }
}

/// Learners never count.
#[test]
fn learners_make_no_quorum() {
    let learners = [NodeId(4), NodeId(5)].into();
    let membership = Membership { learners, ..Membership::of_voters([NodeId(1), NodeId(2), NodeId(3)]) };
    assert!(!membership.has_quorum(|node| node.0 == 1 || node.0 > 3));
    assert_eq!(membership.reached_by_quorum(|node| Index(node.0)), Index(2));
}
