//! `/healthz`, `/readyz`, `/metrics` and `/snapshot`, on a port of their own.
//!
//! * `/healthz`: the process runs. A restart would not help what is wrong elsewhere.
//! * `/readyz`: clients are served: data is loaded and there is a leader. 503 with the reason otherwise.
//! * `/metrics`: everything as figures.
//! * `/snapshot`: a backup, which [`crate::backup`] makes; what `quorate snapshot save` asks for.
//!
//! The other answers come from the published status, so asking costs the shard nothing. Connections are few and
//! short-lived: whoever opens many, or holds one open without a word, takes nothing from the clients of the other port.
//! One that carries a backup lasts as long as it keeps its [`Pace`].

use std::{
    borrow::Cow,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, State, connect_info::Connected},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, Sleep},
};
use tracing_appender::non_blocking::ErrorCounter;

use crate::{
    backup::Backups,
    clock,
    connection::FrontDoor,
    metrics::{Metrics, exposition::Observed},
    status::NodeStatus,
};

/// The most connections at once; one more waits. Far more than monitoring needs.
const CONNECTIONS_MAX: usize = 64;

/// How long a connection may last. Who wants to know more then comes again.
const CONNECTION_LIFE: Duration = Duration::from_secs(10);

/// How long a connection that carries a backup may take for [`PACE_BYTES`]. The first such time also has to do for the
/// shard's answer, which comes within a command's time-out.
const PACE_INTERVAL: Duration = Duration::from_secs(30);

/// What a client must take of a backup in each [`PACE_INTERVAL`]. A slower one is cut off, since the state that it is
/// sent is held in memory until then: at this pace, a GiB for half a day.
const PACE_BYTES: usize = 1 << 20;

/// What the answers are made of.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) status: watch::Receiver<Arc<NodeStatus>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) front: Arc<FrontDoor>,
    /// The limit of what waits for one peer.
    pub(crate) peer_queue_bytes_max: usize,
    pub(crate) dropped_log_lines: ErrorCounter,
    /// When the process started, in seconds since 1970.
    pub(crate) started_unix_s: i64,
    /// True once this node is on its way down.
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) backups: Backups,
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
        .route("/snapshot", get(snapshot))
        .with_state(sources);
    let end = async move {
        // A sender that is gone means the same as one that says so.
        drop(ended.wait_for(|&ended| ended).await);
    };
    let listener = Bounded::new(listener, CONNECTIONS_MAX, CONNECTION_LIFE, PACE_INTERVAL);
    let service = router.into_make_service_with_connect_info::<Pace>();
    axum::serve(listener, service).with_graceful_shutdown(end).await
}

async fn ready(State(sources): State<Sources>) -> (StatusCode, String) {
    let status = sources.status.borrow().clone();
    match why_not_ready(&status, *sources.stopping.borrow()) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}

/// Why clients are not served now; `None` if they are.
fn why_not_ready(status: &NodeStatus, stopping: bool) -> Option<Cow<'static, str>> {
    let reason = if stopping {
        "this node is shutting down"
    } else if let Some(obstacle) = &status.joining {
        return Some(format!("this node has not joined its cluster yet: {obstacle}").into());
    } else if status.loading {
        "this node is loading its data"
    } else if status.removed {
        "this node was removed from the cluster"
    } else if status.leader.is_none() {
        "there is no leader"
    } else if status.cluster_id.is_none() {
        "the cluster is being formed"
    } else {
        return None;
    };
    Some(reason.into())
}

async fn metrics(State(sources): State<Sources>) -> impl IntoResponse {
    let status = sources.status.borrow().clone();
    let observed = Observed {
        status: &status,
        metrics: &sources.metrics,
        front: &sources.front,
        peer_queue_bytes_max: sources.peer_queue_bytes_max,
        dropped_log_lines: sources.dropped_log_lines.dropped_lines(),
        started_unix_s: sources.started_unix_s,
        now: clock::now().boot,
    };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], observed.text())
}

/// What a request for all data must carry: a web page that somebody reads on this machine can send none of that kind.
pub(crate) const SNAPSHOT_HEADER: (&str, &str) = ("x-quorate", "snapshot");

