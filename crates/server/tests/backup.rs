//! Backups from the outside: saved under load, inspected, and restored as new clusters.

#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

mod support;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use rustix::process::Signal;
use serde_json::Value;
use support::{Cluster, ask, connect, eventually, free_ports, run, serve, status};

/// Saves a backup of what the node at `port` knows.
fn save(port: u16, file: &str, folder: &Path) -> (i32, String) {
    let address = format!("127.0.0.1:{port}");
    let (code, _, error) = run(&["snapshot", "save", file, "--addr", &address], folder);
    (code, error)
}

fn inspect(file: &str, folder: &Path) -> Value {
    let (code, text, error) = run(&["snapshot", "inspect", file, "--json"], folder);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&text).unwrap()
}

fn restore(arguments: &[&str], folder: &Path) -> String {
    let (code, text, error) = run(&[&["snapshot", "restore"], arguments].concat(), folder);
    assert_eq!(code, 0, "{error}");
    text
}

/// A node alone, its port, and a backup `b` of what these commands have left in it.
fn backup_of(commands: &[&[&str]]) -> (tempfile::TempDir, u16) {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let mut node = serve(port, folder.path(), &["--data-dir", "old"]);
    for command in commands {
        ask(port, command);
    }
    let (code, error) = save(port, "b", folder.path());
    assert_eq!(code, 0, "{error}");
    node.signal(Signal::TERM);
    assert_eq!(node.end().code(), Some(0));
    (folder, port)
}

fn token(port: u16, key: &str) -> u64 {
    ask(port, &["FENCE", key]).unwrap().parse().unwrap()
}

#[test]
fn a_backup_from_any_node_holds_all_that_was_acknowledged_before_under_load() {
    let mut cluster = Cluster::start();
    cluster.leader(1, None);
    let (acknowledged, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let writer = {
        let (mut connection, acknowledged) = (connect(cluster.port(1)), Arc::clone(&acknowledged));
        let done = Arc::clone(&done);
        thread::spawn(move || {
            for number in 1_u32.. {
                let key = format!("key:{number}");
                redis::cmd("SET").arg(key).arg(number).exec(&mut connection).unwrap();
                acknowledged.store(number, Ordering::Release);
                if done.load(Ordering::Acquire) {
                    return;
                }
            }
        })
    };
    let folder = cluster.folder.path().to_owned();
    let mut saved = Vec::new();
    for node in 1..=3 {
        let at_least = eventually("more was written", || {
            let count = acknowledged.load(Ordering::Acquire);
            (count >= 50 * u32::try_from(node).unwrap()).then_some(count)
        });
        let file = format!("from-{node}");
        let (code, error) = save(cluster.port(node), &file, &folder);
        assert!(code == 0 && error.contains(&format!("from node {node} ")), "{error}");
        saved.push((node, file, at_least));
    }
    done.store(true, Ordering::Release);
    writer.join().unwrap();
    let cluster_id = status(cluster.port(1)).unwrap().cluster_id.unwrap();
    for node in 1..=3 {
        cluster.node(node).signal(Signal::KILL);
        cluster.node(node).end();
    }
    for (node, file, at_least) in saved {
        let report = inspect(&file, &folder);
        assert_eq!(
            (report["cluster_id"].as_str(), report["node_id"].as_u64()),
            (Some(&*cluster_id), Some(node))
        );
        assert_eq!(report["voters"], serde_json::json!([1, 2, 3]));
        let keys = report["keys"].as_u64().unwrap();
        assert!(keys >= u64::from(at_least), "{keys} of {at_least}");

        let data = format!("restored-{node}");
        restore(&[&file, "--data-dir", &data], &folder);
        let port = free_ports(1);
        let _restored = serve(port, &folder, &["--data-dir", &data]);
        let keys: Vec<_> = (1..=at_least).map(|number| format!("key:{number}")).collect();
        let line: Vec<_> = ["EXISTS"].into_iter().chain(keys.iter().map(String::as_str)).collect();
        assert_eq!(ask(port, &line), Some(at_least.to_string()), "from node {node}");
    }
}

#[test]
fn a_restored_node_goes_on_with_locks_ttls_scripts_and_settings_but_nobody_waits() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let mut node = serve(port, folder.path(), &["--data-dir", "old"]);
    ask(port, &["SET", "lock", "me", "NX", "PX", "600000"]);
    ask(port, &["SET", "brief", "x", "PX", "1500"]);
    ask(port, &["SELECT", "3"]);
    let sha = ask(port, &["SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])"]).unwrap();
    ask(port, &["CONFIG", "SET", "maxmemory", "123456789"]);
    let mut waiting = connect(port);
    let waiter = thread::spawn(move || redis::cmd("BLPOP").arg("queue").arg(0).exec(&mut waiting));
    eventually("it waits", || status(port).filter(|status| status.commands_waiting == 1));
    let old_token = token(port, "lock");
    let ttl_before: i64 = ask(port, &["PTTL", "brief"]).unwrap().parse().unwrap();
    assert_eq!(save(port, "b", folder.path()).0, 0);
    let before = status(port).unwrap();
    node.signal(Signal::KILL);
    node.end();
    assert!(waiter.join().unwrap().is_err());

    let said = restore(&["b", "--data-dir", "new"], folder.path());
    assert!(said.contains("quorate serve --data-dir new"), "{said}");
    let _node = serve(port, folder.path(), &["--data-dir", "new"]);
    // Held by its old owner until it expires.
    assert_eq!(ask(port, &["SET", "lock", "you", "NX", "PX", "1000"]), None);
    assert_eq!(token(port, "lock"), old_token, "it is the acquisition that it was");
    let ttl: i64 = ask(port, &["PTTL", "lock"]).unwrap().parse().unwrap();
    assert!((500_000..=600_000).contains(&ttl), "{ttl}");
    assert!(ttl_before <= 1500);
    eventually("the brief one expires", || (ask(port, &["EXISTS", "brief"])? == "0").then_some(()));
    assert_eq!(ask(port, &["EVALSHA", &sha, "1", "lock"]).as_deref(), Some("me"));
    let memory = status(port).unwrap().memory_bytes_max;
    assert_eq!(memory, 123_456_789);
    // Whoever waited is gone, and takes nothing.
    assert_eq!(ask(port, &["RPUSH", "queue", "element"]).as_deref(), Some("1"));
    assert_eq!(ask(port, &["LLEN", "queue"]).as_deref(), Some("1"));

    ask(port, &["SET", "fresh", "1"]);
    let now_s = before.calendar_ms / 1000;
    assert!(token(port, "fresh") > old_token.max(now_s << 20), "tokens go on above those of the old cluster");
    let after =
        eventually("it knows its cluster", || status(port).filter(|status| status.cluster_id.is_some()));
    assert_ne!(after.cluster_id, before.cluster_id);
    assert!(after.calendar_ms >= before.calendar_ms);
}

