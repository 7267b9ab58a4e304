//! The operating system's file system.

use quorate_log::{Disk, DiskFile, Error, HardState, Log, Options, OsDisk, Room, SnapshotHeader};

use crate::{append, entry, indexes, promise};

fn options() -> Options {
    Options { segment_bytes: 64 << 10, reserve_bytes: 0, ..Options::new(1, "raft") }
}

#[test]
fn a_log_lives_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new").join("data");
    let disk = OsDisk::new(&path).unwrap();
    let (mut log, _) = Log::open(disk.clone(), options()).unwrap();
    let error = Log::open(disk.clone(), options()).map(drop).unwrap_err();
    assert!(matches!(&error, Error::Locked { folder } if *folder == path.display().to_string()), "{error}");
    log.write(&promise(1, 1, 0)).unwrap();
    for index in 1..=200 {
        log.write(&append([entry(index, 1, &"x".repeat(1000))])).unwrap();
        if index % 10 == 0 {
            log.sync().unwrap();
            log.maintain().unwrap();
        }
    }
    assert_eq!(log.room(), Room::Enough);
    let header = SnapshotHeader { index: 150, term: 1, stamp: 0, membership: "m".into(), bytes: 0 };
    let store = log.snapshots();
    // The store is used from another thread, like the log itself.
    let made = std::thread::spawn(move || {
        let mut writer = store.begin(&header).unwrap();
        writer.write(&[7; 100_000]).unwrap();
        writer.finish().unwrap()
    })
    .join()
    .unwrap();
    log.release(151).unwrap();
    log.mark().unwrap();
    drop(log);
    let (_log, recovered) = Log::open(disk.clone(), options()).unwrap();
    assert_eq!(indexes(&recovered), (151..=200).collect::<Vec<_>>());
    assert_eq!(recovered.hard_state, HardState { term: 1, vote: 1, commit: 150 });
    assert_eq!((recovered.snapshot, recovered.cut), (Some(made), None));
    assert!(disk.list().unwrap().contains(&"snapshots/00000000000000000150.snapshot".to_owned()));
}

#[test]
fn log_and_store_may_live_on_threads_of_their_own() {
    fn is_send<T: Send>() {}
    is_send::<Log<OsDisk>>();
    is_send::<quorate_log::SnapshotStore<OsDisk>>();
    is_send::<quorate_log::SnapshotWriter<OsDisk>>();
    is_send::<quorate_log::SnapshotReader<OsDisk>>();
    is_send::<Error>();
}

#[test]
fn files_keep_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let disk = OsDisk::new(folder.path()).unwrap();
    assert_eq!(disk.open("a").map(drop).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    let mut file = disk.create("a").unwrap();
    file.preallocate(10).unwrap();
    file.write_at(8, b"xyz").unwrap();
    file.sync_data().unwrap();
    let mut bytes = [1; 20];
    assert_eq!((file.read_at(6, &mut bytes).unwrap(), &bytes[..5]), (5, &b"\0\0xyz"[..]));
    assert_eq!((file.len().unwrap(), file.is_empty().unwrap()), (11, false));
    disk.rename("a", "snapshots/b").unwrap();
    disk.sync_directory().unwrap();
    assert_eq!(disk.list().unwrap(), ["snapshots/b"]);
    assert!(disk.create("snapshots/b").unwrap().is_empty().unwrap());
    disk.remove("snapshots/b").unwrap();
    assert!(disk.list().unwrap().is_empty());
    assert!(disk.available_bytes().unwrap() > 0);
}
