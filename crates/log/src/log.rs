//! The log itself: opened once, then written by one thread.

use std::collections::VecDeque;

use quorate_bug::{self as bug, Bug};

use crate::{
    Disk, DiskFile, Error, HardState, Identity, LogEntry, Options, Room, SnapshotHeader, SnapshotStore,
    Write,
    contents::Contents,
    error::About,
    founding, identity,
    record::Record,
    recovery::{self, Recovery},
    repair,
    reserve::{self, Reserve},
    segment::{self, Header},
    slots::{self, Slots},
    tail::Tail,
};

pub(crate) const LOCK: &str = "lock";

/// What [`Log::open`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Whose folder it is, with the incarnation that has just begun.
    pub identity: Identity,
    /// The last hard state. Its commit index is within what the log and the snapshot hold.
    pub hard_state: HardState,
    /// The newest complete snapshot; all of it has been verified.
    pub snapshot: Option<SnapshotHeader>,
    /// All entries after the snapshot, contiguous.
    pub entries: Vec<LogEntry>,
    /// What was cut, since it had been written and never synced: in words, with file and offset, to be logged.
    pub cut: Option<String>,
    /// What was damaged and could be made good, in words, to be logged. Nothing was lost by it, but where the words say
    /// that this is not certain.
    pub repaired: Vec<String>,
    /// Set while the folder lacks what it once held, since that was damaged: why, in words. The node must neither vote
    /// nor serve what it has before it got all of that back from others, and says so by [`Log::end_repair`].
    pub under_repair: Option<String>,
}

/// The durable log of a node, owned by its one writer.
///
/// Writing is in two steps: any number of [`write`](Self::write)s, then one [`sync`](Self::sync) that makes them
/// all durable. After an error of either the log is dead, and answers nothing but [`Error::Dead`].
///
/// ```
/// use quorate_log::{HardState, Log, LogEntry, Options, OsDisk, Write};
///
/// let folder = tempfile::tempdir()?;
/// let disk = OsDisk::new(folder.path())?;
/// let (mut log, _) = Log::open(disk.clone(), Options::new(1, "raft"))?;
/// let entry = LogEntry { index: 1, term: 1, stamp: 0, kind: 1, payload: "hello".into() };
/// log.write(&Write {
///     hard_state: Some(HardState { term: 1, vote: 1, commit: 0 }),
///     truncate_from: None,
///     entries: vec![entry.clone()],
/// })?;
/// log.sync()?; // Only now may anybody be told.
/// drop(log);
///
/// let (_log, recovered) = Log::open(disk, Options::new(1, "raft"))?;
/// assert_eq!(recovered.entries, [entry]);
/// assert_eq!(recovered.hard_state.vote, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Log<D: Disk> {
    disk: D,
    options: Options,
    identity: Identity,
    contents: Contents,
    tail: Tail<D::File>,
    /// Segments that are full and not yet synced, with their names, oldest first.
    unsynced: VecDeque<(String, D::File)>,
    slots: Slots<D>,
    reserve: Reserve<D>,
    /// All before this position is durable.
    durable: u64,
    /// The greatest durable mark that has been written since the log was opened.
    marked: Option<u64>,
    /// The end of the log if the last record is a mark of all before it, or some earlier position.
    vouched: u64,
    dead: Option<Error>,
    _lock: D::Lock,
}

impl<D: Disk> Log<D> {
    /// Opens the folder for its node, or makes it that node's if it is empty, and recovers what it holds.
    ///
    /// The folder is locked until the log is dropped. All segments and the newest snapshot are read once. On return everything in [`Recovered`] is durable, and so is
    /// the incarnation, which has grown by one.
    ///
    /// # Errors
    /// * [`Error::Locked`]: another process uses the folder.
    /// * [`Error::Refused`]: it belongs to another node, cluster or engine, has lost its identity, or is empty
    ///   although it must not be.
    /// * [`Error::Newer`]: a newer program has written it.
    /// * [`Error::Corrupt`]: bytes that were durable have changed.
    /// * [`Error::Io`], [`Error::NoRoom`]: the disk does not work at the moment, or is full. Nothing is lost.
    pub fn open(disk: D, options: Options) -> Result<(Self, Recovered), Error> {
        options.check()?;
        let needed_bytes = options.segment_bytes.saturating_add(options.reserve_bytes);
        Self::try_open(disk, options).map_err(|error| error.of_opening(needed_bytes))
    }

