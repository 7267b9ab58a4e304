//! Who listens to which channels at this node, and how messages reach them.
//!
//! Every node applies every PUBLISH, so that each serves its own subscribers and no message crosses the network for
//! their sake. The shard's thread only hands messages over ([`Subscriptions::publish`]); the task [`fan_out`] looks up
//! who listens and puts each message, shared, into their mailboxes; a connection's task takes it from there.
//!
//! * A subscriber gets messages in the order of the log, each at most once. What is handed over has a number, and a
//!   subscription remembers the last one before it: so none comes from before it subscribed, however much still waits
//!   for the fan-out.
//! * Who holds a lock or leads is told to those, too, who say from which position in the log on ([`Subscriptions::watch`]). So the
//!   fan-out keeps the latest of such messages ([`Recent`]), whether anybody listens or not.
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
use quorate_machine::{ChannelKind, NOTIFIED_BYTES_MAX, PUBLISHED_BYTES_MAX, Publication, Watch, glob};
use quorate_node::{Gap, Recent};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::{
    handle::{ConnId, Reply},
    resp::{Protocol, encoded_bytes},
};

/// Messages that may wait for the fan-out, in bytes. It does nothing else, so that only more subscriptions than the
/// machine can serve lead here.
const BACKLOG_BYTES_MAX: usize = 128 << 20;

// One operation alone must not cut everybody off.
const _: () = assert!((PUBLISHED_BYTES_MAX + 2 * NOTIFIED_BYTES_MAX) * 2 <= BACKLOG_BYTES_MAX);

/// The latest messages about who holds a lock or leads that are kept for those who come back: of some 50,000 locks that are
/// taken and released, and at least what one operation tells.
const RECENT_BYTES_MAX: usize = 16 << 20;

const _: () = assert!(NOTIFIED_BYTES_MAX <= RECENT_BYTES_MAX);

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
    /// Whether anybody listens to anything: while nobody does, messages are dropped at once that nobody can ask for later.
    is_heard: AtomicBool,
    fan_out: UnboundedSender<Handed>,
    /// The number of what was handed over last.
    handed: AtomicU64,
    /// The position in the log of which, and of all before it, everything was handed over.
    applied: AtomicU64,
    backlog_bytes: AtomicUsize,
}

/// What the shard's thread hands over to the fan-out.
#[derive(Debug)]
pub enum Handed {
    /// Messages.
    Messages {
        /// By which subscriptions tell what is newer than they are.
        number: u64,
        /// In the order of the log.
        publications: Vec<Publication>,
    },
    /// Behind the messages of before, where a connection can go on that has asked to watch. That is one for each read that the
    /// shard has answered, and so few.
    Begin {
        /// Whose connection.
        conn: ConnId,
        /// What it watches.
        channel: Bytes,
        /// Everything that stands before this position was handed over before.
        position: u64,
    },
    /// In the place of messages that nobody will get.
    Missing {
        /// As of messages.
        number: u64,
        /// They were up to this position in the log.
        until: u64,
        /// Why.
        reason: &'static str,
    },
}

