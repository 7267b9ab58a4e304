//! Writing, group commit, and the life of segments.

use quorate_log::{Disk, DiskFile, Error, HardState, Log, Options, Write};

use crate::{append, append_and_sync, entry, indexes, memory_disk::MemoryDisk, open, options, promise};

fn segments(disk: &MemoryDisk) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| name.starts_with("segment-")).collect()
}

fn snapshot(log: &Log<MemoryDisk>, index: u64) {
    crate::snapshots::make(log, index, 1, b"state");
}

#[test]
fn what_was_written_is_recovered() {
    let disk = MemoryDisk::default();
    let (mut log, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.hard_state, recovered.entries.len()), (HardState::default(), 0));
    let entries = [entry(1, 1, "a"), entry(2, 1, ""), entry(3, 2, "c")];
    log.write(&Write {
        hard_state: Some(HardState { term: 2, vote: 3, commit: 1 }),
        truncate_from: None,
        entries: entries.to_vec(),
    })
    .unwrap();
    log.sync().unwrap();
    drop(log);
    let (_log, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.hard_state, HardState { term: 2, vote: 3, commit: 1 });
    assert_eq!(recovered.entries, entries);
    assert_eq!(recovered.cut, None);
}

#[test]
fn a_truncation_replaces_the_tail() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=5);
    log.write(&Write { hard_state: None, truncate_from: Some(3), entries: vec![entry(3, 2, "new")] })
        .unwrap();
    log.sync().unwrap();
    drop(log);
    let (log, recovered) = open(&disk).unwrap();
    assert_eq!(indexes(&recovered), [1, 2, 3]);
    assert_eq!(recovered.entries[2], entry(3, 2, "new"));
    assert_eq!((log.first_index(), log.last_index()), (1, 3));
}

#[test]
fn many_writes_share_one_sync() {
    let disk = MemoryDisk::default();
    let (mut log, _) = Log::open(disk.clone(), Options::new(1, "raft")).unwrap();
    let (writes, syncs) = (disk.writes(), disk.syncs());
    for index in 1..=10 {
        log.write(&append([entry(index, 1, "a")])).unwrap();
    }
    log.sync().unwrap();
    log.sync().unwrap();
    assert_eq!((disk.writes() - writes, disk.syncs() - syncs), (10, 1));
}

#[test]
fn a_batch_may_span_many_segments() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    log.write(&append((1..=40).map(|index| entry(index, 1, "0123456789")))).unwrap();
    log.sync().unwrap();
    drop(log);
    assert!(segments(&disk).len() > 4);
    let (_log, recovered) = open(&disk).unwrap();
    assert_eq!(indexes(&recovered), (1..=40).collect::<Vec<_>>());
}

#[test]
fn an_entry_fills_a_segment_and_no_more() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    let max = usize::try_from(options().entry_bytes_max()).unwrap();
    let error = log.write(&append([entry(1, 1, &"x".repeat(max + 1))])).unwrap_err();
    assert!(matches!(error, Error::TooLarge { index: 1, .. }), "{error}");
    log.write(&append([entry(1, 1, &"x".repeat(max)), entry(2, 1, &"y".repeat(max))])).unwrap();
    log.sync().unwrap();
    drop(log);
    assert_eq!(indexes(&open(&disk).unwrap().1), [1, 2]);
}

#[test]
fn released_segments_are_used_again() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    log.write(&promise(5, 2, 0)).unwrap();
    let mut used = Vec::new();
    for round in 0..30 {
        let last = 20 * (round + 1);
        append_and_sync(&mut log, 20 * round + 1..=last);
        snapshot(&log, last);
        log.snapshots().remove_older_than(last).unwrap();
        log.release(last + 1).unwrap();
        while !log.maintain().unwrap() {}
        used.push(disk.used());
        assert_eq!(segments(&disk).len(), 2, "one that is written, and the next");
    }
    assert_eq!(used.iter().skip(2).max(), used.get(2), "the folder does not grow: {used:?}");
    drop(log);
    let (_log, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.hard_state, HardState { term: 5, vote: 2, commit: 600 }, "it outlives its segment");
    assert_eq!(recovered.snapshot.unwrap().index, 600);
}

/// A spare was once named after the segment that it was to become. One that an earlier run had left kept its
/// name while that segment came, went, and was renamed onto it: the pool then held one file twice.
#[test]
fn spares_of_an_earlier_run_are_used_beside_new_ones() {
    let disk = MemoryDisk::default();
    for name in ["spare-0", "spare-2", "spare-00000000000000000003"] {
        disk.create(name).unwrap().preallocate(512).unwrap();
    }
    let (mut log, _) = open(&disk).unwrap();
    for round in 0..10 {
        let last = 20 * (round + 1);
        append_and_sync(&mut log, 20 * round + 1..=last);
        snapshot(&log, last);
        log.release(last + 1).unwrap();
    }
    let spares = disk.list().unwrap().into_iter().filter(|name| name.starts_with("spare-")).count();
    assert!((1..=5).contains(&spares), "{spares} spares");
    drop(log);
    assert_eq!(open(&disk).unwrap().1.snapshot.unwrap().index, 200);
}