    fn try_open(disk: D, options: Options) -> Result<(Self, Recovered), Error> {
        let lock = lock(&disk)?;
        let mut identity = admit_or_create(&disk, &options)?;
        let owner = identity.fingerprint();
        let names = disk.list().about(&disk, "", "list")?;
        repair::check_complete(&disk, &names)?;
        let (slots, promised) = Slots::open(&disk, owner)?;
        let Recovery { contents, mut entries, tail, mark, ends_in_mark, cut, unused } =
            recovery::recover(&disk, &names, owner, promised.durable)?;
        let reserve = Reserve::open(&disk, options.segment_bytes, &names, &unused)?;
        let mut repaired = Vec::new();
        repaired.extend(promised.damaged.map(|name| written_anew(&disk.path(name), cut.is_some())));
        let snapshot =
            SnapshotStore::new(disk.clone()).recover(contents.first_index(), &names, &mut repaired)?;

        let promised = promised.hard_state;
        let under_repair = repair::reason(&disk, &names)?;
        let hard_state = HardState {
            // The slots' is of a time when the log was whole.
            commit: match under_repair {
                Some(_) => contents.hard_state().commit,
                None => contents.hard_state().commit.max(promised.commit),
            },
            ..later_of(contents.hard_state(), promised, &disk)?
        };
        // Before the first record is written: no two runs write under the same incarnation.
        identity.incarnation += 1;
        identity.store(&disk)?;
        let durable = tail.position();
        let unsynced = VecDeque::new();
        let mut log = Self {
            disk,
            options,
            identity,
            contents,
            tail,
            unsynced,
            slots,
            reserve,
            durable,
            marked: None,
            vouched: if ends_in_mark { durable } else { mark },
            dead: None,
            _lock: lock,
        };
        log.adopt(hard_state, snapshot.as_ref())?;
        let after = snapshot.as_ref().map_or(0, |header| header.index);
        entries.retain(|entry| entry.index > after && entry.index <= log.contents.last_index());
        let recovered = Recovered {
            identity: log.identity.clone(),
            hard_state: log.contents.hard_state(),
            snapshot,
            entries,
            cut,
            repaired,
            under_repair,
        };
        Ok((log, recovered))
    }

    /// Puts what was found beside the segments into the log, and marks all of it durable.
    fn adopt(&mut self, hard_state: HardState, snapshot: Option<&SnapshotHeader>) -> Result<(), Error> {
        if let Some(header) = snapshot {
            // A snapshot that was installed just before a crash, or made of entries that this log had not synced.
            self.replace_by_snapshot(header)?;
        }
        // A batch may be cut between its hard state and its entries.
        let committed = hard_state.commit.min(self.contents.last_index());
        let commit = committed.max(snapshot.map_or(0, |header| header.index));
        let hard_state = HardState { commit, ..hard_state };
        self.slots.write(hard_state, self.durable)?;
        if hard_state != self.contents.hard_state() {
            self.write(&Write { hard_state: Some(hard_state), ..Write::default() })?;
        }
        self.mark()
    }

    /// Writes a batch: visible after a crash of the process, not durable before [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`Error::TooLarge`]: nothing was written, and the log goes on. [`Error::Dead`]: final.
    ///
    /// # Panics
    /// If the entries do not follow what the log holds, or the hard state takes a promise back: our own bug.
    pub fn write(&mut self, write: &Write) -> Result<(), Error> {
        self.check_alive()?;
        let max = self.options.entry_bytes_max();
        if let Some(entry) = write.entries.iter().find(|entry| entry.payload.len() as u64 > max) {
            return Err(Error::TooLarge { index: entry.index, bytes: entry.payload.len() as u64, max });
        }
        let result = self.try_write(write);
        self.finish(result)
    }

