//! Requests that clients have named by `REQUEST id`, so that one that is sent again takes effect once.
//!
//! Sessions see to it that a *node* applies a command once, however often it sends it ([`crate::session`]). A client whose
//! connection breaks does not know what became of its command, and asks again at another node: only the name that it has
//! given to what it asks tells that this is the same. So what such a command was answered is remembered under its name.
//!
//! * A request that waits is found in its queue ([`crate::waiting`]); here are those that were answered.
//! * Only what may have taken effect is remembered: an error leaves the name free, and the next attempt counts.
//! * A name stands for one thing to do. Under the same name something else is refused, so that nobody is answered what
//!   another one has asked.
//! * An answer is remembered for the setting `quorate-request-ms` and then forgotten in bounded steps, or at once where
//!   there are more than `quorate-requests`: the oldest first. A retry that comes later than that is a new request.

use std::collections::BTreeMap;
use std::hash::Hasher;

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};
use siphasher::sip::SipHasher13;

use crate::error::Error;
use crate::identifiers::{SessionId, Stamp};
use crate::reply::Reply;
use crate::settings::Limits;
use crate::wire::{Decoder, Encoder};

/// The longest name: as long as what clients make names of, such as a UUID with a few words.
const ID_BYTES_MAX: usize = 128;

/// What a client asks, under the name that it gave to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) id: Bytes,
    /// Tells apart what may be asked under one name.
    pub(crate) digest: u64,
}

impl Request {
    /// The request of a name, in a database, for what these words say. How long it may take is none of them: who asks
    /// again may have less time left.
    pub(crate) fn new(id: &Bytes, db: usize, words: &[&[u8]]) -> Result<Self, Reply> {
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err(Reply::error("ERR the name of a request has 1 to 128 bytes"));
        }
        // The keys are part of the format: the same everywhere.
        let mut hasher = SipHasher13::new_with_keys(0x7175_6f72_6174_6501, 0x7265_7175_6573_7401);
        hasher.write_u64(db as u64);
        for word in words {
            hasher.write_u64(word.len() as u64);
            hasher.write(word);
        }
        Ok(Self { id: Bytes::copy_from_slice(id), digest: hasher.finish() })
    }

    /// That this is what another request of its name asks.
    pub(crate) fn check(&self, other: &Self) -> Result<(), Reply> {
        if self == other { Ok(()) } else { Err(Reply::error("ERR the request names another command")) }
    }

    pub(crate) fn encode(&self, to: &mut Encoder) {
        to.bytes(&self.id);
        to.fixed(&self.digest.to_le_bytes());
    }

    pub(crate) fn decode(from: &mut Decoder) -> Result<Self, Error> {
        // What it is given is a slice of the whole frame.
        let id = Bytes::copy_from_slice(&from.bytes()?);
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err(from.malformed());
        }
        Ok(Self { id, digest: u64::from_le_bytes(from.array()?) })
    }
}

/// Which operation has asked: the node's session, and the number in it.
pub(crate) type Asker = (SessionId, u64);

/// When something was answered, and behind how many others of that stamp. Only the order is part of the state.
type Age = (Stamp, u64);

#[derive(Clone, Debug)]
struct Answered {
    request: Request,
    reply: Reply,
    /// Who was answered last.
    asker: Asker,
    age: Age,
}

/// The requests that were answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    by_id: BTreeMap<Bytes, Answered>,
    /// Their names, oldest first.
    by_age: BTreeMap<Age, Bytes>,
    /// How many were ever remembered here.
    count: u64,
}

/// The asker of what two were answered.
const NOBODY: Asker = (SessionId { node: 0, incarnation: 0 }, 0);

impl Requests {
    /// What a request was answered, if it is remembered. Of two who were answered the one who believes in it need not be the
    /// one whose command comes later: from now on nobody alone has what it has got. An error reply if its name stands for
    /// another.
    pub(crate) fn reply_to(&mut self, request: &Request, asker: Asker) -> Result<Option<&Reply>, Reply> {
        let Some(answered) = self.by_id.get_mut(&request.id).filter(|_| !bug::on(Bug::RepeatedRequest))
        else {
            return Ok(None);
        };
        answered.request.check(request)?;
        if answered.asker != asker {
            answered.asker = NOBODY;
        }
        Ok(Some(&answered.reply))
    }

    /// Forgets a request that this asker was answered and nobody else, and answers whether there was one.
    pub(crate) fn forget(&mut self, request: &Request, asker: Asker) -> bool {
        let answered = self.by_id.get(&request.id);
        let is_his = answered.is_some_and(|answered| answered.request == *request && answered.asker == asker);
        if is_his && let Some(answered) = self.by_id.remove(&request.id) {
            self.by_age.remove(&answered.age);
        }
        is_his
    }

