//! Keys with values.

use std::time::Duration;

use quorate_client::Error;

use super::node;

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
    assert!(age < super::support::LONG, "{age:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_value_is_refused() {
    let (_node, port, _folder, client) = node().await;
    super::support::ask(port, &["RPUSH", "list", "1"]);
    assert!(matches!(client.get("list").await, Err(Error::Refused { code, .. }) if code == "WRONGTYPE"));
}
