//! Numbers in the fields of hashes.

use bytes::Bytes;

use super::counters::is_infinite;
use super::hashes::{grow, put};
use crate::command::Spec;
use crate::context::Context;
use crate::float::Extended;
use crate::integer;
use crate::notification::Event;
use crate::reply::Reply;
use crate::value::Hash;

pub(crate) const COMMANDS: &[Spec] = &[
    grow("hincrby", 4, hincrby).doc(
        "2.0.0",
        "HINCRBY key field increment",
        "Adds to an integer in a field of a hash; a missing one is 0.",
    ),
    grow("hincrbyfloat", 4, hincrbyfloat).doc(
        "2.6.0",
        "HINCRBYFLOAT key field increment",
        "Adds to a decimal fraction in a field of a hash, with 64 bits of mantissa.",
    ),
];

/// The text in a field, `0` if there is none.
fn number<'c>(context: &'c Context<'_>, key: &[u8], field: &[u8]) -> Result<&'c [u8], Reply> {
    let hash = context.collection::<Hash>(key)?;
    Ok(hash.and_then(|hash| hash.get(field)).map_or(b"0", |value| value))
}

fn hincrby(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let increment = integer::parse(&args[3]).ok_or(Reply::not_an_integer())?;
    let present = integer::parse(number(context, &args[1], &args[2])?);
    let present = present.ok_or(Reply::error("ERR hash value is not an integer"))?;
    let overflow = Reply::error("ERR increment or decrement would overflow");
    let sum = present.checked_add(increment).ok_or(overflow)?;
    put(context, &args[1], &[[args[2].clone(), integer::format(sum)]], Event::HINCRBY)?;
    Ok(Reply::Integer(sum))
}

fn hincrbyfloat(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    if is_infinite(&args[3]) {
        return Err(Reply::error("ERR value is NaN or Infinity"));
    }
    let increment = Extended::parse(&args[3]).ok_or(Reply::error("ERR value is not a valid float"))?;
    let present = number(context, &args[1], &args[2])?;
    let overflow = Reply::error("ERR increment would produce NaN or Infinity");
    if is_infinite(present) {
        return Err(overflow);
    }
    let present = Extended::parse(present).ok_or(Reply::error("ERR hash value is not a float"))?;
    let sum = Bytes::from(present.add(increment).ok_or(overflow)?.format());
    put(context, &args[1], &[[args[2].clone(), sum.clone()]], Event::HINCRBYFLOAT)?;
    Ok(Reply::Bulk(sum))
}
