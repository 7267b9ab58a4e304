//! A folder that becomes a node's, with a snapshot in the place of a log.
//!
//! A node that begins with somebody else's state, of a backup, has a folder as if it had made that snapshot itself and
//! released all of its log. Such a folder is made in one go, or is none:
//!
//! * It begins empty, and the mark of the unfinished is the first thing in it. [`Log::open`](crate::Log::open) refuses a
//!   folder with that mark.
//! * The last step gives the mark the identity's content and name, by one rename.
//! * Who gives up in between leaves the folder as empty as it was.

use bytes::Bytes;

use crate::{
    Disk, Error, HardState, Identity, Options, SnapshotHeader, SnapshotStore, error::About, log,
    segment::Header,
};

/// The file that marks a folder as being made, and that becomes the identity. A log does not open beside it.
pub const UNFINISHED: &str = "identity.unfinished";

/// An empty folder that is to become a node's, locked. Dropping it unfinished empties the folder.
///
/// ```
/// use quorate_log::{Founding, Log, Options, OsDisk, SnapshotHeader};
///
/// let folder = tempfile::tempdir()?;
/// let disk = OsDisk::new(folder.path())?;
/// let options = Options { cluster_id: Some(7), ..Options::new(1, "raft") };
/// let header = SnapshotHeader { index: 5, term: 2, stamp: 900, membership: "n1".into(), bytes: 0 };
/// Founding::begin(disk.clone())?.finish(&options, &header, ["the machine's state".into()])?;
///
/// let (_log, recovered) = Log::open(disk, options)?;
/// assert_eq!(recovered.snapshot.map(|header| header.index), Some(5));
/// assert_eq!((recovered.hard_state.term, recovered.hard_state.commit), (2, 5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Founding<D: Disk> {
    disk: D,
    finished: bool,
    _lock: D::Lock,
}

impl<D: Disk> Founding<D> {
    /// Takes an empty folder, and marks it as unfinished, durably.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Refused`] if it is not empty, [`Error::NoRoom`], [`Error::Io`].
    pub fn begin(disk: D) -> Result<Self, Error> {
        let lock = log::lock(&disk)?;
        let names = disk.list().about(&disk, "", "list")?;
        if let Some(name) = names.iter().find(|name| *name != log::LOCK) {
            return Err(Error::Refused {
                what: disk.path(""),
                why: format!("holds {name}, and must be empty: empty it, or choose another folder"),
            });
        }
        disk.create(UNFINISHED).about(&disk, UNFINISHED, "create")?;
        let this = Self { disk, finished: false, _lock: lock };
        this.disk.sync_directory().about(&this.disk, "", "sync")?;
        Ok(this)
    }

    /// Makes it the folder of the node and the cluster in `options`, whose log begins behind the snapshot with this
    /// header and these data; durable on return. The node has voted for nobody in the term of the snapshot.
    ///
    /// # Errors
    /// [`Error::Refused`] for a wrong setting, [`Error::NoRoom`], [`Error::Io`]. Then the folder is empty.
    pub fn finish(
        mut self,
        options: &Options,
        header: &SnapshotHeader,
        data: impl IntoIterator<Item = Bytes>,
    ) -> Result<(), Error> {
        options.check()?;
        let mut snapshot = SnapshotStore::new(self.disk.clone()).begin(header)?;
        for chunk in data {
            snapshot.write(&chunk)?;
        }
        snapshot.finish()?;
        // To incarnation 0 nothing has been promised: such a folder would be made anew.
        let identity = Identity { incarnation: 1, ..Identity::unborn(options) };
        let first = Header {
            last_index: header.index,
            hard_state: HardState { term: header.term, vote: 0, commit: header.index },
            ..Header::first(options.first_segment_bytes(), identity.fingerprint())
        };
        log::fill(&self.disk, &first)?;
        identity.store_by(&self.disk, UNFINISHED)?;
        self.finished = true;
        Ok(())
    }
}

impl<D: Disk> Drop for Founding<D> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // What cannot be removed stays unfinished, and is refused: so the mark goes last.
        let names = self.disk.list().unwrap_or_default();
        let others = names.iter().filter(|name| *name != log::LOCK && *name != UNFINISHED);
        let removed = others.map(|name| self.disk.remove(name)).collect::<Result<Vec<()>, _>>();
        if removed.and_then(|_| self.disk.sync_directory()).is_ok() {
            let _ = self.disk.remove(UNFINISHED);
        }
    }
}
