//! Messages on their way to subscribers.
//!
//! PUBLISH goes through the log like a write, so that every node hands out the same messages in the same order, after
//! the writes before it and before those behind it. It leaves no trace in the state: what an operation has published is
//! told once, when it is applied, and forgotten with the next one. Who subscribes, only the nodes know.

use bytes::Bytes;

use crate::notification::{Classes, Event};
use crate::reply::Reply;

/// Two worlds of channels that do not hear each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChannelKind {
    /// PUBLISH and SUBSCRIBE; patterns listen to these.
    Ordinary,
    /// SPUBLISH and SSUBSCRIBE.
    Sharded,
}

/// A message to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Which kind of channel it goes to.
    pub kind: ChannelKind,
    /// The channel.
    pub channel: Bytes,
    /// The message. It may share the memory of the whole entry: copy what is kept.
    pub message: Bytes,
    /// Where in the log it stands, of a message from behind which one may go on later: who holds a lock, or leads.
    pub position: Option<u64>,
}

impl Publication {
    /// What it counts for beside its channel and message, in bytes: about what it takes in memory. Whether an operation
    /// has published too much must be the same on every replica, so that this is no matter of a compiler or a target.
    const ITSELF_BYTES: usize = 72;

    /// What it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        Self::ITSELF_BYTES + self.channel.len() + self.message.len()
    }
}

/// The most that one operation (a command, a script, a transaction) may publish, in bytes of [`Publication::bytes`]. It is
/// all in memory at once, at each node, before the first subscriber gets any of it. Beyond it, the command that publishes
/// answers an error.
pub const PUBLISHED_BYTES_MAX: usize = 32 << 20;

/// The most that one operation may send by itself to tell what became of keys, in bytes of [`Publication::bytes`], and
/// once more to tell who holds locks or leads: of some 50,000 changes. A command does not fail because somebody wants to
/// hear of it, so that all further ones are left out, on every node alike, and PUBLISH has its own bound.
pub const NOTIFIED_BYTES_MAX: usize = 16 << 20;

/// The longest name of a channel, and the longest pattern: to match them takes time in proportion to the product of
/// both lengths, for each pattern that anybody listens to.
pub const CHANNEL_BYTES_MAX: usize = 1 << 10;

/// What the operation that is being applied has published so far. Not part of the state.
#[derive(Debug, Default)]
pub(crate) struct Publications {
    all: Vec<Publication>,
    /// Of what PUBLISH has sent.
    published_bytes: usize,
    /// Of notifications, and of the first one that was left out.
    notified_bytes: usize,
    /// The same of who holds locks, or leads.
    turnover_bytes: usize,
}

/// What to go back to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    len: usize,
    published_bytes: usize,
    notified_bytes: usize,
    turnover_bytes: usize,
}

impl Publications {
    /// Adds a message, or answers that there are too many.
    pub(crate) fn add(&mut self, publication: Publication) -> Result<(), Reply> {
        let bytes = publication.bytes();
        if self.published_bytes + bytes > PUBLISHED_BYTES_MAX {
            return Err(Reply::error("ERR one script or transaction cannot publish more than 32 MiB"));
        }
        self.published_bytes += bytes;
        self.all.push(publication);
        Ok(())
    }

    /// Tells the channels that are to be told what became of a key. To nobody's channel goes a message that would have
    /// too long a name: a key of more than about a thousand bytes is told of by event only.
    pub(crate) fn notify(&mut self, classes: Classes, db: usize, event: Event, key: &[u8]) {
        if classes.by_key() {
            let channel = [format!("__keyspace@{db}__:").as_bytes(), key].concat();
            self.add_notification(channel.into(), Bytes::from_static(event.name.as_bytes()));
        }
        if classes.by_event() {
            let channel = format!("__keyevent@{db}__:{}", event.name);
            self.add_notification(channel.into(), Bytes::copy_from_slice(key));
        }
    }

    fn add_notification(&mut self, channel: Bytes, message: Bytes) {
        self.tell(Publication { kind: ChannelKind::Ordinary, channel, message, position: None });
    }

