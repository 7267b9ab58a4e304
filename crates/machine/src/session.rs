//! Exactly once: what each session has sent, and the replies that it may still ask for.
//!
//! A node numbers its commands from 1 and sends them again, under the same numbers, to each new leader until it has
//! seen them applied. A log may hold a command twice, then: the second finds its number used and changes nothing.
//! (Ongaro's dissertation, section 6.3.)
//!
//! * Only `last + 1` is applied; a number up to `last` is a duplicate, a greater one a gap.
//! * A node has one session; a greater incarnation supersedes it, a lesser one is refused while the
//!   session is open. (That it ended, closed for being idle longest among too many, is not remembered.)
//! * Replies are retained until acknowledged, up to a number and a size. Beyond these the oldest are forgotten:
//!   their duplicates are refused, and the outcome is unknown to whoever still waits. One that is too large by itself
//!   is replaced by an error that says so.
//! * A command that waits has used up its number; its reply takes the place that is kept for it.
//! * Sessions are opened, never implied: a command of an unknown session is refused.

use std::collections::{BTreeMap, VecDeque};

use crate::error::Error;
use crate::identifiers::SessionId;
use crate::reply::Reply;
use crate::settings::Limits;
use crate::wire::{Decoder, Encoder};

/// Why an operation was not applied, now and for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The session was never opened, or a greater incarnation of its node has replaced it.
    UnknownSession,
    /// The sequence does not follow the session's last.
    Gap {
        /// The only sequence that would be applied.
        expected: u64,
    },
    /// Applied earlier, and the reply is no longer retained.
    Forgotten,
    /// The operation may not stand under this sequence number.
    Misplaced,
}

/// Retained in the place of a reply that cannot be: whoever asks again learns what became of its command at least.
const NOT_RETAINED: &str = "ERR the command was applied, and its reply is too large to be given twice";

/// What is to be done about a sequence number.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It is the next one: apply it and [`Sessions::retain`] the reply.
    Fresh,
    /// It was applied and this was the reply; `None` if it had none yet and waits.
    Duplicate(Option<Reply>),
    Refused(Refusal),
}

/// All sessions by node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    by_node: BTreeMap<u64, Session>,
}

#[derive(Clone, Debug)]
struct Session {
    incarnation: u64,
    /// The greatest sequence applied; 0: none.
    last: u64,
    /// The entry that last used it.
    used_at: u64,
    /// Those of the sequences up to `last`, without a hole. `None` stands for a command that waits, or did.
    replies: VecDeque<Option<Reply>>,
    reply_bytes: usize,
}

impl Sessions {
    pub(crate) fn len(&self) -> usize {
        self.by_node.len()
    }

    pub(crate) fn retained_replies(&self) -> usize {
        self.by_node.values().map(|session| session.replies.len()).sum()
    }

    pub(crate) fn retained_bytes(&self) -> usize {
        self.by_node.values().map(|session| session.reply_bytes).sum()
    }

    fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_node.get(&id.node).filter(|session| session.incarnation == id.incarnation)
    }

    fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.by_node.get_mut(&id.node).filter(|session| session.incarnation == id.incarnation)
    }

    /// Opens a session in entry `index`. Opening it twice is opening it once.
    ///
    /// Answers the sessions that it closes.
    pub(crate) fn open(
        &mut self,
        id: SessionId,
        index: u64,
        limits: &Limits,
    ) -> Result<Vec<SessionId>, Refusal> {
        let closed = match self.by_node.get(&id.node).map(|session| session.incarnation) {
            Some(incarnation) if incarnation == id.incarnation => return Ok(vec![]),
            Some(incarnation) if incarnation > id.incarnation => return Err(Refusal::UnknownSession),
            Some(incarnation) => vec![SessionId { incarnation, ..id }],
            None => self.make_room(limits),
        };
        let replies = VecDeque::new();
        let session =
            Session { incarnation: id.incarnation, last: 0, used_at: index, replies, reply_bytes: 0 };
        self.by_node.insert(id.node, session);
        Ok(closed)
    }

    /// Closes the sessions that were idle longest if there are as many as may be.
    fn make_room(&mut self, limits: &Limits) -> Vec<SessionId> {
        let mut closed = Vec::new();
        while self.by_node.len() as u64 >= limits.sessions_max.max(1) {
            let idlest =
                self.by_node.iter().min_by_key(|(_, session)| session.used_at).map(|(node, _)| *node);
            let Some((node, session)) = idlest.and_then(|node| self.by_node.remove_entry(&node)) else {
                break;
            };
            closed.push(SessionId { node, incarnation: session.incarnation });
        }
        closed
    }

    pub(crate) fn last_sequence(&self, id: SessionId) -> Option<u64> {
        self.get(id).map(|session| session.last)
    }

    /// The reply of an applied sequence while it is retained, or that it had none.
    pub(crate) fn retained(&self, id: SessionId, sequence: u64) -> Option<Option<&Reply>> {
        let session = self.get(id)?;
        session.replies.get(session.place(sequence)?).map(Option::as_ref)
    }

    pub(crate) fn admit(&self, id: SessionId, sequence: u64) -> Admission {
        let Some(session) = self.get(id) else { return Admission::Refused(Refusal::UnknownSession) };
        if sequence == session.last + 1 {
            return Admission::Fresh;
        }
        if sequence > session.last {
            return Admission::Refused(Refusal::Gap { expected: session.last + 1 });
        }
        match self.retained(id, sequence) {
            Some(reply) => Admission::Duplicate(reply.cloned()),
            None => Admission::Refused(Refusal::Forgotten),
        }
    }

    /// Uses up the next sequence of an open session and keeps its reply, or its place for one if it waits.
    pub(crate) fn retain(&mut self, id: SessionId, index: u64, reply: Option<&Reply>, limits: &Limits) {
        let session = self.get_mut(id).expect("the session was just admitted");
        session.last += 1;
        session.used_at = index;
        session.replies.push_back(None);
        if let Some(reply) = reply {
            session.fill(session.last, reply, limits);
        }
        while session.replies.len() as u64 > limits.session_replies_max {
            session.forget_oldest();
        }
    }

    /// Keeps the reply of a command that has waited, unless its place was acknowledged or is forgotten.
    pub(crate) fn fill(&mut self, id: SessionId, sequence: u64, reply: &Reply, limits: &Limits) {
        if let Some(session) = self.get_mut(id) {
            session.fill(sequence, reply, limits);
        }
    }

    /// Frees the replies up to `acked`.
    pub(crate) fn acknowledge(&mut self, id: SessionId, acked: u64) {
        let Some(session) = self.get_mut(id) else { return };
        let keep = usize::try_from(session.last.saturating_sub(acked)).unwrap_or(usize::MAX);
        while session.replies.len() > keep {
            session.forget_oldest();
        }
    }

    pub(crate) fn encode(&self, to: &mut Encoder) {
        to.count(self.by_node.len());
        for (node, session) in &self.by_node {
            to.varint(*node);
            to.varint(session.incarnation);
            to.varint(session.last);
            to.varint(session.used_at);
            to.count(session.replies.len());
            for reply in &session.replies {
                to.u8(u8::from(reply.is_some()));
                reply.iter().for_each(|reply| reply.encode(to));
            }
        }
    }

    pub(crate) fn decode(from: &mut Decoder) -> Result<Self, Error> {
        let sessions = from.list(|from| {
            let node = from.varint()?;
            let (incarnation, last, used_at) = (from.varint()?, from.varint()?, from.varint()?);
            let replies = VecDeque::from(from.list(|from| from.optional(Reply::decode))?);
            if replies.len() as u64 > last || last == u64::MAX {
                return Err(from.malformed());
            }
            let reply_bytes = replies.iter().flatten().map(Reply::bytes).sum();
            Ok((node, Session { incarnation, last, used_at, replies, reply_bytes }))
        })?;
        Ok(Self { by_node: sessions.into_iter().collect() })
    }
}

impl Session {
    /// Where the reply of a sequence stands.
    fn place(&self, sequence: u64) -> Option<usize> {
        let back = usize::try_from(self.last.checked_sub(sequence)?).ok()?;
        self.replies.len().checked_sub(back + 1)
    }

    /// Puts a reply in the place that has none yet.
    fn fill(&mut self, sequence: u64, reply: &Reply, limits: &Limits) {
        let Some(place) = self.place(sequence) else { return };
        // One that is larger than all together may be would make room in vain, and what is nested too deep for the
        // snapshot's decoder must not be in a snapshot.
        let fits =
            reply.bytes() as u64 <= limits.session_reply_bytes_max && reply.depth() <= Reply::DEPTH_MAX;
        let reply = if fits { reply.clone() } else { Reply::error(NOT_RETAINED) };
        self.reply_bytes += reply.bytes();
        self.replies[place] = Some(reply);
        while self.reply_bytes as u64 > limits.session_reply_bytes_max {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(Some(reply)) = self.replies.pop_front() {
            self.reply_bytes -= reply.bytes();
        }
    }
}
