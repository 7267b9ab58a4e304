//! Whose folder it is, and who may open it. HAZARDS 22.

use quorate_log::{Disk, Error, Log, Options};

use crate::{append_and_sync, entry, memory_disk::MemoryDisk, open, options, refusal};

fn born() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=3);
    disk
}

#[test]
fn each_open_is_a_new_incarnation_and_keeps_the_birth() {
    let disk = MemoryDisk::default();
    let first = Options { birth: "peers".into(), cluster_id: None, ..options() };
    let (log, recovered) = Log::open(disk.clone(), first).unwrap();
    assert_eq!((recovered.identity.incarnation, &recovered.identity.birth[..]), (1, &b"peers"[..]));
    drop(log);
    let (_log, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.identity.incarnation, &recovered.identity.birth[..]), (2, &b"peers"[..]));
}

#[test]
fn a_cluster_id_is_kept_and_never_changed() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    log.set_cluster_id(7).unwrap();
    log.set_cluster_id(7).unwrap();
    let error = log.set_cluster_id(8).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    drop(log);
    let (log, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.identity.cluster_id, Some(7));
    drop(log);
    let error = refusal(Log::open(disk, Options { cluster_id: Some(8), ..options() }));
    assert!(error.to_string().contains("data/identity belongs to cluster"), "{error}");
}

#[test]
fn another_nodes_folder_is_refused() {
    let error = refusal(Log::open(born(), Options { node_id: 2, ..options() }));
    assert!(error.to_string().starts_with("data/identity belongs to node 1, and this is node 2"), "{error}");
}

#[test]
fn another_engines_folder_is_refused() {
    let error = refusal(Log::open(born(), Options { engine: "paxos".into(), ..options() }));
    assert!(error.to_string().contains("the engine raft, and paxos is set"), "{error}");
}

#[test]
fn a_second_process_is_refused_until_the_first_is_gone() {
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk).unwrap();
    let error = refusal(open(&disk));
    assert!(matches!(&error, Error::Locked { folder } if folder == "data"), "{error}");
    drop(log);
    assert!(open(&disk).is_ok());
}

#[test]
fn a_folder_that_lost_its_identity_is_not_taken_for_a_new_one() {
    let disk = born();
    disk.remove("identity").unwrap();
    let error = refusal(open(&disk));
    assert!(error.to_string().contains("but no identity file"), "{error}");
}

#[test]
fn a_wiped_folder_is_refused_unless_a_new_node_is_meant() {
    let error = refusal(Log::open(MemoryDisk::default(), Options { create: false, ..options() }));
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(Log::open(born(), Options { create: false, ..options() }).is_ok());
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let disk = born();
    disk.tamper("identity", |bytes| {
        bytes[8] = 9;
        let end = bytes.len() - 4;
        let crc = crc32c::crc32c(&bytes[..end]);
        bytes[end..].copy_from_slice(&crc.to_le_bytes());
    });
    let error = refusal(open(&disk));
    assert!(matches!(&error, Error::Newer { found: 9, known: 1, .. }), "{error}");
}

#[test]
fn segments_and_slots_of_another_node_are_refused() {
    for name in ["segment-00000000000000000001", "hardstate-a"] {
        let ours = born();
        let theirs = MemoryDisk::default();
        let (mut log, _) = Log::open(theirs.clone(), Options { node_id: 2, ..options() }).unwrap();
        log.write(&crate::append([entry(1, 1, "x")])).unwrap();
        log.sync().unwrap();
        let foreign = theirs.content(name);
        ours.tamper(name, |bytes| *bytes = foreign);
        let error = refusal(open(&ours));
        assert!(error.to_string().contains("was written by another node"), "{error}");
    }
}

/// Nobody was promised anything before the first open had returned, so an attempt that was cut short at any
/// point is begun anew, and does not count as a folder that lost its identity.
#[test]
fn a_folder_whose_making_was_cut_short_is_made_again() {
    use crate::memory_disk::Choices;
    for seed in 0..200 {
        let disk = MemoryDisk::default();
        disk.set_capacity(Some(40 * (seed % 50)));
        drop(open(&disk));
        disk.cut_power(&mut Choices::new(seed));
        disk.set_capacity(None);
        let (mut log, recovered) = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(recovered.entries.is_empty());
        append_and_sync(&mut log, 1..=2);
    }
}
