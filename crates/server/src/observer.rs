//! What the shard's thread measures between its steps: how long an entry takes, elections, changes of the leader.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use quorate_consensus::{
    NodeId, Term,
    engine::{RoleKind, RoleView},
};
use quorate_node::LogTask;

use crate::metrics::Metrics;

/// Measures what it is shown, and never asks.
#[derive(Debug)]
pub(crate) struct Observer {
    metrics: Arc<Metrics>,
    /// The last entry of each write that this node has handed out as the leader and not applied yet, and when it did.
    under_way: VecDeque<(u64, Instant)>,
    role: RoleView,
    /// The last leader that was known.
    leader: Option<NodeId>,
    /// The last term in which this node stood for election.
    stood_in: Term,
}

impl Observer {
    /// An observer of a node that begins in this role.
    pub(crate) fn new(metrics: Arc<Metrics>, role: RoleView) -> Self {
        Self { metrics, under_way: VecDeque::new(), role, leader: role.leader, stood_in: role.term }
    }

    /// A task was handed to the log's thread, and its entries to the peers.
    pub(crate) fn handed_out(&mut self, task: &LogTask) {
        let LogTask::Write { write, .. } = task else { return };
        if let Some(from) = write.truncate_from {
            self.under_way.retain(|(index, _)| *index < from);
        }
        if let Some(last) = write.entries.last() {
            self.under_way.push_back((last.index, Instant::now()));
        }
    }

    /// A step has led to this role, and everything up to `applied` is applied.
    pub(crate) fn stepped(&mut self, role: RoleView, applied: u64, now: Instant) {
        self.take_role(role);
        if role.kind != RoleKind::Leader {
            // Who follows cannot say when an entry began.
            return self.under_way.clear();
        }
        while let Some(&(index, begin)) = self.under_way.front()
            && index <= applied
        {
            self.metrics.commit.record(now.saturating_duration_since(begin));
            self.under_way.pop_front();
        }
    }

    fn take_role(&mut self, role: RoleView) {
        let was = std::mem::replace(&mut self.role, role);
        if was == role {
            return;
        }
        // A node without others leads within the step in which it stands.
        if matches!(role.kind, RoleKind::Candidate | RoleKind::Leader) && role.term > self.stood_in {
            self.stood_in = role.term;
            self.metrics.elections.increment();
        }
        if role.leader.is_some() && role.leader != self.leader {
            self.leader = role.leader;
            self.metrics.leader_changes.increment();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quorate_consensus::PersistId;
    use quorate_log::{LogEntry, Write};

    use super::*;

    fn role(kind: RoleKind, term: u64, leader: Option<u64>) -> RoleView {
        RoleView { kind, term: Term(term), leader: leader.map(NodeId) }
    }

    fn observer() -> (Observer, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::default());
        (Observer::new(Arc::clone(&metrics), role(RoleKind::Follower, 1, None)), metrics)
    }

    fn write(last: u64, truncate_from: Option<u64>) -> LogTask {
        let entry = LogEntry { index: last, term: 1, stamp: 0, kind: 0, payload: bytes::Bytes::new() };
        LogTask::Write {
            op: PersistId(last),
            write: Write { hard_state: None, truncate_from, entries: vec![entry] },
        }
    }

    #[test]
    fn an_entry_is_measured_on_the_leader_alone_until_it_is_applied() {
        let (mut observer, metrics) = observer();
        observer.handed_out(&write(3, None));
        observer.stepped(role(RoleKind::Follower, 1, Some(2)), 3, Instant::now());
        assert_eq!(metrics.commit.durations().count(), 0, "committed by the time it came");
        let leads = role(RoleKind::Leader, 2, Some(1));
        observer.stepped(leads, 4, Instant::now());
        observer.handed_out(&write(5, None));
        observer.handed_out(&write(7, None));
        let later = Instant::now() + Duration::from_millis(30);
        observer.stepped(leads, 6, later);
        assert_eq!(metrics.commit.durations().count(), 1);
        assert!(metrics.commit.sum() >= Duration::from_millis(30));
        observer.stepped(role(RoleKind::Follower, 3, Some(2)), 6, later);
        observer.stepped(leads, 9, later);
        assert_eq!(
            metrics.commit.durations().count(),
            1,
            "a deposed leader cannot say when it was committed"
        );
    }

    #[test]
    fn entries_that_were_cut_off_are_not_measured() {
        let (mut observer, metrics) = observer();
        let leads = role(RoleKind::Leader, 2, Some(1));
        observer.handed_out(&write(5, None));
        observer.handed_out(&write(4, Some(4)));
        observer.stepped(leads, 5, Instant::now());
        assert_eq!(metrics.commit.durations().count(), 1);
    }

    #[test]
    fn elections_and_leaders_count_once() {
        let (mut observer, metrics) = observer();
        let now = Instant::now();
        let counted = |metrics: &Metrics| (metrics.elections.get(), metrics.leader_changes.get());
        observer.stepped(role(RoleKind::PreCandidate, 1, None), 0, now);
        assert_eq!(counted(&metrics), (0, 0), "asking whether it would be elected is no election");
        observer.stepped(role(RoleKind::Candidate, 2, None), 0, now);
        observer.stepped(role(RoleKind::Leader, 2, Some(1)), 0, now);
        assert_eq!(counted(&metrics), (1, 1));
        observer.stepped(role(RoleKind::Follower, 3, None), 0, now);
        observer.stepped(role(RoleKind::Follower, 3, Some(1)), 0, now);
        assert_eq!(counted(&metrics), (1, 1), "the same leader again is no change");
        observer.stepped(role(RoleKind::Follower, 4, Some(2)), 0, now);
        observer.stepped(role(RoleKind::Leader, 5, Some(1)), 0, now);
        assert_eq!(counted(&metrics), (2, 3));
    }
}
