//! A client that knows nothing but bytes, and a front door for it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use quorate::{
    connection::{FrontDoor, Limits, SentinelSettings, accept, announce},
    subscriptions::Subscriptions,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use crate::shard::FakeShard;

/// No step of a test takes longer, unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A front door on a port of its own, with a shard behind it.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) front: Arc<FrontDoor>,
    pub(crate) shard: FakeShard,
    _shutdown: watch::Sender<bool>,
}

impl Door {
    pub(crate) async fn open(limits: Limits) -> Self {
        let shard = FakeShard::start();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let front = FrontDoor::new(shard.handle.clone(), limits, BTreeMap::new(), address.port());
        let (shutdown, watched) = watch::channel(false);
        tokio::spawn(accept(listener, front.clone(), watched));
        Self { address, front, shard, _shutdown: shutdown }
    }

    /// A Sentinel door, with its own subscriptions beside those of the shard.
    pub(crate) async fn open_sentinel(settings: SentinelSettings) -> Self {
        let shard = FakeShard::start();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let handle = shard.handle.with_subscriptions(Subscriptions::new().0);
        let front = FrontDoor::for_sentinel(handle, Limits::of_sentinel(10), address.port(), settings);
        let (shutdown, watched) = watch::channel(false);
        tokio::spawn(announce(Arc::clone(&front)));
        tokio::spawn(accept(listener, front.clone(), watched));
        Self { address, front, shard, _shutdown: shutdown }
    }

    pub(crate) async fn client(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap() }
    }

    /// Waits until so many connections are there.
    pub(crate) async fn connected(&self, count: usize) {
        let reached = async {
            while self.front.connected() != count {
                tokio::task::yield_now().await;
            }
        };
        let result = timeout(PATIENCE, reached).await;
        assert!(result.is_ok(), "{} connections, not {count}", self.front.connected());
    }
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await.unwrap().unwrap();
    }

    /// The next bytes must be these.
    pub(crate) async fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut got = vec![0; expected.len()];
        let mut length = 0;
        while length < got.len() && got[..length] == expected[..length] {
            match timeout(PATIENCE, self.stream.read(&mut got[length..])).await {
                Ok(Ok(0)) | Err(_) => break,
                Ok(read) => length += read.unwrap(),
            }
        }
        assert_eq!(got[..length].escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    pub(crate) async fn ask(&mut self, command: &str, expected: &str) {
        self.send(format!("{command}\r\n")).await;
        self.expect(expected).await;
    }

    /// One line of the reply, without its end.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(timeout(PATIENCE, self.stream.read_u8()).await.unwrap().unwrap());
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// A bulk or verbatim string.
    pub(crate) async fn text(&mut self) -> String {
        let length = self.line().await[1..].parse().unwrap();
        let mut text = vec![0; length];
        timeout(PATIENCE, self.stream.read_exact(&mut text)).await.unwrap().unwrap();
        self.expect("\r\n").await;
        String::from_utf8(text).unwrap()
    }

    /// All until the connection ends, however it ends.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        loop {
            match timeout(PATIENCE, self.stream.read_buf(&mut rest)).await.expect("the connection ends") {
                Ok(0) | Err(_) => return rest,
                Ok(_) => {}
            }
        }
    }

    pub(crate) async fn expect_end(&mut self) {
        assert_eq!(self.rest().await.escape_ascii().to_string(), "");
    }
}

/// A command as client libraries send it.
pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
