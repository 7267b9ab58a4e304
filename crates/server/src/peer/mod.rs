//! The transport between nodes.
//!
//! Each node dials each other node and sends on the connections that it dialled; it only listens on those that it
//! accepted. For each peer there are two [`lane`]s, each a TCP connection of its own, so that heartbeats do not
//! wait behind entries and snapshots. `docs/messages.md` draws what travels.
//!
//! It promises what the driver expects of a network, and no more: a message arrives once, late, or not at all, but
//! never altered; within a lane messages keep their order. When a connection is lost, what was under way is lost,
//! and the driver hears [`Events::unreachable`] at once. A message for which a lane has no room is just lost: the
//! peer lives, and whoever sends something that matters sends it again until it is answered. To report a busy peer
//! as an unreachable one would start elections and more sending where there is too much of it already.
//!
//! Everything is bounded: what waits for a peer by bytes (beyond, messages are dropped and counted), what has
//! arrived and waits for the shard by credit, strangers by number, time and [`handshake::HELLO_BYTES_MAX`].

pub(crate) mod acquaintances;
pub(crate) mod convert;
pub(crate) mod directory;
mod frame;
pub(crate) mod handshake;
mod incoming;
mod lane;
mod outgoing;
pub(crate) mod wire;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use quorate_consensus::{NodeId, raft::message::Message};
use quorate_node::PeerMessage;
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, watch},
};

use crate::config::{Address, Peers};
use directory::Directory;
use handshake::Local;
use incoming::Incoming;
use lane::{Kind, Push};
use outgoing::Outgoing;

/// What the transport tells the shard.
pub(crate) trait Events: Clone + Send + Sync + 'static {
    /// A message of `from` has arrived. `credit` is dropped when the shard has taken it, and lets more in.
    fn message(&self, from: u64, message: PeerMessage<Message>, credit: OwnedSemaphorePermit);

    /// The connection to `peer` was lost or could not be made: what was under way to it is lost.
    fn unreachable(&self, peer: u64);
}

/// The shard's end of the transport.
#[derive(Debug)]
pub(crate) struct Transport {
    peers: BTreeMap<NodeId, Lanes>,
    directory: Arc<Directory>,
}

#[derive(Debug)]
struct Lanes {
    urgent: lane::Sender,
    bulk: lane::Sender,
}

/// The bytes that wait in an urgent lane at most: thousands of messages.
const URGENT_BYTES_MAX: usize = 1 << 20;

impl Transport {
    /// Starts connections to all of `peers` but this node, and accepts theirs on
    /// `listener` (none for a node without peers), until `shutdown`
    /// turns true. Once `stopping` is true, peers that are away are not worth a word. To be called within a tokio
    /// runtime.
    pub(crate) fn start<E: Events>(
        local: Local,
        peers: &Peers,
        bulk_bytes_max: usize,
        listener: Option<TcpListener>,
        events: E,
        stopping: watch::Receiver<bool>,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        let others: Vec<_> = peers.0.iter().filter(|(id, _)| **id != local.node_id).collect();
        let directory = Arc::new(Directory::new(others.iter().map(|(id, _)| **id)));
        let local = Arc::new(local);
        let incoming = Incoming {
            local: Arc::clone(&local),
            directory: Arc::clone(&directory),
            events: events.clone(),
            shutdown: shutdown.clone(),
            reasons: Arc::new(Mutex::default()),
        };
        if let Some(listener) = listener {
            tokio::spawn(incoming.run(listener));
        }
        let dial = |peer: u64, address: &Address, kind: Kind, bytes_max: usize| {
            let (sender, receiver) = lane::lane(bytes_max);
            let outgoing = Outgoing {
                peer,
                address: address.clone(),
                kind,
                local: Arc::clone(&local),
                directory: Arc::clone(&directory),
                lane: receiver,
                events: events.clone(),
                stopping: stopping.clone(),
                shutdown: shutdown.clone(),
            };
            tokio::spawn(outgoing.run());
            sender
        };
        let lanes = others.into_iter().map(|(&peer, address)| {
            let urgent = dial(peer, address, Kind::Urgent, URGENT_BYTES_MAX);
            (NodeId(peer), Lanes { urgent, bulk: dial(peer, address, Kind::Bulk, bulk_bytes_max) })
        });
        let peers = lanes.collect();
        Self { peers, directory }
    }

    /// Sends a message, or drops it if the peer is away, unknown, or too slow. Never blocks.
    pub(crate) fn send(&self, to: NodeId, message: PeerMessage<Message>) {
        let Some(lanes) = self.peers.get(&to) else { return };
        let lane = match Kind::of(&message) {
            Kind::Urgent => &lanes.urgent,
            Kind::Bulk => &lanes.bulk,
        };
        match lane.push(message) {
            Push::Queued => {}
            Push::Away => self.directory.dropped(to.0),
            Push::Full { first } => {
                self.directory.dropped(to.0);
                if first {
                    tracing::warn!("{to} takes messages too slowly: some are dropped, and sent again later");
                }
            }
        }
    }

    /// What is known of the peers.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory)
    }

    /// The bytes that wait for all peers together.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.peers.values().map(|lanes| lanes.urgent.bytes() + lanes.bulk.bytes()).sum()
    }
}

#[cfg(test)]
mod tests;
