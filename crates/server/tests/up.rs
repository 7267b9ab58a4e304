//! `quorate up`: what a newcomer runs first.

mod support;

use std::{
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use support::{Process, ask, eventually, free_ports, run, runs, signal_process, status};

/// What the issue promises of Ctrl-C.
const STOP_MAX: Duration = Duration::from_secs(5);

fn up(port: u16, folder: &Path, more: &[&str]) -> Process {
    let port = port.to_string();
    let arguments: Vec<_> =
        ["up", "--port", &port].iter().chain(more).map(|&argument| argument.to_owned()).collect();
    let process = Process::start(&arguments, folder);
    process.await_line("the cluster is ready");
    process
}

/// The process ids of the table, by node.
fn pids(process: &Process, nodes: u64) -> Vec<u32> {
    (1..=nodes)
        .map(|node| {
            let line = process.await_line(&format!("node-{node}"));
            let words: Vec<_> = line.split_whitespace().collect();
            assert_eq!(words[0], node.to_string(), "{line}");
            words[1].parse().expect("a process id")
        })
        .collect()
}

#[test]
fn ctrl_c_ends_all_in_time_also_with_one_node_dead_and_one_stopped_and_the_data_stay() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(3));
    let mut process = up(port, folder.path(), &[]);
    assert_eq!(ask(port + 2, &["SET", "a", "1"]).as_deref(), Some("OK"));
    let pids = pids(&process, 3);
    signal_process(pids[0], Signal::KILL);
    let told = process.await_line("node 1 was killed by signal 9; 2 of 3 run");
    assert!(told.contains("start it again"), "{told}");
    assert!(process.await_line("serve --node-id 1").contains("--data-dir"), "how to start it again is told");
    signal_process(pids[1], Signal::STOP);

    let begin = Instant::now();
    process.signal(Signal::INT);
    assert_eq!(process.end().code(), Some(0));
    assert!(begin.elapsed() < STOP_MAX, "took {:?}", begin.elapsed());
    assert!(pids.iter().all(|&pid| !runs(pid)));

    let process = up(port, folder.path(), &[]);
    assert_eq!(ask(port, &["GET", "a"]).as_deref(), Some("1"));
    drop(process);
}

/// Nodes that end one after another once warned of each other's absence.
#[test]
fn a_clean_stop_warns_of_nothing() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(3));
    let mut process = up(port, folder.path(), &["--ephemeral"]);
    for node in port..port + 3 {
        eventually("each node hears the others", || {
            status(node).filter(|status| status.peers.iter().all(|peer| peer.heard_ms_ago.is_some()))
        });
    }
    process.signal(Signal::INT);
    process.await_line("all nodes have stopped");
    assert_eq!(process.end().code(), Some(0));
    let lines = process.lines_after("stopping all nodes");
    assert_eq!(lines.iter().filter(|line| line.contains("ended in order")).count(), 3, "{lines:#?}");
    let warnings: Vec<_> =
        lines.iter().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
}

#[test]
fn nodes_end_when_up_is_killed() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(3));
    let mut process = up(port, folder.path(), &[]);
    let pids = pids(&process, 3);
    process.signal(Signal::KILL);
    process.end();
    for pid in pids {
        eventually("the node ends", || (!runs(pid)).then_some(()));
    }
}

#[test]
fn a_dead_node_comes_back_with_respawn_alone() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(3));
    let process = up(port, folder.path(), &["--respawn"]);
    let before = status(port).unwrap().incarnation;
    signal_process(pids(&process, 3)[0], Signal::KILL);
    process.await_line("node 1 runs again");
    eventually("it serves again", || status(port).filter(|status| status.incarnation > before));
    assert_eq!(ask(port, &["SET", "a", "1"]).as_deref(), Some("OK"));
}

#[test]
fn one_node_in_a_temporary_folder_leaves_nothing_behind() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let mut process = up(port, folder.path(), &["--nodes", "1", "--ephemeral"]);
    let table = process.await_line("node-1");
    let data = table.split_whitespace().last().unwrap().to_owned();
    assert!(Path::new(&data).exists());
    assert_eq!(ask(port, &["SET", "a", "1"]).as_deref(), Some("OK"));
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(0));
    assert!(!Path::new(&data).exists());
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[test]
fn ports_in_use_and_another_number_of_nodes_are_refused_in_words() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(3));
    let taken = TcpListener::bind(("127.0.0.1", port + 10_001)).unwrap();
    let text = port.to_string();
    let (code, _, errors) = run(&["up", "--port", &text], folder.path());
    assert_eq!(code, 1);
    assert!(errors.contains(&format!("port {} (peers of node 2) is in use", port + 10_001)), "{errors}");
    drop(taken);
    let (code, _, errors) = run(&["up", "--port", &text, "--nodes", "5"], folder.path());
    assert!(code == 1 && errors.contains("holds a cluster of 3 node(s), not 5"), "{errors}");
}
