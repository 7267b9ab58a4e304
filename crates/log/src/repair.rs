//! A folder with a damaged log or snapshot, made one that opens and says what it lacks.
//!
//! Damage to what was durable once ([`Error::Corrupt`]) makes a node forget what it has acknowledged. If it went on
//! with what is left as if that were all, it could help to elect a leader that lacks what was committed. But it may
//! come back as a node *under repair*, which knows what it does not know, if what it must never contradict is there:
//! its term and its vote. So [`Log::set_damage_aside`]
//!
//! 1. refuses unless both slots are readable: the newer one then holds the last promise;
//! 2. marks the folder as under repair, durably, before anything else is changed;
//! 3. moves all segments, and the snapshots that are damaged, to other names, as they are: nothing is ever cut or
//!    overwritten, so that a person can still look at it, and it is theirs to delete;
//! 4. begins a new log behind the newest intact snapshot, with the entries that are intact from there on.
//!
//! Each step leaves a folder that says [`Error::Corrupt`] once more, or that is under repair and opens with less: who is
//! interrupted does all of it again. While files are moved a second mark is there, and nothing opens the folder beside it:
//! without the segments that vouch for it, the damage might look like the end of the log, and be cut. The first mark goes
//! only when the caller has got everything back ([`Log::end_repair`]).
//!
//! The intact beginning of a log is what the log once was. Entries in it may have been truncated and replaced by what
//! is now unreadable, so it may hold what never came to be; but what it knew to be committed is so. The slots knew
//! more, of a log that is gone: their commit index counts for nothing while the folder is under repair.

use crate::{
    Disk, DiskFile, Error, HardState, Identity, Log, LogEntry, Options, SnapshotHeader, SnapshotStore, Write,
    disk::read_all,
    error::About,
    log, recovery, reserve,
    seal::{self, Kind, Unsealed},
    segment::{self, Header},
    slots::{self, Promised},
    snapshot::{self, Damaged},
};

/// The file that marks a folder as under repair. That it is there counts; its content is for people.
const MARK: &str = "under-repair";

/// The empty file that is there while files are moved: until it is gone, what is left is no log.
const MOVING: &str = "setting-aside";

const KIND: Kind = Kind { magic: b"quor-rep", version: 1 };

/// The most bytes of the reason that are kept.
const REASON_BYTES_MAX: usize = 4096;

/// What became of a damaged folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The last entry of the newest intact snapshot; 0 if there is none.
    pub snapshot: u64,
    /// The last entry of all that is left; 0 if nothing is.
    pub last_index: u64,
    /// The new names of the files that were set aside.
    pub files: Vec<String>,
}

/// What of a folder is intact, and fits together.
pub(crate) struct Intact {
    pub(crate) snapshot: Option<SnapshotHeader>,
    /// The entries behind the snapshot, contiguous.
    pub(crate) entries: Vec<LogEntry>,
    /// What is known to be committed of that.
    pub(crate) commit: u64,
    /// What the log knows to be promised.
    pub(crate) hard_state: HardState,
    /// Snapshots that are newer than the intact one.
    pub(crate) damaged: Damaged,
    /// Whether entries are missing between the snapshot and the log.
    pub(crate) has_gap: bool,
    /// The files that must go, in the order in which they do.
    others: Vec<String>,
    /// The number of the next segment.
    next_segment: u64,
}

