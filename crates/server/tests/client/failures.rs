//! What becomes of clients when nodes are killed, stand still, or break off in the middle of an answer: hazards 27 and 31 from
//! where a client stands.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use quorate_client::{Client, Error, Loss, Settings};
use rustix::process::Signal;

use super::{
    HOUR, connect,
    cutting::Proxy,
    node,
    support::{Cluster, LONG, ask, eventually, lock_waiting},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_whose_node_stands_still_learns_of_its_loss_by_its_own_clock() {
    let (node, _, _folder, client) = node().await;
    let ttl = Duration::from_secs(1);
    let begun = Instant::now();
    let guard = client.lock("a").ttl(ttl).acquire().await.unwrap();
    node.signal(Signal::STOP);
    assert_eq!(guard.lost().await, Loss::Expired);
    // A renewal may have been sent meanwhile, and an answer lost.
    assert!(begun.elapsed() >= ttl * 9 / 10 && begun.elapsed() < ttl * 3, "{:?}", begun.elapsed());
    assert!(!guard.is_held());
    node.signal(Signal::CONT);
    assert_eq!(guard.release().await, Err(Error::Lost(Loss::Expired)));
    assert!(client.lock("a").wait(LONG).acquire().await.unwrap().is_held());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_outlives_the_node_that_it_was_taken_from() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader(1, None);
    // The client's own node dies, and leads besides.
    let others = [1, 2, 3].into_iter().filter(|node| *node != leader);
    let ports: Vec<_> = std::iter::once(leader).chain(others).map(|node| cluster.port(node)).collect();
    let client = connect(&ports).await;
    let guard = client.lock("a").ttl(Duration::from_secs(6)).acquire().await.unwrap();
    let waiting = tokio::spawn(client.lock("a").wait(LONG).acquire());
    eventually("somebody waits", || (lock_waiting(ports[1], "a") == Some(1)).then_some(()));

    cluster.node(leader).signal(Signal::KILL);
    let lost = tokio::time::timeout(Duration::from_secs(9), guard.lost()).await;
    assert!(lost.is_err() && guard.is_held(), "it was not renewed at another node: {lost:?}");
    guard.release().await.unwrap();
    // Who has waited at the dead node waits at another one.
    waiting.await.unwrap().unwrap().release().await.unwrap();
    client.set("key", "value").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_connections_and_says_nothing_is_passed_over() {
    let (_node, port, _folder, _) = node().await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("quorate://{},{closed},127.0.0.1:{port}", silent.local_addr().unwrap());
    let settings = Settings::new().connect_timeout(Duration::from_millis(200));
    let client = Client::connect_with(&url, settings).await.unwrap();
    client.set("key", "value").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_told_by_name_and_nothing_was_applied() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = Settings::new().patience(Duration::ZERO);
    let error = Client::connect_with(&format!("quorate://{closed}"), settings).await.err().unwrap();
    assert!(matches!(error, Error::NotApplied { .. }), "{error}");
    assert!(error.to_string().contains(&closed.to_string()), "{error}");
}

/// The answer to the first attempt is lost, and the second one is answered the same: nobody waits for the time to live.
#[tokio::test(flavor = "multi_thread")]
async fn an_acquisition_whose_answer_was_lost_takes_effect_once() {
    let (_node, port, _folder, direct) = node().await;
    let proxy = Proxy::to(port);
    let client = connect(&[proxy.port()]).await;
    proxy.cut_answer_of("ACQUIRE");
    let guard = client.lock("a").ttl(HOUR).acquire().await.unwrap();
    assert_eq!(proxy.cuts(), 1);
    direct.set("other", "").await.unwrap();
    guard.release().await.unwrap();
    assert_eq!(lock_waiting(port, "a"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_was_waited_for_and_whose_answer_was_lost_is_told_again() {
    let (_node, port, _folder, direct) = node().await;
    let first = direct.lock("a").ttl(HOUR).acquire().await.unwrap();
    let proxy = Proxy::to(port);
    let client = connect(&[proxy.port()]).await;
    proxy.cut_answer_of("WAIT");
    let second = tokio::spawn(client.lock("a").ttl(HOUR).wait(HOUR).acquire());
    eventually("it waits", || lock_waiting(port, "a").filter(|waiting| *waiting == 1));
    first.release().await.unwrap();
    second.await.unwrap().unwrap().release().await.unwrap();
    assert_eq!((proxy.cuts(), lock_waiting(port, "a")), (1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_whose_answer_was_lost_is_a_release() {
    let (_node, port, _folder, _) = node().await;
    let proxy = Proxy::to(port);
    let guard = connect(&[proxy.port()]).await.lock("a").ttl(HOUR).acquire().await.unwrap();
    proxy.cut_answer_of("RELEASE");
    guard.release().await.unwrap();
    assert_eq!((proxy.cuts(), lock_waiting(port, "a")), (1, None));
}

/// Whoever is told `NotApplied` tries again: a write that was carried out must never be called that.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_was_lost_is_not_repeated_and_a_read_is() {
    let (_node, port, _folder, direct) = node().await;
    let proxy = Proxy::to(port);
    let client = connect(&[proxy.port()]).await;
    proxy.cut_answer_of("value");
    let error = client.set("key", "value").await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    assert_eq!(proxy.cuts(), 1);
    assert_eq!(direct.get("key").await.unwrap().as_deref(), Some(&b"value"[..]));
    proxy.cut_answer_of("key");
    assert_eq!(client.get("key").await.unwrap().as_deref(), Some(&b"value"[..]));
    assert_eq!(proxy.cuts(), 2);
}

/// The second attempt certainly did nothing, and that says nothing of the first.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_done_once_is_not_called_undone_by_a_later_failure() {
    let (_node, port, _folder, _) = node().await;
    let proxy = Proxy::to(port);
    let settings = Settings::new().patience(Duration::from_millis(300));
    let client =
        Client::connect_with(&format!("quorate://127.0.0.1:{}", proxy.port()), settings).await.unwrap();
    let guard = client.lock("a").ttl(HOUR).acquire().await.unwrap();
    proxy.cut_answer_for_good_of("RELEASE");
    let error = guard.release().await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    assert_eq!((proxy.cuts(), lock_waiting(port, "a")), (1, None), "it was carried out");
}

/// Who asked again under the name of what was granted would be told of that grant for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_was_over_before_it_was_heard_of_is_asked_for_anew() {
    let (_node, port, _folder, direct) = node().await;
    let first = direct.lock("a").ttl(HOUR).acquire().await.unwrap();
    let proxy = Proxy::to(port);
    let client = connect(&[proxy.port()]).await;
    proxy.keep_answer_of("WAIT");
    let second = tokio::spawn(client.lock("a").ttl(Duration::from_secs(2)).wait(HOUR).acquire());
    eventually("it waits", || lock_waiting(port, "a").filter(|waiting| *waiting == 1));
    let older = first.token();
    first.release().await.unwrap();
    let granted: u64 = fence(port, "a").expect("it was granted in the same step");
    eventually("its time is over", || fence(port, "a").is_none().then_some(()));
    proxy.let_go();
    let second = second.await.unwrap().unwrap();
    assert!(older.get() < granted && granted < second.token().get());
    assert_eq!(fence(port, "a"), Some(second.token().get()));
    assert!(second.is_held());
}

/// A lock with a time of an hour waited twenty minutes for the answer of a server that stood still.
#[tokio::test(flavor = "multi_thread")]
async fn an_extension_is_asked_for_elsewhere_when_the_answer_does_not_come() {
    let (_node, port, _folder, _) = node().await;
    let proxy = Proxy::to(port);
    for (answer_timeout, ttl) in [(Duration::from_millis(300), HOUR), (LONG, Duration::from_secs(2))] {
        let url = format!("quorate://127.0.0.1:{},127.0.0.1:{port}", proxy.port());
        let settings = Settings::new().answer_timeout(answer_timeout);
        let client = Client::connect_with(&url, settings).await.unwrap();
        let guard = client.lock("a").ttl(HOUR).acquire().await.unwrap();
        proxy.keep_answer_of("EXTEND");
        let begun = Instant::now();
        // To shorten the time leaves less of it for the first attempt.
        guard.extend(ttl).await.unwrap();
        assert!(begun.elapsed() < LONG && guard.is_held(), "{:?}", begun.elapsed());
        guard.release().await.unwrap();
        proxy.let_go();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_at_a_node_that_stands_still_waits_at_another_one() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader(1, None);
    let follower = if leader == 1 { 2 } else { 1 };
    let direct = connect(&[cluster.port(leader)]).await;
    let first = direct.lock("a").ttl(HOUR).acquire().await.unwrap();
    let url = format!("quorate://127.0.0.1:{},127.0.0.1:{}", cluster.port(follower), cluster.port(leader));
    let settings = Settings::new().answer_timeout(Duration::from_secs(1)).patience(LONG);
    let client = Client::connect_with(&url, settings).await.unwrap();
    let second = tokio::spawn(client.lock("a").ttl(HOUR).wait(HOUR).acquire());
    let port = cluster.port(leader);
    eventually("it waits", || lock_waiting(port, "a").filter(|waiting| *waiting == 1));
    cluster.node(follower).signal(Signal::STOP);
    first.release().await.unwrap();
    let second = tokio::time::timeout(LONG, second).await.expect("it waits for ever");
    cluster.node(follower).signal(Signal::CONT);
    second.unwrap().unwrap().release().await.unwrap();
}

/// The token of a lock.
fn fence(port: u16, name: &str) -> Option<u64> {
    ask(port, &["FENCE", name]).map(|token| token.parse().expect("a number"))
}
