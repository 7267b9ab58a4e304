//! Sessions of clients: what `SESSION OPEN` opens, to keep any number of locks alive with one heartbeat.
//!
//! Not to be taken for a node's session ([`crate::session`]), by which its commands are applied once: a client session is
//! opened by a client, belongs to no connection and no node, and is about nothing but time.
//!
//! * It lasts its time to live from its last heartbeat, by stamps; what it held is free in the instant in which it ends.
//! * Its number is one of the fencing counter's, so that none is ever used twice.
//! * Which locks it holds is known by the databases, as which keys expire when is ([`crate::database`]). To end it takes no
//!   longer for many locks than for one: they are reclaimed later, as expired keys are.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use crate::error::Error;
use crate::identifiers::{ClientSessionId, Stamp};
use crate::wire::{Decoder, Encoder};

/// An open session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientSession {
    /// What its client calls it, for whoever looks at it.
    pub(crate) name: Option<Bytes>,
    /// How long it lasts from each heartbeat.
    pub(crate) ttl_ms: u64,
    /// The last millisecond of cluster time in which it is open.
    pub(crate) deadline: Stamp,
}

/// All that are open.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientSessions {
    by_id: BTreeMap<ClientSessionId, ClientSession>,
    deadlines: BTreeSet<(Stamp, ClientSessionId)>,
}

impl ClientSessions {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn get(&self, id: ClientSessionId) -> Option<&ClientSession> {
        self.by_id.get(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ClientSessionId, &ClientSession)> {
        self.by_id.iter().map(|(id, session)| (*id, session))
    }

    /// Opens a session, or gives an open one another deadline.
    pub(crate) fn put(&mut self, id: ClientSessionId, session: ClientSession) {
        self.remove(id);
        self.deadlines.insert((session.deadline, id));
        self.by_id.insert(id, session);
    }

    /// A heartbeat: the session lasts its whole time from now on. Whether it is open.
    pub(crate) fn keep_alive(&mut self, id: ClientSessionId, now: Stamp) -> bool {
        let Some(session) = self.by_id.get(&id).cloned() else { return false };
        if bug::on(Bug::IdleHeartbeat) {
            return true;
        }
        let deadline = Stamp(now.0.saturating_add(session.ttl_ms));
        self.put(id, ClientSession { deadline, ..session });
        true
    }

    pub(crate) fn remove(&mut self, id: ClientSessionId) -> bool {
        let Some(session) = self.by_id.remove(&id) else { return false };
        self.deadlines.remove(&(session.deadline, id))
    }

    /// Takes one whose time is over.
    pub(crate) fn take_expired(&mut self, now: Stamp) -> Option<ClientSessionId> {
        let (_, id) = *self.deadlines.first().filter(|(deadline, _)| *deadline < now)?;
        self.remove(id);
        Some(id)
    }

    pub(crate) fn next_deadline(&self) -> Option<Stamp> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(crate) fn encode(&self, to: &mut Encoder) {
        to.count(self.by_id.len());
        for (id, ClientSession { name, ttl_ms, deadline }) in &self.by_id {
            to.varint(id.0);
            to.u8(u8::from(name.is_some()));
            name.iter().for_each(|name| to.bytes(name));
            to.varint(*ttl_ms);
            to.varint(deadline.0);
        }
    }

    pub(crate) fn decode(from: &mut Decoder) -> Result<Self, Error> {
        let mut sessions = Self::default();
        for _ in 0..from.count()? {
            let id = ClientSessionId(from.varint()?);
            // What it is given is a slice of the whole frame.
            let name = from.optional(|from| from.bytes().map(|name| Bytes::copy_from_slice(&name)))?;
            let (ttl_ms, deadline) = (from.varint()?, Stamp(from.varint()?));
            if sessions.by_id.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return Err(from.malformed());
            }
            sessions.put(id, ClientSession { name, ttl_ms, deadline });
        }
        Ok(sessions)
    }
}
