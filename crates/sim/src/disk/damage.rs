//! What disks do that break their contract: bits rot, a write is acknowledged and never stored, or lands in another place,
//! and a read brings back what was there before.
//!
//! Nobody notices any of it as long as the page cache holds what was written. So the disk remembers its last writes, and
//! one of them turns out to have failed when a process is about to read it back.
//!
//! What the log promises is that it notices such damage below its greatest durable mark. So the last thing that was
//! written, that mark, is spared: damage to it as well as to what it vouches for cannot be told from a torn write.

use super::{SimDisk, State};
use crate::random::Random;

/// A write that is durable, and what was in its place before.
#[derive(Clone, Debug)]
pub(super) struct Past {
    pub(super) offset: u64,
    pub(super) before: Vec<u8>,
    pub(super) bytes: Vec<u8>,
    /// The number of the sync that made it durable.
    pub(super) sync: u64,
}

impl Past {
    /// Whether it has to do with any of so many bytes there.
    fn touches(&self, offset: u64, len: usize) -> bool {
        overlaps(self.offset, self.bytes.len(), offset, len)
    }
}

/// A read that will bring back what was there before a write.
#[derive(Debug)]
pub(super) struct StaleRead {
    file: usize,
    past: Past,
    /// How many reads it still spoils.
    reads: u64,
}

/// In which way a disk has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// Some bits have changed.
    Rot,
    /// A write was acknowledged and never stored.
    LostWrite,
    /// A write was stored in another place.
    MisdirectedWrite,
    /// Reads bring back what was there before a write, a few times.
    StaleRead,
    /// A whole file is gone, which is followed by another: without that it could never have been there.
    LostFile,
}

/// The most reads of a place that bring back what was there before.
const STALE_READS_MAX: u64 = 3;

/// Whether two ranges, each an offset and a length, have a byte in common.
pub(super) fn overlaps(one: u64, one_len: usize, other: u64, other_len: usize) -> bool {
    one < other + other_len as u64 && other < one + one_len as u64
}

impl SimDisk {
    /// How many syncs there were.
    pub(crate) fn syncs(&self) -> u64 {
        self.state.borrow().syncs
    }

    /// Damages one of the files that `may_be`, which nobody has open. What was synced after the first `spared_after`
    /// syncs stays. The name of the file, if there was anything to damage.
    pub(crate) fn damage(
        &self,
        damage: Damage,
        random: &mut Random,
        spared_after: u64,
        may_be: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let mut state = self.state.borrow_mut();
        let files = state.named(may_be);
        let spared = state.pasts(&files, |past| past.sync > spared_after);
        if damage == Damage::LostFile {
            return state.lose_file(&files, random);
        }
        let file = if damage == Damage::Rot {
            state.rot(some(&files, random)?.1, random, &spared)?
        } else {
            let pasts = state.pasts(&files, |past| past.sync <= spared_after);
            let (file, past) = some(&pasts, random)?.clone();
            match damage {
                Damage::Rot | Damage::LostFile => unreachable!("it needs no write"),
                Damage::LostWrite => state.overwrite(file, past.offset, &past.before),
                Damage::MisdirectedWrite => {
                    let elsewhere = random.pick(&files).1;
                    state.misdirect((file, past), elsewhere, random, &spared)?;
                }
                Damage::StaleRead => {
                    let reads = random.between(1, STALE_READS_MAX);
                    state.stale = Some(StaleRead { file, past, reads });
                }
            }
            file
        };
        files.into_iter().find(|(_, other)| *other == file).map(|(name, _)| name)
    }

    /// Whether one of the files that `may_be` has been written to, and not synced since.
    pub(crate) fn has_unsynced(&self, may_be: impl Fn(&str) -> bool) -> bool {
        let state = self.state.borrow();
        state.named(may_be).into_iter().any(|(_, file)| state.files[file].has_unsynced())
    }

