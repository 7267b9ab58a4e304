//! The last survivor becomes a cluster of its own, and nothing that it had is lost.

#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

mod support;

use std::path::Path;

use rustix::process::Signal;
use support::{Cluster, ask, contents, eventually, free_ports, run, serve, status};

/// A trio that was killed when each node had applied 20 keys; `kept` is left.
fn killed(kept: u64) -> Cluster {
    let mut cluster = Cluster::start();
    ask(cluster.port(1), &["SET", "lock", "me", "NX", "PX", "600000"]);
    for number in 1..20 {
        ask(cluster.port(2), &["SET", &format!("key:{number}"), "v"]);
    }
    eventually("the survivor has them all", || {
        status(cluster.port(kept))
            .filter(|status| status.databases.iter().any(|database| database.keys == 20))
    });
    for node in 1..=3 {
        cluster.node(node).signal(Signal::KILL);
        cluster.node(node).end();
    }
    cluster
}

fn recover(folder: &Path, data: &str, more: &[&str]) -> (i32, String, String) {
    run(&[&["recover", "--force-new-cluster", "--data-dir", data], more].concat(), folder)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|name| name.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_survivor_of_a_lost_majority_goes_on_alone_with_all_that_it_had() {
    let mut cluster = killed(2);
    let folder = cluster.folder.path().to_owned();
    let (code, text, error) = recover(&folder, "node-2", &["--yes"]);
    assert_eq!(code, 0, "{error}");
    for words in
        ["holds node 2 of cluster", "members 1, 2, 3", "Its log ends with entry", "LOST", "--node-id 2"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    let port = free_ports(1);
    let mut node = serve(port, &folder, &["--node-id", "2", "--data-dir", "node-2"]);
    assert_eq!(ask(port, &["DBSIZE"]).as_deref(), Some("20"));
    assert_eq!(ask(port, &["SET", "lock", "you", "NX"]), None, "it is held until it expires");
    let old: u64 = ask(port, &["FENCE", "lock"]).unwrap().parse().unwrap();
    ask(port, &["SET", "fresh", "1"]);
    assert!(ask(port, &["FENCE", "fresh"]).unwrap().parse::<u64>().unwrap() > old);
    let alone = status(port).unwrap();
    assert!(alone.peers.is_empty() && alone.cluster_id.is_some());
    node.signal(Signal::KILL);
    node.end();

    // Its old companions come back, and want to lead it: they are refused.
    cluster.start_node(1, &[]);
    cluster.start_node(3, &[]);
    cluster.start_node(2, &[]);
    cluster.node(1).await_line("belongs to cluster");
    assert_eq!(ask(cluster.port(2), &["GET", "fresh"]).as_deref(), Some("1"));
    assert_ne!(status(cluster.port(2)).unwrap().cluster_id, status(cluster.port(1)).unwrap().cluster_id);
}

#[test]
fn the_old_files_are_set_aside_and_can_be_taken_up_again() {
    let mut cluster = killed(3);
    let folder = cluster.folder.path().to_owned();
    let data = cluster.data(3);
    assert_eq!(recover(&folder, "node-3", &["--yes"]).0, 0);
    let aside: Vec<_> = names(&data).into_iter().filter(|name| name.starts_with("before-recover-")).collect();
    assert_eq!(aside.len(), 1);
    // Recovering twice is recovering again: the second cluster is another one.
    assert_eq!(recover(&folder, "node-3", &["--yes"]).0, 0);

    let old = folder.join("old-3");
    std::fs::rename(data.join(&aside[0]), &old).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&old, &data).unwrap();
    for node in 1..=3 {
        cluster.start_node(node, &[]);
    }
    assert_eq!(ask(cluster.port(3), &["DBSIZE"]).as_deref(), Some("20"));
}

/// It may have been acknowledged, for all that this node knows.
#[test]
fn an_entry_that_is_not_known_to_be_committed_is_kept_and_named() {
    use std::io::Write as _;
    // Long enough for the leader to take a write after its followers have stopped.
    let mut cluster = Cluster::start_some(&[1, 2, 3], &["--election-timeout", "2s"]);
    ask(cluster.port(1), &["SET", "early", "v"]);
    let leader = cluster.leader(1, None);
    let settled = eventually("the leader has settled all that there is, and knows its cluster", || {
        let status = status(cluster.port(leader)).filter(|status| status.cluster_id.is_some())?;
        (status.log.committed == status.log.last && status.log.durable == status.log.last)
            .then_some(status.log)
    });
    for node in (1..=3).filter(|node| *node != leader) {
        cluster.node(node).signal(Signal::STOP);
    }
    let mut client = std::net::TcpStream::connect(("127.0.0.1", cluster.port(leader))).unwrap();
    client.write_all(b"SET late v\r\n").unwrap();
    let log = eventually("the leader has it on its disk", || {
        status(cluster.port(leader)).map(|status| status.log).filter(|log| log.durable > settled.last)
    });
    for node in 1..=3 {
        cluster.node(node).signal(Signal::KILL);
        cluster.node(node).end();
    }
    let (folder, data) = (cluster.folder.path().to_owned(), format!("node-{leader}"));
    let (code, text, error) = recover(&folder, &data, &["--yes"]);
    assert_eq!(code, 0, "{error}");
    assert!(text.contains(&format!("ends with entry {}", log.durable)), "{text}");
    assert!(text.contains("not known to be committed") && text.contains("kept"), "{text}");
    let port = free_ports(1);
    let _node = serve(port, &folder, &["--node-id", &leader.to_string(), "--data-dir", &data]);
    assert_eq!(ask(port, &["GET", "late"]).as_deref(), Some("v"));
    assert_eq!(ask(port, &["GET", "early"]).as_deref(), Some("v"));
}

/// Opening the log once cut and marked it, and counted an incarnation, before anybody had said yes.
#[test]
fn nothing_is_changed_before_it_is_confirmed() {
    let mut cluster = killed(1);
    let folder = cluster.folder.path().to_owned();
    let before = contents(&cluster.data(1));
    let (code, text, error) = recover(&folder, "node-1", &[]);
    assert!(contents(&cluster.data(1)) == before, "a byte has changed");
    assert!(code == 1 && error.contains("nobody is there to confirm it"), "{error}");
    assert!(text.contains("LOST"), "{text}");
    let (code, _, error) = run(&["recover", "--data-dir", "node-1"], &folder);
    assert!(code == 2 && error.contains("--force-new-cluster"), "{error}");
    assert!(contents(&cluster.data(1)) == before, "a byte has changed");
    for node in 1..=3 {
        cluster.start_node(node, &[]);
    }
    assert_eq!(ask(cluster.port(1), &["DBSIZE"]).as_deref(), Some("20"));
}

/// It was refused as `serve` refuses it, with nothing else left to do: who cannot prove a vote must not vote, but this is
/// about what can be saved.
#[test]
fn the_forced_way_out_goes_on_with_what_is_intact_whatever_else_is_damaged() {
    let cluster = killed(2);
    let (folder, data) = (cluster.folder.path().to_owned(), cluster.data(2));
    let segment = names(&data).into_iter().find(|name| name.starts_with("segment-")).unwrap();
    let mut bytes = std::fs::read(data.join(&segment)).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[end * 6 / 8] ^= 0x10;
    std::fs::write(data.join(&segment), bytes).unwrap();
    for slots in [&["hardstate-b"][..], &["hardstate-a", "hardstate-b"]] {
        for slot in slots {
            std::fs::write(data.join(slot), "rot").unwrap();
        }
        let before = contents(&data);
        let (code, text, error) = recover(&folder, "node-2", &[]);
        assert!(
            code == 1 && error.contains("hardstate-") && text.contains("It has lost a part"),
            "{text}{error}"
        );
        assert!(text.contains(&format!("{segment} is damaged at byte")), "{text}");
        assert!(contents(&data) == before, "a byte has changed");
    }
    let (code, _, error) = recover(&folder, "node-2", &["--yes"]);
    assert_eq!(code, 0, "{error}");
    let port = free_ports(1);
    let _node = serve(port, &folder, &["--node-id", "2", "--data-dir", "node-2"]);
    let keys: u64 = ask(port, &["DBSIZE"]).unwrap().parse().unwrap();
    assert!((1..20).contains(&keys), "{keys}");
}

#[test]
fn a_folder_that_is_in_use_unfinished_or_no_nodes_is_refused() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let folder = folder.path();
    let mut node = serve(port, folder, &["--data-dir", "data"]);
    ask(port, &["SET", "a", "1"]);
    let (code, _, error) = recover(folder, "data", &["--yes"]);
    assert!(code == 3 && error.contains("in use by another process"), "{error}");
    node.signal(Signal::TERM);
    node.end();

    std::fs::create_dir(folder.join("empty")).unwrap();
    for data in ["empty", "absent"] {
        let (code, _, error) = recover(folder, data, &["--yes"]);
        assert!(code == 3 && error.contains("no node's data folder"), "{error}");
    }
    assert!(!folder.join("absent").exists());

    // As a crash in the middle leaves it.
    std::fs::write(folder.join("data").join("identity.unfinished"), "").unwrap();
    let (code, _, error) = recover(folder, "data", &["--yes"]);
    assert!(code == 3 && error.contains("is unfinished"), "{error}");
    let mut node = serve(port, folder, &["--data-dir", "data"]);
    assert_eq!(node.end().code(), Some(3));
    node.await_line("is unfinished");
}
