//! One connection to one server.
//!
//! Commands of several callers share it; the server answers them in order. The socket is ours, and so is the task that
//! drives it: we know when it has ended, and when the last handle is dropped it ends at once, whatever is still unanswered,
//! so that whoever waited in a queue waits no longer.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Cmd, ProtocolVersion, RedisConnectionInfo, RedisError, Value,
    aio::MultiplexedConnection,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

use crate::{endpoints::Endpoint, error::Error};

/// A server whose machine has vanished is noticed after this long, and as many seconds as there are probes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);

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
}

/// The task that reads and writes; it ends with its last handle.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Connects to `endpoint` within `limit`.
    pub(crate) async fn open(endpoint: &Endpoint, reads: Reads, limit: Duration) -> Result<Self, Error> {
        let failed = |why: &dyn std::fmt::Display| Error::not_applied(format_args!("{endpoint}: {why}"));
        match timeout(limit, Self::greet(endpoint, reads)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(failed(&format_args!("no connection within {limit:?}"))),
        }
    }

    async fn greet(endpoint: &Endpoint, reads: Reads) -> Result<Self, RedisError> {
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        // The time-out of an answer is the caller's, command by command.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let info = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2);
        let (mut shared, driver) = MultiplexedConnection::new_with_config(&info, stream, config).await?;
        let driver = Arc::new(Driver(tokio::spawn(driver)));
        if reads == Reads::Stale {
            redis::cmd("READONLY").exec_async(&mut shared).await?;
        }
        Ok(Self { shared, driver, endpoint: endpoint.clone() })
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
