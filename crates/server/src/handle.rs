//! The seam between the front doors (tokio tasks, many) and the shard (one synchronous thread).
//!
//! A front door never touches the driver or the machine. It holds a [`ShardHandle`], over which requests go
//! one way as [`ShardInput`]s on a channel, and answers come back the other way on a channel of the
//! connection's own. What the node looks like from outside is published as a [`NodeStatus`], a value that
//! the shard's side replaces and everybody else reads.
//!
//! Invariants:
//! * Each request is answered exactly once, in the order in which its connection submitted it.
//! * Nothing here blocks: the channels are unbounded, and what bounds them is that a connection stops
//!   reading from its socket at `limits.pipeline_max` unanswered requests, times `limits.clients_max`.
//! * When the shard thread is gone, each connection's answers end, and the connection closes: for the client
//!   that is *outcome unknown*, which is the truth.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crossbeam_channel::Sender;
pub use quorate_machine::{Reply, Watched};
pub use quorate_node::{Action, Answer, ConnId, Request};
use tokio::sync::{mpsc, watch};

use crate::{status::NodeStatus, subscriptions::Subscriptions};

/// What front doors send to the shard thread, in the order of each connection.
#[derive(Debug)]
pub enum ShardInput {
    /// A connection begins; its answers go to `answers`, exactly one for each request, in order.
    Connected {
        /// The new connection.
        conn: ConnId,
        /// Where its answers go. Dropping it closes the connection.
        answers: mpsc::UnboundedSender<Answer>,
    },
    /// Requests that arrived together; never empty. Taking them as one batch is what makes pipelines cheap.
    Requests {
        /// The connection that asks.
        conn: ConnId,
        /// Its requests, in order.
        requests: Vec<Request>,
    },
    /// The client has closed its half of the connection: if one of its commands waits, it closes.
    GivesUp {
        /// The connection.
        conn: ConnId,
    },
    /// An operator wants another leader.
    Transfer {
        /// The term that is to end; in another, the order is void.
        term: u64,
        /// The successor's id; none for whoever is fit.
        to: Option<u64>,
    },
    /// The connection is gone: its answers are wanted no more, though its writes may still take effect.
    Disconnected {
        /// The connection that ended.
        conn: ConnId,
    },
}

/// A front door's way to the shard. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ShardHandle {
    inputs: Sender<ShardInput>,
    status: watch::Receiver<Arc<NodeStatus>>,
    last_connection: Arc<AtomicU64>,
    subscriptions: Arc<Subscriptions>,
}

impl ShardHandle {
    /// A handle whose inputs go to `inputs` and whose status is what `status` last held. What the shard publishes goes
    /// to `subscriptions`.
    #[must_use]
    pub fn new(
        inputs: Sender<ShardInput>,
        status: watch::Receiver<Arc<NodeStatus>>,
        subscriptions: Arc<Subscriptions>,
    ) -> Self {
        Self { inputs, status, last_connection: Arc::new(AtomicU64::new(0)), subscriptions }
    }

    /// The same way to the shard for another front door, with subscriptions of its own to which the shard publishes nothing.
    #[must_use]
    pub fn with_subscriptions(&self, subscriptions: Arc<Subscriptions>) -> Self {
        Self { subscriptions, ..self.clone() }
    }

    /// Who listens to what at this node.
    #[must_use]
    pub fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// Opens a connection: its id, and where its answers will arrive. They end if the shard closes it or stops.
    #[must_use]
    pub fn connect(&self) -> (ConnId, mpsc::UnboundedReceiver<Answer>) {
        let conn = ConnId(self.last_connection.fetch_add(1, Ordering::Relaxed) + 1);
        let (answers, receiver) = mpsc::unbounded_channel();
        self.send(ShardInput::Connected { conn, answers });
        (conn, receiver)
    }

    /// Hands over requests, in order. Nothing is sent for none.
    pub fn submit(&self, conn: ConnId, requests: Vec<Request>) {
        if !requests.is_empty() {
            self.send(ShardInput::Requests { conn, requests });
        }
    }

    /// Says that the client will send nothing more, and waits for nothing.
    pub fn give_up(&self, conn: ConnId) {
        self.send(ShardInput::GivesUp { conn });
    }

    /// Asks the leader of `term` to hand over to `to`, or to whoever is fit. What comes of it shows in the status.
    pub fn transfer(&self, term: u64, to: Option<u64>) {
        self.send(ShardInput::Transfer { term, to });
    }

    /// Says that the connection is gone.
    pub fn disconnect(&self, conn: ConnId) {
        self.send(ShardInput::Disconnected { conn });
    }

    /// The node as it last described itself.
    #[must_use]
    pub fn status(&self) -> Arc<NodeStatus> {
        self.status.borrow().clone()
    }

    /// A receiver that is woken whenever the status was replaced, for those who wait for a condition.
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<Arc<NodeStatus>> {
        self.status.clone()
    }

    /// A shard that is gone has dropped every connection's answers, which is how its connections learn of it:
    /// so a failed send needs no second report.
    fn send(&self, input: ShardInput) {
        drop(self.inputs.send(input));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle() -> (ShardHandle, crossbeam_channel::Receiver<ShardInput>) {
        let (inputs, received) = crossbeam_channel::unbounded();
        let (_, status) = watch::channel(Arc::new(NodeStatus::default()));
        (ShardHandle::new(inputs, status, Subscriptions::new().0), received)
    }

    #[test]
    fn connections_get_growing_ids_across_clones() {
        let (handle, _received) = handle();
        assert_eq!(handle.connect().0, ConnId(1));
        assert_eq!(handle.clone().connect().0, ConnId(2));
    }

    #[test]
    fn an_empty_submission_sends_nothing() {
        let (handle, received) = handle();
        handle.submit(ConnId(1), Vec::new());
        assert!(received.try_recv().is_err());
    }

    #[test]
    fn answers_end_when_the_shard_is_gone() {
        let (handle, received) = handle();
        let (conn, mut answers) = handle.connect();
        drop(received);
        handle.submit(conn, vec![Request { db: 0, action: Action::Watch(Vec::new()) }]);
        assert_eq!(answers.blocking_recv(), None);
    }
}
