//! What must hold inside of the cluster, checked after each step of each node.
//!
//! The checker mirrors each node's log from the writes that the driver hands out, and what of it is durable from
//! the writes that its disk has finished. It knows nothing of elections or replication: only what an observer may
//! demand of any consensus.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use quorate_consensus::{NodeId, engine::RoleKind, engine::Status};
use quorate_log::{LogEntry, SnapshotHeader, Write};

use super::{Failure, check};

/// What is known of the whole cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<View>,
    /// Who has led each term.
    leaders: BTreeMap<u64, NodeId>,
    /// Each entry that was ever written, by index and term.
    written: BTreeMap<(u64, u64), u64>,
    /// The committed entries from index 1 on, each with the term in which it was committed.
    committed: Vec<(Slot, u64)>,
    /// The hash of the machine at an applied index, and who told it first.
    machines: BTreeMap<u64, (u64, usize)>,
}

/// What is known of one node.
#[derive(Debug, Default)]
struct View {
    /// What it has been told to write.
    written: Mirror,
    /// What its disk has made durable.
    durable: Mirror,
    commit: u64,
    applied: u64,
    term: u64,
}

/// The contents of a log.
#[derive(Clone, Debug, Default)]
struct Mirror {
    /// The entries up to here are in a snapshot, or there are none.
    before: u64,
    slots: VecDeque<Slot>,
}

/// An entry, as far as it matters whether two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    term: u64,
    hash: u64,
}

impl Slot {
    fn of(entry: &LogEntry) -> Self {
        let mut hasher = DefaultHasher::new();
        (entry.index, entry.term, entry.stamp, entry.kind, &entry.payload).hash(&mut hasher);
        Self { term: entry.term, hash: hasher.finish() }
    }
}

impl Mirror {
    fn last(&self) -> u64 {
        self.before + self.slots.len() as u64
    }

    fn get(&self, index: u64) -> Option<Slot> {
        let at = index.checked_sub(self.before + 1)?;
        self.slots.get(usize::try_from(at).ok()?).copied()
    }

    /// Whether the entry is there, or in the snapshot.
    fn holds(&self, index: u64, slot: Slot) -> bool {
        index <= self.before || self.get(index) == Some(slot)
    }

    fn truncate(&mut self, from: u64) {
        let kept = usize::try_from(from.saturating_sub(self.before + 1)).unwrap_or(usize::MAX);
        self.slots.truncate(kept);
    }

    fn write(&mut self, write: &Write) -> Result<(), Failure> {
        if let Some(from) = write.truncate_from {
            self.truncate(from);
        }
        for entry in &write.entries {
            check(entry.index == self.last() + 1, "logs have no gaps", || {
                format!("entry {} is written after entry {}", entry.index, self.last())
            })?;
            self.slots.push_back(Slot::of(entry));
        }
        Ok(())
    }

    fn replace(&mut self, header: &SnapshotHeader) {
        if header.index <= self.before {
            return;
        }
        if self.get(header.index).is_some_and(|slot| slot.term == header.term) {
            let covered = usize::try_from(header.index - self.before).expect("a length");
            self.slots.drain(..covered);
        } else {
            self.slots.clear();
        }
        self.before = header.index;
    }
}

impl Cluster {
    pub(crate) fn new(nodes: u64) -> Self {
        Self {
            nodes: (0..nodes).map(|_| View::default()).collect(),
            leaders: BTreeMap::new(),
            written: BTreeMap::new(),
            committed: Vec::new(),
            machines: BTreeMap::new(),
        }
    }

