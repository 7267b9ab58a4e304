//! What Paxos nodes say to each other.
//!
//! Each message carries a ballot, which the receiver compares once, on the way in ([`super`], *the gate*): the one that the
//! sender has promised. Answers carry what they answer to, since messages may be lost, duplicated and reordered: an answer
//! that fits nothing asked is dropped.

use std::fmt;

use bytes::Bytes;

use super::Ballot;
use crate::{ClusterTime, Entry, Index, Priority, SnapshotMeta, entry::write_entries};
pub use crate::{Position, replication::reads::ReadPoint};

/// One message from a node to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The greatest ballot that the sender had promised when it sent this.
    pub ballot: Ballot,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// A node that hears no leader asks each voter, round by round, whether it is there, and hears one. Promises nothing,
    /// changes nothing, whatever the ballots of both.
    Poll {
        /// A random number of the asker's present life: an answer to a former life is not for this one.
        origin: u64,
        /// The round, unique in that life.
        round: u64,
        /// How willing the asker is to lead.
        priority: Priority,
        /// The end of the asker's log.
        last: Position,
    },
    /// The answer to [`Body::Poll`].
    PollAnswer {
        /// As asked.
        origin: u64,
        /// As asked.
        round: u64,
        /// Whether the sender leads, and hears a quorum, or hears one who leads.
        led: bool,
        /// Whether the sender heard a quorum in its own last round; none if it has not asked.
        connected: Option<bool>,
        /// How willing the sender is to lead; not at all while it could not write.
        priority: Priority,
        /// The end of the sender's log.
        last: Position,
        /// Whether the asker could be taught the sender's log by a snapshot alone, or by more than a window of entries.
        ahead: bool,
    },
    /// Phase 1a. The owner of the message's ballot asks each voter to promise it, which covers all of the log that is not
    /// decided. Sent once its own promise is durable, and repeated until it leads.
    Prepare {
        /// Whether the leader, or its loss of one voter's promise, has ordered it: then no leader is protected from it.
        ordered: bool,
        /// Whether a quorum has promised already, and the candidate learns what was accepted.
        promised: bool,
    },
    /// Phase 1b. The sender has promised the message's ballot, durably.
    Promise {
        /// The end of its log, durable. In the order of ballots, then of length, it tells whose log has all that may be
        /// chosen.
        last: Position,
    },
    /// A candidate asks the acceptor whose log is the greatest for what its own lacks.
    Teach {
        /// The end of the candidate's log.
        last: Position,
    },
    /// Phase 2a: the leader asks to accept entries, or probes where the logs agree. To a candidate, from the acceptor that it
    /// has asked: what that one has accepted.
    Accept {
        /// The entry before the first one carried.
        base: Position,
        /// Contiguous entries from `base.index + 1` on; may be empty.
        entries: Vec<Entry>,
        /// The sender's commit index, which may lie beyond the entries carried.
        commit: Index,
        /// The leader's cluster time when it sent this.
        stamp: ClusterTime,
    },
    /// Phase 2b: the sender's log equals the other's up to `matched`, and is durable up to there.
    Accepted {
        /// The last entry of which that is true.
        matched: Index,
    },
    /// The sender's log does not hold the base of an [`Body::Accept`].
    Rejected {
        /// The index of the base that was refused.
        base: Index,
        /// The greatest position of the sender's log, at or before the base, whose ballot is not greater than the
        /// base's: no later position can agree with the other's log.
        hint: Position,
    },
    /// How far the log is decided, of what the receiver has.
    Decide {
        /// The commit index.
        commit: Index,
        /// The leader's cluster time when it sent this.
        stamp: ClusterTime,
    },
    /// The leader says that it leads: at least each heartbeat interval, and to begin a round that confirms reads.
    Heartbeat {
        /// The leader's commit index, but at most what it knows to be on this follower's disk.
        commit: Index,
        /// The round, unique in this ballot and growing.
        round: u64,
        /// The leader's cluster time when it sent this.
        stamp: ClusterTime,
    },
    /// The sender has promised no ballot beyond the message's.
    HeartbeatAnswer {
        /// The round of the heartbeat that it answers.
        round: u64,
        /// How willing the sender is to lead.
        priority: Priority,
    },
    /// The leader of the message's ballot leads no more, for it hears no quorum.
    Resigned,
    /// The owner of a lower ballot hears of the one that the sender has promised. Says nothing but its ballot.
    Outdated,
    /// The leader asks its chosen successor to stand at once.
    TakeOver,
    /// A node that is no voter, as far as it knows, and hears no leader, asks each voter whether it is a member still. Only
    /// [`Body::Removed`] is an answer.
    Inquiry,
    /// The answer to [`Body::Inquiry`], [`Body::Poll`] and [`Body::Prepare`] of a node that is no member any more, by a
    /// committed configuration. True for ever, so that it counts whatever ballot it comes with.
    Removed,
    /// A follower forwards its waiting reads, as one batch, to the leader.
    Read {
        /// A random number of the follower's present life.
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
    /// A part of a snapshot, one at a time, each after the answer to the one before. Without data at the very end of
    /// the snapshot, it asks how the transfer stands.
    SnapshotChunk {
        /// The snapshot that it is a part of.
        meta: SnapshotMeta,
        /// Where in the snapshot the data begins.
        offset: u64,
        /// The bytes.
        data: Bytes,
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
    /// How much of a snapshot the sender has written. Once it is installed, [`Body::Accepted`] says so.
    SnapshotReceived {
        /// The snapshot's last entry.
        last: Position,
        /// The number of bytes written: where the next chunk must begin.
        end: u64,
    },
}

/// Who may say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    /// Anybody, whatever he has promised.
    Anybody,
    /// The owner of the message's ballot alone.
    Owner,
    /// The owner, or the acceptor that the owner has asked to teach it.
    OwnerOrTeacher,
    /// Anybody who has promised the message's ballot.
    Acceptor,
}

