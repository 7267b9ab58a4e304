//! Damaged folders that come back under repair: with what is intact, nothing else, and never as if that were all.
//! HAZARDS 20, 23.

use quorate_log::{Disk, Error, HardState, Log, Options, Recovered, SetAside, Write};

use crate::{
    append, append_and_sync, entry, indexes,
    memory_disk::{Choices, MemoryDisk},
    open, options, promise, refusal, snapshots,
};

/// Several segments, a snapshot that the log needs, a truncation behind it, and a term that the log does not know.
pub(crate) fn store() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    log.write(&promise(1, 1, 0)).unwrap();
    append_and_sync(&mut log, 1..=12);
    snapshots::make(&log, 10, 1, b"the machine's state");
    log.release(11).unwrap();
    append_and_sync(&mut log, 13..=18);
    log.write(&Write { truncate_from: Some(17), ..promise(2, 3, 16) }).unwrap();
    log.write(&append([entry(17, 2, "another payload"), entry(18, 2, "and one more")])).unwrap();
    log.sync().unwrap();
    log.write(&promise(2, 3, 18)).unwrap();
    append_and_sync(&mut log, 19..=24);
    log.write(&promise(7, 2, 18)).unwrap();
    log.mark().unwrap();
    assert!(log.first_index() > 1, "the snapshot is needed");
    disk
}

pub(crate) fn set_aside(disk: &MemoryDisk) -> Result<SetAside, Error> {
    let damage = refusal(open(disk));
    Log::set_damage_aside(disk, &options(), &damage)
}

/// What is left is a beginning of what the log once was, and what it takes for committed is so.
pub(crate) fn check_left(recovered: &Recovered, whole: &Recovered, context: &str) {
    assert_eq!((recovered.hard_state.term, recovered.hard_state.vote), (7, 2), "{context}");
    let (base, commit) =
        (recovered.snapshot.as_ref().map_or(0, |header| header.index), recovered.hard_state.commit);
    let expected: Vec<u64> = (base + 1..=base + recovered.entries.len() as u64).collect();
    assert_eq!(indexes(recovered), expected, "{context}");
    assert!(commit <= whole.hard_state.commit, "{context}: {commit}");
    for found in recovered.entries.iter().filter(|entry| entry.index <= commit) {
        assert!(whole.entries.contains(found), "{context}: entry {} is not what was committed", found.index);
    }
}

#[test]
fn whatever_bit_of_log_or_snapshot_flips_the_folder_comes_back_under_repair_and_nothing_is_cut() {
    let origin = store();
    let (_, whole) = open(&origin.copy()).unwrap();
    let mut lasts = std::collections::BTreeSet::new();
    for name in origin.list().unwrap() {
        // One bit of each byte will do: each is covered by a checksum.
        for byte in 0..origin.content(&name).len() {
            let disk = origin.copy();
            disk.tamper(&name, |bytes| bytes[byte] ^= 1 << (byte % 8));
            let damaged = disk.content(&name);
            let Err(damage) = open(&disk) else { continue };
            let context = format!("{name} byte {byte}");
            if name == "identity" {
                assert!(Log::set_damage_aside(&disk, &options(), &damage).is_err(), "{context}");
                continue;
            }
            let aside = Log::set_damage_aside(&disk, &options(), &damage)
                .unwrap_or_else(|error| panic!("{context}: {error}"));
            let plain = name.rsplit('/').next().unwrap();
            assert_eq!(disk.content(&format!("damaged-1.{plain}")), damaged, "{context}");
            let (_log, recovered) = open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
            check_left(&recovered, &whole, &context);
            let reason =
                recovered.under_repair.clone().unwrap_or_else(|| panic!("{context}: as if nothing were"));
            assert!(reason.contains(plain) && reason.contains("at byte"), "{context}: {reason}");
            lasts.insert(aside.last_index);
        }
    }
    // Nothing at all without the snapshot, and else all before the bad record.
    assert!(lasts.contains(&0) && lasts.contains(&10) && lasts.contains(&20), "{lasts:?}");
}

#[test]
fn a_folder_is_under_repair_until_that_is_ended() {
    let disk = store();
    let newest = disk.list().unwrap().into_iter().rfind(|name| name.starts_with("segment-")).unwrap();
    disk.tamper(&newest, |bytes| bytes[128 + 40] ^= 1);
    set_aside(&disk).unwrap();
    let (mut log, recovered) = open(&disk).unwrap();
    assert!(recovered.under_repair.is_some());
    let last = log.last_index();
    append_and_sync(&mut log, last + 1..=30);
    drop(log);
    let (mut log, recovered) = open(&disk).unwrap();
    assert!(recovered.under_repair.is_some());
    log.end_repair().unwrap();
    log.end_repair().unwrap();
    drop(log);
    disk.cut_power(&mut Choices::new(1));
    let (_log, recovered) = open(&disk).unwrap();
    assert_eq!((&recovered.under_repair, indexes(&recovered).last()), (&None, Some(&30)));
}