    fn try_write(&mut self, write: &Write) -> Result<(), Error> {
        if let Some(hard_state) = write.hard_state {
            if !hard_state.promises_as(&self.contents.hard_state()) {
                self.slots.write(hard_state, self.durable)?;
            }
            self.append(&Record::HardState(hard_state))?;
        }
        if let Some(from) = write.truncate_from {
            self.append(&Record::Truncate { from })?;
        }
        for entry in &write.entries {
            self.append(&Record::Entry(entry.clone()))?;
        }
        self.tail.flush(&self.disk)?;
        // If the segment is lost as a whole from now on, its marks with it, a slot knows that there was one.
        let begin = self.tail.segment_begin();
        if self.slots.marked() <= begin && begin < self.durable {
            self.slots.write(self.contents.hard_state(), self.durable)?;
        }
        // A caller that never has time for `maintain` must not find the next segment missing.
        if self.tail.is_half_full() {
            self.reserve.step(self.contents.newest_number() + 1)?;
        }
        Ok(())
    }

    /// Adds a record to the batch, after the batch's durable mark.
    fn append(&mut self, record: &Record) -> Result<(), Error> {
        if self.marked != Some(self.durable) {
            self.append_mark()?;
        }
        self.append_marked(record)
    }

    fn append_mark(&mut self) -> Result<(), Error> {
        let (durable, incarnation) = (self.durable, self.identity.incarnation);
        self.append_marked(&Record::Mark { durable, incarnation })?;
        self.marked = Some(durable);
        Ok(())
    }

    fn append_marked(&mut self, record: &Record) -> Result<(), Error> {
        if !self.tail.fits(record.encoded_bytes()) {
            self.begin_segment()?;
        }
        self.tail.append(record);
        self.contents
            .apply(record)
            .unwrap_or_else(|contradiction| panic!("written out of order: {contradiction}"));
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), Error> {
        self.tail.flush(&self.disk)?;
        let number = self.contents.newest_number() + 1;
        let file = self.reserve.take(number)?;
        let header = Header {
            number,
            bytes: self.options.segment_bytes,
            first_position: self.tail.position(),
            durable: self.durable,
            last_index: self.contents.last_index(),
            hard_state: self.contents.hard_state(),
            owner: self.identity.fingerprint(),
            chain: self.tail.chain(),
        };
        self.unsynced.extend(self.tail.move_to(file, &header));
        self.contents.begin_segment(&header);
        Ok(())
    }

