//! The driver's promises, one by one, with the real engine and machine and a network that a test holds in its
//! hand. What happens under random faults is the simulator's concern.

mod changes;
mod cluster;
mod leases;
mod rising;
mod stale_reads;
mod waiting;

use std::time::Duration;

use cluster::{Cluster, bulk, integer, is_error, read, taken, wait, write};
use quorate_consensus::{Engine as _, NodeId, Term};
use quorate_log::Room;
use quorate_machine::{Machine, Reply};
use quorate_node::{Action, Answer, ConnId, Input};

#[test]
fn write_is_answered_only_when_it_is_durable() {
    let (mut cluster, leader) = Cluster::with_leader(1);
    cluster.stalled.insert(leader);
    cluster.ask(leader, 1, vec![write("incr k")]);
    assert_eq!(cluster.answers(leader), []);
    cluster.release_disk(leader);
    assert_eq!(cluster.answers(leader), [integer(1, 1)]);
}

#[test]
fn write_is_answered_with_a_quorum_though_the_leaders_own_disk_is_slow() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    cluster.stalled.insert(leader);
    cluster.ask(leader, 1, vec![write("incr k")]);
    assert_eq!(cluster.answers(leader), [integer(1, 1)]);
}

#[test]
fn leader_alone_acknowledges_nothing() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let others: Vec<u64> = cluster.nodes.keys().copied().filter(|&id| id != leader).collect();
    cluster.cut_off.extend(others);
    cluster.ask(leader, 1, vec![write("incr k")]);
    cluster.ask(leader, 2, vec![read("get k")]);
    cluster.pass(Duration::from_secs(2));
    assert_eq!(cluster.answers(leader), []);
}

#[test]
fn follower_answers_its_clients_from_its_own_apply() {
    let (mut cluster, _) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.ask(follower, 1, vec![write("incr k"), read("get k"), write("incr k")]);
    cluster.pass(Duration::from_millis(100));
    assert_eq!(cluster.answers(follower), [integer(1, 1), bulk(1, "1"), integer(1, 2)]);
}

#[test]
fn read_before_a_write_of_its_connection_does_not_see_it() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    cluster.ask(leader, 1, vec![write("set k a")]);
    cluster.ask(leader, 1, vec![read("get k"), write("set k b"), read("get k")]);
    cluster.pass(Duration::from_millis(100));
    let replies: Vec<_> = cluster.answers(leader).into_iter().skip(1).collect();
    assert_eq!(replies[0], bulk(1, "a"));
    assert_eq!(replies[2], bulk(1, "b"));
}

#[test]
fn read_on_a_follower_sees_what_was_acknowledged_elsewhere() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.ask(leader, 1, vec![write("set k a")]);
    assert_eq!(cluster.answers(leader).len(), 1);
    cluster.ask(follower, 1, vec![read("get k")]);
    cluster.pass(Duration::from_millis(100));
    assert_eq!(cluster.answers(follower), [bulk(1, "a")]);
}

/// redisraft#13: a command that was forwarded again after a change of leader was in the log twice.
#[test]
fn hazard_26_command_sent_to_two_leaders_in_turn_takes_effect_once() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    for node in 1..=3 {
        if node != leader {
            cluster.stalled.insert(node);
        }
    }
    cluster.ask(follower, 1, vec![write("incr k")]);
    assert_eq!(cluster.answers(follower), [], "no quorum has it yet");
    cluster.cut_off.insert(leader);
    let stalled: Vec<u64> = cluster.stalled.iter().copied().collect();
    stalled.into_iter().for_each(|node| cluster.release_disk(node));
    let successor = cluster.elect();
    assert_ne!(successor, leader);
    cluster.pass(Duration::from_secs(2));
    assert_eq!(cluster.answers(follower), [integer(1, 1)]);
    cluster.ask(follower, 1, vec![write("incr k")]);
    cluster.pass(Duration::from_millis(100));
    assert_eq!(cluster.answers(follower), [integer(1, 2)]);
}

