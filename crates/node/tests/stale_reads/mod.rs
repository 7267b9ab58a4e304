//! Reads that ask nobody, and what is known of their age.

use std::time::Duration;

use quorate_node::{Action, Answer};

use crate::cluster::{Cluster, args, bulk, integer, is_error, read, write};

fn stale(words: &str) -> Action {
    Action::StaleRead(args(words))
}

/// How old a node's data may be; none if it does not know.
fn age(cluster: &mut Cluster, node: u64) -> Option<Duration> {
    let now = cluster.now;
    cluster.node(node).driver.status(now).fresh_as_of.map(|as_of| now.boot.since(as_of))
}

#[test]
fn stale_reads_are_served_at_once_without_a_majority_and_tell_their_age() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.ask(leader, 1, vec![write("set k old")]);
    cluster.pass(Duration::from_secs(1));
    let moment = age(&mut cluster, follower).expect("the leader has told");
    assert!(moment < Duration::from_millis(700), "{moment:?}");

    cluster.cut_off.insert(follower);
    cluster.ask(leader, 1, vec![write("set k new")]);
    cluster.pass(Duration::from_secs(2));
    cluster.ask(follower, 2, vec![stale("get k"), stale("exists k j")]);
    assert_eq!(cluster.answers(follower), [bulk(2, "old"), integer(2, 1)]);
    let cut_off = age(&mut cluster, follower).expect("it was told once");
    assert!(cut_off >= Duration::from_secs(2), "{cut_off:?} is fresher than the truth");

    cluster.cut_off.clear();
    cluster.pass(Duration::from_secs(1));
    cluster.ask(follower, 2, vec![stale("get k")]);
    assert_eq!(cluster.answers(follower), [bulk(2, "new")]);
    assert!(age(&mut cluster, follower) < Some(Duration::from_millis(700)));
}

/// What is left on a damaged disk may be less than others were told from it.
#[test]
fn hazard_23_node_under_repair_serves_no_stale_reads_before_it_has_all_back() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.ask(leader, 1, vec![write("set k new")]);
    cluster.pass(Duration::from_millis(200));
    cluster.cut_off.insert(follower);
    cluster.lose_log(follower);
    cluster.ask(follower, 2, vec![stale("get k")]);
    let answers = cluster.answers(follower);
    assert!(matches!(&answers[..], [(2, answer)] if is_error(answer, "LOADING")), "{answers:?}");
    // Without a leader for so long, an operator is told.
    cluster.pass(Duration::from_secs(31));
    assert!(cluster.node(follower).notices.iter().any(|notice| notice.contains("hears no leader")));

    cluster.cut_off.clear();
    cluster.pass(Duration::from_secs(2));
    cluster.ask(follower, 2, vec![stale("get k")]);
    assert_eq!(cluster.answers(follower), [bulk(2, "new")]);
    let notices = &cluster.node(follower).notices;
    let told = |text: &str| notices.iter().any(|notice| notice.contains(text));
    assert!(told("it may vote") && told("is whole again"), "{notices:?}");
    let now = cluster.now;
    assert_eq!(cluster.node(follower).driver.status(now).repair, None);
}

/// A leader that is cut off goes on telling its followers beside it what it knows, for as long as it believes in itself.
#[test]
fn data_beside_a_leader_that_is_cut_off_are_as_old_as_its_last_confirmation() {
    let (mut cluster, leader) = Cluster::with_leader(5);
    cluster.pass(Duration::from_secs(1));
    let beside = cluster.follower();
    let others: Vec<u64> = (1..=5).filter(|&node| node != leader && node != beside).collect();
    cluster.cut_off.extend(others);
    for tenths in 1..=3 {
        cluster.pass(Duration::from_millis(100));
        for node in [leader, beside] {
            let age = age(&mut cluster, node).expect("it was told");
            assert!(age >= Duration::from_millis(100) * tenths, "n{node} {age:?} after {tenths}");
        }
    }
    cluster.pass(Duration::from_secs(3));
    assert!(age(&mut cluster, beside) >= Some(Duration::from_secs(3)));
    assert!(age(&mut cluster, leader) >= Some(Duration::from_secs(3)));
}

#[test]
fn stale_read_behind_a_write_of_its_connection_sees_it() {
    let (mut cluster, _) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.ask(follower, 1, vec![write("set k 1"), stale("get k"), read("get k"), stale("get k")]);
    cluster.pass(Duration::from_millis(200));
    let answers = cluster.answers(follower);
    assert_eq!(answers[1..], [bulk(1, "1"), bulk(1, "1"), bulk(1, "1")]);
}

#[test]
fn alone_a_node_is_as_fresh_as_can_be_and_without_a_leader_its_age_is_unknown() {
    let (mut cluster, leader) = Cluster::with_leader(1);
    cluster.pass(Duration::from_secs(1));
    assert_eq!(age(&mut cluster, leader), Some(Duration::ZERO));
    let mut cluster = Cluster::new(3);
    cluster.ask(1, 1, vec![stale("get k")]);
    assert_eq!(cluster.answers(1), [(1, Answer::Reply(quorate_machine::Reply::Null))]);
    assert_eq!(age(&mut cluster, 1), None);
}

/// What was told before a node stood still lay in its socket, and is read when it goes on.
#[test]
fn node_that_stood_still_takes_nothing_for_fresher_than_it_is() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.pass(Duration::from_secs(1));
    cluster.frozen.insert(follower);
    cluster.pass(Duration::from_millis(300));
    cluster.ask(leader, 1, vec![write("set k new")]);
    cluster.pass(Duration::from_secs(60));
    let before = cluster.now;
    cluster.thaw(follower, 40);
    let age = age(&mut cluster, follower).expect("it was told once");
    assert!(age >= Duration::from_secs(60), "{age:?} at {before:?}");
}
