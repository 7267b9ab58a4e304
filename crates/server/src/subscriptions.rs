//! Who listens to which channels at this node, and how messages reach them.
//!
//! Every node applies every PUBLISH, so that each serves its own subscribers and no message crosses the network for
//! their sake. The shard's thread only hands messages over ([`Subscriptions::publish`]); the task [`fan_out`] looks up
//! who listens and puts each message, shared, into their mailboxes; a connection's task takes it from there.
//!
//! * A subscriber gets messages in the order of the log, each at most once. What is handed over has a number, and a
//!   subscription remembers the last one before it: so none comes from before it subscribed, however much still waits
//!   for the fan-out.
//! * Nobody waits for a subscriber: one that leaves more unread than its limit is cut off, and so are all when the
//!   fan-out itself falls behind, or when a snapshot has taken the place of messages. A subscriber that is connected has
//!   missed nothing.
//! * The shard's thread takes no lock here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use quorate_machine::{ChannelKind, NOTIFIED_BYTES_MAX, PUBLISHED_BYTES_MAX, Publication, glob};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::{
    handle::{ConnId, Reply},
    resp::{Protocol, encoded_bytes},
};

/// Messages that may wait for the fan-out, in bytes. It does nothing else, so that only more subscriptions than the
/// machine can serve lead here.
const BACKLOG_BYTES_MAX: usize = 128 << 20;

// One operation alone must not cut everybody off.
const _: () = assert!((PUBLISHED_BYTES_MAX + NOTIFIED_BYTES_MAX) * 2 <= BACKLOG_BYTES_MAX);

/// What a message takes in memory beside its encoding.
const MESSAGE_BYTES: usize = 256;

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
    /// Whether anybody listens to anything: while nobody does, messages are dropped at once.
    is_heard: AtomicBool,
    fan_out: UnboundedSender<Handed>,
    /// The number of what was handed over last.
    handed: AtomicU64,
    backlog_bytes: AtomicUsize,
    /// Everybody is about to be cut off: nothing more is handed over for them.
    cutting_off: AtomicBool,
}

/// What the shard's thread hands over to the fan-out.
#[derive(Debug)]
pub enum Handed {
    /// Messages, with the number by which subscriptions tell what is newer than they are.
    Messages(u64, Vec<Publication>),
    /// Messages will be missing from here on.
    Gap(&'static str),
}

#[derive(Debug, Default)]
struct Registry {
    /// Who listens, by what he named. No set is empty.
    topics: BTreeMap<Topic, BTreeMap<Bytes, Subscribers>>,
    mailboxes: BTreeMap<ConnId, Outlet>,
}

/// Connections, each with the number of what had been handed over when it subscribed.
type Subscribers = BTreeMap<ConnId, u64>;

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
    pub fn new() -> (Arc<Self>, UnboundedReceiver<Handed>) {
        let (fan_out, handed) = mpsc::unbounded_channel();
        let subscriptions = Self {
            registry: Mutex::default(),
            is_heard: AtomicBool::new(false),
            fan_out,
            handed: AtomicU64::new(0),
            backlog_bytes: AtomicUsize::new(0),
            cutting_off: AtomicBool::new(false),
        };
        (Arc::new(subscriptions), handed)
    }

    /// Hands messages over, in the order of the log. Only the shard's thread does. Never waits.
    pub fn publish(&self, publications: Vec<Publication>) {
        let is_heard = self.is_heard.load(Ordering::Acquire);
        if publications.is_empty() || !is_heard || self.cutting_off.load(Ordering::Acquire) {
            return;
        }
        // Copies: they are slices of whole entries, which would stay in memory with them.
        let publications: Vec<_> = publications.iter().map(detached).collect();
        let bytes = publications.iter().map(Publication::bytes).sum();
        if self.backlog_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > BACKLOG_BYTES_MAX {
            self.backlog_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return self.cut_off_all("messages are published faster than they can be handed out");
        }
        let number = self.number();
        // The task lives as long as the process.
        drop(self.fan_out.send(Handed::Messages(number, publications)));
    }