    /// Remembers what a request was answered, unless that is an error: it has had no effect then, and may be tried again.
    pub(crate) fn remember(
        &mut self,
        request: Request,
        asker: Asker,
        reply: &Reply,
        now: Stamp,
        limits: &Limits,
    ) {
        if reply.is_error() {
            return;
        }
        self.put(request, asker, reply.clone(), now);
        while self.by_id.len() as u64 > limits.requests_max && self.forget_oldest() {}
    }

    fn put(&mut self, request: Request, asker: Asker, reply: Reply, at: Stamp) {
        let (id, age) = (request.id.clone(), (at, self.count));
        self.count += 1;
        self.by_age.insert(age, id.clone());
        if let Some(before) = self.by_id.insert(id, Answered { request, reply, asker, age }) {
            self.by_age.remove(&before.age);
        }
    }

    /// Forgets some of those whose time is over.
    pub(crate) fn expire(&mut self, now: Stamp, limits: &Limits) {
        for _ in 0..limits.reclaim_keys_max {
            let oldest = self.by_age.first_key_value().map(|((at, _), _)| at.0);
            if oldest.is_none_or(|at_ms| now.0 - at_ms <= limits.request_ms) {
                break;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) -> bool {
        self.by_age.pop_first().and_then(|(_, id)| self.by_id.remove(&id)).is_some()
    }

    pub(crate) fn encode(&self, to: &mut Encoder) {
        to.count(self.by_id.len());
        for Answered { request, reply, asker: (session, sequence), age: (at, _) } in
            self.by_age.values().map(|id| &self.by_id[id])
        {
            request.encode(to);
            to.varint(session.node);
            to.varint(session.incarnation);
            to.varint(*sequence);
            reply.encode(to);
            to.varint(at.0);
        }
    }

    pub(crate) fn decode(from: &mut Decoder) -> Result<Self, Error> {
        let mut requests = Self::default();
        let mut last = Stamp(0);
        for _ in 0..from.count()? {
            let request = Request::decode(from)?;
            let session = SessionId { node: from.varint()?, incarnation: from.varint()? };
            let asker = (session, from.varint()?);
            let (reply, at) = (Reply::decode(from)?, Stamp(from.varint()?));
            if at < last || reply.is_error() || requests.by_id.contains_key(&request.id) {
                return Err(from.malformed());
            }
            last = at;
            requests.put(request, asker, reply, at);
        }
        Ok(requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKER: Asker = (SessionId { node: 1, incarnation: 1 }, 1);

    fn request(id: &'static str) -> Request {
        Request::new(&Bytes::from(id), 0, &[b"acquire", b"l"]).expect("a name")
    }

    #[test]
    fn what_is_old_or_too_much_is_forgotten_oldest_first() {
        let limits = Limits { requests_max: 2, request_ms: 100, reclaim_keys_max: 1, ..Limits::default() };
        let mut requests = Requests::default();
        for (id, at) in [("a", 0), ("b", 10), ("c", 10)] {
            requests.remember(request(id), ASKER, &Reply::ok(), Stamp(at), &limits);
        }
        let known = |requests: &Requests| {
            let mut requests = requests.clone();
            ["a", "b", "c"].map(|id| requests.reply_to(&request(id), ASKER).expect("the same").is_some())
        };
        assert_eq!(known(&requests), [false, true, true]);
        requests.expire(Stamp(110), &limits);
        assert_eq!(known(&requests), [false, true, true], "it is remembered for the whole of its time");
        requests.expire(Stamp(111), &limits);
        assert_eq!(known(&requests), [false, false, true], "one step at a time");
        requests.expire(Stamp(111), &limits);
        assert_eq!(known(&requests), [false; 3]);
    }

    #[test]
    fn a_name_stands_for_one_thing() {
        let mut requests = Requests::default();
        requests.remember(request("a"), ASKER, &Reply::Null, Stamp(1), &Limits::default());
        let id = Bytes::from("a");
        for (db, words) in [(1, [b"acquire", &b"l"[..]]), (0, [b"acquirel", b""]), (0, [b"acquire", b"k"])] {
            let other = Request::new(&id, db, &words).expect("a name");
            assert!(requests.reply_to(&other, ASKER).is_err());
        }
    }

    #[test]
    fn what_was_answered_to_two_is_given_back_by_neither() {
        let (mut requests, other) = (Requests::default(), (SessionId::default(), 7));
        requests.remember(request("a"), ASKER, &Reply::Integer(1), Stamp(1), &Limits::default());
        assert!(!requests.forget(&request("a"), other));
        assert_eq!(requests.reply_to(&request("a"), other), Ok(Some(&Reply::Integer(1))));
        assert!(!requests.forget(&request("a"), ASKER));
        assert!(!requests.forget(&request("a"), other));
        requests.remember(request("b"), ASKER, &Reply::Integer(2), Stamp(1), &Limits::default());
        assert!(requests.forget(&request("b"), ASKER));
        assert_eq!(requests.reply_to(&request("b"), other), Ok(None));
    }
}