    /// How many entries were committed.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.len() as u64
    }

    /// How many terms had a leader.
    pub(crate) fn elections(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// A node has started, with what its disk held: all of that is durable.
    pub(crate) fn restarted(
        &mut self,
        node: usize,
        snapshot: u64,
        entries: &[LogEntry],
    ) -> Result<(), Failure> {
        let mirror = Mirror { before: snapshot, slots: entries.iter().map(Slot::of).collect() };
        let view = &mut self.nodes[node];
        // What was durable and committed must have come back.
        for index in mirror.before + 1..=view.durable.last() {
            let committed = self.committed.get(position(index)).copied();
            if let (Some(slot), Some((committed, _))) = (view.durable.get(index), committed)
                && slot == committed
            {
                check(mirror.get(index) == Some(slot), "what was durable is recovered", || {
                    format!("n{} has lost entry {index}", node + 1)
                })?;
            }
        }
        *view = View { written: mirror.clone(), durable: mirror, ..View::default() };
        Ok(())
    }

    /// A node's driver hands out a write.
    pub(crate) fn will_write(&mut self, node: usize, write: &Write) -> Result<(), Failure> {
        let view = &mut self.nodes[node];
        if let Some(from) = write.truncate_from {
            check(from > view.commit, "nothing committed is truncated", || {
                format!("n{} truncates from {from}, and has committed {}", node + 1, view.commit)
            })?;
        }
        view.written.write(write)?;
        for entry in &write.entries {
            let hash = Slot::of(entry).hash;
            let known = *self.written.entry((entry.index, entry.term)).or_insert(hash);
            check(known == hash, "logs match", || {
                format!("n{} has another entry {}@{} than somebody else", node + 1, entry.index, entry.term)
            })?;
        }
        Ok(())
    }

    /// A node's disk has made writes durable.
    pub(crate) fn has_written(&mut self, node: usize, writes: &[Write]) -> Result<(), Failure> {
        writes.iter().try_for_each(|write| self.nodes[node].durable.write(write))
    }

    /// A snapshot takes the place of a node's log.
    pub(crate) fn will_replace(&mut self, node: usize, header: &SnapshotHeader) {
        self.nodes[node].written.replace(header);
    }

    /// It has done so, durably.
    pub(crate) fn has_replaced(&mut self, node: usize, header: &SnapshotHeader) {
        self.nodes[node].durable.replace(header);
    }

    /// A node has finished a step, after its writes were told.
    pub(crate) fn stepped(&mut self, node: usize, status: &Status, applied: u64) -> Result<(), Failure> {
        let view = &mut self.nodes[node];
        let (term, commit) = (status.role.term.0, status.commit.0);
        let went_back = |what, before: u64, now: u64| {
            check(before <= now, "term, commit and applied never go back", || {
                format!("the {what} of n{} went from {before} to {now}", node + 1)
            })
        };
        went_back("term", view.term, term)?;
        went_back("commit index", view.commit, commit)?;
        went_back("applied index", view.applied, applied)?;
        (view.term, view.applied) = (term, applied);
        let first_new = view.commit + 1;
        view.commit = commit;
        for index in first_new..=commit {
            self.check_committed(node, index)?;
        }
        // By an installed snapshot the machine is ahead of its own engine for a moment, but of nobody else.
        check(applied <= self.committed(), "only what is committed is applied", || {
            format!("n{} has applied {applied}, and {} is committed", node + 1, self.committed())
        })?;
        if status.role.kind == RoleKind::Leader && !self.leaders.contains_key(&term) {
            self.check_leader_complete(node, term)?;
        }
        if let Some(leader) = status.role.leader {
            let known = *self.leaders.entry(term).or_insert(leader);
            check(known == leader, "one leader a term", || {
                format!("{known} leads term {term}, and n{} says it is {leader}", node + 1)
            })?;
        }
        Ok(())
    }

    fn check_committed(&mut self, node: usize, index: u64) -> Result<(), Failure> {
        let Some(slot) = self.nodes[node].written.get(index) else { return Ok(()) };
        if let Some(&(known, _)) = self.committed.get(position(index)) {
            return check(known == slot, "committed entries are the same everywhere", || {
                format!(
                    "n{} has committed another entry {index}@{} than @{}",
                    node + 1,
                    slot.term,
                    known.term
                )
            });
        }
        check(index == self.committed() + 1, "logs have no gaps", || {
            format!("n{} commits entry {index}, the last known is {}", node + 1, self.committed())
        })?;
        let durable = self.nodes.iter().filter(|view| view.durable.holds(index, slot)).count();
        check(durable > self.nodes.len() / 2, "what is committed is on a quorum's disks", || {
            format!("n{} commits entry {index}@{}, which is on {durable} disks", node + 1, slot.term)
        })?;
        self.committed.push((slot, self.nodes[node].term));
        Ok(())
    }

    fn check_leader_complete(&self, node: usize, term: u64) -> Result<(), Failure> {
        let log = &self.nodes[node].written;
        for (index, &(slot, committed_in)) in (1..).zip(&self.committed) {
            // Who was elected may learn of it when a later leader has gone on already.
            let is_owed = committed_in < term;
            check(!is_owed || log.holds(index, slot), "leaders have all that is committed", || {
                format!("n{} leads term {term} without entry {index}@{}", node + 1, slot.term)
            })?;
        }
        Ok(())
    }

    /// A node's machine has this hash at this index.
    pub(crate) fn machine(&mut self, node: usize, applied: u64, hash: u64) -> Result<(), Failure> {
        let (known, by) = *self.machines.entry(applied).or_insert((hash, node));
        check(known == hash, "equal machines at equal indexes", || {
            format!("at {applied} the machine of n{} differs from that of n{}", node + 1, by + 1)
        })
    }
}

fn position(index: u64) -> usize {
    usize::try_from(index - 1).expect("a simulated log fits into memory")
}
