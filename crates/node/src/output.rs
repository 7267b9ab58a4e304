//! What a driver wants done.

use bytes::Bytes;
use quorate_consensus::{Membership, NodeId, PersistId, SnapshotMeta};
use quorate_log::{SnapshotHeader, Write};
use quorate_machine::{Publication, Reply, Snapshot, Watched};

use crate::{input::ConnId, peer::PeerMessage};

/// Everything that one batch of inputs has caused. Each list is in order; between the lists there is none,
/// except that nothing in them depends on a log task of the same batch: what does is held back by the driver.
#[derive(Debug)]
pub struct Outputs<M> {
    /// Work for the log's writer, first in, first out.
    pub log: Vec<LogTask>,
    /// Messages to peers.
    pub send: Vec<(NodeId, PeerMessage<M>)>,
    /// Answers to clients.
    pub answers: Vec<(ConnId, Answer)>,
    /// Messages for this node's subscribers, in the order of the log.
    pub publications: Vec<Publication>,
    /// Messages before those in `publications` will never be told here, since a snapshot took the place of their
    /// entries: whoever subscribes must learn that he has missed some.
    pub publications_missed: bool,
    /// Work for the snapshot store, first in, first out.
    pub snapshots: Vec<SnapshotTask>,
    /// The configuration in force, if it has changed, and at first: whom to be connected to.
    pub members: Option<Membership>,
    /// Set once, when this node is no member any more: it can end.
    pub removed: bool,
    /// What an operator should read.
    pub notices: Vec<Notice>,
    /// Set once: the driver is dead, nothing was promised on what failed, and the process must end.
    pub fatal: Option<String>,
}

impl<M> Default for Outputs<M> {
    fn default() -> Self {
        Self {
            log: Vec::new(),
            send: Vec::new(),
            answers: Vec::new(),
            publications: Vec::new(),
            publications_missed: false,
            snapshots: Vec::new(),
            members: None,
            removed: false,
            notices: Vec::new(),
            fatal: None,
        }
    }
}

/// Work for the log's writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTask {
    /// Write, make durable together with what else is waiting, and report
    /// [`crate::Input::Persisted`]. An empty write needs no disk, only its place in the order.
    Write {
        /// Its number.
        op: PersistId,
        /// What to write.
        write: Write,
    },
    /// Put an installed snapshot in the place of the log, and report [`crate::Input::LogReplaced`].
    ReplaceBySnapshot {
        /// What the engine calls it.
        meta: SnapshotMeta,
        /// What the log calls it.
        header: SnapshotHeader,
    },
    /// Entries before `first_kept` are in a durable snapshot: their room may be used again.
    Release {
        /// The first entry that stays.
        first_kept: u64,
    },
    /// All that the disk had lost is back: the folder is not under repair any more. Comes before every later write.
    EndRepair,
    /// The cluster was born, or this node has learnt its id: record it.
    SetClusterId {
        /// The cluster's random id.
        id: u128,
    },
}

/// Work for the snapshot store.
#[derive(Debug)]
pub enum SnapshotTask {
    /// Write a snapshot of this node's own machine, then report `Made` or `MakeFailed`.
    Make {
        /// What it stands for; the size is not known yet.
        meta: SnapshotMeta,
        /// A cheap view of the machine's state, independent of what happens to it from now on.
        snapshot: Box<Snapshot>,
    },
    /// Read a chunk for a peer, then report `Loaded` or `Missing`.
    Load {
        /// The peer.
        to: NodeId,
        /// The snapshot, if the transfer has begun; otherwise the newest.
        meta: Option<SnapshotMeta>,
        /// Where to begin.
        offset: u64,
        /// How many bytes at most.
        bytes: usize,
    },
    /// Write a received chunk, then report `Stored` or `Rejected`. Offset 0 begins anew.
    Store {
        /// The snapshot.
        meta: SnapshotMeta,
        /// Where the chunk begins.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// Verify a received snapshot and [`restore`](crate::restore) its machine; only then make it visible, remove
    /// older ones, and report `Received`. Otherwise discard it, and report `Rejected`.
    Finish {
        /// The snapshot.
        meta: SnapshotMeta,
    },
}

/// The answer to one [`crate::Request`].
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The reply. An error of the kind `CLUSTERDOWN`, `LOADING`, `MISCONF` or `BUSY` says that nothing was
    /// applied.
    Reply(Reply),
    /// The answer to [`crate::Action::Watch`].
    Watched(Vec<Watched>),
    /// The answer to [`crate::Action::View`].
    View(Box<View>),
    /// Whether the command took effect is not known, and will not be told: close the connection, which every
    /// client takes for *unknown*. Later requests of the connection get no answer.
    Close(&'static str),
}

/// A machine as it was after an entry.
#[derive(Debug, Clone)]
pub struct View {
    /// What it stands for; the size is not known yet.
    pub meta: SnapshotMeta,
    /// The cluster's id; none before its birth.
    pub cluster_id: Option<u128>,
    /// The state, independent of what happens to the machine from now on.
    pub snapshot: Snapshot,
}

impl PartialEq for View {
    /// After one entry there is one state.
    fn eq(&self, other: &Self) -> bool {
        self.meta == other.meta
    }
}

/// Something that an operator should read in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How urgent it is.
    pub level: Level,
    /// One line, lower-case, without a full stop.
    pub text: String,
}

/// How urgent a [`Notice`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The normal course of things.
    Info,
    /// Somebody should look at it.
    Warn,
}