impl Body {
    /// Whether taking this makes the receiver's log grow.
    pub(super) fn needs_room(&self) -> bool {
        match self {
            Self::Accept { entries, .. } => !entries.is_empty(),
            Self::SnapshotChunk { .. } => true,
            Self::Poll { .. }
            | Self::PollAnswer { .. }
            | Self::Prepare { .. }
            | Self::Promise { .. }
            | Self::Teach { .. }
            | Self::Accepted { .. }
            | Self::Rejected { .. }
            | Self::Decide { .. }
            | Self::Heartbeat { .. }
            | Self::HeartbeatAnswer { .. }
            | Self::Resigned
            | Self::Outdated
            | Self::TakeOver
            | Self::Inquiry
            | Self::Removed
            | Self::Read { .. }
            | Self::ReadAnswer { .. }
            | Self::RepairRequest { .. }
            | Self::RepairPoint { .. }
            | Self::SnapshotReceived { .. } => false,
        }
    }

    /// Whether the sender would lead, or wonders why it may not.
    pub(super) fn asks_to_stand(&self) -> bool {
        match self {
            Self::Poll { .. } | Self::Prepare { .. } | Self::Inquiry => true,
            Self::PollAnswer { .. }
            | Self::Promise { .. }
            | Self::Teach { .. }
            | Self::Accept { .. }
            | Self::Accepted { .. }
            | Self::Rejected { .. }
            | Self::Decide { .. }
            | Self::Heartbeat { .. }
            | Self::HeartbeatAnswer { .. }
            | Self::Resigned
            | Self::Outdated
            | Self::TakeOver
            | Self::Removed
            | Self::Read { .. }
            | Self::ReadAnswer { .. }
            | Self::SnapshotChunk { .. }
            | Self::RepairRequest { .. }
            | Self::RepairPoint { .. }
            | Self::SnapshotReceived { .. } => false,
        }
    }

    /// Who may say this.
    pub(super) fn speaker(&self) -> Speaker {
        match self {
            Self::Poll { .. } | Self::PollAnswer { .. } | Self::Outdated | Self::Inquiry | Self::Removed => {
                Speaker::Anybody
            }
            Self::Prepare { .. }
            | Self::Teach { .. }
            | Self::Heartbeat { .. }
            | Self::Resigned
            | Self::RepairPoint { .. }
            | Self::TakeOver => Speaker::Owner,
            Self::Accept { .. } | Self::Decide { .. } | Self::SnapshotChunk { .. } => Speaker::OwnerOrTeacher,
            Self::Promise { .. }
            | Self::Accepted { .. }
            | Self::Rejected { .. }
            | Self::HeartbeatAnswer { .. }
            | Self::Read { .. }
            | Self::ReadAnswer { .. }
            | Self::RepairRequest { .. }
            | Self::SnapshotReceived { .. } => Speaker::Acceptor,
        }
    }
}

