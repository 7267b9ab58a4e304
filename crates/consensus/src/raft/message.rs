//! What Raft nodes say to each other.
//!
//! Each message carries a term, which the receiver compares once, on the way in ([`super`], *the gate*). It is
//! the sender's current term but for the two exceptions of pre-vote, which say so below. Answers carry what they
//! answer to, since messages may be lost, duplicated and reordered: an answer that fits nothing asked is dropped.

use std::fmt;

use bytes::Bytes;

use crate::{ClusterTime, Entry, Index, Priority, SnapshotMeta, Term, entry::write_entries};
pub use crate::{Position, replication::reads::ReadPoint};

/// One message from a node to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The sender's term when it sent this; see [`Body::PreVote`] and [`Body::PreVoteAnswer`] for exceptions.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// A node that hears no leader asks each voter whether it would vote for it. Promises nothing, changes
    /// nothing. **The message's term is the one that it would stand in**: its own plus one.
    PreVote {
        /// The end of the asker's log.
        last: Position,
    },
    /// The answer to [`Body::PreVote`]. **A grant carries the term that was asked about**; a refusal carries the
    /// refuser's own, so that an asker that was left behind catches up.
    PreVoteAnswer {
        /// Whether the voter would vote for the asker.
        granted: bool,
    },
    /// A candidate asks each voter for its vote in the message's term. Sent once the candidate's own vote is
    /// durable.
    Vote {
        /// The end of the candidate's log.
        last: Position,
        /// Whether the leader itself asked for this election: then the voter does not protect it.
        transfer: bool,
    },
    /// The answer to [`Body::Vote`]. A grant is sent once the vote is durable.
    VoteAnswer {
        /// Whether the candidate has the vote.
        granted: bool,
    },
    /// The leader replicates entries, or probes where the logs agree.
    Append {
        /// The entry before the first one carried.
        base: Position,
        /// Contiguous entries from `base.index + 1` on; may be empty.
        entries: Vec<Entry>,
        /// The leader's commit index, which may lie beyond the entries carried.
        commit: Index,
        /// The leader's cluster time when it sent this.
        stamp: ClusterTime,
    },
    /// The follower's log equals the leader's up to `matched`, and is durable up to there.
    AppendAccepted {
        /// The last entry of which that is true.
        matched: Index,
    },
    /// The follower's log does not hold the base of an [`Body::Append`].
    AppendRejected {
        /// The index of the base that was refused.
        base: Index,
        /// The greatest position of the follower's log, at or before the base, whose term is not greater than
        /// the base's: no later position can agree with the leader's log.
        hint: Position,
    },
    /// The leader says that it leads: at least each heartbeat interval, and to begin a round that confirms reads.
    Heartbeat {
        /// The leader's commit index, but at most what it knows to be on this follower's disk.
        commit: Index,
        /// The newest round of reads. Rounds are numbered within a term.
        round: u64,
        /// The leader's cluster time when it sent this.
        stamp: ClusterTime,
        /// The greatest priority among the voters that could succeed the leader: who has a lower one lets them go
        /// first.
        preferred: Priority,
    },
    /// The follower still follows the leader of the message's term.
    HeartbeatAnswer {
        /// The round of the heartbeat that it answers.
        round: u64,
        /// How willing the follower is to lead.
        priority: Priority,
    },
    /// The leader tells what is committed when no entries are due that could carry it. Needs no answer: the next
    /// heartbeat repeats it.
    Commit {
        /// As in [`Body::Heartbeat`].
        commit: Index,
        /// The leader's cluster time when it sent this.
        stamp: ClusterTime,
    },
    /// A node that hears no leader, and has no vote to ask for, asks each voter whether it is a member still. Only
    /// [`Body::Removed`] is an answer.
    Inquiry,
    /// The answer to [`Body::Inquiry`], [`Body::PreVote`] and [`Body::Vote`] of a node that is no member any more,
    /// by a committed configuration. True for ever, so that it counts in whatever term it arrives.
    Removed,
    /// Someone who believed to lead hears that its term is over. Says nothing but its term.
    Outdated,
    /// The leader asks its chosen successor, whose log is complete, to stand for election at once.
    TimeoutNow,
    /// A follower forwards its waiting reads, as one batch, to the leader.
    Read {
        /// A random number of the follower's present life: an answer to a former life is not for this one.
        origin: u64,
        /// The batch, unique in that life.
        batch: u64,
    },
    /// The leader's answer to [`Body::Read`].
    ReadAnswer {
        /// As asked.
        origin: u64,
        /// As asked.
        batch: u64,
        /// What a quorum confirmed after the question arrived; `None` if the node asked does not lead.
        point: Option<ReadPoint>,
    },
    /// The leader sends a part of a snapshot, one at a time, each after the answer to the one before. Without
    /// data at the very end of the snapshot, it asks how the transfer stands.
    SnapshotChunk {
        /// The snapshot that it is a part of.
        meta: SnapshotMeta,
        /// Where in the snapshot the data begins.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// How much of a snapshot the follower has written. Once it is installed, [`Body::AppendAccepted`] says so.
    SnapshotReceived {
        /// The snapshot's last entry.
        last: Position,
        /// The number of bytes written: where the next chunk must begin.
        end: u64,
    },
    /// A node under repair asks its leader up to where it must get the log back. What the leader believes of its log is
    /// of before the damage, and to be forgotten.
    RepairRequest {
        /// A random number of the asker's present life: what was told to a former life is not for this one.
        life: u64,
    },
    /// The leader's answer to [`Body::RepairRequest`].
    RepairPoint {
        /// As asked.
        life: u64,
        /// The end of the leader's log when it was asked.
        last: Index,
    },
}

