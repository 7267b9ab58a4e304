//! Snapshots: complete or invisible, verified, and never older than what the log can do without.

use bytes::Bytes;
use quorate_log::{Disk, Error, HardState, Log, SnapshotHeader};

use crate::{append_and_sync, indexes, memory_disk::MemoryDisk, open, promise, refusal};

fn header(index: u64, term: u64) -> SnapshotHeader {
    SnapshotHeader { index, term, stamp: 10 * index, membership: Bytes::from_static(b"n1,n2,n3"), bytes: 0 }
}

/// Makes a complete snapshot.
pub(crate) fn make(log: &Log<MemoryDisk>, index: u64, term: u64, data: &[u8]) -> SnapshotHeader {
    let mut writer = log.snapshots().begin(&header(index, term)).unwrap();
    writer.write(data).unwrap();
    writer.finish().unwrap()
}

fn file(index: u64) -> String {
    format!("snapshots/{index:020}.snapshot")
}

#[test]
fn data_is_read_back_from_any_place() {
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk).unwrap();
    let data: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
    let mut writer = log.snapshots().begin(&header(7, 2)).unwrap();
    for chunk in data.chunks(7_001) {
        writer.write(chunk).unwrap();
    }
    assert_eq!(writer.written(), 200_000);
    let made = writer.finish().unwrap();
    assert_eq!(made, SnapshotHeader { bytes: 200_000, ..header(7, 2) });
    let store = log.snapshots();
    assert_eq!(store.newest().unwrap(), Some(made));
    for (offset, len) in [(0, 10), (65_530, 20), (65_536, 65_536), (1, 150_000), (199_999, 5), (200_000, 5)] {
        let end = data.len().min(offset + len);
        assert_eq!(store.read(7, offset as u64, len).unwrap(), data[offset..end], "{offset} {len}");
    }
    let all: Vec<u8> = store.reader(7).unwrap().flat_map(Result::unwrap).collect();
    assert_eq!(all, data);
}

#[test]
fn an_empty_snapshot_is_one() {
    let (log, _) = open(&MemoryDisk::default()).unwrap();
    let made = make(&log, 0, 0, b"");
    assert_eq!(log.snapshots().newest().unwrap(), Some(made));
    assert!(log.snapshots().read(0, 0, 10).unwrap().is_empty());
}

#[test]
fn an_unfinished_snapshot_is_invisible_and_goes_away() {
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk).unwrap();
    let mut writer = log.snapshots().begin(&header(7, 2)).unwrap();
    writer.write(b"half").unwrap();
    assert_eq!(log.snapshots().newest().unwrap(), None);
    assert!(matches!(log.snapshots().read(7, 0, 1), Err(Error::Gone { index: 7, .. })));
    drop(writer);
    assert!(!disk.list().unwrap().iter().any(|name| name.starts_with("snapshots/")));
    std::mem::forget(log.snapshots().begin(&header(8, 2)).unwrap());
    drop(log);
    drop(open(&disk).unwrap());
    assert!(!disk.list().unwrap().iter().any(|name| name.starts_with("snapshots/")));
}

#[test]
fn a_sealed_snapshot_can_be_read_and_is_invisible_until_it_is_published() {
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk).unwrap();
    let seal = |index| {
        let mut writer = log.snapshots().begin(&header(index, 2)).unwrap();
        writer.write(b"whole").unwrap();
        writer.seal().unwrap()
    };
    let sealed = seal(7);
    let read: Vec<_> = sealed.reader().unwrap().map(Result::unwrap).collect();
    assert_eq!(read, [Bytes::from_static(b"whole")]);
    assert_eq!(log.snapshots().newest().unwrap(), None);
    let published = sealed.publish().unwrap();
    assert_eq!(published, SnapshotHeader { bytes: 5, ..header(7, 2) });
    assert_eq!(log.snapshots().newest().unwrap(), Some(published));

    drop(seal(9));
    let names = disk.list().unwrap();
    let names: Vec<_> = names.iter().filter(|name| name.starts_with("snapshots/")).collect();
    assert_eq!(names, [&file(7)]);
}

