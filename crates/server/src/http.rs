//! `/healthz`, `/readyz` and `/metrics`, on a port of their own.
//!
//! * `/healthz`: the process runs. A restart would not help what is wrong elsewhere.
//! * `/readyz`: clients are served: data is loaded and there is a leader. 503 with the reason otherwise.
//! * `/metrics`: everything as figures.
//!
//! The answers come from the published status, so asking costs the shard nothing. Connections are few and short-lived:
//! whoever opens many, or holds one open without a word, takes nothing from the clients of the other port.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
    serve::Listener,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, Sleep},
};
use tracing_appender::non_blocking::ErrorCounter;

use crate::{metrics::Metrics, status::NodeStatus};

/// The most connections at once; one more waits. Far more than monitoring needs.
const CONNECTIONS_MAX: usize = 64;

/// How long a connection may last. Who wants to know more then comes again.
const CONNECTION_LIFE: Duration = Duration::from_secs(10);

/// What the answers are made of.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) status: watch::Receiver<Arc<NodeStatus>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) dropped_log_lines: ErrorCounter,
    /// True once this node is on its way down.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Serves until `ended` turns true.
pub(crate) async fn serve(
    listener: TcpListener,
    sources: Sources,
    mut ended: watch::Receiver<bool>,
) -> io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(sources);
    let end = async move {
        // A sender that is gone means the same as one that says so.
        drop(ended.wait_for(|&ended| ended).await);
    };
    let listener = Bounded::new(listener, CONNECTIONS_MAX, CONNECTION_LIFE);
    axum::serve(listener, router).with_graceful_shutdown(end).await
}

async fn ready(State(sources): State<Sources>) -> (StatusCode, String) {
    let status = sources.status.borrow().clone();
    match why_not_ready(&status, *sources.stopping.borrow()) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}

/// Why clients are not served now; `None` if they are.
fn why_not_ready(status: &NodeStatus, stopping: bool) -> Option<&'static str> {
    if stopping {
        Some("this node is shutting down")
    } else if status.loading {
        Some("this node is loading its data")
    } else if status.leader.is_none() {
        Some("there is no leader")
    } else if status.cluster_id.is_none() {
        Some("the cluster is being formed")
    } else {
        None
    }
}

async fn metrics(State(sources): State<Sources>) -> impl IntoResponse {
    let status = sources.status.borrow().clone();
    let text = sources.metrics.text(&status, sources.dropped_log_lines.dropped_lines());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// A listener whose connections are bounded in number and in time.
struct Bounded {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    life: Duration,
}

/// A connection in its slot; reading from it fails once its time is over.
struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

impl Bounded {
    fn new(listener: TcpListener, connections_max: usize, life: Duration) -> Self {
        Self { listener, slots: Arc::new(Semaphore::new(connections_max)), life }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let slot = Arc::clone(&self.slots).acquire_owned().await.expect("the semaphore is never closed");
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let end = Box::pin(tokio::time::sleep_until(Instant::now() + self.life));
        (Connection { stream, end, _slot: slot }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn silent_connections_lose_their_slots_to_those_who_ask() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounded = Bounded::new(listener, 2, Duration::from_millis(50));
        let router = Router::new().route("/healthz", get(|| async { "ok\n" }));
        tokio::spawn(async move { axum::serve(bounded, router).await });

        let mut silent = Vec::new();
        for _ in 0..2 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut asking = TcpStream::connect(address).await.unwrap();
        asking.write_all(b"GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(Duration::from_secs(10), asking.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    use crate::status::Leader;

    #[test]
    fn ready_means_loaded_led_and_born() {
        let mut status = NodeStatus { loading: true, ..NodeStatus::default() };
        assert_eq!(why_not_ready(&status, false), Some("this node is loading its data"));
        status.loading = false;
        assert_eq!(why_not_ready(&status, false), Some("there is no leader"));
        status.leader = Some(Leader::default());
        assert_eq!(why_not_ready(&status, false), Some("the cluster is being formed"));
        status.cluster_id = Some("c".to_owned());
        assert_eq!(why_not_ready(&status, false), None);
        assert_eq!(why_not_ready(&status, true), Some("this node is shutting down"));
    }
}