/// redisraft#23: an error said that nothing had happened, and then it had.
#[test]
fn hazard_27_time_out_tells_unknown_for_what_was_sent_and_not_applied_for_what_was_not() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    let others: Vec<u64> = cluster.nodes.keys().copied().filter(|&id| id != follower).collect();
    cluster.cut_off.extend(others);
    cluster.ask(follower, 1, vec![write("incr sent")]);
    cluster.pass(Duration::from_secs(3));
    assert_eq!(cluster.answers(follower), [], "while it is not known, it goes on");
    cluster.ask(follower, 2, vec![write("incr unsent")]);
    cluster.pass(Duration::from_secs(20));
    let answers = cluster.answers(follower);
    assert!(matches!(answers[0], (1, Answer::Close(_))), "{answers:?}");
    assert!(answers[1].0 == 2 && is_error(&answers[1].1, "CLUSTERDOWN"), "{answers:?}");
    cluster.cut_off.clear();
    cluster.elect();
    cluster.pass(Duration::from_secs(2));
    cluster.ask(leader, 3, vec![read("mget sent unsent")]);
    cluster.pass(Duration::from_secs(1));
    let answers = cluster.answers(leader);
    let [(3, Answer::Reply(Reply::Array(values)))] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(values[1], Reply::Null, "what was refused has no effect");
}

#[test]
fn hazard_24_full_disk_refuses_writes_serves_reads_and_recovers() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    cluster.ask(leader, 1, vec![write("set k a")]);
    cluster.answers(leader);
    let tell = |cluster: &mut Cluster, room| {
        (1..=3).for_each(|node| cluster.input(node, Input::Room(room)));
        cluster.pass(Duration::from_millis(300));
    };
    tell(&mut cluster, Room::Gone);
    for node in 1..=3 {
        cluster.ask(node, 1, vec![write("set k b"), read("get k")]);
        cluster.pass(Duration::from_millis(100));
        let answers = cluster.answers(node);
        assert!(is_error(&answers[0].1, "MISCONF"), "{answers:?}");
        assert_eq!(answers[1], bulk(1, "a"));
    }
    tell(&mut cluster, Room::Enough);
    let leader = cluster.leader().expect("a leader");
    cluster.ask(leader, 1, vec![write("incr n")]);
    assert_eq!(cluster.answers(leader), [integer(1, 1)]);
}

/// Each node noticed in turn that the shared disk was full, and leadership went to one whose first entry nobody
/// could take: reads were refused until there was room again.
#[test]
fn full_disks_everywhere_leave_an_election_possible() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.ask(leader, 1, vec![write("set k a px 2000")]);
    (1..=3).for_each(|node| cluster.input(node, Input::Room(Room::Scarce)));
    cluster.pass(Duration::from_millis(1500));
    assert_eq!(cluster.leader(), Some(leader), "nobody has more room");
    cluster.cut_off.insert(leader);
    cluster.elect();
    cluster.ask(follower, 1, vec![read("get k")]);
    cluster.pass(Duration::from_millis(100));
    assert_eq!(cluster.answers(follower), [bulk(1, "a")]);
    cluster.pass(Duration::from_secs(2));
    cluster.ask(follower, 1, vec![read("get k")]);
    cluster.pass(Duration::from_millis(100));
    let nothing = Answer::Reply(quorate_machine::Reply::Null);
    assert_eq!(cluster.answers(follower), [(1, nothing)], "time goes on");
}

#[test]
fn leader_without_room_hands_over_to_a_follower_that_has_some() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.pass(Duration::from_millis(300));
    cluster.input(leader, Input::Room(Room::Scarce));
    cluster.pass(Duration::from_millis(900));
    assert_eq!(cluster.leader(), Some(leader));
    cluster.pass(Duration::from_millis(600));
    assert!(cluster.leader().is_some_and(|successor| successor != leader));
    cluster.ask(follower, 1, vec![write("incr k")]);
    cluster.pass(Duration::from_millis(100));
    assert_eq!(cluster.answers(follower), [integer(1, 1)]);
}

#[test]
fn refusal_does_not_overtake_an_earlier_answer() {
    let (mut cluster, leader) = Cluster::with_leader(1);
    cluster.stalled.insert(leader);
    cluster.ask(leader, 1, vec![write("incr k")]);
    cluster.input(leader, Input::Room(Room::Scarce));
    cluster.ask(leader, 1, vec![write("incr k")]);
    assert_eq!(cluster.answers(leader), []);
    cluster.release_disk(leader);
    let answers = cluster.answers(leader);
    assert_eq!(answers[0], integer(1, 1));
    assert!(is_error(&answers[1].1, "MISCONF"));
}