/// `docs/log-format.md` draws these bytes: they change only together with the format version.
#[test]
fn golden_bytes_of_the_mark_of_a_folder_under_repair() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=2);
    log.mark().unwrap();
    drop(log);
    disk.tamper("segment-00000000000000000001", |bytes| bytes[9] ^= 1);
    set_aside(&disk).unwrap();
    let reason = "data/segment-00000000000000000001 is damaged at byte 0: the header of the oldest segment is unreadable";
    let mut expected = b"quor-rep\x01\0\0\0\x66\0\0\0".to_vec();
    expected.extend_from_slice(reason.as_bytes());
    let crc = crc32c::crc32c(&expected);
    expected.extend_from_slice(&crc.to_le_bytes());
    assert_eq!(disk.content("under-repair"), expected);
}

/// A log once truncated and written anew is read up to before that: what it holds there was never committed, whatever
/// the slots say, which know of a later time.
#[test]
fn a_truncation_that_is_lost_takes_what_was_committed_later_with_it() {
    let disk = MemoryDisk::default();
    let options = Options { segment_bytes: 4096, ..options() };
    let open = |disk: &MemoryDisk| Log::open(disk.clone(), options.clone());
    let (mut log, _) = open(&disk).unwrap();
    log.write(&promise(1, 1, 0)).unwrap();
    append_and_sync(&mut log, 1..=4);
    let before = disk.content("segment-00000000000000000001");
    log.write(&Write { truncate_from: Some(3), ..promise(2, 2, 2) }).unwrap();
    log.write(&append([entry(3, 2, "three"), entry(4, 2, "four")])).unwrap();
    log.sync().unwrap();
    log.write(&promise(3, 1, 4)).unwrap();
    log.mark().unwrap();
    drop(log);
    let begin = before.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    // Behind the mark of the batch that truncates.
    disk.tamper("segment-00000000000000000001", |bytes| bytes[begin + 40] ^= 1);
    let aside = Log::set_damage_aside(&disk, &options, &refusal(open(&disk))).unwrap();
    assert_eq!((aside.snapshot, aside.last_index), (0, 4));
    let (log, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.hard_state, HardState { term: 3, vote: 1, commit: 0 });
    assert_eq!(recovered.entries.last().map(|entry| entry.term), Some(1));
    drop(log);
    // The slots have forgotten it, too.
    let (mut log, _) = open(&disk).unwrap();
    log.end_repair().unwrap();
    drop(log);
    let (_log, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.hard_state.commit, 0);
}

#[test]
fn without_a_provable_vote_nothing_is_changed() {
    let disk = store();
    let segment = disk.list().unwrap().into_iter().find(|name| name.starts_with("segment-")).unwrap();
    disk.tamper(&segment, |bytes| bytes[128] ^= 1);
    for slot in ["hardstate-a", "hardstate-b"] {
        let disk = disk.copy();
        disk.tamper(slot, |bytes| bytes[20] ^= 1);
        let before = disk.list().unwrap();
        let damage = refusal(open(&disk));
        let Err(Error::Corrupt { file, .. }) = Log::set_damage_aside(&disk, &options(), &damage) else {
            panic!("{slot}: it came back")
        };
        // An open writes the other slot anew, and may have done so with this one.
        assert!(file.contains("hardstate-"), "{file}");
        assert_eq!(disk.list().unwrap(), before);
    }
}

