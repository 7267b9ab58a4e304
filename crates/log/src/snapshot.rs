//! Snapshots: files of their own, complete or invisible.
//!
//! A snapshot is written aside under another name, in blocks that each carry a checksum, closed by a foot,
//! synced, and only then renamed: a file with the right name is complete. Every byte that is read from it is
//! verified before it is handed out.
//!
//! A newer snapshot that is damaged is passed over only while the log still holds every entry that an older one
//! lacks. Otherwise the damage is an error: falling back would forget what the node has acknowledged.

pub(crate) mod encoder;
pub(crate) mod format;
mod reader;
mod writer;

pub use reader::SnapshotReader;
pub use writer::{SealedSnapshot, SnapshotWriter};

use bytes::Bytes;

use crate::{Disk, Error, error::About};

const FOLDER: &str = "snapshots/";
const COMPLETE: &str = ".snapshot";
const PARTIAL: &str = ".partial";
const DAMAGED: &str = ".damaged";

/// What a snapshot stands for: the machine's state after applying all entries up to and including `index`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The last entry that it includes.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// That entry's stamp in milliseconds.
    pub stamp: u64,
    /// The configuration in force at `index`; opaque.
    pub membership: Bytes,
    /// The size of the machine's data in bytes, without what the file adds.
    pub bytes: u64,
}

/// The snapshots of a folder. A cheap handle: clones may be used on other threads, but only one of them writes
/// or removes at a time.
#[derive(Clone, Debug)]
pub struct SnapshotStore<D> {
    disk: D,
}

/// Snapshots that failed their checksums, by their indexes.
pub(crate) type Damaged = Vec<(u64, Error)>;

/// The file of the complete snapshot of entry `index`.
pub(crate) fn file_name(index: u64) -> String {
    name(index, COMPLETE)
}

fn name(index: u64, suffix: &str) -> String {
    format!("{FOLDER}{index:020}{suffix}")
}

