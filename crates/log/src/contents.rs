//! What the log holds, and in which segment: the one place where a record's meaning is applied.
//!
//! The writer and recovery both feed their records through [`Contents::apply`], so what is believed while
//! running is what a restart would find.

use std::collections::VecDeque;

use crate::{HardState, record::Record, seal::NUMBER_MAX, segment::Header};

/// One segment, by what is still alive in it.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// The length of its file.
    pub(crate) bytes: u64,
    /// No entry in it or behind it has an index up to this one.
    base: u64,
    /// No entry in it has a greater index than this. `None`: it has no entries that are still alive.
    last_index: Option<u64>,
}

/// Which entries are alive, under which terms, and where.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    /// Oldest first, never empty: the last one is being written.
    segments: VecDeque<Segment>,
    first_index: u64,
    last_index: u64,
    /// Where each run of entries with the same term begins: (first index, term), ascending.
    terms: VecDeque<(u64, u64)>,
    hard_state: HardState,
}

impl Contents {
    /// What is known at the beginning of the oldest segment.
    pub(crate) fn starting_at(header: &Header) -> Self {
        let mut this = Self {
            segments: VecDeque::new(),
            first_index: header.last_index + 1,
            last_index: header.last_index,
            terms: VecDeque::new(),
            hard_state: header.hard_state,
        };
        this.begin_segment(header);
        this
    }

    /// What follows is in the segment with this header.
    pub(crate) fn begin_segment(&mut self, header: &Header) {
        let Header { number, bytes, last_index, .. } = *header;
        self.segments.push_back(Segment { number, bytes, base: last_index, last_index: None });
    }

