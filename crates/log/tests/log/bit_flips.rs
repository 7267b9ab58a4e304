//! Every single bit of a folder flipped, and every file cut at every byte: noticed, or harmless, but never a wrong answer.
//! HAZARDS 20, 23.

use std::fmt;

use quorate_log::{Disk, Error, HardState, Log, Recovered, UNFINISHED, Write};

use crate::{
    append, append_and_sync, entry, foundings, indexes, memory_disk::MemoryDisk, open, options, promise,
    refusal, repairs, snapshots,
};

/// One thing that a disk does to a file behind everybody's back.
#[derive(Clone, Copy)]
enum Harm {
    /// A bit changes, counted from the file's beginning.
    Flip(usize),
    /// The file ends after so many bytes.
    Cut(usize),
}

impl Harm {
    /// All that can happen to a file of `bytes` bytes.
    fn all(bytes: usize) -> impl Iterator<Item = Self> {
        (0..bytes * 8).map(Self::Flip).chain((0..bytes).map(Self::Cut))
    }

    fn strike(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Flip(bit) => bytes[bit / 8] ^= 1 << (bit % 8),
            Self::Cut(length) => bytes.truncate(length),
        }
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flip(bit) => write!(f, "bit {bit}"),
            Self::Cut(length) => write!(f, "cut at {length}"),
        }
    }
}

/// Everything that a reader of the folder is told, but for its incarnation.
type Answer = Result<(Recovered, Vec<u8>), Error>;

fn answer(disk: &MemoryDisk) -> Answer {
    let (log, mut recovered) = open(disk)?;
    let store = log.snapshots();
    let mut data = Vec::new();
    if let Some(header) = store.newest()? {
        for block in store.reader(header.index)? {
            data.extend_from_slice(&block?);
        }
    }
    recovered.identity.incarnation = 0;
    Ok((recovered, data))
}

/// Does each harm to each file of a copy of `origin`, and gives it to `check`, with the file and the harm in words.
fn harm_each_place(origin: &MemoryDisk, mut check: impl FnMut(&str, &str, Harm, MemoryDisk)) {
    for name in origin.list().unwrap() {
        for harm in Harm::all(origin.content(&name).len()) {
            let disk = origin.copy();
            disk.tamper(&name, |bytes| harm.strike(bytes));
            check(&format!("{name} {harm}"), &name, harm, disk);
        }
    }
}

/// The error names a file of the folder.
fn check_error(error: &Error, place: &str) {
    let text = error.to_string();
    assert!(matches!(error, Error::Corrupt { .. }) && text.contains("data/"), "{place}: {text}");
}

/// Whoever was told `recovered` goes on, and finds it again together with what was added. `entries` are added: as many as
/// it takes to come to the files that were made ready.
fn check_goes_on(disk: &MemoryDisk, recovered: &Recovered, entries: u64, place: &str) {
    let (mut log, _) = open(disk).unwrap_or_else(|error| panic!("{place}, a second start: {error}"));
    let last = log.last_index();
    append_and_sync(&mut log, last + 1..=last + entries);
    drop(log);
    let (_log, later) = open(disk).unwrap_or_else(|error| panic!("{place}, after going on: {error}"));
    let (old, new) = later.entries.split_at(recovered.entries.len());
    assert_eq!(old, recovered.entries, "{place}");
    assert!(
        new.iter().map(|entry| entry.index).eq(last + 1..=last + entries),
        "{place}: {:?}",
        indexes(&later)
    );
    assert_eq!(later.hard_state, recovered.hard_state, "{place}");
    assert_eq!((later.cut, later.repaired), (None, Vec::new()), "{place}: harm that was told is mended");
    assert_eq!(later.under_repair, recovered.under_repair, "{place}");
}

/// So many entries fill what is left of a segment, the next one, and the beginning of one more.
const THREE_SEGMENTS: u64 = 12;

