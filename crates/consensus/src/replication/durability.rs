//! What of the engine's state is on its disk.
//!
//! Each drained batch makes at most one write, with a number of its own. A completion names that number, never
//! an index or a term: a tail can be written, truncated, and written again with the very same positions, and
//! the completion of the first write says nothing about the third (hazard 7, the A-B-A of etcd-io/raft#8).
//!
//! Each write in flight therefore remembers how far the log is durable once it is done. A truncation lowers
//! that mark in every write in flight, because what they wrote beyond it is no longer the log.
//!
//! Invariants:
//! * `durable <= submitted <= last entry of the log`.
//! * Numbers grow by one; writes complete first in, first out, and a late completion changes nothing.

use std::{collections::VecDeque, time::Duration};

use quorate_bug::{self as bug, Bug};

use super::{log_view::LogView, outbox::Guarded};
use crate::{BootTime, HardState, Index, NodeId, Persist, PersistId};

/// Tracks the writes of one engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Durability {
    next: PersistId,
    in_flight: VecDeque<Flight>,
    /// Entries up to here are on the disk.
    durable: Index,
    /// Entries up to here were given to a write.
    submitted: Index,
    /// Entries that were given to a write must be removed from here on.
    truncate_from: Option<Index>,
    /// Whether term or vote have changed since they were last given to a write.
    promises_changed: bool,
    /// The commit index that was last given to a write.
    commit_submitted: Index,
}

/// One write in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Flight {
    op: PersistId,
    began: BootTime,
    /// Entries up to here are durable once it is done.
    reaches: Index,
    /// Whether it carries term and vote.
    promises: bool,
}

impl Durability {
    /// Everything up to `durable` was read from the disk.
    pub(crate) fn new(durable: Index, commit: Index) -> Self {
        Self {
            next: PersistId(1),
            in_flight: VecDeque::new(),
            durable,
            submitted: durable,
            truncate_from: None,
            promises_changed: false,
            commit_submitted: commit,
        }
    }

    /// The last entry on this node's disk.
    pub(crate) fn durable(&self) -> Index {
        if bug::on(Bug::OwnAckEarly) { self.submitted } else { self.durable }
    }

    /// Term or vote have changed.
    pub(crate) fn promises_changed(&mut self) {
        self.promises_changed = true;
    }

    /// Whether term and vote are on the disk.
    pub(crate) fn promises_durable(&self) -> bool {
        !self.promises_changed && self.in_flight.iter().all(|flight| !flight.promises)
    }

    /// Whether a message that depends on the present term and vote, and on entries up to `through`, may leave.
    pub(crate) fn covers(&self, through: Index) -> bool {
        self.promises_durable() && (self.durable >= through || bug::on(Bug::AckInFlight))
    }

    /// Whether all of `log` was given to writes, and all writes are done.
    pub(crate) fn is_settled(&self, log: &LogView) -> bool {
        self.in_flight.is_empty() && self.truncate_from.is_none() && self.submitted == log.last_index()
    }

    /// Whether the oldest write in flight is older than `limit`.
    pub(crate) fn is_stalled(&self, now: BootTime, limit: Duration) -> bool {
        self.in_flight.front().is_some_and(|flight| now.since(flight.began) > limit)
    }

    /// The log was cut in memory: its entries from `from` on are gone.
    pub(crate) fn truncated(&mut self, from: Index) {
        let from = if bug::on(Bug::WideTruncation) { from.previous() } else { from };
        let kept = from.previous();
        if kept < self.submitted {
            self.truncate_from = Some(self.truncate_from.map_or(from, |earlier| earlier.min(from)));
            self.submitted = kept;
        }
        self.durable = self.durable.min(kept);
        for flight in &mut self.in_flight {
            flight.reaches =
                if bug::on(Bug::CompletionByIndex) { flight.reaches } else { flight.reaches.min(kept) };
        }
    }

    /// A snapshot was installed that replaces the durable log up to `index`, and all after it unless `log` says
    /// otherwise. No write of entries is in flight, by the contract of the installation.
    pub(crate) fn installed(&mut self, index: Index, log: &LogView) {
        assert!(
            self.truncate_from.is_none(),
            "entries were truncated from {} while snapshot {index} was installed",
            self.truncate_from.unwrap_or_default()
        );
        self.durable = self.durable.min(log.last_index()).max(index);
        self.submitted = self.submitted.min(log.last_index()).max(index);
    }

    /// A write, and all before it, is durable.
    pub(crate) fn persisted(&mut self, op: PersistId) {
        while self.in_flight.front().is_some_and(|flight| flight.op <= op) {
            let flight = self.in_flight.pop_front().expect("the front was just seen");
            self.durable = self.durable.max(flight.reaches);
        }
        assert!(
            self.durable <= self.submitted,
            "durable {} beyond submitted {}",
            self.durable,
            self.submitted
        );
    }