    /// A number for messages: greater than that of whatever was handed over before, and than all subscriptions of before
    /// remember.
    pub(crate) fn number(&self) -> u64 {
        self.handed.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Ends all subscribers' connections, since each would miss messages without knowing. They get what was handed
    /// over before. Never waits.
    pub fn cut_off_all(&self, reason: &'static str) {
        let is_heard = self.is_heard.load(Ordering::Acquire);
        if is_heard && !self.cutting_off.swap(true, Ordering::AcqRel) {
            drop(self.fan_out.send(Handed::Gap(reason)));
        }
    }

    /// Opens the mailbox of a connection, in which no more than `bytes_max` may wait.
    pub fn open(&self, conn: ConnId, bytes_max: usize) -> Mailbox {
        let (messages, receiver) = mpsc::unbounded_channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let mailbox = Mailbox { messages: receiver, waiting_bytes: Arc::clone(&waiting_bytes) };
        let (names, listening) = (BTreeSet::new(), Listening::default());
        let outlet = Outlet { messages, waiting_bytes, bytes_max, names, listening };
        self.change(|registry| registry.mailboxes.insert(conn, outlet));
        mailbox
    }

    /// Adds subscriptions of a connection with a mailbox; answers what it listens to after each. One that has been
    /// cut off gets none.
    pub fn subscribe(&self, conn: ConnId, topic: Topic, names: &[Bytes]) -> Vec<Listening> {
        self.change(|registry| {
            // What is handed over from here on has a greater number.
            let handed = self.handed.load(Ordering::Acquire);
            names.iter().map(|name| registry.subscribe(conn, topic, name, handed)).collect()
        })
    }

    /// Takes subscriptions away, where they are there; answers what is left after each. The mailbox stays.
    pub fn unsubscribe(&self, conn: ConnId, topic: Topic, names: &[Bytes]) -> Vec<Listening> {
        self.change(|registry| names.iter().map(|name| registry.unsubscribe(conn, topic, name)).collect())
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
        self.change(|registry| registry.remove(conn));
    }

    /// How many subscriptions a message to this channel would reach.
    #[must_use]
    pub fn receivers(&self, kind: ChannelKind, channel: &[u8]) -> usize {
        self.lock().listeners(kind, channel).map(|(_, _, conns)| conns.len()).sum()
    }

    /// How many connections have named this.
    #[must_use]
    pub fn subscribers(&self, topic: Topic, name: &[u8]) -> usize {
        self.lock().topics.get(&topic).and_then(|names| names.get(name)).map_or(0, BTreeMap::len)
    }

    /// What subscribers have named.
    #[must_use]
    pub fn names(&self, topic: Topic) -> Vec<Bytes> {
        self.lock().topics.get(&topic).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    /// How many different names that are.
    #[must_use]
    pub fn count(&self, topic: Topic) -> usize {
        self.lock().topics.get(&topic).map_or(0, BTreeMap::len)
    }

    /// Puts a message into the mailboxes of all who listened before it was handed over.
    pub(crate) fn deliver(&self, number: u64, publication: &Publication) {
        self.change(|registry| {
            let mut cut_off = Vec::new();
            for (topic, name, subscribers) in registry.listeners(publication.kind, &publication.channel) {
                let message = Arc::new(Message::new(topic, name, publication));
                let earlier = subscribers.iter().filter(|(_, since)| **since < number);
                let outlets = earlier.filter_map(|(conn, _)| Some((*conn, registry.mailboxes.get(conn)?)));
                cut_off.extend(outlets.filter(|(_, outlet)| !outlet.put(&message)).map(|(conn, _)| conn));
            }
            for conn in cut_off {
                registry.remove(conn);
            }
        });
    }

    /// Drops all mailboxes, which their connections notice.
    fn cut_off(&self, reason: &str) {
        let before = self.change(|registry| {
            // Before anybody can subscribe anew, who must miss nothing from then on.
            self.cutting_off.store(false, Ordering::Release);
            std::mem::take(registry)
        });
        let subscribers = before.mailboxes.len();
        tracing::warn!(subscribers, reason, "closes the connections of all subscribers");
    }

    /// Changes the registry, and tells the shard's thread whether anybody listens.
    fn change<R>(&self, change: impl FnOnce(&mut Registry) -> R) -> R {
        let mut registry = self.lock();
        let result = change(&mut registry);
        let is_heard = registry.topics.values().any(|names| !names.is_empty());
        self.is_heard.store(is_heard, Ordering::Release);
        result
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
    ) -> impl Iterator<Item = (Topic, &'a Bytes, &'a Subscribers)> {
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

    fn subscribe(&mut self, conn: ConnId, topic: Topic, name: &Bytes, handed: u64) -> Listening {
        let Some(outlet) = self.mailboxes.get_mut(&conn) else { return Listening::default() };
        // A copy: the name may be a slice of a read buffer.
        let name = Bytes::copy_from_slice(name);
        if outlet.names.insert((topic, name.clone())) {
            *outlet.listening.of_mut(topic) += 1;
            outlet.listening.bytes += Listening::SUBSCRIPTION_BYTES + name.len();
        }
        let listening = outlet.listening;
        self.topics.entry(topic).or_default().entry(name).or_default().entry(conn).or_insert(handed);
        listening
    }

    fn unsubscribe(&mut self, conn: ConnId, topic: Topic, name: &Bytes) -> Listening {
        let Some(outlet) = self.mailboxes.get_mut(&conn) else { return Listening::default() };
        if outlet.names.remove(&(topic, name.clone())) {
            *outlet.listening.of_mut(topic) -= 1;
            outlet.listening.bytes -= Listening::SUBSCRIPTION_BYTES + name.len();
        }
        let listening = outlet.listening;
        self.forget(conn, topic, name);
        listening
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
        let text = |bytes: &Bytes| Reply::Bulk(bytes.clone());
        let mut parts = vec![Reply::bulk(topic.message())];
        if topic == Topic::Pattern {
            parts.push(Reply::Bulk(name.clone()));
        }
        parts.extend([text(&publication.channel), text(&publication.message)]);
        let push = Reply::Push(parts);
        let bytes = MESSAGE_BYTES + encoded_bytes(&push, Protocol::Resp3);
        Self { push, bytes }
    }
}

/// The publication in memory of its own.
fn detached(publication: &Publication) -> Publication {
    Publication {
        kind: publication.kind,
        channel: Bytes::copy_from_slice(&publication.channel),
        message: Bytes::copy_from_slice(&publication.message),
    }
}

/// Hands out what is published, until the process ends.
pub async fn fan_out(subscriptions: Arc<Subscriptions>, mut handed: UnboundedReceiver<Handed>) {
    while let Some(handed) = handed.recv().await {
        match handed {
            Handed::Gap(reason) => subscriptions.cut_off(reason),
            Handed::Messages(number, publications) => {
                for publication in publications {
                    subscriptions.deliver(number, &publication);
                    subscriptions.backlog_bytes.fetch_sub(publication.bytes(), Ordering::Relaxed);
                    // Others have their turn between two messages, however many subscribers each has.
                    tokio::task::yield_now().await;
                }
            }
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

    /// Hands a message over and out at once.
    fn hand_over(subscriptions: &Subscriptions, publication: Publication) {
        subscriptions.deliver(subscriptions.handed.fetch_add(1, Ordering::AcqRel) + 1, &publication);
    }

    #[test]
    fn a_message_reaches_each_subscription_that_it_matches_once() {
        let (subscriptions, _) = Subscriptions::new();
        let (mut a, mut b) = (subscriptions.open(A, 10_000), subscriptions.open(B, 10_000));
        subscriptions.subscribe(A, Topic::Channel, &[name("news"), name("news")]);
        subscriptions.subscribe(A, Topic::Pattern, &[name("n*")]);
        subscriptions.subscribe(B, Topic::Sharded, &[name("news")]);
        assert_eq!(subscriptions.receivers(ChannelKind::Ordinary, b"news"), 2);
        hand_over(&subscriptions, publication(ChannelKind::Ordinary, "news", "one"));
        hand_over(&subscriptions, publication(ChannelKind::Ordinary, "nothing", "two"));
        hand_over(&subscriptions, publication(ChannelKind::Sharded, "news", "three"));
        assert_eq!(taken(&mut a), ["message news one", "pmessage n* news one", "pmessage n* nothing two"]);
        assert_eq!(taken(&mut b), ["smessage news three"]);
        assert_eq!((a.waiting_bytes(), b.waiting_bytes()), (0, 0));
    }

    #[test]
    fn what_a_connection_listens_to_is_counted_and_forgotten() {
        let (subscriptions, _) = Subscriptions::new();
        let _mailbox = subscriptions.open(A, 1000);
        subscriptions.subscribe(A, Topic::Channel, &[name("one"), name("two")]);
        let listening = subscriptions.subscribe(A, Topic::Pattern, &[name("*")])[0];
        assert_eq!((listening.count(Topic::Channel), listening.count(Topic::Sharded)), (3, 0));
        let left = subscriptions.unsubscribe(A, Topic::Channel, &[name("one"), name("none")]);
        assert_eq!(left.iter().map(|left| left.count(Topic::Pattern)).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(subscriptions.names(Topic::Channel), [name("two")]);
        subscriptions.remove(A);
        assert_eq!((subscriptions.count(Topic::Channel), subscriptions.count(Topic::Pattern)), (0, 0));
        assert!(!subscriptions.is_heard.load(Ordering::Acquire));
    }

    /// A message that had been published, but not handed out, when another connection subscribed reached it, too.
    #[tokio::test]
    async fn a_subscriber_gets_nothing_from_before_it_subscribed() {
        let (subscriptions, handed) = Subscriptions::new();
        let (mut a, mut b) = (subscriptions.open(A, 10_000), subscriptions.open(B, 10_000));
        subscriptions.subscribe(A, Topic::Channel, &[name("news")]);
        subscriptions.publish(vec![publication(ChannelKind::Ordinary, "news", "before")]);
        subscriptions.subscribe(B, Topic::Channel, &[name("news")]);
        subscriptions.publish(vec![publication(ChannelKind::Ordinary, "news", "after")]);
        tokio::spawn(fan_out(Arc::clone(&subscriptions), handed));
        let first = b.next().await.expect("a message");
        assert!(format!("{first:?}").contains("after"), "{first:?}");
        assert_eq!(taken(&mut a), ["message news before", "message news after"]);
    }

    /// One subscriber that does not read must neither be waited for nor fill the memory (etcd#16839).
    #[tokio::test]
    async fn hazard_33_a_subscriber_that_does_not_read_is_cut_off_and_others_go_on() {
        let (subscriptions, published) = Subscriptions::new();
        tokio::spawn(fan_out(Arc::clone(&subscriptions), published));
        let (mut slow, mut other) = (subscriptions.open(A, 1000), subscriptions.open(B, 100_000));
        for conn in [A, B] {
            subscriptions.subscribe(conn, Topic::Channel, &[name("news")]);
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

    /// A subscriber that is connected has missed nothing, so that none waits for a release that was told before (hazard 32).
    #[tokio::test]
    async fn whoever_would_miss_a_message_is_cut_off_behind_what_it_does_not_miss() {
        let (subscriptions, handed) = Subscriptions::new();
        let mut mailbox = subscriptions.open(A, usize::MAX);
        subscriptions.subscribe(A, Topic::Channel, &[name("news")]);
        // Nobody hands them out meanwhile, as if the task could not keep up.
        let large = Bytes::from(vec![0; BACKLOG_BYTES_MAX / 2 - 1024]);
        for _ in 0..3 {
            let message = large.clone();
            let kind = ChannelKind::Ordinary;
            subscriptions.publish(vec![Publication { kind, channel: name("news"), message }]);
        }
        tokio::spawn(fan_out(Arc::clone(&subscriptions), handed));
        assert!(mailbox.next().await.is_some() && mailbox.next().await.is_some());
        assert!(mailbox.next().await.is_none());
        assert_eq!(subscriptions.subscribe(A, Topic::Channel, &[name("more")]), [Listening::default()]);
        assert!(!subscriptions.is_heard.load(Ordering::Acquire));
    }
}
