//! A native lock, or an election, which is a lock that one leads by: who holds it, how often, and what he lets others know.
//!
//! Its fencing token and its deadline are those of the key that it is the value of. A lock that nobody holds is no value:
//! its key does not exist.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use super::Living;
use crate::error::Error;
use crate::identifiers::{ClientSessionId, Stamp};
use crate::wire::{Decoder, Encoder};

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    /// Somebody by the name that he has given himself, which is never empty. The key has a deadline.
    Owner(Bytes),
    /// A session that a client has opened. It has the deadline, and the key has none.
    Session(ClientSessionId),
}

/// What a lock is held for. Commands for one purpose do not know those of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// LOCK: for work that one does at a time.
    Exclusion,
    /// ELECTION: to lead. It is held by one, once, and without a delay.
    Leadership,
}

impl Purpose {
    /// What a command of this name is about.
    pub(crate) fn of_command(name: &[u8]) -> Self {
        if name.eq_ignore_ascii_case(b"ELECTION") { Self::Leadership } else { Self::Exclusion }
    }
}

/// How a lock is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// By one holder.
    Alone {
        holder: Holder,
        /// How often it was acquired and not released since. Never 0; more than 1 only by re-entry.
        depth: u64,
    },
    /// By readers, of whom each has a part. There is one at least, and the key's deadline is the last of theirs; none where a
    /// session is among them.
    Shared(BTreeMap<Holder, Part>),
}

/// A reader's part of a shared lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// As that of who holds a lock alone.
    depth: u64,
    /// The last millisecond of cluster time in which he has it; `None` for a session: as long as it lasts.
    until: Option<Stamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    pub(crate) purpose: Purpose,
    pub(crate) held: Held,
    /// For how long nobody gets it once the time of its holder is up: the last part of the key's time. 0: not at all.
    pub(crate) delay_ms: u64,
    /// What its holder lets others know.
    pub(crate) value: Option<Bytes>,
}

/// What is left when a lock was released once.
pub(crate) struct Released {
    /// How often its holder has it still.
    pub(crate) depth: u64,
    /// The lock and the deadline of its key; `None` if nobody has it any more.
    pub(crate) left: Option<(Lock, Option<Stamp>)>,
}

/// How many may share a lock: each who joins or leaves copies all.
const READERS_MAX: usize = 1024;
/// What a reader takes beside the bytes of his holder.
const READER_BYTES: usize = 96;

/// What a session takes that holds something: the node of the key in the index of what it holds.
const SESSION_BYTES: usize = 64;

/// What a lock takes beside the bytes of its holder. The same in every build: it decides what is refused for want of memory.
const LOCK_BYTES: usize = 96;

impl Holder {
    pub(crate) fn session(&self) -> Option<ClientSessionId> {
        if let Self::Session(id) = self { Some(*id) } else { None }
    }

    /// What it takes in memory beside what every holder takes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Owner(owner) => owner.len(),
            Self::Session(_) => SESSION_BYTES,
        }
    }

    /// Different ones for different holders.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut to = Encoder::default();
        self.encode(&mut to);
        to.0
    }

    pub(crate) fn encode(&self, to: &mut Encoder) {
        match self {
            Self::Owner(owner) => {
                to.u8(0);
                to.bytes(owner);
            }
            Self::Session(id) => {
                to.u8(1);
                to.varint(id.0);
            }
        }
    }

    pub(crate) fn decode(from: &mut Decoder) -> Result<Self, Error> {
        Ok(match from.u8()? {
            0 => {
                let owner = from.bytes()?;
                if owner.is_empty() {
                    return Err(from.malformed());
                }
                // What it is given is a slice of the whole frame.
                Self::Owner(Bytes::copy_from_slice(&owner))
            }
            1 => Self::Session(ClientSessionId(from.varint()?)),
            2..=u8::MAX => return Err(from.malformed()),
        })
    }
}

impl Held {
    /// By one reader, whom others may join.
    pub(crate) fn shared_by(holder: &Holder, until: Option<Stamp>) -> Self {
        Self::Shared(BTreeMap::from([(holder.clone(), Part { depth: 1, until })]))
    }

