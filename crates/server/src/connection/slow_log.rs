//! The commands that took long at this node: what SLOWLOG tells.
//!
//! Where Redis measures how long a command was executed, this measures how long its client was kept: from the instant at
//! which the connection read the command and could begin it, until its reply had come. That is replication, disks, the
//! commands before it in the pipeline and the leader's absence, which is where the time of a command goes here. A
//! command whose connection ends before counts until then.
//!
//! * What waits by design is not measured: BLPOP and its kin, WAIT, SUBSCRIBE. What stands behind it in the pipeline is
//!   not begun before, and so is not charged for it.
//! * A transaction is one entry, called EXEC.
//! * A command that is not slow costs a handle on its own bytes, which are in memory anyway until it is answered, and two
//!   instants that its connection has read for all commands of a turn. Its arguments are read again if it was slow.
//! * What is remembered is copied, shortened as Redis does, and bounded by `slowlog-max-len`.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{arguments::is, clients::Endpoints, statistics::CommandId};
use crate::{clock, config::table::SLOW_COMMANDS_MAX, resp::read_again};

/// What the slow log begins with; CONFIG SET changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowLogSettings {
    /// `slowlog-log-slower-than`: from how many microseconds on a command is slow; 0 means every one, -1 none.
    pub slower_than_us: i64,
    /// `slowlog-max-len`: how many are remembered.
    pub entries_max: usize,
}

impl SlowLogSettings {
    /// The least and greatest threshold.
    pub(super) const SLOWER_THAN_US_ALLOWED: [i64; 2] = [-1, i64::MAX];
    /// How few and how many may be remembered.
    pub(super) const ENTRIES_ALLOWED: [i64; 2] = [0, SLOW_COMMANDS_MAX as i64];
}

impl Default for SlowLogSettings {
    fn default() -> Self {
        Self { slower_than_us: 100_000, entries_max: 128 }
    }
}

/// A command that was begun and is to be measured.
#[derive(Debug)]
pub(super) struct Begun {
    /// Its bytes.
    pub(super) frame: Bytes,
    pub(super) at: Instant,
    /// Its place in the table, once it was taken.
    pub(super) command: Option<CommandId>,
    /// Whether it is an attempt to take a lock.
    pub(super) takes_lock: bool,
}

/// A slow command.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Grows by one with each, for ever.
    pub(super) number: u64,
    /// When its reply had come, in seconds since 1970.
    pub(super) unix_s: i64,
    pub(super) micros: u64,
    /// Shortened.
    pub(super) arguments: Vec<Bytes>,
    pub(super) client: Endpoints,
    pub(super) client_name: String,
}

/// What a node remembers of slow commands. Shared by all of its connections.
#[derive(Debug)]
pub(super) struct SlowLog {
    slower_than_us: AtomicI64,
    remembered: Mutex<Remembered>,
}

#[derive(Debug)]
struct Remembered {
    entries_max: usize,
    next_number: u64,
    /// The latest first.
    entries: VecDeque<Entry>,
}

impl SlowLog {
    pub(super) fn new(settings: SlowLogSettings) -> Self {
        let remembered =
            Remembered { entries_max: settings.entries_max, next_number: 0, entries: VecDeque::new() };
        Self { slower_than_us: AtomicI64::new(settings.slower_than_us), remembered: Mutex::new(remembered) }
    }

    pub(super) fn settings(&self) -> SlowLogSettings {
        let slower_than_us = self.slower_than_us.load(Ordering::Relaxed);
        SlowLogSettings { slower_than_us, entries_max: self.lock().entries_max }
    }

    pub(super) fn set(&self, settings: SlowLogSettings) {
        self.slower_than_us.store(settings.slower_than_us, Ordering::Relaxed);
        let mut remembered = self.lock();
        remembered.entries_max = settings.entries_max;
        // Redis forgets them with the next one; the memory is wanted now.
        remembered.entries.truncate(settings.entries_max);
    }

