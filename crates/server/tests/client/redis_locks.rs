//! The classic lock of Redis, against a server that speaks like one. `cargo xtask compat` has it meet Redis itself.

use std::time::Duration;

use quorate_client::{Client, Error, Loss, Redis, Settings};

use super::{
    HOUR,
    cutting::Proxy,
    node,
    support::{self, eventually},
};

async fn connect(port: u16) -> Client<Redis> {
    let settings = Settings::new().patience(support::LONG);
    Client::connect_redis_with(&format!("redis://127.0.0.1:{port}"), settings).await.expect("a client")
}

fn value(port: u16, key: &str) -> Option<String> {
    support::ask(port, &["GET", key])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_lock_has_one_holder_who_keeps_it_and_is_waited_for() {
    let (_node, port, _folder, _) = node().await;
    let client = connect(port).await;
    let ttl = Duration::from_secs(2);
    let first = client.lock("a").ttl(ttl).owner("me").acquire().await.unwrap();
    assert!(value(port, "a").unwrap().starts_with("me "));
    let other = client.lock("a").wait(ttl * 3).acquire().await;
    assert!(matches!(other, Err(Error::NotAcquired { waited, .. }) if waited >= ttl * 3));
    assert!(first.is_held(), "it is renewed in the background");
    let second = tokio::spawn(client.lock("a").wait(HOUR).acquire());
    first.release().await.unwrap();
    assert!(second.await.unwrap().unwrap().is_held());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_lock_of_somebody_else_is_neither_extended_nor_released() {
    let (_node, port, _folder, _) = node().await;
    let guard = connect(port).await.lock("a").ttl(Duration::from_secs(3)).acquire().await.unwrap();
    support::ask(port, &["SET", "a", "somebody else"]);
    assert_eq!(guard.extend(HOUR).await, Err(Error::Lost(Loss::Taken)));
    assert_eq!(guard.lost().await, Loss::Taken);
    assert_eq!(guard.release().await, Err(Error::Lost(Loss::Taken)));
    assert_eq!(value(port, "a").as_deref(), Some("somebody else"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_lock_is_released_when_its_guard_is_dropped_or_its_acquisition_given_up() {
    let (_node, port, _folder, _) = node().await;
    let client = connect(port).await;
    drop(client.lock("a").ttl(HOUR).acquire().await.unwrap());
    client.settled().await;
    assert_eq!(value(port, "a"), None);
    for micros in (0..4_000).step_by(200) {
        let acquired = client.lock("a").ttl(HOUR).acquire();
        drop(tokio::time::timeout(Duration::from_micros(micros), acquired).await);
        client.settled().await;
        assert_eq!(value(port, "a"), None, "given up after {micros} us");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_acquisition_whose_answer_was_lost_is_known_again_by_its_value() {
    let (_node, port, _folder, _) = node().await;
    let proxy = Proxy::to(port);
    let client = connect(proxy.port()).await;
    proxy.cut_answer_of("SET");
    let guard = client.lock("a").ttl(HOUR).wait(HOUR).acquire().await.unwrap();
    proxy.cut_answer_of("EVAL");
    guard.release().await.unwrap();
    assert_eq!(proxy.cuts(), 2);
    eventually("it is free", || value(port, "a").is_none().then_some(()));
}
