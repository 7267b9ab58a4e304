//! From what the driver says to what is on the wire, and back.
//!
//! The way out cannot fail. The way back takes whatever protobuf accepts and refuses what no node of ours says,
//! so that the engine never sees a message that its own kind could not have sent.

use bytes::Bytes;
use prost::Message as _;
use quorate_consensus::{
    self as consensus, Address, BootTime, Change, ClusterTime, Index, NodeId, Position, Term, Uncounted,
    paxos::message::ReadPoint,
};
use quorate_machine::{Batch, ClusterVersion};
use quorate_node::{Echo, PeerMessage};

use super::{
    Spoken,
    wire::{self, Content, Frame},
};

mod changes;
mod paxos;
mod raft;

/// A frame that no node of ours sends. The connection that it came on is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// The only shard until there are more.
const SHARD: u32 = 0;

/// The frame that says `message` to a node with which cluster version `spoken` is spoken.
pub(crate) fn to_frame<M: Spoken>(message: PeerMessage<M>, spoken: ClusterVersion) -> Frame {
    let content = match message {
        PeerMessage::Engine(message) => message.into_content(),
        PeerMessage::Forward(group) => {
            Content::Forward(Batch { version: spoken, groups: vec![group] }.encode())
        }
        PeerMessage::Transfer { term, to } => {
            Content::Transfer(wire::Transfer { to: to.map_or(0, |node| node.0), term: term.0 })
        }
        PeerMessage::Reconfigure { ticket, change } => {
            let steps = change.0.into_iter().map(changes::step).collect();
            Content::Reconfigure(wire::Reconfigure { ticket, steps })
        }
        PeerMessage::Reconfigured { ticket, verdict } => {
            Content::Reconfigured(wire::Reconfigured { ticket, verdict: Some(changes::verdict(verdict)) })
        }
        PeerMessage::Gossip(gossip) => Content::Gossip(wire::Gossip {
            applied: gossip.applied.0,
            room: gossip.room,
            wall_ms: gossip.wall_ms,
            followers: gossip.followers,
            commit: gossip.commit.0,
            version: gossip.version.0.into(),
            sent_us: gossip.sent.micros,
            echo: gossip
                .echo
                .map(|Echo { sent, unconfirmed_ms }| wire::Echo { sent_us: sent.micros, unconfirmed_ms }),
        }),
    };
    Frame { shard: SHARD, content: Some(content) }
}

/// What the frame in `bytes` says to a node whose engine says `M`. Payloads share the memory of `bytes`.
pub(crate) fn from_bytes<M: Spoken>(bytes: Bytes) -> Result<PeerMessage<M>, Malformed> {
    let frame = Frame::decode(bytes).map_err(|_| Malformed("not the protobuf of a frame"))?;
    if frame.shard != SHARD {
        return Err(Malformed("a shard that this node does not have"));
    }
    match frame.content.ok_or(Malformed("a frame without content"))? {
        content @ (Content::Raft(_) | Content::Paxos(_)) => M::from_content(content).map(PeerMessage::Engine),
        Content::Forward(batch) => {
            let batch = Batch::decode(&batch).map_err(|_| Malformed("forwarded commands"))?;
            let [group] = <[_; 1]>::try_from(batch.groups)
                .map_err(|_| Malformed("forwarded commands of not exactly one session"))?;
            Ok(PeerMessage::Forward(group))
        }
        Content::Transfer(wire::Transfer { to, term }) => {
            Ok(PeerMessage::Transfer { term: from_term(term)?, to: (to != 0).then_some(NodeId(to)) })
        }
        Content::Reconfigure(wire::Reconfigure { ticket, steps }) => {
            let steps = steps.into_iter().map(changes::from_step).collect::<Result<_, _>>()?;
            Ok(PeerMessage::Reconfigure { ticket, change: Change(steps) })
        }
        Content::Reconfigured(wire::Reconfigured { ticket, verdict }) => {
            let verdict = verdict.ok_or(Malformed("a wish without an outcome"))?;
            Ok(PeerMessage::Reconfigured { ticket, verdict: changes::from_verdict(verdict)? })
        }
        Content::Gossip(gossip) => Ok(PeerMessage::Gossip(quorate_node::Gossip {
            applied: from_index(gossip.applied)?,
            room: gossip.room,
            wall_ms: gossip.wall_ms,
            followers: gossip.followers,
            commit: from_index(gossip.commit)?,
            version: ClusterVersion(u16::try_from(gossip.version).unwrap_or(u16::MAX)),
            sent: BootTime { micros: gossip.sent_us },
            echo: gossip.echo.map(|wire::Echo { sent_us, unconfirmed_ms }| Echo {
                sent: BootTime { micros: sent_us },
                unconfirmed_ms,
            }),
        })),
    }
}

