use std::collections::BTreeSet;

use super::{damage::Damage, *};

fn disk() -> SimDisk {
    SimDisk::new("disk".into(), 1 << 20, Random::new(3, 0))
}

fn content(disk: &SimDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name).expect("the file is there");
    let mut bytes = vec![0; 4096];
    let count = file.read_at(0, &mut bytes).expect("it can be read");
    bytes.truncate(count);
    bytes
}

#[test]
fn what_was_synced_survives_each_power_cut() {
    for seed in 0..100 {
        let disk = SimDisk::new("disk".into(), 1 << 20, Random::new(seed, 0));
        let mut file = disk.create("f").expect("room");
        file.write_at(0, b"synced").expect("room");
        file.sync_data().expect("a healthy disk");
        disk.sync_directory().expect("a healthy disk");
        file.write_at(1000, &[1; 2000]).expect("room");
        disk.cut_power();
        assert_eq!(content(&disk, "f")[..6], *b"synced");
    }
}

#[test]
fn unsynced_writes_are_torn_at_sectors() {
    let torn = (0..100).any(|seed| {
        let disk = SimDisk::new("disk".into(), 1 << 20, Random::new(seed, 0));
        let mut file = disk.create("f").expect("room");
        file.preallocate(2048).expect("room");
        file.sync_data().expect("a healthy disk");
        disk.sync_directory().expect("a healthy disk");
        file.write_at(0, &[1; 2048]).expect("room");
        disk.cut_power();
        let sectors: Vec<u8> = content(&disk, "f").chunks(512).map(|sector| sector[0]).collect();
        sectors[0] == 0 && sectors[1] == 1
    });
    assert!(torn, "no seed kept a later sector and lost an earlier one");
}

#[test]
fn a_failed_sync_leaves_bytes_that_are_read_and_never_durable() {
    let disk = disk();
    let mut file = disk.create("f").expect("room");
    disk.sync_directory().expect("a healthy disk");
    file.write_at(0, b"gone").expect("room");
    disk.fail_next_sync();
    assert!(file.sync_data().is_err());
    assert_eq!(content(&disk, "f"), b"gone");
    assert!(file.sync_data().is_ok());
    disk.cut_power();
    assert_eq!(content(&disk, "f"), b"");
}

#[test]
fn names_survive_as_a_prefix_of_their_changes() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let disk = SimDisk::new("disk".into(), 1 << 20, Random::new(seed, 0));
        disk.create("old").expect("room");
        disk.sync_directory().expect("a healthy disk");
        disk.create("new").expect("room");
        disk.rename("new", "old").expect("it is there");
        disk.create("later").expect("room");
        disk.cut_power();
        let names = disk.list().expect("a healthy disk");
        assert!(names.contains(&"old".to_owned()));
        seen.insert((names.contains(&"new".to_owned()), names.contains(&"later".to_owned())));
    }
    assert_eq!(seen.len(), 4, "no order holds among different names");
}

#[test]
fn a_full_disk_refuses_growth_and_takes_overwrites() {
    let disk = disk();
    let mut file = disk.create("f").expect("room");
    file.write_at(0, &[1; 100]).expect("room");
    disk.set_capacity(0);
    assert!(file.write_at(50, &[2; 50]).is_ok());
    let refused = file.write_at(50, &[2; 51]).expect_err("no room");
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_fuse_ends_everything_until_the_power_is_back() {
    let disk = disk();
    disk.light_fuse(1);
    assert!(disk.create("f").is_ok());
    assert!(disk.create("g").is_err() && disk.has_burnt_out());
    disk.cut_power();
    assert!(disk.list().is_ok() && !disk.has_burnt_out());
}

#[test]
fn a_lock_ends_with_its_holder() {
    let disk = disk();
    let lock = disk.lock("lock").expect("nobody holds it");
    assert_eq!(disk.lock("lock").expect_err("held").kind(), io::ErrorKind::WouldBlock);
    drop(lock);
    assert!(disk.lock("lock").is_ok());
}

/// A disk whose file has two writes that were synced, one after the other, and then a mark.
fn written_disk() -> (SimDisk, u64) {
    let disk = disk();
    let mut file = disk.create("f").expect("room");
    disk.sync_directory().expect("a healthy disk");
    file.write_at(0, b"first").expect("room");
    file.sync_data().expect("a healthy disk");
    let syncs = disk.syncs();
    file.write_at(5, b"mark").expect("room");
    file.sync_data().expect("a healthy disk");
    (disk, syncs)
}

fn damaged(damage: Damage, seed: u64) -> (Option<String>, SimDisk) {
    let (disk, syncs) = written_disk();
    let name = disk.damage(damage, &mut Random::new(seed, 0), syncs, |name| name == "f");
    (name, disk)
}

#[test]
fn a_lost_write_shows_what_was_there_before_and_spares_what_came_last() {
    let (name, disk) = damaged(Damage::LostWrite, 1);
    assert_eq!(name.as_deref(), Some("f"));
    assert_eq!(content(&disk, "f"), b"\0\0\0\0\0mark");
}

#[test]
fn a_misdirected_write_is_missing_in_its_place_and_never_lies_on_what_came_last() {
    let mut elsewhere = 0;
    for seed in 0..50 {
        let (name, disk) = damaged(Damage::MisdirectedWrite, seed);
        let bytes = content(&disk, "f");
        assert_eq!(bytes[5..], *b"mark");
        elsewhere += u64::from(name.is_some());
    }
    // Only its own place is left in a file so small.
    assert!(elsewhere > 0);
}

#[test]
fn a_stale_read_passes() {
    let (_, disk) = damaged(Damage::StaleRead, 1);
    assert_eq!(content(&disk, "f"), b"\0\0\0\0\0mark");
    disk.end_stale_reads();
    assert_eq!(content(&disk, "f"), b"firstmark");
}

#[test]
fn rot_changes_bits_of_what_was_written_and_not_of_what_came_last() {
    for seed in 0..50 {
        let (name, disk) = damaged(Damage::Rot, seed);
        assert_eq!(name.as_deref(), Some("f"));
        assert_eq!(content(&disk, "f")[5..], *b"mark");
    }
}

#[test]
fn what_was_written_again_or_had_to_show_itself_cannot_be_lost() {
    let (disk, _) = written_disk();
    let mut file = disk.open("f").expect("the file is there");
    file.write_at(0, b"first").expect("room");
    file.sync_data().expect("a healthy disk");
    let mut random = Random::new(1, 0);
    let syncs = disk.syncs();
    disk.damage(Damage::LostWrite, &mut random, syncs, |_| true);
    assert_eq!(content(&disk, "f"), b"first\0\0\0\0");

    let (disk, syncs) = written_disk();
    disk.cut_power();
    assert_eq!(disk.damage(Damage::LostWrite, &mut random, syncs, |_| true), None);
}