    /// Adds a message that nobody has asked to be sent, unless there are too many of its kind or its channel has too long a name.
    pub(crate) fn tell(&mut self, publication: Publication) {
        // However many keys are told of, locks are.
        let told = match publication.position {
            Some(_) => &mut self.turnover_bytes,
            None => &mut self.notified_bytes,
        };
        if publication.channel.len() > CHANNEL_BYTES_MAX || *told > NOTIFIED_BYTES_MAX {
            return;
        }
        *told += publication.bytes();
        if *told <= NOTIFIED_BYTES_MAX {
            self.all.push(publication);
        }
    }

    /// Where [`Publications::take_back`] goes back to.
    pub(crate) fn mark(&self) -> Mark {
        let Self { all, published_bytes, notified_bytes, turnover_bytes } = self;
        let (published_bytes, notified_bytes) = (*published_bytes, *notified_bytes);
        Mark { len: all.len(), published_bytes, notified_bytes, turnover_bytes: *turnover_bytes }
    }

    /// Takes back all that came after a mark.
    pub(crate) fn take_back(&mut self, to: Mark) {
        self.all.truncate(to.len);
        (self.published_bytes, self.notified_bytes) = (to.published_bytes, to.notified_bytes);
        self.turnover_bytes = to.turnover_bytes;
    }

    pub(crate) fn take(&mut self) -> Vec<Publication> {
        std::mem::take(self).all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A replica that was built by another compiler must refuse the same message.
    #[test]
    fn what_may_be_published_is_a_matter_of_channels_and_messages_alone() {
        let message = |bytes: usize| Publication {
            kind: ChannelKind::Ordinary,
            channel: Bytes::from_static(b"channel"),
            message: Bytes::from(vec![0; bytes]),
            position: None,
        };
        assert_eq!(message(1).bytes(), 80);
        let fits = PUBLISHED_BYTES_MAX - message(0).bytes();
        assert!(Publications::default().add(message(fits + 1)).is_err());
        let mut publications = Publications::default();
        let before = publications.mark();
        assert!(publications.add(message(fits)).is_ok());
        assert!(publications.add(message(0)).is_err());
        publications.take_back(before);
        assert!(publications.add(message(fits)).is_ok());
    }

    /// A small message behind a large one that was left out is left out, too: who hears of a later event has heard of
    /// the earlier ones.
    #[test]
    fn notifications_beyond_their_bound_are_left_out_with_all_further_ones() {
        let classes = Classes::parse(b"E$").expect("letters");
        let mut publications = Publications::default();
        let notify = |publications: &mut Publications, bytes: usize| {
            publications.notify(classes, 0, Event::SET, &vec![b'k'; bytes]);
            publications.all.len()
        };
        let before = publications.mark();
        assert_eq!(notify(&mut publications, NOTIFIED_BYTES_MAX / 2), 1);
        assert_eq!(notify(&mut publications, NOTIFIED_BYTES_MAX / 2), 1);
        assert_eq!(notify(&mut publications, 1), 1);
        let message = Publication {
            kind: ChannelKind::Ordinary,
            channel: Bytes::from_static(b"channel"),
            message: Bytes::from_static(b"message"),
            position: None,
        };
        assert!(publications.add(message.clone()).is_ok(), "PUBLISH has a bound of its own");
        publications.tell(Publication { position: Some(1), ..message });
        assert_eq!(publications.all.len(), 3, "so has who holds locks");
        publications.take_back(before);
        assert_eq!(notify(&mut publications, 1), 1);
    }

    #[test]
    fn a_key_with_a_long_name_is_told_of_by_event_only() {
        let mut publications = Publications::default();
        publications.notify(Classes::EVERYTHING, 0, Event::DEL, &[b'k'; CHANNEL_BYTES_MAX]);
        let channels: Vec<_> = publications.take().into_iter().map(|sent| sent.channel).collect();
        assert_eq!(channels, ["__keyevent@0__:del"]);
    }
}
