//! Commands that wait, when somebody ends their waiting, and when their node jumps over entries by a snapshot.

use std::{collections::BTreeMap, time::Duration};

use quorate_machine::Reply;
use quorate_node::{Action, Answer, ConnId, Input};

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

/// A cluster in which a follower that misses some entries is sent a snapshot.
fn forgetful() -> (Cluster, u64, u64) {
    let mut cluster = Cluster::configured(3, |config| {
        config.snapshot_log_bytes = 4 << 10;
        config.snapshot_keep_entries = 2;
    });
    let leader = cluster.elect();
    let follower = cluster.follower();
    (cluster, leader, follower)
}

/// Has the leader forget the entries so far.
fn compact(cluster: &mut Cluster, leader: u64) {
    for number in 0..200 {
        cluster.ask(leader, 1000, vec![write(&format!("set filler{number} {}", "x".repeat(400)))]);
    }
    cluster.answers(leader);
}

/// What each client was told, which is at most one answer.
fn told_once(cluster: &mut Cluster, node: u64) -> BTreeMap<u64, Answer> {
    let mut told = BTreeMap::new();
    for (conn, answer) in cluster.answers(node) {
        let before = told.insert(conn, answer);
        assert!(before.is_none(), "client {conn} was told {before:?} before");
    }
    told
}

fn is_closed(answer: &Answer) -> bool {
    matches!(answer, Answer::Close(_))
}

#[test]
fn clients_that_wait_across_a_jump_get_one_answer_each() {
    let (mut cluster, leader, follower) = forgetful();
    for (conn, command) in
        [(1, "blpop q 0"), (2, "blpop never 1"), (3, "blpop later 0"), (4, "blpop never 0"), (5, "blpop q 0")]
    {
        cluster.ask(follower, conn, vec![wait(command)]);
        cluster.pass(Duration::from_millis(20));
    }
    // What the follower asks from now on takes place, and it does not hear of it.
    cluster.deaf.insert(follower);
    for (conn, action) in [
        (6, wait("blpop r 0")),
        (7, wait("blpop never 0.5")),
        (8, wait("blpop later 0")),
        (9, unblock(4, true)),
        (10, write("incr n")),
        (11, wait("blpop gone 0")),
    ] {
        cluster.ask(follower, conn, vec![action]);
    }
    cluster.input(follower, Input::Disconnected { conn: ConnId(5) });
    cluster.input(follower, Input::Disconnected { conn: ConnId(11) });
    cluster.ask(leader, 100, vec![write("rpush q a b"), write("rpush r c")]);
    cluster.pass(Duration::from_millis(1500));
    compact(&mut cluster, leader);
    assert_eq!(cluster.answers(follower), []);

    cluster.deaf.clear();
    cluster.pass(Duration::from_secs(3));
    assert_eq!(cluster.node(follower).jumps, 1);
    let told = told_once(&mut cluster, follower);
    // Of those whose place had been seen before the jump nobody knows whether they were served.
    assert!([1, 2, 4].iter().all(|conn| is_closed(&told[conn])), "{told:?}");
    let taken_c = ["r", "c"].map(|text| Reply::Bulk(text.into()));
    assert_eq!(told[&6], Answer::Reply(Reply::Array(taken_c.to_vec())));
    assert_eq!(told[&7], TIMED_OUT);
    assert_eq!([&told[&9], &told[&10]], [&Answer::Reply(Reply::Integer(1)); 2]);
    assert_eq!(told.len(), 7, "those of `later` still wait, and those who are gone do not: {told:?}");

    // What is left of the queues is what there should be.
    cluster.ask(leader, 100, vec![write("rpush later 1 2 3"), write("rpush gone x"), read("llen q")]);
    cluster.pass(Duration::from_millis(500));
    let told = told_once(&mut cluster, follower);
    let element = |text: &'static str| {
        Answer::Reply(Reply::Array(["later", text].map(|text| Reply::Bulk(text.into())).to_vec()))
    };
    assert_eq!(told, BTreeMap::from([(3, element("1")), (8, element("2"))]));
    let replies = cluster.answers(leader);
    assert_eq!(replies, [integer(100, 3), integer(100, 1), integer(100, 1)]);
    assert_eq!(cluster.nodes[&leader].driver.machine().stats().waiting, 0);
    assert_eq!(cluster.nodes[&follower].driver.status(cluster.now).commands_waiting, 0);
}

/// The leader gives up the places of a silent node's clients, and the snapshot says nothing of them.
#[test]
fn clients_of_a_node_that_was_cut_off_learn_after_the_jump_that_they_wait_no_longer() {
    let (mut cluster, leader, follower) = forgetful();
    cluster.ask(follower, 1, vec![wait("blpop q 0")]);
    cluster.ask(follower, 2, vec![wait("blpop q 60")]);
    cluster.pass(Duration::from_millis(50));
    cluster.cut_off.insert(follower);
    cluster.ask(follower, 3, vec![wait("blpop q 0")]);
    cluster.pass(Duration::from_secs(3));
    compact(&mut cluster, leader);
    cluster.cut_off.clear();
    cluster.pass(Duration::from_secs(3));
    assert_eq!(cluster.node(follower).jumps, 1);
    let told = told_once(&mut cluster, follower);
    // The number of the second had not been acknowledged, and so its answer was retained.
    assert!(told.len() == 2 && is_closed(&told[&1]) && is_error(&told[&2], "UNBLOCKED"), "{told:?}");
    let leader = cluster.leader().expect("a leader");
    cluster.ask(leader, 100, vec![write("rpush q a b"), read("llen q")]);
    cluster.pass(Duration::from_millis(500));
    assert_eq!(told_once(&mut cluster, follower), BTreeMap::from([(3, taken(3, "a").1)]));
    assert_eq!(cluster.answers(leader), [integer(100, 2), integer(100, 1)]);
}

