//! A disk in memory with two images of everything: what the operating system shows, and what is durable.

use std::{cell::RefCell, collections::BTreeMap, io, rc::Rc};

use quorate_log::{Disk, DiskFile};

/// A change of a file that is not durable yet.
#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Empty,
    Extend { len: usize },
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                image.resize(image.len().max(end), 0);
                image[*offset..end].copy_from_slice(bytes);
            }
            Self::Empty => image.clear(),
            Self::Extend { len } => image.resize(image.len().max(*len), 0),
        }
    }
}

#[derive(Clone, Default)]
struct Inode {
    shown: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.shown);
        self.pending.push(change);
    }
}

#[derive(Clone)]
enum Naming {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename(from, to) => {
                let inode = names.remove(from).unwrap();
                names.insert(to.clone(), inode);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

/// What is wrong with the disk.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// After so many more syncs of a file the next one fails, and the file's pages count as clean from then on, as on Linux: they are
    /// shown until the power fails, and no later sync writes them.
    Sync { after: u64 },
    /// The next write fails after half of its bytes.
    NextWrite,
}

#[derive(Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    shown: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    pending: Vec<Naming>,
    capacity: Option<u64>,
    fault: Fault,
    /// A fault has struck.
    failed: bool,
    /// So many changes of the disk still succeed, and then none.
    fuse: Option<u64>,
    syncs: u64,
    writes: u64,
}

impl State {
    fn used(&self) -> u64 {
        self.shown.values().map(|&inode| self.inodes[inode].shown.len() as u64).sum()
    }

    fn check_room(&self, inode: usize, end: u64) -> io::Result<()> {
        let growth = end.saturating_sub(self.inodes[inode].shown.len() as u64);
        match self.capacity {
            Some(capacity) if growth > 0 && self.used() + growth > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    /// Counts a change of the disk against the fuse.
    fn burn(&mut self) -> io::Result<()> {
        match &mut self.fuse {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the fuse is burnt")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn rename_now(&mut self, naming: Naming) {
        naming.apply(&mut self.shown);
        self.pending.push(naming);
    }
}

/// A handle for the disk; clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct MemoryDisk {
    state: Rc<RefCell<State>>,
    locked: Rc<RefCell<bool>>,
}

/// A source of choices for power cuts: equal seeds make equal cuts.
pub(crate) struct Choices(u64);

impl Choices {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `end` (xorshift64*).
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % end.max(1)
    }
}

impl MemoryDisk {
    /// Another disk with the same content.
    pub(crate) fn copy(&self) -> Self {
        Self { state: Rc::new(RefCell::new(self.state.borrow().clone())), locked: Rc::default() }
    }

    /// Cuts the power: of what was not synced any subset is left, each write torn anywhere.
    pub(crate) fn cut_power(&self, choices: &mut Choices) {
        self.cut_power_keeping(|change, durable| match (choices.below(4), change) {
            (0, _) => {}
            (1, Change::Write { offset, bytes }) => {
                let from = choices.below(bytes.len());
                let to = from + choices.below(bytes.len() - from + 1);
                Change::Write { offset: offset + from, bytes: bytes[from..to].to_vec() }.apply(durable);
            }
            _ => change.apply(durable),
        });
        let mut state = self.state.borrow_mut();
        let kept = choices.below(state.pending.len() + 1);
        let State { durable, pending, shown, .. } = &mut *state;
        for naming in pending.drain(..).take(kept) {
            naming.apply(durable);
        }
        *shown = durable.clone();
    }

    /// Cuts the power: of each write that was not synced its first bytes are left, `bytes` of them in all.
    pub(crate) fn cut_power_after(&self, bytes: usize) {
        let mut left = bytes;
        self.cut_power_keeping(|change, durable| match change {
            Change::Write { offset, bytes } => {
                let kept = left.min(bytes.len());
                left -= kept;
                Change::Write { offset: *offset, bytes: bytes[..kept].to_vec() }.apply(durable);
            }
            Change::Empty | Change::Extend { .. } => change.apply(durable),
        });
    }

    fn cut_power_keeping(&self, mut keep: impl FnMut(&Change, &mut Vec<u8>)) {
        for inode in &mut self.state.borrow_mut().inodes {
            for change in std::mem::take(&mut inode.pending) {
                keep(&change, &mut inode.durable);
            }
            inode.shown.clone_from(&inode.durable);
        }
    }