#[test]
fn tokens_are_raised_by_order() {
    let (folder, port) = backup_of(&[&["SET", "a", "1"]]);
    let above = (1_u64 << 52) - 5;
    restore(&["b", "--data-dir", "new", "--fence-above", &above.to_string()], folder.path());
    let _node = serve(port, folder.path(), &["--data-dir", "new"]);
    ask(port, &["SET", "b", "1"]);
    assert!(token(port, "b") > above);
    let (code, _, error) = run(
        &["snapshot", "restore", "b", "--data-dir", "x", "--fence-above", "9007199254740991"],
        folder.path(),
    );
    assert!(code == 2 && error.contains("--fence-above"), "{error}");
}

#[test]
fn a_restored_trio_starts_with_equal_states_and_without_bootstrap() {
    let (folder, _) = backup_of(&[&["SET", "a", "1", "PX", "600000"], &["RPUSH", "list", "1", "2"]]);
    let (code, _, error) = run(
        &["snapshot", "restore", "b", "--data-dir", "trio", "--nodes", "3", "--node-id", "2"],
        folder.path(),
    );
    assert_eq!(code, 2, "{error}");
    let said = restore(&["b", "--data-dir", "trio", "--nodes", "3"], folder.path());
    assert!(said.contains("quorate up --data-dir trio"), "{said}");
    let state = |node: u64| {
        let snapshots = folder.path().join(format!("trio/node-{node}/snapshots"));
        let files: Vec<_> = std::fs::read_dir(snapshots).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        std::fs::read(&files[0]).unwrap()
    };
    assert!(state(1) == state(2) && state(2) == state(3));

    let port = free_ports(3);
    let arguments = ["up", "--data-dir", "trio", "--port", &port.to_string()].map(str::to_owned);
    let mut up = support::Process::start(&arguments, folder.path());
    for node in 0..3 {
        assert_eq!(ask(port + node, &["GET", "a"]).as_deref(), Some("1"));
    }
    assert_eq!(ask(port, &["SET", "b", "1"]).as_deref(), Some("OK"));
    up.signal(Signal::INT);
    assert_eq!(up.end().code(), Some(0));
}

/// A node of the old cluster would bring back what was lost, or what has been undone since.
#[test]
fn nodes_of_the_old_cluster_and_of_the_restored_one_refuse_each_other() {
    let mut cluster = Cluster::start();
    ask(cluster.port(1), &["SET", "a", "old"]);
    let folder = cluster.folder.path().to_owned();
    assert_eq!(save(cluster.port(2), "b", &folder).0, 0);
    for node in [2, 3] {
        cluster.node(node).signal(Signal::KILL);
        cluster.node(node).end();
        std::fs::remove_dir_all(cluster.data(node)).unwrap();
    }
    restore(&["b", "--data-dir", "trio", "--nodes", "3"], &folder);
    for node in [2, 3] {
        std::fs::rename(folder.join(format!("trio/node-{node}")), cluster.data(node)).unwrap();
        cluster.start_node(node, &[]);
    }
    cluster.node(1).await_line("belongs to cluster");
    cluster.node(2).await_line("belongs to cluster");
    assert_eq!(ask(cluster.port(2), &["SET", "a", "new"]).as_deref(), Some("OK"));
    let lone = status(cluster.port(1)).unwrap();
    assert_eq!((lone.leader.filter(|leader| leader.connected), lone.log.committed < 1000), (None, true));
    assert_ne!(lone.cluster_id, status(cluster.port(2)).unwrap().cluster_id);
}

