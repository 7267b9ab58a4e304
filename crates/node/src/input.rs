//! What can happen to a driver.

use bytes::Bytes;
use quorate_consensus::{Address, BootTime, Change, NodeId, PersistId, SnapshotMeta, Term};
use quorate_log::Room;
use quorate_machine::{Machine, Watched};

use crate::peer::PeerMessage;

/// The instant at which a batch of inputs is handled, read after the last of them had arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The node's boot-time clock: all time-outs and time-to-lives run on it.
    pub boot: BootTime,
    /// The node's wall clock in milliseconds since the Unix epoch: it feeds the calendar, and nothing else.
    pub wall_ms: i64,
}

/// A client's connection to this node, unique for the lifetime of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// One input of the driver.
#[derive(Debug)]
pub enum Input<M> {
    /// Nothing but the passing of time.
    Deadline,
    /// Commands of one client connection, in the order in which it sent them. Each gets exactly one
    /// [`crate::Answer`], in the same order. A connection is known from its first request on.
    Requests {
        /// The connection.
        conn: ConnId,
        /// The commands; each has passed `quorate_machine::check` already.
        requests: Vec<Request>,
    },
    /// The client is gone: its answers have no reader any more. What it has sent may still take effect; but what waits,
    /// waits no longer.
    Disconnected {
        /// The connection.
        conn: ConnId,
    },
    /// The client will send nothing more, and waits for nothing: when something waits on its connection, now or later,
    /// it takes nothing, and the connection closes. What was sent before that is carried out and answered.
    GivesUp {
        /// The connection.
        conn: ConnId,
    },
    /// A message arrived from another member of the same cluster.
    Peer {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: PeerMessage<M>,
    },
    /// A peer of the same cluster says where it is reached.
    Located {
        /// The peer.
        peer: NodeId,
        /// Where it is.
        address: Address,
    },
    /// The connection to a peer was reset or could not be made: what was under way to it is lost.
    Unreachable {
        /// The peer.
        peer: NodeId,
    },
    /// The log has made this operation, and all before it, durable.
    Persisted {
        /// The operation.
        op: PersistId,
    },
    /// The log could not make this operation durable. Final: the driver ends.
    PersistFailed {
        /// The operation.
        op: PersistId,
        /// What the disk said.
        reason: String,
    },
    /// [`crate::LogTask::ReplaceBySnapshot`] is durable.
    LogReplaced {
        /// The snapshot.
        meta: SnapshotMeta,
    },
    /// How much room the disk has for more of the log has changed. Until the first report it is enough.
    Room(Room),
    /// What became of a [`crate::SnapshotTask`].
    Snapshot(SnapshotDone),
    /// An operator wants another leader. What comes of it shows in who leads.
    Transfer {
        /// The term that is to end, as far as who wishes knows; counts only if no successor is named.
        term: Term,
        /// The successor; none for whoever is fit.
        to: Option<NodeId>,
    },
    /// The process wants to end: leadership should be handed over.
    Shutdown,
}

/// What became of a [`crate::SnapshotTask`].
#[derive(Debug)]
pub enum SnapshotDone {
    /// The snapshot of this node's own machine is durable and visible.
    Made {
        /// What it stands for, with its size.
        meta: SnapshotMeta,
    },
    /// It could not be made; the log stays as it is, and another is tried later.
    MakeFailed {
        /// What the disk said.
        reason: String,
    },
    /// A chunk of the newest snapshot was read for a peer.
    Loaded {
        /// The peer.
        to: NodeId,
        /// The snapshot.
        meta: SnapshotMeta,
        /// Where the chunk begins.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// The snapshot that a peer needs is not there any more, since a newer one is, or was not read for now.
    Missing {
        /// The peer.
        to: NodeId,
    },
    /// The snapshot that a peer needs is damaged, or there is none: a new one must be made.
    Unreadable {
        /// The peer.
        to: NodeId,
    },
    /// A received chunk is written.
    Stored {
        /// The snapshot.
        meta: SnapshotMeta,
        /// The number of its bytes that are written.
        end: u64,
    },
    /// A received snapshot is complete, restored, and since then durable and visible.
    Received {
        /// The snapshot.
        meta: SnapshotMeta,
        /// The machine that [`crate::restore`] made of it.
        machine: Box<Machine>,
    },
    /// A received snapshot could not be written, did not verify, or is not one of a machine that this release knows.
    /// What was there before is still there.
    Rejected {
        /// The snapshot.
        meta: SnapshotMeta,
        /// Why.
        reason: String,
    },
}

/// One command of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The database that its connection has selected.
    pub db: u32,
    /// What is asked.
    pub action: Action,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A command that changes nothing: served locally once a quorum has confirmed how far this node must be,
    /// or in the log if a write of its connection is in flight.
    Read(Vec<Bytes>),
    /// A command that changes nothing, served from this node's own data at once, however old they are; or in the log if
    /// a write of its connection is in flight.
    StaleRead(Vec<Bytes>),
    /// A command that may change something: always in the log.
    Write(Vec<Bytes>),
    /// A command that may wait for something to happen: always in the log, and nothing that its connection sends behind
    /// it is begun before it is answered. It waits until its client is gone.
    Wait(Vec<Bytes>),
    /// A transaction: one operation of the log.
    Transaction {
        /// What must not have changed since it was watched.
        watched: Vec<Watched>,
        /// The commands, each with its database.
        commands: Vec<(u32, Vec<Bytes>)>,
    },
    /// The present versions of these keys, for a later transaction.
    Watch(Vec<Bytes>),
    /// A view of the whole machine, with everything in it that was acknowledged before.
    View,
    /// Other members: begun when nothing of its connection is in flight, and nothing behind it is begun before it is
    /// answered, which is when the change is done, refused, or out of sight.
    Reconfigure(Change),
    /// Ends the waiting of another connection's command: in the log, and so before or after whatever would serve it. The
    /// answer is 1, or 0 if nothing waits there.
    Unblock {
        /// The other connection.
        target: ConnId,
        /// Whether its command is answered by an error; else as if its time were up.
        with_error: bool,
    },
}
