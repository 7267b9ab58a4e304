//! Folders that are read as they are, and stay so.

use std::collections::BTreeMap;

use quorate_log::{Disk, Error, Recovered, Salvage};

use crate::{append_and_sync, indexes, memory_disk::MemoryDisk, open, promise, repairs::store};

fn contents(disk: &MemoryDisk) -> BTreeMap<String, Vec<u8>> {
    disk.list().unwrap().into_iter().map(|name| (name.clone(), disk.content(&name))).collect()
}

/// What is found in a folder, none of whose bytes may change.
fn read(disk: &MemoryDisk) -> Result<Recovered, Error> {
    let before = contents(disk);
    let result = Salvage::read(disk.clone()).map(|(_, recovered)| recovered);
    assert!(contents(disk) == before, "a byte has changed");
    result
}

#[test]
fn of_an_intact_folder_it_is_what_opening_recovers() {
    let disk = store();
    let found = read(&disk).unwrap();
    let (_log, mut opened) = open(&disk).unwrap();
    opened.identity.incarnation -= 1;
    assert_eq!(found, opened);
}

#[test]
fn an_unsynced_end_is_left_out_and_left_there() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=2);
    drop(log);
    disk.tamper("segment-00000000000000000001", |bytes| bytes[400] = 1);
    let found = read(&disk).unwrap();
    assert_eq!((indexes(&found), found.under_repair), (vec![1, 2], None));
    assert!(found.cut.unwrap().contains("1 bytes that were written and never synced"));
}

/// It answers for whatever is damaged, with what set aside would be kept; and says what is lost whenever it is less.
#[test]
fn whatever_bit_flips_what_is_left_is_read_and_what_is_lost_is_said() {
    let origin = store();
    let whole = read(&origin).unwrap();
    let mut losses = 0;
    for name in origin.list().unwrap() {
        for byte in 0..origin.content(&name).len() {
            let disk = origin.copy();
            disk.tamper(&name, |bytes| bytes[byte] ^= 1 << (byte % 8));
            let context = format!("{name} byte {byte}");
            let found = match read(&disk) {
                Ok(found) => found,
                Err(error) => {
                    assert!(name == "identity", "{context}: {error}");
                    continue;
                }
            };
            let is_less = (&found.entries, &found.snapshot) != (&whole.entries, &whole.snapshot);
            assert!(!is_less || found.under_repair.is_some(), "{context}: less, and not a word");
            assert!(found.hard_state.commit <= whole.hard_state.commit, "{context}");
            losses += u64::from(is_less);
        }
    }
    assert!(losses > 1000, "only {losses} losses");
}

#[test]
fn without_any_slot_the_log_says_what_it_knows() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    log.write(&promise(4, 2, 0)).unwrap();
    append_and_sync(&mut log, 1..=2);
    drop(log);
    for slot in ["hardstate-a", "hardstate-b"] {
        disk.tamper(slot, Vec::clear);
    }
    let found = read(&disk).unwrap();
    assert_eq!((indexes(&found), found.hard_state.term), (vec![1, 2], 4));
    assert!(found.under_repair.is_none() && found.repaired.concat().contains("hardstate-a"));
}

#[test]
fn a_folder_in_use_is_not_read() {
    let disk = store();
    let (_log, _) = open(&disk).unwrap();
    assert!(matches!(read(&disk), Err(Error::Locked { .. })));
}
