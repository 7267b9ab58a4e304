//! What Paxos nodes say to each other.

use quorate_consensus::{
    Entry, Position, Priority, Term,
    paxos::{
        Ballot,
        message::{self, Message},
    },
};

use super::{
    Malformed, bounded, entries_behind, entry, from_index, from_position, from_read_point,
    from_snapshot_meta, from_stamp, position, read_point, required, snapshot_meta,
};
use crate::peer::{
    Spoken,
    lane::Kind,
    wire::{
        self, Content,
        paxos::{self, Body},
    },
};

impl Spoken for Message {
    fn into_content(self) -> Content {
        Content::Paxos(to_wire(self))
    }

    fn from_content(content: Content) -> Result<Self, Malformed> {
        if let Content::Paxos(message) = content {
            return from_wire(message);
        }
        Err(Malformed("a message of another engine than paxos"))
    }

    fn lane(&self) -> Kind {
        use message::Body;
        match &self.body {
            Body::Accept { .. }
            | Body::Accepted { .. }
            | Body::Rejected { .. }
            | Body::SnapshotChunk { .. }
            | Body::SnapshotReceived { .. }
            | Body::RepairRequest { .. }
            | Body::RepairPoint { .. } => Kind::Bulk,
            Body::Poll { .. }
            | Body::PollAnswer { .. }
            | Body::Prepare { .. }
            | Body::Promise { .. }
            | Body::Teach { .. }
            | Body::Decide { .. }
            | Body::Heartbeat { .. }
            | Body::HeartbeatAnswer { .. }
            | Body::Resigned
            | Body::Outdated
            | Body::TakeOver
            | Body::Inquiry
            | Body::Removed
            | Body::Read { .. }
            | Body::ReadAnswer { .. } => Kind::Urgent,
        }
    }

    fn payload_bytes(&self) -> usize {
        use message::Body;
        match &self.body {
            Body::Accept { entries, .. } => entries.iter().map(Entry::weight).sum(),
            Body::SnapshotChunk { data, .. } => data.len(),
            Body::Accepted { .. }
            | Body::Rejected { .. }
            | Body::SnapshotReceived { .. }
            | Body::RepairRequest { .. }
            | Body::RepairPoint { .. }
            | Body::Poll { .. }
            | Body::PollAnswer { .. }
            | Body::Prepare { .. }
            | Body::Promise { .. }
            | Body::Teach { .. }
            | Body::Decide { .. }
            | Body::Heartbeat { .. }
            | Body::HeartbeatAnswer { .. }
            | Body::Resigned
            | Body::Outdated
            | Body::TakeOver
            | Body::Inquiry
            | Body::Removed
            | Body::Read { .. }
            | Body::ReadAnswer { .. } => 0,
        }
    }
}

fn to_wire(message: Message) -> paxos::Paxos {
    let body = match message.body {
        message::Body::Poll { origin, round, priority, last } => {
            let last = log_end(last);
            Body::Poll(paxos::Poll { origin, round, priority: priority.0, last })
        }
        message::Body::PollAnswer { origin, round, led, connected, priority, last, ahead } => {
            let (priority, last) = (priority.0, log_end(last));
            Body::PollAnswer(paxos::PollAnswer { origin, round, led, connected, priority, last, ahead })
        }
        message::Body::Prepare { ordered, promised } => Body::Prepare(paxos::Prepare { ordered, promised }),
        message::Body::Promise { last } => Body::Promise(position(last)),
        message::Body::Teach { last } => Body::Teach(position(last)),
        message::Body::Accept { base, entries, commit, stamp } => Body::Accept(wire::Append {
            base: Some(position(base)),
            entries: entries.into_iter().map(entry).collect(),
            commit: commit.0,
            stamp_ms: stamp.millis,
        }),
        message::Body::Accepted { matched } => Body::Accepted(matched.0),
        message::Body::Rejected { base, hint } => {
            Body::Rejected(wire::AppendRejected { base: base.0, hint: Some(position(hint)) })
        }
        message::Body::Decide { commit, stamp } => {
            Body::Decide(wire::Commit { commit: commit.0, stamp_ms: stamp.millis })
        }
        message::Body::Heartbeat { commit, round, stamp } => {
            Body::Heartbeat(paxos::Heartbeat { commit: commit.0, round, stamp_ms: stamp.millis })
        }
        message::Body::HeartbeatAnswer { round, priority } => {
            Body::HeartbeatAnswer(wire::HeartbeatAnswer { round, priority: priority.0 })
        }
        message::Body::Resigned => Body::Resigned(wire::Nothing {}),
        message::Body::Outdated => Body::Outdated(wire::Nothing {}),
        message::Body::TakeOver => Body::TakeOver(wire::Nothing {}),
        message::Body::Inquiry => Body::Inquiry(wire::Nothing {}),
        message::Body::Removed => Body::Removed(wire::Nothing {}),
        message::Body::Read { origin, batch } => Body::Read(wire::Read { origin, batch }),
        message::Body::ReadAnswer { origin, batch, point } => {
            Body::ReadAnswer(wire::ReadAnswer { origin, batch, point: point.map(read_point) })
        }
        message::Body::SnapshotChunk { meta, offset, data } => {
            Body::SnapshotChunk(wire::SnapshotChunk { meta: Some(snapshot_meta(&meta)), offset, data })
        }
        message::Body::RepairRequest { life } => Body::RepairRequest(life),
        message::Body::RepairPoint { life, last } => {
            Body::RepairPoint(wire::RepairPoint { life, last: last.0 })
        }
        message::Body::SnapshotReceived { last, end } => {
            Body::SnapshotReceived(wire::SnapshotReceived { last: Some(position(last)), end })
        }
    };
    paxos::Paxos { ballot: message.ballot.term().0, body: Some(body) }
}