#[test]
fn transaction_fails_when_a_watched_key_has_changed() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    cluster.ask(leader, 1, vec![write("set k a"), Action::Watch(cluster::args("k"))]);
    cluster.pass(Duration::from_millis(100));
    let Some((_, Answer::Watched(watched))) = cluster.answers(leader).pop() else { panic!("no versions") };
    cluster.ask(leader, 2, vec![write("set k b")]);
    cluster.answers(leader);
    let commands = vec![(0, cluster::args("set k c"))];
    cluster.ask(leader, 1, vec![Action::Transaction { watched, commands }]);
    cluster.ask(leader, 2, vec![read("get k")]);
    cluster.pass(Duration::from_millis(100));
    let answers = cluster.answers(leader);
    assert_eq!(answers[0], (1, Answer::Reply(quorate_machine::Reply::NullArray)));
    assert_eq!(answers[1], bulk(2, "b"));
}

#[test]
fn key_expires_by_the_logs_stamp_without_any_client() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    cluster.ask(leader, 1, vec![write("set k a px 1500")]);
    cluster.pass(Duration::from_millis(1400));
    cluster.answers(leader);
    cluster.ask(leader, 1, vec![read("get k")]);
    assert_eq!(cluster.answers(leader), [bulk(1, "a")]);
    cluster.pass(Duration::from_millis(150));
    cluster.ask(leader, 1, vec![read("get k")]);
    assert_eq!(cluster.answers(leader), [(1, Answer::Reply(quorate_machine::Reply::Null))]);
}

#[test]
fn hazard_30_wall_clock_jump_expires_nothing() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    cluster.ask(leader, 1, vec![write("set k a px 60000")]);
    cluster.now.wall_ms += 3_600_000;
    cluster.pass(Duration::from_secs(5));
    cluster.now.wall_ms -= 7_200_000;
    cluster.pass(Duration::from_secs(5));
    cluster.answers(leader);
    cluster.ask(leader, 1, vec![read("get k")]);
    assert_eq!(cluster.answers(leader), [bulk(1, "a")]);
}

#[test]
fn failed_write_is_final() {
    let (mut cluster, leader) = Cluster::with_leader(1);
    cluster.stalled.insert(leader);
    cluster.ask(leader, 1, vec![write("incr k")]);
    let op = quorate_consensus::PersistId(u64::MAX);
    cluster.input(leader, Input::PersistFailed { op, reason: "input/output error".into() });
    assert!(cluster.node(leader).fatal.as_ref().is_some_and(|text| text.contains("input/output error")));
    cluster.release_disk(leader);
    assert_eq!(cluster.answers(leader), []);
}

#[test]
fn shutdown_hands_leadership_over() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    cluster.input(leader, Input::Shutdown);
    cluster.pass(Duration::from_millis(20));
    assert!(cluster.leader().is_some_and(|successor| successor != leader));
}

/// Who wishes for a leader by name just after a change asks a node that knows of none yet, or of an earlier one.
#[test]
fn leader_that_is_wished_for_by_name_comes_after_an_election_too() {
    for wanted in 1..=3 {
        let mut cluster = Cluster::new(3);
        cluster.input(1, Input::Transfer { term: Term(0), to: Some(NodeId(wanted)) });
        cluster.elect();
        cluster.pass(Duration::from_millis(200));
        assert_eq!(cluster.leader(), Some(wanted));
        cluster.pass(Duration::from_secs(3));
        let other = wanted % 3 + 1;
        cluster.input(wanted, Input::Transfer { term: Term(0), to: Some(NodeId(other)) });
        cluster.pass(Duration::from_millis(200));
        assert_eq!(cluster.leader(), Some(other));
    }
}

/// The engine waits for one election time-out; the disk of the one that is to lead may take longer.
#[test]
fn order_to_hand_over_outlasts_a_slow_disk() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.stalled.insert(follower);
    cluster.ask(leader, 1, vec![write("set a 1")]);
    cluster.input(leader, Input::Transfer { term: Term(0), to: Some(NodeId(follower)) });
    cluster.pass(Duration::from_millis(700));
    assert_eq!(cluster.leader(), Some(leader));
    cluster.release_disk(follower);
    cluster.pass(Duration::from_millis(700));
    assert_eq!(cluster.leader(), Some(follower));

    cluster.stalled.insert(leader);
    cluster.ask(follower, 1, vec![write("set a 2")]);
    cluster.input(follower, Input::Transfer { term: Term(0), to: Some(NodeId(leader)) });
    cluster.pass(Duration::from_secs(5));
    cluster.release_disk(leader);
    cluster.pass(Duration::from_secs(5));
    assert_eq!(cluster.leader(), Some(follower), "nobody waits for it any more");
}

