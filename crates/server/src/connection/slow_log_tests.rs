//! What is remembered, how it is shortened, and what of it is told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::*;
use crate::{
    connection::{FrontDoor, Limits, exchange::Exchange},
    handle::{Answer, Reply, ShardHandle},
    resp::Frame,
    status::NodeStatus,
    subscriptions::Subscriptions,
};

fn frame(words: &[&str]) -> Frame {
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        bytes += &format!("${}\r\n{word}\r\n", word.len());
    }
    let bytes = Bytes::from(bytes);
    Frame { arguments: read_again(&bytes, words.len()).0, bytes }
}

fn kept(words: &[&str]) -> Vec<String> {
    shortened(&frame(words).bytes).iter().map(|word| word.escape_ascii().to_string()).collect()
}

/// A connection whose shard the test plays; every command is slow that takes a millisecond.
struct Bench {
    exchange: Exchange,
    _status: watch::Sender<Arc<NodeStatus>>,
}

impl Bench {
    fn new() -> Self {
        let (inputs, _) = crossbeam_channel::unbounded();
        let (status, watched) = watch::channel(Arc::new(NodeStatus::default()));
        let shard = ShardHandle::new(inputs, watched, Subscriptions::new().0);
        let slow_log = SlowLogSettings { slower_than_us: 1000, entries_max: 3 };
        let front = FrontDoor::new(shard, Limits { slow_log, ..Limits::default() }, BTreeMap::new(), 7379);
        let (id, _) = front.shard.connect();
        let endpoints =
            Endpoints { remote: ([127, 0, 0, 1], 5).into(), local: ([127, 0, 0, 1], 7379).into() };
        let client = front.clients.admit(id, endpoints, 10).expect("there is room");
        Self { exchange: Exchange::new(front, client), _status: status }
    }

    fn send(&mut self, line: &str) {
        self.exchange.execute(frame(&line.split(' ').collect::<Vec<_>>()));
    }

    /// The shard's answer, so many milliseconds later.
    fn answer(&mut self, reply: Reply, millis: u64) {
        self.exchange.now += Duration::from_millis(millis);
        let now = self.exchange.now;
        self.exchange.answer(Answer::Reply(reply), now).expect("an answer was awaited");
    }

    /// What is remembered, the latest first: number, milliseconds, first two arguments.
    fn remembered(&self) -> String {
        let show = |entry: &Entry| {
            let words = entry.arguments.iter().take(2).map(|word| word.escape_ascii().to_string());
            format!("{}:{}ms {}", entry.number, entry.micros / 1000, words.collect::<Vec<_>>().join(" "))
        };
        self.exchange.front.slow_log.latest(9).iter().map(show).collect::<Vec<_>>().join(", ")
    }
}

#[test]
fn arguments_are_shortened_as_redis_does() {
    let exact = "x".repeat(128);
    assert_eq!(kept(&["SET", "k", &exact]), ["SET", "k", &exact]);
    assert_eq!(kept(&["SET", "k", &"x".repeat(130)])[2], format!("{exact}... (2 more bytes)"));
    let words: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(kept(&words[..32]), &words[..32]);
    let many = kept(&words);
    assert_eq!((many.len(), &many[30][..], &many[31][..]), (32, "30", "... (9 more arguments)"));
}

#[test]
fn what_is_kept_does_not_hold_the_read_buffer() {
    let frame = frame(&["SET", "k", "v"]).bytes;
    let kept = shortened(&frame);
    assert!(frame.is_unique(), "{kept:?}");
}

#[test]
fn secrets_are_not_kept() {
    assert_eq!(kept(&["auth", "secret"]), ["auth", "(redacted)"]);
    assert_eq!(kept(&["AUTH", "me", "secret"]), ["AUTH", "(redacted)", "(redacted)"]);
    assert_eq!(
        kept(&["HELLO", "3", "SETNAME", "x", "AUTH", "me", "secret"]),
        ["HELLO", "3", "SETNAME", "x", "AUTH", "(redacted)", "(redacted)"]
    );
    assert_eq!(kept(&["HELLO", "3", "AUTH"]), ["HELLO", "3", "AUTH"]);
    assert_eq!(
        kept(&["HELLO", "3", "SETNAME", "auth", "AUTH", "me", "secret"]),
        ["HELLO", "3", "SETNAME", "auth", "AUTH", "(redacted)", "(redacted)"]
    );
    assert_eq!(
        kept(&["HELLO", "3", "AUTH", "a", "b", "AUTH", "c", "secret"]),
        ["HELLO", "3", "AUTH", "(redacted)", "(redacted)", "AUTH", "(redacted)", "(redacted)"]
    );
    assert_eq!(kept(&["HELLO", "3", "oops", "secret"]), ["HELLO", "3", "(redacted)", "(redacted)"]);
    assert_eq!(
        kept(&["CONFIG", "SET", "maxclients", "requirepass", "RequirePass", "secret"]),
        ["CONFIG", "SET", "maxclients", "requirepass", "RequirePass", "(redacted)"]
    );
    assert_eq!(kept(&["SET", "auth", "known"]), ["SET", "auth", "known"]);
}

