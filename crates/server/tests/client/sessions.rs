//! Sessions, and the locks that they keep.

use std::time::Duration;

use quorate_client::{Error, Loss};
use rustix::process::Signal;

use super::{
    HOUR, connect,
    cutting::Proxy,
    node,
    support::{Cluster, LONG, ask, eventually, lock_waiting},
    take_away,
};

/// How many sessions are open.
fn sessions(port: u16) -> usize {
    let list: Vec<redis::Value> =
        redis::cmd("SESSION").arg("LIST").query(&mut super::support::connect(port)).expect("it serves");
    list.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_its_locks_beyond_its_time_to_live_and_frees_them_together() {
    let (_node, port, _folder, client) = node().await;
    let ttl = Duration::from_secs(2);
    let session = client.session().ttl(ttl).name("worker 7").open().await.unwrap();
    let (a, b) = (session.lock("a").acquire().await.unwrap(), session.lock("b").acquire().await.unwrap());
    assert!(b.token() > a.token());
    a.set("rows", "1").await.unwrap();
    // Its one heartbeat has kept both by then.
    let other = connect(&[port]).await.lock("b").wait(ttl * 3).acquire().await;
    assert!(matches!(other, Err(Error::NotAcquired { .. })));
    assert!(session.is_open() && a.is_held() && b.is_held() && a.remaining() <= ttl);
    session.close().await.unwrap();
    assert_eq!((lock_waiting(port, "a"), lock_waiting(port, "b"), sessions(port)), (None, None, 0));
    assert_eq!((a.lost().await, b.lost().await), (Loss::Released, Loss::Released));
    assert_eq!(a.set("rows", "2").await, Err(Error::Lost(Loss::Taken)));
}

/// The heartbeat of a session says nothing of single locks.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_a_session_that_was_taken_away_is_lost_and_the_others_are_not() {
    let (_node, port, _folder, client) = node().await;
    let session = client.session().ttl(Duration::from_secs(6)).open().await.unwrap();
    let (a, b) = (session.lock("a").acquire().await.unwrap(), session.lock("b").acquire().await.unwrap());
    take_away(port, "a");
    assert_eq!(a.lost().await, Loss::Taken);
    assert!(!a.is_held() && a.remaining().is_zero() && b.is_held() && session.is_open());
    assert_eq!(a.release().await, Err(Error::Lost(Loss::Taken)));
    // By a write of its own it is noticed at once.
    take_away(port, "b");
    assert_eq!(b.delete("rows").await, Err(Error::Lost(Loss::Taken)));
    assert!(!b.is_held());
}

/// Only the number of locks was compared: one that comes as another one goes hid that.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_was_taken_away_is_missed_though_another_came_in_its_place() {
    let (_node, port, _folder, client) = node().await;
    let session = client.session().ttl(Duration::from_secs(6)).open().await.unwrap();
    let (a, b) = (session.lock("a").acquire().await.unwrap(), session.lock("b").acquire().await.unwrap());
    // By somebody else who uses the session, so that nothing tells its owner that anything has changed.
    ask(port, &["LOCK", "ACQUIRE", "c", "SESSION", &session.id().to_string()]);
    take_away(port, "a");
    assert_eq!(a.lost().await, Loss::Taken);
    assert!(b.is_held() && session.is_open());
}

