//! Two slots that keep term and vote apart from the log.
//!
//! The log's last batch before a crash is ambiguous when nothing vouches for it: if its bytes are damaged, it
//! looks like a write that was never synced, and recovery cuts it. For an entry the other members make up; a
//! vote that is forgotten may be given twice. So each change of term or vote is also written here, in turns
//! and made durable by the same [`Log::sync`](crate::Log::sync), and recovery takes what is later.
//!
//! A slot also says up to which position the log was durable when it was written. The marks within the log vouch for
//! nothing once their segment is gone, or all zeros; a slot knows then that there was more.
//!
//! * The slot that was synced last is never written to before the other one is synced: one is always whole.
//! * A change of the commit index alone is not worth a slot. Its commit index may be ahead of what this node's log has
//!   on the disk, and proves nothing of it; its mark never is.

use bytes::{Buf, BufMut};

use crate::{
    Disk, DiskFile, Error, HardState,
    disk::read_all,
    error::About,
    record::{get_hard_state, put_hard_state},
    seal::{self, Kind, Unsealed},
};

/// The files, in the order of their turns.
pub(crate) const NAMES: [&str; 2] = ["hardstate-a", "hardstate-b"];

const KIND: Kind = Kind { magic: b"quor-hst", version: 1 };

/// Which of the files a turn is written to.
fn file_of(turn: u64) -> usize {
    usize::from(turn % 2 == 1)
}

/// What a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    owner: u32,
    /// Grows with each turn: the greater one is the newer.
    turn: u64,
    hard_state: HardState,
    /// A durable mark; 0 in slots that were written before there was one in them.
    durable: u64,
}

impl Slot {
    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u32_le(self.owner);
        body.put_u64_le(self.turn);
        put_hard_state(&self.hard_state, &mut body);
        // Programs of the same version that do not know it pass over it, as over all that follows.
        body.put_u64_le(self.durable);
        seal::seal(KIND, &body)
    }

    fn from_body(mut body: &[u8]) -> Option<Self> {
        let owner = body.try_get_u32_le().ok()?;
        let turn = body.try_get_u64_le().ok()?;
        let hard_state = get_hard_state(&mut body)?;
        Some(Self { owner, turn, hard_state, durable: body.try_get_u64_le().unwrap_or(0) })
    }

    fn load(disk: &impl Disk, name: &str, owner: u32) -> Result<Option<Self>, Error> {
        let bytes = match disk.open(name) {
            Ok(file) => read_all(&file).about(disk, name, "read")?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).about(disk, name, "open"),
        };
        let slot = match seal::unseal(KIND, &bytes) {
            Unsealed::Body(body, _) => Self::from_body(body),
            Unsealed::Newer(found) => {
                return Err(Error::Newer { file: disk.path(name), found, known: KIND.version });
            }
            Unsealed::Damaged => None,
        };
        match slot {
            Some(slot) if slot.owner != owner => Err(Error::Refused {
                what: disk.path(name),
                why: "was written by another node: choose the right data folder".to_owned(),
            }),
            slot => Ok(slot),
        }
    }
}

/// What the slots of a folder say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Promised {
    /// What the newer one holds.
    pub(crate) hard_state: HardState,
    /// The greatest durable mark in them.
    pub(crate) durable: u64,
    /// The file that is unreadable, if one is. One of them may be torn by a power cut; two cannot be.
    pub(crate) damaged: Option<&'static str>,
}

/// Reads the newest slot, with what both of them say. Nothing is changed.
fn find(disk: &impl Disk, owner: u32) -> Result<(Slot, Promised), Error> {
    let [a, b] = NAMES;
    let slots = [Slot::load(disk, a, owner)?, Slot::load(disk, b, owner)?];
    let damaged = NAMES.into_iter().zip(&slots).find_map(|(name, slot)| slot.is_none().then_some(name));
    // A program that knows no mark may have written the newer one.
    let durable = slots.iter().flatten().map(|slot| slot.durable).max().unwrap_or(0);
    let newest = slots.into_iter().flatten().max_by_key(|slot| slot.turn).ok_or_else(|| Error::Corrupt {
        file: disk.path(a),
        offset: 0,
        detail: format!("neither it nor {b} has a readable term and vote"),
    })?;
    Ok((newest, Promised { hard_state: newest.hard_state, durable, damaged }))
}

