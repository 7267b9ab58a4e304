//! The messages between nodes as protobuf: the bytes of `docs/messages.md`.
//!
//! Field numbers are for ever: a field that goes out of use leaves its number unused, and a new one takes the
//! next. What a peer must understand to be safe needs a new cluster version, and is written from that one on only: of
//! two nodes that talk, the lower of what they know ([`super::versions`]).

use bytes::Bytes;

pub(crate) mod paxos;

/// What each connection begins with, before the first frame: so that a client of another protocol that has
/// got the wrong port is refused at its first bytes.
pub(crate) const PREAMBLE: [u8; 8] = *b"QUORATE1";

/// What a node says about itself when a connection begins: the dialling node first, then the other.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Hello {
    /// The newest cluster version that the sender speaks as far as it is up to it: less than it knows while it is held.
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    /// The sender.
    #[prost(uint64, tag = "2")]
    pub(crate) from: u64,
    /// The node that it means to talk to.
    #[prost(uint64, tag = "3")]
    pub(crate) to: u64,
    /// The cluster that it belongs to: 16 bytes, big-endian; empty before the cluster's birth.
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) cluster_id: Bytes,
    /// A random number that its data folder has had from its making on: 16 bytes.
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) disk_id: Bytes,
    /// How often it was started on that folder.
    #[prost(uint64, tag = "6")]
    pub(crate) incarnation: u64,
    /// The name of its consensus engine.
    #[prost(string, tag = "7")]
    pub(crate) engine: String,
    /// The largest frame that it sends, in bytes.
    #[prost(uint64, tag = "9")]
    pub(crate) frame_bytes_max: u64,
    /// Where its clients connect, as host:port.
    #[prost(string, tag = "10")]
    pub(crate) resp_address: String,
    /// Where its HTTP is, as host:port.
    #[prost(string, tag = "11")]
    pub(crate) http_address: String,
    /// The version of the program, for people.
    #[prost(string, tag = "12")]
    pub(crate) program: String,
    /// Where other nodes connect, as host:port; empty if it has no place for them.
    #[prost(string, tag = "13")]
    pub(crate) peer_address: String,
    /// Where its Sentinel door is, as host:port; empty without one, and from nodes that know of none.
    #[prost(string, tag = "14")]
    pub(crate) sentinel_address: String,
    /// The oldest cluster version that it speaks.
    #[prost(uint32, tag = "15")]
    pub(crate) oldest_version: u32,
    /// The cluster version that is active, as far as it has applied the log.
    #[prost(uint32, tag = "16")]
    pub(crate) active_version: u32,
    /// The newest cluster version that its build knows; not below `version`.
    #[prost(uint32, tag = "17")]
    pub(crate) known_version: u32,
}

/// The answer to a [`Hello`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Welcome {
    /// Why the connection is refused; empty if it is not.
    #[prost(string, tag = "1")]
    pub(crate) refusal: String,
    /// Who answers; absent in a refusal of garbage.
    #[prost(message, optional, tag = "2")]
    pub(crate) hello: Option<Hello>,
}

/// Everything after the handshake, in the dialling node's direction only.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Frame {
    /// The shard that it is about; 0 until there are more.
    #[prost(uint32, tag = "1")]
    pub(crate) shard: u32,
    /// What it says.
    #[prost(oneof = "Content", tags = "2, 3, 4, 5, 6, 7, 8")]
    pub(crate) content: Option<Content>,
}

/// What a frame says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Content {
    /// From a Raft engine to another.
    #[prost(message, tag = "2")]
    Raft(Raft),
    /// Commands for the leader: a batch of one group, in the machine's own format of entries.
    #[prost(bytes = "bytes", tag = "3")]
    Forward(Bytes),
    /// What a node tells about itself.
    #[prost(message, tag = "4")]
    Gossip(Gossip),
    /// An operator's wish for another leader.
    #[prost(message, tag = "5")]
    Transfer(Transfer),
    /// An operator's wish for other members.
    #[prost(message, tag = "6")]
    Reconfigure(Reconfigure),
    /// What came of it.
    #[prost(message, tag = "7")]
    Reconfigured(Reconfigured),
    /// From a Paxos engine to another.
    #[prost(message, tag = "8")]
    Paxos(paxos::Paxos),
}

/// `quorate_node::PeerMessage::Reconfigure`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Reconfigure {
    #[prost(uint64, tag = "1")]
    pub(crate) ticket: u64,
    #[prost(message, repeated, tag = "2")]
    pub(crate) steps: Vec<Step>,
}

/// `quorate_consensus::Step`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Step {
    #[prost(oneof = "StepKind", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub(crate) kind: Option<StepKind>,
}

/// What a step does.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub(crate) enum StepKind {
    #[prost(message, tag = "1")]
    Add(Add),
    #[prost(uint64, tag = "2")]
    Promote(u64),
    #[prost(uint64, tag = "3")]
    Demote(u64),
    #[prost(message, tag = "4")]
    Move(Located),
    #[prost(uint64, tag = "5")]
    Remove(u64),
    /// A length of 0 is none.
    #[prost(message, tag = "6")]
    Lease(Lease),
    #[prost(message, tag = "7")]
    Quorum(Quorum),
}