/// The zeros of a whole segment were once written and synced as soon as the one before it had begun, also by a node that
/// had just joined: everybody's syncs on that disk waited behind them.
#[test]
fn the_next_segment_is_zeroed_twice_as_fast_as_the_present_one_fills() {
    let disk = MemoryDisk::default();
    let (mut log, _) = Log::open(disk.clone(), Options { segment_bytes: 4 << 20, ..options() }).unwrap();
    let slices = |log: &mut Log<MemoryDisk>| {
        let before = disk.writes();
        while !log.maintain().unwrap() {}
        disk.writes() - before
    };
    // Of eight slices, one for the header, then two for each eighth of the present segment.
    assert_eq!(slices(&mut log), 1);
    for index in 1..=3 {
        assert_eq!(segments(&disk).len(), 1);
        log.write(&append([entry(index, 1, &"x".repeat(512 << 10))])).unwrap();
        assert_eq!(slices(&mut log), 2, "after entry {index}");
        assert_eq!(slices(&mut log), 0, "an idle log writes nothing");
    }
    log.write(&append([entry(4, 1, &"x".repeat(512 << 10))])).unwrap();
    slices(&mut log);
    assert_eq!(segments(&disk).len(), 2, "half of the present one is taken: the next one is whole");
}

/// Housekeeping comes once for each group of batches, however large that is.
#[test]
fn the_next_segment_keeps_up_with_large_groups_and_is_finished_while_the_log_is_idle() {
    let disk = MemoryDisk::default();
    let (mut log, _) = Log::open(disk.clone(), Options { segment_bytes: 16 << 20, ..options() }).unwrap();
    let writes = |log: &mut Log<MemoryDisk>, housekeep: fn(&mut Log<MemoryDisk>) -> Result<(), Error>| {
        let (writes, syncs) = (disk.writes(), disk.syncs());
        housekeep(log).unwrap();
        (disk.writes() - writes, disk.syncs() - syncs)
    };
    let maintain = |log: &mut Log<MemoryDisk>| log.maintain().map(|_| ());
    // The first segment has 4 MiB, so that its sixteenth stands for one of 2 MiB of the next.
    writes(&mut log, maintain);
    log.write(&append([entry(1, 1, &"x".repeat(256 << 10))])).unwrap();
    assert_eq!(writes(&mut log, maintain), (5, 1));
    log.write(&append([entry(2, 1, &"x".repeat(1 << 20))])).unwrap();
    assert_eq!(writes(&mut log, maintain), (8, 1), "a bounded number of slices, and one sync");
    for _ in 0..32 {
        log.prepare().unwrap();
    }
    assert_eq!(segments(&disk).len(), 2);
    assert_eq!(writes(&mut log, Log::prepare), (0, 0));
}

#[test]
fn a_new_log_begins_with_a_small_segment() {
    let disk = MemoryDisk::default();
    let (mut log, _) = Log::open(disk.clone(), Options { segment_bytes: 16 << 20, ..options() }).unwrap();
    let bytes_of = |name: &str| disk.open(name).unwrap().len().unwrap();
    assert_eq!(bytes_of(&segments(&disk)[0]), 4 << 20);
    log.write(&append([entry(1, 1, &"x".repeat(5 << 20))])).unwrap();
    log.sync().unwrap();
    let found: Vec<u64> = segments(&disk).iter().map(|name| bytes_of(name)).collect();
    assert_eq!(found, [4 << 20, 16 << 20], "what is too large for the first goes into the second");
    drop(log);
    assert_eq!(indexes(&open(&disk).unwrap().1), [1]);
}

#[test]
fn nothing_is_released_that_no_snapshot_includes() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=40);
    log.release(40).unwrap();
    assert_eq!(log.first_index(), 1);
    drop(log);
    // Some of these snapshots end one entry before a segment does.
    for included in 1..=40 {
        let disk = disk.copy();
        let (mut log, _) = open(&disk).unwrap();
        snapshot(&log, included);
        log.release(100).unwrap();
        assert!(log.first_index() <= included + 1, "{}", log.first_index());
        drop(log);
        assert_eq!(indexes(&open(&disk).unwrap().1), (included + 1..=40).collect::<Vec<_>>());
    }
}

#[test]
fn an_idle_log_is_marked_once() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=2);
    log.mark().unwrap();
    let writes = disk.writes();
    log.mark().unwrap();
    assert_eq!(disk.writes(), writes);
    drop(log);
    // Nor does a log grow by being opened.
    let before = disk.content(&segments(&disk)[0]);
    drop(open(&disk).unwrap());
    assert_eq!(disk.content(&segments(&disk)[0]), before);
}

#[test]
fn another_segment_size_takes_effect_with_the_next_segment() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=3);
    log.maintain().unwrap();
    drop(log);
    let larger = Options { segment_bytes: 2048, ..options() };
    let (mut log, _) = Log::open(disk.clone(), larger).unwrap();
    log.write(&append([entry(4, 1, &"x".repeat(1500))])).unwrap();
    log.sync().unwrap();
    drop(log);
    let (_log, recovered) = open(&disk).unwrap();
    assert_eq!(indexes(&recovered), [1, 2, 3, 4]);
}

#[test]
#[should_panic(expected = "entry 3 follows entry 1")]
fn a_gap_is_our_own_bug() {
    let (mut log, _) = open(&MemoryDisk::default()).unwrap();
    log.write(&append([entry(1, 1, "a"), entry(3, 1, "c")])).unwrap();
}
