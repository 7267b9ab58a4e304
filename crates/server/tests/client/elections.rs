//! Elections: who leads, what others know of him, and how he hands over.

use std::time::Duration;

use quorate_client::{Client, Error, Holder, Leadership, Loss};
use tokio::task::JoinHandle;

use super::{
    HOUR, connect, node,
    support::{LONG, ask},
};

/// A candidate who waits among so many.
async fn candidate(client: &Client, owner: &str, priority: u32, of: usize) -> JoinHandle<Leadership> {
    let campaign = client.election("a").owner(owner).priority(priority).value(owner).ttl(HOUR).campaign();
    let waiting = tokio::spawn(async { campaign.await.expect("elected in the end") });
    while client.candidates("a").await.expect("the candidates").len() < of {
        tokio::task::yield_now().await;
    }
    waiting
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_is_known_with_his_value_until_he_resigns() {
    let (_node, _, _folder, client) = node().await;
    assert_eq!(client.leader("a").await.unwrap(), None);
    assert_eq!(client.candidates("a").await.unwrap(), []);
    let leadership = client.election("a").value("here").owner("one").ttl(HOUR).campaign().await.unwrap();
    let leader = client.leader("a").await.unwrap().unwrap();
    assert!(leader.holder.to_string().starts_with("one "), "{leader:?}");
    assert_eq!((leader.token, leader.candidates), (leadership.token(), 0));
    assert_eq!(leader.value.as_deref(), Some(&b"here"[..]));
    assert!(leader.remaining.is_some_and(|remaining| remaining <= HOUR), "{leader:?}");

    leadership.proclaim("there").await.unwrap();
    leadership.set("done", "1").await.unwrap();
    let leader = client.leader("a").await.unwrap().unwrap();
    assert_eq!(leader.value.as_deref(), Some(&b"there"[..]));
    assert_eq!(leader.token, leadership.token(), "another value is no other term");
    leadership.resign().await.unwrap();
    assert_eq!(client.leader("a").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_are_elected_by_priority_and_get_what_is_handed_to_them() {
    let (_node, _, _folder, client) = node().await;
    let first = client.election("a").ttl(HOUR).campaign().await.unwrap();
    let humble = candidate(&client, "humble", 0, 1).await;
    let great = candidate(&client, "great", 7, 2).await;
    let late = candidate(&client, "late", 7, 3).await;
    let waiting = client.candidates("a").await.unwrap();
    let names: Vec<_> =
        waiting.iter().map(|one| one.holder.to_string().split(' ').next().map(str::to_owned)).collect();
    assert_eq!(names.into_iter().flatten().collect::<Vec<_>>(), ["great", "late", "humble"]);

    // Handed to the last of them, before all others.
    first.transfer(&waiting[2]).await.unwrap();
    assert_eq!(first.lost().await, Loss::Released);
    let humble = humble.await.unwrap();
    assert!(humble.token() > first.token() && humble.is_held());
    // Who has gone on to lead waits no longer.
    let gone = humble.transfer(&waiting[2]).await;
    assert!(matches!(gone, Err(Error::Refused { .. })), "{gone:?}");
    assert!(humble.is_held());
    humble.resign().await.unwrap();
    let great = great.await.unwrap();
    drop(great);
    late.await.unwrap().resign().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deposed_leader_is_told_and_says_nothing_more() {
    let (_node, port, _folder, client) = node().await;
    let leadership = client.election("a").ttl(HOUR).campaign().await.unwrap();
    super::support::ask(port, &["DEL", "a"]);
    let proclaimed = leadership.proclaim("still here").await;
    assert!(matches!(proclaimed, Err(Error::Lost(Loss::Taken))), "{proclaimed:?}");
    assert_eq!(leadership.lost().await, Loss::Taken);
    assert!(matches!(leadership.resign().await, Err(Error::Lost(Loss::Taken))));
}

#[tokio::test(flavor = "multi_thread")]
async fn candidacy_that_is_given_up_leads_nobody() {
    let (_node, _, _folder, client) = node().await;
    let first = client.election("a").ttl(HOUR).campaign().await.unwrap();
    let second = candidate(&client, "second", 0, 1).await;
    second.abort();
    let none = client.election("a").wait(std::time::Duration::ZERO).campaign().await.err();
    assert!(matches!(none, Some(Error::NotAcquired { .. })), "{none:?}");
    drop(second.await);
    client.settled().await;
    assert_eq!(client.candidates("a").await.unwrap(), []);
    first.resign().await.unwrap();
    assert_eq!(client.leader("a").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_of_the_same_name_is_refused() {
    let (_node, _, _folder, client) = node().await;
    let _guard = client.lock("a").ttl(HOUR).acquire().await.unwrap();
    let refused = client.election("a").campaign().await.err();
    assert!(matches!(&refused, Some(Error::Refused { code, .. }) if code == "WRONGTYPE"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_elected_under_a_session_leads_as_long_as_that_lasts() {
    let (_node, port, _folder, client) = node().await;
    let session = client.session().ttl(Duration::from_secs(6)).name("host 7").open().await.unwrap();
    let (a, b) = (session.election("a").value("here"), session.election("b").priority(7));
    let (a, b) = (a.campaign().await.unwrap(), b.campaign().await.unwrap());
    let leader = client.leader("a").await.unwrap().unwrap();
    assert_eq!((leader.holder, leader.token), (Holder::Session(session.id()), a.token()));
    assert_eq!(leader.value.as_deref(), Some(&b"here"[..]));
    // A leader like any other.
    a.set("done", "1").await.unwrap();
    a.proclaim("there").await.unwrap();
    let next = tokio::spawn(connect(&[port]).await.election("a").campaign());
    let waiting = loop {
        match client.candidates("a").await.unwrap().pop() {
            Some(candidate) => break candidate,
            None => tokio::task::yield_now().await,
        }
    };
    a.transfer(&waiting).await.unwrap();
    let next = next.await.unwrap().unwrap();
    assert!(a.lost().await == Loss::Released && next.token() > a.token());
    // Deposed of one, and leads by the other.
    let c = session.election("c").campaign().await.unwrap();
    ask(port, &["DEL", "c"]);
    assert_eq!(c.lost().await, Loss::Taken);
    assert!(b.is_held() && session.is_open());
    session.close().await.unwrap();
    assert_eq!((client.leader("b").await.unwrap(), b.lost().await), (None, Loss::Released));
}

/// Whoever hands over is not looked after while that is under way, and must be again if it comes to nothing.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_a_handover_leads_on_and_learns_of_a_loss() {
    let (_node, port, _folder, client) = node().await;
    let session = client.session().ttl(Duration::from_secs(1)).open().await.unwrap();
    let leadership = session.election("a").campaign().await.unwrap();
    let gone = candidate(&client, "gone", 0, 1).await;
    let waiting = client.candidates("a").await.unwrap();
    gone.abort();
    drop(gone.await);
    client.settled().await;
    let refused = leadership.transfer(&waiting[0]).await;
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    assert!(leadership.is_held());
    ask(port, &["DEL", "a"]);
    assert_eq!(tokio::time::timeout(LONG, leadership.lost()).await, Ok(Loss::Taken));
}
