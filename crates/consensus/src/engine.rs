//! The contract between a consensus engine and its callers.
//!
//! # How it is driven
//!
//! The caller feeds any number of [`Input`]s by [`Engine::step`], each with the same `now`, which was read
//! after the last of them had arrived, and then calls [`Engine::drain`] once. One drained batch holds at most
//! one [`Persist`], so all proposals that arrived together share one write and one message per peer.
//!
//! # What the caller owes
//!
//! * Persist operations are written first in, first out, and each completion is reported by its id.
//! * [`Persist::after`] leaves only when the operation that carries it is durable; [`Effects::send`] may leave
//!   at once, also before the write of the same batch: a leader replicates in parallel with its own write.
//! * A failed write is reported once and is final: the engine ends, and is not asked again.
//! * Messages between two nodes may be lost, duplicated, delayed and reordered, but not altered.
//! * [`Engine::step`] is called at [`Engine::deadline`] or soon after, with [`Input::Deadline`] if nothing else
//!   has happened. Being late is safe; it costs time alone.
//! * Committed entries are applied in order, and [`Input::Applied`] follows.
//! * A configuration is in force from when it is appended; for what is not consensus (whom to connect to), the
//!   newest one in the log counts, too: [`Effects::membership`]. Who is not in it may still have to be told that he
//!   was removed.
//!
//! # What the engine promises
//!
//! * `committed` never goes back and never skips; an entry that was handed out is on a quorum's disks.
//! * A read that is ready at an index reflects every write that was acknowledged before the read began, once
//!   that index is applied.
//! * Each proposal and each read gets exactly one outcome, unless the engine ends before.
//! * Memory is bounded by [`Config`]: beyond a bound a proposal is refused, never queued.

use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    BootTime, Change, ClusterTime, Entry, HardState, Index, Membership, NodeId, PersistId, Priority,
    ProposalId, ReadId, Refusal, SnapshotMeta, Term,
};

/// A consensus engine for one shard. See the module's text for the rules.
pub trait Engine: Clone + Eq + Hash + Send + Sync + Sized {
    /// What engines of this kind say to each other.
    type Message: Clone + Eq + Hash + Send + fmt::Debug + fmt::Display;

    /// An engine that continues from what its disk holds. A first start is a restart from nothing.
    fn new(config: Config, restored: Restored, now: BootTime) -> Self;

    /// Takes one input. Effects gather until they are drained.
    fn step(&mut self, now: BootTime, input: Input<Self::Message>);

    /// Everything that the inputs since the last call have caused.
    fn drain(&mut self, now: BootTime) -> Effects<Self::Message>;

    /// Whether taking `message` makes the log grow. A node whose disk is full treats such a message as lost,
    /// and goes on with all others.
    fn needs_room(message: &Self::Message) -> bool;

    /// When the engine wants to be called at the latest.
    fn deadline(&self) -> BootTime;

    /// What can be told about the engine at this moment.
    fn status(&self, now: BootTime) -> Status;

    /// The leader's present cluster time; `None` when this node does not lead.
    fn cluster_time(&self, now: BootTime) -> Option<ClusterTime>;
}

/// Settings of an engine. All sizes are bytes of [`Entry::weight`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// The seed of every random choice, so that two engines with equal inputs make equal choices. Differs
    /// between nodes and between starts, or elections would collide.
    pub seed: u64,
    /// A follower that hears no leader for a random time between one and two of these starts an election.
    pub election_timeout: Duration,
    /// A leader speaks to each peer at least this often. At most a third of `election_timeout`.
    pub heartbeat_interval: Duration,
    /// The most entries' bytes in one message. A single larger entry travels alone.
    pub message_bytes_max: usize,
    /// The most append messages in flight to one peer.
    pub inflight_messages_max: usize,
    /// The most entries' bytes in flight to one peer.
    pub inflight_bytes_max: usize,
    /// The most bytes appended by this leader and not yet committed; beyond it proposals are refused.
    pub uncommitted_bytes_max: usize,
    /// The bytes of one chunk of a snapshot.
    pub snapshot_chunk_bytes: usize,
    /// A persist operation older than this makes a leader give up its leadership.
    pub persist_stall_max: Duration,
    /// A learner that lacks more entries than this is not promoted: the quorum would have to wait for it.
    pub promotion_lag_max: u64,
    /// How willing this node is to lead.
    pub priority: Priority,
}

