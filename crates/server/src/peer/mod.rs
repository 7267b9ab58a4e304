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
//! Whom there are connections to follows from three sources: the configuration in force, this node's own settings, and
//! who introduces itself. Who is no member, or not yet, is a *guest*: a node that is behind does not know the members
//! that came meanwhile, and one that was removed still has to be told. A guest's lanes end when it falls silent.
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
mod spoken;
pub(crate) mod versions;
pub(crate) mod wire;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use quorate_consensus::{Membership, NodeId};
use quorate_node::PeerMessage;
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{OwnedSemaphorePermit, watch},
};

use crate::config::{Address, HostPort, Peers, Value as _};
use directory::Directory;
use handshake::Local;
use incoming::Incoming;
use lane::{Kind, Push};
use outgoing::Outgoing;
pub(crate) use spoken::Spoken;

/// What the transport tells the shard.
pub(crate) trait Events: Clone + Send + Sync + 'static {
    /// What the engines say to each other.
    type Message: Spoken;

    /// A message of `from` has arrived. `credit` is dropped when the shard has taken it, and lets more in.
    fn message(&self, from: u64, message: PeerMessage<Self::Message>, credit: OwnedSemaphorePermit);

    /// A node of this cluster has introduced itself, and told where it is reached, if it is.
    fn introduced(&self, peer: u64, address: Option<Address>);

    /// The connection to `peer` was lost or could not be made: what was under way to it is lost.
    fn unreachable(&self, peer: u64);
}

/// The shard's end of the transport.
#[derive(Debug)]
pub(crate) struct Transport<E: Events> {
    peers: BTreeMap<NodeId, Peer<E::Message>>,
    dialler: Dialler<E>,
}

/// What all connections to peers have in common.
#[derive(Debug)]
struct Dialler<E> {
    local: Arc<Local>,
    directory: Arc<Directory>,
    /// Where peers are by this node's settings.
    settings: Peers,
    bulk_bytes_max: usize,
    events: E,
    runtime: Handle,
    stopping: watch::Receiver<bool>,
    shutdown: watch::Receiver<bool>,
}

/// The way to one peer. Dropping it ends the connections.
#[derive(Debug)]
struct Peer<M> {
    urgent: lane::Sender<M>,
    bulk: lane::Sender<M>,
    places: Places,
    addresses: watch::Sender<Vec<Address>>,
    /// Since when it is no member.
    guest_since: Option<Instant>,
}

/// Where a peer may be. Whoever is there has to say who it is, so that a wrong one does no harm.
#[derive(Debug, Default)]
struct Places {
    told: Option<Address>,
    configured: Option<Address>,
    set: Option<Address>,
}

/// The bytes that wait in an urgent lane at most: thousands of messages.
const URGENT_BYTES_MAX: usize = 1 << 20;
/// The most guests: as many as there may be members. One too many is heard, and not answered.
const GUESTS_MAX: usize = quorate_consensus::MEMBERS_MAX;
/// How long a guest may be silent: long enough for the pause after which a refused one dials again.
const GUEST_SILENCE_MAX: Duration = Duration::from_secs(10);

impl<E: Events> Transport<E> {
    /// Accepts connections on `listener`, and makes none before [`Self::follow`] or [`Self::introduced`] is called,
    /// until `shutdown` turns true. `settings` are addresses beside those in the configuration. Once `stopping` is true,
    /// peers that are away are not worth a word. To be called within a tokio runtime.
    pub(crate) fn start(
        local: Local,
        settings: &Peers,
        bulk_bytes_max: usize,
        listener: TcpListener,
        events: E,
        stopping: watch::Receiver<bool>,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        let dialler = Dialler {
            local: Arc::new(local),
            directory: Arc::default(),
            settings: settings.clone(),
            bulk_bytes_max,
            events,
            runtime: Handle::current(),
            stopping,
            shutdown,
        };
        let incoming = Incoming {
            local: Arc::clone(&dialler.local),
            directory: Arc::clone(&dialler.directory),
            events: dialler.events.clone(),
            shutdown: dialler.shutdown.clone(),
            reasons: Arc::new(Mutex::default()),
        };
        tokio::spawn(incoming.run(listener));
        Self { peers: BTreeMap::new(), dialler }
    }

