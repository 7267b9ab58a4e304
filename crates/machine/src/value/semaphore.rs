//! A semaphore: so many permits, and who has how many of them.
//!
//! Each who has some has a token of his own, which names what he has. A semaphore of which nobody has a permit is no value:
//! its key does not exist, or only until it is reclaimed, if those who had some were sessions that have ended.

use std::collections::{BTreeMap, BTreeSet};

use super::{Holder, Living};
use crate::error::Error;
use crate::identifiers::{ClientSessionId, FencingToken, Stamp};
use crate::wire::{Decoder, Encoder};

/// What somebody has of a semaphore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) holder: Holder,
    /// How many permits. Never 0.
    pub(crate) permits: u64,
    /// The last millisecond of cluster time in which he has them; `None` for a session: as long as it lasts.
    pub(crate) until: Option<Stamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Semaphore {
    /// How many permits there are.
    pub(crate) limit: u64,
    grants: BTreeMap<FencingToken, Grant>,
}

/// How many may have permits: each who gets or returns some copies all.
const GRANTS_MAX: usize = 1024;
/// What a semaphore takes beside its grants, and what each of these takes beside the bytes of its holder. The same in every
/// build: it decides what is refused for want of memory.
const SEMAPHORE_BYTES: usize = 64;
const GRANT_BYTES: usize = 96;

impl Grant {
    fn lives(&self, living: Living<'_>) -> bool {
        living.has(&self.holder, self.until)
    }
}

impl Semaphore {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, grants: BTreeMap::new() }
    }

    /// Those who have permits.
    pub(crate) fn grants(&self, living: Living<'_>) -> impl Iterator<Item = (FencingToken, &Grant)> {
        let grants = self.grants.iter().map(|(token, grant)| (*token, grant));
        grants.filter(move |(_, grant)| grant.lives(living))
    }

    pub(crate) fn grant(&self, token: FencingToken, living: Living<'_>) -> Option<&Grant> {
        self.grants.get(&token).filter(|grant| grant.lives(living))
    }

    /// It without those who are gone.
    pub(crate) fn without_the_gone(&self, living: Living<'_>) -> Self {
        let grants = self.grants(living).map(|(token, grant)| (token, grant.clone())).collect();
        Self { limit: self.limit, grants }
    }

    /// How many permits could be had by one more.
    pub(crate) fn free(&self, living: Living<'_>) -> u64 {
        let (mut free, mut grants) = (self.limit, 0);
        for (_, grant) in self.grants(living) {
            free = free.saturating_sub(grant.permits);
            grants += 1;
        }
        if grants < GRANTS_MAX { free } else { 0 }
    }

    /// Whether nobody has any.
    pub(crate) fn is_vacant(&self, living: Living<'_>) -> bool {
        self.grants(living).next().is_none()
    }

    pub(crate) fn put(&mut self, token: FencingToken, grant: Grant) {
        self.grants.insert(token, grant);
    }

    pub(crate) fn remove(&mut self, token: FencingToken) {
        self.grants.remove(&token);
    }

    /// The deadline of its key: that of the last grant, if none is a session's.
    pub(crate) fn deadline(&self) -> Option<Stamp> {
        let untils: Option<Vec<Stamp>> = self.grants.values().map(|grant| grant.until).collect();
        untils?.into_iter().max()
    }

    /// When the first of those who have permits has them no longer, sessions apart.
    pub(crate) fn first_end(&self, living: Living<'_>) -> Option<Stamp> {
        self.grants(living).filter_map(|(_, grant)| grant.until).min()
    }

    /// The sessions that have permits, or had some.
    pub(crate) fn sessions(&self) -> BTreeSet<ClientSessionId> {
        let holders = self.grants.values().map(|grant| &grant.holder);
        holders.filter_map(Holder::session).collect()
    }

    /// How many have permits, or had some: so many are looked at and copied when one gets or returns some.
    pub(crate) fn grants_len(&self) -> usize {
        self.grants.len()
    }

    /// The greatest token.
    pub(crate) fn last_token(&self) -> Option<FencingToken> {
        self.grants.last_key_value().map(|(token, _)| *token)
    }

    /// What it takes in memory beside its key.
    pub(crate) fn bytes(&self) -> usize {
        let grants = self.grants.values().map(|grant| GRANT_BYTES + grant.holder.bytes());
        SEMAPHORE_BYTES + grants.sum::<usize>()
    }

    pub(super) fn encode(&self, to: &mut Encoder) {
        to.varint(self.limit);
        to.count(self.grants.len());
        for (token, Grant { holder, permits, until }) in &self.grants {
            to.varint(token.0);
            holder.encode(to);
            to.varint(*permits);
            to.option(until.map(|until| until.0));
        }
    }

    pub(super) fn decode(from: &mut Decoder) -> Result<Self, Error> {
        let mut semaphore = Self::new(from.varint()?);
        for _ in 0..from.count()? {
            let token = FencingToken(from.varint()?);
            let (holder, permits) = (Holder::decode(from)?, from.varint()?);
            let grant = Grant { holder, permits, until: from.option()?.map(Stamp) };
            let is_timed = matches!(grant.holder, Holder::Owner(_));
            let is_next = semaphore.last_token().is_none_or(|last| last < token);
            if permits == 0 || grant.until.is_some() != is_timed || !is_next {
                return Err(from.malformed());
            }
            semaphore.put(token, grant);
        }
        if semaphore.grants.is_empty() { Err(from.malformed()) } else { Ok(semaphore) }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::Value;
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Value, Error> {
        let mut from = Decoder::new(Bytes::copy_from_slice(bytes), "value");
        let value = Value::decode(&mut from)?;
        from.finish()?;
        Ok(value)
    }

    /// Kind, limit, grants: token, kind of holder, holder, permits, until when.
    #[test]
    fn the_bytes_stay_as_they_are() {
        let mut semaphore = Semaphore::new(300);
        let until = Some(Stamp(300));
        semaphore.put(FencingToken(7), Grant { holder: Holder::Owner("me".into()), permits: 2, until });
        let holder = Holder::Session(ClientSessionId(300));
        semaphore.put(FencingToken(8), Grant { holder, permits: 1, until: None });
        let value = Value::Semaphore(Box::new(semaphore));
        let bytes = b"\x07\xac\x02\x02\x07\x00\x02me\x02\x01\xac\x02\x08\x01\xac\x02\x01\x00";
        let mut to = Encoder::default();
        value.encode(&mut to);
        assert_eq!(to.0, bytes);
        assert_eq!(decode(bytes).unwrap(), value);
    }

    #[test]
    fn what_no_semaphore_is_made_of_is_refused() {
        for bytes in [
            &b"\x07\x03\x00"[..],
            b"\x07\x03\x01\x07\x00\x02me\x00\x01\x05",
            b"\x07\x03\x01\x07\x00\x02me\x01\x00",
            b"\x07\x03\x01\x07\x01\x05\x01\x01\x05",
            b"\x07\x03\x02\x07\x01\x05\x01\x00\x07\x01\x05\x01\x00",
        ] {
            assert!(decode(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }
}
