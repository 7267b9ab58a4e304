//! Messages on their way to subscribers.
//!
//! PUBLISH goes through the log like a write, so that every node hands out the same messages in the same order, after
//! the writes before it and before those behind it. It leaves no trace in the state: what an operation has published is
//! told once, when it is applied, and forgotten with the next one. Who subscribes, only the nodes know.

use bytes::Bytes;

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

/// The longest name of a channel, and the longest pattern: to match them takes time in proportion to the product of
/// both lengths, for each pattern that anybody listens to.
pub const CHANNEL_BYTES_MAX: usize = 1 << 10;

/// What the operation that is being applied has published so far. Not part of the state.
#[derive(Debug, Default)]
pub(crate) struct Publications {
    all: Vec<Publication>,
    bytes: usize,
}

impl Publications {
    /// Adds a message, or answers that there are too many.
    pub(crate) fn add(&mut self, publication: Publication) -> Result<(), Reply> {
        let bytes = publication.bytes();
        if self.bytes + bytes > PUBLISHED_BYTES_MAX {
            return Err(Reply::error("ERR one script or transaction cannot publish more than 32 MiB"));
        }
        self.bytes += bytes;
        self.all.push(publication);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Takes back all but the first `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.all.truncate(len);
        self.bytes = self.all.iter().map(Publication::bytes).sum();
    }

    pub(crate) fn take(&mut self) -> Vec<Publication> {
        self.bytes = 0;
        std::mem::take(&mut self.all)
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
        };
        assert_eq!(message(1).bytes(), 80);
        let fits = PUBLISHED_BYTES_MAX - message(0).bytes();
        assert!(Publications::default().add(message(fits + 1)).is_err());
        let mut publications = Publications::default();
        assert!(publications.add(message(fits)).is_ok());
        assert!(publications.add(message(0)).is_err());
        publications.truncate(0);
        assert!(publications.add(message(fits)).is_ok());
    }
}
