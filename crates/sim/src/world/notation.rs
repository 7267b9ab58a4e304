//! The compact notation of the trace.

use std::fmt;

use quorate_node::{LogTask, PeerMessage, SnapshotDone};

pub(super) fn task_text(task: &LogTask) -> String {
    match task {
        LogTask::Write { op, write } => {
            let mut text = format!("#{op}");
            if let Some(state) = write.hard_state {
                text.push_str(&format!(" term={} vote={} commit={}", state.term, state.vote, state.commit));
            }
            if let Some(from) = write.truncate_from {
                text.push_str(&format!(" truncate={from}"));
            }
            if let (Some(first), Some(last)) = (write.entries.first(), write.entries.last()) {
                text.push_str(&format!(" {}@{}..{}@{}", first.index, first.term, last.index, last.term));
            }
            text
        }
        LogTask::ReplaceBySnapshot { header, .. } => format!("replace by {}@{}", header.index, header.term),
        LogTask::Release { first_kept } => format!("release up to {first_kept}"),
        LogTask::SetClusterId { id } => format!("cluster {id:x}"),
        LogTask::EndRepair => "end of repair".to_owned(),
    }
}

pub(super) fn message_text<M: fmt::Display>(message: &PeerMessage<M>) -> String {
    match message {
        PeerMessage::Engine(message) => message.to_string(),
        PeerMessage::Forward(group) => {
            let (first, count) = (group.first_sequence, group.operations.len());
            format!("Forward {}.{} {first}+{count}", group.session.node, group.session.incarnation)
        }
        PeerMessage::Transfer { term, to } => format!("Transfer {term} to={}", to.map_or(0, |node| node.0)),
        PeerMessage::Reconfigure { ticket, change } => format!("Reconfigure {ticket:x} {change}"),
        PeerMessage::Reconfigured { ticket, verdict } => format!("Reconfigured {ticket:x} {verdict}"),
        PeerMessage::Gossip(gossip) => format!("Gossip applied={} room={}", gossip.applied, gossip.room),
    }
}

pub(super) fn snapshot_text(done: &SnapshotDone) -> String {
    match done {
        SnapshotDone::Made { meta } => format!("made {}", meta.index),
        SnapshotDone::MakeFailed { reason } => format!("not made: {reason}"),
        SnapshotDone::Loaded { to, meta, offset, data } => {
            format!("loaded {} {offset}+{} for {to}", meta.index, data.len())
        }
        SnapshotDone::Missing { to } => format!("missing for {to}"),
        SnapshotDone::Unreadable { to } => format!("unreadable for {to}"),
        SnapshotDone::Stored { meta, end } => format!("stored {} up to {end}", meta.index),
        SnapshotDone::Received { meta, .. } => format!("received {}", meta.index),
        SnapshotDone::Rejected { meta, reason } => format!("rejected {}: {reason}", meta.index),
    }
}