    /// Takes the next record, which is in the newest segment.
    ///
    /// # Errors
    /// What the record contradicts: it was not written behind these contents.
    pub(crate) fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Mark { .. } => {}
            Record::HardState(next) => {
                if !self.hard_state.may_become(next) {
                    let (term, vote) = (self.hard_state.term, self.hard_state.vote);
                    return Err(format!(
                        "term {term} vote {vote} became term {} vote {}",
                        next.term, next.vote
                    ));
                }
                self.hard_state = *next;
            }
            Record::Truncate { from } => self.truncate(*from),
            Record::Entry(entry) => {
                if entry.index != self.last_index + 1 {
                    return Err(format!("entry {} follows entry {}", entry.index, self.last_index));
                }
                self.last_index = entry.index;
                self.newest().last_index = Some(entry.index);
                if self.terms.back().is_none_or(|&(_, term)| term != entry.term) {
                    self.terms.push_back((entry.index, entry.term));
                }
            }
            Record::Reset { index, .. } if *index > NUMBER_MAX => {
                return Err(format!("a snapshot of entry {index} took the log's place"));
            }
            Record::Reset { index, .. } => self.reset(*index),
        }
        Ok(())
    }

    fn truncate(&mut self, from: u64) {
        let last = from.saturating_sub(1);
        self.last_index = self.last_index.min(last);
        self.first_index = self.first_index.min(self.last_index + 1);
        while self.terms.back().is_some_and(|&(first, _)| first > last) {
            self.terms.pop_back();
        }
        for segment in &mut self.segments {
            segment.base = segment.base.min(last);
            segment.last_index = segment.last_index.map(|index| index.min(last));
        }
    }

    fn reset(&mut self, index: u64) {
        self.first_index = index + 1;
        self.last_index = index;
        self.terms.clear();
        for segment in &mut self.segments {
            segment.base = index;
            segment.last_index = None;
        }
    }

    /// Takes the oldest segment out if it holds nothing from `first_kept` on and is not being written.
    pub(crate) fn release_oldest(&mut self, first_kept: u64) -> Option<Segment> {
        let oldest = self.segments.front().expect("there is always a segment being written");
        if self.segments.len() == 1 || oldest.last_index.is_some_and(|last| last >= first_kept) {
            return None;
        }
        let released = self.segments.pop_front();
        let base = self.segments.front().expect("one of at least two is left").base;
        self.first_index = self.first_index.max(base + 1);
        while self.terms.get(1).is_some_and(|&(first, _)| first <= self.first_index) {
            self.terms.pop_front();
        }
        if self.first_index > self.last_index {
            self.terms.clear();
        }
        released
    }

    fn newest(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("there is always a segment being written")
    }

    /// The number of the segment that is being written.
    pub(crate) fn newest_number(&self) -> u64 {
        self.segments.back().expect("there is always a segment being written").number
    }

    /// The first entry, or where it will be.
    pub(crate) fn first_index(&self) -> u64 {
        self.first_index
    }

    /// The last entry; one less than the first when there is none.
    pub(crate) fn last_index(&self) -> u64 {
        self.last_index
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// The term of entry `index`, if the log holds it.
    pub(crate) fn term_of(&self, index: u64) -> Option<u64> {
        if !(self.first_index..=self.last_index).contains(&index) {
            return None;
        }
        self.terms.iter().rev().find(|&&(first, _)| first <= index).map(|&(_, term)| term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogEntry;

    fn entry(index: u64, term: u64) -> Record {
        Record::Entry(LogEntry { index, term, stamp: 0, kind: 0, payload: bytes::Bytes::new() })
    }

    fn contents(records: &[Record]) -> Contents {
        let mut contents = Contents::starting_at(&Header::first(1024, 0));
        for record in records {
            contents.apply(record).unwrap();
        }
        contents
    }

    fn next_segment(contents: &mut Contents) {
        let number = contents.newest_number() + 1;
        let last_index = contents.last_index();
        contents.begin_segment(&Header { number, last_index, ..Header::first(1024, 0) });
    }

    #[test]
    fn terms_follow_truncation_and_reset() {
        let mut log = contents(&[entry(1, 1), entry(2, 1), entry(3, 2), entry(4, 3)]);
        assert_eq!(
            (log.term_of(2), log.term_of(3), log.term_of(4), log.term_of(5)),
            (Some(1), Some(2), Some(3), None)
        );
        log.apply(&Record::Truncate { from: 3 }).unwrap();
        log.apply(&entry(3, 5)).unwrap();
        assert_eq!((log.term_of(2), log.term_of(3), log.term_of(4)), (Some(1), Some(5), None));
        log.apply(&Record::Reset { index: 9, term: 5 }).unwrap();
        assert_eq!((log.first_index(), log.last_index(), log.term_of(9)), (10, 9, None));
    }

    #[test]
    fn a_segment_is_released_once_all_in_it_is_dead() {
        let mut log = contents(&[entry(1, 1), entry(2, 1)]);
        next_segment(&mut log);
        log.apply(&entry(3, 1)).unwrap();
        assert!(log.release_oldest(2).is_none(), "entry 2 is kept");
        assert_eq!(log.release_oldest(3).map(|segment| segment.number), Some(1));
        assert_eq!((log.first_index(), log.term_of(3), log.term_of(2)), (3, Some(1), None));
        assert!(log.release_oldest(100).is_none(), "the segment being written stays");
    }

    #[test]
    fn a_truncation_in_a_later_segment_keeps_what_is_alive_in_an_older_one() {
        let mut log = contents(&[entry(1, 1), entry(2, 1), entry(3, 1)]);
        next_segment(&mut log);
        log.apply(&Record::Truncate { from: 2 }).unwrap();
        log.apply(&entry(2, 2)).unwrap();
        assert!(log.release_oldest(1).is_none());
        assert!(log.release_oldest(2).is_some());
        assert_eq!((log.first_index(), log.last_index()), (2, 2));
    }

    #[test]
    fn records_that_contradict_the_contents_are_refused() {
        let mut log = contents(&[entry(1, 1), Record::HardState(HardState { term: 2, vote: 1, commit: 0 })]);
        assert!(log.apply(&entry(3, 1)).is_err());
        assert!(log.apply(&Record::HardState(HardState { term: 1, vote: 0, commit: 0 })).is_err());
        assert!(log.apply(&Record::HardState(HardState { term: 2, vote: 3, commit: 0 })).is_err());
        // The next entry would have no index. It once ended the process.
        assert!(log.apply(&Record::Reset { index: u64::MAX, term: 2 }).is_err());
    }
}