/// It stopped to keep the session alive, and to close it, too, while guards believed in their locks.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_close_is_given_up_is_closed_all_the_same() {
    let (_node, port, _folder, client) = node().await;
    for micros in (0..3_000).step_by(300) {
        let session = client.session().ttl(HOUR).open().await.unwrap();
        let guard = session.lock("a").acquire().await.unwrap();
        drop(tokio::time::timeout(Duration::from_micros(micros), session.close()).await);
        let lost = tokio::time::timeout(LONG, guard.lost()).await;
        assert_eq!(lost, Ok(Loss::Released), "given up after {micros} us");
        client.settled().await;
        assert_eq!((lock_waiting(port, "a"), sessions(port)), (None, 0), "given up after {micros} us");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_node_stands_still_is_lost_by_its_own_clock() {
    let (node, _, _folder, client) = node().await;
    let session = client.session().ttl(Duration::from_secs(1)).open().await.unwrap();
    let guard = session.lock("a").acquire().await.unwrap();
    node.signal(Signal::STOP);
    assert_eq!((guard.lost().await, session.lost().await), (Loss::Expired, Loss::Expired));
    let other = session.lock("b").acquire().await;
    node.signal(Signal::CONT);
    assert!(matches!(other, Err(Error::Lost(Loss::Expired))), "{:?}", other.err());
    assert_eq!(session.close().await, Err(Error::Lost(Loss::Expired)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_the_node_that_it_was_opened_at() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader(1, None);
    let others = [1, 2, 3].into_iter().filter(|node| *node != leader);
    let ports: Vec<_> = std::iter::once(leader).chain(others).map(|node| cluster.port(node)).collect();
    let client = connect(&ports).await;
    let session = client.session().ttl(Duration::from_secs(6)).open().await.unwrap();
    let guard = session.lock("a").acquire().await.unwrap();
    cluster.node(leader).signal(Signal::KILL);
    let lost = tokio::time::timeout(Duration::from_secs(9), session.lost()).await;
    assert!(lost.is_err() && guard.is_held(), "it was not kept alive at another node: {lost:?}");
    guard.release().await.unwrap();
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_a_server_has_ended_is_lost_and_gives_no_locks() {
    let (_node, port, _folder, client) = node().await;
    let session = client.session().ttl(Duration::from_secs(2)).open().await.unwrap();
    let guard = session.lock("a").acquire().await.unwrap();
    ask(port, &["SESSION", "CLOSE", &session.id().to_string()]);
    let late = session.lock("b").acquire().await;
    assert!(matches!(late, Err(Error::Lost(Loss::Taken))), "{:?}", late.err());
    assert_eq!((session.lost().await, guard.lost().await), (Loss::Taken, Loss::Taken));
    assert_eq!(session.close().await, Err(Error::Lost(Loss::Taken)));
}

/// Its lock would last as long as the session: nobody would ever have it again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_within_a_session_is_given_back_though_the_session_goes_on() {
    let (_node, port, _folder, client) = node().await;
    let session = client.session().ttl(HOUR).open().await.unwrap();
    for micros in (0..6_000).step_by(300) {
        let acquired = session.lock("a").acquire();
        drop(tokio::time::timeout(Duration::from_micros(micros), acquired).await);
        client.settled().await;
        assert_eq!(lock_waiting(port, "a"), None, "given up after {micros} us");
    }
    // Also at the very time at which it is served.
    let first = session.lock("a").acquire().await.unwrap();
    let second = tokio::spawn(session.lock("a").wait(HOUR).acquire());
    eventually("the second waits", || lock_waiting(port, "a").filter(|waiting| *waiting == 1));
    let (released, ()) = tokio::join!(first.release(), async { second.abort() });
    released.unwrap();
    drop(second.await);
    client.settled().await;
    assert_eq!(lock_waiting(port, "a"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_use_one_session_exclude_each_other() {
    let (_node, port, _folder, client) = node().await;
    let session = client.session().open().await.unwrap();
    let first = session.lock("a").acquire().await.unwrap();
    assert!(matches!(session.lock("a").acquire().await, Err(Error::NotAcquired { name, .. }) if name == "a"));
    let second = tokio::spawn(session.lock("a").wait(LONG).acquire());
    eventually("the second waits", || lock_waiting(port, "a").filter(|waiting| *waiting == 1));
    let older = first.token();
    drop(first);
    assert!(second.await.unwrap().unwrap().token() > older);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_dropped_ends_with_the_last_of_its_guards() {
    let (_node, port, _folder, client) = node().await;
    let session = client.session().ttl(HOUR).open().await.unwrap();
    let guard = session.lock("a").acquire().await.unwrap();
    drop(session);
    client.settled().await;
    assert!(guard.is_held() && sessions(port) == 1);
    drop(guard);
    client.settled().await;
    assert_eq!(sessions(port), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_lost_neither_lose_a_session_nor_leave_it_open() {
    let (_node, port, _folder, _) = node().await;
    let proxy = Proxy::to(port);
    let client = connect(&[proxy.port()]).await;
    proxy.cut_answer_of("OPEN");
    let session = client.session().ttl(Duration::from_secs(3)).open().await.unwrap();
    proxy.cut_answer_of("ACQUIRE");
    let guard = session.lock("a").acquire().await.unwrap();
    proxy.cut_answer_of("RELEASE");
    guard.release().await.unwrap();
    proxy.cut_answer_of("CLOSE");
    session.close().await.unwrap();
    assert_eq!(proxy.cuts(), 4);
    eventually("the one that nobody knows ends by its time", || (sessions(port) == 0).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_locks_are_taken_and_released_together_or_not_at_all() {
    let (_node, port, _folder, client) = node().await;
    let other = client.lock("b").acquire().await.unwrap();
    let refused = client.lock_all(["a", "b"]).acquire().await;
    assert!(matches!(refused, Err(Error::NotAcquired { name, .. }) if name == "a, b"));
    client.settled().await;
    assert_eq!((lock_waiting(port, "a"), sessions(port)), (None, 0));

    let waiting = tokio::spawn(client.lock_all(["a", "b"]).ttl(HOUR).wait(HOUR).acquire());
    eventually("they are waited for", || lock_waiting(port, "b").filter(|waiting| *waiting == 1));
    other.release().await.unwrap();
    let guard = waiting.await.unwrap().unwrap();
    let tokens = guard.tokens();
    assert!(guard.is_held() && tokens[0].0 == "a" && tokens[1].0 == "b" && tokens[0].1 != tokens[1].1);
    guard.release().await.unwrap();
    assert_eq!((lock_waiting(port, "a"), lock_waiting(port, "b"), sessions(port)), (None, None, 0));
    let nothing = client.lock_all([""]).acquire().await;
    assert!(matches!(nothing, Err(Error::Invalid { what: "name", .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_the_same_locks_in_another_order_is_served_in_turn() {
    let (_node, _, _folder, client) = node().await;
    let turns = |names: [&'static str; 2], client: quorate_client::Client| async move {
        for _ in 0..20 {
            client.lock_all(names).wait(LONG).acquire().await.unwrap().release().await.unwrap();
        }
    };
    let there = tokio::spawn(turns(["a", "b"], client.clone()));
    let back = tokio::spawn(turns(["b", "a"], client));
    there.await.unwrap();
    back.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn several_locks_are_lost_with_the_first_of_them_and_given_back_when_given_up() {
    let (_node, port, _folder, client) = node().await;
    let guard = client.lock_all(["a", "b"]).ttl(Duration::from_secs(6)).acquire().await.unwrap();
    take_away(port, "b");
    assert_eq!(guard.lost().await, Loss::Taken);
    assert!(!guard.is_held());
    assert_eq!(guard.release().await, Err(Error::Lost(Loss::Taken)));
    for micros in (0..8_000).step_by(400) {
        let acquired = client.lock_all(["c", "d"]).ttl(HOUR).acquire();
        drop(tokio::time::timeout(Duration::from_micros(micros), acquired).await);
        client.settled().await;
        assert_eq!((lock_waiting(port, "c"), lock_waiting(port, "d")), (None, None), "after {micros} us");
    }
}

/// They believed in their locks until the answer came, while others had them.
#[tokio::test(flavor = "multi_thread")]
async fn guards_believe_in_nothing_once_their_session_may_be_closed() {
    let (_node, port, _folder, _) = node().await;
    let proxy = Proxy::to(port);
    let session = connect(&[proxy.port()]).await.session().ttl(HOUR).open().await.unwrap();
    let guard = session.lock("a").acquire().await.unwrap();
    proxy.keep_answer_of("CLOSE");
    let closing = tokio::spawn(session.close());
    eventually("it is closed", || (sessions(port) == 0).then_some(()));
    assert!(!guard.is_held() && guard.remaining().is_zero());
    assert_eq!(guard.lost().await, Loss::Released);
    proxy.let_go();
    closing.await.unwrap().unwrap();
}

/// To ask for the permit was an error, behind which nobody was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_permit_whose_name_is_that_of_other_data_is_lost_and_so_are_those_behind_it() {
    let (_node, port, _folder, client) = node().await;
    let session = client.session().ttl(Duration::from_secs(2)).open().await.unwrap();
    let permit = session.semaphore("a").permits(2).acquire().await.unwrap();
    let (b, c) = (session.lock("b").acquire().await.unwrap(), session.lock("c").acquire().await.unwrap());
    ask(port, &["DEL", "a"]);
    ask(port, &["SET", "a", "text"]);
    take_away(port, "b");
    let lost = async { (permit.lost().await, b.lost().await) };
    assert_eq!(tokio::time::timeout(LONG, lost).await, Ok((Loss::Taken, Loss::Taken)));
    assert!(c.is_held() && session.is_open());
}
