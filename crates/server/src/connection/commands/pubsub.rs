//! PUBSUB: who listens to what at this node.

use bytes::Bytes;
use quorate_machine::{CHANNEL_BYTES_MAX, glob};

use crate::{
    connection::{FrontDoor, arguments::quoted},
    handle::Reply,
    subscriptions::Topic,
};

pub(super) fn run(front: &FrontDoor, subcommand: &str, arguments: &[Bytes]) -> Reply {
    match subcommand {
        "channels" => channels(front, Topic::Channel, arguments),
        "shardchannels" => channels(front, Topic::Sharded, arguments),
        "numsub" => subscribers(front, Topic::Channel, &arguments[2..]),
        "shardnumsub" => subscribers(front, Topic::Sharded, &arguments[2..]),
        "numpat" => Reply::count(front.shard.subscriptions().count(Topic::Pattern)),
        _ => Reply::syntax_error(),
    }
}

fn channels(front: &FrontDoor, topic: Topic, arguments: &[Bytes]) -> Reply {
    let pattern = match arguments {
        [_, _] => None,
        [_, _, pattern] if pattern.len() <= CHANNEL_BYTES_MAX => Some(pattern),
        [_, _, _] => return Reply::error("ERR the pattern is longer than 1024 bytes"),
        _ => {
            let subcommand = quoted(&arguments[1]);
            return Reply::error_text(format!(
                "ERR unknown subcommand or wrong number of arguments for '{subcommand}'. Try PUBSUB HELP."
            ));
        }
    };
    let names = front.shard.subscriptions().names(topic).into_iter();
    let wanted = names.filter(|name| pattern.is_none_or(|pattern| glob::matches(pattern, name)));
    Reply::Array(wanted.map(Reply::Bulk).collect())
}

/// Names and numbers in turn, flat in both versions of the protocol.
fn subscribers(front: &FrontDoor, topic: Topic, channels: &[Bytes]) -> Reply {
    let subscriptions = front.shard.subscriptions();
    let pair = |channel: &Bytes| {
        [Reply::Bulk(channel.clone()), Reply::count(subscriptions.subscribers(topic, channel))]
    };
    Reply::Array(channels.iter().flat_map(pair).collect())
}
