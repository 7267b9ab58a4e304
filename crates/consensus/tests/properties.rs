//! Random schedules: loss, duplication, reordering, one-way cuts, crashes that tear writes, restarts, elections,
//! hand-overs, reads, compaction, changes of members. The cluster checks its safety properties at every step; at
//! the end everything is mended, and the cluster must come to agree and serve. `PROPTEST_CASES` sets how many are
//! tried.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use quorate_consensus::{
    Change, Config, Index, Input, Lease, Membership, NodeId, Priority, Purpose, Step,
    engine::ProposalOutcome, engine::ReadOutcome, paxos::Paxos, raft::Raft,
};

use crate::cluster::{Cluster, ClusterOf, Subject};

/// One step. Numbers are reduced to what there is when it is taken, so that any sequence makes sense.
#[derive(Clone, Debug)]
enum Action {
    /// Delivers the message at a place of the network's queue: anything but the first is a reordering.
    Deliver(usize),
    Drop(usize),
    Duplicate(usize),
    Persist(u64),
    /// Completes the installation of a snapshot.
    Install(u64),
    Advance(u64),
    Propose(u64),
    Read(u64),
    Crash {
        node: u64,
        whole: usize,
        torn: usize,
    },
    Start(u64),
    Transfer(u64, u64),
    Campaign(u64),
    Unreachable(u64, u64),
    Snapshot {
        node: u64,
        trailing: u64,
    },
    /// A node crashes, and its disk has lost all but its first entries, unless another's has lost something.
    Damage {
        node: u64,
        keep: u64,
    },
    /// Asks the leader, if there is one, for other members.
    Reconfigure(Vec<Wish>),
    Cut(u64, u64),
    Heal,
    Settle,
    /// Cuts the leader off, also from what is on its way.
    Isolate,
    /// Lets everything happen for a while, then lets the leader propose and everybody read.
    Run(u64),
}

/// A step of a change, among the members that there are when it is asked for.
#[derive(Clone, Copy, Debug)]
enum Wish {
    Add,
    Vote,
    Replace(usize),
    Witness,
    Promote(usize),
    Demote(usize),
    Remove(usize),
    /// A lease of so many milliseconds; 0 is none.
    Lease(u32),
    /// So many voters commit; 0 is a majority.
    Quorum(u8),
}

/// The most machines in a test.
const MACHINES_MAX: u64 = 8;

impl Wish {
    fn step(self, members: &Membership, fresh: &mut u64) -> Option<Step> {
        let pick = |place: usize| members.members().nth(place % members.len().max(1));
        let mut add = |purpose| {
            *fresh += 1;
            (*fresh <= MACHINES_MAX).then_some(Step::Add {
                node: Some(NodeId(*fresh)),
                address: None,
                purpose,
            })
        };
        match self {
            Self::Add => add(Purpose::Learn),
            Self::Vote => add(Purpose::Vote),
            Self::Replace(place) => add(Purpose::Replace(pick(place)?)),
            Self::Witness => add(Purpose::Witness),
            Self::Promote(place) => Some(Step::Promote { node: pick(place)? }),
            Self::Demote(place) => Some(Step::Demote { node: pick(place)? }),
            Self::Remove(place) => Some(Step::Remove { node: pick(place)? }),
            Self::Lease(millis) => {
                Some(Step::Lease((millis > 0).then_some(Lease { millis, drift_ppm: 1000 })))
            }
            Self::Quorum(size) => Some(Step::Quorum { phase2: (size > 0).then_some(size), forced: true }),
        }
    }
}

fn wish() -> impl Strategy<Value = Wish> {
    let place = || 0_usize..12;
    prop_oneof![
        1 => Just(Wish::Add),
        2 => Just(Wish::Vote),
        2 => place().prop_map(Wish::Replace),
        2 => Just(Wish::Witness),
        2 => place().prop_map(Wish::Promote),
        1 => place().prop_map(Wish::Demote),
        3 => place().prop_map(Wish::Remove),
        1 => Just(Wish::Lease(0)),
        4 => (1_u32..1000).prop_map(Wish::Lease),
        3 => (0_u8..5).prop_map(Wish::Quorum),
    ]
}

fn action_with_changes() -> impl Strategy<Value = Action> {
    prop_oneof![12 => action(), 1 => vec(wish(), 1..4).prop_map(Action::Reconfigure)]
}

fn action_with_damage() -> impl Strategy<Value = Action> {
    let damage = (0_u64..5, 0_u64..6).prop_map(|(node, keep)| Action::Damage { node, keep });
    prop_oneof![40 => action(), 1 => damage]
}