fn from_wire(message: paxos::Paxos) -> Result<Message, Malformed> {
    let body = match message.body.ok_or(Malformed("a Paxos message without body"))? {
        Body::Poll(paxos::Poll { origin, round, priority, last }) => {
            let (round, priority, last) = (bounded(round)?, Priority(priority), from_log_end(last)?);
            message::Body::Poll { origin, round, priority, last }
        }
        Body::PollAnswer(paxos::PollAnswer { origin, round, led, connected, priority, last, ahead }) => {
            let (round, priority, last) = (bounded(round)?, Priority(priority), from_log_end(last)?);
            message::Body::PollAnswer { origin, round, led, connected, priority, last, ahead }
        }
        Body::Prepare(paxos::Prepare { ordered, promised }) => message::Body::Prepare { ordered, promised },
        Body::Promise(last) => message::Body::Promise { last: from_position(last)? },
        Body::Teach(last) => message::Body::Teach { last: from_position(last)? },
        Body::Accept(accept) => {
            let base = required(accept.base)?;
            let entries = entries_behind(base, accept.entries)?;
            let (commit, stamp) = (from_index(accept.commit)?, from_stamp(accept.stamp_ms)?);
            message::Body::Accept { base, entries, commit, stamp }
        }
        Body::Accepted(matched) => message::Body::Accepted { matched: from_index(matched)? },
        Body::Rejected(rejected) => {
            message::Body::Rejected { base: from_index(rejected.base)?, hint: required(rejected.hint)? }
        }
        Body::Decide(wire::Commit { commit, stamp_ms }) => {
            message::Body::Decide { commit: from_index(commit)?, stamp: from_stamp(stamp_ms)? }
        }
        Body::Heartbeat(paxos::Heartbeat { commit, round, stamp_ms }) => {
            message::Body::Heartbeat { commit: from_index(commit)?, round, stamp: from_stamp(stamp_ms)? }
        }
        Body::HeartbeatAnswer(wire::HeartbeatAnswer { round, priority }) => {
            message::Body::HeartbeatAnswer { round, priority: Priority(priority) }
        }
        Body::Resigned(wire::Nothing {}) => message::Body::Resigned,
        Body::Outdated(wire::Nothing {}) => message::Body::Outdated,
        Body::TakeOver(wire::Nothing {}) => message::Body::TakeOver,
        Body::Inquiry(wire::Nothing {}) => message::Body::Inquiry,
        Body::Removed(wire::Nothing {}) => message::Body::Removed,
        Body::Read(wire::Read { origin, batch }) => message::Body::Read { origin, batch },
        Body::ReadAnswer(wire::ReadAnswer { origin, batch, point }) => {
            message::Body::ReadAnswer { origin, batch, point: point.map(from_read_point).transpose()? }
        }
        Body::SnapshotChunk(chunk) => message::Body::SnapshotChunk {
            meta: from_snapshot_meta(chunk.meta)?,
            offset: bounded(chunk.offset)?,
            data: chunk.data,
        },
        Body::RepairRequest(life) => message::Body::RepairRequest { life },
        Body::RepairPoint(wire::RepairPoint { life, last }) => {
            message::Body::RepairPoint { life, last: from_index(last)? }
        }
        Body::SnapshotReceived(wire::SnapshotReceived { last, end }) => {
            message::Body::SnapshotReceived { last: required(last)?, end }
        }
    };
    Ok(Message { ballot: from_ballot(message.ballot)?, body })
}

/// The end of a log. That of an empty one is not on the wire; neither was any, before logs were compared in polls.
fn log_end(last: Position) -> Option<wire::Position> {
    (last != Position::default()).then(|| position(last))
}

fn from_log_end(last: Option<wire::Position>) -> Result<Position, Malformed> {
    last.map_or(Ok(Position::default()), from_position)
}

/// A ballot in which somebody can have stood, or none: of all other numbers no node makes a message.
fn from_ballot(number: u64) -> Result<Ballot, Malformed> {
    let ballot = Ballot::of(Term(number));
    if number == 0 || ballot.is_sound() { Ok(ballot) } else { Err(Malformed("a ballot that nobody can own")) }
}
