//! Three nodes, as separate processes, and what may happen to them.

mod support;

use rustix::process::Signal;
use support::{Cluster, ask, connect, eventually, run, status};

#[test]
fn a_lock_survives_the_death_of_the_leader_and_the_dead_node_comes_back() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader(1, None);
    let (first, second) = others(leader);
    assert_eq!(ask(cluster.port(first), &["SET", "lock", "me", "NX", "EX", "100"]).as_deref(), Some("OK"));
    let token = ask(cluster.port(second), &["FENCE", "lock", "me"]).unwrap();

    cluster.node(leader).signal(Signal::KILL);
    cluster.node(leader).end();
    assert_eq!(ask(cluster.port(first), &["SET", "lock", "you", "NX", "EX", "100"]), None);
    assert_eq!(ask(cluster.port(second), &["GET", "lock"]).as_deref(), Some("me"));
    assert_eq!(ask(cluster.port(second), &["FENCE", "lock"]).unwrap(), token);
    let new = cluster.leader(first, Some(leader));
    assert_ne!(new, leader);

    cluster.start_node(leader, &[]);
    assert_eq!(ask(cluster.port(leader), &["GET", "lock"]).as_deref(), Some("me"));
    let address = format!("127.0.0.1:{}", cluster.port(first));
    eventually("status finds three healthy nodes from one", || {
        let (code, text, _) = run(&["status", "--addr", &address, "--json"], cluster.folder.path());
        let report: serde_json::Value = serde_json::from_str(&text).ok()?;
        (code == 0 && report["nodes"].as_array()?.len() == 3 && report["healthy"] == true).then_some(())
    });
}

fn others(node: u64) -> (u64, u64) {
    match node {
        1 => (2, 3),
        2 => (1, 3),
        _ => (1, 2),
    }
}

#[test]
fn a_leader_that_is_stopped_hands_over_and_clients_elsewhere_see_no_error() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader(1, None);
    let (first, _) = others(leader);
    let mut connection = connect(cluster.port(first));
    let mut set = |number: u32| redis::cmd("SET").arg("n").arg(number).query::<String>(&mut connection);
    assert_eq!(set(0).unwrap(), "OK");
    cluster.node(leader).signal(Signal::TERM);
    for number in 1..=100 {
        assert_eq!(set(number).unwrap(), "OK");
    }
    assert_eq!(cluster.node(leader).end().code(), Some(0));
    cluster.node(leader).await_line("hands leadership over");
    assert_eq!(ask(cluster.port(first), &["GET", "n"]).as_deref(), Some("100"));
}

/// A node that has lost its disk has forgotten its promises: under its old id it could undo what the cluster has
/// acknowledged (tigerbeetle#2767).
#[test]
fn a_wiped_node_does_not_come_back_under_its_old_id() {
    let mut cluster = Cluster::start();
    ask(cluster.port(1), &["SET", "a", "1"]);
    for node in 1..=3 {
        eventually("all have applied it", || {
            status(cluster.port(node))
                .filter(|status| status.databases.iter().any(|database| database.keys == 1))
        });
    }
    cluster.node(3).signal(Signal::KILL);
    cluster.node(3).end();
    std::fs::remove_dir_all(cluster.data(3)).unwrap();

    cluster.start_node(3, &["--bootstrap"]);
    cluster.node(3).await_line("comes with another disk");
    assert_eq!(ask(cluster.port(1), &["SET", "a", "2"]).as_deref(), Some("OK"));
    let wiped = status(cluster.port(3)).unwrap();
    assert_eq!((wiped.log.applied, wiped.cluster_id), (0, None));
}

#[test]
fn a_cluster_that_was_killed_at_once_comes_back_with_everything() {
    let mut cluster = Cluster::start();
    for number in 0..50 {
        ask(cluster.port(1), &["SET", &format!("k{number}"), "v"]);
    }
    for node in 1..=3 {
        cluster.node(node).signal(Signal::KILL);
    }
    for node in 1..=3 {
        cluster.node(node).end();
        cluster.start_node(node, &[]);
    }
    assert_eq!(ask(cluster.port(2), &["DBSIZE"]).as_deref(), Some("50"));
    assert_eq!(ask(cluster.port(3), &["GET", "k49"]).as_deref(), Some("v"));
}

/// A pipeline of a megabyte, with settings as small as they may be, once became an entry that no log could hold: each
/// node that was to write it ended.
#[test]
fn a_pipeline_larger_than_a_log_file_becomes_entries_that_fit() {
    let sizes = ["--max-request-bytes", "32kb", "--max-message-bytes", "64kb", "--segment-bytes", "384kb"];
    let mut cluster = Cluster::start_with(&sizes);
    let follower = others(cluster.leader(1, None)).0;
    let value = "v".repeat(30_000);
    let mut pipeline = redis::pipe();
    for number in 0..40 {
        pipeline.cmd("SET").arg(number).arg(&value).ignore();
    }
    pipeline.query::<()>(&mut connect(cluster.port(follower))).unwrap();
    for node in 1..=3 {
        assert_eq!(ask(cluster.port(node), &["DBSIZE"]).as_deref(), Some("40"));
        assert!(cluster.node(node).line("has ended").is_none());
    }
}