/// How many voters commit an entry.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Quorum {
    /// 0 is a majority.
    #[prost(uint32, tag = "1")]
    pub(crate) phase2: u32,
    #[prost(bool, tag = "2")]
    pub(crate) forced: bool,
}

/// A new member.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Add {
    /// Its id; 0 for the lowest that was never used.
    #[prost(uint64, tag = "1")]
    pub(crate) node: u64,
    /// Where it is reached; empty if that is not known.
    #[prost(string, tag = "2")]
    pub(crate) address: String,
    /// Whether it is to vote.
    #[prost(bool, tag = "3")]
    pub(crate) votes: bool,
    /// The voter whose place it takes; 0 if it takes none.
    #[prost(uint64, tag = "4")]
    pub(crate) place: u64,
    /// Whether it is to keep no data.
    #[prost(bool, tag = "5")]
    pub(crate) witness: bool,
}

/// `quorate_node::PeerMessage::Reconfigured`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Reconfigured {
    #[prost(uint64, tag = "1")]
    pub(crate) ticket: u64,
    #[prost(oneof = "Verdict", tags = "2, 3, 4")]
    pub(crate) verdict: Option<Verdict>,
}

/// `quorate_node::Verdict`.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub(crate) enum Verdict {
    #[prost(message, tag = "2")]
    Appended(Position),
    #[prost(string, tag = "3")]
    Refused(String),
    #[prost(message, tag = "4")]
    Later(Nothing),
}

/// `quorate_node::PeerMessage::Transfer`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Transfer {
    /// The successor; 0 for whoever is fit.
    #[prost(uint64, tag = "1")]
    pub(crate) to: u64,
    /// The term that is to end.
    #[prost(uint64, tag = "2")]
    pub(crate) term: u64,
}

/// `quorate_node::Gossip`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Gossip {
    #[prost(uint64, tag = "1")]
    pub(crate) applied: u64,
    #[prost(bool, tag = "2")]
    pub(crate) room: bool,
    #[prost(sint64, tag = "3")]
    pub(crate) wall_ms: i64,
    #[prost(uint32, tag = "4")]
    pub(crate) followers: u32,
    #[prost(uint64, tag = "5")]
    pub(crate) commit: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) sent_us: u64,
    #[prost(message, optional, tag = "7")]
    pub(crate) echo: Option<Echo>,
    #[prost(uint32, tag = "8")]
    pub(crate) version: u32,
}

/// `quorate_node::Echo`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Echo {
    #[prost(uint64, tag = "1")]
    pub(crate) sent_us: u64,
    #[prost(uint32, tag = "2")]
    pub(crate) unconfirmed_ms: u32,
}

/// `quorate_consensus::raft::Message`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Raft {
    #[prost(uint64, tag = "1")]
    pub(crate) term: u64,
    #[prost(oneof = "Body", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21")]
    pub(crate) body: Option<Body>,
}

/// `quorate_consensus::raft::Body`, in its order.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Body {
    #[prost(message, tag = "2")]
    PreVote(Position),
    #[prost(message, tag = "3")]
    PreVoteAnswer(Granted),
    #[prost(message, tag = "4")]
    Vote(Vote),
    #[prost(message, tag = "5")]
    VoteAnswer(Granted),
    #[prost(message, tag = "6")]
    Append(Append),
    #[prost(uint64, tag = "7")]
    AppendAccepted(u64),
    #[prost(message, tag = "8")]
    AppendRejected(AppendRejected),
    #[prost(message, tag = "9")]
    Heartbeat(Heartbeat),
    #[prost(message, tag = "10")]
    HeartbeatAnswer(HeartbeatAnswer),
    #[prost(message, tag = "11")]
    Commit(Commit),
    #[prost(message, tag = "12")]
    Outdated(Nothing),
    #[prost(message, tag = "13")]
    TimeoutNow(Nothing),
    #[prost(message, tag = "14")]
    Read(Read),
    #[prost(message, tag = "15")]
    ReadAnswer(ReadAnswer),
    #[prost(message, tag = "16")]
    SnapshotChunk(SnapshotChunk),
    #[prost(message, tag = "17")]
    SnapshotReceived(SnapshotReceived),
    #[prost(message, tag = "18")]
    Inquiry(Nothing),
    #[prost(message, tag = "19")]
    Removed(Nothing),
    #[prost(fixed64, tag = "20")]
    RepairRequest(u64),
    #[prost(message, tag = "21")]
    RepairPoint(RepairPoint),
}

/// Up to where a node under repair must get the log back.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct RepairPoint {
    #[prost(fixed64, tag = "1")]
    pub(crate) life: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) last: u64,
}

/// A message without fields.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Nothing {}

/// A place in a log.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Position {
    #[prost(uint64, tag = "1")]
    pub(crate) index: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) term: u64,
}

/// The answer of a voter.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Granted {
    #[prost(bool, tag = "1")]
    pub(crate) granted: bool,
}

