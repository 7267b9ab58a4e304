//! How far the log is committed, handed out to the caller, and applied by it.
//!
//! Invariants: `applied <= handed_out <= commit`, the log reaches as far, and none of them ever goes back.

use super::{durability::Durability, log_view::LogView, outbox::Outbox};
use crate::{BootTime, Effects, Entry, HardState, Index, NodeId, SnapshotMeta, Term, engine::RoleView};

/// The marks of one log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Standing {
    commit: Index,
    /// Committed entries up to here were handed out.
    handed_out: Index,
    applied: Index,
}

impl Standing {
    /// Those of a node that starts: what its snapshot has is applied. The hint may be ahead of a log whose unsynced tail
    /// was cut.
    pub(crate) fn restored(commit_hint: Index, log: &LogView) -> Self {
        let snapshot = log.first_index().previous();
        let commit = commit_hint.max(snapshot).min(log.last_index());
        Self { commit, handed_out: snapshot, applied: snapshot }
    }

    pub(crate) fn commit(&self) -> Index {
        self.commit
    }

    pub(crate) fn applied(&self) -> Index {
        self.applied
    }

    /// Whether `log` leaves nothing for a snapshot to add.
    pub(crate) fn covers(&self, log: &LogView, snapshot: &SnapshotMeta) -> bool {
        snapshot.index <= self.commit || log.holds(snapshot.last())
    }

    /// Moves the commit index forward.
    pub(crate) fn commit_to(&mut self, index: Index, log: &LogView) {
        assert!(index >= self.commit, "commit index regressed from {} to {index}", self.commit);
        let last = log.last_index();
        assert!(index <= last, "commit index {index} beyond the log's end {last}");
        self.commit = index;
    }

    /// The machine has applied all up to `index`.
    pub(crate) fn note_applied(&mut self, index: Index) {
        assert!(index <= self.handed_out, "applied {index} beyond {}, the last handed out", self.handed_out);
        self.applied = self.applied.max(index);
    }

    /// A snapshot up to `index` is in the machine, and in the place of the log.
    pub(crate) fn installed(&mut self, index: Index) {
        assert!(index > self.commit, "installed snapshot {index} below the commit index {}", self.commit);
        *self = Self { commit: index, handed_out: index, applied: index };
    }

    /// A snapshot of this node's own machine allows to forget the log before `keep_from`; not what follows the snapshots that
    /// are on their way to peers, of which the first that will be asked for is `needed`.
    pub(crate) fn snapshot_made(
        &self,
        log: &mut LogView,
        meta: &SnapshotMeta,
        keep_from: Index,
        needed: Option<Index>,
    ) {
        let snapshot = meta.index;
        assert!(
            snapshot <= self.handed_out,
            "snapshot {snapshot} beyond {}, the last handed out",
            self.handed_out
        );
        if snapshot >= log.first_index().previous() {
            let in_force = log.membership_at(snapshot);
            assert!(
                *meta.membership == *in_force,
                "snapshot {snapshot} has the configuration {}, but {in_force} was in force",
                meta.membership
            );
        }
        let keep_from = keep_from.min(snapshot.next());
        log.compact(needed.map_or(keep_from, |needed| needed.min(keep_from)));
    }

    /// Everything gathered, in the shape of the contract: what is to be written, and what is committed and was not handed out
    /// yet, included.
    pub(crate) fn take_effects<M>(
        &mut self,
        now: BootTime,
        (term, vote): (Term, Option<NodeId>),
        role: Option<RoleView>,
        outbox: &mut Outbox<M>,
        log: &mut LogView,
        durability: &mut Durability,
    ) -> Effects<M> {
        let Outbox { mut send, guarded, proposals, reads, snapshots, removed, repaired } =
            std::mem::take(outbox);
        let hard_state = HardState { term, vote, commit: self.commit };
        let (persist, free) = durability.submit(now, log, hard_state, guarded);
        send.extend(free);
        Effects {
            persist,
            send,
            committed: self.hand_out(log),
            proposals,
            reads,
            snapshots,
            role,
            membership: log.take_news(),
            removed,
            repaired,
            fatal: None,
        }
    }

    fn hand_out(&mut self, log: &LogView) -> Vec<Entry> {
        let first = self.handed_out.next();
        self.handed_out = self.commit;
        log.range(first, self.commit).cloned().collect()
    }
}
