//! Segments of a log: bytes at random, and records whose checksums are right and whose contents are not.

use quorate_log::{Error, Log, Options, Recovered};

use super::outcome;
use crate::{Target, memory_disk::MemoryDisk};

pub(super) const TARGET: Target = Target {
    name: "records",
    run,
    seeds,
    words: &[
        b"\x01\x10",
        b"\x02\x18",
        b"\x03\x08",
        b"\x04\x19",
        b"\x05\x10",
        &[0; 8],
        &[0xff; 8],
        &[1, 0, 0, 0, 0, 0, 0, 0],
    ],
};

const SEGMENT: &str = "segment-00000000000000000001";

/// Where records begin, as `docs/log-format.md` draws it.
const HEADER_BYTES: usize = 128;

fn options() -> Options {
    Options { segment_bytes: 2048, reserve_bytes: 1024, ..Options::new(1, "raft") }
}

/// The first byte says whether the rest are bodies of records, or the segment's bytes as they are.
fn run(input: &[u8]) -> Vec<u64> {
    let Some((&form, rest)) = input.split_first() else { return Vec::new() };
    let disk = MemoryDisk::default();
    drop(Log::open(disk.clone(), options()).expect("an empty folder"));
    disk.tamper(SEGMENT, |segment| {
        // As it was before anybody opened it: its first record comes from the input.
        segment[HEADER_BYTES..].fill(0);
        match form % 2 {
            0 => put_records(segment, rest),
            _ => rest.iter().zip(&mut segment[HEADER_BYTES..]).for_each(|(&new, old)| *old = new),
        }
    });
    // What the first open has said of the log vouches for nothing here.
    for slot in ["hardstate-a", "hardstate-b"] {
        disk.tamper(slot, |slot| mend_slot(slot));
    }
    let first = look(&disk);
    let second = look(&disk);
    match (first, second) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first.entries, second.entries, "a second start finds other entries");
            assert_eq!(first.hard_state, second.hard_state, "a second start finds other promises");
            assert_eq!(second.cut, None, "what was cut is there again");
            let indexes = first.entries.iter().map(|entry| entry.index);
            assert!(indexes.clone().zip(indexes.skip(1)).all(|(one, next)| next == one + 1), "a gap");
            vec![outcome((first.entries.len(), first.cut.is_some(), first.hard_state.commit.min(3)))]
        }
        (Err(first), Err(second)) => {
            assert_eq!(first.to_string(), second.to_string(), "a second start says something else");
            let text = first.to_string();
            vec![outcome(text.split_whitespace().filter(|word| word.len() > 3).collect::<Vec<_>>())]
        }
        (first, second) => panic!("first {first:?}, then {second:?}"),
    }
}

fn look(disk: &MemoryDisk) -> Result<Recovered, Error> {
    Log::open(disk.clone(), options()).map(|(_, recovered)| recovered)
}

/// Takes the durable mark out of a slot's body, and mends its checksum.
fn mend_slot(slot: &mut [u8]) {
    let crc_at = slot.len() - 4;
    slot[crc_at - 8..crc_at].fill(0);
    let crc = crc32c::crc32c(&slot[..crc_at]);
    slot[crc_at..].copy_from_slice(&crc.to_le_bytes());
}

/// Puts a record for each `kind, length, body` of `input` into the segment, with checksums as they should be.
fn put_records(segment: &mut [u8], input: &[u8]) {
    // The chain begins with the owner, the last but one number of the header.
    let mut previous: [u8; 4] = segment[84..88].try_into().expect("four bytes");
    let (mut at, mut rest) = (HEADER_BYTES, input);
    while let Some((&[kind, length], behind)) = rest.split_first_chunk() {
        let (body, behind) = behind.split_at(usize::from(length).min(behind.len()));
        rest = behind;
        let mut record = Vec::new();
        record.extend_from_slice(&(body.len() as u32).to_le_bytes());
        record.extend_from_slice(&[0; 4]);
        record.extend_from_slice(&previous);
        record.extend_from_slice(&[0, 0, 0, 0, kind, 0, 0, 0]);
        record.extend_from_slice(body);
        let crc = crc32c::crc32c(&((at - HEADER_BYTES) as u64).to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &record[..4]);
        previous = crc32c::crc32c_append(crc, &record[8..]).to_le_bytes();
        record[4..8].copy_from_slice(&previous);
        let Some(place) = segment.get_mut(at..at + record.len()) else { return };
        place.copy_from_slice(&record);
        at += record.len();
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let record = |kind: u8, numbers: &[u64], rest: &[u8]| {
        let body =
            [&numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>()[..], rest].concat();
        [&[kind, body.len() as u8], &body[..]].concat()
    };
    let mark = record(1, &[0, 1], &[]);
    let promise = record(2, &[1, 1, 0], &[]);
    let entry = |index| record(4, &[index, 1, 10 * index], b"\x01payload");
    let entries = [entry(1), entry(2), entry(3)].concat();
    let begin = [&[0], &mark[..], &promise, &entries].concat();
    let truncated = [&begin[..], &record(3, &[2], &[]), &entry(2), &record(2, &[2, 3, 2], &[])].concat();
    let reset = [&begin[..], &record(5, &[9, 1], &[]), &entry(10)].concat();
    let raw = [&[1], &[16, 0, 0, 0][..], &[0; 16], &[1, 0, 0, 0]].concat();
    vec![begin, truncated, reset, raw]
}