/// A candidate's request.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Vote {
    #[prost(message, optional, tag = "1")]
    pub(crate) last: Option<Position>,
    #[prost(bool, tag = "2")]
    pub(crate) transfer: bool,
}

/// Entries for a follower.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Append {
    #[prost(message, optional, tag = "1")]
    pub(crate) base: Option<Position>,
    /// Entry `i` has the index `base.index + 1 + i`.
    #[prost(message, repeated, tag = "2")]
    pub(crate) entries: Vec<Entry>,
    #[prost(uint64, tag = "3")]
    pub(crate) commit: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) stamp_ms: u64,
}

/// One entry; its index follows from its place.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entry {
    #[prost(uint64, tag = "1")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) stamp_ms: u64,
    /// Absent in a blank entry.
    #[prost(oneof = "Payload", tags = "3, 4")]
    pub(crate) payload: Option<Payload>,
}

/// What an entry carries.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Payload {
    #[prost(bytes = "bytes", tag = "3")]
    Command(Bytes),
    #[prost(message, tag = "4")]
    Membership(Membership),
}

/// A configuration.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Membership {
    #[prost(uint64, repeated, tag = "1")]
    pub(crate) voters: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    pub(crate) learners: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    pub(crate) outgoing: Vec<u64>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) promotions: Vec<Promotion>,
    #[prost(uint64, tag = "5")]
    pub(crate) ids_used: u64,
    #[prost(message, repeated, tag = "6")]
    pub(crate) addresses: Vec<Located>,
    #[prost(message, optional, tag = "7")]
    pub(crate) lease: Option<Lease>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) uncounted: Vec<Uncounted>,
    /// 0 is a majority.
    #[prost(uint32, tag = "9")]
    pub(crate) phase2_quorum: u32,
    #[prost(uint32, tag = "10")]
    pub(crate) outgoing_phase2_quorum: u32,
}

/// A member whose disk is not counted on: a witness, unless it is set aside.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Uncounted {
    #[prost(uint64, tag = "1")]
    pub(crate) node: u64,
    #[prost(bool, tag = "2")]
    pub(crate) set_aside: bool,
}

/// For how long a leader may answer reads without asking.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Lease {
    #[prost(uint32, tag = "1")]
    pub(crate) millis: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) drift_ppm: u32,
}

/// Where a member is reached.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Located {
    #[prost(uint64, tag = "1")]
    pub(crate) node: u64,
    #[prost(string, tag = "2")]
    pub(crate) address: String,
}

/// A learner that is to vote.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Promotion {
    #[prost(uint64, tag = "1")]
    pub(crate) node: u64,
    /// The voter whose place it takes; 0 if it takes none.
    #[prost(uint64, tag = "2")]
    pub(crate) place: u64,
}

/// A follower's log does not fit.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct AppendRejected {
    #[prost(uint64, tag = "1")]
    pub(crate) base: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) hint: Option<Position>,
}

/// A leader's sign of life.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Heartbeat {
    #[prost(uint64, tag = "1")]
    pub(crate) commit: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) round: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) stamp_ms: u64,
    #[prost(uint32, tag = "4")]
    pub(crate) preferred: u32,
}

/// The answer to it.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct HeartbeatAnswer {
    #[prost(uint64, tag = "1")]
    pub(crate) round: u64,
    #[prost(uint32, tag = "2")]
    pub(crate) priority: u32,
}

/// What is committed.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Commit {
    #[prost(uint64, tag = "1")]
    pub(crate) commit: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) stamp_ms: u64,
}

/// A batch of forwarded reads.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Read {
    #[prost(fixed64, tag = "1")]
    pub(crate) origin: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) batch: u64,
}

/// The answer to them.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct ReadAnswer {
    #[prost(fixed64, tag = "1")]
    pub(crate) origin: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) batch: u64,
    /// Absent if the node asked does not lead.
    #[prost(message, optional, tag = "3")]
    pub(crate) point: Option<ReadPoint>,
}

/// What a leader's quorum confirmed.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct ReadPoint {
    #[prost(uint64, tag = "1")]
    pub(crate) index: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) stamp_ms: u64,
}

/// What a snapshot stands for.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotMeta {
    #[prost(message, optional, tag = "1")]
    pub(crate) last: Option<Position>,
    #[prost(uint64, tag = "2")]
    pub(crate) stamp_ms: u64,
    #[prost(message, optional, tag = "3")]
    pub(crate) membership: Option<Membership>,
    #[prost(uint64, tag = "4")]
    pub(crate) bytes: u64,
}

/// A part of a snapshot.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotChunk {
    #[prost(message, optional, tag = "1")]
    pub(crate) meta: Option<SnapshotMeta>,
    #[prost(uint64, tag = "2")]
    pub(crate) offset: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) data: Bytes,
}

/// How much of a snapshot has arrived.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct SnapshotReceived {
    #[prost(message, optional, tag = "1")]
    pub(crate) last: Option<Position>,
    #[prost(uint64, tag = "2")]
    pub(crate) end: u64,
}
