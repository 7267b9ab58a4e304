//! Numbers in strings.

use bytes::Bytes;

use crate::command::{Group, KeySpec, Run, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::float::Extended;
use crate::integer;
use crate::notification::Event;
use crate::reply::Reply;

const fn counter(name: &'static str, arity: i32, run: Run) -> Spec {
    Spec::write(Group::String, name, arity, run).keys(KeySpec::ONE).with(Flags::DENYOOM.and(Flags::FAST))
}

pub(crate) const COMMANDS: &[Spec] = &[
    counter("incr", 2, incr).doc("1.0.0", "INCR key", "Adds one to an integer; a missing one is 0."),
    counter("decr", 2, decr).doc("1.0.0", "DECR key", "Subtracts one from an integer; a missing one is 0."),
    counter("incrby", 3, incrby).doc("1.0.0", "INCRBY key increment", "Adds to an integer."),
    counter("decrby", 3, decrby).doc("1.0.0", "DECRBY key decrement", "Subtracts from an integer."),
    counter("incrbyfloat", 3, incrbyfloat).doc(
        "2.6.0",
        "INCRBYFLOAT key increment",
        "Adds to a decimal fraction, with 64 bits of mantissa.",
    ),
];

fn incr(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    add(context, &args[1], 1)
}

fn decr(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    add(context, &args[1], -1)
}

fn incrby(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let increment = integer::parse(&args[2]).ok_or(Reply::not_an_integer())?;
    add(context, &args[1], increment)
}

fn decrby(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let decrement = integer::parse(&args[2]).ok_or(Reply::not_an_integer())?;
    let increment = decrement.checked_neg().ok_or(Reply::error("ERR decrement would overflow"))?;
    add(context, &args[1], increment)
}

fn add(context: &mut Context<'_>, key: &[u8], increment: i64) -> Result<Reply, Reply> {
    let present = match context.string(key)? {
        None => 0,
        Some(value) => integer::parse(value).ok_or(Reply::not_an_integer())?,
    };
    let overflow = Reply::error("ERR increment or decrement would overflow");
    let sum = present.checked_add(increment).ok_or(overflow)?;
    context.set(key, &integer::format(sum), context.deadline(key));
    context.notify(Event::INCRBY, key);
    Ok(Reply::Integer(sum))
}

fn incrbyfloat(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let number = |text: &[u8]| Extended::parse(text).ok_or(Reply::error("ERR value is not a valid float"));
    let present = match context.string(&args[1])? {
        None => number(b"0")?,
        Some(value) => number(value)?,
    };
    let overflow = Reply::error("ERR increment would produce NaN or Infinity");
    if is_infinite(&args[2]) {
        return Err(overflow);
    }
    let sum = Bytes::from(present.add(number(&args[2])?).ok_or(overflow)?.format());
    context.set(&args[1], &sum, context.deadline(&args[1]));
    context.notify(Event::INCRBYFLOAT, &args[1]);
    Ok(Reply::Bulk(sum))
}

/// Whether Redis would read an infinity, which is a number to it until it is added.
pub(super) fn is_infinite(text: &[u8]) -> bool {
    let words = [&b"inf"[..], b"+inf", b"-inf", b"infinity", b"+infinity", b"-infinity"];
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}
