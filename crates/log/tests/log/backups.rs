//! Backups: what was put in comes out, or an error says where the first wrong byte is.

use std::io::{self, Read};

use bytes::Bytes;
use proptest::prelude::*;
use quorate_log::{BackupEncoder, BackupLabel, BackupReader, Error, SnapshotHeader};

const BLOCK: usize = 65_536;
/// A block in the file, with its checksum.
const SEALED: usize = BLOCK + 4;
const FOOT: usize = 32;

fn label() -> BackupLabel {
    BackupLabel { cluster_id: 7, node_id: 2, made_ms: 99, machine_version: 1, program: "0.1.0".to_owned() }
}

fn header() -> SnapshotHeader {
    SnapshotHeader { index: 9, term: 3, stamp: 90, membership: Bytes::from_static(b"n1,n2,n3"), bytes: 0 }
}

/// A backup of `data`, which arrives in pieces of `chunk` bytes.
fn backup(data: &[u8], chunk: usize) -> Vec<u8> {
    let (mut encoder, mut file) = BackupEncoder::begin(&label(), &header()).unwrap();
    for mut piece in data.chunks(chunk) {
        while !piece.is_empty() {
            file.extend(encoder.add(&mut piece).unwrap_or_default());
        }
    }
    file.extend(encoder.finish());
    file
}

fn read(file: impl Read) -> Result<Vec<u8>, Error> {
    let mut reader = BackupReader::open(file, "f")?;
    let mut data = Vec::new();
    for block in &mut reader {
        data.extend_from_slice(&block?);
    }
    assert_eq!(reader.position(), backup(&data, BLOCK).len() as u64);
    assert_eq!(reader.label(), &label());
    assert_eq!(reader.header(), &SnapshotHeader { bytes: data.len() as u64, ..header() });
    Ok(data)
}

/// Where a bad file goes wrong.
fn first_bad(file: &[u8]) -> u64 {
    match read(file) {
        Err(Error::BadBackup { file, offset, .. }) => {
            assert_eq!(file, "f");
            offset
        }
        other => panic!("{other:?}"),
    }
}

fn data(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|number| (number % 251) as u8).collect()
}

/// Gives so many bytes at a time, as a slow connection does.
struct Slowly<'a>(&'a [u8], usize);

impl Read for Slowly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(self.0.len()).min(buffer.len());
        let (read, rest) = self.0.split_at(count);
        buffer[..count].copy_from_slice(read);
        self.0 = rest;
        Ok(count)
    }
}

#[test]
fn data_of_any_size_comes_back_however_it_is_cut() {
    for bytes in [0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK - FOOT, 200_000] {
        let data = data(bytes);
        let file = backup(&data, 7_001);
        assert_eq!(file, backup(&data, BLOCK * 4), "{bytes}");
        for piece in [1_000, SEALED, usize::MAX] {
            assert_eq!(read(Slowly(&file, piece)).unwrap(), data, "{bytes} {piece}");
        }
    }
}

#[test]
fn each_flipped_bit_of_a_small_backup_is_found_at_its_place() {
    let file = backup(&data(40), 40);
    // Label, head, block, foot.
    let places = [0, 65, 65 + 52, 65 + 52 + 44, file.len()];
    assert_eq!(file.len(), places[3] + FOOT);
    for bit in 0..file.len() * 8 {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let place = places.windows(2).find(|place| bit / 8 < place[1]).unwrap()[0];
        let found = first_bad(&flipped);
        // A length that is wrong shifts nothing that comes before it.
        assert_eq!(found, place as u64, "bit {bit}");
    }
}

#[test]
fn a_flip_in_any_block_is_found_in_that_block() {
    let file = backup(&data(3 * BLOCK + 500), 10_000);
    let first = file.len() - FOOT - 504 - 3 * SEALED;
    for block in 0..4 {
        let begin = first + block * SEALED;
        let length = if block < 3 { SEALED } else { 504 };
        for at in [begin, begin + length / 2, begin + length - 1] {
            let mut flipped = file.clone();
            flipped[at] ^= 0x10;
            assert_eq!(first_bad(&flipped), begin as u64, "byte {at}");
        }
    }
}

#[test]
fn a_backup_that_was_cut_short_or_goes_on_is_none() {
    let file = backup(&data(BLOCK + 40), 40);
    for length in (0..300).chain(SEALED - 50..file.len()) {
        let found = first_bad(&file[..length]);
        assert!(found <= length as u64, "cut to {length}, found at {found}");
    }
    let longer = [&file[..], b"\0"].concat();
    assert!(first_bad(&longer) > SEALED as u64);
}

#[test]
fn blocks_heads_and_labels_of_other_backups_do_not_fit() {
    let (one, other) = (backup(&data(3 * BLOCK), BLOCK), backup(&data(3 * BLOCK), BLOCK));
    assert_eq!(one, other, "equal states have equal backups");
    let first = one.len() - FOOT - 3 * SEALED;
    let mut swapped = one.clone();
    swapped[first..first + 2 * SEALED].rotate_left(SEALED);
    assert_eq!(first_bad(&swapped), first as u64);
    // A snapshot of the next entry, behind this label.
    let (_, next) = BackupEncoder::begin(&label(), &SnapshotHeader { index: 10, ..header() }).unwrap();
    let forged = [&one[..65], &next[65..], &one[first..]].concat();
    assert_eq!(first_bad(&forged), 65);
}

#[test]
fn what_is_no_backup_is_told_from_a_newer_one() {
    for foreign in [&b""[..], b"REDIS0011", &[0; 4096], &[0xff; 4096]] {
        assert_eq!(first_bad(foreign), 0);
    }
    let file = backup(b"data", 4);
    for (at, end) in [(8, 61), (65 + 8, 65 + 48)] {
        let mut newer = file.clone();
        newer[at] = 2;
        let begin = at - 8;
        let crc = crc32c::crc32c(&newer[begin..end]);
        newer[end..end + 4].copy_from_slice(&crc.to_le_bytes());
        let error = read(&newer[..]).unwrap_err();
        assert!(matches!(error, Error::Newer { found: 2, known: 1, .. }), "{error}");
    }
}

#[test]
fn a_source_that_fails_is_no_damage() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let file = backup(&data(3 * BLOCK), BLOCK);
    let error = read((&file[..BLOCK]).chain(Failing)).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_is_refused_without_a_panic(mut garbage: Vec<u8>, with_label: bool) {
        if with_label {
            garbage.splice(0..0, backup(b"", 1)[..65].iter().copied());
        }
        prop_assert!(read(&garbage[..]).is_err());
    }
}
