//! One test for each cited section of chapter 4, *Cluster membership changes*, of Ongaro's dissertation (2014), and
//! for what other sections say of joint configurations. The text of each says in our words what the section
//! demands.

use std::time::Duration;

use quorate_consensus::{
    Change, Index, Input, Lease, Membership, NodeId, Payload, Purpose, Refusal, Step,
    engine::{ProposalOutcome, ReadOutcome, RoleKind},
    raft::message::{Body, Message, Position},
};

use crate::cluster::Cluster;

fn promote(node: u64) -> Step {
    Step::Promote { node: NodeId(node) }
}

fn remove(node: u64) -> Step {
    Step::Remove { node: NodeId(node) }
}

fn voters(ids: &[u64]) -> Membership {
    Membership::of_voters(ids.iter().copied().map(NodeId))
}

/// A cluster that n1 leads, with `learners` that have all there is.
fn led_by_n1(voters: u64, learners: u64) -> Cluster {
    let mut cluster = Cluster::with(voters, learners, |_| {});
    cluster.elect(1);
    cluster
}

fn refusal(cluster: &Cluster, change: quorate_consensus::ProposalId) -> Option<Refusal> {
    match &cluster.proposal_outcomes[&change] {
        ProposalOutcome::Refused(refusal) => Some(refusal.clone()),
        ProposalOutcome::Appended { .. } | ProposalOutcome::NotLeader | ProposalOutcome::Overloaded => None,
    }
}

/// Loses what is under way to some nodes.
fn lose(cluster: &mut Cluster, to: &[u64]) {
    cluster.network.retain(|envelope| !to.contains(&envelope.to.0));
}

/// 4.1: a configuration is in force at each server from when it is in its log, whether it is committed or not.
#[test]
fn section_4_1_configurations_are_in_force_when_appended() {
    let mut cluster = led_by_n1(3, 1);
    cluster.reconfigure(1, Change::of(promote(4)));
    assert!(cluster.membership(1).is_joint() && !cluster.membership(2).is_joint());
    lose(&mut cluster, &[3, 4]);
    let append = cluster.network.pop_front().expect("to n2");
    cluster.deliver(append);
    assert!(
        cluster.membership(2).is_joint() && cluster.status(2).commit < cluster.status(2).membership_index
    );
}

/// 4.1: a server takes entries from a leader, and gives its vote to a candidate, that its own configuration does
/// not know: otherwise nobody could ever be added (hazard 4).
#[test]
fn section_4_1_strangers_are_followed_and_voted_for() {
    let mut cluster = Cluster::new(3);
    let last = Position { index: Index(9), term: quorate_consensus::Term(3) };
    let vote = Message { term: quorate_consensus::Term(4), body: Body::Vote { last, transfer: false } };
    cluster.input(NodeId(2), Input::Message { from: NodeId(7), message: vote });
    cluster.persist(NodeId(2));
    assert!(cluster.network.iter().any(|envelope| envelope.text() == "n2->n7 VoteAnswer t4 granted"));
    let commit = Body::Commit { commit: Index(0), stamp: Default::default() };
    let commit = Message { term: quorate_consensus::Term(4), body: commit };
    cluster.input(NodeId(2), Input::Message { from: NodeId(7), message: commit });
    assert_eq!(cluster.status(2).role.leader, Some(NodeId(7)));
}

/// 4.1: a change must wait for the one before, so that there are never more than two configurations to agree.
#[test]
fn section_4_1_one_change_at_a_time() {
    let mut cluster = led_by_n1(3, 2);
    let first = cluster.reconfigure(1, Change::of(promote(4)));
    let second = cluster.reconfigure(1, Change::of(promote(5)));
    assert_eq!((refusal(&cluster, first), refusal(&cluster, second)), (None, Some(Refusal::UnderWay)));
    cluster.settle();
    let third = cluster.reconfigure(1, Change::of(promote(5)));
    cluster.settle();
    assert_eq!((refusal(&cluster, third), cluster.membership(3)), (None, voters(&[1, 2, 3, 4, 5])));
}

/// 4.2.1: a new server gets the log as one that does not vote, so that the cluster stays available however long
/// that takes, and votes only when it has caught up.
#[test]
fn section_4_2_1_new_servers_catch_up_before_they_vote() {
    let mut cluster = Cluster::with(3, 0, |config| config.promotion_lag_max = 5);
    cluster.elect(1);
    for number in 0..50 {
        cluster.propose(1, &format!("c{number}"));
    }
    cluster.settle();
    cluster.join(4);
    cluster.slow.insert(NodeId(4));
    cluster.reconfigure(
        1,
        Change::of(Step::Add { node: Some(NodeId(4)), address: None, purpose: Purpose::Vote }),
    );
    // One of three fails: the two others go on, though n4 has nothing.
    cluster.crash(NodeId(3), 9, 9);
    cluster.run(Duration::from_secs(1));
    cluster.propose(1, "meanwhile");
    cluster.settle();
    assert_eq!(cluster.node(2).machine.last().map(String::as_str), Some("meanwhile"));
    assert_eq!(cluster.membership(1).voters, voters(&[1, 2, 3]).voters);
    cluster.slow.clear();
    cluster.run(Duration::from_millis(200));
    assert_eq!(cluster.membership(1), voters(&[1, 2, 3, 4]));
}

