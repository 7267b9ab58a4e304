//! Who listens to which channels at this node, and how messages reach them.
//!
//! Every node applies every PUBLISH, so that each serves its own subscribers and no message crosses the network for
//! their sake. The shard's thread only hands messages over ([`Subscriptions::publish`]); the task [`fan_out`] looks up
//! who listens and puts each message, shared, into their mailboxes; a connection's task takes it from there.
//!
//! * A subscriber gets messages in the order of the log, each at most once, and none from before it subscribed.
//! * Nobody waits for a subscriber: one that leaves more unread than its limit is cut off, and so are all when the
//!   fan-out itself falls behind, or when a snapshot has taken the place of messages. A subscriber that is connected has
//!   missed nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use quorate_machine::{ChannelKind, Publication, glob};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::{
    handle::{ConnId, Reply},
    resp::{Protocol, encoded_bytes},
};

/// Messages that may wait for the fan-out, in bytes. It does nothing else, so that only more subscriptions than the
/// machine can serve lead here.
const BACKLOG_BYTES_MAX: usize = 64 << 20;

/// What a subscription names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// SUBSCRIBE: a channel.
    Channel,
    /// PSUBSCRIBE: all ordinary channels whose names match.
    Pattern,
    /// SSUBSCRIBE: a sharded channel.
    Sharded,
}

impl Topic {
    /// The topic that names a channel itself.
    fn of(kind: ChannelKind) -> Self {
        match kind {
            ChannelKind::Ordinary => Self::Channel,
            ChannelKind::Sharded => Self::Sharded,
        }
    }

    /// The first word of a message's push.
    fn message(self) -> &'static str {
        match self {
            Self::Channel => "message",
            Self::Pattern => "pmessage",
            Self::Sharded => "smessage",
        }
    }
}

/// The subscriptions of all connections of a node.
#[derive(Debug)]
pub struct Subscriptions {
    registry: Mutex<Registry>,
    /// How many connections listen to anything: while it is 0, messages are dropped at once.
    listening: AtomicUsize,
    fan_out: UnboundedSender<Vec<Publication>>,
    backlog_bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct Registry {
    /// Who listens, by what he named. No set is empty.
    topics: BTreeMap<Topic, BTreeMap<Bytes, BTreeSet<ConnId>>>,
    mailboxes: BTreeMap<ConnId, Outlet>,
}

/// The end of a mailbox into which messages are put. Dropping it cuts its connection off.
#[derive(Debug)]
struct Outlet {
    messages: UnboundedSender<Arc<Message>>,
    waiting_bytes: Arc<AtomicUsize>,
    bytes_max: usize,
    names: BTreeSet<(Topic, Bytes)>,
    listening: Listening,
}

/// What a connection listens to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// How many channels.
    pub channels: usize,
    /// How many patterns.
    pub patterns: usize,
    /// How many sharded channels.
    pub sharded: usize,
    /// What all of that takes in memory, about.
    pub bytes: usize,
}

impl Listening {
    /// What a subscription takes beside its name: its places in two trees.
    const SUBSCRIPTION_BYTES: usize = 200;

    /// Whether it listens to anything.
    #[must_use]
    pub fn is_any(self) -> bool {
        self.channels + self.patterns + self.sharded > 0
    }

    /// The number that a confirmation tells: sharded channels are counted by themselves.
    #[must_use]
    pub fn count(self, topic: Topic) -> usize {
        match topic {
            Topic::Channel | Topic::Pattern => self.channels + self.patterns,
            Topic::Sharded => self.sharded,
        }
    }

    fn of_mut(&mut self, topic: Topic) -> &mut usize {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::Sharded => &mut self.sharded,
        }
    }
}

/// A message as a subscriber gets it, shared by all who named the same.
#[derive(Debug)]
pub struct Message {
    /// The push.
    pub push: Reply,
    bytes: usize,
}

/// The end of a mailbox from which its connection takes messages.
#[derive(Debug)]
pub struct Mailbox {
    messages: UnboundedReceiver<Arc<Message>>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Mailbox {
    /// The next message; `None` once the connection is cut off. Loses nothing if it is dropped before.
    pub async fn next(&mut self) -> Option<Arc<Message>> {
        let message = self.messages.recv().await?;
        self.waiting_bytes.fetch_sub(message.bytes, Ordering::Relaxed);
        Some(message)
    }

    /// The next message, if one is there.
    pub fn take(&mut self) -> Option<Arc<Message>> {
        let message = self.messages.try_recv().ok()?;
        self.waiting_bytes.fetch_sub(message.bytes, Ordering::Relaxed);
        Some(message)
    }

    /// Bytes of the messages that wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }
}

impl Subscriptions {
    /// Nobody listens yet. What is published arrives at the receiver, which is for [`fan_out`].
    #[must_use]
    pub fn new() -> (Arc<Self>, UnboundedReceiver<Vec<Publication>>) {
        let (fan_out, published) = mpsc::unbounded_channel();
        let subscriptions = Self {
            registry: Mutex::default(),
            listening: AtomicUsize::new(0),
            fan_out,
            backlog_bytes: AtomicUsize::new(0),
        };
        (Arc::new(subscriptions), published)
    }