    /// Keeps connections to all of `members` but this node. Who is no member any more becomes a guest.
    pub(crate) fn follow(&mut self, members: &Membership) {
        for (node, peer) in &mut self.peers {
            if !members.contains(*node) {
                peer.guest_since.get_or_insert_with(Instant::now);
            }
        }
        let this = NodeId(self.dialler.local.node_id);
        for node in members.members().filter(|&node| node != this) {
            let configured = members.addresses.get(&node);
            let peer = self.peer(node);
            peer.guest_since = None;
            peer.places.configured = configured.and_then(|text| Address::read(&text.0, &HostPort));
            peer.dial_anew();
        }
    }

    /// A node of this cluster says where it is. If it says nothing, it has to be known to be answered.
    pub(crate) fn introduced(&mut self, node: NodeId, address: Option<Address>) {
        let guests = self.peers.values().filter(|peer| peer.guest_since.is_some()).count();
        let is_welcome = address.is_some() && guests < GUESTS_MAX;
        if !is_welcome && !self.peers.contains_key(&node) {
            return;
        }
        let peer = self.peer(node);
        peer.places.told = address;
        peer.dial_anew();
    }

    /// Ends the connections to guests that have fallen silent.
    pub(crate) fn tidy(&mut self) {
        if self.peers.values().all(|peer| peer.guest_since.is_none()) {
            return;
        }
        let contacts = self.dialler.directory.contacts();
        let is_silent = |node: &NodeId, since: Instant| {
            let silence = contacts.get(&node.0).and_then(directory::Contact::silence);
            silence.unwrap_or(since.elapsed()).min(since.elapsed()) > GUEST_SILENCE_MAX
        };
        let directory = &self.dialler.directory;
        self.peers.retain(|node, peer| {
            let leaves = peer.guest_since.is_some_and(|since| is_silent(node, since));
            if leaves {
                directory.remove(node.0);
            }
            !leaves
        });
    }

    /// The way to `node`, which is a guest until it is known for a member.
    fn peer(&mut self, node: NodeId) -> &mut Peer<E::Message> {
        self.peers.entry(node).or_insert_with(|| self.dialler.start(node.0))
    }

    /// Sends a message, or drops it if the peer is away, unknown, or too slow. Never blocks.
    pub(crate) fn send(&self, to: NodeId, message: PeerMessage<E::Message>) {
        let Some(peer) = self.peers.get(&to) else { return };
        let lane = match Kind::of(&message) {
            Kind::Urgent => &peer.urgent,
            Kind::Bulk => &peer.bulk,
        };
        match lane.push(message) {
            Push::Queued => {}
            Push::Away => self.dialler.directory.dropped(to.0),
            Push::Full { first } => {
                self.dialler.directory.dropped(to.0);
                if first {
                    tracing::warn!("{to} takes messages too slowly: some are dropped, and sent again later");
                }
            }
        }
    }

    /// What is known of the peers.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.dialler.directory)
    }

    /// The bytes that wait for all peers together.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.peers.values().map(|peer| peer.urgent.bytes() + peer.bulk.bytes()).sum()
    }
}

impl<E: Events> Dialler<E> {
    /// Begins to look for a peer.
    fn start(&self, node: u64) -> Peer<E::Message> {
        let contact = self.directory.add(node);
        let addresses = watch::Sender::new(Vec::new());
        let dial = |kind: Kind, bytes_max: usize| {
            let (sender, receiver) = lane::lane(bytes_max);
            let outgoing = Outgoing {
                contact,
                addresses: addresses.subscribe(),
                kind,
                local: Arc::clone(&self.local),
                directory: Arc::clone(&self.directory),
                lane: receiver,
                events: self.events.clone(),
                stopping: self.stopping.clone(),
                shutdown: self.shutdown.clone(),
            };
            self.runtime.spawn(outgoing.run());
            sender
        };
        let urgent = dial(Kind::Urgent, URGENT_BYTES_MAX);
        let bulk = dial(Kind::Bulk, self.bulk_bytes_max);
        let places = Places { set: self.settings.0.get(&node).cloned(), ..Places::default() };
        Peer { urgent, bulk, places, addresses, guest_since: Some(Instant::now()) }
    }
}

impl<M> Peer<M> {
    /// Has the connections know where to look, if that has changed.
    fn dial_anew(&self) {
        let mut addresses = Vec::new();
        for place in [&self.places.told, &self.places.configured, &self.places.set].into_iter().flatten() {
            if !addresses.contains(place) {
                addresses.push(place.clone());
            }
        }
        self.addresses.send_if_modified(|known| {
            let is_new = *known != addresses;
            *known = addresses;
            is_new
        });
    }
}

#[cfg(test)]
mod tests;
