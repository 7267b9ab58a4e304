//! Locks that readers share.

use std::time::Duration;

use quorate_client::{Error, Loss};

use super::{
    HOUR, connect,
    cutting::Proxy,
    node,
    support::{LONG, eventually, lock_waiting},
    take_away,
};

#[tokio::test(flavor = "multi_thread")]
async fn readers_share_a_lock_and_its_token_and_a_writer_has_his_turn() {
    let (_node, port, _folder, client) = node().await;
    let first = client.lock("a").shared().acquire().await.unwrap();
    let second = client.lock("a").shared().acquire().await.unwrap();
    assert_eq!(first.token(), second.token());
    let writer = tokio::spawn(client.lock("a").wait(LONG).acquire());
    eventually("the writer waits", || lock_waiting(port, "a").filter(|waiting| *waiting == 1));
    let late = client.lock("a").shared().acquire().await;
    assert!(matches!(late, Err(Error::NotAcquired { .. })), "he passes nobody");
    let shared = first.token();
    first.release().await.unwrap();
    assert!(second.is_held() && !writer.is_finished());
    second.release().await.unwrap();
    let writer = writer.await.unwrap().unwrap();
    assert!(writer.token() > shared);
    let late = tokio::spawn(client.lock("a").shared().wait(LONG).acquire());
    eventually("the reader waits", || lock_waiting(port, "a").filter(|waiting| *waiting == 1));
    writer.release().await.unwrap();
    late.await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reader_keeps_his_own_part() {
    let (_node, port, _folder, client) = node().await;
    let ttl = Duration::from_secs(2);
    let first = client.lock("a").ttl(ttl).shared().acquire().await.unwrap();
    let second = client.lock("a").ttl(ttl).shared().acquire().await.unwrap();
    first.extend(ttl * 2).await.unwrap();
    let writer = connect(&[port]).await.lock("a").wait(ttl * 3).acquire().await;
    assert!(matches!(writer, Err(Error::NotAcquired { .. })));
    assert!(first.is_held() && second.is_held(), "they are renewed in the background");
    drop(second);
    client.settled().await;
    assert!(client.lock("a").acquire().await.is_err(), "the first has it still");
    take_away(port, "a");
    assert_eq!(first.lost().await, Loss::Taken);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_gives_up_takes_nothing_from_the_others() {
    let (_node, port, _folder, client) = node().await;
    let first = client.lock("a").ttl(HOUR).shared().acquire().await.unwrap();
    for micros in (0..6_000).step_by(300) {
        let acquired = client.lock("a").ttl(HOUR).shared().acquire();
        drop(tokio::time::timeout(Duration::from_micros(micros), acquired).await);
        client.settled().await;
    }
    assert_eq!(lock_waiting(port, "a"), Some(0));
    first.release().await.unwrap();
    assert_eq!(lock_waiting(port, "a"), None, "nobody else has a part of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reader_asks_again_takes_effect_once() {
    let (_node, port, _folder, direct) = node().await;
    let proxy = Proxy::to(port);
    let client = connect(&[proxy.port()]).await;
    let other = direct.lock("a").ttl(HOUR).shared().acquire().await.unwrap();
    proxy.cut_answer_of("ACQUIRE");
    let guard = client.lock("a").ttl(HOUR).shared().acquire().await.unwrap();
    proxy.cut_answer_of("RELEASE");
    guard.release().await.unwrap();
    assert_eq!((proxy.cuts(), lock_waiting(port, "a")), (2, Some(0)));
    other.release().await.unwrap();
    assert_eq!(lock_waiting(port, "a"), None);
}