#[test]
fn client_that_is_gone_gets_nothing_and_its_writes_may_take_effect() {
    let (mut cluster, leader) = Cluster::with_leader(1);
    cluster.stalled.insert(leader);
    cluster.ask(leader, 1, vec![write("incr k")]);
    cluster.input(leader, Input::Disconnected { conn: ConnId(1) });
    cluster.release_disk(leader);
    assert_eq!(cluster.answers(leader), []);
    cluster.ask(leader, 2, vec![read("get k")]);
    assert_eq!(cluster.answers(leader), [bulk(2, "1")]);
}

/// A pipelined request was on its way when its connection was closed. It brought the forgotten connection back, the
/// answers to older requests were counted on it, and the node died on the one too many.
#[test]
fn requests_behind_a_close_are_not_begun_and_do_no_harm() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let others: Vec<u64> = cluster.nodes.keys().copied().filter(|&id| id != leader).collect();
    cluster.cut_off.extend(others);
    cluster.ask(leader, 7, vec![write("incr k")]);
    cluster.pass(Duration::from_millis(700));
    cluster.ask(leader, 7, vec![write("incr k"), write("incr k")]);
    cluster.pass(Duration::from_millis(14_301));
    let answers = cluster.answers(leader);
    assert!(matches!(answers[..], [(7, Answer::Close(_))]), "{answers:?}");
    cluster.ask(leader, 7, vec![write("incr k")]);
    cluster.cut_off.clear();
    cluster.pass(Duration::from_secs(3));
    assert_eq!(cluster.answers(leader), []);
    cluster.input(leader, Input::Disconnected { conn: ConnId(7) });
}

/// The shard span at a whole core after the first read that had found no leader: the harness refuses deadlines that
/// stay in the past.
#[test]
fn reads_without_a_leader_are_refused_and_forgotten() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let others: Vec<u64> = cluster.nodes.keys().copied().filter(|&id| id != leader).collect();
    cluster.cut_off.extend(others);
    cluster.ask(leader, 7, vec![read("get k")]);
    cluster.pass(Duration::from_secs(16));
    let answers = cluster.answers(leader);
    assert!(answers.len() == 1 && is_error(&answers[0].1, "CLUSTERDOWN"), "{answers:?}");
}

#[test]
fn writes_are_refused_while_a_majority_of_disks_is_full() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    for node in (1..=3).filter(|&node| node != leader) {
        cluster.input(node, Input::Room(Room::Gone));
    }
    cluster.pass(Duration::from_millis(300));
    cluster.ask(leader, 1, vec![write("incr k"), read("get k")]);
    cluster.pass(Duration::from_millis(100));
    let answers = cluster.answers(leader);
    assert!(is_error(&answers[0].1, "MISCONF"), "{answers:?}");
    assert_eq!(answers[1], (1, Answer::Reply(quorate_machine::Reply::Null)));
}

#[test]
fn command_that_no_entry_can_hold_is_refused() {
    let (mut cluster, leader) = Cluster::with_leader(1);
    let large = |bytes: usize| {
        let words = ["set", "k"].map(|word| bytes::Bytes::from_static(word.as_bytes()));
        Action::Write(words.into_iter().chain([vec![b'x'; bytes].into()]).collect())
    };
    cluster.ask(leader, 1, vec![large(13 << 20), large(11 << 20)]);
    let answers = cluster.answers(leader);
    assert!(is_error(&answers[0].1, "ERR the command is larger"), "{:?}", answers.len());
    assert_eq!(answers[1], (1, Answer::Reply(quorate_machine::Reply::Status("OK".into()))));
}

#[test]
fn log_that_is_kept_beside_snapshots_is_bounded_in_bytes() {
    let (mut cluster, leader) = Cluster::with_leader(1);
    let value = bytes::Bytes::from(vec![b'x'; 1 << 20]);
    for _ in 0..150 {
        let args = vec!["set".into(), "k".into(), value.clone()];
        cluster.ask(leader, 1, vec![Action::Write(args)]);
    }
    let now = cluster.now.boot;
    let status = cluster.node(leader).driver.engine().status(now);
    let kept = status.last_index.0 - status.first_index.0;
    assert!(kept < 90, "{kept} entries of a megabyte are kept");
}

