//! `GET /snapshot`: the whole state of this node's machine as a backup, while the node goes on.
//!
//! The shard hands out a copy-on-write view once it has applied everything that a quorum had acknowledged when the
//! request came. A thread draws its bytes from then on, at the pace at which the client takes them: between the two
//! there are never more than [`QUEUED_BLOCKS`] blocks. A client that vanishes, or takes too little
//! ([`crate::http::Pace`]), ends the thread, and so gives the view's memory back.
//!
//! Automatic snapshots and those for peers are files with a thread of their own, and know nothing of this.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    body::{Body, Bytes},
    http::StatusCode,
};
use futures_core::Stream;
use quorate_log::{BackupEncoder, BackupLabel};
use quorate_node::View;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{
    clock,
    handle::{Action, Answer, ConnId, Reply, Request, ShardHandle},
};

/// Backups at once. Each may come to hold a copy of all that changes meanwhile, and reads as fast as it is taken.
const BACKUPS_MAX: usize = 1;

/// Blocks that are drawn and not sent yet, of 64 KiB each.
const QUEUED_BLOCKS: usize = 4;

/// Makes backups of what the shard holds, one at a time.
#[derive(Clone, Debug)]
pub(crate) struct Backups {
    shard: ShardHandle,
    slots: Arc<Semaphore>,
}

/// Why there is no backup: the status of the answer, and in words.
type Refusal = (StatusCode, String);

fn unavailable(reason: impl Into<String>) -> Refusal {
    (StatusCode::SERVICE_UNAVAILABLE, reason.into() + "\n")
}

/// A connection to the shard that ends when nobody cares any more.
struct Asking<'a> {
    shard: &'a ShardHandle,
    conn: ConnId,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.shard.disconnect(self.conn);
    }
}

impl Backups {
    pub(crate) fn new(shard: ShardHandle) -> Self {
        Self { shard, slots: Arc::new(Semaphore::new(BACKUPS_MAX)) }
    }

    /// The backup of the state that includes everything acknowledged so far.
    pub(crate) async fn take(&self) -> Result<Body, Refusal> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| {
            unavailable("another backup is being taken from this node: wait for it, or ask another node")
        })?;
        let view = self.view().await?;
        let Some(cluster_id) = view.cluster_id else {
            return Err(unavailable("the cluster is being formed: there is nothing to save yet"));
        };
        let label = BackupLabel {
            cluster_id,
            node_id: self.shard.status().node_id,
            made_ms: u64::try_from(clock::wall_ms()).unwrap_or(0),
            machine_version: u32::from(view.snapshot.version().0),
            program: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let header = quorate_node::header(&view.meta);
        let (encoder, first) = BackupEncoder::begin(&label, &header)
            .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))?;
        let (blocks, queue) = mpsc::channel(QUEUED_BLOCKS);
        let drawing = Drawing { view, encoder, blocks, _slot: slot };
        tokio::task::spawn_blocking(move || drawing.run(first.into()));
        Ok(Body::from_stream(Blocks(queue)))
    }

    async fn view(&self) -> Result<Box<View>, Refusal> {
        let (conn, mut answers) = self.shard.connect();
        let asking = Asking { shard: &self.shard, conn };
        self.shard.submit(conn, vec![Request { db: 0, action: Action::View }]);
        let answer = answers.recv().await;
        drop(asking);
        match answer {
            Some(Answer::View(view)) => Ok(view),
            Some(Answer::Reply(Reply::Error(text))) => Err(unavailable(String::from_utf8_lossy(&text))),
            Some(Answer::Reply(_) | Answer::Watched(_) | Answer::Close(_)) | None => {
                Err(unavailable("this node recovers its data, or ends"))
            }
        }
    }
}

/// A backup on its way to a client. Runs on a thread that may block.
struct Drawing {
    view: Box<View>,
    encoder: BackupEncoder,
    blocks: mpsc::Sender<Bytes>,
    _slot: OwnedSemaphorePermit,
}

/// The client is gone, or was too slow.
struct Gone;

impl Drawing {
    fn run(self, first: Bytes) {
        let index = self.view.meta.index;
        let begin = Instant::now();
        match self.draw(first) {
            Ok(bytes) => {
                tracing::info!(%index, bytes, took = ?begin.elapsed(), "a backup was taken from this node")
            }
            Err(Gone) => {
                tracing::warn!(%index, took = ?begin.elapsed(), "a backup was broken off by who took it")
            }
        }
    }

    /// Hands over all bytes, and says how many there were.
    fn draw(self, first: Bytes) -> Result<u64, Gone> {
        let Self { view, mut encoder, blocks, _slot } = self;
        let mut bytes = 0;
        let mut send = |block: Bytes| {
            bytes += block.len() as u64;
            blocks.blocking_send(block).map_err(|_| Gone)
        };
        send(first)?;
        for chunk in view.snapshot {
            let mut data = &chunk[..];
            while !data.is_empty() {
                encoder.add(&mut data).map_or(Ok(()), &mut send)?;
            }
        }
        send(encoder.finish())?;
        Ok(bytes)
    }
}

/// The blocks as a body.
struct Blocks(mpsc::Receiver<Bytes>);

impl Stream for Blocks {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.0.poll_recv(cx).map(|block| block.map(Ok))
    }
}
