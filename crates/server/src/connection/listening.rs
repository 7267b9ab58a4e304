//! SUBSCRIBE and its kin, on the side of one connection.
//!
//! A subscription begins when the shard has confirmed, as for any linearizable read, that this node is as far as every
//! message that was published before. So a subscriber gets no message from before it asked, also on a node that lags or
//! has just started; and once it is confirmed, every later one.

use bytes::Bytes;
use quorate_machine::{CHANNEL_BYTES_MAX, ChannelKind, Spec, Watch};

use super::FrontDoor;
use crate::{
    handle::{ConnId, Reply},
    resp::Protocol,
    subscriptions::{Listening, Mailbox, Topic},
};

/// Subscriptions of one connection. They are kept in memory for as long as it lives; no program comes near.
const SUBSCRIPTIONS_MAX: usize = 1 << 16;

/// Patterns of one connection: each message is compared with each of them.
const PATTERNS_MAX: usize = 1 << 10;

/// What a connection listens to, and what has come of it.
#[derive(Debug)]
pub(super) struct Listener {
    conn: ConnId,
    listening: Listening,
    /// Since the first subscription.
    mailbox: Option<Mailbox>,
}

/// What one of these commands does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Subscribe(Topic),
    /// LOCK WATCH and ELECTION OBSERVE.
    Watch,
    Unsubscribe(Topic),
}

/// What a connection asks to listen to.
#[derive(Debug)]
pub(super) enum Wish {
    /// Channels or patterns.
    Names(Topic, Vec<Bytes>),
    /// Who holds a lock, or leads.
    Watch(Watch),
}

/// What the command is, if it is one of these.
pub(super) fn verb(spec: &Spec) -> Option<Verb> {
    match spec.name {
        "subscribe" => Some(Verb::Subscribe(Topic::Channel)),
        "psubscribe" => Some(Verb::Subscribe(Topic::Pattern)),
        "ssubscribe" => Some(Verb::Subscribe(Topic::Sharded)),
        "lock|watch" | "election|observe" => Some(Verb::Watch),
        "unsubscribe" => Some(Verb::Unsubscribe(Topic::Channel)),
        "punsubscribe" => Some(Verb::Unsubscribe(Topic::Pattern)),
        "sunsubscribe" => Some(Verb::Unsubscribe(Topic::Sharded)),
        _ => None,
    }
}

/// The kind of channel that the command sends to, if it sends.
pub(super) fn sends_to(spec: &Spec) -> Option<ChannelKind> {
    match spec.name {
        "publish" => Some(ChannelKind::Ordinary),
        "spublish" => Some(ChannelKind::Sharded),
        _ => None,
    }
}

impl Listener {
    pub(super) fn new(conn: ConnId) -> Self {
        Self { conn, listening: Listening::default(), mailbox: None }
    }

    pub(super) fn listening(&self) -> Listening {
        self.listening
    }

    pub(super) fn mailbox(&mut self) -> Option<&mut Mailbox> {
        self.mailbox.as_mut()
    }

    /// Bytes of the messages that wait.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.mailbox.as_ref().map_or(0, Mailbox::waiting_bytes)
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

    /// Why this is not listened to, if it is not.
    pub(super) fn refuse_wish(&self, wish: &Wish) -> Option<Reply> {
        let (topic, names) = match wish {
            Wish::Names(topic, names) => (*topic, &names[..]),
            Wish::Watch(watch) => (Topic::Channel, std::slice::from_ref(&watch.channel)),
        };
        let Listening { channels, patterns, sharded, .. } = self.listening;
        if names.iter().any(|name| name.len() > CHANNEL_BYTES_MAX) {
            Some(Reply::error("ERR the name of a channel, or the pattern, is longer than 1024 bytes"))
        } else if channels + patterns + sharded + names.len() > SUBSCRIPTIONS_MAX {
            Some(Reply::error("ERR too many subscriptions of one connection: 65536 are allowed"))
        } else if topic == Topic::Pattern && patterns + names.len() > PATTERNS_MAX {
            Some(Reply::error("ERR too many patterns of one connection: 1024 are allowed"))
        } else {
            None
        }
    }

    /// Begins to listen; one confirmation for each name, or the error that it cannot.
    pub(super) fn subscribe(&mut self, front: &FrontDoor, wish: Wish) -> Result<Vec<Reply>, Reply> {
        let subscriptions = front.shard.subscriptions();
        let (conn, bytes_max) = (self.conn, front.limits.output_bytes_max);
        self.mailbox.get_or_insert_with(|| subscriptions.open(conn, bytes_max));
        let (topic, names, after_each) = match wish {
            Wish::Names(topic, names) => {
                let after_each = subscriptions.subscribe(conn, topic, &names);
                (topic, names, after_each)
            }
            Wish::Watch(watch) => {
                let listening =
                    subscriptions.watch(conn, &watch).map_err(|gap| Reply::error_text(gap.reason()))?;
                (Topic::Channel, vec![watch.channel], vec![listening])
            }
        };
        let word = match topic {
            Topic::Channel => "subscribe",
            Topic::Pattern => "psubscribe",
            Topic::Sharded => "ssubscribe",
        };
        Ok(self.confirm(word, topic, names, after_each))
    }

    /// Listens no more to these names, or without any to none of the topic; one confirmation for each name, and one
    /// if there is none. What is in the mailbox by then was sent before, and must be read before they are.
    pub(super) fn unsubscribe(&mut self, front: &FrontDoor, topic: Topic, names: Vec<Bytes>) -> Vec<Reply> {
        let subscriptions = front.shard.subscriptions();
        let names = if names.is_empty() { subscriptions.names_of(self.conn, topic) } else { names };
        let after_each = subscriptions.unsubscribe(self.conn, topic, &names);
        let word = match topic {
            Topic::Channel => "unsubscribe",
            Topic::Pattern => "punsubscribe",
            Topic::Sharded => "sunsubscribe",
        };
        if names.is_empty() {
            return vec![confirmation(word, Reply::Null, self.listening.count(topic))];
        }
        self.confirm(word, topic, names, after_each)
    }

    fn confirm(
        &mut self,
        word: &'static str,
        topic: Topic,
        names: Vec<Bytes>,
        after_each: Vec<Listening>,
    ) -> Vec<Reply> {
        self.listening = after_each.last().copied().unwrap_or_default();
        let counts = after_each.iter().map(|listening| listening.count(topic));
        names
            .into_iter()
            .zip(counts)
            .map(|(name, count)| confirmation(word, Reply::Bulk(name), count))
            .collect()
    }
}

fn confirmation(word: &'static str, name: Reply, count: usize) -> Reply {
    Reply::Push(vec![Reply::bulk(word), name, Reply::count(count)])
}
