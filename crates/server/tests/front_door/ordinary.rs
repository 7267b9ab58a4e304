//! Clients that behave.

use std::{sync::Arc, time::Duration};

use quorate::{
    connection::Limits,
    status::{Activity, NodeStatus},
};
use tokio::io::AsyncWriteExt;

use crate::{
    client::{Door, command},
    shard::{CLOSING_KEY, STOPPING_KEY},
};

async fn door() -> Door {
    Door::open(Limits::default()).await
}

#[tokio::test]
async fn a_long_pipeline_is_answered_in_order() {
    let door = door().await;
    let mut client = door.client().await;
    let (mut sent, mut expected) = (Vec::new(), String::new());
    for number in 0..10_000 {
        let text = number.to_string();
        sent.extend(command(&[b"SET", b"k", text.as_bytes()]));
        sent.extend(command(&[b"GET", b"k"]));
        sent.extend(command(&[b"PING", text.as_bytes()]));
        let bulk = format!("${}\r\n{text}\r\n", text.len());
        expected += &format!("+OK\r\n{bulk}{bulk}");
    }
    client.send(sent).await;
    client.expect(expected).await;
    assert!(*door.shard.largest_batch.lock().unwrap() <= Limits::default().pipeline_max);
}

#[tokio::test]
async fn no_more_is_submitted_than_the_pipeline_limit_allows() {
    let door = Door::open(Limits { pipeline_max: 10, ..Limits::default() }).await;
    let mut client = door.client().await;
    let gate = door.shard.gate.clone();
    let held = gate.lock().unwrap();
    let sent = command(&[b"GET", b"k"]).repeat(1000);
    client.stream.try_write(&sent).unwrap();
    drop(held);
    client.expect("$-1\r\n".repeat(1000)).await;
    assert!(*door.shard.largest_batch.lock().unwrap() <= 10);
}

