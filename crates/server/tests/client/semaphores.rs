//! Semaphores: so many have permits at a time, and the next ones in their turn.

use std::time::Duration;

use quorate_client::{Error, Loss};

use super::{
    HOUR, connect, node,
    support::{self, LONG, ask, eventually},
};

/// How many permits are free, and how many wait for some; `None` if nobody has any.
fn free_and_waiting(port: u16, name: &str) -> Option<(u64, u64)> {
    let mut connection = support::connect(port);
    let info: redis::Value =
        redis::cmd("SEMAPHORE").arg("INFO").arg(name).query(&mut connection).expect("it serves");
    let number = |wanted: &str| {
        let mut fields = info.as_map_iter()?;
        let (_, value) = fields.find(|(field, _)| **field == redis::Value::BulkString(wanted.into()))?;
        if let redis::Value::Int(number) = value { u64::try_from(*number).ok() } else { None }
    };
    Some((number("free")?, number("waiting")?))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_there_are_have_permits_and_the_next_one_waits_for_his() {
    let (_node, port, _folder, client) = node().await;
    let semaphore = |client: &quorate_client::Client| client.semaphore("a").permits(3).ttl(HOUR);
    let (two, one) = (semaphore(&client).count(2), semaphore(&client).owner("one"));
    let (two, one) = (two.acquire().await.unwrap(), one.acquire().await.unwrap());
    assert!(one.token() > two.token() && one.is_held() && two.is_held());
    assert_eq!((two.name(), two.count(), one.count()), ("a", 2, 1));
    let refused = semaphore(&client).acquire().await;
    assert!(matches!(refused, Err(Error::NotAcquired { name, .. }) if name == "a"));
    let other = client.semaphore("a").permits(4).acquire().await;
    assert!(matches!(other, Err(Error::Refused { code, .. }) if code == "ERR"));

    let waiting = tokio::spawn(semaphore(&connect(&[port]).await).count(2).wait(HOUR).acquire());
    eventually("it is waited for", || free_and_waiting(port, "a").filter(|told| *told == (0, 1)));
    one.release().await.unwrap();
    assert_eq!(free_and_waiting(port, "a"), Some((1, 1)), "one is not enough");
    drop(two);
    let served = waiting.await.unwrap().unwrap();
    assert_eq!(free_and_waiting(port, "a"), Some((1, 0)));
    served.release().await.unwrap();
    client.settled().await;
    assert_eq!(free_and_waiting(port, "a"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn permits_are_kept_beyond_their_time_to_live_and_lost_when_they_are_taken_away() {
    let (_node, port, _folder, client) = node().await;
    let ttl = Duration::from_secs(2);
    let permit = client.semaphore("a").ttl(ttl).acquire().await.unwrap();
    let other = connect(&[port]).await.semaphore("a").wait(ttl * 3).acquire().await;
    assert!(matches!(other, Err(Error::NotAcquired { waited, .. }) if waited >= ttl * 3));
    assert!(permit.is_held() && permit.remaining() <= ttl);
    permit.extend(ttl * 3).await.unwrap();
    assert!(permit.remaining() > ttl);
    ask(port, &["DEL", "a"]);
    assert_eq!(permit.lost().await, Loss::Taken);
    assert_eq!(permit.release().await, Err(Error::Lost(Loss::Taken)));
}

#[tokio::test(flavor = "multi_thread")]
async fn permits_that_are_given_up_are_returned() {
    let (_node, port, _folder, client) = node().await;
    for micros in (0..6_000).step_by(300) {
        let acquired = client.semaphore("a").permits(2).ttl(HOUR).acquire();
        drop(tokio::time::timeout(Duration::from_micros(micros), acquired).await);
        client.settled().await;
        assert_eq!(free_and_waiting(port, "a"), None, "given up after {micros} us");
    }
}

/// A session has several permits of one semaphore, each under a token of its own, and the greatest is not the only one.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_its_permits_and_learns_which_of_them_are_gone() {
    let (_node, port, _folder, client) = node().await;
    let ttl = Duration::from_secs(3);
    let session = client.session().ttl(ttl).open().await.unwrap();
    let permit = async || session.semaphore("a").permits(3).acquire().await.unwrap();
    let (first, second, third) = (permit().await, permit().await, permit().await);
    let other = connect(&[port]).await.semaphore("a").permits(3).wait(ttl * 3).acquire().await;
    assert!(matches!(other, Err(Error::NotAcquired { .. })));
    assert!(first.is_held() && second.is_held() && third.is_held());
    ask(port, &["SEMAPHORE", "RELEASE", "a", &second.token().to_string()]);
    assert_eq!(second.lost().await, Loss::Taken);
    assert!(first.is_held() && third.is_held());
    first.release().await.unwrap();
    assert_eq!(free_and_waiting(port, "a"), Some((2, 0)));
    session.close().await.unwrap();
    assert_eq!(free_and_waiting(port, "a"), None);
    assert_eq!(tokio::time::timeout(LONG, third.lost()).await, Ok(Loss::Released));
}
