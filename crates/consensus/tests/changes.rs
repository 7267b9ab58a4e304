//! What becomes of configurations, against a model that is a plain list of who is what.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, option, prelude::*};
use quorate_consensus::{Address, Change, Lease, Membership, NodeId, Purpose, Refusal, Step};

/// The model: what each member is, and what it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Voter,
    Learner(Purpose),
}

type Model = BTreeMap<NodeId, Part>;

fn model_of(membership: &Membership) -> Model {
    let voters = membership.voters.iter().map(|&voter| (voter, Part::Voter));
    let learners = membership.learners.iter().map(|&learner| {
        let purpose = match membership.promotions.get(&learner) {
            None => Purpose::Learn,
            Some(None) if membership.is_witness(learner) => Purpose::Witness,
            Some(None) => Purpose::Vote,
            Some(&Some(place)) => Purpose::Replace(place),
        };
        (learner, Part::Learner(purpose))
    });
    voters.chain(learners).collect()
}

/// What an accepted step does.
fn take(model: &mut Model, ids_used: &mut u64, step: &Step) {
    let mut leave = Vec::new();
    match *step {
        Step::Add { node, address: _, purpose } => {
            *ids_used = node.map_or(*ids_used + 1, |node| node.0);
            model.insert(NodeId(*ids_used), Part::Learner(purpose));
        }
        Step::Promote { node } => {
            if let Some(Part::Learner(Purpose::Replace(place))) = model.insert(node, Part::Voter) {
                leave.push(place);
            }
        }
        Step::Demote { node } => {
            model.insert(node, Part::Learner(Purpose::Learn));
        }
        Step::Move { .. } | Step::Lease(_) | Step::Quorum { .. } => {}
        Step::Remove { node } => leave.push(node),
    }
    model.retain(|node, _| !leave.contains(node));
    // A place that is free can be nobody's any more.
    let voters: BTreeSet<NodeId> =
        model.iter().filter(|(_, part)| **part == Part::Voter).map(|(&node, _)| node).collect();
    for part in model.values_mut() {
        if let Part::Learner(Purpose::Replace(place)) = part
            && !voters.contains(place)
        {
            *part = Part::Learner(Purpose::Vote);
        }
    }
}

/// Where members are after accepted steps: each where the last step that named a place for it has put it.
fn places(before: &Membership, after: &Membership, change: &Change) -> BTreeMap<NodeId, Address> {
    let mut places = before.addresses.clone();
    let mut ids_used = before.ids_used;
    for step in &change.0 {
        if let Step::Add { node, .. } = step {
            ids_used = node.map_or(ids_used + 1, |node| node.0);
        }
        let placed = match step {
            Step::Add { address, .. } => address.clone().map(|address| (NodeId(ids_used), address)),
            Step::Move { node, address } => Some((*node, address.clone())),
            Step::Promote { .. }
            | Step::Demote { .. }
            | Step::Remove { .. }
            | Step::Lease(_)
            | Step::Quorum { .. } => None,
        };
        places.extend(placed);
    }
    places.retain(|&node, _| after.contains(node));
    places
}

fn address() -> impl Strategy<Value = Address> {
    (0..6).prop_map(|place| Address(format!("h{place}").into()))
}

fn step() -> impl Strategy<Value = Step> {
    let node = || (1_u64..13).prop_map(NodeId);
    let purpose = prop_oneof![Just(Purpose::Learn), Just(Purpose::Vote), node().prop_map(Purpose::Replace),];
    prop_oneof![
        3 => (option::of(node()), option::of(address()), purpose)
            .prop_map(|(node, address, purpose)| Step::Add { node, address, purpose }),
        1 => (node(), address()).prop_map(|(node, address)| Step::Move { node, address }),
        1 => option::of(0_u32..100_000).prop_map(|lease| {
            Step::Lease(lease.map(|millis| Lease { millis, drift_ppm: 1000 }))
        }),
        1 => (option::of(0_u8..6), any::<bool>()).prop_map(|(phase2, forced)| Step::Quorum { phase2, forced }),
        1 => node().prop_map(|node| Step::Promote { node }),
        1 => node().prop_map(|node| Step::Demote { node }),
        1 => node().prop_map(|node| Step::Remove { node }),
    ]
}

