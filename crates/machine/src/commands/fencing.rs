//! Fencing tokens, by which a guarded resource refuses a holder that lost its lock.

use bytes::Bytes;

use crate::command::{Group, KeySpec, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::reply::Reply;

pub(crate) const COMMANDS: &[Spec] = &[Spec::read(Group::Fencing, "fence", -2, fence)
    .keys(KeySpec::ONE)
    .with(Flags::FAST)
    .doc(
        "quorate",
        "FENCE key [value]",
        "Answers the fencing token of a key, an integer greater than that of every earlier acquisition; nil if there is no such key, or it does not hold the value.",
    )];

fn fence(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let (key, expected) = match args {
        [_, key] => (key, None),
        [_, key, value] => (key, Some(value)),
        _ => return Err(Reply::error("ERR wrong number of arguments for 'fence' command")),
    };
    if let Some(expected) = expected
        && context.string(key)? != Some(expected)
    {
        return Ok(Reply::Null);
    }
    let token = context.get(key).map(|slot| slot.token.0);
    Ok(token.map_or(Reply::Null, |token| Reply::Integer(i64::try_from(token).unwrap_or(i64::MAX))))
}
