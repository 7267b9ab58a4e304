//! Successes that the machine has not been told of yet.
//!
//! A window of calls must count each success, but a success seldom decides anything, and the order of successes
//! among themselves never does. So they are only counted, in one atomic word beside the lock, and whoever takes the
//! lock next enters them first: the machine sees what it would have seen, in the same order, a little later.
//!
//! The word holds the epoch beside the count. A success is added by one comparison and exchange, so it counts in its
//! own epoch or not at all. While a step of the machine runs the count is closed, and successes wait for the lock.
//!
//! It has room for so many; the one that finds none tells the machine of all.

use std::sync::atomic::Ordering;

use crate::sync::AtomicU64;

/// At most so many wait, so that entering them never holds the lock for long.
const UNTOLD_MAX: u64 = 1024;

/// The word, from below: how much room is left, how much there was, the epoch, and whether it is open. Closed it
/// is 0. Its operations are relaxed: all that they are about lies in it, and the machine's data behind their lock.
pub(super) struct Untold(AtomicU64);

const ROOM_BITS: u32 = 16;
const ROOM: u64 = (1 << ROOM_BITS) - 1;
const EPOCH_SHIFT: u32 = 2 * ROOM_BITS;
const OPEN: u64 = 1 << (u64::BITS - 1);

const _: () = assert!(UNTOLD_MAX <= ROOM);

impl Untold {
    pub(super) fn closed() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds a success of a call of this epoch. `false` if it has to be told under the lock.
    #[inline]
    pub(super) fn add(&self, epoch: u64) -> bool {
        let mut seen = self.0.load(Ordering::Relaxed);
        while seen >> EPOCH_SHIFT == opened_for(epoch) >> EPOCH_SHIFT && seen & ROOM > 0 {
            match self.0.compare_exchange_weak(seen, seen - 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(changed) => seen = changed,
            }
        }
        false
    }

    /// Closes the count, and takes out what it has come to. Under the lock only.
    #[inline]
    pub(super) fn close(&self) -> u64 {
        if self.0.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let word = self.0.swap(0, Ordering::Relaxed);
        (word >> ROOM_BITS & ROOM) - (word & ROOM)
    }

    /// Lets so many successes of this epoch be added. Under the lock only.
    #[inline]
    pub(super) fn open(&self, epoch: u64, room: u64) {
        let room = room.min(UNTOLD_MAX);
        self.0.store(opened_for(epoch) | room << ROOM_BITS | room, Ordering::Relaxed);
    }
}

/// The epoch's upper bits do not matter: no call lasts for two thousand million changes of state.
fn opened_for(epoch: u64) -> u64 {
    OPEN | epoch << EPOCH_SHIFT
}
