//! The payload of a log entry: a batch of operations, grouped by the session on whose behalf they run.
//!
//! The driver encodes a [`Batch`] once, the log and the peers carry its bytes, and every replica decodes it in
//! [`crate::Machine::begin`]. All of it is input from elsewhere: decoding is strict, bounded by the bytes that are
//! there, and never panics. Arguments share the payload's memory; the keyspace copies what it keeps.
//!
//! ```text
//! batch      := version:u16le  [operations]  groups:list     The number of all operations, from version 2 on.
//! group      := node  incarnation  stream  acked  first_sequence  operations:list
//! operation  := 0                                       Nothing
//!             | 1 db user arguments:list                Command
//!             | 2 watched:list commands:list            Transaction
//!             | 3                                       OpenSession
//!             | 4 cluster_id:16 bytes le fence_base calendar_ms:signed     Birth
//!             | 5 offset_ms:signed                      Calendar
//!             | 6 sequence                              Leave
//!             | 7 node incarnation                      Abandon
//!             | 8 sequence with_error:0|1               Unblock
//!             | 9 sequence db arguments:list tokens:list    GiveBack
//! watched    := db key 0 version                        Absent
//!             | db key 1 version                        Present
//! command    := db arguments:list
//! list       := count element*         Every other integer is a varint, a key or argument is length and bytes.
//! ```

use bytes::Bytes;

use crate::cluster_version::ClusterVersion;
use crate::command;
use crate::error::Error;
use crate::identifiers::{SessionId, Version};
use crate::reply::Reply;
use crate::wire::{Decoder, Encoder};

/// What one log entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The version in which it is written. One above the active version makes it the active one, before the first
    /// operation; one below it was proposed before the rise, and is applied as all that comes after the rise.
    pub version: ClusterVersion,
    /// Applied in order.
    pub groups: Vec<Group>,
}

/// Operations of one session with consecutive sequence numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Whose numbers these are.
    pub session: SessionId,
    /// The connection stream in the session; 0, since a session has one stream today.
    pub stream: u64,
    /// The session has the replies up to and including this sequence: they need not be retained.
    pub acked: u64,
    /// The sequence of the first operation; operation `i` has `first_sequence + i`. 0 is the place of
    /// [`Operation::OpenSession`], [`Operation::Birth`], [`Operation::Calendar`] and [`Operation::Abandon`], which
    /// need no open session and may be applied twice; all else is numbered from 1.
    pub first_sequence: u64,
    /// Applied in order.
    pub operations: Vec<Operation>,
}

/// One thing to do, with one reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Uses up a sequence number.
    Nothing,
    /// A client's command.
    Command {
        /// The database that the connection had selected.
        db: u32,
        /// On whose authority; 0 is the default user.
        user: u32,
        /// The command's name and its arguments.
        args: Vec<Bytes>,
    },
    /// MULTI to EXEC: all of it or, if a watched key changed, nothing.
    Transaction {
        /// What WATCH saw.
        watched: Vec<Watched>,
        /// Each with the database that was selected when it was queued.
        commands: Vec<(u32, Vec<Bytes>)>,
    },
    /// Opens the group's session and supersedes those of lesser incarnations of its node.
    OpenSession,
    /// The first leader's word on what the cluster is. The first one counts, later ones change nothing.
    Birth {
        /// Random; not 0.
        cluster_id: u128,
        /// The fencing counter's start: unix seconds x 2^20.
        fence_base: u64,
        /// The calendar's time at this entry's stamp, in milliseconds since 1970.
        calendar_ms: i64,
    },
    /// Sets the calendar: it shows cluster time plus `offset_ms` from now on.
    Calendar {
        /// Milliseconds.
        offset_ms: i64,
    },
    /// The client of an earlier command of this session is gone: if the command still waits, it does no more, and nobody
    /// is answered.
    Leave {
        /// The command's number.
        sequence: u64,
    },
    /// Ends the waiting of all commands of a session, which have taken nothing: its node stops, or is out of contact.
    Abandon {
        /// The node's session.
        session: SessionId,
    },
    /// Ends the waiting of an earlier command of this session, which is answered as if its time were up, or by an error.
    /// Answers 1, or 0 if it does not wait.
    Unblock {
        /// The command's number; 0 is nobody's.
        sequence: u64,
        /// Whether it is answered by an error.
        with_error: bool,
    },
    /// What an earlier command of this session has taken is given back: its client was gone when it got it. See [`Claim`].
    GiveBack {
        /// The command's number.
        sequence: u64,
        /// The database that it was for.
        db: u32,
        /// The command.
        args: Vec<Bytes>,
        /// The fencing tokens that it was answered.
        tokens: Vec<u64>,
    },
}

