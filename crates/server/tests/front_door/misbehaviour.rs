//! Clients that do not behave: each gets an error or is closed, and everybody else is served as before.

use std::{io::Write, sync::Mutex, time::Duration};

use quorate::{connection::Limits, resp::FrameLimits};

use crate::client::{Door, command};

#[tokio::test]
async fn garbage_is_answered_with_an_error_and_closed() {
    let door = Door::open(Limits::default()).await;
    let cases: [(&[u8], &str); 6] = [
        (b"*1\r\n$-5\r\n", "invalid bulk length"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*999999999\r\n", "invalid multibulk length"),
        (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
        (b"*1\r\n$999999999\r\n", "invalid bulk length"),
        (b"SET 'a\r\n", "unbalanced quotes in request"),
    ];
    for (input, text) in cases {
        let mut client = door.client().await;
        client.send([b"PING\r\n", input, b"PING\r\n"].concat()).await;
        let rest = client.rest().await;
        assert_eq!(
            rest,
            format!("+PONG\r\n-ERR Protocol error: {text}\r\n").into_bytes(),
            "{}",
            input.escape_ascii()
        );
    }
    door.connected(0).await;
}

#[tokio::test]
async fn random_bytes_harm_nobody() {
    let door = Door::open(Limits::default()).await;
    let mut state = 1_u64;
    for _ in 0..50 {
        let mut bytes = vec![0; 3000];
        for byte in &mut bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 33) as u8;
        }
        let mut client = door.client().await;
        client.send(&bytes).await;
        drop(client);
    }
    door.connected(0).await;
    door.client().await.ask("PING", "+PONG\r\n").await;
}

#[tokio::test]
async fn who_sends_too_much_gets_to_read_why() {
    let frame = FrameLimits { argument_bytes_max: 1000, ..FrameLimits::default() };
    let door = Door::open(Limits { frame, ..Limits::default() }).await;
    let mut client = door.client().await;
    client.send(command(&[b"SET", b"k", &[b'v'; 100_000]])).await;
    assert_eq!(client.rest().await, b"-ERR Protocol error: invalid bulk length\r\n");
    let mut client = door.client().await;
    client.send(vec![b'x'; 100_000]).await;
    assert_eq!(client.rest().await, b"-ERR Protocol error: too big inline request\r\n");
}

#[tokio::test]
async fn a_browsers_request_is_closed_and_not_executed() {
    let door = Door::open(Limits::default()).await;
    let mut client = door.client().await;
    client.send("POST / HTTP/1.1\r\nSET a 1\r\n").await;
    client.expect_end().await;
    door.client().await.ask("GET a", "$-1\r\n").await;
}

#[tokio::test]
async fn half_a_command_holds_only_what_it_sent() {
    let door = Door::open(Limits::default()).await;
    let mut halves = Vec::new();
    for _ in 0..50 {
        let mut client = door.client().await;
        client.send("*100000\r\n$10000000\r\nx").await;
        halves.push(client);
    }
    let mut client = door.client().await;
    client.ask("PING", "+PONG\r\n").await;
    assert_eq!(door.front.buffered_bytes(), 0, "a few KiB each are not counted");
    drop(halves);
    door.connected(1).await;
}

/// What the process logs, of all tests together.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off_and_the_log_says_so() {
    tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init();
    let door = Door::open(Limits { output_bytes_max: 1 << 20, ..Limits::default() }).await;
    let mut reader = door.client().await;
    reader.send(command(&[b"SET", b"k", &[b'v'; 100_000]])).await;
    reader.expect("+OK\r\n").await;

    let mut deaf = door.client().await;
    deaf.ask("PING", "+PONG\r\n").await;
    deaf.send("GET k\r\n".repeat(1000)).await;
    door.connected(1).await;
    reader.ask("PING", "+PONG\r\n").await;
    assert_eq!(door.front.buffered_bytes(), 0);
    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    let own = format!(
        "client={} reason=\"its unread replies exceed max-output-bytes\"",
        deaf.stream.local_addr().unwrap()
    );
    assert!(log.lines().any(|line| line.contains(&own)), "{log}");
}

/// Such a reply was once encoded whole before anybody looked at its size.
#[tokio::test]
async fn a_reply_larger_than_may_be_unread_closes_its_connection_after_those_before_it() {
    let door = Door::open(Limits { output_bytes_max: 1 << 20, ..Limits::default() }).await;
    let mut client = door.client().await;
    client.send(command(&[b"SET", b"k", &[b'v'; 100_000]])).await;
    client.expect("+OK\r\n").await;
    client.send(format!("STRLEN k\r\nMGET{}\r\nPING\r\n", " k".repeat(60))).await;
    assert_eq!(client.rest().await, b":100000\r\n");
    door.connected(0).await;
    door.client().await.ask("PING", "+PONG\r\n").await;
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off_in_time() {
    let limits = Limits { output_stall_max: Duration::from_millis(50), ..Limits::default() };
    let door = Door::open(limits).await;
    let mut client = door.client().await;
    client.send(command(&[b"SET", b"k", &[b'v'; 100_000]])).await;
    client.expect("+OK\r\n").await;
    client.send("GET k\r\n".repeat(300)).await;
    door.connected(0).await;
}

#[tokio::test]
async fn all_clients_together_hold_no_more_than_the_budget() {
    let door = Door::open(Limits { buffers_bytes_max: 4 << 20, ..Limits::default() }).await;
    let mut reader = door.client().await;
    reader.send(command(&[b"SET", b"k", &[b'v'; 100_000]])).await;
    reader.expect("+OK\r\n").await;
    let mut deaf = Vec::new();
    for _ in 0..4 {
        let mut client = door.client().await;
        client.ask("PING", "+PONG\r\n").await;
        client.send("GET k\r\n".repeat(1000)).await;
        deaf.push(client);
    }
    door.connected(1).await;
    reader.ask("PING", "+PONG\r\n").await;
    assert_eq!(door.front.buffered_bytes(), 0);
}
