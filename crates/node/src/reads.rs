//! Linearizable reads that do not travel in the log (dissertation 6.4).
//!
//! All reads that arrive in one batch share one question to the engine: how far must this node be? When a
//! quorum has confirmed an index and this node has applied it, they are served, first in, first out, so that
//! a connection never sees time run backwards. An answer to a later question is good for earlier reads, too,
//! since its quorum round began after they had arrived.

use std::{collections::VecDeque, time::Duration};

use quorate_bug::{self as bug, Bug};
use quorate_consensus::{BootTime, ClusterTime, Index, ReadId};

use crate::{connection::ReadRequest, input::ConnId};

/// The reads that wait, oldest first.
#[derive(Debug)]
pub(crate) struct Reads {
    next_id: u64,
    /// Not yet part of a question.
    fresh: VecDeque<(ConnId, ReadRequest)>,
    groups: VecDeque<Group>,
    /// When the newest question is asked again if no answer has come.
    ask_again_at: Option<BootTime>,
}

/// Reads that share a question.
#[derive(Debug)]
pub(crate) struct Group {
    arrived: BootTime,
    state: State,
    /// Who asks what, in order. Never empty while it waits.
    reads: VecDeque<(ConnId, ReadRequest)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waits for the answer to this question, or to a later one.
    Asked(ReadId),
    /// May be served once this index is applied.
    Ready { index: Index, stamp: ClusterTime },
}

impl Group {
    /// Who waits for an answer, in order.
    pub(crate) fn askers(&self) -> impl Iterator<Item = ConnId> {
        self.reads.iter().map(|&(conn, _)| conn)
    }
}

impl Reads {
    pub(crate) fn new() -> Self {
        Self { next_id: 1, fresh: VecDeque::new(), groups: VecDeque::new(), ask_again_at: None }
    }

    /// Adds a read of the present batch.
    pub(crate) fn add(&mut self, conn: ConnId, request: ReadRequest) {
        self.fresh.push_back((conn, request));
    }

    /// Closes the present batch. The question that must be asked for it, if it is not empty.
    pub(crate) fn ask(&mut self, now: BootTime, ask_again_after: Duration) -> Option<ReadId> {
        if self.fresh.is_empty() {
            return None;
        }
        let id = self.new_id();
        let reads = std::mem::take(&mut self.fresh);
        self.groups.push_back(Group { arrived: now, state: State::Asked(id), reads });
        self.ask_again_at.get_or_insert(now.after(ask_again_after));
        Some(id)
    }

    /// A new question on behalf of all that still wait, if any do: the leader has changed, or an answer is
    /// overdue.
    pub(crate) fn ask_again(&mut self, now: BootTime, ask_again_after: Duration) -> Option<ReadId> {
        self.ask_again_at = None;
        if !matches!(self.groups.back()?.state, State::Asked(_)) {
            return None;
        }
        let id = self.new_id();
        self.groups.back_mut()?.state = State::Asked(id);
        self.ask_again_at = Some(now.after(ask_again_after));
        Some(id)
    }

    /// Whether it is time to ask again.
    pub(crate) fn is_overdue(&self, now: BootTime) -> bool {
        self.ask_again_at.is_some_and(|at| now >= at)
    }

    /// The engine's answer. An answer to a question that was asked anew since is ignored.
    pub(crate) fn confirmed(&mut self, id: ReadId, index: Index, stamp: ClusterTime) {
        let Some(answered) = self.groups.iter().rposition(|group| group.state == State::Asked(id)) else {
            return;
        };
        let served = if bug::on(Bug::EarlierAnswer) { self.groups.len() } else { answered + 1 };
        for group in self.groups.iter_mut().take(served) {
            if let State::Asked(_) = group.state {
                group.state = State::Ready { index, stamp };
            }
        }
        if answered + 1 == self.groups.len() {
            self.ask_again_at = None;
        }
    }

    /// The oldest read, if it may be served with `applied` applied, and the leader's time for it.
    pub(crate) fn take_ready(&mut self, applied: Index) -> Option<(ClusterTime, ConnId, ReadRequest)> {
        let group = self.groups.front_mut()?;
        match group.state {
            State::Ready { index, stamp } if index <= applied || bug::on(Bug::ReadBeforeApplied) => {
                let (conn, request) = group.reads.pop_front()?;
                if group.reads.is_empty() {
                    self.groups.pop_front();
                }
                Some((stamp, conn, request))
            }
            State::Ready { .. } | State::Asked(_) => None,
        }
    }

