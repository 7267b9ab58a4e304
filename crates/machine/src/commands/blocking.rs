//! Commands that take an element out of a list or a sorted set, and wait for one if there is none: see
//! [`crate::waiting`]. In a script or a transaction they answer at once.

use bytes::Bytes;

use super::lists;
use super::popping::{End, Popping};
use super::sorted_set_picks;
use crate::command::{Group, KeySpec, Spec};
use crate::context::Context;
use crate::double;
use crate::flags::Flags;
use crate::identifiers::Stamp;
use crate::reply::Reply;
use crate::value::{List, SortedSet};
use crate::waiting::{Kind, Share, Wait};
use crate::work;

const fn blocking(group: Group, name: &'static str, arity: i32, keys: KeySpec) -> Spec {
    Spec::write(group, name, arity, run).keys(keys).with(Flags::BLOCKING).priced(price)
}

/// All arguments but the last, which is the time-out.
const ALL_BUT_LAST: KeySpec = KeySpec::Range { first: 1, last: -2, step: 1 };
const COUNTED: KeySpec = KeySpec::Counted { count_at: 2 };
const MOVES: Flags = Flags::DENYOOM.and(Flags::NOSCRIPT);

pub(crate) const LISTS: &[Spec] = &[
    blocking(Group::List, "blpop", -3, ALL_BUT_LAST).with(Flags::NOSCRIPT).doc(
        "2.0.0",
        "BLPOP key [key ...] timeout",
        "Takes the first element out of the first of several lists that exists, or waits for one, in seconds; 0 is for ever.",
    ),
    blocking(Group::List, "brpop", -3, ALL_BUT_LAST).with(Flags::NOSCRIPT).doc(
        "2.0.0",
        "BRPOP key [key ...] timeout",
        "Takes the last element out of the first of several lists that exists, or waits for one.",
    ),
    blocking(Group::List, "blmpop", -5, COUNTED).with(Flags::MOVABLEKEYS).doc(
        "7.0.0",
        "BLMPOP timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        "Takes elements out of the first of several lists that exists, or waits for one.",
    ),
    blocking(Group::List, "blmove", 6, KeySpec::TWO).with(MOVES).doc(
        "6.2.0",
        "BLMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout",
        "Moves an element from an end of one list to an end of another, or waits for one.",
    ),
    blocking(Group::List, "brpoplpush", 4, KeySpec::TWO).with(MOVES).doc(
        "2.2.0",
        "BRPOPLPUSH source destination timeout",
        "Moves the last element of one list to the front of another, or waits for one.",
    ),
];

pub(crate) const SORTED_SETS: &[Spec] = &[
    blocking(Group::SortedSet, "bzpopmin", -3, ALL_BUT_LAST).with(Flags::NOSCRIPT.and(Flags::FAST)).doc(
        "5.0.0",
        "BZPOPMIN key [key ...] timeout",
        "Takes the member with the lowest score out of the first of several sorted sets that exists, or waits for one.",
    ),
    blocking(Group::SortedSet, "bzpopmax", -3, ALL_BUT_LAST).with(Flags::NOSCRIPT.and(Flags::FAST)).doc(
        "5.0.0",
        "BZPOPMAX key [key ...] timeout",
        "Takes the member with the highest score out of the first of several sorted sets that exists, or waits for one.",
    ),
    blocking(Group::SortedSet, "bzmpop", -5, COUNTED).with(Flags::MOVABLEKEYS).doc(
        "7.0.0",
        "BZMPOP timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
        "Takes members out of the first of several sorted sets that exists, or waits for one.",
    ),
];

/// What a command of this family asks for.
struct Wish<'a> {
    /// The first of them that has something is meant.
    keys: &'a [Bytes],
    /// For how long it would wait, in milliseconds; `None`: for ever.
    timeout_ms: Option<u64>,
    take: Take<'a>,
}

/// What to take.
#[derive(Clone, Copy)]
enum Take<'a> {
    /// One element of a list.
    Element(End),
    /// Up to so many.
    Elements(End, usize),
    /// One element of a list, to be put into another.
    Move { destination: &'a Bytes, ends: [End; 2] },
    /// One member of a sorted set.
    Member(End),
    /// Up to so many.
    Members(End, usize),
}

impl<'a> Wish<'a> {
    fn parse(args: &'a [Bytes]) -> Result<Self, Reply> {
        let [name, args @ ..] = args else { return Err(Reply::syntax_error()) };
        match &name.to_ascii_lowercase()[..] {
            b"blpop" => Self::one(args, Take::Element(End::First)),
            b"brpop" => Self::one(args, Take::Element(End::Last)),
            b"bzpopmin" => Self::one(args, Take::Member(End::First)),
            b"bzpopmax" => Self::one(args, Take::Member(End::Last)),
            b"blmpop" => Self::several(args, End::of_list, Take::Elements),
            b"bzmpop" => Self::several(args, End::of_order, Take::Members),
            b"blmove" => match args {
                [_, _, from, to, timeout] => {
                    let ends = [End::of_list(from)?, End::of_list(to)?];
                    Self::moving(args, ends, timeout)
                }
                _ => Err(Reply::syntax_error()),
            },
            b"brpoplpush" => match args {
                [_, _, timeout] => Self::moving(args, [End::Last, End::First], timeout),
                _ => Err(Reply::syntax_error()),
            },
            _ => Err(Reply::syntax_error()),
        }
    }

