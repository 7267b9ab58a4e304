//! How far a node is that gets back from its leader what its disk has lost.

use std::time::Duration;

use crate::{BootTime, Index, engine::RepairStatus};

/// The state of a node under repair, as far as it concerns the present term.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Repair {
    /// Up to here the log is equal to that of the leader.
    matched: Index,
    /// Up to here it must be, as the leader has said.
    goal: Option<Index>,
    /// The last question, or the last time that the log got further behind it.
    asked: Option<Asked>,
}

/// A question, and where the node stood.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    at: BootTime,
    /// The end of the log, and how much of a snapshot had arrived.
    standing: (Index, u64),
}

impl Repair {
    pub(crate) fn status(&self) -> RepairStatus {
        RepairStatus { matched: self.matched, goal: self.goal }
    }

    /// The log is equal to that of the leader of this term up to `matched`.
    pub(crate) fn note_match(&mut self, matched: Index) {
        self.matched = self.matched.max(matched);
    }

    /// The leader's log ended at `last` when it was asked. The first answer of a term counts.
    pub(crate) fn learn_goal(&mut self, last: Index) {
        self.goal.get_or_insert(last);
    }

    /// Up to where all is there again, on the disk up to `durable`; none as long as it is not.
    pub(crate) fn is_done(&self, durable: Index) -> Option<Index> {
        self.goal.filter(|&goal| self.matched >= goal && durable >= goal)
    }

    /// Whether the leader is to be asked now, by a node that stands there: at first, and when it has got no further for so
    /// long.
    pub(crate) fn asks(&mut self, now: BootTime, standing: (Index, u64), patience: Duration) -> bool {
        // A log that grows says nothing of where it must get to. A snapshot would begin anew by another question.
        let gets_on = self.goal.is_some() || standing.1 > 0;
        let moved = gets_on && self.asked.as_ref().is_some_and(|asked| asked.standing != standing);
        let is_due = !moved && self.asked.as_ref().is_none_or(|asked| now.since(asked.at) >= patience);
        if is_due || moved {
            self.asked = Some(Asked { at: now, standing });
        }
        is_due
    }
}