    /// The write that is due, if any, and the guarded messages that need not wait for one.
    ///
    /// The commit index rides along, but only as far as the log below it is durable already: a write may be torn,
    /// and a commit index that survived without its entries would bless whatever was there before them.
    pub(crate) fn submit<M>(
        &mut self,
        now: BootTime,
        log: &LogView,
        hard_state: HardState,
        mut guarded: Vec<Guarded<M>>,
    ) -> (Option<Persist<M>>, Vec<(NodeId, M)>) {
        let free = guarded.extract_if(.., |guarded| self.covers(guarded.through));
        let free = free.map(Guarded::into_envelope).collect();
        let waiting = guarded;
        let writes_log = self.truncate_from.is_some() || self.submitted < log.last_index();
        if !writes_log && !self.promises_changed && waiting.is_empty() {
            return (None, free);
        }
        let promised = waiting.iter().map(|guarded| guarded.through).max().unwrap_or_default();
        let commit = hard_state.commit.min(self.durable).max(self.commit_submitted);
        let writes_hard_state = self.promises_changed || (writes_log && commit > self.commit_submitted);
        let persist = Persist {
            op: self.next,
            hard_state: writes_hard_state.then_some(HardState { commit, ..hard_state }),
            truncate_from: self.truncate_from.take(),
            entries: log.range(self.submitted.next(), log.last_index()).cloned().collect(),
            after: waiting.into_iter().map(Guarded::into_envelope).collect(),
        };
        self.submitted = log.last_index();
        assert!(
            promised <= self.submitted,
            "promised entries up to {promised}, but write {} ends at {}",
            self.next,
            self.submitted
        );
        if writes_hard_state {
            self.commit_submitted = commit;
        }
        self.in_flight.push_back(Flight {
            op: self.next,
            began: now,
            reaches: self.submitted,
            promises: self.promises_changed,
        });
        self.promises_changed = false;
        self.next = PersistId(self.next.0 + 1);
        (Some(persist), free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterTime, Entry, Membership, Payload, Term};

    fn append(log: &mut LogView, term: u64) {
        let index = log.last_index().next();
        let stamp = ClusterTime::default();
        log.append(Entry { index, term: Term(term), stamp, payload: Payload::Blank });
    }

    fn submit(durability: &mut Durability, log: &LogView) -> Persist<()> {
        let (persist, _) = durability.submit(BootTime::default(), log, HardState::default(), Vec::new());
        persist.expect("something is to be written")
    }

    /// hazard 7: entry 2@1 is written, truncated, and written again before the first write completes.
    #[test]
    fn completion_of_a_rewritten_tail_does_not_count_for_its_successor() {
        let mut log = LogView::new(None, Membership::default());
        let mut durability = Durability::new(Index(0), Index(0));
        append(&mut log, 1);
        append(&mut log, 1);
        let first = submit(&mut durability, &log);
        log.truncate(Index(2));
        durability.truncated(Index(2));
        append(&mut log, 1);
        let second = submit(&mut durability, &log);
        assert_eq!((second.truncate_from, second.entries.len()), (Some(Index(2)), 1));
        durability.persisted(first.op);
        assert_eq!(durability.durable(), Index(1));
        durability.persisted(second.op);
        assert_eq!(durability.durable(), Index(2));
    }

    /// hazard 7: a completion that overtakes an earlier one stands for both (openraft#1960).
    #[test]
    fn late_completion_is_harmless_and_not_missed() {
        let mut log = LogView::new(None, Membership::default());
        let mut durability = Durability::new(Index(0), Index(0));
        append(&mut log, 1);
        let first = submit(&mut durability, &log);
        append(&mut log, 1);
        let second = submit(&mut durability, &log);
        durability.persisted(second.op);
        assert_eq!(durability.durable(), Index(2));
        durability.persisted(first.op);
        assert_eq!(durability.durable(), Index(2));
        assert!(durability.is_settled(&log));
    }

    #[test]
    fn entries_truncated_before_they_were_submitted_are_never_written() {
        let mut log = LogView::new(None, Membership::default());
        let mut durability = Durability::new(Index(0), Index(0));
        append(&mut log, 1);
        log.truncate(Index(1));
        durability.truncated(Index(1));
        append(&mut log, 2);
        let persist = submit(&mut durability, &log);
        assert_eq!(persist.truncate_from, None);
        assert_eq!(persist.entries.first().map(|entry| entry.term), Some(Term(2)));
    }

    /// A commit index written together with its entries could outlive them in a torn write.
    #[test]
    fn commit_hint_never_exceeds_what_is_already_durable() {
        let mut log = LogView::new(None, Membership::default());
        let mut durability = Durability::new(Index(0), Index(0));
        append(&mut log, 1);
        append(&mut log, 1);
        let hard_state = HardState { commit: Index(2), ..HardState::default() };
        let (persist, _) = durability.submit::<()>(BootTime::default(), &log, hard_state, Vec::new());
        assert_eq!(persist.expect("entries are new").hard_state, None);
        durability.persisted(PersistId(1));
        append(&mut log, 1);
        let (persist, _) = durability.submit::<()>(BootTime::default(), &log, hard_state, Vec::new());
        assert_eq!(persist.and_then(|persist| persist.hard_state), Some(hard_state));
    }
}
