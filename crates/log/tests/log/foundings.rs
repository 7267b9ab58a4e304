//! Folders that begin with somebody else's snapshot: whole, or refused, or as empty as before.

use bytes::Bytes;
use quorate_log::{Disk, Error, Founding, HardState, Log, Options, SnapshotHeader, UNFINISHED};

use crate::{
    append, entry, indexes,
    memory_disk::{Choices, MemoryDisk},
    options, promise, refusal,
};

fn of_cluster() -> Options {
    Options { cluster_id: Some(8), birth: Bytes::from_static(b"n1"), ..options() }
}

fn header() -> SnapshotHeader {
    SnapshotHeader { index: 40, term: 5, stamp: 400, membership: Bytes::from_static(b"n1"), bytes: 0 }
}

pub(crate) fn found(disk: &MemoryDisk) -> Result<(), Error> {
    let data = [Bytes::from_static(b"the machine's "), Bytes::from_static(b"state")];
    Founding::begin(disk.clone())?.finish(&of_cluster(), &header(), data)
}

/// The folder's data but for its incarnation; none if a new node may begin in it.
fn content(disk: &MemoryDisk) -> Result<Option<Vec<u8>>, Error> {
    if disk.list().unwrap().iter().all(|name| name == "lock") {
        return Ok(None);
    }
    let (log, recovered) = Log::open(disk.clone(), options())?;
    assert_eq!(recovered.hard_state, HardState { term: 5, vote: 0, commit: 40 });
    let blocks = log.snapshots().reader(recovered.snapshot.unwrap().index)?;
    Ok(Some(blocks.collect::<Result<Vec<_>, _>>()?.concat()))
}

#[test]
fn a_founded_log_goes_on_behind_its_snapshot() {
    let disk = MemoryDisk::default();
    found(&disk).unwrap();
    let (mut log, recovered) = Log::open(disk.clone(), options()).unwrap();
    assert_eq!(recovered.snapshot, Some(SnapshotHeader { bytes: 19, ..header() }));
    assert_eq!((recovered.identity.cluster_id, recovered.identity.incarnation), (Some(8), 2));
    assert_eq!(recovered.identity.birth, "n1");
    assert_eq!((log.first_index(), log.last_index()), (41, 40));
    assert_eq!((recovered.cut, recovered.repaired.len()), (None, 0));

    log.write(&promise(6, 1, 40)).unwrap();
    log.write(&append((41..=90).map(|index| entry(index, 6, "some payload")))).unwrap();
    log.sync().unwrap();
    drop(log);
    let (_log, recovered) = Log::open(disk, options()).unwrap();
    assert_eq!(indexes(&recovered), (41..=90).collect::<Vec<_>>());
    assert_eq!(recovered.hard_state.term, 6);
}

#[test]
fn only_an_empty_folder_that_nobody_uses_is_taken() {
    let disk = MemoryDisk::default();
    let founding = Founding::begin(disk.clone()).unwrap();
    assert!(matches!(Founding::begin(disk.clone()), Err(Error::Locked { .. })));
    assert!(matches!(refusal(Log::open(disk.clone(), options())), Error::Locked { .. }));
    drop(founding);
    found(&disk).unwrap();
    let Err(Error::Refused { why, .. }) = found(&disk) else { panic!("it was taken twice") };
    assert!(why.contains("must be empty"), "{why}");
}

#[test]
fn who_gives_up_leaves_the_folder_empty() {
    let disk = MemoryDisk::default();
    drop(Founding::begin(disk.clone()).unwrap());
    assert_eq!(content(&disk).unwrap(), None);

    // No room for the segment.
    disk.set_capacity(Some(300));
    let error = found(&disk).unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error}");
    assert_eq!(content(&disk).unwrap(), None);
    disk.set_capacity(None);
    found(&disk).unwrap();
    assert!(content(&disk).unwrap().is_some());
}

/// The power fails after each change of the disk.
#[test]
fn a_folder_that_was_left_unfinished_is_refused_and_a_whole_one_stays() {
    let (mut unfinished, mut whole) = (0, 0);
    for changes in 0..60 {
        let disk = MemoryDisk::default();
        disk.set_fuse(Some(changes));
        let founded = found(&disk);
        disk.cut_power(&mut Choices::new(changes));
        disk.mend();
        match (content(&disk), founded) {
            (Ok(Some(data)), _) => {
                assert_eq!(data, b"the machine's state", "after {changes}");
                whole += 1;
            }
            (Ok(None), Err(_)) => {}
            (Err(Error::Refused { why, .. }), Err(_)) => {
                assert!(why.contains("is unfinished") && why.contains(UNFINISHED), "{why}");
                unfinished += 1;
            }
            (content, founded) => panic!("after {changes}: {content:?}, {founded:?}"),
        }
    }
    assert!(unfinished > 5 && whole > 5, "{unfinished} {whole}");
}
