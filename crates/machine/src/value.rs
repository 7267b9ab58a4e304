//! What a key can hold.
//!
//! A collection is never empty: a key whose last element leaves is removed. All of them are made of [`sequence`]s,
//! which are shared until they change, so that a value is cheap to clone whatever its size.

mod dictionary;
mod hash;
mod list;
mod living;
mod lock;
mod semaphore;
mod sequence;
mod sorted_set;

use bytes::Bytes;

pub(crate) use self::dictionary::{Dictionary, Entry};
pub(crate) use self::hash::Hash;
pub(crate) use self::list::List;
pub(crate) use self::living::Living;
pub(crate) use self::lock::{Held, Holder, Lock, Purpose, Released};
pub(crate) use self::semaphore::{Grant, Semaphore};
pub(crate) use self::sorted_set::{Ranked, Score, SortedSet};
use crate::error::Error;
use crate::wire::{Decoder, Encoder};

/// The members of a set.
pub(crate) type Set = Dictionary<()>;

/// A key's value, by type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A binary-safe string; also numbers, which are their decimal digits.
    String(Bytes),
    List(List),
    Hash(Hash),
    Set(Set),
    SortedSet(SortedSet),
    /// A lock that somebody holds, or an election that somebody has won.
    Lock(Box<Lock>),
    /// Permits, of which somebody has some.
    Semaphore(Box<Semaphore>),
}

/// A type whose values have elements. An empty one stands for a key that does not exist.
pub(crate) trait Collection: Default {
    /// `None` for a value of another type.
    fn of(value: &Value) -> Option<&Self>;
    /// `None` for a value of another type.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    fn into_value(self) -> Value;
    /// How many elements it has.
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool;
    /// What it takes in memory.
    fn bytes(&self) -> usize;
}

macro_rules! collection {
    ($type:ident) => {
        impl Collection for $type {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$type(collection) = value { Some(collection) } else { None }
            }

            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$type(collection) = value { Some(collection) } else { None }
            }

            fn into_value(self) -> Value {
                Value::$type(self)
            }

            fn len(&self) -> usize {
                self.len()
            }

            fn is_empty(&self) -> bool {
                self.is_empty()
            }

            fn bytes(&self) -> usize {
                self.bytes()
            }
        }
    };
}

collection!(List);
collection!(Hash);
collection!(Set);
collection!(SortedSet);

