//! A disk that keeps its contract (`quorate_log::Disk`) to the letter and not a bit more.
//!
//! Each file has two images: what a process reads (*volatile*, the page cache) and what a power cut leaves
//! (*durable*), with the unsynced writes between them. A power cut keeps, of each sector, the effect of some
//! prefix of the unsynced writes to it, independently of the other sectors; and of the folder, for each name some prefix
//! of its unsynced changes. The end of a process alone loses nothing.
//!
//! Faults: a *fuse* cuts the power in the middle of a series of operations; a failing fdatasync marks pages as
//! clean that it did not write, as Linux does; a *full* disk refuses what needs new room. How a disk breaks its contract
//! stands in `damage`.

pub(crate) mod damage;
mod file;
mod folder;

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
};

use quorate_log::{Disk, DiskFile};

use self::{damage::StaleRead, file::FileImage, folder::Folder};
use crate::random::Random;

/// The unit that a disk writes as a whole.
pub(crate) const SECTOR_BYTES: u64 = 512;

/// A simulated disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk {
    state: Rc<RefCell<State>>,
    /// Whether a process holds the folder.
    locked: Rc<Cell<bool>>,
}

#[derive(Debug)]
struct State {
    name: String,
    folder: Folder,
    files: Vec<FileImage>,
    random: Random,
    capacity_bytes: u64,
    /// Whether the power is on.
    power: bool,
    /// The power is cut before this many more operations have been done.
    fuse: Option<u64>,
    /// The power is cut before the next time that names are made durable.
    cuts_at_names: bool,
    /// How many of the next fdatasyncs fail.
    failing_syncs: u32,
    /// How many fdatasyncs have succeeded.
    syncs: u64,
    stale: Option<StaleRead>,
    /// A defect for the tests of the checkers: fdatasync says yes and does nothing.
    lies: bool,
    counters: DiskCounters,
}

/// What has happened on a disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskCounters {
    /// Power cuts that lost or tore unsynced writes.
    pub(crate) lossy_cuts: u64,
    /// Fdatasyncs that failed.
    pub(crate) failed_syncs: u64,
    /// Operations refused for want of room.
    pub(crate) refused: u64,
}

impl SimDisk {
    /// An empty disk of this capacity. `name` stands in messages.
    pub(crate) fn new(name: String, capacity_bytes: u64, random: Random) -> Self {
        let state = State {
            name,
            folder: Folder::default(),
            files: Vec::new(),
            random,
            capacity_bytes,
            power: true,
            fuse: None,
            cuts_at_names: false,
            failing_syncs: 0,
            syncs: 0,
            stale: None,
            lies: false,
            counters: DiskCounters::default(),
        };
        Self { state: Rc::new(RefCell::new(state)), locked: Rc::default() }
    }

    /// Cuts the power: what is not durable is lost, in part or as a whole. The disk works again at once.
    pub(crate) fn cut_power(&self) {
        let mut state = self.state.borrow_mut();
        state.cut_power();
        state.power = true;
        state.fuse = None;
    }

    /// Cuts the power when `operations` more have been done. They fail from then on.
    pub(crate) fn light_fuse(&self, operations: u64) {
        self.state.borrow_mut().fuse = Some(operations);
    }

    /// Cuts the power when changes of names are to be made durable the next time, before they are.
    pub(crate) fn cut_power_at_names(&self) {
        self.state.borrow_mut().cuts_at_names = true;
    }

    /// Whether a fuse has cut the power.
    pub(crate) fn has_burnt_out(&self) -> bool {
        !self.state.borrow().power
    }

    /// Lets the next fdatasync fail.
    pub(crate) fn fail_next_sync(&self) {
        self.state.borrow_mut().failing_syncs = 1;
    }

    /// Sets how much fits on the disk, whatever is there already.
    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.state.borrow_mut().capacity_bytes = bytes;
    }

    /// The bytes that files take.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.state.borrow().used_bytes()
    }

    /// Ends all faults.
    pub(crate) fn heal(&self, capacity_bytes: u64) {
        let mut state = self.state.borrow_mut();
        state.failing_syncs = 0;
        state.capacity_bytes = capacity_bytes;
        state.cuts_at_names = false;
        if state.power {
            state.fuse = None;
        }
    }

    /// From now on fdatasync does nothing and says yes.
    pub(crate) fn lie(&self) {
        self.state.borrow_mut().lies = true;
    }

    pub(crate) fn counters(&self) -> DiskCounters {
        self.state.borrow().counters
    }
}

