//! What Raft nodes say to each other.

use quorate_consensus::{
    Entry, Priority,
    raft::message::{self, Message},
};

use super::{
    Malformed, bounded, entries_behind, entry, from_index, from_position, from_read_point,
    from_snapshot_meta, from_stamp, from_term, position, read_point, required, snapshot_meta,
};
use crate::peer::{
    Spoken,
    lane::Kind,
    wire::{self, Body, Content},
};

impl Spoken for Message {
    fn into_content(self) -> Content {
        Content::Raft(to_wire(self))
    }

    fn from_content(content: Content) -> Result<Self, Malformed> {
        if let Content::Raft(message) = content {
            return from_wire(message);
        }
        Err(Malformed("a message of another engine than raft"))
    }

    fn lane(&self) -> Kind {
        use message::Body;
        match &self.body {
            Body::Append { .. }
            | Body::AppendAccepted { .. }
            | Body::AppendRejected { .. }
            | Body::SnapshotChunk { .. }
            | Body::SnapshotReceived { .. }
            | Body::RepairRequest { .. }
            | Body::RepairPoint { .. } => Kind::Bulk,
            Body::PreVote { .. }
            | Body::PreVoteAnswer { .. }
            | Body::Vote { .. }
            | Body::VoteAnswer { .. }
            | Body::Heartbeat { .. }
            | Body::HeartbeatAnswer { .. }
            | Body::Commit { .. }
            | Body::Inquiry
            | Body::Removed
            | Body::Outdated
            | Body::TimeoutNow
            | Body::Read { .. }
            | Body::ReadAnswer { .. } => Kind::Urgent,
        }
    }

    fn payload_bytes(&self) -> usize {
        use message::Body;
        match &self.body {
            Body::Append { entries, .. } => entries.iter().map(Entry::weight).sum(),
            Body::SnapshotChunk { data, .. } => data.len(),
            Body::AppendAccepted { .. }
            | Body::AppendRejected { .. }
            | Body::SnapshotReceived { .. }
            | Body::RepairRequest { .. }
            | Body::RepairPoint { .. }
            | Body::PreVote { .. }
            | Body::PreVoteAnswer { .. }
            | Body::Vote { .. }
            | Body::VoteAnswer { .. }
            | Body::Heartbeat { .. }
            | Body::HeartbeatAnswer { .. }
            | Body::Commit { .. }
            | Body::Inquiry
            | Body::Removed
            | Body::Outdated
            | Body::TimeoutNow
            | Body::Read { .. }
            | Body::ReadAnswer { .. } => 0,
        }
    }
}

fn to_wire(message: Message) -> wire::Raft {
    let body = match message.body {
        message::Body::PreVote { last } => Body::PreVote(position(last)),
        message::Body::PreVoteAnswer { granted } => Body::PreVoteAnswer(wire::Granted { granted }),
        message::Body::Vote { last, transfer } => {
            Body::Vote(wire::Vote { last: Some(position(last)), transfer })
        }
        message::Body::VoteAnswer { granted } => Body::VoteAnswer(wire::Granted { granted }),
        message::Body::Append { base, entries, commit, stamp } => Body::Append(wire::Append {
            base: Some(position(base)),
            entries: entries.into_iter().map(entry).collect(),
            commit: commit.0,
            stamp_ms: stamp.millis,
        }),
        message::Body::AppendAccepted { matched } => Body::AppendAccepted(matched.0),
        message::Body::AppendRejected { base, hint } => {
            Body::AppendRejected(wire::AppendRejected { base: base.0, hint: Some(position(hint)) })
        }
        message::Body::Heartbeat { commit, round, stamp, preferred } => Body::Heartbeat(wire::Heartbeat {
            commit: commit.0,
            round,
            stamp_ms: stamp.millis,
            preferred: preferred.0,
        }),
        message::Body::HeartbeatAnswer { round, priority } => {
            Body::HeartbeatAnswer(wire::HeartbeatAnswer { round, priority: priority.0 })
        }
        message::Body::Commit { commit, stamp } => {
            Body::Commit(wire::Commit { commit: commit.0, stamp_ms: stamp.millis })
        }
        message::Body::Inquiry => Body::Inquiry(wire::Nothing {}),
        message::Body::Removed => Body::Removed(wire::Nothing {}),
        message::Body::Outdated => Body::Outdated(wire::Nothing {}),
        message::Body::TimeoutNow => Body::TimeoutNow(wire::Nothing {}),
        message::Body::Read { origin, batch } => Body::Read(wire::Read { origin, batch }),
        message::Body::ReadAnswer { origin, batch, point } => {
            Body::ReadAnswer(wire::ReadAnswer { origin, batch, point: point.map(read_point) })
        }
        message::Body::SnapshotChunk { meta, offset, data } => {
            Body::SnapshotChunk(wire::SnapshotChunk { meta: Some(snapshot_meta(&meta)), offset, data })
        }
        message::Body::SnapshotReceived { last, end } => {
            Body::SnapshotReceived(wire::SnapshotReceived { last: Some(position(last)), end })
        }
        message::Body::RepairRequest { life } => Body::RepairRequest(life),
        message::Body::RepairPoint { life, last } => {
            Body::RepairPoint(wire::RepairPoint { life, last: last.0 })
        }
    };
    wire::Raft { term: message.term.0, body: Some(body) }
}