    /// From now on each read brings what is there.
    pub(crate) fn end_stale_reads(&self) {
        self.state.borrow_mut().stale = None;
    }
}

fn some<'a, T>(choices: &'a [T], random: &mut Random) -> Option<&'a T> {
    if choices.is_empty() { None } else { Some(random.pick(choices)) }
}

impl State {
    fn named(&self, may_be: impl Fn(&str) -> bool) -> Vec<(String, usize)> {
        let names = self.folder.names().into_iter().filter(|name| may_be(name));
        names.filter_map(|name| self.folder.find(&name).map(|file| (name, file))).collect()
    }

    fn pasts(&self, files: &[(String, usize)], which: impl Fn(&Past) -> bool) -> Vec<(usize, Past)> {
        let files = files.iter().map(|&(_, file)| file);
        let of = |file: usize| self.files[file].past().iter().map(move |past| (file, past));
        files.flat_map(of).filter(|(_, past)| which(past)).map(|(file, past)| (file, past.clone())).collect()
    }

    /// Changes some bits where something was written. The file, if there was anything.
    fn rot(&mut self, file: usize, random: &mut Random, spared: &[(usize, Past)]) -> Option<usize> {
        let is_spared = |at: &usize| is_any_touched(spared, file, *at as u64, 1);
        let written: Vec<usize> = self.files[file].written().filter(|at| !is_spared(at)).collect();
        let bits = random.between(1, 3);
        let places: Option<Vec<usize>> = (0..bits).map(|_| some(&written, random).copied()).collect();
        let places = places?;
        self.files[file].damage(|durable| {
            for at in places {
                durable[at] ^= 1 << random.below(8);
            }
        });
        Some(file)
    }

    /// Takes a file away, in the order of whose names another one follows that has something in it.
    fn lose_file(&mut self, files: &[(String, usize)], random: &mut Random) -> Option<String> {
        let newest = files.iter().rposition(|&(_, file)| self.files[file].written().next().is_some())?;
        let (name, _) = some(&files[..newest], random)?;
        self.folder.lose(name);
        Some(name.clone())
    }

    /// Stores a write in another place, unless nothing fits there.
    fn misdirect(
        &mut self,
        (file, past): (usize, Past),
        elsewhere: usize,
        random: &mut Random,
        spared: &[(usize, Past)],
    ) -> Option<()> {
        let room = self.files[elsewhere].len().checked_sub(past.bytes.len() as u64)?;
        let offset = random.between(0, room);
        if is_any_touched(spared, elsewhere, offset, past.bytes.len()) {
            return None;
        }
        self.overwrite(file, past.offset, &past.before);
        self.overwrite(elsewhere, offset, &past.bytes);
        Some(())
    }

    fn overwrite(&mut self, file: usize, offset: u64, bytes: &[u8]) {
        let begin = usize::try_from(offset).expect("a simulated file fits into memory");
        self.files[file].damage(|durable| durable[begin..begin + bytes.len()].copy_from_slice(bytes));
    }

    /// Spoils what was read, if it is to be stale.
    pub(super) fn make_stale(&mut self, file: usize, offset: u64, buffer: &mut [u8]) {
        let Some(stale) = self.stale.as_mut().filter(|stale| stale.file == file) else { return };
        if stale.reads == 0 || !stale.past.touches(offset, buffer.len()) {
            return;
        }
        stale.reads -= 1;
        for (at, &byte) in (stale.past.offset..).zip(&stale.past.before) {
            let place = at.checked_sub(offset).and_then(|place| usize::try_from(place).ok());
            if let Some(read) = place.and_then(|place| buffer.get_mut(place)) {
                *read = byte;
            }
        }
    }
}

/// Whether one of these writes has to do with any of so many bytes there.
fn is_any_touched(pasts: &[(usize, Past)], file: usize, offset: u64, len: usize) -> bool {
    pasts.iter().any(|(other, past)| *other == file && past.touches(offset, len))
}
