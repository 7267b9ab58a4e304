//! The way into the shard for all that is not a client: the log, the snapshots, the peers, the signals.

use crossbeam_channel::Sender;
use quorate_consensus::{NodeId, raft::message::Message};
use quorate_node::{Input, PeerMessage};
use tokio::sync::OwnedSemaphorePermit;

use crate::{config::Address, peer};

/// What the shard's thread may find in its inlet.
#[derive(Debug)]
pub(crate) enum Event {
    /// An input for the driver.
    Driver(Input<Message>),
    /// A message of a peer.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: PeerMessage<Message>,
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
#[derive(Clone, Debug)]
pub(crate) struct Inlet(Sender<Event>);

impl Inlet {
    /// An inlet whose events arrive at the other end of `events`.
    pub(crate) fn new(events: Sender<Event>) -> Self {
        Self(events)
    }

    /// Hands an event over. A shard that is gone needs none.
    pub(crate) fn send(&self, event: Event) {
        drop(self.0.send(event));
    }

    /// Hands an input for the driver over.
    pub(crate) fn input(&self, input: Input<Message>) {
        self.send(Event::Driver(input));
    }
}

impl peer::Events for Inlet {
    fn message(&self, from: u64, message: PeerMessage<Message>, credit: OwnedSemaphorePermit) {
        self.send(Event::Message { from: NodeId(from), message, credit });
    }

    fn introduced(&self, peer: u64, address: Option<Address>) {
        self.send(Event::Introduced { peer: NodeId(peer), address });
    }

    fn unreachable(&self, peer: u64) {
        self.input(Input::Unreachable { peer: NodeId(peer) });
    }
}