    /// Whether [`Self::take_ready`] has a read to give.
    pub(crate) fn is_ready(&self, applied: Index) -> bool {
        self.groups.front().is_some_and(|group| match group.state {
            State::Ready { index, .. } => index <= applied,
            State::Asked(_) => false,
        })
    }

    /// The oldest reads, if they have waited for `timeout`.
    pub(crate) fn take_expired(&mut self, now: BootTime, timeout: Duration) -> Option<Group> {
        if now < self.groups.front()?.arrived.after(timeout) {
            return None;
        }
        let expired = self.groups.pop_front();
        if self.groups.is_empty() {
            self.ask_again_at = None;
        }
        expired
    }

    /// When something must happen, if nothing else does before.
    pub(crate) fn deadline(&self, timeout: Duration) -> Option<BootTime> {
        let expiry = self.groups.front().map(|group| group.arrived.after(timeout));
        expiry.into_iter().chain(self.ask_again_at).min()
    }

    fn new_id(&mut self) -> ReadId {
        let id = ReadId(self.next_id);
        self.next_id += 1;
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: Duration = Duration::from_millis(500);
    const STAMP: ClusterTime = ClusterTime { millis: 7 };

    fn at(millis: u64) -> BootTime {
        BootTime { micros: millis * 1000 }
    }

    fn add(reads: &mut Reads, conn: u64) {
        reads.add(ConnId(conn), ReadRequest::Watch { db: 0, keys: vec![] });
    }

    fn served(reads: &mut Reads, applied: u64) -> Vec<u64> {
        let mut conns = Vec::new();
        while let Some((_, conn, _)) = reads.take_ready(Index(applied)) {
            conns.push(conn.0);
        }
        conns
    }

    #[test]
    fn answer_to_a_later_question_serves_earlier_reads_in_order() {
        let mut reads = Reads::new();
        add(&mut reads, 1);
        let first = reads.ask(at(0), AGAIN).expect("a question");
        add(&mut reads, 2);
        let second = reads.ask(at(1), AGAIN).expect("a question");
        reads.confirmed(second, Index(5), STAMP);
        reads.confirmed(first, Index(4), STAMP);
        assert_eq!(served(&mut reads, 4), Vec::<u64>::new());
        assert_eq!(served(&mut reads, 5), [1, 2]);
        assert_eq!(reads.deadline(AGAIN), None);
    }

    #[test]
    fn earlier_answer_does_not_serve_later_reads() {
        let mut reads = Reads::new();
        add(&mut reads, 1);
        let first = reads.ask(at(0), AGAIN).expect("a question");
        add(&mut reads, 2);
        reads.ask(at(1), AGAIN).expect("a question");
        reads.confirmed(first, Index(4), STAMP);
        assert_eq!(served(&mut reads, 9), [1]);
        assert!(reads.is_overdue(at(500)));
    }

    #[test]
    fn question_asked_anew_serves_all_that_wait() {
        let mut reads = Reads::new();
        add(&mut reads, 1);
        let lost = reads.ask(at(0), AGAIN).expect("a question");
        assert!(!reads.is_overdue(at(499)));
        assert!(reads.is_overdue(at(500)));
        let again = reads.ask_again(at(500), AGAIN).expect("a question");
        reads.confirmed(lost, Index(1), STAMP);
        assert_eq!(served(&mut reads, 9), Vec::<u64>::new());
        reads.confirmed(again, Index(1), STAMP);
        assert_eq!(served(&mut reads, 9), [1]);
    }

    #[test]
    fn reads_without_an_answer_expire() {
        let mut reads = Reads::new();
        add(&mut reads, 1);
        reads.ask(at(0), AGAIN);
        let timeout = Duration::from_secs(15);
        assert!(reads.take_expired(at(14_999), timeout).is_none());
        assert_eq!(reads.take_expired(at(15_000), timeout).map(|group| group.askers().count()), Some(1));
        assert_eq!(reads.deadline(timeout), None, "a deadline that stays in the past is a busy loop");
    }
}