    /// A command's reply has come after so long. Remembers it if it was slow, and says whether it was.
    #[inline]
    pub(super) fn observe(
        &self,
        begun: &Begun,
        taken: Duration,
        client: Endpoints,
        client_name: &str,
    ) -> bool {
        let slower_than_us = self.slower_than_us.load(Ordering::Relaxed);
        let micros = taken.as_micros();
        let is_slow = u128::try_from(slower_than_us).is_ok_and(|slow| micros >= slow);
        if is_slow {
            self.remember(begun, u64::try_from(micros).unwrap_or(u64::MAX), client, client_name);
        }
        is_slow
    }

    #[cold]
    fn remember(&self, begun: &Begun, micros: u64, client: Endpoints, client_name: &str) {
        let entry = Entry {
            number: 0,
            unix_s: clock::wall_ms() / 1000,
            micros,
            arguments: shortened(&begun.frame),
            client,
            client_name: client_name.to_owned(),
        };
        let mut remembered = self.lock();
        let number = remembered.next_number;
        remembered.next_number += 1;
        remembered.entries.push_front(Entry { number, ..entry });
        let entries_max = remembered.entries_max;
        remembered.entries.truncate(entries_max);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// The latest of them, the very latest first.
    pub(super) fn latest(&self, most: usize) -> Vec<Entry> {
        self.lock().entries.iter().take(most).cloned().collect()
    }

    pub(super) fn forget(&self) {
        self.lock().entries.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        // It is whole after each line above, so a panic elsewhere cannot have left it half-changed.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many arguments are kept of a command; if it had more, the last one says so.
const ARGUMENTS_MAX: usize = 32;
/// How many bytes are kept of an argument.
const ARGUMENT_BYTES_MAX: usize = 128;

/// The arguments as Redis shortens them, in memory of their own, and without secrets.
fn shortened(frame: &Bytes) -> Vec<Bytes> {
    let (mut arguments, count) = read_again(frame, ARGUMENTS_MAX);
    redact(&mut arguments);
    let mut arguments: Vec<Bytes> = arguments.iter().map(|argument| shortened_argument(argument)).collect();
    if count > ARGUMENTS_MAX {
        arguments.truncate(ARGUMENTS_MAX - 1);
        let left_out = count - arguments.len();
        arguments.push(Bytes::from(format!("... ({left_out} more arguments)")));
    }
    arguments
}

fn shortened_argument(argument: &[u8]) -> Bytes {
    let Some((kept, rest)) =
        argument.split_at_checked(ARGUMENT_BYTES_MAX).filter(|(_, rest)| !rest.is_empty())
    else {
        return Bytes::copy_from_slice(argument);
    };
    let more = format!("... ({} more bytes)", rest.len());
    Bytes::from([kept, more.as_bytes()].concat())
}

/// Settings whose values Redis keeps to itself.
const SECRET_SETTINGS: [&str; 5] =
    ["requirepass", "masteruser", "masterauth", "tls-key-file-pass", "tls-client-key-file-pass"];

/// Takes passwords out, and user names where Redis does so.
fn redact(arguments: &mut [Bytes]) {
    let is_at = |place: usize, word: &str| arguments.get(place).is_some_and(|argument| is(argument, word));
    let secrets: Vec<usize> = if is_at(0, "auth") {
        (1..arguments.len()).collect()
    } else if is_at(0, "hello") {
        hello_secrets(arguments)
    } else if is_at(0, "config") && is_at(1, "set") {
        let names = (2..arguments.len()).step_by(2);
        let secret = names.filter(|name| SECRET_SETTINGS.iter().any(|secret| is_at(*name, secret)));
        secret.map(|name| name + 1).collect()
    } else {
        Vec::new()
    };
    for place in secrets {
        if let Some(argument) = arguments.get_mut(place) {
            *argument = Bytes::from_static(b"(redacted)");
        }
    }
}

/// The places of the user and the password among the options of HELLO. From the first option on that HELLO does not
/// know, everything may be one.
fn hello_secrets(arguments: &[Bytes]) -> Vec<usize> {
    let mut secrets = Vec::new();
    let mut place = 2;
    while let Some(option) = arguments.get(place) {
        if is(option, "auth") {
            secrets.extend([place + 1, place + 2]);
            place += 3;
        } else if is(option, "setname") {
            place += 2;
        } else {
            secrets.extend(place..arguments.len());
            break;
        }
    }
    secrets
}

#[cfg(test)]
#[path = "slow_log_tests.rs"]
mod tests;
