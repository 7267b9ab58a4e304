//! The log from outside, on a disk in memory that can lose power, fill up and fail, and on a real one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backups;
mod bit_flips;
mod failing_disk;
mod folder;
mod foundings;
mod memory_disk;
mod model;
mod power_cuts;
mod promises;
mod real_disk;
mod repairs;
mod salvages;
mod segments;
mod snapshots;

use bytes::Bytes;
use memory_disk::MemoryDisk;
use quorate_log::{Error, HardState, Log, LogEntry, Options, Recovered, Write};

/// Small segments, so that a few entries need several.
fn options() -> Options {
    Options { segment_bytes: 512, reserve_bytes: 1024, ..Options::new(1, "raft") }
}

fn open(disk: &MemoryDisk) -> Result<(Log<MemoryDisk>, Recovered), Error> {
    Log::open(disk.clone(), options())
}

fn entry(index: u64, term: u64, payload: &str) -> LogEntry {
    LogEntry { index, term, stamp: 10 * index, kind: 1, payload: Bytes::copy_from_slice(payload.as_bytes()) }
}

fn append(entries: impl IntoIterator<Item = LogEntry>) -> Write {
    Write { entries: entries.into_iter().collect(), ..Write::default() }
}

fn promise(term: u64, vote: u64, commit: u64) -> Write {
    Write { hard_state: Some(HardState { term, vote, commit }), ..Write::default() }
}

/// Entries `indexes` of term 1, each a write of its own, then one sync.
fn append_and_sync(log: &mut Log<MemoryDisk>, indexes: std::ops::RangeInclusive<u64>) {
    for index in indexes {
        log.write(&append([entry(index, 1, "some payload")])).unwrap();
    }
    log.sync().unwrap();
}

fn indexes(recovered: &Recovered) -> Vec<u64> {
    recovered.entries.iter().map(|entry| entry.index).collect()
}

/// The error of an attempt to open the folder.
fn refusal(result: Result<(Log<MemoryDisk>, Recovered), Error>) -> Error {
    match result {
        Ok((_, recovered)) => panic!("opened, with entries {:?}", indexes(&recovered)),
        Err(error) => error,
    }
}