/// A leader without room once wrote all of its state at each heartbeat, to replace a snapshot that had rotted.
#[test]
fn lost_snapshot_is_replaced_when_there_is_room_and_not_tried_at_every_heartbeat() {
    let mut cluster = Cluster::configured(3, |config| {
        config.snapshot_log_bytes = 4 << 10;
        config.snapshot_keep_entries = 2;
    });
    let leader = cluster.elect();
    let follower = cluster.follower();
    cluster.cut_off.insert(follower);
    let mut older = None;
    for number in 0..200 {
        cluster.ask(leader, 1, vec![write(&format!("set k{number} {}", "x".repeat(400)))]);
        older = older.or(cluster.node(leader).kept.clone());
    }
    let node = cluster.node(leader);
    let newest = node.kept.take().expect("a snapshot was made").0.index;
    assert!(older.as_ref().is_some_and(|(meta, _)| meta.index < newest));
    node.is_full = true;
    let before = node.begun;
    let begun_after = |cluster: &mut Cluster, seconds| {
        cluster.pass(Duration::from_secs(seconds));
        cluster.node(leader).begun - before
    };
    cluster.cut_off.clear();
    assert_eq!(begun_after(&mut cluster, 20), 1);
    // One that a peer was lent is still there, and nobody asks again.
    cluster.cut_off.insert(follower);
    cluster.node(leader).kept = older;
    assert_eq!(begun_after(&mut cluster, 20), 2);
    cluster.node(leader).is_full = false;
    assert_eq!(begun_after(&mut cluster, 60), 3);
    cluster.cut_off.clear();
    assert_eq!(begun_after(&mut cluster, 5), 3);
    let applied = |id| cluster.nodes[&id].driver.machine().applied();
    assert!(applied(follower) >= newest.0 && applied(follower) == applied(leader), "{}", applied(follower));
}

/// A command that takes a step of its own: it counts `k` up by 10,000.
fn long() -> Action {
    let script = ["eval", "for i = 1, 10000 do redis.call('incr', KEYS[1]) end", "1", "k"];
    Action::Write(script.iter().map(|word| bytes::Bytes::from_static(word.as_bytes())).collect())
}

/// Twenty scripts that used up their budgets in one entry stopped a shard for seconds, on every node at once.
#[test]
fn step_does_a_bounded_amount_of_work_and_comes_back_at_once() {
    let (mut cluster, leader) = Cluster::with_leader(1);
    cluster.stalled.insert(leader);
    cluster.ask(leader, 1, (0..20).map(|_| long()).collect());
    let steps = cluster.steps;
    cluster.release_disk(leader);
    assert_eq!(cluster.answers(leader).len(), 1, "one step does one of them");
    cluster.pass(Duration::from_millis(300));
    assert_eq!(cluster.answers(leader).len(), 19);
    assert!(cluster.steps - steps > 5, "{} steps", cluster.steps - steps);
}

/// Each node serves its own subscribers: what is forwarded and sent again must not be told twice, nor out of order.
#[test]
fn every_node_tells_each_message_once_and_in_the_order_of_the_log() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    for (node, conn, text) in [(leader, 1, "one"), (follower, 2, "two"), (leader, 1, "three")] {
        cluster.ask(node, conn, vec![write(&format!("publish news {text}"))]);
    }
    cluster.cut_off.insert(leader);
    cluster.elect();
    cluster.ask(follower, 2, vec![write("publish news four")]);
    cluster.cut_off.clear();
    cluster.pass(Duration::from_secs(2));
    for (id, node) in &cluster.nodes {
        let told: Vec<_> =
            node.published.iter().map(|sent| sent.message.escape_ascii().to_string()).collect();
        assert_eq!(told, ["one", "two", "three", "four"], "at node {id}");
    }
}

