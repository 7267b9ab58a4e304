//! Failing and full disks.

use quorate_log::{Error, Log, Options, Room, SnapshotHeader};

use crate::{
    append, append_and_sync, entry, indexes,
    memory_disk::{Choices, Fault, MemoryDisk},
    open, options, promise,
};

fn assert_dead(log: &mut Log<MemoryDisk>) {
    assert!(matches!(log.write(&append([entry(99, 1, "x")])), Err(Error::Dead { .. })));
    assert!(matches!(log.sync(), Err(Error::Dead { .. })));
    assert!(matches!(log.mark(), Err(Error::Dead { .. })));
    assert!(matches!(log.release(1), Err(Error::Dead { .. })));
    assert!(matches!(log.maintain(), Err(Error::Dead { .. })));
    assert!(matches!(log.set_cluster_id(1), Err(Error::Dead { .. })));
    assert_ne!(log.room(), Room::Enough);
}

/// HAZARDS 15. After a failed fdatasync Linux counts the pages as clean: the next one would succeed.
#[test]
fn a_failed_sync_is_final() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=2);
    log.write(&append([entry(3, 1, "lost")])).unwrap();
    disk.set_fault(Fault::Sync { after: 0 });
    let error = log.sync().unwrap_err();
    assert!(error.to_string().contains("could not sync data/segment-00000000000000000001"), "{error}");
    let syncs = disk.syncs();
    assert_dead(&mut log);
    assert_eq!(disk.syncs(), syncs, "nothing was tried again");
}

/// The page cache still shows what the disk never got. Recovery must not promise it on the strength of another
/// sync, which would write nothing: it writes the bytes once more.
#[test]
fn what_a_failed_sync_left_in_the_page_cache_is_written_again() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=2);
    log.write(&append((3..=30).map(|index| entry(index, 1, "shown, not durable")))).unwrap();
    disk.set_fault(Fault::Sync { after: 0 });
    log.sync().unwrap_err();
    drop(log);
    let (log, recovered) = open(&disk).unwrap();
    let shown = indexes(&recovered);
    assert_eq!(shown.len(), 30);
    drop(log);
    disk.cut_power(&mut Choices::new(1));
    assert_eq!(indexes(&open(&disk).unwrap().1), shown);
}

/// HAZARDS 24, in the middle of a record.
#[test]
fn a_failed_write_is_final_and_its_half_is_cut() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=2);
    disk.set_fault(Fault::NextWrite);
    let error = log.write(&append([entry(3, 1, "a long payload that is written by half")])).unwrap_err();
    assert!(matches!(error, Error::Dead { doing: "write", .. }), "{error}");
    assert_dead(&mut log);
    drop(log);
    let (mut log, recovered) = open(&disk).unwrap();
    assert_eq!(indexes(&recovered), [1, 2]);
    assert!(recovered.cut.unwrap().contains("data/segment-00000000000000000001"));
    append_and_sync(&mut log, 3..=4);
}

/// HAZARDS 24: refused early, with room for what is in flight, and over when there is space again.
#[test]
fn a_full_disk_is_noticed_before_it_is_too_late() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    assert_eq!(log.room(), Room::Enough);
    disk.set_capacity(Some(disk.used() + 4096));
    let mut index = 0;
    while log.room() == Room::Enough {
        index += 1;
        assert!(index < 1000, "never full");
        append_and_sync(&mut log, index..=index);
        log.maintain().unwrap();
    }
    // In flight: a batch of entries, and an election.
    append_and_sync(&mut log, index + 1..=index + 5);
    log.write(&promise(9, 3, index)).unwrap();
    log.sync().unwrap();
    assert_ne!(log.room(), Room::Enough);
    disk.set_capacity(None);
    assert_eq!(log.room(), Room::Enough);
    append_and_sync(&mut log, index + 6..=index + 50);
    drop(log);
    let (_log, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.entries.len() as u64, index + 50);
    assert_eq!(recovered.hard_state.term, 9);
}

#[test]
fn a_full_disk_that_cannot_make_the_next_segment_refuses_and_recovers() {
    let disk = MemoryDisk::default();
    // Without a reserve only the attempt to make a segment notices.
    let (mut log, _) = Log::open(disk.clone(), Options { reserve_bytes: 0, ..options() }).unwrap();
    disk.set_capacity(Some(disk.used() + 100));
    assert!(log.maintain().unwrap(), "there is nothing to do at the moment");
    assert_ne!(log.room(), Room::Enough);
    append_and_sync(&mut log, 1..=3);
    disk.set_capacity(None);
    assert_eq!(log.room(), Room::Enough);
}

/// HAZARDS 24: a snapshot that finds no room is given up, and the log goes on.
#[test]
fn a_snapshot_without_room_leaves_nothing_behind() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=3);
    let used = disk.used();
    disk.set_capacity(Some(used + 100_000));
    let header = SnapshotHeader { index: 2, term: 1, stamp: 0, membership: bytes::Bytes::new(), bytes: 0 };
    let mut writer = log.snapshots().begin(&header).unwrap();
    let error = writer.write(&[7; 200_000]).unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }) && error.can_retry(), "{error}");
    drop(writer);
    assert_eq!((disk.used(), log.snapshots().newest().unwrap()), (used, None));
    append_and_sync(&mut log, 4..=5);
}

/// Entries with payloads of so many bytes, until the disk, which has no room for another segment, takes no more;
/// answers how many are durable.
fn fill(disk: &MemoryDisk, payload_bytes: usize) -> usize {
    let (mut log, _) = open(disk).unwrap();
    disk.set_capacity(Some(disk.used()));
    (0..)
        .find(|index| {
            let entry = entry(index + 1, 1, &"x".repeat(payload_bytes));
            log.write(&append([entry])).and_then(|()| log.sync()).is_err()
        })
        .map_or(0, |count| usize::try_from(count).unwrap())
}

/// A node that was started on a full disk said that its log was dead, and an operator could not see why. Wherever the
/// log ends in its segment, and however little is left: it opens, or it says what it needs, and nothing is lost.
#[test]
fn a_log_on_a_full_disk_opens_or_says_how_much_room_it_needs() {
    let mut refused = std::collections::BTreeSet::new();
    for payload_bytes in (1..100).step_by(3) {
        let disk = MemoryDisk::default();
        let count = fill(&disk, payload_bytes);
        for left in (0..600).step_by(50) {
            let full = disk.copy();
            full.set_capacity(Some(full.used() + left));
            if let Err(error) = open(&full) {
                let Error::NoRoom { file, needed_bytes: Some(1536), .. } = error else {
                    panic!("{payload_bytes} {left}: {error}")
                };
                refused.insert(file);
            }
            full.set_capacity(None);
            assert_eq!(indexes(&open(&full).unwrap().1).len(), count);
        }
    }
    // Not only the first file that opening writes, but also the segment that the log would go on in.
    assert!(refused.len() > 1 && refused.iter().any(|file| file.contains("spare")), "{refused:?}");
}

/// HAZARDS 24: whoever goes on in spite of it loses nothing that was synced.
#[test]
fn a_write_without_room_is_final() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    disk.set_capacity(Some(disk.used()));
    let mut index = 0;
    let error = loop {
        if let Err(error) =
            log.write(&append([entry(index + 1, 1, "some payload")])).and_then(|()| log.sync())
        {
            break error;
        }
        index += 1;
        assert!(index < 100, "never full");
    };
    assert!(matches!(error, Error::Dead { .. }), "{error}");
    assert_dead(&mut log);
    drop(log);
    disk.set_capacity(None);
    let (_log, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.entries.len() as u64, index);
}