fn action() -> impl Strategy<Value = Action> {
    let node = || 0_u64..5;
    prop_oneof![
        40 => Just(0_usize).prop_map(Action::Deliver),
        20 => (0_usize..20).prop_map(Action::Deliver),
        3 => (0_usize..20).prop_map(Action::Drop),
        5 => (0_usize..20).prop_map(Action::Duplicate),
        25 => node().prop_map(Action::Persist),
        5 => node().prop_map(Action::Install),
        10 => (1_u64..400).prop_map(Action::Advance),
        10 => node().prop_map(Action::Propose),
        6 => node().prop_map(Action::Read),
        2 => (node(), 0_usize..3, 0_usize..5)
            .prop_map(|(node, whole, torn)| Action::Crash { node, whole, torn }),
        4 => node().prop_map(Action::Start),
        1 => (node(), node()).prop_map(|(node, to)| Action::Transfer(node, to)),
        2 => node().prop_map(Action::Campaign),
        2 => (node(), node()).prop_map(|(node, peer)| Action::Unreachable(node, peer)),
        2 => (node(), 0_u64..3).prop_map(|(node, trailing)| Action::Snapshot { node, trailing }),
        1 => (node(), node()).prop_map(|(from, to)| Action::Cut(from, to)),
        2 => Just(Action::Heal),
        3 => Just(Action::Settle),
        2 => Just(Action::Isolate),
        3 => (0_u64..700).prop_map(Action::Run),
    ]
}

fn take<E: Subject>(cluster: &mut ClusterOf<E>, action: Action) {
    let count = cluster.nodes.len() as u64;
    let id = |node: u64| node % count + 1;
    let queued = cluster.network.len();
    match action {
        Action::Deliver(place) if queued > 0 => {
            let envelope = cluster.network.remove(place % queued).expect("within the queue");
            cluster.deliver(envelope);
        }
        Action::Drop(place) if queued > 0 => drop(cluster.network.remove(place % queued)),
        Action::Duplicate(place) if queued > 0 => {
            let copy = cluster.network[place % queued].clone();
            cluster.network.push_back(copy);
        }
        Action::Deliver(_) | Action::Drop(_) | Action::Duplicate(_) => {}
        Action::Persist(node) => {
            cluster.persist(NodeId(id(node)));
        }
        Action::Install(node) => {
            cluster.install(NodeId(id(node)));
        }
        Action::Advance(millis) => {
            cluster.now = cluster.now.after(Duration::from_millis(millis));
            cluster.wake();
        }
        Action::Propose(node) => propose(cluster, id(node)),
        Action::Read(node) => read(cluster, id(node)),
        Action::Crash { node, whole, torn } => cluster.crash(NodeId(id(node)), whole, torn),
        Action::Damage { node, keep } if !cluster.has_damage() && cluster.is_up(NodeId(id(node))) => {
            cluster.crash(NodeId(id(node)), usize::MAX, 0);
            cluster.damage(NodeId(id(node)), Index(keep), true);
        }
        Action::Damage { .. } => {}
        Action::Start(node) if !cluster.is_up(NodeId(id(node))) => cluster.start(NodeId(id(node))),
        Action::Start(_) => {}
        Action::Transfer(node, to) => cluster.input(NodeId(id(node)), Input::Transfer { to: NodeId(id(to)) }),
        Action::Campaign(node) => cluster.input(NodeId(id(node)), Input::Campaign),
        Action::Unreachable(node, peer) => cluster.unreachable(id(node), id(peer)),
        Action::Snapshot { node, trailing } => cluster.make_snapshot(NodeId(id(node)), trailing),
        Action::Reconfigure(wishes) => reconfigure(cluster, &wishes),
        Action::Cut(from, to) => {
            cluster.cut.insert((NodeId(id(from)), NodeId(id(to))));
        }
        Action::Heal => cluster.cut.clear(),
        Action::Settle => cluster.settle(),
        Action::Isolate => {
            if let Some(leader) = cluster.leader() {
                cluster.partition(&[leader]);
            }
        }
        Action::Run(millis) => {
            cluster.run(Duration::from_millis(millis));
            cluster.leader().into_iter().for_each(|leader| propose(cluster, leader));
            cluster.ids().into_iter().for_each(|id| read(cluster, id.0));
        }
    }
}

fn propose<E: Subject>(cluster: &mut ClusterOf<E>, node: u64) {
    let text = format!("c{}", cluster.proposal_outcomes.len());
    cluster.propose(node, &text);
}