    /// Hands messages over, in the order of the log. Never waits.
    pub fn publish(&self, publications: Vec<Publication>) {
        if publications.is_empty() || self.listening.load(Ordering::Acquire) == 0 {
            return;
        }
        let bytes = publications.iter().map(Publication::bytes).sum();
        if self.backlog_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > BACKLOG_BYTES_MAX {
            self.backlog_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return self.cut_off_all("messages are published faster than they can be handed out");
        }
        // The task lives as long as the process.
        drop(self.fan_out.send(publications));
    }

    /// Ends all subscribers' connections, since each would miss messages without knowing.
    pub fn cut_off_all(&self, reason: &str) {
        let mut registry = self.lock();
        if registry.mailboxes.is_empty() {
            return;
        }
        tracing::warn!(
            subscribers = registry.mailboxes.len(),
            reason,
            "closes the connections of all subscribers"
        );
        *registry = Registry::default();
        self.listening.store(0, Ordering::Release);
    }

    /// Opens the mailbox of a connection, in which no more than `bytes_max` may wait.
    pub fn open(&self, conn: ConnId, bytes_max: usize) -> Mailbox {
        let (messages, receiver) = mpsc::unbounded_channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let mailbox = Mailbox { messages: receiver, waiting_bytes: Arc::clone(&waiting_bytes) };
        let (names, listening) = (BTreeSet::new(), Listening::default());
        let mut registry = self.lock();
        registry.mailboxes.insert(conn, Outlet { messages, waiting_bytes, bytes_max, names, listening });
        self.listening.store(registry.mailboxes.len(), Ordering::Release);
        mailbox
    }

    /// Adds a subscription of a connection with a mailbox. One that has been cut off gets none.
    pub fn subscribe(&self, conn: ConnId, topic: Topic, name: &Bytes) -> Listening {
        // A copy: the name may be a slice of a read buffer.
        let name = Bytes::copy_from_slice(name);
        let mut registry = self.lock();
        let Some(outlet) = registry.mailboxes.get_mut(&conn) else { return Listening::default() };
        if outlet.names.insert((topic, name.clone())) {
            *outlet.listening.of_mut(topic) += 1;
            outlet.listening.bytes += Listening::SUBSCRIPTION_BYTES + name.len();
        }
        let listening = outlet.listening;
        registry.topics.entry(topic).or_default().entry(name).or_default().insert(conn);
        listening
    }

    /// Takes a subscription away; one that is not there is none. The mailbox stays.
    pub fn unsubscribe(&self, conn: ConnId, topic: Topic, name: &Bytes) -> Listening {
        let mut registry = self.lock();
        let Some(outlet) = registry.mailboxes.get_mut(&conn) else { return Listening::default() };
        if outlet.names.remove(&(topic, name.clone())) {
            *outlet.listening.of_mut(topic) -= 1;
            outlet.listening.bytes -= Listening::SUBSCRIPTION_BYTES + name.len();
        }
        let listening = outlet.listening;
        registry.forget(conn, topic, name);
        listening
    }

    /// What a connection has named.
    #[must_use]
    pub fn names_of(&self, conn: ConnId, topic: Topic) -> Vec<Bytes> {
        let registry = self.lock();
        let names = registry.mailboxes.get(&conn).into_iter().flat_map(|outlet| &outlet.names);
        names.filter(|(of, _)| *of == topic).map(|(_, name)| name.clone()).collect()
    }

    /// Forgets a connection.
    pub fn remove(&self, conn: ConnId) {
        if self.listening.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut registry = self.lock();
        registry.remove(conn);
        self.listening.store(registry.mailboxes.len(), Ordering::Release);
    }

    /// How many subscriptions a message to this channel would reach.
    #[must_use]
    pub fn receivers(&self, kind: ChannelKind, channel: &[u8]) -> usize {
        self.lock().listeners(kind, channel).map(|(_, _, conns)| conns.len()).sum()
    }

