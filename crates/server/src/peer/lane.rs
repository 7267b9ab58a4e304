//! Messages that wait for one peer, in a queue that is bounded by bytes.
//!
//! Each peer has two lanes, each with a connection of its own: *urgent*, for small messages that hold time-outs
//! off and elections together, and *bulk*, for entries, forwarded commands and snapshots. So a heartbeat never
//! waits behind a megabyte.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use quorate_node::PeerMessage;
use tokio::sync::mpsc;

use super::Spoken;

/// The kinds of lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Small, and late is as bad as lost.
    Urgent,
    /// All else.
    Bulk,
}

impl Kind {
    /// The lane of a message. One kind of message always takes the same, so that it keeps its order.
    pub(crate) fn of<M: Spoken>(message: &PeerMessage<M>) -> Self {
        match message {
            PeerMessage::Forward(_) => Self::Bulk,
            PeerMessage::Transfer { .. } | PeerMessage::Gossip(_) => Self::Urgent,
            // Behind the entry that it is about.
            PeerMessage::Reconfigure { .. } | PeerMessage::Reconfigured { .. } => Self::Bulk,
            PeerMessage::Engine(message) => message.lane(),
        }
    }
}

/// The bytes that a message counts for: what it holds in memory, roughly.
fn weight<M: Spoken>(message: &PeerMessage<M>) -> usize {
    const BASE_BYTES: usize = 128;
    BASE_BYTES
        + match message {
            PeerMessage::Transfer { .. } | PeerMessage::Gossip(_) => 0,
            PeerMessage::Reconfigure { change, .. } => change.0.len() * size_of::<quorate_consensus::Step>(),
            PeerMessage::Reconfigured { .. } => 0,
            PeerMessage::Engine(message) => message.payload_bytes(),
            PeerMessage::Forward(group) => quorate_machine::weight::of_group(group),
        }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// It waits to be sent.
    Queued,
    /// It was dropped: there is no connection. The peer is reported unreachable by who tries to connect.
    Away,
    /// It was dropped: the queue is full.
    Full {
        /// Whether it is the first that is dropped since the queue was empty.
        first: bool,
    },
}

/// The end where messages go in.
#[derive(Debug)]
pub(crate) struct Sender<M> {
    queue: mpsc::UnboundedSender<PeerMessage<M>>,
    shared: Arc<Shared>,
}

/// The end where messages come out.
#[derive(Debug)]
pub(crate) struct Receiver<M> {
    queue: mpsc::UnboundedReceiver<PeerMessage<M>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bytes: AtomicUsize,
    bytes_max: usize,
    open: AtomicBool,
    /// Whether something was dropped since the queue was empty.
    full: AtomicBool,
}

/// A lane that holds up to `bytes_max` bytes, without a connection yet.
pub(crate) fn lane<M>(bytes_max: usize) -> (Sender<M>, Receiver<M>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        bytes: AtomicUsize::new(0),
        bytes_max,
        open: AtomicBool::new(false),
        full: AtomicBool::new(false),
    });
    (Sender { queue: sender, shared: Arc::clone(&shared) }, Receiver { queue: receiver, shared })
}

impl<M: Spoken> Sender<M> {
    /// Hands a message over, or drops it. A message that is larger than the whole queue travels alone.
    pub(crate) fn push(&self, message: PeerMessage<M>) -> Push {
        if !self.shared.open.load(Ordering::Acquire) {
            return Push::Away;
        }
        let weight = weight(&message);
        let before = self.shared.bytes.fetch_add(weight, Ordering::Relaxed);
        if before > 0 && before + weight > self.shared.bytes_max {
            self.shared.bytes.fetch_sub(weight, Ordering::Relaxed);
            return Push::Full { first: !self.shared.full.swap(true, Ordering::Relaxed) };
        }
        // A receiver that is gone means that the node is shutting down.
        if self.queue.send(message).is_err() { Push::Away } else { Push::Queued }
    }
}

impl<M> Sender<M> {
    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

impl<M: Spoken> Receiver<M> {
    /// There is a connection: messages are taken from now on.
    pub(crate) fn open(&mut self) {
        self.shared.open.store(true, Ordering::Release);
    }

    /// The connection is lost, and with it what waits.
    pub(crate) fn close(&mut self) {
        self.shared.open.store(false, Ordering::Release);
        while self.try_take().is_some() {}
    }

    /// The next message; `None` once the sender is gone. Safe to cancel.
    pub(crate) async fn take(&mut self) -> Option<PeerMessage<M>> {
        let message = self.queue.recv().await?;
        self.taken(&message);
        Some(message)
    }

    /// The next message, if one waits.
    pub(crate) fn try_take(&mut self) -> Option<PeerMessage<M>> {
        let message = self.queue.try_recv().ok()?;
        self.taken(&message);
        Some(message)
    }

    fn taken(&self, message: &PeerMessage<M>) {
        let weight = weight(message);
        if self.shared.bytes.fetch_sub(weight, Ordering::Relaxed) == weight {
            self.shared.full.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_consensus::{
        ClusterTime, Index, SnapshotMeta, Term,
        raft::message::{Body, Message},
    };

    use super::*;

    fn chunk(bytes: usize) -> PeerMessage<Message> {
        let meta = SnapshotMeta {
            index: Index(1),
            term: Term(1),
            stamp: ClusterTime { millis: 0 },
            membership: quorate_consensus::Membership::default().into(),
            bytes: 0,
        };
        let body = Body::SnapshotChunk { meta, offset: 0, data: Bytes::from(vec![0; bytes]) };
        PeerMessage::Engine(Message { term: Term(1), body })
    }

    #[test]
    fn without_a_connection_nothing_waits() {
        let (sender, mut receiver) = lane(1000);
        assert_eq!(sender.push(chunk(10)), Push::Away);
        receiver.open();
        assert_eq!(sender.push(chunk(10)), Push::Queued);
        receiver.close();
        assert_eq!((sender.bytes(), sender.push(chunk(10))), (0, Push::Away));
    }

    #[test]
    fn a_full_queue_drops_and_recovers_and_one_large_message_travels_alone() {
        let (sender, mut receiver) = lane(1000);
        receiver.open();
        assert_eq!(sender.push(chunk(5000)), Push::Queued);
        assert_eq!(sender.push(chunk(10)), Push::Full { first: true });
        assert_eq!(sender.push(chunk(10)), Push::Full { first: false });
        assert!(receiver.try_take().is_some());
        assert_eq!(sender.bytes(), 0);
        assert_eq!(sender.push(chunk(500)), Push::Queued);
        assert_eq!(sender.push(chunk(500)), Push::Full { first: true });
    }

    #[test]
    fn a_heartbeat_does_not_share_a_lane_with_entries() {
        let (commit, stamp) = (Index(1), ClusterTime { millis: 1 });
        let heartbeat = Body::Heartbeat { commit, round: 1, stamp, preferred: Default::default() };
        let heartbeat = PeerMessage::Engine(Message { term: Term(1), body: heartbeat });
        assert_eq!((Kind::of(&heartbeat), Kind::of(&chunk(1))), (Kind::Urgent, Kind::Bulk));
    }
}
