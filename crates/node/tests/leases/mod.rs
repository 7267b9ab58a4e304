//! Locks by stock Redis code: who holds one through a change of leader, a pause, and a late release.

use std::time::Duration;

use bytes::Bytes;
use quorate_machine::Reply;
use quorate_node::{Action, Answer};

use crate::cluster::{Cluster, bulk, integer, read, write};

/// The script by which every library releases a lock: only if it still is its own.
fn release(key: &'static str, owner: &'static str) -> Action {
    let script =
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";
    let words = ["eval", script, "1", key, owner];
    Action::Write(words.map(|word| Bytes::from_static(word.as_bytes())).to_vec())
}

/// The milliseconds that a key has left, as `node` answers.
fn time_left(cluster: &mut Cluster, node: u64, key: &str) -> i64 {
    cluster.answers(node);
    cluster.ask(node, 9, vec![read(&format!("pttl {key}"))]);
    cluster.pass(Duration::from_millis(50));
    match cluster.answers(node)[..] {
        [(9, Answer::Reply(Reply::Integer(left)))] => left,
        ref other => panic!("no time left but {other:?}"),
    }
}

/// etcd#9395, etcd#17132: a new leader began each lease anew, or ended it at once.
#[test]
fn hazard_29_change_of_leader_neither_ends_nor_renews_a_lease() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    cluster.ask(leader, 1, vec![write("set lock a nx px 10000")]);
    cluster.pass(Duration::from_secs(4));
    cluster.cut_off.insert(leader);
    let before = cluster.now.boot;
    let successor = cluster.elect();
    let leaderless = i64::try_from(cluster.now.boot.since(before).as_millis()).expect("a short time");
    let left = time_left(&mut cluster, successor, "lock");
    assert!(left <= 6000, "{left} ms are left of ten seconds after four");
    assert!(left >= 6000 - leaderless - 50, "{left} ms are left, and {leaderless} passed without a leader");
    cluster.pass(Duration::from_millis(left.unsigned_abs()));
    cluster.ask(successor, 2, vec![write("set lock b nx px 10000")]);
    cluster.pass(Duration::from_millis(50));
    assert_eq!(cluster.answers(successor), [(2, Answer::Reply(Reply::ok()))], "it has run out by then");
}

/// etcd#12528, etcd#15247: a leader that had stood still woke up, and revoked leases that its successor had renewed.
#[test]
fn hazard_29_deposed_leader_that_wakes_up_revokes_nothing() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    cluster.ask(leader, 1, vec![write("set lock a nx px 5000")]);
    cluster.pass(Duration::from_millis(500));
    cluster.frozen.insert(leader);
    let successor = cluster.elect();
    cluster.ask(successor, 2, vec![write("pexpire lock 60000")]);
    cluster.pass(Duration::from_secs(8));
    assert_eq!(cluster.answers(successor), [integer(2, 1)]);

    // By what it knows the lock has run out, and it has not heard yet that it leads no more.
    cluster.thaw(leader, 0);
    cluster.pass(Duration::from_secs(1));
    cluster.ask(leader, 3, vec![read("get lock")]);
    cluster.pass(Duration::from_secs(1));
    let answers: Vec<_> = cluster.answers(leader).into_iter().filter(|&(conn, _)| conn == 3).collect();
    assert_eq!(answers, [bulk(3, "a")]);
    assert!(time_left(&mut cluster, successor, "lock") > 45_000);
}

/// etcd#22082: a release that was tried again, or came late, freed the lock of whoever had it by then.
#[test]
fn hazard_31_late_or_repeated_release_frees_nobody_elses_lock() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.ask(follower, 1, vec![write("set lock a nx px 1000")]);
    // The release is on its way to a leader that no quorum hears, while the lock runs out and another takes it.
    cluster.cut_off.insert(leader);
    cluster.ask(follower, 1, vec![release("lock", "a")]);
    let successor = cluster.elect();
    cluster.pass(Duration::from_secs(3));
    cluster.ask(successor, 2, vec![write("set lock b nx px 60000")]);
    cluster.pass(Duration::from_millis(50));
    cluster.cut_off.clear();
    cluster.pass(Duration::from_secs(2));
    for node in [follower, leader] {
        cluster.ask(node, 3, vec![release("lock", "a"), release("lock", "a")]);
        cluster.pass(Duration::from_secs(1));
        let refused = cluster.answers(node).into_iter().filter(|answer| *answer == integer(3, 0)).count();
        assert_eq!(refused, 2, "both are told at n{node} that they have released nothing");
    }
    cluster.ask(successor, 4, vec![read("get lock")]);
    cluster.pass(Duration::from_millis(50));
    assert!(cluster.answers(successor).contains(&bulk(4, "b")));
}