/// Time alone makes a key expire: the entry that says so carries no operation, and tells subscribers all the same.
#[test]
fn every_node_tells_once_that_a_key_has_expired() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.ask(leader, 1, vec![write("config set notify-keyspace-events Ex")]);
    cluster.ask(follower, 2, vec![write("set k v px 50")]);
    cluster.pass(Duration::from_secs(3));
    for (id, node) in &cluster.nodes {
        let told: Vec<_> = node.published.iter().map(|sent| (&sent.channel[..], &sent.message[..])).collect();
        assert_eq!(told, [(&b"__keyevent@0__:expired"[..], &b"k"[..])], "at node {id}");
    }
}

/// The places of those who wait are replicated: whoever came first is served first, at whichever node, also by the next
/// leader.
#[test]
fn who_waits_is_served_in_order_across_nodes_and_leaders() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let [first, second]: [u64; 2] = cluster
        .nodes
        .keys()
        .copied()
        .filter(|&id| id != leader)
        .collect::<Vec<_>>()
        .try_into()
        .expect("three nodes");
    cluster.ask(first, 1, vec![wait("blpop q 0")]);
    cluster.pass(Duration::from_millis(50));
    cluster.ask(second, 2, vec![wait("blpop q 0")]);
    cluster.pass(Duration::from_secs(20));
    assert_eq!((cluster.answers(first), cluster.answers(second)), (vec![], vec![]), "to wait is no time-out");
    cluster.cut_off.insert(leader);
    cluster.elect();
    cluster.ask(second, 3, vec![write("rpush q a")]);
    cluster.pass(Duration::from_millis(500));
    assert_eq!(cluster.answers(second), [integer(3, 1)]);
    assert_eq!(cluster.answers(first), [taken(1, "a")]);
    cluster.ask(first, 4, vec![write("rpush q b c")]);
    cluster.pass(Duration::from_millis(500));
    assert_eq!(cluster.answers(first), [integer(4, 2)]);
    assert_eq!(cluster.answers(second), [taken(2, "b")]);
}

/// Also by time, and to a node that was there when another one led.
#[test]
fn lock_goes_to_who_waits_across_nodes_and_leaders() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    let other = 6 - leader - follower;
    cluster.ask(leader, 1, vec![write("lock acquire l OWNER a TTL 5000")]);
    cluster.pass(Duration::from_millis(50));
    let [(1, Answer::Reply(Reply::Integer(first)))] = cluster.answers(leader)[..] else { panic!("no token") };
    cluster.ask(follower, 2, vec![wait("lock acquire l OWNER b TTL 60000 WAIT 60000")]);
    cluster.pass(Duration::from_millis(50));
    cluster.ask(other, 3, vec![wait("lock acquire l OWNER c TTL 60000 WAIT 60000")]);
    cluster.cut_off.insert(leader);
    cluster.elect();
    cluster.pass(Duration::from_secs(10));
    assert_eq!(cluster.answers(follower), [integer(2, first + 1)], "the first holder's time was over");
    assert_eq!(cluster.answers(other), []);
    cluster.ask(other, 4, vec![write(&format!("lock release l {first}"))]);
    cluster.ask(follower, 5, vec![write(&format!("lock release l {}", first + 1))]);
    cluster.pass(Duration::from_millis(500));
    let answers = cluster.answers(other);
    assert!(answers.iter().any(|(conn, answer)| *conn == 4 && is_error(answer, "STALE")), "{answers:?}");
    assert!(answers.contains(&integer(3, first + 2)), "{answers:?}");
    assert_eq!(cluster.answers(follower), [integer(5, 0)]);
}

#[test]
fn commands_behind_one_that_waits_begin_when_it_is_answered() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    cluster.ask(leader, 1, vec![write("incr k"), wait("blpop q 0"), read("get k"), write("incr k")]);
    cluster.pass(Duration::from_millis(100));
    assert_eq!(cluster.answers(leader), [integer(1, 1)]);
    cluster.ask(leader, 2, vec![write("rpush q a"), write("incr k")]);
    cluster.pass(Duration::from_millis(100));
    let answers = cluster.answers(leader);
    let of_first: Vec<_> = answers.into_iter().filter(|(conn, _)| *conn == 1).collect();
    assert_eq!(of_first, [taken(1, "a"), bulk(1, "2"), integer(1, 3)]);
}

#[test]
fn waiting_ends_by_the_logs_time() {
    let (mut cluster, _) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.ask(follower, 1, vec![wait("blpop q 2")]);
    cluster.pass(Duration::from_millis(1900));
    assert_eq!(cluster.answers(follower), []);
    cluster.pass(Duration::from_millis(300));
    assert_eq!(cluster.answers(follower), [(1, Answer::Reply(Reply::NullArray))]);
}

