//! A cluster keeps the engine that it was born with, and whoever has another is told so.

mod support;

use std::path::Path;

use quorate::engine::EngineKind;
use rustix::process::Signal;
use support::{
    Cluster, Process, ask, eventually, free_ports, http, run, serve, status, try_ask, with_each_engine,
};

fn engine_at(port: u16) -> String {
    eventually("the node tells its engine", || {
        status(port).map(|status| status.engine).filter(|name| !name.is_empty())
    })
}

fn other(engine: EngineKind) -> EngineKind {
    match engine {
        EngineKind::Raft => EngineKind::Paxos,
        EngineKind::Paxos => EngineKind::Raft,
    }
}

/// Ends a node that is in order.
fn stop(mut node: Process) {
    node.signal(Signal::TERM);
    assert_eq!(node.end().code(), Some(0));
}

#[test]
fn a_folder_keeps_its_engine_whether_it_is_named_again_or_not_and_refuses_another() {
    with_each_engine(|engine| {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
        let first = serve(port, folder.path(), &["--engine", engine.name()]);
        assert_eq!(ask(port, &["SET", "k", "v"]).as_deref(), Some("OK"));
        let info = ask(port, &["INFO", "quorate"]).unwrap();
        assert!(info.contains(&format!("engine:{engine}")), "{info}");
        let metrics = http(port + 11_000, "/metrics").unwrap();
        assert!(metrics.contains(&format!("engine=\"{engine}\"")), "{metrics}");
        stop(first);

        for named in [&[][..], &["--engine", engine.name()], &["--engine", "auto"]] {
            let again = serve(port, folder.path(), named);
            assert_eq!(ask(port, &["GET", "k"]).as_deref(), Some("v"));
            assert_eq!(engine_at(port), engine.name());
            stop(again);
        }
        let before = support::contents(folder.path());
        let wrong = other(engine).name();
        let mut refused = serve(port, folder.path(), &["--engine", wrong]);
        assert_eq!(refused.end().code(), Some(3));
        let told = refused.await_line("a cluster keeps the engine that it was born with");
        assert!(
            told.contains(&format!("with the engine {engine}, and the setting engine says {wrong}")),
            "{told}"
        );
        assert_eq!(support::contents(folder.path()), before, "nothing was changed");
    });
}

#[test]
fn a_node_that_joins_takes_the_engine_of_the_cluster_unless_it_was_told_another() {
    with_each_engine(|engine| {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(3));
        let _first = serve(port, folder.path(), &["--data-dir", "1", "--engine", engine.name()]);
        ask(port, &["SET", "k", "v"]);
        let join = format!("127.0.0.1:{port}");
        let _second = serve(port + 1, folder.path(), &["--data-dir", "2", "--join", &join]);
        assert_eq!(ask(port + 1, &["GET", "k"]).as_deref(), Some("v"));
        assert_eq!(engine_at(port + 1), engine.name());

        let wrong = other(engine).name();
        let more = ["--data-dir", "3", "--join", &join, "--engine", wrong];
        let mut refused = serve(port + 2, folder.path(), &more);
        assert_eq!(refused.end().code(), Some(2));
        let told = refused.await_line("is refused by the node at");
        assert!(
            told.contains(&format!("has the engine {engine}, and the setting engine says {wrong}")),
            "{told}"
        );
        assert!(!folder.path().join("3").exists(), "it has made no folder");
    });
}

