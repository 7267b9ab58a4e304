//! Strings: reading and writing them whole or in part. Numbers in strings are in [`super::counters`].

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use super::expiry::{Expiry, Unit};
use crate::command::{Group, KeySpec, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::identifiers::Stamp;
use crate::integer;
use crate::notification::Event;
use crate::reply::Reply;

const GROW: Flags = Flags::DENYOOM;
const GROW_FAST: Flags = Flags::DENYOOM.and(Flags::FAST);

pub(crate) const COMMANDS: &[Spec] = &[
    Spec::read(Group::String, "get", 2, get)
        .keys(KeySpec::ONE)
        .with(Flags::FAST)
        .doc("1.0.0", "GET key", "Answers the string at a key."),
    Spec::write(Group::String, "set", -3, set).keys(KeySpec::ONE).with(GROW).doc(
        "1.0.0",
        "SET key value [NX | XX | IFEQ comparison-value] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        "Sets a key to a string, whatever it held; on a condition and for a time if asked.",
    ),
    Spec::write(Group::String, "setnx", 3, setnx)
        .keys(KeySpec::ONE)
        .with(GROW_FAST)
        .doc("1.0.0", "SETNX key value", "Sets a key to a string only if it does not exist."),
    Spec::write(Group::String, "setex", 4, setex)
        .keys(KeySpec::ONE)
        .with(GROW)
        .doc("2.0.0", "SETEX key seconds value", "Sets a key to a string for some seconds."),
    Spec::write(Group::String, "psetex", 4, psetex)
        .keys(KeySpec::ONE)
        .with(GROW)
        .doc("2.6.0", "PSETEX key milliseconds value", "Sets a key to a string for some milliseconds."),
    Spec::write(Group::String, "getset", 3, getset)
        .keys(KeySpec::ONE)
        .with(GROW_FAST)
        .doc("1.0.0", "GETSET key value", "Sets a key to a string and answers the former one."),
    Spec::write(Group::String, "getdel", 2, getdel)
        .keys(KeySpec::ONE)
        .with(Flags::FAST)
        .doc("6.2.0", "GETDEL key", "Answers the string at a key and removes it."),
    Spec::write(Group::String, "getex", -2, getex).keys(KeySpec::ONE).with(Flags::FAST).doc(
        "6.2.0",
        "GETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
        "Answers the string at a key and changes how long it has to live.",
    ),
    Spec::read(Group::String, "mget", -2, mget)
        .keys(KeySpec::ALL)
        .with(Flags::FAST)
        .doc("1.0.0", "MGET key [key ...]", "Answers the strings at several keys."),
    Spec::write(Group::String, "mset", -3, mset)
        .keys(KeySpec::PAIRS)
        .with(GROW)
        .doc("1.0.1", "MSET key value [key value ...]", "Sets several keys at once."),
    Spec::write(Group::String, "msetnx", -3, msetnx).keys(KeySpec::PAIRS).with(GROW).doc(
        "1.0.1",
        "MSETNX key value [key value ...]",
        "Sets several keys at once, only if none of them exists.",
    ),
    Spec::write(Group::String, "append", 3, append)
        .keys(KeySpec::ONE)
        .with(GROW_FAST)
        .doc("2.0.0", "APPEND key value", "Appends to a string and answers its new length."),
    Spec::read(Group::String, "strlen", 2, strlen)
        .keys(KeySpec::ONE)
        .with(Flags::FAST)
        .doc("2.2.0", "STRLEN key", "Answers the length of a string, 0 if there is none."),
    Spec::read(Group::String, "getrange", 4, getrange)
        .keys(KeySpec::ONE)
        .doc("2.4.0", "GETRANGE key start end", "Answers a part of a string; negative places count from its end."),
    Spec::write(Group::String, "setrange", 4, setrange).keys(KeySpec::ONE).with(GROW).doc(
        "2.2.0",
        "SETRANGE key offset value",
        "Overwrites a part of a string, which grows with zero bytes where it must.",
    ),
];

fn bulk_or_null(value: Option<&Bytes>) -> Reply {
    value.map_or(Reply::Null, |value| Reply::Bulk(value.clone()))
}

fn get(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(bulk_or_null(context.string(&args[1])?))
}

/// When SET changes the key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition<'a> {
    Always,
    Absent,
    Present,
    Equal(&'a Bytes),
}

/// What SET does to the deadline.
#[derive(Clone, Copy)]
enum Lifetime<'a> {
    Forever,
    Keep,
    Until(Unit, &'a Bytes),
}

struct SetOptions<'a> {
    condition: Condition<'a>,
    lifetime: Lifetime<'a>,
    answers_former: bool,
}