fn from_wire(message: wire::Raft) -> Result<Message, Malformed> {
    let body = match message.body.ok_or(Malformed("a Raft message without body"))? {
        Body::PreVote(last) => message::Body::PreVote { last: from_position(last)? },
        Body::PreVoteAnswer(wire::Granted { granted }) => message::Body::PreVoteAnswer { granted },
        Body::Vote(vote) => message::Body::Vote { last: required(vote.last)?, transfer: vote.transfer },
        Body::VoteAnswer(wire::Granted { granted }) => message::Body::VoteAnswer { granted },
        Body::Append(append) => {
            let base = required(append.base)?;
            let entries = entries_behind(base, append.entries)?;
            let (commit, stamp) = (from_index(append.commit)?, from_stamp(append.stamp_ms)?);
            message::Body::Append { base, entries, commit, stamp }
        }
        Body::AppendAccepted(matched) => message::Body::AppendAccepted { matched: from_index(matched)? },
        Body::AppendRejected(rejected) => {
            message::Body::AppendRejected { base: from_index(rejected.base)?, hint: required(rejected.hint)? }
        }
        Body::Heartbeat(heartbeat) => message::Body::Heartbeat {
            commit: from_index(heartbeat.commit)?,
            round: heartbeat.round,
            stamp: from_stamp(heartbeat.stamp_ms)?,
            preferred: Priority(heartbeat.preferred),
        },
        Body::HeartbeatAnswer(wire::HeartbeatAnswer { round, priority }) => {
            message::Body::HeartbeatAnswer { round, priority: Priority(priority) }
        }
        Body::Commit(commit) => {
            message::Body::Commit { commit: from_index(commit.commit)?, stamp: from_stamp(commit.stamp_ms)? }
        }
        Body::Inquiry(wire::Nothing {}) => message::Body::Inquiry,
        Body::Removed(wire::Nothing {}) => message::Body::Removed,
        Body::Outdated(wire::Nothing {}) => message::Body::Outdated,
        Body::TimeoutNow(wire::Nothing {}) => message::Body::TimeoutNow,
        Body::Read(wire::Read { origin, batch }) => message::Body::Read { origin, batch },
        Body::ReadAnswer(answer) => message::Body::ReadAnswer {
            origin: answer.origin,
            batch: answer.batch,
            point: answer.point.map(from_read_point).transpose()?,
        },
        Body::SnapshotChunk(chunk) => message::Body::SnapshotChunk {
            meta: from_snapshot_meta(chunk.meta)?,
            offset: bounded(chunk.offset)?,
            data: chunk.data,
        },
        Body::SnapshotReceived(received) => {
            message::Body::SnapshotReceived { last: required(received.last)?, end: received.end }
        }
        Body::RepairRequest(life) => message::Body::RepairRequest { life },
        Body::RepairPoint(wire::RepairPoint { life, last }) => {
            message::Body::RepairPoint { life, last: from_index(last)? }
        }
    };
    Ok(Message { term: from_term(message.term)?, body })
}
