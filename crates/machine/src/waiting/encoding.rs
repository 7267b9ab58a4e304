//! How those who wait are told in a snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::{Kind, Share, Wait, Waiter, Waiting};
use crate::error::Error;
use crate::identifiers::{ClientSessionId, SessionId, Stamp};
use crate::keyspace::DATABASES;
use crate::requests::Request;
use crate::value::Holder;
use crate::wire::{Decoder, Encoder};

impl Waiting {
    pub(crate) fn encode(waiters: &[Arc<Waiter>], to: &mut Encoder) {
        to.count(waiters.len());
        for waiter in waiters {
            let Waiter { session, sequence, db, args, wait } = &**waiter;
            to.varint(session.node);
            to.varint(session.incarnation);
            to.varint(*sequence);
            to.count(*db);
            to.count(args.len());
            args.iter().for_each(|argument| to.bytes(argument));
            to.u8(match wait.kind {
                Kind::List => 0,
                Kind::SortedSet => 1,
                Kind::Vacancy if wait.priority == 0 => 2,
                Kind::Vacancy => PRIOR,
                Kind::Gathering => 4,
            });
            if wait.priority > 0 {
                to.varint(wait.priority.into());
            }
            to.count(wait.keys.len());
            wait.keys.iter().for_each(|key| to.bytes(key));
            to.option(wait.deadline.map(|deadline| deadline.0));
            match wait.share {
                Share::Whole => to.u8(0),
                Share::Part => to.u8(1),
                Share::Permits { count } => {
                    to.u8(2);
                    to.varint(count);
                }
                Share::Members { count } => {
                    to.u8(3);
                    to.varint(count);
                }
            }
            to.option(wait.session.map(|session| session.0));
            to.u8(u8::from(wait.reentrant.is_some()));
            wait.reentrant.iter().for_each(|holder| holder.encode(to));
            to.u8(u8::from(wait.request.is_some()));
            wait.request.iter().for_each(|request| request.encode(to));
        }
    }

    /// Those whom a snapshot holds.
    pub(crate) fn decode(from: &mut Decoder) -> Result<Vec<Arc<Waiter>>, Error> {
        let waiters = from.list(decode_waiter)?;
        let numbers: BTreeSet<_> = waiters.iter().map(|waiter| (waiter.session, waiter.sequence)).collect();
        let requests = || waiters.iter().filter_map(|waiter| waiter.wait.request.as_ref());
        let names: BTreeSet<_> = requests().map(|request| &request.id).collect();
        if numbers.len() < waiters.len() || names.len() < requests().count() {
            return Err(from.malformed());
        }
        Ok(waiters.into_iter().map(Arc::new).collect())
    }
}

/// In the place of a kind: for a key to be free, and before others, which follows.
const PRIOR: u8 = 3;