    /// Who has it, if it is one alone.
    pub(crate) fn holder(&self) -> Option<&Holder> {
        if let Self::Alone { holder, .. } = self { Some(holder) } else { None }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Alone { holder, .. } => holder.bytes(),
            Self::Shared(parts) => parts.keys().map(|holder| READER_BYTES + holder.bytes()).sum(),
        }
    }

    fn encode(&self, to: &mut Encoder) {
        match self {
            Self::Alone { holder, depth } => {
                holder.encode(to);
                to.varint(*depth);
            }
            Self::Shared(parts) => {
                to.u8(SHARED);
                to.count(parts.len());
                for (holder, Part { depth, until }) in parts {
                    holder.encode(to);
                    to.varint(*depth);
                    to.option(until.map(|until| until.0));
                }
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, Error> {
        if !from.skip(SHARED) {
            let (holder, depth) = (Holder::decode(from)?, from.varint()?);
            return if depth > 0 { Ok(Self::Alone { holder, depth }) } else { Err(from.malformed()) };
        }
        let mut parts = BTreeMap::new();
        for _ in 0..from.count()? {
            let (holder, depth) = (Holder::decode(from)?, from.varint()?);
            let part = Part { depth, until: from.option()?.map(Stamp) };
            let is_timed = matches!(holder, Holder::Owner(_));
            let is_next = parts.last_key_value().is_none_or(|(last, _)| *last < holder);
            if depth == 0 || part.until.is_some() != is_timed || !is_next {
                return Err(from.malformed());
            }
            parts.insert(holder, part);
        }
        if parts.is_empty() { Err(from.malformed()) } else { Ok(Self::Shared(parts)) }
    }
}

/// When the last of them ends; `None` if one of them is a session's.
fn last_end(parts: &BTreeMap<Holder, Part>) -> Option<Stamp> {
    let untils: Option<Vec<Stamp>> = parts.values().map(|part| part.until).collect();
    untils?.into_iter().reduce(if bug::on(Bug::ShortestPart) { Stamp::min } else { Stamp::max })
}

/// In the place of a kind of holder.
const SHARED: u8 = 2;

impl Lock {
    /// Those who share it.
    pub(crate) fn readers(&self, living: Living<'_>) -> impl Iterator<Item = &Holder> {
        self.parts(living).map(|(holder, _)| holder)
    }

    /// How many share it, or did: so much is looked at and copied when one joins or leaves.
    pub(crate) fn parts_len(&self) -> usize {
        if let Held::Shared(parts) = &self.held { parts.len() } else { 0 }
    }

    /// Whether nobody has it any more of those who shared it.
    pub(crate) fn is_vacant(&self, living: Living<'_>) -> bool {
        matches!(self.held, Held::Shared(_)) && self.parts(living).next().is_none()
    }

    /// When the first of them has it no longer, sessions apart.
    pub(crate) fn first_end(&self, living: Living<'_>) -> Option<Stamp> {
        self.parts(living).filter_map(|(_, part)| part.until).min()
    }

    /// The sessions that share it, or did.
    pub(crate) fn sharing_sessions(&self) -> BTreeSet<ClientSessionId> {
        let parts = if let Held::Shared(parts) = &self.held { Some(parts) } else { None };
        parts.into_iter().flatten().filter_map(|(holder, _)| holder.session()).collect()
    }

    /// Whether one more may share it.
    pub(crate) fn has_room(&self, living: Living<'_>) -> bool {
        self.readers(living).count() < READERS_MAX
    }

    /// Whether somebody has it, or a part of it.
    pub(crate) fn is_held_by(&self, holder: &Holder, living: Living<'_>) -> bool {
        match &self.held {
            Held::Alone { holder: alone, .. } => alone == holder,
            Held::Shared(parts) => parts.get(holder).is_some_and(|part| living.has(holder, part.until)),
        }
    }

    /// How often it was acquired and not released since, by all who have it.
    pub(crate) fn depth(&self, living: Living<'_>) -> u64 {
        match &self.held {
            Held::Alone { depth, .. } => *depth,
            Held::Shared(_) => self.parts(living).map(|(_, part)| part.depth).sum(),
        }
    }

    /// The parts of those who are there.
    fn parts(&self, living: Living<'_>) -> impl Iterator<Item = (&Holder, &Part)> {
        let parts = if let Held::Shared(parts) = &self.held { Some(parts) } else { None };
        parts.into_iter().flatten().filter(move |(holder, part)| living.has(holder, part.until))
    }

    fn cloned_parts(&self, living: Living<'_>) -> BTreeMap<Holder, Part> {
        self.parts(living).map(|(holder, part)| (holder.clone(), *part)).collect()
    }

    /// It without those who shared it and are gone, and the deadline of its key; `None` if nobody is left. Only for one that
    /// is shared.
    pub(crate) fn without_the_gone(&self, living: Living<'_>) -> Option<(Self, Option<Stamp>)> {
        self.with(self.cloned_parts(living))
    }

    /// It with these parts, and the deadline of its key; `None` if there are none.
    fn with(&self, parts: BTreeMap<Holder, Part>) -> Option<(Self, Option<Stamp>)> {
        let last = last_end(&parts);
        (!parts.is_empty()).then(|| (Self { held: Held::Shared(parts), ..self.clone() }, last))
    }

    /// Whether its key may have this deadline.
    pub(crate) fn fits(&self, deadline: Option<Stamp>) -> bool {
        match &self.held {
            Held::Alone { holder, .. } => deadline.is_none() || holder.session().is_none(),
            Held::Shared(parts) => deadline == last_end(parts),
        }
    }

    /// It with a reader more, or once more, who has it until then at least; and the deadline of its key.
    pub(crate) fn joined(
        &self,
        holder: &Holder,
        until: Option<Stamp>,
        living: Living<'_>,
    ) -> (Self, Option<Stamp>) {
        let mut parts = self.cloned_parts(living);
        let part = parts.entry(holder.clone()).or_insert(Part { depth: 0, until });
        *part = Part { depth: part.depth.saturating_add(1), until: part.until.max(until) };
        self.with(parts).expect("there is the one that has joined")
    }

    /// It with another end of a reader's part, if it is shared and he has one; and the deadline of its key.
    pub(crate) fn with_part_until(
        &self,
        holder: &Holder,
        until: Stamp,
        living: Living<'_>,
    ) -> Option<(Self, Option<Stamp>)> {
        let mut parts = self.cloned_parts(living);
        parts.get_mut(holder)?.until = Some(until);
        self.with(parts)
    }

    /// What is left when it is released once, by this one of those who share it if it is shared.
    pub(crate) fn released(
        &self,
        deadline: Option<Stamp>,
        reader: Option<&Holder>,
        living: Living<'_>,
    ) -> Released {
        match &self.held {
            Held::Alone { holder, depth } => {
                let (holder, depth) = (holder.clone(), depth - 1);
                let left = (depth > 0)
                    .then(|| (Self { held: Held::Alone { holder, depth }, ..self.clone() }, deadline));
                Released { depth, left }
            }
            Held::Shared(_) => {
                let mut parts = self.cloned_parts(living);
                let part = reader.and_then(|reader| parts.get_mut(reader));
                let depth = part.map_or(0, |part| {
                    part.depth -= 1;
                    part.depth
                });
                parts.retain(|_, part| part.depth > 0 && !bug::on(Bug::FirstReaderFrees));
                Released { depth, left: self.with(parts) }
            }
        }
    }

    /// Whether the time of its holder is up, and nobody may have it yet, where its key has this deadline.
    pub(crate) fn is_delayed(&self, deadline: Option<Stamp>, now: Stamp) -> bool {
        self.delay_ms > 0 && deadline.is_some_and(|deadline| now.0 > deadline.0.saturating_sub(self.delay_ms))
    }

    /// What it takes in memory beside its key.
    pub(crate) fn bytes(&self) -> usize {
        LOCK_BYTES + self.held.bytes() + self.value.as_ref().map_or(0, Bytes::len)
    }

    pub(super) fn encode(&self, to: &mut Encoder) {
        self.held.encode(to);
        to.varint(self.delay_ms);
        to.u8(u8::from(self.value.is_some()));
        self.value.iter().for_each(|value| to.bytes(value));
    }

    pub(super) fn decode(from: &mut Decoder, purpose: Purpose) -> Result<Self, Error> {
        // Those that it is given are slices of the whole frame.
        let own = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
        let (held, delay_ms) = (Held::decode(from)?, from.varint()?);
        let value = from.optional(|from| from.bytes().map(own))?;
        let is_alone = matches!(held, Held::Alone { depth: 1, .. });
        let may_be_delayed = matches!(held, Held::Alone { holder: Holder::Owner(_), .. });
        let is_possible = match purpose {
            Purpose::Exclusion => delay_ms == 0 || may_be_delayed,
            Purpose::Leadership => delay_ms == 0 && is_alone,
        };
        if is_possible { Ok(Self { purpose, held, delay_ms, value }) } else { Err(from.malformed()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Value;
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Value, Error> {
        let mut from = Decoder::new(Bytes::copy_from_slice(bytes), "value");
        let value = Value::decode(&mut from)?;
        from.finish()?;
        Ok(value)
    }

    fn lock(held: Held, delay_ms: u64, value: Option<&'static str>) -> Lock {
        Lock { purpose: Purpose::Exclusion, held, delay_ms, value: value.map(Bytes::from) }
    }

    /// Kind, kind of holder, holder, depth, delay, whether there is a value, and the value.
    #[test]
    fn the_bytes_stay_as_they_are() {
        let alone = |holder, depth| Held::Alone { holder, depth };
        let owner = |name| Holder::Owner(Bytes::from_static(name));
        let reader = |name, depth, until| (owner(name), Part { depth, until: Some(Stamp(until)) });
        let readers = Held::Shared(BTreeMap::from([reader(b"a", 1, 5), reader(b"b", 2, 300)]));
        let session = (Holder::Session(ClientSessionId(300)), Part { depth: 2, until: None });
        let with_sessions = Held::Shared(BTreeMap::from([reader(b"a", 1, 5), session]));
        for (lock, bytes) in [
            (lock(alone(Holder::Owner("me".into()), 1), 300, None), &b"\x05\x00\x02me\x01\xac\x02\x00"[..]),
            (
                lock(alone(Holder::Session(ClientSessionId(300)), 200), 0, Some("v")),
                b"\x05\x01\xac\x02\xc8\x01\x00\x01\x01v",
            ),
            (lock(readers, 0, None), b"\x05\x02\x02\x00\x01a\x01\x01\x05\x00\x01b\x02\x01\xac\x02\x00\x00"),
            (lock(with_sessions, 0, None), b"\x05\x02\x02\x00\x01a\x01\x01\x05\x01\xac\x02\x02\x00\x00\x00"),
            (
                Lock {
                    purpose: Purpose::Leadership,
                    ..lock(alone(Holder::Owner("me".into()), 1), 0, Some("v"))
                },
                b"\x06\x00\x02me\x01\x00\x01\x01v",
            ),
        ] {
            let value = Value::Lock(Box::new(lock));
            let mut to = Encoder::default();
            value.encode(&mut to);
            assert_eq!(to.0, bytes);
            assert_eq!(decode(bytes).unwrap(), value);
        }
    }

    #[test]
    fn what_no_lock_is_made_of_is_refused() {
        for bytes in [
            &b"\x05\x00\x00\x01\x00\x00"[..],
            b"\x05\x00\x02me\x00\x00\x00",
            b"\x05\x00\x02me\x01\x00\x02",
            b"\x05\x00\x02me\x01\x00\x01",
            b"\x05\x01\x02\x01\x05\x00",
            b"\x05\x03\x02me\x01\x00\x00",
            b"\x05\x02\x00\x00\x00",
            b"\x05\x02\x01\x00\x01a\x00\x01\x05\x00\x00",
            b"\x05\x02\x01\x00\x01a\x01\x01\x05\x05\x00",
            b"\x05\x02\x01\x00\x01a\x01\x00\x00\x00",
            b"\x05\x02\x01\x01\x05\x01\x01\x05\x00\x00",
            b"\x05\x02\x02\x00\x01b\x01\x01\x05\x00\x01a\x01\x01\x05\x00\x00",
            b"\x05\x02\x02\x01\x05\x01\x00\x00\x01a\x01\x01\x05\x00\x00",
            b"\x06\x00\x02me\x02\x00\x00",
            b"\x06\x00\x02me\x01\x05\x00",
            b"\x06\x02\x01\x00\x01a\x01\x01\x05\x00\x00",
        ] {
            assert!(decode(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }
}