/// Cut short by a power cut after any of its changes, it leaves a folder that is damaged as before, or under repair; and
/// what was damaged is still there, as it was. Recovery once took the damage for an unsynced write when the segments
/// behind it, with the marks that vouched for it, had been moved already, and zeroed it.
#[test]
fn cut_short_at_any_change_it_never_leaves_an_innocent_folder() {
    let origin = store();
    let (_, whole) = open(&origin.copy()).unwrap();
    let segments: Vec<String> =
        origin.list().unwrap().into_iter().filter(|name| name.starts_with("segment-")).collect();
    let snapshot = format!("snapshots/{:020}.snapshot", 10);
    let mut cuts = 0;
    for damaged in segments.iter().chain([&snapshot]) {
        let damage_at = if damaged == &snapshot { 30 } else { 128 };
        for changes in 0.. {
            let disk = origin.copy();
            disk.tamper(damaged, |bytes| bytes[damage_at] ^= 1);
            let content = disk.content(damaged);
            let Err(damage) = open(&disk) else { break };
            disk.set_fuse(Some(changes));
            let done = Log::set_damage_aside(&disk, &options(), &damage).is_ok();
            disk.set_fuse(None);
            disk.cut_power(&mut Choices::new(changes * 7919 + 1));
            let context = format!("{damaged}, {changes} changes");
            if let Err(again) = open(&disk) {
                assert!(matches!(again, Error::Corrupt { .. }), "{context}: {again}");
                Log::set_damage_aside(&disk, &options(), &again)
                    .unwrap_or_else(|error| panic!("{context}: {error}"));
            }
            let (_log, recovered) = open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
            check_left(&recovered, &whole, &context);
            assert!(recovered.under_repair.is_some(), "{context}");
            let kept = disk.list().unwrap().iter().any(|name| disk.content(name) == content);
            assert!(kept, "{context}: what was damaged is gone");
            if done {
                break;
            }
            cuts += 1;
        }
    }
    assert!(cuts > 80, "only {cuts} cuts");
}

fn numbers(disk: &MemoryDisk) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| name.starts_with("segment-")).collect()
}

/// A newest segment that was gone, or had become zeros, once looked like a log that ends there: the node came back with
/// less than it had acknowledged, and voted.
#[test]
fn a_newest_segment_that_is_gone_or_zeros_is_corruption_and_comes_back_under_repair() {
    let origin = store();
    let (_, whole) = open(&origin.copy()).unwrap();
    let gone = |disk: &MemoryDisk, name: &str| disk.remove(name).unwrap();
    let zeroed = |disk: &MemoryDisk, name: &str| disk.tamper(name, |bytes| bytes.fill(0));
    let emptied = |disk: &MemoryDisk, name: &str| disk.tamper(name, Vec::clear);
    for lose in [&gone as &dyn Fn(&MemoryDisk, &str), &zeroed, &emptied] {
        let disk = origin.copy();
        // Some of them may be ready for what is to come.
        let used = |name: &String| origin.content(name).iter().any(|&byte| byte != 0);
        let (newest, unused): (Vec<String>, _) = numbers(&origin).into_iter().partition(used);
        unused.iter().for_each(|name| disk.remove(name).unwrap());
        lose(&disk, newest.last().unwrap());
        let damage = refusal(open(&disk));
        let Error::Corrupt { detail, .. } = &damage else { panic!("{damage}") };
        assert!(detail.contains("is missing, or has become zeros"), "{detail}");
        let aside = Log::set_damage_aside(&disk, &options(), &damage).unwrap();
        let (mut log, recovered) = open(&disk).unwrap();
        check_left(&recovered, &whole, "without the newest segment");
        assert!(recovered.under_repair.is_some());
        // Once it is whole, it opens as any other.
        append_and_sync(&mut log, aside.last_index + 1..=30);
        log.end_repair().unwrap();
        drop(log);
        assert_eq!(indexes(&open(&disk).unwrap().1).last(), Some(&30));
    }
}

/// Nobody had marked the log when the node was killed: what a slot said when the segment was begun will do.
#[test]
fn a_newest_segment_is_missed_without_an_idle_moment() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    for last in 1..=60 {
        append_and_sync(&mut log, last..=last);
    }
    drop(log);
    let newest = numbers(&disk).into_iter().rfind(|name| disk.content(name)[0] != 0).unwrap();
    disk.tamper(&newest, |bytes| bytes.fill(0));
    let damage = refusal(open(&disk));
    assert!(matches!(damage, Error::Corrupt { .. }), "{damage}");
}

/// Both marks were made before one sync of the folder, and a power cut kept the second alone: the next start moved what was
/// damaged aside, and the node went on as if it had never had it.
#[test]
fn a_folder_whose_files_are_being_moved_is_under_repair_also_if_that_mark_is_gone() {
    let disk = store();
    let segment = disk.list().unwrap().into_iter().find(|name| name.starts_with("segment-")).unwrap();
    disk.tamper(&segment, |bytes| bytes[50] ^= 1);
    drop(disk.create("setting-aside").unwrap());
    set_aside(&disk).unwrap();
    let (_log, recovered) = open(&disk).unwrap();
    assert!(recovered.under_repair.is_some());
}
