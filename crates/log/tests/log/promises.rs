//! Term and vote, which stand in the log and in two slots. HAZARDS 7, 13.

use quorate_log::{Disk, Error, HardState};

use crate::{append_and_sync, memory_disk::MemoryDisk, open, promise, refusal, snapshots};

const SLOTS: [&str; 2] = ["hardstate-a", "hardstate-b"];

fn slots(disk: &MemoryDisk) -> [Vec<u8>; 2] {
    SLOTS.map(|name| disk.content(name))
}

#[test]
fn a_promise_never_overwrites_the_slot_that_was_synced_last() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    let mut last_changed = None;
    for term in 1..=6 {
        let before = slots(&disk);
        // Two promises before one sync share a slot.
        log.write(&promise(term, 0, 0)).unwrap();
        log.write(&promise(term, 2, 0)).unwrap();
        let after = slots(&disk);
        let changed: Vec<usize> = (0..2).filter(|&slot| before[slot] != after[slot]).collect();
        assert_eq!(changed.len(), 1, "term {term}");
        assert_ne!(last_changed, Some(changed[0]), "term {term}");
        last_changed = Some(changed[0]);
        log.sync().unwrap();
    }
}

#[test]
fn a_commit_index_alone_costs_no_slot() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=1);
    append_and_sync(&mut log, 2..=2);
    let before = slots(&disk);
    log.write(&promise(0, 0, 2)).unwrap();
    assert_eq!(slots(&disk), before);
}

/// The marks within a segment are lost with it. That it was there, a slot knows from the second batch in it on.
#[test]
fn each_segment_costs_one_turn_of_the_slots() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    let segments = || disk.list().unwrap().iter().filter(|name| name.starts_with("segment-")).count();
    let (mut turns, mut before) = (0, slots(&disk));
    for index in 1..=60 {
        append_and_sync(&mut log, index..=index);
        let after = slots(&disk);
        turns += usize::from(before != after);
        before = after;
    }
    // The last segment may be the next one, and still unused.
    assert!((segments() - 2..=segments()).contains(&turns), "{turns} turns for {} segments", segments());
}

/// Such a slot was once announced as made good without loss, whatever else was missing.
#[test]
fn what_an_unreadable_slot_may_have_held_is_only_certain_beside_a_whole_log() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=2);
    log.write(&promise(4, 2, 0)).unwrap();
    log.sync().unwrap();
    drop(log);
    disk.tamper(SLOTS[0], |bytes| bytes[20] ^= 1);
    let told = open(&disk.copy()).unwrap().1.repaired.concat();
    assert!(told.contains("the log has what was promised there"), "{told}");
    disk.tamper("segment-00000000000000000001", |bytes| {
        let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
        bytes[end - 8] ^= 1;
    });
    let recovered = open(&disk).unwrap().1;
    assert!(recovered.cut.is_some());
    let told = recovered.repaired.concat();
    assert!(told.contains("this node may vote twice"), "{told}");
}

#[test]
fn one_unreadable_slot_is_written_anew_and_two_stop_the_node() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    log.write(&promise(4, 2, 0)).unwrap();
    log.sync().unwrap();
    drop(log);
    for damaged in SLOTS {
        let disk = disk.copy();
        disk.tamper(damaged, |bytes| bytes[20] ^= 1);
        let (log, recovered) = open(&disk).unwrap();
        assert_eq!(recovered.hard_state, HardState { term: 4, vote: 2, commit: 0 });
        assert!(recovered.repaired[0].contains(damaged), "{:?}", recovered.repaired);
        drop(log);
        let (_log, recovered) = open(&disk).unwrap();
        assert!(recovered.repaired.is_empty(), "{:?}", recovered.repaired);
    }
    for damaged in SLOTS {
        disk.tamper(damaged, |bytes| bytes.clear());
    }
    let error = refusal(open(&disk));
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

#[test]
fn a_promise_outlives_its_segment_even_without_slots() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    let unpromised = slots(&disk);
    log.write(&promise(4, 2, 0)).unwrap();
    append_and_sync(&mut log, 1..=40);
    snapshots::make(&log, 40, 1, b"state");
    log.release(41).unwrap();
    assert!(log.first_index() > 1);
    drop(log);
    for (name, content) in SLOTS.into_iter().zip(unpromised) {
        disk.tamper(name, |bytes| *bytes = content);
    }
    let (_log, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.hard_state.term, recovered.hard_state.vote), (4, 2));
}

#[test]
#[should_panic(expected = "term 4 vote 2 became term 4 vote 3")]
fn a_vote_is_never_taken_back() {
    let (mut log, _) = open(&MemoryDisk::default()).unwrap();
    log.write(&promise(4, 2, 0)).unwrap();
    log.write(&promise(4, 3, 0)).unwrap();
}