/// Several segments, with a truncation, an election and a snapshot in them, a next segment, a spare, and all that may lie
/// about; marked.
fn store() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    log.write(&promise(1, 1, 0)).unwrap();
    append_and_sync(&mut log, 1..=6);
    log.write(&Write { truncate_from: Some(5), ..promise(2, 3, 4) }).unwrap();
    log.write(&append([entry(5, 2, "another payload")])).unwrap();
    log.sync().unwrap();
    snapshots::make(&log, 3, 1, b"the machine's state");
    append_and_sync(&mut log, 6..=9);
    while !log.maintain().unwrap() {}
    log.mark().unwrap();
    drop(log);
    for left_over in [
        "identity.partial",
        "damaged-3.segment-00000000000000000009",
        "snapshots/00000000000000000002.damaged",
    ] {
        disk.create(left_over).unwrap();
        disk.tamper(left_over, |bytes| bytes.extend_from_slice(b"old"));
    }
    disk
}

#[test]
fn in_a_folder_that_was_marked_each_harm_is_an_error_or_harmless() {
    let disk = store();
    let (mut expected, data) = answer(&disk.copy()).unwrap();
    assert_eq!(indexes(&expected), [4, 5, 6, 7, 8, 9]);
    assert_eq!(expected.hard_state, HardState { term: 2, vote: 3, commit: 4 });
    let (mut errors, mut harmless) = (0, 0);
    harm_each_place(&disk, |place, name, harm, disk| match answer(&disk) {
        Err(error) => {
            errors += 1;
            check_error(&error, place);
        }
        Ok((recovered, found)) if recovered.snapshot.is_none() => {
            // The log still holds all that the damaged snapshot included.
            assert!(name.starts_with("snapshots/") && !recovered.repaired.is_empty(), "{place}");
            assert_eq!((indexes(&recovered), found.len()), ((1..=9).collect(), 0), "{place}");
            assert_eq!(recovered.hard_state, expected.hard_state, "{place}");
        }
        Ok((recovered, found)) => {
            harmless += 1;
            expected.cut.clone_from(&recovered.cut);
            expected.repaired.clone_from(&recovered.repaired);
            assert_eq!((&recovered, &found), (&expected, &data), "{place}");
            // Flips within one byte go the same way from here on.
            if !matches!(harm, Harm::Flip(bit) if bit % 8 != bit / 8 % 8) {
                check_goes_on(&disk, &recovered, THREE_SEGMENTS, place);
            }
        }
    });
    assert!(errors > 1000 && harmless > 1000, "only {errors} errors and {harmless} harmless");
}

/// The last batch is ambiguous when no mark vouches for it: harm to it looks like a torn write. It is cut, and told if
/// anything of it is left; but the vote in it stands in a slot as well.
#[test]
fn in_the_last_unmarked_batch_harm_is_cut_and_told_and_never_costs_a_vote() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=2);
    log.write(&Write { entries: vec![entry(3, 1, "three")], ..promise(7, 2, 1) }).unwrap();
    log.sync().unwrap();
    drop(log);
    let mut cuts = 0;
    harm_each_place(&disk, |place, name, harm, disk| {
        let Ok((recovered, _)) = answer(&disk) else { return };
        assert_eq!((recovered.hard_state.term, recovered.hard_state.vote), (7, 2), "{place}");
        match indexes(&recovered)[..] {
            [1, 2, 3] => {}
            [1, 2] => {
                cuts += 1;
                // Of a file that ends between two records nothing is left to tell of.
                assert!(recovered.cut.is_some() || matches!(harm, Harm::Cut(_)), "{place}");
                assert!(name.starts_with("segment-"), "{place}");
            }
            ref other => panic!("{place}: {other:?}"),
        }
        assert!(recovered.entries.iter().all(|found| {
            *found == entry(found.index, 1, if found.index == 3 { "three" } else { "some payload" })
        }));
    });
    assert!(cuts > 100, "only {cuts} were cut");
}