/// A command that takes what only its client can give back, since nobody else is told the token: a lock. Where the client is
/// gone before it is told, its node gives it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    db: u32,
    args: Vec<Bytes>,
}

impl Claim {
    /// The claim of an operation, if it is one.
    #[must_use]
    pub fn of(operation: &Operation) -> Option<Self> {
        let Operation::Command { db, args, .. } = operation else { return None };
        let is_claim = command::check(args).is_ok_and(|spec| spec.give_back.is_some());
        // Those of the operation are slices of what its client has sent.
        let own = || args.iter().map(|argument| Bytes::copy_from_slice(argument)).collect();
        is_claim.then(|| Self { db: *db, args: own() })
    }

    /// What gives back what the command of this number was answered, if it got something.
    #[must_use]
    pub fn give_back(self, sequence: u64, reply: &Reply) -> Option<Operation> {
        let token = |reply: &Reply| match reply {
            Reply::Integer(token) => u64::try_from(*token).ok(),
            _ => None,
        };
        let tokens = match reply {
            Reply::Array(replies) => replies.iter().map(token).collect::<Option<_>>()?,
            reply => vec![token(reply)?],
        };
        Some(Operation::GiveBack { sequence, db: self.db, args: self.args, tokens })
    }
}

/// A precondition of a transaction: the key is as WATCH saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The database.
    pub db: u32,
    /// The key.
    pub key: Bytes,
    /// What was there.
    pub seen: Seen,
}

/// What WATCH saw at a key. Equal at two instants only if nothing happened to the key in between; that nothing did
/// and it differs all the same is rare: when another key of the same page was removed, or the database flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The key existed, and this modification had given it its state.
    Present(Version),
    /// It did not exist, and no key that had left its page or its database was modified later than this.
    Absent(Version),
}

impl Batch {
    /// The payload's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut to = Encoder::default();
        to.fixed(&self.version.0.to_le_bytes());
        if self.version >= ClusterVersion::REHEARSED {
            to.count(operations_in(&self.groups));
        }
        to.count(self.groups.len());
        self.groups.iter().for_each(|group| group.encode(&mut to));
        Bytes::from(to.0)
    }

    /// Reads a payload of any version that this build knows.
    ///
    /// # Errors
    /// [`Error::Newer`] for a greater version, [`Error::Malformed`] for all that [`Batch::encode`] cannot write.
    pub fn decode(payload: &Bytes) -> Result<Self, Error> {
        Self::decode_up_to(payload, ClusterVersion::NEWEST)
    }

    /// Reads a payload as a build does that knows versions up to `known`.
    pub(crate) fn decode_up_to(payload: &Bytes, known: ClusterVersion) -> Result<Self, Error> {
        let mut from = Decoder::new(payload.clone(), "entry");
        let version = ClusterVersion(u16::from_le_bytes(from.array()?));
        if version > known {
            return Err(Error::Newer { found: version, known });
        }
        if version < ClusterVersion::OLDEST {
            return Err(from.malformed());
        }
        let counted = if version >= ClusterVersion::REHEARSED { Some(from.varint()?) } else { None };
        let groups = from.list(Group::decode)?;
        if counted.is_some_and(|counted| counted != operations_in(&groups) as u64) {
            return Err(from.malformed());
        }
        from.finish()?;
        Ok(Self { version, groups })
    }
}

impl Group {
    fn encode(&self, to: &mut Encoder) {
        to.varint(self.session.node);
        to.varint(self.session.incarnation);
        to.varint(self.stream);
        to.varint(self.acked);
        to.varint(self.first_sequence);
        to.count(self.operations.len());
        self.operations.iter().for_each(|operation| operation.encode(to));
    }

    fn decode(from: &mut Decoder) -> Result<Self, Error> {
        let session = SessionId { node: from.varint()?, incarnation: from.varint()? };
        let (stream, acked, first_sequence) = (from.varint()?, from.varint()?, from.varint()?);
        let operations = from.list(Operation::decode)?;
        if first_sequence.checked_add(operations.len() as u64).is_none() {
            return Err(from.malformed());
        }
        Ok(Self { session, stream, acked, first_sequence, operations })
    }
}

