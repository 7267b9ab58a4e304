//! Room ahead of time: the next segment, allocated and zero-filled before it is needed.
//!
//! A segment that is all zeros beyond its last record makes the end of the log unmistakable, and overwriting
//! bytes that exist changes no metadata, so that a sync writes only what was appended. The zeros are written in
//! slices between batches, under the name of a spare; only a file that is whole gets a segment's name. So
//! the newest segment's successor is either absent, or ready.
//!
//! Room for all of it is taken at once, if the file system can do that, but the zeros come no faster than they must: as
//! much of the next segment is ready as twice the part that is taken of the present one, and the rest while the log is
//! idle. A burst of them whenever a segment begins or a node starts would make the syncs of batches wait.
//!
//! A full disk is noticed here, while nothing is lost yet: what was already accepted still fits into the
//! segment being written and its successor.

use std::{io, mem};

use crate::{Disk, DiskFile, Error, Room, contents::Segment, error::About, segment};

/// The zeros written in one step: some milliseconds of a slow disk.
const SLICE_BYTES: usize = 512 << 10;

/// The most slices that share a sync when the present segment fills by large batches.
const SLICES_MAX: usize = 8;

/// The most released segments that are kept for later. A snapshot releases several at once, and more than
/// these give their room back.
const SPARES_MAX: usize = 4;

const PREFIX: &str = "spare-";

/// How far the next segment is.
enum Next<F> {
    Absent,
    Zeroing { file: F, name: String, zeroed: u64 },
    Ready(F),
}

/// The next segment, and spares for those after it.
pub(crate) struct Reserve<D: Disk> {
    disk: D,
    segment_bytes: u64,
    spares: Vec<String>,
    next: Next<D::File>,
    /// The disk was full when the next segment should have been made.
    refused: bool,
}

impl<D: Disk> Reserve<D> {
    /// Takes over the spares of an earlier run, and the unused segments after the newest one.
    pub(crate) fn open(
        disk: &D,
        segment_bytes: u64,
        names: &[String],
        unused: &[u64],
    ) -> Result<Self, Error> {
        let mut this = Self {
            disk: disk.clone(),
            segment_bytes,
            spares: Vec::new(),
            next: Next::Absent,
            refused: false,
        };
        // From the last one back, so that a crash in between leaves no gap in the numbers.
        for (place, &number) in unused.iter().enumerate().rev() {
            let name = segment::name(number);
            let file = disk.open(&name).about(disk, &name, "open")?;
            if place == 0 && file.len().about(disk, &name, "measure")? == segment_bytes {
                this.next = Next::Ready(file);
            } else {
                disk.remove(&name).about(disk, &name, "remove")?;
                disk.sync_directory().about(disk, "", "sync")?;
            }
        }
        for name in names.iter().filter(|name| name.starts_with(PREFIX)) {
            let bytes = disk.open(name).and_then(|file| file.len()).about(disk, name, "measure")?;
            this.keep_or_remove(name, name, bytes)?;
        }
        Ok(this)
    }

    /// How much can be written: [`Room::Enough`] if a segment more than the reserve is there or can be made.
    pub(crate) fn room(&self, reserve_bytes: u64) -> Room {
        let is_free = |needed| self.disk.available_bytes().is_ok_and(|available| available >= needed);
        match self.next {
            Next::Ready(_) | Next::Zeroing { .. } if !self.refused && is_free(reserve_bytes) => Room::Enough,
            Next::Ready(_) | Next::Zeroing { .. } => Room::Scarce,
            Next::Absent if !self.refused && is_free(reserve_bytes.saturating_add(self.segment_bytes)) => {
                Room::Enough
            }
            Next::Absent => Room::Gone,
        }
    }

    /// Whether an attempt to make the next segment failed for want of room.
    pub(crate) fn was_refused(&self) -> bool {
        self.refused
    }

    /// The same as [`step`](Self::step), for as many slices as it takes until so many bytes of the segment are zero,
    /// within a bound. If they are, it does nothing, and says that this is enough.
    pub(crate) fn step_up_to(&mut self, number: u64, zeroed_wanted: u64) -> Result<bool, Error> {
        let Next::Zeroing { zeroed, .. } = self.next else { return self.step(number) };
        let missing = zeroed_wanted.saturating_sub(zeroed).div_ceil(SLICE_BYTES as u64);
        match usize::try_from(missing).map_or(SLICES_MAX, |missing| missing.min(SLICES_MAX)) {
            0 => Ok(true),
            slices => self.steps(number, slices),
        }
    }

    /// Does a bounded piece of work towards segment `number`, the next one, and says whether it is ready. A
    /// full disk is no error here.
    pub(crate) fn step(&mut self, number: u64) -> Result<bool, Error> {
        self.steps(number, 1)
    }