impl<'a> SetOptions<'a> {
    fn parse(mut args: &'a [Bytes]) -> Result<Self, Reply> {
        let mut options =
            Self { condition: Condition::Always, lifetime: Lifetime::Forever, answers_former: false };
        while let [option, rest @ ..] = args {
            args = rest;
            let upper = option.to_ascii_uppercase();
            match (&upper[..], rest) {
                (b"GET", _) => options.answers_former = true,
                (b"NX", _) => options.on(Condition::Absent)?,
                (b"XX", _) => options.on(Condition::Present)?,
                (b"IFEQ", [value, rest @ ..]) => {
                    options.on(Condition::Equal(value))?;
                    args = rest;
                }
                (b"KEEPTTL", _) => options.lives(Lifetime::Keep)?,
                (unit, [time, rest @ ..]) => {
                    let unit = Unit::parse(unit).ok_or(Reply::syntax_error())?;
                    options.lives(Lifetime::Until(unit, time))?;
                    args = rest;
                }
                (_, []) => return Err(Reply::syntax_error()),
            }
        }
        Ok(options)
    }

    /// A condition may be repeated but not contradicted.
    fn on(&mut self, condition: Condition<'a>) -> Result<(), Reply> {
        if self.condition != Condition::Always && self.condition != condition {
            return Err(Reply::syntax_error());
        }
        self.condition = condition;
        Ok(())
    }

    /// A unit may be repeated, the last time counts; two ways of saying how long contradict each other.
    fn lives(&mut self, lifetime: Lifetime<'a>) -> Result<(), Reply> {
        let allowed = match (self.lifetime, lifetime) {
            (Lifetime::Forever, _) | (Lifetime::Keep, Lifetime::Keep) => true,
            (Lifetime::Until(present, _), Lifetime::Until(unit, _)) => present == unit,
            (Lifetime::Keep | Lifetime::Until(..), _) => false,
        };
        self.lifetime = lifetime;
        if allowed { Ok(()) } else { Err(Reply::syntax_error()) }
    }
}

fn set(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let (key, value) = (&args[1], &args[2]);
    let options = SetOptions::parse(&args[3..])?;
    let expiry = match options.lifetime {
        Lifetime::Forever => Expiry::Never,
        Lifetime::Keep => context.deadline(key).map_or(Expiry::Never, Expiry::Kept),
        Lifetime::Until(unit, time) => Expiry::parse(context, unit, time, "set")?,
    };
    let compares = matches!(options.condition, Condition::Equal(_));
    let former = if options.answers_former || compares { context.string(key)?.cloned() } else { None };
    if options.answers_former {
        context.notify_missing([key]);
    }
    let allowed = match options.condition {
        Condition::Always => true,
        Condition::Absent => !context.exists(key) || bug::on(Bug::GreedySet),
        Condition::Present => context.exists(key),
        Condition::Equal(expected) => former.as_ref() == Some(expected),
    };
    if allowed {
        set_until(context, key, value, expiry)?;
    }
    Ok(match (options.answers_former, allowed) {
        (true, _) => bulk_or_null(former.as_ref()),
        (false, true) => Reply::ok(),
        (false, false) => Reply::Null,
    })
}

/// Sets a key for a time that may be over already.
fn set_until(context: &mut Context<'_>, key: &[u8], value: &[u8], expiry: Expiry) -> Result<(), Reply> {
    context.check_value_bytes(value.len())?;
    match expiry {
        Expiry::Never => set_string(context, key, value, None),
        Expiry::Kept(deadline) => set_string(context, key, value, Some(deadline)),
        Expiry::At(deadline) => {
            set_string(context, key, value, Some(deadline));
            context.notify(Event::EXPIRE, key);
        }
        // To those who are told of events, the key was set for a moment.
        Expiry::Past => {
            context.announce(context.db, key);
            context.remove(key);
            for event in [Event::SET, Event::EXPIRE, Event::EXPIRED] {
                context.notify(event, key);
            }
        }
    }
    Ok(())
}

fn set_string(context: &mut Context<'_>, key: &[u8], value: &[u8], deadline: Option<Stamp>) {
    context.set(key, value, deadline);
    context.notify(Event::SET, key);
}

fn setnx(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let absent = !context.exists(&args[1]);
    if absent {
        set_until(context, &args[1], &args[2], Expiry::Never)?;
    }
    Ok(Reply::flag(absent))
}

fn setex(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let expiry = Expiry::parse(context, Unit::Seconds, &args[2], "setex")?;
    set_until(context, &args[1], &args[3], expiry)?;
    Ok(Reply::ok())
}

fn psetex(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let expiry = Expiry::parse(context, Unit::Milliseconds, &args[2], "psetex")?;
    set_until(context, &args[1], &args[3], expiry)?;
    Ok(Reply::ok())
}

fn getset(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let former = bulk_or_null(context.string(&args[1])?);
    context.notify_missing([&args[1]]);
    set_until(context, &args[1], &args[2], Expiry::Never)?;
    Ok(former)
}

