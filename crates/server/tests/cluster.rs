//! Three nodes, as separate processes, and what may happen to them.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use quorate::status::MemberKind;
use rustix::process::Signal;
use support::{Cluster, ask, connect, eventually, run, serve, status, with_each_engine};

#[test]
fn a_lock_survives_the_death_of_the_leader_and_the_dead_node_comes_back() {
    with_each_engine(|engine| {
        let mut cluster = Cluster::with_engine(engine);
        let leader = cluster.leader(1, None);
        let (first, second) = others(leader);
        assert_eq!(
            ask(cluster.port(first), &["SET", "lock", "me", "NX", "EX", "100"]).as_deref(),
            Some("OK")
        );
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
    with_each_engine(|engine| {
        let mut cluster = Cluster::with_engine(engine);
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
    });
}

#[test]
fn an_operator_chooses_the_leader_and_clients_see_no_error() {
    with_each_engine(|engine| {
        let mut cluster = Cluster::with_engine(engine);
        let leader = cluster.leader(1, None);
        let (first, second) = others(leader);
        let transfer = |asked: u64, to: &[&str]| {
            let address = format!("127.0.0.1:{}", cluster.port(asked));
            let arguments = [&["leader", "transfer", "--addr", &address], to].concat();
            run(&arguments, cluster.folder.path())
        };
        let mut connection = connect(cluster.port(first));
        let writes = thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 1..=300 {
                    redis::cmd("SET").arg("n").arg(number).exec(&mut connection).unwrap();
                }
            });
            for (asked, to) in [(first, second), (leader, first), (second, leader)] {
                let (code, text, error) = transfer(asked, &["--to", &to.to_string()]);
                assert!(code == 0 && text.starts_with(&format!("node {to} leads")), "{text}{error}");
            }
            // Who wishes for any other leader means any other than the one that the node asked knows of.
            eventually("the node that is asked knows who leads", || {
                (status(cluster.port(first))?.leader?.node_id == leader).then_some(())
            });
            let (code, text, error) = transfer(first, &[]);
            assert!(code == 0 && !text.starts_with(&format!("node {leader} leads")), "{text}{error}");
            writer.join()
        });
        assert!(writes.is_ok());
        assert_eq!(ask(cluster.port(second), &["GET", "n"]).as_deref(), Some("300"));
        let (code, _, error) = transfer(first, &["--to", "9"]);
        assert!(code == 1 && error.contains("no such node; the nodes are 1, 2, 3"), "{error}");
        cluster.node(leader).await_line("is to hand leadership over, by order");
    });
}

/// Hazard 22: a node that has lost its disk has forgotten its promises: under its old id it could undo what the cluster has
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
    let told = cluster.node(3).await_line("comes with another disk");
    assert!(told.contains("quorate member remove 3"), "{told}");
    assert_eq!(ask(cluster.port(1), &["SET", "a", "2"]).as_deref(), Some("OK"));
    let wiped = status(cluster.port(3)).unwrap();
    assert_eq!((wiped.log.applied, wiped.cluster_id), (0, None));
    cluster.node(3).signal(Signal::TERM);
    cluster.node(3).end();

    // As it is told to, it joins as a new member.
    std::fs::remove_dir_all(cluster.data(3)).unwrap();
    let address = format!("127.0.0.1:{}", cluster.port(1));
    let folder = cluster.folder.path();
    let (code, _, error) = run(&["member", "--addr", &address, "remove", "3"], folder);
    assert_eq!(code, 0, "{error}");
    let _node = serve(cluster.port(3), folder, &["--data-dir", "node-3", "--join", &address]);
    eventually("it votes", || {
        let members = status(cluster.port(3))?.members;
        let is_there = members.iter().map(|member| member.node_id).eq([1, 2, 4]);
        (is_there && members.iter().all(|member| member.kind == MemberKind::Voter)).then_some(())
    });
    assert_eq!(ask(cluster.port(3), &["GET", "a"]).as_deref(), Some("2"));
}

