//! The latest messages about who holds a lock or leads, kept for watchers who were cut off and come back.
//!
//! Each node keeps what it has applied since it began, or since a snapshot took the place of messages; of that, the latest that
//! fit. Positions are the log's, the same at all nodes, so that whoever was told something by one node goes on at any other that
//! still has what came behind it, and learns of a gap from any that has not.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};
use quorate_machine::Publication;

/// The latest messages that have a position, in the order of the log.
#[derive(Debug)]
pub struct Recent {
    /// By channel; none is empty. Whoever comes back is one of many: each looks at his own alone.
    channels: BTreeMap<Bytes, VecDeque<Publication>>,
    /// Of each message, the oldest first, its channel.
    order: VecDeque<Bytes>,
    bytes: usize,
    bytes_max: usize,
    /// Everything of greater positions is kept. At this one, and before it, something may be missing.
    complete_since: u64,
}

/// Why somebody cannot go on where he was: some of what came behind cannot be told any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first position from which on everything can.
    pub first: u64,
}

impl Recent {
    /// Keeps the latest that have no more than `bytes_max` bytes ([`Publication::bytes`]), and nothing yet. From which position on
    /// that is everything is told by [`Recent::lose`]; before, it is nowhere.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let (channels, order) = (BTreeMap::new(), VecDeque::new());
        Self { channels, order, bytes: 0, bytes_max, complete_since: u64::MAX }
    }

    /// Takes a message behind those that are kept already, unless it has no position.
    pub fn keep(&mut self, publication: Publication) {
        if publication.position.is_none() {
            return;
        }
        self.bytes += publication.bytes();
        self.order.push_back(publication.channel.clone());
        self.channels.entry(publication.channel.clone()).or_default().push_back(publication);
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.push_out()
        {
            self.bytes -= oldest.bytes();
            if !bug::on(Bug::ForgottenNotices) {
                self.complete_since = self.complete_since.max(oldest.position.unwrap_or_default());
            }
        }
    }

    fn push_out(&mut self) -> Option<Publication> {
        let channel = self.order.pop_front()?;
        let kept = self.channels.get_mut(&channel)?;
        let oldest = kept.pop_front();
        if kept.is_empty() {
            self.channels.remove(&channel);
        }
        oldest
    }

    /// Messages up to this position were or may have been left out here, and what is kept is worth nothing.
    pub fn lose(&mut self, until: u64) {
        *self = Self { complete_since: until, ..Self::new(self.bytes_max) };
    }

    /// Everything that was sent to a channel from this position on.
    ///
    /// # Errors
    /// [`Gap`]: some of it is not kept.
    pub fn from(&self, channel: &[u8], position: u64) -> Result<impl Iterator<Item = &Publication>, Gap> {
        if position <= self.complete_since {
            return Err(Gap { first: self.complete_since.saturating_add(1) });
        }
        let kept = self.channels.get(channel).into_iter().flat_map(move |kept| {
            let begin = kept.partition_point(|publication| publication.position < Some(position));
            kept.range(begin..)
        });
        Ok(kept)
    }
}

impl Gap {
    /// What the client is told.
    #[must_use]
    pub fn reason(self) -> String {
        format!(
            "GAP not everything from there on can be told here, only from {} on: ask another node, or watch without FROM and ask who has it",
            self.first
        )
    }
}

#[cfg(test)]
mod tests {
    use quorate_machine::ChannelKind;

    use super::*;

    fn publication(channel: &'static str, position: Option<u64>) -> Publication {
        let message = Bytes::from_static(b"acquired");
        Publication { kind: ChannelKind::Ordinary, channel: channel.into(), message, position }
    }

    /// Room for so many messages.
    fn room(messages: usize) -> Recent {
        let mut recent = Recent::new(messages * publication("a", Some(1)).bytes());
        recent.lose(0);
        recent
    }

    fn positions(recent: &Recent, channel: &str, from: u64) -> Result<Vec<u64>, u64> {
        let kept = recent.from(channel.as_bytes(), from).map_err(|gap| gap.first)?;
        Ok(kept.filter_map(|publication| publication.position).collect())
    }

    #[test]
    fn all_of_a_channel_from_a_position_on_is_told_that_one_included() {
        let mut recent = room(10);
        for (channel, position) in [("a", 3), ("b", 3), ("a", 3), ("a", 5), ("b", 7)] {
            recent.keep(publication(channel, Some(position)));
        }
        recent.keep(publication("a", None));
        assert_eq!(positions(&recent, "a", 1), Ok(vec![3, 3, 5]));
        assert_eq!(positions(&recent, "a", 3), Ok(vec![3, 3, 5]));
        assert_eq!(positions(&recent, "a", 4), Ok(vec![5]));
        assert_eq!(positions(&recent, "b", 8), Ok(vec![]));
    }

    /// Of an entry that has several messages, some may be gone.
    #[test]
    fn whoever_comes_back_too_late_is_told_so_for_the_whole_entry() {
        let mut recent = room(2);
        for position in [3, 5, 5, 7] {
            recent.keep(publication("a", Some(position)));
        }
        assert_eq!(positions(&recent, "a", 5), Err(6));
        assert_eq!(positions(&recent, "b", 5), Err(6), "nobody knows to which channel it went");
        assert_eq!(positions(&recent, "a", 6), Ok(vec![7]));
        recent.keep(publication(
            "a name that is long enough to leave no room for any other message, and none for itself, however few others there are",
            Some(9),
        ));
        assert_eq!(positions(&recent, "a", 9), Err(10));
        assert_eq!((positions(&recent, "a", 10), recent.bytes, recent.channels.len()), (Ok(vec![]), 0, 0));
    }

    #[test]
    fn nothing_is_complete_before_it_is_told_from_where_on_it_is() {
        let mut recent = Recent::new(1000);
        recent.keep(publication("a", Some(3)));
        assert_eq!(positions(&recent, "a", 3), Err(u64::MAX));
        recent.lose(4);
        assert_eq!(positions(&recent, "a", 4), Err(5));
        recent.keep(publication("a", Some(5)));
        assert_eq!(positions(&recent, "a", 5), Ok(vec![5]));
        // A snapshot has taken the place of what came between.
        recent.lose(20);
        assert_eq!(positions(&recent, "a", 20), Err(21));
        assert_eq!(positions(&recent, "a", 21), Ok(vec![]));
    }
}