    /// Makes all writes so far durable: one fdatasync, or one per segment if the writes began a new one, and
    /// one for a changed term or vote.
    ///
    /// # Errors
    /// [`Error::Dead`]: final. What the disk holds is unknown, and nothing may be promised on it.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.check_alive()?;
        let result = self.try_sync();
        self.finish(result)
    }

    fn try_sync(&mut self) -> Result<(), Error> {
        while let Some((name, mut file)) = self.unsynced.pop_front() {
            file.sync_data().about(&self.disk, &name, "sync")?;
        }
        self.tail.sync(&self.disk)?;
        self.slots.sync()?;
        self.durable = self.tail.position();
        Ok(())
    }

    /// Says on the disk, in the log and in a slot, that all so far is durable, so that damage to it is told from an
    /// unsynced write; syncs before and after. Worth it when the log has been idle for a while, and when it is closed.
    /// Does nothing if it is said already.
    ///
    /// # Errors
    /// [`Error::Dead`]: final.
    pub fn mark(&mut self) -> Result<(), Error> {
        self.sync()?;
        if self.vouched == self.durable {
            return Ok(());
        }
        let result = self
            .append_mark()
            .and_then(|()| self.tail.flush(&self.disk))
            .and_then(|()| self.slots.write(self.contents.hard_state(), self.durable));
        self.finish(result)?;
        self.sync()?;
        self.vouched = self.durable;
        Ok(())
    }

    /// Does a bounded piece of housekeeping: the next segment is made ready slice by slice, twice as fast as the present
    /// one fills. Best called after the completions of a sync have been reported. Says whether there is nothing left to
    /// do at the moment.
    ///
    /// # Errors
    /// [`Error::Dead`]: final. A full disk is no error: see [`room`](Self::room).
    pub fn maintain(&mut self) -> Result<bool, Error> {
        self.check_alive()?;
        let wanted = self.tail.taken_of(self.options.segment_bytes).saturating_mul(2);
        let result = self.reserve.step_up_to(self.contents.newest_number() + 1, wanted);
        let done = self.finish(result)?;
        Ok(done || self.reserve.was_refused())
    }

    /// Does a piece of what [`maintain`](Self::maintain) would do later, some milliseconds of the disk's time. Best called
    /// now and then while the log is idle, so that a burst of writes finds the next segment ready.
    ///
    /// # Errors
    /// Those of [`maintain`](Self::maintain).
    pub fn prepare(&mut self) -> Result<(), Error> {
        self.check_alive()?;
        let result = self.reserve.step(self.contents.newest_number() + 1);
        self.finish(result).map(drop)
    }

    /// How much may be written. Ask often: a full disk is noticed here, while nothing is lost yet, and room that is
    /// back is noticed, too.
    pub fn room(&mut self) -> Room {
        if self.dead.is_some() || (self.reserve.was_refused() && self.maintain().is_err()) {
            return Room::Gone;
        }
        self.reserve.room(self.options.reserve_bytes)
    }

    /// Writes down that the node belongs to cluster `id`; durable on return.
    ///
    /// # Errors
    /// [`Error::Refused`] if it belongs to another one; [`Error::Dead`]: final.
    pub fn set_cluster_id(&mut self, id: u128) -> Result<(), Error> {
        self.check_alive()?;
        match self.identity.cluster_id {
            Some(present) if present == id => return Ok(()),
            Some(present) => {
                return Err(Error::Refused {
                    what: self.disk.path(identity::NAME),
                    why: format!("belongs to cluster {present:032x} and cannot join cluster {id:032x}"),
                });
            }
            None => {}
        }
        self.identity.cluster_id = Some(id);
        let result = self.identity.store(&self.disk);
        self.finish(result)
    }

    /// Puts a snapshot in the place of the log, which goes on at its index + 1; durable on return. The snapshot
    /// must be complete. If the log holds the very entry that the snapshot ends with, the entries after it
    /// stay; and if the log begins after it already, nothing changes.
    ///
    /// # Errors
    /// [`Error::Gone`] if there is no such snapshot; [`Error::Dead`]: final.
    pub fn replace_by_snapshot(&mut self, header: &SnapshotHeader) -> Result<(), Error> {
        self.check_alive()?;
        let SnapshotHeader { index, term, .. } = *header;
        if index < self.contents.first_index() || self.contents.term_of(index) == Some(term) {
            return self.sync();
        }
        self.snapshots().open(index)?;
        let reset = Record::Reset { index, term };
        let result = self.append(&reset).and_then(|()| self.tail.flush(&self.disk));
        self.finish(result)?;
        self.sync()
    }

    /// Lets go of entries before `first_kept`, a whole segment at a time. Entries that no complete snapshot
    /// includes stay, whatever is asked; so does the hard state.
    ///
    /// # Errors
    /// [`Error::Dead`]: final. [`Error::Corrupt`], [`Error::Io`] when the newest snapshot cannot be read: then
    /// nothing was released.
    pub fn release(&mut self, first_kept: u64) -> Result<(), Error> {
        self.sync()?;
        let included = self.snapshots().newest()?.map_or(0, |header| header.index);
        let first_kept = first_kept.min(included + 1);
        while let Some(released) = self.contents.release_oldest(first_kept) {
            let result = self.reserve.recycle(&released);
            self.finish(result)?;
        }
        Ok(())
    }

    /// The folder has got back all that it lacked: from the next open on it is as good as any. Durable on return.
    ///
    /// # Errors
    /// [`Error::Dead`]: final.
    pub fn end_repair(&mut self) -> Result<(), Error> {
        self.sync()?;
        let result = repair::end(&self.disk);
        self.finish(result)
    }

    /// A handle for the folder's snapshots, which may be used on another thread.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotStore<D> {
        SnapshotStore::new(self.disk.clone())
    }

    /// Whose log it is, as of now.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The first entry that the log still holds, or the next one if it holds none.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.contents.first_index()
    }

    /// The last entry that was written; one less than [`first_index`](Self::first_index) if there is none.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.contents.last_index()
    }

    fn check_alive(&self) -> Result<(), Error> {
        self.dead.clone().map_or(Ok(()), Err)
    }

    /// Remembers a failure for good.
    fn finish<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| {
            let dead = error.into_dead();
            self.dead = Some(dead.clone());
            dead
        })
    }
}