/// The index of a snapshot file in this state.
fn parse_name(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_prefix(FOLDER)?.strip_suffix(suffix)?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

impl<D: Disk> SnapshotStore<D> {
    pub(crate) fn new(disk: D) -> Self {
        Self { disk }
    }

    /// Begins a new snapshot. [`SnapshotHeader::bytes`] is not looked at: the writer counts. An unfinished one
    /// of the same index is overwritten.
    ///
    /// # Errors
    /// [`Error::NoRoom`], [`Error::Io`].
    pub fn begin(&self, header: &SnapshotHeader) -> Result<SnapshotWriter<D>, Error> {
        SnapshotWriter::begin(self.disk.clone(), header.clone())
    }

    /// The newest complete snapshot.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Newer`], [`Error::Io`].
    pub fn newest(&self) -> Result<Option<SnapshotHeader>, Error> {
        // It may be removed in between, for a newer one, or set aside: then the second look finds what is newest.
        for _ in 0..2 {
            let Some(index) = self.newest_index()? else { return Ok(None) };
            match self.open(index) {
                Err(Error::Gone { .. }) => {}
                result => return result.map(|reader| Some(reader.header().clone())),
            }
        }
        Ok(None)
    }

    /// The index of the newest complete snapshot, whatever state it is in.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn newest_index(&self) -> Result<Option<u64>, Error> {
        Ok(self.indexes()?.into_iter().next_back())
    }

    /// Gives snapshot `index`, in which damage was found, another name, under which it is kept until there is a newer
    /// one. Durable on return; answers the new name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_aside(&self, index: u64) -> Result<String, Error> {
        let (from, to) = (name(index, COMPLETE), name(index, DAMAGED));
        self.disk.rename(&from, &to).about(&self.disk, &from, "rename")?;
        self.disk.sync_directory().about(&self.disk, FOLDER, "sync")?;
        Ok(self.disk.path(&to))
    }

    /// Up to `len` bytes of the data of snapshot `index` from `offset` on; fewer only at its end. Verified.
    ///
    /// # Errors
    /// [`Error::Gone`] if it has been removed; [`Error::Corrupt`], [`Error::Newer`], [`Error::Io`].
    pub fn read(&self, index: u64, offset: u64, len: usize) -> Result<Bytes, Error> {
        self.open(index)?.read(offset, len)
    }

    /// All data of snapshot `index`, block by block. Verified; ends after the first error. The file may be
    /// removed meanwhile.
    ///
    /// # Errors
    /// [`Error::Gone`] if it has been removed; [`Error::Corrupt`], [`Error::Newer`], [`Error::Io`].
    pub fn reader(&self, index: u64) -> Result<SnapshotReader<D>, Error> {
        self.open(index)
    }

    /// Removes all snapshots before `index` but the newest one, which always stays.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_older_than(&self, index: u64) -> Result<(), Error> {
        let names = self.disk.list().about(&self.disk, FOLDER, "list")?;
        let newest = names.iter().filter_map(|name| parse_name(name, COMPLETE)).next_back();
        let kept_from = newest.map_or(index, |newest| newest.min(index));
        for name in &names {
            let found = parse_name(name, COMPLETE).or_else(|| parse_name(name, DAMAGED));
            if found.is_some_and(|found| found < kept_from) {
                self.disk.remove(name).about(&self.disk, name, "remove")?;
            }
        }
        self.disk.sync_directory().about(&self.disk, FOLDER, "sync")
    }

    pub(crate) fn open(&self, index: u64) -> Result<SnapshotReader<D>, Error> {
        SnapshotReader::open(self.disk.clone(), index, name(index, COMPLETE))
    }

    /// The indexes of all complete snapshots, ascending.
    fn indexes(&self) -> Result<Vec<u64>, Error> {
        let names = self.disk.list().about(&self.disk, FOLDER, "list")?;
        Ok(names.iter().filter_map(|name| parse_name(name, COMPLETE)).collect())
    }

    /// The newest snapshot that is intact, all of it verified, and the damaged ones that are newer, newest first.
    ///
    /// # Errors
    /// [`Error::Newer`], [`Error::Io`].
    pub(crate) fn newest_intact(&self) -> Result<(Option<SnapshotHeader>, Damaged), Error> {
        let mut damage = Damaged::new();
        for index in self.indexes()?.into_iter().rev() {
            match self.open(index).and_then(SnapshotReader::verify) {
                Ok(header) => return Ok((Some(header), damage)),
                Err(error @ Error::Corrupt { .. }) => damage.push((index, error)),
                Err(error) => return Err(error),
            }
        }
        Ok((None, damage))
    }

    /// Finds the newest intact snapshot, for a log that begins at `first_index`. Damaged ones that the log can do
    /// without are set aside, which `repaired` tells; unfinished ones are removed.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the log needs a snapshot that is damaged or missing; [`Error::Newer`],
    /// [`Error::Io`].
    pub(crate) fn recover(
        &self,
        first_index: u64,
        names: &[String],
        repaired: &mut Vec<String>,
    ) -> Result<Option<SnapshotHeader>, Error> {
        for name in names.iter().filter(|name| name.starts_with(FOLDER) && name.ends_with(PARTIAL)) {
            self.disk.remove(name).about(&self.disk, name, "remove")?;
        }
        let (intact, damage) = self.newest_intact()?;
        let included = intact.as_ref().map_or(0, |header| header.index);
        if first_index > included + 1 {
            let missing = Error::Corrupt {
                file: self.disk.path(&name(first_index - 1, COMPLETE)),
                offset: 0,
                detail: format!(
                    "the log begins with entry {first_index}, and no snapshot includes those before it"
                ),
            };
            return Err(damage.into_iter().next().map_or(missing, |(_, error)| error));
        }
        for (index, error) in damage {
            let aside = self.set_aside(index)?;
            repaired.push(format!(
                "set aside as {aside}, since the log holds what it included: {}",
                error.finding()
            ));
        }
        Ok(intact)
    }
}