impl Value {
    /// The name that TYPE answers.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Hash(_) => "hash",
            Self::Set(_) => "set",
            Self::SortedSet(_) => "zset",
            Self::Lock(lock) => match lock.purpose {
                Purpose::Exclusion => "lock",
                Purpose::Leadership => "election",
            },
            Self::Semaphore(_) => "semaphore",
        }
    }

    /// The string, or `None` for a value of another type.
    pub(crate) fn as_string(&self) -> Option<&Bytes> {
        if let Self::String(bytes) = self { Some(bytes) } else { None }
    }

    /// What it takes in memory, in bytes, as far as the limit on data is concerned.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::String(bytes) => bytes.len(),
            Self::List(list) => list.bytes(),
            Self::Hash(hash) => hash.bytes(),
            Self::Set(set) => set.bytes(),
            Self::SortedSet(set) => set.bytes(),
            Self::Lock(lock) => lock.bytes(),
            Self::Semaphore(semaphore) => semaphore.bytes(),
        }
    }

    /// How many elements there are to free one after another: none of what is freed at once, as a string or a lock is.
    pub(crate) fn elements(&self) -> usize {
        match self {
            Self::String(_) | Self::Lock(_) | Self::Semaphore(_) => 0,
            Self::List(list) => list.len(),
            Self::Hash(hash) => hash.len(),
            Self::Set(set) => set.len(),
            Self::SortedSet(set) => 2 * set.len(),
        }
    }

    /// Frees about so many elements of a value on its way out, and answers how many these were, 0 once there are none.
    pub(crate) fn dismantle(&mut self, elements: usize) -> usize {
        match self {
            Self::String(_) | Self::Lock(_) | Self::Semaphore(_) => 0,
            Self::List(list) => list.dismantle(elements),
            Self::Hash(hash) => hash.dismantle(elements),
            Self::Set(set) => set.dismantle(elements),
            Self::SortedSet(set) => set.dismantle(elements),
        }
    }

    /// How much of it a change copies at the most, in bytes: of a collection only what the change touches, which its
    /// command counts.
    pub(crate) fn bytes_copied_by_change(&self) -> usize {
        match self {
            Self::String(bytes) => bytes.len(),
            Self::Lock(lock) => lock.bytes(),
            Self::Semaphore(semaphore) => semaphore.bytes(),
            Self::List(_) | Self::Hash(_) | Self::Set(_) | Self::SortedSet(_) => 0,
        }
    }

    pub(crate) fn encode(&self, to: &mut Encoder) {
        match self {
            Self::String(bytes) => {
                to.u8(0);
                to.bytes(bytes);
            }
            Self::List(list) => {
                to.u8(1);
                to.count(list.len());
                list.range(0, list.len()).for_each(|element| to.bytes(element));
            }
            Self::Hash(hash) => {
                to.u8(2);
                to.count(hash.len());
                for field in hash.fields().iter() {
                    to.bytes(&field.name);
                    to.bytes(&field.value);
                }
            }
            Self::Set(set) => {
                to.u8(3);
                to.count(set.len());
                set.iter().for_each(|member| to.bytes(&member.name));
            }
            Self::SortedSet(set) => {
                to.u8(4);
                to.count(set.len());
                for ranked in set.range(0, set.len()) {
                    to.fixed(&ranked.score.value().to_bits().to_le_bytes());
                    to.bytes(&ranked.name);
                }
            }
            Self::Lock(lock) => {
                to.u8(match lock.purpose {
                    Purpose::Exclusion => 5,
                    Purpose::Leadership => 6,
                });
                lock.encode(to);
            }
            Self::Semaphore(semaphore) => {
                to.u8(7);
                semaphore.encode(to);
            }
        }
    }

    /// Elements are copied, since the frame that they are slices of would stay in memory with them.
    pub(crate) fn decode(from: &mut Decoder) -> Result<Self, Error> {
        match from.u8()? {
            0 => Ok(Self::String(Bytes::copy_from_slice(&from.bytes()?))),
            1 => decode_collection(from, |from, list: &mut List| {
                list.push_back(&from.bytes()?);
                Ok(true)
            }),
            2 => decode_collection(from, |from, hash: &mut Hash| {
                Ok(hash.insert(&from.bytes()?, &from.bytes()?))
            }),
            3 => decode_collection(from, |from, set: &mut Set| Ok(set.insert(&from.bytes()?, ()).is_none())),
            4 => decode_collection(from, |from, set: &mut SortedSet| {
                let score = Score::new(f64::from_bits(u64::from_le_bytes(from.array()?)));
                let score = score.ok_or(from.malformed())?;
                Ok(set.insert(&from.bytes()?, score).is_none())
            }),
            5 => Ok(Self::Lock(Box::new(Lock::decode(from, Purpose::Exclusion)?))),
            6 => Ok(Self::Lock(Box::new(Lock::decode(from, Purpose::Leadership)?))),
            7 => Ok(Self::Semaphore(Box::new(Semaphore::decode(from)?))),
            8..=u8::MAX => Err(from.malformed()),
        }
    }
}

/// Reads the elements of a collection; `add` says whether one was new.
fn decode_collection<C: Collection>(
    from: &mut Decoder,
    add: impl Fn(&mut Decoder, &mut C) -> Result<bool, Error>,
) -> Result<Value, Error> {
    let mut collection = C::default();
    for _ in 0..from.count()? {
        if !add(from, &mut collection)? {
            return Err(from.malformed());
        }
    }
    if collection.is_empty() { Err(from.malformed()) } else { Ok(collection.into_value()) }
}