impl Operation {
    fn encode(&self, to: &mut Encoder) {
        match self {
            Self::Nothing => to.u8(0),
            Self::Command { db, user, args } => {
                to.u8(1);
                to.varint(u64::from(*db));
                to.varint(u64::from(*user));
                encode_args(args, to);
            }
            Self::Transaction { watched, commands } => {
                to.u8(2);
                to.count(watched.len());
                watched.iter().for_each(|watched| watched.encode(to));
                to.count(commands.len());
                for (db, args) in commands {
                    to.varint(u64::from(*db));
                    encode_args(args, to);
                }
            }
            Self::OpenSession => to.u8(3),
            Self::Birth { cluster_id, fence_base, calendar_ms } => {
                to.u8(4);
                to.fixed(&cluster_id.to_le_bytes());
                to.varint(*fence_base);
                to.signed(*calendar_ms);
            }
            Self::Calendar { offset_ms } => {
                to.u8(5);
                to.signed(*offset_ms);
            }
            Self::Leave { sequence } => {
                to.u8(6);
                to.varint(*sequence);
            }
            Self::Abandon { session } => {
                to.u8(7);
                to.varint(session.node);
                to.varint(session.incarnation);
            }
            Self::Unblock { sequence, with_error } => {
                to.u8(8);
                to.varint(*sequence);
                to.u8(u8::from(*with_error));
            }
            Self::GiveBack { sequence, db, args, tokens } => {
                to.u8(9);
                to.varint(*sequence);
                to.varint(u64::from(*db));
                encode_args(args, to);
                to.count(tokens.len());
                tokens.iter().for_each(|token| to.varint(*token));
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, Error> {
        Ok(match from.u8()? {
            0 => Self::Nothing,
            1 => Self::Command { db: from.u32()?, user: from.u32()?, args: from.list(Decoder::bytes)? },
            2 => Self::Transaction {
                watched: from.list(Watched::decode)?,
                commands: from.list(|from| Ok((from.u32()?, from.list(Decoder::bytes)?)))?,
            },
            3 => Self::OpenSession,
            4 => Self::Birth {
                cluster_id: u128::from_le_bytes(from.array()?),
                fence_base: from.varint()?,
                calendar_ms: from.signed()?,
            },
            5 => Self::Calendar { offset_ms: from.signed()? },
            6 => Self::Leave { sequence: from.varint()? },
            7 => Self::Abandon { session: SessionId { node: from.varint()?, incarnation: from.varint()? } },
            8 => Self::Unblock {
                sequence: from.varint()?,
                with_error: match from.u8()? {
                    0 => false,
                    1 => true,
                    2..=u8::MAX => return Err(from.malformed()),
                },
            },
            9 => Self::GiveBack {
                sequence: from.varint()?,
                db: from.u32()?,
                args: from.list(Decoder::bytes)?,
                tokens: from.list(Decoder::varint)?,
            },
            10..=u8::MAX => return Err(from.malformed()),
        })
    }
}

impl Watched {
    fn encode(&self, to: &mut Encoder) {
        to.varint(u64::from(self.db));
        to.bytes(&self.key);
        match self.seen {
            Seen::Absent(version) => {
                to.u8(0);
                to.varint(version.0);
            }
            Seen::Present(version) => {
                to.u8(1);
                to.varint(version.0);
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, Error> {
        let (db, key) = (from.u32()?, from.bytes()?);
        let seen = match from.u8()? {
            0 => Seen::Absent(Version(from.varint()?)),
            1 => Seen::Present(Version(from.varint()?)),
            2..=u8::MAX => return Err(from.malformed()),
        };
        Ok(Self { db, key, seen })
    }
}

fn operations_in(groups: &[Group]) -> usize {
    groups.iter().map(|group| group.operations.len()).sum()
}

fn encode_args(args: &[Bytes], to: &mut Encoder) {
    to.count(args.len());
    args.iter().for_each(|argument| to.bytes(argument));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every operation once, in the first version of the format.
    fn sample() -> Batch {
        sample_of(ClusterVersion::FIRST)
    }

    fn sample_of(version: ClusterVersion) -> Batch {
        let args =
            |words: &[&'static str]| words.iter().map(|word| Bytes::from_static(word.as_bytes())).collect();
        let watched = Watched { db: 1, key: Bytes::from_static(b"w"), seen: Seen::Present(Version(300)) };
        let operations = vec![
            Operation::OpenSession,
            Operation::Command { db: 0, user: 0, args: args(&["SET", "k", "v"]) },
            Operation::Transaction { watched: vec![watched], commands: vec![(2, args(&["GET", "k"]))] },
            Operation::Birth { cluster_id: 0x0102, fence_base: 1 << 20, calendar_ms: -1 },
            Operation::Calendar { offset_ms: 64 },
            Operation::Nothing,
            Operation::Leave { sequence: 300 },
            Operation::Abandon { session: SessionId { node: 2, incarnation: 1 } },
            Operation::Unblock { sequence: 299, with_error: true },
            Operation::GiveBack { sequence: 300, db: 1, args: args(&["LOCK"]), tokens: vec![128] },
        ];
        let session = SessionId { node: 3, incarnation: 200 };
        Batch { version, groups: vec![Group { session, stream: 0, acked: 5, first_sequence: 0, operations }] }
    }

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let golden = concat!(
            "0100",
            "01",
            "03",
            "c801",
            "00",
            "05",
            "00",
            "0a", // version, groups, group header, operations
            "03", // OpenSession
            "01",
            "00",
            "00",
            "03",
            "03534554",
            "016b",
            "0176", // Command
            "02",
            "01",
            "01",
            "0177",
            "01",
            "ac02",
            "01",
            "02",
            "02",
            "03474554",
            "016b", // Transaction
            "04",
            "02010000000000000000000000000000",
            "808040",
            "01", // Birth
            "05",
            "8001", // Calendar
            "00",   // Nothing
            "06",
            "ac02", // Leave
            "07",
            "02",
            "01", // Abandon
            "08",
            "ab02",
            "01", // Unblock
            "09",
            "ac02",
            "01",
            "01",
            "044c4f434b",
            "01",
            "8001", // GiveBack
        );
        let hex: String = sample().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
        assert_eq!(Batch::decode(&sample().encode()), Ok(sample()));
    }

    #[test]
    fn a_newer_version_is_told_from_garbage() {
        let newer = Batch { version: ClusterVersion(ClusterVersion::NEWEST.0 + 1), groups: vec![] }.encode();
        assert!(matches!(Batch::decode(&newer), Err(Error::Newer { .. })));
        assert!(matches!(Batch::decode(&Bytes::from_static(&[0, 0, 0])), Err(Error::Malformed(_))));
    }

    /// A build that knows the next version reads both, and one that does not reads no more than its own: both forms are
    /// in one log while a cluster rises.
    #[test]
    fn each_version_is_read_by_those_that_know_it() {
        let (old, new) = (ClusterVersion::FIRST, ClusterVersion::REHEARSED);
        let (by_old, by_new) = (sample_of(old), sample_of(new));
        assert_eq!(Batch::decode_up_to(&by_old.encode(), new), Ok(by_old.clone()));
        assert_eq!(Batch::decode_up_to(&by_new.encode(), new), Ok(by_new.clone()));
        assert_eq!(Batch::decode_up_to(&by_old.encode(), old), Ok(by_old));
        let refused = Error::Newer { found: new, known: old };
        assert_eq!(Batch::decode_up_to(&by_new.encode(), old), Err(refused));
        let mut miscounted = by_new.encode().to_vec();
        miscounted[2] += 1;
        assert!(Batch::decode_up_to(&Bytes::from(miscounted), new).is_err());
    }

    #[test]
    fn bytes_after_the_last_group_are_refused() {
        let mut payload = sample().encode().to_vec();
        payload.push(0);
        assert!(Batch::decode(&Bytes::from(payload)).is_err());
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_a_panic(garbage in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut payload = vec![1, 0];
            payload.extend(garbage);
            if let Ok(batch) = Batch::decode(&Bytes::from(payload.clone())) {
                prop_assert_eq!(&batch.encode()[..], &payload[..], "decoding is the inverse of encoding");
            }
        }

        #[test]
        fn a_damaged_entry_is_refused_or_read_without_a_panic(at in 0usize..80, with in any::<u8>()) {
            let mut payload = sample().encode().to_vec();
            let at = at % payload.len();
            payload[at] = with;
            let _either_way = Batch::decode(&Bytes::from(payload));
        }
    }
}
