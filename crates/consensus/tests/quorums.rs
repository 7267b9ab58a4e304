//! The arithmetic of quorums against brute force.

use std::collections::BTreeSet;

use quorate_consensus::{Change, Index, Membership, NodeId, Step, Uncounted};

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

/// hazard 9: each phase-1 quorum meets each phase-2 quorum, of each configuration of up to 6 voters with a number of its own,
/// joint ones included; and a number too many or too few has no quorums at all.
#[test]
fn flexible_quorums_of_both_phases_intersect() {
    let count = 6;
    for voters in 1..=count {
        for phase2 in 0..=voters + 1 {
            let size = u8::try_from(phase2).expect("small");
            let born = Membership::of_voters((1..=voters).map(NodeId)).with_phase2_quorum(size, true);
            assert_eq!(born.is_ok(), (1..=voters).contains(&phase2), "{phase2} of {voters}");
            let Ok(mut membership) = born else { continue };
            assert_eq!(membership.check(), Ok(()));
            for outgoing in 0..=count {
                membership.outgoing = (1..=outgoing).map(NodeId).collect();
                membership.outgoing_phase2_quorum = (outgoing > 0).then_some(1);
                assert_phases_intersect(&membership, count);
            }
        }
    }
}

fn assert_phases_intersect(membership: &Membership, count: u64) {
    let groups: Vec<BTreeSet<NodeId>> = subsets(count).collect();
    let of = |is_quorum: &dyn Fn(&BTreeSet<NodeId>) -> bool| -> Vec<&BTreeSet<NodeId>> {
        groups.iter().filter(|group| is_quorum(group)).collect()
    };
    let elect = of(&|group| membership.has_election_quorum(|voter| group.contains(&voter)));
    let commit = of(&|group| membership.has_commit_quorum(|voter| group.contains(&voter)));
    assert!(!elect.is_empty() && !commit.is_empty(), "{membership}");
    for one in &elect {
        assert!(commit.iter().all(|other| !one.is_disjoint(other)), "{one:?} of {membership}");
    }
    for group in &groups {
        let both = elect.contains(&group) && commit.contains(&group);
        assert_eq!(membership.has_quorum(|voter| group.contains(&voter)), both);
        let reached = membership.reached_by_quorum(|voter| Index(group.contains(&voter).into()));
        assert_eq!(reached == Index(1), commit.contains(&group));
    }
}

/// While quorums change, those of each configuration meet those of its neighbours, of whichever phase.
#[test]
fn quorums_of_neighbours_intersect_while_their_sizes_change() {
    let groups: Vec<BTreeSet<NodeId>> = subsets(4).collect();
    let meet = |elects: &Membership, commits: &Membership| {
        let elect = groups.iter().filter(|group| elects.has_election_quorum(|voter| group.contains(&voter)));
        elect.into_iter().all(|one| {
            let commit =
                groups.iter().filter(|group| commits.has_commit_quorum(|voter| group.contains(&voter)));
            commit.into_iter().all(|other| !one.is_disjoint(other))
        })
    };
    let mut apart = 0;
    for (before, after) in (1..=4).flat_map(|before| (1..=4).map(move |after| (before, after))) {
        let four = Membership::of_voters((1..=4).map(NodeId));
        let old = four.with_phase2_quorum(before, true).expect("one to four");
        let step = Step::Quorum { phase2: Some(after), forced: true };
        let joint = old.apply(&Change(vec![step])).expect("forced");
        let new = joint.settled();
        assert_eq!((joint.is_joint(), joint.check().is_ok()), (before != after, true));
        for (one, other) in [(&old, &joint), (&joint, &new)] {
            assert!(meet(one, other) && meet(other, one), "{one} and {other}");
        }
        apart += u32::from(!meet(&old, &new) || !meet(&new, &old));
    }
    assert_eq!(apart, 12, "without a joint configuration, each change of a size would be unsafe");
}

/// hazard 9: beside a witness, what enough disks hold is the least that any holder has, for each way to set voters aside
/// and to spread them over three positions.
#[test]
fn what_enough_disks_hold_beside_a_witness_equals_a_count_by_hand() {
    let voters = Membership::of_voters((1..=3).map(NodeId));
    let beside_witness = Membership { uncounted: [(NodeId(3), Uncounted::Witness)].into(), ..voters };
    for aside in [&[][..], &[NodeId(1)], &[NodeId(2)]] {
        let membership = beside_witness.setting_aside(aside.iter().copied());
        assert_eq!(membership.check(), Ok(()));
        for spread in 0..27_u64 {
            let value_of =
                |node: NodeId| Index(spread / [1, 3, 9][usize::try_from(node.0 - 1).expect("small")] % 3);
            let holders = [NodeId(1), NodeId(2)].into_iter().filter(|node| !aside.contains(node));
            assert_eq!(Some(membership.held_by_enough(value_of)), holders.map(value_of).min());
        }
    }
    assert!(
        beside_witness.setting_aside([NodeId(1), NodeId(2)]).check().is_err(),
        "nobody would hold the data"
    );
    assert!(
        beside_witness.setting_aside([NodeId(4)]).check().is_err(),
        "who is no voter cannot be set aside"
    );
}

