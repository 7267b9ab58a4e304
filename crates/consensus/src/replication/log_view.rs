//! The log as the engine sees it: every entry since the last compaction, in memory.
//!
//! What is *durable* of it is another question, which [`super::durability`] answers. Payloads are shared
//! (`Bytes`), so that handing entries to a write, to messages and to the machine copies headers only.
//!
//! Invariants:
//! * Entries are contiguous from `base + 1` on; terms and stamps never fall.
//! * The configuration in force is the newest in the log, committed or not (dissertation, section 4.1), and
//!   falls back to the one before when its entry is truncated.

use std::{
    collections::{VecDeque, vec_deque},
    sync::Arc,
};

use crate::{
    ClusterTime, Entry, Index, Membership, Payload, Position, SnapshotMeta, Term,
    cluster_clock::assert_stamp_grows,
};

/// The in-memory log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LogView {
    /// The position before the first entry: compacted away, or the start of time.
    base: Position,
    base_stamp: ClusterTime,
    entries: VecDeque<Entry>,
    /// Configurations with the index from which each is in force, ascending. The first is in force at `base`.
    memberships: Vec<(Index, Arc<Membership>)>,
    /// Whether the last of them may be another than was last told.
    has_news: bool,
}

impl LogView {
    /// The log that follows a snapshot, or the start of time with the configuration `birth`.
    pub(crate) fn new(snapshot: Option<&SnapshotMeta>, birth: Membership) -> Self {
        match snapshot {
            Some(meta) => Self {
                base: Position { index: meta.index, term: meta.term },
                base_stamp: meta.stamp,
                entries: VecDeque::new(),
                memberships: vec![(meta.index, meta.membership.clone())],
                has_news: true,
            },
            None => Self {
                base: Position::default(),
                base_stamp: ClusterTime::default(),
                entries: VecDeque::new(),
                memberships: vec![(Index(0), Arc::new(birth))],
                has_news: true,
            },
        }
    }

    /// The first entry that is still here; one past the last if there is none.
    pub(crate) fn first_index(&self) -> Index {
        self.base.index.next()
    }

    pub(crate) fn last(&self) -> Position {
        self.entries.back().map_or(self.base, |entry| Position { index: entry.index, term: entry.term })
    }

    pub(crate) fn last_index(&self) -> Index {
        self.last().index
    }

    pub(crate) fn last_stamp(&self) -> ClusterTime {
        self.entries.back().map_or(self.base_stamp, |entry| entry.stamp)
    }

    /// The configuration in force.
    pub(crate) fn membership(&self) -> &Membership {
        self.newest()
    }

    fn newest(&self) -> &Arc<Membership> {
        &self.memberships.last().expect("the base's configuration always stays").1
    }

    /// The index from which the configuration in force is so.
    pub(crate) fn membership_index(&self) -> Index {
        self.memberships.last().expect("the base's configuration always stays").0
    }

    /// The configuration that was in force before the present one, unless that is compacted away.
    pub(crate) fn membership_before(&self) -> Option<&Membership> {
        let (_, before) = self.memberships.iter().rev().nth(1)?;
        Some(before)
    }

    /// The configuration in force, as the snapshot of no bytes that a witness is told: at the entry that it came with,
    /// or at a later one, if that is compacted away.
    pub(crate) fn membership_alone(&self) -> SnapshotMeta {
        let membership = Arc::clone(self.newest());
        match self.get(self.membership_index()) {
            Some(&Entry { index, term, stamp, .. }) => {
                SnapshotMeta { index, term, stamp, membership, bytes: 0 }
            }
            None => {
                let Position { index, term } = self.base;
                SnapshotMeta { index, term, stamp: self.base_stamp, membership, bytes: 0 }
            }
        }
    }

    /// The configuration in force, once whenever it has changed, and at first.
    pub(crate) fn take_news(&mut self) -> Option<Arc<Membership>> {
        std::mem::take(&mut self.has_news).then(|| Arc::clone(self.newest()))
    }

    /// The configuration in force at `index`, which is not compacted away.
    pub(crate) fn membership_at(&self, index: Index) -> &Membership {
        assert!(
            index >= self.base.index,
            "asked for the configuration at {index}, which is compacted up to {}",
            self.base.index
        );
        let newer = self.memberships.partition_point(|&(from, _)| from <= index);
        &self.memberships[newer - 1].1
    }