/// Settings alone cannot prevent it: two of the three were told one engine, and one the other. What it is told to do helps.
#[test]
fn a_founder_with_another_engine_than_the_others_is_refused_and_told_how_it_takes_its_place() {
    let mut cluster = Cluster::start_some_with(EngineKind::Paxos, &[1, 2], &[]);
    let peers: Vec<_> =
        (1..=3).map(|node| format!("{node}=127.0.0.1:{}", cluster.port(node) + 10_000)).collect();
    let peers = peers.join(",");
    let more = ["--node-id", "3", "--peers", &peers, "--bootstrap", "--data-dir", "node-3", "--engine"];
    let third = serve(cluster.port(3), cluster.folder.path(), &[&more[..], &["raft"]].concat());
    assert_eq!(ask(cluster.port(1), &["SET", "k", "v"]).as_deref(), Some("OK"));
    third.await_line("runs the engine");
    cluster.node(1).await_line("start node 3 on an empty folder with --engine paxos, and else as before");
    assert_eq!(status(cluster.port(3)).unwrap().log.applied, 0);
    drop(third);
    std::fs::remove_dir_all(cluster.folder.path().join("node-3")).unwrap();
    let _third = serve(cluster.port(3), cluster.folder.path(), &[&more[..], &["paxos"]].concat());
    eventually("it serves what the others have", || {
        try_ask(cluster.port(3), &["GET", "k"]).ok().flatten().filter(|value| value == "v")
    });
}

#[test]
fn what_paxos_does_not_have_is_refused_at_birth_and_later() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |more: &[&str]| {
        let (code, _, error) = run(&[&["serve", "--engine", "paxos"], more].concat(), folder.path());
        assert_eq!(code, 2, "{error}");
        error
    };
    assert!(refused(&["--reads", "lease"]).contains("its leaders hold no leases"));
    assert!(refused(&["--join-as", "witness", "--join", "127.0.0.1:1"]).contains("it has no witnesses"));

    let port = free_ports(2);
    let _node = serve(port, folder.path(), &["--data-dir", "1", "--engine", "paxos"]);
    ask(port, &["SET", "k", "v"]);
    let address = format!("127.0.0.1:{port}");
    let (code, _, error) = run(&["reads", "--addr", &address, "lease"], folder.path());
    assert!(code == 1 && error.contains("the engine of this cluster has no leases"), "{error}");
    let more = ["--data-dir", "2", "--join", &address, "--join-as", "witness"];
    let mut witness = serve(port + 1, folder.path(), &more);
    assert_eq!(witness.end().code(), Some(2));
    witness.await_line("the engine of this cluster has no witnesses");
    assert_eq!(ask(port, &["GET", "k"]).as_deref(), Some("v"));
}

#[test]
fn how_many_commit_is_said_at_birth_and_changed_later_and_refused_with_the_arithmetic() {
    let folder = tempfile::tempdir().unwrap();
    let peers = "1=127.0.0.1:1,2=127.0.0.1:2,3=127.0.0.1:3";
    let refused = |engine: &str, quorum: &str| {
        let line = ["serve", "--engine", engine, "--peers", peers, "--bootstrap", "--phase2-quorum", quorum];
        let (code, _, error) = run(&line, folder.path());
        assert_eq!(code, 2, "{error}");
        error
    };
    assert!(refused("raft", "2").contains("unless engine is paxos"));
    assert!(
        refused("paxos", "3").contains("3 + 1 - 3 = 1 elect; with one voter lost, 2 would be left, of the 3")
    );
    assert!(refused("paxos", "4").contains("3 + 1 - 4 = 0 would have to elect"));

    let (code, _, error) = run(
        &["serve", "--data-dir", "none", "--peers", peers, "--bootstrap", "--phase2-quorum", "2"],
        folder.path(),
    );
    assert!(code == 2 && error.contains("unless engine is paxos"), "{error}");

    let born = ["--phase2-quorum", "2"];
    let mut cluster = Cluster::start_some_with(EngineKind::Paxos, &[1, 2, 3], &born);
    let leader = cluster.leader(1, None);
    let port = cluster.port(leader);
    let address = format!("127.0.0.1:{port}");
    let quorum = |more: &[&str]| {
        run(&[&["member", "--addr", &address, "quorum"], more].concat(), cluster.folder.path())
    };
    let (code, _, error) = quorum(&["1"]);
    assert!(code == 1 && error.contains("if 1 of 3 voters commit, 3 + 1 - 1 = 3 elect"), "{error}");
    assert!(quorum(&[]).1.contains("of 3 voters 2 commit, and 2 elect"));
    let (code, told, error) = quorum(&["1", "--force"]);
    assert!(code == 0 && told.contains("of 3 voters 1 commit, and 3 elect a leader"), "{told}{error}");

    // One disk commits now, and its node alone goes on.
    let others = (1..=3).filter(|&node| node != leader);
    others.for_each(|node| cluster.node(node).signal(Signal::KILL));
    assert_eq!(ask(port, &["SET", "k", "v"]).as_deref(), Some("OK"));
    assert_eq!(ask(port, &["GET", "k"]).as_deref(), Some("v"));
}

