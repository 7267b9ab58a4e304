//! One node, as an operator meets it.

mod support;

use std::{
    io::{PipeReader, PipeWriter, Write as _},
    process::Command,
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    process::Signal,
};
use support::{SENTINEL_OFFSET, ask, connect, eventually, free_ports, http, run, serve, try_ask};

#[test]
fn a_single_node_keeps_what_it_acknowledged_whether_it_ended_in_order_or_was_killed() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let mut node = serve(port, folder.path(), &[]);
    assert_eq!(ask(port, &["SET", "a", "1"]).as_deref(), Some("OK"));
    node.signal(Signal::TERM);
    assert_eq!(node.end().code(), Some(0));

    let mut node = serve(port, folder.path(), &[]);
    assert_eq!(ask(port, &["GET", "a"]).as_deref(), Some("1"));
    assert_eq!(ask(port, &["SET", "b", "2"]).as_deref(), Some("OK"));
    node.signal(Signal::KILL);
    node.end();

    let _node = serve(port, folder.path(), &[]);
    assert_eq!(ask(port, &["GET", "a"]).as_deref(), Some("1"));
    assert_eq!(ask(port, &["GET", "b"]).as_deref(), Some("2"));
}

#[test]
fn wrong_settings_are_refused_with_name_value_origin_and_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, text) = run(&["serve", "--election-timeout", "5"], folder.path());
    assert_eq!(code, 2);
    assert!(
        text.contains("setting election-timeout: \"5\" (from flag) is not allowed; allowed is a duration"),
        "{text}"
    );

    let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["serve", "--print-config"])
        .env("QUORATE_NODE_ID", "none")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("setting node-id: \"none\" (from variable QUORATE_NODE_ID)"), "{text}");
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing was made");
}

#[test]
fn print_config_shows_each_value_with_its_origin() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("q.toml"), "log-format = \"json\"\n").unwrap();
    let arguments = ["serve", "--config", "q.toml", "--listen", "127.0.0.1:9999", "--print-config"];
    let (code, text, _) = run(&arguments, folder.path());
    assert_eq!(code, 0);
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
    assert!(
        line("log-format").contains("\"json\"") && line("log-format").ends_with("# file q.toml"),
        "{text}"
    );
    assert!(line("listen").ends_with("# flag") && line("max-clients").ends_with("# default"), "{text}");
    assert!(line("peer-listen").contains("127.0.0.1:19999"), "{text}");
}

#[test]
fn a_folder_of_another_node_or_in_use_or_empty_without_bootstrap_is_refused() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(2));
    let data = folder.path().join("data").display().to_string();
    let mut node = serve(port, folder.path(), &["--data-dir", &data]);
    ask(port, &["SET", "a", "1"]);

    let second = format!("127.0.0.1:{}", port + 1);
    let (code, _, text) = run(&["serve", "--listen", &second, "--data-dir", &data], folder.path());
    assert!(code == 3 && text.contains("in use by another process"), "{code} {text}");

    node.signal(Signal::TERM);
    node.end();
    let other = ["serve", "--listen", &second, "--data-dir", &data, "--node-id", "2"];
    let (code, _, text) = run(&other, folder.path());
    assert!(code == 3 && text.contains("belongs to node 1, and this is node 2"), "{code} {text}");

    let peers = "1=127.0.0.1:1,2=127.0.0.1:2,3=127.0.0.1:3";
    let unborn = ["serve", "--listen", &second, "--data-dir", "new", "--peers", peers];
    let (code, _, text) = run(&unborn, folder.path());
    assert!(code == 3 && text.contains("--bootstrap"), "{code} {text}");
}

#[test]
fn a_port_in_use_is_told_with_its_setting() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (code, _, text) = run(&["serve", "--listen", &format!("127.0.0.1:{port}")], folder.path());
    assert_eq!(code, 1);
    assert!(text.contains("(setting listen)") && text.contains("in use"), "{text}");
}

/// A pipe in which nothing more has room: who writes to it stands still.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (unread, mut full) = std::io::pipe().expect("a pipe");
    let flags = fcntl_getfl(&full).expect("its flags");
    fcntl_setfl(&full, flags | OFlags::NONBLOCK).expect("it is set");
    while full.write(&[0]).is_ok() {}
    fcntl_setfl(&full, flags).expect("it is set");
    (unread, full)
}

/// Hazard 25: a log pipe that nobody reads once stopped a whole service (etcd#22214).
#[test]
fn a_blocked_standard_error_does_not_stop_the_service() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let (unread, full) = full_pipe();
    let mut child = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["serve", "--log-level", "trace", "--listen", &format!("127.0.0.1:{port}")])
        .current_dir(folder.path())
        .stderr(full)
        .spawn()
        .unwrap();
    let answers: Vec<_> = (0..200).map(|number| ask(port, &["SET", "n", &number.to_string()])).collect();
    assert_eq!(answers.len(), 200);
    assert_eq!(ask(port, &["GET", "n"]).as_deref(), Some("199"));
    support::signal_process(child.id(), Signal::TERM);
    let status = eventually("it ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    drop(unread);
}

#[test]
fn health_readiness_and_metrics_are_served() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let _node = serve(port, folder.path(), &[]);
    ask(port, &["SET", "a", "1"]);
    assert!(
        eventually("it is ready", || http(port + 11_000, "/readyz").filter(|text| text.contains(" 200 ")))
            .contains("ready")
    );
    assert!(http(port + 11_000, "/healthz").unwrap().contains(" 200 "));
    let metrics = eventually("keys are counted", || {
        http(port + 11_000, "/metrics").filter(|text| text.contains("\nquorate_keys 1\n"))
    });
    for name in
        ["quorate_role{role=\"leader\"} 1", "quorate_log_sync_seconds_count", "process_resident_memory_bytes"]
    {
        assert!(metrics.contains(name), "{name} {metrics}");
    }
}

#[test]
fn a_sentinel_door_names_the_leader_by_the_name_that_it_is_given() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let door = port + SENTINEL_OFFSET;
    let listen = format!("127.0.0.1:{door}");
    let more = ["--sentinel-listen", &listen, "--sentinel-master-name", "mymaster"];
    let _node = serve(port, folder.path(), &more);
    let named = |name: &str| {
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        question.query::<Option<(String, u16)>>(&mut connect(door)).unwrap()
    };
    let address = eventually("the node leads itself", || named("mymaster"));
    assert_eq!(address, ("127.0.0.1".to_owned(), port));
    assert_eq!(named("quorate"), None);
    assert!(try_ask(door, &["GET", "a"]).is_err(), "there are no data behind this door");
}

#[test]
fn status_of_nothing_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_ports(1);
    let (code, _, text) = run(&["status", "--addr", &format!("127.0.0.1:{port}")], folder.path());
    assert!(code == 1 && text.contains("No node answers") && text.contains("quorate up"), "{code} {text}");
}

#[test]
fn bench_measures_and_counts() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let _node = serve(port, folder.path(), &[]);
    ask(port, &["PING"]);
    let address = format!("127.0.0.1:{port}");
    for op in ["set", "get", "lock", "acquire"] {
        let line = ["bench", "--addr", &address, "--op", op, "--clients", "4", "--seconds", "1", "--json"];
        let (code, text, errors) = run(&line, folder.path());
        assert_eq!(code, 0, "{text} {errors}");
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(report["operations"].as_u64().unwrap() > 0 && report["errors"] == 0, "{report}");
    }
    assert!(try_ask(port, &["GET", "lock:00000000001"]).unwrap().is_none(), "locks are released");
}