fn reconfigure<E: Subject>(cluster: &mut ClusterOf<E>, wishes: &[Wish]) {
    let Some(leader) = cluster.leader() else { return };
    let members = cluster.membership(leader);
    let mut fresh = members.ids_used;
    let steps: Vec<Step> = wishes.iter().filter_map(|wish| wish.step(&members, &mut fresh)).collect();
    for id in cluster.nodes.len() as u64 + 1..=fresh.min(MACHINES_MAX) {
        cluster.join(id);
    }
    cluster.reconfigure(leader, Change(steps));
}

fn read<E: Subject>(cluster: &mut ClusterOf<E>, node: u64) {
    if cluster.is_up(NodeId(node)) {
        cluster.read(node);
    }
}

/// Mends everything; then there is a leader, it commits, all nodes apply the same, and reads are served.
fn converge<E: Subject>(cluster: &mut ClusterOf<E>) {
    cluster.cut.clear();
    for id in cluster.ids().into_iter().filter(|&id| !cluster.is_up(id)).collect::<Vec<_>>() {
        cluster.start(id);
    }
    cluster.run(Duration::from_secs(8));
    let leader = cluster.leader().expect("a mended cluster has a leader");
    let (members, term) = (cluster.membership(leader), cluster.status(leader).role.term);
    assert!(!members.is_joint() && members.promotions.is_empty(), "a change does not end: {members}");
    cluster.run(Duration::from_secs(2));
    let status = cluster.status(leader);
    assert_eq!((cluster.leader(), status.role.term), (Some(leader), term), "somebody disturbs");
    let proposal = cluster.propose(leader, "last");
    cluster.run(Duration::from_secs(1));
    let outcome = &cluster.proposal_outcomes[&proposal];
    assert!(matches!(outcome, ProposalOutcome::Appended { .. }), "refused: {outcome:?}");
    for id in cluster.ids() {
        cluster.check_machine(id);
        if !members.contains(id) {
            continue;
        }
        if !members.is_witness(id) {
            assert_eq!(
                cluster.nodes[&id].machine.last().map(String::as_str),
                Some("last"),
                "{id} lags behind"
            );
        }
        let read = cluster.read(id.0);
        cluster.settle();
        assert!(matches!(cluster.read_outcomes[&read], ReadOutcome::Ready { .. }), "{id} serves no read");
    }
    cluster.check_logs();
}

/// One of the two disks with data is lost for good. Whatever was committed is on the other: unless that one was set aside,
/// as the witness knows.
fn lose_a_disk(cluster: &mut Cluster, lost: u64) {
    let others: Vec<NodeId> = cluster.ids().into_iter().filter(|id| id.0 != lost).collect();
    for id in others {
        if !cluster.is_up(id) {
            cluster.start(id);
        }
    }
    cluster.cut.clear();
    cluster.settle();
    let (witness, heir) = (cluster.membership(3), NodeId(3 - lost));
    // It may know by now what the witness has not been told.
    let may_lead = witness.may_lead(heir) && cluster.membership(heir.0).may_lead(heir);
    if !may_lead || cluster.last_position(heir.0) < cluster.last_position(3) {
        return;
    }
    if cluster.is_up(NodeId(lost)) {
        cluster.crash(NodeId(lost), 0, 0);
    }
    let committed = cluster.history.len();
    cluster.run(Duration::from_secs(8));
    assert_eq!(cluster.leader(), Some(heir.0), "nobody leads without the disk that is lost");
    let proposal = cluster.propose(heir.0, "alone");
    cluster.run(Duration::from_secs(1));
    let outcome = &cluster.proposal_outcomes[&proposal];
    assert!(matches!(outcome, ProposalOutcome::Appended { .. }), "refused: {outcome:?}");
    assert!(cluster.history.len() > committed, "nothing is committed without the disk that is lost");
    assert!(
        cluster.membership(heir.0).is_set_aside(NodeId(lost)),
        "one disk holds the data, and nobody says so"
    );
    cluster.check_logs();
}

/// Limits that are met often.
fn tight(config: &mut Config) {
    config.snapshot_chunk_bytes = 5;
    config.inflight_messages_max = 3;
    config.message_bytes_max = 100;
}

/// The same; learners may vote when they lack up to three entries.
fn tight_with_lag(config: &mut Config) {
    tight(config);
    config.promotion_lag_max = 3;
}

