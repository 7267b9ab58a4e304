//! Commands that concern a connection. The server runs those that have state there.

use bytes::Bytes;

use crate::command::{Group, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::reply::Reply;

pub(crate) const COMMANDS: &[Spec] = &[Spec::pure(Group::Connection, "ping", -1, ping)
    .with(Flags::FAST)
    .doc("1.0.0", "PING [message]", "Answers PONG, or the message.")];

fn ping(_: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    match args {
        [_] => Ok(Reply::status("PONG")),
        [_, message] => Ok(Reply::Bulk(message.clone())),
        _ => Err(Reply::error("ERR wrong number of arguments for 'ping' command")),
    }
}