/// 4.2.2: a leader that is removed leads until the new configuration is committed, and counts others alone
/// meanwhile. Its successor takes over without an election time-out.
#[test]
fn section_4_2_2_removed_leader_leads_until_it_is_committed() {
    let mut cluster = led_by_n1(3, 0);
    let began = cluster.now;
    cluster.reconfigure(1, Change::of(remove(1)));
    while cluster.membership(1).is_joint() {
        (1..=3).for_each(|id| while cluster.persist(NodeId(id)) {});
        let envelope = cluster.network.pop_front().expect("the joint entry commits");
        cluster.deliver(envelope);
    }
    cluster.partition(&[3]);
    cluster.settle();
    // n1 and n2 would be a majority of the three; of n2 and n3 both are needed.
    let status = cluster.status(1);
    assert_eq!((status.role.kind, status.membership_index), (RoleKind::Leader, Index(3)));
    assert!(status.commit < Index(3));
    cluster.cut.clear();
    cluster.run(Duration::from_millis(60));
    assert_eq!((cluster.leader(), cluster.membership(2)), (Some(2), voters(&[2, 3])));
    assert!(cluster.now.since(began) < Duration::from_millis(100));
    assert!(cluster.removed.contains(&NodeId(1)));
}

/// 4.2.3: servers that were removed, and do not know it, do not depose a leader that works, whatever their terms.
#[test]
fn section_4_2_3_removed_servers_do_not_disrupt() {
    let mut cluster = led_by_n1(5, 0);
    cluster.partition(&[4, 5]);
    cluster.reconfigure(1, Change(vec![remove(4), remove(5)]));
    cluster.run(Duration::from_secs(3));
    let term = cluster.status(1).role.term;
    cluster.cut.clear();
    for _ in 0..20 {
        cluster.input(NodeId(4), Input::Campaign);
        cluster.input(NodeId(5), Input::Campaign);
        cluster.run(Duration::from_millis(100));
    }
    assert_eq!((cluster.leader(), cluster.status(1).role.term), (Some(1), term));
    assert_eq!(cluster.removed, [NodeId(4), NodeId(5)].into());
}

/// 4.2.3: the same while the cluster has no leader: their greater terms count for nothing in the election.
#[test]
fn section_4_2_3_removed_servers_do_not_disrupt_an_election() {
    let mut cluster = led_by_n1(4, 0);
    cluster.partition(&[4]);
    cluster.reconfigure(1, Change::of(remove(4)));
    cluster.run(Duration::from_secs(2));
    for _ in 0..5 {
        cluster.input(NodeId(4), Input::Campaign);
        cluster.persist(NodeId(4));
    }
    cluster.crash(NodeId(1), 9, 9);
    cluster.cut.clear();
    cluster.run(Duration::from_secs(2));
    let leader = cluster.leader().expect("n2 and n3 elect one");
    let terms = [leader, 4].map(|id| cluster.status(id).role.term);
    assert!(terms[0] < terms[1] && cluster.removed.contains(&NodeId(4)), "{terms:?}");
}

/// 4.3: any number of servers changes in one step, here all of them.
#[test]
fn section_4_3_all_servers_are_replaced_at_once() {
    let mut cluster = led_by_n1(3, 3);
    cluster.propose(1, "before");
    cluster.settle();
    let steps = [promote(4), promote(5), promote(6), remove(1), remove(2), remove(3)];
    cluster.reconfigure(1, Change(steps.into()));
    cluster.run(Duration::from_secs(2));
    let leader = cluster.leader().expect("one of the new servers leads");
    cluster.propose(leader, "after");
    cluster.settle();
    assert_eq!(cluster.membership(leader), voters(&[4, 5, 6]));
    assert_eq!(cluster.node(5).machine, ["before", "after"]);
    assert_eq!(cluster.removed, [1, 2, 3].map(NodeId).into());
}

/// 4.3: while joint, a candidate needs majorities of both configurations.
#[test]
fn section_4_3_elections_need_both_majorities() {
    for (reachable, wins) in [(vec![2, 3], false), (vec![2, 4, 5], false), (vec![2, 3, 4], true)] {
        let mut cluster = led_by_n1(3, 2);
        cluster.reconfigure(1, Change(vec![promote(4), promote(5), remove(1), remove(3)]));
        lose(&mut cluster, &[1]);
        while let Some(append) = cluster.network.pop_front() {
            cluster.deliver(append);
        }
        cluster.crash(NodeId(1), 9, 9);
        cluster.network.clear();
        (2..=5).for_each(|id| while cluster.persist(NodeId(id)) {});
        cluster.network.clear();
        cluster.partition(&reachable);
        cluster.run(Duration::from_secs(5));
        let leads = reachable.iter().any(|&id| cluster.status(id).role.kind == RoleKind::Leader);
        assert_eq!(leads, wins, "of voters n2 n4 n5 and n1 n2 n3 only {reachable:?} are there");
    }
}

