//! The way into the shard for all that is not a client: the log, the snapshots, the peers, the signals.

use crossbeam_channel::Sender;
use quorate_consensus::NodeId;
use quorate_node::{Input, PeerMessage};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    config::Address,
    peer::{self, Spoken},
};

/// What the shard's thread may find in its inlet.
#[derive(Debug)]
pub(crate) enum Event<M> {
    /// An input for the driver.
    Driver(Input<M>),
    /// A message of a peer.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: PeerMessage<M>,
        /// Dropped once the message is taken, which lets the peer send more.
        credit: OwnedSemaphorePermit,
    },
    /// A node of this cluster has introduced itself.
    Introduced {
        /// The node.
        peer: NodeId,
        /// Where it is reached, if it is.
        address: Option<Address>,
    },
    /// The process is to end.
    Stop,
}

/// The sending end. Cheap to clone; never blocks.
///
/// The channel has no bound of its own, since each who sends has one: the log and the snapshots answer what the
/// shard asked, peers have credit, and a peer is reported lost a few times a second.
#[derive(Debug)]
pub(crate) struct Inlet<M>(Sender<Event<M>>);

impl<M> Clone for Inlet<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> Inlet<M> {
    /// An inlet whose events arrive at the other end of `events`.
    pub(crate) fn new(events: Sender<Event<M>>) -> Self {
        Self(events)
    }

    /// Hands an event over. A shard that is gone needs none.
    pub(crate) fn send(&self, event: Event<M>) {
        drop(self.0.send(event));
    }

    /// Hands an input for the driver over.
    pub(crate) fn input(&self, input: Input<M>) {
        self.send(Event::Driver(input));
    }
}

impl<M: Spoken> peer::Events for Inlet<M> {
    type Message = M;

    fn message(&self, from: u64, message: PeerMessage<M>, credit: OwnedSemaphorePermit) {
        self.send(Event::Message { from: NodeId(from), message, credit });
    }

    fn introduced(&self, peer: u64, address: Option<Address>) {
        self.send(Event::Introduced { peer: NodeId(peer), address });
    }

    fn unreachable(&self, peer: u64) {
        self.input(Input::Unreachable { peer: NodeId(peer) });
    }
}
