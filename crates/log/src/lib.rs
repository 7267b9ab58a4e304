//! The durable log of a node: what it has promised, and what it has accepted, across any crash.
//!
//! # What is in the folder
//!
//! | name | holds |
//! |---|---|
//! | `lock` | nothing; locked while a process uses the folder |
//! | `identity` | whose folder this is: node, cluster, engine, incarnation |
//! | `hardstate-a`, `hardstate-b` | the newest term and vote, written in turns |
//! | `segment-N` | records, one after the other; the last file is zeros, ready to be written |
//! | `spare-K` | a segment that is being zeroed, or was released and will be used again |
//! | `snapshots/N.snapshot` | the machine's state after entry N |
//! | `under-repair` | what was damaged, while the node lacks some of what it once held |
//! | `setting-aside` | nothing; there while damaged files get other names |
//! | `damaged-K.*` | files that were set aside, as they were |
//!
//! `docs/log-format.md` draws the bytes.
//!
//! # How it works
//!
//! [`Log::write`] encodes a batch of records and gives it to the operating system; [`Log::sync`] makes all
//! batches so far durable with one fdatasync. Each batch begins with a *durable mark*: the position up to which
//! everything was durable before the batch was written. [`Log::open`] reads all records, and the greatest mark
//! it finds decides what a bad record means: below the mark it was durable once, so it is corruption, and the
//! node must not go on; above it, a power cut has left an arbitrary subset of what was not synced, so
//! everything from there on is cut.
//!
//! # Invariants
//!
//! * What a successful [`Log::sync`] covered is recovered, or `open` fails; nothing is recovered that was not
//!   written.
//! * A record's checksum covers its position and its predecessor's checksum, and what recovery cuts is zeroed
//!   durably before the next write: an old tail never comes back to life behind new records.
//! * Each segment's header repeats what a reader needs that starts there, so releasing the segments before it
//!   loses nothing.
//! * After a failed write or fdatasync the log is dead: nobody knows what the disk holds, and asking again may
//!   get a wrong yes (Rebello et al., *Can Applications Recover from fsync Failures?*, ATC '20, section 3).
//!   For the same reason `open` writes what no mark vouches for once more, instead of trusting the page cache.
//!
//! # What it does not do
//!
//! It knows no consensus rule, no thread, no clock and no command: entries are numbers and opaque bytes. All
//! its I/O goes through [`Disk`], in an order that depends on the calls alone, so that a simulator can stand
//! in for the disk.
//!
//! A node with corruption need not be lost to its cluster: [`Log::set_damage_aside`] makes a folder of what is intact,
//! which opens as one that is under repair until the others have given back what is missing.
//!
//! The distinction by durable marks follows Alagappan et al., *Protocol-Aware Recovery for Consensus-Based
//! Storage* (FAST '18), section 3.3.

mod backup;
mod contents;
mod disk;
mod entry;
mod error;
mod founding;
mod identity;
mod log;
mod options;
mod os;
mod record;
mod recovery;
mod repair;
mod reserve;
mod salvage;
mod seal;
mod segment;
mod slots;
mod snapshot;
mod tail;

pub use backup::{BACKUP_FORMAT, BackupEncoder, BackupLabel, BackupReader};
pub use disk::{Disk, DiskFile};
pub use entry::{HardState, LogEntry, Write};
pub use error::Error;
pub use founding::{Founding, UNFINISHED};
pub use identity::Identity;
pub use log::{Log, Recovered};
pub use options::{Options, Room};
pub use os::{OsDisk, OsFile, OsLock};
pub use repair::SetAside;
pub use salvage::Salvage;
pub use snapshot::{SealedSnapshot, SnapshotHeader, SnapshotReader, SnapshotStore, SnapshotWriter};
