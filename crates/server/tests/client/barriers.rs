//! Barriers: nobody goes on before all are there.

use std::time::Duration;

use quorate_client::Error;

use super::{
    HOUR, connect,
    cutting::Proxy,
    node,
    support::{Cluster, LONG, ask, eventually},
};

/// Whether somebody has arrived, and waits: what the set of a barrier tells of it.
fn has_arrived(port: u16, name: &str, id: &str) -> Option<()> {
    (ask(port, &["SISMEMBER", name, id]).as_deref() == Some("1")).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_goes_on_before_all_are_there() {
    let (_node, port, _folder, client) = node().await;
    let barrier = client.barrier("load", 3).ttl(HOUR).wait(HOUR);
    let waiting = |id: &'static str| {
        let barrier = barrier.clone();
        tokio::spawn(async move { barrier.arrive(id).await })
    };
    let (one, latch) = (waiting("one"), tokio::spawn(async move { barrier.reached().await }));
    eventually("one has arrived", || has_arrived(port, "load", "one"));
    let impatient = client.barrier("load", 3).wait(Duration::from_millis(50));
    let missing = impatient.arrive("one").await;
    assert!(
        matches!(missing, Err(Error::Missing { name, waited }) if name == "load" && waited.as_millis() >= 50)
    );
    assert!(matches!(client.barrier("load", 3).arrive("two").await, Err(Error::Missing { .. })));
    assert!(!one.is_finished() && !latch.is_finished());
    assert_eq!(client.barrier("load", 3).arrive("three").await, Ok(3));
    assert_eq!((one.await.unwrap(), latch.await.unwrap()), (Ok(3), Ok(3)));
    let lasts_s: Option<u64> = ask(port, &["TTL", "load"]).and_then(|text| text.parse().ok());
    assert!(lasts_s.is_some_and(|lasts_s| lasts_s <= HOUR.as_secs()), "{lasts_s:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_barrier_is_refused() {
    let (_node, _, _folder, client) = node().await;
    client.set("value", "x").await.unwrap();
    let refused = client.barrier("value", 2).arrive("one").await;
    assert!(matches!(refused, Err(Error::Refused { code, .. }) if code == "WRONGTYPE"));
    assert!(matches!(client.barrier("none", 0).arrive("one").await, Err(Error::Refused { .. })));
}

/// An answer that was lost is asked for again, and who has arrived twice has arrived once.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_cut_off_arrives_again_and_counts_once() {
    let (_node, port, _folder, _) = node().await;
    let proxy = Proxy::to(port);
    let client = connect(&[proxy.port()]).await;
    proxy.cut_answer_of("ARRIVE");
    let barrier = client.barrier("load", 2);
    assert!(matches!(barrier.arrive("one").await, Err(Error::Missing { .. })));
    assert_eq!(proxy.cuts(), 1);
    assert_eq!(barrier.arrive("two").await, Ok(2));
}

/// It asked first without waiting, and again to wait: in between all the others could go on, and end the round.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_arrives_by_the_command_that_waits_and_asks_again_when_it_is_cut_off() {
    let (_node, port, _folder, other) = node().await;
    let proxy = Proxy::to(port);
    let client = connect(&[proxy.port()]).await;
    proxy.cut_answer_of("WAIT");
    let waiting = client.barrier("load", 2).wait(Duration::MAX);
    let waiting = tokio::spawn(async move { waiting.arrive("one").await });
    eventually("one has arrived, and waits", || {
        (has_arrived(port, "load", "one").is_some() && waiting_at(port)).then_some(())
    });
    assert_eq!(other.barrier("load", 2).arrive("two").await, Ok(2));
    assert_eq!(waiting.await.unwrap(), Ok(2));
    assert_eq!(proxy.cuts(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_at_a_node_that_dies_goes_on_waiting_at_another_one() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader(1, None);
    let others: Vec<_> = [1, 2, 3].into_iter().filter(|node| *node != leader).collect();
    let [first, second] = [leader, others[0]].map(|node| cluster.port(node));
    let waiting = connect(&[first, second]).await.barrier("load", 2).wait(LONG * 2);
    let waiting = tokio::spawn(async move { waiting.arrive("one").await });
    eventually("one has arrived", || has_arrived(second, "load", "one"));
    eventually("it waits", || waiting_at(first).then_some(()));
    cluster.node(leader).signal(rustix::process::Signal::KILL);
    assert_eq!(connect(&[second]).await.barrier("load", 2).arrive("two").await, Ok(2));
    assert_eq!(waiting.await.unwrap(), Ok(2));
}

/// Whether a client of a node waits for something.
fn waiting_at(port: u16) -> bool {
    ask(port, &["INFO", "clients"]).is_some_and(|info| info.lines().any(|line| line == "blocked_clients:1"))
}
