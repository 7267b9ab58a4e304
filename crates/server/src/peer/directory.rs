//! What the transport knows of each peer, for `QUORATE STATUS` and `/metrics`.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::handshake::Remote;
use crate::config::Address;

/// All peers. Written by the connections, read by whoever tells about the node.
#[derive(Debug, Default)]
pub(crate) struct Directory(Mutex<BTreeMap<u64, Contact>>);

/// Names a peer's place in the directory. One that was removed and comes again has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContactId {
    pub(crate) peer: u64,
    turn: u64,
}

/// One of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contact {
    /// Where its clients connect, once it has said so.
    pub(crate) resp_address: Option<Address>,
    /// Where its Sentinel door is, if it has one and has said so.
    pub(crate) sentinel_address: Option<Address>,
    /// The version of its program, once it has said so.
    pub(crate) program: String,
    /// The newest cluster version to which it lets the cluster rise; 0 before it has said so.
    pub(crate) version_max: u32,
    /// How many of our connections to it are established; one for each lane.
    pub(crate) connections: u32,
    /// How often it has come into the directory.
    turn: u64,
    /// When a frame of its arrived last.
    heard: Option<Instant>,
    /// Messages to it that were dropped, since it was away or its queue was full.
    pub(crate) dropped: u64,
}

/// Turns are given out once in the life of the process.
static TURNS: AtomicU64 = AtomicU64::new(0);

impl Contact {
    /// How long ago a frame of its arrived; `None` if none ever did.
    pub(crate) fn silence(&self) -> Option<Duration> {
        self.heard.map(|heard| heard.elapsed())
    }
}

impl Directory {
    /// Gives a peer of whom nothing is known a place.
    pub(crate) fn add(&self, peer: u64) -> ContactId {
        let turn = TURNS.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(peer, Contact { turn, ..Contact::default() });
        ContactId { peer, turn }
    }

    /// Forgets a peer.
    pub(crate) fn remove(&self, peer: u64) {
        self.lock().remove(&peer);
    }

    /// Changes what is known of `peer`, if it has a place here; whether it has.
    fn update(&self, peer: u64, change: impl FnOnce(&mut Contact)) -> bool {
        self.lock().get_mut(&peer).map(change).is_some()
    }

    /// A peer has said where its doors are, and which program it is.
    pub(crate) fn introduced(&self, remote: Remote) {
        self.update(remote.node_id, |contact| {
            contact.resp_address = remote.resp_address;
            contact.sentinel_address = remote.sentinel_address;
            contact.program = remote.program;
            contact.version_max = remote.version_max;
        });
    }

    /// One of our connections to a peer is established.
    pub(crate) fn connected(&self, id: ContactId) {
        self.count_connections(id, |connections| connections + 1);
    }

    /// One of our connections to a peer is lost.
    pub(crate) fn disconnected(&self, id: ContactId) {
        self.count_connections(id, |connections| connections - 1);
    }

    /// A connection that ends late does not count for a peer that has come again.
    fn count_connections(&self, id: ContactId, count: impl FnOnce(u32) -> u32) {
        self.update(id.peer, |contact| {
            if contact.turn == id.turn {
                contact.connections = count(contact.connections);
            }
        });
    }

    /// A frame of a peer's has arrived. Whether it has a place here.
    pub(crate) fn heard(&self, peer: u64) -> bool {
        self.update(peer, |contact| contact.heard = Some(Instant::now()))
    }

    /// A message to a peer was dropped.
    pub(crate) fn dropped(&self, peer: u64) {
        self.update(peer, |contact| contact.dropped += 1);
    }

    /// All that is known.
    pub(crate) fn contacts(&self) -> BTreeMap<u64, Contact> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Contact>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