impl Config {
    /// Settings for `id` that suit machines in one region, and tests.
    #[must_use]
    pub fn for_node(id: NodeId, seed: u64) -> Self {
        Self {
            id,
            seed,
            election_timeout: Duration::from_millis(300),
            heartbeat_interval: Duration::from_millis(50),
            message_bytes_max: 1 << 20,
            inflight_messages_max: 256,
            inflight_bytes_max: 16 << 20,
            uncommitted_bytes_max: 64 << 20,
            snapshot_chunk_bytes: 256 << 10,
            persist_stall_max: Duration::from_secs(2),
            // Entries are batches: what a busy leader appends within some heartbeat intervals.
            promotion_lag_max: 256,
            priority: Priority::default(),
        }
    }
}

/// What a node's disk held when it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Restored {
    /// The hard state; the default value on a first start.
    pub hard_state: HardState,
    /// The newest complete snapshot, if there is one. Its state is installed in the machine already.
    pub snapshot: Option<SnapshotMeta>,
    /// The configuration that the cluster was born with, in force at index 0. Ignored beside a snapshot.
    pub birth: Membership,
    /// All entries after the snapshot, contiguous.
    pub entries: Vec<Entry>,
    /// Whether the disk once held more, which was damaged. Of what is restored, snapshot and commit index are true, and
    /// the entries are a beginning of what the log once was. The engine takes part in no election before it has got
    /// all back: [`Effects::repaired`].
    pub under_repair: bool,
}

/// What can happen to an engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input<M> {
    /// Nothing but the passing of time.
    Deadline,
    /// A message arrived from a peer.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: M,
    },
    /// A client's batch wants to be logged. An empty payload becomes [`crate::Payload::Blank`].
    Propose {
        /// Named again in [`ProposalOutcome`].
        id: ProposalId,
        /// The batch.
        payload: Bytes,
    },
    /// A linearizable read wants to know the index that it must see applied.
    Read {
        /// Named again in [`ReadOutcome`].
        id: ReadId,
    },
    /// The members of the cluster should change. Done when a configuration that is not joint, at or after the index
    /// of the outcome, is handed out as committed.
    Reconfigure {
        /// Named again in [`ProposalOutcome`].
        id: ProposalId,
        /// All that is to change.
        change: Change,
    },
    /// The leader should hand its leadership to `to`. Without effect on others.
    Transfer {
        /// The successor, a voter, also after a change that is under way.
        to: NodeId,
    },
    /// Start an election now, without asking first whether it could succeed, whatever this node's priority.
    Campaign,
    /// A persist operation, and all before it, is durable.
    Persisted {
        /// The operation.
        op: PersistId,
    },
    /// A persist operation failed. Final.
    PersistFailed {
        /// The operation.
        op: PersistId,
    },
    /// The machine has applied all entries up to here.
    Applied {
        /// The last applied index.
        index: Index,
    },
    /// Whether the log may grow from now on: at first it may. A node whose log may not stands for no election, since it
    /// could neither learn nor append.
    Room {
        /// Whether it may.
        may_grow: bool,
    },
    /// The connection to a peer was reset or could not be made: what was in flight to it is lost.
    Unreachable {
        /// The peer.
        peer: NodeId,
    },
    /// A snapshot of this node's own machine is durable: the log up to `keep_from` may be dropped.
    SnapshotMade {
        /// What it stands for. Its configuration is the one at its index, not a newer one that is only appended.
        meta: SnapshotMeta,
        /// The first entry that stays, for followers that are only a little behind. At most
        /// `meta.index + 1`.
        keep_from: Index,
    },
    /// The chunk that [`SnapshotEffect::Load`] asked for.
    SnapshotLoaded {
        /// The peer that it is for.
        to: NodeId,
        /// The snapshot it was read from.
        meta: SnapshotMeta,
        /// Where the chunk begins.
        offset: u64,
        /// The bytes. Empty only when the snapshot is.
        data: Bytes,
    },
    /// The snapshot that [`SnapshotEffect::Load`] named is no longer there, or could not be read.
    SnapshotMissing {
        /// The peer that it was for.
        to: NodeId,
    },
    /// The chunk of [`SnapshotEffect::Store`] is written (not yet durable). `end` is where the next begins.
    SnapshotStored {
        /// The snapshot.
        meta: SnapshotMeta,
        /// The number of its bytes that are written.
        end: u64,
    },
    /// The snapshot of [`SnapshotEffect::Install`] is durable, verified, and in the machine; the durable log is
    /// replaced by it where they disagree.
    SnapshotInstalled {
        /// The snapshot.
        meta: SnapshotMeta,
    },
    /// A received snapshot could not be written or did not verify: the transfer begins anew.
    SnapshotRejected {
        /// The snapshot.
        meta: SnapshotMeta,
    },
}

