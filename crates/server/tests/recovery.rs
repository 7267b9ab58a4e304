//! What clients and operators meet while a node recovers its data: hazard 26, no reads of what is not there yet.
//!
//! A pipe takes the place of a file of the data folder: the recovery waits there until the test writes into it.

#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

mod support;

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, mknodat, open},
    process::Signal,
};
use support::{Cluster, LONG, ask, eventually, free_ports, greet, http, run, serve, status};

const LOADING: &str = "-LOADING Quorate is recovering its data; the command was not applied\r\n";

/// A data folder that holds the key `a`, and whose recovery waits.
struct Held {
    folder: tempfile::TempDir,
    port: u16,
    file: PathBuf,
    content: Vec<u8>,
}

impl Held {
    fn new() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
        let mut node = serve(port, folder.path(), &["--data-dir", "data"]);
        assert_eq!(ask(port, &["SET", "a", "1"]).as_deref(), Some("OK"));
        node.signal(Signal::TERM);
        assert_eq!(node.end().code(), Some(0));

        let file = folder.path().join("data").join("acquaintances");
        let content = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        Self { folder, port, file, content }
    }

    fn start(&self) -> support::Process {
        serve(self.port, self.folder.path(), &["--data-dir", "data"])
    }

    /// Lets the recovery read `content`.
    fn release(&self, content: &[u8]) {
        writer(&self.file).write_all(content).unwrap();
    }
}

/// The pipe's end where bytes go in, once the node has opened the other.
fn writer(file: &Path) -> File {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK;
    eventually("the recovery reads", || open(file, flags, Mode::empty()).ok()).into()
}

/// A connection that says nothing by itself.
fn raw(port: u16) -> BufReader<TcpStream> {
    let stream = eventually("the port takes a connection", || TcpStream::connect(("127.0.0.1", port)).ok());
    stream.set_read_timeout(Some(LONG)).unwrap();
    BufReader::new(stream)
}

fn call(connection: &mut BufReader<TcpStream>, command: &str) -> String {
    write!(connection.get_mut(), "{command}\r\n").unwrap();
    let mut line = String::new();
    connection.read_line(&mut line).unwrap();
    line
}

#[test]
fn a_recovering_node_answers_loading_and_serves_the_same_connections_afterwards() {
    let held = Held::new();
    let _node = held.start();
    let mut early = raw(held.port);
    for command in ["PING", "GET a", "SET a 2", "TIME"] {
        assert_eq!(call(&mut early, command), LOADING, "{command}");
    }
    assert_eq!(call(&mut early, "CLIENT SETNAME early"), "+OK\r\n");
    // A stock client greets the node, and gets its own word for being busy.
    let mut client = greet(held.port);
    let refused = redis::cmd("GET").arg("a").query::<Option<String>>(&mut client).unwrap_err();
    assert_eq!(refused.code(), Some("LOADING"), "{refused}");
    let info: String = redis::cmd("INFO").arg("persistence").query(&mut client).unwrap();
    assert!(info.contains("\r\nloading:1\r\n"), "{info}");
    assert!(status(held.port).unwrap().loading);
    assert!(http(held.port + 11_000, "/healthz").unwrap().contains(" 200 "));
    let ready = http(held.port + 11_000, "/readyz").unwrap();
    assert!(ready.contains(" 503 ") && ready.contains("loading its data"), "{ready}");
    // From a web page it would come without the header that a command sends.
    let page = http(held.port + 11_000, "/snapshot").unwrap();
    assert!(page.contains(" 403 ") && page.contains("x-quorate: snapshot"), "{page}");
    let address = format!("127.0.0.1:{}", held.port);
    let (code, _, error) = run(&["snapshot", "save", "b", "--addr", &address], held.folder.path());
    assert!(code == 1 && error.contains("is recovering its data"), "{error}");

    held.release(&held.content);
    eventually("PING is answered", || (call(&mut early, "PING") == "+PONG\r\n").then_some(()));
    let value: String = redis::cmd("GET").arg("a").query(&mut client).unwrap();
    assert_eq!(value, "1");
    eventually("it is ready", || http(held.port + 11_000, "/readyz").filter(|text| text.contains(" 200 ")));
}

#[test]
fn a_recovering_node_ends_at_once_when_it_is_told_to_and_loses_nothing() {
    let held = Held::new();
    let mut node = held.start();
    assert_eq!(call(&mut raw(held.port), "PING"), LOADING);
    node.signal(Signal::TERM);
    assert_eq!(node.end().code(), Some(0));
    node.await_line("before the data were recovered");

    let _node = held.start();
    held.release(&held.content);
    assert_eq!(ask(held.port, &["GET", "a"]).as_deref(), Some("1"));
}

#[test]
fn a_folder_that_is_refused_ends_the_node_and_its_clients_connections() {
    let held = Held::new();
    let mut node = held.start();
    let mut early = raw(held.port);
    assert_eq!(call(&mut early, "PING"), LOADING);
    held.release(b"nonsense");
    assert_eq!(node.end().code(), Some(3));
    node.await_line("acquaintances is damaged");
    let mut rest = Vec::new();
    // Closed in one way or the other.
    drop(early.read_to_end(&mut rest));
    assert_eq!(rest, b"");
    assert!(TcpStream::connect(("127.0.0.1", held.port)).is_err());
}

/// It has all that it knew to be committed, and a leader must say whether there is more.
#[test]
fn a_member_without_a_quorum_recovers_and_then_waits_for_a_leader() {
    let mut cluster = Cluster::start();
    // The later ones bring to each disk that the earlier ones are committed.
    for key in ["a", "b", "c"] {
        ask(cluster.port(1), &["SET", key, "1"]);
    }
    for node in 1..=3 {
        cluster.node(node).signal(Signal::TERM);
    }
    for node in 1..=3 {
        assert_eq!(cluster.node(node).end().code(), Some(0));
    }
    cluster.start_node(1, &[]);
    let status = eventually("it has recovered", || status(cluster.port(1)).filter(|status| !status.loading));
    assert!(status.leader.is_none() && status.databases.len() == 1, "{status:?}");
    assert_eq!(call(&mut raw(cluster.port(1)), "PING"), "+PONG\r\n");
    let ready = http(cluster.port(1) + 11_000, "/readyz").unwrap();
    assert!(ready.contains("there is no leader"), "{ready}");
}
