//! What the transport knows of each peer, for `QUORATE STATUS` and `/metrics`.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::config::Address;

/// All other members. Written by the connections, read by whoever tells about the node.
#[derive(Debug)]
pub(crate) struct Directory(Mutex<BTreeMap<u64, Contact>>);

/// One of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contact {
    /// Where its clients connect, once it has said so.
    pub(crate) resp_address: Option<Address>,
    /// How many of our connections to it are established; one for each lane.
    pub(crate) connections: u32,
    /// When a frame of its arrived last.
    heard: Option<Instant>,
    /// Messages to it that were dropped, since it was away or its queue was full.
    pub(crate) dropped: u64,
}

impl Contact {
    /// How long ago a frame of its arrived; `None` if none ever did.
    pub(crate) fn silence(&self) -> Option<Duration> {
        self.heard.map(|heard| heard.elapsed())
    }
}

impl Directory {
    /// A directory of `peers` of whom nothing is known.
    pub(crate) fn new(peers: impl Iterator<Item = u64>) -> Self {
        Self(Mutex::new(peers.map(|peer| (peer, Contact::default())).collect()))
    }

    /// Changes what is known of `peer`. Nobody but members has a place here.
    fn update(&self, peer: u64, change: impl FnOnce(&mut Contact)) {
        if let Some(contact) = self.lock().get_mut(&peer) {
            change(contact);
        }
    }

    /// A peer has said where its clients connect.
    pub(crate) fn introduced(&self, peer: u64, resp_address: Option<Address>) {
        self.update(peer, |contact| contact.resp_address = resp_address);
    }

    /// One of our connections to a peer is established.
    pub(crate) fn connected(&self, peer: u64) {
        self.update(peer, |contact| contact.connections += 1);
    }

    /// One of our connections to a peer is lost.
    pub(crate) fn disconnected(&self, peer: u64) {
        self.update(peer, |contact| contact.connections = contact.connections.saturating_sub(1));
    }

    /// A frame of a peer's has arrived.
    pub(crate) fn heard(&self, peer: u64) {
        self.update(peer, |contact| contact.heard = Some(Instant::now()));
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
