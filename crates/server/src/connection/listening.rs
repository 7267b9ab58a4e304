//! SUBSCRIBE and its kin, on the side of one connection.
//!
//! A subscription begins when the shard has confirmed, as for any linearizable read, that this node is as far as every
//! message that was published before. So a subscriber gets no message from before it asked, also on a node that lags or
//! has just started; and once it is confirmed, every later one.

use bytes::Bytes;
use quorate_machine::Spec;

use super::FrontDoor;
use crate::{
    handle::{ConnId, Reply},
    resp::Protocol,
    subscriptions::{Listening, Mailbox, Topic},
};

/// Subscriptions of one connection. They are kept in memory for as long as it lives; no program comes near.
const SUBSCRIPTIONS_MAX: usize = 1 << 16;

/// What a connection listens to.
#[derive(Debug)]
pub(super) struct Listener {
    conn: ConnId,
    listening: Listening,
    mail: Mail,
}

/// Where the connection's mailbox is.
#[derive(Debug)]
enum Mail {
    /// It never subscribed.
    None,
    /// Opened, and not yet collected by the connection's task.
    Opened(Mailbox),
    Collected,
}

/// What one of these commands does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Subscribe,
    Unsubscribe,
}

/// What the command is, if it is one of these.
pub(super) fn verb(spec: &Spec) -> Option<(Verb, Topic)> {
    match spec.name {
        "subscribe" => Some((Verb::Subscribe, Topic::Channel)),
        "psubscribe" => Some((Verb::Subscribe, Topic::Pattern)),
        "ssubscribe" => Some((Verb::Subscribe, Topic::Sharded)),
        "unsubscribe" => Some((Verb::Unsubscribe, Topic::Channel)),
        "punsubscribe" => Some((Verb::Unsubscribe, Topic::Pattern)),
        "sunsubscribe" => Some((Verb::Unsubscribe, Topic::Sharded)),
        _ => None,
    }
}

impl Listener {
    pub(super) fn new(conn: ConnId) -> Self {
        Self { conn, listening: Listening::default(), mail: Mail::None }
    }

    pub(super) fn listening(&self) -> Listening {
        self.listening
    }

    /// The mailbox, once, for the task that serves the connection.
    pub(super) fn collect(&mut self) -> Option<Mailbox> {
        match std::mem::replace(&mut self.mail, Mail::Collected) {
            Mail::Opened(mailbox) => Some(mailbox),
            before @ (Mail::None | Mail::Collected) => {
                self.mail = before;
                None
            }
        }
    }

    /// In version 2 of the protocol nothing tells a message from a reply, so that a connection which listens may do
    /// little else.
    pub(super) fn refusal(&self, protocol: Protocol, spec: &Spec) -> Option<Reply> {
        let is_free = protocol == Protocol::Resp3
            || !self.listening.is_any()
            || verb(spec).is_some()
            || ["ping", "quit", "reset"].contains(&spec.name);
        (!is_free).then(|| {
            Reply::error_text(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
                 this context",
                spec.name
            ))
        })
    }

    /// What PING answers in the same case.
    pub(super) fn pong(&self, protocol: Protocol, arguments: &[Bytes]) -> Option<Reply> {
        let listens = protocol == Protocol::Resp2 && self.listening.is_any();
        let said = arguments.get(1).cloned().unwrap_or_default();
        listens.then(|| Reply::Array(vec![Reply::bulk("pong"), Reply::Bulk(said)]))
    }

    /// Why so many more subscriptions are not taken, if they are not.
    pub(super) fn excess(&self, more: usize) -> Option<Reply> {
        let Listening { channels, patterns, sharded, .. } = self.listening;
        let too_many = channels + patterns + sharded + more > SUBSCRIPTIONS_MAX;
        too_many.then(|| Reply::error("ERR too many subscriptions of one connection: 65536 are allowed"))
    }

    /// Begins to listen; one confirmation for each name.
    pub(super) fn subscribe(&mut self, front: &FrontDoor, topic: Topic, names: &[Bytes]) -> Vec<Reply> {
        let subscriptions = front.shard.subscriptions();
        if let Mail::None = self.mail {
            self.mail = Mail::Opened(subscriptions.open(self.conn, front.limits.output_bytes_max));
        }
        let word = match topic {
            Topic::Channel => "subscribe",
            Topic::Pattern => "psubscribe",
            Topic::Sharded => "ssubscribe",
        };
        let confirm = |name: &Bytes| {
            self.listening = subscriptions.subscribe(self.conn, topic, name);
            confirmation(word, Reply::Bulk(name.clone()), self.listening.count(topic))
        };
        names.iter().map(confirm).collect()
    }

    /// Listens no more to these names, or without any to none of the topic; one confirmation for each name, and one
    /// if there is none.
    pub(super) fn unsubscribe(&mut self, front: &FrontDoor, topic: Topic, names: &[Bytes]) -> Vec<Reply> {
        let subscriptions = front.shard.subscriptions();
        let word = match topic {
            Topic::Channel => "unsubscribe",
            Topic::Pattern => "punsubscribe",
            Topic::Sharded => "sunsubscribe",
        };
        let all = if names.is_empty() { subscriptions.names_of(self.conn, topic) } else { names.to_vec() };
        if all.is_empty() {
            return vec![confirmation(word, Reply::Null, self.listening.count(topic))];
        }
        let confirm = |name: Bytes| {
            self.listening = subscriptions.unsubscribe(self.conn, topic, &name);
            confirmation(word, Reply::Bulk(name), self.listening.count(topic))
        };
        all.into_iter().map(confirm).collect()
    }

    /// Listens to nothing more, without a word.
    pub(super) fn unsubscribe_all(&mut self, front: &FrontDoor) {
        for topic in [Topic::Channel, Topic::Pattern, Topic::Sharded] {
            self.unsubscribe(front, topic, &[]);
        }
    }
}

fn confirmation(word: &'static str, name: Reply, count: usize) -> Reply {
    Reply::Push(vec![Reply::bulk(word), name, Reply::count(count)])
}