impl<D: Disk> Log<D> {
    /// Makes a folder in which `damage` was found, an [`Error::Corrupt`] of [`Log::open`], one that opens, with what of
    /// it is intact, and that is under repair. Damaged files are moved aside, as they are. Durable on return.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if what the node has promised cannot be proved: then nothing was changed, and the folder is
    /// of no use any more. [`Error::Locked`], [`Error::Refused`], [`Error::Newer`] as for [`Log::open`].
    /// [`Error::Io`], [`Error::NoRoom`]: it can be tried again.
    pub fn set_damage_aside(disk: &D, options: &Options, damage: &Error) -> Result<SetAside, Error> {
        options.check()?;
        let lock = log::lock(disk)?;
        let names = disk.list().about(disk, "", "list")?;
        log::check_finished(disk, &names)?;
        let identity = Identity::load(disk)?;
        identity.admit(options, disk)?;
        let owner = identity.fingerprint();
        let promised = provable_promises(disk, owner)?;
        let intact = find_intact(disk, &names, owner)?;
        check_promised(disk, &intact, promised.hard_state)?;

        store_marks(disk, &names, damage)?;
        let files = move_aside(disk, &names, &intact.others)?;
        begin_log(disk, options, &intact, owner, promised)?;
        remove(disk, MOVING)?;
        drop(lock);
        let (snapshot, last_index) = (intact.base(), intact.last_index());
        let (mut log, _) = Self::open(disk.clone(), options.clone())?;
        log.write(&Write {
            hard_state: Some(HardState { commit: intact.commit, ..promised.hard_state }),
            truncate_from: None,
            entries: intact.entries,
        })?;
        log.mark()?;
        Ok(SetAside { snapshot, last_index, files })
    }
}

impl Intact {
    fn base(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |header| header.index)
    }

    pub(crate) fn last_index(&self) -> u64 {
        self.entries.last().map_or(self.base(), |entry| entry.index)
    }
}

const UNPROVABLE: &str = "it is unreadable, and so is a part of the log or of a snapshot: the newest term and vote, \
     which may have stood there, cannot be proved";

/// Term and vote, if no later ones can have been lost.
fn provable_promises(disk: &impl Disk, owner: u32) -> Result<Promised, Error> {
    let promised = slots::read(disk, owner)?;
    match promised.damaged {
        None => Ok(promised),
        Some(name) => Err(Error::Corrupt { file: disk.path(name), offset: 0, detail: UNPROVABLE.to_owned() }),
    }
}

/// The log is the elder of both.
fn check_promised(disk: &impl Disk, intact: &Intact, promised: HardState) -> Result<(), Error> {
    if intact.hard_state.may_become(&promised) {
        return Ok(());
    }
    Err(Error::Corrupt {
        file: disk.path(slots::NAMES[0]),
        offset: 0,
        detail: "the log, which is damaged, knows a later term than the slots: neither is to be trusted"
            .to_owned(),
    })
}

/// Reads what is intact. Nothing is changed.
pub(crate) fn find_intact(disk: &impl Disk, names: &[String], owner: u32) -> Result<Intact, Error> {
    let (snapshot, damaged) = SnapshotStore::new(disk.clone()).newest_intact()?;
    let numbers = recovery::sorted_numbers(names);
    // The newest first: what is left of a log that is being moved is its beginning.
    let segments = numbers.iter().rev().map(|&number| segment::name(number));
    let others = segments.chain(damaged.iter().map(|&(index, _)| snapshot::file_name(index))).collect();
    let next_segment = numbers.last().map_or(1, |last| last + 1);
    let base = snapshot.as_ref().map_or(0, |header| header.index);
    let mut intact = Intact {
        snapshot,
        entries: Vec::new(),
        commit: base,
        hard_state: HardState::default(),
        damaged,
        has_gap: false,
        others,
        next_segment,
    };
    let Some((contents, mut entries)) = recovery::intact_beginning(disk, names, owner)? else {
        return Ok(intact);
    };
    intact.hard_state = contents.hard_state();
    intact.has_gap = contents.first_index() > base + 1;
    let term = intact.snapshot.as_ref().map(|header| header.term);
    if contents.first_index() == base + 1 || (base > 0 && contents.term_of(base) == term) {
        entries.retain(|entry| entry.index > base);
        intact.commit = intact.hard_state.commit.min(contents.last_index()).max(base);
        intact.entries = entries;
    }
    Ok(intact)
}