async fn snapshot(
    State(sources): State<Sources>,
    ConnectInfo(pace): ConnectInfo<Pace>,
    headers: HeaderMap,
) -> Response {
    let (name, value) = SNAPSHOT_HEADER;
    if headers.get(name).is_none_or(|given| given != value) {
        let text = format!("a backup is given to who sends the header {name}: {value}\n");
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    pace.carry_backup();
    match sources.backups.take().await {
        Ok(body) => {
            let kinds = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CONNECTION, "close")];
            (kinds, body).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Whether a connection carries a backup: then it may last as long as it takes [`PACE_BYTES`] in each
/// [`PACE_INTERVAL`]. Shared by the connection and whoever answers on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace(Arc<AtomicBool>);

impl Pace {
    fn carry_backup(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn carries_backup(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Pace {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        stream.io().pace.clone()
    }
}

/// A listener whose connections are bounded in number and in time.
struct Bounded {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    life: Duration,
    pace_interval: Duration,
}

/// A connection in its slot; reading from it, or waiting to write, fails once its time is over.
struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    pace: Pace,
    pace_interval: Duration,
    /// What was written since `end` was last set; none before it was, for a backup.
    paced_bytes: Option<usize>,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    /// Whether the time is over. It begins anew for a backup that is taken fast enough.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        while self.end.as_mut().poll(cx).is_ready() {
            if !self.pace.carries_backup() || self.paced_bytes.is_some_and(|bytes| bytes < PACE_BYTES) {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.end.as_mut().reset(Instant::now() + self.pace_interval);
            self.paced_bytes = Some(0);
        }
        Poll::Pending
    }
}

impl Bounded {
    fn new(listener: TcpListener, connections_max: usize, life: Duration, pace_interval: Duration) -> Self {
        Self { listener, slots: Arc::new(Semaphore::new(connections_max)), life, pace_interval }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let slot = Arc::clone(&self.slots).acquire_owned().await.expect("the semaphore is never closed");
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let end = Box::pin(tokio::time::sleep_until(Instant::now() + self.life));
        let connection = Connection {
            stream,
            end,
            pace: Pace::default(),
            pace_interval: self.pace_interval,
            paced_bytes: None,
            _slot: slot,
        };
        (connection, address)
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
        if let Poll::Ready(error) = self.poll_end(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Ready(written) => {
                if let (Ok(written), Some(paced_bytes)) = (&written, &mut self.paced_bytes) {
                    *paced_bytes += written;
                }
                Poll::Ready(written)
            }
            Poll::Pending => self.poll_end(cx).map(Err),
        }
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
    use std::task::{Context, Poll};

    use axum::body::{Body, Bytes};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        sync::oneshot,
    };

    use super::*;
    use crate::status::Leader;

    #[tokio::test]
    async fn silent_connections_lose_their_slots_to_those_who_ask() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounded = Bounded::new(listener, 2, Duration::from_millis(50), Duration::from_millis(50));
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

    /// A backup without an end, and what tells that nobody wants more of it.
    struct Endless(Option<oneshot::Sender<()>>);

    impl futures_core::Stream for Endless {
        type Item = io::Result<Bytes>;

        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
            Poll::Ready(Some(Ok(Bytes::from_static(&[0; 64 << 10]))))
        }
    }

    impl Drop for Endless {
        fn drop(&mut self) {
            let _ = self.0.take().map(|dropped| dropped.send(()));
        }
    }

    /// A client that has asked for an endless backup, where connections live for less than a tenth of a second.
    async fn ask_for_backup() -> (TcpStream, oneshot::Receiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounded = Bounded::new(listener, 2, Duration::from_millis(50), Duration::from_millis(90));
        let (dropped, watched) = oneshot::channel();
        let dropped = Arc::new(std::sync::Mutex::new(Some(dropped)));
        let answer = move |ConnectInfo(pace): ConnectInfo<Pace>| async move {
            pace.carry_backup();
            Body::from_stream(Endless(dropped.lock().unwrap().take()))
        };
        let router = Router::new().route("/snapshot", get(answer));
        let service = router.into_make_service_with_connect_info::<Pace>();
        tokio::spawn(async move { axum::serve(bounded, service).await });
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /snapshot HTTP/1.0\r\n\r\n").await.unwrap();
        (client, watched)
    }

    #[tokio::test]
    async fn a_backup_that_is_taken_lasts_longer_than_other_connections() {
        let (mut client, _watched) = ask_for_backup().await;
        let (begin, mut buffer) = (Instant::now(), vec![0; 1 << 20]);
        while begin.elapsed() < Duration::from_millis(600) {
            assert_ne!(client.read(&mut buffer).await.unwrap(), 0, "after {:?}", begin.elapsed());
        }
    }

    #[tokio::test]
    async fn a_backup_that_nobody_takes_is_given_up() {
        let (_client, watched) = ask_for_backup().await;
        tokio::time::timeout(Duration::from_secs(10), watched).await.unwrap().unwrap();
    }

    /// As far as a few bytes at a time are nothing.
    #[tokio::test]
    async fn a_backup_that_is_taken_too_slowly_is_given_up() {
        let (mut client, mut watched) = ask_for_backup().await;
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        for _ in 0..10_000 {
            tick.tick().await;
            drop(client.read_u8().await);
            if watched.try_recv().is_ok() {
                return;
            }
        }
        panic!("it goes on");
    }

    #[test]
    fn ready_means_loaded_led_and_born() {
        let why_not = |status: &NodeStatus, stopping| why_not_ready(status, stopping).unwrap_or_default();
        let joining = Some("by h:1: no answer".to_owned());
        let mut status = NodeStatus { loading: true, joining, ..NodeStatus::default() };
        assert_eq!(why_not(&status, false), "this node has not joined its cluster yet: by h:1: no answer");
        assert_eq!(why_not(&status, true), "this node is shutting down");
        status.joining = None;
        assert_eq!(why_not(&status, false), "this node is loading its data");
        status.loading = false;
        status.removed = true;
        assert_eq!(why_not(&status, false), "this node was removed from the cluster");
        status.removed = false;
        assert_eq!(why_not(&status, false), "there is no leader");
        status.leader = Some(Leader::default());
        assert_eq!(why_not(&status, false), "the cluster is being formed");
        status.cluster_id = Some("c".to_owned());
        assert_eq!(why_not_ready(&status, false), None);
        assert_eq!(why_not(&status, true), "this node is shutting down");
    }
}
