//! The messages of Paxos engines. What both engines say in the same words has one shape, in the parent.

use super::{
    Append, AppendRejected, Commit, Nothing, Position, Read, ReadAnswer, RepairPoint, SnapshotChunk,
    SnapshotReceived,
};

/// `quorate_consensus::paxos::message::Message`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Paxos {
    /// The ballot as a term: the round, and the node in the lower 16 bits. 0 is before all ballots.
    #[prost(uint64, tag = "1")]
    pub(crate) ballot: u64,
    #[prost(
        oneof = "Body",
        tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23"
    )]
    pub(crate) body: Option<Body>,
}

/// `quorate_consensus::paxos::message::Body`, in its order.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Body {
    #[prost(message, tag = "2")]
    Poll(Poll),
    #[prost(message, tag = "3")]
    PollAnswer(PollAnswer),
    #[prost(message, tag = "4")]
    Prepare(Prepare),
    /// The end of the acceptor's log.
    #[prost(message, tag = "5")]
    Promise(Position),
    /// The end of the candidate's log.
    #[prost(message, tag = "6")]
    Teach(Position),
    #[prost(message, tag = "7")]
    Accept(Append),
    #[prost(uint64, tag = "8")]
    Accepted(u64),
    #[prost(message, tag = "9")]
    Rejected(AppendRejected),
    #[prost(message, tag = "10")]
    Decide(Commit),
    #[prost(message, tag = "11")]
    Heartbeat(Heartbeat),
    #[prost(message, tag = "12")]
    HeartbeatAnswer(super::HeartbeatAnswer),
    #[prost(message, tag = "13")]
    Resigned(Nothing),
    #[prost(message, tag = "14")]
    Outdated(Nothing),
    #[prost(message, tag = "15")]
    TakeOver(Nothing),
    #[prost(message, tag = "16")]
    Inquiry(Nothing),
    #[prost(message, tag = "17")]
    Removed(Nothing),
    #[prost(message, tag = "18")]
    Read(Read),
    #[prost(message, tag = "19")]
    ReadAnswer(ReadAnswer),
    #[prost(message, tag = "20")]
    SnapshotChunk(SnapshotChunk),
    #[prost(fixed64, tag = "21")]
    RepairRequest(u64),
    #[prost(message, tag = "22")]
    RepairPoint(RepairPoint),
    #[prost(message, tag = "23")]
    SnapshotReceived(SnapshotReceived),
}

/// Whether somebody is there.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Poll {
    #[prost(fixed64, tag = "1")]
    pub(crate) origin: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) round: u64,
    #[prost(uint32, tag = "3")]
    pub(crate) priority: u32,
    /// The end of the asker's log.
    #[prost(message, optional, tag = "4")]
    pub(crate) last: Option<Position>,
}

/// The answer to it.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct PollAnswer {
    #[prost(fixed64, tag = "1")]
    pub(crate) origin: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) round: u64,
    #[prost(bool, tag = "3")]
    pub(crate) led: bool,
    /// Absent if the sender has not asked itself.
    #[prost(bool, optional, tag = "4")]
    pub(crate) connected: Option<bool>,
    #[prost(uint32, tag = "5")]
    pub(crate) priority: u32,
    /// The end of the sender's log.
    #[prost(message, optional, tag = "6")]
    pub(crate) last: Option<Position>,
    #[prost(bool, tag = "7")]
    pub(crate) ahead: bool,
}

/// A candidate's request.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Prepare {
    #[prost(bool, tag = "1")]
    pub(crate) ordered: bool,
    #[prost(bool, tag = "2")]
    pub(crate) promised: bool,
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
}
