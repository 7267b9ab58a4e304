//! Reads that wait for a round of heartbeats, at a leader, or for a leader's answer, at a follower.
//!
//! * A round serves only reads that arrived before it began, and all of them at once. It has a number that no other of
//!   its leadership has.
//! * A forwarded batch has a number that no other of the follower's life has.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{BootTime, ClusterTime, Index, NodeId, ReadId, engine::ReadOutcome};

/// Rounds that may be open at the same time: enough to keep reads flowing while answers are on the way, few enough
/// that a storm of small batches does not send a heartbeat for each. Beyond it, reads wait for the next round.
const ROUNDS_OPEN_MAX: usize = 8;

/// Askers that may wait for a round, each for many reads: only where no round can be begun do they get so many. Beyond it they
/// are refused, and may ask again.
const WAITING_MAX: usize = 10_000;

/// What a leader answers to a forwarded read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadPoint {
    /// The index that must be applied before the read is served.
    pub index: Index,
    /// The leader's cluster time when a quorum had confirmed the read.
    pub stamp: ClusterTime,
}

impl ReadOutcome {
    /// What becomes of a read that was answered so.
    pub(crate) fn of(point: Option<ReadPoint>) -> Self {
        point.map_or(Self::Dropped, |ReadPoint { index, stamp }| Self::Ready { index, stamp })
    }
}

/// The reads of a leader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Reads {
    /// The number of the newest round; 0 before the first.
    newest: u64,
    /// Reads that no round serves yet.
    waiting: Vec<Asker>,
    open: VecDeque<Round>,
    /// When the newest round began that a quorum has confirmed.
    confirmed_at: Option<BootTime>,
}

/// Who waits for a read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Asker {
    /// This node's own caller.
    Local(ReadId),
    /// A follower, for a batch of its reads.
    Peer { node: NodeId, origin: u64, batch: u64 },
}

/// A round that no quorum has answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Round {
    number: u64,
    began: BootTime,
    /// The commit index when it began.
    index: Index,
    askers: Vec<Asker>,
}

impl Reads {
    /// A read waits for the next round.
    ///
    /// # Errors
    /// The asker, if too many wait.
    pub(crate) fn wait(&mut self, asker: Asker) -> Result<(), Asker> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(asker);
        }
        self.waiting.push(asker);
        Ok(())
    }

    pub(crate) fn newest_round(&self) -> u64 {
        self.newest
    }

    /// When the newest round began that a quorum has confirmed: until then nobody else led.
    pub(crate) fn confirmed_at(&self) -> Option<BootTime> {
        self.confirmed_at
    }

    /// Whether reads wait, and a round may be begun for them.
    pub(crate) fn wants_round(&self) -> bool {
        !self.waiting.is_empty() && self.open.len() < ROUNDS_OPEN_MAX
    }

    /// Whether a round awaits its confirmation.
    pub(crate) fn has_open_round(&self) -> bool {
        !self.open.is_empty()
    }

    /// Begins a round for all that wait, if one may be begun; its number.
    pub(crate) fn begin_round(&mut self, now: BootTime, index: Index) -> Option<u64> {
        if self.open.len() >= ROUNDS_OPEN_MAX {
            return None;
        }
        self.newest += 1;
        let askers = std::mem::take(&mut self.waiting);
        self.open.push_back(Round { number: self.newest, began: now, index, askers });
        Some(self.newest)
    }

    /// A round that serves nobody: all that it has is a number of its own.
    pub(crate) fn pass_round(&mut self) {
        self.newest += 1;
    }

    /// A quorum has confirmed this round, and all before it: who is answered what.
    pub(crate) fn confirm(&mut self, round: u64, stamp: ClusterTime) -> Vec<(Asker, ReadPoint)> {
        let mut answers = Vec::new();
        while let Some(round) = self.open.pop_front_if(|open| open.number <= round) {
            let point = ReadPoint { index: round.index, stamp };
            self.confirmed_at = Some(round.began);
            answers.extend(round.askers.into_iter().map(|asker| (asker, point)));
        }
        answers
    }

    /// All readers without an answer.
    pub(crate) fn take_all(&mut self) -> Vec<Asker> {
        let open = std::mem::take(&mut self.open).into_iter().flat_map(|round| round.askers);
        let mut askers: Vec<Asker> = open.collect();
        askers.append(&mut self.waiting);
        askers
    }
}

/// The reads of a follower.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Forwarded {
    /// Reads that arrived in this batch of inputs.
    waiting: Vec<ReadId>,
    /// Reads that the leader was asked about, by batch: ascending in age, too.
    asked: BTreeMap<u64, Asked>,
}

/// One forwarded batch of reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    reads: Vec<ReadId>,
    since: BootTime,
}

impl Forwarded {
    pub(crate) fn wait(&mut self, id: ReadId) {
        self.waiting.push(id);
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// All that wait are asked about as this batch.
    pub(crate) fn ask(&mut self, batch: u64, now: BootTime) {
        let reads = std::mem::take(&mut self.waiting);
        self.asked.insert(batch, Asked { reads, since: now });
    }

    /// The reads of a batch that was answered; nobody's, if it was before.
    pub(crate) fn answered(&mut self, batch: u64) -> Vec<ReadId> {
        self.asked.remove(&batch).map_or(Vec::new(), |asked| asked.reads)
    }

    /// When the oldest batch has waited for so long.
    pub(crate) fn gives_up_at(&self, timeout: Duration) -> Option<BootTime> {
        self.asked.values().next().map(|oldest| oldest.since.after(timeout))
    }

    /// Reads that have waited for so long: question or answer is lost.
    pub(crate) fn take_lost(&mut self, now: BootTime, timeout: Duration) -> Vec<ReadId> {
        let mut lost = Vec::new();
        while let Some(oldest) = self.asked.first_entry()
            && oldest.get().since.after(timeout) <= now
        {
            lost.append(&mut oldest.remove().reads);
        }
        lost
    }

    /// All reads that have no outcome yet.
    pub(crate) fn take_all(&mut self) -> Vec<ReadId> {
        let asked = std::mem::take(&mut self.asked).into_values().flat_map(|asked| asked.reads);
        let mut reads: Vec<ReadId> = asked.collect();
        reads.append(&mut self.waiting);
        reads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_that_no_round_serves_are_bounded() {
        let mut reads = Reads::default();
        let refused = (0..).map(ReadId).find_map(|id| reads.wait(Asker::Local(id)).err());
        assert_eq!(refused, Some(Asker::Local(ReadId(WAITING_MAX as u64))));
        assert!(reads.begin_round(BootTime::default(), Index(0)).is_some());
        assert_eq!(reads.wait(Asker::Local(ReadId(0))), Ok(()), "those before have a round");
    }
}
