//! SLOWLOG: this node's slow commands.

use bytes::Bytes;

use crate::{
    connection::{
        FrontDoor,
        arguments::{integer, malformed_subcommand, text},
        slow_log::Entry,
    },
    handle::Reply,
};

/// How many GET answers when it is not told.
const ENTRIES_AT_ONCE: i64 = 10;

pub(super) fn run(front: &FrontDoor, subcommand: &str, arguments: &[Bytes]) -> Reply {
    match (subcommand, &arguments[2..]) {
        ("get", []) => get(front, ENTRIES_AT_ONCE),
        ("get", [count]) => match integer(count) {
            Some(count @ -1..) => get(front, count),
            Some(_) | None => Reply::error("ERR count should be greater than or equal to -1"),
        },
        ("len", _) => Reply::count(front.slow_log.len()),
        ("reset", _) => {
            front.slow_log.forget();
            Reply::ok()
        }
        _ => malformed_subcommand("SLOWLOG", &arguments[1]),
    }
}

/// The latest `count`, or all of them if it is negative.
fn get(front: &FrontDoor, count: i64) -> Reply {
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    Reply::Array(front.slow_log.latest(most).into_iter().map(show).collect())
}

fn show(entry: Entry) -> Reply {
    Reply::Array(vec![
        Reply::Integer(i64::try_from(entry.number).unwrap_or(i64::MAX)),
        Reply::Integer(entry.unix_s),
        Reply::Integer(i64::try_from(entry.micros).unwrap_or(i64::MAX)),
        Reply::Array(entry.arguments.into_iter().map(Reply::Bulk).collect()),
        text(entry.client.remote.to_string()),
        text(entry.client_name),
    ])
}