/// 4.3: a server of the old configuration may lead while it is joint, and what is proposed meanwhile is not held
/// up.
#[test]
fn section_4_3_clients_are_served_while_members_change() {
    let mut cluster = led_by_n1(3, 1);
    cluster.partition(&[1, 2, 4]);
    cluster.reconfigure(1, Change(vec![promote(4), remove(1)]));
    cluster.propose(1, "a");
    assert!(cluster.membership(1).is_joint());
    cluster.settle();
    assert_eq!(cluster.node(1).machine, ["a"]);
}

/// 4.3: the new configuration is appended by the leader when the joint one is committed, and once only.
#[test]
fn section_4_3_a_change_is_two_entries() {
    let mut cluster = led_by_n1(3, 1);
    cluster.reconfigure(1, Change(vec![promote(4), remove(3)]));
    cluster.run(Duration::from_secs(1));
    let configurations: Vec<&Payload> =
        cluster.history.values().skip(1).map(|entry| &entry.payload).collect();
    let joint = Membership { outgoing: voters(&[1, 2, 3]).voters, ..voters(&[1, 2, 4]) };
    let expected = [joint, voters(&[1, 2, 4])].map(|one| Payload::Membership(Box::new(one)));
    assert_eq!(configurations, expected.each_ref());
}

/// 6.4: while joint, a read is confirmed by both majorities.
#[test]
fn section_6_4_reads_need_both_majorities() {
    let mut cluster = led_by_n1(3, 2);
    cluster.partition(&[4, 5]);
    cluster.reconfigure(1, Change(vec![promote(4), promote(5), remove(2), remove(3)]));
    cluster.settle();
    let read = cluster.read(1);
    cluster.settle();
    assert!(!cluster.read_outcomes.contains_key(&read), "n4 or n5 is needed, too");
    cluster.cut.clear();
    cluster.run(Duration::from_millis(100));
    assert!(matches!(cluster.read_outcomes[&read], ReadOutcome::Ready { .. }));
}

/// 6.2: while joint, a leader steps down unless it hears both majorities.
#[test]
fn section_6_2_leader_needs_to_hear_both_majorities() {
    let mut cluster = led_by_n1(3, 2);
    cluster.partition(&[4, 5]);
    cluster.reconfigure(1, Change(vec![promote(4), promote(5), remove(2), remove(3)]));
    cluster.run(Duration::from_millis(250));
    assert_eq!(cluster.leader(), Some(1));
    cluster.run(Duration::from_millis(100));
    assert_eq!(cluster.leader(), None);
}

/// 3.10: leadership is handed to a voter of the new configuration, not to one on its way out.
#[test]
fn section_3_10_who_is_on_the_way_out_is_no_successor() {
    let mut cluster = led_by_n1(3, 1);
    cluster.slow.insert(NodeId(4));
    cluster.slow.insert(NodeId(2));
    cluster.reconfigure(1, Change(vec![promote(4), remove(3)]));
    cluster.settle();
    assert!(cluster.membership(1).is_joint());
    cluster.input(NodeId(1), Input::Transfer { to: NodeId(3) });
    cluster.settle();
    assert_eq!(cluster.leader(), Some(1));
    cluster.slow.clear();
    cluster.input(NodeId(1), Input::Transfer { to: NodeId(4) });
    cluster.run(Duration::from_millis(100));
    assert_eq!((cluster.leader(), cluster.membership(4)), (Some(4), voters(&[1, 2, 4])));
}

/// 6.4.1: at no instant does a leader answer by its lease, or by a late answer, when another can have been elected: not
/// even if that one stands as soon as its voters let it.
#[test]
fn section_6_4_1_lease_is_over_before_anybody_else_can_be_elected() {
    let (mut answered, mut elected) = (0, 0);
    for millis in [20, 100, 290] {
        for waited in (0..320).step_by(2) {
            let mut cluster = led_by_n1(3, 0);
            cluster.reconfigure(1, Change::of(Step::Lease(Some(Lease { millis, drift_ppm: 1000 }))));
            cluster.run(Duration::from_millis(200));
            cluster.partition(&[1]);
            cluster.now = cluster.now.after(Duration::from_millis(waited));
            // Without a connection to it, they hear no leader that would deserve protection otherwise.
            (2..=3).for_each(|node| cluster.unreachable(node, 1));
            for candidate in [2, 3] {
                cluster.input(NodeId(candidate), Input::Campaign);
                cluster.settle();
            }
            if cluster.committed() == cluster.status(1).commit {
                cluster.propose(2, "new");
                cluster.settle();
            } else {
                elected += 1;
            }
            // The cluster itself knows what the answer must not miss.
            let read = cluster.read(1);
            answered +=
                u32::from(matches!(cluster.read_outcomes.get(&read), Some(ReadOutcome::Ready { .. })));
        }
    }
    assert!(answered > 100 && elected > 100, "answered by lease: {answered}, elected: {elected}");
}