/// What the slots say. Nothing is changed.
///
/// # Errors
/// [`Error::Corrupt`] when neither is readable; [`Error::Newer`], [`Error::Refused`], [`Error::Io`].
pub(crate) fn read(disk: &impl Disk, owner: u32) -> Result<Promised, Error> {
    find(disk, owner).map(|(_, promised)| promised)
}

/// The two slots, open.
pub(crate) struct Slots<D: Disk> {
    disk: D,
    files: [D::File; 2],
    owner: u32,
    /// The turn that was synced last; its parity names the slot.
    durable_turn: u64,
    /// The durable mark that was written last.
    marked: u64,
    dirty: bool,
}

impl<D: Disk> Slots<D> {
    /// Makes both slots of a new folder, durable once the directory is.
    pub(crate) fn create(disk: &D, owner: u32) -> Result<(), Error> {
        for (turn, name) in (0..).zip(NAMES) {
            let slot = Slot { owner, turn, hard_state: HardState::default(), durable: 0 };
            let mut file = disk.create(name).about(disk, name, "create")?;
            file.write_at(0, &slot.encode()).about(disk, name, "write")?;
            file.sync_data().about(disk, name, "sync")?;
        }
        Ok(())
    }

    /// Opens both, with what they say.
    ///
    /// # Errors
    /// Those of [`read`].
    pub(crate) fn open(disk: &D, owner: u32) -> Result<(Self, Promised), Error> {
        let (newest, promised) = find(disk, owner)?;
        let open = |name| match disk.open(name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => disk.create(name),
            result => result,
        };
        let [a, b] = NAMES;
        let mut files = [open(a).about(disk, a, "open")?, open(b).about(disk, b, "open")?];
        // It may have survived in the page cache alone, and its twin is the next to be overwritten.
        let which = file_of(newest.turn);
        files[which].write_at(0, &newest.encode()).about(disk, NAMES[which], "write")?;
        files[which].sync_data().about(disk, NAMES[which], "sync")?;
        let this = Self {
            disk: disk.clone(),
            files,
            owner,
            durable_turn: newest.turn,
            marked: promised.durable,
            dirty: false,
        };
        Ok((this, promised))
    }

    /// Writes `hard_state` into the slot whose turn it is, and that all of the log before `durable` is so. A second write
    /// before a sync goes to the same slot.
    pub(crate) fn write(&mut self, hard_state: HardState, durable: u64) -> Result<(), Error> {
        let turn = self.durable_turn + 1;
        let which = file_of(turn);
        let slot = Slot { owner: self.owner, turn, hard_state, durable };
        self.dirty = true;
        self.marked = durable;
        self.files[which].write_at(0, &slot.encode()).about(&self.disk, NAMES[which], "write")
    }

    /// The durable mark that was written last.
    pub(crate) fn marked(&self) -> u64 {
        self.marked
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        if self.dirty {
            let turn = self.durable_turn + 1;
            let which = file_of(turn);
            self.files[which].sync_data().about(&self.disk, NAMES[which], "sync")?;
            self.durable_turn = turn;
            self.dirty = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Slot =
        Slot { owner: 1, turn: 2, hard_state: HardState { term: 3, vote: 4, commit: 5 }, durable: 6 };

    /// The numbers from 2 on in an envelope that announces `length` bytes.
    fn sealed(length: u8, numbers: std::ops::RangeInclusive<u64>) -> Vec<u8> {
        let mut bytes = [&b"quor-hst\x01\0\0\0"[..], &[length, 0, 0, 0], &[1, 0, 0, 0]].concat();
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn body(sealed: &[u8]) -> &[u8] {
        &sealed[seal::LEAD_BYTES..sealed.len() - 4]
    }

    /// `docs/log-format.md` draws these bytes: they change only together with the format version.
    #[test]
    fn golden_bytes_of_a_slot() {
        let expected = sealed(0x2c, 2..=6);
        assert_eq!(SLOT.encode(), expected);
        assert_eq!(Slot::from_body(body(&expected)), Some(SLOT));
    }

    /// The way back to an older program, and from it: it leaves the mark out, and passes over what it does not know.
    #[test]
    fn a_slot_may_lack_the_mark_and_may_have_more_behind_it() {
        assert_eq!(Slot::from_body(body(&sealed(0x24, 2..=5))), Some(Slot { durable: 0, ..SLOT }));
        assert_eq!(Slot::from_body(body(&sealed(0x34, 2..=7))), Some(SLOT));
    }
}
