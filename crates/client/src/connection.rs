//! One connection to one server.
//!
//! Commands of several callers share it; the server answers them in order. The socket is ours, and so is the task that
//! drives it: we know when it has ended, and when the last handle is dropped it ends at once, whatever is still unanswered,
//! so that whoever waited in a queue waits no longer.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Cmd, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError, Value,
    aio::MultiplexedConnection,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use crate::{endpoints::Endpoint, error::Error};

/// A server whose machine has vanished is noticed after this long, and as many seconds as there are probes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);

/// How many messages are kept for whoever listens. A lock that changes hands some thousand times before that is looked at is told
/// of in parts, by one connection after another.
const MESSAGES_MAX: usize = 8_192;

/// How much memory they take. A single one is kept however long it is: who comes back for it would find no other.
const MESSAGES_BYTES_MAX: usize = 8 << 20;

/// Whose data a connection reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// The newest.
    Linearizable,
    /// Those that the server has at hand.
    Stale,
}

/// A connection that takes commands. Clones are handles of the same one.
#[derive(Clone)]
pub(crate) struct Connection {
    shared: MultiplexedConnection,
    driver: Arc<Driver>,
    endpoint: Endpoint,
    /// Whether more was told than is kept.
    is_full: Arc<AtomicBool>,
}

/// The task that reads and writes; it ends with its last handle.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where messages are kept for whoever listens.
struct Desk {
    sender: mpsc::Sender<Vec<u8>>,
    /// Of those that are not fetched yet, and of some that are.
    lengths: VecDeque<usize>,
    /// Their sum.
    bytes: usize,
}

impl Desk {
    fn new(sender: mpsc::Sender<Vec<u8>>) -> Self {
        Self { sender, lengths: VecDeque::new(), bytes: 0 }
    }

    /// Keeps a message, unless that is one too many.
    fn take(&mut self, message: Vec<u8>) -> bool {
        let waiting = self.sender.max_capacity() - self.sender.capacity();
        let fetched = self.lengths.drain(..self.lengths.len().saturating_sub(waiting));
        self.bytes -= fetched.sum::<usize>();
        self.bytes += message.len();
        self.lengths.push_back(message.len());
        (waiting == 0 || self.bytes <= MESSAGES_BYTES_MAX) && self.sender.try_send(message).is_ok()
    }
}

impl Connection {
    /// Connects to `endpoint` within `limit`.
    pub(crate) async fn open(endpoint: &Endpoint, reads: Reads, limit: Duration) -> Result<Self, Error> {
        let greet = Self::greet(endpoint, reads, ProtocolVersion::RESP2, AsyncConnectionConfig::new());
        Self::within(limit, endpoint, greet).await
    }

    /// Connects to `endpoint` within `limit`, and hands out what it tells without being asked. That ends with the connection, or
    /// when more was told than is taken: whoever listens has to come back, and ask.
    pub(crate) async fn listen(
        endpoint: &Endpoint,
        limit: Duration,
    ) -> Result<(Self, mpsc::Receiver<Vec<u8>>), Error> {
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        let desk = Mutex::new(Some(Desk::new(sender)));
        let is_full = Arc::new(AtomicBool::new(false));
        let fills_up = Arc::clone(&is_full);
        let take = move |push: PushInfo| {
            let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
            let is_taken = match (push.kind, push.data.into_iter().last()) {
                (PushKind::Message, Some(Value::BulkString(message))) => {
                    let is_taken = desk.as_mut().is_some_and(|desk| desk.take(message));
                    fills_up.fetch_or(!is_taken, Ordering::Relaxed);
                    is_taken
                }
                (PushKind::Disconnection, _) => false,
                (_, _) => true,
            };
            if !is_taken {
                *desk = None;
            }
            Ok::<(), Infallible>(())
        };
        let config = AsyncConnectionConfig::new().set_push_sender(take);
        let greet = Self::greet(endpoint, Reads::Linearizable, ProtocolVersion::RESP3, config);
        let connection = Self::within(limit, endpoint, greet).await?;
        Ok((Self { is_full, ..connection }, messages))
    }

    /// Whether anybody answers at `endpoint` within `limit`, be it that he takes no more connections.
    pub(crate) async fn probe(endpoint: &Endpoint, limit: Duration) -> Result<(), Error> {
        let probe = async {
            let mut stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
            // A server that is full may have said so and closed before.
            let _ = stream.write_all(b"*1\r\n$4\r\nPING\r\n").await;
            stream.read_u8().await
        };
        Self::within(limit, endpoint, probe).await.map(drop)
    }

    async fn within<T, E: std::fmt::Display>(
        limit: Duration,
        endpoint: &Endpoint,
        greet: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        let failed = |why: &dyn std::fmt::Display| Error::not_applied(format_args!("{endpoint}: {why}"));
        match timeout(limit, greet).await {
            Ok(Ok(greeted)) => Ok(greeted),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(failed(&format_args!("no connection within {limit:?}"))),
        }
    }

    async fn greet(
        endpoint: &Endpoint,
        reads: Reads,
        protocol: ProtocolVersion,
        config: AsyncConnectionConfig,
    ) -> Result<Self, RedisError> {
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        // The time-out of an answer is the caller's, command by command.
        let config = config.set_response_timeout(None);
        let info = RedisConnectionInfo::default().set_protocol(protocol);
        let (mut shared, driver) = MultiplexedConnection::new_with_config(&info, stream, config).await?;
        let driver = Arc::new(Driver(tokio::spawn(driver)));
        if reads == Reads::Stale {
            redis::cmd("READONLY").exec_async(&mut shared).await?;
        }
        Ok(Self { shared, driver, endpoint: endpoint.clone(), is_full: Arc::default() })
    }

    /// The server at its other end.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends one command, and waits for its answer for `limit`. Once this was polled, the command may be carried out.
    pub(crate) async fn ask(&self, command: &Cmd, limit: Duration) -> Result<Value, Error> {
        let mut shared = self.shared.clone();
        match timeout(limit, command.query_async::<Value>(&mut shared)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.meaning(&error)),
            Err(_) => Err(Error::unknown(format_args!("{}: no answer within {limit:?}", self.endpoint))),
        }
    }

    /// Whether more was told than is kept, so that nothing more is handed out.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.driver.0.is_finished()
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.driver, &other.driver)
    }

    fn meaning(&self, error: &RedisError) -> Error {
        match error.code() {
            Some(code) => Error::from_server(code, error.detail().unwrap_or_default()),
            None => Error::unknown(format_args!("{}: {error}", self.endpoint)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watch that nobody looked at could take 16 GiB, of a leader who proclaims the longest values.
    #[test]
    fn messages_are_kept_up_to_their_number_and_length_and_one_of_any_length() {
        let (sender, mut messages) = mpsc::channel(4);
        let mut desk = Desk::new(sender);
        let long = || vec![0; MESSAGES_BYTES_MAX / 2];
        assert!(desk.take(long()) && desk.take(long()) && !desk.take(vec![0]), "as long as that, together");
        for _ in 0..2 {
            messages.try_recv().expect("it was kept");
        }
        assert!(desk.take(vec![0; MESSAGES_BYTES_MAX * 2]) && !desk.take(vec![0]), "longer than that, alone");
        messages.try_recv().expect("it was kept");
        assert!((0..4).all(|_| desk.take(vec![0])) && !desk.take(vec![0]), "as many as that");
    }
}