/// Its service file says how the cluster was born, and need not name the engine that its folder has.
#[test]
fn node_starts_again_with_the_quorum_of_its_birth_and_no_engine() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let mut node = serve(port, folder.path(), &["--data-dir", "own", "--engine", "paxos"]);
    assert_eq!(ask(port, &["SET", "k", "v"]).as_deref(), Some("OK"));
    node.signal(Signal::TERM);
    node.end();
    let _node = serve(port, folder.path(), &["--data-dir", "own", "--phase2-quorum", "2"]);
    assert_eq!(ask(port, &["GET", "k"]).as_deref(), Some("v"));
}

/// The folder of a lost cluster keeps its engine; a backup can be gone on with by either, though terms differ.
#[test]
fn recovered_nodes_keep_their_engine_and_restored_ones_have_the_one_that_is_named() {
    with_each_engine(|engine| {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
        let node = serve(port, folder.path(), &["--data-dir", "old", "--engine", engine.name()]);
        ask(port, &["SET", "k", "v"]);
        let address = format!("127.0.0.1:{port}");
        let (code, _, error) = run(&["snapshot", "save", "k.backup", "--addr", &address], folder.path());
        assert_eq!(code, 0, "{error}");
        stop(node);

        let recover = ["recover", "--force-new-cluster", "--yes", "--data-dir", "old"];
        let (code, text, error) = run(&recover, folder.path());
        assert!(code == 0 && text.contains(&format!("with the engine {engine}")), "{text}{error}");
        goes_on(port, folder.path(), "old", engine);
        for target in EngineKind::ALL {
            let restore =
                ["snapshot", "restore", "k.backup", "--data-dir", target.name(), "--engine", target.name()];
            let (code, text, error) = run(&restore, folder.path());
            assert!(code == 0 && text.contains(&format!("with the engine {target}")), "{text}{error}");
            goes_on(port, folder.path(), target.name(), target);
        }
    });
}

/// Starts a node that has the data, and takes new ones, also after another start.
fn goes_on(port: u16, folder: &Path, data: &str, engine: EngineKind) {
    for value in ["v", "w"] {
        let node = serve(port, folder, &["--data-dir", data]);
        assert_eq!(ask(port, &["GET", "k"]).as_deref(), Some(value));
        assert_eq!(ask(port, &["SET", "k", "w"]).as_deref(), Some("OK"));
        assert_eq!(engine_at(port), engine.name());
        stop(node);
    }
}

#[test]
fn up_remembers_the_engine_and_refuses_another() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1).to_string());
    let up = |more: &[&str]| {
        let line = [&["up", "--nodes", "1", "--port", &port], more].concat();
        Process::start(&line.iter().map(|&word| word.to_owned()).collect::<Vec<_>>(), folder.path())
    };
    for more in [&["--engine", "paxos"][..], &[]] {
        let process = up(more);
        process.await_line("the cluster is ready");
        assert_eq!(engine_at(port.parse().unwrap()), "paxos");
        stop(process);
    }
    let mut refused = up(&["--engine", "raft"]);
    assert_eq!(refused.end().code(), Some(1));
    refused.await_line("holds a cluster with the engine paxos, not raft");
}