/// Takes all steps, one after the other.
fn play<E: Subject>(cluster: &mut ClusterOf<E>, actions: Vec<Action>) {
    for action in actions {
        take(cluster, action);
    }
    cluster.check_logs();
}

/// Two nodes with data and a witness. In the end one of the former may be lost, or all comes back.
fn check_with_witness(actions: Vec<Action>, lost: Option<u64>) {
    let mut cluster = Cluster::with_witness(tight_with_lag);
    play(&mut cluster, actions);
    match lost {
        Some(lost) if cluster.nodes.len() == 3 => lose_a_disk(&mut cluster, lost),
        Some(_) | None => converge(&mut cluster),
    }
}

fn check<E: Subject>(voters: u64, learners: u64, actions: Vec<Action>) {
    let mut cluster = ClusterOf::<E>::with(voters, learners, tight);
    play(&mut cluster, actions);
    converge(&mut cluster);
}

/// Priorities and members change as well.
fn check_with_changes<E: Subject>(voters: u64, priorities: &[u32], actions: Vec<Action>) {
    let mut cluster = ClusterOf::<E>::with(voters, 0, tight_with_lag);
    cluster.priorities = (1..).map(NodeId).zip(priorities.iter().copied().map(Priority)).collect();
    play(&mut cluster, actions);
    converge(&mut cluster);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// hazards 1, 5 to 8, 10, 11, 13, 16.
    #[test]
    fn three_nodes_are_safe_and_recover(actions in vec(action(), 0..500)) {
        check::<Raft>(3, 0, actions);
    }

    /// The same with a learner.
    #[test]
    fn three_voters_and_a_learner_are_safe_and_recover(actions in vec(action(), 0..400)) {
        check::<Raft>(3, 1, actions);
    }

    #[test]
    fn two_nodes_and_a_witness_are_safe_and_survive_the_loss_of_either_disk(
        actions in vec(action(), 0..500), lost in proptest::option::of(1_u64..3),
    ) {
        check_with_witness(actions, lost);
    }

    #[test]
    fn changing_members_beside_a_witness_are_safe_and_recover(
        actions in vec(action_with_changes(), 0..500),
    ) {
        check_with_witness(actions, None);
    }

    #[test]
    fn five_nodes_are_safe_and_recover(actions in vec(action(), 0..700)) {
        check::<Raft>(5, 0, actions);
    }

    /// hazards 2, 3, 4.
    #[test]
    fn changing_members_are_safe_and_recover(
        voters in 1_u64..6, priorities in vec(1_u32..4, 8), actions in vec(action_with_changes(), 0..500),
    ) {
        check_with_changes::<Raft>(voters, &priorities, actions);
    }

    /// hazard 23, of the engine's part.
    #[test]
    fn damaged_nodes_are_repaired_and_lead_nobody_astray(actions in vec(action_with_damage(), 0..500)) {
        check::<Raft>(3, 0, actions);
    }

    #[test]
    fn damaged_nodes_of_paxos_are_repaired_and_lead_nobody_astray(
        actions in vec(action_with_damage(), 0..500),
    ) {
        check::<Paxos>(3, 0, actions);
    }

    #[test]
    fn three_nodes_of_paxos_are_safe_and_recover(actions in vec(action(), 0..500)) {
        check::<Paxos>(3, 0, actions);
    }

    #[test]
    fn three_voters_and_a_learner_of_paxos_are_safe_and_recover(actions in vec(action(), 0..400)) {
        check::<Paxos>(3, 1, actions);
    }

    /// Two commit, and four elect; or four commit, and two elect.
    #[test]
    fn five_nodes_of_paxos_with_flexible_quorums_are_safe_and_recover(
        phase2 in prop_oneof![Just(2_u8), Just(4)], actions in vec(action(), 0..700),
    ) {
        let five = Membership::of_voters((1..=5).map(NodeId));
        let birth = five.with_phase2_quorum(phase2, false).expect("of five, two or four");
        let mut cluster = ClusterOf::<Paxos>::born(birth, tight);
        play(&mut cluster, actions);
        converge(&mut cluster);
    }

    #[test]
    fn five_nodes_of_paxos_are_safe_and_recover(actions in vec(action(), 0..700)) {
        check::<Paxos>(5, 0, actions);
    }

    #[test]
    fn changing_members_of_paxos_are_safe_and_recover(
        voters in 1_u64..6, priorities in vec(1_u32..4, 8), actions in vec(action_with_changes(), 0..500),
    ) {
        check_with_changes::<Paxos>(voters, &priorities, actions);
    }
}