#[tokio::test]
async fn a_command_may_arrive_byte_by_byte() {
    let door = door().await;
    let mut client = door.client().await;
    for byte in command(&[b"SET", b"k", b"a\r\nb"]) {
        client.send([byte]).await;
        client.stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    client.expect("+OK\r\n").await;
    client.ask("GET k", "$4\r\na\r\nb\r\n").await;
}

#[tokio::test]
async fn large_values_pass_whole() {
    let door = door().await;
    let mut client = door.client().await;
    let value = vec![b'v'; 3 << 20];
    client.send(command(&[b"SET", b"k", &value])).await;
    client.expect("+OK\r\n").await;
    client.send("GET k\r\n").await;
    client.expect([format!("${}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat()).await;
}

#[tokio::test]
async fn a_watched_key_that_changed_makes_exec_answer_nil() {
    let door = door().await;
    let (mut one, mut two) = (door.client().await, door.client().await);
    one.ask("WATCH k", "+OK\r\n").await;
    two.ask("SET k 1", "+OK\r\n").await;
    one.send("MULTI\r\nSET k 2\r\nEXEC\r\nGET k\r\n").await;
    one.expect("+OK\r\n+QUEUED\r\n*-1\r\n$1\r\n1\r\n").await;
    one.send("WATCH k\r\nMULTI\r\nSET k 2\r\nGET k\r\nEXEC\r\n").await;
    one.expect("+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n$1\r\n2\r\n").await;
}

#[tokio::test]
async fn resp3_is_spoken_after_hello() {
    let door = door().await;
    let mut client = door.client().await;
    client.send("GET none\r\nHELLO 3 SETNAME me\r\nGET none\r\n").await;
    client.expect("$-1\r\n%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n").await;
    client.expect("$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n").await;
    client.expect("$4\r\nrole\r\n$7\r\nreplica\r\n$7\r\nmodules\r\n*0\r\n_\r\n").await;
    client.ask("CLIENT GETNAME", "$2\r\nme\r\n").await;
}

#[tokio::test]
async fn client_reply_off_and_skip_silence() {
    let door = door().await;
    let mut client = door.client().await;
    client.send("CLIENT REPLY SKIP\r\nSET a 1\r\nGET a\r\n").await;
    client.expect("$1\r\n1\r\n").await;
    client.send("CLIENT REPLY OFF\r\nSET a 2\r\nFOO\r\nCLIENT REPLY ON\r\nGET a\r\n").await;
    client.expect("+OK\r\n$1\r\n2\r\n").await;
}

#[tokio::test]
async fn quit_answers_what_came_before_and_ends() {
    let door = door().await;
    let mut client = door.client().await;
    client.send("SET a 1\r\nQUIT\r\nSET a 2\r\n").await;
    assert_eq!(client.rest().await, b"+OK\r\n+OK\r\n");
    door.connected(0).await;
    door.client().await.ask("GET a", "$1\r\n1\r\n").await;
}

#[tokio::test]
async fn a_client_that_closes_its_half_still_gets_its_replies() {
    let door = door().await;
    let mut client = door.client().await;
    client.send("SET a 1\r\nGET a\r\nWAIT 9 0\r\n").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, b"+OK\r\n$1\r\n1\r\n:0\r\n");
    door.connected(0).await;
}

/// Input behind the pipeline limit was once dropped when the client closed its half.
#[tokio::test]
async fn a_client_that_closes_its_half_has_all_executed_that_it_sent() {
    let door = Door::open(Limits { pipeline_max: 100, ..Limits::default() }).await;
    let mut client = door.client().await;
    client.send(format!("{}WAIT 9 0\r\nGET k", "INCR k\r\n".repeat(5000))).await;
    client.stream.shutdown().await.unwrap();
    let expected: String = (1..=5000).map(|number| format!(":{number}\r\n")).collect();
    assert_eq!(client.rest().await, (expected + ":0\r\n").into_bytes());
    door.connected(0).await;
}

/// Replies once counted as unread before the client had a chance to read them.
#[tokio::test]
async fn a_pipeline_with_more_replies_than_may_be_unread_is_answered_to_who_reads() {
    let door = Door::open(Limits { output_bytes_max: 1 << 20, ..Limits::default() }).await;
    let mut client = door.client().await;
    let value = vec![b'v'; 1 << 19];
    client.send(command(&[b"SET", b"k", &value])).await;
    client.expect("+OK\r\n").await;
    client.send("GET k\r\n".repeat(50)).await;
    client.send("PING\r\n").await;
    let reply = [format!("${}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat();
    for _ in 0..50 {
        client.expect(&reply).await;
    }
    client.expect("+PONG\r\n").await;
}

#[tokio::test]
async fn client_kill_ends_others_and_oneself() {
    let door = door().await;
    let (mut one, mut two) = (door.client().await, door.client().await);
    two.ask("CLIENT ID", ":2\r\n").await;
    one.ask("CLIENT KILL ID 2", ":1\r\n").await;
    two.expect_end().await;
    door.connected(1).await;
    one.send("CLIENT LIST\r\n").await;
    let list = one.text().await;
    assert!(list.starts_with("id=1 addr=127.0.0.1:") && list.contains(" cmd=client|list "), "{list}");
    assert_eq!(list.lines().count(), 1);
    one.ask("CLIENT KILL ID 1", ":0\r\n").await;
    one.ask("CLIENT KILL 127.0.0.1:1", "-ERR No such client\r\n").await;
    let own = one.stream.local_addr().unwrap();
    one.ask(&format!("CLIENT KILL {own}"), "+OK\r\n").await;
    one.expect_end().await;
}

#[tokio::test]
async fn wait_ends_when_the_figure_or_the_time_is_reached() {
    let door = door().await;
    let mut client = door.client().await;
    client.ask("WAIT 0 0", ":0\r\n").await;
    client.ask("WAIT 2 1", ":0\r\n").await;
    client.send("WAIT 2 0\r\nPING\r\n").await;
    door.client().await.ask("PING", "+PONG\r\n").await;
    let status = NodeStatus { connected_slaves: 2, ..NodeStatus::default() };
    door.shard.status.send_replace(Arc::new(status));
    client.expect(":2\r\n+PONG\r\n").await;
    client.ask("WAITAOF 1 2 0", "*2\r\n:1\r\n:2\r\n").await;
}

#[tokio::test]
async fn an_unknown_outcome_closes_the_connection_after_earlier_replies() {
    let door = door().await;
    let mut client = door.client().await;
    let closing = command(&[b"GET", CLOSING_KEY]);
    client.send([&b"SET a 1\r\n"[..], &closing, b"SET a 2\r\n"].concat()).await;
    assert_eq!(client.rest().await, b"+OK\r\n");
    door.connected(0).await;
}

#[tokio::test]
async fn a_shard_that_stops_closes_its_connections() {
    let door = door().await;
    let (mut one, mut two) = (door.client().await, door.client().await);
    two.ask("PING", "+PONG\r\n").await;
    one.send(command(&[b"GET", STOPPING_KEY])).await;
    one.expect_end().await;
    two.expect_end().await;
}

#[tokio::test]
async fn one_too_many_is_told_so() {
    let door = Door::open(Limits { clients_max: 2, ..Limits::default() }).await;
    let (mut one, mut two) = (door.client().await, door.client().await);
    one.ask("PING", "+PONG\r\n").await;
    two.ask("PING", "+PONG\r\n").await;
    let mut three = door.client().await;
    assert_eq!(three.rest().await, b"-ERR max number of clients reached\r\n");
    drop(two);
    door.connected(1).await;
    door.client().await.ask("PING", "+PONG\r\n").await;
    assert_eq!(door.front.counters()[2], 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_if_that_is_set() {
    let door = Door::open(Limits { idle_max: Some(Duration::from_millis(20)), ..Limits::default() }).await;
    let mut client = door.client().await;
    client.ask("PING", "+PONG\r\n").await;
    client.expect_end().await;
}

#[tokio::test]
async fn info_tells_what_clients_look_for() {
    let door = door().await;
    let mut client = door.client().await;
    client.send("INFO\r\n").await;
    let info = client.text().await;
    let fields = [
        "redis_version:7.2.4",
        "run_id:",
        "role:slave",
        "loading:0",
        "connected_slaves:0",
        "cluster_enabled:0",
        "arch_bits:",
        "redis_mode:standalone",
        "connected_clients:1",
    ];
    for field in fields {
        assert!(info.lines().any(|line| line.starts_with(field)), "{field} in {info}");
    }
    client.send("QUORATE STATUS\r\n").await;
    let status: NodeStatus = serde_json::from_str(&client.text().await).unwrap();
    // INFO, and the client that asked for it: what only the door knows.
    let activity = Activity { commands: 1, connections: 1, ..Activity::default() };
    assert_eq!(status, NodeStatus { activity, ..NodeStatus::default() });
}