/// No term, index, stamp or size of a cluster comes near it, and what follows it can be counted without an overflow.
const NUMBER_MAX: u64 = 1 << 62;

fn bounded(number: u64) -> Result<u64, Malformed> {
    if number <= NUMBER_MAX { Ok(number) } else { Err(Malformed("a number that no cluster comes to")) }
}

fn from_index(number: u64) -> Result<Index, Malformed> {
    bounded(number).map(Index)
}

fn from_term(number: u64) -> Result<Term, Malformed> {
    bounded(number).map(Term)
}

fn from_stamp(millis: u64) -> Result<ClusterTime, Malformed> {
    bounded(millis).map(|millis| ClusterTime { millis })
}

fn read_point(point: ReadPoint) -> wire::ReadPoint {
    wire::ReadPoint { index: point.index.0, stamp_ms: point.stamp.millis }
}

fn from_read_point(point: wire::ReadPoint) -> Result<ReadPoint, Malformed> {
    Ok(ReadPoint { index: from_index(point.index)?, stamp: from_stamp(point.stamp_ms)? })
}

fn position(position: Position) -> wire::Position {
    wire::Position { index: position.index.0, term: position.term.0 }
}

fn from_position(position: wire::Position) -> Result<Position, Malformed> {
    Ok(Position { index: from_index(position.index)?, term: from_term(position.term)? })
}

fn required(position: Option<wire::Position>) -> Result<Position, Malformed> {
    from_position(position.ok_or(Malformed("a message without its position"))?)
}

fn entry(entry: consensus::Entry) -> wire::Entry {
    let payload = match entry.payload {
        consensus::Payload::Blank => None,
        consensus::Payload::Command(bytes) => Some(wire::Payload::Command(bytes)),
        consensus::Payload::Membership(membership) => {
            Some(wire::Payload::Membership(membership_to_wire(&membership)))
        }
    };
    wire::Entry { term: entry.term.0, stamp_ms: entry.stamp.millis, payload }
}

/// Entries that stand behind `base`, one after the other.
fn entries_behind(base: Position, entries: Vec<wire::Entry>) -> Result<Vec<consensus::Entry>, Malformed> {
    bounded(base.index.0 + entries.len() as u64)?;
    let indexes = (base.index.0 + 1..).map(Index);
    entries.into_iter().zip(indexes).map(|(entry, index)| from_entry(entry, index)).collect()
}

fn from_entry(entry: wire::Entry, index: Index) -> Result<consensus::Entry, Malformed> {
    let payload = match entry.payload {
        None => consensus::Payload::Blank,
        Some(wire::Payload::Command(bytes)) if bytes.is_empty() => {
            return Err(Malformed("an entry with an empty command"));
        }
        Some(wire::Payload::Command(bytes)) => consensus::Payload::Command(bytes),
        Some(wire::Payload::Membership(membership)) => {
            let membership = membership_from_wire(membership)?;
            if membership.is_empty() {
                return Err(Malformed("an entry with a configuration of nobody"));
            }
            consensus::Payload::Membership(Box::new(membership))
        }
    };
    Ok(consensus::Entry { index, term: from_term(entry.term)?, stamp: from_stamp(entry.stamp_ms)?, payload })
}