    /// How many connections have named this.
    #[must_use]
    pub fn subscribers(&self, topic: Topic, name: &[u8]) -> usize {
        self.lock().topics.get(&topic).and_then(|names| names.get(name)).map_or(0, BTreeSet::len)
    }

    /// What subscribers have named, and how many have.
    #[must_use]
    pub fn names(&self, topic: Topic) -> Vec<(Bytes, usize)> {
        let registry = self.lock();
        let names = registry.topics.get(&topic).into_iter().flatten();
        names.map(|(name, conns)| (name.clone(), conns.len())).collect()
    }

    /// Puts a message into the mailboxes of all who listen.
    fn deliver(&self, publication: &Publication) {
        let mut registry = self.lock();
        let mut cut_off = Vec::new();
        for (topic, name, conns) in registry.listeners(publication.kind, &publication.channel) {
            let message = Arc::new(Message::new(topic, name, publication));
            let outlets = conns.iter().filter_map(|conn| Some((*conn, registry.mailboxes.get(conn)?)));
            cut_off.extend(outlets.filter(|(_, outlet)| !outlet.put(&message)).map(|(conn, _)| conn));
        }
        for conn in cut_off {
            registry.remove(conn);
        }
        self.listening.store(registry.mailboxes.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // Each change below leaves the registry whole, so a panic elsewhere cannot have left it half-changed.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Who listens to a channel: as what, by which name, and who.
    fn listeners<'a>(
        &'a self,
        kind: ChannelKind,
        channel: &'a [u8],
    ) -> impl Iterator<Item = (Topic, &'a Bytes, &'a BTreeSet<ConnId>)> {
        let topic = Topic::of(kind);
        let named = self.topics.get(&topic).and_then(|names| names.get_key_value(channel));
        let patterns = match kind {
            ChannelKind::Ordinary => self.topics.get(&Topic::Pattern),
            ChannelKind::Sharded => None,
        };
        let matching = patterns.into_iter().flatten().filter(|(pattern, _)| glob::matches(pattern, channel));
        let named = named.into_iter().map(move |(name, conns)| (topic, name, conns));
        named.chain(matching.map(|(pattern, conns)| (Topic::Pattern, pattern, conns)))
    }

    fn forget(&mut self, conn: ConnId, topic: Topic, name: &Bytes) {
        let Some(names) = self.topics.get_mut(&topic) else { return };
        let Some(conns) = names.get_mut(name) else { return };
        conns.remove(&conn);
        if conns.is_empty() {
            names.remove(name);
        }
    }

    fn remove(&mut self, conn: ConnId) {
        let names = self.mailboxes.remove(&conn).map(|outlet| outlet.names).unwrap_or_default();
        for (topic, name) in names {
            self.forget(conn, topic, &name);
        }
    }
}

impl Outlet {
    /// Whether there was room for the message.
    fn put(&self, message: &Arc<Message>) -> bool {
        let waiting = self.waiting_bytes.fetch_add(message.bytes, Ordering::Relaxed) + message.bytes;
        // A connection that is gone has said so, or will.
        drop(self.messages.send(Arc::clone(message)));
        waiting <= self.bytes_max
    }
}

impl Message {
    fn new(topic: Topic, name: &Bytes, publication: &Publication) -> Self {
        // Copied once for all: the publication shares the memory of a whole entry.
        let text = |bytes: &Bytes| Reply::Bulk(Bytes::copy_from_slice(bytes));
        let mut parts = vec![Reply::bulk(topic.message())];
        if topic == Topic::Pattern {
            parts.push(Reply::Bulk(name.clone()));
        }
        parts.extend([text(&publication.channel), text(&publication.message)]);
        let push = Reply::Push(parts);
        let bytes = encoded_bytes(&push, Protocol::Resp3);
        Self { push, bytes }
    }
}

/// Hands out what is published, until the process ends.
pub async fn fan_out(subscriptions: Arc<Subscriptions>, mut published: UnboundedReceiver<Vec<Publication>>) {
    while let Some(publications) = published.recv().await {
        for publication in publications {
            subscriptions.deliver(&publication);
            subscriptions.backlog_bytes.fetch_sub(publication.bytes(), Ordering::Relaxed);
            // Others have their turn between two messages, however many subscribers each has.
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnId = ConnId(1);
    const B: ConnId = ConnId(2);

    fn name(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn publication(kind: ChannelKind, channel: &'static str, message: &'static str) -> Publication {
        Publication { kind, channel: name(channel), message: name(message) }
    }

    /// The words of what has arrived.
    fn taken(mailbox: &mut Mailbox) -> Vec<String> {
        let words = |message: Arc<Message>| match &message.push {
            Reply::Push(parts) => parts
                .iter()
                .map(|part| match part {
                    Reply::Bulk(text) => text.escape_ascii().to_string(),
                    other => panic!("{other:?} in a message"),
                })
                .collect::<Vec<_>>()
                .join(" "),
            other => panic!("{other:?} is no message"),
        };
        std::iter::from_fn(|| mailbox.take()).map(words).collect()
    }

    #[test]
    fn a_message_reaches_each_subscription_that_it_matches_once() {
        let (subscriptions, _) = Subscriptions::new();
        let (mut a, mut b) = (subscriptions.open(A, 1000), subscriptions.open(B, 1000));
        subscriptions.subscribe(A, Topic::Channel, &name("news"));
        subscriptions.subscribe(A, Topic::Channel, &name("news"));
        subscriptions.subscribe(A, Topic::Pattern, &name("n*"));
        subscriptions.subscribe(B, Topic::Sharded, &name("news"));
        assert_eq!(subscriptions.receivers(ChannelKind::Ordinary, b"news"), 2);
        subscriptions.deliver(&publication(ChannelKind::Ordinary, "news", "one"));
        subscriptions.deliver(&publication(ChannelKind::Ordinary, "nothing", "two"));
        subscriptions.deliver(&publication(ChannelKind::Sharded, "news", "three"));
        assert_eq!(taken(&mut a), ["message news one", "pmessage n* news one", "pmessage n* nothing two"]);
        assert_eq!(taken(&mut b), ["smessage news three"]);
        assert_eq!((a.waiting_bytes(), b.waiting_bytes()), (0, 0));
    }

    #[test]
    fn what_a_connection_listens_to_is_counted_and_forgotten() {
        let (subscriptions, _) = Subscriptions::new();
        let _mailbox = subscriptions.open(A, 1000);
        subscriptions.subscribe(A, Topic::Channel, &name("one"));
        subscriptions.subscribe(A, Topic::Channel, &name("two"));
        let listening = subscriptions.subscribe(A, Topic::Pattern, &name("*"));
        assert_eq!((listening.count(Topic::Channel), listening.count(Topic::Sharded)), (3, 0));
        let listening = subscriptions.unsubscribe(A, Topic::Channel, &name("one"));
        assert_eq!(listening.count(Topic::Pattern), 2);
        assert_eq!(subscriptions.unsubscribe(A, Topic::Channel, &name("none")), listening);
        assert_eq!(subscriptions.names(Topic::Channel), [(name("two"), 1)]);
        subscriptions.remove(A);
        assert_eq!(
            (subscriptions.names(Topic::Channel), subscriptions.names(Topic::Pattern)),
            (vec![], vec![])
        );
    }

    /// One subscriber that does not read must neither be waited for nor fill the memory (etcd#16839).
    #[tokio::test]
    async fn hazard_33_a_subscriber_that_does_not_read_is_cut_off_and_others_go_on() {
        let (subscriptions, published) = Subscriptions::new();
        tokio::spawn(fan_out(Arc::clone(&subscriptions), published));
        let (mut slow, mut other) = (subscriptions.open(A, 100), subscriptions.open(B, 10_000));
        for conn in [A, B] {
            subscriptions.subscribe(conn, Topic::Channel, &name("news"));
        }
        for _ in 0..10 {
            subscriptions.publish(vec![publication(ChannelKind::Ordinary, "news", "0123456789")]);
        }
        for _ in 0..10 {
            assert!(other.next().await.is_some());
        }
        assert_eq!(subscriptions.receivers(ChannelKind::Ordinary, b"news"), 1);
        let read = taken(&mut slow).len();
        assert!(read > 0 && slow.next().await.is_none(), "{read} messages, and then the end");
    }

    #[tokio::test]
    async fn whoever_would_miss_a_message_is_cut_off() {
        let (subscriptions, _published) = Subscriptions::new();
        let mut mailbox = subscriptions.open(A, usize::MAX);
        subscriptions.subscribe(A, Topic::Channel, &name("news"));
        // Nobody hands them out here, as if the task could not keep up.
        let large = Bytes::from(vec![0; BACKLOG_BYTES_MAX / 2]);
        for _ in 0..3 {
            let message = large.clone();
            subscriptions.publish(vec![Publication {
                kind: ChannelKind::Ordinary,
                channel: name("news"),
                message,
            }]);
        }
        assert!(mailbox.next().await.is_none());
        assert_eq!(subscriptions.subscribe(A, Topic::Channel, &name("more")), Listening::default());
    }
}
