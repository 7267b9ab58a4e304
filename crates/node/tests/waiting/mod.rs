//! Commands that wait, when somebody ends their waiting.

use std::{collections::BTreeMap, time::Duration};

use quorate_machine::Reply;
use quorate_node::{Action, Answer, ConnId};

use crate::cluster::{Cluster, integer, is_error, read, taken, wait, write};

fn unblock(target: u64, with_error: bool) -> Action {
    Action::Unblock { target: ConnId(target), with_error }
}

const TIMED_OUT: Answer = Answer::Reply(Reply::NullArray);

#[test]
fn unblocked_client_is_told_so_and_leaves_the_queue_everywhere() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    for conn in 1..=3 {
        cluster.ask(follower, conn, vec![wait("blpop q 0"), read("llen q")]);
        cluster.pass(Duration::from_millis(50));
    }
    cluster.ask(follower, 4, vec![unblock(1, false), unblock(2, true), unblock(1, false), unblock(99, true)]);
    cluster.pass(Duration::from_millis(100));
    let mut told: BTreeMap<u64, Vec<Answer>> = BTreeMap::new();
    for (conn, answer) in cluster.answers(follower) {
        told.entry(conn).or_default().push(answer);
    }
    let number = |value| Answer::Reply(Reply::Integer(value));
    assert_eq!(told[&1], [TIMED_OUT, number(0)], "and what stood behind it was begun");
    assert!(is_error(&told[&2][0], "UNBLOCKED client unblocked via CLIENT UNBLOCK"), "{told:?}");
    assert_eq!(told[&4], [number(1), number(1), number(0), number(0)]);
    cluster.ask(leader, 5, vec![write("rpush q a b"), read("llen q")]);
    cluster.pass(Duration::from_millis(100));
    assert_eq!(cluster.answers(leader), [integer(5, 2), integer(5, 1)]);
    assert_eq!(cluster.answers(follower)[0], taken(3, "a"), "one alone still waited");
}

/// Whether the element or the unblocking comes first is decided in the log; one of the two has an effect.
#[test]
fn client_that_is_served_in_the_same_instant_keeps_its_element() {
    for served_first in [true, false] {
        let (mut cluster, leader) = Cluster::with_leader(3);
        let follower = cluster.follower();
        cluster.ask(follower, 1, vec![wait("blpop q 0")]);
        cluster.pass(Duration::from_millis(50));
        // Neither is known to the follower when both are under way.
        cluster.deaf.insert(follower);
        if served_first {
            cluster.ask(leader, 3, vec![write("rpush q a")]);
            cluster.ask(follower, 2, vec![unblock(1, false)]);
        } else {
            cluster.ask(follower, 2, vec![unblock(1, false)]);
            cluster.ask(leader, 3, vec![write("rpush q a")]);
        }
        cluster.pass(Duration::from_millis(50));
        assert_eq!(cluster.answers(follower), []);
        cluster.deaf.clear();
        cluster.pass(Duration::from_secs(2));
        let mut told = cluster.answers(follower);
        told.sort_by_key(|(conn, _)| *conn);
        let expected = match served_first {
            true => [taken(1, "a"), integer(2, 0)],
            false => [(1, TIMED_OUT), integer(2, 1)],
        };
        assert_eq!(told, expected);
        cluster.ask(follower, 4, vec![read("llen q")]);
        cluster.pass(Duration::from_millis(100));
        assert_eq!(cluster.answers(follower), [integer(4, i64::from(!served_first))]);
    }
}