    pub(crate) fn set_fault(&self, fault: Fault) {
        self.state.borrow_mut().fault = fault;
    }

    /// Lets so many changes of the disk succeed, and then none: the moment before a power cut.
    pub(crate) fn set_fuse(&self, changes: Option<u64>) {
        self.state.borrow_mut().fuse = changes;
    }

    /// Takes every fault away, and says whether there was one, or has been.
    pub(crate) fn mend(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let faulty = state.capacity.take().is_some() | state.fuse.take().is_some() | state.failed;
        state.fault = Fault::None;
        state.failed = false;
        faulty
    }

    pub(crate) fn has_fuse(&self) -> bool {
        self.state.borrow().fuse.is_some()
    }

    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.state.borrow_mut().capacity = bytes;
    }

    pub(crate) fn used(&self) -> u64 {
        self.state.borrow().used()
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.state.borrow().syncs
    }

    pub(crate) fn writes(&self) -> u64 {
        self.state.borrow().writes
    }

    /// Changes a file behind the log's back, durably.
    pub(crate) fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.borrow_mut();
        let inode = state.shown[name];
        let inode = &mut state.inodes[inode];
        change(&mut inode.shown);
        inode.durable.clone_from(&inode.shown);
        inode.pending.clear();
    }

    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let state = self.state.borrow();
        state.inodes[state.shown[name]].shown.clone()
    }
}

pub(crate) struct MemoryFile {
    state: Rc<RefCell<State>>,
    inode: usize,
}

pub(crate) struct MemoryLock(Rc<RefCell<bool>>);

impl Drop for MemoryLock {
    fn drop(&mut self) {
        *self.0.borrow_mut() = false;
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;
    type Lock = MemoryLock;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.borrow().shown.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let inode = *self.state.borrow().shown.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(MemoryFile { state: self.state.clone(), inode })
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        self.state.borrow_mut().burn()?;
        if let Ok(file) = self.open(name) {
            self.state.borrow_mut().inodes[file.inode].change(Change::Empty);
            return Ok(file);
        }
        let mut state = self.state.borrow_mut();
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.rename_now(Naming::Create(name.to_owned(), inode));
        drop(state);
        self.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.open(from)?;
        self.state.borrow_mut().burn()?;
        self.state.borrow_mut().rename_now(Naming::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.open(name)?;
        self.state.borrow_mut().burn()?;
        self.state.borrow_mut().rename_now(Naming::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.burn()?;
        state.pending.clear();
        state.durable = state.shown.clone();
        Ok(())
    }

    fn lock(&self, _name: &str) -> io::Result<MemoryLock> {
        if self.locked.replace(true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(MemoryLock(self.locked.clone()))
    }

    fn available_bytes(&self) -> io::Result<u64> {
        let state = self.state.borrow();
        Ok(state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }

    fn path(&self, name: &str) -> String {
        format!("data/{name}").trim_end_matches('/').to_owned()
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.state.borrow();
        let bytes = state.inodes[self.inode].shown.get(offset as usize..).unwrap_or_default();
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.writes += 1;
        state.burn()?;
        state.check_room(self.inode, offset + bytes.len() as u64)?;
        let failed = state.fault == Fault::NextWrite;
        let bytes = if failed { &bytes[..bytes.len() / 2] } else { bytes };
        let change = Change::Write { offset: offset as usize, bytes: bytes.to_vec() };
        state.inodes[self.inode].change(change);
        if failed {
            state.fault = Fault::None;
            state.failed = true;
            return Err(io::ErrorKind::Other.into());
        }
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.syncs += 1;
        state.burn()?;
        let failed = state.fault == Fault::Sync { after: 0 };
        if let Fault::Sync { after } = &mut state.fault {
            *after = after.saturating_sub(1);
        }
        let inode = &mut state.inodes[self.inode];
        let pending = std::mem::take(&mut inode.pending);
        if failed {
            state.fault = Fault::None;
            state.failed = true;
            return Err(io::ErrorKind::Other.into());
        }
        for change in pending {
            change.apply(&mut inode.durable);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state.borrow().inodes[self.inode].shown.len() as u64)
    }

    fn preallocate(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.burn()?;
        state.check_room(self.inode, len)?;
        state.inodes[self.inode].change(Change::Extend { len: len as usize });
        Ok(())
    }
}