fn membership(voters: &BTreeSet<NodeId>, outgoing: &BTreeSet<NodeId>) -> Membership {
    Membership { outgoing: outgoing.clone(), ..Membership::of_voters(voters.clone()) }
}

/// All that may be in force while up to `count` nodes change: joint or not.
fn configurations(count: u64) -> impl Iterator<Item = Membership> {
    let sets = move || subsets(count).collect::<Vec<_>>();
    let outgoing = sets();
    sets().into_iter().flat_map(move |voters| {
        outgoing.iter().map(|outgoing| membership(&voters, outgoing)).collect::<Vec<_>>()
    })
}

fn outnumbers(agreeing: &BTreeSet<NodeId>, voters: &BTreeSet<NodeId>) -> bool {
    2 * voters.intersection(agreeing).count() > voters.len()
}

/// hazard 9: of each configuration of up to 7 nodes, joint ones included, exactly those are a quorum that outnumber
/// the rest of the voters and, while a change is under way, the rest of those before it.
#[test]
fn joint_quorums_are_majorities_of_both() {
    let groups: Vec<BTreeSet<NodeId>> = subsets(VOTERS_MAX).collect();
    for membership in configurations(VOTERS_MAX) {
        for agreeing in &groups {
            let old_agree = membership.outgoing.is_empty() || outnumbers(agreeing, &membership.outgoing);
            let expected = outnumbers(agreeing, &membership.voters) && old_agree;
            let is_quorum = membership.has_quorum(|voter| agreeing.contains(&voter));
            assert_eq!(is_quorum, expected, "{agreeing:?} of {membership}");
            // Two positions: what a quorum has reached is the second one if just those that agree have.
            let reached = membership.reached_by_quorum(|voter| Index(agreeing.contains(&voter).into()));
            assert_eq!(reached, Index(expected.into()), "{agreeing:?} of {membership}");
        }
    }
}

/// hazard 9: the position that a joint quorum has reached, for every way in which up to 5 nodes can be spread over
/// three positions, is the greatest at or beyond which a quorum is.
#[test]
fn reached_position_of_a_joint_configuration_equals_a_count_by_hand() {
    for membership in configurations(5) {
        for spread in 0..3_u64.pow(5) {
            let value_of = |node: NodeId| spread / 3_u64.pow(u32::try_from(node.0 - 1).expect("small")) % 3;
            let reached = |value| membership.has_quorum(|node| value_of(node) >= value);
            let expected = (0..3).filter(|&value| reached(value)).max().unwrap_or_default();
            assert_eq!(membership.reached_by_quorum(value_of), expected, "{spread} in {membership}");
        }
    }
}

/// hazard 2: on the way from any voters to any others, a quorum of each configuration meets each quorum of the
/// next, so that no two leaders and no two decisions miss each other.
#[test]
fn quorums_of_neighbouring_configurations_intersect() {
    let groups: Vec<BTreeSet<NodeId>> = subsets(5).collect();
    let quorums = |membership: &Membership| -> Vec<&BTreeSet<NodeId>> {
        groups.iter().filter(|group| membership.has_quorum(|voter| group.contains(&voter))).collect()
    };
    for joint in configurations(5).filter(|membership| membership.is_joint()) {
        let before = Membership::of_voters(joint.outgoing.clone());
        let decides = quorums(&joint);
        for neighbour in [&before, &joint.settled()] {
            let meet = |a: &BTreeSet<NodeId>| decides.iter().all(|b| !a.is_disjoint(b));
            assert!(quorums(neighbour).into_iter().all(meet), "between {neighbour} and {joint}");
        }
    }
}

/// Who decides alone is known in joint configurations, too.
#[test]
fn sole_voter_is_alone_in_both() {
    for membership in configurations(4) {
        for node in (1..=4).map(NodeId) {
            let alone = [node].into();
            let in_old = membership.outgoing.is_empty() || membership.outgoing == alone;
            let in_new =
                membership.voters == alone || (membership.voters.is_empty() && membership.is_joint());
            assert_eq!(membership.is_sole_voter(node), in_old && in_new, "{node} in {membership}");
        }
    }
}

/// Learners never count.
#[test]
fn learners_make_no_quorum() {
    let membership = Membership::of_voters([1, 2, 3].map(NodeId)).with_learners([4, 5].map(NodeId));
    assert!(!membership.has_quorum(|node| node.0 == 1 || node.0 > 3));
    assert_eq!(membership.reached_by_quorum(|node| Index(node.0)), Index(2));
}
