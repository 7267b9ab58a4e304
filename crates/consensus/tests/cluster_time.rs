//! Cluster time across changes of leader: never back, never faster than real time, not much slower.

use std::time::Duration;

use quorate_consensus::{ClusterTime, Engine as _, Input, NodeId};

use crate::cluster::Cluster;

/// Delivers what is on its way and of this kind, and loses the rest.
fn deliver_only(cluster: &mut Cluster, kind: &str, to: &[u64]) {
    for envelope in std::mem::take(&mut cluster.network) {
        let is_kind = envelope.message.to_string().starts_with(&format!("{kind} "));
        if is_kind && to.contains(&envelope.to.0) {
            cluster.deliver(envelope);
        }
    }
}

/// `id` wins an election by the votes of `voters`; all else that is said meanwhile is lost.
fn win(cluster: &mut Cluster, id: u64, voters: &[u64]) {
    cluster.network.clear();
    cluster.input(NodeId(id), Input::Campaign);
    while cluster.persist(NodeId(id)) {}
    deliver_only(cluster, "Vote", voters);
    voters.iter().for_each(|&voter| while cluster.persist(NodeId(voter)) {});
    deliver_only(cluster, "VoteAnswer", &[id]);
    assert_eq!(cluster.leader(), Some(id));
}

fn time(cluster: &Cluster, id: u64) -> Option<ClusterTime> {
    cluster.node(id).engine.as_ref().and_then(|engine| engine.cluster_time(cluster.now))
}

/// A new leader goes on from what it heard last: a failover costs the time without a leader, and a heartbeat.
#[test]
fn new_leader_continues_from_the_stamp_that_it_heard() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(Duration::from_secs(5));
    let before = time(&cluster, 1).expect("n1 leads").millis;
    cluster.crash(NodeId(1), 9, 0);
    cluster.unreachable(2, 1);
    cluster.unreachable(3, 1);
    cluster.run(Duration::from_millis(200));
    let leader = cluster.leader().expect("a new leader");
    let after = time(&cluster, leader).expect("it leads").millis;
    assert!((before + 50..=before + 200).contains(&after), "{before} ms before, {after} ms after");
    assert!(cluster.history.values().last().expect("committed").stamp.millis + 50 >= before);
}

/// A leader that comes back after a pause, and is elected again, counts the pause: it really passed.
#[test]
fn time_of_a_pause_is_not_lost_to_the_same_leader() {
    let mut cluster = Cluster::new(1);
    cluster.run(Duration::from_millis(10));
    let before = time(&cluster, 1).expect("n1 leads").millis;
    cluster.now = cluster.now.after(Duration::from_secs(3600));
    assert_eq!(time(&cluster, 1).expect("n1 leads").millis, before + 3_600_000);
}

/// Followers and candidates have no cluster time to tell.
#[test]
fn only_a_leader_tells_the_time() {
    let mut cluster = Cluster::new(3);
    assert_eq!(time(&cluster, 1), None);
    cluster.elect(1);
    assert_eq!((time(&cluster, 2), time(&cluster, 1).is_some()), (None, true));
}

/// n3 holds an entry of n2's term 2, which began where n2's knowledge ended. n5, of term 3, does not have it, and is
/// ahead, since it heard more from n1. n3 hears n5's stamp, then leads term 4 and commits the old entry: time must
/// go on from that entry, not jump to where n5 was. The cluster checks it with each entry.
#[test]
fn stamp_of_another_branch_does_not_make_time_jump() {
    let mut cluster = Cluster::new(5);
    cluster.elect(1);
    for unaware in [2, 3] {
        cluster.cut.insert((NodeId(1), NodeId(unaware)));
    }
    cluster.run(Duration::from_millis(280));
    cluster.cut.clear();
    cluster.now = cluster.now.after(Duration::from_millis(301));
    win(&mut cluster, 2, &[3, 4]);
    let behind = time(&cluster, 2).expect("n2 leads").millis;
    deliver_only(&mut cluster, "Append", &[3]);
    cluster.crash(NodeId(2), 9, 0);
    // n4 has voted in term 2, so n5 needs another.
    cluster.input(NodeId(5), Input::Campaign);
    cluster.persist(NodeId(5));
    win(&mut cluster, 5, &[1, 4]);
    let ahead = time(&cluster, 5).expect("n5 leads").millis;
    assert!(ahead > behind + 200, "{ahead} against {behind}");
    cluster.now = cluster.now.after(Duration::from_millis(50));
    cluster.input(NodeId(5), Input::Deadline);
    deliver_only(&mut cluster, "Heartbeat", &[3]);
    cluster.crash(NodeId(5), 0, 0);
    cluster.persist(NodeId(3));
    win(&mut cluster, 3, &[1, 4]);
    cluster.settle();
    assert!(cluster.history.values().any(|entry| entry.term.0 == 2), "the old entry is committed");
}