fn getdel(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let former = bulk_or_null(context.string(&args[1])?);
    context.notify_missing([&args[1]]);
    context.delete(&args[1]);
    Ok(former)
}

fn getex(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    enum Change<'a> {
        None,
        Persist,
        Until(Unit, &'a Bytes),
    }
    let change = match &args[2..] {
        [] => Change::None,
        [option] if option.eq_ignore_ascii_case(b"PERSIST") => Change::Persist,
        [unit, time] => Change::Until(Unit::parse(unit).ok_or(Reply::syntax_error())?, time),
        _ => return Err(Reply::syntax_error()),
    };
    let value = context.string(&args[1])?.cloned();
    context.notify_missing([&args[1]]);
    let Some(value) = value else { return Ok(Reply::Null) };
    match change {
        Change::None => {}
        Change::Persist => {
            if context.deadline(&args[1]).is_some() {
                Expiry::Never.put_on(context, &args[1]);
            }
        }
        Change::Until(unit, time) => {
            Expiry::parse(context, unit, time, "getex")?.put_on(context, &args[1]);
        }
    }
    Ok(Reply::Bulk(value))
}

fn mget(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let value = |key: &Bytes| bulk_or_null(context.string(key).ok().flatten());
    Ok(Reply::Array(args[1..].iter().map(value).collect()))
}

/// The pairs of MSET and MSETNX, checked before the first is set.
fn pairs<'a>(context: &Context<'_>, args: &'a [Bytes], name: &str) -> Result<&'a [[Bytes; 2]], Reply> {
    let (pairs, rest) = args[1..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Reply::error_text(format!("ERR wrong number of arguments for '{name}' command")));
    }
    pairs.iter().try_for_each(|[_, value]| context.check_value_bytes(value.len()))?;
    Ok(pairs)
}

fn mset(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    pairs(context, args, "mset")?.iter().for_each(|[key, value]| set_string(context, key, value, None));
    Ok(Reply::ok())
}

fn msetnx(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let pairs = pairs(context, args, "msetnx")?;
    let absent = pairs.iter().all(|[key, _]| !context.exists(key));
    if absent {
        pairs.iter().for_each(|[key, value]| set_string(context, key, value, None));
    }
    Ok(Reply::flag(absent))
}

/// The string at a key to be changed, and its deadline, which stays.
fn string_to_change(context: &Context<'_>, key: &[u8]) -> Result<(Vec<u8>, Option<Stamp>), Reply> {
    let value = context.string(key)?.map_or(Vec::new(), |value| value.to_vec());
    Ok((value, context.deadline(key)))
}

fn append(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let present = context.string(&args[1])?.map_or(0, Bytes::len);
    context.check_value_bytes(present.saturating_add(args[2].len()))?;
    let (mut value, deadline) = string_to_change(context, &args[1])?;
    value.extend_from_slice(&args[2]);
    context.set(&args[1], &value, deadline);
    context.notify(Event::APPEND, &args[1]);
    Ok(Reply::count(value.len()))
}

fn strlen(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(Reply::count(context.string(&args[1])?.map_or(0, Bytes::len)))
}

fn getrange(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let start = integer::parse(&args[2]).ok_or(Reply::not_an_integer())?;
    let end = integer::parse(&args[3]).ok_or(Reply::not_an_integer())?;
    let Some(value) = context.string(&args[1])? else { return Ok(Reply::bulk("")) };
    let length = i64::try_from(value.len()).unwrap_or(i64::MAX);
    if start < 0 && end < 0 && start > end {
        return Ok(Reply::bulk(""));
    }
    let place = |at: i64| if at < 0 { at.saturating_add(length).max(0) } else { at };
    let (start, end) = (place(start), place(end).min(length - 1));
    if start > end || length == 0 {
        return Ok(Reply::bulk(""));
    }
    let range = usize::try_from(start).unwrap_or(0)..=usize::try_from(end).unwrap_or(0);
    Ok(Reply::Bulk(value.slice(range)))
}

fn setrange(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let offset = integer::parse(&args[2]).ok_or(Reply::not_an_integer())?;
    let offset = usize::try_from(offset).map_err(|_| Reply::error("ERR offset is out of range"))?;
    let patch = &args[3];
    let length = context.string(&args[1])?.map_or(0, Bytes::len);
    if patch.is_empty() {
        return Ok(Reply::count(length));
    }
    let end = offset.saturating_add(patch.len());
    context.check_value_bytes(end)?;
    let (mut value, deadline) = string_to_change(context, &args[1])?;
    value.resize(length.max(end), 0);
    value[offset..end].copy_from_slice(patch);
    context.set(&args[1], &value, deadline);
    context.notify(Event::SETRANGE, &args[1]);
    Ok(Reply::count(value.len()))
}