/// What is known of a slot that was unreadable. In one that a power cut has torn there never was a promise that anybody
/// heard of; one that has rotted may have held one, which the log then holds, too, unless its end is missing as well.
fn written_anew(slot: &str, is_log_cut: bool) -> String {
    let certain = match is_log_cut {
        false => "the log has what was promised there",
        true => {
            "if a power cut has torn it and the end of the log, which was cut, nothing that was promised is lost; if \
             both have rotted, a vote may be, and this node may vote twice in one term: after anything but a power cut \
             replace it"
        }
    };
    format!("{slot} was unreadable: written anew; {certain}")
}

/// Keeps others from using the folder.
pub(crate) fn lock<D: Disk>(disk: &D) -> Result<D::Lock, Error> {
    match disk.lock(LOCK) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err(Error::Locked { folder: disk.path("") })
        }
        result => result.about(disk, LOCK, "lock"),
    }
}

/// The identity of the folder, which is made if it is empty and `options` allow it.
fn admit_or_create<D: Disk>(disk: &D, options: &Options) -> Result<Identity, Error> {
    let names = disk.list().about(disk, "", "list")?;
    check_finished(disk, &names)?;
    let identity = if names.iter().any(|name| name == identity::NAME) {
        let identity = Identity::load(disk)?;
        identity.admit(options, disk)?;
        identity
    } else {
        check_empty(disk, options, &names)?;
        let identity = Identity::unborn(options);
        identity.store(disk)?;
        identity
    };
    if identity.incarnation == 0 {
        fill_new_folder(disk, options, &names, identity.fingerprint())?;
    }
    Ok(identity)
}

/// Refuses a folder that somebody has begun to restore.
pub(crate) fn check_finished(disk: &impl Disk, names: &[String]) -> Result<(), Error> {
    if !names.iter().any(|name| name == founding::UNFINISHED) {
        return Ok(());
    }
    Err(Error::Refused {
        what: disk.path(""),
        why: format!(
            "is unfinished, as {} says: restoring or recovering it was interrupted; begin again with an empty folder, \
             or with what was set aside",
            founding::UNFINISHED
        ),
    })
}

fn is_data(name: &str) -> bool {
    segment::parse_name(name).is_some() || slots::NAMES.contains(&name) || name.starts_with("snapshots/")
}

/// Refuses to take a folder without identity for a new node's, unless it is empty and may be.
fn check_empty(disk: &impl Disk, options: &Options, names: &[String]) -> Result<(), Error> {
    let refuse = |why: String| Err(Error::Refused { what: disk.path(""), why });
    if let Some(name) = names.iter().find(|name| is_data(name)) {
        return refuse(format!(
            "holds {name} but no identity file: restore the folder as a whole, or let a new node with a new id \
             start in an empty one"
        ));
    }
    if !options.create {
        return refuse(format!(
            "is empty, and node {} is not to begin anew: choose the right data folder, or let a new node with a \
             new id join",
            options.node_id
        ));
    }
    Ok(())
}

/// Makes the files of a new log. Whatever an interrupted attempt has left is overwritten.
fn fill_new_folder<D: Disk>(disk: &D, options: &Options, names: &[String], owner: u32) -> Result<(), Error> {
    for name in names.iter().filter(|name| segment::parse_name(name).is_some()) {
        disk.remove(name).about(disk, name, "remove")?;
    }
    fill(disk, &Header::first(options.first_segment_bytes(), owner))
}

/// Makes the files of a log without records, whose first segment has this header.
pub(crate) fn fill<D: Disk>(disk: &D, first: &Header) -> Result<(), Error> {
    Slots::create(disk, first.owner)?;
    let name = segment::name(first.number);
    let mut file = reserve::create_zeroed(disk, &name, first.bytes)?;
    file.write_at(0, &first.encode()).about(disk, &name, "write")?;
    file.sync_data().about(disk, &name, "sync")?;
    disk.sync_directory().about(disk, "", "sync")
}

/// The later of what the log says and what the slots say.
fn later_of(log: HardState, slot: HardState, disk: &impl Disk) -> Result<HardState, Error> {
    if log.may_become(&slot) || bug::on(Bug::SlotAlone) {
        Ok(slot)
    } else if slot.may_become(&log) {
        Ok(log)
    } else {
        Err(Error::Corrupt {
            file: disk.path(slots::NAMES[0]),
            offset: 0,
            detail: format!(
                "it and the log say that node {} and node {} got the vote of one term",
                slot.vote, log.vote
            ),
        })
    }
}