#[test]
fn what_is_there_is_neither_replaced_nor_restored_into() {
    let (folder, port) = backup_of(&[&["SET", "a", "1"]]);
    let folder = folder.path();
    let file = std::fs::read(folder.join("b")).unwrap();
    let _node = serve(port, folder, &["--data-dir", "old"]);
    let (code, error) = save(port, "b", folder);
    assert!(code == 1 && error.contains("is there already") && error.contains("--force"), "{error}");
    assert_eq!(std::fs::read(folder.join("b")).unwrap(), file);
    let address = format!("127.0.0.1:{port}");
    let again = ["snapshot", "save", "b", "--addr", &address, "--force"];
    eventually("it is replaced", || (run(&again, folder).0 == 0).then_some(()));
    assert_ne!(std::fs::read(folder.join("b")).unwrap(), file, "it was made at another time");

    for (data, holds) in [("old", "old holds"), ("full", "full holds")] {
        std::fs::create_dir_all(folder.join("full/notes")).unwrap();
        let (code, _, error) = run(&["snapshot", "restore", "b", "--data-dir", data], folder);
        assert!(code == 3 && error.contains(holds) && error.contains("must be empty"), "{error}");
    }
    std::fs::create_dir(folder.join("empty")).unwrap();
    restore(&["b", "--data-dir", "empty"], folder);
    // Nothing is left over beside what was asked for.
    let names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|name| name.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().all(|name| ["b", "old", "full", "empty"].contains(&&**name)), "{names:?}");
}

#[test]
fn a_bad_backup_is_refused_by_its_place_and_restored_nowhere() {
    let (folder, port) = backup_of(&[&["SET", "a", &"v".repeat(100_000)]]);
    let folder = folder.path();
    let good = std::fs::read(folder.join("b")).unwrap();
    let refused = |bytes: &[u8], words: &str| {
        std::fs::write(folder.join("bad"), bytes).unwrap();
        for arguments in [
            &["snapshot", "inspect", "bad"][..],
            &["snapshot", "restore", "bad", "--data-dir", "new", "--nodes", "3"],
        ] {
            let (code, _, error) = run(arguments, folder);
            assert!(code == 3 && error.contains("bad") && error.contains(words), "{code} {error}");
        }
        assert!(!folder.join("new").exists());
    };
    refused(b"REDIS0011 and so on", "not those of a backup of Quorate, at byte 0");
    let mut flipped = good.clone();
    flipped[70_000] ^= 1;
    refused(&flipped, "a block does not match, at byte ");
    refused(&good[..good.len() / 2], "it ends too early");
    refused(&good[..0], "at byte 0");

    let (code, error) = save(port, "c", folder);
    assert!(code == 1 && error.contains("--addr") && !folder.join("c").exists(), "nobody is there: {error}");
}

#[test]
fn a_backup_goes_through_a_pipe() {
    let (folder, port) = backup_of(&[&["SET", "a", "1"]]);
    let _node = serve(port, folder.path(), &["--data-dir", "old"]);
    assert_eq!(ask(port, &["GET", "a"]).as_deref(), Some("1"));
    let address = format!("127.0.0.1:{port}");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["snapshot", "save", "-", "--addr", &address])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    std::fs::write(folder.path().join("piped"), output.stdout).unwrap();
    assert_eq!(inspect("piped", folder.path())["keys"], 1);
}

/// A second one at the same time is refused, and the first one's end, however it comes, makes room.
#[test]
fn a_client_that_takes_nothing_keeps_others_out_only_while_it_is_there() {
    use std::io::{Read as _, Write as _};
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let _node = serve(port, folder.path(), &["--data-dir", "old", "--snapshot-log-bytes", "1mb"]);
    // More than the sockets of a connection hold.
    for number in 0..32 {
        ask(port, &["SET", &format!("k:{number}"), &"v".repeat(1 << 20)]);
    }
    let mut stalled = std::net::TcpStream::connect(("127.0.0.1", port + 11_000)).unwrap();
    stalled.write_all(b"GET /snapshot HTTP/1.0\r\nx-quorate: snapshot\r\n\r\n").unwrap();
    stalled.read_exact(&mut [0; 100]).unwrap();
    let (code, error) = save(port, "b", folder.path());
    assert!(code == 1 && error.contains("another backup is being taken"), "{error}");
    // Neither the log's own snapshots nor writes wait for it.
    let before = status(port).unwrap().log.snapshot;
    for number in 0..40 {
        ask(port, &["SET", &format!("k:{number}"), &"w".repeat(1 << 20)]);
    }
    eventually("a snapshot is made", || status(port).filter(|status| status.log.snapshot > before));
    drop(stalled);
    eventually("there is room for another", || (save(port, "b", folder.path()).0 == 0).then_some(()));
    assert_eq!(inspect("b", folder.path())["keys"], 40);
}
