//! Reading what is intact of a folder, whatever else is wrong with it, without changing a byte.
//!
//! For the forced way out, when nobody else has what is lost: who decides on it must first know what there is, and may
//! decide against it. What is read is what [`Log::open`](crate::Log::open) would recover, or, of a damaged folder, what
//! [`Log::set_damage_aside`](crate::Log::set_damage_aside) would keep. Unlike those it needs no provable vote: nobody is
//! going to vote on it.

use crate::{
    Disk, Error, HardState, Identity, Recovered, SnapshotStore,
    error::About,
    log, recovery,
    repair::{self, Intact},
    slots::{self, Promised},
};

/// A folder that is read, and kept from others meanwhile.
///
/// ```
/// use quorate_log::{Log, LogEntry, Options, OsDisk, Salvage, Write};
///
/// let folder = tempfile::tempdir()?;
/// let disk = OsDisk::new(folder.path())?;
/// let (mut log, _) = Log::open(disk.clone(), Options::new(1, "raft"))?;
/// let entry = LogEntry { index: 1, term: 1, stamp: 0, kind: 1, payload: "hello".into() };
/// log.write(&Write { entries: vec![entry.clone()], ..Write::default() })?;
/// log.mark()?;
/// drop(log);
/// for slot in ["hardstate-a", "hardstate-b"] {
///     std::fs::write(folder.path().join(slot), "rot")?;
/// }
///
/// assert!(Log::open(disk.clone(), Options::new(1, "raft")).is_err());
/// let (_salvage, recovered) = Salvage::read(disk)?;
/// assert_eq!(recovered.entries, [entry]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Salvage<D: Disk> {
    disk: D,
    _lock: D::Lock,
}

impl<D: Disk> Salvage<D> {
    /// Reads the folder. [`Recovered::under_repair`] says what of it is lost, if anything is; [`Recovered::repaired`] and
    /// [`Recovered::cut`] what is wrong without a loss. The incarnation is the last one, and does not grow.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Refused`], [`Error::Newer`], [`Error::Io`]; [`Error::Corrupt`] if the identity is
    /// damaged, so that nobody knows whose the folder is.
    pub fn read(disk: D) -> Result<(Self, Recovered), Error> {
        let lock = log::lock(&disk)?;
        let names = disk.list().about(&disk, "", "list")?;
        log::check_finished(&disk, &names)?;
        let identity = Identity::load(&disk)?;
        let owner = identity.fingerprint();
        let mut repaired = Vec::new();
        let promised = find_promised(&disk, owner, &mut repaired)?;
        let mut lost: Vec<String> = repair::reason(&disk, &names)?.into_iter().collect();
        let checked = recovery::check(&disk, &names, owner, promised.durable);
        let cut = unless_corrupt(checked, &mut lost)?.flatten();
        let intact = repair::find_intact(&disk, &names, owner)?;
        let told = intact.damaged.iter().map(|(_, error)| error.finding());
        if intact.has_gap && intact.damaged.is_empty() {
            lost.push("the log goes on behind a snapshot that is missing".to_owned());
        }
        if intact.has_gap {
            lost.extend(told)
        } else {
            repaired.extend(told)
        }

        let hard_state = hard_state(&intact, promised.hard_state, lost.is_empty());
        let recovered = Recovered {
            identity,
            hard_state,
            snapshot: intact.snapshot,
            entries: intact.entries,
            cut: cut.map(|cut| format!("leaves out {cut}")),
            repaired,
            under_repair: (!lost.is_empty()).then(|| lost.join("; and ")),
        };
        Ok((Self { disk, _lock: lock }, recovered))
    }

    /// The folder's snapshots.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotStore<D> {
        SnapshotStore::new(self.disk.clone())
    }
}

/// What the slots say, or nothing if neither is readable.
fn find_promised(disk: &impl Disk, owner: u32, repaired: &mut Vec<String>) -> Result<Promised, Error> {
    let nothing = Promised { hard_state: HardState::default(), durable: 0, damaged: None };
    let promised = unless_corrupt(slots::read(disk, owner), repaired)?.unwrap_or(nothing);
    repaired.extend(promised.damaged.map(|name| format!("{} is unreadable", disk.path(name))));
    Ok(promised)
}

/// What is there, unless it is corrupt, which is put to `findings`.
fn unless_corrupt<T>(result: Result<T, Error>, findings: &mut Vec<String>) -> Result<Option<T>, Error> {
    match result {
        Err(error @ Error::Corrupt { .. }) => {
            findings.push(error.finding());
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// The later term of both. The slots' commit index counts for nothing in a folder that has lost something.
fn hard_state(intact: &Intact, slot: HardState, is_whole: bool) -> HardState {
    let later = if intact.hard_state.may_become(&slot) { slot } else { intact.hard_state };
    let commit =
        if is_whole { slot.commit.max(intact.commit).min(intact.last_index()) } else { intact.commit };
    HardState { commit, ..later }
}
