//! Power cuts at any moment: whatever was synced is there, whatever was not is there or cut, nothing is invented.

use quorate_log::Error;

use crate::{append, append_and_sync, entry, indexes, memory_disk::MemoryDisk, open, promise, refusal};

/// HAZARDS 20: the tail is torn after each of its bytes.
#[test]
fn a_batch_torn_at_any_byte_leaves_its_first_records() {
    let origin = MemoryDisk::default();
    let (mut log, _) = open(&origin).unwrap();
    append_and_sync(&mut log, 1..=1);
    // With this one a slot vouches for the segment.
    append_and_sync(&mut log, 2..=2);
    log.write(&append([entry(3, 1, "abcd"), entry(4, 1, "four"), entry(5, 1, "six")])).unwrap();
    // A mark and three entries.
    for bytes in 0..=36 + 49 + 49 + 48 {
        let disk = origin.copy();
        disk.cut_power_after(bytes);
        let (mut log, recovered) = open(&disk).unwrap_or_else(|error| panic!("{bytes} bytes: {error}"));
        let whole = [85, 134, 182].into_iter().filter(|&end| bytes >= end).count() as u64;
        assert_eq!(indexes(&recovered), (1..=2 + whole).collect::<Vec<_>>(), "{bytes} bytes");
        // The mark ends with zeros, which is what was there before.
        let clean = matches!(bytes, 0 | 29..=36 | 85 | 134 | 182);
        assert_eq!(recovered.cut.is_none(), clean, "{bytes} bytes: {:?}", recovered.cut);
        append_and_sync(&mut log, 3 + whole..=9);
        drop(log);
        let (_log, again) = open(&disk).unwrap();
        assert_eq!((indexes(&again), again.cut), ((1..=9).collect(), None), "{bytes} bytes");
    }
}

/// HAZARDS 20, etcd#16596: the very first write of a node is torn, too.
#[test]
fn the_first_write_of_a_new_node_may_be_torn() {
    let origin = MemoryDisk::default();
    let (mut log, _) = open(&origin).unwrap();
    log.write(&promise(1, 1, 0)).unwrap();
    log.write(&append([entry(1, 1, "first")])).unwrap();
    for bytes in 0..300 {
        let disk = origin.copy();
        disk.cut_power_after(bytes);
        let (_log, recovered) = open(&disk).unwrap_or_else(|error| panic!("{bytes} bytes: {error}"));
        assert!(recovered.entries.len() <= 1);
    }
}

/// HAZARDS 20: nothing that was durable is ever cut.
#[test]
fn a_bad_record_below_the_mark_stops_the_node_with_file_and_offset() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=1);
    append_and_sync(&mut log, 2..=2);
    drop(log);
    // The second batch carries the mark that vouches for the first, which begins after the segment's header.
    disk.tamper("segment-00000000000000000001", |bytes| bytes[128 + 30] ^= 1);
    let error = refusal(open(&disk));
    let Error::Corrupt { file, offset, .. } = &error else { panic!("{error}") };
    assert_eq!((file.as_str(), *offset), ("data/segment-00000000000000000001", 128));
}

#[test]
fn a_missing_segment_is_corruption() {
    use quorate_log::Disk;
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=60);
    drop(log);
    for number in [2, 3] {
        let disk = disk.copy();
        let name = format!("segment-{number:020}");
        disk.remove(&name).unwrap();
        let error = refusal(open(&disk));
        assert!(error.to_string().starts_with(&format!("data/{name} is damaged at byte 0")), "{error}");
    }
}

/// Recovery cuts a torn batch, but a sync that fails and is then forgotten keeps the zeros in the page cache alone.
/// The run after it writes the very same entry, and another power cut brings the rest of the old batch back behind
/// it. The mark before the entry is another one, so nothing fits.
#[test]
fn an_old_tail_does_not_come_back_to_life_even_if_the_zeros_over_it_are_lost() {
    let segment = "segment-00000000000000000001";
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append_and_sync(&mut log, 1..=2);
    log.mark().unwrap();
    log.write(&append([entry(3, 1, "three"), entry(4, 1, "four")])).unwrap();
    drop(log);
    let whole = disk.content(segment);
    let fourth = whole.windows(4).position(|window| window == b"four").unwrap() - 45;
    // The batch's mark, of 36 bytes, stands before the entry, of 50.
    disk.tamper(segment, |bytes| bytes[fourth - 50 - 36] ^= 1);
    let (mut log, recovered) = open(&disk).unwrap();
    assert_eq!(indexes(&recovered), [1, 2]);
    log.write(&append([entry(3, 1, "three")])).unwrap();
    log.sync().unwrap();
    drop(log);
    assert_eq!(disk.content(segment)[fourth - 5..fourth], *b"three", "it stands where it stood before");
    disk.tamper(segment, |bytes| bytes[fourth..].copy_from_slice(&whole[fourth..]));
    let (_log, recovered) = open(&disk).unwrap();
    assert_eq!(indexes(&recovered), [1, 2, 3]);
    assert!(recovered.cut.is_some());
}