/// Writes a priority that is not the usual one.
fn write_priority(f: &mut fmt::Formatter<'_>, priority: Priority) -> fmt::Result {
    if priority == Priority::default() { Ok(()) } else { write!(f, " priority={priority}") }
}

/// Writes a position with its ballot.
fn at(position: &Position) -> String {
    let Position { index, term } = *position;
    format!("{index}@{}", Ballot::of(term))
}

/// The compact notation of logs and golden scripts, such as `Accept 2.n1 base=3@1.n3 [4@2.n1] commit=3`. Stamps, which only
/// time moves, the random origins of polls and reads, and the life of a repair are left out.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ballot = self.ballot;
        match &self.body {
            Body::Poll { origin: _, round, priority, last } => {
                write!(f, "Poll {ballot} round={round} last={}", at(last))?;
                write_priority(f, *priority)
            }
            Body::PollAnswer { origin: _, round, led, connected, priority, last, ahead } => {
                let led = if *led { "led" } else { "leaderless" };
                let connected = match connected {
                    Some(true) => " connected",
                    Some(false) => " unconnected",
                    None => "",
                };
                let ahead = if *ahead { " ahead" } else { "" };
                write!(f, "PollAnswer {ballot} round={round} {led}{connected} last={}{ahead}", at(last))?;
                write_priority(f, *priority)
            }
            Body::Prepare { ordered, promised } => {
                let ordered = if *ordered { " ordered" } else { "" };
                let promised = if *promised { " promised" } else { "" };
                write!(f, "Prepare {ballot}{ordered}{promised}")
            }
            Body::Promise { last } => write!(f, "Promise {ballot} last={}", at(last)),
            Body::Teach { last } => write!(f, "Teach {ballot} last={}", at(last)),
            Body::Accept { base, entries, commit, stamp: _ } => {
                write!(f, "Accept {ballot} base={} ", at(base))?;
                write_entries(f, entries, at)?;
                write!(f, " commit={commit}")
            }
            Body::Accepted { matched } => write!(f, "Accepted {ballot} matched={matched}"),
            Body::Rejected { base, hint } => write!(f, "Rejected {ballot} base={base} hint={}", at(hint)),
            Body::Decide { commit, stamp: _ } => write!(f, "Decide {ballot} commit={commit}"),
            Body::Heartbeat { commit, round, stamp: _ } => {
                write!(f, "Heartbeat {ballot} commit={commit} round={round}")
            }
            Body::HeartbeatAnswer { round, priority } => {
                write!(f, "HeartbeatAnswer {ballot} round={round}")?;
                write_priority(f, *priority)
            }
            Body::Resigned => write!(f, "Resigned {ballot}"),
            Body::Outdated => write!(f, "Outdated {ballot}"),
            Body::TakeOver => write!(f, "TakeOver {ballot}"),
            Body::Inquiry => write!(f, "Inquiry {ballot}"),
            Body::Removed => write!(f, "Removed {ballot}"),
            Body::Read { origin: _, batch } => write!(f, "Read {ballot} batch={batch}"),
            Body::ReadAnswer { origin: _, batch, point } => {
                write!(f, "ReadAnswer {ballot} batch={batch} ")?;
                match point {
                    Some(point) => write!(f, "index={}", point.index),
                    None => write!(f, "refused"),
                }
            }
            Body::SnapshotChunk { meta, offset, data } => {
                let (last, bytes) = (meta.last(), meta.bytes);
                write!(f, "SnapshotChunk {ballot} {} {offset}+{}/{bytes}", at(&last), data.len())
            }
            Body::RepairRequest { life: _ } => write!(f, "RepairRequest {ballot}"),
            Body::RepairPoint { life: _, last } => write!(f, "RepairPoint {ballot} last={last}"),
            Body::SnapshotReceived { last, end } => {
                write!(f, "SnapshotReceived {ballot} {} end={end}", at(last))
            }
        }
    }
}
