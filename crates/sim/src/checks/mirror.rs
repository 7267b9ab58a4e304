//! What a node's log holds, as an observer knows it from the writes that it was given.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
};

use quorate_consensus::Membership;
use quorate_log::{LogEntry, SnapshotHeader, Write};
use quorate_node::record;

use super::{Failure, check};

/// The kind of an entry that holds a configuration, as `docs/log-format.md` has it.
const KIND_MEMBERSHIP: u8 = 2;

/// The contents of a log.
#[derive(Clone, Debug, Default)]
pub(super) struct Mirror {
    /// The entries up to here are in a snapshot, or there are none.
    before: u64,
    slots: VecDeque<Slot>,
    /// Configurations with the index from which each is in force, ascending. The first is in force at `before`.
    members: Vec<(u64, Membership)>,
}

/// An entry, as far as it matters whether two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) term: u64,
    pub(super) hash: u64,
}

impl Slot {
    pub(super) fn of(entry: &LogEntry) -> Self {
        let mut hasher = DefaultHasher::new();
        (entry.index, entry.term, entry.stamp, entry.kind, &entry.payload).hash(&mut hasher);
        Self { term: entry.term, hash: hasher.finish() }
    }
}

/// The configuration that an entry brings.
pub(crate) fn members_in(entry: &LogEntry) -> Option<Membership> {
    (entry.kind == KIND_MEMBERSHIP)
        .then(|| record::decode_membership(&entry.payload).expect("a configuration that a node wrote"))
}

impl Mirror {
    /// A log that begins behind `before`, where `members` is in force.
    pub(super) fn new(before: u64, members: Membership, entries: &[LogEntry]) -> Self {
        let mut mirror = Self { before, slots: VecDeque::new(), members: vec![(before, members)] };
        entries.iter().for_each(|entry| mirror.append(entry));
        mirror
    }

    pub(super) fn before(&self) -> u64 {
        self.before
    }

    pub(super) fn last(&self) -> u64 {
        self.before + self.slots.len() as u64
    }

    pub(super) fn get(&self, index: u64) -> Option<Slot> {
        let at = index.checked_sub(self.before + 1)?;
        self.slots.get(usize::try_from(at).ok()?).copied()
    }

    /// Whether the entry is there, or in the snapshot.
    pub(super) fn holds(&self, index: u64, slot: Slot) -> bool {
        index <= self.before || self.get(index) == Some(slot)
    }

    /// The newest configuration, with its index; `None` before the node's first start.
    pub(super) fn members(&self) -> Option<&(u64, Membership)> {
        self.members.last()
    }

    /// The index of the newest configuration.
    pub(super) fn in_force(&self) -> u64 {
        self.members.last().map_or(0, |(index, _)| *index)
    }

    /// The configuration in force at `index`, if that is known still.
    pub(super) fn members_at(&self, index: u64) -> Option<&Membership> {
        self.members.iter().rev().find(|(from, _)| *from <= index).map(|(_, members)| members)
    }

    /// The configurations that were in force since the one at `index` was the newest.
    pub(super) fn members_since(&self, index: u64) -> impl Iterator<Item = &Membership> {
        let newest = self.members.len().saturating_sub(1);
        let was = move |&(at, (from, _)): &(usize, &(u64, Membership))| at == newest || *from >= index;
        self.members.iter().enumerate().filter(was).map(|(_, (_, members))| members)
    }

    pub(super) fn write(&mut self, write: &Write) -> Result<(), Failure> {
        if let Some(from) = write.truncate_from {
            self.truncate(from);
        }
        for entry in &write.entries {
            check(entry.index == self.last() + 1, "logs have no gaps", || {
                format!("entry {} is written after entry {}", entry.index, self.last())
            })?;
            self.append(entry);
        }
        Ok(())
    }

    fn append(&mut self, entry: &LogEntry) {
        self.slots.push_back(Slot::of(entry));
        self.members.extend(members_in(entry).map(|members| (entry.index, members)));
    }

    fn truncate(&mut self, from: u64) {
        let kept = usize::try_from(from.saturating_sub(self.before + 1)).unwrap_or(usize::MAX);
        self.slots.truncate(kept);
        self.members.retain(|&(index, _)| index < from.max(self.before + 1));
    }

    /// A snapshot takes the place of all that it covers.
    pub(super) fn replace(&mut self, header: &SnapshotHeader) {
        if header.index <= self.before {
            return;
        }
        if self.get(header.index).is_some_and(|slot| slot.term == header.term) {
            let covered = usize::try_from(header.index - self.before).expect("a length");
            self.slots.drain(..covered);
            self.members.retain(|&(index, _)| index > header.index);
        } else {
            self.slots.clear();
            self.members.clear();
        }
        self.before = header.index;
        self.members.insert(0, (header.index, members_of(header)));
    }
}

/// The configuration that a snapshot was made under.
pub(super) fn members_of(header: &SnapshotHeader) -> Membership {
    record::decode_membership(&header.membership).expect("a configuration that a node wrote")
}