/// Whatever happens to a folder under repair, what is left to it is not taken for all that it once held.
#[test]
fn a_folder_under_repair_stays_so_whatever_happens_to_it() {
    let disk = repairs::store();
    let newest =
        disk.list().unwrap().into_iter().rfind(|name| disk.content(name)[..8] == *b"quor-seg").unwrap();
    disk.tamper(&newest, |bytes| bytes[128 + 40] ^= 1);
    repairs::set_aside(&disk).unwrap();
    let (mut log, _) = open(&disk).unwrap();
    let last = log.last_index();
    append_and_sync(&mut log, last + 1..=last + 2);
    log.mark().unwrap();
    drop(log);
    let (mut expected, data) = answer(&disk.copy()).unwrap();
    let (mut errors, mut harmless) = (0, 0);
    harm_each_place(&disk, |place, name, _, disk| match answer(&disk) {
        Err(error) => {
            errors += 1;
            check_error(&error, place);
        }
        Ok((recovered, found)) => {
            harmless += 1;
            let reason =
                recovered.under_repair.clone().unwrap_or_else(|| panic!("{place}: as if nothing were"));
            assert!(
                Some(&reason) == expected.under_repair.as_ref() || name == "under-repair",
                "{place}: {reason}"
            );
            expected.cut.clone_from(&recovered.cut);
            expected.repaired.clone_from(&recovered.repaired);
            expected.under_repair = Some(reason);
            assert_eq!((&recovered, &found), (&expected, &data), "{place}");
        }
    });
    assert!(errors > 1000 && harmless > 1000, "only {errors} errors and {harmless} harmless");
}

/// While files are being set aside the folder is nobody's log, whatever happens to those that are left.
#[test]
fn a_folder_whose_files_are_being_moved_is_refused_whatever_happens_to_it() {
    let origin = repairs::store();
    let (_, whole) = open(&origin.copy()).unwrap();
    let newest =
        origin.list().unwrap().into_iter().rfind(|name| origin.content(name)[..8] == *b"quor-seg").unwrap();
    origin.tamper(&newest, |bytes| bytes[128 + 40] ^= 1);
    let damage = refusal(open(&origin.copy()));
    let mut stages = 0;
    for changes in 0.. {
        let disk = origin.copy();
        disk.set_fuse(Some(changes));
        let done = Log::set_damage_aside(&disk, &options(), &damage).is_ok();
        disk.set_fuse(None);
        if done {
            break;
        }
        if !disk.list().unwrap().iter().any(|name| name == "setting-aside") {
            continue;
        }
        stages += 1;
        // A bit of each byte will do, and of each stage others.
        let mine = |harm| matches!(harm, Harm::Flip(bit) if bit % 8 == changes as usize % 8 && bit / 8 % 16 == stages % 16);
        harm_each_place(&disk, |place, _, harm, disk| {
            if !mine(harm) {
                return;
            }
            let place = format!("{place} after {changes} changes");
            let Err(error) = answer(&disk) else { panic!("{place}: opened") };
            check_error(&error, &place);
            if Log::set_damage_aside(&disk, &options(), &error).is_ok() {
                let (_log, recovered) = open(&disk).unwrap_or_else(|error| panic!("{place}: {error}"));
                assert!(recovered.under_repair.is_some(), "{place}: as if nothing were");
                repairs::check_left(&recovered, &whole, &place);
            }
        });
    }
    assert!(stages > 10, "only {stages} stages");
}

/// A restored folder has nothing but a snapshot, an empty log, and what was promised.
#[test]
fn in_a_folder_that_was_restored_each_harm_is_an_error_or_harmless() {
    let disk = MemoryDisk::default();
    foundings::found(&disk).unwrap();
    let (mut expected, data) = answer(&disk.copy()).unwrap();
    let mut errors = 0;
    harm_each_place(&disk, |place, _, _, disk| match answer(&disk) {
        Err(error) => {
            errors += 1;
            check_error(&error, place);
        }
        Ok((recovered, found)) => {
            expected.cut.clone_from(&recovered.cut);
            expected.repaired.clone_from(&recovered.repaired);
            assert_eq!((&recovered, &found), (&expected, &data), "{place}");
        }
    });
    assert!(errors > 1000, "only {errors} errors");
    // One step earlier the same files are nobody's.
    disk.rename("identity", UNFINISHED).unwrap();
    harm_each_place(&disk, |place, name, _, disk| {
        if name == UNFINISHED {
            assert!(matches!(answer(&disk), Err(Error::Refused { .. })), "{place}");
        }
    });
}