    fn steps(&mut self, number: u64, slices: usize) -> Result<bool, Error> {
        match self.try_steps(number, slices) {
            Ok(ready) => {
                self.refused = false;
                Ok(ready)
            }
            Err(Error::NoRoom { .. }) => {
                self.refused = true;
                self.give_up()?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes segment `number`, the next one, all zeros; finishes it first if need be.
    pub(crate) fn take(&mut self, number: u64) -> Result<D::File, Error> {
        // Bounded: the first round makes a file if there is none, and the second all that it lacks.
        while !self.try_steps(number, usize::MAX)? {}
        match mem::replace(&mut self.next, Next::Absent) {
            Next::Ready(file) => Ok(file),
            Next::Absent | Next::Zeroing { .. } => unreachable!("a step that says ready leaves it ready"),
        }
    }

    fn try_steps(&mut self, number: u64, slices: usize) -> Result<bool, Error> {
        match &mut self.next {
            Next::Ready(_) => Ok(true),
            Next::Absent => {
                self.next = self.begin()?;
                Ok(false)
            }
            Next::Zeroing { file, name, zeroed } => {
                for _ in 0..slices {
                    *zeroed = zero_slice(&self.disk, file, name, *zeroed, self.segment_bytes)?;
                    if *zeroed == self.segment_bytes {
                        break;
                    }
                }
                file.sync_data().about(&self.disk, name, "sync")?;
                if *zeroed < self.segment_bytes {
                    return Ok(false);
                }
                let target = segment::name(number);
                self.disk.rename(name, &target).about(&self.disk, &target, "rename")?;
                self.disk.sync_directory().about(&self.disk, "", "sync")?;
                let Next::Zeroing { file, .. } = mem::replace(&mut self.next, Next::Absent) else {
                    unreachable!("matched above");
                };
                self.next = Next::Ready(file);
                Ok(true)
            }
        }
    }

    fn begin(&mut self) -> Result<Next<D::File>, Error> {
        if let Some(name) = self.spares.pop() {
            let file = self.disk.open(&name).about(&self.disk, &name, "open")?;
            return Ok(Next::Zeroing { file, name, zeroed: 0 });
        }
        let name = self.free_name();
        let mut file = self.disk.create(&name).about(&self.disk, &name, "create")?;
        if let Err(error) = file.preallocate(self.segment_bytes).about(&self.disk, &name, "preallocate") {
            self.disk.remove(&name).about(&self.disk, &name, "remove")?;
            return Err(error);
        }
        Ok(Next::Zeroing { file, name, zeroed: 0 })
    }

    /// Gives the room of an unfinished segment back: after an error nobody knows what is in it.
    fn give_up(&mut self) -> Result<(), Error> {
        match mem::replace(&mut self.next, Next::Absent) {
            Next::Zeroing { name, .. } => self.disk.remove(&name).about(&self.disk, &name, "remove"),
            other @ (Next::Absent | Next::Ready(_)) => {
                self.next = other;
                Ok(())
            }
        }
    }

    /// Takes a released segment's file; durable on return, so that segments vanish in their order.
    pub(crate) fn recycle(&mut self, released: &Segment) -> Result<(), Error> {
        let name = segment::name(released.number);
        self.keep_or_remove(&name, &self.free_name(), released.bytes)?;
        self.disk.sync_directory().about(&self.disk, "", "sync")
    }

    /// A name that no spare has. They are numbered without regard to segments: a spare outlives the number of the
    /// segment that it came from.
    fn free_name(&self) -> String {
        let zeroing = match &self.next {
            Next::Zeroing { name, .. } => Some(name),
            Next::Absent | Next::Ready(_) => None,
        };
        (0..=SPARES_MAX + 1)
            .map(|number| format!("{PREFIX}{number}"))
            .find(|name| zeroing != Some(name) && !self.spares.contains(name))
            .expect("one more name than there can be spares")
    }

    fn keep_or_remove(&mut self, name: &str, spare: &str, bytes: u64) -> Result<(), Error> {
        if bytes != self.segment_bytes || self.spares.len() == SPARES_MAX {
            return self.disk.remove(name).about(&self.disk, name, "remove");
        }
        if name != spare {
            self.disk.rename(name, spare).about(&self.disk, name, "rename")?;
        }
        self.spares.push(spare.to_owned());
        Ok(())
    }
}

/// Writes one slice of zeros from `zeroed` on; answers its end.
fn zero_slice<D: Disk>(
    disk: &D,
    file: &mut D::File,
    name: &str,
    zeroed: u64,
    bytes: u64,
) -> Result<u64, Error> {
    static ZEROS: [u8; SLICE_BYTES] = [0; SLICE_BYTES];
    let count = usize::try_from(bytes - zeroed).map_or(SLICE_BYTES, |left| left.min(SLICE_BYTES));
    file.write_at(zeroed, &ZEROS[..count]).about(disk, name, "write")?;
    Ok(zeroed + count as u64)
}

/// Overwrites `file` with zeros from `from` to `to`, durably.
pub(crate) fn zero<D: Disk>(
    disk: &D,
    file: &mut D::File,
    name: &str,
    from: u64,
    to: u64,
) -> Result<(), Error> {
    let mut zeroed = from;
    while zeroed < to {
        zeroed = zero_slice(disk, file, name, zeroed, to)?;
    }
    file.sync_data().about(disk, name, "sync")
}

/// Makes the first segment's file of a new log, all zeros; durable once the directory is.
pub(crate) fn create_zeroed<D: Disk>(disk: &D, name: &str, bytes: u64) -> Result<D::File, Error> {
    let make = || -> io::Result<D::File> {
        let mut file = disk.create(name)?;
        file.preallocate(bytes)?;
        Ok(file)
    };
    let mut file = make().about(disk, name, "create")?;
    zero(disk, &mut file, name, 0, bytes)?;
    Ok(file)
}
