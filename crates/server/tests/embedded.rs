//! A node within the process of its user.

use std::time::Duration;

use quorate::{
    client::{Client, Error as ClientError},
    embedded::Error,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_node_is_as_any_other_and_two_are_two() {
    let (one, two) = tokio::join!(quorate::embedded().start(), quorate::embedded().start());
    let (one, two) = (one.unwrap(), two.unwrap());
    let guard = one.client().lock("a").acquire().await.unwrap();
    guard.set("rows", "42").await.unwrap();
    // Another client, as another program would have it.
    let other = Client::connect(one.url()).await.unwrap();
    assert!(matches!(other.lock("a").acquire().await, Err(ClientError::NotAcquired { .. })));
    assert_eq!(other.get("rows").await.unwrap().as_deref(), Some(&b"42"[..]));
    assert_eq!(two.client().get("rows").await.unwrap(), None);
    assert!(two.client().lock("a").acquire().await.unwrap().is_held());

    let folders = [one.folder().to_owned(), two.folder().to_owned()];
    assert!(folders.iter().all(|folder| folder.is_dir()));
    guard.release().await.unwrap();
    one.stop().await.unwrap();
    two.stop().await.unwrap();
    assert!(folders.iter().all(|folder| !folder.exists()), "they were temporary");
    assert!(matches!(other.get("rows").await, Err(ClientError::NotApplied { .. })), "it has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_embedded_node_has_in_a_folder_is_there_again_and_the_folder_is_its_own() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let node = quorate::embedded().folder(&folder).start().await.unwrap();
    let guard = node.client().lock("a").ttl(Duration::from_secs(3_600)).acquire().await.unwrap();
    let token = guard.token();
    let second = quorate::embedded().folder(&folder).start().await.err().unwrap();
    assert!(matches!(second, Error::Node(quorate::service::Error::Data { .. })), "{second}");
    guard.release().await.unwrap();
    node.client().set("config", "verbose").await.unwrap();
    node.stop().await.unwrap();

    let node = quorate::embedded().folder(&folder).start().await.unwrap();
    assert_eq!(node.client().get("config").await.unwrap().as_deref(), Some(&b"verbose"[..]));
    assert!(node.client().lock("a").acquire().await.unwrap().token() > token);
    node.stop().await.unwrap();
    assert!(folder.is_dir());
}

/// A program whose Ctrl-C did nothing any longer would be surprised.
#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_node_leaves_signals_to_its_program() {
    let node = quorate::embedded().start().await.unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
    let (interrupt, terminate) = (1 << (2 - 1), 1 << (15 - 1));
    assert_eq!(caught & (interrupt | terminate), 0, "{caught:x}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_node_that_is_dropped_ends() {
    let node = quorate::embedded().start().await.unwrap();
    let folder = node.folder().to_owned();
    drop(node);
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while folder.exists() {
        assert!(std::time::Instant::now() < end, "in vain waited for the end");
        tokio::task::yield_now().await;
    }
}

/// Its bytes were replaced, so that the data were in a folder of another name.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_embedded_node_refuses_a_folder_that_is_no_text_and_makes_none() {
    use std::os::unix::ffi::OsStrExt as _;

    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join(std::ffi::OsStr::from_bytes(b"data\xff"));
    let error = quorate::embedded().folder(folder).start().await.err().unwrap();
    assert!(error.to_string().contains(r"data\xFF"), "{error}");
    assert!(error.to_string().contains("no Unicode"), "{error}");
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}