/// Marks the folder as under repair, since `damage` was found, and its files as being moved; durable on return.
fn store_marks(disk: &impl Disk, names: &[String], damage: &Error) -> Result<(), Error> {
    let is_marked = names.iter().any(|name| name == MARK);
    if is_moving(names) && is_marked {
        return disk.sync_directory().about(disk, "", "sync");
    }
    let mut reason = damage.finding();
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    let mut file = disk.create(MARK).about(disk, MARK, "create")?;
    file.write_at(0, &seal::seal(KIND, reason.as_bytes())).about(disk, MARK, "write")?;
    file.sync_data().about(disk, MARK, "sync")?;
    // Of two names that were made together a power cut may leave the second alone.
    disk.sync_directory().about(disk, "", "sync")?;
    disk.create(MOVING).about(disk, MOVING, "create")?;
    disk.sync_directory().about(disk, "", "sync")
}

fn is_moving(names: &[String]) -> bool {
    names.iter().any(|name| name == MOVING)
}

/// Refuses a folder in which setting aside was interrupted.
///
/// # Errors
/// [`Error::Corrupt`], upon which it is done again.
pub(crate) fn check_complete(disk: &impl Disk, names: &[String]) -> Result<(), Error> {
    if !is_moving(names) {
        return Ok(());
    }
    let since = reason(disk, names)?.unwrap_or_default();
    let detail = format!("setting damaged files aside was interrupted; it was begun since {since}");
    Err(Error::Corrupt { file: disk.path(MARK), offset: 0, detail })
}

/// Why the folder `names` is under repair, if it is.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn reason(disk: &impl Disk, names: &[String]) -> Result<Option<String>, Error> {
    if !names.iter().any(|name| name == MARK) {
        return Ok(None);
    }
    let file = disk.open(MARK).about(disk, MARK, "open")?;
    let bytes = read_all(&file).about(disk, MARK, "read")?;
    let text = match seal::unseal(KIND, &bytes) {
        Unsealed::Body(body, _) => String::from_utf8_lossy(body).into_owned(),
        Unsealed::Newer(_) | Unsealed::Damaged => format!("{} is there", disk.path(MARK)),
    };
    Ok(Some(text))
}

/// Takes the mark away, durably; does nothing without one.
pub(crate) fn end(disk: &impl Disk) -> Result<(), Error> {
    remove(disk, MARK)
}

/// Removes a file that may be there, durably.
fn remove(disk: &impl Disk, name: &str) -> Result<(), Error> {
    match disk.remove(name) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        result => result.about(disk, name, "remove")?,
    }
    disk.sync_directory().about(disk, "", "sync")
}

/// Gives each of `files` a name that says that it was damaged; durable on return. Answers the new names.
fn move_aside(disk: &impl Disk, names: &[String], files: &[String]) -> Result<Vec<String>, Error> {
    let used = names.iter().filter_map(|name| parse_aside(name)).max().unwrap_or(0);
    let mut moved = Vec::with_capacity(files.len());
    for name in files {
        let plain = name.rsplit('/').next().unwrap_or(name);
        let aside = format!("{ASIDE}{}.{plain}", used + 1);
        disk.rename(name, &aside).about(disk, name, "rename")?;
        moved.push(disk.path(&aside));
    }
    disk.sync_directory().about(disk, "", "sync")?;
    Ok(moved)
}

const ASIDE: &str = "damaged-";

/// The number of the occasion on which a file was set aside.
fn parse_aside(name: &str) -> Option<u64> {
    name.strip_prefix(ASIDE)?.split('.').next()?.parse().ok()
}

/// Makes the first segment of the new log, without entries; durable on return.
fn begin_log(
    disk: &impl Disk,
    options: &Options,
    intact: &Intact,
    owner: u32,
    promised: Promised,
) -> Result<(), Error> {
    let first = Header {
        number: intact.next_segment,
        // Not below what the slots have vouched for.
        first_position: promised.durable,
        last_index: intact.base(),
        hard_state: HardState { commit: intact.base(), ..promised.hard_state },
        ..Header::first(options.first_segment_bytes(), owner)
    };
    let name = segment::name(first.number);
    let mut file = reserve::create_zeroed(disk, &name, first.bytes)?;
    file.write_at(0, &first.encode()).about(disk, &name, "write")?;
    file.sync_data().about(disk, &name, "sync")?;
    disk.sync_directory().about(disk, "", "sync")
}