impl Body {
    /// Whether taking this makes the receiver's log grow.
    pub(super) fn needs_room(&self) -> bool {
        match self {
            Self::Append { entries, .. } => !entries.is_empty(),
            Self::SnapshotChunk { .. } => true,
            Self::PreVote { .. }
            | Self::PreVoteAnswer { .. }
            | Self::Vote { .. }
            | Self::VoteAnswer { .. }
            | Self::AppendAccepted { .. }
            | Self::AppendRejected { .. }
            | Self::Heartbeat { .. }
            | Self::HeartbeatAnswer { .. }
            | Self::Commit { .. }
            | Self::Inquiry
            | Self::Removed
            | Self::Outdated
            | Self::TimeoutNow
            | Self::Read { .. }
            | Self::ReadAnswer { .. }
            | Self::RepairRequest { .. }
            | Self::RepairPoint { .. }
            | Self::SnapshotReceived { .. } => false,
        }
    }

    /// Whether the sender would stand for election, or wonders why it may not.
    pub(super) fn asks_to_stand(&self) -> bool {
        self.speaker() == Speaker::Contender
    }

    /// Whether only a leader sends this.
    pub(super) fn is_from_leader(&self) -> bool {
        self.speaker() == Speaker::Leader
    }

    fn speaker(&self) -> Speaker {
        match self {
            Self::Append { .. }
            | Self::Heartbeat { .. }
            | Self::Commit { .. }
            | Self::TimeoutNow
            | Self::SnapshotChunk { .. } => Speaker::Leader,
            Self::PreVote { .. } | Self::Vote { .. } | Self::Inquiry => Speaker::Contender,
            Self::PreVoteAnswer { .. }
            | Self::VoteAnswer { .. }
            | Self::AppendAccepted { .. }
            | Self::AppendRejected { .. }
            | Self::HeartbeatAnswer { .. }
            | Self::Removed
            | Self::Outdated
            | Self::Read { .. }
            | Self::ReadAnswer { .. }
            | Self::RepairRequest { .. }
            | Self::RepairPoint { .. }
            | Self::SnapshotReceived { .. } => Speaker::Anybody,
        }
    }
}

/// Who says what.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Leader,
    /// Who hears no leader.
    Contender,
    Anybody,
}

/// Writes a priority that is not the usual one.
fn write_priority(f: &mut fmt::Formatter<'_>, name: &str, priority: Priority) -> fmt::Result {
    if priority == Priority::default() { Ok(()) } else { write!(f, " {name}={priority}") }
}

/// The compact notation of logs and golden scripts, such as `Append t2 base=3@1 [4@2] commit=3`. Stamps, which
/// only time moves, the random origin of a read, and the life of a repair are left out.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let term = self.term;
        let verdict = |granted: bool| if granted { "granted" } else { "refused" };
        match &self.body {
            Body::PreVote { last } => write!(f, "PreVote t{term} last={last}"),
            Body::PreVoteAnswer { granted } => write!(f, "PreVoteAnswer t{term} {}", verdict(*granted)),
            Body::Vote { last, transfer } => {
                write!(f, "Vote t{term} last={last}{}", if *transfer { " transfer" } else { "" })
            }
            Body::VoteAnswer { granted } => write!(f, "VoteAnswer t{term} {}", verdict(*granted)),
            Body::Append { base, entries, commit, stamp: _ } => {
                write!(f, "Append t{term} base={base} ")?;
                write_entries(f, entries, Position::to_string)?;
                write!(f, " commit={commit}")
            }
            Body::AppendAccepted { matched } => write!(f, "AppendAccepted t{term} matched={matched}"),
            Body::AppendRejected { base, hint } => {
                write!(f, "AppendRejected t{term} base={base} hint={hint}")
            }
            Body::Heartbeat { commit, round, stamp: _, preferred } => {
                write!(f, "Heartbeat t{term} commit={commit} round={round}")?;
                write_priority(f, "preferred", *preferred)
            }
            Body::HeartbeatAnswer { round, priority } => {
                write!(f, "HeartbeatAnswer t{term} round={round}")?;
                write_priority(f, "priority", *priority)
            }
            Body::Commit { commit, stamp: _ } => write!(f, "Commit t{term} commit={commit}"),
            Body::Inquiry => write!(f, "Inquiry t{term}"),
            Body::Removed => write!(f, "Removed t{term}"),
            Body::Outdated => write!(f, "Outdated t{term}"),
            Body::TimeoutNow => write!(f, "TimeoutNow t{term}"),
            Body::Read { origin: _, batch } => write!(f, "Read t{term} batch={batch}"),
            Body::ReadAnswer { origin: _, batch, point } => {
                write!(f, "ReadAnswer t{term} batch={batch} ")?;
                match point {
                    Some(point) => write!(f, "index={}", point.index),
                    None => write!(f, "refused"),
                }
            }
            Body::SnapshotChunk { meta, offset, data } => write!(
                f,
                "SnapshotChunk t{term} {}@{} {offset}+{}/{}",
                meta.index,
                meta.term,
                data.len(),
                meta.bytes
            ),
            Body::SnapshotReceived { last, end } => write!(f, "SnapshotReceived t{term} {last} end={end}"),
            Body::RepairRequest { life: _ } => write!(f, "RepairRequest t{term}"),
            Body::RepairPoint { life: _, last } => write!(f, "RepairPoint t{term} last={last}"),
        }
    }
}