impl State {
    /// Counts one operation against the fuse.
    fn operate(&mut self) -> io::Result<()> {
        match self.fuse {
            Some(0) => self.cut_power(),
            Some(left) => self.fuse = Some(left - 1),
            None => {}
        }
        if self.power { Ok(()) } else { Err(io::Error::other("the power was cut")) }
    }

    fn cut_power(&mut self) {
        if !self.power {
            return;
        }
        self.power = false;
        self.fuse = None;
        self.cuts_at_names = false;
        let mut lossy = self.folder.cut_power(&mut self.random);
        for file in &mut self.files {
            lossy |= file.cut_power(&mut self.random);
        }
        self.counters.lossy_cuts += u64::from(lossy);
    }

    fn used_bytes(&self) -> u64 {
        self.folder.files().map(|file| self.files[file].len()).sum()
    }

    /// Whether a file may grow to `len`.
    fn make_room(&mut self, file: usize, len: u64) -> io::Result<()> {
        let growth = len.saturating_sub(self.files[file].len());
        if growth > 0 && self.used_bytes() + growth > self.capacity_bytes {
            self.counters.refused += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self, file: usize) -> io::Result<()> {
        self.operate()?;
        if self.failing_syncs > 0 {
            self.failing_syncs -= 1;
            self.counters.failed_syncs += 1;
            self.files[file].forget_unsynced();
            return Err(io::Error::other("fdatasync failed"));
        }
        if !self.lies {
            self.syncs += 1;
            self.files[file].sync(self.syncs);
        }
        Ok(())
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.state.borrow_mut();
        state.operate()?;
        Ok(state.folder.names())
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.state.borrow_mut();
        state.operate()?;
        let file = state.folder.find(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(SimFile { disk: self.clone(), file })
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.state.borrow_mut();
        state.operate()?;
        let file = if let Some(file) = state.folder.find(name) {
            state.files[file].empty();
            file
        } else {
            state.files.push(FileImage::default());
            let file = state.files.len() - 1;
            state.folder.create(name, file);
            file
        };
        Ok(SimFile { disk: self.clone(), file })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.operate()?;
        state.folder.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.operate()?;
        state.folder.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        if state.cuts_at_names && state.folder.has_unsynced() {
            state.fuse = Some(0);
        }
        state.operate()?;
        if !state.lies {
            state.folder.sync();
        }
        Ok(())
    }

    fn lock(&self, _name: &str) -> io::Result<SimLock> {
        self.state.borrow_mut().operate()?;
        if self.locked.replace(true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(SimLock { locked: self.locked.clone() })
    }

    fn available_bytes(&self) -> io::Result<u64> {
        let mut state = self.state.borrow_mut();
        state.operate()?;
        Ok(state.capacity_bytes.saturating_sub(state.used_bytes()))
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.state.borrow().name)
    }
}

/// The lock on a simulated folder.
#[derive(Debug)]
pub(crate) struct SimLock {
    locked: Rc<Cell<bool>>,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.locked.set(false);
    }
}

/// An open file of a [`SimDisk`].
#[derive(Debug)]
pub(crate) struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.disk.state.borrow_mut();
        state.operate()?;
        let count = state.files[self.file].read(offset, buffer);
        state.make_stale(self.file, offset, &mut buffer[..count]);
        Ok(count)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state.borrow_mut();
        state.operate()?;
        state.make_room(self.file, offset + bytes.len() as u64)?;
        state.files[self.file].write(offset, bytes);
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.disk.state.borrow_mut().sync(self.file)
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state.borrow_mut();
        state.operate()?;
        Ok(state.files[self.file].len())
    }

    fn preallocate(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state.borrow_mut();
        state.operate()?;
        state.make_room(self.file, len)?;
        state.files[self.file].grow(len);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
