//! The folder: which name leads to which file.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use crate::random::Random;

/// Names as a process sees them, and as a power cut would leave them.
#[derive(Debug, Default)]
pub(super) struct Folder {
    volatile: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// Changes that are not in `durable`, oldest first.
    unsynced: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl Folder {
    pub(super) fn names(&self) -> Vec<String> {
        self.volatile.keys().cloned().collect()
    }

    pub(super) fn files(&self) -> impl Iterator<Item = usize> + '_ {
        self.volatile.values().copied()
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.volatile.get(name).copied()
    }

    pub(super) fn create(&mut self, name: &str, file: usize) {
        self.change(Change::Create(name.to_owned(), file));
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.find(from).ok_or(io::ErrorKind::NotFound)?;
        self.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.find(name).ok_or(io::ErrorKind::NotFound)?;
        self.change(Change::Remove(name.to_owned()));
        Ok(())
    }

    /// Forgets a name behind everybody's back.
    pub(super) fn lose(&mut self, name: &str) {
        self.durable.remove(name);
        self.volatile.remove(name);
    }

    pub(super) fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
        self.durable.clone_from(&self.volatile);
    }

    /// Leaves some of the unsynced changes: of all together a prefix, as a journal does, or each by itself, as long as it
    /// follows no lost one of the same name. Whether any was lost.
    pub(super) fn cut_power(&mut self, random: &mut Random) -> bool {
        let changes = std::mem::take(&mut self.unsynced);
        let (is_ordered, kept) = (random.chance(500), random.index(changes.len() + 1));
        let mut lost = BTreeSet::new();
        for (at, change) in changes.iter().enumerate() {
            let is_kept = if is_ordered { at < kept } else { random.chance(500) };
            if is_kept && !change.names().any(|name| lost.contains(name)) {
                change.apply(&mut self.durable);
            } else {
                lost.extend(change.names());
            }
        }
        self.volatile.clone_from(&self.durable);
        !lost.is_empty()
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.volatile);
        self.unsynced.push(change);
    }
}

impl Change {
    /// The names that lead elsewhere by it.
    fn names(&self) -> impl Iterator<Item = &str> {
        let (one, other) = match self {
            Self::Create(name, _) | Self::Remove(name) => (name, None),
            Self::Rename(from, to) => (from, Some(to)),
        };
        std::iter::once(one).chain(other).map(String::as_str)
    }

    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, file) => {
                names.insert(name.clone(), *file);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}