#[test]
fn a_cluster_that_is_killed_at_once_under_load_comes_back_with_all_it_has_acknowledged() {
    with_each_engine(|engine| {
        const ENOUGH: u32 = 30;
        let mut cluster = Cluster::with_engine(engine);
        let acknowledged: Vec<Arc<AtomicU32>> = (0..3).map(|_| Arc::default()).collect();
        let writers: Vec<_> = (1..=3)
            .zip(&acknowledged)
            .map(|(node, acknowledged)| {
                let (mut connection, acknowledged) = (connect(cluster.port(node)), Arc::clone(acknowledged));
                thread::spawn(move || {
                    for number in 0_u32.. {
                        let mut set = redis::cmd("SET");
                        let set = set.arg(format!("{node}:{number}")).arg(number);
                        if set.query::<String>(&mut connection).is_err() {
                            return;
                        }
                        acknowledged.store(number + 1, Ordering::Release);
                    }
                })
            })
            .collect();
        eventually("each writer is busy", || {
            acknowledged.iter().all(|count| count.load(Ordering::Acquire) >= ENOUGH).then_some(())
        });
        for node in 1..=3 {
            cluster.node(node).signal(Signal::KILL);
        }
        for writer in writers {
            writer.join().unwrap();
        }
        for node in 1..=3 {
            cluster.node(node).end();
            cluster.start_node(node, &[]);
        }
        for (node, count) in (1..=3).zip(&acknowledged) {
            let _up = ask(cluster.port(node), &["PING"]);
            let keys: Vec<_> =
                (0..count.load(Ordering::Acquire)).map(|number| format!("{node}:{number}")).collect();
            let mut line = vec!["EXISTS"];
            line.extend(keys.iter().map(String::as_str));
            assert_eq!(ask(cluster.port(node), &line), Some(keys.len().to_string()));
        }
    });
}

/// A node that has the cluster's birth from a snapshot, and not from its log, once forgot at its next start which
/// cluster it belonged to.
#[test]
fn a_node_that_joined_by_a_snapshot_knows_its_cluster_after_a_restart() {
    with_each_engine(|engine| {
        let often = ["--snapshot-log-bytes", "64kb"];
        let mut cluster = Cluster::start_some_with(engine, &[1, 2], &often);
        // More than a leader keeps in its log for those that are behind.
        let value = "v".repeat(1 << 20);
        for number in 0..24 {
            ask(cluster.port(1), &["SET", "k", &value]);
            ask(cluster.port(1), &["SET", "n", &number.to_string()]);
        }
        cluster.start_node(3, &["--bootstrap"]);
        cluster.node(3).await_line("installed a snapshot");
        assert_eq!(ask(cluster.port(3), &["GET", "n"]).as_deref(), Some("23"));
        let known = status(cluster.port(1)).unwrap().cluster_id;
        assert!(known.is_some());
        eventually("the snapshot stands in the place of the log", || {
            status(cluster.port(3)).filter(|status| status.log.committed > 0 && status.cluster_id == known)
        });

        cluster.node(3).signal(Signal::KILL);
        cluster.node(3).end();
        cluster.start_node(3, &[]);
        let recovered = cluster.node(3).await_line("recovered the data");
        assert!(!recovered.contains("not born yet"), "{recovered}");
        assert_eq!(ask(cluster.port(3), &["GET", "n"]).as_deref(), Some("23"));
        eventually("it knows its cluster", || {
            status(cluster.port(3)).filter(|status| status.cluster_id == known)
        });
    });
}

/// A pipeline of a megabyte, with settings as small as they may be, once became an entry that no log could hold: each
/// node that was to write it ended.
#[test]
fn a_pipeline_larger_than_a_log_file_becomes_entries_that_fit() {
    let sizes = ["--max-request-bytes", "32kb", "--max-message-bytes", "64kb", "--segment-bytes", "384kb"];
    let mut cluster = Cluster::start_some(&[1, 2, 3], &sizes);
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

/// Messages travel in the log, so that a subscriber of any node hears what was published at any other, once and in
/// order, whoever leads.
#[test]
fn subscribers_hear_every_node_also_while_the_leader_changes() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader(1, None);
    let (first, second) = others(leader);
    let mut listening = connect(cluster.port(second));
    listening.set_read_timeout(Some(support::LONG)).unwrap();
    let mut subscriber = listening.as_pubsub();
    subscriber.subscribe("news").unwrap();
    subscriber.psubscribe("n[e]w?").unwrap();
    let mut connection = connect(cluster.port(first));
    let mut publish =
        |text: u32| redis::cmd("PUBLISH").arg("news").arg(text).query::<u32>(&mut connection).unwrap();
    assert_eq!(publish(1), 0, "nobody listens at this node");
    cluster.node(leader).signal(Signal::KILL);
    for text in 2..=20 {
        assert_eq!(publish(text), 0);
    }
    for text in 1..=20 {
        for _ in ["by its name", "by its pattern"] {
            assert_eq!(subscriber.get_message().unwrap().get_payload::<u32>().unwrap(), text);
        }
    }
    cluster.node(leader).end();
}