fn decode_waiter(from: &mut Decoder) -> Result<Waiter, Error> {
    let session = SessionId { node: from.varint()?, incarnation: from.varint()? };
    let sequence = from.varint()?;
    let db = usize::try_from(from.varint()?).ok().filter(|db| *db < DATABASES).ok_or(from.malformed())?;
    // Those that it is given are slices of the whole frame.
    let own = |from: &mut Decoder| from.bytes().map(|bytes| Bytes::copy_from_slice(&bytes));
    let args = from.list(own)?;
    let (kind, priority) = match from.u8()? {
        0 => (Kind::List, 0),
        1 => (Kind::SortedSet, 0),
        2 => (Kind::Vacancy, 0),
        PRIOR => {
            let priority = u32::try_from(from.varint()?).ok().filter(|priority| *priority > 0);
            (Kind::Vacancy, priority.ok_or(from.malformed())?)
        }
        4 => (Kind::Gathering, 0),
        5..=u8::MAX => return Err(from.malformed()),
    };
    let keys = from.list(own)?;
    let deadline = from.option()?.map(Stamp);
    let share = match from.u8()? {
        0 => Share::Whole,
        1 => Share::Part,
        2 => Share::Permits { count: from.varint()? },
        3 => Share::Members { count: from.varint()? },
        4..=u8::MAX => return Err(from.malformed()),
    };
    if (kind == Kind::Gathering) != matches!(share, Share::Members { .. }) {
        return Err(from.malformed());
    }
    let client_session = from.option()?.map(ClientSessionId);
    let reentrant = from.optional(Holder::decode)?;
    let request = from.optional(Request::decode)?;
    Ok(Waiter {
        session,
        sequence,
        db,
        args,
        wait: Wait { kind, keys, deadline, priority, share, session: client_session, reentrant, request },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(
        sequence: u64,
        priority: u32,
        (share, session): (Share, Option<u64>),
        reentrant: Option<Holder>,
    ) -> Arc<Waiter> {
        let client_session = session.map(ClientSessionId);
        let session = SessionId { node: 3, incarnation: 200 };
        let (args, keys) = (vec![Bytes::from_static(b"X")], vec![Bytes::from_static(b"k")]);
        let kind = match share {
            Share::Whole | Share::Part | Share::Permits { .. } => Kind::Vacancy,
            Share::Members { .. } => Kind::Gathering,
        };
        let deadline = Some(Stamp(300));
        let wait =
            Wait { kind, keys, deadline, priority, share, session: client_session, reentrant, request: None };
        Arc::new(Waiter { session, sequence, db: 5, args, wait })
    }

    /// Session, sequence, database, command, kind with a priority if there is one, keys, deadline, share, client's session, who may enter again, and
    /// whether there is a request.
    #[test]
    fn the_bytes_stay_as_they_are() {
        let permits = Share::Permits { count: 300 };
        let me = Some(Holder::Owner("me".into()));
        for (waiter, bytes) in [
            (
                waiter(1, 0, (Share::Part, None), me),
                &b"\x01\x03\xc8\x01\x01\x05\x01\x01X\x02\x01\x01k\x01\xac\x02\x01\x00\x01\x00\x02me\x00"[..],
            ),
            (
                waiter(2, 300, (Share::Whole, Some(300)), None),
                b"\x01\x03\xc8\x01\x02\x05\x01\x01X\x03\xac\x02\x01\x01k\x01\xac\x02\x00\x01\xac\x02\x00\x00",
            ),
            (
                waiter(3, 0, (permits, None), None),
                b"\x01\x03\xc8\x01\x03\x05\x01\x01X\x02\x01\x01k\x01\xac\x02\x02\xac\x02\x00\x00\x00",
            ),
            (
                waiter(4, 0, (permits, Some(300)), None),
                b"\x01\x03\xc8\x01\x04\x05\x01\x01X\x02\x01\x01k\x01\xac\x02\x02\xac\x02\x01\xac\x02\x00\x00",
            ),
            (
                waiter(5, 0, (Share::Members { count: 300 }, None), None),
                b"\x01\x03\xc8\x01\x05\x05\x01\x01X\x04\x01\x01k\x01\xac\x02\x03\xac\x02\x00\x00\x00",
            ),
        ] {
            let mut to = Encoder::default();
            Waiting::encode(std::slice::from_ref(&waiter), &mut to);
            assert_eq!(to.0.escape_ascii().to_string(), bytes.escape_ascii().to_string());
            let mut from = Decoder::new(Bytes::from_static(bytes), "waiting");
            assert_eq!(Waiting::decode(&mut from).unwrap(), [waiter]);
            from.finish().unwrap();
        }
        // One who comes before others without a priority is told as any other, and who waits for all to come says how many.
        for malformed in [
            b"\x01\x03\xc8\x01\x02\x05\x01\x01X\x03\x00\x01\x01k\x01\xac\x02\x00\x00\x00\x00",
            b"\x01\x03\xc8\x01\x05\x05\x01\x01X\x04\x01\x01k\x01\xac\x02\x02\x03\x00\x00\x00",
        ] {
            assert!(Waiting::decode(&mut Decoder::new(Bytes::from_static(malformed), "waiting")).is_err());
        }
    }
}
