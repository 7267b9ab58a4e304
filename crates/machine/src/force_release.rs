//! What LOCK FORCE-RELEASE leaves behind: which lock was taken from whom, by whom, and when.
//!
//! A lock that nobody holds is no key, so that this is kept beside the keys: the last time for each name, and of so many names,
//! the oldest forgotten first. It is for people who look at a lock and wonder; nothing depends on it.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::error::Error;
use crate::identifiers::FencingToken;
use crate::keyspace::DATABASES;
use crate::wire::{Decoder, Encoder};

/// How many are remembered: few are ever made, and each takes as much as a small key.
const REMEMBERED_MAX: usize = 1024;
/// How long the names of all these locks, and of who took them away, are together: they stand in the head of a snapshot, and
/// beside the limits of data. Whose name alone is longer is not remembered.
const BYTES_MAX: usize = 1 << 20;

/// A lock was taken from its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForceRelease {
    /// What its holder had.
    pub(crate) token: FencingToken,
    /// Who says that he did it.
    pub(crate) by: Option<Bytes>,
    /// When, by the calendar, in milliseconds since 1970.
    pub(crate) at_ms: i64,
}

/// Those that are remembered.
#[derive(Clone, Debug, Default)]
pub(crate) struct ForceReleases {
    by_name: BTreeMap<(usize, Bytes), ForceRelease>,
    /// By token, which is the order in which they were acquired: the least goes first.
    by_token: BTreeMap<FencingToken, (usize, Bytes)>,
    /// Of all names.
    bytes: usize,
}

fn bytes(name: &[u8], release: &ForceRelease) -> usize {
    name.len() + release.by.as_ref().map_or(0, Bytes::len)
}

impl ForceReleases {
    pub(crate) fn get(&self, db: usize, name: &[u8]) -> Option<&ForceRelease> {
        self.by_name.get(&(db, Bytes::copy_from_slice(name)))
    }

    pub(crate) fn add(&mut self, db: usize, name: &[u8], release: ForceRelease) {
        let place = (db, Bytes::copy_from_slice(name));
        self.forget(&place);
        self.bytes += bytes(name, &release);
        self.by_token.insert(release.token, place.clone());
        self.by_name.insert(place, release);
        while self.by_name.len() > REMEMBERED_MAX || self.bytes > BYTES_MAX {
            let (_, oldest) = self.by_token.first_key_value().expect("each has a token");
            self.forget(&oldest.clone());
        }
    }

    fn forget(&mut self, place: &(usize, Bytes)) {
        if let Some(release) = self.by_name.remove(place) {
            self.bytes -= bytes(&place.1, &release);
            self.by_token.remove(&release.token);
        }
    }

    pub(crate) fn encode(&self, to: &mut Encoder) {
        to.count(self.by_name.len());
        for ((db, name), ForceRelease { token, by, at_ms }) in &self.by_name {
            to.count(*db);
            to.bytes(name);
            to.varint(token.0);
            to.u8(u8::from(by.is_some()));
            by.iter().for_each(|by| to.bytes(by));
            to.signed(*at_ms);
        }
    }

    pub(crate) fn decode(from: &mut Decoder) -> Result<Self, Error> {
        // What it is given is a slice of the whole frame.
        let own = |from: &mut Decoder| from.bytes().map(|bytes| Bytes::copy_from_slice(&bytes));
        let mut releases = Self::default();
        let count = from.count()?;
        for _ in 0..count {
            let db = usize::try_from(from.varint()?).unwrap_or(usize::MAX);
            let (name, token) = (own(from)?, FencingToken(from.varint()?));
            let release = ForceRelease { token, by: from.optional(own)?, at_ms: from.signed()? };
            let is_next =
                releases.by_name.last_key_value().is_none_or(|(last, _)| *last < (db, name.clone()));
            if db >= DATABASES || !is_next || releases.by_token.contains_key(&token) {
                return Err(from.malformed());
            }
            releases.add(db, &name, release);
        }
        if releases.by_name.len() < count { Err(from.malformed()) } else { Ok(releases) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_token_is_forgotten_first() {
        let mut releases = ForceReleases::default();
        let release = |token| ForceRelease { token: FencingToken(token), by: None, at_ms: 0 };
        releases.add(0, b"first", release(1));
        (0..1024).for_each(|n: u64| releases.add(1, format!("{n}").as_bytes(), release(2 + n)));
        assert_eq!(releases.get(0, b"first"), None);
        assert_eq!(releases.get(1, b"0"), Some(&release(2)));
        releases.add(1, b"0", release(5_000));
        assert_eq!((releases.by_name.len(), releases.by_token.len()), (1024, 1024));
    }

    /// One whose name was longer than 1 KiB left no record.
    #[test]
    fn long_names_are_remembered_and_bounded_together() {
        let mut releases = ForceReleases::default();
        let release = |token| ForceRelease { token: FencingToken(token), by: None, at_ms: 0 };
        let long = vec![b'x'; BYTES_MAX - 10];
        releases.add(0, b"first", release(1));
        releases.add(0, &long, release(2));
        let mut to = Encoder::default();
        releases.encode(&mut to);
        let restored = ForceReleases::decode(&mut Decoder::new(Bytes::from(to.0), "force-releases"));
        let restored = restored.expect("what was encoded");
        assert_eq!(restored.get(0, b"first"), Some(&release(1)));
        assert_eq!(restored.get(0, &long), Some(&release(2)));
        releases.add(0, b"second", release(3));
        assert_eq!(releases.get(0, b"first"), None);
        assert_eq!(releases.get(0, &long), Some(&release(2)));
        releases.add(0, &[&long[..], b"xxxxxxxxxxx"].concat(), release(4));
        assert_eq!((releases.by_name.len(), releases.by_token.len(), releases.bytes), (0, 0, 0));
    }
}
