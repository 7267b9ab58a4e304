//! Keys with values.

use std::time::{Duration, Instant};

use quorate_client::{Error, KeyWatch};
use rustix::process::Signal;

use super::{
    connect, node,
    support::{Cluster, LONG, ask},
};

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_set_compared_and_removed() {
    let (_node, _, _folder, client) = node().await;
    assert_eq!(client.get("a").await.unwrap(), None);
    client.set("a", [0, 255, b'\r', b'\n']).await.unwrap();
    assert_eq!(client.get("a").await.unwrap().as_deref(), Some(&[0, 255, b'\r', b'\n'][..]));

    assert!(!client.set_if_absent("a", "1").await.unwrap());
    assert!(client.set_if_absent("b", "1").await.unwrap());
    assert!(!client.compare_and_set("b", "2", "3").await.unwrap());
    assert!(client.compare_and_set("b", "1", "3").await.unwrap());
    assert!(!client.compare_and_set("none", "1", "3").await.unwrap());
    assert!(!client.compare_and_delete("b", "1").await.unwrap());
    assert!(client.compare_and_delete("b", "3").await.unwrap());
    assert!(client.delete("a").await.unwrap() && !client.delete("a").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_be_for_a_time() {
    let (_node, port, _folder, client) = node().await;
    client.set_for("a", "1", Duration::from_secs(50)).await.unwrap();
    let left: i64 = redis::cmd("PTTL").arg("a").query(&mut super::support::connect(port)).unwrap();
    assert!((1..=50_000).contains(&left), "{left}");
    let none = client.set_for("a", "1", Duration::ZERO).await;
    assert!(matches!(none, Err(Error::Refused { code, .. }) if code == "ERR"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_read_says_how_old_it_may_be() {
    let (_node, _, _folder, client) = node().await;
    client.set("a", "1").await.unwrap();
    let age = loop {
        let read = client.get_stale("a").await.unwrap();
        assert_eq!(read.value.as_deref(), Some(&b"1"[..]));
        // A node that has just begun to lead does not know it yet.
        if let Some(age) = read.age {
            break age;
        }
    };
    assert!(age < LONG, "{age:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_value_is_refused() {
    let (_node, port, _folder, client) = node().await;
    ask(port, &["RPUSH", "list", "1"]);
    assert!(matches!(client.get("list").await, Err(Error::Refused { code, .. }) if code == "WRONGTYPE"));
}

/// The next value, which has to come.
async fn next(watch: &mut KeyWatch) -> Option<String> {
    let value = tokio::time::timeout(LONG, watch.next()).await.expect("a change").expect("it is told");
    value.map(|value| String::from_utf8(value).expect("text"))
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_value_of_a_watched_key_is_told_until_there_is_none() {
    let (_node, port, _folder, client) = node().await;
    let mut watch = client.watch("a");
    let early = watch.next().await;
    assert!(matches!(early, Err(Error::Invalid { what: "notify-keyspace-events", .. })), "{early:?}");
    ask(port, &["CONFIG", "SET", "notify-keyspace-events", "KA"]);
    assert_eq!(next(&mut watch).await, None);
    client.set("a", "1").await.unwrap();
    assert_eq!(next(&mut watch).await, text("1"));
    // Whoever gives up has missed nothing; what is the same as before is not told.
    drop(tokio::time::timeout(Duration::from_millis(1), watch.next()).await);
    ask(port, &["SET", "a", "1"]);
    ask(port, &["APPEND", "a", "2"]);
    assert_eq!(next(&mut watch).await, text("12"));
    client.set_for("a", "3", Duration::from_millis(20)).await.unwrap();
    while next(&mut watch).await.is_some() {}
    ask(port, &["RPUSH", "a", "1"]);
    let other = watch.next().await;
    assert!(matches!(other, Err(Error::Refused { code, .. }) if code == "WRONGTYPE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_key_is_watched_at_another_node_when_its_own_stands_still() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader(1, None);
    let mut others = [1, 2, 3].into_iter().filter(|node| *node != leader);
    let (watched, other) = (others.next().unwrap(), others.next().unwrap());
    ask(cluster.port(leader), &["CONFIG", "SET", "notify-keyspace-events", "KA"]);
    let client = connect(&[cluster.port(leader)]).await;
    let mut watch = connect(&[cluster.port(watched), cluster.port(other)]).await.watch("a");
    assert_eq!(next(&mut watch).await, None);
    cluster.node(watched).signal(Signal::STOP);
    client.set("a", "1").await.unwrap();
    // Also one who never waits for long gets away from it.
    let begun = Instant::now();
    let value = loop {
        match tokio::time::timeout(Duration::from_millis(300), watch.next()).await {
            Ok(value) => break value.expect("it is told"),
            Err(_) => assert!(begun.elapsed() < LONG, "the watcher is stuck"),
        }
    };
    assert_eq!(value.as_deref(), Some(&b"1"[..]));
    client.set("a", "2").await.unwrap();
    assert_eq!(next(&mut watch).await, text("2"));
    cluster.node(watched).signal(Signal::CONT);
}
