//! Every single bit of a store flipped: noticed, or harmless, but never a wrong answer. HAZARDS 23.

use quorate_log::{Disk, Error, HardState, Recovered, Write};

use crate::{append, append_and_sync, entry, indexes, memory_disk::MemoryDisk, open, promise, snapshots};

/// Everything that a reader of the folder is told, but for its incarnation and what was cut or repaired.
fn answers(disk: &MemoryDisk) -> Result<(Recovered, Vec<u8>), Error> {
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

/// Flips each bit of each file, and gives `check` what was then answered.
fn flip_each_bit(
    origin: &MemoryDisk,
    mut check: impl FnMut(&str, usize, Result<(Recovered, Vec<u8>), Error>),
) {
    for name in origin.list().unwrap() {
        for bit in 0..origin.content(&name).len() * 8 {
            let disk = origin.copy();
            disk.tamper(&name, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            check(&name, bit, answers(&disk));
        }
    }
}

/// Several segments, with a truncation, an election and a snapshot in them, and a next segment.
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
    disk
}

#[test]
fn in_a_log_that_was_marked_each_flip_is_an_error_or_harmless() {
    let disk = store();
    let (mut log, _) = open(&disk).unwrap();
    log.mark().unwrap();
    drop(log);
    let (mut expected, data) = answers(&disk.copy()).unwrap();
    assert_eq!(indexes(&expected), [4, 5, 6, 7, 8, 9]);
    assert_eq!(expected.hard_state, HardState { term: 2, vote: 3, commit: 4 });
    let mut errors = 0;
    flip_each_bit(&disk, |name, bit, answer| match answer {
        Err(error) => {
            errors += 1;
            let text = error.to_string();
            assert!(
                matches!(error, Error::Corrupt { .. }) && text.contains("data/"),
                "{name} bit {bit}: {text}"
            );
        }
        Ok((recovered, found)) if recovered.snapshot.is_none() => {
            // The log still holds all that the damaged snapshot included.
            assert!(name.starts_with("snapshots/") && !recovered.repaired.is_empty(), "{name} bit {bit}");
            assert_eq!((indexes(&recovered), found.len()), ((1..=9).collect(), 0), "{name} bit {bit}");
            assert_eq!(recovered.hard_state, expected.hard_state, "{name} bit {bit}");
        }
        Ok((recovered, found)) => {
            expected.cut.clone_from(&recovered.cut);
            expected.repaired.clone_from(&recovered.repaired);
            assert_eq!((recovered, &found), (expected.clone(), &data), "{name} bit {bit}");
        }
    });
    assert!(errors > 1000, "only {errors} flips were errors");
}

/// The last batch is ambiguous when no mark vouches for it: a flip there looks like a torn write. It is cut, and
/// told; but the vote in it stands in a slot as well.
#[test]
fn in_the_last_unmarked_batch_a_flip_is_cut_and_told_and_never_costs_a_vote() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=2);
    log.write(&Write { entries: vec![entry(3, 1, "three")], ..promise(7, 2, 1) }).unwrap();
    log.sync().unwrap();
    drop(log);
    let mut cuts = 0;
    flip_each_bit(&disk, |name, bit, answer| {
        let Ok((recovered, _)) = answer else { return };
        assert_eq!((recovered.hard_state.term, recovered.hard_state.vote), (7, 2), "{name} bit {bit}");
        match indexes(&recovered)[..] {
            [1, 2, 3] => {}
            [1, 2] => {
                cuts += 1;
                assert!(recovered.cut.is_some(), "{name} bit {bit}");
            }
            ref other => panic!("{name} bit {bit}: {other:?}"),
        }
        assert!(recovered.entries.iter().all(|found| {
            *found == entry(found.index, 1, if found.index == 3 { "three" } else { "some payload" })
        }));
    });
    assert!(cuts > 100, "only {cuts} flips were cut");
}
