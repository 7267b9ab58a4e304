//! Entries that another node offers, and what of them becomes part of this node's log.
//!
//! * What is committed is never looked at again, let alone truncated (hazard 8).
//! * The log is truncated only where an entry differs, never because an offer is shorter.

use quorate_bug::{self as bug, Bug};

use super::log_view::LogView;
use crate::{Entry, Index, Payload, Position, Term};

/// Why nothing of an offer is taken: this log does not hold its base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// The index of the base.
    pub(crate) base: Index,
    /// The greatest position here at which the other's log may agree.
    pub(crate) hint: Position,
}

/// Contiguous entries, and the place before the first of them.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) base: Position,
    pub(crate) entries: Vec<Entry>,
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Merge {
    /// The last entry that is the other's, too.
    pub(crate) matched: Index,
    /// Entries from here on were removed before.
    pub(crate) truncated_from: Option<Index>,
}

impl Offer {
    /// Whether it could come from a correct node that is in `term`.
    pub(crate) fn is_well_formed(&self, term: Term) -> bool {
        let mut before = self.base;
        self.entries.iter().all(|entry| {
            let follows = entry.index == before.index.next() && entry.term >= before.term;
            before = Position { index: entry.index, term: entry.term };
            follows && entry.term <= term
        })
    }

    /// Makes `log` equal to the other's as far as this goes, in `term`, if it holds the base.
    pub(crate) fn take_into(self, log: &mut LogView, term: Term, commit: Index) -> Result<Merge, Mismatch> {
        let offer = self.without_committed(log, commit);
        let Position { index, term: base_term } = offer.base;
        if log.holds(offer.base) {
            Ok(offer.merge_into(log, term, commit))
        } else {
            Err(Mismatch { base: index, hint: log.may_agree(index, base_term) })
        }
    }

    /// Leaves out what is at or below `commit`: that is equal at every node.
    fn without_committed(mut self, log: &LogView, commit: Index) -> Self {
        if self.base.index >= commit {
            return self;
        }
        self.entries.retain(|entry| entry.index > commit);
        let term = log.term_at(commit).expect("compaction stops at the commit index");
        Self { base: Position { index: commit, term }, entries: self.entries }
    }

    /// Appends what is new behind the base, which `log` holds. The last entry that matches is not the last of the offer
    /// if one turns back terms or time, or replaces one of this `term`, which no log does: its sender is wrong, and nothing
    /// more of it is taken.
    fn merge_into(self, log: &mut LogView, term: Term, commit: Index) -> Merge {
        let mut merge = Merge { matched: self.base.index, truncated_from: None };
        for entry in self.entries {
            let index = entry.index;
            if log.term_at(index) != Some(entry.term) {
                // The log of this term's leader only grows: what is here of its term it does not replace.
                let is_leaders = log.term_at(index) == Some(term);
                if is_leaders || !log.goes_on_with(&entry) {
                    break;
                }
                if index <= log.last_index() {
                    assert!(index > commit, "truncated from {index}, but {commit} is committed");
                    log.truncate(index);
                    merge.truncated_from = Some(index);
                }
                let is_altered = bug::on(Bug::AlteredEntry);
                log.append(if is_altered { Entry { payload: Payload::Blank, ..entry } } else { entry });
            }
            merge.matched = index;
        }
        merge
    }
}