/// redisson#5046: a dead waiter delayed the queue.
#[test]
fn hazard_32_client_that_is_gone_is_passed_over() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.ask(follower, 1, vec![wait("blpop q 0")]);
    cluster.pass(Duration::from_millis(50));
    cluster.ask(leader, 2, vec![wait("blpop q 0")]);
    cluster.pass(Duration::from_millis(50));
    cluster.input(follower, Input::Disconnected { conn: ConnId(1) });
    // One that goes before its command is applied leaves as well.
    cluster.ask(follower, 3, vec![wait("blpop q 0")]);
    cluster.input(follower, Input::Disconnected { conn: ConnId(3) });
    cluster.pass(Duration::from_millis(100));
    cluster.ask(follower, 4, vec![write("rpush q a b")]);
    cluster.pass(Duration::from_millis(100));
    assert_eq!(cluster.answers(leader), [taken(2, "a")]);
    cluster.ask(follower, 4, vec![read("llen q")]);
    cluster.pass(Duration::from_millis(100));
    assert_eq!(cluster.answers(follower), [integer(4, 2), integer(4, 1)]);
}

/// etcd#11456: a waiter whose session had died was granted the lock.
#[test]
fn hazard_28_clients_of_a_silent_node_take_nothing_and_learn_it() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.ask(follower, 1, vec![wait("blpop q 0")]);
    cluster.ask(leader, 2, vec![wait("blpop other 0")]);
    cluster.pass(Duration::from_millis(100));
    cluster.cut_off.insert(follower);
    cluster.pass(Duration::from_secs(2));
    cluster.ask(leader, 3, vec![write("rpush q a")]);
    cluster.pass(Duration::from_millis(100));
    cluster.cut_off.clear();
    cluster.pass(Duration::from_secs(2));
    let told = cluster.answers(follower);
    assert!(told.len() == 1 && is_error(&told[0].1, "UNBLOCKED"), "{told:?}");
    cluster.ask(leader, 3, vec![read("llen q")]);
    cluster.pass(Duration::from_millis(100));
    assert_eq!(cluster.answers(leader), [integer(3, 1), integer(3, 1)], "nobody else was disturbed");
}

/// Where the log does not come, its time does not pass, and a client must not hang.
#[test]
fn waiting_at_a_node_that_is_cut_off_ends_unknown() {
    let (mut cluster, _) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.ask(follower, 1, vec![wait("blpop q 5")]);
    cluster.pass(Duration::from_millis(100));
    cluster.cut_off.insert(follower);
    cluster.pass(Duration::from_secs(19));
    assert_eq!(cluster.answers(follower), []);
    cluster.pass(Duration::from_secs(2));
    let told = cluster.answers(follower);
    assert!(matches!(told[..], [(1, Answer::Close(_))]), "{told:?}");
}

/// A rolling restart would lose elements to clients that are not there any more.
#[test]
fn node_that_stops_ends_the_waiting_of_its_clients_first() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    cluster.ask(leader, 1, vec![wait("blpop q 0"), read("get k")]);
    cluster.pass(Duration::from_millis(100));
    cluster.input(leader, Input::Shutdown);
    cluster.pass(Duration::from_millis(500));
    let told = cluster.answers(leader);
    assert!(is_error(&told[0].1, "UNBLOCKED") && told.len() == 2, "{told:?}");
    let follower = cluster.follower();
    cluster.ask(follower, 2, vec![write("rpush q a")]);
    cluster.pass(Duration::from_millis(500));
    cluster.ask(follower, 2, vec![read("llen q")]);
    cluster.pass(Duration::from_millis(500));
    assert_eq!(cluster.answers(follower), [integer(2, 1), integer(2, 1)]);
}

