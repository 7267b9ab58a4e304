//! What a client of each system can do: the operations that are compared, each system's own way.
//!
//! | | Redis protocol | etcd | ZooKeeper |
//! |---|---|---|---|
//! | set | `SET` | `Put` | `setData` |
//! | get | `GET` | `Range`, linearizable | `sync` and `getData` together |
//! | lock | `SET NX PX` | transaction: put with a lease if absent | `create`, ephemeral |
//! | unlock | `EVAL`, compare and delete | transaction: delete if equal | `delete` |
//!
//! The last two are how locks are taken from a plain store. A system's own locks are better: `LOCK ACQUIRE` and `RELEASE` in Quorate,
//! `Lock` and `Unlock` in etcd, which both queue those that wait. Where there are none, the plain ones stand for them, tried
//! again and again.
//!
//! ZooKeeper's `sync` asks the leader without a round to a majority, so that its reads are not quite linearizable
//! when leaders change; the comparison gives it that advantage.

mod etcd;
mod quorate;
mod resp;
mod zookeeper;

pub(crate) use etcd::Etcd;
pub(crate) use quorate::Quorate;
pub(crate) use resp::Resp;
pub(crate) use zookeeper::ZooKeeper;

use clap::ValueEnum;
use serde::Serialize;
use std::{io, net::SocketAddr, ops::Range, time::Duration};
use tokio::time::sleep;

/// The length of each key, on the wire.
pub(crate) const KEY_BYTES: usize = 64;
/// The length of each value, unless said otherwise.
pub(crate) const VALUE_BYTES: usize = 256;
/// The digits by which keys differ, at their end.
const DIGITS: usize = 12;
/// How long a lock lasts if nobody releases it: longer than any cell.
const LOCK_TTL_SECONDS: u64 = 3_600;
/// How long a client waits before it tries again to take a lock that somebody else holds.
pub(crate) const RETRY: Duration = Duration::from_millis(1);

/// What a client does over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// Write a value of 256 bytes
    Set,
    /// Read one, linearizable
    Get,
    /// Take and release a lock that nobody else wants
    Lock,
    /// Take and release the one lock that all want; who is refused tries again a little later
    Contended,
    /// Take and release a lock that nobody else wants, by the system's own locks
    Native,
    /// Take and release the one lock that all want, by the system's own locks: their queue hands it over
    Handover,
    /// Sixteen writes at once on each connection, by the Redis protocol
    Pipeline,
}

impl Workload {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Set => "set",
            Workload::Get => "get",
            Workload::Lock => "lock",
            Workload::Contended => "contended",
            Workload::Native => "native",
            Workload::Handover => "handover",
            Workload::Pipeline => "pipeline",
        }
    }
}

/// One connection; each call ends when the server has answered. An error is final for the connection.
pub(crate) trait Client: Sized + 'static {
    /// Connects as the client of this number, by which it owns locks.
    async fn connect(address: SocketAddr, number: u64) -> io::Result<Self>;

    /// Writes a key that exists.
    async fn set(&mut self, key: u64) -> io::Result<()>;

    /// Writes a key that may be missing.
    async fn create(&mut self, key: u64) -> io::Result<()> {
        self.set(key).await
    }

    async fn get(&mut self, key: u64) -> io::Result<()>;

    /// Whether the lock was free and is now held by this client.
    async fn lock(&mut self, lock: u64) -> io::Result<bool>;

    /// Releases a lock that this client holds.
    async fn unlock(&mut self, lock: u64) -> io::Result<()>;

    /// Takes a lock by the system's own way, and waits for as long as that takes.
    async fn acquire(&mut self, lock: u64) -> io::Result<()> {
        while !self.lock(lock).await? {
            sleep(RETRY).await;
        }
        Ok(())
    }

    /// Releases what [`acquire`](Self::acquire) took.
    async fn release(&mut self, lock: u64) -> io::Result<()> {
        self.unlock(lock).await
    }

    /// Takes free locks that one lease or session keeps, where there are any, and that outlive the connection.
    async fn hold(&mut self, locks: Range<u64>) -> io::Result<()> {
        for lock in locks {
            self.acquire(lock).await?;
        }
        Ok(())
    }

    /// Writes all these keys with one write to the socket.
    async fn set_all(&mut self, keys: &[u64]) -> io::Result<()>;

    /// Gives back what outlives a connection.
    async fn close(self) -> io::Result<()> {
        Ok(())
    }

    /// Whether the node at this address leads now.
    async fn leads(address: SocketAddr) -> io::Result<bool>;
}

/// Awaits a function that is generic over the client, for the client that a system wants.
macro_rules! with_client {
    ($system:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $system {
            $crate::system::System::Quorate => $function::<$crate::client::Quorate>($($argument),*).await,
            $crate::system::System::Redis => $function::<$crate::client::Resp>($($argument),*).await,
            $crate::system::System::Etcd => $function::<$crate::client::Etcd>($($argument),*).await,
            $crate::system::System::ZooKeeper => $function::<$crate::client::ZooKeeper>($($argument),*).await,
        }
    };
}
pub(crate) use with_client;

/// A key's name: `first` (what it is for, behind what the system wants in front), filled up, the number.
fn key_name(first: &str, number: u64) -> String {
    let filling = KEY_BYTES - first.len() - DIGITS;
    format!("{first}{}{number:0DIGITS$}", "-".repeat(filling))
}

/// Writes `number` over the last digits of a name.
fn write_digits(name: &mut [u8], mut number: u64) {
    for digit in name.iter_mut().rev().take(DIGITS) {
        *digit = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
    }
}

/// What a server should not have answered.
fn unexpected(answer: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("unexpected answer: {answer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_length_and_differ_by_their_digits() {
        let mut name = key_name("/k", 7).into_bytes();
        assert_eq!(name.len(), KEY_BYTES);
        write_digits(&mut name, 123_456);
        assert_eq!(name, key_name("/k", 123_456).into_bytes());
    }
}
