use super::*;

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
        assert!(!names.contains(&"later".to_owned()) || !names.contains(&"new".to_owned()));
    }
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