/// A configuration on the wire.
pub(crate) fn membership_to_wire(membership: &consensus::Membership) -> wire::Membership {
    let numbers = |nodes: &std::collections::BTreeSet<NodeId>| nodes.iter().map(|node| node.0).collect();
    let promotion = |(node, place): (&NodeId, &Option<NodeId>)| wire::Promotion {
        node: node.0,
        place: place.map_or(0, |place| place.0),
    };
    let located = |(node, address): (&NodeId, &Address)| wire::Located {
        node: node.0,
        address: address.0.as_ref().to_owned(),
    };
    let uncounted = |(node, why): (&NodeId, &Uncounted)| wire::Uncounted {
        node: node.0,
        set_aside: *why == Uncounted::SetAside,
    };
    wire::Membership {
        voters: numbers(&membership.voters),
        learners: numbers(&membership.learners),
        outgoing: numbers(&membership.outgoing),
        promotions: membership.promotions.iter().map(promotion).collect(),
        ids_used: membership.ids_used,
        addresses: membership.addresses.iter().map(located).collect(),
        lease: membership.lease.map(changes::lease),
        uncounted: membership.uncounted.iter().map(uncounted).collect(),
        phase2_quorum: membership.phase2_quorum.unwrap_or_default().into(),
        outgoing_phase2_quorum: membership.outgoing_phase2_quorum.unwrap_or_default().into(),
    }
}

/// A configuration from the wire.
pub(crate) fn membership_from_wire(membership: wire::Membership) -> Result<consensus::Membership, Malformed> {
    let nodes = |numbers: Vec<u64>| numbers.into_iter().map(NodeId).collect();
    let promotion = |wire::Promotion { node, place }| (NodeId(node), (place != 0).then_some(NodeId(place)));
    let located = |wire::Located { node, address }| (NodeId(node), Address(address.into()));
    let uncounted = |wire::Uncounted { node, set_aside }| {
        (NodeId(node), if set_aside { Uncounted::SetAside } else { Uncounted::Witness })
    };
    let membership = consensus::Membership {
        voters: nodes(membership.voters),
        outgoing: nodes(membership.outgoing),
        learners: nodes(membership.learners),
        promotions: membership.promotions.into_iter().map(promotion).collect(),
        ids_used: membership.ids_used,
        addresses: membership.addresses.into_iter().map(located).collect(),
        lease: membership.lease.and_then(changes::from_lease),
        uncounted: membership.uncounted.into_iter().map(uncounted).collect(),
        phase2_quorum: changes::from_quorum(membership.phase2_quorum)?,
        outgoing_phase2_quorum: changes::from_quorum(membership.outgoing_phase2_quorum)?,
    };
    membership.check().map_err(Malformed)?;
    Ok(membership)
}

fn snapshot_meta(meta: &consensus::SnapshotMeta) -> wire::SnapshotMeta {
    wire::SnapshotMeta {
        last: Some(wire::Position { index: meta.index.0, term: meta.term.0 }),
        stamp_ms: meta.stamp.millis,
        membership: Some(membership_to_wire(&meta.membership)),
        bytes: meta.bytes,
    }
}

fn from_snapshot_meta(meta: Option<wire::SnapshotMeta>) -> Result<consensus::SnapshotMeta, Malformed> {
    let meta = meta.ok_or(Malformed("a chunk of no snapshot"))?;
    let last = required(meta.last)?;
    let membership = membership_from_wire(meta.membership.unwrap_or_default())?;
    if membership.is_empty() {
        return Err(Malformed("a snapshot with a configuration of nobody"));
    }
    Ok(consensus::SnapshotMeta {
        index: last.index,
        term: last.term,
        stamp: from_stamp(meta.stamp_ms)?,
        membership: membership.into(),
        bytes: bounded(meta.bytes)?,
    })
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