/// Everything that one batch of inputs has caused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects<M> {
    /// What must be written, if anything.
    pub persist: Option<Persist<M>>,
    /// Messages that may leave now.
    pub send: Vec<(NodeId, M)>,
    /// Entries that became committed, in order.
    pub committed: Vec<Entry>,
    /// What became of proposals.
    pub proposals: Vec<(ProposalId, ProposalOutcome)>,
    /// What became of reads.
    pub reads: Vec<(ReadId, ReadOutcome)>,
    /// Snapshot work to do.
    pub snapshots: Vec<SnapshotEffect>,
    /// The role, if it or the known leader has changed.
    pub role: Option<RoleView>,
    /// The configuration in force, if it has changed, and at first: whom to be connected to.
    pub membership: Option<Arc<Membership>>,
    /// Set once, when this node has learned that it is no member any more, and has no more to do: it leads no more,
    /// and will never stand for election. After a restart it may have to learn it anew.
    pub removed: bool,
    /// Set once, when a node that was restored [under repair](Restored::under_repair) has on its disk again all that it
    /// may ever have acknowledged, which is up to here. From then on it is like any other, also after a restart.
    pub repaired: Option<Index>,
    /// Set once, by a failure after which the engine is dead.
    pub fatal: Option<Fatal>,
}

impl<M> Default for Effects<M> {
    fn default() -> Self {
        Self {
            persist: None,
            send: Vec::new(),
            committed: Vec::new(),
            proposals: Vec::new(),
            reads: Vec::new(),
            snapshots: Vec::new(),
            role: None,
            membership: None,
            removed: false,
            repaired: None,
            fatal: None,
        }
    }
}

/// One write: applied in this order, made durable as a whole, then `after` leaves.
///
/// It may be empty but for `after`: a message that waits for an earlier write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Persist<M> {
    /// Its unique, growing number.
    pub op: PersistId,
    /// The hard state, if it has changed. Durable no later than the entries.
    pub hard_state: Option<HardState>,
    /// Remove all entries from this index on, before appending.
    pub truncate_from: Option<Index>,
    /// Entries to append, contiguous with what is there.
    pub entries: Vec<Entry>,
    /// Messages that may leave only once this operation is durable.
    pub after: Vec<(NodeId, M)>,
}

/// What became of a proposal, or of a change of members.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProposalOutcome {
    /// In this node's log; committed if and only if this very (index, term) is handed out as committed.
    Appended {
        /// Its position.
        index: Index,
        /// Its term.
        term: Term,
    },
    /// Not appended, and never will be: this node does not lead, or is handing over.
    NotLeader,
    /// Not appended: too many bytes wait for commitment.
    Overloaded,
    /// A change of members that must not be made.
    Refused(Refusal),
}

