//! One file: its two images and what lies between them.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    SECTOR_BYTES,
    damage::{Past, overlaps},
};
use crate::random::Random;

/// A file as a process sees it, and as a power cut would leave it.
#[derive(Debug, Default)]
pub(super) struct FileImage {
    volatile: Vec<u8>,
    durable: Vec<u8>,
    /// Changes of `volatile` that are not in `durable`, oldest first.
    unsynced: Vec<Change>,
    /// Writes whose effect on `durable` stands as it was made, oldest first: each could have failed unnoticed.
    past: Vec<Past>,
}

#[derive(Debug)]
enum Change {
    Write {
        offset: u64,
        bytes: Bytes,
    },
    Grow {
        len: u64,
    },
    /// All content is gone.
    Empty,
}

/// The most writes of a file that are remembered.
const PAST_MAX: usize = 16;

/// How much of the unsynced writes a power cut leaves. Real cuts mostly leave all or nothing.
#[derive(Clone, Copy)]
enum Fate {
    All,
    Nothing,
    /// Each sector by itself.
    EachSector,
}

impl FileImage {
    pub(super) fn len(&self) -> u64 {
        self.volatile.len() as u64
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let begin = position(offset).min(self.volatile.len());
        let available = &self.volatile[begin..];
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        count
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        put(&mut self.volatile, offset, bytes);
        self.unsynced.push(Change::Write { offset, bytes: Bytes::copy_from_slice(bytes) });
    }

    pub(super) fn grow(&mut self, len: u64) {
        if len > self.len() {
            self.volatile.resize(position(len), 0);
            self.unsynced.push(Change::Grow { len });
        }
    }

    pub(super) fn empty(&mut self) {
        self.volatile.clear();
        self.unsynced.push(Change::Empty);
    }

    pub(super) fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// The writes that may turn out to have failed.
    pub(super) fn past(&self) -> &[Past] {
        &self.past
    }

    /// Changes what is durable behind everybody's back. Nothing may be unsynced that a process still relies on.
    pub(super) fn damage(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.durable);
        self.volatile.clone_from(&self.durable);
        self.unsynced.clear();
        self.past.clear();
    }

    /// Where something was written, durably.
    pub(super) fn written(&self) -> impl Iterator<Item = usize> {
        (0..self.durable.len()).filter(|&at| self.durable[at] != 0)
    }

    /// Makes everything durable. `number` is the number of this sync among all of the disk.
    pub(super) fn sync(&mut self, number: u64) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Write { offset, bytes } => self.settle(offset, &bytes, number),
                Change::Grow { len } => grow(&mut self.durable, len),
                Change::Empty => {
                    self.durable.clear();
                    self.past.clear();
                }
            }
        }
    }

    /// Makes one write durable, and remembers what was there before.
    fn settle(&mut self, offset: u64, bytes: &[u8], sync: u64) {
        // What is written again cannot have been lost before.
        self.past.retain(|past| !overlaps(past.offset, past.bytes.len(), offset, bytes.len()));
        grow(&mut self.durable, offset + bytes.len() as u64);
        let place = &mut self.durable[position(offset)..position(offset) + bytes.len()];
        if place != bytes {
            if self.past.len() == PAST_MAX {
                self.past.remove(0);
            }
            self.past.push(Past { offset, before: place.to_vec(), bytes: bytes.to_vec(), sync });
            place.copy_from_slice(bytes);
        }
    }

    /// What was to be written never will be, though a process goes on reading it.
    pub(super) fn forget_unsynced(&mut self) {
        self.unsynced.clear();
    }

    /// Leaves what a power cut may leave. Whether anything was lost.
    pub(super) fn cut_power(&mut self, random: &mut Random) -> bool {
        let fate = *random.pick(&[Fate::All, Fate::Nothing, Fate::EachSector, Fate::EachSector]);
        let changes = std::mem::take(&mut self.unsynced);
        // A write that had failed would have shown itself now.
        self.past.clear();
        let kept = changes_kept(&changes, fate, random);
        // Of two writes to a sector the later one holds the earlier one, too: it cannot survive alone.
        let mut lost_sectors = BTreeSet::new();
        for change in &changes[..kept] {
            match change {
                Change::Write { offset, bytes } => {
                    for (at, sector) in sectors(*offset, bytes) {
                        let survives = match fate {
                            Fate::All => true,
                            Fate::Nothing => false,
                            Fate::EachSector => {
                                let number = at / SECTOR_BYTES;
                                if random.chance(500) {
                                    lost_sectors.insert(number);
                                }
                                !lost_sectors.contains(&number)
                            }
                        };
                        if survives {
                            put(&mut self.durable, at, sector);
                        }
                    }
                }
                Change::Grow { len } => match fate {
                    Fate::Nothing => {}
                    Fate::All | Fate::EachSector => grow(&mut self.durable, *len),
                },
                Change::Empty => self.durable.clear(),
            }
        }
        let lost = self.durable != self.volatile;
        self.volatile.clone_from(&self.durable);
        lost
    }
}

/// How many of the changes are considered at all: a file is emptied as a whole, or it and all later changes of it
/// are lost.
fn changes_kept(changes: &[Change], fate: Fate, random: &mut Random) -> usize {
    for (at, change) in changes.iter().enumerate() {
        let is_lost = match (change, fate) {
            (Change::Empty, Fate::Nothing) => true,
            (Change::Empty, Fate::EachSector) => random.chance(500),
            (Change::Empty, Fate::All) | (Change::Write { .. } | Change::Grow { .. }, _) => false,
        };
        if is_lost {
            return at;
        }
    }
    changes.len()
}

/// A write, cut where sectors meet.
fn sectors(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = offset;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let count = position(SECTOR_BYTES - at % SECTOR_BYTES).min(rest.len());
        let (sector, later) = rest.split_at(count);
        let begin = at;
        at += count as u64;
        rest = later;
        Some((begin, sector))
    })
}

fn put(image: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    grow(image, offset + bytes.len() as u64);
    let begin = position(offset);
    image[begin..begin + bytes.len()].copy_from_slice(bytes);
}

fn grow(image: &mut Vec<u8>, len: u64) {
    if position(len) > image.len() {
        image.resize(position(len), 0);
    }
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated file fits into memory")
}