/// What CAP leaves when a majority is gone: answers that may be old, for who asks for them, and say how old.
#[test]
fn a_readonly_connection_reads_without_a_majority_and_is_told_how_old_that_may_be() {
    let mut cluster = Cluster::start();
    assert_eq!(ask(cluster.port(1), &["SET", "k", "v"]).as_deref(), Some("OK"));
    let mut connection = connect(cluster.port(3));
    let freshness = |connection: &mut redis::Connection| {
        redis::cmd("FRESHNESS").query::<(u64, Option<u64>)>(connection).unwrap()
    };
    redis::cmd("READONLY").exec(&mut connection).unwrap();
    eventually("it has the write, and is fresh", || {
        let is_fresh = freshness(&mut connection).1.is_some_and(|age_ms| age_ms < 1000);
        let value: Option<String> = redis::cmd("GET").arg("k").query(&mut connection).unwrap();
        (is_fresh && value.as_deref() == Some("v")).then_some(())
    });

    for node in [1, 2] {
        cluster.node(node).signal(Signal::KILL);
        cluster.node(node).end();
    }
    let (applied, _) = freshness(&mut connection);
    eventually("its age grows", || freshness(&mut connection).1.filter(|&age_ms| age_ms > 1500));
    assert_eq!(redis::cmd("GET").arg("k").query::<String>(&mut connection).unwrap(), "v");
    assert!(freshness(&mut connection).0 >= applied);
    redis::cmd("READWRITE").exec(&mut connection).unwrap();
    connection.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    let late = redis::cmd("GET").arg("k").query::<String>(&mut connection).unwrap_err();
    assert!(late.is_timeout(), "a linearizable read waits for a majority: {late}");
}

#[test]
fn reads_by_lease_are_a_matter_of_the_cluster_and_see_every_write_through_a_failover() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader(1, None);
    let (first, second) = others(leader);
    let reads = |asked: u64, words: &[&str]| {
        let address = format!("127.0.0.1:{}", cluster.port(asked));
        run(&[&["reads", "--addr", &address], words].concat(), cluster.folder.path())
    };
    let (code, text, error) = reads(first, &["lease", "--length", "500ms"]);
    assert!(code == 0 && text.contains("a lease of 500 ms"), "{text}{error}");
    eventually("every node knows it", || {
        (1..=3)
            .all(|node| status(cluster.port(node)).is_some_and(|status| status.lease_ms == Some(500)))
            .then_some(())
    });
    let (code, _, error) = reads(second, &["lease", "--length", "2h"]);
    assert!(code == 1 && error.contains("allowed: 1 to 60000 ms"), "{error}");

    let (mut writer, mut reader) = (connect(cluster.port(first)), connect(cluster.port(second)));
    let mut step = |number: u32| {
        redis::cmd("SET").arg("n").arg(number).exec(&mut writer).unwrap();
        assert_eq!(redis::cmd("GET").arg("n").query::<u32>(&mut reader).unwrap(), number);
    };
    (1..=100).for_each(&mut step);
    cluster.node(leader).signal(Signal::KILL);
    (101..=200).for_each(&mut step);
    cluster.node(leader).end();
    let address = format!("127.0.0.1:{}", cluster.port(first));
    let (code, text, error) = run(&["reads", "--addr", &address, "linearizable"], cluster.folder.path());
    assert!(code == 0 && text.contains("confirmed by a majority"), "{text}{error}");
}