    /// `key [key ...] timeout`
    fn one(args: &'a [Bytes], take: Take<'a>) -> Result<Self, Reply> {
        let (timeout, keys) = args.split_last().ok_or(Reply::syntax_error())?;
        Ok(Self { keys, timeout_ms: parse_timeout(timeout)?, take })
    }

    /// `timeout numkeys key [key ...] end [COUNT count]`
    fn several(
        args: &'a [Bytes],
        end: fn(&[u8]) -> Result<End, Reply>,
        take: fn(End, usize) -> Take<'a>,
    ) -> Result<Self, Reply> {
        let (timeout, args) = args.split_first().ok_or(Reply::syntax_error())?;
        let Popping { keys, end, count } = Popping::parse(args, end)?;
        Ok(Self { keys, timeout_ms: parse_timeout(timeout)?, take: take(end, count) })
    }

    /// `source destination ..`
    fn moving(args: &'a [Bytes], ends: [End; 2], timeout: &[u8]) -> Result<Self, Reply> {
        let take = Take::Move { destination: &args[1], ends };
        Ok(Self { keys: &args[..1], timeout_ms: parse_timeout(timeout)?, take })
    }

    /// Takes from one of the keys, if there is something.
    fn take_from(&self, context: &mut Context<'_>, key: &Bytes) -> Result<Option<Reply>, Reply> {
        let keys = std::slice::from_ref(key);
        match self.take {
            Take::Element(end) => {
                let taken = lists::pop(context, key, end, 1)?;
                Ok(taken.map(|taken| with_key(key, taken)))
            }
            Take::Elements(end, count) => lists::pop_first(context, &Popping { keys, end, count }),
            Take::Move { destination, ends } => {
                Ok(lists::transfer(context, [key, destination], ends)?.map(Reply::Bulk))
            }
            Take::Member(end) => {
                let taken = sorted_set_picks::pop(context, key, end, 1)?;
                Ok(taken.map(|taken| with_key(key, taken.into_iter().flat_map(<[Reply; 2]>::from))))
            }
            Take::Members(end, count) => sorted_set_picks::pop_first(context, &Popping { keys, end, count }),
        }
    }

    /// The price of taking from a key that has so many elements.
    fn price_of_taking(&self, context: &Context<'_>, key: &[u8], len: u64) -> u64 {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        match self.take {
            Take::Move { ends: [from, _], .. } => lists::price_of_move(context, key, from),
            Take::Element(_) | Take::Member(_) => work::of_removal(len, 1),
            Take::Elements(_, count) | Take::Members(_, count) => work::of_removal(len, len.min(count)),
        }
    }

    fn kind(&self) -> Kind {
        match self.take {
            Take::Element(_) | Take::Elements(..) | Take::Move { .. } => Kind::List,
            Take::Member(_) | Take::Members(..) => Kind::SortedSet,
        }
    }

    fn wait(&self, now: Stamp) -> Wait {
        let deadline = self.timeout_ms.map(|timeout_ms| Stamp(now.0.saturating_add(timeout_ms)));
        let (kind, keys) = (self.kind(), self.keys.to_vec());
        Wait {
            kind,
            keys,
            deadline,
            priority: 0,
            share: Share::Whole,
            session: None,
            reentrant: None,
            request: None,
        }
    }
}

fn with_key(key: &Bytes, taken: impl IntoIterator<Item = Reply>) -> Reply {
    Reply::Array(std::iter::once(Reply::Bulk(key.clone())).chain(taken).collect())
}

/// Seconds, as a decimal number: whole milliseconds, rounded up. 0 is for ever.
fn parse_timeout(text: &[u8]) -> Result<Option<u64>, Reply> {
    /// Some 285 years; beyond it, doubles are no whole milliseconds any more.
    const TIMEOUT_S_MAX: f64 = 9e9;
    match double::parse(text) {
        None => Err(Reply::error("ERR timeout is not a float or out of range")),
        Some(seconds) if seconds < 0.0 => Err(Reply::error("ERR timeout is negative")),
        Some(seconds) if seconds > TIMEOUT_S_MAX => Err(Reply::error("ERR timeout is out of range")),
        Some(seconds) => Ok(Some((seconds * 1000.0).ceil() as u64).filter(|timeout_ms| *timeout_ms > 0)),
    }
}

fn price(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let Ok(wish) = Wish::parse(args) else { return 0 };
    let len = |key: &Bytes| match wish.take {
        Take::Element(_) | Take::Elements(..) | Take::Move { .. } => context.elements::<List>(key),
        Take::Member(_) | Take::Members(..) => context.elements::<SortedSet>(key),
    };
    let found = wish.keys.iter().map(|key| (key, len(key))).find(|(_, len)| *len > 0);
    let taking = found.map_or(0, |(key, len)| wish.price_of_taking(context, key, len));
    wish.keys.len() as u64 + taking
}

fn run(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let wish = Wish::parse(args)?;
    for key in wish.keys {
        if let Some(taken) = wish.take_from(context, key)? {
            return Ok(taken);
        }
    }
    context.wait(wish.wait(context.now));
    Ok(match wish.take {
        Take::Move { .. } => Reply::Null,
        Take::Element(_) | Take::Elements(..) | Take::Member(_) | Take::Members(..) => Reply::NullArray,
    })
}

/// Has a command that waited take what it waited for from one of its keys.
pub(crate) fn serve(context: &mut Context<'_>, args: &[Bytes], key: &Bytes) -> Result<Reply, Reply> {
    let taken = Wish::parse(args)?.take_from(context, key)?;
    Ok(taken.unwrap_or(Reply::NullArray))
}