/// A configuration after one change, and all that must be true of it.
fn checked(before: &Membership, change: &Change) -> Result<Membership, Refusal> {
    let after = before.apply(change)?;
    assert_eq!(after.check(), Ok(()), "{change:?} made {after} of {before}");
    let mut model = model_of(before);
    let mut ids_used = before.ids_used;
    change.0.iter().for_each(|step| take(&mut model, &mut ids_used, step));
    let wanted = change.0.iter().rev().find_map(|step| match step {
        Step::Lease(lease) => Some(*lease),
        _ => None,
    });
    assert_eq!(after.lease, wanted.unwrap_or(before.lease));
    assert_eq!(after.addresses, places(before, &after, change), "{change:?} made {after} of {before}");
    assert_eq!(model_of(&after), model, "{change:?} made {after} of {before}");
    let wanted = change.0.iter().rev().find_map(|step| match step {
        Step::Quorum { phase2, .. } => Some(*phase2),
        _ => None,
    });
    assert_eq!(after.phase2_quorum, wanted.unwrap_or(before.phase2_quorum));
    let changes = (&after.voters, after.phase2_quorum) != (&before.voters, before.phase2_quorum);
    assert_eq!(after.is_joint(), changes, "{before} to {after}");
    assert!(!after.is_joint() || after.outgoing_phase2_quorum == before.phase2_quorum, "{before} to {after}");
    assert!(!after.is_joint() || after.outgoing == before.voters, "{before} to {after}");
    assert!(
        after.voters.iter().all(|&voter| before.contains(voter)),
        "{after} has voters that never learned"
    );
    assert!(before.members().all(|node| after.is_joint() || after.contains(node) || after.excludes(node)));
    assert!(after.ids_used >= before.ids_used, "ids are used again after {after}");
    Ok(after)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any course of changes leads from one sound configuration to the next, and does what its steps say.
    #[test]
    fn changes_do_what_they_say(
        voters in 1_u64..6, learners in 0_u64..3, changes in vec(vec(step(), 0..4), 0..40),
    ) {
        let mut present = Membership::of_voters((1..=voters).map(NodeId))
            .with_learners((voters + 1..=voters + learners).map(NodeId));
        let mut gone = BTreeSet::new();
        for change in changes.into_iter().map(Change) {
            if let Ok(next) = checked(&present, &change) {
                prop_assert!(!next.is_joint() || next.apply(&change) == Err(Refusal::UnderWay));
                gone.extend(present.members().filter(|&node| !next.settled().contains(node)));
                present = next.settled();
                prop_assert_eq!(present.check(), Ok(()));
                prop_assert!(gone.iter().all(|&node| present.excludes(node)), "{gone:?} in {present}");
            }
        }
    }
}

/// All single steps in all small configurations: each is refused for one of its own reasons, or made.
#[test]
fn each_step_is_refused_for_a_reason_of_its_own() {
    let nodes = || (1..=5).map(NodeId);
    for (voters, learners) in (1_u64..=3).flat_map(|voters| (0..=1).map(move |learners| (voters, learners))) {
        let before = Membership::of_voters((1..=voters).map(NodeId))
            .with_learners((voters + 1..=voters + learners).map(NodeId));
        let is_member = |node: NodeId| node.0 <= voters + learners;
        let is_voter = |node: NodeId| node.0 <= voters;
        for node in nodes() {
            let outcome = |step| checked(&before, &Change::of(step));
            let added = outcome(Step::Add { node: Some(node), address: None, purpose: Purpose::Learn });
            assert_eq!(added.is_ok(), !is_member(node), "add {node} to {before}");
            assert_eq!(outcome(Step::Promote { node }).is_ok(), is_member(node) && !is_voter(node));
            let may_go = is_member(node) && !(is_voter(node) && voters == 1);
            assert_eq!(outcome(Step::Remove { node }).is_ok(), may_go, "remove {node} from {before}");
            assert_eq!(outcome(Step::Demote { node }).is_ok(), is_voter(node) && voters > 1);
        }
    }
}