/// What became of a linearizable read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadOutcome {
    /// The read may be served once `index` is applied.
    Ready {
        /// The commit index that a quorum confirmed after the read began.
        index: Index,
        /// The leader's cluster time at that moment.
        stamp: ClusterTime,
    },
    /// No leader could confirm it. Safe to try again, under a new id.
    Dropped,
}

/// Snapshot work that the caller must do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotEffect {
    /// Read up to `bytes` of the newest complete snapshot from `offset` on, and answer
    /// [`Input::SnapshotLoaded`] or [`Input::SnapshotMissing`]. With `meta` given, it must be that one.
    Load {
        /// The peer that needs it.
        to: NodeId,
        /// The snapshot, once its transfer has begun.
        meta: Option<SnapshotMeta>,
        /// Where to read.
        offset: u64,
        /// How much to read at most.
        bytes: usize,
    },
    /// Write a received chunk, then answer [`Input::SnapshotStored`] or [`Input::SnapshotRejected`]. Offset 0
    /// begins anew.
    Store {
        /// The snapshot.
        meta: SnapshotMeta,
        /// Where the chunk begins: always where the one before ended.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// All chunks are written: verify, make it durable, put it into the machine and in the place of the log,
    /// then answer [`Input::SnapshotInstalled`] or [`Input::SnapshotRejected`]. The engine commits and
    /// appends nothing in between.
    Install {
        /// The snapshot.
        meta: SnapshotMeta,
    },
}

/// Which part a node plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleKind {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether an election could succeed.
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
}

/// A node's view of who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoleView {
    /// The present term.
    pub term: Term,
    /// The part that this node plays.
    pub kind: RoleKind,
    /// The leader of `term`, if known.
    pub leader: Option<NodeId>,
}

/// What can be told about an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Role, term, leader.
    pub role: RoleView,
    /// The last entry in the log.
    pub last_index: Index,
    /// The last entry known to be committed.
    pub commit: Index,
    /// The last entry known to be applied.
    pub applied: Index,
    /// The first entry still in the log.
    pub first_index: Index,
    /// The configuration in force: the newest in the log.
    pub membership: Membership,
    /// The entry that brought it, committed or not; the end of the snapshot, or 0, if it was there before.
    pub membership_index: Index,
    /// Whether this node knows that it is no member any more.
    pub removed: bool,
    /// What a node under repair has got back so far; `None` for any other.
    pub repair: Option<RepairStatus>,
    /// For a leader: an instant up to which nobody else can have led, so that its `commit` was all there was then. None
    /// before a quorum has confirmed it, and elsewhere.
    pub confirmed_at: Option<BootTime>,
    /// Whether this node leads and has given up its lease for the rest of its term, since it has begun to hand over.
    pub lease_given_up: bool,
    /// What a leader knows of each peer, and for a while of those that have left; empty elsewhere.
    pub peers: Vec<PeerStatus>,
}

/// How far the repair of a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairStatus {
    /// Up to here the log is known to be equal to that of the present leader.
    pub matched: Index,
    /// Up to here it must be, and on the disk; `None` while no leader of this term has said so.
    pub goal: Option<Index>,
}

/// What a leader knows of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub id: NodeId,
    /// The last entry known to be on its disk.
    pub matched: Index,
    /// Whether it answered within the last election time-out.
    pub active: bool,
    /// `probe`, `replicate` or `snapshot`.
    pub progress: &'static str,
    /// How willing it is to lead, once it has told.
    pub priority: Option<Priority>,
}

/// Why an engine ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fatal {
    /// A write failed: what the disk holds is unknown, and nothing may be promised on it.
    PersistFailed {
        /// The operation.
        op: PersistId,
    },
}
