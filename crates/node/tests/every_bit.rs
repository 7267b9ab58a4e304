//! A whole start on a damaged data folder: each bit of each file flipped, and each file cut at each byte. HAZARDS 23.
//!
//! What the log makes of each is tested there (`crates/log/tests/log/bit_flips.rs`); here it is what a node would serve:
//! the same machine, configuration and promises as without the damage, or nothing before the others have repaired it.

#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "here no power is cut, and a test that cannot go on has failed"
)]
#[path = "../../log/tests/log/memory_disk.rs"]
mod memory_disk;

use std::collections::BTreeMap;

use bytes::Bytes;
use memory_disk::MemoryDisk;
use quorate_consensus::{
    Address, BootTime, Config as EngineConfig, Engine as _, Lease, Membership, NodeId, engine::Status,
    raft::Raft,
};
use quorate_log::{Disk as _, Error as LogError, HardState, Log, LogEntry, Options, SnapshotHeader, Write};
use quorate_machine::{Batch, ClusterVersion, Group, Limits, Machine, Operation, SessionId, Step};
use quorate_node::{Config, Driver, Input, Now, record, restore};

const NOW: Now = Now { boot: BootTime { micros: 1_000_000 }, wall_ms: 1_700_000_000_000 };

const SESSION: SessionId = SessionId { node: 1, incarnation: 1 };

/// The last entry that the snapshot includes.
const SNAPSHOT: u64 = 6;
/// The last entry that is known to be committed; there is one more.
const COMMIT: u64 = 11;

/// The kinds of entries, as `docs/log-format.md` has them.
const BLANK: u8 = 0;
const COMMANDS: u8 = 1;
const MEMBERSHIP: u8 = 2;

fn options() -> Options {
    let birth = record::encode_membership(&members());
    Options { segment_bytes: 512, reserve_bytes: 1024, birth, ..Options::new(1, "raft") }
}

fn members() -> Membership {
    let addresses = [1, 2, 3].map(|id| (NodeId(id), Address(format!("host-{id}:7000").into())));
    Membership::of_voters([1, 2, 3].map(NodeId)).with_addresses(addresses)
}

/// What the commands of a life look like in the log.
fn commands(first_sequence: u64, operations: Vec<Operation>) -> Bytes {
    let group = Group { session: SESSION, stream: 0, acked: 0, first_sequence, operations };
    Batch { version: ClusterVersion::FIRST, groups: vec![group] }.encode()
}

fn command(sequence: u64, words: &[&'static str]) -> Bytes {
    let args = words.iter().map(|word| Bytes::from_static(word.as_bytes())).collect();
    commands(sequence, vec![Operation::Command { db: 0, user: 0, args }])
}

/// A log with all kinds of entries, of two terms.
fn entries() -> Vec<LogEntry> {
    let birth = Operation::Birth { cluster_id: 7, fence_base: 100, calendar_ms: 1_577_836_801_000 };
    let lease = Some(Lease { millis: 500, drift_ppm: 1000 });
    let leased = record::encode_membership(&Membership { lease, ..members() });
    let payloads = [
        (BLANK, Bytes::new()),
        (COMMANDS, commands(0, vec![birth])),
        (COMMANDS, commands(0, vec![Operation::OpenSession])),
        (COMMANDS, command(1, &["SET", "lock", "me", "NX", "PX", "30000"])),
        (COMMANDS, command(2, &["RPUSH", "queue", "a", "b", "c"])),
        (COMMANDS, command(3, &["ZADD", "set", "1.5", "member"])),
        (BLANK, Bytes::new()),
        (MEMBERSHIP, leased),
        (COMMANDS, command(4, &["EVAL", "return redis.call('incr', KEYS[1])", "1", "counter"])),
        (COMMANDS, command(5, &["LPOP", "queue"])),
        (COMMANDS, command(6, &["PEXPIRE", "set", "99"])),
        (COMMANDS, command(7, &["SET", "lock", "somebody", "XX", "KEEPTTL"])),
    ];
    let number = (1..).zip(payloads);
    number
        .map(|(index, (kind, payload))| {
            let term = if index < SNAPSHOT + 1 { 1 } else { 2 };
            LogEntry { index, term, stamp: 1000 + 10 * index, kind, payload }
        })
        .collect()
}

/// Applies entries as a driver does.
fn apply(machine: &mut Machine, entries: &[LogEntry]) {
    for LogEntry { index, stamp, kind, payload, .. } in entries {
        let payload = (*kind == COMMANDS).then_some(payload);
        machine.begin(*index, *stamp, payload).expect("an entry that this test made");
        while machine.apply_next() != Step::Finished {}
        machine.take_publications();
    }
}

/// The machine after each entry from the snapshot on, by its hash.
fn hashes() -> BTreeMap<u64, u64> {
    let mut machine = Machine::new(Limits::default());
    let (mut hashes, entries) = (BTreeMap::from([(0, machine.hash())]), entries());
    for entry in entries {
        apply(&mut machine, std::slice::from_ref(&entry));
        hashes.insert(entry.index, machine.hash());
    }
    hashes
}

/// The folder of a voter that has voted in term 3: a snapshot that is needed, and the rest in the log, marked.
fn folder() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let (mut log, _) = Log::open(disk.clone(), options()).expect("an empty folder");
    let entries = entries();
    let (before, after) = entries.split_at(SNAPSHOT as usize);
    let promise = |term, vote, commit| Some(HardState { term, vote, commit });
    let write = |hard_state, entries: &[LogEntry]| Write {
        hard_state,
        truncate_from: None,
        entries: entries.to_vec(),
    };
    log.write(&write(promise(1, 1, 0), before)).expect("room");
    log.sync().expect("a disk that works");
    let mut machine = Machine::new(Limits::default());
    apply(&mut machine, before);
    let header = SnapshotHeader {
        index: SNAPSHOT,
        term: 1,
        stamp: 1000 + 10 * SNAPSHOT,
        membership: record::encode_membership(&members()),
        bytes: 0,
    };
    let mut writer = log.snapshots().begin(&header).expect("room");
    machine.snapshot().for_each(|chunk| writer.write(&chunk).expect("room"));
    writer.finish().expect("a disk that works");
    log.write(&write(promise(2, 2, SNAPSHOT), after)).expect("room");
    log.write(&write(promise(3, 2, COMMIT), &[])).expect("room");
    log.mark().expect("a disk that works");
    log.release(SNAPSHOT + 1).expect("a disk that works");
    assert!(log.first_index() > 1, "the snapshot is needed");
    disk
}