/// The arithmetic of a refusal agrees with that of quorums, for every group of reachable nodes.
#[test]
fn change_is_refused_exactly_when_too_few_could_be_reached() {
    for count in 1_u64..=5 {
        let membership = Membership::of_voters((1..=count).map(NodeId));
        for mask in 0_u64..1 << count {
            let is_reachable = |node: NodeId| mask >> (node.0 - 1) & 1 == 1;
            match membership.check_reachable(is_reachable) {
                Ok(()) => assert!(2 * u64::from(mask.count_ones()) > count),
                Err(Refusal::QuorumUnreachable { voters, reachable, needed }) => {
                    assert!(reachable.len() < needed && 2 * needed > voters.len());
                    assert_eq!(reachable.len(), mask.count_ones() as usize);
                }
                Err(other) => panic!("refused for another reason: {other}"),
            }
        }
    }
}

fn located(node: u64, address: &str) -> (NodeId, Address) {
    (NodeId(node), Address(address.into()))
}

#[test]
fn an_address_belongs_to_one_member_and_goes_with_it() {
    let before = Membership::of_voters([1, 2].map(NodeId)).with_addresses([located(1, "a"), located(2, "b")]);
    let outcome = |step| before.apply(&Change::of(step));
    let (n2, taken) = located(2, "a");
    assert_eq!(
        outcome(Step::Move { node: n2, address: taken.clone() }),
        Err(Refusal::AddressTaken { address: taken.clone(), node: NodeId(1) })
    );
    let add = |address| Step::Add { node: None, address, purpose: Purpose::Learn };
    assert!(outcome(add(Some(taken.clone()))).is_err());
    let overlong = Address("x".repeat(Address::BYTES_MAX + 1).into());
    assert_eq!(outcome(add(Some(overlong))), Err(Refusal::AddressLength { bytes: 261 }));
    let removed = outcome(Step::Remove { node: NodeId(1) }).expect("it may go");
    assert_eq!(removed.addresses, before.addresses, "who leaves is told so");
    assert_eq!(removed.settled().addresses, [located(2, "b")].into());
    let added = removed.settled().apply(&Change::of(add(Some(taken)))).expect("the place is free");
    assert_eq!(added.addresses, [located(2, "b"), located(3, "a")].into());
}

/// What no change leads to is found when it comes from a disk or a peer.
#[test]
fn unsound_configurations_are_found() {
    let sound = Membership::of_voters([1, 2, 3].map(NodeId)).with_learners([NodeId(4)]);
    assert_eq!((sound.check(), Membership::default().check()), (Ok(()), Ok(())));
    let promotions = |node, place| [(NodeId(node), place)].into();
    let unsound = [
        Membership { voters: BTreeSet::new(), ..sound.clone() },
        Membership { learners: [NodeId(1)].into(), ..sound.clone() },
        Membership { outgoing: sound.voters.clone(), ..sound.clone() },
        Membership { promotions: promotions(3, None), ..sound.clone() },
        Membership { promotions: promotions(4, Some(NodeId(4))), ..sound.clone() },
        Membership { ids_used: 3, ..sound.clone() },
        sound.clone().with_addresses([located(5, "h")]),
        sound.clone().with_addresses([located(1, "h"), located(2, "h")]),
        sound.clone().with_addresses([located(1, "")]),
        Membership { lease: Some(Lease { millis: 0, drift_ppm: 0 }), ..sound.clone() },
        Membership { lease: Some(Lease { millis: 1, drift_ppm: 100_001 }), ..sound.clone() },
        Membership { voters: [NodeId(0)].into(), ..sound.clone() },
        Membership {
            learners: [NodeId(4), NodeId(5)].into(),
            promotions: [4, 5].map(|node| (NodeId(node), Some(NodeId(1)))).into(),
            ids_used: 5,
            ..sound
        },
    ];
    for membership in unsound {
        assert!(membership.check().is_err(), "{membership}");
    }
}
