//! A node that has lost the others: what its clients are told, and that none of them is left waiting.

mod support;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use rustix::process::Signal;
use support::{Cluster, LONG, ask, eventually, status};

/// A client that knows nothing but bytes.
struct Client(TcpStream);

impl Client {
    fn new(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the node listens");
        stream.set_read_timeout(Some(LONG)).expect("not zero");
        Self(stream)
    }

    fn send(&mut self, line: &str) {
        self.0.write_all(format!("{line}\r\n").as_bytes()).expect("it is connected");
    }

    fn expect(&mut self, line: &str, reply: &str) {
        self.send(line);
        let mut read = vec![0; reply.len()];
        self.0.read_exact(&mut read).expect("it is answered");
        assert_eq!(String::from_utf8_lossy(&read), reply);
    }

    /// All that still comes, up to the end of the connection.
    fn rest(mut self) -> String {
        let mut text = String::new();
        self.0.read_to_string(&mut text).expect("the connection ends");
        text
    }
}

/// Subscribers of a node that was cut off heard nothing for ever, and took that for silence; and who waited in a queue
/// waited for ever for what only the others' clients could get.
#[test]
fn clients_of_a_node_without_a_leader_are_told_or_sent_away() {
    let more = ["--leaderless-timeout", "1s", "--command-timeout", "3s"];
    let mut cluster = Cluster::start_some(&[1, 2, 3], &more);
    let leader = cluster.leader(1, None);
    let (stays, port) = (leader % 3 + 1, cluster.port(leader % 3 + 1));
    ask(port, &["SET", "k", "v"]);

    let [mut subscriber, mut waits, mut idle, mut asks] = [(); 4].map(|()| Client::new(port));
    subscriber.expect("SUBSCRIBE news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    idle.expect("PING", "+PONG\r\n");
    asks.expect("GET k", "$1\r\nv\r\n");
    waits.send("BLPOP q 0");
    eventually("it waits", || status(port).filter(|status| status.commands_waiting == 1));

    for node in [leader, 6 - leader - stays] {
        cluster.node(node).signal(Signal::KILL);
        cluster.node(node).end();
    }
    asks.send("GET k");
    assert_eq!(subscriber.rest(), "", "it would miss messages");
    assert_eq!(waits.rest(), "", "its place may be lost, or served: nobody knows");
    assert_eq!(idle.rest(), "", "it would stay for ever");
    let told = asks.rest();
    assert!(told.starts_with("-CLUSTERDOWN no leader") && told.ends_with("was not applied\r\n"), "{told}");
    cluster.node(stays).await_line("sends its clients away");

    let mut later = Client::new(port);
    later.expect("PING", "+PONG\r\n");
    later.send("SUBSCRIBE news");
    later.send("QUIT");
    let told = later.rest();
    assert!(told.starts_with("-CLUSTERDOWN ") && told.ends_with("+OK\r\n"), "{told}");
    let before = cluster.node(stays).lines_after("sends its clients away");
    assert!(!before.iter().any(|line| line.contains("sends its clients away")), "once is enough: {before:?}");
}