/// Starts a node as the server does, without clocks and sockets, and lets it apply what it knows to be committed.
fn start(disk: &MemoryDisk) -> Result<(Driver<Raft>, Status), String> {
    let (log, recovered) = match Log::open(disk.clone(), options()) {
        Err(damage @ LogError::Corrupt { .. }) => {
            Log::set_damage_aside(disk, &options(), &damage).map_err(|error| error.to_string())?;
            Log::open(disk.clone(), options())
        }
        result => result,
    }
    .map_err(|error| error.to_string())?;
    let incarnation = recovered.identity.incarnation;
    let machine = match &recovered.snapshot {
        Some(header) => {
            let reader = log.snapshots().reader(header.index).map_err(|error| error.to_string())?;
            restore(reader).map_err(|error| error.to_string())?
        }
        None => Machine::new(Limits::default()),
    };
    let restored = record::restored(recovered).map_err(|error| error.to_string())?;
    let membership = restored.snapshot.as_ref().map_or(&restored.birth, |meta| &meta.membership).clone();
    let engine = Raft::new(EngineConfig::for_node(NodeId(1), 1), restored, NOW.boot);
    let config = Config::for_node(NodeId(1), incarnation, 1);
    let mut driver = Driver::new(config, engine, machine, membership, NOW);
    let outputs = driver.step(NOW, [Input::Deadline]);
    assert_eq!(outputs.fatal, None);
    let status = driver.engine().status(NOW.boot);
    Ok((driver, status))
}

#[test]
fn a_node_on_a_damaged_folder_serves_what_it_served_or_waits_for_repair_or_is_refused() {
    let (origin, hashes) = (folder(), hashes());
    let (_, whole) = start(&origin.copy()).expect("a whole folder");
    assert_eq!((whole.commit.0, whole.applied.0, whole.last_index.0), (COMMIT, COMMIT, COMMIT + 1));
    assert_eq!(whole.role.term.0, 3);
    let (mut same, mut repaired, mut refused) = (0, 0, 0);
    let mut harm = |name: &str, place: String, change: &dyn Fn(&mut Vec<u8>)| {
        let disk = origin.copy();
        disk.tamper(name, change);
        let (driver, status) = match start(&disk) {
            Ok(started) => started,
            Err(text) => {
                assert!(text.contains("data/") && text.contains("at byte"), "{place}: {text}");
                refused += 1;
                return;
            }
        };
        let applied = driver.machine().applied();
        assert_eq!(driver.machine().hash(), hashes[&applied], "{place}: another machine at {applied}");
        if status.repair.is_some() {
            repaired += 1;
            assert_eq!(status.role.term, whole.role.term, "{place}");
            assert!(status.commit <= whole.commit && status.last_index <= whole.last_index, "{place}");
        } else {
            same += 1;
            assert_eq!(applied, COMMIT, "{place}");
            assert_eq!(status, whole, "{place}");
        }
    };
    for name in origin.list().expect("a disk that works") {
        let bytes = origin.content(&name).len();
        for bit in 0..bytes * 8 {
            harm(&name, format!("{name} bit {bit}"), &|bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        }
        for length in 0..bytes {
            harm(&name, format!("{name} cut at {length}"), &|bytes| bytes.truncate(length));
        }
    }
    assert!(same > 1000 && repaired > 1000 && refused > 100, "{same} {repaired} {refused}");
}
