//! The durable log, on a real file: one entry a batch, without and with waiting for the disk.

use crate::{BATCH, KEY_BYTES, VALUE_BYTES};
use bytes::Bytes;
use divan::{Bencher, counter::BytesCount};
use quorate_log::{Log, LogEntry, Options, OsDisk, Write};

/// Segments are released so often that the log stays small and files are used again, as a node's are.
const KEPT_ENTRIES: u64 = 1_000;

#[divan::bench(args = [1, BATCH])]
fn append(bencher: Bencher<'_, '_>, commands: usize) {
    measured(bencher, commands, |log| log.write_next());
}

#[divan::bench(args = [1, BATCH])]
fn append_synced(bencher: Bencher<'_, '_>, commands: usize) {
    measured(bencher, commands, |log| {
        log.write_next();
        log.log.sync().expect("the disk works");
    });
}

fn measured(bencher: Bencher<'_, '_>, commands: usize, act: impl Fn(&mut Growing)) {
    let folder = tempfile::tempdir().expect("a temporary folder can be had");
    let payload_bytes = commands * (KEY_BYTES + VALUE_BYTES);
    let mut log = Growing::new(folder.path(), payload_bytes);
    bencher.counter(BytesCount::new(payload_bytes)).bench_local(|| act(&mut log));
}

/// A log and the number of its last entry.
struct Growing {
    log: Log<OsDisk>,
    last: u64,
    payload: Bytes,
}

impl Growing {
    fn new(folder: &std::path::Path, payload_bytes: usize) -> Self {
        let disk = OsDisk::new(folder).expect("a folder can be used");
        let (log, _) = Log::open(disk, Options::new(1, "raft")).expect("an empty folder can be opened");
        Self { log, last: 0, payload: vec![b'v'; payload_bytes].into() }
    }

    fn write_next(&mut self) {
        self.last += 1;
        let entry =
            LogEntry { index: self.last, term: 1, stamp: self.last, kind: 1, payload: self.payload.clone() };
        self.log.write(&Write { entries: vec![entry], ..Write::default() }).expect("there is room");
        if self.last.is_multiple_of(KEPT_ENTRIES) {
            self.log.release(self.last - KEPT_ENTRIES + 1).expect("segments can be released");
        }
    }
}