#[test]
fn only_the_newest_stays() {
    let (log, _) = open(&MemoryDisk::default()).unwrap();
    for index in 1..=3 {
        make(&log, index, 1, b"state");
    }
    let store = log.snapshots();
    store.remove_older_than(100).unwrap();
    assert!(matches!(store.read(2, 0, 1), Err(Error::Gone { .. })));
    assert_eq!(store.newest().unwrap().unwrap().index, 3);
}

#[test]
fn an_installed_snapshot_replaces_a_log_that_lacks_its_last_entry() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=5);
    let error = log.replace_by_snapshot(&header(100, 3)).unwrap_err();
    assert!(matches!(error, Error::Gone { .. }), "{error}");
    let made = make(&log, 100, 3, b"state");
    log.replace_by_snapshot(&made).unwrap();
    append_and_sync(&mut log, 101..=102);
    drop(log);
    let (_log, recovered) = open(&disk).unwrap();
    assert_eq!((indexes(&recovered), recovered.snapshot), (vec![101, 102], Some(made)));
    assert_eq!(recovered.hard_state.commit, 100);
}

#[test]
fn a_snapshot_of_an_entry_that_the_log_holds_leaves_the_entries_after_it() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=5);
    let same = make(&log, 3, 1, b"state");
    log.replace_by_snapshot(&same).unwrap();
    assert_eq!(log.last_index(), 5);
    let other = make(&log, 4, 2, b"state");
    log.replace_by_snapshot(&other).unwrap();
    assert_eq!(
        (log.first_index(), log.last_index()),
        (5, 4),
        "another term: the log's tail was never committed"
    );
    log.replace_by_snapshot(&same).unwrap();
    assert_eq!((log.first_index(), log.last_index()), (5, 4), "an old one changes nothing");
}

#[test]
fn a_crash_between_snapshot_and_log_is_finished_by_recovery() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=5);
    log.write(&promise(3, 1, 5)).unwrap();
    log.sync().unwrap();
    make(&log, 100, 3, b"state");
    drop(log);
    let (mut log, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.entries.len(), log.last_index()), (0, 100));
    assert_eq!(recovered.hard_state, HardState { term: 3, vote: 1, commit: 100 });
    append_and_sync(&mut log, 101..=101);
}

/// HAZARDS 23.
#[test]
fn a_damaged_snapshot_is_passed_over_while_the_log_holds_what_it_included() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=5);
    make(&log, 2, 1, b"older");
    make(&log, 4, 1, b"newer");
    drop(log);
    disk.tamper(&file(4), |bytes| bytes[60] ^= 1);
    let (log, recovered) = open(&disk).unwrap();
    assert_eq!((indexes(&recovered), recovered.snapshot.unwrap().index), (vec![3, 4, 5], 2));
    assert!(
        recovered.repaired[0].contains("snapshots/00000000000000000004.damaged"),
        "{:?}",
        recovered.repaired
    );
    assert_eq!(log.snapshots().newest().unwrap().unwrap().index, 2);
    log.snapshots().remove_older_than(2).unwrap();
}

/// HAZARDS 23.
#[test]
fn a_damaged_or_missing_snapshot_that_the_log_needs_stops_the_node() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=40);
    make(&log, 10, 1, b"older");
    make(&log, 40, 1, b"newer");
    log.release(41).unwrap();
    drop(log);
    let damaged = disk.copy();
    damaged.tamper(&file(40), |bytes| bytes[60] ^= 1);
    let error = refusal(open(&damaged));
    assert!(
        matches!(&error, Error::Corrupt { file: found, .. } if *found == format!("data/{}", file(40))),
        "{error}"
    );
    disk.remove(&file(40)).unwrap();
    let error = refusal(open(&disk));
    assert!(error.to_string().contains("no snapshot includes"), "{error}");
}

#[test]
fn damage_is_noticed_by_every_way_of_reading() {
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk).unwrap();
    let made = make(&log, 4, 1, &[7; 100_000]);
    disk.tamper(&file(4), |bytes| bytes[80_000] ^= 1);
    let store = log.snapshots();
    assert_eq!(store.read(4, 0, 1_000).unwrap().len(), 1_000, "another block");
    assert!(matches!(store.read(4, 0, 100_000), Err(Error::Corrupt { .. })));
    let blocks: Vec<_> = store.reader(made.index).unwrap().collect();
    assert!(matches!(blocks[..], [Ok(_), Err(Error::Corrupt { .. })]));
}
