//! Strings.

use bytes::Bytes;

use crate::command::{Group, KeySpec, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::reply::Reply;

pub(crate) const COMMANDS: &[Spec] = &[
    Spec::read(Group::String, "get", 2, get).keys(KeySpec::ONE).with(Flags::FAST).doc(
        "1.0.0",
        "GET key",
        "Answers the string at a key.",
    ),
    Spec::write(Group::String, "set", -3, set).keys(KeySpec::ONE).with(Flags::DENYOOM).doc(
        "1.0.0",
        "SET key value",
        "Sets a key to a string.",
    ),
    Spec::write(Group::Generic, "del", -2, del).keys(KeySpec::ALL).doc(
        "1.0.0",
        "DEL key [key ...]",
        "Removes keys.",
    ),
];

fn get(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(context.string(&args[1])?.map_or(Reply::Null, |value| Reply::Bulk(value.clone())))
}

fn set(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    context.set(&args[1], &args[2], None);
    Ok(Reply::ok())
}

fn del(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(Reply::count(args[1..].iter().filter(|key| context.remove(key).is_some()).count()))
}