#[derive(Debug)]
struct Registry {
    /// Who listens, by what he named. No set is empty.
    topics: BTreeMap<Topic, BTreeMap<Bytes, Subscribers>>,
    mailboxes: BTreeMap<ConnId, Outlet>,
    recent: Recent,
    /// Everything up to this number has been handed out.
    handed_out: u64,
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
        let registry = Registry {
            topics: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            recent: Recent::new(RECENT_BYTES_MAX),
            handed_out: 0,
        };
        let subscriptions = Self {
            registry: Mutex::new(registry),
            is_heard: AtomicBool::new(false),
            fan_out,
            handed: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            backlog_bytes: AtomicUsize::new(0),
        };
        (Arc::new(subscriptions), handed)
    }

    /// Hands over all messages up to the entry at `applied`, in the order of the log. Only the shard's thread does. Never waits.
    pub fn publish(&self, publications: &[Publication], applied: u64) {
        let is_heard = self.is_heard.load(Ordering::Acquire);
        let wanted = publications.iter().filter(|publication| is_heard || publication.position.is_some());
        // Copies: they are slices of whole entries, which would stay in memory with them.
        let wanted: Vec<_> = wanted.map(detached).collect();
        if !wanted.is_empty() {
            self.hand_over(wanted, applied);
        }
        self.applied.store(applied, Ordering::Release);
    }

    fn hand_over(&self, publications: Vec<Publication>, applied: u64) {
        let bytes = publications.iter().map(Publication::bytes).sum();
        if self.backlog_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > BACKLOG_BYTES_MAX {
            self.backlog_bytes.fetch_sub(bytes, Ordering::Relaxed);
            // Behind what is applied comes what has told something already.
            let until =
                publications.iter().filter_map(|publication| publication.position).fold(applied, u64::max);
            return self.miss(until, "messages are published faster than they can be handed out");
        }
        let number = self.number();
        // The task lives as long as the process.
        drop(self.fan_out.send(Handed::Messages { number, publications }));
    }

    /// A number for messages: greater than that of whatever was handed over before, and than all subscriptions of before
    /// remember.
    pub(crate) fn number(&self) -> u64 {
        self.handed.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Messages up to this position in the log are not handed over, or were not. Ends the connections of all who subscribed before,
    /// since each would miss them without knowing; they get what was handed over before. Only the shard's thread says so, and once
    /// before all else. Never waits.
    pub fn miss(&self, until: u64, reason: &'static str) {
        let number = self.number();
        drop(self.fan_out.send(Handed::Missing { number, until, reason }));
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

    /// Subscribes a connection with a mailbox to a channel of which it is told, too, what was sent from a position on. Once it has
    /// been told everything that was handed over before this, it is told from where it can go on. Answers what it listens to.
    /// May be asked again, to be told that once more.
    ///
    /// # Errors
    /// [`Gap`]: not all of that is kept, or it is more than the mailbox takes; or it is of a time to come. Nothing has changed then.
    pub fn watch(&self, conn: ConnId, watch: &Watch) -> Result<Listening, Gap> {
        let Watch { channel, from } = watch;
        self.change(|registry| {
            // Before the rest: what stands before it in the log has been handed over.
            let position = self.applied.load(Ordering::Acquire) + 1;
            let since = match *from {
                None => self.handed.load(Ordering::Acquire),
                Some(from) if from > position => return Err(Gap { first: position }),
                Some(from) => {
                    registry.tell_from(conn, channel, from)?;
                    // What waits for the fan-out comes behind that.
                    registry.handed_out
                }
            };
            let listening = registry.subscribe(conn, Topic::Channel, channel, since);
            let channel = channel.clone();
            drop(self.fan_out.send(Handed::Begin { conn, channel, position }));
            Ok(listening)
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

    /// Puts a message into the mailboxes of all who listened before it was handed over, and keeps it for those who come back.
    /// Whether anybody listened.
    pub(crate) fn deliver(&self, number: u64, publication: Publication) -> bool {
        self.change(|registry| {
            let (mut is_heard, mut cut_off) = (false, Vec::new());
            for (topic, name, subscribers) in registry.listeners(publication.kind, &publication.channel) {
                is_heard = true;
                let message = Arc::new(Message::new(topic, name, &publication));
                let earlier = subscribers.iter().filter(|(_, since)| **since < number);
                let outlets = earlier.filter_map(|(conn, _)| Some((*conn, registry.mailboxes.get(conn)?)));
                cut_off.extend(outlets.filter(|(_, outlet)| !outlet.put(&message)).map(|(conn, _)| conn));
            }
            for conn in cut_off {
                registry.remove(conn);
            }
            registry.recent.keep(publication);
            is_heard
        })
    }

    /// Tells a connection from where it can go on: all before that has been handed out.
    fn begin(&self, conn: ConnId, channel: Bytes, position: u64) {
        let message = Watch::begins(position);
        let begin = Publication { kind: ChannelKind::Ordinary, channel, message, position: None };
        let message = Arc::new(Message::new(Topic::Channel, &begin.channel, &begin));
        self.change(|registry| {
            let outlet = registry.mailboxes.get(&conn);
            // It may listen no more, and wait for a reply now.
            let listening = outlet.filter(|outlet| outlet.names.contains(&(Topic::Channel, begin.channel)));
            if listening.is_some_and(|outlet| !outlet.put(&message)) {
                registry.remove(conn);
            }
        });
    }

    /// All that was handed over under this number has been handed out.
    fn handed_out(&self, number: u64) {
        self.lock().handed_out = number;
    }

    /// Drops the mailboxes of all who subscribed before `number`, which their connections notice, and keeps nothing of what was
    /// sent up to `until`.
    fn cut_off(&self, number: u64, until: u64, reason: &str) {
        let subscribers = self.change(|registry| {
            registry.recent.lose(until);
            registry.handed_out = number;
            let all = registry.topics.values().flat_map(BTreeMap::values).flatten();
            let earlier: BTreeSet<ConnId> =
                all.filter(|(_, since)| **since < number).map(|(conn, _)| *conn).collect();
            earlier.iter().for_each(|conn| registry.remove(*conn));
            earlier.len()
        });
        if subscribers > 0 {
            tracing::warn!(subscribers, reason, "closes the connections of subscribers");
        }
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

    /// Puts into a mailbox what was sent to a channel from this position on, and has been handed out.
    fn tell_from(&self, conn: ConnId, channel: &Bytes, position: u64) -> Result<(), Gap> {
        let Some(outlet) = self.mailboxes.get(&conn) else { return Ok(()) };
        // What comes behind it is to fit, too.
        let begin = MESSAGE_BYTES + encoded_bytes(&Reply::Bulk(channel.clone()), Protocol::Resp3) + 64;
        let (mut messages, mut room) = (Vec::new(), outlet.room().saturating_sub(begin));
        for publication in self.recent.from(channel, position)? {
            let message = Message::new(Topic::Channel, channel, publication);
            let Some(left) = room.checked_sub(message.bytes) else {
                // Cut off, it would come back from where it was, and be cut off again.
                let newest = self.recent.from(channel, position)?.last().and_then(|newest| newest.position);
                return Err(Gap { first: newest.unwrap_or(position) + 1 });
            };
            room = left;
            messages.push(Arc::new(message));
        }
        for message in &messages {
            outlet.put(message);
        }
        Ok(())
    }

    fn subscribe(&mut self, conn: ConnId, topic: Topic, name: &Bytes, since: u64) -> Listening {
        let Some(outlet) = self.mailboxes.get_mut(&conn) else { return Listening::default() };
        // A copy: the name may be a slice of a read buffer.
        let name = Bytes::copy_from_slice(name);
        if outlet.names.insert((topic, name.clone())) {
            *outlet.listening.of_mut(topic) += 1;
            outlet.listening.bytes += Listening::SUBSCRIPTION_BYTES + name.len();
        }
        let listening = outlet.listening;
        let subscribers = self.topics.entry(topic).or_default().entry(name).or_default();
        subscribers.entry(conn).and_modify(|earlier| *earlier = since.min(*earlier)).or_insert(since);
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
    /// How many bytes more may wait.
    fn room(&self) -> usize {
        self.bytes_max.saturating_sub(self.waiting_bytes.load(Ordering::Relaxed))
    }

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
        position: publication.position,
    }
}

/// Hands out what is published, until the process ends.
pub async fn fan_out(subscriptions: Arc<Subscriptions>, mut handed: UnboundedReceiver<Handed>) {
    while let Some(handed) = handed.recv().await {
        match handed {
            Handed::Begin { conn, channel, position } => subscriptions.begin(conn, channel, position),
            Handed::Missing { number, until, reason } => subscriptions.cut_off(number, until, reason),
            Handed::Messages { number, publications } => {
                for publication in publications {
                    subscriptions.backlog_bytes.fetch_sub(publication.bytes(), Ordering::Relaxed);
                    if subscriptions.deliver(number, publication) {
                        // Others have their turn between two messages, however many subscribers each has.
                        tokio::task::yield_now().await;
                    }
                }
                subscriptions.handed_out(number);
            }
        }
    }
}

#[cfg(test)]
#[path = "subscriptions_tests.rs"]
mod tests;