#[test]
fn only_what_took_long_is_remembered_and_the_latest_of_it() {
    let mut bench = Bench::new();
    bench.send("GET fast");
    bench.answer(Reply::Null, 0);
    assert_eq!(bench.remembered(), "");
    for number in 0..4 {
        bench.send(&format!("SET k {number}"));
        bench.answer(Reply::ok(), number + 1);
    }
    assert_eq!(bench.remembered(), "3:4ms SET k, 2:3ms SET k, 1:2ms SET k");
    bench.exchange.front.slow_log.forget();
    assert_eq!(bench.remembered(), "");
    bench.send("GET k");
    bench.answer(Reply::Null, 7);
    assert_eq!(bench.remembered(), "4:7ms GET k", "numbers go on");
}

#[test]
fn a_pipeline_is_charged_from_when_it_was_read() {
    let mut bench = Bench::new();
    bench.send("SET a 1");
    bench.send("GET a");
    bench.answer(Reply::ok(), 2);
    bench.answer(Reply::bulk("1"), 3);
    assert_eq!(bench.remembered(), "1:5ms GET a, 0:2ms SET a");
}

#[test]
fn what_waits_by_design_is_not_slow_and_neither_is_what_stands_behind_it() {
    let mut bench = Bench::new();
    bench.send("BLPOP q 0");
    assert!(!bench.exchange.accepts());
    bench.answer(Reply::NullArray, 1000);
    bench.send("GET k");
    bench.answer(Reply::Null, 0);
    bench.send("SUBSCRIBE c");
    bench.answer(Reply::status("PONG"), 1000);
    bench.send("WAIT 1 1000");
    bench.exchange.now += Duration::from_secs(1);
    let now = bench.exchange.now;
    bench.exchange.poll_wait(&NodeStatus::default(), now);
    assert_eq!(bench.remembered(), "");
}

#[test]
fn a_transaction_is_one_command() {
    let mut bench = Bench::new();
    for line in ["MULTI", "SET k v", "GET k", "EXEC"] {
        bench.send(line);
    }
    bench.answer(Reply::Array(vec![Reply::ok(), Reply::bulk("v")]), 5);
    assert_eq!(bench.remembered(), "0:5ms EXEC");
}

#[test]
fn what_is_never_answered_has_taken_until_its_connection_ends() {
    let mut bench = Bench::new();
    bench.send("SET k v");
    bench.send("GET k");
    bench.exchange.now += Duration::from_secs(15);
    let now = bench.exchange.now;
    let closed = bench.exchange.answer(Answer::Close("command timed out"), now);
    assert_eq!(closed, Err("command timed out"));
    bench.exchange.observe_unanswered(now);
    assert_eq!(bench.remembered(), "1:15000ms GET k, 0:15000ms SET k");
}

#[test]
fn no_command_holds_a_read_buffer_for_longer_than_its_reply_takes() {
    let mut bench = Bench::new();
    for line in ["PING", "NONSENSE", "GET", "MULTI", "SET k v", "DISCARD", "QUORATE STATUS", "SLOWLOG LEN"] {
        let frame = frame(&line.split(' ').collect::<Vec<_>>());
        let bytes = frame.bytes.clone();
        bench.exchange.execute(frame);
        assert!(bytes.is_unique(), "{line}");
    }
}

#[test]
fn settings_are_changed_all_or_none() {
    let mut bench = Bench::new();
    let mut says = |line: &str| {
        bench.send(line);
        bench.exchange.output().split().escape_ascii().to_string()
    };
    let failed = "-ERR CONFIG SET failed (possibly related to argument \\'slowlog-max-len\\') - ";
    assert_eq!(
        says("CONFIG SET slowlog-log-slower-than -1 slowlog-max-len 10001"),
        format!("{failed}argument must be between 0 and 10000 inclusive\\r\\n")
    );
    assert_eq!(
        says("CONFIG SET slowlog-max-len 5 SLOWLOG-max-len 5"),
        "-ERR CONFIG SET failed (possibly related to argument \\'SLOWLOG-max-len\\') - duplicate parameter\\r\\n"
    );
    assert_eq!(says("CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 5 databases 16"), "+OK\\r\\n");
    let settings = SlowLogSettings { slower_than_us: 0, entries_max: 5 };
    assert_eq!(bench.exchange.front.slow_log.settings(), settings);
}
