//! Accepting connections, and refusing them.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

use super::{FrontDoor, clients::Endpoints, serving::Connection};

/// How long to wait after accepting has failed, mostly for want of file descriptors: long enough not to burn
/// a core, short enough that nobody notices once there are some again.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A client that has vanished without a word is noticed after this, as with Redis's `tcp-keepalive 300`.
const KEEPALIVE: Duration = Duration::from_secs(300);

/// Serves whoever connects to `listener`, until `shutdown` is true or its sender is gone. Connections that
/// exist by then go on; they end with their clients, with the shard, or with the runtime.
pub async fn accept(listener: TcpListener, front: Arc<FrontDoor>, mut shutdown: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = shutdown.wait_for(|shutdown| *shutdown) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => welcome(stream, &front),
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if let Some(kept_back) = front.refusals.pass(Instant::now()) {
                    tracing::warn!(%error, kept_back, "cannot accept connections");
                }
                sleep(BACK_OFF).await;
            }
        }
    }
}

/// Errors that the connection brought with it from the queue; the next one may be well.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn welcome(stream: TcpStream, front: &Arc<FrontDoor>) {
    front.statistics.connections.increment();
    // A peer that is gone already has no address: there is nobody to serve.
    let (Ok(remote), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    // Both options only tune; a socket without them still works.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    match Connection::open(front, Endpoints { remote, local }) {
        Some(connection) => {
            let (reader, writer) = stream.into_split();
            tokio::spawn(connection.serve(reader, writer));
        }
        None => refuse(&stream, front),
    }
}

/// Tells one client too many. If even this line does not fit into its socket, it learns from the closing.
fn refuse(stream: &TcpStream, front: &FrontDoor) {
    front.statistics.rejected.increment();
    let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
    if let Some(kept_back) = front.refusals.pass(Instant::now()) {
        let max = front.limits.clients_max;
        tracing::warn!(max, kept_back, "refused a client: max number of clients reached");
    }
}