#[test]
fn client_that_gives_up_takes_what_there_is_and_waits_for_nothing() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    cluster.ask(leader, 1, vec![wait("blpop q 0"), write("incr k")]);
    cluster.pass(Duration::from_millis(100));
    cluster.input(leader, Input::GivesUp { conn: ConnId(1) });
    let closed = cluster.answers(leader);
    assert!(matches!(closed[..], [(1, Answer::Close(_))]), "{closed:?}");
    cluster.input(leader, Input::GivesUp { conn: ConnId(2) });
    cluster.ask(leader, 2, vec![write("rpush q a"), wait("blpop q 0"), write("incr k"), wait("blpop q 0")]);
    cluster.pass(Duration::from_millis(100));
    let answers = cluster.answers(leader);
    assert_eq!(
        answers[..3],
        [integer(2, 1), taken(2, "a"), integer(2, 1)],
        "the first left, and what was behind it"
    );
    assert!(matches!(answers[3..], [(2, Answer::Close(_))]), "{answers:?}");
    cluster.ask(leader, 3, vec![write("rpush q b"), read("llen q")]);
    cluster.pass(Duration::from_millis(100));
    assert_eq!(cluster.answers(leader), [integer(3, 1), integer(3, 1)]);
}

/// A leader that stood still has heard nobody meanwhile, and must not take that for the silence of all others.
#[test]
fn leader_that_stood_still_gives_up_nobodys_place() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.ask(follower, 1, vec![wait("blpop q 0")]);
    cluster.pass(Duration::from_secs(1));
    cluster.sleep(Duration::from_millis(1500));
    cluster.pass(Duration::from_secs(2));
    assert_eq!(cluster.answers(follower), []);
    cluster.ask(leader, 2, vec![write("rpush q a")]);
    cluster.pass(Duration::from_secs(1));
    assert_eq!(cluster.answers(follower), [taken(1, "a")]);
}

/// The machine that a node's only answer so far is a view of.
fn viewed(cluster: &mut Cluster, node: u64) -> Machine {
    let mut answers = cluster.answers(node);
    let Some((_, Answer::View(view))) = answers.pop() else { panic!("no view") };
    let (meta, cluster_id) = (view.meta, view.cluster_id);
    let machine = Machine::restore(view.snapshot).expect("a view can be restored");
    let said = (meta.index.0, meta.stamp.millis, cluster_id);
    assert_eq!(said, (machine.applied(), machine.stamp(), machine.cluster_id()));
    assert!(meta.term.0 > 0 && meta.membership.len() == cluster.nodes.len());
    machine
}

#[test]
fn view_at_any_node_holds_what_was_acknowledged_at_another() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    // Behind by all of it, when it is asked.
    cluster.deaf.insert(follower);
    cluster.ask(leader, 1, vec![write("set k acknowledged")]);
    assert_eq!(cluster.answers(leader).len(), 1);
    cluster.ask(follower, 1, vec![Action::View]);
    cluster.pass(Duration::from_millis(10));
    assert_eq!(cluster.answers(follower), [], "it cannot know what there is");
    cluster.deaf.clear();
    cluster.pass(Duration::from_secs(2));
    let mut machine = viewed(&mut cluster, follower);
    assert_eq!(machine.read(0, 0, &cluster::args("get k")), Reply::Bulk("acknowledged".into()));
}

#[test]
fn view_without_a_leader_is_refused() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let others: Vec<u64> = cluster.nodes.keys().copied().filter(|&id| id != leader).collect();
    cluster.cut_off.extend(others);
    cluster.ask(leader, 1, vec![Action::View]);
    cluster.pass(Duration::from_secs(20));
    let answers = cluster.answers(leader);
    assert!(matches!(&answers[..], [(1, answer)] if is_error(answer, "CLUSTERDOWN")), "{answers:?}");
}

/// A state in the middle of an entry is one that no other node ever has between two.
#[test]
fn view_is_taken_between_two_entries() {
    let (mut cluster, leader) = Cluster::with_leader(1);
    cluster.ask(leader, 1, (0..3).map(|_| long()).collect());
    assert!(cluster.node(leader).driver.machine().is_applying(), "the entry is too much for a step");
    cluster.ask(leader, 2, vec![Action::View]);
    cluster.pass(Duration::from_secs(1));
    let (mut views, others): (Vec<_>, Vec<_>) =
        cluster.answers(leader).into_iter().partition(|(conn, _)| *conn == 2);
    assert_eq!((views.len(), others.len()), (1, 3));
    let Some((_, Answer::View(view))) = views.pop() else { panic!("no view") };
    let mut machine = Machine::restore(view.snapshot).expect("a view can be restored");
    assert_eq!(machine.read(0, 0, &cluster::args("get k")), Reply::Bulk("30000".into()));
}
