//! Locks of one node.

use std::time::{Duration, Instant};

use quorate_client::{Error, Loss};

use super::{
    HOUR, connect, node,
    support::{eventually, lock_waiting},
    take_away,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_has_one_holder_and_each_holder_a_greater_token() {
    let (_node, _, _folder, client) = node().await;
    let first = client.lock("a").acquire().await.unwrap();
    let refused = client.lock("a").acquire().await.err();
    assert!(matches!(refused, Some(Error::NotAcquired { name, .. }) if name == "a"));
    let other = client.lock("b").acquire().await.unwrap();
    assert!(other.is_held() && other.token() > first.token());

    let older = first.token();
    first.release().await.unwrap();
    let second = client.lock("a").acquire().await.unwrap();
    assert!(second.token() > older);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_gets_the_lock_when_it_is_released() {
    let (_node, port, _folder, client) = node().await;
    let first = client.lock("a").ttl(HOUR).acquire().await.unwrap();
    let second = tokio::spawn(client.lock("a").ttl(HOUR).wait(HOUR).acquire());
    eventually("somebody waits", || (lock_waiting(port, "a") == Some(1)).then_some(()));
    let older = first.token();
    first.release().await.unwrap();
    assert!(second.await.unwrap().unwrap().token() > older);
}

/// It may have been given the lock long before it has heard of it, so it asks for its time anew.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_waited_for_longer_than_its_time_to_live_has_all_of_that_before_it() {
    let (_node, _, _folder, client) = node().await;
    let ttl = Duration::from_secs(2);
    let first = client.lock("a").ttl(ttl).acquire().await.unwrap();
    let second = tokio::spawn(client.lock("a").ttl(ttl).wait(HOUR).acquire());
    // Keeps it for three times as long as it lasts by itself.
    let third = client.lock("a").ttl(ttl).wait(ttl * 3).acquire().await;
    assert!(matches!(third, Err(Error::NotAcquired { waited, .. }) if waited >= ttl * 3));
    assert!(first.is_held(), "it is renewed in the background");
    first.release().await.unwrap();
    let second = second.await.unwrap().unwrap();
    assert!(second.is_held() && second.remaining() > ttl / 3, "{:?}", second.remaining());
    second.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_was_taken_away_is_lost_and_its_writes_are_refused() {
    let (_node, port, _folder, client) = node().await;
    let guard = client.lock("a").ttl(Duration::from_secs(3)).acquire().await.unwrap();
    guard.set("rows", "1").await.unwrap();
    take_away(port, "a");
    assert_eq!(guard.set("rows", "2").await, Err(Error::Lost(Loss::Taken)));
    assert_eq!(guard.lost().await, Loss::Taken);
    assert!(!guard.is_held() && guard.remaining().is_zero());
    assert_eq!(guard.delete("rows").await, Err(Error::Lost(Loss::Taken)));
    assert_eq!(client.get("rows").await.unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(guard.release().await, Err(Error::Lost(Loss::Taken)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_renewal_notices_that_a_lock_was_taken_away() {
    let (_node, port, _folder, client) = node().await;
    let guard = client.lock("a").ttl(Duration::from_secs(3)).acquire().await.unwrap();
    let lost = guard.lost();
    take_away(port, "a");
    let begun = Instant::now();
    assert_eq!(lost.await, Loss::Taken);
    assert!(begun.elapsed() < Duration::from_millis(2_500), "before its time was over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_dropped_releases_its_lock_wherever_that_is() {
    let (_node, port, _folder, client) = node().await;
    drop(client.lock("a").ttl(HOUR).acquire().await.unwrap());
    client.settled().await;
    assert_eq!(lock_waiting(port, "a"), None);

    let guard = client.lock("a").ttl(HOUR).acquire().await.unwrap();
    std::thread::spawn(move || drop(guard)).join().unwrap();
    client.settled().await;
    assert_eq!(lock_waiting(port, "a"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_of_a_loss_hears_of_a_release_too() {
    let (_node, _, _folder, client) = node().await;
    let guard = client.lock("a").acquire().await.unwrap();
    let lost = tokio::spawn(guard.lost());
    guard.release().await.unwrap();
    assert_eq!(lost.await.unwrap(), Loss::Released);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_holds_for_renewals_too() {
    let (_node, port, _folder, client) = node().await;
    let guard = client.lock("a").ttl(Duration::from_secs(2)).acquire().await.unwrap();
    guard.extend(HOUR).await.unwrap();
    assert!(guard.remaining() > HOUR / 2);
    let short = Duration::from_millis(300);
    guard.extend(short).await.unwrap();
    assert!(guard.remaining() < short);
    // By then it was renewed several times, for as long each time.
    let waited = connect(&[port]).await.lock("a").wait(short * 4).acquire().await;
    assert!(matches!(waited, Err(Error::NotAcquired { .. })));
    assert!(guard.is_held() && guard.remaining() < short);
    assert!(matches!(guard.extend(Duration::ZERO).await, Err(Error::Invalid { what: "ttl", .. })));
}

/// Whenever an acquisition is given up, nothing is held and nobody waits in its name: the time to live would last an hour.
#[tokio::test(flavor = "multi_thread")]
async fn an_acquisition_that_is_given_up_leaves_nothing_behind() {
    let (_node, port, _folder, client) = node().await;
    for micros in (0..6_000).step_by(150) {
        let acquired = client.lock("a").ttl(HOUR).acquire();
        let given_up = tokio::time::timeout(Duration::from_micros(micros), acquired).await;
        drop(given_up);
        client.settled().await;
        assert_eq!(lock_waiting(port, "a"), None, "given up after {micros} us");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_the_queue_that_is_given_up_is_nobodys() {
    let (_node, port, _folder, client) = node().await;
    let first = client.lock("a").ttl(HOUR).acquire().await.unwrap();
    let second = tokio::spawn(client.lock("a").ttl(HOUR).wait(HOUR).acquire());
    eventually("somebody waits", || (lock_waiting(port, "a") == Some(1)).then_some(()));
    second.abort();
    eventually("nobody waits any longer", || (lock_waiting(port, "a") == Some(0)).then_some(()));

    // Given up at the very time at which it is served.
    let third = tokio::spawn(client.lock("a").ttl(HOUR).wait(HOUR).acquire());
    eventually("somebody waits", || (lock_waiting(port, "a") == Some(1)).then_some(()));
    let (released, ()) = tokio::join!(first.release(), async { third.abort() });
    released.unwrap();
    drop(third.await);
    client.settled().await;
    assert_eq!(lock_waiting(port, "a"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_refused_before_anything_is_sent() {
    let (_node, port, _folder, client) = node().await;
    let short = client.lock("a").ttl(Duration::from_millis(99)).acquire().await;
    assert!(matches!(short, Err(Error::Invalid { what: "ttl", .. })));
    let nameless = client.lock("").acquire().await;
    assert!(matches!(nameless, Err(Error::Invalid { what: "name", .. })));
    client.set("text", "").await.unwrap();
    let other = client.lock("text").acquire().await;
    assert!(matches!(other, Err(Error::Refused { code, .. }) if code == "WRONGTYPE"));
    assert_eq!(lock_waiting(port, "a"), None);
}