    /// The term at `index`; `None` if it is compacted away or beyond the end.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index { Some(self.base.term) } else { self.get(index).map(|entry| entry.term) }
    }

    /// Whether the log holds the entry at `position`.
    pub(crate) fn holds(&self, position: Position) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    /// Whether `entry` may follow the one before it, which is here or was compacted last: neither term nor stamp falls.
    pub(crate) fn goes_on_with(&self, entry: &Entry) -> bool {
        let before = self.get(entry.index.previous()).map(|before| (before.term, before.stamp));
        let (term, stamp) = before.unwrap_or((self.base.term, self.base_stamp));
        entry.term >= term && entry.stamp >= stamp
    }

    fn get(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.first_index().0)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// Where the entry at `index` lies in `entries`; their number if it is beyond the end.
    fn offset_of(&self, index: Index) -> usize {
        let offset = index.0.saturating_sub(self.first_index().0);
        usize::try_from(offset).map_or(self.entries.len(), |offset| offset.min(self.entries.len()))
    }

    /// The entries from `first` to `last`, both included, as far as they are here.
    pub(crate) fn range(&self, first: Index, last: Index) -> vec_deque::Iter<'_, Entry> {
        let (from, to) = (self.offset_of(first), self.offset_of(last.next()));
        self.entries.range(from..to.max(from))
    }

    /// The weight of all entries from `first` on.
    pub(crate) fn weight_from(&self, first: Index) -> usize {
        self.range(first, self.last_index()).map(Entry::weight).sum()
    }

    /// Entries from `first` on, as many as weigh at most `bytes_max`, but at least one if there is one.
    pub(crate) fn batch(&self, first: Index, bytes_max: usize) -> Vec<Entry> {
        let entries = self.range(first, self.last_index());
        let mut bytes = 0_usize;
        let fits = |entry: &&Entry| {
            bytes = bytes.saturating_add(entry.weight());
            bytes <= bytes_max
        };
        let count = entries.clone().take_while(fits).count().max(1);
        entries.take(count).cloned().collect()
    }

    /// Whether a log that ends at `last` lacks much of this one, so that it would get it by a snapshot alone, or by entries of
    /// more than `bytes_max`.
    pub(crate) fn is_far_ahead_of(&self, last: Position, bytes_max: usize) -> bool {
        if last.rank() >= self.last().rank() {
            return false;
        }
        // Terms never fall in a log: this one does not hold the base, and all before it is compacted away.
        let lacks_base = last.index < self.base.index || last.term < self.base.term;
        let first = self.may_agree(last.index, last.term).index.next();
        let mut weights = self.range(first, self.last_index()).map(Entry::weight);
        lacks_base || weights.try_fold(bytes_max, |left, weight| left.checked_sub(weight)).is_none()
    }

    /// Appends one entry at the end.
    pub(crate) fn append(&mut self, entry: Entry) {
        let last = self.last();
        assert!(
            entry.index == last.index.next(),
            "appended entry {} to a log that ends at {}",
            entry.index,
            last.index
        );
        assert!(entry.term >= last.term, "term fell from {} to {} in the log", last.term, entry.term);
        assert_stamp_grows(self.last_stamp(), &entry);
        if let Payload::Membership(membership) = &entry.payload {
            self.memberships.push((entry.index, Arc::new(Membership::clone(membership))));
            self.has_news = true;
        }
        self.entries.push_back(entry);
    }

    /// Removes all entries from `from` on.
    pub(crate) fn truncate(&mut self, from: Index) {
        assert!(
            from > self.base.index,
            "truncated from {from}, which is compacted up to {}",
            self.base.index
        );
        self.entries.truncate(self.offset_of(from));
        self.has_news |= self.membership_index() >= from;
        self.memberships.retain(|&(index, _)| index < from);
    }

    /// Drops the entries before `first_kept`, at most all of them.
    pub(crate) fn compact(&mut self, first_kept: Index) {
        let first_kept = first_kept.min(self.last_index().next());
        while let Some(entry) = self.entries.front().filter(|entry| entry.index < first_kept) {
            self.base = Position { index: entry.index, term: entry.term };
            self.base_stamp = entry.stamp;
            self.entries.pop_front();
        }
        let in_force = self.memberships.partition_point(|&(index, _)| index <= self.base.index);
        self.memberships.drain(..in_force.saturating_sub(1));
    }

    /// Puts an installed snapshot in the place of all that it covers. Entries after it stay if the log held the
    /// snapshot's own last entry; otherwise they belong to another history and go.
    pub(crate) fn install(&mut self, meta: &SnapshotMeta) {
        if self.holds(Position { index: meta.index, term: meta.term }) {
            self.compact(meta.index.next());
        } else {
            *self = Self::new(Some(meta), Membership::default());
        }
    }

    /// The greatest position at or before `index` whose term is at most `term`: where two logs may agree, given
    /// that the other holds `term` at `index`. It ends the search at the base, where they agree for certain.
    pub(crate) fn may_agree(&self, index: Index, term: Term) -> Position {
        let end = self.offset_of(index.next());
        let before = self.entries.range(..end).rev().find(|entry| entry.term <= term);
        before.map_or(self.base, |entry| Position { index: entry.index, term: entry.term })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeId;

    fn entry(index: u64, term: u64) -> Entry {
        Entry {
            index: Index(index),
            term: Term(term),
            stamp: ClusterTime { millis: index },
            payload: Payload::Blank,
        }
    }

    fn log(terms: &[u64]) -> LogView {
        let mut log = LogView::new(None, Membership::of_voters([NodeId(1)]));
        for (position, &term) in terms.iter().enumerate() {
            log.append(entry(position as u64 + 1, term));
        }
        log
    }

    fn at(index: u64, term: u64) -> Position {
        Position { index: Index(index), term: Term(term) }
    }

    #[test]
    fn batch_is_bounded_but_never_empty() {
        let log = log(&[1, 1, 1, 1]);
        let weight = entry(1, 1).weight();
        assert_eq!(log.batch(Index(2), 2 * weight).len(), 2);
        assert_eq!(log.batch(Index(2), 0).len(), 1);
        assert_eq!(log.batch(Index(5), weight).len(), 0);
    }

    #[test]
    fn log_is_far_ahead_of_who_needs_a_snapshot_or_more_than_a_window() {
        let mut log = log(&[1, 1, 2, 2, 2]);
        let weight = entry(1, 1).weight();
        assert!(!log.is_far_ahead_of(at(2, 1), 3 * weight));
        assert!(log.is_far_ahead_of(at(2, 1), 3 * weight - 1));
        assert!(log.is_far_ahead_of(at(9, 1), 3 * weight - 1), "the other's own tail is of no use");
        log.compact(Index(4));
        assert!(log.is_far_ahead_of(at(2, 1), usize::MAX) && log.is_far_ahead_of(at(9, 1), usize::MAX));
        assert!(!log.is_far_ahead_of(at(3, 2), 2 * weight));
        for greater in [at(5, 2), at(6, 2), at(1, 3)] {
            assert!(!log.is_far_ahead_of(greater, 0), "{greater}");
        }
    }

    #[test]
    fn hint_skips_whole_terms() {
        let log = log(&[1, 1, 4, 4, 5, 5]);
        assert_eq!(log.may_agree(Index(6), Term(3)), at(2, 1));
        assert_eq!(log.may_agree(Index(9), Term(4)), at(4, 4));
        assert_eq!(log.may_agree(Index(6), Term(0)), at(0, 0));
    }

    #[test]
    fn compaction_keeps_the_position_before_the_first_entry() {
        let mut log = log(&[1, 1, 2, 2]);
        log.compact(Index(3));
        assert_eq!(log.first_index(), Index(3));
        assert_eq!(log.term_at(Index(2)), Some(Term(1)));
        assert_eq!(log.term_at(Index(1)), None);
        log.compact(Index(9));
        assert_eq!((log.first_index(), log.last()), (Index(5), at(4, 2)));
    }

    #[test]
    fn truncated_configuration_gives_way_to_the_one_before() {
        let mut log = log(&[1]);
        let wider = Membership::of_voters([NodeId(1), NodeId(2)]);
        log.append(Entry { payload: Payload::Membership(Box::new(wider.clone())), ..entry(2, 1) });
        assert_eq!(*log.membership(), wider);
        log.truncate(Index(2));
        assert_eq!(*log.membership(), Membership::of_voters([NodeId(1)]));
    }

    #[test]
    fn compacted_configuration_stays_in_force() {
        let mut log = log(&[1]);
        let wider = Membership::of_voters([NodeId(1), NodeId(2)]);
        log.append(Entry { payload: Payload::Membership(Box::new(wider.clone())), ..entry(2, 1) });
        log.append(entry(3, 1));
        log.compact(Index(4));
        assert_eq!(*log.membership(), wider);
    }

    #[test]
    fn snapshot_of_another_history_replaces_the_log() {
        let meta = |index, term| SnapshotMeta {
            index: Index(index),
            term: Term(term),
            stamp: ClusterTime { millis: index },
            membership: Membership::of_voters([NodeId(1)]).into(),
            bytes: 1,
        };
        let mut same = log(&[1, 1, 2]);
        same.install(&meta(2, 1));
        assert_eq!(same.last(), at(3, 2));
        let mut other = log(&[1, 1, 2]);
        other.install(&meta(3, 3));
        assert_eq!((other.first_index(), other.last()), (Index(4), at(3, 3)));
    }
}