/// What `LOCK INFO` has as the owner; `None` if nobody has the lock.
fn owner(cluster: &mut Cluster, node: u64) -> Option<Reply> {
    cluster.ask(node, 99, vec![read("lock info l")]);
    cluster.pass(Duration::from_millis(200));
    let info = cluster.answers(node).into_iter().find(|(conn, _)| *conn == 99);
    let Some((_, Answer::Reply(Reply::Map(fields)))) = info else { return None };
    fields.into_iter().find(|(name, _)| *name == Reply::bulk("owner")).map(|(_, owner)| owner)
}

/// The lock goes to a client in the entry behind which its departure stands: nobody else could release it then.
#[test]
fn hazard_28_lock_that_a_client_got_after_it_was_gone_is_given_back() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.ask(leader, 1, vec![write("lock acquire l owner a ttl 600000")]);
    cluster.pass(Duration::from_millis(50));
    let Some((1, Answer::Reply(Reply::Integer(token)))) = cluster.answers(leader).pop() else { panic!() };
    cluster.ask(follower, 2, vec![wait("lock acquire l owner b ttl 600000 wait 60000")]);
    cluster.pass(Duration::from_millis(50));
    cluster.ask(leader, 3, vec![wait("lock acquire l owner c ttl 600000 wait 60000")]);
    cluster.pass(Duration::from_millis(50));
    // The follower does not hear that its client has got the lock before that is gone.
    cluster.deaf.insert(follower);
    cluster.ask(leader, 1, vec![write(&format!("lock release l {token}"))]);
    cluster.pass(Duration::from_millis(50));
    assert_eq!(owner(&mut cluster, leader), Some(Reply::bulk("b")));
    cluster.input(follower, Input::Disconnected { conn: ConnId(2) });
    cluster.pass(Duration::from_millis(200));
    assert_eq!(owner(&mut cluster, leader), Some(Reply::bulk("b")), "its node cannot know");
    cluster.deaf.clear();
    cluster.pass(Duration::from_secs(1));
    assert_eq!(owner(&mut cluster, leader), Some(Reply::bulk("c")), "who waits behind it is served");
    assert_eq!(cluster.answers(follower), []);
}

/// One that need not wait is no different. Who has named his request and asked again at another node has it from there.
#[test]
fn lock_whose_client_is_gone_is_given_back_unless_he_has_asked_again() {
    for asks_again in [false, true] {
        let (mut cluster, leader) = Cluster::with_leader(3);
        let follower = cluster.follower();
        let acquire = || vec![write("lock acquire l owner a ttl 600000 reentrant request r")];
        cluster.deaf.insert(follower);
        cluster.ask(follower, 1, acquire());
        cluster.pass(Duration::from_millis(100));
        cluster.input(follower, Input::Disconnected { conn: ConnId(1) });
        if asks_again {
            cluster.ask(leader, 2, acquire());
            cluster.pass(Duration::from_millis(100));
        }
        assert_eq!(owner(&mut cluster, leader), Some(Reply::bulk("a")));
        cluster.deaf.clear();
        cluster.pass(Duration::from_secs(1));
        assert_eq!(owner(&mut cluster, leader).is_some(), asks_again);
    }
}

/// The follower was cut off with what its client had asked first. When it is heard again, the client has been gone for long, and
/// has got the lock at another node under the name of the request: what it was answered there is not given back.
#[test]
fn late_original_does_not_give_back_what_its_client_has_got_elsewhere() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    let acquire = || vec![write("lock acquire l owner a ttl 600000 request r")];
    cluster.cut_off.insert(follower);
    cluster.ask(follower, 1, acquire());
    cluster.pass(Duration::from_millis(100));
    cluster.input(follower, Input::Disconnected { conn: ConnId(1) });
    cluster.ask(leader, 2, acquire());
    cluster.pass(Duration::from_millis(100));
    let answers = cluster.answers(leader);
    assert!(matches!(answers[..], [(2, Answer::Reply(Reply::Integer(_)))]), "{answers:?}");
    cluster.cut_off.clear();
    cluster.pass(Duration::from_secs(5));
    let leader = cluster.elect();
    assert_eq!(owner(&mut cluster, leader), Some(Reply::bulk("a")));
    assert_eq!(owner(&mut cluster, follower), Some(Reply::bulk("a")));
}

/// Several clients of one node are gone at once, and what they have got is more than one group holds.
#[test]
fn several_large_locks_of_clients_that_are_gone_are_all_given_back() {
    let mut cluster = Cluster::configured(3, |config| config.batch_bytes_max = 8 << 10);
    cluster.elect();
    let (leader, follower) = (cluster.leader().expect("one leads"), cluster.follower());
    let value = "v".repeat(6 << 10);
    cluster.deaf.insert(follower);
    for conn in 1..=4 {
        let words = format!("lock acquire l{conn} owner o{conn} ttl 600000 value {value}");
        cluster.ask(follower, conn, vec![write(&words)]);
        cluster.pass(Duration::from_millis(50));
    }
    let held = |cluster: &mut Cluster| {
        cluster.ask(leader, 50, vec![read("lock list")]);
        cluster.pass(Duration::from_millis(100));
        match cluster.answers(leader).pop() {
            Some((50, Answer::Reply(Reply::Array(locks)))) => locks.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(held(&mut cluster), 4);
    (1..=4).for_each(|conn| cluster.input(follower, Input::Disconnected { conn: ConnId(conn) }));
    cluster.deaf.clear();
    cluster.pass(Duration::from_secs(1));
    assert_eq!(held(&mut cluster), 0);
}
